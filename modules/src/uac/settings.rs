//! Reading `[uac]`.
//!
//! For: Kamailio's parameters by their names, `[[uac.registration]]`, and some of Strowger's own.
//! Not here: the table `uacreg` (`reg/row.rs`).
//! Invariants: no problem that is reported shows a secret.

use super::reg::{REGISTRATIONS_MAX, Registration};
use super::secret::{Credential, Secret, is_quotable};
use crate::elsewhere::{self, Anyway, Elsewhere};
use strowger_sip::message::Uri;
use strowger_sip::settings::{Section, Unit};
use strowger_sip::time::{Duration, secs};
use strowger_sip::transport::Transport;

/// When what was replaced is put back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RestoreMode {
    /// `none`: never; nothing is remembered. Responses to the replaced request are right all the
    /// same.
    None,
    /// `manual`: in later requests where the routing asks for it.
    Manual,
    /// `auto`: in every later request.
    Auto,
}

/// How a Record-Route parameter remembers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CookieForm {
    /// Authenticated and encrypted, with the display names.
    Sealed,
    /// Kamailio's.
    Kamailio,
}

/// What `[uac]` says.
#[doc = include_str!("parameters.md")]
#[derive(Clone, Debug)]
pub struct Settings {
    /// `rr_from_store_param`
    pub from_param: String,
    /// `rr_to_store_param`
    pub to_param: String,
    /// `restore_mode`
    pub restore: RestoreMode,
    /// `restore_dlg`
    pub restore_dlg: bool,
    /// `restore_cookie`
    pub form: CookieForm,
    /// `restore_passwd`
    pub restore_passwd: Option<String>,
    /// `restore_from_avp`, `restore_to_avp`: names of variables of a request.
    pub original_variables: [Option<String>; 2],
    /// `credential` and `credential_ha1`, in the order of searching.
    pub credentials: Vec<Credential>,
    /// `auth_realm_avp`, `auth_username_avp`, `auth_password_avp`.
    pub auth_variables: Option<[String; 3]>,
    /// `auth_rounds_max`
    pub rounds_max: u8,
    /// `auth_raise_cseq`
    pub raise_cseq: bool,
    /// `default_socket`
    pub default_socket: Option<String>,
    /// What registrations share.
    pub reg: RegSettings,
}

/// What registrations share.
#[derive(Clone, Debug)]
pub struct RegSettings {
    /// `reg_timer_interval`
    pub timer_interval: Duration,
    /// `reg_retry_interval`; zero disables a record at its first failure.
    pub retry_interval: Duration,
    /// `reg_retry_max`
    pub retry_max: Duration,
    /// `reg_random_delay`
    pub random_delay: Duration,
    /// `reg_contact_addr`
    pub contact_addr: Option<String>,
    /// `reg_keep_callid`
    pub keep_call_id: bool,
    /// `reg_active`
    pub active: bool,
    /// `reg_use_domain`
    pub use_domain: bool,
    /// `reload_delta`
    pub reload_delta: Duration,
    /// `unregister_on_remove`
    pub unregister_on_remove: bool,
    /// `[[uac.registration]]`
    pub registrations: Vec<Registration>,
}

impl Default for Settings {
    fn default() -> Settings {
        Settings {
            from_param: "vsf".into(),
            to_param: "vst".into(),
            restore: RestoreMode::Auto,
            restore_dlg: false,
            form: CookieForm::Sealed,
            restore_passwd: None,
            original_variables: [None, None],
            credentials: Vec::new(),
            auth_variables: None,
            rounds_max: 3,
            raise_cseq: true,
            default_socket: None,
            reg: RegSettings {
                timer_interval: secs(90),
                retry_interval: secs(30),
                retry_max: secs(1800),
                random_delay: Duration::ZERO,
                contact_addr: None,
                keep_call_id: false,
                active: true,
                use_domain: false,
                reload_delta: secs(30),
                unregister_on_remove: true,
                registrations: Vec::new(),
            },
        }
    }
}

/// A day: longer than any of these spans makes sense.
const SPAN_MAX: Duration = secs(86_400);

/// Kamailio's parameters of a database, of shared memory and of a script.
const ELSEWHERE: [Elsewhere; 5] = [
    ("reg_db_url", Anyway::Nothing, "`[storage] url`"),
    ("reg_db_table", Anyway::Text("uacreg"), "table `uacreg`"),
    ("reg_hash_size", Anyway::Number(4), "nothing: the index grows by itself"),
    ("reg_gc_interval", Anyway::Number(150), "nothing: a reload replaces what has changed"),
    ("event_callback", Anyway::Nothing, "the routing's `event`"),
];

