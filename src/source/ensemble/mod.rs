//! An ensemble of a model repository of Triton's → the models that it runs, and from those one ONNX model in the cache.
//!
//! Nothing is served step by step: the steps' graphs are joined into one ([`join()`](crate::model::join())), which is then a
//! model like any other. It is kept by the digests of all files that took part, and says them itself as its metadata.

mod joined;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use super::error::files;
use super::triton::{self, Backend, Refusal};
use crate::files::RelativePath;
use crate::model::{MOST_STEPS, Wire};
use crate::triton::{CONFIG, EnsembleStep, InstanceGroup, InstanceKind, ModelConfig, TensorConfig};

/// How deep ensembles may stand in each other.
const DEEPEST: usize = 8;

/// What an ensemble comes to once the ensembles in it are taken apart.
#[derive(Debug, Clone, PartialEq)]
pub struct Ensemble {
    name: String,
    /// What it says of itself: its inputs and outputs.
    config: ModelConfig,
    /// The folder that all of it is in, resolved.
    repository: PathBuf,
    steps: Vec<Step>,
    /// The configurations that took part.
    configs: BTreeSet<PathBuf>,
}

/// A model that is a step.
#[derive(Debug, Clone, PartialEq)]
struct Step {
    model: String,
    file: PathBuf,
    config: ModelConfig,
    libraries: Vec<triton::OpLibrary>,
    inputs: BTreeMap<String, Wire>,
    outputs: BTreeMap<String, Wire>,
}

/// Takes apart the ensemble in `folder`, whose configuration is `config`.
pub(super) fn take_apart(folder: &Path, name: &str, config: &ModelConfig) -> Result<Ensemble, Refusal> {
    let resolved = folder.canonicalize().map_err(files("find", folder))?;
    let repository = resolved.parent().unwrap_or(&resolved).to_path_buf();
    let own = resolved.file_name().unwrap_or_default().to_string_lossy().into_owned();
    let mut walk =
        Walk { repository: &repository, steps: Vec::new(), configs: BTreeSet::new(), scopes: 0, within: vec![own] };
    walk.configs.insert(resolved.join(CONFIG));
    walk.ensemble(config, 0, &BTreeMap::new())?;
    let Walk { steps, configs, .. } = walk;
    Ok(Ensemble { name: name.into(), config: config.clone(), repository, steps, configs })
}

/// Ensembles on the way to their steps.
struct Walk<'w> {
    repository: &'w Path,
    steps: Vec<Step>,
    configs: BTreeSet<PathBuf>,
    scopes: usize,
    /// The ensembles that this one stands in, and itself.
    within: Vec<String>,
}

