//! Answering a challenge: RFC 7616 and, for its oldest form, RFC 2617.
//!
//! For: `[authentication]`.
//! Not here: making challenges and checking answers (`modules/auth`).

use md5::{Digest as _, Md5};
use sha2::Sha256;
use std::fmt::Write as _;

/// What the answer is about.
#[derive(Clone, Copy, Debug)]
pub(super) struct Asked<'a> {
    pub(super) challenge: &'a [u8],
    pub(super) by_proxy: bool,
    pub(super) method: &'a [u8],
    pub(super) uri: &'a [u8],
    pub(super) user: &'a [u8],
    pub(super) password: &'a [u8],
    /// How often this nonce was used, with this time.
    pub(super) count: u32,
    pub(super) client_nonce: u64,
}

/// Writes the header line, without its end; `None` when the challenge cannot be answered.
pub(super) fn write(asked: &Asked<'_>, out: &mut Vec<u8>) -> Option<()> {
    let challenge = Challenge::read(asked.challenge)?;
    let hash: fn(&[&[u8]]) -> String = match challenge.algorithm {
        b"MD5" | b"MD5-sess" => md5,
        b"SHA-256" | b"SHA-256-sess" => sha256,
        _ => return None,
    };
    let client_nonce = format!("{:016x}", asked.client_nonce);
    let mut one = hash(&[asked.user, b":", challenge.realm, b":", asked.password]);
    if challenge.algorithm.ends_with(b"-sess") {
        let nonces = [one.as_bytes(), b":", challenge.nonce, b":", client_nonce.as_bytes()];
        one = hash(&nonces);
    }
    let two = hash(&[asked.method, b":", asked.uri]);
    let count = format!("{:08x}", asked.count);
    let response = if challenge.quality {
        let used = [count.as_bytes(), b":", client_nonce.as_bytes(), b":auth:"].concat();
        hash(&[one.as_bytes(), b":", challenge.nonce, b":", &used, two.as_bytes()])
    } else {
        hash(&[one.as_bytes(), b":", challenge.nonce, b":", two.as_bytes()])
    };
    let name = if asked.by_proxy { "Proxy-Authorization" } else { "Authorization" };
    out.extend_from_slice(name.as_bytes());
    out.extend_from_slice(b": Digest username=\"");
    let quoted: [(&[u8], &[u8]); 4] = [
        (asked.user, b"\", realm=\""),
        (challenge.realm, b"\", nonce=\""),
        (challenge.nonce, b"\", uri=\""),
        (asked.uri, b"\", response=\""),
    ];
    for (value, next) in quoted {
        out.extend_from_slice(value);
        out.extend_from_slice(next);
    }
    out.extend_from_slice(response.as_bytes());
    out.extend_from_slice(b"\", algorithm=");
    out.extend_from_slice(challenge.algorithm);
    if challenge.quality {
        out.extend_from_slice(b", qop=auth, nc=");
        out.extend_from_slice(count.as_bytes());
        out.extend_from_slice(b", cnonce=\"");
        out.extend_from_slice(client_nonce.as_bytes());
        out.push(b'"');
    }
    if let Some(opaque) = challenge.opaque {
        out.extend_from_slice(b", opaque=\"");
        out.extend_from_slice(opaque);
        out.push(b'"');
    }
    Some(())
}

struct Challenge<'a> {
    realm: &'a [u8],
    nonce: &'a [u8],
    opaque: Option<&'a [u8]>,
    algorithm: &'a [u8],
    /// Whether `qop=auth` is offered.
    quality: bool,
}

