//! Reading `[dialog]` and `[dialog.database]`.
//!
//! For: Kamailio's parameters by their names, and Strowger's own beside them.
//! Not here: what they lead to. Parameters of Kamailio's process model are accepted with their
//! nearest meaning; a switch for something that this build has not is refused.

use super::bridge::{BridgeMode, BridgeRules};
use super::limits::{CSEQ_LIMIT, PROFILES_MAX};
use super::names::Tables;
use strowger_sip::message::{Scheme, StatusCode, Uri};
use strowger_sip::settings::{Section, Unit};
use strowger_sip::time::{Duration, secs};

/// How requests within a dialog find it (`dlg_match_mode`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MatchMode {
    /// By the cookie alone.
    Cookie,
    /// By the cookie, else by Call-ID and tags.
    CookieThenTags,
    /// By Call-ID and tags; no cookie is written into the initial INVITE.
    Tags,
}

/// When dialogs are written to storage (`db_mode`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DbMode {
    /// Never.
    None,
    /// With every change.
    Realtime,
    /// Every `db_update_period`.
    Delayed,
    /// When the node stops.
    Shutdown,
}

/// What becomes of an answered call that storage does not keep (`when_refused`, `db_mode` 1).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WhenRefused {
    /// The caller gets a 503 and the callee a BYE; new calls get a 503 at once for a while.
    Refuse,
    /// It goes on, and is written when storage is back.
    Relay,
}

/// What becomes of a 2xx with another To tag than the first one's (`extra_2xx`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Extra2xx {
    /// It is a dialog of its own.
    Track,
    /// It is ended by a BYE once the caller has acknowledged it.
    Kill,
    /// It passes, and nobody remembers it.
    Pass,
}

/// What is done with session timers, RFC 4028 (`session_timer`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SessionTimer {
    /// Nothing.
    Off,
    /// They are shown in listings.
    Observe,
    /// A session that is not refreshed ends.
    Enforce,
    /// The same, and an INVITE that asks for no session timer is made to (§8.1).
    Insert,
}

/// Keep-alives within dialogs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct KeepAlive {
    /// `ka_timer`: `None` for no keep-alives.
    pub tick: Option<Duration>,
    /// `ka_interval`
    pub interval: Option<Duration>,
    /// `ka_failed_limit`
    pub failed_limit: u8,
    /// `ka_sides`: who is asked in every call, caller and callee; a routing can ask more.
    pub sides: (bool, bool),
    /// `ka_jitter`: how much earlier or later one may go out, in hundredths of the interval.
    pub jitter_percent: u8,
}

/// `[dialog.database]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Database {
    /// `db_mode`
    pub mode: DbMode,
    /// `db_update_period`
    pub update_period: Duration,
    /// `db_skip_load`
    pub skip_load: bool,
    /// `when_refused`
    pub when_refused: WhenRefused,
    /// `table_name`, `vars_table_name` and the names of their columns.
    pub tables: Tables,
}

