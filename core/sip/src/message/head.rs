//! The index of a message: where its start line, headers and body are.
//!
//! For: reading a datagram once, without copying, into scratch that is used again for the next one.
//! Not here: what header values mean (`message.rs` and a file for each), stream framing
//! (`stream.rs`).
//! Invariants: all offsets lie inside the bytes that were parsed; linear in their number. A message
//! that fails keeps what was found, so that a refusal can be addressed.

use memchr::{memchr, memchr_iter, memrchr};

use super::error::{ParseCause, ParseError};
use super::header::HeaderName;
use super::line;
use super::marks::Marks;
use super::message::Message;
use super::method::{Method, MethodKind};
use super::octet::{TOKEN, all, decimal, slice, span, trim, trim_end, trim_start};
use super::status::StatusCode;
use crate::limits::Limits;

/// A part of the message.
#[derive(Clone, Copy, Default)]
pub(super) struct Span {
    pub(super) start: u32,
    pub(super) end: u32,
}

impl Span {
    fn new(start: usize, end: usize) -> Span {
        Span { start: offset(start), end: offset(end) }
    }

    #[inline]
    pub(super) fn of(self, bytes: &[u8]) -> &[u8] {
        slice(bytes, self.start as usize, self.end as usize)
    }
}

/// `parse` refuses what is longer, so nothing is ever cut off here.
#[inline]
fn offset(at: usize) -> u32 {
    at as u32
}

/// What the first line is.
#[derive(Clone, Copy, Default)]
pub(super) enum Start {
    /// Nothing that could be read.
    #[default]
    Unread,
    Request {
        kind: MethodKind,
        method: Span,
        uri: Span,
    },
    Response {
        status: StatusCode,
        reason: Span,
    },
}

/// One header line with its continuation lines.
#[derive(Clone, Copy)]
pub(super) struct Entry {
    /// Where the line starts.
    pub(super) start: u32,
    /// Where the next line starts.
    pub(super) end: u32,
    /// What stands behind the colon, without the white space around it.
    pub(super) value: Span,
    /// From the start of the line to its colon.
    pub(super) colon: u16,
    pub(super) name: HeaderName,
    /// Whether the value must be copied with care (folds, or octets that do not belong there).
    pub(super) unclean: bool,
}

/// Marks a header that is not in the message.
const ABSENT: u16 = u16::MAX;

/// Enough for an INVITE of a carrier; more need room once, and the room is used again.
const ENTRIES_RESERVED: usize = 32;

/// Where the parts of one message are. Scratch: `parse` it again for the next message.
#[derive(Clone)]
pub struct Head {
    pub(super) start: Start,
    pub(super) entries: Vec<Entry>,
    /// The first entry of each name.
    first: [u16; HeaderName::COUNT],
    pub(super) body: Span,
    duplicate: Option<HeaderName>,
}

impl Default for Head {
    fn default() -> Head {
        Head {
            start: Start::Unread,
            entries: Vec::new(),
            first: [ABSENT; HeaderName::COUNT],
            body: Span::default(),
            duplicate: None,
        }
    }
}

/// Keeps the first mistake; the rest of the message is still read, for the answer's sake.
struct Verdict(Result<(), ParseError>);

impl Verdict {
    #[cold]
    fn refuse(&mut self, header: HeaderName, offset: usize, cause: ParseCause) {
        if self.0.is_ok() {
            self.0 = Err(ParseError { header, offset, cause });
        }
    }
}

impl Head {
    /// Reads one datagram, or one message that `Framer` cut out of a stream. On `Err` the head
    /// still holds whatever was found, so that Via, From, To, Call-ID and CSeq can be salvaged for
    /// a reply.
    pub fn parse(&mut self, bytes: &[u8], limits: &Limits) -> Result<(), ParseError> {
        self.parse_between(bytes, limits, Marks::new(bytes))
    }

