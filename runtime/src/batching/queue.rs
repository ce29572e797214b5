//! What waits, and which of it runs together.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::oneshot;

use super::{Answer, rows};
use crate::error::Error;
use crate::settings::BatchingSettings;
use crate::tensor::Value;

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
    pub(super) arrived: Instant,
    pub(super) deadline: Instant,
    pub(super) reply: oneshot::Sender<Result<Answer, Error>>,
}

impl Job {
    /// Whether nobody waits for the answer any more.
    pub(super) fn is_dead(&self, now: Instant) -> bool {
        self.reply.is_closed() || self.deadline <= now
    }
}

/// The jobs that wait, oldest first.
pub(super) struct Queue {
    state: Mutex<State>,
    changed: Condvar,
    /// Number of jobs, to be read without the lock.
    len: AtomicUsize,
    axis: Option<usize>,
    /// Whether batches give their rows back: until one doesn't.
    joins: AtomicBool,
    max_rows: usize,
    delay: Duration,
    max_len: usize,
}

#[derive(Default)]
struct State {
    jobs: VecDeque<Job>,
    closed: bool,
}

impl Queue {
    pub(super) fn new(settings: &BatchingSettings, axis: Option<usize>) -> Queue {
        Queue {
            state: Mutex::default(),
            changed: Condvar::new(),
            len: AtomicUsize::new(0),
            axis,
            joins: AtomicBool::new(axis.is_some()),
            max_rows: settings.max_batch_size,
            delay: settings.max_queue_delay,
            // A queue that takes nothing would serve nothing.
            max_len: settings.max_queue.max(1),
        }
    }

    /// The batch axis, while batches are known to give their rows back.
    pub(super) fn axis(&self) -> Option<usize> {
        self.axis.filter(|_| self.joins.load(Ordering::Relaxed))
    }

    /// A batch gave other rows than went in: the proof doesn't hold, and nothing is joined any more.
    pub(super) fn stop_joining(&self) {
        self.joins.store(false, Ordering::Relaxed);
    }

    pub(super) fn len(&self) -> usize {
        self.len.load(Ordering::Relaxed)
    }

    /// Takes a job in; [`Error::QueueFull`] where as many wait as may.
    pub(super) fn push(&self, job: Job) -> Result<(), Error> {
        let mut state = self.lock();
        if state.jobs.len() >= self.max_len {
            state.jobs.retain(|job| !job.is_dead(Instant::now()));
        }
        if state.jobs.len() >= self.max_len {
            let text = format!("the queue is full: {} requests wait (`maxQueue`)", self.max_len);
            return Err(Error::QueueFull(text));
        }
        state.jobs.push_back(job);
        self.len.store(state.jobs.len(), Ordering::Relaxed);
        drop(state);
        self.changed.notify_one();
        Ok(())
    }

    /// Lets the threads end once nothing waits.
    pub(super) fn close(&self) {
        self.lock().closed = true;
        self.changed.notify_all();
    }

    /// Waits for jobs, and takes those that run together: one, or several that are joinable. `None` once the queue is
    /// closed and empty.
    pub(super) fn take(&self) -> Option<Vec<Job>> {
        let mut state = self.lock();
        loop {
            let now = Instant::now();
            while state.jobs.front().is_some_and(|job| job.is_dead(now)) {
                state.jobs.pop_front();
            }
            let Some(first) = state.jobs.front() else {
                self.len.store(0, Ordering::Relaxed);
                if state.closed {
                    return None;
                }
                state = self.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
                continue;
            };
            // The model is idle here. It waits for more only if it is told to, and never for what can't be joined.
            let waited = now.saturating_duration_since(first.arrived);
            if state.closed || waited >= self.delay || self.is_full(&state.jobs) {
                let batch = self.take_batch(&mut state.jobs, now);
                self.len.store(state.jobs.len(), Ordering::Relaxed);
                if !state.jobs.is_empty() {
                    // Another thread may have been woken for one that is now taken, and slept again.
                    self.changed.notify_one();
                }
                return Some(batch);
            }
            let more = self.delay - waited;
            state = self.changed.wait_timeout(state, more).unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    /// Whether there is nothing to wait for: a whole batch is there, or a job that the first one can't be joined with.
    fn is_full(&self, jobs: &VecDeque<Job>) -> bool {
        let (Some(first), Some(axis)) = (jobs.front(), self.axis()) else { return true };
        let mut rows = first.rows;
        for job in jobs.iter().skip(1) {
            if rows >= self.max_rows || !job.joins || !rows::joinable(&first.inputs, &job.inputs, axis) {
                return true;
            }
            rows += job.rows;
        }
        !first.joins || rows >= self.max_rows
    }

    /// Takes the first job, and those after it that are joinable with it and fit. The others keep their order.
    fn take_batch(&self, jobs: &mut VecDeque<Job>, now: Instant) -> Vec<Job> {
        let mut batch: Vec<Job> = jobs.pop_front().into_iter().collect();
        let (Some(axis), Some(Job { rows, joins: true, .. })) = (self.axis(), batch.first()) else { return batch };
        let (mut rows, mut k) = (*rows, 0);
        while rows < self.max_rows && k < jobs.len() {
            let job = &jobs[k];
            let fits = job.joins && rows + job.rows <= self.max_rows && !job.is_dead(now);
            if fits && rows::joinable(&batch[0].inputs, &job.inputs, axis) {
                rows += job.rows;
                batch.extend(jobs.remove(k));
            } else {
                k += 1;
            }
        }
        batch
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // Nothing that can panic happens between two changes that belong together.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
