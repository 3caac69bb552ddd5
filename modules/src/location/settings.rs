//! `[usrloc]`: the settings of the location table, with Kamailio's names.
//!
//! For: one place with every parameter's default and range.
//! Not here: `[registrar]` (`registrar/settings.rs`).

use crate::elsewhere::{self, Anyway, Elsewhere};
use strowger_sip::settings::{Section, Unit};
use strowger_sip::time::{Duration, secs};

/// What the table does with storage (`db_mode`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum DbMode {
    /// 0: nothing.
    #[default]
    Memory,
    /// 1: a change is durable before its 200 goes out.
    Realtime,
    /// 2: changes are written in batches; a crash loses the last ones.
    Delayed,
    /// 3: the database is what counts; every operation reads it first.
    DatabaseOnly,
    /// 4: rows are loaded at start and never written.
    LoadOnly,
}

/// When two contacts of an address are the same binding (`matching_mode`). An instance with a
/// reg-id identifies a binding whatever the mode.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum Matching {
    /// 0: the same URI.
    #[default]
    Uri,
    /// 1: the same URI and Call-ID.
    UriAndCallId,
    /// 2: the same URI and Path.
    UriAndPath,
    /// 3: the same Call-ID.
    CallId,
}

/// Which contacts are kept alive, and how.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeepAlive {
    /// `ka_mode`, bits: 1 all contacts, 2 only those behind a NAT, 4 only over UDP; 0 none.
    pub mode: u32,
    /// `ka_method`.
    pub method: String,
    /// `ka_from`: the From URI.
    pub from: String,
    /// `ka_domain`: To is the address's user in this domain; the contact when empty.
    pub domain: String,
    /// `ka_filter` 1: only contacts that this node has written (`server_id`).
    pub own_only: bool,
    /// `ka_interval`: each contact gets one request in this time, all of them spread over it.
    pub interval: Duration,
    /// `ka_randomize`: by how many percent a round may begin late.
    pub randomize: u32,
    /// `ka_timeout`: without an answer for so long after the interval, the binding is removed; zero
    /// for never.
    pub timeout: Duration,
    /// `ka_reply_codes`: what counts as an answer beside 2xx; any, when empty.
    pub reply_codes: Vec<u16>,
    /// `natping_interval`: each contact behind a NAT gets an empty line in this time; zero for off.
    pub natping_interval: Duration,
    /// `ping_nated_only`: empty lines only to contacts behind a NAT.
    pub ping_nated_only: bool,
}

impl Default for KeepAlive {
    fn default() -> KeepAlive {
        KeepAlive {
            mode: 0,
            method: "OPTIONS".into(),
            from: "sip:keepalive@localhost".into(),
            domain: String::new(),
            own_only: false,
            interval: secs(40),
            randomize: 20,
            timeout: Duration::ZERO,
            reply_codes: Vec::new(),
            natping_interval: Duration::ZERO,
            ping_nated_only: true,
        }
    }
}

