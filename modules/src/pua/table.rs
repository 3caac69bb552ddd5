//! The records of one shard, found by name and, where they follow somebody, by Call-ID.
//!
//! For: constant-time look-up.
//! Not here: what happens to a record.
//! Invariants: a name has one record; a Call-ID leads to the record whose dialog, present or
//! former, has it.

use super::record::{Record, RecordId, Records};
use hashbrown::HashTable;
use siphasher::sip::SipHasher13;
use std::hash::Hasher;
use strowger_sip::transaction::Slab;

#[derive(Debug)]
pub(super) struct Table {
    records: Records,
    names: HashTable<RecordId>,
    /// The hash stands beside the id: a record may have two Call-IDs.
    calls: HashTable<(u64, RecordId)>,
    keys: (u64, u64),
}

impl Table {
    pub(super) fn new(most: usize, keys: (u64, u64)) -> Table {
        Table {
            records: Slab::new(0, most),
            names: HashTable::new(),
            calls: HashTable::new(),
            keys,
        }
    }

    pub(super) fn named(&self, name: &str) -> Option<RecordId> {
        let is_it = |id: &RecordId| self.records.get(*id).is_some_and(|record| record.name == name);
        self.names.find(hash(self.keys, name.as_bytes()), is_it).copied()
    }

    /// The record with a dialog of this Call-ID.
    pub(super) fn called(&self, call_id: &[u8]) -> Option<RecordId> {
        let has_it = |record: &Record| {
            let legs = record.subscribing().into_iter().flat_map(|it| [&it.leg, &it.former]);
            legs.flatten().any(|leg| leg.call_id.as_bytes() == call_id)
        };
        let is_it = |(_, id): &(u64, RecordId)| self.get(*id).is_some_and(has_it);
        self.calls.find(hash(self.keys, call_id), is_it).map(|(_, id)| *id)
    }

    pub(super) fn get(&self, id: RecordId) -> Option<&Record> {
        self.records.get(id).map(|record| &**record)
    }

    pub(super) fn get_mut(&mut self, id: RecordId) -> Option<&mut Record> {
        self.records.get_mut(id).map(|record| &mut **record)
    }

    /// Adds a record; `None` when the table is full.
    pub(super) fn insert(&mut self, record: Record) -> Option<RecordId> {
        let hashed = hash(self.keys, record.name.as_bytes());
        let id = self.records.insert(Box::new(record)).ok()?;
        let (records, keys) = (&self.records, self.keys);
        let again =
            |id: &RecordId| records.get(*id).map_or(0, |record| hash(keys, record.name.as_bytes()));
        self.names.insert_unique(hashed, id, again);
        Some(id)
    }

    pub(super) fn remove(&mut self, id: RecordId) -> Option<Record> {
        let record = self.records.remove(id)?;
        let hashed = hash(self.keys, record.name.as_bytes());
        if let Ok(entry) = self.names.find_entry(hashed, |known| *known == id) {
            entry.remove();
        }
        let legs = record.subscribing().into_iter().flat_map(|it| [&it.leg, &it.former]);
        let call_ids: Vec<&str> = legs.flatten().map(|leg| leg.call_id.as_str()).collect();
        for call_id in call_ids {
            self.forget_call(id, call_id);
        }
        Some(*record)
    }

    /// A dialog of this record has this Call-ID.
    pub(super) fn add_call(&mut self, id: RecordId, call_id: &str) {
        let hashed = hash(self.keys, call_id.as_bytes());
        self.calls.insert_unique(hashed, (hashed, id), |(hashed, _)| *hashed);
    }

    /// No longer.
    pub(super) fn forget_call(&mut self, id: RecordId, call_id: &str) {
        let hashed = hash(self.keys, call_id.as_bytes());
        let is_it = |known: &(u64, RecordId)| *known == (hashed, id);
        if let Ok(entry) = self.calls.find_entry(hashed, is_it) {
            entry.remove();
        }
    }

    pub(super) fn len(&self) -> usize {
        self.records.len()
    }

    pub(super) fn slots(&self) -> usize {
        self.records.slots()
    }

    pub(super) fn at(&self, slot: usize) -> Option<(RecordId, &Record)> {
        self.records.at(slot).map(|(id, record)| (id, &**record))
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (RecordId, &Record)> {
        self.records.iter().map(|(id, record)| (id, &**record))
    }
}

fn hash(keys: (u64, u64), bytes: &[u8]) -> u64 {
    let mut hasher = SipHasher13::new_with_keys(keys.0, keys.1);
    hasher.write(bytes);
    hasher.finish()
}
