//! A message as its readers see it: typed values, each read when asked for.
//!
//! For: everything that decides by what a message says.
//! Not here: finding the lines (`head.rs`), the grammar of a value (a file each), changing anything
//! (`write/`).
//! Invariants: a view of borrowed bytes, cheap to copy; asking never allocates.

use std::ops::Range;

use super::contact::Contacts;
use super::cseq::CSeq;
use super::error::{ParseCause, ParseError};
use super::head::{Entry, Head, Start, content_length};
use super::header::HeaderName;
use super::list::List;
use super::method::Method;
use super::name_addr::NameAddr;
use super::octet::{TOKEN, all, decimal, is_dark, is_lws, slice, trim, trim_end};
use super::status::StatusCode;
use super::uri::Uri;
use super::via::Via;

/// A parsed message.
#[derive(Clone, Copy)]
pub struct Message<'a> {
    pub(super) bytes: &'a [u8],
    pub(super) head: &'a Head,
}

/// The first line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StartLine<'a> {
    /// `METHOD URI SIP/2.0`
    Request {
        /// The method.
        method: Method<'a>,
        /// The Request-URI as written.
        uri: &'a [u8],
    },
    /// `SIP/2.0 STATUS REASON`
    Response {
        /// The status.
        status: StatusCode,
        /// The phrase as written.
        reason: &'a [u8],
    },
}

/// One header line with its continuation lines.
#[derive(Clone, Debug)]
pub struct Field<'a> {
    /// The name, if it is a known one.
    pub name: HeaderName,
    /// The name as written.
    pub name_bytes: &'a [u8],
    /// The value without the white space around it; folds inside it stay.
    pub value: &'a [u8],
    /// The octets of the message from the name to the last line end, inclusive.
    pub line: Range<usize>,
    /// Where in the message the value starts.
    pub value_offset: usize,
}

/// One value of a header that is a list.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Value<'a> {
    /// The value without the white space around it.
    pub bytes: &'a [u8],
    /// Where in the message it starts.
    pub offset: usize,
}

