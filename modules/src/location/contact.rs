//! A registered contact: one compact record.
//!
//! For: what the table keeps of a binding, what look-ups hand out and events carry. All texts of a
//! contact lie in one allocation.
//! Not here: which contacts an address has (`table.rs`), when two are the same (`change.rs`).
//! Invariants: every text is shorter than 64 KiB and holds no line end; a contact is not changed
//! in place but for its facts.

use super::methods::Methods;
use std::fmt;
use strowger_sip::date::UnixTime;
use strowger_sip::message::Uri;
use strowger_sip::routing::Destination;
use strowger_sip::storage::Version;
use strowger_sip::transport::{Flow, ListenerId};

/// How many texts a contact has.
const TEXTS: usize = 8;

/// A contact's texts, borrowed. What is absent is empty.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Texts<'t> {
    /// The URI as registered.
    pub uri: &'t [u8],
    /// Call-ID of the REGISTER that wrote it last.
    pub call_id: &'t [u8],
    /// Names the contact in storage and RPC: `<node>-<core>-<counter>`.
    pub ruid: &'t [u8],
    /// The registering agent.
    pub user_agent: &'t [u8],
    /// Path as one line of Route values (RFC 3327).
    pub path: &'t [u8],
    /// The URI that its REGISTER came from, where that differs from the contact.
    pub received: &'t [u8],
    /// `+sip.instance` without quotes and brackets (RFC 5626).
    pub instance: &'t [u8],
    /// Other parameters of the Contact value, as `;name=value`.
    pub attributes: &'t [u8],
}

impl<'t> Texts<'t> {
    fn list(&self) -> [&'t [u8]; TEXTS] {
        [
            self.uri,
            self.call_id,
            self.ruid,
            self.user_agent,
            self.path,
            self.received,
            self.instance,
            self.attributes,
        ]
    }
}

/// Names whoever tells of another registrar's contacts: those of one source are reconciled among
/// themselves alone.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Source(pub u32);

/// Where a contact came from; what was imported is never published again (RFC 3680).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Origin {
    /// A REGISTER here or an RPC command.
    #[default]
    Local,
    /// Another registrar's document. Its name says so, in storage too.
    Imported(Source),
}

/// What names of imported contacts begin with, here and in Kamailio.
const IMPORTED: &str = "regi-";

impl Origin {
    /// What the name of a contact of this origin begins with.
    pub(crate) fn prefix(self) -> String {
        match self {
            Origin::Local => String::new(),
            Origin::Imported(Source(source)) => format!("{IMPORTED}{source:08x}-"),
        }
    }

    /// The origin that a contact's name tells.
    pub(crate) fn of_ruid(ruid: &str) -> Origin {
        match ruid.strip_prefix(IMPORTED) {
            Some(rest) => {
                let source = rest.get(..8).and_then(|hex| u32::from_str_radix(hex, 16).ok());
                Origin::Imported(Source(source.unwrap_or(0)))
            }
            None => Origin::Local,
        }
    }
}

/// A contact's numbers.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Facts {
    /// When it ends; `None` for never.
    pub expires: Option<UnixTime>,
    /// When it was written last.
    pub modified: UnixTime,
    /// When it was registered first.
    pub created: UnixTime,
    /// When it last answered a keep-alive request; when written, before the first.
    pub heard: UnixTime,
    /// CSeq of the REGISTER that wrote it last.
    pub cseq: u32,
    /// Preference in thousandths; `None` when undefined.
    pub q: Option<u16>,
    /// Methods that it accepts.
    pub methods: Methods,
    /// Flags of the registering request.
    pub flags: u32,
    /// Flags that a branch to it gets.
    pub cflags: u32,
    /// RFC 5626; 0 for none.
    pub reg_id: u32,
    /// Which node wrote it.
    pub server_id: u32,
    /// Grows with each change.
    pub version: Version,
    /// The listener that the REGISTER came in by.
    pub listener: Option<ListenerId>,
    /// The socket pair to reach it by, where its URI alone does not lead to it.
    pub flow: Option<Flow>,
    /// Where it came from.
    pub origin: Origin,
    /// Whether it sits behind a NAT, so that keep-alives matter.
    pub natted: bool,
    /// Not for storage.
    pub memory_only: bool,
}

impl Facts {
    /// Those of a contact that is written at this moment and ends at that one.
    pub fn new(now: UnixTime, expires: Option<UnixTime>) -> Facts {
        Facts {
            expires,
            modified: now,
            created: now,
            heard: now,
            cseq: 1,
            q: None,
            methods: Methods::ALL,
            flags: 0,
            cflags: 0,
            reg_id: 0,
            server_id: 0,
            version: Version::default(),
            listener: None,
            flow: None,
            origin: Origin::Local,
            natted: false,
            memory_only: false,
        }
    }
}

/// A contact.
#[derive(Clone, PartialEq)]
pub struct Contact {
    text: Box<[u8]>,
    /// Where each text ends; it begins where the one before it ends.
    ends: [u16; TEXTS],
    /// Its numbers.
    pub facts: Facts,
}

