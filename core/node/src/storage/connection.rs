//! One connection to a database, whichever it is.
//!
//! For: opening it, saying statements, telling failures of a row from failures of the database.
//! Not here: which statements (`sql.rs`), when (`thread.rs`).
//! Invariants: a writer holds its process's lock on the server for as long as its session lives. A
//! session that was given up, but whose last COMMIT the server has still to carry out, thus ends
//! before the next one writes: what was given up never overwrites what came later.

use super::settings::{Database, StorageSettings, Synchronous};
use super::sql::Dialect;
use super::value::{Texts, Value};
use sqlx::mysql::{MySqlConnectOptions, MySqlConnection};
use sqlx::postgres::{PgConnectOptions, PgConnection};
use sqlx::sqlite::{SqliteConnectOptions, SqliteConnection, SqliteJournalMode, SqliteSynchronous};
use sqlx::{AssertSqlSafe, ConnectOptions, Connection as _, Executor, Row};
use std::fmt;
use std::fs::OpenOptions;
use std::io;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::str::FromStr;
use std::sync::{Arc, OnceLock};
use std::time::Duration;
use tokio::time::timeout;

/// SQLSTATE classes of errors that are a row's own: bad data, a broken constraint.
const ROW_CLASSES: [&str; 2] = ["22", "23"];
/// MySQL's errors of the same sort that come with a class that says nothing.
const ROW_ERRORS_MYSQL: [u16; 4] = [1264, 1265, 1366, 1406];
/// SQLite's: SQLITE_TOOBIG, SQLITE_CONSTRAINT, SQLITE_MISMATCH.
const ROW_ERRORS_SQLITE: [i32; 3] = [18, 19, 20];
/// First half of the name of the lock in PostgreSQL: "STRO".
const LOCK_CLASS: i32 = 0x5354_524f;

/// Why a statement failed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Failure {
    /// The database cannot be reached, does not answer, or cannot work at all.
    Database(String),
    /// It refuses what one of the rows says.
    Row(String),
}

impl Failure {
    pub(super) fn late(limit: Duration) -> Failure {
        Failure::Database(format!("no answer within {limit:?}"))
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Failure::Database(cause) | Failure::Row(cause) => f.write_str(cause),
        }
    }
}

impl From<sqlx::Error> for Failure {
    fn from(error: sqlx::Error) -> Failure {
        let text = error.to_string();
        let Some(error) = error.as_database_error() else { return Failure::Database(text) };
        let sqlite = error.try_downcast_ref::<sqlx::sqlite::SqliteError>().is_some();
        let code = error.code();
        let code = code.as_deref().unwrap_or_default();
        let is_row = if sqlite {
            // The lowest byte is the error, the others tell more about it.
            code.parse::<i32>().is_ok_and(|code| ROW_ERRORS_SQLITE.contains(&(code & 0xff)))
        } else {
            let mysql = error.try_downcast_ref::<sqlx::mysql::MySqlDatabaseError>();
            mysql.is_some_and(|error| ROW_ERRORS_MYSQL.contains(&error.number()))
                || ROW_CLASSES.iter().any(|class| code.starts_with(class))
        };
        if is_row { Failure::Row(text) } else { Failure::Database(text) }
    }
}

/// What a connection is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Role {
    /// Reading.
    Reader,
    /// Writing: the only one of this process, which has this number.
    Writer {
        /// Names the lock on the server.
        process: i32,
    },
}

impl Role {
    /// The writer of this process. Its number is random: two nodes of one database are two.
    pub(super) fn of_this_process() -> Role {
        static PROCESS: OnceLock<i32> = OnceLock::new();
        // Without randomness the process id is the next best name.
        let number = || getrandom::u32().unwrap_or_else(|_| std::process::id());
        Role::Writer { process: *PROCESS.get_or_init(|| (number() & 0x7fff_ffff) as i32) }
    }
}

/// A connection that is open.
pub(super) enum Connection {
    Sqlite(SqliteConnection),
    Postgres(PgConnection),
    MySql(MySqlConnection),
}

