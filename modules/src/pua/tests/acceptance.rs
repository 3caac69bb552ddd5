//! The acceptance examples of publications, P1 to P11 (`pua.md` §h), in virtual time.

use super::super::{
    Document, EventId, Package, Packages, Processed, Publication, Refused, Settings, Source, Taken,
    Wanted,
};
use super::rig::{Call, Rig, reg, settings};
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