/// What `[dialog]` says.
#[doc = include_str!("parameters.md")]
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// `enable_stats`
    pub stats: bool,
    /// `hash_size`: how many slots the first part of a cookie counts.
    pub slots: u32,
    /// `rr_param`
    pub cookie_name: String,
    /// `cookie`: whether cookies are signed.
    pub signed_cookies: bool,
    /// `cookie_secret`: the key of signatures; else a new one at each start.
    pub cookie_secret: Option<String>,
    /// `dlg_flag`: an initial INVITE whose dialog flag of this number is set becomes a dialog by
    /// itself when it is forwarded.
    pub auto_flag: Option<u8>,
    /// `timeout_avp`: the request's variable that holds the lifetime.
    pub timeout_variable: Option<String>,
    /// `default_timeout`
    pub lifetime: Duration,
    /// `dlg_extra_hdrs`
    pub bye_headers: Vec<u8>,
    /// `lreq_callee_headers`
    pub callee_headers: Vec<u8>,
    /// `dlg_match_mode`
    pub match_mode: MatchMode,
    /// `detect_spirals`
    pub detect_spirals: bool,
    /// `initial_cbs_inscript`: `Created` is told within `manage`, else when the INVITE is
    /// forwarded.
    pub created_at_once: bool,
    /// `send_bye`
    pub send_bye: bool,
    /// `wait_ack`
    pub wait_ack: bool,
    /// `timeout_noreset`
    pub timeout_noreset: bool,
    /// `dlg_mode`: the routing moves the states by `update_state`.
    pub scripted: bool,
    /// `dlg_ctxiuid_mode`, kept for listings: a CANCEL belongs to its INVITE here anyway.
    pub context_mode: u8,
    /// `early_timeout`
    pub early_timeout: Duration,
    /// `noack_timeout`
    pub noack_timeout: Duration,
    /// `end_timeout`
    pub end_timeout: Duration,
    /// `h_id_start`
    pub id_start: u32,
    /// `h_id_step`
    pub id_step: u32,
    /// `keep_proxy_rr`
    pub keep_proxy_rr: u8,
    /// `dlg_filter_mode`: what runs out on a node that has not the leg's socket is left alone.
    pub filter_foreign: bool,
    /// `bye_early_code` and `bye_early_reason`
    pub early_reply: (u16, String),
    /// Keep-alives.
    pub keep_alive: KeepAlive,
    /// `bridge_controller`
    pub controller: String,
    /// `bridge_mode`, `bridge_wait`, `bridge_timeout`
    pub bridge: BridgeRules,
    /// `bridge_contact`
    pub controller_contact: String,
    /// `track_cseq_updates`
    pub track_cseq: bool,
    /// `bye_cseq_bump`: added to the CSeq number of BYEs that are sent from here.
    pub bye_bump: u32,
    /// `refer_bye`: whether a BYE follows a REFER that was sent from here.
    pub refer_bye: bool,
    /// `profiles_with_value` and `profiles_no_value`: names, and whether they take values.
    pub profiles: Vec<(String, bool)>,
    /// `profile_gauges`: whether the profiles' sizes are among the counts that are shown.
    pub profile_gauges: bool,
    /// `extra_2xx`
    pub extra_2xx: Extra2xx,
    /// `session_timer`
    pub session_timer: SessionTimer,
    /// `session_expires`: what is inserted.
    pub session_expires: Duration,
    /// `release_profiles`: whether memberships end with the local BYE, and not with its answer.
    pub release_early: bool,
    /// `dialogs_max` and `dialogs_reserved`
    pub most: usize,
    /// How many a shard has room for from the start.
    pub reserved: usize,
    /// `[dialog.database]`
    pub database: Database,
}

impl Default for Settings {
    /// Kamailio's values, but CSeq numbers are tracked and BYEs carry the next one; a million
    /// dialogs a shard.
    fn default() -> Settings {
        Settings {
            stats: true,
            slots: 4096,
            cookie_name: "did".into(),
            signed_cookies: true,
            cookie_secret: None,
            auto_flag: None,
            timeout_variable: None,
            lifetime: secs(43_200),
            bye_headers: Vec::new(),
            callee_headers: Vec::new(),
            match_mode: MatchMode::Cookie,
            detect_spirals: true,
            created_at_once: true,
            send_bye: false,
            wait_ack: true,
            timeout_noreset: false,
            scripted: false,
            context_mode: 0,
            early_timeout: secs(300),
            noack_timeout: secs(60),
            end_timeout: secs(300),
            id_start: 0,
            id_step: 1,
            keep_proxy_rr: 0,
            filter_foreign: false,
            early_reply: (480, "Temporarily Unavailable".into()),
            keep_alive: KeepAlive {
                tick: None,
                interval: None,
                failed_limit: 1,
                sides: (false, false),
                jitter_percent: 20,
            },
            bridge: BridgeRules { mode: BridgeMode::Refer, waits: false, timeout: secs(180) },
            controller: "sip:controller@kamailio.org".into(),
            controller_contact: "sip:controller@kamailio.org:5060".into(),
            track_cseq: true,
            bye_bump: 0,
            refer_bye: true,
            profiles: vec![(CALLER_PROFILE.into(), true)],
            profile_gauges: false,
            extra_2xx: Extra2xx::Track,
            session_timer: SessionTimer::Observe,
            session_expires: secs(1800),
            release_early: false,
            most: 1 << 20,
            reserved: 1024,
            database: Database {
                mode: DbMode::None,
                update_period: secs(60),
                skip_load: false,
                when_refused: WhenRefused::Refuse,
                tables: Tables::default(),
            },
        }
    }
}

