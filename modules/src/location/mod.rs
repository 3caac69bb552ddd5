//! The location: which contacts an address-of-record has (Kamailio's `usrloc`).
//!
//! For: the table of a shard's addresses, reached from every shard by one message; expiry, events,
//! keep-alives, storage, commands.
//! Not here: reading REGISTER and writing its 200 (`registrar/`).
//! Invariants: an address is kept by the shard that its key's hash names, and nowhere else; what a
//! routing asks is answered once, or times out.

mod aor;
mod apply;
mod attributes;
mod change;
mod contact;
mod event;
mod import;
mod jobs;
mod keepalive;
mod methods;
mod notes;
mod peer;
mod resync;
mod row;
mod rpc;
mod settings;
mod streams;
mod table;
#[cfg(test)]
mod tests;

pub(crate) use aor::unescape;
pub use aor::{AOR_BYTES_MAX, Aor, AorFault, AorRules};
pub(crate) use apply::{listener_of, socket_text};
pub use attributes::{AttributeRow, Attributes, LOCATION_ATTRS};
pub use change::{CONTACTS_PER_AOR_MAX, Change, Ordering, Refusal, Wanted, Which, Wish};
pub use contact::{Contact, Facts, Origin, Source, Texts};
pub use event::{Asked, ContactEvent, ContactEventKind, Replied, TableFacts};
pub use methods::Methods;
pub use peer::{Answer, Done, Operation, Peer};
pub use row::{LOCATION, LocationRow, Row};
pub use settings::{DbMode, KeepAlive, Matching, Settings};
pub(crate) use settings::{flag, number};
pub use table::{RecordId, RecordMark};

use crate::ask::{self, AskId, Asks};
use jobs::{Asker, Job, JobId, JobMark};
use keepalive::Sweep;
use resync::Resync;
use std::collections::BTreeSet;
use std::rc::Rc;
use streams::Streams;
use strowger_sip::date::{Epoch, UnixTime};
use strowger_sip::engine::slots::ContextId;
use strowger_sip::module::{
    Command, CommandNote, Configured, Ears, Event, Fault, Has, Heard, Host, MetricNote, Module,
    NodeFacts,
};
use strowger_sip::routing::{ListOf, Request, Routing};
use strowger_sip::settings::Section;
use strowger_sip::shard::ShardId;
use strowger_sip::storage::Version;
use strowger_sip::time::{Duration, secs};
use strowger_sip::transaction::Slab;
use strowger_sip::transport::ConnectionId;
use table::Table;

/// How long a routing waits for an address's owner and its storage. A guess: longer than a slow
/// commit, shorter than timer F.
const PATIENCE: Duration = secs(5);

/// Most operations of one shard that wait for storage. A guess: what a database of ten thousand
/// commits a second leaves behind in the time of `jobs::STORAGE_PATIENCE`.
const JOBS_MAX: usize = 32_768;

/// Counters of one shard's location.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counters {
    /// Contacts that expired.
    pub expired: u64,
    /// Contacts that were removed because they did not answer keep-alives.
    pub silent: u64,
    /// Contacts that were removed because their connection was lost.
    pub lost: u64,
    /// Keep-alives sent.
    pub pings: u64,
    /// Rows from storage that could not be used or were not wanted.
    pub rows_refused: u64,
    /// Changes undone because storage refused them.
    pub undone: u64,
    /// Operations refused because too many waited.
    pub overload: u64,
}

/// The location's instance on one shard.
#[derive(Debug)]
pub struct Location {
    settings: Rc<Settings>,
    /// How this node is called in ruids.
    node: Box<str>,
    epoch: Epoch,
    /// Made at the first use, when there is entropy for its hash.
    table: Option<Table>,
    asks: Asks<Answer>,
    jobs: Slab<Job, JobMark>,
    /// The contacts of which storage has attributes, by their `ruid`.
    attributed: BTreeSet<Box<str>>,
    last_version: Version,
    last_ruid: u64,
    sweep: Option<Sweep>,
    /// Kept with `handle_lost_tcp` or `close_expired_tcp`.
    streams: Streams,
    /// Where a resynchronisation with storage has got to.
    resync: Option<Resync>,
    counters: Counters,
}

/// The location's timers.
#[derive(Clone, Copy, Debug)]
pub enum Timer {
    /// The first contact of an address ends.
    Expiry(RecordId),
    /// A question was not answered in time.
    Ask(AskId),
    /// Storage did not answer in time.
    Job(JobId),
    /// Rows that have ended are deleted.
    Clean,
    /// The next few keep-alives.
    Sweep,
    /// The next few rows of a resynchronisation; again, because storage refused them.
    Resync,
}

