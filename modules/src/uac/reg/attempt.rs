//! Attempts to register: from a deadline to the registrar's last word.
//!
//! For: sending REGISTER, challenges, 423, other addresses of the same name, success and failure.
//! Not here: what is wanted (`machine.rs`), the message (`message.rs`).
//! Invariants: an attempt ends in success or failure, and then the next deadline is armed; it is
//! challenged at most `ROUNDS_MAX` times.

use super::super::challenge::{self, choose};
use super::super::proof::{Said, Session, cnonce};
use super::super::secret::Credential;
use super::super::send::{LOOK_EVERY, LOOK_FOR, draw_call_id, listener};
use super::super::{Timer, Token, Uac};
use super::RegId;
use super::machine::{Failed, Goal, Ids, Machine, Phase, Wanted};
use super::message::{self, Granted, granted};
use strowger_sip::message::{HeaderName, Message, StatusCode};
use strowger_sip::module::{Heard, Host};
use strowger_sip::time::{Duration, secs};

/// Most rounds of one attempt: a challenge, a stale nonce, a lifetime that is too short, and one
/// more.
const ROUNDS_MAX: u8 = 4;
/// Longer than any transaction waits for its final answer: an answer that does not come after that
/// never comes.
const FINAL_WITHIN: Duration = secs(120);
/// The longest lifetime that a registrar may insist on.
const RAISED_MAX: u32 = 31 * 86_400;
/// How long a shard that is about to stop puts an attempt off.
const DRAINING: Duration = secs(5);
/// How often a record that is to go tries to say so.
const UNREGISTER_TRIES_MAX: u32 = 2;

impl Uac {
    /// A record's time has come.
    pub(in super::super) fn registration_due(&mut self, host: &mut impl Host<Uac>, id: RegId) {
        let now = host.now();
        let Some(machine) = self.registrations.machines.get_mut(id) else { return };
        machine.timer = None;
        if machine.bound_until.is_some_and(|until| until <= now) {
            machine.bound_until = None;
        }
        match machine.phase {
            Phase::Resting => self.share(host, id),
            Phase::Waiting(at) | Phase::Online(at) if at > now => {
                self.rearm(host, id);
                self.share(host, id);
            }
            Phase::Waiting(_) | Phase::Online(_) => self.advance(host, id),
            Phase::Looking(_) => self.look(host, id),
            Phase::Ongoing => self.failed(host, id, Failed::Timeout),
        }
    }

    /// Does what is to be done now, unless an answer is awaited: then after that.
    pub(super) fn advance(&mut self, host: &mut impl Host<Uac>, id: RegId) {
        let active = self.registrations.active;
        let Some(machine) = self.registrations.machines.get_mut(id) else { return };
        if machine.is_busy() {
            machine.reconsider = true;
            return;
        }
        machine.reconsider = false;
        let goal = machine.goal(active, &self.settings.reg);
        if goal == Goal::Rest {
            machine.phase = Phase::Resting;
            if machine.wanted == Wanted::Gone {
                return self.forget(host, id);
            }
            self.rearm(host, id);
            return self.share(host, id);
        }
        let now = host.now();
        if host.is_draining() {
            machine.phase = Phase::Waiting(now + DRAINING);
            return self.rearm(host, id);
        }
        (machine.goal, machine.began, machine.has_begun) = (goal, now, true);
        (machine.rounds, machine.has_answered) = (0, false);
        if !self.settings.reg.keep_call_id {
            machine.ids = None;
        }
        machine.phase = Phase::Looking(now + LOOK_FOR);
        self.look(host, id);
    }

    fn look(&mut self, host: &mut impl Host<Uac>, id: RegId) {
        let Some(machine) = self.registrations.machines.get_mut(id) else { return };
        let Phase::Looking(until) = machine.phase else { return };
        let own = Some(&machine.config.socket).filter(|socket| !socket.is_empty());
        let socket = own.or(self.settings.default_socket.as_ref());
        let from = socket.and_then(|text| listener(text, host.listeners()));
        self.counters.sockets_unknown += u64::from(socket.is_some() && from.is_none());
        match host.flows_to(machine.config.auth_proxy.as_bytes(), from) {
            Some(flows) => {
                machine.flows = flows;
                self.send(host, id);
            }
            None if host.now() < until => {
                let timer = host.arm(host.now() + LOOK_EVERY, Timer::Registration(id));
                machine.timer = Some(timer);
                self.share(host, id);
            }
            None => self.failed(host, id, Failed::Unreachable),
        }
    }

