//! Lines of a head: where they end, and whether they continue (RFC 3261 §7.3.1).
//!
//! For: the index of headers, the Call-ID scan and stream framing, which must agree on what a line
//! is.
//! Not here: what stands in a line.
//! Invariants: every octet is looked at once. Only CRLF ends a line in a message that is accepted;
//! a lone CR, a lone LF or a NUL outside a quoted pair is a fault, so that nothing that the next
//! hop could take for a line end is ever passed on.

use memchr::memchr3;

use super::error::ParseCause;
use super::octet::{TOKEN, span};

/// A line with its continuation lines.
pub(super) struct Line {
    /// Where its text ends: before its line end.
    pub(super) end: usize,
    /// Where the next line starts.
    pub(super) next: usize,
    /// Whether it must be copied with care: it has folds, or octets that do not belong there.
    pub(super) unclean: bool,
    /// The first octet that must not be there.
    pub(super) fault: Option<usize>,
}

/// Why the octet of a `Line::fault` is wrong.
pub(super) fn cause(bytes: &[u8], fault: usize) -> ParseCause {
    bytes.get(fault).map_or(ParseCause::UnexpectedEnd, |byte| ParseCause::UnexpectedByte(*byte))
}

/// The line that ends at the first octet that could end it; `None` when it is not CRLF.
#[inline]
pub(super) fn plain(bytes: &[u8], end: usize) -> Option<Line> {
    match bytes.get(end..)? {
        [b'\r', b'\n', ..] => Some(Line { end, next: end + 2, unclean: false, fault: None }),
        _ => None,
    }
}

/// Reads the start line, which cannot be continued.
#[inline]
pub(super) fn single(bytes: &[u8], at: usize) -> Line {
    read(bytes, at, false)
}

/// Reads a header line and the lines that continue it; `at` may be anywhere in its first line.
#[inline]
pub(super) fn folded(bytes: &[u8], at: usize) -> Line {
    read(bytes, at, true)
}

#[inline(always)]
fn read(bytes: &[u8], at: usize, may_fold: bool) -> Line {
    let mut line = Line { end: bytes.len(), next: bytes.len(), unclean: false, fault: None };
    let mut from = at;
    while let Some(found) = memchr3(b'\r', b'\n', 0, bytes.get(from..).unwrap_or_default()) {
        let at = from + found;
        let after = bytes.get(at + 1).copied();
        let next = match (bytes.get(at), after) {
            (Some(b'\r'), Some(b'\n')) => at + 2,
            (Some(b'\n'), _) => {
                line.blame(at);
                at + 1
            }
            (Some(0), _) if is_escaped(bytes, at) => {
                from = at + 1;
                continue;
            }
            _ => {
                line.blame(at);
                from = at + 1;
                continue;
            }
        };
        if may_fold && matches!(bytes.get(next), Some(b' ' | b'\t')) {
            line.unclean = true;
            from = next;
            continue;
        }
        line.end = at;
        line.next = next;
        return line;
    }
    line.blame(bytes.len());
    line
}

impl Line {
    #[cold]
    fn blame(&mut self, at: usize) {
        self.unclean = true;
        self.fault.get_or_insert(at);
    }
}

/// Whether an odd number of backslashes stands before an octet: in a quoted string it is then
/// itself.
pub(super) fn is_escaped(bytes: &[u8], at: usize) -> bool {
    let before = bytes.get(..at).unwrap_or_default();
    before.iter().rev().take_while(|byte| **byte == b'\\').count() % 2 == 1
}

/// Whether the head ends at `at`, and where the body starts. A lone LF ends it too: the fault is
/// the caller's to report.
#[inline]
pub(super) fn blank(bytes: &[u8], at: usize) -> Option<usize> {
    match bytes.get(at..)? {
        [b'\r', b'\n', ..] => Some(at + 2),
        [b'\n', ..] => Some(at + 1),
        _ => None,
    }
}

/// Where the first line starts: noise before it is skipped.
pub(super) fn first(bytes: &[u8]) -> usize {
    let noise = |byte: &u8| matches!(byte, b'\r' | b'\n' | 0 | b' ' | b'\t');
    bytes.iter().position(|byte| !noise(byte)).unwrap_or(bytes.len())
}

/// Where a header's name ends and where its colon is; `Err` tells the octet at which no colon came.
#[inline]
pub(super) fn name(bytes: &[u8], at: usize) -> Result<(usize, usize), usize> {
    let line = bytes.get(at..).unwrap_or_default();
    let length = span(line, TOKEN);
    let blanks = |byte: &u8| matches!(byte, b' ' | b'\t');
    let mut colon = length;
    while line.get(colon).is_some_and(blanks) {
        colon += 1;
    }
    match line.get(colon) {
        Some(b':') if length > 0 => Ok((at + length, at + colon)),
        Some(_) | None => Err(at + colon),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_ends_before_its_line_end() {
        let line = folded(b"To: a\r\nFrom: b\r\n", 0);
        assert_eq!((line.end, line.next, line.unclean, line.fault), (5, 7, false, None));
    }

    #[test]
    fn a_continued_line_is_one_line() {
        let line = folded(b"To: a\r\n b\r\n\tc\r\nFrom", 0);
        assert_eq!((line.end, line.next, line.unclean, line.fault), (13, 15, true, None));
    }

    #[test]
    fn a_start_line_is_not_continued() {
        assert_eq!(single(b"ACK\r\n x: y\r\n", 0).next, 5);
    }

    #[test]
    fn lone_line_ends_and_nul_are_faults() {
        assert_eq!(folded(b"a: b\nc: d\r\n", 0).fault, Some(4));
        assert_eq!(folded(b"a: b\rc: d\r\n", 0).fault, Some(4));
        assert_eq!(folded(b"a: b\0c\r\n", 0).fault, Some(4));
        assert_eq!(folded(b"a: b\\\0c\r\n", 0).fault, None);
        assert_eq!(folded(b"a: b\\\\\0c\r\n", 0).fault, Some(6));
        assert_eq!(folded(b"a: b", 0).fault, Some(4));
    }

    #[test]
    fn a_colon_may_follow_blanks() {
        assert_eq!(name(b"To \t: x", 0), Ok((2, 4)));
        assert_eq!(name(b": x", 0), Err(0));
        assert_eq!(name(b"To x: y", 0), Err(3));
        assert_eq!(name(b"To", 0), Err(2));
    }
}
