//! What moves a destination's state: marks, probes, thresholds.
//!
//! For: the owner of a destination, which alone decides; the other shards copy what it tells.
//! Not here: sending probes (`probe.rs`), telling others (`mod.rs`).
//! Invariants: going down and coming up are reported once each; a destination that an operator has
//! disabled is moved by an operator alone.

use super::destination::{Availability, Mark, State};
use strowger_sip::time::Duration;

/// Which destinations are probed (`ds_probing_mode`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ProbingMode {
    /// 0: those that are flagged; the flag goes with the first answered probe. (Kamailio drops it
    /// with the first probe, answered or not, and never asks a dead destination again.)
    UntilAnswered,
    /// 1: all.
    All,
    /// 2: those that are inactive and flagged; the flag goes with the first answered probe.
    Inactive,
    /// 3: those that are flagged, for ever.
    Flagged,
}

impl ProbingMode {
    /// Whether a destination in this state is probed.
    pub fn wants(self, state: State) -> bool {
        if state.no_ping || state.availability == Availability::Disabled {
            return false;
        }
        match self {
            ProbingMode::UntilAnswered | ProbingMode::Flagged => state.probing,
            ProbingMode::All => true,
            ProbingMode::Inactive => state.probing && state.availability == Availability::Inactive,
        }
    }

    /// The flag after an answered probe.
    fn keeps_flag(self, flagged: bool) -> bool {
        match self {
            ProbingMode::UntilAnswered | ProbingMode::Inactive => false,
            ProbingMode::All => true,
            ProbingMode::Flagged => flagged,
        }
    }
}

/// How many failures give a destination up, and how many successes bring it back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Thresholds {
    /// `ds_probing_threshold`
    pub failures: u32,
    /// `ds_inactive_threshold`
    pub successes: u32,
}

/// What a change means to those who watch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Event {
    /// `dispatcher:dst-down`
    Down,
    /// `dispatcher:dst-up`
    Up,
}

/// A destination's state, and the counts on the way to the next one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Health {
    state: State,
    failures: u32,
    successes: u32,
}

impl Health {
    /// Begins in this state.
    pub fn new(state: State) -> Health {
        Health { state, failures: 0, successes: 0 }
    }

    /// The state.
    pub fn state(&self) -> State {
        self.state
    }

    /// Takes over what the owner decided.
    pub fn copy(&mut self, state: State) {
        self.state = state;
    }

    /// A routing or an operator has seen something. "Trying" counts as one failure; the other marks
    /// hold at once.
    pub fn mark(&mut self, mark: Mark, thresholds: Thresholds) -> Option<Event> {
        if let Some(probing) = mark.probing {
            self.state.probing = probing;
        }
        match mark.availability? {
            Availability::Trying => self.failed(thresholds),
            availability @ (Availability::Active
            | Availability::Inactive
            | Availability::Disabled) => {
                (self.failures, self.successes) = (0, 0);
                self.become_(availability)
            }
        }
    }

    /// One failure more.
    pub fn failed(&mut self, thresholds: Thresholds) -> Option<Event> {
        self.successes = 0;
        match self.state.availability {
            Availability::Active | Availability::Trying => {
                self.failures = self.failures.saturating_add(1);
                let given_up = self.failures >= thresholds.failures;
                self.become_(if given_up { Availability::Inactive } else { Availability::Trying })
            }
            Availability::Inactive | Availability::Disabled => None,
        }
    }

    /// One success more.
    pub fn succeeded(&mut self, thresholds: Thresholds) -> Option<Event> {
        self.failures = 0;
        match self.state.availability {
            Availability::Active | Availability::Disabled => None,
            Availability::Trying => self.become_(Availability::Active),
            Availability::Inactive => {
                self.successes = self.successes.saturating_add(1);
                if self.successes < thresholds.successes {
                    return None;
                }
                self.become_(Availability::Active)
            }
        }
    }

    /// A probe ended.
    pub fn probed(
        &mut self,
        answered: bool,
        mode: ProbingMode,
        thresholds: Thresholds,
    ) -> Option<Event> {
        if !answered {
            return self.failed(thresholds);
        }
        let event = self.succeeded(thresholds);
        if self.state.availability == Availability::Active {
            self.state.probing = mode.keeps_flag(self.state.probing);
        }
        event
    }

