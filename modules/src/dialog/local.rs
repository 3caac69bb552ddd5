//! Requests of our own within a dialog: to one party in the name of the other.
//!
//! For: R-URI, route set, tags, numbers as the parties expect them (RFC 3261 §12.2.1.1).
//! Not here: when a request is sent and what its answer means (`end.rs`, `keepalive.rs`,
//! `refer.rs`).
//! Invariants: a request goes out over the listener at which its party is known.

use super::record::{Record, Side};
use super::table::DialogId;
use super::texts::Field;
use super::{Dialog, DialogEventKind, Token};
use std::io::Write;
use std::net::IpAddr;
use strowger_sip::message::{NameAddr, Uri};
use strowger_sip::module::host::NotSent;
use strowger_sip::module::{Heard, Host, Reach};
use strowger_sip::transport::Flow;

/// What a request says beside what the dialog says.
#[derive(Clone, Copy, Debug)]
pub(super) struct Local<'l> {
    pub(super) method: &'l str,
    pub(super) number: u32,
    /// Whole header lines.
    pub(super) headers: &'l [u8],
    pub(super) body: Option<(&'l str, &'l [u8])>,
}

/// Whether a request went out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Sent {
    Yes,
    /// Its next hop is being looked up.
    Later,
    No,
}

/// Where a request goes: the line's URI, the Route values and the next hop's URI.
struct Way {
    request_uri: Vec<u8>,
    routes: Vec<u8>,
    next_hop: Vec<u8>,
}

/// A contact as a NAT helper has written it: `;alias=ip~port~proto` says where it really is. The
/// URI without that, and the address as a URI.
fn unalias(contact: &[u8]) -> Option<(Vec<u8>, Vec<u8>)> {
    let uri = Uri::parse(contact).ok()?;
    let alias = uri.param(b"alias")??;
    let mut parts = alias.split(|byte| *byte == b'~');
    let (ip, port, proto) = (parts.next()?, parts.next()?, parts.next()?);
    let transport = match proto {
        b"1" => "udp",
        b"2" => "tcp",
        b"3" => "tls",
        _ => return None,
    };
    let scheme = if transport == "tls" { "sips" } else { "sip" };
    let ip = str::from_utf8(ip).ok()?;
    let port: u16 = str::from_utf8(port).ok()?.parse().ok()?;
    let place = format!("{scheme}:{ip}:{port};transport={transport}");
    Uri::parse(place.as_bytes()).ok()?;
    let text = [b";alias=", alias].concat();
    let at = contact.windows(text.len()).position(|part| part == text)?;
    let (before, rest) = contact.split_at_checked(at)?;
    let bare = [before, rest.get(text.len()..)?].concat();
    Some((bare, place.into_bytes()))
}

/// §12.2.1.1: along the route set to the target; a strict router wants its own URI in the line.
fn way(target: &[u8], routes: &[u8]) -> Option<Way> {
    let target = target.to_vec();
    let Some(first) = NameAddr::list(routes).next() else {
        let (request_uri, next_hop) = unalias(&target).unwrap_or((target.clone(), target));
        return Some(Way { request_uri, routes: Vec::new(), next_hop });
    };
    let first = first.ok()?;
    if first.uri().ok()?.lr() {
        let next_hop = first.uri.to_vec();
        return Some(Way { request_uri: target, routes: routes.to_vec(), next_hop });
    }
    let mut rest = Vec::new();
    for route in NameAddr::list(routes).skip(1).filter_map(Result::ok) {
        rest.extend_from_slice(route.raw);
        rest.push(b',');
    }
    rest.push(b'<');
    rest.extend_from_slice(&target);
    rest.push(b'>');
    let request_uri = first.uri.to_vec();
    Some(Way { next_hop: request_uri.clone(), request_uri, routes: rest })
}

/// Whether an address is of no use to who is not in its network (RFC 1918, RFC 6598, RFC 4193).
fn is_private(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(v4) => {
            let [a, b, ..] = v4.octets();
            v4.is_private() || v4.is_link_local() || (a == 100 && (64..128).contains(&b))
        }
        IpAddr::V6(v6) => v6.is_unique_local() || v6.is_unicast_link_local(),
    }
}

/// The socket pair by which a party is reached whose messages come straight from it, where its
/// contact alone does not lead there: a stream that it has opened, or a private address.
pub(super) fn own_flow(contact: &[u8], flow: Flow) -> Option<Flow> {
    if flow.connection.is_some() {
        return Some(flow);
    }
    let host = Uri::parse(contact).ok()?.host.ip()?;
    let hidden = is_private(host) && !is_private(flow.remote.ip()) && host != flow.remote.ip();
    hidden.then_some(flow)
}

impl Record {
    /// Notes where a party's messages come from.
    pub(super) fn note_flow(&mut self, side: Side, flow: Flow) {
        if self.text(side.routes()).is_empty() {
            self.leg_mut(side).flow = own_flow(self.text(side.contact()), flow);
        }
    }

