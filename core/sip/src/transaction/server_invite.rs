//! Server INVITE transaction: RFC 3261 §17.2.1 as amended by RFC 6026 §7.1.
//!
//! For: absorbing repeated INVITEs and resending final responses until the ACK arrives.
//! Not here: matching requests to transactions (§17.2.3), choosing the response (`proxy/`).
//! Invariants: at most one final response ≥ 300; a relayed 2xx is neither kept nor repeated; one
//! that this node generated is, until its ACK.

use super::timer::Backoff;
use super::{Class, Failure, Fate, Report, Responded, Step, earlier};
use crate::actions::Sends;
use crate::buffer::{Kept, Pool};
use crate::time::Instant;
use crate::transport::Flow;

/// The machine of one INVITE that was received.
#[derive(Debug)]
pub struct ServerInvite {
    state: State,
}

#[derive(Debug)]
enum State {
    Proceeding { last: Option<Kept> },
    Accepted { timer_l: Instant },
    // Accepted as a user agent: RFC 3261 leaves repeating a 2xx to the core (§13.3.1.4).
    Answered { resend: Backoff, timer_l: Instant, response: Kept },
    Completed { timer_g: Option<Backoff>, timer_h: Instant, response: Kept },
    Confirmed { timer_i: Instant },
    Terminated,
}

/// The state of a server INVITE transaction, without what is in it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    /// No final response yet.
    Proceeding,
    /// A 2xx was relayed, or the ACK of our own one came.
    Accepted,
    /// Our own 2xx waits for its ACK.
    Answered,
    /// A final response ≥ 300 waits for its ACK.
    Completed,
    /// Its ACK came.
    Confirmed,
    /// Over.
    Terminated,
}

/// What the transaction user does with an ACK.
#[must_use]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Acknowledged {
    /// Nothing: it belongs to a final response ≥ 300, or to nothing that was sent.
    Absorbed,
    /// The first ACK of a 2xx that this node generated: the call stands.
    Established,
    /// An ACK of a 2xx: it is the transaction user's (RFC 6026 §7.1), and goes on end to end.
    EndToEnd,
}

impl ServerInvite {
    /// Begins in Proceeding, with nothing sent yet; the caller sends a 100 at once (§17.2.1).
    pub const fn start() -> ServerInvite {
        ServerInvite { state: State::Proceeding { last: None } }
    }

    /// The same INVITE again: the last response, if it is not a 2xx, goes out again (§17.2.1).
    pub fn on_retransmission(&self, out: &mut Sends) {
        match &self.state {
            State::Proceeding { last: Some(response) } | State::Completed { response, .. } => {
                out.send(response.flow, &response.bytes);
            }
            State::Proceeding { last: None } => (),
            // The 2xx is repeated by whoever generated it, not on demand (RFC 6026 §7.1).
            State::Accepted { .. } | State::Answered { .. } => (),
            State::Confirmed { .. } => (),
            State::Terminated => (),
        }
    }

    /// A response to relay, or one of our own that is not a 2xx. `write` writes it, unless it is
    /// refused. A 2xx is relayed however late it comes (§16.7 step 5).
    pub fn respond(
        &mut self,
        status: u16,
        flow: Flow,
        write: impl FnOnce(&mut Vec<u8>),
        step: &mut Step<'_>,
    ) -> Responded {
        match Class::of(status) {
            Class::Provisional => self.respond_provisional(flow, write, step),
            Class::Success => self.respond_success(flow, write, step),
            Class::NonSuccess => self.respond_non_success(flow, write, step),
        }
    }

    fn respond_provisional(
        &mut self,
        flow: Flow,
        write: impl FnOnce(&mut Vec<u8>),
        step: &mut Step<'_>,
    ) -> Responded {
        match &mut self.state {
            State::Proceeding { last } => {
                if let Some(before) = last.take() {
                    step.release(before);
                }
                *last = Some(step.send_and_keep(flow, write));
                Responded::Sent
            }
            State::Accepted { .. } | State::Answered { .. } => Responded::Refused,
            State::Completed { .. } | State::Confirmed { .. } => Responded::Refused,
            State::Terminated => Responded::Refused,
        }
    }