    /// The same from mark to mark.
    fn parse_between(
        &mut self,
        bytes: &[u8],
        limits: &Limits,
        mut marks: Marks<'_>,
    ) -> Result<(), ParseError> {
        self.clear();
        let mut verdict = Verdict(Ok(()));
        let length_max = limits.message_bytes_max.min(u32::MAX as usize);
        if bytes.len() > length_max {
            let cause = ParseCause::TooLong { length: bytes.len(), limit: length_max };
            verdict.refuse(HeaderName::StartLine, length_max, cause);
        }
        if bytes.len() >= u32::MAX as usize {
            return verdict.0;
        }
        let at = line::first(bytes);
        let start_line = match line::plain(bytes, marks.next(at)) {
            Some(line) => line,
            None => line::single(bytes, at),
        };
        if let Some(fault) = start_line.fault {
            verdict.refuse(HeaderName::StartLine, fault, line::cause(bytes, fault));
        }
        self.read_start(slice(bytes, 0, start_line.end), at, limits, &mut verdict);
        if let Start::Unread = self.start {
            return verdict.0;
        }
        let body = self.read_headers(bytes, start_line.next, limits, &mut marks, &mut verdict);
        self.count_lists(bytes, limits, &mut verdict);
        self.read_body(bytes, body, &mut verdict);
        verdict.0
    }

    /// The message of which this is the index; `bytes` are those that were parsed.
    #[inline]
    pub fn message<'a>(&'a self, bytes: &'a [u8]) -> Message<'a> {
        Message { bytes, head: self }
    }

    /// The first header that may stand once but stands twice. Its first value is the one that
    /// counts.
    pub fn duplicate(&self) -> Option<HeaderName> {
        self.duplicate
    }

    fn clear(&mut self) {
        self.start = Start::Unread;
        self.entries.clear();
        if self.entries.capacity() == 0 {
            self.entries.reserve(ENTRIES_RESERVED);
        }
        self.first = [ABSENT; HeaderName::COUNT];
        self.body = Span::default();
        self.duplicate = None;
    }

    /// The first entry of a name, and its place among the entries.
    #[inline]
    pub(super) fn find(&self, name: HeaderName) -> Option<(usize, &Entry)> {
        let index = usize::from(*self.first.get(name as usize)?);
        self.entries.get(index).map(|entry| (index, entry))
    }

    fn read_start(&mut self, line: &[u8], at: usize, limits: &Limits, verdict: &mut Verdict) {
        let text = slice(line, at, line.len());
        let read = match text.get(..4) {
            Some(prefix) if prefix.eq_ignore_ascii_case(b"SIP/") => read_status_line(text, at),
            Some(_) | None => read_request_line(text, at, limits),
        };
        match read {
            Ok(start) => self.start = start,
            Err((start, error)) => {
                self.start = start;
                verdict.refuse(error.header, error.offset, error.cause);
            }
        }
    }

    /// Indexes the header lines; tells where the body starts.
    fn read_headers(
        &mut self,
        bytes: &[u8],
        mut at: usize,
        limits: &Limits,
        marks: &mut Marks<'_>,
        verdict: &mut Verdict,
    ) -> usize {
        loop {
            if let Some(entry) = whole(bytes, at, marks) {
                at = entry.end as usize;
                self.push(entry, limits, verdict);
                continue;
            }
            if let Some(body) = line::blank(bytes, at) {
                if body != at + 2 {
                    verdict.refuse(HeaderName::Other, at, ParseCause::UnexpectedByte(b'\n'));
                }
                return body;
            }
            if at >= bytes.len() {
                verdict.refuse(HeaderName::Other, at, ParseCause::UnexpectedEnd);
                return at;
            }
            at = self.read_header(bytes, at, limits, verdict);
        }
    }

    /// Indexes one header line that is not of the common kind, or wrong; tells where the next one
    /// starts.
    fn read_header(
        &mut self,
        bytes: &[u8],
        at: usize,
        limits: &Limits,
        verdict: &mut Verdict,
    ) -> usize {
        let (name_end, colon) = match line::name(bytes, at) {
            Ok(found) => found,
            Err(wrong) => {
                verdict.refuse(HeaderName::Other, wrong, line::cause(bytes, wrong));
                return line::folded(bytes, at).next;
            }
        };
        let name = HeaderName::from_bytes(slice(bytes, at, name_end));
        let line = line::folded(bytes, colon);
        if let Some(fault) = line.fault {
            verdict.refuse(name, fault, line::cause(bytes, fault));
        }
        let Ok(colon) = u16::try_from(colon - at) else {
            let cause = ParseCause::TooLong { length: colon - at, limit: usize::from(u16::MAX) };
            verdict.refuse(name, at, cause);
            return line.next;
        };
        let unclean = line.unclean;
        let value = value(bytes, at + usize::from(colon) + 1, line.next);
        let entry =
            Entry { start: offset(at), end: offset(line.next), value, colon, name, unclean };
        self.push(entry, limits, verdict);
        line.next
    }

