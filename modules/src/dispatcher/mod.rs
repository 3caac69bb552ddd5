//! `dispatcher`: sets of destinations, ways to choose among them, and knowing which of them live.
//!
//! For: trunks, media servers, registrars behind this node (base.md §18).
//! Not here: DNS names with several addresses behind one destination (`core/sip`).
//!
//! One owner: each destination belongs to the shard that the keyed hash of its id names. The owner
//! alone probes it, counts failures and successes, and decides its state; other shards send it what
//! their routings saw and copy what it decides. Calls are counted by the shard that routes them and
//! told to the others every [`SHARE_LOADS_EVERY`], so a least-load choice may be behind by what
//! came in that time. Round robin and weights go on each shard by itself.
//!
//! Invariants: the picture of the sets (`sets.rs`) never changes, a reload replaces it; states,
//! latencies and calls are kept by destination id (`live.rs`).

mod algorithm;
pub mod codes;
mod command;
pub mod destination;
pub mod health;
mod keys;
pub mod list;
mod live;
mod load;
mod notes;
mod probe;
mod request;
pub mod row;
mod select;
mod selection;
mod sets;
pub mod settings;

pub use algorithm::Algorithm;
pub use codes::Codes;
pub use destination::{Attributes, Availability, Destination, DestinationId, Mark, SetId, State};
pub use health::{Event, ProbingMode, Thresholds};
pub use list::parse_list;
pub use request::{DispatcherOf, DispatcherRequest, Listed, SourceMatch, Summary};
pub use row::Row;
pub use selection::{Candidate, NoDestination, Selection};
pub use settings::Settings;

use health::Latency;
use live::Lives;
use load::{CallKey, Calls};
use sets::{Member, Sets};
use std::rc::Rc;
use strowger_sip::lists::List;
use strowger_sip::message::{Edits, MethodKind};
use strowger_sip::module::{
    Command, CommandNote, Configured, Departing, Fault, Heard, Host, MetricNote, Module, NodeFacts,
};
use strowger_sip::settings::Section;
use strowger_sip::shard::ShardId;
use strowger_sip::time::{Duration, Instant, ms};

/// How often shards tell each other how many calls their destinations have, while these change. A
/// guess: short beside a call, long beside the time a message takes.
pub const SHARE_LOADS_EVERY: Duration = ms(100);

/// What shards tell each other.
#[derive(Clone, Debug)]
pub enum Peer {
    /// To the owner: a routing or an operator has seen this.
    Mark(DestinationId, Mark),
    /// From the owner: this is how it is.
    State(DestinationId, State, Box<Latency>),
    /// How many calls the sender has at each of these destinations.
    Loads(Vec<(DestinationId, u32)>),
    /// This rate is to be used for overload control.
    OverloadRate(DestinationId, u8),
}

/// The module's timers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Timer {
    /// A destination is to be probed.
    Probe(DestinationId),
    /// The others are to be told of calls.
    ShareLoads,
    /// Old calls are to be forgotten.
    Sweep,
}

/// Names a probe.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Token {
    id: DestinationId,
    number: u32,
}

/// A destination went down or came up (`event_route[dispatcher:dst-down]` and `dst-up`): published
/// once, on the shard that owns it, to every module that listens.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Changed {
    /// Its set.
    pub set: SetId,
    /// Its URI.
    pub uri: String,
    /// What happened.
    pub event: Event,
}

/// What the module hangs on a transaction.
#[derive(Debug, Default)]
pub struct Attached {
    /// The present branch has rung: silence after that is the callee's, not the destination's.
    rang: bool,
    /// The call that was given to a destination and is not answered yet.
    call: Option<CallKey>,
}

/// Counters of one shard.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counters {
    /// Selections that found a destination.
    pub selected: u64,
    /// Selections that found none.
    pub empty: u64,
    /// Relays that went on to another destination.
    pub failovers: u64,
    /// Destinations that went down, and that came up, on their owner.
    pub downs: u64,
    /// See `downs`.
    pub ups: u64,
    /// Probes sent.
    pub probes_sent: u64,
    /// Probes answered well.
    pub probes_answered: u64,
    /// Probes answered badly or not at all.
    pub probes_failed: u64,
    /// Probes for which no address was found.
    pub probes_unresolved: u64,
    /// Calls that were not counted because the table was full.
    pub calls_uncounted: u64,
    /// Reloads.
    pub reloads: u64,
}

/// The module.
#[derive(Debug)]
pub struct Dispatcher {
    /// Its `destinations` are those of the configuration, which every reload keeps.
    settings: Settings,
    /// What files and tables hold beside them.
    listed: Vec<Destination>,
    sets: Rc<Sets>,
    lives: Lives,
    calls: Calls,
    /// Loads have changed and a timer will tell.
    sharing: bool,
    sweeping: bool,
    ping_active: bool,
    last_reload: Option<Instant>,
    room: Vec<u16>,
    counters: Counters,
}

