//! What modules and storage say to each other: tables, rows, tickets.
//!
//! For: one language for every module that stores and for the storage thread, whatever database is
//! behind it. A module hands out its own typed rows ([`crate::module::Module::Row`]); this trait
//! turns them into orders on tables, and storage's notes back into rows of the module.
//! Not here: SQL, batches, queues (`core/node/src/storage`), what a module's row means.
//! Invariants: a record's values stand in the order of its table's columns. Storage carries out
//! orders on one key in the order of their versions; an older one never undoes a newer one. Every
//! order with a ticket is answered, once, with that ticket, on the shard that gave it.

use crate::date::UnixTime;
use crate::lists::{ListFault, ListId, Listing};
use crate::module::{Either, Never};
use crate::settings::Section;
use std::fmt;

/// A table: names and columns are Kamailio's.
#[derive(Debug, PartialEq, Eq)]
pub struct Table {
    /// Its name.
    pub name: &'static str,
    /// Its version in the table `version`.
    pub version: u32,
    /// Its columns, but for the serial number `id` that every table has in front.
    pub columns: &'static [Column],
    /// The columns that name a row, each set unique; none in a table that is only read whole, or
    /// whose rows are replaced in groups.
    pub key: &'static [&'static str],
    /// Other columns by which rows are found: an index is made of each set.
    pub indexes: &'static [&'static [&'static str]],
    /// The date after which a row is of no use to anybody, where it has one; zero is for ever.
    pub ends: Option<&'static str>,
    /// Whether every row is handed to the shards at start.
    pub loaded_at_start: bool,
}

impl Table {
    /// Where a column stands in a record.
    pub fn place(&self, column: &str) -> Option<usize> {
        self.columns.iter().position(|known| known.name == column)
    }
}

/// A column.
#[derive(Debug, PartialEq, Eq)]
pub struct Column {
    /// Its name.
    pub name: &'static str,
    /// What it holds.
    pub kind: Kind,
    /// Whether it may be NULL.
    pub nullable: bool,
    /// Its value in rows that others insert, as SQL text; empty for none.
    pub default: &'static str,
}

/// What a column holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Text of at most so many characters.
    Text(u16),
    /// A whole number.
    Integer,
    /// A number with a fraction.
    Real,
    /// A date with time.
    Date,
}

/// One value of a record.
#[derive(Clone, Debug, PartialEq)]
pub enum Datum {
    /// Nothing.
    Null,
    /// Text; what storage reads may be anything, what modules write is UTF-8.
    Text(String),
    /// A whole number.
    Integer(i64),
    /// A number with a fraction.
    Real(f64),
    /// A date with time.
    Date(UnixTime),
}

/// One row's values, in the order of its table's columns.
pub type Record = Vec<Datum>;

/// Grows with each change of a row, also over restarts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Version(pub u64);

/// Names one order whose giver waits for the answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Ticket(pub u64);

/// How soon an order is to be carried out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Haste {
    /// With the next batch; somebody waits.
    Now,
    /// When the batch is full or its time has come.
    Later,
}

