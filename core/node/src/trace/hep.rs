//! HEP version 3: a copy of a message for a collector such as Homer.
//!
//! For: writing one packet.
//! Not here: sending it (`mod.rs`).

use crate::tap::Packet;
use std::net::IpAddr;
use std::time::UNIX_EPOCH;

/// What the payload is: SIP.
const SIP: u8 = 1;
/// Who captures, in the collector's eyes. A guess: the number that examples use.
const AGENT: u32 = 2001;

/// The packet; `None` when it is too long for its length field.
pub(super) fn encode(packet: &Packet) -> Option<Vec<u8>> {
    let mut out = b"HEP3\0\0".to_vec();
    let mut chunk = |kind: u16, value: &[u8]| {
        out.extend_from_slice(&[0, 0]);
        out.extend_from_slice(&kind.to_be_bytes());
        // Longer ones make the whole too long, which is seen below.
        out.extend_from_slice(&u16::try_from(value.len() + 6).unwrap_or(u16::MAX).to_be_bytes());
        out.extend_from_slice(value);
    };
    let protocol = if packet.transport.is_reliable() { 6 } else { 17 };
    match (packet.from.ip(), packet.to.ip()) {
        (IpAddr::V4(from), IpAddr::V4(to)) => {
            chunk(1, &[2]);
            chunk(2, &[protocol]);
            chunk(3, &from.octets());
            chunk(4, &to.octets());
        }
        (from, to) => {
            let octets = |address: IpAddr| match address {
                IpAddr::V4(v4) => v4.to_ipv6_mapped().octets(),
                IpAddr::V6(v6) => v6.octets(),
            };
            chunk(1, &[10]);
            chunk(2, &[protocol]);
            chunk(5, &octets(from));
            chunk(6, &octets(to));
        }
    }
    chunk(7, &packet.from.port().to_be_bytes());
    chunk(8, &packet.to.port().to_be_bytes());
    let at = packet.at.duration_since(UNIX_EPOCH).unwrap_or_default();
    chunk(9, &u32::try_from(at.as_secs()).unwrap_or(u32::MAX).to_be_bytes());
    chunk(10, &at.subsec_micros().to_be_bytes());
    chunk(11, &[SIP]);
    chunk(12, &AGENT.to_be_bytes());
    chunk(15, &packet.bytes);
    let length = u16::try_from(out.len()).ok()?;
    out.get_mut(4..6)?.copy_from_slice(&length.to_be_bytes());
    Some(out)
}
