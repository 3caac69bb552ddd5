//! Waiting for a datagram through glommio's ring, without receiving it.
//!
//! For: letting a shard sleep until there is something to read.
//! Not here: reading it (`mmsg.rs`).

use glommio::net::UdpSocket;
use std::io;
use std::os::fd::{AsFd, FromRawFd, IntoRawFd};
use std::time::Duration;

/// How long to wait after the ring refused to wait, lest an error that stays makes the shard spin. A guess.
const PAUSE_AFTER_ERROR: Duration = Duration::from_millis(10);

/// Becomes ready when a socket has something to receive.
#[derive(Debug)]
pub(crate) struct Readiness {
    socket: UdpSocket,
}

impl Readiness {
    /// Of a socket that must be in blocking mode: io_uring answers EAGAIN at once for a non-blocking one.
    pub(crate) fn of(socket: &impl AsFd) -> io::Result<Readiness> {
        let duplicate = socket.as_fd().try_clone_to_owned()?.into_raw_fd();
        // SAFETY: the descriptor was made by the line above and its owner gave it up; the glommio
        // socket becomes its only owner and closes it.
        let socket = unsafe { UdpSocket::from_raw_fd(duplicate) };
        Ok(Readiness { socket })
    }

    /// Waits. glommio has no public poll, so one octet is peeked at: the kernel arms its own poll for
    /// that, and nothing is consumed. Ready does not mean that a datagram is there: an error counts too.
    pub(crate) async fn wait(&self) {
        if self.socket.peek(&mut [0]).await.is_err() {
            glommio::timer::sleep(PAUSE_AFTER_ERROR).await;
        }
    }
}
