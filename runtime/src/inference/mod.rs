//! What every protocol does with an inference request: admit it, run it between the hooks, count how it ended.

mod budget;
mod urgency;

use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use hyper::HeaderMap;
use tokio::runtime::{Handle, RuntimeFlavor};

pub(crate) use self::budget::{Budget, Held};
pub use self::urgency::Urgency;
use crate::app::App;
use crate::error::Error;
use crate::metrics::{Inferred, Outcome};
use crate::state::Sequence;
use crate::tensor::{Value, elements};
use crate::trace::context::TraceId;
use crate::trace::{Detached, Place, Span};

/// Reading or writing more than this is moved off the thread that other connections share.
pub(crate) const INLINE_BYTES: usize = 128 << 10;

/// Where the time of one inference request went.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Stages {
    /// Reading it.
    pub decode: Duration,
    /// Waiting for the model.
    pub queue: Duration,
    /// In the model's run, alone or with others.
    pub compute: Duration,
    /// Rows in that run.
    pub rows: usize,
    /// Writing the answer.
    pub encode: Duration,
    /// When it was read, from its begin.
    pub decoded_at: Duration,
    /// When the answer was written, from its begin.
    pub encoded_at: Duration,
}

/// One inference request in work, whatever the protocol. Dropped without an end, it was the client that went.
pub(crate) struct Work<'a> {
    pub(crate) app: &'a App,
    pub(crate) urgency: Urgency,
    /// The session that it belongs to.
    pub(crate) sequence: Sequence,
    /// The trace that it is recorded in.
    pub(crate) trace: Option<TraceId>,
    /// Where it is recorded, if that isn't the business of its protocol.
    span: Option<Span<'a>>,
    begun: Instant,
    outcome: Outcome,
    stages: Stages,
}

impl Drop for Work<'_> {
    fn drop(&mut self) {
        self.app.in_work.fetch_sub(1, Ordering::Relaxed);
        if let Some(span) = &mut self.span {
            span.stages(self.stages);
        }
        let (took, stages) = (self.begun.elapsed(), &self.stages);
        self.app.metrics.inferred(&Inferred { outcome: self.outcome, took, stages, trace: self.trace });
    }
}

