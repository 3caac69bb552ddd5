//! Connection tracking, which SIP has no use for: each datagram costs a look-up, and a table that
//! is full drops calls.
//!
//! For: finding out whether the node's ports are tracked, and a rule that exempts them.
//! Not here: firewalls; rules that track other ports stay as they are.

use super::{About, View};
use crate::change::Change;
use crate::finding::{Finding, State};

const ABOUT: About = About {
    knob: "conntrack",
    why: "a tracked datagram costs a look-up in a table that all cores share, and when the table \
          is full (nf_conntrack_max) new calls are dropped by the kernel, unanswered",
    effect: "measured on loopback: 3.7 us for a datagram without rules, 4.2 tracked, 4.3 exempt: \
             the rule saves the table and its lock, not time. Fastest is no rule that tracks",
};
/// The table of our own, so that undoing it touches nobody's rules.
const TABLE: &str = "strowger_notrack";
const COUNT: &str = "/proc/sys/net/netfilter/nf_conntrack_count";
const LEGACY: &[&str] = &["/proc/net/ip_tables_names", "/proc/net/ip6_tables_names"];

pub(super) fn look(view: &View<'_>) -> Vec<Finding> {
    let ports = ports(view.ports);
    let place = format!("udp port {ports}");
    let Some(count) = view.host.read(COUNT) else {
        let good = ("not loaded", "not tracked");
        return vec![ABOUT.at(place, good, State::Good)];
    };
    let rules = match view.host.tool("nft", &["list", "ruleset"]) {
        Ok(rules) => rules,
        Err(cause) => {
            return vec![ABOUT.absent(place, "not tracked", format!("{cause}: rules not read"))];
        }
    };
    let legacy = LEGACY.iter().filter_map(|path| view.host.read(path));
    let is_legacy = legacy.into_iter().any(|names| names.lines().any(|name| name == "nat"));
    let exempt = view.ports.iter().all(|port| is_exempt(&rules, *port));
    if exempt || !(tracks(&rules) || is_legacy) {
        let found = if exempt { "exempt" } else { "no rule tracks anything" };
        return vec![ABOUT.at(place, (found, "not tracked"), State::Good)];
    }
    let found = format!("tracked, {count} entries");
    let change = Change::Run { command: exempting(&ports), undo: forgetting() };
    vec![ABOUT.at(place, (found, "not tracked"), State::Change { change })]
}

/// Whether any rule needs connections to be tracked.
fn tracks(rules: &str) -> bool {
    let needs = |line: &str| {
        let words: Vec<&str> = line.split_whitespace().collect();
        words.iter().any(|word| matches!(*word, "ct" | "snat" | "dnat" | "masquerade" | "redirect"))
    };
    rules.lines().any(needs)
}

/// Whether datagrams to and from this port are exempt.
fn is_exempt(rules: &str, port: u16) -> bool {
    let port = port.to_string();
    let exempts = |side: &str| {
        rules
            .lines()
            .filter(|line| line.contains("notrack") && line.contains(side))
            .any(|line| line.split(|c: char| !c.is_ascii_digit()).any(|number| number == port))
    };
    exempts("udp dport") && exempts("udp sport")
}

fn ports(list: &[u16]) -> String {
    list.iter().map(u16::to_string).collect::<Vec<_>>().join(", ")
}

/// What comes in to the ports and what goes out from them, before tracking sees it (raw).
fn exempting(ports: &str) -> Vec<String> {
    let chain = |name: &str, hook: &str| {
        format!("chain {name} {{ type filter hook {hook} priority raw; policy accept; ")
    };
    let (come, go) = (chain("come", "prerouting"), chain("go", "output"));
    let rules = format!(
        "table inet {TABLE} {{ \
         {come} udp dport {{ {ports} }} notrack; udp sport {{ {ports} }} notrack; }}; \
         {go} udp sport {{ {ports} }} notrack; udp dport {{ {ports} }} notrack; }}; }}"
    );
    vec!["nft".to_owned(), rules]
}

fn forgetting() -> Vec<String> {
    ["nft", "delete", "table", "inet", TABLE].map(str::to_owned).to_vec()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::host::testing::Folder;
    use crate::knobs::Plan;

    const STATEFUL: &str =
        "table inet filter {\n chain input {\n  ct state established accept\n }\n}";

    fn look_at(count: Option<&str>, rules: &str) -> Finding {
        let folder = Folder::new().with_tool("nft", &format!("cat <<'.'\n{rules}\n.\n"));
        if let Some(count) = count {
            folder.set(COUNT, count);
        }
        let (host, plan) = (folder.host(), Plan::default());
        look(&View::of(&host, &plan)).remove(0)
    }

    #[test]
    fn tracked_ports_are_exempted_by_a_table_of_our_own() {
        let found = look_at(Some("17"), STATEFUL);
        assert_eq!(found.found, "tracked, 17 entries");
        let change = found.change().expect("a change").to_string();
        assert!(change.contains("udp dport { 5060 } notrack"), "{change}");
    }

    #[test]
    fn what_tracks_nothing_or_exempts_the_port_is_good() {
        assert_eq!(look_at(None, STATEFUL).state, State::Good);
        assert_eq!(look_at(Some("0"), "").state, State::Good);
        let exempt = format!(
            "{STATEFUL}\ntable inet x {{\n udp dport {{ 5060, 5080 }} notrack\n \
             udp sport 5060 notrack\n}}"
        );
        assert_eq!(look_at(Some("1"), &exempt).state, State::Good);
        let other = exempt.replace("5060", "506");
        assert!(look_at(Some("1"), &other).differs());
    }
}