/// What can change while calls go on: not what cookies of present calls are read with, nor
/// listeners, nor what an operator switches by command.
pub(super) const LIVE: [&str; 14] = [
    "auth_raise_cseq",
    "auth_rounds_max",
    "credential",
    "credential_ha1",
    "reg_contact_addr",
    "reg_keep_callid",
    "reg_random_delay",
    "reg_retry_interval",
    "reg_retry_max",
    "reg_timer_interval",
    "reg_use_domain",
    "registration",
    "reload_delta",
    "unregister_on_remove",
];

impl Settings {
    /// These settings with what can change taken from others.
    pub(super) fn renewed(&self, fresh: &Settings) -> Settings {
        let active = self.reg.active;
        Settings {
            credentials: fresh.credentials.clone(),
            rounds_max: fresh.rounds_max,
            raise_cseq: fresh.raise_cseq,
            reg: RegSettings { active, ..fresh.reg.clone() },
            ..self.clone()
        }
    }

    /// Reads the section; problems are reported through it.
    pub fn from_section(section: &mut Section<'_>) -> Settings {
        let default = Settings::default();
        elsewhere::refuse(section, &ELSEWHERE);
        let settings = Settings {
            from_param: parameter(section, "rr_from_store_param", default.from_param),
            to_param: parameter(section, "rr_to_store_param", default.to_param),
            restore: restore_mode(section),
            restore_dlg: section.switch("restore_dlg", false),
            form: section.choice(
                "restore_cookie",
                CookieForm::Sealed,
                &[("sealed", CookieForm::Sealed), ("kamailio", CookieForm::Kamailio)],
            ),
            restore_passwd: section.string("restore_passwd"),
            original_variables: ["restore_from_avp", "restore_to_avp"]
                .map(|key| variable(section, key)),
            credentials: credentials(section),
            auth_variables: auth_variables(section),
            rounds_max: u8::try_from(section.integer("auth_rounds_max", 3, 1..=10)).unwrap_or(3),
            raise_cseq: section.switch("auth_raise_cseq", true),
            default_socket: section.parsed("default_socket", socket),
            reg: RegSettings::from_section(section, default.reg),
        };
        if settings.from_param == settings.to_param {
            section.problem("rr_to_store_param", "both headers use one parameter", "another name");
        }
        settings
    }
}

impl RegSettings {
    fn from_section(section: &mut Section<'_>, default: RegSettings) -> RegSettings {
        let mut span =
            |key, default, least| section.duration(key, default, least..=SPAN_MAX, Unit::Seconds);
        let timer_interval = span("reg_timer_interval", default.timer_interval, secs(1));
        let retry_interval = span("reg_retry_interval", default.retry_interval, Duration::ZERO);
        let retry_max = span("reg_retry_max", default.retry_max, secs(1));
        let random_delay = span("reg_random_delay", Duration::ZERO, Duration::ZERO);
        let reload_delta = span("reload_delta", default.reload_delta, Duration::ZERO);
        RegSettings {
            timer_interval,
            retry_interval,
            retry_max,
            random_delay,
            reload_delta,
            contact_addr: section.parsed("reg_contact_addr", contact_addr),
            keep_call_id: section.switch("reg_keep_callid", false),
            active: section.switch("reg_active", true),
            use_domain: section.switch("reg_use_domain", false),
            unregister_on_remove: section.switch("unregister_on_remove", true),
            registrations: registrations(section),
        }
    }
}

/// What may be the name of a parameter of a URI.
fn parameter(section: &mut Section<'_>, key: &'static str, default: String) -> String {
    let name = section.parsed(key, |text| {
        let is_name = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte);
        let good = !text.is_empty() && text.len() <= 32 && text.bytes().all(is_name);
        if good { Ok(text.to_owned()) } else { Err("a parameter's name".to_owned()) }
    });
    name.unwrap_or(default)
}

fn restore_mode(section: &mut Section<'_>) -> RestoreMode {
    let mode = section.parsed("restore_mode", |text| match text.to_ascii_lowercase().as_str() {
        "none" => Ok(RestoreMode::None),
        "manual" => Ok(RestoreMode::Manual),
        "auto" => Ok(RestoreMode::Auto),
        _ => Err("\"none\", \"manual\", \"auto\"".to_owned()),
    });
    mode.unwrap_or(RestoreMode::Auto)
}