impl<'a> Work<'a> {
    /// Counts a request in.
    pub(crate) fn begin(app: &'a App) -> Work<'a> {
        app.in_work.fetch_add(1, Ordering::Relaxed);
        let (urgency, sequence, stages) = (Urgency::default(), Sequence::default(), Stages::default());
        let (begun, outcome) = (Instant::now(), Outcome::Canceled);
        Work { app, urgency, sequence, trace: None, span: None, begun, outcome, stages }
    }

    /// Records a gRPC call from here to its end, if it is to be recorded: in the trace that its metadata name, else in a
    /// new one.
    pub(crate) fn continue_trace(&mut self, metadata: &HeaderMap, service: &'static str, method: &'static str) {
        let traces = self.app.traces.as_ref();
        self.span = traces.and_then(|traces| traces.call(metadata, service, method));
        self.trace = self.span.as_ref().map(Span::trace);
    }

    /// Records what has begun to be recorded elsewhere.
    pub(crate) fn resume_trace(&mut self, recorded: Option<Detached>) {
        let traces = self.app.traces.as_ref();
        self.span = recorded.and_then(|recorded| Some(traces?.resume(recorded)));
        self.trace = self.span.as_ref().map(Span::trace);
    }

    /// Where it is recorded here.
    pub(crate) fn place(&self) -> Option<Place> {
        self.span.as_ref().map(Span::place)
    }

    /// Refuses with 429 when too many requests are in work or too many answers aren't read, with 503 before the model is
    /// there.
    pub(crate) fn admit(&self) -> Result<(), Error> {
        let limit = self.app.settings.server.max_concurrency;
        if self.app.in_work.load(Ordering::Relaxed) > limit {
            let text = format!("{limit} requests are in work already (`maxConcurrency`): try again later");
            return Err(Error::QueueFull(text));
        }
        self.app.budget.admit()?;
        self.app.scheduler().map(drop)
    }

    /// Where its time went so far.
    pub(crate) fn stages(&self) -> Stages {
        self.stages
    }

    /// Notes how the request ended.
    pub(crate) fn end<T>(mut self, result: Result<T, Error>) -> Result<T, Error> {
        self.outcome = match &result {
            Ok(_) => Outcome::Success,
            Err(error) => Outcome::from(error),
        };
        if let Some(span) = &mut self.span {
            span.end(result.as_ref().err());
        }
        result
    }

    /// Reads a request of `bytes` bytes and notes the time.
    pub(crate) fn decode<T>(&mut self, bytes: usize, decode: impl FnOnce() -> T) -> T {
        self.app.metrics.received.inc_by(bytes as u64);
        let begun = Instant::now();
        let decoded = aside_if_large(bytes, decode);
        let end = Instant::now();
        self.stages.decode += end - begun;
        self.stages.decoded_at = end - self.begun;
        decoded
    }

    /// Runs the model between the hooks, on the state of the request's session where there is one.
    pub(crate) async fn run(&mut self, inputs: Vec<Value>) -> Result<Vec<Value>, Error> {
        let Some(sessions) = &self.app.sessions else {
            return match self.sequence.id {
                None => self.infer(inputs).await.and_then(|outputs| self.app.service.after(outputs)),
                Some(_) => Err(Error::Unsupported("this service keeps no state, and so no sessions (`state`)".into())),
            };
        };
        let limit = self.app.settings.batching.request_timeout;
        let patience = self.urgency.timeout.map_or(limit, |own| own.min(limit)).saturating_sub(self.begun.elapsed());
        let turn = sessions.turn(&self.sequence, patience).await?;
        let inputs = turn.fill(inputs)?;
        let outputs = self.infer(inputs).await?;
        turn.keep(&outputs)?;
        self.app.service.after(outputs)
    }

    /// Takes out of the answer what its session keeps, where that can be said.
    pub(crate) fn leave_out_kept(&self, outputs: &mut [Value]) {
        let Some(sessions) = self.app.sessions.as_ref().filter(|_| self.sequence.id.is_some()) else { return };
        outputs
            .iter_mut()
            .enumerate()
            .filter(|(k, _)| sessions.keeps(*k))
            .for_each(|(_, output)| *output = Value::Absent);
    }

    async fn infer(&mut self, inputs: Vec<Value>) -> Result<Vec<Value>, Error> {
        let inputs = self.app.service.before(inputs)?;
        let mut urgency = self.urgency;
        if let Some(timeout) = &mut urgency.timeout {
            *timeout = timeout.saturating_sub(self.begun.elapsed());
        }
        let answer = self.app.scheduler()?.infer(inputs, urgency).await?;
        self.stages.queue += answer.queued;
        self.stages.compute += answer.ran;
        self.stages.rows = answer.rows;
        Ok(answer.outputs)
    }

    /// Notes how many bytes its answer has.
    pub(crate) fn sends(&self, bytes: usize) {
        self.app.metrics.sent.inc_by(bytes as u64);
    }

    /// Writes an answer made of `outputs` and notes the time.
    pub(crate) fn encode<T>(&mut self, outputs: &[Value], encode: impl FnOnce() -> T) -> T {
        let begun = Instant::now();
        // A number is written in about as many bytes.
        let encoded = aside_if_large(elements(outputs).saturating_mul(8), encode);
        let end = Instant::now();
        self.stages.encode += end - begun;
        self.stages.encoded_at = end - self.begun;
        encoded
    }
}

/// Bytes that values take in memory, about.
pub(crate) fn bytes(values: &[Value]) -> usize {
    let one = |value: &Value| match value {
        Value::Tensor(tensor) => tensor.data.bytes(),
        Value::Sequence(values) => bytes(values),
        // No protocol takes a map.
        Value::Map(_) | Value::Absent => 0,
    };
    values.iter().map(one).sum()
}

/// Long work on one of the few threads that serve connections would keep health checks waiting.
pub(crate) fn aside_if_large<T>(bytes: usize, work: impl FnOnce() -> T) -> T {
    // The thread that accepts connections has no other to give them to, and answers nothing that is large.
    let aside = || Handle::current().runtime_flavor() == RuntimeFlavor::MultiThread;
    if bytes > INLINE_BYTES && aside() { tokio::task::block_in_place(work) } else { work() }
}
