//! The network interfaces: queues, how flows are spread over them, and whose interrupts they are.
//!
//! For: each interface that packets come by; `tuning/nic.sh` does the same at boot.
//! Not here: what is set for all of them together (`sysctl.rs`).

use super::{About, View};
use crate::change::Change;
use crate::cpus;
use crate::finding::{Finding, State};

const QUEUES: About = About {
    knob: "nic-queues",
    why: "one receive queue for each shard: fewer, and cores wait for each other's interrupts; \
          more, and cores that run no shard are interrupted",
    effect: "cited: one queue for each core that handles packets (kernel documentation, \
             networking/scaling.rst)",
};
const RSS: About = About {
    knob: "rss",
    why: "SIP over UDP runs between few addresses: by addresses alone a trunk's packets all fall \
          into one queue; with the ports (sdfn) its ports are spread",
    effect: "cited: without the ports one source address is one queue (ethtool(8), rx-flow-hash). \
             Fragments carry no ports and go by addresses: keep messages below the MTU",
};
const IRQS: About = About {
    knob: "irq-affinity",
    why: "a queue's interrupt on its shard's core leaves the packet in that core's cache",
    effect: "cited: interrupts spread over the cores that handle the queues (kernel documentation, \
             networking/scaling.rst)",
};
const RPS: About = About {
    knob: "rps",
    why: "packets are spread over the cores by the NIC's queues; spreading them again in software \
          costs an interrupt between cores for each",
    effect: "cited: with hardware queues for all cores RPS is redundant (kernel documentation, \
             networking/scaling.rst)",
};

pub(super) fn look(view: &View<'_>) -> Vec<Finding> {
    let mut found = Vec::new();
    if view.interfaces.is_empty() {
        let none = "no interface has hardware behind it; name one with --interface";
        found.extend([QUEUES, RSS, IRQS].map(|about| about.absent("interfaces", "one", none)));
    }
    for interface in &view.interfaces {
        found.extend(queues(view, interface));
        found.extend(["udp4", "udp6"].map(|flows| rss(view, interface, flows)));
        found.extend(irqs(view, interface));
        found.extend(rps(view, interface));
    }
    found.extend(balancer(view));
    found
}

/// What `ethtool -l` counts, as it names them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Channels {
    kind: &'static str,
    most: usize,
    current: usize,
}

/// Reads `ethtool -l`: the most of each kind, then what is set.
fn channels(said: &str) -> Vec<Channels> {
    let (most, current) = said.split_once("Current hardware settings:").unwrap_or((said, ""));
    let number = |text: &str, name: &str| {
        let line = text.lines().find_map(|line| line.strip_prefix(name));
        line.and_then(|value| value.trim().parse::<usize>().ok())
    };
    let kinds = [("rx", "RX:"), ("tx", "TX:"), ("combined", "Combined:")];
    let read = kinds.map(|(kind, name)| {
        let (most, current) = (number(most, name)?, number(current, name)?);
        (most > 0).then_some(Channels { kind, most, current })
    });
    read.into_iter().flatten().collect()
}

fn queues(view: &View<'_>, interface: &str) -> Vec<Finding> {
    let place = format!("{interface} queues");
    let shards = view.cores.len().max(1);
    let said = match view.host.tool("ethtool", &["-l", interface]) {
        Ok(said) => said,
        Err(cause) => return vec![QUEUES.absent(place, shards.to_string(), cause.to_string())],
    };
    let channels = channels(&said);
    if channels.is_empty() {
        let cause = "its driver has a fixed number of queues";
        return vec![QUEUES.absent(place, shards.to_string(), cause)];
    }
    let wanted = |channels: &Channels| shards.min(channels.most);
    channels
        .iter()
        .map(|channels| {
            let kind = channels.kind;
            let set = |count: usize| {
                let words = ["ethtool", "-L", interface, kind];
                let words = words.into_iter().map(str::to_owned);
                words.chain([count.to_string()]).collect::<Vec<String>>()
            };
            let state = match channels.current == wanted(channels) {
                true => State::Good,
                false => State::Change {
                    change: Change::Run {
                        command: set(wanted(channels)),
                        undo: set(channels.current),
                    },
                },
            };
            let short = if channels.most < shards { ", all it has" } else { "" };
            let values = (channels.current.to_string(), format!("{}{short}", wanted(channels)));
            QUEUES.at(format!("{interface} {kind} queues"), values, state)
        })
        .collect()
}

