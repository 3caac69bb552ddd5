//! The node of a test: one shard or several, driven as the edge drives them.
//!
//! For: bringing messages to their home shard, letters between shards to each other, rows to the
//! database in memory and back, questions about names to the answers that the test has.
//! Not here: who the messages are for (the rig's flows).
//! Invariants: what shards tell each other arrives at once and in order; what is due first fires
//! first, and of two shards at one moment the one with the lower number.

use super::store::{Storage, Store};
use crate::start::seated;
use std::cell::Cell;
use std::collections::BTreeMap;
use strowger_node::node::Seat;
use strowger_node::storage::configured_tables;
use strowger_sip::actions::Origin;
use strowger_sip::engine::{Census, Engine, Input, RowOf, Settings};
use strowger_sip::lists::{FileText, List, ListId, Listing};
use strowger_sip::message::scan_call_id;
use strowger_sip::module::{Command, ConfiguredModules, Fault};
use strowger_sip::resolver::{Place, Question, Resolution};
use strowger_sip::rig::flow::{Endpoint, Node};
use strowger_sip::rig::{Bench, Sent};
use strowger_sip::routing::Routing;
use strowger_sip::settings::{Configuration, Section};
use strowger_sip::shard::{ShardId, ShardMap};
use strowger_sip::storage::{self, Rows};
use strowger_sip::time::{Duration, Instant, secs};
use strowger_sip::transport::{Flow, Listeners};

/// When every test begins, as a date: 15 January 2027, 08:00 UTC.
const BEGIN: Duration = secs(1_800_000_000);
/// How long an answer of DNS holds.
const TTL: Duration = secs(300);
/// Memory reserved for transactions: a test has few, and there are many tests.
const RESERVED: usize = 16;
/// What shards may have to tell each other before a test calls it a loop. A guess, far above any
/// in use.
const LETTERS_MAX: usize = 100_000;

