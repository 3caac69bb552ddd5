//! What the counts and commands of this module mean, for `/metrics` and the listing of commands.
//!
//! Not here: counting (`mod.rs`), answering.

use strowger_sip::module::{CommandNote, MetricNote};

pub(super) const METRICS: &[MetricNote] = &[
    MetricNote::counter("pike_checked", "Requests whose source was looked at."),
    MetricNote::counter("pike_blocked", "Requests of blocked sources."),
    MetricNote::counter("pike_blocks", "Times that a source was blocked."),
    MetricNote::counter("pike_reports", "Messages about a source to the shard that owns it."),
    MetricNote::counter("pike_sources_evicted", "Sources forgotten because the table was full."),
];

pub(super) const COMMANDS: &[CommandNote] = &[CommandNote::each(
    "pike.top",
    "filter?",
    "Shows sources with their rates: HOT for the blocked ones, or ALL.",
)];
