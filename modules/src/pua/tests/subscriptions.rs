//! The acceptance examples of subscriptions, P12 to P17 and P20, and what else befalls them.

use super::super::{Publication, Settings, Subscription, Taken, Wanted};
use super::rig::{Rig, reg, settings, watch};
use strowger_sip::time::{ms, secs};

#[test]
fn p12_subscribe() {
    let mut rig = Rig::new(settings());
    assert_eq!(rig.subscribe(watch()), Ok(Taken::Accepted));
    let got = rig.request();
    assert_eq!(got.line(), "SUBSCRIBE sip:bob@192.0.2.20:7072 SIP/2.0");
    assert_eq!(got.header("Event"), Some("reg"));
    assert_eq!(got.header("Contact"), Some("<sip:reginfo@192.0.2.1:5060>"));
    assert_eq!((got.expires(), got.tag("To")), (3600, None));
    assert_eq!(got.header("Accept"), Some("application/reginfo+xml"));
    // A NOTIFY overtakes the answer.
    assert_eq!(rig.notify(&got, 1, "active;expires=3600", "first"), 200);
    assert_eq!(rig.take_log(), ["Active first"]);
    rig.ok_watch(&got, 3600);
    assert_eq!(rig.metric("pua_subs_active"), 1);
    assert_eq!(rig.notify(&got, 2, "active;expires=3600", "second"), 200);
    assert_eq!(rig.notify(&got, 2, "active;expires=3600", "second"), 200, "told once");
    assert_eq!(rig.notify(&got, 1, "active;expires=3600", "old"), 500, "out of order");
    assert_eq!(rig.notify(&got, 3, "active;expires=3600", "bad"), 400, "its owner says so");
    assert_eq!(rig.take_log(), ["Active second", "Active bad"]);
    let mut rig = Rig::new(Settings { compat_expires: true, ..settings() });
    let _ = rig.subscribe(watch());
    assert_eq!(rig.request().expires(), 3610);
}

#[test]
fn p13_subscribe_refresh() {
    let mut rig = Rig::new(settings());
    let _ = rig.subscribe(watch());
    let first = rig.request();
    // The first hop is the last that has recorded itself.
    let more = "Expires: 30\r\nContact: <sip:pres@192.0.2.20:7072>\r\n\
                Record-Route: <sip:192.0.2.21;lr>\r\nRecord-Route: <sip:192.0.2.20:7072;lr>\r\n";
    rig.answer(&first, 200, more);
    rig.advance(secs(29));
    let got = rig.request();
    assert_eq!(got.line(), "SUBSCRIBE sip:pres@192.0.2.20:7072 SIP/2.0");
    assert_eq!(got.header("Route"), Some("<sip:192.0.2.20:7072;lr>,<sip:192.0.2.21;lr>"));
    assert_eq!(got.header("Call-ID"), first.header("Call-ID"));
    assert_eq!((got.tag("From"), got.tag("To")), (first.tag("From"), Some("server".into())));
    assert_eq!(
        (first.header("CSeq"), got.header("CSeq")),
        (Some("1 SUBSCRIBE"), Some("2 SUBSCRIBE"))
    );
    assert!(got.at.since(first.at) < secs(30));
}

#[test]
fn p14_481() {
    let mut rig = Rig::new(settings());
    let _ = rig.subscribe(watch());
    let first = rig.request();
    rig.ok_watch(&first, 30);
    rig.advance(secs(29));
    let refresh = rig.request();
    rig.answer(&refresh, 481, "");
    rig.advance(ms(100));
    let got = rig.request();
    assert_ne!(got.header("Call-ID"), first.header("Call-ID"));
    assert_eq!(got.tag("To"), None);
    assert!((3569..=3590).contains(&got.expires()), "{}", got.expires());
}

#[test]
fn p15_423() {
    let mut rig = Rig::new(settings());
    let short = Subscription { wanted: Wanted::Seconds(60), ..watch() };
    let _ = rig.subscribe(short);
    let got = rig.request();
    assert_eq!(got.expires(), 60);
    rig.answer(&got, 423, "Min-Expires: 600\r\n");
    let got = rig.request();
    assert_eq!(got.expires(), 600);
    rig.answer(&got, 423, "Min-Expires: 700\r\n");
    rig.advance(secs(120));
    rig.silence();
    // A PUBLISH does the same.
    let call = Publication { wanted: Wanted::Seconds(60), body: Some(b"B".to_vec()), ..reg("X") };
    let _ = rig.publish(call);
    let got = rig.request();
    rig.answer(&got, 423, "Min-Expires: 600\r\n");
    let got = rig.request();
    assert_eq!((got.expires(), got.body()), (600, "B"));
    rig.ok(&got, "e1", 600);
    // The server would keep it longer than it is wanted.
    rig.advance(secs(61));
    assert_eq!(rig.request().expires(), 0);
}

