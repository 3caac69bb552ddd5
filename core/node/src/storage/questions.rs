//! Questions that are open, each with whoever asked it.
//!
//! For: one answer for each, in time.
//! Not here: finding it (`finder.rs`).
//! Invariants: a question leaves by its answer or by its time, never by both.

use super::pending::Waiter;
use std::collections::{HashMap, VecDeque};
use std::time::Instant;

/// Open questions.
#[derive(Debug, Default)]
pub(super) struct Questions {
    open: HashMap<u64, Waiter>,
    // In the order in which their time ends. Those that were answered since are skipped.
    ends: VecDeque<(Instant, u64)>,
    last: u64,
}

impl Questions {
    /// Takes one in, and names it.
    pub(super) fn ask(&mut self, waiter: Waiter) -> u64 {
        self.last += 1;
        self.open.insert(self.last, waiter);
        self.ends.push_back((waiter.until, self.last));
        self.last
    }

    /// It is answered; `None` when it was over before.
    pub(super) fn close(&mut self, id: u64) -> Option<Waiter> {
        self.open.remove(&id)
    }

    /// When the time of the next one ends.
    pub(super) fn next_expiry(&self) -> Option<Instant> {
        self.ends.front().map(|(until, _)| *until)
    }

    /// Takes out those whose time is over.
    pub(super) fn expire(&mut self, now: Instant) -> Vec<Waiter> {
        let mut late = Vec::new();
        while let Some((_, id)) = self.ends.pop_front_if(|(until, _)| *until <= now) {
            late.extend(self.open.remove(&id));
        }
        late
    }
}

#[cfg(test)]
mod tests {
    use super::super::pending::Giver;
    use super::*;
    use std::time::Duration;
    use strowger_sip::storage::Ticket;

    #[test]
    fn a_question_leaves_by_its_answer_or_by_its_time() {
        let now = Instant::now();
        let waiter = |ticket, seconds| Waiter {
            giver: Giver { shard: 0, place: 0 },
            ticket: Ticket(ticket),
            until: now + Duration::from_secs(seconds),
        };
        let mut questions = Questions::default();
        let (one, two) = (questions.ask(waiter(1, 1)), questions.ask(waiter(2, 2)));
        assert_eq!(questions.close(one), Some(waiter(1, 1)));
        assert_eq!(questions.expire(now + Duration::from_secs(1)), []);
        assert_eq!(questions.next_expiry(), Some(waiter(2, 2).until));
        assert_eq!(questions.expire(now + Duration::from_secs(2)), [waiter(2, 2)]);
        assert_eq!(questions.close(two), None);
    }
}
