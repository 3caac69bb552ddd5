//! The cores: how fast, how deep they sleep, who else runs on them, and how time is read.
//!
//! For: the cores of the shard map; `tuning/cpus.sh` does at boot what can be done then.
//! Not here: interrupts (`nic.rs`).

use super::{About, View};
use crate::change::Change;
use crate::cpus;
use crate::finding::{Finding, State};

const GOVERNOR: About = About {
    knob: "governor",
    why: "a governor that lowers the clock between bursts makes the first messages of each wait",
    effect: "cited: performance holds the highest frequency the policy allows (kernel \
             documentation, admin-guide/pm/cpufreq.rst)",
};
const SLEEP: About = About {
    knob: "c-states",
    why: "a core that sleeps deeply takes as long to wake as the state's exit latency, and a shard \
          wakes with every burst",
    effect: "cited: the kernel's own figure for each state is what is saved at each waking \
             (cpuidle/stateN/latency, in microseconds)",
};
const ISOLATION: About = About {
    knob: "isolation",
    why: "a shard that shares its core with other work is late by as long as that work runs",
    effect: "cited: isolcpus keeps other tasks off, nohz_full stops the scheduler's tick, 250 or \
             1000 a second (kernel documentation, admin-guide/kernel-parameters.txt)",
};
const CLOCK: About = About {
    knob: "clock-source",
    why: "shards read the clock with every batch; a source that the processor cannot read by \
          itself makes each reading a system call and a trip to the chipset",
    effect: "cited: tsc and the hypervisors' pages are read without entering the kernel (vdso(7)), \
             hpet and acpi_pm are not",
};
const PAGES: About = About {
    knob: "huge-pages",
    why: "with `always`, the kernel compacts memory for processes that never asked, and stalls",
    effect: "cited: madvise gives huge pages only to memory that asks for them, always may stall \
             on compaction (kernel documentation, admin-guide/mm/transhuge.rst)",
};
/// Sleeping states that take longer to leave than this are switched off. A guess: well below the
/// time between two batches under load.
const LATENCY_MAX_US: u64 = 10;
/// Clock sources that are read without entering the kernel.
const CHEAP: &[&str] =
    &["tsc", "kvm-clock", "hyperv_clocksource_tsc_page", "xen", "arch_sys_counter"];
const CLOCK_FOLDER: &str = "/sys/devices/system/clocksource/clocksource0";
const PAGES_FILE: &str = "/sys/kernel/mm/transparent_hugepage/enabled";

pub(super) fn look(view: &View<'_>) -> Vec<Finding> {
    let mut found = governor(view);
    found.extend(sleep(view));
    found.extend(isolation(view));
    found.push(clock(view));
    found.push(pages(view));
    found
}

fn set(path: String, value: &str, before: &str) -> State {
    let (value, before) = (value.to_owned(), before.to_owned());
    State::Change { change: Change::Write { path, value, before } }
}

fn governor(view: &View<'_>) -> Vec<Finding> {
    let mut found = Vec::new();
    for core in &view.cores {
        let path = format!("/sys/devices/system/cpu/cpu{core}/cpufreq/scaling_governor");
        let Some(governor) = view.host.read(&path) else { continue };
        let state = match governor.as_str() {
            "performance" => State::Good,
            before => set(path, "performance", before),
        };
        found.push(GOVERNOR.at(format!("core {core}"), (governor, "performance"), state));
    }
    if found.is_empty() {
        let cause = "no cpufreq here: firmware or hypervisor decides";
        found.push(GOVERNOR.absent("cores", "performance", cause));
    }
    found
}

fn sleep(view: &View<'_>) -> Vec<Finding> {
    let mut found = Vec::new();
    for core in &view.cores {
        let folder = format!("/sys/devices/system/cpu/cpu{core}/cpuidle");
        for state in view.host.list(&folder).iter().filter(|name| name.starts_with("state")) {
            let read = |file: &str| view.host.read(&format!("{folder}/{state}/{file}"));
            let latency = read("latency").and_then(|text| text.parse::<u64>().ok());
            let (Some(latency), Some(disabled)) = (latency, read("disable")) else { continue };
            if latency <= LATENCY_MAX_US {
                continue;
            }
            let name = read("name").unwrap_or_default();
            let path = format!("{folder}/{state}/disable");
            let state = if disabled == "1" { State::Good } else { set(path, "1", &disabled) };
            let place = format!("core {core} state {name}, {latency} us to wake: disable");
            found.push(SLEEP.at(place, (disabled, "1"), state));
        }
    }
    if found.is_empty() {
        let cause = format!("no state takes longer than {LATENCY_MAX_US} us to leave");
        found.push(SLEEP.absent("cores", "disabled", cause));
    }
    found
}

fn isolation(view: &View<'_>) -> Vec<Finding> {
    let online = view.host.read("/sys/devices/system/cpu/online");
    let online = online.and_then(|list| cpus::parse(&list)).unwrap_or_default();
    let wanted = cpus::show(&view.cores);
    if online.is_empty() || view.cores.is_empty() {
        let cause = "the cores are not known";
        return vec![ISOLATION.absent("isolated, nohz_full", wanted, cause)];
    }
    let leaves_none = online.iter().all(|core| view.cores.contains(core));
    ["isolated", "nohz_full"]
        .map(|file| {
            let text = view.host.read(&format!("/sys/devices/system/cpu/{file}"));
            let set = text.as_deref().and_then(cpus::parse).unwrap_or_default();
            let found = if set.is_empty() { "none".to_owned() } else { cpus::show(&set) };
            let state = if view.cores.iter().all(|core| set.contains(core)) {
                State::Good
            } else if leaves_none {
                let cause = "shards run on every core: leave one to the rest of the host with \
                             [node] cores, then isolate the others";
                State::Absent { cause: cause.to_owned() }
            } else {
                let advice = format!(
                    "boot with isolcpus=domain,managed_irq,{wanted} nohz_full={wanted} \
                     rcu_nocbs={wanted}"
                );
                State::ByHand { advice }
            };
            ISOLATION.at(file, (found, wanted.clone()), state)
        })
        .to_vec()
}

