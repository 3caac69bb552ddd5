//! `/rpc`: JSON-RPC 2.0 with Kamailio's command names.
//!
//! For: the envelope, names of parameters, and who a command is for.
//! Not here: the node's own commands (`commands.rs`), what modules answer (each module's `command`
//! hook), lists in pages (`paging.rs`).
//! Invariants: a fault of a command is `error.code`, and the HTTP status takes the same number
//! where it is one.

use super::commands::{self, Node};
use super::merge::join;
use super::paging;
use serde_json::{Map, Value, json};
use std::time::{Duration, Instant};
use strowger_sip::module::notes::Asked;
use strowger_sip::module::{Command, CommandNote, Fault};

const PARSE_ERROR: i64 = -32_700;
const INVALID_REQUEST: i64 = -32_600;
pub(super) const METHOD_NOT_FOUND: i64 = -32_601;
pub(super) const INVALID_PARAMS: i64 = -32_602;
/// A shard did not answer in time.
const NO_ANSWER: i64 = 504;
/// How often an answer that takes a while is asked for, and how long: three times timer F.
const LATER_EVERY: Duration = Duration::from_millis(50);
/// See [`LATER_EVERY`].
const LATER_MAX: Duration = Duration::from_secs(96);
/// Calls in one request. A guess, far above what a script gathers.
const CALLS_MAX: usize = 100;

/// A JSON-RPC error.
#[derive(Debug)]
pub(super) struct Refused {
    pub(super) code: i64,
    pub(super) message: String,
}

impl Refused {
    pub(super) fn new(code: i64, message: impl Into<String>) -> Refused {
        Refused { code, message: message.into() }
    }

    pub(super) fn no_answer() -> Refused {
        Refused::new(NO_ANSWER, "a shard did not answer in time")
    }

    pub(super) fn unknown(name: &str) -> Refused {
        Refused::new(METHOD_NOT_FOUND, format!("no command {name:?}"))
    }
}

impl From<Fault> for Refused {
    fn from(fault: Fault) -> Refused {
        Refused { code: fault.code.into(), message: fault.message }
    }
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
    if calls.is_empty() || calls.len() > CALLS_MAX {
        let what = format!("{} calls; allowed: 1 to {CALLS_MAX}", calls.len());
        return (400, failed(&Value::Null, &Refused::new(INVALID_REQUEST, what)).to_string());
    }
    let mut answers = Vec::new();
    for call in &calls {
        answers.extend(one(node, call).await.1);
    }
    (200, Value::Array(answers).to_string())
}

async fn one(node: &Node, call: &Value) -> (u16, Option<Value>) {
    let id = call.get("id").cloned();
    let result = match read(call, |name| node.note(name)) {
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
        PARSE_ERROR | INVALID_REQUEST | INVALID_PARAMS => 400,
        code => u16::try_from(code).ok().filter(|code| (400..600).contains(code)).unwrap_or(500),
    }
}

fn read<'n>(
    call: &Value,
    note: impl Fn(&str) -> Option<&'n CommandNote>,
) -> Result<Command, Refused> {
    let wrong = |what: &str| Refused::new(INVALID_REQUEST, what);
    if call.get("jsonrpc").and_then(Value::as_str) != Some("2.0") {
        return Err(wrong("`jsonrpc` must be \"2.0\""));
    }
    let name = call.get("method").and_then(Value::as_str);
    let name = name.ok_or_else(|| wrong("`method` must be a text"))?;
    let arguments = match call.get("params") {
        None | Some(Value::Null) => Vec::new(),
        Some(Value::Array(list)) => list.iter().map(argument).collect::<Result<_, _>>()?,
        Some(Value::Object(map)) => by_name(note(name), map)?,
        Some(_) => return Err(wrong("`params` must be a list or an object")),
    };
    Ok(Command { name: name.to_owned(), arguments })
}

/// One parameter of a command.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Parameter<'n> {
    pub(super) name: &'n str,
    /// What it is when it is left out and one after it is there; `None` when it must be there.
    pub(super) otherwise: Option<&'n str>,
}

/// The parameters that a note names.
pub(super) fn parameters(note: &CommandNote) -> impl Iterator<Item = Parameter<'static>> {
    note.parameters.split_whitespace().map(|word| match word.split_once('?') {
        None => Parameter { name: word, otherwise: None },
        Some((name, otherwise)) => {
            Parameter { name, otherwise: Some(otherwise.strip_prefix('=').unwrap_or("")) }
        }
    })
}

