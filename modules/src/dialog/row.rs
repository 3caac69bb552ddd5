//! Tables `dialog` and `dialog_vars`: what storage keeps of a call, with Kamailio's columns.
//!
//! For: turning dialogs into records and back, under the names that `[dialog.database]` gives.
//! Not here: when a row is written (`store.rs`), SQL (`core/node/src/storage`).
//! Invariants: a record that cannot be used is a fault with table and key, never a panic.

use super::cookie::Key;
use crate::json;
use std::sync::{Arc, OnceLock};
use strowger_sip::settings::Section;
use strowger_sip::storage::{
    Action, Column, Datum, Haste, Kind, Note, Order, Place, Reader, Record, RowCause, RowFault,
    Rows, Table, Ticket, Version,
};

const fn column(name: &'static str, kind: Kind, nullable: bool, default: &'static str) -> Column {
    Column { name, kind, nullable, default }
}

/// Table `dialog`, version 7.
pub static DIALOG: Table = Table {
    name: "dialog",
    version: 7,
    columns: &[
        column("hash_entry", Kind::Integer, false, ""),
        column("hash_id", Kind::Integer, false, ""),
        column("callid", Kind::Text(255), false, ""),
        column("from_uri", Kind::Text(255), false, ""),
        column("from_tag", Kind::Text(128), false, ""),
        column("to_uri", Kind::Text(255), false, ""),
        column("to_tag", Kind::Text(128), false, ""),
        column("caller_cseq", Kind::Text(20), false, ""),
        column("callee_cseq", Kind::Text(20), false, ""),
        column("caller_route_set", Kind::Text(512), true, ""),
        column("callee_route_set", Kind::Text(512), true, ""),
        column("caller_contact", Kind::Text(255), false, ""),
        column("callee_contact", Kind::Text(255), false, ""),
        column("caller_sock", Kind::Text(64), false, ""),
        column("callee_sock", Kind::Text(64), false, ""),
        column("state", Kind::Integer, false, ""),
        column("start_time", Kind::Integer, false, ""),
        column("timeout", Kind::Integer, false, "0"),
        column("sflags", Kind::Integer, false, "0"),
        column("iflags", Kind::Integer, false, "0"),
        column("toroute_name", Kind::Text(32), true, ""),
        column("req_uri", Kind::Text(255), false, ""),
        column("xdata", Kind::Text(512), true, ""),
    ],
    key: &["hash_entry", "hash_id"],
    indexes: &[&["callid"]],
    ends: None,
    loaded_at_start: true,
};

/// Table `dialog_vars`, version 1.
pub static DIALOG_VARS: Table = Table {
    name: "dialog_vars",
    version: 1,
    columns: &[
        column("hash_entry", Kind::Integer, false, ""),
        column("hash_id", Kind::Integer, false, ""),
        column("dialog_key", Kind::Text(128), false, ""),
        column("dialog_value", Kind::Text(512), false, ""),
    ],
    key: &["hash_entry", "hash_id", "dialog_key"],
    indexes: &[],
    ends: None,
    loaded_at_start: true,
};

/// The tables under the names of the configuration. One process has one configuration, and storage
/// asks for tables by type alone: so this is the one place that outlives it.
static NAMED: OnceLock<(Table, Table)> = OnceLock::new();
/// Whether the configuration stores dialogs: a database need not have tables that nobody uses.
static USED: OnceLock<()> = OnceLock::new();

fn dialogs() -> &'static Table {
    NAMED.get().map_or(&DIALOG, |named| &named.0)
}

fn variables() -> &'static Table {
    NAMED.get().map_or(&DIALOG_VARS, |named| &named.1)
}

/// The keys of `[dialog.database]` that name columns of `dialog`, in the table's order; none for
/// those whose names are fixed.
const NAMES: [&str; 23] = [
    "h_entry_column",
    "h_id_column",
    "call_id_column",
    "from_uri_column",
    "from_tag_column",
    "to_uri_column",
    "to_tag_column",
    "from_cseq_column",
    "to_cseq_column",
    "from_route_column",
    "to_route_column",
    "from_contact_column",
    "to_contact_column",
    "from_sock_column",
    "to_sock_column",
    "state_column",
    "start_time_column",
    "timeout_column",
    "sflags_column",
    "",
    "toroute_name_column",
    "",
    "",
];

