//! When calls begin: an open loop, whose times are fixed before the run.
//!
//! For: workers, each of which takes every n-th call.
//! Not here: beginning a call late because the worker had no time (`desk/`, which counts it).
//! Invariants: the time of a call depends on the plan alone, never on how earlier calls went.

use std::fmt;
use std::str::FromStr;
use strowger_sip::time::{Duration, Instant};

/// Most calls a second: what one worker could not even begin.
pub(crate) const RATE_MAX: f64 = 1e6;

/// A stretch of the run, over which the rate is constant or changes evenly.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Stretch {
    /// Calls a second at its beginning and at its end.
    pub(crate) from: f64,
    pub(crate) to: f64,
    pub(crate) length: Duration,
}

impl Stretch {
    fn calls(&self) -> f64 {
        (self.from + self.to) / 2.0 * self.length.as_secs_f64()
    }

    /// When, after its beginning, so many calls have begun.
    fn time_of(&self, calls: f64) -> f64 {
        let growth = (self.to - self.from) / self.length.as_secs_f64().max(1e-9);
        if growth.abs() < 1e-9 {
            return calls / self.from.max(1e-9);
        }
        // calls = from t + growth t^2 / 2, solved for the t within the stretch.
        let root = (self.from * self.from + 2.0 * growth * calls).max(0.0).sqrt();
        (root - self.from) / growth
    }

    fn rate_at(&self, seconds: f64) -> f64 {
        let share = seconds / self.length.as_secs_f64().max(1e-9);
        self.from + (self.to - self.from) * share.clamp(0.0, 1.0)
    }
}

/// What `--rate` says: `2000`, or `500:30s,500-2000:60s,2000:2m`. A last stretch without a length
/// lasts as long as the run.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Profile(pub(crate) Vec<(f64, f64, Option<Duration>)>);

impl FromStr for Profile {
    type Err = String;

    fn from_str(text: &str) -> Result<Profile, String> {
        let rate = |text: &str| -> Result<f64, String> {
            let rate = text.trim().parse::<f64>().ok();
            let rate = rate.filter(|rate| (0.0..=RATE_MAX).contains(rate));
            rate.ok_or_else(|| format!("{text:?} is no number of calls a second up to {RATE_MAX}"))
        };
        let stretches = text.split(',').map(|stretch| {
            let (rates, length) = match stretch.split_once(':') {
                Some((rates, length)) => (rates, Some(crate::command::span(length)?)),
                None => (stretch, None),
            };
            let (from, to) = rates.split_once('-').unwrap_or((rates, rates));
            Ok((rate(from)?, rate(to)?, length))
        });
        let stretches = stretches.collect::<Result<Vec<_>, String>>()?;
        let (_, earlier) = stretches.split_last().ok_or("no rate")?;
        if earlier.iter().any(|(_, _, length)| length.is_none()) {
            return Err("only the last stretch may lack a length: RATE[-RATE][:LENGTH],...".into());
        }
        Ok(Profile(stretches))
    }
}

impl fmt::Display for Profile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, (from, to, length)) in self.0.iter().enumerate() {
            let comma = if index > 0 { "," } else { "" };
            write!(f, "{comma}{from}")?;
            if from != to {
                write!(f, "-{to}")?;
            }
            if let Some(length) = length {
                write!(f, ":{}s", length.as_secs_f64())?;
            }
        }
        Ok(())
    }
}

/// The whole plan.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Plan {
    pub(crate) stretches: Vec<Stretch>,
    /// Times are rounded up to whole ticks, so that the calls of one tick begin together; zero for
    /// exact times.
    pub(crate) tick: Duration,
    pub(crate) calls_max: u64,
}

impl Plan {
    /// The profile within this length: cut off there, or lasting until then.
    pub(crate) fn new(profile: &Profile, length: Option<Duration>, tick: Duration) -> Plan {
        let mut stretches = Vec::new();
        let mut left = length.unwrap_or(Duration::MAX);
        for (from, to, own) in &profile.0 {
            let own = own.unwrap_or(left);
            let length = own.min(left);
            let mut stretch = Stretch { from: *from, to: *to, length: own };
            if length < own {
                stretch.to = stretch.rate_at(length.as_secs_f64());
                stretch.length = length;
            }
            left = left.saturating_sub(length);
            if !stretch.length.is_zero() {
                stretches.push(stretch);
            }
        }
        Plan { stretches, tick, calls_max: u64::MAX }
    }

    /// How long calls begin.
    pub(crate) fn length(&self) -> Duration {
        self.stretches.iter().map(|stretch| stretch.length).sum()
    }

    /// When the call with this index begins, counted from the run's start; `None` after the end.
    pub(crate) fn time_of(&self, index: u64) -> Option<Duration> {
        if index >= self.calls_max {
            return None;
        }
        // The first call begins at once, the next ones at even distances.
        let (mut left, mut start) = (index as f64, Duration::ZERO);
        for stretch in &self.stretches {
            let calls = stretch.calls();
            if left < calls - 1e-6 {
                let after = Duration::try_from_secs_f64(stretch.time_of(left)).ok()?;
                return Some(self.round(start + after.min(stretch.length)));
            }
            left -= calls;
            start += stretch.length;
        }
        None
    }

