//! Reasons on objects as Kubernetes writes them.

use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;

const IMAGE: &str =
    "registry.example.com/ml/digits@sha256:0f1e2d3c4b5a69788796a5b4c3d2e1f00f1e2d3c4b5a69788796a5b4c3d2e1f0";

/// A Deployment of two pods at its second revision, of which one is made and `pod` is its status.
fn seen(pod: Value) -> Seen {
    let owner = |kind: &str, name: &str, uid: &str| json!([{"apiVersion": "apps/v1", "kind": kind, "name": name, "uid": uid, "controller": true}]);
    let set = |revision: &str, uid: &str| {
        json!({
            "metadata": {
                "name": format!("digits-{uid}"), "uid": uid, "creationTimestamp": "2026-11-21T10:00:00Z",
                "annotations": {"deployment.kubernetes.io/revision": revision},
                "ownerReferences": owner("Deployment", "digits", "d"),
            },
            "status": {"replicas": 1, "observedGeneration": 1},
        })
    };
    let pod = json!({
        "metadata": {
            "name": "digits-6c9f7d-x2x4p", "uid": "p", "creationTimestamp": "2026-11-21T10:00:00Z",
            "ownerReferences": owner("ReplicaSet", "digits-new", "new"),
        },
        "status": pod,
    });
    let old = json!({
        "metadata": {"name": "digits-old-1", "ownerReferences": owner("ReplicaSet", "digits-old", "old")},
        "status": {"phase": "Running", "conditions": [{"type": "Ready", "status": "True"}]},
    });
    Seen {
        deployment: json!({
            "metadata": {
                "name": "digits", "uid": "d", "generation": 4,
                "annotations": {"deployment.kubernetes.io/revision": "2"},
            },
            "spec": {"replicas": 2, "selector": {"matchLabels": {"app.kubernetes.io/name": "digits"}}},
            "status": {
                "observedGeneration": 4, "replicas": 3, "updatedReplicas": 1, "readyReplicas": 2, "availableReplicas": 2,
                "conditions": [
                    {"type": "Available", "status": "True", "reason": "MinimumReplicasAvailable"},
                    {"type": "Progressing", "status": "True", "reason": "ReplicaSetUpdated"},
                ],
            },
        }),
        replica_sets: vec![set("1", "old"), set("2", "new")],
        pods: vec![old, pod],
        events: Vec::new(),
    }
}

/// The status of a pod whose only container has this state.
fn container(state: Value, restarts: u64, last: Value) -> Value {
    json!({
        "phase": "Pending",
        "conditions": [
            {"type": "PodScheduled", "status": "True"},
            {"type": "Ready", "status": "False", "reason": "ContainersNotReady"},
        ],
        "containerStatuses": [{
            "name": "service", "image": IMAGE, "imageID": "", "ready": false, "started": false,
            "restartCount": restarts, "state": state, "lastState": last,
        }],
    })
}

fn event(reason: &str, message: &str, time: &str) -> Value {
    json!({
        "involvedObject": {"kind": "Pod", "name": "digits-6c9f7d-x2x4p", "fieldPath": "spec.containers{service}"},
        "reason": reason, "message": message, "type": "Warning", "lastTimestamp": time,
    })
}

fn told(seen: &Seen) -> (Kind, String, String) {
    let reason = reason(seen);
    (reason.kind, reason.cause, reason.advice)
}

#[test]
fn an_image_that_the_registry_does_not_have() {
    let message = format!(
        "rpc error: code = NotFound desc = failed to pull and unpack image \"{IMAGE}\": failed to resolve reference \
         \"{IMAGE}\": {IMAGE}: not found"
    );
    let seen_now = seen(container(json!({"waiting": {"reason": "ErrImagePull", "message": message}}), 0, json!({})));
    let (kind, cause, advice) = told(&seen_now);
    assert_eq!(kind, Kind::ImagePull);
    assert!(cause.starts_with(&format!("the image `{IMAGE}` can't be pulled: failed to pull and unpack")), "{cause}");
    assert!(cause.ends_with("not found") && advice.contains("nimify push"), "{advice}");
    assert_eq!(reason(&seen_now).pod.as_deref(), Some("digits-6c9f7d-x2x4p"));

    // Between two tries an older node says no more than that; the event has the words.
    let back_off =
        json!({"waiting": {"reason": "ImagePullBackOff", "message": format!("Back-off pulling image \"{IMAGE}\"")}});
    let mut seen = seen(container(back_off, 0, json!({})));
    seen.events = vec![
        event("Failed", "Error: ImagePullBackOff", "2026-11-21T10:00:03Z"),
        event("Failed", &format!("Failed to pull image \"{IMAGE}\": {message}"), "2026-11-21T10:00:02Z"),
    ];
    assert!(told(&seen).1.ends_with("not found"), "{:?}", told(&seen));
}

