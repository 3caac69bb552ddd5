//! Server non-INVITE transaction: RFC 3261 §17.2.2 as amended by RFC 4320 §4.1.
//!
//! For: answering repeated requests with the response that was given.
//! Not here: when a 100 is due, and which late 408 must not be sent (RFC 4320, `proxy/`).
//! Invariants: one final response; no provisional response but 100.

use super::{Class, Failure, Fate, Report, Responded, Step};
use crate::actions::Sends;
use crate::buffer::{Kept, Pool};
use crate::time::Instant;
use crate::transport::Flow;

/// The machine of one request other than INVITE and ACK that was received; CANCEL is one of them.
#[derive(Debug)]
pub struct ServerNonInvite {
    state: State,
}

#[derive(Debug)]
enum State {
    Trying,
    Proceeding { last: Kept },
    Completed { timer_j: Instant, response: Kept },
    Terminated,
}

/// The state of a server non-INVITE transaction, without what is in it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    /// No response yet.
    Trying,
    /// A 100 was sent.
    Proceeding,
    /// The final response was sent.
    Completed,
    /// Over.
    Terminated,
}

impl ServerNonInvite {
    /// Begins in Trying, with nothing sent yet.
    pub const fn start() -> ServerNonInvite {
        ServerNonInvite { state: State::Trying }
    }

    /// The same request again: the last response, if there is one, goes out again (§17.2.2).
    pub fn on_retransmission(&self, out: &mut Sends) {
        match &self.state {
            State::Trying => (),
            State::Proceeding { last } => out.send(last.flow, &last.bytes),
            State::Completed { response, .. } => out.send(response.flow, &response.bytes),
            State::Terminated => (),
        }
    }

    /// A response, relayed or our own. `write` writes it, unless it is refused.
    pub fn respond(
        &mut self,
        status: u16,
        flow: Flow,
        write: impl FnOnce(&mut Vec<u8>),
        step: &mut Step<'_>,
    ) -> Responded {
        match Class::of(status) {
            Class::Provisional if status == 100 => self.respond_trying(flow, write, step),
            // "An SIP element MUST NOT send any provisional response with a Status-Code other
            // than 100 to a non-INVITE request" (RFC 4320 §4.1).
            Class::Provisional => Responded::Refused,
            Class::Success | Class::NonSuccess => self.respond_final(flow, write, step),
        }
    }

    fn respond_trying(
        &mut self,
        flow: Flow,
        write: impl FnOnce(&mut Vec<u8>),
        step: &mut Step<'_>,
    ) -> Responded {
        let (state, responded) = match self.take() {
            State::Trying => {
                (State::Proceeding { last: step.send_and_keep(flow, write) }, Responded::Sent)
            }
            State::Proceeding { last: before } => {
                step.release(before);
                (State::Proceeding { last: step.send_and_keep(flow, write) }, Responded::Sent)
            }
            state @ State::Completed { .. } => (state, Responded::Refused),
            State::Terminated => (State::Terminated, Responded::Refused),
        };
        self.state = state;
        responded
    }

    fn respond_final(
        &mut self,
        flow: Flow,
        write: impl FnOnce(&mut Vec<u8>),
        step: &mut Step<'_>,
    ) -> Responded {
        match self.take() {
            State::Trying => (),
            State::Proceeding { last } => step.release(last),
            // "Any other final responses passed by the TU [...] MUST be discarded" (§17.2.2).
            state @ (State::Completed { .. } | State::Terminated) => {
                self.state = state;
                return Responded::Refused;
            }
        }
        let timer_j = step.now + step.timers.timer_j(flow.transport);
        self.state = State::Completed { timer_j, response: step.send_and_keep(flow, write) };
        Responded::Sent
    }

    /// Timer J (§17.2.2).
    pub fn expire(&mut self, step: &mut Step<'_>) -> Report {
        match &self.state {
            State::Trying => Report::ALIVE,
            State::Proceeding { .. } => Report::ALIVE,
            State::Completed { timer_j, .. } if step.now >= *timer_j => self.terminate(None, step),
            State::Completed { .. } => Report::ALIVE,
            State::Terminated => Report::ENDED,
        }
    }

    /// The transport could not send a response (§17.2.4).
    pub fn on_transport_failure(&mut self, step: &mut Step<'_>) -> Report {
        match &self.state {
            State::Trying => Report::ALIVE,
            State::Proceeding { .. } => self.terminate(Some(Failure::Transport), step),
            State::Completed { .. } => self.terminate(Some(Failure::Transport), step),
            State::Terminated => Report::ENDED,
        }
    }

