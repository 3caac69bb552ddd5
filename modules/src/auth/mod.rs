//! Digest authentication: RFC 7616 and RFC 8760, the server's side.
//!
//! For: `request.authenticate("example.com").await?`, challenges, accounts of the configuration and
//! of table `subscriber`.
//! Not here: answering others' challenges (`uac/`).
//! Invariants: an [`Authenticated`] is made in one place, after its proof was checked; a proof is
//! taken once, on whichever shard it arrives.

mod account;
mod algorithm;
mod challenge;
mod check;
mod credentials;
mod digest;
mod nonce;
mod notes;
mod replay;
mod row;
mod settings;
#[cfg(test)]
mod tests;

pub use account::{Account, CacheSettings, Secret};
pub use algorithm::{Algorithm, Hash, Hex};
pub use challenge::{Challenger, Staleness};
pub use check::{AuthFailure, Authenticated, Authenticating, Subscriber};
pub use credentials::{Count, Credentials, CredentialsFault, Qop, read as read_credentials};
pub use nonce::{Life, Nonce};
pub use replay::Use;
pub use row::{Row, SUBSCRIBER, SubscriberRow};
pub use settings::{Checks, Settings};

use crate::ask::{AskId, Asks};
use account::{Accounts, Known};
use challenge::Offer;
pub(crate) use digest::{Covered, response as digest_response};
use nonce::{NonceFault, NonceKey};
use replay::Replays;
use std::rc::Rc;
use strowger_sip::date::{Epoch, UnixTime};
use strowger_sip::engine::slots::ContextId;
use strowger_sip::message::Edits;
use strowger_sip::module::{Configured, Departing, Host, MetricNote, Module, NodeFacts};
use strowger_sip::routing::Reply;
use strowger_sip::settings::Section;
use strowger_sip::shard::ShardId;
use strowger_sip::time::{Duration, Instant, secs};

/// How long a routing waits for another shard or for storage. A guess: a look-up takes
/// milliseconds, and an agent repeats its request after half a second anyway.
const PATIENCE: Duration = secs(3);

/// Counters of one shard.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counters {
    /// Proofs that were right.
    pub accepted: u64,
    /// Challenges sent.
    pub challenges: u64,
    /// Wrong passwords and unknown users.
    pub wrong: u64,
    /// Nonces that were too old, forged or not known any more.
    pub stale: u64,
    /// Proofs that were seen before.
    pub replayed: u64,
    /// Rows of storage that could not be used.
    pub rows_refused: u64,
    /// Secrets used although storage could not confirm them.
    pub outdated: u64,
    /// Questions that were not answered, or not asked because too many waited.
    pub unanswered: u64,
}

/// The instance of digest authentication on one shard.
#[derive(Debug)]
pub struct Auth {
    settings: Rc<Settings>,
    key: Rc<NonceKey>,
    epoch: Epoch,
    /// Made at the first use, when there is entropy for their hashes.
    tables: Option<Tables>,
    asks: Asks<Answer>,
    counters: Counters,
}

#[derive(Debug)]
struct Tables {
    accounts: Accounts,
    replays: Replays,
}

/// What a question is answered with.
#[derive(Debug)]
pub enum Answer {
    /// By the shard that counts a nonce.
    Used(Use),
    /// By storage.
    Rows(Vec<SubscriberRow>),
    /// By storage that cannot say.
    Unknown,
}

/// What the instances on different shards tell each other.
#[derive(Clone, Copy, Debug)]
pub enum Peer {
    /// To the shard that counts it: a nonce was used.
    Count {
        /// The asker's id.
        ask: AskId,
        /// Which nonce.
        nonce: Nonce,
        /// Its count.
        count: u32,
        /// Refuse every use but the first.
        once: bool,
    },
    /// Back to the asker.
    Counted {
        /// Its id.
        ask: AskId,
        /// What the count says.
        used: Use,
    },
}

/// A question was not answered in time.
#[derive(Clone, Copy, Debug)]
pub struct Timer(AskId);

/// What the response to an authenticated request gets: Authentication-Info.
#[derive(Debug, Default)]
pub struct Attached(Option<Box<str>>);

