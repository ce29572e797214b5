//! Running a model to learn what can't be read from its file: that it loads, a sample, whether requests may be joined.
//!
//! `model` reads a file and runs nothing; this module runs it, and so in a child process with limits of its own
//! ([`Limits`]): a model is data from anywhere, and the library that runs it is native code. [`probe`] starts the
//! executable again with the hidden subcommand [`SUBCOMMAND`], which calls [`child_main`]; a [`Job`] goes in on its
//! standard input, events come out on its standard output, and what was learnt before a crash is kept.
//!
//! In the child: `ladder` says which sample requests to try (`arithmetic` reads sizes that depend on others), `values` fills them, `sample` runs them until one
//! succeeds, `outputs` holds the declared shapes against the answers, and `proof` compares rows alone and joined.

mod arithmetic;
mod child;
mod error;
mod exchange;
mod ladder;
mod outputs;
mod parent;
mod proof;
mod rows;
mod sample;
#[cfg(test)]
mod testing;
mod values;

pub use crate::confine::Limits;
pub use child::child_main;
pub use error::{Error, Stage};
pub use exchange::Job;
pub use parent::probe;

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::path::PathBuf;

use nimify_runtime::signature::{Batching, Dim, ModelSignature, ValueSpec};
use serde::Serialize;

use crate::model::{Hint, ModelDescription, RowCoupling};
use crate::plan::Sample;

/// The hidden subcommand whose whole work is [`child_main`].
pub const SUBCOMMAND: &str = "probe-child";

/// The report on a model that can't be run where it is looked at: `None` for one that can. An engine runs on the
/// hardware that it was compiled for alone, and in a child process with limits there is none.
pub fn unseen(description: &ModelDescription) -> Option<ProbeReport> {
    let reason = match (&description.engine, description.holds_engine()) {
        (Some(_), _) => "an engine runs on its GPU alone: nothing was run",
        (None, true) => "the compiled engine in it runs on its own hardware alone: nothing was run",
        (None, false) => return None,
    };
    let signature = &description.contents.signature;
    let rows = description.engine.as_ref().and_then(|engine| engine.max_batch_size);
    let batching = match (signature.batching.clone(), rows) {
        (refused @ Batching::Refused { .. }, _) => refused,
        (_, Some(rows)) if has_rows(signature) => Batching::Stated {
            axis: 0,
            reason: format!("on the word of whoever says that up to {rows} rows run at once: {reason}"),
        },
        _ => Batching::Unproved { reason: reason.into() },
    };
    let how = if batching.axis().is_some() { "requests will be joined, " } else { "requests will run one by one: " };
    let warnings = vec![format!("{how}{}", batching.reason())];
    let outputs = description.contents.signature.outputs.clone();
    Some(ProbeReport { batching, sample: None, outputs, measured: Measured::default(), warnings })
}

/// Whether every input and output has a free first size, which may be the number of rows.
fn has_rows(signature: &ModelSignature) -> bool {
    let free = |spec: &ValueSpec| {
        let dims = spec.tensor().and_then(|(_, shape)| shape.dims());
        dims.is_some_and(|dims| dims.first().is_some_and(|first| !matches!(first, Dim::Fixed(_))))
    };
    signature.inputs.iter().chain(&signature.outputs).all(free)
}

/// What is to be probed, and by whom.
#[derive(Debug, Clone)]
pub struct ProbeRequest {
    /// The executable that takes [`SUBCOMMAND`]: [`crate::confine::itself`] in the command line.
    pub executable: PathBuf,
    /// ONNX Runtime's library.
    pub onnxruntime: PathBuf,
    /// The model.
    pub model: PathBuf,
    /// Libraries of custom operators that it needs, as absolute paths: native code, which the child loads.
    pub custom_ops: Vec<PathBuf>,
    /// Bytes of the model and its external data.
    pub model_bytes: u64,
    /// What reading the file gave. If it refused batching, for an operator that couples rows, that stands.
    pub signature: ModelSignature,
    /// What the graph reveals about the values of its inputs, by name.
    pub hints: BTreeMap<String, Hint>,
    /// Operators that keep requests from being joined.
    pub row_coupling: Vec<RowCoupling>,
    /// A predict request of the user's as JSON text: tried first and alone.
    pub sample: Option<String>,
    /// Where locales are looked for that this machine doesn't have: what `LOCPATH` is in the child.
    pub locales: Option<OsString>,
    /// What the child may use.
    pub limits: Limits,
}

impl ProbeRequest {
    /// Asks for what `description` read to be run, by `executable` with the library at `onnxruntime`.
    pub fn new(description: &ModelDescription, executable: PathBuf, onnxruntime: PathBuf) -> ProbeRequest {
        let model_bytes = description.bytes();
        ProbeRequest {
            executable,
            onnxruntime,
            model: description.path.clone(),
            custom_ops: Vec::new(),
            model_bytes,
            signature: description.contents.signature.clone(),
            hints: description.contents.input_hints.clone(),
            row_coupling: description.contents.row_coupling.iter().cloned().collect(),
            sample: None,
            locales: None,
            limits: Limits::for_model(model_bytes),
        }
    }
}

/// What running the model showed.
#[derive(Debug, Clone, PartialEq)]
pub struct ProbeReport {
    /// Whether requests may be joined, and why.
    pub batching: Batching,
    /// The outputs as the file declares them, without the sizes that the model's answers contradict.
    pub outputs: Vec<ValueSpec>,
    /// One request and ONNX Runtime's answer to it; `None` where no values were found on which the model runs.
    pub sample: Option<Sample>,
    /// What was measured. It differs from run to run: for `report.json` alone.
    pub measured: Measured,
    /// What the user should know.
    pub warnings: Vec<String>,
}

/// Figures of one run on this machine.
#[derive(Debug, Clone, PartialEq, Default, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Measured {
    /// ONNX Runtime's version.
    pub ort_version: String,
    /// From the file to a session, milliseconds.
    pub load_ms: f64,
    /// One run of the sample, microseconds, the median of a few; `None` without a sample.
    pub run_us: Option<f64>,
    /// Memory of the process with the model loaded and run, bytes; `None` where the system doesn't say.
    pub resident_bytes: Option<u64>,
}
