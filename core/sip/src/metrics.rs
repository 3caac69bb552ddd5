//! Counters of one shard: plain numbers that the shard owns and others ask for.
//!
//! For: what came, went, was refused or dropped, and why. Names follow Prometheus' rules.
//! Not here: gauges of live objects; those are counted from the tables (`engine::Census`), so that
//! they cannot drift.

macro_rules! counters {
    ($($(#[$doc:meta])* $name:ident),* $(,)?) => {
        /// The counters of one shard.
        #[derive(Clone, Debug, Default, PartialEq, Eq)]
        pub struct Metrics {
            $($(#[$doc])* pub $name: u64,)*
        }

        impl Metrics {
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
