//! The load generator as a black box: a command line, a report in JSON, an exit code.
//!
//! For: `tests/load.rs`.
//! Not here: the binary (`tests/src/binary.rs`).

use serde_json::Value;
use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;
use strowger_tests::binary;
use strowger_tests::folder::Folder;
use strowger_tests::process::{Process, Signal};

/// These machines freeze for up to a second: what a test is about is not who was late by then.
const PATIENT: &[&str] = &["--late-max", "100%", "--no-pin", "--quiet"];

/// A run under way.
pub(crate) struct Generator {
    process: Process,
    folder: Folder,
}

/// A run that has ended.
pub(crate) struct Ended {
    pub(crate) code: Option<i32>,
    pub(crate) report: Value,
    pub(crate) output: String,
    pub(crate) page: String,
}

impl Generator {
    /// Starts it with these arguments, and with reports into a folder of its own.
    pub(crate) fn start(arguments: &[&str]) -> Generator {
        let folder = Folder::new("load");
        let mut command = Command::new(binary::strowger_load());
        command.args(arguments).args(PATIENT);
        for kind in ["json", "html", "csv"] {
            command.arg(format!("--{kind}")).arg(path(&folder, kind));
        }
        Generator { process: Process::start("strowger-load", &mut command), folder }
    }

    /// Waits for its end.
    pub(crate) fn finish(mut self, limit: Duration) -> Ended {
        let status = self.process.wait(limit);
        let read = |kind: &str| std::fs::read_to_string(path(&self.folder, kind));
        let report = read("json").ok().and_then(|text| serde_json::from_str(&text).ok());
        Ended {
            code: status.code(),
            report: report.unwrap_or(Value::Null),
            output: self.process.output(),
            page: read("html").unwrap_or_default(),
        }
    }

    /// Tells it to take no more calls, and waits for its end.
    pub(crate) fn stop(mut self, limit: Duration) -> Ended {
        self.process.signal(Signal::Term);
        self.finish(limit)
    }
}

fn path(folder: &Folder, kind: &str) -> PathBuf {
    folder.path().join(format!("run.{kind}"))
}

/// Runs it to its end.
pub(crate) fn run(arguments: &[&str], limit: Duration) -> Ended {
    Generator::start(arguments).finish(limit)
}

/// Runs a command that makes no calls of its own; whether it ended well, and what it printed.
pub(crate) fn plain(arguments: &[&str]) -> (bool, String) {
    let output = Command::new(binary::strowger_load()).args(arguments).output();
    let output = output.expect("strowger-load starts");
    let text = [output.stdout, output.stderr].concat();
    (output.status.success(), String::from_utf8_lossy(&text).into_owned())
}

impl Ended {
    /// Checks that all these calls passed, on the side that it names: `calls` or `answered`.
    pub(crate) fn assert_passed(&self, side: &str, calls: u64) {
        let outcome = ["begun", "succeeded", "failed"].map(|name| self.number(&[side, name]));
        assert_eq!(outcome, [calls, calls, 0], "{}", self.output);
        assert_eq!(self.code, Some(0), "{}", self.output);
    }

    /// A number of the report.
    pub(crate) fn number(&self, path: &[&str]) -> u64 {
        let found = path.iter().fold(&self.report, |value, name| &value[*name]);
        found.as_u64().unwrap_or_else(|| panic!("no number at {path:?}: {}", self.output))
    }

    /// How many messages of this method or status it has sent and received.
    pub(crate) fn messages(&self, name: &str) -> u64 {
        let counted = ["sent", "received"];
        counted.iter().filter_map(|way| self.report["messages"][way][name].as_u64()).sum()
    }
}
