//! What is told of an image besides its bytes: bills of materials and provenance, written beside it and attested.

use std::path::Path;

use nimify_runtime::sources;
use serde_json::Value;

use super::Error;
use super::build::{BuildRequest, Generated};
use super::error::files;
use super::locked::{self, Used};
use crate::codegen;
use crate::compile::ServiceKind;
use crate::digest::Digest;
use crate::files::RelativePath;
use crate::image::onnxruntime;
use crate::model::ModelDescription;
use crate::sbom::{self, BaseImagePart, BuildFacts, Inventory, ModelPart, RuntimePart};
use crate::sign::{self, Fault, Predicate};
use crate::source::Source;

/// The documents by their file below `dist/` and the kind by which they are attested.
const KINDS: [(&str, &str); 3] =
    [("sbom.spdx.json", sbom::SPDX), ("sbom.cdx.json", sbom::CYCLONEDX), ("provenance.json", sbom::PROVENANCE)];

/// The three documents, in the order of [`KINDS`].
pub(super) struct Documents([Value; 3]);

impl Documents {
    /// What is to be attested.
    pub(super) fn predicates(&self) -> Vec<Predicate> {
        let both = KINDS.iter().zip(&self.0);
        both.map(|((_, kind), body)| Predicate { kind: (*kind).into(), body: body.clone() }).collect()
    }

    /// Writes the files into `dist`.
    pub(super) fn write(&self, dist: &Path) -> Result<(), Error> {
        for ((name, _), document) in KINDS.iter().zip(&self.0) {
            let path = dist.join(name);
            std::fs::write(&path, sbom::to_text(document)).map_err(files("write", &path))?;
        }
        Ok(())
    }
}

/// The documents in `dist` that are not what is attested of the image.
pub(super) fn compare(dist: &Path, attested: &[Predicate]) -> Vec<Fault> {
    let mut faults = Vec::new();
    for (name, kind) in KINDS {
        let Ok(found) = std::fs::read(dist.join(name)) else { continue };
        let mut same = attested.iter().filter(|predicate| predicate.kind == kind);
        if !same.any(|predicate| sbom::to_text(&predicate.body).as_bytes() == found) {
            let what = "is not what is attested of the image".to_string();
            faults.push(Fault { place: format!("dist/{name}"), what });
        }
    }
    faults
}

/// The documents beside the image in `layout`, where nimify wrote it, to be attested by one more signer. One that is no
/// document of nimify's is refused.
pub(super) fn beside(layout: &Path) -> Result<Vec<Predicate>, sign::Error> {
    let Some(dist) = layout.parent().filter(|_| layout.ends_with("dist/image")) else { return Ok(Vec::new()) };
    let mut found = Vec::new();
    for (name, kind) in KINDS {
        let Ok(bytes) = std::fs::read(dist.join(name)) else { continue };
        let body = serde_json::from_slice(&bytes).ok().filter(|body| sbom::to_text(body).as_bytes() == bytes);
        let fault = || Fault { place: format!("dist/{name}"), what: "is not as nimify wrote it".into() };
        let body = body.ok_or_else(|| sign::Error::Layout { path: layout.into(), fault: fault() })?;
        found.push(Predicate { kind: kind.into(), body });
    }
    Ok(found)
}

/// Tells of a build what it used.
pub(super) fn documents(
    request: &BuildRequest<'_>,
    used: &Used<'_>,
    generated: &Generated,
) -> Result<Documents, Error> {
    let executable = crate::confine::itself().map_err(files("find", Path::new("nimify's own executable")))?;
    let (nimify, _) = Digest::of_file(&executable).map_err(files("read", &executable))?;
    let inventory = inventory(request, used)?;
    let facts = BuildFacts {
        config: asked(request)?,
        nimify,
        templates: locked::templates(),
        lock: Digest::of(sources::LOCK),
        sources: users_files(request, generated)?,
        service: match used.binary.kind {
            ServiceKind::Generated => "generated".into(),
            ServiceKind::Generic => "generic".into(),
        },
        toolchain: used.binary.toolchain.clone(),
    };
    Ok(Documents([sbom::spdx(&inventory), sbom::cyclonedx(&inventory), sbom::provenance(&inventory, &facts)]))
}

/// The user's own files that enter the image besides the model.
fn users_files(request: &BuildRequest<'_>, generated: &Generated) -> Result<Vec<(String, Digest)>, Error> {
    // The hooks are the user's from the start, when they are still as nimify writes them.
    let own = |path: &RelativePath| path.as_str() == codegen::HOOKS || generated.users.contains_key(path);
    let own = generated.service.iter().filter(|(path, _)| own(path));
    let mut found: Vec<_> =
        own.map(|(path, bytes)| (format!("service/{}", path.as_str()), Digest::of(bytes))).collect();
    let config = request.config;
    let named = [("sample", config.sample.as_ref()), ("license", config.license.as_ref().map(|license| &license.path))];
    for (name, path) in named {
        let Some(path) = path else { continue };
        let path = crate::files::plain(&request.config_folder.join(path));
        let (digest, _) = Digest::of_file(&path).map_err(files("read", &path))?;
        found.push((name.to_string(), digest));
    }
    Ok(found)
}

