//! `/metrics`: Prometheus' text format.
//!
//! For: every count of every shard, and on demand the names of Kamailio's exporters.
//! Not here: who may ask (`mod.rs`).
//! Invariants: each family stands together, its TYPE first; labels are of our own making, so none
//! needs escaping, and there are no more of them than shards, methods and statuses.

use crate::counters::Summary;
use std::collections::BTreeMap;
use std::fmt::Write;
use std::time::Duration;

/// The content type of Prometheus' text format.
pub(super) const CONTENT_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";

/// The statistics of the group `dialog`.
const DIALOG: [&str; 5] =
    ["active_dialogs", "early_dialogs", "expired_dialogs", "failed_dialogs", "processed_dialogs"];

/// A family: its kind, and its samples as label text and value.
#[derive(Default)]
struct Family {
    kind: &'static str,
    samples: Vec<(String, u64)>,
}

#[derive(Default)]
struct Page {
    families: BTreeMap<String, Family>,
}

impl Page {
    fn add(&mut self, name: &str, kind: &'static str, labels: String, value: u64) {
        let family = self.families.entry(name.to_owned()).or_default();
        family.kind = kind;
        family.samples.push((labels, value));
    }

    fn write(&self, out: &mut String) {
        for (name, family) in &self.families {
            // Writing to a string cannot fail.
            let _ = writeln!(out, "# TYPE {name} {}", family.kind);
            for (labels, value) in &family.samples {
                let _ = match labels.is_empty() {
                    true => writeln!(out, "{name} {value}"),
                    false => writeln!(out, "{name}{{{labels}}} {value}"),
                };
            }
        }
    }
}

/// The page.
pub(super) fn page(shards: &[Summary], uptime: Duration, compat_names: bool) -> String {
    let mut page = Page::default();
    let version = env!("CARGO_PKG_VERSION");
    page.add("strowger_build_info", "gauge", format!("version=\"{version}\""), 1);
    page.add("strowger_uptime_seconds", "gauge", String::new(), uptime.as_secs());
    for summary in shards {
        add_shard(&mut page, summary);
    }
    if compat_names {
        add_compatible(&mut page, shards);
    }
    let mut out = String::new();
    page.write(&mut out);
    out
}

fn add_shard(page: &mut Page, summary: &Summary) {
    let shard = format!("shard=\"{}\"", summary.shard.0);
    for (name, value) in live(summary) {
        page.add(&format!("strowger_{name}"), "gauge", shard.clone(), value);
    }
    summary.counters.each(&mut |name, value| {
        page.add(&format!("strowger_{name}_total"), "counter", shard.clone(), value);
    });
    for (name, value) in &summary.metrics {
        // Modules tell counts and sizes alike: what they are is not known here.
        page.add(&format!("strowger_{name}"), "untyped", shard.clone(), *value);
    }
    let messages = &summary.messages;
    messages.each_request(|method, count| {
        let labels = format!("{shard},method=\"{}\"", method.unwrap_or("other"));
        page.add("strowger_sip_requests_received_total", "counter", labels, count);
    });
    messages.each_status(|status, count| {
        let labels = format!("{shard},code=\"{status}\"");
        page.add("strowger_sip_responses_received_total", "counter", labels, count);
    });
}

fn live(summary: &Summary) -> [(&'static str, u64); 7] {
    let census = &summary.census;
    let number = |count: usize| u64::try_from(count).unwrap_or(u64::MAX);
    [
        ("server_transactions", number(census.server_transactions)),
        ("client_transactions", number(census.client_transactions)),
        ("contexts", number(census.contexts)),
        ("waiting_routings", number(census.waiting_routings)),
        ("timers", number(census.timers)),
        ("module_objects", number(census.module_objects)),
        ("draining", u64::from(summary.draining)),
    ]
}

/// The sums under the names that dashboards for Kamailio look for.
fn add_compatible(page: &mut Page, shards: &[Summary]) {
    for (name, value) in statistics(shards) {
        let name = format!("kamailio_{}", name.replace([':', '-'], "_"));
        page.add(&name, "gauge", String::new(), value);
    }
}

/// Kamailio's statistics, `group:name`, as far as there is something to count; modules' own names
/// begin with their group.
pub(super) fn statistics(shards: &[Summary]) -> BTreeMap<String, u64> {
    let mut all: BTreeMap<String, u64> = BTreeMap::new();
    let mut add = |name: String, value: u64| *all.entry(name).or_default() += value;
    for summary in shards {
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
        for (name, value) in &summary.metrics {
            if let Some(name) = statistic(name) {
                add(name, *value);
            }
        }
        for (name, value) in live(summary).into_iter().take(2) {
            let name = if name == "server_transactions" { "UAS" } else { "UAC" };
            add(format!("tmx:{name}_transactions"), value);
        }
    }
    all
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
