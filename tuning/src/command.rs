//! The command line of `strowger tune`.
//!
//! For: `check`, `apply`, `undo`, what they print and how they end.
//! Not here: the knobs (`knobs/`).
//! Invariants: `check` ends with 0 when everything is as wanted, with 1 when something is not.

use crate::change::{Change, UndoFile};
use crate::finding::{Finding, Report};
use crate::host::Host;
use crate::knobs::{self, Plan};
use clap::{Args, Subcommand};
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

const UNDO_FILE: &str = "/var/lib/strowger/tune-undo.json";
/// Exit status when something is not as wanted, or could not be made so.
const EXIT_DIFFERS: u8 = 1;
/// Exit status when the way back cannot be written or read (sysexits.h, EX_CANTCREAT).
const EXIT_UNDO_FILE: u8 = 73;

/// What to do.
#[derive(Subcommand, Clone, Debug, PartialEq, Eq)]
pub enum Task {
    /// Show each knob: value found, value wanted, why, and what it is worth; writes nothing
    Check {
        /// Which knobs, of what.
        #[command(flatten)]
        scope: Scope,
        /// Print JSON instead
        #[arg(long)]
        json: bool,
    },
    /// Set what can be set while the host runs; the values found go into the undo file first
    Apply {
        /// Which knobs, of what.
        #[command(flatten)]
        scope: Scope,
        /// Say what would be done, and do nothing
        #[arg(long)]
        dry_run: bool,
        /// Where the way back is kept
        #[arg(long, value_name = "FILE", default_value = UNDO_FILE)]
        undo_file: PathBuf,
    },
    /// Put back what `apply` found
    Undo {
        /// The file that `apply` wrote
        #[arg(value_name = "FILE", default_value = UNDO_FILE)]
        undo_file: PathBuf,
        /// Read and write /proc and /sys below this folder
        #[arg(long, value_name = "FOLDER", default_value = "/")]
        root: PathBuf,
    },
}

/// Which knobs, of what.
#[derive(Args, Clone, Debug, PartialEq, Eq)]
pub struct Scope {
    /// Only this knob (repeatable)
    #[arg(long, value_name = "NAME")]
    knob: Vec<String>,
    /// Only this network interface (repeatable; default: those with hardware behind them)
    #[arg(long, value_name = "NAME")]
    interface: Vec<String>,
    /// Look at the limits and rights of this process instead of one's own
    #[arg(long, value_name = "PID")]
    pid: Option<u32>,
    /// Read and write /proc and /sys below this folder
    #[arg(long, value_name = "FOLDER", default_value = "/")]
    root: PathBuf,
}

/// Does it; `plan` is what the configuration says.
pub fn run(task: &Task, plan: Plan) -> ExitCode {
    match task {
        Task::Check { scope, json } => with_findings(scope, plan, |_, found| check(found, *json)),
        Task::Apply { scope, dry_run, undo_file } => with_findings(scope, plan, |host, found| {
            let changes: Vec<&Change> = found.iter().filter_map(Finding::change).collect();
            match *dry_run {
                true => rehearse(&changes),
                false => apply(host, &changes, undo_file),
            }
        }),
        Task::Undo { undo_file, root } => undo(&Host::below(root), undo_file),
    }
}

fn with_findings(
    scope: &Scope,
    mut plan: Plan,
    then: impl FnOnce(&Host, &[Finding]) -> ExitCode,
) -> ExitCode {
    let host = Host::below(&scope.root);
    plan.interfaces.clone_from(&scope.interface);
    plan.pid = scope.pid;
    let all = knobs::NAMES;
    if let Some(unknown) = scope.knob.iter().find(|name| !all.contains(&name.as_str())) {
        eprintln!("strowger: no knob {unknown:?}; there are: {}", all.join(", "));
        return ExitCode::from(64); // EX_USAGE
    }
    let mut found = knobs::look(&host, &plan);
    found.retain(|one| scope.knob.is_empty() || scope.knob.iter().any(|name| name == one.knob));
    then(&host, &found)
}

fn check(found: &[Finding], json: bool) -> ExitCode {
    match json {
        true => say(&serde_json::to_string_pretty(found).unwrap_or_default()),
        false => say(Report(found).to_string().trim_end()),
    }
    match found.iter().any(Finding::differs) {
        true => ExitCode::from(EXIT_DIFFERS),
        false => ExitCode::SUCCESS,
    }
}

fn rehearse(changes: &[&Change]) -> ExitCode {
    changes.iter().for_each(|change| say(&format!("would {}", verb(change))));
    say(&format!("{} changes, none made", changes.len()));
    ExitCode::SUCCESS
}

fn apply(host: &Host, changes: &[&Change], undo_file: &Path) -> ExitCode {
    if changes.is_empty() {
        say("nothing to change");
        return ExitCode::SUCCESS;
    }
    if let Err(cause) = UndoFile::add(undo_file, changes) {
        eprintln!("strowger: nothing was changed: {cause}");
        return ExitCode::from(EXIT_UNDO_FILE);
    }
    let mut made = 0;
    for change in changes {
        match change.make(host) {
            Ok(()) => {
                made += 1;
                say(&format!("done: {change}"));
            }
            Err(cause) => eprintln!("strowger: {cause}"),
        }
    }
    let undo = undo_file.display();
    say(&format!("{made} of {} changes made; back with: strowger tune undo {undo}", changes.len()));
    match made == changes.len() {
        true => ExitCode::SUCCESS,
        false => ExitCode::from(EXIT_DIFFERS),
    }
}

fn undo(host: &Host, path: &Path) -> ExitCode {
    let file = match UndoFile::read(path) {
        Ok(file) => file,
        Err(cause) => {
            eprintln!("strowger: {cause}");
            return ExitCode::from(EXIT_UNDO_FILE);
        }
    };
    let (undone, faults) = file.undo(host);
    faults.iter().for_each(|fault| eprintln!("strowger: {fault}"));
    say(&format!("{undone} changes undone"));
    if !faults.is_empty() {
        return ExitCode::from(EXIT_DIFFERS);
    }
    if let Err(cause) = UndoFile::remove(path) {
        eprintln!("strowger: {}: cannot be removed: {cause}", path.display());
    }
    ExitCode::SUCCESS
}

fn verb(change: &Change) -> String {
    match change {
        Change::Write { .. } => change.to_string(),
        Change::Run { .. } => format!("run {change}"),
    }
}

/// A reader who has gone away is no fault.
fn say(text: &str) {
    let _ = writeln!(io::stdout(), "{text}");
}