/// A year: longer spans are slips.
const SPAN_MAX: Duration = secs(365 * 86_400);

const COOKIES: &[(&str, bool)] = &[("signed", true), ("plain", false)];
const RELEASES: &[(&str, bool)] = &[("early", true), ("late", false)];
const EXTRAS: &[(&str, Extra2xx)] =
    &[("track", Extra2xx::Track), ("kill", Extra2xx::Kill), ("pass", Extra2xx::Pass)];

impl Settings {
    /// Reads the section; problems are reported through it.
    pub fn from_config(section: &mut Section<'_>) -> Settings {
        let default = Settings::default();
        refuse(section);
        let (auto_flag, context_mode) = (
            small(section.integer_if_set("dlg_flag", 0..=31)),
            small(section.integer_if_set("dlg_ctxiuid_mode", 0..=1)).unwrap_or(0),
        );
        Settings {
            stats: section.switch("enable_stats", default.stats),
            slots: slots(section),
            cookie_name: section.parsed("rr_param", token).unwrap_or(default.cookie_name),
            signed_cookies: section.choice("cookie", default.signed_cookies, COOKIES),
            cookie_secret: section.parsed("cookie_secret", secret),
            auto_flag,
            timeout_variable: section.parsed("timeout_avp", variable),
            lifetime: span(section, "default_timeout", default.lifetime, secs(1)),
            bye_headers: headers(section, "dlg_extra_hdrs"),
            callee_headers: headers(section, "lreq_callee_headers"),
            match_mode: match_mode(section),
            detect_spirals: section.switch("detect_spirals", default.detect_spirals),
            created_at_once: section.switch("initial_cbs_inscript", default.created_at_once),
            send_bye: section.switch("send_bye", default.send_bye),
            wait_ack: section.switch("wait_ack", default.wait_ack),
            timeout_noreset: section.switch("timeout_noreset", default.timeout_noreset),
            scripted: section.switch("dlg_mode", default.scripted),
            context_mode,
            early_timeout: span(section, "early_timeout", default.early_timeout, secs(1)),
            noack_timeout: span(section, "noack_timeout", default.noack_timeout, secs(1)),
            end_timeout: span(section, "end_timeout", default.end_timeout, secs(1)),
            id_start: number(section, "h_id_start", 0, 0..=u64::from(u32::MAX)),
            id_step: number(section, "h_id_step", 1, 1..=65_536),
            keep_proxy_rr: small(section.integer_if_set("keep_proxy_rr", 0..=3)).unwrap_or(0),
            filter_foreign: section.switch("dlg_filter_mode", default.filter_foreign),
            early_reply: early_reply(section, default.early_reply),
            keep_alive: keep_alive(section, default.keep_alive),
            bridge: bridge_rules(section, default.bridge),
            controller: section.parsed("bridge_controller", uri).unwrap_or(default.controller),
            controller_contact: section
                .parsed("bridge_contact", uri)
                .unwrap_or(default.controller_contact),
            track_cseq: section.switch("track_cseq_updates", default.track_cseq),
            bye_bump: number(section, "bye_cseq_bump", 0, 0..=u64::from(CSEQ_LIMIT / 2)),
            refer_bye: section.switch("refer_bye", default.refer_bye),
            profiles: profiles(section),
            profile_gauges: section.switch("profile_gauges", default.profile_gauges),
            extra_2xx: section.choice("extra_2xx", default.extra_2xx, EXTRAS),
            session_timer: session_timer(section, default.session_timer),
            session_expires: span(section, "session_expires", default.session_expires, secs(90)),
            release_early: section.choice("release_profiles", false, RELEASES),
            most: count(section, "dialogs_max", default.most, 1),
            reserved: count(section, "dialogs_reserved", default.reserved, 0),
            database: database(&mut section.section("database"), default.database),
        }
    }
}

