//! The page of a run: one file that needs nothing else.
//!
//! For: `--html`, `page`.
//! Not here: drawing (`svg.rs`), two runs side by side (`compare.rs`).
//! Invariants: no script, no link, nothing fetched.

use super::svg::{Axes, Line, Scale, bars, escape, plot, short};
use super::{Calls, Report, Second, table};
use std::fmt::Write as _;

const STYLE: &str = include_str!("page.css");
/// Most numbers of a metrics page that are plotted.
const METRICS_PLOTTED: usize = 12;

/// A whole page around this body.
pub(super) fn document(title: &str, body: &str) -> String {
    let title = escape(title);
    format!(
        "<!DOCTYPE html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n\
         <title>{title}</title>\n<style>\n{STYLE}</style>\n</head>\n<body>\n\
         {body}</body>\n</html>\n"
    )
}

/// The page of one run.
pub(crate) fn page(report: &Report) -> String {
    let mut body = String::new();
    head(&mut body, report);
    body.push_str("<h2>Calls and times</h2>\n<div class=\"plots\">\n");
    for figure in [
        rates(report),
        latency(report),
        percentiles(&[("", report)]),
        causes(report),
        in_flight(report),
        trouble(report),
    ] {
        let _ = writeln!(body, "{figure}");
    }
    body.push_str("</div>\n<h2>Generator and system</h2>\n<div class=\"plots\">\n");
    let _ = writeln!(body, "{}", processors(report));
    if report.seconds.iter().any(|second| second.watched.is_some()) {
        let _ = writeln!(body, "{}", memory(report));
    }
    for figure in metrics(report) {
        let _ = writeln!(body, "{figure}");
    }
    body.push_str("</div>\n<h2>Times in milliseconds</h2>\n");
    timings(&mut body, report);
    body.push_str("<h2>Messages</h2>\n");
    messages(&mut body, report);
    if !report.notes.is_empty() {
        body.push_str("<h2>Notes</h2>\n<ul>");
        for note in &report.notes {
            let _ = write!(body, "<li>{}</li>", escape(note));
        }
        body.push_str("</ul>\n");
    }
    document(&format!("{} at {}", report.target, report.rate), &body)
}

fn head(body: &mut String, report: &Report) {
    let (verdict, calls) = (&report.verdict, report.main_calls());
    let colour = match (verdict.valid, verdict.passed) {
        (true, true) => "good",
        (true, false) => "odd",
        (false, _) => "bad",
    };
    let _ = writeln!(
        body,
        "<h1>{} over {}</h1>\n<p class=\"soft\">{} s, {} thread(s), {}; began {}\n\
         <br><code>{}</code></p>\n<p class=\"verdict {colour}\">{}</p>\n<div class=\"cards\">",
        escape(&report.target),
        escape(&report.transport.to_uppercase()),
        short(report.seconds_in_all),
        report.threads,
        escape(&report.tool),
        crate::desk::rfc1123(report.began),
        escape(&report.command),
        escape(&verdict.sentence())
    );
    cards(body, report, &calls);
    body.push_str("</div>\n");
}

fn cards(body: &mut String, report: &Report, calls: &Calls) {
    let failed = calls.failed as f64 / calls.begun.max(1) as f64 * 100.0;
    let mut card = |value: String, what: &str| {
        let _ = writeln!(body, "<div><b>{value}</b><span>{}</span></div>", escape(what));
    };
    card(calls.begun.to_string(), "calls begun");
    card(calls.succeeded.to_string(), "passed");
    card(format!("{} ({failed:.2} %)", calls.failed), "failed");
    card(format!("{:.1}", calls.rate), "calls a second");
    for timing in report.timings.iter().filter(|timing| timing.count > 0).take(3) {
        let times = format!("{} / {}", table::short(timing.p50), table::short(timing.p99));
        card(times, &format!("{}: p50 / p99 ms", timing.name));
    }
    card(format!("{:.1}", report.generator.cpu_micros_per_call), "us of generator a call");
    if let Some(micros) = report.system.cpu_micros_per_call {
        card(format!("{micros:.1}"), "us of the process a call");
    }
}

fn over_time(report: &Report, value: impl Fn(&Second) -> f64) -> Vec<(f64, f64)> {
    report.seconds.iter().map(|second| (second.at, value(second))).collect()
}

