//! How the node is, in one object: what the status page and `strowger top` draw.
//!
//! For: `core.live` and the stream `/live`. Counts are sums since the start; who draws takes the
//! difference of two.
//! Not here: everything else that is counted (`metrics.rs`).

use super::commands::Node;
use super::metrics::finals;
use super::process::Process;
use crate::counters::{Summary, Value as Reading};
use serde_json::{Value, json};
use strowger_sip::histogram::Histogram;

/// The object.
pub(super) fn snapshot(node: &Node, shards: &[Summary]) -> Value {
    let sum = |name: &str| -> u64 { shards.iter().map(|shard| metric(shard, name)).sum() };
    let invites = |wanted: fn(u16) -> bool| finals(shards, "INVITE", wanted);
    let sheds = shards.iter().map(|it| it.counters.shed + it.counters.peers_shed).sum::<u64>();
    json!({
        "version": env!("CARGO_PKG_VERSION"),
        "uptime": node.since.elapsed().as_secs(),
        "micros": u64::try_from(node.since.elapsed().as_micros()).unwrap_or(u64::MAX),
        "draining": shards.iter().any(|shard| shard.draining),
        "shards": shards.iter().map(shard).collect::<Vec<Value>>(),
        "calls": {
            "attempts": invites(|_| true), "answered": invites(|code| code < 300),
            "challenged": invites(|code| matches!(code, 401 | 402 | 407)),
            "failed": invites(|code| code >= 400 && !matches!(code, 401 | 402 | 407)),
        },
        "setup": spans(shards, "session_setup_seconds"),
        "dialogs": {
            "active": sum("dialog_active_dialogs"), "early": sum("dialog_early_dialogs"),
        },
        "registrations": {
            "users": sum("usrloc_registered_users"), "contacts": sum("usrloc_location_contacts"),
        },
        "requests": sum("requests_received"), "responses": sum("responses_received"),
        "drops": {
            "kernel": shards.iter().map(|it| it.counters.kernel_drops).sum::<u64>(),
            "shed": sheds,
            "malformed": sum("malformed_dropped") + sum("rubbish_dropped"),
            "refused": sum("overload_refused") + sum("queueing_refused"),
            "unsent": shards.iter().map(|it| it.counters.send_failed + it.counters.send_blocked)
                .sum::<u64>(),
        },
        "memory": Process::read().resident,
    })
}

fn metric(summary: &Summary, name: &str) -> u64 {
    summary.metrics.iter().find(|(own, _)| *own == name).map_or(0, |(_, value)| *value)
}

fn shard(summary: &Summary) -> Value {
    let (counters, census, spent) = (&summary.counters, &summary.census, &summary.spent);
    json!({
        "shard": summary.shard.0, "core": summary.core,
        "busy": spent.busy, "idle": spent.idle, "cpu": spent.cpu,
        "received": counters.received + counters.tcp.map_or(0, |tcp| tcp.received),
        "sent": counters.sent + counters.tcp.map_or(0, |tcp| tcp.sent),
        "handed_over": counters.handed_over,
        "shed": counters.shed + counters.peers_shed, "kernel_drops": counters.kernel_drops,
        "routing": census.contexts, "transactions": census.server_transactions,
        "dialogs": metric(summary, "dialog_active_dialogs"),
        "delay": metric(summary, "queueing_delay_micros"),
    })
}

/// A histogram over all shards: how many took no longer than each bound.
fn spans(shards: &[Summary], name: &str) -> Value {
    let mut all = Histogram::default();
    for reading in shards.iter().flat_map(|it| &it.readings).filter(|it| it.name == name) {
        if let Reading::Histogram(spans) = &reading.value {
            all.add(spans);
        }
    }
    let (bounds, counts): (Vec<u64>, Vec<u64>) = all.cumulated().unzip();
    json!({
        "bounds": bounds, "counts": counts, "count": all.count(), "sum": all.sum_micros(),
    })
}