fn clock(view: &View<'_>) -> Finding {
    let path = format!("{CLOCK_FOLDER}/current_clocksource");
    let Some(found) = view.host.read(&path) else {
        return CLOCK.absent("clock source", "tsc", format!("no {path}"));
    };
    let available = view.host.read(&format!("{CLOCK_FOLDER}/available_clocksource"));
    let available = available.unwrap_or_default();
    let cheap = CHEAP.iter().find(|name| available.split_whitespace().any(|word| word == **name));
    let state = match cheap {
        _ if CHEAP.contains(&found.as_str()) => State::Good,
        Some(cheap) => set(path, cheap, &found),
        None => State::ByHand {
            advice: "the kernel found none better: see why in `dmesg | grep -i tsc`".to_owned(),
        },
    };
    CLOCK.at("clock source", (found, "tsc, or the hypervisor's page"), state)
}

fn pages(view: &View<'_>) -> Finding {
    let Some(text) = view.host.read(PAGES_FILE) else {
        return PAGES.absent("transparent huge pages", "madvise", "the kernel has none");
    };
    let chosen = text.split_once('[').and_then(|(_, rest)| rest.split_once(']'));
    let found = chosen.map_or(text.as_str(), |(word, _)| word).to_owned();
    let state = match found.as_str() {
        "madvise" | "never" => State::Good,
        before => set(PAGES_FILE.to_owned(), "madvise", before),
    };
    PAGES.at("transparent huge pages", (found, "madvise or never"), state)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::host::testing::Folder;
    use crate::knobs::Plan;

    const CPU: &str = "sys/devices/system/cpu";

    fn look_at(folder: &Folder, cores: &[usize]) -> Vec<Finding> {
        let (host, plan) = (folder.host(), Plan { cores: cores.to_vec(), ..Plan::default() });
        look(&View::of(&host, &plan))
    }

    fn of<'a>(found: &'a [Finding], knob: &str) -> Vec<&'a Finding> {
        found.iter().filter(|one| one.knob == knob).collect()
    }

    #[test]
    fn cores_of_shards_stay_fast_and_awake() {
        let folder = Folder::new();
        for core in 0..2 {
            folder.set(&format!("{CPU}/cpu{core}/cpufreq/scaling_governor"), "powersave");
            for (state, latency) in [(0, "0"), (1, "2"), (2, "133")] {
                let place = format!("{CPU}/cpu{core}/cpuidle/state{state}");
                folder.set(&format!("{place}/latency"), latency);
                folder.set(&format!("{place}/disable"), "0");
                folder.set(&format!("{place}/name"), "C");
            }
        }
        let found = look_at(&folder, &[1]);
        let (governor, sleep) = (of(&found, "governor"), of(&found, "c-states"));
        assert_eq!((governor.len(), sleep.len()), (1, 1), "core 1 only, its slow state only");
        assert!(governor[0].differs() && sleep[0].differs());
        let host = folder.host();
        for one in [governor[0], sleep[0]] {
            one.change().expect("a change").make(&host).expect("made");
        }
        assert_eq!(folder.get(&format!("{CPU}/cpu1/cpufreq/scaling_governor")), "performance");
        assert_eq!(folder.get(&format!("{CPU}/cpu1/cpuidle/state2/disable")), "1");
        assert!(look_at(&folder, &[1]).iter().all(|one| !one.differs()));
    }

    #[test]
    fn isolation_is_advised_for_some_cores_and_not_for_all() {
        let folder = Folder::new().with(&[
            (&format!("{CPU}/online"), "0-3"),
            (&format!("{CPU}/isolated"), "2-3"),
            (&format!("{CPU}/nohz_full"), "(null)"),
        ]);
        let found = look_at(&folder, &[2, 3]);
        let isolation = of(&found, "isolation");
        assert_eq!(isolation[0].state, State::Good);
        let State::ByHand { advice } = &isolation[1].state else { panic!("{isolation:?}") };
        assert!(advice.contains("nohz_full=2-3"), "{advice}");
        let found = look_at(&folder, &[0, 1, 2, 3]);
        assert!(of(&found, "isolation").iter().all(|one| !one.differs()));
    }

    #[test]
    fn a_slow_clock_is_changed_when_there_is_a_better_one() {
        for (current, available, differs, changes) in [
            ("tsc", "tsc hpet", false, false),
            ("hpet", "tsc hpet acpi_pm", true, true),
            ("hpet", "hpet acpi_pm", true, false),
        ] {
            let folder = Folder::new().with(&[
                (&format!("{CLOCK_FOLDER}/current_clocksource"), current),
                (&format!("{CLOCK_FOLDER}/available_clocksource"), available),
            ]);
            let found = look_at(&folder, &[0]);
            let clock = of(&found, "clock-source")[0];
            assert_eq!((clock.differs(), clock.change().is_some()), (differs, changes));
        }
    }

    #[test]
    fn huge_pages_are_for_those_who_ask() {
        let folder = Folder::new().with(&[(PAGES_FILE, "[always] madvise never")]);
        let found = look_at(&folder, &[0]);
        let pages = of(&found, "huge-pages")[0];
        assert_eq!((pages.found.as_str(), pages.differs()), ("always", true));
        folder.set(PAGES_FILE, "always [madvise] never");
        assert!(!of(&look_at(&folder, &[0]), "huge-pages")[0].differs());
    }
}
