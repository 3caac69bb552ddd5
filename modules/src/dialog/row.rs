//! Tables `dialog` and `dialog_vars`: what storage keeps of a call, with Kamailio's columns.
//!
//! For: turning dialogs into records and back.
//! Not here: the tables and their names (`names.rs`), when a row is written (`store.rs`), SQL
//! (`core/node/src/storage`).
//! Invariants: a record that cannot be used is a fault with table and key, never a panic.

use super::cookie::Key;
use super::names::{DIALOG, Tables, at, named};
use crate::json;
use std::sync::Arc;
use strowger_sip::settings::Section;
use strowger_sip::storage::{
    Action, Datum, Haste, Kind, Note, Order, Outcome, Place, Reader, Record, RowCause, RowFault,
    Rows, Table, Ticket, Version,
};

/// One leg of a row.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LegRow {
    /// The party's URI.
    pub uri: String,
    /// Its tag.
    pub tag: String,
    /// The number of its last request.
    pub cseq: Option<u32>,
    /// The way to it.
    pub routes: String,
    /// Its contact.
    pub contact: String,
    /// The listener at which it is known: `udp:192.0.2.1:5060`.
    pub socket: String,
}

/// One row of `dialog`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct DialogRow {
    /// Its key.
    pub key: Key,
    /// The key in its cookie.
    pub cookie: Key,
    /// Its Call-ID.
    pub call_id: String,
    /// The caller's leg.
    pub caller: LegRow,
    /// The callee's leg.
    pub callee: LegRow,
    /// Its state's number.
    pub state: u8,
    /// When it was answered, in Unix time.
    pub start: u32,
    /// When its lifetime is over, in Unix time.
    pub timeout: u32,
    /// The routing's flags.
    pub script_flags: u32,
    /// Internal flags.
    pub flags: u16,
    /// The timeout route's name.
    pub timeout_route: String,
    /// The Request-URI of its INVITE.
    pub request_uri: String,
    /// Its profiles by name, each with its value.
    pub profiles: Vec<(String, String)>,
}

/// One row of `dialog_vars`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VariableRow {
    /// Of which dialog.
    pub key: Key,
    /// Its name.
    pub name: String,
    /// Its value.
    pub value: String,
}

/// Where, in which order and how soon a change is made, and who waits for it.
#[derive(Clone, Copy, Debug)]
pub struct Terms {
    /// In which tables.
    pub tables: Tables,
    /// Of two changes of one row the one with the greater version counts.
    pub version: Version,
    /// How soon.
    pub haste: Haste,
    /// Whether somebody waits.
    pub ticket: Option<Ticket>,
}

/// What the dialog module says to storage and hears from it.
#[derive(Clone, Debug)]
pub enum Row {
    /// To storage: insert or update a dialog.
    Put(Box<DialogRow>, Terms),
    /// To storage: delete one.
    Remove(Key, Terms),
    /// To storage: insert or update a variable.
    PutVariable(Box<VariableRow>, Terms),
    /// To storage: delete one.
    RemoveVariable(Key, String, Terms),
    /// To storage: which dialogs have this Call-ID?
    Find(String, Tables),
    /// To storage: which dialogs of other nodes, by their slot, are there?
    FindSlot(u32, Tables),
    /// To storage: which variables has this dialog?
    FindVariables(Key, Tables),
    /// From storage: a dialog that was there at start.
    Loaded(Arc<DialogRow>),
    /// From storage: a variable that was there at start.
    LoadedVariable(Arc<VariableRow>),
    /// From storage: the answer to a question.
    Found(Vec<DialogRow>, Vec<VariableRow>, usize),
    /// From storage: a change that somebody waits for has ended.
    Settled(Ticket, Outcome),
    /// From storage: changes were dropped; say again what there is.
    Resync,
}

/// The ticket of questions: no promise has it.
const QUESTION: Ticket = Ticket(u64::MAX);

