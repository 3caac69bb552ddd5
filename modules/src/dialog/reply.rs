//! Responses on their way upstream: what they mean to the dialog.
//!
//! For: early dialogs by To tag, the answer, further answers, failure; contacts of accepted
//! requests; numbers that were raised on the way down.
//! Not here: requests (`within.rs`), what an end brings with it (`end.rs`).
//! Invariants: what the caller gets has the number that it sent.

use super::create::{contact, empty};
use super::limits::EARLY_LEGS_MAX;
use super::record::{Cause, EarlyLeg, Ending, Extra, Flags, Leg, Record, Side};
use super::settings::Extra2xx;
use super::state::{Incident, State, Step, step};
use super::table::DialogId;
use super::texts::{Field, Pairs, Texts};
use super::{Dialog, DialogEventKind, Role, today};
use strowger_sip::engine::slots::ServerId;
use strowger_sip::message::{Edits, Message, MethodKind, NameAddr, StatusCode, Uri};
use strowger_sip::module::{Departing, Host};
use strowger_sip::transport::ListenerId;

impl Dialog {
    pub(super) fn on_response(
        &mut self,
        host: &mut impl Host<Dialog>,
        response: &Departing<'_>,
        edits: &mut Edits,
    ) {
        let status = response.status;
        let transaction = response.transaction;
        let Some(attached) = host.attached(transaction) else { return };
        attached.answered |= status.is_final();
        let (role, cseq) = (attached.role, attached.cseq);
        let method = attached.method.unwrap_or(MethodKind::Other);
        let Some(id) = attached.dialog else {
            if status.is_final() {
                let draft = attached.draft.take();
                self.drop_draft(host, draft);
            }
            return;
        };
        let raised = response.message.and_then(|message| restore_number(message, cseq, edits));
        if response.suppress.get() && status.is_provisional() {
            return;
        }
        self.complete_session(host, response, edits);
        match role {
            Role::None | Role::Spiral => {}
            Role::Invite => {
                self.tell(host, id, DialogEventKind::Response(status));
                self.invite_answered(host, id, response, raised.unwrap_or(0));
            }
            Role::Within(from) => {
                self.within_answered(host, (id, from, method), response, raised);
            }
        }
    }

    fn invite_answered(
        &mut self,
        host: &mut impl Host<Dialog>,
        id: DialogId,
        response: &Departing<'_>,
        raised: u32,
    ) {
        let status = response.status;
        let Some(record) = self.table.get(id) else { return };
        let incident = match status.code() {
            // What this node says by itself is no sign of life of the other end.
            ..200 if response.message.is_none() => return,
            ..200 => Incident::Provisional,
            200..300 => Incident::Success,
            _ => Incident::Failure,
        };
        let has_bye = record.flags.has(Flags::HAS_BYE);
        if record.extra.as_ref().is_some_and(|extra| extra.taken_back) {
            return self.answer_again(host, id, response.transaction);
        }
        match (step(record.state, incident, has_bye), incident) {
            (Step::To(State::Early), _) => self.ring(host, id, response, raised),
            (Step::To(State::ConfirmedNa), _) => self.confirm(host, id, response, raised),
            (Step::To(_), _) => self.fail(host, id, status),
            (Step::Stay | Step::Late, Incident::Success) => {
                self.answered_again(host, id, response, raised);
            }
            (Step::Stay | Step::Late, _) => {}
            (Step::Bogus, _) => self.counters.bogus += 1,
        }
    }

    fn ring(
        &mut self,
        host: &mut impl Host<Dialog>,
        id: DialogId,
        response: &Departing<'_>,
        raised: u32,
    ) {
        let record = self.table.get(id).filter(|record| record.state == State::Unconfirmed);
        let begun = record.and_then(|record| record.begun);
        self.measures.rings(begun, host.now());
        self.table.set_state(id, State::Early);
        if let (Some(message), Some(record)) = (response.message, self.table.get_mut(id)) {
            let listener = response.flow.map(|flow| flow.listener);
            let ours = |uri: &Uri<'_>| host.is_ours(uri);
            learn_early(record, message, listener, &mut self.scratch, ours);
            let caller = record.leg_mut(Side::Caller);
            (caller.shift, caller.invite_shift) = (raised, raised);
        }
        self.tell(host, id, DialogEventKind::Early(response.status));
    }

