//! What a worker has counted and measured.
//!
//! For: the desk counts, the report sums up (`measure.rs`).
//! Invariants: counters only grow; every failed call has exactly one cause.

use super::call::Role;
use hdrhistogram::Histogram;
use std::fmt;
use strowger_sip::message::{Message, MethodKind, StartLine};
use strowger_sip::time::Duration;

/// Longest time that is told from longer ones.
const LONGEST_MICROS: u64 = 3_600_000_000;
/// Most causes that are told apart: scenarios have few steps, peers few statuses.
const CAUSES_MAX: usize = 256;
/// Most lines that scenarios may have printed.
const NOTES_MAX: usize = 20;
const METHODS: usize = MethodKind::Other as usize + 1;
/// Status codes from 100 to 699.
const STATUSES: usize = 600;

/// A histogram of times in microseconds.
pub(crate) type Times = Histogram<u64>;

/// An empty histogram: three significant digits up to an hour.
pub(crate) fn no_times() -> Times {
    Histogram::new_with_bounds(1, LONGEST_MICROS, 3).expect("constant bounds that are in order")
}

/// An empty histogram of one second: two digits, an eighth of the size, since it is made and sent
/// every second.
pub(crate) fn no_short_times() -> Times {
    Histogram::new_with_bounds(1, LONGEST_MICROS, 2).expect("constant bounds that are in order")
}

/// Adds one time.
pub(crate) fn record(times: &mut Times, span: Duration) {
    let micros = u64::try_from(span.as_micros()).unwrap_or(LONGEST_MICROS);
    times.saturating_record(micros.max(1));
}

/// Why a call failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Cause {
    pub(crate) role: Role,
    pub(crate) scenario: usize,
    pub(crate) step: usize,
    pub(crate) what: What,
}

/// See [`Cause`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum What {
    /// Nothing came, though the request was sent again and again.
    GaveUp,
    /// Nothing came within the step's time.
    TimedOut,
    UnexpectedStatus(u16),
    UnexpectedRequest(MethodKind),
    /// `check_it` of a regular expression.
    CheckFailed,
    /// A keyword had nothing to stand for.
    NotWritten,
    /// The scenario stopped the call.
    Stopped,
    /// The run ended first.
    Unfinished,
}

impl fmt::Display for What {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            What::GaveUp => f.write_str("no answer"),
            What::TimedOut => f.write_str("timed out"),
            What::UnexpectedStatus(code) => write!(f, "got {code}"),
            What::UnexpectedRequest(method) => {
                write!(f, "got {}", method.as_str().unwrap_or("an unknown request"))
            }
            What::CheckFailed => f.write_str("a regular expression did not match"),
            What::NotWritten => f.write_str("a message could not be written"),
            What::Stopped => f.write_str("stopped by the scenario"),
            What::Unfinished => f.write_str("still under way at the end"),
        }
    }
}

/// Messages by method and by status.
#[derive(Clone, Debug)]
pub(crate) struct Messages {
    requests: [u64; METHODS],
    responses: Box<[u64; STATUSES]>,
}

impl Default for Messages {
    fn default() -> Messages {
        Messages { requests: [0; METHODS], responses: Box::new([0; STATUSES]) }
    }
}

impl Messages {
    /// Counts one that was received.
    pub(crate) fn count(&mut self, message: Message<'_>) {
        match message.start_line() {
            StartLine::Request { method, .. } => self.count_request(method.kind()),
            StartLine::Response { status, .. } => self.count_response(status.code()),
        }
    }

    pub(crate) fn count_request(&mut self, method: MethodKind) {
        if let Some(count) = self.requests.get_mut(method as usize) {
            *count += 1;
        }
    }

    pub(crate) fn count_response(&mut self, code: u16) {
        if let Some(count) = self.responses.get_mut(usize::from(code).saturating_sub(100)) {
            *count += 1;
        }
    }

    /// Counts one that is about to be sent, by its first line.
    pub(crate) fn count_bytes(&mut self, bytes: &[u8]) {
        match bytes.strip_prefix(b"SIP/2.0 ") {
            Some(rest) => {
                let digits = rest.iter().take(3);
                let code = digits.fold(0u16, |code, digit| {
                    code.wrapping_mul(10).wrapping_add(u16::from(digit.wrapping_sub(b'0')))
                });
                self.count_response(code);
            }
            None => {
                let method = bytes.split(|byte| *byte == b' ').next().unwrap_or(&[]);
                self.count_request(strowger_sip::message::Method::from_bytes(method).kind());
            }
        }
    }

    pub(crate) fn add(&mut self, other: &Messages) {
        self.requests.iter_mut().zip(other.requests).for_each(|(sum, count)| *sum += count);
        let responses = self.responses.iter_mut().zip(other.responses.iter());
        responses.for_each(|(sum, count)| *sum += count);
    }

    pub(crate) fn total(&self) -> u64 {
        self.requests.iter().chain(self.responses.iter()).sum()
    }

