//! REFER within a dialog, and calls that this node sets up between two others.
//!
//! For: `dlg_refer` (one party is asked to call somewhere else) and `dlg_bridge` (a party is called
//! and then asked to call another).
//! Not here: writing requests of a dialog (`local.rs`).
//! Invariants: a bridge ends with the final answer to its last request; their number is bounded.

use super::end::status_of;
use super::local::{Local, Sent};
use super::record::Side;
use super::table::DialogId;
use super::{Dialog, DialogEventKind, Token};
use std::io::Write;
use strowger_sip::message::{HeaderName, Message, MethodKind, StatusCode};
use strowger_sip::module::host::NotSent;
use strowger_sip::module::{Arrived, Heard, Host, Reach};
use strowger_sip::routing::Reply;
use strowger_sip::transaction::Id;
use strowger_sip::transport::Flow;

/// Marks ids of bridges.
#[derive(Debug)]
pub enum BridgeMark {}

/// The number of a bridge's INVITE, as Kamailio's.
const BRIDGE_CSEQ: u32 = 10;

/// A call being set up between two parties.
#[derive(Debug)]
pub(super) struct Bridge {
    from: String,
    to: String,
    /// Where its requests go: the outbound proxy, or the first party.
    flow: Flow,
    call_id: String,
    tag: String,
    /// The other end's tag and contact, once it has answered.
    remote_tag: Vec<u8>,
    contact: Vec<u8>,
    routes: Vec<u8>,
    stage: Stage,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    Inviting,
    Referring,
    Leaving,
}

/// A session on hold that offers nothing but a place for audio (RFC 3264 §8.4).
const HOLD: &str = "v=0\r\no=- 0 0 IN IP4 0.0.0.0\r\ns=bridge\r\nc=IN IP4 0.0.0.0\r\nt=0 0\r\n\
    m=audio 9 RTP/AVP 8 0\r\na=rtpmap:8 PCMA/8000\r\na=rtpmap:0 PCMU/8000\r\n";

/// Why a bridge was not begun.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum NotBridged {
    Unreachable,
    Full,
    NoUri,
}

impl Dialog {
    /// Asks the party opposite to `side` to call somewhere else, in the name of `side`.
    pub(super) fn refer(
        &mut self,
        host: &mut impl Host<Dialog>,
        id: DialogId,
        side: Side,
        target: &str,
    ) -> bool {
        let to = side.other();
        let Some(record) = self.table.get(id) else { return false };
        if !record.state.is_active() || !is_uri(target) {
            return false;
        }
        let number = record.number_above(to, 1);
        let headers = format!(
            "Referred-By: <{}>\r\nRefer-To: <{target}>\r\nContact: <{}>\r\n",
            self.settings.controller, self.settings.controller_contact
        );
        let local = Local { method: "REFER", number, headers: headers.as_bytes(), body: None };
        if self.send_local(host, id, to, &local, Token::Refer(id, to)) != Sent::Yes {
            self.counters.unsent += 1;
            return false;
        }
        self.overtake(id, side);
        if let Some(record) = self.table.get_mut(id) {
            record.holders = record.holders.saturating_add(1);
        }
        true
    }

    pub(super) fn refer_answered(
        &mut self,
        host: &mut impl Host<Dialog>,
        id: DialogId,
        to: Side,
        heard: Heard<'_>,
    ) {
        let status = status_of(heard);
        if status.is_provisional() {
            return;
        }
        if let Some(record) = self.table.get_mut(id) {
            record.holders = record.holders.saturating_sub(1);
        }
        self.tell(host, id, DialogEventKind::ReferProgress(status));
        if self.settings.refer_bye
            && let Some(record) = self.table.get(id)
            && record.state.is_active()
        {
            let number = record.number_above(to, 1);
            let local = Local { method: "BYE", number, headers: &[], body: None };
            // The dialog goes on: it ends when the parties say so, or by its lifetime.
            if self.send_local(host, id, to, &local, Token::Within(id)) == Sent::Yes {
                self.overtake(id, to.other());
                if let Some(record) = self.table.get_mut(id) {
                    record.holders = record.holders.saturating_add(1);
                }
            }
        }
        self.forget_if_free(host, id);
    }

