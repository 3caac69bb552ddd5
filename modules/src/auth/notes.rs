//! What the counts of this module mean, for `/metrics`.
//!
//! Not here: counting (`mod.rs`).

use strowger_sip::module::MetricNote;

pub(super) const METRICS: &[MetricNote] = &[
    MetricNote::counter("auth_accepted", "Requests whose credentials were good."),
    MetricNote::counter("auth_challenges", "Requests that were challenged."),
    MetricNote::counter("auth_wrong", "Requests with wrong credentials."),
    MetricNote::counter("auth_stale", "Requests with a nonce that was too old."),
    MetricNote::counter("auth_replayed", "Requests with a nonce count that had been used."),
    MetricNote::counter("auth_rows_refused", "Accounts of storage that could not be used."),
    MetricNote::counter(
        "auth_outdated",
        "Accounts looked up again because they had been remembered for too long.",
    ),
    MetricNote::counter("auth_unanswered", "Look-ups that storage did not answer."),
    MetricNote::gauge("auth_nonces", "Nonces whose counts are remembered."),
    MetricNote::gauge("auth_cached_accounts", "Accounts of storage that are remembered."),
];
