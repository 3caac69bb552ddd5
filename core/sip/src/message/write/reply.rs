//! Answers that this node makes itself: RFC 3261 §8.2.6.
//!
//! For: 100 Trying, refusals, answers of modules and routings.
//! Not here: relaying another's response (`forward.rs`), where an answer is sent (§18.2.2,
//! `proxy/`).
//! Invariants: may be given a request that failed to parse; copies what was found of it, one clean
//! line each.

use super::super::edits::{Edits, NO_EDITS};
use super::super::header::HeaderName;
use super::super::message::Message;
use super::super::octet::trim_end;
use super::super::status::StatusCode;
use super::forward::{TopVia, keep_via};
use super::sink::Sink;

/// An answer.
#[derive(Clone, Copy)]
pub struct Reply<'c> {
    /// The status.
    pub status: StatusCode,
    /// The phrase; `None` for the default one.
    pub reason: Option<&'c [u8]>,
    /// The tag that To gets if it has none. §8.2.6.2 wants one in every answer but 100.
    pub to_tag: Option<&'c [u8]>,
    /// What becomes of the topmost Via of the request.
    pub top_via: TopVia,
    /// More headers, in order.
    pub headers: &'c [(&'c [u8], &'c [u8])],
    /// Headers inserted and appended by edits; there is nothing received that others could change.
    pub edits: &'c Edits,
    /// Content-Type and body.
    pub body: Option<(&'c [u8], &'c [u8])>,
}

impl Reply<'_> {
    /// An answer with nothing but its status.
    pub const fn new(status: StatusCode) -> Self {
        Reply {
            status,
            reason: None,
            to_tag: None,
            top_via: TopVia::Keep,
            headers: &[],
            edits: &NO_EDITS,
            body: None,
        }
    }
}

/// Emits an answer to a request.
pub fn write_reply(request: Message<'_>, reply: &Reply<'_>, out: &mut Vec<u8>) {
    let mut sink = Sink::new(request, out);
    sink.raw(b"SIP/2.0 ");
    sink.decimal(usize::from(reply.status.code()));
    sink.raw(b" ");
    sink.clean(reply.reason.unwrap_or(reply.status.reason().as_bytes()));
    sink.raw(b"\r\n");
    let copies_route = copies_record_route(request, reply.status);
    let mut stamp = reply.top_via.stamp();
    for (index, entry) in request.head.entries.iter().enumerate() {
        let is_first = request.head.find(entry.name).is_some_and(|(first, _)| first == index);
        if entry.name == HeaderName::Via {
            keep_via(&mut sink, request, entry, &mut stamp);
        } else if entry.name == HeaderName::RecordRoute {
            if copies_route {
                sink.keep(entry);
            }
        } else if !is_first {
            // A second From, To, Call-ID or CSeq does not count.
        } else if entry.name == HeaderName::To {
            match reply.to_tag.filter(|_| request.to_tag().is_none()) {
                Some(tag) => {
                    sink.raw(b"To: ");
                    sink.clean(trim_end(request.field(entry).value));
                    sink.raw(b";tag=");
                    sink.clean(tag);
                    sink.raw(b"\r\n");
                }
                None => sink.keep(entry),
            }
        } else if is_copied(entry.name, reply.status) {
            sink.keep(entry);
        }
    }
    for (name, value) in reply.headers {
        sink.line(name, value);
    }
    for line in reply.edits.inserted().chain(reply.edits.appended()) {
        sink.raw(line);
    }
    if let Some((content_type, _)) = reply.body {
        sink.line(b"Content-Type", content_type);
    }
    sink.finish(reply.body.map_or(b"", |(_, body)| body));
}

/// Whether an answer repeats a header as it was (§8.2.6.1, §8.2.6.2).
fn is_copied(name: HeaderName, status: StatusCode) -> bool {
    name == HeaderName::From
        || name == HeaderName::CallId
        || name == HeaderName::CSeq
        || (name == HeaderName::Timestamp && status == StatusCode::TRYING)
}

/// Whether the answer can make a dialog, whose route set it then carries (§12.1.1).
fn copies_record_route(request: Message<'_>, status: StatusCode) -> bool {
    let makes_dialog = status.class() <= 2 && status != StatusCode::TRYING;
    makes_dialog && request.method().is_some_and(|method| method.kind().forms_dialog())
}

#[cfg(test)]
mod tests {
    use super::super::super::head::Head;
    use super::*;
    use crate::limits::Limits;

    const INVITE: &[u8] = include_bytes!("../../../../../tests/messages/invite.sip");

