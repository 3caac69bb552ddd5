//! Streams: the framer, fed at once and in pieces.
//!
//! Invariants: pieces make no difference; every frame makes progress; a message that is cut out has
//! the length that its head says, and memory has a bound.

use super::mutate::Random;
use strowger_sip::limits::Limits;
use strowger_sip::message::{Frame, Framer, Head, ParseCause};

/// Small, so that the bounds are met.
const LIMITS: Limits = Limits { head_bytes_max: 2048, message_bytes_max: 4096, ..Limits::STREAM };

/// What a stream consists of: frames by length, and the mistake that ends it.
type Frames = (Vec<(char, usize)>, Option<ParseCause>);

/// Runs the target.
///
/// # Panics
/// When something does not hold.
pub fn run(data: &[u8]) {
    let sum = data.iter().fold(7u64, |sum, byte| sum.wrapping_mul(31) + u64::from(*byte));
    let mut random = Random::new(sum);
    let whole = frames(data, || data.len().max(1));
    assert_eq!(whole, frames(data, || 1), "octet by octet");
    assert_eq!(whole, frames(data, || 1 + random.below(97)), "in pieces");
}

fn frames(data: &[u8], mut piece: impl FnMut() -> usize) -> Frames {
    let mut framer = Framer::default();
    let mut buffer: Vec<u8> = Vec::new();
    let mut found = Vec::new();
    let mut rest = data;
    loop {
        match framer.next(&buffer, &LIMITS) {
            Err(error) => return (found, Some(kind(error.error.cause))),
            Ok(Frame::Incomplete) => {
                assert!(buffer.len() <= LIMITS.message_bytes_max + data.len().min(8192));
                if rest.is_empty() {
                    return (found, None);
                }
                let (now, later) = rest.split_at(piece().min(rest.len()));
                buffer.extend_from_slice(now);
                rest = later;
            }
            Ok(Frame::Ping(range)) => {
                found.push(('p', range.len()));
                buffer.drain(range);
            }
            Ok(Frame::Blank(range)) => {
                found.push(('b', range.len()));
                buffer.drain(range);
            }
            Ok(Frame::Message(range)) => {
                let mut head = Head::default();
                let _ = head.parse(&buffer[range.clone()], &LIMITS);
                found.push(('m', range.len()));
                assert!(!range.is_empty() && range.start == 0, "no progress");
                buffer.drain(range);
            }
        }
    }
}

/// How much had arrived is no part of the mistake.
fn kind(cause: ParseCause) -> ParseCause {
    if let ParseCause::TooLong { limit, .. } = cause {
        return ParseCause::TooLong { length: 0, limit };
    }
    cause
}
