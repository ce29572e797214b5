//! The table of metrics: each row says what a metric is called, what it means and where its value is read, so that
//! the page, the documentation and what is counted can't part.
//!
//! Each row is a constant too, under its name in capitals: alerts and dashboards are written with those, so that none
//! can ask for a metric that isn't there.

use super::Reading;
use super::text::Samples;

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
    /// Gives its samples.
    pub(super) read: fn(&Reading<'_>, &mut Samples<'_>),
}

/// A metric's type, as Prometheus has it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// A number that only grows.
    Counter,
    /// A number that comes and goes.
    Gauge,
    /// Observations by bucket.
    Histogram,
    /// A gauge of 1, whose labels say it all.
    Info,
}

use Kind::{Counter, Gauge, Histogram, Info};

const MODEL: &[&str] = &["model", "version"];
/// Where a GPU is in use.
const GPU: &[&str] = &["gpu"];

/// Nanoseconds in a second.
const SECOND: f64 = 1e9;

macro_rules! metrics {
    ($($row:ident = $name:literal $kind:ident $labels:expr, $unit:literal, $help:literal, $read:expr;)+) => {
        $(
            #[doc = $help]
            pub const $row: Metric =
                Metric { name: $name, kind: $kind, help: $help, labels: $labels, unit: $unit, read: $read };
        )+

        /// Every metric that the service exports.
        pub const METRICS: &[Metric] = &[$($row),+];
    };
}

