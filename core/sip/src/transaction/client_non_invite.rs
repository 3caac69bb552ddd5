//! Client non-INVITE transaction: RFC 3261 §17.1.2.
//!
//! For: repeating a request until its final response comes, and absorbing repeated responses.
//! Not here: what a timeout means upstream (RFC 4320 §4.2, `proxy/`).
//! Invariants: the request is kept until the final response, nothing from then on; timer F runs
//! from the start, whatever provisional responses come.

use super::timer::{Backoff, Timers};
use super::{Class, Failure, Fate, Report, Step, earlier};
use crate::buffer::{Kept, Pool};
use crate::time::Instant;
use crate::transport::Flow;

/// The machine of one request other than INVITE and ACK that was sent; CANCEL is one of them.
#[derive(Debug)]
pub struct ClientNonInvite {
    state: State,
}

#[derive(Debug)]
enum State {
    Trying { timer_e: Option<Backoff>, timer_f: Instant, sent: Kept },
    Proceeding { timer_e: Option<Backoff>, timer_f: Instant, sent: Kept },
    Completed { timer_k: Instant },
    Terminated,
}

/// What the transaction user does with a response.
#[must_use]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Received {
    /// A 1xx.
    Provisional,
    /// The final response.
    Final,
    /// Nothing: a repetition or a straggler.
    Absorbed,
}

impl ClientNonInvite {
    /// Begins in Trying; `sent` has just been sent (§17.1.2.2).
    pub fn start(now: Instant, timers: &Timers, sent: Kept) -> ClientNonInvite {
        let timer_e = timers.timer_e(now, sent.flow.transport);
        let timer_f = now + timers.timer_f();
        ClientNonInvite { state: State::Trying { timer_e, timer_f, sent } }
    }

    /// A response that matched (§17.1.3).
    pub fn on_response(&mut self, status: u16, step: &mut Step<'_>) -> Received {
        match Class::of(status) {
            Class::Provisional => self.on_provisional(),
            Class::Success | Class::NonSuccess => self.on_final(step),
        }
    }

    fn on_provisional(&mut self) -> Received {
        let (state, received) = match self.take() {
            State::Trying { mut timer_e, timer_f, sent } => {
                if let Some(timer_e) = &mut timer_e {
                    timer_e.slow_down();
                }
                (State::Proceeding { timer_e, timer_f, sent }, Received::Provisional)
            }
            state @ State::Proceeding { .. } => (state, Received::Provisional),
            state @ State::Completed { .. } => (state, Received::Absorbed),
            State::Terminated => (State::Terminated, Received::Absorbed),
        };
        self.state = state;
        received
    }

    fn on_final(&mut self, step: &mut Step<'_>) -> Received {
        let (state, received) = match self.take() {
            State::Trying { sent, .. } | State::Proceeding { sent, .. } => {
                let timer_k = step.now + step.timers.timer_k(sent.flow.transport);
                step.release(sent);
                (State::Completed { timer_k }, Received::Final)
            }
            state @ State::Completed { .. } => (state, Received::Absorbed),
            State::Terminated => (State::Terminated, Received::Absorbed),
        };
        self.state = state;
        received
    }

    /// Timers E, F and K (§17.1.2.2).
    pub fn expire(&mut self, step: &mut Step<'_>) -> Report {
        match &mut self.state {
            State::Trying { timer_f, .. } | State::Proceeding { timer_f, .. }
                if step.now >= *timer_f =>
            {
                self.fail(Failure::Timeout, step)
            }
            State::Trying { timer_e, sent, .. } | State::Proceeding { timer_e, sent, .. } => {
                if timer_e.as_mut().is_some_and(|timer_e| timer_e.fire(step.now)) {
                    step.resend(sent);
                }
                Report::ALIVE
            }
            State::Completed { timer_k } if step.now >= *timer_k => {
                self.state = State::Terminated;
                Report::ENDED
            }
            State::Completed { .. } => Report::ALIVE,
            State::Terminated => Report::ENDED,
        }
    }

    /// The transport could not send the request (§17.1.4).
    pub fn on_transport_failure(&mut self, step: &mut Step<'_>) -> Report {
        match &self.state {
            State::Trying { .. } => self.fail(Failure::Transport, step),
            State::Proceeding { .. } => self.fail(Failure::Transport, step),
            // Nothing is sent in this state: the news is about an earlier copy.
            State::Completed { .. } => Report::ALIVE,
            State::Terminated => Report::ENDED,
        }
    }

    /// When [`ClientNonInvite::expire`] is to be called.
    pub fn deadline(&self) -> Option<Instant> {
        match &self.state {
            State::Trying { timer_e, timer_f, .. } => Some(earlier(*timer_e, *timer_f)),
            State::Proceeding { timer_e, timer_f, .. } => Some(earlier(*timer_e, *timer_f)),
            State::Completed { timer_k } => Some(*timer_k),
            State::Terminated => None,
        }
    }

    /// The request as it was sent, while no final response came.
    pub fn sent(&self) -> Option<&Kept> {
        match &self.state {
            State::Trying { sent, .. } => Some(sent),
            State::Proceeding { sent, .. } => Some(sent),
            State::Completed { .. } | State::Terminated => None,
        }
    }