/// Reads `ethtool -n IFACE rx-flow-hash udp4` into the letters that `-N` takes.
fn hash_letters(said: &str) -> String {
    let fields = [
        ("IP SA", 's'),
        ("IP DA", 'd'),
        ("L4 bytes 0 & 1", 'f'),
        ("L4 bytes 2 & 3", 'n'),
        ("VLAN tag", 'v'),
        ("L3 proto", 't'),
        ("L2DA", 'm'),
    ];
    let has = |name: &str| said.lines().any(|line| line.trim().starts_with(name));
    fields.iter().filter(|(name, _)| has(name)).map(|(_, letter)| *letter).collect()
}

fn rss(view: &View<'_>, interface: &str, flows: &str) -> Finding {
    let place = format!("{interface} rx-flow-hash {flows}");
    let said = match view.host.tool("ethtool", &["-n", interface, "rx-flow-hash", flows]) {
        Ok(said) => said,
        Err(cause) => return RSS.absent(place, "sdfn", cause.to_string()),
    };
    let found = hash_letters(&said);
    let set = |letters: &str| {
        let words = ["ethtool", "-N", interface, "rx-flow-hash", flows, letters];
        words.map(str::to_owned).to_vec()
    };
    let state = match found.as_str() {
        "sdfn" => State::Good,
        "" => State::Absent { cause: "its driver does not say".to_owned() },
        before => State::Change { change: Change::Run { command: set("sdfn"), undo: set(before) } },
    };
    let found = if found.is_empty() { "nothing" } else { &found };
    RSS.at(place, (found, "sdfn"), state)
}

/// The interface's interrupts with the queue that each is for, by their names in /proc/interrupts.
fn interrupts(view: &View<'_>, interface: &str) -> Vec<(u32, usize)> {
    let device = format!("/sys/class/net/{interface}/device");
    let mut own = view.host.list(&format!("{device}/msi_irqs"));
    own.extend(view.host.list(&format!("{device}/../msi_irqs")));
    let text = view.host.read("/proc/interrupts").unwrap_or_default();
    let mut found = Vec::new();
    for line in text.lines() {
        let Some((number, rest)) = line.trim().split_once(':') else { continue };
        let is_own = own.iter().any(|irq| irq == number) || names(rest, interface);
        let queue = rest.split_whitespace().next_back().and_then(queue_of);
        if let (true, Ok(number), Some(queue)) = (is_own, number.parse(), queue) {
            found.push((number, queue));
        }
    }
    found
}

/// Whether a line of /proc/interrupts names the interface, and not one that begins like it.
fn names(line: &str, interface: &str) -> bool {
    let words = line.split(|c: char| c.is_whitespace() || c == '-' || c == '@' || c == ':');
    words.into_iter().any(|word| word == interface)
}

/// The queue at the end of `eth0-TxRx-3`, `virtio0-input.3` or `mlx5_comp3@pci:0000:01:00.0`.
fn queue_of(name: &str) -> Option<usize> {
    let name = name.split('@').next().unwrap_or(name);
    if name.contains("async") || name.contains("config") {
        return None;
    }
    let digits = name.len() - name.trim_end_matches(|c: char| c.is_ascii_digit()).len();
    name.get(name.len() - digits..)?.parse().ok()
}

