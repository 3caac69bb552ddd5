//! Rows that wait to be written: one change for each row, the newest.
//!
//! For: coalescing, the order of versions, who is told what became of a promise, bounds.
//! Not here: databases, threads, clocks: this is a data structure.
//! Invariants: at most one batch is out at a time, and what was said about its rows since waits
//! behind it; of two changes of one row the one with the greater version is written, or written
//! last. Each ticket that was taken is given back exactly once.
//!
//! A promise that is refused may still be kept (a database that died while it committed cannot be
//! asked), so its change stays here: whoever gave it says by a newer version what holds instead.

use super::value::{Change, RowKey, Verb};
use std::collections::{HashMap, VecDeque};
use std::time::{Duration, Instant};
use strowger_sip::storage::{Haste, Place, Ticket, Version};

/// Removals may fill the memory to so many fourths after it is full for other rows: they are small,
/// and a row that ought to be gone cannot be told from others later.
const REMOVALS_FOURTHS: usize = 5;

/// A module on a shard.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct Giver {
    pub(super) shard: usize,
    pub(super) place: Place,
}

/// Somebody who was promised an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Waiter {
    pub(super) giver: Giver,
    pub(super) ticket: Ticket,
    /// When it is told that the promise is not kept, if it has not been by then.
    pub(super) until: Instant,
}

/// What became of a change that was handed in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Added {
    /// It waits.
    Taken,
    /// There is no room.
    Full,
}

/// How one change of a batch ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fate {
    /// It is durable.
    Done,
    /// The database refuses the row.
    Unusable,
    /// It is to be tried again.
    Failed,
}

/// A change with its row.
#[derive(Debug)]
pub(super) struct Taken {
    pub(super) key: RowKey,
    pub(super) change: Change,
    haste: Haste,
}

/// What a batch that has ended means to those who waited.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Settled {
    pub(super) durable: Vec<Waiter>,
    pub(super) refused: Vec<Waiter>,
}

#[derive(Debug)]
struct Entry {
    change: Change,
    waiters: Vec<Waiter>,
    haste: Haste,
}

/// Rows that wait to be written.
#[derive(Debug)]
pub(super) struct Pending {
    waiting: HashMap<RowKey, Entry>,
    /// The version that is being written, and who waits for it.
    flying: HashMap<RowKey, (Version, Vec<Waiter>)>,
    // Keys in the order in which they came. One whose row has been taken since is skipped.
    urgent: VecDeque<RowKey>,
    unhurried: VecDeque<(Instant, RowKey)>,
    promises: VecDeque<(Instant, RowKey)>,
    bytes: usize,
    bytes_max: usize,
    flush_interval: Duration,
    batch_rows: usize,
    /// Nothing waits for its time any more.
    in_haste: bool,
}

impl Pending {
    pub(super) fn new(bytes_max: usize, flush_interval: Duration, batch_rows: usize) -> Pending {
        Pending {
            waiting: HashMap::new(),
            flying: HashMap::new(),
            urgent: VecDeque::new(),
            unhurried: VecDeque::new(),
            promises: VecDeque::new(),
            bytes: 0,
            bytes_max,
            flush_interval,
            batch_rows,
            in_haste: false,
        }
    }

    /// From here on nothing waits for its time: the node stops.
    pub(super) fn hurry(&mut self) {
        self.in_haste = true;
    }

    /// Rows that wait or are being written.
    pub(super) fn len(&self) -> usize {
        self.waiting.len() + self.flying.len()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Memory that is taken, about.
    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }

    /// Whether less than half of the memory is taken.
    pub(super) fn has_room(&self) -> bool {
        self.bytes < self.bytes_max / 2
    }

    /// Takes a change in.
    pub(super) fn add(
        &mut self,
        now: Instant,
        key: RowKey,
        change: Change,
        haste: Haste,
        waiter: Option<Waiter>,
    ) -> Added {
        if let Some((version, waiters)) = self.flying.get_mut(&key)
            && change.version < *version
        {
            // A newer one is on its way already: what it leads to holds for this one too.
            self.promises.extend(waiter.map(|waiter| (waiter.until, key)));
            waiters.extend(waiter);
            return Added::Taken;
        }
        let bytes = change.bytes();
        let Some(entry) = self.waiting.get_mut(&key) else {
            let most = match change.verb {
                Verb::Put | Verb::Replace => self.bytes_max,
                Verb::Remove | Verb::RemoveEnded => self.bytes_max / 4 * REMOVALS_FOURTHS,
            };
            if self.bytes + bytes > most {
                return Added::Full;
            }
            self.bytes += bytes;
            self.enqueue(now, &key, haste);
            self.promises.extend(waiter.map(|waiter| (waiter.until, key.clone())));
            let waiters = waiter.into_iter().collect();
            self.waiting.insert(key, Entry { change, waiters, haste });
            return Added::Taken;
        };
        if change.version >= entry.change.version {
            self.bytes = self.bytes - entry.change.bytes() + bytes;
            entry.change = change;
        }
        entry.waiters.extend(waiter);
        let hurries = haste == Haste::Now && entry.haste == Haste::Later;
        if hurries {
            entry.haste = Haste::Now;
            self.enqueue(now, &key, haste);
        }
        self.promises.extend(waiter.map(|waiter| (waiter.until, key)));
        Added::Taken
    }

