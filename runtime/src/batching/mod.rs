//! Requests to runs of the model: a queue, and threads that take what belongs together out of it.
//!
//! A request whose rows are proved to be independent is joined with others along the proved axis, as many as fit into
//! `maxBatchSize` and `maxBatchElements`; the rest run alone. A request is never split from its answer: rows are counted
//! on the way out, and where a batch fails its members run again alone, so that one bad row fails alone.
//!
//! Requests of a higher level of priority go first, the oldest first inside a level; one whose time is over, or whose
//! client has gone, never runs.
//!
//! The inference threads own the queue together, under one lock that is held for the microsecond it takes to form a
//! batch. A task that owned it alone would hand each request over twice on its way in, which at these times of run is
//! what a request costs. A model that is quicker than the one remaining hand-over runs where the request is.

mod forming;
mod gain;
mod inline;
mod line;
mod pace;
mod padding;
mod queue;
mod rows;
mod same;
mod tally;
mod worker;

use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::oneshot;

use self::inline::Inline;
pub(crate) use self::inline::SHORT_RUN;
use self::line::Job;
pub use self::padding::Padding;
use self::queue::Queue;
pub use self::same::same_answer;
use self::tally::Limits;
use self::worker::Worker;
use crate::engine::Engine;
use crate::error::Error;
use crate::inference::Urgency;
use crate::settings::{BatchingSettings, MOST_PRIORITY_LEVELS};
use crate::signature::ModelSignature;
use crate::tensor::{Value, elements};

/// What runs the model: [`Engine`], or a test's stand-in.
pub trait Executor: Send + Sync + 'static {
    /// Runs once: one value an input, one value an output, in the signature's order. Blocks.
    fn run(&self, inputs: Vec<Value>) -> Result<Vec<Value>, Error>;

    /// How many runs may go on at once, at least 1.
    fn instances(&self) -> usize;
}

impl Executor for Engine {
    fn run(&self, inputs: Vec<Value>) -> Result<Vec<Value>, Error> {
        Engine::run(self, inputs)
    }

    fn instances(&self) -> usize {
        Engine::instances(self)
    }
}

impl<E: Executor> Executor for Arc<E> {
    fn run(&self, inputs: Vec<Value>) -> Result<Vec<Value>, Error> {
        E::run(self, inputs)
    }

    fn instances(&self) -> usize {
        E::instances(self)
    }
}

/// What is told of each run of the model, for the metrics. Called on the thread that ran it: it should be quick.
pub trait Observer: Send + Sync + 'static {
    /// A run is over that gave answers: how many rows it had (1 where rows can't be counted), and how long it took.
    /// One that failed is told by the requests that it failed, and not here.
    fn batch(&self, rows: usize, ran: Duration);
}

/// Watches nothing.
impl Observer for () {
    fn batch(&self, _rows: usize, _ran: Duration) {}
}

/// One request → requests of at most `most` rows each, with their number of rows, where rows are proved to be
/// independent; else the request as it is, counted as one. What is left out has no rows, and isn't split: a request
/// without its state, which comes from its session, is one part of all its rows.
pub(crate) fn parts(inputs: Vec<Value>, signature: &ModelSignature, most: usize) -> Vec<(Vec<Value>, usize)> {
    let axis = signature.batching.axis();
    let there = || inputs.iter().filter(|value| **value != Value::Absent);
    let Some((axis, rows)) = axis.and_then(|axis| Some((axis, rows::count(there(), axis)?))) else {
        return vec![(inputs, 1)];
    };
    let most = most.max(1);
    if rows <= most || there().count() < inputs.len() {
        return vec![(inputs, rows)];
    }
    let sizes: Vec<usize> = (0..rows).step_by(most).map(|first| most.min(rows - first)).collect();
    // Every input has been counted along the axis, so that it can be split there.
    let parts = rows::split(inputs, axis, &sizes).unwrap_or_default();
    parts.into_iter().zip(sizes).collect()
}

/// The answer to one request, and what it took.
#[derive(Debug, Clone, PartialEq)]
pub struct Answer {
    /// One value an output, in the signature's order.
    pub outputs: Vec<Value>,
    /// How long the request waited for the model.
    pub queued: Duration,
    /// How long the run took that it was part of.
    pub ran: Duration,
    /// Rows in that run.
    pub rows: usize,
}

/// Takes requests and gives answers. Dropping it lets the threads end once the queue is empty.
pub struct Scheduler {
    executor: Arc<dyn Executor>,
    observer: Arc<dyn Observer>,
    queue: Arc<Queue>,
    limits: Arc<Limits>,
    inline: Arc<Inline>,
    axis: Option<usize>,
    timeout: Duration,
    /// Levels of priority, and the one of a request that asks for none; counted from 1.
    levels: usize,
    default_level: usize,
}

impl Scheduler {
    /// Starts one inference thread for each instance of `executor`, whose values follow the order of `signature`.
    pub fn start(
        executor: impl Executor,
        signature: &ModelSignature,
        settings: &BatchingSettings,
        observer: Arc<dyn Observer>,
    ) -> Scheduler {
        Scheduler::start_with(executor, signature, settings, None, observer)
    }

