//! What waits to be written to one connection, and who wants to know when it is lost.
//!
//! For: gathering messages, so that many leave with one system call; remembering where else a
//! message may go.
//! Not here: writing (`connection.rs`), what becomes of what was lost (`streams.rs`).
//! Invariants: a message is whole here until its last octet was taken by the kernel; an outbox in
//! which nothing waits holds no memory.

use std::collections::VecDeque;
use strowger_sip::actions::Origin;
use strowger_sip::buffer::{Buffer, Pool};
use strowger_sip::shard::ShardId;
use strowger_sip::transport::Flow;

/// Written octets that are dropped from the front at once, lest each write moves the rest. A guess.
const COMPACT_BYTES: usize = 16_384;
/// Senders remembered who have had no sign of the peer since their message was written, the last
/// ones. A guess: more requests a connection at once are rare, and a sender who is forgotten only
/// waits longer.
const DOUBTFUL_MAX: usize = 256;

/// Who sends a message, and on which shard.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Sender {
    /// The shard that wanted it sent.
    pub(crate) shard: ShardId,
    /// Who on that shard.
    pub(crate) origin: Origin,
}

/// One message in the queue.
#[derive(Clone, Copy, Debug)]
struct Queued {
    /// Where it ends, in octets from the front.
    end: usize,
    sender: Sender,
    /// Where to send it when the connection is lost (RFC 3261 §18.2.2).
    otherwise: Option<Flow>,
}

/// A message that did not leave, or may not have arrived.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Lost<'a> {
    /// Who sent it.
    pub(super) sender: Sender,
    /// Where else it may go.
    pub(super) otherwise: Option<Flow>,
    /// The message.
    pub(super) bytes: &'a [u8],
}

/// Messages on their way into one connection.
#[derive(Debug, Default)]
pub(super) struct Outbox {
    bytes: Buffer,
    /// Octets at the front of messages that have left altogether.
    done: usize,
    /// Octets at the front that the kernel has.
    written: usize,
    queue: VecDeque<Queued>,
    /// Senders of requests that were written since the peer was last heard.
    doubtful: VecDeque<Sender>,
    /// Whether what was written is kept all the same.
    keep: bool,
}

impl Outbox {
    /// Octets that wait to be written.
    pub(super) fn waiting(&self) -> usize {
        self.bytes.len() - self.written
    }

    /// Octets that are held, those kept after writing too.
    pub(super) fn held(&self) -> usize {
        self.bytes.len()
    }

    /// Puts a message at the end.
    pub(super) fn push(
        &mut self,
        bytes: &[u8],
        (sender, otherwise): (Sender, Option<Flow>),
        pool: &mut Pool,
    ) {
        if self.bytes.capacity() == 0 {
            self.bytes = pool.take(bytes.len());
        }
        self.bytes.extend_from_slice(bytes);
        self.queue.push_back(Queued { end: self.bytes.len(), sender, otherwise });
    }

    /// What to write next.
    pub(super) fn unwritten(&self) -> &[u8] {
        self.bytes.get(self.written..).unwrap_or(&[])
    }

    /// The kernel has taken so many octets more. Returns how many messages that completed.
    pub(super) fn advance(&mut self, octets: usize, pool: &mut Pool) -> usize {
        let before = self.written;
        self.written = self.bytes.len().min(self.written + octets);
        if self.keep {
            let done = |queued: &&Queued| queued.end > before && queued.end <= self.written;
            return self.queue.iter().filter(done).count();
        }
        let mut completed = 0;
        while let Some(queued) = self.queue.front().filter(|queued| queued.end <= self.written) {
            self.done = queued.end;
            completed += 1;
            if queued.sender.origin != Origin::Nobody {
                if self.doubtful.len() == DOUBTFUL_MAX {
                    self.doubtful.pop_front();
                }
                self.doubtful.push_back(queued.sender);
            }
            self.queue.pop_front();
        }
        if self.queue.is_empty() {
            self.recycle(pool);
        } else if self.done >= COMPACT_BYTES {
            self.bytes.drain(..self.done);
            self.written -= self.done;
            self.queue.iter_mut().for_each(|queued| queued.end -= self.done);
            self.done = 0;
        }
        completed
    }

