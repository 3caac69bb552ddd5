//! Dialog information: RFC 4235.
//!
//! For: the state of calls of one user (`pua_dialoginfo`).
//! Not here: reading such documents; `set_version` numbers them.

use super::text::{DECLARATION, attribute, escape, optional};
use std::fmt::Write;

/// The namespace.
pub const NAMESPACE: &str = "urn:ietf:params:xml:ns:dialog-info";

/// How far a dialog has come (RFC 4235 §3.7.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum State {
    /// The INVITE is on its way.
    Trying,
    /// A provisional response with a tag has come.
    Early,
    /// It was answered.
    Confirmed,
    /// It is over.
    Terminated,
}

impl State {
    fn word(self) -> &'static str {
        match self {
            State::Trying => "trying",
            State::Early => "early",
            State::Confirmed => "confirmed",
            State::Terminated => "terminated",
        }
    }
}

/// Who has begun it, seen from the entity.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Direction {
    /// The entity.
    Initiator,
    /// The other party.
    Recipient,
}

/// One party.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Party {
    /// Who it is.
    pub identity: String,
    /// The name that is shown for it.
    pub display: Option<String>,
    /// Where requests to it go.
    pub target: Option<String>,
}

/// A dialog as one entity sees it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Dialog {
    /// Its name among the entity's.
    pub id: String,
    /// Its Call-ID.
    pub call_id: Option<String>,
    /// The entity's tag.
    pub local_tag: Option<String>,
    /// The other party's tag.
    pub remote_tag: Option<String>,
    /// Who has begun it.
    pub direction: Direction,
    /// How far it has come.
    pub state: State,
    /// The entity.
    pub local: Option<Party>,
    /// The other party.
    pub remote: Option<Party>,
}

/// Writes a document with the full state of these dialogs.
pub fn write(entity: &str, version: u32, dialogs: &[Dialog]) -> String {
    let mut out = String::from(DECLARATION);
    out.push_str("<dialog-info");
    attribute(&mut out, "xmlns", NAMESPACE);
    attribute(&mut out, "version", &version.to_string());
    attribute(&mut out, "state", "full");
    attribute(&mut out, "entity", entity);
    out.push_str(">\n");
    for dialog in dialogs {
        out.push_str("<dialog");
        attribute(&mut out, "id", &dialog.id);
        optional(&mut out, "call-id", dialog.call_id.as_ref());
        optional(&mut out, "local-tag", dialog.local_tag.as_ref());
        optional(&mut out, "remote-tag", dialog.remote_tag.as_ref());
        let direction = match dialog.direction {
            Direction::Initiator => "initiator",
            Direction::Recipient => "recipient",
        };
        attribute(&mut out, "direction", direction);
        let _ = write!(out, ">\n<state>{}</state>\n", dialog.state.word());
        party(&mut out, "remote", dialog.remote.as_ref());
        party(&mut out, "local", dialog.local.as_ref());
        out.push_str("</dialog>\n");
    }
    out.push_str("</dialog-info>\n");
    out
}

fn party(out: &mut String, name: &str, party: Option<&Party>) {
    let Some(party) = party else { return };
    let _ = write!(out, "<{name}>\n<identity");
    optional(out, "display", party.display.as_ref());
    out.push('>');
    escape(out, &party.identity);
    out.push_str("</identity>\n");
    if let Some(target) = &party.target {
        out.push_str("<target");
        attribute(out, "uri", target);
        out.push_str("/>\n");
    }
    let _ = writeln!(out, "</{name}>");
}

#[cfg(test)]
mod tests {
    use super::super::{read, set_version};
    use super::*;

    #[test]
    fn a_dialog_is_told_as_one_party_sees_it() {
        let party = |user: &str| {
            let display = Some(format!("\"{user}\" <&>"));
            let target = Some(format!("sip:{user}@192.0.2.9;a=b&c"));
            Some(Party { identity: format!("sip:{user}@example.com"), display, target })
        };
        let dialog = Dialog {
            id: "12:5".into(),
            call_id: Some("a\"b@h".into()),
            local_tag: Some("l".into()),
            remote_tag: None,
            direction: Direction::Recipient,
            state: State::Early,
            local: party("bob"),
            remote: party("alice"),
        };
        let text = write("sip:bob@example.com", 0, &[dialog]);
        let text = set_version(text.as_bytes(), "dialog-info", 3).expect("a document");
        let root = read(&text).expect("a document");
        assert_eq!(root.attribute("version"), Some("3"));
        assert_eq!(root.attribute("state"), Some("full"));
        let dialog = root.all(NAMESPACE, "dialog").next().expect("a dialog");
        assert_eq!(dialog.attribute("call-id"), Some("a\"b@h"));
        assert_eq!(dialog.attribute("direction"), Some("recipient"));
        assert_eq!(
            (dialog.attribute("local-tag"), dialog.attribute("remote-tag")),
            (Some("l"), None)
        );
        assert_eq!(dialog.all(NAMESPACE, "state").next().map(|state| &*state.text), Some("early"));
        let remote = dialog.all(NAMESPACE, "remote").next().expect("a party");
        let identity = remote.all(NAMESPACE, "identity").next().expect("an identity");
        assert_eq!(identity.attribute("display"), Some("\"alice\" <&>"));
        assert_eq!(identity.text, "sip:alice@example.com");
        let target = remote.all(NAMESPACE, "target").next().expect("a target");
        assert_eq!(target.attribute("uri"), Some("sip:alice@192.0.2.9;a=b&c"));
    }
}
