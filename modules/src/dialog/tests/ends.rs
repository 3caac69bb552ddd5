//! Calls that end: by a party, by time, from here. Acceptance examples 10 to 13, 16, 17, 22, 23, 26
//! and 27.

use super::super::{KeepAlive, Settings};
use super::rig::{A, B, C, CALL, Call, find, settings};
use strowger_sip::module::notes::Reading;
use strowger_sip::time::{ms, secs};

#[test]
fn a_lifetime_without_bye_only_forgets_example_10() {
    let mut call = Call::new(settings());
    let invite = find(&call.invite("short-route"), "INVITE");
    let ok = find(&call.answer(B, &invite, "200 OK", "b1"), "SIP/2.0 200");
    call.skip(ms(100));
    call.caller("ACK", &ok, "b1", "");
    call.skip(ms(4950));
    assert_eq!(call.told("End"), 0);
    let sent = call.skip(ms(100));
    assert!(sent.is_empty(), "{sent:?}");
    assert_eq!((call.told("Timeout"), call.told("Expired(true)")), (1, 1));
    assert_eq!(call.told("End(Timeout)"), 1);
    assert_eq!(call.counts(), [0, 0, 1, 1, 0]);
}

#[test]
fn a_lifetime_with_bye_ends_both_sides_example_11() {
    let bye_headers = b"X-End: yes\r\n".to_vec();
    let mut call = Call::new(Settings { bye_bump: 100, bye_headers, ..settings() });
    call.establish("short-bye");
    let sent = call.skip(ms(5100));
    let to = |place: &str| sent.iter().find(|it| it.is("BYE") && it.to == place).expect("a BYE");
    let (a, b) = (to(A).clone(), to(B).clone());
    assert!(a.is("BYE sip:a@192.0.2.10 SIP/2.0\r\n"), "{a:?}");
    assert_eq!(a.header("From"), "<sip:b@example.com>;tag=b1");
    assert_eq!(a.header("To"), "<sip:a@example.com>;tag=a1");
    assert_eq!((a.header("CSeq").as_str(), b.header("CSeq").as_str()), ("101 BYE", "108 BYE"));
    assert_eq!(b.header("From"), "<sip:a@example.com>;tag=a1");
    assert_eq!(b.header("To"), "<sip:b@example.com>;tag=b1");
    for bye in [&a, &b] {
        assert_eq!(
            (bye.header("X-End").as_str(), bye.header("Max-Forwards").as_str()),
            ("yes", "70")
        );
    }
    assert_eq!((call.counts()[0], call.counts()[3]), (1, 1));
    call.answer(A, &a, "200 OK", "a1");
    assert_eq!((call.counts()[0], call.told("End(Timeout)")), (0, 1));
    call.answer(B, &b, "481 Gone", "b1");
    assert_eq!((call.told("End("), call.told("Destroyed")), (1, 0));
    call.ends_empty();
}

#[test]
fn byes_carry_the_next_number_by_default() {
    let mut call = Call::new(settings());
    let ok = call.establish("short-bye");
    call.caller("INFO", &ok, "b1", "");
    let sent = call.skip(ms(5100));
    let mut numbers: Vec<String> =
        sent.iter().filter(|it| it.is("BYE")).map(|it| it.header("CSeq")).collect();
    numbers.sort();
    assert_eq!(numbers, ["1 BYE", "9 BYE"]);
}

#[test]
fn requests_prolong_a_call_unless_they_must_not_example_12() {
    for (user, fixed) in [("ten-noreset", true), ("ten", false)] {
        let mut call = Call::new(settings());
        let ok = call.establish(user);
        call.skip(secs(8));
        call.caller("INVITE", &ok, "b1", "");
        call.skip(ms(2100));
        assert_eq!(call.told("End"), usize::from(fixed), "{user}");
        call.skip(secs(8));
        assert_eq!(call.told("End"), 1, "{user}");
    }
}

