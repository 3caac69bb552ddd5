//! Hash algorithms of digest authentication: RFC 7616 §3.2, RFC 8760.
//!
//! For: their names, their order of strength, and hashes as lower-case hexadecimal text.
//! Not here: what is hashed (`digest.rs`).

use md5::Md5;
use sha2::{Sha256, Sha512_256};
use std::fmt;
use subtle::ConstantTimeEq;

/// A hash function; the order is that of strength, the weakest first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Hash {
    /// RFC 1321; broken in general, not yet in this use.
    Md5,
    /// FIPS 180-4.
    Sha256,
    /// FIPS 180-4: SHA-512 with its own start, cut to 256 bits.
    Sha512Of256,
}

/// An algorithm: a hash function, and whether its first hash covers the session (`-sess`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Algorithm {
    /// The hash function.
    pub hash: Hash,
    /// RFC 7616 §3.4.2.
    pub session: bool,
}

/// Every algorithm with its name.
const NAMES: [(&str, Algorithm); 6] = [
    ("MD5", Algorithm { hash: Hash::Md5, session: false }),
    ("MD5-sess", Algorithm { hash: Hash::Md5, session: true }),
    ("SHA-256", Algorithm { hash: Hash::Sha256, session: false }),
    ("SHA-256-sess", Algorithm { hash: Hash::Sha256, session: true }),
    ("SHA-512-256", Algorithm { hash: Hash::Sha512Of256, session: false }),
    ("SHA-512-256-sess", Algorithm { hash: Hash::Sha512Of256, session: true }),
];

impl Algorithm {
    /// The one that is meant when none is named.
    pub const MD5: Algorithm = Algorithm { hash: Hash::Md5, session: false };

    /// Recognises a name in any case.
    pub fn from_name(name: &[u8]) -> Option<Algorithm> {
        let mut names = NAMES.iter();
        names.find(|(known, _)| known.as_bytes().eq_ignore_ascii_case(name)).map(|(_, a)| *a)
    }

    /// Its name.
    pub fn name(self) -> &'static str {
        NAMES.iter().find(|(_, known)| *known == self).map_or("MD5", |(name, _)| name)
    }
}

impl fmt::Display for Algorithm {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// A hash as lower-case hexadecimal text.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Hex {
    text: [u8; 64],
    length: usize,
}

impl Hex {
    fn new(bytes: &[u8]) -> Hex {
        const DIGITS: &[u8; 16] = b"0123456789abcdef";
        let mut text = [0; 64];
        for (pair, byte) in text.chunks_exact_mut(2).zip(bytes) {
            pair[0] = DIGITS[usize::from(byte >> 4)];
            pair[1] = DIGITS[usize::from(byte & 15)];
        }
        Hex { text, length: 2 * bytes.len().min(32) }
    }

    /// Takes text that is a hash of this function already, for example from an account.
    pub fn read(hash: Hash, text: &str) -> Option<Hex> {
        let mut hex = Hex { text: [0; 64], length: hash.hex_length() };
        let right = text.len() == hex.length && text.bytes().all(|byte| byte.is_ascii_hexdigit());
        if !right {
            return None;
        }
        for (to, from) in hex.text.iter_mut().zip(text.bytes()) {
            *to = from.to_ascii_lowercase();
        }
        Some(hex)
    }

    /// The text.
    pub fn as_bytes(&self) -> &[u8] {
        self.text.get(..self.length).unwrap_or_default()
    }

    /// The text.
    pub fn as_str(&self) -> &str {
        std::str::from_utf8(self.as_bytes()).unwrap_or_default()
    }

    /// Whether a peer's text is this hash; takes the same time wherever they differ.
    pub fn is(&self, text: &[u8]) -> bool {
        self.as_bytes().ct_eq(text).into()
    }
}

impl fmt::Debug for Hex {
    /// A hash is as good as a password: it is not shown.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} hexadecimal digits", self.length)
    }
}

impl Hash {
    /// Hexadecimal digits of one hash.
    pub const fn hex_length(self) -> usize {
        match self {
            Hash::Md5 => 32,
            Hash::Sha256 => 64,
            Hash::Sha512Of256 => 64,
        }
    }

    /// The hash of some texts with colons between them.
    pub fn of(self, parts: &[&[u8]]) -> Hex {
        match self {
            Hash::Md5 => joined::<Md5>(parts),
            Hash::Sha256 => joined::<Sha256>(parts),
            Hash::Sha512Of256 => joined::<Sha512_256>(parts),
        }
    }
}

fn joined<D: sha2::Digest>(parts: &[&[u8]]) -> Hex {
    let mut digest = D::new();
    for (place, part) in parts.iter().enumerate() {
        if place > 0 {
            digest.update(b":");
        }
        digest.update(part);
    }
    Hex::new(&digest.finalize())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hashes_are_those_of_their_standards() {
        assert_eq!(Hash::Md5.of(&[b""]).as_str(), "d41d8cd98f00b204e9800998ecf8427e");
        let sha = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
        assert_eq!(Hash::Sha256.of(&[b"abc"]).as_str(), sha);
        let sha = "53048e2681941ef99b2e29b76b4c7dabe4c2d0c634fc6d46e0e2f13107e7af23";
        assert_eq!(Hash::Sha512Of256.of(&[b"abc"]).as_str(), sha);
        assert_eq!(Hash::Md5.of(&[b"a", b"b"]), Hash::Md5.of(&[b"a:b"]));
    }

    #[test]
    fn names_are_read_in_any_case_and_order_is_strength() {
        let sha = Algorithm::from_name(b"sha-512-256").expect("known");
        assert_eq!(sha.name(), "SHA-512-256");
        assert!(sha > Algorithm::from_name(b"SHA-256-sess").expect("known"));
        assert!(Algorithm::from_name(b"SHA-256") > Algorithm::from_name(b"MD5-sess"));
        assert_eq!(Algorithm::from_name(b"AKAv1-MD5"), None);
    }

    #[test]
    fn what_is_no_hash_is_not_taken() {
        assert!(Hex::read(Hash::Md5, "D41D8CD98F00B204E9800998ECF8427E").is_some());
        assert!(Hex::read(Hash::Md5, "d41d8cd98f00b204e9800998ecf8427").is_none());
        assert!(Hex::read(Hash::Md5, "x41d8cd98f00b204e9800998ecf8427e").is_none());
    }
}
