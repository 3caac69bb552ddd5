//! The command line.
//!
//! For: people and scripts; `strowger-load COMMAND --help` shows all of it.
//! Not here: turning arguments into a run (`plan.rs`).
//! Invariants: everything has a bound unless a person takes it away; nothing but loopback is
//! touched without `--allow-remote`.

mod plan;

use crate::report::compare;
use crate::report::{Report, csv, html, table};
use crate::run::{self, Job};
use crate::schedule::Profile;
use crate::search;
use clap::{Args, Parser, Subcommand};
use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

/// A load generator for SIP: open loop, and honest about itself.
#[derive(Debug, Parser)]
#[command(name = "strowger-load", version, about, after_help = AFTER_HELP)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

const AFTER_HELP: &str = "Exit codes: 0 all passed, 1 something failed, 2 the command line or a \
file is wrong, 3 the run says nothing because the generator was at its limit.";

#[derive(Debug, Subcommand)]
enum Command {
    /// Make calls, and take them with --answer: INVITE, 180, 200, ACK, a hold, BYE, 200
    Call(Box<CallArguments>),
    /// Take calls only
    Answer(Box<AnswerArguments>),
    /// Register users, with digest if asked for it
    Register(Box<AskArguments>),
    /// Ask with OPTIONS
    Options(Box<AskArguments>),
    /// Publish presence
    Publish(Box<AskArguments>),
    /// Follow a scenario in SIPp's XML
    Scenario(Box<ScenarioArguments>),
    /// Find the highest rate without a failure (as RFC 7502 defines it)
    Search(Box<SearchArguments>),
    /// Set two runs side by side on one page
    Compare(CompareArguments),
    /// Make the page of a run that was kept as JSON
    Page {
        /// What --json wrote
        json: PathBuf,
        /// Where the page goes
        #[arg(long)]
        html: PathBuf,
    },
}

/// What every run can be told.
#[derive(Args, Clone, Debug)]
pub(crate) struct Common {
    /// UDP or TCP
    #[arg(long, default_value = "udp", value_parser = ["udp", "tcp"])]
    transport: String,
    /// Threads, each with sockets of its own
    #[arg(long, default_value_t = 1)]
    threads: usize,
    /// The cores to pin threads to; default: the last ones that this process may use
    #[arg(long, value_delimiter = ',')]
    cores: Vec<usize>,
    /// Pin no thread
    #[arg(long)]
    no_pin: bool,
    /// Let the kernel cut and join datagrams of equal length (UDP_SEGMENT, UDP_GRO): a capture on
    /// this machine shows them joined
    #[arg(long)]
    offload: bool,
    /// How long calls go on beginning, or how long callees alone wait: 500ms, 60s, 2m
    #[arg(long, value_parser = span, default_value = "10s")]
    duration: Duration,
    /// No more calls than this; callees alone stop within a second after so many
    #[arg(long)]
    calls: Option<u64>,
    /// Most calls under way at once; more are not begun, and make the run invalid
    #[arg(long, default_value_t = 100_000)]
    calls_at_once: usize,
    /// How long an answer is waited for
    #[arg(long, value_parser = span, default_value = "32s")]
    patience: Duration,
    /// How long calls under way may go on when none begin any more; default: hold, ring and twice
    /// the patience
    #[arg(long, value_parser = span)]
    drain: Option<Duration>,
    /// A call that begins later than this is late
    #[arg(long, value_parser = span, default_value = "20ms")]
    late_after: Duration,
    /// A run with a larger share of late calls is invalid
    #[arg(long, value_parser = share, default_value = "1%")]
    late_max: f64,
    /// Begin calls at whole multiples of this; 0 for exact times
    #[arg(long, value_parser = span, default_value = "1ms")]
    tick: Duration,
    /// Also for addresses that are not loopback
    #[arg(long)]
    allow_remote: bool,
    /// The system's page of metrics, sampled: http://127.0.0.1:9090/metrics
    #[arg(long)]
    control: Option<String>,
    /// A process whose CPU and memory are sampled, with its children's
    #[arg(long)]
    pid: Option<u32>,
    /// Keep the run as JSON; - for standard output
    #[arg(long)]
    json: Option<PathBuf>,
    /// Keep a line for each second
    #[arg(long)]
    csv: Option<PathBuf>,
    /// Make a page
    #[arg(long)]
    html: Option<PathBuf>,
    /// Show no progress
    #[arg(long, short)]
    quiet: bool,
    /// Repeat the random choices of a run
    #[arg(long)]
    seed: Option<u64>,
    /// Show the scenarios and leave
    #[arg(long)]
    print_scenario: bool,
}

