//! The values of the transaction timers (RFC 3261 table 4, RFC 6026 §7) and the doubling interval.
//!
//! For: the one place where timers A to M get their lengths, per transport.
//! Not here: when they run (`client_invite.rs` and its siblings), arming them (`wheel.rs`).
//! Invariants: checked settings have no zero interval, so a fired [`Backoff`] is due later.

use crate::time::{Duration, Instant, ms, secs};
use crate::transport::Transport;
use std::fmt;

/// The longest that any setting may be. A guess: an operator who needs more has another problem.
const LONGEST: Duration = secs(3600);

/// Timer settings as an operator writes them. `tm` names the parameter of Kamailio's module.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TimerSettings {
    /// T1: round-trip estimate, the first interval of timers A, E and G (`tm` `retr_timer1`).
    pub t1: Duration,
    /// T2: the longest interval of timers E and G (`tm` `retr_timer2`).
    pub t2: Duration,
    /// T4: how long a message stays in the network; timers I and K.
    pub t4: Duration,
    /// The longest interval of timer A. The RFC sets none; `tm` uses `retr_timer2`.
    pub timer_a_longest: Duration,
    /// Timers B and F: wait for any response to INVITE, for the final one otherwise (`tm`
    /// `fr_timer`).
    pub no_response: Duration,
    /// Timer H: wait for the ACK of a final response (`tm` `fr_timer`).
    pub no_ack: Duration,
    /// Timer C: wait for the final response to an INVITE after a provisional one (`tm`
    /// `fr_inv_timer`). The proxy runs it, per branch (§16.6 step 11, §16.7 step 2).
    pub ringing: Duration,
    /// Timer D: absorb repeated final responses to INVITE over UDP (`tm` `wt_timer`).
    pub timer_d: Duration,
    /// Timers J, L and M: absorb what is repeated after a final response (`tm` `wt_timer`).
    pub linger: Duration,
    /// How long an INVITE branch that timed out still recognises a late response (`tm`
    /// `wt_timer`). The RFC has no such state: zero is its behaviour.
    pub late: Duration,
}

impl TimerSettings {
    /// RFC 3261's rules applied to a chosen T1, T2 and T4.
    pub const fn rfc(t1: Duration, t2: Duration, t4: Duration) -> TimerSettings {
        let transaction = t1.saturating_mul(64);
        TimerSettings {
            t1,
            t2,
            t4,
            timer_a_longest: transaction,
            no_response: transaction,
            no_ack: transaction,
            // "MUST be larger than 3 minutes" (§16.6 step 11).
            ringing: secs(181),
            // "at least 32 seconds for unreliable transports" (§17.1.1.2).
            timer_d: secs(32),
            linger: transaction,
            late: Duration::ZERO,
        }
    }

    /// The settings ready for use, or everything that is wrong with them.
    pub fn check(self) -> Result<Timers, Vec<TimerFault>> {
        let least = ms(1);
        let ranges = [
            ("t1", self.t1, least, self.t2.min(secs(60))),
            ("t2", self.t2, least, secs(60)),
            ("t4", self.t4, least, LONGEST),
            ("timer_a_longest", self.timer_a_longest, self.t1, LONGEST),
            ("no_response", self.no_response, self.t1, LONGEST),
            ("no_ack", self.no_ack, self.t1, LONGEST),
            ("ringing", self.ringing, self.t1, LONGEST),
            ("timer_d", self.timer_d, least, LONGEST),
            ("linger", self.linger, least, LONGEST),
            ("late", self.late, Duration::ZERO, LONGEST),
        ];
        let faults: Vec<TimerFault> = ranges
            .into_iter()
            .filter(|(_, value, least, most)| value < least || value > most)
            .map(|(setting, value, least, most)| TimerFault { setting, value, least, most })
            .collect();
        if faults.is_empty() { Ok(Timers(self)) } else { Err(faults) }
    }
}

impl Default for TimerSettings {
    /// The RFC's values, but for `tm`'s pace of INVITEs, its 30 s without a response or an ACK, its
    /// 120 s of ringing, and its linger after a timeout.
    fn default() -> Self {
        TimerSettings {
            timer_a_longest: secs(4),
            no_response: secs(30),
            no_ack: secs(30),
            ringing: secs(120),
            late: secs(5),
            ..TimerSettings::rfc(ms(500), secs(4), secs(5))
        }
    }
}

/// One setting that is out of its range.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TimerFault {
    /// The field of [`TimerSettings`].
    pub setting: &'static str,
    /// What it was set to.
    pub value: Duration,
    /// The least that is allowed beside the other settings.
    pub least: Duration,
    /// The most that is allowed beside the other settings.
    pub most: Duration,
}

