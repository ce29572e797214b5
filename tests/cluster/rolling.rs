//! Pods come and go, and the service's clients don't notice.

use std::time::Instant;

use crate::cluster::{Cluster, NODES, Namespace};
use crate::command::{Place, wait_until};
use crate::{load, made};

/// A service of the digits model with two pods, one a node.
pub(crate) struct Service {
    cluster: &'static Cluster,
    namespace: Namespace,
    place: Place,
    /// Where it takes requests, as the nodes reach it.
    url: String,
    request: String,
}

const SPREAD: &str = "topologySpreadConstraints=[{\"maxSkew\":1,\"topologyKey\":\"kubernetes.io/hostname\",\
    \"whenUnsatisfiable\":\"ScheduleAnyway\",\"labelSelector\":{\"matchLabels\":{\"app.kubernetes.io/name\":\"digits\"}}}]";

impl Service {
    pub(crate) fn install(cluster: &'static Cluster, namespace: Namespace) -> Self {
        let place = made::digits();
        cluster.load(&place.at("digits"), &[]);
        let request = place.read("digits/samples/request.json");
        let mut this = Service { cluster, namespace, place, url: String::new(), request };
        this.helm(&["install", "digits", "digits/chart"]);
        let address = this.kubectl(&["get", "service", "digits", "--output", "jsonpath={.spec.clusterIP}"]);
        this.url = format!("http://{address}:8000/v1/predict");
        this
    }

    pub(crate) fn helm(&self, args: &[&str]) {
        let mut helm = self.place.command("helm");
        helm.env("KUBECONFIG", &self.cluster.kubeconfig).args(args);
        helm.args(["--namespace", &self.namespace.name, "--wait", "--timeout", "180s"]);
        // Small enough for the pods of several tests at once, each with one more than it needs.
        let pods = ["--set", "replicaCount=2", "--set", "resources.requests.cpu=100m", "--set-json", SPREAD];
        self.place.finish(helm.args(pods)).with(0);
    }

    pub(crate) fn kubectl(&self, args: &[&str]) -> String {
        self.cluster.must(&[&["--namespace", &self.namespace.name][..], args].concat())
    }

    /// What the chart itself asks of the release, by a pod for each part.
    pub(crate) fn tested(&self) {
        let mut helm = self.place.command("helm");
        helm.env("KUBECONFIG", &self.cluster.kubeconfig).args(["test", "digits", "--timeout", "120s"]);
        self.place.finish(helm.args(["--namespace", &self.namespace.name])).with(0);
    }

    /// The names of the pods that are to stay.
    fn pods(&self) -> Vec<String> {
        let pods = self.kubectl(&["get", "pods", "--output", "name", "--selector", "app.kubernetes.io/name=digits"]);
        pods.lines().map(|line| line.trim_start_matches("pod/").to_string()).collect()
    }

    pub(crate) fn under_load<T>(&self, work: impl FnOnce() -> T) -> (load::Tally, T) {
        load::during(self.cluster, &self.url, &self.request, work)
    }
}

#[test]
fn a_rolling_upgrade_fails_no_request() {
    let cluster = Cluster::get();
    let service = Service::install(cluster, cluster.namespace(&[]));
    let before = service.pods();
    let (tally, ()) = service.under_load(|| {
        service.helm(&["upgrade", "digits", "digits/chart", "--set", "podAnnotations.upgrade=first"]);
        service.helm(&["upgrade", "digits", "digits/chart", "--set", "podAnnotations.upgrade=second"]);
    });
    // Helm waits for the new pods; the old ones still answer what they were asked.
    assert!(wait_until(|| service.pods().len() == 2));
    assert!(service.pods().iter().all(|pod| !before.contains(pod)), "none of {before:?} is left");
    assert!(tally.failed.is_empty(), "{tally:?}");
    assert!(tally.answered > 100, "{tally:?}");
}

#[test]
fn a_drained_node_fails_no_request() {
    let cluster = Cluster::get();
    let service = Service::install(cluster, cluster.namespace_alone(&[]));
    let node = || service.kubectl(&["get", "pods", "--output", "jsonpath={.items[*].spec.nodeName}"]);
    assert!(node().contains(NODES[1]), "{}", node());
    let uncordon = Uncordon(cluster);
    let (tally, ()) = service.under_load(|| {
        cluster.must(&["drain", NODES[1], "--delete-emptydir-data", "--timeout=120s"]);
        service.kubectl(&["rollout", "status", "deployment/digits", "--timeout=120s"]);
    });
    assert_eq!(node(), format!("{0} {0}", NODES[0]));
    drop(uncordon);
    assert!(tally.failed.is_empty(), "{tally:?}");
    assert!(tally.answered > 100, "{tally:?}");
}

/// Gives the node back to the other tests.
struct Uncordon(&'static Cluster);

impl Drop for Uncordon {
    fn drop(&mut self) {
        let _ = self.0.kubectl().args(["uncordon", NODES[1]]).output();
    }
}

#[test]
fn a_killed_pod_comes_back_while_the_other_answers() {
    let cluster = Cluster::get();
    let service = Service::install(cluster, cluster.namespace(&[]));
    let pod = &service.pods()[0];
    let state = "jsonpath={.status.containerStatuses[0].restartCount} {.status.containerStatuses[0].ready}";
    let (tally, (killed, back)) = service.under_load(|| {
        std::thread::sleep(std::time::Duration::from_secs(1));
        let killed = Instant::now();
        cluster.kill(&service.namespace.name, pod);
        assert!(wait_until(|| service.kubectl(&["get", "pod", pod, "--output", state]) == "1 true"));
        // The nodes hear of it a moment after the API does.
        std::thread::sleep(std::time::Duration::from_secs(2));
        let back = Instant::now();
        std::thread::sleep(std::time::Duration::from_secs(3));
        (killed, back)
    });
    // What the killed process had begun is lost, and nobody can help that; but nothing before it, and nothing after.
    let outside = tally.failed.iter().filter(|(at, _)| *at < killed - std::time::Duration::from_secs(1) || *at > back);
    assert_eq!(outside.count(), 0, "{killed:?} {back:?} {tally:?}");
    assert!(tally.answered > 10 * tally.failed.len(), "{tally:?}");
}
