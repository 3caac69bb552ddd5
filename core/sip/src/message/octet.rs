//! Classes of octets (RFC 3261 §25.1) and the cursor with which typed headers are read.
//!
//! For: one table look-up per octet instead of a chain of comparisons.
//! Not here: lists and quoted strings (`list.rs`), lines and folding (`head.rs`).
//! Invariants: a cursor only moves forward, so reading a value is linear in its length.

use wide::u8x16;

use super::error::{ParseCause, ParseError};
use super::header::HeaderName;

/// `token`: method, header name, parameter name, option tag.
pub(super) const TOKEN: u8 = 1;
/// What a host name is made of; `_` is not in the grammar but in too many DNS zones.
pub(super) const HOST: u8 = 2;
/// What a URI may hold: printable octets without blank, quote and angle brackets. Raw UTF-8 passes,
/// since it does no harm and telephones send it.
pub(super) const URI: u8 = 4;
/// `0` to `9`.
pub(super) const DIGIT: u8 = 8;
/// `scheme` after its first letter.
pub(super) const SCHEME: u8 = 16;

const CLASSES: [u8; 256] = classes();

const fn classes() -> [u8; 256] {
    let mut table = [0; 256];
    let mut octet = 0;
    while octet < 256 {
        let byte = octet as u8;
        let mut class = 0;
        if byte.is_ascii_alphanumeric() {
            class |= TOKEN | HOST | SCHEME;
        }
        if matches!(byte, b'-' | b'.' | b'!' | b'%' | b'*' | b'_' | b'+' | b'`' | b'\'' | b'~') {
            class |= TOKEN;
        }
        if matches!(byte, b'-' | b'.' | b'_') {
            class |= HOST;
        }
        if matches!(byte, b'+' | b'-' | b'.') {
            class |= SCHEME;
        }
        if byte > b' ' && byte != 0x7f && !matches!(byte, b'"' | b'<' | b'>') {
            class |= URI;
        }
        if byte.is_ascii_digit() {
            class |= DIGIT;
        }
        table[octet] = class;
        octet += 1;
    }
    table
}

/// Whether an octet belongs to a class.
#[inline]
pub(super) fn is(byte: u8, class: u8) -> bool {
    CLASSES[usize::from(byte)] & class != 0
}

/// Whether all octets belong to a class; true of nothing at all.
pub(super) fn all(bytes: &[u8], class: u8) -> bool {
    bytes.iter().all(|&byte| is(byte, class))
}

/// The first of some octets; without a call, for most texts are short.
#[inline]
pub(super) fn find<const N: usize>(bytes: &[u8], wanted: [u8; N]) -> Option<usize> {
    let hits = |block: [u8; 16]| {
        let block = u8x16::new(block);
        let one = |found: u8x16, octet| found | block.simd_eq(u8x16::splat(octet));
        wanted.into_iter().fold(u8x16::splat(0), one).to_bitmask()
    };
    let (blocks, rest) = bytes.as_chunks();
    for (place, block) in blocks.iter().enumerate() {
        let hits = hits(*block);
        if hits != 0 {
            return Some(place * 16 + hits.trailing_zeros() as usize);
        }
    }
    let start = bytes.len() - rest.len();
    let Some(last) = bytes.last_chunk() else {
        return rest.iter().position(|byte| wanted.contains(byte));
    };
    let hits = hits(*last) >> (16 - rest.len());
    (hits != 0).then(|| start + hits.trailing_zeros() as usize)
}

/// Whether every octet is above the blank: neither white space nor a control octet, DEL aside.
#[inline]
pub(super) fn is_dark(bytes: &[u8]) -> bool {
    is_above::<b' '>(bytes)
}

/// Whether every octet is above this one, which is below 128; looked at eight at a time.
#[inline]
pub(super) fn is_above<const HIGHEST: u8>(bytes: &[u8]) -> bool {
    const EACH: u64 = u64::from_le_bytes([1; 8]);
    let (Some(last), words) = (bytes.last_chunk(), bytes.as_chunks().0) else {
        return bytes.iter().all(|byte| *byte > HIGHEST);
    };
    // The highest bit of an octet stays or becomes set when the octet is above.
    let lift = |word: u64| ((word & (EACH * 0x7f)) + EACH * u64::from(0x7f - HIGHEST)) | word;
    let words = words.iter().chain([last]);
    let above = words.fold(u64::MAX, |above, word| above & lift(u64::from_le_bytes(*word)));
    above & (EACH << 7) == EACH << 7
}

