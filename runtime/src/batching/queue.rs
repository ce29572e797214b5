//! What waits, shared by those who bring it and the threads that take it.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use super::forming::{Forming, Next};
use super::line::Job;
use super::pace::Done;
use super::tally::Limits;
use crate::error::Error;
use crate::settings::BatchingSettings;

/// The jobs that wait. Its lock is held for what takes about a microsecond; nothing large is freed under it.
pub(super) struct Queue {
    state: Mutex<State>,
    changed: Condvar,
    /// Number of jobs, to be read without the lock.
    len: AtomicUsize,
    /// Jobs whose requests have left since the dead were last taken out, at least.
    left: AtomicUsize,
    /// Rows that have come in since the start.
    arrived: AtomicUsize,
    max_len: usize,
}

struct State {
    forming: Forming,
    closed: bool,
}

impl Queue {
    pub(super) fn new(settings: &BatchingSettings, limits: Arc<Limits>, instances: usize) -> Queue {
        let forming = Forming::new(settings, limits, instances);
        Queue {
            state: Mutex::new(State { forming, closed: false }),
            changed: Condvar::new(),
            len: AtomicUsize::new(0),
            left: AtomicUsize::new(0),
            arrived: AtomicUsize::new(0),
            // A queue that takes nothing would serve nothing.
            max_len: settings.max_queue.max(1),
        }
    }

    pub(super) fn len(&self) -> usize {
        self.len.load(Ordering::Relaxed)
    }

    /// Rows that have come in since the start.
    pub(super) fn arrived(&self) -> usize {
        self.arrived.load(Ordering::Relaxed)
    }

    /// Takes a job in; [`Error::QueueFull`] where as many wait as may. One of a lower level that came last makes room.
    pub(super) fn push(&self, job: Job) -> Result<(), Error> {
        let mut dead = Vec::new();
        let mut state = self.lock();
        if state.forming.line.len() >= self.max_len && self.left.swap(0, Ordering::Relaxed) > 0 {
            dead = state.forming.line.take_dead(Instant::now());
        }
        let displaced = match state.forming.line.len() >= self.max_len {
            true => Some(state.forming.line.displace(job.level).ok_or_else(|| self.full())?),
            false => None,
        };
        self.arrived.fetch_add(job.rows, Ordering::Relaxed);
        state.forming.push(job);
        self.len.store(state.forming.line.len(), Ordering::Relaxed);
        drop(state);
        self.changed.notify_one();
        if let Some(job) = displaced {
            // Nobody may wait for it any more.
            let _ = job.reply.send(Err(self.full()));
        }
        drop(dead);
        Ok(())
    }

    fn full(&self) -> Error {
        Error::QueueFull(format!("the queue is full: {} requests wait (`maxQueue`)", self.max_len))
    }

    /// A request doesn't wait for its answer any more: its time is over, or its client went. Its job is dead, and gives
    /// its place up: not at once, since looking for it takes time, but before a quarter of the places are such.
    pub(super) fn leave(&self) {
        let left = self.left.fetch_add(1, Ordering::Relaxed) + 1;
        if left.saturating_mul(4) < self.len() {
            return;
        }
        self.left.store(0, Ordering::Relaxed);
        let mut state = self.lock();
        let dead = state.forming.line.take_dead(Instant::now());
        self.len.store(state.forming.line.len(), Ordering::Relaxed);
        drop(state);
        drop(dead);
    }

    /// Lets the threads end once nothing waits.
    pub(super) fn close(&self) {
        self.lock().closed = true;
        self.changed.notify_all();
    }

    /// Takes note of the run that the thread comes from, waits for jobs, and takes those that run together: one, or
    /// several that are joinable. `None` once the queue is closed and empty.
    pub(super) fn take(&self, done: Option<Done>) -> Option<Vec<Job>> {
        let mut dead = Vec::new();
        let mut state = self.lock();
        if let Some(done) = done {
            state.forming.finished(done, Instant::now());
        }
        loop {
            let now = Instant::now();
            state.forming.line.take_dead_heads(now, &mut dead);
            if !dead.is_empty() {
                drop(state);
                dead.clear();
                state = self.lock();
                continue;
            }
            self.len.store(state.forming.line.len(), Ordering::Relaxed);
            let closed = state.closed;
            match state.forming.next(now, closed) {
                Next::Take(most) => {
                    let batch = state.forming.take(most, now);
                    let left = state.forming.line.len();
                    self.len.store(left, Ordering::Relaxed);
                    drop(state);
                    if left > 0 {
                        // Another thread may have been woken for one that is now taken, and slept again.
                        self.changed.notify_one();
                    }
                    return Some(batch);
                }
                Next::Wait(None) if closed => return None,
                Next::Wait(None) => {
                    state = self.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
                }
                Next::Wait(Some(until)) => {
                    let more = until.saturating_duration_since(now);
                    state = self.changed.wait_timeout(state, more).unwrap_or_else(PoisonError::into_inner).0;
                }
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // Nothing that can panic happens between two changes that belong together.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
