//! The chart's values as a Rust type: the one truth behind `values.schema.json`, `values.yaml` and the environments.
//!
//! What each value is for stands in `charts-template/values.yaml`, whose comments become the schema's descriptions.

mod extra;
mod kinds;
mod model;
mod secrets;
mod ways;

use std::collections::BTreeMap;
use std::num::{NonZeroU16, NonZeroU32, NonZeroU64};

use nimify_runtime::settings::Optimize;
use schemars::JsonSchema;
use schemars::generate::SchemaSettings;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use extra::{DnsPolicy, EnvironmentSource, EnvironmentVariable, ExtraInit};
use kinds::{
    AlertName, CountOrAuto, CountOrPercent, DigestOrEmpty, Duration, EndpointOrEmpty, Fraction, LatencyBound,
    NameOrEmpty, Port, ProviderList, Quantity,
};
use model::{Model, Persistence};
use secrets::Secrets;
use ways::{Gateway, Ingress, Istio};

/// A part of a Kubernetes object, passed on as it is.
type Object = Map<String, Value>;
/// Labels or annotations.
type Texts = BTreeMap<String, String>;

/// The JSON Schema of [`Values`] without descriptions, of the draft that every helm 3 knows, with nothing by reference.
pub(super) fn schema() -> Value {
    let settings = SchemaSettings::draft07().with(|settings| settings.inline_subschemas = true);
    let mut schema = settings.into_generator().into_root_schema_for::<Values>().to_value();
    if let Value::Object(schema) = &mut schema {
        schema.insert("title".into(), "Values of the chart".into());
        schema.remove("description");
    }
    super::canary::narrow(&mut schema);
    schema
}

/// `values.yaml` as a whole.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct Values {
    name_override: NameOrEmpty,
    fullname_override: NameOrEmpty,
    image: Image,
    common_labels: Texts,
    common_annotations: Texts,
    model: Model,
    persistence: Persistence,
    image_pull_secrets: Vec<Object>,
    replica_count: u32,
    canary: Canary,
    server: Server,
    tls: Tls,
    batching: Batching,
    engine: Engine,
    state: State,
    tracing: Tracing,
    log: Log,
    env: Vec<EnvironmentVariable>,
    env_from: Vec<EnvironmentSource>,
    secrets: Secrets,
    resources: Resources,
    gpu: Gpu,
    spot: Spot,
    runtime_class_name: String,
    node_selector: Texts,
    tolerations: Vec<Object>,
    affinity: Object,
    topology_spread_constraints: Vec<Object>,
    priority_class_name: String,
    deployment_annotations: Texts,
    pod_annotations: Texts,
    pod_labels: Texts,
    update_strategy: UpdateStrategy,
    min_ready_seconds: u32,
    progress_deadline_seconds: CountOrAuto,
    lifecycle: Object,
    termination_grace_period_seconds: CountOrAuto,
    host_aliases: Vec<Object>,
    dns_policy: DnsPolicy,
    dns_config: Object,
    pod_security_context: Object,
    container_security_context: Object,
    extra_volumes: Vec<Object>,
    extra_volume_mounts: Vec<Object>,
    extra_containers: Vec<Object>,
    init_containers: ExtraInit,
    extra_objects: Vec<Object>,
    service_account: ServiceAccount,
    service: Service,
    ingress: Ingress,
    gateway: Gateway,
    istio: Istio,
    autoscaling: Autoscaling,
    pod_disruption_budget: PodDisruptionBudget,
    network_policy: NetworkPolicy,
    metrics: Metrics,
    liveness_probe: Probe,
    readiness_probe: Probe,
    startup_probe: Probe,
    test: Test,
    /// Values that a chart above this one shares with all of its parts: helm adds them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    global: Option<Object>,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Image {
    #[schemars(length(min = 1))]
    repository: String,
    digest: DigestOrEmpty,
    tag: String,
    version: String,
    pull_policy: PullPolicy,
}

