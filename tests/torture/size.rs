//! Messages that are large where messages are small: refused or relayed, and in linear time.
//!
//! For: every field at 60 KB, header, Via and parameter bombs.
//! Not here: memory over many messages (`floods.rs`).
//! The measure is the growth of the best of several runs when the input grows eightfold: linear
//! work grows eightfold, quadratic work 64-fold. Neither the machine's speed nor a pause matters.

use crate::proxy::{CALLEE, Proxy, answer_to, request};
use std::time::{Duration, Instant};

const SMALL: usize = 7_500;
const FACTOR: usize = 8;
/// Between linear (8) and quadratic (64), with room for caches.
const GROWTH_MAX: f64 = 28.0;

/// A field of about so many octets, and what it is called.
type Bomb = (&'static str, fn(usize) -> Vec<u8>);

fn line(name: &str, value: String) -> Vec<u8> {
    request("MESSAGE", &[(name, &value)], "")
}

/// `part` again and again.
fn filled(part: &str, length: usize) -> String {
    part.repeat(length / part.len())
}

const BOMBS: &[Bomb] = &[
    ("method", |n| {
        let text = String::from_utf8(request("MESSAGE", &[], "")).expect("text");
        text.replacen("MESSAGE", &filled("M", n), 1).into_bytes()
    }),
    ("Request-URI", |n| {
        let text = String::from_utf8(request("MESSAGE", &[], "")).expect("text");
        text.replacen("bob", &filled("b", n), 1).into_bytes()
    }),
    ("Request-URI parameters", |n| {
        let text = String::from_utf8(request("MESSAGE", &[], "")).expect("text");
        text.replacen(" SIP/2.0", &format!("{} SIP/2.0", filled(";a=b", n)), 1).into_bytes()
    }),
    ("a name", |n| line(&filled("Z", n), "1".into())),
    ("a value", |n| line("Z", filled("x", n))),
    ("folds", |n| line("Z", filled("\r\n ", n) + "x")),
    ("blanks", |n| line("Z", filled(" ", n) + "x")),
    ("CRs", |n| line("Z", filled("\r", n))),
    ("backslashes and NULs", |n| line("Z", filled("\\\0", n))),
    ("backslashes before a NUL", |n| line("Z", filled("\\", n) + "\0")),
    ("Via", |n| line("Via", format!("SIP/2.0/UDP 192.0.2.77;branch=z9hG4bK{}", filled("b", n)))),
    ("Via parameters", |n| line("Via", format!("SIP/2.0/UDP 192.0.2.77{}", filled(";a=b", n)))),
    ("Via quotes", |n| line("Via", format!("SIP/2.0/UDP 192.0.2.77{}", filled(";a=\"", n)))),
    ("Vias in a line", |n| line("v", filled("SIP/2.0/UDP h,", n))),
    ("Vias in lines", |n| line("Z", "1".to_owned() + &filled("\r\nv: SIP/2.0/UDP h", n))),
    ("empty Vias", |n| line("v", filled(",", n))),
    ("From display", |n| line("From", format!("\"{}\" <sip:a@b>;tag=1", filled("\\\"", n)))),
    ("From tag", |n| line("From", format!("<sip:a@b>;tag={}", filled("t", n)))),
    ("From parameters", |n| line("From", format!("<sip:a@b>{}", filled(";a=\"\"", n)))),
    ("From brackets", |n| line("From", filled("<", n))),
    ("To", |n| line("To", format!("<sip:{}@b>", filled("u", n)))),
    ("To parameters", |n| line("To", format!("<sip:a@b{}>", filled(";p", n)))),
    ("Call-ID", |n| line("Call-ID", filled("c", n))),
    ("CSeq number", |n| line("CSeq", filled("0", n) + "1 MESSAGE")),
    ("CSeq method", |n| line("CSeq", format!("1 {}", filled("M", n)))),
    ("Max-Forwards", |n| line("Max-Forwards", filled("0", n) + "7")),
    ("Content-Length", |n| line("Content-Length", filled("0", n))),
    ("Route", |n| line("Route", filled("<sip:192.0.2.1;lr>,", n))),
    ("one Route", |n| line("Route", format!("<sip:192.0.2.1;lr{}>", filled(";r2", n)))),
    ("Record-Route", |n| line("Record-Route", filled("<a:b>,", n))),
    ("Contact", |n| line("Contact", filled("<sip:x>,", n))),
    ("Proxy-Require", |n| line("Proxy-Require", filled("t,", n))),
    ("Proxy-Requires", |n| line("Z", "1".to_owned() + &filled("\r\nProxy-Require: t", n))),
    ("headers", |n| line("Z", "1".to_owned() + &filled("\r\nZ: y", n))),
    ("Content-Lengths", |n| line("Z", "1".to_owned() + &filled("\r\nl: 0", n))),
    ("body", |n| request("MESSAGE", &[], &filled("\r\n", n))),
];

/// The best of several runs.
fn best(mut work: impl FnMut()) -> Duration {
    let run = |work: &mut dyn FnMut()| {
        let start = Instant::now();
        work();
        start.elapsed()
    };
    (0..9).map(|_| run(&mut work)).min().unwrap_or_default()
}

/// How much longer eight times the octets take.
fn growth(what: &str, hear: &mut dyn FnMut(&[u8]), bomb: fn(usize) -> Vec<u8>) {
    let (small, large) = (bomb(SMALL), bomb(SMALL * FACTOR));
    assert!(large.len() > 59_000 && large.len() < 65_000, "{what}: {} octets", large.len());
    // Scheduling may spoil one measurement, not three.
    let mut growth = f64::MAX;
    for _ in 0..3 {
        let (short, long) = (best(|| hear(&small)), best(|| hear(&large)));
        growth = growth.min(long.as_secs_f64() / short.as_secs_f64().max(1e-6));
        if growth < GROWTH_MAX {
            return;
        }
    }
    panic!("{what}: eight times the octets take {growth:.0} times as long");
}

#[test]
fn a_request_is_dealt_with_in_linear_time() {
    for (what, bomb) in BOMBS {
        let mut proxy = Proxy::new();
        growth(what, &mut |bytes| drop(proxy.hear(bytes)), *bomb);
        proxy.rest();
    }
}

#[test]
fn a_response_is_dealt_with_in_linear_time() {
    for (what, bomb) in BOMBS {
        let mut proxy = Proxy::new();
        let relayed = proxy.reaction(&request("MESSAGE", &[], "")).remove(0);
        let answer = answer_to(relayed.message(), 183);
        let mut hear = |bytes: &[u8]| {
            let start = bytes.windows(2).position(|part| part == b"\r\n").unwrap_or(0);
            let vias = answer.windows(5).position(|part| part == b"From:").unwrap_or(0);
            let response = [&answer[..vias], &bytes[start + 2..]].concat();
            drop(proxy.hear_from(CALLEE, &response));
        };
        growth(what, &mut hear, *bomb);
    }
}

#[test]
fn every_large_field_gets_one_reaction_at_most() {
    for (what, bomb) in BOMBS {
        let mut proxy = Proxy::new();
        let bytes = bomb(SMALL * FACTOR);
        let sent = proxy.reaction(&bytes);
        assert!(sent.len() <= 1, "{what}");
        let length: usize = sent.iter().map(|mail| mail.bytes.len()).sum();
        assert!(length < bytes.len() + 1000, "{what}: {length} octets came out");
        proxy.rest();
    }
}

#[test]
fn too_many_of_anything_is_513() {
    for what in ["headers", "Vias in a line", "Vias in lines", "Route", "Record-Route"] {
        let (_, bomb) = BOMBS.iter().find(|(name, _)| *name == what).expect("a bomb");
        let sent = Proxy::new().reaction(&bomb(SMALL * FACTOR));
        assert_eq!(sent[0].status(), 513, "{what}");
    }
}
