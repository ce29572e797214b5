//! The ways in, and the canary's share of what comes by them.

use serde_json::{Value, json};

use crate::rules::{self, of_kind, parts, the};
use crate::tools::{self, Chart};
use crate::{arguments, objects, plans, render};

const HTTP: [&str; 3] = [
    "gateway.httpRoute.enabled=true",
    "gateway.httpRoute.parentRefs[0].name=public",
    "gateway.httpRoute.hostnames[0]=digits.example.com",
];
const GRPC: [&str; 3] = [
    "gateway.grpcRoute.enabled=true",
    "gateway.grpcRoute.parentRefs[0].name=public",
    "gateway.grpcRoute.hostnames[0]=grpc.example.com",
];
const CANARY: [&str; 2] = ["canary.enabled=true", "canary.weight=30"];

fn chart() -> Chart {
    Chart::write(&render(&plans::digits()))
}

fn rendered(chart: &Chart, sets: &[&[&str]]) -> Vec<Value> {
    let objects = objects(&chart.render(&arguments(sets.iter().copied().flatten())));
    rules::hold(&objects);
    objects
}

/// What the stable part's Service chooses of its canary's: nothing where something weighs.
fn shares(objects: &[Value]) -> bool {
    let (stable, _) = parts(objects);
    the(&stable, "Service")["spec"]["selector"].get("app.kubernetes.io/component").is_none()
}

#[test]
fn routes_of_the_gateway_api_lead_to_each_part_by_its_weight() {
    let chart = chart();
    for (sets, kind, port) in [(HTTP, "HTTPRoute", 8000), (GRPC, "GRPCRoute", 8001)] {
        let alone = rendered(&chart, &[&sets]);
        let rule = |objects: &[Value]| the(objects, kind)["spec"]["rules"][0]["backendRefs"].clone();
        assert_eq!(rule(&alone), json!([{"name": "release-digits", "port": port}]));
        let both = rendered(&chart, &[&sets, &CANARY]);
        let weighed = json!([
            {"name": "release-digits", "port": port, "weight": 70},
            {"name": "release-digits-canary", "port": port, "weight": 30},
        ]);
        assert_eq!(rule(&both), weighed);
        assert!(!shares(&both));
        assert_eq!(of_kind(&both, kind).len(), 1);
    }
    let matches = the(&rendered(&chart, &[&HTTP]), "HTTPRoute")["spec"]["rules"][0]["matches"].clone();
    assert_eq!(matches, json!([{"path": {"type": "PathPrefix", "value": "/"}}]));
}

#[test]
fn a_weight_of_0_or_of_100_is_one_of_them() {
    let chart = chart();
    for (weight, stable) in [("canary.weight=0", 100), ("canary.weight=100", 0)] {
        let objects = rendered(&chart, &[&HTTP, &CANARY, &[weight]]);
        let route = &the(&objects, "HTTPRoute")["spec"]["rules"][0]["backendRefs"];
        assert_eq!(route[0]["weight"], stable);
        assert_eq!(route[1]["weight"], 100 - stable);
    }
}

#[test]
fn istio_tells_grpc_from_the_rest_and_weighs_both() {
    let chart = chart();
    let on = ["istio.virtualService.enabled=true", "istio.destinationRule.enabled=true"];
    let routes = |objects: &[Value]| the(objects, "VirtualService")["spec"]["http"].clone();
    let alone = routes(&rendered(&chart, &[&on]));
    assert_eq!(alone[0]["match"], json!([{"headers": {"content-type": {"prefix": "application/grpc"}}}]));
    assert_eq!(alone[1].get("match"), None);
    let to = |name: &str, port: u16| json!({"host": name, "port": {"number": port}});
    assert_eq!(alone[0]["route"], json!([{"destination": to("release-digits", 8001)}]));
    let objects = rendered(&chart, &[&on, &CANARY]);
    assert!(!shares(&objects));
    assert_eq!(
        routes(&objects)[1]["route"],
        json!([
            {"destination": to("release-digits", 8000), "weight": 70},
            {"destination": to("release-digits-canary", 8000), "weight": 30},
        ])
    );
    let hosts: Vec<&Value> = of_kind(&objects, "DestinationRule").iter().map(|rule| &rule["spec"]["host"]).collect();
    assert_eq!(hosts, ["release-digits-canary", "release-digits"]);
    let http_alone = routes(&rendered(&chart, &[&on, &["server.grpcPort=0"]]));
    assert_eq!(http_alone.as_array().unwrap().len(), 1);
}

