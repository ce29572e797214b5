//! Runs of the model that gave answers, by their number of rows: what a histogram of batch sizes, the number of runs and
//! the number of rows all follow from.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use super::histogram::nanoseconds;

/// Sizes below this are counted without a lock: a run of more rows takes long enough for one.
const SMALL: usize = 65;

/// Distinct larger sizes that are kept apart; what else comes is counted with the nearest
/// known that is smaller, so that clients can't fill the memory with sizes.
const LARGE: usize = 1024;

/// Runs of one size.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Runs {
    /// Rows in each of them.
    pub(super) size: usize,
    /// How many there were.
    pub(super) count: u64,
    /// Nanoseconds that they took together.
    pub(super) ns: u64,
    /// Rows in all of them: `size` times `count`, unless more sizes came than are kept apart.
    pub(super) rows: u64,
}

impl Runs {
    fn add(&mut self, rows: usize, ns: u64) {
        self.count += 1;
        self.ns = self.ns.saturating_add(ns);
        self.rows = self.rows.saturating_add(rows as u64);
    }
}

/// Counts runs by size.
#[derive(Debug)]
pub(super) struct Batches {
    small: Box<[(AtomicU64, AtomicU64)]>,
    large: Mutex<BTreeMap<usize, Runs>>,
}

impl Default for Batches {
    fn default() -> Self {
        Batches { small: (0..SMALL).map(|_| Default::default()).collect(), large: Mutex::default() }
    }
}

impl Batches {
    /// Counts a run of `rows` rows.
    pub(super) fn ran(&self, rows: usize, took: Duration) {
        let ns = nanoseconds(took);
        if let Some((count, sum)) = self.small.get(rows) {
            count.fetch_add(1, Relaxed);
            sum.fetch_add(ns, Relaxed);
            return;
        }
        let mut large = self.large.lock().unwrap_or_else(PoisonError::into_inner);
        let size = match large.len() < LARGE || large.contains_key(&rows) {
            true => rows,
            false => large.range(..rows).next_back().or(large.first_key_value()).map_or(rows, |(size, _)| *size),
        };
        large.entry(size).or_insert(Runs { size, ..Runs::default() }).add(rows, ns);
    }

    /// What has been counted so far: each size that ran, ascending.
    pub(super) fn counted(&self) -> Vec<Runs> {
        let small = self.small.iter().enumerate().map(|(size, (count, sum))| {
            let count = count.load(Relaxed);
            Runs { size, count, ns: sum.load(Relaxed), rows: count.saturating_mul(size as u64) }
        });
        let mut counted: Vec<Runs> = small.filter(|runs| runs.count > 0).collect();
        counted.extend(self.large.lock().unwrap_or_else(PoisonError::into_inner).values());
        counted
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn runs_are_counted_by_size() {
        let batches = Batches::default();
        for rows in [1, 64, 1, 65, 0, 4096, 65] {
            batches.ran(rows, Duration::from_nanos(10));
        }
        let runs = |size: usize, count| Runs { size, count, ns: 10 * count, rows: size as u64 * count };
        assert_eq!(batches.counted(), [runs(0, 1), runs(1, 2), runs(64, 1), runs(65, 2), runs(4096, 1)]);
    }

    #[test]
    fn sizes_beyond_what_is_kept_apart_take_no_memory_and_lose_no_rows() {
        let batches = Batches::default();
        for rows in (100..100 + LARGE).chain([50_000, 60_000, 99, 100]) {
            batches.ran(rows, Duration::from_nanos(1));
        }
        let counted = batches.counted();
        assert_eq!(counted.len(), LARGE);
        assert_eq!(counted.iter().map(|runs| runs.count).sum::<u64>(), LARGE as u64 + 4);
        let rows = (100..100 + LARGE as u64).sum::<u64>() + 50_000 + 60_000 + 99 + 100;
        assert_eq!(counted.iter().map(|runs| runs.rows).sum::<u64>(), rows);
        assert_eq!((counted[0].count, counted[LARGE - 1].count), (3, 3));
    }
}