const VARIABLE_NAMES: [&str; 4] =
    ["vars_h_entry_column", "vars_h_id_column", "vars_key_column", "vars_value_column"];

/// Reads the tables' and columns' names, for a configuration that stores dialogs or not.
pub(super) fn names(section: &mut Section<'_>, stores: bool) {
    if stores {
        USED.get_or_init(|| ());
    }
    let older = name(section, "toroute_column", "toroute_name");
    let mut changed = false;
    let mut named = |section: &mut Section<'_>, key: &'static str, default: &'static str| {
        let read = if key.is_empty() { default.to_owned() } else { name(section, key, default) };
        let read = if read == "toroute_name" { older.clone() } else { read };
        changed |= read != default;
        read
    };
    let table = named(section, "table_name", DIALOG.name);
    let columns: Vec<String> = (DIALOG.columns.iter().zip(NAMES))
        .map(|(column, key)| named(section, key, column.name))
        .collect();
    let vars = named(section, "vars_table_name", DIALOG_VARS.name);
    let vars_columns: Vec<String> = (DIALOG_VARS.columns.iter().zip(VARIABLE_NAMES))
        .map(|(column, key)| named(section, key, column.name))
        .collect();
    if changed {
        let _ = NAMED
            .set((renamed(&DIALOG, &table, &columns), renamed(&DIALOG_VARS, &vars, &vars_columns)));
    }
}

fn name(section: &mut Section<'_>, key: &'static str, default: &str) -> String {
    let fits = |text: &str| {
        let word = text.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_');
        let good = word && !text.is_empty() && text.len() <= 63;
        good.then(|| text.to_owned()).ok_or_else(|| "letters, digits and _".to_owned())
    };
    section.parsed(key, fits).unwrap_or_else(|| default.to_owned())
}

/// The same table under other names, for the rest of the process.
fn renamed(table: &'static Table, name: &str, columns: &[String]) -> Table {
    let lasting = |text: &str| -> &'static str { Box::leak(text.to_owned().into_boxed_str()) };
    let new: Vec<Column> = (table.columns.iter().zip(columns))
        .map(|(column, name)| Column { name: lasting(name), ..*column })
        .collect();
    let rename = |old: &&'static str| {
        let place = table.place(old).and_then(|place| new.get(place));
        place.map_or(*old, |column| column.name)
    };
    let lasting_list = |list: &[&'static str]| -> &'static [&'static str] {
        Box::leak(list.iter().map(rename).collect::<Vec<_>>().into_boxed_slice())
    };
    let key = lasting_list(table.key);
    let indexes: Vec<_> = table.indexes.iter().map(|list| lasting_list(list)).collect();
    Table {
        name: lasting(name),
        key,
        indexes: Box::leak(indexes.into_boxed_slice()),
        columns: Box::leak(new.into_boxed_slice()),
        ..*table
    }
}

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

/// What the dialog module says to storage and hears from it.
#[derive(Clone, Debug)]
pub enum Row {
    /// To storage: insert or update a dialog.
    Put(Box<DialogRow>, Version, Haste),
    /// To storage: delete one.
    Remove(Key, Version, Haste),
    /// To storage: insert or update a variable.
    PutVariable(Box<VariableRow>, Version, Haste),
    /// To storage: delete one.
    RemoveVariable(Key, String, Version, Haste),
    /// To storage: which dialogs have this Call-ID?
    Find(String, Ticket),
    /// To storage: which variables has this dialog?
    FindVariables(Key, Ticket),
    /// From storage: a dialog that was there at start.
    Loaded(Arc<DialogRow>),
    /// From storage: a variable that was there at start.
    LoadedVariable(Arc<VariableRow>),
    /// From storage: the answer to a question.
    Found(Vec<DialogRow>, Vec<VariableRow>, usize),
    /// From storage: changes were dropped; say again what there is.
    Resync,
}

