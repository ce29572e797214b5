//! What a user says of an engine, in words: `images:float32[batch,3,640,640]`.

use std::fmt;
use std::str::FromStr;

use nimify_runtime::signature::{Dim, ElementType, Shape, ValueSpec, ValueType};
use serde::{Deserialize, Serialize};

/// What is told of an engine that its file doesn't tell.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Declared {
    /// What it takes, in the order in which it is shown.
    pub inputs: Vec<ValueSpec>,
    /// What it gives.
    pub outputs: Vec<ValueSpec>,
    /// The GPUs that it was built for.
    pub compute_capability: Option<ComputeCapability>,
    /// Most rows in one run.
    pub max_batch_size: Option<u32>,
}

impl Declared {
    /// Whether it says what the engine takes and gives.
    pub fn is_whole(&self) -> bool {
        !self.inputs.is_empty() && !self.outputs.is_empty()
    }
}

/// A GPU's compute capability, such as `8.6`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
pub struct ComputeCapability {
    /// The architecture.
    pub major: u32,
    /// The model of it.
    pub minor: u32,
}

impl ComputeCapability {
    /// As ONNX Runtime writes it in a model: `86`.
    pub(super) fn joined(self) -> String {
        format!("{}{}", self.major, self.minor)
    }
}

impl fmt::Display for ComputeCapability {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.major, self.minor)
    }
}

impl FromStr for ComputeCapability {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let digits = |part: &str| (1..=2).contains(&part.len()) && part.bytes().all(|c| c.is_ascii_digit());
        let number = |part: &str| part.parse().ok().filter(|_| digits(part));
        let parts = text.split_once('.').and_then(|(major, minor)| Some((number(major)?, number(minor)?)));
        let (major, minor) = parts
            .filter(|(major, _)| *major > 0)
            .ok_or_else(|| format!("`{text}` is no compute capability of a GPU, such as `8.6`"))?;
        Ok(ComputeCapability { major, minor })
    }
}

impl From<ComputeCapability> for String {
    fn from(capability: ComputeCapability) -> Self {
        capability.to_string()
    }
}

impl TryFrom<String> for ComputeCapability {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        text.parse()
    }
}

/// A text that is no tensor.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "`{text}` is no tensor ({reason}): write NAME:TYPE[SIZES], such as `images:float32[batch,3,640,640]`, with `?` for a free size without a name"
)]
pub struct NotATensor {
    /// What was given.
    pub text: String,
    /// What is wrong with it.
    pub reason: String,
}

/// Most dimensions: TensorRT has eight.
const MOST_DIMS: usize = 8;

/// Reads `NAME:TYPE[SIZES]`. The type is one of nimify's, or of the Open Inference Protocol; a size is a number, a name,
/// or `?` (or -1).
pub fn parse_tensor(text: &str) -> Result<ValueSpec, NotATensor> {
    let wrong = |reason: String| NotATensor { text: text.into(), reason };
    let (before, sizes) = text
        .strip_suffix(']')
        .and_then(|text| text.rsplit_once('['))
        .ok_or_else(|| wrong("its sizes in brackets are missing".into()))?;
    let (name, kind) = before.rsplit_once(':').ok_or_else(|| wrong("there is no `:` before its type".into()))?;
    if name.is_empty() || name.chars().any(char::is_control) {
        return Err(wrong("its name is missing".into()));
    }
    let of_nimify = || serde_json::from_value(kind.to_ascii_lowercase().into()).ok();
    let element_type: ElementType = ElementType::from_datatype(kind.trim_start_matches("TYPE_"))
        .or_else(of_nimify)
        .ok_or_else(|| wrong(format!("`{kind}` is no type such as `float32`")))?;
    let sizes: Vec<&str> = sizes.split(',').map(str::trim).collect();
    let sizes = if sizes == [""] { Vec::new() } else { sizes };
    if sizes.len() > MOST_DIMS {
        return Err(wrong(format!("it has more than {MOST_DIMS} dimensions")));
    }
    let dim = |size: &&str| match *size {
        "?" | "-1" => Ok(Dim::Unknown),
        number if number.bytes().all(|c| c.is_ascii_digit()) && !number.is_empty() => {
            number.parse().map(Dim::Fixed).map_err(|_| wrong(format!("`{number}` is no size")))
        }
        name if name.chars().all(|c| c.is_alphanumeric() || c == '_') && !name.is_empty() => {
            Ok(Dim::Symbolic(name.into()))
        }
        other => Err(wrong(format!("`{other}` is no size"))),
    };
    let dims = sizes.iter().map(dim).collect::<Result<_, _>>()?;
    Ok(ValueSpec { name: name.into(), value_type: ValueType::Tensor { element_type, shape: Shape(Some(dims)) } })
}

/// The text that [`parse_tensor`] reads; `None` for what is no tensor of known rank.
pub fn tensor_text(spec: &ValueSpec) -> Option<String> {
    let (element_type, shape) = spec.tensor()?;
    let sizes: Vec<String> = shape.dims()?.iter().map(Dim::to_string).collect();
    Some(format!("{}:{element_type}[{}]", spec.name, sizes.join(",")))
}
