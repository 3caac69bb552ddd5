//! A dialog's one timer: lifetime, silence, keep-alives, the last resort.
//!
//! For: doing what is due, arming what is next, in constant time.
//! Not here: what an end means (`end.rs`).
//! Invariants: a dialog has a timer as long as it lives.

use super::limits::LAST_MOMENTS;
use super::record::{Cause, Ending, Flags, Side};
use super::state::State;
use super::table::DialogId;
use super::{Dialog, Timer};
use strowger_sip::message::StatusCode;
use strowger_sip::module::Host;
use strowger_sip::routing::Reply;

impl Dialog {
    /// Arms a dialog's timer for what is due next.
    pub(super) fn rearm(&mut self, host: &mut impl Host<Dialog>, id: DialogId) {
        let Some(record) = self.table.get_mut(id) else { return };
        if let Some(timer) = record.timer.take() {
            host.cancel(timer);
        }
        record.timer = record.due().map(|due| host.arm(due, Timer::Dialog(id)));
    }

    pub(super) fn on_deadline(&mut self, host: &mut impl Host<Dialog>, id: DialogId) {
        let now = host.now();
        let Some(record) = self.table.get_mut(id) else { return };
        record.timer = None;
        let due = |at: Option<strowger_sip::time::Instant>| at.is_some_and(|at| at <= now);
        let (watch, session) = (due(record.watch), due(record.session));
        let (deadline, keep_alive) = (due(record.deadline), due(record.keep_alive));
        if watch {
            record.watch = None;
            self.watched(host, id);
        }
        if deadline {
            self.expire(host, id);
        } else if session {
            self.session_ended(host, id);
        }
        if keep_alive {
            self.keep_alive(host, id);
        }
        self.rearm(host, id);
    }

    /// A state has lasted too long.
    fn watched(&mut self, host: &mut impl Host<Dialog>, id: DialogId) {
        let now = host.now();
        let Some(record) = self.table.get_mut(id) else { return };
        match (record.state, record.ending) {
            (State::Unconfirmed | State::Early, _) => {
                self.counters.early_timeouts += 1;
                match record.invite.take() {
                    // Its response fails the dialog.
                    Some(invite) => {
                        record.watch = Some(now + LAST_MOMENTS);
                        let (code, reason) = &self.settings.early_reply;
                        host.reply(invite, Reply::new(*code).reason(reason));
                    }
                    None => self.fail(host, id, StatusCode::REQUEST_TIMEOUT),
                }
            }
            (State::ConfirmedNa, Ending::No) => {
                record.flags.set(Flags::NO_ACK, true);
                let end = now + LAST_MOMENTS;
                record.deadline = Some(record.deadline.map_or(end, |deadline| deadline.min(end)));
            }
            (State::ConfirmedNa | State::Confirmed, Ending::Asked(_)) => {
                // No answer and no timeout of the BYE's transaction: they cannot both be missing.
                self.counters.overdue += 1;
                self.close(host, id);
                self.tell_end(host, id);
            }
            (State::Confirmed, Ending::No) => {}
            (State::ConfirmedNa | State::Confirmed, Ending::Hung(_) | Ending::Told) => {}
            (State::Deleted, Ending::Hung(_) | Ending::Asked(_)) => self.tell_end(host, id),
            (State::Deleted, Ending::Told | Ending::No) => {
                self.counters.overdue += u64::from(record.holders > 0);
                self.forget(host, id);
            }
        }
    }

    /// The session was not refreshed.
    fn session_ended(&mut self, host: &mut impl Host<Dialog>, id: DialogId) {
        if let Some(record) = self.table.get_mut(id) {
            record.session = None;
        }
        if self.enforces_sessions() {
            self.terminate(host, id, Cause::SessionExpired, &Side::BOTH, &[]);
        }
    }
}
