//! The acceptance examples P1 to P20 of the specification (`pua.md` §h), in virtual time.

use super::super::{
    DbMode, Document, EventId, Mode, Package, Packages, Processed, Publication, Refused, Settings,
    Source, Taken, Wanted,
};
use super::rig::{Call, Rig, in_database, reg, settings, watch};
use strowger_sip::time::{ms, secs};

#[test]
fn p01_initial() {
    let mut rig = Rig::new(settings());
    rig.publish_body("X", "B");
    let got = rig.request();
    assert_eq!(got.line(), "PUBLISH sip:bob@example.com SIP/2.0");
    assert_eq!(got.header("To"), Some("<sip:bob@example.com>"));
    assert!(got.header("From").expect("From").starts_with("<sip:bob@example.com>;tag="));
    assert_eq!(got.header("Event"), Some("reg"));
    assert_eq!(got.expires(), 3600);
    assert_eq!(got.header("Content-Type"), Some("application/reginfo+xml"));
    assert_eq!((got.etag(), got.header("Content-Length"), got.body()), (None, Some("1"), "B"));
    let compat = Settings { compat_expires: true, ..settings() };
    let mut rig = Rig::new(compat);
    rig.publish_body("X", "B");
    assert_eq!(rig.request().expires(), 3601);
}

#[test]
fn p02_modification() {
    let mut rig = Rig::new(settings());
    rig.publish_body("X", "B");
    let got = rig.request();
    rig.ok(&got, "e1", 3600);
    rig.publish_body("X", "B2");
    let got = rig.request();
    assert_eq!((got.etag(), got.body()), (Some("e1"), "B2"));
    rig.ok(&got, "e2", 3600);
    rig.publish_body("X", "B3");
    assert_eq!(rig.request().etag(), Some("e2"));
}

#[test]
fn p03_removal() {
    let mut rig = Rig::new(settings());
    rig.publish_body("X", "B");
    let got = rig.request();
    rig.ok(&got, "e2", 3600);
    assert_eq!(rig.remove("X"), Ok(Taken::Accepted));
    let got = rig.request();
    assert_eq!((got.expires(), got.etag(), got.body()), (0, Some("e2"), ""));
    assert_eq!(got.header("Content-Type"), None);
    rig.ok(&got, "e3", 0);
    assert_eq!(rig.remove("X"), Ok(Taken::Nothing));
    rig.silence();
    assert_eq!(rig.metric("pua_publications"), 0);
}

#[test]
fn p03_removal_with_a_least_lifetime_is_a_removal() {
    let mut rig = Rig::new(Settings { min_expires: 600, ..settings() });
    rig.publish_body("X", "B");
    let got = rig.request();
    rig.ok(&got, "e1", 3600);
    let _ = rig.remove("X");
    assert_eq!(rig.request().expires(), 0);
}

#[test]
fn p04_412_with_a_body() {
    let mut rig = Rig::new(settings());
    rig.publish_body("X", "B");
    let got = rig.request();
    rig.ok(&got, "e1", 3600);
    rig.publish_body("X", "B2");
    let got = rig.request();
    rig.answer(&got, 412, "");
    rig.advance(ms(900));
    let got = rig.request();
    assert_eq!((got.etag(), got.body()), (None, "B2"));
    rig.ok(&got, "e9", 3600);
    rig.publish_body("X", "B3");
    assert_eq!(rig.request().etag(), Some("e9"));
}

#[test]
fn p05_412_on_a_refresh() {
    let mut rig = Rig::new(settings());
    rig.publish_body("X", "B");
    let got = rig.request();
    rig.ok(&got, "e1", 20);
    rig.advance(secs(19));
    let got = rig.request();
    assert_eq!((got.etag(), got.header("Content-Length")), (Some("e1"), Some("0")));
    rig.answer(&got, 412, "");
    rig.advance(ms(900));
    let got = rig.request();
    assert_eq!((got.etag(), got.body()), (None, "B"));
}

