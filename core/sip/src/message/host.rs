//! Hosts and ports: RFC 3261 §25.1 `host`, with the IPv6 forms of RFC 5118.
//!
//! For: Via sent-by, URIs, `maddr`.
//! Not here: resolving a name (the edge does), deciding whether a host is ours (`proxy/`).

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::str;

use memchr::{memchr, memmem};

use super::error::{ParseCause, ParseError};
use super::header::HeaderName;
use super::octet::{Cursor, DIGIT, HOST, decimal, is};

/// A host as it stands in a message.
#[derive(Clone, Copy, Debug)]
pub enum Host<'a> {
    /// `192.0.2.1`
    V4(Ipv4Addr),
    /// `[2001:db8::1]`
    V6(Ipv6Addr),
    /// A name; empty in URIs that have no host.
    Name(&'a [u8]),
}

impl<'a> Host<'a> {
    /// Reads a host that stands alone; an IPv6 address may lack its brackets, as in `received`.
    pub fn parse(bytes: &'a [u8]) -> Result<Host<'a>, ParseError> {
        if memchr(b':', bytes).is_some() && bytes.first() != Some(&b'[') {
            return v6(bytes).ok_or_else(|| unreadable(bytes, 0));
        }
        let mut cursor = Cursor::new(bytes);
        let host = Host::read(&mut cursor)?;
        if cursor.peek().is_some() { Err(cursor.unexpected()) } else { Ok(host) }
    }

    /// Reads the host that starts at the cursor.
    pub(super) fn read(cursor: &mut Cursor<'a>) -> Result<Host<'a>, ParseError> {
        if cursor.peek() == Some(b'[') {
            return read_v6(cursor);
        }
        if let Some((address, length)) = leading_v4(cursor.rest())
            && !cursor.rest().get(length).is_some_and(|byte| is(*byte, HOST))
        {
            cursor.skip(length);
            return Ok(Host::V4(address));
        }
        let start = *cursor;
        let name = cursor.take(HOST);
        let (Some(first), Some(last)) = (name.first(), name.last()) else {
            return Err(cursor.unexpected());
        };
        // A name's last label starts with a letter: only an address ends in digits and a full stop.
        if !last.is_ascii_digit() || !first.is_ascii_digit() {
            return Ok(Host::Name(name));
        }
        match v4(name) {
            Some(address) => Ok(Host::V4(address)),
            None if name.iter().all(|byte| byte.is_ascii_digit() || *byte == b'.') => {
                Err(start.unexpected())
            }
            None => Ok(Host::Name(name)),
        }
    }

    /// The address, when the host is one.
    pub fn ip(&self) -> Option<IpAddr> {
        match self {
            Host::V4(address) => Some(IpAddr::V4(*address)),
            Host::V6(address) => Some(IpAddr::V6(*address)),
            Host::Name(_) => None,
        }
    }

    /// Whether there is no host at all, as in a `tel` URI.
    pub fn is_empty(&self) -> bool {
        match self {
            Host::V4(_) => false,
            Host::V6(_) => false,
            Host::Name(name) => name.is_empty(),
        }
    }
}

/// Names are compared without regard to case, addresses by value.
impl PartialEq for Host<'_> {
    fn eq(&self, other: &Host<'_>) -> bool {
        match (self, other) {
            (Host::V4(left), Host::V4(right)) => left == right,
            (Host::V6(left), Host::V6(right)) => left == right,
            (Host::Name(left), Host::Name(right)) => left.eq_ignore_ascii_case(right),
            (Host::V4(_) | Host::V6(_) | Host::Name(_), _) => false,
        }
    }
}

impl Eq for Host<'_> {}

/// As it is written in a message: IPv6 in brackets.
impl fmt::Display for Host<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Host::V4(address) => write!(f, "{address}"),
            Host::V6(address) => write!(f, "[{address}]"),
            Host::Name(name) => write!(f, "{}", name.escape_ascii()),
        }
    }
}

/// Dotted decimal without leading zeros, as the standard library reads it, at a fraction of the
/// cost: it is read several times in every message.
fn v4(text: &[u8]) -> Option<Ipv4Addr> {
    let (address, length) = leading_v4(text)?;
    (length == text.len()).then_some(address)
}

/// The address that a text begins with, and how long it is.
#[inline]
fn leading_v4(text: &[u8]) -> Option<(Ipv4Addr, usize)> {
    let mut octets = [0u8; 4];
    let mut at = 0;
    for (place, octet) in octets.iter_mut().enumerate() {
        if place > 0 {
            if text.get(at) != Some(&b'.') {
                return None;
            }
            at += 1;
        }
        let start = at;
        let mut number = 0u32;
        while let Some(digit) = text.get(at).map(|byte| byte.wrapping_sub(b'0'))
            && digit < 10
            && at < start + 3
        {
            number = number * 10 + u32::from(digit);
            at += 1;
        }
        let is_padded = at > start + 1 && text.get(start) == Some(&b'0');
        if at == start || is_padded {
            return None;
        }
        *octet = u8::try_from(number).ok()?;
    }
    Some((Ipv4Addr::from(octets), at))
}

fn read_v6<'a>(cursor: &mut Cursor<'a>) -> Result<Host<'a>, ParseError> {
    let start = *cursor;
    let inside = cursor.rest().get(1..).unwrap_or_default();
    let host = memchr(b']', inside).and_then(|close| Some((close, v6(inside.get(..close)?)?))).map(
        |(close, host)| {
            cursor.skip(close + 2);
            host
        },
    );
    host.ok_or_else(|| start.unexpected())
}