#[test]
fn p16_terminated() {
    let mut rig = Rig::new(settings());
    let _ = rig.subscribe(watch());
    let first = rig.request();
    rig.ok_watch(&first, 3600);
    assert_eq!(rig.notify(&first, 1, "terminated;reason=deactivated", ""), 200);
    rig.advance(ms(100));
    let again = rig.request();
    assert_ne!(again.header("Call-ID"), first.header("Call-ID"));
    rig.ok_watch(&again, 3600);
    assert_eq!(rig.notify(&again, 1, "terminated;reason=probation;retry-after=20", ""), 200);
    rig.advance(secs(19));
    rig.silence();
    rig.advance(secs(2));
    let again = rig.request();
    rig.ok_watch(&again, 3600);
    assert_eq!(rig.notify(&again, 1, "terminated;reason=rejected", ""), 200);
    rig.advance(secs(400));
    rig.silence();
    assert_eq!(rig.metric("pua_subscriptions"), 0);
    assert_eq!(rig.metric("pua_terminated"), 3);
}

#[test]
fn p17_repeated_subscribe() {
    for checks in [false, true] {
        let mut rig = Rig::new(Settings { check_remote_contact: checks, ..settings() });
        let call =
            || Subscription { remote_target: Some("sip:list@192.0.2.20:7072".into()), ..watch() };
        let _ = rig.subscribe(call());
        let first = rig.request();
        assert_eq!(first.line(), "SUBSCRIBE sip:list@192.0.2.20:7072 SIP/2.0");
        rig.ok_watch(&first, 3600);
        let _ = rig.subscribe(call());
        let second = rig.request();
        let is_same = second.header("Call-ID") == first.header("Call-ID");
        assert_eq!(is_same, !checks, "a new dialog only where the contact is compared");
        if checks {
            // What it replaces is ended: there is one subscription in any case.
            rig.ok_watch(&second, 3600);
            let end = rig.request();
            assert_eq!((end.header("Call-ID"), end.expires()), (first.header("Call-ID"), 0));
            rig.answer(&end, 200, "Expires: 0\r\n");
        }
        assert_eq!(rig.metric("pua_subscriptions"), 1);
    }
}

#[test]
fn p20_strangers() {
    let mut rig = Rig::new(settings());
    let _ = rig.subscribe(watch());
    let first = rig.request();
    rig.ok_watch(&first, 3600);
    let (call_id, own) =
        (first.header("Call-ID").expect("one").to_owned(), first.tag("From").expect("one"));
    assert_eq!(rig.notify_as("stranger", &own, 1, "active", "x"), 481);
    assert_eq!(rig.notify_as(&call_id, "other", 1, "active", "x"), 481);
    assert_eq!(rig.notify(&first, 1, "active", "x"), 200);
    assert_eq!(rig.take_log(), ["Active x"]);
    assert_eq!(rig.metric("pua_notifies"), 1);
}

#[test]
fn a_silent_notifier_is_asked_again_without_a_second_subscription() {
    let mut rig = Rig::new(settings());
    let _ = rig.subscribe(watch());
    let first = rig.request();
    rig.ok_watch(&first, 120);
    rig.advance(secs(61));
    let refresh = rig.request();
    assert_eq!(refresh.tag("To").as_deref(), Some("server"));
    rig.advance(secs(100));
    // The dialog is over: a new one begins.
    let again = rig.requests().pop().expect("another");
    assert_eq!(again.tag("To"), None);
    assert_eq!(rig.metric("pua_subscriptions"), 1);
}

#[test]
fn unsubscribing_awaits_the_last_notify() {
    let mut rig = Rig::new(settings());
    let _ = rig.subscribe(watch());
    let first = rig.request();
    rig.ok_watch(&first, 3600);
    let gone = Subscription { wanted: Wanted::Not, ..watch() };
    assert_eq!(rig.subscribe(gone.clone()), Ok(Taken::Accepted));
    let end = rig.request();
    assert_eq!((end.expires(), end.header("Call-ID")), (0, first.header("Call-ID")));
    rig.answer(&end, 200, "Expires: 0\r\n");
    assert_eq!(rig.notify(&first, 1, "terminated;reason=timeout", ""), 200);
    assert_eq!(rig.take_log().len(), 0);
    rig.advance(secs(40));
    assert_eq!(rig.notify(&first, 2, "active", ""), 481);
    assert_eq!(rig.subscribe(gone), Ok(Taken::Nothing));
    rig.silence();
}
