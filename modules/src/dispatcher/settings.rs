//! Reading `[dispatcher]`.
//!
//! For: Kamailio's parameters by their names, `[[dispatcher.destination]]`, and `list`, a text in
//! the form of Kamailio's list file. The file itself (`list_file`) is read by the edge.

use super::codes::Codes;
use super::destination::{Attributes, Destination, State};
use super::health::{ProbingMode, Thresholds};
use super::list::{DESTINATIONS_MAX, parse_list};
use strowger_sip::message::{Method, Uri};
use strowger_sip::settings::{Section, Unit};
use strowger_sip::time::{Duration, secs};

/// What `[dispatcher]` says.
#[derive(Clone, Debug)]
pub struct Settings {
    /// `[[dispatcher.destination]]` and `list`, together.
    pub destinations: Vec<Destination>,
    /// `list_file`: for the edge, which reads it at start and for `dispatcher.reload`.
    pub list_file: Option<String>,
    /// `flags`, bit 1: only the user part of URIs is hashed. (Bit 2, keeping a list to fail over
    /// to, is how it always is here.)
    pub hash_user_only: bool,
    /// `use_default`: the last destination of a set is for when no other is usable.
    pub use_default: bool,
    /// `failover_codes`: final responses after which the next destination is tried.
    pub failover_codes: Codes,
    /// `reload_delta`: reloads come no closer than this.
    pub reload_delta: Duration,
    /// How destinations are probed.
    pub ping: Ping,
    /// How calls are counted.
    pub load: Load,
}

/// How destinations are probed.
#[derive(Clone, Debug)]
pub struct Ping {
    /// `ds_ping_interval`; `None` for no probes.
    pub interval: Option<Duration>,
    /// `ds_ping_method`
    pub method: String,
    /// `ds_ping_from`
    pub from: String,
    /// `ds_ping_reply_codes`, beside 2xx.
    pub reply_codes: Codes,
    /// `ds_probing_mode`
    pub mode: ProbingMode,
    /// `ds_probing_threshold` and `ds_inactive_threshold`
    pub thresholds: Thresholds,
    /// `ds_ping_latency_stats`
    pub latency_stats: bool,
    /// `ds_latency_estimator_alpha`, in thousandths.
    pub latency_alpha: u32,
}

/// How calls are counted, for the least-load algorithm.
#[derive(Clone, Copy, Debug)]
pub struct Load {
    /// `ds_hash_size`: the power of two of the most calls that a shard counts; 0 for none. On by
    /// default, unlike Kamailio's: calls cost something only where the algorithm is used.
    pub calls_max: usize,
    /// `ds_hash_initexpire`: a call without an answer is forgotten after that.
    pub initial_expire: Duration,
    /// `ds_hash_expire`: any call is.
    pub expire: Duration,
    /// `ds_hash_check_interval`: how often to look.
    pub check_interval: Duration,
}

impl Default for Settings {
    fn default() -> Settings {
        let class5 = Codes::parse("class=5").unwrap_or_default();
        Settings {
            destinations: Vec::new(),
            list_file: None,
            hash_user_only: false,
            use_default: false,
            failover_codes: class5,
            reload_delta: secs(5),
            ping: Ping {
                interval: None,
                method: "OPTIONS".to_owned(),
                from: "sip:dispatcher@localhost".to_owned(),
                reply_codes: Codes::default(),
                mode: ProbingMode::UntilAnswered,
                thresholds: Thresholds { failures: 1, successes: 1 },
                latency_stats: false,
                latency_alpha: 900,
            },
            load: Load {
                calls_max: 1 << 16,
                initial_expire: secs(7200),
                expire: secs(7200),
                check_interval: secs(30),
            },
        }
    }
}

impl Settings {
    /// Reads the section; problems are reported through it.
    pub fn from_section(section: &mut Section<'_>) -> Settings {
        let default = Settings::default();
        let delta = secs(0)..=secs(86_400);
        Settings {
            destinations: destinations(section),
            list_file: list_file(section),
            hash_user_only: section.integer("flags", 2, 0..=3) & 1 != 0,
            use_default: section.boolean("use_default", false),
            failover_codes: section
                .parsed("failover_codes", Codes::parse)
                .unwrap_or(default.failover_codes),
            reload_delta: section.duration("reload_delta", secs(5), delta, Unit::Seconds),
            ping: ping(section, default.ping),
            load: load(section, default.load),
        }
    }
}

