//! The flags of every command. One word for one thing: a flag, the key in `nimify.yaml` and the chart's value agree.

use std::ffi::OsStr;
use std::path::PathBuf;

use clap::builder::TypedValueParser;
use clap::error::ErrorKind;
use clap::{Args, Parser, Subcommand, ValueEnum};

use crate::config::{GpuCapability, KeptPair, TensorRt, TensorText};
use crate::pipeline::ModelForm;
use crate::sign::Algorithm;
use crate::source::Source;

/// Turns a model file into a production inference service.
#[derive(Debug, Parser)]
#[command(name = "nimify", version, about, propagate_version = true, max_term_width = 110)]
pub(super) struct Cli {
    #[command(subcommand)]
    pub(super) command: Command,
}

#[derive(Debug, Subcommand)]
pub(super) enum Command {
    /// Show what a model takes and gives, without running it
    Inspect(InspectArgs),
    /// Serve a model at once: no code generation, no image
    Run(RunArgs),
    /// Make a service, a signed image and a chart from a model
    Create(CreateArgs),
    /// Build what `nimify.yaml` describes
    Build(BuildArgs),
    /// Load an image into Docker, Podman or containerd
    Load(LoadArgs),
    /// Push an image and its signatures to a registry
    Push(PushArgs),
    /// Write image, signatures, chart and documents into one file for an air gap
    Bundle(BundleArgs),
    /// Run an image in an environment's clusters: verified before, watched meanwhile, undone if it fails
    Deploy(DeployArgs),
    /// Say what runs where: which image, since when, and whether it is healthy
    Status(StatusArgs),
    /// Go back to what ran before, or end a canary
    Rollback(RollbackArgs),
    /// Bring what runs in one environment to another, or make a canary what runs
    Promote(PromoteArgs),
    /// Show what a deployment would change
    Diff(DiffArgs),
    /// List the revisions of a release
    History(HistoryArgs),
    /// Sign an image
    Sign(SignArgs),
    /// Check every byte and signature of an image
    Verify(VerifyArgs),
    /// Make, import and export signing keys
    Keys(KeysArgs),
    /// Say what is there, what is missing and how to get it
    Doctor(DoctorArgs),
    /// Print the JSON Schema of `nimify.yaml`
    Schema,
    /// Say what an exit code means and what to do
    Explain(ExplainArgs),
    /// Print completions for a shell
    Completions(CompletionsArgs),
}

/// How data is printed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, ValueEnum)]
pub(super) enum Format {
    /// For people
    #[default]
    Text,
    /// For programs
    Json,
}

/// Which binary goes into the image.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(super) enum Service {
    /// A crate generated for this model, with hooks, compiled by cargo
    Generated,
    /// `nimify-serve`, the same for every model
    Generic,
}

/// What the file of a TensorRT engine doesn't say.
#[derive(Debug, Args)]
pub(super) struct TensorRtArgs {
    /// An input of a TensorRT engine, `NAME:TYPE[SIZES]`, such as `images:float32[batch,3,640,640]`; may be given several times
    #[arg(long = "tensorrt-input", value_name = "TENSOR", requires = "tensorrt_outputs")]
    tensorrt_inputs: Vec<TensorText>,
    /// An output of a TensorRT engine, in the same words; may be given several times
    #[arg(long = "tensorrt-output", value_name = "TENSOR", requires = "tensorrt_inputs")]
    tensorrt_outputs: Vec<TensorText>,
    /// The compute capability of the GPUs that a TensorRT engine was built for, such as 8.6
    #[arg(long, value_name = "CAPABILITY")]
    compute_capability: Option<GpuCapability>,
}

impl TensorRtArgs {
    /// As `nimify.yaml` has them.
    pub(super) fn config(&self) -> TensorRt {
        TensorRt {
            inputs: self.tensorrt_inputs.clone(),
            outputs: self.tensorrt_outputs.clone(),
            compute_capability: self.compute_capability.clone(),
            max_batch_size: None,
        }
    }
}