macro_rules! driver {
    ($database:ty, $execute:ident, $fetch:ident) => {
        async fn $execute(
            connection: &mut <$database as sqlx::Database>::Connection,
            sql: Arc<str>,
            values: &[Value],
        ) -> Result<u64, sqlx::Error> {
            let mut query = sqlx::query::<$database>(AssertSqlSafe(sql));
            for value in values {
                query = match value {
                    Value::Text(text) => query.bind(text.as_deref()),
                    Value::Integer(number) => query.bind(*number),
                    Value::Real(number) => query.bind(*number),
                };
            }
            Ok(connection.execute(query).await?.rows_affected())
        }

        async fn $fetch(
            connection: &mut <$database as sqlx::Database>::Connection,
            sql: Arc<str>,
            values: &[Value],
        ) -> Result<Vec<Texts>, sqlx::Error> {
            let mut query = sqlx::query::<$database>(AssertSqlSafe(sql));
            for value in values {
                query = match value {
                    Value::Text(text) => query.bind(text.as_deref()),
                    Value::Integer(number) => query.bind(*number),
                    Value::Real(number) => query.bind(*number),
                };
            }
            let rows = connection.fetch_all(query).await?;
            // Unchecked: the bytes of a text, which may be no UTF-8.
            let texts = |row: &<$database as sqlx::Database>::Row| {
                (0..row.len()).map(|place| row.try_get_unchecked(place)).collect()
            };
            rows.iter().map(texts).collect()
        }
    };
}
driver!(sqlx::Sqlite, execute_sqlite, fetch_sqlite);
driver!(sqlx::Postgres, execute_postgres, fetch_postgres);
driver!(sqlx::MySql, execute_mysql, fetch_mysql);

impl Connection {
    /// Opens one. The file of SQLite is made when it is missing.
    pub(super) async fn open(
        settings: &StorageSettings,
        role: Role,
    ) -> Result<Connection, Failure> {
        let opening = Connection::open_without_limit(settings, role);
        match timeout(settings.timeout, opening).await {
            Ok(opened) => opened,
            Err(_) => Err(Failure::late(settings.timeout)),
        }
    }

    async fn open_without_limit(
        settings: &StorageSettings,
        role: Role,
    ) -> Result<Connection, Failure> {
        let mut connection = match &settings.database {
            Database::Sqlite(path) => {
                make_file(path).map_err(|cause| Failure::Database(cause.to_string()))?;
                let synchronous = match settings.synchronous {
                    Synchronous::Full => SqliteSynchronous::Full,
                    Synchronous::Normal => SqliteSynchronous::Normal,
                };
                let options = SqliteConnectOptions::new()
                    .filename(path)
                    .journal_mode(SqliteJournalMode::Wal)
                    .synchronous(synchronous)
                    .busy_timeout(settings.timeout)
                    .disable_statement_logging();
                Connection::Sqlite(options.connect().await?)
            }
            Database::Postgres(url) => {
                let options = PgConnectOptions::from_str(url)?.disable_statement_logging();
                Connection::Postgres(options.application_name("strowger").connect().await?)
            }
            Database::MySql(url) => {
                let options = MySqlConnectOptions::from_str(url)?.disable_statement_logging();
                Connection::MySql(options.connect().await?)
            }
        };
        match role {
            Role::Reader => {}
            Role::Writer { process } => connection.succeed(process).await?,
        }
        Ok(connection)
    }

    /// Ends what is left of an earlier session of this process and takes its place.
    async fn succeed(&mut self, process: i32) -> Result<(), Failure> {
        match self {
            // A writer of SQLite is never given up: there is no network between.
            Connection::Sqlite(_) => {}
            Connection::Postgres(_) => {
                let ours = [
                    Value::Integer(Some(i64::from(LOCK_CLASS))),
                    Value::Integer(Some(i64::from(process))),
                ];
                let end = "SELECT pg_terminate_backend(pid)::text FROM pg_locks \
                           WHERE locktype = 'advisory' AND granted AND pid <> pg_backend_pid() \
                           AND classid::int8 = $1 AND objid::int8 = $2";
                self.fetch(end.into(), &ours).await?;
                let lock = "SELECT pg_advisory_lock($1::int4, $2::int4)::text";
                self.fetch(lock.into(), &ours).await?;
            }
            Connection::MySql(_) => {
                let name = [Value::Text(Some(format!("strowger-{process}")))];
                let holder = "SELECT CAST(IS_USED_LOCK(?) AS CHAR)";
                let holder = first(self.fetch(holder.into(), &name).await?);
                if let Some(holder) = holder.and_then(|holder| holder.parse::<u64>().ok()) {
                    // It may have ended by itself since.
                    let _ = self.execute(format!("KILL {holder}").into(), &[]).await;
                }
                let lock = "SELECT CAST(GET_LOCK(?, 3600) AS CHAR)";
                self.fetch(lock.into(), &name).await?;
            }
        }
        Ok(())
    }

    /// How it wants to be spoken to.
    pub(super) const fn dialect(&self) -> Dialect {
        match self {
            Connection::Sqlite(_) => Dialect::Sqlite,
            Connection::Postgres(_) => Dialect::Postgres,
            Connection::MySql(_) => Dialect::MySql,
        }
    }

    /// Says a statement; how many rows it concerned.
    pub(super) async fn execute(
        &mut self,
        sql: Arc<str>,
        values: &[Value],
    ) -> Result<u64, Failure> {
        Ok(match self {
            Connection::Sqlite(connection) => execute_sqlite(connection, sql, values).await?,
            Connection::Postgres(connection) => execute_postgres(connection, sql, values).await?,
            Connection::MySql(connection) => execute_mysql(connection, sql, values).await?,
        })
    }

