//! What a run came to: kept as JSON, shown as a table, as CSV and as a page.
//!
//! For: people, and `benches/versus`, which reads the JSON.
//! Not here: counting (`desk/tally.rs`), summing up while the run goes on (`measure.rs`).
//! Invariants: everything shown is in the JSON, so that a page can be made from it later.

pub(crate) mod compare;
pub(crate) mod csv;
pub(crate) mod html;
pub(crate) mod svg;
pub(crate) mod table;
pub(crate) mod verdict;

use crate::desk::tally::Times;
use crate::sample::{Numbers, Usage};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// Of the JSON: grows when a field changes its meaning.
pub(crate) const FORMAT: u32 = 1;

/// A whole run.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(crate) struct Report {
    pub(crate) format: u32,
    pub(crate) tool: String,
    pub(crate) command: String,
    /// Seconds since 1970.
    pub(crate) began: u64,
    pub(crate) target: String,
    pub(crate) transport: String,
    pub(crate) threads: usize,
    pub(crate) rate: String,
    /// Seconds during which calls began, and until the last one had ended.
    pub(crate) seconds_of_calls: f64,
    pub(crate) seconds_in_all: f64,
    pub(crate) calls: Calls,
    /// The callees' side, if it was this generator's.
    pub(crate) answered: Option<Calls>,
    pub(crate) causes: Vec<CauseCount>,
    pub(crate) messages: MessageCounts,
    pub(crate) timings: Vec<Timing>,
    pub(crate) generator: Generator,
    pub(crate) seconds: Vec<Second>,
    pub(crate) system: System,
    pub(crate) verdict: verdict::Verdict,
    pub(crate) notes: Vec<String>,
}

/// The calls of one side.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct Calls {
    /// How many should have begun; for callees, as many as did.
    pub(crate) intended: u64,
    pub(crate) begun: u64,
    pub(crate) succeeded: u64,
    pub(crate) failed: u64,
    /// Could not begin because too many were under way.
    pub(crate) not_begun: u64,
    /// Begun a second, over the time in which calls began.
    pub(crate) rate: f64,
}

/// A cause of failures.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct CauseCount {
    pub(crate) side: String,
    pub(crate) what: String,
    pub(crate) count: u64,
}

/// Messages by method and status.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(crate) struct MessageCounts {
    pub(crate) sent: BTreeMap<String, u64>,
    pub(crate) received: BTreeMap<String, u64>,
    pub(crate) sent_in_all: u64,
    pub(crate) received_in_all: u64,
    pub(crate) retransmissions: u64,
    pub(crate) answered_again: u64,
    pub(crate) repeated: u64,
    pub(crate) unexpected: u64,
    pub(crate) stray: u64,
    pub(crate) late: u64,
    pub(crate) malformed: u64,
    pub(crate) lost_on_purpose: u64,
    pub(crate) unsent: u64,
    pub(crate) broken_connections: u64,
}

/// A distribution of times, in milliseconds.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(crate) struct Timing {
    pub(crate) name: String,
    pub(crate) count: u64,
    pub(crate) min: f64,
    pub(crate) mean: f64,
    pub(crate) p50: f64,
    pub(crate) p90: f64,
    pub(crate) p99: f64,
    pub(crate) p999: f64,
    pub(crate) max: f64,
    /// Percentile and time, for a plot.
    pub(crate) percentiles: Vec<(f64, f64)>,
}

impl Timing {
    /// Sums a histogram of microseconds up.
    pub(crate) fn of(name: &str, times: &Times) -> Timing {
        let millis = |micros: u64| micros as f64 / 1000.0;
        let at = |percentile| millis(times.value_at_percentile(percentile));
        if times.is_empty() {
            return Timing { name: name.to_owned(), ..Timing::default() };
        }
        Timing {
            name: name.to_owned(),
            count: times.len(),
            min: millis(times.min()),
            mean: times.mean() / 1000.0,
            p50: at(50.0),
            p90: at(90.0),
            p99: at(99.0),
            p999: at(99.9),
            max: millis(times.max()),
            percentiles: PERCENTILES
                .iter()
                .map(|percentile| (*percentile, at(*percentile)))
                .collect(),
        }
    }
}

/// Where the percentile plot has points: evenly spread on its axis of nines.
const PERCENTILES: &[f64] = &[
    0.0, 10.0, 20.0, 30.0, 40.0, 50.0, 60.0, 70.0, 80.0, 85.0, 90.0, 92.5, 95.0, 96.5, 98.0, 99.0,
    99.3, 99.5, 99.7, 99.9, 99.93, 99.95, 99.97, 99.99, 99.999, 100.0,
];

/// What the generator itself needed and missed.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(crate) struct Generator {
    pub(crate) cpu_seconds: f64,
    /// Of all threads, for each call of a caller (of a callee where there is no caller).
    pub(crate) cpu_micros_per_call: f64,
    /// The share of its time that the busiest thread spent working.
    pub(crate) busiest: f64,
    pub(crate) late_starts: u64,
    pub(crate) late_after_ms: f64,
    pub(crate) lateness: Timing,
    pub(crate) kernel_drops: u64,
    /// Seconds that the hypervisor gave to others meanwhile, over all cores.
    pub(crate) stolen_seconds: f64,
    pub(crate) sends: u64,
    pub(crate) receives: u64,
}

/// One second of the run.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(crate) struct Second {
    /// Its end, in seconds since the start.
    pub(crate) at: f64,
    /// Calls a second that the plan wanted.
    pub(crate) offered: f64,
    pub(crate) begun: u64,
    pub(crate) succeeded: u64,
    pub(crate) failed: u64,
    pub(crate) in_flight: u64,
    pub(crate) retransmissions: u64,
    pub(crate) unexpected: u64,
    pub(crate) late: u64,
    pub(crate) drops: u64,
    /// The share of this second that the busiest thread spent working.
    pub(crate) busiest: f64,
    /// Median, 99th percentile and longest of each time measured, in milliseconds.
    pub(crate) timings: Vec<Option<(f64, f64, f64)>>,
    /// The process watched: share of a core, and bytes.
    pub(crate) watched: Option<(f64, u64)>,
}

/// What the system under test was seen to need.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(crate) struct System {
    pub(crate) pid: Option<u32>,
    pub(crate) before: Option<Usage>,
    pub(crate) after: Option<Usage>,
    pub(crate) cpu_micros_per_call: Option<f64>,
    pub(crate) memory_bytes_most: Option<u64>,
    pub(crate) page: Option<String>,
    pub(crate) metrics_before: Numbers,
    pub(crate) metrics_after: Numbers,
    /// Those that changed, once a second.
    pub(crate) metrics_during: BTreeMap<String, Vec<(f64, f64)>>,
}

impl Report {
    /// The side whose calls this run is about.
    pub(crate) fn main_calls(&self) -> Calls {
        match self.answered {
            Some(answered) if self.calls.intended == 0 => answered,
            Some(_) | None => self.calls,
        }
    }

    /// Reads a report that was kept.
    pub(crate) fn read(text: &str) -> Result<Report, String> {
        let report: Report = serde_json::from_str(text).map_err(|error| error.to_string())?;
        if report.format > FORMAT {
            let known =
                format!("written by {}, this is {}", report.tool, env!("CARGO_PKG_VERSION"));
            return Err(format!("format {} is newer than {FORMAT}: {known}", report.format));
        }
        Ok(report)
    }

    pub(crate) fn json(&self) -> String {
        let mut text = serde_json::to_string_pretty(self).unwrap_or_default();
        text.push('\n');
        text
    }
}
