//! What two looks at a node say about the time between them.
//!
//! For: rates, loads and set-up delay for `strowger top`.
//! Not here: drawing (`top.rs`).

use serde_json::Value;

/// How a node is, and what it did between two looks.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct View {
    pub(super) version: String,
    pub(super) uptime: u64,
    pub(super) draining: bool,
    pub(super) calls_per_second: f64,
    pub(super) answered_per_second: f64,
    pub(super) failed_per_second: f64,
    pub(super) requests_per_second: f64,
    /// Half of the calls, and 99 of 100, were set up within so many seconds; `None` without calls.
    pub(super) setup: Option<(f64, f64)>,
    pub(super) dialogs: u64,
    pub(super) ringing: u64,
    pub(super) users: u64,
    pub(super) contacts: u64,
    pub(super) memory: u64,
    /// By kind, since the start, and a second.
    pub(super) drops: Vec<(String, u64, f64)>,
    pub(super) shards: Vec<ShardView>,
}

/// One shard.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct ShardView {
    pub(super) shard: u64,
    pub(super) core: Option<u64>,
    /// The part of the time that it was busy, and that its thread had a CPU.
    pub(super) busy: f64,
    pub(super) cpu: f64,
    pub(super) received: f64,
    pub(super) sent: f64,
    pub(super) handed_over: f64,
    pub(super) routing: u64,
    pub(super) dialogs: u64,
    pub(super) shed: u64,
    pub(super) kernel_drops: u64,
}

fn number(value: &Value, path: &str) -> u64 {
    value.pointer(path).and_then(Value::as_u64).unwrap_or(0)
}

/// What grew between two looks, by the second.
struct Growth<'v> {
    before: &'v Value,
    now: &'v Value,
    seconds: f64,
}

impl Growth<'_> {
    fn of(&self, path: &str) -> f64 {
        let grown = number(self.now, path).saturating_sub(number(self.before, path));
        grown as f64 / self.seconds
    }
}

impl View {
    /// From what `core.live` said before and says.
    pub(super) fn between(before: &Value, now: &Value) -> View {
        let micros = number(now, "/micros").saturating_sub(number(before, "/micros"));
        let growth = Growth { before, now, seconds: (micros.max(1) as f64) / 1e6 };
        let drops = now.get("drops").and_then(Value::as_object);
        let drops = drops.into_iter().flatten().map(|(kind, count)| {
            (kind.clone(), count.as_u64().unwrap_or(0), growth.of(&format!("/drops/{kind}")))
        });
        let shards = now.get("shards").and_then(Value::as_array).map_or(0, Vec::len);
        View {
            version: now.get("version").and_then(Value::as_str).unwrap_or("").to_owned(),
            uptime: number(now, "/uptime"),
            draining: now.get("draining").and_then(Value::as_bool).unwrap_or(false),
            calls_per_second: growth.of("/calls/attempts"),
            answered_per_second: growth.of("/calls/answered"),
            failed_per_second: growth.of("/calls/failed"),
            requests_per_second: growth.of("/requests"),
            setup: setup(before, now),
            dialogs: number(now, "/dialogs/active"),
            ringing: number(now, "/dialogs/early"),
            users: number(now, "/registrations/users"),
            contacts: number(now, "/registrations/contacts"),
            memory: number(now, "/memory"),
            drops: drops.collect(),
            shards: (0..shards).map(|place| shard(&growth, place)).collect(),
        }
    }
}

fn shard(growth: &Growth<'_>, place: usize) -> ShardView {
    let path = |key: &str| format!("/shards/{place}/{key}");
    let (rate, count) =
        (|key: &str| growth.of(&path(key)), |key: &str| number(growth.now, &path(key)));
    ShardView {
        shard: count("shard"),
        core: growth.now.pointer(&path("core")).and_then(Value::as_u64),
        busy: (rate("busy") / 1e6).min(1.0),
        cpu: (rate("cpu") / 1e6).min(1.0),
        received: rate("received"),
        sent: rate("sent"),
        handed_over: rate("handed_over"),
        routing: count("routing"),
        dialogs: count("dialogs"),
        shed: count("shed"),
        kernel_drops: count("kernel_drops"),
    }
}

/// The bounds below which half and 99 of 100 of the new calls lie.
fn setup(before: &Value, now: &Value) -> Option<(f64, f64)> {
    let list = |value: &Value, path: &str| -> Vec<u64> {
        let list = value.pointer(path).and_then(Value::as_array);
        list.into_iter().flatten().filter_map(Value::as_u64).collect()
    };
    let (bounds, counts) = (list(now, "/setup/bounds"), list(now, "/setup/counts"));
    let mut earlier = list(before, "/setup/counts");
    earlier.resize(counts.len(), 0);
    let all = number(now, "/setup/count").saturating_sub(number(before, "/setup/count"));
    let at = |part: f64| {
        let wanted = (all as f64 * part).ceil() as u64;
        let new = counts.iter().zip(&earlier).map(|(now, before)| now.saturating_sub(*before));
        let found = bounds.iter().zip(new).find(|(_, count)| *count >= wanted);
        found.or(bounds.last().zip(Some(0))).map(|(bound, _)| *bound as f64 / 1e6)
    };
    (all > 0).then(|| Some((at(0.5)?, at(0.99)?)))?
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use serde_json::json;

    /// Two looks two seconds apart.
    pub(crate) fn looks() -> (Value, Value) {
        let at = |micros: u64, calls: u64, busy: u64| {
            json!({
                "version": "1", "uptime": 100, "micros": micros, "draining": false,
                "calls": {"attempts": calls, "answered": calls - 10, "failed": 10},
                "setup": {"bounds": [100, 1000, 5000], "counts": [0, calls - 10, calls - 10],
                    "count": calls - 10, "sum": 5},
                "dialogs": {"active": 7, "early": 1},
                "registrations": {"users": 3, "contacts": 4}, "requests": calls * 3,
                "drops": {"kernel": 0, "shed": calls / 10}, "memory": 5 << 20,
                "shards": [
                    {"shard": 0, "core": 2, "busy": busy, "idle": 5, "cpu": busy / 2,
                     "received": calls, "routing": 6, "dialogs": 7, "shed": 3},
                    {"shard": 1, "core": null, "busy": 0, "cpu": 0},
                ],
            })
        };
        (at(1_000_000, 100, 0), at(3_000_000, 300, 1_000_000))
    }

    #[test]
    fn what_grew_is_shown_by_the_second() {
        let (before, now) = looks();
        let view = View::between(&before, &now);
        assert_eq!((view.calls_per_second, view.requests_per_second), (100.0, 300.0));
        assert_eq!(view.setup, Some((0.001, 0.001)));
        assert_eq!(view.drops, [("kernel".into(), 0, 0.0), ("shed".into(), 30, 10.0)]);
        let busy: Vec<(f64, f64)> = view.shards.iter().map(|it| (it.busy, it.cpu)).collect();
        assert_eq!(busy, [(0.5, 0.25), (0.0, 0.0)]);
        assert_eq!((view.shards[0].core, view.shards[1].core), (Some(2), None));
        assert_eq!(View::between(&now, &now).setup, None, "no calls");
    }
}
