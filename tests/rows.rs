//! Rows that nobody can use, and tables of another release: the real binary and what it says.
//!
//! For: values that are missing, of another kind, too long, no text, over; each skipped, counted,
//! and reported with table and key, while the rows beside it are used. Wrong versions end the start
//! with status 78.
//! Not here: each fault on its own (`modules/src/location/row.rs`).
//! Needs: Debian's `sqlite3`, `postgresql` and `mariadb-server`.

use std::path::PathBuf;
use std::process::Command;

use strowger_tests::binary;
use strowger_tests::database::{Kind, Server};
use strowger_tests::datagram::{self, Peer};
use strowger_tests::folder::Folder;
use strowger_tests::process::{PATIENCE, Process};
use strowger_tests::proxy::Proxy;

/// A database with the tables that the binary makes.
struct Stage {
    folder: Folder,
    server: Option<Server>,
}

impl Stage {
    fn new(kind: Option<Kind>) -> Stage {
        let stage = Stage { folder: Folder::new("rows"), server: kind.map(Server::start) };
        let file = stage.configuration(1);
        let mut create = strowger(&["db", "create", "-f", &file]);
        assert!(create.wait(PATIENCE).success(), "{}", create.output());
        stage
    }

    fn path(&self) -> PathBuf {
        self.folder.path().join("state.db")
    }

    fn configuration(&self, db_mode: u32) -> String {
        let url = match &self.server {
            Some(server) => server.url(),
            None => format!("sqlite:{}", self.path().display()),
        };
        let text = format!(
            "[node]\nlisten = [\"udp:127.0.0.1:0\"]\nshards = 2\n\
             [routing]\nregistrar = true\ndomains = [\"example.com\"]\n\
             [usrloc]\ndb_mode = {db_mode}\n[storage]\nurl = \"{url}\"\n"
        );
        let file = self.folder.write("strowger.toml", &text);
        file.to_str().expect("a readable path").to_owned()
    }

    fn run(&self, sql: &str) {
        let Some(server) = &self.server else {
            let mut client = Command::new("sqlite3");
            let done = client.arg("-bail").arg(self.path()).arg(sql).output().expect("sqlite3");
            return assert!(done.status.success(), "{sql}: {done:?}");
        };
        server.run(sql);
    }

    /// A row of a user, by its name, with this instead of what a good row has.
    fn insert(&self, ruid: &str, user: &str, column: &str, value: &str) {
        let mut values = vec![
            ("ruid", format!("'{ruid}'")),
            ("username", format!("'{user}'")),
            ("contact", format!("'sip:{user}@127.0.0.1:{}'", 20_000 + ruid.len())),
            ("expires", "'2090-01-01 00:00:00'".to_owned()),
            ("callid", "'c'".to_owned()),
            ("q", "0.5".to_owned()),
        ];
        values.retain(|(name, _)| *name != column);
        values.push((column, value.to_owned()));
        let names: Vec<&str> = values.iter().map(|(name, _)| *name).collect();
        let values: Vec<&str> = values.iter().map(|(_, value)| &**value).collect();
        let (names, values) = (names.join(", "), values.join(", "));
        self.run(&format!("INSERT INTO location ({names}) VALUES ({values});"));
    }
}

fn strowger(arguments: &[&str]) -> Process {
    Process::start("strowger", Command::new(binary::strowger()).args(arguments))
}

/// Bindings that the node knows of a user.
fn bindings(proxy: &Proxy, user: &str) -> String {
    let mut peer = Peer::new(proxy.address());
    let query = peer.request("REGISTER", "sip:example.com", "");
    let contact = format!("Contact: <sip:peer@{}>\r\n", peer.address());
    let query = query
        .replace(&contact, "")
        .replace("<sip:example.com>", &format!("<sip:{user}@example.com>"));
    let answer = peer.ask(&query, PATIENCE);
    assert_eq!(datagram::status(&answer), Some(200), "{answer}");
    answer
}

/// Bad rows: which column of them has what, and what is said of it.
type Bad = [(&'static str, &'static str, &'static str, &'static str)];

const BAD_EVERYWHERE: &Bad = &[
    ("null-contact", "contact", "NULL", "column contact: NULL"),
    ("null-expires", "expires", "NULL", "column expires: NULL"),
    ("no-uri", "contact", "'here and there'", "column contact: cannot be understood"),
    ("no-number", "cseq", "'many'", "column cseq: not the kind of value that is kept there"),
    ("no-real", "q", "'much'", "column q: not the kind of value that is kept there"),
    ("no-date", "expires", "'soon'", "column expires: cannot be understood"),
    ("absurd", "q", "700", "column q: out of range"),
    ("negative", "cseq", "-4", "column cseq: out of range"),
    ("ended", "expires", "'2020-01-01 00:00:00'", "column expires: its time is over"),
];

