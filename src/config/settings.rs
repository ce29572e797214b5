//! What `nimify.yaml` holds. An option that is left out takes the runtime's own default.

use std::collections::BTreeMap;
use std::num::{NonZeroU16, NonZeroU32, NonZeroU64};
use std::path::PathBuf;

use nimify_runtime::settings::{
    BatchingSettings, EngineSettings, Optimize, PaddingSettings, ServerSettings, TlsSettings, TracingSettings,
};
use schemars::JsonSchema;
use serde::{Deserialize, Deserializer, Serialize};

use super::environment::Environment;
use super::measures::{Count, Duration, Share, Size};
use super::side_files::SideFiles;
use super::state::State;
use super::variables;
use super::words::{
    CollectorUrl, DnsLabel, GpuCapability, ImageBase, KeyReference, ModelName, ModelReference, ModelVersion, Platform,
    ProviderList, Registry, Repository, TensorText,
};
use crate::model::Declared;

/// The whole of `nimify.yaml`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Config {
    /// The form of this file.
    pub api_version: ApiVersion,
    /// The model's name in the protocols; the service's DNS name is derived from it.
    pub name: ModelName,
    /// The model: a path, relative to this file, or a source such as `oci://REGISTRY/REPOSITORY[:TAG]`.
    pub model: ModelReference,
    /// The model's version.
    #[serde(default = "first_version")]
    pub version: ModelVersion,
    /// What the model is for, in a sentence.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub description: Option<String>,
    /// The model's licence.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub license: Option<LicenseFile>,
    /// Which of the files that stand with the model go with it, to be told and given to clients: `true` all of its
    /// tokenizer, configuration and labels, `false` none, or a list of their names.
    #[serde(default, skip_serializing_if = "is_default")]
    pub side_files: SideFiles,
    /// A request to begin the samples with: a path, relative to this file.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sample: Option<PathBuf>,
    /// Whether the service is compiled for this model or is the generic one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub service: Option<ServiceKind>,
    /// Listening, limits and lifecycle.
    #[serde(default, skip_serializing_if = "is_default")]
    pub server: Server,
    /// How requests are joined.
    #[serde(default, skip_serializing_if = "is_default")]
    pub batching: Batching,
    /// How the model runs.
    #[serde(default, skip_serializing_if = "is_default")]
    pub engine: Engine,
    /// What the file of a TensorRT engine doesn't say.
    #[serde(default, skip_serializing_if = "is_default")]
    pub tensorrt: TensorRt,
    /// What is kept between the requests of a session.
    #[serde(default, skip_serializing_if = "is_default")]
    pub state: State,
    /// OpenTelemetry traces.
    #[serde(default, skip_serializing_if = "is_default")]
    pub tracing: Tracing,
    /// What the image is called and made of.
    #[serde(default, skip_serializing_if = "is_default")]
    pub image: Image,
    /// What the image is signed with.
    #[serde(default, skip_serializing_if = "is_default")]
    pub signing: Signing,
    /// Where it is deployed, by name.
    #[serde(default, skip_serializing_if = "is_default")]
    pub environments: BTreeMap<DnsLabel, Environment>,
}

fn first_version() -> ModelVersion {
    "0.1.0".parse().expect("it is a version")
}

pub(super) fn is_default<T: Default + PartialEq>(value: &T) -> bool {
    *value == T::default()
}

/// What stands there, even where it is null: to say nothing is something else.
fn said<'de, D: Deserializer<'de>, T: Deserialize<'de>>(deserializer: D) -> Result<Option<T>, D::Error> {
    T::deserialize(deserializer).map(Some)
}

/// The form of the file.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum ApiVersion {
    /// The first.
    #[default]
    #[serde(rename = "nimify/v1")]
    V1,
}

/// A licence: its name, and the file with its text.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct LicenseFile {
    /// Its name: an SPDX identifier where there is one.
    pub name: String,
    /// The file with its text, relative to this file.
    pub path: PathBuf,
}

/// How the service is made.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum ServiceKind {
    /// Compiled from the generated crate.
    Generated,
    /// The generic binary.
    Generic,
}

