//! What a record does next.
//!
//! For: comparing what is wanted with what the server holds, one request at a time; refreshes,
//! pauses between attempts, the end of a record.
//! Not here: the requests and what their answers change (`publish.rs`, `subscribe.rs`).
//! Invariants: every record that stays has a request under way or a timer; what is wanted for ever
//! is tried for ever, with pauses that grow.

use super::api::{Ended, Kind};
use super::record::{Matter, Publishing, Purpose, Record, RecordId, Subscribing, Until};
use super::{Pua, Timer};
use strowger_sip::module::Host;
use strowger_sip::time::{Duration, Instant, ms, secs};

/// How much longer a server may keep a state than it is wanted without being told: what rounding
/// to seconds makes.
const ROUNDING: Duration = secs(2);
/// The longest pause between attempts.
const PAUSE_MAX: Duration = secs(300);
/// A refresh goes out so long before the end, if half of the lifetime is not earlier.
const REFRESH_AHEAD: Duration = secs(90);
/// How often in a row a publication begins anew before it is given up.
const REBUILDS_MAX: u32 = 3;

/// What a record does next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Step {
    Send(Purpose),
    Wait(Instant),
    Forget,
}

impl Record {
    /// What is to be done at this moment, while no request is under way.
    pub(super) fn step(&self, now: Instant) -> Step {
        match &self.matter {
            Matter::Publishing(publishing) => self.publishing_step(publishing, now),
            Matter::Subscribing(subscribing) => self.subscribing_step(subscribing, now),
        }
    }

    fn publishing_step(&self, publishing: &Publishing, now: Instant) -> Step {
        let held = publishing.held.as_ref().filter(|held| held.until > now);
        if self.until.is_over(now) {
            return match held {
                Some(held) if self.must_end(held.until, now) => Step::Send(Purpose::End),
                Some(_) | None if !publishing.orphans.is_empty() => Step::Send(Purpose::EndFormer),
                Some(_) | None => Step::Forget,
            };
        }
        let Some(held) = held else {
            let has_body = publishing.body.is_some();
            return if has_body { Step::Send(Purpose::Begin) } else { Step::Forget };
        };
        if held.body != self.body && publishing.body.is_some() {
            return Step::Send(Purpose::Modify);
        }
        if held.life != self.life {
            return Step::Send(Purpose::Refresh);
        }
        if !publishing.orphans.is_empty() {
            return Step::Send(Purpose::EndFormer);
        }
        self.keep(held.until, held.refresh_at, now)
    }

    fn subscribing_step(&self, subscribing: &Subscribing, now: Instant) -> Step {
        let leg = subscribing.leg.as_ref().filter(|leg| leg.until > now && leg.is_established());
        if self.until.is_over(now) || subscribing.is_refused {
            return match leg {
                Some(leg) if self.must_end(leg.until, now) => Step::Send(Purpose::End),
                Some(_) | None if subscribing.former.is_some() => Step::Send(Purpose::EndFormer),
                Some(_) | None => Step::Forget,
            };
        }
        let Some(leg) = leg else { return Step::Send(Purpose::Begin) };
        if leg.life != self.life {
            return Step::Send(Purpose::Refresh);
        }
        if subscribing.former.is_some() {
            return Step::Send(Purpose::EndFormer);
        }
        self.keep(leg.until, leg.refresh_at, now)
    }

    /// Whether the server must be told that nothing is wanted any longer.
    fn must_end(&self, held_until: Instant, now: Instant) -> bool {
        match self.until {
            Until::Gone => true,
            Until::At(_) => held_until > now + ROUNDING,
            Until::Forever => true,
        }
    }

    fn keep(&self, held_until: Instant, refresh_at: Instant, now: Instant) -> Step {
        if self.until.is_after(held_until + ROUNDING) {
            return if refresh_at <= now {
                Step::Send(Purpose::Refresh)
            } else {
                Step::Wait(refresh_at)
            };
        }
        match self.until {
            Until::At(end) => Step::Wait(end.min(held_until)),
            Until::Gone | Until::Forever => Step::Wait(held_until),
        }
    }

    /// When what the server holds ends, if it holds anything.
    fn held_until(&self) -> Option<Instant> {
        self.held().map(|held| held.until).or(self.leg().map(|leg| leg.until))
    }
}

impl Pua {
    /// Does what is to be done about a record, or arms its timer.
    pub(super) fn drive(&mut self, host: &mut impl Host<Pua>, id: RecordId) {
        let now = host.now();
        let Some(record) = self.table.get(id) else { return };
        if record.flight.is_some() {
            return self.rearm(host, id, None);
        }
        match record.step(now) {
            Step::Send(purpose) => match record.pause.filter(|pause| *pause > now) {
                None => self.send(host, id, purpose),
                Some(pause) => {
                    // What happens to the record meanwhile is its end, or the server's.
                    let end = match record.until {
                        Until::At(end) if end > now => Some(end),
                        Until::At(_) | Until::Gone | Until::Forever => record.held_until(),
                    };
                    let at = end.filter(|end| *end > now).map_or(pause, |end| end.min(pause));
                    self.rearm(host, id, Some(at));
                }
            },
            Step::Wait(at) => {
                self.rearm(host, id, Some(at));
                self.rest(host, id);
            }
            Step::Forget => {
                let ended = match record.until {
                    Until::Gone => Ended::Nothing,
                    Until::At(_) | Until::Forever => Ended::TimedOut,
                };
                self.forget(host, id, &ended);
            }
        }
    }

