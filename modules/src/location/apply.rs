//! Carrying out a plan: bindings set and removed, events told, rows written, timers armed.
//!
//! For: every way in which a contact comes, changes and goes.
//! Not here: deciding (`change.rs`), waiting for storage (`jobs.rs`).
//! Invariants: each change of a contact has a version greater than the one before; an address in
//! the table has a timer that wakes no later than its first contact ends.

use super::aor::Aor;
use super::attributes::{self, AttributeRow, Attributes};
use super::change::{Change, PlanRules, Refusal, plan};
use super::contact::{Contact, Texts};
use super::event::{ContactEvent, ContactEventKind};
use super::jobs::ordered;
use super::peer::Done;
use super::row::{LocationRow, Row};
use super::settings::DbMode;
use super::table::{Changed, RecordId};
use super::{Location, Timer, streams};
use std::net::SocketAddr;
use std::rc::Rc;
use strowger_sip::date::UnixTime;
use strowger_sip::message::Uri;
use strowger_sip::module::Host;
use strowger_sip::storage::{Haste, Ticket, Version};
use strowger_sip::time::{Duration, ms, secs};
use strowger_sip::transport::{Flow, ListenerId, Listeners, Transport};

/// How a change is told to others.
#[derive(Clone, Copy, Debug, Default)]
struct Manner {
    quiet: bool,
    presence: bool,
}

/// How one contact was changed, and what it was before.
#[derive(Clone, Debug)]
pub(crate) struct Undo {
    ruid: Box<str>,
    /// Of the change; a contact with another one has been changed since.
    version: Version,
    before: Option<Contact>,
}

impl Location {
    /// Makes a change, or says why not; with what it takes to undo it. Without `promised`, rows are
    /// handed to storage here.
    pub(super) fn apply(
        &mut self,
        host: &mut impl Host<Location>,
        change: Change,
        promised: bool,
    ) -> Result<(Done, Vec<Undo>), Refusal> {
        let today = self.today(host);
        let settings = Rc::clone(&self.settings);
        let rules =
            PlanRules { matching: settings.matching, cseq_delay: settings.cseq_delay, now: today };
        let aor = change.aor.clone();
        let manner = Manner { quiet: change.quiet, presence: change.presence };
        let plan = plan(self.contacts_here(&aor), change, &rules)?;
        if self.size().1 + plan.insert.len() > settings.contacts_max {
            return Err(Refusal::Full);
        }
        let (added, updated) = (plan.insert.len(), plan.update.len());
        let removed = plan.remove.len();
        let before: Vec<Contact> = self.contacts_here(&aor).to_vec();
        let mut after = before.clone();
        let mut happened = Vec::new();
        for (place, contact) in plan.update {
            let Some(old) = after.get_mut(place) else { continue };
            *old = self.updated(host, old, contact);
            happened.push((ContactEventKind::Update, old.clone(), before.get(place).cloned()));
        }
        for contact in plan.insert {
            let contact = self.inserted(host, contact);
            happened.push((ContactEventKind::Insert, contact.clone(), None));
            after.push(contact);
        }
        for place in &plan.remove {
            let Some(old) = before.get(*place) else { continue };
            let mut gone = old.clone();
            gone.facts.version = self.next_version(host);
            happened.push((ContactEventKind::Delete, gone, Some(old.clone())));
        }
        let mut place = 0..;
        after.retain(|_| place.next().is_some_and(|at| !plan.remove.contains(&at)));
        self.keep(host, &aor, after)?;
        let mut undo = Vec::new();
        for (kind, contact, before) in happened {
            let memory_only = contact.facts.memory_only;
            let ruid: Box<str> = contact.ruid().into();
            let version = contact.facts.version;
            if !promised {
                self.write(host, &aor, kind, &contact);
            } else if !memory_only {
                undo.push(Undo { ruid, version, before: before.clone() });
            }
            self.tell(host, kind, &aor, (contact, before.as_ref()), manner);
        }
        let bindings = ordered(self.contacts_here(&aor), today, settings.desc_time_order);
        Ok((Done { added, updated, removed, bindings }, undo))
    }

    fn inserted(&mut self, host: &mut impl Host<Location>, contact: Contact) -> Contact {
        let ruid = contact.facts.origin.prefix() + &self.next_ruid(host);
        let mut contact = contact.with_texts(&Texts { ruid: ruid.as_bytes(), ..contact.texts() });
        contact.facts.version = self.next_version(host);
        contact.facts.server_id = self.settings.server_id;
        contact
    }

