//! Starting storage, and the handle by which control keeps it.
//!
//! For: connecting, checking the tables and loading them before the first shard answers anybody.
//! Not here: the work of the running thread (`thread.rs`).
//! Invariants: when `start` returns well, the database answers and its tables are those that the
//! modules declare.

use super::connection::{Connection, Failure, Role};
use super::count::Count;
use super::load::{self, LoadReport, Loaded};
use super::outlet::Outlet;
use super::settings::StorageSettings;
use super::sql::Dialect;
use super::summary::StorageSummary;
use super::thread::{Event, Mailbox, Thread};
use super::writer::Writer;
use super::{SchemaFault, StorageError, schema};
use std::fmt;
use std::sync::Arc;
use std::sync::mpsc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};
use strowger_sip::date::UnixTime;
use strowger_sip::storage::{Place, Rows, Table};
use tokio::runtime::Builder;
use tokio::task::LocalSet;
use tokio::time::sleep;

/// Parcels and answers on their way to the thread, which looks at them at once.
const EVENTS_MAX: usize = 1024;
/// Rows on their way to a shard. Only a shard that gives as many orders with a ticket without ever
/// looking for answers fills it.
const NOTES_MAX: usize = 131_072;
/// Batches of loaded rows on their way to a shard.
const LOADED_MAX: usize = 4;
/// A database that starts together with this node gets so long.
const START_WITHIN: Duration = Duration::from_secs(10);
const START_PAUSE: Duration = Duration::from_millis(250);
/// How long the thread may take to answer, beside the time that it is given.
const ANSWER_WITHIN: Duration = Duration::from_secs(5);

/// Wakes a shard: something has come for it.
pub type Ring = Arc<dyn Fn() + Send + Sync>;

/// What control asks of the thread.
pub(super) enum Control {
    /// Tell how things are.
    Report(mpsc::Sender<StorageSummary>),
    /// Count rows of a table, as of a date.
    Count(&'static Table, Count, UnixTime, mpsc::Sender<Result<u64, String>>),
    /// Write what waits, until then at the latest, and end.
    Stop { until: Instant, done: mpsc::Sender<StorageSummary> },
}

type Tell = Arc<dyn Fn(Control) -> bool + Send + Sync>;

/// Storage that runs.
pub struct Storage {
    tell: Tell,
    tables: Vec<&'static Table>,
    thread: Option<JoinHandle<()>>,
}

/// Asks the database itself how many rows there are; for whoever may wait.
#[derive(Clone)]
pub struct Counter {
    tell: Tell,
    tables: Vec<&'static Table>,
}

impl fmt::Debug for Counter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Counter").finish_non_exhaustive()
    }
}

impl Counter {
    /// The table of this name, if a module has one.
    pub fn table(&self, name: &str) -> Option<&'static Table> {
        self.tables.iter().find(|table| table.name == name).copied()
    }

    /// How storage is; `None` when its thread does not answer.
    pub fn summary(&self) -> Option<StorageSummary> {
        ask_summary(&self.tell)
    }

    /// Counts as of this date; the error says why the database does not say.
    pub fn count(&self, table: &'static Table, what: Count, now: UnixTime) -> Result<u64, String> {
        let (sender, counted) = mpsc::channel();
        let told = (self.tell)(Control::Count(table, what, now, sender));
        let counted = told.then(|| counted.recv().ok()).flatten();
        counted.unwrap_or_else(|| Err("the storage thread has ended".to_owned()))
    }
}

impl fmt::Debug for Storage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Storage").finish_non_exhaustive()
    }
}

impl Storage {
    /// How it is; `None` when its thread does not answer.
    pub fn summary(&self) -> Option<StorageSummary> {
        ask_summary(&self.tell)
    }

    /// Who counts what the database has.
    pub fn counter(&self) -> Counter {
        Counter { tell: Arc::clone(&self.tell), tables: self.tables.clone() }
    }

    /// Writes what waits and ends, within this time; how it was then. To be called when the shards
    /// have ended: what they gave before is written too.
    pub fn stop(mut self, within: Duration) -> Option<StorageSummary> {
        let (done, summary) = mpsc::channel();
        let told = (self.tell)(Control::Stop { until: Instant::now() + within, done });
        let summary = told.then(|| summary.recv_timeout(within + ANSWER_WITHIN).ok())?;
        if summary.is_some() {
            // It has said its last word.
            let _ = self.thread.take().map(JoinHandle::join);
        }
        summary
    }
}

