//! Dialogs that outlive a process: acceptance examples 19 and 20, deltas with deletes.

use super::super::{DIALOG, DIALOG_VARS, Database, DbMode, Row, Settings};
use super::rig::{B, Call, House, Sent, find, settings};
use std::collections::BTreeMap;
use strowger_sip::engine::{Input, RowOf};
use strowger_sip::module::Either;
use strowger_sip::rig::Bench;
use strowger_sip::storage::{Action, Datum, Note, Order, Outcome, Record, Rows, Version};
use strowger_sip::time::{ms, secs};

/// The tables of a database in memory.
#[derive(Default)]
pub(super) struct Tables {
    rows: BTreeMap<(&'static str, String), (Version, Option<Record>)>,
}

impl Tables {
    pub(super) fn take(&mut self, call: &mut Call) {
        self.take_from(&mut call.bench);
    }

    /// Carries out what a shard wants stored, and tells whoever waits for it.
    pub(super) fn take_from(&mut self, bench: &mut Bench<House>) {
        loop {
            let rows = bench.take_rows();
            if rows.is_empty() {
                return;
            }
            for row in rows {
                let Some((_, order)) = row.into_order() else { continue };
                let note = self.carry_out(&order);
                note.into_iter().for_each(|note| hand(bench, note));
            }
        }
    }

    fn carry_out(&mut self, order: &Order) -> Option<Note> {
        let table = order.table;
        let (key, record) = match &order.action {
            Action::Put(record) => {
                (format!("{:?}", &record[..table.key.len()]), Some(record.clone()))
            }
            Action::Remove(key) => (format!("{key:?}"), None),
            Action::Find(by) => {
                let fits = |record: &&Record| {
                    by.iter().all(|(column, value)| {
                        table.place(column).is_some_and(|place| record[place] == *value)
                    })
                };
                let found = self.of(table.name).into_iter().filter(fits).cloned().collect();
                return order.ticket.map(|ticket| Note::Found(ticket, found));
            }
            Action::Replace(..) | Action::RemoveEnded(_) => return None,
        };
        let old = self.rows.get(&(table.name, key.clone())).map(|(version, _)| *version);
        if old.is_none_or(|old| order.version > old) {
            self.rows.insert((table.name, key), (order.version, record));
        }
        order.ticket.map(|ticket| Note::Settled(ticket, Outcome::Durable))
    }

    pub(super) fn of(&self, table: &str) -> Vec<&Record> {
        let there = self.rows.iter().filter(|((name, _), _)| *name == table);
        there.filter_map(|(_, (_, record))| record.as_ref()).collect()
    }

    fn load(&self, call: &mut Call) {
        self.load_into(&mut call.bench);
    }

