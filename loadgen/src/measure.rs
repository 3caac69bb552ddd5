//! Sums up what workers report, second by second.
//!
//! For: `run.rs`.
//! Not here: judging the sum (`report/verdict.rs`).
//! Invariants: a second's row is closed once, when every worker has reported it; the totals are
//! those of the workers' last words.

use crate::desk::call::Role;
use crate::desk::tally::{self, Counters, Times};
use crate::desk::{Parties, describe};
use crate::net::Traffic;
use crate::report::{
    Calls, CauseCount, Generator, MessageCounts, Report, Second, Timing, verdict::Verdict,
};
use crate::schedule::Plan;
use crate::worker::{INTERVAL, Snapshot};
use std::time::Duration;

/// Longest run that has a row for every second: a day.
const ROWS_MAX: usize = 86_400;

/// The sum so far.
pub(crate) struct Measure<'p> {
    parties: &'p Parties,
    plan: &'p Plan,
    latest: Vec<Latest>,
    /// Of the whole run.
    timings: Vec<Times>,
    lateness: Times,
    /// Of the row that is open.
    open: Open,
    before: Totals,
    pub(crate) report: Report,
}

/// What a worker said last.
#[derive(Clone, Default)]
struct Latest {
    counters: Counters,
    traffic: Traffic,
    cpu: Duration,
    active: [usize; 2],
    all_begun: bool,
    closed: u64,
    stop_asked: bool,
}

struct Open {
    timings: Vec<Times>,
}

/// What rows are differences of.
#[derive(Clone, Default)]
struct Totals {
    counters: Counters,
    cpus: Vec<Duration>,
    drops: u64,
}

