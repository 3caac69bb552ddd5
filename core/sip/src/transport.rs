//! Where bytes come from and go to: transports, listeners, flows.
//!
//! For: naming a socket pair without holding a socket; the edge maps these ids to descriptors.
//! Not here: choosing the next hop (`proxy/`), opening connections (`core/node`).

use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

/// A transport protocol of SIP (RFC 3261 §18, RFC 7118).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Transport {
    /// UDP, RFC 3261 §18.1.
    Udp,
    /// TCP, RFC 3261 §18.
    Tcp,
    /// TLS over TCP, RFC 3261 §26.2.
    Tls,
    /// WebSocket, RFC 7118.
    Ws,
    /// WebSocket over TLS, RFC 7118.
    Wss,
}

impl Transport {
    /// A reliable transport runs no retransmission timers (§17.1.1.2).
    pub const fn is_reliable(self) -> bool {
        match self {
            Transport::Udp => false,
            Transport::Tcp | Transport::Tls | Transport::Ws | Transport::Wss => true,
        }
    }

    /// The port meant when none is written (§19.1.2, RFC 7118 §5).
    pub const fn default_port(self) -> u16 {
        match self {
            Transport::Udp | Transport::Tcp => 5060,
            Transport::Tls => 5061,
            Transport::Ws => 80,
            Transport::Wss => 443,
        }
    }

    /// The word in a Via header: `UDP`, `TCP` ...
    pub const fn via_name(self) -> &'static str {
        match self {
            Transport::Udp => "UDP",
            Transport::Tcp => "TCP",
            Transport::Tls => "TLS",
            Transport::Ws => "WS",
            Transport::Wss => "WSS",
        }
    }

    /// The value of a `transport` URI parameter: `udp`, `tcp` ...
    pub const fn uri_name(self) -> &'static str {
        match self {
            Transport::Udp => "udp",
            Transport::Tcp => "tcp",
            Transport::Tls => "tls",
            Transport::Ws => "ws",
            Transport::Wss => "wss",
        }
    }

    /// Recognises a transport's name in any case.
    pub fn from_name(name: &[u8]) -> Option<Transport> {
        const ALL: [Transport; 5] =
            [Transport::Udp, Transport::Tcp, Transport::Tls, Transport::Ws, Transport::Wss];
        ALL.into_iter().find(|t| t.uri_name().as_bytes().eq_ignore_ascii_case(name))
    }
}

impl fmt::Display for Transport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.uri_name())
    }
}

/// Names one configured listening address; an index into [`Listeners`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Default)]
pub struct ListenerId(pub u16);

/// Names one stream connection of the node; unset for datagrams.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ConnectionId(pub u64);

/// How long a stream connection is to live.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lifespan {
    /// Until then at least, however idle it is; never shortened by a later one.
    Until(crate::time::Instant),
    /// It is over: what is queued still goes out.
    Over,
}

/// A socket pair: which of our listeners, and who is at the other end.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Flow {
    /// The protocol in use.
    pub transport: Transport,
    /// The listener that received, or that sends.
    pub listener: ListenerId,
    /// The other end.
    pub remote: SocketAddr,
    /// The stream connection, once there is one.
    pub connection: Option<ConnectionId>,
}

impl Flow {
    /// A UDP flow.
    pub const fn udp(listener: ListenerId, remote: SocketAddr) -> Flow {
        Flow { transport: Transport::Udp, listener, remote, connection: None }
    }
}

/// One address at which the node listens.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listener {
    /// The protocol.
    pub transport: Transport,
    /// The address the socket is bound to (port never 0: the edge fills it in after binding).
    pub bound: SocketAddr,
    /// `host[:port]` written into Via and Record-Route; the bound address unless configured.
    pub advertised: String,
}

/// What leads where on a host with several interfaces, read once at the start (`mhomed`).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Interfaces {
    /// The host's own addresses, each with the length of its network's prefix.
    pub networks: Vec<(IpAddr, u8)>,
    /// The addresses from which everything else is sent, one for each family.
    pub default: Vec<IpAddr>,
}

impl Interfaces {
    /// How well an address of the host fits for sending to `remote`, the higher the better: the
    /// length of the network's prefix that they share, then the default route; 0 when not at all.
    pub fn fit(&self, own: IpAddr, remote: IpAddr) -> u16 {
        let shared = self.networks.iter().filter(|(address, _)| *address == own);
        let longest = shared
            .filter(|(_, prefix)| common_prefix(own, remote) >= *prefix)
            .map(|(_, prefix)| u16::from(*prefix) + 2)
            .max();
        longest.unwrap_or_else(|| u16::from(self.default.contains(&own)))
    }
}

/// How many bits at the front two addresses share; none when they are of two families.
fn common_prefix(one: IpAddr, other: IpAddr) -> u8 {
    let bits = match (one, other) {
        (IpAddr::V4(one), IpAddr::V4(other)) => (one.to_bits() ^ other.to_bits()).leading_zeros(),
        (IpAddr::V6(one), IpAddr::V6(other)) => (one.to_bits() ^ other.to_bits()).leading_zeros(),
        (IpAddr::V4(_), IpAddr::V6(_)) | (IpAddr::V6(_), IpAddr::V4(_)) => 0,
    };
    u8::try_from(bits).unwrap_or(u8::MAX)
}

/// Every listening address of the node, the same on all shards.
#[derive(Clone, Debug)]
pub struct Listeners(Arc<[Listener]>);

impl Listeners {
    /// Takes the configured list; it is not empty in a node that runs.
    pub fn new(list: Vec<Listener>) -> Listeners {
        Listeners(list.into())
    }

    /// The listener of this id, if there is one.
    pub fn get(&self, id: ListenerId) -> Option<&Listener> {
        self.0.get(usize::from(id.0))
    }

    /// All of them with their ids, in configured order.
    pub fn iter(&self) -> impl Iterator<Item = (ListenerId, &Listener)> {
        self.0.iter().enumerate().map(|(index, listener)| {
            (ListenerId(u16::try_from(index).unwrap_or(u16::MAX)), listener)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_interface_of_the_longest_network_fits_best() {
        let ip = |text: &str| text.parse::<IpAddr>().expect("an address");
        let host = Interfaces {
            networks: vec![
                (ip("10.0.0.1"), 8),
                (ip("10.1.0.1"), 16),
                (ip("192.0.2.1"), 24),
                (ip("2001:db8::1"), 64),
            ],
            default: vec![ip("192.0.2.1")],
        };
        let best = |remote: &str| {
            let own = ["10.0.0.1", "10.1.0.1", "192.0.2.1"];
            own.into_iter().max_by_key(|own| host.fit(ip(own), ip(remote)))
        };
        assert_eq!(best("10.9.9.9"), Some("10.0.0.1"));
        assert_eq!(best("10.1.9.9"), Some("10.1.0.1"));
        assert_eq!(best("203.0.113.7"), Some("192.0.2.1"));
        assert_eq!(host.fit(ip("2001:db8::1"), ip("2001:db8::7")), 66);
        assert_eq!(host.fit(ip("2001:db8::1"), ip("10.0.0.7")), 0);
    }

    #[test]
    fn names_are_recognised_in_any_case() {
        assert_eq!(Transport::from_name(b"Udp"), Some(Transport::Udp));
        assert_eq!(Transport::from_name(b"WSS"), Some(Transport::Wss));
        assert_eq!(Transport::from_name(b"sctp"), None);
    }
}
