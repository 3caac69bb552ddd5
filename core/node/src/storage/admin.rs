//! What an operator does to a database: `strowger db create`, `check`, `migrate`.
//!
//! For: tables made from what the modules declare; each call opens, works, and closes.
//! Not here: the running node (`thread.rs`), command lines (`core/strowger`).

use super::connection::{Connection, Failure, Role};
use super::settings::{Database, StorageSettings};
use super::{SchemaFault, StorageError, schema};
use strowger_sip::storage::Table;
use tokio::runtime::Builder;

/// What is to be done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Task {
    /// Make the tables that are missing.
    Create,
    /// Tell what is wrong, change nothing.
    Check,
    /// Make what is missing, and bring older tables up to date.
    Migrate,
}

/// Does it; a line for each thing that was done. What is wrong afterwards is the error.
pub fn run(
    settings: &StorageSettings,
    tables: &[&'static Table],
    task: Task,
) -> Result<Vec<String>, StorageError> {
    let database = settings.database.to_string();
    let runtime =
        Builder::new_current_thread().enable_all().build().map_err(StorageError::Thread)?;
    let done = runtime.block_on(carry_out(settings, tables, task));
    let (done, faults) = done.map_err(|failure| StorageError::Unreachable {
        database: database.clone(),
        cause: failure.to_string(),
    })?;
    if faults.is_empty() { Ok(done) } else { Err(StorageError::Schema { database, faults }) }
}

async fn carry_out(
    settings: &StorageSettings,
    tables: &[&'static Table],
    task: Task,
) -> Result<(Vec<String>, Vec<SchemaFault>), Failure> {
    if let (Task::Check, Database::Sqlite(path)) = (task, &settings.database)
        && !path.exists()
    {
        // Opening it would make it.
        let missing = |table: &&'static Table| SchemaFault::Missing { table: table.name };
        return Ok((Vec::new(), tables.iter().map(missing).collect()));
    }
    let mut connection = Connection::open(settings, Role::Reader).await?;
    let done = match task {
        Task::Create => schema::create(&mut connection, tables).await?,
        Task::Check => Vec::new(),
        Task::Migrate => schema::migrate(&mut connection, tables).await?,
    };
    let faults = schema::check(&mut connection, tables).await?;
    connection.close().await;
    Ok((done, faults))
}
