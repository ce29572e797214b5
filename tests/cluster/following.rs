//! nimify's own eyes on a cluster: what a rollout comes to and why, what runs, the lock, rights, a request through a
//! Service.

use std::io::{Read, Write};
use std::net::TcpListener;
use std::time::Duration;

use nimify::cluster::reason::Kind;
use nimify::cluster::{Bounds, Cluster as Eyes, Error, Failure, Part, Target, Unfinished, rights};
use serde_json::{Value, json};

use crate::cluster::{Cluster, Namespace};
use crate::made;

/// The connection of who may do everything.
fn eyes(namespace: &Namespace) -> Eyes {
    Eyes::connect_by(&[Cluster::get().kubeconfig.clone()], None, Some(&namespace.name)).unwrap()
}

/// Makes objects as `kubectl apply` does.
fn apply(namespace: &Namespace, object: &Value) {
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), object.to_string()).unwrap();
    let path = file.path().to_str().unwrap();
    Cluster::get().must(&["apply", "--namespace", &namespace.name, "--filename", path]);
}

/// A Deployment of one pod with this container.
fn deployment(name: &str, container: Value, pod: Value) -> Value {
    let mut spec = json!({"containers": [container], "automountServiceAccountToken": false});
    spec["containers"][0]["name"] = "service".into();
    for (key, value) in pod.as_object().into_iter().flatten() {
        spec[key] = value.clone();
    }
    let labels = json!({"app.kubernetes.io/name": name, "app.kubernetes.io/version": "1.2.0"});
    json!({
        "apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": name},
        "spec": {
            "replicas": 1, "selector": {"matchLabels": {"app.kubernetes.io/name": name}},
            "template": {"metadata": {"labels": labels}, "spec": spec},
        },
    })
}

/// How following this Deployment fails.
fn failure(namespace: &Namespace, object: &Value, seconds: u64) -> Failure {
    apply(namespace, object);
    let name = object["metadata"]["name"].as_str().unwrap().to_owned();
    match eyes(namespace).follow(&[name], Duration::from_secs(seconds), &mut |_| {}) {
        Err(Unfinished::Failed(failure)) => *failure,
        other => panic!("{other:?}"),
    }
}

/// An image that the nodes have.
fn image() -> String {
    static IMAGE: std::sync::OnceLock<String> = std::sync::OnceLock::new();
    IMAGE
        .get_or_init(|| {
            let reference = "registry.example.com/followed/digits:1";
            Cluster::get().load(&made::digits().at("digits"), &[reference]);
            reference.into()
        })
        .clone()
}

/// A registry that has nothing: it knows no image, and of those in `private/` it wants to know who asks. Its `HOST:PORT`
/// as nodes reach it.
fn empty_registry() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    Cluster::get().let_reach(address.port());
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let Ok(mut stream) = stream else { return };
            let mut request = [0; 8192];
            let read = stream.read(&mut request).unwrap_or(0);
            let private = String::from_utf8_lossy(&request[..read]).contains(" /v2/private/");
            let status = if private { "401 Unauthorized" } else { "404 Not Found" };
            let answer = format!("HTTP/1.1 {status}\r\ncontent-length: 0\r\nconnection: close\r\n\r\n");
            drop(stream.write_all(answer.as_bytes()));
        }
    });
    address.to_string()
}

#[test]
fn an_image_that_cannot_be_had_is_not_waited_for() {
    let namespace = Cluster::get().namespace(&[]);
    let registry = empty_registry();
    std::thread::scope(|scope| {
        for (name, image, words, advice) in [
            ("absent", format!("{registry}/none:1"), "not found", "nimify push"),
            ("private", format!("{registry}/private/none:1"), "401", "imagePullSecrets"),
        ] {
            let namespace = &namespace;
            scope.spawn(move || {
                let failure = failure(namespace, &deployment(name, json!({"image": image}), json!({})), 120);
                assert_eq!(failure.reason.kind, Kind::ImagePull, "{failure:#?}");
                assert!(failure.reason.cause.contains(words), "{failure:#?}");
                assert!(failure.reason.advice.contains(advice) && !failure.timed_out, "{failure:#?}");
            });
        }
    });
}

