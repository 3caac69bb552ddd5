//! Answers to challenges: the value of an Authorization header (RFC 7616 §3.4).
//!
//! For: proofs with counts that rise as long as a nonce is used.
//! Not here: which challenge is answered (`challenge.rs`), the hashes (`auth/digest.rs`).
//! Invariants: a nonce and its count are used once; cnonces are random, one for each nonce.

use super::challenge::{Challenge, Protection};
use crate::auth::{Count, Covered, Credentials, Hex, Qop, digest_response};
use std::collections::BTreeMap;
use std::fmt;

/// Most nonces of which a count is remembered. A guess: what a busy shard is challenged with in a
/// minute; a forgotten nonce that comes again costs one more challenge.
const NONCES_MAX: usize = 4096;

/// What a request says that is proved.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Said<'m> {
    pub(crate) method: &'m [u8],
    pub(crate) uri: &'m [u8],
    pub(crate) body: &'m [u8],
}

/// A challenge with what answers it, for as long as its nonce is good.
#[derive(Clone)]
pub(crate) struct Session {
    pub(super) challenge: Challenge,
    user: String,
    ha1: Hex,
    cnonce: String,
    count: u32,
}

impl fmt::Debug for Session {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} answered {} times", self.user, self.count)
    }
}

impl Session {
    pub(crate) fn new((challenge, user, ha1): (Challenge, String, Hex), cnonce: String) -> Session {
        Session { challenge, user, ha1, cnonce, count: 0 }
    }

    /// The header that proves the next request: name and value.
    pub(crate) fn next(&mut self, said: Said<'_>) -> (&'static str, Vec<u8>) {
        self.count = self.count.saturating_add(1);
        (self.challenge.by.answer(), self.value(said))
    }

    /// The server has named the nonce that is to be used from here on (RFC 7616 §3.5).
    pub(super) fn go_on_with(&mut self, nonce: &[u8], cnonce: String) {
        self.challenge.nonce = nonce.into();
        (self.cnonce, self.count) = (cnonce, 0);
    }

    /// Whether this answers the same challenge.
    pub(crate) fn is_of(&self, challenge: &Challenge) -> bool {
        self.challenge.by == challenge.by && self.challenge.realm == challenge.realm
    }

    fn value(&self, said: Said<'_>) -> Vec<u8> {
        let Session { challenge, user, ha1, cnonce, count } = self;
        let text = format!("{count:08x}");
        let count = Count { text: text.as_bytes(), number: *count };
        let (qop, word) = match challenge.protection {
            Protection::None => (Qop::None, ""),
            Protection::Auth => (Qop::Auth(count), "auth"),
            Protection::AuthInt => (Qop::AuthInt(count), "auth-int"),
        };
        let credentials = Credentials {
            username: user.as_bytes(),
            realm: &challenge.realm,
            nonce: &challenge.nonce,
            uri: said.uri,
            response: &[],
            algorithm: Some(challenge.algorithm),
            cnonce: cnonce.as_bytes(),
            qop,
        };
        let covered = Covered { method: said.method, body: said.body };
        let response = digest_response(ha1, challenge.algorithm, &credentials, covered);
        let mut value = Vec::with_capacity(256);
        let mut put = |parts: [&[u8]; 3]| parts.into_iter().for_each(|part| value.extend(part));
        put([b"Digest username=\"", user.as_bytes(), b"\""]);
        put([b", realm=\"", &challenge.realm, b"\""]);
        put([b", nonce=\"", &challenge.nonce, b"\""]);
        put([b", uri=\"", said.uri, b"\""]);
        if let Some(opaque) = &challenge.opaque {
            put([b", opaque=\"", opaque, b"\""]);
        }
        if !word.is_empty() {
            put([b", qop=", word.as_bytes(), b""]);
            put([b", nc=", text.as_bytes(), b""]);
        }
        // The hash of a session covers it, whether or not there is a qop.
        if !word.is_empty() || challenge.algorithm.session {
            put([b", cnonce=\"", cnonce.as_bytes(), b"\""]);
        }
        put([b", response=\"", response.as_bytes(), b"\""]);
        put([b", algorithm=", challenge.algorithm.name().as_bytes(), b""]);
        value
    }
}

/// Counts of nonces that a server gives to more than one request.
#[derive(Debug, Default)]
pub(super) struct Counts {
    present: BTreeMap<(Vec<u8>, Vec<u8>), (String, u32)>,
    past: BTreeMap<(Vec<u8>, Vec<u8>), (String, u32)>,
}

impl Counts {
    /// Goes on where a nonce was used before.
    pub(super) fn resume(&self, session: &mut Session) {
        let key = key(session);
        if let Some((cnonce, count)) = self.present.get(&key).or_else(|| self.past.get(&key)) {
            (session.cnonce, session.count) = (cnonce.clone(), *count);
        }
    }

    /// Remembers how often a nonce was used.
    pub(super) fn note(&mut self, session: &Session) {
        if session.challenge.protection == Protection::None {
            return;
        }
        if self.present.len() >= NONCES_MAX / 2 {
            self.past = std::mem::take(&mut self.present);
        }
        self.present.insert(key(session), (session.cnonce.clone(), session.count));
    }

    #[cfg(test)]
    fn len(&self) -> usize {
        self.present.len() + self.past.len()
    }
}

