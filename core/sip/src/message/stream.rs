//! Cutting a stream into messages: RFC 3261 §7.5, §18.3, and the keep-alives of RFC 5626 §3.5.1.
//!
//! For: TCP and TLS connections, whose owner collects what arrives in one buffer and asks what is
//! in it.
//! Not here: the buffer and the connection (`core/node`), the message itself (`head.rs`).
//! Invariants: what has been searched is not searched again, so that a message that arrives octet
//! by octet is still found in linear time; never asks for more than the limits allow.

use std::ops::Range;

use memchr::memmem;

use super::error::{ParseCause, ParseError};
use super::head::content_length;
use super::header::HeaderName;
use super::line;
use super::octet::{self, slice};
use crate::limits::Limits;

/// What is at the front of the buffer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Frame {
    /// Nothing whole yet: read more.
    Incomplete,
    /// A double CRLF: answer it with a CRLF and drop these octets.
    Ping(Range<usize>),
    /// A CRLF between messages, or the answer to a ping: drop these octets.
    Blank(Range<usize>),
    /// A message: parse these octets, then drop everything up to their end.
    Message(Range<usize>),
}

/// Why a stream cannot be cut any further: answer what can be salvaged of the head, then close.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FrameError {
    /// What is wrong.
    pub error: ParseError,
    /// The head of the message that is wrong, as far as it arrived.
    pub head: Range<usize>,
}

/// Finds messages at the front of a buffer that grows at its end.
///
/// After any frame but `Incomplete` the caller drops the octets up to the frame's end from its
/// buffer.
#[derive(Clone, Debug, Default)]
pub struct Framer {
    /// Octets at the front of the buffer that hold no end of a head.
    searched: usize,
    /// How long the message is, once its head has been read.
    length: Option<usize>,
}

impl Framer {
    /// Says what is at the front of the buffer.
    pub fn next(&mut self, buffered: &[u8], limits: &Limits) -> Result<Frame, FrameError> {
        if self.searched == 0
            && let Some(frame) = keep_alive(buffered)
        {
            return Ok(frame);
        }
        if buffered.first().is_some_and(|first| !octet::is(*first, octet::TOKEN)) {
            return Err(not_sip());
        }
        let length = match self.length {
            Some(length) => length,
            None => match self.find_head(buffered, limits)? {
                Some(head) => {
                    let length = message_length(buffered, head, limits)?;
                    self.length = Some(length);
                    length
                }
                None => return Ok(Frame::Incomplete),
            },
        };
        if buffered.len() < length {
            return Ok(Frame::Incomplete);
        }
        *self = Framer::default();
        Ok(Frame::Message(0..length))
    }

    /// How many octets the message at the front has, once that is known: what to make room for.
    pub fn length(&self) -> Option<usize> {
        self.length
    }

    /// The length of the head with its blank line.
    fn find_head(&mut self, buffered: &[u8], limits: &Limits) -> Result<Option<usize>, FrameError> {
        let searchable = slice(buffered, 0, buffered.len().min(limits.head_bytes_max));
        let unsearched = slice(searchable, self.searched, searchable.len());
        if let Some(found) = memmem::find(unsearched, b"\r\n\r\n") {
            return Ok(Some(self.searched + found + 4));
        }
        if buffered.len() >= limits.head_bytes_max {
            let limit = limits.head_bytes_max;
            let cause = ParseCause::TooLong { length: buffered.len(), limit };
            let error = ParseError { header: HeaderName::Other, offset: limit, cause };
            return Err(FrameError { error, head: 0..searchable.len() });
        }
        // The next octet may complete what has begun.
        self.searched = buffered.len().saturating_sub(3).max(1);
        Ok(None)
    }
}

/// CRLF before a message.
fn keep_alive(buffered: &[u8]) -> Option<Frame> {
    match buffered {
        [b'\r', b'\n', b'\r', b'\n', ..] => Some(Frame::Ping(0..4)),
        // These may be the front of a ping.
        [] | [b'\r'] | [b'\r', b'\n'] | [b'\r', b'\n', b'\r'] => Some(Frame::Incomplete),
        [b'\r', b'\n', ..] => Some(Frame::Blank(0..2)),
        _ => None,
    }
}