    /// Sends a REGISTER to the address in use; the next ones are tried when it cannot be sent.
    fn send(&mut self, host: &mut impl Host<Uac>, id: RegId) {
        let Some(machine) = self.registrations.machines.get_mut(id) else { return };
        let Some(flow) = machine.flows.first().copied() else {
            return self.failed(host, id, Failed::Unreachable);
        };
        let mut ids = machine.ids.take().unwrap_or_else(|| Ids {
            call_id: draw_call_id(host),
            tag: format!("{:016x}", host.entropy().next_u64()),
            cseq: 9,
        });
        ids.cseq += 1;
        let contact = contact(machine, &self.settings.reg.contact_addr, host);
        let uri = format!("sip:{}", machine.config.r_domain);
        let said = Said { method: b"REGISTER", uri: uri.as_bytes(), body: &[] };
        let proof = machine.session.as_mut().map(|session| session.next(said));
        let bytes = message::write(machine, &ids, &contact, proof.as_ref());
        machine.ids = Some(ids);
        machine.number = machine.number.wrapping_add(1);
        machine.phase = Phase::Ongoing;
        if let Some(timer) = machine.timer.take() {
            host.cancel(timer);
        }
        let token = Token::Registration(id, machine.number);
        match host.originate(flow, &bytes, token) {
            Ok(()) => {
                self.counters.registers_sent += 1;
                let deadline = host.now() + FINAL_WITHIN;
                machine.timer = Some(host.arm(deadline, Timer::Registration(id)));
                self.share(host, id);
            }
            Err(_) => self.failed(host, id, Failed::Unreachable),
        }
    }

    /// The registrar has answered, or will not.
    pub(in super::super) fn registration_answered(
        &mut self,
        host: &mut impl Host<Uac>,
        (id, number): (RegId, u32),
        answer: Heard<'_>,
    ) {
        let Some(machine) = self.registrations.machines.get_mut(id) else { return };
        if machine.phase != Phase::Ongoing || machine.number != number {
            return;
        }
        let message = match answer {
            Heard::Response(message) => message,
            Heard::Timeout => return self.try_elsewhere(host, id, Failed::Timeout),
            Heard::Transport => return self.try_elsewhere(host, id, Failed::Unreachable),
        };
        let Some(status) = message.status().filter(|status| status.is_final()) else { return };
        match status.code() {
            200..300 => self.accepted(host, id, message, status),
            401 | 407 => self.challenged(host, id, message, status),
            423 => self.too_brief(host, id, message),
            503 => {
                let retry_after = message::retry_after(message);
                self.try_elsewhere(host, id, Failed::Refused { code: 503, retry_after });
            }
            code => {
                let retry_after = message::retry_after(message);
                self.failed(host, id, Failed::Refused { code, retry_after });
            }
        }
    }

    /// RFC 3263 §4.3: the next address of the name, if there is one.
    fn try_elsewhere(&mut self, host: &mut impl Host<Uac>, id: RegId, failed: Failed) {
        let Some(machine) = self.registrations.machines.get_mut(id) else { return };
        if machine.flows.len() < 2 {
            return self.failed(host, id, failed);
        }
        machine.flows.remove(0);
        self.counters.reg_failovers += 1;
        self.send(host, id);
    }

    fn challenged(
        &mut self,
        host: &mut impl Host<Uac>,
        id: RegId,
        message: Message<'_>,
        status: StatusCode,
    ) {
        let refused = Failed::Auth(status.code());
        let Some(machine) = self.registrations.machines.get_mut(id) else { return };
        let config = &machine.config;
        let credential = Credential {
            user: config.auth_username.clone(),
            realm: config.realm.clone(),
            secret: config.secret.clone(),
        };
        let chosen = choose(challenge::read(message), [credential].iter());
        let Some(chosen) = chosen.filter(|_| machine.rounds < ROUNDS_MAX) else {
            machine.session = None;
            return self.failed(host, id, refused);
        };
        // A nonce of an earlier attempt may be forgotten meanwhile; one of this attempt was just
        // given out.
        let of_same = machine.session.as_ref().is_some_and(|session| session.is_of(&chosen.0));
        if machine.has_answered && of_same && !chosen.0.stale {
            machine.session = None;
            return self.failed(host, id, refused);
        }
        let (high, low) = host.entropy().keys();
        machine.session = Some(Session::new(chosen, cnonce([high, low])));
        machine.has_answered = true;
        machine.rounds += 1;
        self.send(host, id);
    }

    /// 423: the same with a longer lifetime, which holds until the record is read again.
    fn too_brief(&mut self, host: &mut impl Host<Uac>, id: RegId, message: Message<'_>) {
        let Some(machine) = self.registrations.machines.get_mut(id) else { return };
        let asked = machine.requested();
        let least = message.number(HeaderName::MinExpires, u32::MAX).ok().flatten();
        let wanted = least.filter(|least| *least > asked).unwrap_or(asked.saturating_mul(2));
        let senseless = wanted > RAISED_MAX || asked == 0 || machine.rounds >= ROUNDS_MAX;
        if senseless {
            let failed = Failed::Refused { code: 423, retry_after: None };
            return self.failed(host, id, failed);
        }
        machine.raised_expires = Some(wanted);
        machine.rounds += 1;
        self.send(host, id);
    }

