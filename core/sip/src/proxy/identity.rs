//! Who this node is: which URIs name it, and how it names itself in Via and Record-Route.
//!
//! For: "is this ours?" in Route processing and routing decisions (RFC 3261 §16.4, §16.5).
//! Invariants: "ours" is a listen or advertised address with its port, or a configured alias; a
//! missing port means the transport's default.

use super::branch::Branch;
use crate::message::{Host, Uri};
use crate::transport::{Flow, Interfaces, ListenerId, Listeners, Transport};
use std::net::{IpAddr, SocketAddr};

/// A host and port by which this node is known.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Name {
    host: OwnedHost,
    /// `None` matches every port: a configured domain.
    port: Option<u16>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum OwnedHost {
    Address(IpAddr),
    Domain(Vec<u8>),
}

impl OwnedHost {
    fn matches(&self, host: &Host<'_>) -> bool {
        match (self, host) {
            (OwnedHost::Address(IpAddr::V4(own)), Host::V4(theirs)) => own == theirs,
            (OwnedHost::Address(IpAddr::V6(own)), Host::V6(theirs)) => own == theirs,
            (OwnedHost::Domain(own), Host::Name(theirs)) => {
                own.eq_ignore_ascii_case(theirs.strip_suffix(b".").unwrap_or(theirs))
            }
            (OwnedHost::Address(_), Host::V4(_) | Host::V6(_) | Host::Name(_))
            | (OwnedHost::Domain(_), Host::V4(_) | Host::V6(_)) => false,
        }
    }
}

/// The names of a node.
#[derive(Debug)]
pub(crate) struct Identity {
    names: Vec<Name>,
    /// For each listener: transport, address, and the text for Via and Record-Route.
    listeners: Vec<(Transport, SocketAddr, String)>,
    /// With `mhomed`: which address of the host leads where.
    interfaces: Option<Interfaces>,
}

impl Identity {
    /// Collects the names of the listeners and the aliases (`example.com`, `example.com:5070`).
    pub(crate) fn new(listeners: &Listeners, aliases: &[String]) -> Identity {
        let mut names = Vec::new();
        for (_, listener) in listeners.iter() {
            let default = listener.transport.default_port();
            let address = OwnedHost::Address(listener.bound.ip());
            names.push(Name { host: address, port: Some(listener.bound.port()) });
            names.extend(Name::read(&listener.advertised, Some(default)));
        }
        names.extend(aliases.iter().filter_map(|alias| Name::read(alias, None)));
        let listeners = listeners
            .iter()
            .map(|(_, listener)| (listener.transport, listener.bound, listener.advertised.clone()))
            .collect();
        Identity { names, listeners, interfaces: None }
    }

    /// The same on a host with several interfaces (`mhomed`).
    pub(crate) fn with_interfaces(self, interfaces: Option<Interfaces>) -> Identity {
        Identity { interfaces, ..self }
    }

    /// Whether this URI's host and port name this node.
    pub(crate) fn is_ours(&self, uri: &Uri<'_>) -> bool {
        let default = uri.transport().map_or(5060, |transport| transport.default_port());
        let port = uri.port.unwrap_or(default);
        self.names
            .iter()
            .any(|name| name.host.matches(&uri.host) && name.port.is_none_or(|own| own == port))
    }

    /// Whether this Via value's sent-by is one of ours (RFC 3261 §18.1.2).
    pub(crate) fn is_our_sent_by(&self, host: &Host<'_>, port: Option<u16>) -> bool {
        let port = port.unwrap_or(5060);
        self.names.iter().any(|name| name.port == Some(port) && name.host.matches(host))
    }

    /// The listener to send from: the one that received when it fits, else the first that fits.
    /// With `mhomed`, the one whose interface leads to the remote address best.
    pub(crate) fn listener_for(
        &self,
        transport: Transport,
        remote: SocketAddr,
        received: ListenerId,
    ) -> Option<ListenerId> {
        let fits = |entry: &(Transport, SocketAddr, String)| {
            entry.0 == transport && entry.1.is_ipv4() == remote.is_ipv4()
        };
        if let Some(interfaces) = &self.interfaces {
            return self.leading_to(remote, interfaces, fits, received);
        }
        if self.listeners.get(usize::from(received.0)).is_some_and(fits) {
            return Some(received);
        }
        let index = self.listeners.iter().position(fits)?;
        u16::try_from(index).ok().map(ListenerId)
    }

    /// Of those that fit, the one whose interface leads to the address best; among equals the one
    /// that received, then the first.
    fn leading_to(
        &self,
        remote: SocketAddr,
        interfaces: &Interfaces,
        fits: impl Fn(&(Transport, SocketAddr, String)) -> bool,
        received: ListenerId,
    ) -> Option<ListenerId> {
        let mut best: Option<(u16, bool, ListenerId)> = None;
        for (entry, index) in self.listeners.iter().zip(0..).filter(|(entry, _)| fits(entry)) {
            let fit = interfaces.fit(entry.1.ip(), remote.ip());
            let candidate = (fit, index == received.0, ListenerId(index));
            if best.is_none_or(|best| (candidate.0, candidate.1) > (best.0, best.1)) {
                best = Some(candidate);
            }
        }
        best.map(|(_, _, listener)| listener)
    }

