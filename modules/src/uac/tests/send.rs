//! Requests of a routing's own: uac.md (h) A21.

use super::super::secret::Secret;
use super::super::{OwnRequest, Settings, TellWhen};
use super::rig::{A, B, HOP, Node, Plan, begin, count, find, header, number, response};
use crate::bench::sent;
use strowger_sip::time::secs;

fn node(request: OwnRequest) -> Node {
    Node::new(Plan::Send(Box::new(request)), Settings::default())
}

fn options() -> OwnRequest {
    OwnRequest::new("OPTIONS", HOP).call_id("fixed1").cseq(77).tell(TellWhen::Completion, "p")
}

#[test]
fn a_challenged_request_is_sent_again_and_told_of() {
    let mut node = node(options().credentials("u", Secret::password("p")));
    let first = node.gets(A, &begin("MESSAGE", 1, "<sip:a@b>"), "OPTIONS");
    assert_eq!(
        (header(&first, "CSeq"), header(&first, "Call-ID")),
        ("77 OPTIONS".into(), "fixed1".into())
    );
    let www = "WWW-Authenticate: Digest realm=\"r\", nonce=\"n\", qop=\"auth\"\n";
    let second = node.gets(B, &response(&first, "401 Unauthorized", www), "OPTIONS");
    assert_eq!(
        (header(&second, "CSeq"), header(&second, "Call-ID")),
        ("78 OPTIONS".into(), "fixed1".into())
    );
    assert_eq!(header(&second, "From"), header(&first, "From"));
    assert!(!header(&second, "To").contains("tag="), "{second}");
    assert!(header(&second, "Authorization").contains("uri=\"sip:192.0.2.20\""), "{second}");
    let done = node.gets(B, &response(&second, "200 OK", ""), "SIP/2.0 200");
    assert_eq!(header(&done, "CSeq"), "1 MESSAGE");
    assert_eq!(*node.log.borrow(), ["401/1 p", "200/1 p"]);
    assert_eq!(node.metric("uac_requests_sent"), 2);
}

#[test]
fn silence_is_408() {
    let mut node = node(options());
    node.gets(A, &begin("MESSAGE", 1, "<sip:a@b>"), "OPTIONS");
    node.bench.advance(secs(40));
    find(&sent(&mut node.bench), "SIP/2.0 408");
    assert_eq!(*node.log.borrow(), ["408/2 p"]);
}

#[test]
fn its_own_timeout_ends_it_earlier() {
    let mut node = node(options().timeout(secs(2)));
    node.gets(A, &begin("MESSAGE", 1, "<sip:a@b>"), "OPTIONS");
    node.bench.advance(secs(3));
    find(&sent(&mut node.bench), "SIP/2.0 408");
    node.bench.advance(secs(60));
    assert_eq!(*node.log.borrow(), ["408/2 p"]);
}

#[test]
fn refused_credentials_end_it() {
    let mut node = node(options().credentials("u", Secret::password("p")));
    let mut present = node.gets(A, &begin("MESSAGE", 1, "<sip:a@b>"), "OPTIONS");
    let www = "WWW-Authenticate: Digest realm=\"r\", nonce=\"n\"\n";
    present = node.gets(B, &response(&present, "401 Unauthorized", www), "OPTIONS");
    node.gets(B, &response(&present, "401 Unauthorized", www), "SIP/2.0 401");
    assert_eq!(*node.log.borrow(), ["401/1 p", "401/1 p"]);
}

#[test]
fn failures_alone_may_be_told_and_are_not_answered() {
    let request = options().credentials("u", Secret::password("p")).tell(TellWhen::Failure, "f");
    let mut node = node(request);
    let first = node.gets(A, &begin("MESSAGE", 1, "<sip:a@b>"), "OPTIONS");
    let www = "WWW-Authenticate: Digest realm=\"r\", nonce=\"n\"\n";
    node.gets(B, &response(&first, "401 Unauthorized", www), "SIP/2.0 401");
    assert_eq!(*node.log.borrow(), ["401/1 f"]);
}

#[test]
fn every_part_has_its_place() {
    let request = OwnRequest::new("INFO", "sip:x@192.0.2.20")
        .from("\"Me\" <sip:me@h>")
        .to("sip:you@h;user=phone")
        .from_tag("ft")
        .to_tag("tt")
        .header("X-A", "1\r\nX-B: 2")
        .header("From", "nobody")
        .header("Max-Forwards", "5")
        .next_hop("sip:192.0.2.20:5070")
        .socket("udp:192.0.2.1:5060")
        .body("text/plain", b"hello");
    let mut node = node(request);
    let sent = node.receive(A, &begin("MESSAGE", 1, "<sip:a@b>"));
    let info = find(&sent, "INFO sip:x@192.0.2.20 SIP/2.0");
    assert!(sent.iter().any(|sent| sent.to == "192.0.2.20:5070"));
    assert_eq!(header(&info, "From"), "\"Me\" <sip:me@h>;tag=ft");
    assert_eq!(header(&info, "To"), "<sip:you@h;user=phone>;tag=tt");
    assert_eq!((header(&info, "X-A"), count(&info, "X-B")), ("1X-B: 2".into(), 0));
    assert_eq!((header(&info, "Max-Forwards"), number(&info)), ("5".into(), 10));
    assert!(info.ends_with("Content-Type: text/plain\r\nContent-Length: 5\r\n\r\nhello"), "{info}");
}

#[test]
fn an_invite_of_ones_own_is_acknowledged() {
    let mut node = node(OwnRequest::new("INVITE", HOP));
    let invite = node.gets(A, &begin("MESSAGE", 1, "<sip:a@b>"), "INVITE");
    let sent = node.receive(B, &response(&invite, "200 OK", ""));
    let acked = find(&sent, "ACK sip:x@192.0.2.20");
    assert_eq!(number(&acked), number(&invite));
    find(&sent, "SIP/2.0 200");
}

#[test]
fn what_leads_nowhere_is_503() {
    let mut node = node(OwnRequest::new("OPTIONS", "sip:[2001:db8::7]"));
    node.gets(A, &begin("MESSAGE", 1, "<sip:a@b>"), "SIP/2.0 503");
}