    /// The binding stays what it is called and since when it is there; all else is new.
    fn updated(&mut self, host: &mut impl Host<Location>, old: &Contact, new: Contact) -> Contact {
        let mut contact = new.with_texts(&Texts { ruid: old.texts().ruid, ..new.texts() });
        contact.facts.created = old.facts.created;
        contact.facts.version = self.next_version(host);
        contact.facts.server_id = self.settings.server_id;
        contact
    }

    /// Puts these contacts in place of those that an address had.
    fn keep(
        &mut self,
        host: &mut impl Host<Location>,
        aor: &Aor,
        contacts: Vec<Contact>,
    ) -> Result<(), Refusal> {
        if contacts.is_empty() && self.contacts_here(aor).is_empty() {
            return Ok(());
        }
        let tracks = self.settings.handle_lost_tcp || self.settings.close_expired_tcp;
        let before = tracks.then(|| (self.find(aor), streams::of(self.contacts_here(aor))));
        let after = tracks.then(|| streams::of(&contacts));
        let changed = self.table(host).change(aor, |kept| {
            kept.clear();
            kept.extend(contacts);
            kept.shrink_to_fit();
        });
        if let (Some((known, before)), Some(after)) = (before, after) {
            let record = known.or_else(|| self.find(aor));
            if let Some(record) = record {
                self.streams.change(record, &before, &after);
            }
        }
        match changed {
            None => return Err(Refusal::Full),
            Some(Changed::Lives(record)) => self.watch_expiry(host, record),
            Some(Changed::Gone(timer)) => {
                timer.map(|timer| host.cancel(timer));
            }
        }
        self.start_sweep(host);
        Ok(())
    }

    fn find(&self, aor: &Aor) -> Option<RecordId> {
        self.table.as_ref().and_then(|table| table.find(aor))
    }

    /// Has a timer wake when the first contact of an address ends. One that wakes earlier is left
    /// alone: a refreshed address then costs nothing until it fires and is armed anew.
    fn watch_expiry(&mut self, host: &mut impl Host<Location>, id: RecordId) {
        let (epoch, delay) = (self.epoch, self.settings.rm_expired_delay);
        let Some(record) = self.table.as_mut().and_then(|table| table.get_mut(id)) else { return };
        let first = record.contacts.iter().filter_map(|contact| contact.facts.expires).min();
        let Some(first) = first else { return };
        let due = epoch.instant(first + delay);
        match record.timer {
            Some((_, armed)) if armed <= due => return,
            Some((timer, _)) => {
                host.cancel(timer);
            }
            None => {}
        }
        record.timer = Some((host.arm(due, Timer::Expiry(id)), due));
    }

    /// Removes the contacts of an address whose time is over.
    pub(super) fn expire(&mut self, host: &mut impl Host<Location>, id: RecordId) {
        let (today, delay) = (self.today(host), self.settings.rm_expired_delay);
        let Some(record) = self.table.as_mut().and_then(|table| table.get_mut(id)) else { return };
        record.timer = None;
        let is_over = |contact: &Contact| contact.facts.expires.is_some_and(|e| e + delay <= today);
        if !record.contacts.iter().any(is_over) {
            return self.watch_expiry(host, id);
        }
        let aor = record.aor.clone();
        let (gone, kept): (Vec<Contact>, Vec<Contact>) =
            record.contacts.iter().cloned().partition(is_over);
        self.counters.expired += gone.len() as u64;
        let connections = streams::of(&gone);
        self.drop_contacts(host, &aor, gone, kept, ContactEventKind::Expire);
        if self.settings.close_expired_tcp {
            connections.into_iter().for_each(|connection| self.expired_over(host, connection));
        }
    }

    /// Removes contacts without being asked by a request.
    pub(super) fn drop_contacts(
        &mut self,
        host: &mut impl Host<Location>,
        aor: &Aor,
        gone: Vec<Contact>,
        kept: Vec<Contact>,
        kind: ContactEventKind,
    ) {
        // Fewer contacts than before always fit.
        let _ = self.keep(host, aor, kept);
        for mut contact in gone {
            contact.facts.version = self.next_version(host);
            self.write(host, aor, kind, &contact);
            self.tell(host, kind, aor, (contact, None), Manner::default());
        }
    }