    /// What was counted, by name.
    pub(crate) fn named(&self) -> Vec<(String, u64)> {
        let methods = METHOD_KINDS.iter().zip(self.requests);
        let methods =
            methods.map(|(kind, count)| (kind.as_str().unwrap_or("other").to_owned(), count));
        let responses = (100..).zip(self.responses.iter());
        let responses = responses.map(|(code, count): (u16, &u64)| (code.to_string(), *count));
        methods.chain(responses).filter(|(_, count)| *count > 0).collect()
    }
}

/// In the order of the enum.
const METHOD_KINDS: [MethodKind; METHODS] = [
    MethodKind::Invite,
    MethodKind::Ack,
    MethodKind::Bye,
    MethodKind::Cancel,
    MethodKind::Options,
    MethodKind::Register,
    MethodKind::Prack,
    MethodKind::Subscribe,
    MethodKind::Notify,
    MethodKind::Publish,
    MethodKind::Info,
    MethodKind::Refer,
    MethodKind::Message,
    MethodKind::Update,
    MethodKind::Other,
];

/// The calls of one role.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Outcomes {
    pub(crate) begun: u64,
    pub(crate) succeeded: u64,
    pub(crate) failed: u64,
}

/// All counters of a worker.
#[derive(Clone, Debug, Default)]
pub(crate) struct Counters {
    pub(crate) outcomes: [Outcomes; 2],
    pub(crate) sent: Messages,
    pub(crate) received: Messages,
    /// Sent again by a timer of ours.
    pub(crate) retransmissions: u64,
    /// Answered again because the peer asked again.
    pub(crate) answered_again: u64,
    /// Received again.
    pub(crate) repeated: u64,
    /// Not what the scenario waits for.
    pub(crate) unexpected: u64,
    /// Of no call that is known.
    pub(crate) stray: u64,
    /// Of a call that has ended.
    pub(crate) late_messages: u64,
    pub(crate) malformed: u64,
    /// Lost because the scenario says so.
    pub(crate) lost_on_purpose: u64,
    /// Calls that began later than allowed for.
    pub(crate) late_starts: u64,
    /// Calls that could not begin because too many were under way.
    pub(crate) not_begun: u64,
    pub(crate) causes: Vec<(Cause, u64)>,
    pub(crate) notes: Vec<String>,
}

impl Counters {
    pub(crate) fn fail(&mut self, cause: Cause) {
        self.outcomes[cause.role as usize].failed += 1;
        self.blame(cause, 1);
    }

    fn blame(&mut self, cause: Cause, count: u64) {
        if let Some((_, known)) = self.causes.iter_mut().find(|(known, _)| *known == cause) {
            *known += count;
        } else if self.causes.len() < CAUSES_MAX {
            self.causes.push((cause, count));
        } else if let Some((_, last)) = self.causes.last_mut() {
            // The sum stays right.
            *last += count;
        }
    }

    pub(crate) fn note(&mut self, text: String) {
        if self.notes.len() < NOTES_MAX {
            self.notes.push(text);
        }
    }

    /// Adds another worker's.
    pub(crate) fn add(&mut self, other: &Counters) {
        for (sum, outcomes) in self.outcomes.iter_mut().zip(other.outcomes) {
            sum.begun += outcomes.begun;
            sum.succeeded += outcomes.succeeded;
            sum.failed += outcomes.failed;
        }
        self.sent.add(&other.sent);
        self.received.add(&other.received);
        self.retransmissions += other.retransmissions;
        self.answered_again += other.answered_again;
        self.repeated += other.repeated;
        self.unexpected += other.unexpected;
        self.stray += other.stray;
        self.late_messages += other.late_messages;
        self.malformed += other.malformed;
        self.lost_on_purpose += other.lost_on_purpose;
        self.late_starts += other.late_starts;
        self.not_begun += other.not_begun;
        other.causes.iter().for_each(|(cause, count)| self.blame(*cause, *count));
        other.notes.iter().for_each(|note| self.note(note.clone()));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_are_counted_by_their_first_line() {
        let mut messages = Messages::default();
        for text in ["SIP/2.0 180 Ringing\r\n", "INVITE sip:a SIP/2.0\r\n", "X sip:a SIP/2.0"] {
            messages.count_bytes(text.as_bytes());
        }
        let expected = [("INVITE".to_owned(), 1), ("other".to_owned(), 1), ("180".to_owned(), 1)];
        assert_eq!((messages.named(), messages.total()), (expected.to_vec(), 3));
    }

    #[test]
    fn methods_are_named_in_the_order_of_the_enum() {
        assert!(METHOD_KINDS.iter().zip(0..).all(|(kind, index)| *kind as usize == index));
    }

    #[test]
    fn equal_causes_are_counted_together() {
        let cause = |step| Cause { role: Role::Caller, scenario: 0, step, what: What::TimedOut };
        let mut counters = Counters::default();
        [1, 2, 1].into_iter().for_each(|step| counters.fail(cause(step)));
        let mut sum = Counters::default();
        sum.add(&counters);
        sum.add(&counters);
        assert_eq!(sum.causes, [(cause(1), 4), (cause(2), 2)]);
        assert_eq!(sum.outcomes[0].failed, 6);
    }
}