#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize, JsonSchema)]
enum PullPolicy {
    Always,
    IfNotPresent,
    Never,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Canary {
    enabled: bool,
    #[schemars(range(max = 100))]
    weight: u8,
    replica_count: NonZeroU32,
    /// Closed by [`super::canary::narrow`].
    values: Object,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Server {
    port: Port,
    grpc_port: u16,
    metrics_port: u16,
    max_connections: CountOrAuto,
    compression: bool,
    compression_min_bytes: NonZeroU64,
    debug_page: bool,
    max_body_bytes: NonZeroU64,
    max_buffered_bytes: CountOrAuto,
    max_concurrency: NonZeroU64,
    read_timeout: Duration,
    drain_delay: Duration,
    drain_timeout: Duration,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Tls {
    secret_name: String,
    client_certificates: bool,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Batching {
    max_batch_size: NonZeroU64,
    max_batch_elements: CountOrAuto,
    max_queue_delay: Duration,
    max_queue: NonZeroU64,
    request_timeout: Duration,
    priority_levels: NonZeroU64,
    default_priority: CountOrAuto,
    padding: Object,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Engine {
    provider: ProviderList,
    require: bool,
    threads: CountOrAuto,
    instances: CountOrAuto,
    #[schemars(with = "kinds::OptimizeWord")]
    optimize: Optimize,
    verify_model: bool,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct State {
    max_sessions: NonZeroU64,
    max_bytes: NonZeroU64,
    idle_timeout: Duration,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Tracing {
    endpoint: EndpointOrEmpty,
    sample_ratio: Fraction,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Log {
    level: LogLevel,
    format: LogFormat,
    access: LogLevel,
}

#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
enum LogLevel {
    Off,
    Error,
    Warn,
    Info,
    Debug,
    Trace,
}

#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
enum LogFormat {
    Text,
    Json,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Resources {
    #[serde(default)]
    requests: BTreeMap<String, Quantity>,
    #[serde(default)]
    limits: BTreeMap<String, Quantity>,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Gpu {
    count: u32,
    #[schemars(length(min = 1))]
    resource_name: String,
    tolerations: Vec<Object>,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Spot {
    enabled: bool,
    tolerations: Vec<Object>,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct UpdateStrategy {
    #[serde(rename = "type")]
    kind: UpdateKind,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    rolling_update: Option<RollingUpdate>,
}

#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize, JsonSchema)]
enum UpdateKind {
    RollingUpdate,
    Recreate,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct RollingUpdate {
    max_unavailable: CountOrPercent,
    max_surge: CountOrPercent,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct ServiceAccount {
    create: bool,
    name: String,
    annotations: Texts,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Service {
    #[serde(rename = "type")]
    kind: ServiceKind,
    port: Port,
    grpc_port: Port,
    session_affinity: SessionAffinity,
    /// A day at most, as Kubernetes has it.
    #[schemars(range(min = 1, max = 86_400))]
    session_affinity_seconds: u32,
    annotations: Texts,
    labels: Texts,
}

#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize, JsonSchema)]
enum SessionAffinity {
    None,
    #[serde(rename = "ClientIP")]
    ClientIp,
}

#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize, JsonSchema)]
enum ServiceKind {
    #[serde(rename = "ClusterIP")]
    ClusterIp,
    NodePort,
    LoadBalancer,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Autoscaling {
    enabled: bool,
    scaler: Scaler,
    min_replicas: u32,
    max_replicas: NonZeroU32,
    target_cpu_percent: u16,
    target_queue_depth: u32,
    target_latency: Duration,
    metrics: Vec<Object>,
    behavior: Object,
    prometheus_adapter: PrometheusAdapter,
    keda: Keda,
}

#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
enum Scaler {
    Hpa,
    Keda,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct PrometheusAdapter {
    config_map: bool,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Keda {
    #[schemars(regex(pattern = "^(https?://.+)?$"))]
    server_address: String,
    authentication: String,
    polling_interval: NonZeroU32,
    cooldown_period: u32,
    triggers: Vec<Object>,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct PodDisruptionBudget {
    enabled: bool,
    max_unavailable: CountOrPercent,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct NetworkPolicy {
    enabled: bool,
    from: Vec<Object>,
    metrics_from: Vec<Object>,
    egress: Vec<Object>,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Metrics {
    enabled: bool,
    service_monitor: Monitor,
    pod_monitor: Monitor,
    prometheus_rule: PrometheusRule,
    dashboards: Dashboards,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Monitor {
    enabled: bool,
    additional_labels: Texts,
    interval: Duration,
    scrape_timeout: Duration,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct PrometheusRule {
    enabled: bool,
    additional_labels: Texts,
    alert_labels: Texts,
    disabled: Vec<AlertName>,
    runbook_url: String,
    slo: Objectives,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Objectives {
    availability: Fraction,
    latency: LatencyObjective,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct LatencyObjective {
    threshold: LatencyBound,
    objective: Fraction,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Dashboards {
    enabled: bool,
    labels: Texts,
    annotations: Texts,
    folder: String,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Probe {
    enabled: bool,
    #[schemars(regex(pattern = "^/"))]
    path: String,
    period_seconds: NonZeroU16,
    timeout_seconds: NonZeroU16,
    failure_threshold: NonZeroU32,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Test {
    sample: bool,
}