fn v6(bytes: &[u8]) -> Option<Host<'static>> {
    let address = str::from_utf8(bytes).ok()?.parse().ok();
    address.or_else(|| v6_before_v4(bytes)).map(Host::V6)
}

/// RFC 3261's grammar has three colons before an IPv4 address where RFC 4291 has two: both are
/// read (RFC 5118 §4.10).
#[cold]
fn v6_before_v4(bytes: &[u8]) -> Option<Ipv6Addr> {
    let (left, right) = bytes.split_at_checked(memmem::find(bytes, b":::")?)?;
    let last = v4(right.get(3..)?)?.to_bits();
    let left: Ipv6Addr = str::from_utf8(bytes.get(..left.len() + 2)?).ok()?.parse().ok()?;
    let is_free = left.to_bits() & u128::from(u32::MAX) == 0;
    is_free.then(|| Ipv6Addr::from_bits(left.to_bits() | u128::from(last)))
}

fn unreadable(bytes: &[u8], offset: usize) -> ParseError {
    let cause = bytes.first().map_or(ParseCause::UnexpectedEnd, |b| ParseCause::UnexpectedByte(*b));
    ParseError { header: HeaderName::Other, offset, cause }
}

/// Reads the digits of a port. Port 0 stands for "the default", as in Kamailio.
pub(super) fn read_port(cursor: &mut Cursor<'_>) -> Result<Option<u16>, ParseError> {
    let start = *cursor;
    let digits = cursor.take(DIGIT);
    if digits.is_empty() {
        return Err(cursor.unexpected());
    }
    match port(digits) {
        Some(0) => Ok(None),
        Some(number) => Ok(Some(number)),
        None => Err(ParseError { cause: ParseCause::OutOfRange, ..start.unexpected() }),
    }
}

/// A port, of digits only.
pub(super) fn port(digits: &[u8]) -> Option<u16> {
    decimal(digits).and_then(|number| u16::try_from(number).ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ipv4_agrees_with_the_standard_library() {
        let parts = ["0", "1", "9", "10", "99", "255", "256", "00", "01", "1000", "", "a", "-1"];
        for (first, second) in parts.iter().flat_map(|a| parts.iter().map(move |b| (a, b))) {
            for text in [
                format!("{first}.{second}.3.4"),
                format!("1.2.{first}.{second}"),
                format!("{first}.1.1"),
                format!("1.{first}.1.{second}.1"),
                format!("1.1.1.{first}."),
            ] {
                assert_eq!(v4(text.as_bytes()), text.parse().ok(), "{text}");
            }
        }
    }

    #[test]
    fn addresses_and_names_are_told_apart() {
        assert_eq!(Host::parse(b"192.0.2.1"), Ok(Host::V4(Ipv4Addr::new(192, 0, 2, 1))));
        assert_eq!(Host::parse(b"[::1]"), Ok(Host::V6(Ipv6Addr::LOCALHOST)));
        assert_eq!(Host::parse(b"::1"), Ok(Host::V6(Ipv6Addr::LOCALHOST)));
        assert_eq!(Host::parse(b"3com.example"), Ok(Host::Name(b"3com.example")));
        assert_eq!(Host::parse(b"7up.example.x7"), Ok(Host::Name(b"7up.example.x7")));
    }

    #[test]
    fn broken_hosts_are_refused() {
        for host in [
            &b""[..],
            b"1.2.3.400",
            b"1.2.3",
            b"[::1",
            b"[::g]",
            b"[1.2.3.4]",
            b"::1::",
            b"a b",
            b"a@b",
            b"[::1]x",
        ] {
            assert!(Host::parse(host).is_err(), "{}", host.escape_ascii());
        }
    }

    #[test]
    fn an_ipv6_address_has_many_spellings() {
        let long = Host::parse(b"[2001:0DB8:0:0:0:0:0:0001]").expect("long");
        assert_eq!(Host::parse(b"[2001:db8::1]"), Ok(long));
        assert_eq!(long.to_string(), "[2001:db8::1]");
    }

    #[test]
    fn a_third_colon_before_an_ipv4_address_is_ignored() {
        let two = Host::parse(b"[2001:db8::192.0.2.1]").expect("two colons");
        assert_eq!(Host::parse(b"[2001:db8:::192.0.2.1]"), Ok(two));
        assert_eq!(Host::parse(b"[:::192.0.2.1]"), Host::parse(b"[::192.0.2.1]"));
        for host in [&b"[2001:db8:::1]"[..], b"[::1:::1.2.3.4]", b"[1:2:3:4:5:6:7:::1.2.3.4]"] {
            assert!(Host::parse(host).is_err(), "{}", host.escape_ascii());
        }
    }

    #[test]
    fn names_are_equal_in_any_case() {
        assert_eq!(Host::Name(b"Example.COM"), Host::Name(b"example.com"));
        assert_ne!(Host::Name(b"example.com"), Host::V4(Ipv4Addr::LOCALHOST));
    }

    #[test]
    fn port_zero_means_the_default() {
        assert_eq!(read_port(&mut Cursor::new(b"0")), Ok(None));
        assert_eq!(read_port(&mut Cursor::new(b"05060;")), Ok(Some(5060)));
        assert!(read_port(&mut Cursor::new(b"65536")).is_err());
        assert!(read_port(&mut Cursor::new(b"")).is_err());
    }
}
