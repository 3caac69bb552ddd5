//! Octets that somebody might take for a line end: none of them makes a header for the next hop.
//!
//! For: request and response smuggling (RFC 3261 §7.3.1, §25.1), messages cut anywhere.
//! Not here: edits made by a routing (`core/sip/src/message/edits.rs`).

use crate::proxy::{CALLEE, Mail, Proxy, answer_to, request};

/// What some reader might end a line at; a bare CRLF is no smuggling but another header.
const ENDS: [&[u8]; 15] = [
    b"\r",
    b"\n",
    b"\r\r\n",
    b"\n\r",
    b"\r\0\n",
    b"\0\n",
    b"\0",
    b"\\\n",
    b"\\\r\n",
    b"%0d%0a",
    b"\xc0\x8d\xc0\x8a",
    b"\xe0\x80\x8d\xe0\x80\x8a",
    b"\xe2\x80\xa8",
    b"\xc2\x85",
    b"\x0b",
];

/// No line of the head begins with the smuggled name, wherever a careless reader ends lines.
fn is_clean(mail: &Mail) {
    let length = mail.bytes.len() - mail.message().body().len();
    let ends = |byte: &u8| matches!(byte, b'\r' | b'\n');
    for line in mail.bytes[..length].split(ends) {
        assert!(!line.starts_with(b"Evil"), "{}", mail.bytes.escape_ascii());
    }
    assert!(mail.message().header_named(b"Evil").is_none());
}

/// Puts every line end into every place of a good message and looks at what is sent.
fn smuggled(good: &[u8], mut hear: impl FnMut(&[u8]) -> Vec<Mail>) -> usize {
    let head = good.windows(4).position(|part| part == b"\r\n\r\n").expect("a head");
    let mut sent = 0;
    for at in 0..head {
        for end in ENDS {
            // With CRLF at its end the smuggler writes an honest header of his own.
            let before = [&good[..at], end].concat();
            if before.ends_with(b"\r\n") {
                continue;
            }
            let bytes = [&before, &b"Evil: 1"[..], &good[at..]].concat();
            // Where the text before it ends a line already, it is an honest header too.
            if good[..at].ends_with(b"\r\n") {
                continue;
            }
            for mail in hear(&bytes) {
                is_clean(&mail);
                sent += 1;
            }
        }
    }
    sent
}

#[test]
fn nothing_splits_a_header_of_a_request() {
    let lines = [("Subject", "\"a\\b\""), ("Contact", "\"Al\" <sip:alice@192.0.2.77>;x=\"y\"")];
    let good = request("MESSAGE", &lines, "");
    let sent = smuggled(&good, |bytes| Proxy::new().hear(bytes));
    assert!(sent > 1000, "only {sent} messages were looked at");
}

#[test]
fn nothing_splits_a_header_of_a_response() {
    let fresh = || {
        let mut proxy = Proxy::new();
        let relayed = proxy.reaction(&request("INVITE", &[("Subject", "x")], "")).remove(0);
        (proxy, answer_to(relayed.message(), 183))
    };
    let (_, good) = fresh();
    let sent = smuggled(&good, |bytes| fresh().0.hear_from(CALLEE, bytes));
    assert!(sent > 100, "only {sent} messages were looked at");
}

#[test]
fn an_escaped_nul_stays_inside_its_quotes() {
    let mut proxy = Proxy::new();
    let line = [("Subject", "\"\\\0Evil: 1\"")];
    let sent = proxy.hear(&request("MESSAGE", &line, ""));
    let kept = sent[0].message().header_named(b"Subject").expect("Subject");
    assert_eq!(kept.value, b"\"\\\0Evil: 1\"");
}

#[test]
fn a_fold_becomes_a_blank() {
    let mut proxy = Proxy::new();
    let line = [("Subject", "a\r\n Evil: 1\r\n\tEvil: 2")];
    let sent = proxy.hear(&request("MESSAGE", &line, ""));
    is_clean(&sent[0]);
}

#[test]
fn a_message_cut_anywhere_is_never_relayed() {
    let body = "v=0\r\no=- 1 1 IN IP4 192.0.2.77\r\n";
    let length = body.len().to_string();
    let whole = request("INVITE", &[("Content-Length", &length)], body);
    for end in 0..whole.len() {
        let mut proxy = Proxy::new();
        for mail in proxy.hear(&whole[..end]) {
            assert_eq!(mail.status(), 400, "cut at {end}");
        }
        assert!(proxy.bench.census().is_empty(), "cut at {end}");
    }
    assert_eq!(Proxy::new().reaction(&whole)[0].status(), 0);
}

#[test]
fn an_answer_cut_anywhere_is_never_relayed() {
    let mut proxy = Proxy::new();
    let relayed = proxy.reaction(&request("INVITE", &[], "")).remove(0);
    let answer = answer_to(relayed.message(), 200);
    for end in 0..answer.len() {
        assert!(proxy.hear_from(CALLEE, &answer[..end]).is_empty(), "cut at {end}");
    }
    assert_eq!(proxy.hear_from(CALLEE, &answer).len(), 1);
}
