//! `/rpc`: JSON-RPC 2.0 with Kamailio's command names.
//!
//! For: the envelope, the commands of the node itself, and handing the others to the shards.
//! Not here: what modules answer (each module's `command` hook).
//! Invariants: a fault of a command is `error.code`, and the HTTP status takes the same number
//! where it is one.

use super::ask::Shards;
use super::merge::join;
use super::metrics::statistics;
use crate::storage::{Count, Counter};
use serde_json::{Value, json};
use std::time::{Instant, SystemTime, UNIX_EPOCH};
use strowger_sip::date::UnixTime;
use strowger_sip::module::{Command, Fault};

const PARSE_ERROR: i64 = -32_700;
const INVALID_REQUEST: i64 = -32_600;
const METHOD_NOT_FOUND: i64 = -32_601;
/// A shard did not answer in time.
const NO_ANSWER: i64 = 504;

/// A JSON-RPC error.
#[derive(Debug)]
struct Refused {
    code: i64,
    message: String,
}

impl Refused {
    fn new(code: i64, message: impl Into<String>) -> Refused {
        Refused { code, message: message.into() }
    }
}

impl From<Fault> for Refused {
    fn from(fault: Fault) -> Refused {
        Refused { code: fault.code.into(), message: fault.message }
    }
}

/// What commands are carried out on.
#[derive(Clone, Debug)]
pub(super) struct Node {
    pub(super) shards: Shards,
    /// Where there is storage.
    pub(super) counter: Option<Counter>,
    pub(super) since: Instant,
}

/// Answers one call, or a list of them: HTTP status and body. A body of a notification is empty.
pub(super) async fn answer(node: &Node, body: &[u8]) -> (u16, String) {
    let call: Value = match serde_json::from_slice(body) {
        Ok(call) => call,
        Err(cause) => {
            let refused = Refused::new(PARSE_ERROR, format!("no JSON: {cause}"));
            return (400, failed(&Value::Null, &refused).to_string());
        }
    };
    let Value::Array(calls) = call else {
        let (status, answer) = one(node, &call).await;
        return (status, answer.map(|answer| answer.to_string()).unwrap_or_default());
    };
    if calls.is_empty() {
        let refused = Refused::new(INVALID_REQUEST, "an empty list of calls");
        return (400, failed(&Value::Null, &refused).to_string());
    }
    let mut answers = Vec::new();
    for call in &calls {
        answers.extend(one(node, call).await.1);
    }
    (200, Value::Array(answers).to_string())
}

async fn one(node: &Node, call: &Value) -> (u16, Option<Value>) {
    let id = call.get("id").cloned();
    let result = match read(call) {
        Ok(command) => run(node, command).await,
        Err(refused) => Err(refused),
    };
    match (result, id) {
        // A notification is carried out and not answered.
        (Ok(_), None) => (204, None),
        (Ok(result), Some(id)) => {
            (200, Some(json!({"jsonrpc": "2.0", "result": result, "id": id})))
        }
        (Err(refused), id) => {
            let answer = failed(&id.unwrap_or(Value::Null), &refused);
            (http_status(refused.code), Some(answer))
        }
    }
}

fn failed(id: &Value, refused: &Refused) -> Value {
    let Refused { code, message } = refused;
    json!({"jsonrpc": "2.0", "error": {"code": code, "message": message}, "id": id})
}

fn http_status(code: i64) -> u16 {
    match code {
        METHOD_NOT_FOUND => 404,
        PARSE_ERROR | INVALID_REQUEST => 400,
        code => u16::try_from(code).ok().filter(|code| (400..600).contains(code)).unwrap_or(500),
    }
}

fn read(call: &Value) -> Result<Command, Refused> {
    let wrong = |what: &str| Refused::new(INVALID_REQUEST, what);
    if call.get("jsonrpc").and_then(Value::as_str) != Some("2.0") {
        return Err(wrong("`jsonrpc` must be \"2.0\""));
    }
    let name = call.get("method").and_then(Value::as_str);
    let name = name.ok_or_else(|| wrong("`method` must be a text"))?;
    let arguments = match call.get("params") {
        None | Some(Value::Null) => Vec::new(),
        Some(Value::Array(list)) => list.iter().map(argument).collect::<Result<_, _>>()?,
        // By position, as they stand: names are for the reader.
        Some(Value::Object(map)) => map.values().map(argument).collect::<Result<_, _>>()?,
        Some(_) => return Err(wrong("`params` must be a list or an object")),
    };
    Ok(Command { name: name.to_owned(), arguments })
}

fn argument(value: &Value) -> Result<String, Refused> {
    match value {
        Value::String(text) => Ok(text.clone()),
        Value::Number(number) => Ok(number.to_string()),
        Value::Bool(value) => Ok(u8::from(*value).to_string()),
        Value::Null => Ok(String::new()),
        Value::Array(_) | Value::Object(_) => {
            Err(Refused::new(INVALID_REQUEST, "a parameter must be a text or a number"))
        }
    }
}

