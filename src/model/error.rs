//! Why a path gives no model: the one error of this stage.

use std::io;
use std::path::{Path, PathBuf};

use super::fault::Fault;
use super::foreign::Foreign;

/// Why [`super::inspect`] gave no description.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// There is no such file or folder.
    #[error("there is no model at `{}`", path.display())]
    Missing {
        /// The path asked for.
        path: PathBuf,
        /// A path that exists and is spelt much like it.
        nearest: Option<PathBuf>,
    },
    /// The file or folder can't be read.
    #[error("can't read `{}`", path.display())]
    Io {
        /// What was to be read.
        path: PathBuf,
        /// Why it could not.
        source: io::Error,
    },
    /// A pipe, a socket, a device.
    #[error("`{}` is {kind}, not a regular file", path.display())]
    NotRegular {
        /// The path asked for.
        path: PathBuf,
        /// What it is.
        kind: &'static str,
    },
    /// A folder without an `.onnx` file.
    #[error("the folder `{}` holds no `.onnx` file", path.display())]
    NoModel {
        /// The folder.
        path: PathBuf,
        /// Some of what it does hold.
        found: Vec<PathBuf>,
    },
    /// A folder with more than one `.onnx` file.
    #[error("the folder `{}` holds more than one model: {}", path.display(), list(models))]
    SeveralModels {
        /// The folder.
        path: PathBuf,
        /// The models in it.
        models: Vec<PathBuf>,
    },
    /// The file has 0 bytes.
    #[error("`{}` is empty", path.display())]
    Empty {
        /// The file.
        path: PathBuf,
    },
    /// The file is larger than a protobuf message can be.
    #[error("`{}` has {size} bytes, more than the {limit} that an ONNX file can have", path.display())]
    TooLarge {
        /// The file.
        path: PathBuf,
        /// Its bytes.
        size: u64,
        /// The bytes allowed.
        limit: u64,
    },
    /// A file of another format, known by its first bytes or its name.
    #[error("`{}` is {format}, not ONNX", path.display())]
    Foreign {
        /// The file.
        path: PathBuf,
        /// What it is.
        format: Foreign,
    },
    /// The file's contents are at fault.
    #[error("`{}`: {fault}", path.display())]
    Contents {
        /// The file.
        path: PathBuf,
        /// What is wrong in it.
        fault: Fault,
    },
    /// An engine of which nobody says what it takes and gives.
    #[error("the TensorRT engine `{}` doesn't say what it takes and gives", path.display())]
    Untold {
        /// The file.
        path: PathBuf,
    },
    /// A file beside an engine that should say so, and is wrong.
    #[error("`{}` doesn't say what the engine beside it takes and gives: {what}", path.display())]
    Beside {
        /// The file.
        path: PathBuf,
        /// What is wrong in it.
        what: String,
    },
    /// An input or output of a type that ONNX Runtime doesn't take, or that no request or answer can carry.
    #[error("`{}` can't be served: its {what} `{name}` is {value_type}", path.display())]
    Unserved {
        /// The file.
        path: PathBuf,
        /// `input` or `output`.
        what: &'static str,
        /// Its name.
        name: String,
        /// Its type.
        value_type: String,
    },
    /// A file that the model keeps weights in.
    #[error("`{}` keeps the data of tensor `{tensor}` in `{location}`, which {problem}", path.display())]
    External {
        /// The model file.
        path: PathBuf,
        /// The tensor.
        tensor: String,
        /// The file beside the model.
        location: String,
        /// What is wrong with that file.
        problem: String,
    },
    /// A file that the model keeps weights in resolves to somewhere else.
    #[error(
        "`{}` keeps the data of tensor `{tensor}` in `{location}`, which leads out of the model's folder, to `{}`",
        path.display(), resolved.display()
    )]
    Outside {
        /// The model file.
        path: PathBuf,
        /// The tensor.
        tensor: String,
        /// The file beside the model.
        location: String,
        /// Where it really is.
        resolved: PathBuf,
    },
}

impl Error {
    /// The error of reading `path`.
    pub(super) fn reading(path: &Path, source: io::Error) -> Self {
        Error::Io { path: path.into(), source }
    }

    /// What the user can do about it.
    pub fn hint(&self) -> Option<String> {
        match self {
            Error::Missing { nearest: Some(nearest), .. } => Some(format!("did you mean `{}`?", nearest.display())),
            Error::Missing { .. } => Some("give the path of an `.onnx` file, or of a folder that holds one".into()),
            Error::Io { source, path } if source.kind() == io::ErrorKind::PermissionDenied => {
                Some(format!("make it readable: `chmod u+r {}`, or run as the user who owns it", path.display()))
            }
            Error::Io { .. } => None,
            Error::NotRegular { .. } => Some("save the model to a file first, and give that".into()),
            Error::NoModel { found, .. } if !found.is_empty() => {
                Some(format!("it holds {}: export the model to ONNX first", list(found)))
            }
            Error::NoModel { .. } => Some("give the path of an `.onnx` file".into()),
            Error::SeveralModels { models, .. } => {
                Some(format!("name one of them, such as `{}`", models.first()?.display()))
            }
            Error::Empty { .. } => Some("the download or the export was cut off: make the file again".into()),
            Error::TooLarge { .. } => Some(
                "move the weights to external data: `onnx.save_model(model, path, save_as_external_data=True)`".into(),
            ),
            Error::Foreign { format, .. } => Some(format.hint()),
            Error::Contents { fault, .. } => fault.hint(),
            Error::Untold { .. } => Some(
                "say it with `--tensorrt-input NAME:TYPE[SIZES]` and `--tensorrt-output NAME:TYPE[SIZES]`, or put Triton's \
                 `config.pbtxt` or a `signature.json` beside it"
                    .into(),
            ),
            Error::Beside { .. } => Some(
                "mend that file, or say it with `--tensorrt-input NAME:TYPE[SIZES]` and `--tensorrt-output \
                 NAME:TYPE[SIZES]`"
                    .into(),
            ),
            Error::Unserved { value_type, .. } if value_type.contains("complex") => {
                Some("export real and imaginary parts instead: as two tensors, or as a last dimension of 2".into())
            }
            Error::Unserved { .. } => Some("export it as a dense tensor instead".into()),
            Error::Outside { .. } => Some(
                "put the data beside the model as a file: what lies outside its folder is not taken into an image"
                    .into(),
            ),
            Error::External { location, .. } => {
                Some(format!("copy `{location}` from where the model came from, to the same place beside it"))
            }
        }
    }
}

/// Paths in a row, as they stand in a message.
fn list(paths: &[PathBuf]) -> String {
    paths.iter().map(|path| format!("`{}`", path.display())).collect::<Vec<_>>().join(", ")
}
