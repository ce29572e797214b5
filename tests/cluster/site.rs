//! The digits service, pushed, with a real helm and a real Kubernetes to deploy it to.

use std::path::PathBuf;
use std::process::Command;

use serde_json::Value;

use crate::cluster::{Cluster, Namespace};
use crate::command::{Ended, Place};
use crate::registry::{Registry, Wishes};
use crate::{judges, made};

const RESTRICTED: &str = "pod-security.kubernetes.io/enforce=restricted";
/// Room for several services on two small nodes.
const SMALL: &str = "{ resources: { requests: { cpu: 20m, memory: 64Mi }, limits: { memory: 256Mi } } }";

/// The digits service, pushed to a registry that the nodes reach, with two environments in namespaces of their own.
pub(crate) struct Site {
    pub(crate) cluster: &'static Cluster,
    pub(crate) staging: Namespace,
    pub(crate) prod: Namespace,
    pub(crate) place: Place,
    /// Which helm: 3 or 4.
    helm: PathBuf,
    registry: Registry,
}

impl Site {
    pub(crate) fn new() -> Self {
        Self::with("helm")
    }

    pub(crate) fn with(helm: &str) -> Self {
        let cluster = Cluster::get();
        let registry = Registry::start(&Wishes::default());
        let port = registry.address.rsplit_once(':').unwrap().1.parse().unwrap();
        cluster.let_reach(port);
        let place = made::digits();
        let (staging, prod) = (cluster.namespace(&[RESTRICTED]), cluster.namespace(&[]));
        let config = place.read("digits/nimify.yaml");
        let environments = format!(
            "environments:\n  staging: {{ namespace: {}, values: {SMALL} }}\n  prod: {{ namespace: {}, values: {SMALL} }}\n",
            staging.name, prod.name
        );
        place.write("digits/nimify.yaml", config + &environments);
        let site = Site { cluster, staging, prod, place, helm: judges::tool(&format!("bin/{helm}")), registry };
        site.push();
        site
    }

    pub(crate) fn nimify(&self, args: &[&str]) -> Command {
        let mut command = self.place.nimify();
        command.current_dir(self.place.at("digits")).env("KUBECONFIG", &self.cluster.kubeconfig).args(args);
        command.env("NIMIFY_HELM", &self.helm);
        command
    }

    fn push(&self) {
        self.run(&["push", ".", "--quiet", "--plain-http", "--to", &self.registry.at("ml/digits")]).with(0);
    }

    /// Another version, with an image of its own, as the environments would get it next.
    pub(crate) fn release(&self, version: &str) {
        let config = self.place.read("digits/nimify.yaml");
        let line = config.lines().find(|line| line.starts_with("version:")).expect("a version");
        self.place.write("digits/nimify.yaml", config.replace(line, &format!("version: {version}")));
        self.run(&["build", "--quiet"]).with(0);
        self.push();
    }

    /// The kubeconfig of who may do everything.
    pub(crate) fn kubeconfig(&self) -> Value {
        serde_json::from_str(&self.cluster.must(&["config", "view", "--raw", "--output", "json"])).unwrap()
    }

    pub(crate) fn run(&self, args: &[&str]) -> Ended {
        self.place.finish(&mut self.nimify(args))
    }

    pub(crate) fn json(&self, args: &[&str]) -> Value {
        self.run(&[args, &["--format", "json"]].concat()).with(0).json()
    }

    /// What runs in `staging`.
    pub(crate) fn status(&self) -> Value {
        self.json(&["status", "--env", "staging"])["releases"][0].clone()
    }

    pub(crate) fn kubectl(&self, args: &[&str]) -> String {
        self.cluster.must(&[&["--namespace", &self.staging.name][..], args].concat())
    }

    pub(crate) fn leases(&self) -> String {
        self.kubectl(&["get", "leases", "--output", "name"])
    }
}
