//! Contacts as documents tell of them, and the other way round.
//!
//! For: writing what this node knows of a user; reading what another one does.
//! Not here: when (`publish.rs`, `watch.rs`), XML (`pua/bodies`).
//! Invariants: what is written comes back as the same contact.

use crate::keyed::hmac;
use crate::location::{Aor, Contact, Facts, Methods, Origin, Source, Texts, Wanted};
use crate::pua::bodies::Fault;
use crate::pua::bodies::reginfo::{self, ContactState, Event};
use crate::registrar::GruuKeys;
use strowger_sip::date::UnixTime;
use strowger_sip::message::{NameAddr, Uri};
use strowger_sip::time::Duration;

/// Longest texts that storage keeps of a contact.
const RECEIVED_BYTES_MAX: usize = 128;
const NAME_BYTES_MAX: usize = 255;

/// The parameters of a Contact value that have a place of their own.
const INSTANCE: &str = "+sip.instance";
const REG_ID: &str = "reg-id";
const METHODS: &str = "methods";

/// What documents of this node are made with.
#[derive(Debug)]
pub(super) struct Pen {
    secret: Vec<u8>,
    /// Of this node: registrations that it has written itself are known by it.
    name: String,
    gruu: GruuKeys,
    pub(super) gruu_enabled: bool,
    pub(super) params: bool,
    default_domain: String,
}

impl Pen {
    pub(super) fn new(secret: &[u8], name: &str, default_domain: &str, params: bool) -> Pen {
        Pen {
            secret: secret.to_vec(),
            name: name.to_owned(),
            gruu: GruuKeys::new(secret),
            gruu_enabled: true,
            params,
            default_domain: default_domain.to_owned(),
        }
    }

    /// The URI of an address's key.
    pub(super) fn uri(&self, aor: &Aor) -> String {
        aor.uri(&self.default_domain)
    }

    /// The id under which this node tells of an address.
    pub(super) fn registration_id(&self, uri: &str) -> String {
        let digest = hmac(&self.secret, &[b"reginfo", self.name.as_bytes(), uri.as_bytes()]);
        digest.iter().take(12).map(|byte| format!("{byte:02x}")).collect()
    }

    /// A contact as a document tells of it. `salt` makes its temporary GRUU.
    pub(super) fn contact(
        &self,
        (aor, aor_uri): (&Aor, &str),
        contact: &Contact,
        (state, event): (ContactState, Event),
        (today, salt): (UnixTime, u64),
    ) -> reginfo::Contact {
        let (texts, facts) = (contact.texts(), &contact.facts);
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        let optional = |bytes: &[u8]| (!bytes.is_empty()).then(|| text(bytes));
        let seconds = |span: Duration| u32::try_from(span.as_secs()).unwrap_or(u32::MAX);
        let expires_seconds = match state {
            ContactState::Active => facts.expires.map(|end| seconds(end.since(today))),
            ContactState::Terminated => Some(0),
        };
        let instance = text(texts.instance);
        let gruu = self.gruu_enabled && !instance.is_empty();
        let host = aor_uri.rsplit_once('@').map_or("", |(_, host)| host);
        reginfo::Contact {
            expires_seconds,
            age_seconds: Some(seconds(today.since(facts.created))),
            q: facts.q,
            call_id: optional(texts.call_id),
            cseq: Some(facts.cseq),
            received: optional(texts.received),
            path: optional(texts.path),
            user_agent: optional(texts.user_agent),
            params: if self.params { params(contact) } else { Vec::new() },
            public_gruu: gruu.then(|| format!("{aor_uri};gr={instance}")),
            temporary_gruu: gruu.then(|| {
                let user = self.gruu.temporary(aor, contact, salt);
                (format!("sip:{user}@{host};gr"), facts.cseq)
            }),
            ..reginfo::Contact::new(contact.ruid(), &text(texts.uri), state, event)
        }
    }
}

/// The parameters of a contact's Contact value.
fn params(contact: &Contact) -> Vec<(String, Option<String>)> {
    let (texts, facts) = (contact.texts(), &contact.facts);
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let mut params = Vec::new();
    if !texts.instance.is_empty() {
        params.push((INSTANCE.to_owned(), Some(format!("\"<{}>\"", text(texts.instance)))));
    }
    if facts.reg_id > 0 {
        params.push((REG_ID.to_owned(), Some(facts.reg_id.to_string())));
    }
    if facts.methods != Methods::ALL {
        let names: Vec<&str> = facts.methods.names().collect();
        params.push((METHODS.to_owned(), Some(format!("\"{}\"", names.join(",")))));
    }
    let value = [b"<sip:x>", texts.attributes].concat();
    if let Ok(value) = NameAddr::parse(&value) {
        let pair =
            |param: strowger_sip::message::Param<'_>| (text(param.name), param.value.map(text));
        params.extend(value.params.into_iter().map(pair));
    }
    params
}

