//! The tree of a `config.pbtxt` → [`ModelConfig`].

use std::collections::{BTreeMap, BTreeSet};
use std::str::FromStr;

use nimify_runtime::signature::{Dim, ElementType, Shape, ValueSpec, ValueType};

use super::fields::{Fields, integer, member, text, truth};
use super::sequence::{SequenceBatching, sequence_batching};
use super::text::{self, Fault, Field};

/// What a `config.pbtxt` says of a model. What it leaves out has Triton's own default.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct ModelConfig {
    /// The model's name; its folder's where there is none.
    pub name: Option<String>,
    /// What runs it, in the old words: `onnxruntime_onnx`, `tensorrt_plan`, `ensemble`.
    pub platform: Option<String>,
    /// What runs it, in the new words: `onnxruntime`, `tensorrt`.
    pub backend: Option<String>,
    /// The file in a version's folder.
    pub default_model_filename: Option<String>,
    /// The file by the GPU's compute capability, such as `8.6`.
    pub cc_model_filenames: BTreeMap<String, String>,
    /// Most rows in one run; 0 where the model knows no rows.
    pub max_batch_size: u32,
    /// What a request brings.
    pub inputs: Vec<TensorConfig>,
    /// What an answer carries.
    pub outputs: Vec<TensorConfig>,
    /// Which of the versions there are served.
    pub version_policy: VersionPolicy,
    /// How requests are joined, where they are.
    pub dynamic_batching: Option<DynamicBatching>,
    /// How requests that belong together are kept together, where they are.
    pub sequence_batching: Option<SequenceBatching>,
    /// Where it runs, and how often.
    pub instance_groups: Vec<InstanceGroup>,
    /// The models that an ensemble runs, in their order.
    pub ensemble: Option<Vec<EnsembleStep>>,
    /// ONNX Runtime's execution providers on a GPU: `optimization.execution_accelerators.gpu_execution_accelerator`.
    pub gpu_accelerators: Vec<String>,
    /// The same on a CPU.
    pub cpu_accelerators: Vec<String>,
    /// Libraries with operators of its own.
    pub op_libraries: Vec<String>,
    /// Whether a request may have several answers, or none.
    pub decoupled: bool,
    /// Free parameters.
    pub parameters: BTreeMap<String, String>,
    /// The fields that the file has beside all these, by their paths.
    pub left_out: BTreeSet<String>,
}

/// An input or an output.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct TensorConfig {
    /// Its name.
    pub name: String,
    /// The type of its elements.
    pub element_type: Option<ElementType>,
    /// Its shape in a request, without the rows; -1 for a free size.
    pub dims: Vec<i64>,
    /// The shape that the model has it in, where that is another.
    pub reshape: Option<Vec<i64>>,
    /// Whether a request may leave it out.
    pub optional: bool,
    /// The file with the labels of its classes.
    pub label_filename: Option<String>,
}

/// Which versions are served.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum VersionPolicy {
    /// So many, the highest first.
    Latest(u32),
    /// All.
    All,
    /// These.
    Specific(Vec<u64>),
}

impl Default for VersionPolicy {
    fn default() -> Self {
        VersionPolicy::Latest(1)
    }
}

/// How requests are joined.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct DynamicBatching {
    /// Sizes at which a batch doesn't wait for more.
    pub preferred_batch_size: Vec<u32>,
    /// How long a batch that isn't full waits, microseconds.
    pub max_queue_delay_us: u64,
    /// Levels of priority; 0 for none.
    pub priority_levels: u64,
    /// The level of a request that asks for none.
    pub default_priority_level: u64,
    /// Requests that may wait; 0 for no limit.
    pub max_queue_size: u32,
    /// How long a request may wait, microseconds; 0 for no limit.
    pub default_timeout_us: u64,
}

/// Where a model runs, and how often.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InstanceGroup {
    /// On what.
    pub kind: InstanceKind,
    /// How often there.
    pub count: u32,
    /// The GPUs; empty for all.
    pub gpus: Vec<u32>,
}

/// What an instance runs on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum InstanceKind {
    /// GPUs where there are some.
    Auto,
    /// GPUs.
    Gpu,
    /// The CPU.
    Cpu,
    /// Whatever the model says.
    Model,
}

impl FromStr for InstanceKind {
    type Err = ();

