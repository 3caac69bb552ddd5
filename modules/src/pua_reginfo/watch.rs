//! Following other registrars: SUBSCRIBE, and what their NOTIFYs say.
//!
//! For: `reginfo_subscribe`, `reginfo_handle_notify`: documents in order, each AOR's part sent to
//! the shard that owns it.
//! Not here: the dialogs (`pua`), what becomes of the contacts (`location/import.rs`).
//! Invariants: only what comes in a subscription of this module is looked at; a document is taken
//! whole or not at all; versions of one subscription only grow (RFC 3680 §5.2).

use super::document::Reading;
use super::{Handled, NotFollowed, Peer, PuaReginfo, Timer, Told};
use crate::location::{Aor, AorRules, CONTACTS_PER_AOR_MAX, Source, Wanted as Contact};
use crate::pua::bodies::reginfo::{self, Extent, Reginfo, Registration, RegistrationState};
use crate::pua::bodies::{Fault, REGINFO};
use crate::pua::{EventId, Notified, SendSubscribe, Standing, Subscription, Wanted};
use std::collections::{BTreeMap, BTreeSet};
use strowger_sip::message::Uri;
use strowger_sip::module::Host;
use strowger_sip::routing::Reply;
use strowger_sip::time::{Duration, Instant, secs};
use strowger_sip::transaction::Id;

/// Most subscriptions that one shard follows. A guess: each user of a small operator.
const WATCHES_MAX: usize = 65_536;
/// Most wishes that one shard remembers.
const WISHES_MAX: usize = 65_536;
/// How long a subscription lasts if nobody says, in seconds.
pub(super) const SUBSCRIBE_SECONDS: u32 = 3600;
/// How often a subscription is refreshed for want of a document at most (RFC 3680 §4.10).
const RENEW_PAUSE: Duration = secs(5);

/// Marks ids of documents that are being taken in.
#[derive(Debug)]
pub enum JobMark {}

/// Names a document that is being taken in, on the shard of its subscription.
pub(super) type JobId = Id<JobMark>;

/// A document that is being taken in.
#[derive(Debug)]
pub(super) struct Job {
    pub(super) presentity: String,
    pub(super) left: usize,
    pub(super) active: bool,
    pub(super) refused: usize,
    pub(super) updated: usize,
    pub(super) removed: usize,
}

/// What was told in one subscription.
#[derive(Debug, Default)]
pub(super) struct Watch {
    call_id: String,
    /// The last document's; by registration where documents are passed on.
    versions: BTreeMap<String, u32>,
    /// Addresses that were told of.
    known: BTreeSet<Box<str>>,
    renewed: Option<Instant>,
    pub(super) documents: u64,
}

/// What is done with a document.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Verdict {
    /// It is taken.
    Take,
    /// It is older than what is known.
    Ignore,
    /// Something before it is missing: everything is asked for.
    Renew,
}

/// What a document tells of one address.
#[derive(Debug)]
pub(super) struct Part {
    pub(super) aor: Aor,
    pub(super) told: Vec<Contact>,
    pub(super) source: Source,
    pub(super) full: bool,
}

impl PuaReginfo {
    /// Subscribes to the registration state of a URI, changes how long, or ends it
    /// (`reginfo_subscribe`). The shard that owns the URI does it.
    ///
    /// # Errors
    /// When it is no SIP URI, or this node has no `server_address`.
    pub fn follow(
        &mut self,
        host: &mut impl Host<Self>,
        uri: &str,
        wanted: Wanted,
    ) -> Result<(), NotFollowed> {
        if self.settings.server_address.is_none() {
            return Err(NotFollowed::NoAddress);
        }
        let is_sip = Uri::parse(uri.as_bytes()).is_ok_and(|uri| uri.scheme.is_sip());
        if !is_sip || uri.len() > strowger_sip::limits::URI_BYTES_MAX {
            return Err(NotFollowed::Unreadable);
        }
        let home = host.map().home(uri.as_bytes());
        host.tell(home, Peer::Follow { uri: uri.to_owned(), wanted });
        Ok(())
    }

    /// This shard owns the URI.
    pub(super) fn followed(&mut self, host: &mut impl Host<Self>, uri: String, wanted: Wanted) {
        self.send_subscribe(host, &uri, wanted);
        match wanted {
            Wanted::Not => {
                self.wishes.remove(&uri);
            }
            Wanted::Seconds(seconds) => {
                let end = host.now() + Duration::from_secs(seconds.into());
                self.wish(host, uri, Some(end));
            }
            Wanted::Forever => self.wish(host, uri, None),
        }
    }

