//! A manifest → what of it is followed and asked: its workloads, and the Services of its parts. Pure.

use serde_json::Value;

use super::{Error, diff};

/// What is followed and asked of a release.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Objects {
    /// The objects themselves.
    pub all: Vec<Value>,
    /// The names of its Deployments, the stable part's first.
    pub deployments: Vec<String>,
    /// The Service of the stable part.
    pub service: Option<Endpoint>,
    /// That of the canary.
    pub canary: Option<Endpoint>,
}

/// A Service that takes requests by HTTP.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Endpoint {
    /// The Service's name.
    pub service: String,
    /// Whether it speaks TLS.
    pub tls: bool,
}

/// The name of the port that takes HTTP.
pub(super) const PORT: &str = "http";

impl Objects {
    /// Reads them from a manifest. What belongs to hooks is left out.
    pub fn read(manifest: &str) -> Result<Self, Error> {
        let all: Vec<Value> = diff::objects(manifest, "")?.into_values().collect();
        let mut deployments: Vec<(bool, String)> =
            all.iter().filter(|object| object["kind"] == "Deployment").map(|one| (is_canary(one), name(one))).collect();
        deployments.sort();
        let endpoint = |canary: bool| {
            let services = all.iter().filter(|object| object["kind"] == "Service" && is_canary(object) == canary);
            services.into_iter().find_map(endpoint)
        };
        Ok(Objects {
            service: endpoint(false),
            canary: endpoint(true),
            deployments: deployments.into_iter().map(|(_, name)| name).collect(),
            all,
        })
    }
}

fn name(object: &Value) -> String {
    object["metadata"]["name"].as_str().unwrap_or_default().into()
}

fn is_canary(object: &Value) -> bool {
    object["metadata"]["labels"]["app.kubernetes.io/component"] == "canary"
}

fn endpoint(service: &Value) -> Option<Endpoint> {
    let ports = service["spec"]["ports"].as_array()?;
    let port = ports.iter().find(|port| port["name"] == PORT)?;
    Some(Endpoint { service: name(service), tls: port["appProtocol"] == "https" })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn workloads_and_services_are_found_part_by_part() {
        let object = |kind: &str, name: &str, component: &str, protocol: &str| {
            format!(
                "---\nkind: {kind}\nmetadata: {{name: {name}, labels: {{app.kubernetes.io/component: {component}}}}}\n\
                 spec: {{ports: [{{name: grpc}}, {{name: http, appProtocol: {protocol}}}]}}\n"
            )
        };
        let manifest = [
            object("Deployment", "a-canary", "canary", ""),
            object("Deployment", "digits", "server", ""),
            object("Service", "digits-canary", "canary", "http"),
            object("Service", "digits", "server", "https"),
            object("ConfigMap", "digits", "server", ""),
        ];
        let objects = Objects::read(&manifest.concat()).unwrap();
        assert_eq!(objects.deployments, ["digits", "a-canary"]);
        assert_eq!(objects.service, Some(Endpoint { service: "digits".into(), tls: true }));
        assert_eq!(objects.canary, Some(Endpoint { service: "digits-canary".into(), tls: false }));
        assert_eq!(objects.all.len(), 5);
        assert_eq!(Objects::read("").unwrap(), Objects::default());
    }
}
