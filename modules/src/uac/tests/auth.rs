//! Answers to challenges: uac.md (h) A9 to A14, A20.

use super::super::Settings;
use super::super::reg::Registration;
use super::super::secret::{Credential, Secret};
use super::rig::{
    A, B, HOP, Node, Plan, ack, begin, count, find, header, number, response, within,
};
use crate::bench::sent;
use strowger_sip::settings::{Configuration, Place, Value};
use strowger_sip::time::secs;

const ALICE: &str = "<sip:alice@192.0.2.10>";
const CHALLENGE: &str = "Digest realm=\"biloxi.example.com\", nonce=\"dcd98b\"";

fn settings() -> Settings {
    let secret = Secret::password("s3cret");
    let credential = Credential { user: "alice".into(), realm: String::new(), secret };
    Settings { credentials: vec![credential], ..Settings::default() }
}

fn challenge(request: &str, value: &str) -> String {
    let header = format!("Proxy-Authenticate: {value}\n");
    response(request, "407 Proxy Authentication Required", &header)
}

/// The INVITE that answers the challenge of another one.
fn answered(node: &mut Node, invite: &str, value: &str) -> String {
    let sent = node.receive(B, &challenge(invite, value));
    assert_eq!(number(&find(&sent, "ACK")), number(invite));
    find(&sent, "INVITE")
}

/// A9.
#[test]
fn the_next_hop_gets_credentials() {
    let mut node = Node::new(Plan::Auth { tracked: false }, settings());
    let invite = node.gets(A, &begin("INVITE", 100, ALICE), "INVITE");
    let again = answered(&mut node, &invite, CHALLENGE);
    assert!(again.starts_with("INVITE sip:bob@biloxi.example.com SIP/2.0"), "{again}");
    assert_eq!(
        header(&again, "Proxy-Authorization"),
        "Digest username=\"alice\", realm=\"biloxi.example.com\", nonce=\"dcd98b\", \
         uri=\"sip:bob@biloxi.example.com\", response=\"26d136034c9e0ac62004f07335d8c768\", \
         algorithm=MD5"
    );
}

/// A14, with and without the dialog module: one number to the caller, another to the callee.
#[test]
fn numbers_are_raised_for_the_callee_alone() {
    for tracked in [false, true] {
        let mut node = Node::new(Plan::Auth { tracked }, settings());
        let invite = node.gets(A, &begin("INVITE", 100, ALICE), "INVITE");
        assert_eq!(number(&invite), 100);
        let again = answered(&mut node, &invite, CHALLENGE);
        assert_eq!(header(&again, "CSeq"), "101 INVITE");
        let ringing = node.gets(B, &response(&again, "180 Ringing", ""), "SIP/2.0 180");
        assert_eq!(number(&ringing), 100);
        let ok = node.gets(B, &response(&again, "200 OK", ""), "SIP/2.0 200");
        assert_eq!(header(&ok, "CSeq"), "100 INVITE");
        let (from, to) = (header(&ok, "From"), header(&ok, "To"));
        let acked = node.gets(A, &within("ACK", 100, &ok, &from, &to), "ACK");
        assert_eq!(header(&acked, "CSeq"), "101 ACK", "tracked: {tracked}");
        // The callee's own numbers are its own.
        let info = node.gets(B, &within("INFO", 7, &again, &to, &from), "INFO");
        assert_eq!(number(&info), 7);
        let bye = node.gets(A, &within("BYE", 101, &ok, &from, &to), "BYE");
        assert_eq!(header(&bye, "CSeq"), "102 BYE", "tracked: {tracked}");
        let done = node.gets(B, &response(&bye, "200 OK", ""), "SIP/2.0 200");
        assert_eq!(header(&done, "CSeq"), "101 BYE");
    }
}

