//! Responses that nobody waits for, and responses that are broken: none is relayed.
//!
//! For: RFC 3261 §16.7 step 1 and §18.1.2: a response finds a live transaction by a branch that
//! cannot be guessed, and is checked as strictly as a request.

use crate::proxy::{CALLEE, Mail, Proxy, answer_to, request, values};
use strowger_sip::message::HeaderName;
use strowger_sip::time::secs;

/// An INVITE that waits for its answer, as the callee got it, with a good answer to it.
fn ringing() -> (Proxy, Mail, String) {
    let mut proxy = Proxy::new();
    let relayed = proxy.reaction(&request("INVITE", &[], "")).remove(0);
    let answer = String::from_utf8(answer_to(relayed.message(), 200)).expect("text");
    (proxy, relayed, answer)
}

/// Nothing is relayed, and the response is counted under this reason.
fn is_dropped(answer: &str, counter: &str) {
    let (mut proxy, _, good) = ringing();
    assert_ne!(answer, good);
    let sent = proxy.hear_from(CALLEE, answer.as_bytes());
    assert!(sent.is_empty(), "relayed: {answer}");
    assert_eq!(proxy.count(counter), 1, "{answer}");
    assert_eq!(proxy.hear_from(CALLEE, good.as_bytes()).len(), 1, "{answer}");
}

#[test]
fn a_good_answer_is_relayed_from_wherever_it_comes() {
    let (mut proxy, _, answer) = ringing();
    assert_eq!(proxy.hear_from("203.0.113.99:1234", answer.as_bytes()).len(), 1);
}

#[test]
fn a_branch_that_is_not_exactly_ours_finds_nothing() {
    let (_, relayed, answer) = ringing();
    let via = relayed.message().top_via().expect("a Via");
    let branch = String::from_utf8(via.branch().expect("a branch").to_vec()).expect("text");
    for at in 0..branch.len() {
        let other = if branch.as_bytes()[at] == b'0' { '1' } else { '0' };
        let mut forged = branch.clone();
        forged.replace_range(at..=at, &other.to_string());
        // The middle of a branch only tells loops; the slot and the cookie find the transaction.
        if (25..41).contains(&at) {
            continue;
        }
        is_dropped(&answer.replace(&branch, &forged), "unmatched_responses_dropped");
    }
    let foreign = answer.replace(&branch, "z9hG4bK-524287-1---0f3eb40b11f97a9c");
    is_dropped(&foreign, "unmatched_responses_dropped");
}

#[test]
fn a_via_that_is_not_ours_or_stands_alone_is_not_followed() {
    let (_, _, answer) = ringing();
    is_dropped(&answer.replace("198.51.100.1", "198.51.100.2"), "via_mismatch_dropped");
    is_dropped(&answer.replace("198.51.100.1;", "198.51.100.1:5070;"), "via_mismatch_dropped");
    let second = answer.find("Via: SIP/2.0/UDP 192.0.2.77").expect("the caller's Via");
    let end = second + answer[second..].find("\r\n").expect("its end") + 2;
    let alone = format!("{}{}", &answer[..second], &answer[end..]);
    is_dropped(&alone, "via_mismatch_dropped");
}

#[test]
fn another_method_in_cseq_is_another_transaction() {
    let (_, _, answer) = ringing();
    for method in ["BYE", "CANCEL", "invite", "ACK"] {
        let other = answer.replace("1 INVITE", &format!("1 {method}"));
        is_dropped(&other, "unmatched_responses_dropped");
    }
}

#[test]
fn a_broken_response_is_dropped_as_a_broken_request_is_refused() {
    let (_, _, answer) = ringing();
    for (good, bad) in [
        ("SIP/2.0 200", "SIP/3.0 200"),
        ("SIP/2.0 200", "SIP/2.0 099"),
        ("SIP/2.0 200", "SIP/2.0 700"),
        ("SIP/2.0 200", "SIP/2.0 20"),
        ("SIP/2.0 200", "SIP/2.0 2000"),
        ("CSeq: 1 INVITE", "CSeq: 2147483648 INVITE"),
        ("CSeq: 1 INVITE", "CSeq: INVITE"),
        ("CSeq: 1 INVITE", "X: y"),
        ("Call-ID: ", "X: "),
        ("From: ", "X: "),
        ("To: ", "X: "),
        ("From: <sip:alice@192.0.2.77>", "From: <sip:alice@192.0.2.77"),
        ("From: <sip:alice@192.0.2.77>", "From: <sip:al ice@192.0.2.77>"),
        ("To: <sip:bob@203.0.113.20>", "To: \"Bob <sip:bob@203.0.113.20>"),
        ("To: <sip:bob@203.0.113.20>", "To: Bob, B <sip:bob@203.0.113.20>"),
        ("Call-ID: ", "Call-ID: two "),
        ("Call-ID: ", "Call-ID: second\r\nCall-ID: "),
        ("CSeq: ", "CSeq: 1 INVITE\r\nCSeq: "),
        ("From: ", "f: <sip:x@y>;tag=1\r\nFrom: "),
        ("Content-Length: 0", "Content-Length: 1"),
        ("Content-Length: 0", "Content-Length: -1"),
        ("Content-Length: 0", "Content-Length: 0\r\nl: 0"),
        ("Content-Length: 0\r\n\r\n", "Content-Length: 0\r\n"),
        ("From: ", "F\rrom: "),
        ("From: ", "X: a\nb\r\nFrom: "),
        ("From: ", "X: a\0b\r\nFrom: "),
    ] {
        assert!(answer.contains(good), "{good}: {answer}");
        is_dropped(&answer.replacen(good, bad, 1), "malformed_dropped");
    }
}

#[test]
fn an_answer_that_comes_too_late_is_dropped() {
    let (mut proxy, _, answer) = ringing();
    proxy.bench.advance(secs(3600));
    proxy.sent();
    assert!(proxy.hear_from(CALLEE, answer.as_bytes()).is_empty());
    proxy.rest();
}

#[test]
fn only_a_2xx_to_invite_is_relayed_again() {
    let (mut proxy, relayed, answer) = ringing();
    assert_eq!(proxy.hear_from(CALLEE, answer.as_bytes()).len(), 1);
    assert_eq!(proxy.hear_from(CALLEE, answer.as_bytes()).len(), 1);
    for status in [180, 199, 404, 503, 603] {
        assert!(proxy.answer(&relayed, status).is_empty(), "{status} after a 2xx");
    }
    let mut proxy = Proxy::new();
    let options = proxy.hear(&request("OPTIONS", &[], "")).remove(0);
    assert_eq!(proxy.answer(&options, 200).len(), 1);
    assert!(proxy.answer(&options, 200).is_empty(), "a second final response");
    proxy.rest();
}

#[test]
fn what_is_relayed_has_lost_our_via_alone() {
    let (mut proxy, _, answer) = ringing();
    let odd = answer.replace("From: ", "x-odd : \ta,,b ;\r\n c\r\nFrom: ");
    let sent = proxy.hear_from(CALLEE, odd.as_bytes());
    let vias = values(sent[0].message(), HeaderName::Via);
    assert!(vias.len() == 1 && vias[0].contains("branch=z9hG4bKhostile"), "{vias:?}");
    let kept = sent[0].message().header_named(b"X-Odd").expect("the odd header");
    assert_eq!(crate::proxy::unfolded(kept.value), "a,,b ; c");
}
