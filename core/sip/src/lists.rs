//! Lists that a module keeps outside of the configuration: files and whole tables.
//!
//! For: naming what is to be read, and what reading it found; the edge reads, modules understand.
//! Not here: opening files and databases (`core/node/src/lists.rs`), what a list means (modules).
//! Invariants: a list is taken into use whole or not at all. Every fault names its file and line,
//! or its table and row.

use crate::settings::{Section, Text};
use crate::storage::{Place, Record, RowFault, Table};
use std::fmt;

/// Names a list among all those of a node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ListId {
    /// Which module.
    pub place: Place,
    /// Which of its lists.
    pub number: u8,
}

/// A list: its name and what it is made of, in this order.
#[derive(Clone, Debug)]
pub struct List {
    /// Which of the module's lists.
    pub number: u8,
    /// What it is called in the log.
    pub name: &'static str,
    /// The files that the configuration names.
    pub files: Vec<ListFile>,
    /// Read too where there is storage.
    pub table: Option<&'static Table>,
    /// Most rows of the table.
    pub rows_max: u32,
}

/// A file of a list.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ListFile {
    /// What it is for, in the module's own words.
    pub role: String,
    /// The key that names it, for example `dispatcher.list_file`.
    pub key: String,
    /// Its path as it was written, and where.
    pub path: Text,
}

impl ListFile {
    /// The file that a key of a section names, if it is set.
    pub fn of(
        section: &mut Section<'_>,
        name: &str,
        key: &'static str,
        role: &str,
    ) -> Option<ListFile> {
        let path = section.text(key)?;
        if path.value.is_empty() {
            section.problem(key, "the path is empty", "the path of a file");
            return None;
        }
        Some(ListFile { role: role.to_owned(), key: format!("{name}.{key}"), path })
    }
}

/// What was read for one list.
#[derive(Clone, Debug, Default)]
pub struct Listing {
    /// Which of the module's lists.
    pub number: u8,
    /// Its files, in the order of [`List::files`].
    pub files: Vec<FileText>,
    /// The rows of its table.
    pub records: Vec<Record>,
}

/// What one file holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FileText {
    /// What it is for ([`ListFile::role`]).
    pub role: String,
    /// Its name, for faults.
    pub name: String,
    /// Its text.
    pub text: String,
}

/// Something that is wrong with a list: where, and what.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ListFault {
    place: String,
    what: String,
}

impl ListFault {
    /// In a line of a file, counted from 1.
    pub fn in_line(file: &FileText, line: usize, what: impl Into<String>) -> ListFault {
        ListFault { place: format!("{}:{line}", file.name), what: what.into() }
    }

    /// In a row of a table.
    pub fn in_row(table: &Table, row: &str, what: impl Into<String>) -> ListFault {
        let row: String = row.chars().take(ROW_SHOWN_MAX).collect();
        ListFault { place: format!("table {}, row {row}", table.name), what: what.into() }
    }

    /// With a source as a whole.
    pub fn with(source: impl Into<String>, what: impl Into<String>) -> ListFault {
        ListFault { place: source.into(), what: what.into() }
    }
}

/// How much of a row's key a fault shows, in characters.
const ROW_SHOWN_MAX: usize = 64;

impl From<RowFault> for ListFault {
    fn from(fault: RowFault) -> ListFault {
        let place = format!("table {}, row {}, column {}", fault.table, fault.key, fault.column);
        ListFault { place, what: fault.cause.to_string() }
    }
}

impl fmt::Display for ListFault {
    /// `file:line: what is wrong`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.place, self.what)
    }
}

impl std::error::Error for ListFault {}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::settings::{Configuration, Place, Value};

    #[test]
    fn a_fault_names_its_line() {
        let file = FileText { role: String::new(), name: "a.list".into(), text: String::new() };
        assert_eq!(ListFault::in_line(&file, 3, "no").to_string(), "a.list:3: no");
    }

    #[test]
    fn a_file_comes_from_its_key() {
        let mut configuration = Configuration::empty("t.toml");
        configuration.set("d", "list_file", Place::Line(4), Value::String("a.list".into()));
        configuration.set("d", "other_file", Place::Line(5), Value::String(String::new()));
        let (files, problems) = configuration.read(|root| {
            let mut section = root.section("d");
            ["list_file", "other_file", "third_file"]
                .map(|key| ListFile::of(&mut section, "d", key, ""))
        });
        let [Some(file), None, None] = files else { panic!("{files:?}") };
        assert_eq!((file.key.as_str(), file.path.place), ("d.list_file", Place::Line(4)));
        assert_eq!(problems.to_string().lines().count(), 1, "{problems}");
    }
}