#[test]
fn each_trouble_with_a_registry_has_its_advice() {
    for (words, advice) in [
        (
            "failed to authorize: failed to fetch anonymous token: unexpected status: 401 Unauthorized",
            "imagePullSecrets",
        ),
        ("pull access denied, repository does not exist or may require authorization", "imagePullSecrets"),
        ("dial tcp: lookup registry.example.com: no such host", "reach the registry"),
        ("tls: failed to verify certificate: x509: certificate signed by unknown authority", "certificate authority"),
        ("no match for platform in manifest: not found", "another processor"),
        ("write /var/lib/containerd/x: no space left on device", "disk is full"),
    ] {
        let state = json!({"waiting": {"reason": "ErrImagePull", "message": words}});
        let (kind, _, said) = told(&seen(container(state, 0, json!({}))));
        assert_eq!(kind, Kind::ImagePull);
        assert!(said.contains(advice), "{words}: {said}");
    }
}

#[test]
fn a_container_that_ends_again_and_again() {
    let waiting = json!({"waiting": {
        "reason": "CrashLoopBackOff", "message": "back-off 40s restarting failed container=service pod=digits-6c9f7d-x2x4p_ml(…)",
    }});
    let last = json!({"terminated": {"exitCode": 1, "reason": "Error", "startedAt": "2026-11-21T10:00:00Z"}});
    let seen_now = seen(container(waiting.clone(), 3, last));
    let found = reason(&seen_now);
    assert_eq!(found.cause, "container `service` ended with exit code 1, and was started again 3 times");
    assert_eq!((found.kind, found.patience), (Kind::Crash, Some(Duration::ZERO)));
    assert_eq!(found.container.as_deref(), Some("service"));

    let last = json!({"terminated": {"exitCode": 137, "reason": "OOMKilled"}});
    let (kind, cause, advice) = told(&seen(container(waiting.clone(), 2, last)));
    assert_eq!(kind, Kind::OutOfMemory);
    assert!(cause.contains("needs more memory than its limit") && advice.contains("limits.memory"), "{cause} {advice}");

    let last = json!({"terminated": {"exitCode": 132, "reason": "Error"}});
    let (_, cause, _) = told(&seen(container(waiting, 1, last)));
    assert!(cause.contains("SIGILL: an instruction that the node's processor doesn't have"), "{cause}");
}

#[test]
fn an_image_for_another_processor() {
    let state = json!({"terminated": {
        "exitCode": 128, "reason": "StartError",
        "message": "failed to create containerd task: exec: \"/nimify-serve\": exec format error",
    }});
    let (kind, _, advice) = told(&seen(container(state, 1, json!({}))));
    assert_eq!(kind, Kind::CannotStart);
    assert!(advice.contains("another processor"), "{advice}");
}

#[test]
fn a_secret_that_is_not_there() {
    let state =
        json!({"waiting": {"reason": "CreateContainerConfigError", "message": "secret \"digits-api-key\" not found"}});
    let (kind, cause, advice) = told(&seen(container(state, 0, json!({}))));
    assert_eq!(kind, Kind::Configuration);
    assert_eq!(cause, "container `service` can't be made: secret \"digits-api-key\" not found");
    assert!(advice.contains("make the Secret"), "{advice}");

    let mut seen = seen(container(json!({"waiting": {"reason": "ContainerCreating"}}), 0, json!({})));
    seen.events = vec![event(
        "FailedMount",
        "MountVolume.SetUp failed for volume \"tls\" : secret \"cert\" not found",
        "2026-11-21T10:00:09Z",
    )];
    let (kind, cause, _) = told(&seen);
    assert_eq!(kind, Kind::Volume);
    assert!(cause.ends_with("secret \"cert\" not found"), "{cause}");
}

