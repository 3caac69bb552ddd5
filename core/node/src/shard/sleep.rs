//! How a shard that found nothing to do goes to sleep.
//!
//! For: naps in a plain system call, sleep by the executor, when to wake.
//! Not here: watching sockets while the executor sleeps (`rest.rs`).
//! Invariants: whoever gives a sleeping shard something rings its doorbell, and a shard looks once
//! more after it has said that it sleeps.

use super::{IDLE_MAX, LANE_RETRY, Stage, Turn};
use crate::engine::ShardEngine;
use crate::stream::Streams;
use crate::udp::{DatagramEngine, Ready, Woken};
use std::os::fd::{AsFd, AsRawFd};
use std::time::Duration;
use strowger_sip::time::Instant;

impl<E: ShardEngine, U: DatagramEngine> Turn<E, U> {
    pub(super) fn wake_up(&mut self) -> Stage {
        self.shard.doorbell.wake_up();
        Stage::Awake
    }

    pub(super) fn fall_asleep(&mut self) -> Stage {
        self.shard.doorbell.fall_asleep();
        Stage::Drowsy
    }

    /// Waits a moment without the executor.
    pub(super) fn nap(&mut self, now: Instant, longest: Duration) -> Stage {
        self.counters.naps += 1;
        let longest = self.wake_at(now).since(now).min(longest);
        let Turn { shard, lines, .. } = self;
        let chime = shard.chime.as_fd().as_raw_fd();
        let streams = shard.streams.as_ref().map_or(chime, Streams::as_raw_fd);
        let woken = shard.udp.nap(&[chime, streams], longest, |ready| match ready {
            Ready::Socket(listener) => {
                let found = lines.iter().find(|(own, _)| *own == listener);
                found.iter().for_each(|(_, line)| line.look.set(true));
            }
            Ready::Other(0) => {} // the chime
            Ready::Other(_) => shard.streams.iter_mut().for_each(Streams::wake),
        });
        match woken {
            Woken::Early => {
                shard.chime.silence();
                self.wake_up()
            }
            Woken::InTime => Stage::Tired,
        }
    }

    /// Sleeps without the executor: glommio cannot wait for connections as a whole, and has no task
    /// but the watchers, of which none runs then.
    pub(super) fn sleep(&mut self, now: Instant) -> Stage {
        self.counters.rests += 1;
        self.nap(now, IDLE_MAX);
        self.wake_up()
    }

    /// Has every socket watched; says when to wake at the latest.
    pub(super) fn lie_down(&mut self, now: Instant) -> Instant {
        self.counters.rests += 1;
        if self.door.look.take() {
            self.shard.chime.silence();
        }
        for line in self.lines.iter().map(|(_, line)| line).chain([&self.door]) {
            if !line.watched.replace(true) {
                line.watch.ring();
            }
        }
        self.wake_at(now)
    }

    /// When to wake at the latest.
    pub(super) fn wake_at(&self, now: Instant) -> Instant {
        let longest = if self.shard.mesh.is_flushed() { IDLE_MAX } else { LANE_RETRY };
        let engine = self.shard.engine.next_deadline();
        let streams = self.shard.streams.as_ref().and_then(Streams::next_deadline);
        engine.into_iter().chain(streams).fold(now + longest, Instant::min)
    }
}
