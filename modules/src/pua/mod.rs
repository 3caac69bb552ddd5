//! Presence user agent: publishes states of resources and follows others' (Kamailio's `pua`).
//!
//! For: modules and routings that only say "this resource has this state, for so long" or "follow
//! that resource"; entity tags, dialogs, refreshes, recovery, storage and order are kept here.
//! Not here: the documents (`bodies/`), who says what (`pua_reginfo`, `pua_usrloc`,
//! `pua_dialoginfo`).
//! Invariants: a record lives on the shard that its name is at home at, and nowhere else; it has
//! one request under way at most, and of states that wait only the newest is kept.

mod answer;
mod api;
pub mod bodies;
mod call;
mod command;
mod drive;
mod notes;
mod notify;
mod package;
mod publish;
mod record;
mod request;
mod row;
mod send;
mod series;
mod settings;
mod source;
mod store;
mod subscribe;
mod table;
#[cfg(test)]
mod tests;
mod write;

pub use api::{
    Answered, Dialog, Ended, Kind, Known, Mode, Notified, Publication, Refused, Report,
    SendPublish, SendSubscribe, Standing, Subscription, Taken, Wanted,
};
pub use notify::Notify;
pub use package::{
    BodyFault, Document, EventId, NotAdded, PACKAGES_MAX, Package, Packages, Process, Processed,
};
pub use record::{RecordId, RecordMark};
pub use request::{PuaOf, PuaRequest};
pub use row::{PUA, PuaRow, Row};
pub use settings::{DbMode, Settings};
pub use source::Source;
pub use store::{ReadingId, SleeperId};

use command::Tickets;
use notify::{Asker, Lingering};
use std::rc::Rc;
use strowger_sip::engine::slots::ServerId;
use strowger_sip::module::{
    Arrived, Command, CommandNote, Configured, Ears, Event, Fault, Heard, Host, MetricNote, Module,
    NodeFacts, Verdict,
};
use strowger_sip::routing::Reply;
use strowger_sip::settings::Section;
use strowger_sip::shard::ShardId;
use strowger_sip::table::Map;
use table::Table;

/// The module: one instance a shard.
#[derive(Debug)]
pub struct Pua {
    settings: Rc<Settings>,
    packages: Packages,
    table: Table,
    store: store::Store,
    /// Call-IDs of dialogs from before a restart that are at home here, and who owns them.
    elsewhere: Map<Box<str>, ShardId>,
    lingering: Lingering,
    unanswered: Vec<(Asker, Rc<Notified>)>,
    tickets: Tickets,
    in_flight: usize,
    counters: Counters,
}

/// Counters of one shard.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counters {
    /// PUBLISH requests sent.
    pub publishes_sent: u64,
    /// 2xx to them.
    pub publishes_ok: u64,
    /// 412 to them.
    pub publishes_412: u64,
    /// SUBSCRIBE requests sent.
    pub subscribes_sent: u64,
    /// 2xx to them.
    pub subscribes_ok: u64,
    /// Requests of both kinds that were refused for good.
    pub failed: u64,
    /// Requests that had no answer in time.
    pub timeouts: u64,
    /// Requests for which no address was found.
    pub unreachable: u64,
    /// 2xx that lack what they must say.
    pub unusable: u64,
    /// NOTIFY requests of our subscriptions.
    pub notifies: u64,
    /// Subscriptions that their notifier ended.
    pub terminated: u64,
    /// Refreshes that were sent late.
    pub refreshes_late: u64,
    /// Calls refused here.
    pub refused: u64,
    /// Rows that could not be used.
    pub rows_refused: u64,
}

