//! Telling of this node's own users: from changes of contacts to publications.
//!
//! For: one publication for each address, modified when its contacts change, several changes within
//! `publish_delay` at once; removed when its last state has been told.
//! Not here: what a document says of a contact (`document.rs`), PUBLISH (`pua`).
//! Invariants: contacts that were imported are in no document; a record is kept only while
//! something is to be sent or heard, and there is a bound to them.

use super::document::Pen;
use super::{Counters, PuaReginfo, Timer};
use crate::location::{Aor, Contact, ContactEvent, ContactEventKind, Origin};
use crate::pua::bodies::reginfo::{
    ContactState, Event, Extent, Reginfo, Registration, RegistrationState,
};
use crate::pua::{Ended, EventId, Publication, Refused, Report, SendPublish, Source, Wanted};
use std::rc::Rc;
use strowger_sip::date::UnixTime;
use strowger_sip::module::Host;
use strowger_sip::table::Map;
use strowger_sip::transaction::{Id, Slab};
use strowger_sip::wheel::TimerId;

/// Most addresses of one shard that something is to be said of. A guess: a minute of a shard that
/// takes 4000 registrations a second, of different users, while the presence server is silent.
pub(super) const RECORDS_MAX: usize = 262_144;

/// Most contacts that are gone and not told of yet, of one address: as many as it may have.
const GONE_MAX: usize = crate::location::CONTACTS_PER_AOR_MAX;

/// How long an address without contacts stays published at most, in seconds: until its publication
/// is removed.
const TERMINATED_SECONDS: u32 = 3600;

/// Marks ids of addresses that something is to be said of.
#[derive(Debug)]
pub enum RecordMark {}

/// Names such an address.
pub(super) type RecordId = Id<RecordMark>;

/// An address that something is to be said of.
#[derive(Debug)]
struct Record {
    aor: Aor,
    /// All its contacts after the last change.
    bindings: Rc<[Contact]>,
    /// What has happened to some of them, by their names.
    news: Vec<(Box<str>, Event)>,
    gone: Vec<(Contact, Event)>,
    /// Whether nothing but times has changed.
    only_time: bool,
    stage: Stage,
}

/// What is waited for.
#[derive(Debug)]
enum Stage {
    /// Further changes, for a while.
    Gathering,
    /// Whether a publication could be prolonged without a document.
    Prolonging,
    /// The answer to the last state of an address without contacts.
    Ending,
    /// The removal of that.
    Lingering(TimerId),
}

/// The addresses of one shard that something is to be said of.
#[derive(Debug)]
pub(super) struct Publishing {
    records: Slab<Record, RecordMark>,
    index: Map<Box<str>, RecordId>,
}

impl Publishing {
    pub(super) fn new(secret: (u64, u64)) -> Publishing {
        Publishing { records: Slab::new(0, RECORDS_MAX), index: Map::new(secret) }
    }

    pub(super) fn len(&self) -> usize {
        self.records.len()
    }

    fn find(&self, aor: &Aor) -> Option<RecordId> {
        self.index.get(aor.as_str()).copied()
    }

    fn remove(&mut self, id: RecordId) -> Option<Record> {
        let record = self.records.remove(id)?;
        self.index.remove(record.aor.as_str());
        Some(record)
    }
}

impl PuaReginfo {
    /// A contact of this shard has changed.
    pub(super) fn contact_changed(&mut self, host: &mut impl Host<Self>, event: &ContactEvent) {
        let ContactEvent { kind, aor, contact, only_time, bindings, quiet, .. } = event;
        // What was imported is told by whoever has registered it.
        if contact.facts.origin != Origin::Local {
            return;
        }
        let today = self.today(host);
        let news = match kind {
            ContactEventKind::Insert => Ok(Event::Created),
            ContactEventKind::Update => Ok(Event::Refreshed),
            ContactEventKind::Delete => Err(Event::Unregistered),
            ContactEventKind::Expire => Err(Event::Expired),
            ContactEventKind::Load => return self.loaded(host, aor),
        };
        if news.is_err() {
            self.echoes.remember(aor, contact, today);
        }
        if *quiet || !self.settings.publish_reginfo {
            return;
        }
        let Some(id) = self.gather(host, aor, Rc::clone(bindings)) else { return };
        let Some(record) = self.publishing.records.get_mut(id) else { return };
        record.only_time &= *only_time && *kind == ContactEventKind::Update;
        let ruid = contact.ruid();
        match news {
            // A contact that was made is new until that is told, however often it is refreshed.
            Ok(event) if !record.news.iter().any(|(known, _)| **known == *ruid) => {
                record.news.push((ruid.into(), event));
            }
            Ok(_) => {}
            Err(event) => {
                record.news.retain(|(known, _)| **known != *ruid);
                if record.gone.len() < GONE_MAX {
                    record.gone.push((contact.clone(), event));
                }
            }
        }
    }

