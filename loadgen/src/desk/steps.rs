//! Carrying a scenario forward until it has to wait.
//!
//! For: calls that begin, calls that heard something, pauses that are over.
//! Not here: judging what was heard (`hear.rs`), writing (`render.rs`).
//! Invariants: a call has at most one timer armed; between two waits a call takes at most
//! `STEPS_MAX` steps, so that a scenario that runs in circles does not hang the worker.

use super::act::{self, Effect};
use super::call::{Call, CallKey, Invite, Repeat, Role};
use super::render::{self, Site};
use super::tally::{self, What};
use super::{Desk, Parties};
use crate::scenario::{Action, Does, Jump, Receive, Scenario, Send, Step};
use strowger_sip::limits::Limits;
use strowger_sip::message::{Head, Message, MethodKind};
use strowger_sip::time::{Duration, Instant, secs};

/// Most steps between two waits. A guess, far above any scenario in use.
const STEPS_MAX: usize = 10_000;
/// T2 (RFC 3261 §17.1.2.2).
const T2: Duration = secs(4);
/// How many first intervals something is sent again: timers B, F and H.
const INTERVALS_MAX: u32 = 64;

/// Whether the call goes on.
enum Gone {
    On,
    /// It waits, or it is over.
    Stops,
}

impl Desk<'_> {
    /// Takes steps until the call waits or ends. `heard` is the message just received.
    pub(super) fn proceed(&mut self, slot: u32, now: Instant, heard: Option<Message<'_>>) {
        let parties = self.parties;
        for _ in 0..STEPS_MAX {
            let call = self.calls.get_mut(slot);
            let scenario = parties.scenario(call);
            let Some(step) = scenario.steps.get(call.step) else {
                return self.succeed(slot, now);
            };
            if !applies(step, call) {
                call.step += 1;
                continue;
            }
            let gone = match &step.does {
                Does::Send(send) => self.send(slot, step, send, now, heard),
                Does::Receive(receive) => self.wait(slot, receive, now),
                Does::Pause(spread) => {
                    let hold = parties.hold;
                    let span = spread.draw(&mut self.entropy, hold, |id| act::number(call, id));
                    self.pause(slot, span, now)
                }
                Does::Linger(span) => self.linger(slot, *span, now),
                Does::Act(actions) => self.act(slot, actions, now, heard),
            };
            match gone {
                Gone::On => self.finish_step(slot, step, now),
                Gone::Stops => return,
            }
        }
        self.fail(slot, What::Stopped, now);
    }

    /// Records times that end here and goes to the next step.
    pub(super) fn finish_step(&mut self, slot: u32, step: &Step, now: Instant) {
        let parties = self.parties;
        let call = self.calls.get_mut(slot);
        if let Some(timing) = step.stops {
            let id = parties.of(call.role).timing_ids.get(call.scenario);
            let id = id.and_then(|ids| ids.get(timing));
            if let (Some(id), Some(start)) = (id, call.starts.get(timing))
                && let (Some(recent), Some(all)) =
                    (self.recent.get_mut(*id), self.timings.get_mut(*id))
            {
                tally::record(recent, now.since(*start));
                tally::record(all, now.since(*start));
            }
        }
        let jump = step.jump.filter(|jump| takes(jump, call, &mut self.entropy));
        call.step = jump.map_or(call.step + 1, |jump| jump.to);
    }

    fn send(
        &mut self,
        slot: u32,
        step: &Step,
        send: &Send,
        now: Instant,
        heard: Option<Message<'_>>,
    ) -> Gone {
        let call = self.calls.get_mut(slot);
        if let Some(timing) = step.starts
            && let Some(start) = call.starts.get_mut(timing)
        {
            *start = call.due;
        }
        if send.method.is_some_and(is_numbered) {
            call.cseq += 1;
        }
        let start = self.out.start();
        if self.write(slot, send, now, heard).is_err() {
            self.out.discard(start);
            self.fail(slot, What::NotWritten, now);
            return Gone::Stops;
        }
        let call = self.calls.get(slot);
        let (door, remote) = (call.door, call.remote);
        let reliable = self.is_reliable(door);
        let call = self.calls.get_mut(slot);
        keep(call, send, self.out.since(start), now, reliable);
        if send.lost > 0 && self.entropy.below(100) < u64::from(send.lost) {
            self.counters.lost_on_purpose += 1;
            self.out.discard(start);
        } else {
            match send.method {
                Some(method) => self.counters.sent.count_request(method),
                None => self.counters.sent.count_bytes(self.out.since(start)),
            }
            self.out.post(door, remote, slot, start);
        }
        Gone::On
    }

    fn write(
        &mut self,
        slot: u32,
        send: &Send,
        now: Instant,
        heard: Option<Message<'_>>,
    ) -> Result<(), render::NotWritten> {
        let call = self.calls.get(slot);
        let [last_head, first_head] = &mut self.stored;
        let last = match heard {
            None if send.uses_last => stored(&call.last, last_head),
            heard => heard,
        };
        let first = if send.uses_first { stored(&call.first, first_head) } else { None };
        let Some(place) = self.places.get(usize::from(call.door.place)) else {
            return Err(render::NotWritten);
        };
        let (parties, run) = (self.parties, &self.run);
        let site = Site { parties, call, place, run, now, last, first };
        let baked = self.baked.get(usize::from(call.door.place));
        let baked = baked.and_then(|scenarios| scenarios.get(call.scenario)?.get(call.step));
        render::message(site, baked.unwrap_or(&send.template), self.out.arena())
    }

    fn wait(&mut self, slot: u32, receive: &Receive, now: Instant) -> Gone {
        let patience = self.parties.patience;
        let call = self.calls.get_mut(slot);
        let usual = patience.filter(|_| call.role == Role::Caller && !receive.optional);
        // The wait of a run of optional ones is that of the mandatory one at its end.
        let scenario = self.parties.scenario(call);
        let following = scenario.steps.iter().skip(call.step).find_map(|step| match &step.does {
            Does::Receive(one) if one.timeout.is_some() || !one.optional => Some(one.timeout),
            Does::Receive(_) => None,
            Does::Send(_) | Does::Pause(_) | Does::Linger(_) | Does::Act(_) => Some(None),
        });
        let span = receive.timeout.or(following.flatten()).or(usual);
        call.step_ends = span.map_or(Instant::NEVER, |span| now + span);
        self.arm(slot);
        Gone::Stops
    }

    /// A pause counts from when it should have begun, up to a whole millisecond: finer than that
    /// the wheel does not turn. One that is over already costs no timer.
    fn pause(&mut self, slot: u32, span: Duration, now: Instant) -> Gone {
        let call = self.calls.get_mut(slot);
        let ends = Instant::from_micros((call.due + span).as_micros().next_multiple_of(1000));
        if ends <= now {
            if !span.is_zero() {
                call.due = ends;
            }
            return Gone::On;
        }
        call.step_ends = ends;
        self.arm(slot);
        Gone::Stops
    }

    fn linger(&mut self, slot: u32, span: Duration, now: Instant) -> Gone {
        let call = self.calls.get_mut(slot);
        if !call.lingers {
            self.counters.outcomes[call.role as usize].succeeded += 1;
        }
        call.repeat = Repeat::OFF;
        call.step_ends = now + span;
        self.calls.linger(slot);
        self.arm(slot);
        Gone::Stops
    }

    /// Carries out actions; the first that ends the call is the last.
    fn act(
        &mut self,
        slot: u32,
        actions: &[Action],
        now: Instant,
        heard: Option<Message<'_>>,
    ) -> Gone {
        for action in actions {
            let call = self.calls.get(slot);
            let [last_head, first_head] = &mut self.stored;
            let last = heard.or_else(|| stored(&call.last, last_head));
            let first = stored(&call.first, first_head);
            let Some(place) = self.places.get(usize::from(call.door.place)) else {
                return Gone::Stops;
            };
            let scenario = self.parties.scenario(call);
            let (parties, run) = (self.parties, &self.run);
            let site = Site { parties, call, place, run, now, last, first };
            let effect = act::act(site, action, &mut self.entropy);
            let what = match effect {
                Effect::None => continue,
                Effect::Set(values) => {
                    let call = self.calls.get_mut(slot);
                    for (id, value) in values {
                        if let Some(variable) = call.variables.get_mut(id.0) {
                            *variable = value;
                        }
                    }
                    continue;
                }
                Effect::Say(text) => {
                    let note = format!("{}:{}: {text}", scenario.source, action.line);
                    self.counters.note(note);
                    continue;
                }
                Effect::Fail => What::CheckFailed,
                Effect::StopCall => What::Stopped,
                Effect::StopRun => {
                    self.stop_asked = true;
                    What::Stopped
                }
            };
            self.abort(slot, heard);
            self.fail(slot, what, now);
            return Gone::Stops;
        }
        Gone::On
    }

    /// The actions of a `recv`; whether the call goes on.
    pub(super) fn act_on(
        &mut self,
        slot: u32,
        receive: &Receive,
        now: Instant,
        heard: Message<'_>,
    ) -> bool {
        match self.act(slot, &receive.actions, now, Some(heard)) {
            Gone::On => true,
            Gone::Stops => false,
        }
    }

    /// Makes sure that the call's timer runs out in time. One that runs out too early is cheap:
    /// most calls get their answers long before, and leave it where it is.
    fn arm(&mut self, slot: u32) {
        let call = self.calls.get_mut(slot);
        let wanted = call.step_ends.min(call.repeat.at);
        if wanted >= call.timer_at {
            return;
        }
        if let Some(timer) = call.timer.take() {
            self.wheel.cancel(timer);
        }
        let key = CallKey { slot, generation: call.generation };
        call.timer = Some(self.wheel.arm(wanted, key));
        call.timer_at = wanted;
    }

    /// The call's timer has run out.
    pub(super) fn alarm(&mut self, slot: u32, now: Instant) {
        let call = self.calls.get_mut(slot);
        call.timer = None;
        call.timer_at = Instant::NEVER;
        if call.repeat.at <= now && !self.repeat(slot, now) {
            return;
        }
        if self.calls.get(slot).step_ends <= now {
            return self.step_over(slot, now);
        }
        self.arm(slot);
    }

    /// Sends again; `false` when that was done long enough.
    fn repeat(&mut self, slot: u32, now: Instant) -> bool {
        let call = self.calls.get_mut(slot);
        let Repeat { interval, until, capped, .. } = call.repeat;
        if now >= until {
            call.repeat = Repeat::OFF;
            self.abort(slot, None);
            self.fail(slot, What::GaveUp, now);
            return false;
        }
        let doubled = interval * 2;
        let interval = if capped { doubled.min(T2) } else { doubled };
        call.repeat = Repeat { at: (now + interval).min(until), interval, until, capped };
        self.counters.retransmissions += 1;
        self.counters.sent.count_bytes(&call.sent);
        self.out.copy(call.door, call.remote, slot, &call.sent);
        true
    }

    /// A pause, a wait or the lingering is over.
    fn step_over(&mut self, slot: u32, now: Instant) {
        let call = self.calls.get_mut(slot);
        let scenario = self.parties.scenario(call);
        let ended = std::mem::replace(&mut call.step_ends, Instant::NEVER);
        let Some(step) = scenario.steps.get(call.step) else { return };
        match &step.does {
            Does::Pause(_) => {
                tally::record(&mut self.lateness, now.since(ended));
                call.due = ended;
                self.finish_step(slot, step, now);
                self.proceed(slot, now, None);
            }
            Does::Linger(_) => self.succeed(slot, now),
            Does::Receive(_) => match way_out(scenario, call.step) {
                Some(label) => {
                    call.due = ended;
                    call.step = label;
                    self.proceed(slot, now, None);
                }
                None => {
                    self.abort(slot, None);
                    self.fail(slot, What::TimedOut, now);
                }
            },
            Does::Send(_) | Does::Act(_) => {}
        }
    }
}