    fn wish(&mut self, host: &impl Host<Self>, uri: String, end: Option<Instant>) {
        let now = host.now();
        if self.wishes.len() >= WISHES_MAX {
            self.wishes.retain(|_, end| end.is_none_or(|end| end > now));
        }
        if self.wishes.len() < WISHES_MAX {
            self.wishes.insert(uri, end);
        }
    }

    /// Asks for everything by a refresh.
    pub(super) fn renew(&mut self, host: &mut impl Host<Self>, uri: &str) {
        let left = |end: Instant| u32::try_from(end.since(host.now()).as_secs()).unwrap_or(0);
        let wanted = match self.wishes.get(uri) {
            Some(None) => Wanted::Forever,
            Some(Some(end)) => Wanted::Seconds(left(*end).max(1)),
            // It was wished for before a restart.
            None => Wanted::Seconds(SUBSCRIBE_SECONDS),
        };
        self.send_subscribe(host, uri, wanted);
    }

    fn send_subscribe(&mut self, host: &mut impl Host<Self>, uri: &str, wanted: Wanted) {
        let Some(address) = &self.settings.server_address else { return };
        let source = crate::pua::Source::ReginfoSubscribe;
        let mut subscription = Subscription::new(source, EventId::REG, uri, address);
        subscription.id = format!("REGINFO_SUBSCRIBE.{uri}");
        subscription.wanted = wanted;
        subscription.outbound_proxy.clone_from(&self.settings.outbound_proxy);
        host.publish(SendSubscribe(subscription));
    }

    /// A NOTIFY of a subscription of this module.
    pub(super) fn notified(&mut self, host: &mut impl Host<Self>, notified: &Notified) {
        let uri = notified.subscription.presentity.clone();
        let over = matches!(notified.standing, Standing::Terminated(_));
        let outcome = self.take(host, notified);
        if over {
            self.watches.remove(&uri);
        }
        let (handled, reply) = match outcome {
            Ok(Some(handled)) => (handled, None),
            // It is told when all shards have answered.
            Ok(None) => return,
            Err(reply) => {
                self.counters.rejected_notifies += 1;
                (Handled::Invalid, Some(reply))
            }
        };
        if let Some(reply) = reply {
            notified.answer(reply);
        }
        self.say(host, &uri, handled);
    }

    /// Takes a document in; `Ok(None)` when shards have been asked to.
    fn take(
        &mut self,
        host: &mut impl Host<Self>,
        notified: &Notified,
    ) -> Result<Option<Handled>, Reply> {
        if notified.body.is_empty() {
            return Ok(Some(Handled::NoneLeft));
        }
        let media = notified.content_type.split(';').next().unwrap_or_default().trim();
        if !media.eq_ignore_ascii_case(REGINFO) {
            return Err(Reply::new(415).header("Accept", REGINFO));
        }
        let bad = |fault: Fault| Reply::new(400).reason(&format!("Bad Document: {fault}"));
        let document = reginfo::read(&notified.body).map_err(bad)?;
        let uri = &notified.subscription.presentity;
        let parts = self.parts(host, uri, &document).map_err(bad)?;
        let (watched, call_id) = (self.watches.contains_key(uri), &notified.subscription.call_id);
        if !watched && self.watches.len() >= WATCHES_MAX {
            return Err(Reply::unavailable(60));
        }
        let passed_on = self.settings.passed_on;
        let watch = self.watches.entry(uri.clone()).or_default();
        if watch.call_id != *call_id {
            // Another dialog, which counts anew (RFC 3680 §5.1); what is known stays known.
            watch.versions.clear();
            watch.call_id.clone_from(call_id);
        }
        watch.documents += 1;
        let counts_for = if passed_on { first_id(&document) } else { String::new() };
        match judge(watch.versions.get(&counts_for).copied(), &document) {
            Verdict::Take => {}
            Verdict::Ignore => {
                self.counters.ignored_notifies += 1;
                return Ok(Some(Handled::NoneLeft));
            }
            Verdict::Renew => {
                self.counters.gaps += 1;
                self.ask_again(host, uri);
                return Ok(Some(Handled::Invalid));
            }
        }
        if watch.versions.len() >= reginfo::REGISTRATIONS_MAX {
            watch.versions.clear();
        }
        watch.versions.insert(counts_for, document.version);
        let parts = self.reconciled(uri, parts, document.extent);
        self.distribute(host, uri, parts)
    }