type FromConfig<R> = Box<dyn Fn(&mut Section<'_>) -> R>;

/// What the node is made from, also after a crash.
pub(super) struct Factory<R> {
    pub(super) configuration: Configuration,
    pub(super) from_config: FromConfig<R>,
    pub(super) settings: Settings,
    pub(super) listeners: Listeners,
    pub(super) shards: u16,
    pub(super) storage: Storage,
    pub(super) hosts: BTreeMap<String, Vec<Endpoint>>,
    pub(super) files: BTreeMap<String, String>,
}

/// The shards.
pub(super) struct Shards<R: Routing> {
    factory: Factory<R>,
    map: ShardMap,
    benches: Vec<Bench<R>>,
    now: Instant,
    lists: Vec<(storage::Place, List)>,
    store: Option<Store>,
    sent: Vec<Sent>,
    /// Who wants to know when a message did not arrive: its number is its place here.
    origins: Vec<(usize, Origin)>,
    /// Names that the test is to answer, and the shards that ask.
    questions: Vec<(Question, usize)>,
    /// Those of them that the flow has not been told of.
    untold: Cell<usize>,
}

impl<R> Factory<R>
where
    R: Routing,
    R::Modules: ConfiguredModules,
    RowOf<R>: Rows,
{
    /// The node at its start.
    pub(super) fn start(mut self) -> Shards<R> {
        self.settings.unix_start = BEGIN;
        self.settings.transactions_reserved = RESERVED.min(self.settings.transactions_max);
        let (lists, _) = self.configuration.read(R::Modules::lists);
        let map = ShardMap::new(self.shards, (1, 2));
        let mut shards = Shards {
            store: self.storage.open(),
            factory: self,
            map,
            benches: Vec::new(),
            now: Instant::START,
            lists,
            sent: Vec::new(),
            origins: Vec::new(),
            questions: Vec::new(),
            untold: Cell::new(0),
        };
        shards.restart();
        shards
    }

    fn engine(&self, shard: u16, map: ShardMap) -> Engine<R> {
        let seat = Seat {
            shard: ShardId(shard),
            map,
            listeners: self.listeners.clone(),
            seed: (3, u64::from(shard) + 4),
        };
        let has_storage = matches!(self.storage, Storage::Memory);
        let lasting = (Some(&b"a secret that lasts"[..]), has_storage);
        seated(&self.configuration, seat, self.settings.clone(), lasting, &self.from_config)
    }
}

impl<R> Shards<R>
where
    R: Routing,
    R::Modules: ConfiguredModules,
    RowOf<R>: Rows,
{
    /// Empty shards in place of those that are: they get what storage has and what files say.
    pub(super) fn restart(&mut self) {
        let Shards { factory, map, now, .. } = self;
        let engines = (0..map.count()).map(|shard| factory.engine(shard, *map));
        let listeners = &factory.listeners;
        self.benches = engines.map(|engine| Bench::of(engine, listeners.clone(), *now)).collect();
        self.questions.clear();
        self.untold.set(0);
        self.each(|bench, now| bench.advance_to(now));
        let all: Vec<ListId> = self.lists.iter().map(|(place, list)| id(*place, list)).collect();
        all.into_iter().for_each(|list| self.hand_out(list));
        let (tables, _) = self.factory.configuration.read(configured_tables::<RowOf<R>>);
        for (place, table) in tables.into_iter().filter(|(_, table)| table.loaded_at_start) {
            let notes = self.store.as_ref().map_or_else(Vec::new, |store| store.load(table));
            for note in notes {
                match RowOf::<R>::from_note(place, note) {
                    Ok(Some(row)) => self.each(|bench, _| bench.input(Input::Row(row.clone()))),
                    Ok(None) => {}
                    Err(fault) => panic!("a row that was stored cannot be read: {fault}"),
                }
            }
        }
    }

    /// Reads a list anew and gives it to every shard.
    fn hand_out(&mut self, wanted: ListId) {
        let found = self.lists.iter().find(|(place, list)| id(*place, list) == wanted);
        let Some((place, list)) = found else { return };
        if list.files.is_empty() {
            return;
        }
        let texts = list.files.iter().map(|file| {
            let path = &file.path.value;
            let text = self.factory.files.get(path).unwrap_or_else(|| {
                panic!("{} names {path}: say what it holds by `file`", file.key)
            });
            FileText { role: file.role.clone(), name: path.clone(), text: text.clone() }
        });
        let listing = Listing { number: list.number, files: texts.collect(), records: Vec::new() };
        match RowOf::<R>::from_list(*place, &listing) {
            Ok(Some(row)) => self.each(|bench, _| bench.input(Input::Row(row.clone()))),
            Ok(None) => {}
            Err(faults) => {
                let lines: Vec<String> = faults.iter().map(ToString::to_string).collect();
                panic!("a list is wrong:\n{}", lines.join("\n"));
            }
        }
    }
}

fn id(place: storage::Place, list: &List) -> ListId {
    ListId { place, number: list.number }
}

impl<R> Shards<R>
where
    R: Routing,
    R::Modules: ConfiguredModules,
    RowOf<R>: Rows,
{
    /// The database.
    pub(super) fn store(&self) -> Option<&Store> {
        self.store.as_ref()
    }

    /// Every shard ends in order.
    pub(super) fn stop(&mut self) {
        self.each(|bench, _| bench.input(Input::Stop));
    }

    /// Asks every shard.
    pub(super) fn command(&mut self, command: &Command) -> Vec<Result<String, Fault>> {
        let mut answers = Vec::new();
        self.each(|bench, _| answers.extend(bench.command(command)));
        answers
    }

    /// The names of all counters.
    pub(super) fn metrics(&self) -> Vec<&'static str> {
        let mut names = Vec::new();
        if let Some(bench) = self.benches.first() {
            bench.engine().each_metric(&mut |name, _| names.push(name));
        }
        names
    }

    fn each(&mut self, mut work: impl FnMut(&mut Bench<R>, Instant)) {
        for shard in 0..self.benches.len() {
            self.at(shard, &mut work);
        }
    }

    /// Lets something happen to one shard at this moment, and carries out what follows.
    fn at(&mut self, shard: usize, work: impl FnOnce(&mut Bench<R>, Instant)) {
        let now = self.now;
        if let Some(bench) = self.benches.get_mut(shard) {
            bench.advance_to(now);
            work(bench, now);
        }
        self.carry_out();
    }

    /// Brings letters and rows to where they belong, until there are none.
    fn carry_out(&mut self) {
        for _ in 0..LETTERS_MAX {
            if !(0..self.benches.len()).any(|shard| self.carry_out_of(shard)) {
                return;
            }
        }
        panic!("the shards go on telling each other something at {:?}", self.now);
    }

    /// Whether a shard had anything to be carried out.
    fn carry_out_of(&mut self, shard: usize) -> bool {
        let now = self.now;
        let Some(bench) = self.benches.get_mut(shard) else { return false };
        for mut sent in bench.take_sent() {
            if sent.origin != Origin::Nobody {
                self.origins.push((shard, sent.origin));
                sent.origin = Origin::Client(self.origins.len() as u64 - 1);
            }
            self.sent.push(sent);
        }
        drop(bench.take_lifespans());
        let (letters, rows) = (bench.take_peers(), bench.take_rows());
        let questions = bench.take_questions();
        let busy = !letters.is_empty() || !rows.is_empty() || !questions.is_empty();
        let from = ShardId(u16::try_from(shard).unwrap_or(u16::MAX));
        for (to, message) in letters {
            if let Some(bench) = self.benches.get_mut(usize::from(to.0)) {
                bench.advance_to(now);
                bench.input(Input::Peer { from, message });
            }
        }
        for row in rows {
            self.keep(shard, row);
        }
        for question in questions {
            self.ask(shard, question);
        }
        busy
    }

    /// A row goes to storage, and its answer comes back.
    fn keep(&mut self, shard: usize, row: RowOf<R>) {
        if let Some(list) = row.wants() {
            return self.hand_out(list);
        }
        let Some((place, order)) = row.into_order() else { return };
        let Some(store) = &mut self.store else { return };
        let Some(note) = store.carry_out(order) else { return };
        match RowOf::<R>::from_note(place, note) {
            Ok(Some(row)) => self.benches[shard].input(Input::Row(row)),
            Ok(None) => {}
            Err(fault) => panic!("a row that was found cannot be read: {fault}"),
        }
    }

    fn ask(&mut self, shard: usize, question: Question) {
        match self.factory.hosts.get(&question.host) {
            Some(places) => {
                let places = (0..).zip(places).map(|(priority, place)| Place {
                    transport: place.transport,
                    address: place.address,
                    priority,
                    weight: 0,
                });
                let resolution = Resolution::Found(places.collect(), TTL);
                self.benches[shard].input(Input::Resolved(question, resolution));
            }
            None => self.questions.push((question, shard)),
        }
    }

    fn next_deadline(&self) -> Option<(Instant, usize)> {
        let due = |(shard, bench): (usize, &Bench<R>)| {
            bench.engine().next_deadline().map(|due| (due.max(bench.now()), shard))
        };
        self.benches.iter().enumerate().filter_map(due).min()
    }
}

