//! Authorization and Proxy-Authorization: RFC 7616 §3.4, RFC 3261 §25.1.
//!
//! For: reading what an agent claims.
//! Not here: whether it is true (`digest.rs`).
//! Invariants: linear in the value's length; a value that repeats a parameter or lacks one that is
//! needed is refused whole.

use super::algorithm::Algorithm;

/// Longest value of a parameter. A guess: nonces and URIs in use are below a quarter of it.
const VALUE_BYTES_MAX: usize = 1024;
/// Most parameters. RFC 7616 has twelve.
const PARAMETERS_MAX: usize = 24;

/// What protects the exchange (RFC 7616 §3.4).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Qop<'m> {
    /// Nothing: RFC 2069.
    None,
    /// `auth`: a count of uses.
    Auth(Count<'m>),
    /// `auth-int`: the body too.
    AuthInt(Count<'m>),
}

/// How often a nonce was used, as the agent says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Count<'m> {
    /// The count as written: it is hashed so.
    pub text: &'m [u8],
    /// The count.
    pub number: u32,
}

/// What an agent claims.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Credentials<'m> {
    /// The user, between the quotes, escapes as written.
    pub username: &'m [u8],
    /// The realm.
    pub realm: &'m [u8],
    /// The nonce that it was challenged with.
    pub nonce: &'m [u8],
    /// `uri`: what the response is for.
    pub uri: &'m [u8],
    /// The proof.
    pub response: &'m [u8],
    /// How it was made; `None` when it names none that exists.
    pub algorithm: Option<Algorithm>,
    /// The agent's own nonce; empty when there is none.
    pub cnonce: &'m [u8],
    /// What protects it.
    pub qop: Qop<'m>,
}

/// Why a value is no digest credentials.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CredentialsFault {
    /// Another scheme than Digest.
    OtherScheme,
    /// Broken grammar.
    Malformed,
    /// Longer or more than anything in use.
    TooLong,
    /// A parameter is there twice.
    Repeated,
    /// One that is needed is not there, or not one of its values.
    Incomplete,
}

const NAMES: [&str; 9] =
    ["username", "realm", "nonce", "uri", "response", "algorithm", "cnonce", "qop", "nc"];

/// Reads the value of an Authorization header.
///
/// # Errors
/// When it is no complete set of digest credentials.
pub fn read(value: &[u8]) -> Result<Credentials<'_>, CredentialsFault> {
    let value = value.trim_ascii();
    let (scheme, rest) = value.split_at_checked(6).ok_or(CredentialsFault::OtherScheme)?;
    if !scheme.eq_ignore_ascii_case(b"digest") || !rest.starts_with_blank() {
        return Err(CredentialsFault::OtherScheme);
    }
    let mut values: [Option<&[u8]>; NAMES.len()] = [None; NAMES.len()];
    let mut rest = rest;
    let mut count = 0;
    while let Some((name, value, after)) = parameter(rest)? {
        rest = after;
        count += 1;
        if count > PARAMETERS_MAX || value.len() > VALUE_BYTES_MAX {
            return Err(CredentialsFault::TooLong);
        }
        let place = NAMES.iter().position(|known| known.as_bytes().eq_ignore_ascii_case(name));
        if let Some(kept) = place.and_then(|place| values.get_mut(place))
            && kept.replace(value).is_some()
        {
            return Err(CredentialsFault::Repeated);
        }
    }
    let [username, realm, nonce, uri, response, algorithm, cnonce, qop, nc] = values;
    let needed = |value: Option<&'_ [u8]>| value.is_some_and(|value| !value.is_empty());
    if !needed(username) || !needed(nonce) || !needed(uri) || !needed(response) {
        return Err(CredentialsFault::Incomplete);
    }
    let cnonce = cnonce.unwrap_or_default();
    let qop = protection(qop, nc, cnonce)?;
    let algorithm = match algorithm {
        None => Some(Algorithm::MD5),
        Some(name) => Algorithm::from_name(name),
    };
    if algorithm.is_some_and(|algorithm| algorithm.session) && cnonce.is_empty() {
        return Err(CredentialsFault::Incomplete);
    }
    Ok(Credentials {
        username: username.unwrap_or_default(),
        realm: realm.ok_or(CredentialsFault::Incomplete)?,
        nonce: nonce.unwrap_or_default(),
        uri: uri.unwrap_or_default(),
        response: response.unwrap_or_default(),
        algorithm,
        cnonce,
        qop,
    })
}

fn protection<'m>(
    qop: Option<&'m [u8]>,
    nc: Option<&'m [u8]>,
    cnonce: &[u8],
) -> Result<Qop<'m>, CredentialsFault> {
    let Some(qop) = qop else { return Ok(Qop::None) };
    let text = nc.filter(|text| text.len() == 8).ok_or(CredentialsFault::Incomplete)?;
    let digits = std::str::from_utf8(text).ok();
    let digits = digits.filter(|text| text.bytes().all(|byte| byte.is_ascii_hexdigit()));
    let number = digits.and_then(|text| u32::from_str_radix(text, 16).ok());
    let number = number.filter(|number| *number > 0).ok_or(CredentialsFault::Incomplete)?;
    if cnonce.is_empty() {
        return Err(CredentialsFault::Incomplete);
    }
    let count = Count { text, number };
    if qop.eq_ignore_ascii_case(b"auth") {
        Ok(Qop::Auth(count))
    } else if qop.eq_ignore_ascii_case(b"auth-int") {
        Ok(Qop::AuthInt(count))
    } else {
        Err(CredentialsFault::Incomplete)
    }
}

