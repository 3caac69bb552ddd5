//! The branch parameter that this node writes: the address of a client transaction.
//!
//! For: finding the transaction of a response without a look-up, recognising our own loops (RFC
//! 5393) and our own stateless forwards.
//! Shape: `z9hG4bK T <id> . <loop digest> . <cookie>` and `z9hG4bK S <digest> . <loop digest>`, all
//! numbers in 16 hexadecimal digits.
//! Invariants: a response is matched only if it carries the cookie, 64 random bits.

use crate::engine::slots::ClientId;
use std::hash::Hasher;

use siphasher::sip::SipHasher13;

/// What RFC 3261 §8.1.1.7 makes every branch begin with.
pub(crate) const MAGIC: &[u8] = b"z9hG4bK";

/// A branch parameter of ours.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Branch {
    /// Of a client transaction.
    Stateful { client: ClientId, loop_digest: u64, cookie: u64 },
    /// Of a request forwarded without one; the digest proves that we sent it.
    Stateless { digest: u64, loop_digest: u64 },
}

impl Branch {
    /// Appends the parameter's value.
    pub(crate) fn write(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(MAGIC);
        match *self {
            Branch::Stateful { client, loop_digest, cookie } => {
                out.push(b'T');
                push_hex(out, client.as_u64());
                out.push(b'.');
                push_hex(out, loop_digest);
                out.push(b'.');
                push_hex(out, cookie);
            }
            Branch::Stateless { digest, loop_digest } => {
                out.push(b'S');
                push_hex(out, digest);
                out.push(b'.');
                push_hex(out, loop_digest);
            }
        }
    }

    /// Reads a parameter's value; `None` when it is not of our shape.
    pub(crate) fn read(value: &[u8]) -> Option<Branch> {
        let (shape, rest) = value.strip_prefix(MAGIC)?.split_first()?;
        let (first, rest) = take_hex(rest)?;
        let (loop_digest, rest) = take_hex(rest.strip_prefix(b".")?)?;
        match shape {
            b'T' => {
                let (cookie, rest) = take_hex(rest.strip_prefix(b".")?)?;
                let client = ClientId::from_u64(first);
                rest.is_empty().then_some(Branch::Stateful { client, loop_digest, cookie })
            }
            b'S' => rest.is_empty().then_some(Branch::Stateless { digest: first, loop_digest }),
            _ => None,
        }
    }

    /// The part that recognises a loop.
    pub(crate) fn loop_digest(&self) -> u64 {
        match *self {
            Branch::Stateful { loop_digest, .. } | Branch::Stateless { loop_digest, .. } => {
                loop_digest
            }
        }
    }
}

/// Appends a number as 16 hexadecimal digits.
pub(crate) fn push_hex(out: &mut Vec<u8>, number: u64) {
    let [high, low] = [number >> 32, number].map(|half| eight_digits(half as u32));
    let mut digits = [0; 16];
    for (digit, half) in digits.as_chunks_mut().0.iter_mut().zip([high, low]) {
        *digit = half;
    }
    out.extend_from_slice(&digits);
}

/// Reads 16 hexadecimal digits, and what follows them.
pub(crate) fn take_hex(text: &[u8]) -> Option<(u64, &[u8])> {
    let (number, rest) = text.split_first_chunk::<16>()?;
    let (high, low) = (number.first_chunk()?, number.last_chunk()?);
    Some((u64::from(read_eight(*high)?) << 32 | u64::from(read_eight(*low)?), rest))
}

/// One in each octet of a word.
const EACH: u64 = u64::from_le_bytes([1; 8]);

/// All digits at once: each in an octet of its own, then made a letter.
#[inline]
fn eight_digits(number: u32) -> [u8; 8] {
    let wide = u64::from(number);
    let wide = (wide | (wide << 16)) & 0x0000_ffff_0000_ffff;
    let wide = (wide | (wide << 8)) & 0x00ff_00ff_00ff_00ff;
    let wide = (wide | (wide << 4)) & (EACH * 0x0f);
    let letters = ((wide + EACH * 6) >> 4) & EACH;
    (wide + EACH * u64::from(b'0') + letters * u64::from(b'a' - b'0' - 10)).to_be_bytes()
}

/// The number that is written so, and not otherwise.
#[inline]
fn read_eight(digits: [u8; 8]) -> Option<u32> {
    let text = u64::from_be_bytes(digits);
    let wide = (text & (EACH * 0x0f)) + ((text >> 6) & EACH) * 9;
    let wide = (wide | (wide >> 4)) & 0x00ff_00ff_00ff_00ff;
    let wide = (wide | (wide >> 8)) & 0x0000_ffff_0000_ffff;
    let number = (wide | (wide >> 16)) as u32;
    (eight_digits(number) == digits).then_some(number)
}

/// A keyed hash over several texts; each is closed off, so that moving a byte from one to the next
/// changes the hash.
pub(crate) struct Digest(SipHasher13);

impl Digest {
    pub(crate) fn new(key: (u64, u64)) -> Digest {
        Digest(SipHasher13::new_with_keys(key.0, key.1))
    }

    pub(crate) fn add(&mut self, text: &[u8]) -> &mut Digest {
        self.0.write(text);
        self.0.write_u32(u32::try_from(text.len()).unwrap_or(u32::MAX));
        self
    }

    pub(crate) fn finish(&self) -> u64 {
        self.0.finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn round_trip(branch: Branch) {
        let mut text = Vec::new();
        branch.write(&mut text);
        assert_eq!(Branch::read(&text), Some(branch), "{}", String::from_utf8_lossy(&text));
        for length in 0..text.len() {
            assert_eq!(Branch::read(&text[..length]), None);
        }
        text.push(b'0');
        assert_eq!(Branch::read(&text), None);
    }

    #[test]
    fn both_shapes_are_read_back() {
        let client = ClientId::from_u64(0xffff_ffff_0000_1234);
        round_trip(Branch::Stateful { client, loop_digest: 7, cookie: u64::MAX });
        round_trip(Branch::Stateless { digest: 0xdead_beef, loop_digest: 1 });
    }

    #[test]
    fn numbers_are_written_and_read_in_small_hexadecimal_digits_only() {
        for number in [0, 9, 10, 0x0123_4567_89ab_cdef, 0xfedc_ba98_7654_3210, u64::MAX] {
            let mut text = Vec::new();
            push_hex(&mut text, number);
            assert_eq!(text, format!("{number:016x}").as_bytes());
            assert_eq!(take_hex(&text), Some((number, &b""[..])));
            for at in 0..16 {
                for octet in (0..=255u8).filter(|octet| !b"0123456789abcdef".contains(octet)) {
                    let mut wrong = text.clone();
                    wrong[at] = octet;
                    assert_eq!(take_hex(&wrong), None, "{}", wrong.escape_ascii());
                }
            }
        }
    }

    #[test]
    fn foreign_branches_are_not_ours() {
        for foreign in ["", "z9hG4bK", "z9hG4bKd89f.de77.0", "1", "z9hG4bKTzzzzzzzz"] {
            assert_eq!(Branch::read(foreign.as_bytes()), None);
        }
    }

    #[test]
    fn where_a_text_ends_matters() {
        let digest = |texts: [&[u8]; 2]| {
            let mut digest = Digest::new((1, 2));
            for text in texts {
                digest.add(text);
            }
            digest.finish()
        };
        assert_ne!(digest([b"ab", b"c"]), digest([b"a", b"bc"]));
    }
}