#[test]
fn a_publication_that_is_lost_again_and_again_is_given_up() {
    let mut rig = Rig::new(settings());
    rig.publish_body("X", "B");
    let got = rig.request();
    rig.ok(&got, "e1", 20);
    let mut requests = 1;
    for _ in 0..200 {
        rig.advance(secs(1));
        for got in rig.requests() {
            requests += 1;
            match got.etag() {
                Some(_) => rig.answer(&got, 412, ""),
                // What it begins anew is lost at once, too.
                None => {
                    rig.answer(&got, 481, "");
                }
            }
        }
    }
    assert_eq!(requests, 5, "one, its refresh, three times anew");
    assert_eq!(rig.metric("pua_publications"), 0);
    assert_eq!(rig.metric("pua_failed"), 1);
}

#[test]
fn p06_errors_of_the_api() {
    let mut rig = Rig::new(settings());
    assert_eq!(rig.publish(reg("X")), Err(Refused::NoBody));
    assert_eq!(Refused::NoBody.code(), -10);
    let mut tagged = reg("X");
    tagged.etag = Some("zz".into());
    tagged.body = Some(b"B".to_vec());
    assert_eq!(rig.publish(tagged), Err(Refused::UnknownEtag));
    assert_eq!(Refused::UnknownEtag.code(), 418);
    let other = Publication { event: EventId(1 << 20), ..reg("X") };
    assert_eq!(rig.publish(other), Err(Refused::UnknownEvent));
    assert_eq!(Refused::UnknownEvent.code(), -1);
    for bad in [
        Publication { presentity: "sip:a@h\r\nX: y".into(), ..reg("X") },
        Publication { extra_headers: "X: y".into(), ..reg("X") },
        Publication { outbound_proxy: Some("nowhere".into()), ..reg("X") },
    ] {
        assert_eq!(rig.publish(bad), Err(Refused::Unwritable));
    }
    let long = Publication { body: Some(vec![b'x'; 70_000]), ..reg("X") };
    assert_eq!(rig.publish(long), Err(Refused::TooLong));
    rig.silence();
    assert_eq!(rig.metric("pua_publications"), 0);
}

#[test]
fn p07_race() {
    let mut rig = Rig::new(settings());
    rig.publish_body("X", "1");
    for number in 2..=10 {
        rig.advance(ms(10));
        rig.publish_body("X", &number.to_string());
    }
    rig.advance(ms(400));
    let got = rig.request();
    assert_eq!(got.body(), "1");
    rig.ok(&got, "e5", 3600);
    let got = rig.request();
    assert_eq!((got.etag(), got.body()), (Some("e5"), "10"));
    rig.ok(&got, "e6", 3600);
    rig.advance(secs(60));
    rig.silence();
}

#[test]
fn of_calls_that_are_overtaken_each_is_told() {
    let mut rig = Rig::new(settings());
    for (cookie, body) in [(1, "a"), (2, "b"), (3, "c")] {
        let call = Publication { cookie: Some(cookie), body: Some(body.into()), ..reg("X") };
        assert_eq!(rig.call(Call::PublishEvent(call)), Ok(Taken::Accepted));
    }
    let got = rig.request();
    rig.ok(&got, "e1", 3600);
    let got = rig.request();
    assert_eq!(got.body(), "c");
    rig.answer(&got, 403, "");
    let same = Publication { cookie: Some(4), ..reg("Y") };
    let _ = rig.call(Call::PublishEvent(same));
    assert_eq!(
        rig.take_log(),
        [
            "2 Superseded",
            "1 Done { status: 200, etag: \"e1\", expires: 3600 }",
            "3 Failed { status: 403, reason: \"Answer\" }",
            "4 Refused(NoBody)",
        ]
    );
}

#[test]
fn p08_two_ids() {
    let mut rig = Rig::new(settings());
    for (id, etag) in [("A", "a1"), ("B", "b1")] {
        rig.publish_body(id, id);
        let got = rig.request();
        assert_eq!(got.etag(), None);
        rig.ok(&got, etag, 20);
    }
    let _ = rig.remove("A");
    let got = rig.request();
    assert_eq!((got.etag(), got.expires()), (Some("a1"), 0));
    rig.ok(&got, "a2", 0);
    rig.advance(secs(19));
    assert_eq!(rig.request().etag(), Some("b1"));
}

