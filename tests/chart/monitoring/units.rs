//! Each alert on series made for it: it fires where it should and is quiet where it should be. promtool judges.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use super::{JOB, promtool, rendered, write_rules};

/// One alert on some series, a value a minute.
struct Case {
    alert: &'static str,
    /// Further matchers of the alert that is asked for.
    only: &'static str,
    /// Names with their own labels, and values as promtool writes them.
    series: &'static [(&'static str, &'static str)],
    /// When it is looked at.
    at: &'static str,
    /// How many alerts fire.
    fire: u32,
}

const fn case(
    alert: &'static str,
    series: &'static [(&'static str, &'static str)],
    at: &'static str,
    fire: u32,
) -> Case {
    Case { alert, only: "", series, at, fire }
}

const fn of(only: &'static str, case: Case) -> Case {
    Case { only, ..case }
}

const OK: &str = "nim_request_count_total{route=\"/v1/predict\",status=\"200\"}";
const UNREADY: &str = "nim_request_count_total{route=\"/v2/models/{model}/infer\",status=\"503\"}";
const FULL: &str = "nim_request_count_total{route=\"/v1/infer\",status=\"429\"}";
const LATE: &str = "nim_request_count_total{route=\"/inference.GRPCInferenceService/ModelInfer\",status=\"504\"}";
const PROBED: &str = "nim_request_count_total{route=\"/v1/health/ready\",status=\"503\"}";
const BAD: &str = "nim_request_count_total{route=\"/v1/predict\",status=\"400\"}";
const ANSWERED: &str = "nimify_inference_duration_seconds_count{}";
const SOON: &str = "nimify_inference_duration_seconds_bucket{le=\"0.5\"}";

