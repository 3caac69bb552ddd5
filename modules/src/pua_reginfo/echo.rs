//! Contacts that were registered here and are gone: what others still tell of them is an echo.
//!
//! For: a document that was on its way when a user unregistered, or that another registrar wrote
//! from its own copy, does not bring the contact back.
//! Invariants: bounded; the oldest is forgotten first, and each when its contact would have ended.

use crate::location::{Aor, Contact};
use siphasher::sip::SipHasher13;
use std::collections::{BTreeMap, VecDeque};
use std::hash::Hasher;
use strowger_sip::date::UnixTime;
use strowger_sip::time::{Duration, secs};

/// Most that are remembered by one shard. A guess: an hour of 18 removals a second.
const MOST: usize = 65_536;
/// How long one is remembered that would never have ended, as copies of it elsewhere are.
const FOREVER: Duration = secs(3600);

/// What is gone.
#[derive(Debug, Default)]
pub(super) struct Echoes {
    secret: (u64, u64),
    /// By the hash of address, URI and Call-ID: the number of the REGISTER, and until when.
    gone: BTreeMap<u64, (u32, UnixTime)>,
    order: VecDeque<u64>,
}

impl Echoes {
    /// With the keys of its hash.
    pub(super) fn new(secret: (u64, u64)) -> Echoes {
        Echoes { secret, ..Echoes::default() }
    }

    /// A contact that was registered here is gone.
    pub(super) fn remember(&mut self, aor: &Aor, contact: &Contact, today: UnixTime) {
        let hash = self.hash(aor, contact);
        let until = contact.facts.expires.unwrap_or(today + FOREVER);
        if self.gone.insert(hash, (contact.facts.cseq, until)).is_none() {
            self.order.push_back(hash);
        }
        while let Some(first) = self.order.front() {
            let is_over = self.gone.get(first).is_none_or(|(_, until)| *until <= today);
            if !is_over && self.order.len() <= MOST {
                break;
            }
            self.gone.remove(first);
            self.order.pop_front();
        }
    }

    /// Whether a contact that is told of is one that is gone.
    pub(super) fn is_echo(&self, aor: &Aor, told: &Contact, today: UnixTime) -> bool {
        let known = self.gone.get(&self.hash(aor, told));
        known.is_some_and(|(cseq, until)| told.facts.cseq <= *cseq && *until > today)
    }

    fn hash(&self, aor: &Aor, contact: &Contact) -> u64 {
        let texts = contact.texts();
        let mut hasher = SipHasher13::new_with_keys(self.secret.0, self.secret.1);
        for part in [aor.as_str().as_bytes(), texts.uri, texts.call_id] {
            hasher.write_usize(part.len());
            hasher.write(part);
        }
        hasher.finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::location::{Facts, Texts};

    #[test]
    fn what_is_gone_comes_back_with_a_newer_register_alone() {
        let now = UnixTime::from_secs(1000);
        let contact = |uri: &str, cseq| {
            let facts = Facts { cseq, ..Facts::new(now, Some(now + secs(60))) };
            Contact::new(&Texts { uri: uri.as_bytes(), call_id: b"c", ..Texts::default() }, facts)
        };
        let bob = Aor::new("bob").expect("a key");
        let mut echoes = Echoes::new((1, 2));
        echoes.remember(&bob, &contact("sip:b@h", 5), now);
        assert!(echoes.is_echo(&bob, &contact("sip:b@h", 5), now));
        assert!(!echoes.is_echo(&bob, &contact("sip:b@h", 6), now));
        assert!(!echoes.is_echo(&bob, &contact("sip:b@i", 5), now));
        assert!(!echoes.is_echo(&Aor::new("al").expect("a key"), &contact("sip:b@h", 5), now));
        assert!(!echoes.is_echo(&bob, &contact("sip:b@h", 5), now + secs(60)));
        for n in 0..MOST + 10 {
            echoes.remember(&bob, &contact(&format!("sip:b@{n}"), 5), now);
        }
        assert_eq!((echoes.gone.len(), echoes.order.len()), (MOST, MOST));
        assert!(!echoes.is_echo(&bob, &contact("sip:b@h", 5), now));
    }
}
