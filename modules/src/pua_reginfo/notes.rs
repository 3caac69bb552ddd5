//! What this module counts and which commands it has, in words.

use strowger_sip::module::{CommandNote, MetricNote};

pub(super) const METRICS: &[MetricNote] = &[
    MetricNote::counter("pua_reginfo_published", "Publications handed to pua."),
    MetricNote::counter("pua_reginfo_unpublished", "Changes not published: too many waited."),
    MetricNote::gauge("pua_reginfo_waiting", "Addresses of record about to be published."),
    MetricNote::gauge("pua_reginfo_followed", "Subscriptions that have told something."),
    MetricNote::counter("pua_reginfo_imported_contacts", "Contacts taken in or changed."),
    MetricNote::counter("pua_reginfo_removed_contacts", "Contacts that were taken in and went."),
    MetricNote::counter("pua_reginfo_rejected_notifies", "NOTIFYs with a document of no use."),
    MetricNote::counter("pua_reginfo_ignored_notifies", "NOTIFYs older than what is known."),
    MetricNote::counter("pua_reginfo_gaps", "NOTIFYs before which another one is missing."),
    MetricNote::counter("pua_reginfo_echoes", "Contacts told of that have gone from here."),
    MetricNote::counter("pua_reginfo_refused_imports", "Addresses of record not taken in."),
];

pub(super) const COMMANDS: &[CommandNote] = &[
    CommandNote::each("reginfo.subs", "", "Shows whose registrations are followed."),
    CommandNote::each("reginfo.publish", "aor", "Publishes an address of record."),
    CommandNote::each(
        "reginfo.subscribe",
        "uri expires?",
        "Follows the registrations of a URI elsewhere; 0 ends it.",
    ),
];
