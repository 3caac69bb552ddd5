//! What the parties of a bridge say, and what follows.
//!
//! For: answers to what was sent to them, their own requests, their silence.
//! Not here: beginning a bridge, writing its requests (`bridge.rs`).
//! Invariants: each party hears BYE or CANCEL once the bridge is of no use any more.

use super::bridge::{BridgeId, BridgeMode, Party, Phase, Stage, body_of};
use super::end::status_of;
use super::limits::BRIDGE_LEAVE;
use super::refer::fragment;
use super::{Dialog, Timer};
use strowger_sip::engine::{CallChange, CallOrder};
use strowger_sip::message::{Message, MethodKind, StatusCode};
use strowger_sip::module::{Arrived, Heard, Host};
use strowger_sip::routing::Reply;

impl Dialog {
    /// Something came back from a party.
    pub(super) fn bridge_answered(
        &mut self,
        host: &mut impl Host<Dialog>,
        (id, party): (BridgeId, Party),
        heard: Heard<'_>,
    ) {
        let status = status_of(heard);
        let Some(bridge) = self.bridges.list.get_mut(id) else { return };
        let stage = bridge.stage;
        let Some(leg) = bridge.leg_mut(party) else { return };
        if status.is_provisional() {
            return;
        }
        match (method_of(heard), leg.phase) {
            // What did not come is what was asked for last.
            (None, Phase::Calling) => self.bridge_lost(host, (id, party), Some(status)),
            (Some(MethodKind::Invite), Phase::Calling) => match heard {
                Heard::Response(response) if status.is_success() => {
                    leg.learn(response);
                    leg.phase = Phase::Answered;
                    self.bridge_connected(host, (id, party), response);
                }
                Heard::Response(_) | Heard::Timeout | Heard::Transport => {
                    self.bridge_lost(host, (id, party), Some(status));
                }
            },
            // A further copy of the answer: its ACK was lost.
            (Some(MethodKind::Invite), Phase::Answered | Phase::Leaving | Phase::Over) => {
                self.bridge_acknowledge(host, (id, party));
            }
            (Some(MethodKind::Bye) | None, Phase::Leaving | Phase::Over) => {
                leg.phase = Phase::Over;
                self.bridge_forget_if_over(host, id);
            }
            (_, Phase::Answered) if stage == Stage::Referring => {
                bridge.status = Some(status.code());
                let watches = self.settings.bridge.waits && status.is_success();
                if watches {
                    bridge.stage = Stage::Watching;
                } else {
                    self.bridge_leave(host, id);
                }
            }
            (_, Phase::Answered | Phase::Leaving | Phase::Over | Phase::Calling) => {}
        }
    }

    /// A party has answered its INVITE.
    fn bridge_connected(
        &mut self,
        host: &mut impl Host<Dialog>,
        (id, party): (BridgeId, Party),
        response: Message<'_>,
    ) {
        let Some(bridge) = self.bridges.list.get_mut(id) else { return };
        bridge.status = Some(200);
        match (bridge.stage, party) {
            (Stage::Inviting, Party::First) => match bridge.mode {
                BridgeMode::Refer => {
                    bridge.first.acked = Some((String::new(), Vec::new()));
                    bridge.stage = Stage::Referring;
                    let headers = format!(
                        "Refer-To: {}\r\nReferred-By: {}\r\n",
                        bridge.to, self.settings.controller
                    );
                    self.bridge_acknowledge(host, (id, party));
                    self.bridge_send(host, (id, party), "REFER", &headers, None);
                }
                BridgeMode::ThirdParty => self.bridge_second(host, id, response),
            },
            (Stage::InvitingSecond, Party::Second) => {
                bridge.stage = Stage::Up;
                let (kind, answer) = body_of(response);
                bridge.first.acked = Some((kind, answer));
                // What was offered was answered.
                bridge.first.offered = (String::new(), Vec::new());
                if let Some(second) = &mut bridge.second {
                    second.acked = Some((String::new(), Vec::new()));
                }
                // From here on it is a call like any other, and lasts as long at most.
                let timer = host.arm(host.now() + self.settings.lifetime, Timer::Bridge(id));
                host.cancel(std::mem::replace(&mut bridge.timer, timer));
                self.bridge_acknowledge(host, (id, Party::Second));
                self.bridge_acknowledge(host, (id, Party::First));
            }
            // It has answered though it was given up.
            (_, _) => {
                let offers = bridge.mode == BridgeMode::ThirdParty && party == Party::First;
                if let Some(leg) = bridge.leg_mut(party) {
                    leg.offered = if offers { body_of(response) } else { Default::default() };
                    leg.decline();
                }
                self.bridge_acknowledge(host, (id, party));
                self.bridge_leave(host, id);
            }
        }
    }

