//! A request of a routing's own, put together part by part: Kamailio's `$uac_req(...)`.
//!
//! For: every attribute of it as a method, and the bytes that go out.
//! Not here: sending it (`send.rs`).
//! Invariants: no part can break out of its header; headers that are written here are written once.

use super::secret::{Credential, Secret, is_quotable};
use strowger_sip::time::Duration;

/// When an event tells of an answer (`$uac_req(evroute)`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum TellWhen {
    /// 0: never.
    #[default]
    Never,
    /// 1: of each final answer, a challenge that is answered too.
    Completion,
    /// 2: when it failed. Challenges are not answered then.
    Failure,
}

/// A request that is put together part by part (`$uac_req(...)`).
///
/// ```
/// use strowger_modules::uac::{OwnRequest, Secret};
/// let check = OwnRequest::new("OPTIONS", "sip:192.0.2.20")
///     .from("sip:probe@192.0.2.1")
///     .credentials("probe", Secret::password("secret"));
/// ```
#[derive(Clone, Debug)]
pub struct OwnRequest {
    pub(super) method: String,
    pub(super) uri: String,
    pub(super) from: Option<String>,
    pub(super) to: Option<String>,
    pub(super) from_tag: Option<String>,
    pub(super) to_tag: Option<String>,
    pub(super) next_hop: Option<String>,
    pub(super) headers: Vec<(String, String)>,
    pub(super) body: Option<(String, Vec<u8>)>,
    pub(super) call_id: Option<String>,
    pub(super) cseq: u32,
    pub(super) socket: Option<String>,
    pub(super) credential: Option<Credential>,
    pub(super) tell: TellWhen,
    pub(super) param: String,
    pub(super) timeout: Option<Duration>,
    pub(super) ring_timeout: Option<Duration>,
}

/// Headers that are written here.
const OWN: [&str; 13] = [
    "via",
    "v",
    "to",
    "t",
    "from",
    "f",
    "call-id",
    "i",
    "cseq",
    "content-length",
    "l",
    "authorization",
    "proxy-authorization",
];

impl OwnRequest {
    /// A request of this method for this URI (`method`, `ruri`).
    pub fn new(method: &str, uri: &str) -> OwnRequest {
        OwnRequest {
            method: one_line(method),
            uri: one_line(uri),
            from: None,
            to: None,
            from_tag: None,
            to_tag: None,
            next_hop: None,
            headers: Vec::new(),
            body: None,
            call_id: None,
            cseq: 10,
            socket: None,
            credential: None,
            tell: TellWhen::Never,
            param: String::new(),
            timeout: None,
            ring_timeout: None,
        }
    }

    /// URI or name and URI in From (`furi`); the Request-URI when none is given.
    pub fn from(mut self, address: &str) -> OwnRequest {
        self.from = Some(one_line(address));
        self
    }

    /// URI or name and URI in To (`turi`); the Request-URI when none is given.
    pub fn to(mut self, address: &str) -> OwnRequest {
        self.to = Some(one_line(address));
        self
    }

    /// The tag in From (`ftag`), instead of a random one.
    pub fn from_tag(mut self, tag: &str) -> OwnRequest {
        self.from_tag = Some(token(tag));
        self
    }

    /// A tag in To (`ttag`): the request belongs to a dialog.
    pub fn to_tag(mut self, tag: &str) -> OwnRequest {
        self.to_tag = Some(token(tag));
        self
    }

    /// Where to send it instead of where the Request-URI says (`ouri`).
    pub fn next_hop(mut self, uri: &str) -> OwnRequest {
        self.next_hop = Some(one_line(uri));
        self
    }

    /// One more header (`hdrs`). CR, LF and NUL are left out; so are headers that are written here:
    /// Via, From, To, Call-ID, CSeq, Content-Length, credentials.
    pub fn header(mut self, name: &str, value: &str) -> OwnRequest {
        let name = token(name);
        if !name.is_empty() && !OWN.contains(&name.to_ascii_lowercase().as_str()) {
            self.headers.push((name, one_line(value)));
        }
        self
    }

    /// A body of this type (`body`).
    pub fn body(mut self, content_type: &str, bytes: &[u8]) -> OwnRequest {
        self.body = Some((one_line(content_type), bytes.to_vec()));
        self
    }

    /// The Call-ID (`callid`), instead of a random one.
    pub fn call_id(mut self, call_id: &str) -> OwnRequest {
        let call_id: String = call_id.chars().filter(|c| c.is_ascii_graphic()).collect();
        self.call_id = (!call_id.is_empty()).then_some(call_id);
        self
    }