#[test]
fn a_call_without_ack_ends_example_13() {
    let mut call = Call::new(settings());
    let invite = find(&call.invite("bye"), "INVITE");
    call.answer(B, &invite, "200 OK", "b1");
    call.skip(secs(61));
    assert!(call.shows("\"state\":3,") && call.shows("\"lifetime\":10,"));
    let sent = call.skip(ms(9_300));
    assert_eq!(sent.iter().filter(|it| it.is("BYE")).count(), 2, "{sent:?}");
    call.skip(secs(40));
    assert_eq!((call.told("End(NoAck)"), call.counts()[0]), (1, 0));
}

#[test]
fn a_late_ack_makes_the_call_whole() {
    let mut call = Call::new(settings());
    let invite = find(&call.invite("b"), "INVITE");
    let ok = find(&call.answer(B, &invite, "200 OK", "b1"), "SIP/2.0 200");
    call.skip(secs(65));
    call.caller("ACK", &ok, "b1", "");
    call.skip(secs(3600));
    assert!(call.shows("\"state\":4,") && call.shows("\"lifetime\":43200,"));
}

fn kept_alive(user: &str) -> Call {
    let keep_alive = KeepAlive {
        tick: Some(secs(5)),
        interval: Some(secs(30)),
        failed_limit: 1,
        sides: (false, false),
        jitter_percent: 0,
    };
    let mut call = Call::new(Settings { keep_alive, ..settings() });
    call.establish(user);
    call
}

#[test]
fn a_dead_callee_is_found_example_16() {
    let mut call = kept_alive("kadst");
    assert!(call.skip(ms(29_900)).is_empty());
    let options = find(&call.skip(ms(5100)), "OPTIONS");
    assert_eq!((options.header("CSeq").as_str(), options.to.as_str()), ("6 OPTIONS", B));
    assert!(options.header("From").ends_with("tag=a1") && options.header("To").ends_with("tag=b1"));
    call.answer(B, &options, "481 Gone", "b1");
    assert!(call.shows("\"lifetime\":10,"));
    call.skip(secs(11));
    assert_eq!((call.told("End(KeepAlive)"), call.counts()[0]), (1, 0));
}

#[test]
fn a_callee_that_dislikes_the_number_is_alive_example_16() {
    let mut call = kept_alive("kadst-kasrc");
    for _ in 0..3 {
        let sent = call.skip(secs(30));
        let asked: Vec<_> = sent.iter().filter(|it| it.is("OPTIONS")).cloned().collect();
        assert_eq!(asked.len(), 2, "{sent:?}");
        for options in asked {
            let number = if options.to == A { "0 OPTIONS" } else { "6 OPTIONS" };
            assert_eq!(options.header("CSeq"), number);
            let from = options.to.clone();
            call.answer(&from, &options, "500 Too Old", "b1");
        }
    }
    assert_eq!((call.told("End"), call.counts()[0]), (0, 1));
}

#[test]
fn an_operator_ends_a_call_example_17() {
    let mut call = Call::new(settings());
    call.establish("b");
    let alive = [CALL, "a1", "b1"];
    assert_eq!(call.command("dlg.is_alive", &alive), Ok("\"Alive\"".into()));
    let wrong = call.command("dlg.terminate_dlg", &[CALL, "a1", "x"]);
    assert_eq!(wrong.map_err(|fault| fault.code), Err(500));
    let listed = call.listed();
    let id = listed.split("\"h_id\":").nth(1).and_then(|it| it.split(',').next()).expect("an id");
    let end = ["617", id, "X-Why: admin\r\n"];
    assert_eq!(call.command("dlg.end_dlg", &end), Ok("null".into()));
    let sent = call.sent();
    let byes: Vec<_> = sent.iter().filter(|it| it.is("BYE")).cloned().collect();
    assert_eq!(byes.len(), 2);
    for bye in &byes {
        assert_eq!(bye.header("X-Why"), "admin");
        call.answer(&bye.to.clone(), bye, "200 OK", "b1");
    }
    assert_eq!(call.command("dlg.end_dlg", &end).map_err(|fault| fault.code), Err(404));
    assert_eq!(call.command("dlg.end_dlg", &["1", "2"]).map_err(|fault| fault.code), Err(404));
    assert_eq!(call.told("End(Admin)"), 1);
    call.ends_empty();
}

