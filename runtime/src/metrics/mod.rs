//! What the service counts, and the page that tells it.
//!
//! A request costs a few atomic additions: two a histogram, one a counter. What can be derived from those is derived
//! when a scraper asks: Triton's sums are the sums of histograms, its counts theirs. [`table`] is the one list of names,
//! from which both the page and the documentation come.

mod batches;
mod gpu;
mod histogram;
mod picture;
mod process;
pub mod table;
mod text;
mod value;

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant, SystemTime};

use self::batches::{Batches, Runs};
use self::gpu::{Gpu, Gpus};
pub use self::histogram::DURATIONS;
use self::histogram::{Counted, Histogram, nanoseconds};
use self::process::Process;
pub use self::table::{Kind, METRICS, Metric};
pub use self::text::Format;
use self::text::Page;
pub use self::value::{Counter, Gauge};
use crate::batching::Observer;
use crate::error::Error;
use crate::inference::Stages;
use crate::progress::Progress;
use crate::state::Counted as Sessions;
use crate::statistics::{BatchStatistics, InferenceStatistics, ModelStatistics, StatisticDuration};
use crate::trace::context::TraceId;

/// The statuses that the service answers; anything else counts as the last.
const STATUSES: [u16; 16] = [200, 204, 308, 400, 403, 404, 405, 408, 413, 415, 422, 429, 501, 503, 504, 500];

/// Rows: the bounds of the histogram of batch sizes.
const BATCH_SIZES: &[u64] = &[1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1024];

/// How an inference request ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// It was answered.
    Success,
    /// Queue full, deadline passed, not ready.
    Rejected,
    /// The client went before the answer was there.
    Canceled,
    /// The model refused it or failed.
    Backend,
    /// The request was wrong.
    Other,
}

/// Triton's names of the outcomes that are failures.
const FAILURES: [(Outcome, &str); 4] = [
    (Outcome::Rejected, "REJECTED"),
    (Outcome::Canceled, "CANCELED"),
    (Outcome::Backend, "BACKEND"),
    (Outcome::Other, "OTHER"),
];

impl From<&Error> for Outcome {
    fn from(error: &Error) -> Self {
        match error {
            Error::QueueFull(_) | Error::NotReady(_) | Error::DeadlineExceeded(_) => Outcome::Rejected,
            Error::Refused(_) | Error::Internal(_) => Outcome::Backend,
            _ => Outcome::Other,
        }
    }
}

/// A part of a request's time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stage {
    Decode,
    Queue,
    Compute,
    Encode,
}

const STAGES: [(Stage, &str); 4] =
    [(Stage::Decode, "decode"), (Stage::Queue, "queue"), (Stage::Compute, "compute"), (Stage::Encode, "encode")];

/// An inference request that is over.
#[derive(Debug, Clone, Copy)]
pub struct Inferred<'a> {
    /// How it ended.
    pub outcome: Outcome,
    /// How long it took.
    pub took: Duration,
    /// Where that went.
    pub stages: &'a Stages,
    /// The trace that it is part of, if it is recorded.
    pub trace: Option<TraceId>,
}

/// What runs the model.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ModelInfo {
    /// The execution provider that was really taken.
    pub provider: String,
    /// ONNX Runtime's version.
    pub onnxruntime: String,
    /// Runs of the model that go on side by side.
    pub instances: usize,
}

/// Memory of ONNX Runtime's arenas, bytes, over all sessions.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct ArenaBytes {
    /// Taken from the system.
    pub held: u64,
    /// Of those, in use.
    pub used: u64,
    /// The most that was ever in use.
    pub peak: u64,
}

/// What is known at the moment of asking.
#[derive(Debug, Clone, Copy)]
pub struct Live<'a> {
    /// Inference requests that haven't been answered.
    pub in_work: usize,
    /// How many of them wait for the model.
    pub waiting: usize,
    /// Whether new requests should come.
    pub ready: bool,
    /// What sessions keep, where they keep anything.
    pub sessions: Option<Sessions>,
    /// How far the start is.
    pub(crate) loading: &'a Progress,
}

type ReadArena = Box<dyn Fn() -> ArenaBytes + Send + Sync>;

