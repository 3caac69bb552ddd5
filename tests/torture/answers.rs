//! Refusals: every request that can be answered is, and with the status that says what is wrong.
//!
//! For: RFC 3261 §8.2, §16.3, RFC 5393; which parts of a broken request an answer can be made from.

use crate::proxy::{Proxy, request, unfolded, values};
use strowger_sip::message::HeaderName;

/// The status of the one answer to this; `None` when it is not answered.
fn status(bytes: &[u8]) -> Option<u16> {
    let mut proxy = Proxy::new();
    let sent = proxy.reaction(bytes);
    assert!(sent.len() <= 1, "{} answers to {}", sent.len(), bytes.escape_ascii());
    let status = sent.first().map(super::proxy::Mail::status);
    assert_ne!(status, Some(0), "relayed: {}", bytes.escape_ascii());
    proxy.rest();
    status
}

fn with(lines: &[(&str, &str)]) -> Option<u16> {
    status(&request("MESSAGE", lines, ""))
}

/// The first line is another one.
fn start(line: &str) -> Option<u16> {
    let text = String::from_utf8(request("MESSAGE", &[], "")).expect("text");
    let end = text.find('\r').expect("a line");
    status(format!("{line}{}", &text[end..]).as_bytes())
}

#[test]
fn each_mistake_has_its_status() {
    assert_eq!(start("MESSAGE sip:bob@@203.0.113.20 SIP/2.0"), Some(400));
    assert_eq!(start("MESSAGE sip:bob@203.0.113.20:70000 SIP/2.0"), Some(400));
    assert_eq!(start("MESSAGE sip:bob@203.0.113.20"), Some(400));
    assert_eq!(start("MESSAGE  sip:bob@203.0.113.20 SIP/2.0"), Some(400));
    assert_eq!(start("MESSAGE sip:bob@203.0.113.20?Subject=x SIP/2.0"), Some(400));
    assert_eq!(start("MESSAGE http://203.0.113.20/ SIP/2.0"), Some(416));
    assert_eq!(start("MESSAGE urn:service:sos SIP/2.0"), Some(416));
    assert_eq!(start("MESSAGE sip:bob@203.0.113.20 SIP/3.0"), Some(505));
    assert_eq!(start("MESSAGE sip:bob@203.0.113.20 SIP/2.00"), Some(505));
    let long = "b".repeat(2000);
    assert_eq!(start(&format!("MESSAGE sip:{long}@203.0.113.20 SIP/2.0")), Some(414));
    assert_eq!(with(&[("Proxy-Require", "teleport")]), Some(420));
    assert_eq!(with(&[("Max-Forwards", "0")]), Some(483));
    assert_eq!(with(&[("Max-Forwards", "many")]), Some(400));
    assert_eq!(with(&[("Max-Forwards", "256")]), Some(400));
    assert_eq!(with(&[("Max-Forwards", "")]), Some(400));
    assert_eq!(with(&[("Max-Breadth", "0")]), Some(440));
    assert_eq!(with(&[("Max-Breadth", "wide")]), Some(400));
    assert_eq!(with(&[("CSeq", "1 BYE")]), Some(400));
    assert_eq!(with(&[("Route", "<sip:192.0.2.1")]), Some(400));
    assert_eq!(with(&[("Route", "sip:")]), Some(400));
    let vias = "SIP/2.0/UDP h;branch=z9hG4bK1,".repeat(100);
    assert_eq!(with(&[("v", &vias)]), Some(513));
}

#[test]
fn every_extension_is_named_in_unsupported() {
    let lines = [("Proxy-Require", "one, two"), ("Proxy-require", "three")];
    let sent = Proxy::new().hear(&request("OPTIONS", &lines, ""));
    let named = values(sent[0].message(), HeaderName::Unsupported).join(", ");
    assert_eq!((sent[0].status(), named.as_str()), (420, "one, two, three"));
}