#[derive(Debug, Args)]
pub(super) struct InspectArgs {
    /// An ONNX file or a TensorRT engine, a folder that holds one, or a source such as `oci://REGISTRY/REPOSITORY[:TAG]`
    #[arg(value_parser = SourceParser)]
    pub(super) model: Source,
    /// Load and run it in a limited child process: proves whether requests can be batched
    #[arg(long)]
    pub(super) probe: bool,
    /// A request to try first, as JSON
    #[arg(long, value_name = "FILE", requires = "probe")]
    pub(super) sample: Option<PathBuf>,
    /// Library of custom operators that the model needs: native code, which is run; may be given several times
    #[arg(long, value_name = "FILE", requires = "probe")]
    pub(super) custom_ops: Vec<PathBuf>,
    /// Never use the network
    #[arg(long)]
    pub(super) offline: bool,
    /// Speak to the model's source without TLS
    #[arg(long)]
    pub(super) plain_http: bool,
    #[command(flatten)]
    pub(super) tensorrt: TensorRtArgs,
    #[arg(long, value_enum, default_value_t)]
    pub(super) format: Format,
}

#[derive(Debug, Args)]
pub(super) struct RunArgs {
    /// An ONNX file or a TensorRT engine, a folder that holds one, or a source such as `oci://REGISTRY/REPOSITORY[:TAG]`
    #[arg(value_parser = SourceParser)]
    pub(super) model: Source,
    /// The model's name in the protocols [default: the file's name]
    #[arg(long)]
    pub(super) name: Option<String>,
    /// Address to bind
    #[arg(long, default_value = "127.0.0.1")]
    pub(super) host: String,
    /// HTTP port; 0 lets the system choose
    #[arg(long, default_value_t = 8000)]
    pub(super) port: u16,
    /// Certificate for TLS, PEM; read again when it changes
    #[arg(long, value_name = "FILE", requires = "tls_key")]
    pub(super) tls_cert: Option<PathBuf>,
    /// The certificate's private key, PEM
    #[arg(long, value_name = "FILE", requires = "tls_cert")]
    pub(super) tls_key: Option<PathBuf>,
    /// gRPC port; 0 lets the system choose [default: 8001, or 0 where --port is]
    #[arg(long)]
    pub(super) grpc_port: Option<u16>,
    /// Keep an output as an input of a session's next request, `OUTPUT=INPUT`; may be given several times
    #[arg(long, value_name = "PAIR", value_parser = kept_pair)]
    pub(super) state: Vec<KeptPair>,
    /// A request to warm up with, as JSON
    #[arg(long, value_name = "FILE")]
    pub(super) sample: Option<PathBuf>,
    /// Library of custom operators that the model needs: native code, which is run; may be given several times
    #[arg(long, value_name = "FILE")]
    pub(super) custom_ops: Vec<PathBuf>,
    /// Serve without proving first whether requests can be batched: starts sooner, runs unbatched
    #[arg(long)]
    pub(super) no_probe: bool,
    /// Never use the network
    #[arg(long)]
    pub(super) offline: bool,
    /// Speak to the model's source without TLS
    #[arg(long)]
    pub(super) plain_http: bool,
    #[command(flatten)]
    pub(super) tensorrt: TensorRtArgs,
}