    /// A NOTIFY about a REFER that was sent from here (RFC 3515 §2.4.4): answered, and told.
    pub(super) fn refer_progress(
        &mut self,
        host: &mut impl Host<Dialog>,
        request: &Arrived<'_>,
    ) -> bool {
        let message = request.incoming.message();
        let to_us = message.request_uri() == Some(self.settings.controller_contact.as_bytes());
        let about = message.header(HeaderName::Event).map_or(&[][..], |field| field.value);
        let is_notify = message.method().map(|method| method.kind()) == Some(MethodKind::Notify);
        let Some(transaction) = request.transaction else { return false };
        if !is_notify || !to_us || !about.starts_with(b"refer") {
            return false;
        }
        let call_id = message.call_id().unwrap_or(&[]);
        let (from, to) = (message.from_tag().unwrap_or(&[]), message.to_tag().unwrap_or(&[]));
        if let (Some(found), Some(status)) =
            (self.table.by_tags(call_id, from, to), fragment(message.body()))
        {
            self.tell(host, found.dialog, DialogEventKind::ReferProgress(status));
        }
        host.reply(transaction, Reply::new(200));
        true
    }

    /// Calls `from`; when it answers, asks it to call `to`, and leaves.
    pub(super) fn bridge(
        &mut self,
        host: &mut impl Host<Dialog>,
        (from, to): (&str, &str),
        next_hop: Option<&str>,
        body: Option<&str>,
    ) -> Result<Id<BridgeMark>, NotBridged> {
        if !is_uri(from) || !is_uri(to) || next_hop.is_some_and(|uri| !is_uri(uri)) {
            return Err(NotBridged::NoUri);
        }
        let place = next_hop.unwrap_or(from);
        let Reach::Over(flow) = host.reach(place.as_bytes(), None) else {
            return Err(NotBridged::Unreachable);
        };
        let (map, shard) = (host.map(), host.shard());
        let mut call_id = String::new();
        // Its answers come home: the Call-ID is at home here.
        for _ in 0..1024 {
            let (one, two) = host.entropy().keys();
            call_id = format!("{one:016x}{two:016x}");
            if map.home(call_id.as_bytes()) == shard {
                break;
            }
        }
        let bridge = Bridge {
            from: from.to_owned(),
            to: to.to_owned(),
            flow,
            call_id,
            tag: format!("{:016x}", host.entropy().next_u64()),
            remote_tag: Vec::new(),
            contact: from.as_bytes().to_vec(),
            routes: next_hop.map(|uri| format!("<{uri};lr>").into_bytes()).unwrap_or_default(),
            stage: Stage::Inviting,
        };
        let body = body.unwrap_or(HOLD);
        let contact = format!(
            "Contact: <{}>\r\nContent-Type: application/sdp\r\n",
            self.settings.controller_contact
        );
        let bytes = self.bridge_request(&bridge, "INVITE", BRIDGE_CSEQ, (&contact, body));
        let id = self.bridges.insert(bridge).map_err(|_| NotBridged::Full)?;
        match host.originate(flow, &bytes, Token::Bridge(id)) {
            Ok(()) => Ok(id),
            Err(NotSent::Full | NotSent::Malformed) => {
                self.bridges.remove(id);
                Err(NotBridged::Unreachable)
            }
        }
    }

    fn bridge_request(
        &self,
        bridge: &Bridge,
        method: &str,
        number: u32,
        (headers, body): (&str, &str),
    ) -> Vec<u8> {
        let mut out = Vec::new();
        out.extend_from_slice(method.as_bytes());
        out.push(b' ');
        out.extend_from_slice(&bridge.contact);
        out.extend_from_slice(b" SIP/2.0\r\n");
        if !bridge.routes.is_empty() {
            out.extend_from_slice(b"Route: ");
            out.extend_from_slice(&bridge.routes);
            out.extend_from_slice(b"\r\n");
        }
        let _ = write!(
            out,
            "From: <{}>;tag={}\r\nTo: <{}>",
            self.settings.controller, bridge.tag, bridge.from
        );
        if !bridge.remote_tag.is_empty() {
            out.extend_from_slice(b";tag=");
            out.extend_from_slice(&bridge.remote_tag);
        }
        let _ = write!(
            out,
            "\r\nCall-ID: {}\r\nCSeq: {number} {method}\r\nMax-Forwards: 70\r\n{headers}\
             Content-Length: {}\r\n\r\n{body}",
            bridge.call_id,
            body.len()
        );
        out
    }

