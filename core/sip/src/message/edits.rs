//! Header and body edits, recorded against the message as received and applied by the writers.
//!
//! For: routings and modules that add, remove or replace headers without touching the received
//! bytes.
//! Not here: applying them (`write/`), changes that belong to forwarding itself (`RequestChanges`).
//! Invariants: no value holds CR, LF or NUL, so that no edit can split a header; no edit names a
//! header that the writers own; bounded by `EDITS_MAX` and `EDITS_BYTES_MAX`; used again without
//! allocating.

use std::error::Error;
use std::fmt;
use std::ops::Range;

use memchr::memchr3;

use super::header::HeaderName;
use super::message::Field;
use super::octet::{TOKEN, all, span, trim};
use crate::limits::{EDITS_BYTES_MAX, EDITS_MAX};

/// Recorded edits. They all refer to the message as received: one does not see what another did.
#[derive(Default)]
pub struct Edits {
    text: Vec<u8>,
    ops: Vec<Op>,
    body: BodyEdit,
}

impl Clone for Edits {
    fn clone(&self) -> Edits {
        Edits { text: self.text.clone(), ops: self.ops.clone(), body: self.body.clone() }
    }

    /// Keeps the space; the derived one would not.
    fn clone_from(&mut self, source: &Edits) {
        let Edits { text, ops, body } = source;
        self.text.clone_from(text);
        self.ops.clone_from(ops);
        self.body.clone_from(body);
    }
}

/// No edits at all.
pub static NO_EDITS: Edits = Edits { text: Vec::new(), ops: Vec::new(), body: BodyEdit::Keep };

#[derive(Clone)]
enum Op {
    RemoveAll { name: Name },
    RemoveNth { name: Name, nth: usize },
    Replace { name: Name, nth: usize, value: Range<usize> },
    Append { line: Range<usize> },
    InsertTop { line: Range<usize> },
}

#[derive(Clone)]
struct Name {
    known: HeaderName,
    text: Range<usize>,
}

#[derive(Clone, Default)]
enum BodyEdit {
    #[default]
    Keep,
    Remove,
    Replace {
        content_type: Range<usize>,
        body: Range<usize>,
    },
}

/// What becomes of the body.
#[derive(Clone, Copy)]
pub(super) enum NewBody<'e> {
    Keep,
    Remove,
    Replace { content_type: &'e [u8], body: &'e [u8] },
}

/// What becomes of one field.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fate<'e> {
    Keep,
    Remove,
    Replace(&'e [u8]),
}

/// Why an edit was not recorded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EditError {
    /// The name is empty or holds an octet that no header name may hold.
    BadName {
        /// Octets before the first wrong one.
        offset: usize,
    },
    /// The value holds CR, LF or NUL, which would end the header.
    BadValue {
        /// Octets before the first wrong one.
        offset: usize,
        /// The wrong one.
        byte: u8,
    },
    /// The writers compute this header themselves.
    Owned(HeaderName),
    /// More edits than one message may have.
    TooMany {
        /// How many it may have.
        limit: usize,
    },
    /// More text than the edits of one message may hold.
    TooLong {
        /// How many octets they may hold.
        limit: usize,
    },
}

impl fmt::Display for EditError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            EditError::BadName { offset } => write!(f, "header name: no token at octet {offset}"),
            EditError::BadValue { offset, byte } => {
                write!(f, "header value: '{}' at octet {offset}", byte.escape_ascii())
            }
            EditError::Owned(name) => write!(f, "{name} is written by the proxy itself"),
            EditError::TooMany { limit } => write!(f, "more than {limit} edits of one message"),
            EditError::TooLong { limit } => {
                write!(f, "edits of one message hold more than {limit} octets")
            }
        }
    }
}

impl Error for EditError {}

/// Headers that follow from what the proxy does with a message; an edit of them would break its
/// transaction.
const OWNED: [HeaderName; 3] =
    [HeaderName::Via, HeaderName::ContentLength, HeaderName::MaxForwards];

impl Edits {
    /// Forgets all edits and keeps the space.
    pub fn clear(&mut self) {
        self.text.clear();
        self.ops.clear();
        self.body = BodyEdit::Keep;
    }

    /// Whether nothing was recorded.
    pub fn is_empty(&self) -> bool {
        self.ops.is_empty() && matches!(self.body, BodyEdit::Keep)
    }

    /// Removes all fields of a name, in either form.
    pub fn remove(&mut self, name: &[u8]) -> Result<(), EditError> {
        self.admit(name, b"")?;
        let name = self.name(name);
        self.ops.push(Op::RemoveAll { name });
        Ok(())
    }

