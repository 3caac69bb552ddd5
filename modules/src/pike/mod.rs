//! `pike`: no source may send more than so many requests in so much time.
//!
//! For: floods that a routing should not even look at (base.md §23), before the routing by a
//! request hook, or when the routing asks.
//! Not here: shedding load of a shard that is late (`core/sip`), lists of who may call at all
//! (`permissions/`).
//!
//! A source's requests come to any shard, since a shard is chosen by Call-ID; yet the limit is the
//! node's. Each source has an owner, found by the keyed hash of its address, which adds up what all
//! shards report. Dividing the limit by the number of shards instead would block a caller with one
//! busy Call-ID at a fraction of it. A shard reports a source only once it has itself seen the
//! limit's share of it in the window: a source at the limit has sent that much to some shard, so
//! quiet sources, and a flood of many forged ones, cost no message at all. The price: a source
//! that spreads perfectly is stopped a little late, at twice the limit at the latest, and never
//! before the limit.
//!
//! Invariants: memory is bounded (`max_sources`); a block is a lease that ends by itself, so a lost
//! message never blocks anybody for good.

mod command;
mod notes;
pub mod settings;
pub mod table;

pub use settings::{Action, Settings};
pub use table::Source;

use crate::permissions::PrefixTable;
use std::marker::PhantomData;
use std::net::IpAddr;
use strowger_sip::module::{
    Arrived, Command, CommandNote, Configured, Fault, Has, Host, MetricNote, Module, Never,
    NodeFacts, Verdict,
};
use strowger_sip::routing::{ListOf, Reply, Request, Routing};
use strowger_sip::settings::Section;
use strowger_sip::shard::ShardId;
use strowger_sip::time::Duration;
use table::Rates;

/// What shards tell each other.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Peer {
    /// To the owner: so many more requests came from this source.
    Hits {
        /// Who sent them.
        source: Source,
        /// How many.
        hits: u32,
    },
    /// From the owner: block this source.
    Block {
        /// Whom.
        source: Source,
        /// For how long.
        span: Duration,
    },
}

/// Counters of one shard.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counters {
    /// Requests that were counted.
    pub checked: u64,
    /// Requests of blocked sources.
    pub blocked: u64,
    /// Times that a source of this shard began or went on to be blocked, one a window.
    pub blocks: u64,
    /// Reports to owners on other shards.
    pub reports: u64,
}

/// The module.
#[derive(Debug)]
pub struct Pike {
    limits: Option<Limits>,
    counters: Counters,
}

#[derive(Debug)]
struct Limits {
    settings: Settings,
    allow: PrefixTable<()>,
    rates: Rates,
}

/// A source that sends too much.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Flooding {
    retry_after_seconds: u32,
}

impl From<Flooding> for Reply {
    /// 503 with Retry-After.
    fn from(flooding: Flooding) -> Reply {
        Reply::unavailable(flooding.retry_after_seconds)
    }
}

impl Pike {
    /// With `None` it lets everything pass.
    pub fn new(settings: Option<Settings>) -> Pike {
        let limits = settings.map(|settings| {
            let rate = (settings.sampling_time_unit, settings.reqs_density_per_unit);
            let rates = Rates::new(settings.sources_max, rate, settings.remove_latency);
            let allow = PrefixTable::new(settings.allow.iter().map(|prefix| (*prefix, ())));
            Limits { settings, allow, rates }
        });
        Pike { limits, counters: Counters::default() }
    }

    /// Counts a request and says whether its source is blocked.
    fn check(&mut self, host: &mut impl Host<Self>, address: IpAddr) -> Result<(), Flooding> {
        let Some(limits) = &mut self.limits else { return Ok(()) };
        if limits.allow.contains(address) {
            return Ok(());
        }
        self.counters.checked += 1;
        let source = Source::of(address);
        let now = host.now();
        let hit = limits.rates.hit(source, now);
        let retry_after_seconds = limits.settings.retry_after_seconds;
        if let Some(hits) = hit.report {
            let owner = host.map().home(&source.octets());
            if owner == host.shard() {
                self.add(host, source, hits);
            } else {
                self.counters.reports += 1;
                host.tell(owner, Peer::Hits { source, hits });
            }
        }
        let blocked = hit.blocked
            || self.limits.as_ref().is_some_and(|limits| limits.rates.is_blocked(source, now));
        self.counters.blocked += u64::from(blocked);
        if blocked { Err(Flooding { retry_after_seconds }) } else { Ok(()) }
    }

