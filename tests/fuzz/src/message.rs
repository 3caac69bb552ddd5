//! Whole messages: what is read of them, answered and forwarded.
//!
//! Invariants: whatever is written is a message again, with the body it should have; the Call-ID
//! scan finds what the index finds; an accepted message is accepted again after forwarding.

use std::hint::black_box;
use strowger_sip::limits::Limits;
use strowger_sip::message::{
    Contacts, Framer, Head, HeaderName, Message, NO_EDITS, Reply, RequestChanges, ResponseChanges,
    RouteChanges, StatusCode, TopVia, scan_call_id, write_ack, write_cancel,
    write_forwarded_request, write_forwarded_response, write_reply,
};

/// Answers repeat more than a received message may have.
const WRITTEN: Limits = Limits {
    vias_max: usize::MAX,
    headers_max: usize::MAX,
    uri_bytes_max: 1 << 16,
    ..Limits::STREAM
};

/// Runs the target.
///
/// # Panics
/// When something does not hold.
pub fn run(data: &[u8]) {
    let mut head = Head::default();
    let accepted = head.parse(data, &Limits::DATAGRAM).is_ok();
    let message = head.message(data);
    read(message);
    let _ = black_box(Framer::default().next(data, &Limits::STREAM));
    let scanned = scan_call_id(data);
    if accepted {
        let indexed = message.header(HeaderName::CallId).map(|field| field.value);
        assert_eq!(scanned, indexed, "the scan and the index differ");
        forward(message);
    }
    if message.is_request() {
        let stamp = TopVia::Stamp { received: Some([192, 0, 2, 3].into()), rport: Some(5062) };
        let reply =
            Reply { to_tag: Some(b"t"), top_via: stamp, ..Reply::new(StatusCode::BAD_REQUEST) };
        let mut out = Vec::new();
        write_reply(message, &reply, &mut out);
        is_message(&out);
    }
}

fn is_message(bytes: &[u8]) -> Head {
    let mut head = Head::default();
    assert_eq!(head.parse(bytes, &WRITTEN), Ok(()), "{}", bytes.escape_ascii());
    head
}

fn forward(message: Message<'_>) {
    let mut out = Vec::new();
    if message.is_request() {
        let changes = RequestChanges {
            request_uri: message.request_uri().unwrap_or(b"sip:h"),
            max_forwards: 1,
            max_breadth: Some(1),
            vias: &[b"SIP/2.0/UDP p.example;branch=z9hG4bKown"],
            top_via: TopVia::Keep,
            record_routes: &[b"<sip:p.example;lr>"],
            routes: RouteChanges::default(),
            edits: &NO_EDITS,
        };
        write_forwarded_request(message, &changes, &mut out);
        let again = is_message(&out);
        let invite = again.message(&out);
        let mut more = Vec::new();
        write_cancel(invite, &[], &mut more);
        is_message(&more);
        let mut answer = Vec::new();
        write_reply(invite, &Reply::new(StatusCode::BUSY_HERE), &mut answer);
        more.clear();
        write_ack(invite, is_message(&answer).message(&answer), &mut more);
        is_message(&more);
    } else {
        write_forwarded_response(message, &ResponseChanges::default(), &mut out);
    }
    let again = is_message(&out);
    let forwarded = again.message(&out);
    assert_eq!(forwarded.body(), message.body(), "the body changed");
    assert_eq!(forwarded.call_id().ok(), message.call_id().ok(), "Call-ID changed");
    assert_eq!(forwarded.cseq().is_ok(), message.cseq().is_ok(), "CSeq changed");
}

/// Asks everything.
pub(crate) fn read(message: Message<'_>) {
    for field in message.fields() {
        black_box((field.name, field.value, field.line));
    }
    black_box((message.start_line(), message.method(), message.status(), message.body()));
    let _ = black_box((message.uri().is_ok(), message.top_via().is_ok()));
    for via in message.vias().flatten() {
        black_box((via.rport(), via.received_ip(), via.maddr(), via.ttl(), via.branch()));
    }
    for address in [message.from(), message.to()].into_iter().flatten() {
        black_box((address.tag(), address.uri().is_ok()));
    }
    for route in message.routes().chain(message.record_routes()).flatten() {
        black_box(route.uri().is_ok_and(|uri| uri.lr() || uri.r2()));
    }
    if let Ok(Contacts::List(contacts)) = message.contacts() {
        for contact in contacts.flatten() {
            black_box((contact.q(), contact.expires(), contact.uri().is_ok()));
        }
    }
    let _ = black_box((message.cseq(), message.max_forwards(), message.expires()));
    let _ = black_box((message.content_length(), message.call_id(), message.duplicate()));
    black_box((message.require().count(), message.supported().count()));
    black_box(message.proxy_require().count());
}
