//! Answers that wait for storage: `db_mode` 1.

use super::super::{Database, DbMode, Settings, WhenRefused};
use super::rig::{A, B, Call, Sent, find, response};
use super::storage::{Tables, hand, stored};
use strowger_sip::storage::{Note, Order, Outcome, Rows};
use strowger_sip::time::{ms, secs};

const ROUTING: &str = "gold-cust";

/// A call that the callee has just answered; what was sent since.
fn answered(settings: Settings) -> (Call, Sent, Vec<Sent>) {
    let mut call = Call::new(settings);
    let invite = find(&call.invite(ROUTING), "INVITE");
    call.answer(B, &invite, "180 Ringing", "b1");
    let sent = call.answer(B, &invite, "200 OK", "b1");
    (call, invite, sent)
}

fn orders(call: &mut Call) -> Vec<Order> {
    let rows = call.bench.take_rows();
    rows.into_iter().filter_map(|row| row.into_order()).map(|(_, order)| order).collect()
}

/// Storage says so of everything that somebody waits for; what is sent then.
fn settle(call: &mut Call, outcome: Outcome) -> Vec<Sent> {
    for order in orders(call) {
        if let Some(ticket) = order.ticket {
            hand(&mut call.bench, Note::Settled(ticket, outcome));
        }
    }
    call.sent()
}

fn relays(mode: WhenRefused) -> Settings {
    let settings = stored(DbMode::Realtime);
    Settings { database: Database { when_refused: mode, ..settings.database }, ..settings }
}

#[test]
fn the_caller_hears_of_an_answer_when_its_rows_are_durable() {
    let (mut call, invite, sent) = answered(stored(DbMode::Realtime));
    assert!(sent.is_empty(), "{sent:?}");
    assert_eq!((call.told("start"), call.metric("dialog_answers_held")), (0, 1));
    // A copy waits for nothing.
    call.skip(ms(500));
    assert!(call.answer(B, &invite, "200 OK", "b1").is_empty());
    let orders = orders(&mut call);
    let waits: Vec<_> = orders.iter().filter_map(|order| order.ticket).collect();
    let [row, variable] = waits[..] else { panic!("a dialog and its variable: {orders:?}") };
    hand(&mut call.bench, Note::Settled(row, Outcome::Durable));
    assert!(call.sent().is_empty());
    hand(&mut call.bench, Note::Settled(variable, Outcome::Durable));
    let sent = call.sent();
    assert_eq!(sent.len(), 1, "{sent:?}");
    let ok = find(&sent, "SIP/2.0 200");
    assert_eq!((ok.to.as_str(), ok.headers("Via").len()), (A, 1));
    assert_eq!((call.told("start"), call.metric("dialog_answers_held")), (1, 0));
    // From here on copies pass, as ever.
    assert_eq!(call.answer(B, &invite, "200 OK", "b1").len(), 1);
    call.caller("ACK", &ok, "b1", "");
    let bye = find(&call.caller("BYE", &ok, "b1", ""), "BYE");
    call.answer(B, &bye, "200 OK", "b1");
    assert_eq!(call.told("End(CallerBye)"), 1);
    call.ends_empty();
}

#[test]
fn an_answer_that_storage_refuses_is_taken_back() {
    let (mut call, invite, _) = answered(stored(DbMode::Realtime));
    let sent = settle(&mut call, Outcome::Refused);
    let refused = find(&sent, "SIP/2.0 503");
    assert_eq!((refused.to.as_str(), refused.header("Retry-After").as_str()), (A, "5"));
    let (ack, bye) = (find(&sent, "ACK"), find(&sent, "BYE"));
    assert_eq!((ack.to.as_str(), ack.header("CSeq").as_str()), (B, "7 ACK"));
    assert_eq!(ack.header("To"), "<sip:b@example.com>;tag=b1");
    assert_eq!((bye.to.as_str(), bye.header("CSeq").as_str()), (B, "8 BYE"));
    assert!(!sent.iter().any(|it| it.is("SIP/2.0 200")));
    // Its ACK was lost: the answer comes again, and nobody else hears of it.
    let again = call.answer(B, &invite, "200 OK", "b1");
    assert_eq!(again.iter().map(|it| it.to.as_str()).collect::<Vec<_>>(), [B], "{again:?}");
    assert!(again[0].is("ACK"));
    call.answer(B, &bye, "200 OK", "b1");
    assert!(call.answer(B, &invite, "200 OK", "b1").iter().all(|it| it.to == B));
    assert_eq!((call.told("start"), call.told("End"), call.told("Failed(503)")), (0, 0, 1));
    assert_eq!((call.counts(), call.metric("dialog_answers_not_durable")), ([0, 0, 1, 0, 1], 1));
    call.ends_empty();
    // Nothing of it is stored.
    let mut tables = Tables::default();
    tables.take(&mut call);
    assert_eq!(tables.of("dialog").len(), 0);
}

#[test]
fn while_storage_is_away_nobodys_phone_rings() {
    let (mut call, _, _) = answered(stored(DbMode::Realtime));
    settle(&mut call, Outcome::Refused);
    let sent = call.invite_as("manage", "second", "");
    assert!(!sent.iter().any(|it| it.is("INVITE")), "{sent:?}");
    find(&sent, "SIP/2.0 503");
    call.skip(secs(2));
    find(&call.invite_as("manage", "third", ""), "INVITE");
}

#[test]
fn storage_that_says_nothing_has_refused() {
    let (mut call, _, _) = answered(stored(DbMode::Realtime));
    let sent = call.skip(secs(5));
    find(&sent, "SIP/2.0 503");
    find(&sent, "BYE");
    // What it says later is of no interest.
    assert!(settle(&mut call, Outcome::Durable).is_empty());
    call.skip(secs(40));
    call.ends_empty();
}

#[test]
fn who_would_rather_forget_a_call_than_refuse_it_may_say_so() {
    let (mut call, _, _) = answered(relays(WhenRefused::Relay));
    let ok = find(&settle(&mut call, Outcome::Refused), "SIP/2.0 200");
    assert_eq!((call.told("start"), call.metric("dialog_answers_not_durable")), (1, 1));
    find(&call.invite_as("manage", "second", ""), "INVITE");
    call.caller("ACK", &ok, "b1", "");
    assert_eq!(call.counts()[0], 1);
}

#[test]
fn a_call_that_ends_first_waits_for_nothing() {
    let (mut call, invite, _) = answered(stored(DbMode::Realtime));
    let ok = Sent { to: B.into(), text: response(&invite, "200 OK", "b1") };
    let sent = call.callee("BYE", &ok, 1, "");
    let order: Vec<_> = sent.iter().map(|it| it.text.get(..11).unwrap_or("")).collect();
    assert_eq!(order, ["SIP/2.0 200", "BYE sip:a@1"], "{sent:?}");
    assert_eq!(call.told("start"), 1);
    call.answer(A, &sent[1], "200 OK", "");
    assert_eq!(call.told("End(CalleeBye)"), 1);
    assert!(settle(&mut call, Outcome::Durable).is_empty());
}

#[test]
fn what_no_column_can_hold_is_not_promised() {
    let mut call = Call::new(stored(DbMode::Realtime));
    let routes = format!("Record-Route: <sip:{}@192.0.2.9;lr>\n", "p".repeat(600));
    let invite = find(&call.invite_as("manage", "long", &routes), "INVITE");
    let sent = call.answer(B, &invite, "200 OK", "b1");
    find(&sent, "SIP/2.0 200");
    assert_eq!(call.metric("dialog_answers_not_promised"), 1);
    assert_eq!(call.metric("dialog_rows_too_long"), 1);
}
