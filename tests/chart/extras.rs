//! What a user adds: to the pods, to every object, to the release.

use serde_json::{Value, json};

use crate::rules::{self, the};
use crate::tools::{self, Chart};
use crate::{SWITCHES, arguments, objects, plans, render};

fn chart() -> Chart {
    Chart::write(&render(&plans::digits()))
}

fn rendered(chart: &Chart, sets: &[&str]) -> Vec<Value> {
    let objects = objects(&chart.render(&arguments(sets)));
    rules::hold(&objects);
    objects
}

#[test]
fn every_object_has_the_common_labels_and_annotations_and_keeps_its_own() {
    let chart = chart();
    let every: Vec<&str> = SWITCHES.iter().flat_map(|(_, sets, _)| *sets).copied().collect();
    let common = [
        "commonLabels.cost=ml",
        r"commonLabels.app\.kubernetes\.io/component=theirs",
        "commonAnnotations.contact=team",
    ];
    // What is one or the other, and so not among all together.
    let instead: [&[&str]; 3] = [
        &["autoscaling.prometheusAdapter.configMap=true"],
        &["autoscaling.scaler=keda", "autoscaling.keda.serverAddress=http://prometheus:9090"],
        &["metrics.serviceMonitor.enabled=false", "metrics.podMonitor.enabled=true"],
    ];
    let renders = instead.map(|instead| rendered(&chart, &[&every[..], &common, instead].concat()));
    // Those are the user's own.
    for object in renders.iter().flatten().filter(|object| object["metadata"]["name"] != "extra") {
        let (kind, name) = (&object["kind"], &object["metadata"]["name"]);
        let mut places = vec![&object["metadata"]];
        if kind == "Deployment" {
            places.push(&object["spec"]["template"]["metadata"]);
        }
        for place in places {
            assert_eq!(place["labels"]["cost"], "ml", "{kind} {name}");
            assert_ne!(place["labels"]["app.kubernetes.io/component"], "theirs", "{kind} {name}");
            assert_eq!(place["annotations"]["contact"], "team", "{kind} {name}");
        }
    }
    let own = &rendered(&chart, &["deploymentAnnotations.a=b"]);
    assert_eq!(the(own, "Deployment")["metadata"]["annotations"], json!({"a": "b"}));
}

#[test]
fn a_container_of_the_user_s_gets_the_chart_s_security_unless_it_has_its_own() {
    let chart = chart();
    let sets = [
        "extraContainers[0].name=one",
        "extraContainers[1].name=two",
        "extraContainers[1].securityContext.runAsUser=7",
        "initContainers.extraInit[0].name=three",
        "initContainers.extraInit[0].restartPolicy=Always",
        "model.source=initContainer",
        "model.initContainer.image=oras",
    ];
    let objects = objects(&chart.render(&arguments(&sets)));
    let pod = &the(&objects, "Deployment")["spec"]["template"]["spec"];
    let names = |containers: &str| -> Vec<String> {
        pod[containers].as_array().unwrap().iter().map(|c| c["name"].as_str().unwrap().to_string()).collect()
    };
    assert_eq!(names("containers"), ["service", "one", "two"]);
    assert_eq!(names("initContainers"), ["three", "model"]);
    let service = &pod["containers"][0]["securityContext"];
    assert_eq!(service.get("runAsUser"), None, "the chart's own stays what it is");
    assert_eq!(&pod["containers"][1]["securityContext"], service);
    assert_eq!(pod["containers"][2]["securityContext"], json!({"runAsUser": 7}));
    assert_eq!(&pod["initContainers"][0]["securityContext"], service);
}

#[test]
fn a_stopping_pod_has_time_for_all_that_it_does_and_may_have_more_but_not_less() {
    let chart = chart();
    let grace = |sets: &[&str]| {
        let text = chart.render(&arguments(sets));
        tools::kubeconform_for(&[("grace".into(), text.clone())], &["1.37.0"]).unwrap();
        the(&objects(&text), "Deployment")["spec"]["template"]["spec"]["terminationGracePeriodSeconds"].clone()
    };
    let needed = grace(&[]).as_u64().unwrap();
    assert_eq!(grace(&["lifecycle.preStop.sleep.seconds=7"]), needed + 7);
    let given = |more: u64| format!("terminationGracePeriodSeconds={}", needed + more - 1);
    assert_eq!(grace(&[&given(100)]), needed + 99);
    assert_eq!(grace(&[&given(1)]), needed);
    for sets in [
        &[&given(0)[..]][..],
        &[&given(1), "lifecycle.preStop.sleep.seconds=1"],
        &[&given(20), "server.drainTimeout=2h"],
    ] {
        assert!(chart.refusal(&arguments(sets)).contains("set it to auto"), "{sets:?}");
    }
}

#[test]
fn the_texts_of_further_objects_are_templates() {
    let chart = chart();
    let values = json!({"extraObjects": [
        {
            "apiVersion": "v1",
            "kind": "ConfigMap",
            "metadata": {"name": r#"{{ include "nimify.fullname" . }}-more"#},
            "data": {"port": "{{ .Values.service.port }}"},
        },
        {"apiVersion": "v1", "kind": "LimitRange", "metadata": {"name": "limits"}},
    ]});
    let file = chart.path().join("values-of-the-test.yaml");
    std::fs::write(&file, values.to_string()).unwrap();
    let objects = objects(&chart.render(&["--values", file.to_str().unwrap()]));
    let more = objects.iter().find(|object| object["metadata"]["name"] == "release-digits-more").unwrap();
    assert_eq!(more["data"], json!({"port": "8000"}));
    the(&objects, "LimitRange");
}
