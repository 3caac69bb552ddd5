//! `[pua]`: the settings, with Kamailio's names.
//!
//! For: one place with every parameter's default and range.
//! Not here: what follows from them.

use super::package::EventId;
use super::write::is_writable_uri;
use crate::elsewhere::{self, Anyway, Elsewhere};
use crate::uac::{Credential, Secret};
use strowger_sip::settings::{Section, Unit};
use strowger_sip::time::{Duration, secs};

/// What the module does with storage (`db_mode`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum DbMode {
    /// 0: memory is what counts; changes are written every `update_period` and when the node stops.
    #[default]
    Memory,
    /// 2: the database is what counts: a publication is read before it is changed and written
    /// after each answer, and memory keeps only when it is due. A subscription is a dialog of this
    /// node and stays in memory in both modes; each change of it is written at once.
    Database,
}

/// The module's settings.
#[doc = include_str!("parameters.md")]
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// `min_expires`: the least that a PUBLISH or SUBSCRIBE asks for, removals excepted.
    pub min_expires: u32,
    /// `default_expires`: what is asked for where a state is wanted for ever.
    pub default_expires: u32,
    /// `update_period`: how often changes are written; `None` only by `pua.cleanup`.
    pub update_period: Option<Duration>,
    /// `outbound_proxy`: the next hop of PUBLISH where the publication names none.
    pub outbound_proxy: Option<String>,
    /// `dlginfo_increase_version`: the documents of event `dialog` are counted.
    pub dlginfo_increase_version: bool,
    /// `reginfo_increase_version`: the documents of event `reg` are counted.
    pub reginfo_increase_version: bool,
    /// `db_mode`.
    pub db_mode: DbMode,
    /// `check_remote_contact`: a subscription whose peer is not the call's `remote_target` is
    /// replaced by a new one.
    pub check_remote_contact: bool,
    /// `server_id`: rows of other nodes of one table are left alone.
    pub server_id: u32,
    /// `records_max`: most publications and subscriptions of one shard.
    pub records_max: usize,
    /// `body_max`: longest document, in bytes.
    pub body_bytes_max: usize,
    /// `compat_expires`: Expires says a little more than is wanted, as Kamailio does it.
    pub compat_expires: bool,
    /// `[[pua.accounts]]`.
    pub accounts: Vec<Credential>,
}

impl Default for Settings {
    fn default() -> Settings {
        Settings {
            min_expires: 0,
            default_expires: 3600,
            update_period: Some(secs(100)),
            outbound_proxy: None,
            dlginfo_increase_version: false,
            reginfo_increase_version: false,
            db_mode: DbMode::Memory,
            check_remote_contact: false,
            server_id: 0,
            // A guess: all users of a large shard, at a kilobyte each.
            records_max: 1_000_000,
            body_bytes_max: 65_535,
            compat_expires: false,
            accounts: Vec::new(),
        }
    }
}

/// Kamailio's parameters that steer what is not there.
const ELSEWHERE: [Elsewhere; 5] = [
    ("hash_size", Anyway::Nothing, "`records_max`: the table grows by itself up to there"),
    ("db_url", Anyway::Nothing, "[storage] `url`"),
    ("db_table", Anyway::Text("pua"), "nothing: the table is `pua`"),
    (
        "db_table_lock_write",
        Anyway::Switch(false),
        "nothing: rows are written one by one, by version",
    ),
    ("fetch_rows", Anyway::Nothing, "[storage] `fetch_rows`"),
];

/// Longest lifetime: half of what the column holds.
const EXPIRES_MAX: u64 = 0x3fff_ffff;

impl Settings {
    /// Reads the section.
    pub fn from_config(section: &mut Section<'_>) -> Settings {
        let default = Settings::default();
        elsewhere::refuse(section, &ELSEWHERE);
        let small = |number: u64| u32::try_from(number).unwrap_or(u32::MAX);
        let large = |number: u64| usize::try_from(number).unwrap_or(usize::MAX);
        let period = section.duration(
            "update_period",
            secs(100),
            Duration::ZERO..=secs(86_400),
            Unit::Seconds,
        );
        let db_mode = match section.integer("db_mode", 0, 0..=2) {
            2 => DbMode::Database,
            1 => {
                section.problem("db_mode", "1 is reserved", "0 or 2");
                DbMode::Memory
            }
            _ => DbMode::Memory,
        };
        Settings {
            min_expires: small(section.integer("min_expires", 0, 0..=EXPIRES_MAX)),
            default_expires: small(section.integer("default_expires", 3600, 1..=EXPIRES_MAX)),
            update_period: (period > Duration::ZERO).then_some(period),
            outbound_proxy: section.parsed("outbound_proxy", sip_uri),
            dlginfo_increase_version: section.switch("dlginfo_increase_version", false),
            reginfo_increase_version: section.switch("reginfo_increase_version", false),
            db_mode,
            check_remote_contact: section.switch("check_remote_contact", false),
            server_id: small(section.integer("server_id", 0, 0..=i32::MAX as u64)),
            records_max: large(section.integer(
                "records_max",
                default.records_max as u64,
                1..=100_000_000,
            )),
            body_bytes_max: large(section.integer("body_max", 65_535, 1..=65_535)),
            compat_expires: section.switch("compat_expires", false),
            accounts: section.sections("accounts", account),
        }
    }

