//! Nonces: keyed and time-stamped, so that no table of those that were given out is needed.
//!
//! For: making them, and telling one of ours from a forged or an old one. Each holds the moment it
//! was made, a random number, and a keyed digest over both, the realm, and what else of the request
//! it is bound to.
//! Not here: how often one was used (`replay.rs`).
//! Invariants: the random number's hash names the shard that counts its uses.

use crate::keyed::hmac;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use strowger_sip::date::UnixTime;
use strowger_sip::entropy::Entropy;
use strowger_sip::shard::{ShardId, ShardMap};
use strowger_sip::time::Duration;
use subtle::ConstantTimeEq;

/// 96 bits: beyond guessing, and the whole makes 32 characters without padding.
const SEAL: usize = 12;
const BYTES: usize = 4 + 8 + SEAL;

/// How often a number is drawn until this shard owns it; missing costs one message later.
const DRAWS: usize = 512;

/// A nonce that is ours and not too old.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Nonce {
    /// When it was made, in seconds of Unix time.
    pub issued: u32,
    /// Its random number.
    pub id: u64,
}

impl Nonce {
    /// The shard that counts its uses.
    pub fn home(&self, map: ShardMap) -> ShardId {
        map.home(&self.id.to_be_bytes())
    }
}

/// Why a nonce is not taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum NonceFault {
    /// Not ours, or bound to another request.
    Forged,
    /// Too old, or from the future.
    Stale,
}

/// How long nonces live.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Life {
    /// `nonce_expire`.
    pub expire: Duration,
    /// `nonce_auth_max_drift`: how far clocks of nodes with one secret may differ.
    pub drift: Duration,
}

/// The key of the node's nonces.
#[derive(Clone, Debug)]
pub(crate) struct NonceKey([u8; 32]);

impl NonceKey {
    pub(crate) fn new(secret: &[u8]) -> NonceKey {
        NonceKey(hmac(secret, &[b"digest nonce"]))
    }

    /// A new nonce, bound to a realm and parts of a request.
    pub(crate) fn issue(
        &self,
        now: UnixTime,
        (map, shard): (ShardMap, ShardId),
        bound: &[&[u8]],
        entropy: &mut Entropy,
    ) -> String {
        let issued = u32::try_from(now.as_secs()).unwrap_or(u32::MAX);
        let mut nonce = Nonce { issued, id: entropy.next_u64() };
        for _ in 0..DRAWS {
            if nonce.home(map) == shard {
                break;
            }
            nonce.id = entropy.next_u64();
        }
        let mut bytes = [0; BYTES];
        bytes[..4].copy_from_slice(&issued.to_be_bytes());
        bytes[4..12].copy_from_slice(&nonce.id.to_be_bytes());
        bytes[12..].copy_from_slice(&self.seal(&nonce, bound)[..SEAL]);
        STANDARD.encode(bytes)
    }

    /// Reads a nonce that came back.
    pub(crate) fn check(
        &self,
        text: &[u8],
        now: UnixTime,
        life: Life,
        bound: &[&[u8]],
    ) -> Result<Nonce, NonceFault> {
        let mut bytes = [0; BYTES];
        if text.len() != BYTES * 4 / 3 {
            return Err(NonceFault::Forged);
        }
        match STANDARD.decode_slice(text, &mut bytes) {
            Ok(BYTES) => {}
            Ok(_) | Err(_) => return Err(NonceFault::Forged),
        }
        let (issued, rest) = bytes.split_first_chunk().ok_or(NonceFault::Forged)?;
        let (id, seal) = rest.split_first_chunk().ok_or(NonceFault::Forged)?;
        let nonce = Nonce { issued: u32::from_be_bytes(*issued), id: u64::from_be_bytes(*id) };
        let own = self.seal(&nonce, bound);
        if !bool::from(own[..SEAL].ct_eq(seal)) {
            return Err(NonceFault::Forged);
        }
        let issued = UnixTime::from_secs(u64::from(nonce.issued));
        let fresh = now.since(issued) <= life.expire && issued.since(now) <= life.drift;
        if fresh { Ok(nonce) } else { Err(NonceFault::Stale) }
    }

    fn seal(&self, nonce: &Nonce, bound: &[&[u8]]) -> [u8; 32] {
        let (issued, id) = (nonce.issued.to_be_bytes(), nonce.id.to_be_bytes());
        let mut lengths = Vec::with_capacity(bound.len() * 4);
        for part in bound {
            lengths.extend(u32::try_from(part.len()).unwrap_or(u32::MAX).to_be_bytes());
        }
        let mut parts: Vec<&[u8]> = vec![&issued, &id, &lengths];
        parts.extend(bound);
        hmac(&self.0, &parts)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use strowger_sip::time::secs;

    const LIFE: Life = Life { expire: secs(300), drift: secs(3) };
    const NOW: UnixTime = UnixTime::from_secs(1_800_000_000);

    fn issue(shards: u16, shard: u16) -> (NonceKey, String) {
        let key = NonceKey::new(b"secret");
        let place = (ShardMap::new(shards, (1, 2)), ShardId(shard));
        let nonce = key.issue(NOW, place, &[b"realm"], &mut Entropy::new((5, 6)));
        (key, nonce)
    }

    #[test]
    fn a_nonce_is_good_for_its_time_and_its_realm() {
        let (key, nonce) = issue(1, 0);
        let check = |at, bound: &[&[u8]]| key.check(nonce.as_bytes(), at, LIFE, bound);
        assert!(check(NOW, &[b"realm"]).is_ok());
        assert!(check(NOW + secs(300), &[b"realm"]).is_ok());
        assert_eq!(check(NOW + secs(301), &[b"realm"]), Err(NonceFault::Stale));
        assert_eq!(check(UnixTime::from_secs(1), &[b"realm"]), Err(NonceFault::Stale));
        assert_eq!(check(NOW, &[b"other"]), Err(NonceFault::Forged));
        assert_eq!(check(NOW, &[b"rea", b"lm"]), Err(NonceFault::Forged));
    }

    #[test]
    fn a_changed_nonce_is_forged() {
        let (key, nonce) = issue(1, 0);
        for place in 0..nonce.len() {
            let mut forged = nonce.clone().into_bytes();
            forged[place] = if forged[place] == b'A' { b'B' } else { b'A' };
            let checked = key.check(&forged, NOW, LIFE, &[b"realm"]);
            assert_eq!(checked, Err(NonceFault::Forged), "octet {place}");
        }
        for text in [&b""[..], b"AAAA", &[b'='; 32], &[0xff; 32], &[b'A'; 4000]] {
            assert_eq!(key.check(text, NOW, LIFE, &[b"realm"]), Err(NonceFault::Forged));
        }
        assert!(NonceKey::new(b"other").check(nonce.as_bytes(), NOW, LIFE, &[b"realm"]).is_err());
    }

    #[test]
    fn the_shard_that_gives_a_nonce_out_counts_its_uses() {
        let map = ShardMap::new(16, (1, 2));
        for shard in 0..16 {
            let (key, nonce) = issue(16, shard);
            let nonce = key.check(nonce.as_bytes(), NOW, LIFE, &[b"realm"]).expect("ours");
            assert_eq!(nonce.home(map), ShardId(shard));
        }
    }
}