impl fmt::Display for TimerFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let TimerFault { setting, value, least, most } = self;
        write!(f, "{setting} is {value:?}, allowed is {least:?} to {most:?}")
    }
}

impl std::error::Error for TimerFault {}

/// Checked settings: what the machines ask for their timers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Timers(TimerSettings);

impl Timers {
    /// The settings, to derive others from them for one transaction.
    pub const fn settings(&self) -> TimerSettings {
        self.0
    }

    /// T2: the longest interval of timers E and G.
    pub const fn t2(&self) -> Duration {
        self.0.t2
    }

    /// How long a request other than INVITE waits for its 100: as long as the sender's timer E
    /// takes to reach T2 (RFC 4320 §4.1).
    pub fn trying_after(&self) -> Duration {
        let (mut after, mut interval) = (Duration::ZERO, self.0.t1);
        while interval < self.0.t2 {
            after += interval;
            interval *= 2;
        }
        after
    }

    /// Timer A: repeats an INVITE over UDP (§17.1.1.2).
    pub fn timer_a(&self, now: Instant, transport: Transport) -> Option<Backoff> {
        let backoff = || Backoff::start(now, self.0.t1, self.0.timer_a_longest);
        (!transport.is_reliable()).then(backoff)
    }

    /// Timer B: how long an INVITE waits for any response (§17.1.1.2).
    pub const fn timer_b(&self) -> Duration {
        self.0.no_response
    }

    /// Timer C: the proxy's own, per INVITE branch (§16.6 step 11).
    pub const fn timer_c(&self) -> Duration {
        self.0.ringing
    }

    /// Timer D: how long repeated final responses to INVITE are acknowledged (§17.1.1.2).
    pub const fn timer_d(&self, transport: Transport) -> Duration {
        unless_reliable(transport, self.0.timer_d)
    }

    /// Timer E: repeats a request other than INVITE over UDP (§17.1.2.2).
    pub fn timer_e(&self, now: Instant, transport: Transport) -> Option<Backoff> {
        let backoff = || Backoff::start(now, self.0.t1, self.0.t2);
        (!transport.is_reliable()).then(backoff)
    }

    /// Timer F: how long a request other than INVITE waits for its final response (§17.1.2.2).
    pub const fn timer_f(&self) -> Duration {
        self.0.no_response
    }

    /// Timer G: repeats a final response to INVITE over UDP (§17.2.1).
    pub fn timer_g(&self, now: Instant, transport: Transport) -> Option<Backoff> {
        (!transport.is_reliable()).then(|| self.own_success(now))
    }

    /// The pace of a 2xx that this node generated, on any transport (§13.3.1.4).
    pub fn own_success(&self, now: Instant) -> Backoff {
        Backoff::start(now, self.0.t1, self.0.t2)
    }

    /// Timer H: how long a final response to INVITE waits for its ACK, on any transport (§17.2.1).
    pub const fn timer_h(&self) -> Duration {
        self.0.no_ack
    }

    /// Timer I: how long repeated ACKs are absorbed (§17.2.1).
    pub const fn timer_i(&self, transport: Transport) -> Duration {
        unless_reliable(transport, self.0.t4)
    }

    /// Timer J: how long repeated requests other than INVITE are answered (§17.2.2).
    pub const fn timer_j(&self, transport: Transport) -> Duration {
        unless_reliable(transport, self.0.linger)
    }

    /// Timer K: how long repeated responses to them are absorbed (§17.1.2.2).
    pub const fn timer_k(&self, transport: Transport) -> Duration {
        unless_reliable(transport, self.0.t4)
    }

    /// Timer L: how long a server accepts further 2xx, on any transport (RFC 6026 §7.1).
    pub const fn timer_l(&self) -> Duration {
        self.0.linger
    }

    /// Timer M: how long a client passes further 2xx up, on any transport (RFC 6026 §7.2).
    pub const fn timer_m(&self) -> Duration {
        self.0.linger
    }

    /// How long an INVITE branch that was given up still recognises a late response.
    pub const fn late(&self) -> Duration {
        self.0.late
    }
}

/// Waiting out copies makes no sense where the transport delivers each message once.
const fn unless_reliable(transport: Transport, span: Duration) -> Duration {
    if transport.is_reliable() { Duration::ZERO } else { span }
}

/// A retransmission timer: due after an interval that doubles up to a longest one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Backoff {
    due: Instant,
    // 32 bits of microseconds reach over an hour, and every waiting transaction holds one of these.
    interval_micros: u32,
    longest_micros: u32,
}

impl Backoff {
    /// Runs from `now`; first due after `first`, or after a microsecond should `first` be zero.
    pub fn start(now: Instant, first: Duration, longest: Duration) -> Backoff {
        let longest_micros = micros(longest).max(1);
        let interval_micros = micros(first).clamp(1, longest_micros);
        let due = now + Duration::from_micros(u64::from(interval_micros));
        Backoff { due, interval_micros, longest_micros }
    }

