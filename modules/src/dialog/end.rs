//! The end of a dialog: by a BYE from here, by a refusal, by being forgotten.
//!
//! For: one idempotent `terminate`, one end event with its cause, records that go when nobody needs
//! them any more.
//! Not here: a party's own BYE (`within.rs`), what a BYE looks like (`local.rs`).
//! Invariants: `End` is told once, and only here.

use super::limits::{REACH_ATTEMPTS, REACH_PAUSE};
use super::local::{Local, Sent};
use super::record::{Bye, Cause, Ending, Flags, Side};
use super::state::State;
use super::table::DialogId;
use super::texts::Field;
use super::{Dialog, DialogEventKind, Timer, Token};
use strowger_sip::engine::{CallChange, CallOrder};
use strowger_sip::message::StatusCode;
use strowger_sip::module::{Heard, Host};
use strowger_sip::routing::Reply;

/// What ending a dialog has led to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Terminated {
    /// BYEs are on their way.
    Asked,
    /// It was not answered yet: the caller is refused, the callees are cancelled.
    Refused,
    /// It is ending already.
    Already,
    /// There is no such dialog, or it has ended.
    Unknown,
    /// Nobody could be reached.
    Unreachable,
}

/// The status that stands for what was heard.
pub(super) fn status_of(heard: Heard<'_>) -> StatusCode {
    match heard {
        Heard::Response(message) => message.status().unwrap_or(StatusCode::SERVER_INTERNAL_ERROR),
        Heard::Timeout => StatusCode::REQUEST_TIMEOUT,
        Heard::Transport => StatusCode::SERVICE_UNAVAILABLE,
    }
}

impl Dialog {
    /// Ends a dialog from here: a BYE to these sides, with these header lines.
    pub(super) fn terminate(
        &mut self,
        host: &mut impl Host<Dialog>,
        id: DialogId,
        cause: Cause,
        sides: &[Side],
        headers: &[u8],
    ) -> Terminated {
        let Some(record) = self.table.get_mut(id) else { return Terminated::Unknown };
        match (record.state, record.ending) {
            (State::Unconfirmed | State::Early, _) => return self.refuse(host, id, sides),
            (State::Deleted, _) => return Terminated::Unknown,
            (State::ConfirmedNa | State::Confirmed, Ending::No | Ending::Asked(_)) => {}
            (State::ConfirmedNa | State::Confirmed, Ending::Hung(_) | Ending::Told) => {
                return Terminated::Already;
            }
        }
        let open: Vec<Side> =
            sides.iter().copied().filter(|side| record.leg(*side).bye == Bye::None).collect();
        if open.is_empty() {
            return Terminated::Already;
        }
        self.let_go(host, id);
        let Some(record) = self.table.get_mut(id) else { return Terminated::Unknown };
        // A copy of the answer that comes late revives nothing.
        record.flags.set(Flags::HAS_BYE, true);
        let first = record.ending == Ending::No;
        if first {
            record.ending = Ending::Asked(cause);
        }
        if !headers.is_empty() {
            record.extra.get_or_insert_default().bye_headers = headers.to_vec();
        }
        // The lifetime is over; what is left has a bound of its own, the BYE's transaction.
        (record.deadline, record.keep_alive, record.session) = (None, None, None);
        record.watch = Some(host.now() + self.settings.end_timeout);
        self.rearm(host, id);
        if first {
            self.tell(host, id, DialogEventKind::Ending(cause));
        }
        if self.settings.release_early {
            self.release(host, id);
        }
        for side in open {
            self.send_bye(host, id, side, 0);
        }
        let waits = self
            .table
            .get(id)
            .is_some_and(|record| record.legs.iter().any(|leg| leg.bye == Bye::Sent));
        if waits { Terminated::Asked } else { Terminated::Unreachable }
    }

