//! The number of pods by load: what the scalers are told, and that their questions have answers.

use std::fs;
use std::process::Command;

use serde_json::{Value, json};

use crate::rules::{objects, of_kind, the};
use crate::tools::{self, Chart};
use crate::{arguments, plans, render, rules, text};

const QUEUE_AND_LATENCY: [&str; 3] =
    ["autoscaling.enabled=true", "autoscaling.targetQueueDepth=4", "autoscaling.targetLatency=250ms"];
const KEDA: [&str; 2] = ["autoscaling.scaler=keda", "autoscaling.keda.serverAddress=http://prometheus:9090"];

fn rendered(sets: &[&str]) -> Vec<Value> {
    objects(&Chart::write(&render(&plans::digits())).render(&arguments(sets)))
}

/// The rules of prometheus-adapter that every chart has.
fn adapter_rules() -> Vec<Value> {
    let tree = render(&plans::digits());
    let values: Value = serde_yaml::from_str(text(&tree, "monitoring/prometheus-adapter.yaml")).unwrap();
    values["rules"]["custom"].as_array().unwrap().clone()
}

#[test]
fn the_autoscaler_goes_by_metrics_that_the_adapter_s_rules_give() {
    let objects = rendered(&QUEUE_AND_LATENCY);
    let metrics = the(&objects, "HorizontalPodAutoscaler")["spec"]["metrics"].clone();
    assert_eq!(metrics[0]["resource"]["target"], json!({"type": "Utilization", "averageUtilization": 80}));
    let asked: Vec<&Value> = metrics.as_array().unwrap()[1..].iter().map(|metric| &metric["pods"]).collect();
    let given: Vec<Value> = adapter_rules().iter().map(|rule| rule["name"]["as"].clone()).collect();
    assert_eq!(asked.iter().map(|pods| pods["metric"]["name"].clone()).collect::<Vec<_>>(), given);
    let amounts: Vec<&Value> = asked.iter().map(|pods| &pods["target"]["averageValue"]).collect();
    assert_eq!(amounts, ["4", "250m"]);
    assert_eq!(of_kind(&objects, "ScaledObject"), Vec::<&Value>::new());

    for (latency, quantity) in [("2s", "2"), ("2500us", "2500u"), ("1m", "60")] {
        let set = format!("autoscaling.targetLatency={latency}");
        let objects = rendered(&[&QUEUE_AND_LATENCY[..], &[&set, "autoscaling.targetCpuPercent=0"]].concat());
        let metrics = &the(&objects, "HorizontalPodAutoscaler")["spec"]["metrics"];
        assert_eq!(metrics[1]["pods"]["target"]["averageValue"], quantity);
    }
}

#[test]
fn metrics_of_the_user_s_own_take_the_place_of_the_targets() {
    let own = ["autoscaling.metrics[0].type=Resource", "autoscaling.metrics[0].resource.name=memory"];
    let objects = rendered(&[&QUEUE_AND_LATENCY[..], &own].concat());
    let metrics = &the(&objects, "HorizontalPodAutoscaler")["spec"]["metrics"];
    assert_eq!(metrics, &json!([{"type": "Resource", "resource": {"name": "memory"}}]));
}

#[test]
fn the_adapter_can_be_given_its_configuration_whole() {
    let objects = rendered(&[&QUEUE_AND_LATENCY[..], &["autoscaling.prometheusAdapter.configMap=true"]].concat());
    let map = of_kind(&objects, "ConfigMap").into_iter().find(|map| map["data"].get("config.yaml").is_some()).unwrap();
    let config: Value = serde_yaml::from_str(map["data"]["config.yaml"].as_str().unwrap()).unwrap();
    assert_eq!(config, json!({"rules": adapter_rules()}));
}

