//! `[storage]`: which database, and how far behind it may be.
//!
//! For: the keys, their defaults and ranges, reading database URLs.
//! Not here: connecting (`connection.rs`), what modules store and how (`db_mode` of each).
//! Invariants: a URL that was read names a database that this build can talk to; what is printed of
//! it holds no password.

use super::sql::Dialect;
use sqlx::mysql::MySqlConnectOptions;
use sqlx::postgres::PgConnectOptions;
use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;
use strowger_sip::settings::{Section, Unit};
use strowger_sip::storage::{Place, Rows, Table};
use strowger_sip::time::{ms, secs};

/// Shorter than a module waits for its answer (`modules/src/location/jobs.rs`: 4 s), so that it
/// hears a refusal instead of nothing.
const TIMEOUT: Duration = secs(2);
/// What a crash may cost in delayed mode. A guess: long enough that a batch has many rows.
const FLUSH_INTERVAL: Duration = secs(1);
/// Some 200,000 contacts that wait for a database which is away.
const QUEUE_MIB: u64 = 256;
/// A guess: what a database writes in some milliseconds, so that the next batch does not wait long.
const BATCH_ROWS: u64 = 512;
/// Kamailio's `fetch_rows`.
const FETCH_ROWS: u64 = 2000;
const URL_ALLOWED: &str = "\"sqlite:PATH\", \"postgres://USER:PASSWORD@HOST:PORT/DATABASE\" or \
                           \"mysql://USER:PASSWORD@HOST:PORT/DATABASE\"";

/// Which database.
#[derive(Clone, PartialEq, Eq)]
pub enum Database {
    /// A file, made on first use.
    Sqlite(PathBuf),
    /// PostgreSQL, by its URL.
    Postgres(String),
    /// MySQL or MariaDB, by its URL.
    MySql(String),
}

impl Database {
    /// Reads a URL; the error says what is allowed.
    pub fn from_url(url: &str) -> Result<Database, String> {
        let allowed = |cause: &dyn fmt::Display| format!("{URL_ALLOWED} ({cause})");
        let Some((scheme, rest)) = url.split_once(':') else {
            return Err(allowed(&"it has no scheme"));
        };
        match scheme {
            "sqlite" => {
                let path = rest.strip_prefix("//").unwrap_or(rest);
                if path.is_empty() || path.contains(['?', '\0']) || path.starts_with(":memory:") {
                    return Err(allowed(&"PATH is the path of a file"));
                }
                Ok(Database::Sqlite(PathBuf::from(path)))
            }
            "postgres" | "postgresql" => PgConnectOptions::from_str(url)
                .map(|_| Database::Postgres(url.to_owned()))
                .map_err(|cause| allowed(&cause)),
            "mysql" | "mariadb" => MySqlConnectOptions::from_str(url)
                .map(|_| Database::MySql(url.to_owned()))
                .map_err(|cause| allowed(&cause)),
            _ => Err(allowed(&"another scheme")),
        }
    }

    pub(super) const fn dialect(&self) -> Dialect {
        match self {
            Database::Sqlite(_) => Dialect::Sqlite,
            Database::Postgres(_) => Dialect::Postgres,
            Database::MySql(_) => Dialect::MySql,
        }
    }
}

impl fmt::Display for Database {
    /// Where it is, without user and password.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Database::Sqlite(path) => write!(f, "sqlite:{}", path.display()),
            Database::Postgres(url) => {
                let Ok(options) = PgConnectOptions::from_str(url) else { return Err(fmt::Error) };
                let name = options.get_database().unwrap_or_default();
                write!(f, "postgres://{}:{}/{name}", options.get_host(), options.get_port())
            }
            Database::MySql(url) => {
                let Ok(options) = MySqlConnectOptions::from_str(url) else {
                    return Err(fmt::Error);
                };
                let name = options.get_database().unwrap_or_default();
                write!(f, "mysql://{}:{}/{name}", options.get_host(), options.get_port())
            }
        }
    }
}

impl fmt::Debug for Database {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// What SQLite waits for before a row counts as durable (`synchronous`); databases with a server
/// have settings of their own for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Synchronous {
    /// The disk: a durable row survives `kill -9` and a power failure.
    Full,
    /// The operating system: it survives `kill -9`; a power failure costs the last seconds.
    Normal,
}

/// Everything that storage is told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StorageSettings {
    /// `url`.
    pub database: Database,
    /// `synchronous`: SQLite alone.
    pub synchronous: Synchronous,
    /// `timeout`: a promise that takes longer is refused.
    pub timeout: Duration,
    /// `flush_interval`: how long a row that nobody waits for may wait for its batch.
    pub flush_interval: Duration,
    /// `queue_mib`: memory for rows that wait, in bytes.
    pub queue_bytes: usize,
    /// `batch_rows`: rows of one transaction at most.
    pub batch_rows: usize,
    /// `fetch_rows`: rows of one batch while loading.
    pub fetch_rows: u32,
    /// The tables in the names that the configuration gives them; `None` for the modules' own.
    pub tables: Option<Vec<(Place, &'static Table)>>,
}

