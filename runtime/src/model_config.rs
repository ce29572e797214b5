//! The model's configuration as Triton would have it: for clients that ask how a model is served before they ask it
//! anything.
//!
//! Plain values with the names of Triton's `ModelConfig`: REST serialises them as they are, gRPC maps them field by
//! field. What the service has no counterpart for is left at Triton's default.

use std::collections::BTreeMap;

use serde::Serialize;

use crate::engine::{Provider, Providers};
use crate::settings::ServiceSettings;
use crate::signature::{Dim, ElementType, ModelSignature, ValueSpec, ValueType};

/// What runs the model, in Triton's words.
pub const PLATFORM: &str = "onnxruntime_onnx";

/// How a model is served.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ModelConfig {
    /// The model's name.
    pub name: String,
    /// The format and what runs it.
    pub platform: &'static str,
    /// What runs it.
    pub backend: &'static str,
    /// Which versions are served: the one that there is.
    pub version_policy: VersionPolicy,
    /// Most rows in one run; 0 where the model has no leading dim that is proved to be a batch's.
    pub max_batch_size: u64,
    /// One an input, in the signature's order.
    pub input: Vec<InputConfig>,
    /// One an output, in the signature's order.
    pub output: Vec<OutputConfig>,
    /// How requests are joined, where they are.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub dynamic_batching: Option<DynamicBatching>,
    /// What runs side by side.
    pub instance_group: Vec<InstanceGroup>,
    /// The model's file.
    pub default_model_filename: String,
    /// What else is known of it.
    pub parameters: BTreeMap<&'static str, Parameter>,
    /// How requests and answers go together.
    pub model_transaction_policy: TransactionPolicy,
}

/// Which versions of a model are served.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct VersionPolicy {
    /// The latest ones.
    pub latest: Latest,
}

/// How many of the latest versions are served.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Latest {
    /// Always 1.
    pub num_versions: u32,
}

/// An input.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct InputConfig {
    /// Its name.
    pub name: String,
    /// Its type.
    pub data_type: DataType,
    /// Always `FORMAT_NONE`: the service knows nothing of channels.
    pub format: &'static str,
    /// Its shape without the batch's dim; -1 where the size is free.
    pub dims: Vec<i64>,
    /// Always false: that is TensorRT's.
    pub is_shape_tensor: bool,
    /// Always false: rows of a batch have one shape.
    pub allow_ragged_batch: bool,
    /// Whether it may be left out.
    pub optional: bool,
}

/// An output.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct OutputConfig {
    /// Its name.
    pub name: String,
    /// Its type.
    pub data_type: DataType,
    /// Its shape without the batch's dim; -1 where the size is free.
    pub dims: Vec<i64>,
    /// Always empty: no labels come with a model.
    pub label_filename: String,
    /// Always false: that is TensorRT's.
    pub is_shape_tensor: bool,
}

/// Triton's names of the element types, with the numbers of its protocol buffers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
#[expect(missing_docs, reason = "each variant is the type of its own name")]
pub enum DataType {
    TypeInvalid = 0,
    TypeBool = 1,
    #[serde(rename = "TYPE_UINT8")]
    TypeUint8 = 2,
    #[serde(rename = "TYPE_UINT16")]
    TypeUint16 = 3,
    #[serde(rename = "TYPE_UINT32")]
    TypeUint32 = 4,
    #[serde(rename = "TYPE_UINT64")]
    TypeUint64 = 5,
    #[serde(rename = "TYPE_INT8")]
    TypeInt8 = 6,
    #[serde(rename = "TYPE_INT16")]
    TypeInt16 = 7,
    #[serde(rename = "TYPE_INT32")]
    TypeInt32 = 8,
    #[serde(rename = "TYPE_INT64")]
    TypeInt64 = 9,
    #[serde(rename = "TYPE_FP16")]
    TypeFp16 = 10,
    #[serde(rename = "TYPE_FP32")]
    TypeFp32 = 11,
    #[serde(rename = "TYPE_FP64")]
    TypeFp64 = 12,
    TypeString = 13,
    #[serde(rename = "TYPE_BF16")]
    TypeBf16 = 14,
}

impl From<ElementType> for DataType {
    fn from(element_type: ElementType) -> Self {
        match element_type {
            ElementType::Bool => DataType::TypeBool,
            ElementType::Uint8 => DataType::TypeUint8,
            ElementType::Uint16 => DataType::TypeUint16,
            ElementType::Uint32 => DataType::TypeUint32,
            ElementType::Uint64 => DataType::TypeUint64,
            ElementType::Int8 => DataType::TypeInt8,
            ElementType::Int16 => DataType::TypeInt16,
            ElementType::Int32 => DataType::TypeInt32,
            ElementType::Int64 => DataType::TypeInt64,
            ElementType::Float16 => DataType::TypeFp16,
            ElementType::Float32 => DataType::TypeFp32,
            ElementType::Float64 => DataType::TypeFp64,
            ElementType::String => DataType::TypeString,
            ElementType::Bfloat16 => DataType::TypeBf16,
            // No protocol carries the others.
            _ => DataType::TypeInvalid,
        }
    }
}

