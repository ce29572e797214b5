//! `nimify deploy` and what follows from it, from a registry into a cluster that admits only restricted pods.

use std::process::{Command, Stdio};
use std::time::Duration;

use serde_json::Value;

use crate::cluster::{Cluster, Namespace};
use crate::command::{Ended, Place, wait_until};
use crate::registry::{Registry, Wishes};

/// The digits service in a folder, pushed, with two environments in namespaces of their own.
struct Shop {
    cluster: &'static Cluster,
    staging: Namespace,
    prod: Namespace,
    place: Place,
    _registry: Registry,
}

const RESTRICTED: [&str; 1] = ["pod-security.kubernetes.io/enforce=restricted"];

/// A setting that the chart takes and the service refuses, when it starts.
const REFUSED: &str = "{ env: [{ name: NIMIFY_DRAIN_DELAY, value: soon }] }\n";

impl Shop {
    fn open() -> Self {
        let cluster = Cluster::get();
        let registry = Registry::start(&Wishes::default());
        cluster.let_reach(registry.address.rsplit_once(':').unwrap().1.parse().unwrap());
        let [staging, prod] = [(), ()].map(|()| cluster.namespace(&RESTRICTED));
        let place = Place::new();
        let shop = Shop { cluster, staging, prod, place, _registry: registry };
        let repository = shop._registry.at("ml/digits");
        shop.place.take("digits/digits.onnx");
        shop.place.run(["create", "digits.onnx", "--yes", "--quiet", "--repository", &repository]).with(0);
        // Small enough for the pods of several tests at once.
        let small = "values: { resources: { requests: { cpu: 100m } } }";
        let environments = format!(
            "\nenvironments:\n  staging: {{ namespace: {}, {small} }}\n  prod: {{ namespace: {}, {small} }}\n",
            shop.staging.name, shop.prod.name
        );
        let config = shop.place.read("digits/nimify.yaml") + &environments;
        shop.place.write("digits/nimify.yaml", config).write("refused.yaml", REFUSED);
        shop.push();
        shop
    }

    fn push(&self) {
        self.nimify(&["push", "digits", "--plain-http", "--quiet"]).with(0);
    }

    /// Another version, with an image of its own, as the environments would get it next.
    fn release(&self, version: &str) {
        let config = self.place.read("digits/nimify.yaml");
        let line = config.lines().find(|line| line.starts_with("version:")).expect("a version");
        self.place.write("digits/nimify.yaml", config.replace(line, &format!("version: {version}")));
        self.nimify(&["build", "--config", "digits/nimify.yaml", "--quiet"]).with(0);
        self.push();
    }

    fn command(&self, args: &[&str]) -> Command {
        let mut nimify = self.place.nimify();
        nimify.env("KUBECONFIG", &self.cluster.kubeconfig).args(args);
        nimify
    }

    fn nimify(&self, args: &[&str]) -> Ended {
        self.place.finish(&mut self.command(args))
    }

    fn deploy(&self, more: &[&str]) -> Ended {
        self.nimify(&[&["deploy", "digits", "--env", "staging", "--plain-http"][..], more].concat())
    }

    /// What runs in an environment, as `status` tells it.
    fn runs(&self, environment: &str) -> Value {
        let status = self.nimify(&["status", "digits", "--env", environment, "--format", "json"]).with(0);
        status.json()["releases"][0].clone()
    }

    fn kubectl(&self, args: &[&str]) -> String {
        self.cluster.must(&[&["--namespace", &self.staging.name][..], args].concat())
    }

    /// A deployment that is under way: it holds the lock.
    fn begin(&self, more: &[&str]) -> std::process::Child {
        let args = [&["deploy", "digits", "--env", "staging", "--plain-http"][..], more].concat();
        let child = self.command(&args).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let holder = ["get", "lease", "nimify-digits", "--ignore-not-found", "--output"];
        let held = || !self.kubectl(&[&holder[..], &["jsonpath={.spec.holderIdentity}"]].concat()).is_empty();
        assert!(wait_until(held));
        child
    }
}

#[test]
fn a_release_is_installed_upgraded_undone_promoted_and_rolled_back() {
    let shop = Shop::open();
    shop.deploy(&[]).with(0);
    let first = shop.runs("staging");
    assert_eq!((&first["revision"], &first["version"]), (&1.into(), &"0.1.0".into()), "{first}");
    assert_eq!((&first["ready"], &first["status"]), (&1.into(), &"deployed".into()), "{first}");

    shop.release("0.2.0");
    shop.deploy(&[]).with(0);
    let second = shop.runs("staging");
    assert_eq!((&second["revision"], &second["version"]), (&2.into(), &"0.2.0".into()), "{second}");
    assert_ne!(first["image"], second["image"]);

    let failed = shop.deploy(&["--values", "refused.yaml"]).with(8);
    assert!(failed.stderr.contains("NIMIFY_DRAIN_DELAY"), "the pod's last words: {}", failed.stderr);
    let back = shop.runs("staging");
    assert_eq!((&back["image"], &back["ready"]), (&second["image"], &1.into()), "{back}");
    assert_eq!(back.get("reasons"), None, "{back}");

    shop.nimify(&["promote", "digits", "staging", "prod", "--plain-http"]).with(0);
    assert_eq!(shop.runs("prod")["image"], second["image"]);

    shop.nimify(&["rollback", "digits", "--env", "staging", "--to", "1"]).with(0);
    assert_eq!(shop.runs("staging")["image"], first["image"]);
    assert_eq!(shop.runs("prod")["image"], second["image"]);
}

#[test]
fn what_the_namespace_does_not_admit_is_told_and_removed() {
    let shop = Shop::open();
    shop.place.write("rooted.yaml", "{ containerSecurityContext: { allowPrivilegeEscalation: true } }\n");
    let refused = shop.deploy(&["--values", "rooted.yaml"]).with(8);
    assert!(refused.stderr.contains("violates PodSecurity"), "{}", refused.stderr);
    assert_eq!(shop.kubectl(&["get", "deployments,services", "--output", "name"]), "");

    let quota = ["create", "quota", "small", "--hard", "requests.memory=16Mi"];
    shop.kubectl(&quota);
    let refused = shop.deploy(&[]).with(8);
    assert!(refused.stderr.contains("exceeded quota"), "{}", refused.stderr);
    assert_eq!(shop.kubectl(&["get", "deployments,services", "--output", "name"]), "");
}

#[test]
fn a_second_deployment_is_refused_and_an_interrupted_one_is_undone() {
    let shop = Shop::open();
    shop.deploy(&[]).with(0);
    let before = shop.runs("staging");
    let stuck = shop.begin(&["--values", "refused.yaml"]);
    let second = shop.deploy(&[]);
    assert!(second.code == Some(8) && second.stderr.contains("nimify-digits"), "{second:?}");
    // Helm has to have begun for something to be undone.
    std::thread::sleep(Duration::from_secs(1));
    let pid = rustix::process::Pid::from_raw(stuck.id() as i32).unwrap();
    rustix::process::kill_process(pid, rustix::process::Signal::INT).unwrap();
    let ended = shop.place.wait(stuck);
    assert!(matches!(ended.code, Some(130)), "{ended:?}");
    let after = shop.runs("staging");
    assert_eq!((&after["image"], &after["ready"]), (&before["image"], &1.into()), "{after}");
    shop.deploy(&[]).with(0);
}
