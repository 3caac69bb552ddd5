//! Where transactions live: slots named by generation-checked ids, and a map from wire keys to ids.
//!
//! For: constant-time insertion, look-up and removal, without allocating in a steady load.
//! Not here: computing a key from a message (§17.1.3, §17.2.3), the machines themselves.
//! Invariants: a stale id misses and never names another value; nothing can iterate over the map;
//! slots are visited in slot order only, so that the same seed replays the same run.

use std::fmt;
use std::hash::{BuildHasherDefault, Hash, Hasher};
use std::marker::PhantomData;

/// No slot.
const NIL: u32 = u32::MAX;

/// Names one value in a [`Slab`] of `T`; stale once that value is removed.
pub struct Id<T> {
    slot: u32,
    generation: u32,
    of: PhantomData<fn() -> T>,
}

impl<T> Id<T> {
    const fn new(slot: u32, generation: u32) -> Id<T> {
        Id { slot, generation, of: PhantomData }
    }

    /// The id as one number, for a log line or an RPC answer.
    pub const fn as_u64(self) -> u64 {
        ((self.generation as u64) << 32) | self.slot as u64
    }

    /// The id that [`Id::as_u64`] gave out; an invented number misses like a stale id.
    pub const fn from_u64(number: u64) -> Id<T> {
        Id::new(number as u32, (number >> 32) as u32)
    }
}

impl<T> Clone for Id<T> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<T> Copy for Id<T> {}

impl<T> PartialEq for Id<T> {
    fn eq(&self, other: &Self) -> bool {
        self.as_u64() == other.as_u64()
    }
}

impl<T> Eq for Id<T> {}

impl<T> Hash for Id<T> {
    fn hash<H: Hasher>(&self, state: &mut H) {
        state.write_u64(self.as_u64());
    }
}

impl<T> fmt::Debug for Id<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.slot, self.generation)
    }
}

/// The bound of a [`Slab`] is reached; the value comes back.
#[derive(Debug, PartialEq, Eq)]
pub struct Full<T>(pub T);

impl<T> fmt::Display for Full<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the table is full")
    }
}

#[derive(Debug)]
struct Slot<T> {
    generation: u32,
    content: Content<T>,
}

#[derive(Debug)]
enum Content<T> {
    Vacant { next: u32 },
    Occupied(T),
}

/// Values in slots that are used again, at most as many as it was created for. `M` marks its ids;
/// a marker of its own keeps an id's type free of the value's.
#[derive(Debug)]
pub struct Slab<T, M = T> {
    slots: Vec<Slot<T>>,
    free: u32,
    occupied: usize,
    most: usize,
    ids: PhantomData<fn() -> M>,
}

impl<T, M> Slab<T, M> {
    /// An empty slab for at most `most` values, with memory reserved for the first `reserved`.
    pub fn new(reserved: usize, most: usize) -> Slab<T, M> {
        // A slot's number fits `u32`, and the largest means "none".
        let most = most.min(NIL as usize);
        Slab {
            slots: Vec::with_capacity(reserved.min(most)),
            free: NIL,
            occupied: 0,
            most,
            ids: PhantomData,
        }
    }

    /// Stores a value, or hands it back when the bound is reached.
    pub fn insert(&mut self, value: T) -> Result<Id<M>, Full<T>> {
        if let Some(slot) = self.slots.get_mut(self.free as usize)
            && let Content::Vacant { next } = slot.content
        {
            let number = std::mem::replace(&mut self.free, next);
            slot.content = Content::Occupied(value);
            self.occupied += 1;
            return Ok(Id::new(number, slot.generation));
        }
        match u32::try_from(self.slots.len()) {
            Ok(number) if self.slots.len() < self.most => {
                self.slots.push(Slot { generation: 0, content: Content::Occupied(value) });
                self.occupied += 1;
                Ok(Id::new(number, 0))
            }
            Ok(_) | Err(_) => Err(Full(value)),
        }
    }