/// Listening, limits and lifecycle.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct Server {
    /// Address to bind.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub host: Option<String>,
    /// HTTP port.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub port: Option<NonZeroU16>,
    /// gRPC port; null serves no gRPC.
    #[serde(deserialize_with = "said", skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<NonZeroU16>")]
    pub grpc_port: Option<Option<NonZeroU16>>,
    /// A port of its own for the metrics; null serves them on `port` alone.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub metrics_port: Option<NonZeroU16>,
    /// Connections at once over all ports; `auto` takes what the limit on open files leaves.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_connections: Option<Count>,
    /// TLS on every port; a chart takes it from a secret instead.
    #[serde(skip_serializing_if = "is_default")]
    pub tls: Tls,
    /// Whether answers are compressed for clients that ask for it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub compression: Option<bool>,
    /// Smallest answer that is compressed, bytes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub compression_min_bytes: Option<NonZeroU32>,
    /// Whether `/debug` draws the live picture of the service, where the metrics are served.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub debug_page: Option<bool>,
    /// Largest request body, bytes, after which 413 is answered.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_body_bytes: Option<NonZeroU64>,
    /// Bytes of requests in work and of answers that wait to be read, in memory at once, after which 429 is answered;
    /// `auto` takes an eighth of the memory that the service may use.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_buffered_bytes: Option<Count>,
    /// Requests in work at once, after which 429 is answered.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_concurrency: Option<NonZeroU32>,
    /// How long a client may take to send its head, and again its body.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub read_timeout: Option<Duration>,
    /// Between SIGTERM and the end of listening.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub drain_delay: Option<Duration>,
    /// How long requests in flight may take after that.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub drain_timeout: Option<Duration>,
}

impl Server {
    /// The runtime's settings, its defaults where this says nothing.
    pub fn settings(&self) -> ServerSettings {
        let default = ServerSettings::default();
        ServerSettings {
            host: self.host.clone().unwrap_or(default.host),
            port: self.port.map_or(default.port, NonZeroU16::get),
            grpc_port: self.grpc_port.map_or(default.grpc_port, |port| port.map(NonZeroU16::get)),
            metrics_port: self.metrics_port.map(NonZeroU16::get).or(default.metrics_port),
            max_connections: self.max_connections.map_or(default.max_connections, Count::number),
            tls: self.tls.settings(),
            compression: self.compression.unwrap_or(default.compression),
            compression_min_bytes: self
                .compression_min_bytes
                .map_or(default.compression_min_bytes, |bytes| bytes.get() as usize),
            debug_page: self.debug_page.unwrap_or(default.debug_page),
            max_body_bytes: self.max_body_bytes.map_or(default.max_body_bytes, NonZeroU64::get),
            max_buffered_bytes: self.max_buffered_bytes.map_or(default.max_buffered_bytes, Count::number),
            max_concurrency: self.max_concurrency.map_or(default.max_concurrency, |count| count.get() as usize),
            read_timeout: self.read_timeout.map_or(default.read_timeout, |time| time.0),
            drain_delay: self.drain_delay.map_or(default.drain_delay, |time| time.0),
            drain_timeout: self.drain_timeout.map_or(default.drain_timeout, |time| time.0),
        }
    }
}

/// Files for TLS in PEM, where the service runs; read again when they change.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct Tls {
    /// The server's certificate and those between it and its CA.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub certificate: Option<PathBuf>,
    /// The certificate's private key.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub key: Option<PathBuf>,
    /// CAs of the clients: only a client with a certificate from one of them gets more than health.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub client_ca: Option<PathBuf>,
}

impl Tls {
    fn settings(&self) -> TlsSettings {
        let Tls { certificate, key, client_ca } = self.clone();
        TlsSettings { certificate, key, client_ca }
    }
}

/// How requests are joined.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct Batching {
    /// Most rows in one run of the model; 1 turns batching off.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_batch_size: Option<NonZeroU32>,
    /// Most elements in one run, over all inputs, padding counted; a single request may have more. `auto` sets no limit.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_batch_elements: Option<Count>,
    /// How long a batch that isn't full waits for more while the model is idle.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_queue_delay: Option<Duration>,
    /// Requests that may wait, after which 429 is answered.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_queue: Option<NonZeroU32>,
    /// From arrival to answer, after which 504 is answered.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub request_timeout: Option<Duration>,
    /// Levels of priority that a request may ask for, 1 being the highest; with 1 all are equal.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub priority_levels: Option<NonZeroU32>,
    /// The level of a request that asks for none; `auto` is the lowest.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub default_priority: Option<Count>,
    /// How rows of different lengths are made equal, so that they can be joined; off where this says nothing.
    #[serde(skip_serializing_if = "is_default")]
    pub padding: Padding,
}

/// What makes rows of different lengths equal.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct Padding {
    /// What fills each input that has a length, by its name.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub values: BTreeMap<String, f64>,
    /// The input that says what is data: filled with 0 unless `values` say otherwise.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub mask: Option<String>,
}