/// A variable of a request: `name`, or as Kamailio writes it, `$avp(name)` or `$var(name)`.
fn variable(section: &mut Section<'_>, key: &'static str) -> Option<String> {
    section.parsed(key, |text| {
        let inner = text
            .strip_prefix('$')
            .and_then(|rest| rest.split_once('('))
            .and_then(|(_, rest)| rest.strip_suffix(')'))
            .unwrap_or(text);
        let inner = inner.strip_prefix("s:").unwrap_or(inner);
        let is_name = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte);
        let good = !inner.is_empty() && inner.bytes().all(is_name);
        if good { Ok(inner.to_owned()) } else { Err("the name of a variable".to_owned()) }
    })
}

fn auth_variables(section: &mut Section<'_>) -> Option<[String; 3]> {
    let keys = ["auth_realm_avp", "auth_username_avp", "auth_password_avp"];
    let set = keys.map(|key| section.is_set(key));
    let names = keys.map(|key| variable(section, key));
    if set.contains(&true) && set.contains(&false) {
        section.problem("auth_realm_avp", "not all three are set", "all of auth_*_avp, or none");
    }
    let [Some(realm), Some(user), Some(password)] = names else { return None };
    Some([realm, user, password])
}

/// Most credentials of the configuration. A guess: each is looked at for a challenge.
const CREDENTIALS_MAX: usize = 1024;

/// Later ones are searched first.
fn credentials(section: &mut Section<'_>) -> Vec<Credential> {
    let mut list = Vec::new();
    for key in ["credential", "credential_ha1"] {
        for text in section.strings(key).unwrap_or_default() {
            let secret = |text: &str| match key {
                "credential" => Some(Secret::password(text)),
                _ => Secret::default().with_ha1(text),
            };
            match credential(&text.value, secret) {
                Some(credential) => list.push(credential),
                None => section.problem_at(
                    text.place,
                    key,
                    "this is no credential",
                    "\"user:realm:password\" (credential) or \"user:realm:hash\" (credential_ha1)",
                ),
            }
        }
    }
    if list.len() > CREDENTIALS_MAX {
        section.problem("credential", "too many", &format!("at most {CREDENTIALS_MAX}"));
    }
    list.reverse();
    list
}

/// Blanks around parts are skipped; the password may hold colons, but no blanks.
fn credential(text: &str, secret: impl Fn(&str) -> Option<Secret>) -> Option<Credential> {
    let mut parts = text.splitn(3, ':').map(str::trim);
    let (user, realm, password) = (parts.next()?, parts.next()?, parts.next()?);
    let usable = |part: &str| !part.is_empty() && !part.contains(char::is_whitespace);
    if ![user, realm, password].into_iter().all(usable) || !is_quotable(user) {
        return None;
    }
    let secret = secret(password)?;
    Some(Credential { user: user.to_owned(), realm: realm.to_owned(), secret })
}

/// A socket as Kamailio writes it: `udp:192.0.2.1:5060`.
pub(super) fn socket(text: &str) -> Result<String, String> {
    let good = text.split_once(':').is_some_and(|(transport, address)| {
        Transport::from_name(transport.as_bytes()).is_some()
            && address.parse::<std::net::SocketAddr>().is_ok()
    });
    let allowed = "a listener of this node, such as \"udp:192.0.2.1:5060\"";
    if good { Ok(text.to_owned()) } else { Err(allowed.to_owned()) }
}

/// `host[:port][;params]`, without `line`, which belongs to the record.
pub(super) fn contact_addr(text: &str) -> Result<String, String> {
    let uri = format!("sip:x@{text}");
    let good = Uri::parse(uri.as_bytes()).is_ok_and(|uri| {
        uri.user == Some(b"x") && uri.headers.is_none() && uri.param(b"line").is_none()
    });
    let allowed = "host[:port][;params] without a parameter `line`";
    if good { Ok(text.to_owned()) } else { Err(allowed.to_owned()) }
}

fn registrations(section: &mut Section<'_>) -> Vec<Registration> {
    let rows = section.sections("registration", Registration::from_section);
    let mut list: Vec<Registration> = rows.into_iter().flatten().collect();
    if list.len() > REGISTRATIONS_MAX {
        let most = format!("at most {REGISTRATIONS_MAX}");
        section.problem("registration", "too many registrations", &most);
        list.truncate(REGISTRATIONS_MAX);
    }
    let mut ids: Vec<&str> = list.iter().map(Registration::uuid).collect();
    ids.sort_unstable();
    for pair in ids.windows(2) {
        if let [one, other] = pair
            && one == other
        {
            let what = format!("l_uuid {one:?} is there twice");
            section.problem("registration", what, "another l_uuid for each");
        }
    }
    list
}

