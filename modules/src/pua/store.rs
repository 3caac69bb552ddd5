//! When records are written, how they come back, and those that only storage keeps.
//!
//! For: `db_mode`, `update_period`, what was there before a restart.
//! Not here: what a row holds (`row.rs`).
//! Invariants: loading deletes nothing; a record in memory counts for more than its row; in
//! database mode a publication that has nothing under way is not in memory, but for its name and
//! when it is due.

use super::api::{Ended, Kind, Publication, Refused};
use super::record::{Held, Leg, Matter, Publishing, Record, RecordId, Subscribing, Until, Waiter};
use super::row::{PuaRow, Row};
use super::series::Series;
use super::settings::DbMode;
use super::{Pua, Timer};
use std::collections::VecDeque;
use strowger_sip::module::Host;
use strowger_sip::shard::ShardId;
use strowger_sip::storage::{Haste, Ticket, Version};
use strowger_sip::table::Map;
use strowger_sip::time::{Duration, Instant, ms, secs};
use strowger_sip::transaction::{Id, Slab};
use strowger_sip::wheel::TimerId;

/// How many rows are written at once.
const FLUSH_MAX: usize = 256;
/// How soon the next so many are. A guess: storage takes some thousands a second.
const FLUSH_PAUSE: Duration = ms(20);
/// How long a read may take. A guess: longer than a slow database, shorter than timer F.
const PATIENCE: Duration = secs(5);
/// Most calls that wait for one row.
const QUEUED_MAX: usize = 8;
/// Most reads under way. A guess: what a slow database leaves behind in the time of [`PATIENCE`].
const READINGS_MAX: usize = 65_536;
/// How soon after a start what is due is sent at the latest, so that not all is sent at once.
const START_SPREAD: Duration = secs(2);
/// A dialog's numbers go on so much higher after a restart: the last ones may not be in its row.
const CSEQ_AHEAD: u32 = 64;
/// How soon a record is looked at again that storage did not give.
const READ_AGAIN_AFTER: Duration = secs(10);

/// Marks ids of sleepers.
#[derive(Debug)]
pub enum SleeperMark {}

/// Names a publication that only storage keeps.
pub type SleeperId = Id<SleeperMark>;

#[derive(Debug)]
struct Sleeper {
    name: Box<str>,
    timer: TimerId,
}

/// A call that waits for its row.
#[derive(Debug)]
pub(super) enum Queued {
    Publication(Publication, ShardId),
}

/// Marks ids of reads.
#[derive(Debug)]
pub enum ReadingMark {}

/// Names a read under way.
pub type ReadingId = Id<ReadingMark>;

/// A read under way.
#[derive(Debug)]
struct Reading {
    name: Box<str>,
    timer: TimerId,
    queued: Vec<Queued>,
}

/// The module's dealings with storage.
#[derive(Debug)]
pub(super) struct Store {
    is_on: bool,
    dirty: VecDeque<RecordId>,
    last_version: u64,
    readings: Slab<Reading, ReadingMark>,
    /// Which read is under way for a name.
    reads: Map<Box<str>, ReadingId>,
    sleepers: Slab<Sleeper, SleeperMark>,
    asleep: Map<Box<str>, SleeperId>,
    /// Where writing everything again has got to.
    resync: Option<usize>,
}

impl Store {
    pub(super) fn new(is_on: bool) -> Store {
        Store {
            is_on,
            dirty: VecDeque::new(),
            last_version: 0,
            readings: Slab::new(0, READINGS_MAX),
            reads: Map::new((0, 0)),
            sleepers: Slab::new(0, u32::MAX as usize - 1),
            asleep: Map::new((0, 0)),
            resync: None,
        }
    }
}

impl Pua {
    pub(super) fn start_store(&mut self, host: &mut impl Host<Pua>) {
        self.store.asleep = Map::new(host.entropy().keys());
        self.store.reads = Map::new(host.entropy().keys());
        if let Some(period) = self.settings.update_period.filter(|_| self.store.is_on) {
            host.arm(host.now() + period, Timer::Flush);
        }
    }

    /// How many publications only storage keeps.
    pub(super) fn sleepers(&self) -> u64 {
        self.store.sleepers.len() as u64
    }

    fn is_database(&self) -> bool {
        self.store.is_on && self.settings.db_mode == DbMode::Database
    }

