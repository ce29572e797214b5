//! Why a probe gave no report.

use std::io;
use std::path::PathBuf;

/// Why a probe gave no report. Each names the model or the file that it is about.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The model's path can't be resolved.
    #[error("can't read the model `{}`", model.display())]
    Model {
        /// The model.
        model: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The child process can't be started.
    #[error("can't start `{}` to probe the model", executable.display())]
    Start {
        /// The executable.
        executable: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// ONNX Runtime itself can't be used.
    #[error("{reason}")]
    OnnxRuntime {
        /// What is wrong with the library.
        reason: String,
    },
    /// ONNX Runtime refuses the model.
    #[error("the model `{}` doesn't load: {reason}", model.display())]
    Load {
        /// The model.
        model: PathBuf,
        /// What ONNX Runtime said.
        reason: String,
    },
    /// The user's sample doesn't fit the signature, or the model refuses it.
    #[error("the sample given for `{}` doesn't work: {reason}", model.display())]
    Sample {
        /// The model.
        model: PathBuf,
        /// The tensor and what is wrong with it.
        reason: String,
    },
    /// The child ended by a signal, as it does when native code goes astray.
    #[error("ONNX Runtime crashed ({signal}) while {stage} `{}`{}", model.display(), said(output))]
    Crashed {
        /// The model.
        model: PathBuf,
        /// What it was about.
        stage: Stage,
        /// The signal's name.
        signal: String,
        /// The end of what it had written to standard error.
        output: String,
    },
    /// The child reached its limit of memory.
    #[error("{stage} `{}` takes more than the {limit_mib} MiB of memory that a probe may use", model.display())]
    OutOfMemory {
        /// The model.
        model: PathBuf,
        /// What it was about.
        stage: Stage,
        /// The limit, MiB.
        limit_mib: u64,
    },
    /// The child reached its limit of time.
    #[error("{stage} `{}` took more than {seconds} s", model.display())]
    TimedOut {
        /// The model.
        model: PathBuf,
        /// What it was about.
        stage: Stage,
        /// The limit.
        seconds: u64,
    },
    /// The child answered with something else than a report: a fault of nimify.
    #[error("the probe of `{}` gave no report: {reason}{}", model.display(), said(output))]
    NoReport {
        /// The model.
        model: PathBuf,
        /// What came instead.
        reason: String,
        /// The end of what it had written to standard error.
        output: String,
    },
}

/// What a probe was about when it failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stage {
    /// Before the model was loaded.
    Loading,
    /// Looking for a sample on which the model runs.
    Running,
    /// Comparing rows.
    Proving,
}

impl std::fmt::Display for Stage {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Stage::Loading => "loading",
            Stage::Running => "running",
            Stage::Proving => "comparing batches of",
        })
    }
}

fn said(output: &str) -> String {
    let output = output.trim();
    if output.is_empty() { String::new() } else { format!(": {output}") }
}

impl Error {
    /// What the user can do about it.
    pub fn hint(&self) -> Option<&'static str> {
        match self {
            Error::Load { reason, .. } if reason.contains("not a registered function/op") => Some(
                "name the library that brings the operator with `--custom-ops FILE`, or export the model without it",
            ),
            Error::Load { .. } => {
                Some("a newer ONNX Runtime, or an export to an older opset without custom operators, may load it")
            }
            Error::Sample { .. } => Some("`--sample` takes a request as `/v1/predict` does: {\"input\": [[…]], …}"),
            Error::Crashed { .. } | Error::TimedOut { .. } => {
                Some("if made-up values are the cause, give a real request with `--sample FILE`")
            }
            Error::OutOfMemory { .. } => Some("give a smaller request with `--sample FILE`"),
            Error::OnnxRuntime { .. } => Some("`NIMIFY_ONNXRUNTIME` names the library to use"),
            Error::Model { .. } | Error::Start { .. } | Error::NoReport { .. } => None,
        }
    }
}
