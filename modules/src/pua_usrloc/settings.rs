//! `[pua_usrloc]`: the settings, with Kamailio's names.
//!
//! For: one place with every parameter's default and range.

use crate::location::Contact;
use strowger_sip::message::Uri;
use strowger_sip::settings::Section;

/// The settings.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// `default_domain`: of users whose key in the location has none. Without it nothing is
    /// published.
    pub default_domain: Option<String>,
    /// `entity_prefix`: the scheme of the document's entity, such as `pres`; else it is `sip`.
    pub entity_prefix: Option<String>,
    /// `branch_flag`: contacts with this branch flag are published without a routing's word.
    pub branch_flag: Option<u32>,
    /// `closed_expires`: how long a user who has gone is published as closed, in seconds; with 0
    /// the publication is removed at once.
    pub closed_expires: u32,
}

impl Default for Settings {
    /// Nothing is published.
    fn default() -> Settings {
        Settings {
            default_domain: None,
            entity_prefix: None,
            branch_flag: None,
            closed_expires: 60,
        }
    }
}

impl Settings {
    /// Reads `[pua_usrloc]`.
    pub fn from_config(section: &mut Section<'_>) -> Settings {
        let flag = section.integer_if_set("branch_flag", 0..=31);
        let closed = section.integer("closed_expires", 60, 0..=86_400);
        Settings {
            default_domain: section.parsed("default_domain", domain),
            entity_prefix: section.parsed("entity_prefix", scheme),
            branch_flag: flag.and_then(|flag| u32::try_from(flag).ok()),
            closed_expires: u32::try_from(closed).unwrap_or(60),
        }
    }

    /// Whether a contact is published without a routing's word.
    pub(super) fn marks(&self, contact: &Contact) -> bool {
        self.branch_flag.is_some_and(|bit| contact.facts.cflags & (1 << bit) != 0)
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

fn scheme(text: &str) -> Result<String, String> {
    let is_rest = |byte: u8| byte.is_ascii_alphanumeric() || b"+-.".contains(&byte);
    let is_first = text.bytes().next().is_some_and(|byte| byte.is_ascii_alphabetic());
    if is_first && text.bytes().all(is_rest) {
        Ok(text.to_owned())
    } else {
        Err("a scheme, such as \"pres\"".to_owned())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use strowger_sip::settings::{Configuration, Place, Value};

    #[test]
    fn values_are_read_and_mistakes_are_named() {
        let mut configuration = Configuration::empty("test.toml");
        for (key, value) in [
            ("default_domain", Value::String("Example.com".into())),
            ("entity_prefix", Value::String("pres:".into())),
            ("branch_flag", Value::Integer(32)),
            ("entity_prefx", Value::String("pres".into())),
        ] {
            configuration.set("pua_usrloc", key, Place::Line(1), value);
        }
        let (settings, problems) =
            configuration.read(|root| Settings::from_config(&mut root.section("pua_usrloc")));
        assert_eq!(settings.default_domain.as_deref(), Some("example.com"));
        let problems = problems.to_string();
        for expected in ["a scheme, such as", "branch_flag", "did you mean \"entity_prefix\""] {
            assert!(problems.contains(expected), "{expected}: {problems}");
        }
    }
}
