//! A histogram that costs an observation two atomic additions, and keeps an example of each bucket where requests are
//! traced.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Mutex, OnceLock, PoisonError};
use std::time::{Duration, SystemTime};

use crate::trace::context::TraceId;

/// The bounds of the histograms of times, nanoseconds: from a tiny model's run to a deadline.
pub const DURATIONS: &[u64] = &[
    10_000,
    25_000,
    50_000,
    100_000,
    250_000,
    500_000,
    1_000_000,
    2_500_000,
    5_000_000,
    10_000_000,
    25_000_000,
    50_000_000,
    100_000_000,
    250_000_000,
    500_000_000,
    1_000_000_000,
    2_500_000_000,
    5_000_000_000,
    10_000_000_000,
    30_000_000_000,
];

/// Counts durations by bucket, and their sum. The number of observations is the sum of the buckets, so that it needs no
/// counter of its own.
#[derive(Debug)]
pub(super) struct Histogram {
    /// One more than [`DURATIONS`]: the last takes the rest.
    buckets: [AtomicU64; DURATIONS.len() + 1],
    /// Nanoseconds.
    sum: AtomicU64,
    /// Made when the first request is traced.
    examples: OnceLock<Box<[Mutex<Option<Example>>]>>,
}

/// One observation of a bucket, with the trace that tells the rest.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Example {
    pub(super) trace: TraceId,
    /// Nanoseconds.
    pub(super) value: u64,
    pub(super) at: SystemTime,
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

impl Default for Histogram {
    fn default() -> Self {
        let buckets = std::array::from_fn(|_| AtomicU64::new(0));
        Histogram { buckets, sum: AtomicU64::new(0), examples: OnceLock::new() }
    }
}

impl Histogram {
    /// Counts a duration, and keeps it as an example where it is traced.
    pub(super) fn observe(&self, took: Duration, trace: Option<TraceId>) {
        let value = nanoseconds(took);
        let bucket = DURATIONS.partition_point(|bound| *bound < value);
        self.buckets[bucket].fetch_add(1, Relaxed);
        self.sum.fetch_add(value, Relaxed);
        if let Some(trace) = trace {
            self.keep(bucket, Example { trace, value, at: SystemTime::now() });
        }
    }

    #[cold]
    fn keep(&self, bucket: usize, example: Example) {
        let examples = self.examples.get_or_init(|| self.buckets.iter().map(|_| Mutex::new(None)).collect());
        // Whoever holds it keeps an example that is as good: nobody waits here.
        if let Some(Ok(mut kept)) = examples.get(bucket).map(Mutex::try_lock) {
            *kept = Some(example);
        }
    }

    /// The last example of each bucket; empty where nothing was traced.
    pub(super) fn examples(&self) -> Vec<Option<Example>> {
        let read = |kept: &Mutex<Option<Example>>| *kept.lock().unwrap_or_else(PoisonError::into_inner);
        self.examples.get().map(|examples| examples.iter().map(read).collect()).unwrap_or_default()
    }

    /// What has been counted so far, nanoseconds.
    pub(super) fn counted(&self) -> Counted {
        let buckets = self.buckets.iter().map(|bucket| bucket.load(Relaxed)).collect();
        Counted { bounds: DURATIONS, buckets, sum: self.sum.load(Relaxed) }
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
        let histogram = Histogram::default();
        for nanos in [0, 10_000, 10_001, 25_000, 30_000_000_000, 30_000_000_001] {
            histogram.observe(Duration::from_nanos(nanos), None);
        }
        let counted = histogram.counted();
        assert_eq!((counted.buckets[0], counted.buckets[1], counted.buckets[2]), (2, 2, 0));
        assert_eq!((counted.buckets[19], counted.buckets[20]), (1, 1));
        assert_eq!((counted.count(), counted.sum), (6, 60_000_045_002));
        assert!(histogram.examples().is_empty());
    }

    #[test]
    fn the_last_traced_observation_of_a_bucket_is_its_example() {
        let histogram = Histogram::default();
        for (nanos, trace) in [(1, 1), (2, 2), (20_000, 3)] {
            histogram.observe(Duration::from_nanos(nanos), Some(TraceId([trace; 16])));
        }
        histogram.observe(Duration::from_nanos(3), None);
        let examples = histogram.examples();
        assert_eq!(examples.len(), DURATIONS.len() + 1);
        assert_eq!(examples[0].map(|example| (example.trace, example.value)), Some((TraceId([2; 16]), 2)));
        assert_eq!(examples[1].map(|example| example.value), Some(20_000));
        assert_eq!(examples[2], None);
    }

    #[test]
    fn no_observation_is_lost_between_threads() {
        let histogram = Histogram::default();
        std::thread::scope(|scope| {
            for k in 0..4 {
                let histogram = &histogram;
                scope.spawn(move || {
                    (0..1000).for_each(|n| histogram.observe(Duration::from_nanos(n % 3), Some(TraceId([k; 16]))));
                });
            }
        });
        let counted = histogram.counted();
        assert_eq!((counted.count(), counted.sum), (4000, 4 * (333 + 333 * 2)));
    }
}
