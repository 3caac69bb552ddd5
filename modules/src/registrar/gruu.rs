//! Globally routable user agent URIs: RFC 5627.
//!
//! For: `pub-gruu` and `temp-gruu` of a 200, and finding the contact that one of them means.
//! A temporary one holds the address, the instance and the Call-ID of its registration, encrypted,
//! so that no table is needed, any shard can read it, and it dies with the registration's Call-ID.
//! Invariants: nobody without the node's secret reads an address out of a temporary one, or makes
//! one: a keyed stream (HMAC-SHA-256 in counter mode), then a keyed digest over the result.

use crate::keyed::hmac;
use crate::location::{Aor, Contact, unescape};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use strowger_sip::message::Uri;
use subtle::ConstantTimeEq;

/// What the user part of a temporary one begins with.
const PREFIX: &[u8] = b"tgruu.";
const SALT: usize = 8;
const MARK: usize = 8;
/// 80 bits: an attacker has to try online.
const SEAL: usize = 10;

/// Which contacts a GRUU means.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Gruu {
    /// Those of this instance.
    Public { instance: Vec<u8> },
    /// Those with these marks of instance and Call-ID.
    Temporary { instance: [u8; MARK], call_id: [u8; MARK] },
}

/// Makes and reads temporary ones.
#[derive(Clone, Debug)]
pub(crate) struct GruuKeys {
    stream: [u8; 32],
    seal: [u8; 32],
}

impl GruuKeys {
    /// Derives the keys from the node's secret.
    pub(crate) fn new(secret: &[u8]) -> GruuKeys {
        GruuKeys { stream: hmac(secret, &[b"gruu stream"]), seal: hmac(secret, &[b"gruu seal"]) }
    }

    /// The user part of a temporary GRUU.
    pub(crate) fn temporary(&self, aor: &Aor, contact: &Contact, salt: u64) -> String {
        let texts = contact.texts();
        let mut sealed = salt.to_be_bytes().to_vec();
        sealed.extend(self.mark(texts.instance));
        sealed.extend(self.mark(texts.call_id));
        sealed.extend_from_slice(aor.as_str().as_bytes());
        self.apply_stream(&mut sealed);
        let seal = hmac(&self.seal, &[&sealed]);
        sealed.extend_from_slice(seal.get(..SEAL).unwrap_or_default());
        format!("tgruu.{}", URL_SAFE_NO_PAD.encode(sealed))
    }

    /// Reads the user part of a temporary GRUU.
    fn open(&self, user: &[u8]) -> Option<(Aor, Gruu)> {
        let mut sealed = URL_SAFE_NO_PAD.decode(user.strip_prefix(PREFIX)?).ok()?;
        let seal = sealed.split_off(sealed.len().checked_sub(SEAL)?);
        let own = hmac(&self.seal, &[&sealed]);
        if !bool::from(own.get(..SEAL)?.ct_eq(&seal)) {
            return None;
        }
        self.apply_stream(&mut sealed);
        let (instance, rest) = sealed.get(SALT..)?.split_first_chunk()?;
        let (call_id, aor) = rest.split_first_chunk()?;
        let aor = Aor::new(std::str::from_utf8(aor).ok()?).ok()?;
        Some((aor, Gruu::Temporary { instance: *instance, call_id: *call_id }))
    }

    /// Encrypts or decrypts everything behind the salt.
    fn apply_stream(&self, sealed: &mut [u8]) {
        let Some((salt, text)) = sealed.split_at_mut_checked(SALT) else { return };
        for (number, block) in (0u32..).zip(text.chunks_mut(32)) {
            let stream = hmac(&self.stream, &[salt, &number.to_be_bytes()]);
            block.iter_mut().zip(stream).for_each(|(byte, key)| *byte ^= key);
        }
    }

    fn mark(&self, text: &[u8]) -> [u8; MARK] {
        let full = hmac(&self.seal, &[b"mark", text]);
        let mut mark = [0; MARK];
        mark.copy_from_slice(&full[..MARK]);
        mark
    }

    /// What a Request-URI means, if it is a GRUU: the address (for a temporary one) and which of
    /// its contacts.
    pub(crate) fn read(&self, uri: &Uri<'_>) -> Option<(Option<Aor>, Gruu)> {
        match uri.param(b"gr")? {
            Some(instance) if !instance.is_empty() => {
                let mut plain = Vec::with_capacity(instance.len());
                unescape(instance, &mut plain);
                Some((None, Gruu::Public { instance: plain }))
            }
            Some(_) | None => {
                let (aor, gruu) = self.open(uri.user?)?;
                Some((Some(aor), gruu))
            }
        }
    }

    /// Whether a GRUU means this contact.
    pub(crate) fn means(&self, gruu: &Gruu, contact: &Contact) -> bool {
        let texts = contact.texts();
        match gruu {
            Gruu::Public { instance } => texts.instance == instance.as_slice(),
            Gruu::Temporary { instance, call_id } => {
                self.mark(texts.instance) == *instance && self.mark(texts.call_id) == *call_id
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::location::{Facts, Texts};
    use strowger_sip::date::UnixTime;

    fn contact(call_id: &[u8]) -> Contact {
        let texts = Texts { uri: b"sip:b@h", call_id, instance: b"urn:uuid:1", ..Texts::default() };
        Contact::new(&texts, Facts::new(UnixTime::from_secs(1), None))
    }

    #[test]
    fn a_temporary_gruu_hides_the_address_and_leads_back_to_it() {
        let keys = GruuKeys::new(b"secret");
        let aor = Aor::new("bob@example.com").expect("a key");
        let user = keys.temporary(&aor, &contact(b"c1"), 7);
        assert!(!user.contains("bob"));
        let uri = format!("sip:{user}@example.com;gr");
        let uri = Uri::parse(uri.as_bytes()).expect("a URI");
        let (found, gruu) = keys.read(&uri).expect("a GRUU");
        assert_eq!(found, Some(aor.clone()));
        assert!(keys.means(&gruu, &contact(b"c1")));
        // A new Call-ID ends it (RFC 5627 §3.3).
        assert!(!keys.means(&gruu, &contact(b"c2")));
        assert_ne!(user, keys.temporary(&aor, &contact(b"c1"), 8));
    }

    #[test]
    fn a_forged_one_means_nothing() {
        let keys = GruuKeys::new(b"secret");
        let aor = Aor::new("bob").expect("a key");
        let user = GruuKeys::new(b"other").temporary(&aor, &contact(b"c1"), 7);
        for user in [user.as_str(), "tgruu.", "tgruu.AAAA", "tgruu.%%", "bob"] {
            let uri = format!("sip:{user}@h;gr");
            assert_eq!(keys.read(&Uri::parse(uri.as_bytes()).expect("a URI")), None, "{user}");
        }
    }

    #[test]
    fn a_public_gruu_names_the_instance() {
        let keys = GruuKeys::new(b"secret");
        let uri = Uri::parse(b"sip:bob@h;gr=urn:uuid:1").expect("a URI");
        let (aor, gruu) = keys.read(&uri).expect("a GRUU");
        assert_eq!(aor, None);
        assert!(keys.means(&gruu, &contact(b"c1")));
    }
}
