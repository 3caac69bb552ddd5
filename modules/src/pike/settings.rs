//! Reading `[pike]`.

use crate::permissions::Prefix;
use strowger_sip::settings::{Section, Unit};
use strowger_sip::time::{Duration, ms, secs};

/// Most sources that a shard may be told to remember: 256 MiB.
const SOURCES_MAX: u64 = 1 << 22;

/// What happens to the requests of a blocked source.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    /// They are dropped: the source cannot tell, nothing is kept, nothing is sent to a forged
    /// address.
    Drop,
    /// They get 503 with Retry-After, in a transaction like any other.
    Refuse,
}

/// What `[pike]` says; pike is off without it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// `sampling_time_unit`: the length of a window.
    pub sampling_time_unit: Duration,
    /// `reqs_density_per_unit`: a source that sends as many in a window is blocked.
    pub reqs_density_per_unit: u32,
    /// `remove_latency`: a source is forgotten when it has sent nothing for as long.
    pub remove_latency: Duration,
    /// `action`: `drop` or `503`.
    pub action: Action,
    /// `retry_after`: what 503 says, in seconds.
    pub retry_after_seconds: u32,
    /// `automatic`: every request is counted before the routing sees it; without it, the routing
    /// asks.
    pub automatic: bool,
    /// `allow`: networks that are neither counted nor blocked.
    pub allow: Vec<Prefix>,
    /// `max_sources`: how many sources a shard remembers, 64 bytes each.
    pub sources_max: usize,
}

impl Default for Settings {
    /// Kamailio's values: 30 requests in 2 s.
    fn default() -> Settings {
        Settings {
            sampling_time_unit: secs(2),
            reqs_density_per_unit: 30,
            remove_latency: secs(120),
            action: Action::Drop,
            retry_after_seconds: 10,
            automatic: true,
            allow: Vec::new(),
            sources_max: 1 << 16,
        }
    }
}

impl Settings {
    /// Reads the section; problems are reported through it. `None`: `enabled` is not set, and
    /// nothing is counted.
    pub fn from_section(section: &mut Section<'_>) -> Option<Settings> {
        let default = Settings::default();
        let enabled = section.boolean("enabled", false);
        let unit = section.duration(
            "sampling_time_unit",
            default.sampling_time_unit,
            ms(100)..=secs(3600),
            Unit::Seconds,
        );
        let latency = section.duration(
            "remove_latency",
            default.remove_latency.max(unit),
            unit..=secs(86_400),
            Unit::Seconds,
        );
        let density = section.integer("reqs_density_per_unit", 30, 1..=1_000_000);
        let sources = section.integer("max_sources", default.sources_max as u64, 64..=SOURCES_MAX);
        let words = [("drop", Action::Drop), ("503", Action::Refuse)];
        let action = section.choice("action", default.action, &words);
        let retry_after = section.integer("retry_after", 10, 1..=86_400);
        let settings = Settings {
            sampling_time_unit: unit,
            reqs_density_per_unit: u32::try_from(density).unwrap_or(u32::MAX),
            remove_latency: latency,
            action,
            retry_after_seconds: u32::try_from(retry_after).unwrap_or(u32::MAX),
            automatic: section.boolean("automatic", true),
            allow: allow(section),
            sources_max: usize::try_from(sources).unwrap_or(default.sources_max),
        };
        enabled.then_some(settings)
    }
}

fn allow(section: &mut Section<'_>) -> Vec<Prefix> {
    let texts = section.strings("allow").unwrap_or_default();
    let mut prefixes = Vec::with_capacity(texts.len());
    for text in texts {
        match Prefix::parse(&text.value) {
            Some(prefix) => prefixes.push(prefix),
            None => {
                let what = format!("{:?} is no network", text.value);
                section.problem_at(text.place, "allow", what, "networks such as \"10.0.0.0/8\"");
            }
        }
    }
    prefixes
}

#[cfg(test)]
mod tests {
    use super::*;
    use strowger_sip::settings::{Configuration, Place, Value};

    fn read(entries: &[(&'static str, Value)]) -> (Option<Settings>, String) {
        let mut configuration = Configuration::empty("test.toml");
        for (line, (key, value)) in (2..).zip(entries) {
            configuration.set("pike", key, Place::Line(line), value.clone());
        }
        let (settings, problems) =
            configuration.read(|root| Settings::from_section(&mut root.section("pike")));
        (settings, problems.to_string())
    }

    #[test]
    fn it_is_off_unless_enabled() {
        assert!(read(&[]).0.is_none());
        let (settings, problems) = read(&[("enabled", Value::Boolean(true))]);
        assert_eq!((settings.expect("on").reqs_density_per_unit, problems.as_str()), (30, ""));
    }

    #[test]
    fn problems_are_reported_together() {
        let (_, problems) = read(&[
            ("sampling_time_unit", Value::Integer(10)),
            ("remove_latency", Value::Integer(5)),
            ("reqs_density_per_unit", Value::Integer(0)),
            ("action", Value::String("ban".into())),
            ("allow", Value::String("10.0.0.0/40".into())),
        ]);
        assert_eq!(problems.lines().count(), 4, "{problems}");
        assert!(problems.contains("\"10s\" to \"1d\""), "{problems}");
    }
}
