//! XML with limits: a document as a tree of elements.
//!
//! For: reading what a peer sends, before anything is done with it.
//! Not here: what the elements mean, writing (`text.rs`).
//! Invariants: linear in the document's length; no recursion; nothing outside of the document is
//! ever looked at.

use super::Fault;
use quick_xml::XmlVersion;
use quick_xml::errors::Error;
use quick_xml::escape::{EscapeError, resolve_xml_entity};
use quick_xml::events::{BytesDecl, BytesStart, Event};
use quick_xml::name::{Namespace, ResolveResult};
use quick_xml::reader::NsReader;

/// Longest document. A guess: 500 contacts with every attribute take half of it.
pub const BYTES_MAX: usize = 512 * 1024;
/// Deepest nesting. A guess: documents in use have five.
pub const DEPTH_MAX: usize = 16;
/// Most elements. A guess: 1000 contacts with seven parameters each.
pub const ELEMENTS_MAX: usize = 8192;
/// Most attributes of one element. A guess: documents in use have twelve.
const ATTRIBUTES_MAX: usize = 32;
/// Most namespaces that are bound at one place.
const BINDINGS_MAX: usize = 16;

/// An element's attributes without those that bind namespaces, by their names as written.
pub type Attributes = Vec<(String, String)>;

/// An element.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Element {
    /// Its namespace; empty for none.
    pub namespace: String,
    /// Its name in that.
    pub name: String,
    /// Its attributes.
    pub attributes: Attributes,
    /// Its own text, all pieces together.
    pub text: String,
    /// The elements in it.
    pub children: Vec<Element>,
}

impl Element {
    /// An attribute's value.
    pub fn attribute(&self, name: &str) -> Option<&str> {
        let found = self.attributes.iter().find(|(known, _)| known == name);
        found.map(|(_, value)| value.as_str())
    }

    /// Whether it is this element of a namespace; one without a namespace passes too.
    pub fn is(&self, namespace: &str, name: &str) -> bool {
        self.name == name && (self.namespace == namespace || self.namespace.is_empty())
    }

    /// The elements in it of this name.
    pub fn all<'e>(
        &'e self,
        namespace: &'e str,
        name: &'e str,
    ) -> impl Iterator<Item = &'e Element> {
        self.children.iter().filter(move |child| child.is(namespace, name))
    }
}

/// The text of a document: UTF-8, without a byte order mark, of characters that XML allows.
pub(super) fn text_of(body: &[u8]) -> Result<&str, Fault> {
    if body.len() > BYTES_MAX {
        return Err(Fault::TooLong { length: body.len(), limit: BYTES_MAX });
    }
    let text = std::str::from_utf8(body).map_err(|_| Fault::Encoding)?;
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    match text.char_indices().find(|(_, c)| !is_allowed(*c)) {
        Some((offset, _)) => Err(Fault::Malformed { offset }),
        None => Ok(text),
    }
}

/// XML 1.0's characters.
pub(super) fn is_allowed(c: char) -> bool {
    !matches!(c, '\0'..='\u{8}' | '\u{b}' | '\u{c}' | '\u{e}'..='\u{1f}' | '\u{fffe}' | '\u{ffff}')
}

/// Reads a document.
///
/// # Errors
/// When it is not well-formed, or goes beyond a limit.
pub fn read(body: &[u8]) -> Result<Element, Fault> {
    let mut reader = NsReader::from_str(text_of(body)?);
    reader.config_mut().check_comments = true;
    reader.resolver_mut().set_max_namespace_bindings(BINDINGS_MAX);
    let mut tree = Tree::default();
    loop {
        let offset = usize::try_from(reader.buffer_position()).unwrap_or(usize::MAX);
        let malformed = |_| Fault::Malformed { offset };
        let (namespace, event) = reader.read_resolved_event().map_err(malformed)?;
        match event {
            Event::Start(start) => tree.open(namespace, &start, offset)?,
            Event::Empty(start) => {
                tree.open(namespace, &start, offset)?;
                tree.close(offset)?;
            }
            Event::End(_) => tree.close(offset)?,
            Event::Text(text) => tree.add(&text.xml10_content(), offset)?,
            Event::CData(data) if tree.open.is_empty() => {
                let _ = data;
                return Err(Fault::Malformed { offset });
            }
            Event::CData(data) => tree.add(&data.xml10_content(), offset)?,
            Event::GeneralRef(name) => {
                let known = match name.resolve_char_ref() {
                    Ok(Some(c)) if is_allowed(c) => c.to_string(),
                    Ok(Some(_)) | Err(_) => return Err(Fault::Malformed { offset }),
                    Ok(None) => resolve_xml_entity(&name).ok_or(Fault::Entity)?.to_owned(),
                };
                tree.add(&known, offset)?;
            }
            Event::Decl(declaration) if offset == 0 => check(&declaration)?,
            Event::Decl(_) => return Err(Fault::Malformed { offset }),
            Event::DocType(_) => return Err(Fault::DocumentType),
            Event::Comment(_) => {}
            Event::PI(_) => {}
            Event::Eof => return tree.finished(offset),
        }
    }
}