#[test]
fn a_party_is_referred_example_22() {
    let mut call = Call::new(settings());
    let ok = call.establish("b");
    let sent = call.caller("INFO", &ok, "b1", "X-Do: refer caller sip:c@example.net\n");
    let refer = find(&sent, "REFER");
    // The INFO was the caller's number 8.
    assert_eq!((refer.to.as_str(), refer.header("CSeq").as_str()), (B, "9 REFER"));
    assert_eq!(refer.header("From"), "<sip:a@example.com>;tag=a1");
    assert_eq!(refer.header("To"), "<sip:b@example.com>;tag=b1");
    assert_eq!(refer.header("Refer-To"), "<sip:c@example.net>");
    assert_eq!(refer.header("Contact"), "<sip:controller@kamailio.org:5060>");
    let bye = find(&call.answer(B, &refer, "202 Accepted", "b1"), "BYE");
    assert_eq!(bye.header("CSeq"), "10 BYE");
    call.answer(B, &bye, "200 OK", "b1");
    assert!(call.shows("\"state\":4,"));
    // How it goes on is told to this node, whose contact the REFER has named.
    let notify = format!(
        "NOTIFY sip:controller@kamailio.org:5060 SIP/2.0
Via: SIP/2.0/UDP 192.0.2.20;branch=z9hG4bKn
From: <sip:b@example.com>;tag=b1
To: <sip:a@example.com>;tag=a1
Call-ID: {CALL}
CSeq: 1 NOTIFY
Event: refer
Max-Forwards: 70
Content-Type: message/sipfrag
Content-Length: 16

SIP/2.0 200 OK
"
    );
    find(&call.receive(B, &notify), "SIP/2.0 200");
    assert_eq!((call.told("Refer(202)"), call.told("Refer(200)")), (1, 1));
    // What the caller sends next comes after both.
    let info = find(&call.caller("INFO", &ok, "b1", ""), "INFO");
    assert_eq!(info.header("CSeq"), "11 INFO");
    let done = find(&call.answer(B, &info, "200 OK", "b1"), "SIP/2.0 200");
    assert_eq!(done.header("CSeq"), "9 INFO");
}

#[test]
fn a_request_from_here_takes_a_number_of_its_own() {
    let mut call = Call::new(settings());
    let ok = call.establish("b");
    let sent = call.caller("UPDATE", &ok, "b1", "X-Do: info callee\n");
    let info = find(&sent, "INFO");
    assert_eq!((info.header("CSeq").as_str(), info.header("X-Own").as_str()), ("9 INFO", "1"));
    assert!(info.text.ends_with("\r\n\r\nhello") && info.header("Content-Length") == "5");
    let next = find(&call.caller("UPDATE", &ok, "b1", ""), "UPDATE");
    assert_eq!(next.header("CSeq"), "10 UPDATE");
}

#[test]
fn an_unanswered_call_is_refused_example_23() {
    let mut call = Call::new(settings());
    let invite = find(&call.invite("b"), "INVITE");
    call.answer(B, &invite, "180 Ringing", "b1");
    assert_eq!(call.command("dlg.terminate_dlg", &[CALL]), Ok("null".into()));
    let sent = call.sent();
    let refusal = find(&sent, "SIP/2.0 480");
    assert!(refusal.is("SIP/2.0 480 Temporarily Unavailable"), "{refusal:?}");
    find(&sent, "CANCEL");
    assert_eq!((call.told("Failed(480)"), call.told("Failed")), (1, 1));
    assert_eq!(call.counts(), [0, 0, 1, 0, 1]);
}