    /// What a row is called: in memory mode each node of one table has rows of its own.
    fn row_name(&self, name: &str) -> String {
        match (self.settings.db_mode, self.settings.server_id) {
            (DbMode::Database, _) | (DbMode::Memory, 0) => name.to_owned(),
            (DbMode::Memory, node) => format!("{name}.{node}"),
        }
    }

    fn next_version(&mut self, host: &impl Host<Pua>) -> Version {
        let clock = u64::try_from(host.unix_time().as_micros()).unwrap_or(u64::MAX);
        self.store.last_version = clock.max(self.store.last_version + 1);
        Version(self.store.last_version)
    }

    /// A record has changed.
    pub(super) fn changed(&mut self, host: &mut impl Host<Pua>, id: RecordId) {
        if !self.store.is_on {
            return;
        }
        match self.settings.db_mode {
            DbMode::Database => self.write(host, id, Haste::Now),
            DbMode::Memory => {
                let Some(record) = self.table.get_mut(id) else { return };
                if !std::mem::replace(&mut record.is_dirty, true) {
                    self.store.dirty.push_back(id);
                }
            }
        }
    }

    fn write(&mut self, host: &mut impl Host<Pua>, id: RecordId, haste: Haste) {
        let version = self.next_version(host);
        let Some(record) = self.table.get_mut(id) else { return };
        record.is_dirty = false;
        record.is_stored = true;
        let Some(record) = self.table.get(id) else { return };
        let row = self.row_of(host, record);
        host.store(Row::Put(Box::new(row), version, haste));
    }

    /// A record is gone: so is its row.
    pub(super) fn unstore(&mut self, host: &mut impl Host<Pua>, record: &Record) {
        if self.store.is_on && record.is_stored {
            let version = self.next_version(host);
            let haste = if self.is_database() { Haste::Now } else { Haste::Later };
            host.store(Row::Remove(self.row_name(&record.name), version, haste));
        }
    }

    /// Writes what has changed, some of it at once and the rest in a moment.
    pub(super) fn flush(&mut self, host: &mut impl Host<Pua>) {
        let has_rest = self.flush_some(host);
        let period = self.settings.update_period;
        let pause = if has_rest { Some(FLUSH_PAUSE) } else { period };
        if let Some(pause) = pause {
            host.arm(host.now() + pause, Timer::Flush);
        }
    }

    fn flush_some(&mut self, host: &mut impl Host<Pua>) -> bool {
        for _ in 0..FLUSH_MAX {
            let Some(id) = self.store.dirty.pop_front() else { break };
            if self.table.get(id).is_some_and(|record| record.is_dirty) {
                self.write(host, id, Haste::Later);
            }
        }
        if let Some(from) = self.store.resync {
            let end = (from + FLUSH_MAX).min(self.table.slots());
            for slot in from..end {
                if let Some(id) = self.table.at(slot).map(|(id, _)| id) {
                    self.write(host, id, Haste::Later);
                }
            }
            self.store.resync = (end < self.table.slots()).then_some(end);
        }
        !self.store.dirty.is_empty() || self.store.resync.is_some()
    }

    /// Writes all that has changed: the node stops, or `pua.cleanup` was asked for.
    pub(super) fn write_all(&mut self, host: &mut impl Host<Pua>) {
        while self.store.is_on && self.flush_some(host) {}
    }

    pub(super) fn on_row(&mut self, host: &mut impl Host<Pua>, row: Row) {
        match row {
            Row::Loaded(row) => self.load(host, &row),
            Row::Found(ticket, rows, faulty) => {
                self.counters.rows_refused += faulty as u64;
                self.found(host, ticket, rows);
            }
            Row::Resync => {
                let was_idle = self.store.resync.replace(0).is_none();
                if was_idle {
                    host.arm(host.now() + FLUSH_PAUSE, Timer::Flush);
                }
            }
            // These go to storage, none comes from there.
            Row::Put(..) | Row::Remove(..) | Row::Find(..) => {}
        }
    }

