//! Forwarded requests and responses: RFC 3261 §16.6 and §16.7.
//!
//! For: emitting a received message with what a proxy must change and what a routing wants changed.
//! Not here: deciding the changes (`proxy/`).
//! Invariants: linear in the message and the changes; a message without edits is copied in a
//! handful of runs.

use std::net::IpAddr;

use super::super::edits::{Edits, Fate, NO_EDITS, NewBody, Pass};
use super::super::head::Entry;
use super::super::header::HeaderName;
use super::super::list::{Item, List};
use super::super::message::{Message, StartLine};
use super::super::octet::slice;
use super::sink::{Sink, Stamp};

/// What forwarding changes in a request.
#[derive(Clone, Copy)]
pub struct RequestChanges<'c> {
    /// The new Request-URI.
    pub request_uri: &'c [u8],
    /// The new Max-Forwards.
    pub max_forwards: u32,
    /// The new Max-Breadth; `None` leaves it as it was.
    pub max_breadth: Option<u32>,
    /// Own Via values, topmost first.
    pub vias: &'c [&'c [u8]],
    /// What becomes of the topmost Via that was received.
    pub top_via: TopVia,
    /// Own Record-Route values, topmost first.
    pub record_routes: &'c [&'c [u8]],
    /// What becomes of the Route values.
    pub routes: RouteChanges<'c>,
    /// What a routing wants changed.
    pub edits: &'c Edits,
}

/// What becomes of the topmost Via that was received.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum TopVia {
    /// Nothing.
    #[default]
    Keep,
    /// Parameters that say where the message came from (RFC 3261 §18.2.1, RFC 3581 §4). They
    /// replace what was there.
    Stamp {
        /// The value of `received`; `None` leaves it as it was.
        received: Option<IpAddr>,
        /// The value of `rport`; `None` leaves it as it was.
        rport: Option<u16>,
    },
}

impl TopVia {
    pub(super) fn stamp(self) -> Option<Stamp> {
        match self {
            TopVia::Keep => None,
            TopVia::Stamp { received: None, rport: None } => None,
            TopVia::Stamp { received, rport } => Some(Stamp { received, rport }),
        }
    }
}

/// What becomes of the Route values (§16.4, §16.6 steps 4 and 6, §16.12). The default changes
/// nothing.
#[derive(Clone, Copy, Debug, Default)]
pub struct RouteChanges<'c> {
    /// Removes this many values from the top.
    pub drop_first: usize,
    /// Removes this many values from the end.
    pub drop_last: usize,
    /// Puts values on top, the first one topmost; each with its angle brackets.
    pub push: &'c [&'c [u8]],
    /// Adds a URI at the end, in angle brackets (§25.1: a route-param is a name-addr).
    pub append: Option<&'c [u8]>,
}

/// What forwarding changes in a response, beside removing the topmost Via value.
#[derive(Clone, Copy)]
pub struct ResponseChanges<'c> {
    /// What a routing wants changed.
    pub edits: &'c Edits,
}

impl Default for ResponseChanges<'_> {
    fn default() -> Self {
        ResponseChanges { edits: &NO_EDITS }
    }
}

/// Emits a request as it goes on to the next hop; `message` is a request.
pub fn write_forwarded_request(
    message: Message<'_>,
    changes: &RequestChanges<'_>,
    out: &mut Vec<u8>,
) {
    let StartLine::Request { method, .. } = message.start_line() else {
        debug_assert!(false, "only a request is forwarded as a request");
        return;
    };
    out.reserve(message.bytes().len());
    let mut sink = Sink::new(message, out);
    sink.raw(method.as_bytes());
    sink.raw(b" ");
    sink.clean(changes.request_uri);
    sink.raw(b" SIP/2.0\r\n");
    for via in changes.vias {
        sink.line(b"Via", via);
    }
    let mut copy = FieldCopy::new(message, changes.edits);
    let mut stamp = changes.top_via.stamp();
    let mut routes = RouteCut::new(message, &changes.routes);
    let mut is_above_all = true;
    for entry in &message.head.entries {
        if is_above_all && entry.name != HeaderName::Via {
            is_above_all = false;
            write_top(&mut sink, changes);
        }
        if entry.name == HeaderName::Via {
            keep_via(&mut sink, message, entry, &mut stamp);
        } else if entry.name == HeaderName::Route {
            match copy.fate(entry) {
                Fate::Keep => routes.keep(&mut sink, message, entry),
                fate @ (Fate::Remove | Fate::Replace(_)) => {
                    routes.pass_over(message, entry);
                    copy.apply(&mut sink, entry, fate);
                }
            }
        } else if !is_rewritten(entry.name, changes) {
            copy.keep(&mut sink, entry);
        }
    }
    if is_above_all {
        write_top(&mut sink, changes);
    }
    if let Some(route) = changes.routes.append {
        sink.raw(b"Route: <");
        sink.clean(route);
        sink.raw(b">\r\n");
    }
    copy.finish(sink);
}