/// How requests are joined.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct DynamicBatching {
    /// Always empty: a batch of any size may run.
    pub preferred_batch_size: Vec<u32>,
    /// How long a batch that isn't full waits for more.
    pub max_queue_delay_microseconds: u64,
    /// Always false: answers come when they are there.
    pub preserve_ordering: bool,
    /// Levels of priority that a request may ask for, the first being the highest; 0 where all are equal.
    pub priority_levels: u64,
    /// The level of a request that asks for none; 0 where all are equal.
    pub default_priority_level: u64,
    /// What becomes of requests that wait.
    pub default_queue_policy: QueuePolicy,
}

/// What becomes of requests that wait.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct QueuePolicy {
    /// Always `REJECT`.
    pub timeout_action: &'static str,
    /// How long a request may take.
    pub default_timeout_microseconds: u64,
    /// A request may ask for less time.
    pub allow_timeout_override: bool,
    /// Requests that may wait.
    pub max_queue_size: u64,
}

/// Sessions that run side by side.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct InstanceGroup {
    /// The model's name and a number.
    pub name: String,
    /// `KIND_CPU`, or `KIND_AUTO` where the settings leave it open.
    pub kind: &'static str,
    /// How many.
    pub count: u64,
}

/// A parameter: a text.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Parameter {
    /// Its value.
    pub string_value: String,
}

/// How requests and answers go together.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct TransactionPolicy {
    /// Always false: one answer a request.
    pub decoupled: bool,
}

/// The axis of the protocol's batches, which is the first or none.
pub fn batch_axis(signature: &ModelSignature) -> Option<usize> {
    signature.batching.axis().filter(|axis| *axis == 0)
}

impl ModelConfig {
    /// Says how the model of `signature` is served with `settings` by `instances` sessions.
    pub fn new(settings: &ServiceSettings, signature: &ModelSignature, instances: usize) -> ModelConfig {
        let batching = &settings.batching;
        let batched = batch_axis(signature).is_some();
        let micros = |duration: std::time::Duration| u64::try_from(duration.as_micros()).unwrap_or(u64::MAX);
        // Triton says 0 of levels where there are none.
        let levels = if batching.priority_levels > 1 { batching.priority_levels as u64 } else { 0 };
        let dynamic_batching = DynamicBatching {
            preferred_batch_size: Vec::new(),
            max_queue_delay_microseconds: micros(batching.max_queue_delay),
            preserve_ordering: false,
            priority_levels: levels,
            default_priority_level: batching.default_priority.map_or(levels, |level| level as u64).min(levels),
            default_queue_policy: QueuePolicy {
                timeout_action: "REJECT",
                default_timeout_microseconds: micros(batching.request_timeout),
                allow_timeout_override: true,
                max_queue_size: batching.max_queue as u64,
            },
        };
        let file = settings.model.path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let text = |text: &str| Parameter { string_value: text.into() };
        ModelConfig {
            name: settings.name.clone(),
            platform: PLATFORM,
            backend: "onnxruntime",
            version_policy: VersionPolicy { latest: Latest { num_versions: 1 } },
            max_batch_size: if batched { batching.max_batch_size as u64 } else { 0 },
            input: signature.inputs.iter().map(|spec| input(spec, batched)).collect(),
            output: signature.outputs.iter().map(|spec| output(spec, batched)).collect(),
            dynamic_batching: (batched && batching.max_batch_size > 1).then_some(dynamic_batching),
            instance_group: vec![InstanceGroup {
                name: format!("{}_0", settings.name),
                kind: match &settings.engine.provider {
                    Providers::Named(only) if only[..] == [Provider::Cpu] => "KIND_CPU",
                    _ => "KIND_AUTO",
                },
                count: instances as u64,
            }],
            default_model_filename: file,
            parameters: BTreeMap::from([
                ("version", text(&settings.version)),
                ("sha256", text(&settings.model.sha256)),
            ]),
            model_transaction_policy: TransactionPolicy { decoupled: false },
        }
    }
}

fn input(spec: &ValueSpec, batched: bool) -> InputConfig {
    InputConfig {
        name: spec.name.clone(),
        data_type: spec.wire_type().into(),
        format: "FORMAT_NONE",
        dims: dims(spec, batched),
        is_shape_tensor: false,
        allow_ragged_batch: false,
        optional: matches!(spec.value_type, ValueType::Optional { .. }),
    }
}

fn output(spec: &ValueSpec, batched: bool) -> OutputConfig {
    OutputConfig {
        name: spec.name.clone(),
        data_type: spec.wire_type().into(),
        dims: dims(spec, batched),
        label_filename: String::new(),
        is_shape_tensor: false,
    }
}

/// The shape without the batch's dim.
fn dims(spec: &ValueSpec, batched: bool) -> Vec<i64> {
    let shape = wire_shape(spec);
    shape.into_iter().skip(usize::from(batched)).collect()
}

/// The shape in which a value travels where only tensors can. -1 stands for a free size, and a rank that nobody knows is
/// written as one. What is no tensor travels as JSON texts: one an element of a sequence, one for anything else.
pub fn wire_shape(spec: &ValueSpec) -> Vec<i64> {
    let size = |dim: &Dim| match dim {
        Dim::Fixed(size) => i64::try_from(*size).unwrap_or(i64::MAX),
        Dim::Symbolic(_) | Dim::Unknown => -1,
    };
    match spec.present() {
        ValueType::Tensor { shape, .. } => shape.dims().map_or(vec![-1], |dims| dims.iter().map(size).collect()),
        ValueType::Sequence { .. } => vec![-1],
        _ => vec![1],
    }
}