/// What those who begin something are told.
#[derive(Args, Clone, Debug)]
pub(crate) struct Calling {
    /// Where requests go: HOST:PORT
    #[arg(long)]
    target: String,
    /// Calls a second: 2000, or a profile of steps and ramps, 500:30s,500-2000:60s,2000:2m
    #[arg(long, default_value = "10")]
    rate: Profile,
    /// Own addresses: IP or IP:PORT, where PORT is the first of consecutive ones
    #[arg(long, value_delimiter = ',')]
    source: Vec<String>,
    /// Source ports of each thread on each of its addresses
    #[arg(long, default_value_t = 1)]
    ports: u16,
    /// The user who calls; with --users, what their names begin with
    #[arg(long, default_value = "user")]
    user: String,
    /// So many users, numbered from 1, in turn
    #[arg(long)]
    users: Option<u64>,
    /// Pick users at random
    #[arg(long)]
    random_users: bool,
    /// For digest
    #[arg(long, default_value = "secret")]
    password: String,
    /// The domain of users
    #[arg(long)]
    domain: Option<String>,
    /// What [service] stands for, and the user that is called
    #[arg(long, default_value = "service")]
    service: String,
    /// The Request-URI; may hold keywords such as [field0]
    #[arg(long)]
    to: Option<String>,
    /// A CSV file for [field0] and so on; the first line says SEQUENTIAL or RANDOM
    #[arg(long)]
    inject: Vec<PathBuf>,
}

/// What those who answer are told.
#[derive(Args, Clone, Debug)]
pub(crate) struct Answering {
    /// Where calls are taken: HOST:PORT
    #[arg(long, value_delimiter = ',')]
    answer: Vec<String>,
    /// How long it rings
    #[arg(long, value_parser = span)]
    ring: Option<Duration>,
    /// What callees do, by weight: answer=99,486=1
    #[arg(long, default_value = "answer=1")]
    answers: String,
}

#[derive(Args, Clone, Debug)]
pub(crate) struct CallArguments {
    #[command(flatten)]
    common: Common,
    #[command(flatten)]
    calling: Calling,
    #[command(flatten)]
    answering: Answering,
    /// From the answer to the BYE
    #[arg(long, value_parser = span, default_value = "0s")]
    hold: Duration,
    /// What callers do, by weight: talk=80,reinvite=10,update=5,cancel=5
    #[arg(long, default_value = "talk=1")]
    mix: String,
}

#[derive(Args, Clone, Debug)]
pub(crate) struct AnswerArguments {
    #[command(flatten)]
    common: Common,
    #[command(flatten)]
    answering: Answering,
}

#[derive(Args, Clone, Debug)]
pub(crate) struct AskArguments {
    #[command(flatten)]
    common: Common,
    #[command(flatten)]
    calling: Calling,
    #[command(flatten)]
    answering: Answering,
    /// Seconds that a registration or publication lasts
    #[arg(long, default_value_t = 300)]
    expires: u32,
}

