//! `strowger db`: the tables of the database that `[storage]` names.
//!
//! For: making them, comparing them with what the modules need, bringing older ones up to date.
//! Not here: how (`strowger_node::storage`); tables are made from the modules' declarations.
//! Invariants: exit status 0 means that the tables are good, 78 that they are not.

use crate::start::{EXIT_CONFIGURATION, EXIT_SYSTEM};
use clap::Subcommand;
use std::process::ExitCode;
use strowger_node::control::say;
use strowger_node::storage::StorageSettings;
use strowger_node::storage::admin::{self, Task};

/// What to do to the database.
#[derive(Subcommand, Clone, Copy, Debug, PartialEq, Eq)]
pub enum DbTask {
    /// Make the tables that are missing (SQLite needs no such step: the first start makes them)
    Create,
    /// Report everything that is wrong with the tables, and change nothing
    Check,
    /// Make what is missing and bring older tables up to date; rows are kept
    Migrate,
}

/// Does it, for the tables that the settings name.
pub(crate) fn run(settings: Option<&StorageSettings>, task: DbTask) -> ExitCode {
    let Some(settings) = settings else {
        eprintln!("strowger: [storage] url is not set: there is no database");
        return ExitCode::from(EXIT_CONFIGURATION);
    };
    let tables: Vec<_> = settings.tables.iter().flatten().map(|(_, table)| *table).collect();
    let task = match task {
        DbTask::Create => Task::Create,
        DbTask::Check => Task::Check,
        DbTask::Migrate => Task::Migrate,
    };
    match admin::run(settings, &tables, task) {
        Ok(done) => {
            done.iter().for_each(|line| say(line));
            for table in tables {
                say(&format!("table {}: good, version {}", table.name, table.version));
            }
            ExitCode::SUCCESS
        }
        Err(error) => {
            eprintln!("strowger: {error}");
            let status = if error.is_configuration() { EXIT_CONFIGURATION } else { EXIT_SYSTEM };
            ExitCode::from(status)
        }
    }
}
