//! The closing table, and the line that is shown meanwhile.
//!
//! For: a terminal.

use super::{Calls, Report, Second};
use std::fmt::Write as _;

/// Most causes shown; the JSON has all.
const CAUSES_SHOWN: usize = 12;

/// The closing table.
pub(crate) fn write(report: &Report) -> String {
    let mut text = String::new();
    calls(&mut text, "calls made", &report.calls);
    if let Some(answered) = &report.answered {
        calls(&mut text, "calls taken", answered);
    }
    causes(&mut text, report);
    timings(&mut text, report);
    messages(&mut text, report);
    generator(&mut text, report);
    system(&mut text, report);
    for note in &report.notes {
        let _ = writeln!(text, "note       {note}");
    }
    let _ = writeln!(text, "\n{}", report.verdict.sentence());
    text
}

fn calls(text: &mut String, name: &str, calls: &Calls) {
    if calls.intended == 0 {
        return;
    }
    let share = calls.failed as f64 / calls.begun.max(1) as f64 * 100.0;
    let _ = writeln!(
        text,
        "{name:<12}{} begun of {} ({:.1}/s), {} passed, {} failed ({share:.2} %)",
        calls.begun, calls.intended, calls.rate, calls.succeeded, calls.failed
    );
}

fn causes(text: &mut String, report: &Report) {
    for cause in report.causes.iter().take(CAUSES_SHOWN) {
        let _ = writeln!(text, "  {:>8}  {}: {}", cause.count, cause.side, cause.what);
    }
    let more = report.causes.len().saturating_sub(CAUSES_SHOWN);
    if more > 0 {
        let _ = writeln!(text, "            and {more} more causes");
    }
}

fn timings(text: &mut String, report: &Report) {
    let measured = report.timings.iter().filter(|timing| timing.count > 0);
    let mut head = "\n";
    for timing in measured {
        let _ = writeln!(
            text,
            "{head}{:<14}{:>9} times  p50 {}  p90 {}  p99 {}  p99.9 {}  longest {} ms",
            timing.name,
            timing.count,
            short(timing.p50),
            short(timing.p90),
            short(timing.p99),
            short(timing.p999),
            short(timing.max)
        );
        head = "";
    }
}

/// Three digits are enough for a person.
pub(crate) fn short(millis: f64) -> String {
    match millis {
        ..10.0 => format!("{millis:.2}"),
        ..100.0 => format!("{millis:.1}"),
        _ => format!("{millis:.0}"),
    }
}

fn messages(text: &mut String, report: &Report) {
    let messages = &report.messages;
    let _ = writeln!(
        text,
        "\nmessages    {} sent, {} received; {} sent again, {} received again",
        messages.sent_in_all,
        messages.received_in_all,
        messages.retransmissions + messages.answered_again,
        messages.repeated
    );
    let odd = [
        (messages.unexpected, "unexpected"),
        (messages.stray, "of no call"),
        (messages.late, "after the end of their call"),
        (messages.malformed, "not understood"),
        (messages.lost_on_purpose, "lost on purpose"),
        (messages.unsent, "not sent"),
        (messages.broken_connections, "connections broken"),
    ];
    let odd: Vec<String> = odd
        .iter()
        .filter(|(count, _)| *count > 0)
        .map(|(count, what)| format!("{count} {what}"))
        .collect();
    if !odd.is_empty() {
        let _ = writeln!(text, "            {}", odd.join(", "));
    }
}

fn generator(text: &mut String, report: &Report) {
    let generator = &report.generator;
    let _ = writeln!(
        text,
        "generator   {:.2} s CPU, {:.1} us a call, busiest thread {:.0} %; {} late starts \
         (p99 {} ms), {} kernel drops, {:.2} s stolen",
        generator.cpu_seconds,
        generator.cpu_micros_per_call,
        generator.busiest * 100.0,
        generator.late_starts,
        short(generator.lateness.p99),
        generator.kernel_drops,
        generator.stolen_seconds
    );
}

fn system(text: &mut String, report: &Report) {
    let system = &report.system;
    if let (Some(pid), Some(per_call), Some(memory)) =
        (system.pid, system.cpu_micros_per_call, system.memory_bytes_most)
    {
        let megabytes = memory as f64 / 1e6;
        let _ = writeln!(
            text,
            "process     {pid} with its children: {per_call:.1} us CPU a call, {megabytes:.1} MB"
        );
    }
    if let Some(page) = &system.page {
        let changed = system.metrics_during.len();
        let _ = writeln!(text, "metrics     {page}: {changed} numbers changed");
    }
}

/// One line while the run goes on.
pub(crate) fn progress(report: &Report, second: &Second, length: f64) -> String {
    let times = report.timings.iter().zip(&second.timings);
    let times = times.filter_map(|(timing, measured)| {
        let (p50, p99, _) = (*measured)?;
        Some(format!("{} p50 {} p99 {} ms", timing.name, short(p50), short(p99)))
    });
    let times: Vec<String> = times.take(2).collect();
    let left = (length - second.at).max(0.0);
    let late = if second.late > 0 { format!("  late {}", second.late) } else { String::new() };
    format!(
        "{:>5.0}s  {}/s of {:.0}  in flight {}  failed {}{late}  {}  ETA {left:.0}s",
        second.at,
        second.begun,
        second.offered,
        second.in_flight,
        report.calls.failed + report.answered.map_or(0, |answered| answered.failed),
        times.join("  ")
    )
}

#[cfg(test)]
mod tests {
    use super::super::{CauseCount, Timing};
    use super::*;

    #[test]
    fn the_table_names_causes_and_the_verdict() {
        let calls =
            Calls { intended: 100, begun: 100, succeeded: 99, failed: 1, ..Calls::default() };
        let causes = vec![CauseCount { side: "caller".into(), what: "got 486".into(), count: 1 }];
        let timings =
            vec![Timing { name: "setup".into(), count: 99, p50: 1.5, ..Timing::default() }];
        let mut report = Report { calls, causes, timings, ..Report::default() };
        report.verdict = super::super::verdict::Verdict::of(&report, 0.01);
        let text = write(&report);
        for part in ["99 passed, 1 failed (1.00 %)", "1  caller: got 486", "p50 1.50", "VALID, and"]
        {
            assert!(text.contains(part), "{part}: {text}");
        }
        let second =
            Second { at: 2.0, timings: vec![Some((1.0, 22.25, 333.0))], ..Second::default() };
        let line = progress(&report, &second, 10.0);
        assert!(line.contains("setup p50 1.00 p99 22.2 ms") && line.contains("ETA 8s"), "{line}");
    }
}
