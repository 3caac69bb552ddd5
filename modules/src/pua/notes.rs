//! What the counts and commands of this module mean, for `/metrics` and the listing of commands.
//!
//! Not here: counting (`mod.rs`), answering (`command.rs`).

use strowger_sip::module::{CommandNote, MetricNote};

pub(super) const METRICS: &[MetricNote] = &[
    MetricNote::gauge("pua_publications", "Publications."),
    MetricNote::gauge("pua_subscriptions", "Subscriptions of this node."),
    MetricNote::gauge("pua_subs_active", "Subscriptions that their notifier has confirmed."),
    MetricNote::gauge("pua_in_flight", "PUBLISH and SUBSCRIBE requests that wait for an answer."),
    MetricNote::counter("pua_publishes_sent", "PUBLISH requests sent."),
    MetricNote::counter("pua_publishes_ok", "PUBLISH requests answered with a 2xx."),
    MetricNote::counter("pua_publishes_412", "PUBLISH requests whose tag the server had lost."),
    MetricNote::counter("pua_subscribes_sent", "SUBSCRIBE requests sent."),
    MetricNote::counter("pua_subscribes_ok", "SUBSCRIBE requests answered with a 2xx."),
    MetricNote::counter("pua_failed", "Requests that were refused for good."),
    MetricNote::counter("pua_timeouts", "Requests without an answer in time."),
    MetricNote::counter("pua_unreachable", "Requests for which no address was found."),
    MetricNote::counter("pua_unusable", "2xx that lack a tag or a contact."),
    MetricNote::counter("pua_notifies", "NOTIFY requests of this node's subscriptions."),
    MetricNote::counter("pua_terminated", "Subscriptions that their notifier ended."),
    MetricNote::counter("pua_refresh_late", "Refreshes sent when most of the time was over."),
    MetricNote::counter("pua_refused", "Calls of other modules that were refused."),
    MetricNote::counter("pua_rows_refused", "Rows of storage that could not be used."),
];

pub(super) const COMMANDS: &[CommandNote] = &[
    CommandNote::each("pua.cleanup", "", "Does what is due, and writes what has changed."),
    CommandNote::each("pua.publish", PUBLICATION, "Publishes a state and waits for the answer."),
    CommandNote::each("pua.send_publish", PUBLICATION, "Publishes a state."),
    CommandNote::each(
        "pua.subscribe",
        "presentity_uri watcher_uri event expires",
        "Follows a resource.",
    ),
    CommandNote::each("pua.list", "filter?", "Lists publications and subscriptions in memory."),
    CommandNote::each("pua.show", "name", "Shows one of them with its document."),
    CommandNote::each("pua.remove", "name", "Removes one of them, at the server too."),
];

const PUBLICATION: &str = "presentity_uri expires event content_type?=. id?=. etag?=. \
                           outbound_proxy?=. extra_headers?=. body?";