    #[inline]
    fn push(&mut self, entry: Entry, limits: &Limits, verdict: &mut Verdict) {
        let index = self.entries.len();
        if let Some(first) = self.first.get_mut(entry.name as usize) {
            let is_first = *first == ABSENT;
            if index >= limits.headers_max.min(usize::from(ABSENT)) {
                let cause = ParseCause::TooMany { limit: limits.headers_max };
                verdict.refuse(entry.name, entry.start as usize, cause);
                // Past the limit only what an answer cannot do without is still kept.
                if !(is_first && is_essential(entry.name)) || index >= usize::from(ABSENT) {
                    return;
                }
            }
            if is_first {
                // Below ABSENT, as was just checked.
                *first = index as u16;
            } else if entry.name.is_single() {
                self.duplicate.get_or_insert(entry.name);
            }
        }
        self.entries.push(entry);
    }

    /// Counts Via, Route and Record-Route values. A head too small to hold too many is not counted.
    fn count_lists(&self, bytes: &[u8], limits: &Limits, verdict: &mut Verdict) {
        // The shortest Via value is `SIP/2.0/X h,`, the shortest Route value `<a:b>,`.
        if bytes.len() / 12 > limits.vias_max {
            self.count_list(bytes, HeaderName::Via, limits.vias_max, verdict);
        }
        if bytes.len() / 6 > limits.routes_max {
            self.count_list(bytes, HeaderName::Route, limits.routes_max, verdict);
            self.count_list(bytes, HeaderName::RecordRoute, limits.routes_max, verdict);
        }
    }

    fn count_list(&self, bytes: &[u8], name: HeaderName, limit: usize, verdict: &mut Verdict) {
        let Some((index, first)) = self.find(name) else { return };
        let entries = self.entries.get(index..).unwrap_or_default();
        let named = entries.iter().filter(|entry| entry.name == name);
        // A value and its comma are two octets at least.
        let octets: usize = named.clone().map(|entry| (entry.end - entry.start) as usize).sum();
        if octets / 2 <= limit {
            return;
        }
        let line = |entry: &Entry| slice(bytes, entry.start as usize, entry.end as usize);
        // Commas inside quotes and brackets separate nothing, but they are few: first count all of
        // them.
        let most: usize = named.map(|entry| 1 + memchr_iter(b',', line(entry)).count()).sum();
        if most > limit && self.message(bytes).values(name).take(limit + 1).count() > limit {
            verdict.refuse(name, first.start as usize, ParseCause::TooMany { limit });
        }
    }

    /// Applies Content-Length (§18.3): what is missing is a mistake, what is too much is ignored.
    fn read_body(&mut self, bytes: &[u8], start: usize, verdict: &mut Verdict) {
        self.body = Span::new(start, bytes.len());
        let Some((_, entry)) = self.find(HeaderName::ContentLength) else { return };
        let value_start = entry.start as usize + usize::from(entry.colon) + 1;
        let value = entry.value.of(bytes);
        let mut refuse = |cause| verdict.refuse(HeaderName::ContentLength, value_start, cause);
        let is_repeated = |other: &&Entry| other.name == entry.name;
        if self.duplicate.is_some() && self.entries.iter().filter(is_repeated).nth(1).is_some() {
            refuse(ParseCause::Duplicate);
        }
        let promised = match content_length(value) {
            Ok(promised) => promised,
            Err(cause) => return refuse(cause),
        };
        let present = bytes.len().saturating_sub(start);
        if promised > present {
            return refuse(ParseCause::BodyCutShort { promised, present });
        }
        self.body = Span::new(start, start + promised);
    }
}

