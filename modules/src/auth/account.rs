//! Accounts: whose password is what, from the configuration and from storage.
//!
//! For: the first hash of the proof, for whichever algorithm an agent chose.
//! Not here: asking storage (`check.rs`), its rows (`row.rs`).
//! Invariants: what came from storage is kept for a bounded time in a bounded number, absence too.

use super::algorithm::{Algorithm, Hash, Hex};
use siphasher::sip128::{Hasher128, SipHasher13};
use std::fmt;
use std::hash::Hasher;
use strowger_sip::time::{Duration, Instant, secs};
use strowger_sip::transaction::{KeyedMap, Slab, TransactionKey};

/// What an account's proof is checked against.
#[derive(Clone, PartialEq, Eq)]
pub enum Secret {
    /// The password: every algorithm can be checked.
    Password(Box<str>),
    /// The hashes of user, realm and password (`ha1`) that there are.
    Hashes(Vec<(Hash, Hex)>),
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Secret::Password(_) => f.write_str("a password"),
            Secret::Hashes(hashes) => write!(f, "{} hashes", hashes.len()),
        }
    }
}

impl Secret {
    /// Takes one `ha1` column: its length tells the hash, and where two have one length, both are
    /// meant.
    pub fn from_ha1(text: &str) -> Option<Secret> {
        let all = [Hash::Md5, Hash::Sha256, Hash::Sha512Of256];
        let hashes: Vec<(Hash, Hex)> =
            all.into_iter().filter_map(|hash| Some((hash, Hex::read(hash, text)?))).collect();
        (!hashes.is_empty()).then_some(Secret::Hashes(hashes))
    }

    /// The strongest hash that is kept; `None` for a password, which makes all of them.
    pub fn stored(&self) -> Option<Hash> {
        match self {
            Secret::Password(_) => None,
            Secret::Hashes(hashes) => hashes.iter().map(|(hash, _)| *hash).max(),
        }
    }

    /// The first hash of the proof; `None` when this account has none of this algorithm.
    pub fn ha1(&self, algorithm: Algorithm, user: &[u8], realm: &[u8]) -> Option<Hex> {
        match self {
            Secret::Password(password) => {
                Some(algorithm.hash.of(&[user, realm, password.as_bytes()]))
            }
            Secret::Hashes(hashes) => {
                let mut hashes = hashes.iter();
                hashes.find(|(hash, _)| *hash == algorithm.hash).map(|(_, hex)| *hex)
            }
        }
    }
}

/// An account of the configuration.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Account {
    /// The user.
    pub user: String,
    /// The realm it is good for; empty for every one (only with a password: a hash holds its own).
    pub realm: String,
    /// Its secret.
    pub secret: Secret,
}

/// What is known of an account that storage was asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Known {
    /// It is there.
    Present(Secret),
    /// It is not.
    Absent,
}

#[derive(Debug)]
enum EntryMark {}

#[derive(Debug)]
struct Entry {
    until: Instant,
    /// When storage said so.
    told: Instant,
    known: Known,
}

#[derive(Debug)]
struct Generation {
    entries: Slab<Entry, EntryMark>,
    index: KeyedMap<EntryMark>,
}

impl Generation {
    fn new(most: usize) -> Generation {
        Generation { entries: Slab::new(0, most), index: KeyedMap::with_capacity(0) }
    }

    fn get(&self, key: TransactionKey) -> Option<&Entry> {
        self.index.get(key).and_then(|id| self.entries.get(id))
    }
}

/// How long and how many accounts of storage are remembered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CacheSettings {
    /// `cache_expire`: present ones.
    pub present: Duration,
    /// `cache_negative_expire`: absent ones.
    pub absent: Duration,
    /// `cache_size`.
    pub most: usize,
}

/// How old a secret may be that is used because storage does not answer. A guess: outages are
/// shorter, and who was locked out should not stay in for long.
const OUTDATED_MAX: Duration = secs(3600);

/// The accounts that one shard knows.
#[derive(Debug)]
pub(crate) struct Accounts {
    /// By user, then by realm.
    configured: Vec<Account>,
    settings: CacheSettings,
    /// Filled now, and filled before: when the first is full, the second is forgotten.
    present: Generation,
    past: Generation,
    secret: (u64, u64),
}

impl Accounts {
    pub(crate) fn new(
        mut configured: Vec<Account>,
        settings: CacheSettings,
        secret: (u64, u64),
    ) -> Accounts {
        configured.sort_by(|one, two| (&one.user, &one.realm).cmp(&(&two.user, &two.realm)));
        let half = settings.most.div_ceil(2);
        Accounts {
            configured,
            settings,
            present: Generation::new(half),
            past: Generation::new(half),
            secret,
        }
    }

    /// An account of the configuration.
    pub(crate) fn configured(&self, user: &[u8], realm: &str) -> Option<&Secret> {
        let from = self.configured.partition_point(|account| account.user.as_bytes() < user);
        let of_user = self.configured.get(from..).unwrap_or_default();
        let mut of_user = of_user.iter().take_while(|account| account.user.as_bytes() == user);
        let fits = |account: &&Account| account.realm.is_empty() || account.realm == realm;
        of_user.find(fits).map(|account| &account.secret)
    }

    /// What storage said not long ago.
    pub(crate) fn remembered(&self, now: Instant, user: &[u8], realm: &str) -> Option<&Known> {
        let key = self.key(user, realm);
        let entry = self.present.get(key).or_else(|| self.past.get(key))?;
        (entry.until > now).then_some(&entry.known)
    }

