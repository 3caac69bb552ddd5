//! Templates to bytes.
//!
//! For: everything that is sent, and texts that actions assign.
//! Not here: what keywords there are (`scenario/keyword.rs`).
//! Invariants: a line whose keyword has nothing to stand for is left out whole, as SIPp does it;
//! writing allocates nothing once buffers have grown, digest and dates aside.

use super::call::Call;
use super::digest::{self, Asked};
use super::{Parties, Place, Run};
use crate::scenario::inject::Field;
use crate::scenario::template;
use crate::scenario::{Credentials, Keyword, LastPart, Part, Template, Value, VariableId};
use strowger_sip::message::{HeaderName, Message};
use strowger_sip::time::Instant;

/// What a template is written for.
#[derive(Clone, Copy)]
pub(super) struct Site<'a> {
    pub(super) parties: &'a Parties,
    pub(super) call: &'a Call,
    pub(super) place: &'a Place,
    pub(super) run: &'a Run,
    pub(super) now: Instant,
    pub(super) last: Option<Message<'a>>,
    pub(super) first: Option<Message<'a>>,
}

/// Why a message cannot be written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct NotWritten;

/// What a keyword came to.
enum Written {
    Yes,
    /// Nothing: the line goes.
    No,
}

/// Deepest nesting of templates in fields of a file: a field that holds a field that holds one.
const DEPTH_MAX: usize = 3;

/// Writes a message.
pub(super) fn message(
    site: Site<'_>,
    template: &Template,
    out: &mut Vec<u8>,
) -> Result<(), NotWritten> {
    let start = out.len();
    let mut writing = Writing { site, start, length_at: None, depth: 0 };
    writing.parts(&template.head, out)?;
    let body = out.len();
    let length_in_head = writing.length_at;
    writing.parts(&template.body, out)?;
    if let Some(at) = length_in_head {
        insert_decimal(out, at, out.len() - body);
    }
    Ok(())
}

/// Writes a text that is no message.
pub(super) fn text(
    site: Site<'_>,
    template: &Template,
    out: &mut Vec<u8>,
) -> Result<(), NotWritten> {
    let start = out.len();
    Writing { site, start, length_at: None, depth: 0 }.parts(&template.head, out)
}

/// The template with everything written that never changes at a place.
pub(super) fn bake(site: Site<'_>, template: &Template) -> Template {
    let mut baked = Template::default();
    for (parts, written) in [(&template.head, &mut baked.head), (&template.body, &mut baked.body)] {
        for part in parts {
            match part {
                Part::Text(text) => template::push(written, text),
                Part::Key(key) if is_constant(key) => {
                    let mut out = Vec::new();
                    let mut writing = Writing { site, start: 0, length_at: None, depth: 0 };
                    match writing.key(key, &mut out) {
                        Ok(Written::Yes) => template::push(written, &out),
                        Ok(Written::No) | Err(NotWritten) => written.push(part.clone()),
                    }
                }
                Part::Key(_) => written.push(part.clone()),
            }
        }
    }
    bake_length(&mut baked);
    baked
}

/// A body without keywords has a length that is known.
fn bake_length(template: &mut Template) {
    let lengths = template.body.iter().map(|part| match part {
        Part::Text(text) => Some(text.len()),
        Part::Key(_) => None,
    });
    let Some(length) = lengths.sum::<Option<usize>>() else { return };
    let head = std::mem::take(&mut template.head);
    for part in head {
        match part {
            Part::Text(text) => template::push(&mut template.head, &text),
            Part::Key(Keyword::Length) => {
                template::push(&mut template.head, length.to_string().as_bytes());
            }
            Part::Key(_) => template.head.push(part),
        }
    }
}

fn is_constant(key: &Keyword) -> bool {
    matches!(
        key,
        Keyword::Service
            | Keyword::RemoteIp
            | Keyword::RemotePort
            | Keyword::Transport
            | Keyword::LocalIp
            | Keyword::MediaIp
            | Keyword::LocalIpType
            | Keyword::LocalPort(_)
            | Keyword::MediaPort(_)
            | Keyword::Pid
            | Keyword::Version
    )
}