fn ask_summary(tell: &Tell) -> Option<StorageSummary> {
    let (sender, summary) = mpsc::channel();
    tell(Control::Report(sender)).then(|| summary.recv_timeout(ANSWER_WITHIN).ok())?
}

impl Drop for Storage {
    fn drop(&mut self) {
        if self.thread.is_some() {
            let (done, _) = mpsc::channel();
            (self.tell)(Control::Stop { until: Instant::now(), done });
        }
    }
}

/// Starts the thread; one outlet for each shard, in the order of their rings.
pub fn start<W: Rows>(
    settings: &StorageSettings,
    rings: Vec<Ring>,
) -> Result<(Storage, Vec<Outlet<W>>), StorageError> {
    let settings = Arc::new(settings.clone());
    let tables = settings.tables_of::<W>().into_iter().map(|(_, table)| table).collect();
    let (events, inbox) = flume::bounded(EVENTS_MAX);
    let (mut outlets, mut mailboxes, mut loading) = (Vec::new(), Vec::new(), Vec::new());
    for (shard, ring) in rings.into_iter().enumerate() {
        let (notes, outlet_notes) = flume::bounded(NOTES_MAX);
        let (loaded, outlet_loaded) = flume::bounded(LOADED_MAX);
        outlets.push(Outlet::new(shard, events.clone(), outlet_notes, outlet_loaded));
        mailboxes.push(Mailbox::new(notes, ring));
        loading.push(loaded);
    }
    let (tell_ready, ready) = mpsc::channel();
    let own_events = events.clone();
    let runtime =
        Builder::new_current_thread().enable_all().build().map_err(StorageError::Thread)?;
    let live = async move {
        let writer = match prepare::<W>(&settings).await {
            Ok(writer) => writer,
            Err(error) => return drop(tell_ready.send(Err(error))),
        };
        let load = load_all::<W>(Arc::clone(&settings), loading, own_events.clone());
        tokio::task::spawn_local(load);
        // Whoever waits for this word waits still.
        let _ = tell_ready.send(Ok(()));
        Thread::new(settings, writer, mailboxes, own_events, inbox).run().await;
    };
    let thread = std::thread::Builder::new()
        .name("storage".to_owned())
        .spawn(move || LocalSet::new().block_on(&runtime, live))
        .map_err(StorageError::Thread)?;
    let tell = Arc::new(move |control| events.send(Event::Control(control)).is_ok());
    let storage = Storage { tell, tables, thread: Some(thread) };
    match ready.recv() {
        Ok(Ok(())) => Ok((storage, outlets)),
        Ok(Err(error)) => Err(error),
        Err(_) => Err(StorageError::Thread(std::io::Error::other("it ended at once"))),
    }
}

/// Connects and checks the tables; those that an embedded database lacks are made.
async fn prepare<W: Rows>(settings: &StorageSettings) -> Result<Writer, StorageError> {
    let database = || settings.database.to_string();
    let unreachable = |failure: Failure| StorageError::Unreachable {
        database: database(),
        cause: failure.to_string(),
    };
    let known = settings.tables_of::<W>();
    let tables: Vec<&'static Table> = known.into_iter().map(|(_, table)| table).collect();
    let mut connection = connect(settings).await.map_err(unreachable)?;
    if connection.dialect() == Dialect::Sqlite {
        schema::create(&mut connection, &tables).await.map_err(unreachable)?;
    }
    let mut faults = schema::check(&mut connection, &tables).await.map_err(unreachable)?;
    // Without its table a list has its other sources.
    faults.retain(|fault| {
        let SchemaFault::Missing { table } = fault else { return true };
        tables
            .iter()
            .any(|known| known.name == *table && (known.loaded_at_start || !known.key.is_empty()))
    });
    if !faults.is_empty() {
        return Err(StorageError::Schema { database: database(), faults });
    }
    Ok(Writer::new(connection, settings.timeout))
}

async fn connect(settings: &StorageSettings) -> Result<Connection, Failure> {
    let until = Instant::now() + START_WITHIN;
    loop {
        let failure = match Connection::open(settings, Role::of_this_process()).await {
            Ok(connection) => return Ok(connection),
            Err(failure) => failure,
        };
        // A file that cannot be opened will not open by itself.
        if settings.database.dialect() == Dialect::Sqlite || Instant::now() >= until {
            return Err(failure);
        }
        sleep(START_PAUSE).await;
    }
}

