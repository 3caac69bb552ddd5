//! Reading reginfo documents.
//!
//! Invariants: what RFC 3680 demands is there, or the document is refused as a whole; what it does
//! not know is passed over.

use super::{
    Contact, ContactState, EVENTS, Extent, Fault, GRUU_NAMESPACE, NAMESPACE, REGISTRATIONS_MAX,
    Reginfo, Registration, RegistrationState,
};
use crate::pua::bodies::xml::{self, Element};
use std::collections::BTreeSet;
use strowger_sip::message::Uri;

/// Longest text of a contact. Of those that storage keeps, the longest has 512.
const TEXT_BYTES_MAX: usize = 512;
/// Most parameters of one contact.
const PARAMS_MAX: usize = 32;

/// Reads a document.
///
/// # Errors
/// When it is none, or breaks a rule of RFC 3680.
pub fn read(body: &[u8]) -> Result<Reginfo, Fault> {
    let root = xml::read(body)?;
    if !root.is(NAMESPACE, "reginfo") {
        return Err(Fault::Root { expected: "reginfo" });
    }
    let version = number(&root, "reginfo", "version")?;
    let extent = match required(&root, "reginfo", "state")? {
        "full" => Extent::Full,
        "partial" => Extent::Partial,
        _ => return Err(Fault::Value { element: "reginfo", what: "state" }),
    };
    let all = || root.all(NAMESPACE, "registration");
    if all().count() > REGISTRATIONS_MAX {
        return Err(Fault::TooMany { limit: REGISTRATIONS_MAX });
    }
    let registrations = all().map(registration).collect::<Result<_, _>>()?;
    Ok(Reginfo { version, extent, registrations })
}

fn registration(element: &Element) -> Result<Registration, Fault> {
    const NAME: &str = "registration";
    let aor = required(element, NAME, "aor")?;
    let uri = Uri::parse(aor.as_bytes()).ok().filter(|uri| uri.scheme.is_sip());
    if uri.is_none_or(|uri| uri.user.is_none_or(<[u8]>::is_empty)) {
        return Err(Fault::Value { element: NAME, what: "aor" });
    }
    let state = match required(element, NAME, "state")? {
        "init" => RegistrationState::Init,
        "active" => RegistrationState::Active,
        "terminated" => RegistrationState::Terminated,
        _ => return Err(Fault::Value { element: NAME, what: "state" }),
    };
    let id = bounded(required(element, NAME, "id")?, NAME, "id")?;
    let contacts: Vec<Contact> =
        element.all(NAMESPACE, "contact").map(contact).collect::<Result<_, _>>()?;
    let mut ids = BTreeSet::new();
    if !contacts.iter().all(|contact| ids.insert(contact.id.as_str())) {
        return Err(Fault::Twice { element: "contact", what: "id" });
    }
    Ok(Registration { aor: aor.to_owned(), id: id.to_owned(), state, contacts })
}

const CONTACT: &str = "contact";

fn contact(element: &Element) -> Result<Contact, Fault> {
    let id = bounded(required(element, CONTACT, "id")?, CONTACT, "id")?;
    let state = match required(element, CONTACT, "state")? {
        "active" => ContactState::Active,
        "terminated" => ContactState::Terminated,
        _ => return Err(Fault::Value { element: CONTACT, what: "state" }),
    };
    let event = required(element, CONTACT, "event")?;
    let event = EVENTS.iter().find(|(name, _)| *name == event);
    let (_, event) = event.ok_or(Fault::Value { element: CONTACT, what: "event" })?;
    let mut uris = element.all(NAMESPACE, "uri");
    let uri = uris.next().ok_or(Fault::Missing { element: CONTACT, what: "uri" })?;
    if uris.next().is_some() {
        return Err(Fault::Twice { element: CONTACT, what: "uri" });
    }
    let uri = bounded(uri.text.trim(), CONTACT, "uri")?;
    let is_sip = Uri::parse(uri.as_bytes()).is_ok_and(|uri| uri.scheme.is_sip());
    if !is_sip || uri.contains(['\r', '\n', '<', '>']) {
        return Err(Fault::Value { element: CONTACT, what: "uri" });
    }
    let gruu = |name: &'static str| element.all(GRUU_NAMESPACE, name).next();
    let name = element.all(NAMESPACE, "display-name").next();
    let name = name.map(|name| line(&name.text, CONTACT, "display-name")).transpose()?;
    Ok(Contact {
        expires_seconds: expires(element)?,
        age_seconds: number_if_any(element, "duration-registered")?,
        q: element.attribute("q").map(q).transpose()?,
        call_id: text(element, "callid")?,
        cseq: number_if_any(element, "cseq")?,
        received: text(element, "received")?,
        path: text(element, "path")?,
        user_agent: text(element, "user_agent")?,
        display_name: name.map(str::to_owned),
        params: params(element)?,
        public_gruu: gruu("pub-gruu").and_then(|gruu| gruu.attribute("uri")).map(str::to_owned),
        temporary_gruu: gruu("temp-gruu").and_then(|gruu| {
            let first = gruu.attribute("first-cseq")?.parse().ok()?;
            Some((gruu.attribute("uri")?.to_owned(), first))
        }),
        ..Contact::new(id, uri, state, *event)
    })
}

