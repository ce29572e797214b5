//! What the service counts: one table of names, from which both the registry and the documentation come.
//!
//! Handles are resolved once, so that a request costs a few atomic additions and no look-up.

mod batches;
mod histogram;

use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use prometheus::core::Collector;
use prometheus::{
    Encoder, Gauge, Histogram, HistogramOpts, HistogramVec, IntCounter, IntCounterVec, IntGauge, Opts, Registry,
    TextEncoder,
};

use self::batches::Batches;
use self::histogram::{Histogram as Counts, nanoseconds};
use crate::batching::Observer;
use crate::error::Error;
use crate::inference::Stages;
use crate::statistics::{BatchStatistics, InferenceStatistics, ModelStatistics, StatisticDuration};

/// One metric.
#[derive(Debug, Clone, Copy)]
pub struct Metric {
    /// Its name.
    pub name: &'static str,
    /// Its type.
    pub kind: Kind,
    /// What it says.
    pub help: &'static str,
    /// Its labels.
    pub labels: &'static [&'static str],
    /// Its unit; empty for a count.
    pub unit: &'static str,
}

/// A metric's type, as Prometheus has it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[expect(missing_docs, reason = "each variant is Prometheus's type of its own name")]
pub enum Kind {
    Counter,
    Gauge,
    Histogram,
}

use Kind::{Counter, Gauge as GaugeKind, Histogram as HistogramKind};

const MODEL: &[&str] = &["model", "version"];

macro_rules! metrics {
    ($($name:literal $kind:ident $labels:expr, $unit:literal, $help:literal;)+) => {
        /// Every metric that the service exports.
        pub const METRICS: &[Metric] =
            &[$(Metric { name: $name, kind: $kind, help: $help, labels: $labels, unit: $unit }),+];
    };
}

metrics! {
    "nim_request_duration_seconds" HistogramKind &["route"], "seconds", "Time from a request's head to its answer";
    "nim_request_count_total" Counter &["route", "status"], "", "Answers by route and HTTP status";
    "nim_batch_size_histogram" HistogramKind &[], "rows", "Rows in one run of the model";
    "nim_model_loading_time_seconds" GaugeKind &[], "seconds", "Time that loading and warming up the model took";
    "nim_queue_size" GaugeKind &[], "requests", "Requests that wait for the model";
    "nimify_panics_total" Counter &[], "", "Requests that ended in a fault of the service and were answered 500";
    "nimify_connections" GaugeKind &[], "connections", "Connections that are open, over all ports";
    "nimify_connections_refused_total" Counter &[], "", "Connections past `maxConnections`, told to come again";
    "nimify_tls_handshake_failures_total" Counter &[], "", "Connections that ended before TLS was spoken";
    "nimify_tls_reloads_total" Counter &["result"], "",
        "Changes of the TLS certificate: `taken`, or `refused` where the new one can't be used and the old one stays";
    "nimify_spans_dropped_total" Counter &[], "", "Spans of recorded requests that the collector didn't get";
    "num_requests_running" GaugeKind &[], "requests", "Inference requests in work, without those that wait";
    "num_requests_waiting" GaugeKind &[], "requests", "Inference requests that wait for the model";
    "nv_inference_request_success" Counter MODEL, "", "Inference requests that were answered";
    "nv_inference_request_failure" Counter &["model", "version", "reason"], "",
        "Inference requests that failed: REJECTED (queue, deadline, not ready), CANCELED (the client went), BACKEND (the model), OTHER (bad input)";
    "nv_inference_count" Counter MODEL, "", "Rows that the model ran, a batch of n counted as n";
    "nv_inference_exec_count" Counter MODEL, "", "Runs of the model, a batch of n counted as 1";
    "nv_inference_pending_request_count" GaugeKind MODEL, "requests", "Inference requests that wait for the model";
    "nv_inference_request_duration_us" Counter MODEL, "microseconds", "Inference requests' time in all, cumulative";
    "nv_inference_queue_duration_us" Counter MODEL, "microseconds", "Inference requests' time in the queue, cumulative";
    "nv_inference_compute_input_duration_us" Counter MODEL, "microseconds", "Time spent reading requests, cumulative";
    "nv_inference_compute_infer_duration_us" Counter MODEL, "microseconds", "Time that the model ran, cumulative";
    "nv_inference_compute_output_duration_us" Counter MODEL, "microseconds", "Time spent writing answers, cumulative";
    "process_cpu_seconds_total" Counter &[], "seconds", "Total user and system CPU time spent in seconds.";
    "process_open_fds" GaugeKind &[], "", "Number of open file descriptors.";
    "process_max_fds" GaugeKind &[], "", "Maximum number of open file descriptors.";
    "process_virtual_memory_bytes" GaugeKind &[], "bytes", "Virtual memory size in bytes.";
    "process_resident_memory_bytes" GaugeKind &[], "bytes", "Resident memory size in bytes.";
    "process_start_time_seconds" GaugeKind &[], "seconds", "Start time of the process since unix epoch in seconds.";
    "process_threads" GaugeKind &[], "", "Number of OS threads in the process.";
}

