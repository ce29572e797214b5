//! `Config` → a folder with everything: the composition of all arrows.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use nimify_runtime::settings::{Optimize, Provider, Providers};
use nimify_runtime::signature::Batching;

use super::documents::{self, Documents};
use super::error::files;
use super::observer::{Observer, Step, Stopwatch};
use super::report::{BuildReport, LayerRow};
use super::sink::{ArchiveFile, Sink};
use super::{Error, base, locked, output_files, parts, push, service_files, source};
use crate::cache::Cache;
use crate::chart::{self, ChartRequest};
use crate::compile::{self, CompileRequest, ServiceBinary, ServiceSources};
use crate::config::{self, Config, Lock};
use crate::files::{FileTree, RelativePath};
use crate::image::onnxruntime::OnnxRuntime;
use crate::image::operators::OperatorLibrary;
use crate::image::{self, Architecture, Budget, Compression, Image, ImageRequest};
use crate::model::{self, Derived, Limits, ModelDescription};
use crate::optimize::{self, Gain, OptimizeRequest, Outcome};
use crate::output::{self, Stage};
use crate::plan::{self, ServicePlan};
use crate::probe::{self, ProbeReport};
use crate::registry::PushReport;
use crate::sign::{self, Algorithm, SigningKey};
use crate::source::Fetched;
use crate::{codegen, openapi};

/// Who signs the image.
#[derive(Debug)]
pub enum Signer {
    /// Nobody.
    Nobody,
    /// The owners of these keys.
    Keys {
        /// Each signs the image; at least one.
        images: Vec<SigningKey>,
        /// Signs the model, which takes an ECDSA key, where none of the image's is one. Without either it has no
        /// signature of its own.
        model: Option<Box<SigningKey>>,
    },
}

/// What is to be built, from what, into what.
#[derive(Debug)]
pub struct BuildRequest<'a> {
    /// What was asked for.
    pub config: &'a Config,
    /// The folder that its relative paths start from.
    pub config_folder: &'a Path,
    /// `nimify.yaml` to write; `None` where it is there already.
    pub config_text: Option<String>,
    /// The folder to write.
    pub output: &'a Path,
    /// The model, where it has been fetched for this build already; `None` fetches what the config names.
    pub fetched: Option<Fetched>,
    /// Who signs.
    pub signer: Signer,
    /// Never use the network.
    pub offline: bool,
    /// Refuse what differs from the lock.
    pub locked: bool,
    /// Write `dist/image.tar` too.
    pub archive: bool,
    /// Push the image to the repository that the config names.
    pub push: bool,
    /// Speak to registries without TLS, to those too that the config doesn't name for it.
    pub plain_http: bool,
    /// Write generated files anew even if they were edited.
    pub discard_edits: bool,
}

