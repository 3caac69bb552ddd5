//! How one registration goes: RFC 3261 §10.2, on the shard that owns it.
//!
//! For: what is wanted, what is known of the binding, and what comes next.
//! Not here: sending and answers (`attempt.rs`), the REGISTER itself (`message.rs`).
//! Invariants: every phase but rest has a timer; a record rests only when it is to do nothing. An
//! answer counts only for the attempt that it is of.

use super::super::proof::Session;
use super::registration::Registration;
use smallvec::SmallVec;
use std::rc::Rc;
use std::sync::Arc;
use strowger_sip::date::UnixTime;
use strowger_sip::entropy::Entropy;
use strowger_sip::time::{Duration, Instant, secs};
use strowger_sip::transport::Flow;
use strowger_sip::wheel::TimerId;

use super::super::settings::RegSettings;

/// What is wanted of a record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Wanted {
    /// That it is registered.
    Registered,
    /// That it is not, by an operator's word.
    Unregistered,
    /// That it is not, and then forgotten.
    Gone,
}

/// What it does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Phase {
    /// Nothing.
    Resting,
    /// Nothing until then.
    Waiting(Instant),
    /// The name of its proxy is being looked up, until then at most.
    Looking(Instant),
    /// A REGISTER has no final answer yet.
    Ongoing,
    /// It is registered, and will refresh that then.
    Online(Instant),
}

/// What the next attempt is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Goal {
    Register,
    Unregister,
    Rest,
}

/// Call-ID, From tag and number of the REGISTER requests of a round.
#[derive(Clone, Debug)]
pub(super) struct Ids {
    pub(super) call_id: String,
    pub(super) tag: String,
    pub(super) cseq: u32,
}

/// A registration on its owner.
#[derive(Debug)]
pub(super) struct Machine {
    pub(super) config: Rc<Registration>,
    pub(super) wanted: Wanted,
    pub(super) disabled: bool,
    /// Somebody wants the next attempt whatever else holds.
    pub(super) forced: Option<Goal>,
    pub(super) phase: Phase,
    pub(super) timer: Option<TimerId>,
    /// How long the binding holds.
    pub(super) bound_until: Option<Instant>,
    /// The lifetime that the registrar insists on (423).
    pub(super) raised_expires: Option<u32>,
    pub(super) session: Option<Session>,
    pub(super) ids: Option<Ids>,
    /// Where it can be sent, the address in use first.
    pub(super) flows: SmallVec<[Flow; 2]>,
    /// What the present attempt is for.
    pub(super) goal: Goal,
    /// Counts REGISTER requests: an answer to an earlier one is not looked at.
    pub(super) number: u32,
    /// How often the present attempt was challenged or told to ask for longer.
    pub(super) rounds: u8,
    /// The present attempt has answered a challenge.
    pub(super) has_answered: bool,
    /// Something has changed while an answer was awaited.
    pub(super) reconsider: bool,
    /// Attempts that failed since the last success.
    pub(super) failures: u32,
    /// Its first attempt was made.
    pub(super) has_begun: bool,
    pub(super) loaded: UnixTime,
    pub(super) began: Instant,
    /// The last final status; 0 for none.
    pub(super) code: u16,
    pub(super) service_route: Option<Arc<str>>,
}

/// Kamailio's bits of column `flags` and of the commands' answers.
mod bit {
    pub(super) const DISABLED: u32 = 1;
    pub(super) const ONGOING: u32 = 2;
    pub(super) const ONLINE: u32 = 4;
    pub(super) const AUTHSENT: u32 = 8;
    pub(super) const INIT: u32 = 16;
}

/// The most that a failed attempt doubles the wait: 2^16 times anything is beyond every limit.
const DOUBLINGS_MAX: u32 = 16;
/// Credentials that are wrong, or an account that is not there, seldom get better soon: eight times
/// as long.
const HOPELESS_DOUBLINGS: u32 = 3;
/// Longest wait that a registrar may ask for.
const RETRY_AFTER_MAX: Duration = secs(86_400);
/// Beside the interval, as Kamailio refreshes.
const REFRESH_MARGIN: Duration = secs(3);

