//! What the kernel counts for the whole process.
//!
//! For: memory, CPU time and open files, under the names that Prometheus' own libraries use.
//! Not here: what tables hold (each shard tells that).

use super::page::{Labels, Page};
use crate::counters::Value;
use nix::time::{ClockId, clock_gettime};
use std::fs;
use std::time::Duration;
use strowger_sip::module::notes::Kind;

/// Classes of memory and the lines of `/proc/self/status` that hold them.
const CLASSES: [(&str, &str); 4] = [
    ("anonymous", "RssAnon:"),
    ("file", "RssFile:"),
    ("shared", "RssShmem:"),
    ("locked", "VmLck:"),
];

/// The process as the kernel sees it; what it does not tell is left out.
#[derive(Debug, Default)]
pub(super) struct Process {
    pub(super) resident: Option<u64>,
    pub(super) virtual_size: Option<u64>,
    classes: Vec<(&'static str, u64)>,
    open_files: Option<u64>,
    cpu: Duration,
}

impl Process {
    /// Reads it.
    pub(super) fn read() -> Process {
        let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
        let line = |name: &str| {
            let line = status.lines().find_map(|line| line.strip_prefix(name))?;
            let kib: u64 = line.split_whitespace().next()?.parse().ok()?;
            Some(kib * 1024)
        };
        let files = fs::read_dir("/proc/self/fd").map(|entries| entries.count());
        Process {
            resident: line("VmRSS:"),
            virtual_size: line("VmSize:"),
            classes: CLASSES
                .iter()
                .filter_map(|(class, name)| line(name).map(|bytes| (*class, bytes)))
                .collect(),
            open_files: files.ok().and_then(|count| u64::try_from(count).ok()),
            cpu: clock_gettime(ClockId::CLOCK_PROCESS_CPUTIME_ID)
                .map(Duration::from)
                .unwrap_or_default(),
        }
    }

    pub(super) fn add_to(&self, page: &mut Page) {
        let gauges = [
            ("process_resident_memory_bytes", self.resident, "Resident memory size in bytes."),
            ("process_virtual_memory_bytes", self.virtual_size, "Virtual memory size in bytes."),
            ("process_open_fds", self.open_files, "Number of open file descriptors."),
        ];
        for (name, value, help) in gauges {
            if let Some(value) = value {
                let about = (Some(Kind::Gauge), help);
                page.add(name, about, Labels::new(), Value::Number(value));
            }
        }
        let micros = u64::try_from(self.cpu.as_micros()).unwrap_or(u64::MAX);
        let about = (Some(Kind::Counter), "Total user and system CPU time spent in seconds.");
        page.add("process_cpu_seconds", about, Labels::new(), Value::Micros(micros));
        for (class, bytes) in &self.classes {
            let about = (Some(Kind::Gauge), "Memory by class.");
            let labels = vec![("class", (*class).to_owned())];
            page.add("strowger_memory_bytes", about, labels, Value::Number(*bytes));
        }
    }
}