/// The rows with their lengths. The last one may be so short that rates mean nothing.
pub(super) fn rows(report: &Report) -> impl Iterator<Item = (f64, &Second)> {
    let starts = std::iter::once(0.0).chain(report.seconds.iter().map(|second| second.at));
    let rows = starts.zip(&report.seconds).map(|(start, second)| (second.at - start, second));
    rows.filter(|(length, _)| *length > ROW_SECONDS_LEAST)
}

/// Shorter rows show no rates.
const ROW_SECONDS_LEAST: f64 = 0.2;

/// Counts of a row as a rate.
fn per_second(report: &Report, count: impl Fn(&Second) -> u64) -> Vec<(f64, f64)> {
    rows(report).map(|(length, second)| (second.at, count(second) as f64 / length)).collect()
}

fn time_axes<'a>(title: &'a str, y: &'a str, scale: Scale) -> Axes<'a> {
    Axes { title, x: ("seconds", Scale::Linear), y: (y, scale) }
}

fn rates(report: &Report) -> String {
    let lines = [
        Line::new("offered", rows(report).map(|(_, s)| (s.at, s.offered)).collect()).dashed(),
        Line::new("begun", per_second(report, |second| second.begun)),
        Line::new("passed", per_second(report, |second| second.succeeded)),
    ];
    plot(time_axes("Rate offered and achieved", "calls a second", Scale::Linear), &lines)
}

fn latency(report: &Report) -> String {
    let mut lines = Vec::new();
    for (index, timing) in report.timings.iter().enumerate().filter(|(_, t)| t.count > 0).take(3) {
        let points = |pick: fn((f64, f64, f64)) -> f64| {
            let seconds = report.seconds.iter();
            let measured = seconds.filter_map(|second| {
                let times = second.timings.get(index).copied().flatten()?;
                Some((second.at, pick(times)))
            });
            measured.collect::<Vec<_>>()
        };
        lines.push(Line::new(format!("{} p50", timing.name), points(|(p50, ..)| p50)).dashed());
        lines.push(Line::new(format!("{} p99", timing.name), points(|(_, p99, _)| p99)));
    }
    plot(time_axes("Times from when calls were due", "milliseconds", Scale::Logarithmic), &lines)
}

/// The percentiles of the times of one run, or of several with their names.
pub(super) fn percentiles(runs: &[(&str, &Report)]) -> String {
    let mut lines = Vec::new();
    for (name, report) in runs {
        let measured = report.timings.iter().filter(|timing| timing.count > 0);
        lines.extend(measured.map(|timing| {
            let name = format!("{} {name}", timing.name);
            Line::new(name.trim(), timing.percentiles.clone())
        }));
    }
    let axes = Axes {
        title: "Times by percentile",
        x: ("percentile", Scale::Nines),
        y: ("milliseconds", Scale::Logarithmic),
    };
    plot(axes, &lines)
}

fn causes(report: &Report) -> String {
    let causes = report.causes.iter();
    let causes = causes.map(|cause| (format!("{}: {}", cause.side, cause.what), cause.count));
    bars("Failures by cause", &causes.collect::<Vec<_>>())
}

fn in_flight(report: &Report) -> String {
    let lines = [Line::new("in flight", over_time(report, |second| second.in_flight as f64))];
    plot(time_axes("Calls under way", "calls", Scale::Linear), &lines)
}

fn trouble(report: &Report) -> String {
    let line = |name: &str, count: fn(&Second) -> u64| {
        Line::new(name, over_time(report, |second| count(second) as f64))
    };
    let lines = [
        line("failed", |second| second.failed),
        line("retransmitted", |second| second.retransmissions),
        line("unexpected", |second| second.unexpected),
        line("late starts", |second| second.late),
        line("kernel drops", |second| second.drops),
    ];
    plot(time_axes("What went wrong", "in a second", Scale::Linear), &lines)
}

fn processors(report: &Report) -> String {
    let busiest = rows(report).map(|(_, second)| (second.at, second.busiest * 100.0)).collect();
    let mut lines = vec![Line::new("generator's busiest thread", busiest)];
    let watched = rows(report);
    let watched = watched.filter_map(|(_, second)| Some((second.at, second.watched?.0 * 100.0)));
    let watched: Vec<(f64, f64)> = watched.collect();
    if !watched.is_empty() {
        lines.push(Line::new("process watched", watched));
    }
    plot(time_axes("Processor time", "% of a core", Scale::Linear), &lines)
}

fn memory(report: &Report) -> String {
    let watched = report.seconds.iter();
    let points = watched.filter_map(|second| Some((second.at, second.watched?.1 as f64 / 1e6)));
    let lines = [Line::new("process watched", points.collect())];
    plot(time_axes("Memory", "megabytes", Scale::Linear), &lines)
}

