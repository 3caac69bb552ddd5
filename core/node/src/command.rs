//! What the control threads ask of a shard, and what it answers.
//!
//! Not here: who asks (`control.rs`, `http/`), what the shard does about it (`shard.rs`).

use crate::counters::Summary;
use crate::tap::Rules;
use std::sync::Arc;
use strowger_sip::module::{self, Fault};
use strowger_sip::shard::ShardId;

/// What control asks of a shard.
#[derive(Clone, Debug)]
pub(crate) enum Command {
    /// Take no new calls.
    Drain,
    /// Tell how things are.
    Report,
    /// The same, to whoever asked; who takes no answer gets none.
    ReportTo(flume::Sender<Summary>),
    /// Do what the control plane asks.
    Do(Arc<module::Command>, flume::Sender<Done>),
    /// Copy what these rules want, or nothing.
    Tap(Option<Arc<Rules>>),
    /// Say that the shard turns.
    Tick(flume::Sender<ShardId>),
    /// Take over the configuration that is in force, and say so.
    Renew(flume::Sender<ShardId>),
    /// End, and tell how things were.
    Stop,
}

/// A shard's answer to a command; `None` when nobody on it knows the command.
pub(crate) type Done = (ShardId, Option<Result<String, Fault>>);

/// What a shard tells control.
#[derive(Debug)]
pub(crate) enum Answer {
    /// To `Report`.
    Report(Summary),
    /// To `Stop`.
    Ended(Summary),
}
