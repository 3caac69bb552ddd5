//! Rows that belong together, in a table without a key: they are replaced all at once.

use super::*;

/// Rows that belong together by who they are about.
pub(crate) static NOTES: Table = Table {
    name: "notes",
    version: 1,
    columns: &[
        column("ruid", Kind::Text(64), false, ""),
        column("note", Kind::Text(512), false, ""),
        column("told", Kind::Date, false, "2000-01-01 00:00:01"),
    ],
    key: &[],
    indexes: &[&["ruid"], &["note"]],
    ends: None,
    loaded_at_start: true,
};

fn note(ruid: &str, note: &str) -> Record {
    let told = Datum::Date(UnixTime::from_secs(EXPIRES));
    vec![Datum::Text(ruid.to_owned()), Datum::Text(note.to_owned()), told]
}

/// So many notes in place of those that are there.
fn replace(ruid: &str, notes: u64, version: u64) -> Order {
    let rows = (0..notes).map(|n| note(ruid, &format!("{version}.{n}"))).collect();
    let action = Action::Replace(vec![Datum::Text(ruid.to_owned())], rows);
    Order { table: &NOTES, action, ..put(ruid, version) }
}

#[test]
fn sqlite_replaces_rows_that_belong_together() {
    let folder = Folder::new("sqlite-notes");
    replaces_rows_that_belong_together(&sqlite(&folder));
}

#[test]
fn postgres_replaces_rows_that_belong_together() {
    let (_server, settings) = server(database::Kind::Postgres);
    replaces_rows_that_belong_together(&settings);
}

#[test]
fn mariadb_replaces_rows_that_belong_together() {
    let (_server, settings) = server(database::Kind::MariaDb);
    replaces_rows_that_belong_together(&settings);
}

fn replaces_rows_that_belong_together(settings: &StorageSettings) {
    let mut rig = Rig::start(settings);
    assert!(rig.outlet.next_loaded().is_none());
    rig.give([promised(replace("many", 100, 1), 1), promised(replace("gone", 3, 1), 2)]);
    rig.give([promised(replace("few", 5, 1), 3)]);
    for _ in 0..3 {
        assert_eq!(rig.outcome().1, Outcome::Durable);
    }
    // An older set does not come back, whatever it holds; one that does not fit changes nothing.
    let long = Order {
        action: Action::Replace(
            vec![Datum::Text("few".into())],
            vec![note("few", &"x".repeat(600))],
        ),
        ..replace("few", 1, 9)
    };
    rig.give([promised(replace("many", 2, 3), 4), promised(replace("many", 7, 2), 5)]);
    rig.give([promised(replace("gone", 0, 2), 6), promised(long, 7)]);
    let mut outcomes = [rig.outcome(), rig.outcome(), rig.outcome(), rig.outcome()];
    outcomes.sort_unstable_by_key(|(ticket, _)| *ticket);
    let durable = outcomes.iter().filter(|(_, outcome)| *outcome == Outcome::Durable);
    assert_eq!(durable.map(|(ticket, _)| *ticket).collect::<Vec<_>>(), [4, 5, 6]);
    rig.wait_until("written", |summary| summary.waiting == 0);
    for (ticket, ruid, version, count) in [(8, "many", 3, 2), (9, "gone", 2, 0), (10, "few", 1, 5)]
    {
        let by = vec![("ruid", Datum::Text(ruid.to_owned()))];
        let find = Order { action: Action::Find(by), ..replace(ruid, 0, 1) };
        rig.give([promised(find, ticket)]);
        let told = rig.note_within(PATIENCE).expect("a note");
        let Note::Found(_, records) = told else { panic!("{told:?}") };
        let expected: Vec<Record> =
            (0..count).map(|n| note(ruid, &format!("{version}.{n}"))).collect();
        assert_eq!(records, expected, "{ruid}");
    }
    rig.stop();
    // All of them are there at the next start.
    let mut rig = Rig::start(settings);
    let mut loaded = 0;
    while let Some(batch) = rig.outlet.next_loaded() {
        if let Loaded::Rows(rows) = batch {
            loaded += rows.len();
        }
    }
    assert_eq!(loaded, 7);
    rig.stop();
}
