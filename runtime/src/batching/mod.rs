//! Requests to runs of the model: a queue, and threads that take what belongs together out of it.
//!
//! A request whose rows are proved to be independent is joined with others along the proved axis, as many as fit into
//! `maxBatchSize`; the rest run alone. A request is never split from its answer: rows are counted on the way out, and
//! where a batch fails its members run again alone, so that one bad row fails alone.
//!
//! The inference threads own the queue together, under one lock that is held for the microsecond it takes to form a
//! batch. A task that owned it alone would hand each request over twice on its way in, which at these times of run is
//! what a request costs. A model that is quicker than the one remaining hand-over runs where the request is.

mod inline;
mod queue;
mod rows;
mod worker;

use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::oneshot;

use self::inline::Inline;
use self::queue::{Job, Queue};
use self::worker::Worker;
use crate::engine::Engine;
use crate::error::Error;
use crate::inference::Urgency;
use crate::settings::BatchingSettings;
use crate::signature::ModelSignature;
use crate::tensor::Value;

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

/// What is told of each run of the model, for the metrics. Called on the thread that ran it: it should be quick.
pub trait Observer: Send + Sync + 'static {
    /// A run is over, well or not: how many rows it had (1 where rows can't be counted), and how long it took.
    fn batch(&self, rows: usize, ran: Duration);
}

/// Watches nothing.
impl Observer for () {
    fn batch(&self, _rows: usize, _ran: Duration) {}
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
    inline: Arc<Inline>,
    axis: Option<usize>,
    max_rows: usize,
    timeout: Duration,
}

impl Scheduler {
    /// Starts one inference thread for each instance of `executor`, whose values follow the order of `signature`.
    pub fn start(
        executor: impl Executor,
        signature: &ModelSignature,
        settings: &BatchingSettings,
        observer: Arc<dyn Observer>,
    ) -> Scheduler {
        let executor: Arc<dyn Executor> = Arc::new(executor);
        let axis = signature.batching.axis().filter(|_| settings.max_batch_size > 1);
        let queue = Arc::new(Queue::new(settings, axis));
        let inline = Arc::new(Inline::default());
        for k in 0..executor.instances().max(1) {
            let worker = Worker {
                executor: executor.clone(),
                observer: observer.clone(),
                queue: queue.clone(),
                inline: inline.clone(),
            };
            std::thread::Builder::new()
                .name(format!("inference-{k}"))
                .spawn(move || worker.work())
                .expect("a process that can't start a thread can't serve");
        }
        Scheduler {
            executor,
            observer,
            queue,
            inline,
            axis,
            max_rows: settings.max_batch_size,
            timeout: settings.request_timeout,
        }
    }

    /// Answers one request: one value an input in the signature's order, each of which fits the signature; one value an
    /// output.
    ///
    /// Fails with [`Error::QueueFull`], with [`Error::DeadlineExceeded`] after `requestTimeout` or the request's own, or as the model does.
    /// Where the future is dropped, the request is dropped too unless it is running already.
    pub async fn infer(&self, inputs: Vec<Value>, urgency: Urgency) -> Result<Answer, Error> {
        let counted = self.axis.and_then(|axis| rows::count(&inputs, axis));
        let rows = counted.unwrap_or(1);
        let size = inline::size(&inputs);
        if self.inline.takes(size) {
            return self.run_here(inputs, rows, size);
        }
        let arrived = Instant::now();
        let timeout = urgency.timeout.map_or(self.timeout, |own| own.min(self.timeout));
        let deadline = arrived + timeout;
        let (reply, answer) = oneshot::channel();
        // No rows, or more than a batch may have: a run of its own.
        let joins = counted.is_some_and(|rows| (1..=self.max_rows).contains(&rows));
        self.queue.push(Job { inputs, rows, joins, size, arrived, deadline, reply })?;
        match tokio::time::timeout_at(deadline.into(), answer).await {
            Ok(Ok(answer)) => answer,
            Ok(Err(_)) => Err(Error::Internal("the inference thread gave no answer".into())),
            Err(_) => {
                let whose = if timeout < self.timeout { "the request's own time" } else { "`requestTimeout`" };
                let timeout = crate::settings::duration::format(timeout);
                Err(Error::DeadlineExceeded(format!("no answer within {timeout} ({whose})")))
            }
        }
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
        self.observer.batch(rows, ran);
        outputs.map(|outputs| Answer { outputs, queued: Duration::ZERO, ran, rows })
    }
}

impl Drop for Scheduler {
    fn drop(&mut self) {
        self.queue.close();
    }
}

#[cfg(test)]
mod tests;