/// The declaration may name no other encoding than the one the text was read in.
fn check(declaration: &BytesDecl<'_>) -> Result<(), Fault> {
    let Some(encoding) = declaration.encoding() else { return Ok(()) };
    let encoding = encoding.map_err(|_| Fault::Malformed { offset: 0 })?;
    // ASCII is a part of UTF-8.
    let known = ["utf-8", "utf8", "us-ascii", "ascii"];
    if known.iter().any(|name| encoding.eq_ignore_ascii_case(name)) {
        Ok(())
    } else {
        Err(Fault::Encoding)
    }
}

#[derive(Default)]
struct Tree {
    /// From the root to where the reader is.
    open: Vec<Element>,
    root: Option<Element>,
    count: usize,
}

impl Tree {
    fn open(
        &mut self,
        namespace: ResolveResult<'_>,
        start: &BytesStart<'_>,
        offset: usize,
    ) -> Result<(), Fault> {
        self.count += 1;
        if self.root.is_some() {
            return Err(Fault::Malformed { offset });
        }
        if self.count > ELEMENTS_MAX {
            return Err(Fault::TooMany { limit: ELEMENTS_MAX });
        }
        if self.open.len() >= DEPTH_MAX {
            return Err(Fault::TooDeep { limit: DEPTH_MAX });
        }
        let namespace = match namespace {
            ResolveResult::Unbound => String::new(),
            ResolveResult::Bound(Namespace(name)) => name.to_owned(),
            ResolveResult::Unknown(_) => return Err(Fault::Malformed { offset }),
        };
        self.open.push(Element {
            namespace,
            name: start.local_name().into_inner().to_owned(),
            attributes: attributes(start, offset)?,
            text: String::new(),
            children: Vec::new(),
        });
        Ok(())
    }

    fn close(&mut self, offset: usize) -> Result<(), Fault> {
        let closed = self.open.pop().ok_or(Fault::Malformed { offset })?;
        match self.open.last_mut() {
            Some(parent) => parent.children.push(closed),
            None => self.root = Some(closed),
        }
        Ok(())
    }

    fn add(&mut self, text: &str, offset: usize) -> Result<(), Fault> {
        match self.open.last_mut() {
            Some(element) => element.text.push_str(text),
            None if text.chars().all(|c| c.is_ascii_whitespace()) => {}
            None => return Err(Fault::Malformed { offset }),
        }
        Ok(())
    }

    fn finished(self, offset: usize) -> Result<Element, Fault> {
        match (self.open.is_empty(), self.root) {
            (true, Some(root)) => Ok(root),
            (true, None) | (false, _) => Err(Fault::Malformed { offset }),
        }
    }
}

fn attributes(start: &BytesStart<'_>, offset: usize) -> Result<Attributes, Fault> {
    let mut attributes = Vec::new();
    for (count, attribute) in start.attributes().enumerate() {
        if count >= ATTRIBUTES_MAX {
            return Err(Fault::TooManyAttributes { limit: ATTRIBUTES_MAX });
        }
        let attribute = attribute.map_err(|_| Fault::Malformed { offset })?;
        let value = attribute.normalized_value(XmlVersion::Implicit1_0);
        let value = value.map_err(|error| entity(&error, offset))?;
        if attribute.value.contains('<') || !value.chars().all(is_allowed) {
            return Err(Fault::Malformed { offset });
        }
        if attribute.key.as_namespace_binding().is_none() {
            attributes.push((attribute.key.into_inner().to_owned(), value.into_owned()));
        }
    }
    Ok(attributes)
}