/// Builds everything beside `request.output`, then puts it in place: all of it, or nothing.
pub fn build(request: &BuildRequest<'_>, observer: &mut dyn Observer) -> Result<BuildReport, Error> {
    let mut watch = Stopwatch::new(observer);
    let ground = output::survey(request.output).map_err(files("look at", request.output))?;
    let old = locked::read(request, ground)?;
    locked::check_ground(request, ground, old.as_ref())?;
    // Before minutes of work: without a registry in its name the image can't go anywhere.
    let destination = request.push.then(|| push::destination(request.config)).transpose()?;
    output::check_writable(request.output).map_err(files("write", request.output))?;
    let cache = Cache::from_environment()?;

    let architecture = parts::architecture(request.config)?;
    watch.step(Step::Inspect)?;
    let fetched = source::fetch(request, old.as_ref(), &cache, &mut watch)?;
    let operators = parts::operators_of(request.config, request.config_folder)?;
    let subject = Subject { model: &fetched.path, architecture, operators: &operators };
    let Looked { description, host_runtime, runtime, probe } = look(request, &subject, &cache, &mut watch)?;
    watch.step(Step::Optimize)?;
    let (derived, gain) = rewrite(request, &description, &host_runtime, &probe, &mut watch)?;
    watch.step(Step::Generate)?;
    let mut plan = plan::plan(request.config, &description, Some(&probe))?;
    if let Some(derived) = &derived {
        plan.serve_files_of(derived);
    }
    let parts = generate(request, &plan, old.as_ref())?;
    watch.step(Step::Compile)?;
    let binary = compile(request, architecture, &cache, &parts, &mut watch)?;

    let around = base::Around {
        architecture,
        old: old.as_ref(),
        cache: &cache,
        binary: &binary,
        runtime: &runtime,
        operators: &operators,
        locales: &description.contents.locales,
    };
    let cuda = base::accelerator(request, &around, description.engine.is_some())?;
    let base = base::source(request, &around, cuda.as_ref(), &mut watch)?;
    watch.step(Step::Pack)?;
    let stage = Stage::new(request.output).map_err(files("write", request.output))?;
    let models = service_files::models(&description, derived.as_ref());
    let side_files = service_files::side_files(&description);
    let asked = ImageRequest {
        base,
        cuda,
        operators,
        side_files,
        locales: description.contents.locales.clone(),
        ..image_request(request, &plan, models, &runtime, &binary, &parts)?
    };
    let image = image::assemble(&asked, &cache).map_err(|error| parts::packing_failed(error, architecture))?;
    let layout = stage.path().join("dist/image");
    image::write_layout(&image, &layout)?;
    image.base.warnings.iter().for_each(|warning| watch.observer.warn(warning));

    let used = locked::Used {
        plan: &plan,
        description: &description,
        source: fetched.pinned.as_ref(),
        derived: derived.as_ref(),
        runtime: &runtime,
        operators: &asked.operators,
        binary: &binary,
        image: &image,
    };
    watch.step(Step::Sign)?;
    let documents = documents::documents(request, &used, &parts)?;
    documents.write(&stage.path().join("dist"))?;
    let signed_by = sign(request, &used, &stage, &documents)?;
    if matches!(&request.signer, Signer::Keys { .. }) && model_signer(&request.signer).is_none() {
        watch.observer.warn("the model has no signature of its own: there is no ECDSA P-256 key to make it with");
    }
    watch.step(Step::Chart)?;
    let chart = chart::render(&ChartRequest { plan: &plan, digest: image.digest })?;

    watch.step(Step::Write)?;
    if request.archive {
        ArchiveFile(stage.path().join("dist/image.tar")).deliver(&layout, &())?;
    }
    let tree = output_files::tree(request, &plan, &parts, chart, old.as_ref())?;
    let lock = locked::lock(&used, &tree);
    if request.locked {
        locked::compare(request.output, old.as_ref(), &lock)?;
    }
    let pushed = match &destination {
        None => None,
        Some(to) => {
            watch.step(Step::Push)?;
            Some(push::built(request, to, &layout, &cache, watch.observer)?)
        }
    };
    let figures = Figures { probe, optimized: gain, signed_by, pushed };
    let report = report(request, &plan, &image, &binary, figures, &mut watch);
    output_files::write(&stage, &tree, &lock, &report)?;
    crate::interrupt::check()?;
    let before = old.map(|lock| lock.generated).unwrap_or_default();
    stage.publish(&before).map_err(files("put everything in place in", request.output))?;
    Ok(report)
}

/// What is known of the model, and what it is run by.
struct Looked {
    description: ModelDescription,
    /// ONNX Runtime for this machine.
    host_runtime: OnnxRuntime,
    /// The one for the image: the same unless the image is for another processor.
    runtime: OnnxRuntime,
    probe: ProbeReport,
}

/// What is looked at, and for which processor.
struct Subject<'a> {
    model: &'a Path,
    architecture: Architecture,
    operators: &'a [OperatorLibrary],
}

