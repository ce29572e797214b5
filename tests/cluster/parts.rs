//! A canary beside the stable part, in a cluster that holds pods to the restricted standard.

use crate::cluster::Cluster;
use crate::command::wait_until;
use crate::rolling::Service;

/// The names of the pods of one component.
fn pods(service: &Service, component: &str) -> Vec<String> {
    let selector = format!("app.kubernetes.io/component={component}");
    let names = service.kubectl(&["get", "pods", "--selector", &selector, "--output", "name"]);
    names.lines().map(String::from).collect()
}

/// How many pods take requests through a Service.
fn behind(service: &Service, name: &str) -> usize {
    let label = format!("kubernetes.io/service-name={name}");
    let ready = "jsonpath={.items[*].endpoints[?(@.conditions.ready==true)].addresses[0]}";
    let addresses = service.kubectl(&["get", "endpointslices", "--selector", &label, "--output", ready]);
    addresses.split_whitespace().count()
}

#[test]
fn a_canary_comes_and_goes_beside_pods_that_stay_and_no_request_fails() {
    let cluster = Cluster::get();
    let namespace = cluster.namespace(&["pod-security.kubernetes.io/enforce=restricted"]);
    let service = Service::install(cluster, namespace);
    service.kubectl(&["create", "secret", "generic", "token", "--from-literal=key=value"]);
    // A secret as a variable and as files, which the pods start with or not at all.
    let secret = [
        "upgrade",
        "digits",
        "digits/chart",
        "--set=secrets.existing[0].name=token",
        "--set=secrets.existing[0].env.TOKEN=key",
        "--set=secrets.existing[0].mountPath=/etc/token",
    ];
    let canary = ["--set=canary.enabled=true", "--set=canary.values.batching.maxBatchSize=1"];
    service.helm(&secret);
    assert!(wait_until(|| pods(&service, "server").len() == 2));
    let stable = pods(&service, "server");
    let (tally, ()) = service.under_load(|| {
        service.helm(&[&secret[..], &canary].concat());
        // Nothing weighs: all are behind the one Service.
        assert!(wait_until(|| behind(&service, "digits") == 3 && behind(&service, "digits-canary") == 1));
        service.tested();
        service.helm(&secret);
        assert!(wait_until(|| behind(&service, "digits") == 2 && pods(&service, "canary").is_empty()));
    });
    assert_eq!(pods(&service, "server"), stable, "the stable pods stay");
    assert!(tally.failed.is_empty(), "{tally:?}");
    assert!(tally.answered > 100, "{tally:?}");
}
