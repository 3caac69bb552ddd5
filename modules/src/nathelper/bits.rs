//! The tests of `nat_uac_test`, as a set.

use std::fmt;
use std::ops::BitOr;

/// Tests that say whether a user agent is behind a NAT. The bits are Kamailio's.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct NatTests(u16);

impl NatTests {
    /// No test.
    pub const NONE: NatTests = NatTests(0);
    /// 1: the first contact names a private address.
    pub const CONTACT: NatTests = NatTests(1);
    /// 2: the topmost Via names another address than the source.
    pub const VIA_SOURCE: NatTests = NatTests(2);
    /// 4: the topmost Via names a private address.
    pub const VIA: NatTests = NatTests(4);
    /// 8: the session description names a private address.
    pub const SDP: NatTests = NatTests(8);
    /// 16: the topmost Via names another port than the source; 5060 when it names none.
    pub const VIA_PORT: NatTests = NatTests(16);
    /// 32: the source's address is private.
    pub const SOURCE: NatTests = NatTests(32);
    /// 64: it came over a WebSocket.
    pub const WEBSOCKET: NatTests = NatTests(64);
    /// 128: the first contact names another port than the source.
    pub const CONTACT_PORT: NatTests = NatTests(128);
    /// 256: the session description names another address than the source.
    pub const SDP_SOURCE: NatTests = NatTests(256);
    /// 512: it goes elsewhere than its Request-URI says (on a branch), or than the second Via says
    /// (a response); or it came over a WebSocket.
    pub const TARGET: NatTests = NatTests(512);
    /// The usual ones: 19.
    pub const USUAL: NatTests = NatTests(1 | 2 | 16);

    const ALL_BITS: u16 = 1023;

    /// Reads Kamailio's number; `None` with an unknown bit.
    pub const fn from_bits(bits: u16) -> Option<NatTests> {
        if bits & !NatTests::ALL_BITS == 0 { Some(NatTests(bits)) } else { None }
    }

    /// Kamailio's number.
    pub const fn bits(self) -> u16 {
        self.0
    }

    /// Whether there is none.
    pub const fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// Whether it holds all of those.
    pub const fn contains(self, tests: NatTests) -> bool {
        self.0 & tests.0 == tests.0
    }

    /// Every single test.
    pub fn all() -> impl Iterator<Item = NatTests> {
        (0..10).map(|bit| NatTests(1 << bit))
    }
}

impl BitOr for NatTests {
    type Output = NatTests;
    fn bitor(self, other: NatTests) -> NatTests {
        NatTests(self.0 | other.0)
    }
}

impl FromIterator<NatTests> for NatTests {
    fn from_iter<I: IntoIterator<Item = NatTests>>(tests: I) -> NatTests {
        tests.into_iter().fold(NatTests::NONE, NatTests::bitor)
    }
}

impl fmt::Display for NatTests {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_set_is_the_sum_of_its_tests() {
        let usual = NatTests::CONTACT | NatTests::VIA_SOURCE | NatTests::VIA_PORT;
        assert_eq!((usual, usual.to_string().as_str()), (NatTests::USUAL, "19"));
        assert_eq!(NatTests::all().collect::<NatTests>().bits(), 1023);
        assert_eq!(NatTests::from_bits(1024), None);
        assert!(!usual.contains(NatTests::VIA) && usual.contains(NatTests::NONE));
    }
}