    fn respond_success(
        &mut self,
        flow: Flow,
        write: impl FnOnce(&mut Vec<u8>),
        step: &mut Step<'_>,
    ) -> Responded {
        let timer_l = step.now + step.timers.timer_l();
        match &mut self.state {
            State::Proceeding { last } => {
                if let Some(before) = last.take() {
                    step.release(before);
                }
                self.state = State::Accepted { timer_l };
            }
            // Timer L is not restarted: it runs from the first 2xx.
            State::Accepted { .. } | State::Answered { .. } => (),
            // The final response may not have arrived, so it is repeated as before.
            State::Completed { .. } => (),
            // Copies of this 2xx will come for as long as of any other.
            State::Confirmed { timer_i } => *timer_i = timer_l.max(*timer_i),
            State::Terminated => return Responded::Refused,
        }
        step.out.send_with(flow, write);
        Responded::Sent
    }

    fn respond_non_success(
        &mut self,
        flow: Flow,
        write: impl FnOnce(&mut Vec<u8>),
        step: &mut Step<'_>,
    ) -> Responded {
        match &mut self.state {
            State::Proceeding { last } => {
                if let Some(before) = last.take() {
                    step.release(before);
                }
                self.state = State::Completed {
                    timer_g: step.timers.timer_g(step.now, flow.transport),
                    timer_h: step.now + step.timers.timer_h(),
                    response: step.send_and_keep(flow, write),
                };
                Responded::Sent
            }
            State::Accepted { .. } | State::Answered { .. } => Responded::Refused,
            // The caller acknowledges one final response, so a second one is discarded.
            State::Completed { .. } | State::Confirmed { .. } => Responded::Refused,
            State::Terminated => Responded::Refused,
        }
    }

    /// A 2xx that this node generated: repeated on any transport until its ACK comes (§13.3.1.4).
    pub fn answer(
        &mut self,
        flow: Flow,
        write: impl FnOnce(&mut Vec<u8>),
        step: &mut Step<'_>,
    ) -> Responded {
        match &mut self.state {
            State::Proceeding { last } => {
                if let Some(before) = last.take() {
                    step.release(before);
                }
                self.state = State::Answered {
                    resend: step.timers.own_success(step.now),
                    timer_l: step.now + step.timers.timer_l(),
                    response: step.send_and_keep(flow, write),
                };
                Responded::Sent
            }
            State::Accepted { .. } | State::Answered { .. } => Responded::Refused,
            State::Completed { .. } | State::Confirmed { .. } => Responded::Refused,
            State::Terminated => Responded::Refused,
        }
    }

    /// An ACK that matched (§17.2.3), or that the dialog of our own 2xx recognised.
    pub fn on_ack(&mut self, step: &mut Step<'_>) -> Acknowledged {
        let (state, acknowledged) = match self.take() {
            State::Answered { timer_l, response, .. } => {
                step.release(response);
                (State::Accepted { timer_l }, Acknowledged::Established)
            }
            State::Completed { response, .. } => {
                let timer_i = step.now + step.timers.timer_i(response.flow.transport);
                step.release(response);
                (State::Confirmed { timer_i }, Acknowledged::Absorbed)
            }
            state @ State::Accepted { .. } => (state, Acknowledged::EndToEnd),
            state @ State::Proceeding { .. } => (state, Acknowledged::Absorbed),
            state @ State::Confirmed { .. } => (state, Acknowledged::Absorbed),
            State::Terminated => (State::Terminated, Acknowledged::Absorbed),
        };
        self.state = state;
        acknowledged
    }

