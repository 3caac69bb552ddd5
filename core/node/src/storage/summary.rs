//! What storage counts.
//!
//! For: the line at exit, and the control plane.

use std::fmt;
use strowger_sip::histogram::Histogram;

/// How storage is, and what it has done since the start.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct StorageSummary {
    /// Which kind of database.
    pub backend: &'static str,
    /// The database is away or too slow: what is promised is refused at once.
    pub degraded: bool,
    /// How often that began.
    pub degradations: u64,
    /// Rows that wait to be written.
    pub waiting: u64,
    /// Memory that they take, in bytes.
    pub waiting_bytes: u64,
    /// Orders taken from the shards.
    pub orders: u64,
    /// Changes that were written: rows put and removed, each counted as often as it was written.
    pub written: u64,
    /// Transactions.
    pub batches: u64,
    /// Batches that failed and were tried again.
    pub failures: u64,
    /// Promises kept.
    pub durable: u64,
    /// Promises and questions refused.
    pub refused: u64,
    /// Questions answered.
    pub found: u64,
    /// Changes that nobody waited for, dropped because there was no room.
    pub dropped: u64,
    /// Times that a module was asked to say everything again.
    pub resyncs: u64,
    /// Modules that are still to be asked.
    pub resyncs_due: u64,
    /// Changes that do not fit their table.
    pub unusable: u64,
    /// Rows handed to the shards at start.
    pub loaded: u64,
    /// Rows that were of no use, at start or in answers.
    pub skipped: u64,
    /// Notes that a shard had no room for.
    pub notes_lost: u64,
    /// How long each batch took to write.
    pub latency: Histogram,
}

impl fmt::Display for StorageSummary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let s = self;
        write!(f, "storage={} degraded={}", s.backend, u8::from(s.degraded))?;
        write!(f, " degradations={} waiting={}", s.degradations, s.waiting)?;
        write!(f, " waiting_bytes={} orders={}", s.waiting_bytes, s.orders)?;
        write!(f, " written={} batches={} failures={}", s.written, s.batches, s.failures)?;
        write!(f, " durable={} refused={} found={}", s.durable, s.refused, s.found)?;
        write!(f, " dropped={} resyncs={}", s.dropped, s.resyncs)?;
        write!(f, " resyncs_due={} unusable={}", s.resyncs_due, s.unusable)?;
        write!(f, " loaded={} skipped={} notes_lost={}", s.loaded, s.skipped, s.notes_lost)
    }
}