#[test]
fn keda_asks_prometheus_for_the_pods_of_this_release() {
    let own = ["autoscaling.keda.authentication=prometheus", "autoscaling.minReplicas=2"];
    let sets = [&QUEUE_AND_LATENCY[..], &KEDA, &own].concat();
    let render = Chart::write(&render(&plans::digits())).render(&arguments(&sets));
    tools::kubeconform(&[("keda".into(), render.clone())]).unwrap();
    let objects = objects(&render);
    rules::hold(&objects);
    assert_eq!(of_kind(&objects, "HorizontalPodAutoscaler"), Vec::<&Value>::new());
    let spec = &the(&objects, "ScaledObject")["spec"];
    assert_eq!((&spec["minReplicaCount"], &spec["maxReplicaCount"]), (&json!(2), &json!(4)));
    let behavior = &spec["advanced"]["horizontalPodAutoscalerConfig"]["behavior"];
    assert_eq!(behavior["scaleDown"]["stabilizationWindowSeconds"], 300);
    let [cpu, queue, latency] = &spec["triggers"].as_array().unwrap()[..] else { panic!("{spec}") };
    assert_eq!((&cpu["type"], &cpu["metadata"]["value"]), (&json!("cpu"), &json!("80")));
    for (trigger, kind, threshold) in [(queue, "AverageValue", "4"), (latency, "Value", "0.25")] {
        assert_eq!((&trigger["type"], &trigger["metricType"]), (&json!("prometheus"), &json!(kind)));
        assert_eq!(trigger["authenticationRef"]["name"], "prometheus");
        assert_eq!(trigger["metadata"]["threshold"], threshold);
        let query = trigger["metadata"]["query"].as_str().unwrap();
        assert!(query.contains(r#"{namespace="default",job="release-digits",track!="canary"}"#), "{query}");
    }
}

#[test]
fn what_can_t_work_is_refused_with_the_way_out() {
    let chart = Chart::write(&render(&plans::digits()));
    let on = ["autoscaling.enabled=true"];
    let keda = [&on[..], &KEDA].concat();
    for (sets, said) in [
        ([&on[..], &["autoscaling.minReplicas=9"]].concat(), "maxReplicas is less than"),
        ([&on[..], &["autoscaling.minReplicas=0"]].concat(), "or the scaler keda"),
        ([&on[..], &["autoscaling.targetCpuPercent=0"]].concat(), "nothing to go by"),
        ([&on[..], &["resources.requests.cpu=null"]].concat(), "a share of resources.requests.cpu"),
        ([&on[..], &["autoscaling.scaler=both"]].concat(), "scaler"),
        ([&on[..], &["autoscaling.targetLatency=fast"]].concat(), "targetLatency"),
        ([&keda[..], &["autoscaling.metrics[0].type=Resource"]].concat(), "autoscaling.keda.triggers"),
        ([&keda[..], &["autoscaling.minReplicas=0"]].concat(), "without a pod there is no queue"),
        (
            [&keda[..], &["autoscaling.targetQueueDepth=1", "autoscaling.keda.serverAddress="]].concat(),
            "serverAddress is empty",
        ),
    ] {
        let refusal = chart.refusal(&arguments(&sets));
        assert!(refusal.contains(said), "{sets:?}: {refusal}");
    }
    let woken = ["autoscaling.minReplicas=0", "autoscaling.keda.triggers[0].type=cron"];
    let objects = objects(&chart.render(&arguments(&[&keda[..], &woken].concat())));
    assert_eq!(the(&objects, "ScaledObject")["spec"]["minReplicaCount"], 0);
}

/// Two pods of the release, one of which is asked something, and one of another release.
const SERIES: &str = r#"
      - { series: 'num_requests_waiting{namespace="default",job="release-digits",track="stable",instance="a",pod="a"}', values: "6x20" }
      - { series: 'num_requests_waiting{namespace="default",job="release-digits",track="stable",instance="b",pod="b"}', values: "2x20" }
      - { series: 'num_requests_waiting{namespace="default",job="release-digits",track="canary",instance="c",pod="c"}', values: "50x20" }
      - { series: 'num_requests_waiting{namespace="default",job="other",instance="d",pod="d"}', values: "100x20" }
      - { series: 'nimify_inference_duration_seconds_bucket{namespace="default",job="release-digits",track="stable",instance="a",pod="a",le="0.1"}', values: "0+10x20" }
      - { series: 'nimify_inference_duration_seconds_bucket{namespace="default",job="release-digits",track="stable",instance="a",pod="a",le="0.3"}', values: "0+20x20" }
      - { series: 'nimify_inference_duration_seconds_bucket{namespace="default",job="release-digits",track="stable",instance="a",pod="a",le="+Inf"}', values: "0+20x20" }
      - { series: 'nimify_inference_duration_seconds_bucket{namespace="default",job="release-digits",track="stable",instance="b",pod="b",le="0.1"}', values: "0x20" }
      - { series: 'nimify_inference_duration_seconds_bucket{namespace="default",job="release-digits",track="stable",instance="b",pod="b",le="+Inf"}', values: "0x20" }
"#;

#[test]
fn prometheus_answers_what_the_scalers_ask() {
    let rules = adapter_rules();
    // As the adapter fills it in, for the pods of a Deployment.
    let asked = |rule: &Value| {
        let query = rule["metricsQuery"].as_str().unwrap();
        query.replace("<<.GroupBy>>", "pod").replace("<<.LabelMatchers>>", r#"namespace="default",pod=~"a|b""#)
    };
    let objects = rendered(&[&QUEUE_AND_LATENCY[..], &KEDA].concat());
    let triggers = the(&objects, "ScaledObject")["spec"]["triggers"].clone();
    let query = |trigger: usize| triggers[trigger]["metadata"]["query"].as_str().unwrap().to_string();
    // Half of the requests take less than 0.1 s, the rest up to 0.3 s: the 95th of 100 is nine tenths of the way.
    let cases = [
        (asked(&rules[0]), json!([{"labels": "{pod=\"a\"}", "value": 6}, {"labels": "{pod=\"b\"}", "value": 2}])),
        (asked(&rules[1]), json!([{"labels": "{pod=\"a\"}", "value": 0.28}, {"labels": "{pod=\"b\"}", "value": 0}])),
        (query(1), json!([{"labels": "{}", "value": 8}])),
        (query(2), json!([{"labels": "{}", "value": 0.28}])),
    ];
    let tests = |cases: Vec<Value>, series: Value| json!({"interval": "30s", "input_series": series, "promql_expr_test": cases});
    let case = |expr: &str, samples: &Value| json!({"expr": format!("round({expr}, 0.001)"), "eval_time": "10m", "exp_samples": samples});
    let series: Value = serde_yaml::from_str(SERIES).unwrap();
    let busy = cases.iter().map(|(expr, samples)| case(expr, samples)).collect();
    // Without a pod KEDA is told of nothing to do, not of an error.
    let gone = [1, 2].map(|k| case(&query(k), &json!([{"labels": "{}", "value": 0}])));
    let file = json!({"tests": [tests(busy, series), tests(gone.to_vec(), json!([]))]});
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("tests.json");
    fs::write(&path, file.to_string()).unwrap();
    let output = Command::new("promtool").args(["test", "rules"]).arg(&path).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}