/// Read by the edge, which asks for the same key.
fn list_file(section: &mut Section<'_>) -> Option<String> {
    let _ = super::row::lists(section);
    section.string("list_file")
}

fn ping(section: &mut Section<'_>, default: Ping) -> Ping {
    let span = Duration::ZERO..=secs(86_400);
    let interval = section.duration("ds_ping_interval", Duration::ZERO, span, Unit::Seconds);
    let modes =
        [ProbingMode::UntilAnswered, ProbingMode::All, ProbingMode::Inactive, ProbingMode::Flagged];
    let mode = usize::try_from(section.integer("ds_probing_mode", 0, 0..=3)).unwrap_or(0);
    let mut threshold = |key| {
        let count = section.integer(key, 1, 1..=1000);
        u32::try_from(count).unwrap_or(1)
    };
    let failures = threshold("ds_probing_threshold");
    let successes = threshold("ds_inactive_threshold");
    let alpha = section.integer("ds_latency_estimator_alpha", 900, 0..=1000);
    Ping {
        interval: (interval > Duration::ZERO).then_some(interval),
        method: section.parsed("ds_ping_method", method).unwrap_or(default.method),
        from: section.parsed("ds_ping_from", sip_uri).unwrap_or(default.from),
        reply_codes: section.parsed("ds_ping_reply_codes", Codes::parse).unwrap_or_default(),
        mode: modes.get(mode).copied().unwrap_or(default.mode),
        thresholds: Thresholds { failures, successes },
        latency_stats: section.boolean("ds_ping_latency_stats", default.latency_stats),
        latency_alpha: u32::try_from(alpha).unwrap_or(default.latency_alpha),
    }
}

fn load(section: &mut Section<'_>, default: Load) -> Load {
    let mut span =
        |key, default| section.duration(key, default, secs(1)..=secs(7 * 86_400), Unit::Seconds);
    let initial_expire = span("ds_hash_initexpire", default.initial_expire);
    let expire = span("ds_hash_expire", default.expire);
    let check_interval = span("ds_hash_check_interval", default.check_interval);
    let calls_max = match section.integer("ds_hash_size", 16, 0..=24) {
        0 => 0,
        bits => 1usize << bits,
    };
    Load { calls_max, initial_expire, expire, check_interval }
}

/// A method whose requests need no more than a header: not INVITE, which would ring.
fn method(text: &str) -> Result<String, String> {
    let token = text.bytes().all(|byte| byte.is_ascii_uppercase());
    let rings = matches!(
        Method::from_bytes(text.as_bytes()),
        Method::Invite | Method::Ack | Method::Cancel | Method::Bye
    );
    if token && !text.is_empty() && text.len() <= 32 && !rings {
        Ok(text.to_owned())
    } else {
        Err("a method such as \"OPTIONS\", not INVITE, ACK, CANCEL, BYE".to_owned())
    }
}

fn sip_uri(text: &str) -> Result<String, String> {
    let usable = Uri::parse(text.as_bytes()).is_ok_and(|uri| uri.scheme.is_sip());
    usable.then(|| text.to_owned()).ok_or_else(|| "a SIP URI".to_owned())
}

fn destinations(section: &mut Section<'_>) -> Vec<Destination> {
    let rows = section.sections("destination", destination);
    let mut list: Vec<Destination> = rows.into_iter().flatten().collect();
    if let Some(text) = section.text("list") {
        match parse_list(&text.value) {
            Ok(more) => list.extend(more.into_iter().map(|(_, row)| row)),
            Err(problems) => {
                for (line, problem) in problems {
                    let allowed = "setid uri [flags [priority [attrs]]]";
                    let what = format!("line {line}: {problem}");
                    section.problem_at(text.place, "list", what, allowed);
                }
            }
        }
    }
    if list.len() > DESTINATIONS_MAX {
        let most = format!("{DESTINATIONS_MAX} destinations");
        section.problem("destination", "too many destinations", &most);
        list.truncate(DESTINATIONS_MAX);
    }
    let mut ids: Vec<_> = list.iter().map(|row| (row.id(), row)).collect();
    ids.sort_by_key(|(id, _)| *id);
    for pair in ids.windows(2) {
        if let [(one, row), (two, _)] = pair
            && one == two
        {
            let what = format!("set {}: {:?} is listed twice", row.set.0, row.uri);
            section.problem("destination", what, "one row for each URI or duid of a set");
        }
    }
    list
}

