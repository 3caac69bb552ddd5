//! The command line that every Strowger binary has.
//!
//! For: `run`, `check`, `db`, and the arguments that take precedence over the file.
//! Not here: what is done about them (`start.rs`); arguments of the stock binary alone (`main.rs`).

use crate::db::DbTask;
use clap::{Args, Parser, Subcommand};
use std::path::PathBuf;
use strowger_sip::settings::{Configuration, Place, Value};

/// The arguments; flatten them into a binary's own to add to them.
#[derive(Args, Clone, Debug, Default)]
pub struct Arguments {
    /// What to do; `run` when nothing is said.
    #[command(subcommand)]
    pub action: Option<Action>,
    /// Read this configuration file; without it every key has its default
    #[arg(short, long, value_name = "strowger.toml", global = true)]
    pub file: Option<PathBuf>,
    /// Listen here instead of where [node] listen says, for example udp:127.0.0.1:5060 (repeatable)
    #[arg(long, value_name = "udp:ADDRESS:PORT", global = true)]
    pub listen: Vec<String>,
    /// Run this many shards instead of what [node] shards says (default: one for each core)
    #[arg(long, value_name = "N", global = true)]
    pub shards: Option<i64>,
    #[arg(skip)]
    further: Vec<(&'static str, &'static str, &'static str, Value)>,
}

/// What to do.
#[derive(Subcommand, Clone, Debug, PartialEq, Eq)]
pub enum Action {
    /// Run the proxy (the default)
    Run,
    /// Read the configuration, report everything that is wrong with it, and bind nothing
    Check,
    /// Make, check or bring up to date the tables of the database that [storage] url names
    Db {
        /// What to do to them.
        #[command(subcommand)]
        task: DbTask,
    },
    /// Write a crate with a routing of your own, its configuration, tests and packaging
    New(crate::new::NewCrate),
}

/// A binary without arguments of its own.
#[derive(Parser)]
#[command(version, about = "A SIP proxy, its routing compiled in", long_about = None)]
struct Plain {
    #[command(flatten)]
    arguments: Arguments,
}

impl Arguments {
    /// Reads the process's own; `--help`, `--version` and mistakes end the process.
    pub fn from_command_line() -> Arguments {
        Plain::parse().arguments
    }

    /// Has an argument of the binary's own take precedence over a key of the file, for example
    /// `("--next-hop", "routing", "next_hop", value)`.
    pub fn set(
        &mut self,
        argument: &'static str,
        section: &'static str,
        key: &'static str,
        value: Value,
    ) {
        self.further.push((argument, section, key, value));
    }

    /// Whether a listening address was given here.
    pub(crate) fn says_where_to_listen(&self) -> bool {
        !self.listen.is_empty()
    }

    /// Puts what was said here in place of what the file says.
    pub(crate) fn apply(&self, configuration: &mut Configuration) {
        if self.says_where_to_listen() {
            let place = Place::Argument("--listen");
            let list = self.listen.iter().map(|text| (place, Value::String(text.clone())));
            configuration.set("node", "listen", place, Value::List(list.collect()));
        }
        if let Some(shards) = self.shards {
            let place = Place::Argument("--shards");
            configuration.set("node", "shards", place, Value::Integer(shards));
        }
        for (argument, section, key, value) in &self.further {
            configuration.set(section, key, Place::Argument(argument), value.clone());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(line: &str) -> Arguments {
        Plain::try_parse_from(line.split_whitespace()).expect("parsed").arguments
    }

    #[test]
    fn arguments_stand_before_or_after_the_action() {
        for line in
            ["strowger --shards 2 check -f a.toml", "strowger check --shards 2 --file a.toml"]
        {
            let arguments = parse(line);
            assert_eq!(arguments.action, Some(Action::Check));
            assert_eq!(arguments.shards, Some(2));
            assert_eq!(arguments.file, Some(PathBuf::from("a.toml")));
        }
        assert_eq!(parse("strowger").action, None);
    }

    #[test]
    fn arguments_take_precedence_over_the_file() {
        let mut configuration = Configuration::empty("t.toml");
        configuration.set("node", "shards", Place::Line(2), Value::Integer(1));
        let mut arguments =
            parse("strowger --listen udp:[::1]:0 --listen udp:127.0.0.1:0 --shards 3");
        arguments.set("--next-hop", "routing", "next_hop", Value::String("sip:192.0.2.1".into()));
        arguments.apply(&mut configuration);
        let (seen, _) = configuration.read(|root| {
            let mut node = root.section("node");
            let seen =
                (node.strings("listen").map(|list| list.len()), node.integer("shards", 0, 0..=9));
            drop(node);
            (seen, root.section("routing").string("next_hop"))
        });
        assert_eq!(seen, ((Some(2), 3), Some("sip:192.0.2.1".into())));
    }
}
