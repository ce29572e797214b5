//! That the chart and the runtime mean the same: variables, ports, and the program's arguments.

use std::collections::BTreeSet;
use std::ffi::OsString;

use nimify::plan::ServicePlan;
use nimify_runtime::arguments::{self, Command};
use nimify_runtime::environment::{self, Overridden, VARIABLES};
use nimify_runtime::logging::LogSettings;
use nimify_runtime::settings::{
    BatchingSettings, EngineSettings, PaddingSettings, ServerSettings, StateSettings, TlsSettings, TracingSettings,
};
use nimify_runtime::trace;
use serde_json::{Value, json};

use crate::rules::{of_kind, the};
use crate::switches::SWITCHES;
use crate::tools::Chart;
use crate::{arguments, objects, plans, render};

/// Settings that belong to the image: where it binds, what it is called, where its libraries are, and what its OpenAPI
/// document tells.
const OF_THE_IMAGE: [&str; 5] = ["name", "server.host", "engine.onnxruntime", "engine.customOps", "state.pairs"];

fn rendered(plan: &ServicePlan, sets: &[&str]) -> Vec<Value> {
    objects(&Chart::write(&render(plan)).render(&arguments(sets)))
}

/// Name and value of each variable of the ConfigMap.
fn config(objects: &[Value]) -> Vec<(String, String)> {
    let data = the(objects, "ConfigMap")["data"].as_object().unwrap();
    data.iter().map(|(name, value)| (name.clone(), value.as_str().unwrap().to_string())).collect()
}

#[test]
fn the_chart_sets_every_variable_of_the_runtime_and_no_other() {
    // Without a collector the chart says nothing of traces, so that OpenTelemetry's own variables can.
    let traced = rendered(&plans::digits(), &["tracing.endpoint=http://collector:4318"]);
    let set: BTreeSet<String> = config(&traced).into_iter().map(|(name, _)| name).collect();
    let silent = config(&rendered(&plans::digits(), &[]));
    assert_eq!(silent.iter().filter(|(name, _)| name.contains("TRACING")).count(), 0, "{silent:?}");
    let known: BTreeSet<String> = VARIABLES
        .iter()
        .filter(|variable| variable.name.starts_with("NIMIFY_") && !OF_THE_IMAGE.contains(&variable.setting))
        .map(|variable| variable.name.to_string())
        .collect();
    assert_eq!(set, known);
    for (_, sets, _) in SWITCHES {
        let objects = rendered(&plans::digits(), sets);
        for deployment in of_kind(&objects, "Deployment") {
            let container = &deployment["spec"]["template"]["spec"]["containers"][0];
            for variable in container["env"].as_array().into_iter().flatten() {
                let name = variable["name"].as_str().unwrap();
                assert!(!name.starts_with("NIMIFY_") || known.contains(name), "{name}");
            }
        }
    }
}

#[test]
fn the_runtime_reads_the_plan_s_settings_out_of_the_chart_s_variables() {
    for plan in [plans::digits(), plans::unusual()] {
        let mut blank = plan.settings.clone();
        // Nothing is left as it is by default, so that every setting has to come from its variable.
        blank.server = ServerSettings {
            host: blank.server.host,
            port: 1,
            grpc_port: Some(3),
            metrics_port: Some(2),
            max_connections: Some(2),
            tls: TlsSettings { certificate: Some("c".into()), key: Some("k".into()), client_ca: Some("a".into()) },
            compression: !blank.server.compression,
            compression_min_bytes: 2,
            debug_page: !plan.settings.server.debug_page,
            max_body_bytes: 3,
            max_buffered_bytes: Some(4),
            max_concurrency: 4,
            read_timeout: std::time::Duration::from_secs(5),
            drain_delay: std::time::Duration::from_secs(6),
            drain_timeout: std::time::Duration::from_secs(7),
        };
        blank.batching = BatchingSettings {
            max_batch_size: 8,
            max_batch_elements: Some(8),
            max_queue_delay: std::time::Duration::from_secs(9),
            max_queue: 10,
            request_timeout: std::time::Duration::from_secs(11),
            priority_levels: 12,
            default_priority: Some(11),
            padding: PaddingSettings { mask: Some("none of them".into()), ..PaddingSettings::default() },
        };
        blank.engine = EngineSettings {
            threads: Some(12),
            instances: Some(13),
            onnxruntime: None,
            ..plan.settings.engine.clone()
        };
        blank.state = StateSettings {
            pairs: plan.settings.state.pairs.clone(),
            max_sessions: 14,
            max_bytes: 15,
            idle_timeout: std::time::Duration::from_secs(16),
        };
        blank.tracing = plan
            .settings
            .tracing
            .endpoint
            .as_ref()
            .map(|_| TracingSettings { endpoint: None, sample_ratio: 0.5.try_into().unwrap() })
            .unwrap_or_default();
        let variables = config(&rendered(&plan, &[])).into_iter().map(|(n, v)| (OsString::from(n), OsString::from(v)));
        let overridden = Overridden { service: blank, log: LogSettings::default(), traces: trace::Options::default() };
        let (read, warnings) = environment::apply(overridden, variables).unwrap();
        assert_eq!(warnings, Vec::<String>::new());
        let mut meant = plan.settings.clone();
        if meant.server.drain_delay.is_zero() {
            // In a cluster, load balancers are given time to learn of the end.
            meant.server.drain_delay = std::time::Duration::from_secs(5);
        }
        // And requests as much as each may take.
        meant.server.drain_timeout = meant.server.drain_timeout.max(meant.batching.request_timeout);
        assert_eq!(read.service, meant);
    }
}