    /// The peer was heard: what was written before has arrived, as far as anybody can tell.
    pub(super) fn heard(&mut self) {
        self.doubtful.clear();
    }

    /// From here on nothing that is written counts as arrived: the peer has ended its side, and if
    /// it has closed the other one too, that shows only after writing.
    pub(super) fn keep(&mut self) {
        self.keep = true;
    }

    /// Senders of requests that were written and may not have arrived.
    pub(super) fn take_doubtful(&mut self) -> impl Iterator<Item = Sender> {
        self.doubtful.drain(..)
    }

    /// Every message that did not leave, in order.
    pub(super) fn lost(&self) -> impl Iterator<Item = Lost<'_>> {
        let mut start = self.done;
        self.queue.iter().map(move |queued| {
            let bytes = self.bytes.get(start..queued.end).unwrap_or(&[]);
            start = queued.end;
            Lost { sender: queued.sender, otherwise: queued.otherwise, bytes }
        })
    }

    /// Gives back what is held.
    pub(super) fn recycle(&mut self, pool: &mut Pool) {
        pool.put(std::mem::take(&mut self.bytes));
        (self.done, self.written) = (0, 0);
        self.queue.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const OPENER: (Sender, Option<Flow>) = (sender(7), None);

    const fn sender(number: u64) -> Sender {
        Sender { shard: ShardId(0), origin: Origin::Client(number) }
    }

    fn lost(outbox: &Outbox) -> Vec<&[u8]> {
        outbox.lost().map(|lost| lost.bytes).collect()
    }

    #[test]
    fn a_message_is_lost_until_its_last_octet_is_written() {
        let (mut outbox, mut pool) = (Outbox::default(), Pool::default());
        outbox.push(b"one", OPENER, &mut pool);
        outbox.push(b"three", OPENER, &mut pool);
        assert_eq!(outbox.advance(2, &mut pool), 0);
        assert_eq!(lost(&outbox), [&b"one"[..], b"three"]);
        assert_eq!(outbox.advance(3, &mut pool), 1);
        assert_eq!(outbox.unwritten(), b"ree");
        assert_eq!(lost(&outbox), [&b"three"[..]]);
        assert_eq!(outbox.advance(3, &mut pool), 1);
        assert!(lost(&outbox).is_empty());
        assert_eq!((outbox.held(), outbox.waiting()), (0, 0));
    }

    #[test]
    fn a_long_queue_is_compacted_and_stays_whole() {
        let (mut outbox, mut pool) = (Outbox::default(), Pool::default());
        for n in 0..100u8 {
            outbox.push(&[n; 1000], OPENER, &mut pool);
        }
        let mut written = 0;
        while outbox.waiting() > 0 {
            let first = outbox.unwritten()[0];
            assert_eq!(usize::from(first), written / 1000);
            assert_eq!(outbox.lost().next().expect("one").bytes, [first; 1000]);
            outbox.advance(777, &mut pool);
            written += 777;
            assert!(outbox.held() <= outbox.waiting() + COMPACT_BYTES + 1000);
        }
    }

    #[test]
    fn who_wrote_since_the_peer_was_heard_is_in_doubt() {
        let (mut outbox, mut pool) = (Outbox::default(), Pool::default());
        outbox.push(b"x", OPENER, &mut pool);
        outbox.advance(1, &mut pool);
        outbox.heard();
        let nobody = Sender { origin: Origin::Nobody, ..sender(0) };
        outbox.push(b"y", (sender(8), None), &mut pool);
        outbox.push(b"z", (nobody, None), &mut pool);
        outbox.advance(2, &mut pool);
        let doubtful: Vec<Sender> = outbox.take_doubtful().collect();
        assert_eq!(doubtful, [sender(8)]);
    }

    #[test]
    fn what_is_written_to_a_peer_that_has_ended_is_kept() {
        let (mut outbox, mut pool) = (Outbox::default(), Pool::default());
        outbox.keep();
        outbox.push(b"one", OPENER, &mut pool);
        outbox.push(b"two", OPENER, &mut pool);
        assert_eq!(outbox.advance(4, &mut pool), 1);
        assert_eq!(outbox.advance(2, &mut pool), 1);
        assert_eq!(lost(&outbox), [&b"one"[..], b"two"]);
    }
}
