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
mod play;
mod routing;
mod runner;
mod script;
mod template;
mod text;

pub use node::{Node, bench};
pub use parse::parse;
pub use play::{Exchange, Play};
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
    let mut run = Run::new(&script.setup, files, node);
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

fn failure<N: Node + ?Sized>(
    name: &str,
    (line, text): (usize, &str),
    wrong: Wrong,
    run: &Run<'_, N>,
) -> Box<Failure> {
    Box::new(Failure {
        script: name.to_owned(),
        line,
        text: text.to_owned(),
        expected: wrong.expected,
        came: wrong.came,
        ladder: run.draw(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const SET_UP: &str = "# RFC 3261\nnode 192.0.2.1:5060\nparty A 192.0.2.10:5060\n\
        party B 192.0.2.20:5060\nA -> OPTIONS sip:b@192.0.2.20\n";

    /// Runs the set-up with these lines below it.
    fn outcome(lines: &str) -> Result<(), Box<Failure>> {
        run("a.flow", &format!("{SET_UP}{lines}"), &|_| None, &plain)
    }

    fn failed(lines: &str) -> Failure {
        *outcome(lines).expect_err(lines)
    }

    #[test]
    fn a_flow_that_is_as_it_says_passes() {
        outcome("B <- OPTIONS\nB -> 200\nA <- 200").unwrap();
    }

    #[test]
    fn a_difference_names_the_line_and_shows_the_message_and_the_ladder() {
        let failure = failed("B <- OPTIONS sip:b@192.0.2.20\n    Max-Forwards: 70\n");
        assert_eq!((failure.line, failure.expected.as_str()), (6, "Max-Forwards: 70"));
        assert!(failure.came.contains("Max-Forwards: 69"), "{}", failure.came);
        let text = failure.to_string();
        assert!(text.starts_with("a.flow:6: B <- OPTIONS"), "{text}");
        assert!(text.contains("|--OPTIONS---"), "{text}");
    }

    #[test]
    fn what_nobody_reads_fails_the_flow() {
        assert_eq!(failed("quiet").line, 6);
        assert_eq!(failed("wait 1s").line, 6);
        assert!(failed("").came.contains("to B from 192.0.2.1:5060"));
        // The copies of the request at 500 ms come before the end of the second.
        assert!(failed("B <- OPTIONS\nwait 1s").came.contains("0.500000s"));
        outcome("B <- OPTIONS\nskip 10s\nB -> 200\nA <- 100\n").expect_err("100 came at 3.5 s");
    }

    #[test]
    fn what_nobody_sent_fails_the_flow() {
        assert_eq!(failed("B <- OPTIONS\nA <- 100").came, "nothing");
    }

    #[test]
    fn a_mistake_in_a_script_is_told() {
        assert_eq!(failed("C -> 200").came, "there is no party C");
        assert_eq!(failed("A -> BYE").expected, "a step that can be carried out");
        assert!(failed("count nothing 1").came.contains("no such counter"));
        assert_eq!(failed("route any\n    hold\n").line, 6);
    }
}