    fn from_str(word: &str) -> Result<Self, ()> {
        Ok(match word {
            "KIND_AUTO" | "0" => InstanceKind::Auto,
            "KIND_GPU" | "1" => InstanceKind::Gpu,
            "KIND_CPU" | "2" => InstanceKind::Cpu,
            "KIND_MODEL" | "3" => InstanceKind::Model,
            _ => return Err(()),
        })
    }
}

/// One model of an ensemble.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct EnsembleStep {
    /// The model.
    pub model: String,
    /// Its version; -1 for the latest.
    pub version: i64,
    /// The model's inputs, and the ensemble's tensors that they are.
    pub inputs: BTreeMap<String, String>,
    /// The model's outputs, and the ensemble's tensors that they become.
    pub outputs: BTreeMap<String, String>,
}

/// Reads a `config.pbtxt`.
///
/// # Errors
/// The first place that is not protobuf's text format, or not what the field of that name holds.
pub fn read(text: &str) -> Result<ModelConfig, Fault> {
    let tree = text::read(text.strip_prefix('\u{feff}').unwrap_or(text))?;
    let mut config = ModelConfig::default();
    let mut left_out = BTreeSet::new();
    Fields::top(&mut left_out).each(&tree, |fields, field| config.field(fields, field))?;
    config.left_out = left_out;
    Ok(config)
}

impl ModelConfig {
    fn field<'a>(&mut self, fields: &mut Fields<'a>, field: &'a Field) -> Result<bool, Fault> {
        match field.name.as_str() {
            "name" => fields.once(field, &mut self.name, Some(text(field)?)),
            "platform" => fields.once(field, &mut self.platform, Some(text(field)?)),
            "backend" => fields.once(field, &mut self.backend, Some(text(field)?)),
            "default_model_filename" => fields.once(field, &mut self.default_model_filename, Some(text(field)?)),
            "cc_model_filenames" => fields.entry(field, &mut self.cc_model_filenames, text),
            "max_batch_size" => fields.once(field, &mut self.max_batch_size, integer(field)?),
            "input" => {
                self.inputs.push(tensor(fields, field)?);
                Ok(true)
            }
            "output" => {
                self.outputs.push(tensor(fields, field)?);
                Ok(true)
            }
            "version_policy" => {
                let policy = version_policy(fields, field)?;
                fields.once(field, &mut self.version_policy, policy)
            }
            "dynamic_batching" => {
                let batching = dynamic_batching(fields, field)?;
                fields.once(field, &mut self.dynamic_batching, Some(batching))
            }
            "sequence_batching" => {
                let batching = sequence_batching(fields, field)?;
                fields.once(field, &mut self.sequence_batching, Some(batching))
            }
            "instance_group" => {
                self.instance_groups.push(instance_group(fields, field)?);
                Ok(true)
            }
            "ensemble_scheduling" => {
                let steps = ensemble(fields, field)?;
                fields.once(field, &mut self.ensemble, Some(steps))
            }
            "optimization" => self.optimization(fields, field).map(|()| true),
            "model_operations" => {
                let libraries = &mut self.op_libraries;
                fields.inside(field, |_, field| {
                    let known = field.name == "op_library_filename";
                    if known {
                        libraries.push(text(field)?);
                    }
                    Ok(known)
                })?;
                Ok(true)
            }
            "model_transaction_policy" => {
                let decoupled = &mut self.decoupled;
                fields.inside(field, |fields, field| match field.name.as_str() {
                    "decoupled" => fields.once(field, decoupled, truth(field)?),
                    _ => Ok(false),
                })?;
                Ok(true)
            }
            "parameters" => fields.entry(field, &mut self.parameters, parameter),
            _ => Ok(false),
        }
    }

    fn optimization<'a>(&mut self, fields: &mut Fields<'a>, field: &'a Field) -> Result<(), Fault> {
        fields.inside(field, |fields, field| {
            if field.name != "execution_accelerators" {
                return Ok(false);
            }
            fields.inside(field, |fields, field| {
                let list = match field.name.as_str() {
                    "gpu_execution_accelerator" => &mut self.gpu_accelerators,
                    "cpu_execution_accelerator" => &mut self.cpu_accelerators,
                    _ => return Ok(false),
                };
                let mut name = String::new();
                fields.inside(field, |fields, field| match field.name.as_str() {
                    "name" => fields.once(field, &mut name, text(field)?),
                    _ => Ok(false),
                })?;
                list.push(name);
                Ok(true)
            })?;
            Ok(true)
        })
    }
}

