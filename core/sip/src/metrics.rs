//! Counters of one shard: plain numbers that the shard owns and others ask for.
//!
//! For: what came, went, was refused or dropped, and why. Names follow Prometheus' rules.
//! Not here: gauges of live objects; those are counted from the tables (`engine::Census`), so that
//! they cannot drift.

use crate::message::{MethodKind, StatusCode};
use crate::module::MetricNote;

/// Kinds of methods, those without a name of their own together.
const METHODS: usize = 15;
/// Status codes end before this one (RFC 3261 §7.2).
const STATUS_END: usize = 700;

/// What came in, by method and status.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Messages {
    requests: [u64; METHODS],
    /// By method, then by class.
    responses: [[u64; 7]; METHODS],
    /// By status; empty until the first response.
    statuses: Vec<u64>,
}

impl Messages {
    /// A request came.
    pub(crate) fn request(&mut self, method: MethodKind) {
        if let Some(count) = self.requests.get_mut(method as usize) {
            *count += 1;
        }
    }

    /// A response came, to a request of this method.
    pub(crate) fn response(&mut self, method: MethodKind, status: StatusCode) {
        let class = usize::from(status.code() / 100);
        let of_method = self.responses.get_mut(method as usize);
        if let Some(count) = of_method.and_then(|classes| classes.get_mut(class)) {
            *count += 1;
        }
        // Once in the life of a shard.
        self.statuses.resize(STATUS_END, 0);
        if let Some(count) = self.statuses.get_mut(usize::from(status.code())) {
            *count += 1;
        }
    }

    /// Calls `visit` with each method that has come, and how many; `None` for methods without a
    /// name.
    pub fn each_request(&self, mut visit: impl FnMut(Option<&'static str>, u64)) {
        for (kind, count) in KINDS.iter().zip(self.requests) {
            visit(kind.as_str(), count);
        }
    }

    /// Calls `visit` with each method and class of responses, 1 to 6.
    pub fn each_class(&self, mut visit: impl FnMut(Option<&'static str>, usize, u64)) {
        for (kind, classes) in KINDS.iter().zip(&self.responses) {
            for (class, count) in classes.iter().enumerate().skip(1) {
                visit(kind.as_str(), class, *count);
            }
        }
    }

    /// Calls `visit` with each status that has come.
    pub fn each_status(&self, mut visit: impl FnMut(usize, u64)) {
        for (status, count) in self.statuses.iter().enumerate().filter(|(_, count)| **count > 0) {
            visit(status, *count);
        }
    }
}

/// Every kind, at the place of its number.
const KINDS: [MethodKind; METHODS] = [
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

macro_rules! counters {
    ($($(#[doc = $help:literal])* $name:ident),* $(,)?) => {
        /// The counters of one shard.
        #[derive(Clone, Debug, Default, PartialEq, Eq)]
        pub struct Metrics {
            $($(#[doc = $help])* pub $name: u64,)*
        }

        impl Metrics {
            /// What each counter means: the words that stand with it here.
            pub const NOTES: &'static [MetricNote] =
                &[$(MetricNote::counter(stringify!($name), concat!($($help),*))),*];

            /// Calls `visit` with each counter's name and value, in a fixed order.
            pub fn each(&self, mut visit: impl FnMut(&'static str, u64)) {
                $(visit(stringify!($name), self.$name);)*
            }
        }
    };
}

counters! {
    /// Requests received, retransmissions included.
    requests_received,
    /// Responses received, retransmissions included.
    responses_received,
    /// Requests sent: forwarded, retransmitted, or made here.
    requests_sent,
    /// Responses sent: relayed, repeated, or made here.
    responses_sent,
    /// Retransmitted requests that a transaction absorbed.
    retransmissions_received,
    /// Retransmissions sent by timers A, E and G.
    retransmissions_sent,
    /// Requests routed, retransmissions excluded.
    requests_routed,
    /// Responses made here, by the engine, a module or the routing.
    replies_made,
    /// Datagrams too short to be a message, or keep-alives (RFC 5626 §3.5.1).
    keepalives_dropped,
    /// Datagrams that are not SIP.
    rubbish_dropped,
    /// Messages that broke the grammar and were answered with a 4xx or 5xx.
    malformed_answered,
    /// Messages that broke the grammar and could not be answered.
    malformed_dropped,
    /// Responses whose top Via is not ours.
    via_mismatch_dropped,
    /// Responses that match no transaction and no stateless forward of ours.
    unmatched_responses_dropped,
    /// ACKs that match no transaction and were meant for this node.
    unmatched_acks_dropped,
    /// CANCELs without their INVITE that were dropped (`unmatched_cancel = "drop"`).
    unmatched_cancels_dropped,
    /// Requests refused at admission (RFC 3261 §16.3).
    admission_refused,
    /// Requests that came back unchanged (RFC 5393).
    loops_refused,
    /// New requests refused because a table was full.
    overload_refused,
    /// Requests that would begin something, refused because messages waited too long.
    queueing_refused,
    /// Branches that left a destination out because it had failed shortly before.
    destinations_avoided,
    /// Copies sent to where nobody answers for them (`t_replicate`).
    replicas_sent,
    /// New requests refused while draining.
    drain_refused,
    /// Requests sent over TCP because they are too long for UDP.
    switched_to_tcp,
    /// Of these, requests sent over UDP after all because TCP was refused.
    switched_back_to_udp,
    /// Branches whose next hop could not be reached or resolved.
    branches_unreachable,
    /// Targets left out because a request had too many branches.
    branches_refused,
    /// Branches that went on to the next address of their target (RFC 3263 §4.3).
    failovers,
    /// Branches that timed out (timers B, F, C).
    branches_timed_out,
    /// CANCELs sent to branches.
    cancels_sent,
    /// Routings that ended without an answer; the engine answered 500.
    routings_without_answer,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_are_counted_at_the_place_of_their_method() {
        assert!(KINDS.iter().enumerate().all(|(place, kind)| *kind as usize == place));
        let mut messages = Messages::default();
        messages.request(MethodKind::Publish);
        messages.response(MethodKind::Publish, StatusCode::NOT_FOUND);
        let mut seen = Vec::new();
        messages.each_request(|method, count| seen.extend(method.filter(|_| count == 1)));
        messages.each_class(|method, class, count| {
            seen.extend(method.filter(|_| count == 1 && class == 4));
        });
        messages.each_status(|status, count| assert_eq!((status, count), (404, 1)));
        assert_eq!(seen, ["PUBLISH", "PUBLISH"]);
    }
}