    /// Takes in a row that was stored before this start.
    fn load(&mut self, host: &mut impl Host<Pua>, row: &PuaRow) {
        if row.server_id != self.settings.server_id {
            return;
        }
        let name = row.series.name();
        let owner = Series::home(host.map(), &name);
        if owner != host.shard() {
            let is_home =
                !row.call_id.is_empty() && host.map().home(row.call_id.as_bytes()) == host.shard();
            if is_home && self.elsewhere.len() < self.settings.records_max {
                self.elsewhere.insert(row.call_id.as_str().into(), owner);
            }
            return;
        }
        if let Some(id) = self.table.named(&name) {
            // A row without a name is older than one with it.
            let is_newer = row.is_named() && self.table.get(id).is_some_and(|it| !it.is_stored);
            if !is_newer {
                self.counters.rows_refused += 1;
                return;
            }
            self.discard(host, id);
        }
        if self.is_database() && row.series.kind == Kind::Publication {
            let spread = START_SPREAD.as_millis() as u64;
            let due = self.due_of(host, row).max(host.now() + ms(host.entropy().below(spread)));
            return self.sleep(host, &name, due);
        }
        if let Some(id) = self.restore(host, row) {
            if !row.is_named() {
                // From here on it has a row with a name.
                self.changed(host, id);
            }
            self.drive(host, id);
        }
    }

    /// Takes a record out of memory and leaves its row alone.
    pub(super) fn discard(&mut self, host: &mut impl Host<Pua>, id: RecordId) -> Option<Record> {
        let record = self.table.remove(id)?;
        if let Some((timer, _)) = record.timer {
            host.cancel(timer);
        }
        self.in_flight -= usize::from(record.flight.is_some()).min(self.in_flight);
        Some(record)
    }

    /// Makes a record of a row.
    fn restore(&mut self, host: &mut impl Host<Pua>, row: &PuaRow) -> Option<RecordId> {
        let name = row.series.name();
        let call_id = row.call_id.clone();
        if self.packages.get(row.series.event).is_none() {
            self.counters.rows_refused += 1;
            return None;
        }
        let (now, date) = (host.now(), host.unix_time().as_secs());
        let instant = |date_then: i64| {
            let left = u64::try_from(date_then).unwrap_or(0).saturating_sub(date);
            now + Duration::from_secs(left)
        };
        let spread = host.entropy().below(START_SPREAD.as_millis() as u64);
        let held_until = instant(row.expires);
        let refresh_at = now + held_until.since(now) / 2;
        let matter = match row.series.kind {
            Kind::Publication => Matter::Publishing(Publishing {
                body: row.body.as_deref().map(|body| body.as_bytes().into()),
                content_type: row.content_type.as_deref().map(Into::into),
                held: (!row.etag.is_empty() && held_until > now).then(|| Held {
                    etag: row.etag.as_str().into(),
                    until: held_until,
                    refresh_at,
                    body: u32::from(row.is_unsent),
                    life: 0,
                }),
                orphans: Vec::new(),
                tuple_id: row.tuple_id.clone(),
                version: row.version,
            }),
            Kind::Subscription => Matter::Subscribing(Box::new(Subscribing {
                contact: row.contact.as_str().into(),
                remote_target: row.remote_target.as_deref().map(Into::into),
                leg: (!row.peer_tag.is_empty() && held_until > now).then(|| Leg {
                    call_id: row.call_id.clone(),
                    own_tag: row.own_tag.clone(),
                    peer_tag: row.peer_tag.clone(),
                    cseq: row.cseq.saturating_add(CSEQ_AHEAD),
                    peer_cseq: None,
                    target: row.target.clone(),
                    routes: row.routes.clone(),
                    until: held_until,
                    refresh_at,
                    life: 0,
                    began: now,
                }),
                former: None,
                is_refused: false,
            })),
        };
        let Ok(id) = self.add(row.series.clone(), name, matter) else {
            self.counters.rows_refused += 1;
            return None;
        };
        let record = self.table.get_mut(id)?;
        record.until = match row.desired {
            0 => Until::Forever,
            end => Until::At(instant(end)),
        };
        record.outbound_proxy = row.outbound_proxy.as_deref().map(Into::into);
        record.extra_headers = row.extra_headers.as_str().into();
        record.is_stored = row.is_named();
        record.pause = Some(now + ms(spread));
        if record.leg().is_some() {
            self.table.add_call(id, &call_id);
        }
        Some(id)
    }

