//! Client INVITE transaction: RFC 3261 §17.1.1 as amended by RFC 6026 §7.2.
//!
//! For: repeating an INVITE until a response comes, and acknowledging final responses ≥ 300.
//! Not here: timer C and CANCEL (`proxy/`), the ACK of a 2xx (the caller's, §13.2.2.4).
//! Invariants: timers A and B run only until the first response; the INVITE is kept until the first
//! final response, the ACK from then on; each final response ≥ 300 is acknowledged.

use super::timer::{Backoff, Timers};
use super::{Class, Failure, Report, Step, earlier};
use crate::buffer::{Kept, Pool};
use crate::time::Instant;
use crate::transport::Flow;

/// The machine of one INVITE that was sent, which is one branch of a forking proxy.
#[derive(Debug)]
pub struct ClientInvite {
    state: State,
}

#[derive(Debug)]
enum State {
    Calling { timer_a: Option<Backoff>, timer_b: Instant, sent: Kept },
    Proceeding { sent: Kept },
    Accepted { timer_m: Instant },
    Completed { timer_d: Instant, ack: Kept },
    // Not in the RFC: the caller has been told of the timeout, a late answer is still recognised.
    Abandoned { until: Instant, sent: Kept },
    Terminated,
}

/// The state of a client INVITE transaction, without what is in it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    /// No response yet: a CANCEL has to wait (§9.1).
    Calling,
    /// A provisional response came: a CANCEL may go.
    Proceeding,
    /// A 2xx came (RFC 6026 §7.2).
    Accepted,
    /// A final response ≥ 300 came.
    Completed,
    /// Given up, listening for a late response.
    Abandoned,
    /// Over.
    Terminated,
}

/// What the transaction user does with a response.
#[must_use]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Received {
    /// A 1xx: pass it on, restart timer C (§16.7 step 2).
    Provisional,
    /// A 2xx, the first one or a further one: pass each of them on (RFC 6026 §7.2).
    Success,
    /// The first final response ≥ 300. It has been acknowledged.
    NonSuccess,
    /// Nothing: a repetition or a straggler. A repeated final response has been acknowledged again.
    Absorbed,
    /// A 1xx after the transaction was given up: the callee rings for nobody unless cancelled.
    LateProvisional,
}

impl ClientInvite {
    /// Begins in Calling; `sent` has just been sent (§17.1.1.2).
    pub fn start(now: Instant, timers: &Timers, sent: Kept) -> ClientInvite {
        let timer_a = timers.timer_a(now, sent.flow.transport);
        let timer_b = now + timers.timer_b();
        ClientInvite { state: State::Calling { timer_a, timer_b, sent } }
    }

    /// A response that matched (§17.1.3). `ack` writes the ACK for this response, given the INVITE
    /// as it was sent (§17.1.1.3); it is called for the first final response ≥ 300 only.
    pub fn on_response(
        &mut self,
        status: u16,
        ack: impl FnOnce(&[u8], &mut Vec<u8>),
        step: &mut Step<'_>,
    ) -> Received {
        match Class::of(status) {
            Class::Provisional => self.on_provisional(),
            Class::Success => self.on_success(step),
            Class::NonSuccess => self.on_non_success(ack, step),
        }
    }

    fn on_provisional(&mut self) -> Received {
        let (state, received) = match self.take() {
            State::Calling { sent, .. } => (State::Proceeding { sent }, Received::Provisional),
            State::Proceeding { sent } => (State::Proceeding { sent }, Received::Provisional),
            state @ State::Abandoned { .. } => (state, Received::LateProvisional),
            state @ State::Accepted { .. } => (state, Received::Absorbed),
            state @ State::Completed { .. } => (state, Received::Absorbed),
            State::Terminated => (State::Terminated, Received::Absorbed),
        };
        self.state = state;
        received
    }