    fn enqueue(&mut self, now: Instant, key: &RowKey, haste: Haste) {
        match haste {
            Haste::Now => self.urgent.push_back(key.clone()),
            Haste::Later => self.unhurried.push_back((now, key.clone())),
        }
    }

    /// When a batch is to be written; `None` while nothing waits or one is out.
    pub(super) fn due(&self) -> Option<Due> {
        if self.waiting.is_empty() || !self.flying.is_empty() {
            return None;
        }
        if self.in_haste || !self.urgent.is_empty() || self.waiting.len() >= self.batch_rows {
            return Some(Due::AtOnce);
        }
        self.unhurried.front().map(|(since, _)| Due::At(*since + self.flush_interval))
    }

    /// Takes the next batch out: what somebody waits for first.
    pub(super) fn take(&mut self) -> Vec<Taken> {
        debug_assert!(self.flying.is_empty(), "one batch at a time");
        let mut batch = Vec::new();
        while batch.len() < self.batch_rows {
            let Some(key) = self.urgent.pop_front() else { break };
            self.take_one(key, &mut batch);
        }
        // What somebody waits for does not wait for the rest.
        if batch.is_empty() {
            while batch.len() < self.batch_rows {
                let Some((_, key)) = self.unhurried.pop_front() else { break };
                self.take_one(key, &mut batch);
            }
        }
        batch
    }

    fn take_one(&mut self, key: RowKey, batch: &mut Vec<Taken>) {
        let Some(Entry { change, waiters, haste }) = self.waiting.remove(&key) else { return };
        self.flying.insert(key.clone(), (change.version, waiters));
        batch.push(Taken { key, change, haste });
    }

    /// A batch has ended. What failed waits again, unless something newer waits already.
    pub(super) fn settle(
        &mut self,
        now: Instant,
        batch: Vec<Taken>,
        fate: impl Fn(usize) -> Fate,
    ) -> Settled {
        let mut settled = Settled::default();
        for (place, Taken { key, change, haste }) in batch.into_iter().enumerate() {
            let Some((_, waiters)) = self.flying.remove(&key) else { continue };
            match fate(place) {
                Fate::Done => settled.durable.extend(waiters),
                Fate::Unusable => settled.refused.extend(waiters),
                Fate::Failed => {
                    if let Some(entry) = self.waiting.get_mut(&key) {
                        entry.waiters.extend(waiters);
                    } else {
                        self.enqueue(now, &key, haste);
                        self.waiting.insert(key, Entry { change, waiters, haste });
                        // Its memory was never given back.
                        continue;
                    }
                }
            }
            self.bytes -= change.bytes();
        }
        debug_assert!(self.flying.is_empty(), "all of the batch");
        settled
    }

    /// When the next promise is over.
    pub(super) fn next_expiry(&self) -> Option<Instant> {
        self.promises.front().map(|(until, _)| *until)
    }

    /// Takes out those whose promise was not kept in time. Their changes stay.
    pub(super) fn expire(&mut self, now: Instant) -> Vec<Waiter> {
        let mut late = Vec::new();
        while let Some((_, key)) = self.promises.pop_front_if(|(until, _)| *until <= now) {
            let waiting = self.waiting.get_mut(&key).map(|entry| &mut entry.waiters);
            let flying = self.flying.get_mut(&key).map(|(_, waiters)| waiters);
            for waiters in waiting.into_iter().chain(flying) {
                late.extend(waiters.extract_if(.., |waiter| waiter.until <= now));
            }
        }
        late
    }

