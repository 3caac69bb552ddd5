//! `name-addr` and `addr-spec` with their parameters: From, To, Contact, Route, Record-Route and
//! their kin (RFC 3261 §20.10, §25.1).
//!
//! For: one reader for all headers of that shape.
//! Not here: URIs (`uri.rs`), the star and the list of a Contact field (`contact.rs`).

use std::fmt;

use super::error::ParseError;
use super::header::HeaderName;
use super::list::{List, Params, quoted_end};
use super::octet::{Cursor, find, is_lws, slice, trim, trim_end};
use super::uri::Uri;

/// A display name, a URI and parameters.
#[derive(Clone, Copy)]
pub struct NameAddr<'a> {
    /// The whole value.
    pub raw: &'a [u8],
    /// The display name as written, with its quotes; empty when there is none.
    pub display: &'a [u8],
    /// The URI as written, without its angle brackets.
    pub uri: &'a [u8],
    /// The parameters of the header (not of the URI).
    pub params: Params<'a>,
    /// Where the URI starts, for errors.
    uri_offset: usize,
    header: HeaderName,
}

impl<'a> NameAddr<'a> {
    /// Reads one value.
    pub fn parse(raw: &'a [u8]) -> Result<NameAddr<'a>, ParseError> {
        NameAddr::parse_within(raw, HeaderName::Other, 0)
    }

    /// Reads the values of a list that does not stand in a message, for example a stored Path.
    pub fn list(value: &'a [u8]) -> impl Iterator<Item = Result<NameAddr<'a>, ParseError>> {
        List::new(value).map(|item| NameAddr::parse(item.bytes))
    }

    /// Reads one value that stands `base` octets into its message.
    pub(super) fn parse_within(
        raw: &'a [u8],
        header: HeaderName,
        base: usize,
    ) -> Result<NameAddr<'a>, ParseError> {
        let parsed = parse(raw).map_err(|error| error.within(header, base))?;
        Ok(NameAddr { uri_offset: parsed.uri_offset + base, header, ..parsed })
    }

    /// The URI, read.
    pub fn uri(&self) -> Result<Uri<'a>, ParseError> {
        Uri::parse(self.uri).map_err(|error| error.within(self.header, self.uri_offset))
    }

    /// The first parameter of that name: `None` when absent, `Some(None)` without value.
    pub fn param(&self, name: &[u8]) -> Option<Option<&'a [u8]>> {
        self.params.get(name)
    }

    /// The parameter `tag`.
    pub fn tag(&self) -> Option<&'a [u8]> {
        self.params.value(b"tag")
    }
}

impl fmt::Debug for NameAddr<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.raw.escape_ascii())
    }
}

fn parse(raw: &[u8]) -> Result<NameAddr<'_>, ParseError> {
    let mut cursor = Cursor::new(raw);
    cursor.skip_lws();
    let display_start = cursor.at();
    if cursor.peek() == Some(b'"') {
        let Some(end) = quoted_end(raw, display_start) else {
            return Err(cursor.unexpected());
        };
        cursor.skip(end - display_start);
        let display = slice(raw, display_start, end);
        cursor.skip_lws();
        return bracketed(raw, display, cursor);
    }
    // In the form without brackets a semicolon ends the URI: a bracket behind it is a parameter's.
    match find(cursor.rest(), [b'<', b';', b'"']) {
        Some(found) if cursor.rest().get(found) == Some(&b'<') => {
            let display = trim_end(slice(cursor.rest(), 0, found));
            // Where values may be a list, a comma outside quotes ends one: nowhere is it a name's.
            if let Some(comma) = find(display, [b',']) {
                cursor.skip(comma);
                return Err(cursor.unexpected());
            }
            cursor.skip(found);
            bracketed(raw, display, cursor)
        }
        Some(_) | None => bare(raw, cursor),
    }
}

