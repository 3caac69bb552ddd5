//! Storage on real databases: what was promised is kept, whatever becomes of them.
//!
//! For: SQLite, PostgreSQL and MariaDB behind the same thread; servers that freeze, crash and come
//! back under load; this process killed with SIGKILL.
//! Not here: the modules' own rows and SIP (`tests/register.rs`).

#[path = "storage/groups.rs"]
mod groups;

use std::collections::{BTreeMap, HashMap};
use std::process::Command;
use std::sync::{Arc, mpsc};
use std::time::{Duration, Instant};

use strowger_node::storage::admin::{self, Task};
use strowger_node::storage::{
    self, Count, Database, Loaded, Outlet, Ring, Storage, StorageSettings, StorageSummary,
};
use strowger_sip::date::UnixTime;
use strowger_sip::storage::{
    Action, Column, Datum, Haste, Kind, Note, Order, Outcome, Place, Record, RowFault, Rows, Table,
    Ticket, Version,
};
use strowger_tests::binary;
use strowger_tests::database::{self, Server};
use strowger_tests::folder::Folder;
use strowger_tests::process::{PATIENCE, Process, Signal};

/// When all rows end.
const EXPIRES: u64 = 1_900_000_000;
/// The ticket of rows that are said again.
const AGAIN: u64 = u64::MAX;
/// Tells a process that it is the one to be killed, and on which database.
const VICTIM: &str = "STROWGER_STORAGE_VICTIM";

static CONTACTS: Table = Table {
    name: "contacts",
    version: 9,
    columns: &[
        column("ruid", Kind::Text(64), false, ""),
        column("user", Kind::Text(64), false, ""),
        column("path", Kind::Text(512), true, ""),
        column("expires", Kind::Date, false, "2030-05-28 21:32:15"),
        column("q", Kind::Real, false, "1.0"),
        column("partition", Kind::Integer, false, "0"),
    ],
    key: &["ruid"],
    indexes: &[&["user", "partition"]],
    ends: Some("expires"),
    loaded_at_start: true,
};

const fn column(name: &'static str, kind: Kind, nullable: bool, default: &'static str) -> Column {
    Column { name, kind, nullable, default }
}

/// What a module would say and hear.
#[derive(Clone, Debug)]
enum Row {
    To(Order),
    From(Note),
}

impl Rows for Row {
    fn tables(first: Place, visit: &mut dyn FnMut(Place, &'static Table)) {
        [&CONTACTS, &groups::NOTES].into_iter().for_each(|table| visit(first, table));
    }

    fn into_order(self) -> Option<(Place, Order)> {
        let Row::To(order) = self else { return None };
        Some((0, order))
    }

    fn from_note(_: Place, note: Note) -> Result<Option<Row>, RowFault> {
        Ok(Some(Row::From(note)))
    }
}

fn contact(ruid: &str, size: i64) -> Record {
    vec![
        Datum::Text(ruid.to_owned()),
        Datum::Text("J\u{fc}rgen \u{1f4de} 'x\\'".to_owned()),
        if size % 2 == 0 { Datum::Null } else { Datum::Text("<sip:edge;lr>".to_owned()) },
        Datum::Date(UnixTime::from_secs(EXPIRES)),
        Datum::Real(0.25),
        Datum::Integer(size),
    ]
}

fn put(ruid: &str, version: u64) -> Order {
    let size = i64::try_from(version).expect("small");
    let (action, haste) = (Action::Put(contact(ruid, size)), Haste::Later);
    Order { table: &CONTACTS, action, version: Version(version), ticket: None, haste }
}

fn remove(ruid: &str, version: u64) -> Order {
    Order { action: Action::Remove(vec![Datum::Text(ruid.to_owned())]), ..put(ruid, version) }
}

fn remove_ended(seconds: u64) -> Order {
    let action = Action::RemoveEnded(UnixTime::from_secs(seconds));
    Order { action, ..put("", 1) }
}

fn promised(order: Order, ticket: u64) -> Order {
    Order { ticket: Some(Ticket(ticket)), haste: Haste::Now, ..order }
}

/// A node's storage with one shard.
struct Rig {
    storage: Storage,
    outlet: Outlet<Row>,
    rung: mpsc::Receiver<()>,
}

impl Rig {
    fn start(settings: &StorageSettings) -> Rig {
        let (ring, rung) = mpsc::channel();
        let ring: Ring = Arc::new(move || {
            // A rig that has ended hears nothing.
            let _ = ring.send(());
        });
        let (storage, mut outlets) = storage::start(settings, vec![ring]).expect("started");
        Rig { storage, outlet: outlets.remove(0), rung }
    }