#[test]
fn a_pod_that_no_node_takes() {
    for (message, part, advice) in [
        (
            "0/2 nodes are available: 2 Insufficient memory. preemption: 0/2 nodes are available: 2 No preemption victims found for incoming pod.",
            "0/2 nodes are available: 2 Insufficient memory.",
            "resources.requests",
        ),
        ("0/2 nodes are available: 2 Insufficient nvidia.com/gpu.", "nvidia.com/gpu", "GPU"),
        ("0/2 nodes are available: 2 node(s) had untolerated taint(s).", "taint", "tolerations"),
        ("0/2 nodes are available: 2 node(s) didn't match Pod's node affinity/selector.", "selector", "nodeSelector"),
        ("0/2 nodes are available: pod has unbound immediate PersistentVolumeClaims.", "unbound", "describe pvc"),
    ] {
        let status = json!({"phase": "Pending", "conditions": [
            {"type": "PodScheduled", "status": "False", "reason": "Unschedulable", "message": message},
        ]});
        let found = reason(&seen(status));
        assert_eq!((found.kind, found.patience), (Kind::Unschedulable, None));
        assert!(found.cause.contains(part) && !found.cause.contains("preemption"), "{}", found.cause);
        assert!(found.advice.contains(advice), "{message}: {}", found.advice);
    }
}

#[test]
fn a_probe_that_is_not_answered() {
    let running = json!({"running": {"startedAt": "2026-11-21T10:00:01Z"}});
    let mut seen = seen(container(running.clone(), 0, json!({})));
    assert_eq!(told(&seen).0, Kind::Starting);
    seen.events = vec![
        event("Unhealthy", "Startup probe failed: HTTP probe failed with statuscode: 503", "2026-11-21T10:00:20Z"),
        event(
            "Unhealthy",
            "Startup probe failed: Get \"http://10.1.2.3:8000/v1/health/ready\": dial tcp 10.1.2.3:8000: connect: connection refused",
            "2026-11-21T10:00:10Z",
        ),
    ];
    let (kind, cause, advice) = told(&seen);
    assert_eq!(kind, Kind::NotReady);
    assert!(cause.ends_with("Startup probe failed: HTTP probe failed with statuscode: 503"), "{cause}");
    assert!(advice.contains("loads its model"), "{advice}");

    // The node killed it for that: the probe is the reason, not the exit code.
    let last = json!({"terminated": {"exitCode": 137, "reason": "Error"}});
    let events =
        [event("Killing", "Container service failed startup probe, will be restarted", "2026-11-21T10:01:00Z")];
    seen.events.extend(events);
    seen.pods[1]["status"] = container(running, 3, last);
    let found = reason(&seen);
    assert_eq!((found.kind, found.patience), (Kind::NotReady, Some(Duration::ZERO)));
    assert!(found.cause.contains("and the node started it anew"), "{}", found.cause);
}

#[test]
fn pods_that_may_not_be_made() {
    for (message, kind) in [
        (
            "pods \"digits-6c9f7d-x2x4p\" is forbidden: exceeded quota: compute, requested: requests.memory=512Mi, used: requests.memory=768Mi, limited: requests.memory=1Gi",
            Kind::Quota,
        ),
        (
            "pods \"digits-6c9f7d-x2x4p\" is forbidden: violates PodSecurity \"restricted:latest\": runAsNonRoot != true (pod or container \"service\" must set securityContext.runAsNonRoot=true)",
            Kind::PodSecurity,
        ),
        ("admission webhook \"validate.kyverno.svc\" denied the request: policy require-labels", Kind::Denied),
        (
            "pods \"digits-6c9f7d-\" is forbidden: error looking up service account ml/digits: serviceaccount \"digits\" not found",
            Kind::NotCreated,
        ),
    ] {
        let mut seen = seen(json!({}));
        seen.pods.clear();
        seen.replica_sets[1]["status"]["conditions"] =
            json!([{"type": "ReplicaFailure", "status": "True", "reason": "FailedCreate", "message": message}]);
        let found = reason(&seen);
        assert_eq!(found.kind, kind, "{message}");
        assert!(found.cause.ends_with(message) && found.patience.is_some(), "{}", found.cause);
    }
}

#[test]
fn what_is_not_a_fault_is_told_apart() {
    let mut done = seen(json!({"phase": "Running", "conditions": [{"type": "Ready", "status": "True"}]}));
    assert_eq!(progress(&done), Progress { ready: 1, wanted: 2, done: false });
    done.deployment["status"] =
        json!({"observedGeneration": 4, "replicas": 2, "updatedReplicas": 2, "availableReplicas": 2});
    assert_eq!(progress(&done), Progress { ready: 2, wanted: 2, done: true });
    done.deployment["metadata"]["generation"] = json!(5);
    assert!(!progress(&done).done);
    assert_eq!(told(&done).1, "the cluster hasn't taken notice of the new version yet");

    let mut ending = seen(json!({"conditions": [{"type": "Ready", "status": "True"}]}));
    ending.deployment["status"] =
        json!({"observedGeneration": 4, "replicas": 3, "updatedReplicas": 2, "availableReplicas": 2});
    assert_eq!(told(&ending).0, Kind::OldPods);
    ending.deployment["spec"]["paused"] = json!(true);
    assert_eq!(told(&ending).0, Kind::Paused);
    assert_eq!(told(&Seen::default()).0, Kind::Missing);
    assert!(!progress(&Seen::default()).done);
}