/// The settings of the location table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// `table`: the name by which RPC commands know it.
    pub table: String,
    /// `db_mode`.
    pub db_mode: DbMode,
    /// `matching_mode`.
    pub matching: Matching,
    /// `cseq_delay`: a repeated CSeq within this time is a retransmission.
    pub cseq_delay: Duration,
    /// `desc_time_order`: look-ups put the newest first instead of the one with the greatest q.
    pub desc_time_order: bool,
    /// `use_domain`: the domain is part of an address's key.
    pub use_domain: bool,
    /// `timer_interval`: how often rows that have ended are deleted from storage; zero for never.
    /// (How long a delayed row waits for its batch is `[storage] flush_interval`.)
    pub timer_interval: Duration,
    /// `nat_bflag`: the branch flag that marks contacts behind a NAT.
    pub nat_bflag: Option<u32>,
    /// `rm_expired_delay`: expired contacts are kept this much longer.
    pub rm_expired_delay: Duration,
    /// `server_id`: which node this is, in rows; with `server_id_filter` only its own are loaded.
    pub server_id: u32,
    /// `server_id_filter`.
    pub server_id_filter: bool,
    /// `skip_remote_socket`: rows of sockets that this node has not are not loaded.
    pub skip_remote_socket: bool,
    /// `handle_lost_tcp`: a lost connection removes its bindings.
    pub handle_lost_tcp: bool,
    /// `close_expired_tcp`: a connection is closed when the last contact that is reached over it
    /// has expired.
    pub close_expired_tcp: bool,
    /// `db_clean_tcp`: rows of contacts over connections are deleted at start.
    pub db_clean_tcp: bool,
    /// `db_timer_clean`: rows are deleted from storage as soon as they have ended, whoever wrote
    /// them; otherwise a day later. In mode 3 always at once.
    pub db_timer_clean: bool,
    /// `contacts_max`: most contacts of one shard; beyond, new ones get 503.
    pub contacts_max: usize,
    /// Keep-alives.
    pub keep_alive: KeepAlive,
}

impl Default for Settings {
    /// Kamailio's values; a million contacts a shard.
    fn default() -> Settings {
        Settings {
            table: "location".into(),
            db_mode: DbMode::Memory,
            matching: Matching::Uri,
            cseq_delay: secs(20),
            desc_time_order: false,
            use_domain: false,
            timer_interval: secs(60),
            nat_bflag: None,
            rm_expired_delay: Duration::ZERO,
            server_id: 0,
            server_id_filter: false,
            skip_remote_socket: false,
            handle_lost_tcp: false,
            close_expired_tcp: false,
            db_clean_tcp: false,
            db_timer_clean: false,
            contacts_max: 1 << 20,
            keep_alive: KeepAlive::default(),
        }
    }
}

/// A day: the longest that any span here makes sense for.
const SPAN_MAX: Duration = secs(86_400);

impl Settings {
    /// Reads `[usrloc]`.
    pub fn from_config(section: &mut Section<'_>) -> Settings {
        let default = Settings::default();
        elsewhere::refuse(section, &ELSEWHERE);
        Settings {
            table: section.string_or("table", &default.table),
            db_mode: match section.integer("db_mode", 0, 0..=4) {
                1 => DbMode::Realtime,
                2 => DbMode::Delayed,
                3 => DbMode::DatabaseOnly,
                4 => DbMode::LoadOnly,
                _ => DbMode::Memory,
            },
            matching: match section.integer("matching_mode", 0, 0..=3) {
                1 => Matching::UriAndCallId,
                2 => Matching::UriAndPath,
                3 => Matching::CallId,
                _ => Matching::Uri,
            },
            cseq_delay: span(section, "cseq_delay", default.cseq_delay),
            desc_time_order: flag(section, "desc_time_order", false),
            use_domain: flag(section, "use_domain", false),
            timer_interval: span(section, "timer_interval", default.timer_interval),
            nat_bflag: small(section.integer_if_set("nat_bflag", 0..=31)),
            rm_expired_delay: span(section, "rm_expired_delay", default.rm_expired_delay),
            server_id: number(section, "server_id", 0, 0..=i32::MAX as u64),
            server_id_filter: flag(section, "server_id_filter", false),
            skip_remote_socket: flag(section, "skip_remote_socket", false),
            handle_lost_tcp: flag(section, "handle_lost_tcp", false),
            close_expired_tcp: flag(section, "close_expired_tcp", false),
            db_clean_tcp: flag(section, "db_clean_tcp", false),
            db_timer_clean: flag(section, "db_timer_clean", false),
            contacts_max: section
                .integer("contacts_max", default.contacts_max as u64, 1..=u64::from(u32::MAX))
                .try_into()
                .unwrap_or(default.contacts_max),
            keep_alive: keep_alive(section, default.keep_alive),
        }
    }
}

