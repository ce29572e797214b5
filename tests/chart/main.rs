//! The rendered chart, judged by helm and kubeconform. `tools/setup` installs both.

#![expect(clippy::unwrap_used, reason = "a test stops at the first surprise")]

mod canary;
mod custom;
mod extras;
#[path = "../support/judges.rs"]
mod judges;
mod models;
mod monitoring;
mod plans;
mod policy;
mod rules;
mod runtime;
mod scale;
mod scaling;
mod secrets;
mod switches;
mod tools;
mod ways;

use nimify::chart::{self, ChartRequest, Error, ValueFault};
use nimify::digest::Digest;
use nimify::files::FileTree;
use nimify::plan::ServicePlan;
use proptest::prelude::*;
use rules::{objects, the};
use serde_json::{Value, json};
use switches::SWITCHES;
use tools::{Chart, HELMS};

fn render(plan: &ServicePlan) -> FileTree {
    chart::render(&ChartRequest { plan, digest: Digest::of("image") }).unwrap()
}

fn text<'a>(tree: &'a FileTree, path: &str) -> &'a str {
    std::str::from_utf8(&tree[&path.parse().unwrap()]).unwrap()
}

fn arguments<'a>(sets: impl IntoIterator<Item = &'a &'a str>) -> Vec<&'a str> {
    sets.into_iter().flat_map(|set| ["--set", set]).collect()
}

/// The lines that say something: helm 3 ends some objects with an empty line, helm 4 none.
fn lines(rendered: &str) -> impl Iterator<Item = &str> {
    rendered.lines().filter(|line| !line.is_empty())
}

#[test]
fn helm_finds_no_fault_with_the_template_nor_with_what_is_rendered() {
    let charts = [Chart::template(), Chart::write(&render(&plans::digits())), Chart::write(&render(&plans::unusual()))];
    for (chart, helm) in charts.iter().flat_map(|chart| HELMS.map(|helm| (chart, helm))) {
        let output = chart.by(helm, &["lint", "--strict"], &[]);
        assert!(output.status.success(), "{helm}: {}", String::from_utf8_lossy(&output.stdout));
    }
}

#[test]
fn every_switch_alone_and_all_together_make_objects_that_kubernetes_takes() {
    let charts =
        [("digits", Chart::write(&render(&plans::digits()))), ("unusual", Chart::write(&render(&plans::unusual())))];
    let all: Vec<&str> = SWITCHES.iter().flat_map(|(_, sets, _)| *sets).copied().collect();
    let mut renders = Vec::new();
    for (name, chart) in &charts {
        for (switch, sets, kind) in SWITCHES.iter().chain([&("all", &all[..], "Ingress")]) {
            let rendered = chart.render(&arguments(*sets));
            if *name == "digits" {
                let by_helm_4 = chart.render_by(HELMS[1], &arguments(*sets));
                assert!(lines(&by_helm_4).eq(lines(&rendered)), "{switch} by helm 4:\n{by_helm_4}");
            }
            let objects = objects(&rendered);
            rules::hold(&objects);
            if !kind.is_empty() {
                the(&rules::parts(&objects).0, kind);
            }
            renders.push((format!("{name}-{switch}"), rendered));
        }
    }
    tools::kubeconform(&renders).unwrap();
}

#[test]
fn the_judge_sees_a_misspelt_field_in_kubernetes_own_objects_and_in_others() {
    let chart = Chart::write(&render(&plans::digits()));
    let rendered = chart.render(&["--set", "metrics.serviceMonitor.enabled=true"]);
    for (right, wrong) in [("serviceAccountName:", "serviceAcountName:"), ("scrapeTimeout:", "scrapeTimeuot:")] {
        assert!(rendered.contains(right));
        let said = tools::kubeconform(&[("misspelt".into(), rendered.replace(right, wrong))]).unwrap_err();
        assert!(said.contains(wrong.trim_end_matches(':')), "{said}");
    }
}

#[test]
fn the_default_render_is_the_reviewed_one() {
    let chart = Chart::write(&render(&plans::digits()));
    insta::assert_snapshot!("default", chart.render(&[]));
}

#[test]
fn what_isn_t_asked_for_isn_t_there() {
    let objects = objects(&Chart::write(&render(&plans::digits())).render(&[]));
    let kinds: Vec<&str> = objects.iter().map(|object| object["kind"].as_str().unwrap()).collect();
    assert_eq!(kinds, ["ServiceAccount", "ConfigMap", "Service", "Deployment", "Pod"]);
}