    fn row_of(&self, host: &impl Host<Pua>, record: &Record) -> PuaRow {
        let (now, date) = (host.now(), host.unix_time().as_secs());
        let date_of = |at: Instant| i64::try_from(date + at.since(now).as_secs()).unwrap_or(0);
        let mut row = PuaRow {
            series: record.series.clone(),
            name: self.row_name(&record.name),
            expires: 0,
            desired: match record.until {
                Until::Forever => 0,
                Until::At(end) => date_of(end),
                // Past, whenever it is read.
                Until::Gone => 1,
            },
            etag: String::new(),
            tuple_id: String::new(),
            call_id: String::new(),
            peer_tag: String::new(),
            own_tag: String::new(),
            cseq: 0,
            routes: String::new(),
            contact: String::new(),
            target: String::new(),
            version: 0,
            extra_headers: record.extra_headers.to_string(),
            outbound_proxy: record.outbound_proxy.as_deref().map(str::to_owned),
            content_type: None,
            body: None,
            is_unsent: false,
            remote_target: None,
            server_id: self.settings.server_id,
        };
        match &record.matter {
            Matter::Publishing(publishing) => {
                if let Some(held) = &publishing.held {
                    row.etag = held.etag.to_string();
                    row.expires = date_of(held.until);
                }
                row.is_unsent =
                    publishing.held.as_ref().is_none_or(|held| held.body != record.body);
                row.tuple_id.clone_from(&publishing.tuple_id);
                row.version = publishing.version;
                row.content_type = publishing.content_type.as_deref().map(str::to_owned);
                let body = publishing.body.as_deref();
                row.body = body.map(|body| String::from_utf8_lossy(body).into_owned());
            }
            Matter::Subscribing(subscribing) => {
                row.contact = subscribing.contact.to_string();
                row.remote_target = subscribing.remote_target.as_deref().map(str::to_owned);
                if let Some(leg) = &subscribing.leg {
                    row.expires = date_of(leg.until);
                    row.call_id.clone_from(&leg.call_id);
                    row.own_tag.clone_from(&leg.own_tag);
                    row.peer_tag.clone_from(&leg.peer_tag);
                    row.cseq = leg.cseq;
                    row.routes.clone_from(&leg.routes);
                    row.target.clone_from(&leg.target);
                }
            }
        }
        row
    }

    /// When the record of a row is to be looked at.
    fn due_of(&self, host: &impl Host<Pua>, row: &PuaRow) -> Instant {
        let (now, date) = (host.now(), host.unix_time().as_secs());
        let left =
            |then: i64| Duration::from_secs(u64::try_from(then).unwrap_or(0).saturating_sub(date));
        if row.is_unsent || (row.desired != 0 && left(row.desired) == Duration::ZERO) {
            return now;
        }
        now + left(row.expires) / 2
    }
}

/// Database mode.
impl Pua {
    /// A record has nothing to do at present: in database mode it leaves memory.
    pub(super) fn rest(&mut self, host: &mut impl Host<Pua>, id: RecordId) {
        let Some(record) = self.table.get_mut(id) else { return };
        if let Some(waiter) = record.waiter.take() {
            let series = record.series.clone();
            self.report(host, &series, &waiter, Ended::Nothing);
        }
        let can_sleep = self.table.get(id).is_some_and(|record| {
            record.kind() == Kind::Publication && record.is_settled() && record.is_stored
        });
        if !can_sleep || !self.is_database() {
            return;
        }
        let due = self.table.get(id).and_then(|record| record.timer).map(|(_, due)| due);
        if let Some((record, due)) = self.discard(host, id).zip(due) {
            self.sleep(host, &record.name, due);
        }
    }

    fn sleep(&mut self, host: &mut impl Host<Pua>, name: &str, due: Instant) {
        self.end_sleep(host, name);
        let id = self.store.sleepers.insert_with(|id| Sleeper {
            name: name.into(),
            timer: host.arm(due, Timer::Sleeper(id)),
        });
        if let Some(id) = id {
            self.store.asleep.insert(name.into(), id);
        }
    }

    fn end_sleep(&mut self, host: &mut impl Host<Pua>, name: &str) {
        let Some(id) = self.store.asleep.remove(name) else { return };
        if let Some(sleeper) = self.store.sleepers.remove(id) {
            host.cancel(sleeper.timer);
        }
    }