/// `parameters { key: … value: { string_value: … } }`.
fn parameter(field: &Field) -> Result<String, Fault> {
    let inner = super::fields::message(field)?;
    inner.fields.iter().find(|field| field.name == "string_value").map_or(Ok(String::new()), text)
}

fn tensor<'a>(fields: &mut Fields<'a>, field: &'a Field) -> Result<TensorConfig, Fault> {
    let mut tensor = TensorConfig::default();
    fields.inside(field, |fields, field| match field.name.as_str() {
        "name" => fields.once(field, &mut tensor.name, text(field)?),
        "data_type" => {
            let DataType(element_type) = member(field, "a type such as `TYPE_FP32`")?;
            fields.once(field, &mut tensor.element_type, element_type)
        }
        "dims" => {
            tensor.dims.push(size(field)?);
            Ok(true)
        }
        "reshape" => {
            let mut shape = Vec::new();
            fields.inside(field, |_, field| {
                let known = field.name == "shape";
                if known {
                    shape.push(size(field)?);
                }
                Ok(known)
            })?;
            fields.once(field, &mut tensor.reshape, Some(shape))
        }
        "optional" => fields.once(field, &mut tensor.optional, truth(field)?),
        "label_filename" => fields.once(field, &mut tensor.label_filename, Some(text(field)?)),
        _ => Ok(false),
    })?;
    if tensor.name.is_empty() {
        return Err(Fault::at(field.place, format!("this `{}` has no `name`", field.name)));
    }
    Ok(tensor)
}

/// A size: at least 1, or -1 for a free one.
fn size(field: &Field) -> Result<i64, Fault> {
    match integer(field)? {
        size if size == -1 || size > 0 => Ok(size),
        size => Err(Fault::at(
            field.place,
            format!("`{}` should be a size, or -1 for a free one, and is {size}", field.name),
        )),
    }
}

struct DataType(Option<ElementType>);

impl FromStr for DataType {
    type Err = ();

    fn from_str(word: &str) -> Result<Self, ()> {
        // By their numbers in the order of `model_config.proto`.
        const NAMES: [&str; 15] = [
            "INVALID", "BOOL", "UINT8", "UINT16", "UINT32", "UINT64", "INT8", "INT16", "INT32", "INT64", "FP16",
            "FP32", "FP64", "STRING", "BF16",
        ];
        let named = word.strip_prefix("TYPE_").and_then(|name| NAMES.iter().find(|known| **known == name));
        let numbered = || word.parse::<usize>().ok().and_then(|number| NAMES.get(number));
        let name = *named.or_else(numbered).ok_or(())?;
        Ok(DataType(match name {
            "INVALID" => None,
            "STRING" => Some(ElementType::String),
            name => Some(ElementType::from_datatype(name).ok_or(())?),
        }))
    }
}

fn version_policy<'a>(fields: &mut Fields<'a>, field: &'a Field) -> Result<VersionPolicy, Fault> {
    let mut policy = VersionPolicy::default();
    fields.inside(field, |fields, field| {
        policy = match field.name.as_str() {
            "all" => {
                fields.inside(field, |_, _| Ok(false))?;
                VersionPolicy::All
            }
            "latest" => {
                let mut versions = 1;
                fields.inside(field, |fields, field| match field.name.as_str() {
                    "num_versions" => fields.once(field, &mut versions, integer(field)?),
                    _ => Ok(false),
                })?;
                VersionPolicy::Latest(versions)
            }
            "specific" => {
                let mut versions = Vec::new();
                fields.inside(field, |_, field| {
                    let known = field.name == "versions";
                    if known {
                        versions.push(integer(field)?);
                    }
                    Ok(known)
                })?;
                VersionPolicy::Specific(versions)
            }
            _ => return Ok(false),
        };
        Ok(true)
    })?;
    Ok(policy)
}