    /// Where it was sent, while nothing came back at all.
    pub fn unanswered(&self) -> Option<Flow> {
        match &self.state {
            State::Trying { sent, .. } => Some(sent.flow),
            State::Proceeding { .. } | State::Completed { .. } | State::Terminated => None,
        }
    }

    /// Hands back what is kept.
    pub fn recycle(self, pool: &mut Pool) {
        match self.state {
            State::Trying { sent, .. } | State::Proceeding { sent, .. } => pool.put(sent.bytes),
            State::Completed { .. } | State::Terminated => (),
        }
    }

    fn take(&mut self) -> State {
        std::mem::replace(&mut self.state, State::Terminated)
    }

    fn fail(&mut self, failure: Failure, step: &mut Step<'_>) -> Report {
        ClientNonInvite { state: self.take() }.recycle(step.pool);
        Report::failed(Fate::Terminated, failure)
    }
}

#[cfg(test)]
mod tests {
    use super::super::harness::{self, Input, Machine, Rig};
    use super::*;
    use crate::time::{ms, secs};
    use crate::transport::{Flow, Transport};

    impl Machine for ClientNonInvite {
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

    fn start(step: &mut Step<'_>, flow: Flow) -> ClientNonInvite {
        let sent = harness::kept("OPTIONS", step, flow);
        ClientNonInvite::start(step.now, step.timers, sent)
    }

    impl Rig<ClientNonInvite> {
        fn receives(&mut self, status: u16, expected: Received) -> &mut Self {
            assert_eq!(self.input(|client, step| client.on_response(status, step)), expected);
            self
        }
    }

    #[test]
    fn timer_e_doubles_up_to_t2_and_timer_f_gives_up_after_64_t1() {
        let mut client = Rig::new(Transport::Udp, start);
        for at in [500, 1500, 3500, 7500, 11_500, 15_500, 19_500, 23_500, 27_500, 31_500] {
            client.at(ms(at)).sends("OPTIONS");
        }
        client.at(secs(32)).reports(Failure::Timeout).terminates();
    }

    #[test]
    fn a_reliable_transport_repeats_nothing_but_gives_up_all_the_same() {
        let mut client = Rig::new(Transport::Tcp, start);
        client.at(secs(32)).reports(Failure::Timeout).terminates();
    }

    #[test]
    fn after_a_provisional_response_timer_e_keeps_to_t2() {
        let mut client = Rig::new(Transport::Udp, start);
        client.at(ms(100)).receives(100, Received::Provisional);
        client.at(ms(500)).sends("OPTIONS").at(ms(4500)).sends("OPTIONS");
        client.receives(100, Received::Provisional).at(ms(8500)).sends("OPTIONS");
        client.skip_to(secs(32)).reports(Failure::Timeout).terminates();
    }

    #[test]
    fn repeated_responses_are_absorbed_until_timer_k() {
        for status in [200, 404, 603] {
            let mut client = Rig::new(Transport::Udp, start);
            client.at(ms(300)).receives(status, Received::Final);
            client.at(secs(5)).receives(status, Received::Absorbed);
            client.receives(100, Received::Absorbed).at(ms(5300)).terminates();
        }
    }

    #[test]
    fn timer_k_is_zero_over_a_reliable_transport() {
        let mut client = Rig::new(Transport::Wss, start);
        client.at(secs(1)).receives(200, Received::Final).at(secs(1)).terminates();
    }

    #[test]
    fn the_request_is_kept_until_the_final_response() {
        let mut client = Rig::new(Transport::Udp, start);
        assert!(client.input(|client, _| client.sent().is_some()));
        client.receives(100, Received::Provisional);
        assert!(client.input(|client, _| client.sent().is_some()));
        client.receives(200, Received::Final);
        assert!(client.input(|client, _| client.sent().is_none()));
    }

    #[test]
    fn a_transport_failure_ends_it_until_the_final_response() {
        let mut client = Rig::new(Transport::Udp, start);
        client.reported(ClientNonInvite::on_transport_failure);
        client.reports(Failure::Transport).terminates();

        let mut client = Rig::new(Transport::Udp, start);
        client.receives(100, Received::Provisional);
        client.reported(ClientNonInvite::on_transport_failure);
        client.reports(Failure::Transport).terminates();

        let mut client = Rig::new(Transport::Udp, start);
        client.receives(200, Received::Final);
        client.reported(ClientNonInvite::on_transport_failure);
        client.quiet().at(secs(5)).terminates();
    }

    const INPUTS: [Input<ClientNonInvite>; 5] = [
        |client, step| {
            let _ = client.on_response(0, step);
            Report::ALIVE
        },
        |client, step| {
            let _ = client.on_response(299, step);
            Report::ALIVE
        },
        |client, step| {
            let _ = client.on_response(65_535, step);
            Report::ALIVE
        },
        ClientNonInvite::on_transport_failure,
        ClientNonInvite::expire,
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
            assert_eq!(client.on_transport_failure(step).fate, Fate::Terminated);
            for give in INPUTS {
                let _ = give(client, step);
                assert!(client.deadline().is_none() && client.sent().is_none());
                assert_eq!(client.expire(step), Report::ENDED);
            }
        });
        client.quiet().end();
    }
}
