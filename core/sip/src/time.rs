//! The engine's idea of time: an instant is handed in with every call, never read.
//!
//! For: timers, deadlines and tests that skip hours. The edge maps its monotonic clock to it
//! (`core/node/src/clock.rs`), the rig counts it by itself.
//! Not here: wall-clock dates; a module that stores them gets them from the edge with its rows.

use std::fmt;
use std::ops::{Add, Sub};
pub use std::time::Duration;

/// Microseconds since the shard started; monotonic.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Instant(u64);

impl Instant {
    /// The moment at which the shard started.
    pub const START: Instant = Instant(0);
    /// Later than anything that will happen.
    pub const NEVER: Instant = Instant(u64::MAX);

    /// The instant this many microseconds after the shard's start.
    pub const fn from_micros(micros: u64) -> Instant {
        Instant(micros)
    }

    /// Microseconds since the shard's start.
    pub const fn as_micros(self) -> u64 {
        self.0
    }

    /// Whole milliseconds since the shard's start, rounded down.
    pub const fn as_millis(self) -> u64 {
        self.0 / 1000
    }

    /// Time from `earlier` to here; zero when `earlier` is later.
    pub fn since(self, earlier: Instant) -> Duration {
        Duration::from_micros(self.0.saturating_sub(earlier.0))
    }
}

impl Add<Duration> for Instant {
    type Output = Instant;
    fn add(self, span: Duration) -> Instant {
        let micros = u64::try_from(span.as_micros()).unwrap_or(u64::MAX);
        Instant(self.0.saturating_add(micros))
    }
}

impl Sub<Instant> for Instant {
    type Output = Duration;
    fn sub(self, earlier: Instant) -> Duration {
        self.since(earlier)
    }
}

impl fmt::Debug for Instant {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{:06}s", self.0 / 1_000_000, self.0 % 1_000_000)
    }
}

/// Seconds, for constants that read like the RFC.
pub const fn secs(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

/// Milliseconds, for constants that read like the RFC.
pub const fn ms(millis: u64) -> Duration {
    Duration::from_millis(millis)
}
