//! The URI parameter `alias`: where a contact really is, `ADDRESS~PORT~TRANSPORT`.
//!
//! For: writing it into contacts, and sending requests that come back with it.
//! Invariants: what is written is read back; an alias that is none leads nowhere.

use std::net::{IpAddr, SocketAddr};
use strowger_sip::message::{Host, Uri, UriBuilder};
use strowger_sip::transport::{Flow, Transport};

/// A Request-URI's alias, followed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Aliased {
    /// The Request-URI without it.
    pub uri: String,
    /// Where to send the request, as a URI.
    pub next_hop: String,
}

/// The value for a source. The numbers of transports are Kamailio's.
pub(super) fn alias_of(source: Flow) -> String {
    let transport = match source.transport {
        Transport::Udp => 1,
        Transport::Tcp => 2,
        Transport::Tls => 3,
        Transport::Ws => 5,
        Transport::Wss => 6,
    };
    format!("{}~{}~{transport}", host_of(source.remote.ip()), source.remote.port())
}

/// An address as a URI has it.
pub(super) fn host_of(address: IpAddr) -> String {
    match address.to_canonical() {
        IpAddr::V4(address) => address.to_string(),
        IpAddr::V6(address) => format!("[{address}]"),
    }
}

fn read(alias: &str) -> Option<(SocketAddr, Transport)> {
    let mut parts = alias.split('~');
    let host = Host::parse(parts.next()?.as_bytes()).ok()?.ip()?;
    let port: u16 = parts.next()?.parse().ok().filter(|port| *port > 0)?;
    let transport = match parts.next()? {
        "1" => Transport::Udp,
        "2" => Transport::Tcp,
        "3" => Transport::Tls,
        "5" => Transport::Ws,
        "6" => Transport::Wss,
        _ => return None,
    };
    parts.next().is_none().then_some((SocketAddr::new(host, port), transport))
}

/// Follows the alias of a URI, if it has one that can be read.
pub fn handle_alias(uri: &[u8]) -> Option<Aliased> {
    let uri = Uri::parse(uri).ok()?;
    let (address, transport) = read(std::str::from_utf8(uri.params.value(b"alias")?).ok()?)?;
    let host = host_of(address.ip());
    let parameter = match transport {
        Transport::Udp => String::new(),
        other @ (Transport::Tcp | Transport::Tls | Transport::Ws | Transport::Wss) => {
            format!(";transport={other}")
        }
    };
    let next_hop = format!("sip:{host}:{}{parameter}", address.port());
    Some(Aliased { uri: UriBuilder::from(&uri).no_param("alias").to_string(), next_hop })
}

#[cfg(test)]
mod tests {
    use super::*;
    use strowger_sip::transport::ListenerId;

    #[test]
    fn an_alias_leads_back_to_its_source() {
        for (remote, transport, next_hop) in [
            ("203.0.113.7:40000", Transport::Udp, "sip:203.0.113.7:40000"),
            ("203.0.113.7:40000", Transport::Tcp, "sip:203.0.113.7:40000;transport=tcp"),
            ("[2001:db8::7]:5", Transport::Wss, "sip:[2001:db8::7]:5;transport=wss"),
        ] {
            let remote = remote.parse().expect("an address");
            let listener = ListenerId(0);
            let alias = alias_of(Flow { transport, listener, remote, connection: None });
            let uri = format!("sip:a@10.0.0.1;alias={alias};ob");
            let aliased = handle_alias(uri.as_bytes()).expect("an alias");
            assert_eq!(
                (aliased.uri.as_str(), aliased.next_hop.as_str()),
                ("sip:a@10.0.0.1;ob", next_hop)
            );
        }
    }

    #[test]
    fn what_is_no_alias_leads_nowhere() {
        for alias in [
            "",
            "x~1~1",
            "10.0.0.1~0~1",
            "10.0.0.1~5060",
            "10.0.0.1~5060~4",
            "10.0.0.1~5060~1~",
            "10.0.0.1~99999~1",
        ] {
            assert_eq!(handle_alias(format!("sip:a;alias={alias}").as_bytes()), None, "{alias}");
        }
        assert_eq!(handle_alias(b"sip:a"), None);
        assert_eq!(handle_alias(b"nonsense"), None);
    }
}
