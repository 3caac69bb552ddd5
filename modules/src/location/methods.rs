//! Sets of methods, as column `methods` keeps them.
//!
//! For: the `methods` parameter of a Contact (RFC 3840 §10) and the Allow header.
//! Invariants: the bits are Kamailio's; a set that says nothing allows everything.

use strowger_sip::message::MethodKind;

/// Kamailio's bits.
const BITS: [(&str, MethodKind, u32); 14] = [
    ("INVITE", MethodKind::Invite, 1),
    ("CANCEL", MethodKind::Cancel, 1 << 1),
    ("ACK", MethodKind::Ack, 1 << 2),
    ("BYE", MethodKind::Bye, 1 << 3),
    ("INFO", MethodKind::Info, 1 << 4),
    ("REGISTER", MethodKind::Register, 1 << 5),
    ("SUBSCRIBE", MethodKind::Subscribe, 1 << 6),
    ("NOTIFY", MethodKind::Notify, 1 << 7),
    ("MESSAGE", MethodKind::Message, 1 << 8),
    ("OPTIONS", MethodKind::Options, 1 << 9),
    ("PRACK", MethodKind::Prack, 1 << 10),
    ("UPDATE", MethodKind::Update, 1 << 11),
    ("REFER", MethodKind::Refer, 1 << 12),
    ("PUBLISH", MethodKind::Publish, 1 << 13),
];

/// Any method without a bit of its own.
const OTHER: u32 = 1 << 18;

/// A set of methods.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Methods(u32);

impl Methods {
    /// Every method.
    pub const ALL: Methods = Methods(u32::MAX);

    /// The set of these bits.
    pub const fn from_bits(bits: u32) -> Methods {
        Methods(bits)
    }

    /// The set's bits.
    pub const fn bits(self) -> u32 {
        self.0
    }

    /// The set of these names; unknown ones together are one more member.
    pub fn from_names<'n>(names: impl Iterator<Item = &'n [u8]>) -> Methods {
        let bit = |name: &[u8]| {
            let known = BITS.iter().find(|(known, _, _)| known.as_bytes() == name);
            known.map_or(OTHER, |(_, _, bit)| *bit)
        };
        Methods(names.fold(0, |bits, name| bits | bit(name)))
    }

    /// The names of its members that have one, in the order of their bits.
    pub fn names(self) -> impl Iterator<Item = &'static str> {
        BITS.iter().filter(move |(_, _, bit)| self.0 & bit != 0).map(|(name, _, _)| *name)
    }

    /// Whether the set has this method.
    pub fn allows(self, method: MethodKind) -> bool {
        let known = BITS.iter().find(|(_, kind, _)| *kind == method);
        self.0 & known.map_or(OTHER, |(_, _, bit)| *bit) != 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_make_bits_and_unknown_ones_are_one() {
        let names: [&[u8]; 3] = [b"INVITE", b"ACK", b"NOISE"];
        let set = Methods::from_names(names.into_iter());
        assert_eq!(set.bits(), 1 | 4 | OTHER);
        assert!(set.allows(MethodKind::Invite) && set.allows(MethodKind::Other));
        assert!(!set.allows(MethodKind::Message));
        assert!(Methods::ALL.allows(MethodKind::Message));
    }
}
