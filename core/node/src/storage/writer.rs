//! Carrying out a batch: one transaction, and what to do when a row spoils it.
//!
//! For: few statements for many rows; finding the rows that a database refuses, so that the others
//! of their batch are kept.
//! Not here: which rows (`pending.rs`), when (`thread.rs`).
//! Invariants: a row counts as done only when the transaction that holds it was committed; a
//! connection that failed is not used again.

use super::connection::{Connection, Failure};
use super::pending::{Fate, Taken};
use super::sql::Dialect;
use super::value::{Change, Value, Verb, group_of};
use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::Duration;
use strowger_sip::storage::Table;
use tokio::time::timeout;

/// Rows of one statement at most, a power of two: with the smaller powers, seven statements for
/// each table are all that a server has to remember. SQLite binds 32,766 values, the others more.
const STATEMENT_ROWS_MAX: usize = 64;

/// The only connection of this process that writes.
pub(super) struct Writer {
    connection: Connection,
    /// How long one transaction may take. None for SQLite, where giving up would leave a thread at
    /// work behind our back; there is no network that could lose it.
    limit: Option<Duration>,
    statements: HashMap<(&'static str, Verb, usize), Arc<str>>,
}

/// How a batch ended.
pub(super) struct Written {
    /// The writer, unless its connection failed.
    pub(super) writer: Option<Writer>,
    pub(super) batch: Vec<Taken>,
    pub(super) fates: Vec<Fate>,
    /// Why rows are to be tried again, if some are.
    pub(super) failure: Option<Failure>,
    /// Which rows were refused, and why.
    pub(super) unusable: Vec<String>,
}

impl Writer {
    pub(super) fn new(connection: Connection, limit: Duration) -> Writer {
        let limit = match connection.dialect() {
            Dialect::Sqlite => None,
            Dialect::Postgres | Dialect::MySql => Some(limit),
        };
        Writer { connection, limit, statements: HashMap::new() }
    }

    /// Whether the database still answers.
    pub(super) async fn probe(mut self) -> Result<Writer, Failure> {
        let limit = self.limit;
        within(limit, self.connection.say("SELECT 1")).await?;
        Ok(self)
    }

    pub(super) async fn close(self) {
        self.connection.close().await;
    }

    /// Writes a batch. Where a row is refused, the batch is halved until the row is alone.
    pub(super) async fn write(mut self, batch: Vec<Taken>) -> Written {
        let mut fates = vec![Fate::Failed; batch.len()];
        let mut unusable = Vec::new();
        // From and to.
        let mut ranges = vec![(0, batch.len())];
        let limit = self.limit;
        while let Some((from, to)) = ranges.pop() {
            match within(limit, self.transact(&batch[from..to])).await {
                Ok(()) => fates[from..to].fill(Fate::Done),
                Err(Failure::Row(cause)) if to - from == 1 => {
                    fates[from] = Fate::Unusable;
                    let table = batch[from].change.table.name;
                    unusable.push(format!("table {table}, {:?}: {cause}", batch[from].key));
                }
                Err(Failure::Row(_)) => {
                    let middle = from + (to - from) / 2;
                    ranges.push((middle, to));
                    ranges.push((from, middle));
                }
                Err(failure @ Failure::Database(_)) => {
                    let failure = Some(failure);
                    return Written { writer: None, batch, fates, failure, unusable };
                }
            }
        }
        Written { writer: Some(self), batch, fates, failure: None, unusable }
    }

