//! The tables of dialogs under the names that `[dialog.database]` gives.
//!
//! For: what storage is to know of them, and every column's name as a parameter.
//! Not here: what stands in the columns (`row.rs`).
//! Invariants: columns stand in the same order whatever their names.

use strowger_sip::settings::Section;
use strowger_sip::storage::{Column, Kind, Table};

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

/// Both tables.
#[derive(Clone, Copy, Debug)]
pub struct Tables {
    /// Of dialogs.
    pub dialogs: &'static Table,
    /// Of their variables.
    pub variables: &'static Table,
}

impl Default for Tables {
    fn default() -> Tables {
        Tables { dialogs: &DIALOG, variables: &DIALOG_VARS }
    }
}

impl PartialEq for Tables {
    fn eq(&self, other: &Tables) -> bool {
        let same = |one: &Table, other: &Table| {
            let names = |table: &Table| table.columns.iter().map(|column| column.name);
            one.name == other.name && names(one).eq(names(other))
        };
        same(self.dialogs, other.dialogs) && same(self.variables, other.variables)
    }
}

impl Eq for Tables {}

/// The name of the column at this place.
pub(super) fn at(table: &'static Table, place: usize) -> &'static str {
    table.columns.get(place).map_or("", |column| column.name)
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

/// Reads the tables' and columns' names.
pub(super) fn named(section: &mut Section<'_>) -> Tables {
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
    if !changed {
        return Tables::default();
    }
    Tables {
        dialogs: renamed(&DIALOG, &table, &columns),
        variables: renamed(&DIALOG_VARS, &vars, &vars_columns),
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

/// The same table under other names, for the rest of the process: storage knows tables by what
/// lasts. A process reads its configuration a few times, not more.
fn renamed(table: &'static Table, name: &str, columns: &[String]) -> &'static Table {
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
    Box::leak(Box::new(Table {
        name: lasting(name),
        key,
        indexes: Box::leak(indexes.into_boxed_slice()),
        columns: Box::leak(new.into_boxed_slice()),
        ..*table
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

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
}