    /// `host[:port]` as advertised for this listener.
    pub(crate) fn advertised(&self, listener: ListenerId) -> &str {
        self.listeners.get(usize::from(listener.0)).map_or("invalid", |entry| entry.2.as_str())
    }

    /// Appends the Via value for a request sent over this flow.
    pub(crate) fn write_via(&self, flow: Flow, branch: &Branch, out: &mut Vec<u8>) {
        out.extend_from_slice(b"SIP/2.0/");
        out.extend_from_slice(flow.transport.via_name().as_bytes());
        out.push(b' ');
        out.extend_from_slice(self.advertised(flow.listener).as_bytes());
        out.extend_from_slice(b";branch=");
        branch.write(out);
    }
}

impl Name {
    /// Reads `host`, `host:port`, `[v6]`, `[v6]:port`.
    fn read(text: &str, default_port: Option<u16>) -> Option<Name> {
        if let Ok(address) = text.parse::<SocketAddr>() {
            let host = OwnedHost::Address(address.ip());
            return Some(Name { host, port: Some(address.port()) });
        }
        let bare = text.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).unwrap_or(text);
        if let Ok(address) = bare.parse::<IpAddr>() {
            return Some(Name { host: OwnedHost::Address(address), port: default_port });
        }
        let (host, port) = match text.rsplit_once(':') {
            Some((host, port)) => (host, Some(port.parse().ok()?)),
            None => (text, default_port),
        };
        let host = OwnedHost::Domain(host.trim_end_matches('.').as_bytes().to_vec());
        Some(Name { host, port })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::transport::Listener;

    fn identity() -> Identity {
        let listener = |bound: &str, advertised: &str| Listener {
            transport: Transport::Udp,
            bound: bound.parse().expect("an address"),
            advertised: advertised.into(),
        };
        let listeners = Listeners::new(vec![
            listener("192.0.2.1:5060", "192.0.2.1"),
            listener("[2001:db8::1]:5070", "sip.example.net:5070"),
        ]);
        Identity::new(&listeners, &["example.com".into()])
    }

    fn is_ours(uri: &str) -> bool {
        identity().is_ours(&Uri::parse(uri.as_bytes()).expect("a URI"))
    }

    #[test]
    fn the_default_port_is_meant_when_none_is_written() {
        assert!(is_ours("sip:192.0.2.1"));
        assert!(is_ours("sip:bob@192.0.2.1:5060;lr"));
        assert!(!is_ours("sip:192.0.2.1:5070"));
        assert!(is_ours("sip:[2001:db8::1]:5070"));
        assert!(!is_ours("sip:[2001:db8::1]"));
    }

    #[test]
    fn names_are_compared_without_case_and_final_dot() {
        assert!(is_ours("sip:SIP.example.NET.:5070"));
        assert!(is_ours("sip:alice@Example.com:5999"));
        assert!(!is_ours("sip:alice@notexample.com"));
    }

    #[test]
    fn the_receiving_listener_is_preferred() {
        let remote = "198.51.100.7:5060".parse().expect("an address");
        let found = identity().listener_for(Transport::Udp, remote, ListenerId(1));
        assert_eq!(found, Some(ListenerId(0)));
        assert_eq!(identity().listener_for(Transport::Tcp, remote, ListenerId(0)), None);
    }

    #[test]
    fn on_a_host_with_several_interfaces_the_one_that_leads_there_is_taken() {
        let ip = |text: &str| text.parse::<IpAddr>().expect("an address");
        let addresses = ["192.0.2.1:5060", "10.0.0.1:5060", "10.0.0.1:5070"];
        let listeners = addresses.map(|bound| Listener {
            transport: Transport::Udp,
            bound: bound.parse().expect("an address"),
            advertised: bound.into(),
        });
        let networks = vec![(ip("192.0.2.1"), 24), (ip("10.0.0.1"), 8)];
        let interfaces = Interfaces { networks, default: vec![ip("192.0.2.1")] };
        let identity = Identity::new(&Listeners::new(listeners.to_vec()), &[]);
        let identity = identity.with_interfaces(Some(interfaces));
        let found = |remote: &str, received| {
            let remote = remote.parse().expect("an address");
            identity.listener_for(Transport::Udp, remote, ListenerId(received))
        };
        assert_eq!(found("10.7.7.7:5060", 0), Some(ListenerId(1)));
        assert_eq!(found("10.7.7.7:5060", 2), Some(ListenerId(2)));
        assert_eq!(found("203.0.113.9:5060", 1), Some(ListenerId(0)));
    }
}