    /// Has an address published soon, whatever has happened to it (`reginfo.publish`).
    pub(super) fn publish_all(
        &mut self,
        host: &mut impl Host<Self>,
        aor: &Aor,
        contacts: Vec<Contact>,
    ) {
        if let Some(id) = self.gather(host, aor, contacts.into())
            && let Some(record) = self.publishing.records.get_mut(id)
        {
            record.only_time = false;
        }
    }

    /// The record of an address that is published after the delay, with its contacts; `None` when
    /// there are too many.
    fn gather(
        &mut self,
        host: &mut impl Host<Self>,
        aor: &Aor,
        bindings: Rc<[Contact]>,
    ) -> Option<RecordId> {
        let due = host.now() + self.settings.publish_delay;
        if let Some(id) = self.publishing.find(aor) {
            let record = self.publishing.records.get_mut(id)?;
            record.bindings = bindings;
            match record.stage {
                Stage::Gathering => return Some(id),
                Stage::Lingering(timer) => {
                    host.cancel(timer);
                }
                // The answer that was waited for finds the record busy with something newer.
                Stage::Prolonging | Stage::Ending => {}
            }
            record.only_time = !matches!(record.stage, Stage::Prolonging);
            record.stage = Stage::Gathering;
            host.arm(due, Timer::Publish(id));
            return Some(id);
        }
        let record = |_| Record {
            aor: aor.clone(),
            bindings,
            news: Vec::new(),
            gone: Vec::new(),
            only_time: true,
            stage: Stage::Gathering,
        };
        let Some(id) = self.publishing.records.insert_with(record) else {
            self.counters.unpublished += 1;
            return None;
        };
        host.arm(due, Timer::Publish(id));
        self.publishing.index.insert(aor.as_str().into(), id);
        Some(id)
    }

    /// The time of a record has come.
    pub(super) fn publish_due(&mut self, host: &mut impl Host<Self>, id: RecordId) {
        let today = self.today(host);
        let Some(record) = self.publishing.records.get_mut(id) else { return };
        match record.stage {
            Stage::Gathering => {}
            Stage::Lingering(_) => return self.withdraw(host, id),
            Stage::Prolonging | Stage::Ending => return,
        }
        let aor_uri = self.pen.uri(&record.aor);
        let locals = own(&record.bindings, today);
        let lifetime = lifetime(&locals, today);
        let is_over = locals.is_empty();
        if is_over && record.gone.is_empty() {
            self.publishing.remove(id);
            return;
        }
        let prolongs = record.only_time && !self.settings.publish_refresh && !is_over;
        let salt = host.entropy().next_u64();
        let body = (!prolongs).then(|| {
            let registration = registration(&self.pen, record, &locals, (today, salt));
            document(registration).into_bytes()
        });
        let stage = match (prolongs, is_over) {
            (true, _) => Some(Stage::Prolonging),
            (false, true) => Some(Stage::Ending),
            (false, false) => None,
        };
        let publication = Publication {
            body,
            wanted: lifetime,
            cookie: stage.is_some().then_some(id.as_u64()),
            ..self.publication(&aor_uri, id)
        };
        self.counters.published += 1;
        host.publish(SendPublish(publication));
        match (stage, self.publishing.records.get_mut(id)) {
            (Some(stage), Some(record)) => {
                record.stage = stage;
                record.news.clear();
                record.gone.clear();
            }
            (Some(_) | None, _) => {
                self.publishing.remove(id);
            }
        }
    }

    fn publication(&self, aor_uri: &str, id: RecordId) -> Publication {
        let record = self.publishing.records.get(id);
        let aor = record.map_or("", |record| record.aor.as_str());
        let name = format!("REGINFO_PUBLISH.{aor}@{}", self.table);
        let mut publication =
            Publication::new(Source::ReginfoPublish, EventId::REG, aor_uri, &name);
        publication.outbound_proxy.clone_from(&self.settings.outbound_proxy);
        publication
    }

