//! Calls that begin, ring, are answered or not: acceptance examples 1 to 9, 14, 15, 18.

use super::super::{MatchMode, Settings};
use super::rig::{A, B, C, Call, find, response, settings};
use strowger_sip::time::secs;

#[test]
fn a_basic_call_example_1() {
    let mut call = Call::new(settings());
    let sent = call.invite("b");
    let invite = find(&sent, "INVITE");
    let routes = invite.headers("Record-Route");
    assert_eq!(routes.len(), 1);
    assert!(routes[0].starts_with("<sip:192.0.2.1;lr;ftag=a1;did=962."), "{routes:?}");
    assert!(call.shows("\"h_entry\":617,") && call.shows("\"state\":1,"));
    call.answer(B, &invite, "180 Ringing", "b1");
    assert!(call.shows("\"state\":2,"));
    assert!(call.shows("\"callee\":{\"tag\":\"\",\"contact\":\"\",\"cseq\":\"\""));
    assert_eq!(call.counts(), [0, 1, 1, 0, 0]);
    let ok = find(&call.answer(B, &invite, "200 OK", "b1"), "SIP/2.0 200");
    assert!(call.shows("\"state\":3,\"start_ts\":1800000000,"));
    assert!(call.shows("\"callee\":{\"tag\":\"b1\",\"contact\":\"sip:b@192.0.2.20\""));
    assert_eq!(call.counts(), [1, 0, 1, 0, 0]);
    call.caller("ACK", &ok, "b1", "");
    assert!(call.shows("\"state\":4,"));
    let bye = find(&call.caller("BYE", &ok, "b1", ""), "BYE");
    assert!(call.shows("\"state\":5,"));
    assert_eq!(call.counts(), [0, 0, 1, 0, 0]);
    call.answer(B, &bye, "200 OK", "b1");
    let wanted = ["Created", "Early(180)", "start b1", "Confirmed", "Ending(CallerBye)"];
    let events = call.events();
    assert!(events.iter().map(String::as_str).take(5).eq(wanted), "{events:?}");
    assert_eq!(events[5..], ["EndConfirmed(200)", "End(CallerBye)"]);
    call.ends_empty();
    assert_eq!(call.events(), ["Destroyed"]);
}

#[test]
fn a_busy_callee_example_2() {
    let mut call = Call::new(settings());
    let invite = find(&call.invite("b"), "INVITE");
    call.answer(B, &invite, "180 Ringing", "b1");
    call.answer(B, &invite, "486 Busy Here", "b1");
    assert_eq!(call.told("Failed(486)"), 1);
    assert_eq!(call.counts(), [0, 0, 1, 0, 1]);
    assert!(call.shows("\"state\":5,"));
    let ack = call.invite.replace("INVITE sip", "ACK sip").replace("7 INVITE", "7 ACK");
    assert!(call.receive(A, &ack).is_empty());
    call.ends_empty();
    assert_eq!((call.told("Failed"), call.told("End"), call.told("Destroyed")), (1, 0, 1));
}

#[test]
fn serial_forking_is_one_dialog_example_3() {
    let mut call = Call::new(settings());
    let first = find(&call.invite("serial"), "INVITE");
    let sent = call.answer(B, &first, "486 Busy Here", "b1");
    let second = sent.iter().find(|it| it.is("INVITE") && it.to == C).expect("a second").clone();
    call.answer(C, &second, "180 Ringing", "c1");
    call.answer(C, &second, "200 OK", "c1");
    assert_eq!((call.told("Failed"), call.told("start c1")), (0, 1));
    assert!(call.shows("\"callee\":{\"tag\":\"c1\""));
    assert_eq!(call.counts(), [1, 0, 1, 0, 0]);
}