impl Rows for Row {
    fn tables(first: Place, visit: &mut dyn FnMut(Place, &'static Table)) {
        if USED.get().is_some() {
            visit(first, dialogs());
            visit(first, variables());
        }
    }

    fn into_order(self) -> Option<(Place, Order)> {
        let (table, action, version, haste, ticket) = match self {
            Row::Put(row, version, haste) => {
                (dialogs(), Action::Put(record(&row)), version, haste, None)
            }
            Row::Remove(key, version, haste) => {
                (dialogs(), Action::Remove(key_of(key)), version, haste, None)
            }
            Row::PutVariable(row, version, haste) => {
                let VariableRow { key, name, value } = *row;
                let mut record = key_of(key);
                record.extend([Datum::Text(name), Datum::Text(value)]);
                (variables(), Action::Put(record), version, haste, None)
            }
            Row::RemoveVariable(key, name, version, haste) => {
                let mut record = key_of(key);
                record.push(Datum::Text(name));
                (variables(), Action::Remove(record), version, haste, None)
            }
            Row::Find(call_id, ticket) => {
                let by = vec![(at(dialogs(), 2), Datum::Text(call_id))];
                let version = Version::default();
                (dialogs(), Action::Find(by), version, Haste::Now, Some(ticket))
            }
            Row::FindVariables(key, ticket) => {
                let table = variables();
                let by = [at(table, 0), at(table, 1)].into_iter().zip(key_of(key)).collect();
                (table, Action::Find(by), Version::default(), Haste::Now, Some(ticket))
            }
            Row::Loaded(_) | Row::LoadedVariable(_) | Row::Found(..) | Row::Resync => return None,
        };
        Some((0, Order { table, action, version, ticket, haste }))
    }

    fn from_note(_: Place, note: Note) -> Result<Option<Row>, RowFault> {
        Ok(match note {
            Note::Loaded(table, record) if std::ptr::eq(table, dialogs()) => {
                Some(Row::Loaded(Arc::new(read(&record)?)))
            }
            Note::Loaded(table, record) if std::ptr::eq(table, variables()) => {
                Some(Row::LoadedVariable(Arc::new(read_variable(&record)?)))
            }
            Note::Loaded(..) | Note::Settled(..) => None,
            Note::Found(_, records) => {
                let width = dialogs().columns.len();
                let (wide, narrow): (Vec<_>, Vec<_>) =
                    records.iter().partition(|record| record.len() == width);
                let rows: Vec<DialogRow> =
                    wide.iter().filter_map(|record| read(record).ok()).collect();
                let vars: Vec<VariableRow> =
                    narrow.iter().filter_map(|record| read_variable(record).ok()).collect();
                let faulty = records.len() - rows.len() - vars.len();
                Some(Row::Found(rows, vars, faulty))
            }
            Note::Resync => Some(Row::Resync),
        })
    }
}

fn at(table: &'static Table, place: usize) -> &'static str {
    table.columns.get(place).map_or("", |column| column.name)
}

fn key_of(key: Key) -> Record {
    vec![Datum::Integer(i64::from(key.entry)), Datum::Integer(i64::from(key.id))]
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
fn read(record: &Record) -> Result<DialogRow, RowFault> {
    let table = dialogs();
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

fn read_variable(record: &Record) -> Result<VariableRow, RowFault> {
    let table = variables();
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
        assert_eq!(read(&record), Ok(row()));
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
    fn tables_may_have_other_names() {
        let mut columns: Vec<String> =
            DIALOG.columns.iter().map(|column| column.name.to_owned()).collect();
        columns[0] = "entry".into();
        columns[2] = "call".into();
        let table = renamed(&DIALOG, "calls", &columns);
        assert_eq!((table.name, table.key), ("calls", &["entry", "hash_id"][..]));
        assert_eq!(table.indexes, [&["call"][..]]);
        assert_eq!((table.place("call"), table.columns.len()), (Some(2), DIALOG.columns.len()));
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
            assert!(read(&record).is_err(), "column {place}");
        }
        assert!(read(&Vec::new()).is_err());
    }
}