#[derive(Debug, Args)]
pub(super) struct CreateArgs {
    /// An ONNX file or a TensorRT engine, a folder that holds one, or a source such as `oci://REGISTRY/REPOSITORY[:TAG]`
    #[arg(value_parser = SourceParser)]
    pub(super) model: Source,
    /// The model's name in the protocols [default: the file's name]
    #[arg(long)]
    pub(super) name: Option<String>,
    /// The folder to write [default: ./NAME]
    #[arg(long, short, value_name = "DIR")]
    pub(super) output: Option<PathBuf>,
    /// The model's version, which becomes the image's tag [default: 0.1.0]
    #[arg(long, value_name = "VERSION")]
    pub(super) model_version: Option<String>,
    /// The repository that the image is meant for, such as registry.example.com/ml/digits [default: NAME]
    #[arg(long)]
    pub(super) repository: Option<String>,
    /// What the image stands on: closure, debian-packages, an image such as debian:12-slim, or oci:PATH [default: closure]
    #[arg(long, value_name = "BASE")]
    pub(super) base: Option<String>,
    /// Which binary goes into the image [default: generated where cargo is there]
    #[arg(long, value_enum)]
    pub(super) service: Option<Service>,
    /// A request to try first, as JSON: becomes the recorded sample
    #[arg(long, value_name = "FILE")]
    pub(super) sample: Option<PathBuf>,
    /// Library of custom operators that the model needs: native code, which goes into the image; may be given several times
    #[arg(long, value_name = "FILE")]
    pub(super) custom_ops: Vec<PathBuf>,
    /// Most rows in one run of the model; 1 turns batching off
    #[arg(long, value_name = "ROWS", value_parser = rows)]
    pub(super) max_batch_size: Option<std::num::NonZeroU32>,
    #[command(flatten)]
    pub(super) tensorrt: TensorRtArgs,
    /// Ask nothing
    #[arg(long, short)]
    pub(super) yes: bool,
    #[command(flatten)]
    pub(super) how: HowArgs,
}

#[derive(Debug, Args)]
pub(super) struct BuildArgs {
    /// What to build
    #[arg(long, value_name = "FILE", default_value = "nimify.yaml")]
    pub(super) config: PathBuf,
    /// Build for this environment of the file: its name is checked
    #[arg(long, value_name = "ENV")]
    pub(super) env: Option<String>,
    /// Refuse anything that differs from `nimify.lock`
    #[arg(long)]
    pub(super) locked: bool,
    #[command(flatten)]
    pub(super) how: HowArgs,
}

/// Flags that `create` and `build` share.
#[derive(Debug, Args)]
pub(super) struct HowArgs {
    /// Never use the network
    #[arg(long)]
    pub(super) offline: bool,
    /// Do not sign the image
    #[arg(long)]
    pub(super) unsigned: bool,
    /// Private key to sign with: a file, env://VARIABLE or exec://COMMAND; may be given several times [default: the key
    /// store's]
    #[arg(long = "key", value_name = "KEY", conflicts_with = "unsigned")]
    pub(super) keys: Vec<String>,
    /// Also write dist/image.tar, which docker, podman and skopeo load
    #[arg(long)]
    pub(super) archive: bool,
    /// Push the image and its signatures to the repository that it is meant for
    #[arg(long, conflicts_with = "offline")]
    pub(super) push: bool,
    /// Speak to registries without TLS
    #[arg(long)]
    pub(super) plain_http: bool,
    /// Write generated files anew even if they were edited
    #[arg(long)]
    pub(super) discard_edits: bool,
    /// Report only errors
    #[arg(long, short)]
    pub(super) quiet: bool,
    #[arg(long, value_enum, default_value_t)]
    pub(super) format: Format,
}

#[derive(Debug, Args)]
pub(super) struct LoadArgs {
    /// A folder written by `create` or `build`, or an OCI image layout
    pub(super) dir: PathBuf,
    /// What to load it into
    #[arg(long, value_enum, default_value_t)]
    pub(super) engine: LoadEngine,
    /// containerd's namespace: the kubelet's is k8s.io
    #[arg(long, default_value = "k8s.io")]
    pub(super) namespace: String,
    /// containerd's socket [default: ctr's own, or what CONTAINERD_ADDRESS says]
    #[arg(long, value_name = "SOCKET")]
    pub(super) address: Option<PathBuf>,
    #[arg(long, value_enum, default_value_t)]
    pub(super) format: Format,
}