impl Contact {
    /// Puts texts and numbers together. A text that would not fit into 64 KiB is left out; whoever
    /// makes a contact checks its own, much lower bounds first.
    pub fn new(texts: &Texts<'_>, facts: Facts) -> Contact {
        let mut text = Vec::with_capacity(texts.list().iter().map(|text| text.len()).sum());
        let mut ends = [0; TEXTS];
        for (end, part) in ends.iter_mut().zip(texts.list()) {
            let fits = u16::try_from(text.len() + part.len()).ok();
            if fits.is_some() {
                text.extend(part.iter().filter(|byte| !matches!(byte, b'\r' | b'\n' | 0)));
            }
            *end = u16::try_from(text.len()).unwrap_or(u16::MAX);
        }
        Contact { text: text.into_boxed_slice(), ends, facts }
    }

    /// The same numbers with other texts.
    #[must_use]
    pub fn with_texts(&self, texts: &Texts<'_>) -> Contact {
        Contact::new(texts, self.facts)
    }

    /// Its texts.
    pub fn texts(&self) -> Texts<'_> {
        let mut start = 0;
        let mut parts = [&[][..]; TEXTS];
        for (part, end) in parts.iter_mut().zip(self.ends) {
            *part = self.text.get(start..usize::from(end)).unwrap_or_default();
            start = usize::from(end);
        }
        let [uri, call_id, ruid, user_agent, path, received, instance, attributes] = parts;
        Texts { uri, call_id, ruid, user_agent, path, received, instance, attributes }
    }

    /// The URI as registered.
    pub fn uri(&self) -> &[u8] {
        self.texts().uri
    }

    /// Its name in storage and RPC.
    pub fn ruid(&self) -> &str {
        std::str::from_utf8(self.texts().ruid).unwrap_or_default()
    }

    /// Whether it is still good at this moment.
    pub fn is_current(&self, now: UnixTime) -> bool {
        self.facts.expires.is_none_or(|end| end > now)
    }

    /// How long it is good from this moment on, in whole seconds; `None` for ever.
    pub fn remaining_seconds(&self, now: UnixTime) -> Option<u64> {
        self.facts.expires.map(|end| end.since(now).as_secs())
    }

    /// How a request gets to it (RFC 3327 §5.3, RFC 5626 §5.3, base of `lookup`).
    pub fn destination(&self) -> Destination<'_> {
        let texts = self.texts();
        let direct = texts.path.is_empty();
        let received = (direct && !texts.received.is_empty()).then_some(texts.received);
        let flow = self.facts.flow.filter(|_| direct);
        let path = (!direct).then_some(texts.path);
        Destination { uri: texts.uri, path, next_hop: received, flow }
    }

    /// Whether both URIs mean the same (RFC 3261 §19.1.4).
    pub fn has_uri(&self, other: &[u8]) -> bool {
        let own = self.uri();
        own == other
            || match (Uri::parse(own), Uri::parse(other)) {
                (Ok(own), Ok(other)) => own.is_equivalent(&other),
                (Ok(_), Err(_)) | (Err(_), Ok(_)) | (Err(_), Err(_)) => false,
            }
    }

    /// Bytes that it takes beside its own size.
    pub fn heap_bytes(&self) -> usize {
        self.text.len()
    }
}

impl fmt::Debug for Contact {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "<{}> {:?}", self.uri().escape_ascii(), self.facts)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_come_back_and_hold_no_line_end() {
        let texts = Texts { uri: b"sip:b@h", user_agent: b"a\r\nb", path: b"<sip:e;lr>", ..TEXT };
        let contact = Contact::new(&texts, Facts::new(UnixTime::from_secs(1), None));
        assert_eq!(contact.texts().user_agent, b"ab");
        assert_eq!(contact.texts().path, b"<sip:e;lr>");
        assert_eq!(contact.ruid(), "n-0-1");
        let huge = vec![b'x'; 70_000];
        let contact = contact.with_texts(&Texts { user_agent: &huge, ..texts });
        assert_eq!(contact.texts().user_agent, b"");
        assert_eq!(contact.texts().path, b"<sip:e;lr>");
    }

    #[test]
    fn a_name_tells_where_its_contact_came_from() {
        for origin in [Origin::Local, Origin::Imported(Source(0)), Origin::Imported(Source(!7))] {
            assert_eq!(Origin::of_ruid(&format!("{}n1-0-5f", origin.prefix())), origin);
        }
        assert_eq!(Origin::of_ruid("regi-é"), Origin::Imported(Source(0)));
    }

    #[test]
    fn a_path_leads_before_where_it_was_received_from() {
        let received = Texts { uri: b"sip:b@h", received: b"sip:192.0.2.9:4000", ..TEXT };
        let contact = Contact::new(&received, Facts::new(UnixTime::from_secs(1), None));
        assert_eq!(contact.destination().next_hop, Some(&b"sip:192.0.2.9:4000"[..]));
        let both = contact.with_texts(&Texts { path: b"<sip:e;lr>", ..received });
        assert_eq!(both.destination().next_hop, None);
        assert_eq!(both.destination().path, Some(&b"<sip:e;lr>"[..]));
    }

    const TEXT: Texts<'static> = Texts {
        uri: b"",
        call_id: b"c",
        ruid: b"n-0-1",
        user_agent: b"",
        path: b"",
        received: b"",
        instance: b"",
        attributes: b"",
    };
}
