//! Flow scripts: calls with their timers, one event a line, readable without Rust.
//!
//! For: running `tests/flows/*.flow`, and the flows of crates with modules. `tests/flows/README.md`
//! describes the language.
//! Not here: reading files: scripts and messages are handed in.
//! Invariants: a run is a function of the script; a failure names line, expectation and what came,
//! and draws the flow so far.

mod check;
mod compose;
mod event;
mod ladder;
mod node;
mod parse;
mod party;
mod routing;
mod runner;
mod script;
mod template;
mod text;

pub use node::{Node, bench};
pub use parse::parse;
pub use routing::Scripted;
pub use script::{Block, Endpoint, Fault, PartyAddress, Script, Setting, Setup};

use runner::{Run, Wrong};
use std::fmt;

/// Looks up a raw message by its file name.
pub type Files<'f> = &'f dyn Fn(&str) -> Option<Vec<u8>>;

/// Makes the node of a flow from its set-up.
pub type Maker<'m> = &'m dyn Fn(&Setup) -> Result<Box<dyn Node>, Fault>;

/// Why a flow failed.
#[derive(Debug)]
pub struct Failure {
    /// The script's name.
    pub script: String,
    /// The line, counted from 1.
    pub line: usize,
    /// Its text.
    pub text: String,
    /// What the script expects there.
    pub expected: String,
    /// What came instead.
    pub came: String,
    /// The flow so far; empty when it did not begin.
    pub ladder: String,
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Failure { script, line, text, expected, came, ladder } = self;
        writeln!(f, "{script}:{line}: {text}")?;
        writeln!(f, "  expected: {}", indented(expected))?;
        writeln!(f, "  came:     {}", indented(came))?;
        if ladder.is_empty() { Ok(()) } else { write!(f, "\n{ladder}") }
    }
}

fn indented(text: &str) -> String {
    text.trim_end().replace('\n', "\n            ")
}

/// A node with the routing that the script's `route` lines describe.
///
/// # Errors
/// A route or a setting that cannot be understood.
pub fn plain(setup: &Setup) -> Result<Box<dyn Node>, Fault> {
    let routing = Scripted::read(&setup.routes)?;
    Ok(Box::new(bench(setup, routing, ())?))
}

/// Runs a script against the node that `maker` makes.
///
/// # Errors
/// The first step that is not as the script says.
pub fn run(name: &str, text: &str, files: Files<'_>, maker: Maker<'_>) -> Result<(), Box<Failure>> {
    let unreadable = |fault: Fault| {
        let line = text.lines().nth(fault.line.saturating_sub(1)).unwrap_or_default();
        Box::new(Failure {
            script: name.to_owned(),
            line: fault.line,
            text: line.trim().to_owned(),
            expected: "a script that can be read".to_owned(),
            came: fault.what,
            ladder: String::new(),
        })
    };
    let script = parse(text).map_err(unreadable)?;
    let node = maker(&script.setup).map_err(unreadable)?;
    let mut run = Run::new(&script, files, node);
    for (block, event) in &script.events {
        if let Err(wrong) = guarded(|| run.event(event)) {
            return Err(failure(name, (block.line, &block.text), wrong, &run));
        }
    }
    let end = text.lines().count();
    guarded(|| run.end()).map_err(|wrong| failure(name, (end, "(the end)"), wrong, &run))
}

/// A panic of the engine fails the flow like anything else, with its line and ladder.
fn guarded(work: impl FnOnce() -> Result<(), Wrong>) -> Result<(), Wrong> {
    let caught = std::panic::catch_unwind(std::panic::AssertUnwindSafe(work));
    caught.unwrap_or_else(|panic| {
        let text = panic.downcast_ref::<&str>().copied();
        let text = text.or_else(|| panic.downcast_ref::<String>().map(String::as_str));
        Err(Wrong {
            expected: "an engine that does not panic".to_owned(),
            came: text.unwrap_or("a panic").to_owned(),
        })
    })
}

fn failure(name: &str, (line, text): (usize, &str), wrong: Wrong, run: &Run<'_>) -> Box<Failure> {
    Box::new(Failure {
        script: name.to_owned(),
        line,
        text: text.to_owned(),
        expected: wrong.expected,
        came: wrong.came,
        ladder: run.draw(),
    })
}
