//! The page against the table, and what is counted against what is told.

use super::*;
use crate::progress::LoadPhase;
use crate::state::Counted;

/// What sessions keep, of one that is there.
fn kept() -> Counted {
    let events = [("started", 2), ("ended", 1), ("expired", 0), ("refused", 0)];
    Counted { sessions: 1, bytes: 64, events }
}

fn metrics() -> Metrics {
    Metrics::new("digits \"1\"", "0.1", ["/a", "/b"])
}

fn written(metrics: &Metrics, format: Format) -> String {
    let progress = Progress::begin();
    progress.model_is(7);
    progress.enter(LoadPhase::Done);
    metrics.page(Live { in_work: 3, waiting: 1, ready: true, sessions: Some(kept()), loading: &progress }, format)
}

fn page(metrics: &Metrics) -> String {
    written(metrics, Format::Text)
}

fn inferred(metrics: &Metrics, outcome: Outcome, trace: Option<TraceId>) {
    let millis = Duration::from_millis;
    let stages = Stages {
        decode: millis(1),
        queue: millis(2),
        compute: millis(30),
        rows: 2,
        encode: millis(4),
        ..Stages::default()
    };
    metrics.inferred(&Inferred { outcome, took: millis(40), stages: &stages, trace });
}

#[test]
fn every_metric_of_the_table_is_on_the_page_with_its_type_and_no_other() {
    let metrics = metrics();
    metrics.answered(0, 200, Duration::from_millis(3), None);
    metrics.batch(4, Duration::from_micros(7));
    metrics.loaded(ModelInfo { provider: "cpu".into(), onnxruntime: "1.31.1".into(), instances: 2 });
    metrics.watch_arena(|| ArenaBytes { held: 3, used: 2, peak: 3 });
    let page = page(&metrics);
    let mut on_page: Vec<String> = page.lines().filter_map(|l| l.strip_prefix("# TYPE ")).map(String::from).collect();
    let kind = |kind| match kind {
        Kind::Counter => "counter",
        Kind::Gauge | Kind::Info => "gauge",
        Kind::Histogram => "histogram",
    };
    // Nobody watches a GPU here.
    let here = || METRICS.iter().filter(|metric| metric.labels != ["gpu"]);
    let mut in_table: Vec<String> = here().map(|m| format!("{} {}", m.name, kind(m.kind))).collect();
    on_page.sort();
    in_table.sort();
    assert_eq!(on_page, in_table);
    in_table.dedup();
    assert_eq!(on_page.len(), in_table.len(), "names are distinct");
    for metric in here() {
        assert!(page.contains(&format!("# HELP {} {}\n", metric.name, metric.help)), "{}", metric.name);
        let line = page.lines().find(|l| l.starts_with(metric.name)).unwrap();
        for label in metric.labels {
            assert!(line.contains(&format!("{label}=\"")), "{line}");
        }
        let labels = line.matches("=\"").count() - usize::from(metric.kind == Kind::Histogram);
        assert_eq!(labels, metric.labels.len(), "{line}");
    }
    for line in [
        "nv_inference_count{model=\"digits \\\"1\\\"\",version=\"0.1\"} 4\n",
        "num_requests_running 2\n",
        "nim_queue_size 1\n",
        "nimify_ready 1\n",
        "nimify_model_bytes 7\n",
        "nimify_arena_bytes{kind=\"used\"} 2\n",
        "nim_batch_size_histogram_bucket{le=\"4\"} 1\n",
        "nim_batch_size_histogram_sum 4\n",
    ] {
        assert!(page.contains(line), "{line}{page}");
    }
}