#[test]
fn p09_refresh_schedule() {
    let mut rig = Rig::new(settings());
    let wanted = Wanted::Seconds(300);
    let call = Publication { wanted, body: Some(b"B".to_vec()), ..reg("X") };
    let _ = rig.publish(call);
    let got = rig.request();
    assert_eq!(got.expires(), 300);
    rig.ok(&got, "e0", 20);
    let mut last = rig.bench.now();
    for second in 1..=300u32 {
        rig.advance(secs(1));
        for got in rig.requests() {
            assert!(got.at.since(last) < secs(20), "in time");
            assert!(second <= 299, "nothing after the wanted time");
            if got.expires() == 0 {
                continue;
            }
            assert_eq!(got.body(), "");
            assert!(got.expires().abs_diff(300 - second) <= 2, "{} at {second}", got.expires());
            last = got.at;
            rig.ok(&got, &format!("e{second}"), got.expires().min(20));
        }
    }
    rig.advance(secs(15));
    rig.silence();
    assert_eq!(rig.metric("pua_publications"), 0);
}

/// A processor that writes the number into the body.
fn numbered(document: &Document<'_>) -> Result<Processed, super::super::BodyFault> {
    let body = format!("v{} {}", document.version, String::from_utf8_lossy(document.body));
    Ok(Processed { body: Some(body.into_bytes()), tuple_id: None })
}

fn package(id: EventId, process: super::super::Process) -> Package {
    let known = Packages::standard().get(id).cloned().expect("known");
    Package { process: Some(process), ..known }
}

#[test]
fn p10_version() {
    let counting = Settings { dlginfo_increase_version: true, ..settings() };
    let mut rig = Rig::with_package(counting, package(EventId::DIALOG, numbered));
    let of = |body: &str| Publication {
        body: Some(body.as_bytes().to_vec()),
        ..Publication::new(Source::DialogPublish, EventId::DIALOG, "sip:bob@example.com", "d")
    };
    for (number, body) in ["a", "b"].into_iter().enumerate() {
        let _ = rig.publish(of(body));
        let got = rig.request();
        assert_eq!(got.body(), format!("v{number} {body}"));
        rig.ok(&got, "e", 20);
    }
    rig.advance(secs(12));
    let got = rig.request();
    assert_eq!(got.body(), "", "a refresh");
    rig.ok(&got, "e", 3600);
    let _ = rig.publish(of("c"));
    let got = rig.request();
    assert_eq!(got.body(), "v2 c");
    // The numbers go on when the server has lost it.
    rig.answer(&got, 412, "");
    rig.advance(ms(100));
    assert_eq!(rig.request().body(), "v3 c");
    let mut rig = Rig::with_package(settings(), package(EventId::DIALOG, numbered));
    let _ = rig.publish(of("a"));
    assert_eq!(rig.request().body(), "a", "not without the parameter");
}

/// A processor that wants an id.
fn tupled(document: &Document<'_>) -> Result<Processed, super::super::BodyFault> {
    let id = document.tuple_id.unwrap_or(document.fresh_id).to_owned();
    let body = format!("<{id}>{}", String::from_utf8_lossy(document.body));
    Ok(Processed { body: Some(body.into_bytes()), tuple_id: Some(id) })
}

