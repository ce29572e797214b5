//! Why there is no engine.

use std::path::PathBuf;

use super::provider::Providers;

/// Why ONNX Runtime or a model can't be had.
#[derive(Debug, thiserror::Error)]
pub enum EngineError {
    /// There is no file where the library should be.
    #[error("there is no ONNX Runtime library at `{}`", path.display())]
    MissingLibrary {
        /// Where it was looked for.
        path: PathBuf,
    },
    /// The file can't be opened as a shared library, or isn't ONNX Runtime.
    #[error("`{}` is not an ONNX Runtime library: {reason}", path.display())]
    NotALibrary {
        /// The file.
        path: PathBuf,
        /// What the loader said.
        reason: String,
    },
    /// The library is of a release before the oldest that is accepted.
    #[error("ONNX Runtime {found} at `{}` is too old: at least 1.{} is needed", path.display(), ort::MINOR_VERSION)]
    LibraryTooOld {
        /// The file.
        path: PathBuf,
        /// The version that it says.
        found: String,
    },
    /// A process can open one ONNX Runtime, and another is open already.
    #[error("ONNX Runtime at `{}` can't be opened beside the one at `{}`", asked.display(), open.display())]
    OtherLibraryOpen {
        /// The library in use.
        open: PathBuf,
        /// The library asked for.
        asked: PathBuf,
    },
    /// ONNX Runtime opened but didn't start.
    #[error("ONNX Runtime didn't start: {reason}")]
    Start {
        /// What it said.
        reason: String,
    },
    /// [`super::init`] hasn't been called.
    #[error("ONNX Runtime isn't open yet")]
    NotOpen,
    /// There is no model file.
    #[error("there is no model at `{}`", path.display())]
    MissingModel {
        /// Where it was looked for.
        path: PathBuf,
    },
    /// A library of custom operators can't be used.
    #[error("the library of custom operators `{}` can't be used: {reason}", path.display())]
    CustomOps {
        /// The library.
        path: PathBuf,
        /// What the loader or ONNX Runtime said.
        reason: String,
    },
    /// ONNX Runtime refused the model.
    #[error("ONNX Runtime can't load `{}`: {reason}", path.display())]
    Load {
        /// The model.
        path: PathBuf,
        /// What ONNX Runtime said.
        reason: String,
    },
    /// An input or output has a type that no request or answer can carry.
    #[error("the model's tensor `{name}` is of type {value_type}, which can't be served")]
    UnservedType {
        /// The tensor.
        name: String,
        /// Its type.
        value_type: String,
    },
    /// The signature is not this model's.
    #[error("the signature doesn't fit the model: {reason}")]
    Signature {
        /// The tensor and what is wrong about it.
        reason: String,
    },
    /// The provider that has to run the model can't.
    #[error("no provider of `{wanted}` runs the model ({reasons}), and `engine.require` allows no other")]
    Provider {
        /// What was asked for.
        wanted: Providers,
        /// Why each of them doesn't.
        reasons: String,
    },
}

impl EngineError {
    /// What it says, without the path of a model that its reader knows anyway.
    pub fn reason(self) -> String {
        match self {
            EngineError::Load { reason, .. } => reason,
            other => other.to_string(),
        }
    }
}