/// The service's metrics.
pub struct Metrics {
    model: String,
    version: String,
    routes: Vec<RouteMetrics>,
    /// Requests that ended in a panic.
    pub panics: Counter,
    /// Connections that are open.
    pub connections: Gauge,
    /// Connections that were told to come again.
    pub connections_refused: Counter,
    /// Handshakes that failed.
    pub handshake_failures: Counter,
    /// Changes of the TLS certificate: taken, refused.
    tls_reloads: [Counter; 2],
    /// Spans that the collector didn't get.
    pub spans_dropped: Arc<Counter>,
    /// Bytes of inference requests.
    pub received: Counter,
    /// Bytes of answers to them.
    pub sent: Counter,
    /// Requests that were answered, as wholes and by stage.
    answered: Histogram,
    stages: [Histogram; STAGES.len()],
    failures: [Counter; FAILURES.len()],
    /// Nanoseconds.
    failed_for: Counter,
    batches: Batches,
    /// What [`Metrics::last_inference`] counts from.
    begun: (Instant, SystemTime),
    /// Milliseconds after `begun`, plus one; 0 before the first request.
    last: AtomicU64,
    loaded: OnceLock<ModelInfo>,
    arena: OnceLock<ReadArena>,
    gpus: Gpus,
}

struct RouteMetrics {
    label: &'static str,
    duration: Histogram,
    counts: [Counter; STATUSES.len()],
}

impl RouteMetrics {
    /// Each status that was answered, and how often.
    fn statuses(&self) -> impl Iterator<Item = (u16, u64)> {
        STATUSES.into_iter().zip(self.counts.iter().map(Counter::get)).filter(|(_, count)| *count > 0)
    }
}

impl Metrics {
    /// Counts from zero. `routes` are the values of the label `route`; they are named by their index afterwards.
    pub fn new(model: &str, version: &str, routes: impl IntoIterator<Item = &'static str>) -> Metrics {
        let route = |label| RouteMetrics { label, duration: Histogram::default(), counts: Default::default() };
        Metrics {
            model: model.into(),
            version: version.into(),
            routes: routes.into_iter().map(route).collect(),
            panics: Counter::default(),
            connections: Gauge::default(),
            connections_refused: Counter::default(),
            handshake_failures: Counter::default(),
            tls_reloads: Default::default(),
            spans_dropped: Arc::default(),
            received: Counter::default(),
            sent: Counter::default(),
            answered: Histogram::default(),
            stages: Default::default(),
            failures: Default::default(),
            failed_for: Counter::default(),
            batches: Batches::default(),
            begun: (Instant::now(), SystemTime::now()),
            last: AtomicU64::new(0),
            loaded: OnceLock::new(),
            arena: OnceLock::new(),
            gpus: Gpus::default(),
        }
    }

    /// Counts an answer.
    pub fn answered(&self, route: usize, status: u16, took: Duration, trace: Option<TraceId>) {
        let Some(route) = self.routes.get(route) else { return };
        let index = STATUSES.iter().position(|s| *s == status).unwrap_or(STATUSES.len() - 1);
        route.counts[index].inc();
        route.duration.observe(took, trace);
    }

    /// Counts the end of an inference request.
    pub fn inferred(&self, request: &Inferred<'_>) {
        let now = u64::try_from(self.begun.0.elapsed().as_millis()).unwrap_or(u64::MAX - 1);
        self.last.store(now + 1, Relaxed);
        match FAILURES.iter().position(|(outcome, _)| *outcome == request.outcome) {
            Some(failure) => {
                self.failures[failure].inc();
                self.failed_for.inc_by(nanoseconds(request.took));
            }
            None => {
                let stages = request.stages;
                self.answered.observe(request.took, request.trace);
                let times = [stages.decode, stages.queue, stages.compute, stages.encode];
                self.stages.iter().zip(times).for_each(|(stage, time)| stage.observe(time, request.trace));
            }
        }
    }

    /// Counts a change of the TLS certificate.
    pub fn tls_reloaded(&self, taken: bool) {
        self.tls_reloads[usize::from(!taken)].inc();
    }

    /// Notes what runs the model, once it is loaded.
    pub fn loaded(&self, info: ModelInfo) {
        // A model is loaded once.
        let _ = self.loaded.set(info);
    }

    /// Notes how to ask for the memory of the arenas.
    pub fn watch_arena(&self, read: impl Fn() -> ArenaBytes + Send + Sync + 'static) {
        let _ = self.arena.set(Box::new(read));
    }

    /// Reads the GPUs too from now on; called where one is in use.
    pub fn watch_gpus(&self) {
        self.gpus.watch();
    }