fn dynamic_batching<'a>(fields: &mut Fields<'a>, field: &'a Field) -> Result<DynamicBatching, Fault> {
    let mut batching = DynamicBatching::default();
    fields.inside(field, |fields, field| match field.name.as_str() {
        "preferred_batch_size" => {
            batching.preferred_batch_size.push(integer(field)?);
            Ok(true)
        }
        "max_queue_delay_microseconds" => fields.once(field, &mut batching.max_queue_delay_us, integer(field)?),
        "priority_levels" => fields.once(field, &mut batching.priority_levels, integer(field)?),
        "default_priority_level" => fields.once(field, &mut batching.default_priority_level, integer(field)?),
        "default_queue_policy" => {
            let policy = &mut batching;
            fields.inside(field, |fields, field| match field.name.as_str() {
                "max_queue_size" => fields.once(field, &mut policy.max_queue_size, integer(field)?),
                "default_timeout_microseconds" => fields.once(field, &mut policy.default_timeout_us, integer(field)?),
                _ => Ok(false),
            })?;
            Ok(true)
        }
        _ => Ok(false),
    })?;
    Ok(batching)
}

fn instance_group<'a>(fields: &mut Fields<'a>, field: &'a Field) -> Result<InstanceGroup, Fault> {
    let mut group = InstanceGroup { kind: InstanceKind::Auto, count: 1, gpus: Vec::new() };
    fields.inside(field, |fields, field| match field.name.as_str() {
        // A name is for Triton's own log.
        "name" => text(field).map(|_| true),
        "kind" => {
            let kind = member(field, "a kind such as `KIND_GPU`")?;
            fields.once(field, &mut group.kind, kind)
        }
        // 0 is what a message without the field has: the default.
        "count" => fields.once(field, &mut group.count, integer::<u32>(field)?.max(1)),
        "gpus" => {
            group.gpus.push(integer(field)?);
            Ok(true)
        }
        _ => Ok(false),
    })?;
    Ok(group)
}

fn ensemble<'a>(fields: &mut Fields<'a>, field: &'a Field) -> Result<Vec<EnsembleStep>, Fault> {
    let mut steps = Vec::new();
    fields.inside(field, |fields, field| {
        if field.name != "step" {
            return Ok(false);
        }
        let mut step = EnsembleStep { version: -1, ..EnsembleStep::default() };
        fields.inside(field, |fields, field| match field.name.as_str() {
            "model_name" => fields.once(field, &mut step.model, text(field)?),
            "model_version" => fields.once(field, &mut step.version, integer(field)?),
            "input_map" => fields.entry(field, &mut step.inputs, text),
            "output_map" => fields.entry(field, &mut step.outputs, text),
            _ => Ok(false),
        })?;
        steps.push(step);
        Ok(true)
    })?;
    Ok(steps)
}

/// Why a config doesn't say what the model takes or gives.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Unfit {
    /// It lists none.
    #[error("it lists no `{0}`")]
    None(&'static str),
    /// A tensor without a type, which Triton would ask the model for.
    #[error("its {kind} `{name}` has no `data_type`")]
    NoType {
        /// `input` or `output`.
        kind: &'static str,
        /// The tensor.
        name: String,
    },
    /// Two have one name.
    #[error("two of its {kind}s are named `{name}`")]
    Twice {
        /// `input` or `output`.
        kind: &'static str,
        /// The name.
        name: String,
    },
}

/// What the free dimension of the rows is called.
const BATCH: &str = "batch";

impl ModelConfig {
    /// The inputs and outputs as the model itself has them: with the dimension of the rows where there are rows, and in
    /// the shape that Triton would bring them into.
    pub fn tensors(&self) -> Result<(Vec<ValueSpec>, Vec<ValueSpec>), Unfit> {
        let list = |kind, tensors: &[TensorConfig]| {
            let mut specs: Vec<ValueSpec> = Vec::new();
            for tensor in tensors {
                if specs.iter().any(|spec| spec.name == tensor.name) {
                    return Err(Unfit::Twice { kind, name: tensor.name.clone() });
                }
                specs.push(self.spec(kind, tensor)?);
            }
            if specs.is_empty() { Err(Unfit::None(kind)) } else { Ok(specs) }
        };
        Ok((list("input", &self.inputs)?, list("output", &self.outputs)?))
    }

