//! The decisions: what was asked for, what the file says and what the probe showed, made into one plan.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use nimify_runtime::batching::Padding;
use nimify_runtime::settings::{
    License, ModelFile, Optimize, Provider, Providers, ServiceSettings, SideFile, TensorRtEngine,
};
use nimify_runtime::signature::ElementType as E;
use nimify_runtime::signature::{Dim, ModelSignature, Shape, ValueSpec, ValueType};
use nimify_runtime::state::Sessions;

use super::{NotAServiceName, Resources, ServiceName, ServicePlan};
use crate::config::{Accelerator, Config, ProviderList, SideFiles, TensorRt};
use crate::image::{onnxruntime, operators};
use crate::model::{self, Engine, ModelDescription};
use crate::probe::ProbeReport;

/// Where a licence's text stands, relative to `service.json`.
pub const LICENSE_FILE: &str = "LICENSE";

/// A setting that doesn't fit the model.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{key}` doesn't fit the model: {why}")]
pub struct Unfit {
    /// The setting's key in `nimify.yaml`.
    pub key: &'static str,
    why: String,
}

/// What of the config can be held against the model before anything is run.
pub fn check(config: &Config, description: &ModelDescription) -> Result<(), Unfit> {
    let padding = Padding::check(&description.contents.signature, &config.batching.settings().padding);
    padding.map_err(|why| Unfit { key: "batching.padding", why })?;
    let sessions = Sessions::new(&config.state.settings(), &description.contents.signature);
    sessions.map_err(|why| Unfit { key: "state.pairs", why })?;
    if let SideFiles::Named(names) = &config.side_files {
        let found: Vec<&str> = description.side_files.iter().map(|side| side.name.as_str()).collect();
        if let Some(missing) = names.iter().find(|name| !found.contains(&name.as_str())) {
            let there = match &found[..] {
                [] => "none (of a model on this machine they are looked for where its folder is named, not its file)"
                    .into(),
                found => format!("`{}`", found.join("`, `")),
            };
            let why = format!("no side file called `{missing}` is found with it: there is {there}");
            return Err(Unfit { key: "sideFiles", why });
        }
    }
    if description.engine.is_none() {
        let told = config.tensorrt != TensorRt::default();
        let why = || "it is a graph, which says itself what this says of a TensorRT engine".into();
        return if told { Err(Unfit { key: "tensorrt", why: why() }) } else { Ok(()) };
    }
    let engine = &config.engine;
    let other = engine.provider.as_ref().map(ProviderList::providers).filter(|named| !named.has(Provider::TensorRt));
    if other.is_some() {
        let why = "an engine runs by `tensorrt` alone: leave it out, or name that first".into();
        return Err(Unfit { key: "engine.provider", why });
    }
    if engine.require == Some(false) {
        let why = "nothing but TensorRT runs an engine: leave it out".into();
        return Err(Unfit { key: "engine.require", why });
    }
    Ok(())
}

/// Plans the service. Without a probe, requests run unbatched and there is no sample.
pub fn plan(
    config: &Config,
    description: &ModelDescription,
    probe: Option<&ProbeReport>,
) -> Result<ServicePlan, NotAServiceName> {
    let name = ServiceName::derive(config.name.as_str())?;
    let read = &description.contents.signature;
    let batching = probe.map_or_else(|| read.batching.clone(), |report| report.batching.clone());
    let outputs = probe.map_or_else(|| read.outputs.clone(), |report| report.outputs.clone());
    let signature = ModelSignature { inputs: read.inputs.clone(), outputs, batching };
    let sample = probe.and_then(|report| report.sample.clone());
    Ok(ServicePlan {
        description: sentence(config, description),
        settings: settings(config, description, &signature, sample.is_some()),
        repository: config.image.repository.as_ref().map_or(name.to_string(), ToString::to_string),
        resources: resources(description.bytes(), config, description.engine.is_some()),
        environments: config.environments.iter().map(|(name, e)| (name.to_string(), e.chart_values())).collect(),
        name,
        signature,
        sample,
    })
}

/// The first of: what the config says, the first line that the model says about itself, the model's name.
fn sentence(config: &Config, description: &ModelDescription) -> String {
    let doc = description.contents.doc.lines().map(str::trim).find(|line| !line.is_empty());
    let given = config.description.as_deref().or(doc);
    given.map_or_else(|| format!("Serves the model {}", config.name), String::from)
}

