//! Answers for people: tables, lists of keys, or plain text.
//!
//! For: `strowger rpc` without `--json`.
//! Not here: asking (`client.rs`).

use serde_json::{Map, Value};
use std::fmt::Write;

/// Columns up to which a list of objects is a table; beyond, each object is a block of lines.
const COLUMNS_MAX: usize = 10;
/// A cell of a table that is longer is cut.
const CELL_MAX: usize = 48;

/// The text of an answer.
pub(super) fn answer(value: &Value) -> String {
    let mut out = String::new();
    match value {
        Value::Array(list) => self::list(&mut out, list),
        Value::Object(map) => object(&mut out, map),
        Value::Null => out.push_str("done\n"),
        Value::Bool(_) | Value::Number(_) | Value::String(_) => line(&mut out, &cell(value)),
    }
    out
}

fn line(out: &mut String, text: &str) {
    out.push_str(text);
    out.push('\n');
}

/// Texts as they are, everything else as JSON.
fn cell(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        Value::Null => "-".to_owned(),
        Value::Bool(_) | Value::Number(_) | Value::Array(_) | Value::Object(_) => value.to_string(),
    }
}

fn is_list_of_objects(value: &Value) -> bool {
    value.as_array().is_some_and(|list| !list.is_empty() && list.iter().all(Value::is_object))
}

/// Plain values first, each on its line, then the lists.
fn object(out: &mut String, map: &Map<String, Value>) {
    let (lists, plain): (Vec<_>, Vec<_>) =
        map.iter().partition(|(_, value)| is_list_of_objects(value));
    let width = plain.iter().map(|(key, _)| key.chars().count()).max().unwrap_or(0);
    for (key, value) in plain {
        // Writing to a string cannot fail.
        let _ = writeln!(out, "{key:width$}  {}", cell(value));
    }
    for (key, value) in lists {
        let _ = writeln!(out, "{key}:");
        if let Value::Array(entries) = value {
            list(out, entries);
        }
    }
}

fn list(out: &mut String, entries: &[Value]) {
    let objects: Option<Vec<&Map<String, Value>>> = entries.iter().map(Value::as_object).collect();
    let Some(objects) = objects else {
        return entries.iter().for_each(|entry| line(out, &cell(entry)));
    };
    let mut columns: Vec<&str> = Vec::new();
    for key in objects.iter().flat_map(|map| map.keys()) {
        if !columns.contains(&key.as_str()) {
            columns.push(key);
        }
    }
    let is_nested = objects.iter().any(|map| map.values().any(is_list_of_objects));
    if columns.len() > COLUMNS_MAX || is_nested {
        for map in objects {
            object(out, map);
            out.push('\n');
        }
        return;
    }
    table(out, &columns, &objects);
}

fn table(out: &mut String, columns: &[&str], objects: &[&Map<String, Value>]) {
    let cut = |text: String| match text.char_indices().nth(CELL_MAX) {
        Some((end, _)) => format!("{}…", text.get(..end).unwrap_or_default()),
        None => text,
    };
    let rows: Vec<Vec<String>> = objects
        .iter()
        .map(|map| columns.iter().map(|key| cut(map.get(*key).map(cell).unwrap_or_default())))
        .map(Iterator::collect)
        .collect();
    let mut widths: Vec<usize> = columns.iter().map(|key| key.chars().count()).collect();
    for row in &rows {
        for (width, text) in widths.iter_mut().zip(row) {
            *width = (*width).max(text.chars().count());
        }
    }
    let header = columns.iter().map(|key| (*key).to_owned()).collect();
    for row in std::iter::once(&header).chain(&rows) {
        let cells = row.iter().zip(&widths).map(|(text, width)| format!("{text:width$}"));
        line(out, cells.collect::<Vec<_>>().join("  ").trim_end());
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn objects_become_tables_and_keys_lines() {
        let value = json!({"next": "1:7", "list": [{"a": 1, "b": "x"}, {"a": 20, "c": [1]}]});
        let shown = "next  1:7\nlist:\na   b  c\n1   x\n20     [1]\n";
        assert_eq!(answer(&value), shown);
        assert_eq!(answer(&json!("OK")), "OK\n");
        assert_eq!(answer(&json!(null)), "done\n");
        assert_eq!(answer(&json!(["x = 1", "y = 2"])), "x = 1\ny = 2\n");
    }

    #[test]
    fn what_is_too_wide_comes_in_blocks() {
        let wide: Map<String, Value> = (0..12).map(|n| (format!("key{n:02}"), json!(n))).collect();
        let text = answer(&json!([wide.clone(), wide]));
        assert_eq!(text.lines().filter(|line| line.is_empty()).count(), 2);
        assert!(text.starts_with("key00  0\n"), "{text}");
    }
}
