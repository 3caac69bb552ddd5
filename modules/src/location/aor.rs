//! Addresses-of-record: the keys of the location table.
//!
//! For: making the same key of every spelling of an address (RFC 3261 §10.3 step 5).
//! Invariants: a key is UTF-8 without control characters, not empty, at most `AOR_BYTES_MAX` long.

use std::fmt;
use strowger_sip::message::{Host, Uri};
use strowger_sip::shard::{ShardId, ShardMap};

/// Longest key (Kamailio's `MAX_AOR_LEN`).
pub const AOR_BYTES_MAX: usize = 256;

/// An address-of-record as a key: `user`, or `user@domain` with `use_domain`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Aor(Box<str>);

/// Why a URI is no address-of-record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AorFault {
    /// Not `sip:` or `sips:`.
    NotSip,
    /// Neither a user nor a host, or octets that no name has.
    Unreadable,
    /// Longer than a key may be.
    TooLong {
        /// How long a key may be, in bytes.
        limit: usize,
    },
}

impl fmt::Display for AorFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            AorFault::NotSip => f.write_str("not a SIP URI"),
            AorFault::Unreadable => f.write_str("no user or host that can be a name"),
            AorFault::TooLong { limit } => write!(f, "longer than {limit} bytes"),
        }
    }
}

impl std::error::Error for AorFault {}

/// How a key is made of a URI.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct AorRules {
    /// `[usrloc] use_domain`: the domain is part of the key.
    pub use_domain: bool,
    /// `[registrar] case_sensitive`: `Bob` and `bob` are two users.
    pub case_sensitive: bool,
    /// `[registrar] realm_prefix`: left out where a domain begins with it.
    pub realm_prefix: String,
}

impl AorRules {
    /// The key of a URI.
    ///
    /// # Errors
    /// When no key can be made of it.
    pub fn key(&self, uri: &Uri<'_>) -> Result<Aor, AorFault> {
        if !uri.scheme.is_sip() {
            return Err(AorFault::NotSip);
        }
        let mut key = Vec::with_capacity(uri.raw.len());
        let user = uri.user.filter(|user| !user.is_empty());
        if let Some(user) = user {
            unescape(user, &mut key);
            if !self.case_sensitive {
                key.make_ascii_lowercase();
            }
        }
        // Without a user the host is the address (RFC 3261 §19.1.1: a server itself).
        if self.use_domain || user.is_none() {
            if user.is_some() {
                key.push(b'@');
            }
            key.extend_from_slice(self.domain(&uri.host).as_bytes());
        }
        let key = String::from_utf8(key).map_err(|_| AorFault::Unreadable)?;
        Aor::new(&key)
    }

    /// The domain of a host: in lower case, without the prefix.
    pub fn domain(&self, host: &Host<'_>) -> String {
        let mut domain = host.to_string().to_ascii_lowercase();
        if !self.realm_prefix.is_empty() && domain.starts_with(&self.realm_prefix) {
            domain.drain(..self.realm_prefix.len());
        }
        domain
    }
}

impl Aor {
    /// Takes a key that was made before, for example one that comes from storage.
    ///
    /// # Errors
    /// When it can be no key.
    pub fn new(key: &str) -> Result<Aor, AorFault> {
        if key.len() > AOR_BYTES_MAX {
            return Err(AorFault::TooLong { limit: AOR_BYTES_MAX });
        }
        if key.is_empty() || key.chars().any(char::is_control) {
            return Err(AorFault::Unreadable);
        }
        Ok(Aor(key.into()))
    }

    /// The key's text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The shard that owns its contacts.
    pub fn home(&self, map: ShardMap) -> ShardId {
        map.home(self.0.as_bytes())
    }

    /// Its URI; `domain` where the key has none.
    pub fn uri(&self, domain: &str) -> String {
        let (user, own) = self.parts();
        let mut uri = String::from("sip:");
        for byte in user.bytes() {
            // RFC 3261 §25.1: unreserved and user-unreserved.
            if byte.is_ascii_alphanumeric() || b"-_.!~*'()&=+$,;?/".contains(&byte) {
                uri.push(char::from(byte));
            } else {
                uri.push_str(&format!("%{byte:02X}"));
            }
        }
        uri + "@" + own.unwrap_or(domain)
    }

    /// Its user and, where the key has one, its domain.
    pub fn parts(&self) -> (&str, Option<&str>) {
        match self.0.rsplit_once('@') {
            Some((user, domain)) => (user, Some(domain)),
            None => (&self.0, None),
        }
    }
}

impl fmt::Display for Aor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Decodes `%HH` (RFC 3261 §19.1.4: the escaped and the plain form mean the same user).
pub(crate) fn unescape(text: &[u8], out: &mut Vec<u8>) {
    let digit = |byte: u8| char::from(byte).to_digit(16).and_then(|n| u8::try_from(n).ok());
    let mut rest = text;
    while let [byte, tail @ ..] = rest {
        rest = tail;
        if let (b'%', [high, low, after @ ..]) = (byte, tail)
            && let (Some(high), Some(low)) = (digit(*high), digit(*low))
        {
            out.push(high << 4 | low);
            rest = after;
        } else {
            out.push(*byte);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(rules: &AorRules, uri: &str) -> Result<String, AorFault> {
        rules.key(&Uri::parse(uri.as_bytes()).expect("a URI")).map(|aor| aor.to_string())
    }

    #[test]
    fn every_spelling_makes_the_same_key() {
        let rules = AorRules::default();
        for uri in ["sip:Bob@a.example", "sip:%62ob@b.example:5070;x=1", "sips:bob@[::1]"] {
            assert_eq!(key(&rules, uri).as_deref(), Ok("bob"), "{uri}");
        }
        let strict = AorRules { case_sensitive: true, use_domain: true, ..AorRules::default() };
        assert_eq!(key(&strict, "sip:Bob@A.Example").as_deref(), Ok("Bob@a.example"));
        let prefix =
            AorRules { use_domain: true, realm_prefix: "sip.".into(), ..AorRules::default() };
        assert_eq!(key(&prefix, "sip:bob@SIP.a.example").as_deref(), Ok("bob@a.example"));
        assert_eq!(key(&rules, "sip:a.example").as_deref(), Ok("a.example"));
    }

    #[test]
    fn what_can_be_no_name_is_refused() {
        let rules = AorRules::default();
        assert_eq!(key(&rules, "tel:+123"), Err(AorFault::NotSip));
        assert_eq!(key(&rules, "sip:a%00b@h"), Err(AorFault::Unreadable));
        assert_eq!(key(&rules, "sip:%ff@h"), Err(AorFault::Unreadable));
        let long = format!("sip:{}@h", "a".repeat(257));
        assert_eq!(key(&rules, &long), Err(AorFault::TooLong { limit: 256 }));
        assert_eq!(key(&rules, "sip:a%4@h").as_deref(), Ok("a%4"));
    }
}
