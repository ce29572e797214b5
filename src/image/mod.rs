//! Service binary + ONNX Runtime + model → [`Image`]: reproducible layers, their configuration and manifest; and the
//! image's ways out: an OCI layout, an archive, an engine.
//!
//! What an image stands on is one of [`base`]'s kinds, by default the closure of libraries that the binary and ONNX
//! Runtime need on this machine. Layers go from seldom to often changed: `base`, `onnxruntime`, `operators` where there
//! are custom ones, `service`, `sides` where files go with the model, `model`.

mod archive;
mod artifact;
mod base;
mod bounded;
mod budget;
mod closure;
mod compress;
pub mod containerd;
pub mod cuda;
pub mod debian;
mod describe;
mod elf;
mod entries;
mod error;
mod hashing;
mod inherit;
mod layer;
mod layout;
mod ldcache;
pub mod load;
pub mod locale;
pub mod onnxruntime;
pub mod operators;
mod packages;
mod rootfs;
mod unpack;
mod validate;

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

pub use archive::{Archive, archive, loadable};
pub use artifact::{Artifact, ArtifactBlob, ArtifactContent, write_artifact};
pub use base::{Base, BaseFile, BaseImage, BaseLayer, BaseSource, Installed, InstalledPackage, Manager, USER};
pub(crate) use bounded::Bounded;
pub use budget::{Budget, Overrun, OverrunLayer};
pub use closure::{Closure, closure};
pub use compress::Compression;
pub use describe::{REF_NAME, reference, rfc3339};
pub(crate) use entries::walk as walk_tar;
pub use error::{Architecture, Attempt, Error};
pub use layer::Layer;
pub(crate) use layout::digest_of;
pub use layout::{OpenedLayout, blob_path, open_layout, write_layout};
pub use load::load;
pub use packages::{Package, Resolved};
pub use unpack::{UnpackedFile, unpack};
pub use validate::{Fault, Limits, Problem, validate, validate_within};

use compress::Packed;
use cuda::Cuda;
use describe::Description;
use layer::{Contents, Plan};
use operators::OperatorLibrary;

use crate::cache::Cache;
use crate::digest::Digest;
use crate::files::{FileTree, RelativePath};

/// What goes into an image.
#[derive(Debug, Clone)]
pub struct ImageRequest {
    /// The image's name: the service's, or a repository.
    pub name: String,
    /// The version, as the user gave it.
    pub version: String,
    /// For which processor; binary and library have to be made for it.
    pub architecture: Architecture,
    /// What it stands on.
    pub base: BaseSource,
    /// The service binary: `/nimify/service`.
    pub binary: PathBuf,
    /// ONNX Runtime's library: `/nimify/lib/…`.
    pub onnxruntime: PathBuf,
    /// ONNX Runtime with CUDA, which the image has instead.
    pub cuda: Option<Cuda>,
    /// Libraries of custom operators: `/nimify/lib/operators/…`.
    pub operators: Vec<OperatorLibrary>,
    /// Locales that the model names, such as `en_US.UTF-8`.
    pub locales: BTreeSet<String>,
    /// Files beside the binary: `service.json`, `signature.json`, `openapi.json`, `sample.json`.
    pub service_files: FileTree,
    /// The model and its external data, by path below `/models`.
    pub models: BTreeMap<RelativePath, PathBuf>,
    /// Files that go with it, by path below `/models` too: a layer of their own, since they seldom change with the weights.
    pub side_files: BTreeMap<RelativePath, PathBuf>,
    /// Of the base, ONNX Runtime and service layers.
    pub compression: Compression,
    /// Of the model's layers.
    pub model_compression: Compression,
    /// The model's files are spread over layers of at most so many bytes; a larger file has a layer of its own.
    pub largest_model_layer: u64,
    /// What the layers have to keep to.
    pub budget: Budget,
    /// Every time in the image, seconds since 1970: `SOURCE_DATE_EPOCH`, or 0.
    pub created: u64,
    /// The port that the service listens on.
    pub port: u16,
    /// The port of gRPC, if it is served.
    pub grpc_port: Option<u16>,
    /// How long the model may take to load.
    pub startup_seconds: u32,
    /// More labels and annotations, such as `org.opencontainers.image.description`.
    pub annotations: BTreeMap<String, String>,
}