/// What shards tell each other.
#[derive(Clone, Debug)]
pub enum Peer {
    /// To the owner: publish this.
    Publish(Box<Publication>),
    /// To the owner: subscribe to this.
    Subscribe(Box<Subscription>),
    /// To the caller: how it ended.
    Report(Box<Report>),
    /// To the owner: a NOTIFY came here, in this transaction.
    Notify(Box<Notify>, ServerId),
    /// From the owner: its answer.
    Reply(ServerId, Box<Reply>),
    /// To itself: all listeners have heard of the NOTIFYs at hand.
    Close,
}

/// The module's timers.
#[derive(Clone, Copy, Debug)]
pub enum Timer {
    /// A record has something to do.
    Record(RecordId),
    /// One that only storage keeps has.
    Sleeper(SleeperId),
    /// Storage did not answer in time.
    Reading(ReadingId),
    /// Changes are written.
    Flush,
}

/// Names a request of ours.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Token {
    id: RecordId,
    number: u32,
}

impl Pua {
    /// A module with these settings and packages; it stores when `has_storage`.
    pub fn new(settings: Settings, packages: Packages, has_storage: bool) -> Pua {
        Pua {
            table: Table::new(settings.records_max, (0, 0)),
            store: store::Store::new(has_storage),
            settings: Rc::new(settings),
            packages,
            elsewhere: Map::new((0, 0)),
            lingering: Lingering::default(),
            unanswered: Vec::new(),
            tickets: Tickets::default(),
            in_flight: 0,
            counters: Counters::default(),
        }
    }

    /// Its settings.
    pub fn settings(&self) -> &Settings {
        &self.settings
    }

    /// Its counters.
    pub fn counters(&self) -> Counters {
        self.counters
    }

    /// How many publications and subscriptions this shard keeps in memory.
    pub fn len(&self) -> usize {
        self.table.len()
    }

    /// Whether it keeps none.
    pub fn is_empty(&self) -> bool {
        self.table.len() == 0
    }

    /// Adds an event package (`add_event`): before the node starts, on every shard.
    ///
    /// # Errors
    /// When it cannot be added.
    pub fn add_event(&mut self, package: Package) -> Result<(), NotAdded> {
        self.packages.add(package)
    }

    /// Whether a dialog of a subscription is there (`is_dialog`), by Call-ID, own tag and, once
    /// that is known, the peer's.
    pub fn is_dialog(&self, call_id: &[u8], own_tag: &[u8], peer_tag: &[u8]) -> Known {
        let record = self.table.called(call_id).and_then(|id| self.table.get(id));
        let Some(leg) = record.and_then(|record| record.leg()) else { return Known::Unknown };
        if leg.own_tag.as_bytes() != own_tag {
            return Known::Unknown;
        }
        match leg.is_established() {
            true if leg.peer_tag.as_bytes() == peer_tag => Known::Established,
            true => Known::Unknown,
            false => Known::Temporary,
        }
    }

    fn tell_report(&mut self, host: &mut impl Host<Pua>, report: Report) {
        if report.source == Source::RpcPublish {
            return self.tickets.settle(report);
        }
        if host.is_heard() {
            host.publish(report);
        }
    }
}

impl Module for Pua {
    const NAME: &'static str = "pua";
    const METRICS: &'static [MetricNote] = notes::METRICS;
    const COMMANDS: &'static [CommandNote] = notes::COMMANDS;
    const LISTENS: bool = true;
    type Attached = ();
    type Peer = Peer;
    type Timer = Timer;
    type Token = Token;
    type Row = Row;

    fn start(&mut self, host: &mut impl Host<Self>) {
        let keys = host.entropy().keys();
        self.table = Table::new(self.settings.records_max, keys);
        self.elsewhere = Map::new(keys);
        self.start_store(host);
    }

    fn stop(&mut self, host: &mut impl Host<Self>) {
        self.write_all(host);
    }

    fn request(&mut self, host: &mut impl Host<Self>, request: &Arrived<'_>) -> Verdict {
        self.meet(host, request)
    }

