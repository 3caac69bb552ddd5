//! `[auth]`: the settings of digest authentication, with Kamailio's names, and `[[auth.account]]`.
//!
//! For: one place with every parameter's default and range.

use super::account::{Account, CacheSettings, Secret};
use super::algorithm::{Algorithm, Hash, Hex};
use super::nonce::Life;
use crate::elsewhere::{self, Anyway, Elsewhere};
use crate::location::{flag, number};
use strowger_sip::settings::{Section, Unit};
use strowger_sip::time::{Duration, secs};

/// What of a request a nonce is bound to (`auth_checks_*`), as bits.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Checks(pub u32);

impl Checks {
    /// The Request-URI.
    pub const REQUEST_URI: u32 = 1;
    /// The Call-ID.
    pub const CALL_ID: u32 = 2;
    /// The tag of From.
    pub const FROM_TAG: u32 = 4;
    /// The source address.
    pub const SOURCE: u32 = 8;

    /// Whether this bit is set.
    pub const fn has(self, bit: u32) -> bool {
        self.0 & bit != 0
    }
}

/// The settings of digest authentication.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// `secret`: the same on all nodes that are to take each other's nonces; random when unset.
    pub secret: Option<String>,
    /// `nonce_expire` and `nonce_auth_max_drift`.
    pub nonce_life: Life,
    /// `qop`: which ones are offered, in order; none for RFC 2069.
    pub qop: Vec<&'static str>,
    /// `algorithm`: which ones are offered; the strongest first, whatever the order in the file.
    pub algorithms: Vec<Algorithm>,
    /// `nonce_count`: uses are counted and none is taken twice.
    pub nonce_count: bool,
    /// `nc_array_size`: how many nonces one shard counts at most.
    pub nonces_max: usize,
    /// `one_time_nonce`: one use a nonce.
    pub one_time_nonce: bool,
    /// `auth_checks_register`.
    pub checks_register: Checks,
    /// `auth_checks_no_dlg`.
    pub checks_no_dialog: Checks,
    /// `auth_checks_in_dlg`.
    pub checks_in_dialog: Checks,
    /// `realm_prefix`.
    pub realm_prefix: String,
    /// `use_domain`: a subscriber's row is found by user and domain.
    pub use_domain: bool,
    /// `add_authinfo_hdr`.
    pub add_authinfo: bool,
    /// `www_challenge_header`: the name of a registrar's challenges.
    pub www_header: String,
    /// `proxy_challenge_header`: the name of a proxy's challenges.
    pub proxy_header: String,
    /// `calculate_ha1`: rows hold the password, not its hash.
    pub calculate_ha1: bool,
    /// `use_subscriber`: users that are not in the file are asked of storage.
    pub use_subscriber: bool,
    /// How long rows are remembered.
    pub cache: CacheSettings,
    /// `[[auth.account]]`.
    pub accounts: Vec<Account>,
}

impl Default for Settings {
    /// Kamailio's values, but `qop` is `auth` and uses are counted: without both, whoever sees a
    /// request can repeat it.
    fn default() -> Settings {
        Settings {
            secret: None,
            nonce_life: Life { expire: secs(300), drift: secs(3) },
            qop: vec!["auth"],
            algorithms: vec![Algorithm::MD5],
            nonce_count: true,
            nonces_max: 1 << 20,
            one_time_nonce: false,
            checks_register: Checks::default(),
            checks_no_dialog: Checks::default(),
            checks_in_dialog: Checks::default(),
            realm_prefix: String::new(),
            use_domain: false,
            add_authinfo: false,
            www_header: "WWW-Authenticate".into(),
            proxy_header: "Proxy-Authenticate".into(),
            calculate_ha1: false,
            use_subscriber: false,
            cache: CacheSettings { present: secs(60), absent: secs(10), most: 65_536 },
            accounts: Vec::new(),
        }
    }
}

/// A day: the longest that a nonce or a remembered row makes sense for.
const SPAN_MAX: Duration = secs(86_400);