/// Reads the model, finds ONNX Runtime, and runs the one with the other.
fn look(
    request: &BuildRequest<'_>,
    subject: &Subject<'_>,
    cache: &Cache,
    watch: &mut Stopwatch<'_>,
) -> Result<Looked, Error> {
    let architecture = subject.architecture;
    let declared = request.config.tensorrt.declared();
    let mut description = model::inspect_declared(subject.model, &Limits::default(), &declared)?;
    description.told()?;
    let fits = plan::check(request.config, &description);
    description.retain_side_files(|name| request.config.side_files.takes(name));
    description.contents.warnings.iter().for_each(|warning| watch.observer.warn(warning));
    // After the warnings: one of them may say why a file that the config names isn't found.
    fits?;
    watch.step(Step::Provision)?;
    let host_runtime = parts::locate_onnxruntime(cache, request.offline)?;
    let runtime = if Architecture::host() == Some(architecture) {
        host_runtime.clone()
    } else {
        parts::foreign_onnxruntime(architecture, cache, request.offline)?
    };
    watch.step(Step::Probe)?;
    if let Some(report) = probe::unseen(&description) {
        report.warnings.iter().for_each(|warning| watch.observer.warn(warning));
        return Ok(Looked { description, host_runtime, runtime, probe: report });
    }
    let sample = request
        .config
        .sample
        .as_ref()
        .map(|path| parts::read_sample(&crate::files::plain(&request.config_folder.join(path))));
    let asked = parts::probe_request(&description, &host_runtime.path, subject.operators, sample.transpose()?)?;
    let report = probe::probe(&asked)?;
    report.warnings.iter().for_each(|warning| watch.observer.warn(warning));
    if let Batching::Refused { reason } | Batching::Unproved { reason } = &report.batching
        && !report.warnings.iter().any(|told| told.contains(reason))
    {
        watch.observer.warn(&format!("requests will run one by one: {reason}"));
    }
    Ok(Looked { description, host_runtime, runtime, probe: report })
}

/// What is served in place of the user's own file, if that is not served itself: a model that runs an engine, or the
/// graph as ONNX Runtime prepares it where the config leaves that to the build; then with what that brings.
fn rewrite(
    request: &BuildRequest<'_>,
    description: &ModelDescription,
    runtime: &OnnxRuntime,
    probe: &ProbeReport,
    watch: &mut Stopwatch<'_>,
) -> Result<(Option<Derived>, Option<Gain>), Error> {
    if let Some(wrapped) = model::wrap(description)? {
        if !base::may_have_tensorrt(request) {
            watch.observer.warn(
                "the image has no TensorRT, without which the service ends as it starts: ask for `image.accelerator: tensorrt`, \
                 or build on a base that has it",
            );
        }
        return Ok((Some(wrapped), None));
    }
    let engine = request.config.engine.settings();
    if description.holds_engine() {
        if engine.provider == Providers::default() {
            watch.observer.warn(
                "the model holds a compiled engine, and nothing says what runs it: name the execution provider that it \
                 was compiled for in `engine.provider`",
            );
        }
        return Ok((None, None));
    }
    // What other libraries bring is for them to rewrite: ONNX Runtime does so on each start.
    if engine.optimize != Optimize::Build || !request.config.engine.custom_ops.is_empty() {
        return Ok((None, None));
    }
    let executable = crate::confine::itself().map_err(files("find", Path::new("nimify's own executable")))?;
    let locales = parts::locale_path(description)?;
    let outcome = optimize::optimize(&OptimizeRequest {
        executable: &executable,
        onnxruntime: &runtime.path,
        description,
        sample: probe.sample.as_ref().map(|sample| sample.request.as_str()),
        accelerated: request.config.image.accelerator.unwrap_or_default() != config::Accelerator::None
            || matches!(&engine.provider, Providers::Named(named) if named.iter().any(|p| *p != Provider::Cpu)),
        locales: locales.as_deref(),
    });
    crate::interrupt::check()?;
    match outcome {
        Outcome::Derived(derived, gain) => Ok((Some(derived), Some(gain))),
        Outcome::Kept { reason, noteworthy } => {
            if noteworthy {
                watch.observer.warn(&format!("the model's graph is optimized on each start, not once: {reason}"));
            }
            Ok((None, None))
        }
    }
}

