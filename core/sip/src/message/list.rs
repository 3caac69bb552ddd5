//! Comma lists and parameters: RFC 3261 §7.3.1.
//!
//! For: cutting a value where its grammar separates, never inside a quoted string or angle
//! brackets.
//! Not here: what the pieces mean.
//! Invariants: every piece is looked at once, so that a list is read in linear time. A quote or
//! bracket that is never closed runs to the end of the value: the piece's own parser refuses it.

use std::fmt;

use memchr::memchr;

use super::error::ParseError;
use super::octet::{Cursor, find, is_lws, slice, trim, trim_end, trim_start};

/// The values of one field, separated by commas. Empty ones are left out (RFC 3261 has none; `a,,b`
/// is read as two).
#[derive(Clone, Copy)]
pub(super) struct List<'a> {
    value: &'a [u8],
    at: usize,
}

/// One value of a list and its place in the field's value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Item<'a> {
    pub(super) bytes: &'a [u8],
    /// Octets before it in the field's value.
    pub(super) offset: usize,
    /// Where in the field's value the next item starts: its end when this is the last.
    pub(super) next: usize,
}

impl<'a> List<'a> {
    pub(super) fn new(value: &'a [u8]) -> List<'a> {
        List { value, at: 0 }
    }
}

impl<'a> Iterator for List<'a> {
    type Item = Item<'a>;

    #[inline]
    fn next(&mut self) -> Option<Item<'a>> {
        loop {
            let rest = self.value.get(self.at..)?;
            let blanks = rest.iter().position(|&byte| !is_lws(byte) && byte != b',')?;
            let offset = self.at + blanks;
            let rest = slice(self.value, offset, self.value.len());
            let end = find_comma(rest).map_or(self.value.len(), |comma| offset + comma);
            self.at = end.saturating_add(1).min(self.value.len());
            let bytes = trim_end(slice(self.value, offset, end));
            if !bytes.is_empty() {
                return Some(Item { bytes, offset, next: self.at });
            }
        }
    }
}

/// The first comma that separates.
#[inline]
fn find_comma(bytes: &[u8]) -> Option<usize> {
    let mut at = 0;
    loop {
        let found = at + find(bytes.get(at..)?, [b',', b'"', b'<'])?;
        at = match bytes.get(found)? {
            b',' => return Some(found),
            b'"' => quoted_end(bytes, found)?,
            _ => found + 1 + find(bytes.get(found + 1..)?, [b'>'])?,
        };
    }
}

/// Where a quoted string that opens at `open` ends: the octet after its closing quote.
pub(super) fn quoted_end(bytes: &[u8], open: usize) -> Option<usize> {
    let mut at = open.checked_add(1)?;
    loop {
        at += find(bytes.get(at..)?, [b'"', b'\\'])?;
        match bytes.get(at)? {
            b'"' => return Some(at + 1),
            _ => at += 2,
        }
    }
}

/// The parameters after a value or inside a URI: what follows the first semicolon.
#[derive(Clone, Copy)]
pub struct Params<'a> {
    rest: &'a [u8],
}

/// One parameter.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Param<'a> {
    /// Its name, as written; names are compared without regard to case.
    pub name: &'a [u8],
    /// What follows `=`, as written (a quoted string keeps its quotes); `None` without `=`.
    pub value: Option<&'a [u8]>,
}

impl Param<'_> {
    /// Whether this is the parameter of that name.
    #[inline]
    pub fn is(&self, name: &[u8]) -> bool {
        self.name.eq_ignore_ascii_case(name)
    }
}

impl<'a> Params<'a> {
    /// Reads `name=value;name;name="value"`, without a semicolon in front.
    pub(super) fn new(rest: &'a [u8]) -> Params<'a> {
        Params { rest }
    }

    /// Reads what stands behind a value: parameters up to the end, or nothing.
    pub(super) fn read(cursor: &mut Cursor<'a>) -> Result<Params<'a>, ParseError> {
        if cursor.eat(b';') {
            return Ok(Params::new(cursor.rest()));
        }
        if cursor.peek().is_some() { Err(cursor.unexpected()) } else { Ok(Params::NONE) }
    }

    /// No parameters.
    pub(super) const NONE: Params<'static> = Params { rest: b"" };

    /// The first parameter of that name: `None` when absent, `Some(None)` without value.
    #[inline]
    pub fn get(self, name: &[u8]) -> Option<Option<&'a [u8]>> {
        debug_assert!(!name.is_empty(), "a parameter has a name");
        let mut rest = self.rest;
        loop {
            let text = trim_start(rest);
            if let Some((own, behind)) = text.split_at_checked(name.len())
                && own.eq_ignore_ascii_case(name)
            {
                match trim_start(behind).split_first() {
                    None | Some((b';', _)) => return Some(None),
                    Some((b'=', value)) => {
                        let end = find_semicolon(value).unwrap_or(value.len());
                        return Some(Some(trim(slice(value, 0, end))));
                    }
                    // A longer name begins with this one.
                    Some(_) => {}
                }
            }
            let end = find_semicolon(rest)?;
            rest = slice(rest, end + 1, rest.len());
        }
    }

    /// The value of the first parameter of that name.
    #[inline]
    pub fn value(self, name: &[u8]) -> Option<&'a [u8]> {
        self.get(name).flatten()
    }