impl<'a> Message<'a> {
    /// All of it, as it was received.
    pub fn bytes(self) -> &'a [u8] {
        self.bytes
    }

    /// The first line. One that could not be read (`Head::parse` failed) shows as a response with
    /// status 500, since a response is never answered.
    pub fn start_line(self) -> StartLine<'a> {
        match self.head.start {
            Start::Request { kind, method, uri } => StartLine::Request {
                method: Method::of(kind, method.of(self.bytes)),
                uri: uri.of(self.bytes),
            },
            Start::Response { status, reason } => {
                StartLine::Response { status, reason: reason.of(self.bytes) }
            }
            Start::Unread => {
                StartLine::Response { status: StatusCode::SERVER_INTERNAL_ERROR, reason: b"" }
            }
        }
    }

    /// Whether it is a request.
    pub fn is_request(self) -> bool {
        matches!(self.head.start, Start::Request { .. })
    }

    /// The method of a request.
    #[inline]
    pub fn method(self) -> Option<Method<'a>> {
        match self.head.start {
            Start::Request { kind, method, .. } => Some(Method::of(kind, method.of(self.bytes))),
            Start::Response { .. } | Start::Unread => None,
        }
    }

    /// The Request-URI as written.
    #[inline]
    pub fn request_uri(self) -> Option<&'a [u8]> {
        match self.head.start {
            Start::Request { uri, .. } => Some(uri.of(self.bytes)),
            Start::Response { .. } | Start::Unread => None,
        }
    }

    /// The Request-URI, read; an unroutable scheme is an error with status 416.
    pub fn uri(self) -> Result<Uri<'a>, ParseError> {
        let Start::Request { uri, .. } = self.head.start else {
            return Err(missing(HeaderName::StartLine));
        };
        let parsed = Uri::parse(uri.of(self.bytes)).and_then(Uri::routable);
        parsed.map_err(|error| error.within(HeaderName::StartLine, uri.start as usize))
    }

    /// The status of a response.
    pub fn status(self) -> Option<StatusCode> {
        match self.start_line() {
            StartLine::Request { .. } => None,
            StartLine::Response { status, .. } => Some(status),
        }
    }

    /// The first field of that name.
    #[inline]
    pub fn header(self, name: HeaderName) -> Option<Field<'a>> {
        let (_, entry) = self.head.find(name)?;
        Some(self.field(entry))
    }

    /// All fields of that name, in order.
    pub fn headers(self, name: HeaderName) -> impl Iterator<Item = Field<'a>> + Clone + 'a {
        let from = self.head.find(name).map_or(self.head.entries.len(), |(index, _)| index);
        let entries = self.head.entries.get(from..).unwrap_or_default();
        entries.iter().filter(move |entry| entry.name == name).map(move |entry| self.field(entry))
    }

    /// All fields, in order.
    pub fn fields(self) -> impl Iterator<Item = Field<'a>> + Clone + 'a {
        self.head.entries.iter().map(move |entry| self.field(entry))
    }

    /// The first field of that name, which need not be a known one.
    pub fn header_named(self, name: &[u8]) -> Option<Field<'a>> {
        self.headers_named(name).next()
    }

    /// All fields of that name, which need not be a known one, in order.
    pub fn headers_named<'n>(
        self,
        name: &'n [u8],
    ) -> impl Iterator<Item = Field<'a>> + use<'a, 'n> {
        let known = HeaderName::from_bytes(name);
        self.headers(known).filter(move |field| {
            known != HeaderName::Other || field.name_bytes.eq_ignore_ascii_case(name)
        })
    }

    /// The body: what Content-Length covers, or all that follows the head.
    pub fn body(self) -> &'a [u8] {
        self.head.body.of(self.bytes)
    }

    /// The values of a header that is a list, across commas and repeated fields.
    pub fn values(self, name: HeaderName) -> impl Iterator<Item = Value<'a>> + Clone + 'a {
        self.headers(name).flat_map(|field| {
            let base = field.value_offset;
            List::new(field.value)
                .map(move |item| Value { bytes: item.bytes, offset: base + item.offset })
        })
    }

    /// The first value of a header that is a list.
    fn first_value(self, name: HeaderName) -> Result<Value<'a>, ParseError> {
        let Some((_, entry)) = self.head.find(name) else { return Err(missing(name)) };
        // The first field has a value, as a rule.
        match List::new(entry.value.of(self.bytes)).next() {
            Some(item) => {
                let offset = entry.value.start as usize + item.offset;
                Ok(Value { bytes: item.bytes, offset })
            }
            None => self.values(name).next().ok_or_else(|| missing(name)),
        }
    }

    /// The topmost Via.
    pub fn top_via(self) -> Result<Via<'a>, ParseError> {
        parse_via(self.first_value(HeaderName::Via)?)
    }

    /// All Via values, topmost first.
    pub fn vias(self) -> impl Iterator<Item = Result<Via<'a>, ParseError>> + Clone + 'a {
        self.values(HeaderName::Via).map(parse_via)
    }

    /// The Via values below the topmost one.
    pub(crate) fn vias_below_top(
        self,
    ) -> impl Iterator<Item = Result<Via<'a>, ParseError>> + Clone + 'a {
        self.values(HeaderName::Via).skip(1).map(parse_via)
    }

    /// The Via value with this many others above it.
    pub fn via_below(self, above: usize) -> Option<Result<Via<'a>, ParseError>> {
        self.values(HeaderName::Via).nth(above).map(parse_via)
    }

    /// From.
    pub fn from(self) -> Result<NameAddr<'a>, ParseError> {
        self.name_addr(HeaderName::From)
    }

    /// To.
    pub fn to(self) -> Result<NameAddr<'a>, ParseError> {
        self.name_addr(HeaderName::To)
    }

    /// A header that holds one `name-addr`: From, To, Refer-To, Referred-By.
    pub fn name_addr(self, name: HeaderName) -> Result<NameAddr<'a>, ParseError> {
        let field = self.required(name)?;
        NameAddr::parse_within(field.value, name, field.value_offset)
    }

    /// The values of a header that is a list of `name-addr`: Route, Path, P-Asserted-Identity.
    pub fn name_addrs(self, name: HeaderName) -> NameAddrs<'a> {
        NameAddrs { message: self, name, entry: 0, list: List::new(b""), base: 0 }
    }

    /// A header that may stand once and stands twice; which one counts is anybody's guess.
    pub fn duplicate(self) -> Option<HeaderName> {
        self.head.duplicate()
    }

    /// The tag of From, if From can be read and has one.
    pub fn from_tag(self) -> Option<&'a [u8]> {
        self.from().ok()?.tag()
    }

    /// The tag of To, if To can be read and has one.
    pub fn to_tag(self) -> Option<&'a [u8]> {
        self.to().ok()?.tag()
    }

    /// Call-ID: a word, case-sensitive (§20.8).
    pub fn call_id(self) -> Result<&'a [u8], ParseError> {
        let field = self.required(HeaderName::CallId)?;
        if !field.value.is_empty() && is_dark(field.value) {
            return Ok(field.value);
        }
        let at = field.value.iter().position(|byte| is_lws(*byte) || *byte == 0);
        let cause = match at.and_then(|at| field.value.get(at)) {
            Some(byte) => ParseCause::UnexpectedByte(*byte),
            None if field.value.is_empty() => ParseCause::UnexpectedEnd,
            None => return Ok(field.value),
        };
        let offset = field.value_offset + at.unwrap_or(0);
        Err(ParseError { header: HeaderName::CallId, offset, cause })
    }

    /// CSeq. Whether its method is the request's is the caller's check.
    pub fn cseq(self) -> Result<CSeq<'a>, ParseError> {
        let field = self.required(HeaderName::CSeq)?;
        CSeq::parse(field.value).map_err(|error| error.within(HeaderName::CSeq, field.value_offset))
    }

    /// Max-Forwards, 0 to 255 (§20.22).
    pub fn max_forwards(self) -> Result<Option<u32>, ParseError> {
        self.number(HeaderName::MaxForwards, 255)
    }

    /// Content-Length as written. `Head::parse` has already applied it to the body.
    pub fn content_length(self) -> Result<Option<usize>, ParseError> {
        let Some(field) = self.header(HeaderName::ContentLength) else { return Ok(None) };
        let read = content_length(field.value);
        read.map(Some).map_err(|cause| ParseError {
            header: HeaderName::ContentLength,
            offset: field.value_offset,
            cause,
        })
    }

    /// Expires, in seconds.
    pub fn expires(self) -> Result<Option<u32>, ParseError> {
        self.number(HeaderName::Expires, u32::MAX)
    }

    /// A header that holds a number and perhaps parameters: Min-Expires, RSeq, Session-Expires,
    /// Min-SE, Max-Breadth, Retry-After (whose comment is skipped).
    pub fn number(self, name: HeaderName, max: u32) -> Result<Option<u32>, ParseError> {
        let Some(field) = self.header(name) else { return Ok(None) };
        let wrong = |cause| Err(ParseError { header: name, offset: field.value_offset, cause });
        let is_end = |byte: &u8| is_lws(*byte) || matches!(byte, b';' | b'(');
        let end = field.value.iter().position(is_end).unwrap_or(field.value.len());
        let (digits, rest) = field.value.split_at(end);
        let follows = trim(rest).first().copied().unwrap_or(b';');
        match digits.iter().copied().find(|byte| !byte.is_ascii_digit()) {
            Some(byte) => wrong(ParseCause::UnexpectedByte(byte)),
            None if digits.is_empty() => wrong(ParseCause::UnexpectedEnd),
            None if !matches!(follows, b';' | b'(') => wrong(ParseCause::UnexpectedByte(follows)),
            None => match decimal(digits).filter(|number| *number <= max) {
                Some(number) => Ok(Some(number)),
                None => wrong(ParseCause::OutOfRange),
            },
        }
    }

    /// Route values, topmost first.
    pub fn routes(self) -> NameAddrs<'a> {
        self.name_addrs(HeaderName::Route)
    }

    /// Record-Route values, topmost first.
    pub fn record_routes(self) -> NameAddrs<'a> {
        self.name_addrs(HeaderName::RecordRoute)
    }

    /// Contact: the star, or values in order.
    pub fn contacts(self) -> Result<Contacts<'a>, ParseError> {
        Contacts::of(self)
    }

    /// Proxy-Require: option tags, as written.
    pub fn proxy_require(self) -> impl Iterator<Item = &'a [u8]> + Clone + 'a {
        self.tokens(HeaderName::ProxyRequire)
    }

    /// Require: option tags, as written.
    pub fn require(self) -> impl Iterator<Item = &'a [u8]> + Clone + 'a {
        self.tokens(HeaderName::Require)
    }

    /// Supported: option tags, as written.
    pub fn supported(self) -> impl Iterator<Item = &'a [u8]> + Clone + 'a {
        self.tokens(HeaderName::Supported)
    }

    /// The values of a header that is a list of words: Allow, Require, Allow-Events.
    pub fn tokens(self, name: HeaderName) -> impl Iterator<Item = &'a [u8]> + Clone + 'a {
        self.values(name).map(|value| value.bytes)
    }

    /// The first field of a name that must be there.
    fn required(self, name: HeaderName) -> Result<Field<'a>, ParseError> {
        self.header(name).ok_or_else(|| missing(name))
    }

    #[inline]
    pub(super) fn field(self, entry: &Entry) -> Field<'a> {
        let (start, end) = (entry.start as usize, entry.end as usize);
        let name_bytes = trim_end(slice(self.bytes, start, start + usize::from(entry.colon)));
        debug_assert!(all(name_bytes, TOKEN));
        Field {
            name: entry.name,
            name_bytes,
            value: entry.value.of(self.bytes),
            line: start..end,
            value_offset: entry.value.start as usize,
        }
    }
}