    /// Takes a change back that storage could not keep; what has changed since stays.
    pub(super) fn undo(&mut self, host: &mut impl Host<Location>, aor: &Aor, undo: Vec<Undo>) {
        self.counters.undone += 1;
        let mut contacts: Vec<Contact> = self.contacts_here(aor).to_vec();
        let mut happened = Vec::new();
        for Undo { ruid, version, before } in undo {
            let place = contacts.iter().position(|contact| contact.ruid() == &*ruid);
            let next = self.next_version(host);
            match (place, before) {
                (Some(place), Some(mut before)) if contacts[place].facts.version == version => {
                    before.facts.version = next;
                    contacts[place] = before.clone();
                    happened.push((ContactEventKind::Update, before));
                }
                (Some(place), None) if contacts[place].facts.version == version => {
                    let mut gone = contacts.remove(place);
                    gone.facts.version = next;
                    happened.push((ContactEventKind::Delete, gone));
                }
                (None, Some(mut before)) if before.facts.version < version => {
                    before.facts.version = next;
                    contacts.push(before.clone());
                    happened.push((ContactEventKind::Insert, before));
                }
                (Some(_) | None, Some(_)) | (Some(_) | None, None) => {}
            }
        }
        let _ = self.keep(host, aor, contacts);
        for (kind, contact) in happened {
            self.write(host, aor, kind, &contact);
            self.tell(host, kind, aor, (contact, None), Manner::default());
        }
    }

    /// The row of a contact as a change has left it.
    pub(super) fn row_after(
        &self,
        host: &impl Host<Location>,
        aor: &Aor,
        undo: &Undo,
        ticket: Option<Ticket>,
    ) -> Option<Row> {
        let here = self.contacts_here(aor).iter();
        match here.into_iter().find(|contact| contact.ruid() == &*undo.ruid) {
            Some(contact) => Some(put(host.listeners(), aor, contact, ticket, Haste::Now)),
            None => Some(Row::Remove {
                ruid: undo.ruid.clone(),
                version: undo.version,
                ticket,
                haste: Haste::Now,
            }),
        }
    }

    /// Hands a change to storage without waiting for it.
    fn write(
        &mut self,
        host: &mut impl Host<Location>,
        aor: &Aor,
        kind: ContactEventKind,
        contact: &Contact,
    ) {
        let haste = match self.settings.db_mode {
            DbMode::Memory | DbMode::LoadOnly => return,
            // Another registrar may have refreshed it; if not, `clean` deletes it.
            DbMode::DatabaseOnly if kind == ContactEventKind::Expire => return,
            DbMode::Realtime | DbMode::DatabaseOnly => Haste::Now,
            DbMode::Delayed => Haste::Later,
        };
        if contact.facts.memory_only {
            return;
        }
        let row = match kind {
            ContactEventKind::Load => return,
            ContactEventKind::Insert | ContactEventKind::Update => {
                put(host.listeners(), aor, contact, None, haste)
            }
            ContactEventKind::Delete | ContactEventKind::Expire => Row::Remove {
                ruid: contact.ruid().into(),
                version: contact.facts.version,
                ticket: None,
                haste,
            },
        };
        self.store(host, row);
    }

    /// Hands a contact's row to storage, and its attributes where it has some or had some there;
    /// how many orders that were.
    pub(super) fn store(&mut self, host: &mut impl Host<Location>, row: Row) -> usize {
        let attributes = self.attributes_after(&row, true);
        host.store(row);
        let orders = 1 + usize::from(attributes.is_some());
        attributes.into_iter().for_each(|row| host.store(row));
        orders
    }

    /// What storage is to know of a contact's attributes once it has its row; whoever waits for the
    /// row waits for them too, or does not.
    pub(super) fn attributes_after(&mut self, row: &Row, waits: bool) -> Option<Row> {
        let (attributes, version, ticket, haste) = match row {
            Row::Put { row, ticket, haste } => {
                let attributes = Attributes::of(&row.aor, &row.contact);
                (attributes, row.contact.facts.version, *ticket, *haste)
            }
            Row::Remove { ruid, version, ticket, haste } => {
                let (aor, ruid, modified) = (None, ruid.clone(), UnixTime::default());
                let attributes = Attributes { aor, ruid, text: Box::default(), modified };
                (attributes, *version, *ticket, *haste)
            }
            Row::PutAttributes { .. }
            | Row::Find(..)
            | Row::FindAttributes(..)
            | Row::RemoveEnded(..)
            | Row::Loaded(_)
            | Row::LoadedAttribute(_)
            | Row::Found { .. }
            | Row::FoundAttributes { .. }
            | Row::Settled(..)
            | Row::Resync => return None,
        };
        let has_some = !attributes.text.is_empty();
        if has_some {
            self.attributed.insert(attributes.ruid.clone());
        } else if !self.attributed.remove(&attributes.ruid) {
            return None;
        }
        let (attributes, ticket) = (Box::new(attributes), ticket.filter(|_| waits));
        Some(Row::PutAttributes { attributes, version, ticket, haste })
    }

