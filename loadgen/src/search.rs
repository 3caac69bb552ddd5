//! Finding the highest rate without a failure, in the sense of RFC 7502: the most calls a second of
//! which not one fails. Double until something fails, close in on the limit, see whether it holds.
//!
//! For: `search`.
//! Not here: a single run (`run.rs`).
//! Invariants: at most `TRIALS_MAX` runs; a run in which the generator was at its limit counts as a
//! limit of the generator, never of the system.

use crate::report::{Report, table};
use crate::run::{self, Job, RunError};
use crate::schedule::{Plan, Profile, RATE_MAX};
use serde::Serialize;
use std::fmt::Write as _;
use std::time::Duration;

/// Most runs of a search.
const TRIALS_MAX: usize = 60;
/// Between two runs, so that one does not suffer from the other.
const REST: Duration = Duration::from_secs(1);

/// What a search is told.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Settings {
    /// The first rate.
    pub(crate) start: f64,
    /// Of each run.
    pub(crate) length: Duration,
    /// How closely the limit is to be known.
    pub(crate) precision: f64,
    /// How often in a row it must hold.
    pub(crate) confirm: u32,
    pub(crate) tick: Duration,
}

/// One run.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Trial {
    rate: f64,
    outcome: Outcome,
    begun: u64,
    failed: u64,
    why: String,
    /// Of the first time measured, in milliseconds.
    p99: f64,
}

/// How a run went.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Outcome {
    Passed,
    Failed,
    /// The generator was at its limit.
    Invalid,
}

/// What was found.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Found {
    /// Calls a second; 0 when not even the lowest rate passed.
    highest: f64,
    /// Whether it was the generator that could do no more.
    limited_by_generator: bool,
    confirmed: bool,
    trials: Vec<Trial>,
}

/// Searches with as many runs as it takes.
pub(crate) fn search(mut job: Job, settings: &Settings) -> Result<Found, RunError> {
    let mut first = true;
    find(settings, |rate| {
        if !std::mem::take(&mut first) {
            std::thread::sleep(REST);
        }
        let profile = Profile(vec![(rate, rate, None)]);
        let calls_max = job.plan.calls_max;
        job.plan = Plan::new(&profile, Some(settings.length), settings.tick);
        job.plan.calls_max = calls_max;
        job.rate = profile.to_string();
        let trial = trial(rate, &run::run(&job)?);
        eprintln!("{}", trial.line());
        Ok(trial)
    })
}

fn trial(rate: f64, report: &Report) -> Trial {
    let verdict = &report.verdict;
    let (outcome, why) = match (verdict.valid, verdict.passed) {
        (false, _) => (Outcome::Invalid, verdict.reasons.join("; ")),
        (true, true) => (Outcome::Passed, String::new()),
        (true, false) => {
            let cause = report.causes.first().map(|cause| cause.what.clone());
            (Outcome::Failed, cause.unwrap_or_default())
        }
    };
    let calls = report.main_calls();
    let p99 = report.timings.iter().find(|timing| timing.count > 0).map_or(0.0, |t| t.p99);
    Trial { rate, outcome, begun: calls.begun, failed: calls.failed, why, p99 }
}

/// The search itself, over whatever a trial is.
fn find<E>(
    settings: &Settings,
    mut attempt: impl FnMut(f64) -> Result<Trial, E>,
) -> Result<Found, E> {
    let mut found =
        Found { highest: 0.0, limited_by_generator: false, confirmed: false, trials: Vec::new() };
    let (mut good, mut bad) = (0.0, f64::INFINITY);
    let mut rate = settings.start.clamp(1.0, RATE_MAX);
    while found.trials.len() < TRIALS_MAX && bad - good > settings.precision * bad.min(RATE_MAX) {
        let trial = attempt(rate)?;
        let outcome = trial.outcome;
        found.trials.push(trial);
        match outcome {
            Outcome::Passed => good = rate,
            Outcome::Failed | Outcome::Invalid => {
                bad = rate;
                found.limited_by_generator = outcome == Outcome::Invalid;
            }
        }
        rate = if bad.is_infinite() { rate * 2.0 } else { (good + bad) / 2.0 };
        // Below one call a second there is nothing to be found, beyond the most nothing to be made.
        if rate < 1.0 || good >= RATE_MAX {
            break;
        }
        rate = rate.min(RATE_MAX);
    }
    let mut in_a_row = 0;
    while good >= 1.0 && in_a_row < settings.confirm && found.trials.len() < TRIALS_MAX {
        let trial = attempt(good)?;
        in_a_row += 1;
        if trial.outcome != Outcome::Passed {
            good *= 1.0 - settings.precision.max(0.01);
            in_a_row = 0;
        }
        found.trials.push(trial);
    }
    found.confirmed = good >= 1.0 && in_a_row >= settings.confirm;
    found.highest = good;
    Ok(found)
}

