//! What the counts and commands of this module mean, for `/metrics` and the listing of commands.
//!
//! Not here: counting (`mod.rs`), answering.

use strowger_sip::module::{CommandNote, MetricNote};

pub(super) const METRICS: &[MetricNote] = &[
    MetricNote::counter("permissions_allowed", "Requests whose source was found in the lists."),
    MetricNote::counter("permissions_refused", "Requests whose source was not found."),
    MetricNote::counter("permissions_reloads", "Lists that were taken into use while running."),
];

pub(super) const COMMANDS: &[CommandNote] = &[
    CommandNote::each("permissions.addressReload", "", "Reads the list of addresses again."),
    CommandNote::each("permissions.trustedReload", "", "Reads the list of trusted sources again."),
    CommandNote::each("permissions.rulesReload", "", "Reads the allow and deny files again."),
    CommandNote::one(
        "permissions.addressDump",
        "",
        "Shows single addresses of the list, up to 10000.",
    ),
    CommandNote::one("permissions.subnetDump", "", "Shows networks of the list, up to 10000."),
    CommandNote::one("permissions.trustedDump", "", "Shows the trusted sources, up to 10000."),
    CommandNote::one(
        "permissions.allowUri",
        "rules from uri",
        "Says what these rules decide about a caller and a Request-URI.",
    ),
    CommandNote::one(
        "permissions.testUri",
        "rules uri contact",
        "Says what these rules decide about a registration.",
    ),
];
