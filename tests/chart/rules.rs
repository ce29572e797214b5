//! Rules that every render of the chart keeps, checked over the rendered objects.

use std::collections::BTreeSet;

use serde::Deserialize;
use serde_json::{Value, json};

/// The objects of a render.
pub(crate) fn objects(text: &str) -> Vec<Value> {
    serde_yaml::Deserializer::from_str(text)
        .map(|document| Value::deserialize(document).unwrap())
        .filter(|object| !object.is_null())
        .collect()
}

pub(crate) fn of_kind<'a>(objects: &'a [Value], kind: &str) -> Vec<&'a Value> {
    objects.iter().filter(|object| object["kind"] == kind).collect()
}

/// The one object of a kind.
pub(crate) fn the<'a>(objects: &'a [Value], kind: &str) -> &'a Value {
    match of_kind(objects, kind)[..] {
        [object] => object,
        ref several => panic!("{} of {kind}", several.len()),
    }
}

/// What the service reads from its environment; other ConfigMaps hold none of it.
pub(crate) fn settings(objects: &[Value]) -> &Value {
    let held: Vec<&Value> = of_kind(objects, "ConfigMap").into_iter().map(|object| &object["data"]).collect();
    let [settings] = held.iter().filter(|data| data.get("NIMIFY_PORT").is_some()).collect::<Vec<_>>()[..] else {
        panic!("settings once")
    };
    settings
}

/// Whether a label selector's `matchLabels` chooses something with these labels.
fn selects(selector: &Value, labels: &Value) -> bool {
    selector.as_object().unwrap().iter().all(|(key, value)| labels.get(key) == Some(value))
}

/// The objects of the stable part, and those of the canary.
pub(crate) fn parts(objects: &[Value]) -> (Vec<Value>, Vec<Value>) {
    let of_canary = |object: &&Value| {
        let name = object["metadata"]["name"].as_str().unwrap();
        name.trim_end_matches("-test").ends_with("-canary")
    };
    let (canary, stable): (Vec<&Value>, Vec<&Value>) = objects.iter().partition(of_canary);
    (stable.into_iter().cloned().collect(), canary.into_iter().cloned().collect())
}

/// All rules.
pub(crate) fn hold(objects: &[Value]) {
    let (stable, canary) = parts(objects);
    hold_for_a_part(&stable);
    if !canary.is_empty() {
        hold_for_a_part(&canary);
        apart(&stable, &canary);
    }
    let names: BTreeSet<_> =
        objects.iter().map(|o| (o["kind"].to_string(), o["metadata"]["name"].to_string())).collect();
    assert_eq!(names.len(), objects.len(), "two objects of one name: {names:?}");
}

/// Neither part's Deployment, budget or policy takes the other's pods for its own.
fn apart(stable: &[Value], canary: &[Value]) {
    for (part, other) in [(stable, canary), (canary, stable)] {
        let labels = &the(other, "Deployment")["spec"]["template"]["metadata"]["labels"];
        for object in part.iter().filter(|object| object["kind"] != "Service") {
            let selector = selector(object);
            assert!(selector.is_none_or(|selector| !selects(&selector, labels)), "{object}");
        }
    }
    let labels = &the(stable, "Deployment")["spec"]["template"]["metadata"]["labels"];
    assert!(!selects(&the(canary, "Service")["spec"]["selector"], labels));
    assert_eq!(the(canary, "Service")["spec"]["type"], "ClusterIP");
}

/// How an object chooses pods, if it does.
fn selector(object: &Value) -> Option<Value> {
    match object["kind"].as_str().unwrap() {
        "Service" => Some(object["spec"]["selector"].clone()),
        "Deployment" | "PodDisruptionBudget" => Some(object["spec"]["selector"]["matchLabels"].clone()),
        "NetworkPolicy" => Some(object["spec"]["podSelector"]["matchLabels"].clone()),
        _ => None,
    }
}

fn hold_for_a_part(objects: &[Value]) {
    let deployment = the(objects, "Deployment");
    let pod = &deployment["spec"]["template"];
    let test = the(objects, "Pod");
    restricted(&pod["spec"]);
    restricted(&test["spec"]);
    together(objects, pod, test);
    sized(objects, deployment);
    named(objects);
    closed(objects);
    stops_in_time(objects, &pod["spec"]);
    asks(&pod["spec"]);
    mounted(&pod["spec"]);
    mounted(&test["spec"]);
}

