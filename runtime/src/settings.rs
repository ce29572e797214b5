//! `service.json`: what a built service serves and how; read once at start, overridden by the environment.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use serde::{Deserialize, Serialize};

pub use crate::engine::{Provider, Providers};
pub use crate::state::{StateDim, StatePair, StateSettings};
use crate::trace::{Endpoint, Ratio};

/// Everything that `service.json` says. Paths are relative to the folder that holds the file.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ServiceSettings {
    /// The model's name in the protocols.
    pub name: String,
    /// The model's version, as the user gave it.
    pub version: String,
    /// The model to load.
    pub model: ModelFile,
    /// `signature.json`.
    pub signature: PathBuf,
    /// `openapi.json`, served as it is.
    pub openapi: PathBuf,
    /// The recorded sample request: warms the model up and fills the `/docs` page. `None` where none was found.
    pub sample: Option<PathBuf>,
    /// The model's licence, served at `/v1/license`.
    pub license: Option<License>,
    /// Where to listen, and limits.
    #[serde(default)]
    pub server: ServerSettings,
    /// How requests are joined.
    #[serde(default)]
    pub batching: BatchingSettings,
    /// How the model runs.
    #[serde(default)]
    pub engine: EngineSettings,
    /// What is kept between the requests of a session.
    #[serde(default, skip_serializing_if = "StateSettings::is_off")]
    pub state: StateSettings,
    /// Where its requests are told.
    #[serde(default)]
    pub tracing: TracingSettings,
}

/// The model file.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ModelFile {
    /// Where it is.
    pub path: PathBuf,
    /// SHA-256 of the file the user gave, in hex.
    pub sha256: String,
    /// Where the user had it from: shown in the protocols' metadata.
    pub source: String,
    /// What the file at `path` is where it isn't the user's own, but one made of it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub derived: Option<DerivedModel>,
    /// SHA-256, in hex, of every file that is served, by path below the folder of `path`: what `engine.verifyModel` holds
    /// them against.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub files: BTreeMap<String, String>,
    /// What a TensorRT engine has to meet where it runs; `None` for a graph.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tensorrt: Option<TensorRtEngine>,
    /// Files that say what its numbers mean, for clients that need them; sorted by name.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub side_files: Vec<SideFile>,
    /// The names of the classes that the last dimension of an output counts, in order, by the output's name.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub labels: BTreeMap<String, Vec<String>>,
}

/// A file that came with the model: it is not loaded, but told and given to clients.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct SideFile {
    /// Its name, by which it is asked for.
    pub name: String,
    /// What it is for.
    pub kind: SideKind,
    /// Where it is.
    pub path: PathBuf,
    /// Its bytes.
    pub size: u64,
    /// Their SHA-256, in hex.
    pub sha256: String,
}

/// What a side file is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum SideKind {
    /// What the model is.
    Configuration,
    /// How texts become numbers.
    Tokenizer,
    /// The words of a tokenizer.
    Vocabulary,
    /// How images and sounds become numbers.
    Preprocessor,
    /// What the classes are called.
    Labels,
}

impl SideKind {
    /// All of them.
    pub const ALL: [SideKind; 5] =
        [SideKind::Configuration, SideKind::Tokenizer, SideKind::Vocabulary, SideKind::Preprocessor, SideKind::Labels];

    /// The word for it.
    pub fn word(self) -> &'static str {
        match self {
            SideKind::Configuration => "configuration",
            SideKind::Tokenizer => "tokenizer",
            SideKind::Vocabulary => "vocabulary",
            SideKind::Preprocessor => "preprocessor",
            SideKind::Labels => "labels",
        }
    }
}

/// What a TensorRT engine was built by and for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct TensorRtEngine {
    /// The TensorRT that built it, such as `10.3.0.26`; `None` where its file doesn't say.
    pub version: Option<String>,
    /// The compute capability of the GPUs that it was built for, such as `8.6`; `None` where nobody says.
    pub compute_capability: Option<String>,
}

/// A model file that was made of the user's.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct DerivedModel {
    /// SHA-256 of the file, in hex.
    pub sha256: String,
    /// What was done.
    pub how: String,
}

/// A licence text and its name.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct License {
    /// Its name: an SPDX identifier where there is one.
    pub name: String,
    /// The file with its text.
    pub path: PathBuf,
}

