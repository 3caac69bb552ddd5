//! Contact fields with other URIs in them.
//!
//! For: helpers that rewrite contacts on their way through: behind a NAT, hidden topology.
//! Not here: which URI becomes which (their callers), applying edits (`write/`).
//! Invariants: display names and parameters stay; a field that cannot be read, or holds the star,
//! stays as it is.

use super::edits::{EditError, Edits};
use super::header::HeaderName;
use super::message::Message;
use super::name_addr::NameAddr;
use super::octet::is_lws;
use super::uri::Uri;

/// What becomes of one contact.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ChangedContact {
    /// Its URI.
    pub uri: String,
    /// What is added behind its parameters, with its semicolon; may be empty.
    pub more: String,
}

/// A Contact field, counted from 0, and its new value.
pub type ChangedField = (usize, Vec<u8>);

impl<'a> Message<'a> {
    /// The Contact fields with other URIs: those in which `change` changes at least one contact.
    pub fn changed_contacts(
        self,
        mut change: impl FnMut(&NameAddr<'a>, &Uri<'a>) -> Option<ChangedContact>,
    ) -> Vec<ChangedField> {
        let fields = self.headers(HeaderName::Contact).enumerate();
        let changed = fields.filter_map(|(nth, field)| {
            let contacts: Result<Vec<_>, _> = NameAddr::list(field.value).collect();
            let (mut value, mut any) = (Vec::with_capacity(field.value.len() + 64), false);
            for contact in contacts.ok()? {
                let changed = change(&contact, &contact.uri().ok()?);
                any |= changed.is_some();
                if !value.is_empty() {
                    value.extend_from_slice(b", ");
                }
                write(&mut value, &contact, changed);
            }
            any.then(|| (nth, unfolded(value)))
        });
        changed.collect()
    }
}

fn write(value: &mut Vec<u8>, contact: &NameAddr<'_>, changed: Option<ChangedContact>) {
    let Some(ChangedContact { uri, more }) = changed else {
        return value.extend_from_slice(contact.raw);
    };
    if !contact.display.is_empty() {
        value.extend_from_slice(contact.display);
        value.push(b' ');
    }
    value.push(b'<');
    value.extend_from_slice(uri.as_bytes());
    value.push(b'>');
    if !contact.params.as_bytes().is_empty() {
        value.push(b';');
        value.extend_from_slice(contact.params.as_bytes());
    }
    value.extend_from_slice(more.as_bytes());
}

/// Line ends of folds as blanks: no edit holds a line end.
fn unfolded(mut value: Vec<u8>) -> Vec<u8> {
    for byte in value.iter_mut().filter(|byte| is_lws(**byte)) {
        *byte = b' ';
    }
    value
}

impl Edits {
    /// Replaces Contact fields; how many.
    ///
    /// # Errors
    /// When an edit is refused.
    pub fn replace_contacts(&mut self, fields: &[ChangedField]) -> Result<usize, EditError> {
        for (nth, value) in fields {
            self.replace(b"Contact", *nth, value)?;
        }
        Ok(fields.len())
    }
}

#[cfg(test)]
mod tests {
    use super::super::head::Head;
    use super::*;
    use crate::limits::Limits;

    fn changed(lines: &str) -> Vec<(usize, String)> {
        let text = format!("INVITE sip:h SIP/2.0\r\n{lines}\r\n");
        let mut head = Head::default();
        head.parse(text.as_bytes(), &Limits::DATAGRAM).expect("a message");
        let fields = head.message(text.as_bytes()).changed_contacts(|_, uri| {
            let is_a = uri.host_port == b"a";
            is_a.then(|| ChangedContact { uri: "sip:new".into(), more: ";x".into() })
        });
        let text = |(nth, value)| (nth, String::from_utf8(value).expect("text"));
        fields.into_iter().map(text).collect()
    }

    #[test]
    fn names_and_parameters_stay() {
        let fields = changed(
            "m: sip:b\r\nContact: \"A, B\" <sip:a>;q=0.5,\r\n sip:a;expires=3 , <sip:b;p>;q=1\r\n",
        );
        let value = "\"A, B\" <sip:new>;q=0.5;x, <sip:new>;expires=3;x, <sip:b;p>;q=1";
        assert_eq!(fields, [(1, value.to_owned())]);
    }

    #[test]
    fn what_cannot_be_read_stays() {
        assert_eq!(changed("Contact: *\r\n"), []);
        assert_eq!(changed("Contact: <sip:a>, <sip:a b>\r\n"), []);
        assert_eq!(changed(""), []);
    }
}
