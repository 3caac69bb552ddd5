//! The SQL that this node says, in three dialects.
//!
//! For: statements made from the tables that modules declare: create, insert or update, delete,
//! read.
//! Not here: saying them (`connection.rs`), batches (`writer.rs`).
//! Invariants: names come from the modules' declarations and are quoted; values are bound, never
//! written into a statement. Every column is read as text, whatever type it has, so that a row of
//! the wrong type is a row that can be reported.

use super::count::Count;
use super::value::group_of;
use std::fmt::Write;
use strowger_sip::storage::{Column, Kind, Table};

/// Text columns longer than this are `TEXT`: a row of MySQL has 65,535 bytes at most.
const VARCHAR_MAX: u16 = 4096;
/// UTF-8's longest character, in bytes.
const CHARACTER_BYTES_MAX: usize = 4;

/// What ends before this never ends: the zero of another writer, in whatever zone of time.
const FOR_EVER: &str = "1970-01-02 00:00:00";

/// How a database wants to be spoken to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Dialect {
    /// SQLite 3.24 or newer; the one compiled in.
    Sqlite,
    /// PostgreSQL 9.5 or newer.
    Postgres,
    /// MySQL 5.7 and MariaDB 10, or newer.
    MySql,
}

impl Dialect {
    /// Its name in summaries.
    pub(super) const fn name(self) -> &'static str {
        match self {
            Dialect::Sqlite => "sqlite",
            Dialect::Postgres => "postgres",
            Dialect::MySql => "mysql",
        }
    }

    /// `CREATE TABLE`, with the serial number and the unique key.
    pub(super) fn create(self, table: &Table) -> String {
        let mut sql = format!("CREATE TABLE {} ({}", self.quote(table.name), self.serial());
        for column in table.columns {
            let _ = write!(sql, ", {}", self.column(column));
        }
        if !table.key.is_empty() {
            let name = self.quote(&format!("{}_key_idx", table.name));
            let _ = write!(sql, ", CONSTRAINT {name} UNIQUE ({})", self.names(table.key));
        }
        sql + ")" + self.table_options()
    }

    /// The table of tables, as Kamailio has it.
    pub(super) fn create_version(self) -> String {
        let index = self.quote("version_table_name_idx");
        let columns = "table_name VARCHAR(32) NOT NULL, table_version INTEGER DEFAULT 0 NOT NULL";
        format!(
            "CREATE TABLE version ({}, {columns}, CONSTRAINT {index} UNIQUE (table_name)){}",
            self.serial(),
            self.table_options()
        )
    }

    /// Adds one column.
    pub(super) fn add_column(self, table: &Table, column: &Column) -> String {
        format!("ALTER TABLE {} ADD COLUMN {}", self.quote(table.name), self.column(column))
    }

    /// Adds the unique key.
    pub(super) fn add_key(self, table: &Table) -> String {
        let index = self.quote(&format!("{}_key_idx", table.name));
        let keys = self.names(table.key);
        format!("CREATE UNIQUE INDEX {index} ON {} ({keys})", self.quote(table.name))
    }

    /// Inserts so many rows, or updates those that are there.
    pub(super) fn put(self, table: &Table, rows: usize) -> String {
        let mut names: Vec<&str> = table.columns.iter().map(|column| column.name).collect();
        let numbered = self.numbers_rows_it_has();
        if numbered {
            names.insert(0, "id");
        }
        let mut sql =
            format!("INSERT INTO {} ({}) VALUES ", self.quote(table.name), self.names(&names));
        let mut n = 0;
        for row in 0..rows {
            sql.push_str(if row == 0 { "(" } else { ", (" });
            if numbered {
                let _ = write!(sql, "{}, ", self.number(table, n));
            }
            for (place, column) in table.columns.iter().enumerate() {
                n += 1;
                let comma = if place == 0 { "" } else { ", " };
                let _ = write!(sql, "{comma}{}", self.placeholder(n, column.kind));
            }
            sql.push(')');
        }
        match self {
            Dialect::Sqlite | Dialect::Postgres => {
                let _ = write!(sql, " ON CONFLICT ({}) DO UPDATE SET ", self.names(table.key));
            }
            Dialect::MySql => sql.push_str(" ON DUPLICATE KEY UPDATE "),
        }
        let updates = table.columns.iter().map(|column| {
            let name = self.quote(column.name);
            match self {
                Dialect::Sqlite | Dialect::Postgres => format!("{name} = excluded.{name}"),
                Dialect::MySql => format!("{name} = VALUES({name})"),
            }
        });
        sql + &updates.collect::<Vec<_>>().join(", ")
    }

    /// Whether an insertion that turns out to be an update would use a serial number up: a table
    /// whose rows are refreshed all the time runs out of 32 bits within weeks.
    const fn numbers_rows_it_has(self) -> bool {
        match self {
            Dialect::Postgres => true,
            // SQLite takes the next free number; tables made here have 64 bits in MySQL.
            Dialect::Sqlite | Dialect::MySql => false,
        }
    }

    /// The number that a row has, or the next one. The values of the row come after the first `n`.
    fn number(self, table: &Table, n: usize) -> String {
        let own = |key: &&str| {
            let place = table.place(key)?;
            let kind = table.columns.get(place)?.kind;
            Some(format!("{} = {}", self.quote(key), self.placeholder(n + place + 1, kind)))
        };
        let own: Vec<String> = table.key.iter().filter_map(own).collect();
        let (name, own) = (self.quote(table.name), own.join(" AND "));
        format!(
            "COALESCE((SELECT id FROM {name} WHERE {own}), \
             nextval(pg_get_serial_sequence('{name}', 'id')))"
        )
    }

    /// Inserts so many rows of a table without a key.
    pub(super) fn insert(self, table: &Table, rows: usize) -> String {
        let names: Vec<&str> = table.columns.iter().map(|column| column.name).collect();
        let mut n = 0;
        let mut row = || {
            let one = |column: &Column| {
                n += 1;
                self.placeholder(n, column.kind)
            };
            format!("({})", table.columns.iter().map(one).collect::<Vec<_>>().join(", "))
        };
        let rows: Vec<String> = (0..rows).map(|_| row()).collect();
        let (name, names) = (self.quote(table.name), self.names(&names));
        format!("INSERT INTO {name} ({names}) VALUES {}", rows.join(", "))
    }

    /// Deletes the rows of a group: those with the same values in the first index.
    pub(super) fn remove_group(self, table: &Table) -> String {
        let by = self.conditions(table, group_of(table), &mut 0);
        format!("DELETE FROM {} WHERE {by}", self.quote(table.name))
    }

    /// Deletes the rows of so many keys.
    pub(super) fn remove(self, table: &Table, rows: usize) -> String {
        let mut n = 0;
        let keys = (0..rows).map(|_| format!("({})", self.conditions(table, table.key, &mut n)));
        let keys: Vec<String> = keys.collect();
        format!("DELETE FROM {} WHERE {}", self.quote(table.name), keys.join(" OR "))
    }

    /// Deletes the rows that have ended by a date; those that never end stay.
    pub(super) fn remove_ended(self, table: &Table) -> String {
        let (name, ends) = (self.quote(table.name), self.quote(table.ends.unwrap_or("id")));
        let by = self.placeholder(1, Kind::Date);
        let own = match self {
            // Dates that another writer keeps as numbers would count as less than any text.
            Dialect::Sqlite => format!(" AND typeof({ends}) = 'text'"),
            Dialect::Postgres | Dialect::MySql => String::new(),
        };
        format!("DELETE FROM {name} WHERE {ends} <= {by} AND {ends} > '{FOR_EVER}'{own}")
    }

    /// Counts rows; for a table whose rows end, as of a date.
    pub(super) fn count(self, table: &Table, what: Count) -> String {
        let name = self.quote(table.name);
        let columns = match what {
            Count::Rows | Count::Ended => "id".to_owned(),
            Count::Different(columns) => self.names(columns),
        };
        let condition = table.ends.map_or(String::new(), |ends| {
            let (ends, by) = (self.quote(ends), self.placeholder(1, Kind::Date));
            let not = if what == Count::Ended { "" } else { "NOT " };
            format!(" WHERE {not}({ends} <= {by} AND {ends} > '{FOR_EVER}')")
        });
        let number = format!("CAST(COUNT(*) AS {})", self.text_type());
        format!(
            "SELECT {number} FROM (SELECT DISTINCT {columns} FROM {name}{condition}) AS counted"
        )
    }

    /// Makes the indexes of a table beside those of its keys.
    pub(super) fn create_indexes(self, table: &Table) -> Vec<String> {
        let create = |columns: &&[&str]| {
            let index = self.quote(&format!("{}_{}_idx", table.name, columns.join("_")));
            format!("CREATE INDEX {index} ON {} ({})", self.quote(table.name), self.names(columns))
        };
        table.indexes.iter().map(create).collect()
    }

    /// Finds rows by the values of these columns; all of them without any.
    pub(super) fn find(self, table: &Table, by: &[&'static str], limit: usize) -> String {
        let (columns, name) = (self.texts(table), self.quote(table.name));
        let conditions = match by {
            [] => String::new(),
            by => format!(" WHERE {}", self.conditions(table, by, &mut 0)),
        };
        format!("SELECT {columns} FROM {name}{conditions} ORDER BY id LIMIT {limit}")
    }

    /// Reads the rows after a serial number, in the order of those; the number comes first.
    pub(super) fn page(self, table: &Table, rows: u32) -> String {
        let (columns, name) = (self.texts(table), self.quote(table.name));
        let id = self.as_text("id", CHARACTER_BYTES_MAX * 20);
        let after = self.placeholder(1, Kind::Integer);
        format!("SELECT {id}, {columns} FROM {name} WHERE id > {after} ORDER BY id LIMIT {rows}")
    }

    /// What a connection that reads pages is to be told first. A server that has not yet looked at
    /// how long a table is reads and sorts all that is left of it for every page.
    pub(super) const fn before_paging(self) -> Option<&'static str> {
        match self {
            Dialect::Postgres => Some("SET enable_sort = off; SET enable_bitmapscan = off"),
            Dialect::Sqlite | Dialect::MySql => None,
        }
    }

    /// The columns of a table and its unique indices are asked for by its name: one row for each
    /// column.
    pub(super) const fn columns_of(self) -> &'static str {
        match self {
            Dialect::Sqlite => "SELECT CAST(name AS TEXT) FROM pragma_table_info(?)",
            Dialect::Postgres => {
                "SELECT column_name::text FROM information_schema.columns \
                 WHERE table_schema = current_schema() AND table_name = $1"
            }
            Dialect::MySql => {
                "SELECT CAST(column_name AS CHAR) FROM information_schema.columns \
                 WHERE table_schema = DATABASE() AND table_name = ?"
            }
        }
    }

    /// One row for each column of each unique index: the index, the column.
    pub(super) const fn keys_of(self) -> &'static str {
        match self {
            Dialect::Sqlite => {
                "SELECT CAST(list.name AS TEXT), CAST(info.name AS TEXT) \
                 FROM pragma_index_list(?) AS list, pragma_index_info(list.name) AS info \
                 WHERE list.\"unique\" = 1 AND list.partial = 0"
            }
            Dialect::Postgres => {
                "SELECT i.indexrelid::text, a.attname::text FROM pg_index i \
                 JOIN pg_attribute a ON a.attrelid = i.indrelid AND a.attnum = ANY(i.indkey) \
                 WHERE i.indrelid = to_regclass(quote_ident($1)) AND i.indisunique \
                 AND i.indpred IS NULL AND i.indexprs IS NULL"
            }
            Dialect::MySql => {
                "SELECT CAST(index_name AS CHAR), CAST(column_name AS CHAR) \
                 FROM information_schema.statistics WHERE table_schema = DATABASE() \
                 AND table_name = ? AND non_unique = 0"
            }
        }
    }

    /// The version of a table.
    pub(super) const fn version_of(self) -> &'static str {
        match self {
            Dialect::Sqlite => {
                "SELECT CAST(table_version AS TEXT) FROM version WHERE table_name = ?"
            }
            Dialect::Postgres => "SELECT table_version::text FROM version WHERE table_name = $1",
            Dialect::MySql => {
                "SELECT CAST(table_version AS CHAR) FROM version WHERE table_name = ?"
            }
        }
    }

    /// Forgets the version of a table.
    pub(super) const fn forget_version(self) -> &'static str {
        match self {
            Dialect::Sqlite | Dialect::MySql => "DELETE FROM version WHERE table_name = ?",
            Dialect::Postgres => "DELETE FROM version WHERE table_name = $1",
        }
    }

    /// Writes down the version of a table.
    pub(super) const fn write_version(self) -> &'static str {
        match self {
            Dialect::Sqlite | Dialect::MySql => {
                "INSERT INTO version (table_name, table_version) VALUES (?, ?)"
            }
            Dialect::Postgres => "INSERT INTO version (table_name, table_version) VALUES ($1, $2)",
        }
    }

    /// Begins a transaction that writes.
    pub(super) const fn begin(self) -> &'static str {
        match self {
            // Takes the lock at once: a transaction that read first could not get it any more.
            Dialect::Sqlite => "BEGIN IMMEDIATE",
            Dialect::Postgres | Dialect::MySql => "BEGIN",
        }
    }

    fn serial(self) -> &'static str {
        match self {
            Dialect::Sqlite => "id INTEGER PRIMARY KEY NOT NULL",
            Dialect::Postgres => "id BIGSERIAL PRIMARY KEY NOT NULL",
            // Each update by insertion uses a number up.
            Dialect::MySql => "id BIGINT UNSIGNED AUTO_INCREMENT PRIMARY KEY NOT NULL",
        }
    }

    fn table_options(self) -> &'static str {
        match self {
            Dialect::Sqlite | Dialect::Postgres => "",
            // Keys that differ in case alone are two keys, as in the other databases.
            Dialect::MySql => " ENGINE=InnoDB DEFAULT CHARACTER SET utf8mb4 COLLATE utf8mb4_bin",
        }
    }

    fn column(self, column: &Column) -> String {
        let mut sql = self.quote(column.name);
        match (column.kind, self) {
            (Kind::Text(characters), _) if characters <= VARCHAR_MAX => {
                let _ = write!(sql, " VARCHAR({characters})");
            }
            (Kind::Text(_), _) => sql.push_str(" TEXT"),
            (Kind::Integer, Dialect::Sqlite | Dialect::Postgres) => sql.push_str(" INTEGER"),
            (Kind::Integer, Dialect::MySql) => sql.push_str(" INT(11)"),
            (Kind::Real, Dialect::Sqlite | Dialect::Postgres) => sql.push_str(" REAL"),
            (Kind::Real, Dialect::MySql) => sql.push_str(" FLOAT(10,2)"),
            (Kind::Date, Dialect::Sqlite | Dialect::Postgres) => {
                sql.push_str(" TIMESTAMP WITHOUT TIME ZONE");
            }
            (Kind::Date, Dialect::MySql) => sql.push_str(" DATETIME"),
        }
        let _ = write!(sql, " DEFAULT {}", self.default(column));
        sql.push_str(if column.nullable { "" } else { " NOT NULL" });
        sql
    }

    fn default(self, column: &Column) -> String {
        let quoted = || format!("'{}'", column.default.replace('\'', "''"));
        let is_empty = column.default.is_empty();
        match column.kind {
            Kind::Integer | Kind::Real if !is_empty => column.default.to_owned(),
            Kind::Date if !is_empty => quoted(),
            Kind::Text(_) if !is_empty || !column.nullable => quoted(),
            // A column that is added to rows that are there must have something for them.
            Kind::Integer | Kind::Real if !column.nullable => "0".to_owned(),
            Kind::Date if !column.nullable => "'1970-01-01 00:00:01'".to_owned(),
            Kind::Text(_) | Kind::Integer | Kind::Real | Kind::Date => "NULL".to_owned(),
        }
    }

    fn quote(self, name: &str) -> String {
        match self {
            Dialect::Sqlite | Dialect::Postgres => format!("\"{name}\""),
            Dialect::MySql => format!("`{name}`"),
        }
    }

    fn names(self, names: &[&str]) -> String {
        names.iter().map(|name| self.quote(name)).collect::<Vec<_>>().join(", ")
    }

    fn conditions(self, table: &Table, by: &[&str], n: &mut usize) -> String {
        let condition = |name: &&str| {
            *n += 1;
            let column = table.columns.iter().find(|column| column.name == *name);
            let kind = column.map_or(Kind::Text(0), |column| column.kind);
            format!("{} = {}", self.quote(name), self.placeholder(*n, kind))
        };
        by.iter().map(condition).collect::<Vec<_>>().join(" AND ")
    }

    fn placeholder(self, n: usize, kind: Kind) -> String {
        match (self, kind) {
            (Dialect::Sqlite | Dialect::MySql, _) => "?".to_owned(),
            (Dialect::Postgres, Kind::Date) => format!("CAST(${n} AS TIMESTAMP)"),
            (Dialect::Postgres, Kind::Text(_) | Kind::Integer | Kind::Real) => format!("${n}"),
        }
    }

    /// All columns as text. Of a text that is too long only so much is read that it is seen to be.
    fn texts(self, table: &Table) -> String {
        let text = |column: &Column| match (column.kind, self) {
            (Kind::Text(characters), _) => {
                self.as_text(column.name, usize::from(characters) * CHARACTER_BYTES_MAX + 1)
            }
            // Other writers keep dates as Julian days or as seconds there.
            (Kind::Date, Dialect::Sqlite) => {
                let name = self.quote(column.name);
                format!(
                    "CASE typeof({name}) WHEN 'real' THEN datetime({name}) WHEN 'integer' THEN \
                     datetime({name}, 'unixepoch') ELSE substr(CAST({name} AS TEXT), 1, 64) END"
                )
            }
            (Kind::Integer | Kind::Real | Kind::Date, _) => self.as_text(column.name, 64),
        };
        table.columns.iter().map(text).collect::<Vec<_>>().join(", ")
    }

    fn as_text(self, column: &str, characters: usize) -> String {
        let (name, kind) = (self.quote(column), self.text_type());
        format!("SUBSTR(CAST({name} AS {kind}), 1, {characters})")
    }

    fn text_type(self) -> &'static str {
        match self {
            Dialect::Sqlite | Dialect::Postgres => "TEXT",
            Dialect::MySql => "CHAR",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::THINGS;
    use super::*;

    #[test]
    fn tables_have_a_serial_number_and_a_unique_key() {
        assert_eq!(
            Dialect::Sqlite.create(&THINGS),
            "CREATE TABLE \"things\" (id INTEGER PRIMARY KEY NOT NULL, \
             \"name\" VARCHAR(16) DEFAULT '' NOT NULL, \"size\" INTEGER DEFAULT 0, \
             \"q\" REAL DEFAULT 1.0 NOT NULL, \
             \"until\" TIMESTAMP WITHOUT TIME ZONE DEFAULT '2030-05-28 21:32:15' NOT NULL, \
             \"note\" VARCHAR(32) DEFAULT NULL, \
             CONSTRAINT \"things_key_idx\" UNIQUE (\"name\"))"
        );
        let mysql = Dialect::MySql.create(&THINGS);
        assert!(mysql.contains("`until` DATETIME DEFAULT '2030-05-28 21:32:15' NOT NULL"));
        assert!(mysql.ends_with("COLLATE utf8mb4_bin"), "{mysql}");
    }

    #[test]
    fn values_are_bound() {
        assert_eq!(
            Dialect::Postgres.put(&THINGS, 2),
            "INSERT INTO \"things\" (\"id\", \"name\", \"size\", \"q\", \"until\", \"note\") \
             VALUES (COALESCE((SELECT id FROM \"things\" WHERE \"name\" = $1), \
             nextval(pg_get_serial_sequence('\"things\"', 'id'))), \
             $1, $2, $3, CAST($4 AS TIMESTAMP), $5), \
             (COALESCE((SELECT id FROM \"things\" WHERE \"name\" = $6), \
             nextval(pg_get_serial_sequence('\"things\"', 'id'))), \
             $6, $7, $8, CAST($9 AS TIMESTAMP), $10) \
             ON CONFLICT (\"name\") DO UPDATE SET \"name\" = excluded.\"name\", \
             \"size\" = excluded.\"size\", \"q\" = excluded.\"q\", \
             \"until\" = excluded.\"until\", \"note\" = excluded.\"note\""
        );
        assert_eq!(
            Dialect::MySql.remove(&THINGS, 2),
            "DELETE FROM `things` WHERE (`name` = ?) OR (`name` = ?)"
        );
        assert_eq!(
            Dialect::MySql.remove_ended(&THINGS),
            "DELETE FROM `things` WHERE `until` <= ? AND `until` > '1970-01-02 00:00:00'"
        );
        assert_eq!(
            Dialect::Sqlite.create_indexes(&THINGS),
            ["CREATE INDEX \"things_size_note_idx\" ON \"things\" (\"size\", \"note\")"]
        );
        let find = Dialect::Postgres.find(&THINGS, &["name", "until"], 9);
        assert!(
            find.ends_with(
                "WHERE \"name\" = $1 AND \"until\" = CAST($2 AS TIMESTAMP) ORDER BY id LIMIT 9"
            ),
            "{find}"
        );
    }
}
