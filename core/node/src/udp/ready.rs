//! Waiting for a datagram, or for a ring, through glommio's ring without receiving it.
//!
//! For: letting a shard sleep until there is something to read.
//! Not here: reading it (`mmsg.rs`, `doorbell.rs`).
//! Invariants: sockets are in blocking mode, since io_uring answers EAGAIN at once for non-blocking
//! ones.

use glommio::net::{UdpSocket, UnixStream};
use std::io;
use std::os::fd::{AsFd, FromRawFd, IntoRawFd};
use std::time::Duration;

/// How long to wait after the ring refused to wait, lest an error that stays makes the shard spin.
/// A guess.
const PAUSE_AFTER_ERROR: Duration = Duration::from_millis(10);

/// Becomes ready when a socket has something to receive.
#[derive(Debug)]
pub(crate) enum Readiness {
    /// Of datagrams from anywhere.
    Udp(UdpSocket),
    /// Of a stream.
    Unix(UnixStream),
}

impl Readiness {
    /// Of a UDP socket.
    pub(crate) fn of_udp(socket: &impl AsFd) -> io::Result<Readiness> {
        let duplicate = socket.as_fd().try_clone_to_owned()?.into_raw_fd();
        // SAFETY: the descriptor was made by the line above and its owner gave it up; the glommio
        // socket becomes its only owner and closes it.
        Ok(Readiness::Udp(unsafe { UdpSocket::from_raw_fd(duplicate) }))
    }

    /// Of a Unix stream.
    pub(crate) fn of_unix(stream: &impl AsFd) -> io::Result<Readiness> {
        let duplicate = stream.as_fd().try_clone_to_owned()?.into_raw_fd();
        // SAFETY: as above.
        Ok(Readiness::Unix(unsafe { UnixStream::from_raw_fd(duplicate) }))
    }

    /// Waits. glommio has no public poll, so one octet is peeked at: first by a plain system call,
    /// then through the ring, where the kernel arms a poll of its own. Nothing is consumed. Ready
    /// does not mean that something is there: an error counts too.
    pub(crate) async fn wait(&self) {
        let failed = match self {
            Readiness::Udp(socket) => socket.peek_from(&mut [0]).await.is_err(),
            Readiness::Unix(stream) => stream.peek(&mut [0]).await.is_err(),
        };
        if failed {
            glommio::timer::sleep(PAUSE_AFTER_ERROR).await;
        }
    }
}
