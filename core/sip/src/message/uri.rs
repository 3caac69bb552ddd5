//! URIs: RFC 3261 §19.1, `tel` of RFC 3966, and others as opaque text.
//!
//! For: reading a URI's parts, each a slice of the message.
//! Not here: comparing URIs (`uri_equality.rs`), where a URI leads to (RFC 3263, the edge),
//! rewriting parts.

use std::fmt;

use memchr::memchr;

use super::error::{ParseCause, ParseError};
use super::header::HeaderName;
use super::host::{Host, read_port};
use super::list::Params;
use super::method::Method;
use super::octet::{Cursor, SCHEME, URI, decimal, find, is_uri_text, slice, span};
use super::transport::TransportName;

/// What stands before the first colon.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scheme<'a> {
    /// `sip`
    Sip,
    /// `sips`
    Sips,
    /// `tel`
    Tel,
    /// `tels`
    Tels,
    /// `urn`
    Urn,
    /// Any other, as written.
    Other(&'a [u8]),
}

impl<'a> Scheme<'a> {
    fn from_bytes(name: &'a [u8]) -> Scheme<'a> {
        let known = [Scheme::Sip, Scheme::Sips, Scheme::Tel, Scheme::Tels, Scheme::Urn];
        let found = known.into_iter().find(|known| name.eq_ignore_ascii_case(known.as_bytes()));
        found.unwrap_or(Scheme::Other(name))
    }

    /// The scheme without its colon.
    pub fn as_bytes(&self) -> &'a [u8] {
        match self {
            Scheme::Sip => b"sip",
            Scheme::Sips => b"sips",
            Scheme::Tel => b"tel",
            Scheme::Tels => b"tels",
            Scheme::Urn => b"urn",
            Scheme::Other(name) => name,
        }
    }

    /// Whether the URI has the user-at-host form of `sip` and `sips`.
    pub fn is_sip(&self) -> bool {
        match self {
            Scheme::Sip | Scheme::Sips => true,
            Scheme::Tel | Scheme::Tels | Scheme::Urn | Scheme::Other(_) => false,
        }
    }
}

/// A URI, its parts as written (escapes are not decoded).
#[derive(Clone, Copy)]
pub struct Uri<'a> {
    /// All of it.
    pub raw: &'a [u8],
    /// What stands before the first colon.
    pub scheme: Scheme<'a>,
    /// The user part without password; the number of a `tel` URI. `Some` and empty in `sip:@host`.
    pub user: Option<&'a [u8]>,
    /// What follows the colon in the user part.
    pub password: Option<&'a [u8]>,
    /// The host; an empty name in URIs other than `sip` and `sips`.
    pub host: Host<'a>,
    /// Host and port as written.
    pub host_port: &'a [u8],
    /// The port; `None` when absent or 0.
    pub port: Option<u16>,
    /// The parameters.
    pub params: Params<'a>,
    /// What follows the question mark.
    pub headers: Option<&'a [u8]>,
}

impl<'a> Uri<'a> {
    /// Reads a URI. A scheme this element cannot route is no mistake here: a To header may hold it.
    /// Ask `routable` where a request is to be sent.
    pub fn parse(raw: &'a [u8]) -> Result<Uri<'a>, ParseError> {
        let mut cursor = Cursor::new(raw);
        if !is_uri_text(raw) {
            cursor.skip(span(raw, URI));
            return Err(cursor.unexpected());
        }
        if raw.starts_with(b"sip:") {
            cursor.skip(4);
            return parse_sip(raw, Scheme::Sip, cursor);
        }
        let scheme = cursor.take(SCHEME);
        let letter_first = scheme.first().is_some_and(u8::is_ascii_alphabetic);
        if !letter_first || !cursor.eat(b':') {
            return Err(cursor.unexpected());
        }
        match Scheme::from_bytes(scheme) {
            scheme @ (Scheme::Sip | Scheme::Sips) => parse_sip(raw, scheme, cursor),
            scheme @ (Scheme::Tel | Scheme::Tels) => parse_tel(raw, scheme, cursor),
            scheme @ (Scheme::Urn | Scheme::Other(_)) => Ok(Uri::opaque(raw, scheme)),
        }
    }

    fn opaque(raw: &'a [u8], scheme: Scheme<'a>) -> Uri<'a> {
        Uri {
            raw,
            scheme,
            user: None,
            password: None,
            host: Host::Name(b""),
            host_port: b"",
            port: None,
            params: Params::NONE,
            headers: None,
        }
    }

