//! Recording rules: the ratios that the alerts look at, over every window that they need.

use nimify_runtime::metrics::table::{NIM_REQUEST_COUNT_TOTAL, NIMIFY_INFERENCE_DURATION_SECONDS};
use serde_json::{Value, json};

use super::SCOPE;
use super::query::{BUCKET, COUNT, Query, inference, share};

/// The windows of the burn rates.
const WINDOWS: [&str; 7] = ["5m", "30m", "1h", "2h", "6h", "1d", "3d"];

/// What the release as a whole is known by.
pub(super) const RELEASE: &str = "namespace, job";
/// The same, with the canary apart.
const TRACK: &str = "namespace, job, track";

/// Answers that count against the availability: the service's own faults, and what it had no room or time for.
pub(super) const FAILED: &str = "status=~\"429|5..\"";

/// Share of the requests that failed, over a window.
pub(super) fn errors(window: &str) -> String {
    format!("nimify:errors:ratio_rate{window}")
}

/// Share of the answered requests that took longer than the objective allows, over a window.
pub(super) fn slow(window: &str) -> String {
    format!("nimify:slow:ratio_rate{window}")
}

/// Share of the requests that failed, by track.
pub(super) const ERRORS_BY_TRACK: &str = "nimify:errors_by_track:ratio_rate5m";

/// Every recording rule.
pub(super) fn rules() -> Vec<Value> {
    let now = Query { scope: SCOPE, window: "5m" };
    let mut rules = vec![
        rule("nimify:requests:rate5m", &now.sum(TRACK, &NIM_REQUEST_COUNT_TOTAL, "", &[&inference()])),
        rule("nimify:latency_seconds:p99_5m", &now.quantile("0.99", TRACK, &NIMIFY_INFERENCE_DURATION_SECONDS, &[])),
        rule(ERRORS_BY_TRACK, &failed(now, TRACK)),
    ];
    for window in WINDOWS {
        let query = Query { window, ..now };
        rules.push(rule(&errors(window), &failed(query, RELEASE)));
        rules.push(rule(&slow(window), &too_slow(query)));
    }
    rules
}

fn rule(name: &str, query: &str) -> Value {
    json!({ "record": name, "expr": query })
}

fn failed(query: Query<'_>, by: &str) -> String {
    let requests = |matchers: &[&str]| query.sum(by, &NIM_REQUEST_COUNT_TOTAL, "", matchers);
    share(&requests(&[&inference(), FAILED]), &requests(&[&inference()]))
}

/// What isn't answered has no time: it counts as failed, not as slow.
fn too_slow(query: Query<'_>) -> String {
    let answered = |part, matchers: &[&str]| query.sum(RELEASE, &NIMIFY_INFERENCE_DURATION_SECONDS, part, matchers);
    format!("1 - {} / {}", answered(BUCKET, &["le=~\"%bound%\""]), answered(COUNT, &[]))
}