const CASES: &[Case] = &[
    of("long_window=\"1h\"", case("NimifyErrorBudgetBurn", &[(OK, "0+98x90"), (UNREADY, "0+2x90")], "80m", 1)),
    of("long_window=\"1h\"", case("NimifyErrorBudgetBurn", &[(OK, "0+99x90"), (UNREADY, "0+1x90")], "80m", 0)),
    of("long_window=\"6h\"", case("NimifyErrorBudgetBurn", &[(OK, "0+99x90"), (UNREADY, "0+1x90")], "80m", 1)),
    of("long_window=\"1d\"", case("NimifyErrorBudgetBurn", &[(OK, "0+996x300"), (LATE, "0+4x300")], "5h", 1)),
    of("long_window=\"3d\"", case("NimifyErrorBudgetBurn", &[(OK, "0+998x300"), (FULL, "0+2x300")], "5h", 1)),
    // It is over: the long window still remembers, the short one doesn't.
    of("long_window=\"1h\"", case("NimifyErrorBudgetBurn", &[(OK, "0+98x120"), (FULL, "0+9x40 360x80")], "70m", 0)),
    // What clients did wrong, and what probes were told, counts for nothing; and what keeps to the objective is quiet.
    case("NimifyErrorBudgetBurn", &[(OK, "0+50x300"), (BAD, "0+50x300"), (PROBED, "0+50x300")], "5h", 0),
    case("NimifyErrorBudgetBurn", &[(OK, "0+1999x300"), (UNREADY, "0+1x300")], "5h", 0),
    case("NimifyErrorBudgetBurn", &[(OK, "0x300")], "5h", 0),
    of("long_window=\"1h\"", case("NimifyLatencyBudgetBurn", &[(ANSWERED, "0+100x90"), (SOON, "0+80x90")], "80m", 1)),
    of("long_window=\"6h\"", case("NimifyLatencyBudgetBurn", &[(ANSWERED, "0+100x90"), (SOON, "0+92x90")], "80m", 1)),
    of("long_window=\"3d\"", case("NimifyLatencyBudgetBurn", &[(ANSWERED, "0+100x300"), (SOON, "0+98x300")], "5h", 1)),
    case("NimifyLatencyBudgetBurn", &[(ANSWERED, "0+1000x300"), (SOON, "0+995x300")], "5h", 0),
    case("NimifyDown", &[("up{instance=\"a\"}", "0x30"), ("up{instance=\"b\"}", "0x30")], "10m", 1),
    case("NimifyDown", &[], "10m", 1),
    case("NimifyDown", &[("up{instance=\"a\"}", "0x30"), ("up{instance=\"b\"}", "1x30")], "20m", 0),
    case("NimifyPodUnreachable", &[("up{instance=\"a\"}", "0x30"), ("up{instance=\"b\"}", "1x30")], "15m", 1),
    case("NimifyPodUnreachable", &[("up{instance=\"a\"}", "1x5 0x5 1x20")], "15m", 0),
    case("NimifyNotReady", &[("nimify_ready{instance=\"a\"}", "0x30")], "10m", 1),
    case("NimifyNotReady", &[("nimify_ready{instance=\"a\"}", "0x4 1x30")], "10m", 0),
    case("NimifyRestarts", &[("process_start_time_seconds{}", "1x5 2x5 3x5 4x5")], "20m", 1),
    case("NimifyRestarts", &[("process_start_time_seconds{}", "1x5 2x5 3x15")], "20m", 0),
    case("NimifySlowStart", &[("nim_model_loading_time_seconds{}", "50x5")], "3m", 1),
    case("NimifySlowStart", &[("nim_model_loading_time_seconds{}", "40x5")], "3m", 0),
    case("NimifyRequestsRefused", &[(OK, "0+98x30"), (FULL, "0+2x30")], "20m", 1),
    case("NimifyRequestsRefused", &[(OK, "0+995x30"), (FULL, "0+5x30"), (UNREADY, "0+100x30")], "20m", 0),
    case("NimifyQueueLong", &[("num_requests_waiting{}", "600x30")], "20m", 1),
    case("NimifyQueueLong", &[("num_requests_waiting{}", "0x15 900 0x30")], "20m", 0),
    case("NimifyDeadlinesPassed", &[(OK, "0+98x30"), (LATE, "0+2x30")], "20m", 1),
    case("NimifyDeadlinesPassed", &[(OK, "0+98x30"), (FULL, "0+2x30")], "20m", 0),
    case(
        "NimifyModelFails",
        &[
            ("nv_inference_request_success{}", "0+98x30"),
            ("nv_inference_request_failure{reason=\"BACKEND\"}", "0+2x30"),
        ],
        "20m",
        1,
    ),
    case(
        "NimifyModelFails",
        &[
            ("nv_inference_request_success{}", "0+98x30"),
            ("nv_inference_request_failure{reason=\"BACKEND\"}", "0x30"),
            ("nv_inference_request_failure{reason=\"OTHER\"}", "0+50x30"),
        ],
        "20m",
        0,
    ),
    case("NimifyPanics", &[("nimify_panics_total{}", "0x5 1x30")], "20m", 1),
    case("NimifyPanics", &[("nimify_panics_total{}", "1x35")], "20m", 0),
    case(
        "NimifyCanaryWorse",
        &[
            ("nim_request_count_total{track=\"stable\",route=\"/v1/predict\",status=\"200\"}", "0+100x30"),
            ("nim_request_count_total{track=\"canary\",route=\"/v1/predict\",status=\"200\"}", "0+9x30"),
            ("nim_request_count_total{track=\"canary\",route=\"/v1/predict\",status=\"500\"}", "0+1x30"),
        ],
        "20m",
        1,
    ),
    case(
        "NimifyCanaryWorse",
        &[
            ("nim_request_count_total{track=\"stable\",route=\"/v1/predict\",status=\"200\"}", "0+90x30"),
            ("nim_request_count_total{track=\"stable\",route=\"/v1/predict\",status=\"500\"}", "0+10x30"),
            ("nim_request_count_total{track=\"canary\",route=\"/v1/predict\",status=\"200\"}", "0+9x30"),
            ("nim_request_count_total{track=\"canary\",route=\"/v1/predict\",status=\"500\"}", "0+1x30"),
        ],
        "20m",
        0,
    ),
    // Of 100 MiB.
    case("NimifyMemoryNearLimit", &[("process_resident_memory_bytes{}", "99614720x30")], "20m", 1),
    case("NimifyMemoryNearLimit", &[("process_resident_memory_bytes{}", "83886080x30")], "20m", 0),
    case(
        "NimifyGpuMemoryNearFull",
        &[("gpu_memory_used_bytes{gpu=\"0\"}", "97x30"), ("gpu_memory_total_bytes{gpu=\"0\"}", "100x30")],
        "20m",
        1,
    ),
    case(
        "NimifyGpuMemoryNearFull",
        &[("gpu_memory_used_bytes{gpu=\"0\"}", "90x30"), ("gpu_memory_total_bytes{gpu=\"0\"}", "100x30")],
        "20m",
        0,
    ),
    case("NimifyFilesNearLimit", &[("process_open_fds{}", "950x30"), ("process_max_fds{}", "1000x30")], "20m", 1),
    case("NimifyFilesNearLimit", &[("process_open_fds{}", "850x30"), ("process_max_fds{}", "1000x30")], "20m", 0),
    case("NimifyConnectionsRefused", &[("nimify_connections_refused_total{}", "0+1x30")], "20m", 1),
    case("NimifyConnectionsRefused", &[("nimify_connections_refused_total{}", "0 1x30")], "20m", 0),
    case("NimifyCertificateRefused", &[("nimify_tls_reloads_total{result=\"refused\"}", "0x5 1x30")], "20m", 1),
    case("NimifyCertificateRefused", &[("nimify_tls_reloads_total{result=\"taken\"}", "0x5 1x30")], "20m", 0),
    case("NimifySpansDropped", &[("nimify_spans_dropped_total{}", "0+5x60")], "40m", 1),
    case("NimifySpansDropped", &[("nimify_spans_dropped_total{}", "5x60")], "40m", 0),
];