    /// Writes a request without its Via; empty when the dialog does not know enough.
    fn write(&self, to: Side, local: &Local<'_>, out: &mut Vec<u8>) -> Option<Vec<u8>> {
        out.clear();
        let (contact, routes) = (self.text(to.contact()), self.text(to.routes()));
        if contact.is_empty() {
            return None;
        }
        let way = way(contact, routes)?;
        let tag = |side: Side| self.text(side.tag());
        let from = to.other();
        let mut line = |parts: &[&[u8]]| {
            parts.iter().for_each(|part| out.extend_from_slice(part));
            out.extend_from_slice(b"\r\n");
        };
        line(&[local.method.as_bytes(), b" ", &way.request_uri, b" SIP/2.0"]);
        if !way.routes.is_empty() {
            line(&[b"Route: ", &way.routes]);
        }
        line(&[b"From: <", self.text(from.uri()), b">;tag=", tag(from)]);
        let to_tag = tag(to);
        let mark: &[u8] = if to_tag.is_empty() { b"" } else { b";tag=" };
        line(&[b"To: <", self.text(to.uri()), b">", mark, to_tag]);
        line(&[b"Call-ID: ", self.text(Field::CallId)]);
        line(&[b"CSeq: ", local.number.to_string().as_bytes(), b" ", local.method.as_bytes()]);
        line(&[b"Max-Forwards: 70"]);
        out.extend_from_slice(local.headers);
        if let Some((content_type, _)) = local.body {
            let _ = write!(out, "Content-Type: {content_type}\r\n");
        }
        let body = local.body.map_or(&[][..], |(_, body)| body);
        let _ = write!(out, "Content-Length: {}\r\n\r\n", body.len());
        out.extend_from_slice(body);
        Some(way.next_hop)
    }
}

impl Dialog {
    /// Sends a request to one party.
    pub(super) fn send_local(
        &mut self,
        host: &mut impl Host<Dialog>,
        id: DialogId,
        to: Side,
        local: &Local<'_>,
        token: Token,
    ) -> Sent {
        let mut bytes = std::mem::take(&mut self.scratch);
        let record = self.table.get(id);
        let listener = record.and_then(|record| record.leg(to).listener);
        let flow = record.and_then(|record| record.leg(to).flow);
        let next_hop = record.and_then(|record| record.write(to, local, &mut bytes));
        let reach = next_hop.map(|next_hop| match flow {
            Some(flow) => Reach::Over(flow),
            None => host.reach(&next_hop, listener),
        });
        let sent = match reach {
            Some(Reach::Over(flow)) => match host.originate(flow, &bytes, token) {
                Ok(()) => Sent::Yes,
                Err(NotSent::Full | NotSent::Malformed) => Sent::No,
            },
            Some(Reach::Unknown) => Sent::Later,
            Some(Reach::Nowhere) | None => Sent::No,
        };
        self.scratch = bytes;
        sent
    }

    /// The ACK of a 2xx is the user agent's own affair (RFC 3261 §13.2.2.4): it has no transaction.
    /// `bytes` is complete but for the Via.
    pub(super) fn send_ack(&self, host: &mut impl Host<Dialog>, flow: Flow, bytes: &[u8]) {
        let branch = host.entropy().next_u64();
        let Some(listener) = host.listeners().get(flow.listener) else { return };
        let via = format!(
            "Via: SIP/2.0/{} {};branch=z9hG4bK{branch:016x}\r\n",
            flow.transport.via_name(),
            listener.advertised
        );
        let Some(line) = bytes.iter().position(|byte| *byte == b'\n') else { return };
        let (first, rest) = bytes.split_at(line + 1);
        host.send(flow, &[first, via.as_bytes(), rest].concat());
    }

    /// Acknowledges the callee's answer in the caller's place.
    pub(super) fn acknowledge(&mut self, host: &mut impl Host<Dialog>, id: DialogId, number: u32) {
        let Some(record) = self.table.get(id) else { return };
        let to = Side::Callee;
        let local = Local { method: "ACK", number, headers: &[], body: None };
        let mut bytes = Vec::new();
        let Some(next_hop) = record.write(to, &local, &mut bytes) else { return };
        let (flow, listener) = (record.leg(to).flow, record.leg(to).listener);
        let reach = flow.map_or_else(|| host.reach(&next_hop, listener), Reach::Over);
        match reach {
            Reach::Over(flow) => self.send_ack(host, flow, &bytes),
            // The answer comes again.
            Reach::Unknown | Reach::Nowhere => {}
        }
    }

    /// A request of the routing's own within a dialog (`dlg_req_within`): its number is the next
    /// one of the party in whose name it goes, whose own later numbers move on by one.
    pub(super) fn send_within(
        &mut self,
        host: &mut impl Host<Dialog>,
        (id, to): (DialogId, Side),
        (method, headers): (&str, &[u8]),
        body: Option<(&str, &[u8])>,
    ) -> bool {
        let Some(record) = self.table.get(id) else { return false };
        let number = record.number_above(to, 1);
        let local = Local { method, number, headers, body };
        if self.send_local(host, id, to, &local, Token::Within(id)) != Sent::Yes {
            self.counters.unsent += 1;
            return false;
        }
        self.overtake(id, to.other());
        if let Some(record) = self.table.get_mut(id) {
            record.holders = record.holders.saturating_add(1);
        }
        true
    }