/// Whether a new line stands for this one.
fn is_rewritten(name: HeaderName, changes: &RequestChanges<'_>) -> bool {
    name == HeaderName::MaxForwards
        || (name == HeaderName::MaxBreadth && changes.max_breadth.is_some())
}

/// The lines that a proxy adds: below all Via lines, above everything else.
fn write_top(sink: &mut Sink<'_, '_>, changes: &RequestChanges<'_>) {
    for record_route in changes.record_routes {
        sink.line(b"Record-Route", record_route);
    }
    for route in changes.routes.push {
        sink.line(b"Route", route);
    }
    sink.raw(b"Max-Forwards: ");
    sink.decimal(changes.max_forwards as usize);
    sink.raw(b"\r\n");
    if let Some(breadth) = changes.max_breadth {
        sink.raw(b"Max-Breadth: ");
        sink.decimal(breadth as usize);
        sink.raw(b"\r\n");
    }
    for line in changes.edits.inserted() {
        sink.raw(line);
    }
}

/// Copies a Via line; the first one that has a value takes the stamp.
pub(super) fn keep_via(
    sink: &mut Sink<'_, '_>,
    message: Message<'_>,
    entry: &Entry,
    stamp: &mut Option<Stamp>,
) {
    let Some(wanted) = *stamp else { return sink.keep(entry) };
    let field = message.field(entry);
    match List::new(field.value).next() {
        Some(top) => {
            sink.stamped_via(top.bytes, after(field.value, top), wanted);
            *stamp = None;
        }
        None => sink.keep(entry),
    }
}

/// Emits a response as it goes back to the previous hop, without its topmost Via value; `message`
/// is a response.
pub fn write_forwarded_response(
    message: Message<'_>,
    changes: &ResponseChanges<'_>,
    out: &mut Vec<u8>,
) {
    let StartLine::Response { status, reason } = message.start_line() else {
        debug_assert!(false, "only a response is forwarded as a response");
        return;
    };
    out.reserve(message.bytes().len());
    let mut sink = Sink::new(message, out);
    sink.raw(b"SIP/2.0 ");
    sink.decimal(usize::from(status.code()));
    sink.raw(b" ");
    sink.clean(reason);
    sink.raw(b"\r\n");
    let mut copy = FieldCopy::new(message, changes.edits);
    let mut has_top_via = true;
    let mut is_above_all = true;
    for entry in &message.head.entries {
        if is_above_all && entry.name != HeaderName::Via {
            is_above_all = false;
            copy.insert(&mut sink);
        }
        if entry.name == HeaderName::Via && has_top_via {
            has_top_via = !drop_top_via(&mut sink, message, entry);
        } else {
            copy.keep(&mut sink, entry);
        }
    }
    if is_above_all {
        copy.insert(&mut sink);
    }
    copy.finish(sink);
}

/// Copies a Via line without its first value; tells whether it had one.
fn drop_top_via(sink: &mut Sink<'_, '_>, message: Message<'_>, entry: &Entry) -> bool {
    let value = message.field(entry).value;
    let Some(top) = List::new(value).next() else { return false };
    let rest = after(value, top);
    if !rest.is_empty() {
        sink.line(b"Via", rest);
    }
    true
}

/// The items of a list behind one of them; empty when there is none.
fn after<'a>(value: &'a [u8], item: Item<'_>) -> &'a [u8] {
    let rest = slice(value, item.next, value.len());
    List::new(rest).next().map_or(b"", |next| slice(rest, next.offset, rest.len()))
}

/// Copies fields, edits applied.
struct FieldCopy<'a, 'c> {
    message: Message<'a>,
    edits: &'c Edits,
    pass: Option<Pass<'c>>,
    body: NewBody<'c>,
}

impl<'a, 'c> FieldCopy<'a, 'c> {
    fn new(message: Message<'a>, edits: &'c Edits) -> FieldCopy<'a, 'c> {
        let pass = (!edits.is_empty()).then(|| edits.pass());
        FieldCopy { message, edits, pass, body: edits.body() }
    }