fn destination(row: &mut Section<'_>) -> Option<Destination> {
    let set = row.integer("set", 1, 0..=u64::from(u32::MAX));
    let set = u32::try_from(set).unwrap_or(u32::MAX);
    if !row.is_set("uri") {
        row.problem("uri", "missing", "a SIP URI");
    }
    let made = row.parsed("uri", |text| {
        Destination::new(set, text).map_err(|_| "a SIP URI of at most 192 bytes".to_owned())
    });
    let flags = u8::try_from(row.integer("flags", 0, 0..=63)).unwrap_or(0);
    // TOML's integers have a sign, the reader's ranges have not: a priority may be written as text.
    let priority = match row.is_set("priority") {
        true => row.integer_if_set("priority", 0..=i32::MAX as u64),
        false => Some(0),
    };
    let has_attrs = row.is_set("attrs");
    let attributes = row.parsed("attrs", Attributes::parse);
    // Kept for the operator, as the table's column is.
    let _ = row.string("description");
    Some(Destination {
        state: State::from_bits(flags),
        priority: i32::try_from(priority?).unwrap_or(i32::MAX),
        attributes: if has_attrs { attributes? } else { Attributes::default() },
        ..made?
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use strowger_sip::settings::{Configuration, Entry, Place, Table, Value};

    fn text(value: &str) -> Value {
        Value::String(value.to_owned())
    }

    fn row(entries: &[(&str, Value)]) -> (Place, Value) {
        let entry = |(key, value): &(&str, Value)| Entry {
            key: (*key).to_owned(),
            place: Place::Line(7),
            value: value.clone(),
        };
        let entries = entries.iter().map(entry).collect();
        (Place::Line(6), Value::Table(Table { place: Place::Line(6), entries }))
    }

    fn read(entries: &[(&'static str, Value)]) -> (Settings, String) {
        let mut configuration = Configuration::empty("test.toml");
        for (line, (key, value)) in (2..).zip(entries) {
            configuration.set("dispatcher", key, Place::Line(line), value.clone());
        }
        let (settings, problems) =
            configuration.read(|root| Settings::from_section(&mut root.section("dispatcher")));
        (settings, problems.to_string())
    }

    #[test]
    fn destinations_come_as_sections_and_as_text() {
        let one = row(&[
            ("set", Value::Integer(2)),
            ("uri", text("sip:192.0.2.1")),
            ("priority", Value::Integer(5)),
            ("flags", Value::Integer(8)),
            ("attrs", text("weight=50;duid=a")),
        ]);
        let (settings, problems) = read(&[
            ("destination", Value::List(vec![one])),
            ("list", text("1 sip:192.0.2.2 0 7\n")),
            ("ds_ping_interval", Value::Integer(10)),
            ("ds_probing_mode", Value::Integer(1)),
        ]);
        assert_eq!(problems, "");
        let shown: Vec<String> = settings
            .destinations
            .iter()
            .map(|row| format!("{} {} {} {}", row.set.0, row.uri, row.state, row.priority))
            .collect();
        assert_eq!(shown, ["2 sip:192.0.2.1 AP 5", "1 sip:192.0.2.2 AX 7"]);
        assert_eq!(settings.ping.interval, Some(secs(10)));
        assert_eq!(settings.ping.mode, ProbingMode::All);
    }

    #[test]
    fn all_problems_are_reported() {
        let list = vec![
            row(&[("uri", text("tel:+39"))]),
            row(&[]),
            row(&[("uri", text("sip:a")), ("attrs", text("weight=x"))]),
            row(&[("uri", text("sip:b"))]),
            row(&[("uri", text("sip:b"))]),
        ];
        let (_, problems) = read(&[
            ("destination", Value::List(list)),
            ("list", text("1 nothing\nx sip:a\n")),
            ("ds_ping_method", text("INVITE")),
            ("ds_ping_reply_codes", text("200")),
            ("ds_probing_mode", Value::Integer(4)),
        ]);
        assert_eq!(problems.lines().count(), 9, "{problems}");
    }
}
