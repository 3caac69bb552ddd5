//! One Via value: RFC 3261 §20.42, with `received` and `rport` of RFC 3581 and `alias` of RFC 5923.
//!
//! For: where a request came from, where its answers go, and which transaction they belong to.
//! Not here: stamping and removing Via values (`write/`), matching (`transaction/`).

use std::fmt;
use std::net::IpAddr;

use super::error::ParseError;
use super::host::{Host, port, read_port};
use super::list::Params;
use super::octet::{Cursor, TOKEN, decimal, is_lws, slice, trim};
use super::transport::TransportName;

/// What a branch starts with when it is unique (RFC 3261 §8.1.1.7).
pub const MAGIC_COOKIE: &[u8] = b"z9hG4bK";

/// One hop.
#[derive(Clone, Copy)]
pub struct Via<'a> {
    /// The whole value.
    pub raw: &'a [u8],
    /// The protocol's version, `2.0` as a rule; see `is_sip_2`.
    pub version: &'a [u8],
    /// The transport over which the hop sent.
    pub transport: TransportName<'a>,
    /// The host the hop calls itself.
    pub host: Host<'a>,
    /// The hop's port; `None` when absent or 0.
    pub port: Option<u16>,
    /// Host and port as written.
    pub sent_by: &'a [u8],
    /// The parameters.
    pub params: Params<'a>,
}

/// Parameters of a hop: the outer `None` when absent, the inner one without value.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct ViaParams<'a> {
    branch: Option<Option<&'a [u8]>>,
    received: Option<Option<&'a [u8]>>,
    rport: Option<Option<&'a [u8]>>,
    maddr: Option<Option<&'a [u8]>>,
}

impl<'a> ViaParams<'a> {
    /// As [`Via::branch`].
    pub(crate) fn branch(&self) -> Option<&'a [u8]> {
        self.branch.flatten()
    }

    /// Whether there is a `received` with a value.
    pub(crate) fn has_received(&self) -> bool {
        self.received.flatten().is_some()
    }

    /// Whether there is an `rport`, with or without value.
    pub(crate) fn has_rport(&self) -> bool {
        self.rport.is_some()
    }

    /// As [`Via::maddr`].
    pub(crate) fn maddr(&self) -> Option<Host<'a>> {
        self.maddr.flatten().and_then(|host| Host::parse(host).ok())
    }
}

impl<'a> Via<'a> {
    /// Reads one value of a Via list. The version is not judged, so that a request of another
    /// version can be answered with 505.
    pub fn parse(raw: &'a [u8]) -> Result<Via<'a>, ParseError> {
        let mut cursor = Cursor::new(raw);
        cursor.skip_lws();
        if !cursor.take(TOKEN).eq_ignore_ascii_case(b"SIP") || !cursor.eat_separator(b'/') {
            return Err(Cursor::new(raw).unexpected());
        }
        let version = cursor.take(TOKEN);
        if version.is_empty() || !cursor.eat_separator(b'/') {
            return Err(cursor.unexpected());
        }
        let transport = cursor.take(TOKEN);
        if transport.is_empty() || !cursor.peek().is_some_and(is_lws) {
            return Err(cursor.unexpected());
        }
        cursor.skip_lws();
        let start = cursor.at();
        let host = Host::read(&mut cursor)?;
        let mut end = cursor.at();
        let mut port = None;
        if cursor.eat_separator(b':') {
            port = read_port(&mut cursor)?;
            end = cursor.at();
            cursor.skip_lws();
        }
        let params = Params::read(&mut cursor)?;
        Ok(Via {
            raw: trim(raw),
            version,
            transport: TransportName::from_bytes(transport),
            host,
            port,
            sent_by: slice(raw, start, end),
            params,
        })
    }

    /// Whether the hop speaks SIP/2.0.
    pub fn is_sip_2(&self) -> bool {
        self.version == b"2.0"
    }

    /// The port of sent-by, or the transport's default.
    pub fn port_or_default(&self) -> u16 {
        self.port.unwrap_or(self.transport.default_port())
    }

    /// The parameters that say where answers go and whose they are, read in one pass.
    pub(crate) fn known(&self) -> ViaParams<'a> {
        let mut known = ViaParams::default();
        for param in self.params {
            let place = match param.name.len() {
                5 if param.is(b"rport") => &mut known.rport,
                5 if param.is(b"maddr") => &mut known.maddr,
                6 if param.is(b"branch") => &mut known.branch,
                8 if param.is(b"received") => &mut known.received,
                _ => continue,
            };
            place.get_or_insert(param.value);
        }
        known
    }

    /// The first parameter of that name: `None` when absent, `Some(None)` without value.
    pub fn param(&self, name: &[u8]) -> Option<Option<&'a [u8]>> {
        self.params.get(name)
    }

    /// The parameter `branch`.
    pub fn branch(&self) -> Option<&'a [u8]> {
        self.params.value(b"branch")
    }

    /// The branch after the magic cookie: `None` of a hop that follows RFC 2543.
    pub fn branch_after_cookie(&self) -> Option<&'a [u8]> {
        self.branch()?.strip_prefix(MAGIC_COOKIE)
    }

    /// The parameter `received` as written.
    pub fn received(&self) -> Option<&'a [u8]> {
        self.params.value(b"received")
    }

    /// The address in `received`, with or without the brackets that RFC 5118 §4.5 allows for.
    pub fn received_ip(&self) -> Option<IpAddr> {
        Host::parse(self.received()?).ok()?.ip()
    }

    /// The parameter `rport`: `Some(None)` asks for the port, `Some(Some(port))` tells it. A value
    /// that is no port counts as none.
    pub fn rport(&self) -> Option<Option<u16>> {
        self.params.get(b"rport").map(|value| value.and_then(port))
    }

    /// The parameter `maddr`, if it can be read.
    pub fn maddr(&self) -> Option<Host<'a>> {
        self.params.value(b"maddr").and_then(|host| Host::parse(host).ok())
    }

    /// The parameter `ttl`, if it can be read.
    pub fn ttl(&self) -> Option<u8> {
        self.params.value(b"ttl").and_then(decimal).and_then(|ttl| u8::try_from(ttl).ok())
    }

    /// Whether the connection may be reused for requests (RFC 5923).
    pub fn alias(&self) -> bool {
        self.params.has(b"alias")
    }

    /// The parameter `i`: the connection on which this node received the request.
    pub fn connection(&self) -> Option<&'a [u8]> {
        self.params.value(b"i")
    }
}