/// How an attempt failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Failed {
    /// With this status.
    Refused { code: u16, retry_after: Option<Duration> },
    /// The credentials were refused, or there is none for the challenge.
    Auth(u16),
    /// No answer came.
    Timeout,
    /// It could not be sent.
    Unreachable,
}

impl Failed {
    /// The status that stands for it.
    pub(super) fn code(self) -> u16 {
        match self {
            Failed::Refused { code, .. } | Failed::Auth(code) => code,
            Failed::Timeout => 408,
            Failed::Unreachable => 503,
        }
    }

    fn is_hopeless(self) -> bool {
        match self {
            Failed::Auth(_) => true,
            Failed::Refused { code, .. } => matches!(code, 403 | 404),
            Failed::Timeout | Failed::Unreachable => false,
        }
    }

    fn retry_after(self) -> Duration {
        match self {
            Failed::Refused { retry_after, .. } => {
                retry_after.unwrap_or_default().min(RETRY_AFTER_MAX)
            }
            Failed::Auth(_) | Failed::Timeout | Failed::Unreachable => Duration::ZERO,
        }
    }
}

impl Machine {
    pub(super) fn new(config: Rc<Registration>, loaded: UnixTime) -> Machine {
        Machine {
            disabled: config.is_disabled(),
            config,
            wanted: Wanted::Registered,
            forced: None,
            phase: Phase::Resting,
            timer: None,
            bound_until: None,
            raised_expires: None,
            session: None,
            ids: None,
            flows: SmallVec::new(),
            goal: Goal::Rest,
            number: 0,
            rounds: 0,
            has_answered: false,
            reconsider: false,
            failures: 0,
            has_begun: false,
            loaded,
            began: Instant::START,
            code: 0,
            service_route: None,
        }
    }

    /// What is to be done, given whether registering is switched on for all.
    pub(super) fn goal(&self, active: bool, settings: &RegSettings) -> Goal {
        if let Some(forced) = self.forced {
            return forced;
        }
        let is_bound = self.bound_until.is_some();
        match (self.wanted, self.disabled) {
            (Wanted::Registered, false) if active && self.config.expires_seconds > 0 => {
                Goal::Register
            }
            (Wanted::Registered, false) => Goal::Rest,
            (Wanted::Registered | Wanted::Gone, _) => {
                let unregisters = is_bound && settings.unregister_on_remove;
                if unregisters { Goal::Unregister } else { Goal::Rest }
            }
            (Wanted::Unregistered, _) if is_bound => Goal::Unregister,
            (Wanted::Unregistered, _) => Goal::Rest,
        }
    }

    /// Whether an answer is awaited, from DNS or from the registrar.
    pub(super) fn is_busy(&self) -> bool {
        match self.phase {
            Phase::Looking(_) | Phase::Ongoing => true,
            Phase::Resting | Phase::Waiting(_) | Phase::Online(_) => false,
        }
    }

    /// The lifetime that it asks for.
    pub(super) fn requested(&self) -> u32 {
        match self.goal {
            Goal::Unregister => 0,
            Goal::Register | Goal::Rest => {
                self.raised_expires.unwrap_or(self.config.expires_seconds)
            }
        }
    }

    /// Kamailio's flags.
    pub(super) fn flags(&self) -> u32 {
        let mut flags = 0;
        let mut set = |bit, is| flags |= if is { bit } else { 0 };
        set(bit::DISABLED, self.disabled);
        set(bit::ONGOING, self.is_busy());
        set(bit::ONLINE, self.bound_until.is_some());
        set(bit::AUTHSENT, self.phase == Phase::Ongoing && self.has_answered);
        set(bit::INIT, self.has_begun);
        flags
    }

    /// When it has something to do, if ever; the end of its binding counts.
    pub(super) fn deadline(&self) -> Option<Instant> {
        let own = match self.phase {
            Phase::Resting => None,
            Phase::Waiting(at) | Phase::Online(at) => Some(at),
            Phase::Looking(_) | Phase::Ongoing => return None,
        };
        match (own, self.bound_until) {
            (Some(own), Some(bound)) => Some(own.min(bound)),
            (own, bound) => own.or(bound),
        }
    }

