//! `lookup` and its kin: from an address to its contacts, and from contacts to branches.
//!
//! For: finding where a user is, forking there at once or in groups by preference.
//! Not here: the table (`location/`), forwarding (`core/sip`).
//! Invariants: a look-up is one message to the owner of the address, or none when that is here.

use super::Registrar;
use super::gruu::Gruu;
use super::settings::Settings;
use crate::location::{
    Answer as Located, Aor, Change, Contact, Locating, Location, Operation, Ordering, Refusal,
    Texts, Which, Wish,
};
use std::rc::Rc;
use strowger_sip::message::{NameAddr, Uri};
use strowger_sip::module::Has;
use strowger_sip::routing::{Answer, Destination, ListOf, Relay, Reply, Request, Routing};
use strowger_sip::transport::{Flow, Transport};

/// Why a look-up gives nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NotFound {
    /// -1: the address has no contact. 404, or 480 where it is known to exist.
    NoContact,
    /// -2: none of its contacts takes this method. 405.
    MethodNotAllowed,
    /// -3: the URI is no address of ours, 404.
    NotAnAddress,
    /// -3: the owner of the address, or its storage, does not answer. 503.
    Unavailable,
}

impl From<NotFound> for Reply {
    fn from(not_found: NotFound) -> Reply {
        match not_found {
            NotFound::NoContact | NotFound::NotAnAddress => Reply::not_found(),
            NotFound::MethodNotAllowed => Reply::new(405),
            NotFound::Unavailable => Reply::unavailable(UNAVAILABLE_SECONDS),
        }
    }
}

impl From<NotFound> for Answer {
    fn from(not_found: NotFound) -> Answer {
        Answer::Reply(not_found.into())
    }
}

/// What a caller is told to wait when a look-up was not answered. A guess.
const UNAVAILABLE_SECONDS: u32 = 5;

/// Most addresses of one `lookup_branches`. A guess: more are no call but a campaign.
const BRANCHES_MAX: usize = 12;

/// The contacts that a look-up has found, best first; at least one.
#[derive(Clone, Debug)]
pub struct Found {
    contacts: Vec<Contact>,
}

impl Found {
    /// All of them, for `request.fork_to(found.contacts())`.
    pub fn contacts(&self) -> &[Contact] {
        &self.contacts
    }

    /// The best one alone.
    pub fn best(&self) -> &[Contact] {
        self.contacts.get(..1).unwrap_or_default()
    }

    /// Those of one agent, by its `+sip.instance` without quotes and brackets
    /// (`lookup_filter_mode`).
    pub fn of_instance(&self, instance: &[u8]) -> Vec<Contact> {
        let is_its = |contact: &&Contact| contact.texts().instance == instance;
        self.contacts.iter().filter(is_its).cloned().collect()
    }

    /// Groups of equal preference, the best first: one after the other for serial forking
    /// (`t_load_contacts`, `t_next_contacts`).
    pub fn groups(&self) -> impl Iterator<Item = &[Contact]> {
        self.contacts.chunk_by(|one, next| one.facts.q == next.facts.q)
    }
}

/// Whether an address is registered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Registered {
    /// It has a contact that matches.
    Yes,
    /// It has none.
    No,
    /// Nobody could tell.
    Unknown,
}

/// Which contacts `registered` looks for; what is `None` is not looked at.
#[derive(Clone, Copy, Debug, Default)]
pub struct Match<'m> {
    /// Bit 1: of this Call-ID.
    pub call_id: Option<&'m [u8]>,
    /// Bit 2: received from this URI.
    pub received: Option<&'m [u8]>,
    /// Bit 4: of this URI.
    pub contact: Option<&'m [u8]>,
}

impl Match<'_> {
    fn is_met_by(&self, contact: &Contact) -> bool {
        let texts = contact.texts();
        self.call_id.is_none_or(|call_id| texts.call_id == call_id)
            && self.received.is_none_or(|received| texts.received == received)
            && self.contact.is_none_or(|uri| contact.has_uri(uri))
    }
}

/// Look-ups, on requests.
pub trait LookingUp<N, L> {
    /// The key of the address that a URI names.
    ///
    /// # Errors
    /// When it names none.
    fn address_of_record(&self, uri: &[u8]) -> Result<Aor, NotFound>;

    /// The contacts of the Request-URI that take this method.
    fn lookup(&self) -> impl Future<Output = Result<Found, NotFound>>;

    /// The contacts of another URI that take this method.
    fn lookup_uri(&self, uri: &[u8]) -> impl Future<Output = Result<Found, NotFound>>;