impl<'a> Challenge<'a> {
    fn read(value: &'a [u8]) -> Option<Challenge<'a>> {
        let rest = value.get(6..).filter(|_| value[..6].eq_ignore_ascii_case(b"Digest"))?;
        let (mut realm, mut nonce, mut opaque, mut quality) = (None, None, None, false);
        let mut algorithm: &[u8] = b"MD5";
        for (name, value) in parameters(rest) {
            match name.to_ascii_lowercase().as_slice() {
                b"realm" => realm = Some(value),
                b"nonce" => nonce = Some(value),
                b"opaque" => opaque = Some(value),
                b"algorithm" => algorithm = value,
                b"qop" => {
                    quality =
                        value.split(|byte| *byte == b',').any(|one| one.trim_ascii() == b"auth");
                }
                _ => {}
            }
        }
        Some(Challenge { realm: realm?, nonce: nonce?, opaque, algorithm, quality })
    }
}

/// `name=value, name="value"`, values without their quotes.
fn parameters(text: &[u8]) -> impl Iterator<Item = (&[u8], &[u8])> {
    let mut rest = text;
    std::iter::from_fn(move || {
        rest = rest.trim_ascii_start();
        let equals = rest.iter().position(|byte| *byte == b'=')?;
        let (name, after) = (rest[..equals].trim_ascii(), rest[equals + 1..].trim_ascii_start());
        let (value, next) = match after.strip_prefix(b"\"") {
            Some(quoted) => {
                let end = closing_quote(quoted)?;
                (&quoted[..end], &quoted[end + 1..])
            }
            None => {
                let end = after.iter().position(|byte| *byte == b',').unwrap_or(after.len());
                (after[..end].trim_ascii(), &after[end..])
            }
        };
        let comma = next.iter().position(|byte| *byte == b',').map_or(next.len(), |at| at + 1);
        rest = &next[comma..];
        Some((name, value))
    })
}

fn closing_quote(text: &[u8]) -> Option<usize> {
    let mut escaped = false;
    text.iter().position(|byte| {
        let ends = *byte == b'"' && !escaped;
        escaped = *byte == b'\\' && !escaped;
        ends
    })
}

fn md5(parts: &[&[u8]]) -> String {
    let mut hash = Md5::new();
    parts.iter().for_each(|part| hash.update(part));
    hex(&hash.finalize())
}

fn sha256(parts: &[&[u8]]) -> String {
    let mut hash = Sha256::new();
    parts.iter().for_each(|part| hash.update(part));
    hex(&hash.finalize())
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::with_capacity(64), |mut text, byte| {
        // Writing to a string does not fail.
        let _ = write!(text, "{byte:02x}");
        text
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(challenge: &str, client_nonce: u64) -> String {
        let asked = Asked {
            challenge: challenge.as_bytes(),
            by_proxy: false,
            method: b"GET",
            uri: b"/dir/index.html",
            user: b"Mufasa",
            password: b"Circle Of Life",
            count: 1,
            client_nonce,
        };
        let mut out = Vec::new();
        write(&asked, &mut out).expect("a challenge that can be answered");
        String::from_utf8(out).expect("text")
    }

    #[test]
    fn without_quality_it_is_as_in_rfc_2069() {
        // RFC 2617 §3.5 without qop: MD5(HA1:nonce:HA2), with its HA1 and HA2.
        let text = answer(
            "Digest realm=\"testrealm@host.com\", \
             nonce=\"dcd98b7102dd2f0e8b11d0f600bfb0c093\", opaque=\"5ccc\"",
            0,
        );
        let one = md5(&[b"Mufasa:testrealm@host.com:Circle Of Life"]);
        assert_eq!(one, "939e7578ed9e3c518a452acee763bce9");
        let nonce = "dcd98b7102dd2f0e8b11d0f600bfb0c093";
        let expected = md5(&[format!("{one}:{nonce}:39aff3a2bab6126f332b942af96d3366").as_bytes()]);
        assert!(text.contains(&format!("response=\"{expected}\"")), "{text}");
        assert!(text.contains("opaque=\"5ccc\"") && !text.contains("qop"), "{text}");
    }

    #[test]
    fn with_quality_the_count_and_the_nonce_of_ours_go_in() {
        let challenge =
            "Digest realm=\"a, b\", qop=\"auth-int,auth\", algorithm=SHA-256, nonce=\"n\"";
        let text = answer(challenge, 7);
        let one = sha256(&[b"Mufasa:a, b:Circle Of Life"]);
        let two = sha256(&[b"GET:/dir/index.html"]);
        let all = format!("{one}:n:00000001:0000000000000007:auth:{two}");
        assert!(text.contains(&sha256(&[all.as_bytes()])), "{text}");
        assert!(text.contains("nc=00000001, cnonce=\"0000000000000007\""), "{text}");
    }

    #[test]
    fn what_cannot_be_answered_is_not() {
        let asked = |challenge| Asked {
            challenge,
            by_proxy: true,
            method: b"GET",
            uri: b"/",
            user: b"a",
            password: b"b",
            count: 1,
            client_nonce: 0,
        };
        for challenge in ["Basic realm=\"a\"", "Digest realm=\"a\"", "Di", "Digest realm=\"a"] {
            assert!(write(&asked(challenge.as_bytes()), &mut Vec::new()).is_none(), "{challenge}");
        }
        let odd = b"Digest realm=\"a\", nonce=\"b\", algorithm=X";
        assert!(write(&asked(odd), &mut Vec::new()).is_none());
    }
}