    /// The first party's offer goes to the second one.
    fn bridge_second(&mut self, host: &mut impl Host<Dialog>, id: BridgeId, response: Message<'_>) {
        let Some(bridge) = self.bridges.list.get_mut(id) else { return };
        bridge.stage = Stage::InvitingSecond;
        let (kind, offer) = body_of(response);
        bridge.first.offered = (kind.clone(), offer.clone());
        let (to, next_hop) = (bridge.to.clone(), bridge.next_hop.clone());
        let second = self.bridge_leg(host, id, &to, next_hop.as_deref());
        let Some(bridge) = self.bridges.list.get_mut(id) else { return };
        bridge.second = second;
        if bridge.second.is_none() {
            bridge.first.decline();
            bridge.status = Some(StatusCode::SERVICE_UNAVAILABLE.code());
            self.bridge_acknowledge(host, (id, Party::First));
            return self.bridge_leave(host, id);
        }
        self.bridge_send(host, (id, Party::Second), "INVITE", "", Some((&kind, &offer)));
    }

    /// A party is not there, or does not want to.
    pub(super) fn bridge_lost(
        &mut self,
        host: &mut impl Host<Dialog>,
        (id, party): (BridgeId, Party),
        status: Option<StatusCode>,
    ) {
        let Some(bridge) = self.bridges.list.get_mut(id) else { return };
        if bridge.stage != Stage::Cancelling {
            bridge.status = Some(status.map_or(503, StatusCode::code));
        }
        if let Some(leg) = bridge.leg_mut(party) {
            leg.phase = Phase::Over;
        }
        if party == Party::Second && bridge.first.phase == Phase::Answered {
            // The first party's offer wants an answer, before it is told that that was all.
            bridge.first.decline();
            self.bridge_acknowledge(host, (id, Party::First));
        }
        self.bridge_leave(host, id);
    }

    /// Says BYE to whoever has answered.
    fn bridge_leave(&mut self, host: &mut impl Host<Dialog>, id: BridgeId) {
        let Some(bridge) = self.bridges.list.get_mut(id) else { return };
        if bridge.stage != Stage::Leaving {
            bridge.stage = Stage::Leaving;
            let timer = host.arm(host.now() + BRIDGE_LEAVE, Timer::Bridge(id));
            host.cancel(std::mem::replace(&mut bridge.timer, timer));
        }
        for party in [Party::First, Party::Second] {
            let leg = self.bridges.list.get_mut(id).and_then(|bridge| bridge.leg_mut(party));
            let Some(leg) = leg else { continue };
            match leg.phase {
                Phase::Answered => {
                    leg.phase = Phase::Leaving;
                    self.bridge_send(host, (id, party), "BYE", "", None);
                }
                Phase::Calling => {
                    let (call_id, cseq) = (leg.call_id.clone().into_bytes().into(), leg.number);
                    host.order(CallOrder { call_id, cseq, what: CallChange::Cancel });
                }
                Phase::Leaving | Phase::Over => {}
            }
        }
        self.bridge_forget_if_over(host, id);
    }

