//! The pairs of a model's state, held against its signature, and the state that a session begins with. Pure.

use super::settings::{StateDim, StatePair, StateSettings};
use crate::error::Error;
use crate::signature::{Dim, ElementType, ModelSignature, Shape, ValueSpec};
use crate::tensor::{Element, Tensor, TensorData, Value, each_type, element_count};

/// An output that is an input of the next request.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Pair {
    /// Which of the signature's inputs.
    pub(super) input: usize,
    /// Which of its outputs.
    pub(super) output: usize,
    settings: StatePair,
}

/// The pairs, if they fit the model; an `Err` names the one that doesn't.
pub(super) fn pairs(settings: &StateSettings, signature: &ModelSignature) -> Result<Vec<Pair>, String> {
    let mut pairs: Vec<Pair> = Vec::new();
    for pair in &settings.pairs {
        let input = position("input", &pair.input, &signature.inputs)?;
        let output = position("output", &pair.output, &signature.outputs)?;
        if pairs.iter().any(|other| other.input == input) {
            return Err(format!("the input `{}` stands in two pairs", pair.input));
        }
        let (Some((takes, shape)), Some((gives, _))) =
            (signature.inputs[input].tensor(), signature.outputs[output].tensor())
        else {
            return Err(format!("`{}` and `{}` should be tensors", pair.output, pair.input));
        };
        if takes != gives {
            return Err(format!("`{}` is {gives} and `{}` {takes}", pair.output, pair.input));
        }
        if filled(takes, 0, 0.0).is_none() || takes == ElementType::String {
            return Err(format!("`{}` is {takes}, of which no state can begin", pair.input));
        }
        if !shape_fits(&pair.shape, shape) {
            return Err(format!("the shape that `{}` begins with isn't one of {shape}", pair.input));
        }
        pairs.push(Pair { input, output, settings: pair.clone() });
    }
    Ok(pairs)
}

fn position(kind: &str, name: &str, specs: &[ValueSpec]) -> Result<usize, String> {
    specs.iter().position(|spec| spec.name == name).ok_or_else(|| format!("the model has no {kind} `{name}`"))
}

fn shape_fits(given: &[StateDim], declared: &Shape) -> bool {
    let Some(dims) = declared.dims() else { return !given.is_empty() };
    let fits = |(given, dim): (&StateDim, &Dim)| match (given, dim) {
        (StateDim::Size(size), Dim::Fixed(fixed)) => size == fixed,
        _ => true,
    };
    given.is_empty() || given.len() == dims.len() && given.iter().zip(dims).all(fits)
}

impl Pair {
    /// The state that a session begins with: of the shape in the settings, else of the declared one, in which a name
    /// has the size that it has in the request's other inputs, and what is free otherwise is 1.
    pub(super) fn initial(&self, inputs: &[Value], signature: &ModelSignature, most: usize) -> Result<Value, Error> {
        let spec = &signature.inputs[self.input];
        let (element_type, shape) = spec.tensor().unwrap_or((ElementType::Float32, const { &Shape(None) }));
        let size = |name: &str| size_of(name, inputs, signature).unwrap_or(1);
        let shape: Vec<usize> = if self.settings.shape.is_empty() {
            let dim = |dim: &Dim| match dim {
                Dim::Fixed(fixed) => usize::try_from(*fixed).unwrap_or(usize::MAX),
                Dim::Symbolic(name) => size(name),
                Dim::Unknown => 1,
            };
            shape.dims().unwrap_or_default().iter().map(dim).collect()
        } else {
            let dim = |dim: &StateDim| match dim {
                StateDim::Size(fixed) => usize::try_from(*fixed).unwrap_or(usize::MAX),
                StateDim::Named(name) => size(name),
            };
            self.settings.shape.iter().map(dim).collect()
        };
        let bits = element_type.bits().max(8) as usize;
        let count = element_count(&shape).filter(|count| count.saturating_mul(bits / 8) <= most);
        let data = count.and_then(|count| filled(element_type, count, self.settings.initial));
        let value = data.and_then(|data| Tensor::new(shape.clone(), data)).map(Value::Tensor);
        value.ok_or_else(|| {
            let name = &spec.name;
            Error::BadRequest(format!("`{name}` would begin with the shape {shape:?}, which is too large to keep"))
        })
    }
}

/// What a name stands for in the request's tensors.
fn size_of(name: &str, inputs: &[Value], signature: &ModelSignature) -> Option<usize> {
    inputs.iter().zip(&signature.inputs).find_map(|(value, spec)| {
        let dims = spec.tensor()?.1.dims()?;
        let axis = dims.iter().position(|dim| matches!(dim, Dim::Symbolic(other) if other == name))?;
        value.as_tensor()?.shape.get(axis).copied()
    })
}

/// So many elements of this value; `None` for a type that no number is of.
fn filled(element_type: ElementType, count: usize, value: f64) -> Option<TensorData> {
    fn each<T: Element>(elements: &mut Vec<T>, count: usize, value: T) {
        elements.resize(count, value);
    }
    let mut data = TensorData::with_capacity(element_type, count)?;
    match &mut data {
        TensorData::Float32(v) => each(v, count, value as f32),
        TensorData::Float64(v) => each(v, count, value),
        TensorData::Float16(v) => each(v, count, half::f16::from_f64(value)),
        TensorData::Bfloat16(v) => each(v, count, half::bf16::from_f64(value)),
        TensorData::Int8(v) => each(v, count, value as i8),
        TensorData::Int16(v) => each(v, count, value as i16),
        TensorData::Int32(v) => each(v, count, value as i32),
        TensorData::Int64(v) => each(v, count, value as i64),
        TensorData::Uint8(v) => each(v, count, value as u8),
        TensorData::Uint16(v) => each(v, count, value as u16),
        TensorData::Uint32(v) => each(v, count, value as u32),
        TensorData::Uint64(v) => each(v, count, value as u64),
        TensorData::Bool(v) => each(v, count, value != 0.0),
        _ => return (count == 0).then_some(data),
    }
    debug_assert_eq!(each_type!(&data, elements => elements.len()), count);
    Some(data)
}