    /// As [`Scheduler::start`], and joins rows of different lengths where `padding` says how.
    pub fn start_with(
        executor: impl Executor,
        signature: &ModelSignature,
        settings: &BatchingSettings,
        padding: Option<Padding>,
        observer: Arc<dyn Observer>,
    ) -> Scheduler {
        let executor: Arc<dyn Executor> = Arc::new(executor);
        let axis = signature.batching.axis().filter(|_| settings.max_batch_size > 1);
        let limits = Limits::new(axis, settings.max_batch_size, settings.max_batch_elements, padding);
        let limits = Arc::new(limits);
        let queue = Arc::new(Queue::new(settings, limits.clone(), executor.instances()));
        let inline = Arc::new(Inline::default());
        for k in 0..executor.instances().max(1) {
            let worker = Worker {
                executor: executor.clone(),
                observer: observer.clone(),
                queue: queue.clone(),
                limits: limits.clone(),
                inline: inline.clone(),
            };
            std::thread::Builder::new()
                .name(format!("inference-{k}"))
                .spawn(move || worker.work())
                .expect("a process that can't start a thread can't serve");
        }
        let levels = settings.priority_levels.clamp(1, MOST_PRIORITY_LEVELS);
        let default_level = settings.default_priority.unwrap_or(levels).clamp(1, levels);
        let timeout = settings.request_timeout;
        Scheduler { executor, observer, queue, limits, inline, axis, timeout, levels, default_level }
    }

    /// Answers one request: one value an input in the signature's order, each of which fits the signature; one value an
    /// output.
    ///
    /// Fails with [`Error::QueueFull`], with [`Error::DeadlineExceeded`] after `requestTimeout` or the request's own
    /// time, or as the model does. Where the future is dropped, the request is dropped too unless it is running already.
    pub async fn infer(&self, inputs: Vec<Value>, urgency: Urgency) -> Result<Answer, Error> {
        if urgency.timeout.is_some_and(|own| own.is_zero()) {
            return Err(self.late(urgency.timeout));
        }
        let counted = self.axis.and_then(|axis| rows::count(&inputs, axis));
        let rows = counted.unwrap_or(1);
        let size = elements(&inputs);
        if self.inline.takes(size) {
            return self.run_here(inputs, rows, size);
        }
        let arrived = Instant::now();
        let deadline = arrived + urgency.timeout.map_or(self.timeout, |own| own.min(self.timeout));
        let (reply, answer) = oneshot::channel();
        let joins = counted.is_some_and(|rows| self.limits.admit(rows, size));
        let length = self.limits.padding().and_then(|padding| padding.length(&inputs)).unwrap_or(0);
        let level = self.level(urgency.priority);
        self.queue.push(Job { inputs, rows, joins, size, length, level, arrived, deadline, reply })?;
        let mut waiting = Waiting { answer, queue: Some(&self.queue) };
        match tokio::time::timeout_at(deadline.into(), waiting.answer()).await {
            Ok(Some(answer)) => answer,
            // The queue may have let go of it the moment before its own timer rang.
            Ok(None) if deadline <= Instant::now() => Err(self.late(urgency.timeout)),
            Ok(None) => Err(Error::Internal("the inference thread gave no answer".into())),
            Err(_) => Err(self.late(urgency.timeout)),
        }
    }

    /// The place of a priority among the levels, 0 being the highest. One that there isn't means the default, as it does
    /// in the protocol's other servers.
    fn level(&self, priority: u32) -> usize {
        let asked = usize::try_from(priority).unwrap_or(usize::MAX);
        if (1..=self.levels).contains(&asked) { asked - 1 } else { self.default_level - 1 }
    }

    fn late(&self, own: Option<Duration>) -> Error {
        let timeout = crate::settings::duration::format(self.timeout);
        Error::DeadlineExceeded(match own {
            Some(own) if own < self.timeout => "no answer within the time that the request allows itself".into(),
            _ => format!("no answer within {timeout} (`requestTimeout`)"),
        })
    }

    /// Requests that wait, not counting those that run.
    pub fn queue_len(&self) -> usize {
        self.queue.len()
    }

    /// How many runs may go on at once.
    pub fn instances(&self) -> usize {
        self.executor.instances()
    }

    fn run_here(&self, inputs: Vec<Value>, rows: usize, size: usize) -> Result<Answer, Error> {
        let started = Instant::now();
        let outputs = worker::guarded(&*self.executor, inputs);
        let ran = started.elapsed();
        self.inline.ran(size, ran);
        let outputs = outputs?;
        self.observer.batch(rows, ran);
        Ok(Answer { outputs, queued: Duration::ZERO, ran, rows })
    }
}

/// A request that waits for its answer. Dropped without one, it tells the queue.
struct Waiting<'q> {
    answer: oneshot::Receiver<Result<Answer, Error>>,
    queue: Option<&'q Queue>,
}

impl Waiting<'_> {
    /// The answer; `None` where the thread that had the request lost it.
    async fn answer(&mut self) -> Option<Result<Answer, Error>> {
        let answer = (&mut self.answer).await;
        self.queue = None;
        answer.ok()
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        if let Some(queue) = self.queue {
            self.answer.close();
            queue.leave();
        }
    }
}

impl Drop for Scheduler {
    fn drop(&mut self) {
        self.queue.close();
    }
}

#[cfg(test)]
mod tests;