    /// A publication that was waited for has ended.
    pub(super) fn reported(&mut self, host: &mut impl Host<Self>, report: &Report) {
        let id = RecordId::from_u64(report.cookie);
        let linger = host.now() + self.settings.terminated_linger;
        let delay = host.now() + self.settings.publish_delay;
        let Some(record) = self.publishing.records.get_mut(id) else { return };
        match (&record.stage, &report.ended) {
            (Stage::Gathering | Stage::Lingering(_), _) => {}
            (Stage::Ending, Ended::Done { .. }) => {
                record.stage = Stage::Lingering(host.arm(linger, Timer::Publish(id)));
            }
            // There was nothing to prolong: it is told in full.
            (Stage::Prolonging, Ended::Refused(Refused::NoBody) | Ended::Failed { .. }) => {
                record.only_time = false;
                record.stage = Stage::Gathering;
                host.arm(delay, Timer::Publish(id));
            }
            (
                Stage::Prolonging,
                Ended::Done { .. }
                | Ended::TimedOut
                | Ended::Nothing
                | Ended::Superseded
                | Ended::Refused(_),
            )
            | (
                Stage::Ending,
                Ended::Failed { .. }
                | Ended::TimedOut
                | Ended::Nothing
                | Ended::Superseded
                | Ended::Refused(_),
            ) => {
                self.publishing.remove(id);
            }
        }
    }

    /// The last state was published long enough.
    fn withdraw(&mut self, host: &mut impl Host<Self>, id: RecordId) {
        let Some(record) = self.publishing.records.get(id) else { return };
        let aor_uri = self.pen.uri(&record.aor);
        let mut publication = self.publication(&aor_uri, id);
        publication.wanted = Wanted::Not;
        host.publish(SendPublish(publication));
        self.publishing.remove(id);
    }
}

/// The contacts that this node tells of.
fn own(bindings: &[Contact], today: UnixTime) -> Vec<Contact> {
    let is_own =
        |contact: &&Contact| contact.facts.origin == Origin::Local && contact.is_current(today);
    bindings.iter().filter(is_own).cloned().collect()
}

/// As long as the contact that lasts longest.
fn lifetime(locals: &[Contact], today: UnixTime) -> Wanted {
    let mut longest = 0;
    for contact in locals {
        match contact.remaining_seconds(today) {
            None => return Wanted::Forever,
            Some(seconds) => longest = longest.max(seconds),
        }
    }
    match u32::try_from(longest) {
        Ok(0) => Wanted::Seconds(TERMINATED_SECONDS),
        Ok(seconds) => Wanted::Seconds(seconds),
        Err(_) => Wanted::Forever,
    }
}

fn registration(
    pen: &Pen,
    record: &Record,
    locals: &[Contact],
    (today, salt): (UnixTime, u64),
) -> Registration {
    let aor_uri = pen.uri(&record.aor);
    let write = |contact: &Contact, state| {
        pen.contact((&record.aor, &aor_uri), contact, state, (today, salt))
    };
    let active = locals.iter().map(|contact| {
        let news = record.news.iter().find(|(ruid, _)| **ruid == *contact.ruid());
        let event = news.map_or(Event::Registered, |(_, event)| *event);
        write(contact, (ContactState::Active, event))
    });
    // Who knows contacts by their URIs must not take the end of one for the end of its follower.
    let follows = |gone: &Contact| locals.iter().any(|contact| contact.has_uri(gone.uri()));
    let gone = record.gone.iter().filter(|(contact, _)| !follows(contact));
    let gone = gone.map(|(contact, event)| write(contact, (ContactState::Terminated, *event)));
    let state = match locals {
        [] => RegistrationState::Terminated,
        [_, ..] => RegistrationState::Active,
    };
    let id = pen.registration_id(&aor_uri);
    let contacts = active.chain(gone).collect();
    Registration { aor: aor_uri.clone(), id, state, contacts }
}

/// A document with everything that there is to tell. `pua` numbers it.
fn document(registration: Registration) -> String {
    let registrations = vec![registration];
    Reginfo { version: 0, extent: Extent::Full, registrations }.write()
}

impl Counters {
    pub(super) fn publishing(&self, each: &mut dyn FnMut(&'static str, u64)) {
        each("pua_reginfo_published", self.published);
        each("pua_reginfo_unpublished", self.unpublished);
    }
}
