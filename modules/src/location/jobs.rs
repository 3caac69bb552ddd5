//! Operations on this shard's addresses, and those among them that wait for storage.
//!
//! For: what is asked of an address by a routing here or on another shard, a command, a timer.
//! Realtime: the answer waits until storage has made the change durable, or the change is undone.
//! Database only: the address is read from storage before it is worked on.
//! Not here: the change itself (`change.rs`, `apply.rs`).
//! Invariants: a job ends once: by storage's answers or by its timer, and its asker hears of it.

use super::aor::Aor;
use super::apply::Undo;
use super::attributes::{self, AttributeRow};
use super::change::Refusal;
use super::contact::Contact;
use super::event::{Asked, Replied};
use super::peer::{Answer, Operation, Peer};
use super::row::{LocationRow, Row};
use super::settings::DbMode;
use super::{Location, Timer};
use crate::ask::AskId;
use strowger_sip::date::UnixTime;
use strowger_sip::module::Host;
use strowger_sip::shard::ShardId;
use strowger_sip::storage::{Outcome, Ticket};
use strowger_sip::time::{Duration, secs};
use strowger_sip::transaction::Id;
use strowger_sip::wheel::TimerId;

/// How long storage may take. A guess: it answers every ticket, so this is for a storage that died.
const STORAGE_PATIENCE: Duration = secs(4);

/// Marks ids of jobs.
#[derive(Debug)]
pub enum JobMark {}

/// Names an operation that waits for storage; its tickets carry the number.
pub(super) type JobId = Id<JobMark>;

/// Who hears how an operation ended.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Asker {
    /// A routing of this shard or another one.
    Routing { shard: ShardId, ask: AskId },
    /// A module of this shard.
    Module { by: &'static str, number: u64 },
}

/// An operation that waits for storage.
#[derive(Debug)]
pub(crate) struct Job {
    /// Nobody, when a command or a timer began it.
    asker: Option<Asker>,
    timer: Option<TimerId>,
    stage: Stage,
}

#[derive(Debug)]
pub(super) enum Stage {
    /// For the rows of the address that it works on, and for those of its contacts' attributes.
    Reading {
        operation: Operation,
        contacts: Option<Vec<LocationRow>>,
        attributes: Option<Vec<AttributeRow>>,
    },
    /// For its rows to be durable.
    Writing { aor: Aor, answer: Answer, rows_left: usize, refused: bool, undo: Vec<Undo> },
    /// For the last row of a step of a resynchronisation.
    Repeating,
}

impl Location {
    /// Carries out an operation on an address of this shard; `Err` names the job that waits.
    pub(super) fn perform(
        &mut self,
        host: &mut impl Host<Location>,
        operation: Operation,
    ) -> Result<Answer, JobId> {
        if self.settings.db_mode != DbMode::DatabaseOnly {
            return self.execute(host, operation);
        }
        let aor = operation.aor().clone();
        let stage = Stage::Reading { operation, contacts: None, attributes: None };
        let Some(job) = self.open_job(host, stage) else { return Ok(self.no_room()) };
        host.store(Row::Find(aor.clone(), Ticket(job.as_u64())));
        host.store(Row::FindAttributes(aor, Ticket(job.as_u64())));
        Err(job)
    }

    fn execute(
        &mut self,
        host: &mut impl Host<Location>,
        operation: Operation,
    ) -> Result<Answer, JobId> {
        let change = match operation {
            Operation::Find { aor, expired_too } => {
                let today = if expired_too { UnixTime::default() } else { self.today(host) };
                let newest_first = self.settings.desc_time_order;
                let found = ordered(self.contacts_here(&aor), today, newest_first);
                return Ok(Answer::Found(found));
            }
            Operation::Change(change) => change,
        };
        let waits = self.is_promised();
        if waits && self.jobs.len() >= super::JOBS_MAX {
            return Ok(self.no_room());
        }
        let aor = change.aor.clone();
        let (answer, written) = match self.apply(host, change, waits) {
            Ok(done) => done,
            Err(refusal) => return Ok(Answer::Refused(refusal)),
        };
        if !waits || written.is_empty() {
            return Ok(Answer::Changed(answer));
        }
        let stage = Stage::Writing {
            aor: aor.clone(),
            answer: Answer::Changed(answer),
            rows_left: written.len(),
            refused: false,
            undo: written,
        };
        let Some(job) = self.open_job(host, stage) else { return Ok(self.no_room()) };
        self.write_promised(host, &aor, job);
        Err(job)
    }