    async fn transact(&mut self, batch: &[Taken]) -> Result<(), Failure> {
        let mut groups: BTreeMap<(&'static str, Verb), Vec<&Change>> = BTreeMap::new();
        for Taken { change, .. } in batch {
            groups.entry((change.table.name, change.verb)).or_default().push(change);
        }
        self.connection.say(self.connection.dialect().begin()).await?;
        for ((_, verb), changes) in groups {
            if let Err(failure) = self.write_group(verb, &changes).await {
                // A server that refused a row has to be told to forget the others too.
                if matches!(failure, Failure::Row(_)) {
                    self.connection.say("ROLLBACK").await.map_err(as_database)?;
                }
                return Err(failure);
            }
        }
        // What the end of a transaction complains about is no single row's fault.
        self.connection.say("COMMIT").await.map_err(as_database)
    }

    async fn write_group(&mut self, verb: Verb, mut changes: &[&Change]) -> Result<(), Failure> {
        if verb == Verb::Replace {
            for change in changes {
                self.replace(change).await?;
            }
            return Ok(());
        }
        while let Some(first) = changes.first() {
            let rows = match verb {
                Verb::Put | Verb::Remove => STATEMENT_ROWS_MAX.min(1 << changes.len().ilog2()),
                Verb::RemoveEnded | Verb::Replace => 1,
            };
            let (these, rest) = changes.split_at(rows);
            let sql = self.statement(first.table, verb, rows);
            let values: Vec<Value> =
                these.iter().flat_map(|change| change.values.iter().cloned()).collect();
            self.connection.execute(sql, &values).await?;
            changes = rest;
        }
        Ok(())
    }

    /// Deletes the rows of a group and inserts others.
    async fn replace(&mut self, change: &Change) -> Result<(), Failure> {
        let (table, width) = (change.table, change.table.columns.len().max(1));
        let (group, mut rest) = change.values.split_at(group_of(table).len());
        let sql = self.statement(table, Verb::Replace, 0);
        self.connection.execute(sql, group).await?;
        while !rest.is_empty() {
            let rows = STATEMENT_ROWS_MAX.min(1 << (rest.len() / width).max(1).ilog2());
            let (these, others) = rest.split_at(rest.len().min(rows * width));
            let sql = self.statement(table, Verb::Replace, rows);
            self.connection.execute(sql, these).await?;
            rest = others;
        }
        Ok(())
    }

    fn statement(&mut self, table: &'static Table, verb: Verb, rows: usize) -> Arc<str> {
        let dialect = self.connection.dialect();
        let statement =
            self.statements.entry((table.name, verb, rows)).or_insert_with(|| match verb {
                Verb::Put => dialect.put(table, rows).into(),
                Verb::Remove => dialect.remove(table, rows).into(),
                // What takes their place, and first the removal itself.
                Verb::Replace if rows > 0 => dialect.insert(table, rows).into(),
                Verb::Replace => dialect.remove_group(table).into(),
                Verb::RemoveEnded => dialect.remove_ended(table).into(),
            });
        Arc::clone(statement)
    }
}

fn as_database(failure: Failure) -> Failure {
    match failure {
        Failure::Database(cause) | Failure::Row(cause) => Failure::Database(cause),
    }
}

async fn within<T>(
    limit: Option<Duration>,
    what: impl Future<Output = Result<T, Failure>>,
) -> Result<T, Failure> {
    match limit {
        None => what.await,
        Some(limit) => match timeout(limit, what).await {
            Ok(result) => result,
            Err(_) => Err(Failure::late(limit)),
        },
    }
}

#[cfg(test)]
mod tests {
    use super::super::connection::Role;
    use super::super::pending::Pending;
    use super::super::settings::StorageSettings;
    use super::super::testing::{Folder, THINGS, block_on, put, remove};
    use super::super::value::{Work, check};
    use super::*;
    use std::time::Instant;
    use strowger_sip::storage::{Haste, Order};

    fn batch(orders: Vec<Order>) -> Vec<Taken> {
        let now = Instant::now();
        let mut pending = Pending::new(1 << 20, Duration::ZERO, 1000);
        for order in orders {
            let Ok(Work::Change(key, change)) = check(&THINGS, order) else { panic!("a change") };
            pending.add(now, key, change, Haste::Now, None);
        }
        pending.take()
    }

    async fn rig(settings: &StorageSettings) -> Writer {
        let mut connection = Connection::open(settings, Role::Reader).await.expect("open");
        let table = connection.dialect().create(&THINGS);
        connection
            .say(&table.replace("INTEGER DEFAULT 0", "INTEGER CHECK (\"size\" <> 13)"))
            .await
            .expect("made");
        Writer::new(connection, settings.timeout)
    }

    async fn count(writer: &mut Writer) -> Option<String> {
        let count = "SELECT CAST(count(*) AS TEXT) FROM things";
        super::super::connection::first(
            writer.connection.fetch(count.into(), &[]).await.expect("read"),
        )
    }

    #[test]
    fn many_rows_are_put_and_removed_in_one_transaction() {
        let folder = Folder::new();
        block_on(async {
            let writer = rig(&folder.settings()).await;
            let rows: Vec<Order> = (0..101).map(|n| put(&format!("row {n}"), 100 + n, 1)).collect();
            let written = writer.write(batch(rows)).await;
            assert!(written.fates.iter().all(|fate| *fate == Fate::Done));
            let mut writer = written.writer.expect("a writer");
            assert_eq!(count(&mut writer).await.as_deref(), Some("101"));
            let mut changes = vec![put("row 0", 0, 2), put("new", 0, 2)];
            changes.extend((1..41).map(|n| remove(&format!("row {n}"), 2)));
            let mut writer = writer.write(batch(changes)).await.writer.expect("a writer");
            assert_eq!(count(&mut writer).await.as_deref(), Some("62"));
        });
    }

    #[test]
    fn a_row_that_is_refused_costs_no_other_row_of_its_batch() {
        let folder = Folder::new();
        block_on(async {
            let writer = rig(&folder.settings()).await;
            let sizes = [1, 13, 2, 3, 13, 4];
            let rows = sizes.iter().enumerate().map(|(n, size)| put(&format!("{n}"), *size, 1));
            let written = writer.write(batch(rows.collect())).await;
            let done = sizes.map(|size| if size == 13 { Fate::Unusable } else { Fate::Done });
            assert_eq!(written.fates, done);
            assert_eq!(written.unusable.len(), 2);
            assert!(written.unusable[0].contains("CHECK"), "{:?}", written.unusable);
            let mut writer = written.writer.expect("a writer");
            assert_eq!(count(&mut writer).await.as_deref(), Some("4"));
        });
    }

    #[test]
    fn a_database_that_fails_fails_the_batch() {
        let folder = Folder::new();
        block_on(async {
            let connection =
                Connection::open(&folder.settings(), Role::Reader).await.expect("open");
            let writer = Writer::new(connection, Duration::from_secs(1));
            let written = writer.write(batch(vec![put("a", 1, 1)])).await;
            assert!(written.writer.is_none());
            assert_eq!(written.fates, [Fate::Failed]);
            assert!(matches!(written.failure, Some(Failure::Database(_))));
        });
    }
}
