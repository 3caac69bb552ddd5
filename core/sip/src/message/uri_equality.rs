//! When two URIs are the same: RFC 3261 §19.1.4.
//!
//! For: bindings of a registrar, loop checks, "is this URI mine".
//! Not here: reading URIs (`uri.rs`).
//! Invariants: linear for texts longer than `URI_BYTES_MAX`, which are compared octet by octet;
//! below that, parameters are compared pair by pair.

use crate::limits::URI_BYTES_MAX;

use super::list::{Param, Params};
use super::uri::Uri;

/// Parameters that make a difference even when only one of the two URIs has them.
const DECISIVE: [&[u8]; 5] = [b"user", b"ttl", b"method", b"maddr", b"transport"];

impl Uri<'_> {
    /// Whether both mean the same (RFC 3261 §19.1.4). Not transitive, as the RFC points out.
    pub fn is_equivalent(&self, other: &Uri<'_>) -> bool {
        if self.raw == other.raw {
            return true;
        }
        if self.raw.len() > URI_BYTES_MAX || other.raw.len() > URI_BYTES_MAX {
            return false;
        }
        if self.scheme.as_bytes() != other.scheme.as_bytes() || self.port != other.port {
            return false;
        }
        if !self.scheme.is_sip() && self.user.is_none() {
            return self.raw.eq_ignore_ascii_case(other.raw);
        }
        same_option(self.user, other.user, unescaped_eq)
            && same_option(self.password, other.password, unescaped_eq)
            && self.host == other.host
            && same_params(self.params, other.params)
            && same_params(other.params, self.params)
            && same_headers(self.headers, other.headers)
            && same_headers(other.headers, self.headers)
    }

    /// Whether both name the same address-of-record (`cmp_aor`): user and host, nothing else.
    pub fn is_same_aor(&self, other: &Uri<'_>) -> bool {
        let short = self.raw.len() <= URI_BYTES_MAX && other.raw.len() <= URI_BYTES_MAX;
        let same = same_option(self.user, other.user, unescaped_eq) && self.host == other.host;
        self.raw == other.raw || (short && same)
    }
}

/// Whether nothing in `left` contradicts `right`.
fn same_params(mut left: Params<'_>, right: Params<'_>) -> bool {
    left.all(|param: Param<'_>| match right.get(param.name) {
        Some(value) => same_option(param.value, value, unescaped_eq_ignore_case),
        None => !DECISIVE.iter().any(|name| param.is(name)),
    })
}

/// Whether each header in `left` stands in `right` too: headers always make a difference.
fn same_headers(left: Option<&[u8]>, right: Option<&[u8]>) -> bool {
    let pairs =
        |headers: Option<&'_ [u8]>| headers.unwrap_or_default().split(|b| *b == b'&').count();
    if pairs(left) != pairs(right) {
        return false;
    }
    left.unwrap_or_default().split(|byte| *byte == b'&').all(|pair| {
        let mut others = right.unwrap_or_default().split(|byte| *byte == b'&');
        others.any(|other| unescaped_eq_ignore_case(pair, other))
    })
}

fn same_option(left: Option<&[u8]>, right: Option<&[u8]>, same: fn(&[u8], &[u8]) -> bool) -> bool {
    match (left, right) {
        (Some(left), Some(right)) => same(left, right),
        (None, None) => true,
        (Some(_), None) | (None, Some(_)) => false,
    }
}

fn unescaped_eq(left: &[u8], right: &[u8]) -> bool {
    unescaped(left).eq(unescaped(right))
}

fn unescaped_eq_ignore_case(left: &[u8], right: &[u8]) -> bool {
    let lower = |bytes| {
        unescaped(bytes).map(|(byte, literal): (u8, bool)| (byte.to_ascii_lowercase(), literal))
    };
    lower(left).eq(lower(right))
}

/// Octets with `%HH` decoded. Each says whether it could stand for itself: a reserved character and
/// its escape differ (§19.1.4), so `%3B` is not `;`.
fn unescaped(bytes: &[u8]) -> impl Iterator<Item = (u8, bool)> {
    let mut rest = bytes;
    std::iter::from_fn(move || match rest {
        [b'%', high, low, tail @ ..] if high.is_ascii_hexdigit() && low.is_ascii_hexdigit() => {
            rest = tail;
            let byte = hex(*high) << 4 | hex(*low);
            Some((byte, !is_reserved(byte)))
        }
        [byte, tail @ ..] => {
            rest = tail;
            Some((*byte, true))
        }
        [] => None,
    })
}