    /// When [`ServerNonInvite::expire`] is to be called.
    pub fn deadline(&self) -> Option<Instant> {
        match &self.state {
            State::Completed { timer_j, .. } => Some(*timer_j),
            State::Trying | State::Proceeding { .. } | State::Terminated => None,
        }
    }

    /// The state the machine is in.
    pub fn phase(&self) -> Phase {
        match &self.state {
            State::Trying => Phase::Trying,
            State::Proceeding { .. } => Phase::Proceeding,
            State::Completed { .. } => Phase::Completed,
            State::Terminated => Phase::Terminated,
        }
    }

    /// Hands back what is kept.
    pub fn recycle(self, pool: &mut Pool) {
        match self.state {
            State::Proceeding { last: kept } | State::Completed { response: kept, .. } => {
                pool.put(kept.bytes);
            }
            State::Trying | State::Terminated => (),
        }
    }

    fn take(&mut self) -> State {
        std::mem::replace(&mut self.state, State::Terminated)
    }

    fn terminate(&mut self, failure: Option<Failure>, step: &mut Step<'_>) -> Report {
        ServerNonInvite { state: self.take() }.recycle(step.pool);
        Report { fate: Fate::Terminated, failure }
    }
}

#[cfg(test)]
mod tests {
    use super::super::harness::{self, Input, Machine, Rig, text};
    use super::*;
    use crate::time::secs;
    use crate::transport::Transport;

    impl Machine for ServerNonInvite {
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

    fn start(_: &mut Step<'_>, _: Flow) -> ServerNonInvite {
        ServerNonInvite::start()
    }

    impl Rig<ServerNonInvite> {
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

        fn receives_request(&mut self) -> &mut Self {
            self.input(|server, step| server.on_retransmission(step.out));
            self
        }

        fn is(&mut self, phase: Phase) -> &mut Self {
            assert_eq!(self.input(|server, _| server.phase()), phase);
            self
        }
    }

    #[test]
    fn trying_absorbs_repeated_requests() {
        let mut server = Rig::new(Transport::Udp, start);
        server.receives_request().quiet().is(Phase::Trying);
        server.at(secs(3600)).receives_request().quiet();
    }

    #[test]
    fn proceeding_answers_repeated_requests_with_its_100() {
        let mut server = Rig::new(Transport::Udp, start);
        server.responds(100).is(Phase::Proceeding).receives_request().sends("100");
        server.responds(100).receives_request().sends("100");
    }

    #[test]
    fn repeated_requests_get_the_final_response_until_timer_j() {
        for status in [200, 404, 603] {
            let mut server = Rig::new(Transport::Udp, start);
            server.responds(100).responds(status).receives_request().sends(&status.to_string());
            server.at(secs(31)).receives_request().sends(&status.to_string());
            server.at(secs(32)).terminates();
        }
    }

    #[test]
    fn timer_j_is_zero_over_a_reliable_transport() {
        let mut server = Rig::new(Transport::Tcp, start);
        server.at(secs(1)).responds(200).at(secs(1)).terminates();
    }

    #[test]
    fn a_second_final_response_is_refused() {
        let mut server = Rig::new(Transport::Udp, start);
        server.responds(404).refuses(200).refuses(404).refuses(100);
        server.receives_request().sends("404");
    }

    #[test]
    fn no_provisional_response_but_100_is_sent() {
        let mut server = Rig::new(Transport::Udp, start);
        server.refuses(180).refuses(199).refuses(0).is(Phase::Trying).responds(200);
    }

    #[test]
    fn a_transport_failure_ends_it_once_something_was_sent() {
        let mut server = Rig::new(Transport::Udp, start);
        server.reported(ServerNonInvite::on_transport_failure);
        server.quiet().is(Phase::Trying).responds(100);
        server.reported(ServerNonInvite::on_transport_failure);
        server.reports(Failure::Transport).terminates();

        let mut server = Rig::new(Transport::Udp, start);
        server.responds(200).reported(ServerNonInvite::on_transport_failure);
        server.reports(Failure::Transport).terminates();
    }

    fn input(server: &mut ServerNonInvite, status: u16, step: &mut Step<'_>) -> Report {
        let _ = server.respond(status, harness::flow(Transport::Udp), text("response"), step);
        Report::ALIVE
    }

    const INPUTS: [Input<ServerNonInvite>; 7] = [
        |server, step| input(server, 100, step),
        |server, step| input(server, 180, step),
        |server, step| input(server, 200, step),
        |server, step| input(server, 65_535, step),
        |server, step| {
            server.on_retransmission(step.out);
            Report::ALIVE
        },
        ServerNonInvite::on_transport_failure,
        ServerNonInvite::expire,
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
}