    /// The call is answered: from here on both legs are known.
    fn confirm(
        &mut self,
        host: &mut impl Host<Dialog>,
        id: DialogId,
        response: &Departing<'_>,
        raised: u32,
    ) {
        let (now, day) = (host.now(), today(host));
        let begun = self.table.get(id).and_then(|record| record.begun);
        self.measures.is_answered(begun, now);
        self.table.set_state(id, State::ConfirmedNa);
        let keep = self.settings.keep_proxy_rr;
        let mut complete = false;
        if let Some(record) = self.table.get_mut(id) {
            if let Some(message) = response.message {
                promote(record, message.to_tag().unwrap_or(&[]));
                let ours = |uri: &Uri<'_>| host.is_ours(uri);
                complete = learn_callee(record, message, keep, &mut self.scratch, ours);
            }
            let callee = record.leg_mut(Side::Callee);
            callee.listener = response.flow.map(|flow| flow.listener).or(callee.listener);
            if let Some(flow) = response.flow {
                record.note_flow(Side::Callee, flow);
            }
            record.flags.set(Flags::CALLEE_KNOWN, true);
            record.invite = None;
            record.extra.take_if(|extra| !extra.unwanted);
            record.start = day;
            record.deadline = Some(now + seconds(record.lifetime_seconds));
            record.watch = Some(now + self.settings.noack_timeout);
            let caller = record.leg_mut(Side::Caller);
            (caller.shift, caller.invite_shift) = (raised, raised);
        }
        self.counters.incomplete += u64::from(!complete);
        self.note_shift(id, Side::Caller);
        self.note_session(host, id, response);
        self.rearm(host, id);
        if !self.promise(host, id, response.transaction) {
            self.changed(host, id);
            self.tell(host, id, DialogEventKind::Start);
        }
    }

    /// Another 2xx for an INVITE: the first one's copy, or one by another callee.
    fn answered_again(
        &mut self,
        host: &mut impl Host<Dialog>,
        id: DialogId,
        response: &Departing<'_>,
        raised: u32,
    ) {
        let Some(message) = response.message else { return };
        let Some(tag) = message.to_tag() else { return };
        let call_id = message.call_id().unwrap_or(&[]);
        let of_tag = |(id, record): (DialogId, &Record)| record.is_callee_tag(tag).then_some(id);
        let known = self.table.of_call(call_id).find_map(of_tag);
        if let Some(known) = known {
            return self.answer_again(host, known, response.transaction);
        }
        if self.settings.extra_2xx == Extra2xx::Pass {
            return;
        }
        let Some(parent) = self.table.get(id) else { return };
        let (cookie, entry) = (parent.cookie, parent.key.entry);
        let (caller, init) = (*parent.leg(Side::Caller), parent.init);
        let (flags, lifetime) = (parent.flags, parent.lifetime_seconds);
        let mut texts = Texts::in_memory(Vec::new());
        for field in [
            Field::CallId,
            Field::FromUri,
            Field::FromTag,
            Field::ToUri,
            Field::RequestUri,
            Field::CallerContact,
            Field::CallerRoutes,
            Field::TimeoutRoute,
        ] {
            // It fits: it fitted the parent.
            let _ = texts.set(field, parent.text(field));
        }
        let mut pairs = Pairs::default();
        for (key, value) in parent.pairs.variables() {
            let _ = pairs.set_variable(key, value);
        }
        let ids = self.ids(host);
        let key = self.table.new_key(entry, ids);
        let shift = Leg { shift: 0, invite_shift: 0, ..caller };
        let child = Record {
            cookie,
            flags: Flags(flags.0 & Flags::KEPT),
            legs: [shift, Leg::default()],
            init,
            lifetime_seconds: lifetime,
            ..empty(key, texts, pairs)
        };
        let Some(child) = self.table.insert(child) else {
            self.counters.refused += 1;
            return;
        };
        self.counters.processed += 1;
        if self.settings.extra_2xx == Extra2xx::Kill
            && let Some(record) = self.table.get_mut(child)
        {
            record.extra = Some(Box::new(Extra { unwanted: true, ..Extra::default() }));
        }
        self.confirm(host, child, response, raised);
    }

    /// It will not be answered.
    pub(super) fn fail(&mut self, host: &mut impl Host<Dialog>, id: DialogId, status: StatusCode) {
        self.counters.failed += 1;
        self.close(host, id);
        if let Some(record) = self.table.get_mut(id) {
            record.ending = Ending::Told;
            record.invite = None;
        }
        self.tell(host, id, DialogEventKind::Failed(status));
        if self.settings.wait_ack {
            self.forget_if_free(host, id);
        } else {
            self.forget(host, id);
        }
    }

    fn within_answered(
        &mut self,
        host: &mut impl Host<Dialog>,
        (id, from, method): (DialogId, Side, MethodKind),
        response: &Departing<'_>,
        raised: Option<u32>,
    ) {
        let status = response.status;
        if status.is_success()
            && let Some(message) = response.message
        {
            self.refresh(host, (id, from, method), message, response);
            if let (Some(raised), Some(record)) = (raised, self.table.get_mut(id)) {
                let leg = record.leg_mut(from);
                leg.invite_shift =
                    if method == MethodKind::Invite { raised } else { leg.invite_shift };
            }
        }
        if matches!(method, MethodKind::Invite | MethodKind::Update) {
            self.note_session(host, id, response);
        }
        self.tell(host, id, DialogEventKind::ResponseWithin(method, status));
        if method == MethodKind::Bye && status.is_final() {
            self.hung_up_answered(host, id, status);
        }
    }

