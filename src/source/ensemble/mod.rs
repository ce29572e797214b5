//! An ensemble of a model repository of Triton's → the models that it runs, and from those one ONNX model in the cache.
//!
//! Nothing is served step by step: the steps' graphs are joined into one ([`join()`](crate::model::join())), which is then a
//! model like any other. It is kept by the digests of all files that took part, and says them itself as its metadata.

mod joined;
mod settings;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use super::error::files;
use super::triton::{self, Backend, Refusal};
use crate::files::RelativePath;
use crate::model::{MOST_STEPS, Wire};
use crate::triton::{CONFIG, EnsembleStep, ModelConfig, TensorConfig};

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
    /// The ensembles that are steps, by their names: what they say of themselves.
    inner: Vec<(String, ModelConfig)>,
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
    if has_reshape(config) {
        return Err(Refusal::Model(format!("is an ensemble that {RESHAPE}")));
    }
    let (repository, own) = triton::repository(folder).map_err(files("find", folder))?;
    let mut walk = Walk {
        repository: &repository,
        steps: Vec::new(),
        inner: Vec::new(),
        configs: BTreeSet::new(),
        within: vec![own.to_string_lossy().into_owned()],
    };
    walk.configs.insert(repository.join(own).join(CONFIG));
    walk.ensemble(config, 0, &BTreeMap::new())?;
    let Walk { steps, inner, configs, .. } = walk;
    Ok(Ensemble { name: name.into(), config: config.clone(), repository, steps, inner, configs })
}

/// Why nothing that has a `reshape` is joined, as the rest of a sentence.
const RESHAPE: &str = "has a `reshape`, which a joined graph doesn't: put the reshape into the model";

fn has_reshape(config: &ModelConfig) -> bool {
    config.inputs.iter().chain(&config.outputs).any(|tensor| tensor.reshape.is_some())
}

/// What is wrong with a step, with the ensemble as the subject.
fn of_step(model: &str, why: &str) -> String {
    format!("is an ensemble whose step `{model}` {why}")
}

/// Ensembles on the way to their steps.
struct Walk<'w> {
    repository: &'w Path,
    steps: Vec<Step>,
    /// The ensembles that were met: each has a scope of its own, after 0 for the outermost.
    inner: Vec<(String, ModelConfig)>,
    configs: BTreeSet<PathBuf>,
    /// The ensembles that this one stands in, and itself.
    within: Vec<String>,
}

impl Walk<'_> {
    /// The steps of one ensemble. `bound` are its tensors that are tensors of the ensemble around it.
    fn ensemble(&mut self, config: &ModelConfig, scope: usize, bound: &BTreeMap<String, Wire>) -> Result<(), Refusal> {
        for step in config.ensemble.iter().flatten() {
            if self.steps.len() >= MOST_STEPS || self.inner.len() >= MOST_STEPS {
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
        let wrong = |why: String| Refusal::Model(of_step(model, &why));
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
        let wrong = |why: String| Refusal::Model(of_step(model, &why));
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
        if has_reshape(config) {
            return Err(wrong(RESHAPE.into()));
        }
        self.inner.push((model.into(), config.clone()));
        let bound = inputs.into_iter().chain(outputs).collect();
        self.within.push(model.into());
        self.ensemble(config, self.inner.len(), &bound)?;
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
        let wrong = |why: &str| Err(of_step(model, why));
        if has_reshape(config) {
            return wrong(RESHAPE);
        }
        let Some(sequence) = &config.sequence_batching else { return Ok(()) };
        if !sequence.states.is_empty() {
            return wrong("keeps state (`sequence_batching`): make a service of that step alone");
        }
        match sequence.controls.first() {
            Some(control) => wrong(&format!(
                "has the input `{}` that Triton fills in (`sequence_batching.control_input`), and no graph does: make a \
                 service of that step alone, whose clients send it",
                control.name
            )),
            None => Ok(()),
        }
    }
}
