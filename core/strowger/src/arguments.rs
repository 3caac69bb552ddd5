//! The command line that every Strowger binary has.
//!
//! For: `run`, `check`, `db`, `rpc`, `top`, `reload` and their kin, and the arguments that take
//! precedence over the file.
//! Not here: what is done about them (`start.rs`); arguments of the stock binary alone (`main.rs`).

use crate::db::DbTask;
use crate::remote::Whom;
use clap::{Args, CommandFactory, Parser, Subcommand};
use clap_complete::Shell;
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
    /// Ask the node here, for `rpc`, `top` and `reload`, instead of where [control] listen says
    #[arg(long, value_name = "ADDRESS:PORT|unix:/PATH", global = true)]
    pub control: Option<String>,
    /// The token for it (default: $STROWGER_TOKEN, then [control] token)
    #[arg(long, value_name = "TOKEN", global = true)]
    pub token: Option<String>,
    #[arg(skip)]
    command: Option<clap::Command>,
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
    /// Have a node that runs carry out a command; `rpc rpc.discover` lists all
    Rpc {
        /// The command, for example dlg.list
        name: String,
        /// Its parameters, by position or as name=value
        arguments: Vec<String>,
        /// Print the answer as JSON
        #[arg(long)]
        json: bool,
    },
    /// Watch a node that runs: shards, rates, dialogs, drops
    Top {
        /// Print one look as text instead of drawing
        #[arg(long)]
        once: bool,
    },
    /// Have a node that runs read its configuration and lists again
    Reload {
        /// Only say what would change, and what needs a restart
        #[arg(long)]
        dry_run: bool,
        /// Print the answer as JSON
        #[arg(long)]
        json: bool,
    },
    /// Print completions for a shell
    Completions {
        /// Which shell.
        shell: Shell,
    },
    /// Write the man pages into a folder
    Man {
        /// An existing folder.
        folder: PathBuf,
    },
    /// Compare this host with what the node needs of it, and make it so
    Tune {
        /// What to do to it.
        #[command(subcommand)]
        task: strowger_tuning::Task,
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

    /// Names the binary's own command line, for completions and man pages; without it they show
    /// the arguments that every binary has.
    pub fn set_command(&mut self, command: clap::Command) {
        self.command = Some(command);
    }

    /// The command line that was parsed.
    pub(crate) fn command(&self) -> clap::Command {
        self.command.clone().unwrap_or_else(Plain::command)
    }

    /// Which node is asked, as far as it was said here.
    pub(crate) fn whom(&self) -> Whom {
        Whom { place: self.control.clone(), token: self.token.clone() }
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