/// Seconds: from a tiny model's answer to a deadline.
const DURATION_BUCKETS: [f64; 17] =
    [0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0];
const BATCH_BUCKETS: [f64; 11] = [1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0, 128.0, 256.0, 512.0, 1024.0];

/// The statuses that the service answers; anything else counts as the last.
const STATUSES: [u16; 16] = [200, 204, 308, 400, 403, 404, 405, 408, 413, 415, 422, 429, 501, 503, 504, 500];

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

impl From<&Error> for Outcome {
    fn from(error: &Error) -> Self {
        match error {
            Error::QueueFull(_) | Error::NotReady(_) | Error::DeadlineExceeded(_) => Outcome::Rejected,
            Error::Refused(_) | Error::Internal(_) => Outcome::Backend,
            _ => Outcome::Other,
        }
    }
}

/// The service's metrics.
pub struct Metrics {
    registry: Registry,
    routes: Vec<RouteMetrics>,
    durations: HistogramVec,
    counts: IntCounterVec,
    batch_size: Histogram,
    loading: Gauge,
    queue_size: IntGauge,
    running: IntGauge,
    waiting: IntGauge,
    pending: IntGauge,
    /// Requests that ended in a panic.
    pub panics: IntCounter,
    /// Connections that are open.
    pub connections: IntGauge,
    /// Connections that were told to come again.
    pub connections_refused: IntCounter,
    /// Handshakes that failed.
    pub handshake_failures: IntCounter,
    tls_reloads: [IntCounter; 2],
    /// Spans that the collector didn't get.
    pub spans_dropped: IntCounter,
    success: IntCounter,
    failures: [IntCounter; 4],
    rows: IntCounter,
    runs: IntCounter,
    request_us: IntCounter,
    queue_us: IntCounter,
    input_us: IntCounter,
    infer_us: IntCounter,
    output_us: IntCounter,
    times: [Counts; 5],
    failed: Failed,
    batches: Batches,
    last: AtomicU64,
}

/// Which of the times of requests that were answered.
#[derive(Debug, Clone, Copy)]
enum Time {
    All,
    Decode,
    Queue,
    Compute,
    Encode,
}

#[derive(Debug, Default)]
struct Failed {
    count: AtomicU64,
    ns: AtomicU64,
}

struct RouteMetrics {
    label: &'static str,
    duration: OnceLock<Histogram>,
    counts: [OnceLock<IntCounter>; STATUSES.len()],
}

/// Makes metrics by their name in [`METRICS`] and registers them.
struct Maker<'a> {
    registry: Registry,
    model: [(&'a str, &'a str); 2],
}