#[test]
fn a_cancel_has_the_number_of_its_branch() {
    let mut node = Node::new(Plan::Auth { tracked: false }, settings());
    let text = begin("INVITE", 100, ALICE);
    let invite = node.gets(A, &text, "INVITE");
    let again = answered(&mut node, &invite, CHALLENGE);
    node.receive(B, &response(&again, "180 Ringing", ""));
    let cancel = text.replacen("INVITE", "CANCEL", 1).replace(" INVITE\n", " CANCEL\n");
    let cancel = node.gets(A, &cancel, "CANCEL");
    assert_eq!(header(&cancel, "CSeq"), "101 CANCEL");
    let over = node.gets(B, &response(&again, "487 Request Terminated", ""), "SIP/2.0 487");
    assert_eq!(header(&over, "CSeq"), "100 INVITE");
}

#[test]
fn challenges_within_a_tracked_call_are_answered_and_numbers_rise() {
    let mut node = Node::new(Plan::Auth { tracked: true }, settings());
    let invite = node.gets(A, &begin("INVITE", 1, ALICE), "INVITE");
    let again = answered(&mut node, &invite, CHALLENGE);
    let ok = node.gets(B, &response(&again, "200 OK", ""), "SIP/2.0 200");
    let (from, to) = (header(&ok, "From"), header(&ok, "To"));
    let mut seen = vec![number(&invite), number(&again)];
    node.gets(A, &within("ACK", 1, &ok, &from, &to), "ACK");
    for cseq in [2, 3] {
        let reinvite = node.gets(A, &within("INVITE", cseq, &ok, &from, &to), "INVITE");
        let nonce = format!("Digest realm=\"r\", nonce=\"n{cseq}\", qop=\"auth\"");
        let proved = answered(&mut node, &reinvite, &nonce);
        assert_eq!(count(&proved, "Proxy-Authorization"), 1);
        let done = node.gets(B, &response(&proved, "200 OK", ""), "SIP/2.0 200");
        assert_eq!(header(&done, "CSeq"), format!("{cseq} INVITE"));
        let acked = node.gets(A, &within("ACK", cseq, &ok, &from, &to), "ACK");
        assert_eq!(number(&acked), number(&proved));
        seen.extend([number(&reinvite), number(&proved)]);
    }
    let bye = node.gets(A, &within("BYE", 4, &ok, &from, &to), "BYE");
    seen.push(number(&bye));
    assert!(seen.is_sorted_by(|one, next| one < next), "{seen:?}");
    let done = node.gets(B, &response(&bye, "200 OK", ""), "SIP/2.0 200");
    assert_eq!(header(&done, "CSeq"), "4 BYE");
}

#[test]
fn a_proxy_and_a_server_may_challenge_in_turn() {
    let mut node = Node::new(Plan::Auth { tracked: false }, settings());
    let invite = node.gets(A, &begin("INVITE", 5, ALICE), "INVITE");
    let second = answered(&mut node, &invite, CHALLENGE);
    let www = "WWW-Authenticate: Digest realm=\"server\", nonce=\"s\", qop=\"auth\"\n";
    let sent = node.receive(B, &response(&second, "401 Unauthorized", www));
    let third = find(&sent, "INVITE");
    assert_eq!(count(&third, "Proxy-Authorization"), 1, "{third}");
    assert_eq!(count(&third, "Authorization"), 1, "{third}");
    assert_eq!(number(&third), 7);
}

#[test]
fn who_is_refused_hears_the_challenge() {
    let mut node = Node::new(Plan::Auth { tracked: false }, settings());
    let text = begin("INVITE", 5, ALICE);
    let invite = node.gets(A, &text, "INVITE");
    let second = answered(&mut node, &invite, CHALLENGE);
    let sent =
        node.receive(B, &challenge(&second, "Digest realm=\"biloxi.example.com\", nonce=\"2\""));
    let refused = find(&sent, "SIP/2.0 407");
    assert_eq!(header(&refused, "CSeq"), "5 INVITE");
    node.receive(A, &ack(&text, &refused));
    assert_eq!(node.metric("uac_challenges_answered"), 1);
}