#[cfg(test)]
mod tests {
    use super::*;
    use strowger_sip::settings::{Configuration, Place, Value};

    fn read(entries: &[(&str, Value)]) -> (Settings, String) {
        let mut configuration = Configuration::empty("test.toml");
        for (line, (key, value)) in (2..).zip(entries) {
            configuration.set("uac", key, Place::Line(line), value.clone());
        }
        let (settings, problems) =
            configuration.read(|root| Settings::from_section(&mut root.section("uac")));
        (settings, problems.to_string())
    }

    fn text(text: &str) -> Value {
        Value::String(text.to_owned())
    }

    #[test]
    fn all_of_kamailios_parameters_are_known() {
        let (settings, problems) = read(&[
            ("rr_from_store_param", text("my_param")),
            ("rr_to_store_param", text("my_other")),
            ("restore_mode", text("Manual")),
            ("restore_dlg", Value::Integer(1)),
            ("restore_passwd", text("my_secret_passwd")),
            ("restore_from_avp", text("$avp(original_uri_from)")),
            ("restore_to_avp", text("$avp(s:original_uri_to)")),
            ("credential", text(" bob : r : a:b ")),
            ("auth_realm_avp", text("$avp(arealm)")),
            ("auth_username_avp", text("$avp(auser)")),
            ("auth_password_avp", text("$avp(apasswd)")),
            ("reg_timer_interval", Value::Integer(60)),
            ("reg_retry_interval", Value::Integer(300)),
            ("reg_random_delay", Value::Integer(20)),
            ("reg_hash_size", Value::Integer(4)),
            ("reg_db_table", text("uacreg")),
            ("reg_contact_addr", text("192.0.2.1:5080;transport=tcp")),
            ("reg_keep_callid", Value::Integer(1)),
            ("reg_active", Value::Integer(0)),
            ("reg_gc_interval", Value::Integer(150)),
            ("reg_use_domain", Value::Integer(1)),
            ("default_socket", text("udp:192.0.2.1:5060")),
            ("reload_delta", Value::Integer(5)),
        ]);
        assert_eq!(problems, "");
        assert_eq!(settings.restore, RestoreMode::Manual);
        let variables = settings.original_variables.map(Option::unwrap_or_default);
        assert_eq!(variables, ["original_uri_from", "original_uri_to"]);
        assert_eq!(
            settings.credentials,
            [Credential { user: "bob".into(), realm: "r".into(), secret: Secret::password("a:b") }]
        );
        assert_eq!(settings.auth_variables.map(|[_, user, _]| user).as_deref(), Some("auser"));
        assert_eq!(settings.reg.retry_interval, secs(300));
        assert!(!settings.reg.active && settings.reg.keep_call_id);
    }

    #[test]
    fn every_mistake_is_found_and_no_secret_shown() {
        let (_, problems) = read(&[
            ("rr_from_store_param", text("")),
            ("rr_to_store_param", text("vsf")),
            ("restore_mode", text("always")),
            ("restore_cookie", text("plain")),
            ("credential", text("bob:hush")),
            ("credential_ha1", text("bob:r:hush")),
            ("auth_realm_avp", text("$avp(x)")),
            ("default_socket", text("192.0.2.1")),
            ("reg_db_url", text("mysql://u:hush@h/d")),
            ("reg_contact_addr", text("h;line=x")),
            ("reg_timer_interval", Value::Integer(0)),
            ("event_callback", text("f")),
            ("no_such_key", Value::Integer(1)),
        ]);
        assert_eq!(problems.lines().count(), 13, "{problems}");
        assert!(!problems.contains("hush"), "{problems}");
    }

    #[test]
    fn a_later_credential_is_searched_first() {
        let list = vec![(Place::Line(1), text("one:r:p")), (Place::Line(2), text("two:r:p"))];
        let (settings, problems) = read(&[("credential", Value::List(list))]);
        assert_eq!(problems, "");
        let users: Vec<&str> = settings.credentials.iter().map(|one| one.user.as_str()).collect();
        assert_eq!(users, ["two", "one"]);
    }
}