/// A header line of the common kind, which most are: one line, and a colon right after its name.
#[inline]
fn whole(bytes: &[u8], at: usize, marks: &mut Marks<'_>) -> Option<Entry> {
    let (line, text) = (marks.next(at).checked_sub(at)?, bytes.get(at..)?);
    let [b'\r', b'\n', next] = text.get(line..)?.first_chunk()? else { return None };
    if matches!(next, b' ' | b'\t') {
        return None;
    }
    let (name, colon) = match HeaderName::before_colon(text) {
        Some(known) => known,
        None => named(text)?,
    };
    // One blank in front and none behind is what most values have.
    let (blank, first, last) =
        (text.get(colon + 1)?, text.get(colon + 2)?, text.get(line.checked_sub(1)?)?);
    let is_tidy = *blank == b' ' && *first > b' ' && *last != b' ' && colon + 2 < line;
    let value = match is_tidy {
        true => Span::new(at + colon + 2, at + line),
        false if colon < line => value(bytes, at + colon + 1, at + line),
        false => return None,
    };
    let (start, end) = (offset(at), offset(at + line + 2));
    let colon = u16::try_from(colon).ok()?;
    Some(Entry { start, end, value, colon, name, unclean: false })
}

/// A name that is none of those that are known at once, and where its colon is.
#[cold]
fn named(line: &[u8]) -> Option<(HeaderName, usize)> {
    let (name_end, colon) = line::name(line, 0).ok()?;
    Some((HeaderName::from_bytes(slice(line, 0, name_end)), colon))
}

/// A part without the white space around it.
#[cold]
fn value(bytes: &[u8], start: usize, end: usize) -> Span {
    let part = trim_end(slice(bytes, start, end));
    let blanks = part.len() - trim_start(part).len();
    Span::new(start + blanks, start + part.len())
}

/// What a reply copies and a shard needs (RFC 3261 §8.2.6.2).
fn is_essential(name: HeaderName) -> bool {
    [HeaderName::Via, HeaderName::From, HeaderName::To, HeaderName::CallId, HeaderName::CSeq]
        .contains(&name)
}

/// Reads a Content-Length value.
pub(super) fn content_length(value: &[u8]) -> Result<usize, ParseCause> {
    let digits = trim(value);
    match digits.iter().find(|byte| !byte.is_ascii_digit()) {
        Some(byte) => Err(ParseCause::UnexpectedByte(*byte)),
        None if digits.is_empty() => Err(ParseCause::UnexpectedEnd),
        None => decimal(digits).map(|length| length as usize).ok_or(ParseCause::OutOfRange),
    }
}

type StartResult = Result<Start, (Start, ParseError)>;

fn wrong(start: Start, offset: usize, cause: ParseCause) -> StartResult {
    Err((start, ParseError { header: HeaderName::StartLine, offset, cause }))
}

const VERSION: &[u8] = b"SIP/2.0";

/// `METHOD SP URI SP SIP/2.0`, each blank exactly one (§7.1).
fn read_request_line(text: &[u8], base: usize, limits: &Limits) -> StartResult {
    match plain_request_line(text, base, limits) {
        Some(start) => Ok(start),
        None => judge_request_line(text, base, limits),
    }
}

/// A request line without mistake, as most are.
#[inline]
fn plain_request_line(text: &[u8], base: usize, limits: &Limits) -> Option<Start> {
    let (front, version) = text.split_last_chunk()?;
    let method_end = span(front, TOKEN);
    let (b' ', uri) = front.get(method_end..)?.split_first()? else { return None };
    let fits = (1..=limits.method_bytes_max).contains(&method_end)
        && (1..=limits.uri_bytes_max).contains(&uri.len());
    (fits && version == b" SIP/2.0" && memchr(b' ', uri).is_none()).then(|| Start::Request {
        kind: Method::from_bytes(slice(front, 0, method_end)).kind(),
        method: Span::new(base, base + method_end),
        uri: Span::new(base + method_end + 1, base + front.len()),
    })
}

