//! `[tm]`, `[rr]`, `[overload]`: the engine's settings under the names of Kamailio's modules.
//!
//! For: reading them; times are milliseconds, as there, or say their unit.
//! Not here: what they do (`core/sip/src/transaction/timer.rs`, `core/sip/src/engine/mod.rs`).

use std::ops::RangeInclusive;
use strowger_sip::blocklist::BlocklistRules;
use strowger_sip::engine::Settings;
use strowger_sip::rules::{OverloadRules, RecordRoute, Rules};
use strowger_sip::settings::{Section, Unit, show_duration};
use strowger_sip::time::{Duration, ms, secs};
use strowger_sip::transaction::{TimerFault, TimerSettings};

/// Transactions of one shard at most; each lingers with about a kilobyte.
const TRANSACTIONS_MAX: u64 = 1 << 24;

/// Reads `[tm]`, `[rr]` and `[overload]`.
pub(crate) fn read(root: &mut Section<'_>) -> Settings {
    let mut settings = read_tm(&mut root.section("tm"));
    settings.rules.record_route = RecordRoute::read(&mut root.section("rr"));
    settings.overload = OverloadRules::read(&mut root.section("overload"));
    settings
}

fn read_tm(section: &mut Section<'_>) -> Settings {
    let default = Settings::default();
    let timers = read_timers(section, default.timers.settings());
    let timers = timers.check().unwrap_or_else(|faults| {
        report(section, &faults);
        default.timers
    });
    let mut count = |key, default: usize| {
        let number = section.integer_if_set(key, 1..=TRANSACTIONS_MAX);
        number.and_then(|number| usize::try_from(number).ok()).unwrap_or(default)
    };
    let transactions_max = count("max_transactions", default.transactions_max);
    let transactions_reserved = count("reserved_transactions", default.transactions_reserved);
    let lifetime = ms(1)..=secs(86_400);
    Settings {
        timers,
        transactions_max,
        transactions_reserved: transactions_reserved.min(transactions_max),
        max_inv_lifetime: time(section, "max_inv_lifetime", &lifetime)
            .unwrap_or(default.max_inv_lifetime),
        max_noninv_lifetime: time(section, "max_noninv_lifetime", &lifetime)
            .unwrap_or(default.max_noninv_lifetime),
        rules: Rules::read(section),
        blocklist: BlocklistRules::read(section),
        ..default
    }
}

fn read_timers(section: &mut Section<'_>, default: TimerSettings) -> TimerSettings {
    let any = ms(1)..=secs(3600);
    let mut timers = default;
    if let Some(t1) = time(section, "retr_timer1", &any) {
        timers.t1 = t1;
    }
    if let Some(t2) = time(section, "retr_timer2", &any) {
        timers.t2 = t2;
        timers.timer_a_longest = t2;
    }
    if let Some(span) = time(section, "fr_timer", &any) {
        timers.no_response = span;
        timers.no_ack = span;
    }
    if let Some(span) = time(section, "fr_inv_timer", &any) {
        timers.ringing = span;
    }
    if let Some(span) = time(section, "wt_timer", &any) {
        timers.timer_d = span;
        timers.linger = span;
        timers.late = span;
    }
    timers
}

fn time(
    section: &mut Section<'_>,
    key: &'static str,
    allowed: &RangeInclusive<Duration>,
) -> Option<Duration> {
    section.duration_if_set(key, allowed.clone(), Unit::Milliseconds)
}

/// Values that are fine by themselves and not beside the others. A default that a written value has
/// made wrong is not reported: the written one is.
fn report(section: &mut Section<'_>, faults: &[TimerFault]) {
    let mut told = "";
    for fault in faults {
        let key = match fault.setting {
            "t1" => "retr_timer1",
            "t2" | "timer_a_longest" => "retr_timer2",
            "no_response" | "no_ack" => "fr_timer",
            "ringing" => "fr_inv_timer",
            _ => "wt_timer",
        };
        if key == told || !section.is_set(key) {
            continue;
        }
        told = key;
        let what = format!("{} is out of range beside the others", show_duration(fault.value));
        let (least, most) = (show_duration(fault.least), show_duration(fault.most));
        section.problem(key, what, &format!("\"{least}\" to \"{most}\""));
    }
    if told.is_empty() {
        section.problem("retr_timer1", "the timers contradict each other", "retr_timer1 the least");
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use strowger_node::config;

    fn read_text(text: &str) -> (Settings, String) {
        let (configuration, problems) = config::parse("t.toml", text);
        assert!(problems.is_empty(), "{problems}");
        let (settings, problems) = configuration.read(read);
        (settings, problems.to_string())
    }

    #[test]
    fn kamailios_names_and_milliseconds() {
        let (settings, problems) = read_text(
            "[tm]\nretr_timer1 = 100\nretr_timer2 = \"2s\"\nfr_timer = 5000\n\
             fr_inv_timer = \"2m\"\n\
             wt_timer = 1000\nmax_transactions = 500\nmax_inv_lifetime = \"3m\"\n",
        );
        assert_eq!(problems, "");
        let timers = settings.timers.settings();
        assert_eq!((timers.t1, timers.t2, timers.no_response), (ms(100), secs(2), secs(5)));
        assert_eq!((timers.ringing, timers.linger), (secs(120), secs(1)));
        assert_eq!((settings.transactions_max, settings.transactions_reserved), (500, 500));
        assert_eq!(settings.max_inv_lifetime, secs(180));
    }

    #[test]
    fn timers_that_contradict_each_other_are_reported() {
        let (_, problems) = read_text("[tm]\nretr_timer1 = \"5s\"\nfr_tmer = 1\n");
        let lines: Vec<&str> = problems.lines().collect();
        assert!(lines[0].starts_with("t.toml:2: tm.retr_timer1: 5s is out of range"), "{problems}");
        assert!(lines.last().is_some_and(|line| line.contains("did you mean \"fr_timer\"?")));
    }
}