#[test]
fn a_port_of_their_own_for_the_metrics_is_the_same_one_everywhere() {
    let switches = ["metrics.serviceMonitor.enabled=true", "networkPolicy.enabled=true"];
    for (plan, sets, port) in [
        (plans::digits(), &["server.metricsPort=9001"][..], 9001),
        (plans::unusual(), &[], 9001),
        (plans::digits(), &[], 0),
    ] {
        let objects = rendered(&plan, &[sets, &switches].concat());
        let container = &the(&objects, "Deployment")["spec"]["template"]["spec"]["containers"][0];
        let (http, own) = (json!(plan.settings.server.port), port != 0);
        let named = |ports: &Value, name: &str, field: &str| {
            ports.as_array().unwrap().iter().find(|port| port["name"] == name).map(|port| port[field].clone())
        };
        assert_eq!(named(&container["ports"], "http", "containerPort"), Some(http));
        assert_eq!(named(&container["ports"], "metrics", "containerPort"), own.then(|| json!(port)));
        let service = &the(&objects, "Service")["spec"]["ports"];
        assert_eq!(named(service, "metrics", "targetPort"), own.then(|| json!("metrics")));
        let variables = config(&objects);
        let variable = variables.iter().find(|(name, _)| name == "NIMIFY_METRICS_PORT").map(|(_, value)| value);
        assert_eq!(variable, Some(&if own { port.to_string() } else { "none".into() }));
        let monitor = &the(&objects, "ServiceMonitor")["spec"]["endpoints"][0];
        assert_eq!(monitor["port"], if own { "metrics" } else { "http" });
        let rules = the(&objects, "NetworkPolicy")["spec"]["ingress"].as_array().unwrap();
        let open: Vec<_> = rules.iter().map(|rule| rule["ports"][0]["port"].as_str().unwrap()).collect();
        assert_eq!(open, if own { vec!["http", "metrics"] } else { vec!["http"] });
        assert_eq!(rules[0]["ports"][1]["port"], "grpc");
        // Probes go to the port that always answers them.
        for probe in ["startupProbe", "livenessProbe", "readinessProbe"] {
            assert_eq!(container[probe]["httpGet"]["port"], "http");
        }
    }
    let chart = Chart::write(&render(&plans::digits()));
    let said = chart.refusal(&["--set", "server.metricsPort=8000"]);
    assert!(said.contains("server.metricsPort is server.port"), "{said}");
}

#[test]
fn grpc_has_its_port_everywhere_or_nowhere() {
    for (plan, sets, port) in
        [(plans::digits(), &[][..], 8001), (plans::unusual(), &[], 9002), (plans::digits(), &["server.grpcPort=0"], 0)]
    {
        let objects = rendered(&plan, &[sets, &["networkPolicy.enabled=true"]].concat());
        let named = |ports: &Value| ports.as_array().unwrap().iter().find(|port| port["name"] == "grpc").cloned();
        let container = &the(&objects, "Deployment")["spec"]["template"]["spec"]["containers"][0];
        let of_pod = named(&container["ports"]).map(|of_pod| of_pod["containerPort"].clone());
        assert_eq!(of_pod, (port != 0).then(|| json!(port)));
        let of_service = named(&the(&objects, "Service")["spec"]["ports"]);
        let wanted = json!({"name": "grpc", "port": 8001, "targetPort": "grpc", "protocol": "TCP", "appProtocol": "kubernetes.io/h2c"});
        assert_eq!(of_service, (port != 0).then_some(wanted));
        let open = &the(&objects, "NetworkPolicy")["spec"]["ingress"][0]["ports"];
        assert_eq!(open.as_array().unwrap().len(), if port == 0 { 1 } else { 2 });
        let variable =
            config(&objects).into_iter().find(|(name, _)| name == "NIMIFY_GRPC_PORT").map(|(_, value)| value);
        assert_eq!(variable, Some(if port == 0 { "none".into() } else { port.to_string() }));
    }
    let chart = Chart::write(&render(&plans::digits()));
    let said = chart.refusal(&["--set", "server.grpcPort=8000"]);
    assert!(said.contains("server.grpcPort is server.port"), "{said}");
}

#[test]
fn the_program_takes_the_arguments_that_the_test_s_pod_gives_it() {
    for (plan, path, body) in
        [(plans::digits(), "/v1/predict", Some("/nimify/sample.json")), (plans::unusual(), "/v1/health/ready", None)]
    {
        let objects = rendered(&plan, &["service.port=8080"]);
        let [pod] = of_kind(&objects, "Pod")[..] else { panic!("one test") };
        let container = &pod["spec"]["containers"][0];
        assert_eq!(container.get("command"), None, "the image's own program is called");
        let given = container["args"].as_array().unwrap().iter().map(|a| OsString::from(a.as_str().unwrap()));
        let command = arguments::parse(given, "service.json".into()).unwrap();
        let name = the(&objects, "Service")["metadata"]["name"].as_str().unwrap();
        let url = format!("http://{name}:8080{path}").parse().unwrap();
        assert_eq!(command, Command::Request { url, body: body.map(Into::into) });
    }
}

#[test]
fn requests_of_a_session_reach_one_pod_where_state_is_kept() {
    let mut plan = plans::digits();
    let service = |plan: &ServicePlan| the(&rendered(plan, &["replicaCount=2"]), "Service")["spec"].clone();
    assert_eq!(service(&plan).get("sessionAffinity"), None);
    let pair = json!({ "output": "next", "input": "state" });
    plan.settings.state.pairs.push(serde_json::from_value(pair).unwrap());
    let kept = service(&plan);
    assert_eq!(kept["sessionAffinity"], "ClientIP");
    assert_eq!(kept["sessionAffinityConfig"]["clientIP"]["timeoutSeconds"], 10800);
}