    fn accepted(
        &mut self,
        host: &mut impl Host<Uac>,
        id: RegId,
        message: Message<'_>,
        status: StatusCode,
    ) {
        let now = host.now();
        let Some(machine) = self.registrations.machines.get_mut(id) else { return };
        machine.code = status.code();
        let contact = contact(machine, &self.settings.reg.contact_addr, host);
        if let Some(nonce) = message::next_nonce(message)
            && let Some(session) = &mut machine.session
        {
            let (high, low) = host.entropy().keys();
            session.go_on_with(nonce, cnonce([high, low]));
        }
        match (machine.goal, granted(machine, &contact, message)) {
            (Goal::Unregister | Goal::Rest, _) => {
                machine.bound_until = None;
                machine.phase = Phase::Resting;
            }
            (Goal::Register, Granted::For(span)) => {
                machine.bound_until = Some(now + span);
                machine.service_route = message::service_route(message);
                let interval = self.settings.reg.timer_interval;
                let after = Machine::refresh_after(span, interval, host.entropy());
                machine.phase = Phase::Online(now + after);
            }
            (Goal::Register, Granted::Nothing) => {
                let code = status.code();
                return self.failed(host, id, Failed::Refused { code, retry_after: None });
            }
        }
        self.counters.reg_successes += 1;
        let took = u64::try_from(now.since(machine.began).as_millis()).unwrap_or(u64::MAX);
        self.counters.reg_latency_ms = self.counters.reg_latency_ms.saturating_add(took);
        machine.failures = 0;
        let registered = machine.goal == Goal::Register;
        let was_forced = machine.forced.take().is_some();
        let goal = machine.goal(self.registrations.active, &self.settings.reg);
        let reconsider = std::mem::take(&mut machine.reconsider);
        // Registered once by an operator's word although it is disabled: it stays so until its end.
        if was_forced && registered && goal != Goal::Register && !reconsider {
            machine.phase = Phase::Resting;
        } else if reconsider || (goal == Goal::Register) != registered {
            self.disarm(host, id);
            return self.advance(host, id);
        } else if machine.wanted == Wanted::Gone {
            return self.forget(host, id);
        }
        self.rearm(host, id);
        self.share(host, id);
    }

    /// An attempt has failed: the next one later, and later each time.
    fn failed(&mut self, host: &mut impl Host<Uac>, id: RegId, failed: Failed) {
        let now = host.now();
        let Some(machine) = self.registrations.machines.get_mut(id) else { return };
        self.counters.reg_failures += 1;
        match failed {
            Failed::Auth(_) => self.counters.reg_auth_failures += 1,
            Failed::Timeout => self.counters.reg_timeouts += 1,
            Failed::Refused { .. } | Failed::Unreachable => {}
        }
        machine.code = failed.code();
        machine.failures = machine.failures.saturating_add(1);
        machine.forced = None;
        // The next round begins with a new Call-ID: an old number may be the reason.
        machine.ids = None;
        if machine.bound_until.is_some_and(|until| until <= now) {
            machine.bound_until = None;
        }
        if machine.goal == Goal::Unregister && machine.failures > UNREGISTER_TRIES_MAX {
            machine.bound_until = None;
        }
        let reg = &self.settings.reg;
        if reg.retry_interval == Duration::ZERO && machine.goal == Goal::Register {
            machine.disabled = true;
            machine.bound_until = None;
        }
        let wait = machine.wait_after(failed, reg, host.entropy());
        machine.phase = Phase::Waiting(now + wait);
        let rests = machine.goal(self.registrations.active, reg) == Goal::Rest;
        if rests || std::mem::take(&mut machine.reconsider) {
            self.disarm(host, id);
            return self.advance(host, id);
        }
        self.rearm(host, id);
        self.share(host, id);
    }

    fn disarm(&mut self, host: &mut impl Host<Uac>, id: RegId) {
        let timer = self.registrations.machines.get_mut(id).and_then(|one| one.timer.take());
        if let Some(timer) = timer {
            host.cancel(timer);
        }
    }

    /// Arms the timer of a record that awaits no answer.
    pub(super) fn rearm(&mut self, host: &mut impl Host<Uac>, id: RegId) {
        self.disarm(host, id);
        if let Some(machine) = self.registrations.machines.get_mut(id) {
            machine.timer = machine.deadline().map(|at| host.arm(at, Timer::Registration(id)));
        }
    }
}

/// The URI of the record's contact; without an address of its own or of all, that of the listener
/// which sends.
fn contact(machine: &Machine, all: &Option<String>, host: &impl Host<Uac>) -> String {
    let own = || {
        let flow = machine.flows.first()?;
        let advertised = host.listeners().get(flow.listener)?.advertised.clone();
        Some(match flow.transport.uri_name() {
            "udp" => advertised,
            transport => format!("{advertised};transport={transport}"),
        })
    };
    let default = all.clone().or_else(own).unwrap_or_default();
    machine.config.contact(&default)
}