#[test]
fn p11_the_tuple_keeps_its_id() {
    let mut rig = Rig::with_package(settings(), package(EventId::PRESENCE, tupled));
    let mut ids = Vec::new();
    for (etag, body) in [("e1", "a"), ("e2", "b")] {
        let call = Publication {
            body: Some(body.as_bytes().to_vec()),
            ..Publication::new(Source::UsrlocPublish, EventId::PRESENCE, "sip:bob@example.com", "")
        };
        let _ = rig.publish(call);
        let got = rig.request();
        ids.push(got.body().split('>').next().expect("an id").to_owned());
        rig.ok(&got, etag, 3600);
    }
    assert_eq!(ids[0], ids[1]);
    assert!(ids[0].len() > 20, "{ids:?}");
}

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
    let more = "Expires: 30\r\nContact: <sip:pres@192.0.2.20:7072>\r\n\
                Record-Route: <sip:192.0.2.20:7072;lr;x=2>\r\nRecord-Route: <sip:192.0.2.21;lr>\r\n";
    rig.answer(&first, 200, more);
    // The first hop is the last that has recorded itself.
    rig.advance(secs(29));
    rig.silence();
    let more = more.replace(
        "Record-Route: <sip:192.0.2.20:7072;lr;x=2>\r\nRecord-Route: <sip:192.0.2.21;lr>\r\n",
        "Record-Route: <sip:192.0.2.21;lr>\r\nRecord-Route: <sip:192.0.2.20:7072;lr>\r\n",
    );
    let mut rig = Rig::new(settings());
    let _ = rig.subscribe(watch());
    let first = rig.request();
    rig.answer(&first, 200, &more);
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
    let short = super::super::Subscription { wanted: Wanted::Seconds(60), ..watch() };
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
        let call = || super::super::Subscription {
            remote_target: Some("sip:list@192.0.2.20:7072".into()),
            ..watch()
        };
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
fn p18_commands() {
    let mut rig = Rig::new(settings());
    let arguments = [
        "sip:jh@example.com",
        "3600",
        "message-summary",
        "application/simple-message-summary",
        ".",
        ".",
        "sip:192.0.2.20:7072",
        ".",
        "Messages-Waiting: yes\r\n",
    ];
    let code = |rig: &mut Rig, arguments: &[&str]| {
        rig.command("pua.publish", arguments).expect("known").expect_err("a fault")
    };
    let later = code(&mut rig, &arguments);
    assert_eq!(later.code, 102);
    let got = rig.request();
    assert_eq!(got.header("Content-Type"), Some("application/simple-message-summary"));
    assert_eq!(got.body(), "Messages-Waiting: yes\r\n");
    assert_eq!(code(&mut rig, &["@ticket", &later.message]).code, 102);
    rig.ok(&got, "m1", 3600);
    let answer = rig.command("pua.publish", &["@ticket", &later.message]);
    assert_eq!(answer, Some(Ok("{\"SIP-ETag\":\"m1\",\"Expires\":3600}".to_owned())));
    assert_eq!(code(&mut rig, &["@ticket", &later.message]).code, 404, "told once");
    assert_eq!(code(&mut rig, &arguments[..8]).message, "Body is missing");
    let unknown: Vec<&str> =
        arguments.iter().map(|it| if *it == "message-summary" { "x" } else { it }).collect();
    assert_eq!(code(&mut rig, &unknown).message, "Unknown event");
    let mut wrong = arguments;
    wrong[5] = "zz";
    assert_eq!(code(&mut rig, &wrong).message, "Wrong ETag");
    assert_eq!(code(&mut rig, &["sip:a@h"]).code, 400);
    let listed = rig.command("pua.list", &["jh@"]).expect("known").expect("a list");
    assert!(listed.contains("\"etag\":\"m1\"") && listed.contains("message-summary"), "{listed}");
    let watched =
        rig.command("pua.subscribe", &["sip:a@192.0.2.20:7072", "sip:w@192.0.2.1", "reg", "60"]);
    assert_eq!(watched, Some(Ok("{}".to_owned())));
    assert_eq!(rig.request().header("Contact"), Some("<sip:w@192.0.2.1>"));
    let fault = rig.command("pua.subscribe", &["a", "b", "reg", "60"]);
    assert_eq!(fault.expect("known").map_err(|fault| fault.code), Err(400));
    let name = rig.table_name("sip:jh@example.com");
    let shown = rig.command("pua.show", &[&name]).expect("known").expect("a record");
    assert!(shown.contains("Messages-Waiting"), "{shown}");
    assert_eq!(rig.command("pua.remove", &[&name]), Some(Ok("{}".to_owned())));
    assert_eq!(rig.request().expires(), 0);
    assert_eq!(rig.command("pua.cleanup", &[]), Some(Ok("{}".to_owned())));
    assert_eq!(rig.command("pua.other", &[]), None);
}