    fn spec(&self, kind: &'static str, tensor: &TensorConfig) -> Result<ValueSpec, Unfit> {
        let name = tensor.name.clone();
        let element_type = tensor.element_type.ok_or_else(|| Unfit::NoType { kind, name: name.clone() })?;
        let rows = (self.max_batch_size > 0).then(|| Dim::Symbolic(BATCH.into()));
        let sizes = tensor.reshape.as_ref().unwrap_or(&tensor.dims);
        let sizes = sizes.iter().map(|size| u64::try_from(*size).map_or(Dim::Unknown, Dim::Fixed));
        let shape = Shape(Some(rows.into_iter().chain(sizes).collect()));
        Ok(ValueSpec { name, value_type: ValueType::Tensor { element_type, shape } })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::triton::{ControlInput, InitialState, StatePair};

    const WHOLE: &str = r#"
        name: "detector"
        platform: "tensorrt_plan"
        max_batch_size: 8
        input [ { name: "images" data_type: TYPE_FP16 format: FORMAT_NCHW dims: [ 3, 640, -1 ] } ]
        output [
          { name: "boxes" data_type: TYPE_FP32 dims: [ 100, 4 ] label_filename: "labels.txt" },
          { name: "count" data_type: TYPE_INT32 dims: [ 1 ] reshape { shape: [ ] } }
        ]
        version_policy: { specific { versions: [ 3, 5 ] } }
        cc_model_filenames [ { key: "8.6" value: "a10.plan" }, { key: "7.5" value: "t4.plan" } ]
        dynamic_batching {
          preferred_batch_size: [ 4, 8 ]
          max_queue_delay_microseconds: 0x64
          priority_levels: 3
          default_priority_level: 2
          default_queue_policy { max_queue_size: 16 default_timeout_microseconds: 5000 timeout_action: REJECT }
        }
        instance_group [ { count: 2 kind: KIND_GPU gpus: [ 0, 1 ] name: "x" } ]
        optimization {
          execution_accelerators { gpu_execution_accelerator: [ { name: "tensorrt" parameters { key: "a" value: "b" } } ] }
          cuda { graphs: true }
        }
        model_operations { op_library_filename: "libown.so" }
        model_transaction_policy { decoupled: false }
        parameters { key: "trust" value: { string_value: "no" } }
    "#;

    #[test]
    fn a_config_is_read_whole_and_what_is_left_out_is_named() {
        let config = read(WHOLE).unwrap();
        assert_eq!((config.name.as_deref(), config.platform.as_deref()), (Some("detector"), Some("tensorrt_plan")));
        assert_eq!(config.version_policy, VersionPolicy::Specific(vec![3, 5]));
        let batching = config.dynamic_batching.clone().unwrap();
        assert_eq!((batching.preferred_batch_size, batching.max_queue_delay_us), (vec![4, 8], 100));
        assert_eq!((batching.priority_levels, batching.default_priority_level), (3, 2));
        assert_eq!((batching.max_queue_size, batching.default_timeout_us), (16, 5000));
        let group = InstanceGroup { kind: InstanceKind::Gpu, count: 2, gpus: vec![0, 1] };
        assert_eq!(config.instance_groups, [group]);
        assert_eq!(
            (config.gpu_accelerators.clone(), config.op_libraries.clone()),
            (vec!["tensorrt".into()], vec!["libown.so".into()])
        );
        assert_eq!(
            (config.cc_model_filenames["8.6"].as_str(), config.parameters["trust"].as_str()),
            ("a10.plan", "no")
        );
        let left_out: Vec<_> = config.left_out.iter().map(String::as_str).collect();
        assert_eq!(
            left_out,
            [
                "dynamic_batching.default_queue_policy.timeout_action",
                "input.format",
                "optimization.cuda",
                "optimization.execution_accelerators.gpu_execution_accelerator.parameters",
            ]
        );
    }

    fn shown(config: &ModelConfig) -> String {
        let (inputs, outputs) = config.tensors().unwrap();
        let all: Vec<_> =
            inputs.iter().chain(&outputs).map(|spec| format!("{} {}", spec.name, spec.value_type)).collect();
        all.join("; ")
    }

    #[test]
    fn tensors_have_the_rows_that_a_config_leaves_out() {
        let config = read(WHOLE).unwrap();
        assert_eq!(
            shown(&config),
            "images float16 [batch, 3, 640, ?]; boxes float32 [batch, 100, 4]; count int32 [batch]"
        );
        let alone = ModelConfig { max_batch_size: 0, ..config };
        assert_eq!(shown(&alone), "images float16 [3, 640, ?]; boxes float32 [100, 4]; count int32 []");
        let unfit = |text: &str| read(text).unwrap().tensors().unwrap_err().to_string();
        assert_eq!(unfit("max_batch_size: 1"), "it lists no `input`");
        assert_eq!(unfit("input { name: 'x' dims: 1 }"), "its input `x` has no `data_type`");
        let twice = "input [{ name: 'x' data_type: TYPE_BOOL }, { name: 'x' data_type: 13 }]";
        assert_eq!(unfit(twice), "two of its inputs are named `x`");
    }

    #[test]
    fn an_ensemble_and_a_sequence_are_read() {
        let config = read(
            "platform: 'ensemble' ensemble_scheduling { step [ { model_name: 'a' model_version: -1
               input_map { key: 'x' value: 'image' } output_map { key: 'y' value: 'scores' } }, { model_name: 'b' } ] }
             sequence_batching { max_sequence_idle_microseconds: 7 direct { }
               state [ { input_name: 'h' output_name: 'hn' data_type: TYPE_FP32 dims: 4 initial_state { name: 'z' dims: [ 2, 0 ] data_file: 'h.raw' } } ]
               control_input [ { name: 'START' control [ { kind: CONTROL_SEQUENCE_START fp32_false_true: [ 0, 1 ] }, { kind: 3 } ] } ] }",
        )
        .unwrap();
        let steps = config.ensemble.unwrap();
        assert_eq!((steps[0].inputs["x"].as_str(), steps[0].outputs["y"].as_str()), ("image", "scores"));
        assert_eq!((steps[1].model.as_str(), steps[1].version), ("b", -1));
        let sequence = config.sequence_batching.unwrap();
        let initial = InitialState { dims: vec![2, 0], file: Some("h.raw".into()) };
        assert_eq!(
            sequence.states,
            [StatePair { input: "h".into(), output: "hn".into(), dims: vec![4], initial: Some(initial) }]
        );
        let kinds = vec!["CONTROL_SEQUENCE_START".to_string(), "CONTROL_SEQUENCE_CORRID".to_string()];
        assert_eq!(sequence.controls, [ControlInput { name: "START".into(), kinds }]);
        let left_out: Vec<_> = config.left_out.iter().map(String::as_str).collect();
        assert_eq!(left_out, ["sequence_batching.direct"]);
    }

    #[test]
    fn a_value_of_another_kind_is_refused_with_its_place() {
        let wrong = |text: &str| read(text).unwrap_err().to_string();
        assert_eq!(wrong("name: 3"), "line 1, column 7: `name` should be a text in quotes, and is 3");
        assert_eq!(
            wrong("max_batch_size: -1"),
            "line 1, column 17: `max_batch_size` should be a whole number in its range, and is -1"
        );
        assert_eq!(wrong("name: 'a'\nname: 'b'"), "line 2, column 7: `name` is given twice");
        assert_eq!(wrong("input { dims: 1 }"), "line 1, column 7: this `input` has no `name`");
        assert!(wrong("input { name: 'x' dims: 0 }").contains("`dims` should be a size"));
        assert!(wrong("input { name: 'x' data_type: TYPE_FP8 }").contains("a type such as `TYPE_FP32`"));
        assert!(wrong("input: 'x'").contains("a message in braces"));
        assert!(wrong("model_transaction_policy { decoupled: 2 }").contains("`true` or `false`"));
        assert!(wrong("instance_group { kind: GPU }").contains("a kind such as `KIND_GPU`"));
        assert!(wrong("parameters { ky: 'a' }").contains("`parameters` has no `ky`"));
        for number in ["0x", "--1", "1.5", "1e3", "08", "+1"] {
            assert!(read(&format!("max_batch_size: {number}")).is_err(), "{number}");
        }
    }

    proptest! {
        #[test]
        fn no_change_of_a_config_makes_a_panic(cuts in prop::collection::vec((0..WHOLE.len(), "[a-z0-9{}\\[\\]:'\"-]"), 0..8)) {
            let mut text = WHOLE.to_string();
            for (at, with) in &cuts {
                text.replace_range(*at..at + 1, with);
            }
            if let Ok(config) = read(&text) {
                let _ = config.tensors();
            }
        }
    }
}