    /// The contacts of several addresses together, in their order.
    fn lookup_branches(&self, uris: &[&[u8]]) -> impl Future<Output = Result<Found, NotFound>>;

    /// Whether an address is registered, by a contact like this.
    fn registered(&self, uri: &[u8], with: Match<'_>) -> impl Future<Output = Registered>;

    /// Removes contacts of an address; how many.
    fn unregister(&self, uri: &[u8], which: Which) -> impl Future<Output = Result<usize, Refusal>>;

    /// All contacts of an address, whatever they take (`reg_fetch_contacts`).
    fn reg_fetch_contacts(
        &self,
        uri: &[u8],
    ) -> impl Future<Output = Result<Vec<Contact>, NotFound>>;

    /// The contacts of an address from which this request was sent, by source address, port and
    /// transport: whether it comes from a registered user.
    fn reg_from_user(&self, uri: &[u8]) -> impl Future<Output = Result<Vec<Contact>, NotFound>>;
}

impl<R: Routing, N, L> LookingUp<N, L> for Request<'_, R>
where
    ListOf<R>: Has<Registrar, N> + Has<Location, L>,
{
    fn address_of_record(&self, uri: &[u8]) -> Result<Aor, NotFound> {
        address(self, uri).map(|(aor, _)| aor)
    }

    async fn lookup(&self) -> Result<Found, NotFound> {
        self.lookup_uri(self.request_uri()).await
    }

    async fn lookup_uri(&self, uri: &[u8]) -> Result<Found, NotFound> {
        let (aor, gruu) = address(self, uri)?;
        let (settings, keys) = self.module(|registrar: &mut Registrar, _, _| {
            (Rc::clone(&registrar.settings), Rc::clone(&registrar.gruu))
        });
        let contacts = fetch(self, aor, settings.use_expired_contacts).await?;
        let meant = |contact: &Contact| gruu.as_ref().is_none_or(|gruu| keys.means(gruu, contact));
        let contacts: Vec<Contact> = contacts.into_iter().filter(meant).collect();
        choose(self, contacts, &settings)
    }

    async fn lookup_branches(&self, uris: &[&[u8]]) -> Result<Found, NotFound> {
        let mut all = Vec::new();
        let mut worst = NotFound::NoContact;
        for uri in uris.iter().take(BRANCHES_MAX) {
            match self.lookup_uri(uri).await {
                Ok(found) => all.extend(found.contacts),
                Err(not_found) => worst = not_found,
            }
        }
        if all.is_empty() { Err(worst) } else { Ok(Found { contacts: all }) }
    }

    async fn registered(&self, uri: &[u8], with: Match<'_>) -> Registered {
        match self.reg_fetch_contacts(uri).await {
            Ok(contacts) if contacts.iter().any(|contact| with.is_met_by(contact)) => {
                Registered::Yes
            }
            Ok(_) | Err(NotFound::NoContact | NotFound::NotAnAddress) => Registered::No,
            Err(NotFound::Unavailable | NotFound::MethodNotAllowed) => Registered::Unknown,
        }
    }

    async fn unregister(&self, uri: &[u8], which: Which) -> Result<usize, Refusal> {
        let (aor, _) = address(self, uri).map_err(|_| Refusal::NoAor)?;
        let change = Change {
            aor,
            wish: Wish::Remove(which),
            ordering: Ordering::Any,
            call_id: Box::default(),
            cseq: 0,
            contacts_max: 0,
            one_contact: false,
            quiet: false,
            presence: false,
        };
        match self.locate(Operation::Change(change)).await {
            Located::Changed(done) => Ok(done.removed),
            Located::Refused(refusal) => Err(refusal),
            Located::Found(_) => Err(Refusal::Unavailable),
        }
    }

    async fn reg_fetch_contacts(&self, uri: &[u8]) -> Result<Vec<Contact>, NotFound> {
        let (aor, _) = address(self, uri)?;
        fetch(self, aor, false).await
    }

    async fn reg_from_user(&self, uri: &[u8]) -> Result<Vec<Contact>, NotFound> {
        let mut contacts = self.reg_fetch_contacts(uri).await?;
        let source = self.source();
        contacts.retain(|contact| is_at(contact, &source));
        if contacts.is_empty() { Err(NotFound::NoContact) } else { Ok(contacts) }
    }
}

/// Whether a contact is the other end of a flow.
fn is_at(contact: &Contact, source: &Flow) -> bool {
    if let Some(flow) = contact.facts.flow {
        return (flow.transport, flow.remote) == (source.transport, source.remote);
    }
    let texts = contact.texts();
    let uri = if texts.received.is_empty() { texts.uri } else { texts.received };
    let Ok(uri) = Uri::parse(uri) else { return false };
    let transport = match uri.transport() {
        Some(name) => Transport::from_name(name.as_bytes()),
        None => Some(Transport::Udp),
    };
    let port = uri.port.unwrap_or(source.transport.default_port());
    transport == Some(source.transport)
        && uri.host.ip() == Some(source.remote.ip())
        && port == source.remote.port()
}

/// The address that a URI names, and which of its contacts, if it is a GRUU.
fn address<R: Routing, N, L>(
    request: &Request<'_, R>,
    uri: &[u8],
) -> Result<(Aor, Option<Gruu>), NotFound>
where
    ListOf<R>: Has<Registrar, N> + Has<Location, L>,
{
    let uri = Uri::parse(uri).map_err(|_| NotFound::NotAnAddress)?;
    let read = request.module(|registrar: &mut Registrar, _, _| registrar.gruu.read(&uri));
    let gruu = match read {
        Some((Some(aor), gruu)) => return Ok((aor, Some(gruu))),
        Some((None, gruu)) => Some(gruu),
        None => None,
    };
    let use_domain = request.module(|location: &mut Location, _, _| location.settings().use_domain);
    let rules =
        request.module(|registrar: &mut Registrar, _, _| registrar.settings.rules(use_domain));
    rules.key(&uri).map(|aor| (aor, gruu)).map_err(|_| NotFound::NotAnAddress)
}

async fn fetch<R: Routing, N>(
    request: &Request<'_, R>,
    aor: Aor,
    expired_too: bool,
) -> Result<Vec<Contact>, NotFound>
where
    ListOf<R>: Has<Location, N>,
{
    match request.locate(Operation::Find { aor, expired_too }).await {
        Located::Found(contacts) if contacts.is_empty() => Err(NotFound::NoContact),
        Located::Found(contacts) => Ok(contacts),
        Located::Changed(_) | Located::Refused(_) => Err(NotFound::Unavailable),
    }
}

/// Leaves out what cannot take the request, and own entries of Paths.
fn choose<R: Routing>(
    request: &Request<'_, R>,
    mut contacts: Vec<Contact>,
    settings: &Settings,
) -> Result<Found, NotFound> {
    if contacts.is_empty() {
        return Err(NotFound::NoContact);
    }
    if settings.method_filtering {
        let method = request.method();
        contacts.retain(|contact| contact.facts.methods.allows(method));
        if contacts.is_empty() {
            return Err(NotFound::MethodNotAllowed);
        }
    }
    if !settings.append_branches {
        contacts.truncate(1);
    }
    if settings.path_check_local {
        for contact in &mut contacts {
            *contact = without_own_path(request, contact);
        }
    }
    Ok(Found { contacts })
}

fn without_own_path<R: Routing>(request: &Request<'_, R>, contact: &Contact) -> Contact {
    let texts = contact.texts();
    let is_own = |value: &NameAddr<'_>| value.uri().is_ok_and(|uri| request.is_ours(&uri));
    let rest: Vec<&[u8]> = NameAddr::list(texts.path)
        .filter_map(Result::ok)
        .skip_while(is_own)
        .map(|value| value.raw)
        .collect();
    contact.with_texts(&Texts { path: &rest.join(&b", "[..]), ..texts })
}

/// Forking to contacts, on requests.
pub trait ForkingTo<'a, R: Routing> {
    /// One branch for each contact: its URI, by its Path, its flow, or where it was received from.
    fn fork_to(&mut self, contacts: &[Contact]) -> Relay<'_, 'a, R>;

    /// The same with the Request-URI as received: a contact is only where it is sent
    /// (`lookup_to_dset`).
    fn fork_by(&mut self, contacts: &[Contact]) -> Relay<'_, 'a, R>;
}

impl<'a, R: Routing> ForkingTo<'a, R> for Request<'a, R> {
    fn fork_to(&mut self, contacts: &[Contact]) -> Relay<'_, 'a, R> {
        let mut relay = self.fork();
        for contact in contacts {
            relay = relay.to_destination(&contact.destination());
        }
        relay
    }

    fn fork_by(&mut self, contacts: &[Contact]) -> Relay<'_, 'a, R> {
        let uri = self.request_uri().to_vec();
        let mut relay = self.fork();
        for contact in contacts {
            let destination = contact.destination();
            let by_itself = destination.path.is_none().then_some(contact.uri());
            let next_hop = destination.next_hop.or(by_itself);
            relay = relay.to_destination(&Destination { uri: &uri, next_hop, ..destination });
        }
        relay
    }
}
