//! Session timers: RFC 4028 as a proxy sees it.

use super::super::{SessionTimer, Settings};
use super::rig::{B, CALL, Call, Sent, find, response, settings};
use strowger_sip::time::secs;

fn call(session_timer: SessionTimer) -> Call {
    Call::new(Settings { session_timer, session_expires: secs(600), ..settings() })
}

/// The callee answers with these header lines; the 200 as the caller gets it.
fn answered(call: &mut Call, invite: &Sent, more: &str) -> Sent {
    let ok = response(invite, "200 OK", "b1").replace("Contact:", &format!("{more}Contact:"));
    let ok = find(&call.receive(B, &ok), "SIP/2.0 200");
    call.caller("ACK", &ok, "b1", "");
    ok
}

/// How many parties get a BYE.
fn hung_up(sent: &[Sent]) -> usize {
    let to = sent.iter().filter(|it| it.is("BYE")).map(|it| it.to.as_str());
    to.collect::<std::collections::BTreeSet<_>>().len()
}

#[test]
fn a_session_that_is_not_refreshed_ends_where_that_is_enforced() {
    for (mode, ends) in [(SessionTimer::Observe, 0), (SessionTimer::Enforce, 1)] {
        let mut call = call(mode);
        let invite = find(&call.invite("b"), "INVITE");
        assert_eq!(invite.header("Session-Expires"), "", "nothing is asked for");
        let ok = answered(&mut call, &invite, "Session-Expires: 120;refresher=uac\n");
        let shown = call.command("dlg.list_ctx", &[]).expect("a list");
        assert!(shown.contains("\"session_expires_in\":120"), "{shown}");
        call.skip(secs(100));
        // It is refreshed, and lasts as long again.
        let update = find(&call.caller("UPDATE", &ok, "b1", ""), "UPDATE");
        let fresh = response(&update, "200 OK", "b1")
            .replace("Contact:", "Session-Expires: 90;refresher=uac\nContact:");
        call.receive(B, &fresh);
        let sent = call.skip(secs(89));
        assert!(!sent.iter().any(|it| it.is("BYE")), "{sent:?}");
        let sent = call.skip(secs(2));
        assert_eq!(hung_up(&sent), 2 * ends, "{mode:?}");
        assert_eq!(call.told("Ending(SessionExpired)"), ends, "{mode:?}");
    }
}

#[test]
fn a_session_timer_is_asked_for_where_nobody_does() {
    let mut call = call(SessionTimer::Insert);
    let lines = "Supported: 100rel, timer\nMin-SE: 900\n";
    let invite = find(&call.invite_as("b", CALL, lines), "INVITE");
    // Not less than the caller bears.
    assert_eq!(invite.header("Session-Expires"), "900");
    // The callee knows nothing of it: the caller is to refresh.
    let ok = answered(&mut call, &invite, "");
    assert_eq!(ok.header("Session-Expires"), "900;refresher=uac");
    assert_eq!(ok.header("Require"), "timer");
    // So does a copy of it.
    let copy = find(&call.answer(B, &invite, "200 OK", "b1"), "SIP/2.0 200");
    assert_eq!(copy.header("Session-Expires"), "900;refresher=uac");
    let sent = call.skip(secs(901));
    assert_eq!(hung_up(&sent), 2);
}

#[test]
fn who_knows_nothing_of_session_timers_hears_nothing_of_them() {
    let mut call = call(SessionTimer::Insert);
    let invite = find(&call.invite("b"), "INVITE");
    assert_eq!(invite.header("Session-Expires"), "600");
    let ok = answered(&mut call, &invite, "");
    assert_eq!(
        (ok.header("Session-Expires"), ok.header("Require")),
        (String::new(), String::new())
    );
    assert!(!call.skip(secs(2000)).iter().any(|it| it.is("BYE")));
}

#[test]
fn what_both_have_agreed_upon_is_left_alone() {
    let mut call = call(SessionTimer::Insert);
    let lines = "Supported: timer\nSession-Expires: 1800\n";
    let invite = find(&call.invite_as("b", CALL, lines), "INVITE");
    assert_eq!(invite.headers("Session-Expires"), ["1800"]);
    let ok = answered(&mut call, &invite, "Session-Expires: 1200;refresher=uas\n");
    assert_eq!(ok.headers("Session-Expires"), ["1200;refresher=uas"]);
}