impl<'p> Measure<'p> {
    pub(crate) fn new(parties: &'p Parties, plan: &'p Plan, workers: usize) -> Measure<'p> {
        let whole = parties.timings.iter().map(|_| tally::no_times()).collect();
        let open = parties.timings.iter().map(|_| tally::no_short_times()).collect();
        let named = parties.timings.iter().map(|name| Timing::of(name, &tally::no_times()));
        let report = Report { timings: named.collect(), ..Report::default() };
        Measure {
            parties,
            plan,
            latest: vec![Latest::default(); workers],
            timings: whole,
            lateness: tally::no_times(),
            open: Open { timings: open },
            before: Totals { cpus: vec![Duration::ZERO; workers], ..Totals::default() },
            report,
        }
    }

    /// Takes a worker's report. `Some` when that closes a second.
    pub(crate) fn take(&mut self, snapshot: Snapshot) -> bool {
        for (sum, times) in self.open.timings.iter_mut().zip(&snapshot.recent) {
            // Both have the same bounds.
            let _ = sum.add(times);
        }
        if let Some(whole) = &snapshot.whole {
            for (sum, times) in self.timings.iter_mut().zip(&whole.timings) {
                let _ = sum.add(times);
            }
            let _ = self.lateness.add(&whole.lateness);
        }
        let Some(latest) = self.latest.get_mut(snapshot.worker) else { return false };
        let closed = if snapshot.closes { snapshot.second + 1 } else { latest.closed };
        *latest = Latest {
            counters: snapshot.counters,
            traffic: snapshot.traffic,
            cpu: snapshot.cpu,
            active: snapshot.active,
            all_begun: snapshot.all_begun,
            closed,
            stop_asked: snapshot.stop_asked,
        };
        let rows = u64::try_from(self.report.seconds.len()).unwrap_or(u64::MAX);
        self.latest.iter().all(|latest| latest.closed > rows)
    }

    /// Closes a row of this length in seconds.
    pub(crate) fn close_row(&mut self, length: f64, drops: u64, watched: Option<(f64, u64)>) {
        let now = self.totals(drops);
        let (counters, earlier) = (&now.counters, &self.before.counters);
        let main = if self.has_callers() { Role::Caller } else { Role::Callee } as usize;
        let outcome = |of: fn(&tally::Outcomes) -> u64| {
            of(&counters.outcomes[main]) - of(&earlier.outcomes[main])
        };
        let failed =
            |counters: &Counters| counters.outcomes.iter().map(|one| one.failed).sum::<u64>();
        let cpus = now.cpus.iter().zip(&self.before.cpus);
        let busiest = cpus.map(|(now, then)| now.saturating_sub(*then)).max().unwrap_or_default();
        let start = self.report.seconds.last().map_or(0.0, |second| second.at);
        let in_flight: usize = self.latest.iter().filter_map(|l| l.active.get(main)).sum();
        let row = Second {
            at: start + length,
            offered: self.plan.rate_at(Duration::from_secs_f64(start + length / 2.0)),
            begun: outcome(|one| one.begun),
            succeeded: outcome(|one| one.succeeded),
            failed: failed(counters) - failed(earlier),
            in_flight: u64::try_from(in_flight).unwrap_or(u64::MAX),
            retransmissions: counters.retransmissions - earlier.retransmissions,
            unexpected: counters.unexpected - earlier.unexpected,
            late: counters.late_starts - earlier.late_starts,
            drops: now.drops - self.before.drops,
            busiest: busiest.as_secs_f64() / length.max(1e-3),
            timings: self.open.timings.iter().map(in_short).collect(),
            watched,
        };
        self.open.timings.iter_mut().for_each(Times::reset);
        self.before = now;
        self.refresh();
        if self.report.seconds.len() < ROWS_MAX {
            self.report.seconds.push(row);
        }
    }

    fn totals(&self, drops: u64) -> Totals {
        let mut counters = Counters::default();
        self.latest.iter().for_each(|latest| counters.add(&latest.counters));
        let cpus = self.latest.iter().map(|latest| latest.cpu).collect();
        Totals { counters, cpus, drops: drops.max(self.before.drops) }
    }

    pub(crate) fn has_callers(&self) -> bool {
        !self.parties.callers.scenarios.is_empty()
    }

    /// Whether all callers' calls have begun and ended.
    pub(crate) fn callers_done(&self) -> bool {
        self.latest.iter().all(|latest| latest.all_begun && latest.active[0] == 0)
    }

    /// How many calls callees have taken, and how many of them are under way.
    pub(crate) fn taken(&self) -> (u64, usize) {
        let begun = self.latest.iter().map(|l| l.counters.outcomes[Role::Callee as usize].begun);
        (begun.sum(), self.latest.iter().map(|latest| latest.active[1]).sum())
    }

    /// Whether a scenario wants the run to stop.
    pub(crate) fn stop_asked(&self) -> bool {
        self.latest.iter().any(|latest| latest.stop_asked)
    }

    /// Brings the report's totals up to date.
    fn refresh(&mut self) {
        let counters = &self.before.counters;
        let report = &mut self.report;
        report.calls = self_calls(counters, Role::Caller);
        report.answered = (!self.parties.callees.scenarios.is_empty())
            .then(|| self_calls(counters, Role::Callee));
    }

    /// The whole report. `lasted` is how long the run took, and how long calls began.
    /// It was `cut_short` by a signal or a scenario.
    pub(crate) fn finish(mut self, lasted: (f64, f64), late_max: f64, cut_short: bool) -> Report {
        self.refresh();
        let counters = std::mem::take(&mut self.before.counters);
        let named = self.parties.timings.iter().zip(&self.timings);
        self.report.timings = named.map(|(name, times)| Timing::of(name, times)).collect();
        let (in_all, of_calls) = lasted;
        let report = &mut self.report;
        (report.seconds_in_all, report.seconds_of_calls) = (in_all, of_calls);
        report.calls.not_begun = counters.not_begun;
        // Who is told to stop does not intend the rest.
        let done = report.calls.begun + counters.not_begun;
        report.calls.intended = if cut_short { done } else { self.plan.calls().max(done) };
        for calls in [Some(&mut report.calls), report.answered.as_mut()].into_iter().flatten() {
            calls.rate = calls.begun as f64 / of_calls.max(1e-3);
        }
        report.causes = causes(self.parties, &counters);
        report.notes.clone_from(&counters.notes);
        let traffic = self.latest.iter().map(|latest| latest.traffic);
        let traffic = traffic.reduce(|sum, one| Traffic {
            sends: sum.sends + one.sends,
            receives: sum.receives + one.receives,
            unsent: sum.unsent + one.unsent,
            broken: sum.broken + one.broken,
        });
        report.messages = messages(&counters, traffic.unwrap_or_default());
        let cpu: Duration = self.latest.iter().map(|latest| latest.cpu).sum();
        let calls = report.main_calls().begun.max(1) as f64;
        report.generator = Generator {
            cpu_seconds: cpu.as_secs_f64(),
            cpu_micros_per_call: cpu.as_secs_f64() * 1e6 / calls,
            busiest: busiest(&report.seconds, of_calls),
            late_starts: counters.late_starts,
            late_after_ms: self.parties.late_after.as_secs_f64() * 1000.0,
            lateness: Timing::of("lateness", &self.lateness),
            kernel_drops: self.before.drops,
            stolen_seconds: report.generator.stolen_seconds,
            sends: traffic.unwrap_or_default().sends,
            receives: traffic.unwrap_or_default().receives,
        };
        report.verdict = Verdict::of(report, late_max);
        self.report
    }
}