/// Reads every table that is loaded at start; the shards' ends close when all is said.
async fn load_all<W: Rows>(
    settings: Arc<StorageSettings>,
    shards: Vec<flume::Sender<Loaded<W>>>,
    events: flume::Sender<Event<W>>,
) {
    let mut report = LoadReport::default();
    let loading = async {
        let mut connection = Connection::open(&settings, Role::Reader).await?;
        if let Some(hint) = connection.dialect().before_paging() {
            connection.say(hint).await?;
        }
        let loaded: Vec<(Place, &'static Table)> = settings
            .tables_of::<W>()
            .into_iter()
            .filter(|(_, table)| table.loaded_at_start)
            .collect();
        for place in loaded {
            let rows = settings.fetch_rows;
            load::table(&mut connection, place, rows, &shards, &mut report).await?;
        }
        connection.close().await;
        Ok::<(), Failure>(())
    };
    if let Err(failure) = loading.await {
        for shard in &shards {
            let cause = format!("storage {}: {failure}", settings.database);
            let _ = shard.send_async(Loaded::Failed(cause)).await;
        }
    }
    let _ = events.send_async(Event::Loaded(report)).await;
}

#[cfg(test)]
mod tests {
    use super::super::testing::{Folder, Row, THINGS, block_on, find, promised, put, remove};
    use super::*;
    use strowger_sip::storage::{Datum, Note, Order, Outcome, Ticket};

    const PATIENCE: Duration = Duration::from_secs(20);

    /// Storage with two shards; each rings for itself.
    struct Rig {
        storage: Storage,
        outlets: Vec<Outlet<Row>>,
        rung: mpsc::Receiver<usize>,
    }

    fn rig(settings: &StorageSettings) -> Rig {
        let (ring, rung) = mpsc::channel();
        let rings = (0..2).map(|shard| {
            let ring = ring.clone();
            Arc::new(move || {
                let _ = ring.send(shard);
            }) as Ring
        });
        let (storage, outlets) = start(settings, rings.collect()).expect("started");
        Rig { storage, outlets, rung }
    }

    impl Rig {
        fn give(&mut self, shard: usize, orders: impl IntoIterator<Item = Order>) {
            let mut rows = orders.into_iter().map(Row::To).collect();
            self.outlets[shard].give(&mut rows);
        }

        /// The next note for a shard, after its ring.
        fn note(&mut self, shard: usize) -> Note {
            loop {
                if let Some(Row::From(note)) = self.outlets[shard].next_row() {
                    return note;
                }
                self.rung.recv_timeout(PATIENCE).expect("a ring");
            }
        }

        fn outcome(&mut self, shard: usize) -> (u64, Outcome) {
            let note = self.note(shard);
            let Note::Settled(Ticket(ticket), outcome) = note else { panic!("{note:?}") };
            (ticket, outcome)
        }

        fn loaded(&mut self, shard: usize) -> Vec<(String, i64)> {
            let mut loaded = Vec::new();
            while let Some(Loaded::Rows(rows)) = self.outlets[shard].next_loaded() {
                for row in rows {
                    let Row::From(Note::Loaded(_, record)) = row else { panic!("{row:?}") };
                    let [Datum::Text(name), Datum::Integer(size), ..] = &record[..] else {
                        panic!("{record:?}")
                    };
                    loaded.push((name.clone(), *size));
                }
            }
            loaded
        }
    }

    #[test]
    fn what_was_promised_or_waited_at_the_stop_is_there_after_a_restart_on_every_shard() {
        let folder = Folder::new();
        let mut rig_1 = rig(&folder.settings());
        assert_eq!(rig_1.loaded(0), []);
        rig_1.give(0, [promised(put("a", 1, 1), 7)]);
        rig_1.give(1, [promised(put("b", 1, 1), 8)]);
        assert_eq!(rig_1.outcome(0), (7, Outcome::Durable));
        assert_eq!(rig_1.outcome(1), (8, Outcome::Durable));
        rig_1.give(0, [put("a", 2, 2), put("c", 1, 1), promised(remove("d", 1), 9)]);
        assert_eq!(rig_1.outcome(0), (9, Outcome::Durable));
        let summary = rig_1.storage.stop(PATIENCE).expect("stopped");
        assert_eq!((summary.waiting, summary.durable, summary.refused), (0, 3, 0));
        let mut rig_2 = rig(&folder.settings());
        let all = [("a", 2), ("b", 1), ("c", 1)].map(|(name, size)| (name.to_owned(), size));
        for shard in 0..2 {
            let mut loaded = rig_2.loaded(shard);
            loaded.sort_unstable();
            assert_eq!(loaded, all);
        }
    }

    #[test]
    fn questions_are_answered_with_rows() {
        let folder = Folder::new();
        let mut rig = rig(&folder.settings());
        rig.give(0, [promised(put("a", 5, 1), 1)]);
        assert_eq!(rig.outcome(0), (1, Outcome::Durable));
        rig.give(1, [find("a", 2), find("nobody", 3)]);
        let mut answers = [rig.note(1), rig.note(1)].map(|note| {
            let Note::Found(Ticket(ticket), records) = note else { panic!("{note:?}") };
            (ticket, records.len())
        });
        answers.sort_unstable();
        assert_eq!(answers, [(2, 1), (3, 0)]);
    }

    #[test]
    fn rows_of_no_use_are_skipped_counted_and_named() {
        let folder = Folder::new();
        let mut first = rig(&folder.settings());
        first.give(0, [put("good", 1, 1), put("unwanted", 13, 1), put("odd", 2, 1)]);
        first.storage.stop(PATIENCE).expect("stopped");
        block_on(async {
            let mut connection =
                Connection::open(&folder.settings(), Role::Reader).await.expect("open");
            let spoil = "UPDATE things SET note = CAST(x'fffe' AS TEXT) WHERE name = 'odd'";
            connection.say(spoil).await.expect("spoiled");
            connection.close().await;
        });
        let mut second = rig(&folder.settings());
        assert_eq!(second.loaded(0), [("good".to_owned(), 1)]);
        second.loaded(1);
        let summary = second.storage.stop(PATIENCE).expect("stopped");
        assert_eq!((summary.loaded, summary.skipped), (1, 2));
    }

    #[test]
    fn what_cannot_be_written_is_refused_and_the_rest_is_not() {
        let folder = Folder::new();
        let mut rig = rig(&folder.settings());
        let long = "x".repeat(17);
        rig.give(0, [promised(put(&long, 1, 1), 1), promised(put("a", 1, 1), 2)]);
        let mut outcomes = [rig.outcome(0), rig.outcome(0)];
        outcomes.sort_unstable_by_key(|(ticket, _)| *ticket);
        assert_eq!(outcomes, [(1, Outcome::Refused), (2, Outcome::Durable)]);
        assert_eq!(rig.storage.summary().expect("a summary").unusable, 1);
    }

    #[test]
    fn a_database_that_is_locked_refuses_promises_and_gets_everything_afterwards() {
        let folder = Folder::new();
        let mut settings = folder.settings();
        settings.timeout = Duration::from_millis(300);
        let mut rig = rig(&settings);
        let locked = block_on(async {
            let mut connection = Connection::open(&settings, Role::Reader).await.expect("open");
            connection.say("BEGIN IMMEDIATE").await.expect("locked");
            connection
        });
        rig.give(0, [promised(put("a", 1, 1), 1), put("b", 1, 1)]);
        assert_eq!(rig.outcome(0), (1, Outcome::Refused));
        while !rig.storage.summary().expect("a summary").degraded {}
        rig.give(0, [promised(put("c", 1, 1), 2), remove("a", 2), put("d", 1, 1)]);
        assert_eq!(rig.outcome(0), (2, Outcome::Refused));
        drop(locked);
        let until = Instant::now() + PATIENCE;
        while rig.storage.summary().is_none_or(|summary| summary.degraded || summary.waiting > 0) {
            assert!(Instant::now() < until, "{:?}", rig.storage.summary());
            std::thread::sleep(Duration::from_millis(10));
        }
        rig.give(0, [promised(put("e", 1, 1), 3)]);
        assert_eq!(rig.outcome(0), (3, Outcome::Durable));
        rig.storage.stop(PATIENCE).expect("stopped");
        let mut again = super::tests::rig(&settings);
        let names: Vec<String> = again.loaded(0).into_iter().map(|(name, _)| name).collect();
        assert_eq!(names, ["b", "d", "e"]);
        again.loaded(1);
    }

    #[test]
    fn tables_of_another_version_are_the_operators_business() {
        let folder = Folder::new();
        rig(&folder.settings()).storage.stop(PATIENCE).expect("stopped");
        block_on(async {
            let mut connection =
                Connection::open(&folder.settings(), Role::Reader).await.expect("open");
            connection.say("UPDATE version SET table_version = 2").await.expect("set");
            connection.close().await;
        });
        let error = start::<Row>(&folder.settings(), Vec::new()).expect_err("an error");
        assert!(error.is_configuration());
        let shown = error.to_string();
        assert!(shown.contains("table things: version 2, 3 is needed"), "{shown}");
        assert!(shown.contains("strowger db migrate"), "{shown}");
        assert_eq!(super::super::tables::<Row>().len(), 1);
        assert_eq!(THINGS.version, 3);
    }
}
