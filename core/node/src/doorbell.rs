//! Waking a shard from another thread.
//!
//! For: other shards and control, when they have something for a shard that sleeps.
//! Not here: what they have (`mesh.rs`, `control.rs`); waking within one thread (`bell.rs`).
//! Invariants: whoever puts something into a queue of the shard rings after it; the shard looks
//! into its queues after it said that it sleeps. So one of the two sees the other, and nothing is
//! missed.

use socket2::Socket;
use std::io::{self, Write};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::net::UnixStream;
use std::sync::atomic::{AtomicBool, Ordering, fence};

/// The button, shared by everyone who may ring.
#[derive(Debug)]
pub(crate) struct Doorbell {
    asleep: AtomicBool,
    button: UnixStream,
}

/// The sleeper's end.
#[derive(Debug)]
pub(crate) struct Chime {
    stream: Socket,
}

/// A doorbell with its chime. A socket, because waiting for it ends up in glommio's main ring with
/// the other sockets: see `mesh.rs` for what is wrong with its own way of waking executors.
pub(crate) fn pair() -> io::Result<(Doorbell, Chime)> {
    let (button, stream) = UnixStream::pair()?;
    button.set_nonblocking(true)?;
    Ok((Doorbell { asleep: AtomicBool::new(false), button }, Chime { stream: stream.into() }))
}

impl Doorbell {
    /// Wakes the shard if it sleeps; costs a fence and a load if it does not.
    pub(crate) fn ring(&self) {
        fence(Ordering::SeqCst);
        if self.asleep.load(Ordering::Relaxed) && self.asleep.swap(false, Ordering::Relaxed) {
            // A full socket means that it rings already; a closed one that the shard has ended.
            let _ = (&self.button).write(&[1]);
        }
    }

    /// Said by the shard before it looks into its queues a last time.
    pub(crate) fn fall_asleep(&self) {
        self.asleep.store(true, Ordering::Relaxed);
        fence(Ordering::SeqCst);
    }

    /// Said by the shard when it is up, so that nobody rings for nothing.
    pub(crate) fn wake_up(&self) {
        self.asleep.store(false, Ordering::Relaxed);
    }
}

impl Chime {
    /// Takes the rings that have come, if any.
    pub(crate) fn silence(&mut self) {
        // Nothing there is as good; a socket that failed would be seen by waiting for it.
        let _ = self.stream.recv_with_flags(&mut [MaybeUninit::uninit(); 16], libc::MSG_DONTWAIT);
    }
}

impl AsFd for Chime {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.stream.as_fd()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Read;

    #[test]
    fn it_rings_once_for_a_sleeper_and_never_for_others() {
        let (bell, mut chime) = pair().expect("a doorbell");
        chime.stream.set_nonblocking(true).expect("set");
        let mut rings = || chime.stream.read(&mut [0; 16]).unwrap_or(0);
        bell.ring();
        assert_eq!(rings(), 0);
        bell.fall_asleep();
        bell.ring();
        bell.ring();
        assert_eq!(rings(), 1);
        bell.fall_asleep();
        bell.wake_up();
        bell.ring();
        assert_eq!(rings(), 0);
    }
}
