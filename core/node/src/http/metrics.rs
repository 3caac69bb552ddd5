//! `/metrics`: everything that is counted, under names of our own and, on demand, Kamailio's.
//!
//! For: what each shard, storage and the process tell, as families.
//! Not here: the formats (`page.rs`), who may ask (`mod.rs`).
//! Invariants: there are no more labels than shards, methods, statuses and what the configuration
//! names.

use super::page::{Format, Labels, Page};
use super::process::Process;
use super::statistics::statistics;
use crate::counters::{Counters, Labelled, Summary, Value};
use crate::storage::StorageSummary;
use crate::stream::StreamCounters;
use std::time::Duration;
use strowger_sip::module::MetricNote;
use strowger_sip::module::Notes;
use strowger_sip::module::notes::Kind;

const GAUGE: Option<Kind> = Some(Kind::Gauge);
const COUNTER: Option<Kind> = Some(Kind::Counter);

/// Everything that a page is made of.
pub(super) struct Source<'s> {
    pub(super) notes: &'s Notes,
    pub(super) shards: &'s [Summary],
    pub(super) storage: Option<&'s StorageSummary>,
    pub(super) process: &'s Process,
    pub(super) uptime: Duration,
    /// What the control plane counts of itself: log lines dropped, packets mirrored.
    pub(super) own: &'s [(MetricNote, u64)],
}

/// The page.
pub(super) fn page(source: &Source<'_>, compat_names: bool, format: Format) -> String {
    let mut page = Page::default();
    let build = vec![
        ("version", env!("CARGO_PKG_VERSION").to_owned()),
        ("arch", std::env::consts::ARCH.to_owned()),
        ("profile", if cfg!(debug_assertions) { "debug" } else { "release" }.to_owned()),
    ];
    let help = "What is running: always 1.";
    page.add("strowger_build_info", (GAUGE, help), build, Value::Number(1));
    let uptime = Value::Number(source.uptime.as_secs());
    page.add("strowger_uptime_seconds", (GAUGE, "Time since the start."), Labels::new(), uptime);
    for summary in source.shards {
        add_shard(&mut page, source.notes, summary);
    }
    add_ratios(&mut page, source.shards);
    if let Some(storage) = source.storage {
        add_storage(&mut page, storage);
    }
    for (note, value) in source.own {
        let name = format!("strowger_{}", note.name);
        page.add(&name, (Some(note.kind), note.help), Labels::new(), Value::Number(*value));
    }
    source.process.add_to(&mut page);
    if compat_names {
        for (name, value) in statistics(source.shards) {
            let help = format!("Kamailio's statistic {name}.");
            let name = format!("kamailio_{}", name.replace([':', '-'], "_"));
            page.add(&name, (GAUGE, &help), Labels::new(), Value::Number(value));
        }
    }
    page.write(format)
}

fn add_shard(page: &mut Page, notes: &Notes, summary: &Summary) {
    let shard: Labels = vec![("shard", summary.shard.0.to_string())];
    for (name, value, help) in live(summary) {
        let name = format!("strowger_{name}");
        page.add(&name, (GAUGE, help), shard.clone(), Value::Number(value));
    }
    summary.counters.each(&mut |name, value| {
        let found = Counters::NOTES.iter().chain(StreamCounters::NOTES);
        let note = found.clone().find(|note| note.name == name);
        add_noted(page, note, (name, shard.clone()), Value::Number(value));
    });
    for (name, value) in &summary.metrics {
        add_noted(page, notes.metric(name), (name, shard.clone()), Value::Number(*value));
    }
    for Labelled { name, labels, value } in &summary.readings {
        let mut all = shard.clone();
        all.extend(labels.iter().cloned());
        let own = OWN.iter().find(|note| note.name == *name);
        add_noted(page, own.or_else(|| notes.metric(name)), (name, all), value.clone());
    }
    let times = [
        ("busy", summary.spent.busy, "Time in turns that did not wait for something to do."),
        ("idle", summary.spent.idle, "Time in turns that waited for something to do."),
        ("cpu", summary.spent.cpu, "CPU time of the shard's thread."),
    ];
    for (name, micros, help) in times {
        let name = format!("strowger_shard_{name}_seconds");
        page.add(&name, (COUNTER, help), shard.clone(), Value::Micros(micros));
    }
    let core = summary.core.map_or_else(|| "any".to_owned(), |core| core.to_string());
    let mut labels = shard.clone();
    labels.push(("core", core));
    let help = "The core that a shard is pinned to: always 1.";
    page.add("strowger_shard_info", (GAUGE, help), labels, Value::Number(1));
    add_messages(page, &shard, summary);
}