impl fmt::Debug for Via<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.raw.escape_ascii())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::Ipv4Addr;

    fn parse(text: &str) -> Via<'_> {
        Via::parse(text.as_bytes()).unwrap_or_else(|error| panic!("{text}: {error}"))
    }

    #[test]
    fn all_parts_are_found() {
        let via = parse(
            "SIP/2.0/UDP 192.0.2.1:5070;branch=z9hG4bKabc;received=192.0.2.9;rport=1024;alias;i=2f",
        );
        assert_eq!(via.transport, TransportName::Udp);
        assert_eq!(via.host, Host::V4(Ipv4Addr::new(192, 0, 2, 1)));
        assert_eq!((via.port, via.sent_by), (Some(5070), &b"192.0.2.1:5070"[..]));
        assert_eq!(via.branch_after_cookie(), Some(&b"abc"[..]));
        assert_eq!(via.received_ip(), Some(IpAddr::from([192, 0, 2, 9])));
        assert_eq!(via.rport(), Some(Some(1024)));
        assert!(via.alias());
        assert_eq!(via.connection(), Some(&b"2f"[..]));
    }

    #[test]
    fn what_is_read_in_one_pass_is_what_is_read_alone() {
        for params in [
            "",
            ";branch=z9hG4bKabc;received=192.0.2.9;rport=1024;maddr=192.0.2.7",
            ";rport;BRANCH=1;branch=2;Received;rport=9",
            ";maddr;maddr=192.0.2.7;x=\";branch=3\";received=h",
            ";branch=;maddr=[::1",
        ] {
            let text = format!("SIP/2.0/UDP h{params}");
            let via = parse(&text);
            let known = via.known();
            assert_eq!(known.branch(), via.branch(), "{text}");
            assert_eq!(known.has_received(), via.received().is_some(), "{text}");
            assert_eq!(known.has_rport(), via.rport().is_some(), "{text}");
            assert_eq!(known.maddr(), via.maddr(), "{text}");
        }
    }

    #[test]
    fn white_space_and_folds_are_allowed_almost_everywhere() {
        let via = parse("SIP  / 2.0\r\n /UDP\r\n    192.0.2.2 : 5061 ;branch=390skdjuw");
        assert!(via.is_sip_2());
        assert_eq!((via.port, via.sent_by), (Some(5061), &b"192.0.2.2 : 5061"[..]));
        assert_eq!(via.branch(), Some(&b"390skdjuw"[..]));
        assert_eq!(via.branch_after_cookie(), None);
    }

    #[test]
    fn rport_may_ask_or_tell() {
        assert_eq!(parse("SIP/2.0/UDP h;rport").rport(), Some(None));
        assert_eq!(parse("SIP/2.0/UDP h;rport=").rport(), Some(None));
        assert_eq!(parse("SIP/2.0/UDP h;rport=99999").rport(), Some(None));
        assert_eq!(parse("SIP/2.0/UDP h;xrport=1").rport(), None);
    }

    #[test]
    fn an_ipv6_hop_is_read_with_and_without_brackets() {
        let via = parse(
            "SIP/2.0/UDP [2001:db8::9:1]:6050;received=[2001:db8::9:255];branch=z9hG4bKas3-111",
        );
        assert_eq!(via.port_or_default(), 6050);
        assert!(via.received_ip().is_some_and(|ip| ip.is_ipv6()));
        assert!(parse("SIP/2.0/UDP h;received=2001:db8::9:255").received_ip().is_some());
    }

    #[test]
    fn another_version_is_read_so_that_it_can_be_answered() {
        assert!(!parse("SIP/7.0/UDP c.example.com;branch=z9hG4bKkdjuw").is_sip_2());
    }

    #[test]
    fn an_unknown_transport_keeps_its_name() {
        assert_eq!(parse("SIP/2.0/UNKNOWN h").transport, TransportName::Other(b"UNKNOWN"));
        assert_eq!(parse("SIP/2.0/TLS h").port_or_default(), 5061);
    }

    #[test]
    fn broken_values_are_refused() {
        for text in [
            "",
            "SIP/2.0/UDP",
            "SIP/2.0/UDP ",
            "SIP/2.0/UDP;branch=x",
            "SIP/2.0 UDP h",
            "HTTP/1.1/TCP h",
            "SIP//UDP h",
            "SIP/2.0/UDP h:",
            "SIP/2.0/UDP h:123456",
            "SIP/2.0/UDP h x",
            "SIP/2.0/UDP [::1;branch=x",
            "SIP/2.0/UDP 2001:db8::1",
            "SIP/2.0/UDP h,",
        ] {
            assert!(Via::parse(text.as_bytes()).is_err(), "{text:?}");
        }
    }
}
