//! Calls that this node sets up between two others: `dlg_bridge`.
//!
//! For: a party that is called and then asked to call the other (REFER, RFC 3515), or two parties
//! that are both called and get each other's offer and answer (RFC 3725 §4.1, flow I).
//! Not here: what its parties say (`bridge_course.rs`), REFER within a tracked dialog (`refer.rs`).
//! These calls are no dialogs of the table.
//! Invariants: a bridge has a timer as long as it lives; what was answered is acknowledged, and
//! ended when the bridge fails; their number is bounded.

use super::limits::{BRIDGES_MAX, BRIDGES_REMEMBERED_MAX};
use super::refer::is_uri;
use super::{Dialog, Timer, Token};
use crate::json;
use std::collections::VecDeque;
use std::io::Write;
use strowger_sip::message::{HeaderName, Message};
use strowger_sip::module::{Host, Reach};
use strowger_sip::time::Duration;
use strowger_sip::transaction::{Id, Slab};
use strowger_sip::transport::Flow;
use strowger_sip::wheel::TimerId;

/// Marks ids of bridges.
#[derive(Debug)]
pub enum BridgeMark {}

/// Names a bridge.
pub(super) type BridgeId = Id<BridgeMark>;

/// The number of a bridge's INVITE, as Kamailio's.
const BRIDGE_CSEQ: u32 = 10;

/// A session on hold that offers nothing but a place for audio (RFC 3264 §8.4).
const HOLD: &str = "v=0\r\no=- 0 0 IN IP4 0.0.0.0\r\ns=bridge\r\nc=IN IP4 0.0.0.0\r\nt=0 0\r\n\
    m=audio 9 RTP/AVP 8 0\r\na=rtpmap:8 PCMA/8000\r\na=rtpmap:0 PCMU/8000\r\n";

/// How two parties are brought together (`bridge_mode`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BridgeMode {
    /// The first is called, asked to call the second, and left.
    Refer,
    /// Both are called from here, which stays in their signalling: for a party without REFER.
    ThirdParty,
}

/// How bridges go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BridgeRules {
    /// `bridge_mode`
    pub mode: BridgeMode,
    /// `bridge_wait`: whether the BYE waits for the end of the transfer, or for the answer to the
    /// REFER alone.
    pub waits: bool,
    /// `bridge_timeout`: how long setting one up may take.
    pub timeout: Duration,
}

/// One of the two.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Party {
    /// Who is called first.
    First,
    /// Who is called then.
    Second,
}

/// What is asked for.
#[derive(Clone, Copy, Debug)]
pub(super) struct Asked<'a> {
    pub(super) from: &'a str,
    pub(super) to: &'a str,
    pub(super) next_hop: Option<&'a str>,
    pub(super) body: Option<&'a str>,
    pub(super) mode: BridgeMode,
}

/// Why a bridge was not begun.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum NotBridged {
    Unreachable,
    Full,
    NoUri,
}

/// The call with one party.
#[derive(Debug)]
pub(super) struct Leg {
    pub(super) uri: String,
    pub(super) flow: Flow,
    pub(super) call_id: String,
    pub(super) tag: String,
    /// Its own tag, contact and route set, once it has answered.
    pub(super) remote_tag: Vec<u8>,
    pub(super) contact: Vec<u8>,
    pub(super) routes: Vec<u8>,
    pub(super) number: u32,
    pub(super) phase: Phase,
    /// The offer that came with its answer, of whoever was called without one.
    pub(super) offered: (String, Vec<u8>),
    /// What the ACK of its answer carries; `None` while the offer waits for its own answer.
    pub(super) acked: Option<(String, Vec<u8>)>,
}

/// How far the call with one party is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Phase {
    /// The INVITE is out.
    Calling,
    /// It has answered.
    Answered,
    /// A BYE is out.
    Leaving,
    /// It is over, or never was.
    Over,
}

