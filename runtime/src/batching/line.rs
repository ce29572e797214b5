//! The order in which requests wait: by level of priority, and the oldest first inside a level.

use std::collections::VecDeque;
use std::time::Instant;

use tokio::sync::oneshot;

use super::Answer;
use super::tally::{Limits, Tally};
use crate::error::Error;
use crate::tensor::Value;

/// Every so manyth batch begins with the request that has waited the longest, whatever its level: higher levels that
/// never let up leave the others that share of the runs.
const TURN: u32 = 8;

/// A request that waits, and where its answer goes.
#[derive(Debug)]
pub(super) struct Job {
    pub(super) inputs: Vec<Value>,
    /// Rows along the batch axis; 1 where they can't be counted.
    pub(super) rows: usize,
    /// Whether it may run together with others.
    pub(super) joins: bool,
    /// Elements in all.
    pub(super) size: usize,
    /// Length of its rows, where they may be made longer; 0 where not.
    pub(super) length: usize,
    /// 0 goes before all others.
    pub(super) level: usize,
    pub(super) arrived: Instant,
    pub(super) deadline: Instant,
    pub(super) reply: oneshot::Sender<Result<Answer, Error>>,
}

impl Job {
    /// Whether nobody waits for the answer any more.
    pub(super) fn is_dead(&self, now: Instant) -> bool {
        self.reply.is_closed() || self.deadline <= now
    }

    /// When it has to run even if more would fit: half of its time may go by waiting for company.
    fn due(&self) -> Instant {
        self.arrived + self.deadline.saturating_duration_since(self.arrived) / 2
    }
}

/// The jobs that wait.
pub(super) struct Line {
    levels: Vec<VecDeque<Job>>,
    len: usize,
    /// Batches begun since one began with the oldest.
    begun: u32,
}

/// What the next batch would be.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Survey {
    /// Rows in it.
    pub(super) rows: usize,
    /// Whether waiting can't make it larger, or would keep what isn't part of it waiting.
    pub(super) full: bool,
    /// When the longest wait in it began.
    pub(super) since: Instant,
    /// When it has to run, full or not.
    pub(super) due: Instant,
}

impl Line {
    pub(super) fn new(levels: usize) -> Line {
        Line { levels: (0..levels.max(1)).map(|_| VecDeque::new()).collect(), len: 0, begun: 0 }
    }

    pub(super) fn len(&self) -> usize {
        self.len
    }

    pub(super) fn push(&mut self, job: Job) {
        let last = self.levels.len() - 1;
        self.levels[job.level.min(last)].push_back(job);
        self.len += 1;
    }

    /// Takes out the dead at the front of each level, so that what is there next is alive.
    pub(super) fn take_dead_heads(&mut self, now: Instant, dead: &mut Vec<Job>) {
        for level in &mut self.levels {
            while level.front().is_some_and(|job| job.is_dead(now)) {
                dead.extend(level.pop_front());
                self.len -= 1;
            }
        }
    }

    /// Takes out all the dead.
    pub(super) fn take_dead(&mut self, now: Instant) -> Vec<Job> {
        let mut dead = Vec::new();
        for level in &mut self.levels {
            if level.iter().any(|job| job.is_dead(now)) {
                let (gone, left) =
                    std::mem::take(level).into_iter().partition::<VecDeque<_>, _>(|job| job.is_dead(now));
                *level = left;
                dead.extend(gone);
            }
        }
        self.len -= dead.len();
        dead
    }

    /// Takes out the youngest of the lowest level, if that is below `level`.
    pub(super) fn displace(&mut self, level: usize) -> Option<Job> {
        let lower = self.levels.get_mut(level + 1..)?;
        let job = lower.iter_mut().rev().find_map(VecDeque::pop_back)?;
        self.len -= 1;
        Some(job)
    }

    /// The level whose first job begins the next batch.
    fn head(&self) -> Option<usize> {
        let fronts = || self.levels.iter().enumerate().filter_map(|(k, level)| Some((k, level.front()?)));
        match self.levels.len() > 1 && self.begun + 1 >= TURN {
            true => fronts().min_by_key(|(_, job)| job.arrived),
            false => fronts().next(),
        }
        .map(|(k, _)| k)
    }

    /// The next batch as it would be now, of which `most` rows are taken; `None` where nothing waits.
    pub(super) fn survey(&self, limits: &Limits, most: usize) -> Option<Survey> {
        let head = self.head()?;
        let first = self.levels[head].front()?;
        let mut tally = Tally::of(first);
        let (mut full, mut since, mut due) = (!limits.joins(first), first.arrived, first.due());
        for (k, level) in self.levels.iter().enumerate() {
            for job in level.iter().skip(usize::from(k == head)) {
                if full || tally.rows >= most {
                    break;
                }
                match tally.with(first, job, limits, most) {
                    Some(larger) => {
                        (tally, since, due) = (larger, since.min(job.arrived), due.min(job.due()));
                    }
                    None => full = true,
                }
            }
        }
        full |= tally.rows >= most || limits.is_full(&tally);
        Some(Survey { rows: tally.rows, full, since, due })
    }

    /// Takes the job that is next, and those after it that may run with it, at most `most` rows unless one job has more.
    /// The others keep their order.
    pub(super) fn take(&mut self, limits: &Limits, most: usize, now: Instant) -> Vec<Job> {
        let Some(head) = self.head() else { return Vec::new() };
        self.begun = if self.begun + 1 >= TURN { 0 } else { self.begun + 1 };
        let mut batch: Vec<Job> = self.levels[head].pop_front().into_iter().collect();
        if limits.joins(&batch[0]) {
            let mut tally = Tally::of(&batch[0]);
            for level in &mut self.levels {
                let mut k = 0;
                while tally.rows < most && k < level.len() {
                    let larger = tally.with(&batch[0], &level[k], limits, most).filter(|_| !level[k].is_dead(now));
                    match larger {
                        Some(larger) => {
                            tally = larger;
                            batch.extend(level.remove(k));
                        }
                        None => k += 1,
                    }
                }
            }
        }
        self.len -= batch.len();
        batch
    }
}
