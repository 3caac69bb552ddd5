//! The acceptance examples of commands and restarts, P18 and P19, and what servers do.

use super::super::{DbMode, Mode, Publication, Settings, Taken};
use super::rig::{Rig, in_database, reg, settings, watch};
use crate::uac::{Credential, Secret};
use strowger_sip::time::secs;

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
    let accounts = vec![Credential {
        realm: "presence".into(),
        user: "strowger".into(),
        secret: Secret::password("secret"),
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

#[test]
fn nodes_of_one_table_leave_each_other_alone() {
    let node = |server_id| Settings { server_id, ..settings() };
    let mut rig = Rig::new(node(1));
    rig.publish_body("X", "B");
    let got = rig.request();
    rig.ok(&got, "e1", 3600);
    let _ = rig.command("pua.cleanup", &[]);
    rig.restart(node(2));
    rig.publish_body("X", "C");
    let got = rig.request();
    assert_eq!(got.etag(), None, "the other's tag is not ours");
    rig.ok(&got, "e2", 3600);
    let _ = rig.command("pua.cleanup", &[]);
    let tags: Vec<&str> = rig.table.iter().map(|(_, row)| row.etag.as_str()).collect();
    assert_eq!(tags, ["e1", "e2"]);
    rig.restart(node(1));
    rig.publish_body("X", "D");
    rig.advance(secs(3));
    assert_eq!(rig.request().etag(), Some("e1"));
}