/// What is generated, as trees and texts.
pub(super) struct Generated {
    /// `service/`, with the user's own files.
    pub(super) service: FileTree,
    /// The user's own files among them, by path below `service/`.
    pub(super) users: FileTree,
    /// Whether the hooks are no longer those that nimify writes.
    pub(super) hooks_edited: bool,
    /// `openapi.yaml`.
    pub(super) openapi_yaml: String,
    /// `openapi.json`, as the service serves it.
    pub(super) openapi_json: String,
}

fn generate(request: &BuildRequest<'_>, plan: &ServicePlan, old: Option<&Lock>) -> Result<Generated, Error> {
    let document = openapi::describe(plan);
    let mut service = codegen::render(plan, &document)?;
    let untouched = service.iter().find(|(path, _)| path.as_str() == codegen::HOOKS).map(|(_, bytes)| bytes.clone());
    let mut users = output_files::users(request, "service", old)?;
    // Without a lock nobody knows what the user edited: only the hooks are sure to be theirs.
    users.retain(|path, _| path.as_str() == codegen::HOOKS || !service.contains_key(path));
    service.extend(users.clone());
    let hooks = service.iter().find(|(path, _)| path.as_str() == codegen::HOOKS).map(|(_, bytes)| bytes);
    let hooks_edited = hooks != untouched.as_ref();
    let (openapi_yaml, openapi_json) = (openapi::to_yaml(&document), openapi::to_json(&document));
    Ok(Generated { service, users, hooks_edited, openapi_yaml, openapi_json })
}

/// Compiles the crate; without a compiler, and if the config leaves the choice, the generic service stands in.
fn compile(
    request: &BuildRequest<'_>,
    architecture: Architecture,
    cache: &Cache,
    generated: &Generated,
    watch: &mut Stopwatch<'_>,
) -> Result<ServiceBinary, Error> {
    let target = format!("{}-unknown-linux-gnu", architecture.kernel());
    let target = (Architecture::host() != Some(architecture)).then_some(target.as_str());
    let asked = CompileRequest { cache: cache.root(), offline: request.offline, target };
    let folder = request.output.join("service");
    let sources = ServiceSources { files: &generated.service, folder: &folder };
    let mut tell = |progress| super::observer::compile_progress(watch.observer, progress);
    let wanted = request.config.service;
    if wanted != Some(config::ServiceKind::Generic) {
        match compile::compile(&asked, &sources, &mut tell) {
            Err(compile::Error::CargoMissing { .. }) if wanted.is_none() => {
                tell(compile::Progress::Diagnostic(
                    "no cargo: the generic service is packed, which runs no hooks".into(),
                ));
            }
            done => return Ok(done?),
        }
    }
    if generated.hooks_edited {
        return Err(Error::HooksWithoutCompiler);
    }
    let executable = std::env::current_exe().map_err(files("find", Path::new("nimify's own executable")))?;
    let installed = executable.parent().unwrap_or(Path::new("/"));
    Ok(compile::generic(&asked, installed, &mut tell)?)
}

