//! `[registrar]`: the registrar's settings, with Kamailio's names.
//!
//! For: one place with every parameter's default and range.
//! Not here: `[usrloc]` (`location/settings.rs`).

use crate::elsewhere::{self, Anyway, Elsewhere};
use crate::location::{AorRules, flag, number};
use strowger_sip::settings::Section;

/// What becomes of a too short lifetime (`min_expires_mode`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum MinExpiresMode {
    /// 0: it is raised.
    #[default]
    Raise,
    /// 1: it is refused with 423.
    Refuse,
}

/// What becomes of Path (`use_path`, `path_mode`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum PathMode {
    /// `use_path` 0: it is not looked at.
    #[default]
    Ignore,
    /// 0: stored always, never repeated in the 200.
    Store,
    /// 1: stored always, repeated if the agent supports it.
    Lazy,
    /// 2: refused with 420 unless the agent supports it.
    Strict,
}

/// What becomes of RFC 5626 (`outbound_mode`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum OutboundMode {
    /// 0: it is not looked at.
    #[default]
    Ignore,
    /// 1: used by agents that support it.
    Supported,
    /// 2: agents without it get 421.
    Required,
}

/// The registrar's settings.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// `default_expires`, in seconds.
    pub default_expires: u32,
    /// `default_expires_range`: it varies by so many percent.
    pub default_expires_range: u32,
    /// `expires_range`: so does what agents ask for.
    pub expires_range: u32,
    /// `min_expires`, in seconds.
    pub min_expires: u32,
    /// `min_expires_mode`.
    pub min_expires_mode: MinExpiresMode,
    /// `max_expires`, in seconds; 0 for none.
    pub max_expires: u32,
    /// `default_q`, in thousandths; `None` is -1.
    pub default_q: Option<u16>,
    /// `case_sensitive`: `Bob` and `bob` are two users.
    pub case_sensitive: bool,
    /// `realm_prefix`: left out where the domain of an address begins with it.
    pub realm_prefix: String,
    /// `append_branches`: look-ups give all contacts, not the best alone.
    pub append_branches: bool,
    /// `max_contacts` of an address; 0 for none.
    pub max_contacts: usize,
    /// `retry_after` of a 5xx, in seconds; 0 for none.
    pub retry_after: u32,
    /// `received_param`: the parameter's name in the 200; empty for none.
    pub received_param: String,
    /// `method_filtering`.
    pub method_filtering: bool,
    /// `use_path` and `path_mode`.
    pub path: PathMode,
    /// `path_use_received`.
    pub path_use_received: bool,
    /// `path_check_local`: look-ups leave out Path entries that are this node.
    pub path_check_local: bool,
    /// `gruu_enabled`.
    pub gruu_enabled: bool,
    /// `outbound_mode`.
    pub outbound: OutboundMode,
    /// `regid_mode`: a reg-id counts without outbound too.
    pub regid_without_outbound: bool,
    /// `flow_timer`, in seconds; 0 for none.
    pub flow_timer: u32,
    /// `contact_max_size`, in bytes.
    pub contact_max_size: usize,
    /// `use_expired_contacts`: look-ups give expired contacts too, while they are kept.
    pub use_expired_contacts: bool,
    /// `tcp_persistent_flag`: which flag of a REGISTER keeps the connection that it came over as
    /// long as its contacts last, however idle.
    pub tcp_persistent_flag: Option<u32>,
    /// `sock_hdr_name`: where a proxy before this one says which socket it received the request
    /// by; read for [`super::SaveOptions::socket_from_header`]; empty for none.
    pub sock_hdr_name: String,
}

impl Default for Settings {
    /// Kamailio's values.
    fn default() -> Settings {
        Settings {
            default_expires: 3600,
            default_expires_range: 0,
            expires_range: 0,
            min_expires: 60,
            min_expires_mode: MinExpiresMode::Raise,
            max_expires: 0,
            default_q: Some(0),
            case_sensitive: false,
            realm_prefix: String::new(),
            append_branches: true,
            max_contacts: 0,
            retry_after: 0,
            received_param: "received".into(),
            method_filtering: false,
            path: PathMode::Ignore,
            path_use_received: false,
            path_check_local: false,
            gruu_enabled: true,
            outbound: OutboundMode::Ignore,
            regid_without_outbound: false,
            flow_timer: 0,
            contact_max_size: 512,
            use_expired_contacts: false,
            tcp_persistent_flag: None,
            sock_hdr_name: String::new(),
        }
    }
}

/// No span of an agent or a setting is longer: ten years.
const SECONDS_MAX: u64 = 315_360_000;

impl Settings {
    /// How URIs become keys of addresses, given `[usrloc] use_domain`.
    pub fn rules(&self, use_domain: bool) -> AorRules {
        let realm_prefix = self.realm_prefix.clone();
        AorRules { use_domain, case_sensitive: self.case_sensitive, realm_prefix }
    }