    /// What a document tells of each address, without what this node has told itself.
    fn parts(
        &self,
        host: &impl Host<Self>,
        uri: &str,
        document: &Reginfo,
    ) -> Result<Vec<Part>, Fault> {
        let reading =
            Reading { today: self.today(host), default_expires: self.settings.default_expires };
        let fault = |what| Fault::Value { element: "registration", what };
        let key = |aor: &str| key(&self.rules, aor);
        let (own, others) = self.own_and_others(document);
        let mut parts = Vec::new();
        let full = document.extent == Extent::Full;
        // An address of which this node alone tells has no contacts elsewhere.
        if full && !self.settings.passed_on {
            for registration in &own {
                let aor = key(&registration.aor).ok_or(fault("aor"))?;
                parts.push(Part { aor, told: Vec::new(), source: source(uri, ""), full });
            }
        }
        for registration in others.registrations {
            let aor = key(&registration.aor).ok_or(fault("aor"))?;
            if !self.is_known_domain(host, &registration.aor, uri) {
                return Err(fault("domain"));
            }
            let over = registration.state != RegistrationState::Active;
            let id = if self.settings.passed_on { registration.id.as_str() } else { "" };
            let source = source(uri, id);
            let mut told = Vec::new();
            for contact in registration.contacts.iter().filter(|_| !over) {
                if !own.iter().any(|own| tells_of(own, contact)) {
                    told.push(reading.contact(contact, source)?);
                }
            }
            if told.len() > CONTACTS_PER_AOR_MAX {
                return Err(Fault::TooMany { limit: CONTACTS_PER_AOR_MAX });
            }
            parts.retain(|part| part.aor != aor);
            parts.push(Part { aor, told, source, full: full || over });
        }
        Ok(parts)
    }

    /// The registrations that this node has written, and all others, one for each address.
    fn own_and_others(&self, document: &Reginfo) -> (Vec<Registration>, Reginfo) {
        let is_own = |one: &&Registration| one.id == self.pen.registration_id(&one.aor);
        let all = document.registrations.iter();
        let own: Vec<Registration> = all.clone().filter(is_own).cloned().collect();
        let others = all.filter(|one| !is_own(one)).cloned().collect();
        let others = Reginfo { registrations: others, ..document.clone() };
        let key = |aor: &str| key(&self.rules, aor).map_or(aor.to_owned(), |key| key.to_string());
        (own, others.merged(key))
    }

    /// Whether an address is one of this node's users: in its own domain, in one of this node, or
    /// in the one that the subscription is to.
    fn is_known_domain(&self, host: &impl Host<Self>, aor: &str, watched: &str) -> bool {
        let Ok(uri) = Uri::parse(aor.as_bytes()) else { return false };
        let domain = self.rules.domain(&uri.host);
        let watched = Uri::parse(watched.as_bytes());
        self.settings.default_domain.as_deref() == Some(&*domain)
            || host.is_ours(&uri)
            || watched.is_ok_and(|watched| self.rules.domain(&watched.host) == domain)
    }

    /// RFC 3680 §5.2: what a full document does not tell of is no more.
    fn reconciled(&mut self, uri: &str, mut parts: Vec<Part>, extent: Extent) -> Vec<Part> {
        let Some(watch) = self.watches.get_mut(uri) else { return parts };
        let told: BTreeSet<Box<str>> = parts.iter().map(|part| part.aor.as_str().into()).collect();
        match extent {
            Extent::Full if !self.settings.passed_on => {
                for forgotten in watch.known.difference(&told) {
                    let Ok(aor) = Aor::new(forgotten) else { continue };
                    let source = source(uri, "");
                    parts.push(Part { aor, told: Vec::new(), source, full: true });
                }
                watch.known = told;
            }
            Extent::Full => {}
            Extent::Partial => {
                watch.known.extend(told);
                if watch.known.len() > reginfo::REGISTRATIONS_MAX {
                    watch.known.clear();
                }
            }
        }
        parts
    }

    /// Sends each address's part to its owner.
    fn distribute(
        &mut self,
        host: &mut impl Host<Self>,
        uri: &str,
        parts: Vec<Part>,
    ) -> Result<Option<Handled>, Reply> {
        if parts.is_empty() {
            return Ok(Some(Handled::NoneLeft));
        }
        let job = Job {
            presentity: uri.to_owned(),
            left: parts.len(),
            active: false,
            refused: 0,
            updated: 0,
            removed: 0,
        };
        let Ok(job) = self.jobs.insert(job) else {
            self.forget_versions(uri);
            return Err(Reply::unavailable(10));
        };
        for part in parts {
            let home = part.aor.home(host.map());
            host.tell(home, Peer::Import { job, part: Box::new(Told(part)) });
        }
        Ok(None)
    }

