//! Monitors, rules and dashboards as helm renders them, judged by the tools that read them.

mod live;
mod service;
mod units;

use std::path::Path;
use std::process::Command;

use serde_json::{Value, json};

use crate::rules::{self, objects, the};
use crate::tools::{self, Chart};
use crate::{arguments, plans, render};

/// What the rules know the release by.
const JOB: &str = "release-digits";

fn chart() -> Chart {
    Chart::write(&render(&plans::digits()))
}

/// The objects with all of the monitoring, and some more values.
fn rendered(sets: &[&str]) -> Vec<Value> {
    let on = ["metrics.prometheusRule.enabled=true", "metrics.dashboards.enabled=true"];
    objects(&chart().render(&arguments(on.iter().chain(sets))))
}

/// The rules as a file that promtool and Prometheus read: JSON is YAML too.
fn write_rules(folder: &Path, objects: &[Value]) -> std::path::PathBuf {
    let file = folder.join("rules.yaml");
    std::fs::write(&file, the(objects, "PrometheusRule")["spec"].to_string()).unwrap();
    file
}

fn rule_list(objects: &[Value]) -> Vec<Value> {
    let groups = the(objects, "PrometheusRule")["spec"]["groups"].as_array().unwrap();
    groups.iter().flat_map(|group| group["rules"].as_array().unwrap().clone()).collect()
}

/// The dashboards, parsed.
fn dashboards(objects: &[Value]) -> Vec<Value> {
    let held = objects.iter().find(|object| object["metadata"]["name"] == format!("{JOB}-dashboards")).unwrap();
    let files = held["data"].as_object().unwrap().values();
    files.map(|text| serde_json::from_str(text.as_str().unwrap()).unwrap()).collect()
}

/// Runs promtool; gives what it said where it isn't content.
fn promtool(arguments: &[&str]) -> Result<(), String> {
    let output =
        Command::new("promtool").args(arguments).output().expect("this test needs promtool: run `tools/setup`");
    if output.status.success() {
        return Ok(());
    }
    Err(String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned())
}

#[test]
fn promtool_finds_no_fault_with_the_rules() {
    for sets in [
        &[][..],
        &["resources.limits.memory=2G", "metrics.prometheusRule.slo.latency.threshold=2500us"],
        &["resources.limits=null", "metrics.prometheusRule.slo.availability=0.99", "startupProbe.enabled=false"],
    ] {
        let folder = tempfile::tempdir().unwrap();
        let file = write_rules(folder.path(), &rendered(sets));
        let said = promtool(&["check", "rules", "--lint-fatal", file.to_str().unwrap()]);
        assert_eq!(said, Ok(()), "{sets:?}");
        let text = std::fs::read_to_string(&file).unwrap();
        let words = text.split('%').collect::<Vec<_>>();
        assert_eq!(words.len(), 1, "a word was left: {words:?}");
    }
}

#[test]
fn the_objectives_reach_the_rules() {
    let sets = [
        "metrics.prometheusRule.slo.availability=0.95",
        "metrics.prometheusRule.slo.latency.threshold=1s",
        "metrics.prometheusRule.slo.latency.objective=0.9",
        "batching.maxQueue=2000000",
        "resources.limits.memory=1.5Gi",
        "startupProbe.failureThreshold=30",
    ];
    let rules = rule_list(&rendered(&sets));
    let all = json!(rules).to_string();
    let own = format!("{{namespace=\\\"default\\\",job=\\\"{JOB}\\\"");
    for part in [
        "> 14.4 * (1 - 0.95)",
        "> 6 * (1 - 0.9)",
        "le=~\\\"1([.]0)?\\\"",
        "> 0.5 * 2000000",
        " / 1610612736 > 0.9",
        "> 0.8 * 300",
        "\"for\":\"600s\"",
        "took more than 1s; the objective is 0.9 ",
        &own,
    ] {
        assert!(all.contains(part), "{part} in {all}");
    }
    assert!(!all.contains("runbook_url"));
}

#[test]
fn alerts_can_be_labelled_led_to_their_page_and_left_out() {
    let sets = [
        "metrics.prometheusRule.alertLabels.team=ml",
        "metrics.prometheusRule.alertLabels.severity=none",
        "metrics.prometheusRule.runbookUrl=https://docs.example.com/alerts.html",
        "metrics.prometheusRule.disabled={NimifyDown,NimifyErrorBudgetBurn}",
        "resources.limits=null",
    ];
    let rules = rule_list(&rendered(&sets));
    let alerts: Vec<&Value> = rules.iter().filter(|rule| rule.get("alert").is_some()).collect();
    for alert in &alerts {
        assert_eq!(alert["labels"]["team"], "ml");
        assert_ne!(alert["labels"]["severity"], "none", "the chart's own label wins");
        let page = format!("https://docs.example.com/alerts.html#{}", alert["alert"].as_str().unwrap().to_lowercase());
        assert_eq!(alert["annotations"]["runbook_url"], page);
    }
    // Without a limit there is nothing to be near to.
    let absent = ["NimifyDown", "NimifyErrorBudgetBurn", "NimifyMemoryNearLimit"];
    for name in nimify::chart::alert_names() {
        let there = alerts.iter().any(|alert| alert["alert"] == name);
        assert_eq!(there, !absent.contains(&name), "{name}");
    }
    // What is recorded stays: dashboards of one's own may use it.
    assert!(rules.iter().any(|rule| rule["record"] == "nimify:errors:ratio_rate5m"));
}