    /// Whether its name has an address.
    pub fn resolved(&mut self, has_address: bool) -> Option<Event> {
        let before = self.state.is_usable();
        self.state.no_dns = !has_address;
        Health::event(before, self.state.is_usable())
    }

    fn become_(&mut self, availability: Availability) -> Option<Event> {
        let before = self.state.is_usable();
        self.state.availability = availability;
        if availability != Availability::Trying {
            (self.failures, self.successes) = (0, 0);
        }
        Health::event(before, self.state.is_usable())
    }

    fn event(before: bool, after: bool) -> Option<Event> {
        match (before, after) {
            (true, false) => Some(Event::Down),
            (false, true) => Some(Event::Up),
            (true, true) | (false, false) => None,
        }
    }
}

/// How long probes take.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Latency {
    samples: u64,
    /// All in microseconds.
    average: u64,
    squares: u128,
    estimate: u64,
    most: u64,
    timeouts: u32,
}

impl Latency {
    /// Begins with an estimate, if there is one.
    pub fn new(estimate_ms: u32) -> Latency {
        let estimate = u64::from(estimate_ms) * 1000;
        Latency { estimate, ..Latency::default() }
    }

    /// One probe more; `alpha` (thousandths) is how much of the old estimate stays.
    pub fn add(&mut self, span: Duration, alpha: u32) {
        let sample = u64::try_from(span.as_micros()).unwrap_or(u64::MAX).min(MICROS_MAX);
        let alpha = u64::from(alpha.min(1000));
        self.samples += 1;
        // Welford's running mean and sum of squared differences.
        let before = i128::from(sample) - i128::from(self.average);
        let mean = i128::from(self.average) + before / i128::from(self.samples);
        let after = i128::from(sample) - mean;
        self.average = u64::try_from(mean).unwrap_or(0);
        self.squares += u128::try_from(before * after).unwrap_or(0);
        self.most = self.most.max(sample);
        let first = self.samples == 1 && self.estimate == 0;
        self.estimate =
            if first { sample } else { (self.estimate * alpha + sample * (1000 - alpha)) / 1000 };
    }

    /// A probe was not answered.
    pub fn timed_out(&mut self) {
        self.timeouts = self.timeouts.saturating_add(1);
    }

    /// Average, standard deviation, estimate and greatest, in microseconds (which are thousandths
    /// of Kamailio's milliseconds), and how many probes had no answer.
    pub fn figures(&self) -> ([u64; 4], u32) {
        let deviation = (self.squares / u128::from(self.samples.max(1))).isqrt();
        let deviation = u64::try_from(deviation).unwrap_or(u64::MAX);
        ([self.average, deviation, self.estimate, self.most], self.timeouts)
    }

    /// A priority lowered by latency: `PRIORITY - MS / PRIORITY`, where MS is the estimate or, with
    /// congestion control, what the estimate is above the average.
    pub fn adjusted(&self, priority: i32, congestion_control: bool) -> i32 {
        let average = if congestion_control { self.average } else { 0 };
        let micros = self.estimate.saturating_sub(average);
        let millis = i32::try_from(micros / 1000).unwrap_or(i32::MAX);
        match priority {
            1.. => priority.saturating_sub(millis / priority),
            _ => priority,
        }
    }
}

/// A probe that takes longer than a quarter of an hour is not measured but given up.
const MICROS_MAX: u64 = 900_000_000;

#[cfg(test)]
mod tests {
    use super::*;
    use strowger_sip::time::ms;

    const ONCE: Thresholds = Thresholds { failures: 1, successes: 1 };
    const TWICE: Thresholds = Thresholds { failures: 2, successes: 3 };

    #[test]
    fn one_failure_is_enough_by_default() {
        let mut health = Health::new(State::ACTIVE);
        assert_eq!(health.mark(Mark::TRYING_PROBING, ONCE), Some(Event::Down));
        assert_eq!(health.state().to_string(), "IP");
        assert_eq!(health.mark(Mark::TRYING_PROBING, ONCE), None);
        assert_eq!(health.probed(true, ProbingMode::Flagged, ONCE), Some(Event::Up));
        assert_eq!(health.state().to_string(), "AP");
    }