impl Dispatcher {
    /// Takes the settings' destinations into use.
    pub fn new(settings: Settings) -> Dispatcher {
        let sets = Rc::new(Sets::new(settings.destinations.clone()));
        let mut lives = Lives::default();
        lives.renew(&sets);
        Dispatcher {
            calls: Calls::new(settings.load.calls_max),
            settings,
            listed: Vec::new(),
            sets,
            lives,
            sharing: false,
            sweeping: false,
            ping_active: true,
            last_reload: None,
            room: Vec::new(),
            counters: Counters::default(),
        }
    }

    /// Takes everything that is configured and listed into use. Of two with the same id the later
    /// counts: what was read beats what is configured.
    fn take_all(&mut self, host: &mut impl Host<Self>) {
        let all = [self.settings.destinations.as_slice(), &self.listed].concat();
        self.replace(host, all);
    }

    /// Replaces all destinations; those that stay keep their state, their calls and their probes.
    fn replace(&mut self, host: &mut impl Host<Self>, destinations: Vec<Destination>) {
        let sets = Rc::new(Sets::new(destinations));
        for gone in self.lives.renew(&sets) {
            if let Some(timer) = gone.probe.timer {
                host.cancel(timer);
            }
        }
        self.sets = sets;
        self.counters.reloads += 1;
        self.schedule(host);
    }

    /// Hands a mark to the owner of a destination, which may be this shard.
    fn mark(&mut self, host: &mut impl Host<Self>, id: DestinationId, mark: Mark) {
        let owner = Dispatcher::owner(host.map(), id);
        if owner != host.shard() {
            return host.tell(owner, Peer::Mark(id, mark));
        }
        let thresholds = self.settings.ping.thresholds;
        let Some(live) = self.lives.get_mut(id) else { return };
        let before = live.health.state();
        let event = live.health.mark(mark, thresholds);
        let changed = live.health.state() != before;
        self.report(host, id, event);
        if changed {
            self.share_state(host, id);
        }
    }

    /// Counts and tells what happened to a destination that this shard owns.
    fn report(&mut self, host: &mut impl Host<Self>, id: DestinationId, event: Option<Event>) {
        let Some(event) = event else { return };
        match event {
            Event::Down => self.counters.downs += 1,
            Event::Up => self.counters.ups += 1,
        }
        if let Some(member) = self.member(id).filter(|_| host.is_heard()) {
            let (set, uri) = (member.destination.set, member.destination.uri.clone());
            host.publish(Changed { set, uri, event });
        }
    }

    fn member(&self, id: DestinationId) -> Option<&Member> {
        self.sets.at_place(self.lives.place(id)?)
    }

    /// Tells the other shards how a destination of this shard is.
    fn share_state(&mut self, host: &mut impl Host<Self>, id: DestinationId) {
        self.lives.states_changed();
        let Some(live) = self.lives.get(id) else { return };
        let (state, latency) = (live.health.state(), live.latency);
        for shard in others(host) {
            host.tell(shard, Peer::State(id, state, Box::new(latency)));
        }
    }

    /// Arms the timer that tells the others of calls.
    fn loads_changed(&mut self, host: &mut impl Host<Self>) {
        if !self.sharing && host.map().count() > 1 {
            self.sharing = true;
            host.arm(host.now() + SHARE_LOADS_EVERY, Timer::ShareLoads);
        }
        if !self.sweeping && self.calls.len() > 0 {
            self.sweeping = true;
            host.arm(host.now() + self.settings.load.check_interval, Timer::Sweep);
        }
    }

    fn share_loads(&mut self, host: &mut impl Host<Self>) {
        self.sharing = false;
        let changed = self.lives.list.iter_mut().filter_map(|live| {
            let calls = live.take_changed_load()?;
            Some((live.id, calls))
        });
        let changed: Vec<(DestinationId, u32)> = changed.collect();
        for shard in others(host) {
            host.tell(shard, Peer::Loads(changed.clone()));
        }
    }

    fn sweep(&mut self, host: &mut impl Host<Self>) {
        self.sweeping = false;
        for destination in self.calls.expired(host.now()) {
            self.remove_call(destination);
        }
        self.loads_changed(host);
    }

    fn remove_call(&mut self, destination: DestinationId) {
        if let Some(live) = self.lives.get_mut(destination) {
            live.remove_call();
        }
    }

    /// Counts a call at a destination, and no longer at the one before.
    fn give_call(&mut self, host: &mut impl Host<Self>, key: CallKey, id: DestinationId) {
        let until = host.now() + self.settings.load.initial_expire;
        match self.calls.give(key, id, until) {
            Ok(before) => {
                if let Some(before) = before {
                    self.remove_call(before);
                }
                if let Some(live) = self.lives.get_mut(id) {
                    live.add_call();
                }
                self.loads_changed(host);
            }
            Err(load::Full) => self.counters.calls_uncounted += 1,
        }
    }

    /// A call is over.
    fn end_call(&mut self, host: &mut impl Host<Self>, key: CallKey) {
        if let Some(destination) = self.calls.end(key) {
            self.remove_call(destination);
            self.loads_changed(host);
        }
    }

