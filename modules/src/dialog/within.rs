//! Requests within a dialog, before the routing sees them.
//!
//! For: finding the dialog, moving its state, numbers and timers; what a BYE, an ACK and all others
//! bring about.
//! Not here: what is written into them on their way out (`forward.rs`).
//! Invariants: a number that was seen is never forgotten for a smaller one.

use super::cookie::Found;
use super::matching::{Match, Sought};
use super::record::{Bye, Cause, Ending, Flags, Side};
use super::reply::seconds;
use super::settings::MatchMode;
use super::state::{Incident, State, Step, step};
use super::table::DialogId;
use super::texts::Field;
use super::{Attached, Dialog, DialogEventKind, Role, today};
use std::rc::Rc;
use strowger_sip::engine::slots::ServerId;
use strowger_sip::message::{Message, MethodKind, StatusCode};
use strowger_sip::module::{Arrived, Host};
use strowger_sip::transport::Flow;

impl Dialog {
    /// A request has come in: one within a dialog that its cookie names moves that dialog.
    pub(super) fn meet(&mut self, host: &mut impl Host<Dialog>, request: &Arrived<'_>) {
        let message = request.incoming.message();
        if message.to_tag().is_none() || self.table.len() == 0 {
            return;
        }
        let cookies = Rc::clone(&self.cookies);
        let found = cookies.of_request(message, |uri| host.is_ours(uri));
        // Without a Route of ours it is for the routing to say that it is within a dialog.
        let mode = self.settings.match_mode;
        let follows = found != Found::None || follows_us(message, |uri| host.is_ours(uri));
        if !follows {
            return;
        }
        match self.table.seek(message, found, mode) {
            Sought::Found(found) => {
                let arrived = (message, request.incoming.flow());
                self.enter(host, request.transaction, arrived, found);
            }
            Sought::Missed => self.counters.unmatched += 1,
            Sought::Nothing => {}
        }
    }