#[test]
fn answers_are_counted_by_route_and_status() {
    let metrics = metrics();
    for (route, status) in [(1, 200), (1, 200), (1, 999), (7, 200)] {
        metrics.answered(route, status, Duration::from_millis(1), None);
    }
    let page = page(&metrics);
    assert!(page.contains("nim_request_count_total{route=\"/b\",status=\"200\"} 2\n"), "{page}");
    assert!(page.contains("nim_request_count_total{route=\"/b\",status=\"500\"} 1\n"), "{page}");
    assert!(page.contains("nim_request_duration_seconds_count{route=\"/b\"} 3\n"), "{page}");
    assert!(!page.contains("/a"));
}

#[test]
fn failures_are_counted_by_their_reason_and_answers_by_stage() {
    let metrics = metrics();
    let errors = [Error::QueueFull(String::new()), Error::Refused(String::new()), Error::BadRequest(String::new())];
    errors.iter().for_each(|error| inferred(&metrics, error.into(), None));
    inferred(&metrics, Outcome::Canceled, None);
    inferred(&metrics, Outcome::Success, None);
    inferred(&metrics, Outcome::Success, None);
    let page = page(&metrics);
    for reason in ["REJECTED", "CANCELED", "BACKEND", "OTHER"] {
        let line = format!(
            "nv_inference_request_failure{{model=\"digits \\\"1\\\"\",reason=\"{reason}\",version=\"0.1\"}} 1\n"
        );
        assert!(page.contains(&line), "{page}");
    }
    for line in [
        "nv_inference_request_success{model=\"digits \\\"1\\\"\",version=\"0.1\"} 2\n",
        "nv_inference_request_duration_us{model=\"digits \\\"1\\\"\",version=\"0.1\"} 80000\n",
        "nv_inference_compute_infer_duration_us{model=\"digits \\\"1\\\"\",version=\"0.1\"} 60000\n",
        "nimify_stage_duration_seconds_sum{stage=\"queue\"} 0.004\n",
        "nimify_stage_duration_seconds_bucket{stage=\"encode\",le=\"0.0025\"} 0\n",
        "nimify_stage_duration_seconds_bucket{stage=\"encode\",le=\"0.005\"} 2\n",
        "nimify_inference_duration_seconds_count 2\n",
    ] {
        assert!(page.contains(line), "{line}{page}");
    }
    let statistics = metrics.statistics("m", "1");
    let time = |count, ms: u64| StatisticDuration { count, ns: ms * 1_000_000 };
    let want = InferenceStatistics {
        success: time(2, 80),
        fail: time(4, 160),
        queue: time(2, 4),
        compute_input: time(2, 2),
        compute_infer: time(2, 60),
        compute_output: time(2, 8),
        ..InferenceStatistics::default()
    };
    assert_eq!(statistics.inference_stats, want);
    assert!(statistics.last_inference > 1_700_000_000_000);
    assert_eq!(Metrics::new("m", "1", []).statistics("m", "1").last_inference, 0);
}

#[test]
fn openmetrics_has_the_same_samples_and_the_traces_beside_them() {
    let metrics = metrics();
    metrics.answered(1, 200, Duration::from_millis(3), Some(TraceId([1; 16])));
    inferred(&metrics, Outcome::Success, Some(TraceId([0xab; 16])));
    let (text, open) = (page(&metrics), written(&metrics, Format::OpenMetrics));
    assert!(open.ends_with("\n# EOF\n") && !text.contains("trace_id") && !text.contains("# EOF"));
    let trace = format!(" # {{trace_id=\"{}\"}} 0.04 ", "ab".repeat(16));
    let line =
        open.lines().find(|line| line.starts_with("nimify_inference_duration_seconds_bucket{le=\"0.05\"} 1")).unwrap();
    assert!(line.contains(&trace), "{line}");
    assert_eq!(open.matches("trace_id").count(), 6, "the route, the whole and four stages");
    let names = |page: &str| -> Vec<String> {
        let samples = page.lines().filter(|line| !line.starts_with('#'));
        samples.map(|line| line.split(['{', ' ']).next().unwrap_or_default().to_string()).collect()
    };
    assert_eq!(names(&text), names(&open), "a scraper's choice of format changes no name");
}