    /// Whether the documents of this package carry their number.
    pub fn counts(&self, event: EventId) -> bool {
        match event {
            EventId::DIALOG => self.dlginfo_increase_version,
            EventId::REG => self.reginfo_increase_version,
            _ => true,
        }
    }
}

/// Who this node is for servers that challenge it: `realm` (every one without it), `user`, and
/// `password` or `ha1`.
fn account(section: &mut Section<'_>) -> Credential {
    let mut quotable = |key: &'static str| {
        let text = section.string(key).unwrap_or_default();
        if text.chars().any(|c| c.is_control() || matches!(c, '"' | '\\')) {
            section.problem(key, "cannot be used", "a text without quotes and backslashes");
        }
        text
    };
    let (realm, user) = (quotable("realm"), quotable("user"));
    if user.is_empty() {
        section.problem("user", "missing", "the digest username");
    }
    let mut secret = Secret::password(&section.string("password").unwrap_or_default());
    if let Some(ha1) = section.string("ha1") {
        match secret.clone().with_ha1(&ha1) {
            Some(both) => secret = both,
            None => section.problem("ha1", "no hash", "32 or 64 hexadecimal digits"),
        }
    }
    if secret.is_empty() {
        section.problem("password", "missing", "`password` or `ha1`");
    }
    Credential { user, realm, secret }
}

fn sip_uri(text: &str) -> Result<String, String> {
    if is_writable_uri(text) {
        Ok(text.to_owned())
    } else {
        Err("a SIP URI, such as \"sip:192.0.2.20:5060\"".to_owned())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use strowger_sip::settings::{Configuration, Place, Value};

    fn read(set: &[(&str, Value)]) -> (Settings, String) {
        let mut configuration = Configuration::empty("test.toml");
        for (key, value) in set {
            configuration.set("pua", key, Place::Line(1), value.clone());
        }
        let (settings, problems) =
            configuration.read(|root| Settings::from_config(&mut root.section("pua")));
        (settings, problems.to_string())
    }

    #[test]
    fn nothing_set_is_the_default() {
        assert_eq!(read(&[]), (Settings::default(), String::new()));
    }

    #[test]
    fn every_parameter_is_known_by_its_name() {
        let (settings, problems) = read(&[
            ("min_expires", Value::Integer(60)),
            ("default_expires", Value::Integer(300)),
            ("update_period", Value::Integer(0)),
            ("outbound_proxy", Value::String("sip:192.0.2.20".into())),
            ("dlginfo_increase_version", Value::Integer(1)),
            ("reginfo_increase_version", Value::Boolean(true)),
            ("db_mode", Value::Integer(2)),
            ("db_table", Value::String("pua".into())),
            ("db_table_lock_write", Value::Integer(0)),
            ("check_remote_contact", Value::Integer(1)),
        ]);
        assert_eq!(problems, "");
        assert_eq!((settings.min_expires, settings.default_expires), (60, 300));
        assert_eq!((settings.update_period, settings.db_mode), (None, DbMode::Database));
        assert!(settings.counts(EventId::DIALOG) && settings.counts(EventId::REG));
        assert!(settings.check_remote_contact);
        for (key, value, word) in [
            ("hash_size", Value::Integer(9), "records_max"),
            ("db_url", Value::String("mysql://h/d".into()), "[storage] `url`"),
            ("fetch_rows", Value::Integer(500), "[storage] `fetch_rows`"),
            ("db_table_lock_write", Value::Integer(1), "by version"),
            ("db_mode", Value::Integer(1), "0 or 2"),
            ("outbound_proxy", Value::String("192.0.2.20".into()), "SIP URI"),
        ] {
            let (_, problems) = read(&[(key, value)]);
            assert!(problems.contains(word), "{key}: {problems}");
        }
    }
}
