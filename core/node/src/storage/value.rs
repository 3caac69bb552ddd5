//! Values on their way into the database and out of it.
//!
//! For: checking what modules want written before a database sees it, naming rows by their keys,
//! turning what was read into records.
//! Not here: what a row means (the modules), statements (`sql.rs`).
//! Invariants: a change that was made here fits its table's columns, so that a server which would
//! cut it short, or refuse it with its whole batch, never gets it.

use std::fmt;
use strowger_sip::date::UnixTime;
use strowger_sip::storage::{
    Action, Column, Datum, Kind, Order, Record, RowCause, RowFault, Table, Version,
};

/// How much of a key a report shows, in characters: enough to find the row.
const KEY_SHOWN_MAX: usize = 64;
/// What a row that waits costs beside its values: slots of a map and of queues, keys. A guess.
const CHANGE_BYTES: usize = 256;

/// A value that is bound to a statement; its kind is known also when it is NULL.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Value {
    Text(Option<String>),
    Integer(Option<i64>),
    Real(Option<f64>),
}

/// Names a row: its table and the values of its key.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) struct RowKey(Box<[u8]>);

impl fmt::Debug for RowKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&String::from_utf8_lossy(&self.0))
    }
}

impl RowKey {
    fn new(table: &Table, values: &[Value]) -> RowKey {
        let mut bytes = table.name.as_bytes().to_vec();
        for value in values {
            // No text has this byte: the parts of two keys cannot be mistaken for each other.
            bytes.push(0);
            match value {
                Value::Text(Some(text)) => bytes.extend_from_slice(text.as_bytes()),
                Value::Integer(Some(number)) => {
                    bytes.extend_from_slice(number.to_string().as_bytes());
                }
                Value::Real(Some(number)) => {
                    bytes.extend_from_slice(number.to_string().as_bytes());
                }
                Value::Text(None) | Value::Integer(None) | Value::Real(None) => bytes.push(0),
            }
        }
        RowKey(bytes.into())
    }
}

/// What becomes of a row.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) enum Verb {
    Put,
    Remove,
    /// Of all rows of a group.
    Replace,
    /// Of all rows of the table that have ended.
    RemoveEnded,
}

/// One change of one row, checked.
#[derive(Clone, Debug)]
pub(super) struct Change {
    pub(super) table: &'static Table,
    pub(super) version: Version,
    pub(super) verb: Verb,
    /// All columns of a row that is put, the key's of one that is removed, the group's and then all
    /// columns of each row that takes its place, or the date by which rows have ended.
    pub(super) values: Vec<Value>,
}

impl Change {
    /// Memory that it takes, about.
    pub(super) fn bytes(&self) -> usize {
        let text = |value: &Value| match value {
            Value::Text(text) => text.as_ref().map_or(0, String::len),
            Value::Integer(_) | Value::Real(_) => 0,
        };
        let texts: usize = self.values.iter().map(text).sum();
        CHANGE_BYTES + texts + self.values.len() * size_of::<Value>()
    }
}

