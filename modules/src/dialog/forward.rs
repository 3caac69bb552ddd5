//! Requests on their way out: the cookie, and the numbers that the next hop expects.
//!
//! For: Record-Route's parameter on every branch; CSeq and RAck of a party whose numbers were
//! overtaken by requests from here or by retries with credentials.
//! Not here: the way back (`reply.rs`).
//! Invariants: numbers towards one party only rise.

use super::record::{Flags, Side};
use super::settings::MatchMode;
use super::table::DialogId;
use super::{Dialog, Role};
use std::rc::Rc;
use strowger_sip::message::{Edits, HeaderName, Message, MethodKind};
use strowger_sip::module::{Arrived, Host, Outgoing};

impl Dialog {
    pub(super) fn on_forward(
        &mut self,
        host: &mut impl Host<Dialog>,
        request: &Arrived<'_>,
        outgoing: &mut Outgoing<'_>,
    ) {
        let message = request.incoming.message();
        let Some(transaction) = request.transaction else {
            if self.has_shifts {
                self.shift_ack(message, outgoing.edits);
            }
            return;
        };
        let Some(attached) = host.attached(transaction) else { return };
        if attached.dialog.is_none() {
            let flags = attached.draft.as_ref().map_or(0, |draft| draft.script_flags);
            let wanted = self.settings.auto_flag.is_some_and(|flag| flags & (1 << flag) != 0);
            if !wanted || message.to_tag().is_some() {
                return;
            }
            // An INVITE that cannot be tracked goes on all the same.
            let flow = request.incoming.flow();
            let _ = self.begin(host, transaction, (message, flow), None);
        }
        let Some(attached) = host.attached(transaction) else { return };
        let Some(id) = attached.dialog else { return };
        let (role, raised) = (attached.role, attached.shift.wrapping_add(attached.raised));
        if attached.untold {
            self.tell_created(host, id, transaction);
        }
        let call_id = message.call_id().unwrap_or(&[]);
        let Some(record) = self.table.get(id) else { return };
        let writes = match role {
            Role::None | Role::Spiral => false,
            Role::Invite => self.settings.match_mode != MatchMode::Tags,
            Role::Within(_) => true,
        };
        if writes {
            let cookies = Rc::clone(&self.cookies);
            cookies.write(record.cookie, call_id, outgoing.record_route_params);
        }
        if raised != 0 {
            let prack = match role {
                Role::Within(from) => record.leg(from).invite_shift,
                Role::None | Role::Invite | Role::Spiral => 0,
            };
            shift_number(message, raised, prack, outgoing.edits);
        }
        self.insert_session(message, outgoing.edits);
    }

    /// The ACK of a 2xx has its INVITE's number.
    fn shift_ack(&self, message: Message<'_>, edits: &mut Edits) {
        let call_id = message.call_id().unwrap_or(&[]);
        let (from, to) = (message.from_tag().unwrap_or(&[]), message.to_tag().unwrap_or(&[]));
        let Some(found) = self.table.by_tags(call_id, from, to) else { return };
        let Some(record) = self.table.get(found.dialog) else { return };
        let shift = record.leg(found.from).invite_shift;
        if shift != 0 {
            shift_number(message, shift, 0, edits);
        }
    }

    /// The next branch of a request carries a number one greater than the last, because the one
    /// before was challenged: what `uac_auth` asks for. In a dialog all later numbers follow.
    pub(super) fn raise(
        &mut self,
        host: &mut impl Host<Dialog>,
        transaction: strowger_sip::engine::slots::ServerId,
    ) -> Option<u32> {
        let attached = host.attached(transaction)?;
        let id = attached.dialog?;
        attached.raised = attached.raised.saturating_add(1);
        let number = attached.cseq.wrapping_add(attached.shift).wrapping_add(attached.raised);
        let total = attached.shift.wrapping_add(attached.raised);
        if let Role::Within(from) = attached.role
            && self.settings.track_cseq
            && let Some(record) = self.table.get_mut(id)
        {
            let leg = record.leg_mut(from);
            leg.shift = leg.shift.max(total);
            self.note_shift(id, from);
        }
        Some(number)
    }

    /// Notes that numbers of this side are shifted; the table `dialog` remembers it.
    pub(super) fn note_shift(&mut self, id: DialogId, side: Side) {
        let Some(record) = self.table.get_mut(id) else { return };
        if !self.settings.track_cseq && record.leg(side).shift != 0 {
            let leg = record.leg_mut(side);
            leg.shift = 0;
        }
        let shift = record.leg(side).shift;
        if shift != 0 || record.leg(side).invite_shift != 0 {
            self.has_shifts = true;
            record.flags.set(Flags::SHIFTED, true);
            let name: &[u8] = match side {
                Side::Caller => b"cseq_diff",
                Side::Callee => b"cseq_diff_callee",
            };
            if record.pairs.set_variable(name, shift.to_string().as_bytes()).is_err() {
                self.counters.refused += 1;
            }
        }
    }

    /// A request from here has used the number that this side would use next.
    pub(super) fn overtake(&mut self, id: DialogId, side: Side) {
        if let Some(record) = self.table.get_mut(id) {
            let leg = record.leg_mut(side);
            leg.shift = leg.shift.saturating_add(1);
            self.has_shifts = true;
            record.flags.set(Flags::SHIFTED, true);
        }
    }
}

/// Writes numbers that are greater by `raised` (CSeq) and by `invite` (RAck, which names the
/// INVITE's).
fn shift_number(message: Message<'_>, raised: u32, invite: u32, edits: &mut Edits) {
    let Ok(cseq) = message.cseq() else { return };
    let mut text = Vec::with_capacity(32);
    let number = cseq.number.wrapping_add(raised);
    text.extend_from_slice(number.to_string().as_bytes());
    text.push(b' ');
    text.extend_from_slice(cseq.method.as_bytes());
    // A message with as many edits as there may be goes as it is.
    let _ = edits.replace(b"CSeq", 0, &text);
    if cseq.method.kind() != MethodKind::Prack || invite == 0 {
        return;
    }
    let Some(rack) = message.header(HeaderName::RAck) else { return };
    let mut parts = rack.value.split(u8::is_ascii_whitespace).filter(|part| !part.is_empty());
    let (Some(response), Some(number), Some(method)) = (parts.next(), parts.next(), parts.next())
    else {
        return;
    };
    let Some(number) = str::from_utf8(number).ok().and_then(|text| text.parse::<u32>().ok()) else {
        return;
    };
    let number = number.wrapping_add(invite).to_string();
    let text = [response, number.as_bytes(), method].join(&b' ');
    let _ = edits.replace(b"RAck", 0, &text);
}
