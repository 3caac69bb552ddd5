//! Every message of `tests/messages`, mutilated in every way, through every reader and every
//! writer.
//!
//! For: showing that nothing a peer sends panics, and that whatever is written is a well-formed
//! message with as many headers as it should have.
//! Not here: what a good message says (each reader's own tests).

use std::hint::black_box;

use super::*;
use crate::limits::Limits;

const MESSAGES: &[&[u8]] = &[
    include_bytes!("../../../../tests/messages/invite.sip"),
    include_bytes!("../../../../tests/messages/ok-to-invite.sip"),
    include_bytes!("../../../../tests/messages/cancel.sip"),
    include_bytes!("../../../../tests/messages/register.sip"),
    include_bytes!("../../../../tests/messages/subscribe.sip"),
    include_bytes!("../../../../tests/messages/torture-white-space.sip"),
    include_bytes!("../../../../tests/messages/torture-odd-tokens.sip"),
    include_bytes!("../../../../tests/messages/torture-ipv6.sip"),
    include_bytes!("../../../../tests/messages/broken-version.sip"),
    include_bytes!("../../../../tests/messages/broken-content-length.sip"),
    include_bytes!("../../../../tests/messages/broken-uri-blank.sip"),
];

const OWN_VIA: &[u8] = b"SIP/2.0/UDP p.example;branch=z9hG4bKown";

/// Scratch, as a shard has it.
#[derive(Default)]
struct Bench {
    head: Head,
    again: Head,
    out: Vec<u8>,
}

impl Bench {
    /// Reads and writes one message in every way there is; tells whether it was accepted.
    fn run(&mut self, bytes: &[u8]) -> bool {
        let accepted = self.head.parse(bytes, &Limits::DATAGRAM).is_ok();
        let message = self.head.message(bytes);
        read(message);
        let _ = black_box(Framer::default().next(bytes, &Limits::STREAM));
        let scanned = scan_call_id(bytes);
        if accepted {
            assert_eq!(scanned, message.header(HeaderName::CallId).map(|field| field.value));
        }
        let top_via = TopVia::Stamp { received: Some([192, 0, 2, 3].into()), rport: Some(5062) };
        if message.is_request() {
            let to_tag = Some(&b"t"[..]);
            let reply = Reply { to_tag, top_via, ..Reply::new(StatusCode::BAD_REQUEST) };
            self.out.clear();
            write_reply(message, &reply, &mut self.out);
            // An answer repeats all Vias, however many.
            let limits = Limits { vias_max: usize::MAX, headers_max: usize::MAX, ..Limits::STREAM };
            assert_eq!(self.again.parse(&self.out, &limits), Ok(()));
        }
        if accepted {
            self.forward(bytes, top_via);
        }
        accepted
    }

    /// What is forwarded has the headers it had, and the own ones.
    fn forward(&mut self, bytes: &[u8], top_via: TopVia) {
        let message = self.head.message(bytes);
        let has = |name| usize::from(message.header(name).is_some());
        let before = message.fields().count()
            - message.headers(HeaderName::ContentLength).count()
            - message.headers(HeaderName::MaxForwards).count();
        self.out.clear();
        let expected = if message.is_request() {
            let changes = RequestChanges {
                request_uri: b"sip:next.example",
                max_forwards: 1,
                max_breadth: None,
                vias: &[OWN_VIA],
                top_via,
                record_routes: &[],
                routes: RouteChanges::default(),
                edits: &NO_EDITS,
            };
            write_forwarded_request(message, &changes, &mut self.out);
            before + 3
        } else {
            write_forwarded_response(message, &ResponseChanges::default(), &mut self.out);
            let first_via = message.header(HeaderName::Via).map_or(b"".as_slice(), |via| via.value);
            let values = list::List::new(first_via).count();
            if values == 0 {
                return; // Empty Via lines in front of the first value go with it.
            }
            let is_whole_line = values == 1;
            before + has(HeaderName::MaxForwards) + 1 - usize::from(is_whole_line)
        };
        let verdict = self.again.parse(&self.out, &Limits::STREAM);
        assert_eq!(verdict, Ok(()), "{}", self.out.escape_ascii());
        let forwarded = self.again.message(&self.out);
        assert_eq!(forwarded.fields().count(), expected, "{}", self.out.escape_ascii());
        assert_eq!(forwarded.body(), message.body());
        assert_eq!(forwarded.call_id().ok(), message.call_id().ok());
        assert_eq!(forwarded.from_tag().is_some(), message.from_tag().is_some());
    }
}

