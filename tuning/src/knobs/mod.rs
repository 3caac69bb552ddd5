//! The knobs, and looking at all of them.
//!
//! For: what each one is, what it should be for this plan, and why.
//! Not here: how a host is read (`host.rs`) and changed (`change.rs`).

mod conntrack;
mod cpu;
mod limits;
mod nic;
mod sysctl;

use crate::cpus;
use crate::finding::{Finding, State};
use crate::host::Host;

/// Every knob by its name, in the order in which they are shown.
pub(crate) const NAMES: &[&str] = &[
    "socket-buffers",
    "netdev-budget",
    "backlog",
    "busy-polling",
    "nic-queues",
    "rss",
    "irq-affinity",
    "rps",
    "conntrack",
    "governor",
    "c-states",
    "isolation",
    "clock-source",
    "huge-pages",
    "memlock",
    "open-files",
    "io-uring",
    "bpf",
];

/// SIP's port (RFC 3261 §19.1.2).
const SIP_PORT: u16 = 5060;

/// Open files for whoever has not said how many connections there may be. A guess.
const OPEN_FILES: u64 = 65_536;

/// What the node will do on the host.
#[derive(Clone, Debug)]
pub struct Plan {
    /// How many shards; 0 for one on each core that this process may use.
    pub shards: usize,
    /// The cores that they are pinned to; empty for the first that are allowed.
    pub cores: Vec<usize>,
    /// The ports that it listens on with UDP.
    pub ports: Vec<u16>,
    /// The interfaces that packets come by; empty for those with hardware behind them.
    pub interfaces: Vec<String>,
    /// The process whose limits and rights count; none for the one that asks.
    pub pid: Option<u32>,
    /// Whether a ring of io_uring can be had here; the answer is why not.
    pub ring: fn() -> Result<(), String>,
    /// Files that it opens at most: connections, and some beside them.
    pub open_files: u64,
}

impl Default for Plan {
    fn default() -> Plan {
        let (cores, interfaces) = (Vec::new(), Vec::new());
        let ports = vec![SIP_PORT];
        let (ring, open_files): (fn() -> _, _) = (|| Ok(()), OPEN_FILES);
        Plan { shards: 0, cores, ports, interfaces, pid: None, ring, open_files }
    }
}

/// A plan as it falls out on one host.
pub(crate) struct View<'a> {
    pub(crate) host: &'a Host,
    /// The core of each shard.
    pub(crate) cores: Vec<usize>,
    pub(crate) interfaces: Vec<String>,
    pub(crate) ports: &'a [u16],
    /// The folder of the process whose limits and rights count.
    pub(crate) process: String,
    pub(crate) ring: fn() -> Result<(), String>,
    pub(crate) open_files: u64,
}

/// Why a knob is there and what it is worth.
#[derive(Clone, Copy, Debug)]
pub(crate) struct About {
    pub(crate) knob: &'static str,
    pub(crate) why: &'static str,
    pub(crate) effect: &'static str,
}

impl About {
    /// A finding of this knob.
    pub(crate) fn at(
        &self,
        place: impl Into<String>,
        (found, wanted): (impl Into<String>, impl Into<String>),
        state: State,
    ) -> Finding {
        Finding {
            knob: self.knob,
            place: place.into(),
            found: found.into(),
            wanted: wanted.into(),
            why: self.why.to_owned(),
            effect: self.effect.to_owned(),
            state,
        }
    }

    /// A finding of what this host has not, or does not tell.
    pub(crate) fn absent(
        &self,
        place: impl Into<String>,
        wanted: impl Into<String>,
        cause: impl Into<String>,
    ) -> Finding {
        self.at(place, ("nothing", wanted), State::Absent { cause: cause.into() })
    }
}

/// Looks at every knob.
pub(crate) fn look(host: &Host, plan: &Plan) -> Vec<Finding> {
    let view = View::of(host, plan);
    let mut found = sysctl::look(&view);
    found.extend(nic::look(&view));
    found.extend(conntrack::look(&view));
    found.extend(cpu::look(&view));
    found.extend(limits::look(&view));
    found.sort_by_key(|finding| NAMES.iter().position(|name| *name == finding.knob));
    found
}

impl<'a> View<'a> {
    fn of(host: &'a Host, plan: &'a Plan) -> View<'a> {
        let process = plan.pid.map_or("/proc/self".to_owned(), |pid| format!("/proc/{pid}"));
        let allowed = status(host, &process, "Cpus_allowed_list:");
        let allowed = allowed.and_then(|list| cpus::parse(&list)).unwrap_or_default();
        let from = if plan.cores.is_empty() { &allowed } else { &plan.cores };
        let shards = if plan.shards == 0 { from.len() } else { plan.shards };
        let cores = from.iter().copied().take(shards).collect();
        let interfaces = match plan.interfaces.is_empty() {
            true => with_hardware(host),
            false => plan.interfaces.clone(),
        };
        let Plan { ports, ring, open_files, .. } = plan;
        let (ring, open_files) = (*ring, *open_files);
        View { host, cores, interfaces, ports, process, ring, open_files }
    }
}

/// One line of a process's `status`.
fn status(host: &Host, process: &str, key: &str) -> Option<String> {
    let text = host.read(&format!("{process}/status"))?;
    let value = text.lines().find_map(|line| line.strip_prefix(key))?;
    Some(value.trim().to_owned())
}

/// Interfaces with a device behind them that are up.
fn with_hardware(host: &Host) -> Vec<String> {
    let mut names = host.list("/sys/class/net");
    names.retain(|name| {
        let state = host.read(&format!("/sys/class/net/{name}/operstate"));
        host.has(&format!("/sys/class/net/{name}/device")) && state.as_deref() != Some("down")
    });
    names
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::host::testing::Folder;

    #[test]
    fn cores_are_those_of_the_plan_or_the_first_allowed() {
        let folder = Folder::new().with(&[
            ("proc/self/status", "Name:\tx\nCpus_allowed_list:\t2-5"),
            ("sys/class/net/eth0/device/vendor", "1"),
            ("sys/class/net/eth0/operstate", "up"),
            ("sys/class/net/eth1/device/vendor", "1"),
            ("sys/class/net/eth1/operstate", "down"),
            ("sys/class/net/lo/operstate", "unknown"),
        ]);
        let host = folder.host();
        let plan = Plan { shards: 2, ..Plan::default() };
        let view = View::of(&host, &plan);
        assert_eq!((view.cores, view.interfaces), (vec![2, 3], vec!["eth0".to_owned()]));
        assert_eq!(View::of(&host, &Plan::default()).cores, [2, 3, 4, 5]);
        let plan = Plan { cores: vec![7, 9], ..Plan::default() };
        assert_eq!(View::of(&host, &plan).cores, [7, 9]);
    }

    #[test]
    fn every_knob_says_something_on_an_empty_host_and_none_has_another_name() {
        let folder = Folder::new();
        let plan = Plan { interfaces: vec!["eth0".into()], cores: vec![0], ..Plan::default() };
        let found = look(&folder.host(), &plan);
        for name in NAMES {
            let of_it: Vec<_> = found.iter().filter(|one| one.knob == *name).collect();
            assert!(!of_it.is_empty(), "{name}");
            assert!(of_it.iter().all(|one| !one.why.is_empty() && !one.effect.is_empty()));
        }
        assert!(found.iter().all(|one| NAMES.contains(&one.knob)));
        assert!(found.iter().all(|one| one.change().is_none()), "nothing is there to be written");
    }
}