#[test]
fn a_canary_has_an_ingress_of_its_own_where_the_controller_weighs() {
    let chart = chart();
    let on = [
        "ingress.enabled=true",
        "ingress.annotations.a=b",
        "ingress.hosts[0].host=digits.example.com",
        "ingress.hosts[0].paths[0].path=/",
        "ingress.hosts[0].paths[0].pathType=Prefix",
    ];
    let nginx = rendered(&chart, &[&on, &CANARY]);
    let (stable, canary) = parts(&nginx);
    let (stable, canary) = (the(&stable, "Ingress"), the(&canary, "Ingress"));
    assert_eq!(stable["metadata"]["annotations"], json!({"a": "b"}));
    let annotations = json!({
        "a": "b", "nginx.ingress.kubernetes.io/canary": "true", "nginx.ingress.kubernetes.io/canary-weight": "30",
    });
    assert_eq!(canary["metadata"]["annotations"], annotations);
    let backend = |ingress: &Value| ingress["spec"]["rules"][0]["http"]["paths"][0]["backend"]["service"].clone();
    assert_eq!(backend(stable), json!({"name": "release-digits", "port": {"name": "http"}}));
    assert_eq!(backend(canary), json!({"name": "release-digits-canary", "port": {"name": "http"}}));
    assert_eq!(stable["spec"]["rules"][0]["host"], canary["spec"]["rules"][0]["host"]);
    assert!(!shares(&nginx));
    let others = rendered(&chart, &[&on, &CANARY, &["ingress.canary=pods"]]);
    assert_eq!(of_kind(&others, "Ingress").len(), 1);
    assert!(shares(&others));
}

#[test]
fn a_gateway_is_told_to_speak_tls_to_both_parts() {
    let chart = chart();
    let on = ["tls.secretName=digits-tls", "gateway.backendTls.enabled=true", "gateway.backendTls.caCertificates=ca"];
    let sets: Vec<&str> = [&HTTP[..], &GRPC, &CANARY, &on].concat();
    let text = chart.render(&arguments(&sets));
    tools::kubeconform(&[("backend-tls".into(), text.clone())]).unwrap();
    let objects = objects(&text);
    let policy = &the(&objects, "BackendTLSPolicy")["spec"];
    let targets: Vec<&Value> = policy["targetRefs"].as_array().unwrap().iter().map(|target| &target["name"]).collect();
    assert_eq!(targets, ["release-digits", "release-digits-canary"]);
    assert_eq!(policy["validation"]["hostname"], "release-digits.default.svc");
}

#[test]
fn what_contradicts_itself_is_refused_with_the_way_out() {
    let chart = chart();
    for (sets, said) in [
        (&["gateway.httpRoute.enabled=true"][..], "gateway.httpRoute.parentRefs is empty: name the Gateway"),
        (&["gateway.grpcRoute.enabled=true"], "gateway.grpcRoute.parentRefs is empty: name the Gateway"),
        (&[GRPC[0], GRPC[1], "server.grpcPort=0"], "but server.grpcPort is 0"),
        (&[HTTP[0], HTTP[1], GRPC[0], GRPC[1]], "give them other hostnames or another sectionName"),
        (&[HTTP[0], HTTP[1], GRPC[0], GRPC[1], GRPC[2]], "give them other hostnames or another sectionName"),
        (&["gateway.backendTls.enabled=true"], "tls.secretName is empty"),
        (
            &["gateway.backendTls.enabled=true", "tls.secretName=a", "tls.clientCertificates=true"],
            "set tls.clientCertificates to false",
        ),
        (&["istio.virtualService.enabled=true", "istio.virtualService.gateways[0]=a"], "name the hosts"),
        (
            &[
                "ingress.enabled=true",
                "server.grpcPort=0",
                "ingress.hosts[0].host=a",
                "ingress.hosts[0].paths[0].path=/",
                "ingress.hosts[0].paths[0].pathType=Prefix",
                "ingress.hosts[0].paths[0].port=grpc",
            ],
            "but server.grpcPort is 0",
        ),
    ] {
        let refusal = chart.refusal(&arguments(sets));
        assert!(refusal.contains(said), "{sets:?}: {refusal}");
    }
    let own = [&HTTP[..], &GRPC, &["gateway.grpcRoute.hostnames[0]=digits.example.com"]].concat();
    let section = [&own[..], &["gateway.grpcRoute.parentRefs[0].sectionName=grpc"]].concat();
    assert!(chart.refusal(&arguments(&own)).contains("sectionName"));
    chart.render(&arguments(&section));
}

#[test]
fn the_notes_say_how_to_reach_the_service_and_how_the_canary_is_weighed() {
    let chart = chart();
    // `helm template` shows no notes: another template does.
    let object = r#"{{ dict "kind" "Notes" "notes" (include (print $.Template.BasePath "/NOTES.txt") .) | toJson }}"#;
    std::fs::write(chart.path().join("templates/shown.yaml"), object).unwrap();
    let notes = |sets: &[&[&str]]| {
        let objects = objects(&chart.render(&arguments(sets.iter().copied().flatten())));
        the(&objects, "Notes")["notes"].as_str().unwrap().to_string()
    };
    assert!(!notes(&[]).contains("canary"));
    let routed = notes(&[&HTTP, &GRPC, &CANARY, &["canary.values.image.version=2.0.0"]]);
    for said in [
        "By the HTTPRoute release-digits of Gateway public:\n  digits.example.com",
        "By the GRPCRoute release-digits of Gateway public:\n  grpc.example.com",
        "A canary runs beside it as release-digits-canary, version 2.0.0.\nIt gets 30 of a hundred requests",
    ] {
        assert!(routed.contains(said), "{said}: {routed}");
    }
    let shared = notes(&[&CANARY, &["replicaCount=3"]]);
    assert!(shared.contains("among those of the Service, 1 of 4."), "{shared}");
    let mesh = notes(&[&["istio.virtualService.enabled=true"]]);
    assert!(mesh.contains("By Istio, in the mesh:\n  release-digits"), "{mesh}");
}