/// The mean of the busiest threads' shares while calls began: a drain afterwards must not hide it.
fn busiest(seconds: &[Second], of_calls: f64) -> f64 {
    let mut start = 0.0;
    let (mut spent, mut length) = (0.0, 0.0);
    for second in seconds {
        if start < of_calls {
            spent += second.busiest * (second.at - start);
            length += second.at - start;
        }
        start = second.at;
    }
    if length > 0.0 { spent / length } else { 0.0 }
}

fn self_calls(counters: &Counters, role: Role) -> Calls {
    let outcomes = counters.outcomes[role as usize];
    Calls {
        intended: outcomes.begun,
        begun: outcomes.begun,
        succeeded: outcomes.succeeded,
        failed: outcomes.failed,
        not_begun: 0,
        rate: 0.0,
    }
}

fn in_short(times: &Times) -> Option<(f64, f64, f64)> {
    let millis = |micros: u64| micros as f64 / 1000.0;
    let at = |percentile| millis(times.value_at_percentile(percentile));
    (!times.is_empty()).then(|| (at(50.0), at(99.0), millis(times.max())))
}

fn causes(parties: &Parties, counters: &Counters) -> Vec<CauseCount> {
    let mut causes: Vec<CauseCount> = Vec::new();
    for (cause, count) in &counters.causes {
        let side = match cause.role {
            Role::Caller => "caller",
            Role::Callee => "callee",
        };
        causes.push(CauseCount {
            side: side.to_owned(),
            what: describe(parties, cause),
            count: *count,
        });
    }
    causes.sort_by_key(|cause| std::cmp::Reverse(cause.count));
    causes
}

fn messages(counters: &Counters, traffic: Traffic) -> MessageCounts {
    MessageCounts {
        sent: counters.sent.named().into_iter().collect(),
        received: counters.received.named().into_iter().collect(),
        sent_in_all: counters.sent.total(),
        received_in_all: counters.received.total(),
        retransmissions: counters.retransmissions,
        answered_again: counters.answered_again,
        repeated: counters.repeated,
        unexpected: counters.unexpected,
        stray: counters.stray,
        late: counters.late_messages,
        malformed: counters.malformed,
        lost_on_purpose: counters.lost_on_purpose,
        unsent: traffic.unsent,
        broken_connections: traffic.broken,
    }
}

