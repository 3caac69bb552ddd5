//! The stock binary: the stock routing and nothing else.
//!
//! For: running without a line of Rust; a routing of one's own replaces this file.

use clap::{CommandFactory, Parser};
use std::process::ExitCode;
use strowger::Arguments;
use strowger::stock::Stock;
use strowger_sip::settings::Value;

/// A SIP proxy: one exchange per core, routing compiled in.
#[derive(Parser)]
#[command(name = "strowger", version)]
struct Command {
    #[command(flatten)]
    arguments: Arguments,
    /// Send requests for users and for other domains here, instead of to their Request-URI
    #[arg(long, value_name = "sip:ADDRESS:PORT", global = true)]
    next_hop: Option<String>,
}

fn main() -> ExitCode {
    let Command { mut arguments, next_hop } = Command::parse();
    if let Some(next_hop) = next_hop {
        arguments.set("--next-hop", "routing", "next_hop", Value::String(next_hop));
    }
    arguments.set_command(Command::command());
    strowger::start(&arguments, Stock::from_config)
}
