//! The cluster itself: what the other tests take for granted.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};

use crate::cluster::{Cluster, NODES};
use crate::made;

#[test]
fn the_api_answers_and_its_controllers_work() {
    let cluster = Cluster::get();
    let version: serde_json::Value = serde_json::from_str(&cluster.must(&["get", "--raw", "/version"])).unwrap();
    assert_eq!(version["major"], "1", "{version}");
    let namespace = cluster.namespace(&["team=a"]);
    let labels = cluster.must(&["get", "namespace", &namespace.name, "--output", "jsonpath={.metadata.labels.team}"]);
    assert_eq!(labels, "a");
    let nodes = cluster.must(&["get", "nodes", "--output", "name"]);
    assert_eq!(nodes, NODES.map(|node| format!("node/{node}")).join("\n"));
}

#[test]
fn nodes_reach_what_the_test_serves() {
    let cluster = Cluster::get();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    cluster.let_reach(address.port());
    let greeting = std::thread::spawn(move || listener.accept().unwrap().0.write_all(b"here").unwrap());
    let said = cluster.on_node(|| {
        let mut said = String::new();
        TcpStream::connect(address).unwrap().read_to_string(&mut said).unwrap();
        said
    });
    greeting.join().unwrap();
    assert_eq!(said, "here");
}

#[test]
fn a_service_runs_confined_on_each_node_and_answers() {
    let cluster = Cluster::get();
    let place = made::digits();
    cluster.load(&place.at("digits"), &[]);
    let namespace = cluster.namespace(&["pod-security.kubernetes.io/enforce=restricted"]);
    let helm = |args: &[&str]| {
        let mut helm = place.command("helm");
        helm.env("KUBECONFIG", &cluster.kubeconfig).args(args).args(["--namespace", &namespace.name]);
        place.finish(&mut helm).with(0);
    };
    let spread = "topologySpreadConstraints=[{\"maxSkew\":1,\"topologyKey\":\"kubernetes.io/hostname\",\
                  \"whenUnsatisfiable\":\"DoNotSchedule\",\"labelSelector\":{\"matchLabels\":\
                  {\"app.kubernetes.io/name\":\"digits\"}}}]";
    let two = ["--set", "replicaCount=2", "--set", "resources.requests.cpu=100m", "--set-json", spread];
    helm(&[&["install", "digits", "digits/chart", "--wait", "--timeout", "180s"][..], &two].concat());
    let on = ["get", "pods", "--namespace", &namespace.name, "--output", "jsonpath={.items[*].spec.nodeName}"];
    let mut on: Vec<_> = cluster.must(&on).split(' ').map(String::from).collect();
    on.sort();
    assert_eq!(on, NODES);

    // By the API server's proxy, by the service's address, and by its name from a pod.
    let path = format!("/api/v1/namespaces/{}/services/digits:http/proxy/v1/health/ready", namespace.name);
    cluster.must(&["get", "--raw", &path]);
    let address =
        ["get", "service", "digits", "--namespace", &namespace.name, "--output", "jsonpath={.spec.clusterIP}"];
    let address = cluster.must(&address);
    let ready = cluster.on_node(|| ureq::get(format!("http://{address}:8000/v1/health/ready")).call());
    assert_eq!(ready.unwrap().status(), 200);
    helm(&["test", "digits", "--logs"]);
}