impl Settings {
    /// Reads `[auth]`.
    pub fn from_config(section: &mut Section<'_>) -> Settings {
        let default = Settings::default();
        elsewhere::refuse(section, &ELSEWHERE);
        let checks = |section: &mut Section<'_>, key| Checks(number(section, key, 0, 0..=15));
        let many = |section: &mut Section<'_>, key, default: usize| {
            let number = section.integer(key, default as u64, 1..=1 << 28);
            usize::try_from(number).unwrap_or(default)
        };
        Settings {
            secret: section.parsed("secret", secret),
            nonce_life: Life {
                expire: span(section, "nonce_expire", default.nonce_life.expire, secs(1)),
                drift: span(
                    section,
                    "nonce_auth_max_drift",
                    default.nonce_life.drift,
                    Duration::ZERO,
                ),
            },
            qop: qop(section).unwrap_or(default.qop),
            algorithms: algorithms(section).unwrap_or(default.algorithms),
            nonce_count: flag(section, "nonce_count", true),
            nonces_max: many(section, "nc_array_size", default.nonces_max),
            one_time_nonce: flag(section, "one_time_nonce", false),
            checks_register: checks(section, "auth_checks_register"),
            checks_no_dialog: checks(section, "auth_checks_no_dlg"),
            checks_in_dialog: checks(section, "auth_checks_in_dlg"),
            realm_prefix: section.string_or("realm_prefix", ""),
            use_domain: flag(section, "use_domain", false),
            add_authinfo: flag(section, "add_authinfo_hdr", false),
            www_header: header(section, "www_challenge_header", default.www_header),
            proxy_header: header(section, "proxy_challenge_header", default.proxy_header),
            calculate_ha1: flag(section, "calculate_ha1", false),
            use_subscriber: flag(section, "use_subscriber", false),
            cache: CacheSettings {
                present: span(section, "cache_expire", default.cache.present, secs(1)),
                absent: span(section, "cache_negative_expire", default.cache.absent, secs(1)),
                most: many(section, "cache_size", default.cache.most),
            },
            accounts: section.sections("account", account).into_iter().flatten().collect(),
        }
    }
}

/// Kamailio's parameters of shared tables and of variables of a script.
const ELSEWHERE: [Elsewhere; 6] = [
    ("nid_pool_no", Anyway::Number(1), "nothing: each shard counts its own nonces"),
    ("otn_in_flight_no", Anyway::Nothing, "`nc_array_size`"),
    ("otn_in_flight_k", Anyway::Nothing, "`nc_array_size`"),
    ("nc_array_order", Anyway::Nothing, "`nc_array_size`"),
    ("force_stateless_reply", Anyway::Switch(false), "`Answer::Stateless(reply)`"),
    ("challenge_attr", Anyway::Nothing, "the `Reply` that `authenticate` gives as its error"),
];

fn header(section: &mut Section<'_>, key: &'static str, default: String) -> String {
    let name = section.parsed(key, |text| {
        let is_token = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte);
        let is_name = !text.is_empty() && text.bytes().all(is_token);
        if is_name { Ok(text.to_owned()) } else { Err("a header's name".to_owned()) }
    });
    name.unwrap_or(default)
}

/// Shorter secrets can be found by trying.
const SECRET_BYTES_MIN: usize = 16;

fn secret(text: &str) -> Result<String, String> {
    if text.len() >= SECRET_BYTES_MIN {
        Ok(text.to_owned())
    } else {
        Err(format!("at least {SECRET_BYTES_MIN} characters"))
    }
}

fn span(
    section: &mut Section<'_>,
    key: &'static str,
    default: Duration,
    least: Duration,
) -> Duration {
    section.duration(key, default, least..=SPAN_MAX, Unit::Seconds)
}