    /// Reads `[registrar]`.
    pub fn from_config(section: &mut Section<'_>) -> Settings {
        let default = Settings::default();
        elsewhere::refuse(section, &ELSEWHERE);
        let settings = Settings {
            default_expires: number(section, "default_expires", 3600, 1..=SECONDS_MAX),
            default_expires_range: number(section, "default_expires_range", 0, 0..=100),
            expires_range: number(section, "expires_range", 0, 0..=100),
            min_expires: number(section, "min_expires", 60, 0..=SECONDS_MAX),
            min_expires_mode: match section.integer("min_expires_mode", 0, 0..=1) {
                1 => MinExpiresMode::Refuse,
                _ => MinExpiresMode::Raise,
            },
            max_expires: number(section, "max_expires", 0, 0..=SECONDS_MAX),
            default_q: u16::try_from(section.signed("default_q", 0, -1..=1000)).ok(),
            case_sensitive: flag(section, "case_sensitive", false),
            realm_prefix: section.string_or("realm_prefix", "").to_ascii_lowercase(),
            append_branches: flag(section, "append_branches", true),
            max_contacts: number(section, "max_contacts", 0, 0..=256) as usize,
            retry_after: number(section, "retry_after", 0, 0..=86_400),
            received_param: section.string_or("received_param", &default.received_param),
            method_filtering: flag(section, "method_filtering", false),
            path: match (flag(section, "use_path", false), section.integer("path_mode", 2, 0..=2)) {
                (false, _) => PathMode::Ignore,
                (true, 0) => PathMode::Store,
                (true, 1) => PathMode::Lazy,
                (true, _) => PathMode::Strict,
            },
            path_use_received: flag(section, "path_use_received", false),
            path_check_local: flag(section, "path_check_local", false),
            gruu_enabled: flag(section, "gruu_enabled", true),
            outbound: match section.integer("outbound_mode", 0, 0..=2) {
                1 => OutboundMode::Supported,
                2 => OutboundMode::Required,
                _ => OutboundMode::Ignore,
            },
            regid_without_outbound: flag(section, "regid_mode", false),
            flow_timer: number(section, "flow_timer", 0, 0..=86_400),
            contact_max_size: number(section, "contact_max_size", 512, 32..=512) as usize,
            use_expired_contacts: flag(section, "use_expired_contacts", false),
            tcp_persistent_flag: section
                .integer_if_set("tcp_persistent_flag", 0..=31)
                .and_then(|bit| u32::try_from(bit).ok()),
            sock_hdr_name: section.string_or("sock_hdr_name", ""),
        };
        if settings.max_expires > 0 && settings.max_expires < settings.min_expires {
            section.problem("max_expires", "less than min_expires", "at least min_expires, or 0");
        }
        let is_token = |c: char| c.is_ascii_alphanumeric() || "-_.".contains(c);
        if !settings.received_param.chars().all(is_token) {
            section.problem("received_param", "no parameter name", "letters, digits, - _ .");
        }
        if !settings.sock_hdr_name.chars().all(is_token) {
            section.problem("sock_hdr_name", "no header name", "letters, digits, - _ .");
        }
        settings
    }
}

/// Kamailio's parameters that name variables of a script, or sockets, which have no names here.
const ELSEWHERE: [Elsewhere; 6] = [
    ("received_avp", Anyway::Nothing, "`SaveOptions::received(uri)`"),
    ("xavp_cfg", Anyway::Nothing, "`SaveOptions` and `Match`"),
    ("xavp_rcd", Anyway::Nothing, "`Found::contacts()` and `Saved::bindings`"),
    ("event_callback", Anyway::Nothing, "a module that listens to `ContactEvent`"),
    ("lookup_filter_mode", Anyway::Number(0), "`Found::of_instance(..)`"),
    ("sock_mode", Anyway::Number(0), "nothing: a socket is stored by its address"),
];

#[cfg(test)]
mod tests {
    use super::*;
    use strowger_sip::settings::{Configuration, Place, Value};

    #[test]
    fn values_are_read_and_mistakes_are_named() {
        let mut configuration = Configuration::empty("test.toml");
        let place = Place::Line(1);
        for (key, value) in [
            ("use_path", Value::Boolean(true)),
            ("default_q", Value::Integer(-1)),
            ("realm_prefix", Value::String("SIP.".into())),
            ("max_expires", Value::Integer(30)),
            ("max_contact", Value::Integer(1)),
            ("received_avp", Value::String("$avp(r)".into())),
            ("sock_mode", Value::Integer(0)),
            ("lookup_filter_mode", Value::Integer(1)),
            ("sock_hdr_name", Value::String("Sock Info".into())),
        ] {
            configuration.set("registrar", key, place, value);
        }
        let (settings, problems) =
            configuration.read(|root| Settings::from_config(&mut root.section("registrar")));
        assert_eq!((settings.path, settings.default_q), (PathMode::Strict, None));
        assert_eq!(settings.rules(true).realm_prefix, "sip.");
        let problems = problems.to_string();
        assert!(problems.contains("less than min_expires"), "{problems}");
        assert!(problems.contains("use `SaveOptions::received(uri)`"), "{problems}");
        assert!(problems.contains("0; else use `Found::of_instance(..)`"), "{problems}");
        assert!(problems.contains("no header name"), "{problems}");
        assert!(!problems.contains("registrar.sock_mode:"), "{problems}");
        assert!(problems.contains("did you mean \"max_contacts\""), "{problems}");
    }
}
