//! A received message that outlives the datagram it came in.
//!
//! For: a request while it is routed and answered, a response that waits to be chosen. The bytes
//! are copied once, then shared between the engine and the routing, read-only.
//! Invariants: a pool hands out messages that nobody else holds.

use crate::buffer::Buffer;
use crate::limits::Limits;
use crate::message::{Head, Message, ParseError, TopVia};
use crate::transport::{Flow, ListenerId};
use std::cell::Cell;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::rc::Rc;

/// How many free messages a shard retains.
const RETAINED_MAX: usize = 65_536;
/// The most room a retained message has. A guess: eight times a usual one; the rest are rare, and
/// one of a stream may have a megabyte.
const RETAINED_BYTES_MAX: usize = 16_384;

/// A received message with its bytes, the offsets of its parts, and the socket pair it came over.
pub struct Incoming {
    bytes: Buffer,
    head: Head,
    flow: Flow,
    /// What its top Via means for answers, once that was read.
    answers: Cell<Option<Answers>>,
}

/// How answers to a request go back.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Answers {
    /// Where they go.
    pub(crate) flow: Flow,
    /// What becomes of the top Via in them, and in the request as it goes on.
    pub(crate) stamp: TopVia,
}

impl std::fmt::Debug for Incoming {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} from {}", self.bytes.escape_ascii(), self.flow.remote)
    }
}

impl Incoming {
    fn empty() -> Incoming {
        let nowhere = SocketAddr::new(IpAddr::V4(Ipv4Addr::UNSPECIFIED), 0);
        let flow = Flow::udp(ListenerId(0), nowhere);
        Incoming { bytes: Buffer::new(), head: Head::default(), flow, answers: Cell::new(None) }
    }

    /// A copy of a message that was read elsewhere.
    pub(crate) fn copy_of(message: Message<'_>) -> Incoming {
        let mut copy = Incoming::empty();
        copy.bytes.extend_from_slice(message.bytes());
        // It was read once already, so reading it again cannot fail.
        let _ = copy.head.parse(&copy.bytes, &Limits::STREAM);
        copy
    }

    /// The message.
    pub fn message(&self) -> Message<'_> {
        self.head.message(&self.bytes)
    }

    /// How answers go back, by `read` the first time.
    pub(crate) fn answers(&self, read: impl FnOnce() -> Answers) -> Answers {
        let answers = self.answers.get().unwrap_or_else(read);
        self.answers.set(Some(answers));
        answers
    }

    /// The socket pair it came over.
    pub fn flow(&self) -> Flow {
        self.flow
    }
}

/// Free messages of one shard.
#[derive(Default)]
pub(crate) struct IncomingPool {
    free: Vec<Rc<Incoming>>,
}

impl IncomingPool {
    /// Copies and parses a datagram. What was parsed before an error can still be read.
    pub(crate) fn read(
        &mut self,
        bytes: &[u8],
        flow: Flow,
        limits: &Limits,
    ) -> (Rc<Incoming>, Result<(), ParseError>) {
        let mut shared = self.free.pop().unwrap_or_else(|| Rc::new(Incoming::empty()));
        let Some(incoming) = Rc::get_mut(&mut shared) else {
            // `put` keeps only what nobody else holds.
            debug_assert!(false, "a pooled message is shared");
            return (Rc::new(Incoming::empty()), Ok(()));
        };
        incoming.bytes.clear();
        incoming.bytes.extend_from_slice(bytes);
        incoming.flow = flow;
        incoming.answers.set(None);
        let parsed = incoming.head.parse(&incoming.bytes, limits);
        (shared, parsed)
    }

    /// Takes a message back, unless a routing still holds it.
    pub(crate) fn put(&mut self, message: Rc<Incoming>) {
        let small = message.bytes.capacity() <= RETAINED_BYTES_MAX;
        if small && Rc::strong_count(&message) == 1 && self.free.len() < RETAINED_MAX {
            self.free.push(message);
        }
    }
}