    /// Asked exactly once of each field, in order: edits count them.
    fn fate(&mut self, entry: &Entry) -> Fate<'c> {
        match &mut self.pass {
            Some(pass) => pass.fate(&self.message.field(entry)),
            None => Fate::Keep,
        }
    }

    #[inline]
    fn keep(&mut self, sink: &mut Sink<'_, '_>, entry: &Entry) {
        if entry.name == HeaderName::ContentLength {
            return;
        }
        // Without edits, which is nearly always, there is nothing to ask.
        if self.pass.is_none() {
            return sink.keep(entry);
        }
        self.keep_edited(sink, entry);
    }

    fn keep_edited(&mut self, sink: &mut Sink<'_, '_>, entry: &Entry) {
        let is_body_new = !matches!(self.body, NewBody::Keep);
        if is_body_new && entry.name == HeaderName::ContentType {
            return;
        }
        let fate = self.fate(entry);
        self.apply(sink, entry, fate);
    }

    fn apply(&self, sink: &mut Sink<'_, '_>, entry: &Entry, fate: Fate<'_>) {
        match fate {
            Fate::Keep => sink.keep(entry),
            Fate::Remove => {}
            Fate::Replace(value) => sink.line(self.message.field(entry).name_bytes, value),
        }
    }

    fn insert(&self, sink: &mut Sink<'_, '_>) {
        for line in self.edits.inserted() {
            sink.raw(line);
        }
    }

    fn finish(self, mut sink: Sink<'_, '_>) {
        for line in self.edits.appended() {
            sink.raw(line);
        }
        match self.body {
            NewBody::Keep => sink.finish(self.message.body()),
            NewBody::Remove => sink.finish(b""),
            NewBody::Replace { content_type, body } => {
                sink.line(b"Content-Type", content_type);
                sink.finish(body);
            }
        }
    }
}

/// Cuts values off both ends of the Route list.
struct RouteCut {
    /// The values from here ...
    first: usize,
    /// ... to before here are kept.
    end: usize,
    seen: usize,
}

impl RouteCut {
    fn new(message: Message<'_>, changes: &RouteChanges<'_>) -> RouteCut {
        let end = match changes.drop_last {
            0 => usize::MAX,
            last => message.values(HeaderName::Route).count().saturating_sub(last),
        };
        RouteCut { first: changes.drop_first, end, seen: 0 }
    }

    /// Counts the values of a line that an edit has taken charge of.
    fn pass_over(&mut self, message: Message<'_>, entry: &Entry) {
        self.seen += List::new(message.field(entry).value).count();
    }