/// The same of any line, and what is wrong with it.
fn judge_request_line(text: &[u8], base: usize, limits: &Limits) -> StartResult {
    let method_end = memchr(b' ', text).unwrap_or(text.len());
    let method = slice(text, 0, method_end);
    if method.is_empty() || method_end == text.len() || !all(method, TOKEN) {
        return wrong(Start::Unread, base, ParseCause::NotSip);
    }
    let uri_start = method_end + 1;
    // With a single blank there is no version, and all the rest is the URI.
    let uri_end = memrchr(b' ', slice(text, uri_start, text.len()));
    let uri_end = uri_end.map_or(text.len(), |blank| uri_start + blank);
    let version = slice(text, uri_end + 1, text.len());
    let uri = slice(text, uri_start, uri_end);
    let start = Start::Request {
        kind: Method::from_bytes(method).kind(),
        method: Span::new(base, base + method_end),
        uri: Span::new(base + uri_start, base + uri_end),
    };
    if !version.eq_ignore_ascii_case(VERSION) {
        return match version.first() {
            None => wrong(start, base + text.len(), ParseCause::UnexpectedEnd),
            Some(_) if is_sip_version(version) => {
                wrong(start, base + uri_end + 1, ParseCause::UnsupportedVersion)
            }
            Some(_) if memchr(b'/', version).is_some() => {
                wrong(Start::Unread, base + uri_end + 1, ParseCause::NotSip)
            }
            Some(byte) => wrong(start, base + uri_end + 1, ParseCause::UnexpectedByte(*byte)),
        };
    }
    if method.len() > limits.method_bytes_max {
        let cause = ParseCause::TooLong { length: method.len(), limit: limits.method_bytes_max };
        return wrong(start, base, cause);
    }
    if uri.len() > limits.uri_bytes_max {
        let cause = ParseCause::UriTooLong { length: uri.len(), limit: limits.uri_bytes_max };
        return wrong(start, base + uri_start, cause);
    }
    if uri.is_empty() {
        return wrong(start, base + uri_start, ParseCause::UnexpectedByte(b' '));
    }
    match memchr(b' ', uri) {
        Some(blank) => wrong(start, base + uri_start + blank, ParseCause::UnexpectedByte(b' ')),
        None => Ok(start),
    }
}

/// `SIP/` and two numbers with a full stop between them.
fn is_sip_version(version: &[u8]) -> bool {
    let Some((name, numbers)) = version.split_at_checked(4) else { return false };
    let stop = memchr(b'.', numbers).unwrap_or(numbers.len());
    let (major, minor) = (slice(numbers, 0, stop), slice(numbers, stop + 1, numbers.len()));
    let is_number = |digits: &[u8]| !digits.is_empty() && digits.iter().all(u8::is_ascii_digit);
    name.eq_ignore_ascii_case(b"SIP/") && is_number(major) && is_number(minor)
}