/// Listening, limits and lifecycle.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct ServerSettings {
    /// Address to bind.
    pub host: String,
    /// HTTP port; 0 lets the system choose.
    pub port: u16,
    /// gRPC port; 0 lets the system choose, `None` serves no gRPC.
    pub grpc_port: Option<u16>,
    /// A port of their own for the metrics, which `port` then serves no more; `None` serves them on `port`.
    pub metrics_port: Option<u16>,
    /// Connections at once over all ports, after which each further one is told to come again, but for health. `None`
    /// takes what the limit on open files leaves.
    #[serde(with = "auto")]
    pub max_connections: Option<usize>,
    /// TLS on every port; without a certificate there is none.
    pub tls: TlsSettings,
    /// Whether answers are compressed for clients that ask for it.
    pub compression: bool,
    /// Smallest answer that is compressed, bytes.
    pub compression_min_bytes: usize,
    /// Whether `/debug` draws the live picture of the service, where the metrics are served.
    pub debug_page: bool,
    /// Largest request body, bytes, after which 413 is answered.
    pub max_body_bytes: u64,
    /// Bytes of requests in work and of answers that wait to be read, in memory at once, after which 429 is answered (and
    /// 413 to a request that could never fit); the first 16 KiB of each don't count. `None` takes an eighth of the memory
    /// that the process may use.
    #[serde(with = "auto")]
    pub max_buffered_bytes: Option<usize>,
    /// Requests in work at once, after which 429 is answered.
    pub max_concurrency: usize,
    /// How long a client may take to send its head, and again its body, before the connection is closed.
    #[serde(with = "duration")]
    pub read_timeout: Duration,
    /// Between SIGTERM (ready turns 503) and the end of listening, so that load balancers take note.
    #[serde(with = "duration")]
    pub drain_delay: Duration,
    /// How long requests in flight may take after that.
    #[serde(with = "duration")]
    pub drain_timeout: Duration,
}

impl Default for ServerSettings {
    fn default() -> Self {
        ServerSettings {
            host: "0.0.0.0".into(),
            port: 8000,
            grpc_port: Some(8001),
            metrics_port: None,
            max_connections: None,
            tls: TlsSettings::default(),
            compression: true,
            // What fits into one packet gains nothing.
            compression_min_bytes: 1024,
            debug_page: true,
            max_body_bytes: 64 << 20,
            max_buffered_bytes: None,
            max_concurrency: 1024,
            read_timeout: Duration::from_secs(30),
            drain_delay: Duration::ZERO,
            // Docker kills after 10 s.
            drain_timeout: Duration::from_secs(8),
        }
    }
}

/// Files for TLS, in PEM; read again when they change.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct TlsSettings {
    /// The server's certificate and those between it and its CA.
    pub certificate: Option<PathBuf>,
    /// The certificate's private key.
    pub key: Option<PathBuf>,
    /// CAs of the clients: only a client with a certificate from one of them gets more than health.
    pub client_ca: Option<PathBuf>,
}

/// How requests are joined into batches, and which of them go first: a knob for each thing.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct BatchingSettings {
    /// Most rows in one run of the model; 1 turns batching off.
    pub max_batch_size: usize,
    /// Most elements in one run, over all inputs, padding counted; a single request may have more. `None` sets no limit.
    #[serde(with = "auto")]
    pub max_batch_elements: Option<usize>,
    /// How long a batch that isn't full waits for more while the model is idle.
    #[serde(with = "duration")]
    pub max_queue_delay: Duration,
    /// Requests that may wait, after which 429 is answered.
    pub max_queue: usize,
    /// From arrival to answer, after which 504 is answered.
    #[serde(with = "duration")]
    pub request_timeout: Duration,
    /// Levels of priority that a request may ask for, at most [`MOST_PRIORITY_LEVELS`]; with 1 all are equal.
    pub priority_levels: usize,
    /// The level of a request that asks for none, or for one that there isn't: 1 is the highest. `None` is the lowest.
    #[serde(with = "auto")]
    pub default_priority: Option<usize>,
    /// How rows of different lengths are made equal; off where it says nothing.
    pub padding: PaddingSettings,
}

/// What makes rows of different lengths equal, so that they can be joined.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct PaddingSettings {
    /// What fills each input that has a length, along its free axes but that of the rows.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub values: BTreeMap<String, f64>,
    /// The input that says what is data: it is filled with 0 unless `values` say otherwise, and a row that it hides
    /// altogether is not padded.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub mask: Option<String>,
}

impl PaddingSettings {
    /// Whether they ask for nothing.
    pub fn is_off(&self) -> bool {
        self.values.is_empty() && self.mask.is_none()
    }
}

/// Most levels of priority.
pub const MOST_PRIORITY_LEVELS: usize = 64;

impl Default for BatchingSettings {
    fn default() -> Self {
        BatchingSettings {
            max_batch_size: 32,
            max_batch_elements: None,
            max_queue_delay: Duration::ZERO,
            max_queue: 1024,
            request_timeout: Duration::from_secs(30),
            priority_levels: 1,
            default_priority: None,
            padding: PaddingSettings::default(),
        }
    }
}

/// How the model runs.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct EngineSettings {
    /// Execution providers, the best first.
    pub provider: Providers,
    /// Whether it is an error when none of them runs the model: otherwise the CPU does, with a warning.
    pub require: bool,
    /// Threads in all; `None` takes them from the cgroup's CPU quota.
    #[serde(with = "auto")]
    pub threads: Option<usize>,
    /// Runs that go on side by side and share the threads; `None` decides by a measurement while warming up.
    #[serde(with = "auto")]
    pub instances: Option<usize>,
    /// When ONNX Runtime rewrites the graph into a quicker one.
    pub optimize: Optimize,
    /// Whether the model's files are held against `model.files` before they are loaded.
    pub verify_model: bool,
    /// ONNX Runtime's library; `None` takes the one in `lib/` beside the program.
    pub onnxruntime: Option<PathBuf>,
    /// Libraries of custom operators, in the order in which they are registered.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub custom_ops: Vec<PathBuf>,
}