impl Auth {
    /// An instance. `node_secret` is the same on all shards of the node; a `secret` of the settings
    /// takes its place. `epoch` is the same on all shards.
    pub fn new(settings: Settings, node_secret: &[u8], epoch: Epoch) -> Auth {
        let secret = settings.secret.as_deref().map_or(node_secret, str::as_bytes);
        let key = Rc::new(NonceKey::new(secret));
        Auth {
            settings: Rc::new(settings),
            key,
            epoch,
            tables: None,
            asks: Asks::default(),
            counters: Counters::default(),
        }
    }

    /// Its settings.
    pub fn settings(&self) -> &Settings {
        &self.settings
    }

    /// Its counters.
    pub fn counters(&self) -> Counters {
        self.counters
    }

    fn today(&self, host: &impl Host<Auth>) -> UnixTime {
        self.epoch.date(host.now())
    }

    fn tables(&mut self, host: &mut impl Host<Auth>) -> &mut Tables {
        let settings = &self.settings;
        self.tables.get_or_insert_with(|| {
            let life = settings.nonce_life;
            // Ages are compared in whole seconds: one more covers the rounding.
            let stretch = life.expire + life.drift + secs(1);
            let most = settings.nonces_max;
            // With a secret of the settings, nonces of an earlier run are good but for this.
            let begin = self.epoch.date(Instant::START).as_secs();
            let forgotten = u32::try_from(begin.saturating_sub(1)).unwrap_or(u32::MAX);
            Tables {
                accounts: Accounts::new(
                    settings.accounts.clone(),
                    settings.cache,
                    host.entropy().keys(),
                ),
                replays: Replays::new(stretch, most, forgotten, host.entropy().keys()),
            }
        })
    }

    /// The realm of a name: without the prefix of the settings.
    fn realm<'n>(&self, name: &'n str) -> &'n str {
        name.strip_prefix(self.settings.realm_prefix.as_str()).unwrap_or(name)
    }

    /// The response that challenges a request; only with these algorithms where they are given.
    fn challenge(
        &mut self,
        host: &mut impl Host<Auth>,
        (realm, challenger): (&str, Challenger),
        (bound, staleness): (&[&[u8]], Staleness),
        only: Option<&[Algorithm]>,
    ) -> Reply {
        let place = (host.map(), host.shard());
        let nonce = self.key.issue(self.today(host), place, bound, host.entropy());
        self.counters.challenges += 1;
        let header = match challenger {
            Challenger::Www => &self.settings.www_header,
            Challenger::Proxy => &self.settings.proxy_header,
        };
        let offer = Offer {
            header,
            realm,
            nonce: &nonce,
            qop: &self.settings.qop,
            algorithms: only.unwrap_or(&self.settings.algorithms),
            staleness,
        };
        challenge::write(challenger, &offer)
    }

    fn check_nonce(
        &self,
        host: &impl Host<Auth>,
        nonce: &[u8],
        bound: &[&[u8]],
    ) -> Result<Nonce, NonceFault> {
        self.key.check(nonce, self.today(host), self.settings.nonce_life, bound)
    }

    /// Records the use of a nonce: here, or by a question to the shard that counts it.
    fn count_use(
        &mut self,
        host: &mut impl Host<Auth>,
        context: ContextId,
        (nonce, count, once): (Nonce, u32, bool),
    ) -> Result<Use, Option<AskId>> {
        let home = nonce.home(host.map());
        if home == host.shard() {
            let now = host.now();
            return Ok(self.tables(host).replays.record(now, nonce, count, once));
        }
        let ask = self.asks.open(host, context, PATIENCE, Timer);
        if let Some(ask) = ask {
            host.tell(home, Peer::Count { ask, nonce, count, once });
        }
        Err(ask)
    }

    /// The secret of a user, if this shard knows it.
    fn known(&mut self, host: &mut impl Host<Auth>, user: &[u8], realm: &str) -> Option<Known> {
        let (now, asks_storage) = (host.now(), self.settings.use_subscriber);
        let accounts = &self.tables(host).accounts;
        if let Some(secret) = accounts.configured(user, realm) {
            return Some(Known::Present(secret.clone()));
        }
        match accounts.remembered(now, user, realm) {
            Some(known) => Some(known.clone()),
            None if asks_storage => None,
            None => Some(Known::Absent),
        }
    }

    /// The secret of a user that storage cannot confirm at the moment.
    fn outdated(&mut self, host: &mut impl Host<Auth>, user: &[u8], realm: &str) -> Option<Secret> {
        let now = host.now();
        let secret = self.tables(host).accounts.outdated(now, user, realm);
        self.counters.outdated += u64::from(secret.is_some());
        secret
    }

    fn remember(&mut self, host: &mut impl Host<Auth>, user: &[u8], realm: &str, known: Known) {
        let now = host.now();
        self.tables(host).accounts.remember(now, user, realm, known);
    }

    /// Asks storage for a user.
    fn ask_storage(
        &mut self,
        host: &mut impl Host<Auth>,
        context: ContextId,
        username: &str,
        domain: Option<&str>,
    ) -> Option<AskId> {
        let ask = self.asks.open(host, context, PATIENCE, Timer)?;
        let domain = domain.map(Box::from);
        host.store(Row::Find { username: username.into(), domain, ask });
        Some(ask)
    }
}