#[test]
fn the_plan_s_settings_reach_the_pods() {
    let objects = objects(&Chart::write(&render(&plans::unusual())).render(&[]));
    let settings = &the(&objects, "ConfigMap")["data"];
    for (name, value) in [
        ("NIMIFY_PORT", "9000"),
        ("NIMIFY_GRPC_PORT", "9002"),
        ("NIMIFY_METRICS_PORT", "9001"),
        ("NIMIFY_MAX_BODY_BYTES", "1099511627776"),
        ("NIMIFY_DEBUG_PAGE", "0"),
        ("NIMIFY_MAX_BUFFERED_BYTES", "2199023255552"),
        ("NIMIFY_MAX_CONCURRENCY", "12345678"),
        ("NIMIFY_DRAIN_DELAY", "2500ms"),
        ("NIMIFY_MAX_BATCH_ELEMENTS", "1099511627776"),
        ("NIMIFY_MAX_QUEUE_DELAY", "250us"),
        ("NIMIFY_PRIORITY_LEVELS", "3"),
        ("NIMIFY_DEFAULT_PRIORITY", "2"),
        ("NIMIFY_THREADS", "3"),
        ("NIMIFY_INSTANCES", "auto"),
    ] {
        assert_eq!(settings[name], value, "{name}");
    }
    let pod = &the(&objects, "Deployment")["spec"]["template"]["spec"];
    let container = &pod["containers"][0];
    assert_eq!(container["image"], format!("localhost:5000/a/b@{}", Digest::of("image")));
    assert_eq!(container["startupProbe"]["failureThreshold"], 181);
    assert_eq!(container.get("env"), None, "threads are fixed");
    assert_eq!(container["resources"]["requests"], json!({"cpu": "12000m", "memory": "98304Mi", "nvidia.com/gpu": 2}));
    assert_eq!(pod["terminationGracePeriodSeconds"], 3 + 90 + 5);
    // Without a sample the test asks for readiness.
    let request = &the(&objects, "Pod")["spec"]["containers"][0]["args"];
    assert!(request[2].as_str().unwrap().ends_with(":8000/v1/health/ready"), "{request}");
}

#[test]
fn threads_follow_the_request_only_where_nothing_else_says_how_many() {
    let chart = Chart::write(&render(&plans::digits()));
    let env = |sets: &[&str]| {
        let objects = objects(&chart.render(&arguments(sets)));
        the(&objects, "Deployment")["spec"]["template"]["spec"]["containers"][0].get("env").cloned()
    };
    let variable = &env(&[]).unwrap()[0];
    assert_eq!(variable["name"], "NIMIFY_THREADS");
    assert_eq!(variable["valueFrom"]["resourceFieldRef"]["resource"], "requests.cpu");
    for sets in [["engine.threads=4"], ["resources.limits.cpu=2"], ["resources.requests.cpu=null"]] {
        assert_eq!(env(&sets), None, "{sets:?}");
    }
    let own = env(&["env[0].name=NIMIFY_THREADS", "env[0].value=eight"]).unwrap();
    assert_eq!(own, json!([{"name": "NIMIFY_THREADS", "value": "eight"}]));
}

#[test]
fn changed_settings_start_the_pods_anew_and_nothing_else_does() {
    let chart = Chart::write(&render(&plans::digits()));
    let checksum = |sets: &[&str]| {
        let objects = objects(&chart.render(&arguments(sets)));
        the(&objects, "Deployment")["spec"]["template"]["metadata"]["annotations"]["checksum/config"].clone()
    };
    assert_ne!(checksum(&[]), checksum(&["batching.maxBatchSize=8"]));
    assert_eq!(checksum(&[]), checksum(&["replicaCount=2"]));
    // Nor does another chart that says the same.
    let mut next = plans::digits();
    next.settings.version = "1.3.0".into();
    let pod = |chart: &Chart, sets: &[&str]| {
        the(&objects(&chart.render(&arguments(sets))), "Deployment")["spec"]["template"].clone()
    };
    let next = Chart::write(&render(&next));
    assert_eq!(pod(&chart, &[]), pod(&next, &["image.version=1.2.0"]));
    assert_ne!(pod(&chart, &[]), pod(&next, &[]));
}

#[test]
fn users_labels_don_t_break_the_selectors() {
    let chart = Chart::write(&render(&plans::digits()));
    let sets = [r"podLabels.app\.kubernetes\.io/name=mine", r"service.labels.app\.kubernetes\.io/component=mine"];
    rules::hold(&objects(&chart.render(&arguments(&sets))));
}