impl Maker<'_> {
    fn opts(&self, name: &str) -> (Opts, Vec<&'static str>) {
        let metric = METRICS.iter().find(|m| m.name == name).expect("every metric has a row in the table");
        let mut opts = Opts::new(metric.name, metric.help);
        let mut variable = Vec::new();
        for label in metric.labels {
            match self.model.iter().find(|(name, _)| name == label) {
                Some((_, value)) => opts = opts.const_label(*label, *value),
                None => variable.push(*label),
            }
        }
        (opts, variable)
    }

    fn register<C: Collector + Clone + 'static>(&self, made: prometheus::Result<C>) -> C {
        let collector = made.expect("the table's names and labels are valid");
        self.registry.register(Box::new(collector.clone())).expect("the table's names are distinct");
        collector
    }

    fn counter(&self, name: &str) -> IntCounter {
        self.register(IntCounter::with_opts(self.opts(name).0))
    }

    fn counters(&self, name: &str) -> IntCounterVec {
        let (opts, labels) = self.opts(name);
        self.register(IntCounterVec::new(opts, &labels))
    }

    fn gauge(&self, name: &str) -> IntGauge {
        self.register(IntGauge::with_opts(self.opts(name).0))
    }

    fn histogram_opts(&self, name: &str, buckets: &[f64]) -> (HistogramOpts, Vec<&'static str>) {
        let (opts, labels) = self.opts(name);
        (HistogramOpts { common_opts: opts, buckets: buckets.to_vec() }, labels)
    }
}

impl Metrics {
    /// Registers every metric. `routes` are the values of the label `route`; they are named by their index afterwards.
    pub fn new(model: &str, version: &str, routes: impl IntoIterator<Item = &'static str>) -> Metrics {
        let maker = Maker { registry: Registry::new(), model: [("model", model), ("version", version)] };
        let (durations, duration_labels) = maker.histogram_opts("nim_request_duration_seconds", &DURATION_BUCKETS);
        let failures = maker.counters("nv_inference_request_failure");
        let tls_reloads = maker.counters("nimify_tls_reloads_total");
        let metrics = Metrics {
            routes: routes
                .into_iter()
                .map(|label| RouteMetrics { label, duration: OnceLock::new(), counts: Default::default() })
                .collect(),
            durations: maker.register(HistogramVec::new(durations, &duration_labels)),
            counts: maker.counters("nim_request_count_total"),
            batch_size: maker
                .register(Histogram::with_opts(maker.histogram_opts("nim_batch_size_histogram", &BATCH_BUCKETS).0)),
            loading: maker.register(Gauge::with_opts(maker.opts("nim_model_loading_time_seconds").0)),
            queue_size: maker.gauge("nim_queue_size"),
            running: maker.gauge("num_requests_running"),
            waiting: maker.gauge("num_requests_waiting"),
            pending: maker.gauge("nv_inference_pending_request_count"),
            panics: maker.counter("nimify_panics_total"),
            connections: maker.gauge("nimify_connections"),
            connections_refused: maker.counter("nimify_connections_refused_total"),
            handshake_failures: maker.counter("nimify_tls_handshake_failures_total"),
            tls_reloads: ["taken", "refused"].map(|result| tls_reloads.with_label_values(&[result])),
            spans_dropped: maker.counter("nimify_spans_dropped_total"),
            success: maker.counter("nv_inference_request_success"),
            failures: ["REJECTED", "CANCELED", "BACKEND", "OTHER"].map(|reason| failures.with_label_values(&[reason])),
            rows: maker.counter("nv_inference_count"),
            runs: maker.counter("nv_inference_exec_count"),
            request_us: maker.counter("nv_inference_request_duration_us"),
            queue_us: maker.counter("nv_inference_queue_duration_us"),
            input_us: maker.counter("nv_inference_compute_input_duration_us"),
            infer_us: maker.counter("nv_inference_compute_infer_duration_us"),
            output_us: maker.counter("nv_inference_compute_output_duration_us"),
            times: std::array::from_fn(|_| Counts::new(&[])),
            failed: Failed::default(),
            batches: Batches::default(),
            last: AtomicU64::new(0),
            registry: maker.registry,
        };
        #[cfg(target_os = "linux")]
        metrics
            .registry
            .register(Box::new(prometheus::process_collector::ProcessCollector::for_self()))
            .expect("the process's metrics are registered once");
        metrics
    }

