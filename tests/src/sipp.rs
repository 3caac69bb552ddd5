//! SIPp as caller and callee.
//!
//! For: starting it with a scenario of `tests/sipp/` and reading its own count of what happened.
//! Not here: the scenarios, and what a test makes of the counts.
//! Invariants: SIPp may retransmit (the machines freeze), but a failed call is a failed call.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus};
use std::time::Duration;

use crate::folder::Folder;
use crate::process::{Process, Signal};
use crate::{binary, ports};

/// What SIPp counted until its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Counts {
    /// Calls begun by it (caller) or received by it (callee).
    pub created: u64,
    /// Calls that went through their scenario to its end.
    pub successful: u64,
    /// Calls that did not.
    pub failed: u64,
    /// Messages that it sent again.
    pub retransmissions: u64,
}

/// One SIPp process.
#[derive(Debug)]
pub struct Sipp {
    process: Process,
    folder: Folder,
    port: u16,
}

impl Sipp {
    /// A callee on a free port: it answers as its scenario says until it is told to stop.
    #[must_use]
    pub fn callee(scenario: &str) -> Self {
        Self::start(scenario, "127.0.0.1", &[])
    }

    /// The same at another address of this machine, with options of SIPp's own (`-t t1`).
    #[must_use]
    pub fn callee_at(scenario: &str, host: &str, options: &[&str]) -> Self {
        Self::start(scenario, host, options)
    }

    /// A caller whose first request goes to `proxy`; `options` are SIPp's own (`-r 50 -m 3000`).
    #[must_use]
    pub fn caller(scenario: &str, proxy: SocketAddr, options: &[&str]) -> Self {
        let host = proxy.ip().to_string();
        Self::start(scenario, &host, &[&[&*proxy.to_string()], options].concat())
    }

    /// The port from which it sends and on which it listens.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Waits until SIPp has made all its calls.
    ///
    /// # Panics
    /// When it still runs after `limit`, or ends in any way but "all calls passed".
    pub fn finish(&mut self, limit: Duration) -> Counts {
        let status = self.process.wait(limit);
        self.counts(status)
    }

    /// Tells SIPp to end when its running calls have, and waits for that.
    ///
    /// # Panics
    /// When it still runs after `limit`, or ends in any way but "all calls passed".
    pub fn stop(&mut self, limit: Duration) -> Counts {
        self.process.signal(Signal::Usr1);
        self.finish(limit)
    }

    /// What it has counted so far, as of its last dump (one a second).
    #[must_use]
    pub fn so_far(&self) -> Option<Counts> {
        read(&std::fs::read_to_string(self.folder.path().join("counts")).ok()?)
    }

    /// Whether it has not ended yet.
    pub fn is_running(&mut self) -> bool {
        self.process.is_running()
    }

    fn start(scenario: &str, host: &str, arguments: &[&str]) -> Self {
        let (folder, port) = (Folder::new("sipp"), ports::free());
        let mut command = Command::new("sipp");
        command
            .arg("-sf")
            .arg(path(scenario))
            .args(["-i", host, "-p", &port.to_string(), "-nostdin"])
            .args(["-trace_stat", "-fd", "1", "-stf", "counts"])
            .args(["-trace_err", "-error_file", "errors"])
            .args(arguments)
            .current_dir(folder.path());
        Self { process: Process::start(scenario, &mut command), folder, port }
    }

    fn counts(&self, status: ExitStatus) -> Counts {
        let errors = std::fs::read_to_string(self.folder.path().join("errors")).unwrap_or_default();
        let first: Vec<&str> = errors.lines().take(40).collect();
        // 0: all calls passed. 99: it ended without having had a call. All else is a failure.
        let passed = matches!(status.code(), Some(0 | 99));
        assert!(passed, "SIPp ended with {status}, {:?}\n{}", self.so_far(), first.join("\n"));
        self.so_far().expect("SIPp leaves its counts")
    }
}

fn path(scenario: &str) -> PathBuf {
    let path = binary::workspace().join(Path::new("tests/sipp")).join(scenario);
    assert!(path.is_file(), "{} is missing", path.with_extension("xml").display());
    path
}

/// The totals in the last line of SIPp's statistics file.
fn read(statistics: &str) -> Option<Counts> {
    let mut lines = statistics.lines();
    let names: Vec<&str> = lines.next()?.split(';').collect();
    let values: Vec<&str> = lines.next_back()?.split(';').collect();
    let value = |name: &str| {
        let column = names.iter().position(|found| *found == name)?;
        values.get(column)?.parse().ok()
    };
    Some(Counts {
        created: value("TotalCallCreated")?,
        successful: value("SuccessfulCall(C)")?,
        failed: value("FailedCall(C)")?,
        retransmissions: value("Retransmissions(C)")?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_line_of_the_statistics_counts() {
        let statistics = "TotalCallCreated;SuccessfulCall(C);FailedCall(C);Retransmissions(C);\n\
                          1;0;0;0;\n9;7;2;1;\n";
        let counts = Counts { created: 9, successful: 7, failed: 2, retransmissions: 1 };
        assert_eq!(read(statistics), Some(counts));
    }
}