impl ImageRequest {
    /// What the service opens by itself: ONNX Runtime, and libraries of custom operators.
    fn libraries(&self) -> Vec<&Path> {
        let operators = self.operators.iter().map(|library| library.path.as_path());
        [self.onnxruntime.as_path()].into_iter().chain(operators).collect()
    }
}

/// An image as plain values: small things as bytes, layers as facts and files in the cache.
#[derive(Debug, Clone, PartialEq)]
pub struct Image {
    /// `NAME:VERSION`, fit to be a tag.
    pub reference: String,
    /// For which processor.
    pub architecture: Architecture,
    /// From the lowest up.
    pub layers: Vec<Layer>,
    /// The configuration's bytes.
    pub config: Vec<u8>,
    /// The manifest's bytes.
    pub manifest: Vec<u8>,
    /// The manifest's digest, by which the image is known.
    pub digest: Digest,
    /// What the base layer was made from.
    pub base: Base,
    /// ONNX Runtime's library in it.
    pub onnxruntime: Digest,
    /// The wheels that libraries in it come from, by name.
    pub wheels: BTreeMap<String, Resolved>,
}

/// Largest layer of model files unless the user says otherwise: registries commonly refuse more than 10 GB.
pub const LARGEST_MODEL_LAYER: u64 = 4 << 30;

/// Packs the layers, or takes them from the cache, and describes the image.
pub fn assemble(request: &ImageRequest, cache: &Cache) -> Result<Image, Error> {
    let (base_files, base) = base::lay(request, cache)?;
    let plan =
        |title, contents, packed, compression| Plan { title, contents, compression, packed, created: request.created };
    let below = if base.image.is_some() { "libraries" } else { "base" };
    let mut plans = vec![plan(below, base_files, Packed::Once, request.compression)];
    let (runtime, onnxruntime) = runtime_layers(request)?;
    plans.extend(runtime);
    if !request.operators.is_empty() {
        let mut contents = Contents::default();
        for library in &request.operators {
            contents.file(&format!("nimify/{}/{}", operators::FOLDER, library.name), 0o755, &library.path)?;
        }
        plans.push(plan("operators", contents, Packed::Often, request.compression));
    }
    plans.push(plan("service", service_files(request)?, Packed::Often, request.compression));
    let sides = side_files(request)?;
    if !sides.sizes().is_empty() {
        plans.push(plan("sides", sides, Packed::Often, request.compression));
    }
    let models = model_files(request)?.into_iter();
    plans.extend(models.map(|files| plan("model", files, Packed::Often, request.model_compression)));
    let mut layers = base.layers.clone();
    for plan in &plans {
        layers.push(layer::pack(cache, plan)?);
    }
    let unnamed = base.layers.iter().map(|_| Contents::default().sizes());
    let sizes: Vec<_> = layers.iter().zip(unnamed.chain(plans.iter().map(|plan| plan.contents.sizes()))).collect();
    let overruns = budget::overruns(&request.budget, &sizes);
    if !overruns.is_empty() {
        return Err(Error::Budget(overruns));
    }
    let annotations = annotations(request, base.image.as_ref());
    let description = Description {
        architecture: request.architecture,
        created: request.created,
        ports: &[Some(request.port), request.grpc_port],
        startup_seconds: request.startup_seconds,
        environment: if request.cuda.is_some() { &cuda::ENVIRONMENT } else { &[] },
        annotations: &annotations,
        base: base.image.as_ref().map(|image| image.config.as_slice()),
    };
    let config = describe::config(&description, &layers)?;
    let manifest = describe::manifest(&description, &config, &layers)?;
    Ok(Image {
        reference: reference(&request.name, &request.version),
        architecture: request.architecture,
        digest: Digest::of(&manifest),
        layers,
        config,
        manifest,
        base,
        onnxruntime,
        wheels: request.cuda.as_ref().map(|cuda| cuda.wheels.clone()).unwrap_or_default(),
    })
}