/// Names a keep-alive request.
#[derive(Clone, Copy, Debug)]
pub struct Ping {
    record: RecordId,
    version: Version,
}

/// An operation that was begun.
#[derive(Debug)]
pub enum Begun {
    /// And is done.
    Answered(Answer),
    /// And will be answered.
    Asked(AskId),
}

impl Location {
    /// An empty location. `node` names this node in ruids; `epoch` is the same on all shards.
    pub fn new(settings: Settings, node: &str, epoch: Epoch) -> Location {
        Location {
            settings: Rc::new(settings),
            node: node.into(),
            epoch,
            table: None,
            asks: Asks::default(),
            jobs: Slab::new(0, JOBS_MAX),
            attributed: BTreeSet::new(),
            last_version: Version::default(),
            last_ruid: 0,
            sweep: None,
            streams: Streams::default(),
            resync: None,
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

    /// How many addresses and contacts this shard keeps.
    pub fn size(&self) -> (usize, usize) {
        self.table.as_ref().map_or((0, 0), |table| (table.addresses(), table.contacts()))
    }

    /// The date of this moment.
    pub fn today(&self, host: &impl Host<Location>) -> UnixTime {
        self.epoch.date(host.now())
    }

    /// The contacts of an address of this shard, in the order of registration, expired ones too.
    pub fn contacts_here(&self, aor: &Aor) -> &[Contact] {
        self.table.as_ref().map_or(&[], |table| table.contacts_of(aor))
    }

    /// Begins an operation for a routing, here or on the shard that owns the address.
    pub fn begin(
        &mut self,
        host: &mut impl Host<Location>,
        context: ContextId,
        operation: Operation,
    ) -> Begun {
        let home = operation.aor().home(host.map());
        if home != host.shard() {
            let Some(ask) = self.ask(host, context) else { return self.overloaded() };
            host.tell(home, Peer::Ask { ask, operation: Box::new(operation) });
            return Begun::Asked(ask);
        }
        match self.perform(host, operation) {
            Ok(answer) => Begun::Answered(answer),
            Err(job) => {
                let Some(ask) = self.ask(host, context) else { return self.overloaded() };
                self.answer_to(job, Asker::Routing { shard: home, ask });
                Begun::Asked(ask)
            }
        }
    }

    fn ask(&mut self, host: &mut impl Host<Location>, context: ContextId) -> Option<AskId> {
        self.asks.open(host, context, PATIENCE, Timer::Ask)
    }

    fn overloaded(&mut self) -> Begun {
        self.counters.overload += 1;
        Begun::Answered(Answer::Refused(Refusal::Unavailable))
    }

    /// The table, made at its first use.
    fn table(&mut self, host: &mut impl Host<Location>) -> &mut Table {
        let most = self.settings.contacts_max;
        self.table.get_or_insert_with(|| Table::new(most, host.entropy().keys()))
    }

    /// A version greater than every one before, also before a restart.
    fn next_version(&mut self, host: &impl Host<Location>) -> Version {
        let clock = Version(self.epoch.micros(host.now()));
        self.last_version = clock.max(Version(self.last_version.0 + 1));
        self.last_version
    }

    /// A name for a new contact. It counts from the clock, so that a restart repeats none.
    fn next_ruid(&mut self, host: &impl Host<Location>) -> String {
        self.last_ruid = self.epoch.micros(host.now()).max(self.last_ruid + 1);
        format!("{}-{}-{:x}", self.node, host.shard().0, self.last_ruid)
    }
}

impl Module for Location {
    const NAME: &'static str = "usrloc";
    const METRICS: &'static [MetricNote] = notes::METRICS;
    const COMMANDS: &'static [CommandNote] = notes::COMMANDS;
    const LISTENS: bool = true;
    type Attached = ();
    type Peer = Peer;
    type Timer = Timer;
    type Token = Ping;
    type Row = Row;

    fn start(&mut self, host: &mut impl Host<Self>) {
        self.start_cleaning(host);
        let (table, use_domain) = (self.settings.table.clone(), self.settings.use_domain);
        host.publish(TableFacts { table, use_domain });
    }

    fn hears(&self, ears: &mut Ears) {
        ears.hear::<Asked>();
    }

    fn event(&mut self, host: &mut impl Host<Self>, event: &Event) {
        if let Some(asked) = event.of::<Asked>() {
            self.asked(host, asked);
        }
    }

    fn timer(&mut self, host: &mut impl Host<Self>, timer: Timer) {
        match timer {
            Timer::Expiry(record) => self.expire(host, record),
            Timer::Ask(ask) => self.asks.expire(host, ask),
            Timer::Job(job) => self.give_up(host, job),
            Timer::Clean => self.clean(host),
            Timer::Sweep => self.sweep(host),
            Timer::Resync => self.say_next(host),
        }
    }

    fn peer(&mut self, host: &mut impl Host<Self>, from: ShardId, message: Peer) {
        match message {
            Peer::Ask { ask, operation } => match self.perform(host, *operation) {
                Ok(answer) => host.tell(from, Peer::Answer { ask, answer }),
                Err(job) => self.answer_to(job, Asker::Routing { shard: from, ask }),
            },
            Peer::Lost(connection) => self.lost(host, connection),
            Peer::Unused { connection, first } => self.unused(host, connection, first),
            Peer::Answer { ask, answer } => self.asks.answer(host, ask, answer),
        }
    }

    fn closed(&mut self, host: &mut impl Host<Self>, connection: ConnectionId) {
        self.tell_lost(host, connection);
    }

    fn answered(&mut self, host: &mut impl Host<Self>, token: Ping, answer: Heard<'_>) {
        self.pinged(host, token, answer);
    }

    fn row(&mut self, host: &mut impl Host<Self>, row: Row) {
        match row {
            Row::Loaded(row) => self.load(host, &row),
            Row::Found { ticket, rows, faulty } => {
                self.counters.rows_refused += faulty as u64;
                self.found(host, ticket, rows);
            }
            Row::LoadedAttribute(row) => self.load_attribute(host, &row),
            Row::FoundAttributes { ticket, rows, faulty } => {
                self.counters.rows_refused += faulty as u64;
                self.found_attributes(host, ticket, rows);
            }
            Row::Settled(ticket, outcome) => self.settled(host, ticket, outcome),
            Row::Resync => self.start_resync(host),
            // These go to storage, none comes from there.
            Row::Put { .. }
            | Row::PutAttributes { .. }
            | Row::Remove { .. }
            | Row::Find(..)
            | Row::FindAttributes(..)
            | Row::RemoveEnded(..) => {}
        }
    }

    fn command(
        &mut self,
        host: &mut impl Host<Self>,
        command: &Command,
    ) -> Option<Result<String, Fault>> {
        self.answer_command(host, command)
    }

    fn live(&self) -> usize {
        self.asks.len() + self.jobs.len()
    }

    fn metrics(&self, each: &mut dyn FnMut(&'static str, u64)) {
        let (addresses, contacts) = self.size();
        each("usrloc_registered_users", addresses as u64);
        each("usrloc_location_users", addresses as u64);
        each("usrloc_location_contacts", contacts as u64);
        each("usrloc_location_expires", self.counters.expired);
        each("usrloc_silent_contacts", self.counters.silent);
        each("usrloc_lost_contacts", self.counters.lost);
        each("usrloc_pings", self.counters.pings);
        each("usrloc_rows_refused", self.counters.rows_refused);
        each("usrloc_undone", self.counters.undone);
        each("usrloc_overload", self.counters.overload);
    }
}

impl Configured for Location {
    fn configured(section: &mut Section<'_>, node: &NodeFacts<'_>) -> Location {
        let settings = Settings::from_config(section);
        if settings.db_mode != DbMode::Memory && !node.has_storage {
            section.problem("db_mode", "there is no storage", "0, or [storage] url");
        }
        Location::new(settings, node.name, node.epoch)
    }
}

/// Operations on the location, for other modules' methods on requests.
pub trait Locating<N> {
    /// Carries out an operation where the address is at home, and waits for what it led to.
    fn locate(&self, operation: Operation) -> impl Future<Output = Answer>;
}

impl<R: Routing, N> Locating<N> for Request<'_, R>
where
    ListOf<R>: Has<Location, N>,
{
    async fn locate(&self, operation: Operation) -> Answer {
        let begun = self.module(|location: &mut Location, host, ids| {
            location.begin(host, ids.context, operation)
        });
        match begun {
            Begun::Answered(answer) => answer,
            Begun::Asked(ask) => {
                let answer = ask::answer(self, ask, |location: &mut Location| &mut location.asks);
                answer.await.unwrap_or(Answer::Refused(Refusal::Unavailable))
            }
        }
    }
}