/// Puts named parameters in their places.
fn by_name(note: Option<&CommandNote>, map: &Map<String, Value>) -> Result<Vec<String>, Refused> {
    let Some(note) = note else {
        let what = "the parameters of this command have no names: give a list";
        return Err(Refused::new(INVALID_PARAMS, what));
    };
    let known: Vec<Parameter<'_>> = parameters(note).collect();
    if let Some(name) = map.keys().find(|name| known.iter().all(|own| own.name != **name)) {
        let what = format!("no parameter {name:?}; allowed: {}", note.parameters);
        return Err(Refused::new(INVALID_PARAMS, what));
    }
    let last = known.iter().rposition(|own| map.contains_key(own.name) || own.otherwise.is_none());
    let wanted = known.iter().take(last.map_or(0, |last| last + 1));
    let place = |own: &Parameter<'_>| match (map.get(own.name), own.otherwise) {
        (Some(value), _) => argument(value),
        (None, Some(otherwise)) => Ok(otherwise.to_owned()),
        (None, None) => Err(Refused::new(INVALID_PARAMS, format!("{} is missing", own.name))),
    };
    wanted.map(place).collect()
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

/// Carries a command out, whoever it is for.
pub(super) async fn run(node: &Node, command: Command) -> Result<Value, Refused> {
    if commands::OWN.iter().any(|own| own.name == command.name) {
        return commands::run(node, command).await;
    }
    match node.notes.command(&command.name).map(|note| (note, note.asked)) {
        Some((note, Asked::Pages(key))) => paging::gather(node, note, key, command).await,
        Some((_, Asked::One)) => {
            let (_, answer) =
                node.shards.command_one(0, command.clone()).await.ok_or_else(Refused::no_answer)?;
            let answer = answer.ok_or_else(|| Refused::unknown(&command.name))?;
            answer.map(parse).map_err(Refused::from)
        }
        Some((_, Asked::Each)) | None => of_shards(node, command).await,
    }
}

/// The JSON of a shard's answer; a text that is none stands for itself.
pub(super) fn parse(text: String) -> Value {
    serde_json::from_str(&text).unwrap_or(Value::String(text))
}

/// Each shard does its part; what one of them can do is done. An answer that takes a while is
/// asked for again by its ticket.
pub(super) async fn of_shards(node: &Node, command: Command) -> Result<Value, Refused> {
    let name = command.name.clone();
    let mut answer = of_shards_once(node, command).await;
    let until = Instant::now() + LATER_MAX;
    while let Err(Refused { code, message }) = &answer
        && *code == i64::from(Fault::LATER)
        && Instant::now() < until
    {
        tokio::time::sleep(LATER_EVERY).await;
        let arguments = vec!["@ticket".to_owned(), message.clone()];
        answer = of_shards_once(node, Command { name: name.clone(), arguments }).await;
    }
    answer
}

async fn of_shards_once(node: &Node, command: Command) -> Result<Value, Refused> {
    let name = command.name.clone();
    let done = node.shards.command(command).await.ok_or_else(Refused::no_answer)?;
    let (mut result, mut fault) = (None, None);
    for (_, answer) in done {
        match answer {
            None => {}
            Some(Err(new)) => fault = fault.or(Some(new)),
            Some(Ok(text)) => {
                let value = parse(text);
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
        (None, None) => Err(Refused::unknown(&name)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOTES: &[CommandNote] =
        &[CommandNote::each("a.b", "first second?=0 third? fourth?", "Does nothing.")];

    fn read_text(text: &str) -> Result<Command, Refused> {
        let call = serde_json::from_str(text).expect("JSON");
        read(&call, |name| NOTES.iter().find(|note| note.name == name))
    }

    fn code(text: &str) -> i64 {
        read_text(text).expect_err("refused").code
    }

    fn arguments(params: &str) -> Vec<String> {
        let text = format!(r#"{{"jsonrpc": "2.0", "method": "a.b", "params": {params}}}"#);
        read_text(&text).expect("a call").arguments
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
        assert_eq!(arguments(r#"["x", 7, true, null]"#), ["x", "7", "1", ""]);
    }

    #[test]
    fn names_put_parameters_in_their_places() {
        assert_eq!(arguments(r#"{"third": "z", "first": 1}"#), ["1", "0", "z"]);
        assert_eq!(arguments(r#"{"first": "x"}"#), ["x"]);
        let call = |params: &str| {
            code(&format!(r#"{{"jsonrpc": "2.0", "method": "a.b", "params": {params}}}"#))
        };
        assert_eq!(call(r#"{"second": 1}"#), INVALID_PARAMS, "the first is missing");
        assert_eq!(call(r#"{"first": 1, "fifth": 1}"#), INVALID_PARAMS);
        let unknown = r#"{"jsonrpc": "2.0", "method": "x.y", "params": {"a": 1}}"#;
        assert_eq!(code(unknown), INVALID_PARAMS, "it has no names");
    }

    #[test]
    fn a_faults_number_is_the_http_status_too() {
        let codes = [404, 500, -32_000, METHOD_NOT_FOUND, PARSE_ERROR];
        assert_eq!(codes.map(http_status), [404, 500, 500, 404, 400]);
    }
}
