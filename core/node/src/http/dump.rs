//! `dlg.dump_file`: every dialog appended to a file.
//!
//! For: a line of JSON for each dialog, without `duration`, as Kamailio writes it.
//! Not here: listing dialogs (`paging.rs`).
//! Invariants: what is in the file stays; nothing is written through a link that is no plain file.

use super::commands::Node;
use super::rpc::{self, Refused};
use serde_json::{Value, json};
use std::fs::OpenOptions;
use std::io::{self, Write};
use strowger_sip::module::Command;

/// Dialogs asked for at once.
const LIMIT: &str = "1000";

pub(super) async fn dialogs(node: &Node, arguments: &[String]) -> Result<Value, Refused> {
    let path = arguments.first().ok_or_else(|| Refused::new(400, "path is missing"))?;
    let mut next = String::new();
    let mut count = 0;
    loop {
        let arguments = vec![LIMIT.to_owned(), next];
        let list = Command { name: "dlg.list".to_owned(), arguments };
        let page = Box::pin(rpc::run(node, list)).await?;
        let dialogs = page.get("dialogs").and_then(Value::as_array).cloned().unwrap_or_default();
        count += dialogs.len();
        let path = path.clone();
        let written = tokio::task::spawn_blocking(move || append(&path, dialogs)).await;
        let failed = |cause: String| Refused::new(500, cause);
        written
            .map_err(|cause| failed(cause.to_string()))?
            .map_err(|cause| failed(cause.to_string()))?;
        match page.get("next").and_then(Value::as_str) {
            Some(more) => next = more.to_owned(),
            None => return Ok(json!({"dialogs": count})),
        }
    }
}

fn append(path: &str, dialogs: Vec<Value>) -> io::Result<()> {
    let mut file = OpenOptions::new().create(true).append(true).open(path)?;
    if !file.metadata()?.is_file() {
        return Err(io::Error::other(format!("{path} is no plain file")));
    }
    let mut text = String::new();
    for mut dialog in dialogs {
        if let Value::Object(map) = &mut dialog {
            map.remove("duration");
        }
        text.push_str(&dialog.to_string());
        text.push('\n');
    }
    file.write_all(text.as_bytes())
}
