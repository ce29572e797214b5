//! What the API server says to every switch of the chart, in a namespace that admits restricted pods alone. Nothing is
//! made: each object is sent to be judged.

use std::fs;
use std::process::Command;

use serde::Deserialize;
use serde_json::{Value, json};

use crate::cluster::{Cluster, Namespace};
use crate::judges::tool;

#[path = "../chart/switches.rs"]
mod switches;

/// Groups of Kubernetes itself: those of others would have to be installed.
const OWN: [&str; 6] =
    ["v1", "apps/v1", "autoscaling/v2", "networking.k8s.io/v1", "policy/v1", "rbac.authorization.k8s.io/v1"];

/// The objects of the chart's template with one switch.
fn rendered(namespace: &Namespace, sets: &[&str]) -> Vec<Value> {
    let mut helm = Command::new(tool("bin/helm"));
    helm.args(["template", "release", "charts-template", "--namespace", &namespace.name]);
    helm.args(sets.iter().flat_map(|set| ["--set", set]));
    let output = helm.output().unwrap();
    assert!(output.status.success(), "{sets:?}: {}", String::from_utf8_lossy(&output.stderr));
    serde_yaml::Deserializer::from_slice(&output.stdout)
        .map(|document| Value::deserialize(document).unwrap())
        .filter(|object| OWN.contains(&object["apiVersion"].as_str().unwrap_or_default()))
        .collect()
}

/// The pod that a Deployment would make; what it names and the cluster lacks is left out, as that is refused as such.
fn pod(deployment: &Value) -> Value {
    let mut spec = deployment["spec"]["template"]["spec"].clone();
    for name in ["priorityClassName", "runtimeClassName", "serviceAccountName"] {
        spec.as_object_mut().unwrap().remove(name);
    }
    let name = format!("{}-pod", deployment["metadata"]["name"].as_str().unwrap());
    let metadata = json!({"name": name, "namespace": deployment["metadata"]["namespace"]});
    json!({"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": spec})
}

/// Whether the API server takes all of these, and what it says.
fn judged(cluster: &Cluster, objects: &[Value]) -> (bool, String) {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("objects.json");
    fs::write(&file, json!({"apiVersion": "v1", "kind": "List", "items": objects}).to_string()).unwrap();
    let mut kubectl = cluster.kubectl();
    kubectl.args(["create", "--dry-run=server", "--validate=strict", "--output", "name", "--filename"]).arg(&file);
    let output = kubectl.output().unwrap();
    (output.status.success(), String::from_utf8_lossy(&output.stderr).into_owned())
}

#[test]
fn every_switch_of_the_chart_is_admitted_among_restricted_pods() {
    let cluster = Cluster::get();
    let labels = ["pod-security.kubernetes.io/enforce=restricted", "pod-security.kubernetes.io/warn=restricted"];
    let namespace = cluster.namespace(&labels);
    let mut objects = Vec::new();
    for (_, sets, _) in switches::SWITCHES {
        let mut of_switch = rendered(&namespace, sets);
        // The test's pod has the release's account, which isn't there yet.
        for object in of_switch.iter_mut().filter(|object| object["kind"] == "Pod") {
            object["spec"].as_object_mut().unwrap().remove("serviceAccountName");
        }
        let pods: Vec<Value> = of_switch.iter().filter(|object| object["kind"] == "Deployment").map(pod).collect();
        objects.extend(of_switch);
        objects.extend(pods);
    }
    let (taken, said) = judged(cluster, &objects);
    assert!(taken && !said.contains("violate"), "{said}");

    let mut wrong = rendered(&namespace, &[]).iter().find(|object| object["kind"] == "Deployment").map(pod).unwrap();
    wrong["spec"]["containers"][0]["securityContext"]["allowPrivilegeEscalation"] = true.into();
    let (taken, said) = judged(cluster, &[wrong]);
    assert!(!taken && said.contains("violates PodSecurity"), "{said}");
}
