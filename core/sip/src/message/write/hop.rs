//! Requests that belong to an INVITE this node sent: ACK for a failure (RFC 3261 §17.1.1.3) and
//! CANCEL (§9.1).
//!
//! For: client transactions and response contexts.
//! Not here: the ACK of a 2xx, which is the caller's own request and is forwarded like one.
//! Invariants: both carry the INVITE's Request-URI, topmost Via, Route set and CSeq number.

use super::super::header::HeaderName;
use super::super::message::{Message, StartLine};
use super::sink::Sink;

/// What §8.1.1.6 recommends.
const MAX_FORWARDS: &[u8] = b"70";

/// Emits the ACK for a response of 300 to 699; `sent_invite` is the INVITE as it was sent.
pub fn write_ack(sent_invite: Message<'_>, response: Message<'_>, out: &mut Vec<u8>) {
    write_hop(sent_invite, response, b"ACK", &[], out);
}

/// Emits the CANCEL for an INVITE that was sent; `reasons` are Reason values (RFC 3326).
pub fn write_cancel(sent_invite: Message<'_>, reasons: &[&[u8]], out: &mut Vec<u8>) {
    write_hop(sent_invite, sent_invite, b"CANCEL", reasons, out);
}

/// `to_of` is the message whose To is taken.
fn write_hop(
    sent_invite: Message<'_>,
    to_of: Message<'_>,
    method: &[u8],
    reasons: &[&[u8]],
    out: &mut Vec<u8>,
) {
    let StartLine::Request { uri, .. } = sent_invite.start_line() else {
        debug_assert!(false, "only a sent request is acknowledged or cancelled");
        return;
    };
    let mut sink = Sink::new(sent_invite, out);
    sink.raw(method);
    sink.raw(b" ");
    sink.clean(uri);
    sink.raw(b" SIP/2.0\r\n");
    if let Some(via) = sent_invite.values(HeaderName::Via).next() {
        sink.line(b"Via", via.bytes);
    }
    sink.line(b"Max-Forwards", MAX_FORWARDS);
    for route in sent_invite.headers(HeaderName::Route) {
        sink.line(b"Route", route.value);
    }
    if let Some(from) = sent_invite.header(HeaderName::From) {
        sink.line(b"From", from.value);
    }
    if let Some(to) = to_of.header(HeaderName::To) {
        sink.line(b"To", to.value);
    }
    if let Some(call_id) = sent_invite.header(HeaderName::CallId) {
        sink.line(b"Call-ID", call_id.value);
    }
    if let Ok(cseq) = sent_invite.cseq() {
        sink.raw(b"CSeq: ");
        sink.decimal(cseq.number as usize);
        sink.raw(b" ");
        sink.raw(method);
        sink.raw(b"\r\n");
    }
    for reason in reasons {
        sink.line(b"Reason", reason);
    }
    sink.finish(b"");
}

#[cfg(test)]
mod tests {
    use super::super::super::head::Head;
    use super::*;
    use crate::limits::Limits;

    const INVITE: &[u8] = b"INVITE sip:b SIP/2.0\r\n\
        Via: SIP/2.0/UDP p;branch=z9hG4bK1, SIP/2.0/UDP q\r\nVia: SIP/2.0/UDP r\r\n\
        Route: <sip:1>\r\nRoute: <sip:2>,\r\n <sip:3>\r\nMax-Forwards: 69\r\n\
        From: <sip:f>;tag=1\r\nTo: <sip:t>\r\nCall-ID: c\r\nCSeq: 7 INVITE\r\n\
        Require: x\r\nContent-Length: 2\r\n\r\nab";

    fn parse(bytes: &[u8]) -> Head {
        let mut head = Head::default();
        head.parse(bytes, &Limits::DATAGRAM).expect("a good message");
        head
    }

    #[test]
    fn ack_takes_to_from_the_response_and_the_rest_from_the_invite() {
        let busy = include_bytes!("../../../../../tests/messages/busy-here.sip");
        let (invite, response) = (parse(INVITE), parse(busy));
        let mut out = Vec::new();
        write_ack(invite.message(INVITE), response.message(busy), &mut out);
        assert_eq!(
            String::from_utf8(out).expect("text").replace("\r\n", "\n"),
            "ACK sip:b SIP/2.0\nVia: SIP/2.0/UDP p;branch=z9hG4bK1\nMax-Forwards: 70\n\
             Route: <sip:1>\nRoute: <sip:2>, <sip:3>\nFrom: <sip:f>;tag=1\n\
             To: Bob <sip:bob@biloxi.example>;tag=a6c85cf\nCall-ID: c\nCSeq: 7 ACK\n\
             Content-Length: 0\n\n"
        );
    }

    #[test]
    fn cancel_is_the_invites_shadow() {
        let invite = parse(INVITE);
        let mut out = Vec::new();
        write_cancel(invite.message(INVITE), &[b"SIP;cause=200"], &mut out);
        assert_eq!(
            String::from_utf8(out).expect("text").replace("\r\n", "\n"),
            "CANCEL sip:b SIP/2.0\nVia: SIP/2.0/UDP p;branch=z9hG4bK1\nMax-Forwards: 70\n\
             Route: <sip:1>\nRoute: <sip:2>, <sip:3>\nFrom: <sip:f>;tag=1\nTo: <sip:t>\n\
             Call-ID: c\nCSeq: 7 CANCEL\nReason: SIP;cause=200\nContent-Length: 0\n\n"
        );
    }
}