/// What takes images.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, ValueEnum)]
pub(super) enum LoadEngine {
    /// Docker or Podman, whichever answers
    #[default]
    Docker,
    /// containerd, through its command ctr
    Containerd,
}

#[derive(Debug, Args)]
pub(super) struct PushArgs {
    /// A folder written by `create` or `build`, or an OCI image layout
    pub(super) dir: PathBuf,
    /// Where to: REGISTRY/REPOSITORY, or with a :TAG [default: the image's own name, its version as the tag]
    #[arg(long, value_name = "REFERENCE")]
    pub(super) to: Option<String>,
    /// Push the chart too, below this: oci://REGISTRY/PATH, as for `helm push`. It runs the image from where it was pushed
    #[arg(long, value_name = "OCI")]
    pub(super) chart_to: Option<String>,
    /// Push the model too, by itself: REGISTRY/REPOSITORY, or with a :TAG [default tag: the model's version]
    #[arg(long, value_name = "REFERENCE")]
    pub(super) model_to: Option<String>,
    /// In which form the model goes
    #[arg(long, value_enum, default_value_t, requires = "model_to")]
    pub(super) model_as: ModelAs,
    /// Speak to the registry without TLS
    #[arg(long)]
    pub(super) plain_http: bool,
    /// Private key to sign with for the destination: a file, env://VARIABLE or exec://COMMAND; may be given several times
    /// [default: those of the key store that have signed the image]
    #[arg(long = "key", value_name = "KEY")]
    pub(super) keys: Vec<String>,
    /// Report only errors
    #[arg(long, short)]
    pub(super) quiet: bool,
    #[arg(long, value_enum, default_value_t)]
    pub(super) format: Format,
}

/// In which form a model goes to a registry by itself.
#[derive(Debug, Clone, Copy, Default, ValueEnum)]
pub(super) enum ModelAs {
    /// A CNCF ModelPack artifact, a file a layer: for `oras pull`, and runtimes that mount artifacts
    #[default]
    #[value(name = "modelpack")]
    ModelPack,
    /// An image of nothing else: for Kubernetes' image volumes
    Image,
}

impl From<ModelAs> for ModelForm {
    fn from(form: ModelAs) -> Self {
        match form {
            ModelAs::ModelPack => ModelForm::ModelPack,
            ModelAs::Image => ModelForm::Image,
        }
    }
}

#[derive(Debug, Args)]
#[command(args_conflicts_with_subcommands = true, subcommand_negates_reqs = true)]
pub(super) struct BundleArgs {
    #[command(subcommand)]
    pub(super) command: Option<BundleCommand>,
    /// A folder written by `create` or `build`, or an OCI image layout
    #[arg(required = true)]
    pub(super) dir: Option<PathBuf>,
    /// The file to write [default: NAME-VERSION.bundle.tar]
    #[arg(long, short, value_name = "FILE")]
    pub(super) output: Option<PathBuf>,
    /// Private key that vouches for what is in it: a file, env://VARIABLE or exec://COMMAND; may be given several times
    /// [default: the key store's, if it has one]
    #[arg(long = "key", value_name = "KEY", conflicts_with = "unsigned")]
    pub(super) keys: Vec<String>,
    /// Let nobody vouch for chart and documents; the image's own signatures go along all the same
    #[arg(long)]
    pub(super) unsigned: bool,
    /// Replace a file that is there
    #[arg(long)]
    pub(super) force: bool,
    #[arg(long, value_enum, default_value_t)]
    pub(super) format: Format,
}

#[derive(Debug, Subcommand)]
pub(super) enum BundleCommand {
    /// Check a bundle and push what is in it to a registry
    Import(ImportArgs),
}