trait Blank {
    fn starts_with_blank(&self) -> bool;
}

impl Blank for [u8] {
    fn starts_with_blank(&self) -> bool {
        self.first().is_some_and(u8::is_ascii_whitespace)
    }
}

type Parameter<'m> = (&'m [u8], &'m [u8], &'m [u8]);

/// The next `name=value`, and what follows it; commas around it are skipped.
fn parameter(text: &[u8]) -> Result<Option<Parameter<'_>>, CredentialsFault> {
    let start = text.iter().position(|byte| !byte.is_ascii_whitespace() && *byte != b',');
    let Some(text) = start.and_then(|start| text.get(start..)) else { return Ok(None) };
    let equals = text.iter().position(|byte| *byte == b'=').ok_or(CredentialsFault::Malformed)?;
    let (name, rest) = text.split_at(equals);
    let name = name.trim_ascii_end();
    let is_name = |byte: &u8| byte.is_ascii_alphanumeric() || b"-_.*".contains(byte);
    if name.is_empty() || !name.iter().all(is_name) {
        return Err(CredentialsFault::Malformed);
    }
    let rest = rest.get(1..).unwrap_or_default().trim_ascii_start();
    let (value, rest) = match rest.split_first() {
        Some((b'"', inside)) => quoted(inside)?,
        Some(_) | None => {
            let ends = |byte: &u8| *byte == b',' || byte.is_ascii_whitespace();
            rest.split_at(rest.iter().position(ends).unwrap_or(rest.len()))
        }
    };
    match rest.trim_ascii_start().first() {
        None | Some(b',') => Ok(Some((name, value, rest))),
        Some(_) => Err(CredentialsFault::Malformed),
    }
}

/// What stands before the closing quote, and what follows it.
fn quoted(inside: &[u8]) -> Result<(&[u8], &[u8]), CredentialsFault> {
    let mut escaped = false;
    for (at, byte) in inside.iter().enumerate() {
        match byte {
            _ if escaped => escaped = false,
            b'\\' => escaped = true,
            b'"' => {
                let after = inside.get(at + 1..).unwrap_or_default();
                return Ok((inside.get(..at).unwrap_or_default(), after));
            }
            _ => {}
        }
    }
    Err(CredentialsFault::Malformed)
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOOD: &str = "Digest username=\"bob\", realm=\"a, b\", nonce=\"n\", uri=\"sip:h\", \
        response=\"0123\", algorithm=SHA-256, cnonce=\"c\", qop=auth, nc=0000000a, opaque=\"\"";

    #[test]
    fn parameters_are_found_whatever_surrounds_them() {
        let read = read(GOOD.as_bytes()).expect("credentials");
        assert_eq!((read.username, read.realm), (&b"bob"[..], &b"a, b"[..]));
        assert_eq!(read.qop, Qop::Auth(Count { text: b"0000000a", number: 10 }));
        assert_eq!(read.algorithm.map(Algorithm::name), Some("SHA-256"));
        let spaced = GOOD.replace("=\"", " = \"").replace("Digest", "DIGEST\t");
        assert!(super::read(spaced.as_bytes()).is_ok());
    }

    #[test]
    fn an_unknown_algorithm_is_none_and_a_missing_one_is_md5() {
        let other = GOOD.replace("SHA-256", "AKAv1-MD5");
        assert_eq!(read(other.as_bytes()).map(|read| read.algorithm), Ok(None));
        let none = GOOD.replace("algorithm=SHA-256,", "");
        assert_eq!(read(none.as_bytes()).map(|r| r.algorithm), Ok(Some(Algorithm::MD5)));
    }

    #[test]
    fn hostile_values_are_refused() {
        use CredentialsFault as F;
        let long = GOOD.replace("bob", &"b".repeat(1025));
        let many = format!("{GOOD}{}", ", x=1".repeat(30));
        for (value, fault) in [
            ("Basic Zm9v", F::OtherScheme),
            ("Digest", F::OtherScheme),
            ("", F::OtherScheme),
            ("Digestusername=\"bob\"", F::OtherScheme),
            ("Digest username", F::Malformed),
            ("Digest username=\"bob", F::Malformed),
            ("Digest username=\"bob\"x, realm=\"r\"", F::Malformed),
            ("Digest =\"bob\"", F::Malformed),
            ("Digest username=\"bob\"", F::Incomplete),
            (&GOOD.replace("0000000a", "00000000"), F::Incomplete),
            (&GOOD.replace("0000000a", "0000000g"), F::Incomplete),
            (&GOOD.replace("0000000a", "+000000a"), F::Incomplete),
            (&GOOD.replace("0000000a", "1"), F::Incomplete),
            (&GOOD.replace("qop=auth", "qop=conf"), F::Incomplete),
            (&GOOD.replace("cnonce=\"c\",", ""), F::Incomplete),
            (&GOOD.replace("opaque", "nonce"), F::Repeated),
            (&long, F::TooLong),
            (&many, F::TooLong),
        ] {
            assert_eq!(read(value.as_bytes()), Err(fault), "{value}");
        }
    }
}