#[test]
fn a_stale_nonce_is_replaced_but_not_for_ever() {
    let mut node = Node::new(Plan::Auth { tracked: false }, settings());
    let mut present = node.gets(A, &begin("INVITE", 5, ALICE), "INVITE");
    for round in 0..3 {
        let value = format!("{CHALLENGE}{round}, stale=true").replace("\"dcd98b\"", "\"dcd98b");
        let value = value.replacen(", stale", "\", stale", 1);
        present = answered(&mut node, &present, &value);
        assert_eq!(count(&present, "Proxy-Authorization"), 1);
    }
    let value = CHALLENGE.replace("dcd98b", "last") + ", stale=true";
    let sent = node.receive(B, &challenge(&present, &value));
    find(&sent, "SIP/2.0 407");
    assert_eq!(number(&present), 8);
}

#[test]
fn nobody_elses_next_hop_gets_credentials() {
    let mut node = Node::new(Plan::AuthThenElsewhere, settings());
    let invite = node.gets(A, &begin("INVITE", 5, ALICE), "INVITE");
    let second = answered(&mut node, &invite, CHALLENGE);
    let sent = node.receive(B, &response(&second, "503 Service Unavailable", ""));
    let elsewhere = find(&sent, "INVITE");
    assert_eq!(count(&elsewhere, "Proxy-Authorization"), 0, "{elsewhere}");
    assert_eq!(number(&elsewhere), 5);
    assert!(!header(&elsewhere, "Record-Route").contains(";cs="), "{elsewhere}");
}

#[test]
fn without_a_credential_the_challenge_passes() {
    let mut node = Node::new(Plan::Auth { tracked: false }, Settings::default());
    let invite = node.gets(A, &begin("INVITE", 5, ALICE), "INVITE");
    let passed = node.gets(B, &challenge(&invite, CHALLENGE), "SIP/2.0 407");
    assert_eq!(header(&passed, "Proxy-Authenticate"), CHALLENGE);
}

#[test]
fn a_number_may_be_left_alone() {
    let settings = Settings { raise_cseq: false, ..settings() };
    let mut node = Node::new(Plan::Auth { tracked: true }, settings);
    let invite = node.gets(A, &begin("INVITE", 5, ALICE), "INVITE");
    assert_eq!(number(&answered(&mut node, &invite, CHALLENGE)), 5);
}

/// Registrations as `[[uac.registration]]` has them.
pub(super) fn record(more: &[(&str, Value)]) -> Registration {
    let text = |text: &str| Value::String(text.to_owned());
    let mut entries = vec![
        ("l_uuid", text("u1")),
        ("l_username", text("bob")),
        ("l_domain", text("local.example")),
        ("r_username", text("trunk01")),
        ("r_domain", text("sip.provider.example")),
        ("realm", text("sip.provider.example")),
        ("auth_username", text("trunk01")),
        ("auth_password", text("pw1")),
        ("auth_proxy", text("sip:192.0.2.74:7074")),
        ("expires", Value::Integer(360)),
    ];
    for (key, value) in more {
        entries.retain(|(own, _)| own != key);
        entries.push((*key, value.clone()));
    }
    let mut configuration = Configuration::empty("test");
    for (key, value) in entries {
        configuration.set("one", key, Place::Source, value);
    }
    let (record, problems) =
        configuration.read(|root| Registration::from_section(&mut root.section("one")));
    assert_eq!(problems.to_string(), "");
    record.expect("a record")
}

/// A20.
#[test]
fn a_call_over_a_registration_has_its_credentials() {
    let mut settings = Settings::default();
    let proxy = Value::String(HOP.to_owned());
    settings.reg.registrations =
        vec![record(&[("auth_proxy", proxy), ("flags", Value::Integer(1))])];
    let mut node = Node::new(Plan::Over("bob"), settings);
    let invite = node.gets(A, &begin("INVITE", 5, ALICE), "INVITE");
    assert!(invite.starts_with("INVITE sip:trunk01@sip.provider.example"), "{invite}");
    let value = "Digest realm=\"sip.provider.example\", nonce=\"n\"";
    let again = answered(&mut node, &invite, value);
    assert!(header(&again, "Proxy-Authorization").contains("username=\"trunk01\""), "{again}");
    node.bench.advance(secs(1));
    sent(&mut node.bench);
}
