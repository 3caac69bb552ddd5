//! The map for everything that a peer may choose the keys of: keyed per process, without iteration.
//!
//! For: tables of names, addresses-of-record, dialogs. The hash is keyed, so nobody outside can
//! make keys collide; there is no iteration, whose order would differ from run to run.
//! Not here: tables whose key is a keyed hash already (`transaction/table.rs`).

use hashbrown::HashMap;
use siphasher::sip::SipHasher13;
use std::borrow::Borrow;
use std::fmt;
use std::hash::{BuildHasher, Hash};

/// Makes SipHash-1-3 hashers under one key.
#[derive(Clone, Copy)]
pub struct Keyed((u64, u64));

impl BuildHasher for Keyed {
    type Hasher = SipHasher13;

    fn build_hasher(&self) -> SipHasher13 {
        SipHasher13::new_with_keys(self.0.0, self.0.1)
    }
}

/// A map from keys that come from outside. `K` and `V` as in the standard library's.
pub struct Map<K, V> {
    inner: HashMap<K, V, Keyed>,
}

impl<K: Eq + Hash, V> Map<K, V> {
    /// An empty map under this key, from [`crate::entropy::Entropy::keys`].
    pub fn new(key: (u64, u64)) -> Map<K, V> {
        Map::with_capacity(0, key)
    }

    /// An empty map that holds this many entries without allocating again.
    pub fn with_capacity(entries: usize, key: (u64, u64)) -> Map<K, V> {
        // hashbrown clears the traces of removed entries in place only while at most half of the
        // map is used, and moves to a larger one otherwise.
        let room = entries.saturating_mul(2);
        Map { inner: HashMap::with_capacity_and_hasher(room, Keyed(key)) }
    }

    /// The value of a key.
    pub fn get<Q: Eq + Hash + ?Sized>(&self, key: &Q) -> Option<&V>
    where
        K: Borrow<Q>,
    {
        self.inner.get(key)
    }

    /// The value of a key, to change it.
    pub fn get_mut<Q: Eq + Hash + ?Sized>(&mut self, key: &Q) -> Option<&mut V>
    where
        K: Borrow<Q>,
    {
        self.inner.get_mut(key)
    }

    /// Whether the key is there.
    pub fn contains<Q: Eq + Hash + ?Sized>(&self, key: &Q) -> bool
    where
        K: Borrow<Q>,
    {
        self.inner.contains_key(key)
    }

    /// Sets the value of a key, and gives back the one before.
    pub fn insert(&mut self, key: K, value: V) -> Option<V> {
        self.inner.insert(key, value)
    }

    /// The value of a key, made first if it is not there.
    pub fn get_or_insert_with(&mut self, key: K, make: impl FnOnce() -> V) -> &mut V {
        self.inner.entry(key).or_insert_with(make)
    }

    /// Takes a key out.
    pub fn remove<Q: Eq + Hash + ?Sized>(&mut self, key: &Q) -> Option<V>
    where
        K: Borrow<Q>,
    {
        self.inner.remove(key)
    }

    /// Takes everything out.
    pub fn clear(&mut self) {
        self.inner.clear();
    }

    /// How many entries there are.
    pub fn len(&self) -> usize {
        self.inner.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.inner.is_empty()
    }

    /// Bytes that the map itself takes, without what its values point to.
    pub fn capacity_bytes(&self) -> usize {
        self.inner.allocation_size()
    }
}

impl<K, V> fmt::Debug for Map<K, V> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Map of {}", self.inner.len())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_put_in_is_found_until_it_is_taken_out() {
        let mut map = Map::new((1, 2));
        assert_eq!(map.insert("a".to_owned(), 1), None);
        *map.get_or_insert_with("a".to_owned(), || 9) += 1;
        assert_eq!(map.get("a"), Some(&2));
        assert_eq!(map.remove("a"), Some(2));
        assert!(map.is_empty());
    }
}
