//! A database in memory: the storage of a test.
//!
//! For: modules that store, and tests that look at rows or let the process die.
//! Not here: real databases (`core/node/src/storage`), what rows mean (modules).
//! Invariants: what is answered is durable, and of two orders on a row the newer one counts, as
//! with the storage thread.

use std::collections::BTreeMap;
use strowger_sip::storage::{Action, Datum, Note, Order, Outcome, Record, Table, Version};

/// What modules find as their database.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Storage {
    /// None: everything is kept in the node alone.
    #[default]
    Off,
    /// One in memory. It outlives the node's crashes and ends with the test.
    Memory,
}

impl Storage {
    pub(super) fn open(self) -> Option<Store> {
        match self {
            Storage::Off => None,
            Storage::Memory => Some(Store::default()),
        }
    }
}

/// The tables, by name.
#[derive(Debug, Default)]
pub(super) struct Store {
    tables: BTreeMap<&'static str, Rows>,
}

/// The rows of one table by their keys; a row that was removed keeps its version.
#[derive(Debug)]
struct Rows {
    table: &'static Table,
    rows: BTreeMap<String, (Version, Option<Record>)>,
    /// When rows that belong together were replaced last, by what they have in common.
    groups: BTreeMap<String, Version>,
    /// How many rows without a key were put.
    nameless: u64,
}

impl Store {
    /// Carries an order out; the answer for who waits for one.
    pub(super) fn carry_out(&mut self, order: Order) -> Option<Note> {
        let Order { table, action, version, ticket, .. } = order;
        let new = || Rows { table, rows: BTreeMap::new(), groups: BTreeMap::new(), nameless: 0 };
        let rows = self.tables.entry(table.name).or_insert_with(new);
        let found = rows.change(action, version);
        ticket.map(|ticket| match found {
            Some(records) => Note::Found(ticket, records),
            None => Note::Settled(ticket, Outcome::Durable),
        })
    }

    /// The rows of a table, as they are told at start.
    pub(super) fn load(&self, table: &'static Table) -> Vec<Note> {
        let rows = self.tables.get(table.name).into_iter().flat_map(Rows::records);
        rows.map(|record| Note::Loaded(table, record.clone())).collect()
    }

    /// The rows of a table, for people.
    pub(super) fn show(&self, table: &str) -> Vec<String> {
        let Some(rows) = self.tables.get(table) else { return Vec::new() };
        let columns = rows.table.columns;
        let show = |record: &Record| {
            let values = columns.iter().zip(record);
            let values = values.map(|(column, datum)| format!("{}={}", column.name, text(datum)));
            values.collect::<Vec<_>>().join(" ")
        };
        rows.records().map(show).collect()
    }
}

impl Rows {
    fn records(&self) -> impl Iterator<Item = &Record> {
        self.rows.values().filter_map(|(_, record)| record.as_ref())
    }

    /// The rows that were found, where that was the question.
    fn change(&mut self, action: Action, version: Version) -> Option<Vec<Record>> {
        match action {
            Action::Put(record) => {
                let key = self.key_of(&record);
                self.set(key, version, Some(record));
                None
            }
            Action::Remove(key) => {
                self.set(key.iter().map(text).collect::<Vec<_>>().join("\n"), version, None);
                None
            }
            Action::Find(wanted) => {
                let fits = |record: &&Record| {
                    wanted.iter().all(|(column, value)| {
                        let place = self.table.place(column);
                        place.and_then(|place| record.get(place)) == Some(value)
                    })
                };
                Some(self.records().filter(fits).cloned().collect())
            }
            Action::Replace(group, records) => {
                self.replace(&group, records, version);
                None
            }
            Action::RemoveEnded(now) => {
                let place = self.table.ends.and_then(|column| self.table.place(column));
                let has_ended = |record: &Record| {
                    let ends = place.and_then(|place| record.get(place));
                    matches!(ends, Some(Datum::Date(ends)) if ends.as_secs() > 0 && *ends <= now)
                };
                self.rows.retain(|_, (_, record)| !record.as_ref().is_some_and(has_ended));
                None
            }
        }
    }

    /// Rows that belong together are those with the same values of the table's first index.
    fn replace(&mut self, group: &Record, records: Vec<Record>, version: Version) {
        let known = self.groups.entry(group.iter().map(text).collect::<Vec<_>>().join("\n"));
        let known = known.or_insert(version);
        if *known > version {
            return;
        }
        *known = version;
        let names = self.table.indexes.first().copied().unwrap_or_default();
        let places: Vec<_> = names.iter().map(|column| self.table.place(column)).collect();
        let belongs = |record: &Record| {
            let values = places.iter().map(|place| place.and_then(|place| record.get(place)));
            values.eq(group.iter().map(Some))
        };
        self.rows.retain(|_, (_, record)| !record.as_ref().is_some_and(belongs));
        for record in records {
            let key = self.key_of(&record);
            self.set(key, version, Some(record));
        }
    }

    fn key_of(&mut self, record: &Record) -> String {
        if self.table.key.is_empty() {
            self.nameless += 1;
            return format!("{:020}", self.nameless);
        }
        let place = |column: &&str| self.table.place(column).and_then(|place| record.get(place));
        let values = self.table.key.iter().filter_map(place).map(text);
        values.collect::<Vec<_>>().join("\n")
    }

    fn set(&mut self, key: String, version: Version, record: Option<Record>) {
        let known = self.rows.entry(key).or_insert((version, None));
        if known.0 <= version {
            *known = (version, record);
        }
    }
}

fn text(datum: &Datum) -> String {
    match datum {
        Datum::Null => "NULL".to_owned(),
        Datum::Text(text) => text.clone(),
        Datum::Integer(number) => number.to_string(),
        Datum::Real(number) => number.to_string(),
        Datum::Date(date) => date.to_string(),
    }
}