    /// The same URI, if a request can be addressed by it: the answer to others is 416.
    pub fn routable(self) -> Result<Uri<'a>, ParseError> {
        match self.scheme {
            Scheme::Sip | Scheme::Sips | Scheme::Tel | Scheme::Tels | Scheme::Urn => Ok(self),
            Scheme::Other(_) => Err(ParseError {
                header: HeaderName::Other,
                offset: 0,
                cause: ParseCause::UnsupportedScheme,
            }),
        }
    }

    /// The first parameter of that name: `None` when absent, `Some(None)` without value.
    pub fn param(&self, name: &[u8]) -> Option<Option<&'a [u8]>> {
        self.params.get(name)
    }

    /// Whether the URI is that of a loose router (`lr`, `lr=on`, `lr=true`).
    pub fn lr(&self) -> bool {
        self.params.has(b"lr")
    }

    /// Whether the URI is one of a pair that one proxy inserted: its incoming and its outgoing
    /// side.
    pub fn r2(&self) -> bool {
        self.params.has(b"r2")
    }

    /// The parameter `transport`.
    pub fn transport(&self) -> Option<TransportName<'a>> {
        self.params.value(b"transport").map(TransportName::from_bytes)
    }

    /// The parameter `maddr`, if it can be read.
    pub fn maddr(&self) -> Option<Host<'a>> {
        self.params.value(b"maddr").and_then(|host| Host::parse(host).ok())
    }

    /// The parameter `ttl`, if it can be read.
    pub fn ttl(&self) -> Option<u8> {
        self.params.value(b"ttl").and_then(decimal).and_then(|ttl| u8::try_from(ttl).ok())
    }

    /// The parameter `user`: `phone` or `ip`.
    pub fn user_param(&self) -> Option<&'a [u8]> {
        self.params.value(b"user")
    }

    /// The parameter `method`.
    pub fn method(&self) -> Option<Method<'a>> {
        self.params.value(b"method").map(Method::from_bytes)
    }
}

impl fmt::Debug for Uri<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.raw.escape_ascii())
    }
}

/// `[user[:password]@]host[:port][;params][?headers]`
fn parse_sip<'a>(
    raw: &'a [u8],
    scheme: Scheme<'a>,
    mut cursor: Cursor<'a>,
) -> Result<Uri<'a>, ParseError> {
    let mut uri = Uri::opaque(raw, scheme);
    if let Some(at_sign) = find(cursor.rest(), [b'@']) {
        let (userinfo, _) = cursor.rest().split_at(at_sign);
        let colon = find(userinfo, [b':']);
        uri.user = Some(slice(userinfo, 0, colon.unwrap_or(userinfo.len())));
        uri.password = colon.map(|colon| slice(userinfo, colon + 1, userinfo.len()));
        cursor.skip(at_sign + 1);
    }
    let host_start = cursor.at();
    uri.host = Host::read(&mut cursor)?;
    if cursor.eat(b':') {
        uri.port = read_port(&mut cursor)?;
    }
    uri.host_port = slice(raw, host_start, cursor.at());
    read_tail(&mut uri, cursor)?;
    Ok(uri)
}

/// `number[;params]`
fn parse_tel<'a>(
    raw: &'a [u8],
    scheme: Scheme<'a>,
    mut cursor: Cursor<'a>,
) -> Result<Uri<'a>, ParseError> {
    let mut uri = Uri::opaque(raw, scheme);
    let end = memchr(b';', cursor.rest()).unwrap_or(cursor.rest().len());
    let number = slice(cursor.rest(), 0, end);
    if number.is_empty() {
        return Err(cursor.unexpected());
    }
    uri.user = Some(number);
    cursor.skip(end);
    read_tail(&mut uri, cursor)?;
    Ok(uri)
}

