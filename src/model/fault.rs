//! What can be wrong inside the bytes of a model, wherever they came from.

/// Why bytes are not a model that can be served. Files and folders are [`super::Error`]'s.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Fault {
    /// The bytes are no ONNX model at all.
    #[error("not an ONNX model: {0}")]
    NotOnnx(String),
    /// ONNX up to here, and then broken: cut off, most often.
    #[error("broken at byte {offset}, in a {message}: {what}")]
    Malformed {
        /// Where in the file.
        offset: u64,
        /// The protobuf message being read.
        message: &'static str,
        /// What is wrong there.
        what: String,
    },
    /// A TensorRT engine whose header can't be.
    #[error("the TensorRT engine is broken: {0}")]
    Engine(String),
    /// More of something than [`super::Limits`] allows.
    #[error("more than {limit} {what}")]
    Limit {
        /// What there is too much of.
        what: &'static str,
        /// How much is allowed.
        limit: u64,
    },
    /// The model asks for operators that ONNX Runtime does not have yet.
    #[error(
        "the model uses opset {model} of `{domain}`, and ONNX Runtime {} knows it up to {supported}",
        super::opset::ONNX_RUNTIME
    )]
    OpsetTooNew {
        /// The operator set's domain.
        domain: String,
        /// The version in the model.
        model: i64,
        /// The newest version that ONNX Runtime takes.
        supported: i64,
    },
    /// The file format itself is newer than ONNX Runtime.
    #[error(
        "the model's IR version is {model}, and ONNX Runtime {} knows it up to {supported}",
        super::opset::ONNX_RUNTIME
    )]
    IrTooNew {
        /// The version in the model.
        model: i64,
        /// The newest version that ONNX Runtime takes.
        supported: i64,
    },
    /// The file is of a version of ONNX Runtime's own format that it doesn't read.
    #[error(
        "the file is of version `{model}` of ONNX Runtime's format, and ONNX Runtime {} reads 4 to 6",
        super::opset::ONNX_RUNTIME
    )]
    OrtVersion {
        /// The version in the file.
        model: String,
    },
    /// Two inputs or two outputs have one name.
    #[error("two {what}s are named `{name}`")]
    Duplicate {
        /// `input`, `output` or `function`.
        what: &'static str,
        /// The name.
        name: String,
    },
    /// An input, output or function has no name.
    #[error("{what} {position} has no name")]
    NoName {
        /// `input`, `output` or `function`.
        what: &'static str,
        /// Its place in the graph or in the model, from 0.
        position: usize,
    },
    /// An input or output has no type, or none that ONNX knows.
    #[error("{what} `{name}` has {problem}")]
    NoType {
        /// `input` or `output`.
        what: &'static str,
        /// Its name.
        name: String,
        /// What its type is instead.
        problem: String,
    },
    /// A graph that gives nothing.
    #[error("the model has no outputs")]
    NoOutputs,
    /// A function that calls itself, by way of others perhaps.
    #[error("the model's function `{0}` calls itself")]
    CyclicFunction(String),
    /// External data at a path that leads, or might lead, out of the model's folder.
    #[error("tensor `{tensor}` has its data at `{location}`, which is not a path below the model's folder")]
    Location {
        /// The tensor's name, or its place where it has none.
        tensor: String,
        /// Where the model says that the data is.
        location: String,
    },
    /// A tensor whose shape or data can't be.
    #[error("tensor `{tensor}` {problem}")]
    Tensor {
        /// Its name, or its place where it has none.
        tensor: String,
        /// What is wrong with it.
        problem: String,
    },
}

impl Fault {
    /// What the user can do about it.
    pub fn hint(&self) -> Option<String> {
        Some(match self {
            Fault::NotOnnx(_) => "export the model to ONNX first: `torch.onnx.export`, `tf2onnx`, `skl2onnx` or \
                                  `optimum-cli export onnx`, whichever made it"
                .into(),
            Fault::Engine(_) => {
                "the file is damaged or was only partly copied: fetch it again, or build the engine again with \
                                 `trtexec --saveEngine`"
                    .into()
            }
            Fault::Malformed { .. } => {
                "the file is damaged or was only partly copied: compare its size and checksum with the original, \
                 and fetch it again"
                    .into()
            }
            Fault::OpsetTooNew { domain, supported, .. } => format!(
                "export the model again with opset {supported} of `{domain}`, or lower it with \
                 `onnx.version_converter.convert_version(model, {supported})`"
            ),
            Fault::IrTooNew { supported, .. } => {
                format!("set `model.ir_version = {supported}` in Python's `onnx` and save it, or export it again")
            }
            Fault::OrtVersion { .. } => "convert the `.onnx` file again: `python -m \
                                         onnxruntime.tools.convert_onnx_models_to_ort FOLDER`, or give that file itself"
                .into(),
            Fault::Duplicate { .. } | Fault::NoName { .. } => {
                "give each input and output a name of its own when exporting (`input_names`, `output_names`)".into()
            }
            Fault::NoType { .. } => {
                "let `onnx.shape_inference.infer_shapes` fill in the types and save the model again".into()
            }
            Fault::NoOutputs => "name the values to return as the graph's outputs when exporting".into(),
            Fault::Location { .. } => "save the model again with its data beside it: `onnx.save_model(model, path, \
                 save_as_external_data=True, location=\"weights.bin\")`"
                .into(),
            Fault::CyclicFunction(_) | Fault::Tensor { .. } => {
                "`onnx.checker.check_model` tells more; the tool that wrote the file has to be mended".into()
            }
            Fault::Limit { .. } => return None,
        })
    }
}
