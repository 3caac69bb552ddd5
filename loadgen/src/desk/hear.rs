//! Messages that were received: whose call, which step, what they change.
//!
//! For: `Worker`, which hands in every message that arrives.
//! Not here: going on afterwards (`steps.rs`).
//! Invariants: a repeated message moves no call; what fits nothing fails the call that it belongs
//! to, or is counted as stray.

use super::Desk;
use super::call::{Call, Invite, Repeat, Role};
use super::outbox::Door;
use super::render;
use super::steps::applies;
use super::tally::What;
use crate::scenario::{Does, Receive, Scenario, Wants};
use memchr::{memchr, memrchr};
use std::net::SocketAddr;
use strowger_sip::limits::Limits;
use strowger_sip::message::{Contacts, Head, HeaderName, Message, MethodKind, StartLine};
use strowger_sip::time::Instant;

/// What a message is, in short.
#[derive(Clone, Copy, Debug)]
struct Gist {
    /// 0 for a request.
    status: u16,
    /// Of the request, or of the CSeq of a response.
    method: MethodKind,
    /// Tells it from other messages of its call.
    key: u32,
    /// The number of its CSeq.
    number: u32,
}

impl Gist {
    fn of(message: Message<'_>) -> Option<Gist> {
        let cseq = message.cseq().ok()?;
        let (status, method) = match message.start_line() {
            StartLine::Request { method, .. } => (0, method.kind()),
            StartLine::Response { status, .. } => (status.code(), cseq.method.kind()),
        };
        let number = cseq.number;
        let low = number.wrapping_add(1) & 0x1_ffff;
        let key = u32::from(status) << 22 | (method as u32) << 17 | low;
        Some(Gist { status, method, key, number })
    }

    fn is_request(self) -> bool {
        self.status == 0
    }

    fn is_provisional(self) -> bool {
        (100..200).contains(&self.status)
    }

    fn what(self) -> What {
        if self.is_request() {
            What::UnexpectedRequest(self.method)
        } else {
            What::UnexpectedStatus(self.status)
        }
    }
}