/// Where a `recv` that waited too long goes, or the mandatory one behind it.
fn way_out(scenario: &Scenario, step: usize) -> Option<usize> {
    let receives = scenario.steps.iter().skip(step).map_while(|step| match &step.does {
        Does::Receive(receive) => Some(receive),
        Does::Send(_) | Does::Pause(_) | Does::Linger(_) | Does::Act(_) => None,
    });
    receives.into_iter().find_map(|receive| receive.on_timeout)
}

/// Keeps what may have to be sent again.
fn keep(call: &mut Call, send: &Send, bytes: &[u8], now: Instant, reliable: bool) {
    match send.method {
        Some(MethodKind::Ack) => {
            call.ack.clear();
            call.ack.extend_from_slice(bytes);
            return;
        }
        Some(MethodKind::Invite) => {
            call.invite.clear();
            call.invite.extend_from_slice(bytes);
            // Within a dialog there is nothing to cancel or to hang up that is not there already.
            if call.inviting != Invite::Answered {
                call.inviting = Invite::Sent;
            }
        }
        Some(MethodKind::Bye) => call.inviting = Invite::None,
        Some(_) | None => {}
    }
    call.sent.clear();
    call.sent.extend_from_slice(bytes);
    call.sent_for = if send.method.is_none() { call.heard } else { 0 };
    call.repeat = match send.retransmit.filter(|_| !reliable) {
        Some(interval) => Repeat {
            at: now + interval,
            interval,
            until: now + interval * INTERVALS_MAX,
            capped: send.method != Some(MethodKind::Invite),
        },
        None => Repeat::OFF,
    };
}