/// Every message begins with a token. What does not, a TLS handshake for example, would only be
/// waited for in vain.
fn not_sip() -> FrameError {
    let error = ParseError { header: HeaderName::StartLine, offset: 0, cause: ParseCause::NotSip };
    FrameError { error, head: 0..0 }
}

/// The length of the message whose head has this length: a stream needs a Content-Length (§18.3).
fn message_length(buffered: &[u8], head: usize, limits: &Limits) -> Result<usize, FrameError> {
    let text = slice(buffered, 0, head);
    let refuse = |offset, cause| {
        let error = ParseError { header: HeaderName::ContentLength, offset, cause };
        Err(FrameError { error, head: 0..head })
    };
    let mut body: Option<usize> = None;
    let mut at = line::single(text, line::first(text)).next;
    while at < text.len() && line::blank(text, at).is_none() {
        let line = line::folded(text, at);
        if let Some(b'c' | b'C' | b'l' | b'L') = text.get(at)
            && let Ok((name_end, colon)) = line::name(text, at)
            && HeaderName::from_bytes(slice(text, at, name_end)) == HeaderName::ContentLength
        {
            if body.is_some() {
                return refuse(at, ParseCause::Duplicate);
            }
            match content_length(slice(text, colon + 1, line.end)) {
                Ok(length) => body = Some(length),
                Err(cause) => return refuse(colon + 1, cause),
            }
        }
        at = line.next;
    }
    let Some(body) = body else { return refuse(head, ParseCause::Missing) };
    let length = head.saturating_add(body);
    let limit = limits.message_bytes_max;
    if length > limit {
        return refuse(head, ParseCause::TooLong { length, limit });
    }
    Ok(length)
}

#[cfg(test)]
mod tests {
    use super::*;

    const OPTIONS: &[u8] = b"OPTIONS sip:h SIP/2.0\r\nTo: x\r\nl: 4\r\n\r\nbody";

    fn next(bytes: &[u8]) -> Result<Frame, ParseCause> {
        Framer::default().next(bytes, &Limits::STREAM).map_err(|error| error.error.cause)
    }

    #[test]
    fn a_whole_message_is_found() {
        assert_eq!(next(OPTIONS), Ok(Frame::Message(0..OPTIONS.len())));
    }

    #[test]
    fn octet_by_octet_is_the_same_as_at_once() {
        let mut framer = Framer::default();
        for end in 0..OPTIONS.len() {
            let frame = framer.next(&OPTIONS[..end], &Limits::STREAM);
            assert_eq!(frame, Ok(Frame::Incomplete), "after {end}");
        }
        assert_eq!(framer.length(), Some(OPTIONS.len()));
        assert_eq!(framer.next(OPTIONS, &Limits::STREAM), Ok(Frame::Message(0..OPTIONS.len())));
    }

    #[test]
    fn pipelined_messages_come_one_by_one() {
        let mut stream = [OPTIONS, b"\r\n\r\n", OPTIONS, b"\r\n", OPTIONS].concat();
        let mut framer = Framer::default();
        let mut frames = Vec::new();
        while let Ok(frame) = framer.next(&stream, &Limits::STREAM) {
            let end = match &frame {
                Frame::Incomplete => break,
                Frame::Ping(range) | Frame::Blank(range) | Frame::Message(range) => range.end,
            };
            stream.drain(..end);
            frames.push(frame);
        }
        let message = Frame::Message(0..OPTIONS.len());
        let (ping, blank) = (Frame::Ping(0..4), Frame::Blank(0..2));
        assert_eq!(frames, [message.clone(), ping, message.clone(), blank, message]);
    }

