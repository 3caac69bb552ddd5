//! Randomness that is handed in: a small generator seeded by the edge (or by a test).
//!
//! For: branches, tags, Call-IDs, jitter. The same seed replays the same run.
//! Not here: secrets that must resist someone who sees much output; keyed hashes use `keys`.

use siphasher::sip::SipHasher13;
use std::hash::Hasher;

/// A stream of numbers: SipHash-1-3 of a counter under a secret key, so that what a peer sees of it
/// (branches, tags) does not tell what comes next.
#[derive(Clone, Debug)]
pub struct Entropy {
    key: (u64, u64),
    counter: u64,
}

impl Entropy {
    /// Starts a stream from a seed of 16 bytes as two numbers.
    pub const fn new(seed: (u64, u64)) -> Entropy {
        Entropy { key: seed, counter: 0 }
    }

    /// The next 64 bits.
    pub fn next_u64(&mut self) -> u64 {
        let mut hasher = SipHasher13::new_with_keys(self.key.0, self.key.1);
        hasher.write_u64(self.counter);
        self.counter += 1;
        hasher.finish()
    }

    /// A number below `bound` (0 when the bound is 0).
    pub fn below(&mut self, bound: u64) -> u64 {
        let scaled = (u128::from(self.next_u64()) * u128::from(bound)) >> 64;
        u64::try_from(scaled).unwrap_or(0)
    }

    /// A fresh pair of keys for a keyed hash.
    pub fn keys(&mut self) -> (u64, u64) {
        (self.next_u64(), self.next_u64())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_seed_replays() {
        let (mut one, mut two) = (Entropy::new((1, 2)), Entropy::new((1, 2)));
        assert!((0..100).all(|_| one.next_u64() == two.next_u64()));
    }

    #[test]
    fn below_stays_below() {
        let mut entropy = Entropy::new((1, 2));
        assert!((0..1000).all(|_| entropy.below(7) < 7));
        assert_eq!(entropy.below(0), 0);
    }
}