#[test]
fn parallel_forking_keeps_the_winners_leg_example_4() {
    let mut call = Call::new(settings());
    let sent = call.invite("fork");
    let to = |place: &str| sent.iter().find(|it| it.is("INVITE") && it.to == place);
    let (one, two) = (to(B).expect("one").clone(), to(C).expect("two").clone());
    call.answer(B, &one, "183 Progress", "x");
    call.answer(C, &two, "180 Ringing", "y");
    assert_eq!(call.told("Early"), 2);
    let sent = call.answer(C, &two, "200 OK", "y");
    assert!(sent.iter().any(|it| it.is("CANCEL") && it.to == B), "{sent:?}");
    assert!(call.shows("\"callee\":{\"tag\":\"y\""));
    call.answer(B, &one, "487 Terminated", "x");
    assert!(call.shows("\"state\":3,"));
    assert_eq!((call.told("start"), call.told("Failed")), (1, 0));
    assert_eq!(call.counts(), [1, 0, 1, 0, 0]);
}

fn two_answers(settings: Settings) -> (Call, super::rig::Sent, super::rig::Sent) {
    let mut call = Call::new(settings);
    let sent = call.invite("fork");
    let to = |place: &str| sent.iter().find(|it| it.is("INVITE") && it.to == place);
    let (one, two) = (to(B).expect("one").clone(), to(C).expect("two").clone());
    let x = find(&call.answer(B, &one, "200 OK", "x"), "SIP/2.0 200");
    let y = find(&call.answer(C, &two, "200 OK", "y"), "SIP/2.0 200");
    // Copies of both change nothing.
    call.answer(B, &one, "200 OK", "x");
    call.answer(C, &two, "200 OK", "y");
    (call, x, y)
}

#[test]
fn two_answers_are_two_dialogs_example_5() {
    let (mut call, x, y) = two_answers(settings());
    assert_eq!(call.counts(), [2, 0, 2, 0, 0]);
    for (ok, tag) in [(&x, "x"), (&y, "y")] {
        call.caller("ACK", ok, tag, "");
    }
    assert_eq!((call.told("start x"), call.told("start y"), call.told("Confirmed")), (1, 1, 2));
    let bye = find(&call.caller("BYE", &y, "y", ""), "BYE");
    assert_eq!(call.counts()[0], 1);
    call.answer(B, &bye, "200 OK", "y");
    let bye = find(&call.caller("BYE", &x, "x", ""), "BYE");
    call.answer(B, &bye, "200 OK", "x");
    assert_eq!((call.counts()[0], call.told("End(")), (0, 2));
    call.ends_empty();
}

#[test]
fn a_second_answer_may_pass_untracked_example_5() {
    let extra_2xx = super::super::Extra2xx::Pass;
    let (mut call, _, y) = two_answers(Settings { extra_2xx, ..settings() });
    assert_eq!(call.counts(), [1, 0, 1, 0, 0]);
    assert_eq!(call.caller("ACK", &y, "y", "").len(), 1);
    assert_eq!(call.caller("BYE", &y, "y", "").len(), 1);
    assert_eq!((call.counts()[0], call.told("End")), (1, 0));
}

#[test]
fn a_second_answer_may_be_ended_by_a_bye() {
    let extra_2xx = super::super::Extra2xx::Kill;
    let (mut call, x, y) = two_answers(Settings { extra_2xx, ..settings() });
    call.caller("ACK", &x, "x", "");
    let sent = call.caller("ACK", &y, "y", "");
    let bye = find(&sent, "BYE");
    assert!(bye.header("To").ends_with(";tag=y") && bye.header("From").ends_with(";tag=a1"));
    call.answer(B, &bye, "200 OK", "y");
    assert_eq!((call.counts()[0], call.told("End(Extra)")), (1, 1));
}

#[test]
fn a_cancelled_call_fails_example_6() {
    let mut call = Call::new(settings());
    let invite = find(&call.invite("b"), "INVITE");
    call.answer(B, &invite, "180 Ringing", "b1");
    let cancel = call.invite.replace("INVITE sip", "CANCEL sip").replace("7 INVITE", "7 CANCEL");
    let sent = call.receive(A, &cancel);
    find(&sent, "SIP/2.0 200");
    let cancel = find(&sent, "CANCEL");
    call.answer(B, &cancel, "200 OK", "b1");
    find(&call.answer(B, &invite, "487 Terminated", "b1"), "SIP/2.0 487");
    assert_eq!((call.told("Failed(487)"), call.told("start")), (1, 0));
    assert_eq!(call.counts(), [0, 0, 1, 0, 1]);
    // The answer was on its way: the call is up all the same, in a record of its own.
    call.answer(B, &invite, "200 OK", "b1");
    assert_eq!((call.told("Failed"), call.told("start"), call.counts()[0]), (1, 1, 1));
}

