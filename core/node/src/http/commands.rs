//! The commands of the node itself: `core.*`, `stats.*`, `system.*`, `rpc.discover`.
//!
//! For: what no shard has to be asked for, or what is made of all shards' counts.
//! Not here: the envelope (`rpc.rs`), commands of the engine and of modules.
//! Invariants: every command stands in [`OWN`]; what is there is what `rpc.discover` lists.

use super::ask::Shards;
use super::listing;
use super::live;
use super::process::Process;
use super::rpc::{self, Refused};
use super::statistics::statistics;
use crate::control::Order;
use crate::counters::Summary;
use crate::log;
use crate::reload::Reload;
use crate::storage::{Count, Counter};
use crate::trace::Tracer;
use serde_json::{Map, Value, json};
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError, mpsc};
use std::time::{Instant, SystemTime, UNIX_EPOCH};
use strowger_sip::date::UnixTime;
use strowger_sip::module::{Command, CommandNote, Notes};
use strowger_sip::transport::Listeners;

/// The node's own commands.
pub(super) const OWN: &[CommandNote] = &[
    CommandNote::one("core.version", "", "Says what runs."),
    CommandNote::one("core.uptime", "", "Says since when it runs."),
    CommandNote::one("core.info", "", "Says what runs, since when, on which shards and cores."),
    CommandNote::one("core.runinfo", "", "The same."),
    CommandNote::one("core.live", "", "Shows what the status page and `strowger top` draw."),
    CommandNote::one("core.ps", "", "Lists the shards with their cores and CPU time."),
    CommandNote::one("core.psx", "", "The same."),
    CommandNote::one("core.modules", "", "Lists the modules that are compiled in."),
    CommandNote::one("core.shmmem", "", "Says how much memory the process takes."),
    CommandNote::one("core.sockets_list", "", "Lists the listening sockets."),
    CommandNote::one("core.aliases_list", "", "Lists the names by which this node is known."),
    CommandNote::one("core.tcp_info", "", "Counts connections."),
    CommandNote::one("core.flags", "", "Says how the binary was built."),
    CommandNote::one("core.ppdefines", "", "The same."),
    CommandNote::one("core.echo", "text? text2? text3?", "Answers with its parameters."),
    CommandNote::one("core.prints", "text? text2? text3?", "The same, as one text."),
    CommandNote::one(
        "core.reload",
        "dry_run?=0",
        "Reads the configuration and the lists again; says what changed, and what needs a restart.",
    ),
    CommandNote::one("core.kill", "", "Ends the node gently, as SIGTERM does."),
    CommandNote::one(
        "trace.start",
        "kind value minutes?=10",
        "Logs messages of a callid, a user or a source for some minutes; answers with a number.",
    ),
    CommandNote::one("trace.stop", "id?", "Ends a trace, or all."),
    CommandNote::one("trace.list", "", "Shows what is traced, mirrored and captured."),
    CommandNote::one(
        "trace.hep",
        "address? scope?=all",
        "Mirrors all messages, or the traced ones, to a HEP3 collector; without address ends that.",
    ),
    CommandNote::one(
        "trace.pcap",
        "path? max_mib?=100 scope?=all",
        "Writes all messages, or the traced ones, to a new pcapng file; without path: ends that.",
    ),
    CommandNote::one("log.level", "level?", "Shows or sets which lines are logged."),
    CommandNote::one("stats.get_statistics", "what", "Shows statistics: all, group: or a name."),
    CommandNote::one("stats.fetch", "what", "The same as an object of texts."),
    CommandNote::one("stats.fetchn", "what", "The same as an object of numbers."),
    CommandNote::one(
        "stats.reset_statistics",
        "what",
        "Lets statistics count from zero; /metrics goes on.",
    ),
    CommandNote::one("stats.clear_statistics", "what", "Shows statistics, then resets them."),
    CommandNote::one("shm.stats", "", "Says how much memory each class takes."),
    CommandNote::one("pkg.stats", "", "The same by shard."),
    CommandNote::one("mod.stats", "", "The same by shard."),
    CommandNote::one("ul.db_users", "", "Counts the addresses of record in storage."),
    CommandNote::one("ul.db_contacts", "", "Counts the contacts in storage."),
    CommandNote::one("ul.db_expired_contacts", "", "Counts expired contacts in storage."),
    CommandNote::one("dlg.dump_file", "path", "Appends every dialog to a file, a line each."),
    CommandNote::one("system.listMethods", "", "Lists the names of all commands."),
    CommandNote::one("system.methodHelp", "name", "Says what a command does."),
    CommandNote::one("system.methodSignature", "name", "Names the parameters of a command."),
    CommandNote::one("rpc.discover", "", "Lists all commands with parameters and help."),
];

