//! A histogram that costs an observation two atomic additions.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

/// Counts whole numbers (nanoseconds, rows) by bucket, and their sum. The number of observations is the sum of the
/// buckets, so that it needs no counter of its own.
#[derive(Debug)]
pub(super) struct Histogram {
    /// The largest value of each bucket but the last, which takes the rest; ascending.
    bounds: &'static [u64],
    buckets: Box<[AtomicU64]>,
    sum: AtomicU64,
}

/// What a histogram has counted. Taken while others observe, sum and counts may be a few observations apart.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Counted {
    /// The largest value of each bucket but the last.
    pub(super) bounds: &'static [u64],
    /// Observations by bucket, not cumulative: one more than there are bounds.
    pub(super) buckets: Vec<u64>,
    /// The sum of all observed values.
    pub(super) sum: u64,
}

impl Counted {
    /// How many observations there were.
    pub(super) fn count(&self) -> u64 {
        self.buckets.iter().sum()
    }
}

impl Histogram {
    /// An empty histogram with these bounds, ascending.
    pub(super) fn new(bounds: &'static [u64]) -> Histogram {
        let buckets = (0..=bounds.len()).map(|_| AtomicU64::new(0)).collect();
        Histogram { bounds, buckets, sum: AtomicU64::new(0) }
    }

    /// Counts a value; the number of its bucket.
    pub(super) fn observe(&self, value: u64) -> usize {
        let bucket = self.bounds.partition_point(|bound| *bound < value);
        self.buckets[bucket].fetch_add(1, Relaxed);
        self.sum.fetch_add(value, Relaxed);
        bucket
    }

    /// What has been counted so far.
    pub(super) fn counted(&self) -> Counted {
        let buckets = self.buckets.iter().map(|bucket| bucket.load(Relaxed)).collect();
        Counted { bounds: self.bounds, buckets, sum: self.sum.load(Relaxed) }
    }
}

/// A duration as the histograms count it.
pub(super) fn nanoseconds(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_falls_into_the_first_bucket_that_holds_it() {
        let histogram = Histogram::new(&[10, 100]);
        assert_eq!([0, 10, 11, 100, 101, 9].map(|value| histogram.observe(value)), [0, 0, 1, 1, 2, 0]);
        let counted = histogram.counted();
        assert_eq!(counted, Counted { bounds: &[10, 100], buckets: vec![3, 2, 1], sum: 231 });
        assert_eq!(counted.count(), 6);
    }

    #[test]
    fn no_observation_is_lost_between_threads() {
        let histogram = Histogram::new(&[1]);
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| (0..1000).for_each(|k| _ = histogram.observe(k % 3)));
            }
        });
        let counted = histogram.counted();
        assert_eq!((counted.count(), counted.sum), (4000, 4 * (333 + 333 * 2)));
    }
}
