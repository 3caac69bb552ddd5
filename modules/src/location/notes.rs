//! What the counts and commands of this module mean, for `/metrics` and the listing of commands.
//!
//! Not here: counting (`mod.rs`), answering.

use strowger_sip::module::{CommandNote, MetricNote};

pub(super) const METRICS: &[MetricNote] = &[
    MetricNote::gauge("usrloc_registered_users", "Addresses of record with a contact."),
    MetricNote::gauge(
        "usrloc_location_users",
        "Addresses of record with a contact, of the table location.",
    ),
    MetricNote::gauge("usrloc_location_contacts", "Contacts."),
    MetricNote::counter("usrloc_location_expires", "Contacts that expired."),
    MetricNote::counter(
        "usrloc_silent_contacts",
        "Contacts removed because they did not answer keep-alives.",
    ),
    MetricNote::counter("usrloc_lost_contacts", "Contacts removed because their connection ended."),
    MetricNote::counter("usrloc_pings", "Keep-alives sent to contacts."),
    MetricNote::counter("usrloc_rows_refused", "Rows of storage that could not be used."),
    MetricNote::counter("usrloc_undone", "Changes taken back because storage refused them."),
    MetricNote::counter("usrloc_overload", "Changes refused because too many waited."),
];

pub(super) const COMMANDS: &[CommandNote] = &[
    CommandNote::pages(
        "AoRs",
        "ul.dump",
        "brief?= limit?=0 next?",
        "Shows every contact; with brief, only their URIs.",
    ),
    CommandNote::each("ul.lookup", "table aor", "Shows the contacts of an address of record."),
    CommandNote::each(
        "ul.add",
        "table aor contact expires q path flags? cflags? methods?",
        "Adds a contact.",
    ),
    CommandNote::each("ul.rm", "table aor", "Removes all contacts of an address of record."),
    CommandNote::each("ul.rm_contact", "table aor contact", "Removes a contact."),
    CommandNote::each("ul.flush", "", "Writes every contact to storage again."),
    CommandNote::each("ul.db_users", "", "Counts the addresses of record in storage."),
    CommandNote::each("ul.db_contacts", "", "Counts the contacts in storage."),
    CommandNote::each(
        "ul.db_expired_contacts",
        "",
        "Counts the contacts in storage that have expired.",
    ),
];
