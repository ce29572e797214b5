//! What every protocol does with an inference request: admit it, run it between the hooks, count how it ended.

use std::future::Future;
use std::sync::atomic::Ordering;
use std::time::Instant;

use super::app::App;
use super::body::Limits;
use super::respond::Response;
use crate::error::Error;
use crate::metrics::Outcome;
use crate::tensor::Value;

/// Reading or writing more than this is moved off the thread that other connections share.
const INLINE_BYTES: usize = 128 << 10;

/// One inference request in work. Dropped without an end, it was the client that went.
struct Work<'a> {
    app: &'a App,
    begun: Instant,
    outcome: Outcome,
}

impl Drop for Work<'_> {
    fn drop(&mut self) {
        self.app.in_work.fetch_sub(1, Ordering::Relaxed);
        self.app.metrics.inferred(self.outcome, self.begun.elapsed());
    }
}

/// Answers 429 when too many requests are in work, 503 before the model is there; counts the end.
pub(super) async fn counted(
    app: &App,
    request: impl Future<Output = Result<Response, Error>>,
) -> Result<Response, Error> {
    let before = app.in_work.fetch_add(1, Ordering::Relaxed);
    let mut work = Work { app, begun: Instant::now(), outcome: Outcome::Canceled };
    let limit = app.settings.server.max_concurrency;
    let result = if before >= limit {
        Err(Error::QueueFull(format!("{limit} requests are in work already (`maxConcurrency`): try again later")))
    } else if let Err(not_ready) = app.scheduler() {
        Err(not_ready)
    } else {
        request.await
    };
    work.outcome = match &result {
        Ok(_) => Outcome::Success,
        Err(error) => Outcome::from(error),
    };
    result
}

/// The limits of a request's body.
pub(super) fn limits(app: &App) -> Limits<'_> {
    let server = &app.settings.server;
    Limits { bytes: server.max_body_bytes, time: server.read_timeout, budget: &app.budget }
}

/// Bytes that values take in memory, about.
pub(super) fn bytes(values: &[Value]) -> usize {
    let one = |value: &Value| match value {
        Value::Tensor(tensor) => tensor.data.bytes(),
        Value::Sequence(values) => bytes(values),
        // No protocol takes a map.
        Value::Map(_) | Value::Absent => 0,
    };
    values.iter().map(one).sum()
}

/// Runs the model between the hooks.
pub(super) async fn run(app: &App, inputs: Vec<Value>) -> Result<Vec<Value>, Error> {
    let inputs = app.service.before(inputs)?;
    let outputs = app.scheduler()?.infer(inputs).await?;
    app.service.after(outputs)
}

/// Reads a request of `bytes` bytes and counts the time.
pub(super) fn decode<T>(app: &App, bytes: usize, decode: impl FnOnce() -> T) -> T {
    let begun = Instant::now();
    let decoded = aside_if_large(bytes, decode);
    app.metrics.decoded(begun.elapsed());
    decoded
}

/// Writes an answer made of `outputs` and counts the time.
pub(super) fn encode<T>(app: &App, outputs: &[Value], encode: impl FnOnce() -> T) -> T {
    let begun = Instant::now();
    // A number is written in about as many bytes.
    let encoded = aside_if_large(outputs.iter().map(elements).sum::<usize>().saturating_mul(8), encode);
    app.metrics.encoded(begun.elapsed());
    encoded
}

fn elements(value: &Value) -> usize {
    match value {
        Value::Tensor(tensor) => tensor.data.len(),
        Value::Sequence(values) => values.iter().map(elements).sum(),
        Value::Map(pairs) => pairs.len(),
        Value::Absent => 0,
    }
}

/// Long work on one of the few threads that serve connections would keep health checks waiting.
fn aside_if_large<T>(bytes: usize, work: impl FnOnce() -> T) -> T {
    if bytes > INLINE_BYTES { tokio::task::block_in_place(work) } else { work() }
}