    /// Whether a change's answer waits for storage.
    fn is_promised(&self) -> bool {
        match self.settings.db_mode {
            DbMode::Realtime | DbMode::DatabaseOnly => true,
            DbMode::Memory | DbMode::Delayed | DbMode::LoadOnly => false,
        }
    }

    fn write_promised(&mut self, host: &mut impl Host<Location>, aor: &Aor, job: JobId) {
        let ticket = Some(Ticket(job.as_u64()));
        let Some(Job { stage: Stage::Writing { undo, .. }, .. }) = self.jobs.get(job) else {
            return;
        };
        let rows: Vec<Row> =
            undo.iter().filter_map(|undo| self.row_after(host, aor, undo, ticket)).collect();
        let orders: usize = rows.into_iter().map(|row| self.store(host, row)).sum();
        if let Some(Job { stage: Stage::Writing { rows_left, .. }, .. }) = self.jobs.get_mut(job) {
            *rows_left = orders;
        }
    }

    fn no_room(&mut self) -> Answer {
        self.counters.overload += 1;
        Answer::Refused(Refusal::Unavailable)
    }

    pub(super) fn open_job(
        &mut self,
        host: &mut impl Host<Location>,
        stage: Stage,
    ) -> Option<JobId> {
        let id = self.jobs.insert(Job { asker: None, timer: None, stage }).ok()?;
        let timer = host.arm(host.now() + STORAGE_PATIENCE, Timer::Job(id));
        if let Some(job) = self.jobs.get_mut(id) {
            job.timer = Some(timer);
        }
        Some(id)
    }

    /// A module of this shard asks.
    pub(super) fn asked(&mut self, host: &mut impl Host<Location>, asked: &Asked) {
        let Asked { by, number, operation } = asked.clone();
        match self.perform(host, operation) {
            Ok(answer) => host.publish(Replied { to: by, number, answer }),
            Err(job) => self.answer_to(job, Asker::Module { by, number }),
        }
    }

    /// Says who is to hear how a job ends.
    pub(super) fn answer_to(&mut self, job: JobId, asker: Asker) {
        if let Some(job) = self.jobs.get_mut(job) {
            job.asker = Some(asker);
        }
    }

    /// Storage has ended one of a job's orders.
    pub(super) fn settled(
        &mut self,
        host: &mut impl Host<Location>,
        ticket: Ticket,
        outcome: Outcome,
    ) {
        let id = JobId::from_u64(ticket.0);
        match self.jobs.get_mut(id).map(|job| &mut job.stage) {
            Some(Stage::Writing { rows_left, refused, .. }) => {
                *rows_left = rows_left.saturating_sub(1);
                *refused |= outcome == Outcome::Refused;
                if *rows_left == 0 {
                    self.finish(host, id);
                }
            }
            Some(Stage::Repeating) => {
                self.close_job(host, id);
                self.said(host, outcome);
            }
            Some(Stage::Reading { .. }) => match outcome {
                Outcome::Durable => {}
                Outcome::Refused => self.finish(host, id),
            },
            None => {}
        }
    }

    /// Storage has found the rows of the address that a job works on.
    pub(super) fn found(
        &mut self,
        host: &mut impl Host<Location>,
        ticket: Ticket,
        rows: Vec<LocationRow>,
    ) {
        let id = JobId::from_u64(ticket.0);
        if let Some(Stage::Reading { contacts, .. }) =
            self.jobs.get_mut(id).map(|job| &mut job.stage)
        {
            *contacts = Some(rows);
        }
        self.go_on(host, id);
    }