fn read(message: Message<'_>) {
    let read_address = |value: Result<NameAddr<'_>, ParseError>| {
        let uri = value.and_then(|value| value.uri());
        black_box(uri.map(|uri| (uri.lr(), uri.maddr().is_some(), uri.is_equivalent(&uri)))).is_ok()
    };
    for field in message.fields() {
        black_box(field.value);
        let _ = black_box(NameAddr::parse(field.value).map(|value| (value.q(), value.expires())));
        let _ = black_box(Uri::parse(field.value).is_ok());
        let _ = black_box(Host::parse(field.value).is_ok());
        let _ = black_box(Via::parse(field.value).map(|via| (via.rport(), via.received_ip())));
    }
    black_box(message.vias().filter(Result::is_ok).count());
    black_box(read_address(message.from()) || read_address(message.to()));
    black_box(message.routes().chain(message.record_routes()).filter(|r| r.is_ok()).count());
    if let Ok(Contacts::List(contacts)) = message.contacts() {
        black_box(contacts.map(read_address).count());
    }
    let _ = black_box((message.cseq(), message.max_forwards(), message.expires()));
    let _ = black_box((message.content_length(), message.call_id(), message.uri().is_ok()));
    black_box((message.require().count(), message.supported().count()));
}

#[test]
fn whole_messages_are_accepted_but_the_broken_ones() {
    let mut bench = Bench::default();
    let accepted = MESSAGES.iter().filter(|message| bench.run(message)).count();
    assert_eq!(accepted, MESSAGES.len() - 3);
}

#[test]
fn a_message_cut_at_any_octet_is_refused() {
    let mut bench = Bench::default();
    for message in MESSAGES {
        for end in 0..message.len() {
            assert!(!bench.run(&message[..end]), "cut at {end}");
        }
    }
}

#[test]
fn any_octet_may_be_another() {
    let mut bench = Bench::default();
    let mut copy = Vec::new();
    for message in MESSAGES {
        for at in 0..message.len() {
            for octet in *b"\0\r\n \t\"\\<>,;:=@%[(*/0\x7f\x80\xff" {
                copy.clear();
                copy.extend_from_slice(message);
                copy[at] = octet;
                bench.run(&copy);
            }
        }
    }
}

#[test]
fn any_octet_may_be_missing_or_twice() {
    let mut bench = Bench::default();
    for message in MESSAGES {
        for at in 0..message.len() {
            bench.run(&[&message[..at], &message[at + 1..]].concat());
            bench.run(&[&message[..=at], &message[at..]].concat());
        }
    }
}

#[test]
fn anything_may_stand_anywhere() {
    let mut bench = Bench::default();
    for message in MESSAGES {
        for at in (0..message.len()).step_by(3) {
            for junk in [&b"\r\n\r\n"[..], b"\r\n", b"\r\n ", b"\xc0\x8d\xc0\x8a", b"\\\0", b",,;;"]
            {
                bench.run(&[&message[..at], junk, &message[at..]].concat());
            }
        }
    }
}

#[test]
fn bombs_are_read_in_linear_time() {
    let mut bench = Bench::default();
    let front = "INVITE sip:h SIP/2.0\r\nVia: SIP/2.0/UDP h;branch=z9hG4bKx\r\n\
                 From: <sip:a>;tag=1\r\nTo: <sip:b>\r\nCall-ID: c\r\nCSeq: 1 INVITE\r\n";
    let bombs = [
        format!("Contact: <sip:x{}>", ";a=b".repeat(15_000)),
        format!("Contact: <sip:x>{}", ";a=\"\\\"\"".repeat(8_000)),
        format!("Contact: {}", "<sip:x>,".repeat(7_500)),
        format!("Contact: {}", "\"".repeat(60_000)),
        format!("Contact: {}", "<".repeat(60_000)),
        format!("Contact: {}", "\\".repeat(60_000)),
        format!("Contact: {}", "\\\0".repeat(30_000)),
        format!("Route: {}", ",".repeat(60_000)),
        format!("Route: {}", "a,".repeat(30_000)),
        format!("Via: {}", "SIP/2.0/UDP h,".repeat(4_000)),
        format!("Subject:{}x", "\r\n ".repeat(20_000)),
        format!("Subject:{}", " ".repeat(60_000)),
        format!("Subject: {}", "\r".repeat(60_000)),
        format!("X{}: y", "x".repeat(60_000)),
        "X: y\r\n".repeat(10_000),
        "v: SIP/2.0/UDP h\r\n".repeat(3_000),
        format!("Call-ID: {}", "c".repeat(60_000)),
        format!("CSeq: {}1 INVITE", "0".repeat(60_000)),
        format!("Max-Forwards: {}1", "0".repeat(60_000)),
    ];
    for bomb in bombs {
        bench.run(format!("{front}{bomb}\r\n\r\n").as_bytes());
        bench.run(format!("{front}{bomb}").as_bytes());
    }
}