/// `<uri>[;params]`, the cursor on the bracket.
fn bracketed<'a>(
    raw: &'a [u8],
    display: &'a [u8],
    mut cursor: Cursor<'a>,
) -> Result<NameAddr<'a>, ParseError> {
    if !cursor.eat(b'<') {
        return Err(cursor.unexpected());
    }
    let uri_offset = cursor.at();
    let Some(close) = find(cursor.rest(), [b'>']) else {
        cursor.skip(raw.len());
        return Err(cursor.unexpected());
    };
    let uri = slice(cursor.rest(), 0, close);
    cursor.skip(close + 1);
    cursor.skip_lws();
    let params = Params::read(&mut cursor)?;
    Ok(NameAddr { raw: trim(raw), display, uri, params, uri_offset, header: HeaderName::Other })
}

/// `uri[;params]`. Such a URI holds no comma and no question mark (§20), and no blank either.
fn bare<'a>(raw: &'a [u8], mut cursor: Cursor<'a>) -> Result<NameAddr<'a>, ParseError> {
    let uri_offset = cursor.at();
    let stops =
        |byte: &u8| is_lws(*byte) || matches!(byte, b';' | b',' | b'?' | b'"' | b'<' | b'>');
    let length = cursor.rest().iter().position(stops).unwrap_or(cursor.rest().len());
    let uri = slice(cursor.rest(), 0, length);
    cursor.skip(length);
    if uri.is_empty() {
        return Err(cursor.unexpected());
    }
    cursor.skip_lws();
    let params = Params::read(&mut cursor)?;
    Ok(NameAddr {
        raw: trim(raw),
        display: b"",
        uri,
        params,
        uri_offset,
        header: HeaderName::Other,
    })
}

#[cfg(test)]
mod tests {
    use super::super::error::ParseCause;
    use super::*;

    fn parse(text: &str) -> NameAddr<'_> {
        NameAddr::parse(text.as_bytes()).unwrap_or_else(|error| panic!("{text}: {error}"))
    }

    #[test]
    fn display_uri_and_tag_are_found() {
        let from = parse("\"Bell, \\\"Alexander\\\" <A>\" <sip:agb@bell-tel.com;x=1> ; tag = a48s");
        assert_eq!(from.display, b"\"Bell, \\\"Alexander\\\" <A>\"");
        assert_eq!(from.uri, b"sip:agb@bell-tel.com;x=1");
        assert_eq!(from.tag(), Some(&b"a48s"[..]));
    }

    #[test]
    fn no_blank_is_needed_before_the_bracket() {
        let to = parse("caller<sip:caller@example.com>;tag=323");
        assert_eq!((to.display, to.uri), (&b"caller"[..], &b"sip:caller@example.com"[..]));
    }

    #[test]
    fn without_brackets_parameters_are_the_headers() {
        let from = parse("sip:+12125551212@server.phone2net.com;tag=887s;x=\"<sip:y>\"");
        assert_eq!(from.uri, b"sip:+12125551212@server.phone2net.com");
        assert_eq!(from.tag(), Some(&b"887s"[..]));
        assert_eq!(from.display, b"");
    }

    #[test]
    fn display_may_be_empty_or_several_words() {
        assert_eq!(parse("\"\" <sip:a@b>").display, b"\"\"");
        assert_eq!(parse("Anonymous Caller\r\n <sip:a@b>").display, b"Anonymous Caller");
    }

    #[test]
    fn broken_values_are_refused() {
        for text in [
            "",
            " ",
            "\"Mr. J. User <sip:j@user.com>",
            "\"a\"",
            "\"a\" sip:x@y",
            "<sip:a@b",
            "<sip:a@b> x",
            "<sip:a@b>>;tag=1",
            "sip:a@b?Route=%3Csip:c%3E",
            "sip:a@b, sip:c@d",
            "Bell, Alexander <sip:a@b>",
            "sip:a@b c",
            ";tag=1",
        ] {
            assert!(NameAddr::parse(text.as_bytes()).is_err(), "{text:?}");
        }
    }

    #[test]
    fn an_error_in_the_uri_says_where_it_is_in_the_message() {
        let value = NameAddr::parse_within(b"A <sip:a b>", HeaderName::To, 100).expect("a value");
        let error = value.uri().expect_err("a blank in the URI");
        assert_eq!((error.header, error.offset), (HeaderName::To, 108));
        assert_eq!(error.cause, ParseCause::UnexpectedByte(b' '));
    }
}
