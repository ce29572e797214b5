//! The decisions: what was asked for, what the file says and what the probe showed, made into one plan.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use nimify_runtime::batching::Padding;
use nimify_runtime::settings::{License, ModelFile, Provider, Providers, ServiceSettings};
use nimify_runtime::signature::ModelSignature;

use super::{NotAServiceName, Resources, ServiceName, ServicePlan};
use crate::config::{Accelerator, Config};
use crate::image::{onnxruntime, operators};
use crate::model::ModelDescription;
use crate::probe::ProbeReport;

/// Where a licence's text stands, relative to `service.json`.
pub const LICENSE_FILE: &str = "LICENSE";

/// A setting that doesn't fit the model.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`batching.padding` doesn't fit the model: {0}")]
pub struct Unfit(String);

/// What of the config can be held against the model before anything is run.
pub fn check(config: &Config, signature: &ModelSignature) -> Result<(), Unfit> {
    Padding::check(signature, &config.batching.settings().padding).map_err(Unfit)
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
        settings: settings(config, description, sample.is_some()),
        repository: config.image.repository.as_ref().map_or(name.to_string(), ToString::to_string),
        resources: resources(description.bytes(), config),
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

fn settings(config: &Config, description: &ModelDescription, has_sample: bool) -> ServiceSettings {
    let mut engine = config.engine.settings();
    engine.onnxruntime = Some(PathBuf::from("lib").join(onnxruntime::FILE_NAME));
    let names = config.engine.custom_ops.iter().filter_map(|path| path.file_name());
    engine.custom_ops = names.map(|name| Path::new(operators::FOLDER).join(name)).collect();
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
        },
        signature: "signature.json".into(),
        openapi: "openapi.json".into(),
        sample: has_sample.then(|| "sample.json".into()),
        license: config.license.as_ref().map(license),
        server: config.server.settings(),
        batching: config.batching.settings(),
        engine,
        tracing: config.tracing.settings(),
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
fn resources(bytes: u64, config: &Config) -> Resources {
    let mib = bytes >> 20;
    let engine = config.engine.settings();
    // `auto` tries one session beside one for each thread, of which a pod with one core has one.
    let instances = engine.instances.or(engine.threads.map(|threads| threads + 1)).unwrap_or(1) as u64;
    let gpus = u32::from(config.image.accelerator == Some(Accelerator::Cuda));
    // Weights once more for each session, half of them again for activations, and what the process has without them.
    let memory =
        (96 + u64::from(gpus) * CUDA_MIB).saturating_add(mib.saturating_mul(instances)).saturating_add(mib / 2);
    // 20 MiB/s is a slow disk; half a minute covers a busy node.
    let mut startup = 30 + mib / 20;
    if matches!(&engine.provider, Providers::Named(named) if named.contains(&Provider::TensorRt)) {
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

    #[test]
    fn resources_follow_from_the_model_s_size_and_the_config_alone() {
        let mut config = Config::new("digits".parse().unwrap(), "digits.onnx".parse().unwrap());
        let of = |config: &Config, bytes| {
            let Resources { memory_mib, startup_seconds, gpus, .. } = resources(bytes, config);
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
    }
}