#[test]
fn a_loop_is_told_apart_from_a_spiral() {
    let mut proxy = Proxy::new();
    let out = proxy.hear(&request("MESSAGE", &[], "")).remove(0);
    let back = proxy.hear(&out.bytes);
    assert_eq!(back.iter().map(super::proxy::Mail::status).collect::<Vec<_>>(), [482]);
    let text = String::from_utf8(out.bytes.clone()).expect("text");
    let mut proxy = Proxy::new();
    let _ = proxy.hear(&request("MESSAGE", &[], ""));
    let spiral = proxy.hear(text.replacen("bob@", "carol@", 1).as_bytes());
    assert!(spiral[0].bytes.starts_with(b"MESSAGE sip:carol@"));
}

#[test]
fn what_is_broken_is_repeated_as_far_as_it_goes() {
    let broken = [
        ("From", "\"Alice <sip:alice@192.0.2.77>;tag=a"),
        ("From", "<sip:alice@192.0.2.77;tag=a"),
        ("From", ""),
        ("To", "<sip:bob@203.0.113.20> x"),
        ("To", "Bob, the <sip:bob@203.0.113.20>"),
        ("Call-ID", "two words"),
        ("Call-ID", ""),
        ("CSeq", "MESSAGE"),
        ("CSeq", "99999999999 MESSAGE"),
        ("CSeq", "1"),
    ];
    for (name, value) in broken {
        let sent = Proxy::new().reaction(&request("MESSAGE", &[(name, value)], ""));
        assert_eq!(sent.len(), 1, "{name}: {value}");
        assert_eq!(sent[0].status(), 400, "{name}: {value}");
        let repeated = sent[0].message().header_named(name.as_bytes()).expect("the header");
        let repeated = unfolded(repeated.value);
        assert!(repeated.starts_with(&unfolded(value.as_bytes())), "{name}: {repeated}");
    }
}

#[test]
fn what_is_missing_is_left_out_of_the_answer() {
    for name in ["From", "To", "Call-ID"] {
        let text = String::from_utf8(request("MESSAGE", &[], "")).expect("text");
        let without = text.replace(&format!("\r\n{name}: "), "\r\nZ: ");
        let sent = Proxy::new().reaction(without.as_bytes());
        assert_eq!(sent[0].status(), 400, "{name}");
        assert!(sent[0].message().header_named(name.as_bytes()).is_none(), "{name}");
    }
}

#[test]
fn without_via_or_cseq_no_answer_would_find_its_way() {
    for name in ["Via", "CSeq"] {
        let text = String::from_utf8(request("MESSAGE", &[], "")).expect("text");
        let without = text.replace(&format!("\r\n{name}: "), "\r\nZ: ");
        let mut proxy = Proxy::new();
        assert!(proxy.hear(without.as_bytes()).is_empty(), "{name}");
        assert_eq!(proxy.count("malformed_dropped"), 1, "{name}");
    }
    for via in ["", "SIP/2.0/UDP", "HTTP/2.0/UDP h", "SIP/2.0/UDP [::1;branch=x", ";;"] {
        assert_eq!(with(&[("Via", via)]), None, "{via:?}");
    }
}

#[test]
fn an_ack_is_never_answered() {
    for lines in [
        &[("Max-Forwards", "0")][..],
        &[("Max-Forwards", "many")],
        &[("Proxy-Require", "teleport")],
        &[("CSeq", "1 INVITE")],
        &[("CSeq", "one ACK")],
        &[("From", "<")],
        &[("Content-Length", "9")],
        &[("Max-Breadth", "-1")],
    ] {
        assert_eq!(status(&request("ACK", lines, "")), None, "{lines:?}");
    }
    assert_eq!(with(&[("CSeq", "1 ACK")]), None);
}

#[test]
fn a_cancel_for_nothing_gets_481_and_leaves_nothing() {
    let mut proxy = Proxy::new();
    let sent = proxy.hear(&request("CANCEL", &[], ""));
    assert_eq!(sent[0].status(), 481);
    assert!(proxy.bench.census().is_empty());
}