impl Rows for Row {
    fn tables(first: Place, visit: &mut dyn FnMut(Place, &'static Table)) {
        let Tables { dialogs, variables } = Tables::default();
        visit(first, dialogs);
        visit(first, variables);
    }

    /// Those that the configuration names; none when it stores no dialogs, for a database need not
    /// have tables that nobody uses.
    fn configured_tables(
        first: Place,
        root: &mut Section<'_>,
        visit: &mut dyn FnMut(Place, &'static Table),
    ) {
        let mut section = root.section("dialog");
        let mut section = section.section("database");
        if section.integer("db_mode", 0, 0..=3) != 0 {
            let Tables { dialogs, variables } = named(&mut section);
            visit(first, dialogs);
            visit(first, variables);
        }
    }

    fn into_order(self) -> Option<(Place, Order)> {
        let question = |table: &'static Table, by| Order {
            table,
            action: Action::Find(by),
            version: Version::default(),
            ticket: Some(QUESTION),
            haste: Haste::Now,
        };
        let (table, action, terms) = match self {
            Row::Put(row, terms) => (terms.tables.dialogs, Action::Put(record(&row)), terms),
            Row::Remove(key, terms) => (terms.tables.dialogs, Action::Remove(key_of(key)), terms),
            Row::PutVariable(row, terms) => {
                (terms.tables.variables, Action::Put(variable_record(*row)), terms)
            }
            Row::RemoveVariable(key, name, terms) => {
                let mut record = key_of(key);
                record.push(Datum::Text(name));
                (terms.tables.variables, Action::Remove(record), terms)
            }
            Row::Find(call_id, Tables { dialogs, .. }) => {
                let by = vec![(at(dialogs, 2), Datum::Text(call_id))];
                return Some((0, question(dialogs, by)));
            }
            Row::FindSlot(slot, Tables { dialogs, .. }) => {
                let by = vec![(at(dialogs, 0), Datum::Integer(i64::from(slot)))];
                return Some((0, question(dialogs, by)));
            }
            Row::FindVariables(key, Tables { variables, .. }) => {
                let names = [at(variables, 0), at(variables, 1)];
                let by = names.into_iter().zip(key_of(key)).collect();
                return Some((0, question(variables, by)));
            }
            Row::Loaded(_)
            | Row::LoadedVariable(_)
            | Row::Found(..)
            | Row::Settled(..)
            | Row::Resync => return None,
        };
        let Terms { version, haste, ticket, .. } = terms;
        Some((0, Order { table, action, version, ticket, haste }))
    }

    fn from_note(_: Place, note: Note) -> Result<Option<Row>, RowFault> {
        // Tables are told apart by their width, whatever their names.
        let width = DIALOG.columns.len();
        Ok(match note {
            Note::Loaded(table, record) if table.columns.len() == width => {
                Some(Row::Loaded(Arc::new(read(table, &record)?)))
            }
            Note::Loaded(table, record) => {
                Some(Row::LoadedVariable(Arc::new(read_variable(table, &record)?)))
            }
            Note::Found(_, records) => {
                let Tables { dialogs, variables } = Tables::default();
                let (wide, narrow): (Vec<_>, Vec<_>) =
                    records.iter().partition(|record| record.len() == width);
                let rows: Vec<DialogRow> =
                    wide.iter().filter_map(|record| read(dialogs, record).ok()).collect();
                let vars: Vec<VariableRow> = narrow
                    .iter()
                    .filter_map(|record| read_variable(variables, record).ok())
                    .collect();
                let faulty = records.len() - rows.len() - vars.len();
                Some(Row::Found(rows, vars, faulty))
            }
            Note::Settled(ticket, outcome) => Some(Row::Settled(ticket, outcome)),
            Note::Resync => Some(Row::Resync),
        })
    }
}

impl DialogRow {
    /// Whether every value fits its column: a database refuses what does not.
    pub(super) fn fits(&self) -> bool {
        fit(&DIALOG, &record(self))
    }
}

impl VariableRow {
    /// The same of a variable.
    pub(super) fn fits(&self) -> bool {
        fit(Tables::default().variables, &variable_record(self.clone()))
    }
}

fn fit(table: &Table, record: &Record) -> bool {
    table.columns.iter().zip(record).all(|(column, datum)| match (column.kind, datum) {
        (Kind::Text(most), Datum::Text(text)) => text.chars().count() <= usize::from(most),
        (Kind::Text(_) | Kind::Integer | Kind::Real | Kind::Date, _) => true,
    })
}

fn key_of(key: Key) -> Record {
    vec![Datum::Integer(i64::from(key.entry)), Datum::Integer(i64::from(key.id))]
}

fn variable_record(row: VariableRow) -> Record {
    let mut record = key_of(row.key);
    record.extend([Datum::Text(row.name), Datum::Text(row.value)]);
    record
}

fn optional(text: &str) -> Datum {
    if text.is_empty() { Datum::Null } else { Datum::Text(text.to_owned()) }
}

/// The values in the order of the table's columns.
fn record(row: &DialogRow) -> Record {
    let text = |text: &str| Datum::Text(text.to_owned());
    let number = |cseq: Option<u32>| Datum::Text(cseq.unwrap_or(0).to_string());
    let (caller, callee) = (&row.caller, &row.callee);
    let mut record = key_of(row.key);
    record.extend([
        text(&row.call_id),
        text(&caller.uri),
        text(&caller.tag),
        text(&callee.uri),
        text(&callee.tag),
        number(caller.cseq),
        number(callee.cseq),
        optional(&caller.routes),
        optional(&callee.routes),
        text(&caller.contact),
        text(&callee.contact),
        text(&caller.socket),
        text(&callee.socket),
        Datum::Integer(i64::from(row.state)),
        Datum::Integer(i64::from(row.start)),
        Datum::Integer(i64::from(row.timeout)),
        Datum::Integer(i64::from(row.script_flags)),
        Datum::Integer(i64::from(row.flags)),
        optional(&row.timeout_route),
        text(&row.request_uri),
        extra(row),
    ]);
    record
}

/// `xdata`: the profiles, and the cookie's key where it is another dialog's.
fn extra(row: &DialogRow) -> Datum {
    if row.profiles.is_empty() && row.cookie == row.key {
        return Datum::Null;
    }
    Datum::Text(json::object(|json| {
        json.array("profiles", |json| {
            for (name, value) in &row.profiles {
                json.object("", |json| {
                    json.text("name", name);
                    if !value.is_empty() {
                        json.text("value", value);
                    }
                });
            }
        });
        if row.cookie != row.key {
            json.text("did", &row.cookie.to_string());
        }
    }))
}

/// Reads a record.
///
/// # Errors
/// When a value is missing, of another kind, too long or absurd.
fn read(table: &'static Table, record: &Record) -> Result<DialogRow, RowFault> {
    let reader = Reader::new(table, record, at(table, 2));
    let name = |place| at(table, place);
    let text = |place| reader.required_text(name(place)).map(str::to_owned);
    let maybe = |place| reader.text(name(place)).map(|text| text.unwrap_or_default().to_owned());
    // Columns hold unsigned numbers of 32 bits; some databases give them back signed.
    let number = |place| -> Result<u32, RowFault> {
        let number = reader.integer::<i64>(name(place))?.unwrap_or(0);
        Ok((number & 0xffff_ffff) as u32)
    };
    let cseq = |place| -> Result<Option<u32>, RowFault> {
        Ok(maybe(place)?.trim().parse::<u32>().ok().filter(|number| *number > 0))
    };
    let key = Key { entry: number(0)?, id: number(1)? };
    let call_id = text(2)?;
    if call_id.is_empty() || key.id == 0 {
        return Err(reader.fault(name(2), RowCause::Unreadable));
    }
    let state = u8::try_from(number(15)?).ok().filter(|state| (1..=5).contains(state));
    let state = state.ok_or_else(|| reader.fault(name(15), RowCause::OutOfRange))?;
    let (profiles, cookie) = read_extra(&maybe(22)?);
    Ok(DialogRow {
        key,
        cookie: cookie.unwrap_or(key),
        call_id,
        caller: LegRow {
            uri: text(3)?,
            tag: text(4)?,
            cseq: cseq(7)?,
            routes: maybe(9)?,
            contact: text(11)?,
            socket: maybe(13)?,
        },
        callee: LegRow {
            uri: text(5)?,
            tag: text(6)?,
            cseq: cseq(8)?,
            routes: maybe(10)?,
            contact: text(12)?,
            socket: maybe(14)?,
        },
        state,
        start: number(16)?,
        timeout: number(17)?,
        script_flags: number(18)?,
        flags: (number(19)? & 0xffff) as u16,
        timeout_route: maybe(20)?,
        request_uri: maybe(21)?,
        profiles,
    })
}

fn read_variable(table: &'static Table, record: &Record) -> Result<VariableRow, RowFault> {
    let reader = Reader::new(table, record, at(table, 2));
    let number = |place| -> Result<u32, RowFault> {
        let number = reader.integer::<i64>(at(table, place))?.unwrap_or(0);
        Ok((number & 0xffff_ffff) as u32)
    };
    Ok(VariableRow {
        key: Key { entry: number(0)?, id: number(1)? },
        name: reader.required_text(at(table, 2))?.to_owned(),
        value: reader.text(at(table, 3))?.unwrap_or_default().to_owned(),
    })
}

/// Reads `xdata`; what cannot be understood is left out.
fn read_extra(text: &str) -> (Vec<(String, String)>, Option<Key>) {
    let mut profiles: Vec<(String, String)> = Vec::new();
    let mut cookie = None;
    let mut key: Option<String> = None;
    for (word, is_key) in (Words { rest: text }) {
        if is_key {
            key = Some(word);
            continue;
        }
        match key.take().as_deref() {
            Some("name") => profiles.push((word, String::new())),
            Some("value") => {
                if let Some(last) = profiles.last_mut() {
                    last.1 = word;
                }
            }
            Some("did") => {
                cookie = word.split_once(':').and_then(|(entry, id)| {
                    Some(Key { entry: entry.parse().ok()?, id: id.parse().ok()? })
                })
            }
            Some(_) | None => {}
        }
    }
    (profiles, cookie)
}

/// The strings of a JSON text, one after the other, and whether a colon follows.
struct Words<'t> {
    rest: &'t str,
}

