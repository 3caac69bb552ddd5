//! What the counts of this module mean, for `/metrics`.
//!
//! Not here: counting (`mod.rs`).

use strowger_sip::module::MetricNote;

pub(super) const METRICS: &[MetricNote] = &[
    MetricNote::counter(
        "registrar_accepted_regs",
        "REGISTER requests that were answered with 200.",
    ),
    MetricNote::counter("registrar_rejected_regs", "REGISTER requests that were refused."),
    MetricNote::gauge("registrar_max_expires", "The setting max_expires, in seconds."),
    MetricNote::gauge("registrar_max_contacts", "The setting max_contacts."),
    MetricNote::gauge("registrar_default_expire", "The setting default_expires, in seconds."),
    MetricNote::gauge(
        "registrar_default_expires_range",
        "The setting default_expires_range, in percent.",
    ),
    MetricNote::gauge("registrar_expires_range", "The setting expires_range, in percent."),
];
