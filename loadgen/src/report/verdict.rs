//! Whether a run says something about the system under test, or only about the generator.
//!
//! For: the table, the page, the exit code.
//! Not here: what failed (`Report::causes`): a valid run may well fail.
//! Invariants: an invalid run says in words why.

use super::Report;
use serde::{Deserialize, Serialize};

/// Busier than this, a thread has no time to be on time.
const BUSY_MAX: f64 = 0.95;

/// See the file's head.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Verdict {
    pub(crate) valid: bool,
    /// All that should have happened did.
    pub(crate) passed: bool,
    /// Why it is not valid, or what to know of a valid run.
    pub(crate) reasons: Vec<String>,
}

impl Verdict {
    /// Judges a run. At most this share of its calls may have been late.
    pub(crate) fn of(report: &Report, late_max: f64) -> Verdict {
        let reasons = reasons(report, late_max);
        let calls = report.main_calls();
        let failed = report.calls.failed + report.answered.map_or(0, |answered| answered.failed);
        let passed = failed == 0 && calls.succeeded == calls.begun && calls.begun > 0;
        Verdict { valid: reasons.is_empty(), passed, reasons }
    }

    /// 0 all passed, 1 failures, 3 invalid; 2 is for mistakes on the command line.
    pub(crate) fn exit_code(&self) -> u8 {
        match (self.valid, self.passed) {
            (false, _) => 3,
            (true, false) => 1,
            (true, true) => 0,
        }
    }

    /// In a sentence.
    pub(crate) fn sentence(&self) -> String {
        match (self.valid, self.passed) {
            (true, true) => "VALID, and every call passed".to_owned(),
            (true, false) => "VALID, and calls failed".to_owned(),
            (false, _) => format!("INVALID: {}", self.reasons.join("; ")),
        }
    }
}

fn reasons(report: &Report, late_max: f64) -> Vec<String> {
    let (generator, calls) = (&report.generator, report.main_calls());
    let mut reasons = Vec::new();
    if calls.begun == 0 {
        reasons.push("no call began".to_owned());
    }
    let late = generator.late_starts as f64 / (calls.begun + calls.not_begun).max(1) as f64;
    if late > late_max {
        reasons.push(format!(
            "the generator was late: {} of {} calls ({:.2} %) began more than {} ms after their \
             time, {:.2} % are allowed",
            generator.late_starts,
            calls.begun,
            late * 100.0,
            generator.late_after_ms,
            late_max * 100.0
        ));
    }
    if generator.kernel_drops > 0 {
        reasons.push(format!(
            "the kernel dropped {} datagrams that the generator had no room for",
            generator.kernel_drops
        ));
    }
    if generator.busiest > BUSY_MAX {
        reasons.push(format!(
            "the generator was the bottleneck: its busiest thread worked {:.0} % of the time",
            generator.busiest * 100.0
        ));
    }
    if calls.not_begun > 0 {
        reasons.push(format!(
            "{} calls could not begin because too many were under way (--calls-at-once)",
            calls.not_begun
        ));
    }
    let missing = calls.intended.saturating_sub(calls.begun + calls.not_begun);
    if missing > 0 {
        reasons.push(format!("{missing} calls had not begun when the run ended"));
    }
    let messages = &report.messages;
    if messages.unsent > 0 {
        reasons.push(format!("{} messages could not be sent", messages.unsent));
    }
    reasons
}

#[cfg(test)]
mod tests {
    use super::super::Calls;
    use super::*;

    fn report(change: impl FnOnce(&mut Report)) -> Verdict {
        let calls = Calls { intended: 1000, begun: 1000, succeeded: 1000, ..Calls::default() };
        let mut report = Report { calls, ..Report::default() };
        change(&mut report);
        Verdict::of(&report, 0.01)
    }

    #[test]
    fn codes_and_words_say_the_same() {
        assert_eq!(report(|_| ()).exit_code(), 0);
        let failed = report(|report| {
            report.calls.succeeded = 990;
            report.calls.failed = 10;
        });
        assert_eq!((failed.exit_code(), failed.valid), (1, true));
        let late = report(|report| report.generator.late_starts = 11);
        assert_eq!(late.exit_code(), 3);
        assert!(late.sentence().starts_with("INVALID: the generator was late: 11 of 1000"));
        assert_eq!(report(|report| report.generator.late_starts = 10).exit_code(), 0);
    }

    #[test]
    fn whatever_limits_the_generator_makes_the_run_invalid() {
        let changes: [fn(&mut Report); 6] = [
            |report| report.calls.intended = 1001,
            |report| report.generator.kernel_drops = 1,
            |report| report.generator.busiest = 0.99,
            |report| {
                report.calls.intended = 1001;
                report.calls.not_begun = 1;
            },
            |report| report.messages.unsent = 1,
            |report| report.calls = Calls::default(),
        ];
        for change in changes {
            let verdict = report(change);
            assert_eq!((verdict.exit_code(), verdict.reasons.len()), (3, 1));
        }
    }
}
