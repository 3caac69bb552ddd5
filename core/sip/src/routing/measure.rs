//! What callers wait for, measured at the shard that routes their requests (RFC 6076 §4).
//!
//! For: request durations, and how INVITE and REGISTER were answered; ratios such as SER and SEER
//! are made of these by who reads them.
//! Not here: the ends of calls (`modules/dialog`).
//! Invariants: a request counts once, when its first final response goes up; the second one of a
//! forked call counts nothing.

use crate::engine::incoming::Incoming;
use crate::histogram::Histogram;
use crate::message::{MethodKind, StatusCode};
use crate::module::notes::{EachReading, MetricNote, Reading};
use crate::time::Instant;

/// Status codes end before this one (RFC 3261 §7.2).
const STATUS_END: usize = 700;

pub(super) const NOTES: &[MetricNote] = &[
    MetricNote::histogram(
        "request_duration_seconds",
        "Time from a request to its final response, by method.",
    ),
    MetricNote::histogram(
        "session_request_delay_seconds",
        "Time from an INVITE to its first response other than 100, by outcome: SRD of RFC 6076.",
    ),
    MetricNote::histogram("session_setup_seconds", "Time from an INVITE to its 2xx."),
    MetricNote::histogram(
        "registration_request_delay_seconds",
        "Time from a REGISTER to its 200: RRD of RFC 6076.",
    ),
    MetricNote::histogram(
        "session_disconnect_delay_seconds",
        "Time from a BYE to its final response: SDD of RFC 6076.",
    ),
    MetricNote::counter(
        "sip_final_responses",
        "Final responses sent to new INVITE and REGISTER requests, by method and code.",
    ),
];

/// A request whose final response has not gone yet; hangs on its server transaction.
#[derive(Debug, Default)]
pub struct Waiting {
    since: Option<(Instant, MethodKind)>,
    rang: bool,
}

impl Waiting {
    /// Begins to wait; a request within a dialog begins no session.
    pub(super) fn begin(&mut self, now: Instant, request: &Incoming) {
        let message = request.message();
        let Some(method) = message.method().map(|method| method.kind()) else { return };
        let is_new = message.to_tag().is_none();
        // A re-INVITE is asked of who has answered already: it is one of the others.
        let again = method == MethodKind::Invite && !is_new;
        let method = if again { MethodKind::Other } else { method };
        self.since = Some((now, method));
    }
}

/// Durations and answers of one shard.
#[derive(Debug, Default)]
pub(super) struct Measures {
    invite: Histogram,
    register: Histogram,
    bye: Histogram,
    other: Histogram,
    rang: Histogram,
    refused: Histogram,
    setup: Histogram,
    registered: Histogram,
    /// By status, of INVITE and of REGISTER; empty until the first.
    finals: [Vec<u64>; 2],
}

impl Measures {
    /// A response goes up to whoever waits.
    pub(super) fn note(&mut self, now: Instant, waiting: &mut Waiting, status: StatusCode) {
        let Some((since, method)) = waiting.since else { return };
        let (span, code) = (now.since(since), status.code());
        let is_invite = method == MethodKind::Invite;
        if is_invite && code > 100 && !waiting.rang {
            waiting.rang = true;
            if code < 300 { self.rang.note(span) } else { self.refused.note(span) }
        }
        if code < 200 {
            return;
        }
        waiting.since = None;
        let is_success = code < 300;
        if is_invite {
            self.invite.note(span);
            self.count(0, status);
            if is_success {
                self.setup.note(span);
            }
        } else if method == MethodKind::Register {
            self.register.note(span);
            self.count(1, status);
            if is_success {
                self.registered.note(span);
            }
        } else if method == MethodKind::Bye {
            self.bye.note(span);
        } else {
            self.other.note(span);
        }
    }

    fn count(&mut self, method: usize, status: StatusCode) {
        let Some(finals) = self.finals.get_mut(method) else { return };
        // Once in the life of a shard.
        finals.resize(STATUS_END, 0);
        if let Some(count) = finals.get_mut(usize::from(status.code())) {
            *count += 1;
        }
    }

    /// Shows everything.
    pub(super) fn each(&self, each: &mut EachReading<'_>) {
        let by_method = [
            ("INVITE", &self.invite),
            ("REGISTER", &self.register),
            ("BYE", &self.bye),
            ("other", &self.other),
        ];
        for (method, spans) in by_method {
            let labels = [("method", method)];
            each("request_duration_seconds", &labels, Reading::Histogram(spans));
        }
        for (outcome, spans) in [("success", &self.rang), ("failure", &self.refused)] {
            let labels = [("outcome", outcome)];
            each("session_request_delay_seconds", &labels, Reading::Histogram(spans));
        }
        each("session_setup_seconds", &[], Reading::Histogram(&self.setup));
        each("registration_request_delay_seconds", &[], Reading::Histogram(&self.registered));
        each("session_disconnect_delay_seconds", &[], Reading::Histogram(&self.bye));
        for (method, finals) in ["INVITE", "REGISTER"].into_iter().zip(&self.finals) {
            for (code, count) in finals.iter().enumerate().filter(|(_, count)| **count > 0) {
                let labels = [("method", method), ("code", &*code.to_string())];
                each("sip_final_responses", &labels, Reading::Number(*count));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::time::ms;

    fn waiting(method: MethodKind) -> Waiting {
        Waiting { since: Some((Instant::START, method)), rang: false }
    }

    fn status(code: u16) -> StatusCode {
        StatusCode::new(code).expect("a status")
    }

    #[test]
    fn a_call_is_measured_to_its_ringing_and_to_its_answer_once() {
        let (mut measures, mut call) = (Measures::default(), waiting(MethodKind::Invite));
        for (at, code) in [(1, 100), (30, 180), (60, 183), (900, 200), (901, 200)] {
            measures.note(Instant::START + ms(at), &mut call, status(code));
        }
        assert_eq!((measures.rang.count(), measures.rang.sum_micros()), (1, 30_000));
        assert_eq!((measures.setup.count(), measures.setup.sum_micros()), (1, 900_000));
        assert_eq!((measures.refused.count(), measures.invite.count()), (0, 1));
        assert_eq!(measures.finals[0][200], 1);
    }

    #[test]
    fn a_refused_call_is_no_session() {
        let (mut measures, mut call) = (Measures::default(), waiting(MethodKind::Invite));
        measures.note(Instant::START + ms(5), &mut call, status(486));
        assert_eq!((measures.refused.count(), measures.rang.count()), (1, 0));
        assert_eq!((measures.setup.count(), measures.finals[0][486]), (0, 1));
        let mut challenged = waiting(MethodKind::Register);
        measures.note(Instant::START + ms(5), &mut challenged, status(401));
        assert_eq!((measures.registered.count(), measures.finals[1][401]), (0, 1));
    }
}