    /// `ds_load_update`, by the responses that pass: a call is answered, refused or over.
    fn follow_call(&mut self, host: &mut impl Host<Self>, response: &Departing<'_>) {
        let Some(message) = response.request.map(|request| request.message()) else { return };
        let Ok(call_id) = message.call_id() else { return };
        let method = message.method().map(|method| method.kind());
        let code = response.status.code();
        match method {
            Some(MethodKind::Invite) if message.to_tag().is_none() => {
                let key = self.calls.key(call_id);
                if response.status.is_success() {
                    self.calls.confirm(key, host.now() + self.settings.load.expire);
                } else if !self.calls.is_confirmed(key) {
                    self.end_call(host, key);
                }
            }
            // A challenged BYE comes again; any other is the end (RFC 3261 §15.1.1).
            Some(MethodKind::Bye) if code != 401 && code != 407 => {
                let key = self.calls.key(call_id);
                self.end_call(host, key);
            }
            Some(_) | None => {}
        }
    }
}

fn others<H: Host<Dispatcher>>(host: &H) -> impl Iterator<Item = ShardId> + use<H> {
    let own = host.shard();
    (0..host.map().count()).map(ShardId).filter(move |shard| *shard != own)
}

impl Configured for Dispatcher {
    fn configured(section: &mut Section<'_>, _: &NodeFacts<'_>) -> Dispatcher {
        Dispatcher::new(Settings::from_section(section))
    }
    fn lists(section: &mut Section<'_>) -> Vec<List> {
        row::lists(section)
    }
}

impl Module for Dispatcher {
    const NAME: &'static str = "dispatcher";
    const METRICS: &'static [MetricNote] = notes::METRICS;
    const COMMANDS: &'static [CommandNote] = notes::COMMANDS;
    const LIVE: &'static [&'static str] = &["destination", "list"];
    type Attached = Attached;
    type Peer = Peer;
    type Timer = Timer;
    type Token = Token;
    type Row = Row;

    fn start(&mut self, host: &mut impl Host<Self>) {
        let keys = host.entropy().keys();
        self.calls.start(keys);
        self.schedule(host);
    }

    fn response(&mut self, host: &mut impl Host<Self>, response: &Departing<'_>, _: &mut Edits) {
        let code = response.status.code();
        if (101..200).contains(&code) {
            if let Some(attached) = host.attached(response.transaction) {
                attached.rang = true;
            }
        } else if response.status.is_final() && self.calls.len() > 0 {
            self.follow_call(host, response);
        }
    }

    fn transaction_end(&mut self, host: &mut impl Host<Self>, attached: Attached) {
        // The caller never heard a final response, so `follow_call` did not end it.
        if let Some(key) = attached.call.filter(|key| !self.calls.is_confirmed(*key)) {
            self.end_call(host, key);
        }
    }

    fn timer(&mut self, host: &mut impl Host<Self>, timer: Timer) {
        match timer {
            Timer::Probe(id) => self.probe_due(host, id),
            Timer::ShareLoads => self.share_loads(host),
            Timer::Sweep => self.sweep(host),
        }
    }

    fn peer(&mut self, host: &mut impl Host<Self>, from: ShardId, message: Peer) {
        match message {
            Peer::Mark(id, mark) => self.mark(host, id, mark),
            Peer::State(id, state, latency) => {
                if let Some(live) = self.lives.get_mut(id) {
                    live.health.copy(state);
                    live.latency = *latency;
                }
                self.lives.states_changed();
            }
            Peer::Loads(loads) => {
                for (id, calls) in loads {
                    if let Some(live) = self.lives.get_mut(id) {
                        live.set_load_of(from, calls);
                    }
                }
            }
            Peer::OverloadRate(id, rate) => {
                if let Some(live) = self.lives.get_mut(id) {
                    live.overload_rate = rate;
                }
            }
        }
    }

    fn answered(&mut self, host: &mut impl Host<Self>, token: Token, answer: Heard<'_>) {
        self.probe_answered(host, token, answer);
    }

    fn row(&mut self, host: &mut impl Host<Self>, row: Row) {
        match row {
            Row::Destinations(list) => {
                self.listed = list;
                self.take_all(host);
            }
            Row::Wanted => {}
        }
    }

    fn renew(&mut self, host: &mut impl Host<Self>, fresh: Dispatcher) {
        if self.settings.destinations != fresh.settings.destinations {
            self.settings.destinations = fresh.settings.destinations;
            self.take_all(host);
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
        each("dispatcher_selected", self.counters.selected);
        each("dispatcher_empty", self.counters.empty);
        each("dispatcher_failovers", self.counters.failovers);
        each("dispatcher_downs", self.counters.downs);
        each("dispatcher_ups", self.counters.ups);
        each("dispatcher_probes_sent", self.counters.probes_sent);
        each("dispatcher_probes_answered", self.counters.probes_answered);
        each("dispatcher_probes_failed", self.counters.probes_failed);
        each("dispatcher_probes_unresolved", self.counters.probes_unresolved);
        each("dispatcher_calls_uncounted", self.counters.calls_uncounted);
        each("dispatcher_reloads", self.counters.reloads);
    }
}

#[cfg(test)]
mod acceptance;
#[cfg(test)]
mod tests;