#[test]
fn what_is_no_alert_and_no_bound_of_the_histogram_is_refused() {
    for (set, said) in [
        ("metrics.prometheusRule.disabled={NimifyDwon}", "/metrics/prometheusRule/disabled"),
        ("metrics.prometheusRule.slo.latency.threshold=300ms", "/metrics/prometheusRule/slo/latency/threshold"),
        ("metrics.prometheusRule.slo.availability=99.9", "/metrics/prometheusRule/slo/availability"),
    ] {
        let refusal = chart().refusal(&["--set", set]).replace('.', "/");
        assert!(refusal.contains(said), "{set}: {refusal}");
    }
    let both = ["--set", "metrics.serviceMonitor.enabled=true,metrics.podMonitor.enabled=true"];
    assert!(chart().refusal(&both).contains("every pod would be counted twice"));
}

#[test]
fn either_monitor_finds_the_pods_of_both_parts_each_once() {
    for (value, kind, endpoints) in
        [("serviceMonitor", "ServiceMonitor", "endpoints"), ("podMonitor", "PodMonitor", "podMetricsEndpoints")]
    {
        let sets = [
            format!("metrics.{value}.enabled=true"),
            format!("metrics.{value}.additionalLabels.release=prometheus"),
            "canary.enabled=true".into(),
            "tls.secretName=digits-tls".into(),
        ];
        let sets: Vec<&str> = sets.iter().map(String::as_str).collect();
        let text = chart().render(&arguments(&sets));
        tools::kubeconform(&[(value.into(), text.clone())]).unwrap();
        let objects = objects(&text);
        rules::hold(&objects);
        let monitor = the(&objects, kind);
        assert_eq!(monitor["metadata"]["labels"]["release"], "prometheus");
        let chosen = monitor["spec"]["selector"]["matchLabels"].as_object().unwrap();
        for (name, component) in [(JOB.to_string(), "server"), (format!("{JOB}-canary"), "canary")] {
            let part = objects.iter().find(|o| o["kind"] == "Deployment" && o["metadata"]["name"] == name).unwrap();
            let labels = &part["spec"]["template"]["metadata"]["labels"];
            assert!(chosen.iter().all(|(key, value)| labels.get(key) == Some(value)), "{labels}");
            // By which `track` is told.
            assert_eq!(labels["app.kubernetes.io/component"], component);
        }
        let endpoint = &monitor["spec"][endpoints][0];
        assert_eq!(endpoint["scheme"], "https");
        let steps = endpoint["relabelings"].as_array().unwrap();
        assert_eq!(steps.iter().filter(|step| step["action"] == "keep").count(), usize::from(kind == "ServiceMonitor"));
        assert!(steps.contains(&json!({"action": "replace", "targetLabel": "job", "replacement": JOB})));
    }
}

#[test]
fn dashboards_are_addressed_by_release_and_show_it_first() {
    let sets = ["metrics.dashboards.folder=Models", "metrics.dashboards.annotations.a=b"];
    let here = rendered(&sets);
    let held = here.iter().find(|object| object["metadata"]["name"] == format!("{JOB}-dashboards")).unwrap();
    assert_eq!(held["metadata"]["annotations"], json!({"grafana_folder": "Models", "a": "b"}));
    assert_eq!(held["metadata"]["labels"]["grafana_dashboard"], "1");
    let other = rendered(&["fullnameOverride=other", "nameOverride=other"]);
    let other = other.iter().find(|object| object["metadata"]["name"] == "other-dashboards").unwrap();
    for dashboard in dashboards(&here) {
        let uid = dashboard["uid"].as_str().unwrap();
        assert!(uid.len() <= 40 && !other.to_string().contains(uid), "{uid}");
        assert!(dashboard["title"].as_str().unwrap().starts_with(JOB));
        let variables = dashboard["templating"]["list"].as_array().unwrap();
        let chosen = |name| &variables.iter().find(|v| v["name"] == name).unwrap()["current"]["value"];
        assert_eq!((chosen("namespace"), chosen("job")), (&json!(["default"]), &json!([JOB])));
        assert_eq!(chosen("instance"), &json!(["$__all"]));
        // Grafana's own words went through helm as they are.
        assert!(dashboard.to_string().contains("\"legendFormat\":\"{{instance}}\""));
    }
}

#[test]
fn each_alert_has_its_section_in_the_documentation_and_no_other_has_one() {
    let page = std::fs::read_to_string("docs/how-to/alerts.md").unwrap();
    let mut sections: Vec<&str> = page.lines().filter_map(|line| line.strip_prefix("## ")).collect();
    sections.sort_unstable();
    assert_eq!(sections, nimify::chart::alert_names());
}
