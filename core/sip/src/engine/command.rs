//! Commands about what the engine itself keeps: `tm.*`, `dns.*`, `dst_blocklist.*`.
//!
//! For: operators and their scripts, with Kamailio's names; answers are JSON.
//! Not here: commands that change what is being routed (`routing/policy.rs`), modules' commands.
//! Invariants: one answer is bounded, however much there is.

use super::core::State;
use super::expire;
use crate::json::{self, Json};
use crate::message::Uri;
use crate::module::list::{ModuleList, Types};
use crate::module::notes::{EachReading, MetricNote, Reading};
use crate::module::{Command, CommandNote, Fault};
use crate::proxy::resolver::{Known, Question};

/// Most entries of one answer.
const SHOWN_MAX: usize = 200;

pub(super) const METRICS: &[MetricNote] = &[MetricNote::gauge(
    "memory_bytes",
    "Memory by class: tables of the shards as reserved, and the process as the kernel counts it.",
)];

pub(super) const COMMANDS: &[CommandNote] = &[
    CommandNote::each("tm.stats", "", "Counts transactions and their replies."),
    CommandNote::pages(
        "transactions",
        "tm.list",
        "limit?=0 next?",
        "Lists requests that are being routed.",
    ),
    CommandNote::each("tm.hash_stats", "", "Shows how full the tables of transactions are."),
    CommandNote::each("tm.clean", "", "Fires every timer that is due."),
    CommandNote::each("dns.mem_info", "", "Counts the names that are remembered."),
    CommandNote::one(
        "dns.lookup",
        "host port? transport?",
        "Shows what one shard remembers of a name.",
    ),
    CommandNote::each("dns.delete_all", "", "Forgets what name servers have said."),
    CommandNote::each("dst_blocklist.view", "", "Lists destinations that are left out."),
    CommandNote::each("dst_blocklist.mem_info", "", "Counts destinations that are left out."),
    CommandNote::each("dst_blocklist.delete_all", "", "Leaves no destination out any more."),
];

/// Answers a command of the engine's own.
pub(super) fn answer<L: ModuleList>(
    state: &mut State<L>,
    command: &Command,
) -> Option<Result<String, Fault>> {
    let arguments: Vec<&str> = command.arguments.iter().map(String::as_str).collect();
    Some(Ok(match command.name.as_str() {
        "tm.stats" => stats(state),
        "tm.list" => match page(&arguments) {
            Ok((limit, from)) => list(state, limit, from),
            Err(fault) => return Some(Err(fault)),
        },
        "tm.hash_stats" => hash_stats(state),
        "tm.clean" => {
            expire::due(state);
            "{}".to_owned()
        }
        "dns.mem_info" => {
            let [known, missing, asked] = state.core.resolver.len().map(|n| n as u64);
            json::object(|json| {
                json.number("known", known).number("missing", missing).number("asked", asked);
            })
        }
        "dns.lookup" => return Some(look_up(state, &arguments)),
        "dns.delete_all" => {
            state.core.resolver.forget();
            "{}".to_owned()
        }
        "dst_blocklist.view" => blocklist(state),
        "dst_blocklist.mem_info" => {
            let now = state.core.now;
            let entries = state.core.blocklist.iter(now).count() as u64;
            json::object(|json| {
                json.number("entries", entries);
            })
        }
        "dst_blocklist.delete_all" => {
            state.core.blocklist.forget();
            "{}".to_owned()
        }
        _ => return None,
    }))
}

fn wrong(message: &str) -> Fault {
    Fault { code: 400, message: message.to_owned() }
}

/// How many are wanted, and from where on.
fn page(arguments: &[&str]) -> Result<(usize, usize), Fault> {
    let number = |place: usize| match arguments.get(place) {
        None | Some(&"") => Ok(0),
        Some(text) => text.parse().map_err(|_| wrong("limit and next: numbers")),
    };
    let limit = match number(0)? {
        0 => SHOWN_MAX,
        limit => limit.min(SHOWN_MAX),
    };
    Ok((limit, number(1)?))
}

fn stats<L: Types>(state: &State<L>) -> String {
    let core = &state.core;
    let (current, routed) = (core.servers.len(), core.contexts.len());
    json::object(|json| {
        json.number("current", current as u64);
        json.number("waiting", current.saturating_sub(routed) as u64);
        json.number("total", core.metrics.requests_routed);
        json.number("rpl_received", core.metrics.responses_received);
        json.number("rpl_generated", core.metrics.replies_made);
        json.number("rpl_sent", core.metrics.responses_sent);
        for class in 2..=6 {
            let mut count = 0;
            core.messages.each_class(|_, own, n| count += if own == class { n } else { 0 });
            json.number(&format!("{class}xx"), count);
        }
    })
}