impl Module for Auth {
    const NAME: &'static str = "auth";
    const METRICS: &'static [MetricNote] = notes::METRICS;
    const LIVE: &'static [&'static str] = &["account"];
    type Attached = Attached;
    type Peer = Peer;
    type Timer = Timer;
    type Token = ();
    type Row = Row;

    fn response(
        &mut self,
        host: &mut impl Host<Self>,
        response: &Departing<'_>,
        edits: &mut Edits,
    ) {
        if !self.settings.add_authinfo || !response.status.is_success() {
            return;
        }
        let attached = host.attached(response.transaction).and_then(|attached| attached.0.take());
        if let Some(info) = attached {
            // A value without line ends always fits.
            let _ = edits.append(b"Authentication-Info", info.as_bytes());
        }
    }

    fn timer(&mut self, host: &mut impl Host<Self>, Timer(ask): Timer) {
        self.asks.expire(host, ask);
    }

    fn peer(&mut self, host: &mut impl Host<Self>, from: ShardId, message: Peer) {
        match message {
            Peer::Count { ask, nonce, count, once } => {
                let now = host.now();
                let used = self.tables(host).replays.record(now, nonce, count, once);
                host.tell(from, Peer::Counted { ask, used });
            }
            Peer::Counted { ask, used } => self.asks.answer(host, ask, Answer::Used(used)),
        }
    }

    fn row(&mut self, host: &mut impl Host<Self>, row: Row) {
        match row {
            Row::Found { ask, rows, faulty } => {
                self.counters.rows_refused += faulty as u64;
                self.asks.answer(host, ask, Answer::Rows(rows));
            }
            Row::Unknown { ask } => self.asks.answer(host, ask, Answer::Unknown),
            // This goes to storage, it never comes from there.
            Row::Find { .. } => {}
        }
    }

    fn renew(&mut self, host: &mut impl Host<Self>, fresh: Auth) {
        if self.settings.accounts == fresh.settings.accounts {
            return;
        }
        let accounts = fresh.settings.accounts.clone();
        self.settings = Rc::new(Settings { accounts, ..(*self.settings).clone() });
        if let Some(tables) = &mut self.tables {
            let (accounts, cache) = (self.settings.accounts.clone(), self.settings.cache);
            // What storage has said is asked again.
            tables.accounts = Accounts::new(accounts, cache, host.entropy().keys());
        }
    }

    fn live(&self) -> usize {
        self.asks.len()
    }

    fn metrics(&self, each: &mut dyn FnMut(&'static str, u64)) {
        let counters = &self.counters;
        each("auth_accepted", counters.accepted);
        each("auth_challenges", counters.challenges);
        each("auth_wrong", counters.wrong);
        each("auth_stale", counters.stale);
        each("auth_replayed", counters.replayed);
        each("auth_rows_refused", counters.rows_refused);
        each("auth_outdated", counters.outdated);
        each("auth_unanswered", counters.unanswered);
        let tables = self.tables.as_ref();
        each("auth_nonces", tables.map_or(0, |tables| tables.replays.len() as u64));
        let cached = tables.map_or(0, |tables| tables.accounts.remembered_count() as u64);
        each("auth_cached_accounts", cached);
    }
}

impl Configured for Auth {
    fn configured(section: &mut Section<'_>, node: &NodeFacts<'_>) -> Auth {
        let settings = Settings::from_config(section);
        if settings.use_subscriber && !node.has_storage {
            section.problem("use_subscriber", "there is no storage", "false, or [storage] url");
        }
        Auth::new(settings, node.secret, node.epoch)
    }
}