fn parse_via(value: Value<'_>) -> Result<Via<'_>, ParseError> {
    Via::parse(value.bytes).map_err(|error| error.within(HeaderName::Via, value.offset))
}

fn missing(header: HeaderName) -> ParseError {
    ParseError { header, offset: 0, cause: ParseCause::Missing }
}

/// The values of a header that is a list of `name-addr`, across commas and repeated fields.
#[derive(Clone)]
pub struct NameAddrs<'a> {
    message: Message<'a>,
    name: HeaderName,
    /// The next entry to look at.
    entry: usize,
    list: List<'a>,
    base: usize,
}

impl<'a> Iterator for NameAddrs<'a> {
    type Item = Result<NameAddr<'a>, ParseError>;

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            if let Some(item) = self.list.next() {
                let offset = self.base + item.offset;
                return Some(NameAddr::parse_within(item.bytes, self.name, offset));
            }
            if self.entry == 0 {
                self.entry = self.message.head.find(self.name)?.0;
            }
            let entries = self.message.head.entries.get(self.entry..)?;
            let skipped = entries.iter().position(|entry| entry.name == self.name)?;
            let field = self.message.field(entries.get(skipped)?);
            self.entry += skipped + 1;
            self.base = field.value_offset;
            self.list = List::new(field.value);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::transport::TransportName;
    use super::*;
    use crate::limits::Limits;