fn image_request(
    request: &BuildRequest<'_>,
    plan: &ServicePlan,
    models: BTreeMap<RelativePath, PathBuf>,
    runtime: &OnnxRuntime,
    binary: &ServiceBinary,
    generated: &Generated,
) -> Result<ImageRequest, Error> {
    let asked = &request.config.image;
    let compression = |word| match word {
        config::Compression::Gzip => Compression::Gzip,
        config::Compression::Zstd => Compression::Zstd,
        config::Compression::None => Compression::None,
    };
    Ok(ImageRequest {
        name: plan.repository.clone(),
        version: plan.settings.version.clone(),
        architecture: parts::architecture(request.config)?,
        base: image::BaseSource::Closure,
        binary: binary.path.clone(),
        onnxruntime: runtime.path.clone(),
        cuda: None,
        operators: Vec::new(),
        locales: BTreeSet::new(),
        service_files: service_files::beside_the_binary(request, plan, generated)?,
        models,
        side_files: BTreeMap::new(),
        compression: compression(asked.compression.unwrap_or_default()),
        model_compression: compression(asked.model_compression.unwrap_or(config::Compression::None)),
        largest_model_layer: image::LARGEST_MODEL_LAYER,
        budget: Budget {
            layer: asked.budget.layer.map(|size| size.0.get()),
            total: asked.budget.total.map(|size| size.0.get()),
        },
        created: parts::source_date_epoch()?,
        port: plan.settings.server.port,
        grpc_port: plan.settings.server.grpc_port,
        startup_seconds: plan.resources.startup_seconds,
        annotations: [("org.opencontainers.image.description".to_string(), plan.description.clone())].into(),
    })
}

/// Signs the layout with each key, attests the documents of it, and puts the public keys beside it; the same for the
/// model.
fn sign(
    request: &BuildRequest<'_>,
    used: &locked::Used<'_>,
    stage: &Stage,
    documents: &Documents,
) -> Result<Vec<String>, Error> {
    let Signer::Keys { images, .. } = &request.signer else { return Ok(Vec::new()) };
    let dist = stage.path().join("dist");
    let layout = dist.join("image");
    let mut beside = Vec::new();
    for (at, key) in images.iter().enumerate() {
        sign::sign_layout(&layout, key, &used.plan.repository)?;
        sign::attest_layout(&layout, key, &documents.predicates())?;
        let name = if at == 0 { "cosign.pub".to_string() } else { format!("cosign-{}.pub", at + 1) };
        beside.push((name, key.public().to_pem().into_bytes()));
    }
    if let Some(key) = model_signer(&request.signer) {
        let files = documents::model_files(used.description);
        beside.push(("model.sig".into(), sign::sign_model(key, used.plan.name.as_str(), &files)?));
        beside.push(("model.pub".into(), key.public().to_pem().into_bytes()));
    }
    for (name, bytes) in beside {
        let path = dist.join(name);
        std::fs::write(&path, bytes).map_err(files("write", &path))?;
    }
    Ok(images.iter().map(|key| key.public().id().to_string()).collect())
}

/// The key that the model is signed with.
fn model_signer(signer: &Signer) -> Option<&SigningKey> {
    let Signer::Keys { images, model } = signer else { return None };
    let image = images.iter().find(|key| key.public().algorithm() == Algorithm::EcdsaP256);
    model.as_deref().or(image)
}

/// What the report tells besides what was made.
struct Figures {
    probe: ProbeReport,
    optimized: Option<Gain>,
    signed_by: Vec<String>,
    pushed: Option<PushReport>,
}

fn report(
    request: &BuildRequest<'_>,
    plan: &ServicePlan,
    image: &Image,
    binary: &ServiceBinary,
    figures: Figures,
    watch: &mut Stopwatch<'_>,
) -> BuildReport {
    let layer = |layer: &image::Layer| LayerRow {
        title: layer.title.clone(),
        compressed: layer.size,
        uncompressed: layer.uncompressed_size,
        digest: layer.digest,
    };
    BuildReport {
        name: plan.name.clone(),
        reference: image.reference.clone(),
        folder: request.output.into(),
        digest: image.digest,
        service: binary.kind,
        batching: plan.signature.batching.clone(),
        layers: image.layers.iter().map(layer).collect(),
        side_files: plan.settings.model.side_files.iter().map(|side| side.name.clone()).collect(),
        steps: watch.rows(),
        measured: figures.probe.measured,
        optimized: figures.optimized,
        signed_by: figures.signed_by,
        pushed: figures.pushed,
    }
}
