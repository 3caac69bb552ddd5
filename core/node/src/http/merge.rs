//! One answer from those of all shards.
//!
//! For: commands that each shard answers for its own part: lists are joined, counts are added.
//! Not here: asking (`ask.rs`).

use serde_json::{Map, Number, Value};

/// Joins two shards' answers: lists one behind the other, objects key by key, numbers added; of two
/// texts the first one stays.
pub(super) fn join(one: Value, other: Value) -> Value {
    match (one, other) {
        (Value::Array(mut one), Value::Array(other)) => {
            one.extend(other);
            Value::Array(one)
        }
        (Value::Object(one), Value::Object(other)) => Value::Object(join_objects(one, other)),
        (Value::Number(one), Value::Number(other)) => Value::Number(add(&one, &other)),
        (Value::Null, other) => other,
        (one, _) => one,
    }
}

fn join_objects(mut one: Map<String, Value>, other: Map<String, Value>) -> Map<String, Value> {
    for (key, value) in other {
        let joined = match one.remove(&key) {
            Some(own) => join(own, value),
            None => value,
        };
        one.insert(key, joined);
    }
    one
}

fn add(one: &Number, other: &Number) -> Number {
    match (one.as_i64(), other.as_i64()) {
        (Some(one), Some(other)) => one.saturating_add(other).into(),
        (_, _) => one.clone(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn lists_are_joined_and_counts_added() {
        let one = json!({"n": 1, "list": [1], "name": "x", "only": true});
        let other = json!({"n": 2, "list": [2, 3], "name": "y", "more": null});
        let joined = json!({
            "n": 3, "list": [1, 2, 3], "name": "x", "only": true, "more": null
        });
        assert_eq!(join(one, other), joined);
        assert_eq!(join(Value::Null, json!([1])), json!([1]));
    }
}