    /// It has taken long enough.
    pub(super) fn bridge_is_late(&mut self, host: &mut impl Host<Dialog>, id: BridgeId) {
        let Some(bridge) = self.bridges.list.get_mut(id) else { return };
        match bridge.stage {
            Stage::Inviting | Stage::InvitingSecond => {
                bridge.stage = Stage::Cancelling;
                bridge.status = Some(StatusCode::REQUEST_TIMEOUT.code());
                bridge.timer = host.arm(host.now() + BRIDGE_LEAVE, Timer::Bridge(id));
                if bridge.second.is_some() {
                    bridge.first.decline();
                    self.bridge_acknowledge(host, (id, Party::First));
                }
                let Some(bridge) = self.bridges.list.get(id) else { return };
                for leg in [Some(&bridge.first), bridge.second.as_ref()].into_iter().flatten() {
                    if leg.phase == Phase::Calling {
                        let (call_id, cseq) = (leg.call_id.clone().into_bytes().into(), leg.number);
                        host.order(CallOrder { call_id, cseq, what: CallChange::Cancel });
                    }
                }
            }
            Stage::Referring | Stage::Watching => {
                bridge.status = Some(StatusCode::REQUEST_TIMEOUT.code());
                bridge.timer = host.arm(host.now() + BRIDGE_LEAVE, Timer::Bridge(id));
                self.bridge_leave(host, id);
            }
            Stage::Up | Stage::Transferred => {
                bridge.timer = host.arm(host.now() + BRIDGE_LEAVE, Timer::Bridge(id));
                self.bridge_leave(host, id);
            }
            // Whoever has not answered by now is left.
            Stage::Leaving | Stage::Cancelling => self.bridge_forget(host, id),
        }
    }

    /// A request of a party of a bridge; `false` when it is none.
    pub(super) fn bridge_asked(
        &mut self,
        host: &mut impl Host<Dialog>,
        request: &Arrived<'_>,
    ) -> bool {
        if self.bridges.len() == 0 {
            return false;
        }
        let message = request.incoming.message();
        let tag = message.to_tag().and_then(|tag| str::from_utf8(tag).ok()).unwrap_or("");
        let number = tag.get(..16).and_then(|text| u64::from_str_radix(text, 16).ok());
        let Some(id) = number.map(BridgeId::from_u64) else { return false };
        let call_id = message.call_id().unwrap_or(&[]);
        let Some(bridge) = self.bridges.list.get(id) else { return false };
        let is_its = |party: &Party| {
            let leg = bridge.leg(*party);
            leg.is_some_and(|leg| leg.tag == tag && leg.call_id.as_bytes() == call_id)
        };
        let Some(party) = [Party::First, Party::Second].into_iter().find(is_its) else {
            return false;
        };
        let Some(transaction) = request.transaction else { return false };
        let method = message.method().map_or(MethodKind::Other, |method| method.kind());
        // Its session is what both have agreed upon when it began.
        let changes = matches!(method, MethodKind::Invite | MethodKind::Update);
        let known = matches!(method, MethodKind::Bye | MethodKind::Notify | MethodKind::Options);
        let refusal = if changes { 488 } else { 405 };
        host.reply(transaction, Reply::new(if known { 200 } else { refusal }));
        if method == MethodKind::Bye {
            self.bridge_hung_up(host, (id, party));
        } else if method == MethodKind::Notify {
            self.bridge_notified(host, id, message);
        }
        true
    }

    /// A party has hung up: so does the other.
    fn bridge_hung_up(&mut self, host: &mut impl Host<Dialog>, (id, party): (BridgeId, Party)) {
        let Some(bridge) = self.bridges.list.get_mut(id) else { return };
        if let Some(leg) = bridge.leg_mut(party) {
            leg.phase = Phase::Over;
        }
        self.bridge_leave(host, id);
    }

    /// The first party says how far its own call has come (RFC 3515 §2.4.4).
    fn bridge_notified(
        &mut self,
        host: &mut impl Host<Dialog>,
        id: BridgeId,
        message: Message<'_>,
    ) {
        let Some(bridge) = self.bridges.list.get_mut(id) else { return };
        let status = fragment(message.body());
        if let Some(status) = status {
            bridge.status = Some(status.code());
        }
        let state = message.header_named(b"Subscription-State").map_or(&[][..], |it| it.value);
        let is_last = status.is_some_and(StatusCode::is_final) || state.starts_with(b"terminated");
        // One may come before the answer to the REFER.
        if is_last && matches!(bridge.stage, Stage::Watching | Stage::Referring) {
            bridge.stage = Stage::Transferred;
            let timer = host.arm(host.now(), Timer::Bridge(id));
            host.cancel(std::mem::replace(&mut bridge.timer, timer));
        }
    }
}

/// Which request was answered; `None` when nothing came back.
fn method_of(heard: Heard<'_>) -> Option<MethodKind> {
    match heard {
        Heard::Response(message) => message.cseq().ok().map(|cseq| cseq.method.kind()),
        Heard::Timeout | Heard::Transport => None,
    }
}