    fn on_success(&mut self, step: &mut Step<'_>) -> Received {
        let (state, received) = match self.take() {
            State::Calling { sent, .. }
            | State::Proceeding { sent }
            | State::Abandoned { sent, .. } => {
                step.release(sent);
                let timer_m = step.now + step.timers.timer_m();
                (State::Accepted { timer_m }, Received::Success)
            }
            // Timer M is not restarted: it runs from the first 2xx.
            state @ State::Accepted { .. } => (state, Received::Success),
            // A proxy downstream may relay a 2xx after its final response (§16.7 step 5); that
            // response may still be repeated, so its ACK is kept.
            state @ State::Completed { .. } => (state, Received::Success),
            State::Terminated => (State::Terminated, Received::Absorbed),
        };
        self.state = state;
        received
    }

    fn on_non_success(
        &mut self,
        ack: impl FnOnce(&[u8], &mut Vec<u8>),
        step: &mut Step<'_>,
    ) -> Received {
        let (state, received) = match self.take() {
            State::Calling { sent, .. } | State::Proceeding { sent } => {
                (complete(sent, ack, step), Received::NonSuccess)
            }
            // The transaction user counts this branch as final already; the callee gets its ACK.
            State::Abandoned { sent, .. } => (complete(sent, ack, step), Received::Absorbed),
            State::Completed { timer_d, ack } => {
                step.resend(&ack);
                (State::Completed { timer_d, ack }, Received::Absorbed)
            }
            state @ State::Accepted { .. } => (state, Received::Absorbed),
            State::Terminated => (State::Terminated, Received::Absorbed),
        };
        self.state = state;
        received
    }

    /// The transaction user gives this branch up: timer C fired, or 64*T1 went by after a CANCEL
    /// (§9.1). A late response is recognised for a while; a final one has come, nothing changes.
    pub fn abandon(&mut self, step: &mut Step<'_>) {
        let until = step.now + step.timers.late();
        self.state = match self.take() {
            State::Calling { sent, .. } => State::Abandoned { until, sent },
            State::Proceeding { sent } => State::Abandoned { until, sent },
            state @ State::Accepted { .. } => state,
            state @ State::Completed { .. } => state,
            state @ State::Abandoned { .. } => state,
            State::Terminated => State::Terminated,
        };
    }

    /// Timers A, B, D and M (§17.1.1.2, RFC 6026 §7.2).
    pub fn expire(&mut self, step: &mut Step<'_>) -> Report {
        match &mut self.state {
            State::Calling { timer_b, .. } if step.now >= *timer_b => {
                self.abandon(step);
                // Expiring again ends it at once where the settings allow no late response.
                Report::failed(self.expire(step).fate, Failure::Timeout)
            }
            State::Calling { timer_a, sent, .. } => {
                if timer_a.as_mut().is_some_and(|timer_a| timer_a.fire(step.now)) {
                    step.resend(sent);
                }
                Report::ALIVE
            }
            State::Proceeding { .. } => Report::ALIVE,
            State::Accepted { timer_m } if step.now >= *timer_m => self.terminate(step),
            State::Accepted { .. } => Report::ALIVE,
            State::Completed { timer_d, .. } if step.now >= *timer_d => self.terminate(step),
            State::Completed { .. } => Report::ALIVE,
            State::Abandoned { until, .. } if step.now >= *until => self.terminate(step),
            State::Abandoned { .. } => Report::ALIVE,
            State::Terminated => Report::ENDED,
        }
    }

    /// The transport could not send: the INVITE or an ACK is lost for good (§17.1.4).
    pub fn on_transport_failure(&mut self, step: &mut Step<'_>) -> Report {
        match &self.state {
            State::Calling { .. } | State::Completed { .. } => {
                Report::failed(self.terminate(step).fate, Failure::Transport)
            }
            // Nothing is sent in these states: the news is about an earlier copy.
            State::Proceeding { .. } | State::Accepted { .. } | State::Abandoned { .. } => {
                Report::ALIVE
            }
            State::Terminated => Report::ENDED,
        }
    }

