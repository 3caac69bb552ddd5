//! Kamailio's statistics, `group:name`, as far as there is something to count.
//!
//! For: `stats.*`, and `/metrics` with `compat_names`.
//! Not here: our own names (`metrics.rs`).

use super::metrics::live;
use crate::counters::Summary;
use std::collections::BTreeMap;

/// The statistics of the group `dialog`.
const DIALOG: [&str; 5] =
    ["active_dialogs", "early_dialogs", "expired_dialogs", "failed_dialogs", "processed_dialogs"];

/// The sums over all shards; modules' own names begin with their group.
pub(super) fn statistics(shards: &[Summary]) -> BTreeMap<String, u64> {
    let mut all: BTreeMap<String, u64> = BTreeMap::new();
    let mut add = |name: String, value: u64| *all.entry(name).or_default() += value;
    for summary in shards {
        add_messages(summary, &mut add);
        for (name, value) in &summary.metrics {
            if let Some(name) = statistic(name) {
                add(name, *value);
            }
        }
        for (name, value, _) in live(summary).into_iter().take(2) {
            let name = if name == "server_transactions" { "UAS" } else { "UAC" };
            add(format!("tmx:{name}_transactions"), value);
        }
        add("tmx:active_transactions".to_owned(), summary.census.contexts as u64);
        if let Some(tcp) = &summary.counters.tcp {
            add("tcp:passive_open".to_owned(), tcp.accepted);
            add("tcp:connect_failed".to_owned(), tcp.connect_failed);
            add("tcp:current_opened_connections".to_owned(), tcp.connections);
        }
    }
    all
}

fn add_messages(summary: &Summary, add: &mut impl FnMut(String, u64)) {
    let (mut requests, mut replies) = (0, 0);
    summary.messages.each_request(|method, count| {
        requests += count;
        if let Some(method) = method {
            add(format!("core:rcv_requests_{}", method.to_ascii_lowercase()), count);
        }
    });
    summary.messages.each_class(|method, class, count| {
        replies += count;
        add(format!("core:rcv_replies_{class}xx"), count);
        if let Some(method) = method {
            let method = method.to_ascii_lowercase();
            add(format!("core:rcv_replies_{class}xx_{method}"), count);
        }
    });
    summary.messages.each_status(|status, count| {
        if (180..190).contains(&status) {
            add("core:rcv_replies_18x".to_owned(), count);
        } else if status >= 400 {
            add(format!("core:rcv_replies_{status}"), count);
        }
    });
    add("core:rcv_requests".to_owned(), requests);
    add("core:rcv_replies".to_owned(), replies);
}

/// Kamailio's name for a count of ours.
fn statistic(name: &str) -> Option<String> {
    let engine = match name {
        "requests_sent" => "core:fwd_requests",
        "responses_sent" => "core:fwd_replies",
        "malformed_dropped" => "core:bad_msg_hdr",
        "unmatched_responses_dropped" => "core:drop_replies",
        "replies_made" => "tmx:rpl_generated",
        _ => "",
    };
    if !engine.is_empty() {
        return Some(engine.to_owned());
    }
    let groups = ["dialog", "registrar", "usrloc", "dispatcher", "pike", "auth", "uac", "pua"];
    let (group, rest) = name.split_once('_')?;
    // Of this one, dashboards and scripts know exactly what there is; the rest is under our names.
    let known = group != "dialog" || DIALOG.contains(&rest);
    (known && groups.contains(&group)).then(|| format!("{group}:{rest}"))
}