#[test]
fn a_spiral_is_one_dialog_example_7() {
    for (detect, dialogs, cookies) in [(true, 1, 1), (false, 2, 2)] {
        let mut call = Call::new(Settings { detect_spirals: detect, ..settings() });
        let out = find(&call.invite("b"), "INVITE");
        let again =
            out.text.replace("\r\n", "\n").replacen("sip:b@192.0.2.20", "sip:b2@192.0.2.1", 1);
        let sent = call.receive(B, &again);
        let second = find(&sent, "INVITE");
        let routes = second.headers("Record-Route");
        assert_eq!(routes.len(), 2, "{routes:?}");
        assert_eq!(routes.iter().filter(|it| it.contains(";did=")).count(), cookies, "{routes:?}");
        assert_eq!(call.counts()[2], dialogs);
        assert_eq!(call.told("Spiraled"), usize::from(detect));
    }
}

#[test]
fn what_is_rejected_leaves_nothing_example_8() {
    let mut call = Call::new(settings());
    find(&call.invite("cust-reject"), "SIP/2.0 403");
    assert_eq!(call.command("dlg.profile_get_size", &["cust", "acme"]), Ok("0".into()));
    assert_eq!(call.counts()[2], 1);
    assert_eq!(call.listed(), "{\"dialogs\":[]}");
}

#[test]
fn a_limit_counts_ringing_calls_example_9() {
    let mut call = Call::new(settings());
    let size = |call: &mut Call| call.command("dlg.profile_get_size", &["cust", "acme"]);
    let first = find(&call.invite_as("limit", "c1", ""), "INVITE");
    find(&call.invite_as("limit", "c2", ""), "INVITE");
    find(&call.invite_as("limit", "c3", ""), "SIP/2.0 486");
    assert_eq!(size(&mut call), Ok("2".into()));
    assert_eq!(call.counts()[2], 2);
    let ok = find(&call.answer(B, &first, "200 OK", "b1"), "SIP/2.0 200");
    call.caller("ACK", &ok, "b1", "");
    let bye = find(&call.caller("BYE", &ok, "b1", ""), "BYE");
    call.answer(B, &bye, "200 OK", "b1");
    assert_eq!(size(&mut call), Ok("1".into()));
    find(&call.invite_as("limit", "c4", ""), "INVITE");
    let values = call.command("dlg.profile_values", &["cust"]);
    assert_eq!(values, Ok("{\"values\":{\"acme\":2}}".into()));
}

#[test]
fn route_sets_leave_out_what_is_ours_example_14() {
    let mut call = Call::new(settings());
    let more = "Record-Route: <sip:p1;lr>\n";
    let invite = find(&call.invite_as("b", CALL14, more), "INVITE");
    let own = invite.headers("Record-Route")[0].clone();
    let text = response(&invite, "200 OK", "b1");
    let text = text.replacen("Record-Route: ", "Record-Route: <sip:p3;lr>\nRecord-Route: ", 1);
    call.receive(B, &text);
    assert!(own.starts_with("<sip:192.0.2.1;lr"));
    assert!(call.shows("\"route_set\":\"<sip:p1;lr>\",\"socket\":\"udp:192.0.2.1:5060\"}"));
    assert!(
        call.shows("\"contact\":\"sip:b@192.0.2.20\",\"cseq\":\"0\",\"route_set\":\"<sip:p3;lr>\"")
    );
}

const CALL14: &str = "c14";

