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
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Instant, SystemTime};

use hyper::HeaderMap;
use tokio::sync::Notify;

use crate::error::Error;
use crate::inference::Stages;
use crate::metrics::Counter;
use context::{Parent, TraceId};
pub use endpoint::Endpoint;
pub use options::{Options, Plan, VARIABLES, Variable};
pub(crate) use record::Call;
use record::Record;
use sampler::Ids;
pub(crate) use sampler::Place;
pub use sampler::Ratio;

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
    pub(crate) fn new(plan: Plan, dropped: Arc<Counter>) -> Traces {
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
        Some(self.resume(Detached(Box::new(open))))
    }

    /// Begins to watch a gRPC call, or one message of its stream, where it is to be recorded.
    pub(crate) fn call(&self, metadata: &HeaderMap, service: &'static str, method: &'static str) -> Option<Span<'_>> {
        let parent = Parent::of(metadata);
        self.begin(metadata, parent.as_ref(), Root::Sampled, || Call::Grpc { service, method })
    }

    /// Goes on to watch a request.
    pub(crate) fn resume(&self, Detached(open): Detached) -> Span<'_> {
        Span { queue: &self.queue, place: open.place, open: Some(open) }
    }
}

/// A request whose end is seen by another task than its begin.
pub(crate) struct Detached(Box<Open>);

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

    /// Lets another task watch it.
    pub(crate) fn detach(mut self) -> Option<Detached> {
        self.open.take().map(Detached)
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

    /// Notes how it ends.
    pub(crate) fn end(&mut self, error: Option<&Error>) {
        if let Some(open) = &mut self.open {
            open.status = Some(match open.call {
                Call::Http { .. } => error.map_or(200, Error::status),
                Call::Grpc { .. } => error.map_or(0, |error| error.code() as u16),
            });
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
    dropped: Arc<Counter>,
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