    fn timer(&mut self, host: &mut impl Host<Self>, timer: Timer) {
        match timer {
            Timer::Record(id) => self.due(host, id),
            Timer::Sleeper(id) => self.wake_sleeper(host, id),
            Timer::Reading(id) => self.reading_failed(host, id),
            Timer::Flush => self.flush(host),
        }
    }

    fn peer(&mut self, host: &mut impl Host<Self>, from: ShardId, message: Peer) {
        match message {
            Peer::Publish(publication) => self.take_publication(host, from, *publication),
            Peer::Subscribe(subscription) => self.take_subscription(host, from, *subscription),
            Peer::Report(report) => self.tell_report(host, *report),
            Peer::Notify(notify, transaction) => {
                self.notified_elsewhere(host, Asker { shard: from, transaction }, *notify);
            }
            Peer::Reply(transaction, reply) => host.reply(transaction, *reply),
            Peer::Close => self.close(host),
        }
    }

    fn answered(&mut self, host: &mut impl Host<Self>, token: Token, answer: Heard<'_>) {
        self.hear(host, token, answer);
    }

    fn row(&mut self, host: &mut impl Host<Self>, row: Row) {
        self.on_row(host, row);
    }

    fn hears(&self, ears: &mut Ears) {
        ears.hear::<SendPublish>();
        ears.hear::<SendSubscribe>();
    }

    fn event(&mut self, host: &mut impl Host<Self>, event: &Event) {
        let own = host.shard();
        if let Some(SendPublish(publication)) = event.of() {
            self.take_publication(host, own, publication.clone());
        } else if let Some(SendSubscribe(subscription)) = event.of() {
            self.take_subscription(host, own, subscription.clone());
        }
    }

    fn command(
        &mut self,
        host: &mut impl Host<Self>,
        command: &Command,
    ) -> Option<Result<String, Fault>> {
        self.answer_command(host, command)
    }

    fn metrics(&self, each: &mut dyn FnMut(&'static str, u64)) {
        let (publications, subscriptions, active) = self.census();
        each("pua_publications", publications);
        each("pua_subscriptions", subscriptions);
        each("pua_subs_active", active);
        each("pua_in_flight", self.in_flight as u64);
        each("pua_publishes_sent", self.counters.publishes_sent);
        each("pua_publishes_ok", self.counters.publishes_ok);
        each("pua_publishes_412", self.counters.publishes_412);
        each("pua_subscribes_sent", self.counters.subscribes_sent);
        each("pua_subscribes_ok", self.counters.subscribes_ok);
        each("pua_failed", self.counters.failed);
        each("pua_timeouts", self.counters.timeouts);
        each("pua_unreachable", self.counters.unreachable);
        each("pua_unusable", self.counters.unusable);
        each("pua_notifies", self.counters.notifies);
        each("pua_terminated", self.counters.terminated);
        each("pua_refresh_late", self.counters.refreshes_late);
        each("pua_refused", self.counters.refused);
        each("pua_rows_refused", self.counters.rows_refused);
    }

    fn live(&self) -> usize {
        // What waits for an answer; records go on without traffic.
        self.in_flight
    }
}

impl Pua {
    /// Publications, subscriptions, and how many of these are established.
    fn census(&self) -> (u64, u64, u64) {
        let mut counts = (self.sleepers(), 0, 0);
        for (_, record) in self.table.iter() {
            match record.kind() {
                Kind::Publication => counts.0 += 1,
                Kind::Subscription => counts.1 += 1,
            }
            counts.2 += u64::from(record.leg().is_some_and(record::Leg::is_established));
        }
        counts
    }
}

impl Configured for Pua {
    fn configured(section: &mut Section<'_>, node: &NodeFacts<'_>) -> Pua {
        let settings = Settings::from_config(section);
        if settings.db_mode == DbMode::Database && !node.has_storage {
            section.problem("db_mode", "there is no storage", "0, or [storage] url");
        }
        Pua::new(settings, Packages::standard(), node.has_storage)
    }
}
