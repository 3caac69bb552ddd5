//! Two runs side by side.
//!
//! For: `compare A.json B.json`, as a table or as a page.
//! Not here: judging which is better: the numbers and their ratio are shown.

use super::html::{self, document, percentiles};
use super::svg::{Axes, Line, Scale, escape, plot};
use super::{Report, Second, table};
use std::fmt::Write as _;

/// A line of the table: what, its two values, and how many digits it takes.
struct Row {
    what: String,
    one: f64,
    other: f64,
}

fn rows(one: &Report, other: &Report) -> Vec<Row> {
    let mut rows = Vec::new();
    let mut row = |what: &str, value: fn(&Report) -> f64| {
        let (one, other) = (value(one), value(other));
        // Nobody watched a process, nothing was late: not worth a line.
        if one != 0.0 || other != 0.0 {
            rows.push(Row { what: what.to_owned(), one, other });
        }
    };
    row("calls begun", |report| report.main_calls().begun as f64);
    row("calls a second", |report| report.main_calls().rate);
    row("failed", |report| report.main_calls().failed as f64);
    row("retransmissions", |report| report.messages.retransmissions as f64);
    row("late starts", |report| report.generator.late_starts as f64);
    row("generator CPU us a call", |report| report.generator.cpu_micros_per_call);
    row("process CPU us a call", |report| report.system.cpu_micros_per_call.unwrap_or(0.0));
    row("process memory MB", |report| report.system.memory_bytes_most.unwrap_or(0) as f64 / 1e6);
    for timing in &one.timings {
        let Some(twin) = other.timings.iter().find(|twin| twin.name == timing.name) else {
            continue;
        };
        let pairs = [
            ("p50", timing.p50, twin.p50),
            ("p99", timing.p99, twin.p99),
            ("p99.9", timing.p999, twin.p999),
            ("longest", timing.max, twin.max),
        ];
        rows.extend(pairs.into_iter().map(|(name, one, other)| Row {
            what: format!("{} {name} ms", timing.name),
            one,
            other,
        }));
    }
    rows
}

impl Row {
    /// Counts have no decimals.
    fn cells(&self) -> [String; 3] {
        let cell = |value: f64| match value.fract() == 0.0 {
            true => format!("{value:.0}"),
            false => table::short(value),
        };
        [cell(self.one), cell(self.other), self.ratio()]
    }

    fn ratio(&self) -> String {
        if self.one > 0.0 { format!("{:.2}", self.other / self.one) } else { "-".to_owned() }
    }
}

/// For a terminal.
pub(crate) fn table(one: &Report, other: &Report) -> String {
    let mut text = format!("A  {}\nB  {}\n\n", one.command, other.command);
    let _ = writeln!(text, "{:<28}{:>14}{:>14}{:>9}", "", "A", "B", "B/A");
    for row in rows(one, other) {
        let [a, b, ratio] = row.cells();
        let _ = writeln!(text, "{:<28}{a:>14}{b:>14}{ratio:>9}", row.what);
    }
    let _ = writeln!(text, "\nA  {}\nB  {}", one.verdict.sentence(), other.verdict.sentence());
    text
}

/// For a browser.
pub(crate) fn page(one: &Report, other: &Report) -> String {
    let mut body = String::from("<h1>Two runs</h1>\n");
    for (name, report) in [("A", one), ("B", other)] {
        let colour = match (report.verdict.valid, report.verdict.passed) {
            (true, true) => "good",
            (true, false) => "odd",
            (false, _) => "bad",
        };
        let _ = writeln!(
            body,
            "<p class=\"soft\">{name}: <code>{}</code></p>\
             <p class=\"verdict {colour}\">{name}: {}</p>",
            escape(&report.command),
            escape(&report.verdict.sentence())
        );
    }
    body.push_str("<h2>Numbers</h2>\n<div class=\"scroll\"><table><tr><th></th>");
    for name in ["A", "B", "B/A"] {
        let _ = write!(body, "<th class=\"number\">{name}</th>");
    }
    body.push_str("</tr>\n");
    for row in rows(one, other) {
        let _ = write!(body, "<tr><th>{}</th>", escape(&row.what));
        for cell in row.cells() {
            let _ = write!(body, "<td class=\"number\">{cell}</td>");
        }
        body.push_str("</tr>\n");
    }
    body.push_str("</table></div>\n<h2>Plots</h2>\n<div class=\"plots\">\n");
    let _ = writeln!(body, "{}", percentiles(&[("A", one), ("B", other)]));
    for (title, unit, scale, value) in OVER_TIME {
        let line = |name, report: &Report| {
            let points = html::rows(report).filter_map(|(_, s)| Some((s.at, value(s)?)));
            Line::new(name, points.collect())
        };
        let axes = Axes { title, x: ("seconds", Scale::Linear), y: (unit, *scale) };
        let _ = writeln!(body, "{}", plot(axes, &[line("A", one), line("B", other)]));
    }
    body.push_str("</div>\n");
    document("Two runs", &body)
}

type Value = fn(&Second) -> Option<f64>;

/// What is plotted over time: title, unit, scale, value.
const OVER_TIME: &[(&str, &str, Scale, Value)] = &[
    ("Calls begun", "in a second", Scale::Linear, |second| Some(second.begun as f64)),
    ("First time, p99", "milliseconds", Scale::Logarithmic, |second| {
        second.timings.first().copied().flatten().map(|(_, p99, _)| p99)
    }),
    ("Failed", "in a second", Scale::Linear, |second| Some(second.failed as f64)),
    ("Process CPU", "% of a core", Scale::Linear, |second| Some(second.watched?.0 * 100.0)),
    ("Process memory", "megabytes", Scale::Linear, |second| Some(second.watched?.1 as f64 / 1e6)),
    ("Generator's busiest thread", "% of a core", Scale::Linear, |s| Some(s.busiest * 100.0)),
];

#[cfg(test)]
mod tests {
    use super::super::{Calls, Timing};
    use super::*;

    fn report(begun: u64, p99: f64) -> Report {
        let calls = Calls { intended: begun, begun, ..Calls::default() };
        let timing = Timing { name: "setup".into(), count: begun, p99, ..Timing::default() };
        let second = Second { at: 1.0, begun, ..Second::default() };
        Report { calls, timings: vec![timing], seconds: vec![second], ..Report::default() }
    }

    #[test]
    fn both_runs_and_their_ratio_are_shown() {
        let (one, other) = (report(100, 2.0), report(200, 5.0));
        let text = table(&one, &other);
        let line = text.lines().find(|line| line.starts_with("setup p99 ms")).expect("a line");
        assert_eq!(line.split_whitespace().skip(3).collect::<Vec<_>>(), ["2", "5", "2.50"]);
        let page = page(&one, &other);
        assert!(
            page.contains("<td class=\"number\">2.50</td>") && page.contains("First time, p99")
        );
    }
}
