//! Flow tokens: the flow that a user agent came over, in the user part of Record-Route and Path.
//!
//! For: sending later requests for that user agent back over its own connection, without a table
//! (RFC 5626 §5.2, §5.3).
//! Shape: `fl.<keyed digest>.<flow>`, both in hexadecimal digits.
//! Invariants: only a token that this node wrote leads anywhere; a connection's name is never used
//! twice, so an old token reaches nobody else.

use super::branch::{Digest, push_hex, take_hex};
use crate::transport::{ConnectionId, Flow, ListenerId, Transport};
use std::net::{IpAddr, Ipv6Addr, SocketAddr};

const PREFIX: &[u8] = b"fl.";
const TRANSPORTS: [Transport; 5] =
    [Transport::Udp, Transport::Tcp, Transport::Tls, Transport::Ws, Transport::Wss];

/// What the user part of a route of ours says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Token {
    /// A flow that this node has named.
    Of(Flow),
    /// It looks like a token, and this node did not write it.
    Altered,
}

/// Appends a token; `digest` is keyed with the node's secret.
pub(crate) fn write(flow: &Flow, digest: Digest, out: &mut Vec<u8>) {
    let numbers = numbers(flow);
    out.extend_from_slice(PREFIX);
    push_hex(out, seal(digest, numbers));
    out.push(b'.');
    numbers.into_iter().for_each(|number| push_hex(out, number));
}

/// Reads a user part; `None` when it is no token at all.
pub(crate) fn read(user: &[u8], digest: Digest) -> Option<Token> {
    let rest = user.strip_prefix(PREFIX)?;
    Some(read_sealed(rest, digest).map_or(Token::Altered, Token::Of))
}

fn read_sealed(text: &[u8], digest: Digest) -> Option<Flow> {
    let (sealed, rest) = take_hex(text)?;
    let mut rest = rest.strip_prefix(b".")?;
    let mut numbers = [0; 4];
    for number in &mut numbers {
        (*number, rest) = take_hex(rest)?;
    }
    if !rest.is_empty() || seal(digest, numbers) != sealed {
        return None;
    }
    let [ends, high, low, connection] = numbers;
    let transport = *TRANSPORTS.get(usize::try_from(ends >> 32).ok()?)?;
    let listener = ListenerId(u16::try_from(ends >> 16 & 0xffff).ok()?);
    let port = u16::try_from(ends & 0xffff).ok()?;
    let address = Ipv6Addr::from_bits(u128::from(high) << 64 | u128::from(low));
    let remote = SocketAddr::new(IpAddr::V6(address).to_canonical(), port);
    let connection = (connection != u64::MAX).then_some(ConnectionId(connection));
    Some(Flow { transport, listener, remote, connection })
}

/// Transport, listener and port; the address, IPv4 mapped into IPv6; the connection.
fn numbers(flow: &Flow) -> [u64; 4] {
    let transport = TRANSPORTS.iter().zip(0u64..).find(|(own, _)| **own == flow.transport);
    let transport = transport.map_or(0, |(_, number)| number);
    let ends = transport << 32 | u64::from(flow.listener.0) << 16 | u64::from(flow.remote.port());
    let address = match flow.remote.ip() {
        IpAddr::V4(v4) => v4.to_ipv6_mapped(),
        IpAddr::V6(v6) => v6,
    };
    let bits = address.to_bits();
    let (high, low) = (bits >> 64, bits & u128::from(u64::MAX));
    let half = |bits: u128| u64::try_from(bits).unwrap_or(0);
    [ends, half(high), half(low), flow.connection.map_or(u64::MAX, |connection| connection.0)]
}

fn seal(mut digest: Digest, numbers: [u64; 4]) -> u64 {
    digest.add(b"flow token");
    numbers.iter().for_each(|number| {
        digest.add(&number.to_be_bytes());
    });
    digest.finish()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn digest() -> Digest {
        Digest::new((1, 2))
    }

    fn flow(remote: &str, transport: Transport, connection: Option<u64>) -> Flow {
        let remote = remote.parse().expect("an address");
        let connection = connection.map(ConnectionId);
        Flow { transport, listener: ListenerId(3), remote, connection }
    }

    #[test]
    fn a_flow_comes_back_as_it_was() {
        for flow in [
            flow("192.0.2.10:40123", Transport::Udp, None),
            flow("[2001:db8::7]:5060", Transport::Tcp, Some(77)),
            flow("192.0.2.10:1", Transport::Wss, Some(u64::MAX - 1)),
        ] {
            let mut token = Vec::new();
            write(&flow, digest(), &mut token);
            assert_eq!(read(&token, digest()), Some(Token::Of(flow)));
            assert!(token.iter().all(|byte| byte.is_ascii_alphanumeric() || *byte == b'.'));
        }
    }

    #[test]
    fn what_was_changed_leads_nowhere() {
        let mut token = Vec::new();
        write(&flow("192.0.2.10:40123", Transport::Tcp, Some(5)), digest(), &mut token);
        for place in PREFIX.len()..token.len() {
            let mut altered = token.clone();
            altered[place] = if altered[place] == b'0' { b'1' } else { b'0' };
            assert_eq!(read(&altered, digest()), Some(Token::Altered), "{place}");
        }
        assert_eq!(read(&token, Digest::new((1, 3))), Some(Token::Altered));
        assert_eq!(read(b"fl.", digest()), Some(Token::Altered));
        assert_eq!(read(b"alice", digest()), None);
    }
}
