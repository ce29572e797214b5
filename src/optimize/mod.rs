//! Model file → the graph that ONNX Runtime makes of it, with the weights in a file of their own: a service starts
//! sooner with it, and its weights are mapped, not copied.
//!
//! ONNX Runtime rewrites a graph each time it loads it. What of this doesn't depend on the machine is done here once,
//! in a child process with limits ([`crate::confine`]), and taken only if the result loads, fits the original's signature,
//! and answers the recorded sample as the original does. The original's signature stays the truth: a saved graph may
//! list what was folded.

mod child;

use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use nimify_runtime::signature::ModelSignature;
use serde::{Deserialize, Serialize};
use tempfile::TempDir;

pub use child::child_main;

use crate::confine::{self, Limits, Task};
use crate::files::RelativePath;
use crate::model::{self, Derived, DerivedFile, Format, ModelDescription};

/// The hidden subcommand whose whole work is [`child_main`].
pub const SUBCOMMAND: &str = "optimize-child";

/// From these on a model takes long enough to load for a prepared graph to be worth a second file: bytes with weights, or
/// operators. Below, a start is as quick either way.
const WORTH_BYTES: u64 = 1 << 20;
const WORTH_OPERATORS: u64 = 100;

/// What is to be rewritten, and by whom.
#[derive(Debug)]
pub struct OptimizeRequest<'a> {
    /// The executable that takes [`SUBCOMMAND`]: [`confine::itself`] in the command line.
    pub executable: &'a Path,
    /// ONNX Runtime's library.
    pub onnxruntime: &'a Path,
    /// The model.
    pub description: &'a ModelDescription,
    /// The request on which both graphs have to answer alike, JSON.
    pub sample: Option<&'a str>,
    /// Whether another provider than the CPU is meant to run it.
    pub accelerated: bool,
    /// Where locales are looked for that this machine doesn't have: what `LOCPATH` is in the child.
    pub locales: Option<&'a OsStr>,
}

/// What came of it.
#[derive(Debug)]
pub enum Outcome {
    /// There is a better file to serve from; what it brought, measured.
    Derived(Derived, Gain),
    /// The original is served; the text says why, in a clause.
    Kept {
        /// Why.
        reason: String,
        /// Whether that is worth a word to the user.
        noteworthy: bool,
    },
}

/// Original and derived graph beside each other. Measured on this machine, and so for `report.json` alone.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Gain {
    /// Operators before and after.
    pub operators: [u64; 2],
    /// From the file to a session, milliseconds, before and after.
    pub load_ms: [f64; 2],
}

/// What the child is to do.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Job {
    onnxruntime: PathBuf,
    model: PathBuf,
    to: PathBuf,
    weights: Option<String>,
    signature: ModelSignature,
    sample: String,
    accelerated: bool,
    /// The limits that the child puts on itself; `None` runs without, as tests in one process have to.
    limits: Option<Limits>,
    parent: u32,
}

impl confine::Job for Job {
    fn limits(&self) -> Option<&Limits> {
        self.limits.as_ref()
    }

    fn parent(&self) -> u32 {
        self.parent
    }
}

/// What the child says in the end.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) enum Said {
    /// The graph is written and answers alike.
    Written { how: String, load_ms: [f64; 2] },
    /// It isn't to be used.
    Refused(String),
}

/// Rewrites the model. Nothing that can go wrong is an error: the original serves too.
pub fn optimize(request: &OptimizeRequest<'_>) -> Outcome {
    let description = request.description;
    if description.bytes() < WORTH_BYTES && operators(description) < WORTH_OPERATORS {
        return Outcome::Kept { reason: "it is small".into(), noteworthy: false };
    }
    if description.format == Format::Ort {
        return Outcome::Kept { reason: "ONNX Runtime has rewritten it already".into(), noteworthy: false };
    }
    let Some(sample) = request.sample else {
        return Outcome::Kept { reason: "there is no sample to compare answers on".into(), noteworthy: false };
    };
    match derive(request, sample) {
        Ok((derived, gain)) if is_better(&derived, gain, description) => Outcome::Derived(derived, gain),
        Ok(_) => Outcome::Kept { reason: "there is nothing to gain".into(), noteworthy: false },
        Err(reason) => Outcome::Kept { reason, noteworthy: true },
    }
}