/// Counters as rates, everything else as it is.
fn metrics(report: &Report) -> Vec<String> {
    let during = report.system.metrics_during.iter().filter(|(_, points)| points.len() > 1);
    let figures = during.take(METRICS_PLOTTED).map(|(name, points)| {
        let counts = name.split('{').next().is_some_and(|name| name.ends_with("_total"));
        let points = if counts { growth(points) } else { points.clone() };
        let unit = if counts { "in a second" } else { "value" };
        plot(time_axes(name, unit, Scale::Linear), &[Line::new(name.clone(), points)])
    });
    figures.collect()
}

fn growth(points: &[(f64, f64)]) -> Vec<(f64, f64)> {
    let pairs = points.windows(2).filter_map(|pair| match pair {
        [(from, before), (to, after)] if to - from > ROW_SECONDS_LEAST => {
            Some((*to, (after - before) / (to - from)))
        }
        _ => None,
    });
    pairs.collect()
}

fn timings(body: &mut String, report: &Report) {
    body.push_str("<div class=\"scroll\"><table><tr><th>time</th>");
    let names = ["count", "least", "mean", "p50", "p90", "p99", "p99.9", "most"];
    for name in names {
        let _ = write!(body, "<th class=\"number\">{name}</th>");
    }
    body.push_str("</tr>\n");
    let lateness = std::iter::once(&report.generator.lateness);
    for timing in report.timings.iter().chain(lateness).filter(|timing| timing.count > 0) {
        let _ = write!(
            body,
            "<tr><th>{}</th><td class=\"number\">{}</td>",
            escape(&timing.name),
            timing.count
        );
        let numbers =
            [timing.min, timing.mean, timing.p50, timing.p90, timing.p99, timing.p999, timing.max];
        for number in numbers {
            let _ = write!(body, "<td class=\"number\">{}</td>", table::short(number));
        }
        body.push_str("</tr>\n");
    }
    body.push_str("</table></div>\n");
}

fn messages(body: &mut String, report: &Report) {
    let messages = &report.messages;
    let mut names: Vec<&String> = messages.sent.keys().chain(messages.received.keys()).collect();
    names.sort();
    names.dedup();
    body.push_str(
        "<div class=\"scroll\"><table><tr><th>message</th><th class=\"number\">sent</th>\
         <th class=\"number\">received</th></tr>\n",
    );
    for name in names {
        let count = |counts: &std::collections::BTreeMap<String, u64>| {
            counts.get(name).copied().unwrap_or(0)
        };
        let _ = writeln!(
            body,
            "<tr><th>{}</th><td class=\"number\">{}</td><td class=\"number\">{}</td></tr>",
            escape(name),
            count(&messages.sent),
            count(&messages.received)
        );
    }
    let _ = writeln!(
        body,
        "</table></div>\n<p class=\"soft\">{} retransmitted, {} answered again, {} received again, \
         {} unexpected, {} of no call, {} after the end of their call, {} not understood.</p>",
        messages.retransmissions,
        messages.answered_again,
        messages.repeated,
        messages.unexpected,
        messages.stray,
        messages.late,
        messages.malformed
    );
}

#[cfg(test)]
mod tests {
    use super::super::{CauseCount, Timing, verdict::Verdict};
    use super::*;

    #[test]
    fn the_page_stands_alone_and_shows_the_causes() {
        let timing = Timing {
            name: "setup".into(),
            count: 2,
            percentiles: vec![(50.0, 1.0), (99.0, 3.0)],
            ..Timing::default()
        };
        let second = |at: f64| Second {
            at,
            offered: 10.0,
            begun: 10,
            timings: vec![Some((1.0, 2.0, 3.0))],
            watched: Some((0.5, 1_000_000)),
            ..Second::default()
        };
        let report = Report {
            timings: vec![timing],
            seconds: vec![second(1.0), second(2.0)],
            causes: vec![CauseCount { side: "caller".into(), what: "got <486>".into(), count: 7 }],
            verdict: Verdict { valid: true, passed: false, reasons: Vec::new() },
            ..Report::default()
        };
        let text = page(&report);
        assert!(text.contains("got &lt;486&gt;") && text.contains("VALID, and calls failed"));
        for outside in ["<script", "http://", "https://", "src=", "@import", "url("] {
            assert!(!text.contains(outside), "{outside}");
        }
        assert_eq!(text.matches("<svg").count(), text.matches("</svg>").count());
        assert!(text.matches("<svg").count() >= 6);
    }
}
