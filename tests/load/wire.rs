//! What was on the wire, counted by tshark.
//!
//! For: `tests/load.rs`, where two counts that agree might both be wrong.
//! Needs: Debian's `tshark`, and the right to capture on loopback.

use std::collections::BTreeMap;
use std::process::Command;
use std::time::Duration;
use strowger_tests::folder::Folder;
use strowger_tests::process::{PATIENCE, Process, Signal};

/// From the last message until it lies in the file.
const SETTLE: Duration = Duration::from_secs(1);

/// A capture of one UDP port on loopback.
pub(crate) struct Wire {
    process: Process,
    folder: Folder,
    port: u16,
}

impl Wire {
    /// Starts to capture.
    pub(crate) fn watch(port: u16) -> Wire {
        let folder = Folder::new("wire");
        let mut command = Command::new("dumpcap");
        command
            .args(["-q", "-i", "lo", "-B", "32", "-f", &format!("udp port {port}"), "-w"])
            .arg(folder.path().join("wire.pcapng"));
        let mut process = Process::start("dumpcap", &mut command);
        // Capturing needs root or CAP_NET_RAW; without it, dumpcap says so and ends here.
        process.wait_for("File:");
        Wire { process, folder, port }
    }

    /// Ends the capture and counts messages by method and status.
    pub(crate) fn count(mut self) -> BTreeMap<String, u64> {
        std::thread::sleep(SETTLE);
        self.process.signal(Signal::Term);
        self.process.wait(PATIENCE);
        let dropped = self.process.output();
        let dropped = dropped.lines().find(|line| line.contains("dropped"));
        assert!(dropped.is_none_or(|line| line.contains("/0 (")), "{dropped:?}");
        let output = Command::new("tshark")
            .args(["-n", "-d", &format!("udp.port=={},sip", self.port), "-r"])
            .arg(self.folder.path().join("wire.pcapng"))
            .args(["-T", "fields", "-e", "sip.Method", "-e", "sip.Status-Code"])
            .output()
            .expect("tshark starts");
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        let mut counts = BTreeMap::new();
        for line in String::from_utf8_lossy(&output.stdout).lines() {
            *counts.entry(line.trim().to_owned()).or_default() += 1;
        }
        counts
    }
}