#[derive(Debug, Args)]
pub(super) struct ImportArgs {
    /// A file written by `nimify bundle`
    pub(super) file: PathBuf,
    /// Where to: REGISTRY, or REGISTRY/PREFIX; the image goes below it under its name, the chart below it under `charts/`
    #[arg(long, value_name = "REGISTRY")]
    pub(super) to: String,
    /// Speak to the registry without TLS
    #[arg(long)]
    pub(super) plain_http: bool,
    /// A public key to trust: a PEM file, env://VARIABLE or exec://COMMAND; may be given several times [default: the key
    /// store's]
    #[arg(long = "key", value_name = "PUB", conflicts_with = "unsigned")]
    pub(super) keys: Vec<String>,
    /// How many different trusted keys have to have signed [default: 1]
    #[arg(long, value_name = "COUNT", conflicts_with = "unsigned")]
    pub(super) threshold: Option<std::num::NonZeroUsize>,
    /// Take it in whoever signed it; every digest is checked all the same
    #[arg(long)]
    pub(super) unsigned: bool,
    /// Private key to sign with for the destination: a file, env://VARIABLE or exec://COMMAND [default: the key store's,
    /// if it has signed the image]
    #[arg(long, value_name = "KEY")]
    pub(super) signing_key: Option<String>,
    /// Report only errors
    #[arg(long, short)]
    pub(super) quiet: bool,
    #[arg(long, value_enum, default_value_t)]
    pub(super) format: Format,
}

/// Of which folder and environment a command is about.
#[derive(Debug, Args)]
pub(super) struct PlaceArgs {
    /// A folder written by `create` or `build`
    #[arg(default_value = ".")]
    pub(super) dir: PathBuf,
    /// The environment of its `nimify.yaml` [default: the only one]
    #[arg(long, value_name = "ENV")]
    pub(super) env: Option<String>,
}

/// Whose signatures are believed.
#[derive(Debug, Args)]
pub(super) struct TrustArgs {
    /// A public key to trust: a PEM file, env://VARIABLE or exec://COMMAND; may be given several times [default: the
    /// environment's, or else the key store's]
    #[arg(long = "key", value_name = "PUB")]
    pub(super) keys: Vec<String>,
    /// How many different trusted keys have to have signed [default: the environment's, or 1]
    #[arg(long, value_name = "COUNT")]
    pub(super) threshold: Option<std::num::NonZeroUsize>,
    /// Speak to the image's registry without TLS
    #[arg(long)]
    pub(super) plain_http: bool,
}

/// What is put over an environment's values.
#[derive(Debug, Args)]
pub(super) struct ValuesArgs {
    /// A file of the chart's values, put over the environment's; may be given several times, the last one wins
    #[arg(long, value_name = "FILE")]
    pub(super) values: Vec<PathBuf>,
    /// One of the chart's values, put over all others, such as replicaCount=3; may be given several times
    #[arg(long, value_name = "PATH=VALUE")]
    pub(super) set: Vec<String>,
}

/// How a release is changed.
#[derive(Debug, Args)]
pub(super) struct ReleaseArgs {
    /// How long the pods may take to become ready in each cluster
    #[arg(long, value_name = "TIME", default_value = "5m", value_parser = patience)]
    pub(super) timeout: std::time::Duration,
    /// How many revisions helm keeps
    #[arg(long, value_name = "COUNT", default_value_t = 10, value_parser = clap::value_parser!(u32).range(2..=1000))]
    pub(super) history_max: u32,
    /// Don't ask the service for the recorded sample once it runs
    #[arg(long)]
    pub(super) no_sample: bool,
    /// Report only errors
    #[arg(long, short)]
    pub(super) quiet: bool,
}

/// What brings a release to new values is told.
#[derive(Debug, Args)]
pub(super) struct UpgradeArgs {
    #[command(flatten)]
    pub(super) values: ValuesArgs,
    #[command(flatten)]
    pub(super) trust: TrustArgs,
    /// Make the namespace where it is missing
    #[arg(long)]
    pub(super) create_namespace: bool,
    #[command(flatten)]
    pub(super) release: ReleaseArgs,
    #[arg(long, value_enum, default_value_t)]
    pub(super) format: Format,
}