impl Iterator for Words<'_> {
    type Item = (String, bool);

    fn next(&mut self) -> Option<(String, bool)> {
        let (_, rest) = self.rest.split_once('"')?;
        let mut word = String::new();
        let mut chars = rest.char_indices();
        loop {
            match chars.next()? {
                (at, '"') => {
                    self.rest = rest.get(at + 1..)?;
                    return Some((word, self.rest.trim_start().starts_with(':')));
                }
                (_, '\\') => match chars.next()?.1 {
                    'n' => word.push('\n'),
                    't' => word.push('\t'),
                    'r' => word.push('\r'),
                    'u' => {
                        let hex: String =
                            (0..4).filter_map(|_| chars.next()).map(|c| c.1).collect();
                        let code = u32::from_str_radix(&hex, 16).ok().and_then(char::from_u32);
                        word.extend(code);
                    }
                    other => word.push(other),
                },
                (_, other) => word.push(other),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    pub(super) fn row() -> DialogRow {
        let leg = |name: &str, cseq| LegRow {
            uri: format!("sip:{name}@example.com"),
            tag: format!("{name}1"),
            cseq,
            routes: format!("<sip:{name}p;lr>"),
            contact: format!("sip:{name}@192.0.2.10"),
            socket: "udp:192.0.2.1:5060".into(),
        };
        DialogRow {
            key: Key { entry: 617, id: 12 },
            cookie: Key { entry: 617, id: 11 },
            call_id: "dlg-test-0001@198.51.100.7".into(),
            caller: leg("a", Some(7)),
            callee: leg("b", None),
            state: 4,
            start: 1_800_000_000,
            timeout: 1_800_043_200,
            script_flags: 5,
            flags: 3,
            timeout_route: "DLGTO".into(),
            request_uri: "sip:b@example.com".into(),
            profiles: vec![
                ("caller".into(), "a \"quoted\\\" one".into()),
                ("all".into(), "".into()),
            ],
        }
    }

    #[test]
    fn a_row_comes_back_as_it_went() {
        let record = record(&row());
        assert_eq!(record.len(), DIALOG.columns.len());
        assert_eq!(read(&DIALOG, &record), Ok(row()));
        let plain = DialogRow { profiles: Vec::new(), cookie: row().key, ..row() };
        assert_eq!(super::record(&plain).last(), Some(&Datum::Null));
    }

    #[test]
    fn profiles_of_another_writer_are_read() {
        let text = r#"{"profiles":[{"name":"p","value":"v\u0041","puid":"u","expires":0,
            "flags":0},{"name":"q"}]}"#;
        let (profiles, cookie) = read_extra(text);
        assert_eq!(profiles, [("p".into(), "vA".into()), ("q".to_owned(), String::new())]);
        assert_eq!(cookie, None);
        assert_eq!(read_extra("{\"profiles\":[{\"name"), (Vec::new(), None));
    }

    #[test]
    fn bad_rows_are_faults() {
        for (place, value) in [
            (2, Datum::Null),
            (15, Datum::Integer(9)),
            (3, Datum::Integer(1)),
            (1, Datum::Integer(0)),
            (11, Datum::Text("x".repeat(5000))),
        ] {
            let mut record = record(&row());
            record[place] = value;
            assert!(read(&DIALOG, &record).is_err(), "column {place}");
        }
        assert!(read(&DIALOG, &Vec::new()).is_err());
    }
}