    /// Takes out everybody who waits. Their changes stay.
    pub(super) fn give_up(&mut self) -> Vec<Waiter> {
        let mut refused = Vec::new();
        for (_, key) in std::mem::take(&mut self.promises) {
            let waiting = self.waiting.get_mut(&key).map(|entry| &mut entry.waiters);
            let flying = self.flying.get_mut(&key).map(|(_, waiters)| waiters);
            for waiters in waiting.into_iter().chain(flying) {
                refused.append(waiters);
            }
        }
        refused
    }
}

/// When a batch is to be written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Due {
    AtOnce,
    At(Instant),
}

#[cfg(test)]
mod tests {
    use super::super::testing::{THINGS, promised, put, remove};
    use super::super::value::{Value, Work, check};
    use super::*;
    use strowger_sip::storage::Order;

    const SHARD: Giver = Giver { shard: 0, place: 0 };
    const PATIENCE: Duration = Duration::from_secs(2);

    struct Rig {
        pending: Pending,
        now: Instant,
    }

    impl Rig {
        fn new(bytes_max: usize) -> Rig {
            let pending = Pending::new(bytes_max, Duration::from_secs(1), 4);
            Rig { pending, now: Instant::now() }
        }

        fn add(&mut self, order: Order) -> Added {
            let (haste, ticket) = (order.haste, order.ticket);
            let Ok(Work::Change(key, change)) = check(&THINGS, order) else { panic!("a change") };
            let until = self.now + PATIENCE;
            let waiter = ticket.map(|ticket| Waiter { giver: SHARD, ticket, until });
            self.pending.add(self.now, key, change, haste, waiter)
        }

        fn end(&mut self, batch: Vec<Taken>, fate: Fate) -> (Vec<u64>, Vec<u64>) {
            let Settled { durable, refused } = self.pending.settle(self.now, batch, |_| fate);
            (tickets(durable), tickets(refused))
        }
    }

    fn tickets(waiters: Vec<Waiter>) -> Vec<u64> {
        waiters.iter().map(|waiter| waiter.ticket.0).collect()
    }

    fn sizes(batch: &[Taken]) -> Vec<Option<i64>> {
        let size = |taken: &Taken| match taken.change.values.get(1) {
            Some(Value::Integer(size)) => *size,
            _ => None,
        };
        batch.iter().map(size).collect()
    }

    #[test]
    fn several_orders_on_one_row_are_one_by_version_and_all_who_wait_are_told() {
        let mut rig = Rig::new(1 << 20);
        rig.add(put("a", 1, 1));
        rig.add(promised(put("a", 3, 3), 30));
        rig.add(promised(put("a", 2, 2), 20));
        rig.add(promised(remove("b", 1), 10));
        let batch = rig.pending.take();
        assert_eq!(sizes(&batch), [Some(3), None]);
        assert_eq!(rig.end(batch, Fate::Done), (vec![30, 20, 10], vec![]));
        assert!(rig.pending.is_empty());
        assert_eq!(rig.pending.bytes(), 0);
        assert_eq!(rig.pending.expire(rig.now + PATIENCE), []);
    }

    #[test]
    fn what_is_said_meanwhile_waits_behind_the_batch_and_outlives_its_failure() {
        let mut rig = Rig::new(1 << 20);
        rig.add(promised(put("a", 1, 1), 1));
        rig.add(promised(put("b", 1, 1), 2));
        let batch = rig.pending.take();
        rig.add(put("a", 2, 2));
        // A change that is older than what is on its way goes no way of its own.
        rig.add(promised(put("b", 0, 0), 3));
        assert_eq!(rig.pending.due(), None);
        assert_eq!(rig.end(batch, Fate::Failed), (vec![], vec![]));
        let batch = rig.pending.take();
        // "b" comes first: somebody waits for it, and nobody called "a" urgent.
        let mut both = sizes(&batch);
        let all = rig.end(batch, Fate::Done).0;
        let rest = rig.pending.take();
        both.extend(sizes(&rest));
        let told = rig.end(rest, Fate::Done).0;
        assert_eq!((both, all, told), (vec![Some(1), Some(2)], vec![2, 3], vec![1]));
        assert_eq!(rig.pending.bytes(), 0);
    }

    #[test]
    fn batches_go_when_somebody_waits_when_they_are_full_or_when_their_time_has_come() {
        let mut rig = Rig::new(1 << 20);
        assert_eq!(rig.pending.due(), None);
        rig.add(put("a", 1, 1));
        assert_eq!(rig.pending.due(), Some(Due::At(rig.now + Duration::from_secs(1))));
        rig.add(promised(put("b", 1, 1), 1));
        assert_eq!(rig.pending.due(), Some(Due::AtOnce));
        let batch = rig.pending.take();
        assert_eq!(batch.len(), 1);
        rig.end(batch, Fate::Done);
        for name in ["c", "d", "e"] {
            rig.add(put(name, 1, 1));
        }
        assert_eq!(rig.pending.due(), Some(Due::AtOnce));
        let batch = rig.pending.take();
        assert_eq!(batch.len(), 4);
        rig.end(batch, Fate::Done);
        assert!(rig.pending.is_empty());
    }

