//! The value of a From or To header with another display name or another URI.
//!
//! For: what `uac_replace_from` and its kin write (uac.md f.1 steps 4 to 6).
//! Not here: which values (`rewrite.rs`).
//! Invariants: parameters, the tag above all, stay as they are; what is written can be read back
//! and names what was asked for.

use strowger_sip::message::{NameAddr, Uri};

/// What is to be changed; `None` leaves it.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Change<'c> {
    /// The display name with its quotes, if it has any; empty removes it.
    pub(super) display: Option<&'c [u8]>,
    pub(super) uri: Option<&'c [u8]>,
}

/// Whether a value has angle brackets around its URI.
fn has_brackets(address: &NameAddr<'_>) -> bool {
    !address.display.is_empty() || address.raw.starts_with(b"<")
}

/// Writes a changed value; `None` when the value cannot be read, or the result could not.
pub(super) fn changed(value: &[u8], change: Change<'_>) -> Option<Vec<u8>> {
    let is_text = |part: Option<&[u8]>| !part.unwrap_or_default().iter().any(u8::is_ascii_control);
    if !is_text(change.display) || !is_text(change.uri) {
        return None;
    }
    let address = NameAddr::parse(value).ok()?;
    let display = change.display.unwrap_or(address.display);
    let uri = change.uri.unwrap_or(address.uri);
    let params = address.params.as_bytes();
    let written = compose(display, uri, has_brackets(&address), params);
    // A name or URI with a quote or bracket of its own would say something else.
    let read = NameAddr::parse(&written).ok()?;
    let same = read.uri == uri && read.display == display && read.params.as_bytes() == params;
    (same && Uri::parse(uri).is_ok()).then_some(written)
}

/// The address of one value with the parameters of another: what a response shows.
pub(super) fn with_params_of(original: &[u8], value: &[u8]) -> Option<Vec<u8>> {
    let original = NameAddr::parse(original).ok()?;
    let params = NameAddr::parse(value).ok()?.params.as_bytes();
    Some(compose(original.display, original.uri, has_brackets(&original), params))
}

fn compose(display: &[u8], uri: &[u8], brackets: bool, params: &[u8]) -> Vec<u8> {
    let mut text = Vec::with_capacity(display.len() + uri.len() + params.len() + 4);
    text.extend_from_slice(display);
    if !display.is_empty() {
        text.push(b' ');
    }
    // Without brackets these would end the URI (RFC 3261 §20.10).
    let ends = uri.iter().any(|byte| matches!(byte, b';' | b',' | b'?'));
    if brackets || ends || !display.is_empty() {
        text.push(b'<');
        text.extend_from_slice(uri);
        text.push(b'>');
    } else {
        text.extend_from_slice(uri);
    }
    if !params.is_empty() {
        text.push(b';');
        text.extend_from_slice(params);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn change(value: &str, display: Option<&str>, uri: Option<&str>) -> Option<String> {
        let change = Change { display: display.map(str::as_bytes), uri: uri.map(str::as_bytes) };
        changed(value.as_bytes(), change).map(|text| String::from_utf8(text).expect("text"))
    }

    /// uac.md (h) A7.
    #[test]
    fn display_names_come_and_go() {
        let with = |value, display| change(value, Some(display), None);
        assert_eq!(with("<sip:a@b>;tag=1", "batman").as_deref(), Some("batman <sip:a@b>;tag=1"));
        assert_eq!(with("sip:a@b;tag=1", "batman").as_deref(), Some("batman <sip:a@b>;tag=1"));
        assert_eq!(with("\"X\" <sip:a@b>;tag=1", "").as_deref(), Some("<sip:a@b>;tag=1"));
        assert_eq!(
            with("\"X\" <sip:a@b>;tag=1", "\"Y, Z\"").as_deref(),
            Some("\"Y, Z\" <sip:a@b>;tag=1")
        );
    }

    #[test]
    fn a_uri_keeps_its_form_unless_it_needs_brackets() {
        let with = |value, uri| change(value, None, Some(uri));
        assert_eq!(with("sip:a@b;tag=1", "sip:c@d").as_deref(), Some("sip:c@d;tag=1"));
        assert_eq!(
            with("sip:a@b;tag=1", "sip:c@d;user=phone").as_deref(),
            Some("<sip:c@d;user=phone>;tag=1")
        );
        assert_eq!(with("X<sip:a@b>;tag=1", "sip:c@d").as_deref(), Some("X <sip:c@d>;tag=1"));
    }

    #[test]
    fn nothing_breaks_out() {
        assert_eq!(change("<sip:a@b>;tag=1", Some("X <sip:e@f>, Y"), None), None);
        assert_eq!(change("<sip:a@b>;tag=1", Some("\"X"), None), None);
        assert_eq!(change("<sip:a@b>;tag=1", Some("X\r\nY: z"), None), None);
        assert_eq!(change("<sip:a@b>;tag=1", None, Some("sip:c@d>;tag=2")), None);
        assert_eq!(change("<sip:a@b>;tag=1", None, Some("nobody")), None);
    }

    #[test]
    fn a_response_keeps_its_own_parameters() {
        let shown = with_params_of(b"\"Bob\" <sip:1@p>;tag=a", b"<sip:2@q>;tag=a;x=y");
        assert_eq!(shown.as_deref(), Some(&b"\"Bob\" <sip:1@p>;tag=a;x=y"[..]));
    }
}
