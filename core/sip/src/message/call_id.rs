//! Finding the Call-ID before anything is parsed.
//!
//! For: the edge, which picks a message's home shard by it, and hands most messages on unparsed.
//! Not here: judging the value (`Message::call_id`).
//! Invariants: finds the same octets as the index of `head.rs` would, in one pass that stops at the
//! header.

use super::header::HeaderName;
use super::line;
use super::marks::Marks;
use super::octet::{slice, trim};

/// The value of the first Call-ID header, in either form and any case; `None` when there is none.
pub fn scan_call_id(bytes: &[u8]) -> Option<&[u8]> {
    let mut marks = Marks::new(bytes);
    let mut at = line::first(bytes);
    at = match line::plain(bytes, marks.next(at)) {
        Some(line) => line.next,
        None => line::single(bytes, at).next,
    };
    while at < bytes.len() && line::blank(bytes, at).is_none() {
        let plain = line::plain(bytes, marks.next(at));
        if let Some(b'c' | b'C' | b'i' | b'I') = bytes.get(at)
            && let Ok((name_end, colon)) = line::name(bytes, at)
            && HeaderName::from_bytes(slice(bytes, at, name_end)) == HeaderName::CallId
        {
            return Some(trim(slice(bytes, colon + 1, line::folded(bytes, colon).end)));
        }
        at = match plain {
            Some(line) if !matches!(bytes.get(line.next), Some(b' ' | b'\t')) => line.next,
            Some(_) | None => line::folded(bytes, at).next,
        };
    }
    None
}

#[cfg(test)]
mod tests {
    use super::super::head::Head;
    use super::*;
    use crate::limits::Limits;

    #[test]
    fn every_spelling_is_found() {
        for header in
            ["Call-ID: a@b", "i:a@b", "I  :\ta@b ", "CALL-id:\r\n a@b", "call-ID :a@b\r\n "]
        {
            let text =
                format!("BYE sip:h SIP/2.0\r\nVia: x\r\nContact: y\r\n{header}\r\nTo: z\r\n\r\n");
            assert_eq!(scan_call_id(text.as_bytes()), Some(&b"a@b"[..]), "{header:?}");
        }
    }

    #[test]
    fn neither_start_line_nor_body_nor_a_continuation_has_one() {
        assert_eq!(scan_call_id(b"i: x\r\n\r\n"), None);
        assert_eq!(scan_call_id(b"BYE sip:h SIP/2.0\r\nTo: x\r\n\r\ni: y\r\n"), None);
        assert_eq!(scan_call_id(b"BYE sip:h SIP/2.0\r\nTo: x\r\n i: y\r\n\r\n"), None);
        assert_eq!(scan_call_id(b""), None);
    }

    #[test]
    fn agrees_with_the_index_on_every_message_cut_anywhere() {
        let whole = include_bytes!("../../../../tests/messages/invite.sip");
        let mut head = Head::default();
        for end in 0..whole.len() {
            let bytes = &whole[..end];
            let _ = head.parse(bytes, &Limits::DATAGRAM);
            let slow = head.message(bytes).header(HeaderName::CallId).map(|field| field.value);
            assert_eq!(scan_call_id(bytes), slow, "cut at {end}");
        }
    }
}