    /// An unanswered call: the caller gets a final response, or the callees are cancelled.
    fn refuse(&mut self, host: &mut impl Host<Dialog>, id: DialogId, sides: &[Side]) -> Terminated {
        let Some(invite) = self.invite_of(id) else { return Terminated::Unreachable };
        if sides.contains(&Side::Caller) {
            let (code, reason) = &self.settings.early_reply;
            host.reply(invite, Reply::new(*code).reason(reason));
        } else {
            // The number of the INVITE itself; PRACK and UPDATE may have gone on from there.
            let cseq = host.attached(invite).map_or(0, |attached| attached.cseq);
            let call_id = self.table.get(id).map(|record| record.text(Field::CallId).into());
            if let Some(call_id) = call_id {
                host.order(CallOrder { call_id, cseq, what: CallChange::Cancel });
            }
        }
        Terminated::Refused
    }

    /// Sends a BYE to one side; while its next hop is looked up, again in a while.
    pub(super) fn send_bye(
        &mut self,
        host: &mut impl Host<Dialog>,
        id: DialogId,
        to: Side,
        attempt: u8,
    ) {
        let Some(record) = self.table.get(id) else { return };
        let waits = attempt > 0 && record.leg(to).bye == Bye::Sent;
        if record.leg(to).bye != Bye::None && !waits {
            return;
        }
        let number = record.number_above(to, 1 + self.settings.bye_bump);
        let mut headers = Vec::new();
        headers.extend_from_slice(&self.settings.bye_headers);
        if let Some(extra) = &record.extra {
            headers.extend_from_slice(&extra.bye_headers);
        }
        if to == Side::Callee {
            headers.extend_from_slice(&self.settings.callee_headers);
        }
        let local = Local { method: "BYE", number, headers: &headers, body: None };
        match self.send_local(host, id, to, &local, Token::Bye(id, to)) {
            Sent::Yes => {
                if let Some(record) = self.table.get_mut(id) {
                    record.leg_mut(to).bye = Bye::Sent;
                    record.holders = record.holders.saturating_add(1);
                }
            }
            Sent::Later if attempt < REACH_ATTEMPTS => {
                if let Some(record) = self.table.get_mut(id) {
                    record.leg_mut(to).bye = Bye::Sent;
                }
                host.arm(host.now() + REACH_PAUSE, Timer::Bye(id, to, attempt + 1));
            }
            Sent::Later | Sent::No => {
                self.counters.unsent += 1;
                self.bye_ended(host, id, to, StatusCode::SERVICE_UNAVAILABLE);
            }
        }
    }

    pub(super) fn bye_answered(
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
        let Some(record) = self.table.get_mut(id) else { return };
        record.holders = record.holders.saturating_sub(1);
        let leg = record.leg_mut(to);
        let lost = matches!(heard, Heard::Transport) && leg.flow.take().is_some();
        if lost && leg.bye == Bye::Sent {
            // Its connection is gone: perhaps its contact leads to it.
            leg.bye = Bye::None;
            return self.send_bye(host, id, to, 0);
        }
        self.bye_ended(host, id, to, status);
    }

    /// The first answer to a BYE from here ends the dialog, whatever it says.
    fn bye_ended(
        &mut self,
        host: &mut impl Host<Dialog>,
        id: DialogId,
        to: Side,
        status: StatusCode,
    ) {
        let Some(record) = self.table.get_mut(id) else { return };
        if record.leg(to).bye != Bye::Own {
            record.leg_mut(to).bye = Bye::Answered(status.code());
        }
        if record.state.is_active() {
            self.close(host, id);
            self.tell(host, id, DialogEventKind::EndConfirmed(status));
            self.tell_end(host, id);
        }
        self.forget_if_free(host, id);
    }

    /// Tells that a dialog is over, once.
    pub(super) fn tell_end(&mut self, host: &mut impl Host<Dialog>, id: DialogId) {
        let Some(cause) = self.cause_of(id) else { return };
        if let Some(record) = self.table.get_mut(id) {
            record.ending = Ending::Told;
            record.watch = Some(host.now() + self.settings.end_timeout);
        }
        if let Some(place) = Cause::ALL.iter().position(|known| *known == cause)
            && let Some(count) = self.counters.ended.get_mut(place)
        {
            *count += 1;
        }
        self.measure_end(id, super::today(host));
        self.rearm(host, id);
        // At once: a process that starts now must not take it for a call that goes on.
        self.unstore(host, id);
        self.tell(host, id, DialogEventKind::End(cause));
        self.forget_if_free(host, id);
    }