#[test]
fn p19_restart() {
    let mut rig = Rig::new(Settings { update_period: Some(secs(6)), ..settings() });
    rig.publish_body("X", "B");
    let got = rig.request();
    rig.ok(&got, "e1", 3600);
    let _ = rig.subscribe(watch());
    let first = rig.request();
    rig.ok_watch(&first, 3600);
    assert_eq!(rig.table.len(), 0);
    rig.advance(secs(7));
    assert_eq!(rig.table.len(), 2);
    rig.restart(settings());
    assert_eq!((rig.table.len(), rig.removed.len()), (2, 0), "nothing is deleted");
    rig.advance(secs(10));
    rig.silence();
    rig.publish_body("X", "B2");
    let got = rig.request();
    assert_eq!((got.etag(), got.body()), (Some("e1"), "B2"));
    // The subscription goes on, too.
    assert_eq!(rig.notify(&first, 9, "active;expires=3000", "on"), 200);
    let _ = rig.subscribe(watch());
    let got = rig.request();
    assert_eq!(
        (got.header("Call-ID"), got.tag("To")),
        (first.header("Call-ID"), Some("server".into()))
    );
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
fn replacing_removes_what_was_there_before() {
    let mut rig = Rig::new(settings());
    rig.publish_body("X", "B");
    let got = rig.request();
    rig.ok(&got, "e1", 3600);
    let call = Publication { mode: Mode::Insert, body: Some(b"B".to_vec()), ..reg("X") };
    let _ = rig.publish(call);
    let got = rig.request();
    assert_eq!((got.etag(), got.body()), (None, "B"));
    rig.ok(&got, "e2", 3600);
    let got = rig.request();
    assert_eq!((got.etag(), got.expires()), (Some("e1"), 0));
    rig.ok(&got, "e1", 0);
    rig.publish_body("X", "C");
    assert_eq!(rig.request().etag(), Some("e2"));
}

#[test]
fn an_unchanged_state_is_not_sent_again() {
    let mut rig = Rig::new(settings());
    rig.publish_body("X", "B");
    let got = rig.request();
    rig.ok(&got, "e1", 3600);
    rig.advance(secs(60));
    rig.publish_body("X", "B");
    rig.silence();
    // It is refreshed when the server's time runs out.
    rig.advance(secs(3455));
    let got = rig.request();
    assert_eq!((got.etag(), got.body()), (Some("e1"), ""));
}

#[test]
fn a_busy_server_is_left_alone() {
    let mut rig = Rig::new(settings());
    rig.publish_body("X", "B");
    let got = rig.request();
    rig.answer(&got, 503, "Retry-After: 18\r\n");
    rig.publish_body("X", "C");
    rig.advance(secs(17));
    rig.silence();
    rig.advance(secs(2));
    let got = rig.request();
    assert_eq!(got.body(), "C");
    rig.answer(&got, 503, "");
    rig.advance(secs(3));
    let got = rig.request();
    // Silence: timer F, then a pause.
    rig.advance(secs(31));
    rig.silence();
    rig.advance(secs(8));
    let again = rig.request();
    assert_ne!(again.header("Call-ID"), got.header("Call-ID"));
    rig.ok(&again, "e1", 3600);
    assert_eq!(rig.metric("pua_publishes_ok"), 1);
}

#[test]
fn a_challenge_is_answered_once() {
    let accounts = vec![super::super::Account {
        realm: "presence".into(),
        user: "strowger".into(),
        password: "secret".into(),
    }];
    let challenge = "WWW-Authenticate: Digest realm=\"presence\", nonce=\"n1\", qop=\"auth\"\r\n";
    let mut rig = Rig::new(Settings { accounts, ..settings() });
    rig.publish_body("X", "B");
    let first = rig.request();
    assert_eq!(first.header("Authorization"), None);
    rig.answer(&first, 401, challenge);
    let proved = rig.request();
    let value = proved.header("Authorization").expect("credentials");
    assert!(value.contains("username=\"strowger\"") && value.contains("nc=00000001"), "{value}");
    assert_eq!(proved.header("Call-ID"), first.header("Call-ID"));
    assert_eq!(proved.header("CSeq"), Some("11 PUBLISH"));
    rig.ok(&proved, "e1", 3600);
    // The next request has credentials at once; they may be stale.
    rig.publish_body("X", "C");
    let next = rig.request();
    assert!(next.header("Authorization").expect("credentials").contains("nc=00000002"));
    rig.answer(&next, 401, &challenge.replace("\"n1\"", "\"n2\", stale=true"));
    let proved = rig.request();
    assert!(proved.header("Authorization").expect("credentials").contains("nonce=\"n2\""));
    // A wrong password stays wrong.
    rig.answer(&proved, 401, challenge);
    rig.advance(secs(600));
    rig.silence();
    let mut rig = Rig::new(settings());
    rig.publish_body("X", "B");
    let first = rig.request();
    rig.answer(&first, 401, challenge);
    rig.advance(secs(600));
    rig.silence();
}

#[test]
fn a_redirection_is_followed_once() {
    let mut rig = Rig::new(settings());
    rig.publish_body("X", "B");
    let got = rig.request();
    rig.answer(&got, 302, "Contact: <sip:other@192.0.2.20:7072>\r\n");
    let got = rig.request();
    assert_eq!(got.line(), "PUBLISH sip:other@192.0.2.20:7072 SIP/2.0");
    assert_eq!(got.header("To"), Some("<sip:bob@example.com>"));
    rig.answer(&got, 302, "Contact: <sip:third@192.0.2.20:7072>\r\n");
    rig.advance(secs(60));
    rig.silence();
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
    let gone = super::super::Subscription { wanted: Wanted::Not, ..watch() };
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

#[test]
fn in_database_mode_storage_is_what_counts() {
    let mut rig = Rig::new(in_database());
    rig.publish_body("X", "B");
    let got = rig.request();
    rig.ok(&got, "e1", 3600);
    assert_eq!(rig.bench.metric("pua_publications"), Some(1));
    // Another node has changed the row.
    let (_, row) = rig.table.first_mut().expect("a row");
    row.etag = "e7".into();
    rig.publish_body("X", "C");
    let got = rig.request();
    assert_eq!((got.etag(), got.body()), (Some("e7"), "C"));
    rig.ok(&got, "e8", 20);
    rig.advance(secs(12));
    let got = rig.request();
    assert_eq!((got.etag(), got.body()), (Some("e8"), ""), "it wakes for its refresh");
    rig.ok(&got, "e9", 3600);
    assert_eq!(rig.table.first().map(|(_, row)| row.etag.as_str()), Some("e9"));
    assert_eq!(rig.remove("X"), Ok(Taken::Accepted));
    let got = rig.request();
    assert_eq!((got.etag(), got.expires()), (Some("e9"), 0));
    rig.ok(&got, "", 0);
    assert_eq!((rig.table.len(), rig.removed.len()), (0, 1));
    assert_eq!(in_database().db_mode, DbMode::Database);
}

#[test]
fn in_database_mode_a_restart_goes_on() {
    let mut rig = Rig::new(in_database());
    rig.publish_body("X", "B");
    let got = rig.request();
    rig.ok(&got, "e1", 60);
    rig.restart(in_database());
    rig.advance(secs(40));
    let got = rig.request();
    assert_eq!((got.etag(), got.body()), (Some("e1"), ""));
    rig.answer(&got, 412, "");
    rig.advance(secs(1));
    assert_eq!(rig.request().body(), "B", "the body outlives the restart");
}
