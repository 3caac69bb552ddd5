//! SIPp with the scenarios that it brings along, as the other end.
//!
//! For: `tests/load.rs`. The scenarios are dumped when the test runs.
//! Not here: SIPp with scenarios of this tree (`tests/src/sipp.rs`).
//! Needs: Debian's `sip-tester`.

use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;
use strowger_tests::folder::Folder;
use strowger_tests::ports;
use strowger_tests::process::Process;

/// SIPp following one of its own scenarios.
pub(crate) struct Bundled {
    process: Process,
    folder: Folder,
    pub(crate) port: u16,
}

impl Bundled {
    /// Takes so many calls.
    pub(crate) fn callee(scenario: &str, calls: u64) -> Bundled {
        let calls = calls.to_string();
        let mut callee = Self::start(&["-sn", scenario, "-m", &calls]);
        // Nothing says that it listens but the port itself.
        let port = callee.port;
        callee.process.wait_until("its port", |_| ports::is_taken(port).then_some(()));
        callee
    }

    /// Makes so many calls to this port.
    pub(crate) fn caller(scenario: &str, calls: u64, to: u16) -> Bundled {
        let (to, calls) = (format!("127.0.0.1:{to}"), calls.to_string());
        Self::start(&[&to, "-sn", scenario, "-m", &calls, "-r", "100"])
    }

    fn start(arguments: &[&str]) -> Bundled {
        let (folder, port) = (Folder::new("bundled"), ports::free());
        let mut command = Command::new("sipp");
        command
            .args(arguments)
            .args(["-i", "127.0.0.1", "-p", &port.to_string(), "-nostdin"])
            .args(["-trace_stat", "-fd", "1", "-stf", "counts"])
            .current_dir(folder.path());
        Bundled { process: Process::start("sipp", &mut command), folder, port }
    }

    /// Waits for its end; how many of its calls succeeded and failed, and what it sent again.
    pub(crate) fn finish(mut self, limit: Duration) -> [u64; 3] {
        let status = self.process.wait(limit);
        assert!(status.success(), "SIPp ended with {status}");
        let text = std::fs::read_to_string(self.folder.path().join("counts")).expect("counts");
        let names: Vec<&str> = text.lines().next().unwrap_or_default().split(';').collect();
        let values: Vec<&str> = text.lines().last().unwrap_or_default().split(';').collect();
        ["SuccessfulCall(C)", "FailedCall(C)", "Retransmissions(C)"].map(|name| {
            let column = names.iter().position(|found| *found == name).expect("a column");
            values[column].parse().expect("a number")
        })
    }
}

/// One of SIPp's scenarios as a file.
pub(crate) fn dump(folder: &Folder, scenario: &str) -> PathBuf {
    let output = Command::new("sipp").args(["-sd", scenario]).output().expect("sipp starts");
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(text.contains("<scenario"), "sipp -sd {scenario}: {text}");
    folder.write(&format!("{scenario}.xml"), &text)
}