    /// Timers G, H, I and L (§17.2.1, RFC 6026 §7.1), and the repetition of our own 2xx.
    pub fn expire(&mut self, step: &mut Step<'_>) -> Report {
        match &mut self.state {
            State::Proceeding { .. } => Report::ALIVE,
            State::Accepted { timer_l } if step.now >= *timer_l => self.terminate(None, step),
            State::Accepted { .. } => Report::ALIVE,
            State::Answered { timer_l, .. } if step.now >= *timer_l => {
                self.terminate(Some(Failure::Timeout), step)
            }
            State::Answered { resend, response, .. } => {
                if resend.fire(step.now) {
                    step.resend(response);
                }
                Report::ALIVE
            }
            State::Completed { timer_h, .. } if step.now >= *timer_h => {
                self.terminate(Some(Failure::Timeout), step)
            }
            State::Completed { timer_g, response, .. } => {
                if timer_g.as_mut().is_some_and(|timer_g| timer_g.fire(step.now)) {
                    step.resend(response);
                }
                Report::ALIVE
            }
            State::Confirmed { timer_i } if step.now >= *timer_i => self.terminate(None, step),
            State::Confirmed { .. } => Report::ALIVE,
            State::Terminated => Report::ENDED,
        }
    }

    /// The transport could not send a response. The transaction user is told, and the machine
    /// stays where it is (RFC 6026 §7.1): a copy may come by another way.
    pub fn on_transport_failure(&mut self) -> Report {
        match &self.state {
            State::Proceeding { .. } | State::Accepted { .. } | State::Answered { .. } => {
                Report::failed(Fate::Alive, Failure::Transport)
            }
            State::Completed { .. } => Report::failed(Fate::Alive, Failure::Transport),
            // The ACK has come: the news is about a copy that nobody waits for.
            State::Confirmed { .. } => Report::ALIVE,
            State::Terminated => Report::ENDED,
        }
    }

    /// When [`ServerInvite::expire`] is to be called.
    pub fn deadline(&self) -> Option<Instant> {
        match &self.state {
            State::Proceeding { .. } => None,
            State::Accepted { timer_l } => Some(*timer_l),
            State::Answered { resend, timer_l, .. } => Some(earlier(Some(*resend), *timer_l)),
            State::Completed { timer_g, timer_h, .. } => Some(earlier(*timer_g, *timer_h)),
            State::Confirmed { timer_i } => Some(*timer_i),
            State::Terminated => None,
        }
    }

    /// The state the machine is in.
    pub fn phase(&self) -> Phase {
        match &self.state {
            State::Proceeding { .. } => Phase::Proceeding,
            State::Accepted { .. } => Phase::Accepted,
            State::Answered { .. } => Phase::Answered,
            State::Completed { .. } => Phase::Completed,
            State::Confirmed { .. } => Phase::Confirmed,
            State::Terminated => Phase::Terminated,
        }
    }

    /// Hands back what is kept.
    pub fn recycle(self, pool: &mut Pool) {
        match self.state {
            State::Proceeding { last: Some(kept) }
            | State::Answered { response: kept, .. }
            | State::Completed { response: kept, .. } => pool.put(kept.bytes),
            State::Proceeding { last: None } => (),
            State::Accepted { .. } | State::Confirmed { .. } | State::Terminated => (),
        }
    }

    fn take(&mut self) -> State {
        std::mem::replace(&mut self.state, State::Terminated)
    }

    fn terminate(&mut self, failure: Option<Failure>, step: &mut Step<'_>) -> Report {
        ServerInvite { state: self.take() }.recycle(step.pool);
        Report { fate: Fate::Terminated, failure }
    }
}

#[cfg(test)]
mod tests {
    use super::super::harness::{self, Input, Machine, Rig, text};
    use super::*;
    use crate::time::{ms, secs};
    use crate::transport::Transport;

    impl Machine for ServerInvite {
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

    fn start(_: &mut Step<'_>, _: Flow) -> ServerInvite {
        ServerInvite::start()
    }

    impl Rig<ServerInvite> {
        fn respond(&mut self, status: u16) -> Responded {
            let flow = harness::flow(self.transport);
            self.input(|server, step| server.respond(status, flow, text(&status.to_string()), step))
        }