    /// Counts an answer.
    pub fn answered(&self, route: usize, status: u16, took: Duration) {
        let Some(route) = self.routes.get(route) else { return };
        let index = STATUSES.iter().position(|s| *s == status).unwrap_or(STATUSES.len() - 1);
        let count = route.counts[index]
            .get_or_init(|| self.counts.with_label_values(&[route.label, &STATUSES[index].to_string()]));
        count.inc();
        let duration = route.duration.get_or_init(|| self.durations.with_label_values(&[route.label]));
        duration.observe(took.as_secs_f64());
    }

    /// Counts the end of an inference request.
    pub fn inferred(&self, outcome: Outcome, took: Duration, stages: &Stages) {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        self.last.store(u64::try_from(now.as_millis()).unwrap_or(u64::MAX), Relaxed);
        if outcome == Outcome::Success {
            let times = [took, stages.decode, stages.queue, stages.compute, stages.encode];
            self.times.iter().zip(times).for_each(|(counts, time)| _ = counts.observe(nanoseconds(time)));
        } else {
            self.failed.count.fetch_add(1, Relaxed);
            self.failed.ns.fetch_add(nanoseconds(took), Relaxed);
        }
        match outcome {
            Outcome::Success => {
                self.success.inc();
                self.request_us.inc_by(micros(took));
                self.input_us.inc_by(micros(stages.decode));
                self.queue_us.inc_by(micros(stages.queue));
                self.infer_us.inc_by(micros(stages.compute));
                self.output_us.inc_by(micros(stages.encode));
            }
            Outcome::Rejected => self.failures[0].inc(),
            Outcome::Canceled => self.failures[1].inc(),
            Outcome::Backend => self.failures[2].inc(),
            Outcome::Other => self.failures[3].inc(),
        }
    }

    /// Counts a change of the TLS certificate.
    pub fn tls_reloaded(&self, taken: bool) {
        self.tls_reloads[usize::from(!taken)].inc();
    }

    /// Notes how long the model took to load.
    pub fn loaded(&self, took: Duration) {
        self.loading.set(took.as_secs_f64());
    }

    /// What the model has done so far, as the Open Inference Protocol tells it.
    pub fn statistics(&self, name: &str, version: &str) -> ModelStatistics {
        let time = |time: Time| {
            let counted = self.times[time as usize].counted();
            StatisticDuration { count: counted.count(), ns: counted.sum }
        };
        let batches = self.batches.counted();
        ModelStatistics {
            name: name.into(),
            version: version.into(),
            last_inference: self.last.load(Relaxed),
            inference_count: batches.iter().map(|runs| runs.rows).sum(),
            execution_count: batches.iter().map(|runs| runs.count).sum(),
            inference_stats: InferenceStatistics {
                success: time(Time::All),
                fail: StatisticDuration { count: self.failed.count.load(Relaxed), ns: self.failed.ns.load(Relaxed) },
                queue: time(Time::Queue),
                compute_input: time(Time::Decode),
                compute_infer: time(Time::Compute),
                compute_output: time(Time::Encode),
                ..InferenceStatistics::default()
            },
            batch_stats: batches
                .iter()
                .map(|runs| BatchStatistics {
                    batch_size: runs.size as u64,
                    compute_infer: StatisticDuration { count: runs.count, ns: runs.ns },
                    compute_input: StatisticDuration { count: runs.count, ns: 0 },
                    compute_output: StatisticDuration { count: runs.count, ns: 0 },
                })
                .collect(),
            ..ModelStatistics::default()
        }
    }

    /// The page that Prometheus reads, given how many inference requests are in work and how many of them wait.
    pub fn page(&self, in_work: usize, waiting: usize) -> Vec<u8> {
        let gauge = |count: usize| i64::try_from(count).unwrap_or(i64::MAX);
        self.running.set(gauge(in_work.saturating_sub(waiting)));
        for waits in [&self.queue_size, &self.waiting, &self.pending] {
            waits.set(gauge(waiting));
        }
        let mut page = Vec::new();
        // Writing into memory can't fail, and an inconsistent metric would be a fault of the table above.
        if let Err(error) = TextEncoder::new().encode(&self.registry.gather(), &mut page) {
            tracing::error!(%error, "the metrics page is incomplete");
        }
        page
    }
}