    /// Takes in an attribute of a contact that was stored before this start.
    pub(super) fn load_attribute(&mut self, host: &mut impl Host<Location>, row: &AttributeRow) {
        let Some(aor) = self.own_key(&row.aor) else { return };
        if self.settings.db_mode == DbMode::Memory || aor.home(host.map()) != host.shard() {
            return;
        }
        let mut contacts = self.contacts_here(&aor).to_vec();
        // Of a contact that was not taken in there is nothing to say.
        let Some(contact) = contacts.iter_mut().find(|contact| contact.ruid() == &*row.ruid) else {
            return;
        };
        let Some(joined) = attributes::joined(contact, row) else { return };
        *contact = joined;
        self.attributed.insert(row.ruid.clone());
        let _ = self.keep(host, &aor, contacts);
    }

    fn tell(
        &mut self,
        host: &mut impl Host<Location>,
        kind: ContactEventKind,
        aor: &Aor,
        (contact, before): (Contact, Option<&Contact>),
        Manner { quiet, presence }: Manner,
    ) {
        if host.is_heard_of::<ContactEvent>() {
            let only_time = before.is_some_and(|before| is_as_before(before, &contact));
            let (aor, bindings) = (aor.clone(), self.contacts_here(aor).into());
            host.publish(ContactEvent { kind, aor, contact, only_time, bindings, quiet, presence });
        }
    }

    /// Takes in a row that was stored before this start.
    pub(super) fn load(&mut self, host: &mut impl Host<Location>, row: &LocationRow) {
        if self.settings.db_mode == DbMode::Memory {
            return;
        }
        let Some(aor) = self.key_of(row) else { return };
        if aor.home(host.map()) != host.shard() {
            return;
        }
        let settings = &self.settings;
        let foreign =
            settings.server_id_filter && row.contact.facts.server_id != settings.server_id;
        let listener = listener_of(host.listeners(), &row.socket);
        if settings.db_clean_tcp && is_stream(&row.socket) {
            // Its connection has not outlived the restart.
            return self.forget_row(host, row);
        }
        let elsewhere = settings.skip_remote_socket && !row.socket.is_empty() && listener.is_none();
        let today = self.today(host);
        let known = self.contacts_here(&aor);
        let full = self.size().1 >= settings.contacts_max
            || known.len() >= super::CONTACTS_PER_AOR_MAX
            || known.iter().any(|contact| contact.ruid() == row.contact.ruid());
        if foreign || elsewhere || full || !row.contact.is_current(today) {
            self.counters.rows_refused += 1;
            return;
        }
        let mut contacts = known.to_vec();
        let mut contact = reachable(row.contact.clone(), listener);
        contact.facts.version = self.next_version(host);
        contacts.push(contact.clone());
        if self.keep(host, &aor, contacts).is_err() {
            self.counters.rows_refused += 1;
            return;
        }
        self.tell(host, ContactEventKind::Load, &aor, (contact, None), Manner::default());
    }

    fn forget_row(&mut self, host: &mut impl Host<Location>, row: &LocationRow) {
        self.counters.rows_refused += 1;
        match self.settings.db_mode {
            DbMode::Memory | DbMode::LoadOnly => {}
            DbMode::Realtime | DbMode::Delayed | DbMode::DatabaseOnly => {
                let (ruid, version) = (row.contact.ruid().into(), self.next_version(host));
                // Its attributes, if there are any, are not known yet.
                self.attributed.insert(row.contact.ruid().into());
                self.store(host, Row::Remove { ruid, version, ticket: None, haste: Haste::Later });
            }
        }
    }

