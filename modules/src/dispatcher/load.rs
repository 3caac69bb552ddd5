//! Calls and where they went: what the least-load algorithm counts.
//!
//! For: one entry a call that was given to a destination, from the choice until the call is over,
//! on the shard at which its Call-ID is at home.
//! Not here: the sums by destination (`live.rs`), sharing them (`mod.rs`).
//! Invariants: bounded; an entry that nobody ends goes by itself (`ds_hash_expire`).

use super::destination::DestinationId;
use siphasher::sip128::{Hasher128, SipHasher13};
use std::hash::Hasher;
use strowger_sip::time::Instant;
use strowger_sip::transaction::{Id, KeyedMap, Slab, TransactionKey};

/// A call's name in the table: a keyed hash of its Call-ID.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct CallKey(TransactionKey);

#[derive(Debug)]
struct Call {
    key: CallKey,
    destination: DestinationId,
    until: Instant,
    confirmed: bool,
}

/// The calls of one shard.
#[derive(Debug)]
pub(super) struct Calls {
    table: Slab<Call>,
    index: KeyedMap<Call>,
    keys: (u64, u64),
}

/// The table is full.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Full;

impl Calls {
    /// A table for so many calls; 0 for none.
    pub(super) fn new(most: usize) -> Calls {
        Calls { table: Slab::new(0, most), index: KeyedMap::with_capacity(0), keys: (0, 0) }
    }

    pub(super) fn start(&mut self, keys: (u64, u64)) {
        self.keys = keys;
    }

    pub(super) fn len(&self) -> usize {
        self.table.len()
    }

    pub(super) fn key(&self, call_id: &[u8]) -> CallKey {
        let mut hasher = SipHasher13::new_with_keys(self.keys.0, self.keys.1);
        hasher.write(call_id);
        CallKey(TransactionKey(hasher.finish128().as_u128()))
    }

    /// Gives a call to a destination; where it was before, if anywhere.
    pub(super) fn give(
        &mut self,
        key: CallKey,
        destination: DestinationId,
        until: Instant,
    ) -> Result<Option<DestinationId>, Full> {
        if let Some(call) = self.index.get(key.0).and_then(|id| self.table.get_mut(id)) {
            call.until = until;
            return Ok(Some(std::mem::replace(&mut call.destination, destination)));
        }
        let call = Call { key, destination, until, confirmed: false };
        let id: Id<Call> = self.table.insert(call).map_err(|_| Full)?;
        self.index.insert(key.0, id);
        Ok(None)
    }

    /// The call was answered.
    pub(super) fn confirm(&mut self, key: CallKey, until: Instant) {
        if let Some(call) = self.index.get(key.0).and_then(|id| self.table.get_mut(id)) {
            (call.confirmed, call.until) = (true, until);
        }
    }

    pub(super) fn is_confirmed(&self, key: CallKey) -> bool {
        let call = self.index.get(key.0).and_then(|id| self.table.get(id));
        call.is_some_and(|call| call.confirmed)
    }

    /// The call is over; where it was.
    pub(super) fn end(&mut self, key: CallKey) -> Option<DestinationId> {
        let id = self.index.remove(key.0)?;
        self.table.remove(id).map(|call| call.destination)
    }

    /// Ends one call whose time is over. Linear: asked every `ds_hash_check_interval`.
    pub(super) fn expired(&mut self, now: Instant) -> Vec<DestinationId> {
        let due: Vec<CallKey> = self
            .table
            .iter()
            .filter(|(_, call)| call.until <= now)
            .map(|(_, call)| call.key)
            .collect();
        due.into_iter().filter_map(|key| self.end(key)).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::super::destination::Destination;
    use super::*;
    use strowger_sip::time::secs;

    fn id(uri: &str) -> DestinationId {
        Destination::new(1, uri).expect("a destination").id()
    }

    #[test]
    fn a_call_is_at_one_place_at_a_time() {
        let mut calls = Calls::new(2);
        let (one, two) = (id("sip:a"), id("sip:b"));
        let key = calls.key(b"c1");
        let until = Instant::START + secs(10);
        assert_eq!(calls.give(key, one, until), Ok(None));
        assert_eq!(calls.give(key, two, until), Ok(Some(one)));
        assert_eq!(calls.give(calls.key(b"c2"), one, until), Ok(None));
        assert_eq!(calls.give(calls.key(b"c3"), one, until), Err(Full));
        assert_eq!((calls.end(key), calls.end(key), calls.len()), (Some(two), None, 1));
    }

    #[test]
    fn what_nobody_ends_expires() {
        let mut calls = Calls::new(9);
        let (key, other) = (calls.key(b"c1"), calls.key(b"c2"));
        calls.give(key, id("sip:a"), Instant::START + secs(10)).expect("room");
        calls.give(other, id("sip:b"), Instant::START + secs(10)).expect("room");
        calls.confirm(other, Instant::START + secs(20));
        assert!(calls.is_confirmed(other) && !calls.is_confirmed(key));
        assert_eq!(calls.expired(Instant::START + secs(10)), [id("sip:a")]);
        assert_eq!(calls.expired(Instant::START + secs(20)), [id("sip:b")]);
        assert_eq!(calls.len(), 0);
    }
}
