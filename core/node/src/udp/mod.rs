//! UDP, the fast way: the only folder of the tree that holds `unsafe`.
//!
//! For: a small interface to datagrams, [`DatagramEngine`], and its implementation with
//! recvmmsg/sendmmsg (`mmsg.rs`). An engine on its own io_uring fits behind the same interface.
//! Not here: what datagrams mean, which shard they belong to (`shard.rs`).
//! Invariants: nothing here blocks for longer than [`mmsg::SEND_WAIT_MILLIS`] times
//! [`mmsg::SEND_WAITS_MAX`]; a datagram moves counters and writes no log line.

pub(crate) mod mmsg;
pub(crate) mod ready;
pub(crate) mod socket;
mod sys;

use std::io;
use std::net::SocketAddr;
use std::os::fd::RawFd;
use std::time::Duration;
use strowger_sip::actions::{Origin, Sends};
use strowger_sip::transport::ListenerId;

/// What `[udp]` says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct UdpSettings {
    /// Bytes of each socket's receive buffer.
    pub receive_buffer: usize,
    /// Bytes of each socket's send buffer.
    pub send_buffer: usize,
    /// Datagrams received with one system call.
    pub batch: usize,
}

impl Default for UdpSettings {
    /// 8 MiB hold a second of 13,000 datagrams: these machines freeze for that long (measured).
    /// A batch of 32 leaves less than 3 % of the system call's fixed cost to each datagram.
    fn default() -> UdpSettings {
        UdpSettings { receive_buffer: 8 << 20, send_buffer: 4 << 20, batch: 32 }
    }
}

/// What one call of [`DatagramEngine::receive`] found.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Received {
    /// Datagrams given to the caller.
    pub(crate) datagrams: usize,
    /// Datagrams that were longer than the buffer; dropped.
    pub(crate) truncated: usize,
    /// Errors other than "nothing there".
    pub(crate) failed: usize,
    /// Whether the batch was full or interrupted, so that more is likely to wait.
    pub(crate) more: bool,
}

/// What became of the messages given to [`DatagramEngine::send`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Sent {
    /// Taken by the kernel.
    pub(crate) datagrams: usize,
    /// Refused for their destination or length; the others went on.
    pub(crate) failed: usize,
    /// Dropped because the send buffer stayed full.
    pub(crate) blocked: usize,
    /// For a listener that is not here.
    pub(crate) unroutable: usize,
}

/// What ended a nap.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Ready {
    /// The socket of this listener has something to receive.
    Socket(ListenerId),
    /// One of the others has, by its place in the list.
    Other(usize),
}

/// How a nap ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Woken {
    /// Something came, or a signal did.
    Early,
    /// The time is over.
    InTime,
}

/// The datagram sockets of one shard, one per listener.
pub(crate) trait DatagramEngine {
    /// Receives one batch from one socket without waiting, lending each datagram to `each`, with
    /// how long the first of the batch, and so the oldest, lay in the socket.
    fn receive(
        &mut self,
        from: ListenerId,
        each: impl FnMut(Duration, SocketAddr, &[u8]),
    ) -> Received;

    /// Sends every datagram from where it lies, each through the socket of its listener; messages
    /// for other transports are left to others. `unsent` learns who wanted to know about a message
    /// that was refused; one dropped for want of room is not refused, but lost like one in the
    /// network.
    fn send(&mut self, sends: &Sends, unsent: impl FnMut(Origin)) -> Sent;

    /// Blocks the thread until a socket, or one of `also`, has something to receive, or the time is
    /// over. Calls `ready` for each that has.
    fn nap(&mut self, also: &[RawFd], longest: Duration, ready: impl FnMut(Ready)) -> Woken;

    /// What to await before `receive` finds something again.
    fn readiness(&self, of: ListenerId) -> io::Result<ready::Readiness>;

    /// Datagrams that the kernel has dropped for want of room since the sockets were made.
    fn kernel_drops(&self) -> u64;
}
