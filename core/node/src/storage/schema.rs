//! The tables of a database beside those that the modules declare.
//!
//! For: finding what is missing or of another version, making tables, bringing them up to date.
//! Not here: their contents (`load.rs`), reading command lines (`core/strowger`).
//! Invariants: nothing is ever removed; a table of a newer version than ours is left alone.

use super::connection::{Connection, Failure, first};
use super::value::{Texts, Value};
use std::fmt;
use strowger_sip::storage::Table;

/// What is wrong with a table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SchemaFault {
    /// It is not there.
    Missing {
        /// Which.
        table: &'static str,
    },
    /// It is of another version, or of none.
    Version {
        /// Which.
        table: &'static str,
        /// What the table `version` says.
        found: Option<u32>,
        /// What the module needs.
        needed: u32,
    },
    /// A column is not there.
    Column {
        /// In which table.
        table: &'static str,
        /// Which.
        column: &'static str,
    },
    /// No unique index is made of the columns that name a row.
    Key {
        /// In which table.
        table: &'static str,
        /// Which columns.
        columns: &'static [&'static str],
    },
}

impl SchemaFault {
    /// Whether `strowger db migrate` mends it.
    pub fn can_be_mended(&self) -> bool {
        match self {
            SchemaFault::Version { found, needed, .. } => found.is_none_or(|found| found < *needed),
            SchemaFault::Missing { .. } | SchemaFault::Column { .. } | SchemaFault::Key { .. } => {
                true
            }
        }
    }
}

impl fmt::Display for SchemaFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            SchemaFault::Missing { table } => write!(f, "table {table}: missing"),
            SchemaFault::Version { table, found: Some(found), needed } => {
                write!(f, "table {table}: version {found}, {needed} is needed")
            }
            SchemaFault::Version { table, found: None, needed } => {
                write!(f, "table {table}: not in table version, which must say {needed}")
            }
            SchemaFault::Column { table, column } => {
                write!(f, "table {table}: column {column} is missing")
            }
            SchemaFault::Key { table, columns } => {
                let columns = columns.join(", ");
                write!(f, "table {table}: no unique index on ({columns})")
            }
        }
    }
}