    /// The number in CSeq (`cseqno`), 10 otherwise.
    pub fn cseq(mut self, number: u32) -> OwnRequest {
        // RFC 3261 §8.1.1.5; a retry has the next one.
        self.cseq = number.clamp(1, (1 << 31) - 16);
        self
    }

    /// The listener that it is sent from (`sock`): `udp:192.0.2.1:5060`.
    pub fn socket(mut self, socket: &str) -> OwnRequest {
        self.socket = Some(one_line(socket));
        self
    }

    /// What answers a challenge (`auser`, `apasswd`, `flags`); no user with a quote in its name.
    pub fn credentials(mut self, user: &str, secret: Secret) -> OwnRequest {
        let (user, realm) = (user.to_owned(), String::new());
        let usable = is_quotable(&user) && !user.is_empty() && !secret.is_empty();
        self.credential = usable.then_some(Credential { user, realm, secret });
        self
    }

    /// When an event tells of answers, and a text that it repeats (`evroute`, `evparam`).
    pub fn tell(mut self, when: TellWhen, param: &str) -> OwnRequest {
        (self.tell, self.param) = (when, param.to_owned());
        self
    }

    /// How long to wait for the final answer, or for any to an INVITE (`fr_timeout`).
    pub fn timeout(mut self, span: Duration) -> OwnRequest {
        self.timeout = Some(span);
        self
    }

    /// How long an INVITE may ring (`fr_inv_timeout`).
    pub fn ring_timeout(mut self, span: Duration) -> OwnRequest {
        self.ring_timeout = Some(span);
        self
    }

    /// Its method.
    pub fn method(&self) -> &str {
        &self.method
    }

    /// Its Request-URI.
    pub fn uri(&self) -> &str {
        &self.uri
    }

    pub(super) fn is_invite(&self) -> bool {
        self.method == "INVITE"
    }

    /// The bytes but for the Via, which is written when it is sent.
    pub(super) fn write(&self, ids: &Ids, proof: Option<&(&'static str, Vec<u8>)>) -> Vec<u8> {
        let OwnRequest { method, uri, .. } = self;
        let to = bracketed(self.to.as_ref().unwrap_or(uri));
        let from = bracketed(self.from.as_ref().unwrap_or(uri));
        let Ids { call_id, tag, cseq } = ids;
        let mut text = format!("{method} {uri} SIP/2.0\r\nTo: {to}");
        if let Some(tag) = &self.to_tag {
            text += &format!(";tag={tag}");
        }
        text += &format!("\r\nFrom: {from};tag={tag}\r\nCSeq: {cseq} {method}\r\n");
        text += &format!("Call-ID: {call_id}\r\n");
        let has = |name: &str| self.headers.iter().any(|(own, _)| own.eq_ignore_ascii_case(name));
        if !has("Max-Forwards") {
            text += "Max-Forwards: 70\r\n";
        }
        for (name, value) in &self.headers {
            text += &format!("{name}: {value}\r\n");
        }
        let (kind, body) = match &self.body {
            Some((kind, body)) => (Some(kind), body.as_slice()),
            None => (None, &[][..]),
        };
        if let Some(kind) = kind.filter(|kind| !kind.is_empty()) {
            text += &format!("Content-Type: {kind}\r\n");
        }
        let mut bytes = text.into_bytes();
        if let Some((name, value)) = proof {
            bytes.extend_from_slice(format!("{name}: ").as_bytes());
            bytes.extend_from_slice(value);
            bytes.extend_from_slice(b"\r\n");
        }
        bytes.extend_from_slice(format!("Content-Length: {}\r\n\r\n", body.len()).as_bytes());
        bytes.extend_from_slice(body);
        bytes
    }
}

fn one_line(text: &str) -> String {
    text.chars().filter(|c| !matches!(c, '\r' | '\n' | '\0')).collect()
}

/// What may be a header's name or a tag.
fn token(text: &str) -> String {
    let fits = |c: &char| c.is_ascii_alphanumeric() || "-.!%*_+`'~".contains(*c);
    text.chars().filter(fits).collect()
}

/// Brackets around a URI that has none.
fn bracketed(address: &str) -> String {
    let has = address.ends_with('>') || address.contains(">;");
    if has { address.to_owned() } else { format!("<{address}>") }
}

/// What the requests of one errand have in common.
#[derive(Debug)]
pub(super) struct Ids {
    pub(super) call_id: String,
    pub(super) tag: String,
    pub(super) cseq: u32,
}
