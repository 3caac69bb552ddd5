//! `[pua_reginfo]`: the settings, with Kamailio's names where it has them.
//!
//! For: one place with every parameter's default and range.

use strowger_sip::message::Uri;
use strowger_sip::settings::{Section, Unit};
use strowger_sip::time::{Duration, ms, secs};

/// The settings.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// `default_domain`: of users whose key in the location has none.
    pub default_domain: Option<String>,
    /// `publish_reginfo`: whether registrations are published. Without the key, when there is a
    /// `default_domain`.
    pub publish_reginfo: bool,
    /// `outbound_proxy`: where PUBLISH and the first SUBSCRIBE go; else where `[pua]` says, else to
    /// the user's domain.
    pub outbound_proxy: Option<String>,
    /// `server_address`: From and Contact of SUBSCRIBE; it must lead here.
    pub server_address: Option<String>,
    /// `publish_delay`: changes of one user within this time are published together.
    pub publish_delay: Duration,
    /// `publish_refresh`: whether a registration that was only refreshed is told anew; otherwise
    /// the publication is prolonged without a document.
    pub publish_refresh: bool,
    /// `publish_on_start`: so many users a second are published after a start with contacts from
    /// storage; 0 for none.
    pub publish_on_start: u32,
    /// `terminated_linger`: how long the last state of a user without contacts stays published.
    pub terminated_linger: Duration,
    /// `contact_params`: whether parameters of Contact values are published. Kamailio takes them
    /// into the contact's URI.
    pub contact_params: bool,
    /// `subscribe`: users who are followed from the start on.
    pub subscribe: Vec<String>,
    /// `default_expires`: how long a contact lasts whose end is not told, in seconds.
    pub default_expires: u32,
    /// `passed_on`: the server sends on the documents of several registrars each as it is
    /// (`presence_reginfo` with `aggregate_presentities` 0), so that none of them tells everything
    /// and each counts for itself.
    pub passed_on: bool,
}

impl Default for Settings {
    /// Nothing is published.
    fn default() -> Settings {
        Settings {
            default_domain: None,
            publish_reginfo: false,
            outbound_proxy: None,
            server_address: None,
            publish_delay: ms(200),
            publish_refresh: true,
            publish_on_start: 0,
            terminated_linger: secs(5),
            contact_params: true,
            subscribe: Vec::new(),
            default_expires: 3600,
            passed_on: false,
        }
    }
}

/// A minute: longer, and a state is published when nobody wants to know it any more.
const DELAY_MAX: Duration = secs(60);

impl Settings {
    /// Reads `[pua_reginfo]`.
    pub fn from_config(section: &mut Section<'_>) -> Settings {
        let default = Settings::default();
        let default_domain = section.parsed("default_domain", domain);
        let asked = section.is_set("publish_reginfo");
        let publish_reginfo = section.switch("publish_reginfo", default_domain.is_some());
        if asked && publish_reginfo && default_domain.is_none() {
            let allowed = "a domain, such as \"example.com\"";
            section.problem("default_domain", "needed to publish registrations", allowed);
        }
        let server_address = section.parsed("server_address", sip_uri);
        let mut subscribe = Vec::new();
        for text in section.strings("subscribe").unwrap_or_default() {
            match sip_uri(&text.value) {
                Ok(uri) => subscribe.push(uri),
                Err(allowed) => {
                    let what = format!("{:?} cannot be followed", text.value);
                    section.problem_at(text.place, "subscribe", what, &allowed);
                }
            }
        }
        if !subscribe.is_empty() && server_address.is_none() {
            let allowed = "the URI of this node, such as \"sip:reginfo@192.0.2.1\"";
            section.problem("server_address", "needed to subscribe", allowed);
        }
        let expires = section.integer("default_expires", 3600, 1..=86_400);
        let on_start = section.integer("publish_on_start", 0, 0..=100_000);
        Settings {
            default_domain,
            publish_reginfo,
            outbound_proxy: section.parsed("outbound_proxy", sip_uri),
            server_address,
            publish_delay: section.duration(
                "publish_delay",
                default.publish_delay,
                Duration::ZERO..=DELAY_MAX,
                Unit::Milliseconds,
            ),
            publish_refresh: section.switch("publish_refresh", true),
            publish_on_start: u32::try_from(on_start).unwrap_or(0),
            terminated_linger: section.duration(
                "terminated_linger",
                default.terminated_linger,
                Duration::ZERO..=secs(3600),
                Unit::Seconds,
            ),
            contact_params: section.switch("contact_params", true),
            subscribe,
            default_expires: u32::try_from(expires).unwrap_or(default.default_expires),
            passed_on: section.switch("passed_on", false),
        }
    }
}

fn sip_uri(text: &str) -> Result<String, String> {
    let uri = Uri::parse(text.as_bytes());
    if uri.is_ok_and(|uri| uri.scheme.is_sip()) && !text.contains(['<', '>', '?']) {
        Ok(text.to_owned())
    } else {
        Err("a SIP URI, such as \"sip:user@example.com\"".to_owned())
    }
}

fn domain(text: &str) -> Result<String, String> {
    let uri = format!("sip:{text}");
    let is_domain = Uri::parse(uri.as_bytes())
        .is_ok_and(|uri| uri.user.is_none() && uri.params.into_iter().next().is_none());
    if is_domain && !text.contains(['?', '@', ';']) {
        Ok(text.to_ascii_lowercase())
    } else {
        Err("a domain, such as \"example.com\"".to_owned())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use strowger_sip::settings::{Configuration, Place, Value};

    fn read(values: &[(&str, Value)]) -> (Settings, String) {
        let mut configuration = Configuration::empty("test.toml");
        for (key, value) in values {
            configuration.set("pua_reginfo", key, Place::Line(1), value.clone());
        }
        let (settings, problems) =
            configuration.read(|root| Settings::from_config(&mut root.section("pua_reginfo")));
        (settings, problems.to_string())
    }

    #[test]
    fn values_are_read_and_mistakes_are_named() {
        let text = |text: &str| Value::String(text.into());
        let (settings, problems) = read(&[
            ("default_domain", text("Example.com")),
            ("server_address", text("sip:reginfo@192.0.2.1")),
            ("outbound_proxy", text("sip:192.0.2.7:5070")),
            ("subscribe", text("sip:bob@example.com")),
            ("publish_delay", Value::Integer(50)),
        ]);
        assert_eq!(problems, "");
        assert!(settings.publish_reginfo && settings.subscribe == ["sip:bob@example.com"]);
        assert_eq!(settings.default_domain.as_deref(), Some("example.com"));
        assert_eq!(settings.publish_delay, ms(50));
        assert_eq!(read(&[]), (Settings::default(), String::new()));
        for (key, value, expected) in [
            ("publish_reginfo", Value::Integer(1), "needed to publish registrations"),
            ("subscribe", text("sip:bob@example.com"), "needed to subscribe"),
            ("subscribe", text("bob"), "cannot be followed"),
            ("default_domain", text("a@b"), "a domain"),
            ("outbound_proxy", text("tel:1"), "a SIP URI"),
            ("outbound_prox", text("sip:h"), "did you mean \"outbound_proxy\""),
        ] {
            let (_, problems) = read(&[(key, value)]);
            assert!(problems.contains(expected), "{key}: {problems}");
        }
    }
}
