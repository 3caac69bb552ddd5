//! `[pua_dialoginfo]`: the settings, with Kamailio's names.
//!
//! For: one place with every parameter's default and range.

use crate::elsewhere::{self, Anyway, Elsewhere};
use strowger_sip::message::Uri;
use strowger_sip::settings::Section;

/// Most URIs that one dialog's variable names. A guess: a team's telephones.
pub(super) const ENTITIES_MAX: usize = 16;

/// The settings.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// `publish`: whether calls are published at all.
    pub publish: bool,
    /// `include_callid`: the document has the Call-ID.
    pub include_callid: bool,
    /// `include_tags`: it has the tags.
    pub include_tags: bool,
    /// `include_localremote`: it has both parties.
    pub include_localremote: bool,
    /// `override_lifetime`: how long a state is published, in seconds; 0 for the dialog's lifetime.
    pub override_lifetime: u32,
    /// `include_req_uri`: the callee is named by the Request-URI, not by To.
    pub include_req_uri: bool,
    /// `caller_confirmed`: the caller's call is confirmed as soon as it rings.
    pub caller_confirmed: bool,
    /// `callee_trying`: the callee's call is published before it rings.
    pub callee_trying: bool,
    /// `publish_dialog_req_within`: a changed contact is published.
    pub publish_dialog_req_within: bool,
    /// `send_publish_flag`: only dialogs with this flag are published, whoever their parties are.
    pub send_publish_flag: Option<u32>,
    /// `disable_caller_publish_flag`: with this flag nothing is published of the caller.
    pub disable_caller_publish_flag: Option<u32>,
    /// `disable_callee_publish_flag`: the same of the callee.
    pub disable_callee_publish_flag: Option<u32>,
    /// `caller_entity_when_publish_disabled`: with the flag the caller is published as this.
    pub caller_entity_when_publish_disabled: Option<String>,
    /// `callee_entity_when_publish_disabled`: the same of the callee.
    pub callee_entity_when_publish_disabled: Option<String>,
    /// `pubruri_caller_dlg_var`: the dialog's variable that says as whom the caller is published:
    /// URIs with blanks between them.
    pub pubruri_caller_dlg_var: Option<String>,
    /// `pubruri_callee_dlg_var`: the same of the callee.
    pub pubruri_callee_dlg_var: Option<String>,
}

impl Default for Settings {
    /// Kamailio's values; nothing is published.
    fn default() -> Settings {
        Settings {
            publish: false,
            include_callid: true,
            include_tags: true,
            include_localremote: true,
            override_lifetime: 0,
            include_req_uri: false,
            caller_confirmed: false,
            callee_trying: false,
            publish_dialog_req_within: true,
            send_publish_flag: None,
            disable_caller_publish_flag: None,
            disable_callee_publish_flag: None,
            caller_entity_when_publish_disabled: None,
            callee_entity_when_publish_disabled: None,
            pubruri_caller_dlg_var: None,
            pubruri_callee_dlg_var: None,
        }
    }
}

impl Settings {
    /// Reads `[pua_dialoginfo]`.
    pub fn from_config(section: &mut Section<'_>) -> Settings {
        elsewhere::refuse(section, &ELSEWHERE);
        let override_lifetime = section.integer("override_lifetime", 0, 0..=u64::from(u32::MAX));
        let mut flag = |key| {
            let flag = section.integer_if_set(key, 0..=31);
            flag.and_then(|flag| u32::try_from(flag).ok())
        };
        let send_publish_flag = flag("send_publish_flag");
        let disable_caller_publish_flag = flag("disable_caller_publish_flag");
        let disable_callee_publish_flag = flag("disable_callee_publish_flag");
        Settings {
            publish: section.switch("publish", false),
            include_callid: section.switch("include_callid", true),
            include_tags: section.switch("include_tags", true),
            include_localremote: section.switch("include_localremote", true),
            override_lifetime: u32::try_from(override_lifetime).unwrap_or(0),
            include_req_uri: section.switch("include_req_uri", false),
            caller_confirmed: section.switch("caller_confirmed", false),
            callee_trying: section.switch("callee_trying", false),
            publish_dialog_req_within: section.switch("publish_dialog_req_within", true),
            send_publish_flag,
            disable_caller_publish_flag,
            disable_callee_publish_flag,
            caller_entity_when_publish_disabled: section
                .parsed("caller_entity_when_publish_disabled", sip_uri),
            callee_entity_when_publish_disabled: section
                .parsed("callee_entity_when_publish_disabled", sip_uri),
            pubruri_caller_dlg_var: section.string("pubruri_caller_dlg_var"),
            pubruri_callee_dlg_var: section.string("pubruri_callee_dlg_var"),
        }
    }
}

/// Kamailio's parameters that name variables of a script, and the names of parties, which a dialog
/// does not keep.
const ELSEWHERE: [Elsewhere; 4] = [
    ("use_pubruri_avps", Anyway::Switch(false), "`pubruri_caller_dlg_var`"),
    ("pubruri_caller_avp", Anyway::Nothing, "`pubruri_caller_dlg_var`"),
    ("pubruri_callee_avp", Anyway::Nothing, "`pubruri_callee_dlg_var`"),
    ("attribute_display", Anyway::Switch(false), "nothing: parties are shown by their URIs"),
];

fn sip_uri(text: &str) -> Result<String, String> {
    let uri = Uri::parse(text.as_bytes());
    if uri.is_ok_and(|uri| uri.scheme.is_sip()) && !text.contains(['<', '>', '?']) {
        Ok(text.to_owned())
    } else {
        Err("a SIP URI, such as \"sip:user@example.com\"".to_owned())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use strowger_sip::settings::{Configuration, Place, Value};

    #[test]
    fn values_are_read_and_mistakes_are_named() {
        let mut configuration = Configuration::empty("test.toml");
        let text = |text: &str| Value::String(text.into());
        for (key, value) in [
            ("publish", Value::Boolean(true)),
            ("include_tags", Value::Integer(0)),
            ("send_publish_flag", Value::Integer(32)),
            ("pubruri_caller_avp", text("$avp(x)")),
            ("use_pubruri_avps", Value::Integer(0)),
            ("caller_entity_when_publish_disabled", text("bob")),
            ("pubruri_callee_dlg_var", text("as")),
        ] {
            configuration.set("pua_dialoginfo", key, Place::Line(1), value);
        }
        let (settings, problems) =
            configuration.read(|root| Settings::from_config(&mut root.section("pua_dialoginfo")));
        assert!(settings.publish && !settings.include_tags && settings.include_callid);
        assert_eq!(settings.pubruri_callee_dlg_var.as_deref(), Some("as"));
        let problems = problems.to_string();
        for expected in ["use `pubruri_caller_dlg_var`", "send_publish_flag", "a SIP URI"] {
            assert!(problems.contains(expected), "{expected}: {problems}");
        }
        assert_eq!(problems.matches("use_pubruri_avps").count(), 0, "{problems}");
    }
}