    /// The frames of a stream that arrives in pieces, by their lengths.
    fn lengths(stream: &[u8], pieces: impl Iterator<Item = usize>) -> Vec<usize> {
        let (mut framer, mut buffer, mut rest) = (Framer::default(), Vec::new(), stream);
        let mut lengths = Vec::new();
        for piece in pieces {
            let (now, later) = rest.split_at(piece.min(rest.len()));
            buffer.extend_from_slice(now);
            rest = later;
            while let Ok(frame) = framer.next(&buffer, &Limits::STREAM) {
                let end = match frame {
                    Frame::Incomplete => break,
                    Frame::Ping(range) | Frame::Blank(range) | Frame::Message(range) => range.end,
                };
                buffer.drain(..end);
                lengths.push(end);
            }
        }
        assert!(rest.is_empty() && buffer.is_empty());
        lengths
    }

    #[test]
    fn where_a_stream_is_cut_makes_no_difference() {
        let stream = [OPTIONS, OPTIONS, b"\r\n\r\n", OPTIONS].concat();
        let one = OPTIONS.len();
        let expected = [one, one, 4, one];
        for first in 0..stream.len() {
            let cut = [first, stream.len() - first];
            assert_eq!(lengths(&stream, cut.into_iter()), expected, "cut at {first}");
            for second in (first..stream.len()).step_by(7) {
                let cut = [first, second - first, stream.len() - second];
                assert_eq!(lengths(&stream, cut.into_iter()), expected, "{first}, {second}");
            }
        }
        for piece in 1..stream.len() {
            let pieces = stream.len().div_ceil(piece);
            let found = lengths(&stream, std::iter::repeat_n(piece, pieces));
            assert_eq!(found, expected, "in pieces of {piece}");
        }
    }

    #[test]
    fn a_half_ping_waits_for_its_other_half() {
        assert_eq!(next(b"\r\n"), Ok(Frame::Incomplete));
        assert_eq!(next(b"\r\n\r"), Ok(Frame::Incomplete));
        assert_eq!(next(b"\r\nO"), Ok(Frame::Blank(0..2)));
    }

    #[test]
    fn a_stream_needs_one_good_content_length() {
        for (line, cause) in [
            ("", ParseCause::Missing),
            ("l: 1\r\nContent-Length: 1\r\n", ParseCause::Duplicate),
            ("l: -1\r\n", ParseCause::UnexpectedByte(b'-')),
            ("l: 1 1\r\n", ParseCause::UnexpectedByte(b' ')),
            ("l:\r\n", ParseCause::UnexpectedEnd),
            ("l: 99999999999999999999\r\n", ParseCause::OutOfRange),
            ("l : 4294967296\r\n", ParseCause::OutOfRange),
        ] {
            let text = format!("BYE sip:h SIP/2.0\r\n{line}\r\n");
            assert_eq!(next(text.as_bytes()), Err(cause), "{line:?}");
        }
    }

    #[test]
    fn a_body_beyond_the_limit_is_refused_before_it_arrives() {
        let text = b"BYE sip:h SIP/2.0\r\nl: 1048576\r\n\r\n";
        assert!(matches!(next(text), Err(ParseCause::TooLong { .. })));
    }

    #[test]
    fn a_head_without_end_is_refused_at_the_limit() {
        let mut stream = b"BYE sip:h SIP/2.0\r\n".to_vec();
        let mut framer = Framer::default();
        let limits = Limits { head_bytes_max: 1000, ..Limits::STREAM };
        let error = loop {
            stream.extend_from_slice(b"X: y\r\n");
            match framer.next(&stream, &limits) {
                Ok(frame) => assert_eq!(frame, Frame::Incomplete),
                Err(error) => break error,
            }
        };
        assert_eq!(error.head, 0..1000);
        assert!(stream.len() < 1010);
    }

    #[test]
    fn what_cannot_begin_a_message_is_refused_at_once() {
        for bytes in [&b"\x16\x03\x01\x02\x00"[..], b"\0", b" BYE", b"\n", b"\rB"] {
            assert_eq!(next(bytes), Err(ParseCause::NotSip), "{bytes:?}");
        }
    }

    #[test]
    fn a_content_length_in_a_continuation_line_is_none() {
        let text = b"BYE sip:h SIP/2.0\r\nX: y\r\n l: 0\r\n\r\n";
        assert_eq!(next(text), Err(ParseCause::Missing));
    }
}
