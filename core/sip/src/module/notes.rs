//! What modules say about their counts and commands, for whoever asks a node what it can tell.
//!
//! For: `# HELP` and `# TYPE` of `/metrics`, names of parameters, the listing of all commands.
//! Not here: the counts and the answers themselves ([`super::Module::metrics`],
//! [`super::Module::command`]).

use crate::histogram::Histogram;

/// What kind of number a count is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// It only grows.
    Counter,
    /// It goes up and down, or stands still.
    Gauge,
    /// Durations by range.
    Histogram,
}

/// What a count with labels reads, or a histogram.
#[derive(Clone, Copy, Debug)]
pub enum Reading<'r> {
    /// A number.
    Number(u64),
    /// Durations.
    Histogram(&'r Histogram),
}

/// Takes a name, labels and what is read.
pub type EachReading<'e> = dyn FnMut(&'static str, &[(&'static str, &str)], Reading<'_>) + 'e;

/// A count: its name, without `_total`, and one sentence about it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MetricNote {
    /// As [`super::Module::metrics`] names it.
    pub name: &'static str,
    /// What kind of number it is.
    pub kind: Kind,
    /// What it counts.
    pub help: &'static str,
}

impl MetricNote {
    /// A number that only grows.
    pub const fn counter(name: &'static str, help: &'static str) -> MetricNote {
        MetricNote { name, kind: Kind::Counter, help }
    }

    /// Durations by range; the name ends with `_seconds`.
    pub const fn histogram(name: &'static str, help: &'static str) -> MetricNote {
        MetricNote { name, kind: Kind::Histogram, help }
    }

    /// A number that goes up and down.
    pub const fn gauge(name: &'static str, help: &'static str) -> MetricNote {
        MetricNote { name, kind: Kind::Gauge, help }
    }
}

/// Which shards a command is asked of, and what is made of their answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Asked {
    /// Each shard answers for its part: lists are joined, numbers added. What only one shard can
    /// do, the others answer with 404.
    Each,
    /// All shards know the same: one is asked.
    One,
    /// Like [`Asked::Each`] in pages: the answer holds a list, or an object, under this key, and
    /// `next` when there is more on that shard. The last two parameters are `limit` and `next`.
    Pages(&'static str),
}

/// A command: its name, its parameters and one sentence about it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CommandNote {
    /// `group.name`.
    pub name: &'static str,
    /// Names of parameters in order, a blank between them: `name` must be there, `name?` may be
    /// left out, `name?=x` is `x` when one after it is there.
    pub parameters: &'static str,
    /// What it does.
    pub help: &'static str,
    /// Who answers it.
    pub asked: Asked,
}

impl CommandNote {
    /// One that each shard answers for its part.
    pub const fn each(
        name: &'static str,
        parameters: &'static str,
        help: &'static str,
    ) -> CommandNote {
        CommandNote { name, parameters, help, asked: Asked::Each }
    }

    /// One to which all shards have the same answer.
    pub const fn one(
        name: &'static str,
        parameters: &'static str,
        help: &'static str,
    ) -> CommandNote {
        CommandNote { name, parameters, help, asked: Asked::One }
    }

    /// One whose answer comes in pages of what stands under `key`.
    pub const fn pages(
        key: &'static str,
        name: &'static str,
        parameters: &'static str,
        help: &'static str,
    ) -> CommandNote {
        CommandNote { name, parameters, help, asked: Asked::Pages(key) }
    }
}

/// What a list of modules, and the engine under them, say about themselves.
#[derive(Clone, Debug, Default)]
pub struct Notes {
    /// Names of the modules, in order.
    pub modules: Vec<&'static str>,
    /// Their counts.
    pub metrics: Vec<MetricNote>,
    /// Their commands.
    pub commands: Vec<CommandNote>,
}

impl Notes {
    /// What is said about a count.
    pub fn metric(&self, name: &str) -> Option<&MetricNote> {
        self.metrics.iter().find(|note| note.name == name)
    }

    /// What is said about a command.
    pub fn command(&self, name: &str) -> Option<&CommandNote> {
        self.commands.iter().find(|note| note.name == name)
    }
}
