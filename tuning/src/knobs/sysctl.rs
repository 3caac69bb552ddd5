//! The kernel's settings in /proc/sys, as `tuning/sysctl.d/90-strowger.conf` says.
//!
//! For: one list for the boot and for this program, reasons included.
//! Not here: what is set per interface or core (`nic.rs`, `cpu.rs`).

use super::{NAMES, View};
use crate::change::Change;
use crate::finding::{Finding, State};

const FILE: &str = include_str!("../../sysctl.d/90-strowger.conf");

/// How a value that is found there is compared.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Compare {
    AtLeast,
    Exactly,
}

/// One line of the file with what its block says.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Setting {
    knob: &'static str,
    why: String,
    effect: String,
    compare: Compare,
    key: &'static str,
    value: &'static str,
}

/// The file's settings.
fn settings() -> Vec<Setting> {
    FILE.split("\n\n").flat_map(block).collect()
}

/// The settings of one block: comments with what they share, then the lines.
fn block(text: &'static str) -> Vec<Setting> {
    let comments: Vec<&str> = text.lines().filter_map(|line| line.strip_prefix("# ")).collect();
    let part = |name: &str| -> Option<String> {
        let start = comments.iter().position(|line| line.starts_with(name))?;
        let more = comments[start + 1..].iter().take_while(|line| line.starts_with("  "));
        let first = comments[start][name.len()..].trim();
        let lines = std::iter::once(first).chain(more.map(|line| line.trim()));
        Some(lines.collect::<Vec<_>>().join(" ").trim_end_matches('.').to_owned())
    };
    let Some(knob) = part("Knob:") else { return Vec::new() };
    let Some(knob) = NAMES.iter().find(|name| **name == knob) else { return Vec::new() };
    let compare = match part("Compare:").as_deref() {
        Some("at least") => Compare::AtLeast,
        Some(_) | None => Compare::Exactly,
    };
    let (why, effect) = (part("Why:").unwrap_or_default(), part("Effect:").unwrap_or_default());
    let lines = text.lines().filter(|line| !line.starts_with('#'));
    lines
        .filter_map(|line| line.split_once(" = "))
        .map(|(key, value)| Setting {
            knob,
            why: why.clone(),
            effect: effect.clone(),
            compare,
            key,
            value,
        })
        .collect()
}

pub(super) fn look(view: &View<'_>) -> Vec<Finding> {
    settings().into_iter().map(|setting| setting.look(view)).collect()
}

impl Setting {
    fn look(self, view: &View<'_>) -> Finding {
        let path = format!("/proc/sys/{}", self.key.replace('.', "/"));
        let found = view.host.read(&path);
        let wanted = match self.compare {
            Compare::AtLeast => format!("at least {}", self.value),
            Compare::Exactly => self.value.to_owned(),
        };
        let state = match &found {
            None => State::Absent { cause: format!("no {path} here") },
            Some(found) if self.is_good(found) => State::Good,
            Some(found) => State::Change {
                change: Change::Write { path, value: self.value.to_owned(), before: found.clone() },
            },
        };
        let Setting { knob, why, effect, key, .. } = self;
        let found = found.unwrap_or_else(|| "nothing".to_owned());
        Finding { knob, place: key.to_owned(), found, wanted, why, effect, state }
    }

    fn is_good(&self, found: &str) -> bool {
        match (self.compare, found.parse::<u64>(), self.value.parse::<u64>()) {
            (Compare::AtLeast, Ok(found), Ok(wanted)) => found >= wanted,
            (Compare::AtLeast | Compare::Exactly, _, _) => found == self.value,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::host::testing::Folder;
    use crate::knobs::Plan;

    #[test]
    fn every_setting_of_the_file_is_read_with_its_reasons() {
        let read = settings();
        let lines = FILE.lines().filter(|line| line.contains(" = ") && !line.starts_with('#'));
        assert_eq!(read.len(), lines.count());
        for setting in &read {
            assert!(!setting.why.is_empty() && !setting.effect.is_empty(), "{setting:?}");
            let said = ["measured: ", "cited: ", "not a matter"];
            assert!(said.iter().any(|word| setting.effect.starts_with(word)), "{setting:?}");
        }
    }

    #[test]
    fn more_is_as_good_where_at_least_is_wanted() {
        let folder = Folder::new().with(&[
            ("proc/sys/net/core/rmem_max", "16777216"),
            ("proc/sys/net/core/wmem_max", "212992"),
            ("proc/sys/net/core/rps_sock_flow_entries", "32768"),
        ]);
        let (host, plan) = (folder.host(), Plan::default());
        let found = look(&View::of(&host, &plan));
        let of = |key: &str| found.iter().find(|one| one.place == key).expect("there").clone();
        assert_eq!(of("net.core.rmem_max").state, State::Good);
        let change = Change::Write {
            path: "/proc/sys/net/core/wmem_max".into(),
            value: "4194304".into(),
            before: "212992".into(),
        };
        assert_eq!(of("net.core.wmem_max").change(), Some(&change));
        assert!(of("net.core.rps_sock_flow_entries").differs());
        assert!(!of("net.core.busy_poll").differs(), "what is not there cannot be set");
    }
}