    #[test]
    fn thresholds_count_in_a_row() {
        let mut health = Health::new(State::ACTIVE);
        assert_eq!(health.mark(Mark::TRYING, TWICE), None);
        assert_eq!(health.state().to_string(), "TX");
        assert_eq!(health.succeeded(TWICE), None);
        assert_eq!(health.failed(TWICE), None, "a success begins the count anew");
        assert_eq!(health.failed(TWICE), Some(Event::Down));
        assert_eq!((health.succeeded(TWICE), health.succeeded(TWICE)), (None, None));
        assert_eq!(health.failed(TWICE), None);
        assert_eq!((health.succeeded(TWICE), health.succeeded(TWICE)), (None, None));
        assert_eq!(health.succeeded(TWICE), Some(Event::Up));
    }

    #[test]
    fn what_an_operator_disabled_stays_so() {
        let mut health = Health::new(State::ACTIVE);
        assert_eq!(health.mark(Mark::DISABLED, ONCE), Some(Event::Down));
        assert_eq!(health.probed(true, ProbingMode::All, ONCE), None);
        assert_eq!(health.mark(Mark::TRYING, ONCE), None);
        assert_eq!(health.state().availability, Availability::Disabled);
        assert_eq!(health.mark(Mark::ACTIVE, ONCE), Some(Event::Up));
    }

    #[test]
    fn a_name_without_an_address_is_not_usable() {
        let mut health = Health::new(State::ACTIVE);
        assert_eq!(health.resolved(false), Some(Event::Down));
        assert_eq!(health.resolved(false), None);
        assert_eq!(health.resolved(true), Some(Event::Up));
    }

    #[test]
    fn modes_choose_whom_to_probe() {
        let states = ["AX", "AP", "IX", "IP", "DP"];
        let bits = [0u8, 8, 1, 9, 12];
        let wanted = |mode: ProbingMode| -> Vec<&str> {
            let both = states.iter().zip(bits);
            both.filter(|(_, bits)| mode.wants(State::from_bits(*bits))).map(|(s, _)| *s).collect()
        };
        assert_eq!(wanted(ProbingMode::UntilAnswered), ["AP", "IP"]);
        assert_eq!(wanted(ProbingMode::All), ["AX", "AP", "IX", "IP"]);
        assert_eq!(wanted(ProbingMode::Inactive), ["IP"]);
        assert_eq!(wanted(ProbingMode::Flagged), ["AP", "IP"]);
        assert!(!ProbingMode::All.wants(State::from_bits(32)));
    }

    #[test]
    fn the_flag_goes_with_the_first_answer_where_the_mode_says_so() {
        let after = |mode| {
            let mut health = Health::new(State::from_bits(9));
            health.probed(false, mode, ONCE);
            assert_eq!(health.state().to_string(), "IP");
            health.probed(true, mode, ONCE);
            health.state().to_string()
        };
        assert_eq!(after(ProbingMode::UntilAnswered), "AX");
        assert_eq!(after(ProbingMode::Inactive), "AX");
        assert_eq!(after(ProbingMode::All), "AP");
        assert_eq!(after(ProbingMode::Flagged), "AP");
    }

    #[test]
    fn latency_lowers_a_priority() {
        let adjusted = |estimate| Latency::new(estimate).adjusted(30, false);
        assert_eq!([21, 91, 61, 19].map(adjusted), [30, 27, 28, 30]);
        assert_eq!(Latency::new(500).adjusted(0, false), 0);
        let mut latency = Latency::default();
        (0..10).for_each(|_| latency.add(ms(100), 900));
        assert_eq!(latency.adjusted(10, false), 0);
        assert_eq!(latency.adjusted(10, true), 10);
        (0..5).for_each(|_| latency.add(ms(400), 900));
        assert!(latency.adjusted(10, true) < 10);
    }

    #[test]
    fn figures_are_those_of_the_samples() {
        let mut latency = Latency::default();
        [100, 200, 300].iter().for_each(|&sample| latency.add(ms(sample), 900));
        latency.timed_out();
        let ([average, deviation, estimate, most], timeouts) = latency.figures();
        assert_eq!((average, most, timeouts), (200_000, 300_000, 1));
        assert!((81_000..82_000).contains(&deviation), "{deviation}");
        assert_eq!(estimate, 129_000);
    }
}