    /// An accepted request says where both parties want to be reached (RFC 3261 §12.2.1.2, RFC 3311
    /// §5.1, RFC 6141).
    fn refresh(
        &mut self,
        host: &mut impl Host<Dialog>,
        (id, from, method): (DialogId, Side, MethodKind),
        answer: Message<'_>,
        response: &Departing<'_>,
    ) {
        let refreshes = matches!(
            method,
            MethodKind::Invite
                | MethodKind::Update
                | MethodKind::Subscribe
                | MethodKind::Notify
                | MethodKind::Refer
        );
        if !refreshes {
            return;
        }
        let asked = response.request.and_then(|request| contact(request.message()));
        for (side, contact) in [(from, asked), (from.other(), contact(answer))] {
            let (Some(contact), Some(record)) = (contact, self.table.get_mut(id)) else { continue };
            let is_new = record.text(side.contact()) != contact;
            if is_new && record.texts.set(side.contact(), contact).is_ok() {
                self.changed(host, id);
                self.tell(host, id, DialogEventKind::Refreshed(side));
            }
        }
    }

    pub(super) fn on_transaction_end(
        &mut self,
        host: &mut impl Host<Dialog>,
        attached: super::Attached,
    ) {
        self.drop_draft(host, attached.draft);
        let Some(id) = attached.dialog else { return };
        let Some(record) = self.table.get_mut(id) else { return };
        record.holders = record.holders.saturating_sub(1);
        let (state, has_bye) = (record.state, record.flags.has(Flags::HAS_BYE));
        match attached.role {
            Role::Invite => {
                if record.invite.is_some() {
                    record.invite = None;
                }
                match step(state, Incident::TransactionEnd, has_bye) {
                    Step::To(_) => return self.fail(host, id, StatusCode::REQUEST_TERMINATED),
                    Step::Stay | Step::Bogus | Step::Late => {}
                }
            }
            Role::Within(_) if attached.method == Some(MethodKind::Bye) && !attached.answered => {
                // Nobody will answer it any more.
                self.hung_up_answered(host, id, StatusCode::REQUEST_TIMEOUT);
            }
            Role::Within(_) | Role::Spiral | Role::None => {}
        }
        self.forget_if_free(host, id);
    }

    /// The transaction by which an unanswered call can still be refused.
    pub(super) fn invite_of(&self, id: DialogId) -> Option<ServerId> {
        self.table.get(id)?.invite
    }

    pub(super) fn cause_of(&self, id: DialogId) -> Option<Cause> {
        match self.table.get(id)?.ending {
            Ending::Asked(cause) | Ending::Hung(cause) => Some(cause),
            Ending::No | Ending::Told => None,
        }
    }
}

pub(super) fn seconds(seconds: u32) -> std::time::Duration {
    std::time::Duration::from_secs(u64::from(seconds))
}

/// Puts the number back under which the request was received; how much it was raised by.
fn restore_number(message: Message<'_>, received: u32, edits: &mut Edits) -> Option<u32> {
    let cseq = message.cseq().ok()?;
    let raised = cseq.number.wrapping_sub(received);
    if raised != 0 {
        let mut text = Vec::with_capacity(32);
        text.extend_from_slice(received.to_string().as_bytes());
        text.push(b' ');
        text.extend_from_slice(cseq.method.as_bytes());
        // Without it the caller takes the response for another request's.
        let _ = edits.replace(b"CSeq", 0, &text);
    }
    Some(raised)
}