impl StorageSettings {
    /// The defaults, for this database.
    pub fn new(database: Database) -> StorageSettings {
        StorageSettings {
            database,
            synchronous: Synchronous::Full,
            timeout: TIMEOUT,
            flush_interval: FLUSH_INTERVAL,
            queue_bytes: bytes(QUEUE_MIB),
            batch_rows: size(BATCH_ROWS),
            fetch_rows: narrow(FETCH_ROWS),
            tables: None,
        }
    }

    /// The tables of these modules, as they are named here.
    pub(super) fn tables_of<W: Rows>(&self) -> Vec<(Place, &'static Table)> {
        self.tables.clone().unwrap_or_else(super::tables::<W>)
    }

    /// Reads `[storage]`; `None` without a `url`: then everything is kept in memory alone.
    pub fn read(section: &mut Section<'_>) -> Option<StorageSettings> {
        let words = [("full", Synchronous::Full), ("normal", Synchronous::Normal)];
        let synchronous = section.choice("synchronous", Synchronous::Full, &words);
        let timeout = section.duration("timeout", TIMEOUT, ms(10)..=secs(60), Unit::Milliseconds);
        let flush_interval =
            section.duration("flush_interval", FLUSH_INTERVAL, ms(1)..=secs(3600), Unit::Seconds);
        let queue_mib = section.integer("queue_mib", QUEUE_MIB, 1..=1 << 20);
        let batch_rows = section.integer("batch_rows", BATCH_ROWS, 1..=65_536);
        let fetch_rows = section.integer("fetch_rows", FETCH_ROWS, 1..=1_000_000);
        // A password has no place in what is printed about a mistake.
        let text = section.text("url");
        let database = text.and_then(|text| match Database::from_url(&text.value) {
            Ok(database) => Some(database),
            Err(allowed) => {
                section.problem_at(text.place, "url", "this URL cannot be used", &allowed);
                None
            }
        })?;
        Some(StorageSettings {
            database,
            synchronous,
            timeout,
            flush_interval,
            queue_bytes: bytes(queue_mib),
            batch_rows: size(batch_rows),
            fetch_rows: narrow(fetch_rows),
            tables: None,
        })
    }
}

fn bytes(mib: u64) -> usize {
    size(mib.saturating_mul(1 << 20))
}

fn size(number: u64) -> usize {
    usize::try_from(number).unwrap_or(usize::MAX)
}

fn narrow(number: u64) -> u32 {
    u32::try_from(number).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config;

    fn read(text: &str) -> (Option<StorageSettings>, String) {
        let (configuration, problems) = config::parse("t.toml", text);
        assert!(problems.is_empty(), "{problems}");
        let (settings, problems) =
            configuration.read(|root| StorageSettings::read(&mut root.section("storage")));
        (settings, problems.to_string())
    }

    #[test]
    fn without_a_url_nothing_is_stored() {
        let (settings, problems) = read("");
        assert!(settings.is_none());
        assert_eq!(problems, "");
    }

    #[test]
    fn everything_can_be_set() {
        let (settings, problems) = read(
            "[storage]\nurl = \"sqlite:/var/lib/strowger/state.db\"\nsynchronous = \"normal\"\n\
             timeout = 500\nflush_interval = \"5s\"\nqueue_mib = 2\nbatch_rows = 7\n\
             fetch_rows = 9\n",
        );
        assert_eq!(problems, "");
        let settings = settings.expect("settings");
        assert_eq!(settings.database.to_string(), "sqlite:/var/lib/strowger/state.db");
        assert_eq!(settings.synchronous, Synchronous::Normal);
        assert_eq!((settings.timeout, settings.flush_interval), (ms(500), secs(5)));
        assert_eq!(settings.queue_bytes, 2 << 20);
        assert_eq!((settings.batch_rows, settings.fetch_rows), (7, 9));
    }

    #[test]
    fn urls_name_a_database_and_passwords_stay_secret() {
        let url = "postgres://u:geheim@db.example.com:5433/sip";
        let database = Database::from_url(url).expect("a URL");
        assert_eq!(format!("{database:?}"), "postgres://db.example.com:5433/sip");
        let database = Database::from_url("mysql://u:geheim@127.0.0.1/sip").expect("a URL");
        assert_eq!(database.to_string(), "mysql://127.0.0.1:3306/sip");
        for bad in ["", "sip.db", "sqlite:", "sqlite::memory:", "oracle://x", "postgres://a:b:c"] {
            assert!(Database::from_url(bad).is_err(), "{bad}");
        }
        let (_, problems) = read("[storage]\nurl = \"oracle://u:geheim@x\"\n");
        assert!(problems.starts_with("t.toml:2: storage.url"), "{problems}");
        assert!(!problems.contains("geheim"), "{problems}");
    }
}
