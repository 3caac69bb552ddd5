//! The storage thread: takes orders, keeps the database busy, answers in time.
//!
//! For: one loop over everything that happens; the state of the connection that writes; degraded or
//! not.
//! Not here: what is written next (`pending.rs`), how (`writer.rs`), look-ups (`finder.rs`).
//! Invariants: the loop itself never waits for the database. Storage is degraded from the moment
//! when the database has failed twice in a row or let a batch wait too long, until it has written
//! again, or answers and nothing waits; meanwhile promises are refused at once.

use super::connection::{Connection, Failure, Role};
use super::count::count;
use super::finder::{Finder, Found, Question};
use super::load::LoadReport;
use super::outlet::Parcel;
use super::pending::{Added, Due, Giver, Pending, Settled, Waiter};
use super::questions::Questions;
use super::settings::StorageSettings;
use super::sql::Dialect;
use super::start::{Control, Ring};
use super::summary::StorageSummary;
use super::value::{Work, check};
use super::writer::{Writer, Written};
use crate::control::say;
use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::mpsc;
use std::time::{Duration, Instant};
use strowger_sip::storage::{Note, Order, Outcome, Rows};
use tokio::task::spawn_local;
use tokio::time::{timeout, timeout_at};

/// Events that are taken in before the database gets something to do.
const EVENTS_PER_ROUND: usize = 64;
/// Questions that wait for a connection that reads.
const QUESTIONS_MAX: usize = 4096;
/// Connections that read. A guess: look-ups are short.
const FINDERS: usize = 4;
/// Pauses before a connection is tried again: the first, and what doubling ends at.
const PAUSE_MIN: Duration = Duration::from_millis(100);
const PAUSE_MAX: Duration = Duration::from_secs(5);
/// A connection without work is tried out so often: who registers next shall not be the first to
/// see that the database has gone.
const PROBE_EVERY: Duration = Duration::from_secs(5);
/// A module is asked to say everything again so often at most.
const RESYNC_EVERY: Duration = Duration::from_secs(5);
/// The longest sleep; nothing depends on it.
const IDLE_MAX: Duration = Duration::from_secs(60);
/// How long a server may take to say goodbye.
const CLOSE_WITHIN: Duration = Duration::from_secs(1);
/// Rows whose faults are told one by one; the others are counted.
const REPORTS_MAX: u64 = 20;

/// Everything that happens to the thread.
pub(super) enum Event<W> {
    Parcel(Parcel<W>),
    Opened(Result<Writer, Failure>),
    Written(Written),
    Found(u64, Result<Found, Failure>),
    Loaded(LoadReport),
    Control(Control),
}

/// The way to one shard.
pub(super) struct Mailbox<W> {
    notes: flume::Sender<W>,
    ring: Ring,
    has_mail: bool,
}

impl<W> Mailbox<W> {
    pub(super) fn new(notes: flume::Sender<W>, ring: Ring) -> Mailbox<W> {
        Mailbox { notes, ring, has_mail: false }
    }
}

/// The connection that writes.
enum Link {
    /// Ready.
    Idle { writer: Writer, since: Instant },
    /// Writing, or being opened.
    Busy { since: Instant },
    /// To be opened again then.
    Down { until: Instant },
}

/// The thread's state.
pub(super) struct Thread<W> {
    settings: Arc<StorageSettings>,
    mailboxes: Vec<Mailbox<W>>,
    events: flume::Sender<Event<W>>,
    inbox: flume::Receiver<Event<W>>,
    asked: flume::Sender<Question>,
    pending: Pending,
    questions: Questions,
    link: Link,
    // Failures since something was written.
    strikes: u32,
    pause: Duration,
    // Modules that are to be asked to say everything again, and when that may be.
    forgetful: BTreeSet<Giver>,
    resync_at: Instant,
    summary: StorageSummary,
    stop: Option<(Instant, mpsc::Sender<StorageSummary>)>,
}

impl<W: Rows> Thread<W> {
    pub(super) fn new(
        settings: Arc<StorageSettings>,
        writer: Writer,
        mailboxes: Vec<Mailbox<W>>,
        events: flume::Sender<Event<W>>,
        inbox: flume::Receiver<Event<W>>,
    ) -> Thread<W> {
        let (asked, questions) = flume::bounded(QUESTIONS_MAX);
        for _ in 0..FINDERS {
            let finder = Finder::new(Arc::clone(&settings));
            spawn_local(find(finder, questions.clone(), events.clone()));
        }
        let now = Instant::now();
        let StorageSettings { queue_bytes, flush_interval, batch_rows, .. } = *settings;
        let backend = settings.database.dialect().name();
        Thread {
            settings,
            mailboxes,
            events,
            inbox,
            asked,
            pending: Pending::new(queue_bytes, flush_interval, batch_rows),
            questions: Questions::default(),
            link: Link::Idle { writer, since: now },
            strikes: 0,
            pause: PAUSE_MIN,
            forgetful: BTreeSet::new(),
            resync_at: now,
            summary: StorageSummary { backend, ..StorageSummary::default() },
            stop: None,
        }
    }

