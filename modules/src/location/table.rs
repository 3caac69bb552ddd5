//! The contacts of one shard: addresses, their bindings, and when the first of them ends.
//!
//! For: finding an address in constant time, walking through all of them a few at a time.
//! Not here: what may become of a binding (`change.rs`), timers (`apply.rs`).
//! Invariants: an address in the table has at least one contact; the count of contacts is that of
//! the records.

use super::aor::Aor;
use super::contact::Contact;
use hashbrown::HashTable;
use siphasher::sip::SipHasher13;
use smallvec::SmallVec;
use std::hash::Hasher;
use strowger_sip::time::Instant;
use strowger_sip::transaction::{Id, Slab};
use strowger_sip::wheel::TimerId;

/// Marks ids of addresses in the table.
#[derive(Debug)]
pub enum RecordMark {}

/// Names an address in the table.
pub type RecordId = Id<RecordMark>;

/// An address and its contacts.
#[derive(Debug)]
pub(crate) struct Record {
    pub(crate) aor: Aor,
    pub(crate) contacts: SmallVec<[Contact; 1]>,
    /// Wakes no later than the first contact ends.
    pub(crate) timer: Option<(TimerId, Instant)>,
}

/// The table.
#[derive(Debug)]
pub(crate) struct Table {
    /// Boxed, so that the slots that a growing table has in reserve are small.
    records: Slab<Box<Record>, RecordMark>,
    /// Where each address is; the address itself stands in its record alone.
    index: HashTable<RecordId>,
    secret: (u64, u64),
    contacts: usize,
}

impl Table {
    /// An empty table for so many addresses at most; `secret` keys its hash.
    pub(crate) fn new(most: usize, secret: (u64, u64)) -> Table {
        Table { records: Slab::new(0, most), index: HashTable::new(), secret, contacts: 0 }
    }

    /// Where an address is, if it has contacts.
    pub(crate) fn find(&self, aor: &Aor) -> Option<RecordId> {
        let is_it = |id: &RecordId| self.records.get(*id).is_some_and(|known| known.aor == *aor);
        self.index.find(hash(self.secret, aor), is_it).copied()
    }

    /// An address's record.
    pub(crate) fn get(&self, id: RecordId) -> Option<&Record> {
        self.records.get(id).map(|record| &**record)
    }

    /// The contacts of an address; none when it is not there.
    pub(crate) fn contacts_of(&self, aor: &Aor) -> &[Contact] {
        let record = self.find(aor).and_then(|id| self.records.get(id));
        record.map_or(&[], |record| &record.contacts)
    }

    /// Works on the contacts of an address, which is added for it and leaves the table when
    /// nothing is left. `None` when the table is full.
    pub(crate) fn change(
        &mut self,
        aor: &Aor,
        work: impl FnOnce(&mut SmallVec<[Contact; 1]>),
    ) -> Option<Changed> {
        let id = match self.find(aor) {
            Some(id) => id,
            None => {
                let record = Record { aor: aor.clone(), contacts: SmallVec::new(), timer: None };
                let id = self.records.insert(Box::new(record)).ok()?;
                let (records, secret) = (&self.records, self.secret);
                let again =
                    |id: &RecordId| records.get(*id).map_or(0, |record| hash(secret, &record.aor));
                self.index.insert_unique(hash(secret, aor), id, again);
                id
            }
        };
        let record = self.records.get_mut(id)?;
        let before = record.contacts.len();
        work(&mut record.contacts);
        let after = record.contacts.len();
        self.contacts = (self.contacts + after).saturating_sub(before);
        if after > 0 {
            return Some(Changed::Lives(id));
        }
        let timer = record.timer.take().map(|(timer, _)| timer);
        if let Ok(entry) = self.index.find_entry(hash(self.secret, aor), |known| *known == id) {
            entry.remove();
        }
        self.records.remove(id);
        Some(Changed::Gone(timer))
    }

    /// An address's record, to change everything but its contacts.
    pub(crate) fn get_mut(&mut self, id: RecordId) -> Option<&mut Record> {
        self.records.get_mut(id).map(|record| &mut **record)
    }

    /// How many addresses there are.
    pub(crate) fn addresses(&self) -> usize {
        self.records.len()
    }

    /// How many contacts there are.
    pub(crate) fn contacts(&self) -> usize {
        self.contacts
    }

    /// Bytes that the table takes, with what an allocator adds to each piece.
    #[cfg(test)]
    pub(crate) fn bytes(&self) -> usize {
        /// Of glibc's malloc.
        const PIECE: usize = 16;
        let contact = |contact: &Contact| contact.heap_bytes() + PIECE;
        let record = |record: &Record| {
            let spilled = if record.contacts.spilled() {
                record.contacts.capacity() * size_of::<Contact>() + PIECE
            } else {
                0
            };
            let contacts: usize = record.contacts.iter().map(contact).sum();
            let own = size_of::<Record>() + PIECE + record.aor.as_str().len() + PIECE;
            own + spilled + contacts
        };
        let records: usize = self.iter().map(record).sum();
        self.records.capacity_bytes() + self.index.allocation_size() + records
    }

    /// How many slots there are to walk through.
    pub(crate) fn slots(&self) -> usize {
        self.records.slots()
    }

    /// The address in a slot.
    pub(crate) fn at(&self, slot: usize) -> Option<(RecordId, &Record)> {
        self.records.at(slot).map(|(id, record)| (id, &**record))
    }

    /// All addresses, in slot order.
    pub(crate) fn iter(&self) -> impl Iterator<Item = &Record> {
        self.records.iter().map(|(_, record)| &**record)
    }
}

fn hash(secret: (u64, u64), aor: &Aor) -> u64 {
    let mut hasher = SipHasher13::new_with_keys(secret.0, secret.1);
    hasher.write(aor.as_str().as_bytes());
    hasher.finish()
}

/// What became of an address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Changed {
    /// It has contacts.
    Lives(RecordId),
    /// It has none left; this timer of it must be disarmed.
    Gone(Option<TimerId>),
}