    /// When [`ClientInvite::expire`] is to be called; none while only timer C runs.
    pub fn deadline(&self) -> Option<Instant> {
        match &self.state {
            State::Calling { timer_a, timer_b, .. } => Some(earlier(*timer_a, *timer_b)),
            State::Proceeding { .. } => None,
            State::Accepted { timer_m } => Some(*timer_m),
            State::Completed { timer_d, .. } => Some(*timer_d),
            State::Abandoned { until, .. } => Some(*until),
            State::Terminated => None,
        }
    }

    /// The INVITE as it was sent, while no final response came: a CANCEL is built from it (§9.1).
    pub fn sent(&self) -> Option<&Kept> {
        match &self.state {
            State::Calling { sent, .. } => Some(sent),
            State::Proceeding { sent } => Some(sent),
            State::Abandoned { sent, .. } => Some(sent),
            State::Accepted { .. } | State::Completed { .. } | State::Terminated => None,
        }
    }

    /// Where it was sent, while nothing came back at all.
    pub fn unanswered(&self) -> Option<Flow> {
        match &self.state {
            State::Calling { sent, .. } => Some(sent.flow),
            State::Proceeding { .. }
            | State::Abandoned { .. }
            | State::Accepted { .. }
            | State::Completed { .. }
            | State::Terminated => None,
        }
    }

    /// The state the machine is in.
    pub fn phase(&self) -> Phase {
        match &self.state {
            State::Calling { .. } => Phase::Calling,
            State::Proceeding { .. } => Phase::Proceeding,
            State::Accepted { .. } => Phase::Accepted,
            State::Completed { .. } => Phase::Completed,
            State::Abandoned { .. } => Phase::Abandoned,
            State::Terminated => Phase::Terminated,
        }
    }

    /// Hands back what is kept.
    pub fn recycle(self, pool: &mut Pool) {
        match self.state {
            State::Calling { sent: kept, .. }
            | State::Proceeding { sent: kept }
            | State::Completed { ack: kept, .. }
            | State::Abandoned { sent: kept, .. } => pool.put(kept.bytes),
            State::Accepted { .. } | State::Terminated => (),
        }
    }

    fn take(&mut self) -> State {
        std::mem::replace(&mut self.state, State::Terminated)
    }

    fn terminate(&mut self, step: &mut Step<'_>) -> Report {
        ClientInvite { state: self.take() }.recycle(step.pool);
        Report::ENDED
    }
}

/// Acknowledges a final response ≥ 300 along the INVITE's way (§17.1.1.3).
fn complete(sent: Kept, ack: impl FnOnce(&[u8], &mut Vec<u8>), step: &mut Step<'_>) -> State {
    let timer_d = step.now + step.timers.timer_d(sent.flow.transport);
    let ack = step.send_and_keep(sent.flow, |out| ack(&sent.bytes, out));
    step.release(sent);
    State::Completed { timer_d, ack }
}

#[cfg(test)]
mod tests {
    use super::super::harness::{self, Input, Machine, Rig};
    use super::super::timer::TimerSettings;
    use super::*;
    use crate::time::{ms, secs};
    use crate::transport::{Flow, Transport};

    impl Machine for ClientInvite {
        fn deadline(&self) -> Option<Instant> {
            self.deadline()
        }
        fn expire(&mut self, step: &mut Step<'_>) -> Report {
            self.expire(step)
        }
        fn recycle(self, pool: &mut Pool) {
            self.recycle(pool);
        }
    }

    fn start(step: &mut Step<'_>, flow: Flow) -> ClientInvite {
        let sent = harness::kept("INVITE", step, flow);
        ClientInvite::start(step.now, step.timers, sent)
    }

    /// Writes `ACK <status> of <what was sent>`.
    fn response(client: &mut ClientInvite, status: u16, step: &mut Step<'_>) -> Received {
        let ack = |sent: &[u8], out: &mut Vec<u8>| {
            out.extend_from_slice(format!("ACK {status} of ").as_bytes());
            out.extend_from_slice(sent);
        };
        client.on_response(status, ack, step)
    }

    impl Rig<ClientInvite> {
        fn receives(&mut self, status: u16, expected: Received) -> &mut Self {
            assert_eq!(self.input(|client, step| response(client, status, step)), expected);
            self
        }