fn settings(
    config: &Config,
    description: &ModelDescription,
    signature: &ModelSignature,
    has_sample: bool,
) -> ServiceSettings {
    let mut engine = config.engine.settings();
    engine.onnxruntime = Some(PathBuf::from("lib").join(onnxruntime::FILE_NAME));
    let names = config.engine.custom_ops.iter().filter_map(|path| path.file_name());
    engine.custom_ops = names.map(|name| Path::new(operators::FOLDER).join(name)).collect();
    if description.engine.is_some() {
        engine.provider = Providers::Named(vec![Provider::TensorRt]);
        engine.require = true;
        // There is one node, which ONNX Runtime has to hand on as it is.
        engine.optimize = Optimize::Never;
    }
    let mut batching = config.batching.settings();
    let most = description.engine.as_ref().and_then(|engine| engine.max_batch_size);
    if let (None, Some(rows)) = (config.batching.max_batch_size, most) {
        batching.max_batch_size = rows as usize;
    }
    let license =
        |license: &crate::config::LicenseFile| License { name: license.name.clone(), path: LICENSE_FILE.into() };
    ServiceSettings {
        name: config.name.to_string(),
        version: config.version.to_string(),
        model: ModelFile {
            path: PathBuf::from("../models").join(&description.file_name),
            sha256: description.digest.hex(),
            // The file's name alone: where it lay on this machine is nobody's business.
            source: description.file_name.clone(),
            derived: None,
            files: served_files(description),
            tensorrt: description.engine.as_ref().map(needs),
            side_files: description.side_files.iter().map(side_file).collect(),
            labels: labelled(&signature.outputs, &description.labels),
        },
        signature: "signature.json".into(),
        openapi: "openapi.json".into(),
        sample: has_sample.then(|| "sample.json".into()),
        license: config.license.as_ref().map(license),
        server: config.server.settings(),
        batching,
        engine,
        state: config.state.settings(),
        tracing: config.tracing.settings(),
    }
}

/// Most classes that are told one by one.
const MOST_CLASSES: usize = 10_000;

/// The labels by the output of rows whose last dimension counts as many: a classifier's scores. None where several outputs
/// do, since nobody says which of them is meant, nor where another output tells of the same places: a detector has four
/// numbers of a box beside the scores of its classes, however many these are.
fn labelled(outputs: &[ValueSpec], labels: &[String]) -> BTreeMap<String, Vec<String>> {
    let floats: Vec<_> = outputs.iter().filter_map(|spec| Some((&spec.name, float_dims(spec)?))).collect();
    let last = Dim::Fixed(labels.len() as u64);
    let mut fitting = floats.iter().filter(|(_, dims)| dims.len() >= 2 && dims.last() == Some(&last));
    let (Some((only, dims)), None) = (fitting.next(), fitting.next()) else { return BTreeMap::new() };
    let places = &dims[..dims.len() - 1];
    let shared = places.len() >= 2 && floats.iter().any(|(name, dims)| name != only && dims.starts_with(places));
    if shared || !(1..=MOST_CLASSES).contains(&labels.len()) {
        return BTreeMap::new();
    }
    [(only.to_string(), labels.to_vec())].into()
}

/// The dimensions of a tensor of floats, where they are known.
fn float_dims(spec: &ValueSpec) -> Option<&[Dim]> {
    let floats = [E::Float16, E::Bfloat16, E::Float32, E::Float64].map(Some);
    match &spec.value_type {
        ValueType::Tensor { element_type, shape: Shape(Some(dims)) } => {
            floats.contains(&element_type.carrier()).then_some(dims)
        }
        _ => None,
    }
}

/// A side file where it stands in an image: beside the model.
fn side_file(side: &model::SideFile) -> SideFile {
    SideFile {
        name: side.name.as_str().into(),
        kind: side.kind,
        path: PathBuf::from("../models").join(&side.name),
        size: side.size,
        sha256: side.digest.hex(),
    }
}

/// What an engine has to meet where it runs.
fn needs(engine: &Engine) -> TensorRtEngine {
    TensorRtEngine {
        version: engine.tensorrt.map(|version| version.to_string()),
        compute_capability: engine.compute_capability.map(|capability| capability.to_string()),
    }
}

/// The digest of each file of the user's model, by path below its folder.
fn served_files(description: &ModelDescription) -> BTreeMap<String, String> {
    let beside = description.external_files.iter().map(|file| (file.path.as_str().to_string(), file.digest.hex()));
    beside.chain([(description.file_name.clone(), description.digest.hex())]).collect()
}

/// Memory of the machine that CUDA and its libraries take in a process, MiB.
const CUDA_MIB: u64 = 2048;
/// How long TensorRT may build its engine for the model, which it does at every start, seconds.
const TENSORRT_SECONDS: u64 = 600;

