//! A line for each second.
//!
//! For: `--csv`.

use super::Report;
use std::fmt::Write as _;

/// The whole file. Empty cells: nothing was measured in that second.
pub(crate) fn write(report: &Report) -> String {
    let mut text = String::from(
        "second,offered,begun,succeeded,failed,in_flight,retransmissions,unexpected,late,drops,\
         busiest",
    );
    for timing in &report.timings {
        let name = timing.name.replace([',', ' '], "_");
        let _ = write!(text, ",{name}_p50_ms,{name}_p99_ms,{name}_max_ms");
    }
    text.push_str(",watched_cpu,watched_memory_bytes\n");
    for second in &report.seconds {
        let _ = write!(
            text,
            "{:.3},{:.3},{},{},{},{},{},{},{},{},{:.4}",
            second.at,
            second.offered,
            second.begun,
            second.succeeded,
            second.failed,
            second.in_flight,
            second.retransmissions,
            second.unexpected,
            second.late,
            second.drops,
            second.busiest
        );
        for index in 0..report.timings.len() {
            let _ = match second.timings.get(index).copied().flatten() {
                Some((p50, p99, max)) => write!(text, ",{p50:.3},{p99:.3},{max:.3}"),
                None => write!(text, ",,,"),
            };
        }
        let _ = match second.watched {
            Some((cpu, memory)) => writeln!(text, ",{cpu:.4},{memory}"),
            None => writeln!(text, ",,"),
        };
    }
    text
}

#[cfg(test)]
mod tests {
    use super::super::{Second, Timing};
    use super::*;

    #[test]
    fn all_lines_have_the_columns_of_the_first() {
        let timings = vec![Timing { name: "set up".into(), ..Timing::default() }];
        let filled = Second { timings: vec![Some((1.0, 2.0, 3.0))], ..Second::default() };
        let watched = Second { watched: Some((0.5, 7)), ..Second::default() };
        let report = Report { timings, seconds: vec![filled, watched], ..Report::default() };
        let text = write(&report);
        let columns: Vec<usize> = text.lines().map(|line| line.split(',').count()).collect();
        assert_eq!(columns, [16, 16, 16]);
        assert!(text.contains("set_up_p50_ms") && text.contains(",1.000,2.000,3.000,"), "{text}");
    }
}
