//! Whether a run is so short that handing it to another thread would cost more than it does.
//!
//! Measured with a model of 2.5 µs behind HTTP: 79,000 requests/s where the request is, 51,000 over a thread. Longer
//! runs would keep a thread that serves connections from its other work, and gain nothing.

use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering::Relaxed};
use std::time::Duration;

/// Runs that take less than this run where the request is.
pub(crate) const SHORT_RUN: Duration = Duration::from_micros(150);

/// The same in nanoseconds.
const SHORT: u64 = SHORT_RUN.as_nanos() as u64;

/// One run counts at most this much, so that a single interruption of the thread changes nothing.
const LONGEST: u64 = 4 * SHORT;

/// What past runs took.
#[derive(Debug, Default)]
pub(super) struct Inline {
    /// Moving average over about eight runs, nanoseconds; 0 before the first.
    average: AtomicU64,
    /// Most elements that a short run had.
    size: AtomicUsize,
}

impl Inline {
    /// Whether a request of `size` elements should run where it is: runs are short, and it isn't much larger than those
    /// that were.
    pub(super) fn takes(&self, size: usize) -> bool {
        (1..SHORT).contains(&self.average.load(Relaxed)) && size / 4 <= self.size.load(Relaxed)
    }

    /// Notes a run. Two at once may overwrite one another's: neither matters alone.
    pub(super) fn ran(&self, size: usize, took: Duration) {
        let took = u64::try_from(took.as_nanos()).unwrap_or(u64::MAX).clamp(1, LONGEST);
        let average = match self.average.load(Relaxed) {
            0 => took,
            average => (average * 7 + took) / 8,
        };
        self.average.store(average.max(1), Relaxed);
        if took < SHORT && size > self.size.load(Relaxed) {
            self.size.store(size, Relaxed);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const QUICK: Duration = Duration::from_micros(3);
    const SLOW: Duration = Duration::from_millis(20);

    #[test]
    fn short_runs_are_taken_once_they_are_known_to_be() {
        let inline = Inline::default();
        assert!(!inline.takes(1));
        inline.ran(10, QUICK);
        assert!(inline.takes(10) && inline.takes(43) && !inline.takes(44));
        inline.ran(10, SLOW);
        assert!(inline.takes(10), "one interruption");
        (0..4).for_each(|_| inline.ran(10, SLOW));
        assert!(!inline.takes(10), "slow");
        (0..20).for_each(|_| inline.ran(10, QUICK));
        assert!(inline.takes(10), "quick again");
    }
}
