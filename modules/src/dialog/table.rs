//! The dialogs of one shard, and the ways to find them.
//!
//! For: constant-time look-up by Call-ID (cookie and tags tell the dialogs of one Call-ID apart)
//! and by the key that operators use; counts by state that cannot drift.
//! Not here: what a message means to a dialog.
//! Invariants: every record is in both indexes; the counts are changed where states are.

use super::cookie::Key;
use super::limits::{RETAINED_BYTES_MAX, RETAINED_MAX};
use super::record::{Flags, Record, Side};
use super::state::State;
use super::texts::{Field, Pairs, Texts};
use siphasher::sip128::{Hasher128, SipHasher13};
use std::hash::Hasher;
use strowger_sip::table::Map;
use strowger_sip::transaction::{Id, KeyedMap, Slab, TransactionKey};

/// Marks ids of dialogs.
#[derive(Debug)]
pub enum DialogMark {}

/// Names a dialog on its shard; stale once the dialog is forgotten.
pub type DialogId = Id<DialogMark>;

/// The table.
#[derive(Debug)]
pub(super) struct Table {
    records: Slab<Record, DialogMark>,
    /// The first dialog of a Call-ID; `Record::next` leads on.
    by_call: KeyedMap<DialogMark>,
    by_key: Map<Key, DialogId>,
    secret: (u64, u64),
    counts: [usize; State::ALL.len()],
    next_id: u32,
    /// Memory of dialogs that have ended: texts, and variables with memberships.
    free: [Vec<Vec<u8>>; 2],
}

/// The ids of a shard: one of `shards` residues, so that no two shards give out the same.
#[derive(Clone, Copy, Debug)]
pub(super) struct Ids {
    pub(super) start: u32,
    pub(super) step: u32,
    pub(super) shard: u16,
    pub(super) shards: u16,
}

impl Table {
    pub(super) fn new(reserved: usize, most: usize, secret: (u64, u64), first: u32) -> Table {
        Table {
            records: Slab::new(reserved, most),
            by_call: KeyedMap::with_capacity(reserved),
            by_key: Map::with_capacity(reserved, secret),
            secret,
            counts: [0; State::ALL.len()],
            next_id: first,
            free: [Vec::new(), Vec::new()],
        }
    }

    fn call(&self, call_id: &[u8]) -> TransactionKey {
        let mut hasher = SipHasher13::new_with_keys(self.secret.0, self.secret.1);
        hasher.write(call_id);
        TransactionKey(hasher.finish128().as_u128())
    }

    /// A key for a new dialog of this slot.
    pub(super) fn new_key(&mut self, entry: u32, ids: Ids) -> Key {
        loop {
            let number = self.next_id;
            self.next_id = self.next_id.wrapping_add(1);
            let of_shard = number
                .wrapping_mul(u32::from(ids.shards.max(1)))
                .wrapping_add(u32::from(ids.shard));
            let id = of_shard.wrapping_mul(ids.step).wrapping_add(ids.start);
            let key = Key { entry, id };
            if id != 0 && !self.by_key.contains(&key) {
                return key;
            }
        }
    }

    /// Ids go on above this one, which storage has brought.
    pub(super) fn above(&mut self, id: u32, ids: Ids) {
        let number = id.wrapping_sub(ids.start) / ids.step / u32::from(ids.shards.max(1));
        self.next_id = self.next_id.max(number.wrapping_add(1));
    }

    /// Free memory for a dialog's texts.
    pub(super) fn texts(&mut self) -> Texts {
        let [free, _] = &mut self.free;
        Texts::in_memory(free.pop().unwrap_or_default())
    }

    /// Free memory for a dialog's variables and memberships.
    pub(super) fn pairs(&mut self) -> Pairs {
        let [_, free] = &mut self.free;
        Pairs::in_memory(free.pop().unwrap_or_default())
    }

    /// Takes a record in; `None` when the table is full.
    pub(super) fn insert(&mut self, mut record: Record) -> Option<DialogId> {
        let call = self.call(record.text(Field::CallId));
        record.next = self.by_call.get(call);
        let (state, key) = (record.state, record.key);
        match self.records.insert(record) {
            Ok(id) => {
                self.by_call.insert(call, id);
                self.by_key.insert(key, id);
                self.count(state, 1);
                Some(id)
            }
            Err(full) => {
                self.recycle(full.0);
                None
            }
        }
    }

    /// Forgets a dialog.
    pub(super) fn remove(&mut self, id: DialogId) {
        let Some(record) = self.records.remove(id) else { return };
        self.count(record.state, -1);
        self.by_key.remove(&record.key);
        let call = self.call(record.text(Field::CallId));
        if self.by_call.get(call) == Some(id) {
            match record.next {
                Some(next) => drop(self.by_call.insert(call, next)),
                None => drop(self.by_call.remove(call)),
            }
        } else {
            let mut before = self.by_call.get(call);
            while let Some(other) = before.and_then(|other| self.records.get_mut(other)) {
                if other.next == Some(id) {
                    other.next = record.next;
                    break;
                }
                before = other.next;
            }
        }
        self.recycle(record);
    }