impl Desk<'_> {
    /// Takes a message. `head` is scratch.
    pub(crate) fn hear(
        &mut self,
        head: &mut Head,
        now: Instant,
        door: Door,
        from: SocketAddr,
        bytes: &[u8],
    ) {
        if head.parse(bytes, &Limits::STREAM).is_err() {
            self.counters.malformed += 1;
            return;
        }
        let message = head.message(bytes);
        let (Ok(call_id), Some(gist)) = (message.call_id(), Gist::of(message)) else {
            self.counters.malformed += 1;
            return;
        };
        self.counters.received.count(message);
        let Some(place) = self.places.get(usize::from(door.place)) else { return };
        let role = place.role;
        match self.calls.find(role, call_id) {
            Some(slot) => self.hear_in_call(slot, now, (door, from), message, gist),
            None => self.hear_new(role, now, (door, from), message, gist),
        }
    }

    /// A message of no call that is known.
    fn hear_new(
        &mut self,
        role: Role,
        now: Instant,
        (door, from): (Door, SocketAddr),
        message: Message<'_>,
        gist: Gist,
    ) {
        let Ok(call_id) = message.call_id() else { return };
        let has_ended = self.calls.has_ended(role, call_id);
        if gist.method == MethodKind::Invite && gist.status >= 300 {
            // A refusal is repeated until it is acknowledged (§17.2.1).
            self.acknowledge(door, from, message);
        }
        let takes = role == Role::Callee && !self.closed;
        let begins = takes && gist.is_request() && !has_ended;
        let Some(scenario) = self.opened(message, gist).filter(|_| begins) else {
            let count = match has_ended {
                true => &mut self.counters.late_messages,
                false => &mut self.counters.stray,
            };
            *count += 1;
            return;
        };
        if self.calls.active[role as usize] >= self.parties.calls_max {
            self.counters.not_begun += 1;
            return;
        }
        self.answered += 1;
        let number = (self.answered - 1) * self.run.workers + self.run.worker + 1;
        let scenario = scenario.unwrap_or_else(|| self.pickers[role as usize].pick());
        let slot = self.open(role, scenario, call_id, number, (door, from), now);
        self.hear_in_call(slot, now, (door, from), message, gist);
    }

    /// Whether a callee's scenario begins with this request, and which: `None` inside for any of
    /// them. What only some of them take, such as the probes of a dispatcher, must not use up the
    /// turns of the others.
    fn opened(&self, message: Message<'_>, gist: Gist) -> Option<Option<usize>> {
        let scenarios = &self.parties.callees.scenarios;
        let takes = |scenario: &Scenario| {
            let first = scenario.steps.iter().position(|s| matches!(s.does, Does::Receive(_)));
            first.is_some_and(|step| find(scenario, step, None, message, gist).is_some())
        };
        let first = scenarios.iter().position(takes)?;
        let all = scenarios.iter().skip(first).all(takes);
        Some(if first == 0 && all { None } else { Some(first) })
    }

    fn hear_in_call(
        &mut self,
        slot: u32,
        now: Instant,
        (door, from): (Door, SocketAddr),
        message: Message<'_>,
        gist: Gist,
    ) {
        let call = self.calls.get(slot);
        if call.has_seen(gist.key) {
            return self.hear_again(slot, gist);
        }
        let scenario = self.parties.scenario(call);
        let found = find(scenario, call.step, Some(call), message, gist);
        let Some((index, receive)) = found else {
            return self.hear_unexpected(slot, now, message, gist);
        };
        if receive.lost > 0 && self.entropy.below(100) < u64::from(receive.lost) {
            self.counters.lost_on_purpose += 1;
            return;
        }
        let call = self.calls.get_mut(slot);
        call.saw(gist.key);
        call.step = index;
        call.due = now;
        call.step_ends = Instant::NEVER;
        if !gist.is_provisional() || gist.method == MethodKind::Invite {
            call.repeat = Repeat::OFF;
        }
        if gist.is_request() {
            call.heard = gist.key;
            call.door = door;
            call.remote = from;
        }
        learn(call, scenario, receive, message, gist);
        if receive.actions.is_empty() || self.act_on(slot, receive, now, message) {
            if let Some(step) = scenario.steps.get(index) {
                self.finish_step(slot, step, now);
            }
            self.proceed(slot, now, Some(message));
        }
    }

    /// The peer did not hear our answer, or the network doubled the message.
    fn hear_again(&mut self, slot: u32, gist: Gist) {
        self.counters.repeated += 1;
        let call = self.calls.get(slot);
        let answer = if gist.is_request() && call.sent_for == gist.key {
            &call.sent
        } else if gist.method == MethodKind::Invite && gist.status >= 200 {
            &call.ack
        } else {
            return;
        };
        if !answer.is_empty() {
            self.counters.answered_again += 1;
            self.counters.sent.count_bytes(answer);
            self.out.copy(call.door, call.remote, slot, answer);
        }
    }

    fn hear_unexpected(&mut self, slot: u32, now: Instant, message: Message<'_>, gist: Gist) {
        // A provisional response promises nothing and may be overtaken by the final one.
        if gist.is_provisional() {
            return;
        }
        if self.calls.get(slot).lingers {
            self.counters.late_messages += 1;
            return;
        }
        self.counters.unexpected += 1;
        let call = self.calls.get_mut(slot);
        if call.role == Role::Caller
            && gist.method == MethodKind::Invite
            && (200..300).contains(&gist.status)
        {
            // Somebody answered whom the scenario did not want: there is a dialog to be ended.
            call.inviting = Invite::Answered;
            keep_tag(call, message, gist);
            keep_routes(call, message, false);
        }
        self.abort(slot, Some(message));
        self.fail(slot, gist.what(), now);
    }
}

/// The step that takes this message: the one on which the call waits, or one of the optional ones'
/// successors.
fn find<'s>(
    scenario: &'s Scenario,
    from: usize,
    call: Option<&Call>,
    message: Message<'_>,
    gist: Gist,
) -> Option<(usize, &'s Receive)> {
    let steps = scenario.steps.iter().enumerate().skip(from);
    for (index, step) in steps {
        let Does::Receive(receive) = &step.does else { return None };
        if call.is_some_and(|call| !applies(step, call)) {
            continue;
        }
        if takes(&receive.wants, message, gist) {
            return Some((index, receive));
        }
        if !receive.optional {
            return None;
        }
    }
    None
}

