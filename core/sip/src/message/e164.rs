//! Telephone numbers in their international form: ITU-T E.164.
//!
//! For: `is_e164` and telling whether a URI's user is such a number.

use super::octet::{DIGIT, all};
use super::uri::Uri;

/// Most digits of a number (E.164 §6.2.1).
const DIGITS_MAX: usize = 15;

/// Whether a text is `+` and 2 to 15 digits.
pub fn is_e164(text: &[u8]) -> bool {
    let digits = text.strip_prefix(b"+").unwrap_or_default();
    (2..=DIGITS_MAX).contains(&digits.len()) && all(digits, DIGIT)
}

impl Uri<'_> {
    /// Whether its user part is an international number.
    pub fn is_user_e164(&self) -> bool {
        self.user.is_some_and(is_e164)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_number_is_a_plus_and_digits() {
        for good in ["+39", "+390123456789", "+123456789012345"] {
            assert!(is_e164(good.as_bytes()), "{good}");
        }
        for bad in ["", "+", "+3", "39012", "+39 012", "+1234567890123456", "+39a"] {
            assert!(!is_e164(bad.as_bytes()), "{bad}");
        }
        assert!(Uri::parse(b"sip:+3912@h").expect("a URI").is_user_e164());
        assert!(!Uri::parse(b"sip:h").expect("a URI").is_user_e164());
    }
}