        fn is(&mut self, phase: Phase) -> &mut Self {
            assert_eq!(self.input(|client, _| client.phase()), phase);
            self
        }
    }

    #[test]
    fn timer_a_doubles_and_timer_b_gives_up_after_64_t1() {
        let mut client = Rig::new(Transport::Udp, start);
        for at in [500, 1500, 3500, 7500, 15_500, 31_500] {
            client.at(ms(at)).sends("INVITE");
        }
        client.at(secs(32)).reports(Failure::Timeout).terminates();
    }

    #[test]
    fn by_default_copies_are_at_most_4_s_apart_and_30_s_are_enough() {
        let mut client = Rig::with(TimerSettings::default(), Transport::Udp, start);
        for at in [500, 1500, 3500, 7500, 11_500, 15_500, 19_500, 23_500, 27_500] {
            client.at(ms(at)).sends("INVITE");
        }
        client.at(secs(30)).reports(Failure::Timeout).is(Phase::Abandoned);
        client.at(secs(35)).terminates();
    }

    #[test]
    fn a_reliable_transport_repeats_nothing_but_gives_up_all_the_same() {
        let mut client = Rig::new(Transport::Tcp, start);
        client.at(secs(32)).reports(Failure::Timeout).terminates();
    }

    #[test]
    fn a_provisional_response_stops_timers_a_and_b() {
        let mut client = Rig::new(Transport::Udp, start);
        client.at(ms(200)).receives(100, Received::Provisional).is(Phase::Proceeding);
        client.at(secs(3600)).receives(180, Received::Provisional).quiet();
        assert_eq!(client.input(|client, _| client.deadline()), None);
    }

