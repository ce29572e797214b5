//! How many rows an inference thread takes, and how long it waits for more: so that a service with little to do answers
//! at once, and one with much to do fills its batches.
//!
//! Clients that wait for their answers come back with the next request as soon as they have them. A thread that took the
//! first of them as it comes would run it alone while the others gather, then those, then the one again: two runs where
//! one would do, for as long as nobody pauses. So after a run its requests are expected back for a moment that is short
//! against the run. A lone client is back first and last at once; one that comes later than that moment doesn't wait
//! either. Where waiting is in vain, it is tried less and less.
//!
//! Several instances share what there is in equal parts: rows in a run grow quicker than the time that it takes, so
//! that two middling batches are done before a large and a small one.

use std::time::{Duration, Instant};

/// The moment in which requests are expected back is that part of the run before...
const PART: u32 = 8;

/// ... and never longer than this.
const LONGEST: Duration = Duration::from_millis(1);

/// Most runs after which nobody is expected back, once that was in vain.
const MOST_SKIPPED: u32 = 63;

/// A run that is over.
#[derive(Debug, Clone, Copy)]
pub(super) struct Done {
    /// Rows that were taken out of the queue for it.
    pub(super) rows: usize,
    /// Elements in them; 0 where they didn't run as one.
    pub(super) elements: usize,
    /// Those that have come in since it ended.
    pub(super) since: usize,
    pub(super) ended: Instant,
    pub(super) took: Duration,
}

/// What is known about the rows that aren't in the queue.
#[derive(Debug)]
pub(super) struct Pace {
    instances: usize,
    /// Rows in the runs that go on.
    running: usize,
    /// Rows that have been answered and may be followed by as many...
    returning: usize,
    /// ... up to this moment.
    until: Option<Instant>,
    /// Whether something was made to wait for them.
    held: bool,
    /// Runs after which nobody is expected back, and how many it will be when that is in vain again.
    skip: u32,
    penalty: u32,
}

impl Pace {
    pub(super) fn new(instances: usize) -> Pace {
        let instances = instances.max(1);
        Pace { instances, running: 0, returning: 0, until: None, held: false, skip: 0, penalty: 0 }
    }

    /// Rows were taken out of the queue.
    pub(super) fn started(&mut self, rows: usize) {
        self.running += rows;
    }

    /// Rows came into the queue.
    pub(super) fn arrived(&mut self, rows: usize) {
        self.returning = self.returning.saturating_sub(rows);
    }

    /// A run is over.
    pub(super) fn finished(&mut self, done: Done, now: Instant) {
        self.running = self.running.saturating_sub(done.rows);
        if self.skip > 0 {
            self.skip -= 1;
            return;
        }
        if self.until.is_none_or(|until| until <= now) {
            self.returning = 0;
        }
        self.returning += done.rows.saturating_sub(done.since);
        self.until = Some(done.ended + (done.took / PART).min(LONGEST));
    }

    /// The rows that one run should have when `queued` wait: an equal part of all that there are.
    pub(super) fn share(&self, queued: usize) -> usize {
        (queued + self.running + self.returning).div_ceil(self.instances).max(1)
    }

    /// Until when `queued` rows should wait for more; `None` where they should run.
    pub(super) fn wait(&mut self, queued: usize, now: Instant) -> Option<Instant> {
        let until = self.until?;
        if self.returning > 0 && now < until {
            let waits = queued < self.share(queued);
            self.held |= waits;
            return waits.then_some(until);
        }
        if self.held {
            self.penalty = if self.returning > 0 { (2 * self.penalty + 1).min(MOST_SKIPPED) } else { 0 };
            self.skip = self.penalty;
        }
        (self.until, self.returning, self.held) = (None, 0, false);
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const RUN: Duration = Duration::from_millis(4);
    const MOMENT: Duration = Duration::from_micros(500);

    fn over(rows: usize, ended: Instant) -> Done {
        Done { rows, elements: 0, since: 0, ended, took: RUN }
    }

    #[test]
    fn a_lone_client_never_waits() {
        let (mut pace, mut now) = (Pace::new(1), Instant::now());
        for pause in [0, 100, 10_000] {
            now += Duration::from_micros(pause);
            pace.arrived(1);
            assert_eq!(pace.wait(1, now), None);
            assert_eq!(pace.share(1), 1);
            pace.started(1);
            now += RUN;
            pace.finished(over(1, now), now);
        }
    }

    #[test]
    fn clients_that_come_back_are_run_together() {
        let (mut pace, now) = (Pace::new(1), Instant::now());
        pace.started(1);
        // Three came in while the first ran, which comes back.
        pace.finished(over(1, now), now);
        assert_eq!(pace.wait(3, now), Some(now + MOMENT));
        pace.arrived(1);
        assert_eq!(pace.wait(4, now + MOMENT / 2), None);
        pace.started(4);
        let now = now + RUN;
        pace.finished(over(4, now), now);
        for queued in 1..4 {
            pace.arrived(1);
            assert!(pace.wait(queued, now).is_some());
        }
        pace.arrived(1);
        assert_eq!(pace.wait(4, now), None);
    }

    #[test]
    fn those_who_were_back_before_the_thread_was_are_not_expected_twice() {
        let (mut pace, now) = (Pace::new(1), Instant::now());
        pace.started(4);
        pace.finished(Done { since: 4, ..over(4, now) }, now);
        assert_eq!(pace.wait(4, now), None);
    }

    #[test]
    fn what_comes_later_runs_at_once() {
        let (mut pace, now) = (Pace::new(1), Instant::now());
        pace.started(8);
        pace.finished(over(8, now), now);
        let now = now + MOMENT;
        pace.arrived(1);
        assert_eq!(pace.wait(1, now), None);
        // That was no waiting in vain.
        assert_eq!(pace.skip, 0);
    }

    #[test]
    fn waiting_in_vain_is_tried_less_and_less_until_it_pays() {
        let (mut pace, mut now) = (Pace::new(1), Instant::now());
        let mut waited = Vec::new();
        for k in 0..40 {
            pace.started(1);
            now += RUN;
            pace.finished(over(1, now), now);
            if pace.wait(1, now).is_some() {
                waited.push(k);
                now += MOMENT;
                assert_eq!(pace.wait(1, now), None);
            }
        }
        assert_eq!(waited, [0, 2, 6, 14, 30]);
        pace.skip = 0;
        pace.finished(over(1, now), now);
        assert!(pace.wait(1, now).is_some());
        pace.arrived(1);
        assert_eq!(pace.wait(2, now), None);
        assert_eq!((pace.skip, pace.penalty), (0, 0));
    }

    #[test]
    fn instances_take_equal_parts_and_an_idle_one_what_there_is() {
        let (mut pace, now) = (Pace::new(2), Instant::now());
        pace.arrived(1);
        assert_eq!((pace.wait(1, now), pace.share(1)), (None, 1));
        pace.started(1);
        assert_eq!((pace.wait(1, now), pace.share(1)), (None, 1));
        pace.started(1);
        // Six wait when the first is done, which comes back: eight for two.
        pace.finished(over(1, now), now);
        assert_eq!((pace.wait(6, now), pace.share(6)), (None, 4));
        pace.started(4);
        pace.finished(over(1, now), now);
        assert_eq!(pace.share(2), 4);
        assert!(pace.wait(2, now).is_some());
        pace.arrived(2);
        assert_eq!((pace.wait(4, now), pace.share(4)), (None, 4));
        // Beside a large run, one row need not wait for as large a one.
        let (mut pace, now) = (Pace::new(2), Instant::now());
        pace.started(20);
        assert_eq!(pace.wait(1, now), None);
    }
}