/// How far a bridge is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Stage {
    Inviting,
    Referring,
    /// The party says how far its own call has come.
    Watching,
    /// It has said that this is over: its NOTIFY is answered, and then it is left.
    Transferred,
    InvitingSecond,
    /// Both are connected.
    Up,
    Leaving,
    /// It took too long: the INVITE is cancelled.
    Cancelling,
}

impl Stage {
    const fn name(self) -> &'static str {
        match self {
            Stage::Inviting => "calling the first party",
            Stage::Referring => "referring",
            Stage::Watching | Stage::Transferred => "transferring",
            Stage::InvitingSecond => "calling the second party",
            Stage::Up => "connected",
            Stage::Leaving => "leaving",
            Stage::Cancelling => "giving up",
        }
    }
}

/// A call being set up between two parties.
#[derive(Debug)]
pub(super) struct Bridge {
    pub(super) mode: BridgeMode,
    pub(super) stage: Stage,
    pub(super) first: Leg,
    pub(super) second: Option<Leg>,
    pub(super) to: String,
    pub(super) next_hop: Option<String>,
    /// The last status that says how it goes.
    pub(super) status: Option<u16>,
    pub(super) timer: TimerId,
}

impl Bridge {
    pub(super) fn leg(&self, party: Party) -> Option<&Leg> {
        match party {
            Party::First => Some(&self.first),
            Party::Second => self.second.as_ref(),
        }
    }

    pub(super) fn leg_mut(&mut self, party: Party) -> Option<&mut Leg> {
        match party {
            Party::First => Some(&mut self.first),
            Party::Second => self.second.as_mut(),
        }
    }

    pub(super) fn is_over(&self) -> bool {
        let over = |leg: &Leg| leg.phase == Phase::Over;
        over(&self.first) && self.second.as_ref().is_none_or(over)
    }
}

/// The bridges of a shard, and what became of the last ones.
#[derive(Debug)]
pub(super) struct Bridges {
    pub(super) list: Slab<Bridge, BridgeMark>,
    over: VecDeque<(BridgeId, String)>,
}

impl Default for Bridges {
    fn default() -> Bridges {
        Bridges { list: Slab::new(0, BRIDGES_MAX), over: VecDeque::new() }
    }
}

impl Bridges {
    pub(super) fn len(&self) -> usize {
        self.list.len()
    }
}

/// A body with its type.
pub(super) type Body<'b> = Option<(&'b str, &'b [u8])>;

impl Dialog {
    /// Calls `from`, and brings it together with `to` when it answers.
    pub(super) fn bridge(
        &mut self,
        host: &mut impl Host<Dialog>,
        asked: &Asked<'_>,
    ) -> Result<BridgeId, NotBridged> {
        let Asked { from, to, next_hop, body, mode } = *asked;
        if !is_uri(from) || !is_uri(to) || next_hop.is_some_and(|uri| !is_uri(uri)) {
            return Err(NotBridged::NoUri);
        }
        let id = self.bridges.list.next_id().ok_or(NotBridged::Full)?;
        let first = self.bridge_leg(host, id, from, next_hop).ok_or(NotBridged::Unreachable)?;
        let timer = host.arm(host.now() + self.settings.bridge.timeout, Timer::Bridge(id));
        let bridge = Bridge {
            mode,
            stage: Stage::Inviting,
            first,
            second: None,
            to: to.to_owned(),
            next_hop: next_hop.map(str::to_owned),
            status: None,
            timer,
        };
        if self.bridges.list.insert(bridge).is_err() {
            return Err(NotBridged::Full);
        }
        // In flow I the first party makes the offer.
        let body = match mode {
            BridgeMode::Refer => Some(("application/sdp", body.unwrap_or(HOLD).as_bytes())),
            BridgeMode::ThirdParty => None,
        };
        if self.bridge_send(host, (id, Party::First), "INVITE", "", body) {
            Ok(id)
        } else {
            Err(NotBridged::Unreachable)
        }
    }