    #[test]
    fn a_late_promise_is_refused_once_and_its_change_stays() {
        let mut rig = Rig::new(1 << 20);
        rig.add(promised(put("a", 1, 1), 1));
        rig.add(promised(put("b", 1, 1), 2));
        assert_eq!(rig.pending.next_expiry(), Some(rig.now + PATIENCE));
        let batch = rig.pending.take();
        rig.now += PATIENCE;
        rig.add(promised(put("c", 1, 1), 3));
        assert_eq!(tickets(rig.pending.expire(rig.now)), [1, 2]);
        assert_eq!(rig.end(batch, Fate::Failed), (vec![], vec![]));
        assert_eq!(tickets(rig.pending.give_up()), [3]);
        assert_eq!(rig.pending.len(), 3);
        let batch = rig.pending.take();
        assert_eq!(rig.end(batch, Fate::Unusable), (vec![], vec![]));
        assert!(rig.pending.is_empty());
    }

    #[test]
    fn memory_is_bounded_and_removals_have_some_more() {
        let mut rig = Rig::new(4000);
        let mut names = (0..).map(|n| format!("row {n}"));
        let mut fill = |rig: &mut Rig, order: fn(&str) -> Order| {
            let added = |name: String| rig.add(order(&name));
            names.by_ref().map(added).take_while(|added| *added == Added::Taken).count()
        };
        assert!(fill(&mut rig, |name| put(name, 1, 1)) > 2);
        assert!(rig.pending.bytes() <= 4000 && !rig.pending.has_room());
        // What is known already costs nothing new.
        assert_eq!(rig.add(put("row 0", 2, 2)), Added::Taken);
        assert!(fill(&mut rig, |name| remove(name, 1)) > 0);
        assert!(rig.pending.bytes() <= 5000);
    }

    /// Orders, batches and failures in an order that a seed names: what is written last of each row
    /// is what was said last of it, and each ticket comes back once.
    #[test]
    fn whatever_happens_the_newest_is_written_last() {
        for seed in 1..200_u64 {
            let mut state = seed;
            let mut random = |below: u64| {
                state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(seed);
                (state >> 33) % below
            };
            let mut rig = Rig::new(1 << 20);
            let (mut said, mut written) = (HashMap::new(), HashMap::new());
            let (mut given, mut back) = (0, Vec::new());
            let mut out: Option<Vec<Taken>> = None;
            for version in 1..400 {
                let name = format!("row {}", random(6));
                let order = put(&name, i64::try_from(version).expect("small"), version);
                let ticket = random(3) == 0;
                given += u64::from(ticket);
                rig.add(if ticket { promised(order, given) } else { order });
                said.insert(name, version);
                rig.now += Duration::from_millis(random(800));
                back.extend(tickets(rig.pending.expire(rig.now)));
                match out.take() {
                    None => out = Some(rig.pending.take()),
                    Some(batch) if random(2) == 0 => out = Some(batch),
                    Some(batch) => {
                        let fate = if random(2) == 0 { Fate::Done } else { Fate::Failed };
                        // A batch that failed may have been written all the same.
                        note(&batch, &mut written);
                        let (durable, refused) = rig.end(batch, fate);
                        back.extend(durable.into_iter().chain(refused));
                    }
                }
            }
            if let Some(batch) = out {
                note(&batch, &mut written);
                back.extend(rig.end(batch, Fate::Done).0);
            }
            while !rig.pending.is_empty() {
                let batch = rig.pending.take();
                note(&batch, &mut written);
                back.extend(rig.end(batch, Fate::Done).0);
            }
            assert_eq!(said, written, "seed {seed}");
            back.sort_unstable();
            assert_eq!(back, (1..=given).collect::<Vec<_>>(), "seed {seed}");
            assert_eq!(rig.pending.bytes(), 0);
        }
    }

    fn note(batch: &[Taken], written: &mut HashMap<String, u64>) {
        for taken in batch {
            let Some(Value::Text(Some(name))) = taken.change.values.first() else { continue };
            written.insert(name.clone(), taken.change.version.0);
        }
    }
}
