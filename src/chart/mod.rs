//! `ServicePlan` + image digest → [`FileTree`] of a Helm chart. Pure: nothing is read and nothing is written.
//!
//! The chart is the one in `charts-template/`, which `helm lint` accepts where it stands. Its templates are copied as
//! they are. `Chart.yaml`, `values.schema.json`, rules and dashboards are serialised from Rust; `values.yaml` keeps its
//! comments while the model's values replace the marked scalars, and what comes out is parsed again and compared with
//! what was meant.

mod annotated;
mod canary;
mod environment;
mod metadata;
mod monitoring;
mod package;
mod template;
mod values;
mod yaml;

use serde_json::{Value, json};

use crate::digest::Digest;
use crate::files::{FileTree, RelativePath};
use crate::plan::ServicePlan;
use metadata::Metadata;
use nimify_runtime::settings::{ServerSettings, duration};
use values::Values;

pub use canary::difference;
pub use environment::{check_values, merge_values};
pub use monitoring::alert_names;
pub use package::{Package, image_of, package, pointed_at};

/// What a chart is rendered from.
#[derive(Debug, Clone, Copy)]
pub struct ChartRequest<'a> {
    /// Names, settings, resources, environments.
    pub plan: &'a ServicePlan,
    /// Digest of the image's manifest: the chart runs this image and no other.
    pub digest: Digest,
}

/// Why there is no chart. Two would be faults of nimify: [`Error::Template`] and [`Error::Mangled`].
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A port is 0, which only a service outside a cluster can use.
    #[error("`server.{0}` is 0, but the chart's Service needs a port that is known beforehand")]
    FreePort(&'static str),
    /// An environment's name can't be part of a file's name.
    #[error("the environment `{0}` can't name a file: use letters, digits, `.`, `_` and `-`")]
    EnvironmentName(String),
    /// An environment sets a value that the chart doesn't have, or sets one to what it doesn't take.
    #[error("the values of environment `{environment}`: {fault}")]
    EnvironmentValues {
        /// The environment.
        environment: String,
        /// What is wrong.
        fault: ValueFault,
    },
    /// `charts-template/values.yaml` and the Rust that fills it don't fit together.
    #[error("the chart's template is inconsistent: {0}")]
    Template(String),
    /// A folder holds no chart that helm would take.
    #[error("the chart can't be packed: {0}")]
    Package(String),
    /// The rendered `values.yaml` isn't what was meant.
    #[error("the rendered `values.yaml` doesn't say what was meant")]
    Mangled,
}

/// What is wrong with a value that the user gave.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ValueFault {
    /// Something other than a mapping stands where values should.
    #[error("`{path}` should be a mapping")]
    NotAMapping {
        /// Where, as helm's `--set` spells it; `values` for the whole.
        path: String,
    },
    /// The chart has no such value.
    #[error("`{path}` is unknown{}", nearest.as_ref().map(|n| format!("; the nearest known one is `{n}`")).unwrap_or_default())]
    Unknown {
        /// Where, as helm's `--set` spells it.
        path: String,
        /// The known value whose name is most like it.
        nearest: Option<String>,
    },
    /// The chart's value doesn't take this.
    #[error("`{path}` can't be {value}: {reason}")]
    Wrong {
        /// Where, as helm's `--set` spells it.
        path: String,
        /// What was given, as JSON.
        value: String,
        /// What it should be.
        reason: String,
    },
}

/// The files of the template that are copied as they are, and `values.yaml` before it is filled.
pub fn templates() -> FileTree {
    let path = |path: &str| path.parse().expect("the chart's own paths are relative");
    let files = template::COPIED.iter().chain(&[("values.yaml", template::VALUES)]);
    files.map(|(name, text)| (path(name), text.as_bytes().to_vec())).collect()
}