metrics! {
    NIM_REQUEST_DURATION_SECONDS = "nim_request_duration_seconds" Histogram &["route"], "seconds",
        "Time from a request's head to its answer",
        |r, out| r.routes().for_each(|route| out.histogram(
            &[("route", route.label)], &route.duration.counted(), SECOND, &route.duration.examples()));
    NIM_REQUEST_COUNT_TOTAL = "nim_request_count_total" Counter &["route", "status"], "",
        "Answers by route and HTTP status",
        |r, out| r.routes().for_each(|route| route.statuses().for_each(|(status, count)| {
            out.value(&[("route", route.label), ("status", &status.to_string())], count);
        }));
    NIM_BATCH_SIZE_HISTOGRAM = "nim_batch_size_histogram" Histogram &[], "rows",
        "Rows in one run of the model that gave answers",
        |r, out| out.histogram(&[], &r.batch_sizes(), 1.0, &[]);
    NIM_MODEL_LOADING_TIME_SECONDS = "nim_model_loading_time_seconds" Gauge &[], "seconds",
        "Time that opening ONNX Runtime, loading the model and warming up took",
        |r, out| out.known(&[], r.live.loading.took());
    NIM_QUEUE_SIZE = "nim_queue_size" Gauge &[], "requests",
        "Requests that wait for the model", |r, out| out.value(&[], r.live.waiting);
    NIM_GPU_UTILIZATION_PERCENT = "nim_gpu_utilization_percent" Gauge GPU, "percent",
        "Share of the last moments in which the GPU ran something",
        |r, out| r.gpus.iter().for_each(|gpu| out.value(&[("gpu", &gpu.index)], gpu.utilization_percent));
    NIMIFY_ARENA_BYTES = "nimify_arena_bytes" Gauge &["kind"], "bytes",
        "Memory of ONNX Runtime's arena: `held` from the system, `used` of that, `peak` the most that was ever used",
        |r, out| if let Some(arena) = r.arena {
            out.value(&[("kind", "held")], arena.held);
            out.value(&[("kind", "used")], arena.used);
            out.value(&[("kind", "peak")], arena.peak);
        };
    NIMIFY_CONNECTIONS = "nimify_connections" Gauge &[], "connections", "Connections that are open, over all ports",
        |r, out| out.value(&[], r.metrics.connections.get());
    NIMIFY_CONNECTIONS_REFUSED_TOTAL = "nimify_connections_refused_total" Counter &[], "",
        "Connections past `maxConnections`, told to come again",
        |r, out| out.value(&[], r.metrics.connections_refused.get());
    NIMIFY_INFERENCE_DURATION_SECONDS = "nimify_inference_duration_seconds" Histogram &[], "seconds",
        "Time that inference requests took that were answered, over every protocol",
        |r, out| { let all = r.metrics.times(None); out.histogram(&[], &all.counted(), SECOND, &all.examples()) };
    NIMIFY_INSTANCES = "nimify_instances" Gauge &[], "",
        "Runs of the model that may go on side by side, once it is loaded; with `auto` what was chosen",
        |r, out| if let Some(info) = r.metrics.loaded.get() { out.value(&[], info.instances) };
    NIMIFY_LOAD_PHASE_SECONDS = "nimify_load_phase_seconds" Gauge &["phase"], "seconds",
        "Time that each phase of the start has taken so far: open_runtime, verify_model, load_model, warm_up",
        |r, out| r.live.loading.phases().for_each(|(phase, seconds)| out.value(&[("phase", phase)], seconds));
    NIMIFY_MODEL_BYTES = "nimify_model_bytes" Gauge &[], "bytes",
        "Size of the model's file", |r, out| out.known(&[], r.live.loading.bytes());
    NIMIFY_MODEL_INFO = "nimify_model_info" Info &["model", "version", "provider", "onnxruntime", "runtime"], "",
        "What is served and what runs it, once it is loaded; always 1",
        |r, out| if let Some(info) = r.metrics.loaded.get() {
            let [model, version] = r.metrics.model();
            let own = [("provider", &*info.provider), ("onnxruntime", &*info.onnxruntime)];
            out.value(&[model, version, own[0], own[1], ("runtime", env!("CARGO_PKG_VERSION"))], 1_u64);
        };
    NIMIFY_PANICS_TOTAL = "nimify_panics_total" Counter &[], "",
        "Requests that ended in a fault of the service and were answered 500",
        |r, out| out.value(&[], r.metrics.panics.get());
    NIMIFY_READY = "nimify_ready" Gauge &[], "",
        "Whether new requests should come: 1 from the end of loading to the signal to stop",
        |r, out| out.value(&[], r.live.ready);
    NIMIFY_RECEIVED_BYTES_TOTAL = "nimify_received_bytes_total" Counter &[], "bytes",
        "Bodies of inference requests, as they were read",
        |r, out| out.value(&[], r.metrics.received.get());
    NIMIFY_SENT_BYTES_TOTAL = "nimify_sent_bytes_total" Counter &[], "bytes",
        "Bodies of answers to inference requests, as they were written",
        |r, out| out.value(&[], r.metrics.sent.get());
    NIMIFY_SESSION_BYTES = "nimify_session_bytes" Gauge &[], "bytes", "State that is kept, over all sessions",
        |r, out| out.known(&[], r.live.sessions.map(|sessions| sessions.bytes));
    NIMIFY_SESSIONS = "nimify_sessions" Gauge &[], "sessions", "Sessions whose state is kept",
        |r, out| out.known(&[], r.live.sessions.map(|sessions| sessions.sessions));
    NIMIFY_SESSIONS_TOTAL = "nimify_sessions_total" Counter &["event"], "",
        "What became of sessions: started, ended, expired (idle for too long), refused (no room for their state)",
        |r, out| for (event, count) in r.live.sessions.iter().flat_map(|sessions| sessions.events) {
            out.value(&[("event", event)], count);
        };
    NIMIFY_SPANS_DROPPED_TOTAL = "nimify_spans_dropped_total" Counter &[], "",
        "Spans of recorded requests that the collector didn't get",
        |r, out| out.value(&[], r.metrics.spans_dropped.get());
    NIMIFY_STAGE_DURATION_SECONDS = "nimify_stage_duration_seconds" Histogram &["stage"], "seconds",
        "Where the time of inference requests went that were answered: decode (reading), queue (waiting), compute (the model's run), encode (writing)",
        |r, out| for (stage, name) in super::STAGES {
            let times = r.metrics.times(Some(stage));
            out.histogram(&[("stage", name)], &times.counted(), SECOND, &times.examples());
        };
    NIMIFY_TLS_HANDSHAKE_FAILURES_TOTAL = "nimify_tls_handshake_failures_total" Counter &[], "",
        "Connections that ended before TLS was spoken",
        |r, out| out.value(&[], r.metrics.handshake_failures.get());
    NIMIFY_TLS_RELOADS_TOTAL = "nimify_tls_reloads_total" Counter &["result"], "",
        "Changes of the TLS certificate: `taken`, or `refused` where the new one can't be used and the old one stays",
        |r, out| for (result, count) in ["taken", "refused"].iter().zip(&r.metrics.tls_reloads) {
            out.value(&[("result", result)], count.get());
        };
    GPU_UTILIZATION = "gpu_utilization" Gauge GPU, "",
        "Share of the last moments in which the GPU ran something, 0 to 1",
        |r, out| r.gpus.iter().for_each(|gpu| out.value(&[("gpu", &gpu.index)], gpu.utilization_percent / 100.0));
    GPU_MEMORY_USED_BYTES = "gpu_memory_used_bytes" Gauge GPU, "bytes", "Memory of the GPU that is taken, by whomever",
        |r, out| r.gpus.iter().for_each(|gpu| out.value(&[("gpu", &gpu.index)], gpu.memory_used));
    GPU_MEMORY_TOTAL_BYTES = "gpu_memory_total_bytes" Gauge GPU, "bytes", "Memory of the GPU",
        |r, out| r.gpus.iter().for_each(|gpu| out.value(&[("gpu", &gpu.index)], gpu.memory_total));
    NUM_REQUESTS_RUNNING = "num_requests_running" Gauge &[], "requests",
        "Inference requests in work, without those that wait",
        |r, out| out.value(&[], r.live.in_work.saturating_sub(r.live.waiting));
    NUM_REQUESTS_WAITING = "num_requests_waiting" Gauge &[], "requests", "Inference requests that wait for the model",
        |r, out| out.value(&[], r.live.waiting);
    NV_INFERENCE_REQUEST_SUCCESS = "nv_inference_request_success" Counter MODEL, "",
        "Inference requests that were answered",
        |r, out| out.value(&r.metrics.model(), r.metrics.times(None).counted().count());
    NV_INFERENCE_REQUEST_FAILURE = "nv_inference_request_failure" Counter &["model", "reason", "version"], "",
        "Inference requests that failed: REJECTED (queue, deadline, not ready), CANCELED (the client went), BACKEND (the model), OTHER (bad input)",
        |r, out| for (reason, count) in r.metrics.failures() {
            let [model, version] = r.metrics.model();
            out.value(&[model, ("reason", reason), version], count);
        };
    NV_INFERENCE_COUNT = "nv_inference_count" Counter MODEL, "",
        "Rows in the runs of the model that gave answers, a batch of n counted as n",
        |r, out| out.value(&r.metrics.model(), r.batches.iter().map(|runs| runs.rows).sum::<u64>());
    NV_INFERENCE_EXEC_COUNT = "nv_inference_exec_count" Counter MODEL, "",
        "Runs of the model that gave answers, a batch of n counted as 1",
        |r, out| out.value(&r.metrics.model(), r.batches.iter().map(|runs| runs.count).sum::<u64>());
    NV_INFERENCE_PENDING_REQUEST_COUNT = "nv_inference_pending_request_count" Gauge MODEL, "requests",
        "Inference requests that wait for the model",
        |r, out| out.value(&r.metrics.model(), r.live.waiting);
    NV_INFERENCE_REQUEST_DURATION_US = "nv_inference_request_duration_us" Counter MODEL, "microseconds",
        "Inference requests' time in all, cumulative",
        |r, out| out.value(&r.metrics.model(), r.micros(None));
    NV_INFERENCE_QUEUE_DURATION_US = "nv_inference_queue_duration_us" Counter MODEL, "microseconds",
        "Inference requests' time in the queue, cumulative",
        |r, out| out.value(&r.metrics.model(), r.micros(Some(super::Stage::Queue)));
    NV_INFERENCE_COMPUTE_INPUT_DURATION_US = "nv_inference_compute_input_duration_us" Counter MODEL, "microseconds",
        "Time spent reading requests, cumulative",
        |r, out| out.value(&r.metrics.model(), r.micros(Some(super::Stage::Decode)));
    NV_INFERENCE_COMPUTE_INFER_DURATION_US = "nv_inference_compute_infer_duration_us" Counter MODEL, "microseconds",
        "Time that the model ran, cumulative",
        |r, out| out.value(&r.metrics.model(), r.micros(Some(super::Stage::Compute)));
    NV_INFERENCE_COMPUTE_OUTPUT_DURATION_US = "nv_inference_compute_output_duration_us" Counter MODEL, "microseconds",
        "Time spent writing answers, cumulative",
        |r, out| out.value(&r.metrics.model(), r.micros(Some(super::Stage::Encode)));
    PROCESS_CPU_SECONDS_TOTAL = "process_cpu_seconds_total" Counter &[], "seconds",
        "Total user and system CPU time spent in seconds.",
        |r, out| out.known(&[], r.process.cpu_seconds);
    PROCESS_OPEN_FDS = "process_open_fds" Gauge &[], "",
        "Number of open file descriptors.", |r, out| out.known(&[], r.process.open_fds);
    PROCESS_MAX_FDS = "process_max_fds" Gauge &[], "", "Maximum number of open file descriptors.",
        |r, out| out.known(&[], r.process.max_fds);
    PROCESS_VIRTUAL_MEMORY_BYTES = "process_virtual_memory_bytes" Gauge &[], "bytes", "Virtual memory size in bytes.",
        |r, out| out.known(&[], r.process.virtual_bytes);
    PROCESS_RESIDENT_MEMORY_BYTES = "process_resident_memory_bytes" Gauge &[], "bytes",
        "Resident memory size in bytes.",
        |r, out| out.known(&[], r.process.resident_bytes);
    PROCESS_START_TIME_SECONDS = "process_start_time_seconds" Gauge &[], "seconds",
        "Start time of the process since unix epoch in seconds.",
        |r, out| out.known(&[], r.process.start_seconds);
    PROCESS_THREADS = "process_threads" Gauge &[], "",
        "Number of OS threads in the process.", |r, out| out.known(&[], r.process.threads);
}
