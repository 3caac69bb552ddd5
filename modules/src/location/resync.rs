//! Keeping storage at what is here: saying everything again, deleting what has ended.
//!
//! For: after an outage, and `ul.flush`: what the database has becomes what this shard has. Rows
//! that ended while no node was there to see it.
//! Invariants: one step is out at a time, and the next waits until its rows are durable: more at
//! once would find no room in storage's queue, be dropped, and have to be said again without end.
//! A step that is refused is said again, until it is durable.

use super::apply::put;
use super::jobs::Stage;
use super::row::Row;
use super::settings::DbMode;
use super::{Location, Timer};
use strowger_sip::date::UnixTime;
use strowger_sip::module::Host;
use strowger_sip::shard::ShardId;
use strowger_sip::storage::{Haste, Outcome, Ticket};
use strowger_sip::time::{Duration, secs};

/// Rows of one step, about: half a batch of storage, so that the promises of live traffic find
/// their place beside them.
const STEP_ROWS: usize = 256;
/// The pause after a step that was refused: an outage lasts seconds.
const PAUSE: Duration = secs(1);
/// Rows of other writers may be dated by another clock: only after so long has a row ended in every
/// zone of time.
const DAY: Duration = secs(86_400);

/// How far it has got.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Resync {
    /// The slots before this one have been said, and are durable.
    done: usize,
    /// Those before this one have been said.
    said: usize,
    /// Changes were dropped meanwhile: all has to be said once more.
    again: bool,
}

impl Location {
    /// Storage has dropped changes: it is told everything again.
    pub(super) fn start_resync(&mut self, host: &mut impl Host<Location>) {
        match self.settings.db_mode {
            DbMode::Memory | DbMode::LoadOnly => return,
            DbMode::Realtime | DbMode::Delayed | DbMode::DatabaseOnly => {}
        }
        if let Some(running) = &mut self.resync {
            running.again = true;
            return;
        }
        self.resync = Some(Resync::default());
        self.say_next(host);
    }

    /// The next step, or the last one once more.
    pub(super) fn say_next(&mut self, host: &mut impl Host<Location>) {
        let Some(mut resync) = self.resync else { return };
        let Some(table) = &self.table else {
            self.resync = None;
            return;
        };
        let mut rows = Vec::with_capacity(STEP_ROWS);
        resync.said = resync.done;
        while rows.len() < STEP_ROWS && resync.said < table.slots() {
            let record = table.at(resync.said).map(|(_, record)| record);
            resync.said += 1;
            let contacts = record.into_iter().flat_map(|record| {
                let stored = record.contacts.iter().filter(|contact| !contact.facts.memory_only);
                stored.map(|contact| (&record.aor, contact))
            });
            rows.extend(contacts.map(|(aor, contact)| (aor.clone(), contact.clone())));
        }
        self.resync = Some(resync);
        let Some((last_aor, last)) = rows.pop() else { return self.end_round(host) };
        let Some(job) = self.open_job(host, Stage::Repeating) else {
            return self.said(host, Outcome::Refused);
        };
        // All in haste: else the last would be durable before the others are.
        for (aor, contact) in rows {
            let row = put(host.listeners(), &aor, &contact, None, Haste::Now);
            self.store(host, row);
        }
        let ticket = Some(Ticket(job.as_u64()));
        let row = put(host.listeners(), &last_aor, &last, ticket, Haste::Now);
        // One answer ends the job: that for the contact.
        self.attributes_after(&row, false).into_iter().for_each(|row| host.store(row));
        host.store(row);
    }

    /// The last row of a step is durable, or was refused.
    pub(super) fn said(&mut self, host: &mut impl Host<Location>, outcome: Outcome) {
        match outcome {
            Outcome::Durable => {
                if let Some(resync) = &mut self.resync {
                    resync.done = resync.said;
                }
                self.say_next(host);
            }
            Outcome::Refused => {
                host.arm(host.now() + PAUSE, Timer::Resync);
            }
        }
    }

    /// One shard deletes for all of them.
    pub(super) fn start_cleaning(&mut self, host: &mut impl Host<Location>) {
        let every = self.settings.timer_interval;
        let writes = match self.settings.db_mode {
            DbMode::Memory | DbMode::LoadOnly => false,
            DbMode::Realtime | DbMode::Delayed | DbMode::DatabaseOnly => true,
        };
        // With the filter, rows of other nodes are none of this one's business.
        let others = self.settings.server_id_filter;
        if writes && !others && every > Duration::ZERO && host.shard() == ShardId(0) {
            host.arm(host.now() + every, Timer::Clean);
        }
    }

    /// Rows of ended contacts that this node has not seen end.
    pub(super) fn clean(&mut self, host: &mut impl Host<Location>) {
        let at_once = self.settings.db_timer_clean || self.settings.db_mode == DbMode::DatabaseOnly;
        let delay = self.settings.rm_expired_delay + if at_once { Duration::ZERO } else { DAY };
        let version = self.next_version(host);
        let date = UnixTime::default() + self.today(host).since(UnixTime::default() + delay);
        host.store(Row::RemoveEnded(date, version));
        self.start_cleaning(host);
    }

    fn end_round(&mut self, host: &mut impl Host<Location>) {
        let again = self.resync.take().is_some_and(|resync| resync.again);
        if again {
            self.start_resync(host);
        }
    }
}