/// What commands are carried out on.
#[derive(Clone, Debug)]
pub(super) struct Node {
    pub(super) shards: Shards,
    /// Where there is storage.
    pub(super) counter: Option<Counter>,
    pub(super) since: Instant,
    pub(super) notes: Arc<Notes>,
    pub(super) listeners: Listeners,
    pub(super) aliases: Arc<[String]>,
    pub(super) orders: mpsc::Sender<Order>,
    /// Where there is a configuration to be read again.
    pub(super) reload: Option<Arc<Reload>>,
    pub(super) tracer: Tracer,
    /// What statistics showed when they were reset.
    pub(super) resets: Arc<Mutex<BTreeMap<String, u64>>>,
}

impl Node {
    /// What is said about a command, whoever has it.
    pub(super) fn note(&self, name: &str) -> Option<&CommandNote> {
        OWN.iter().find(|own| own.name == name).or_else(|| self.notes.command(name))
    }

    async fn report(&self) -> Result<Arc<Vec<Summary>>, Refused> {
        self.shards.report_shared().await.ok_or_else(Refused::no_answer)
    }
}

/// Carries out a command of [`OWN`].
pub(super) async fn run(node: &Node, command: Command) -> Result<Value, Refused> {
    let arguments = command.arguments.as_slice();
    match command.name.as_str() {
        "core.version" => Ok(json!(concat!("strowger ", env!("CARGO_PKG_VERSION")))),
        "core.uptime" => Ok(uptime(node)),
        "core.info" | "core.runinfo" => info(node).await,
        "core.live" => Ok(live::snapshot(node, &node.report().await?)),
        "core.ps" | "core.psx" => ps(node).await,
        "core.modules" => Ok(json!(node.notes.modules)),
        "core.shmmem" => Ok(memory()),
        "core.sockets_list" => Ok(sockets(node)),
        "core.aliases_list" => Ok(json!({"other_domains": &*node.aliases})),
        "core.tcp_info" => tcp(node).await,
        "core.flags" | "core.ppdefines" => Ok(build()),
        "core.echo" => Ok(json!(arguments)),
        "core.prints" => Ok(json!(arguments.join(" "))),
        "core.reload" => reload(node, arguments).await,
        "core.kill" => {
            // Whoever supervises the node ends it as after SIGTERM.
            let _ = node.orders.send(Order::Stop);
            Ok(json!("Stopping"))
        }
        "stats.get_statistics" => {
            let found = wanted(node, arguments).await?;
            Ok(found.into_iter().map(|(name, value)| json!(format!("{name} = {value}"))).collect())
        }
        "stats.fetch" => fetch(node, arguments, |value| json!(value.to_string())).await,
        "stats.fetchn" => fetch(node, arguments, |value| json!(value)).await,
        "stats.reset_statistics" => reset(node, arguments).await.map(|_| json!("ok")),
        "stats.clear_statistics" => {
            let found = reset(node, arguments).await?;
            Ok(found.into_iter().map(|(name, value)| json!(format!("{name} = {value}"))).collect())
        }
        "trace.start" | "trace.stop" | "trace.list" | "trace.hep" | "trace.pcap" => {
            let done = trace(&node.tracer, &command.name, arguments)?;
            // Shards take orders in turn: once they report, they have heard what is wanted.
            node.report().await?;
            Ok(done)
        }
        "log.level" => log_level(arguments),
        "shm.stats" => by_class(node, false).await,
        "pkg.stats" | "mod.stats" => by_class(node, true).await,
        "ul.db_users" => rows(node, command, Count::Different(&["username", "domain"])).await,
        "ul.db_contacts" => rows(node, command, Count::Rows).await,
        "ul.db_expired_contacts" => rows(node, command, Count::Ended).await,
        "dlg.dump_file" => super::dump::dialogs(node, arguments).await,
        "system.listMethods" => Ok(listing::names(&node.notes)),
        "system.methodHelp" => about(node, arguments, |note| json!(note.help)),
        "system.methodSignature" => about(node, arguments, |note| json!(note.parameters)),
        "rpc.discover" => Ok(listing::discover(&node.notes)),
        name => Err(Refused::unknown(name)),
    }
}