    const WHITE_SPACE: &[u8] = include_bytes!("../../../../tests/messages/torture-white-space.sip");
    const ODD_TOKENS: &[u8] = include_bytes!("../../../../tests/messages/torture-odd-tokens.sip");
    const IPV6: &[u8] = include_bytes!("../../../../tests/messages/torture-ipv6.sip");
    const LONG: &[u8] = include_bytes!("../../../../tests/messages/torture-long-values.sip");
    const BAD_VERSION: &[u8] = include_bytes!("../../../../tests/messages/broken-version.sip");

    fn parse(bytes: &[u8]) -> Head {
        let mut head = Head::default();
        head.parse(bytes, &Limits::DATAGRAM).expect("a good message");
        head
    }

    /// Asks a BYE with these header lines.
    fn ask<T>(lines: &str, question: impl Fn(Message<'_>) -> T) -> T {
        let text = format!("BYE sip:h SIP/2.0\r\n{lines}\r\n");
        question(parse(text.as_bytes()).message(text.as_bytes()))
    }

    #[test]
    fn white_space_and_folds_do_not_matter() {
        let head = parse(WHITE_SPACE);
        let message = head.message(WHITE_SPACE);
        assert_eq!(message.method(), Some(Method::Invite));
        assert_eq!(message.to_tag(), Some(&b"1918181833n"[..]));
        assert_eq!(message.from_tag(), Some(&b"98asjd8"[..]));
        assert_eq!(message.max_forwards(), Ok(Some(68)));
        assert_eq!(message.cseq(), Ok(CSeq { number: 9, method: Method::Invite }));
        let branches: Vec<_> = message.vias().map(|via| via.expect("a Via").branch()).collect();
        let expected = [&b"390skdjuw"[..], b"z9hG4bK9ikj8", b"z9hG4bK30239"];
        assert_eq!(branches, expected.map(Some));
        assert!(
            message.routes().next().is_some_and(|r| r.is_ok_and(|r| r.uri().is_ok_and(|u| u.lr())))
        );
        let newfangled = message.header_named(b"NEWFANGLEDHEADER").map(|field| field.value);
        assert_eq!(newfangled, Some(&b"newfangled value\r\n continued newfangled value"[..]));
    }

    #[test]
    fn odd_tokens_and_escaped_nul_are_good() {
        let head = parse(ODD_TOKENS);
        let message = head.message(ODD_TOKENS);
        let cseq = message.cseq().expect("a CSeq");
        assert_eq!(Some(cseq.method), message.method());
        assert_eq!(message.from_tag(), Some(&b"_token~1'+`*%!-."[..]));
        assert!(message.to().is_ok_and(|to| to.uri().is_ok()));
        assert!(message.uri().is_ok_and(|uri| uri.password.is_some()));
        assert!(message.call_id().is_ok());
    }

    #[test]
    fn ipv6_stands_wherever_a_host_may() {
        let head = parse(IPV6);
        let message = head.message(IPV6);
        assert_eq!(message.uri().map(|uri| uri.port), Ok(Some(5070)));
        let via = message.top_via().expect("a Via");
        assert_eq!((via.port, via.transport), (Some(6050), TransportName::Udp));
        assert!(via.received_ip().is_some());
        assert_eq!(message.vias().filter(Result::is_ok).count(), 2);
    }

    #[test]
    fn long_values_are_good() {
        let head = parse(LONG);
        let message = head.message(LONG);
        assert_eq!(message.vias().filter(Result::is_ok).count(), 34);
        assert!(message.from().is_ok() && message.to().is_ok() && message.call_id().is_ok());
    }

    #[test]
    fn a_request_of_another_version_can_be_answered() {
        let mut head = Head::default();
        let error = head.parse(BAD_VERSION, &Limits::DATAGRAM).expect_err("version 7.0");
        assert_eq!(error.status(), StatusCode::VERSION_NOT_SUPPORTED);
        let message = head.message(BAD_VERSION);
        assert!(message.is_request() && message.top_via().is_ok() && message.cseq().is_ok());
    }

    #[test]
    fn an_unknown_scheme_in_the_request_uri_means_416() {
        let text = b"OPTIONS nobodyKnowsThisScheme:totallyopaquecontent SIP/2.0\r\nTo: x\r\n\r\n";
        let head = parse(text);
        let error = head.message(text).uri().expect_err("an unknown scheme");
        assert_eq!(error.status(), StatusCode::UNSUPPORTED_URI_SCHEME);
    }

    #[test]
    fn a_missing_header_is_named() {
        let error = ask("", |message| message.top_via().err()).expect("no Via");
        assert_eq!((error.header, error.cause), (HeaderName::Via, ParseCause::Missing));
        assert_eq!(ask("", |message| message.max_forwards()), Ok(None));
    }

    #[test]
    fn an_error_says_where_in_the_message() {
        let error = ask("Via: SIP/2.0/UDP h:x\r\n", |message| message.top_via().err());
        let error = error.expect("a bad port");
        assert_eq!((error.header, error.offset), (HeaderName::Via, 38));
    }

    #[test]
    fn numbers_have_their_range() {
        let max_forwards = |value: &str| {
            ask(&format!("Max-Forwards: {value}\r\n"), |message| message.max_forwards())
        };
        assert_eq!(max_forwards("255"), Ok(Some(255)));
        for value in ["256", "-1", "", "7 0", "seventy", "99999999999"] {
            assert!(max_forwards(value).is_err(), "{value:?}");
        }
        let number = |line: &str, name| ask(line, |message| message.number(name, u32::MAX));
        assert_eq!(number("x: 90 ;refresher=uac\r\n", HeaderName::SessionExpires), Ok(Some(90)));
        let retry = number("Retry-After: 18000 (in a meeting) ;d=1\r\n", HeaderName::RetryAfter);
        assert_eq!(retry, Ok(Some(18000)));
    }

    #[test]
    fn call_id_holds_no_white_space() {
        let call_id =
            |value: &str| ask(&format!("i: {value}\r\n"), |message| message.call_id().is_ok());
        assert!(call_id("a@b"));
        assert!(!call_id("a b") && !call_id("a\r\n b") && !call_id(""));
    }

    #[test]
    fn extension_headers_are_found_by_their_whole_name() {
        let lines = "X-Ab: 1\r\nx-a: 2\r\nX-A: 3\r\nv: 4\r\n";
        let values = |name: &[u8]| {
            ask(lines, |m| m.headers_named(name).map(|f| f.value.to_vec()).collect::<Vec<_>>())
        };
        assert_eq!(values(b"X-A"), [b"2", b"3"]);
        assert_eq!(values(b"via"), [b"4"]);
        assert!(values(b"X").is_empty());
    }

    #[test]
    fn option_tags_are_read_across_fields() {
        let lines = "Proxy-Require: a , b\r\nTo: x\r\nproxy-require: c\r\n";
        let tags = ask(lines, |m| m.proxy_require().map(<[u8]>::to_vec).collect::<Vec<_>>());
        assert_eq!(tags, [b"a", b"b", b"c"]);
    }
}