/// Estimated from bytes, never measured, so that the chart is reproducible. The constants are what was seen on a few
/// models (process with the library 21 MiB, MiniLM with 87 MiB of weights 119 to 145 MiB), with room on top.
fn resources(bytes: u64, config: &Config, gpu_only: bool) -> Resources {
    let mib = bytes >> 20;
    let engine = config.engine.settings();
    // `auto` tries one session beside one for each thread, of which a pod with one core has one.
    let instances = engine.instances.or(engine.threads.map(|threads| threads + 1)).unwrap_or(1) as u64;
    let gpus = u32::from(gpu_only || config.image.accelerator.unwrap_or_default() != Accelerator::None);
    // Weights once more for each session, half of them again for activations, and what the process has without them.
    let memory =
        (96 + u64::from(gpus) * CUDA_MIB).saturating_add(mib.saturating_mul(instances)).saturating_add(mib / 2);
    // 20 MiB/s is a slow disk; half a minute covers a busy node.
    let mut startup = 30 + mib / 20;
    if engine.provider.has(Provider::TensorRt) && !gpu_only {
        startup += TENSORRT_SECONDS;
    }
    Resources {
        cpu_millis: 1000,
        memory_mib: memory.div_ceil(64).saturating_mul(64),
        startup_seconds: u32::try_from(startup).unwrap_or(u32::MAX).div_ceil(10).saturating_mul(10),
        gpus,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn output(name: &str, element: &str, shape: serde_json::Value) -> ValueSpec {
        let spec = serde_json::json!({"name": name, "kind": "tensor", "elementType": element, "shape": shape});
        serde_json::from_value(spec).unwrap()
    }

    #[test]
    fn labels_belong_to_the_one_output_that_counts_as_many() {
        let labels = ["cat", "dog"].map(String::from);
        let scores = output("scores", "float32", serde_json::json!(["N", 2]));
        let others = [
            output("class", "int64", serde_json::json!(["N", 2])),
            output("embedding", "float32", serde_json::json!(["N", 3])),
            output("free", "float32", serde_json::json!(["N", "C"])),
            output("any", "float32", serde_json::json!(null)),
        ];
        let all = [&others[..], std::slice::from_ref(&scores)].concat();
        assert_eq!(labelled(&all, &labels), BTreeMap::from([("scores".to_string(), labels.to_vec())]));
        assert!(labelled(&[scores.clone(), scores], &labels).is_empty());
        assert!(labelled(&others, &labels).is_empty() && labelled(&all, &[]).is_empty());
        let places = output("logits", "float32", serde_json::json!(["N", "S", 2]));
        assert!(labelled(&[places, others[1].clone()], &labels).contains_key("logits"), "a label for each word");
    }

    #[test]
    fn no_labels_go_to_what_has_as_many_numbers_by_chance() {
        let labels = ["a", "b", "c", "d"].map(String::from);
        let float = |name: &str, shape: serde_json::Value| output(name, "float32", shape);
        let boxes = float("boxes", serde_json::json!(["N", 100, 4]));
        for other in [serde_json::json!(["N", 100, 5]), serde_json::json!(["N", 100])] {
            assert!(labelled(&[float("scores", other.clone()), boxes.clone()], &labels).is_empty(), "{other}");
        }
        assert!(labelled(&[float("moments", serde_json::json!([4]))], &labels).is_empty());
    }

    #[test]
    fn resources_follow_from_the_model_s_size_and_the_config_alone() {
        let mut config = Config::new("digits".parse().unwrap(), "digits.onnx".parse().unwrap());
        let of = |config: &Config, bytes| {
            let Resources { memory_mib, startup_seconds, gpus, .. } = resources(bytes, config, false);
            (memory_mib, startup_seconds, gpus)
        };
        assert_eq!(of(&config, 3_000), (128, 30, 0));
        assert_eq!(of(&config, 87 << 20), (256, 40, 0));
        assert_eq!(of(&config, 50 << 30), (76_928, 2590, 0));
        assert_eq!(of(&config, u64::MAX).2, 0);
        config.image.accelerator = Some(Accelerator::Cuda);
        assert_eq!(of(&config, 3_000), (2176, 30, 1));
        config.engine.provider = Some("tensorrt,cuda".parse().unwrap());
        assert_eq!(of(&config, 3_000), (2176, 630, 1));
        // An engine is built already.
        let Resources { startup_seconds, gpus, .. } = resources(3_000, &config, true);
        assert_eq!((startup_seconds, gpus), (30, 1));
    }
}