    /// Storage has found their attributes.
    pub(super) fn found_attributes(
        &mut self,
        host: &mut impl Host<Location>,
        ticket: Ticket,
        rows: Vec<AttributeRow>,
    ) {
        let id = JobId::from_u64(ticket.0);
        let stage = self.jobs.get_mut(id).map(|job| &mut job.stage);
        if let Some(Stage::Reading { attributes, .. }) = stage {
            *attributes = Some(rows);
        }
        self.go_on(host, id);
    }

    /// Goes on with a job that has read everything.
    fn go_on(&mut self, host: &mut impl Host<Location>, id: JobId) {
        let whole = matches!(
            self.jobs.get(id).map(|job| &job.stage),
            Some(Stage::Reading { contacts: Some(_), attributes: Some(_), .. })
        );
        if !whole {
            return;
        }
        let Some(Job {
            asker,
            timer,
            stage:
                Stage::Reading { operation, contacts: Some(mut rows), attributes: Some(attributes) },
        }) = self.jobs.remove(id)
        else {
            return;
        };
        for attribute in attributes {
            let of = rows.iter_mut().find(|row| row.contact.ruid() == &*attribute.ruid);
            if let Some(row) = of
                && let Some(joined) = attributes::joined(&row.contact, &attribute)
            {
                row.contact = joined;
                self.attributed.insert(attribute.ruid);
            }
        }
        timer.map(|timer| host.cancel(timer));
        self.replace(host, operation.aor(), rows);
        match self.execute(host, operation) {
            Ok(answer) => self.deliver(host, asker, answer),
            Err(job) => {
                if let Some(asker) = asker {
                    self.answer_to(job, asker);
                }
            }
        }
    }

    /// Storage has not answered in time: as if it had refused.
    pub(super) fn give_up(&mut self, host: &mut impl Host<Location>, id: JobId) {
        let Some(job) = self.jobs.get_mut(id) else { return };
        job.timer = None;
        if let Stage::Writing { refused, .. } = &mut job.stage {
            *refused = true;
        }
        self.finish(host, id);
    }

    fn close_job(&mut self, host: &mut impl Host<Location>, id: JobId) -> Option<Job> {
        let job = self.jobs.remove(id)?;
        job.timer.map(|timer| host.cancel(timer));
        Some(job)
    }

    fn finish(&mut self, host: &mut impl Host<Location>, id: JobId) {
        let Some(Job { asker, stage, .. }) = self.close_job(host, id) else { return };
        let answer = match stage {
            Stage::Writing { refused: false, answer, .. } => answer,
            Stage::Writing { refused: true, aor, undo, .. } => {
                self.undo(host, &aor, undo);
                Answer::Refused(Refusal::NotDurable)
            }
            Stage::Reading { .. } => Answer::Refused(Refusal::NotDurable),
            Stage::Repeating => return self.said(host, Outcome::Refused),
        };
        self.deliver(host, asker, answer);
    }

    fn deliver(&mut self, host: &mut impl Host<Location>, asker: Option<Asker>, answer: Answer) {
        match asker {
            Some(Asker::Routing { shard, ask }) if shard == host.shard() => {
                self.asks.answer(host, ask, answer);
            }
            Some(Asker::Routing { shard, ask }) => host.tell(shard, Peer::Answer { ask, answer }),
            Some(Asker::Module { by, number }) => {
                host.publish(Replied { to: by, number, answer });
            }
            None => {}
        }
    }
}

/// The contacts that are good, best first: by q, or the newest first.
pub(super) fn ordered(contacts: &[Contact], today: UnixTime, newest_first: bool) -> Vec<Contact> {
    let current = contacts.iter().filter(|contact| contact.is_current(today));
    let mut current: Vec<Contact> = current.cloned().collect();
    // Both sorts are stable: equals stay in the order of registration.
    if newest_first {
        current.sort_by_key(|contact| std::cmp::Reverse(contact.facts.modified));
    } else {
        current.sort_by_key(|contact| std::cmp::Reverse(contact.facts.q.unwrap_or(0)));
    }
    current
}