impl Walk<'_> {
    /// The steps of one ensemble. `bound` are its tensors that are tensors of the ensemble around it.
    fn ensemble(&mut self, config: &ModelConfig, scope: usize, bound: &BTreeMap<String, Wire>) -> Result<(), Refusal> {
        for step in config.ensemble.iter().flatten() {
            if self.steps.len() >= MOST_STEPS || self.scopes >= MOST_STEPS {
                return Err(Refusal::Model(format!("is an ensemble of more than {MOST_STEPS} steps")));
            }
            let wire = |tensor: &String| bound.get(tensor).cloned().unwrap_or(Wire { scope, name: tensor.clone() });
            let wires = |map: &BTreeMap<String, String>| -> BTreeMap<String, Wire> {
                map.iter().map(|(own, tensor)| (own.clone(), wire(tensor))).collect()
            };
            let (inputs, outputs) = (wires(&step.inputs), wires(&step.outputs));
            self.step(step, inputs, outputs)?;
        }
        Ok(())
    }

    fn step(
        &mut self,
        step: &EnsembleStep,
        inputs: BTreeMap<String, Wire>,
        outputs: BTreeMap<String, Wire>,
    ) -> Result<(), Refusal> {
        let model = &step.model;
        let wrong = |why: String| Refusal::Model(format!("is an ensemble whose step `{model}` {why}"));
        let folder = self.folder(model).map_err(wrong)?;
        let config = triton::config(&folder)?.map_err(wrong)?;
        self.configs.extend(Some(folder.join(CONFIG)).filter(|path| path.exists()));
        if config.ensemble.is_some() {
            return self.inner(model, &config, inputs, outputs);
        }
        self.fits(model, &config).map_err(Refusal::Model)?;
        let there = triton::versions(&folder)?;
        let asked = u64::try_from(step.version).ok().filter(|version| *version > 0);
        let (version, _) = triton::choose(&there, &config.version_policy, asked).map_err(wrong)?;
        let of_version = folder.join(version.to_string());
        let file = triton::model_file(&of_version, &config, Backend::OnnxRuntime).map_err(wrong)?;
        if !file.canonicalize().map_err(files("find", &file))?.starts_with(self.repository) {
            return Err(wrong("has a file that leads out of the model repository".into()));
        }
        let libraries = triton::op_libraries(&config, &folder, &of_version);
        self.steps.push(Step { model: model.clone(), file, config, libraries, inputs, outputs });
        Ok(())
    }

    /// An ensemble that is a step.
    fn inner(
        &mut self,
        model: &str,
        config: &ModelConfig,
        inputs: BTreeMap<String, Wire>,
        outputs: BTreeMap<String, Wire>,
    ) -> Result<(), Refusal> {
        let wrong = |why: String| Refusal::Model(format!("is an ensemble whose step `{model}` {why}"));
        if self.within.iter().any(|around| around == model) {
            return Err(wrong("is an ensemble that has it as a step itself".into()));
        }
        if self.within.len() >= DEEPEST {
            return Err(wrong(format!("is an ensemble in more than {DEEPEST} others")));
        }
        let has = |tensors: &[TensorConfig], name: &String| tensors.iter().any(|tensor| tensor.name == *name);
        let named = |what: &str, name: &String| wrong(format!("is an ensemble without the {what} `{name}`"));
        if let Some(name) = inputs.keys().find(|name| !has(&config.inputs, name)) {
            return Err(named("input", name));
        }
        if let Some(name) = outputs.keys().find(|name| !has(&config.outputs, name)) {
            return Err(named("output", name));
        }
        if let Some(unfed) = config.inputs.iter().find(|input| !inputs.contains_key(&input.name)) {
            return Err(wrong(format!("gets nothing for its input `{}`", unfed.name)));
        }
        self.scopes += 1;
        let bound = inputs.into_iter().chain(outputs).collect();
        self.within.push(model.into());
        self.ensemble(config, self.scopes, &bound)?;
        self.within.pop();
        Ok(())
    }

    /// The folder of a model in the repository.
    fn folder(&self, model: &str) -> Result<PathBuf, String> {
        let name: Option<RelativePath> = model.parse().ok().filter(|_| !model.contains('/'));
        let path = name.map(|name| self.repository.join(&name)).filter(|path| path.is_dir());
        let path = path.ok_or("names no model of the repository")?;
        let resolved = path.canonicalize().map_err(|error| format!("can't be read: {error}"))?;
        if !resolved.starts_with(self.repository) {
            return Err("leads out of the model repository".into());
        }
        Ok(path)
    }

    /// Refuses what can't be part of a graph.
    fn fits(&self, model: &str, config: &ModelConfig) -> Result<(), String> {
        let backend = [&config.backend, &config.platform].into_iter().flatten().find(|word| !word.is_empty());
        match triton::backend(config) {
            Ok(Backend::OnnxRuntime | Backend::Unsaid) => {}
            _ => {
                let backend = backend.map(String::as_str).unwrap_or_default();
                return Err(format!(
                    "is an ensemble whose step `{model}` is run by `{backend}`, and only ONNX models can be joined into \
                     one: export that step to ONNX, or make a service of each of the other steps, as in \
                     `triton://{}`, and leave `{model}` to the client",
                    self.repository.join("MODEL").display()
                ));
            }
        }
        let wrong = |why: &str| Err(format!("is an ensemble whose step `{model}` {why}"));
        let tensors = || config.inputs.iter().chain(&config.outputs);
        if tensors().any(|tensor| tensor.reshape.is_some()) {
            return wrong("has a `reshape`, which a joined graph doesn't: put the reshape into the model");
        }
        if config.sequence_batching.as_ref().is_some_and(|sequence| !sequence.states.is_empty()) {
            return wrong("keeps state (`sequence_batching`): make a service of that step alone");
        }
        Ok(())
    }
}

impl Ensemble {
    /// What is asked of Triton for the whole: for the ensemble, and where that says nothing, for its steps.
    pub(super) fn settings(&self) -> ModelConfig {
        let mut whole = self.config.clone();
        let steps = || self.steps.iter().map(|step| &step.config);
        let rows = steps().map(|step| step.max_batch_size).filter(|rows| *rows > 0);
        whole.max_batch_size = rows.fold(whole.max_batch_size, u32::min);
        let longest =
            steps().filter_map(|step| step.dynamic_batching.as_ref()).max_by_key(|own| own.max_queue_delay_us);
        whole.dynamic_batching = whole.dynamic_batching.or(longest.cloned());
        let groups: Vec<&InstanceGroup> = steps().flat_map(|step| &step.instance_groups).collect();
        let count = steps().map(|step| step.instance_groups.iter().map(|group| group.count).sum()).max();
        let mut kinds: Vec<InstanceKind> = Vec::new();
        for group in &groups {
            if !kinds.contains(&group.kind) {
                kinds.push(group.kind);
            }
        }
        let gpus: BTreeSet<u32> = groups.iter().flat_map(|group| group.gpus.iter().copied()).collect();
        // One run is a run of all steps: so many at once as the step that runs most often, not as all together.
        let group = |(at, kind): (usize, &InstanceKind)| InstanceGroup {
            kind: *kind,
            count: if at == 0 { count.unwrap_or(1) } else { 0 },
            gpus: gpus.iter().copied().collect(),
        };
        whole.instance_groups = kinds.iter().enumerate().map(group).collect();
        let all = |of: fn(&ModelConfig) -> &Vec<String>| -> Vec<String> {
            steps().flat_map(of).cloned().collect::<BTreeSet<_>>().into_iter().collect()
        };
        whole.gpu_accelerators = all(|step| &step.gpu_accelerators);
        whole.cpu_accelerators = all(|step| &step.cpu_accelerators);
        for step in &self.steps {
            let parameters = step.config.parameters.keys().map(|name| format!("parameters.{name}"));
            let fields = step.config.left_out.iter().cloned().chain(parameters);
            whole.left_out.extend(fields.map(|field| format!("{}: {field}", step.model)));
        }
        whole
    }

    /// The libraries of operators of all steps.
    pub(super) fn libraries(&self) -> Vec<triton::OpLibrary> {
        let mut all: Vec<triton::OpLibrary> = Vec::new();
        for library in self.steps.iter().flat_map(|step| &step.libraries) {
            if !all.contains(library) {
                all.push(library.clone());
            }
        }
        all
    }
}