/// What the edge of a shard reads beside its counts.
const OWN: &[MetricNote] = &[MetricNote::histogram(
    "queueing_delay_seconds",
    "How long the oldest message of each batch waited before it was handled.",
)];

/// A count as its note has it; without one it is of no known kind.
fn add_noted(
    page: &mut Page,
    note: Option<&MetricNote>,
    (name, labels): (&str, Labels),
    value: Value,
) {
    if let Some(profile) = name.strip_prefix("dialog_profile_") {
        // One family: names of profiles are the configuration's.
        let about = (GAUGE, "Dialogs of a profile.");
        let mut labels = labels;
        labels.push(("profile", profile.to_owned()));
        return page.add("strowger_dialog_profile_size", about, labels, value);
    }
    // Prometheus wants seconds.
    let (name, value) = match value {
        Value::Number(number) => {
            if let Some(name) = name.strip_suffix("_micros") {
                (format!("{name}_last_seconds"), Value::Micros(number))
            } else if let Some(name) = name.strip_suffix("_ms") {
                (format!("{name}_seconds"), Value::Micros(number.saturating_mul(1000)))
            } else {
                (name.to_owned(), Value::Number(number))
            }
        }
        value @ (Value::Micros(_) | Value::Millionths(_) | Value::Histogram(_)) => {
            (name.to_owned(), value)
        }
    };
    let nothing = "A count of a module that says nothing about it.";
    let about = note.map_or((None, nothing), |note| (Some(note.kind), note.help));
    page.add(&format!("strowger_{name}"), about, labels, value);
}

fn add_messages(page: &mut Page, shard: &Labels, summary: &Summary) {
    let with = |key: &'static str, value: String| {
        let mut labels = shard.clone();
        labels.push((key, value));
        labels
    };
    let messages = &summary.messages;
    messages.each_request(|method, count| {
        let labels = with("method", method.unwrap_or("other").to_owned());
        let about = (COUNTER, "Requests received, retransmissions included, by method.");
        page.add("strowger_sip_requests_received", about, labels, Value::Number(count));
    });
    messages.each_status(|status, count| {
        let labels = with("code", status.to_string());
        let about = (COUNTER, "Responses received, retransmissions included, by code.");
        page.add("strowger_sip_responses_received", about, labels, Value::Number(count));
    });
    messages.each_class(|method, class, count| {
        let mut labels = with("method", method.unwrap_or("other").to_owned());
        labels.push(("class", format!("{class}xx")));
        let about = (COUNTER, "Responses received by the method of their request and by class.");
        page.add("strowger_sip_responses_by_method", about, labels, Value::Number(count));
    });
}

/// What is alive on a shard.
pub(super) fn live(summary: &Summary) -> [(&'static str, u64, &'static str); 7] {
    let census = &summary.census;
    let number = |count: usize| u64::try_from(count).unwrap_or(u64::MAX);
    [
        (
            "server_transactions",
            number(census.server_transactions),
            "Server transactions, lingering ones included.",
        ),
        (
            "client_transactions",
            number(census.client_transactions),
            "Client transactions, lingering ones included.",
        ),
        ("contexts", number(census.contexts), "Requests being routed."),
        ("waiting_routings", number(census.waiting_routings), "Routings that wait."),
        ("timers", number(census.timers), "Armed timers, those of modules left out."),
        (
            "module_objects",
            number(census.module_objects),
            "Objects that modules keep because of traffic.",
        ),
        ("draining", u64::from(summary.draining), "Whether new calls are refused."),
    ]
}

/// Final responses to INVITE or REGISTER, summed over shards, of these codes.
pub(super) fn finals(shards: &[Summary], method: &str, wanted: impl Fn(u16) -> bool) -> u64 {
    let readings = shards.iter().flat_map(|summary| &summary.readings);
    let finals = readings.filter(|reading| reading.name == "sip_final_responses");
    let counted = finals.filter_map(|Labelled { labels, value, .. }| {
        let label = |key| labels.iter().find(|(own, _)| *own == key).map(|(_, text)| text);
        let code = label("code")?.parse().ok()?;
        let is_wanted = label("method").is_some_and(|own| own == method) && wanted(code);
        match value {
            Value::Number(number) if is_wanted => Some(*number),
            Value::Number(_) | Value::Micros(_) | Value::Millionths(_) | Value::Histogram(_) => {
                None
            }
        }
    });
    counted.sum()
}