    /// Says a statement without values that is not worth preparing, such as `COMMIT`.
    pub(super) async fn say(&mut self, sql: &str) -> Result<(), Failure> {
        let statement = sqlx::raw_sql(AssertSqlSafe(sql));
        match self {
            Connection::Sqlite(connection) => connection.execute(statement).await.map(|_| ())?,
            Connection::Postgres(connection) => connection.execute(statement).await.map(|_| ())?,
            Connection::MySql(connection) => connection.execute(statement).await.map(|_| ())?,
        }
        Ok(())
    }

    /// Reads rows; all columns must be text.
    pub(super) async fn fetch(
        &mut self,
        sql: Arc<str>,
        values: &[Value],
    ) -> Result<Vec<Texts>, Failure> {
        Ok(match self {
            Connection::Sqlite(connection) => fetch_sqlite(connection, sql, values).await?,
            Connection::Postgres(connection) => fetch_postgres(connection, sql, values).await?,
            Connection::MySql(connection) => fetch_mysql(connection, sql, values).await?,
        })
    }

    /// Takes leave of the server.
    pub(super) async fn close(self) {
        // Nothing is left to lose: what was written has been committed.
        match self {
            Connection::Sqlite(connection) => drop(connection.close().await),
            Connection::Postgres(connection) => drop(connection.close().await),
            Connection::MySql(connection) => drop(connection.close().await),
        }
    }
}

/// The first column of the first row.
pub(super) fn first(rows: Vec<Texts>) -> Option<String> {
    let bytes = rows.into_iter().next()?.into_iter().next()??;
    String::from_utf8(bytes).ok()
}

/// Makes the file of a database that is not there yet. It will hold passwords: only this user may
/// read it.
fn make_file(path: &Path) -> io::Result<()> {
    match OpenOptions::new().write(true).create_new(true).mode(0o600).open(path) {
        Ok(_) => Ok(()),
        Err(cause) if cause.kind() == io::ErrorKind::AlreadyExists => Ok(()),
        Err(cause) => Err(cause),
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::{Folder, THINGS, block_on};
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    fn text(text: &str) -> Value {
        Value::Text(Some(text.to_owned()))
    }

    #[test]
    fn a_file_is_made_for_its_owner_alone_and_statements_are_carried_out() {
        let folder = Folder::new();
        block_on(async {
            let mut connection =
                Connection::open(&folder.settings(), Role::of_this_process()).await.expect("open");
            let mode = std::fs::metadata(folder.path().join("state.db")).expect("a file");
            assert_eq!(mode.permissions().mode() & 0o777, 0o600);
            let mode = connection.fetch("PRAGMA journal_mode".into(), &[]).await.expect("read");
            assert_eq!(first(mode).as_deref(), Some("wal"));
            let dialect = connection.dialect();
            connection.say(&dialect.create(&THINGS)).await.expect("made");
            let row = [text("a"), Value::Integer(Some(7)), Value::Real(Some(0.5))];
            let row = [&row[..], &[text("2030-05-28 21:32:15"), Value::Text(None)]].concat();
            connection.execute(dialect.put(&THINGS, 1).into(), &row).await.expect("written");
            let find = dialect.find(&THINGS, &["name"], 9);
            let rows = connection.fetch(find.into(), &[text("a")]).await.expect("read");
            let expected = ["a", "7", "0.5", "2030-05-28 21:32:15"].map(|t| Some(t.into()));
            assert_eq!(rows, [[&expected[..], &[None]].concat()]);
            connection.close().await;
        });
    }

    #[test]
    fn a_rows_own_fault_is_told_from_the_databases() {
        let folder = Folder::new();
        block_on(async {
            let mut connection =
                Connection::open(&folder.settings(), Role::Reader).await.expect("open");
            connection.say("CREATE TABLE t (a INTEGER NOT NULL UNIQUE)").await.expect("made");
            let mut says = async |sql: &str| connection.say(sql).await.expect_err("a failure");
            assert!(matches!(says("INSERT INTO t VALUES (NULL)").await, Failure::Row(_)));
            assert!(matches!(says("INSERT INTO u VALUES (1)").await, Failure::Database(_)));
        });
    }

    #[test]
    fn a_file_that_cannot_be_made_is_a_failure_with_a_cause() {
        let folder = Folder::new();
        let mut settings = folder.settings();
        settings.database = Database::Sqlite(folder.path().join("no/such/folder.db"));
        let failure = block_on(Connection::open(&settings, Role::Reader)).err().expect("a failure");
        assert!(failure.to_string().contains("No such file"), "{failure}");
    }
}