/// What this build has not, and what its process model makes meaningless.
fn refuse(section: &mut Section<'_>) {
    // Timers run on the shard that owns the dialog; variables are shown by `dlg.list`.
    section.integer("timer_procs", 0, 0..=64);
    section.switch("debug_variables", false);
    // Reserved by Kamailio, too.
    let _ = section.string("xavp_cfg");
    if let Some(text) = section.text("ruri_pvar")
        && text.value != "$ru"
    {
        let what = format!("{:?} cannot be kept", text.value);
        section.problem_at(text.place, "ruri_pvar", what, "\"$ru\", the Request-URI");
    }
    if let Some(text) = section.text("event_callback")
        && !text.value.is_empty()
    {
        let what = "events are heard by the routing's own `event`";
        section.problem_at(text.place, "event_callback", what, "nothing");
    }
    for key in ["enable_dmq", "enable_dmq_ka_iflags_sync"] {
        if section.switch(key, false) {
            section.problem(key, "dialogs are not replicated between nodes", "0");
        }
    }
    let _ = section.string("dmq_peer_id");
}

fn small(number: Option<u64>) -> Option<u8> {
    number.and_then(|number| u8::try_from(number).ok())
}

fn number(
    section: &mut Section<'_>,
    key: &'static str,
    default: u32,
    allowed: std::ops::RangeInclusive<u64>,
) -> u32 {
    u32::try_from(section.integer(key, u64::from(default), allowed)).unwrap_or(default)
}

fn count(section: &mut Section<'_>, key: &'static str, default: usize, least: u64) -> usize {
    usize::try_from(section.integer(key, default as u64, least..=1 << 28)).unwrap_or(default)
}

fn span(
    section: &mut Section<'_>,
    key: &'static str,
    default: Duration,
    least: Duration,
) -> Duration {
    section.duration(key, default, least..=SPAN_MAX, Unit::Seconds)
}

/// A power of two; others are rounded down.
fn slots(section: &mut Section<'_>) -> u32 {
    let wanted = number(section, "hash_size", 4096, 0..=1 << 24).max(1);
    1 << wanted.ilog2()
}

fn token(text: &str) -> Result<String, String> {
    let fits = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.~".contains(&byte);
    if !text.is_empty() && text.len() <= 32 && text.bytes().all(fits) {
        Ok(text.to_owned())
    } else {
        Err("a parameter's name of at most 32 letters and digits".to_owned())
    }
}

fn secret(text: &str) -> Result<String, String> {
    if text.len() >= 16 { Ok(text.to_owned()) } else { Err("at least 16 bytes".to_owned()) }
}

/// The name of a variable, bare or as Kamailio writes it: `$avp(name)`.
fn variable(text: &str) -> Result<String, String> {
    let bare = text.strip_prefix("$avp(").and_then(|rest| rest.strip_suffix(')')).unwrap_or(text);
    let bare = bare.strip_prefix("s:").unwrap_or(bare);
    let fits = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '.');
    if !bare.is_empty() && bare.chars().all(fits) {
        Ok(bare.to_owned())
    } else {
        Err("a variable's name, for example \"$avp(timeout)\"".to_owned())
    }
}

/// Header lines; each ends with CRLF, which is added to the last one where it is missing.
pub(super) fn header_lines(text: &str) -> Result<Vec<u8>, String> {
    let allowed = || "lines of the form `Name: value`, each ended by \\r\\n".to_owned();
    let mut lines = Vec::new();
    for line in text.split("\r\n").filter(|line| !line.is_empty()) {
        let (name, value) = line.split_once(':').ok_or_else(allowed)?;
        let fits = |byte: u8| byte.is_ascii_alphanumeric() || b"-.!%*_+`'~".contains(&byte);
        let split = value.bytes().any(|byte| byte == b'\n' || byte == b'\r' || byte == 0);
        let name = name.trim_end();
        if name.is_empty() || !name.bytes().all(fits) || split {
            return Err(allowed());
        }
        lines.extend_from_slice(format!("{name}: {}\r\n", value.trim()).as_bytes());
    }
    Ok(lines)
}