    /// When a binding of this lifetime is refreshed: at a random half to nine tenths of it, but
    /// `interval` before its end where that leaves half, and 5 s before it always.
    pub(super) fn refresh_after(
        granted: Duration,
        interval: Duration,
        entropy: &mut Entropy,
    ) -> Duration {
        let half = granted / 2;
        let most = u64::try_from((granted * 4 / 10).as_millis()).unwrap_or(u64::MAX);
        let drawn = half + Duration::from_millis(entropy.below(most));
        let latest = granted.saturating_sub(interval + REFRESH_MARGIN);
        let latest = latest.max(half).min(granted.saturating_sub(secs(5)).max(half));
        drawn.min(latest)
    }

    /// How long to wait after a failure: twice as long each time, a random half of it less, and as
    /// long as the registrar wants.
    pub(super) fn wait_after(
        &self,
        failed: Failed,
        settings: &RegSettings,
        entropy: &mut Entropy,
    ) -> Duration {
        let more = if failed.is_hopeless() { HOPELESS_DOUBLINGS } else { 0 };
        let doublings = self.failures.saturating_sub(1).saturating_add(more).min(DOUBLINGS_MAX);
        let base = settings.retry_interval.max(secs(1));
        let span = base.saturating_mul(1 << doublings).min(settings.retry_max.max(base));
        let half = u64::try_from((span / 2).as_millis()).unwrap_or(u64::MAX);
        let drawn = span / 2 + Duration::from_millis(entropy.below(half + 1));
        drawn.max(failed.retry_after())
    }
}

#[cfg(test)]
mod tests {
    use super::super::super::settings::Settings;
    use super::super::registration::tests::fields;
    use super::*;

    fn machine() -> Machine {
        Machine::new(Rc::new(fields().check().expect("a record")), UnixTime::from_secs(0))
    }

    #[test]
    fn refreshes_come_in_time() {
        let mut entropy = Entropy::new((1, 2));
        for seconds in [1, 2, 10, 60, 90, 186, 187, 360, 3600, 86_400] {
            let granted = secs(seconds);
            for _ in 0..100 {
                let after = Machine::refresh_after(granted, secs(90), &mut entropy);
                assert!(after >= granted / 2 && after < granted, "{after:?} of {granted:?}");
                assert!(seconds < 12 || after + secs(5) <= granted, "{after:?} of {granted:?}");
                assert!(seconds < 186 || after + secs(93) <= granted, "{after:?} of {granted:?}");
            }
        }
    }

    #[test]
    fn failures_wait_longer_and_longer() {
        let settings = Settings::default().reg;
        let mut entropy = Entropy::new((1, 2));
        let mut machine = machine();
        let mut wait = |failures, failed| {
            machine.failures = failures;
            machine.wait_after(failed, &settings, &mut entropy)
        };
        for (failures, least, most) in [(1, 15, 30), (2, 30, 60), (5, 240, 480), (20, 900, 1800)] {
            let waited = wait(failures, Failed::Timeout);
            assert!(waited >= secs(least) && waited <= secs(most), "{failures}: {waited:?}");
        }
        assert!(wait(1, Failed::Auth(401)) >= secs(120));
        let asked = |seconds| Failed::Refused { code: 503, retry_after: Some(secs(seconds)) };
        assert_eq!(wait(1, asked(77)), secs(77));
        assert_eq!(wait(1, asked(u64::from(u32::MAX))), RETRY_AFTER_MAX);
    }

    #[test]
    fn what_is_wanted_and_what_is_bound_make_the_goal() {
        let mut settings = Settings::default().reg;
        let mut machine = machine();
        assert_eq!(machine.goal(true, &settings), Goal::Register);
        assert_eq!(machine.goal(false, &settings), Goal::Rest);
        machine.disabled = true;
        assert_eq!(machine.goal(true, &settings), Goal::Rest);
        machine.bound_until = Some(Instant::NEVER);
        assert_eq!(machine.goal(true, &settings), Goal::Unregister);
        settings.unregister_on_remove = false;
        assert_eq!(machine.goal(true, &settings), Goal::Rest);
        machine.wanted = Wanted::Unregistered;
        assert_eq!(machine.goal(true, &settings), Goal::Unregister);
        machine.forced = Some(Goal::Register);
        assert_eq!(machine.goal(false, &settings), Goal::Register);
    }
}