fn entity(error: &Error, offset: usize) -> Fault {
    if let Error::Escape(EscapeError::UnrecognizedEntity(..)) = error {
        Fault::Entity
    } else {
        Fault::Malformed { offset }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_document_becomes_a_tree() {
        let text = "\u{feff}<?xml version=\"1.0\" encoding='UTF-8'?>\n<!-- a -->\n\
                    <r xmlns='urn:r' xmlns:x=\"urn:x\" a='1 &amp; &#50;'>t<![CDATA[<&>]]>&gt;\
                    <x:c b=\"'\"/><?p i?><d xmlns=''>e</d></r>\n";
        let root = read(text.as_bytes()).expect("a document");
        assert!(root.is("urn:r", "r") && !root.is("urn:x", "r"));
        assert_eq!((root.attribute("a"), root.text.as_str()), (Some("1 & 2"), "t<&>>"));
        let [c, d] = &root.children[..] else { panic!("{root:?}") };
        assert_eq!((c.namespace.as_str(), c.name.as_str()), ("urn:x", "c"));
        assert_eq!((c.attribute("b"), d.text.as_str()), (Some("'"), "e"));
        assert!(d.is("urn:anything", "d"));
    }

    #[test]
    fn hostile_documents_are_refused() {
        let laughs = (1..10).fold(String::from("<!ENTITY e0 'ha'>"), |text, n| {
            let before = n - 1;
            text + &format!("<!ENTITY e{n} '{}'>", format!("&e{before};").repeat(10))
        });
        let laughs = format!("<?xml version=\"1.0\"?><!DOCTYPE r [{laughs}]><r>&e9;</r>");
        let file = "<!DOCTYPE r [<!ENTITY f SYSTEM \"file:///etc/passwd\">]><r>&f;</r>";
        let deep = format!("{}{}", "<a>".repeat(10_000), "</a>".repeat(10_000));
        let wide = format!("<r>{}</r>", "<a/>".repeat(ELEMENTS_MAX));
        let named: String = (0..40).map(|n| format!(" a{n}=''")).collect();
        let bound: String = (0..40).map(|n| format!(" xmlns:a{n}='u'")).collect();
        let utf16: Vec<u8> = "<r/>".encode_utf16().flat_map(u16::to_le_bytes).collect();
        let long = vec![b' '; BYTES_MAX + 1];
        let malformed = Fault::Malformed { offset: 0 };
        for (body, fault) in [
            (laughs.as_bytes(), Fault::DocumentType),
            (file.as_bytes(), Fault::DocumentType),
            (deep.as_bytes(), Fault::TooDeep { limit: DEPTH_MAX }),
            (wide.as_bytes(), Fault::TooMany { limit: ELEMENTS_MAX }),
            (format!("<r{named}/>").as_bytes(), Fault::TooManyAttributes { limit: 32 }),
            (format!("<r{bound}/>").as_bytes(), malformed.clone()),
            (&utf16, Fault::Malformed { offset: 1 }),
            (&long, Fault::TooLong { length: BYTES_MAX + 1, limit: BYTES_MAX }),
            (b"<?xml version='1.0' encoding='ISO-8859-1'?><r/>", Fault::Encoding),
            (b"<?xml version='1.0' encoding='UTF-16'?><r/>", Fault::Encoding),
            (b"<r>\xe9</r>", Fault::Encoding),
            (b"<r>&nbsp;</r>", Fault::Entity),
            (b"<r a='&f;'/>", Fault::Entity),
        ] {
            assert_eq!(read(body), Err(fault), "{}", body[..body.len().min(60)].escape_ascii());
        }
    }

    #[test]
    fn what_is_not_well_formed_is_refused() {
        for text in [
            "",
            " ",
            "text",
            "<r>",
            "</r>",
            "<r></s>",
            "<r/><s/>",
            "<r/>text",
            "x<r/>",
            "<r a='1",
            "<x",
            "<r a='1' a='2'/>",
            "<r a=1/>",
            "<r a/>",
            "<y:r/>",
            "<r>&#0;</r>",
            "<r a='&#1;'/>",
            "<r a='<'/>",
            "<r>\u{1}</r>",
            "<r/><?xml version='1.0'?>",
            "<!-- a -- b --><r/>",
            "<r>&",
            "<r>a & b</r>",
            "<![CDATA[ ]]><r/>",
            "<r/>&lt;",
        ] {
            assert!(matches!(read(text.as_bytes()), Err(Fault::Malformed { .. })), "{text}");
        }
    }
}