struct Writing<'a> {
    site: Site<'a>,
    /// Where the text begins.
    start: usize,
    /// Where `[len]` stands.
    length_at: Option<usize>,
    depth: usize,
}

impl<'a> Writing<'a> {
    fn parts(&mut self, parts: &'a [Part], out: &mut Vec<u8>) -> Result<(), NotWritten> {
        let mut skipping = false;
        for part in parts {
            match part {
                Part::Text(text) if !skipping => out.extend_from_slice(text),
                Part::Text(text) => {
                    if let Some(end) = text.iter().position(|byte| *byte == b'\n') {
                        skipping = false;
                        out.extend_from_slice(text.get(end + 1..).unwrap_or(&[]));
                    }
                }
                Part::Key(_) if skipping => {}
                Part::Key(key) => {
                    if let Written::No = self.key(key, out)? {
                        skipping = true;
                        let line = out.get(self.start..).unwrap_or(&[]);
                        let end = line.iter().rposition(|byte| *byte == b'\n');
                        out.truncate(self.start + end.map_or(0, |end| end + 1));
                    }
                }
            }
        }
        Ok(())
    }

    fn key(&mut self, key: &'a Keyword, out: &mut Vec<u8>) -> Result<Written, NotWritten> {
        let Site { parties, call, place, run, now, .. } = self.site;
        match key {
            Keyword::Service => out.extend_from_slice(&parties.service),
            Keyword::RemoteIp => out.extend_from_slice(parties.remote_ip.as_bytes()),
            Keyword::RemotePort => decimal(out, parties.target.port().into()),
            Keyword::Transport => out.extend_from_slice(place.transport.as_bytes()),
            Keyword::LocalIp => out.extend_from_slice(place.ip.as_bytes()),
            Keyword::MediaIp => {
                let ip = place.ip.trim_start_matches('[').trim_end_matches(']');
                out.extend_from_slice(ip.as_bytes());
            }
            Keyword::LocalIpType => out.push(if place.ip.starts_with('[') { b'6' } else { b'4' }),
            Keyword::LocalPort(offset) => signed(out, i64::from(place.port) + offset),
            Keyword::MediaPort(offset) => signed(out, MEDIA_PORT + offset),
            Keyword::Length => {
                self.length_at.get_or_insert(out.len());
            }
            Keyword::CallNumber => decimal(out, call.number),
            Keyword::CallId => out.extend_from_slice(&call.call_id),
            Keyword::CSeq(offset) => signed(out, i64::from(call.cseq) + offset),
            Keyword::Pid => decimal(out, run.pid.into()),
            Keyword::Branch(step) => branch(out, run, call.number, *step),
            Keyword::MessageIndex => decimal(out, u64::try_from(call.step).unwrap_or(0)),
            Keyword::Timestamp | Keyword::Date => {
                out.extend_from_slice(run.date(now).as_bytes());
            }
            Keyword::ClockTick => decimal(out, now.as_millis()),
            Keyword::Version => out.extend_from_slice(env!("CARGO_PKG_VERSION").as_bytes()),
            Keyword::DynamicId => {
                decimal(out, run.dynamic_ids.get());
                run.dynamic_ids.set(run.dynamic_ids.get() + 1);
            }
            Keyword::Last(part) => return Ok(look_back(self.site.last, part, out)),
            Keyword::First(part) => return Ok(look_back(self.site.first, part, out)),
            Keyword::NextUrl if call.next_url.is_empty() => return Ok(Written::No),
            Keyword::NextUrl => out.extend_from_slice(&call.next_url),
            Keyword::Routes if call.routes.is_empty() => return Ok(Written::No),
            Keyword::Routes => {
                out.extend_from_slice(b"Route: ");
                out.extend_from_slice(&call.routes);
            }
            Keyword::PeerTagParam if call.peer_tag.is_empty() => {}
            Keyword::PeerTagParam => {
                out.extend_from_slice(b";tag=");
                out.extend_from_slice(&call.peer_tag);
            }
            Keyword::Field { column, file } => return self.field(*column, file.as_deref(), out),
            Keyword::Authentication(credentials) => return self.authentication(credentials, out),
            Keyword::Variable(id) => variable(call, *id, out),
            Keyword::Fill { text, variable } => fill(call, text, *variable, out),
        }
        Ok(Written::Yes)
    }

