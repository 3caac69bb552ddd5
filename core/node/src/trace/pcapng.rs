//! A pcapng file of messages, as tshark, Wireshark and sngrep read it.
//!
//! For: one section with one interface; each message as a UDP datagram, whatever carried it.
//! Not here: which messages (`tap.rs`).
//! Invariants: the file never grows beyond its bound; every block in it is whole.

use crate::tap::Packet;
use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::net::IpAddr;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::time::UNIX_EPOCH;

const SECTION: u32 = 0x0a0d_0d0a;
const INTERFACE: u32 = 1;
const ENHANCED_PACKET: u32 = 6;
/// Packets begin with an IPv4 or IPv6 header.
const LINKTYPE_RAW: u16 = 101;
const UDP: u8 = 17;

/// A file that is being written.
#[derive(Debug)]
pub(super) struct Capture {
    file: File,
    left: u64,
}

impl Capture {
    /// A new file, for its owner alone; it takes so many bytes at most.
    ///
    /// # Errors
    /// When it is there already, or cannot be made.
    pub(super) fn create(path: &Path, bytes_max: u64) -> io::Result<Capture> {
        let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)?;
        let mut head = Vec::new();
        let mut section = Vec::new();
        section.extend_from_slice(&0x1a2b_3c4d_u32.to_le_bytes());
        section.extend_from_slice(&[1, 0, 0, 0]);
        section.extend_from_slice(&u64::MAX.to_le_bytes()); // length not said
        block(&mut head, SECTION, &section);
        let mut interface = Vec::new();
        interface.extend_from_slice(&LINKTYPE_RAW.to_le_bytes());
        interface.extend_from_slice(&[0, 0]);
        interface.extend_from_slice(&0_u32.to_le_bytes()); // no bound on a packet
        block(&mut head, INTERFACE, &interface);
        file.write_all(&head)?;
        Ok(Capture { file, left: bytes_max.saturating_sub(head.len() as u64) })
    }

    /// Adds a message; `false` when the file is full or it is too long.
    pub(super) fn add(&mut self, packet: &Packet) -> io::Result<bool> {
        let Some(datagram) = datagram(packet) else { return Ok(false) };
        let at = packet.at.duration_since(UNIX_EPOCH).unwrap_or_default();
        let micros = u64::try_from(at.as_micros()).unwrap_or(u64::MAX);
        let length = u32::try_from(datagram.len()).unwrap_or(u32::MAX).to_le_bytes();
        let mut body = Vec::with_capacity(datagram.len() + 24);
        body.extend_from_slice(&0_u32.to_le_bytes());
        body.extend_from_slice(&((micros >> 32) as u32).to_le_bytes());
        body.extend_from_slice(&(micros as u32).to_le_bytes());
        body.extend_from_slice(&length);
        body.extend_from_slice(&length);
        body.extend_from_slice(&datagram);
        let mut whole = Vec::new();
        block(&mut whole, ENHANCED_PACKET, &body);
        let Some(left) = self.left.checked_sub(whole.len() as u64) else { return Ok(false) };
        self.file.write_all(&whole)?;
        self.left = left;
        Ok(true)
    }
}

/// A block: kind, length, body up to a multiple of four, length.
fn block(out: &mut Vec<u8>, kind: u32, body: &[u8]) {
    let padding = body.len().next_multiple_of(4) - body.len();
    let length = u32::try_from(body.len() + padding + 12).unwrap_or(u32::MAX).to_le_bytes();
    out.extend_from_slice(&kind.to_le_bytes());
    out.extend_from_slice(&length);
    out.extend_from_slice(body);
    out.extend(std::iter::repeat_n(0, padding));
    out.extend_from_slice(&length);
}

/// The message with an IP and a UDP header before it; `None` when it is too long for one.
fn datagram(packet: &Packet) -> Option<Vec<u8>> {
    let length = u16::try_from(packet.bytes.len() + 8).ok()?;
    let mut udp = Vec::with_capacity(packet.bytes.len() + 8);
    udp.extend_from_slice(&packet.from.port().to_be_bytes());
    udp.extend_from_slice(&packet.to.port().to_be_bytes());
    udp.extend_from_slice(&length.to_be_bytes());
    udp.extend_from_slice(&[0, 0]); // no checksum
    udp.extend_from_slice(&packet.bytes);
    let mut out = match (packet.from.ip(), packet.to.ip()) {
        (IpAddr::V4(from), IpAddr::V4(to)) => {
            let total = length.checked_add(20)?.to_be_bytes();
            let mut head = vec![0x45, 0, total[0], total[1], 0, 0, 0, 0, 64, UDP, 0, 0];
            head.extend_from_slice(&from.octets());
            head.extend_from_slice(&to.octets());
            let sum = checksum(&head);
            head.get_mut(10..12)?.copy_from_slice(&sum.to_be_bytes());
            head
        }
        (from, to) => {
            let length = length.to_be_bytes();
            let mut head = vec![0x60, 0, 0, 0, length[0], length[1], UDP, 64];
            for address in [from, to] {
                head.extend_from_slice(&match address {
                    IpAddr::V4(v4) => v4.to_ipv6_mapped().octets(),
                    IpAddr::V6(v6) => v6.octets(),
                });
            }
            head
        }
    };
    out.extend_from_slice(&udp);
    Some(out)
}

/// RFC 1071, of a header whose checksum is zero.
fn checksum(head: &[u8]) -> u16 {
    let words = head.chunks_exact(2).map(|pair| match pair {
        [high, low] => u32::from(u16::from_be_bytes([*high, *low])),
        _ => 0,
    });
    let sum: u32 = words.sum();
    let folded = (sum & 0xffff) + (sum >> 16);
    !(((folded & 0xffff) + (folded >> 16)) as u16)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_checksum_is_that_of_the_example() {
        // RFC 1071 §3, its numerical example, complemented.
        let bytes = [0x00, 0x01, 0xf2, 0x03, 0xf4, 0xf5, 0xf6, 0xf7];
        assert_eq!(checksum(&bytes), !0xddf2);
    }
}