    fn keep(&mut self, sink: &mut Sink<'_, '_>, message: Message<'_>, entry: &Entry) {
        if self.first <= self.seen && self.end == usize::MAX {
            return sink.keep(entry);
        }
        let mut is_open = false;
        for value in List::new(message.field(entry).value) {
            if self.seen >= self.first && self.seen < self.end {
                sink.raw(if is_open { b", " } else { b"Route: " });
                sink.clean(value.bytes);
                is_open = true;
            }
            self.seen += 1;
        }
        if is_open {
            sink.raw(b"\r\n");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::super::head::Head;
    use super::*;
    use crate::limits::Limits;

    const CHANGES: RequestChanges<'static> = RequestChanges {
        request_uri: b"sip:b",
        max_forwards: 69,
        max_breadth: None,
        vias: &[b"SIP/2.0/UDP p;branch=z9hG4bK1"],
        top_via: TopVia::Keep,
        record_routes: &[],
        routes: RouteChanges { drop_first: 0, drop_last: 0, push: &[], append: None },
        edits: &NO_EDITS,
    };

    /// Forwards a BYE with these header lines; gives the header lines behind the own Via.
    fn forward(lines: &str, changes: &RequestChanges<'_>) -> String {
        let text = format!("BYE sip:a SIP/2.0\r\n{lines}\r\n");
        let mut head = Head::default();
        head.parse(text.as_bytes(), &Limits::DATAGRAM).expect("a good message");
        let mut out = Vec::new();
        write_forwarded_request(head.message(text.as_bytes()), changes, &mut out);
        let out = String::from_utf8(out).expect("text");
        let front = "BYE sip:b SIP/2.0\r\nVia: SIP/2.0/UDP p;branch=z9hG4bK1\r\n";
        out.strip_prefix(front).expect("the front").replace("\r\n", "\n")
    }

    fn respond(lines: &str, changes: &ResponseChanges<'_>) -> String {
        let text = format!("SIP/2.0 200 OK\r\n{lines}\r\n");
        let mut head = Head::default();
        head.parse(text.as_bytes(), &Limits::DATAGRAM).expect("a good message");
        let mut out = Vec::new();
        write_forwarded_response(head.message(text.as_bytes()), changes, &mut out);
        let out = String::from_utf8(out).expect("text");
        out.strip_prefix("SIP/2.0 200 OK\r\n").expect("the front").replace("\r\n", "\n")
    }

    #[test]
    fn a_request_goes_on_with_its_headers_in_order() {
        let lines =
            "Via: x\r\nMax-Forwards: 70\r\nX-Unknown:  y \r\nTo: z\r\nContent-Length: 0\r\n";
        assert_eq!(
            forward(lines, &CHANGES),
            "Via: x\nMax-Forwards: 69\nX-Unknown:  y \nTo: z\nContent-Length: 0\n\n"
        );
    }

    #[test]
    fn max_forwards_and_content_length_are_added_when_missing() {
        assert_eq!(forward("", &CHANGES), "Max-Forwards: 69\nContent-Length: 0\n\n");
    }

    #[test]
    fn octets_behind_the_body_are_not_passed_on() {
        let text = b"INFO sip:a SIP/2.0\r\nl: 2\r\n\r\nabc";
        let mut head = Head::default();
        head.parse(text, &Limits::DATAGRAM).expect("a good message");
        let mut out = Vec::new();
        write_forwarded_request(head.message(text), &CHANGES, &mut out);
        assert!(out.ends_with(b"Content-Length: 2\r\n\r\nab"));
    }

    #[test]
    fn own_record_routes_stand_above_received_ones() {
        let changes = RequestChanges { record_routes: &[b"<sip:2>", b"<sip:1>"], ..CHANGES };
        assert_eq!(
            forward("v: x\r\nRecord-Route: <sip:0>\r\n", &changes),
            "v: x\nRecord-Route: <sip:2>\nRecord-Route: <sip:1>\nMax-Forwards: 69\n\
             Record-Route: <sip:0>\nContent-Length: 0\n\n"
        );
    }

    #[test]
    fn the_top_via_is_stamped() {
        let stamp =
            |received: [u8; 4]| TopVia::Stamp { received: Some(received.into()), rport: Some(9) };
        let changes = RequestChanges { top_via: stamp([192, 0, 2, 9]), ..CHANGES };
        let lines =
            "v: SIP/2.0/UDP h ;rport; branch=b;received=1.1.1.1, SIP/2.0/UDP i;rport\r\nVia: j\r\n";
        let out = forward(lines, &changes);
        let via =
            "Via: SIP/2.0/UDP h;branch=b;received=192.0.2.9;rport=9, SIP/2.0/UDP i;rport\nVia: j\n";
        assert!(out.starts_with(via), "{out}");
    }

    #[test]
    fn a_stamp_of_nothing_changes_nothing() {
        let changes =
            RequestChanges { top_via: TopVia::Stamp { received: None, rport: None }, ..CHANGES };
        assert!(forward("v: h ;rport\r\n", &changes).starts_with("v: h ;rport\n"));
    }

    #[test]
    fn routes_are_cut_off_both_ends() {
        let lines =
            "Route: <sip:1>, <sip:2,2>\r\nTo: x\r\nRoute: <sip:3>\r\nRoute: <sip:4>,<sip:5>\r\n";
        let cut = |drop_first, drop_last| {
            let routes = RouteChanges { drop_first, drop_last, ..RouteChanges::default() };
            let out = forward(lines, &RequestChanges { routes, ..CHANGES });
            out.lines()
                .filter_map(|line| line.strip_prefix("Route: "))
                .collect::<Vec<_>>()
                .join("|")
        };
        assert_eq!(cut(0, 0), "<sip:1>, <sip:2,2>|<sip:3>|<sip:4>,<sip:5>");
        assert_eq!(cut(1, 0), "<sip:2,2>|<sip:3>|<sip:4>,<sip:5>");
        assert_eq!(cut(2, 1), "<sip:3>|<sip:4>");
        assert_eq!(cut(1, 4), "");
        assert_eq!(cut(9, 9), "");
    }

    #[test]
    fn routes_are_put_on_top_and_at_the_end() {
        let routes = RouteChanges {
            drop_first: 1,
            push: &[b"<sip:p>", b"<sip:q>"],
            append: Some(b"sip:last"),
            ..RouteChanges::default()
        };
        assert_eq!(
            forward("Route: <sip:1>\r\nRoute: <sip:2>\r\n", &RequestChanges { routes, ..CHANGES }),
            "Route: <sip:p>\nRoute: <sip:q>\nMax-Forwards: 69\nRoute: <sip:2>\n\
             Route: <sip:last>\nContent-Length: 0\n\n"
        );
    }

    #[test]
    fn folds_are_undone() {
        let out = forward("Subject: a \r\n  b\r\n\tc\r\nTo:\r\n x\r\n", &CHANGES);
        assert_eq!(out, "Max-Forwards: 69\nSubject: a b c\nTo: x\nContent-Length: 0\n\n");
    }

    #[test]
    fn edits_are_applied() {
        let mut edits = Edits::default();
        edits.remove(b"x-a").expect("an edit");
        edits.remove_nth(b"X-B", 1).expect("an edit");
        edits.replace(b"To", 0, b"new").expect("an edit");
        edits.append(b"X-End", b"e").expect("an edit");
        edits.insert_top(b"X-Two", b"2").expect("an edit");
        edits.insert_top(b"X-One", b"1").expect("an edit");
        let lines = "v: v\r\nX-A: 1\r\nX-B: 1\r\nt: old\r\nX-B: 2\r\nX-A: 2\r\nX-B: 3\r\n";
        assert_eq!(
            forward(lines, &RequestChanges { edits: &edits, ..CHANGES }),
            "v: v\nMax-Forwards: 69\nX-One: 1\nX-Two: 2\nX-B: 1\nt: new\nX-B: 3\nX-End: e\n\
             Content-Length: 0\n\n"
        );
    }

    #[test]
    fn a_replaced_body_brings_its_type_and_length() {
        let mut edits = Edits::default();
        edits.replace_body(b"text/plain", b"hello\r\n").expect("an edit");
        let changes = RequestChanges { edits: &edits, ..CHANGES };
        let out = forward("c: application/sdp\r\nl: 0\r\nTo: x\r\n", &changes);
        assert_eq!(
            out,
            "Max-Forwards: 69\nTo: x\nContent-Type: text/plain\nContent-Length: 7\n\nhello\n"
        );
        edits.remove_body();
        let out = forward("c: a/b\r\n", &RequestChanges { edits: &edits, ..CHANGES });
        assert_eq!(out, "Max-Forwards: 69\nContent-Length: 0\n\n");
    }

    #[test]
    fn edited_routes_do_not_disturb_the_cut() {
        let mut edits = Edits::default();
        edits.remove_nth(b"Route", 0).expect("an edit");
        edits.replace(b"Route", 2, b"<sip:new>").expect("an edit");
        let routes = RouteChanges { drop_first: 1, ..RouteChanges::default() };
        let lines = "Route: <sip:1>\r\nRoute: <sip:2>\r\nRoute: <sip:3>\r\n";
        let out = forward(lines, &RequestChanges { routes, edits: &edits, ..CHANGES });
        assert_eq!(
            out,
            "Max-Forwards: 69\nRoute: <sip:2>\nRoute: <sip:new>\nContent-Length: 0\n\n"
        );
    }

    #[test]
    fn a_response_loses_its_top_via_only() {
        let none = ResponseChanges::default();
        assert_eq!(
            respond("v: a\r\nVia: b\r\nTo: x\r\n", &none),
            "Via: b\nTo: x\nContent-Length: 0\n\n"
        );
        assert_eq!(respond("Via: a ,\r\n b, c\r\n", &none), "Via: b, c\nContent-Length: 0\n\n");
        assert_eq!(respond("Via: a,\r\nTo: x\r\n", &none), "To: x\nContent-Length: 0\n\n");
    }

    #[test]
    fn edits_of_a_response_are_applied() {
        let mut edits = Edits::default();
        edits.insert_top(b"X", b"1").expect("an edit");
        edits.remove(b"Server").expect("an edit");
        let out = respond("v: a\r\nServer: x\r\nTo: y\r\n", &ResponseChanges { edits: &edits });
        assert_eq!(out, "X: 1\nTo: y\nContent-Length: 0\n\n");
    }

    #[test]
    fn nothing_the_caller_hands_in_splits_a_line() {
        let changes = RequestChanges {
            request_uri: b"sip:b",
            vias: CHANGES.vias,
            record_routes: &[b"<sip:x>\r\nVia: evil"],
            ..CHANGES
        };
        assert!(forward("", &changes).starts_with("Record-Route: <sip:x> Via: evil\n"));
    }
}