impl Trial {
    fn line(&self) -> String {
        let outcome = match self.outcome {
            Outcome::Passed => "passed",
            Outcome::Failed => "failed",
            Outcome::Invalid => "invalid",
        };
        let Trial { rate, begun, failed, why, p99, .. } = self;
        let p99 = table::short(*p99);
        format!("{rate:>10.1}/s  {outcome:<8} {failed} of {begun} failed, p99 {p99} ms  {why}")
    }
}

impl Found {
    pub(crate) fn table(&self) -> String {
        let mut text = String::new();
        for trial in &self.trials {
            let _ = writeln!(text, "{}", trial.line());
        }
        let confirmed = if self.confirmed { "confirmed" } else { "not confirmed" };
        let _ =
            writeln!(text, "\nhighest rate without a failure: {:.1}/s, {confirmed}", self.highest);
        if self.limited_by_generator {
            let _ =
                writeln!(text, "INVALID as a limit of the system: the generator was at its own");
        }
        text
    }

    pub(crate) fn json(&self) -> String {
        serde_json::to_string_pretty(self).unwrap_or_default() + "\n"
    }

    pub(crate) fn exit_code(&self) -> u8 {
        match (self.limited_by_generator, self.confirmed) {
            (true, _) => 3,
            (false, false) => 1,
            (false, true) => 0,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settings() -> Settings {
        let (length, tick) = (Duration::from_secs(1), Duration::ZERO);
        Settings { start: 100.0, length, precision: 0.02, confirm: 2, tick }
    }

    fn attempt(rate: f64, outcome: Outcome) -> Result<Trial, ()> {
        Ok(Trial { rate, outcome, begun: 1, failed: 0, why: String::new(), p99: 0.0 })
    }

    fn limited(limit: f64, beyond: Outcome) -> Found {
        let judge = |rate| if rate <= limit { Outcome::Passed } else { beyond };
        find(&settings(), |rate| attempt(rate, judge(rate))).expect("found")
    }

    #[test]
    fn the_limit_is_found_as_closely_as_asked_for() {
        for limit in [3.0, 99.0, 1234.0, 54_321.0] {
            let found = limited(limit, Outcome::Failed);
            assert!(found.highest <= limit && found.highest > limit * 0.97, "{found:?}");
            assert_eq!((found.exit_code(), found.confirmed), (0, true));
            assert!(found.trials.len() < 30);
        }
    }

    #[test]
    fn a_limit_of_the_generator_is_no_limit_of_the_system() {
        let found = limited(1000.0, Outcome::Invalid);
        assert_eq!((found.exit_code(), found.limited_by_generator), (3, true));
    }

    #[test]
    fn nothing_passes_and_everything_passes() {
        assert_eq!(limited(0.0, Outcome::Failed).highest, 0.0);
        assert_eq!(limited(1e12, Outcome::Failed).highest, RATE_MAX);
    }

    #[test]
    fn a_rate_that_does_not_hold_is_lowered() {
        let mut tries = 0;
        let found = find(&settings(), |rate| {
            tries += 1;
            let holds = rate <= 100.0 && (rate < 96.0 || tries < 10);
            attempt(rate, if holds { Outcome::Passed } else { Outcome::Failed })
        });
        let found = found.expect("found");
        assert!(found.confirmed && found.highest < 96.0, "{found:?}");
    }
}
