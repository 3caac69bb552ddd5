//! Writing reginfo documents.
//!
//! Invariants: attributes stand in one order; what a contact has not is left out.

use super::{
    Contact, ContactState, EVENTS, Extent, GRUU_NAMESPACE, NAMESPACE, Reginfo, Registration,
    RegistrationState,
};
use crate::pua::bodies::text::{DECLARATION, attribute, escape, optional};

impl Reginfo {
    /// The document's text.
    pub fn write(&self) -> String {
        let mut out = String::from(DECLARATION);
        out.push_str("<reginfo");
        attribute(&mut out, "xmlns", NAMESPACE);
        let contacts = || self.registrations.iter().flat_map(|one| &one.contacts);
        if contacts().any(|one| one.public_gruu.is_some() || one.temporary_gruu.is_some()) {
            attribute(&mut out, "xmlns:gr", GRUU_NAMESPACE);
        }
        attribute(&mut out, "version", &self.version.to_string());
        let extent = match self.extent {
            Extent::Full => "full",
            Extent::Partial => "partial",
        };
        attribute(&mut out, "state", extent);
        out.push_str(">\n");
        for registration in &self.registrations {
            registration.write(&mut out);
        }
        out.push_str("</reginfo>\n");
        out
    }
}

impl Registration {
    fn write(&self, out: &mut String) {
        out.push_str("<registration");
        attribute(out, "aor", &self.aor);
        attribute(out, "id", &self.id);
        let state = match self.state {
            RegistrationState::Init => "init",
            RegistrationState::Active => "active",
            RegistrationState::Terminated => "terminated",
        };
        attribute(out, "state", state);
        out.push_str(">\n");
        for contact in &self.contacts {
            contact.write(out);
        }
        out.push_str("</registration>\n");
    }
}

impl Contact {
    fn write(&self, out: &mut String) {
        out.push_str("<contact");
        attribute(out, "id", &self.id);
        let state = match self.state {
            ContactState::Active => "active",
            ContactState::Terminated => "terminated",
        };
        attribute(out, "state", state);
        let event = EVENTS.iter().find(|(_, event)| *event == self.event);
        optional(out, "event", event.map(|(name, _)| name));
        optional(out, "expires", self.expires_seconds);
        optional(out, "duration-registered", self.age_seconds);
        let q = self.q.map(|q| format!("{}.{:03}", q / 1000, q % 1000));
        optional(out, "q", q);
        optional(out, "callid", self.call_id.as_ref());
        optional(out, "cseq", self.cseq);
        optional(out, "received", self.received.as_ref());
        optional(out, "path", self.path.as_ref());
        optional(out, "user_agent", self.user_agent.as_ref());
        out.push_str(">\n");
        element(out, "uri", &self.uri);
        if let Some(name) = &self.display_name {
            element(out, "display-name", name);
        }
        for (name, value) in &self.params {
            out.push_str("<unknown-param");
            attribute(out, "name", name);
            out.push('>');
            escape(out, value.as_deref().unwrap_or_default());
            out.push_str("</unknown-param>\n");
        }
        if let Some(uri) = &self.public_gruu {
            out.push_str("<gr:pub-gruu");
            attribute(out, "uri", uri);
            out.push_str("/>\n");
        }
        if let Some((uri, first)) = &self.temporary_gruu {
            out.push_str("<gr:temp-gruu");
            attribute(out, "uri", uri);
            attribute(out, "first-cseq", &first.to_string());
            out.push_str("/>\n");
        }
        out.push_str("</contact>\n");
    }
}

fn element(out: &mut String, name: &str, text: &str) {
    out.push('<');
    out.push_str(name);
    out.push('>');
    escape(out, text);
    out.push_str("</");
    out.push_str(name);
    out.push_str(">\n");
}