fn hex(digit: u8) -> u8 {
    match digit {
        b'0'..=b'9' => digit - b'0',
        b'a'..=b'f' => digit - b'a' + 10,
        b'A'..=b'F' => digit - b'A' + 10,
        _ => 0,
    }
}

fn is_reserved(byte: u8) -> bool {
    matches!(byte, b';' | b'/' | b'?' | b':' | b'@' | b'&' | b'=' | b'+' | b'$' | b',')
}

#[cfg(test)]
mod tests {
    use super::*;

    fn same(left: &str, right: &str) -> bool {
        let parse = |text: &'static str| Uri::parse(text.as_bytes()).expect("a URI");
        let (left, right): (&'static str, &'static str) =
            (Box::leak(left.into()), Box::leak(right.into()));
        let forwards = parse(left).is_equivalent(&parse(right));
        assert_eq!(forwards, parse(right).is_equivalent(&parse(left)), "not symmetric");
        forwards
    }

    #[test]
    fn the_equal_pairs_of_the_rfc() {
        assert!(same(
            "sip:%61lice@atlanta.com;transport=TCP",
            "sip:alice@AtLanTa.CoM;Transport=tcp"
        ));
        assert!(same("sip:carol@chicago.com", "sip:carol@chicago.com;newparam=5"));
        assert!(same("sip:carol@chicago.com;security=on", "sip:carol@chicago.com;newparam=5"));
        assert!(same(
            "sip:biloxi.com;transport=tcp;method=REGISTER?to=sip:bob%40biloxi.com",
            "sip:biloxi.com;method=REGISTER;transport=tcp?to=sip:bob%40biloxi.com"
        ));
        assert!(same(
            "sip:alice@atlanta.com?subject=project%20x&priority=urgent",
            "sip:alice@atlanta.com?priority=urgent&subject=project%20x"
        ));
    }

    #[test]
    fn the_unequal_pairs_of_the_rfc() {
        assert!(!same(
            "SIP:ALICE@AtLanTa.CoM;Transport=udp",
            "sip:alice@AtLanTa.CoM;Transport=UDP"
        ));
        assert!(!same("sip:bob@biloxi.com", "sip:bob@biloxi.com:5060"));
        assert!(!same("sip:bob@biloxi.com", "sip:bob@biloxi.com;transport=udp"));
        assert!(!same("sip:bob@biloxi.com", "sip:bob@biloxi.com:6000;transport=tcp"));
        assert!(!same("sip:carol@chicago.com", "sip:carol@chicago.com?Subject=next%20meeting"));
        assert!(!same("sip:bob@phone21.boxesbybob.com", "sip:bob@192.0.2.4"));
        assert!(!same("sip:carol@chicago.com;security=on", "sip:carol@chicago.com;security=off"));
    }

    #[test]
    fn an_escaped_reserved_character_is_another_one() {
        assert!(!same("sip:a%3Bb@h", "sip:a;b@h"));
        assert!(same("sip:a%3Bb@h", "sip:a%3bb@h"));
    }

    #[test]
    fn an_address_of_record_is_user_and_host() {
        let same = |left: &str, right: &str| {
            let [left, right] = [left, right].map(|text| Uri::parse(text.as_bytes()));
            left.expect("a URI").is_same_aor(&right.expect("a URI"))
        };
        assert!(same("sip:b%6fb@Example.com:5070;a=b", "sips:bob@example.com"));
        assert!(!same("sip:Bob@example.com", "sip:bob@example.com"));
        assert!(!same("sip:example.com", "sip:bob@example.com"));
    }

    #[test]
    fn repeated_headers_do_not_stand_in_for_others() {
        assert!(!same("sip:h?a=1&a=1", "sip:h?a=1&b=2"));
    }

    #[test]
    fn a_huge_uri_equals_only_itself() {
        let bomb = format!("sip:h{}", ";a".repeat(20_000));
        assert!(same(&bomb, &bomb));
        assert!(!same(&bomb, &format!("{bomb};b")));
    }
}