/// Everything that is wrong with these tables.
pub(super) async fn check(
    connection: &mut Connection,
    tables: &[&'static Table],
) -> Result<Vec<SchemaFault>, Failure> {
    let mut faults = Vec::new();
    let has_versions = !columns(connection, "version").await?.is_empty();
    for table in tables {
        let there = columns(connection, table.name).await?;
        if there.is_empty() {
            faults.push(SchemaFault::Missing { table: table.name });
            continue;
        }
        let found = if has_versions { version(connection, table).await? } else { None };
        if found != Some(table.version) {
            let (table, needed) = (table.name, table.version);
            faults.push(SchemaFault::Version { table, found, needed });
        }
        for column in table.columns.iter().filter(|column| !contains(&there, column.name)) {
            faults.push(SchemaFault::Column { table: table.name, column: column.name });
        }
        if !has_key(connection, table).await? {
            faults.push(SchemaFault::Key { table: table.name, columns: table.key });
        }
    }
    Ok(faults)
}

/// Makes the tables that are not there; says which.
pub(super) async fn create(
    connection: &mut Connection,
    tables: &[&'static Table],
) -> Result<Vec<String>, Failure> {
    let dialect = connection.dialect();
    let mut done = Vec::new();
    connection.say(dialect.begin()).await?;
    if columns(connection, "version").await?.is_empty() {
        connection.say(&dialect.create_version()).await?;
        done.push("table version: made".to_owned());
    }
    for table in tables {
        if columns(connection, table.name).await?.is_empty() {
            connection.say(&dialect.create(table)).await?;
            for index in dialect.create_indexes(table) {
                connection.say(&index).await?;
            }
            write_version(connection, table).await?;
            done.push(format!("table {}: made, version {}", table.name, table.version));
        }
    }
    connection.say("COMMIT").await?;
    Ok(done)
}

/// Mends what can be mended; says what it did.
pub(super) async fn migrate(
    connection: &mut Connection,
    tables: &[&'static Table],
) -> Result<Vec<String>, Failure> {
    let mut done = create(connection, tables).await?;
    let dialect = connection.dialect();
    let faults = check(connection, tables).await?;
    connection.say(dialect.begin()).await?;
    for fault in faults.iter().filter(|fault| fault.can_be_mended()) {
        let table = |name: &str| tables.iter().find(|table| table.name == name);
        match fault {
            // Made above.
            SchemaFault::Missing { .. } => {}
            SchemaFault::Column { table: name, column } => {
                let Some(table) = table(name) else { continue };
                let columns = table.columns.iter();
                for column in columns.filter(|known| known.name == *column) {
                    connection.say(&dialect.add_column(table, column)).await?;
                }
                done.push(format!("table {name}: column {column} added"));
            }
            SchemaFault::Key { table: name, .. } => {
                let Some(table) = table(name) else { continue };
                connection.say(&dialect.add_key(table)).await?;
                done.push(format!("table {name}: unique index added"));
            }
            SchemaFault::Version { table: name, needed, .. } => {
                let Some(table) = table(name) else { continue };
                write_version(connection, table).await?;
                done.push(format!("table {name}: version {needed}"));
            }
        }
    }
    connection.say("COMMIT").await?;
    Ok(done)
}

fn text(text: &str) -> Value {
    Value::Text(Some(text.to_owned()))
}

fn contains(rows: &[Texts], name: &str) -> bool {
    let is_it = |row: &Texts| matches!(row.first(), Some(Some(text)) if is_name(text, name));
    rows.iter().any(is_it)
}

fn is_name(text: &[u8], name: &str) -> bool {
    text.eq_ignore_ascii_case(name.as_bytes())
}

/// Whether a table is there.
pub(super) async fn exists(connection: &mut Connection, table: &Table) -> Result<bool, Failure> {
    Ok(!columns(connection, table.name).await?.is_empty())
}

async fn columns(connection: &mut Connection, table: &str) -> Result<Vec<Texts>, Failure> {
    let sql = connection.dialect().columns_of();
    connection.fetch(sql.into(), &[text(table)]).await
}

async fn version(connection: &mut Connection, table: &Table) -> Result<Option<u32>, Failure> {
    let sql = connection.dialect().version_of();
    let found = first(connection.fetch(sql.into(), &[text(table.name)]).await?);
    Ok(found.and_then(|found| found.parse().ok()))
}

async fn write_version(connection: &mut Connection, table: &Table) -> Result<(), Failure> {
    let dialect = connection.dialect();
    connection.execute(dialect.forget_version().into(), &[text(table.name)]).await?;
    let values = [text(table.name), Value::Integer(Some(i64::from(table.version)))];
    connection.execute(dialect.write_version().into(), &values).await?;
    Ok(())
}

/// Whether one of the unique indices is made of exactly the columns that name a row.
async fn has_key(connection: &mut Connection, table: &Table) -> Result<bool, Failure> {
    if table.key.is_empty() {
        return Ok(true);
    }
    let sql = connection.dialect().keys_of();
    let rows = connection.fetch(sql.into(), &[text(table.name)]).await?;
    let of_index = |index: &Texts| {
        let same = rows.iter().filter(|row| row.first() == index.first());
        let columns: Vec<&[u8]> = same.filter_map(|row| row.get(1)?.as_deref()).collect();
        columns.len() == table.key.len()
            && table.key.iter().all(|key| columns.iter().any(|column| is_name(column, key)))
    };
    Ok(rows.iter().any(of_index))
}

#[cfg(test)]
mod tests {
    use super::super::connection::Role;
    use super::super::testing::{Folder, THINGS, block_on};
    use super::*;

    async fn open(folder: &Folder) -> Connection {
        Connection::open(&folder.settings(), Role::Reader).await.expect("open")
    }

    #[test]
    fn what_is_made_is_good_and_is_made_once() {
        let folder = Folder::new();
        block_on(async {
            let mut connection = open(&folder).await;
            let missing = vec![SchemaFault::Missing { table: "things" }];
            assert_eq!(check(&mut connection, &[&THINGS]).await, Ok(missing));
            let done = create(&mut connection, &[&THINGS]).await.expect("made");
            assert_eq!(done, ["table version: made", "table things: made, version 3"]);
            assert_eq!(check(&mut connection, &[&THINGS]).await, Ok(Vec::new()));
            assert_eq!(create(&mut connection, &[&THINGS]).await, Ok(Vec::new()));
        });
    }

    #[test]
    fn an_older_table_is_brought_up_to_date_and_keeps_its_rows() {
        let folder = Folder::new();
        block_on(async {
            let mut connection = open(&folder).await;
            for sql in [
                "CREATE TABLE version (table_name VARCHAR(32), table_version INTEGER)",
                "INSERT INTO version VALUES ('things', 2)",
                "CREATE TABLE things (id INTEGER PRIMARY KEY, name VARCHAR(16), size INTEGER)",
                "INSERT INTO things (name, size) VALUES ('a', 1)",
            ] {
                connection.say(sql).await.expect(sql);
            }
            let faults = check(&mut connection, &[&THINGS]).await.expect("checked");
            let shown: Vec<String> = faults.iter().map(ToString::to_string).collect();
            assert_eq!(
                shown,
                [
                    "table things: version 2, 3 is needed",
                    "table things: column q is missing",
                    "table things: column until is missing",
                    "table things: column note is missing",
                    "table things: no unique index on (name)",
                ]
            );
            migrate(&mut connection, &[&THINGS]).await.expect("mended");
            assert_eq!(check(&mut connection, &[&THINGS]).await, Ok(Vec::new()));
            let row = connection.fetch("SELECT q || until FROM things".into(), &[]).await;
            assert_eq!(first(row.expect("read")).as_deref(), Some("1.02030-05-28 21:32:15"));
        });
    }

    #[test]
    fn a_newer_table_is_left_alone() {
        let folder = Folder::new();
        block_on(async {
            let mut connection = open(&folder).await;
            create(&mut connection, &[&THINGS]).await.expect("made");
            connection.say("UPDATE version SET table_version = 4").await.expect("set");
            migrate(&mut connection, &[&THINGS]).await.expect("done");
            let fault = SchemaFault::Version { table: "things", found: Some(4), needed: 3 };
            assert!(!fault.can_be_mended());
            assert_eq!(check(&mut connection, &[&THINGS]).await, Ok(vec![fault]));
        });
    }
}
