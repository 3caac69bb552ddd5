//! Writing XML, and changing start tags of a document that somebody else has written.
//!
//! For: the writers of this folder; versions and ids that a publication puts into its body.
//! Invariants: every byte of a changed document that is not in a changed tag stays what it was.

use super::{Fault, xml};
use quick_xml::events::{BytesStart, Event};
use quick_xml::reader::Reader;
use std::fmt::Write;

/// The declaration that every document begins with.
pub(super) const DECLARATION: &str = "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n";

/// Appends text with what XML reserves written as references; what XML cannot hold is left out.
pub(super) fn escape(out: &mut String, text: &str) {
    for c in text.chars() {
        match c {
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '&' => out.push_str("&amp;"),
            '"' => out.push_str("&quot;"),
            // An attribute's value is read with a blank in place of these.
            '\t' => out.push_str("&#9;"),
            '\n' => out.push_str("&#10;"),
            '\r' => out.push_str("&#13;"),
            c if xml::is_allowed(c) => out.push(c),
            _ => {}
        }
    }
}

/// Appends ` name="value"`.
pub(super) fn attribute(out: &mut String, name: &str, value: &str) {
    let _ = write!(out, " {name}=\"");
    escape(out, value);
    out.push('"');
}

/// Appends an attribute if it has a value.
pub(super) fn optional(out: &mut String, name: &str, value: Option<impl ToString>) {
    if let Some(value) = value {
        attribute(out, name, &value.to_string());
    }
}

/// A start tag: its name as written, and its attributes as written, values still escaped.
#[derive(Debug)]
pub(super) struct Tag {
    name: String,
    attributes: Vec<(String, String)>,
}

impl Tag {
    fn of(start: &BytesStart<'_>) -> Tag {
        let attributes = start.attributes().filter_map(Result::ok);
        let pair = |one: quick_xml::events::attributes::Attribute<'_>| {
            (one.key.into_inner().to_owned(), one.value.into_owned())
        };
        let name = start.name().into_inner().to_owned();
        Tag { name, attributes: attributes.map(pair).collect() }
    }

    /// Its name without a prefix.
    pub(super) fn local_name(&self) -> &str {
        self.name.rsplit_once(':').map_or(&self.name, |(_, name)| name)
    }

    /// Whether it has an attribute.
    pub(super) fn has(&self, name: &str) -> bool {
        self.attributes.iter().any(|(known, _)| known == name)
    }

    /// Sets an attribute to a value.
    pub(super) fn set(&mut self, name: &str, value: &str) {
        let mut escaped = String::new();
        escape(&mut escaped, value);
        match self.attributes.iter_mut().find(|(known, _)| known == name) {
            Some((_, known)) => *known = escaped,
            None => self.attributes.push((name.to_owned(), escaped)),
        }
    }

    fn write(&self, out: &mut String, is_empty: bool) {
        let _ = write!(out, "<{}", self.name);
        for (name, value) in &self.attributes {
            let quote = if value.contains('"') { '\'' } else { '"' };
            let _ = write!(out, " {name}={quote}{value}{quote}");
        }
        out.push_str(if is_empty { "/>" } else { ">" });
    }
}

/// Whether a tag is written anew.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Edited {
    Changed,
    Unchanged,
}

/// Copies a document, with the start tags that `edit` wants otherwise.
pub(super) fn rewrite(
    body: &[u8],
    mut edit: impl FnMut(&mut Tag) -> Edited,
) -> Result<Vec<u8>, Fault> {
    xml::read(body)?;
    let text = xml::text_of(body)?;
    let mut reader = Reader::from_str(text);
    let mut out = String::with_capacity(text.len() + 32);
    loop {
        let position = |reader: &Reader<&[u8]>| usize::try_from(reader.buffer_position());
        let from = position(&reader).unwrap_or(usize::MAX);
        let event = reader.read_event().map_err(|_| Fault::Malformed { offset: from })?;
        let to = position(&reader).unwrap_or(usize::MAX);
        let as_written = text.get(from..to).unwrap_or_default();
        let (start, is_empty) = match &event {
            Event::Start(start) => (start, false),
            Event::Empty(start) => (start, true),
            Event::Eof => return Ok(out.into_bytes()),
            Event::End(_)
            | Event::Text(_)
            | Event::CData(_)
            | Event::Comment(_)
            | Event::Decl(_)
            | Event::PI(_)
            | Event::DocType(_)
            | Event::GeneralRef(_) => {
                out.push_str(as_written);
                continue;
            }
        };
        let mut tag = Tag::of(start);
        match edit(&mut tag) {
            Edited::Changed => tag.write(&mut out, is_empty),
            Edited::Unchanged => out.push_str(as_written),
        }
    }
}

/// Writes a version into a document's root element, which must be this one
/// (`dlginfo_increase_version`, `reginfo_increase_version`).
///
/// # Errors
/// When it is no such document.
pub fn set_version(body: &[u8], root: &'static str, version: u32) -> Result<Vec<u8>, Fault> {
    if xml::read(body)?.name != root {
        return Err(Fault::Root { expected: root });
    }
    let mut is_root = true;
    rewrite(body, |tag| {
        if !std::mem::take(&mut is_root) {
            return Edited::Unchanged;
        }
        tag.set("version", &version.to_string());
        Edited::Changed
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn versioned(body: &str, version: u32) -> Result<String, Fault> {
        let body = set_version(body.as_bytes(), "reginfo", version)?;
        Ok(String::from_utf8(body).expect("text"))
    }

    #[test]
    fn a_version_is_set_and_nothing_else_changes() {
        let before = "<?xml version='1.0'?>\n<!-- version=\"5\" --><a:reginfo";
        let after = "\n <a:registration version='1'/>é\n</a:reginfo>\n";
        let tag = " xmlns:a='urn:x&amp;y' version='0' b='\"'  state=\"full\" >";
        let body = &format!("{before}{tag}{after}");
        let tag = " xmlns:a=\"urn:x&amp;y\" version=\"7\" b='\"' state=\"full\">";
        let expected = &*format!("{before}{tag}{after}");
        assert_eq!(versioned(body, 7).as_deref(), Ok(expected));
        assert_eq!(versioned("<reginfo/>", 0).as_deref(), Ok("<reginfo version=\"0\"/>"));
    }

    #[test]
    fn another_document_gets_no_version() {
        assert_eq!(versioned("<dialog-info/>", 1), Err(Fault::Root { expected: "reginfo" }));
        assert!(versioned("<reginfo", 1).is_err());
        let typed = "<!DOCTYPE reginfo><reginfo/>";
        assert_eq!(versioned(typed, 1), Err(Fault::DocumentType));
    }
}
