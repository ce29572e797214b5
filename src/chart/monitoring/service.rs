//! The dashboard of a service: whether its users are well, and where to look if they aren't.

use nimify_runtime::metrics::table::{
    GPU_MEMORY_TOTAL_BYTES, GPU_MEMORY_USED_BYTES, GPU_UTILIZATION, NIM_REQUEST_COUNT_TOTAL, NIMIFY_CONNECTIONS,
    NIMIFY_CONNECTIONS_REFUSED_TOTAL, NIMIFY_INFERENCE_DURATION_SECONDS, NIMIFY_MODEL_INFO, NIMIFY_READY,
    NIMIFY_STAGE_DURATION_SECONDS, NUM_REQUESTS_RUNNING, NUM_REQUESTS_WAITING, NV_INFERENCE_COUNT,
    NV_INFERENCE_EXEC_COUNT, NV_INFERENCE_REQUEST_FAILURE, NV_INFERENCE_REQUEST_SUCCESS, PROCESS_CPU_SECONDS_TOTAL,
    PROCESS_MAX_FDS, PROCESS_OPEN_FDS, PROCESS_RESIDENT_MEMORY_BYTES,
};
use serde_json::Value;

use super::grafana::Draw::{Heat, Lines, Number, Stacked, Table};
use super::grafana::{Dashboard, Panel, Row, SHOWN};
use super::query::{BUCKET, COUNT, SUM, inference, share};
use super::recording::FAILED;

/// The dashboard as Grafana imports it.
pub(super) fn dashboard() -> Value {
    let dashboard = Dashboard {
        title: "nimify / service",
        uid: "nimify-service",
        description: "Traffic, errors, latency, queue and saturation of an inference service.",
        rows: vec![now(), traffic(), latency(), queue(), saturation(), versions(), gpu()],
    };
    dashboard.to_json(NIMIFY_READY.name)
}

/// Requests for the model, a second, by a label; each answer that some more matchers choose.
fn requests(by: &str, matchers: &[&str]) -> String {
    SHOWN.sum(by, &NIM_REQUEST_COUNT_TOTAL, "", &[&[inference().as_str()], matchers].concat())
}

fn failed(by: &str) -> String {
    share(&requests(by, &[FAILED]), &requests(by, &[]))
}

fn quantile(quantile: &str, by: &str) -> String {
    SHOWN.quantile(quantile, by, &NIMIFY_INFERENCE_DURATION_SECONDS, &[])
}

fn now() -> Row {
    let panels = vec![
        Panel::new(Number, "short", "Ready", "Instances that take requests.")
            .ask(format!("sum({})", SHOWN.of(&NIMIFY_READY, "", &[])), ""),
        Panel::new(Number, "reqps", "Requests", "Requests for the model, over every protocol.")
            .ask(requests("", &[]), ""),
        Panel::new(
            Number,
            "percentunit",
            "Failed",
            "Answered 429 or 5xx: the service's own faults, and what it had no room or time for.",
        )
        .ask(failed(""), ""),
        Panel::new(Number, "s", "p99", "99 of 100 answers came sooner.").ask(quantile("0.99", ""), ""),
        Panel::new(Number, "short", "Waiting", "Requests that wait for the model.")
            .ask(format!("sum({})", SHOWN.of(&NUM_REQUESTS_WAITING, "", &[])), ""),
        Panel::new(Number, "short", "Rows in a run", "Rows that one run of the model had on average.")
            .ask(rows_in_a_run(""), ""),
    ];
    Row { title: "Now", panels }
}

fn traffic() -> Row {
    let panels = vec![
        Panel::new(Lines, "reqps", "Requests by route", "Requests for the model, by the protocol that they came with.")
            .ask(requests("route", &[]), "{{route}}"),
        Panel::new(
            Stacked,
            "reqps",
            "Answers by status",
            "Requests for the model, by HTTP's status; gRPC's are counted as the one that fits.",
        )
        .ask(requests("status", &[]), "{{status}}"),
        Panel::new(
            Lines,
            "reqps",
            "Failures by reason",
            "REJECTED: queue, deadline, not ready. CANCELED: the client went. BACKEND: the model. OTHER: bad input.",
        )
        .ask(SHOWN.sum("reason", &NV_INFERENCE_REQUEST_FAILURE, "", &[]), "{{reason}}"),
    ];
    Row { title: "Traffic and errors", panels }
}