/// RFC 6076 §4.6 to §4.8 and §4.2, since the start; for another span, the same of the counters.
fn add_ratios(page: &mut Page, shards: &[Summary]) {
    let invites = |wanted: fn(u16) -> bool| finals(shards, "INVITE", wanted);
    let registers = |wanted: fn(u16) -> bool| finals(shards, "REGISTER", wanted);
    let (all, answered) = (invites(|_| true), invites(|code| code < 300));
    let redirected = invites(|code| code / 100 == 3);
    let challenged = invites(|code| matches!(code, 401 | 402 | 407));
    let effective = invites(|code| code < 300 || matches!(code, 480 | 486 | 600 | 603));
    let ineffective = invites(|code| matches!(code, 408 | 500 | 503 | 504));
    let tried = registers(|code| !matches!(code, 401 | 402 | 407));
    let lost = registers(|code| code >= 400 && !matches!(code, 401 | 402 | 407));
    let ratios = [
        (
            "session_establishment_ratio",
            (answered, all - redirected),
            "SER of RFC 6076 since the start: INVITEs answered, of those not redirected.",
        ),
        (
            "session_establishment_effectiveness_ratio",
            (effective, all - redirected - challenged),
            "SEER of RFC 6076 since the start: INVITEs answered or refused by the callee.",
        ),
        (
            "ineffective_session_attempts_ratio",
            (ineffective, all),
            "ISA of RFC 6076 since the start: INVITEs that failed by 408, 500, 503 or 504.",
        ),
        (
            "ineffective_registration_attempts_ratio",
            (lost, tried),
            "IRA of RFC 6076 since the start: REGISTERs refused, challenges left out.",
        ),
    ];
    for (name, (part, whole), help) in ratios {
        if whole > 0 {
            let millionths = u128::from(part) * 1_000_000 / u128::from(whole);
            let value = Value::Millionths(u64::try_from(millionths).unwrap_or(0));
            page.add(&format!("strowger_{name}"), (GAUGE, help), Labels::new(), value);
        }
    }
}

fn add_storage(page: &mut Page, storage: &StorageSummary) {
    let s = storage;
    let gauges = [
        ("degraded", u64::from(s.degraded), "Whether the database is away or too slow."),
        ("queue_rows", s.waiting, "Rows that wait to be written."),
        ("queue_bytes", s.waiting_bytes, "Memory that rows take that wait to be written."),
        ("resyncs_due", s.resyncs_due, "Modules that are still to be asked for everything."),
    ];
    let counters = [
        ("degradations", s.degradations, "How often the database was given up for a while."),
        ("orders", s.orders, "Orders taken from the shards."),
        ("written", s.written, "Changes that were written."),
        ("batches", s.batches, "Transactions."),
        ("failures", s.failures, "Batches that failed and were tried again."),
        ("durable", s.durable, "Promises kept."),
        ("refused", s.refused, "Promises and questions refused."),
        ("found", s.found, "Questions answered."),
        ("dropped", s.dropped, "Changes dropped because there was no room."),
        ("resyncs", s.resyncs, "Times that a module was asked to say everything again."),
        ("unusable", s.unusable, "Changes that do not fit their table."),
        ("loaded", s.loaded, "Rows handed to the shards at start."),
        ("skipped", s.skipped, "Rows that were of no use."),
        ("notes_lost", s.notes_lost, "Notes that a shard had no room for."),
    ];
    let labels: Labels = vec![("backend", s.backend.to_owned())];
    for (kind, (name, value, help)) in
        gauges.map(|it| (GAUGE, it)).into_iter().chain(counters.map(|it| (COUNTER, it)))
    {
        let name = format!("strowger_storage_{name}");
        page.add(&name, (kind, help), labels.clone(), Value::Number(value));
    }
    let about = (Some(Kind::Histogram), "How long each batch took to write.");
    let latency = Value::Histogram(s.latency.clone());
    page.add("strowger_storage_batch_seconds", about, labels, latency);
}