#[test]
fn cookies_and_tags_lead_to_the_dialog_example_15() {
    for (mode, foreign, without) in
        [(MatchMode::Cookie, 0, 0), (MatchMode::CookieThenTags, 0, 1), (MatchMode::Tags, 0, 1)]
    {
        let mut call = Call::new(Settings { match_mode: mode, ..settings() });
        let ok = call.establish("b");
        call.events();
        let matched = usize::from(mode != MatchMode::Tags || without == 1);
        call.caller("INFO", &ok, "b1", "X-Do: status\n");
        assert_eq!(call.told("status Some((4, 1)) known true"), matched, "{mode:?}");
        call.events();
        call.caller("INFO", &ok, "foreign", "X-Do: status\n");
        assert_eq!(call.told("Within"), foreign);
        let mut bare = ok.clone();
        let cut = bare.text.find(";did=");
        assert_eq!(cut.is_some(), mode != MatchMode::Tags);
        if let Some(cut) = cut {
            let end = cut + bare.text[cut..].find('>').expect("an end");
            bare.text.replace_range(cut..end, "");
        }
        call.events();
        call.caller("INFO", &bare, "b1", "");
        assert_eq!(call.told("Within"), without, "{mode:?}");
    }
}

#[test]
fn variables_last_as_long_as_the_call_example_18() {
    let mut call = Call::new(settings());
    let ok = call.establish("gold");
    assert!(call.shows("\"variables\":[{\"acct\":\"gold\"}]"));
    call.caller("INVITE", &ok, "b1", "X-Do: unset acct\n");
    call.events();
    call.caller("INFO", &ok, "b1", "X-Do: get acct\n");
    assert_eq!(call.told("acct = None"), 1);
    call.callee("INFO", &ok, 1, "X-Do: set acct silver\n");
    call.caller("BYE", &ok, "b1", "X-Do: get acct\n");
    assert_eq!(call.told("acct = Some(\"silver\")"), 1);
}

#[test]
fn a_call_in_progress_takes_a_retry_with_credentials() {
    let mut call = Call::new(Settings { track_cseq: true, ..settings() });
    let first = find(&call.invite("auth"), "INVITE");
    assert_eq!(first.header("CSeq"), "7 INVITE");
    let sent = call.answer(B, &first, "407 Proxy Authentication Required", "b0");
    let second = find(&sent, "INVITE");
    assert_eq!(second.header("CSeq"), "8 INVITE");
    let ringing = find(&call.answer(B, &second, "180 Ringing", "b1"), "SIP/2.0 180");
    assert_eq!(ringing.header("CSeq"), "7 INVITE");
    let ok = find(&call.answer(B, &second, "200 OK", "b1"), "SIP/2.0 200");
    assert_eq!(ok.header("CSeq"), "7 INVITE");
    let ack = find(&call.caller("ACK", &ok, "b1", ""), "ACK");
    // `caller` writes the caller's own number, 7.
    assert_eq!(ack.header("CSeq"), "8 ACK");
    let info = find(&call.caller("INFO", &ok, "b1", ""), "INFO");
    assert_eq!(info.header("CSeq"), "9 INFO");
    let done = find(&call.answer(B, &info, "200 OK", "b1"), "SIP/2.0 200");
    assert_eq!(done.header("CSeq"), "8 INFO");
    let up = find(&call.callee("INFO", &ok, 1, ""), "INFO");
    assert_eq!(up.header("CSeq"), "1 INFO");
}

#[test]
fn an_early_call_that_lasts_too_long_fails_example_24() {
    let mut call = Call::new(settings());
    let invite = find(&call.invite("b"), "INVITE");
    call.answer(B, &invite, "180 Ringing", "b1");
    call.skip(secs(600));
    assert_eq!(call.told("Failed"), 1);
    assert_eq!(call.counts(), [0, 0, 1, 0, 1]);
    call.ends_empty();
}

#[test]
fn a_variable_may_be_a_number() {
    let mut call = Call::new(settings());
    let ok = call.establish("gold");
    call.events();
    call.caller("INFO", &ok, "b1", "X-Do: count legs\n");
    call.caller("INFO", &ok, "b1", "X-Do: count legs\n");
    // A text is no number, and is counted from the start.
    call.caller("INFO", &ok, "b1", "X-Do: count acct\n");
    call.caller("INFO", &ok, "b1", "X-Do: set acct 007\n");
    call.caller("INFO", &ok, "b1", "X-Do: count acct\n");
    let counted: Vec<String> =
        call.events().into_iter().filter(|line| line.contains(" is ")).collect();
    assert_eq!(
        counted,
        ["legs is Some(1)", "legs is Some(2)", "acct is Some(1)", "acct is Some(1)"]
    );
}
