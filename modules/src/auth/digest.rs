//! The proof itself: RFC 7616 §3.4.1 to §3.4.3.
//!
//! For: computing what the agent should have sent, and the server's own proof.
//! Not here: nonces (`nonce.rs`), accounts (`account.rs`).

use super::algorithm::{Algorithm, Hex};
use super::credentials::{Credentials, Qop};

/// What the hash of the request covers.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Covered<'m> {
    pub(crate) method: &'m [u8],
    pub(crate) body: &'m [u8],
}

/// The hash of the account, with the session's nonces where the algorithm wants them.
fn first_hash(ha1: &Hex, algorithm: Algorithm, credentials: &Credentials<'_>) -> Hex {
    if algorithm.session {
        algorithm.hash.of(&[ha1.as_bytes(), credentials.nonce, credentials.cnonce])
    } else {
        *ha1
    }
}

/// The response that proves knowledge of `ha1`.
pub(crate) fn response(
    ha1: &Hex,
    algorithm: Algorithm,
    credentials: &Credentials<'_>,
    covered: Covered<'_>,
) -> Hex {
    let hash = algorithm.hash;
    let first = first_hash(ha1, algorithm, credentials);
    let (first, nonce) = (first.as_bytes(), credentials.nonce);
    let second = match credentials.qop {
        Qop::None | Qop::Auth(_) => hash.of(&[covered.method, credentials.uri]),
        Qop::AuthInt(_) => {
            let body = hash.of(&[covered.body]);
            hash.of(&[covered.method, credentials.uri, body.as_bytes()])
        }
    };
    let second = second.as_bytes();
    match credentials.qop {
        Qop::None => hash.of(&[first, nonce, second]),
        Qop::Auth(count) => {
            hash.of(&[first, nonce, count.text, credentials.cnonce, b"auth", second])
        }
        Qop::AuthInt(count) => {
            hash.of(&[first, nonce, count.text, credentials.cnonce, b"auth-int", second])
        }
    }
}

/// The value of Authentication-Info: this side knows the password too (RFC 7616 §3.5).
pub(crate) fn authentication_info(
    ha1: &Hex,
    algorithm: Algorithm,
    credentials: &Credentials<'_>,
) -> String {
    let (hash, text) = (algorithm.hash, |bytes| String::from_utf8_lossy(bytes).into_owned());
    let first = first_hash(ha1, algorithm, credentials);
    // Only `auth` is proved back: the body of the answer is not known here.
    let second = hash.of(&[b"", credentials.uri]);
    let (first, second, nonce) = (first.as_bytes(), second.as_bytes(), credentials.nonce);
    match credentials.qop {
        Qop::None => {
            let proof = hash.of(&[first, nonce, second]);
            format!("rspauth=\"{}\"", proof.as_str())
        }
        Qop::Auth(count) | Qop::AuthInt(count) => {
            let cnonce = credentials.cnonce;
            let proof = hash.of(&[first, nonce, count.text, cnonce, b"auth", second]);
            format!(
                "qop=auth, rspauth=\"{}\", cnonce=\"{}\", nc={}",
                proof.as_str(),
                text(cnonce),
                text(count.text)
            )
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::algorithm::Hash;
    use super::super::credentials::read;
    use super::*;

    fn check(value: &str, account: [&str; 3], method: &str) -> (Hex, Vec<u8>) {
        let credentials = read(value.as_bytes()).expect("credentials");
        let algorithm = credentials.algorithm.expect("known");
        let ha1 = algorithm.hash.of(&account.map(str::as_bytes));
        let covered = Covered { method: method.as_bytes(), body: b"" };
        let computed = response(&ha1, algorithm, &credentials, covered);
        (computed, credentials.response.to_vec())
    }

    /// RFC 2617 §3.5 and RFC 7616 §3.9.1.
    #[test]
    fn the_examples_of_the_rfcs() {
        let value = "Digest username=\"Mufasa\", realm=\"testrealm@host.com\", \
            nonce=\"dcd98b7102dd2f0e8b11d0f600bfb0c093\", uri=\"/dir/index.html\", qop=auth, \
            nc=00000001, cnonce=\"0a4f113b\", response=\"6629fae49393a05397450978507c4ef1\"";
        let account = ["Mufasa", "testrealm@host.com", "Circle Of Life"];
        let (computed, sent) = check(value, account, "GET");
        assert!(computed.is(&sent));
        let value = "Digest username=\"Mufasa\", realm=\"http-auth@example.org\", \
            uri=\"/dir/index.html\", algorithm=SHA-256, \
            nonce=\"7ypf/xlj9XXwfDPEoM4URrv/xwf94BcCAzFZH4GiTo0v\", nc=00000001, \
            cnonce=\"f2/wE4q74E6zIJEtWaHKaf5wv/H5QzzpXusqGemxURZJ\", qop=auth, \
            response=\"753927fa0e85d155564e2e272a28d1802ca10daf4496794697cf8db5856cb6c1\"";
        let account = ["Mufasa", "http-auth@example.org", "Circle of Life"];
        let (computed, sent) = check(value, account, "GET");
        assert!(computed.is(&sent));
    }

    #[test]
    fn a_session_and_a_body_make_other_hashes() {
        let value = "Digest username=\"u\", realm=\"r\", nonce=\"n\", uri=\"sip:h\", \
            algorithm=MD5-sess, qop=auth-int, nc=00000001, cnonce=\"c\", response=\"0\"";
        let credentials = read(value.as_bytes()).expect("credentials");
        let algorithm = credentials.algorithm.expect("known");
        let ha1 = Hash::Md5.of(&[b"u", b"r", b"p"]);
        let session = Hash::Md5.of(&[ha1.as_bytes(), b"n", b"c"]);
        let body = Hash::Md5.of(&[b"body"]);
        let second = Hash::Md5.of(&[b"INVITE", b"sip:h", body.as_bytes()]);
        let parts: [&[u8]; 6] =
            [session.as_bytes(), b"n", b"00000001", b"c", b"auth-int", second.as_bytes()];
        let covered = Covered { method: b"INVITE", body: b"body" };
        assert_eq!(response(&ha1, algorithm, &credentials, covered), Hash::Md5.of(&parts));
    }
}
