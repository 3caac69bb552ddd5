//! Counting rows in the database itself, for an operator who asks (`ul.db_users` and its kin).
//!
//! For: numbers that do not depend on what this node keeps in memory.
//! Not here: who asks (the control plane); an answer takes as long as the database does.
//! Invariants: a connection of its own, given up when the time of a question is over.

use super::connection::{Connection, Failure, Role, first};
use super::settings::StorageSettings;
use super::value::Value;
use std::sync::Arc;
use strowger_sip::date::UnixTime;
use strowger_sip::storage::Table;
use tokio::time::timeout;

/// What is counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Count {
    /// Rows whose time is not over.
    Rows,
    /// Rows whose time is over.
    Ended,
    /// Different values of these columns, in rows whose time is not over.
    Different(&'static [&'static str]),
}

/// Counts, as of this date.
pub(super) async fn count(
    settings: &StorageSettings,
    table: &'static Table,
    what: Count,
    now: UnixTime,
) -> Result<u64, Failure> {
    let counting = async {
        let mut connection = Connection::open(settings, Role::Reader).await?;
        let sql: Arc<str> = connection.dialect().count(table, what).into();
        let date = [Value::Text(Some(now.to_string()))];
        let values = if table.ends.is_some() { &date[..] } else { &[] };
        let counted = first(connection.fetch(sql, values).await?);
        connection.close().await;
        let number = counted.and_then(|number| number.parse().ok());
        number.ok_or_else(|| Failure::Database("no number".to_owned()))
    };
    match timeout(settings.timeout, counting).await {
        Ok(counted) => counted,
        Err(_) => Err(Failure::late(settings.timeout)),
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::{Folder, THINGS, block_on};
    use super::*;

    #[test]
    fn what_has_ended_is_counted_apart() {
        let folder = Folder::new();
        let settings = folder.settings();
        block_on(async {
            let mut connection = Connection::open(&settings, Role::Reader).await.expect("open");
            connection.say(&connection.dialect().create(&THINGS)).await.expect("made");
            let rows = "INSERT INTO things (name, size, until) VALUES \
                        ('a', 1, '2030-01-01 00:00:00'), ('b', 1, '2030-01-01 00:00:00'), \
                        ('c', 2, '1970-01-01 00:00:00'), ('d', NULL, '2030-01-01 00:00:00'), \
                        ('e', 3, '2020-01-01 00:00:00')";
            connection.say(rows).await.expect("written");
            let now = UnixTime::from_secs(1_700_000_000);
            for (what, number) in [
                (Count::Rows, 4),
                (Count::Ended, 1),
                (Count::Different(&["size"]), 3),
                (Count::Different(&["size", "name"]), 4),
            ] {
                let counted = count(&settings, &THINGS, what, now).await;
                assert_eq!(counted, Ok(number), "{what:?}");
            }
        });
    }
}
