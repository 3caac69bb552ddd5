//! Keep-alives: OPTIONS within the dialog, to find calls whose party is gone.
//!
//! For: one request an interval to each party that is to be asked, at a time of its own.
//! Not here: the timer (`timer.rs`), writing the request (`local.rs`).
//! Invariants: a keep-alive never uses a number that a party may use next.

use super::end::status_of;
use super::limits::LAST_MOMENTS;
use super::local::{Local, Sent};
use super::record::{Ending, Flags, Side};
use super::state::State;
use super::table::DialogId;
use super::{Dialog, Token, today};
use strowger_sip::module::{Heard, Host};
use strowger_sip::time::{Duration, Instant};

impl Side {
    pub(super) fn keep_alive_flag(self) -> Flags {
        match self {
            Side::Caller => Flags::KA_CALLER,
            Side::Callee => Flags::KA_CALLEE,
        }
    }
}

impl Dialog {
    /// When the next keep-alive of a dialog is due: about an interval from here, on a tick of
    /// `ka_timer`.
    fn next_keep_alive(&self, host: &mut impl Host<Dialog>) -> Option<Instant> {
        let (tick, interval) = (self.settings.keep_alive.tick?, self.settings.keep_alive.interval?);
        let jitter = interval * u32::from(self.settings.keep_alive.jitter_percent) / 100;
        let spread = u64::try_from(jitter.as_micros()).unwrap_or(0).saturating_mul(2);
        let shift = Duration::from_micros(host.entropy().below(spread.saturating_add(1)));
        let due = host.now() + interval + shift - Instant::START;
        let due = due.saturating_sub(jitter).as_micros();
        let tick = tick.as_micros().max(1);
        let micros = due.div_ceil(tick) * tick;
        Some(Instant::from_micros(u64::try_from(micros).unwrap_or(u64::MAX)))
    }

    /// The dialog is established, or somebody has asked for keep-alives since.
    pub(super) fn start_keep_alive(&mut self, host: &mut impl Host<Dialog>, id: DialogId) {
        let next = self.next_keep_alive(host);
        if let Some(record) = self.table.get_mut(id) {
            let wanted = Side::BOTH.iter().any(|side| record.flags.has(side.keep_alive_flag()));
            let open = record.state == State::Confirmed && record.ending == Ending::No;
            record.keep_alive = next.filter(|_| wanted && open);
        }
    }

    /// A keep-alive is due.
    pub(super) fn keep_alive(&mut self, host: &mut impl Host<Dialog>, id: DialogId) {
        if let Some(record) = self.table.get_mut(id) {
            record.keep_alive = None;
        }
        for to in Side::BOTH {
            let Some(record) = self.table.get(id) else { return };
            let open = record.state == State::Confirmed && record.ending == Ending::No;
            let foreign = self.settings.filter_foreign && record.leg(to).listener.is_none();
            if !open || foreign || !record.flags.has(to.keep_alive_flag()) {
                continue;
            }
            let seen = record.leg(to.other());
            let last = seen.cseq.map_or(0, |number| number.saturating_add(seen.shift));
            let number = last.saturating_sub(1);
            let settings = std::rc::Rc::clone(&self.settings);
            let headers = if to == Side::Callee { &settings.callee_headers[..] } else { &[] };
            let local = Local { method: "OPTIONS", number, headers, body: None };
            match self.send_local(host, id, to, &local, Token::KeepAlive(id, to)) {
                Sent::Yes => {
                    if let Some(record) = self.table.get_mut(id) {
                        record.holders = record.holders.saturating_add(1);
                    }
                }
                Sent::Later | Sent::No => self.counters.unsent += 1,
            }
        }
        self.start_keep_alive(host, id);
    }

    pub(super) fn keep_alive_answered(
        &mut self,
        host: &mut impl Host<Dialog>,
        id: DialogId,
        to: Side,
        heard: Heard<'_>,
    ) {
        let status = status_of(heard);
        if status.is_provisional() {
            return;
        }
        let (now, day) = (host.now(), today(host));
        let limit = self.settings.keep_alive.failed_limit;
        let Some(record) = self.table.get_mut(id) else { return };
        record.holders = record.holders.saturating_sub(1);
        let leg = record.leg_mut(to);
        if matches!(status.code(), 408 | 481) {
            leg.ka_failures = leg.ka_failures.saturating_add(1);
        } else {
            // It may well dislike the number (500): it is there all the same.
            (leg.ka_failures, leg.ka_answered) = (0, day);
        }
        let gone = leg.ka_failures >= limit;
        if gone && record.state == State::Confirmed && record.ending == Ending::No {
            record.flags.set(Flags::CUT, true);
            record.keep_alive = None;
            let end = now + LAST_MOMENTS;
            record.deadline = Some(record.deadline.map_or(end, |deadline| deadline.min(end)));
            self.rearm(host, id);
        }
        self.forget_if_free(host, id);
    }
}
