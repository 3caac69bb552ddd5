//! What the counts and commands of this module mean, for `/metrics` and the listing of commands.
//!
//! Not here: counting (`mod.rs`), answering.

use strowger_sip::module::{CommandNote, MetricNote};

pub(super) const METRICS: &[MetricNote] = &[
    MetricNote::counter("dispatcher_selected", "Destinations chosen."),
    MetricNote::counter("dispatcher_empty", "Choices for which no destination was there."),
    MetricNote::counter("dispatcher_failovers", "Requests that went on to another destination."),
    MetricNote::counter("dispatcher_downs", "Destinations that became inactive."),
    MetricNote::counter("dispatcher_ups", "Destinations that became active again."),
    MetricNote::counter("dispatcher_probes_sent", "Probes sent."),
    MetricNote::counter("dispatcher_probes_answered", "Probes that were answered well."),
    MetricNote::counter(
        "dispatcher_probes_failed",
        "Probes that were answered badly or not at all.",
    ),
    MetricNote::counter(
        "dispatcher_probes_unresolved",
        "Probes not sent because the name had no address.",
    ),
    MetricNote::counter(
        "dispatcher_calls_uncounted",
        "Calls that found no room in the table of calls by destination.",
    ),
    MetricNote::counter("dispatcher_reloads", "Lists that were taken into use while running."),
];

pub(super) const COMMANDS: &[CommandNote] = &[
    CommandNote::one("dispatcher.list", "set?", "Shows the destinations of a set, or of all."),
    CommandNote::each("dispatcher.reload", "", "Reads the destinations again."),
    CommandNote::each(
        "dispatcher.set_state",
        "state set uri",
        "Sets the state of a destination, or of all of a set: a, i, d, t, with p to probe.",
    ),
    CommandNote::each(
        "dispatcher.set_duid_state",
        "state duid",
        "The same by the identity of the destination.",
    ),
    CommandNote::each(
        "dispatcher.ping_active",
        "active?",
        "Says whether probes are sent; 0 ends them, 1 begins.",
    ),
    CommandNote::each(
        "dispatcher.add",
        "set uri flags? priority? attrs?",
        "Adds a destination until the next reload.",
    ),
    CommandNote::each(
        "dispatcher.remove",
        "set uri",
        "Removes a destination until the next reload.",
    ),
    CommandNote::one(
        "dispatcher.hash",
        "slots value value2? value3?",
        "Shows which slot values hash to.",
    ),
    CommandNote::one("dispatcher.oclist", "set", "Shows the overload control of a set."),
];