#[test]
fn what_was_wrong_with_the_version_before_is_not_held_against_this_one() {
    let waiting = json!({"waiting": {"reason": "CrashLoopBackOff"}});
    let mut seen = seen(container(waiting, 5, json!({"terminated": {"exitCode": 1}})));
    assert_eq!(told(&seen).0, Kind::Crash);
    // It was rolled back a moment ago, and the controller hasn't seen that yet.
    seen.deployment["metadata"]["generation"] = json!(5);
    let found = reason(&seen);
    assert_eq!((found.kind, found.patience), (Kind::Starting, None));
    // The first version runs again, in the ReplicaSet that it ran in, while the pods of the second are there.
    seen.deployment["status"]["observedGeneration"] = json!(5);
    seen.deployment["metadata"]["annotations"]["deployment.kubernetes.io/revision"] = json!("3");
    seen.replica_sets[0]["metadata"]["annotations"]["deployment.kubernetes.io/revision"] = json!("3");
    seen.deployment["status"]["conditions"] =
        json!([{"type": "ReplicaFailure", "status": "True", "message": "exceeded quota: of the second"}]);
    assert_eq!(told(&seen).0, Kind::OldPods);
}

#[test]
fn what_explains_more_is_told() {
    // One pod waits for a node, another finds no image: the image explains why the version can't run anywhere.
    let state = json!({"waiting": {"reason": "ErrImagePull", "message": "not found"}});
    let mut seen = seen(container(state, 0, json!({})));
    let mut second = seen.pods[1].clone();
    second["metadata"]["name"] = json!("digits-6c9f7d-zzzzz");
    second["status"] = json!({"conditions": [{"type": "PodScheduled", "status": "False", "message": "0/1 nodes"}]});
    seen.pods.push(second);
    assert_eq!(told(&seen).0, Kind::ImagePull);
    // What a pod that is on its way out says is over.
    seen.pods[1]["metadata"]["deletionTimestamp"] = json!("2026-11-21T10:00:30Z");
    assert_eq!(told(&seen).0, Kind::Unschedulable);
}

#[test]
fn every_kind_has_its_section() {
    let page = std::fs::read_to_string("docs/how-to/when-a-rollout-fails.md").unwrap();
    for kind in Kind::ALL {
        let name = serde_json::to_value(kind).unwrap();
        assert!(page.contains(&format!("## `{}`", name.as_str().unwrap())), "no section for {name}");
    }
}

/// Any JSON, with the names that are looked for among its keys.
fn anything() -> impl Strategy<Value = Value> {
    let keys = prop::sample::select(vec![
        "metadata",
        "status",
        "spec",
        "name",
        "uid",
        "conditions",
        "type",
        "reason",
        "message",
        "items",
        "waiting",
        "containerStatuses",
        "state",
        "lastState",
        "terminated",
        "exitCode",
        "signal",
        "restartCount",
        "ownerReferences",
        "involvedObject",
        "fieldPath",
        "annotations",
        "deployment.kubernetes.io/revision",
        "replicas",
        "template",
        "containers",
        "image",
        "ready",
    ]);
    let words = prop::sample::select(vec![
        "ErrImagePull",
        "CrashLoopBackOff",
        "ReplicaFailure",
        "True",
        "False",
        "PodScheduled",
        "Unhealthy",
        "Killing",
        "service",
        "1",
        "Failed",
        "FailedMount",
        "é\u{1b}",
        "desc = ",
        "registry@sha256:0",
    ]);
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<u64>().prop_map(Value::from),
        words.prop_map(Value::from),
        ".{0,20}".prop_map(Value::from),
    ];
    leaf.prop_recursive(6, 60, 6, move |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            prop::collection::btree_map(keys.clone().prop_map(String::from), inner, 0..6)
                .prop_map(|map| Value::Object(map.into_iter().collect())),
        ]
    })
}

proptest! {
    #[test]
    fn no_object_makes_it_panic(deployment in anything(), status in anything(), other in anything()) {
        let mut known = seen(status);
        known.events = vec![other.clone()];
        reason(&known);
        super::super::running(&known);
        known.replica_sets.push(other.clone());
        known.deployment["status"] = deployment.clone();
        progress(&known);
        let unknown = Seen { deployment, replica_sets: vec![other.clone()], pods: vec![other.clone()], events: vec![other] };
        reason(&unknown);
        progress(&unknown);
        super::super::running(&unknown);
    }
}