    /// The page that Prometheus reads.
    pub fn page(&self, live: Live<'_>, format: Format) -> String {
        let reading = Reading {
            metrics: self,
            live,
            batches: self.batches.counted(),
            process: Process::now(),
            gpus: self.gpus.read(),
            arena: self.arena.get().map(|read| read()),
        };
        let mut page = Page::new(format);
        METRICS.iter().for_each(|metric| page.metric(metric, |samples| (metric.read)(&reading, samples)));
        page.finish()
    }

    /// What the model has done so far, as the Open Inference Protocol tells it.
    pub fn statistics(&self, name: &str, version: &str) -> ModelStatistics {
        let time = |stage| {
            let counted = self.times(stage).counted();
            StatisticDuration { count: counted.count(), ns: counted.sum }
        };
        let failed = self.failures.iter().map(Counter::get).sum();
        let batches = self.batches.counted();
        ModelStatistics {
            name: name.into(),
            version: version.into(),
            last_inference: self.last_inference(),
            inference_count: batches.iter().map(|runs| runs.rows).sum(),
            execution_count: batches.iter().map(|runs| runs.count).sum(),
            inference_stats: InferenceStatistics {
                success: time(None),
                fail: StatisticDuration { count: failed, ns: self.failed_for.get() },
                queue: time(Some(Stage::Queue)),
                compute_input: time(Some(Stage::Decode)),
                compute_infer: time(Some(Stage::Compute)),
                compute_output: time(Some(Stage::Encode)),
                ..InferenceStatistics::default()
            },
            batch_stats: batches.iter().map(of_runs).collect(),
            memory_usage: self.arena.get().map(|read| memory(read())).into_iter().collect(),
            ..ModelStatistics::default()
        }
    }

    /// Milliseconds since 1970; 0 before the first.
    fn last_inference(&self) -> u64 {
        let Some(after) = self.last.load(Relaxed).checked_sub(1) else { return 0 };
        process::unix_milliseconds(self.begun.1).saturating_add(after)
    }

    /// Of requests that were answered: whole, or one stage.
    fn times(&self, stage: Option<Stage>) -> &Histogram {
        stage.map_or(&self.answered, |stage| &self.stages[stage as usize])
    }

    fn failures(&self) -> impl Iterator<Item = (&'static str, u64)> {
        FAILURES.iter().zip(&self.failures).map(|((_, reason), count)| (*reason, count.get()))
    }

    /// The labels that Triton's metrics have.
    fn model(&self) -> [(&str, &str); 2] {
        [("model", &self.model), ("version", &self.version)]
    }
}

fn of_runs(runs: &Runs) -> BatchStatistics {
    let time = |ns| StatisticDuration { count: runs.count, ns };
    let (compute_input, compute_infer, compute_output) = (time(0), time(runs.ns), time(0));
    BatchStatistics { batch_size: runs.size as u64, compute_input, compute_infer, compute_output }
}

fn memory(arena: ArenaBytes) -> crate::statistics::MemoryUsage {
    crate::statistics::MemoryUsage { kind: "CPU".into(), id: 0, byte_size: arena.held }
}

impl Observer for Metrics {
    fn batch(&self, rows: usize, ran: Duration) {
        self.batches.ran(rows, ran);
    }
}

/// What a page is written from.
struct Reading<'a> {
    metrics: &'a Metrics,
    live: Live<'a>,
    batches: Vec<Runs>,
    process: Process,
    gpus: Vec<Gpu>,
    arena: Option<ArenaBytes>,
}

impl Reading<'_> {
    /// The routes that were asked for.
    fn routes(&self) -> impl Iterator<Item = &RouteMetrics> {
        self.metrics.routes.iter().filter(|route| route.statuses().next().is_some())
    }

    fn micros(&self, stage: Option<Stage>) -> u64 {
        self.metrics.times(stage).counted().sum / 1000
    }

    fn batch_sizes(&self) -> Counted {
        let mut buckets = vec![0; BATCH_SIZES.len() + 1];
        for runs in &self.batches {
            buckets[BATCH_SIZES.partition_point(|bound| *bound < runs.size as u64)] += runs.count;
        }
        Counted { bounds: BATCH_SIZES, buckets, sum: self.batches.iter().map(|runs| runs.rows).sum() }
    }
}

#[cfg(test)]
mod tests;
