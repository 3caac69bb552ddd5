//! A message between two parties, with what they read of it.
//!
//! For: reading each message once, however many parties look at it, and writing the parties' own.
//! Not here: what a party makes of it (`agent.rs`, `judge.rs`).

use std::fmt;
use std::fmt::Write as _;
use strowger_sip::limits::Limits;
use strowger_sip::message::{Head, HeaderName, Message, MethodKind};

/// A message and its meaning.
#[derive(Debug)]
pub(crate) struct Mail {
    pub(crate) bytes: Vec<u8>,
    /// `None` when it is no message, or misses what every message has.
    pub(crate) read: Option<Reading>,
    /// Made by the adversary: nothing is expected because of it.
    pub(crate) hostile: bool,
}

/// What the simulated parties read of a message.
#[derive(Clone, Debug)]
pub(crate) struct Reading {
    /// Of the request, or of the request that a response answers.
    pub(crate) method: MethodKind,
    pub(crate) status: Option<u16>,
    pub(crate) request_uri: String,
    pub(crate) vias: Vec<String>,
    /// The branch of each Via value.
    pub(crate) branches: Vec<String>,
    pub(crate) from: String,
    pub(crate) to: String,
    pub(crate) from_tag: String,
    pub(crate) to_tag: String,
    pub(crate) call_id: String,
    pub(crate) cseq: u32,
    pub(crate) contact: String,
    pub(crate) record_routes: Vec<String>,
    pub(crate) routes: Vec<String>,
    pub(crate) max_forwards: Option<u32>,
}

impl Mail {
    /// A message as it came.
    pub(crate) fn new(bytes: Vec<u8>) -> Mail {
        let mut head = Head::default();
        let parsed = head.parse(&bytes, &Limits::DATAGRAM).is_ok();
        let read = if parsed { Reading::of(head.message(&bytes)) } else { None };
        Mail { bytes, read, hostile: false }
    }

    /// The call it belongs to.
    pub(crate) fn call_id(&self) -> &str {
        self.read.as_ref().map_or("", |read| &read.call_id)
    }
}

impl fmt::Display for Mail {
    /// One line: what a trace shows.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Some(read) = &self.read else {
            let start: Vec<u8> = self.bytes.iter().copied().take(60).collect();
            return write!(f, "{} bytes: {}", self.bytes.len(), start.escape_ascii());
        };
        let method = word(read.method);
        match read.status {
            Some(status) => write!(f, "{status} ({} {method})", read.cseq)?,
            None => write!(f, "{method} {} ({})", read.request_uri, read.cseq)?,
        }
        let top = read.branches.first().map_or("", |branch| branch);
        write!(f, "  branch {top} of {}", read.vias.len())?;
        if !read.to_tag.is_empty() {
            write!(f, "  to {}", read.to_tag)?;
        }
        if self.hostile {
            f.write_str("  HOSTILE")?;
        }
        Ok(())
    }
}

/// Octets as text, one character each, so that nothing is lost.
pub(crate) fn text(bytes: &[u8]) -> String {
    bytes.iter().map(|&byte| char::from(byte)).collect()
}

/// The octets of such a text.
pub(crate) fn octets(text: &str) -> Vec<u8> {
    text.chars().map(|letter| u8::try_from(letter).unwrap_or(b'?')).collect()
}

/// The method's name on the wire.
pub(crate) fn word(method: MethodKind) -> &'static str {
    method.as_str().unwrap_or("PING")
}

impl Reading {
    fn of(message: Message<'_>) -> Option<Reading> {
        let cseq = message.cseq().ok()?;
        let vias: Option<Vec<_>> = message.vias().map(Result::ok).collect();
        let vias = vias.filter(|vias| !vias.is_empty())?;
        let (from, to) = (message.from().ok()?, message.to().ok()?);
        let contact = message.header(HeaderName::Contact).map_or(&b""[..], |field| field.value);
        let values = |name: HeaderName| {
            message.values(name).map(|value| text(value.bytes)).collect::<Vec<_>>()
        };
        Some(Reading {
            method: message.method().map_or(cseq.method.kind(), |method| method.kind()),
            status: message.status().map(|status| status.code()),
            request_uri: text(message.request_uri().unwrap_or(&[])),
            branches: vias.iter().map(|via| text(via.branch().unwrap_or(&[]))).collect(),
            vias: vias.iter().map(|via| text(via.raw)).collect(),
            from: text(from.raw),
            to: text(to.raw),
            from_tag: text(from.tag().unwrap_or(&[])),
            to_tag: text(to.tag().unwrap_or(&[])),
            call_id: text(message.call_id().ok()?),
            cseq: cseq.number,
            contact: text(contact),
            record_routes: values(HeaderName::RecordRoute),
            routes: values(HeaderName::Route),
            max_forwards: message.max_forwards().ok().flatten(),
        })
    }

    /// The branch of the top Via.
    pub(crate) fn branch(&self) -> &str {
        self.branches.first().map_or("", |branch| branch)
    }

    /// The branch of the Via below the top one.
    pub(crate) fn branch_before(&self) -> Option<&str> {
        self.branches.get(1).map(String::as_str)
    }
}

/// The ACK of a negative response, or a CANCEL: along the way of its INVITE (§9.1, §17.1.1.3).
pub(crate) fn hop_by_hop(invite: &Reading, method: MethodKind, to: &str) -> Mail {
    let mut text = format!("{} {} SIP/2.0\r\n", word(method), invite.request_uri);
    let _ = write!(text, "Via: {}\r\n", invite.vias.first().map_or("", |via| via));
    for route in &invite.routes {
        let _ = write!(text, "Route: {route}\r\n");
    }
    let _ = write!(
        text,
        "From: {}\r\nTo: {to}\r\nCall-ID: {}\r\nCSeq: {} {}\r\nMax-Forwards: 70\r\n",
        invite.from,
        invite.call_id,
        invite.cseq,
        word(method)
    );
    text += "Content-Length: 0\r\n\r\n";
    Mail::new(octets(&text))
}

/// A response of a party to a request.
pub(crate) fn response(request: &Reading, status: u16, tag: &str, contact: &str) -> Mail {
    let mut text = format!("SIP/2.0 {status} {}\r\n", reason(status));
    for via in &request.vias {
        let _ = write!(text, "Via: {via}\r\n");
    }
    for entry in &request.record_routes {
        let _ = write!(text, "Record-Route: {entry}\r\n");
    }
    let bare = request.to_tag.is_empty() && status != 100;
    let tag = if bare { format!(";tag={tag}") } else { String::new() };
    let _ = write!(
        text,
        "From: {}\r\nTo: {}{tag}\r\nCall-ID: {}\r\nCSeq: {} {}\r\n",
        request.from,
        request.to,
        request.call_id,
        request.cseq,
        word(request.method)
    );
    if status < 300 && status != 100 {
        let _ = write!(text, "Contact: {contact}\r\n");
    }
    if matches!(status, 401 | 407) {
        let header = if status == 401 { "WWW-Authenticate" } else { "Proxy-Authenticate" };
        let _ = write!(text, "{header}: Digest realm=\"sim\", nonce=\"{tag}\"\r\n");
    }
    text += "Content-Length: 0\r\n\r\n";
    Mail::new(octets(&text))
}

fn reason(status: u16) -> &'static str {
    match status {
        100 => "Trying",
        180 => "Ringing",
        200 => "OK",
        486 => "Busy Here",
        487 => "Request Terminated",
        _ => "Whatever",
    }
}
