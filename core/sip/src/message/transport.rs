//! Transport names as messages spell them: Via `sent-protocol` and the URI parameter `transport`.
//!
//! For: comparing them as values.
//! Not here: which transports this node has sockets for, default destinations (RFC 3263).

/// A transport's name in a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TransportName<'a> {
    /// `UDP`
    Udp,
    /// `TCP`
    Tcp,
    /// `TLS`
    Tls,
    /// `SCTP`
    Sctp,
    /// `TLS-SCTP`
    TlsSctp,
    /// `WS`: RFC 7118.
    Ws,
    /// `WSS`: RFC 7118.
    Wss,
    /// Any other, as written.
    Other(&'a [u8]),
}

impl<'a> TransportName<'a> {
    /// Reads a name in any case.
    pub fn from_bytes(name: &'a [u8]) -> TransportName<'a> {
        let known = [
            TransportName::Udp,
            TransportName::Tcp,
            TransportName::Tls,
            TransportName::Wss,
            TransportName::Ws,
            TransportName::Sctp,
            TransportName::TlsSctp,
        ];
        let found = known.into_iter().find(|known| name.eq_ignore_ascii_case(known.as_bytes()));
        found.unwrap_or(TransportName::Other(name))
    }

    /// The name as Via writes it.
    pub fn as_bytes(&self) -> &'a [u8] {
        match self {
            TransportName::Udp => b"UDP",
            TransportName::Tcp => b"TCP",
            TransportName::Tls => b"TLS",
            TransportName::Sctp => b"SCTP",
            TransportName::TlsSctp => b"TLS-SCTP",
            TransportName::Ws => b"WS",
            TransportName::Wss => b"WSS",
            TransportName::Other(name) => name,
        }
    }

    /// The port that a Via or URI without one means (RFC 3261 §18.2.2, §19.1.2).
    pub fn default_port(&self) -> u16 {
        match self {
            TransportName::Tls | TransportName::TlsSctp => 5061,
            TransportName::Ws => 80,
            TransportName::Wss => 443,
            TransportName::Udp
            | TransportName::Tcp
            | TransportName::Sctp
            | TransportName::Other(_) => 5060,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_read_in_any_case() {
        assert_eq!(TransportName::from_bytes(b"uDp"), TransportName::Udp);
        assert_eq!(TransportName::from_bytes(b"tls-sctp"), TransportName::TlsSctp);
        assert_eq!(TransportName::from_bytes(b"UNKNOWN"), TransportName::Other(b"UNKNOWN"));
    }

    #[test]
    fn secure_transports_have_their_own_port() {
        assert_eq!(TransportName::Udp.default_port(), 5060);
        assert_eq!(TransportName::Tls.default_port(), 5061);
    }
}