/// `SIP/2.0 SP 3 digits SP text` (§7.2). Without text the last blank may be missing.
fn read_status_line(text: &[u8], base: usize) -> StartResult {
    let plain = text.first_chunk() == Some(b"SIP/2.0 ");
    let blank = if plain { Some(VERSION.len()) } else { memchr(b' ', text) };
    let version_end = blank.unwrap_or(text.len());
    let version = slice(text, 0, version_end);
    if !plain && !version.eq_ignore_ascii_case(VERSION) {
        let is_version = is_sip_version(version);
        let cause = if is_version { ParseCause::UnsupportedVersion } else { ParseCause::NotSip };
        return wrong(Start::Unread, base, cause);
    }
    let digits = slice(text, version_end + 1, version_end + 4);
    let reason_start = match text.get(version_end + 4) {
        None => text.len(),
        Some(b' ') => version_end + 5,
        Some(byte) => {
            return wrong(Start::Unread, base + version_end + 4, ParseCause::UnexpectedByte(*byte));
        }
    };
    let code = decimal(digits).and_then(|code| u16::try_from(code).ok());
    match code.and_then(StatusCode::new) {
        Some(status) => {
            let reason = Span::new(base + reason_start, base + text.len());
            Ok(Start::Response { status, reason })
        }
        None => wrong(Start::Unread, base + version_end + 1, ParseCause::OutOfRange),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const INVITE: &[u8] = include_bytes!("../../../../tests/messages/invite.sip");

    fn parse(bytes: &[u8]) -> (Head, Result<(), ParseError>) {
        let mut head = Head::default();
        let verdict = head.parse(bytes, &Limits::DATAGRAM);
        (head, verdict)
    }

    fn status(text: &str) -> u16 {
        let (_, verdict) = parse(text.as_bytes());
        verdict.err().map_or(0, |error| error.status().code())
    }

    fn cause(text: &str) -> ParseCause {
        parse(text.as_bytes()).1.expect_err("a mistake").cause
    }

    #[test]
    fn every_line_and_the_body_are_found() {
        let (head, verdict) = parse(INVITE);
        assert_eq!(verdict, Ok(()));
        let message = head.message(INVITE);
        assert_eq!(message.fields().count(), 12);
        assert!(message.body().starts_with(b"v=0\r\n"));
        assert_eq!(message.header(HeaderName::MaxForwards).map(|f| f.value), Some(&b"70"[..]));
    }

    /// What an index says, in a form that can be compared.
    fn told(head: &Head) -> impl PartialEq + std::fmt::Debug {
        let of = |span: Span| (span.start, span.end);
        let start = match head.start {
            Start::Unread => (99, (0, 0), (0, 0)),
            Start::Request { kind, method, uri } => (kind as u16, of(method), of(uri)),
            Start::Response { status, reason } => (status.code(), of(reason), (0, 0)),
        };
        let entries: Vec<_> = head
            .entries
            .iter()
            .map(|entry| {
                (entry.start, entry.end, of(entry.value), entry.colon, entry.name, entry.unclean)
            })
            .collect();
        (start, entries, head.first.to_vec(), of(head.body), head.duplicate)
    }

    #[test]
    fn the_fast_way_and_the_slow_way_agree_whatever_octet_is_changed() {
        const OCTETS: &[u8] = b"\0\t\n\r :,;\"<\\-Avtl2\x7f\xff";
        let texts: [&[u8]; 4] = [
            INVITE,
            include_bytes!("../../../../tests/messages/ok-to-invite.sip"),
            include_bytes!("../../../../tests/messages/torture-white-space.sip"),
            b"BYE sip:h SIP/2.0\r\nVia: a\r\nv:b\r\nX-y: c\r\nl: 0\r\n\r\nabc",
        ];
        let (mut fast, mut slow) = (Head::default(), Head::default());
        let mut compare = |bytes: &[u8]| {
            let verdict = fast.parse(bytes, &Limits::DATAGRAM);
            let twin = slow.parse_between(bytes, &Limits::DATAGRAM, Marks::blind());
            assert_eq!(verdict, twin, "{}", bytes.escape_ascii());
            assert_eq!(told(&fast), told(&slow), "{}", bytes.escape_ascii());
        };
        for text in texts {
            for at in 0..text.len() {
                compare(&text[..at]);
                let mut changed = text.to_vec();
                for octet in OCTETS {
                    changed[at] = *octet;
                    compare(&changed);
                }
                changed.remove(at);
                compare(&changed);
            }
        }
    }

    #[test]
    fn noise_before_the_message_is_skipped() {
        let noisy = [b"\r\n\0 \r\n", INVITE].concat();
        let (head, verdict) = parse(&noisy);
        assert_eq!(verdict, Ok(()));
        assert_eq!(head.message(&noisy).request_uri(), Some(&b"sip:bob@biloxi.example"[..]));
    }

    #[test]
    fn the_same_scratch_reads_the_next_message() {
        let (mut head, _) = parse(INVITE);
        let next = b"BYE sip:h SIP/2.0\r\nTo: x\r\n\r\n";
        assert_eq!(head.parse(next, &Limits::DATAGRAM), Ok(()));
        assert_eq!(head.message(next).fields().count(), 1);
        assert!(head.message(next).header(HeaderName::Via).is_none());
    }

    #[test]
    fn broken_request_lines_get_their_status() {
        assert_eq!(status("BYE sip:h SIP/7.0\r\n\r\n"), 505);
        assert_eq!(status("BYE sip:h sip/2.0\r\n\r\n"), 0);
        assert_eq!(status("BYE sip:h\r\n\r\n"), 400);
        assert_eq!(status("BYE  sip:h SIP/2.0\r\n\r\n"), 400);
        assert_eq!(status("BYE sip:h; lr SIP/2.0\r\n\r\n"), 400);
        assert_eq!(status("BYE sip:h  SIP/2.0\r\n\r\n"), 400);
        assert_eq!(status("BYE sip:h SIP/2.0 \r\n\r\n"), 400);
        assert_eq!(status(&format!("BYE sip:{} SIP/2.0\r\n\r\n", "h".repeat(1024))), 414);
        assert_eq!(status(&format!("{} sip:h SIP/2.0\r\n\r\n", "B".repeat(65))), 513);
    }

    #[test]
    fn other_protocols_are_told_apart() {
        for text in [
            "",
            "\r\n\r\n",
            "GET / HTTP/1.1\r\nHost: x\r\n\r\n",
            "\x16\x03\x01\x02\0\x01",
            "\0\x01\0\0!\x12\u{a4}B",
            "hello",
            "B\0YE sip:h SIP/2.0\r\n\r\n",
            "SIP/HTTP 200 OK\r\n\r\n",
        ] {
            assert!(!parse(text.as_bytes()).0.message(b"").is_request(), "{text:?}");
            assert!(matches!(parse(text.as_bytes()).0.start, Start::Unread), "{text:?}");
        }
        assert_eq!(cause("GET / HTTP/1.1\r\n\r\n"), ParseCause::NotSip);
    }

    #[test]
    fn status_lines_need_three_digits_of_a_class() {
        let code = |text: &str| {
            let (head, verdict) = parse(text.as_bytes());
            verdict.ok().and_then(|()| head.message(text.as_bytes()).status()).map(|s| s.code())
        };
        assert_eq!(code("SIP/2.0 200 OK\r\n\r\n"), Some(200));
        assert_eq!(code("sip/2.0 699 \r\n\r\n"), Some(699));
        assert_eq!(code("SIP/2.0 100\r\n\r\n"), Some(100));
        for text in ["SIP/2.0 099 x", "SIP/2.0 700 x", "SIP/2.0 4294967301 x", "SIP/2.0 20 x"] {
            assert_eq!(code(&format!("{text}\r\n\r\n")), None, "{text}");
        }
        assert_eq!(status("SIP/3.0 200 OK\r\n\r\n"), 505);
    }

    #[test]
    fn a_line_that_is_no_header_is_refused_and_the_rest_still_read() {
        let text = b"BYE sip:h SIP/2.0\r\nnonsense\r\n: x\r\nTo: y\r\n\r\n";
        let (head, verdict) = parse(text);
        let error = verdict.expect_err("nonsense");
        assert_eq!((error.offset, error.cause), (27, ParseCause::UnexpectedByte(b'\r')));
        assert_eq!(head.message(text).header(HeaderName::To).map(|f| f.value), Some(&b"y"[..]));
    }

    #[test]
    fn only_crlf_ends_a_line() {
        assert_eq!(cause("BYE sip:h SIP/2.0\nTo: x\n\n"), ParseCause::UnexpectedByte(b'\n'));
        assert_eq!(
            cause("BYE sip:h SIP/2.0\r\nTo: x\rVia: y\r\n\r\n"),
            ParseCause::UnexpectedByte(b'\r')
        );
        assert_eq!(cause("BYE sip:h SIP/2.0\r\nTo: x\0y\r\n\r\n"), ParseCause::UnexpectedByte(0));
        assert_eq!(status("BYE sip:h SIP/2.0\r\nTo: \"\\\0\" <sip:x>\r\n\r\n"), 0);
    }

    #[test]
    fn a_head_without_blank_line_is_refused() {
        assert_eq!(cause("BYE sip:h SIP/2.0\r\nTo: x\r\n"), ParseCause::UnexpectedEnd);
        assert_eq!(cause("BYE sip:h SIP/2.0\r\nTo: x"), ParseCause::UnexpectedEnd);
        assert_eq!(cause("BYE sip:h SIP/2.0"), ParseCause::UnexpectedEnd);
    }

    #[test]
    fn content_length_rules_the_body() {
        let body = |lines: &str| {
            let text = format!("BYE sip:h SIP/2.0\r\n{lines}\r\nbody");
            let (head, verdict) = parse(text.as_bytes());
            verdict.map(|()| head.message(text.as_bytes()).body().to_vec()).map_err(|e| e.cause)
        };
        assert_eq!(body(""), Ok(b"body".to_vec()));
        assert_eq!(body("l: 2\r\n"), Ok(b"bo".to_vec()));
        assert_eq!(body("Content-Length:\r\n 0004 \r\n"), Ok(b"body".to_vec()));
        let short = ParseCause::BodyCutShort { promised: 5, present: 4 };
        assert_eq!(body("l: 5\r\n"), Err(short));
        assert_eq!(body("l: -1\r\n"), Err(ParseCause::UnexpectedByte(b'-')));
        assert_eq!(body("l: 4 4\r\n"), Err(ParseCause::UnexpectedByte(b' ')));
        assert_eq!(body("l: 4, 4\r\n"), Err(ParseCause::UnexpectedByte(b',')));
        assert_eq!(body("l: \r\n"), Err(ParseCause::UnexpectedEnd));
        assert_eq!(body("l: 0x4\r\n"), Err(ParseCause::UnexpectedByte(b'x')));
        assert_eq!(body("l: 18446744073709551616\r\n"), Err(ParseCause::OutOfRange));
        assert_eq!(body("l: 4\r\nContent-Length: 4\r\n"), Err(ParseCause::Duplicate));
    }

    #[test]
    fn a_second_single_value_header_is_reported() {
        let (head, verdict) =
            parse(b"BYE sip:h SIP/2.0\r\nTo: x\r\nVia: y\r\nVia: z\r\nt: w\r\n\r\n");
        assert_eq!(verdict, Ok(()));
        assert_eq!(head.duplicate(), Some(HeaderName::To));
    }

    #[test]
    fn a_duplicate_content_length_is_refused_behind_another_duplicate() {
        let text = "BYE sip:h SIP/2.0\r\nTo: x\r\nTo: x\r\nl: 0\r\nl: 0\r\n\r\n";
        assert_eq!(cause(text), ParseCause::Duplicate);
    }

    #[test]
    fn beyond_the_limit_the_essentials_are_still_found() {
        let mut text = b"BYE sip:h SIP/2.0\r\n".to_vec();
        for _ in 0..10_000 {
            text.extend_from_slice(b"X: \r\n");
        }
        text.extend_from_slice(b"v: a\r\nv: b\r\nf: c\r\nt: d\r\ni: e\r\nCSeq: 1 BYE\r\n\r\n");
        let (head, verdict) = parse(&text);
        let error = verdict.expect_err("too many headers");
        assert_eq!(error.cause, ParseCause::TooMany { limit: 256 });
        assert_eq!(error.status(), StatusCode::MESSAGE_TOO_LARGE);
        assert_eq!(head.entries.len(), 256 + 5);
        assert_eq!(head.message(&text).call_id(), Ok(&b"e"[..]));
    }

    #[test]
    fn list_values_are_counted_over_commas_and_fields() {
        let vias = |count: usize, comma: &str| {
            let list = vec!["SIP/2.0/UDP h;x=\",\""; count].join(comma);
            status(&format!("BYE sip:h SIP/2.0\r\nVia: {list}\r\n\r\n"))
        };
        for comma in [",", "\r\nv: "] {
            assert_eq!(vias(70, comma), 0);
            assert_eq!(vias(71, comma), 513);
        }
        assert_eq!(vias(4000, ","), 513);
        let routes = |count| "<sip:h;lr>,".repeat(count);
        let with = |name, count| {
            status(&format!("BYE sip:h SIP/2.0\r\n{name}: {}\r\n\r\n", routes(count)))
        };
        assert_eq!((with("Route", 64), with("Route", 65)), (0, 513));
        assert_eq!((with("Record-Route", 64), with("Record-Route", 65)), (0, 513));
    }

    #[test]
    fn a_message_beyond_the_limit_is_read_for_its_answer() {
        let limits = Limits { message_bytes_max: 600, ..Limits::DATAGRAM };
        let mut head = Head::default();
        let error = head.parse(INVITE, &limits).expect_err("too long");
        assert_eq!(error.status(), StatusCode::MESSAGE_TOO_LARGE);
        assert!(head.message(INVITE).top_via().is_ok());
    }

    #[test]
    fn a_colon_beyond_64_kib_is_refused() {
        let text = format!("BYE sip:h SIP/2.0\r\nTo{}: x\r\n\r\n", " ".repeat(70_000));
        let mut head = Head::default();
        let error = head.parse(text.as_bytes(), &Limits::STREAM).expect_err("too long");
        assert!(matches!(error.cause, ParseCause::TooLong { .. }));
    }
}
