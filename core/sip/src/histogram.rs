//! How long things took: a count for each range of durations.
//!
//! For: cells that a shard owns and others ask for, as other counts (`metrics.rs`).
//! Invariants: noting takes no memory and finds its place in five comparisons.

use crate::time::Duration;

/// Upper ends of the ranges, in microseconds; what is longer than the last is counted apart. From
/// what a shard takes for a message to what a callee takes to answer.
pub const BOUNDS_MICROS: [u64; 20] = [
    100,
    200,
    500,
    1_000,
    2_000,
    5_000,
    10_000,
    20_000,
    50_000,
    100_000,
    200_000,
    500_000,
    1_000_000,
    2_000_000,
    5_000_000,
    10_000_000,
    20_000_000,
    32_000_000,
    60_000_000,
    180_000_000,
];

/// Durations by range.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Histogram {
    counts: [u64; BOUNDS_MICROS.len()],
    longer: u64,
    sum_micros: u64,
}

impl Histogram {
    /// Something took this long.
    pub fn note(&mut self, span: Duration) {
        let micros = u64::try_from(span.as_micros()).unwrap_or(u64::MAX);
        let place = BOUNDS_MICROS.partition_point(|bound| *bound < micros);
        match self.counts.get_mut(place) {
            Some(count) => *count += 1,
            None => self.longer += 1,
        }
        self.sum_micros = self.sum_micros.saturating_add(micros);
    }

    /// How many took no longer than each bound, with the bound in microseconds.
    pub fn cumulated(&self) -> impl Iterator<Item = (u64, u64)> + '_ {
        BOUNDS_MICROS.iter().zip(&self.counts).scan(0, |sum, (bound, count)| {
            *sum += count;
            Some((*bound, *sum))
        })
    }

    /// How many there were.
    pub fn count(&self) -> u64 {
        self.counts.iter().sum::<u64>() + self.longer
    }

    /// How long all of them took together, in microseconds.
    pub const fn sum_micros(&self) -> u64 {
        self.sum_micros
    }

    /// Adds another shard's.
    pub fn add(&mut self, other: &Histogram) {
        for (own, more) in self.counts.iter_mut().zip(other.counts) {
            *own += more;
        }
        self.longer += other.longer;
        self.sum_micros = self.sum_micros.saturating_add(other.sum_micros);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::time::{ms, secs};

    #[test]
    fn each_duration_is_counted_once_at_its_place() {
        let mut histogram = Histogram::default();
        for span in [ms(0), ms(1), Duration::from_micros(1_001), secs(180), secs(181)] {
            histogram.note(span);
        }
        let at = |bound| histogram.cumulated().find(|(own, _)| *own == bound).map(|(_, n)| n);
        assert_eq!((at(100), at(1_000), at(2_000)), (Some(1), Some(2), Some(3)));
        assert_eq!((at(180_000_000), histogram.count()), (Some(4), 5));
        assert_eq!(histogram.sum_micros(), 361_002_001);
        let other = histogram.clone();
        histogram.add(&other);
        assert_eq!((histogram.count(), histogram.sum_micros()), (10, 722_004_002));
    }
}