    fn field(
        &mut self,
        column: usize,
        file: Option<&str>,
        out: &mut Vec<u8>,
    ) -> Result<Written, NotWritten> {
        let Site { parties, call, .. } = self.site;
        let index = match file {
            None => Some(0),
            Some(name) => parties.fields.iter().position(|fields| fields.name == name),
        };
        let index = index.ok_or(NotWritten)?;
        let (Some(fields), Some(line)) = (parties.fields.get(index), call.lines.get(index)) else {
            return Err(NotWritten);
        };
        match fields.write(*line, column, out) {
            Field::Written => Ok(Written::Yes),
            Field::Missing => Err(NotWritten),
            Field::Template(_) if self.depth >= DEPTH_MAX => Err(NotWritten),
            Field::Template(template) => {
                let before = out.len();
                self.depth += 1;
                self.parts(&template.head, out)?;
                self.depth -= 1;
                Ok(if out.len() < before { Written::No } else { Written::Yes })
            }
        }
    }

    /// The method and the URI are those of the message that is being written.
    fn authentication(
        &mut self,
        credentials: &'a Credentials,
        out: &mut Vec<u8>,
    ) -> Result<Written, NotWritten> {
        let Site { parties, call, run, .. } = self.site;
        let (mut user, mut password) = (Vec::new(), Vec::new());
        for (template, text, otherwise) in [
            (&credentials.user, &mut user, &parties.user),
            (&credentials.password, &mut password, &parties.password),
        ] {
            let site = self.site;
            let mut inner = Writing { site, start: 0, length_at: None, depth: self.depth + 1 };
            if template.is_empty() {
                text.extend_from_slice(otherwise);
            } else if self.depth < DEPTH_MAX {
                inner.parts(&template.head, text)?;
            }
        }
        let line = out.get(self.start..).unwrap_or(&[]);
        let mut words = line.split(|byte| *byte == b' ');
        let (method, uri) = (words.next().unwrap_or(&[]), words.next().unwrap_or(&[]));
        let (method, uri) = (method.to_vec(), uri.to_vec());
        let asked = Asked {
            challenge: &call.challenge,
            by_proxy: call.challenged_by_proxy,
            method: &method,
            uri: &uri,
            user: &user,
            password: &password,
            count: call.nonce_count + 1,
            client_nonce: run.nonce ^ call.number,
        };
        digest::write(&asked, out).map(|()| Written::Yes).ok_or(NotWritten)
    }
}

/// Where media would be, if there were any: SIPp's own default.
const MEDIA_PORT: i64 = 6000;

fn look_back(message: Option<Message<'_>>, part: &LastPart, out: &mut Vec<u8>) -> Written {
    let Some(message) = message else { return Written::No };
    match part {
        // Most headers stand once: no need to look for more.
        LastPart::Lines(header) if header.known.is_single() => {
            let Some(field) = message.header(header.known) else { return Written::No };
            let line = message.bytes().get(field.line).unwrap_or(&[]);
            out.extend_from_slice(line.strip_suffix(b"\r\n").unwrap_or(line));
        }
        LastPart::Lines(header) => {
            let start = out.len();
            for field in header.fields(message) {
                if out.len() > start {
                    out.extend_from_slice(b"\r\n");
                }
                let line = message.bytes().get(field.line).unwrap_or(&[]);
                out.extend_from_slice(line.strip_suffix(b"\r\n").unwrap_or(line));
            }
            if out.len() == start {
                return Written::No;
            }
        }
        LastPart::Value(header) => match header.fields(message).next() {
            Some(field) => out.extend_from_slice(field.value),
            None => return Written::No,
        },
        LastPart::RequestUri => match message.request_uri() {
            Some(uri) => out.extend_from_slice(uri),
            None => return Written::No,
        },
        LastPart::CSeqNumber(offset) => match message.cseq() {
            Ok(cseq) => signed(out, i64::from(cseq.number) + offset),
            Err(_) => return Written::No,
        },
        LastPart::Message => out.extend_from_slice(message.bytes()),
    }
    Written::Yes
}