    /// Stores a value that is made knowing its own id; `None` when the bound is reached.
    pub fn insert_with(&mut self, make: impl FnOnce(Id<M>) -> T) -> Option<Id<M>> {
        let id = self.next_id()?;
        let value = make(id);
        let inserted = self.insert(value).ok();
        debug_assert_eq!(inserted, Some(id), "the next id is the one that is given out");
        inserted
    }

    /// The id that the next insertion will give out.
    pub fn next_id(&self) -> Option<Id<M>> {
        match self.slots.get(self.free as usize) {
            Some(slot) => Some(Id::new(self.free, slot.generation)),
            None if self.slots.len() < self.most => {
                u32::try_from(self.slots.len()).ok().map(|number| Id::new(number, 0))
            }
            None => None,
        }
    }

    /// Takes a value out; its id and all copies of it are stale from then on.
    pub fn remove(&mut self, id: Id<M>) -> Option<T> {
        let free = self.free;
        let slot = self.slots.get_mut(id.slot as usize)?;
        if slot.generation != id.generation || matches!(slot.content, Content::Vacant { .. }) {
            return None;
        }
        slot.generation = slot.generation.wrapping_add(1);
        self.free = id.slot;
        self.occupied -= 1;
        match std::mem::replace(&mut slot.content, Content::Vacant { next: free }) {
            Content::Occupied(value) => Some(value),
            Content::Vacant { .. } => None,
        }
    }

    /// The value of this id, unless the id is stale.
    pub fn get(&self, id: Id<M>) -> Option<&T> {
        match self.slots.get(id.slot as usize)? {
            Slot { generation, content: Content::Occupied(value) }
                if *generation == id.generation =>
            {
                Some(value)
            }
            Slot { .. } => None,
        }
    }

    /// The value of this id, to change it, unless the id is stale.
    pub fn get_mut(&mut self, id: Id<M>) -> Option<&mut T> {
        match self.slots.get_mut(id.slot as usize)? {
            Slot { generation, content: Content::Occupied(value) }
                if *generation == id.generation =>
            {
                Some(value)
            }
            Slot { .. } => None,
        }
    }

    /// Whether this id still names a value.
    pub fn contains(&self, id: Id<M>) -> bool {
        self.get(id).is_some()
    }

    /// How many values there are.
    pub fn len(&self) -> usize {
        self.occupied
    }

    /// Whether there is no value.
    pub fn is_empty(&self) -> bool {
        self.occupied == 0
    }

    /// How many values there may be.
    pub fn most(&self) -> usize {
        self.most
    }

    /// Bytes that the slots take, occupied or not.
    pub fn capacity_bytes(&self) -> usize {
        self.slots.capacity() * size_of::<Slot<T>>()
    }

    /// How many slots there are, free ones included: the bound of [`Slab::at`].
    pub fn slots(&self) -> usize {
        self.slots.len()
    }

    /// The value in a slot, with its id: for walking through a large table a few slots at a time.
    pub fn at(&self, slot: usize) -> Option<(Id<M>, &T)> {
        let number = u32::try_from(slot).ok()?;
        match self.slots.get(slot)? {
            Slot { generation, content: Content::Occupied(value) } => {
                Some((Id::new(number, *generation), value))
            }
            Slot { .. } => None,
        }
    }

    /// Every value with its id, in slot order.
    pub fn iter(&self) -> impl Iterator<Item = (Id<M>, &T)> {
        (0u32..).zip(&self.slots).filter_map(|(number, slot)| match &slot.content {
            Content::Occupied(value) => Some((Id::new(number, slot.generation), value)),
            Content::Vacant { .. } => None,
        })
    }

    /// Every value with its id, in slot order, to change them.
    pub fn iter_mut(&mut self) -> impl Iterator<Item = (Id<M>, &mut T)> {
        (0u32..).zip(&mut self.slots).filter_map(|(number, slot)| match &mut slot.content {
            Content::Occupied(value) => Some((Id::new(number, slot.generation), value)),
            Content::Vacant { .. } => None,
        })
    }
}