    fn reply_to(request: &[u8], reply: &Reply<'_>) -> String {
        let mut head = Head::default();
        let _ = head.parse(request, &Limits::DATAGRAM);
        let mut out = Vec::new();
        write_reply(head.message(request), reply, &mut out);
        String::from_utf8(out).expect("text").replace("\r\n", "\n")
    }

    #[test]
    fn trying_repeats_what_the_rfc_wants() {
        assert_eq!(
            reply_to(INVITE, &Reply::new(StatusCode::TRYING)),
            "SIP/2.0 100 Trying\n\
             Via: SIP/2.0/UDP pc33.atlanta.example:5060;branch=z9hG4bKnashds8;rport\n\
             From: \"Alice\" <sip:alice@atlanta.example>;tag=1928301774\n\
             To: Bob <sip:bob@biloxi.example>\n\
             Call-ID: a84b4c76e66710@pc33.atlanta.example\n\
             CSeq: 314159 INVITE\n\
             Content-Length: 0\n\n"
        );
    }

    #[test]
    fn to_gets_a_tag_only_if_it_has_none() {
        let reply = Reply { to_tag: Some(b"new"), ..Reply::new(StatusCode::NOT_FOUND) };
        assert!(reply_to(INVITE, &reply).contains("To: Bob <sip:bob@biloxi.example>;tag=new\n"));
        let bye = include_bytes!("../../../../../tests/messages/bye.sip");
        assert!(reply_to(bye, &reply).contains("To: Bob <sip:bob@biloxi.example>;tag=a6c85cf\n"));
    }

    #[test]
    fn all_vias_come_back_and_the_top_one_is_stamped() {
        let top_via = TopVia::Stamp { received: Some([192, 0, 2, 1].into()), rport: Some(5062) };
        let request = b"BYE sip:h SIP/2.0\r\nVia: SIP/2.0/UDP a;rport, b\r\nv: c\r\n\r\n";
        let out = reply_to(request, &Reply { top_via, ..Reply::new(StatusCode::OK) });
        assert!(
            out.contains("Via: SIP/2.0/UDP a;received=192.0.2.1;rport=5062, b\nv: c\n"),
            "{out}"
        );
    }

    #[test]
    fn record_route_comes_back_where_a_dialog_may_form() {
        let has_route = |method: &str, status| {
            let text = format!("{method} sip:h SIP/2.0\r\nRecord-Route: <sip:p>\r\n\r\n");
            reply_to(text.as_bytes(), &Reply::new(status)).contains("Record-Route: <sip:p>\n")
        };
        assert!(has_route("INVITE", StatusCode::RINGING) && has_route("SUBSCRIBE", StatusCode::OK));
        assert!(
            !has_route("INVITE", StatusCode::TRYING) && !has_route("INVITE", StatusCode::NOT_FOUND)
        );
        assert!(!has_route("REGISTER", StatusCode::OK));
    }

    #[test]
    fn timestamp_comes_back_in_100_only() {
        let request = b"INVITE sip:h SIP/2.0\r\nTimestamp: 54\r\n\r\n";
        assert!(reply_to(request, &Reply::new(StatusCode::TRYING)).contains("Timestamp: 54\n"));
        assert!(!reply_to(request, &Reply::new(StatusCode::OK)).contains("Timestamp"));
    }

    #[test]
    fn headers_and_body_are_added() {
        let reply = Reply {
            reason: Some(b"Nope\r\nVia: evil"),
            headers: &[(b"Retry-After", b"5"), (b"X", b"a\r\nb")],
            body: Some((b"text/plain", b"hi")),
            ..Reply::new(StatusCode::SERVICE_UNAVAILABLE)
        };
        assert_eq!(
            reply_to(b"BYE sip:h SIP/2.0\r\n\r\n", &reply),
            "SIP/2.0 503 Nope Via: evil\nRetry-After: 5\nX: a b\nContent-Type: text/plain\n\
             Content-Length: 2\n\nhi"
        );
    }

    #[test]
    fn a_broken_request_is_answered_on_clean_lines() {
        let request = b"BYE sip:h SIP/2.0\nVia: a\rEvil: x\nTo: b\nTo: c\nCall-ID: d\0e";
        assert_eq!(
            reply_to(request, &Reply::new(StatusCode::BAD_REQUEST)),
            "SIP/2.0 400 Bad Request\nVia: a Evil: x\nTo: b\nCall-ID: d e\nContent-Length: 0\n\n"
        );
    }
}
