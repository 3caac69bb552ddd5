//! A table, a module's rows and a database in a file, for the tests of this folder.

use super::settings::{Database, StorageSettings};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};
use strowger_sip::date::UnixTime;
use strowger_sip::storage::{
    Action, Column, Datum, Haste, Kind, Note, Order, Place, Record, RowCause, RowFault, Rows,
    Table, Ticket, Version,
};
use tokio::runtime::Builder;
use tokio::task::LocalSet;

pub(super) static THINGS: Table = Table {
    name: "things",
    version: 3,
    columns: &[
        column("name", Kind::Text(16), false, ""),
        column("size", Kind::Integer, true, "0"),
        column("q", Kind::Real, false, "1.0"),
        column("until", Kind::Date, false, "2030-05-28 21:32:15"),
        column("note", Kind::Text(32), true, ""),
    ],
    key: &["name"],
    indexes: &[&["size", "note"]],
    ends: Some("until"),
    loaded_at_start: true,
};

const fn column(name: &'static str, kind: Kind, nullable: bool, default: &'static str) -> Column {
    Column { name, kind, nullable, default }
}

pub(super) fn thing(name: &str, size: i64) -> Record {
    vec![
        Datum::Text(name.to_owned()),
        Datum::Integer(size),
        Datum::Real(0.5),
        Datum::Date(UnixTime::from_secs(2_000_000_000)),
        Datum::Null,
    ]
}

fn order(action: Action, version: u64) -> Order {
    Order { table: &THINGS, action, version: Version(version), ticket: None, haste: Haste::Later }
}

pub(super) fn put(name: &str, size: i64, version: u64) -> Order {
    order(Action::Put(thing(name, size)), version)
}

pub(super) fn remove(name: &str, version: u64) -> Order {
    order(Action::Remove(vec![Datum::Text(name.to_owned())]), version)
}

/// Somebody waits for it.
pub(super) fn promised(order: Order, ticket: u64) -> Order {
    Order { ticket: Some(Ticket(ticket)), haste: Haste::Now, ..order }
}

/// Answered by [`Note::Found`].
pub(super) fn find(name: &str, ticket: u64) -> Order {
    let by = vec![("name", Datum::Text(name.to_owned()))];
    promised(order(Action::Find(by), 0), ticket)
}

/// The rows of a module that refuses things of size 13.
#[derive(Clone, Debug)]
pub(super) enum Row {
    To(Order),
    From(Note),
}

impl Rows for Row {
    fn tables(first: Place, visit: &mut dyn FnMut(Place, &'static Table)) {
        visit(first, &THINGS);
    }

    fn into_order(self) -> Option<(Place, Order)> {
        match self {
            Row::To(order) => Some((0, order)),
            Row::From(_) => None,
        }
    }

    fn from_note(_: Place, note: Note) -> Result<Option<Row>, RowFault> {
        if let Note::Loaded(_, record) = &note
            && record.get(1) == Some(&Datum::Integer(13))
        {
            let key = format!("{:?}", record.first());
            let cause = RowCause::OutOfRange;
            return Err(RowFault { table: THINGS.name, key, column: "size", cause });
        }
        Ok(Some(Row::From(note)))
    }
}

/// A folder for one test.
pub(crate) struct Folder(PathBuf);

impl Folder {
    pub(crate) fn new() -> Folder {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let number = COUNT.fetch_add(1, Ordering::Relaxed);
        let name = format!("strowger-storage-{}-{number}", std::process::id());
        let path = std::env::temp_dir().join(name);
        std::fs::create_dir_all(&path).expect("a folder");
        Folder(path)
    }

    pub(crate) fn path(&self) -> &Path {
        &self.0
    }

    pub(crate) fn settings(&self) -> StorageSettings {
        StorageSettings::new(Database::Sqlite(self.0.join("state.db")))
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// Runs a test of something asynchronous.
pub(crate) fn block_on<T>(what: impl Future<Output = T>) -> T {
    let runtime = Builder::new_current_thread().enable_all().build().expect("a runtime");
    LocalSet::new().block_on(&runtime, what)
}
