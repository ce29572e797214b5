//! The canary: a second part of the release by the same templates.

use serde_json::{Value, json};

use crate::rules::{of_kind, parts, the};
use crate::tools::Chart;
use crate::{arguments, objects, plans, render};

fn chart() -> Chart {
    Chart::write(&render(&plans::digits()))
}

fn rendered(chart: &Chart, sets: &[&str]) -> (Vec<Value>, Vec<Value>) {
    parts(&objects(&chart.render(&arguments(sets))))
}

/// A value as a file that helm reads.
fn values(chart: &Chart, values: &Value) -> (Vec<Value>, Vec<Value>) {
    let file = chart.path().join("values-of-the-test.yaml");
    std::fs::write(&file, values.to_string()).unwrap();
    parts(&objects(&chart.render(&["--values", file.to_str().unwrap()])))
}

#[test]
fn a_canary_is_what_the_chart_would_be_with_its_values_and_leaves_the_stable_part_alone() {
    let chart = chart();
    let changes = json!({
        "image": {"repository": "r.example.com/b", "digest": format!("sha256:{}", "1".repeat(64)), "version": "2.0.0"},
        "server": {"compression": false, "drainTimeout": "60s"},
        "batching": {"maxBatchSize": 1},
        "env": [{"name": "A", "value": "b"}],
        "resources": {"limits": {"memory": "1Gi", "cpu": 2}, "requests": {"cpu": null}},
        "nodeSelector": {"disk": "ssd"},
        "podLabels": {"try": "yes"},
    });
    let (alone, none) = rendered(&chart, &[]);
    assert_eq!(none, Vec::<Value>::new());
    let (stable, canary) = values(&chart, &json!({"canary": {"enabled": true, "replicaCount": 3, "values": changes}}));
    let mut wanted = changes.clone();
    wanted["replicaCount"] = json!(3);
    let (meant, _) = values(&chart, &wanted);
    for kind in ["Deployment", "ConfigMap", "ServiceAccount", "Pod"] {
        assert_eq!(the(&stable, kind), the(&alone, kind));
    }
    let as_canary = |object: &Value| {
        let text = object.to_string();
        let text = text.replace("release-digits", "release-digits-canary");
        let text = text.replace(r#"component":"server"#, r#"component":"canary"#);
        // One account for both.
        text.replace(r#"serviceAccountName":"release-digits-canary"#, r#"serviceAccountName":"release-digits"#)
    };
    for kind in ["Deployment", "ConfigMap", "Service", "Pod", "PodDisruptionBudget"] {
        assert_eq!(the(&canary, kind).to_string(), as_canary(the(&meant, kind)), "{kind}");
    }
    assert_eq!(canary.len(), 5);
}

#[test]
fn a_canary_has_as_many_pods_as_is_said_while_the_stable_part_scales() {
    let (stable, canary) =
        rendered(&chart(), &["canary.enabled=true", "autoscaling.enabled=true", "autoscaling.minReplicas=2"]);
    assert_eq!(the(&stable, "Deployment")["spec"].get("replicas"), None);
    assert_eq!(the(&canary, "Deployment")["spec"]["replicas"], 1);
    assert_eq!(of_kind(&canary, "HorizontalPodAutoscaler").len(), 0);
    assert_eq!(of_kind(&canary, "PodDisruptionBudget").len(), 0, "a budget for a lone pod only holds up maintenance");
}

#[test]
fn the_selector_of_a_deployment_is_that_of_the_first_chart() {
    let (stable, _) = rendered(&chart(), &["canary.enabled=true", "commonLabels.a=b", "podLabels.c=d"]);
    // It can't be changed in a cluster: another one would end every release that there is.
    let first = json!({"matchLabels": {
        "app.kubernetes.io/name": "digits",
        "app.kubernetes.io/instance": "release",
        "app.kubernetes.io/component": "server",
    }});
    assert_eq!(the(&stable, "Deployment")["spec"]["selector"], first);
}

#[test]
fn without_weights_the_service_is_that_of_both_parts() {
    let chart = chart();
    let selector = |sets: &[&str]| {
        let (stable, _) = rendered(&chart, sets);
        the(&stable, "Service")["spec"]["selector"].clone()
    };
    let both = json!({"app.kubernetes.io/name": "digits", "app.kubernetes.io/instance": "release"});
    let mut one = both.clone();
    one["app.kubernetes.io/component"] = json!("server");
    assert_eq!(selector(&[]), one);
    assert_eq!(selector(&["canary.enabled=true"]), both);
}

#[test]
fn the_longest_name_leaves_room_for_the_canary_s() {
    let chart = Chart::write(&render(&plans::unusual()));
    let release = "a-release-with-a-rather-long-name-which-helm-takes";
    let output = chart.helm(&["template", release], &["--set", "canary.enabled=true"]);
    assert!(output.status.success());
    crate::rules::hold(&objects(&String::from_utf8(output.stdout).unwrap()));
}
