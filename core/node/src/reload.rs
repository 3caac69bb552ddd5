//! A changed configuration taken over by a node that runs.
//!
//! For: SIGHUP and `core.reload`: what can change live does, on all shards; the rest is named.
//! Not here: reading the file (`config.rs`), what a module takes over (its `renew`), lists
//! (`lists.rs`).
//! Invariants: nothing changes unless the whole new configuration is good, and good together with
//! what stays as it was until the next start.

use crate::command::Command;
use crate::lists::Reader;
use crate::node::Desk;
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};
use strowger_sip::settings::{Configuration, Place, Table, Value};

/// How long shards may take. These machines freeze for a second now and then.
const WITHIN: Duration = Duration::from_secs(10);
/// Stands for every key of a section.
const ALL: &str = "*";

/// Whether a configuration is good; the error has a line for each problem.
pub type Check = Box<dyn Fn(&Configuration) -> Result<(), String> + Send + Sync>;
/// Reads the configuration again.
pub type Read = Box<dyn Fn() -> Result<Configuration, String> + Send + Sync>;
/// What the node itself takes over, apart from its shards.
pub type Apply = Box<dyn Fn(&Configuration) + Send + Sync>;

/// How a node comes by a new configuration.
pub struct Renewal {
    /// Reads it.
    pub read: Read,
    /// Checks it.
    pub check: Check,
    /// The one in force, from which shards make what they take over.
    pub current: Arc<Mutex<Arc<Configuration>>>,
    /// Keys that can change live, by section; `*` is every key.
    pub live: Vec<(&'static str, &'static [&'static str])>,
    /// What happens beside the shards when it is taken over.
    pub apply: Apply,
}

/// What a reload changed, or would change.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Outcome {
    /// Keys that changed at once.
    pub live: Vec<String>,
    /// Keys that have changed and need a restart.
    pub restart: Vec<String>,
    /// Whether it was only asked.
    pub dry_run: bool,
}

impl fmt::Display for Outcome {
    /// One line.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let list = |keys: &[String]| match keys {
            [] => "nothing".to_owned(),
            keys => keys.join(", "),
        };
        let verb = if self.dry_run { "would change" } else { "changed" };
        write!(f, "{verb}: {}", list(&self.live))?;
        if !self.restart.is_empty() {
            write!(f, "; needs a restart: {}", list(&self.restart))?;
        }
        Ok(())
    }
}

/// Carries reloads out, one at a time.
pub(crate) struct Reload {
    renewal: Renewal,
    desks: Vec<Desk>,
    lists: Option<Reader>,
    gate: Mutex<()>,
}

impl fmt::Debug for Reload {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Reload").finish_non_exhaustive()
    }
}

impl Reload {
    pub(crate) fn new(renewal: Renewal, desks: Vec<Desk>, lists: Option<Reader>) -> Reload {
        Reload { renewal, desks, lists, gate: Mutex::new(()) }
    }

    /// Reads everything again; the error says what is wrong, and then nothing has changed.
    pub(crate) fn run(&self, dry_run: bool) -> Result<Outcome, String> {
        let _one_at_a_time = self.gate.lock().unwrap_or_else(PoisonError::into_inner);
        let Renewal { read, check, current, live, apply } = &self.renewal;
        let new = read()?;
        let before = Arc::clone(&current.lock().unwrap_or_else(PoisonError::into_inner));
        let changed = changes(&before.root, &new.root);
        let is_live = |(section, key): &(String, String)| {
            let keys = live.iter().find(|(own, _)| own == section).map(|(_, keys)| *keys);
            keys.is_some_and(|keys| keys.contains(&ALL) || keys.contains(&key.as_str()))
        };
        let (now, later): (Vec<_>, Vec<_>) = changed.into_iter().partition(is_live);
        let merged = Arc::new(merge(&before, &new, &now));
        check(&merged).map_err(|cause| format!("{cause}together with what needs a restart"))?;
        if !dry_run {
            if !now.is_empty() {
                *current.lock().unwrap_or_else(PoisonError::into_inner) = Arc::clone(&merged);
                apply(&merged);
                self.renew()?;
            }
            self.lists.iter().for_each(Reader::reload);
        }
        let names = |list: Vec<(String, String)>| {
            list.into_iter().map(|(section, key)| format!("{section}.{key}")).collect()
        };
        Ok(Outcome { live: names(now), restart: names(later), dry_run })
    }

    /// Has every shard take over what is in force.
    fn renew(&self) -> Result<(), String> {
        let (done, renewed) = flume::bounded(self.desks.len());
        self.desks.iter().for_each(|desk| desk.tell(Command::Renew(done.clone())));
        let until = Instant::now() + WITHIN;
        for answered in 0..self.desks.len() {
            if renewed.recv_deadline(until).is_err() {
                let shards = self.desks.len();
                // They have it before them and take it with their next turn.
                return Err(format!("{answered} of {shards} shards answered within {WITHIN:?}"));
            }
        }
        Ok(())
    }
}

