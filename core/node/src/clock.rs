//! The clock: CLOCK_MONOTONIC as the engine's [`Instant`], with one epoch for the whole process.
//!
//! For: reading `now` once a batch.
//! Not here: sleeping until a deadline (`shard.rs`).

use strowger_sip::time::Instant;

/// Counts from the moment it was started; copies share that moment.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Clock {
    epoch: std::time::Instant,
}

impl Clock {
    /// Starts counting. Called once, before the shards start: instants of all shards compare.
    pub(crate) fn start() -> Clock {
        Clock { epoch: std::time::Instant::now() }
    }

    /// The time since the start. The standard library reads CLOCK_MONOTONIC on Linux, without a
    /// system call.
    pub(crate) fn now(&self) -> Instant {
        let micros = self.epoch.elapsed().as_micros();
        Instant::from_micros(u64::try_from(micros).unwrap_or(u64::MAX))
    }
}