fn headers(section: &mut Section<'_>, key: &'static str) -> Vec<u8> {
    section.parsed(key, header_lines).unwrap_or_default()
}

fn match_mode(section: &mut Section<'_>) -> MatchMode {
    match section.integer("dlg_match_mode", 0, 0..=2) {
        1 => MatchMode::CookieThenTags,
        2 => MatchMode::Tags,
        _ => MatchMode::Cookie,
    }
}

fn early_reply(section: &mut Section<'_>, default: (u16, String)) -> (u16, String) {
    let code = section.integer("bye_early_code", u64::from(default.0), 300..=699);
    let code = u16::try_from(code).ok().filter(|code| StatusCode::new(*code).is_some());
    let reason = section.string_or("bye_early_reason", &default.1);
    (code.unwrap_or(default.0), reason.chars().filter(|c| !c.is_control()).collect())
}

fn keep_alive(section: &mut Section<'_>, default: KeepAlive) -> KeepAlive {
    let tick = span(section, "ka_timer", Duration::ZERO, Duration::ZERO);
    let interval = span(section, "ka_interval", Duration::ZERO, Duration::ZERO);
    if interval > Duration::ZERO && interval < secs(30) {
        section.problem("ka_interval", "too short", "0, or 30s or more");
    }
    let limit = small(section.integer_if_set("ka_failed_limit", 1..=255));
    let jitter = small(section.integer_if_set("ka_jitter", 0..=50));
    KeepAlive {
        tick: (tick > Duration::ZERO).then_some(tick),
        interval: (interval > Duration::ZERO).then_some(interval),
        failed_limit: limit.unwrap_or(default.failed_limit),
        sides: section.choice(
            "ka_sides",
            default.sides,
            &[
                ("none", (false, false)),
                ("caller", (true, false)),
                ("callee", (false, true)),
                ("both", (true, true)),
            ],
        ),
        jitter_percent: jitter.unwrap_or(default.jitter_percent),
    }
}

fn uri(text: &str) -> Result<String, String> {
    let usable = Uri::parse(text.as_bytes())
        .is_ok_and(|uri| matches!(uri.scheme, Scheme::Sip | Scheme::Sips));
    usable.then(|| text.to_owned()).ok_or_else(|| "a SIP URI".to_owned())
}

fn bridge_rules(section: &mut Section<'_>, default: BridgeRules) -> BridgeRules {
    let modes = [("refer", BridgeMode::Refer), ("3pcc", BridgeMode::ThirdParty)];
    let waits = [("accepted", false), ("notify", true)];
    BridgeRules {
        mode: section.choice("bridge_mode", default.mode, &modes),
        waits: section.choice("bridge_wait", default.waits, &waits),
        timeout: span(section, "bridge_timeout", default.timeout, secs(1)),
    }
}

fn session_timer(section: &mut Section<'_>, default: SessionTimer) -> SessionTimer {
    section.choice(
        "session_timer",
        default,
        &[
            ("off", SessionTimer::Off),
            ("observe", SessionTimer::Observe),
            ("enforce", SessionTimer::Enforce),
            ("insert", SessionTimer::Insert),
        ],
    )
}

/// The profile of the stock routing's limit: it is there whether it is named or not, and takes
/// values.
pub const CALLER_PROFILE: &str = "caller";