/// `[;params][?headers]` up to the end.
fn read_tail<'a>(uri: &mut Uri<'a>, mut cursor: Cursor<'a>) -> Result<(), ParseError> {
    if cursor.eat(b';') {
        let end = find(cursor.rest(), [b'?']).unwrap_or(cursor.rest().len());
        uri.params = Params::new(slice(cursor.rest(), 0, end));
        cursor.skip(end);
    }
    if cursor.eat(b'?') {
        uri.headers = Some(cursor.rest());
        cursor.skip(cursor.rest().len());
    }
    if cursor.peek().is_some() { Err(cursor.unexpected()) } else { Ok(()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Uri<'_> {
        Uri::parse(text.as_bytes()).unwrap_or_else(|error| panic!("{text}: {error}"))
    }

    #[test]
    fn all_parts_are_found() {
        let uri =
            parse("sips:alice:secret@Example.com:5071;transport=tcp;lr?Subject=x&Priority=urgent");
        assert_eq!(uri.scheme, Scheme::Sips);
        assert_eq!(uri.user, Some(&b"alice"[..]));
        assert_eq!(uri.password, Some(&b"secret"[..]));
        assert_eq!(uri.host, Host::Name(b"example.com"));
        assert_eq!(uri.host_port, b"Example.com:5071");
        assert_eq!(uri.port, Some(5071));
        assert_eq!(uri.transport(), Some(TransportName::Tcp));
        assert!(uri.lr());
        assert_eq!(uri.headers, Some(&b"Subject=x&Priority=urgent"[..]));
    }

    #[test]
    fn the_shortest_uri_is_a_host() {
        let uri = parse("sip:h");
        assert_eq!((uri.user, uri.port, uri.host), (None, None, Host::Name(b"h")));
    }

    #[test]
    fn a_user_part_may_hold_reserved_characters() {
        let uri = parse("sip:user;par=u%40example.net?x@example.com");
        assert_eq!(uri.user, Some(&b"user;par=u%40example.net?x"[..]));
        assert_eq!(uri.params.as_bytes(), b"");
    }

    #[test]
    fn an_ipv6_host_keeps_its_port_apart() {
        let uri = parse("sip:u@[2001:db8::10]:5070;maddr=[::1];ttl=15");
        assert_eq!(uri.port, Some(5070));
        assert!(uri.host.ip().is_some_and(|ip| ip.is_ipv6()));
        assert!(uri.maddr().is_some_and(|host| host.ip().is_some()));
        assert_eq!(uri.ttl(), Some(15));
    }

    #[test]
    fn a_tel_uri_has_a_number_and_no_host() {
        let uri = parse("tel:+1-201-555-0123;phone-context=example.com");
        assert_eq!(uri.user, Some(&b"+1-201-555-0123"[..]));
        assert!(uri.host.is_empty());
        assert_eq!(uri.param(b"phone-context"), Some(Some(&b"example.com"[..])));
    }

    #[test]
    fn an_unknown_scheme_is_read_but_not_routable() {
        let uri = parse("soap.beep://192.0.2.103:3002");
        assert_eq!(uri.scheme, Scheme::Other(b"soap.beep"));
        assert_eq!(uri.routable().err().map(|e| e.status().code()), Some(416));
        assert!(parse("urn:service:sos").routable().is_ok());
    }

    #[test]
    fn broken_uris_are_refused() {
        for text in [
            "",
            "sip",
            "sip:",
            ":x",
            "1sip:x",
            "<sip:x>",
            "sip:a b@c",
            "sip:a@",
            "sip:a@b@c",
            "sip:h:",
            "sip:h:99999",
            "sip:h:5060x",
            "sip:h;a>",
            "sip:[::1",
            "sip:h\r\n",
            "sip:h\0",
            "tel:",
            "sip:@",
        ] {
            assert!(Uri::parse(text.as_bytes()).is_err(), "{text:?}");
        }
    }

    #[test]
    fn an_error_says_where() {
        let error = Uri::parse(b"sip:a@b c").expect_err("blank");
        assert_eq!((error.offset, error.cause), (7, ParseCause::UnexpectedByte(b' ')));
    }
}