/// Whether two values say the same, wherever they are written.
fn same(one: &Value, other: &Value) -> bool {
    match (one, other) {
        (Value::List(one), Value::List(other)) => {
            let both = one.iter().zip(other);
            one.len() == other.len()
                && both.into_iter().all(|((_, one), (_, other))| same(one, other))
        }
        (Value::Table(one), Value::Table(other)) => {
            one.entries.len() == other.entries.len()
                && one.entries.iter().all(|entry| {
                    value_of(other, &entry.key).is_some_and(|other| same(&entry.value, other))
                })
        }
        (one, other) => one == other,
    }
}

fn value_of<'t>(table: &'t Table, key: &str) -> Option<&'t Value> {
    table.entries.iter().find(|entry| entry.key == key).map(|entry| &entry.value)
}

fn section<'t>(root: &'t Table, name: &str) -> Option<&'t Table> {
    match value_of(root, name)? {
        Value::Table(table) => Some(table),
        Value::String(_)
        | Value::Integer(_)
        | Value::Float(_)
        | Value::Boolean(_)
        | Value::List(_)
        | Value::Other(_) => None,
    }
}

/// Sections and keys that differ, each once, in order.
fn changes(old: &Table, new: &Table) -> Vec<(String, String)> {
    let empty = Table::default();
    let mut found = Vec::new();
    let mut names: Vec<&str> =
        old.entries.iter().chain(&new.entries).map(|entry| entry.key.as_str()).collect();
    names.sort_unstable();
    names.dedup();
    for name in names {
        let (one, other) =
            (section(old, name).unwrap_or(&empty), section(new, name).unwrap_or(&empty));
        let mut keys: Vec<&str> =
            one.entries.iter().chain(&other.entries).map(|entry| entry.key.as_str()).collect();
        keys.sort_unstable();
        keys.dedup();
        for key in keys {
            let is_same = match (value_of(one, key), value_of(other, key)) {
                (Some(one), Some(other)) => same(one, other),
                (one, other) => one.is_none() && other.is_none(),
            };
            if !is_same {
                found.push((name.to_owned(), key.to_owned()));
            }
        }
    }
    found
}

/// The old configuration with these keys as the new one has them.
fn merge(old: &Configuration, new: &Configuration, keys: &[(String, String)]) -> Configuration {
    let mut merged = old.clone();
    for (name, key) in keys {
        match section(&new.root, name).and_then(|table| value_of(table, key)) {
            Some(value) => merged.set(name, key, Place::Source, value.clone()),
            None => {
                let found = merged.root.entries.iter_mut().find(|entry| entry.key == *name);
                if let Some(Value::Table(table)) = found.map(|entry| &mut entry.value) {
                    table.entries.retain(|entry| entry.key != *key);
                }
            }
        }
    }
    merged
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config;

    fn parse(text: &str) -> Configuration {
        let (configuration, problems) = config::parse("t.toml", text);
        assert!(problems.is_empty(), "{problems}");
        configuration
    }

    const OLD: &str =
        "[node]\nshards = 1\n[pike]\nenabled = true\n[[auth.account]]\nuser = \"a\"\n";
    const NEW: &str = "\n[pike]\nenabled = true\nretry_after = 3\n[node]\nshards = 2\n\
                       [[auth.account]]\nuser = \"b\"\n";

    fn reload(text: &str) -> (Reload, Arc<Mutex<Arc<Configuration>>>) {
        let (current, new) = (Arc::new(Mutex::new(Arc::new(parse(OLD)))), parse(text));
        let renewal = Renewal {
            read: Box::new(move || Ok(new.clone())),
            check: Box::new(|configuration| {
                let bad = section(&configuration.root, "pike")
                    .and_then(|pike| value_of(pike, "retry_after"))
                    .is_some_and(|value| *value == Value::Integer(0));
                if bad { Err("pike.retry_after: 0\n".to_owned()) } else { Ok(()) }
            }),
            current: Arc::clone(&current),
            live: vec![("pike", &["*"]), ("auth", &["account"])],
            apply: Box::new(|_| ()),
        };
        (Reload::new(renewal, Vec::new(), None), current)
    }

    #[test]
    fn what_can_change_changes_and_the_rest_is_named_until_the_restart() {
        let (reload, current) = reload(NEW);
        let dry = reload.run(true).expect("good");
        assert_eq!(dry.live, ["auth.account", "pike.retry_after"]);
        assert_eq!(dry.restart, ["node.shards"]);
        assert_eq!(**current.lock().expect("whole"), parse(OLD), "it was only asked");
        assert_eq!(reload.run(false).expect("good").live.len(), 2);
        let again = reload.run(false).expect("good");
        assert_eq!((again.live.len(), again.restart), (0, vec!["node.shards".to_owned()]));
        assert_eq!(again.live, [""; 0]);
    }

    #[test]
    fn places_are_no_changes() {
        let moved = format!("\n\n{OLD}");
        let (reload, _) = reload(&moved);
        assert_eq!(reload.run(false), Ok(Outcome::default()));
    }

    #[test]
    fn one_mistake_and_nothing_changes() {
        let (reload, current) = reload("[pike]\nretry_after = 0\n");
        assert!(reload.run(false).expect_err("bad").starts_with("pike.retry_after: 0"));
        assert_eq!(**current.lock().expect("whole"), parse(OLD));
    }
}