/// The length of a full row.
pub(crate) const ROW: f64 = INTERVAL.as_secs() as f64;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::desk::Party;
    use crate::schedule::Profile;
    use std::net::SocketAddr;

    fn parties() -> Parties {
        let text = "<scenario><send>BYE sip:a SIP/2.0</send></scenario>";
        let scenario = crate::scenario::Scenario::read("a.xml", text).expect("a scenario");
        let callers =
            Party { scenarios: vec![scenario], weights: vec![1], timing_ids: vec![vec![]] };
        Parties {
            callers,
            callees: Party::default(),
            fields: Vec::new(),
            timings: vec!["setup".to_owned()],
            target: SocketAddr::from(([127, 0, 0, 1], 5060)),
            remote_ip: String::new(),
            service: Vec::new(),
            user: Vec::new(),
            password: Vec::new(),
            hold: Duration::ZERO,
            patience: None,
            late_after: Duration::from_millis(20),
            calls_max: 10,
        }
    }

    fn snapshot(worker: usize, second: u64, begun: u64, cpu: u64) -> Snapshot {
        let mut counters = Counters::default();
        counters.outcomes[0].begun = begun;
        counters.outcomes[0].succeeded = begun;
        let mut recent = tally::no_short_times();
        tally::record(&mut recent, Duration::from_millis(begun));
        let whole = (second == 1).then(|| crate::worker::Whole {
            timings: vec![{
                let mut all = tally::no_times();
                tally::record(&mut all, Duration::from_millis(begun));
                all
            }],
            lateness: tally::no_times(),
        });
        Snapshot {
            worker,
            second,
            counters,
            traffic: Traffic::default(),
            cpu: Duration::from_millis(cpu),
            recent: vec![recent],
            whole,
            active: [1, 0],
            all_begun: second == 1,
            stop_asked: false,
            closes: true,
        }
    }

    #[test]
    fn a_row_closes_when_every_worker_has_reported_it() {
        let parties = parties();
        let profile: Profile = "10".parse().expect("a profile");
        let plan = Plan::new(&profile, Some(Duration::from_secs(2)), Duration::ZERO);
        let mut measure = Measure::new(&parties, &plan, 2);
        let mut rows = Vec::new();
        for (worker, second, begun, cpu) in
            [(0, 0, 5, 100), (1, 0, 5, 300), (1, 1, 10, 1200), (0, 1, 10, 200)]
        {
            if measure.take(snapshot(worker, second, begun, cpu)) {
                measure.close_row(ROW, 0, None);
                rows.push((worker, second));
            }
        }
        assert_eq!(rows, [(1, 0), (0, 1)]);
        assert!(!measure.callers_done(), "calls are under way");
        let report = measure.finish((60.0, 2.0), 0.01, false);
        let begun: Vec<u64> = report.seconds.iter().map(|second| second.begun).collect();
        assert_eq!((begun, report.calls.begun, report.calls.intended), (vec![10, 10], 20, 20));
        // 300 ms of one second, 900 ms of the next: the minute of draining changes nothing.
        assert!((report.generator.busiest - 0.6).abs() < 1e-9);
        assert_eq!((report.timings[0].count, report.timings[0].max.round() as u64), (2, 10));
        assert!(report.verdict.valid && report.verdict.passed);
    }

    #[test]
    fn calls_that_never_began_are_missed_unless_someone_cut_the_run_short() {
        let parties = parties();
        let profile: Profile = "10".parse().expect("a profile");
        let plan = Plan::new(&profile, Some(Duration::from_secs(2)), Duration::ZERO);
        for (cut_short, intended) in [(false, 20), (true, 5)] {
            let mut measure = Measure::new(&parties, &plan, 1);
            assert!(measure.take(snapshot(0, 0, 5, 100)));
            measure.close_row(ROW, 0, None);
            let report = measure.finish((1.0, 1.0), 0.01, cut_short);
            assert_eq!((report.calls.intended, report.verdict.valid), (intended, cut_short));
        }
    }
}