/// Renders the chart: equal requests, equal bytes.
pub fn render(request: &ChartRequest<'_>) -> Result<FileTree, Error> {
    let plan = request.plan;
    let metadata = Metadata::new(&plan.name, &plan.description, &plan.settings.version);
    let (values_yaml, values) = render_values(request)?;
    let schema = schema();
    let mut files: Vec<(String, String)> =
        template::COPIED.iter().map(|(path, text)| (path.to_string(), text.to_string())).collect();
    files.push(("Chart.yaml".into(), metadata.to_yaml()));
    files.push(("values.schema.json".into(), schema_text(&schema)));
    files.push(("values.yaml".into(), values_yaml));
    files.extend(monitoring::files());
    for (environment, changes) in &plan.environments {
        if environment.is_empty() || !environment.chars().all(|c| c.is_ascii_alphanumeric() || "._-".contains(c)) {
            return Err(Error::EnvironmentName(environment.clone()));
        }
        environment::check(&values, &schema, changes)
            .map_err(|fault| Error::EnvironmentValues { environment: environment.clone(), fault })?;
        files.push((format!("values-{environment}.yaml"), yaml::write(changes)));
    }
    let path = |path: String| RelativePath::try_from(path).expect("the chart's own paths are relative");
    Ok(files.into_iter().map(|(name, text)| (path(name), text.into_bytes())).collect())
}

/// `values.yaml`, as text with comments and as the value that it stands for.
fn render_values(request: &ChartRequest<'_>) -> Result<(String, Value), Error> {
    let replacements = replacements(request)?;
    let text = annotated::replace(template::VALUES, &replacements).map_err(Error::Template)?;
    let mut meant: Value = serde_yaml::from_str(template::VALUES).map_err(|e| Error::Template(e.to_string()))?;
    for (path, value) in &replacements {
        let place = meant.pointer_mut(&format!("/{}", path.replace('.', "/")));
        *place.ok_or_else(|| Error::Template(format!("`{path}` is not in `values.yaml`")))? = value.clone();
    }
    let meant: Values = serde_json::from_value(meant).map_err(|e| Error::Template(e.to_string()))?;
    let read: Values = serde_yaml::from_str(&text).map_err(|_| Error::Mangled)?;
    if read != meant {
        return Err(Error::Mangled);
    }
    let values = serde_json::to_value(&meant).map_err(|e| Error::Template(e.to_string()))?;
    Ok((text, values))
}

