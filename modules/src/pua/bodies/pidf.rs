//! Presence documents: RFC 3863.
//!
//! For: "somebody is here" and "nobody is" for users who are registered (`pua_usrloc`); the tuple's
//! id, which all publications of one record share.
//! Not here: reading presence.

use super::text::{DECLARATION, Edited, attribute, escape, rewrite};
use super::{Fault, xml};

/// The namespace.
pub const NAMESPACE: &str = "urn:ietf:params:xml:ns:pidf";

/// Longest tuple id that is remembered: what column `tuple_id` has room for.
const TUPLE_ID_BYTES_MAX: usize = 64;

/// Whether somebody can be reached.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Basic {
    /// Yes.
    Open,
    /// No.
    Closed,
}

impl Basic {
    fn word(self) -> &'static str {
        match self {
            Basic::Open => "open",
            Basic::Closed => "closed",
        }
    }
}

/// Writes a document of one tuple.
pub fn write(entity: &str, tuple_id: &str, basic: Basic) -> String {
    let mut out = String::from(DECLARATION);
    out.push_str("<presence");
    attribute(&mut out, "xmlns", NAMESPACE);
    attribute(&mut out, "entity", entity);
    out.push_str(">\n<tuple");
    attribute(&mut out, "id", tuple_id);
    out.push_str("><status><basic>");
    escape(&mut out, basic.word());
    out.push_str("</basic></status></tuple>\n</presence>\n");
    out
}

/// Gives the first tuple, and the first person, of a document an id where they have none. `known`
/// is the one of the publications before, `fresh` a new one; with the body, the tuple's id.
///
/// # Errors
/// When it is no document, or has no tuple.
pub fn with_tuple_id(
    body: &[u8],
    known: Option<&str>,
    fresh: &str,
) -> Result<(Vec<u8>, String), Fault> {
    let root = xml::read(body)?;
    let tuple =
        find(&root, "tuple").ok_or(Fault::Missing { element: "presence", what: "tuple" })?;
    let own = tuple.attribute("id");
    if own.is_some_and(|id| id.len() > TUPLE_ID_BYTES_MAX) {
        return Err(Fault::Value { element: "tuple", what: "id" });
    }
    let id = own.or(known).unwrap_or(fresh).to_owned();
    let (mut tuples, mut persons) = (0, 0);
    let body = rewrite(body, |tag| {
        let seen = match tag.local_name() {
            "tuple" => &mut tuples,
            "person" => &mut persons,
            _ => return Edited::Unchanged,
        };
        *seen += 1;
        if *seen > 1 || tag.has("id") {
            return Edited::Unchanged;
        }
        tag.set("id", &id);
        Edited::Changed
    })?;
    Ok((body, id))
}

/// The first element of this name, in the order of the text.
fn find<'e>(element: &'e xml::Element, name: &str) -> Option<&'e xml::Element> {
    let mut waiting = vec![element];
    while let Some(element) = waiting.pop() {
        if element.name == name {
            return Some(element);
        }
        waiting.extend(element.children.iter().rev());
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_document_says_whether_somebody_is_here() {
        let open = write("pres:b&b@example.com", "t1", Basic::Open);
        let root = xml::read(open.as_bytes()).expect("a document");
        assert!(root.is(NAMESPACE, "presence"));
        assert_eq!(root.attribute("entity"), Some("pres:b&b@example.com"));
        let basic = find(&root, "basic").expect("a status");
        assert_eq!((basic.text.as_str(), &*basic.namespace), ("open", NAMESPACE));
        assert!(write("sip:b@h", "t1", Basic::Closed).contains("<basic>closed</basic>"));
    }

    #[test]
    fn a_tuple_keeps_its_id() {
        let body = b"<presence><p:person/><tuple><status/></tuple><tuple/></presence>";
        let body =
            String::from_utf8_lossy(body).replace("<presence>", "<presence xmlns:p='urn:p'>");
        let body = body.as_bytes();
        let (first, id) = with_tuple_id(body, None, "fresh").expect("a body");
        assert_eq!(id, "fresh");
        let text = String::from_utf8(first).expect("text");
        assert!(
            text.contains("<p:person id=\"fresh\"/><tuple id=\"fresh\"><status/></tuple><tuple/>")
        );
        let (second, id) = with_tuple_id(body, Some("fresh"), "other").expect("a body");
        assert_eq!((second, id.as_str()), (text.clone().into_bytes(), "fresh"));
        let (third, id) = with_tuple_id(text.as_bytes(), None, "other").expect("a body");
        assert_eq!((third, id.as_str()), (text.into_bytes(), "fresh"));
        let missing = Fault::Missing { element: "presence", what: "tuple" };
        assert_eq!(with_tuple_id(b"<presence/>", None, "x"), Err(missing));
    }
}