    /// A call with this party; `None` when it cannot be reached.
    pub(super) fn bridge_leg(
        &self,
        host: &mut impl Host<Dialog>,
        id: BridgeId,
        uri: &str,
        next_hop: Option<&str>,
    ) -> Option<Leg> {
        let Reach::Over(flow) = host.reach(next_hop.unwrap_or(uri).as_bytes(), None) else {
            return None;
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
        Some(Leg {
            uri: uri.to_owned(),
            flow,
            call_id,
            tag: format!("{:016x}{:016x}", id.as_u64(), host.entropy().next_u64()),
            remote_tag: Vec::new(),
            contact: uri.as_bytes().to_vec(),
            routes: next_hop.map(|uri| format!("<{uri};lr>").into_bytes()).unwrap_or_default(),
            number: BRIDGE_CSEQ - 1,
            phase: Phase::Calling,
            offered: (String::new(), Vec::new()),
            acked: None,
        })
    }

    /// Sends a party its next request; when that is not possible the bridge ends.
    pub(super) fn bridge_send(
        &mut self,
        host: &mut impl Host<Dialog>,
        (id, party): (BridgeId, Party),
        method: &str,
        headers: &str,
        body: Body<'_>,
    ) -> bool {
        let Some(leg) = self.bridges.list.get_mut(id).and_then(|bridge| bridge.leg_mut(party))
        else {
            return false;
        };
        leg.number += 1;
        let (flow, number) = (leg.flow, leg.number);
        let contact = format!("Contact: <{}>\r\n", self.settings.controller_contact);
        let headers = match method {
            "BYE" => headers.to_owned(),
            _ => format!("{headers}{contact}"),
        };
        let bytes = self.bridge_request((id, party), (method, number), &headers, body);
        let sent = host.originate(flow, &bytes, Token::Bridge(id, party)).is_ok();
        if !sent {
            self.counters.unsent += 1;
            self.bridge_lost(host, (id, party), None);
        }
        sent
    }

    fn bridge_request(
        &self,
        (id, party): (BridgeId, Party),
        (method, number): (&str, u32),
        headers: &str,
        body: Body<'_>,
    ) -> Vec<u8> {
        let mut out = Vec::new();
        let Some(leg) = self.bridges.list.get(id).and_then(|bridge| bridge.leg(party)) else {
            return out;
        };
        let mut line = |parts: &[&[u8]]| {
            parts.iter().for_each(|part| out.extend_from_slice(part));
            out.extend_from_slice(b"\r\n");
        };
        line(&[method.as_bytes(), b" ", &leg.contact, b" SIP/2.0"]);
        if !leg.routes.is_empty() {
            line(&[b"Route: ", &leg.routes]);
        }
        let controller = self.settings.controller.as_bytes();
        line(&[b"From: <", controller, b">;tag=", leg.tag.as_bytes()]);
        let mark: &[u8] = if leg.remote_tag.is_empty() { b"" } else { b";tag=" };
        line(&[b"To: <", leg.uri.as_bytes(), b">", mark, &leg.remote_tag]);
        line(&[b"Call-ID: ", leg.call_id.as_bytes()]);
        line(&[b"CSeq: ", number.to_string().as_bytes(), b" ", method.as_bytes()]);
        line(&[b"Max-Forwards: 70"]);
        out.extend_from_slice(headers.as_bytes());
        if let Some((kind, _)) = body {
            let _ = write!(out, "Content-Type: {kind}\r\n");
        }
        let body = body.map_or(&[][..], |(_, body)| body);
        let _ = write!(out, "Content-Length: {}\r\n\r\n", body.len());
        out.extend_from_slice(body);
        out
    }

    pub(super) fn bridge_acknowledge(
        &mut self,
        host: &mut impl Host<Dialog>,
        (id, party): (BridgeId, Party),
    ) {
        let Some(leg) = self.bridges.list.get(id).and_then(|bridge| bridge.leg(party)) else {
            return;
        };
        // In flow I the first party waits for the second one's answer.
        let Some((kind, body)) = &leg.acked else { return };
        let body = (!body.is_empty()).then_some((kind.as_str(), body.as_slice()));
        let bytes = self.bridge_request((id, party), ("ACK", BRIDGE_CSEQ), "", body);
        self.send_ack(host, leg.flow, &bytes);
    }

    pub(super) fn bridge_forget_if_over(&mut self, host: &mut impl Host<Dialog>, id: BridgeId) {
        if self.bridges.list.get(id).is_some_and(Bridge::is_over) {
            self.bridge_forget(host, id);
        }
    }

    pub(super) fn bridge_forget(&mut self, host: &mut impl Host<Dialog>, id: BridgeId) {
        let Some(bridge) = self.bridges.list.remove(id) else { return };
        host.cancel(bridge.timer);
        if self.bridges.over.len() >= BRIDGES_REMEMBERED_MAX {
            self.bridges.over.pop_front();
        }
        self.bridges.over.push_back((id, shown(&bridge, "over")));
    }

    /// The name of a bridge for operators.
    pub(super) fn bridge_handle(&self, host: &impl Host<Dialog>, id: BridgeId) -> String {
        format!("{}-{:x}", host.shard().0, id.as_u64())
    }

    /// How far a bridge is; `None` when this shard knows of none by this name.
    pub(super) fn bridge_shown(&self, host: &impl Host<Dialog>, handle: &str) -> Option<String> {
        let (shard, number) = handle.split_once('-')?;
        if shard.parse() != Ok(host.shard().0) {
            return None;
        }
        let id = BridgeId::from_u64(u64::from_str_radix(number, 16).ok()?);
        if let Some(bridge) = self.bridges.list.get(id) {
            return Some(shown(bridge, bridge.stage.name()));
        }
        let mut over = self.bridges.over.iter().rev();
        over.find(|(known, _)| *known == id).map(|(_, text)| text.clone())
    }
}

impl Leg {
    pub(super) fn learn(&mut self, response: Message<'_>) {
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

    /// Its answer is acknowledged, and its offer with it: nothing of that is wanted.
    pub(super) fn decline(&mut self) {
        let (kind, offer) = &self.offered;
        self.acked.get_or_insert_with(|| (kind.clone(), declined(offer)));
    }
}

fn shown(bridge: &Bridge, stage: &str) -> String {
    json::object(|json| {
        json.text("from", &bridge.first.uri).text("to", &bridge.to);
        json.text("stage", stage);
        if let Some(status) = bridge.status {
            json.number("status", u64::from(status));
        }
    })
}

pub(super) fn body_of(message: Message<'_>) -> (String, Vec<u8>) {
    let kind =
        message.header(HeaderName::ContentType).map_or(&b"application/sdp"[..], |it| it.value);
    (String::from_utf8_lossy(kind).into_owned(), message.body().to_vec())
}

/// The answer that takes nothing of an offer: every stream's port is 0 (RFC 3264 §6).
fn declined(offer: &[u8]) -> Vec<u8> {
    let mut answer = Vec::with_capacity(offer.len());
    for line in offer.split_inclusive(|byte| *byte == b'\n') {
        let mut words = line.splitn(3, |byte| *byte == b' ');
        match (words.next(), words.next(), words.next()) {
            (Some(media), Some(_), Some(rest)) if media.starts_with(b"m=") => {
                answer.extend_from_slice(&[media, b"0", rest].join(&b' '));
            }
            _ => answer.extend_from_slice(line),
        }
    }
    answer
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_that_takes_nothing_has_no_ports() {
        let offer = b"v=0\r\nm=audio 40000 RTP/AVP 0 8\r\na=rtpmap:0 x\r\nm=video 2 RTP/AVP 31\r\n";
        let answer = b"v=0\r\nm=audio 0 RTP/AVP 0 8\r\na=rtpmap:0 x\r\nm=video 0 RTP/AVP 31\r\n";
        assert_eq!(declined(offer), answer);
    }
}