#[derive(Args, Clone, Debug)]
pub(crate) struct ScenarioArguments {
    /// The scenario; one that begins with a recv of a request takes calls
    file: PathBuf,
    #[command(flatten)]
    common: Common,
    /// Where requests go: HOST:PORT
    #[arg(long)]
    target: Option<String>,
    /// Where calls are taken: HOST:PORT
    #[arg(long, value_delimiter = ',')]
    answer: Vec<String>,
    /// As for `call`
    #[arg(long, default_value = "10")]
    rate: Profile,
    /// As for `call`
    #[arg(long, value_delimiter = ',')]
    source: Vec<String>,
    /// As for `call`
    #[arg(long, default_value_t = 1)]
    ports: u16,
    /// The length of a <pause/> that says none
    #[arg(long, value_parser = span, default_value = "0s")]
    hold: Duration,
    /// What [service] stands for
    #[arg(long, default_value = "service")]
    service: String,
    /// For [authentication] without a name
    #[arg(long, default_value = "user")]
    user: String,
    /// For [authentication] without a password
    #[arg(long, default_value = "secret")]
    password: String,
    /// A CSV file for [field0] and so on; the first line says SEQUENTIAL or RANDOM
    #[arg(long)]
    inject: Vec<PathBuf>,
}

#[derive(Args, Clone, Debug)]
pub(crate) struct SearchArguments {
    #[command(flatten)]
    call: CallArguments,
    /// Stop when the highest rate is known as closely as this
    #[arg(long, value_parser = share, default_value = "5%")]
    precision: f64,
    /// How often the highest rate must pass in a row
    #[arg(long, default_value_t = 3)]
    confirm: u32,
}

#[derive(Args, Debug)]
struct CompareArguments {
    /// What --json wrote
    one: PathBuf,
    /// What --json wrote
    other: PathBuf,
    /// Where the page goes; without it, a table is printed
    #[arg(long)]
    html: Option<PathBuf>,
}

/// Runs the command; the process ends with the code returned.
pub fn main() -> ExitCode {
    let arguments = Arguments::parse();
    match carry_out(arguments.command) {
        Ok(code) => ExitCode::from(code),
        Err(error) => {
            eprintln!("strowger-load: {error}");
            ExitCode::from(2)
        }
    }
}

fn carry_out(command: Command) -> Result<u8, String> {
    match command {
        Command::Call(call) => {
            let job = plan::call(&call)?;
            finish(&call.common, job)
        }
        Command::Answer(answer) => finish(&answer.common, plan::answer(&answer)?),
        Command::Register(ask) => ask_for(&ask, plan::Ask::Register),
        Command::Options(ask) => ask_for(&ask, plan::Ask::Options),
        Command::Publish(ask) => ask_for(&ask, plan::Ask::Publish),
        Command::Scenario(scenario) => finish(&scenario.common, plan::scenario(&scenario)?),
        Command::Search(arguments) => {
            let Some(job) = plan::call(&arguments.call)? else { return Ok(0) };
            let start = arguments.call.calling.rate.0.first().map_or(1.0, |(from, ..)| *from);
            let settings = search::Settings {
                start,
                length: arguments.call.common.duration,
                precision: arguments.precision,
                confirm: arguments.confirm,
                tick: arguments.call.common.tick,
            };
            let found = search::search(job, &settings).map_err(|error| error.to_string())?;
            print!("{}", found.table());
            let common = &arguments.call.common;
            keep(common.json.as_deref(), || found.json())?;
            Ok(found.exit_code())
        }
        Command::Compare(CompareArguments { one, other, html }) => {
            let (one, other) = (read(&one)?, read(&other)?);
            match html {
                Some(path) => write(&path, &compare::page(&one, &other))?,
                None => print!("{}", compare::table(&one, &other)),
            }
            Ok(0)
        }
        Command::Page { json, html } => {
            let report = read(&json)?;
            write(&html, &html::page(&report))?;
            Ok(0)
        }
    }
}

fn ask_for(arguments: &AskArguments, what: plan::Ask) -> Result<u8, String> {
    finish(&arguments.common, plan::ask(arguments, what)?)
}

