//! Looking names up for the shards: RFC 3263 on a thread of its own.
//!
//! For: taking questions from every shard and giving each its answers, while no shard ever waits.
//! Not here: what a shard remembers and whom it lets wait (`core/sip/src/proxy/resolver.rs`).
//! Invariants: hickory is known in this folder only; every question that was taken is
//! answered once, within [`QUESTION_WITHIN`]; what finds no room is refused to the shard, which
//! counts it.

mod lookup;
mod procedure;
mod reach;
mod servers;
pub(crate) mod settings;
mod thread;
mod turn;

pub(crate) use thread::{Asker, start};
pub(crate) use turn::Heard;

use reach::Reach;
use servers::NameServers;
use settings::DnsSettings;
use std::time::Duration;
use strowger_sip::limits::RESOLVER_NAMES_MAX;
use strowger_sip::time::secs;
use strowger_sip::transport::Listeners;

/// Questions of all shards that wait to be looked at. They wait only while [`QUESTIONS_AT_ONCE`]
/// are being looked up, which takes name servers that do not answer.
const QUESTIONS_QUEUED_MAX: usize = 1024;
/// Questions that are looked up at once. A guess: each takes some ten kilobytes.
const QUESTIONS_AT_ONCE: usize = 1024;
/// Answers on their way to one shard, which asks for no name that it is asking for already.
const ANSWERS_QUEUED_MAX: usize = RESOLVER_NAMES_MAX;
/// How long a question may take altogether: less than the caller waits (timers B and F, 32 s), so
/// that the caller is told 503 and not 408.
const QUESTION_WITHIN: Duration = secs(25);

/// Everything that is known before the first question.
#[derive(Debug)]
pub(crate) struct Resolver {
    servers: NameServers,
    reach: Reach,
    try_naptr: bool,
}

impl Resolver {
    /// For a node with these listeners; and what the operator should know.
    pub(crate) fn new(
        settings: &DnsSettings,
        listeners: &Listeners,
    ) -> Result<(Resolver, Option<String>), String> {
        let (servers, notice) = NameServers::of(settings)?;
        let reach = Reach::of(listeners, settings.try_ipv6);
        Ok((Resolver { servers, reach, try_naptr: settings.try_naptr }, notice))
    }
}