#[derive(Debug, Args)]
pub(super) struct DeployArgs {
    #[command(flatten)]
    pub(super) place: PlaceArgs,
    /// Show what would change, and change nothing
    #[arg(long)]
    pub(super) dry_run: bool,
    /// Run it beside what runs, with so many percent of the requests, until `promote` or `rollback` ends it
    #[arg(long, value_name = "PERCENT", value_parser = clap::value_parser!(u8).range(1..=99))]
    pub(super) canary: Option<u8>,
    #[command(flatten)]
    pub(super) upgrade: UpgradeArgs,
}

#[derive(Debug, Args)]
pub(super) struct StatusArgs {
    /// A folder written by `create` or `build`
    #[arg(default_value = ".")]
    pub(super) dir: PathBuf,
    /// An environment of its `nimify.yaml` [default: all of them]
    #[arg(long, value_name = "ENV")]
    pub(super) env: Option<String>,
    #[arg(long, value_enum, default_value_t)]
    pub(super) format: Format,
}

#[derive(Debug, Args)]
pub(super) struct RollbackArgs {
    #[command(flatten)]
    pub(super) place: PlaceArgs,
    /// The revision to go back to [default: the one that ran before; with a canary the last one without]
    #[arg(long, value_name = "REVISION", value_parser = clap::value_parser!(u32).range(1..))]
    pub(super) to: Option<u32>,
    /// How long the pods may take to become ready in each cluster
    #[arg(long, value_name = "TIME", default_value = "5m", value_parser = patience)]
    pub(super) timeout: std::time::Duration,
    /// Report only errors
    #[arg(long, short)]
    pub(super) quiet: bool,
    #[arg(long, value_enum, default_value_t)]
    pub(super) format: Format,
}

#[derive(Debug, Args)]
pub(super) struct PromoteArgs {
    /// FROM TO: two environments. ENV: one whose canary is to be what runs. A folder before them [default: .]
    #[arg(value_name = "[DIR] FROM TO | [DIR] ENV", required = true, num_args = 1..=3)]
    pub(super) names: Vec<String>,
    /// Show what would change, and change nothing
    #[arg(long)]
    pub(super) dry_run: bool,
    #[command(flatten)]
    pub(super) upgrade: UpgradeArgs,
}

#[derive(Debug, Args)]
pub(super) struct DiffArgs {
    #[command(flatten)]
    pub(super) place: PlaceArgs,
    #[command(flatten)]
    pub(super) values: ValuesArgs,
    #[arg(long, value_enum, default_value_t)]
    pub(super) format: Format,
}

#[derive(Debug, Args)]
pub(super) struct HistoryArgs {
    #[command(flatten)]
    pub(super) place: PlaceArgs,
    #[arg(long, value_enum, default_value_t)]
    pub(super) format: Format,
}

#[derive(Debug, Args)]
pub(super) struct SignArgs {
    /// A folder written by `create` or `build`, or an OCI image layout
    pub(super) dir: PathBuf,
    /// Private key: a file, env://VARIABLE or exec://COMMAND; may be given several times [default: the key store's]
    #[arg(long = "key", value_name = "KEY")]
    pub(super) keys: Vec<String>,
    /// The repository that the signature names [default: the image's own name]
    #[arg(long)]
    pub(super) repository: Option<String>,
}

#[derive(Debug, Args)]
pub(super) struct VerifyArgs {
    /// A folder written by `create` or `build`, an OCI image layout, a file written by `bundle`, or an image in a registry:
    /// `REGISTRY/REPOSITORY[:TAG][@DIGEST]`
    #[arg(value_name = "DIR|FILE|REF")]
    pub(super) dir: PathBuf,
    /// A public key to trust: a PEM file, env://VARIABLE or exec://COMMAND; may be given several times [default: the key
    /// store's]
    #[arg(long = "key", value_name = "PUB", conflicts_with = "env")]
    pub(super) keys: Vec<String>,
    /// How many different trusted keys have to have signed [default: 1]
    #[arg(long, value_name = "COUNT")]
    pub(super) threshold: Option<std::num::NonZeroUsize>,
    /// Trust the keys of this environment of the folder's `nimify.yaml`, or for REF of the one in this folder
    #[arg(long, value_name = "ENV")]
    pub(super) env: Option<String>,
    /// Speak to the registry of REF without TLS
    #[arg(long)]
    pub(super) plain_http: bool,
    #[arg(long, value_enum, default_value_t)]
    pub(super) format: Format,
}