#[test]
fn the_callees_of_an_unanswered_call_are_cancelled_example_23() {
    let mut call = Call::new(settings());
    let invite = find(&call.invite("b"), "INVITE");
    call.answer(B, &invite, "180 Ringing", "b1");
    let prack = call.invite.replace("INVITE sip", "PRACK sip").replace("7 INVITE", "8 PRACK");
    let prack = prack.replace("<sip:b@example.com>", "<sip:b@example.com>;tag=b1");
    let prack = prack
        .replace("branch=", "branch=z9hG4bKp")
        .replace("Max-Forwards", "X-Do: byecallee\nRoute: <sip:192.0.2.1;lr>\nMax-Forwards");
    let sent = call.receive(A, &prack);
    let cancel = find(&sent, "CANCEL");
    assert!(!sent.iter().any(|it| it.is("SIP/2.0 480")), "{sent:?}");
    call.answer(B, &cancel, "200 OK", "b1");
    find(&call.answer(B, &invite, "487 Terminated", "b1"), "SIP/2.0 487");
    assert_eq!((call.told("Failed(487)"), call.told("Failed")), (1, 1));
}

#[test]
fn a_caller_behind_a_translator_gets_its_bye() {
    let mut call = Call::new(settings());
    call.invite_as("none", "other", "");
    let private = call
        .invite
        .replace("other", "nat")
        .replace("<sip:a@192.0.2.10>\nMax", "<sip:a@10.0.0.7>\nMax");
    let private = private.replace("sip:none@", "sip:short-bye@");
    let sent = call.receive("192.0.2.99:41000", &private);
    let invite = find(&sent, "INVITE");
    let ok = find(&call.answer(B, &invite, "200 OK", "b1"), "SIP/2.0 200");
    call.caller("ACK", &ok, "b1", "");
    let sent = call.skip(ms(5100));
    let bye = sent.iter().find(|it| it.is("BYE sip:a@10.0.0.7 ")).expect("a BYE");
    // The ACK came from another port of the same translator.
    assert_eq!(bye.to, A);
}

#[test]
fn crossing_byes_are_one_end_example_26() {
    let mut call = Call::new(settings());
    let ok = call.establish("b");
    let from_a = find(&call.caller("BYE", &ok, "b1", ""), "BYE");
    let from_b = find(&call.callee("BYE", &ok, 1, ""), "BYE");
    assert_eq!((from_a.to.as_str(), from_b.to.as_str()), (B, A));
    find(&call.answer(B, &from_a, "200 OK", "b1"), "SIP/2.0 200");
    find(&call.answer(A, &from_b, "200 OK", "a1"), "SIP/2.0 200");
    assert_eq!((call.told("End("), call.counts()[0]), (1, 0));
    call.ends_empty();
}

#[test]
fn a_challenged_bye_ends_with_its_retry_example_27() {
    let mut call = Call::new(settings());
    let ok = call.establish("b");
    let bye = find(&call.caller("BYE", &ok, "b1", ""), "BYE");
    call.answer(B, &bye, "407 Proxy Authentication Required", "b1");
    call.skip(secs(3));
    assert_eq!(call.told("End("), 0);
    let again = find(&call.caller("BYE", &ok, "b1", ""), "BYE");
    call.answer(B, &again, "200 OK", "b1");
    assert_eq!((call.told("End(CallerBye)"), call.told("End(")), (1, 1));
    call.ends_empty();
    let mut call = Call::new(settings());
    let ok = call.establish("b");
    let bye = find(&call.caller("BYE", &ok, "b1", ""), "BYE");
    call.answer(B, &bye, "401 Unauthorized", "b1");
    call.skip(ms(10_100));
    assert_eq!(call.told("End(CallerBye)"), 1);
}

#[test]
fn a_bye_that_nobody_answers_ends_the_call() {
    let mut call = Call::new(settings());
    let ok = call.establish("b");
    find(&call.caller("BYE", &ok, "b1", ""), "BYE");
    call.skip(secs(40));
    assert_eq!((call.told("End(CallerBye)"), call.told("End(")), (1, 1));
    call.ends_empty();
}

#[test]
fn a_call_from_here_whose_parties_are_gone_ends() {
    let mut call = Call::new(settings());
    let ok = call.establish("b");
    call.caller("INFO", &ok, "b1", "X-Do: bye\n");
    assert_eq!(call.told("Ending(Script)"), 1);
    call.skip(secs(40));
    assert_eq!((call.told("End(Script)"), call.counts()[0]), (1, 0));
    call.ends_empty();
}