impl Observer for Metrics {
    fn batch(&self, rows: usize, ran: Duration) {
        self.batches.ran(rows, ran);
        self.batch_size.observe(rows as f64);
        self.rows.inc_by(rows as u64);
        self.runs.inc();
    }
}

fn micros(duration: Duration) -> u64 {
    u64::try_from(duration.as_micros()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn page(metrics: &Metrics) -> String {
        String::from_utf8(metrics.page(3, 1)).unwrap()
    }

    #[test]
    fn every_metric_of_the_table_is_on_the_page_with_its_type_and_no_other() {
        let metrics = Metrics::new("digits \"1\"", "0.1", ["/v1/predict"]);
        metrics.answered(0, 200, Duration::from_millis(3));
        metrics.batch(4, Duration::from_micros(7));
        let page = page(&metrics);
        let mut on_page: Vec<String> =
            page.lines().filter_map(|l| l.strip_prefix("# TYPE ")).map(String::from).collect();
        let mut in_table: Vec<String> =
            METRICS.iter().map(|m| format!("{} {}", m.name, format!("{:?}", m.kind).to_lowercase())).collect();
        on_page.sort();
        in_table.sort();
        assert_eq!(on_page, in_table);
        for metric in METRICS {
            assert!(page.contains(&format!("# HELP {} {}\n", metric.name, metric.help)), "{}", metric.name);
            for label in metric.labels {
                let line = page.lines().find(|l| l.starts_with(metric.name)).unwrap();
                assert!(line.contains(&format!("{label}=\"")), "{line}");
            }
        }
        assert!(page.contains("nv_inference_count{model=\"digits \\\"1\\\"\",version=\"0.1\"} 4\n"), "{page}");
        assert!(page.contains("num_requests_running 2\n") && page.contains("nim_queue_size 1\n"), "{page}");
    }

    #[test]
    fn answers_are_counted_by_route_and_status() {
        let metrics = Metrics::new("m", "1", ["/a", "/b"]);
        metrics.answered(1, 200, Duration::from_millis(1));
        metrics.answered(1, 200, Duration::from_millis(1));
        metrics.answered(1, 999, Duration::from_millis(1));
        metrics.answered(7, 200, Duration::ZERO);
        let page = page(&metrics);
        assert!(page.contains("nim_request_count_total{route=\"/b\",status=\"200\"} 2\n"), "{page}");
        assert!(page.contains("nim_request_count_total{route=\"/b\",status=\"500\"} 1\n"), "{page}");
        assert!(page.contains("nim_request_duration_seconds_count{route=\"/b\"} 3\n"), "{page}");
        assert!(!page.contains("/a"));
    }

    #[test]
    fn failures_are_counted_by_their_reason() {
        let metrics = Metrics::new("m", "1", []);
        metrics.inferred(Outcome::from(&Error::QueueFull(String::new())), Duration::ZERO, &Stages::default());
        metrics.inferred(Outcome::from(&Error::Refused(String::new())), Duration::ZERO, &Stages::default());
        metrics.inferred(Outcome::from(&Error::BadRequest(String::new())), Duration::ZERO, &Stages::default());
        metrics.inferred(Outcome::Canceled, Duration::ZERO, &Stages::default());
        metrics.inferred(Outcome::Success, Duration::from_micros(9), &Stages::default());
        let page = page(&metrics);
        for reason in ["REJECTED", "CANCELED", "BACKEND", "OTHER"] {
            let line = format!("nv_inference_request_failure{{model=\"m\",reason=\"{reason}\",version=\"1\"}} 1\n");
            assert!(page.contains(&line), "{page}");
        }
        assert!(page.contains("nv_inference_request_duration_us{model=\"m\",version=\"1\"} 9\n"), "{page}");
    }
}