    /// Removes one field of a name, counted from 0.
    pub fn remove_nth(&mut self, name: &[u8], nth: usize) -> Result<(), EditError> {
        self.admit(name, b"")?;
        let name = self.name(name);
        self.ops.push(Op::RemoveNth { name, nth });
        Ok(())
    }

    /// Replaces the value of one field of a name, counted from 0. A field that is not there is not
    /// added.
    pub fn replace(&mut self, name: &[u8], nth: usize, value: &[u8]) -> Result<(), EditError> {
        self.admit(name, value)?;
        let name = self.name(name);
        let value = self.push(trim(value));
        self.ops.push(Op::Replace { name, nth, value });
        Ok(())
    }

    /// Adds a header behind all others.
    pub fn append(&mut self, name: &[u8], value: &[u8]) -> Result<(), EditError> {
        self.admit(name, value)?;
        let line = self.line(name, value);
        self.ops.push(Op::Append { line });
        Ok(())
    }

    /// Adds a header before all others but Via; the one inserted last stands first.
    pub fn insert_top(&mut self, name: &[u8], value: &[u8]) -> Result<(), EditError> {
        self.admit(name, value)?;
        let line = self.line(name, value);
        self.ops.push(Op::InsertTop { line });
        Ok(())
    }

    /// Replaces the body and its Content-Type.
    pub fn replace_body(&mut self, content_type: &[u8], body: &[u8]) -> Result<(), EditError> {
        check_value(content_type)?;
        self.check_room(content_type.len() + body.len())?;
        let content_type = self.push(trim(content_type));
        let body = self.push(body);
        self.body = BodyEdit::Replace { content_type, body };
        Ok(())
    }

    /// Removes the body and its Content-Type.
    pub fn remove_body(&mut self) {
        self.body = BodyEdit::Remove;
    }

    /// The body that takes the place of the received one; `None` when that stays.
    pub fn new_body(&self) -> Option<&[u8]> {
        match self.body() {
            NewBody::Keep => None,
            NewBody::Remove => Some(&[]),
            NewBody::Replace { body, .. } => Some(body),
        }
    }

    fn admit(&self, name: &[u8], value: &[u8]) -> Result<(), EditError> {
        if name.is_empty() || !all(name, TOKEN) {
            return Err(EditError::BadName { offset: span(name, TOKEN) });
        }
        let known = HeaderName::from_bytes(name);
        if OWNED.contains(&known) {
            return Err(EditError::Owned(known));
        }
        check_value(value)?;
        if self.ops.len() >= EDITS_MAX {
            return Err(EditError::TooMany { limit: EDITS_MAX });
        }
        self.check_room(name.len() + value.len() + 4)
    }

    fn check_room(&self, more: usize) -> Result<(), EditError> {
        if self.text.len().saturating_add(more) > EDITS_BYTES_MAX {
            return Err(EditError::TooLong { limit: EDITS_BYTES_MAX });
        }
        Ok(())
    }

    fn push(&mut self, text: &[u8]) -> Range<usize> {
        let start = self.text.len();
        self.text.extend_from_slice(text);
        start..self.text.len()
    }

    fn name(&mut self, text: &[u8]) -> Name {
        Name { known: HeaderName::from_bytes(text), text: self.push(text) }
    }

    fn line(&mut self, name: &[u8], value: &[u8]) -> Range<usize> {
        let start = self.push(name).start;
        self.push(b": ");
        self.push(trim(value));
        let end = self.push(b"\r\n").end;
        start..end
    }

    fn text(&self, range: &Range<usize>) -> &[u8] {
        self.text.get(range.clone()).unwrap_or_default()
    }

    /// The lines that go behind all others, in order.
    pub(super) fn appended(&self) -> impl Iterator<Item = &[u8]> {
        self.ops.iter().filter_map(|op| match op {
            Op::Append { line } => Some(self.text(line)),
            Op::RemoveAll { .. }
            | Op::RemoveNth { .. }
            | Op::Replace { .. }
            | Op::InsertTop { .. } => None,
        })
    }

    /// The lines that go before all others, topmost first.
    pub(super) fn inserted(&self) -> impl Iterator<Item = &[u8]> {
        self.ops.iter().rev().filter_map(|op| match op {
            Op::InsertTop { line } => Some(self.text(line)),
            Op::RemoveAll { .. }
            | Op::RemoveNth { .. }
            | Op::Replace { .. }
            | Op::Append { .. } => None,
        })
    }