impl<R> Node for Shards<R>
where
    R: Routing,
    R::Modules: ConfiguredModules,
    RowOf<R>: Rows,
{
    fn now(&self) -> Instant {
        self.now
    }

    fn receive(&mut self, flow: Flow, bytes: &[u8]) {
        // A message without a Call-ID stays where it came in.
        let home = scan_call_id(bytes).map_or(ShardId(0), |call_id| self.map.home(call_id));
        self.at(usize::from(home.0), |bench, _| bench.input(Input::Datagram { flow, bytes }));
    }

    fn step(&mut self, limit: Instant) -> bool {
        let Some((due, shard)) = self.next_deadline().filter(|(due, _)| *due <= limit) else {
            return false;
        };
        self.now = self.now.max(due);
        self.benches[shard].step(self.now);
        self.carry_out();
        true
    }

    fn advance_to(&mut self, moment: Instant) {
        while self.step(moment) {}
        self.now = self.now.max(moment);
        self.each(|_, _| {});
    }

    fn take_sent(&mut self) -> Vec<Sent> {
        std::mem::take(&mut self.sent)
    }

    fn unsent(&mut self, origin: Origin) {
        let Origin::Client(number) = origin else { return };
        let known = usize::try_from(number).ok().and_then(|place| self.origins.get(place));
        if let Some(&(shard, origin)) = known {
            self.at(shard, |bench, _| bench.input(Input::Unsent(origin)));
        }
    }

    fn take_questions(&mut self) -> Vec<Question> {
        let new = self.questions.iter().skip(self.untold.get());
        let new = new.map(|(question, _)| question.clone()).collect();
        self.untold.set(self.questions.len());
        new
    }

    fn resolve(&mut self, question: Question, resolution: Resolution) {
        let place = self.questions.iter().position(|(asked, _)| *asked == question);
        let Some(place) = place else { return };
        let (question, shard) = self.questions.remove(place);
        self.untold.set(self.untold.get().saturating_sub(1));
        self.at(shard, |bench, _| bench.input(Input::Resolved(question, resolution)));
    }

    fn drain(&mut self) {
        self.each(|bench, _| bench.input(Input::Drain));
    }

    fn waited(&mut self, delay: Duration) {
        self.each(|bench, _| bench.input(Input::Waited(delay)));
    }

    fn census(&self) -> Census {
        let mut sum = Census::default();
        for Census {
            server_transactions,
            client_transactions,
            contexts,
            waiting_routings,
            timers,
            module_objects,
        } in self.benches.iter().map(Bench::census)
        {
            sum.server_transactions += server_transactions;
            sum.client_transactions += client_transactions;
            sum.contexts += contexts;
            sum.waiting_routings += waiting_routings;
            sum.timers += timers;
            sum.module_objects += module_objects;
        }
        sum
    }

    fn metric(&self, name: &str) -> Option<u64> {
        let each = self.benches.iter().map(|bench| bench.metric(name));
        each.collect::<Option<Vec<u64>>>().map(|values| values.iter().sum())
    }
}