fn latency() -> Row {
    let stages = SHOWN.sum("stage", &NIMIFY_STAGE_DURATION_SECONDS, SUM, &[]);
    let answered = SHOWN.sum("", &NIMIFY_INFERENCE_DURATION_SECONDS, COUNT, &[]);
    let panels = vec![
        Panel::new(Lines, "s", "Latency", "From a request's head to its answer, of requests that were answered.")
            .ask(quantile("0.5", ""), "p50")
            .ask(quantile("0.9", ""), "p90")
            .ask(quantile("0.99", ""), "p99"),
        Panel::new(
            Stacked,
            "s",
            "Where the time goes",
            "Mean time of a request by stage: reading, waiting, the model's run, writing.",
        )
        .ask(format!("{stages} / on () group_left () {answered}"), "{{stage}}"),
        Panel::new(Heat, "s", "Latency, spread", "How many requests took how long.")
            .ask(SHOWN.sum("le", &NIMIFY_INFERENCE_DURATION_SECONDS, BUCKET, &[]), "{{le}}"),
    ];
    Row { title: "Latency", panels }
}

fn rows_in_a_run(by: &str) -> String {
    format!("{} / {}", SHOWN.sum(by, &NV_INFERENCE_COUNT, "", &[]), SHOWN.sum(by, &NV_INFERENCE_EXEC_COUNT, "", &[]))
}

fn queue() -> Row {
    let gauge = |metric| format!("sum by (instance) ({})", SHOWN.of(metric, "", &[]));
    let panels = vec![
        Panel::new(Lines, "short", "Waiting", "Requests that wait for the model.")
            .ask(gauge(&NUM_REQUESTS_WAITING), "{{instance}}"),
        Panel::new(Lines, "short", "Running", "Requests in work, without those that wait.")
            .ask(gauge(&NUM_REQUESTS_RUNNING), "{{instance}}"),
        Panel::new(
            Lines,
            "short",
            "Rows in a run",
            "How many rows share a run of the model: more under load, where batching is on.",
        )
        .ask(rows_in_a_run("instance"), "{{instance}}"),
    ];
    Row { title: "Queue and batches", panels }
}

fn saturation() -> Row {
    let of = |metric| SHOWN.of(metric, "", &[]);
    let panels = vec![
        Panel::new(Lines, "short", "Cores", "Processor time in a second.")
            .ask(SHOWN.rate(&PROCESS_CPU_SECONDS_TOTAL, "", &[]), "{{instance}}"),
        Panel::new(Lines, "bytes", "Memory", "Resident memory of the process, mapped files of the model included.")
            .ask(of(&PROCESS_RESIDENT_MEMORY_BYTES), "{{instance}}"),
        Panel::new(Lines, "percentunit", "File descriptors", "Those that are open, of those that may be.")
            .ask(format!("{} / {}", of(&PROCESS_OPEN_FDS), of(&PROCESS_MAX_FDS)), "{{instance}}"),
        Panel::new(Lines, "short", "Connections", "Open over all ports.").ask(of(&NIMIFY_CONNECTIONS), "{{instance}}"),
        Panel::new(Lines, "cps", "Connections refused", "Those past `maxConnections`.")
            .ask(SHOWN.rate(&NIMIFY_CONNECTIONS_REFUSED_TOTAL, "", &[]), "{{instance}}"),
        Panel::new(Lines, "short", "Ready", "1 while an instance takes requests.")
            .ask(of(&NIMIFY_READY), "{{instance}}"),
    ];
    Row { title: "Saturation", panels }
}

fn versions() -> Row {
    let answered = SHOWN.sum("version, track", &NV_INFERENCE_REQUEST_SUCCESS, "", &[]);
    let panels = vec![
        Panel::new(
            Lines,
            "reqps",
            "Answers by version",
            "Requests that were answered, by the model's version and by track: stable or canary.",
        )
        .ask(answered, "{{track}} {{version}}"),
        Panel::new(
            Lines,
            "percentunit",
            "Failed by track",
            "Answered 429 or 5xx, of the stable pods and of the canary's.",
        )
        .ask(failed("track"), "{{track}}"),
        Panel::new(
            Lines,
            "s",
            "p99 by track",
            "99 of 100 answers came sooner, of the stable pods and of the canary's.",
        )
        .ask(quantile("0.99", "track"), "{{track}}"),
        Panel::new(Table, "", "What runs", "Each instance's model, version, execution provider and ONNX Runtime.")
            .ask(SHOWN.of(&NIMIFY_MODEL_INFO, "", &[]), ""),
    ];
    Row { title: "Versions and canary", panels }
}

fn gpu() -> Row {
    let of = |metric| SHOWN.of(metric, "", &[]);
    let panels = vec![
        Panel::new(Lines, "percentunit", "Utilization", "Share of the last moments in which a GPU ran something.")
            .ask(of(&GPU_UTILIZATION), "{{instance}} {{gpu}}"),
        Panel::new(Lines, "percentunit", "Memory", "What is taken of a GPU's memory, by whomever.")
            .ask(format!("{} / {}", of(&GPU_MEMORY_USED_BYTES), of(&GPU_MEMORY_TOTAL_BYTES)), "{{instance}} {{gpu}}"),
    ];
    Row { title: "GPU, where one runs the model", panels }
}
