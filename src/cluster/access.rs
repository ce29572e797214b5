//! Whether the namespace is there and who asks may do what a release takes: asked before anything is changed.

use std::collections::BTreeSet;

use http::Method;
use serde_json::{Value, json};

use super::request::{Ask, segment};
use super::{Cluster, Error};

/// How many questions are under way at once.
const AT_ONCE: usize = 8;

/// A right in the namespace.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Right {
    /// The API group, empty for the core's.
    pub group: String,
    /// The resource's name in the plural, with a subresource after a slash: `pods/log`.
    pub resource: String,
    /// What is done with it: `create`.
    pub verb: &'static str,
}

impl Right {
    fn new(group: &str, resource: &str, verb: &'static str) -> Self {
        Right { group: group.into(), resource: resource.into(), verb }
    }
}

impl std::fmt::Display for Right {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let dot = if self.group.is_empty() { "" } else { "." };
        write!(f, "{} {}{dot}{}", self.verb, self.resource, self.group)
    }
}

/// What helm does with each object of a release.
const RELEASING: [&str; 5] = ["get", "create", "update", "patch", "delete"];

/// The rights that releasing these objects takes, and following them afterwards: for helm's own records, the objects,
/// the pods with their logs and events, the lock and a request through the Service.
///
/// `objects`: what the chart renders; those without a kind are left out.
pub fn rights<'a>(objects: impl IntoIterator<Item = &'a Value>) -> BTreeSet<Right> {
    let mut rights = BTreeSet::from([
        Right::new("", "pods", "list"),
        Right::new("", "pods/log", "get"),
        Right::new("", "events", "list"),
        Right::new("", "services/proxy", "create"),
        Right::new("apps", "deployments", "list"),
        Right::new("apps", "replicasets", "list"),
        // Helm looks up its records by their labels.
        Right::new("", "secrets", "list"),
    ]);
    let mut add = |group: &str, resource: &str, verbs: &[&'static str]| {
        rights.extend(verbs.iter().map(|&verb| Right::new(group, resource, verb)));
    };
    add("", "secrets", &RELEASING);
    add("coordination.k8s.io", "leases", &["get", "create", "update", "delete"]);
    for object in objects {
        let (Some(kind), Some(version)) = (object["kind"].as_str(), object["apiVersion"].as_str()) else { continue };
        let group = version.split_once('/').map_or("", |(group, _)| group);
        add(group, &plural(kind), &RELEASING);
    }
    rights
}

/// The resource of a kind, as the rules of English have it: `NetworkPolicy` → `networkpolicies`.
fn plural(kind: &str) -> String {
    let kind = kind.to_ascii_lowercase();
    match kind.as_bytes() {
        [.., b'e' | b'a' | b'o', b'y'] => format!("{kind}s"),
        [.., b'y'] => format!("{}ies", &kind[..kind.len() - 1]),
        [.., b's' | b'x'] | [.., b'c' | b's', b'h'] => format!("{kind}es"),
        _ => format!("{kind}s"),
    }
}

/// The question about one right.
fn review(right: &Right, namespace: &str) -> Value {
    let (resource, subresource) = right.resource.split_once('/').unwrap_or((&right.resource, ""));
    json!({
        "apiVersion": "authorization.k8s.io/v1",
        "kind": "SelfSubjectAccessReview",
        "spec": { "resourceAttributes": {
            "namespace": namespace, "verb": right.verb, "group": right.group,
            "resource": resource, "subresource": subresource,
        } },
    })
}

impl Cluster {
    /// Checks that the namespace exists, and that who asks has all of these rights in it; one message lists what is
    /// missing.
    pub fn check_access(&self, rights: &BTreeSet<Right>) -> Result<(), Error> {
        self.check_namespace()?;
        let rights: Vec<&Right> = rights.iter().collect();
        let mut missing = Vec::new();
        for few in rights.chunks(AT_ONCE) {
            let answers: Vec<Result<bool, Error>> = std::thread::scope(|scope| {
                let asked: Vec<_> = few.iter().map(|right| scope.spawn(|| self.allowed(right))).collect();
                let unheard = || Error::NotUnderstood { action: "check access".into(), words: "no answer".into() };
                asked.into_iter().map(|one| one.join().unwrap_or_else(|_| Err(unheard()))).collect()
            });
            for (right, allowed) in few.iter().zip(answers) {
                if !allowed? {
                    missing.push(right.to_string());
                }
            }
        }
        if missing.is_empty() {
            return Ok(());
        }
        Err(Error::MissingRights { missing, namespace: self.namespace.clone(), context: self.context.clone() })
    }

    /// Checks that the namespace exists. Who may not look is believed: the next request tells.
    pub fn check_namespace(&self) -> Result<(), Error> {
        let path = format!("/api/v1/namespaces/{}", segment(&self.namespace));
        match self.object(&Ask::get(path, "get namespaces")) {
            Ok(Some(namespace)) if namespace["status"]["phase"] == "Terminating" => Err(Error::Refused {
                action: format!("use namespace `{}`", self.namespace),
                status: 409,
                words: "it is being deleted".into(),
            }),
            Ok(Some(_)) | Err(Error::Forbidden { .. }) => Ok(()),
            Ok(None) => Err(self.no_namespace()),
            Err(other) => Err(other),
        }
    }

    fn allowed(&self, right: &Right) -> Result<bool, Error> {
        let path = "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews";
        let ask = Ask::with(Method::POST, path, &review(right, &self.namespace), "create selfsubjectaccessreviews");
        let answer = self.object(&ask)?.unwrap_or_default();
        answer["status"]["allowed"]
            .as_bool()
            .ok_or_else(|| Error::NotUnderstood { action: ask.action, words: "no `status.allowed`".into() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kinds_become_resources() {
        for (kind, resource) in [
            ("Deployment", "deployments"),
            ("NetworkPolicy", "networkpolicies"),
            ("Ingress", "ingresses"),
            ("Gateway", "gateways"),
            ("HTTPRoute", "httproutes"),
            ("PrometheusRule", "prometheusrules"),
            ("SecretProviderClass", "secretproviderclasses"),
            ("", "s"),
        ] {
            assert_eq!(plural(kind), resource);
        }
    }

    #[test]
    fn rights_follow_what_is_rendered() {
        let objects = [json!({"apiVersion": "apps/v1", "kind": "Deployment"}), json!({"kind": "Lost"}), json!(3)];
        let rights = rights(&objects);
        let said: Vec<String> = rights.iter().map(ToString::to_string).collect();
        for right in ["patch deployments.apps", "create secrets", "get pods/log", "update leases.coordination.k8s.io"] {
            assert!(said.iter().any(|said| said == right), "{right} is not in {said:?}");
        }
        assert!(!said.iter().any(|said| said.contains("lost")));
    }

    #[test]
    fn a_subresource_is_asked_for_apart() {
        let asked = review(&Right::new("", "pods/log", "get"), "ml");
        let attributes = &asked["spec"]["resourceAttributes"];
        assert_eq!((&attributes["resource"], &attributes["subresource"]), (&json!("pods"), &json!("log")));
    }
}