/// Whether every octet may stand in a URI (`URI`), looked at eight at a time.
#[inline]
pub(super) fn is_uri_text(bytes: &[u8]) -> bool {
    const EACH: u64 = u64::from_le_bytes([1; 8]);
    let (Some(last), words) = (bytes.last_chunk(), bytes.as_chunks().0) else {
        return all(bytes, URI);
    };
    // Sets the highest bit of an octet that is none, or of one above such a one.
    let none = |word: u64| word.wrapping_sub(EACH) & !word;
    let wrong = |word: u64| {
        let low = !(((word & (EACH * 0x7f)) + EACH * (0x7f - b' ' as u64)) | word);
        let quote = none(word ^ (EACH * b'"' as u64));
        let brackets = none((word | (EACH * 2)) ^ (EACH * b'>' as u64));
        low | quote | brackets | none(word ^ (EACH * 0x7f))
    };
    let found =
        words.iter().chain([last]).fold(0, |found, word| found | wrong(u64::from_le_bytes(*word)));
    found & (EACH << 7) == 0
}

/// How many octets at the front belong to a class.
#[inline]
pub(super) fn span(bytes: &[u8], class: u8) -> usize {
    let mut count = 0;
    while let Some(byte) = bytes.get(count)
        && is(*byte, class)
    {
        count += 1;
    }
    count
}

/// Linear white space: blank, tab, and the line ends inside a folded value.
#[inline]
pub(super) fn is_lws(byte: u8) -> bool {
    matches!(byte, b' ' | b'\t' | b'\r' | b'\n')
}

/// Cuts linear white space off both ends.
#[inline]
pub(super) fn trim(bytes: &[u8]) -> &[u8] {
    trim_start(trim_end(bytes))
}

/// Cuts linear white space off the front.
#[inline]
pub(super) fn trim_start(mut bytes: &[u8]) -> &[u8] {
    while let [first, rest @ ..] = bytes
        && is_lws(*first)
    {
        bytes = rest;
    }
    bytes
}

/// Cuts linear white space off the end.
#[inline]
pub(super) fn trim_end(mut bytes: &[u8]) -> &[u8] {
    while let [rest @ .., last] = bytes
        && is_lws(*last)
    {
        bytes = rest;
    }
    bytes
}

/// A part of a buffer; empty when the range is not inside it.
#[inline]
pub(super) fn slice(bytes: &[u8], start: usize, end: usize) -> &[u8] {
    bytes.get(start..end).unwrap_or_default()
}

/// Decimal digits and nothing else, however many leading zeros; `None` beyond 32 bits.
pub(super) fn decimal(bytes: &[u8]) -> Option<u32> {
    if bytes.is_empty() {
        return None;
    }
    let mut number: u32 = 0;
    for &byte in bytes {
        if !byte.is_ascii_digit() {
            return None;
        }
        number = number.checked_mul(10)?.checked_add(u32::from(byte - b'0'))?;
    }
    Some(number)
}

/// A position in a value that is read from left to right.
#[derive(Clone, Copy)]
pub(super) struct Cursor<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl<'a> Cursor<'a> {
    pub(super) fn new(bytes: &'a [u8]) -> Cursor<'a> {
        Cursor { bytes, at: 0 }
    }

    pub(super) fn at(&self) -> usize {
        self.at
    }

    #[inline]
    pub(super) fn peek(&self) -> Option<u8> {
        self.bytes.get(self.at).copied()
    }

    #[inline]
    pub(super) fn rest(&self) -> &'a [u8] {
        self.bytes.get(self.at..).unwrap_or_default()
    }

    /// Moves on by what was found in `rest()`.
    pub(super) fn skip(&mut self, count: usize) {
        self.at = self.at.saturating_add(count).min(self.bytes.len());
    }

