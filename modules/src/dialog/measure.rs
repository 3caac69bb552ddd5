//! How long calls take to ring, to be answered, and how long they last.
//!
//! For: histograms and the sizes of profiles among the module's counts.
//! Not here: counters of what happened (`mod.rs`), who shows them (`core/node`).
//! Invariants: names are known when the module is made, so their number is bounded; buckets are
//! cumulative, as Prometheus counts.

use super::Dialog;
use super::table::DialogId;
use strowger_sip::time::{Duration, Instant};

/// How many bounds a histogram has.
const BOUNDS: usize = 8;

/// A span's bound in milliseconds, and the name of what is within.
type Bound = (u64, &'static str);

/// From the INVITE to the first response above 100.
const RINGING: [Bound; BOUNDS] = [
    (100, "dialog_ringing_within_100ms"),
    (250, "dialog_ringing_within_250ms"),
    (500, "dialog_ringing_within_500ms"),
    (1000, "dialog_ringing_within_1s"),
    (2500, "dialog_ringing_within_2500ms"),
    (5000, "dialog_ringing_within_5s"),
    (10_000, "dialog_ringing_within_10s"),
    (30_000, "dialog_ringing_within_30s"),
];

/// From the INVITE to the 2xx.
const ANSWER: [Bound; BOUNDS] = [
    (500, "dialog_answered_within_500ms"),
    (1000, "dialog_answered_within_1s"),
    (2500, "dialog_answered_within_2500ms"),
    (5000, "dialog_answered_within_5s"),
    (10_000, "dialog_answered_within_10s"),
    (20_000, "dialog_answered_within_20s"),
    (60_000, "dialog_answered_within_1m"),
    (180_000, "dialog_answered_within_3m"),
];

/// From the answer to the end.
const LASTED: [Bound; BOUNDS] = [
    (1000, "dialog_lasted_up_to_1s"),
    (10_000, "dialog_lasted_up_to_10s"),
    (30_000, "dialog_lasted_up_to_30s"),
    (60_000, "dialog_lasted_up_to_1m"),
    (180_000, "dialog_lasted_up_to_3m"),
    (600_000, "dialog_lasted_up_to_10m"),
    (1_800_000, "dialog_lasted_up_to_30m"),
    (7_200_000, "dialog_lasted_up_to_2h"),
];

/// How many spans were within each bound, how many there were, and their sum.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Histogram {
    within: [u64; BOUNDS],
    count: u64,
    sum_ms: u64,
}

impl Histogram {
    fn note(&mut self, bounds: &[Bound; BOUNDS], span: Duration) {
        let ms = u64::try_from(span.as_millis()).unwrap_or(u64::MAX);
        for (within, (bound, _)) in self.within.iter_mut().zip(bounds) {
            *within += u64::from(ms <= *bound);
        }
        self.count += 1;
        self.sum_ms = self.sum_ms.saturating_add(ms);
    }

    fn show(
        &self,
        bounds: &[Bound; BOUNDS],
        (count, sum): (&'static str, &'static str),
        each: &mut dyn FnMut(&'static str, u64),
    ) {
        for (within, (_, name)) in self.within.iter().zip(bounds) {
            each(name, *within);
        }
        each(count, self.count);
        each(sum, self.sum_ms);
    }
}

/// What this shard has measured.
#[derive(Debug, Default)]
pub(super) struct Measures {
    ringing: Histogram,
    answer: Histogram,
    lasted: Histogram,
    /// The names under which profiles are shown, in the order of their numbers.
    profiles: Vec<&'static str>,
}

impl Measures {
    /// Names for these profiles, for the rest of the process: there are few, and each shard makes
    /// them once.
    pub(super) fn of_profiles<'p>(names: impl Iterator<Item = &'p str>) -> Measures {
        let name = |name: &str| -> &'static str {
            Box::leak(format!("dialog_profile_{name}").into_boxed_str())
        };
        Measures { profiles: names.map(name).collect(), ..Measures::default() }
    }

    pub(super) fn rings(&mut self, since: Option<Instant>, now: Instant) {
        if let Some(since) = since {
            self.ringing.note(&RINGING, now.since(since));
        }
    }

    pub(super) fn is_answered(&mut self, since: Option<Instant>, now: Instant) {
        if let Some(since) = since {
            self.answer.note(&ANSWER, now.since(since));
        }
    }

    pub(super) fn lasted(&mut self, span: Duration) {
        self.lasted.note(&LASTED, span);
    }
}

impl Dialog {
    pub(super) fn each_measure(&self, each: &mut dyn FnMut(&'static str, u64)) {
        let measures = &self.measures;
        let names = ("dialog_ringing_count", "dialog_ringing_sum_ms");
        measures.ringing.show(&RINGING, names, each);
        let names = ("dialog_answered_count", "dialog_answered_sum_ms");
        measures.answer.show(&ANSWER, names, each);
        let names = ("dialog_lasted_count", "dialog_lasted_sum_ms");
        measures.lasted.show(&LASTED, names, each);
        for (number, name) in (0u16..).zip(&measures.profiles) {
            each(name, self.profiles.total(number));
        }
    }

    /// A dialog is over: how long it lasted.
    pub(super) fn measure_end(&mut self, id: DialogId, today: strowger_sip::date::UnixTime) {
        if let Some(record) = self.table.get(id) {
            let seconds = record.duration(today);
            self.measures.lasted(Duration::from_secs(seconds));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use strowger_sip::time::ms;

    #[test]
    fn a_span_is_within_its_bound_and_all_greater_ones() {
        let mut histogram = Histogram::default();
        for span in [100, 101, 40_000] {
            histogram.note(&RINGING, ms(span));
        }
        assert_eq!(histogram.within, [1, 2, 2, 2, 2, 2, 2, 2]);
        assert_eq!((histogram.count, histogram.sum_ms), (3, 40_201));
        let mut shown = Vec::new();
        histogram.show(&RINGING, ("count", "sum"), &mut |name, value| shown.push((name, value)));
        assert_eq!(shown.len(), BOUNDS + 2);
        assert_eq!(shown.first(), Some(&("dialog_ringing_within_100ms", 1)));
    }
}