fn hash_stats<L: Types>(state: &State<L>) -> String {
    let core = &state.core;
    json::object(|json| {
        json.number("server_transactions", core.servers.len() as u64);
        json.number("server_transactions_max", core.servers.most() as u64);
        json.number("client_transactions", core.clients.len() as u64);
        json.number("client_transactions_max", core.clients.most() as u64);
        json.number("requests_routed", core.contexts.len() as u64);
    })
}

fn list<L: Types>(state: &State<L>, limit: usize, from: usize) -> String {
    let contexts = &state.core.contexts;
    let (mut shown, mut next) = (0, from.min(contexts.slots()));
    json::object(|json| {
        json.array("transactions", |json| {
            while next < contexts.slots() && shown < limit {
                if let Some((id, _)) = contexts.at(next) {
                    json.object("", |json| write_context(state, json, id));
                    shown += 1;
                }
                next += 1;
            }
        });
        if next < contexts.slots() {
            json.number("next", next as u64);
        }
    })
}

fn write_context<L: Types>(state: &State<L>, json: &mut Json<'_>, id: super::slots::ContextId) {
    let Some(context) = state.core.contexts.get(id) else { return };
    let message = context.request.message();
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let method = message.method();
    json.number("tindex", id.as_u64() & u64::from(u32::MAX)).number("tlabel", id.as_u64() >> 32);
    json.text("method", &method.map(|method| text(method.as_bytes())).unwrap_or_default());
    json.text("ruri", &text(message.request_uri().unwrap_or_default()));
    let address = |found: Result<crate::message::NameAddr<'_>, _>| {
        found.map(|it| text(it.uri)).unwrap_or_default()
    };
    json.text("from", &address(message.from())).text("to", &address(message.to()));
    json.text("callid", &text(message.call_id().unwrap_or_default()));
    json.number("cseq", message.cseq().map(|cseq| cseq.number).unwrap_or(0));
    json.text("uas_request", if context.server.is_some() { "yes" } else { "no" });
    json.number("outgoings", context.branches.len() as u64);
    json.text("source", &context.request.flow().remote.to_string());
    json.decimal("age", state.core.now.since(context.opened).as_millis() as u64);
}

fn look_up<L: Types>(state: &State<L>, arguments: &[&str]) -> Result<String, Fault> {
    let host = arguments.first().ok_or_else(|| wrong("host: missing"))?;
    let given = |place: usize| arguments.get(place).filter(|text| !text.is_empty());
    let port = given(1).map(|port| format!(":{port}")).unwrap_or_default();
    let transport = given(2).map(|name| format!(";transport={name}")).unwrap_or_default();
    let uri = format!("sip:{host}{port}{transport}");
    let uri = Uri::parse(uri.as_bytes()).map_err(|_| wrong("no host, port or transport"))?;
    match state.core.resolver.look(&Question::of(&uri), state.core.now) {
        Known::Places(places) => Ok(json::array(|json| {
            for place in places.iter() {
                json.object("", |json| {
                    json.text("transport", &place.transport.to_string());
                    json.text("address", &place.address.to_string());
                    json.number("priority", place.priority).number("weight", place.weight);
                });
            }
        })),
        Known::Nothing => Err(Fault { code: 404, message: "it has no address".to_owned() }),
        Known::Failed => Err(Fault { code: 503, message: "no name server answered".to_owned() }),
        Known::Unasked => Err(Fault { code: 404, message: "not remembered".to_owned() }),
    }
}

fn blocklist<L: Types>(state: &State<L>) -> String {
    let now = state.core.now;
    json::array(|json| {
        for (transport, address, until) in state.core.blocklist.iter(now).take(SHOWN_MAX) {
            json.object("", |json| {
                json.text("protocol", &transport.to_string());
                json.text("ip", &address.ip().to_string()).number("port", address.port());
                json.number("expires", until.since(now).as_secs());
            });
        }
    })
}

/// What the tables of the engine take.
pub(super) fn memory<L: Types>(state: &State<L>, each: &mut EachReading<'_>) {
    let core = &state.core;
    let transactions = core.servers.capacity_bytes()
        + core.clients.capacity_bytes()
        + core.server_index.capacity_bytes();
    let classes = [
        ("transactions", transactions),
        ("contexts", core.contexts.capacity_bytes()),
        ("timers", core.wheel.capacity_bytes()),
    ];
    for (class, bytes) in classes {
        each("memory_bytes", &[("class", class)], Reading::Number(bytes as u64));
    }
}