async fn run(node: &Node, command: Command) -> Result<Value, Refused> {
    match command.name.as_str() {
        "core.version" => Ok(json!(concat!("strowger ", env!("CARGO_PKG_VERSION")))),
        "core.uptime" => Ok(json!({"uptime": node.since.elapsed().as_secs()})),
        "core.echo" => Ok(json!(command.arguments)),
        "stats.get_statistics" => {
            let found = wanted(node, &command.arguments).await?;
            Ok(found.into_iter().map(|(name, value)| json!(format!("{name} = {value}"))).collect())
        }
        "stats.fetch" | "stats.fetchn" => {
            let found = wanted(node, &command.arguments).await?;
            let text = command.name == "stats.fetch";
            let entry = |(name, value): (String, u64)| {
                let value = if text { json!(value.to_string()) } else { json!(value) };
                (name.replace(':', "."), value)
            };
            Ok(Value::Object(found.into_iter().map(entry).collect()))
        }
        "ul.db_users" => rows(node, command, Count::Different(&["username", "domain"])).await,
        "ul.db_contacts" => rows(node, command, Count::Rows).await,
        "ul.db_expired_contacts" => rows(node, command, Count::Ended).await,
        _ => of_shards(node, command).await,
    }
}

/// What table `location` holds; without storage, what the shards hold.
async fn rows(node: &Node, command: Command, what: Count) -> Result<Value, Refused> {
    let table = node.counter.as_ref().and_then(|counter| counter.table("location"));
    let (Some(counter), Some(table)) = (node.counter.clone(), table) else {
        return of_shards(node, command).await;
    };
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let now = UnixTime::from_secs(now.as_secs());
    let counted = tokio::task::spawn_blocking(move || counter.count(table, what, now)).await;
    let counted = counted.map_err(|cause| Refused::new(500, cause.to_string()))?;
    counted.map(|count| json!(count)).map_err(|cause| Refused::new(503, cause))
}

/// The statistics that `all`, `group:` or a bare name asks for.
async fn wanted(node: &Node, arguments: &[String]) -> Result<Vec<(String, u64)>, Refused> {
    let Some(what) = arguments.first() else {
        return Err(Refused::new(400, "`all`, `group:` or a name wanted"));
    };
    let shards = node.shards.report().await.ok_or_else(no_answer)?;
    let is_wanted = |name: &str| {
        what == "all"
            || (what.ends_with(':') && name.starts_with(what.as_str()))
            || name == what
            || name.split_once(':').is_some_and(|(_, bare)| bare == what)
    };
    Ok(statistics(&shards).into_iter().filter(|(name, _)| is_wanted(name)).collect())
}

fn no_answer() -> Refused {
    Refused::new(NO_ANSWER, "a shard did not answer in time")
}

/// Each shard does its part; what one of them can do is done.
async fn of_shards(node: &Node, command: Command) -> Result<Value, Refused> {
    let name = command.name.clone();
    let done = node.shards.command(command).await.ok_or_else(no_answer)?;
    let mut result = None;
    let mut fault = None;
    for (_, answer) in done {
        match answer {
            None => {}
            Some(Err(new)) => fault = fault.or(Some(new)),
            Some(Ok(text)) => {
                let value: Value = serde_json::from_str(&text).unwrap_or(Value::String(text));
                result = Some(match result.take() {
                    Some(before) => join(before, value),
                    None => value,
                });
            }
        }
    }
    match (result, fault) {
        (Some(result), _) => Ok(result),
        (None, Some(fault)) => Err(fault.into()),
        (None, None) => Err(Refused::new(METHOD_NOT_FOUND, format!("no command {name:?}"))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn code(text: &str) -> i64 {
        let call = serde_json::from_str(text).expect("JSON");
        read(&call).expect_err("refused").code
    }

    #[test]
    fn what_is_no_call_is_refused() {
        assert_eq!(code("3"), INVALID_REQUEST);
        assert_eq!(code(r#"{"method": "a"}"#), INVALID_REQUEST);
        assert_eq!(code(r#"{"jsonrpc": "2.0", "method": 7}"#), INVALID_REQUEST);
        assert_eq!(code(r#"{"jsonrpc": "2.0", "method": "a", "params": [[]]}"#), INVALID_REQUEST);
    }

    #[test]
    fn parameters_are_texts_by_position() {
        let text = r#"{"jsonrpc": "2.0", "method": "a.b", "params": ["x", 7, true, null]}"#;
        let command = read(&serde_json::from_str(text).expect("JSON")).expect("a call");
        assert_eq!(command.arguments, ["x", "7", "1", ""]);
    }

    #[test]
    fn a_faults_number_is_the_http_status_too() {
        let codes = [404, 500, -32_000, METHOD_NOT_FOUND, PARSE_ERROR];
        assert_eq!(codes.map(http_status), [404, 500, 500, 404, 400]);
    }
}
