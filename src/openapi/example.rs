//! Example requests: the recorded one, or one made from the signature.

use nimify_runtime::signature::{Dim, ElementType, ModelSignature, ValueType};
use serde_json::{Map, Value, json};

use crate::plan::ServicePlan;

/// Elements of a made-up tensor, and bytes of a recorded request, above which an example helps nobody.
const MOST_ELEMENTS: usize = 1024;
const MOST_BYTES: usize = 16 << 10;

/// A request to `/v1/predict`; `None` where it would be too large to read.
pub(super) fn predict(plan: &ServicePlan) -> Option<Value> {
    match &plan.sample {
        Some(sample) if sample.request.len() > MOST_BYTES => None,
        Some(sample) => serde_json::from_str(&sample.request).ok(),
        None => made_up(&plan.signature),
    }
}

/// A request to `/v2/models/…/infer`; `None` where a value can't travel by that protocol, or is too large.
pub(super) fn infer(signature: &ModelSignature) -> Option<Value> {
    let mut inputs = Vec::new();
    for spec in &signature.inputs {
        let (element_type, shape) = spec.tensor()?;
        let sizes = sizes(shape.dims())?;
        let count = count(&sizes)?;
        let data = vec![element(element_type); count];
        let datatype = element_type.carrier()?.datatype()?;
        inputs.push(json!({"name": spec.name, "shape": sizes, "datatype": datatype, "data": data}));
    }
    Some(json!({"inputs": inputs}))
}

fn made_up(signature: &ModelSignature) -> Option<Value> {
    let mut object = Map::new();
    for spec in &signature.inputs {
        object.insert(spec.name.clone(), value(&spec.value_type)?);
    }
    Some(Value::Object(object))
}

fn value(value_type: &ValueType) -> Option<Value> {
    match value_type {
        ValueType::Tensor { element_type, shape } | ValueType::SparseTensor { element_type, shape } => {
            let sizes = sizes(shape.dims())?;
            count(&sizes)?;
            Some(sizes.iter().rfold(element(*element_type), |inner, &size| Value::Array(vec![inner; size])))
        }
        ValueType::Sequence { element } => Some(Value::Array(vec![value(element)?])),
        ValueType::Map { key, value: inner, .. } => {
            let key = if *key == ElementType::String { "text" } else { "0" };
            Some(json!({key: value(inner)?}))
        }
        ValueType::Optional { element } => value(element),
    }
}

/// Free dimensions become 1; an unknown rank becomes a list.
fn sizes(dims: Option<&[Dim]>) -> Option<Vec<usize>> {
    let Some(dims) = dims else { return Some(vec![1]) };
    dims.iter()
        .map(|dim| match dim {
            Dim::Fixed(size) => usize::try_from(*size).ok(),
            Dim::Symbolic(_) | Dim::Unknown => Some(1),
        })
        .collect()
}

/// The number of elements, where an example of so many makes sense.
fn count(sizes: &[usize]) -> Option<usize> {
    // Without the empty dimensions: `[1000000, 0]` has no elements and is still a long list.
    let written = sizes.iter().filter(|&&size| size > 0).try_fold(1usize, |n, &size| n.checked_mul(size))?;
    (written <= MOST_ELEMENTS).then(|| sizes.iter().product())
}

fn element(element_type: ElementType) -> Value {
    use ElementType as E;
    match element_type.carrier().unwrap_or(element_type) {
        E::Float16 | E::Bfloat16 | E::Float32 | E::Float64 => json!(0.5),
        E::Bool => json!(true),
        E::String => json!("text"),
        _ => json!(1),
    }
}