    fn give(&mut self, orders: impl IntoIterator<Item = Order>) {
        self.outlet.give(&mut orders.into_iter().map(Row::To).collect());
    }

    fn note_within(&mut self, limit: Duration) -> Option<Note> {
        let until = Instant::now() + limit;
        loop {
            if let Some(Row::From(note)) = self.outlet.next_row() {
                return Some(note);
            }
            let left = until.checked_duration_since(Instant::now())?;
            // Time that is over is seen above.
            let _ = self.rung.recv_timeout(left);
        }
    }

    fn outcome(&mut self) -> (u64, Outcome) {
        loop {
            match self.note_within(PATIENCE).expect("a note") {
                Note::Settled(Ticket(ticket), outcome) => return (ticket, outcome),
                Note::Resync => {}
                note @ (Note::Loaded(..) | Note::Found(..)) => panic!("{note:?}"),
            }
        }
    }

    fn summary(&self) -> StorageSummary {
        self.storage.summary().expect("a summary")
    }

    fn wait_until(&self, what: &str, is: impl Fn(&StorageSummary) -> bool) {
        let until = Instant::now() + PATIENCE;
        while !is(&self.summary()) {
            assert!(Instant::now() < until, "not {what}: {}", self.summary());
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    fn stop(self) -> StorageSummary {
        self.storage.stop(PATIENCE).expect("stopped")
    }
}

/// What a restart finds: the last column of each row.
fn found(settings: &StorageSettings) -> BTreeMap<String, i64> {
    let mut rig = Rig::start(settings);
    let mut found = BTreeMap::new();
    while let Some(loaded) = rig.outlet.next_loaded() {
        let Loaded::Rows(rows) = loaded else { panic!("{loaded:?}") };
        for row in rows {
            let Row::From(Note::Loaded(_, record)) = row else { panic!("{row:?}") };
            let [Datum::Text(ruid), .., Datum::Integer(size)] = &record[..] else {
                panic!("{record:?}")
            };
            assert_eq!(record, contact(ruid, *size));
            assert_eq!(found.insert(ruid.clone(), *size), None, "{ruid} twice");
        }
    }
    rig.stop();
    found
}

fn settings(url: &str) -> StorageSettings {
    let database = Database::from_url(url).expect("a URL");
    StorageSettings { flush_interval: Duration::from_millis(100), ..StorageSettings::new(database) }
}

fn sqlite(folder: &Folder) -> StorageSettings {
    settings(&format!("sqlite:{}", folder.path().join("state.db").display()))
}

fn server(kind: database::Kind) -> (Server, StorageSettings) {
    let server = Server::start(kind);
    let settings = settings(&server.url());
    let both = [&CONTACTS, &groups::NOTES];
    let missing = admin::run(&settings, &both, Task::Check).expect_err("no tables");
    assert!(missing.is_configuration() && missing.to_string().contains("db create"), "{missing}");
    admin::run(&settings, &both, Task::Create).expect("made");
    admin::run(&settings, &both, Task::Check).expect("good");
    (server, settings)
}

#[test]
fn sqlite_keeps_what_it_is_given() {
    let folder = Folder::new("sqlite");
    keeps_what_it_is_given(&sqlite(&folder));
}

#[test]
fn postgres_keeps_what_it_is_given() {
    let (_server, settings) = server(database::Kind::Postgres);
    keeps_what_it_is_given(&settings);
}

#[test]
fn mariadb_keeps_what_it_is_given() {
    let (_server, settings) = server(database::Kind::MariaDb);
    keeps_what_it_is_given(&settings);
}

#[test]
fn postgres_numbers_a_row_once_however_often_it_is_refreshed() {
    let (server, settings) = server(database::Kind::Postgres);
    let mut rig = Rig::start(&settings);
    for version in 1..=20 {
        rig.give((0..100).map(|n| put(&format!("row {n}"), version)));
        rig.wait_until("written", |summary| summary.written == 100 * version);
    }
    rig.stop();
    assert_eq!(server.ask("SELECT last_value FROM contacts_id_seq"), "100");
    assert_eq!(server.ask("SELECT count(*) || ' ' || max(id) FROM contacts"), "100 100");
}

fn keeps_what_it_is_given(settings: &StorageSettings) {
    let mut rig = Rig::start(settings);
    assert!(rig.outlet.next_loaded().is_none());
    // Keys that differ in case alone are two; a batch has more rows than a statement.
    let names = || (0..300).map(|n| format!("row {n}")).chain(["ROW 1".to_owned()]);
    rig.give(names().map(|name| put(&name, 1)));
    rig.give([promised(put("row 0", 2), 1), remove("row 2", 2), promised(remove("row 3", 2), 2)]);
    let mut outcomes = [rig.outcome(), rig.outcome()];
    outcomes.sort_unstable_by_key(|(ticket, _)| *ticket);
    assert_eq!(outcomes, [(1, Outcome::Durable), (2, Outcome::Durable)]);
    rig.wait_until("written", |summary| summary.waiting == 0);
    let by = |ruid: &str| vec![("ruid", Datum::Text(ruid.to_owned()))];
    for (ticket, ruid, rows) in [(3, "row 0", vec![contact("row 0", 2)]), (4, "row 2", vec![])] {
        rig.give([promised(Order { action: Action::Find(by(ruid)), ..put(ruid, 1) }, ticket)]);
        let note = rig.note_within(PATIENCE).expect("a note");
        let Note::Found(Ticket(told), records) = note else { panic!("{note:?}") };
        assert_eq!((told, records), (ticket, rows));
    }
    let long = "x".repeat(65);
    rig.give([promised(put(&long, 1), 5), promised(put("last", 1), 6)]);
    let mut outcomes = [rig.outcome(), rig.outcome()];
    outcomes.sort_unstable_by_key(|(ticket, _)| *ticket);
    assert_eq!(outcomes, [(5, Outcome::Refused), (6, Outcome::Durable)]);
    rig.give([remove_ended(EXPIRES - 1)]);
    rig.wait_until("written", |summary| summary.waiting == 0);
    let count = |what, seconds| {
        rig.storage
            .counter()
            .count(&CONTACTS, what, UnixTime::from_secs(seconds))
            .expect("a number")
    };
    assert_eq!(count(Count::Rows, EXPIRES - 1), 300);
    assert_eq!(count(Count::Rows, EXPIRES), 0);
    assert_eq!(count(Count::Ended, EXPIRES), 300);
    assert_eq!(count(Count::Different(&["user", "expires"]), 0), 1);
    let summary = rig.stop();
    assert_eq!((summary.waiting, summary.failures), (0, 0), "{summary}");
    let mut expected: BTreeMap<String, i64> = names().map(|name| (name, 1)).collect();
    expected.insert("row 0".to_owned(), 2);
    expected.insert("last".to_owned(), 1);
    expected.remove("row 2");
    expected.remove("row 3");
    assert_eq!(found(settings), expected);
    let mut rig = Rig::start(settings);
    rig.give([remove_ended(EXPIRES)]);
    rig.stop();
    assert!(found(settings).is_empty(), "all have ended");
}

/// Load on a few hundred rows, half of it promised; what was said last of each is remembered, as a
/// module does.
struct Load {
    rig: Rig,
    version: u64,
    rows: u64,
    said: HashMap<String, u64>,
    open: HashMap<u64, Instant>,
    /// Rows that are still to be said again.
    again: Vec<String>,
    durable: u64,
    refused: u64,
    slowest: Duration,
    bytes_most: u64,
}

impl Load {
    fn new(settings: &StorageSettings, rows: u64) -> Load {
        let rig = Rig::start(settings);
        let (said, open, again) = (HashMap::new(), HashMap::new(), Vec::new());
        let (slowest, bytes_most) = (Duration::ZERO, 0);
        let (durable, refused) = (0, 0);
        Load { rig, version: 0, rows, said, open, again, durable, refused, slowest, bytes_most }
    }

    /// About 2,000 orders a second.
    fn run(&mut self, span: Duration) {
        let until = Instant::now() + span;
        while Instant::now() < until {
            for _ in 0..20 {
                self.version += 1;
                // A walk over all rows that meets each in another order every time.
                let name = format!("row {}", self.version * 7919 % self.rows);
                let order = put(&name, self.version);
                self.said.insert(name, self.version);
                if self.version.is_multiple_of(2) {
                    self.open.insert(self.version, Instant::now());
                    self.rig.give([promised(order, self.version)]);
                } else {
                    self.rig.give([order]);
                }
            }
            self.listen();
            self.bytes_most = self.bytes_most.max(self.rig.summary().waiting_bytes);
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    fn listen(&mut self) {
        while let Some(note) = self.rig.note_within(Duration::ZERO) {
            self.hear(note);
        }
    }

    fn hear(&mut self, note: Note) {
        match note {
            Note::Settled(Ticket(ticket), outcome) => {
                if ticket == AGAIN {
                    match outcome {
                        Outcome::Durable => self.say_again(),
                        // Storage will ask again.
                        Outcome::Refused => self.again.clear(),
                    }
                    return;
                }
                let asked = self.open.remove(&ticket).expect("one answer for each");
                self.slowest = self.slowest.max(asked.elapsed());
                match outcome {
                    Outcome::Durable => self.durable += 1,
                    Outcome::Refused => {
                        self.refused += 1;
                        self.withdraw(ticket);
                    }
                }
            }
            Note::Resync => {
                self.again = self.said.keys().cloned().collect();
                self.say_again();
            }
            Note::Loaded(..) | Note::Found(..) => panic!("{note:?}"),
        }
    }

    /// Says a few rows again, and goes on when they are written: more at once would find no room.
    fn say_again(&mut self) {
        let names: Vec<String> = self.again.drain(..self.again.len().min(50)).collect();
        // All in haste: else the last would be written before the others.
        let again = |name: &String| Order { haste: Haste::Now, ..put(name, self.said[name]) };
        let mut orders: Vec<Order> = names.iter().map(again).collect();
        if let Some(last) = orders.pop() {
            orders.push(promised(last, AGAIN));
        }
        self.rig.give(orders);
    }

    /// Says what holds instead of what was refused, as a module must.
    fn withdraw(&mut self, version: u64) {
        let name = format!("row {}", version * 7919 % self.rows);
        if self.said.get(&name) == Some(&version) {
            self.version += 1;
            self.said.insert(name.clone(), self.version);
            self.rig.give([put(&name, self.version)]);
        }
    }

    /// Until nothing is open any more and all rows are written.
    fn settle(&mut self) {
        let until = Instant::now() + PATIENCE;
        loop {
            self.listen();
            let summary = self.rig.summary();
            let is_calm = summary.waiting == 0 && !summary.degraded && summary.resyncs_due == 0;
            if self.open.is_empty() && self.again.is_empty() && is_calm {
                break;
            }
            assert!(Instant::now() < until, "{summary}, open: {}", self.open.len());
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// Ends, and compares what was said with what is there.
    fn end(self, settings: &StorageSettings) {
        let expected: BTreeMap<String, i64> = self
            .said
            .into_iter()
            .map(|(name, version)| (name, i64::try_from(version).expect("small")))
            .collect();
        let summary = self.rig.stop();
        println!(
            "durable {}, refused {}, slowest {:?}, most bytes {}; {summary}",
            self.durable, self.refused, self.slowest, self.bytes_most
        );
        assert_eq!(found(settings), expected);
    }
}

#[test]
fn postgres_may_freeze() {
    let (server, settings) = server(database::Kind::Postgres);
    goes_away_and_comes_back(server, settings, Server::freeze, Server::thaw);
}

#[test]
fn mariadb_may_freeze() {
    let (server, settings) = server(database::Kind::MariaDb);
    goes_away_and_comes_back(server, settings, Server::freeze, Server::thaw);
}

#[test]
fn postgres_may_crash() {
    let (server, settings) = server(database::Kind::Postgres);
    goes_away_and_comes_back(server, settings, Server::crash, Server::start_again);
}

#[test]
fn mariadb_may_crash() {
    let (server, settings) = server(database::Kind::MariaDb);
    goes_away_and_comes_back(server, settings, Server::crash, Server::start_again);
}

fn goes_away_and_comes_back(
    mut server: Server,
    mut settings: StorageSettings,
    go: impl Fn(&mut Server),
    come: impl Fn(&mut Server),
) {
    settings.timeout = Duration::from_millis(500);
    // Far less than all rows take: some have to be said again afterwards.
    settings.queue_bytes = 64 << 10;
    let mut load = Load::new(&settings, 1000);
    load.run(Duration::from_secs(2));
    let before = load.rig.summary();
    assert!(load.durable > 100 && !before.degraded, "{before}");
    go(&mut server);
    load.run(Duration::from_secs(4));
    let during = load.rig.summary();
    assert!(during.degraded && during.refused > 100 && during.dropped > 0, "{during}");
    assert!(load.bytes_most <= 96 << 10, "{} bytes", load.bytes_most);
    // Whoever is promised something hears in time, whatever the database does; the rest is this
    // machine's own slowness.
    assert!(load.slowest < settings.timeout + Duration::from_secs(2), "{:?}", load.slowest);
    come(&mut server);
    load.settle();
    let durable = load.durable;
    load.run(Duration::from_secs(1));
    load.settle();
    assert!(load.durable > durable, "promises are kept again");
    assert!(load.rig.summary().resyncs > 0);
    load.end(&settings);
}

#[test]
fn sqlite_keeps_its_promises_when_this_process_is_killed() {
    let folder = Folder::new("victim");
    let settings = sqlite(&folder);
    keeps_its_promises_when_killed(
        &settings,
        &folder.path().join("state.db").display().to_string(),
    );
}

#[test]
fn postgres_keeps_its_promises_when_this_process_is_killed() {
    let (server, settings) = server(database::Kind::Postgres);
    keeps_its_promises_when_killed(&settings, &server.url());
}

fn keeps_its_promises_when_killed(settings: &StorageSettings, url: &str) {
    let url = if url.contains("://") { url.to_owned() } else { format!("sqlite:{url}") };
    let mut command = Command::new(std::env::current_exe().expect("this test"));
    command.args(["--exact", "a_process_that_is_killed", "--nocapture"]).env(VICTIM, url);
    let mut victim = Process::start("victim", &mut command);
    victim.wait_for("promised 2000 ");
    victim.signal(Signal::Kill);
    victim.wait(PATIENCE);
    let output = victim.output();
    let promised: Vec<&str> =
        output.lines().filter_map(|line| line.strip_prefix("promised ")).map(str::trim).collect();
    let found = found(settings);
    let lost: Vec<&&str> = promised.iter().filter(|name| !found.contains_key(**name)).collect();
    assert!(promised.len() >= 2000 && lost.is_empty(), "{} lost: {lost:?}", lost.len());
}

/// No test by itself: promises rows, one after the other and without end, until it is killed.
#[test]
fn a_process_that_is_killed() {
    let Ok(url) = std::env::var(VICTIM) else { return };
    let mut rig = Rig::start(&settings(&url));
    let mut ticket = 0;
    loop {
        rig.give((0..50).map(|_| {
            ticket += 1;
            promised(put(&ticket.to_string(), 1), ticket)
        }));
        for _ in 0..50 {
            if let (ticket, Outcome::Durable) = rig.outcome() {
                println!("promised {ticket} ");
            }
        }
    }
}

#[test]
fn the_binary_makes_checks_and_uses_its_database() {
    let folder = Folder::new("db");
    let path = folder.path().join("state.db");
    let file = folder.write(
        "strowger.toml",
        &format!(
            "[node]\nlisten = [\"udp:127.0.0.1:0\"]\nshards = 2\n\
             [storage]\nurl = \"sqlite:{}\"\n",
            path.display()
        ),
    );
    let strowger = |arguments: &[&str]| {
        let mut command = Command::new(binary::strowger());
        Process::start("strowger", command.args(arguments).arg("-f").arg(&file))
    };
    let mut create = strowger(&["db", "create"]);
    assert!(create.wait(PATIENCE).success(), "{}", create.output());
    let mut check = strowger(&["db", "check"]);
    assert!(check.wait(PATIENCE).success(), "{}", check.output());
    let mut node = strowger(&["run"]);
    node.wait_for("ready");
    node.signal(Signal::Term);
    assert!(node.wait(PATIENCE).success(), "{}", node.output());
    let line = node.wait_for("storage=sqlite");
    assert!(line.contains("degraded=0") && line.contains("waiting=0"), "{line}");
    let mut nothing = Process::start(
        "strowger",
        Command::new(binary::strowger()).args(["db", "check"]).current_dir(folder.path()),
    );
    assert_eq!(nothing.wait(PATIENCE).code(), Some(78));
    assert!(nothing.stderr().contains("[storage] url"), "{}", nothing.stderr());
}

#[test]
fn what_is_to_be_stored_needs_somewhere_to_be() {
    let folder = Folder::new("nowhere");
    let file =
        folder.write("strowger.toml", "[usrloc]\ndb_mode = 1\n[auth]\nuse_subscriber = true\n");
    let mut check = Process::start(
        "strowger",
        Command::new(binary::strowger()).args(["check", "-f"]).arg(&file),
    );
    assert_eq!(check.wait(PATIENCE).code(), Some(78), "{}", check.output());
    for (line, key) in [(2, "db_mode"), (4, "use_subscriber")] {
        let place = format!("strowger.toml:{line}: ");
        let said = check.stderr();
        let named = said.lines().any(|said| said.contains(&place) && said.contains(key));
        assert!(named, "{said}");
    }
}
