//! Other protocols on the SIP port: no answer, no state, and each datagram counted.
//!
//! For: STUN (RFC 7983 demultiplexing is not done here), RTP, RTCP, TLS, DTLS, HTTP, RTSP, DNS.

use crate::proxy::{Proxy, request};

/// A header of this many octets, then padding.
fn padded(head: &[u8], length: usize) -> Vec<u8> {
    let mut bytes = head.to_vec();
    let filling = (0..).map(|index: u32| index.to_le_bytes()[0]);
    bytes.extend(filling.take(length.saturating_sub(head.len())));
    bytes
}

/// Nothing comes of it but one count.
fn is_ignored(what: &str, bytes: &[u8]) {
    let mut proxy = Proxy::new();
    assert!(proxy.hear(bytes).is_empty(), "{what} is answered");
    assert!(proxy.bench.census().is_empty(), "{what} leaves state");
    let counters = ["keepalives_dropped", "rubbish_dropped", "malformed_dropped"];
    let counted: u64 = counters.iter().map(|counter| proxy.count(counter)).sum();
    assert_eq!(counted, 1, "{what}");
}

#[test]
fn binary_protocols_are_ignored() {
    is_ignored("STUN", b"\x00\x01\x00\x00\x21\x12\xa4\x42abcdefghijkl");
    is_ignored("long STUN", &padded(b"\x00\x01\x00\x58\x21\x12\xa4\x42", 108));
    is_ignored("TURN channel data", &padded(b"\x40\x00\x00\x50", 84));
    is_ignored("RTP", &padded(b"\x80\x00\x12\x34\x00\x00\x00\xa0\xde\xad\xbe\xef", 172));
    is_ignored("RTCP", &padded(b"\x80\xc8\x00\x06\xde\xad\xbe\xef", 64));
    is_ignored("TLS ClientHello", &padded(b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", 517));
    is_ignored("DTLS", &padded(b"\x16\xfe\xfd\x00\x00\x00\x00\x00\x00\x00\x00", 200));
    is_ignored("DNS", &padded(b"\x12\x34\x01\x00\x00\x01\x00\x00\x00\x00\x00\x00", 48));
    is_ignored("NULs", &[0; 1500]);
    is_ignored("ones", &[0xff; 1500]);
    is_ignored("nothing", b"");
}

#[test]
fn other_text_protocols_are_ignored() {
    for line in [
        "GET / HTTP/1.1",
        "OPTIONS * HTTP/1.1",
        "INVITE sip:bob@203.0.113.20 HTTP/1.1",
        "CONNECT 203.0.113.20:5060 HTTP/1.0",
        "DESCRIBE rtsp://203.0.113.20/x RTSP/1.0",
        "PRI * HTTP/2.0",
        "M-SEARCH * HTTP/1.1",
        "HTTP/1.1 200 OK",
        "RTSP/1.0 200 OK",
    ] {
        // With all the headers of a good request: only the first line tells.
        let text = String::from_utf8(request("OPTIONS", &[], "")).expect("text");
        let end = text.find('\r').expect("a line");
        is_ignored(line, format!("{line}{}", &text[end..]).as_bytes());
        is_ignored(line, format!("{line}\r\nHost: example.com\r\n\r\n").as_bytes());
    }
    is_ignored("SSH", b"SSH-2.0-OpenSSH_9.9 and a comment that makes it long enough\r\n");
    is_ignored("XML", b"<?xml version=\"1.0\"?><a>some document that is long enough</a>\r\n\r\n");
    is_ignored("a sentence", b"Mr. Watson, come here. I want to see you.\r\n\r\n");
}

#[test]
fn keep_alives_are_ignored() {
    for bytes in [&b"\r\n"[..], b"\r\n\r\n", b"\0", b"\0\0\0\0", b" ", b"jaK", b"PING"] {
        is_ignored("a keep-alive", bytes);
    }
}