/// What is mounted is there, under one name and at one place.
fn mounted(pod: &Value) {
    let once = |list: &Value, key: &str| -> BTreeSet<String> {
        let all: Vec<&Value> = list.as_array().into_iter().flatten().map(|item| &item[key]).collect();
        let set: BTreeSet<String> = all.iter().map(|text| text.as_str().unwrap().to_string()).collect();
        assert_eq!(set.len(), all.len(), "{list}");
        set
    };
    let volumes = once(&pod["volumes"], "name");
    for container in ["initContainers", "containers"].iter().flat_map(|of| pod[of].as_array().into_iter().flatten()) {
        once(&container["volumeMounts"], "mountPath");
        for mount in container["volumeMounts"].as_array().into_iter().flatten() {
            assert!(volumes.contains(mount["name"].as_str().unwrap()), "{mount}");
        }
    }
}

/// The restricted Pod Security Standard, and what nimify promises besides: a read-only root, no token, no service links.
fn restricted(pod: &Value) {
    assert_eq!(pod["automountServiceAccountToken"], false);
    assert_eq!(pod["enableServiceLinks"], false);
    for host in ["hostNetwork", "hostPID", "hostIPC"] {
        assert_eq!(pod.get(host), None);
    }
    let security = &pod["securityContext"];
    assert_eq!(security["runAsNonRoot"], true);
    assert_ne!(security["runAsUser"], 0);
    assert_eq!(security["seccompProfile"]["type"], "RuntimeDefault");
    for volume in pod["volumes"].as_array().into_iter().flatten() {
        let kinds: Vec<&String> = volume.as_object().unwrap().keys().filter(|key| *key != "name").collect();
        let allowed = [
            "configMap",
            "csi",
            "downwardAPI",
            "emptyDir",
            "ephemeral",
            // Since 1.33, which is the first to mount images.
            "image",
            "persistentVolumeClaim",
            "projected",
            "secret",
        ];
        assert!(kinds.iter().all(|kind| allowed.contains(&kind.as_str())), "{volume}");
    }
    let first = pod["initContainers"].as_array().into_iter().flatten();
    for container in first.chain(pod["containers"].as_array().unwrap()) {
        let security = &container["securityContext"];
        assert_eq!(security["allowPrivilegeEscalation"], false);
        assert_eq!(security["readOnlyRootFilesystem"], true);
        assert_eq!(security["capabilities"], json!({"drop": ["ALL"]}));
        assert_eq!(security.get("privileged"), None);
        assert!(container["resources"]["limits"].get("memory").is_some(), "{container}");
        for port in container["ports"].as_array().into_iter().flatten() {
            assert_eq!(port.get("hostPort"), None);
        }
    }
}

/// Whatever selects pods selects the service's, and none selects those of the test.
fn together(objects: &[Value], pod: &Value, test: &Value) {
    let labels = &pod["metadata"]["labels"];
    for selector in objects.iter().filter_map(selector) {
        assert!(selects(&selector, labels), "{selector} doesn't select {labels}");
        assert!(!selects(&selector, &test["metadata"]["labels"]), "{selector} selects the test's pod");
    }
    let service = the(objects, "Service");
    for monitor in of_kind(objects, "ServiceMonitor") {
        assert!(selects(&monitor["spec"]["selector"]["matchLabels"], &service["metadata"]["labels"]));
        let port = &monitor["spec"]["endpoints"][0]["port"];
        assert!(service["spec"]["ports"].as_array().unwrap().iter().any(|p| &p["name"] == port), "{port}");
    }
    let ports = pod["spec"]["containers"][0]["ports"].as_array().unwrap();
    for port in service["spec"]["ports"].as_array().unwrap() {
        assert!(ports.iter().any(|p| p["name"] == port["targetPort"]), "{port}");
    }
    let account = &pod["spec"]["serviceAccountName"];
    for made in of_kind(objects, "ServiceAccount") {
        assert_eq!(&made["metadata"]["name"], account);
        assert_eq!(made["automountServiceAccountToken"], false);
    }
}