fn irqs(view: &View<'_>, interface: &str) -> Vec<Finding> {
    let interrupts = interrupts(view, interface);
    if interrupts.is_empty() || view.cores.is_empty() {
        let cause = "no interrupts of its own in /proc/interrupts";
        let wanted = cpus::show(&view.cores);
        return vec![IRQS.absent(format!("{interface} interrupts"), wanted, cause)];
    }
    let look = |&(number, queue): &(u32, usize)| {
        let path = format!("/proc/irq/{number}/smp_affinity_list");
        let place = format!("{interface} queue {queue}, interrupt {number}");
        let wanted = view.cores[queue % view.cores.len()].to_string();
        let Some(found) = view.host.read(&path) else {
            return IRQS.absent(place, wanted, format!("no {path}"));
        };
        let state = match found == wanted {
            true => State::Good,
            false => State::Change {
                change: Change::Write { path, value: wanted.clone(), before: found.clone() },
            },
        };
        IRQS.at(place, (found, wanted), state)
    };
    interrupts.iter().map(look).collect()
}

/// A daemon that moves interrupts, and would move them back.
fn balancer(view: &View<'_>) -> Option<Finding> {
    let processes = view.host.list("/proc");
    let mut pids = processes.iter().filter(|name| name.bytes().all(|c| c.is_ascii_digit()));
    let pid = pids.find(|pid| {
        view.host.read(&format!("/proc/{pid}/comm")).as_deref() == Some("irqbalance")
    })?;
    let advice = "it moves interrupts again: systemctl disable --now irqbalance".to_owned();
    let state = State::ByHand { advice };
    Some(IRQS.at("irqbalance", (format!("running, pid {pid}"), "not running"), state))
}

