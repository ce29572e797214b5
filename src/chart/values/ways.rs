//! The ways in from outside: an Ingress, routes of the Gateway API, Istio.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::kinds::DurationOrEmpty;
use super::{Object, Texts};

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct Ingress {
    enabled: bool,
    class_name: String,
    annotations: Texts,
    #[schemars(length(min = 1))]
    hosts: Vec<IngressHost>,
    tls: Vec<Object>,
    canary: IngressCanary,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct IngressHost {
    host: String,
    #[schemars(length(min = 1))]
    paths: Vec<IngressPath>,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct IngressPath {
    path: String,
    path_type: PathKind,
    #[serde(default, skip_serializing_if = "is_http")]
    port: ServicePort,
}

#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize, JsonSchema)]
enum PathKind {
    Prefix,
    Exact,
    ImplementationSpecific,
}

/// A port of the Service by its name.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
enum ServicePort {
    #[default]
    Http,
    Grpc,
}

fn is_http(port: &ServicePort) -> bool {
    *port == ServicePort::Http
}

#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
enum IngressCanary {
    Nginx,
    Pods,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct Gateway {
    http_route: Route<HttpRule>,
    grpc_route: Route<GrpcRule>,
    backend_tls: BackendTls,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Route<Rule> {
    enabled: bool,
    annotations: Texts,
    labels: Texts,
    parent_refs: Vec<Object>,
    hostnames: Vec<String>,
    #[schemars(length(min = 1))]
    rules: Vec<Rule>,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct HttpRule {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    name: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    matches: Option<Vec<Object>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    filters: Option<Vec<Object>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    timeouts: Option<Object>,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct GrpcRule {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    name: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    matches: Option<Vec<Object>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    filters: Option<Vec<Object>>,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct BackendTls {
    enabled: bool,
    hostname: String,
    ca_certificates: String,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct Istio {
    virtual_service: VirtualService,
    destination_rule: DestinationRule,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct VirtualService {
    enabled: bool,
    annotations: Texts,
    labels: Texts,
    hosts: Vec<String>,
    gateways: Vec<String>,
    timeout: DurationOrEmpty,
    retries: Object,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct DestinationRule {
    enabled: bool,
    traffic_policy: Object,
}