/// What storage is to do.
#[derive(Clone, Debug, PartialEq)]
pub enum Action {
    /// Insert the row, or update all its columns.
    Put(Record),
    /// Delete the row of this key (values in the order of [`Table::key`]).
    Remove(Record),
    /// Find rows by the values of some columns, and answer with [`Note::Found`].
    Find(Vec<(&'static str, Datum)>),
    /// Delete the rows whose values of the table's first index are these, and insert others in their
    /// place, all at once: for a table without a key, whose rows belong together.
    Replace(Record, Vec<Record>),
    /// Delete the rows that have ended by this date ([`Table::ends`]), whoever wrote them.
    RemoveEnded(UnixTime),
}

/// One order.
#[derive(Clone, Debug)]
pub struct Order {
    /// On which table.
    pub table: &'static Table,
    /// What.
    pub action: Action,
    /// Of two changes of one row, the one with the greater version counts.
    pub version: Version,
    /// Who waits for the answer.
    pub ticket: Option<Ticket>,
    /// How soon.
    pub haste: Haste,
}

/// How an order with a ticket ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// It survives a crash.
    Durable,
    /// It is not promised: storage is dead, too slow, or its queue full. It may happen all the
    /// same, for a database that dies while it commits cannot be asked; who gave the order says by
    /// a newer version what holds instead.
    Refused,
}

/// What storage tells a module.
#[derive(Clone, Debug)]
pub enum Note {
    /// A row that was there at start. Every shard gets every row and keeps its own.
    Loaded(&'static Table, Record),
    /// The rows that were asked for.
    Found(Ticket, Vec<Record>),
    /// An order with a ticket has ended.
    Settled(Ticket, Outcome),
    /// Changes without tickets were dropped: say again what there is.
    Resync,
}

/// Which module of a routing's list a row belongs to.
pub type Place = u8;

/// The rows of a module, or of a list of modules, as storage sees them.
pub trait Rows: Clone + Send + Sized + 'static {
    /// Shows every table with the place of the module that owns it, counted from `first`.
    fn tables(first: Place, visit: &mut dyn FnMut(Place, &'static Table));

    /// The same under the names that the configuration gives them; `root` holds every module's
    /// section. A module without such keys shows its tables as they are.
    fn configured_tables(
        first: Place,
        root: &mut Section<'_>,
        visit: &mut dyn FnMut(Place, &'static Table),
    ) {
        let _ = root;
        Self::tables(first, visit);
    }

    /// What storage is to do, and to whom it answers; `None` when the row is none for storage.
    fn into_order(self) -> Option<(Place, Order)>;

    /// A note as a row of the module at this place; `None` when that has no use for it.
    ///
    /// # Errors
    /// When a row of the table cannot be used.
    fn from_note(place: Place, note: Note) -> Result<Option<Self>, RowFault>;

    /// Whether the module at this place can use a row of its table that was asked for.
    ///
    /// # Errors
    /// When it cannot.
    fn check(place: Place, table: &'static Table, record: &Record) -> Result<(), RowFault> {
        let _ = (place, table, record);
        Ok(())
    }

    /// The list that this row wants read again; `None` for any other row.
    fn wants(&self) -> Option<ListId> {
        None
    }

    /// A whole list as a row of the module at this place; `None` when that has no such list.
    ///
    /// # Errors
    /// Everything that is wrong with it.
    fn from_list(place: Place, listing: &Listing) -> Result<Option<Self>, Vec<ListFault>> {
        let _ = (place, listing);
        Ok(None)
    }
}

/// A module that stores nothing.
impl Rows for () {
    fn tables(_: Place, _: &mut dyn FnMut(Place, &'static Table)) {}
    fn into_order(self) -> Option<(Place, Order)> {
        None
    }
    fn from_note(_: Place, _: Note) -> Result<Option<Self>, RowFault> {
        Ok(None)
    }
}

/// The end of a list.
impl Rows for Never {
    fn tables(_: Place, _: &mut dyn FnMut(Place, &'static Table)) {}
    fn into_order(self) -> Option<(Place, Order)> {
        match self {}
    }
    fn from_note(_: Place, _: Note) -> Result<Option<Self>, RowFault> {
        Ok(None)
    }
}

impl<A: Rows, B: Rows> Rows for Either<A, B> {
    fn tables(first: Place, visit: &mut dyn FnMut(Place, &'static Table)) {
        A::tables(first, visit);
        B::tables(first + 1, visit);
    }
    fn configured_tables(
        first: Place,
        root: &mut Section<'_>,
        visit: &mut dyn FnMut(Place, &'static Table),
    ) {
        A::configured_tables(first, root, visit);
        B::configured_tables(first + 1, root, visit);
    }
    fn into_order(self) -> Option<(Place, Order)> {
        match self {
            Either::Left(row) => row.into_order().map(|(_, order)| (0, order)),
            Either::Right(row) => row.into_order().map(|(place, order)| (place + 1, order)),
        }
    }
    fn from_note(place: Place, note: Note) -> Result<Option<Self>, RowFault> {
        match place.checked_sub(1) {
            None => Ok(A::from_note(0, note)?.map(Either::Left)),
            Some(place) => Ok(B::from_note(place, note)?.map(Either::Right)),
        }
    }
    fn check(place: Place, table: &'static Table, record: &Record) -> Result<(), RowFault> {
        match place.checked_sub(1) {
            None => A::check(0, table, record),
            Some(place) => B::check(place, table, record),
        }
    }
    fn wants(&self) -> Option<ListId> {
        match self {
            Either::Left(row) => row.wants(),
            Either::Right(row) => row.wants().map(|list| ListId { place: list.place + 1, ..list }),
        }
    }
    fn from_list(place: Place, listing: &Listing) -> Result<Option<Self>, Vec<ListFault>> {
        match place.checked_sub(1) {
            None => Ok(A::from_list(0, listing)?.map(Either::Left)),
            Some(place) => Ok(B::from_list(place, listing)?.map(Either::Right)),
        }
    }
}

/// A row that cannot be used: in which table, which row, and what is wrong with it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RowFault {
    /// The table.
    pub table: &'static str,
    /// The row's key as far as it can be shown.
    pub key: String,
    /// The column.
    pub column: &'static str,
    /// What is wrong.
    pub cause: RowCause,
}

/// What is wrong with a value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RowCause {
    /// There is no such column in the record.
    Missing,
    /// NULL where a value must be.
    Null,
    /// A value of another kind.
    WrongKind,
    /// Text longer than allowed.
    TooLong {
        /// How long it is, in bytes.
        length: usize,
        /// How long it may be.
        limit: usize,
    },
    /// A number out of its range.
    OutOfRange,
    /// Text that does not mean what it must.
    Unreadable,
    /// Its time is over.
    Ended,
}

impl fmt::Display for RowFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let RowFault { table, key, column, cause } = self;
        write!(f, "table {table}, row {key}, column {column}: {cause}")
    }
}

impl fmt::Display for RowCause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            RowCause::Missing => f.write_str("missing"),
            RowCause::Null => f.write_str("NULL"),
            RowCause::WrongKind => f.write_str("not the kind of value that is kept there"),
            RowCause::TooLong { length, limit } => write!(f, "{length} bytes, {limit} allowed"),
            RowCause::OutOfRange => f.write_str("out of range"),
            RowCause::Unreadable => f.write_str("cannot be understood"),
            RowCause::Ended => f.write_str("its time is over"),
        }
    }
}

impl std::error::Error for RowFault {}

/// Reads a record's values by the names of their columns.
#[derive(Debug)]
pub struct Reader<'r> {
    table: &'static Table,
    record: &'r [Datum],
    key: &'static str,
}

impl<'r> Reader<'r> {
    /// Reads this record; `key` is the column that names it in faults.
    pub fn new(table: &'static Table, record: &'r [Datum], key: &'static str) -> Reader<'r> {
        Reader { table, record, key }
    }

    /// Says that a column's value cannot be used.
    pub fn fault(&self, column: &'static str, cause: RowCause) -> RowFault {
        let key = match self.datum(self.key) {
            Some(Datum::Text(text)) => text.chars().take(KEY_SHOWN_MAX).collect(),
            Some(Datum::Integer(number)) => number.to_string(),
            Some(Datum::Null | Datum::Real(_) | Datum::Date(_)) | None => "?".to_owned(),
        };
        RowFault { table: self.table.name, key, column, cause }
    }

    /// Text, not longer than the column allows; `None` for NULL.
    ///
    /// # Errors
    /// When it is no text or too long.
    pub fn text(&self, column: &'static str) -> Result<Option<&'r str>, RowFault> {
        let limit = self.table.place(column).and_then(|place| self.table.columns.get(place));
        // Columns count characters; one takes at most four bytes.
        let limit = match limit.map(|column| column.kind) {
            Some(Kind::Text(characters)) => usize::from(characters) * 4,
            Some(Kind::Integer | Kind::Real | Kind::Date) | None => 0,
        };
        match self.datum(column) {
            Some(Datum::Null) => Ok(None),
            Some(Datum::Text(text)) if text.len() <= limit => Ok(Some(text)),
            Some(Datum::Text(text)) => {
                Err(self.fault(column, RowCause::TooLong { length: text.len(), limit }))
            }
            Some(Datum::Integer(_) | Datum::Real(_) | Datum::Date(_)) => {
                Err(self.fault(column, RowCause::WrongKind))
            }
            None => Err(self.fault(column, RowCause::Missing)),
        }
    }

    /// Text that must be there.
    ///
    /// # Errors
    /// When it is NULL, no text or too long.
    pub fn required_text(&self, column: &'static str) -> Result<&'r str, RowFault> {
        self.text(column)?.ok_or_else(|| self.fault(column, RowCause::Null))
    }

    /// A whole number; `None` for NULL.
    ///
    /// # Errors
    /// When it is none or out of `T`'s range.
    pub fn integer<T: TryFrom<i64>>(&self, column: &'static str) -> Result<Option<T>, RowFault> {
        match self.datum(column) {
            Some(Datum::Null) => Ok(None),
            Some(Datum::Integer(number)) => match T::try_from(*number) {
                Ok(number) => Ok(Some(number)),
                Err(_) => Err(self.fault(column, RowCause::OutOfRange)),
            },
            Some(Datum::Text(_) | Datum::Real(_) | Datum::Date(_)) => {
                Err(self.fault(column, RowCause::WrongKind))
            }
            None => Err(self.fault(column, RowCause::Missing)),
        }
    }

    /// A number with a fraction; `None` for NULL.
    ///
    /// # Errors
    /// When it is no number.
    pub fn real(&self, column: &'static str) -> Result<Option<f64>, RowFault> {
        match self.datum(column) {
            Some(Datum::Null) => Ok(None),
            Some(Datum::Real(number)) => Ok(Some(*number)),
            // Databases give back a whole number where the fraction is zero.
            Some(Datum::Integer(number)) => Ok(Some(*number as f64)),
            Some(Datum::Text(_) | Datum::Date(_)) => Err(self.fault(column, RowCause::WrongKind)),
            None => Err(self.fault(column, RowCause::Missing)),
        }
    }

    /// A date; `None` for NULL. Text that reads as a date will do: SQLite keeps dates so.
    ///
    /// # Errors
    /// When it is no date.
    pub fn date(&self, column: &'static str) -> Result<Option<UnixTime>, RowFault> {
        match self.datum(column) {
            Some(Datum::Null) => Ok(None),
            Some(Datum::Date(date)) => Ok(Some(*date)),
            Some(Datum::Text(text)) => match UnixTime::parse(text) {
                Some(date) => Ok(Some(date)),
                None => Err(self.fault(column, RowCause::Unreadable)),
            },
            Some(Datum::Integer(_) | Datum::Real(_)) => {
                Err(self.fault(column, RowCause::WrongKind))
            }
            None => Err(self.fault(column, RowCause::Missing)),
        }
    }

    fn datum(&self, column: &str) -> Option<&'r Datum> {
        self.record.get(self.table.place(column)?)
    }
}

/// How much of a key a fault shows, in characters: enough to find the row.
const KEY_SHOWN_MAX: usize = 64;

#[cfg(test)]
mod tests {
    use super::*;

    static TABLE: Table = Table {
        name: "things",
        version: 1,
        columns: &[
            Column { name: "name", kind: Kind::Text(4), nullable: false, default: "" },
            Column { name: "size", kind: Kind::Integer, nullable: true, default: "0" },
            Column { name: "until", kind: Kind::Date, nullable: true, default: "" },
        ],
        key: &["name"],
        indexes: &[],
        ends: None,
        loaded_at_start: true,
    };

    #[test]
    fn a_bad_value_is_named_with_table_key_and_column() {
        let text = |text: &str| Datum::Text(text.to_owned());
        let record = [text("bob"), text("big"), text("soon")];
        let reader = Reader::new(&TABLE, &record, "name");
        assert_eq!(reader.required_text("name"), Ok("bob"));
        let fault = reader.integer::<u32>("size").expect_err("text");
        assert_eq!(
            fault.to_string(),
            "table things, row bob, column size: not the kind of value that is kept there"
        );
        assert_eq!(reader.date("until").map_err(|f| f.cause), Err(RowCause::Unreadable));
        let record = [text(&"x".repeat(17)), Datum::Integer(-1)];
        let reader = Reader::new(&TABLE, &record, "name");
        let long = RowCause::TooLong { length: 17, limit: 16 };
        assert_eq!(reader.required_text("name").map_err(|f| f.cause), Err(long));
        let small = reader.integer::<u32>("size").map_err(|f| f.cause);
        assert_eq!(small, Err(RowCause::OutOfRange));
        assert_eq!(reader.date("until").map_err(|f| f.cause), Err(RowCause::Missing));
    }
}
