//! What a shard wants done: the only way in which the engine touches the world.
//!
//! For: datagrams to send and messages for other shards, gathered during one call of the engine and
//! carried out by the shard loop.
//! Invariants: messages are written once, into one arena; `clear` keeps every capacity, so that a
//! steady load allocates nothing.

use crate::resolver::Question;
use crate::shard::ShardId;
use crate::transport::{ConnectionId, Flow, Lifespan};
use std::ops::Range;

/// Messages to send, in order. One arena of bytes, written once, sent from where they lie.
#[derive(Debug, Default)]
pub struct Sends {
    arena: Vec<u8>,
    list: Vec<Sent>,
}

/// Who wants to know when a message could not be sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Origin {
    /// Nobody.
    Nobody,
    /// A client transaction, by its id as a number.
    Client(u64),
}

#[derive(Clone, Debug)]
struct Sent {
    origin: Origin,
    flow: Flow,
    bytes: Range<usize>,
}

impl Sends {
    /// Sends bytes that exist already, for example a retransmission.
    pub fn send(&mut self, flow: Flow, bytes: &[u8]) {
        self.send_with(flow, |out| out.extend_from_slice(bytes));
    }

    /// Lets `write` append a message to the arena, and sends what it wrote (nothing if it wrote
    /// nothing).
    pub fn send_with(&mut self, flow: Flow, write: impl FnOnce(&mut Vec<u8>)) {
        self.send_from(Origin::Nobody, flow, write);
    }

    /// The same, for somebody who wants to know when it could not be sent.
    pub fn send_from(&mut self, origin: Origin, flow: Flow, write: impl FnOnce(&mut Vec<u8>)) {
        let start = self.arena.len();
        write(&mut self.arena);
        if self.arena.len() > start {
            self.list.push(Sent { origin, flow, bytes: start..self.arena.len() });
        }
    }

    /// The bytes of the message that was sent last.
    pub fn last(&self) -> Option<&[u8]> {
        self.list.last().and_then(|sent| self.arena.get(sent.bytes.clone()))
    }

    /// Every message with its flow, in order of sending.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = (&Flow, &[u8])> {
        self.iter_with_origin().map(|(_, flow, bytes)| (flow, bytes))
    }

    /// The same, and who wants to know when it could not be sent.
    pub fn iter_with_origin(&self) -> impl ExactSizeIterator<Item = (Origin, &Flow, &[u8])> {
        self.list.iter().map(|sent| {
            let bytes = self.arena.get(sent.bytes.clone()).unwrap_or(&[]);
            (sent.origin, &sent.flow, bytes)
        })
    }

    /// How many messages wait here.
    pub fn len(&self) -> usize {
        self.list.len()
    }

    /// Whether nothing waits here.
    pub fn is_empty(&self) -> bool {
        self.list.is_empty()
    }

    /// Bytes that wait here.
    pub fn bytes(&self) -> usize {
        self.arena.len()
    }

    /// Takes back the message that was sent last.
    pub fn retract(&mut self) {
        if let Some(sent) = self.list.pop() {
            self.arena.truncate(sent.bytes.start);
        }
    }

    /// Forgets everything, keeps the capacity.
    pub fn clear(&mut self) {
        self.arena.clear();
        self.list.clear();
    }

    /// Forgets everything, keeps room for so many bytes at most.
    pub fn clear_down_to(&mut self, bytes_max: usize) {
        self.clear();
        self.arena.shrink_to(bytes_max);
    }
}

/// What one call of the engine wants done. `P` is the message that the modules' instances on other
/// shards get, `W` the row that storage gets.
#[derive(Debug)]
pub struct Actions<P, W> {
    /// Messages to put on the wire.
    pub sends: Sends,
    /// Messages for other shards of this node.
    pub peers: Vec<(ShardId, P)>,
    /// Rows for storage, in order.
    pub rows: Vec<W>,
    /// Names to look up; the answer comes back as an input.
    pub questions: Vec<Question>,
    /// How long connections are to live, whichever shard owns them.
    pub lifespans: Vec<(ConnectionId, Lifespan)>,
}

impl<P, W> Default for Actions<P, W> {
    fn default() -> Self {
        Actions {
            sends: Sends::default(),
            peers: Vec::new(),
            rows: Vec::new(),
            questions: Vec::new(),
            lifespans: Vec::new(),
        }
    }
}

impl<P, W> Actions<P, W> {
    /// Forgets everything, keeps the capacity.
    pub fn clear(&mut self) {
        self.sends.clear();
        self.peers.clear();
        self.rows.clear();
        self.questions.clear();
        self.lifespans.clear();
    }
}
