//! All commands of a node, listed.
//!
//! For: `rpc.discover` (OpenRPC's shape), `system.*`, the table in the documentation.
//! Not here: what commands do.

use super::commands::OWN;
use super::rpc::parameters;
use serde_json::{Value, json};
use strowger_sip::module::{CommandNote, Notes};

/// Every command once, by name; the node's own take precedence.
fn all(notes: &Notes) -> Vec<CommandNote> {
    let mut all: Vec<CommandNote> = OWN.to_vec();
    for note in &notes.commands {
        if all.iter().all(|own| own.name != note.name) {
            all.push(*note);
        }
    }
    all.sort_by_key(|note| note.name);
    all
}

/// A table in Markdown: name, parameters as `name [optional]`, what it does.
pub fn table(notes: &Notes) -> String {
    let mut out = String::from("| command | parameters | what it does |\n|---|---|---|\n");
    for note in all(notes) {
        let shown = parameters(&note).map(|parameter| match parameter.otherwise {
            None => parameter.name.to_owned(),
            Some(_) => format!("[{}]", parameter.name),
        });
        let shown: Vec<String> = shown.collect();
        let row = format!("| `{}` | {} | {} |\n", note.name, shown.join(" "), note.help);
        out.push_str(&row.replace("|  |", "| |"));
    }
    out
}

pub(super) fn names(notes: &Notes) -> Value {
    all(notes).into_iter().map(|note| json!(note.name)).collect()
}

pub(super) fn discover(notes: &Notes) -> Value {
    let method = |note: &CommandNote| {
        let parameter = |it: super::rpc::Parameter<'_>| {
            let required = it.otherwise.is_none();
            json!({"name": it.name, "required": required})
        };
        let parameters: Vec<Value> = parameters(note).map(parameter).collect();
        json!({
            "name": note.name, "summary": note.help, "params": parameters,
            "paramStructure": "either",
        })
    };
    json!({
        "openrpc": "1.3.2",
        "info": {"title": "strowger", "version": env!("CARGO_PKG_VERSION")},
        "methods": all(notes).iter().map(method).collect::<Vec<Value>>(),
    })
}
