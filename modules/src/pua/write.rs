//! Requests of our own as bytes.
//!
//! For: PUBLISH and SUBSCRIBE, but for the top Via.
//! Not here: what they say (`publish.rs`, `subscribe.rs`).
//! Invariants: nothing that was not checked to stay in its place gets into a header.

use std::fmt::Write;
use strowger_sip::message::{NameAddr, Uri};

/// Longest URI or id: what the columns hold.
pub(super) const TEXT_BYTES_MAX: usize = 255;
/// Longest extra header lines, in bytes. A guess: ten long headers.
pub(super) const EXTRA_BYTES_MAX: usize = 4096;

/// Whether a SIP URI can be written between angle brackets.
pub(super) fn is_writable_uri(text: &str) -> bool {
    is_quiet(text) && Uri::parse(text.as_bytes()).is_ok_and(|uri| uri.scheme.is_sip())
}

/// Whether any URI can be.
pub(super) fn is_writable_name(text: &str) -> bool {
    is_quiet(text) && Uri::parse(text.as_bytes()).is_ok()
}

fn is_quiet(text: &str) -> bool {
    let is_loud = |byte: u8| byte <= b' ' || byte == 0x7f || b"<>\"".contains(&byte);
    !text.is_empty() && text.len() <= TEXT_BYTES_MAX && !text.bytes().any(is_loud)
}

/// Whether these are whole header lines that can stand in any request.
pub(super) fn are_header_lines(text: &str) -> bool {
    const OURS: [&str; 14] = [
        "via",
        "v",
        "from",
        "f",
        "to",
        "t",
        "call-id",
        "i",
        "cseq",
        "content-length",
        "l",
        "max-forwards",
        "sip-if-match",
        "expires",
    ];
    let is_line = |line: &str| {
        let Some((name, value)) = line.split_once(':') else { return false };
        let fits = |byte: u8| byte.is_ascii_alphanumeric() || b"-.!%*_+`'~".contains(&byte);
        let is_ours = OURS.iter().any(|ours| ours.eq_ignore_ascii_case(name));
        !name.is_empty()
            && name.bytes().all(fits)
            && !is_ours
            && !value.contains(['\r', '\n', '\0'])
    };
    text.is_empty()
        || (text.len() <= EXTRA_BYTES_MAX
            && text.strip_suffix("\r\n").is_some_and(|lines| lines.split("\r\n").all(is_line)))
}

/// Whether this can be the value of Content-Type.
pub(super) fn is_content_type(text: &str) -> bool {
    !text.is_empty() && text.len() <= TEXT_BYTES_MAX && !text.chars().any(char::is_control)
}

/// A request's parts.
#[derive(Clone, Copy, Debug)]
pub(super) struct Parts<'p> {
    pub(super) method: &'p str,
    pub(super) request_uri: &'p str,
    /// Route values; empty for none.
    pub(super) routes: &'p str,
    pub(super) to: (&'p str, &'p str),
    pub(super) from: (&'p str, &'p str),
    pub(super) call_id: &'p str,
    pub(super) cseq: u32,
    /// Whole lines.
    pub(super) lines: &'p str,
    pub(super) body: &'p [u8],
}

/// The request but for its Via.
pub(super) fn write(parts: &Parts<'_>) -> Vec<u8> {
    let Parts { method, request_uri, routes, to, from, call_id, cseq, lines, body } = *parts;
    let mut text = String::with_capacity(512 + lines.len() + body.len());
    // Writing to a string cannot fail.
    let _ = write!(text, "{method} {request_uri} SIP/2.0\r\n");
    if !routes.is_empty() {
        let _ = write!(text, "Route: {routes}\r\n");
    }
    let tag = |tag: &str| if tag.is_empty() { String::new() } else { format!(";tag={tag}") };
    let _ = write!(
        text,
        "To: <{}>{}\r\nFrom: <{}>{}\r\nCSeq: {cseq} {method}\r\nCall-ID: {call_id}\r\n\
         Max-Forwards: 70\r\n{lines}Content-Length: {}\r\n\r\n",
        to.0,
        tag(to.1),
        from.0,
        tag(from.1),
        body.len()
    );
    let mut bytes = text.into_bytes();
    bytes.extend_from_slice(body);
    bytes
}

/// Where a request within a dialog goes: its line's URI, Route values, and the next hop.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Way {
    pub(super) request_uri: String,
    pub(super) routes: String,
    pub(super) next_hop: String,
}

/// RFC 3261 §12.2.1.1: along the route set to the target; a strict router wants its own URI in the
/// line.
pub(super) fn way(target: &str, routes: &str) -> Option<Way> {
    let mut list = NameAddr::list(routes.as_bytes());
    let Some(first) = list.next() else {
        let target = target.to_owned();
        return Some(Way { request_uri: target.clone(), routes: String::new(), next_hop: target });
    };
    let first = first.ok()?;
    let next_hop = std::str::from_utf8(first.uri).ok()?.to_owned();
    if first.uri().ok()?.lr() {
        let routes = routes.to_owned();
        return Some(Way { request_uri: target.to_owned(), routes, next_hop });
    }
    let mut rest = String::new();
    for route in list.filter_map(Result::ok) {
        rest.push_str(std::str::from_utf8(route.raw).ok()?);
        rest.push(',');
    }
    rest.push_str(&format!("<{target}>"));
    Some(Way { request_uri: next_hop.clone(), routes: rest, next_hop })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_leaves_its_place() {
        assert!(is_writable_uri("sip:bob@example.com;transport=tcp"));
        for bad in ["", "bob", "sip:a b@h", "sip:a@h>", "sip:a@h\r\nX: y", "tel:+1", "sip:"] {
            assert!(!is_writable_uri(bad), "{bad}");
        }
        assert!(!is_writable_uri(&format!("sip:{}@h", "a".repeat(300))));
        assert!(are_header_lines("") && are_header_lines("X-A: 1\r\nX-B:2\r\n"));
        for bad in ["X-A: 1", "X-A\r\n", "Via: x\r\n", "X: 1\r\n\r\n", "X: 1\n\r\n", "CSEQ: 1\r\n"]
        {
            assert!(!are_header_lines(bad), "{bad}");
        }
        assert!(!is_content_type("a/b\r\nX: y"));
    }

    #[test]
    fn routes_lead_the_way() {
        let loose = way("sip:b@192.0.2.20", "<sip:p3;lr>,<sip:p4;lr>").expect("a way");
        assert_eq!(
            (loose.request_uri.as_str(), loose.next_hop.as_str()),
            ("sip:b@192.0.2.20", "sip:p3;lr")
        );
        let strict = way("sip:b@192.0.2.20", "<sip:p3>,<sip:p4;lr>").expect("a way");
        assert_eq!(strict.request_uri, "sip:p3");
        assert_eq!(strict.routes, "<sip:p4;lr>,<sip:b@192.0.2.20>");
        assert_eq!(way("sip:b@h", "").map(|way| way.next_hop).as_deref(), Some("sip:b@h"));
        assert_eq!(way("sip:b@h", "rubbish <"), None);
    }
}