/// What finds a transaction (§17.1.3, §17.2.3): SipHash-128 of the matching fields under this
/// process's key, so that no peer can choose two requests that collide.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct TransactionKey(pub u128);

impl Hash for TransactionKey {
    fn hash<H: Hasher>(&self, state: &mut H) {
        state.write_u64(self.0 as u64);
    }
}

impl fmt::Debug for TransactionKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:032x}", self.0)
    }
}

/// Passes a [`TransactionKey`]'s low half through: the key is a keyed hash already.
#[derive(Clone, Copy, Debug, Default)]
struct KeyHasher(u64);

impl Hasher for KeyHasher {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write_u64(&mut self, low_half: u64) {
        self.0 = low_half;
    }

    fn write(&mut self, bytes: &[u8]) {
        debug_assert!(false, "only a TransactionKey is hashed here");
        self.0 = bytes.iter().fold(self.0, |hash, &byte| hash.rotate_left(8) ^ u64::from(byte));
    }
}

/// Finds the [`Id`] of a key. It cannot be iterated: the order would differ from run to run.
pub struct KeyedMap<T> {
    ids: hashbrown::HashMap<TransactionKey, Id<T>, BuildHasherDefault<KeyHasher>>,
}

impl<T> fmt::Debug for KeyedMap<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "KeyedMap of {}", self.len())
    }
}

impl<T> KeyedMap<T> {
    /// An empty map that holds this many keys without allocating again.
    pub fn with_capacity(keys: usize) -> KeyedMap<T> {
        // Twice as many: hashbrown clears the traces of removed keys in place only while at most
        // half of the map is used, and moves to a larger one otherwise.
        let room = keys.saturating_mul(2);
        let hasher = BuildHasherDefault::default();
        KeyedMap { ids: hashbrown::HashMap::with_capacity_and_hasher(room, hasher) }
    }

    /// Maps the key to this id, and gives back the id that it was mapped to before.
    pub fn insert(&mut self, key: TransactionKey, id: Id<T>) -> Option<Id<T>> {
        self.ids.insert(key, id)
    }

    /// The id that the key is mapped to; the slab tells whether it is stale.
    pub fn get(&self, key: TransactionKey) -> Option<Id<T>> {
        self.ids.get(&key).copied()
    }

    /// Forgets the key.
    pub fn remove(&mut self, key: TransactionKey) -> Option<Id<T>> {
        self.ids.remove(&key)
    }

    /// Forgets the key if it is still mapped to this id, and says so: a transaction that ends late
    /// must not unmap its successor.
    pub fn remove_if(&mut self, key: TransactionKey, id: Id<T>) -> bool {
        self.get(key) == Some(id) && self.remove(key).is_some()
    }

    /// How many keys there are.
    pub fn len(&self) -> usize {
        self.ids.len()
    }

    /// Whether there is no key.
    pub fn is_empty(&self) -> bool {
        self.ids.is_empty()
    }