#[test]
fn helm_refuses_what_the_schema_doesn_t_know() {
    let chart = Chart::write(&render(&plans::digits()));
    for (set, word) in [
        ("replicas=2", "replicas"),
        ("image.digset=x", "digset"),
        ("image.digest=sha256:0", "/image/digest"),
        ("replicaCount=many", "/replicaCount"),
        ("canary.weight=101", "/canary/weight"),
        ("canary.replicaCount=0", "/canary/replicaCount"),
        ("canary.values.replicaCount=2", "replicaCount"),
        ("canary.values.image.digset=x", "digset"),
        ("canary.values.batching.maxBatchSize=0", "/canary/values/batching/maxBatchSize"),
        ("server.port=0", "/server/port"),
        ("server.port=70000", "/server/port"),
        ("server.drainDelay=5", "/server/drainDelay"),
        ("server.drainDelay=5 s", "/server/drainDelay"),
        ("engine.threads=0", "/engine/threads"),
        ("server.maxBufferedBytes=all", "/server/maxBufferedBytes"),
        ("engine.provider=gpu", "/engine/provider"),
        ("tracing.endpoint=collector:4318", "/tracing/endpoint"),
        ("tracing.sampleRatio=2", "/tracing/sampleRatio"),
        ("ingress.canary=traefik", "/ingress/canary"),
        ("gateway.httpRoute.rules[0].backendRefs[0].name=a", "backendRefs"),
        ("gateway.grpcRoute.rules[0].timeouts.request=1s", "timeouts"),
        ("istio.virtualService.timeout=soon", "/istio/virtualService/timeout"),
        ("service.type=Cluster", "/service/type"),
        ("ingress.hosts=null", "hosts"),
        ("env[0].nome=x", "nome"),
        ("envFrom[0].secret.name=x", "secret"),
        ("secrets.existing[0].name=A", "/secrets/existing/0/name"),
        ("secrets.existing[0].value=hunter2", "value"),
        ("secrets.csi[0].name=a", "mountPath"),
        ("secrets.external[0].store.kind=Vault", "/secrets/external/0/store/kind"),
        ("persistence.accessMode=ReadWriteOncePod", "/persistence/accessMode"),
        ("dnsPolicy=Cluster", "/dnsPolicy"),
        ("terminationGracePeriodSeconds=0", "/terminationGracePeriodSeconds"),
        ("podDisruptionBudget.maxUnavailable=half", "/podDisruptionBudget/maxUnavailable"),
    ] {
        let said = chart.refusal(&["--set", set]);
        // Older helm writes a path with dots, newer with slashes.
        assert!(said.replace('.', "/").contains(word), "{set}: {said}");
        assert!(!chart.by(HELMS[1], &["template", "release"], &["--set", set]).status.success(), "helm 4 takes {set}");
    }
    assert!(chart.refusal(&["--set", "image.digest="]).contains("image.digest and image.tag are both empty"));
    let sets = ["--set", "autoscaling.enabled=true,autoscaling.minReplicas=9"];
    assert!(chart.refusal(&sets).contains("less than"));
}

#[test]
fn a_chart_above_may_share_its_values() {
    Chart::write(&render(&plans::digits())).render(&["--set", "global.region=eu"]);
}

#[test]
fn environments_get_files_that_helm_takes() {
    let mut plan = plans::digits();
    let values = json!({
        "replicaCount": 2,
        "resources": {"limits": {"cpu": 2, "memory": "1Gi"}},
        "podAnnotations": {"on": "no", "version": "1e3", "time": "12:30"},
        "nodeSelector": {},
    });
    plan.environments.insert("prod-1".into(), values);
    let tree = render(&plan);
    let chart = Chart::write(&tree);
    let file = chart.path().join("values-prod-1.yaml");
    let objects = objects(&chart.render(&["--values", file.to_str().unwrap()]));
    rules::hold(&objects);
    let spec = &the(&objects, "Deployment")["spec"];
    assert_eq!(spec["replicas"], 2);
    let annotations = &spec["template"]["metadata"]["annotations"];
    assert_eq!(
        (&annotations["on"], &annotations["version"], &annotations["time"]),
        (&json!("no"), &json!("1e3"), &json!("12:30"))
    );
    let limits = &spec["template"]["spec"]["containers"][0]["resources"]["limits"];
    assert_eq!(limits, &json!({"cpu": 2, "memory": "1Gi"}));
}