fn params(element: &Element) -> Result<Vec<(String, Option<String>)>, Fault> {
    let mut params = Vec::new();
    for param in element.all(NAMESPACE, "unknown-param") {
        let name = required(param, "unknown-param", "name")?;
        // A token of RFC 3261, so that it cannot be more than one parameter.
        let is_token = |byte: u8| byte.is_ascii_alphanumeric() || b"-.!%*_+`'~".contains(&byte);
        if name.is_empty() || !name.bytes().all(is_token) {
            return Err(Fault::Value { element: "unknown-param", what: "name" });
        }
        if params.len() >= PARAMS_MAX {
            return Err(Fault::TooMany { limit: PARAMS_MAX });
        }
        let value = line(param.text.trim(), "unknown-param", "value")?;
        let is_quoted = value.len() > 1 && value.starts_with('"') && value.ends_with('"');
        if !is_quoted && value.contains([';', ',', '"', '<', '>', ' ', '\t']) {
            return Err(Fault::Value { element: "unknown-param", what: "value" });
        }
        params.push((name.to_owned(), (!value.is_empty()).then(|| value.to_owned())));
    }
    Ok(params)
}

fn required<'e>(
    element: &'e Element,
    name: &'static str,
    what: &'static str,
) -> Result<&'e str, Fault> {
    element.attribute(what).ok_or(Fault::Missing { element: name, what })
}

fn bounded<'t>(text: &'t str, element: &'static str, what: &'static str) -> Result<&'t str, Fault> {
    if text.is_empty() || text.len() > TEXT_BYTES_MAX {
        return Err(Fault::Value { element, what });
    }
    line(text, element, what)
}

/// Text without line ends, of bounded length.
fn line<'t>(text: &'t str, element: &'static str, what: &'static str) -> Result<&'t str, Fault> {
    if text.len() > TEXT_BYTES_MAX || text.contains(['\r', '\n']) {
        return Err(Fault::Value { element, what });
    }
    Ok(text)
}

/// An attribute's text; one that is empty says nothing.
fn text(element: &Element, what: &'static str) -> Result<Option<String>, Fault> {
    let value = element.attribute(what).filter(|value| !value.is_empty());
    value.map(|value| line(value, CONTACT, what).map(str::to_owned)).transpose()
}

fn number(element: &Element, name: &'static str, what: &'static str) -> Result<u32, Fault> {
    let text = required(element, name, what)?;
    text.parse().map_err(|_| Fault::Value { element: name, what })
}

fn number_if_any(element: &Element, what: &'static str) -> Result<Option<u32>, Fault> {
    let parsed = element.attribute(what).map(|text| text.trim().parse());
    parsed.transpose().map_err(|_| Fault::Value { element: CONTACT, what })
}

/// Some registrars write the end of a contact that never ends as a negative number.
fn expires(element: &Element) -> Result<Option<u32>, Fault> {
    let fault = |_| Fault::Value { element: CONTACT, what: "expires" };
    let Some(text) = element.attribute("expires") else { return Ok(None) };
    let seconds: i64 = text.trim().parse().map_err(fault)?;
    Ok(u64::try_from(seconds).ok().map(|seconds| u32::try_from(seconds).unwrap_or(u32::MAX)))
}

/// `1`, `0.5`, `0.123`, in thousandths.
fn q(text: &str) -> Result<u16, Fault> {
    let fault = Fault::Value { element: CONTACT, what: "q" };
    let q: f64 = text.trim().parse().map_err(|_| fault.clone())?;
    if !(0.0..=1.0).contains(&q) {
        return Err(fault);
    }
    Ok((q * 1000.0).round() as u16)
}