/// Carries a run out and shows what it came to.
fn finish(common: &Common, job: Option<Job>) -> Result<u8, String> {
    let Some(job) = job else { return Ok(0) };
    let report = run::run(&job).map_err(|error| error.to_string())?;
    let to_stdout = common.json.as_deref() == Some(Path::new("-"));
    if !to_stdout {
        print!("{}", table::write(&report));
    }
    keep(common.json.as_deref(), || report.json())?;
    keep(common.csv.as_deref(), || csv::write(&report))?;
    keep(common.html.as_deref(), || html::page(&report))?;
    Ok(report.verdict.exit_code())
}

fn keep(path: Option<&Path>, text: impl FnOnce() -> String) -> Result<(), String> {
    match path {
        None => Ok(()),
        Some(path) if path == Path::new("-") => {
            print!("{}", text());
            Ok(())
        }
        Some(path) => write(path, &text()),
    }
}

fn read(path: &Path) -> Result<Report, String> {
    let wrong = |error: &dyn std::fmt::Display| format!("{}: {error}", path.display());
    let text = fs::read_to_string(path).map_err(|error| wrong(&error))?;
    Report::read(&text).map_err(|error| wrong(&error))
}

fn write(path: &Path, text: &str) -> Result<(), String> {
    fs::write(path, text).map_err(|error| format!("{}: {error}", path.display()))
}

/// Reads `500ms`, `60s`, `2m`, `1h`, or seconds.
pub(crate) fn span(text: &str) -> Result<Duration, String> {
    let text = text.trim();
    let end = text.find(|c: char| c.is_ascii_alphabetic()).unwrap_or(text.len());
    let (number, unit) = text.split_at(end);
    let scale = match unit {
        "us" => 1e-6,
        "ms" => 1e-3,
        "s" | "" => 1.0,
        "m" => 60.0,
        "h" => 3600.0,
        _ => return Err(format!("{text:?}: a time ends with us, ms, s, m or h")),
    };
    let seconds = number.parse::<f64>().ok().map(|number| number * scale);
    let seconds = seconds.filter(|seconds| (0.0..=SPAN_SECONDS_MAX).contains(seconds));
    let seconds = seconds.ok_or_else(|| format!("{text:?} is no time up to 30 days"))?;
    Ok(Duration::from_secs_f64(seconds))
}

/// Longest time that can be asked for: 30 days.
const SPAN_SECONDS_MAX: f64 = 30.0 * 86_400.0;

/// Reads `1%` or `0.01`.
fn share(text: &str) -> Result<f64, String> {
    let (number, scale) = text.strip_suffix('%').map_or((text, 1.0), |number| (number, 0.01));
    let share = number.trim().parse::<f64>().ok().map(|number| number * scale);
    let share = share.filter(|share| (0.0..=1.0).contains(share));
    share.ok_or_else(|| format!("{text:?} is no share: 1% or 0.01"))
}

/// Reads an address; a name is looked up.
pub(crate) fn address(text: &str) -> Result<SocketAddr, String> {
    use std::net::ToSocketAddrs as _;
    let found = text.to_socket_addrs().map_err(|error| format!("{text}: {error}"))?;
    found.into_iter().next().ok_or_else(|| format!("{text}: no address"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory as _;

    #[test]
    fn the_command_line_is_consistent() {
        Arguments::command().debug_assert();
    }

    #[test]
    fn times_and_shares_are_read() {
        let spans = [("500ms", 0.5), ("2m", 120.0), ("0", 0.0), ("1.5s", 1.5), ("50us", 5e-5)];
        for (text, seconds) in spans {
            assert_eq!(span(text), Ok(Duration::from_secs_f64(seconds)), "{text}");
        }
        assert!(span("-1s").is_err() && span("1d").is_err() && span("x").is_err());
        assert_eq!((share("1%"), share("0.5")), (Ok(0.01), Ok(0.5)));
        assert!(share("200%").is_err());
    }
}