    /// When it fires next.
    pub const fn due(&self) -> Instant {
        self.due
    }

    /// Whether it is due; then the next interval begins, twice as long.
    ///
    /// The next interval counts from when this one was due, so that lateness does not add up; when
    /// that has passed too, the missed copies are skipped instead of sent in a burst.
    pub fn fire(&mut self, now: Instant) -> bool {
        if now < self.due {
            return false;
        }
        self.interval_micros = self.interval_micros.saturating_mul(2).min(self.longest_micros);
        let interval = Duration::from_micros(u64::from(self.interval_micros));
        let next = self.due + interval;
        self.due = if next > now { next } else { now + interval };
        true
    }

    /// Every interval after the running one is the longest one (timer E in Proceeding, §17.1.2.2).
    pub fn slow_down(&mut self) {
        self.interval_micros = self.longest_micros;
    }
}

fn micros(span: Duration) -> u32 {
    u32::try_from(span.as_micros()).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    const START: Instant = Instant::START;

    fn firings(mut backoff: Backoff, until: Duration) -> Vec<u64> {
        let mut at = Vec::new();
        while backoff.due() <= START + until {
            let due = backoff.due();
            assert!(backoff.fire(due) && !backoff.fire(due));
            at.push(due.as_millis());
        }
        at
    }

    #[test]
    fn timer_e_doubles_up_to_t2() {
        let timer_e = Timers::default().timer_e(START, Transport::Udp).unwrap();
        assert_eq!(firings(timer_e, secs(16)), [500, 1500, 3500, 7500, 11_500, 15_500]);
    }

    #[test]
    fn timer_a_doubles_without_end_in_the_rfc() {
        let timers = TimerSettings::rfc(ms(500), secs(4), secs(5)).check().unwrap();
        let timer_a = timers.timer_a(START, Transport::Udp).unwrap();
        assert_eq!(firings(timer_a, secs(32)), [500, 1500, 3500, 7500, 15_500, 31_500]);
    }

    #[test]
    fn lateness_does_not_add_up_and_missed_copies_are_skipped() {
        let mut backoff = Backoff::start(START, ms(500), secs(4));
        assert!(backoff.fire(START + ms(507)));
        assert_eq!(backoff.due(), START + ms(1500));
        assert!(backoff.fire(START + secs(10)));
        assert_eq!(backoff.due(), START + secs(12));
    }

    #[test]
    fn slowing_down_keeps_the_running_interval() {
        let mut backoff = Backoff::start(START, ms(500), secs(4));
        backoff.slow_down();
        assert_eq!(firings(backoff, secs(9)), [500, 4500, 8500]);
    }

    #[test]
    fn no_interval_is_zero() {
        let mut backoff = Backoff::start(START, Duration::ZERO, Duration::ZERO);
        assert!(backoff.fire(START + ms(1)));
        assert!(backoff.due() > START + ms(1));
    }

    #[test]
    fn a_reliable_transport_runs_no_timer_against_loss() {
        let timers = Timers::default();
        for transport in [Transport::Tcp, Transport::Tls, Transport::Ws, Transport::Wss] {
            assert_eq!(timers.timer_a(START, transport), None);
            assert_eq!(timers.timer_e(START, transport), None);
            assert_eq!(timers.timer_g(START, transport), None);
            assert_eq!(timers.timer_d(transport), Duration::ZERO);
            assert_eq!(timers.timer_i(transport), Duration::ZERO);
            assert_eq!(timers.timer_j(transport), Duration::ZERO);
            assert_eq!(timers.timer_k(transport), Duration::ZERO);
        }
    }

    #[test]
    fn timer_c_is_larger_than_three_minutes() {
        let rfc = TimerSettings::rfc(ms(500), secs(4), secs(5)).check().expect("fair settings");
        assert!(rfc.timer_c() > secs(180));
    }

    #[test]
    fn the_default_settings_pass_their_own_check() {
        assert_eq!(TimerSettings::default().check(), Ok(Timers::default()));
    }

    #[test]
    fn every_wrong_setting_is_named_at_once() {
        let settings = TimerSettings {
            t1: secs(5),
            t4: Duration::ZERO,
            linger: secs(4000),
            ..TimerSettings::default()
        };
        let faults = settings.check().unwrap_err();
        let named: Vec<_> = faults.iter().map(|fault| fault.setting).collect();
        assert_eq!(named, ["t1", "t4", "timer_a_longest", "linger"]);
        assert_eq!(faults[0].to_string(), "t1 is 5s, allowed is 1ms to 4s");
    }
}