/// Both lists together, `;` between names; a name stands once.
fn profiles(section: &mut Section<'_>) -> Vec<(String, bool)> {
    let mut list: Vec<(String, bool)> = Vec::new();
    for (key, with_value) in [("profiles_with_value", true), ("profiles_no_value", false)] {
        let Some(text) = section.text(key) else { continue };
        for name in text.value.split(';').map(str::trim).filter(|name| !name.is_empty()) {
            let fits = name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_');
            if !fits {
                let what = format!("{name:?} is no profile's name");
                section.problem_at(text.place, key, what, "letters, digits and _");
            } else if list.iter().any(|(known, _)| known == name) {
                let what = format!("{name:?} is named twice");
                section.problem_at(text.place, key, what, "each profile once");
            } else if list.len() >= PROFILES_MAX {
                section.problem_at(text.place, key, "too many profiles", "256 at most");
            } else if name == CALLER_PROFILE && !with_value {
                let what = format!("{name:?} takes values");
                section.problem_at(text.place, key, what, "another name");
            } else {
                list.push((name.to_owned(), with_value));
            }
        }
    }
    if !list.iter().any(|(known, _)| known == CALLER_PROFILE) {
        list.push((CALLER_PROFILE.to_owned(), true));
    }
    list
}

fn database(section: &mut Section<'_>, default: Database) -> Database {
    let mode = match section.integer("db_mode", 0, 0..=3) {
        1 => DbMode::Realtime,
        2 => DbMode::Delayed,
        3 => DbMode::Shutdown,
        _ => DbMode::None,
    };
    // The batches of `[storage]` are those of all modules.
    section.integer("db_fetch_rows", 200, 1..=100_000);
    if let Some(text) = section.text("db_url") {
        let what = "all modules share one database";
        section.problem_at(text.place, "db_url", what, "`url` under [storage]");
    }
    Database {
        mode,
        when_refused: section.choice(
            "when_refused",
            default.when_refused,
            &[("refuse", WhenRefused::Refuse), ("relay", WhenRefused::Relay)],
        ),
        tables: super::names::named(section),
        update_period: span(section, "db_update_period", default.update_period, secs(1)),
        skip_load: section.switch("db_skip_load", default.skip_load),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use strowger_sip::settings::{Configuration, Place, Value};

    fn text(value: &str) -> Value {
        Value::String(value.to_owned())
    }

    fn read(entries: &[(&'static str, Value)]) -> (Settings, String) {
        let mut configuration = Configuration::empty("test.toml");
        for (key, value) in entries {
            configuration.set("dialog", key, Place::default(), value.clone());
        }
        let (settings, problems) =
            configuration.read(|root| Settings::from_config(&mut root.section("dialog")));
        (settings, problems.to_string())
    }

    #[test]
    fn nothing_set_is_the_default() {
        assert_eq!(read(&[]), (Settings::default(), String::new()));
    }

    #[test]
    fn values_have_types() {
        let (settings, problems) = read(&[
            ("default_timeout", text("12h")),
            ("hash_size", Value::Integer(5000)),
            ("dlg_match_mode", Value::Integer(1)),
            ("timeout_avp", text("$avp(t)")),
            ("dlg_extra_hdrs", text("X-End: yes\r\nX-More:1")),
            ("profiles_with_value", text("caller ; trunk")),
            ("profiles_no_value", text("all")),
            ("send_bye", Value::Integer(1)),
        ]);
        assert_eq!(problems, "");
        assert_eq!(settings.lifetime, secs(43_200));
        assert_eq!(settings.slots, 4096);
        assert_eq!(settings.match_mode, MatchMode::CookieThenTags);
        assert_eq!(settings.timeout_variable.as_deref(), Some("t"));
        assert_eq!(settings.bye_headers, b"X-End: yes\r\nX-More: 1\r\n");
        let profile = |name: &str, with| (name.to_owned(), with);
        let wanted = [profile("caller", true), profile("trunk", true), profile("all", false)];
        assert_eq!(settings.profiles, wanted);
        assert!(settings.send_bye);
    }

    /// Every parameter of Kamailio's documents, each with a value that it may have here.
    const INTEGERS: &[(&str, i64)] = &[
        ("enable_stats", 1),
        ("hash_size", 4096),
        ("dlg_flag", 4),
        ("default_timeout", 43_200),
        ("dlg_match_mode", 1),
        ("detect_spirals", 1),
        ("initial_cbs_inscript", 1),
        ("send_bye", 1),
        ("wait_ack", 1),
        ("timeout_noreset", 0),
        ("timer_procs", 1),
        ("dlg_mode", 0),
        ("dlg_ctxiuid_mode", 0),
        ("debug_variables", 0),
        ("early_timeout", 300),
        ("noack_timeout", 60),
        ("end_timeout", 300),
        ("h_id_start", 0),
        ("h_id_step", 1),
        ("keep_proxy_rr", 3),
        ("dlg_filter_mode", 1),
        ("bye_early_code", 480),
        ("ka_timer", 5),
        ("ka_interval", 30),
        ("ka_failed_limit", 2),
        ("track_cseq_updates", 1),
        ("enable_dmq", 0),
        ("enable_dmq_ka_iflags_sync", 0),
    ];
    const TEXTS: &[(&str, &str)] = &[
        ("rr_param", "did"),
        ("timeout_avp", "$avp(t)"),
        ("dlg_extra_hdrs", "X-A: b\r\n"),
        ("ruri_pvar", "$ru"),
        ("xavp_cfg", "dlg"),
        ("event_callback", ""),
        ("bye_early_reason", "Gone"),
        ("lreq_callee_headers", "Route: <sip:x;lr>\r\n"),
        ("bridge_controller", "sip:c@example.com"),
        ("bridge_contact", "sip:c@example.com:5060"),
        ("profiles_with_value", "a;b"),
        ("profiles_no_value", "c"),
        ("dmq_peer_id", "dialog"),
    ];
    const COLUMNS: &[&str] = &[
        "table_name",
        "call_id_column",
        "from_uri_column",
        "from_tag_column",
        "to_uri_column",
        "to_tag_column",
        "from_cseq_column",
        "to_cseq_column",
        "from_route_column",
        "to_route_column",
        "from_contact_column",
        "to_contact_column",
        "from_sock_column",
        "to_sock_column",
        "h_id_column",
        "h_entry_column",
        "state_column",
        "start_time_column",
        "timeout_column",
        "sflags_column",
        "toroute_name_column",
        "vars_table_name",
        "vars_h_id_column",
        "vars_h_entry_column",
        "vars_key_column",
        "vars_value_column",
    ];

    #[test]
    fn every_parameter_is_known_by_its_name() {
        let mut entries: Vec<(&str, Value)> =
            INTEGERS.iter().map(|(key, value)| (*key, Value::Integer(*value))).collect();
        entries.extend(TEXTS.iter().map(|(key, value)| (*key, text(value))));
        let (_, problems) = read(&entries);
        assert_eq!(problems, "");
        // Wrong ones, so that this process goes on with the usual names.
        let entry = |key: &&str| strowger_sip::settings::Entry {
            key: (*key).to_owned(),
            place: Place::default(),
            value: text("no name"),
        };
        let entries = COLUMNS.iter().map(entry).collect();
        let table = strowger_sip::settings::Table { place: Place::default(), entries };
        let (_, problems) = read(&[("database", Value::Table(table))]);
        assert_eq!(problems.lines().count(), COLUMNS.len(), "{problems}");
        assert!(problems.lines().all(|line| line.contains("letters, digits and _")), "{problems}");
        // With db_url, db_mode, db_update_period, db_fetch_rows and db_skip_load beside them:
        // Kamailio's 72.
        assert_eq!(INTEGERS.len() + TEXTS.len() + COLUMNS.len() + 5, 72);
    }

    #[test]
    fn every_mistake_is_found() {
        let (_, problems) = read(&[
            ("default_timeout", Value::Integer(0)),
            ("dlg_match_mode", Value::Integer(3)),
            ("rr_param", text("")),
            ("ka_interval", Value::Integer(29)),
            ("dlg_extra_hdrs", text("no header")),
            ("profiles_with_value", text("a;b c")),
            ("profiles_no_value", text("a")),
            ("bridge_contact", text("nobody")),
            ("enable_dmq", Value::Integer(1)),
            ("event_callback", text("handler")),
            ("bye_early_code", Value::Integer(200)),
            ("cookie_secret", text("short")),
            ("no_such_key", Value::Integer(1)),
        ]);
        assert_eq!(problems.lines().count(), 13, "{problems}");
    }
}