    fn recycle(&mut self, record: Record) {
        let [texts, pairs] = &mut self.free;
        retain(texts, record.texts.into_memory());
        retain(pairs, record.pairs.into_memory());
    }

    pub(super) fn set_state(&mut self, id: DialogId, state: State) {
        let Some(record) = self.records.get_mut(id) else { return };
        let before = std::mem::replace(&mut record.state, state);
        self.count(before, -1);
        self.count(state, 1);
    }

    fn count(&mut self, state: State, change: isize) {
        if let Some(count) = self.counts.get_mut(usize::from(state.number()) - 1) {
            *count = count.saturating_add_signed(change);
        }
    }

    /// How many dialogs are in a state.
    pub(super) fn in_state(&self, state: State) -> usize {
        self.counts.get(usize::from(state.number()) - 1).copied().unwrap_or(0)
    }

    pub(super) fn get(&self, id: DialogId) -> Option<&Record> {
        self.records.get(id)
    }

    pub(super) fn get_mut(&mut self, id: DialogId) -> Option<&mut Record> {
        self.records.get_mut(id)
    }

    pub(super) fn len(&self) -> usize {
        self.records.len()
    }

    pub(super) fn slots(&self) -> usize {
        self.records.slots()
    }

    pub(super) fn at(&self, slot: usize) -> Option<(DialogId, &Record)> {
        self.records.at(slot)
    }

    pub(super) fn by_key(&self, key: Key) -> Option<DialogId> {
        self.by_key.get(&key).copied()
    }

    /// Every dialog of a Call-ID, the youngest first.
    pub(super) fn of_call<'t>(
        &'t self,
        call_id: &'t [u8],
    ) -> impl Iterator<Item = (DialogId, &'t Record)> {
        let mut next = self.by_call.get(self.call(call_id));
        std::iter::from_fn(move || {
            let id = next?;
            let record = self.records.get(id)?;
            next = record.next;
            Some((id, record))
        })
        .filter(move |(_, record)| record.text(Field::CallId) == call_id)
    }

    /// Bytes that dialogs take, with indexes and memory kept for the next ones.
    pub(super) fn bytes(&self) -> usize {
        let texts: usize = self
            .records
            .iter()
            .map(|(_, record)| record.texts.capacity() + record.pairs.capacity())
            .sum();
        let index = 2 * self.records.slots() * (size_of::<(TransactionKey, DialogId)>() + 1);
        let free: usize = self.free.iter().flatten().map(Vec::capacity).sum();
        self.records.capacity_bytes() + self.by_key.capacity_bytes() + index + texts + free
    }

    /// Whether counts and indexes agree with the records.
    pub(super) fn is_consistent(&self) -> bool {
        let mut counts = [0; State::ALL.len()];
        for (id, record) in self.records.iter() {
            if let Some(count) = counts.get_mut(usize::from(record.state.number()) - 1) {
                *count += 1;
            }
            let call_id = record.text(Field::CallId);
            let listed = self.of_call(call_id).any(|(other, _)| other == id);
            if !listed || self.by_key(record.key) != Some(id) {
                return false;
            }
        }
        counts == self.counts && self.by_key.len() == self.records.len()
    }
}

fn retain(free: &mut Vec<Vec<u8>>, memory: Vec<u8>) {
    let fits = (1..=RETAINED_BYTES_MAX).contains(&memory.capacity());
    if fits && free.len() < RETAINED_MAX {
        free.push(memory);
    }
}

impl Record {
    /// From which side a message with these tags comes; `None` when they are another dialog's.
    pub(super) fn sender(&self, from_tag: &[u8], to_tag: &[u8]) -> Option<Side> {
        let (caller, callee) = (self.text(Field::FromTag), self.text(Field::ToTag));
        if self.knows_callee() && !callee.is_empty() {
            if from_tag == callee && to_tag == caller {
                return Some(Side::Callee);
            }
            let may_lack = self.state == State::ConfirmedNa && to_tag.is_empty();
            let fits = from_tag == caller && (to_tag == callee || may_lack);
            return fits.then_some(Side::Caller);
        }
        if to_tag == caller && !to_tag.is_empty() {
            return Some(Side::Callee);
        }
        (from_tag == caller).then_some(Side::Caller)
    }

    /// Whether this is the dialog's own callee tag.
    pub(super) fn is_callee_tag(&self, tag: &[u8]) -> bool {
        self.flags.has(Flags::CALLEE_KNOWN) && self.text(Field::ToTag) == tag
    }
}
