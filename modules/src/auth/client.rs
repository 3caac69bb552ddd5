//! The client's side of digest authentication: RFC 7616 §3.4, RFC 8760 §2.4.
//!
//! For: reading a challenge and answering it, in requests of this node's own.
//! Not here: whose password (the modules that send requests).
//! Invariants: of several challenges of a realm the strongest that is known counts; nothing of a
//! challenge goes into the answer that could end a quoted text or a line.

use super::algorithm::{Algorithm, Hex};
use super::credentials::{Count, Credentials, Qop, parameters};
use super::digest::{Covered, response};

/// A challenge that can be answered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Challenge {
    /// Whose password is asked for.
    pub realm: String,
    /// To be hashed into the answer.
    pub nonce: String,
    /// To be given back.
    pub opaque: Option<String>,
    /// How it is hashed.
    pub algorithm: Algorithm,
    /// Whether `auth` is offered; without it the answer is that of RFC 2069.
    pub has_auth: bool,
    /// The last answer was right, but for its nonce.
    pub is_stale: bool,
}

/// What proves who asks.
#[derive(Clone, Copy, Debug)]
pub struct Proof<'p> {
    /// The user.
    pub user: &'p str,
    /// Its password.
    pub password: &'p str,
    /// The method of the request.
    pub method: &'p str,
    /// Its Request-URI.
    pub uri: &'p str,
    /// A random text.
    pub cnonce: &'p str,
    /// How often the nonce is used with this answer.
    pub count: u32,
}

/// The strongest of these values of WWW-Authenticate or Proxy-Authenticate that can be answered and
/// whose realm `is_known`.
pub fn strongest<'m>(
    values: impl Iterator<Item = &'m [u8]>,
    is_known: impl Fn(&str) -> bool,
) -> Option<Challenge> {
    let challenges = values.filter_map(read).filter(|challenge| is_known(&challenge.realm));
    challenges.max_by_key(|challenge| challenge.algorithm)
}

/// Reads one challenge; `None` when it cannot be answered.
pub fn read(value: &[u8]) -> Option<Challenge> {
    let names = ["realm", "nonce", "opaque", "algorithm", "qop", "stale"];
    let [realm, nonce, opaque, algorithm, qop, stale] = parameters(value, names).ok()?;
    let text = |bytes: &[u8]| {
        let text = std::str::from_utf8(bytes).ok()?;
        (!text.chars().any(char::is_control)).then(|| text.to_owned())
    };
    let algorithm = match algorithm {
        None => Algorithm::MD5,
        Some(name) => Algorithm::from_name(name)?,
    };
    let mut offered = qop.unwrap_or_default().split(|byte| *byte == b',').map(<[u8]>::trim_ascii);
    let has_auth = offered.any(|offer| offer.eq_ignore_ascii_case(b"auth"));
    if qop.is_some_and(|qop| !qop.is_empty()) && !has_auth {
        return None;
    }
    Some(Challenge {
        realm: text(realm?)?,
        nonce: text(nonce?)?,
        opaque: opaque.and_then(text),
        algorithm,
        has_auth,
        is_stale: stale.is_some_and(|stale| stale.eq_ignore_ascii_case(b"true")),
    })
}

/// The value of Authorization or Proxy-Authorization that answers a challenge.
pub fn answer(challenge: &Challenge, proof: &Proof<'_>) -> String {
    let Proof { user, password, method, uri, cnonce, count } = *proof;
    let Challenge { realm, nonce, opaque, algorithm, has_auth, .. } = challenge;
    let ha1: Hex = algorithm.hash.of(&[user.as_bytes(), realm.as_bytes(), password.as_bytes()]);
    let digits = format!("{count:08x}");
    let count = Count { text: digits.as_bytes(), number: count };
    let credentials = Credentials {
        username: user.as_bytes(),
        realm: realm.as_bytes(),
        nonce: nonce.as_bytes(),
        uri: uri.as_bytes(),
        response: b"",
        algorithm: Some(*algorithm),
        cnonce: cnonce.as_bytes(),
        qop: if *has_auth { Qop::Auth(count) } else { Qop::None },
    };
    let covered = Covered { method: method.as_bytes(), body: b"" };
    let response = response(&ha1, *algorithm, &credentials, covered);
    let mut value = format!(
        "Digest username=\"{user}\", realm=\"{realm}\", nonce=\"{nonce}\", uri=\"{uri}\", \
         response=\"{}\", algorithm={algorithm}",
        response.as_str()
    );
    if *has_auth || algorithm.session {
        value.push_str(&format!(", cnonce=\"{cnonce}\""));
    }
    if *has_auth {
        value.push_str(&format!(", qop=auth, nc={digits}"));
    }
    if let Some(opaque) = opaque {
        value.push_str(&format!(", opaque=\"{opaque}\""));
    }
    value
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::auth::{Qop, read_credentials};

    const PROOF: Proof<'_> = Proof {
        user: "Mufasa",
        password: "Circle of Life",
        method: "GET",
        uri: "/dir/index.html",
        cnonce: "f2/wE4q74E6zIJEtWaHKaf5wv/H5QzzpXusqGemxURZJ",
        count: 1,
    };

    /// RFC 7616 §3.9.1.
    #[test]
    fn the_answer_is_that_of_the_rfc() {
        let md5 = "Digest realm=\"http-auth@example.org\", qop=\"auth, auth-int\", algorithm=MD5, \
            nonce=\"7ypf/xlj9XXwfDPEoM4URrv/xwf94BcCAzFZH4GiTo0v\", \
            opaque=\"FQhe/qaU925kfnzjCev0ciny7QMkPqMAFRtzCUYo5tdS\"";
        let sha = md5.replace("MD5", "SHA-256");
        let unknown = md5.replace("MD5", "AKAv1-MD5");
        let values = [md5, &sha, &unknown].map(str::as_bytes);
        let challenge = strongest(values.into_iter(), |_| true).expect("a challenge");
        let value = answer(&challenge, &PROOF);
        let read = read_credentials(value.as_bytes()).expect("credentials");
        let right = "753927fa0e85d155564e2e272a28d1802ca10daf4496794697cf8db5856cb6c1";
        assert_eq!(read.response, right.as_bytes());
        assert!(matches!(read.qop, Qop::Auth(_)));
        assert!(value.contains("opaque=\"FQhe/qaU925kfnzjCev0ciny7QMkPqMAFRtzCUYo5tdS\""));
        let challenge = super::read(md5.as_bytes()).expect("a challenge");
        let value = answer(&challenge, &PROOF);
        assert!(value.contains("response=\"8ca523f5e9506fed4657c9700eebdbec\""), "{value}");
    }

    #[test]
    fn what_cannot_be_answered_is_no_challenge() {
        for value in [
            "Basic realm=\"r\"",
            "Digest realm=\"r\"",
            "Digest nonce=\"n\"",
            "Digest realm=\"r\", nonce=\"n\", qop=\"auth-int\"",
            "Digest realm=\"r\", nonce=\"n\", algorithm=X",
            "Digest realm=\"r\", nonce=\"n",
            "",
        ] {
            assert_eq!(read(value.as_bytes()), None, "{value}");
        }
        let old = read(b"Digest realm=\"r\", nonce=\"n\", stale=TRUE").expect("RFC 2069");
        assert!(old.is_stale && !old.has_auth);
        assert!(!answer(&old, &PROOF).contains("nc="));
        assert_eq!(
            strongest([&b"Digest realm=\"r\", nonce=\"n\""[..]].into_iter(), |_| false),
            None
        );
    }
}
