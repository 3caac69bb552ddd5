//! Registration information: RFC 3680, with the GRUUs of RFC 5628.
//!
//! For: what a registrar knows of its users, told to other servers and taken in from them.
//! Not here: which contacts are told (`pua_reginfo/`), versions of a subscription's documents.
//! Invariants: a document is read whole or refused; contacts of one registration have names of
//! their own.

mod read;
mod write;

#[cfg(test)]
mod tests;

pub use read::read;

use super::Fault;

/// The namespace of RFC 3680.
pub const NAMESPACE: &str = "urn:ietf:params:xml:ns:reginfo";
/// The namespace of RFC 5628.
pub const GRUU_NAMESPACE: &str = "urn:ietf:params:xml:ns:gruuinfo";

/// Most registrations of a document. A guess: a subscription is to one user, a list to hundreds.
pub const REGISTRATIONS_MAX: usize = 1024;

/// Whether a document tells everything or what has changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Extent {
    /// Everything.
    Full,
    /// What has changed.
    Partial,
}

/// A document.
#[derive(Clone, Debug, PartialEq)]
pub struct Reginfo {
    /// Grows by one with each document of a subscription.
    pub version: u32,
    /// How much it tells.
    pub extent: Extent,
    /// Whose registrations.
    pub registrations: Vec<Registration>,
}

/// The state of an address-of-record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RegistrationState {
    /// Nothing was ever registered.
    Init,
    /// There are contacts.
    Active,
    /// There are none any more.
    Terminated,
}

/// One address-of-record.
#[derive(Clone, Debug, PartialEq)]
pub struct Registration {
    /// Its URI.
    pub aor: String,
    /// Its name in the documents of one notifier.
    pub id: String,
    /// Whether it has contacts.
    pub state: RegistrationState,
    /// Its contacts.
    pub contacts: Vec<Contact>,
}

/// The state of a contact.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ContactState {
    /// It is registered.
    Active,
    /// It is not any more.
    Terminated,
}

/// Why a contact is in its state.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Event {
    /// It was there before.
    Registered,
    /// An administrator has made it.
    Created,
    /// It was registered again.
    Refreshed,
    /// Its time was cut.
    Shortened,
    /// Its time was over.
    Expired,
    /// It was taken away; the agent may register anew.
    Deactivated,
    /// It was taken away for a while.
    Probation,
    /// The agent has taken it back.
    Unregistered,
    /// The agent may not register.
    Rejected,
}

/// The events by their names.
const EVENTS: [(&str, Event); 9] = [
    ("registered", Event::Registered),
    ("created", Event::Created),
    ("refreshed", Event::Refreshed),
    ("shortened", Event::Shortened),
    ("expired", Event::Expired),
    ("deactivated", Event::Deactivated),
    ("probation", Event::Probation),
    ("unregistered", Event::Unregistered),
    ("rejected", Event::Rejected),
];

/// One contact.
#[derive(Clone, Debug, PartialEq)]
pub struct Contact {
    /// Its name in its registration.
    pub id: String,
    /// Whether it is registered.
    pub state: ContactState,
    /// Why.
    pub event: Event,
    /// How many seconds it has left; `None` when nobody said, or for ever.
    pub expires_seconds: Option<u32>,
    /// How many seconds ago it was registered first.
    pub age_seconds: Option<u32>,
    /// Its preference in thousandths.
    pub q: Option<u16>,
    /// Call-ID of its last REGISTER.
    pub call_id: Option<String>,
    /// The number of that.
    pub cseq: Option<u32>,
    /// Where that came from, as a URI (not of RFC 3680).
    pub received: Option<String>,
    /// Its Path (not of RFC 3680).
    pub path: Option<String>,
    /// Its agent (not of RFC 3680).
    pub user_agent: Option<String>,
    /// Its URI.
    pub uri: String,
    /// The name that is shown for it.
    pub display_name: Option<String>,
    /// Parameters of its Contact value, with their values as written there.
    pub params: Vec<(String, Option<String>)>,
    /// Its public GRUU.
    pub public_gruu: Option<String>,
    /// Its last temporary GRUU, with the number of the REGISTER that it was the first answer to.
    pub temporary_gruu: Option<(String, u32)>,
}

impl Contact {
    /// A contact without anything that may be left out.
    pub fn new(id: &str, uri: &str, state: ContactState, event: Event) -> Contact {
        Contact {
            id: id.to_owned(),
            state,
            event,
            expires_seconds: None,
            age_seconds: None,
            q: None,
            call_id: None,
            cseq: None,
            received: None,
            path: None,
            user_agent: None,
            uri: uri.to_owned(),
            display_name: None,
            params: Vec::new(),
            public_gruu: None,
            temporary_gruu: None,
        }
    }

    /// Whether both tell of one binding.
    fn is_same(&self, other: &Contact) -> bool {
        let named = |contact: &Contact| contact.call_id.is_some();
        self.id == other.id
            || (self.uri == other.uri
                && (!named(self) || !named(other) || self.call_id == other.call_id))
    }
}

impl Reginfo {
    /// The same with one registration for each address: a server that puts the documents of several
    /// registrars together tells of an address once for each. Of two that tell of one binding, the
    /// one with the greater CSeq counts, or else the later. `key` says when addresses are equal.
    #[must_use]
    pub fn merged(self, key: impl Fn(&str) -> String) -> Reginfo {
        let mut merged: Vec<(String, Registration)> = Vec::new();
        let mut places = std::collections::BTreeMap::new();
        for registration in self.registrations {
            let key = key(&registration.aor);
            match places.get(&key).and_then(|place: &usize| merged.get_mut(*place)) {
                Some((_, known)) => join(known, registration),
                None => {
                    places.insert(key.clone(), merged.len());
                    merged.push((key, registration));
                }
            }
        }
        let registrations = merged.into_iter().map(|(_, registration)| registration).collect();
        Reginfo { registrations, ..self }
    }
}

fn join(known: &mut Registration, other: Registration) {
    for contact in other.contacts {
        match known.contacts.iter_mut().find(|before| before.is_same(&contact)) {
            Some(before) if contact.cseq >= before.cseq => *before = contact,
            Some(_) => {}
            None => known.contacts.push(contact),
        }
    }
    let active = known.contacts.iter().any(|contact| contact.state == ContactState::Active);
    known.state = match (active, known.state, other.state) {
        (true, _, _) => RegistrationState::Active,
        (false, RegistrationState::Init, RegistrationState::Init) => RegistrationState::Init,
        (false, _, _) => RegistrationState::Terminated,
    };
}
