//! CSeq: RFC 3261 §20.16.
//!
//! For: the number that orders requests and the method it belongs to.
//! Not here: whether that method is the request's (`proxy/`), what number a dialog expects.
//! Invariants: a number is below 2^31 (§8.1.1.5).

use super::error::{ParseCause, ParseError};
use super::method::{Method, MethodKind};
use super::octet::{Cursor, DIGIT, TOKEN, decimal};

/// A sequence number and a method.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CSeq<'a> {
    /// The number, below 2^31.
    pub number: u32,
    /// The method.
    pub method: Method<'a>,
}

/// The first number that is too large.
const NUMBER_LIMIT: u32 = 1 << 31;

impl<'a> CSeq<'a> {
    /// Reads a CSeq value.
    pub fn parse(value: &'a [u8]) -> Result<CSeq<'a>, ParseError> {
        match plain(value) {
            Some(cseq) => Ok(cseq),
            None => judge(value),
        }
    }
}

/// A value of the common kind: few digits, one blank, a known method.
#[inline]
fn plain(value: &[u8]) -> Option<CSeq<'_>> {
    let mut number = 0;
    for (at, byte) in value.iter().enumerate().take(DIGITS_PLAIN + 1) {
        match byte {
            b'0'..=b'9' if at < DIGITS_PLAIN => number = number * 10 + u32::from(byte - b'0'),
            b' ' if at > 0 => {
                let method = Method::from_bytes(value.get(at + 1..)?);
                let is_known = method.kind() != MethodKind::Other;
                return is_known.then_some(CSeq { number, method });
            }
            _ => return None,
        }
    }
    None
}

/// As many digits never reach `NUMBER_LIMIT`.
const DIGITS_PLAIN: usize = 9;

/// Any value, and what is wrong with it.
fn judge(value: &[u8]) -> Result<CSeq<'_>, ParseError> {
    let mut cursor = Cursor::new(value);
    cursor.skip_lws();
    let start = cursor;
    let digits = cursor.take(DIGIT);
    let after_digits = cursor.at();
    cursor.skip_lws();
    if digits.is_empty() || cursor.at() == after_digits {
        return Err(cursor.unexpected());
    }
    let Some(number) = decimal(digits).filter(|number| *number < NUMBER_LIMIT) else {
        return Err(ParseError { cause: ParseCause::OutOfRange, ..start.unexpected() });
    };
    let method = cursor.take(TOKEN);
    cursor.skip_lws();
    if method.is_empty() || cursor.peek().is_some() {
        return Err(cursor.unexpected());
    }
    Ok(CSeq { number, method: Method::from_bytes(method) })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn leading_zeros_and_folds_are_allowed() {
        let cseq = CSeq::parse(b"0009\r\n  INVITE").expect("a CSeq");
        assert_eq!(cseq, CSeq { number: 9, method: Method::Invite });
    }

    #[test]
    fn the_common_kind_is_read_like_any_other() {
        for text in [
            "1 INVITE",
            "999999999 BYE",
            "0 ACK",
            "1000000000 BYE",
            "007 OPTIONS",
            "12 invite",
            "12 ",
            " 12 ACK",
            "12  ACK",
            "12 ACK ",
            "12\tACK",
            "12 STRANGE",
            "",
        ] {
            let (text, read) = (text.as_bytes(), CSeq::parse(text.as_bytes()));
            assert_eq!(read, judge(text), "{}", text.escape_ascii());
            assert!(plain(text).is_none_or(|cseq| Ok(cseq) == judge(text)));
        }
    }

    #[test]
    fn the_number_stays_below_two_to_the_31() {
        assert_eq!(CSeq::parse(b"2147483647 ACK").map(|cseq| cseq.number), Ok(2_147_483_647));
        for text in [&b"2147483648 ACK"[..], b"4294967296 ACK", b"36893488147419103232 REGISTER"] {
            let error = CSeq::parse(text).expect_err("too large");
            assert_eq!(error.cause, ParseCause::OutOfRange);
        }
    }

    #[test]
    fn broken_values_are_refused() {
        for text in ["", "1", "INVITE", "1INVITE", "-1 INVITE", "1 ", "1 INVITE x", "1 IN\0VITE"] {
            assert!(CSeq::parse(text.as_bytes()).is_err(), "{text:?}");
        }
    }
}