/// What reading needs to know.
#[derive(Clone, Copy, Debug)]
pub(super) struct Reading {
    pub(super) today: UnixTime,
    /// How long a contact lasts whose end is not told, in seconds.
    pub(super) default_expires: u32,
}

impl Reading {
    /// The contact that a document tells of.
    ///
    /// # Errors
    /// When it holds a value that no contact has.
    pub(super) fn contact(self, told: &reginfo::Contact, source: Source) -> Result<Wanted, Fault> {
        let fault = |what| Fault::Value { element: "contact", what };
        let seconds = told.expires_seconds.unwrap_or(self.default_expires);
        let end = self.today + Duration::from_secs(u64::from(seconds));
        let mut facts = Facts::new(self.today, Some(end));
        facts.cseq = told.cseq.unwrap_or(1);
        facts.q = told.q;
        facts.origin = Origin::Imported(source);
        let age = Duration::from_secs(told.age_seconds.unwrap_or(0).into());
        facts.created = UnixTime::default() + self.today.since(UnixTime::default() + age);
        let mut instance = String::new();
        let mut attributes = String::new();
        for (name, value) in &told.params {
            let value = value.as_deref();
            let plain = || value.map(|value| value.trim_matches('"')).unwrap_or_default();
            if name.eq_ignore_ascii_case(INSTANCE) {
                plain().trim_matches(['<', '>']).clone_into(&mut instance);
            } else if name.eq_ignore_ascii_case(REG_ID) {
                facts.reg_id = plain().parse().map_err(|_| fault("reg-id"))?;
            } else if name.eq_ignore_ascii_case(METHODS) {
                let names = plain().split(',').map(|name| name.trim().as_bytes());
                facts.methods = Methods::from_names(names);
            } else {
                attributes.push(';');
                attributes.push_str(name);
                if let Some(value) = value {
                    attributes.push('=');
                    attributes.push_str(value);
                }
            }
        }
        let received = told.received.as_deref().unwrap_or_default();
        let is_uri = |text: &str| Uri::parse(text.as_bytes()).is_ok();
        if !received.is_empty() && (received.len() > RECEIVED_BYTES_MAX || !is_uri(received)) {
            return Err(fault("received"));
        }
        let path = told.path.as_deref().unwrap_or_default();
        let is_route = |value: Result<NameAddr<'_>, _>| value.is_ok_and(|one| one.uri().is_ok());
        if !path.is_empty() && !NameAddr::list(path.as_bytes()).all(is_route) {
            return Err(fault("path"));
        }
        let call_id = told.call_id.as_deref().unwrap_or(&told.id);
        if call_id.len() > NAME_BYTES_MAX || instance.len() > NAME_BYTES_MAX {
            return Err(fault("callid or instance"));
        }
        let texts = Texts {
            uri: told.uri.as_bytes(),
            call_id: call_id.as_bytes(),
            ruid: b"",
            user_agent: cut(told.user_agent.as_deref().unwrap_or_default()).as_bytes(),
            path: path.as_bytes(),
            received: received.as_bytes(),
            instance: instance.as_bytes(),
            attributes: attributes.as_bytes(),
        };
        let contact = Contact::new(&texts, facts);
        let is_over = told.state == ContactState::Terminated || seconds == 0;
        Ok(if is_over { Wanted::Unbind(contact) } else { Wanted::Bind(contact) })
    }
}