#[test]
fn each_fault_of_a_pod_is_told_by_its_reason() {
    let namespace = Cluster::get().namespace(&[]);
    let image = image();
    let with = |mut extra: Value| {
        extra["image"] = image.clone().into();
        extra["imagePullPolicy"] = "Never".into();
        // Without one, a container counts as ready as soon as it runs, for as short as that may be.
        if extra["readinessProbe"].is_null() {
            extra["readinessProbe"] =
                json!({"httpGet": {"path": "/v1/health/ready", "port": 8000}, "periodSeconds": 1});
        }
        extra
    };
    let probe = json!({"httpGet": {"path": "/nowhere", "port": 8000}, "periodSeconds": 1});
    let secret = json!([{"name": "TOKEN", "valueFrom": {"secretKeyRef": {"name": "no-such", "key": "token"}}}]);
    let cases = [
        (
            "never",
            json!({"image": "registry.invalid/none:1", "imagePullPolicy": "Never"}),
            json!({}),
            60,
            Kind::ImagePull,
        ),
        ("pull", json!({"image": "registry.invalid/none:1"}), json!({}), 15, Kind::ImagePull),
        ("secret", with(json!({"env": secret})), json!({}), 15, Kind::Configuration),
        ("crash", with(json!({"env": [{"name": "NIMIFY_PORT", "value": "none"}]})), json!({}), 180, Kind::Crash),
        ("memory", with(json!({"resources": {"limits": {"memory": "5Mi"}}})), json!({}), 180, Kind::OutOfMemory),
        ("node", with(json!({})), json!({"nodeSelector": {"gpu": "none"}}), 6, Kind::Unschedulable),
        ("probe", with(json!({"readinessProbe": probe})), json!({}), 20, Kind::NotReady),
    ];
    std::thread::scope(|scope| {
        for (name, container, pod, seconds, kind) in cases {
            let namespace = &namespace;
            scope.spawn(move || {
                let failure = failure(namespace, &deployment(name, container, pod), seconds);
                assert_eq!(failure.reason.kind, kind, "{name}: {failure:#?}");
                if kind == Kind::Crash {
                    let logs: Vec<_> = failure.logs.iter().flat_map(|log| &log.lines).collect();
                    assert!(logs.iter().any(|line| line.contains("NIMIFY_PORT")), "{failure:#?}");
                    assert!(!failure.timed_out, "{failure:#?}");
                }
                if kind == Kind::NotReady {
                    assert!(failure.reason.cause.contains("statuscode: 404"), "{failure:#?}");
                }
            });
        }
    });
}

#[test]
fn pods_that_may_not_be_made_are_not_waited_for() {
    let cluster = Cluster::get();
    let restricted = cluster.namespace(&["pod-security.kubernetes.io/enforce=restricted"]);
    let container = json!({"image": "registry.invalid/none:1"});
    let refused = failure(&restricted, &deployment("refused", container.clone(), json!({})), 120);
    assert_eq!(refused.reason.kind, Kind::PodSecurity, "{refused:#?}");
    assert!(!refused.timed_out && refused.sentence().contains("runAsNonRoot"), "{}", refused.sentence());

    let small = cluster.namespace(&[]);
    let quota = json!({"apiVersion": "v1", "kind": "ResourceQuota", "metadata": {"name": "none"}, "spec": {"hard": {"pods": "0"}}});
    apply(&small, &quota);
    let of_quota =
        ["wait", "--for=jsonpath={.status.hard.pods}=0", "resourcequota/none", "--timeout=60s", "--namespace"];
    cluster.must(&[&of_quota[..], &[&small.name]].concat());
    let refused = failure(&small, &deployment("refused", container, json!({})), 120);
    assert_eq!(refused.reason.kind, Kind::Quota, "{refused:#?}");
    assert!(!refused.timed_out && refused.reason.cause.contains("exceeded quota: none"), "{}", refused.sentence());
}

#[test]
fn what_runs_is_followed_asked_and_described() {
    let cluster = Cluster::get();
    let place = made::digits();
    cluster.load(&place.at("digits"), &[]);
    let namespace = cluster.namespace(&["pod-security.kubernetes.io/enforce=restricted"]);
    let mut helm = place.command("helm");
    helm.env("KUBECONFIG", &cluster.kubeconfig).args([
        "install",
        "digits",
        "digits/chart",
        "--namespace",
        &namespace.name,
    ]);
    place.finish(&mut helm).with(0);
    let eyes = eyes(&namespace);
    let mut told = Vec::new();
    let done =
        eyes.follow(&["digits".into()], Duration::from_secs(180), &mut |update| told.push(update.progress)).unwrap();
    assert!(done.deployments[0].1.done && told.last().unwrap().done);
    assert!(told.iter().any(|progress| !progress.done), "{told:?}");

    let [running] = &eyes.running("digits").unwrap()[..] else { panic!("one Deployment") };
    let layout = std::fs::read_to_string(place.at("digits/chart/values.yaml")).unwrap();
    assert!(layout.contains(&running.digest.as_ref().unwrap().to_string()), "{running:?}");
    assert_eq!((running.part, running.version.as_str(), &running.trouble), (Part::Stable, "0.1.0", &None));
    assert!(running.since.is_some() && running.chart.starts_with("digits-"), "{running:?}");

    let sample = std::fs::read(place.at("digits/samples/request.json")).unwrap();
    let bounds = Bounds { timeout: Duration::from_secs(30), limit: 1 << 20 };
    let target = Target { service: "digits", port: "http", tls: false, path: "/v1/predict" };
    let reply = eyes.post(target, &sample, bounds).unwrap();
    assert_eq!(reply.status, 200, "{}", String::from_utf8_lossy(&reply.body));
    let reply = eyes.post(target, b"{}", bounds).unwrap();
    assert_eq!(reply.status, 400);
    let none = eyes.post(Target { service: "none", ..target }, b"{}", bounds).unwrap_err();
    assert!(matches!(none, Error::NothingBehind { .. }), "{none:?}");
    cluster.must(&["scale", "deployment/digits", "--replicas=0", "--namespace", &namespace.name]);
    cluster.must(&["wait", "--for=delete", "pod", "--all", "--timeout=90s", "--namespace", &namespace.name]);
    let none = eyes.post(target, b"{}", bounds).unwrap_err();
    assert!(matches!(&none, Error::NothingBehind { .. }), "{none:?}");
}