/// Decided by what is the same on every machine: operators that are gone, or weights that can be mapped now.
fn is_better(derived: &Derived, gain: Gain, original: &ModelDescription) -> bool {
    let [before, after] = gain.operators;
    after < before || (derived.files.len() > 1 && original.size >= WORTH_BYTES)
}

fn operators(description: &ModelDescription) -> u64 {
    description.contents.operators.values().sum()
}

fn derive(request: &OptimizeRequest<'_>, sample: &str) -> Result<(Derived, Gain), String> {
    let description = request.description;
    let said = |error: std::io::Error| error.to_string();
    let folder = tempfile::Builder::new().prefix("nimify-optimize-").tempdir().map_err(said)?;
    let stem = description.file_name.strip_suffix(".onnx").unwrap_or(&description.file_name);
    let graph = folder.path().join(format!("{stem}.optimized.onnx"));
    let bytes = description.bytes();
    // Folding can make weights of what was a formula.
    let file_bytes = bytes.saturating_mul(2).saturating_add(256 << 20);
    let limits = Limits { file_bytes, ..Limits::for_model(bytes) };
    let job = Job {
        onnxruntime: request.onnxruntime.into(),
        model: confine::resolved(&description.path).map_err(said)?,
        to: graph.clone(),
        weights: (bytes >= WORTH_BYTES).then(|| format!("{stem}.optimized.data")),
        signature: description.contents.signature.clone(),
        sample: sample.into(),
        accelerated: request.accelerated,
        limits: Some(limits),
        parent: std::process::id(),
    };
    let task = Task {
        executable: request.executable,
        subcommand: SUBCOMMAND,
        job: serde_json::to_vec(&job).expect("a job is plain data"),
        patience: Duration::from_secs(limits.wall_seconds),
        locales: request.locales,
    };
    let ended = confine::run(&task).map_err(said)?;
    match ended.values().pop() {
        Some(Said::Written { how, load_ms }) => {
            let gain = Gain { operators: [operators(description), 0], load_ms };
            collect(folder, &graph, how, gain)
        }
        Some(Said::Refused(reason)) => Err(reason),
        None => Err(ended.death(&limits).to_string()),
    }
}

/// Reads what the child wrote as any model from anywhere is read.
fn collect(folder: TempDir, graph: &Path, how: String, gain: Gain) -> Result<(Derived, Gain), String> {
    let written = model::inspect(graph, &model::Limits::default()).map_err(|error| error.to_string())?;
    let name = |text: &str| text.parse::<RelativePath>().map_err(|error| error.to_string());
    let file_name = name(&written.file_name)?;
    let beside = written.external_files.iter().map(|file| DerivedFile {
        path: folder.path().join(&file.path),
        name: file.path.clone(),
        digest: file.digest,
    });
    let own = DerivedFile { name: file_name.clone(), path: graph.into(), digest: written.digest };
    let files = beside.chain([own]).collect();
    let gain = Gain { operators: [gain.operators[0], operators(&written)], ..gain };
    Ok((Derived::new(file_name, files, how, folder), gain))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::digest::Digest;

    fn derived(files: usize) -> Derived {
        let file = |k: usize| DerivedFile {
            name: format!("f{k}").parse().unwrap(),
            path: PathBuf::new(),
            digest: Digest::of("x"),
        };
        let files = (0..files).map(file).collect();
        Derived::new("f0".parse().unwrap(), files, String::new(), tempfile::tempdir().unwrap())
    }

    /// Never by a measurement: what enters the image has to be the same on every machine.
    #[test]
    fn a_graph_is_taken_for_fewer_operators_or_for_weights_that_can_be_mapped() {
        let fixture = Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/digits/digits.onnx");
        let small = model::inspect(&fixture, &model::Limits::default()).unwrap();
        let large = ModelDescription { size: 2 << 20, ..small.clone() };
        let gain = |operators| Gain { operators, load_ms: [1.0, 9.0] };
        assert!(is_better(&derived(1), gain([5, 4]), &small));
        assert!(!is_better(&derived(1), gain([5, 5]), &large));
        assert!(is_better(&derived(2), gain([5, 5]), &large));
        assert!(!is_better(&derived(2), gain([5, 6]), &small), "its weights were outside before");
    }
}
