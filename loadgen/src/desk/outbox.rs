//! Messages that wait to be sent, and the doors through which messages come and go.
//!
//! For: the desk writes here, the sockets (`net/`) send from here.
//! Invariants: a message is written once, into one arena, and sent from where it lies.

use std::net::SocketAddr;
use std::ops::Range;

/// Where a message came in, so that the answer goes out there.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Default)]
pub(crate) struct Door {
    /// Which of the worker's own addresses.
    pub(crate) place: u16,
    /// Which accepted connection; 0 is the address's own socket or connection.
    pub(crate) link: u32,
}

/// One message.
#[derive(Clone, Debug)]
pub(crate) struct Outgoing {
    pub(crate) door: Door,
    pub(crate) to: SocketAddr,
    /// Tells calls apart, so that the messages of one call keep their order.
    pub(crate) call: u32,
    bytes: Range<usize>,
}

/// Messages in order of sending.
#[derive(Debug, Default)]
pub(crate) struct Outbox {
    arena: Vec<u8>,
    list: Vec<Outgoing>,
}

impl Outbox {
    /// Where the next message begins; write it to [`Outbox::arena`], then [`Outbox::post`] it.
    pub(crate) fn start(&self) -> usize {
        self.arena.len()
    }

    pub(crate) fn arena(&mut self) -> &mut Vec<u8> {
        &mut self.arena
    }

    /// Sends what was written since `start`.
    pub(crate) fn post(&mut self, door: Door, to: SocketAddr, call: u32, start: usize) {
        let bytes = start..self.arena.len();
        self.list.push(Outgoing { door, to, call, bytes });
    }

    /// Takes back what was written since `start`.
    pub(crate) fn discard(&mut self, start: usize) {
        self.arena.truncate(start);
    }

    /// Sends bytes that exist already.
    pub(crate) fn copy(&mut self, door: Door, to: SocketAddr, call: u32, bytes: &[u8]) {
        let start = self.start();
        self.arena.extend_from_slice(bytes);
        self.post(door, to, call, start);
    }

    /// What was written since `start`.
    pub(crate) fn since(&self, start: usize) -> &[u8] {
        self.arena.get(start..).unwrap_or(&[])
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = (&Outgoing, &[u8])> + Clone {
        let bytes = |sent: &Outgoing| self.arena.get(sent.bytes.clone()).unwrap_or(&[]);
        self.list.iter().map(move |sent| (sent, bytes(sent)))
    }

    /// The messages of each place, in their order. Those of one place come to lie together: one
    /// system call takes them all.
    pub(crate) fn by_place(
        &mut self,
    ) -> impl Iterator<Item = (u16, impl Iterator<Item = (&Outgoing, &[u8])>)> {
        self.list.sort_by_key(|sent| sent.door.place);
        let (arena, list) = (&self.arena, &self.list);
        list.chunk_by(|one, other| one.door.place == other.door.place).map(move |chunk| {
            let place = chunk.first().map_or(0, |sent| sent.door.place);
            let bytes = |sent: &Outgoing| arena.get(sent.bytes.clone()).unwrap_or(&[]);
            (place, chunk.iter().map(move |sent| (sent, bytes(sent))))
        })
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.list.is_empty()
    }

    /// Forgets everything, keeps the capacity.
    pub(crate) fn clear(&mut self) {
        self.arena.clear();
        self.list.clear();
    }
}