        fn responds(&mut self, status: u16) -> &mut Self {
            assert_eq!(self.respond(status), Responded::Sent);
            self.sends(&status.to_string())
        }

        fn refuses(&mut self, status: u16) -> &mut Self {
            assert_eq!(self.respond(status), Responded::Refused);
            self.quiet()
        }

        fn answers(&mut self) -> &mut Self {
            let flow = harness::flow(self.transport);
            let answer = |server: &mut ServerInvite, step: &mut Step<'_>| {
                server.answer(flow, text("our 200"), step)
            };
            assert_eq!(self.input(answer), Responded::Sent);
            self.sends("our 200")
        }

        fn receives_invite(&mut self) -> &mut Self {
            self.input(|server, step| server.on_retransmission(step.out));
            self
        }

        fn receives_ack(&mut self, expected: Acknowledged) -> &mut Self {
            assert_eq!(self.input(ServerInvite::on_ack), expected);
            self
        }

        fn is(&mut self, phase: Phase) -> &mut Self {
            assert_eq!(self.input(|server, _| server.phase()), phase);
            self
        }
    }

    #[test]
    fn a_repeated_invite_gets_the_last_provisional_response() {
        let mut server = Rig::new(Transport::Udp, start);
        server.receives_invite().quiet();
        server.responds(100).receives_invite().sends("100");
        server.responds(180).responds(183).receives_invite().sends("183");
        server.at(secs(3600)).receives_invite().sends("183").is(Phase::Proceeding);
    }

    #[test]
    fn timer_g_doubles_up_to_t2_and_timer_h_gives_up_after_64_t1() {
        let mut server = Rig::new(Transport::Udp, start);
        server.responds(486);
        for at in [500, 1500, 3500, 7500, 11_500, 15_500, 19_500, 23_500, 27_500, 31_500] {
            server.at(ms(at)).sends("486");
        }
        server.at(secs(32)).reports(Failure::Timeout).terminates();
    }

    #[test]
    fn a_reliable_transport_repeats_nothing_but_waits_for_the_ack() {
        let mut server = Rig::new(Transport::Tcp, start);
        server.responds(486).at(secs(32)).reports(Failure::Timeout).terminates();
    }

    #[test]
    fn a_repeated_invite_gets_the_final_response_between_timer_gs() {
        let mut server = Rig::new(Transport::Udp, start);
        server.responds(404).at(ms(100)).receives_invite().sends("404");
        server.at(ms(500)).sends("404");
    }

    #[test]
    fn an_ack_stops_timer_g_and_timer_i_ends_it() {
        let mut server = Rig::new(Transport::Udp, start);
        server.responds(486).at(ms(100)).receives_ack(Acknowledged::Absorbed).is(Phase::Confirmed);
        server.at(secs(5)).receives_ack(Acknowledged::Absorbed).receives_invite().quiet();
        server.at(ms(5100)).terminates();
    }

    #[test]
    fn timer_i_is_zero_over_a_reliable_transport() {
        let mut server = Rig::new(Transport::Tls, start);
        server.responds(486).at(ms(100)).receives_ack(Acknowledged::Absorbed);
        server.at(ms(100)).terminates();
    }

    #[test]
    fn a_relayed_2xx_is_never_repeated_and_further_ones_pass_until_timer_l() {
        for transport in [Transport::Udp, Transport::Tcp] {
            let mut server = Rig::new(transport, start);
            server.responds(180).responds(200).is(Phase::Accepted);
            server.at(secs(1)).receives_invite().quiet().responds(200);
            server.at(secs(31)).responds(202).receives_ack(Acknowledged::EndToEnd);
            server.refuses(180).refuses(486).at(secs(32)).terminates();
        }
    }

