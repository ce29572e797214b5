//! `ModelSignature` + `Config` → [`ServicePlan`]: every name, route, limit and resource that the later stages print.

mod decide;
mod name;

pub use decide::{LICENSE_FILE, Unfit, check, plan};
pub use name::{LONGEST_NAME, NotAServiceName, ServiceName};

use std::collections::BTreeMap;

use nimify_runtime::settings::{DerivedModel, ServiceSettings};
use nimify_runtime::signature::ModelSignature;

use crate::model::Derived;

/// What is to be built: decided here once, printed by everything after.
#[derive(Debug, Clone, PartialEq)]
pub struct ServicePlan {
    /// The DNS name, derived from the model's name: folder, image, chart, release.
    pub name: ServiceName,
    /// What the model is for, in a sentence: from its metadata or made up from its name.
    pub description: String,
    /// Inputs, outputs and the batching verdict.
    pub signature: ModelSignature,
    /// `service.json`: the model's name in the protocols, its version, limits, batching, engine.
    pub settings: ServiceSettings,
    /// The recorded sample, where one was found.
    pub sample: Option<Sample>,
    /// The image's repository, such as `registry.example.com/ml/digits`; the service's name where none was given.
    pub repository: String,
    /// What one replica asks of its node.
    pub resources: Resources,
    /// Environments of `nimify.yaml`, each with the chart values that it changes.
    pub environments: BTreeMap<String, serde_json::Value>,
}

impl ServicePlan {
    /// Serves a model that was made of the user's in its place.
    pub fn serve_files_of(&mut self, derived: &Derived) {
        let model = &mut self.settings.model;
        model.path.set_file_name(derived.file_name.as_str());
        let digests = derived.files.iter().map(|file| (file.name.as_str().to_string(), file.digest.hex()));
        model.files = digests.collect();
        let sha256 = derived.graph().digest.hex();
        model.derived = Some(DerivedModel { sha256, how: derived.how.clone() });
    }
}

/// A request to `/v1/predict` and the answer that ONNX Runtime gave to it, as JSON texts.
#[derive(Debug, Clone, PartialEq)]
pub struct Sample {
    /// `samples/request.json`.
    pub request: String,
    /// `samples/response.json`.
    pub response: String,
}

/// What one replica asks of its node: estimated from the model's size, never measured, so that it is reproducible.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Resources {
    /// CPU request, thousandths of a core.
    pub cpu_millis: u32,
    /// Memory request and limit, MiB.
    pub memory_mib: u64,
    /// How long the start-up probe waits for the model to load, seconds.
    pub startup_seconds: u32,
    /// GPUs: one where the image can run the model on one.
    pub gpus: u32,
}