/// The model's values, by their paths in `values.yaml`.
fn replacements(request: &ChartRequest<'_>) -> Result<Vec<(&'static str, Value)>, Error> {
    let plan = request.plan;
    let (server, batching, engine) = (&plan.settings.server, &plan.settings.batching, &plan.settings.engine);
    let (state, tracing) = (&plan.settings.state, &plan.settings.tracing);
    if server.port == 0 {
        return Err(Error::FreePort("port"));
    }
    if server.grpc_port == Some(0) {
        return Err(Error::FreePort("grpcPort"));
    }
    if server.metrics_port == Some(0) {
        return Err(Error::FreePort("metricsPort"));
    }
    let count = |count: Option<usize>| count.map_or(json!("auto"), |count| json!(count));
    let memory = json!(format!("{}Mi", plan.resources.memory_mib));
    let drain_delay =
        if server.drain_delay.is_zero() { DRAIN_DELAY.into() } else { duration::format(server.drain_delay) };
    // By default a service ends within the ten seconds that a container engine gives it. A cluster gives as long as is
    // asked for: what was taken in is answered.
    let by_default = server.drain_timeout == ServerSettings::default().drain_timeout;
    let drain_timeout =
        if by_default { server.drain_timeout.max(batching.request_timeout) } else { server.drain_timeout };
    Ok(vec![
        ("image.repository", json!(plan.repository)),
        ("image.digest", json!(request.digest)),
        ("image.version", json!(plan.settings.version)),
        ("server.port", json!(server.port)),
        ("server.grpcPort", json!(server.grpc_port.unwrap_or(0))),
        ("server.metricsPort", json!(server.metrics_port.unwrap_or(0))),
        ("server.maxConnections", count(server.max_connections)),
        ("server.compression", json!(server.compression)),
        ("server.compressionMinBytes", json!(server.compression_min_bytes)),
        ("server.debugPage", json!(server.debug_page)),
        ("server.maxBodyBytes", json!(server.max_body_bytes)),
        ("server.maxBufferedBytes", count(server.max_buffered_bytes)),
        ("server.maxConcurrency", json!(server.max_concurrency)),
        ("server.readTimeout", json!(duration::format(server.read_timeout))),
        ("server.drainDelay", json!(drain_delay)),
        ("server.drainTimeout", json!(duration::format(drain_timeout))),
        ("batching.maxBatchSize", json!(batching.max_batch_size)),
        ("batching.maxBatchElements", count(batching.max_batch_elements)),
        ("batching.maxQueueDelay", json!(duration::format(batching.max_queue_delay))),
        ("batching.maxQueue", json!(batching.max_queue)),
        ("batching.requestTimeout", json!(duration::format(batching.request_timeout))),
        ("batching.priorityLevels", json!(batching.priority_levels)),
        ("batching.defaultPriority", count(batching.default_priority)),
        ("batching.padding", json!(batching.padding)),
        ("engine.provider", json!(engine.provider)),
        ("engine.require", json!(engine.require)),
        ("engine.threads", count(engine.threads)),
        ("engine.instances", count(engine.instances)),
        ("engine.optimize", json!(engine.optimize)),
        ("engine.verifyModel", json!(engine.verify_model)),
        ("service.sessionAffinity", json!(if state.pairs.is_empty() { "None" } else { "ClientIP" })),
        ("state.maxSessions", json!(state.max_sessions)),
        ("state.maxBytes", json!(state.max_bytes)),
        ("state.idleTimeout", json!(duration::format(state.idle_timeout))),
        ("tracing.endpoint", json!(tracing.endpoint.as_ref().map(ToString::to_string).unwrap_or_default())),
        ("tracing.sampleRatio", json!(tracing.sample_ratio)),
        ("resources.requests.cpu", json!(format!("{}m", plan.resources.cpu_millis))),
        ("resources.requests.memory", memory.clone()),
        ("resources.limits.memory", memory),
        ("gpu.count", json!(plan.resources.gpus)),
        ("runtimeClassName", json!(if plan.settings.model.tensorrt.is_some() { RUNTIME_CLASS } else { "" })),
        ("startupProbe.failureThreshold", json!(plan.resources.startup_seconds.div_ceil(STARTUP_PERIOD).max(1))),
        ("test.sample", json!(plan.sample.is_some())),
    ])
}

/// What the chart sets where the plan leaves the drain delay out: long enough for a cluster's load balancers to learn
/// that the pod is going.
const DRAIN_DELAY: &str = "5s";

/// The runtime class that NVIDIA's operator makes: a pod that can do nothing without a GPU asks for it.
const RUNTIME_CLASS: &str = "nvidia";

/// Seconds between two questions of the start-up probe, as `values.yaml` has it.
const STARTUP_PERIOD: u32 = 10;

/// The JSON Schema of the values, with the comments of `values.yaml` as its descriptions.
fn schema() -> Value {
    let mut schema = values::schema();
    for entry in annotated::entries(template::VALUES) {
        let pointer: String = entry.path.split('.').map(|key| format!("/properties/{key}")).collect();
        if let Some(Value::Object(property)) = schema.pointer_mut(&pointer) {
            property.insert("description".into(), entry.comment.into());
        }
    }
    schema
}

/// `values.schema.json`.
fn schema_text(schema: &Value) -> String {
    let mut text = serde_json::to_string_pretty(schema).expect("a JSON value can be written");
    text.push('\n');
    text
}

#[cfg(test)]
mod tests;
