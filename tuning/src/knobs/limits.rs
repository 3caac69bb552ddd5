//! What the process may have: locked memory, open files, io_uring, programs in the kernel.
//!
//! For: the limits and rights of the process that asks, or of one by its pid.
//! Not here: the kernel's own switches for all (`sysctl.rs`).

use super::{About, View, status};
use crate::finding::{Finding, State};

const MEMLOCK: About = About {
    knob: "memlock",
    why: "a kernel before 5.12 counts the rings of io_uring as locked memory, and glommio refuses \
          to start a shard with less than 512 KiB",
    effect: "not a matter of speed: without it no shard starts",
};
const FILES: About = About {
    knob: "open-files",
    why: "each TCP connection is an open file, and past the limit new ones are refused",
    effect: "not a matter of speed: it bounds how many connections there can be",
};
const RING: About = About {
    knob: "io-uring",
    why: "each shard sleeps in a ring of io_uring: without it none starts",
    effect: "not a matter of speed: a container's filter of system calls may refuse it although \
             the kernel allows it",
};
const BPF: About = About {
    knob: "bpf",
    why: "a program attached to the sockets finds a datagram's home shard in the kernel; loading \
          it takes CAP_BPF, or unprivileged_bpf_disabled = 0",
    effect: "cited: without it each datagram that reaches the wrong core goes from core to core",
};
/// Locked memory for 16 shards of 512 KiB: glommio's minimum is for each.
const MEMLOCK_MIN: u64 = 8 << 20;
/// Bits of `CapEff` in /proc/PID/status (linux/capability.h).
const CAP_SYS_ADMIN: u64 = 1 << 21;
const CAP_BPF: u64 = 1 << 39;
const UNPRIVILEGED: &str = "/proc/sys/kernel/unprivileged_bpf_disabled";

pub(super) fn look(view: &View<'_>) -> Vec<Finding> {
    vec![
        limit(view, MEMLOCK, "Max locked memory", MEMLOCK_MIN, "LimitMEMLOCK"),
        limit(view, FILES, "Max open files", view.open_files, "LimitNOFILE"),
        ring(view),
        bpf(view),
    ]
}

/// The hard limit: the process raises its soft one to it by itself.
fn limit(view: &View<'_>, about: About, name: &str, least: u64, key: &str) -> Finding {
    let path = format!("{}/limits", view.process);
    let wanted = format!("at least {least}");
    let text = view.host.read(&path).unwrap_or_default();
    let line = text.lines().find_map(|line| line.strip_prefix(name));
    let Some(hard) = line.and_then(|line| line.split_whitespace().nth(1)) else {
        return about.absent(name, wanted, format!("{path} cannot be read"));
    };
    let is_enough = hard == "unlimited" || hard.parse::<u64>().is_ok_and(|hard| hard >= least);
    let advice = format!("{key}={least} in the systemd unit; see limits.conf(5) for a shell");
    let state = if is_enough { State::Good } else { State::ByHand { advice } };
    about.at(format!("{path}: {name}"), (hard, wanted), state)
}

fn ring(view: &View<'_>) -> Finding {
    if !view.host.is_this_one() {
        return RING.absent("a ring", "granted", "another host's kernel is not asked");
    }
    match (view.ring)() {
        Ok(()) => RING.at("a ring", ("granted", "granted"), State::Good),
        Err(advice) => RING.at("a ring", ("refused", "granted"), State::ByHand { advice }),
    }
}

fn bpf(view: &View<'_>) -> Finding {
    let place = format!("{}: CAP_BPF", view.process);
    let rights = status(view.host, &view.process, "CapEff:");
    let rights = rights.and_then(|text| u64::from_str_radix(&text, 16).ok());
    let (Some(rights), Some(disabled)) = (rights, view.host.read(UNPRIVILEGED)) else {
        return BPF.absent(place, "granted", "the kernel does not tell");
    };
    let is_granted = rights & (CAP_BPF | CAP_SYS_ADMIN) != 0;
    let has = if is_granted { "granted" } else { "missing" };
    let found = format!("{has}, unprivileged_bpf_disabled = {disabled}");
    let advice =
        "AmbientCapabilities=CAP_BPF and CapabilityBoundingSet=CAP_BPF in the systemd unit";
    let state = match is_granted || disabled == "0" {
        true => State::Good,
        false => State::ByHand { advice: advice.to_owned() },
    };
    BPF.at(place, (found, "granted"), state)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::host::testing::Folder;
    use crate::knobs::Plan;

    const LIMITS: &str = "Limit                     Soft Limit  Hard Limit  Units\n\
                          Max open files            1024        4096        files\n\
                          Max locked memory         65536       unlimited   bytes";

    fn look_at(folder: &Folder, pid: Option<u32>) -> Vec<Finding> {
        let (host, plan) = (folder.host(), Plan { pid, ..Plan::default() });
        look(&View::of(&host, &plan))
    }

    #[test]
    fn the_hard_limit_counts() {
        let folder = Folder::new().with(&[("proc/7/limits", LIMITS)]);
        let found = look_at(&folder, Some(7));
        assert_eq!(found[0].state, State::Good);
        assert_eq!(found[1].found, "4096");
        let State::ByHand { advice } = &found[1].state else { panic!("{:?}", found[1]) };
        assert!(advice.contains("LimitNOFILE=65536"), "{advice}");
    }

    #[test]
    fn programs_in_the_kernel_need_the_right_or_the_switch() {
        for (rights, disabled, good) in [
            ("0000000000000000", "2", false),
            ("0000000000000000", "0", true),
            ("0000008000000000", "2", true),
            ("000001ffffffffff", "1", true),
        ] {
            let folder = Folder::new().with(&[
                ("proc/self/status", &format!("CapEff:\t{rights}")),
                (UNPRIVILEGED, disabled),
            ]);
            assert_eq!(!look_at(&folder, None)[3].differs(), good, "{rights} {disabled}");
        }
    }
}
