//! `nimify deploy` and what belongs to it, with a real helm and a real Kubernetes whose pods run.

use std::path::PathBuf;
use std::process::{Command, Stdio};

use serde_json::Value;

use crate::cluster::{Cluster, Namespace};
use crate::command::{Ended, Place, wait_until};
use crate::registry::{Registry, Wishes};
use crate::{judges, made};

/// The digits service, pushed to a registry that the nodes reach, with two environments in namespaces of their own.
struct Site {
    cluster: &'static Cluster,
    staging: Namespace,
    prod: Namespace,
    place: Place,
    /// Which helm: 3 or 4.
    helm: PathBuf,
    _registry: Registry,
}

impl Site {
    fn new() -> Self {
        Self::with("helm")
    }

    fn with(helm: &str) -> Self {
        let cluster = Cluster::get();
        let registry = Registry::start(&Wishes::default());
        let port = registry.address.rsplit_once(':').unwrap().1.parse().unwrap();
        cluster.let_reach(port);
        let place = made::digits();
        let to = registry.at("ml/digits");
        place.run(["push", "digits", "--quiet", "--plain-http", "--to", &to]).with(0);
        let (staging, prod) = (cluster.namespace(&[RESTRICTED]), cluster.namespace(&[]));
        let config = place.read("digits/nimify.yaml");
        let environments = format!(
            "environments:\n  staging: {{ namespace: {}, values: {SMALL} }}\n  prod: {{ namespace: {}, values: {SMALL} }}\n",
            staging.name, prod.name
        );
        place.write("digits/nimify.yaml", config + &environments);
        Site { cluster, staging, prod, place, helm: judges::tool(&format!("bin/{helm}")), _registry: registry }
    }

    fn nimify(&self, args: &[&str]) -> Command {
        let mut command = self.place.nimify();
        command.current_dir(self.place.at("digits")).env("KUBECONFIG", &self.cluster.kubeconfig).args(args);
        command.env("NIMIFY_HELM", &self.helm);
        command
    }

    /// The kubeconfig of who may do everything.
    fn kubeconfig(&self) -> Value {
        serde_json::from_str(&self.cluster.must(&["config", "view", "--raw", "--output", "json"])).unwrap()
    }

    fn run(&self, args: &[&str]) -> Ended {
        self.place.finish(&mut self.nimify(args))
    }

    fn json(&self, args: &[&str]) -> Value {
        self.run(&[args, &["--format", "json"]].concat()).with(0).json()
    }

    /// What runs in `staging`.
    fn status(&self) -> Value {
        self.json(&["status", "--env", "staging"])["releases"][0].clone()
    }

    fn kubectl(&self, args: &[&str]) -> String {
        self.cluster.must(&[&["--namespace", &self.staging.name][..], args].concat())
    }

    fn leases(&self) -> String {
        self.kubectl(&["get", "leases", "--output", "name"])
    }
}

const RESTRICTED: &str = "pod-security.kubernetes.io/enforce=restricted";
/// Room for several services on two small nodes.
const SMALL: &str = "{ resources: { requests: { cpu: 20m, memory: 64Mi }, limits: { memory: 256Mi } } }";

#[test]
fn a_release_is_deployed_compared_upgraded_and_promoted() {
    let site = Site::new();
    let said = site.run(&["deploy", "--env", "staging"]).with(0).stdout;
    assert!(said.contains("revision 1, 1 of 1 pods ready, answers the recorded sample"), "{said}");
    assert_eq!(site.leases(), "", "the lock is given back");

    let status = site.status();
    assert_eq!((&status["revision"], &status["ready"], &status["wanted"]), (&1.into(), &1.into(), &1.into()));
    assert!(status["image"].as_str().unwrap().contains("/ml/digits@sha256:"), "{status}");
    let table = site.run(&["status"]).with(0).stdout;
    assert!(table.contains("healthy") && table.contains("nothing runs"), "{table}");

    // The same again changes nothing; another number of pods changes one line.
    let same = site.json(&["diff", "--env", "staging"]);
    assert_eq!(same["differences"][0]["objects"], serde_json::json!([]), "{same}");
    let two = ["deploy", "--env", "staging", "--set", "replicaCount=2"];
    let shown = site.run(&[&two[..], &["--dry-run"]].concat()).with(0).stdout;
    assert!(shown.contains("-   replicas: 1\n+   replicas: 2\n"), "{shown}");
    assert_eq!(site.status()["revision"], 1);
    let said = site.run(&two).with(0).stdout;
    assert!(said.contains("revision 2, 2 of 2 pods ready"), "{said}");

    // To the other environment: the same digest with that one's values.
    let promoted = site.json(&["promote", "staging", "prod"]);
    assert_eq!(promoted["deployed"][0]["image"], site.status()["image"], "{promoted}");
    assert_eq!((&promoted["deployed"][0]["wanted"], &promoted["deployed"][0]["sample"]), (&1.into(), &true.into()));
    let history = site.json(&["history", "--env", "prod"]);
    let noted = history["releases"][0]["revisions"][0]["description"].as_str().unwrap().to_string();
    assert!(noted.starts_with("promoted from staging sha256:"), "{noted}");
    assert_eq!(
        site.cluster.must(&["get", "pods", "--namespace", &site.prod.name, "--output", "name"]).lines().count(),
        1
    );

    let back = site.run(&["rollback", "--env", "staging"]).with(0).stdout;
    assert!(back.contains("runs as revision 1 did, 1 of 1 pods ready"), "{back}");
    let none = site.run(&["rollback", "--env", "staging", "--to", "99"]).refused(8);
    assert!(none.contains("no revision 99: there are 1, 2, 3"), "{none}");
}