    /// The secret that storage told before, while it cannot say whether it still holds: an outage
    /// of the database is no reason to turn users away. It counts for a short while, so that not
    /// everything a user sends waits for storage.
    pub(crate) fn outdated(&mut self, now: Instant, user: &[u8], realm: &str) -> Option<Secret> {
        let key = self.key(user, realm);
        let entry = self.present.get(key).or_else(|| self.past.get(key))?;
        let Known::Present(secret) = &entry.known else { return None };
        let (secret, told) = (secret.clone(), entry.told);
        if told + OUTDATED_MAX <= now {
            return None;
        }
        let until = now + self.settings.absent;
        self.insert(key, Entry { until, told, known: Known::Present(secret.clone()) });
        Some(secret)
    }

    /// Remembers what storage said.
    pub(crate) fn remember(&mut self, now: Instant, user: &[u8], realm: &str, known: Known) {
        let span = match known {
            Known::Present(_) => self.settings.present,
            Known::Absent => self.settings.absent,
        };
        let key = self.key(user, realm);
        self.insert(key, Entry { until: now + span, told: now, known });
    }

    fn insert(&mut self, key: TransactionKey, entry: Entry) {
        if let Some(id) = self.present.index.get(key)
            && let Some(kept) = self.present.entries.get_mut(id)
        {
            *kept = entry;
            return;
        }
        if self.present.entries.len() >= self.settings.most.div_ceil(2) {
            let empty = Generation::new(self.settings.most.div_ceil(2));
            self.past = std::mem::replace(&mut self.present, empty);
        }
        if let Ok(id) = self.present.entries.insert(entry) {
            self.present.index.insert(key, id);
        }
    }

    /// How many accounts of storage are remembered.
    pub(crate) fn remembered_count(&self) -> usize {
        self.present.entries.len() + self.past.entries.len()
    }

    fn key(&self, user: &[u8], realm: &str) -> TransactionKey {
        let mut hasher = SipHasher13::new_with_keys(self.secret.0, self.secret.1);
        hasher.write(user);
        hasher.write_usize(user.len());
        hasher.write(realm.as_bytes());
        TransactionKey(hasher.finish128().as_u128())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const CACHE: CacheSettings = CacheSettings { present: secs(60), absent: secs(10), most: 8 };

    fn accounts(list: &[(&str, &str)]) -> Accounts {
        let account = |(user, realm): &(&str, &str)| Account {
            user: (*user).to_owned(),
            realm: (*realm).to_owned(),
            secret: Secret::Password(format!("{user}:{realm}").into()),
        };
        Accounts::new(list.iter().map(account).collect(), CACHE, (1, 2))
    }

    #[test]
    fn a_user_may_have_one_account_a_realm() {
        let accounts = accounts(&[("bob", "b"), ("al", "a"), ("bob", "a"), ("carol", "")]);
        let found = |user: &str, realm| accounts.configured(user.as_bytes(), realm).cloned();
        assert_eq!(found("bob", "a"), Some(Secret::Password("bob:a".into())));
        assert_eq!(found("bob", "b"), Some(Secret::Password("bob:b".into())));
        assert_eq!(found("bob", "c"), None);
        assert!(found("carol", "c").is_some() && found("b", "a").is_none());
    }

    #[test]
    fn what_storage_said_is_forgotten_in_time() {
        let mut accounts = accounts(&[]);
        let at = |seconds| Instant::START + secs(seconds);
        let secret = Known::Present(Secret::Password("x".into()));
        accounts.remember(at(0), b"bob", "r", secret.clone());
        accounts.remember(at(0), b"eve", "r", Known::Absent);
        assert_eq!(accounts.remembered(at(9), b"eve", "r"), Some(&Known::Absent));
        assert_eq!(accounts.remembered(at(10), b"eve", "r"), None);
        assert_eq!(accounts.remembered(at(59), b"bob", "r"), Some(&secret));
        assert_eq!(accounts.remembered(at(60), b"bob", "r"), None);
        assert_eq!(accounts.remembered(at(0), b"bob", "other"), None);
    }

    #[test]
    fn what_storage_cannot_confirm_counts_for_a_while() {
        let mut accounts = accounts(&[]);
        let at = |seconds| Instant::START + secs(seconds);
        let secret = Secret::Password("x".into());
        accounts.remember(at(0), b"bob", "r", Known::Present(secret.clone()));
        accounts.remember(at(0), b"eve", "r", Known::Absent);
        assert_eq!(accounts.outdated(at(100), b"bob", "r"), Some(secret.clone()));
        assert_eq!(
            accounts.remembered(at(109), b"bob", "r"),
            Some(&Known::Present(secret.clone()))
        );
        assert_eq!(accounts.remembered(at(110), b"bob", "r"), None);
        assert_eq!(accounts.outdated(at(3599), b"bob", "r"), Some(secret));
        assert_eq!(accounts.outdated(at(3600), b"bob", "r"), None);
        assert_eq!(accounts.outdated(at(1), b"eve", "r"), None);
    }

    #[test]
    fn a_flood_of_unknown_users_stays_in_bounds() {
        let mut accounts = accounts(&[]);
        for n in 0..1000 {
            accounts.remember(Instant::START, n.to_string().as_bytes(), "r", Known::Absent);
            assert!(accounts.remembered_count() <= 8);
        }
        assert!(accounts.remembered(Instant::START, b"999", "r").is_some());
    }

    #[test]
    fn a_hash_serves_its_own_algorithms_only() {
        let md5 = Hash::Md5.of(&[b"bob", b"r", b"x"]);
        let secret = Secret::from_ha1(md5.as_str()).expect("a hash");
        assert_eq!(secret.ha1(Algorithm::MD5, b"bob", b"r"), Some(md5));
        let sha = Algorithm { hash: Hash::Sha256, session: false };
        assert_eq!(secret.ha1(sha, b"bob", b"r"), None);
        assert!(Secret::from_ha1("").is_none() && Secret::from_ha1("secret").is_none());
    }
}
