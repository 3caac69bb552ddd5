//! Where the octets are at which a line may end, found 64 at a time.
//!
//! For: the index of headers and the Call-ID scan, which go from line end to line end.
//! Not here: what a line is (`line.rs`).
//! Invariants: a mark is any octet up to CR, so that NUL, LF, CR and a tab are never passed over.
//! Whoever asks looks at the octet itself.

use wide::u8x16;

/// Octets that are looked at together.
const BLOCK: usize = 64;

/// The highest octet that is marked.
const HIGHEST: u8 = b'\r';

/// The marks of a message, a block at a time.
pub(super) struct Marks<'a> {
    bytes: &'a [u8],
    /// Where the block starts.
    base: usize,
    /// A bit for each octet of the block.
    mask: u64,
}

impl<'a> Marks<'a> {
    pub(super) fn new(bytes: &'a [u8]) -> Marks<'a> {
        Marks { bytes, base: 0, mask: block(bytes, 0) }
    }

    /// The first mark at `at` or after it; the message's end when there is none.
    #[inline]
    pub(super) fn next(&mut self, at: usize) -> usize {
        let offset = at.wrapping_sub(self.base);
        if offset < BLOCK {
            let ahead = self.mask >> offset;
            if ahead != 0 {
                return at + ahead.trailing_zeros() as usize;
            }
            self.base += BLOCK;
        } else {
            self.base = at;
        }
        self.mask = block(self.bytes, self.base);
        while self.mask == 0 && self.base < self.bytes.len() {
            self.base += BLOCK;
            self.mask = block(self.bytes, self.base);
        }
        self.bytes.len().min(self.base.saturating_add(self.mask.trailing_zeros() as usize))
    }
}

/// The marks of the block that starts at `base`; of the last one, which may be short, too.
#[inline]
fn block(bytes: &[u8], base: usize) -> u64 {
    let rest = bytes.get(base..).unwrap_or_default();
    match (rest.first_chunk::<BLOCK>(), bytes.last_chunk::<BLOCK>()) {
        (Some(whole), _) => marks(whole),
        (None, Some(last)) if !rest.is_empty() => marks(last) >> (BLOCK - rest.len()),
        (None, _) => rest.iter().rev().fold(0, |mask, octet| (mask << 1) | mark(*octet)),
    }
}

fn mark(octet: u8) -> u64 {
    u64::from(octet <= HIGHEST)
}

#[inline]
fn marks(octets: &[u8; BLOCK]) -> u64 {
    let highest = u8x16::splat(HIGHEST);
    let mut mask = 0;
    for part in octets.as_chunks().0.iter().rev() {
        let part = u8x16::new(*part);
        mask = (mask << 16) | u64::from(part.min(highest).simd_eq(part).to_bitmask());
    }
    mask
}

#[cfg(test)]
impl Marks<'static> {
    /// Marks nothing in any datagram: whoever asks takes the slow way.
    pub(super) fn blind() -> Marks<'static> {
        Marks::new(&[b'a'; crate::limits::DATAGRAM_BYTES_MAX])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn slowly(bytes: &[u8], at: usize) -> usize {
        let found = bytes.iter().skip(at).position(|octet| *octet <= b'\r');
        found.map_or(bytes.len(), |found| at + found)
    }

    #[test]
    fn every_mark_is_found_from_everywhere() {
        let mut octets = vec![b'a'; 300];
        for (at, octet) in [(0, 0), (5, 13), (63, 10), (64, 9), (130, 13), (131, 10), (299, 0)] {
            octets[at] = octet;
        }
        octets[7] = 14;
        octets[70] = 0x8d;
        octets[71] = 0xff;
        for end in 0..octets.len() {
            let bytes = &octets[..end];
            for start in 0..end {
                let mut marks = Marks::new(bytes);
                for at in start..end {
                    assert_eq!(marks.next(at), slowly(bytes, at), "{start} {at} of {end}");
                }
            }
        }
    }

    #[test]
    fn nothing_is_found_in_nothing() {
        assert_eq!(Marks::new(b"").next(0), 0);
        assert_eq!(Marks::new(b"abc").next(1), 3);
        assert_eq!(Marks::blind().next(0), crate::limits::DATAGRAM_BYTES_MAX);
    }
}