fn trace(tracer: &Tracer, name: &str, arguments: &[String]) -> Result<Value, Refused> {
    let given = |place: usize| {
        arguments.get(place).map(String::as_str).filter(|text| !matches!(*text, "" | "."))
    };
    let number = |place: usize, otherwise: u64| match given(place) {
        None => Ok(otherwise),
        Some(text) => text.parse().map_err(|_| Refused::new(400, format!("{text:?}: no number"))),
    };
    let scope = |place: usize| match given(place) {
        None | Some("all") => Ok(true),
        Some("traced") => Ok(false),
        Some(_) => Err(Refused::new(400, "scope: all or traced")),
    };
    let wrong = |cause: String| Refused::new(400, cause);
    match name {
        "trace.start" => {
            let (kind, value) = (given(0).unwrap_or(""), given(1).unwrap_or(""));
            let id = tracer.start(kind, value, number(2, 10)?).map_err(wrong)?;
            Ok(json!({"id": id}))
        }
        "trace.stop" => {
            let id = given(0).map(|_| number(0, 0)).transpose()?;
            Ok(json!({"ended": tracer.stop(id).map_err(wrong)?}))
        }
        "trace.hep" => {
            let all = scope(1)?;
            tracer.mirror(given(0).map(|to| (to, all))).map_err(wrong)?;
            Ok(tracer.list())
        }
        "trace.pcap" => {
            let (mib, all) = (number(1, 100)?, scope(2)?);
            tracer.capture(given(0).map(|path| (path, mib, all))).map_err(wrong)?;
            Ok(tracer.list())
        }
        _ => Ok(tracer.list()),
    }
}

fn log_level(arguments: &[String]) -> Result<Value, Refused> {
    if let Some(level) = arguments.first().filter(|text| !text.is_empty()) {
        let level = level.parse().map_err(|cause: String| Refused::new(400, cause))?;
        log::set_level(level);
    }
    Ok(json!({"level": log::level().to_string()}))
}

async fn reload(node: &Node, arguments: &[String]) -> Result<Value, Refused> {
    let dry_run = match arguments.first().map(String::as_str) {
        None | Some("" | "0" | "no" | "false") => false,
        Some("1" | "yes" | "true") => true,
        Some(_) => return Err(Refused::new(400, "dry_run: 0 or 1")),
    };
    let Some(reload) = node.reload.clone() else {
        return Err(Refused::new(500, "this node has no configuration to be read again"));
    };
    let done = tokio::task::spawn_blocking(move || reload.run(dry_run)).await;
    let done = done.map_err(|cause| Refused::new(500, cause.to_string()))?;
    let outcome = done.map_err(|cause| Refused::new(500, cause.trim_end()))?;
    Ok(json!({
        "dry_run": outcome.dry_run, "live": outcome.live, "restart": outcome.restart,
    }))
}

fn about(
    node: &Node,
    arguments: &[String],
    show: impl Fn(&CommandNote) -> Value,
) -> Result<Value, Refused> {
    let name = arguments.first().ok_or_else(|| Refused::new(400, "name is missing"))?;
    node.note(name).map(show).ok_or_else(|| Refused::new(404, format!("no command {name:?}")))
}

fn unix_now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs()
}

fn uptime(node: &Node) -> Value {
    let (uptime, now) = (node.since.elapsed().as_secs(), unix_now());
    let date = |secs: u64| UnixTime::from_secs(secs).to_string();
    json!({
        "now": date(now), "up_since": date(now.saturating_sub(uptime)), "uptime": uptime,
    })
}

fn build() -> Value {
    json!({
        "version": env!("CARGO_PKG_VERSION"), "arch": std::env::consts::ARCH,
        "profile": if cfg!(debug_assertions) { "debug" } else { "release" },
    })
}

async fn info(node: &Node) -> Result<Value, Refused> {
    let shards = node.report().await?;
    let mut info = build();
    if let Value::Object(map) = &mut info {
        map.insert("id".to_owned(), json!("strowger"));
        map.insert("uptime".to_owned(), json!(node.since.elapsed().as_secs()));
        map.insert("pid".to_owned(), json!(std::process::id()));
        map.insert("shards".to_owned(), json!(shards.len()));
        let cores: Vec<Option<usize>> = shards.iter().map(|shard| shard.core).collect();
        map.insert("cores".to_owned(), json!(cores));
        let draining = shards.iter().any(|shard| shard.draining);
        map.insert("draining".to_owned(), json!(draining));
    }
    Ok(info)
}

async fn ps(node: &Node) -> Result<Value, Refused> {
    let shards = node.report().await?;
    let entry = |summary: &Summary| {
        let spent = &summary.spent;
        json!({
            "IDX": summary.shard.0, "DSC": format!("shard-{}", summary.shard.0),
            "PID": std::process::id(), "core": summary.core,
            "cpu_seconds": seconds(spent.cpu), "busy_seconds": seconds(spent.busy),
            "idle_seconds": seconds(spent.idle),
        })
    };
    Ok(shards.iter().map(entry).collect())
}

fn seconds(micros: u64) -> f64 {
    micros as f64 / 1e6
}