fn takes(wants: &Wants, message: Message<'_>, gist: Gist) -> bool {
    let answers = |to: &[MethodKind]| to.is_empty() || to.contains(&gist.method);
    match wants {
        Wants::Response { code, to } => gist.status == *code && answers(to),
        Wants::ResponseLike { pattern, to } => {
            let status = gist.status.to_string();
            !gist.is_request() && answers(to) && pattern.is_match(status.as_bytes())
        }
        Wants::Request { method: MethodKind::Other, name } => {
            message.method().is_some_and(|method| method.as_bytes() == name.as_bytes())
        }
        Wants::Request { method, .. } => gist.is_request() && gist.method == *method,
        Wants::RequestLike(pattern) => {
            message.method().is_some_and(|method| pattern.is_match(method.as_bytes()))
        }
    }
}

/// Keeps what later steps look back at.
fn learn(
    call: &mut Call,
    scenario: &Scenario,
    receive: &Receive,
    message: Message<'_>,
    gist: Gist,
) {
    if scenario.keeps_first && call.first.is_empty() {
        call.first.extend_from_slice(message.bytes());
    }
    if scenario.keeps_last {
        call.last.clear();
        call.last.extend_from_slice(message.bytes());
    }
    if gist.is_request() {
        call.cseq = gist.number;
    } else if gist.method == MethodKind::Invite {
        call.inviting = match (gist.status, call.inviting) {
            (_, Invite::None | Invite::Answered) => call.inviting,
            (100..=199, Invite::Sent | Invite::Rings) => Invite::Rings,
            (200..=299, Invite::Sent | Invite::Rings) => Invite::Answered,
            (_, Invite::Sent | Invite::Rings) => Invite::None,
        };
    }
    if scenario.keeps_tag {
        keep_tag(call, message, gist);
    }
    if receive.keep_routes {
        keep_routes(call, message, gist.is_request());
    }
    if receive.auth
        && let Some((challenge, by_proxy)) = render::challenge(message)
    {
        call.challenge = challenge;
        call.challenged_by_proxy = by_proxy;
    }
}

fn keep_tag(call: &mut Call, message: Message<'_>, gist: Gist) {
    let name = if gist.is_request() { HeaderName::From } else { HeaderName::To };
    if let Some(tag) = message.header(name).and_then(|field| tag(field.value)) {
        call.peer_tag.clear();
        call.peer_tag.extend_from_slice(tag);
    }
}

/// The tag of a From or To: it stands behind the bracket, if there is one.
fn tag(value: &[u8]) -> Option<&[u8]> {
    let behind = memrchr(b'>', value).map_or(0, |at| at + 1);
    let parameters = value.get(behind..)?;
    // Nothing but the tag, as a rule.
    if let Some(tag) = parameters.strip_prefix(b";tag=")
        && memchr(b';', tag).is_none()
    {
        return Some(tag.trim_ascii_end());
    }
    let parameters = parameters.split(|byte| *byte == b';');
    parameters.map(<[u8]>::trim_ascii).find_map(|parameter| {
        let (name, tag) = parameter.split_at_checked(4)?;
        name.eq_ignore_ascii_case(b"tag=").then_some(tag)
    })
}

/// The route set and the remote target (§12.1): for a caller the Record-Routes from the last one.
fn keep_routes(call: &mut Call, message: Message<'_>, is_request: bool) {
    call.routes.clear();
    call.next_url.clear();
    let mut add = |route: &[u8]| {
        if !call.routes.is_empty() {
            call.routes.extend_from_slice(b", ");
        }
        call.routes.extend_from_slice(route);
    };
    let routes = || message.values(HeaderName::RecordRoute);
    if is_request {
        routes().for_each(|route| add(route.bytes));
    } else {
        let count = routes().count();
        for index in (0..count).rev() {
            routes().nth(index).into_iter().for_each(|route| add(route.bytes));
        }
    }
    if let Ok(Contacts::List(mut list)) = message.contacts()
        && let Some(Ok(contact)) = list.next()
    {
        call.next_url.extend_from_slice(contact.uri);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tags_are_found_behind_the_bracket_only() {
        let expected: [(&str, Option<&str>); 6] = [
            ("<sip:a@b;tag=x>;other=1;tag=y", Some("y")),
            ("sip:a@b ; TAG=z;q", Some("z")),
            ("<sip:a@b>;tag=x ;q", Some("x")),
            ("\"a;tag=b\" <sip:a@b>", None),
            ("<sip:a@b>;tags=y", None),
            ("", None),
        ];
        for (value, wanted) in expected {
            assert_eq!(tag(value.as_bytes()), wanted.map(str::as_bytes), "{value}");
        }
    }
}