    #[inline]
    pub(super) fn skip_lws(&mut self) {
        while self.peek().is_some_and(is_lws) {
            self.at += 1;
        }
    }

    /// Steps over one expected octet.
    #[inline]
    pub(super) fn eat(&mut self, byte: u8) -> bool {
        let found = self.peek() == Some(byte);
        self.at += usize::from(found);
        found
    }

    /// Steps over one expected octet with white space around it.
    #[inline]
    pub(super) fn eat_separator(&mut self, byte: u8) -> bool {
        self.skip_lws();
        let found = self.eat(byte);
        self.skip_lws();
        found
    }

    /// The octets of a class from here on; empty when there is none.
    #[inline]
    pub(super) fn take(&mut self, class: u8) -> &'a [u8] {
        let (taken, _) = self.rest().split_at(span(self.rest(), class));
        self.at += taken.len();
        taken
    }

    /// Says that what stands here is not what the grammar asks for.
    pub(super) fn unexpected(&self) -> ParseError {
        let cause = self.peek().map_or(ParseCause::UnexpectedEnd, ParseCause::UnexpectedByte);
        ParseError { header: HeaderName::Other, offset: self.at, cause }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn token_holds_what_the_grammar_lists() {
        assert!(all(b"-.!%*_+`'~aZ09", TOKEN));
        assert!(b"()<>@,;:\\\"/[]?={} \t\x7f\x80".iter().all(|&byte| !is(byte, TOKEN)));
    }

    #[test]
    fn uri_refuses_what_could_end_it() {
        assert!(b" <>\"\r\n\0\t\x7f".iter().all(|&byte| !is(byte, URI)));
    }

    #[test]
    fn dark_is_what_lies_above_the_blank() {
        for length in [1, 7, 8, 9, 16, 20] {
            for at in 0..length {
                for octet in 0..=255u8 {
                    let mut bytes = vec![b'x'; length];
                    bytes[at] = octet;
                    assert_eq!(is_dark(&bytes), octet > b' ', "{octet} at {at} of {length}");
                }
            }
        }
        assert!(is_dark(b""));
    }

    #[test]
    fn the_text_of_a_uri_is_told_alike_octet_by_octet_and_word_by_word() {
        for length in [1, 7, 8, 9, 16, 21] {
            for at in 0..length {
                for octet in 0..=255u8 {
                    let mut bytes = vec![b'x'; length];
                    bytes[at] = octet;
                    assert_eq!(is_uri_text(&bytes), is(octet, URI), "{octet} at {at} of {length}");
                }
            }
        }
    }

    #[test]
    fn the_first_of_some_octets_is_found_wherever_it_stands() {
        for length in 0..80 {
            let mut bytes = vec![b';' - 1; length];
            assert_eq!(find(&bytes, [b';']), None);
            for at in (0..length).rev() {
                bytes[at] = if at % 2 == 0 { b';' } else { b'"' };
                let slowly = |wanted: &[u8]| bytes.iter().position(|byte| wanted.contains(byte));
                assert_eq!(find(&bytes, [b';']), slowly(b";"), "{length} {at}");
                assert_eq!(find(&bytes, [b';', b'"']), slowly(b";\""), "{length} {at}");
                assert_eq!(find(&bytes, [b'x', b'"', b'y']), slowly(b"\""), "{length} {at}");
            }
        }
    }

    #[test]
    fn trim_takes_folds_away_too() {
        assert_eq!(trim(b" \t\r\n a b \r\n "), b"a b");
        assert_eq!(trim(b" \r\n\t"), b"");
    }

    #[test]
    fn decimal_reads_leading_zeros_and_stops_at_32_bits() {
        assert_eq!(decimal(b"0000000000000000000007"), Some(7));
        assert_eq!(decimal(b"4294967295"), Some(u32::MAX));
        assert_eq!(decimal(b"4294967296"), None);
        assert_eq!(decimal(b""), None);
        assert_eq!(decimal(b"+1"), None);
    }

    #[test]
    fn slice_outside_is_empty() {
        assert_eq!(slice(b"abc", 2, 9), b"");
        assert_eq!(slice(b"abc", 2, 1), b"");
    }
}
