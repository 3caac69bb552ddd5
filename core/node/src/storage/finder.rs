//! Answering questions: rows by the values of some columns, several at once.
//!
//! For: look-ups that do not wait behind batches.
//! Not here: who asked, and telling him in time (`thread.rs`).
//! Invariants: a question that is over is not asked of the database.

use super::connection::{Connection, Failure, Role};
use super::settings::StorageSettings;
use super::value::{Value, record};
use std::sync::Arc;
use std::time::Instant;
use strowger_sip::storage::{Record, RowFault, Table};
use tokio::time::timeout_at;

/// Rows of one answer at most. A guess: whole lists of destinations fit, whole tables of contacts
/// do not.
const ROWS_MAX: usize = 10_000;

/// A question.
#[derive(Debug)]
pub(super) struct Question {
    /// Names it among those that are open.
    pub(super) id: u64,
    pub(super) table: &'static Table,
    pub(super) by: Vec<(&'static str, Value)>,
    /// When its asker is told that there is no answer.
    pub(super) until: Instant,
}

/// What was found.
#[derive(Debug)]
pub(super) struct Found {
    pub(super) table: &'static Table,
    pub(super) records: Vec<Record>,
    /// Rows that are no text at all.
    pub(super) faults: Vec<RowFault>,
}

/// One connection that reads, opened when there is something to ask.
pub(super) struct Finder {
    settings: Arc<StorageSettings>,
    connection: Option<Connection>,
}

impl Finder {
    pub(super) fn new(settings: Arc<StorageSettings>) -> Finder {
        Finder { settings, connection: None }
    }

    /// Answers a question, or says why that cannot be done in time.
    pub(super) async fn answer(&mut self, question: &Question) -> Result<Found, Failure> {
        // Of a connection that is old, a failure may say only that it is old.
        let is_old = self.connection.is_some();
        match self.ask_once(question).await {
            Err(Failure::Database(_)) if is_old => self.ask_once(question).await,
            answer => answer,
        }
    }

    async fn ask_once(&mut self, question: &Question) -> Result<Found, Failure> {
        let mut connection = match self.connection.take() {
            Some(connection) => connection,
            None => Connection::open(&self.settings, Role::Reader).await?,
        };
        let asking = find(&mut connection, question);
        let answer = match timeout_at(question.until.into(), asking).await {
            Ok(answer) => answer?,
            Err(_) => return Err(Failure::late(self.settings.timeout)),
        };
        // Not one that was given up: it may still be saying the last answer.
        self.connection = Some(connection);
        Ok(answer)
    }
}

async fn find(connection: &mut Connection, question: &Question) -> Result<Found, Failure> {
    let Question { table, by, .. } = question;
    let names: Vec<&'static str> = by.iter().map(|(name, _)| *name).collect();
    let values: Vec<Value> = by.iter().map(|(_, value)| value.clone()).collect();
    let sql = connection.dialect().find(table, &names, ROWS_MAX);
    let mut found = Found { table, records: Vec::new(), faults: Vec::new() };
    for texts in connection.fetch(sql.into(), &values).await? {
        match record(table, texts) {
            Ok(record) => found.records.push(record),
            Err(fault) => found.faults.push(fault),
        }
    }
    Ok(found)
}