#[test]
fn what_fails_is_told_and_undone() {
    let site = Site::new();
    // A first deployment that fails leaves nothing.
    let crash =
        ["deploy", "--env", "staging", "--timeout", "60s", "--set", "env=[{name: NIMIFY_LOG_LEVEL, value: nonsense}]"];
    let stderr = site.run(&crash).refused(8);
    assert!(stderr.contains("failed") && stderr.contains("removed again: nothing ran there before"), "{stderr}");
    assert!(stderr.contains("nonsense"), "the service's own words: {stderr}");
    assert_eq!(site.kubectl(&["get", "deployments", "--output", "name"]), "");

    // One that fails later leaves what ran before.
    site.run(&["deploy", "--env", "staging", "--quiet"]).with(0);
    let stderr = site.run(&crash).refused(8);
    assert!(stderr.contains("rolled back: revision 1 runs again, and is ready"), "{stderr}");
    assert_eq!((&site.status()["ready"], site.leases()), (&1.into(), String::new()));

    // A service that answers otherwise than recorded.
    let recorded = site.place.read("digits/samples/response.json");
    let other: String = recorded.chars().map(|c| if c == '1' { '7' } else { c }).collect();
    site.place.write("digits/samples/response.json", other);
    let stderr = site.run(&["deploy", "--env", "staging", "--set", "log.level=debug"]).refused(8);
    assert!(stderr.contains("answered the recorded sample otherwise than recorded"), "{stderr}");
    assert!(stderr.contains("runs again"), "{stderr}");
    site.run(&["deploy", "--env", "staging", "--set", "log.level=debug", "--no-sample"]).with(0);
}

#[test]
fn a_canary_is_begun_ended_and_promoted_by_helm_4_too() {
    let site = Site::with("helm4");
    let stderr = site.run(&["deploy", "--env", "staging", "--canary", "20"]).refused(8);
    assert!(stderr.contains("there is no release"), "{stderr}");
    site.run(&["deploy", "--env", "staging", "--quiet"]).with(0);
    let stderr = site.run(&["promote", "staging"]).refused(8);
    assert!(stderr.contains("has no canary"), "{stderr}");

    let canary = ["deploy", "--env", "staging", "--canary", "20", "--set", "log.level=debug"];
    let said = site.run(&canary).with(0).stdout;
    assert!(said.contains("2 of 2 pods ready, answers the recorded sample"), "{said}");
    let status = site.status();
    assert_eq!(status["canary"]["weight"], 20, "{status}");
    let stderr = site.run(&["deploy", "--env", "staging"]).refused(8);
    assert!(stderr.contains("has a canary") && stderr.contains("`nimify rollback --env ENV`"), "{stderr}");
    let back = site.run(&["rollback", "--env", "staging"]).with(0).stdout;
    assert!(back.contains("its canary is ended"), "{back}");
    assert!(site.status()["canary"].is_null());

    site.run(&canary).with(0);
    let said = site.run(&["promote", "staging"]).with(0).stdout;
    assert!(said.contains("1 of 1 pods ready"), "{said}");
    assert!(site.status()["canary"].is_null());
    let values = site.place.finish(site.place.command("helm").env("KUBECONFIG", &site.cluster.kubeconfig).args([
        "get",
        "values",
        "digits",
        "--all",
        "--output",
        "json",
        "--namespace",
        &site.staging.name,
    ]));
    assert_eq!(values.with(0).json()["log"]["level"], "debug");
}