    /// What has not been taken in must be told once more.
    pub(super) fn forget_versions(&mut self, uri: &str) {
        if let Some(watch) = self.watches.get_mut(uri) {
            watch.versions.clear();
        }
    }

    /// Has everything told again, if that was not asked for just before.
    pub(super) fn ask_again(&mut self, host: &mut impl Host<Self>, uri: &str) {
        let now = host.now();
        let Some(watch) = self.watches.get_mut(uri) else { return };
        if watch.renewed.is_some_and(|before| now.since(before) < RENEW_PAUSE) {
            return;
        }
        watch.renewed = Some(now);
        let home = host.map().home(uri.as_bytes());
        host.tell(home, Peer::Renew { uri: uri.to_owned() });
    }

    /// The subscriptions that the configuration names begin when storage has told of those before.
    pub(super) fn follow_configured(&mut self, host: &mut impl Host<Self>) {
        for uri in self.settings.subscribe.clone() {
            let home = host.map().home(uri.as_bytes());
            if home == host.shard() {
                self.followed(host, uri, Wanted::Forever);
            }
        }
    }

    /// Arms what begins with the shard.
    pub(super) fn start_following(&mut self, host: &mut impl Host<Self>) {
        if !self.settings.subscribe.is_empty() {
            host.arm(host.now() + secs(1), Timer::Follow);
        }
    }
}

/// Whether a document is taken. Version 0 of a full one is a beginning: of a server that counts
/// anew, or of one that never counts.
fn judge(last: Option<u32>, document: &Reginfo) -> Verdict {
    match (last, document.extent) {
        (_, Extent::Full) if document.version == 0 => Verdict::Take,
        (None, Extent::Full) => Verdict::Take,
        (None, Extent::Partial) => Verdict::Renew,
        (Some(last), Extent::Full | Extent::Partial) if document.version <= last => Verdict::Ignore,
        (Some(_), Extent::Full) => Verdict::Take,
        (Some(last), Extent::Partial) if document.version - last > 1 => Verdict::Renew,
        (Some(_), Extent::Partial) => Verdict::Take,
    }
}

fn first_id(document: &Reginfo) -> String {
    document.registrations.first().map(|one| one.id.clone()).unwrap_or_default()
}

/// Whether a registration that this node has written tells of this contact: then it knows better.
fn tells_of(own: &Registration, contact: &reginfo::Contact) -> bool {
    let is_it = |known: &reginfo::Contact| {
        known.uri == contact.uri && known.call_id == contact.call_id && known.cseq >= contact.cseq
    };
    own.contacts.iter().any(is_it)
}

fn key(rules: &AorRules, aor: &str) -> Option<Aor> {
    rules.key(&Uri::parse(aor.as_bytes()).ok()?).ok()
}

/// The name of whoever tells: a subscription, or one of the registrars behind it.
fn source(uri: &str, id: &str) -> Source {
    let digest = crate::keyed::hmac(b"reginfo source", &[uri.as_bytes(), b"\0", id.as_bytes()]);
    let [a, b, c, d, ..] = digest;
    Source(u32::from_be_bytes([a, b, c, d]))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_only_grow_and_a_gap_is_noticed() {
        let document = |version, extent| Reginfo { version, extent, registrations: Vec::new() };
        for (last, version, extent, verdict) in [
            (None, 5, Extent::Full, Verdict::Take),
            (None, 0, Extent::Partial, Verdict::Renew),
            (Some(5), 5, Extent::Full, Verdict::Ignore),
            (Some(5), 4, Extent::Partial, Verdict::Ignore),
            (Some(5), 6, Extent::Partial, Verdict::Take),
            (Some(5), 7, Extent::Partial, Verdict::Renew),
            (Some(5), 7, Extent::Full, Verdict::Take),
            (Some(5), 0, Extent::Full, Verdict::Take),
            (Some(0), 0, Extent::Full, Verdict::Take),
            (Some(u32::MAX), u32::MAX, Extent::Partial, Verdict::Ignore),
        ] {
            assert_eq!(judge(last, &document(version, extent)), verdict, "{last:?} {version}");
        }
    }
}