impl Batching {
    /// The runtime's settings, its defaults where this says nothing.
    pub fn settings(&self) -> BatchingSettings {
        let default = BatchingSettings::default();
        BatchingSettings {
            max_batch_size: self.max_batch_size.map_or(default.max_batch_size, |count| count.get() as usize),
            max_batch_elements: self.max_batch_elements.map_or(default.max_batch_elements, Count::number),
            max_queue_delay: self.max_queue_delay.map_or(default.max_queue_delay, |time| time.0),
            max_queue: self.max_queue.map_or(default.max_queue, |count| count.get() as usize),
            request_timeout: self.request_timeout.map_or(default.request_timeout, |time| time.0),
            priority_levels: self.priority_levels.map_or(default.priority_levels, |count| count.get() as usize),
            default_priority: self.default_priority.map_or(default.default_priority, Count::number),
            padding: PaddingSettings { values: self.padding.values.clone(), mask: self.padding.mask.clone() },
        }
    }
}

/// How the model runs.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct Engine {
    /// Execution provider of ONNX Runtime: `auto`, or one or several of `tensorrt`, `cuda`, `migraphx`, `rocm`, `openvino`
    /// and `cpu`, the best first, with commas between.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub provider: Option<ProviderList>,
    /// Whether a service that none of those providers runs ends with an error; otherwise the CPU runs it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub require: Option<bool>,
    /// Threads in all; `auto` takes them from the CPU quota.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub threads: Option<Count>,
    /// Runs that go on side by side and share the threads.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub instances: Option<Count>,
    /// When ONNX Runtime rewrites the graph into a quicker one: as the image is built, as the service starts, or never.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<OptimizeWord>")]
    pub optimize: Option<Optimize>,
    /// Whether the service holds the model's files against the digests that they had at the build before it loads them,
    /// and ends where one differs.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub verify_model: Option<bool>,
    /// Libraries of custom operators that the model needs: paths, relative to this file. They are native code: they go
    /// into the image with the libraries that they need, and run in the service.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub custom_ops: Vec<PathBuf>,
}

/// The runtime's [`Optimize`] as the schema tells it.
#[derive(JsonSchema)]
#[serde(rename_all = "lowercase")]
#[schemars(inline)]
#[expect(dead_code, reason = "only its schema is used")]
enum OptimizeWord {
    Build,
    Load,
    Never,
}

impl Engine {
    /// The runtime's settings, its defaults where this says nothing.
    pub fn settings(&self) -> EngineSettings {
        let default = EngineSettings::default();
        EngineSettings {
            provider: self.provider.as_ref().map_or(default.provider, ProviderList::providers),
            require: self.require.unwrap_or(default.require),
            threads: self.threads.map_or(default.threads, Count::number),
            instances: self.instances.map_or(default.instances, Count::number),
            optimize: self.optimize.unwrap_or(default.optimize),
            verify_model: self.verify_model.unwrap_or(default.verify_model),
            onnxruntime: default.onnxruntime,
            custom_ops: default.custom_ops,
        }
    }
}

/// What the file of a TensorRT engine doesn't say. Without it, `signature.json` or Triton's `config.pbtxt` beside the
/// engine is asked.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct TensorRt {
    /// What it takes: `NAME:TYPE[SIZES]` for each input, such as `images:float32[batch,3,640,640]`.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub inputs: Vec<TensorText>,
    /// What it gives, in the same words.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub outputs: Vec<TensorText>,
    /// The compute capability of the GPUs that it was built for, such as `8.6`: the service says so where it finds others.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub compute_capability: Option<GpuCapability>,
    /// Most rows in one run, where each row is a request of its own. Requests are joined on this word, since nothing can
    /// prove it where there is no GPU; one by one without it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_batch_size: Option<NonZeroU32>,
}

impl TensorRt {
    /// As the model's reader takes it.
    pub fn declared(&self) -> Declared {
        let tensors = |texts: &[TensorText]| texts.iter().map(TensorText::spec).collect();
        Declared {
            inputs: tensors(&self.inputs),
            outputs: tensors(&self.outputs),
            compute_capability: self.compute_capability.as_ref().map(GpuCapability::capability),
            max_batch_size: self.max_batch_size.map(NonZeroU32::get),
        }
    }
}

/// OpenTelemetry traces.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct Tracing {
    /// The collector, such as `http://collector:4318`; without one nothing is recorded unless OpenTelemetry's own
    /// variables ask for it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub endpoint: Option<CollectorUrl>,
    /// How many of the requests are recorded whose caller doesn't decide it, from 0 to 1.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sample_ratio: Option<Share>,
}

