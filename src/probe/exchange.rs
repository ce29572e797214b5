//! What parent and child say to each other: one JSON value in, one JSON value a line out.

use std::collections::BTreeMap;
use std::path::PathBuf;

use nimify_runtime::signature::{Batching, ModelSignature, ValueSpec};
use serde::{Deserialize, Serialize};

use crate::confine::{self, Limits};
use crate::model::{Hint, RowCoupling};

/// What the child is to do.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Job {
    /// ONNX Runtime's library.
    pub onnxruntime: PathBuf,
    /// The model, as an absolute path.
    pub model: PathBuf,
    /// Libraries of custom operators, as absolute paths.
    pub custom_ops: Vec<PathBuf>,
    /// Bytes of the model and its external data.
    pub model_bytes: u64,
    /// What reading the file gave.
    pub signature: ModelSignature,
    /// What the graph reveals about the values of its inputs.
    pub hints: BTreeMap<String, Hint>,
    /// Operators that keep requests from being joined.
    pub row_coupling: Vec<RowCoupling>,
    /// The user's sample request, JSON.
    pub sample: Option<String>,
    /// The limits that the child puts on itself; `None` runs without, as tests in one process have to.
    pub limits: Option<Limits>,
    /// The parent, so that a child whose parent is gone before it looks ends too.
    pub parent: u32,
}

impl confine::Job for Job {
    fn limits(&self) -> Option<&Limits> {
        self.limits.as_ref()
    }

    fn parent(&self) -> u32 {
        self.parent
    }
}

/// What the child found out, as soon as it has: what came before a crash is kept.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) enum Event {
    /// ONNX Runtime is open.
    Opened { ort_version: String },
    /// The model is loaded.
    Loaded { load_ms: f64 },
    /// Something that the user should know.
    Warning(String),
    /// The answers contradict the shapes that the file declares: these are the outputs without what isn't so.
    Outputs(Vec<ValueSpec>),
    /// A sample was found.
    Sampled { request: String, response: String, run_us: f64, resident_bytes: Option<u64> },
    /// The verdict: the last event of a probe that went well.
    Proved(Batching),
    /// The probe ends here.
    Failed(Failure),
}

/// Why the child gave up.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) enum Failure {
    /// ONNX Runtime can't be used.
    OnnxRuntime(String),
    /// The model doesn't load.
    Load(String),
    /// The user's sample doesn't fit.
    Sample(String),
}