    pub(super) fn body(&self) -> NewBody<'_> {
        match &self.body {
            BodyEdit::Keep => NewBody::Keep,
            BodyEdit::Remove => NewBody::Remove,
            BodyEdit::Replace { content_type, body } => {
                NewBody::Replace { content_type: self.text(content_type), body: self.text(body) }
            }
        }
    }

    /// Starts applying the edits to a message's fields, which are then shown one by one.
    pub(super) fn pass(&self) -> Pass<'_> {
        Pass { edits: self, seen: [0; EDITS_MAX] }
    }
}

fn check_value(value: &[u8]) -> Result<(), EditError> {
    match memchr3(b'\r', b'\n', 0, value) {
        Some(offset) => {
            let byte = value.get(offset).copied().unwrap_or(0);
            Err(EditError::BadValue { offset, byte })
        }
        None => Ok(()),
    }
}

/// Applies edits to the fields of one message, in order.
pub(super) struct Pass<'e> {
    edits: &'e Edits,
    /// For each edit, how many fields of its name have passed.
    seen: [usize; EDITS_MAX],
}

impl<'e> Pass<'e> {
    /// What becomes of the next field. The edit that was recorded last wins.
    pub(super) fn fate(&mut self, field: &Field<'_>) -> Fate<'e> {
        let edits = self.edits;
        let mut fate = Fate::Keep;
        for (op, seen) in edits.ops.iter().zip(&mut self.seen) {
            match op {
                Op::RemoveAll { name } => {
                    if edits.is_named(field, name) {
                        fate = Fate::Remove;
                    }
                }
                Op::RemoveNth { name, nth } => {
                    if edits.is_nth(field, name, *nth, seen) {
                        fate = Fate::Remove;
                    }
                }
                Op::Replace { name, nth, value } => {
                    if edits.is_nth(field, name, *nth, seen) {
                        fate = Fate::Replace(edits.text(value));
                    }
                }
                Op::Append { .. } => {}
                Op::InsertTop { .. } => {}
            }
        }
        fate
    }
}

impl Edits {
    fn is_named(&self, field: &Field<'_>, name: &Name) -> bool {
        field.name == name.known
            && (name.known != HeaderName::Other
                || field.name_bytes.eq_ignore_ascii_case(self.text(&name.text)))
    }

    fn is_nth(&self, field: &Field<'_>, name: &Name, nth: usize, seen: &mut usize) -> bool {
        if !self.is_named(field, name) {
            return false;
        }
        let this = *seen;
        *seen += 1;
        this == nth
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_cannot_split_a_header() {
        let mut edits = Edits::default();
        let error = edits.append(b"X-A", b"b\r\nVia: c").expect_err("a line end");
        assert_eq!(error, EditError::BadValue { offset: 1, byte: b'\r' });
        assert!(edits.insert_top(b"X-A", b"\n").is_err());
        assert!(edits.replace(b"X-A", 0, b"a\0").is_err());
        assert!(edits.replace_body(b"text/plain\r\nX: y", b"").is_err());
        assert!(edits.is_empty());
    }

    #[test]
    fn a_name_is_a_token() {
        let mut edits = Edits::default();
        assert_eq!(edits.remove(b""), Err(EditError::BadName { offset: 0 }));
        assert_eq!(edits.append(b"X: y\r\nZ", b""), Err(EditError::BadName { offset: 1 }));
    }

    #[test]
    fn what_the_writers_compute_cannot_be_edited() {
        let mut edits = Edits::default();
        assert_eq!(edits.remove(b"v"), Err(EditError::Owned(HeaderName::Via)));
        let error = edits.replace(b"CONTENT-LENGTH", 0, b"1");
        assert_eq!(error, Err(EditError::Owned(HeaderName::ContentLength)));
    }

    #[test]
    fn edits_of_one_message_are_bounded() {
        let mut edits = Edits::default();
        for _ in 0..EDITS_MAX {
            edits.append(b"X", b"y").expect("room");
        }
        assert_eq!(edits.append(b"X", b"y"), Err(EditError::TooMany { limit: EDITS_MAX }));
        edits.clear();
        let huge = vec![b'y'; EDITS_BYTES_MAX];
        assert!(matches!(edits.append(b"X", &huge), Err(EditError::TooLong { .. })));
    }

    #[test]
    fn clear_forgets_everything() {
        let mut edits = Edits::default();
        edits.remove_body();
        edits.append(b"X", b"y").expect("room");
        edits.clear();
        assert!(edits.is_empty());
        assert_eq!(edits.appended().count(), 0);
    }
}