/// The branch of a step of a call.
pub(super) fn branch(out: &mut Vec<u8>, run: &Run, call: u64, step: usize) {
    out.extend_from_slice(b"z9hG4bK");
    hex(out, run.id.into(), 8);
    hex(out, call, 8);
    out.push(b'-');
    decimal(out, u64::try_from(step).unwrap_or(0));
}

fn variable(call: &Call, id: VariableId, out: &mut Vec<u8>) {
    match call.variables.get(id.0).unwrap_or(&Value::Unset) {
        Value::Unset => {}
        Value::Text(text) => out.extend_from_slice(text),
        Value::Number(number) => out.extend_from_slice(format!("{number:.6}").as_bytes()),
        Value::Truth(truth) => out.extend_from_slice(if *truth { b"true" } else { b"false" }),
    }
}

fn fill(call: &Call, text: &str, id: VariableId, out: &mut Vec<u8>) {
    let length = super::act::number(call, id).clamp(0.0, FILL_MAX) as usize;
    out.extend(text.bytes().cycle().take(length));
}

/// Longest filling: what fits a datagram.
const FILL_MAX: f64 = 65_000.0;

/// Appends a number.
pub(super) fn decimal(out: &mut Vec<u8>, mut number: u64) {
    let mut digits = [0u8; 20];
    let mut at = digits.len();
    loop {
        at -= 1;
        digits[at] = b'0' + (number % 10) as u8;
        number /= 10;
        if number == 0 {
            return out.extend_from_slice(&digits[at..]);
        }
    }
}

fn signed(out: &mut Vec<u8>, number: i64) {
    if number < 0 {
        out.push(b'-');
    }
    decimal(out, number.unsigned_abs());
}

/// Appends a number in so many hexadecimal digits, more if it needs more: messages of the same step
/// have the same length.
pub(super) fn hex(out: &mut Vec<u8>, number: u64, width: u32) {
    if let (8, Ok(number)) = (width, u32::try_from(number)) {
        return out.extend_from_slice(&eight_digits(number));
    }
    let needed = (64 - number.leading_zeros()).div_ceil(4);
    for place in (0..needed.max(width)).rev() {
        let digit = number.checked_shr(place * 4).unwrap_or(0) & 15;
        out.push(HEX[digit as usize]);
    }
}

/// All digits at once: each in an octet of its own, then made a letter.
fn eight_digits(number: u32) -> [u8; 8] {
    const EACH: u64 = u64::from_le_bytes([1; 8]);
    let wide = u64::from(number);
    let wide = (wide | (wide << 16)) & 0x0000_ffff_0000_ffff;
    let wide = (wide | (wide << 8)) & 0x00ff_00ff_00ff_00ff;
    let wide = (wide | (wide << 4)) & (EACH * 0x0f);
    let letters = ((wide + EACH * 6) >> 4) & EACH;
    (wide + EACH * u64::from(b'0') + letters * u64::from(b'a' - b'0' - 10)).to_be_bytes()
}

const HEX: &[u8; 16] = b"0123456789abcdef";

/// Puts a number into the middle.
fn insert_decimal(out: &mut Vec<u8>, at: usize, number: usize) {
    let end = out.len();
    decimal(out, u64::try_from(number).unwrap_or(0));
    let digits = out.len() - end;
    if let Some(rest) = out.get_mut(at..) {
        rest.rotate_right(digits);
    }
}

/// The value of the challenge of a response.
pub(super) fn challenge(message: Message<'_>) -> Option<(Vec<u8>, bool)> {
    let find = |name| message.header(name).map(|field| field.value.to_vec());
    let by_server = find(HeaderName::WwwAuthenticate).map(|value| (value, false));
    by_server.or_else(|| find(HeaderName::ProxyAuthenticate).map(|value| (value, true)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_written() {
        let mut out = Vec::new();
        decimal(&mut out, 0);
        decimal(&mut out, u64::MAX);
        signed(&mut out, -12);
        hex(&mut out, 0x2a, 8);
        hex(&mut out, 0x9abc_def0, 8);
        hex(&mut out, 0x1_2345_6789, 8);
        assert_eq!(out, b"018446744073709551615-120000002a9abcdef0123456789");
        insert_decimal(&mut out, 1, 777);
        assert!(out.starts_with(b"07771844"));
    }
}