    /// On the owner of the source: adds a report, and has everybody block the source if that is too
    /// much.
    fn add(&mut self, host: &mut impl Host<Self>, source: Source, hits: u32) {
        let Some(limits) = &mut self.limits else { return };
        let Some(span) = limits.rates.add(source, hits, host.now()) else { return };
        self.counters.blocks += 1;
        let own = host.shard();
        let others = (0..host.map().count()).map(ShardId).filter(|shard| *shard != own);
        others.for_each(|shard| host.tell(shard, Peer::Block { source, span }));
    }
}

impl Configured for Pike {
    fn configured(section: &mut Section<'_>, _: &NodeFacts<'_>) -> Pike {
        Pike::new(Settings::from_section(section))
    }
}

impl Module for Pike {
    const NAME: &'static str = "pike";
    const METRICS: &'static [MetricNote] = notes::METRICS;
    const COMMANDS: &'static [CommandNote] = notes::COMMANDS;
    const LIVE: &'static [&'static str] = &["*"];
    type Attached = ();
    type Peer = Peer;
    type Timer = Never;
    type Token = Never;
    type Row = Never;

    fn start(&mut self, host: &mut impl Host<Self>) {
        let (keys, shards) = (host.entropy().keys(), host.map().count());
        if let Some(limits) = &mut self.limits {
            limits.rates.start(keys, shards);
        }
    }

    /// Sources begin anew when anything about them has changed.
    fn renew(&mut self, host: &mut impl Host<Self>, fresh: Pike) {
        let settings = |pike: &Pike| pike.limits.as_ref().map(|limits| limits.settings.clone());
        if settings(self) != settings(&fresh) {
            self.limits = fresh.limits;
            self.start(host);
        }
    }

    fn request(&mut self, host: &mut impl Host<Self>, request: &Arrived<'_>) -> Verdict {
        let Some(limits) = &self.limits else { return Verdict::Continue };
        let (automatic, action) = (limits.settings.automatic, limits.settings.action);
        if !automatic {
            return Verdict::Continue;
        }
        match (self.check(host, request.incoming.flow().remote.ip()), action) {
            (Ok(()), Action::Drop | Action::Refuse) => Verdict::Continue,
            (Err(_), Action::Drop) => Verdict::Drop,
            (Err(flooding), Action::Refuse) => Verdict::Reply(flooding.into()),
        }
    }

    fn peer(&mut self, host: &mut impl Host<Self>, _: ShardId, message: Peer) {
        match message {
            Peer::Hits { source, hits } => self.add(host, source, hits),
            Peer::Block { source, span } => {
                if let Some(limits) = &mut self.limits {
                    limits.rates.block(source, span, host.now());
                }
            }
        }
    }

    fn command(
        &mut self,
        host: &mut impl Host<Self>,
        command: &Command,
    ) -> Option<Result<String, Fault>> {
        command::answer(self, host, command)
    }

    fn metrics(&self, each: &mut dyn FnMut(&'static str, u64)) {
        each("pike_checked", self.counters.checked);
        each("pike_blocked", self.counters.blocked);
        each("pike_blocks", self.counters.blocks);
        each("pike_reports", self.counters.reports);
        let evicted = self.limits.as_ref().map_or(0, |limits| limits.rates.evicted());
        each("pike_sources_evicted", evicted);
    }
}

/// Gives a request its `pike()`.
pub trait PikeRequest<'a, R: Routing, N> {
    /// The limits of sources, asked about this request.
    ///
    /// ```text
    /// request.pike().check()?; // 503 for a source that floods; with `automatic = false`
    /// ```
    fn pike(&self) -> PikeOf<'_, 'a, R, N>;
}

impl<'a, R: Routing, N> PikeRequest<'a, R, N> for Request<'a, R>
where
    ListOf<R>: Has<Pike, N>,
{
    fn pike(&self) -> PikeOf<'_, 'a, R, N> {
        PikeOf { request: self, place: PhantomData }
    }
}

/// The limits of sources and one request.
#[must_use]
pub struct PikeOf<'q, 'a, R: Routing, N> {
    request: &'q Request<'a, R>,
    place: PhantomData<N>,
}

impl<R: Routing, N> PikeOf<'_, '_, R, N>
where
    ListOf<R>: Has<Pike, N>,
{
    /// Counts the request (`pike_check_req`). Meant for `automatic = false`; otherwise the request
    /// was counted before the routing saw it.
    ///
    /// # Errors
    /// When its source floods.
    pub fn check(&self) -> Result<(), Flooding> {
        let address = self.request.source().remote.ip();
        self.request.module(|pike: &mut Pike, host, _| pike.check(host, address))
    }
}

#[cfg(test)]
mod tests;