/// The layers of ONNX Runtime, of CUDA one for each wheel so that images of other models share them; and the digest of
/// ONNX Runtime's library.
fn runtime_layers(request: &ImageRequest) -> Result<(Vec<Plan>, Digest), Error> {
    let (compression, created) = (request.compression, request.created);
    let place = |name: &str| format!("{}/{name}", cuda::FOLDER);
    let Some(cuda) = &request.cuda else {
        let mut contents = Contents::default();
        let digest = contents.file(&place(onnxruntime::FILE_NAME), 0o755, &request.onnxruntime)?;
        let plan = Plan { title: "onnxruntime", contents, compression, packed: Packed::Once, created };
        return Ok((vec![plan], digest));
    };
    let mut layers = Vec::new();
    for (wheel, files) in &cuda.layers {
        let mut contents = Contents::default();
        for (name, path) in files {
            contents.file(&place(name), 0o755, path)?;
        }
        // Gigabytes: the last percents would take minutes.
        layers.push(Plan { title: wheel, contents, compression, packed: Packed::Often, created });
    }
    let library = cuda.onnxruntime().ok_or_else(|| cuda::Error::Missing { library: onnxruntime::FILE_NAME.into() })?;
    let (digest, _) = Digest::of_file(library).map_err(error::files("read", library))?;
    Ok((layers, digest))
}

fn service_files(request: &ImageRequest) -> Result<Contents, Error> {
    let mut contents = Contents::default();
    contents.file("nimify/service", 0o755, &request.binary)?;
    for (path, bytes) in &request.service_files {
        contents.bytes(&format!("nimify/{}", path.as_str()), 0o644, bytes.clone())?;
    }
    Ok(contents)
}

/// What goes with the model, beside it.
fn side_files(request: &ImageRequest) -> Result<Contents, Error> {
    let mut contents = Contents::default();
    for (path, source) in &request.side_files {
        contents.file(&format!("models/{}", path.as_str()), 0o644, source)?;
    }
    Ok(contents)
}

/// The model's files in the order of their paths, a new layer whenever the next would make one too large.
fn model_files(request: &ImageRequest) -> Result<Vec<Contents>, Error> {
    let mut layers: Vec<(u64, Contents)> = Vec::new();
    for (path, source) in &request.models {
        let size = std::fs::metadata(source).map_err(error::files("read", source))?.len();
        let fits = layers.last().is_some_and(|(used, _)| used.saturating_add(size) <= request.largest_model_layer);
        if !fits {
            layers.push((0, Contents::default()));
        }
        let (used, contents) = layers.last_mut().expect("there is a layer by now");
        *used = used.saturating_add(size);
        contents.file(&format!("models/{}", path.as_str()), 0o644, source)?;
    }
    Ok(layers.into_iter().map(|(_, contents)| contents).collect())
}

fn annotations(request: &ImageRequest, base: Option<&BaseImage>) -> BTreeMap<String, String> {
    let mut all = BTreeMap::from([
        ("org.opencontainers.image.title".to_string(), request.name.clone()),
        ("org.opencontainers.image.version".to_string(), request.version.clone()),
        ("org.opencontainers.image.created".to_string(), rfc3339(request.created)),
    ]);
    if let Some(base) = base {
        all.insert("org.opencontainers.image.base.digest".into(), base.digest.to_string());
        // A folder of this machine is nobody else's reference.
        if !base.name.starts_with("oci:") {
            all.insert("org.opencontainers.image.base.name".into(), base.name.clone());
        }
    }
    all.extend(request.annotations.clone());
    all
}
