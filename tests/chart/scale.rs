//! Where the pods run, what they ask for, and how one version follows another.

use serde_json::{Value, json};

use crate::rules::{self, objects, of_kind, the};
use crate::tools::Chart;
use crate::{arguments, plans, render};

fn rendered(sets: &[&str]) -> Vec<Value> {
    objects(&Chart::write(&render(&plans::digits())).render(&arguments(sets)))
}

fn spec(objects: &[Value]) -> Value {
    the(objects, "Deployment")["spec"].clone()
}

#[test]
fn a_pod_asks_for_the_gpu_that_the_plan_counts_on_and_goes_where_one_is() {
    let mut plan = plans::digits();
    plan.resources.gpus = 1;
    let chart = Chart::write(&render(&plan));
    let sets = ["model.source=initContainer", "model.initContainer.image=oras", "tolerations[0].key=own"];
    let rendered = objects(&chart.render(&arguments(&sets)));
    rules::hold(&rendered);
    let pod = &spec(&rendered)["template"]["spec"];
    let resources = &pod["containers"][0]["resources"];
    for part in ["requests", "limits"] {
        assert_eq!(resources[part]["nvidia.com/gpu"], 1, "{resources}");
    }
    let keys: Vec<_> = pod["tolerations"].as_array().unwrap().iter().map(|t| t["key"].as_str().unwrap()).collect();
    assert_eq!(keys, ["own", "nvidia.com/gpu"]);
    // What fetches the model and what tests the release need none.
    for container in [&pod["initContainers"][0], &the(&rendered, "Pod")["spec"]["containers"][0]] {
        assert!(!container.to_string().contains("nvidia.com/gpu"), "{container}");
    }

    let part = ["gpu.count=2", "gpu.resourceName=nvidia.com/mig-1g.10gb", "runtimeClassName=nvidia"];
    let pod = spec(&objects(&chart.render(&arguments(&part))))["template"]["spec"].clone();
    assert_eq!(pod["containers"][0]["resources"]["limits"]["nvidia.com/mig-1g.10gb"], 2);
    assert_eq!(pod["runtimeClassName"], "nvidia");

    let none = spec(&objects(&chart.render(&["--set", "gpu.count=0"])))["template"]["spec"].clone();
    assert!(!none.to_string().contains("nvidia"), "{none}");
}

#[test]
fn pods_that_may_be_taken_back_tolerate_the_clouds_taints() {
    assert_eq!(spec(&rendered(&[]))["template"]["spec"].get("tolerations"), None);
    let tolerations = spec(&rendered(&["spot.enabled=true"]))["template"]["spec"]["tolerations"].clone();
    assert_eq!(tolerations.as_array().unwrap().len(), 2, "{tolerations}");
}

#[test]
fn pods_of_one_version_spread_over_zones_and_nodes() {
    let spread = |sets: &[&str]| {
        let objects = rendered(sets);
        let labels = spec(&objects)["template"]["metadata"]["labels"].clone();
        (spec(&objects)["template"]["spec"]["topologySpreadConstraints"].clone(), labels)
    };
    let (constraints, labels) = spread(&[]);
    let constraints = constraints.as_array().unwrap();
    assert_eq!(constraints.len(), 2);
    for constraint in constraints {
        assert_eq!(constraint["whenUnsatisfiable"], "ScheduleAnyway", "a lone node takes all pods");
        assert_eq!(constraint["matchLabelKeys"], json!(["pod-template-hash"]));
        for (key, value) in constraint["labelSelector"]["matchLabels"].as_object().unwrap() {
            assert_eq!(labels[key], *value);
        }
    }
    let own = ["topologySpreadConstraints[0].labelSelector.matchLabels.a=b"];
    assert_eq!(spread(&own).0[0]["labelSelector"], json!({"matchLabels": {"a": "b"}}));
    assert_eq!(spread(&own).0[0].get("matchLabelKeys"), None);
    let none = Chart::write(&render(&plans::digits())).render(&["--set-json", "topologySpreadConstraints=[]"]);
    assert_eq!(spec(&objects(&none))["template"]["spec"].get("topologySpreadConstraints"), None);
}

#[test]
fn a_rollout_brings_the_new_before_it_takes_the_old_and_waits_for_as_long_as_a_start_may_take() {
    let spec_of = |sets: &[&str]| spec(&rendered(sets));
    let default = spec_of(&[]);
    assert_eq!(default["strategy"]["rollingUpdate"], json!({"maxUnavailable": 0, "maxSurge": 1}));
    assert_eq!((&default["minReadySeconds"], &default["progressDeadlineSeconds"]), (&json!(5), &json!(600)));
    // What was taken in is answered: a request may take as long while draining as it may at all.
    assert_eq!(default["template"]["spec"]["terminationGracePeriodSeconds"], 5 + 30 + 5);
    let slow = spec_of(&["startupProbe.failureThreshold=200"]);
    assert_eq!(slow["progressDeadlineSeconds"], 2 * 2000 + 300 + 5);
    assert_eq!(spec_of(&["progressDeadlineSeconds=900"])["progressDeadlineSeconds"], 900);
    assert_eq!(spec_of(&["startupProbe.enabled=false"])["progressDeadlineSeconds"], 600);
    // Without a shell or a `sleep` in the image, the server itself goes on for the drain delay.
    assert_eq!(default["template"]["spec"]["containers"][0].get("lifecycle"), None);
    let of_plan = objects(&Chart::write(&render(&plans::unusual())).render(&[]));
    assert_eq!(the(&of_plan, "ConfigMap")["data"]["NIMIFY_DRAIN_TIMEOUT"], "90s", "what was asked for stays");
}

#[test]
fn maintenance_takes_pods_one_by_one_wherever_several_may_run() {
    let budget = |sets: &[&str]| of_kind(&rendered(sets), "PodDisruptionBudget").first().map(|b| b["spec"].clone());
    assert_eq!(budget(&[]), None);
    let scaled = budget(&["autoscaling.enabled=true", "autoscaling.minReplicas=1"]).unwrap();
    // Of one pod, one may be missing: its node can be emptied.
    assert_eq!(scaled["maxUnavailable"], 1);
    assert!(budget(&["replicaCount=2"]).is_some());
    assert_eq!(budget(&["autoscaling.enabled=true", "autoscaling.maxReplicas=1"]), None);
    assert_eq!(budget(&["replicaCount=2", "podDisruptionBudget.enabled=false"]), None);
}
