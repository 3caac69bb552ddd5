//! Asking a node that runs: `strowger rpc`, `strowger top`, `strowger reload`.
//!
//! For: finding its control plane by the configuration or an argument, and speaking JSON-RPC to it.
//! Not here: what it answers (`strowger_node::http`).
//! Invariants: exit status 0 means that it was done, 1 that the node refused, 69 that nobody
//! answered.

mod client;
mod show;
mod top;
mod view;

use client::{Client, Trouble};
use serde_json::{Map, Value, json};
use std::process::ExitCode;
use strowger_node::control::say;
use strowger_node::http::ControlSettings;

/// Exit status when no node answers (sysexits.h, EX_UNAVAILABLE).
const EXIT_UNAVAILABLE: u8 = 69;

/// Where the node is, and the token.
#[derive(Clone, Debug, Default)]
pub(crate) struct Whom {
    /// `--control`
    pub(crate) place: Option<String>,
    /// `--token`, or the environment's STROWGER_TOKEN.
    pub(crate) token: Option<String>,
}

impl Whom {
    fn client(&self, settings: Option<&ControlSettings>) -> Result<Client, Trouble> {
        let token = self.token.clone();
        let token = token.or_else(|| std::env::var("STROWGER_TOKEN").ok());
        let token = token.or_else(|| settings.and_then(|settings| settings.token.clone()));
        match (&self.place, settings) {
            (Some(place), _) => Client::new(place, token),
            (None, Some(settings)) => Ok(Client::of(&settings.listen, token)),
            (None, None) => Client::new("127.0.0.1:9494", token),
        }
    }
}

fn troubled(trouble: &Trouble) -> ExitCode {
    eprintln!("strowger: {trouble}");
    match trouble {
        Trouble::Refused { .. } => ExitCode::FAILURE,
        Trouble::Place(_) | Trouble::Unanswered { .. } => ExitCode::from(EXIT_UNAVAILABLE),
    }
}

/// `strowger rpc NAME ARGS`.
pub(crate) fn rpc(
    whom: &Whom,
    settings: Option<&ControlSettings>,
    (name, arguments, raw): (&str, &[String], bool),
) -> ExitCode {
    let asked = whom.client(settings).and_then(|client| client.call(name, &params(arguments)));
    match asked {
        Ok(answer) if raw => {
            say(&serde_json::to_string_pretty(&answer).unwrap_or_default());
            ExitCode::SUCCESS
        }
        Ok(answer) => {
            say(show::answer(&answer).trim_end());
            ExitCode::SUCCESS
        }
        Err(trouble) => troubled(&trouble),
    }
}

/// By name when each argument is `name=value`, by position otherwise.
fn params(arguments: &[String]) -> Value {
    let named = |text: &String| {
        let (name, value) = text.split_once('=')?;
        let is_name = !name.is_empty()
            && name.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_');
        is_name.then(|| (name.to_owned(), json!(value)))
    };
    let pairs: Option<Map<String, Value>> = arguments.iter().map(named).collect();
    match pairs {
        Some(pairs) if !pairs.is_empty() => Value::Object(pairs),
        Some(_) | None => json!(arguments),
    }
}

/// `strowger reload [--dry-run]`.
pub(crate) fn reload(
    whom: &Whom,
    settings: Option<&ControlSettings>,
    (dry_run, raw): (bool, bool),
) -> ExitCode {
    let flag = if dry_run { "1" } else { "0" };
    rpc(whom, settings, ("core.reload", &[format!("dry_run={flag}")], raw))
}

/// `strowger top`.
pub(crate) fn top(whom: &Whom, settings: Option<&ControlSettings>, once: bool) -> ExitCode {
    let shown = whom.client(settings).and_then(|client| match once {
        true => top::once(&client),
        false => top::run(&client),
    });
    shown.map_or_else(|trouble| troubled(&trouble), |()| ExitCode::SUCCESS)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn arguments_are_by_name_when_each_has_one() {
        let read = |line: &str| {
            let words: Vec<String> = line.split_whitespace().map(str::to_owned).collect();
            params(&words)
        };
        assert_eq!(read("limit=5 next=1:7"), json!({"limit": "5", "next": "1:7"}));
        assert_eq!(read("location alice"), json!(["location", "alice"]));
        assert_eq!(read("x=1 sip:a;b=2"), json!(["x=1", "sip:a;b=2"]));
        assert_eq!(read(""), json!([]));
    }
}
