//! Reading a table whole, by one statement: what it held at one moment.
//!
//! For: lists that are taken into use as a whole (`lists.rs`).
//! Not here: rows that are loaded one by one (`load.rs`), what they mean (the modules).
//! Invariants: bounded by the caller's number of rows; ends within the database's `timeout`.

use super::StorageError;
use super::connection::{Connection, Failure, Role};
use super::schema;
use super::settings::StorageSettings;
use super::value::{Texts, Value, record};
use strowger_sip::storage::{Record, RowFault, Table};
use tokio::runtime::Builder;
use tokio::time::timeout;

/// What a table held.
#[derive(Debug, Default)]
pub(crate) struct Whole {
    /// Its rows by rising `id`.
    pub(crate) records: Vec<Record>,
    /// Rows that are no text at all.
    pub(crate) faults: Vec<RowFault>,
    /// It has more rows than were asked for.
    pub(crate) more: bool,
}

/// Reads a table by a connection of its own; waits for it.
pub(crate) fn read_whole(
    settings: &StorageSettings,
    table: &'static Table,
    rows_max: u32,
) -> Result<Whole, StorageError> {
    wait(settings, read(settings, table, rows_max))
}

/// Those of these tables that the database has; waits for it.
pub(crate) fn existing(
    settings: &StorageSettings,
    tables: &[&'static Table],
) -> Result<Vec<&'static str>, StorageError> {
    wait(settings, async {
        let mut connection = Connection::open(settings, Role::Reader).await?;
        let mut there = Vec::new();
        for table in tables {
            if schema::exists(&mut connection, table).await? {
                there.push(table.name);
            }
        }
        connection.close().await;
        Ok(there)
    })
}

fn wait<T>(
    settings: &StorageSettings,
    work: impl Future<Output = Result<T, Failure>>,
) -> Result<T, StorageError> {
    let runtime =
        Builder::new_current_thread().enable_all().build().map_err(StorageError::Thread)?;
    let working = async {
        // Made here: a timeout belongs to the runtime that it waits in.
        let late = timeout(settings.timeout, work).await;
        late.unwrap_or_else(|_| Err(Failure::late(settings.timeout)))
    };
    runtime.block_on(working).map_err(|failure| StorageError::Unreachable {
        database: settings.database.to_string(),
        cause: failure.to_string(),
    })
}

async fn read(
    settings: &StorageSettings,
    table: &'static Table,
    rows_max: u32,
) -> Result<Whole, Failure> {
    let mut connection = Connection::open(settings, Role::Reader).await?;
    let sql = connection.dialect().page(table, rows_max.saturating_add(1));
    let rows = connection.fetch(sql.into(), &[Value::Integer(Some(i64::MIN))]).await?;
    connection.close().await;
    let most = usize::try_from(rows_max).unwrap_or(usize::MAX);
    let mut whole = Whole { more: rows.len() > most, ..Whole::default() };
    for mut texts in rows.into_iter().take(most) {
        let id = id(&texts);
        texts.remove(0);
        match record(table, texts) {
            Ok(record) => whole.records.push(record),
            Err(fault) => whole.faults.push(RowFault { key: id, ..fault }),
        }
    }
    Ok(whole)
}

/// The serial number, as text.
fn id(texts: &Texts) -> String {
    let bytes = texts.first().and_then(Option::as_deref);
    String::from_utf8_lossy(bytes.unwrap_or(b"?")).into_owned()
}

#[cfg(test)]
mod tests {
    use super::super::testing::{Folder, THINGS, block_on};
    use super::*;
    use strowger_sip::storage::Datum;

    #[test]
    fn a_table_is_read_whole_or_said_to_be_too_long() {
        let folder = Folder::new();
        let settings = folder.settings();
        block_on(async {
            let mut connection = Connection::open(&settings, Role::Reader).await.expect("open");
            connection.say(&connection.dialect().create(&THINGS)).await.expect("made");
            for sql in [
                "INSERT INTO things (name, size, q) VALUES ('b', 2, 1), ('a', 1, 1)",
                "INSERT INTO things (name, size, q) VALUES (CAST(x'ff' AS TEXT), 3, 1)",
            ] {
                connection.say(sql).await.expect(sql);
            }
            connection.close().await;
        });
        static NOTHING: Table = Table { name: "nothing", ..THINGS };
        assert_eq!(existing(&settings, &[&NOTHING, &THINGS]).expect("asked"), ["things"]);
        let whole = read_whole(&settings, &THINGS, 3).expect("read");
        let names: Vec<&Datum> = whole.records.iter().filter_map(|row| row.first()).collect();
        assert_eq!(names, [&Datum::Text("b".into()), &Datum::Text("a".into())]);
        assert_eq!((whole.faults[0].key.as_str(), whole.more), ("3", false));
        let whole = read_whole(&settings, &THINGS, 1).expect("read");
        assert_eq!((whole.records.len(), whole.more), (1, true));
    }
}