fn qop(section: &mut Section<'_>) -> Option<Vec<&'static str>> {
    let mut offered = Vec::new();
    for text in section.strings("qop")? {
        for word in text.value.split(',').map(str::trim).filter(|word| !word.is_empty()) {
            match ["auth", "auth-int"].into_iter().find(|known| *known == word) {
                Some(known) => offered.push(known),
                None => {
                    let allowed = "\"auth\", \"auth-int\", both, or \"\"";
                    section.problem_at(text.place, "qop", format!("{word:?} is none"), allowed);
                }
            }
        }
    }
    Some(offered)
}

fn algorithms(section: &mut Section<'_>) -> Option<Vec<Algorithm>> {
    let mut offered = Vec::new();
    for text in section.strings("algorithm")? {
        for word in text.value.split(',').map(str::trim) {
            match Algorithm::from_name(word.as_bytes()) {
                Some(known) => offered.push(known),
                None => {
                    let allowed = "MD5, SHA-256, SHA-512-256, each also with -sess";
                    let what = format!("{word:?} is not known");
                    section.problem_at(text.place, "algorithm", what, allowed);
                }
            }
        }
    }
    offered.sort_by(|one, two| two.cmp(one));
    offered.dedup();
    (!offered.is_empty()).then_some(offered)
}

/// Reads `[[auth.account]]`: `user`, `realm`, and `password` or hashes.
fn account(section: &mut Section<'_>) -> Option<Account> {
    let user = section.string_or("user", "");
    let realm = section.string_or("realm", "");
    let password = section.string("password");
    let mut hashes = Vec::new();
    let keys =
        [("ha1", Hash::Md5), ("ha1_sha256", Hash::Sha256), ("ha1_sha512_256", Hash::Sha512Of256)];
    for (key, hash) in keys {
        let allowed = || format!("{} hexadecimal digits", hash.hex_length());
        let read = section.parsed(key, |text| Hex::read(hash, text).ok_or_else(allowed));
        hashes.extend(read.map(|hex| (hash, hex)));
    }
    if user.is_empty() {
        section.problem("user", "an account without a user", "user = \"name\"");
        return None;
    }
    let secret = match (password, hashes.is_empty()) {
        (Some(password), true) => Secret::Password(password.into()),
        (None, false) if !realm.is_empty() => Secret::Hashes(hashes),
        (None, false) => {
            section.problem("realm", "a hash without its realm", "realm = \"example.com\"");
            return None;
        }
        (Some(_), false) | (None, true) => {
            let allowed = "either password, or ha1, ha1_sha256, ha1_sha512_256";
            section.problem("password", "not one secret", allowed);
            return None;
        }
    };
    Some(Account { user, realm, secret })
}

#[cfg(test)]
mod tests {
    use super::*;
    use strowger_sip::settings::{Configuration, Entry, Place, Table, Value};

    fn text(value: &str) -> Value {
        Value::String(value.to_owned())
    }

    fn read(entries: Vec<(&str, Value)>) -> (Settings, String) {
        let mut configuration = Configuration::empty("test.toml");
        for (key, value) in entries {
            configuration.set("auth", key, Place::Line(1), value);
        }
        let (settings, problems) =
            configuration.read(|root| Settings::from_config(&mut root.section("auth")));
        (settings, problems.to_string())
    }

    fn accounts(list: &[&[(&str, &str)]]) -> Value {
        let table = |pairs: &&[(&str, &str)]| {
            let entry = |(key, value): &(&str, &str)| Entry {
                key: (*key).to_owned(),
                place: Place::Line(2),
                value: text(value),
            };
            let table = Table { place: Place::Line(2), entries: pairs.iter().map(entry).collect() };
            (Place::Line(2), Value::Table(table))
        };
        Value::List(list.iter().map(table).collect())
    }

    #[test]
    fn algorithms_are_ordered_by_strength() {
        let (settings, problems) = read(vec![("algorithm", text("MD5, SHA-512-256, SHA-256"))]);
        let names: Vec<&str> = settings.algorithms.iter().map(|known| known.name()).collect();
        assert_eq!(names, ["SHA-512-256", "SHA-256", "MD5"]);
        assert!(problems.is_empty(), "{problems}");
        let (_, problems) = read(vec![("algorithm", text("SHA1")), ("qop", text("conf"))]);
        assert!(problems.contains("\"SHA1\" is not known"), "{problems}");
        assert!(problems.contains("\"conf\" is none"), "{problems}");
        assert_eq!(read(vec![("qop", text(""))]).0.qop, Vec::<&str>::new());
    }

    #[test]
    fn what_is_elsewhere_is_said() {
        let entries = vec![
            ("nid_pool_no", Value::Integer(4)),
            ("challenge_attr", text("$avp(c)")),
            ("force_stateless_reply", Value::Integer(0)),
            ("www_challenge_header", text("X-Challenge")),
            ("proxy_challenge_header", text("a b")),
        ];
        let (settings, problems) = read(entries);
        assert_eq!(settings.www_header, "X-Challenge");
        assert_eq!(settings.proxy_header, "Proxy-Authenticate");
        assert_eq!(problems.lines().count(), 3, "{problems}");
        assert!(problems.contains("1; else use nothing"), "{problems}");
        assert!(problems.contains("a header's name"), "{problems}");
    }

    #[test]
    fn an_account_has_one_secret() {
        let ha1 = "d41d8cd98f00b204e9800998ecf8427e";
        let list = accounts(&[
            &[("user", "bob"), ("password", "x")],
            &[("user", "al"), ("realm", "r"), ("ha1", ha1)],
            &[("user", "eve"), ("ha1", ha1)],
            &[("user", "eve"), ("password", "x"), ("ha1", ha1)],
            &[("user", "eve")],
            &[("password", "x")],
            &[("user", "eve"), ("realm", "r"), ("ha1", "short")],
        ]);
        let (settings, problems) = read(vec![("account", list)]);
        assert_eq!(settings.accounts.len(), 2);
        assert_eq!(problems.lines().count(), 6, "{problems}");
        assert!(read(vec![("secret", text("short"))]).1.contains("at least 16"));
    }
}