    /// Ends a dialog without a word to its parties: its lifetime is over.
    pub(super) fn expire(&mut self, host: &mut impl Host<Dialog>, id: DialogId) {
        let Some(record) = self.table.get_mut(id) else { return };
        record.deadline = None;
        record.flags.set(Flags::EXPIRED, true);
        let flags = record.flags;
        let cause = match (flags.has(Flags::NO_ACK), flags.has(Flags::CUT)) {
            (true, _) => Cause::NoAck,
            (false, true) => Cause::KeepAlive,
            (false, false) => Cause::Timeout,
        };
        let is_foreign = record.legs.iter().any(|leg| leg.listener.is_none());
        if self.settings.filter_foreign && is_foreign {
            // Another node's: that one ends it, and deletes its row.
            record.flags.set(Flags::STORED, false);
            return self.forget(host, id);
        }
        let was_confirmed = record.state == State::Confirmed;
        let has_route = !record.text(Field::TimeoutRoute).is_empty();
        self.counters.expired += 1;
        if has_route {
            self.tell(host, id, DialogEventKind::Timeout);
        }
        if flags.has(Flags::BYE_ON_TIMEOUT) {
            self.terminate(host, id, cause, &Side::BOTH, &[]);
            return;
        }
        self.end_silently(host, id, cause);
        self.tell(host, id, DialogEventKind::Expired(was_confirmed));
        self.tell_end(host, id);
    }

    /// The record's end, still to be told.
    fn end_silently(&mut self, host: &mut impl Host<Dialog>, id: DialogId, cause: Cause) {
        if let Some(record) = self.table.get_mut(id) {
            record.ending = Ending::Asked(cause);
        }
        self.close(host, id);
    }

    /// Forgets a dialog that has ended and that no transaction belongs to any more.
    pub(super) fn forget_if_free(&mut self, host: &mut impl Host<Dialog>, id: DialogId) {
        let free = self.table.get(id).is_some_and(|record| {
            record.state == State::Deleted
                && record.ending == Ending::Told
                && record.holders == 0
                && record.legs.iter().all(|leg| leg.bye != Bye::Sent)
        });
        if free {
            self.forget(host, id);
        }
    }

    /// Forgets a dialog.
    pub(super) fn forget(&mut self, host: &mut impl Host<Dialog>, id: DialogId) {
        self.release(host, id);
        self.let_go(host, id);
        self.tell(host, id, DialogEventKind::Destroyed);
        self.unstore(host, id);
        if let Some(timer) = self.table.get_mut(id).and_then(|record| record.timer.take()) {
            host.cancel(timer);
        }
        self.table.remove(id);
        // Linear in the table: only tests pay for it.
        debug_assert!(cfg!(not(test)) || self.table.is_consistent(), "indexes contradict");
    }

    /// `dlg.set_state`: forces a state; ended dialogs linger and go by their timer.
    pub(super) fn force_state(
        &mut self,
        host: &mut impl Host<Dialog>,
        id: DialogId,
        state: State,
    ) -> bool {
        let Some(record) = self.table.get_mut(id) else { return false };
        if state == State::Deleted && record.state != State::Deleted {
            record.ending = Ending::Told;
            self.close(host, id);
            self.unstore(host, id);
        } else {
            let was_early = record.state.is_early();
            if was_early && state.is_active() {
                record.deadline = Some(host.now() + super::reply::seconds(record.lifetime_seconds));
                record.watch = None;
                record.start = super::today(host);
            }
            self.table.set_state(id, state);
            self.rearm(host, id);
        }
        self.changed(host, id);
        true
    }
}