impl Default for EngineSettings {
    fn default() -> Self {
        EngineSettings {
            provider: Providers::Auto,
            require: false,
            threads: None,
            instances: Some(1),
            optimize: Optimize::Build,
            verify_model: false,
            onnxruntime: None,
            custom_ops: Vec::new(),
        }
    }
}

/// OpenTelemetry traces.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct TracingSettings {
    /// The collector, such as `http://collector:4318`, to which `/v1/traces` is added; `None` records nothing.
    pub endpoint: Option<Endpoint>,
    /// How many of the requests are recorded whose caller doesn't decide it, from 0 to 1.
    pub sample_ratio: Ratio,
}

/// When ONNX Runtime rewrites the graph into a quicker one.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Optimize {
    /// As the image is built, and what depends on the machine as the service starts.
    #[default]
    Build,
    /// As the service starts.
    Load,
    /// Never: to find out whether a wrong answer comes from it.
    Never,
}

impl Optimize {
    /// All of them.
    pub const ALL: [Optimize; 3] = [Optimize::Build, Optimize::Load, Optimize::Never];

    /// The word for it.
    pub fn word(self) -> &'static str {
        match self {
            Optimize::Build => "build",
            Optimize::Load => "load",
            Optimize::Never => "never",
        }
    }
}

/// Durations as people write them: `2ms`, `5s`, `1m30s` is not accepted, `90s` is.
pub mod duration {
    use std::time::Duration;

    use serde::{Deserialize, Deserializer, Serializer, de::Error as _};

    /// Reads a whole number with its unit: `us`, `ms`, `s`, `m` or `h`.
    pub fn parse(text: &str) -> Result<Duration, String> {
        let digits = text.len() - text.trim_start_matches(|c: char| c.is_ascii_digit()).len();
        let (number, unit) = text.split_at(digits);
        let wrong =
            || format!("`{text}` is not a duration: write a whole number and a unit, such as `2ms`, `5s` or `1m`");
        let number: u64 = number.parse().map_err(|_| wrong())?;
        let micros = match unit {
            "us" => 1,
            "ms" => 1_000,
            "s" => 1_000_000,
            "m" => 60_000_000,
            "h" => 3_600_000_000,
            _ => return Err(wrong()),
        };
        number.checked_mul(micros).map(Duration::from_micros).ok_or_else(wrong)
    }

    /// Writes the largest unit that divides the duration.
    pub fn format(duration: Duration) -> String {
        let us = duration.as_micros();
        match us {
            0 => "0s".into(),
            _ if us.is_multiple_of(60_000_000) => format!("{}m", us / 60_000_000),
            _ if us.is_multiple_of(1_000_000) => format!("{}s", us / 1_000_000),
            _ if us.is_multiple_of(1_000) => format!("{}ms", us / 1_000),
            _ => format!("{us}us"),
        }
    }

    /// For serde's `with`.
    pub fn serialize<S: Serializer>(duration: &Duration, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&format(*duration))
    }

    /// For serde's `with`.
    pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Duration, D::Error> {
        parse(&String::deserialize(deserializer)?).map_err(D::Error::custom)
    }
}

/// A count, or the word `auto`.
pub mod auto {
    use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error as _};

    #[derive(Serialize, Deserialize)]
    #[serde(untagged)]
    enum CountOrWord {
        Count(usize),
        Word(String),
    }

    /// For serde's `with`.
    pub fn serialize<S: Serializer>(count: &Option<usize>, serializer: S) -> Result<S::Ok, S::Error> {
        match count {
            Some(count) => CountOrWord::Count(*count),
            None => CountOrWord::Word("auto".into()),
        }
        .serialize(serializer)
    }

    /// For serde's `with`.
    pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<usize>, D::Error> {
        match CountOrWord::deserialize(deserializer)? {
            CountOrWord::Count(0) => Err(D::Error::custom("must be at least 1, or `auto`")),
            CountOrWord::Count(count) => Ok(Some(count)),
            CountOrWord::Word(word) if word == "auto" => Ok(None),
            CountOrWord::Word(word) => Err(D::Error::custom(format!("`{word}` is neither a number nor `auto`"))),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_read_and_written_alike() {
        for text in ["0s", "2ms", "5s", "1m", "250us"] {
            assert_eq!(duration::format(duration::parse(text).unwrap()), text);
        }
        for text in ["", "5", "s", "1.5s", "-1s", "99999999999999999999s", "18446744073709551615h", "1m30s"] {
            assert!(duration::parse(text).unwrap_err().contains("duration"), "{text}");
        }
    }

    #[test]
    fn defaults_survive_json() {
        let engine = EngineSettings::default();
        let json = serde_json::to_string(&engine).unwrap();
        assert_eq!(serde_json::from_str::<EngineSettings>(&json).unwrap(), engine);
        assert!(serde_json::from_str::<EngineSettings>(r#"{"threads":0}"#).is_err());
        assert!(serde_json::from_str::<EngineSettings>(r#"{"thread":1}"#).is_err());
    }
}