/// The config without what names keys, clusters or folders of this machine: they don't enter the image.
fn asked(request: &BuildRequest<'_>) -> Result<Value, Error> {
    let mut config = serde_json::to_value(request.config).expect("a config has text keys only");
    for field in ["signing", "environments", "sample"] {
        config.as_object_mut().and_then(|config| config.remove(field));
    }
    config.pointer_mut("/image").and_then(Value::as_object_mut).and_then(|image| image.remove("plainHttp"));
    let name_alone = |path: &mut Value| {
        if let Value::String(path) = path
            && matches!(path.parse(), Ok(Source::Path(_)))
        {
            let name = Path::new(path.as_str()).file_name().map(|name| name.to_string_lossy().into_owned());
            *path = name.unwrap_or_default();
        }
    };
    for field in ["/model", "/license/path"] {
        config.pointer_mut(field).into_iter().for_each(name_alone);
    }
    let operators = config.pointer_mut("/engine/customOps").and_then(Value::as_array_mut);
    operators.into_iter().flatten().for_each(name_alone);
    Ok(config)
}

fn inventory(request: &BuildRequest<'_>, used: &Used<'_>) -> Result<Inventory, Error> {
    let (plan, image) = (used.plan, used.image);
    let pinned = image.onnxruntime == onnxruntime::pinned(image.architecture);
    let wheels = image.wheels.iter().map(|(name, wheel)| (name.clone(), wheel.version.clone(), wheel.digest));
    Ok(Inventory {
        name: plan.name.to_string(),
        version: plan.settings.version.clone(),
        description: plan.description.clone(),
        architecture: image.architecture.oci().into(),
        image: image.digest,
        created: super::parts::source_date_epoch()?,
        nimify: env!("CARGO_PKG_VERSION").into(),
        model: model(request, used),
        operators: used.operators.iter().map(|library| (library.name.clone(), library.digest)).collect(),
        onnxruntime: RuntimePart { version: onnxruntime::VERSION.into(), digest: image.onnxruntime, pinned },
        service: used.binary.digest,
        crates: sbom::service_crates(sources::CRATES, sources::LOCK)
            .expect("the embedded list and lock file belong together"),
        distribution: image.base.distribution.clone(),
        packages: image.base.packages.clone(),
        base_image: image.base.image.as_ref().map(|base| BaseImagePart {
            name: base.name.clone(),
            digest: base.digest,
            manifest: base.manifest,
            installed: image.base.installed.clone(),
        }),
        wheels: wheels.collect(),
        base: image.base.files.iter().map(|file| (file.place.display().to_string(), file.digest)).collect(),
    })
}

fn model(request: &BuildRequest<'_>, used: &Used<'_>) -> ModelPart {
    let description = used.description;
    let derived = |derived: &crate::model::Derived| {
        let files = derived.files.iter().map(|file| (file.name.as_str().to_string(), file.digest));
        (derived.how.clone(), files.collect())
    };
    let values = |values: &[nimify_runtime::signature::ValueSpec]| {
        values.iter().map(|value| (value.name.clone(), value.value_type.to_string())).collect()
    };
    let producer = format!("{} {}", description.contents.producer_name, description.contents.producer_version);
    ModelPart {
        name: used.plan.settings.name.clone(),
        files: model_files(description),
        side_files: description.side_files.iter().map(|side| (side.name.as_str().into(), side.digest)).collect(),
        source: used.source.map(|pinned| (pinned.source.clone(), pinned.digest)),
        derived: used.derived.map(derived),
        license: license(request, description),
        producer: producer.trim().into(),
        inputs: values(&used.plan.signature.inputs),
        outputs: values(&used.plan.signature.outputs),
        facts: facts(description),
    }
}

/// The licence's name: as the config gives it, or else as the model says of itself.
fn license(request: &BuildRequest<'_>, description: &ModelDescription) -> Option<String> {
    let own = || {
        description
            .contents
            .metadata
            .iter()
            .find(|(key, _)| ["license", "licence"].contains(&key.to_lowercase().as_str()))
    };
    let configured = request.config.license.as_ref().map(|license| license.name.clone());
    configured
        .or_else(|| own().map(|(_, text)| text.trim().chars().take(200).collect()))
        .filter(|text: &String| !text.is_empty())
}

/// The user's files, the graph first.
pub(super) fn model_files(description: &ModelDescription) -> Vec<(String, Digest)> {
    let beside = description.external_files.iter().map(|file| (file.path.as_str().to_string(), file.digest));
    [(description.file_name.clone(), description.digest)].into_iter().chain(beside).collect()
}

/// The model's hyper-parameters, as far as a graph tells them.
fn facts(description: &ModelDescription) -> Vec<(String, String)> {
    let contents = &description.contents;
    let opsets: Vec<String> = contents.opsets.iter().map(|(domain, version)| format!("{domain} {version}")).collect();
    let types: Vec<String> =
        contents.parameter_types.iter().map(|(element, tensors)| format!("{element} ({tensors})")).collect();
    let operators: Vec<String> =
        contents.operators.iter().map(|(operator, times)| format!("{operator} ({times})")).collect();
    let format = match &description.engine {
        None => format!("ONNX, IR version {}", contents.ir_version),
        Some(engine) => match engine.tensorrt {
            Some(version) => format!("TensorRT engine, built by TensorRT {version}"),
            None => "TensorRT engine".into(),
        },
    };
    let parameters = if description.engine.is_none() { contents.parameters.to_string() } else { String::new() };
    let facts = [
        ("format", format),
        ("operatorSets", opsets.join(", ")),
        ("parameters", parameters),
        ("parameterTypes", types.join(", ")),
        ("operators", operators.join(", ")),
    ];
    facts.into_iter().filter(|(_, value)| !value.is_empty()).map(|(name, value)| (name.to_string(), value)).collect()
}