/// Kamailio's parameters of processes and of a way of writing rows that are not there.
const ELSEWHERE: [Elsewhere; 9] = [
    ("hash_size", Anyway::Nothing, "`contacts_max`: the table grows by itself up to there"),
    ("timer_procs", Anyway::Number(0), "nothing: each shard has its own timers"),
    ("preload", Anyway::Text("location"), "nothing: there is one table, loaded at start"),
    ("fetch_rows", Anyway::Nothing, "[storage] `fetch_rows`"),
    ("db_ops_ruid", Anyway::Switch(true), "nothing: rows are always found by their ruid"),
    ("db_insert_update", Anyway::Switch(true), "nothing: a row is inserted or updated"),
    ("db_update_as_insert", Anyway::Switch(false), "nothing: a row is inserted or updated"),
    ("db_check_update", Anyway::Switch(true), "nothing: a row is inserted or updated"),
    ("db_insert_null", Anyway::Switch(true), "nothing: what a contact has not is NULL"),
];

fn keep_alive(section: &mut Section<'_>, default: KeepAlive) -> KeepAlive {
    let codes = section.integers("ka_reply_codes", 200..=699).unwrap_or_default();
    let from = section.parsed("ka_from", sip_uri).or(section.parsed("sipping_from", sip_uri));
    let method = section.parsed("ka_method", token).or(section.parsed("sipping_method", token));
    KeepAlive {
        mode: number(section, "ka_mode", 0, 0..=7),
        method: method.unwrap_or(default.method),
        from: from.unwrap_or(default.from),
        domain: section.parsed("ka_domain", domain).unwrap_or(default.domain),
        own_only: flag(section, "ka_filter", false),
        interval: section.duration(
            "ka_interval",
            default.interval,
            secs(1)..=SPAN_MAX,
            Unit::Seconds,
        ),
        randomize: number(section, "ka_randomize", default.randomize, 0..=100),
        timeout: span(section, "ka_timeout", default.timeout),
        reply_codes: codes.into_iter().filter_map(|code| u16::try_from(code).ok()).collect(),
        natping_interval: span(section, "natping_interval", default.natping_interval),
        ping_nated_only: flag(section, "ping_nated_only", true),
    }
}

fn sip_uri(text: &str) -> Result<String, String> {
    let uri = strowger_sip::message::Uri::parse(text.as_bytes());
    if uri.is_ok_and(|uri| uri.scheme.is_sip()) {
        Ok(text.to_owned())
    } else {
        Err("a SIP URI, such as \"sip:keepalive@example.com\"".to_owned())
    }
}

/// The host of a URI, and its port if it has one.
fn domain(text: &str) -> Result<String, String> {
    let uri = format!("sip:{text}");
    let is_domain = strowger_sip::message::Uri::parse(uri.as_bytes())
        .is_ok_and(|uri| uri.user.is_none() && uri.params.into_iter().next().is_none());
    if is_domain && !text.contains(['?', '@', ';']) {
        Ok(text.to_owned())
    } else {
        Err("a domain, such as \"example.com\"".to_owned())
    }
}

fn token(text: &str) -> Result<String, String> {
    if !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_uppercase()) {
        Ok(text.to_owned())
    } else {
        Err("a method, such as \"OPTIONS\"".to_owned())
    }
}

fn span(section: &mut Section<'_>, key: &'static str, default: Duration) -> Duration {
    section.duration(key, default, Duration::ZERO..=SPAN_MAX, Unit::Seconds)
}

/// A switch: Kamailio's 0 and 1, or `true` and `false`.
pub(crate) fn flag(section: &mut Section<'_>, key: &'static str, default: bool) -> bool {
    section.switch(key, default)
}

pub(crate) fn number(
    section: &mut Section<'_>,
    key: &'static str,
    default: u32,
    allowed: std::ops::RangeInclusive<u64>,
) -> u32 {
    small(Some(section.integer(key, u64::from(default), allowed))).unwrap_or(default)
}

fn small(number: Option<u64>) -> Option<u32> {
    number.and_then(|number| u32::try_from(number).ok())
}