/// An order, sorted by what is to be done for it.
#[derive(Debug)]
pub(super) enum Work {
    Change(RowKey, Change),
    Find(Vec<(&'static str, Value)>),
}

/// Checks an order.
pub(super) fn check(table: &'static Table, order: Order) -> Result<Work, RowFault> {
    let Order { action, version, .. } = order;
    let (verb, names, record) = match action {
        Action::Put(record) => {
            let names: Vec<&'static str> = table.columns.iter().map(|c| c.name).collect();
            (Verb::Put, names, record)
        }
        Action::Remove(record) => (Verb::Remove, table.key.to_vec(), record),
        Action::Replace(group, rows) => return replacement(table, version, group, rows),
        Action::RemoveEnded(date) => {
            let ends = table.ends.ok_or_else(|| fault(table, "", "", RowCause::Missing))?;
            (Verb::RemoveEnded, vec![ends], vec![Datum::Date(date)])
        }
        Action::Find(by) => {
            let bind = |(name, datum)| {
                let column = column(table, name)?;
                let value = bind(column, datum).map_err(|cause| fault(table, "", name, cause))?;
                Ok((name, value))
            };
            return Ok(Work::Find(by.into_iter().map(bind).collect::<Result<_, _>>()?));
        }
    };
    let key_shown = shown_key(table, &names, &record);
    if record.len() != names.len() {
        return Err(fault(table, &key_shown, first_name(table), RowCause::Missing));
    }
    let mut values = Vec::with_capacity(record.len());
    for (name, datum) in names.iter().zip(record) {
        let column = column(table, name)?;
        let value = bind(column, datum);
        values.push(value.map_err(|cause| fault(table, &key_shown, column.name, cause))?);
    }
    let key: Vec<Value> = match verb {
        Verb::Put => {
            table.key.iter().filter_map(|name| values.get(table.place(name)?).cloned()).collect()
        }
        Verb::Remove => values.clone(),
        Verb::Replace => Vec::new(),
        // No row has a key without values: a later date takes the place of an earlier one.
        Verb::RemoveEnded => Vec::new(),
    };
    Ok(Work::Change(RowKey::new(table, &key), Change { table, version, verb, values }))
}

/// The column that names a row in reports.
fn first_name(table: &'static Table) -> &'static str {
    let group = table.indexes.first().and_then(|index| index.first());
    table.key.first().or(group).copied().unwrap_or_default()
}

/// The columns by which rows of a table without a key belong together.
pub(super) fn group_of(table: &Table) -> &'static [&'static str] {
    table.indexes.first().copied().unwrap_or_default()
}

fn replacement(
    table: &'static Table,
    version: Version,
    group: Record,
    rows: Vec<Record>,
) -> Result<Work, RowFault> {
    let names = group_of(table);
    let key_shown = shown_key(table, names, &group);
    let missing = |_| fault(table, &key_shown, first_name(table), RowCause::Missing);
    if names.is_empty() || group.len() != names.len() {
        return Err(missing(()));
    }
    let mut values = Vec::with_capacity(group.len() + rows.len() * table.columns.len());
    for (name, datum) in names.iter().zip(group) {
        let column = column(table, name)?;
        let value = bind(column, datum);
        values.push(value.map_err(|cause| fault(table, &key_shown, column.name, cause))?);
    }
    let key = RowKey::new(table, &values);
    for row in rows {
        if row.len() != table.columns.len() {
            return Err(missing(()));
        }
        for (column, datum) in table.columns.iter().zip(row) {
            let value = bind(column, datum);
            values.push(value.map_err(|cause| fault(table, &key_shown, column.name, cause))?);
        }
    }
    Ok(Work::Change(key, Change { table, version, verb: Verb::Replace, values }))
}

fn column(table: &'static Table, name: &str) -> Result<&'static Column, RowFault> {
    let known = table.columns.iter().find(|column| column.name == name);
    known.ok_or_else(|| fault(table, "", first_name(table), RowCause::Missing))
}

fn bind(column: &Column, datum: Datum) -> Result<Value, RowCause> {
    if datum == Datum::Null && !column.nullable {
        return Err(RowCause::Null);
    }
    Ok(match (column.kind, datum) {
        (Kind::Text(_) | Kind::Date, Datum::Null) => Value::Text(None),
        (Kind::Integer, Datum::Null) => Value::Integer(None),
        (Kind::Real, Datum::Null) => Value::Real(None),
        (Kind::Text(limit), Datum::Text(text)) => Value::Text(Some(fitting(text, limit)?)),
        (Kind::Integer, Datum::Integer(number)) => {
            // All columns of Kamailio's tables have 32 bits.
            i32::try_from(number).map_err(|_| RowCause::OutOfRange)?;
            Value::Integer(Some(number))
        }
        (Kind::Real, Datum::Real(number)) if number.is_finite() => Value::Real(Some(number)),
        (Kind::Real, Datum::Real(_)) => return Err(RowCause::OutOfRange),
        (Kind::Real, Datum::Integer(number)) => Value::Real(Some(number as f64)),
        (Kind::Date, Datum::Date(date)) => Value::Text(Some(date.to_string())),
        (Kind::Text(_) | Kind::Integer | Kind::Real | Kind::Date, _) => {
            return Err(RowCause::WrongKind);
        }
    })
}

fn fitting(text: String, characters: u16) -> Result<String, RowCause> {
    let limit = usize::from(characters);
    // Most texts need no counting: there are never more characters than bytes.
    if text.len() > limit && text.chars().count() > limit {
        return Err(RowCause::TooLong { length: text.len(), limit });
    }
    // PostgreSQL keeps none of these.
    if text.contains('\0') { Err(RowCause::Unreadable) } else { Ok(text) }
}

fn fault(table: &'static Table, key: &str, column: &'static str, cause: RowCause) -> RowFault {
    RowFault { table: table.name, key: key.to_owned(), column, cause }
}

fn shown_key(table: &Table, names: &[&str], record: &Record) -> String {
    let named = table.key.first().or(group_of(table).first());
    let place = names.iter().position(|name| Some(name) == named);
    match place.and_then(|place| record.get(place)) {
        Some(Datum::Text(text)) => text.chars().take(KEY_SHOWN_MAX).collect(),
        Some(Datum::Integer(number)) => number.to_string(),
        Some(Datum::Null | Datum::Real(_) | Datum::Date(_)) | None => "?".to_owned(),
    }
}

/// What was read of one row: each column as text, or NULL.
pub(super) type Texts = Vec<Option<Vec<u8>>>;

/// Makes a record of the columns of a row. A value that is not of its column's kind stays text, for
/// the module to refuse it by name.
pub(super) fn record(table: &'static Table, texts: Texts) -> Result<Record, RowFault> {
    let key = |texts: &Texts| {
        let place = table.place(table.key.first().or(group_of(table).first())?)?;
        let bytes = texts.get(place)?.as_deref()?;
        Some(String::from_utf8_lossy(bytes).chars().take(KEY_SHOWN_MAX).collect())
    };
    let is_text = |text: &Option<Vec<u8>>| {
        text.as_ref().is_none_or(|bytes| std::str::from_utf8(bytes).is_ok())
    };
    if let Some(place) = texts.iter().position(|text| !is_text(text)) {
        let column = table.columns.get(place).map_or("", |column| column.name);
        let key = key(&texts).unwrap_or_else(|| "?".to_owned());
        return Err(RowFault { table: table.name, key, column, cause: RowCause::Unreadable });
    }
    Ok(table.columns.iter().zip(texts).map(|(column, text)| datum(column.kind, text)).collect())
}

fn datum(kind: Kind, text: Option<Vec<u8>>) -> Datum {
    let Some(text) = text.and_then(|bytes| String::from_utf8(bytes).ok()) else {
        return Datum::Null;
    };
    let read = match kind {
        Kind::Text(_) => None,
        Kind::Integer => text.parse().ok().map(Datum::Integer),
        Kind::Real => text.parse().ok().map(Datum::Real),
        Kind::Date => UnixTime::parse(&text).map(Datum::Date),
    };
    read.unwrap_or(Datum::Text(text))
}

#[cfg(test)]
mod tests {
    use super::super::testing::{THINGS, put, remove, thing};
    use super::*;

    fn checked(order: Order) -> Result<Work, RowFault> {
        check(&THINGS, order)
    }

    #[test]
    fn a_put_and_a_removal_of_one_row_have_one_key() {
        let Ok(Work::Change(one, change)) = checked(put("a", 1, 5)) else { panic!("a change") };
        assert_eq!((change.verb, change.version), (Verb::Put, Version(5)));
        assert_eq!(change.values[1], Value::Integer(Some(1)));
        let Ok(Work::Change(two, change)) = checked(remove("a", 6)) else { panic!("a change") };
        assert_eq!((change.verb, change.values.len()), (Verb::Remove, 1));
        assert_eq!(one, two);
        let Ok(Work::Change(other, _)) = checked(remove("b", 6)) else { panic!("a change") };
        assert_ne!(one, other);
    }

    #[test]
    fn what_does_not_fit_its_column_never_reaches_a_database() {
        for (place, datum, cause) in [
            (0, Datum::Text("x".repeat(17)), RowCause::TooLong { length: 17, limit: 16 }),
            (0, Datum::Text("a\0b".into()), RowCause::Unreadable),
            (0, Datum::Null, RowCause::Null),
            (1, Datum::Integer(1 << 40), RowCause::OutOfRange),
            (2, Datum::Real(f64::NAN), RowCause::OutOfRange),
            (3, Datum::Text("soon".into()), RowCause::WrongKind),
        ] {
            let mut record = thing("a", 1);
            record[place] = datum;
            let order = Order { action: Action::Put(record), ..put("a", 1, 1) };
            let fault = checked(order).expect_err("a fault");
            assert_eq!((fault.column, fault.cause), (THINGS.columns[place].name, cause));
        }
        let long = "ü".repeat(16);
        assert!(checked(put(&long, 1, 1)).is_ok());
        let order = Order { action: Action::Put(Vec::new()), ..put("a", 1, 1) };
        assert_eq!(checked(order).expect_err("a fault").cause, RowCause::Missing);
    }

    #[test]
    fn what_is_read_is_of_its_kind_or_stays_text() {
        let text = |text: &str| Some(text.as_bytes().to_vec());
        let read = vec![text("a"), text("-7"), text("0.5"), text("2030-05-28 21:32:15"), None];
        let record_of = |texts| record(&THINGS, texts);
        let good = record_of(read.clone()).expect("a record");
        assert_eq!(good[1..3], [Datum::Integer(-7), Datum::Real(0.5)]);
        assert!(matches!(good[3], Datum::Date(_)));
        assert_eq!(good[4], Datum::Null);
        let mut bad = read;
        bad[1] = text("many");
        bad[3] = text("infinity");
        let kept = record_of(bad.clone()).expect("a record");
        assert_eq!(kept[1], Datum::Text("many".into()));
        bad[4] = Some(vec![0xff, 0xfe]);
        let fault = record_of(bad).expect_err("a fault");
        assert_eq!((fault.key.as_str(), fault.column), ("a", "note"));
    }
}