    /// The time of a publication has come that only storage keeps.
    pub(super) fn wake_sleeper(&mut self, host: &mut impl Host<Pua>, id: SleeperId) {
        let Some(sleeper) = self.store.sleepers.remove(id) else { return };
        self.store.asleep.remove(&sleeper.name);
        if self.table.named(&sleeper.name).is_none() && self.read(host, &sleeper.name).is_none() {
            let due = host.now() + READ_AGAIN_AFTER;
            self.sleep(host, &sleeper.name, due);
        }
    }

    /// In database mode: the read that a call of this name has to wait for.
    pub(super) fn wake_record(
        &mut self,
        host: &mut impl Host<Pua>,
        name: &str,
    ) -> Result<Option<ReadingId>, Refused> {
        if !self.is_database() || self.table.named(name).is_some() {
            return Ok(None);
        }
        self.read(host, name).map(Some).ok_or(Refused::Full)
    }

    /// Reads a row, unless it is being read; `None` when too many are.
    fn read(&mut self, host: &mut impl Host<Pua>, name: &str) -> Option<ReadingId> {
        if let Some(id) = self.store.reads.get(name) {
            return Some(*id);
        }
        let id = self.store.readings.insert_with(|id| Reading {
            name: name.into(),
            timer: host.arm(host.now() + PATIENCE, Timer::Reading(id)),
            queued: Vec::new(),
        })?;
        self.store.reads.insert(name.into(), id);
        host.store(Row::Find(name.to_owned(), Ticket(id.as_u64())));
        Some(id)
    }

    /// Lets a call wait for its row.
    pub(super) fn queue(
        &mut self,
        id: ReadingId,
        queued: Queued,
    ) -> Result<super::api::Taken, Refused> {
        let reading = self.store.readings.get_mut(id).ok_or(Refused::NoStorage)?;
        if reading.queued.len() >= QUEUED_MAX {
            return Err(Refused::Full);
        }
        reading.queued.push(queued);
        Ok(super::api::Taken::Accepted)
    }

    fn take_reading(&mut self, host: &mut impl Host<Pua>, id: ReadingId) -> Option<Reading> {
        let reading = self.store.readings.remove(id)?;
        self.store.reads.remove(&reading.name);
        host.cancel(reading.timer);
        Some(reading)
    }

    fn found(&mut self, host: &mut impl Host<Pua>, ticket: Ticket, rows: Vec<PuaRow>) {
        let Some(reading) = self.take_reading(host, ReadingId::from_u64(ticket.0)) else { return };
        self.end_sleep(host, &reading.name);
        let id = match rows.first() {
            Some(row) if self.table.named(&reading.name).is_none() => {
                let is_ours = row.server_id == self.settings.server_id;
                // Another node's is only read when something is wanted of it here.
                if is_ours || !reading.queued.is_empty() { self.restore(host, row) } else { None }
            }
            Some(_) | None => self.table.named(&reading.name),
        };
        if let Some(record) = id.and_then(|id| self.table.get_mut(id)) {
            record.pause = None;
            record.is_stored = true;
            let is_due = reading.queued.is_empty();
            if let Some(held) = record.publishing_mut().and_then(|it| it.held.as_mut())
                && is_due
            {
                // It was woken for its refresh, which only its sleeper knew to be due.
                held.refresh_at = host.now();
            }
        }
        for Queued::Publication(publication, from) in reading.queued {
            self.publish_queued(host, publication, from);
        }
        if let Some(id) = self.table.named(&reading.name) {
            self.drive(host, id);
        }
    }

    /// Storage has not answered.
    pub(super) fn reading_failed(&mut self, host: &mut impl Host<Pua>, id: ReadingId) {
        let Some(reading) = self.take_reading(host, id) else { return };
        if self.table.named(&reading.name).is_none() {
            let due = host.now() + READ_AGAIN_AFTER;
            self.sleep(host, &reading.name, due);
        }
        for Queued::Publication(publication, shard) in reading.queued {
            self.counters.refused += 1;
            let series = Series::of_publication(&publication);
            if let Some(cookie) = publication.cookie {
                let waiter = Waiter { shard, cookie, source: publication.source };
                self.report(host, &series, &waiter, Ended::Refused(Refused::NoStorage));
            }
        }
    }
}
