//! XML to a tree of elements that know their lines.
//!
//! For: `build.rs`, whose errors name lines.
//! Not here: what elements mean.
//! Invariants: depth and size are bounded by the file; nothing outside of it is fetched, a DOCTYPE
//! is not followed.

use super::ScenarioError;
use quick_xml::XmlVersion;
use quick_xml::events::{BytesStart, Event};
use quick_xml::reader::Reader;

/// One element.
#[derive(Debug)]
pub(super) struct Element {
    pub(super) name: String,
    pub(super) line: u32,
    pub(super) attributes: Vec<(String, String)>,
    pub(super) children: Vec<Element>,
    /// Its text and CDATA, joined.
    pub(super) text: String,
    /// Where the text begins.
    pub(super) text_line: u32,
}

impl Element {
    pub(super) fn attribute(&self, name: &str) -> Option<&str> {
        self.attributes.iter().find(|(found, _)| found == name).map(|(_, value)| value.as_str())
    }

    pub(super) fn error(&self, what: impl Into<String>) -> ScenarioError {
        ScenarioError::new(self.line, what)
    }
}

/// Reads a document with one root.
pub(super) fn parse(text: &str) -> Result<Element, ScenarioError> {
    let mut reader = Reader::from_str(text);
    let mut lines = Lines { text, at: 0, line: 1 };
    let mut open: Vec<Element> = Vec::new();
    loop {
        let line = lines.of(reader.buffer_position());
        let event = reader.read_event().map_err(|error| {
            ScenarioError::new(lines.of(reader.error_position()), format!("not XML: {error}"))
        })?;
        let done = match event {
            Event::Start(start) => {
                open.push(element(&start, line)?);
                None
            }
            Event::Empty(start) => Some(element(&start, line)?),
            Event::End(_) => open.pop(),
            Event::Text(text) => add(&mut open, line, &text),
            Event::CData(text) => add(&mut open, line, &text),
            Event::GeneralRef(reference) => add(&mut open, line, resolve(&reference, line)?),
            Event::Comment(_) | Event::Decl(_) | Event::PI(_) | Event::DocType(_) => None,
            Event::Eof => {
                let what = open.last().map_or("no element".to_owned(), |element| {
                    format!("<{}> of line {} is not closed", element.name, element.line)
                });
                return Err(ScenarioError::new(line, what));
            }
        };
        if let Some(element) = done {
            match open.last_mut() {
                Some(parent) => parent.children.push(element),
                None => return Ok(element),
            }
        }
    }
}

/// Appends text to the innermost element that is open.
fn add(open: &mut [Element], line: u32, text: &str) -> Option<Element> {
    if let Some(element) = open.last_mut() {
        if element.text.trim().is_empty() {
            element.text_line = line;
            element.text.clear();
        }
        element.text.push_str(text);
    }
    None
}

fn resolve(name: &str, line: u32) -> Result<&'static str, ScenarioError> {
    match name {
        "lt" => Ok("<"),
        "gt" => Ok(">"),
        "amp" => Ok("&"),
        "quot" => Ok("\""),
        "apos" => Ok("'"),
        other => Err(ScenarioError::new(line, format!("&{other}; is not defined"))),
    }
}

fn element(start: &BytesStart<'_>, line: u32) -> Result<Element, ScenarioError> {
    let wrong = |error: &dyn std::fmt::Display| ScenarioError::new(line, format!("{error}"));
    let mut attributes = Vec::new();
    for attribute in start.attributes() {
        let attribute = attribute.map_err(|error| wrong(&error))?;
        let value = attribute.normalized_value(XmlVersion::Explicit1_0);
        let value = value.map_err(|error| wrong(&error))?.into_owned();
        attributes.push((attribute.key.0.to_owned(), value));
    }
    let name = start.name().0.to_owned();
    let (children, text, text_line) = (Vec::new(), String::new(), line);
    Ok(Element { name, line, attributes, children, text, text_line })
}

/// Counts lines up to a position that only grows.
struct Lines<'a> {
    text: &'a str,
    at: usize,
    line: u32,
}

impl Lines<'_> {
    fn of(&mut self, position: u64) -> u32 {
        let position = usize::try_from(position).unwrap_or(usize::MAX);
        let new = self.text.as_bytes().get(self.at..position).unwrap_or(&[]);
        let found = new.iter().filter(|byte| **byte == b'\n').count();
        self.line += u32::try_from(found).unwrap_or(0);
        self.at = self.at.max(position.min(self.text.len()));
        self.line
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn elements_know_their_lines() {
        let root = parse("<?xml version=\"1.0\"?>\n<a>\n<b\n c='1 &lt; 2'/>\n<d>x</d></a>");
        let root = root.expect("XML");
        let lines: Vec<_> = root.children.iter().map(|e| (e.name.as_str(), e.line)).collect();
        assert_eq!((root.line, lines), (2, vec![("b", 3), ("d", 5)]));
        assert_eq!(root.children[0].attribute("c"), Some("1 < 2"));
        assert_eq!(root.children[1].text, "x");
    }

    #[test]
    fn what_is_not_xml_is_refused_with_its_line() {
        assert_eq!(parse("<a>\n<b>\n</a>").expect_err("broken").line, 3);
        assert_eq!(parse("<a>\n\n").expect_err("open").line, 3);
        assert!(parse("<a>&nbsp;</a>").is_err());
    }
}