    #[test]
    fn the_invite_is_there_for_a_cancel_until_the_final_response() {
        let mut client = Rig::new(Transport::Udp, start);
        let sent = |client: &mut ClientInvite, _: &mut Step<'_>| {
            client.sent().map(|kept| kept.bytes.clone())
        };
        assert_eq!(client.input(sent), Some(b"INVITE".to_vec()));
        client.receives(180, Received::Provisional);
        assert_eq!(client.input(sent), Some(b"INVITE".to_vec()));
        client.receives(487, Received::NonSuccess).sends("ACK 487 of INVITE");
        assert_eq!(client.input(sent), None);
    }

    #[test]
    fn repeated_final_responses_are_acknowledged_until_timer_d() {
        let mut client = Rig::new(Transport::Udp, start);
        client.receives(486, Received::NonSuccess).sends("ACK 486 of INVITE");
        client.at(ms(500)).receives(486, Received::Absorbed).sends("ACK 486 of INVITE");
        client.at(secs(31)).receives(486, Received::Absorbed).sends("ACK 486 of INVITE");
        client.receives(180, Received::Absorbed).quiet();
        client.at(secs(32)).terminates();
    }

    #[test]
    fn timer_d_is_zero_over_a_reliable_transport() {
        let mut client = Rig::new(Transport::Tls, start);
        client.at(secs(1)).receives(404, Received::NonSuccess).sends("ACK 404 of INVITE");
        client.at(secs(1)).terminates();
    }

    #[test]
    fn every_2xx_is_passed_up_until_timer_m() {
        for transport in [Transport::Udp, Transport::Tcp] {
            let mut client = Rig::new(transport, start);
            client.receives(180, Received::Provisional);
            client.receives(200, Received::Success).is(Phase::Accepted);
            client.at(secs(31)).receives(200, Received::Success);
            client.receives(180, Received::Absorbed).receives(486, Received::Absorbed).quiet();
            client.at(secs(32)).terminates();
        }
    }

    #[test]
    fn a_2xx_after_another_final_response_is_passed_up() {
        let mut client = Rig::new(Transport::Udp, start);
        client.receives(486, Received::NonSuccess).sends("ACK 486 of INVITE");
        client.at(secs(3)).receives(200, Received::Success).quiet();
        client.receives(486, Received::Absorbed).sends("ACK 486 of INVITE");
    }

    /// A branch that nobody answered for 30 s, one second later.
    fn timed_out() -> Rig<ClientInvite> {
        let mut client = Rig::with(TimerSettings::default(), Transport::Udp, start);
        client.skip_to(secs(30)).reports(Failure::Timeout).at(secs(31));
        client
    }

    #[test]
    fn a_2xx_three_seconds_after_the_timeout_is_passed_up() {
        let mut client = timed_out();
        client.at(secs(33)).receives(200, Received::Success).at(secs(65)).terminates();
    }

    #[test]
    fn a_final_response_after_the_timeout_is_acknowledged_only() {
        let mut client = timed_out();
        client.receives(486, Received::Absorbed).sends("ACK 486 of INVITE").is(Phase::Completed);
    }

    #[test]
    fn a_late_provisional_response_can_be_cancelled() {
        let mut client = timed_out();
        client.receives(180, Received::LateProvisional).is(Phase::Abandoned);
        assert!(client.input(|client, _| client.sent().is_some()));
    }

    #[test]
    fn a_branch_that_rang_too_long_is_abandoned() {
        let mut client = Rig::with(TimerSettings::default(), Transport::Udp, start);
        client.receives(180, Received::Provisional).at(secs(181)).input(ClientInvite::abandon);
        client.at(secs(182)).receives(487, Received::Absorbed).sends("ACK 487 of INVITE");
        client.at(secs(182 + 32)).terminates();
    }

    #[test]
    fn abandoning_after_a_final_response_changes_nothing() {
        let mut client = Rig::new(Transport::Udp, start);
        client.receives(200, Received::Success).input(ClientInvite::abandon);
        client.is(Phase::Accepted).at(secs(32)).terminates();
    }

    #[test]
    fn a_transport_failure_ends_calling_and_completed() {
        let mut client = Rig::new(Transport::Udp, start);
        client.reported(ClientInvite::on_transport_failure);
        client.reports(Failure::Transport).terminates();

        let mut client = Rig::new(Transport::Udp, start);
        client.receives(486, Received::NonSuccess).sends("ACK 486 of INVITE");
        client.reported(ClientInvite::on_transport_failure);
        client.reports(Failure::Transport).terminates();
    }

    #[test]
    fn a_transport_failure_leaves_the_other_states() {
        let mut client = timed_out();
        client.reported(ClientInvite::on_transport_failure);
        client.is(Phase::Abandoned).receives(200, Received::Success);
        client.reported(ClientInvite::on_transport_failure);
        client.is(Phase::Accepted);

        let mut client = Rig::new(Transport::Tcp, start);
        client.receives(180, Received::Provisional);
        client.reported(ClientInvite::on_transport_failure);
        client.is(Phase::Proceeding).quiet();
    }

    const INPUTS: [Input<ClientInvite>; 6] = [
        |client, step| {
            let _ = response(client, 100, step);
            Report::ALIVE
        },
        |client, step| {
            let _ = response(client, 200, step);
            Report::ALIVE
        },
        |client, step| {
            let _ = response(client, 65_535, step);
            Report::ALIVE
        },
        |client, step| {
            client.abandon(step);
            Report::ALIVE
        },
        ClientInvite::on_transport_failure,
        ClientInvite::expire,
    ];

    #[test]
    fn every_input_is_endured_in_every_state() {
        harness::endures_every_sequence(start, &INPUTS);
        harness::endures_random_inputs(start, &INPUTS);
    }

    #[test]
    fn a_terminated_machine_stays_so() {
        let mut client = Rig::new(Transport::Udp, start);
        client.input(|client, step| {
            assert_eq!(client.terminate(step), Report::ENDED);
            for give in INPUTS {
                let _ = give(client, step);
                assert_eq!((client.phase(), client.deadline()), (Phase::Terminated, None));
            }
        });
        client.quiet().end();
    }

    #[test]
    fn a_machine_is_small() {
        // 800,000 of them linger at 25,000 calls/s.
        assert!(size_of::<ClientInvite>() <= 128, "{}", size_of::<ClientInvite>());
    }
}