    /// Bytes that the map takes.
    pub fn capacity_bytes(&self) -> usize {
        self.ids.allocation_size()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::entropy::Entropy;
    use std::collections::BTreeMap;

    #[test]
    fn a_stale_id_misses_when_its_slot_is_used_again() {
        let mut slab = Slab::<_>::new(0, 10);
        let old = slab.insert("old").unwrap();
        assert_eq!(slab.remove(old), Some("old"));
        let new = slab.insert("new").unwrap();
        assert!(slab.get(old).is_none() && slab.get_mut(old).is_none());
        assert!(slab.remove(old).is_none());
        assert_eq!(slab.get(new), Some(&"new"));
        assert!(slab.contains(new) && !slab.contains(old));
    }

    #[test]
    fn a_full_slab_hands_the_value_back() {
        let mut slab = Slab::<_>::new(0, 2);
        let first = slab.insert(1).unwrap();
        slab.insert(2).unwrap();
        assert_eq!(slab.insert(3), Err(Full(3)));
        slab.remove(first);
        assert!(slab.insert(3).is_ok());
        assert_eq!((slab.len(), slab.most()), (2, 2));
    }

    #[test]
    fn nothing_fits_a_slab_of_none() {
        assert_eq!(Slab::<_>::new(5, 0).insert(1), Err(Full(1)));
    }

    #[test]
    fn an_invented_id_misses() {
        let mut slab = Slab::<_>::new(0, 10);
        let id = slab.insert(1).unwrap();
        assert_eq!(Id::from_u64(id.as_u64()), id);
        for number in [1, u64::MAX, 1 << 32, u64::from(u32::MAX)] {
            assert_eq!(slab.get(Id::from_u64(number)), None);
            assert_eq!(slab.remove(Id::from_u64(number)), None);
        }
    }

    #[test]
    fn values_are_visited_in_slot_order() {
        let mut slab = Slab::<_>::new(0, 10);
        let ids: Vec<_> = (0..5).map(|n| slab.insert(n).unwrap()).collect();
        slab.remove(ids[3]);
        slab.remove(ids[1]);
        slab.insert(9).unwrap();
        slab.iter_mut().for_each(|(_, value)| *value *= 10);
        assert_eq!(slab.iter().map(|(_, &n)| n).collect::<Vec<_>>(), [0, 90, 20, 40]);
        assert!(slab.iter().all(|(id, value)| slab.get(id) == Some(value)));
    }

    #[test]
    fn a_steady_load_allocates_nothing() {
        let (mut slab, mut map) = (Slab::<_>::new(100, 1000), KeyedMap::with_capacity(100));
        let held = (slab.capacity_bytes(), map.capacity_bytes());
        let mut entropy = Entropy::new((1, 7));
        let mut keys = std::collections::VecDeque::new();
        for number in 0..100_000 {
            let key = TransactionKey(u128::from(entropy.next_u64()));
            map.insert(key, slab.insert(number).unwrap());
            keys.push_back(key);
            if keys.len() == 100 {
                let id = keys.pop_front().and_then(|key| map.remove(key));
                assert!(id.and_then(|id| slab.remove(id)).is_some());
            }
        }
        assert_eq!((slab.capacity_bytes(), map.capacity_bytes()), held);
    }

    #[test]
    fn slab_and_map_agree_with_an_ordered_map() {
        for seed in 0..50 {
            let mut entropy = Entropy::new((seed, 7));
            let (mut slab, mut map) = (Slab::<_>::new(0, 100), KeyedMap::with_capacity(0));
            let mut twin = BTreeMap::new();
            for number in 0..1000u32 {
                // Keys that share their low half: the hash collides, the keys must not.
                let name = u128::from(entropy.below(150));
                let key = TransactionKey((name << 64) | (name % 3));
                if let Some(value) = twin.remove(&name) {
                    let id: Id<u32> = map.remove(key).unwrap();
                    assert_eq!(slab.remove(id), Some(value), "seed {seed}");
                } else if let Ok(id) = slab.insert(number) {
                    twin.insert(name, number);
                    assert_eq!(map.insert(key, id), None, "seed {seed}");
                } else {
                    assert_eq!(twin.len(), 100, "seed {seed}");
                }
                assert_eq!((slab.len(), map.len()), (twin.len(), twin.len()), "seed {seed}");
            }
        }
    }

    #[test]
    fn a_late_ending_leaves_the_successor_mapped() {
        let mut slab = Slab::<_>::new(0, 10);
        let (first, second) = (slab.insert(1).unwrap(), slab.insert(2).unwrap());
        let mut map = KeyedMap::with_capacity(1);
        let key = TransactionKey(5);
        assert_eq!(map.insert(key, first), None);
        assert_eq!(map.insert(key, second), Some(first));
        assert!(!map.remove_if(key, first));
        assert_eq!(map.get(key), Some(second));
        assert!(map.remove_if(key, second) && map.is_empty());
    }
}