#[test]
fn a_refused_bye_is_an_end_all_the_same() {
    let mut call = Call::new(settings());
    let ok = call.establish("b");
    find(&call.caller("BYE", &ok, "b1", "X-Bad: 1\n"), "SIP/2.0 403");
    assert_eq!(call.told("End(CallerBye)"), 1);
}

#[test]
fn a_request_of_our_own_reaches_the_fork_that_it_names() {
    let mut call = Call::new(settings());
    let sent = call.invite("fork");
    let to = |address: &str| sent.iter().find(|it| it.to == address).expect("a branch").clone();
    let (first, second) = (to(B), to(C));
    let ringing = call.answer(B, &first, "183 Session Progress", "x");
    let second_ringing = super::rig::response(&second, "180 Ringing", "y")
        .replace("sip:b@192.0.2.20", "sip:c@192.0.2.30");
    call.receive(C, &second_ringing);
    let ringing = find(&ringing, "SIP/2.0 183");
    for (tag, target, address) in
        [("y", "sip:c@192.0.2.30", C), ("x", "sip:b@192.0.2.20", B), ("y", "sip:c@192.0.2.30", C)]
    {
        let sent = call.caller("UPDATE", &ringing, "x", &format!("X-Do: fork {tag}\n"));
        let info = find(&sent, "INFO");
        assert!(info.is(&format!("INFO {target} SIP/2.0")), "{info:?}");
        assert_eq!(info.to, address);
        assert_eq!(info.header("To"), format!("<sip:b@example.com>;tag={tag}"));
        assert_eq!(info.header("From"), "<sip:a@example.com>;tag=a1");
    }
    // Nobody is called so.
    let sent = call.caller("UPDATE", &ringing, "x", "X-Do: fork z\n");
    assert!(!sent.iter().any(|it| it.is("INFO")), "{sent:?}");
    // Who answers is the callee, whichever fork was talked to last.
    let ok = find(&call.answer(B, &first, "200 OK", "x"), "SIP/2.0 200");
    assert!(call.shows("\"tag\":\"x\",\"contact\":\"sip:b@192.0.2.20\""), "{}", call.listed());
    call.caller("ACK", &ok, "x", "");
}

#[test]
fn spans_of_a_call_are_measured() {
    let mut call = Call::new(Settings { profile_gauges: true, ..settings() });
    let invite = find(&call.invite("cust"), "INVITE");
    call.skip(ms(300));
    call.answer(B, &invite, "180 Ringing", "b1");
    call.skip(secs(4));
    // Not the first time that it rings.
    call.answer(B, &invite, "183 Session Progress", "b1");
    let ok = find(&call.answer(B, &invite, "200 OK", "b1"), "SIP/2.0 200");
    call.caller("ACK", &ok, "b1", "");
    assert_eq!(read(&call, "dialog_profile_size cust"), (1, 0));
    call.skip(secs(40));
    let bye = find(&call.caller("BYE", &ok, "b1", ""), "BYE");
    call.answer(B, &bye, "200 OK", "b1");
    for (name, value) in [
        ("dialog_ringing_seconds", (1, 300_000)),
        ("dialog_answer_seconds", (1, 4_300_000)),
        ("dialog_lasted_seconds", (1, 40_000_000)),
        ("dialog_profile_size cust", (0, 0)),
    ] {
        assert_eq!(read(&call, name), value, "{name}");
    }
}

/// A reading with its label: a number, or how many spans there were and their sum.
fn read(call: &Call, wanted: &str) -> (u64, u64) {
    let mut found = None;
    call.bench.engine().readings(&mut |name, labels, reading| {
        let label = labels.first().map_or(String::new(), |(_, value)| format!(" {value}"));
        if format!("{name}{label}") == wanted {
            found = Some(match reading {
                Reading::Number(number) => (number, 0),
                Reading::Histogram(histogram) => (histogram.count(), histogram.sum_micros()),
            });
        }
    });
    found.unwrap_or_else(|| panic!("no {wanted}"))
}