/// Whether `[cseq]` grows with a request: ACK and CANCEL have the number of their INVITE.
fn is_numbered(method: MethodKind) -> bool {
    !matches!(method, MethodKind::Ack | MethodKind::Cancel)
}

/// Reads a message that was kept.
fn stored<'a>(bytes: &'a [u8], head: &'a mut Head) -> Option<Message<'a>> {
    if bytes.is_empty() || head.parse(bytes, &Limits::STREAM).is_err() {
        return None;
    }
    Some(head.message(bytes))
}

/// Whether a step is not passed over.
pub(super) fn applies(step: &Step, call: &Call) -> bool {
    step.only_if.is_none_or(|(id, wanted)| act::is_set(call, id) == wanted)
}

fn takes(jump: &Jump, call: &Call, entropy: &mut strowger_sip::entropy::Entropy) -> bool {
    let chance = jump.chance >= 1_000_000 || entropy.below(1_000_000) < u64::from(jump.chance);
    chance && jump.test.is_none_or(|id| act::is_set(call, id))
}

/// The scenario's step on which a call waits, for causes of failures.
pub(crate) fn describe(parties: &Parties, cause: &tally::Cause) -> String {
    let Some(scenario) = parties.of(cause.role).scenarios.get(cause.scenario) else {
        return cause.what.to_string();
    };
    let Some(step) = scenario.steps.get(cause.step) else {
        return format!("{} at the end of {}", cause.what, scenario.name);
    };
    let doing = match &step.does {
        Does::Send(send) => {
            let method = send.method.and_then(MethodKind::as_str).unwrap_or("a response");
            format!("sending {method}")
        }
        Does::Receive(_) => {
            let wanted = scenario.steps.iter().skip(cause.step).find_map(|step| match &step.does {
                Does::Receive(receive) if receive.optional => None,
                Does::Receive(receive) => Some(receive.wants.to_string()),
                Does::Send(_) | Does::Pause(_) | Does::Linger(_) | Does::Act(_) => {
                    Some("an optional message".to_owned())
                }
            });
            format!("waiting for {}", wanted.unwrap_or_default())
        }
        Does::Pause(_) => "in a pause".to_owned(),
        Does::Linger(_) => "lingering".to_owned(),
        Does::Act(_) => "in an action".to_owned(),
    };
    format!("{} while {doing} ({}, {}:{})", cause.what, scenario.name, scenario.source, step.line)
}