    fn round(&self, time: Duration) -> Duration {
        let tick = self.tick.as_nanos();
        if tick == 0 {
            return time;
        }
        let ticks = time.as_nanos().div_ceil(tick);
        Duration::from_nanos(u64::try_from(ticks * tick).unwrap_or(u64::MAX))
    }

    /// How many calls begin.
    pub(crate) fn calls(&self) -> u64 {
        let calls: f64 = self.stretches.iter().map(Stretch::calls).sum();
        // The call at the very end of a stretch belongs to the next one.
        ((calls - 1e-6).ceil().max(0.0) as u64).min(self.calls_max)
    }

    /// Calls a second wanted at this time.
    pub(crate) fn rate_at(&self, time: Duration) -> f64 {
        let mut start = Duration::ZERO;
        for stretch in &self.stretches {
            if time < start + stretch.length {
                return stretch.rate_at((time - start).as_secs_f64());
            }
            start += stretch.length;
        }
        0.0
    }
}

/// The calls of one worker.
#[derive(Debug)]
pub(crate) struct Turns<'p> {
    plan: &'p Plan,
    index: u64,
    step: u64,
    next: Option<Instant>,
}

impl<'p> Turns<'p> {
    /// Worker `worker` of `workers`.
    pub(crate) fn new(plan: &'p Plan, worker: u64, workers: u64) -> Turns<'p> {
        let mut turns = Turns { plan, index: worker, step: workers, next: None };
        turns.look_up();
        turns
    }

    fn look_up(&mut self) {
        let time = self.plan.time_of(self.index);
        self.next = time.map(|time| Instant::START + time);
    }

    /// When the next call begins; `None` when there is none.
    pub(crate) fn next(&self) -> Option<Instant> {
        self.next
    }

    /// The number and the time of the next call, if it is due.
    pub(crate) fn take_due(&mut self, now: Instant) -> Option<(u64, Instant)> {
        let due = self.next.filter(|due| *due <= now)?;
        let number = self.index + 1;
        self.index += self.step;
        self.look_up();
        Some((number, due))
    }

    /// No more calls.
    pub(crate) fn stop(&mut self) {
        self.next = None;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use strowger_sip::time::{ms, secs};

    fn plan(text: &str, length: Option<u64>) -> Plan {
        let profile: Profile = text.parse().expect("a profile");
        Plan::new(&profile, length.map(secs), Duration::ZERO)
    }

    fn times(plan: &Plan) -> Vec<u64> {
        (0..).map_while(|index| plan.time_of(index)).map(|t| t.as_millis() as u64).collect()
    }

    #[test]
    fn a_constant_rate_is_even() {
        assert_eq!(times(&plan("4", Some(2))), [0, 250, 500, 750, 1000, 1250, 1500, 1750]);
        for (text, length, calls) in [("2000", 3, 6000), ("3-10:4s,7", 9, 61), ("0.5", 3, 2)] {
            let plan = plan(text, Some(length));
            assert_eq!((times(&plan).len(), plan.calls()), (calls, calls as u64), "{text}");
        }
    }

    #[test]
    fn a_ramp_grows_evenly() {
        let plan = plan("0-100:10s", None);
        let times = times(&plan);
        assert_eq!(times.len(), 500);
        // After t seconds 5 t^2 calls have begun.
        for (index, expected) in [(5, 1000), (125, 5000), (320, 8000)] {
            assert_eq!(times[index], expected);
        }
        assert!((plan.rate_at(secs(5)) - 50.0).abs() < 1e-9);
        assert!(times.is_sorted());
    }

    #[test]
    fn steps_follow_each_other_and_the_length_cuts() {
        let long = plan("10:1s,20:2s,5", Some(5));
        let times = times(&long);
        let within = |from: u64, to: u64| times.iter().filter(|t| (from..to).contains(t)).count();
        assert_eq!((within(0, 1000), within(1000, 3000), within(3000, 5000)), (10, 40, 10));
        let cut = plan("0-100:10s", Some(5));
        assert_eq!((cut.length(), cut.stretches[0].to), (secs(5), 50.0));
    }

    #[test]
    fn every_worker_takes_its_share_at_ticks() {
        let mut plan = plan("3000", Some(1));
        plan.tick = ms(1);
        let mut numbers = Vec::new();
        for worker in 0..3 {
            let mut turns = Turns::new(&plan, worker, 3);
            while let Some((number, due)) = turns.take_due(Instant::START + secs(9)) {
                assert_eq!(due.as_micros() % 1000, 0);
                numbers.push(number);
            }
        }
        numbers.sort_unstable();
        assert_eq!(numbers, (1..=3000).collect::<Vec<u64>>());
        plan.calls_max = 10;
        assert_eq!(plan.time_of(10), None);
    }

    #[test]
    fn what_is_no_profile_is_refused() {
        for text in ["", "x", "10,20", "10:x", "-5", "1e9"] {
            assert!(text.parse::<Profile>().is_err(), "{text}");
        }
        let text = "500:30s,500-2000:60s,2000";
        assert_eq!(text.parse::<Profile>().expect("a profile").to_string(), text);
    }
}