fn memory() -> Value {
    let Process { resident, virtual_size, .. } = Process::read();
    let (used, total) = (resident.unwrap_or(0), virtual_size.unwrap_or(0));
    json!({"total": total, "used": used, "real_used": used, "free": total.saturating_sub(used)})
}

async fn by_class(node: &Node, by_shard: bool) -> Result<Value, Refused> {
    let shards = node.report().await?;
    let mut all: BTreeMap<String, u64> = BTreeMap::new();
    for summary in shards.iter() {
        for reading in summary.readings.iter().filter(|it| it.name == "memory_bytes") {
            let class: Vec<&str> = reading.labels.iter().map(|(_, text)| text.as_str()).collect();
            let mut name = class.join(".");
            if by_shard {
                name = format!("shard-{}.{name}", summary.shard.0);
            }
            if let crate::counters::Value::Number(bytes) = reading.value {
                *all.entry(name).or_default() += bytes;
            }
        }
    }
    Ok(json!(all))
}

fn sockets(node: &Node) -> Value {
    let entry = |(_, listener): (_, &strowger_sip::transport::Listener)| {
        json!({
            "proto": listener.transport.to_string(), "address": listener.bound.ip().to_string(),
            "port": listener.bound.port(), "advertise": listener.advertised,
        })
    };
    node.listeners.iter().map(entry).collect()
}

async fn tcp(node: &Node) -> Result<Value, Refused> {
    let mut sums: BTreeMap<&'static str, u64> = BTreeMap::new();
    for tcp in node.report().await?.iter().filter_map(|summary| summary.counters.tcp) {
        tcp.each(&mut |name, value| *sums.entry(name).or_default() += value);
    }
    Ok(json!(sums))
}

/// The statistics that `all`, `group:` or a bare name asks for, since they were reset.
async fn wanted(node: &Node, arguments: &[String]) -> Result<Vec<(String, u64)>, Refused> {
    let shards = node.report().await?;
    let resets = node.resets.lock().unwrap_or_else(PoisonError::into_inner);
    let found = pick(&shards, arguments)?.into_iter();
    Ok(found
        .map(|(name, value)| {
            let before = resets.get(&name).copied().unwrap_or(0);
            (name, value.saturating_sub(before))
        })
        .collect())
}

fn pick(shards: &[Summary], arguments: &[String]) -> Result<Vec<(String, u64)>, Refused> {
    if arguments.is_empty() {
        return Err(Refused::new(400, "`all`, `group:` or a name wanted"));
    }
    let is_wanted = |name: &str| {
        arguments.iter().any(|what| {
            what == "all"
                || (what.ends_with(':') && name.starts_with(what.as_str()))
                || name == what
                || name.split_once(':').is_some_and(|(_, bare)| bare == what)
        })
    };
    Ok(statistics(shards).into_iter().filter(|(name, _)| is_wanted(name)).collect())
}

async fn fetch(
    node: &Node,
    arguments: &[String],
    show: impl Fn(u64) -> Value,
) -> Result<Value, Refused> {
    let found = wanted(node, arguments).await?;
    let entries = found.into_iter().map(|(name, value)| (name.replace(':', "."), show(value)));
    Ok(Value::Object(Map::from_iter(entries)))
}

/// Lets statistics begin at zero again, gauges excepted; what they showed before.
async fn reset(node: &Node, arguments: &[String]) -> Result<Vec<(String, u64)>, Refused> {
    let before = wanted(node, arguments).await?;
    let shards = node.report().await?;
    let mut resets = node.resets.lock().unwrap_or_else(PoisonError::into_inner);
    for (name, value) in pick(&shards, arguments)? {
        if !is_gauge(&node.notes, &name) {
            resets.insert(name, value);
        }
    }
    Ok(before)
}

/// Whether a statistic counts what is alive.
fn is_gauge(notes: &Notes, name: &str) -> bool {
    use strowger_sip::module::notes::Kind;
    let own = notes.metric(&name.replace(':', "_"));
    own.is_some_and(|note| note.kind == Kind::Gauge)
        || name.ends_with("_transactions")
        || name == "tcp:current_opened_connections"
}

/// What table `location` holds; without storage, what the shards hold.
async fn rows(node: &Node, command: Command, what: Count) -> Result<Value, Refused> {
    let table = node.counter.as_ref().and_then(|counter| counter.table("location"));
    let (Some(counter), Some(table)) = (node.counter.clone(), table) else {
        return rpc::of_shards(node, command).await;
    };
    let now = UnixTime::from_secs(unix_now());
    let counted = tokio::task::spawn_blocking(move || counter.count(table, what, now)).await;
    let counted = counted.map_err(|cause| Refused::new(500, cause.to_string()))?;
    counted.map(|count| json!(count)).map_err(|cause| Refused::new(503, cause))
}