#[test]
fn environments_with_wrong_values_are_refused_by_name() {
    let fault = |values: Value| {
        let mut plan = plans::digits();
        plan.environments.insert("prod".into(), values);
        match chart::render(&ChartRequest { plan: &plan, digest: Digest::of("image") }).unwrap_err() {
            Error::EnvironmentValues { environment, fault } if environment == "prod" => fault,
            other => panic!("{other}"),
        }
    };
    let unknown =
        |path: &str, nearest: Option<&str>| ValueFault::Unknown { path: path.into(), nearest: nearest.map(Into::into) };
    assert_eq!(fault(json!({"replicas": 2})), unknown("replicas", Some("replicaCount")));
    assert_eq!(fault(json!({"image": {"repositroy": "x"}})), unknown("image.repositroy", Some("image.repository")));
    assert_eq!(fault(json!({"metrics": {"serviceMonitor": {"zzz": 1}}})), unknown("metrics.serviceMonitor.zzz", None));
    assert_eq!(fault(json!([])), ValueFault::NotAMapping { path: "values".into() });
    let image = json!({"canary": {"values": {"image": {"digset": "x"}}}});
    assert_eq!(fault(image), unknown("canary.values.image.digset", Some("canary.values.image.digest")));
    assert_eq!(fault(json!({"image": 3})), ValueFault::NotAMapping { path: "image".into() });
    for (values, path) in [
        (json!({"replicaCount": -1}), "replicaCount"),
        (json!({"server": {"port": 8000, "drainDelay": "5"}}), "server.drainDelay"),
        (json!({"engine": {"threads": "many"}}), "engine.threads"),
        (json!({"canary": {"values": {"engine": {"threads": "many"}}}}), "canary.values.engine.threads"),
        (json!({"env": [{"nome": "x"}]}), "env"),
        (json!({"podAnnotations": {"a": 1}}), "podAnnotations"),
        (json!({"ingress": {"hosts": null}}), "ingress.hosts"),
    ] {
        match fault(values) {
            ValueFault::Wrong { path: named, .. } => assert_eq!(named, path),
            other => panic!("{other}"),
        }
    }
    let text = fault(json!({"service": {"prot": 80}})).to_string();
    assert_eq!(text, "`service.prot` is unknown; the nearest known one is `service.port`");
}

#[test]
fn an_environment_whose_name_is_no_file_name_is_refused() {
    for name in ["", "../prod", "a/b", "a b", "ü"] {
        let mut plan = plans::digits();
        plan.environments.insert(name.into(), json!({}));
        let error = chart::render(&ChartRequest { plan: &plan, digest: Digest::of("image") }).unwrap_err();
        assert!(matches!(error, Error::EnvironmentName(_)), "{name}: {error}");
    }
}

#[test]
fn a_port_that_the_system_chooses_is_refused() {
    let mut plan = plans::digits();
    plan.settings.server.port = 0;
    let error = chart::render(&ChartRequest { plan: &plan, digest: Digest::of("image") }).unwrap_err();
    assert!(error.to_string().contains("`server.port` is 0"), "{error}");
}

/// Texts that could break YAML, or be taken for a template.
const NASTY: [&str; 9] = [
    r#"{{ fail "evaluated" }}"#,
    "{{- range $ }}",
    "}} {{/* ",
    "a: b # c",
    "'single' \"double\" \\ back",
    "line\nnext\r\n\ttab",
    "--- \n...\n",
    "\u{85}\u{2028}\u{2029}\u{feff}\u{1F980}\u{0}\u{7f}",
    "null",
];

#[test]
fn nasty_texts_reach_helm_as_they_are_and_are_never_evaluated() {
    for nasty in NASTY {
        let mut plan = plans::digits();
        plan.description = nasty.into();
        plan.settings.version = nasty.into();
        plan.settings.name = nasty.into();
        plan.settings.model.source = nasty.into();
        plan.repository = format!("r/{nasty}");
        let chart = Chart::write(&render(&plan));
        let objects = objects(&chart.render(&[]));
        rules::hold(&objects);
        let image = &the(&objects, "Deployment")["spec"]["template"]["spec"]["containers"][0]["image"];
        assert_eq!(image, &json!(format!("r/{nasty}@{}", Digest::of("image"))), "{nasty:?}");
    }
}

proptest! {
    #[test]
    fn any_text_survives_the_rendering(description: String, version: String, repository in "\\PC{1,20}|.{1,20}") {
        let mut plan = plans::digits();
        (plan.description, plan.settings.version, plan.repository) = (description, version, repository);
        let tree = render(&plan);
        prop_assert_eq!(&tree, &render(&plan));
        let metadata: Value = serde_yaml::from_str(text(&tree, "Chart.yaml")).unwrap();
        prop_assert_eq!(&metadata["description"], &json!(plan.description));
        prop_assert_eq!(&metadata["appVersion"], &json!(plan.settings.version));
        let values: Value = serde_yaml::from_str(text(&tree, "values.yaml")).unwrap();
        prop_assert_eq!(&values["image"]["repository"], &json!(plan.repository));
    }
}