#[test]
fn a_release_that_is_stuck_is_told_and_recovered() {
    let site = Site::new();
    // A helm that is killed while it waits leaves its release pending.
    let mut helm = site.place.command("helm");
    helm.env("KUBECONFIG", &site.cluster.kubeconfig).current_dir(site.place.at("digits"));
    helm.args(["install", "digits", "chart", "--wait", "--namespace", &site.staging.name]);
    let mut child = helm.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    assert!(wait_until(|| site.kubectl(&["get", "deployments", "--output", "name"]).contains("digits")));
    child.kill().unwrap();
    child.wait().unwrap();
    let stderr = site.run(&["deploy", "--env", "staging"]).refused(8);
    assert!(stderr.contains("is `pending-install`"), "{stderr}");
    assert!(stderr.contains("`nimify rollback --env staging` removes what it left"), "{stderr}");
    let said = site.run(&["rollback", "--env", "staging"]).with(0).stdout;
    assert!(said.contains("removed, since revision 1 never ran"), "{said}");
    site.run(&["deploy", "--env", "staging"]).with(0);
}

#[test]
fn a_cluster_that_is_not_as_expected_is_told_before_anything_changes() {
    let site = Site::new();
    let config = site.place.read("digits/nimify.yaml");
    let with = |from: &str, to: &str| {
        assert!(config.contains(from));
        site.place.write("digits/nimify.yaml", config.replace(from, to));
    };
    with(&site.staging.name, "nowhere");
    let stderr = site.run(&["deploy", "--env", "staging"]).refused(8);
    assert!(
        stderr.contains("there is no namespace `nowhere`") && stderr.contains("create namespace nowhere"),
        "{stderr}"
    );
    with("staging: {", "staging: { context: gone,");
    let stderr = site.run(&["deploy", "--env", "staging"]).refused(4);
    assert!(stderr.contains("no context `gone`"), "{stderr}");
    with(&site.staging.name, "made-anew");
    site.run(&["deploy", "--env", "staging", "--create-namespace", "--quiet"]).with(0);
    site.cluster.must(&["delete", "namespace", "made-anew", "--wait=false"]);
    site.place.write("digits/nimify.yaml", &config);

    let kubeconfig = site.kubeconfig();
    let with = |change: &dyn Fn(&mut Value), code: i32| {
        let mut changed = kubeconfig.clone();
        change(&mut changed);
        site.place.write("kubeconfig", changed.to_string());
        let mut command = site.nimify(&["deploy", "--env", "staging"]);
        site.place.finish(command.env("KUBECONFIG", site.place.at("kubeconfig"))).refused(code)
    };
    let stderr = with(&|it| it["clusters"][0]["cluster"]["server"] = "https://127.0.0.1:1".into(), 9);
    assert!(stderr.contains("can't be reached"), "{stderr}");
    // Somebody who may do nothing but deploy Deployments, and not even list what helm keeps.
    site.kubectl(&["create", "role", "few", "--verb=*", "--resource=deployments,leases"]);
    let account = format!("{}:default", site.staging.name);
    site.kubectl(&["create", "rolebinding", "few", "--role=few", "--serviceaccount", &account]);
    let token = site.kubectl(&["create", "token", "default"]);
    let stderr = with(&|it| it["users"][0]["user"] = serde_json::json!({ "token": token }), 8);
    assert!(stderr.contains("secrets"), "it names the right: {stderr}");
    assert_eq!(site.leases(), "");
}

#[test]
fn clusters_come_one_after_another_and_the_first_failure_stops() {
    let site = Site::new();
    let config = site.place.read("digits/nimify.yaml");
    site.place.write("digits/nimify.yaml", config.replace("prod: {", "prod: { contexts: [eu, us, asia],"));
    let mut kubeconfig = site.kubeconfig();
    let mut nobody = kubeconfig["clusters"][0].clone();
    nobody["name"] = "nobody".into();
    nobody["cluster"]["server"] = "https://127.0.0.1:1".into();
    let there = kubeconfig["clusters"][0]["name"].clone();
    kubeconfig["clusters"].as_array_mut().unwrap().push(nobody);
    let user = kubeconfig["users"][0]["name"].clone();
    let context = |name: &str, cluster: &Value| serde_json::json!({ "name": name, "context": { "cluster": cluster, "user": user } });
    kubeconfig["contexts"] = [context("eu", &there), context("us", &"nobody".into()), context("asia", &there)].into();
    site.place.write("kubeconfig", kubeconfig.to_string());
    let run = |args: &[&str]| {
        let mut command = site.nimify(args);
        site.place.finish(command.env("KUBECONFIG", site.place.at("kubeconfig")))
    };
    let ended = run(&["deploy", "--env", "prod"]).with(9);
    assert!(ended.stdout.contains("in eu: revision 1"), "{}", ended.stdout);
    assert!(ended.stderr.contains("context `us` can't be reached"), "{}", ended.stderr);
    assert!(ended.stderr.contains("not tried after that: asia"), "{}", ended.stderr);
    // What runs is told where it can be told.
    let status = run(&["status", "--env", "prod"]).with(9);
    assert!(status.stdout.contains("healthy") && status.stdout.contains("unknown"), "{}", status.stdout);
}