/// As much of an agent's name as storage keeps.
fn cut(text: &str) -> &str {
    let mut end = text.len().min(NAME_BYTES_MAX);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    text.get(..end).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;
    use strowger_sip::time::secs;

    const TODAY: UnixTime = UnixTime::from_secs(1_800_000_000);
    const SOURCE: Source = Source(7);

    fn pen() -> Pen {
        Pen::new(b"secret", "n1", "example.com", true)
    }

    #[test]
    fn what_is_told_comes_back_as_the_same_contact() {
        let texts = Texts {
            uri: b"sip:b@127.0.0.1:6060;x=a&b",
            call_id: b"c1",
            ruid: b"n1-0-5f",
            user_agent: "T&1 \"x\" ä".as_bytes(),
            path: b"<sip:edge;lr>, <sip:e2;lr>",
            received: b"sip:192.0.2.9:4000",
            instance: b"urn:uuid:0-1",
            attributes: b";audio;+x=\"a;b\"",
        };
        let mut facts = Facts::new(TODAY, Some(TODAY + secs(100)));
        facts.created = UnixTime::from_secs(TODAY.as_secs() - 50);
        (facts.cseq, facts.q, facts.reg_id) = (9, Some(500), 2);
        facts.methods = Methods::from_names([&b"INVITE"[..], b"BYE"].into_iter());
        let contact = Contact::new(&texts, facts);
        let bob = Aor::new("bob").expect("a key");
        let pen = pen();
        let uri = pen.uri(&bob);
        let state = (ContactState::Active, Event::Created);
        let told = pen.contact((&bob, &uri), &contact, state, (TODAY, 3));
        let gruu = "sip:bob@example.com;gr=urn:uuid:0-1";
        assert_eq!(told.public_gruu.as_deref(), Some(gruu));
        assert!(told.temporary_gruu.is_some_and(|(uri, _)| uri.ends_with("@example.com;gr")));
        let told = pen.contact((&bob, &uri), &contact, state, (TODAY, 3));
        let reading = Reading { today: TODAY, default_expires: 3600 };
        let Ok(Wanted::Bind(read)) = reading.contact(&told, SOURCE) else { panic!("a contact") };
        assert_eq!(read.texts(), Texts { ruid: b"", ..texts });
        assert_eq!(read.facts, Facts { origin: Origin::Imported(SOURCE), ..facts });
    }

    #[test]
    fn ends_that_are_not_told_and_those_that_have_come() {
        let reading = Reading { today: TODAY, default_expires: 60 };
        let mut told = reginfo::Contact::new("c1", "sip:b@h", ContactState::Active, Event::Created);
        let read = |told: &reginfo::Contact| reading.contact(told, SOURCE).expect("a contact");
        let Wanted::Bind(contact) = read(&told) else { panic!("bound") };
        assert_eq!(contact.facts.expires, Some(TODAY + secs(60)));
        assert_eq!(contact.texts().call_id, b"c1");
        told.expires_seconds = Some(0);
        assert!(matches!(read(&told), Wanted::Unbind(_)));
        (told.expires_seconds, told.state) = (Some(47), ContactState::Terminated);
        assert!(matches!(read(&told), Wanted::Unbind(_)));
    }

    #[test]
    fn values_that_no_contact_has_are_faults() {
        let reading = Reading { today: TODAY, default_expires: 60 };
        let told = || reginfo::Contact::new("c1", "sip:b@h", ContactState::Active, Event::Created);
        for bad in [
            reginfo::Contact { received: Some("no uri".into()), ..told() },
            reginfo::Contact { received: Some(format!("sip:{}", "h".repeat(200))), ..told() },
            reginfo::Contact { path: Some("<sip:a>, what".into()), ..told() },
            reginfo::Contact { call_id: Some("c".repeat(256)), ..told() },
            reginfo::Contact { params: vec![("reg-id".into(), Some("x".into()))], ..told() },
        ] {
            assert!(reading.contact(&bad, SOURCE).is_err(), "{bad:?}");
        }
        let long = reginfo::Contact { user_agent: Some("ä".repeat(200)), ..told() };
        let Ok(Wanted::Bind(contact)) = reading.contact(&long, SOURCE) else { panic!("bound") };
        assert_eq!(contact.texts().user_agent.len(), 254);
    }

    #[test]
    fn keys_become_uris() {
        let uri = |key: &str| pen().uri(&Aor::new(key).expect("a key"));
        assert_eq!(uri("bob"), "sip:bob@example.com");
        assert_eq!(uri("bob@corp.example"), "sip:bob@corp.example");
        assert_eq!(uri("b ob#"), "sip:b%20ob%23@example.com");
        let other = Pen::new(b"secret", "n2", "example.com", true);
        let id = pen().registration_id("sip:bob@example.com");
        assert_eq!(id, pen().registration_id("sip:bob@example.com"));
        assert_ne!(id, other.registration_id("sip:bob@example.com"));
    }
}
