//! Policy, as kube-score sees it: what it has to say against a chart that is set up for production, but for what is
//! argued here.

use std::fs;
use std::process::Command;

use serde_json::Value;

use crate::judges::tool;
use crate::tools::Chart;
use crate::{arguments, plans, render};

/// Checks that the chart fails on purpose, and why. A name ends the reason where it holds for that object alone.
const ACCEPTED: [(&str, &str, &str); 4] = [
    ("container-image-pull-policy", "", "an image by digest is the same however often the registry is asked"),
    ("container-ephemeral-storage-request-and-limit", "", "the service writes nothing; a fetched model has any size"),
    ("deployment-has-host-podantiaffinity", "", "spread constraints do the same, by version and over zones too"),
    ("pod-networkpolicy", "-test", "it asks the service alone, and is there for the moment of `helm test`"),
];

/// What production sets, over which each case is laid.
const PRODUCTION: [&str; 2] = ["replicaCount=2", "networkPolicy.enabled=true"];

const CASES: [(&str, &[&str]); 8] = [
    ("fixed", &[]),
    ("scaled", &["autoscaling.enabled=true", "autoscaling.minReplicas=2", "autoscaling.targetQueueDepth=4"]),
    ("gpu", &["gpu.count=1", "runtimeClassName=nvidia", "spot.enabled=true"]),
    ("tls", &["tls.secretName=digits-tls", "ingress.enabled=true"]),
    ("claim", &["model.source=persistentVolumeClaim", "model.claimName=models"]),
    ("fetched", &["model.source=initContainer", "model.initContainer.image=registry.example.com/oras:1.3.0"]),
    ("canary", &["canary.enabled=true", "canary.replicaCount=2"]),
    ("metrics-port", &["server.metricsPort=9001", "server.grpcPort=0"]),
];

/// Each finding against a render: the check's id, the object's name, and what is said.
fn findings(rendered: &str) -> Vec<(String, String, String)> {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("chart.yaml");
    fs::write(&path, rendered).unwrap();
    let mut command = Command::new(tool("bin/kube-score"));
    // A limit on the processor would slow down what the node has to spare.
    command.args(["score", "--output-format", "json", "--kubernetes-version", "v1.37", "--ignore-container-cpu-limit"]);
    let output = command.arg(&path).output().unwrap();
    let objects: Value = serde_json::from_slice(&output.stdout).unwrap();
    let text = |value: &Value| value.as_str().unwrap_or_default().to_string();
    let mut found = Vec::new();
    for object in objects.as_array().unwrap() {
        for check in object["checks"].as_array().unwrap() {
            let bad = check["skipped"] != true && check["grade"].as_u64().unwrap() < 10;
            if bad {
                let name = text(&object["object_meta"]["name"]);
                found.push((text(&check["check"]["id"]), name, check["comments"].to_string()));
            }
        }
    }
    found
}

#[test]
fn a_policy_s_judge_finds_nothing_that_isn_t_argued() {
    let chart = Chart::write(&render(&plans::digits()));
    let mut met = Vec::new();
    for (case, sets) in CASES {
        for (check, object, said) in findings(&chart.render(&arguments(PRODUCTION.iter().chain(sets)))) {
            let accepted = ACCEPTED.iter().find(|(id, end, _)| *id == check && object.ends_with(end));
            assert!(accepted.is_some(), "{case}: {object}: {check}: {said}");
            met.push(check);
        }
    }
    for (check, _, reason) in ACCEPTED {
        assert!(met.iter().any(|met| met == check), "{check} no longer needs its reason: {reason}");
    }
}

#[test]
fn the_judge_sees_what_is_given_up() {
    let chart = Chart::write(&render(&plans::digits()));
    for (set, check) in [
        ("containerSecurityContext.readOnlyRootFilesystem=false", "container-security-context-readonlyrootfilesystem"),
        ("containerSecurityContext.privileged=true", "container-security-context-privileged"),
        ("resources.limits.memory=null", "container-resources"),
        ("networkPolicy.enabled=false", "pod-networkpolicy"),
        ("podDisruptionBudget.enabled=false", "deployment-has-poddisruptionbudget"),
        ("replicaCount=1", "deployment-replicas"),
        ("readinessProbe.enabled=false", "pod-probes"),
    ] {
        let found = findings(&chart.render(&arguments(PRODUCTION.iter().chain(&[set]))));
        let seen = found.iter().any(|(id, name, _)| id == check && !name.ends_with("-test"));
        assert!(seen, "{set}: {found:?}");
    }
}
