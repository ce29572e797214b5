//! What a scaler goes by: how long the queue is and how long answers take, asked of Prometheus for prometheus-adapter and
//! for KEDA, written from the runtime's one table of metrics. Pure.

use nimify_runtime::metrics::table::{NIMIFY_INFERENCE_DURATION_SECONDS, NUM_REQUESTS_WAITING};
use serde_json::{Value, json};

use super::query::{BUCKET, Query};
use super::{SCOPE, yaml};

/// The rules of prometheus-adapter, by their path in the chart.
const ADAPTER: &str = "monitoring/prometheus-adapter.yaml";
/// What `templates/` look up, by its path in the chart.
const SCALING: &str = "monitoring/scaling.yaml";

/// Written over the adapter's rules.
const ADAPTER_HEADER: &str = "\
# Values for the chart of prometheus-adapter, written by nimify from the table of its metrics: with them the scaler `hpa`
# can go by queue and latency. They are the same for every release: a cluster needs them once.
";
/// Written over what the templates look up.
const SCALING_HEADER: &str = "\
# What the templates ask for, written by nimify from the table of its metrics: the adapter's name for a metric, and KEDA's
# query, in which `%scope%` becomes the release.
";

/// What latency is, as a quantile.
const QUANTILE: &str = "0.95";
/// The window for the queue, which comes and goes between two scrapes.
const QUEUE_WINDOW: &str = "1m";
/// The window for the latency, which needs some requests to say anything.
const LATENCY_WINDOW: &str = "2m";

/// Every file, by its path in the chart.
pub(super) fn files() -> Vec<(String, String)> {
    let text = |header: &str, value: &Value| format!("{header}{}", yaml::write(value));
    vec![
        (ADAPTER.into(), text(ADAPTER_HEADER, &json!({ "rules": { "custom": rules() } }))),
        (SCALING.into(), text(SCALING_HEADER, &scaling())),
    ]
}

/// The adapter's name for the latency; the queue keeps that of its metric.
fn latency_name() -> String {
    format!("{}_p95", NIMIFY_INFERENCE_DURATION_SECONDS.name)
}

/// The rules of prometheus-adapter. `<<…>>` is what it puts in.
fn rules() -> Vec<Value> {
    let buckets = format!("{}{BUCKET}", NIMIFY_INFERENCE_DURATION_SECONDS.name);
    let (pod, pods) = ("<<.GroupBy>>", "<<.LabelMatchers>>");
    let latency = latency(pod, pods);
    // An idle pod has no latency. Were it left out, the scaler would know nothing of it, and never take it away.
    let idle = format!("0 * {}", queue(pod, pods));
    vec![
        rule(NUM_REQUESTS_WAITING.name, NUM_REQUESTS_WAITING.name, &queue(pod, pods)),
        rule(&latency_name(), &buckets, &format!("{latency} or {idle}")),
    ]
}

/// One rule: a metric of that name for the pods that have such series.
fn rule(name: &str, series: &str, query: &str) -> Value {
    json!({
        "seriesQuery": format!("{series}{{namespace!=\"\",pod!=\"\"}}"),
        "resources": { "overrides": { "namespace": { "resource": "namespace" }, "pod": { "resource": "pod" } } },
        "name": { "as": name },
        "metricsQuery": query,
    })
}

/// For each metric the adapter's name and KEDA's query, which has to give a number even where no pod is left: KEDA takes
/// nothing for an error.
fn scaling() -> Value {
    json!({
        "queueDepth": {
            "metric": NUM_REQUESTS_WAITING.name,
            "query": format!("sum({}) or vector(0)", queue("instance", SCOPE)),
        },
        "latency": {
            "metric": latency_name(),
            "query": format!("{} or vector(0)", latency("", SCOPE)),
        },
    })
}

/// Requests that wait, by pod. The largest: two monitors that see the same pod count it once.
fn queue(by: &str, scope: &str) -> String {
    let query = Query { scope, window: QUEUE_WINDOW };
    format!("max by ({by}) ({})", query.over("avg_over_time", &NUM_REQUESTS_WAITING, "", &[]))
}

/// The quantile of the time that answers take, by pod or, where `by` is empty, of all. Where none was asked for it is no
/// number, which a comparison drops.
fn latency(by: &str, scope: &str) -> String {
    let query = Query { scope, window: LATENCY_WINDOW };
    format!("({} >= 0)", query.quantile(QUANTILE, by, &NIMIFY_INFERENCE_DURATION_SECONDS, &[]))
}
