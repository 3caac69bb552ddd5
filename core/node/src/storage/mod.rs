//! Storage: rows of modules in a database that no shard ever waits for.
//!
//! For: taking rows from every shard, writing them in batches on a thread of its own, telling who
//! waits; reading tables back at start.
//! Not here: what a row means (the modules, through [`strowger_sip::storage`]).
//! Invariants: tokio and sqlx are known in this folder and in `resolve/` only; every queue is
//! bounded; every ticket is answered once, within [`settings::StorageSettings::timeout`] whatever
//! the database does.

pub mod admin;
mod connection;
mod count;
mod finder;
mod load;
mod outlet;
mod pending;
mod questions;
mod schema;
pub mod settings;
mod sql;
mod start;
mod summary;
#[cfg(test)]
pub(crate) mod testing;
mod thread;
mod turn;
mod value;
mod whole;
mod writer;

pub use count::Count;
pub use load::Loaded;
pub use outlet::{Given, Outlet};
pub use schema::SchemaFault;
pub use settings::{Database, StorageSettings, Synchronous};
pub use start::{Counter, Ring, Storage, start};
pub use summary::StorageSummary;
pub(crate) use turn::More;
pub(crate) use whole::{Whole, existing, read_whole};

use std::fmt;
use std::io;
use strowger_sip::settings::Section;
use strowger_sip::storage::{Place, Rows, Table};

/// Why storage did not start, or an order of the operator's was not carried out.
#[derive(Debug)]
pub enum StorageError {
    /// The database cannot be reached or does not work.
    Unreachable {
        /// Which database.
        database: String,
        /// What it says.
        cause: String,
    },
    /// Its tables are not those that the modules need.
    Schema {
        /// Which database.
        database: String,
        /// Everything that is wrong.
        faults: Vec<SchemaFault>,
    },
    /// The thread did not start.
    Thread(io::Error),
}

impl StorageError {
    /// Whether it is for the operator to mend, as a bad configuration is.
    pub const fn is_configuration(&self) -> bool {
        match self {
            StorageError::Schema { .. } => true,
            StorageError::Unreachable { .. } | StorageError::Thread(_) => false,
        }
    }
}

impl fmt::Display for StorageError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            StorageError::Unreachable { database, cause } => {
                write!(f, "storage {database}: {cause}")
            }
            StorageError::Schema { database, faults } => {
                writeln!(f, "storage {database} cannot be used:")?;
                faults.iter().try_for_each(|fault| writeln!(f, "  {fault}"))?;
                let missing = |fault: &SchemaFault| matches!(fault, SchemaFault::Missing { .. });
                f.write_str(if !faults.iter().all(SchemaFault::can_be_mended) {
                    "it was made by a newer release, or for another program"
                } else if faults.iter().all(missing) {
                    "`strowger db create` makes what is missing"
                } else {
                    "`strowger db migrate` brings it up to date"
                })
            }
            StorageError::Thread(cause) => write!(f, "cannot start the storage thread: {cause}"),
        }
    }
}

impl std::error::Error for StorageError {}

/// Every table that a list of modules declares, once, with the module that reads it at start.
pub fn tables<W: Rows>() -> Vec<(Place, &'static Table)> {
    let mut tables = Vec::new();
    W::tables(0, &mut |place, table| once(&mut tables, place, table));
    tables
}

/// The same in the names that the configuration gives them.
pub fn configured_tables<W: Rows>(root: &mut Section<'_>) -> Vec<(Place, &'static Table)> {
    let mut tables = Vec::new();
    W::configured_tables(0, root, &mut |place, table| once(&mut tables, place, table));
    tables
}

fn once(tables: &mut Vec<(Place, &'static Table)>, place: Place, table: &'static Table) {
    if tables.iter().all(|(_, known)| known.name != table.name) {
        tables.push((place, table));
    }
}