#[test]
fn sqlite_rows_that_are_of_no_use_are_skipped_and_reported() {
    let stage = Stage::new(None);
    // SQLite puts anything anywhere, but for NULL.
    let definition = "UPDATE sqlite_schema SET sql = replace(sql, ' NOT NULL', '') \
                      WHERE name = 'location'";
    stage.run(&format!("PRAGMA writable_schema = ON; {definition};"));
    stage.insert("long", "u", "contact", "'sip:' || hex(zeroblob(5000)) || '@h'");
    stage.insert("no-text", "u", "user_agent", "CAST(X'fffe41' AS TEXT)");
    let more =
        [("long", "column contact: 2049 bytes"), ("no-text", "column user_agent: cannot be")];
    are_skipped_and_reported(&stage, &more);
}

#[test]
fn postgres_rows_that_are_of_no_use_are_skipped_and_reported() {
    let stage = Stage::new(Some(Kind::Postgres));
    for column in ["contact", "expires", "cseq", "q"] {
        stage.run(&format!(
            "ALTER TABLE location ALTER {column} DROP NOT NULL, ALTER {column} DROP DEFAULT, \
             ALTER {column} TYPE text USING {column}::text;"
        ));
    }
    stage.insert("long", "u", "contact", "'sip:' || repeat('0', 10000) || '@h'");
    are_skipped_and_reported(&stage, &[("long", "column contact: 2049 bytes")]);
}

#[test]
fn mariadb_rows_that_are_of_no_use_are_skipped_and_reported() {
    let stage = Stage::new(Some(Kind::MariaDb));
    for column in ["expires", "cseq", "q"] {
        stage.run(&format!("ALTER TABLE location MODIFY {column} VARCHAR(64) NULL;"));
    }
    stage.run("ALTER TABLE location MODIFY contact TEXT NULL;");
    stage.insert("long", "u", "contact", "CONCAT('sip:', REPEAT('0', 10000), '@h')");
    are_skipped_and_reported(&stage, &[("long", "column contact: 2049 bytes")]);
}

fn are_skipped_and_reported(stage: &Stage, more: &[(&str, &str)]) {
    let bad = BAD_EVERYWHERE;
    for (ruid, column, value, _) in bad {
        stage.insert(ruid, "u", column, value);
    }
    for good in 1..=3 {
        stage.insert(&format!("good-{good}"), &format!("good{good}"), "q", "0.5");
    }
    let mut proxy = Proxy::start(&["-f", &stage.configuration(1)]);
    let said: Vec<(&str, &str)> = bad.iter().map(|(ruid, _, _, said)| (*ruid, *said)).collect();
    for (ruid, said) in said.iter().chain(more) {
        let line = proxy.process().wait_for(&format!("table location, row {ruid},"));
        assert!(line.contains("row skipped") && line.contains(said), "{line}");
    }
    let storage = proxy.storage();
    let skipped = bad.len() + more.len();
    assert_eq!((&*storage["loaded"], &*storage["skipped"]), ("3", &*skipped.to_string()));
    assert_eq!(proxy.summary().counted("usrloc_location_contacts"), 3);
    assert!(bindings(&proxy, "good2").contains("<sip:good2@127.0.0.1:20006>"));
    assert!(!bindings(&proxy, "u").contains("Contact:"));
    drop(proxy);

    // The same of rows that are asked for while it runs.
    let mut proxy = Proxy::start(&["-f", &stage.configuration(3)]);
    stage.insert("late-bad", "late", "q", "'much'");
    stage.insert("late-good", "late", "q", "0.5");
    assert!(bindings(&proxy, "late").contains("<sip:late@127.0.0.1:20009>"));
    let line = proxy.process().wait_for("table location, row late-bad,");
    assert!(line.contains("row skipped"), "{line}");
}

#[test]
fn tables_of_another_release_end_the_start_with_78() {
    for kind in [None, Some(Kind::Postgres), Some(Kind::MariaDb)] {
        let stage = Stage::new(kind);
        let file = stage.configuration(1);
        for (version, hint) in [(8, "db migrate"), (10, "newer release")] {
            stage.run(&format!(
                "UPDATE version SET table_version = {version} WHERE table_name = 'location';"
            ));
            let said = format!("table location: version {version}, 9 is needed");
            for arguments in [&["run", "-f", &*file], &["db", "check", "-f", &*file][..]] {
                let mut node = strowger(arguments);
                assert_eq!(node.wait(PATIENCE).code(), Some(78), "{}", node.output());
                let output = node.output();
                assert!(output.contains(&said) && output.contains(hint), "{output}");
                assert!(!output.contains("listening"), "{output}");
            }
        }
        stage.run("UPDATE version SET table_version = 8 WHERE table_name = 'location';");
        let mut migrate = strowger(&["db", "migrate", "-f", &file]);
        assert!(migrate.wait(PATIENCE).success(), "{}", migrate.output());
        let mut check = strowger(&["db", "check", "-f", &file]);
        assert!(check.wait(PATIENCE).success(), "{}", check.output());
    }
}
