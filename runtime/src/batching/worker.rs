//! An inference thread: takes batches, runs them, and gives each request its rows back.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::oneshot;

use super::inline::Inline;
use super::line::Job;
use super::pace::Done;
use super::queue::Queue;
use super::tally::Limits;
use super::{Answer, Executor, Observer, padding, rows};
use crate::error::Error;
use crate::tensor::Value;

/// What a run gives.
type Outputs = Result<Vec<Value>, Error>;

/// What a thread works with.
pub(super) struct Worker {
    pub(super) executor: Arc<dyn Executor>,
    pub(super) observer: Arc<dyn Observer>,
    pub(super) queue: Arc<Queue>,
    pub(super) limits: Arc<Limits>,
    pub(super) inline: Arc<Inline>,
}

/// Runs the model; a panic on the way is the service's fault and nothing more than this request's end.
pub(super) fn guarded(executor: &dyn Executor, inputs: Vec<Value>) -> Result<Vec<Value>, Error> {
    let run = AssertUnwindSafe(|| executor.run(inputs));
    catch_unwind(run).unwrap_or_else(|_| Err(Error::Internal("running the model panicked".into())))
}

impl Worker {
    /// Works until the queue is closed and empty.
    pub(super) fn work(self) {
        let mut done = None;
        while let Some(batch) = self.queue.take(done.take()) {
            let (rows, started) = (batch.iter().map(|job| job.rows).sum(), Instant::now());
            let elements: usize = batch.iter().map(|job| job.size).sum();
            let mut ended = None;
            // A batch that is lost drops its replies, which its requests take for an error; the next one goes on.
            if catch_unwind(AssertUnwindSafe(|| self.answer(batch, &mut ended))).is_err() {
                tracing::error!("an inference thread panicked over a batch, and goes on");
            }
            let Ended { at, arrived, as_one } = ended.unwrap_or_else(|| self.ended(false));
            let since = self.queue.arrived().wrapping_sub(arrived);
            let (elements, took) = (if as_one { elements } else { 0 }, at.saturating_duration_since(started));
            done = Some(Done { rows, elements, since, ended: at, took });
        }
    }

    fn ended(&self, as_one: bool) -> Ended {
        Ended { at: Instant::now(), arrived: self.queue.arrived(), as_one }
    }

    /// Runs a batch and answers. Into `ended` goes when the run was over, before the first answer is given: that may
    /// bring requests back before the last one is.
    fn answer(&self, mut batch: Vec<Job>, ended: &mut Option<Ended>) {
        match self.limits.axis() {
            Some(axis) if batch.len() > 1 => {
                let joined = self.run_joined(&batch, axis);
                *ended = Some(self.ended(joined.is_some()));
                if let Some((run, parts)) = joined {
                    for (job, outputs) in batch.into_iter().zip(parts) {
                        let answer = run.answer(job.arrived, outputs);
                        // Nobody may wait for it any more.
                        let _ = job.reply.send(Ok(answer));
                    }
                    return;
                }
                // One of them may be at fault: alone, it fails alone.
                let now = Instant::now();
                batch.retain(|job| !job.is_dead(now));
                batch.into_iter().for_each(|job| self.run_alone(job));
            }
            _ => {
                for job in batch {
                    let (run, outputs) = self.run(job.inputs, job.rows, job.size);
                    *ended = Some(self.ended(outputs.is_ok()));
                    self.reply(&run, outputs, job.arrived, job.reply);
                }
            }
        }
    }

    /// Runs a batch as one. `None` if that failed, or if it didn't give back the rows that went in.
    fn run_joined(&self, batch: &[Job], axis: usize) -> Option<(Run, Vec<Vec<Value>>)> {
        let requests: Vec<&[Value]> = batch.iter().map(|job| job.inputs.as_slice()).collect();
        let counts: Vec<usize> = batch.iter().map(|job| job.rows).collect();
        let lengths: Vec<usize> = batch.iter().map(|job| job.length).collect();
        let ragged = lengths.iter().any(|length| *length != lengths[0]);
        // Formed before padding was stopped: its requests run alone.
        let padding = if ragged { Some(self.limits.padding()?) } else { None };
        let joined = match padding {
            None => rows::join(&requests, axis)?,
            Some(padding) => padding::join(&requests, &lengths, padding)?,
        };
        let size = batch.iter().map(|job| job.size).sum();
        let (run, outputs) = self.run(joined, counts.iter().sum(), size);
        let answers = match padding {
            None => rows::split(outputs.ok()?, axis, &counts),
            Some(padding) => padding::split(outputs.ok()?, &counts, &lengths, padding),
        };
        match (&answers, padding) {
            (Some(_), _) => self.observer.batch(run.rows, run.took),
            (None, None) => {
                tracing::error!("the model gave other rows than it was given: requests run alone from now on");
                self.limits.stop_joining();
            }
            (None, Some(_)) => {
                tracing::error!("the model gave other lengths than it was given: nothing is padded from now on");
                self.limits.stop_padding();
            }
        }
        Some((run, answers?))
    }

    fn run_alone(&self, job: Job) {
        let (run, outputs) = self.run(job.inputs, job.rows, job.size);
        self.reply(&run, outputs, job.arrived, job.reply);
    }

    /// Answers the one request of a run.
    fn reply(&self, run: &Run, outputs: Outputs, arrived: Instant, reply: oneshot::Sender<Result<Answer, Error>>) {
        if outputs.is_ok() {
            self.observer.batch(run.rows, run.took);
        }
        // Nobody may wait for it any more.
        let _ = reply.send(outputs.map(|outputs| run.answer(arrived, outputs)));
    }

    fn run(&self, inputs: Vec<Value>, rows: usize, size: usize) -> (Run, Outputs) {
        let started = Instant::now();
        let outputs = guarded(&*self.executor, inputs);
        let took = started.elapsed();
        self.inline.ran(size, took);
        (Run { started, took, rows }, outputs)
    }
}

/// The end of a batch's run.
struct Ended {
    at: Instant,
    /// Rows that had come in by then, since the start.
    arrived: usize,
    /// Whether the batch was one run that went well.
    as_one: bool,
}

/// A run of the model that is over.
struct Run {
    started: Instant,
    took: Duration,
    rows: usize,
}

impl Run {
    /// What a request that was part of it is answered.
    fn answer(&self, arrived: Instant, outputs: Vec<Value>) -> Answer {
        let queued = self.started.saturating_duration_since(arrived);
        Answer { outputs, queued, ran: self.took, rows: self.rows }
    }
}
