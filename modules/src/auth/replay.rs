//! How often each nonce was used: RFC 7616 §3.3 `nc`, counted by one shard.
//!
//! For: refusing a request whose credentials were seen before, on whichever shard it arrives.
//! Invariants: bounded; what had to be forgotten early is refused as stale, never taken twice. Only
//! nonces whose proof was right are counted, so that nobody without a password fills the table.

use super::nonce::Nonce;
use siphasher::sip128::{Hasher128, SipHasher13};
use std::hash::Hasher;
use strowger_sip::time::{Duration, Instant};
use strowger_sip::transaction::{KeyedMap, Slab, TransactionKey};

/// What the count of a use says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Use {
    /// Not seen before.
    Fresh,
    /// Seen before, or too far behind the highest count to tell.
    Repeated,
    /// Its uses are not known any more.
    Forgotten,
}

/// How many counts behind the highest are told apart.
const WINDOW: u32 = 64;

/// Which counts of one nonce were seen.
#[derive(Clone, Copy, Debug)]
struct Seen {
    highest: u32,
    /// Bit n: `highest - n` was seen.
    bits: u64,
}

impl Seen {
    fn record(&mut self, count: u32) -> Use {
        if count > self.highest {
            let ahead = count - self.highest;
            self.bits = if ahead < WINDOW { self.bits << ahead | 1 } else { 1 };
            self.highest = count;
            return Use::Fresh;
        }
        let behind = self.highest - count;
        let Some(bit) = (behind < WINDOW).then(|| 1u64 << behind) else { return Use::Repeated };
        if self.bits & bit != 0 {
            return Use::Repeated;
        }
        self.bits |= bit;
        Use::Fresh
    }
}

#[derive(Debug)]
enum SeenMark {}

/// Nonces that were first used in one stretch of time.
#[derive(Debug)]
struct Generation {
    seen: Slab<Seen, SeenMark>,
    index: KeyedMap<SeenMark>,
    /// The youngest of them.
    issued_last: u32,
}

impl Generation {
    fn new(most: usize) -> Generation {
        Generation { seen: Slab::new(0, most), index: KeyedMap::with_capacity(0), issued_last: 0 }
    }

    fn find(&mut self, key: TransactionKey) -> Option<&mut Seen> {
        self.index.get(key).and_then(|id| self.seen.get_mut(id))
    }
}

/// The nonces that one shard counts.
#[derive(Debug)]
pub(crate) struct Replays {
    /// First used in this stretch, and in the one before. A stretch is as long as a nonce lives, so
    /// that none is forgotten while it is good.
    present: Generation,
    past: Generation,
    turn: Instant,
    stretch: Duration,
    most: usize,
    /// Nonces as old as this may have been forgotten.
    forgotten: u32,
    secret: (u64, u64),
}

impl Replays {
    /// For nonces that live so long, at most `most` of them at a time. Nonces that were issued by
    /// the second `forgotten`, before this table was there, may have been used.
    pub(crate) fn new(
        stretch: Duration,
        most: usize,
        forgotten: u32,
        secret: (u64, u64),
    ) -> Replays {
        let half = most.div_ceil(2).max(1);
        Replays {
            present: Generation::new(half),
            past: Generation::new(half),
            turn: Instant::START,
            stretch,
            most: half,
            forgotten,
            secret,
        }
    }

    /// Records the use of a nonce. `once` refuses every use but the first.
    pub(crate) fn record(&mut self, now: Instant, nonce: Nonce, count: u32, once: bool) -> Use {
        if now >= self.turn {
            // Everything of the past stretch is too old by itself.
            self.rotate(now);
        }
        let key = self.key(nonce);
        let known = match self.present.find(key) {
            Some(seen) => Some(seen),
            None => self.past.find(key),
        };
        if let Some(seen) = known {
            return if once { Use::Repeated } else { seen.record(count) };
        }
        if nonce.issued <= self.forgotten {
            return Use::Forgotten;
        }
        if self.present.seen.len() >= self.most {
            self.forgotten = self.forgotten.max(self.past.issued_last);
            self.rotate(now);
            if nonce.issued <= self.forgotten {
                return Use::Forgotten;
            }
        }
        let Ok(id) = self.present.seen.insert(Seen { highest: count, bits: 1 }) else {
            return Use::Forgotten;
        };
        self.present.index.insert(key, id);
        self.present.issued_last = self.present.issued_last.max(nonce.issued);
        Use::Fresh
    }

    fn rotate(&mut self, now: Instant) {
        self.past = std::mem::replace(&mut self.present, Generation::new(self.most));
        self.turn = now + self.stretch;
    }

    /// How many nonces are counted.
    pub(crate) fn len(&self) -> usize {
        self.present.seen.len() + self.past.seen.len()
    }

    fn key(&self, nonce: Nonce) -> TransactionKey {
        let mut hasher = SipHasher13::new_with_keys(self.secret.0, self.secret.1);
        hasher.write_u64(nonce.id);
        hasher.write_u32(nonce.issued);
        TransactionKey(hasher.finish128().as_u128())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use strowger_sip::time::secs;

    fn replays(most: usize) -> Replays {
        Replays::new(secs(300), most, 0, (1, 2))
    }

    fn nonce(id: u64) -> Nonce {
        Nonce { issued: 100 + u32::try_from(id).expect("small"), id }
    }

    #[test]
    fn a_count_is_taken_once_in_any_order() {
        let mut replays = replays(8);
        let mut uses = |count| replays.record(Instant::START, nonce(1), count, false);
        assert_eq!([1, 2, 5, 3, 4].map(&mut uses), [Use::Fresh; 5]);
        assert_eq!([1, 2, 3, 4, 5].map(&mut uses), [Use::Repeated; 5]);
        assert_eq!(
            [100, 37, 36, 100].map(&mut uses),
            [Use::Fresh, Use::Fresh, Use::Repeated, Use::Repeated]
        );
        assert_eq!([u32::MAX, u32::MAX].map(&mut uses), [Use::Fresh, Use::Repeated]);
    }

    #[test]
    fn once_means_once() {
        let mut replays = replays(8);
        assert_eq!(replays.record(Instant::START, nonce(1), 1, true), Use::Fresh);
        assert_eq!(replays.record(Instant::START, nonce(1), 2, true), Use::Repeated);
    }

    #[test]
    fn uses_are_remembered_as_long_as_a_nonce_lives() {
        let mut replays = replays(8);
        replays.record(Instant::START, nonce(1), 1, false);
        for second in [100, 299, 300, 301, 400] {
            let at = Instant::START + secs(second);
            replays.record(at, nonce(second), 1, false);
            assert_eq!(replays.record(at, nonce(1), 1, false), Use::Repeated, "{second}");
        }
    }

    #[test]
    fn what_was_issued_before_a_restart_may_have_been_used() {
        let mut replays = Replays::new(secs(300), 8, 105, (1, 2));
        assert_eq!(replays.record(Instant::START, nonce(5), 1, false), Use::Forgotten);
        assert_eq!(replays.record(Instant::START, nonce(6), 1, false), Use::Fresh);
    }

    #[test]
    fn a_full_table_forgets_the_oldest_and_refuses_them() {
        let mut replays = replays(8);
        for id in 0..100 {
            let at = Instant::START + secs(id);
            assert_eq!(replays.record(at, nonce(id), 1, false), Use::Fresh);
            assert!(replays.len() <= 8);
        }
        let at = Instant::START + secs(100);
        for id in 0..100 {
            let again = replays.record(at, nonce(id), 1, false);
            assert_ne!(again, Use::Fresh, "{id}");
        }
    }
}
