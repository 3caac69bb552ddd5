//! What proves who a user is: a password, hashes of it, or both.
//!
//! For: one form for credentials of the configuration, of table `uacreg` and of a routing.
//! Not here: the proof (`proof.rs`).
//! Invariants: nothing shows a secret; there is no accessor that gives it out.

use crate::auth::{Algorithm, Hash, Hex};
use std::fmt;

/// A password, hashes, or both; a hash is used where there is one of the wanted algorithm.
#[derive(Clone, PartialEq, Eq, Default)]
pub struct Secret {
    password: Option<Box<str>>,
    hashes: Vec<(Hash, Hex)>,
}

impl Secret {
    /// A password: every algorithm can be answered. An empty one is none.
    pub fn password(text: &str) -> Secret {
        Secret { password: (!text.is_empty()).then(|| text.into()), hashes: Vec::new() }
    }

    /// Adds an HA1: 32 hexadecimal digits are MD5's, 64 those of SHA-256 or SHA-512-256. `None`
    /// when it is neither.
    pub fn with_ha1(mut self, text: &str) -> Option<Secret> {
        let all = [Hash::Md5, Hash::Sha256, Hash::Sha512Of256];
        let found = all.into_iter().filter_map(|hash| Some((hash, Hex::read(hash, text)?)));
        let before = self.hashes.len();
        self.hashes.extend(found);
        (self.hashes.len() > before).then_some(self)
    }

    /// Whether there is nothing to prove with.
    pub fn is_empty(&self) -> bool {
        self.password.is_none() && self.hashes.is_empty()
    }

    /// Whether a password is kept.
    pub(super) fn has_password(&self) -> bool {
        self.password.is_some()
    }

    /// Whether a hash is kept.
    pub(super) fn has_hash(&self) -> bool {
        !self.hashes.is_empty()
    }

    /// The same with its password alone, or with its hashes alone.
    pub(super) fn only(&self, hashes: bool) -> Secret {
        if hashes {
            Secret { password: None, hashes: self.hashes.clone() }
        } else {
            Secret { password: self.password.clone(), hashes: Vec::new() }
        }
    }

    /// The hash of user, realm and password; `None` when this algorithm cannot be answered.
    pub(super) fn ha1(&self, algorithm: Algorithm, user: &[u8], realm: &[u8]) -> Option<Hex> {
        let kept = self.hashes.iter().find(|(hash, _)| *hash == algorithm.hash);
        if let Some((_, hex)) = kept {
            return Some(*hex);
        }
        let password = self.password.as_deref()?;
        Some(algorithm.hash.of(&[user, realm, password.as_bytes()]))
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a secret")
    }
}

/// Whose secret.
#[derive(Clone, PartialEq, Eq)]
pub struct Credential {
    /// The digest username.
    pub user: String,
    /// The realm that it is good for; empty for every one.
    pub realm: String,
    /// What proves it.
    pub secret: Secret,
}

impl Credential {
    /// Whether a challenge of this realm can be answered with it.
    pub(super) fn fits(&self, realm: &[u8]) -> bool {
        self.realm.is_empty() || self.realm.as_bytes() == realm
    }
}

impl fmt::Debug for Credential {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} in {:?}", self.user, self.realm)
    }
}

/// Whether a text can stand between quotes in a digest header as it is.
pub(super) fn is_quotable(text: &str) -> bool {
    !text.chars().any(|c| c.is_control() || matches!(c, '"' | '\\'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_hash_comes_before_the_password_for_its_own_algorithm() {
        let md5 = Hash::Md5.of(&[b"u", b"r", b"other"]);
        let secret = Secret::password("p").with_ha1(md5.as_str()).expect("a hash");
        assert_eq!(secret.ha1(Algorithm::MD5, b"u", b"r"), Some(md5));
        let sha = Algorithm { hash: Hash::Sha256, session: false };
        assert_eq!(secret.ha1(sha, b"u", b"r"), Some(Hash::Sha256.of(&[b"u", b"r", b"p"])));
        assert_eq!(secret.only(true).ha1(sha, b"u", b"r"), None);
        assert!(Secret::default().with_ha1("abc").is_none());
        assert!(Secret::password("").is_empty());
    }

    #[test]
    fn nothing_is_shown() {
        let secret = Secret::password("hush");
        let credential = Credential { user: "u".into(), realm: "r".into(), secret };
        assert!(!format!("{credential:?} {:?}", credential.secret).contains("hush"));
    }
}