    /// Runs until it is told to stop and has written what waited.
    pub(super) async fn run(mut self) {
        loop {
            let now = Instant::now();
            let wake = self.next_wake(now);
            if let Ok(Ok(event)) = timeout_at(wake.into(), self.inbox.recv_async()).await {
                self.handle(event);
                for _ in 1..EVENTS_PER_ROUND {
                    let Ok(event) = self.inbox.try_recv() else { break };
                    self.handle(event);
                }
            }
            let now = Instant::now();
            self.expire(now);
            self.work(now);
            self.ring();
            if self.stop.as_ref().is_some_and(|(until, _)| self.is_done(now, *until)) {
                return self.end().await;
            }
        }
    }

    fn handle(&mut self, event: Event<W>) {
        let now = Instant::now();
        match event {
            Event::Parcel(Parcel { shard, rows, lost }) => {
                self.forgetful.extend(lost.into_iter().map(|place| Giver { shard, place }));
                for (place, order) in rows.into_iter().filter_map(W::into_order) {
                    self.summary.orders += 1;
                    self.obey(now, Giver { shard, place }, order);
                }
            }
            Event::Opened(Ok(writer)) => {
                self.link = Link::Idle { writer, since: now };
                // With rows that wait, only writing them proves that all is well.
                if self.pending.is_empty() {
                    self.recover();
                }
            }
            Event::Opened(Err(failure)) => self.fail(now, &failure),
            Event::Written(written) => self.settle(now, written),
            Event::Found(id, found) => self.answer(id, found),
            Event::Loaded(LoadReport { rows, skipped, faults }) => {
                self.summary.loaded += rows;
                self.summary.skipped += skipped;
                faults.iter().for_each(|fault| say(&format!("storage: row skipped: {fault}")));
                if skipped > 0 {
                    say(&format!("storage: {rows} rows loaded, {skipped} skipped"));
                }
            }
            Event::Control(Control::Report(to)) => drop(to.send(self.summary())),
            Event::Control(Control::Count(table, what, now, to)) => {
                let settings = Arc::clone(&self.settings);
                spawn_local(async move {
                    let counted = count(&settings, table, what, now).await;
                    let _ = to.send(counted.map_err(|failure| failure.to_string()));
                });
            }
            Event::Control(Control::Stop { until, done }) => {
                self.pending.hurry();
                self.stop = Some((until, done));
            }
        }
    }

    fn obey(&mut self, now: Instant, giver: Giver, order: Order) {
        let Order { table, ticket, haste, .. } = order;
        let until = now + self.settings.timeout;
        let waiter = ticket.map(|ticket| Waiter { giver, ticket, until });
        let work = match check(table, order) {
            Ok(work) => work,
            Err(fault) => {
                self.report_unusable(&fault.to_string());
                return waiter.into_iter().for_each(|waiter| self.refuse(waiter));
            }
        };
        match (work, waiter) {
            // Nobody to tell.
            (Work::Find(_), None) => {}
            (Work::Find(by), Some(waiter)) => {
                let id = self.questions.ask(waiter);
                let question = Question { id, table, by, until };
                if self.asked.try_send(question).is_err() {
                    self.questions.close(id);
                    self.refuse(waiter);
                }
            }
            (Work::Change(..), Some(waiter)) if self.summary.degraded => self.refuse(waiter),
            (Work::Change(key, change), waiter) => {
                match self.pending.add(now, key, change, haste, waiter) {
                    Added::Taken => {}
                    Added::Full => match waiter {
                        Some(waiter) => self.refuse(waiter),
                        None => {
                            self.summary.dropped += 1;
                            self.forgetful.insert(giver);
                        }
                    },
                }
            }
        }
    }