    /// Gives everything to a shard that has just started.
    pub(super) fn load_into(&self, bench: &mut Bench<House>) {
        for table in [&DIALOG, &DIALOG_VARS] {
            for record in self.of(table.name) {
                hand(bench, Note::Loaded(table, record.clone()));
            }
        }
    }
}

/// Storage tells a shard something.
pub(super) fn hand(bench: &mut Bench<House>, note: Note) {
    let row = Row::from_note(0, note).expect("a row").expect("a use for it");
    let row: RowOf<House> = Either::Right(Either::Left(row));
    bench.input(Input::Row(row));
}

/// Settings with this mode.
pub(super) fn stored(mode: DbMode) -> Settings {
    let database = Database { mode, ..Settings::default().database };
    Settings { database, ..settings() }
}

fn text(record: &Record, column: &str) -> String {
    match &record[DIALOG.place(column).expect("a column")] {
        Datum::Text(text) => text.clone(),
        Datum::Integer(number) => number.to_string(),
        Datum::Null => "NULL".to_owned(),
        other @ (Datum::Real(_) | Datum::Date(_)) => format!("{other:?}"),
    }
}

fn answered(mode: DbMode) -> (Call, Tables, Sent) {
    let mut call = Call::new(stored(mode));
    let mut tables = Tables::default();
    let invite = find(&call.invite("gold-cust-route"), "INVITE");
    call.answer(B, &invite, "180 Ringing", "b1");
    let mut sent = call.answer(B, &invite, "200 OK", "b1");
    tables.take(&mut call);
    sent.extend(call.sent());
    let ok = find(&sent, "SIP/2.0 200");
    call.caller("ACK", &ok, "b1", "");
    tables.take(&mut call);
    (call, tables, ok)
}

#[test]
fn a_call_outlives_its_process_example_19() {
    let (mut first, tables, ok) = answered(DbMode::Realtime);
    let listed = first.listed();
    let mut call = Call::new(stored(DbMode::Realtime));
    // The clock of the next process is later.
    call.skip(ms(500));
    tables.load(&mut call);
    assert_eq!(call.counts()[0], 1);
    assert_eq!(call.command("dlg.profile_get_size", &["cust", "acme"]), Ok("1".into()));
    let keys = |text: &str| text.split("\"ref\"").next().map(str::to_owned);
    assert_eq!(keys(&call.listed()), keys(&listed));
    assert!(call.shows("\"variables\":[{\"acct\":\"gold\"}]"));
    assert_eq!(call.told("Loaded"), 1);
    let bye = find(&call.caller("BYE", &ok, "b1", ""), "BYE");
    call.answer(B, &bye, "200 OK", "b1");
    assert_eq!(call.told("End(CallerBye)"), 1);
    call.ends_empty();
    let mut tables = tables;
    tables.take(&mut call);
    assert_eq!((tables.of("dialog").len(), tables.of("dialog_vars").len()), (0, 0));
    drop(first);
}

#[test]
fn a_row_shows_the_call() {
    let (_, tables, _) = answered(DbMode::Realtime);
    let rows = tables.of("dialog");
    let [row] = rows.as_slice() else { panic!("{rows:?}") };
    for (column, value) in [
        ("hash_entry", "617"),
        ("callid", "dlg-test-0001@198.51.100.7"),
        ("from_tag", "a1"),
        ("to_tag", "b1"),
        ("caller_cseq", "7"),
        ("callee_cseq", "0"),
        ("caller_contact", "sip:a@192.0.2.10"),
        ("callee_contact", "sip:b@192.0.2.20"),
        ("caller_sock", "udp:192.0.2.1:5060"),
        ("state", "4"),
        ("start_time", "1800000000"),
        ("timeout", "1800043200"),
        ("toroute_name", "DLGTO"),
        ("req_uri", "sip:gold-cust-route@192.0.2.1"),
        ("xdata", r#"{"profiles":[{"name":"cust","value":"acme"}]}"#),
    ] {
        assert_eq!(text(row, column), value, "{column}");
    }
}

#[test]
fn a_lifetime_that_ended_meanwhile_ends_at_once_example_19() {
    let (_, mut tables, _) = answered(DbMode::Realtime);
    let place = DIALOG.place("timeout").expect("a column");
    for (_, record) in tables.rows.values_mut() {
        if let Some(record) = record.as_mut().filter(|record| record.len() > place) {
            record[place] = Datum::Integer(1_700_000_000);
        }
    }
    let mut call = Call::new(stored(DbMode::Realtime));
    tables.load(&mut call);
    call.skip(secs(2));
    assert_eq!((call.told("End(Timeout)"), call.counts()[0]), (1, 0));
}

#[test]
fn another_nodes_call_is_left_to_it() {
    let (_, mut tables, _) = answered(DbMode::Realtime);
    let place = |column| DIALOG.place(column).expect("a column");
    for (_, record) in tables.rows.values_mut() {
        if let Some(record) = record.as_mut().filter(|record| record.len() > 10) {
            record[place("timeout")] = Datum::Integer(1_800_000_100);
            record[place("caller_sock")] = Datum::Text("udp:198.51.100.1:5060".into());
        }
    }
    let mut call = Call::new(Settings { filter_foreign: true, ..stored(DbMode::Realtime) });
    call.skip(ms(500));
    tables.load(&mut call);
    call.skip(secs(120));
    assert_eq!((call.told("End"), call.told("Destroyed"), call.counts()[0]), (0, 1, 0));
    tables.take(&mut call);
    assert_eq!(tables.of("dialog").len(), 1);
}

#[test]
fn a_variable_that_is_removed_is_deleted() {
    let (mut call, mut tables, ok) = answered(DbMode::Realtime);
    assert_eq!(tables.of("dialog_vars").len(), 1);
    call.caller("INFO", &ok, "b1", "X-Do: unset acct\n");
    tables.take(&mut call);
    assert_eq!(tables.of("dialog_vars").len(), 0);
    call.caller("INFO", &ok, "b1", "X-Do: set acct silver\n");
    tables.take(&mut call);
    assert_eq!(tables.of("dialog_vars").len(), 1);
    let [row] = tables.of("dialog")[..] else { panic!("one row") };
    assert_eq!(text(row, "caller_cseq"), "9");
}

#[test]
fn delayed_rows_are_written_by_the_period_and_when_the_node_stops() {
    let (mut call, mut tables, ok) = answered(DbMode::Delayed);
    assert_eq!(tables.of("dialog").len(), 0);
    call.skip(secs(61));
    tables.take(&mut call);
    assert_eq!((tables.of("dialog").len(), tables.of("dialog_vars").len()), (1, 1));
    call.caller("INFO", &ok, "b1", "");
    call.bench.input(Input::Stop);
    tables.take(&mut call);
    let [row] = tables.of("dialog")[..] else { panic!("one row") };
    assert_eq!(text(row, "caller_cseq"), "8");
}

#[test]
fn shutdown_mode_writes_when_the_node_stops_example_20() {
    let (mut call, mut tables, _) = answered(DbMode::Shutdown);
    for _ in 0..2 {
        assert_eq!(tables.of("dialog").len(), 0);
        call.bench.input(Input::Stop);
        tables.take(&mut call);
        assert_eq!((tables.of("dialog").len(), tables.of("dialog_vars").len()), (1, 1));
        call = Call::new(stored(DbMode::Shutdown));
        // The clock of the next process is later.
        call.skip(ms(500));
        tables.load(&mut call);
        assert_eq!(call.counts()[0], 1);
        tables.take(&mut call);
    }
}

#[test]
fn without_storage_nothing_is_written() {
    let (mut call, tables, _) = answered(DbMode::None);
    assert!(tables.rows.is_empty());
    let (_, other, _) = answered(DbMode::Realtime);
    other.load(&mut call);
    assert_eq!(call.counts()[0], 1);
}

#[test]
fn all_rows_are_said_again_when_storage_asks() {
    let (mut call, _, _) = answered(DbMode::Realtime);
    let row: RowOf<House> = Either::Right(Either::Left(Row::Resync));
    call.bench.input(Input::Row(row));
    call.skip(secs(1));
    let mut tables = Tables::default();
    tables.take(&mut call);
    assert_eq!((tables.of("dialog").len(), tables.of("dialog_vars").len()), (1, 1));
}

#[test]
fn what_another_node_has_left_is_taken_over() {
    let (_, mut tables, ok) = answered(DbMode::Realtime);
    let mut call = Call::new(stored(DbMode::Realtime));
    call.skip(ms(500));
    assert_eq!(call.command("dlg.db_load_extra", &[]), Ok("null".into()));
    for _ in 0..300 {
        tables.take(&mut call);
        call.skip(ms(20));
    }
    assert_eq!((call.counts()[0], call.told("Loaded")), (1, 1));
    assert!(call.shows("\"variables\":[{\"acct\":\"gold\"}]"));
    // Whatever is known already is left alone.
    assert_eq!(call.command("dlg.db_load_extra", &[]), Ok("null".into()));
    for _ in 0..300 {
        tables.take(&mut call);
        call.skip(ms(20));
    }
    assert_eq!((call.counts()[0], call.told("Loaded")), (1, 1));
    let bye = find(&call.caller("BYE", &ok, "b1", ""), "BYE");
    call.answer(B, &bye, "200 OK", "b1");
    call.ends_empty();
    tables.take(&mut call);
    assert_eq!(tables.of("dialog").len(), 0);
}

#[test]
fn what_no_column_can_hold_is_counted() {
    let (mut call, mut tables, ok) = answered(DbMode::Realtime);
    let long = "x".repeat(600);
    call.caller("INFO", &ok, "b1", &format!("X-Do: set acct {long}\n"));
    tables.take(&mut call);
    assert_eq!(call.metric("dialog_rows_too_long"), 1);
}