fn rps(view: &View<'_>, interface: &str) -> Vec<Finding> {
    let folder = format!("/sys/class/net/{interface}/queues");
    let queues = view.host.list(&folder).into_iter().filter(|name| name.starts_with("rx-"));
    let look = |queue: String| {
        let path = format!("{folder}/{queue}/rps_cpus");
        let place = format!("{interface} {queue} rps_cpus");
        let Some(found) = view.host.read(&path) else {
            return RPS.absent(place, "0", format!("no {path}"));
        };
        let is_off = found.chars().all(|c| matches!(c, '0' | ','));
        let state = match is_off {
            true => State::Good,
            false => State::Change {
                change: Change::Write { path, value: "0".to_owned(), before: found.clone() },
            },
        };
        RPS.at(place, (found, "0"), state)
    };
    queues.map(look).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::host::testing::Folder;
    use crate::knobs::Plan;

    fn plan() -> Plan {
        Plan { cores: vec![2, 3], interfaces: vec!["eth0".into()], ..Plan::default() }
    }

    fn find(found: &[Finding], place: &str) -> Finding {
        let one = found.iter().find(|one| one.place == place);
        one.unwrap_or_else(|| panic!("no {place} in {found:#?}")).clone()
    }

    #[test]
    fn one_queue_for_each_shard_or_as_many_as_there_are() {
        let said = "Channel parameters for eth0:\nPre-set maximums:\nRX:\t\tn/a\nTX:\t\tn/a\n\
                    Other:\t\t1\nCombined:\t8\nCurrent hardware settings:\nRX:\t\tn/a\n\
                    TX:\t\tn/a\nOther:\t\t1\nCombined:\t8\n";
        assert_eq!(channels(said), [Channels { kind: "combined", most: 8, current: 8 }]);
        let script = format!("[ \"$1\" = -l ] || exit 1\ncat <<'.'\n{said}.\n");
        let folder = Folder::new().with_tool("ethtool", &script);
        let (host, plan) = (folder.host(), plan());
        let found = look(&View::of(&host, &plan));
        let queues = find(&found, "eth0 combined queues");
        let words = |text: &str| text.split(' ').map(str::to_owned).collect::<Vec<_>>();
        let change = Change::Run {
            command: words("ethtool -L eth0 combined 2"),
            undo: words("ethtool -L eth0 combined 8"),
        };
        assert_eq!(queues.change(), Some(&change));
    }

    #[test]
    fn flows_are_spread_by_their_ports() {
        let script = "[ \"$1 $2 $3\" = '-n eth0 rx-flow-hash' ] || exit 1\n\
                      echo 'UDP over IPV4 flows use these fields for computing Hash flow key:'\n\
                      echo 'IP SA'; echo 'IP DA'\n\
                      [ \"$4\" = udp6 ] || exit 0\n\
                      echo 'L4 bytes 0 & 1 [TCP/UDP src port]'\n\
                      echo 'L4 bytes 2 & 3 [TCP/UDP dst port]'\n";
        let folder = Folder::new().with_tool("ethtool", script);
        let (host, plan) = (folder.host(), plan());
        let found = look(&View::of(&host, &plan));
        let udp4 = find(&found, "eth0 rx-flow-hash udp4");
        assert_eq!(udp4.found, "sd");
        assert_eq!(
            udp4.change().expect("a change").to_string(),
            "ethtool -N eth0 rx-flow-hash udp4 sdfn"
        );
        assert_eq!(find(&found, "eth0 rx-flow-hash udp6").state, State::Good);
    }

    #[test]
    fn each_queues_interrupt_belongs_on_its_shards_core() {
        let interrupts = "           CPU0       CPU1\n  9:  0  0  IO-APIC   9-fasteoi   acpi\n \
                          40:  5  0  PCI-MSI 524288-edge      eth0-TxRx-0\n \
                          41:  5  0  PCI-MSI 524289-edge      eth0-TxRx-1\n \
                          42:  5  0  PCI-MSI 524290-edge      eth0-TxRx-2\n \
                          43:  5  0  PCI-MSI 524291-edge      eth01-TxRx-0\n \
                          44:  5  0  PCI-MSI 5-edge      virtio1-config\n \
                          45:  5  0  PCI-MSI 6-edge      virtio1-input.1\n";
        let folder = Folder::new().with(&[
            ("proc/interrupts", interrupts),
            ("proc/irq/40/smp_affinity_list", "2"),
            ("proc/irq/41/smp_affinity_list", "0-3"),
            ("proc/irq/42/smp_affinity_list", "0-3"),
            ("proc/irq/45/smp_affinity_list", "0"),
            ("sys/class/net/eth0/device/msi_irqs/44", ""),
            ("sys/class/net/eth0/device/msi_irqs/45", ""),
            ("proc/77/comm", "irqbalance"),
        ]);
        let (host, plan) = (folder.host(), plan());
        let found = look(&View::of(&host, &plan));
        assert_eq!(find(&found, "eth0 queue 0, interrupt 40").state, State::Good);
        for (queue, irq, core) in [(1, 41, "3"), (2, 42, "2"), (1, 45, "3")] {
            let one = find(&found, &format!("eth0 queue {queue}, interrupt {irq}"));
            assert_eq!((one.wanted.as_str(), one.differs()), (core, true));
        }
        assert!(found.iter().all(|one| !one.place.contains("43") && !one.place.contains("44")));
        assert!(find(&found, "irqbalance").differs());
        assert_eq!(queue_of("mlx5_comp3@pci:0000:01:00.0"), Some(3));
        assert_eq!(queue_of("mlx5_async0@pci:0000:01:00.0"), None);
    }

    #[test]
    fn packets_are_not_spread_twice() {
        let folder = Folder::new().with(&[
            ("sys/class/net/eth0/queues/rx-0/rps_cpus", "00000000,00000000"),
            ("sys/class/net/eth0/queues/rx-1/rps_cpus", "3"),
            ("sys/class/net/eth0/queues/tx-0/xps_cpus", "3"),
        ]);
        let (host, plan) = (folder.host(), plan());
        let found = look(&View::of(&host, &plan));
        assert_eq!(find(&found, "eth0 rx-0 rps_cpus").state, State::Good);
        assert_eq!(
            find(&found, "eth0 rx-1 rps_cpus").change().map(ToString::to_string).as_deref(),
            Some("write 0 to /sys/class/net/eth0/queues/rx-1/rps_cpus")
        );
    }
}