impl Tracing {
    /// The runtime's settings, its defaults where this says nothing.
    pub fn settings(&self) -> TracingSettings {
        let default = TracingSettings::default();
        TracingSettings {
            endpoint: self.endpoint.as_ref().map(CollectorUrl::endpoint).or(default.endpoint),
            sample_ratio: self.sample_ratio.map_or(default.sample_ratio, |share| share.0),
        }
    }
}

/// What the image is called and made of.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct Image {
    /// Its repository, without tag; the service's name where this says nothing.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub repository: Option<Repository>,
    /// Registries that are spoken to without TLS, such as `localhost:5000`.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub plain_http: Vec<Registry>,
    /// What it stands on.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub base: Option<ImageBase>,
    /// What besides the CPU can run the model in it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub accelerator: Option<Accelerator>,
    /// The platform it is for; the machine's own where this says nothing.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub platform: Option<Platform>,
    /// How its layers are compressed, but for the model's.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub compression: Option<Compression>,
    /// How the model's layers are compressed: weights hardly are, and cost time with each pull.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub model_compression: Option<Compression>,
    /// What its layers have to keep to; a build that goes beyond it fails.
    #[serde(skip_serializing_if = "is_default")]
    pub budget: Budget,
}

/// Sizes as they are stored in a registry.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct Budget {
    /// Most bytes of each layer, such as `500MB`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub layer: Option<Size>,
    /// Most bytes of all layers together, such as `2GB`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub total: Option<Size>,
}

impl Image {
    /// Whether `registry` is spoken to without TLS.
    pub fn plain_http(&self, registry: &str) -> bool {
        self.plain_http.iter().any(|plain| plain.as_str() == registry)
    }
}

/// What an image can run a model on besides the CPU.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Accelerator {
    /// Nothing.
    #[default]
    None,
    /// NVIDIA's GPUs: ONNX Runtime and CUDA from their wheels by pip, 1.6 GB compressed.
    Cuda,
    /// The same with TensorRT, whose wheel is in an index of NVIDIA's own.
    TensorRt,
}

/// How layers are compressed.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Compression {
    /// gzip, which every engine reads.
    #[default]
    Gzip,
    /// Zstandard, which Docker reads since 23 and containerd since 1.5.
    Zstd,
    /// As they are.
    None,
}

/// What the image is signed with.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct Signing {
    /// The private key: a path, `env://NAME` or `exec://COMMAND`; the user's key store where this and `keys` say nothing.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub key: Option<KeyReference>,
    /// Private keys of further signers: the image has a signature of each.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub keys: Vec<KeyReference>,
}

impl Signing {
    /// All keys that are named, in their order.
    pub fn all(&self) -> impl Iterator<Item = &KeyReference> {
        self.key.iter().chain(&self.keys)
    }
}

impl Config {
    /// The least config: a name and a model, everything else by default.
    pub fn new(name: ModelName, model: ModelReference) -> Self {
        Config {
            api_version: ApiVersion::V1,
            name,
            model,
            version: first_version(),
            description: None,
            license: None,
            side_files: SideFiles::default(),
            sample: None,
            service: None,
            server: Server::default(),
            batching: Batching::default(),
            engine: Engine::default(),
            tensorrt: TensorRt::default(),
            state: State::default(),
            tracing: Tracing::default(),
            image: Image::default(),
            signing: Signing::default(),
            environments: BTreeMap::new(),
        }
    }

    /// The file's text: the keys in their documented order, defaults left out, the same each time.
    pub fn to_yaml(&self) -> String {
        let mut tree = serde_yaml::to_value(self).expect("a config is YAML");
        escape(&mut tree);
        let mut body = serde_yaml::to_string(&tree).expect("a config is YAML");
        // Line breaks of YAML 1.1, which the writer doesn't quote everywhere; JSON is YAML too, and quotes every text.
        if body.contains(['\u{85}', '\u{2028}', '\u{2029}']) {
            body = serde_json::to_string_pretty(&tree).expect("a config is JSON") + "\n";
        }
        format!("# What was asked for: `nimify build` in this folder makes the same again.\n{body}")
    }
}

/// A `${` that is meant as it is must not become a variable when the file is read.
fn escape(tree: &mut serde_yaml::Value) {
    match tree {
        serde_yaml::Value::String(text) => *text = variables::escape(text),
        serde_yaml::Value::Sequence(values) => values.iter_mut().for_each(escape),
        serde_yaml::Value::Mapping(entries) => entries.values_mut().for_each(escape),
        _ => {}
    }
}
