//! What the steps of an ensemble ask of Triton → what is asked for the whole, and by name what of it can't be.

use std::collections::BTreeSet;
use std::path::PathBuf;

use super::Ensemble;
use crate::digest::Digest;
use crate::source::triton::OpLibrary;
use crate::triton::{DynamicBatching, InstanceGroup, InstanceKind, ModelConfig};

impl Ensemble {
    /// What is asked of Triton for the whole: for the ensemble, and where that says nothing, for its steps.
    pub(in crate::source) fn settings(&self) -> ModelConfig {
        let mut whole = self.config.clone();
        let rows = self.parts().map(|(_, config)| config.max_batch_size).filter(|rows| *rows > 0);
        whole.max_batch_size = rows.fold(whole.max_batch_size, u32::min);
        let batching = self.parts().filter_map(|(_, config)| config.dynamic_batching.as_ref());
        whole.dynamic_batching = whole.dynamic_batching.or(merged(batching));
        whole.instance_groups = self.instance_groups();
        let all = |of: fn(&ModelConfig) -> &Vec<String>| -> Vec<String> {
            self.parts().flat_map(|(_, config)| of(config)).cloned().collect::<BTreeSet<_>>().into_iter().collect()
        };
        whole.gpu_accelerators = all(|config| &config.gpu_accelerators);
        whole.cpu_accelerators = all(|config| &config.cpu_accelerators);
        for (name, config) in self.parts() {
            let fields = left_out(config, whole.dynamic_batching.as_ref());
            whole.left_out.extend(fields.into_iter().map(|field| format!("{name}: {field}")));
        }
        whole
    }

    /// The steps and the ensembles among them, by their names.
    fn parts(&self) -> impl Iterator<Item = (&str, &ModelConfig)> {
        let inner = self.inner.iter().map(|(name, config)| (name.as_str(), config));
        inner.chain(self.steps.iter().map(|step| (step.model.as_str(), &step.config)))
    }

    fn instance_groups(&self) -> Vec<InstanceGroup> {
        let groups: Vec<&InstanceGroup> = self.parts().flat_map(|(_, config)| &config.instance_groups).collect();
        let runs =
            |config: &ModelConfig| config.instance_groups.iter().map(|group| group.count).fold(0, u32::saturating_add);
        let count = self.parts().map(|(_, config)| runs(config)).max();
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
        kinds.iter().enumerate().map(group).collect()
    }

    /// The libraries of operators of all steps, each once: steps that bring the same have it each in its own folder.
    pub(in crate::source) fn libraries(&self) -> Vec<OpLibrary> {
        let mut all: Vec<(&str, OpLibrary)> = Vec::new();
        let mut seen: BTreeSet<(PathBuf, Option<Digest>)> = BTreeSet::new();
        for (step, library) in self.steps.iter().flat_map(|step| step.libraries.iter().map(|own| (&step.model, own))) {
            let mut library = library.clone();
            if let Ok(path) = &library.found {
                let name = PathBuf::from(path.file_name().unwrap_or_default());
                // What can't be read is told apart when it is taken.
                let digest = Digest::of_file(path).ok().map(|(digest, _)| digest);
                if !seen.insert((name.clone(), digest)) {
                    continue;
                }
                let same_name = |(_, other): &&(&str, OpLibrary)| {
                    other.found.as_ref().is_ok_and(|other| other.file_name() == Some(name.as_os_str()))
                };
                if let Some((first, _)) = all.iter().find(same_name) {
                    library.found = Err(format!(
                        "is one library in the step `{first}`, which is taken, and another in the step `{step}`, which \
                         has to be renamed first"
                    ));
                }
            }
            if !all.iter().any(|(_, other)| *other == library) {
                all.push((step, library));
            }
        }
        all.into_iter().map(|(_, library)| library).collect()
    }
}

/// How requests are joined for steps that are one: as long as the one that waits longest, as few as the strictest takes.
fn merged<'c>(all: impl Iterator<Item = &'c DynamicBatching>) -> Option<DynamicBatching> {
    let smaller = |one: u64, other: u64| [one, other].into_iter().filter(|limit| *limit > 0).min().unwrap_or(0);
    all.cloned().reduce(|mut one, other| {
        one.max_queue_delay_us = one.max_queue_delay_us.max(other.max_queue_delay_us);
        if other.priority_levels > one.priority_levels {
            one.priority_levels = other.priority_levels;
            one.default_priority_level = other.default_priority_level;
        }
        one.max_queue_size = smaller(one.max_queue_size.into(), other.max_queue_size.into()) as u32;
        one.default_timeout_us = smaller(one.default_timeout_us, other.default_timeout_us);
        one.preferred_batch_size.extend(other.preferred_batch_size);
        one
    })
}

/// What a step says that nothing of the whole does.
fn left_out(step: &ModelConfig, batching: Option<&DynamicBatching>) -> Vec<String> {
    let mut left: Vec<String> = step.left_out.iter().cloned().collect();
    left.extend(step.parameters.keys().map(|name| format!("parameters.{name}")));
    let mut without = |there: bool, field: &str| left.extend(there.then(|| field.to_string()));
    without(step.decoupled, "model_transaction_policy.decoupled");
    without(step.inputs.iter().any(|tensor| tensor.optional), "input.optional");
    without(step.outputs.iter().any(|tensor| tensor.label_filename.is_some()), "output.label_filename");
    without(step.sequence_batching.is_some(), "sequence_batching");
    if let (Some(own), Some(whole)) = (&step.dynamic_batching, batching) {
        for (field, own, whole) in [
            ("max_queue_delay_microseconds", own.max_queue_delay_us, whole.max_queue_delay_us),
            ("priority_levels", own.priority_levels, whole.priority_levels),
            ("default_priority_level", own.default_priority_level, whole.default_priority_level),
            ("default_queue_policy.max_queue_size", own.max_queue_size.into(), whole.max_queue_size.into()),
            ("default_queue_policy.default_timeout_microseconds", own.default_timeout_us, whole.default_timeout_us),
        ] {
            without(own > 0 && own != whole, &format!("dynamic_batching.{field}"));
        }
    }
    left
}
