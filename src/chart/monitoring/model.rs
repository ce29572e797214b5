//! The dashboard of a model: how it starts, how its runs are filled, and what a row costs.

use nimify_runtime::metrics::Metric;
use nimify_runtime::metrics::table::{
    NIM_BATCH_SIZE_HISTOGRAM, NIM_MODEL_LOADING_TIME_SECONDS, NIM_REQUEST_DURATION_SECONDS, NIMIFY_ARENA_BYTES,
    NIMIFY_INSTANCES, NIMIFY_LOAD_PHASE_SECONDS, NIMIFY_MODEL_BYTES, NIMIFY_PANICS_TOTAL, NIMIFY_READY,
    NIMIFY_RECEIVED_BYTES_TOTAL, NIMIFY_SENT_BYTES_TOTAL, NIMIFY_SPANS_DROPPED_TOTAL, NIMIFY_STAGE_DURATION_SECONDS,
    NIMIFY_TLS_HANDSHAKE_FAILURES_TOTAL, NIMIFY_TLS_RELOADS_TOTAL, NV_INFERENCE_COMPUTE_INFER_DURATION_US,
    NV_INFERENCE_COUNT, NV_INFERENCE_EXEC_COUNT, NV_INFERENCE_REQUEST_SUCCESS, PROCESS_START_TIME_SECONDS,
    PROCESS_THREADS,
};
use serde_json::Value;

use super::grafana::Draw::{Heat, Lines, Number, Stacked};
use super::grafana::{Dashboard, Panel, Row, SHOWN};
use super::query::{BUCKET, inference};

/// The dashboard as Grafana imports it.
pub(super) fn dashboard() -> Value {
    let dashboard = Dashboard {
        title: "nimify / model",
        uid: "nimify-model",
        description: "Batches, stages and start of an inference service's model.",
        rows: vec![batches(), stages(), start(), process()],
    };
    dashboard.to_json(NIMIFY_READY.name)
}

fn rate(metric: &Metric) -> String {
    SHOWN.sum("instance", metric, "", &[])
}

fn batches() -> Row {
    let computing = rate(&NV_INFERENCE_COMPUTE_INFER_DURATION_US);
    let panels = vec![
        Panel::new(Lines, "ops", "Rows", "Rows that the model has run, a second.")
            .ask(rate(&NV_INFERENCE_COUNT), "{{instance}}"),
        Panel::new(Lines, "ops", "Runs", "Runs of the model, a second.")
            .ask(rate(&NV_INFERENCE_EXEC_COUNT), "{{instance}}"),
        Panel::new(Heat, "short", "Rows in a run, spread", "How many runs had how many rows.")
            .ask(SHOWN.sum("le", &NIM_BATCH_SIZE_HISTOGRAM, BUCKET, &[]), "{{le}}"),
        Panel::new(Lines, "short", "Rows in a run, quantiles", "From the buckets of the histogram.")
            .ask(SHOWN.quantile("0.5", "", &NIM_BATCH_SIZE_HISTOGRAM, &[]), "p50")
            .ask(SHOWN.quantile("0.99", "", &NIM_BATCH_SIZE_HISTOGRAM, &[]), "p99"),
        Panel::new(Lines, "µs", "Time in the model", "Mean time that a request spent in the model's run.")
            .ask(format!("{computing} / {}", rate(&NV_INFERENCE_REQUEST_SUCCESS)), "{{instance}}"),
        Panel::new(Lines, "short", "Runs side by side", "How many runs of the model may go on at once.")
            .ask(SHOWN.of(&NIMIFY_INSTANCES, "", &[]), "{{instance}}"),
    ];
    Row { title: "Batches", panels }
}

fn stages() -> Row {
    let stage = |quantile| SHOWN.quantile(quantile, "stage", &NIMIFY_STAGE_DURATION_SECONDS, &[]);
    let panels = vec![
        Panel::new(
            Lines,
            "s",
            "Stages, p50",
            "Half of the requests took less: reading, waiting, the model's run, writing.",
        )
        .ask(stage("0.5"), "{{stage}}"),
        Panel::new(Lines, "s", "Stages, p99", "99 of 100 requests took less.").ask(stage("0.99"), "{{stage}}"),
        Panel::new(Lines, "s", "p99 by route", "From a request's head to its answer, refused ones included.")
            .ask(SHOWN.quantile("0.99", "route", &NIM_REQUEST_DURATION_SECONDS, &[&inference()]), "{{route}}"),
        Panel::new(Lines, "Bps", "Bytes", "Bodies of requests and of their answers.")
            .ask(SHOWN.sum("", &NIMIFY_RECEIVED_BYTES_TOTAL, "", &[]), "received")
            .ask(SHOWN.sum("", &NIMIFY_SENT_BYTES_TOTAL, "", &[]), "sent"),
    ];
    Row { title: "Stages", panels }
}

fn start() -> Row {
    let of = |metric| SHOWN.of(metric, "", &[]);
    let panels = vec![
        Panel::new(Number, "s", "Start", "Time that the slowest start took.")
            .ask(format!("max({})", of(&NIM_MODEL_LOADING_TIME_SECONDS)), ""),
        Panel::new(Number, "bytes", "Model", "Size of the model's file.")
            .ask(format!("max({})", of(&NIMIFY_MODEL_BYTES)), ""),
        Panel::new(Number, "s", "Up", "Time since the last start of an instance.")
            .ask(format!("time() - max({})", of(&PROCESS_START_TIME_SECONDS)), ""),
        Panel::new(
            Stacked,
            "s",
            "Phases of the start",
            "Opening ONNX Runtime, checking the model's files, loading, warming up.",
        )
        .ask(of(&NIMIFY_LOAD_PHASE_SECONDS), "{{instance}} {{phase}}"),
        Panel::new(
            Lines,
            "bytes",
            "ONNX Runtime's memory",
            "held: taken from the system; used: of that; peak: the most that was ever used.",
        )
        .ask(of(&NIMIFY_ARENA_BYTES), "{{instance}} {{kind}}"),
    ];
    Row { title: "Start and memory", panels }
}

fn process() -> Row {
    let panels = vec![
        Panel::new(Lines, "short", "Threads", "Threads of the process.")
            .ask(SHOWN.of(&PROCESS_THREADS, "", &[]), "{{instance}}"),
        Panel::new(Lines, "cps", "TLS", "Handshakes that failed, and changes of the certificate.")
            .ask(SHOWN.sum("", &NIMIFY_TLS_HANDSHAKE_FAILURES_TOTAL, "", &[]), "failed handshakes")
            .ask(SHOWN.sum("result", &NIMIFY_TLS_RELOADS_TOTAL, "", &[]), "certificates {{result}}"),
        Panel::new(
            Lines,
            "cps",
            "Faults",
            "Requests that ended in a fault of the service, and spans that the collector didn't get.",
        )
        .ask(rate(&NIMIFY_PANICS_TOTAL), "faults {{instance}}")
        .ask(rate(&NIMIFY_SPANS_DROPPED_TOTAL), "spans {{instance}}"),
    ];
    Row { title: "Process", panels }
}