    /// A record's timer has come due.
    pub(super) fn due(&mut self, host: &mut impl Host<Pua>, id: RecordId) {
        let now = host.now();
        let Some(record) = self.table.get_mut(id) else { return };
        record.timer = None;
        let late = record.held().map(|held| held.refresh_at);
        let late = late.or(record.leg().map(|leg| leg.refresh_at));
        if late.is_some_and(|refresh| now > refresh + REFRESH_AHEAD) {
            self.counters.refreshes_late += 1;
        }
        self.drive(host, id);
    }

    fn rearm(&mut self, host: &mut impl Host<Pua>, id: RecordId, at: Option<Instant>) {
        let Some(record) = self.table.get_mut(id) else { return };
        if record.timer.map(|(_, armed)| armed) == at {
            return;
        }
        if let Some((timer, _)) = record.timer.take() {
            host.cancel(timer);
        }
        record.timer = at.map(|at| (host.arm(at, Timer::Record(id)), at));
    }

    /// The record is of no use any longer.
    pub(super) fn forget(&mut self, host: &mut impl Host<Pua>, id: RecordId, ended: &Ended) {
        let Some(record) = self.discard(host, id) else { return };
        if let Some(subscribing) = record.subscribing() {
            for leg in [&subscribing.leg, &subscribing.former].into_iter().flatten() {
                self.linger(host.now(), &leg.call_id);
            }
        }
        self.unstore(host, &record);
        let waiters =
            [record.waiter.clone(), record.flight.as_ref().and_then(|f| f.waiter.clone())];
        for waiter in waiters.into_iter().flatten() {
            self.report(host, &record.series, &waiter, ended.clone());
        }
    }

    /// It failed in a way that time may heal.
    pub(super) fn retry_later(
        &mut self,
        host: &mut impl Host<Pua>,
        id: RecordId,
        asked: Option<Duration>,
    ) {
        let now = host.now();
        let Some(record) = self.table.get_mut(id) else { return };
        record.failures = record.failures.saturating_add(1);
        let wait = pause(record.failures);
        let jitter = host.entropy().below(wait.as_millis() as u64 / 10 + 1);
        let wait = (wait + ms(jitter)).max(asked.unwrap_or_default());
        if let Some(record) = self.table.get_mut(id) {
            record.pause = Some(now + wait);
        }
        self.drive(host, id);
    }

    /// The server has lost it: it begins anew, soon if this is the first time. `false` when it has
    /// begun anew too often.
    pub(super) fn may_rebuild(&mut self, now: Instant, id: RecordId) -> bool {
        let Some(record) = self.table.get_mut(id) else { return false };
        record.rebuilds = record.rebuilds.saturating_add(1);
        let wait = match record.rebuilds {
            1 => Duration::ZERO,
            more => pause(more - 1),
        };
        record.pause = Some(now + wait);
        match record.kind() {
            Kind::Publication => record.rebuilds <= REBUILDS_MAX,
            Kind::Subscription => true,
        }
    }
}

/// 1, 2, 4 ... seconds.
fn pause(failures: u32) -> Duration {
    let doubled = 1u64 << failures.saturating_sub(1).min(20);
    Duration::from_secs(doubled).min(PAUSE_MAX)
}

/// When what ends after `granted` is refreshed; earlier by up to a tenth of what is left then, so
/// that many do not come at once.
pub(super) fn refresh_after(granted: Duration, draw: impl FnOnce(u64) -> u64) -> Duration {
    let wait = (granted / 2).max(granted.saturating_sub(REFRESH_AHEAD));
    let spread = (granted - wait) / 10;
    let spread = draw(spread.as_millis() as u64 + 1);
    wait.saturating_sub(ms(spread))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_double_up_to_five_minutes() {
        let seconds: Vec<u64> = (1..=11).map(|n| pause(n).as_secs()).collect();
        assert_eq!(seconds, [1, 2, 4, 8, 16, 32, 64, 128, 256, 300, 300]);
        assert_eq!(pause(u32::MAX), PAUSE_MAX);
    }

    #[test]
    fn a_refresh_comes_well_before_the_end() {
        assert_eq!(refresh_after(secs(20), |_| 0), secs(10));
        assert_eq!(refresh_after(secs(3600), |_| 0), secs(3510));
        assert_eq!(refresh_after(secs(3600), |most| most - 1), secs(3501));
        assert_eq!(refresh_after(secs(1), |_| 0), ms(500));
    }
}