    pub(super) fn bridge_answered(
        &mut self,
        host: &mut impl Host<Dialog>,
        id: Id<BridgeMark>,
        heard: Heard<'_>,
    ) {
        let status = status_of(heard);
        let Some(bridge) = self.bridges.get_mut(id).filter(|_| !status.is_provisional()) else {
            return;
        };
        match bridge.stage {
            Stage::Inviting => {
                let Heard::Response(response) = heard else { return self.end_bridge(id) };
                if !status.is_success() {
                    return self.end_bridge(id);
                }
                bridge.stage = Stage::Referring;
                bridge.learn(response);
                self.bridge_acknowledge(host, id);
                self.bridge_refer(host, id);
            }
            // Whatever it says to the REFER, this node's part is done.
            Stage::Referring if is_to(heard, MethodKind::Refer) => {
                bridge.stage = Stage::Leaving;
                self.bridge_send(host, id, "BYE", BRIDGE_CSEQ + 2, "");
            }
            // A further copy of the answer to the INVITE: its ACK was lost.
            Stage::Referring => self.bridge_acknowledge(host, id),
            Stage::Leaving if is_to(heard, MethodKind::Invite) => {
                self.bridge_acknowledge(host, id);
            }
            Stage::Leaving => self.end_bridge(id),
        }
    }

    fn bridge_refer(&mut self, host: &mut impl Host<Dialog>, id: Id<BridgeMark>) {
        let Some(bridge) = self.bridges.get(id) else { return };
        let headers = format!(
            "Refer-To: {}\r\nReferred-By: {}\r\nContact: <{}>\r\n",
            bridge.to, self.settings.controller, self.settings.controller_contact
        );
        self.bridge_send(host, id, "REFER", BRIDGE_CSEQ + 1, &headers);
    }

    fn bridge_send(
        &mut self,
        host: &mut impl Host<Dialog>,
        id: Id<BridgeMark>,
        method: &str,
        number: u32,
        headers: &str,
    ) {
        let Some(bridge) = self.bridges.get(id) else { return };
        let (flow, bytes) =
            (bridge.flow, self.bridge_request(bridge, method, number, (headers, "")));
        if host.originate(flow, &bytes, Token::Bridge(id)).is_err() {
            self.counters.unsent += 1;
            self.end_bridge(id);
        }
    }

    fn bridge_acknowledge(&mut self, host: &mut impl Host<Dialog>, id: Id<BridgeMark>) {
        let Some(bridge) = self.bridges.get(id) else { return };
        let bytes = self.bridge_request(bridge, "ACK", BRIDGE_CSEQ, ("", ""));
        self.send_ack(host, bridge.flow, &bytes);
    }

    fn end_bridge(&mut self, id: Id<BridgeMark>) {
        self.bridges.remove(id);
    }
}

impl Bridge {
    fn learn(&mut self, response: Message<'_>) {
        self.remote_tag = response.to_tag().unwrap_or(&[]).to_vec();
        if let Some(contact) = super::create::contact(response) {
            self.contact = contact.to_vec();
        }
        let mut routes = Vec::new();
        let all: Vec<_> = response.record_routes().filter_map(Result::ok).collect();
        for route in all.iter().rev() {
            if !routes.is_empty() {
                routes.push(b',');
            }
            routes.extend_from_slice(route.raw);
        }
        self.routes = routes;
    }
}

/// The status in a `message/sipfrag` (RFC 3420).
fn fragment(body: &[u8]) -> Option<StatusCode> {
    let digits = body.strip_prefix(b"SIP/2.0 ")?.get(..3)?;
    StatusCode::new(str::from_utf8(digits).ok()?.parse().ok()?)
}

fn is_to(heard: Heard<'_>, method: MethodKind) -> bool {
    match heard {
        Heard::Response(message) => message.cseq().is_ok_and(|cseq| cseq.method.kind() == method),
        // A copy of a 2xx is a response: what did not come is what was asked for last.
        Heard::Timeout | Heard::Transport => method != MethodKind::Invite,
    }
}

/// Whether a text can stand as a URI in a header.
fn is_uri(text: &str) -> bool {
    strowger_sip::message::Uri::parse(text.as_bytes()).is_ok_and(|uri| uri.scheme.is_sip())
}