/// A series of the release.
fn series(name: &str, values: &str) -> Value {
    let (name, labels) = name.split_once('{').unwrap();
    let own = labels.trim_end_matches('}');
    // A pod of its own unless the case says which.
    let instance = if own.contains("instance=") { "" } else { ",instance=\"pod\"" };
    let own = if own.is_empty() { String::new() } else { format!(",{}", labels.strip_suffix('}').unwrap()) };
    json!({ "series": format!("{name}{{namespace=\"default\",job=\"{JOB}\"{instance}{own}}}"), "values": values })
}

fn test(case: &Case) -> Value {
    let only = if case.only.is_empty() { String::new() } else { format!(",{}", case.only) };
    let alerts = format!("ALERTS{{alertname=\"{}\",alertstate=\"firing\"{only}}}", case.alert);
    // `absent` has a series of its own in every case: what is asked for is counted.
    let asked = json!({
        "expr": format!("count({alerts}) or vector(0)"),
        "eval_time": case.at,
        "exp_samples": [{ "labels": "{}", "value": case.fire }],
    });
    let input: Vec<Value> = case.series.iter().map(|(name, values)| series(name, values)).collect();
    json!({ "interval": "1m", "input_series": input, "promql_expr_test": [asked] })
}

/// Judges cases, with the rules evaluated as often as said.
fn judge(cases: &[Value], every: &str) -> Result<(), String> {
    let folder = tempfile::tempdir().unwrap();
    write_rules(folder.path(), &rendered(&["resources.limits.memory=100Mi"]));
    let file = folder.path().join("test.yaml");
    // As Prometheus would have it within one evaluation: what was recorded ten minutes ago is no answer any more.
    let order = ["nimify-recorded", "nimify-alerts"];
    let tests = json!({
        "rule_files": ["rules.yaml"], "evaluation_interval": every, "group_eval_order": order, "tests": cases,
    });
    std::fs::write(&file, tests.to_string()).unwrap();
    promtool(&["test", "rules", file.to_str().unwrap()])
}

#[test]
fn each_alert_fires_where_it_should_and_nowhere_else() {
    // What takes hours is looked at less often: every evaluation reads days.
    let (long, short): (Vec<&Case>, Vec<&Case>) = CASES.iter().partition(|case| case.at.ends_with('h'));
    for (cases, every) in [(short, "1m"), (long, "10m")] {
        let cases: Vec<Value> = cases.into_iter().map(test).collect();
        if let Err(said) = judge(&cases, every) {
            panic!("{said}");
        }
    }
}

#[test]
fn each_alert_is_tried_both_ways() {
    for (fires, what) in [(true, "is seen firing"), (false, "is seen quiet")] {
        let tried: BTreeSet<&str> = CASES.iter().filter(|case| (case.fire > 0) == fires).map(|c| c.alert).collect();
        let all: BTreeSet<&str> = nimify::chart::alert_names().into_iter().collect();
        assert_eq!(tried, all, "each {what}");
    }
}

#[test]
fn an_alert_says_what_where_and_how_much() {
    let labels = json!({
        "severity": "critical", "long_window": "1h", "short_window": "5m", "namespace": "default", "job": JOB,
    });
    let annotations = json!({
        "summary": format!("{JOB} fails too many requests"),
        "description": "20% of the requests of the last 1h failed; the objective is 0.999 that don't.",
    });
    let mut case = test(&case("NimifyErrorBudgetBurn", &[(OK, "0+80x20"), (FULL, "0+20x20")], "5m", 1));
    case["promql_expr_test"] = json!([]);
    case["alert_rule_test"] = json!([{
        "eval_time": "5m",
        "alertname": "NimifyErrorBudgetBurn",
        "exp_alerts": [{ "exp_labels": labels, "exp_annotations": annotations }],
    }]);
    assert_eq!(judge(&[case.clone()], "1m"), Ok(()));
    case["alert_rule_test"][0]["exp_alerts"][0]["exp_annotations"]["summary"] = "another".into();
    assert!(judge(&[case], "1m").is_err(), "the judge compares");
}
