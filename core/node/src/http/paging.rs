//! Long lists, page by page from one shard after the other.
//!
//! For: `dlg.list` and its kin: as much as was asked for, and where to go on.
//! Not here: what one shard shows in one page (its module).
//! Invariants: a shard is never asked for more than a page at a time, so that its calls go on
//! between two; one answer is bounded.

use super::commands::Node;
use super::merge::join;
use super::rpc::{INVALID_PARAMS, Refused, parameters, parse};
use serde_json::{Map, Value, json};
use strowger_sip::module::{Command, CommandNote};

/// Entries asked of a shard at once.
const PAGE: usize = 100;
/// Entries of one answer when nobody says how many: some ten megabytes of dialogs.
const LIST_MAX: usize = 10_000;

/// Where a list goes on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Cursor {
    shard: usize,
    place: u64,
}

impl Cursor {
    /// `shard:place`, or the place alone on the first shard.
    fn read(text: &str) -> Option<Cursor> {
        let (shard, place) = text.split_once(':').unwrap_or(("0", text));
        let place = if place.is_empty() { "0" } else { place };
        Some(Cursor { shard: shard.parse().ok()?, place: place.parse().ok()? })
    }
}

/// What a call asks for: the arguments before the last two, how many, and from where on.
fn wanted(
    note: &CommandNote,
    mut arguments: Vec<String>,
) -> Result<(Vec<String>, usize, Cursor), Refused> {
    let wrong = |what| Refused::new(INVALID_PARAMS, what);
    let fixed = parameters(note).count().saturating_sub(2);
    let mut tail = arguments.split_off(fixed.min(arguments.len())).into_iter();
    let (limit, next) = (tail.next().unwrap_or_default(), tail.next().unwrap_or_default());
    for parameter in parameters(note).take(fixed).skip(arguments.len()) {
        arguments.extend(parameter.otherwise.map(str::to_owned));
    }
    let limit = match limit.as_str() {
        "" | "0" => LIST_MAX,
        text => text.parse().map_err(|_| wrong("limit: a number"))?,
    };
    let cursor =
        Cursor::read(&next).ok_or_else(|| wrong("next: what an answer before has named"))?;
    Ok((arguments, limit.min(LIST_MAX), cursor))
}

/// Gathers pages until there are enough entries.
pub(super) async fn gather(
    node: &Node,
    note: &CommandNote,
    key: &str,
    command: Command,
) -> Result<Value, Refused> {
    let (fixed, limit, mut at) = wanted(note, command.arguments)?;
    let (mut all, mut fault, mut count) = (None, None, 0);
    while at.shard < node.shards.count() && count < limit {
        let mut arguments = fixed.clone();
        // A command that misses what it must have says so itself.
        if fixed.len() + 2 == parameters(note).count() {
            arguments.push(PAGE.min(limit - count).to_string());
            arguments.push(at.place.to_string());
        }
        let page = Command { name: command.name.clone(), arguments };
        let asked = node.shards.command_one(at.shard, page).await;
        let (_, answer) = asked.ok_or_else(Refused::no_answer)?;
        let next = match answer {
            None => return Err(Refused::unknown(&command.name)),
            Some(Ok(text)) => take(&mut all, &mut count, key, parse(text)),
            // Another shard may have what this one has not.
            Some(Err(new)) if new.code == 404 => {
                fault = fault.or(Some(new));
                None
            }
            Some(Err(new)) => return Err(new.into()),
        };
        at = match next {
            Some(place) => Cursor { place, ..at },
            None => Cursor { shard: at.shard + 1, place: 0 },
        };
    }
    let Some(mut all) = all else {
        return Err(fault.map_or_else(Refused::no_answer, Refused::from));
    };
    if at.shard < node.shards.count()
        && let Value::Object(map) = &mut all
    {
        map.insert("next".to_owned(), json!(format!("{}:{}", at.shard, at.place)));
    }
    Ok(all)
}

/// Adds a page; says where that shard's list goes on.
fn take(all: &mut Option<Value>, count: &mut usize, key: &str, mut page: Value) -> Option<u64> {
    let next = page.as_object_mut().and_then(|map| map.remove("next"));
    *count += match page.get(key) {
        Some(Value::Array(list)) => list.len(),
        Some(Value::Object(map)) => map.len(),
        Some(_) | None => 0,
    };
    // What stands beside the list is taken once from each shard: from its last page.
    let page = if next.is_some() { only(key, page) } else { page };
    *all = Some(join(all.take().unwrap_or_default(), page));
    next.and_then(|next| next.as_u64())
}

fn only(key: &str, page: Value) -> Value {
    let Value::Object(mut map) = page else { return page };
    let list = map.remove(key);
    Value::Object(Map::from_iter(list.map(|list| (key.to_owned(), list))))
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOTE: CommandNote =
        CommandNote::pages("list", "a.list", "key value?=x limit?=0 next?", "Lists.");

    fn read(arguments: &[&str]) -> Result<(Vec<String>, usize, Cursor), i64> {
        let arguments = arguments.iter().map(|text| (*text).to_owned()).collect();
        wanted(&NOTE, arguments).map_err(|refused| refused.code)
    }

    #[test]
    fn the_last_two_parameters_say_how_much_and_from_where() {
        let start = Cursor { shard: 0, place: 0 };
        let key = |key: &str| vec![key.to_owned(), "x".to_owned()];
        assert_eq!(read(&["k"]), Ok((key("k"), LIST_MAX, start)));
        let on = Cursor { shard: 1, place: 40 };
        assert_eq!(read(&["k", "x", "5", "1:40"]), Ok((key("k"), 5, on)));
        assert_eq!(read(&["k", "x", "many"]), Err(INVALID_PARAMS));
        assert_eq!(read(&["k", "x", "5", "a:b"]), Err(INVALID_PARAMS));
    }

    #[test]
    fn pages_are_joined_and_sums_beside_them_count_once() {
        let (mut all, mut count) = (None, 0);
        let first = json!({"list": [1, 2], "stats": {"n": 3}, "next": 7});
        assert_eq!(take(&mut all, &mut count, "list", first), Some(7));
        let last = json!({"list": [3], "stats": {"n": 3}});
        assert_eq!(take(&mut all, &mut count, "list", last), None);
        assert_eq!(count, 3);
        assert_eq!(all, Some(json!({"list": [1, 2, 3], "stats": {"n": 3}})));
    }
}