    /// Gives the database something to do.
    fn work(&mut self, now: Instant) {
        match &self.link {
            Link::Busy { since } if *since + self.settings.timeout <= now => {
                self.degrade("it takes too long");
            }
            Link::Busy { .. } => {}
            Link::Down { until } if *until <= now => self.open(now),
            Link::Down { .. } => {}
            Link::Idle { since, .. } => {
                let since = *since;
                let is_due = match self.pending.due() {
                    // Only what is written proves that the database is back.
                    Some(_) if self.summary.degraded => true,
                    Some(Due::AtOnce) => true,
                    Some(Due::At(at)) => at <= now,
                    None => false,
                };
                if is_due {
                    self.write(now);
                } else if self.probes() && since + PROBE_EVERY <= now {
                    self.probe(now);
                }
            }
        }
        let may_resync = !self.summary.degraded && self.pending.has_room();
        if may_resync && !self.forgetful.is_empty() && self.resync_at <= now {
            self.resync_at = now + RESYNC_EVERY;
            for giver in std::mem::take(&mut self.forgetful) {
                self.summary.resyncs += 1;
                self.tell(giver, Note::Resync);
            }
        }
    }

    /// A file does not go away by itself.
    fn probes(&self) -> bool {
        match self.settings.database.dialect() {
            Dialect::Sqlite => false,
            Dialect::Postgres | Dialect::MySql => true,
        }
    }

    /// Takes the writer; whoever gets it gives it back by an event.
    fn take_writer(&mut self, now: Instant) -> Option<Writer> {
        match std::mem::replace(&mut self.link, Link::Busy { since: now }) {
            Link::Idle { writer, .. } => Some(writer),
            Link::Busy { .. } | Link::Down { .. } => None,
        }
    }

    fn write(&mut self, now: Instant) {
        let batch = self.pending.take();
        if batch.is_empty() {
            return;
        }
        let Some(writer) = self.take_writer(now) else { return };
        let events = self.events.clone();
        spawn_local(async move {
            let written = writer.write(batch).await;
            let _ = events.send_async(Event::Written(written)).await;
        });
    }

    fn probe(&mut self, now: Instant) {
        let Some(writer) = self.take_writer(now) else { return };
        let events = self.events.clone();
        spawn_local(async move {
            let probed = writer.probe().await;
            let _ = events.send_async(Event::Opened(probed)).await;
        });
    }

    fn open(&mut self, now: Instant) {
        self.link = Link::Busy { since: now };
        let (settings, events) = (Arc::clone(&self.settings), self.events.clone());
        spawn_local(async move {
            let opened = Connection::open(&settings, Role::of_this_process()).await;
            let opened = opened.map(|connection| Writer::new(connection, settings.timeout));
            let _ = events.send_async(Event::Opened(opened)).await;
        });
    }

    fn settle(&mut self, now: Instant, written: Written) {
        let Written { writer, batch, fates, failure, unusable } = written;
        let done = fates.iter().filter(|fate| **fate == super::pending::Fate::Done).count();
        if let Link::Busy { since } = &self.link {
            self.summary.latency.note(now.duration_since(*since));
        }
        self.summary.batches += 1;
        self.summary.written += u64::try_from(done).unwrap_or(u64::MAX);
        let fate = |place| fates.get(place).copied().unwrap_or(super::pending::Fate::Failed);
        let Settled { durable, refused } = self.pending.settle(now, batch, fate);
        unusable.iter().for_each(|fault| self.report_unusable(fault));
        for Waiter { giver, ticket, .. } in durable {
            self.summary.durable += 1;
            self.tell(giver, Note::Settled(ticket, Outcome::Durable));
        }
        refused.into_iter().for_each(|waiter| self.refuse(waiter));
        match (writer, failure) {
            (Some(writer), _) => {
                self.link = Link::Idle { writer, since: now };
                self.recover();
            }
            (None, Some(failure)) => self.fail(now, &failure),
            (None, None) => self.open(now),
        }
    }

    fn answer(&mut self, id: u64, found: Result<Found, Failure>) {
        let Some(waiter) = self.questions.close(id) else { return };
        match found {
            Ok(Found { table, mut records, faults }) => {
                self.summary.found += 1;
                faults.iter().for_each(|fault| self.report_skipped(&fault.to_string()));
                records.retain(|record| {
                    let fault = W::check(waiter.giver.place, table, record).err();
                    fault.iter().for_each(|fault| self.report_skipped(&fault.to_string()));
                    fault.is_none()
                });
                self.tell(waiter.giver, Note::Found(waiter.ticket, records));
            }
            Err(_) => self.refuse(waiter),
        }
    }

    /// The connection failed. The first time a new one is tried at once: a server that was
    /// restarted, or closed what was idle, costs nobody a promise.
    fn fail(&mut self, now: Instant, failure: &Failure) {
        self.summary.failures += 1;
        self.strikes += 1;
        if self.strikes == 1 {
            return self.open(now);
        }
        self.degrade(&failure.to_string());
        self.link = Link::Down { until: now + self.pause };
        // Who wants to stop has no time to lose.
        let longest = if self.stop.is_some() { PAUSE_MIN } else { PAUSE_MAX };
        self.pause = (self.pause * 2).min(longest);
    }