    #[test]
    fn our_own_2xx_is_repeated_on_any_transport_until_its_ack() {
        for transport in [Transport::Udp, Transport::Tcp] {
            let mut server = Rig::new(transport, start);
            server.responds(100).answers().is(Phase::Answered);
            server.at(ms(500)).sends("our 200").at(ms(1500)).sends("our 200");
            server.receives_invite().quiet();
            server.at(secs(2)).receives_ack(Acknowledged::Established).is(Phase::Accepted);
            server.receives_ack(Acknowledged::EndToEnd).at(secs(32)).terminates();
        }
    }

    #[test]
    fn our_own_2xx_without_an_ack_times_out() {
        let mut server = Rig::new(Transport::Udp, start);
        server.answers().refuses(486).skip_to(ms(31_500)).sends("our 200");
        server.at(secs(32)).reports(Failure::Timeout).terminates();
    }

    #[test]
    fn an_ack_before_any_final_response_is_absorbed() {
        let mut server = Rig::new(Transport::Udp, start);
        server.responds(180).receives_ack(Acknowledged::Absorbed).is(Phase::Proceeding);
    }

    #[test]
    fn a_second_final_response_is_refused() {
        let mut server = Rig::new(Transport::Udp, start);
        server.responds(486).refuses(603).refuses(180).receives_invite().sends("486");
        server.receives_ack(Acknowledged::Absorbed).refuses(603).refuses(180);
    }

    #[test]
    fn a_late_2xx_is_relayed_after_a_final_response() {
        let mut server = Rig::new(Transport::Udp, start);
        server.responds(408).at(ms(400)).responds(200).at(ms(500)).sends("408");
        server.receives_ack(Acknowledged::Absorbed).at(ms(3500)).responds(200);
        server.at(secs(35)).responds(200).at(secs(67)).terminates();
    }

    #[test]
    fn a_transport_failure_is_told_and_changes_nothing() {
        let mut server = Rig::new(Transport::Udp, start);
        server.responds(180).reported(|server, _| server.on_transport_failure());
        server.reports(Failure::Transport).is(Phase::Proceeding).responds(486);
        server.reported(|server, _| server.on_transport_failure());
        server.reports(Failure::Transport).at(ms(500)).sends("486");
        server.receives_ack(Acknowledged::Absorbed);
        server.reported(|server, _| server.on_transport_failure());
        server.quiet().is(Phase::Confirmed);

        let mut server = Rig::new(Transport::Udp, start);
        server.responds(200).reported(|server, _| server.on_transport_failure());
        server.reports(Failure::Transport).is(Phase::Accepted);
    }

    fn input(server: &mut ServerInvite, status: u16, step: &mut Step<'_>) -> Report {
        let _ = server.respond(status, harness::flow(Transport::Udp), text("response"), step);
        Report::ALIVE
    }

    const INPUTS: [Input<ServerInvite>; 8] = [
        |server, step| input(server, 180, step),
        |server, step| input(server, 200, step),
        |server, step| input(server, 486, step),
        |server, step| {
            let _ = server.answer(harness::flow(Transport::Tcp), text("our 200"), step);
            Report::ALIVE
        },
        |server, step| {
            let _ = server.on_ack(step);
            Report::ALIVE
        },
        |server, step| {
            server.on_retransmission(step.out);
            Report::ALIVE
        },
        |server, _| server.on_transport_failure(),
        ServerInvite::expire,
    ];

    #[test]
    fn every_input_is_endured_in_every_state() {
        harness::endures_every_sequence(start, &INPUTS);
        harness::endures_random_inputs(start, &INPUTS);
    }

    #[test]
    fn a_terminated_machine_stays_so() {
        let mut server = Rig::new(Transport::Udp, start);
        server.input(|server, step| {
            assert_eq!(server.terminate(None, step), Report::ENDED);
            for give in INPUTS {
                let _ = give(server, step);
                assert_eq!((server.phase(), server.deadline()), (Phase::Terminated, None));
            }
        });
        server.quiet().end();
    }

    #[test]
    fn a_machine_is_small() {
        // 800,000 of them linger at 25,000 calls/s.
        assert!(size_of::<ServerInvite>() <= 128, "{}", size_of::<ServerInvite>());
    }
}