    /// Whether a parameter of that name is there, with or without value.
    pub fn has(self, name: &[u8]) -> bool {
        self.get(name).is_some()
    }

    /// The text of all of them, as written, without a semicolon in front.
    pub fn as_bytes(self) -> &'a [u8] {
        self.rest
    }
}

impl fmt::Debug for Params<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.rest.escape_ascii())
    }
}

impl<'a> Iterator for Params<'a> {
    type Item = Param<'a>;

    #[inline]
    fn next(&mut self) -> Option<Param<'a>> {
        while !self.rest.is_empty() {
            // A name is short: octet by octet it is found soonest.
            let stops = |byte: &u8| matches!(byte, b'=' | b';' | b'"');
            let stop = self.rest.iter().position(stops).unwrap_or(self.rest.len());
            let (equals, end) = match self.rest.get(stop) {
                Some(b'=') => {
                    let value = slice(self.rest, stop, self.rest.len());
                    (Some(stop), find_semicolon(value).map(|end| stop + end))
                }
                Some(b'"') => {
                    let end = find_semicolon(self.rest);
                    let text = slice(self.rest, 0, end.unwrap_or(self.rest.len()));
                    (memchr(b'=', text), end)
                }
                Some(_) | None => (None, Some(stop)),
            };
            let end = end.unwrap_or(self.rest.len());
            let text = slice(self.rest, 0, end);
            self.rest = slice(self.rest, end + 1, self.rest.len());
            let name = trim(slice(text, 0, equals.unwrap_or(text.len())));
            if !name.is_empty() {
                let value = equals.map(|equals| trim(slice(text, equals + 1, text.len())));
                return Some(Param { name, value });
            }
        }
        None
    }
}

/// The first semicolon that separates.
#[inline]
fn find_semicolon(bytes: &[u8]) -> Option<usize> {
    let mut at = 0;
    loop {
        let found = at + find(bytes.get(at..)?, [b';', b'"'])?;
        match bytes.get(found)? {
            b';' => return Some(found),
            _ => at = quoted_end(bytes, found)?,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn items(value: &[u8]) -> Vec<&[u8]> {
        List::new(value).map(|item| item.bytes).collect()
    }

    #[test]
    fn splits_at_commas_only_outside_quotes_and_brackets() {
        assert_eq!(
            items(b"\"a, \\\"b\" <sip:x,y@h> ;p=\",\" ,\r\n <sip:z>"),
            [&b"\"a, \\\"b\" <sip:x,y@h> ;p=\",\""[..], b"<sip:z>"]
        );
    }

    #[test]
    fn empty_items_are_left_out() {
        assert_eq!(items(b" , a ,, b , "), [b"a", b"b"]);
        assert!(items(b" ,\r\n ,").is_empty());
        assert!(items(b"").is_empty());
    }

    #[test]
    fn an_open_quote_swallows_the_rest() {
        assert_eq!(items(b"a, \"b, c"), [&b"a"[..], b"\"b, c"]);
        assert_eq!(items(b"<a, b"), [b"<a, b"]);
        assert_eq!(items(b"\"\\"), [b"\"\\"]);
    }

    #[test]
    fn an_item_knows_where_it_stands() {
        let value = b"  one , two";
        let first = List::new(value).next().expect("first");
        assert_eq!((first.offset, first.next), (2, 7));
        assert_eq!(trim(&value[first.next..]), b"two");
    }

    #[test]
    fn params_allow_blanks_quotes_and_missing_values() {
        let params = Params::new(b" lr ; Tag = a ;x=\"1;2\\\";3\";;empty=; =3");
        assert_eq!(params.get(b"LR"), Some(None));
        assert_eq!(params.value(b"tag"), Some(&b"a"[..]));
        assert_eq!(params.value(b"x"), Some(&b"\"1;2\\\";3\""[..]));
        assert_eq!(params.value(b"empty"), Some(&b""[..]));
        assert_eq!(params.count(), 4);
    }

    #[test]
    fn one_parameter_is_found_as_it_is_among_all() {
        for text in [
            "tag=1",
            " Tag = 1 ;tag=2",
            "x;TAG",
            "tagger=1;tag ;q",
            "x=\"tag=1;tag=2\";tag=3",
            "=tag;tag=\";\";tag",
            ";;tag=",
            "ta;tag\"x;tag=5\";tag=6",
            "x=\"never closed;tag=1",
            "tag\t\r\n =\r\n 7",
            "",
        ] {
            let params = Params::new(text.as_bytes());
            for name in ["tag", "x", "q"].map(str::as_bytes) {
                let slowly = params.into_iter().find(|param| param.is(name));
                assert_eq!(params.get(name), slowly.map(|param| param.value), "{text}");
            }
        }
    }

    #[test]
    fn a_parameter_is_found_by_its_whole_name() {
        let params = Params::new(b"ftagger=1;ftag=2");
        assert_eq!(params.value(b"ftag"), Some(&b"2"[..]));
        assert!(!params.has(b"fta"));
    }
}