/// Either an autoscaler or a fixed number of pods; a budget only for more than one.
fn sized(objects: &[Value], deployment: &Value) {
    let (own, keda) = (of_kind(objects, "HorizontalPodAutoscaler"), of_kind(objects, "ScaledObject"));
    let scalers = [&own[..], &keda].concat();
    assert!(scalers.len() < 2, "two scalers would pull at the same pods");
    let replicas = deployment["spec"].get("replicas");
    assert_eq!(scalers.is_empty(), replicas.is_some());
    let most = scalers.first().map_or_else(
        || replicas.unwrap(),
        |scaler| {
            let spec = &scaler["spec"];
            spec.get("maxReplicas").unwrap_or(&spec["maxReplicaCount"])
        },
    );
    for scaler in &scalers {
        assert_eq!(scaler["spec"]["scaleTargetRef"]["name"], deployment["metadata"]["name"]);
    }
    let budgets = of_kind(objects, "PodDisruptionBudget");
    assert!(budgets.is_empty() || most.as_u64().unwrap() > 1);
}

/// A policy is about both directions, and opens the way out to nobody who isn't named.
fn closed(objects: &[Value]) {
    for policy in of_kind(objects, "NetworkPolicy") {
        assert_eq!(policy["spec"]["policyTypes"], json!(["Ingress", "Egress"]));
        for rule in policy["spec"]["egress"].as_array().unwrap() {
            assert!(rule["to"].as_array().is_some_and(|to| !to.is_empty()), "{rule}");
        }
    }
}

/// Names are DNS labels and labels have values that Kubernetes takes: schemas don't check either.
fn named(objects: &[Value]) {
    let word_of = |text: &str, most: usize| {
        let inner = |c: char| c.is_ascii_alphanumeric() || "-_.".contains(c);
        text.len() <= most
            && text.chars().all(inner)
            && !text.starts_with(['-', '_', '.'])
            && !text.ends_with(['-', '_', '.'])
    };
    for object in objects {
        let name = object["metadata"]["name"].as_str().unwrap();
        // The name of such an object is part of no other, and as long as Kubernetes takes.
        let most = if object["kind"] == "SecretProviderClass" { 253 } else { 63 };
        assert!(word_of(name, most) && !name.contains(['_', '.']) && name == name.to_lowercase(), "{name}");
        let pod = object.pointer("/spec/template/metadata/labels");
        for labels in [object["metadata"].get("labels"), pod].into_iter().flatten() {
            for (key, value) in labels.as_object().unwrap() {
                assert!(word_of(value.as_str().unwrap(), 63), "{key}: {value}");
            }
            for key in ["name", "instance", "version", "component", "managed-by"] {
                assert!(labels.get(format!("app.kubernetes.io/{key}")).is_some(), "{key} in {labels}");
            }
        }
    }
}

/// Kubernetes waits for longer than the service takes to drain.
fn stops_in_time(objects: &[Value], pod: &Value) {
    let settings = settings(objects);
    let seconds =
        |name: &str| nimify_runtime::settings::duration::parse(settings[name].as_str().unwrap()).unwrap().as_secs_f64();
    let drain = seconds("NIMIFY_DRAIN_DELAY") + seconds("NIMIFY_DRAIN_TIMEOUT");
    assert!(pod["terminationGracePeriodSeconds"].as_f64().unwrap() >= drain + 5.0);
}

/// Loading is waited for by the start-up probe; a live process is never asked about its model.
fn asks(pod: &Value) {
    let container = &pod["containers"][0];
    for (probe, path) in [
        ("startupProbe", "/v1/health/ready"),
        ("readinessProbe", "/v1/health/ready"),
        ("livenessProbe", "/v1/health/live"),
    ] {
        if let Some(probe) = container.get(probe) {
            let mut asked = probe["httpGet"].clone();
            let scheme = asked.as_object_mut().and_then(|asked| asked.remove("scheme"));
            assert_eq!(asked, json!({"path": path, "port": "http"}));
            // Under TLS every port speaks it.
            let protected = container["volumeMounts"].as_array().unwrap().iter().any(|mount| mount["name"] == "tls");
            assert_eq!(scheme, protected.then(|| json!("HTTPS")));
        }
    }
}
