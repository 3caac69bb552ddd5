//! A page of metrics: families in Prometheus' text format or in OpenMetrics.
//!
//! For: writing `# HELP`, `# TYPE` and samples by the rules of both formats.
//! Not here: which metrics there are (`metrics.rs`).
//! Invariants: each family stands together; a counter's samples end with `_total`; label values are
//! escaped, whatever they hold.

use crate::counters::Value;
use std::collections::BTreeMap;
use std::fmt::Write;
use strowger_sip::histogram::Histogram;
use strowger_sip::module::notes::Kind;

/// The content type of Prometheus' text format.
pub(super) const TEXT: &str = "text/plain; version=0.0.4; charset=utf-8";
/// That of OpenMetrics.
pub(super) const OPEN_METRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";
/// Microseconds in a second, millionths in one.
const MILLION: u64 = 1_000_000;

/// How a page is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Format {
    Text,
    OpenMetrics,
}

impl Format {
    /// What a scraper asks for by its Accept header.
    pub(super) fn of(accept: &str) -> Format {
        let asks = accept.contains("application/openmetrics-text");
        if asks { Format::OpenMetrics } else { Format::Text }
    }

    pub(super) const fn content_type(self) -> &'static str {
        match self {
            Format::Text => TEXT,
            Format::OpenMetrics => OPEN_METRICS,
        }
    }
}

/// Labels of a sample, in order.
pub(super) type Labels = Vec<(&'static str, String)>;

struct Family {
    /// `None` when nobody has said what it is.
    kind: Option<Kind>,
    help: String,
    samples: Vec<(Labels, Value)>,
}

/// Families by name.
#[derive(Default)]
pub(super) struct Page {
    families: BTreeMap<String, Family>,
}

impl Page {
    /// Adds a sample to a family; the name of a counter is written without `_total`.
    pub(super) fn add(
        &mut self,
        name: &str,
        (kind, help): (Option<Kind>, &str),
        labels: Labels,
        value: Value,
    ) {
        let family = self.families.entry(name.to_owned()).or_insert_with(|| Family {
            kind,
            help: help.trim().to_owned(),
            samples: Vec::new(),
        });
        family.samples.push((labels, value));
    }

    /// The whole page.
    pub(super) fn write(&self, format: Format) -> String {
        let mut out = String::new();
        for (name, family) in &self.families {
            family.write(name, format, &mut out);
        }
        if format == Format::OpenMetrics {
            out.push_str("# EOF\n");
        }
        out
    }
}

// Writing to a string cannot fail.
impl Family {
    fn write(&self, name: &str, format: Format, out: &mut String) {
        let (kind, total) = match (self.kind, format) {
            (Some(Kind::Counter), _) => ("counter", "_total"),
            (Some(Kind::Gauge), _) => ("gauge", ""),
            (Some(Kind::Histogram), _) => ("histogram", ""),
            (None, Format::Text) => ("untyped", ""),
            (None, Format::OpenMetrics) => ("unknown", ""),
        };
        let family = if format == Format::Text { total } else { "" };
        let help = escape(&self.help, false);
        let _ = writeln!(out, "# HELP {name}{family} {help}");
        let _ = writeln!(out, "# TYPE {name}{family} {kind}");
        for (labels, value) in &self.samples {
            match value {
                Value::Number(number) => sample(out, &format!("{name}{total}"), labels, *number),
                Value::Micros(number) | Value::Millionths(number) => {
                    sample(out, &format!("{name}{total}"), labels, decimal(*number));
                }
                Value::Histogram(spans) => histogram(out, name, labels, spans),
            }
        }
    }
}

fn sample(out: &mut String, name: &str, labels: &[(&str, String)], value: impl std::fmt::Display) {
    let _ = match labels.is_empty() {
        true => writeln!(out, "{name} {value}"),
        false => writeln!(out, "{name}{{{}}} {value}", join(labels)),
    };
}

fn histogram(out: &mut String, name: &str, labels: &[(&'static str, String)], spans: &Histogram) {
    let mut bucket = |bound: String, count: u64| {
        let mut labels = labels.to_vec();
        labels.push(("le", bound));
        sample(out, &format!("{name}_bucket"), &labels, count);
    };
    for (bound, count) in spans.cumulated() {
        // As OpenMetrics wants floating point numbers written.
        let bound =
            if bound % MILLION == 0 { format!("{}.0", bound / MILLION) } else { decimal(bound) };
        bucket(bound, count);
    }
    bucket("+Inf".to_owned(), spans.count());
    sample(out, &format!("{name}_sum"), labels, decimal(spans.sum_micros()));
    sample(out, &format!("{name}_count"), labels, spans.count());
}

/// Millionths as a decimal number without zeros at its end.
fn decimal(millionths: u64) -> String {
    let text = format!("{}.{:06}", millionths / MILLION, millionths % MILLION);
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}

fn join(labels: &[(&str, String)]) -> String {
    let pairs = labels.iter().map(|(key, value)| format!("{key}=\"{}\"", escape(value, true)));
    pairs.collect::<Vec<_>>().join(",")
}

fn escape(text: &str, quotes: bool) -> String {
    let text = text.replace('\\', "\\\\").replace('\n', "\\n");
    if quotes { text.replace('"', "\\\"") } else { text }
}

#[cfg(test)]
mod tests {
    use super::*;
    use strowger_sip::time::ms;

    fn page() -> Page {
        let mut page = Page::default();
        let labels = vec![("user", "a\"b\\c\nd".to_owned())];
        page.add("x_calls", (Some(Kind::Counter), "Calls.\n"), labels, Value::Number(7));
        page.add("x_busy_seconds", (Some(Kind::Gauge), "Time."), vec![], Value::Micros(1_500_000));
        let mut spans = Histogram::default();
        spans.note(ms(3));
        page.add("x_wait_seconds", (Some(Kind::Histogram), ""), vec![], Value::Histogram(spans));
        page
    }

    #[test]
    fn the_text_format_names_a_counter_with_its_end() {
        let text = page().write(Format::Text);
        let counter = "# HELP x_calls_total Calls.\n# TYPE x_calls_total counter\n\
                       x_calls_total{user=\"a\\\"b\\\\c\\nd\"} 7\n";
        assert!(text.contains(counter), "{text}");
        assert!(text.contains("\nx_busy_seconds 1.5\n") || text.starts_with("# HELP x_busy"));
        assert!(text.contains("x_wait_seconds_bucket{le=\"0.002\"} 0\n"), "{text}");
        assert!(text.contains("x_wait_seconds_bucket{le=\"0.005\"} 1\n"), "{text}");
        assert!(text.contains("x_wait_seconds_bucket{le=\"1.0\"} 1\n"), "{text}");
        assert!(text.contains("x_wait_seconds_bucket{le=\"+Inf\"} 1\n"), "{text}");
        assert!(text.contains("x_wait_seconds_sum 0.003\nx_wait_seconds_count 1\n"), "{text}");
        assert!(!text.contains("EOF"));
    }

    #[test]
    fn open_metrics_names_the_family_without_it_and_ends() {
        let text = page().write(Format::OpenMetrics);
        assert!(text.contains("# TYPE x_calls counter\nx_calls_total{"), "{text}");
        assert!(text.ends_with("# EOF\n"));
    }

    #[test]
    fn a_scraper_says_what_it_takes() {
        let prometheus = "application/openmetrics-text;version=1.0.0;q=0.5,*/*;q=0.1";
        assert_eq!(Format::of(prometheus), Format::OpenMetrics);
        assert_eq!(Format::of("*/*"), Format::Text);
    }
}