    /// The same to the callee of one early dialog, which its To tag names, before anybody answers.
    pub(super) fn send_to_fork(
        &mut self,
        host: &mut impl Host<Dialog>,
        (id, tag): (DialogId, &[u8]),
        (method, headers): (&str, &[u8]),
        body: Option<(&str, &[u8])>,
    ) -> bool {
        let Some(record) = self.table.get(id) else { return false };
        let to = Side::Callee;
        if record.text(to.tag()) == tag {
            return self.send_within(host, (id, to), (method, headers), body);
        }
        let early = record.extra.as_ref().map_or(&[][..], |extra| &extra.early);
        let Some(leg) = early.iter().find(|leg| *leg.tag == *tag).cloned() else { return false };
        if !record.state.is_early() {
            return false;
        }
        // For the time of writing its leg stands where the first one's does.
        let first = super::record::EarlyLeg {
            tag: record.text(to.tag()).into(),
            contact: record.text(to.contact()).into(),
            routes: record.text(to.routes()).into(),
            listener: record.leg(to).listener,
            cseq: None,
        };
        let flow = record.leg(to).flow;
        self.stand_in(id, &leg, None);
        let sent = self.send_within(host, (id, to), (method, headers), body);
        self.stand_in(id, &first, flow);
        sent
    }

    fn stand_in(&mut self, id: DialogId, leg: &super::record::EarlyLeg, flow: Option<Flow>) {
        let Some(record) = self.table.get_mut(id) else { return };
        let to = Side::Callee;
        let texts =
            [(to.tag(), &leg.tag), (to.contact(), &leg.contact), (to.routes(), &leg.routes)];
        for (field, _) in texts {
            let _ = record.texts.set(field, b"");
        }
        for (field, text) in texts {
            if record.texts.set(field, text).is_err() {
                self.counters.refused += 1;
            }
        }
        let callee = record.leg_mut(to);
        (callee.listener, callee.flow) = (leg.listener, flow);
    }

    pub(super) fn local_answered(
        &mut self,
        host: &mut impl Host<Dialog>,
        id: DialogId,
        heard: Heard<'_>,
    ) {
        let status = super::end::status_of(heard);
        if status.is_provisional() {
            return;
        }
        if let Some(record) = self.table.get_mut(id) {
            record.holders = record.holders.saturating_sub(1);
        }
        self.tell(
            host,
            id,
            DialogEventKind::ResponseWithin(strowger_sip::message::MethodKind::Other, status),
        );
        self.forget_if_free(host, id);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use strowger_sip::transport::{ConnectionId, ListenerId};

    #[test]
    fn who_is_behind_a_translator_is_reached_where_it_comes_from() {
        let flow = Flow::udp(ListenerId(0), "198.51.100.7:40000".parse().expect("an address"));
        let own = |contact: &str| own_flow(contact.as_bytes(), flow);
        assert_eq!(own("sip:a@10.0.0.1:5062"), Some(flow));
        assert_eq!(own("sip:a@100.64.0.1"), Some(flow));
        assert_eq!(own("sip:a@198.51.100.7:5062"), None);
        assert_eq!(own("sip:a@203.0.113.9"), None);
        assert_eq!(own("sip:a@example.com"), None);
        let stream = Flow { connection: Some(ConnectionId(7)), ..flow };
        assert_eq!(own_flow(b"sip:a@203.0.113.9;transport=tcp", stream), Some(stream));
    }

    #[test]
    fn an_alias_says_where_a_contact_really_is() {
        let (uri, place) = unalias(b"sip:a@10.0.0.1;alias=192.0.2.9~5062~1;x").expect("an alias");
        assert_eq!(uri, b"sip:a@10.0.0.1;x");
        assert_eq!(place, b"sip:192.0.2.9:5062;transport=udp");
        assert!(unalias(b"sip:a@10.0.0.1").is_none());
        assert!(unalias(b"sip:a@10.0.0.1;alias=192.0.2.9~x~1").is_none());
    }

    #[test]
    fn routes_lead_the_way() {
        let loose = way(b"sip:b@192.0.2.20", b"<sip:p3;lr>,<sip:p4;lr>").expect("a way");
        assert_eq!(loose.request_uri, b"sip:b@192.0.2.20");
        assert_eq!(loose.routes, b"<sip:p3;lr>,<sip:p4;lr>");
        assert_eq!(loose.next_hop, b"sip:p3;lr");
        let strict = way(b"sip:b@192.0.2.20", b"<sip:p3>,<sip:p4;lr>").expect("a way");
        assert_eq!(strict.request_uri, b"sip:p3");
        assert_eq!(strict.routes, b"<sip:p4;lr>,<sip:b@192.0.2.20>");
        let none = way(b"sip:b@192.0.2.20", b"").expect("a way");
        assert_eq!(none.next_hop, b"sip:b@192.0.2.20");
    }
}