/// The way from here to the callee, from the Record-Route of its response: from the end, without
/// the entries that came with the INVITE and without our own.
fn callee_routes(
    record: &Record,
    message: Message<'_>,
    keep_own: bool,
    out: &mut Vec<u8>,
    ours: impl Fn(&Uri<'_>) -> bool,
) {
    let caller_side = count_list(record.text(Field::CallerRoutes));
    let all = message.record_routes().filter_map(Result::ok).count();
    let mut callee_side = all.saturating_sub(caller_side);
    if !keep_own {
        // Ours are the last ones before those of the caller's side.
        for _ in 0..2 {
            let Some(nth) = callee_side.checked_sub(1) else { break };
            let route = message.record_routes().filter_map(Result::ok).nth(nth);
            if !route.is_some_and(|route| route.uri().is_ok_and(|uri| ours(&uri))) {
                break;
            }
            callee_side = nth;
        }
    }
    out.clear();
    for nth in (0..callee_side).rev() {
        if let Some(route) = message.record_routes().filter_map(Result::ok).nth(nth) {
            if !out.is_empty() {
                out.push(b',');
            }
            out.extend_from_slice(route.raw);
        }
    }
}

/// How many values a header's value has.
pub(super) fn count_list(value: &[u8]) -> usize {
    NameAddr::list(value).filter(Result::is_ok).count()
}

/// Fills the callee's leg from a response with a To tag; `false` when something is missing.
fn learn_callee(
    record: &mut Record,
    message: Message<'_>,
    keep: u8,
    scratch: &mut Vec<u8>,
    ours: impl Fn(&Uri<'_>) -> bool,
) -> bool {
    let (tag, contact) = (message.to_tag(), contact(message));
    callee_routes(record, message, keep & 1 != 0, scratch, ours);
    let mut fits = record.texts.set(Field::CalleeRoutes, scratch).is_ok();
    fits &= record.texts.set(Field::ToTag, tag.unwrap_or(&[])).is_ok();
    // A 2xx without Contact leaves what a provisional response has said.
    if let Some(contact) = contact {
        fits &= record.texts.set(Field::CalleeContact, contact).is_ok();
    }
    if keep & 2 != 0 {
        // The way back through this node: our own entry and those behind it.
        let caller_side = count_list(record.text(Field::CallerRoutes));
        let own = message.record_routes().count().saturating_sub(caller_side + 1);
        scratch.clear();
        for route in message.record_routes().filter_map(Result::ok).skip(own) {
            if !scratch.is_empty() {
                scratch.push(b',');
            }
            scratch.extend_from_slice(route.raw);
        }
        fits &= record.texts.set(Field::CallerRoutes, scratch).is_ok();
    }
    fits && tag.is_some() && !record.text(Field::CalleeContact).is_empty()
}

/// The early dialog of this tag becomes the dialog: its numbers count from here on.
fn promote(record: &mut Record, tag: &[u8]) {
    if record.text(Field::ToTag) != tag {
        let early = record.extra.as_ref().map_or(&[][..], |extra| &extra.early);
        let known = early.iter().find(|leg| *leg.tag == *tag).cloned();
        record.leg_mut(Side::Callee).cseq = known.as_ref().and_then(|leg| leg.cseq);
        if let Some(leg) = known {
            // They fit where others of the same call have stood.
            let _ = record.texts.set(Field::CalleeContact, &leg.contact);
            let _ = record.texts.set(Field::CalleeRoutes, &leg.routes);
            record.leg_mut(Side::Callee).listener = leg.listener;
        }
    }
}

/// Keeps what a provisional response says of its early dialog.
fn learn_early(
    record: &mut Record,
    message: Message<'_>,
    listener: Option<ListenerId>,
    scratch: &mut Vec<u8>,
    ours: impl Fn(&Uri<'_>) -> bool,
) {
    let Some(tag) = message.to_tag() else { return };
    let first = record.text(Field::ToTag);
    if first.is_empty() || first == tag {
        learn_callee(record, message, 0, scratch, ours);
        record.leg_mut(Side::Callee).listener = listener;
        return;
    }
    callee_routes(record, message, false, scratch, ours);
    let early = &mut record.extra.get_or_insert_default().early;
    let leg = EarlyLeg {
        tag: tag.into(),
        contact: contact(message).unwrap_or(&[]).into(),
        routes: scratch.as_slice().into(),
        listener,
        cseq: None,
    };
    if let Some(known) = early.iter_mut().find(|known| *known.tag == *tag) {
        *known = EarlyLeg { cseq: known.cseq, ..leg };
    } else if early.len() < EARLY_LEGS_MAX {
        early.push(leg);
    }
}

#[cfg(test)]
mod tests {
    use super::super::create::join_routes;
    use super::*;

    #[test]
    fn values_of_a_header_are_counted() {
        assert_eq!(count_list(b""), 0);
        assert_eq!(count_list(b"<sip:a;lr>,<sip:b,c;lr>"), 2);
    }

    #[test]
    fn routes_are_joined() {
        let mut out = Vec::new();
        let mut head = strowger_sip::message::Head::default();
        let text = b"INVITE sip:b SIP/2.0\r\nRecord-Route: <sip:a;lr>, <sip:b;lr>\r\n\
            Record-Route: <sip:c;lr>;x=1\r\n\r\n";
        let _ = head.parse(text, &strowger_sip::limits::Limits::DATAGRAM);
        join_routes(head.message(text), &mut out);
        assert_eq!(out, b"<sip:a;lr>,<sip:b;lr>,<sip:c;lr>;x=1");
    }
}