#[derive(Debug, Args)]
pub(super) struct KeysArgs {
    #[command(subcommand)]
    pub(super) command: KeysCommand,
}

#[derive(Debug, Subcommand)]
pub(super) enum KeysCommand {
    /// Make the key pairs that the key store has none of yet: one for images, one for models
    Generate,
    /// Put a cosign private key into the key store
    Import {
        /// The private key, in PEM
        file: PathBuf,
    },
    /// Print the public key, or write the private one to a file
    Export {
        /// Write the (encrypted) private key here
        #[arg(long, value_name = "FILE")]
        private: Option<PathBuf>,
        /// Which pair: images are signed with the one, models with the other
        #[arg(long, value_enum, default_value_t)]
        kind: KeyKind,
    },
}

/// The pairs of a key store.
#[derive(Debug, Clone, Copy, Default, clap::ValueEnum)]
pub(super) enum KeyKind {
    /// Ed25519: for images
    #[default]
    Ed25519,
    /// ECDSA P-256: for models
    #[value(name = "ecdsa-p256")]
    EcdsaP256,
}

impl From<KeyKind> for Algorithm {
    fn from(kind: KeyKind) -> Self {
        match kind {
            KeyKind::Ed25519 => Algorithm::Ed25519,
            KeyKind::EcdsaP256 => Algorithm::EcdsaP256,
        }
    }
}

#[derive(Debug, Args)]
pub(super) struct DoctorArgs {
    /// Remove what the cache holds and no current version of nimify uses
    #[arg(long)]
    pub(super) fix: bool,
    #[arg(long, value_enum, default_value_t)]
    pub(super) format: Format,
}

#[derive(Debug, Args)]
pub(super) struct ExplainArgs {
    /// An exit code
    pub(super) code: u8,
}

#[derive(Debug, Args)]
pub(super) struct CompletionsArgs {
    /// The shell
    #[arg(value_enum)]
    pub(super) shell: clap_complete::Shell,
}

fn rows(text: &str) -> Result<std::num::NonZeroU32, &'static str> {
    text.parse().map_err(|_| "give a whole number of at least 1")
}

/// Where a model is. What is wrong with it is told without what may be secret, which clap's own words would repeat.
#[derive(Clone)]
struct SourceParser;

impl TypedValueParser for SourceParser {
    type Value = Source;

    fn parse_ref(&self, command: &clap::Command, _: Option<&clap::Arg>, value: &OsStr) -> Result<Source, clap::Error> {
        Source::try_from(value)
            .map_err(|error| clap::Error::raw(ErrorKind::ValueValidation, format!("{error}\n")).with_cmd(command))
    }
}

fn kept_pair(text: &str) -> Result<KeptPair, &'static str> {
    let named = |name: &str| Some(name.to_string()).filter(|name| !name.is_empty());
    let pair = text.split_once('=').and_then(|(output, input)| {
        Some(KeptPair { output: named(output)?, input: named(input)?, initial: None, shape: Vec::new() })
    });
    pair.ok_or("give an output and an input, such as next_state=state")
}

fn patience(text: &str) -> Result<std::time::Duration, String> {
    let time = nimify_runtime::settings::duration::parse(text).map_err(|error| error.to_string())?;
    match time.as_secs() {
        1..=86_400 => Ok(time),
        _ => Err("give one second to one day, such as 90s or 10m".into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_flags_are_consistent() {
        <Cli as clap::CommandFactory>::command().debug_assert();
    }
}
