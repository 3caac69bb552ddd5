//! Which shard owns what: one keyed hash, the same on every shard of the node.
//!
//! For: finding the home of a Call-ID, an address-of-record, a profile value.
//! Not here: carrying messages there (`core/node`).

use siphasher::sip::SipHasher13;
use std::hash::Hasher;

/// One shard: one pinned core with its own tables.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Default)]
pub struct ShardId(pub u16);

/// Maps keys to the shard that owns them.
#[derive(Clone, Copy, Debug)]
pub struct ShardMap {
    key: (u64, u64),
    count: u16,
}

impl ShardMap {
    /// A map over `count` shards (at least 1), keyed per process so that nobody outside can aim at
    /// one.
    pub const fn new(count: u16, key: (u64, u64)) -> ShardMap {
        ShardMap { key, count: if count == 0 { 1 } else { count } }
    }

    /// How many shards there are.
    pub const fn count(&self) -> u16 {
        self.count
    }

    /// Secret bytes for one purpose, the same on all shards of the node.
    pub fn derive(&self, purpose: &str) -> [u8; 16] {
        let mut bytes = [0; 16];
        for (half, salt) in bytes.chunks_exact_mut(8).zip(0u8..) {
            let mut hasher = SipHasher13::new_with_keys(self.key.0, self.key.1);
            hasher.write(purpose.as_bytes());
            hasher.write_u8(salt);
            half.copy_from_slice(&hasher.finish().to_be_bytes());
        }
        bytes
    }

    /// Keys for what all shards of the node must compute alike, derived so that they differ from
    /// the map's own.
    pub(crate) fn secret(&self) -> (u64, u64) {
        let derive = |purpose: &[u8]| {
            let mut hasher = SipHasher13::new_with_keys(self.key.0, self.key.1);
            hasher.write(purpose);
            hasher.finish()
        };
        (derive(b"node secret 0"), derive(b"node secret 1"))
    }

    /// The owner of this key.
    pub fn home(&self, key: &[u8]) -> ShardId {
        if self.count == 1 {
            return ShardId(0);
        }
        let mut hasher = SipHasher13::new_with_keys(self.key.0, self.key.1);
        hasher.write(key);
        // Multiply-shift maps the hash to 0..count without the bias and cost of a division.
        let scaled = (u128::from(hasher.finish()) * u128::from(self.count)) >> 64;
        ShardId(u16::try_from(scaled).unwrap_or(0))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_shard_owns_its_share() {
        let map = ShardMap::new(4, (1, 2));
        let mut counts = [0u32; 4];
        for call in 0..4000 {
            counts[usize::from(map.home(format!("{call}@host").as_bytes()).0)] += 1;
        }
        assert!(counts.iter().all(|&n| n > 800), "{counts:?}");
    }

    #[test]
    fn another_key_gives_another_map() {
        let (one, two) = (ShardMap::new(64, (1, 2)), ShardMap::new(64, (3, 4)));
        assert!((0..50).any(|n: u32| one.home(&n.to_be_bytes()) != two.home(&n.to_be_bytes())));
    }
}