fn key(session: &Session) -> (Vec<u8>, Vec<u8>) {
    (session.challenge.realm.to_vec(), session.challenge.nonce.to_vec())
}

/// A cnonce of these random bits.
pub(crate) fn cnonce(random: [u64; 2]) -> String {
    let [high, low] = random;
    format!("{high:016x}{low:016x}")
}

#[cfg(test)]
mod tests {
    use super::super::challenge::{choose, tests::challenges};
    use super::super::secret::{Credential, Secret};
    use super::*;

    const URI: &[u8] = b"sip:bob@biloxi.example.com";
    const CNONCE: &str = "0a4f113b";

    fn session(lines: &str, secret: Secret) -> Session {
        let credential = Credential { user: "alice".into(), realm: String::new(), secret };
        let chosen = choose(challenges(lines), [credential].iter()).expect("a challenge");
        Session::new(chosen, CNONCE.to_owned())
    }

    fn digest(more: &str) -> String {
        let line = "Proxy-Authenticate: Digest realm=\"biloxi.example.com\", nonce=\"dcd98b\"";
        format!("{line}{more}\r\n")
    }

    fn answer(session: &mut Session, body: &[u8]) -> String {
        let (name, value) = session.next(Said { method: b"INVITE", uri: URI, body });
        assert_eq!(name, "Proxy-Authorization");
        String::from_utf8(value).expect("text")
    }

    fn proof(more: &str, body: &[u8]) -> String {
        answer(&mut session(&digest(more), Secret::password("s3cret")), body)
    }

    /// uac.md (h) A9.
    #[test]
    fn without_qop() {
        assert_eq!(
            proof("", b""),
            "Digest username=\"alice\", realm=\"biloxi.example.com\", nonce=\"dcd98b\", \
             uri=\"sip:bob@biloxi.example.com\", \
             response=\"26d136034c9e0ac62004f07335d8c768\", algorithm=MD5"
        );
    }

    /// uac.md (h) A10.
    #[test]
    fn counts_rise_while_a_nonce_is_used() {
        let mut one = session(&digest(", qop=\"auth\", opaque=\"o\""), Secret::password("s3cret"));
        let first = answer(&mut one, b"");
        assert!(first.contains("opaque=\"o\", qop=auth, nc=00000001, cnonce=\"0a4f113b\""));
        assert!(first.contains("response=\"b9442a02e0581ff9eca13dd5d8632ccc\""), "{first}");
        let mut counts = Counts::default();
        counts.note(&one);
        let mut again = session(&digest(", qop=\"auth\""), Secret::password("s3cret"));
        again.cnonce.clear();
        counts.resume(&mut again);
        let second = answer(&mut again, b"");
        assert!(second.contains("nc=00000002"), "{second}");
        assert!(second.contains("response=\"0e58bdfe62a0e09967209b5b5e1ac15c\""), "{second}");
    }

    /// uac.md (h) A11 and A12.
    #[test]
    fn auth_is_preferred_and_auth_int_covers_the_body() {
        let first = proof(", qop=\"auth-int,auth\"", b"v=0\r\n");
        assert!(first.contains("qop=auth, "), "{first}");
        assert!(first.contains("response=\"b9442a02e0581ff9eca13dd5d8632ccc\""), "{first}");
        let second = proof(", qop=\"auth-int\"", b"v=0\r\n");
        assert!(second.contains("qop=auth-int, "), "{second}");
        assert!(second.contains("response=\"d663c219144ed276ef8b9c28a31a9dfc\""), "{second}");
    }

    /// uac.md (h) A13.
    #[test]
    fn stronger_algorithms() {
        let both = |more: &str| digest(", qop=\"auth\"") + &digest(more);
        for (name, response) in [
            ("SHA-256", "aacb4238a86ecd55c5e79db79b43c0d43e004443451896a7cfc8e13ce0c1c2d8"),
            ("SHA-512-256", "e983d229254018a253a6c30187de440630a3d7d5e31ce648258f178234b1aa41"),
        ] {
            let lines = both(&format!(", algorithm={name}, qop=\"auth\""));
            let value = answer(&mut session(&lines, Secret::password("s3cret")), b"");
            assert!(value.contains(response), "{value}");
            assert!(value.ends_with(&format!("algorithm={name}")), "{value}");
        }
        let md5 = Secret::default().with_ha1("5243fbb23cce17d16b3dcbcb7e2c327d").expect("a hash");
        let lines = both(", algorithm=SHA-256, qop=\"auth\"");
        let value = answer(&mut session(&lines, md5), b"");
        assert!(value.contains("response=\"b9442a02e0581ff9eca13dd5d8632ccc\""), "{value}");
    }

    #[test]
    fn a_session_shows_its_cnonce_without_qop_too() {
        let value = proof(", algorithm=MD5-sess", b"");
        assert!(value.contains(", cnonce=\"0a4f113b\", response="), "{value}");
        assert!(!value.contains("qop"), "{value}");
    }

    #[test]
    fn counts_are_bounded() {
        let mut counts = Counts::default();
        let mut one = session(&digest(", qop=auth"), Secret::password("p"));
        for number in 0..3 * NONCES_MAX {
            one.go_on_with(number.to_string().as_bytes(), String::new());
            counts.note(&one);
            assert!(counts.len() <= NONCES_MAX);
        }
    }
}