    /// The routing says that a request with a To tag is within a dialog: it is looked for by tags.
    pub(super) fn meet_by_tags(
        &mut self,
        host: &mut impl Host<Dialog>,
        transaction: Option<ServerId>,
        (message, flow): (Message<'_>, Flow),
    ) -> Option<DialogId> {
        if let Some(known) = super::dialog_of(host, transaction) {
            return Some(known);
        }
        match self.table.seek(message, Found::None, MatchMode::Tags) {
            Sought::Found(found) => {
                self.enter(host, transaction, (message, flow), found);
                Some(found.dialog)
            }
            Sought::Missed | Sought::Nothing => None,
        }
    }

    /// A request enters its dialog.
    fn enter(
        &mut self,
        host: &mut impl Host<Dialog>,
        transaction: Option<ServerId>,
        (message, flow): (Message<'_>, Flow),
        Match { dialog: id, from }: Match,
    ) {
        let method = message.method().map_or(MethodKind::Other, |method| method.kind());
        let number = message.cseq().map_or(0, |cseq| cseq.number);
        let Some(record) = self.table.get_mut(id) else { return };
        let shift = record.leg(from).shift;
        if record.leg(from).flow.is_some() {
            // A translator gives another port now and then.
            record.note_flow(from, flow);
        }
        if let Some(attached) = transaction.and_then(|transaction| host.attached(transaction)) {
            *attached = Attached {
                dialog: Some(id),
                role: Role::Within(from),
                method: Some(method),
                cseq: number,
                shift,
                draft: attached.draft.take(),
                ..Attached::default()
            };
            record.holders = record.holders.saturating_add(1);
        }
        if method != MethodKind::Ack {
            note_number(record, from, message, number);
        }
        let incident = Incident::of_request(method);
        let (state, has_bye) = (record.state, record.flags.has(Flags::HAS_BYE));
        match step(state, incident, has_bye) {
            Step::To(State::Confirmed) => self.acknowledged(host, id),
            Step::To(_) => self.hung_up(host, id, from),
            Step::Stay => self.went_by(host, id, (method, from), state),
            Step::Bogus | Step::Late => self.counters.bogus += 1,
        }
    }

    /// The ACK of the answer.
    fn acknowledged(&mut self, host: &mut impl Host<Dialog>, id: DialogId) {
        self.table.set_state(id, State::Confirmed);
        let now = host.now();
        if let Some(record) = self.table.get_mut(id) {
            record.watch = None;
            // A lifetime that was cut because the ACK was missing is whole again.
            record.flags.set(Flags::NO_ACK, false);
            record.deadline = Some(now + seconds(record.lifetime_seconds));
        }
        self.start_keep_alive(host, id);
        self.rearm(host, id);
        self.changed(host, id);
        self.tell(host, id, DialogEventKind::Confirmed);
        let unwanted = self.table.get(id).and_then(|record| record.extra.as_ref());
        if unwanted.is_some_and(|extra| extra.unwanted) {
            self.terminate(host, id, Cause::Extra, &[Side::Callee], &[]);
        }
    }

    /// Any other request of a dialog that goes on.
    fn went_by(
        &mut self,
        host: &mut impl Host<Dialog>,
        id: DialogId,
        (method, from): (MethodKind, Side),
        state: State,
    ) {
        let now = host.now();
        let Some(record) = self.table.get_mut(id) else { return };
        match state {
            State::Unconfirmed | State::ConfirmedNa => {}
            State::Early | State::Confirmed => {
                if method == MethodKind::Prack {
                    record.flags.set(Flags::PRACK_SEEN, true);
                }
                let resets = state == State::Confirmed && !record.flags.has(Flags::NO_RESET);
                if resets && record.ending == Ending::No && !record.flags.has(Flags::CUT) {
                    record.deadline = Some(now + seconds(record.lifetime_seconds));
                    self.rearm(host, id);
                }
                self.changed(host, id);
                self.tell(host, id, DialogEventKind::Within(method, from));
            }
            State::Deleted => {
                if method == MethodKind::Bye {
                    // Its retry with credentials, or the other party's own.
                    self.counters.bogus += u64::from(record.ending == Ending::No);
                }
            }
        }
    }

    /// A BYE of a party.
    fn hung_up(&mut self, host: &mut impl Host<Dialog>, id: DialogId, from: Side) {
        let cause = match from {
            Side::Caller => Cause::CallerBye,
            Side::Callee => Cause::CalleeBye,
        };
        let end_timeout = self.settings.end_timeout;
        let Some(record) = self.table.get_mut(id) else { return };
        record.flags.set(Flags::HAS_BYE, true);
        record.leg_mut(from).bye = Bye::Own;
        let asked = record.is_asked();
        if !asked {
            record.ending = Ending::Hung(cause);
        }
        self.close(host, id);
        if let Some(record) = self.table.get_mut(id) {
            record.watch = Some(host.now() + end_timeout);
        }
        self.rearm(host, id);
        if asked {
            // It crosses with the one that was sent from here.
            self.tell_end(host, id);
        } else {
            self.tell(host, id, DialogEventKind::Ending(cause));
        }
    }

    /// The BYE of a party was answered, or never will be.
    pub(super) fn hung_up_answered(
        &mut self,
        host: &mut impl Host<Dialog>,
        id: DialogId,
        status: StatusCode,
    ) {
        let now = host.now();
        let Some(record) = self.table.get_mut(id) else { return };
        let Ending::Hung(_) = record.ending else { return };
        if matches!(status.code(), 401 | 407) {
            // It may come again with credentials; until then nothing more is said.
            record.watch = Some(now + super::limits::CHALLENGED_BYE);
            return self.rearm(host, id);
        }
        self.tell(host, id, DialogEventKind::EndConfirmed(status));
        self.tell_end(host, id);
    }

    /// `dlg_update_state`: moves the state by hand, without timers, legs and callbacks.
    pub(super) fn update_state(&mut self, id: DialogId, incident: Incident) -> Step {
        let Some(record) = self.table.get(id) else { return Step::Bogus };
        let moved = step(record.state, incident, record.flags.has(Flags::HAS_BYE));
        if let Step::To(state) = moved {
            self.table.set_state(id, state);
        }
        moved
    }

    /// The lifetime begins anew from here, `dlg_set_timeout`.
    pub(super) fn set_lifetime(
        &mut self,
        host: &mut impl Host<Dialog>,
        id: DialogId,
        lifetime_seconds: u32,
    ) -> bool {
        let now = host.now();
        let Some(record) = self.table.get_mut(id) else { return false };
        record.lifetime_seconds = lifetime_seconds.max(1);
        if record.state.is_active() && record.ending == Ending::No {
            record.deadline = Some(now + seconds(record.lifetime_seconds));
            self.rearm(host, id);
        }
        self.changed(host, id);
        true
    }

    /// Ends what goes on while a dialog lives: timers, memberships, counts.
    pub(super) fn close(&mut self, host: &mut impl Host<Dialog>, id: DialogId) {
        let (now, day) = (host.now(), today(host));
        let end_timeout = self.settings.end_timeout;
        self.let_go(host, id);
        self.table.set_state(id, State::Deleted);
        self.release(host, id);
        if let Some(record) = self.table.get_mut(id) {
            record.end = day;
            (record.deadline, record.keep_alive, record.session) = (None, None, None);
            record.watch = Some(now + end_timeout);
        }
        self.rearm(host, id);
    }
}

/// Whether the topmost Route is ours.
fn follows_us(
    message: Message<'_>,
    ours: impl Fn(&strowger_sip::message::Uri<'_>) -> bool,
) -> bool {
    let first = message.routes().next().and_then(Result::ok);
    let is_ours = |uri: &strowger_sip::message::Uri<'_>| ours(uri);
    if first.is_some_and(|route| route.uri().is_ok_and(|uri| is_ours(&uri))) {
        return true;
    }
    // A strict router has put what was ours into the Request-URI.
    let target = message.request_uri().and_then(|uri| strowger_sip::message::Uri::parse(uri).ok());
    first.is_some() && target.is_some_and(|uri| uri.user.is_none() && uri.lr() && is_ours(&uri))
}

/// Keeps the greatest number of a party; before the answer that of the early dialog it is in.
fn note_number(record: &mut super::record::Record, from: Side, message: Message<'_>, number: u32) {
    let early = record.extra.as_mut().filter(|_| from == Side::Callee && record.state.is_early());
    let tag = message.from_tag().unwrap_or(&[]);
    let first = record.texts.get(Field::ToTag);
    if let Some(extra) = early
        && first != tag
        && let Some(leg) = extra.early.iter_mut().find(|leg| *leg.tag == *tag)
    {
        leg.cseq = leg.cseq.max(Some(number));
        return;
    }
    let leg = record.leg_mut(from);
    leg.cseq = leg.cseq.max(Some(number));
}