    /// Puts what storage has in place of what an address had here (`db_mode` 3).
    pub(super) fn replace(
        &mut self,
        host: &mut impl Host<Location>,
        aor: &Aor,
        rows: Vec<LocationRow>,
    ) {
        let today = self.today(host);
        let before: Vec<Contact> = self.contacts_here(aor).to_vec();
        let mut contacts: Vec<Contact> =
            before.iter().filter(|contact| contact.facts.memory_only).cloned().collect();
        for row in rows {
            let fits = contacts.len() < super::CONTACTS_PER_AOR_MAX;
            if !fits || !row.contact.is_current(today) || self.key_of(&row).as_ref() != Some(aor) {
                continue;
            }
            let is_it = |known: &&Contact| {
                known.ruid() == row.contact.ruid()
                    && known.facts.modified == row.contact.facts.modified
            };
            // What is known here of the same state is more: its connection, for example.
            let contact = before.iter().find(is_it).cloned().unwrap_or_else(|| {
                let listener = listener_of(host.listeners(), &row.socket);
                let mut contact = reachable(row.contact.clone(), listener);
                contact.facts.version = self.next_version(host);
                contact
            });
            contacts.push(contact);
        }
        if self.keep(host, aor, contacts).is_err() {
            self.counters.rows_refused += 1;
        }
    }

    fn key_of(&self, row: &LocationRow) -> Option<Aor> {
        self.own_key(&row.aor)
    }

    fn own_key(&self, aor: &Aor) -> Option<Aor> {
        match aor.parts() {
            // Another writer may have kept the domain that this one has no use for.
            (user, Some(_)) if !self.settings.use_domain => Aor::new(user).ok(),
            _ => Some(aor.clone()),
        }
    }
}

/// Whether a contact has changed in nothing but its time.
fn is_as_before(before: &Contact, after: &Contact) -> bool {
    let facts = |contact: &Contact| (contact.facts.q, contact.facts.methods, contact.facts.reg_id);
    before.texts() == after.texts() && facts(before) == facts(after)
}

pub(super) fn put(
    listeners: &Listeners,
    aor: &Aor,
    contact: &Contact,
    ticket: Option<Ticket>,
    haste: Haste,
) -> Row {
    let socket = contact.facts.listener.map(|id| socket_text(listeners, id));
    let row = LocationRow {
        aor: aor.clone(),
        socket: socket.unwrap_or_default(),
        contact: contact.clone(),
    };
    Row::Put { row: Box::new(row), ticket, haste }
}

/// Whether a stored `tcp:192.0.2.1:5060` is no datagram socket.
fn is_stream(socket: &str) -> bool {
    let transport = socket.split_once(':').map_or("", |(transport, _)| transport);
    Transport::from_name(transport.as_bytes()).is_some_and(Transport::is_reliable)
}

/// A listener as `udp:192.0.2.1:5060`.
pub(crate) fn socket_text(listeners: &Listeners, id: ListenerId) -> String {
    let listener = listeners.get(id);
    listener.map_or(String::new(), |own| format!("{}:{}", own.transport, own.bound))
}

/// The listener that a stored `udp:192.0.2.1:5060` names.
pub(crate) fn listener_of(listeners: &Listeners, socket: &str) -> Option<ListenerId> {
    let (transport, address) = socket.split_once(':')?;
    let transport = Transport::from_name(transport.as_bytes())?;
    let address: SocketAddr = address.parse().ok()?;
    let mut all = listeners.iter();
    all.find(|(_, own)| own.transport == transport && own.bound == address).map(|(id, _)| id)
}

/// Finds the flow again by which a stored contact is reached. A stream did not outlive the restart.
fn reachable(mut contact: Contact, listener: Option<ListenerId>) -> Contact {
    contact.facts.listener = listener;
    contact.facts.flow = listener.and_then(|listener| {
        let received = Uri::parse(contact.texts().received).ok()?;
        let transport = received.transport().map(|name| name.as_bytes()).unwrap_or(b"udp");
        let is_udp = Transport::from_name(transport) == Some(Transport::Udp);
        let port = received.port.unwrap_or(Transport::Udp.default_port());
        let remote = SocketAddr::new(received.host.ip()?, port);
        is_udp.then_some(Flow::udp(listener, remote))
    });
    contact
}

/// The longest that nothing happens in a round of keep-alives.
pub(super) const SWEEP_TICK: Duration = ms(100);

/// How long after its start a shard begins with keep-alives: rows are loaded first.
pub(super) const SWEEP_DELAY: Duration = secs(1);
