//! OpenTelemetry traces: a request that is to be recorded → a [`record`](record::Record) when it has ended → spans →
//! a collector.
//!
//! Nothing is recorded while a request runs. What its stages took is known anyway, and the spans are made of it
//! afterwards, by the task that sends them. The messages are written with prost as they are: an SDK would bring a
//! megabyte of code, a second representation of each span and locks of its own for the same bytes.
//!
//! [`context`] reads and writes W3C Trace Context, [`options`] the environment, [`sampler`] decides, [`exporter`] sends.

pub mod context;
pub(crate) mod endpoint;
pub(crate) mod exporter;
pub(crate) mod options;
mod otlp;
mod post;
mod record;
mod sampler;

use std::collections::VecDeque;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Instant, SystemTime};

use hyper::HeaderMap;
use prometheus::IntCounter;
use tokio::sync::Notify;

use crate::inference::Stages;
use context::{Parent, TraceId};
pub use endpoint::Endpoint;
pub use options::{Options, Plan, VARIABLES, Variable};
pub(crate) use record::Call;
use record::Record;
pub use sampler::Ratio;
use sampler::{Ids, Place};

/// What all traced requests share.
pub(crate) struct Traces {
    plan: Plan,
    ids: Ids,
    queue: Queue,
}

/// Whether a request begins a trace where its caller sends none.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Root {
    /// It does, if the sampler says so.
    Sampled,
    /// It doesn't: it is asked every few seconds by machines.
    Never,
}

impl Traces {
    /// Spans that can't be sent are counted in `dropped`.
    pub(crate) fn new(plan: Plan, dropped: IntCounter) -> Traces {
        let queue = Queue {
            waiting: Mutex::new(VecDeque::new()),
            full: Notify::new(),
            most: plan.queue,
            batch: plan.batch,
            dropped,
        };
        Traces { plan, ids: Ids::new(), queue }
    }

    /// Begins to watch a request that came with `parent`, where it is to be recorded.
    pub(crate) fn begin(
        &self,
        headers: &HeaderMap,
        parent: Option<&Parent>,
        root: Root,
        call: impl FnOnce() -> Call,
    ) -> Option<Span<'_>> {
        if parent.is_none() && root == Root::Never {
            return None;
        }
        let place = self.ids.place(self.plan.sampler, parent)?;
        let open = Open {
            place,
            state: parent.and_then(|_| context::state(headers)),
            call: call(),
            begun: (SystemTime::now(), Instant::now()),
            status: None,
            stages: Stages::default(),
        };
        Some(Span { queue: &self.queue, open: Some(Box::new(open)), place })
    }
}

/// A request that is recorded. Dropped without an end, it was the client that went.
pub(crate) struct Span<'a> {
    queue: &'a Queue,
    /// Taken by the drop alone.
    open: Option<Box<Open>>,
    place: Place,
}

struct Open {
    place: Place,
    state: Option<Box<str>>,
    call: Call,
    begun: (SystemTime, Instant),
    status: Option<u16>,
    stages: Stages,
}

impl Span<'_> {
    /// Where it is.
    pub(crate) fn place(&self) -> Place {
        self.place
    }

    /// Its trace.
    pub(crate) fn trace(&self) -> TraceId {
        self.place.trace
    }

    /// Notes where its time went.
    pub(crate) fn stages(&mut self, stages: Stages) {
        if let Some(open) = &mut self.open {
            open.stages = stages;
        }
    }

    /// Notes how it is answered: HTTP's status, or gRPC's code.
    pub(crate) fn answer(&mut self, status: u16) {
        if let Some(open) = &mut self.open {
            open.status = Some(status);
        }
    }
}

impl Drop for Span<'_> {
    fn drop(&mut self) {
        if let Some(open) = self.open.take() {
            let Open { place, state, call, begun, status, stages } = *open;
            let took = begun.1.elapsed();
            self.queue.push(Record { place, state, call, begun: begun.0, took, status, stages });
        }
    }
}

/// Requests that have ended and wait to be sent.
struct Queue {
    waiting: Mutex<VecDeque<Record>>,
    /// Told when there is a batch.
    full: Notify,
    most: usize,
    batch: usize,
    dropped: IntCounter,
}

impl Queue {
    fn push(&self, record: Record) {
        let mut waiting = self.waiting();
        if waiting.len() >= self.most {
            drop(waiting);
            return self.dropped.inc_by(record.count());
        }
        waiting.push_back(record);
        let count = waiting.len();
        drop(waiting);
        if count == self.batch {
            self.full.notify_one();
        }
    }

    /// As many as are sent at once, the oldest first.
    fn take(&self) -> Vec<Record> {
        let mut waiting = self.waiting();
        let count = waiting.len().min(self.batch);
        waiting.drain(..count).collect()
    }

    /// Nothing that holds the lock can panic halfway.
    fn waiting(&self) -> MutexGuard<'_, VecDeque<Record>> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests;