    fn degrade(&mut self, cause: &str) {
        if !self.summary.degraded {
            self.summary.degraded = true;
            self.summary.degradations += 1;
            say(&format!("storage degraded: {}: {cause}", self.settings.database));
        }
        let refused = self.pending.give_up();
        refused.into_iter().for_each(|waiter| self.refuse(waiter));
    }

    fn recover(&mut self) {
        self.strikes = 0;
        self.pause = PAUSE_MIN;
        if std::mem::take(&mut self.summary.degraded) {
            let waiting = self.pending.len();
            say(&format!("storage is back: {}, {waiting} rows wait", self.settings.database));
        }
    }

    fn expire(&mut self, now: Instant) {
        let late = self.pending.expire(now);
        let unanswered = self.questions.expire(now);
        late.into_iter().chain(unanswered).for_each(|waiter| self.refuse(waiter));
    }

    fn refuse(&mut self, waiter: Waiter) {
        self.summary.refused += 1;
        self.tell(waiter.giver, Note::Settled(waiter.ticket, Outcome::Refused));
    }

    fn tell(&mut self, giver: Giver, note: Note) {
        let row = match W::from_note(giver.place, note) {
            Ok(Some(row)) => row,
            Ok(None) => return,
            Err(fault) => return self.report_skipped(&fault.to_string()),
        };
        let Some(mailbox) = self.mailboxes.get_mut(giver.shard) else { return };
        // A shard that is gone needs no answer.
        if let Err(flume::TrySendError::Full(_)) = mailbox.notes.try_send(row) {
            self.summary.notes_lost += 1;
        }
        mailbox.has_mail = true;
    }

    /// After the rows, so that none is overlooked.
    fn ring(&mut self) {
        for mailbox in self.mailboxes.iter_mut().filter(|mailbox| mailbox.has_mail) {
            mailbox.has_mail = false;
            (mailbox.ring)();
        }
    }

    fn report_unusable(&mut self, fault: &str) {
        self.summary.unusable += 1;
        if self.summary.unusable <= REPORTS_MAX {
            say(&format!("storage: row cannot be written: {fault}"));
        }
    }

    fn report_skipped(&mut self, fault: &str) {
        self.summary.skipped += 1;
        if self.summary.skipped <= REPORTS_MAX {
            say(&format!("storage: row skipped: {fault}"));
        }
    }

    fn summary(&self) -> StorageSummary {
        let count = |n: usize| u64::try_from(n).unwrap_or(u64::MAX);
        StorageSummary {
            waiting: count(self.pending.len()),
            waiting_bytes: count(self.pending.bytes()),
            resyncs_due: count(self.forgetful.len()),
            ..self.summary.clone()
        }
    }

    /// When there is something to do that no event announces.
    fn next_wake(&self, now: Instant) -> Instant {
        let link = match &self.link {
            Link::Idle { since, .. } => match self.pending.due() {
                Some(_) if self.summary.degraded => Some(now),
                Some(Due::AtOnce) => Some(now),
                Some(Due::At(at)) => Some(at),
                None => self.probes().then_some(*since + PROBE_EVERY),
            },
            Link::Busy { since } if !self.summary.degraded => Some(*since + self.settings.timeout),
            Link::Busy { .. } => None,
            Link::Down { until } => Some(*until),
        };
        let resync = (!self.forgetful.is_empty()).then(|| self.resync_at.max(now + PAUSE_MIN));
        let stop = self.stop.as_ref().map(|(until, _)| *until);
        let expiry = [self.pending.next_expiry(), self.questions.next_expiry()];
        let wakes = [link, resync, stop].into_iter().chain(expiry).flatten();
        wakes.fold(now + IDLE_MAX, Instant::min)
    }

    fn is_done(&self, now: Instant, until: Instant) -> bool {
        now >= until || (self.pending.is_empty() && self.inbox.is_empty())
    }

    async fn end(mut self) {
        let summary = self.summary();
        if let Some(writer) = self.take_writer(Instant::now()) {
            // What was written is committed, whether the server hears this or not.
            let _ = timeout(CLOSE_WITHIN, writer.close()).await;
        }
        if let Some((_, done)) = self.stop.take() {
            let _ = done.send(summary);
        }
    }
}

/// One connection's worth of look-ups.
async fn find<W>(
    mut finder: Finder,
    questions: flume::Receiver<Question>,
    events: flume::Sender<Event<W>>,
) {
    while let Ok(question) = questions.recv_async().await {
        if question.until <= Instant::now() {
            continue;
        }
        let found = finder.answer(&question).await;
        if events.send_async(Event::Found(question.id, found)).await.is_err() {
            return;
        }
    }
}