#[test]
fn of_two_holders_of_a_lock_the_second_is_told_of_the_first() {
    let cluster = Cluster::get();
    let namespace = cluster.namespace(&[]);
    let eyes = eyes(&namespace);
    let lock = eyes.lock("digits", "ada@laptop").unwrap();
    let error = eyes.lock("digits", "grace@desk").unwrap_err();
    assert!(error.to_string().starts_with("`ada@laptop` changes this release since 20"), "{error}");
    let other = eyes.lock("other", "grace@desk").unwrap();
    lock.check().unwrap();
    drop((lock, other));
    let leases = cluster.must(&["get", "leases", "--namespace", &namespace.name, "--output", "name"]);
    assert_eq!(leases, "");

    // A holder that died long ago.
    apply(
        &namespace,
        &json!({
            "apiVersion": "coordination.k8s.io/v1", "kind": "Lease", "metadata": {"name": "nimify-digits"},
            "spec": {
                "holderIdentity": "gone", "leaseDurationSeconds": 30,
                "acquireTime": "2020-01-01T00:00:00.000000Z", "renewTime": "2020-01-01T00:00:00.000000Z",
            },
        }),
    );
    let lock = eyes.lock("digits", "ada@laptop").unwrap();
    // Somebody deletes it: that is noticed.
    cluster.must(&["delete", "lease/nimify-digits", "--namespace", &namespace.name]);
    let begin = std::time::Instant::now();
    while lock.check().is_ok() {
        assert!(begin.elapsed() < Duration::from_secs(30), "the loss was never noticed");
        std::thread::sleep(Duration::from_millis(200));
    }
}

#[test]
fn a_namespace_rights_and_credentials_are_told_apart() {
    let cluster = Cluster::get();
    let namespace = cluster.namespace(&[]);
    let of = ["--namespace", &namespace.name];
    let all = eyes(&namespace);
    all.check_access(&rights([])).unwrap();
    let missing = Eyes::connect_by(std::slice::from_ref(&cluster.kubeconfig), None, Some("not-there")).unwrap();
    assert!(matches!(missing.check_access(&rights([])), Err(Error::NoNamespace { .. })));
    assert!(matches!(missing.lock("digits", "ada"), Err(Error::NoNamespace { .. })));

    cluster.must(&[&["create", "role", "half", "--verb=get,list", "--resource=pods,secrets,leases"][..], &of].concat());
    let subject = format!("--serviceaccount={}:default", namespace.name);
    cluster.must(&[&["create", "rolebinding", "half", "--role=half", &subject][..], &of].concat());
    let token = cluster.must(&[&["create", "token", "default"][..], &of].concat());
    let as_user = |token: &str| {
        let text = std::fs::read_to_string(&cluster.kubeconfig).unwrap();
        let mut config: Value = serde_yaml::from_str(&text).unwrap();
        for user in config["users"].as_array_mut().unwrap() {
            user["user"] = json!({"token": token});
        }
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), config.to_string()).unwrap();
        Eyes::connect_by(&[file.path().into()], None, Some(&namespace.name))
    };
    let half = as_user(&token).unwrap();
    let objects = [json!({"apiVersion": "apps/v1", "kind": "Deployment"})];
    let error = half.check_access(&rights(&objects)).unwrap_err();
    let Error::MissingRights { missing, .. } = &error else { panic!("{error:?}") };
    assert!(missing.contains(&"create deployments.apps".into()), "{missing:?}");
    assert!(missing.contains(&"get pods/log".into()) && !missing.contains(&"list pods".into()), "{missing:?}");
    let error = half.lock("digits", "ada").unwrap_err();
    assert!(matches!(&error, Error::Forbidden { action, .. } if action.starts_with("create leases")), "{error:?}");
    assert!(matches!(as_user("wrong").unwrap_err(), Error::NotAuthorised { .. }));
}
