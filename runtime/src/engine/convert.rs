//! The runtime's values to ONNX Runtime's and back: inputs without a copy where ONNX Runtime permits, outputs with one.

use super::empty;
use super::native::{Kind, NativeValue};
use crate::error::Error;
use crate::narrow;
use crate::signature::{ElementType, ValueType};
use crate::tensor::{Bytes, Element, Tensor, TensorData, Value, element_count};

/// Lends `value` to ONNX Runtime. `None` for an absent optional.
pub(super) fn to_native<'v>(value: &'v Value, value_type: &ValueType) -> ort::Result<Option<NativeValue<'v>>> {
    match (value, value_type) {
        (Value::Absent, _) => Ok(None),
        (value, ValueType::Optional { element }) => to_native(value, element),
        (Value::Tensor(tensor), ValueType::Tensor { element_type, .. }) if narrow::range(*element_type).is_some() => {
            let packed = narrow::pack(*element_type, &tensor.data)
                .ok_or_else(|| ort::Error::new(format!("an element is none of {element_type}")))?;
            NativeValue::packed(&tensor.shape, *element_type, &packed).map(Some)
        }
        (Value::Tensor(tensor), _) => tensor_to_native(tensor).map(Some),
        (Value::Sequence(values), ValueType::Sequence { element }) => {
            let present = |value| to_native(value, element)?.ok_or_else(|| ort::Error::new("a sequence has a gap"));
            let parts = values.iter().map(present).collect::<ort::Result<Vec<_>>>()?;
            match &**element {
                ValueType::Tensor { element_type, .. } if parts.is_empty() => empty::sequence(*element_type).map(Some),
                _ if parts.is_empty() => {
                    Err(ort::Error::new(format!("ONNX Runtime takes no empty sequence of {element}")))
                }
                _ => NativeValue::sequence(&parts).map(Some),
            }
        }
        (Value::Map(pairs), ValueType::Map { .. }) => map_to_native(pairs).map(Some),
        (Value::Map(_), other) => Err(ort::Error::new(format!("a map came where {other} is needed"))),
        (Value::Sequence(_), other) => Err(ort::Error::new(format!("a sequence came where {other} is needed"))),
    }
}

/// ONNX Runtime makes a map of a tensor of keys and one of values.
fn map_to_native<'v>(pairs: &[(Tensor, Value)]) -> ort::Result<NativeValue<'v>> {
    let keys = gather(pairs.iter().map(|(key, _)| Some(key)))?;
    let values = gather(pairs.iter().map(|(_, value)| value.as_tensor()))?;
    NativeValue::map(keys, values)
}

/// One tensor of rank 1 of many of one element.
fn gather<'t, 'v>(scalars: impl Iterator<Item = Option<&'t Tensor>>) -> ort::Result<NativeValue<'v>> {
    let wrong = || ort::Error::new("a map holds something else than scalars of one type");
    let mut all: Option<TensorData> = None;
    for scalar in scalars {
        let scalar = scalar.filter(|scalar| scalar.data.len() == 1).ok_or_else(wrong)?;
        match &mut all {
            None => all = Some(scalar.data.clone()),
            Some(all) => crate::tensor::append(all, &scalar.data).ok_or_else(wrong)?,
        }
    }
    match all.ok_or_else(|| ort::Error::new("ONNX Runtime takes no empty map as an input"))? {
        TensorData::Float32(v) => NativeValue::copied(&v),
        TensorData::Float64(v) => NativeValue::copied(&v),
        TensorData::Int64(v) => NativeValue::copied(&v),
        TensorData::String(v) => NativeValue::strings(&[v.len()], &v),
        other => Err(ort::Error::new(format!("ONNX Runtime takes no maps of {}", other.element_type()))),
    }
}

fn tensor_to_native(tensor: &Tensor) -> ort::Result<NativeValue<'_>> {
    let shape = &tensor.shape;
    match &tensor.data {
        TensorData::Float32(v) => NativeValue::tensor(shape, v),
        TensorData::Float64(v) => NativeValue::tensor(shape, v),
        TensorData::Float16(v) => NativeValue::tensor(shape, v),
        TensorData::Bfloat16(v) => NativeValue::tensor(shape, v),
        TensorData::Int8(v) => NativeValue::tensor(shape, v),
        TensorData::Int16(v) => NativeValue::tensor(shape, v),
        TensorData::Int32(v) => NativeValue::tensor(shape, v),
        TensorData::Int64(v) => NativeValue::tensor(shape, v),
        TensorData::Uint8(v) => NativeValue::tensor(shape, v),
        TensorData::Uint16(v) => NativeValue::tensor(shape, v),
        TensorData::Uint32(v) => NativeValue::tensor(shape, v),
        TensorData::Uint64(v) => NativeValue::tensor(shape, v),
        TensorData::Bool(v) => NativeValue::tensor(shape, v),
        TensorData::String(v) => NativeValue::strings(shape, v),
    }
}

/// Copies an output out. `name` is the output's, for the error.
pub(super) fn from_native(value: Option<NativeValue<'_>>, name: &str) -> Result<Value, Error> {
    let Some(value) = value else { return Ok(Value::Absent) };
    copy(&value).map_err(|reason| Error::Internal(format!("the output `{name}` can't be read: {}", reason.message())))
}

fn copy(value: &NativeValue<'_>) -> ort::Result<Value> {
    if !value.is_present()? {
        return Ok(Value::Absent);
    }
    match value.kind()? {
        Kind::Tensor => copy_tensor(value).map(Value::Tensor),
        Kind::Sequence => value.parts()?.iter().map(copy).collect::<ort::Result<_>>().map(Value::Sequence),
        Kind::Map => copy_map(value),
        Kind::Other => Err(ort::Error::new("it is neither a tensor, a sequence nor a map")),
    }
}

fn copy_map(value: &NativeValue<'_>) -> ort::Result<Value> {
    let parts = value.parts()?;
    let [keys, values] = parts.as_slice() else {
        return Err(ort::Error::new("a map has no keys and values"));
    };
    let scalars = |part| Ok::<_, ort::Error>(scalars(copy_tensor(part)?.data));
    let pairs = scalars(keys)?.into_iter().zip(scalars(values)?);
    Ok(Value::Map(pairs.map(|(key, value)| (key, Value::Tensor(value))).collect()))
}

/// Each element as a tensor of rank 0.
fn scalars(data: TensorData) -> Vec<Tensor> {
    fn each<T: Element>(elements: Vec<T>) -> Vec<Tensor> {
        elements.into_iter().map(|element| Tensor { shape: Vec::new(), data: T::wrap(vec![element]) }).collect()
    }
    crate::tensor::each_type!(data, elements => each(elements))
}

fn copy_tensor(value: &NativeValue<'_>) -> ort::Result<Tensor> {
    let (element_type, shape) = value.tensor_type()?;
    let count = element_count(&shape).ok_or_else(|| ort::Error::new("its shape overflows"))?;
    let data = match element_type {
        Some(ElementType::Float32) => f32::wrap(value.elements(count)?),
        Some(ElementType::Float64) => f64::wrap(value.elements(count)?),
        Some(ElementType::Float16) => half::f16::wrap(value.elements(count)?),
        Some(ElementType::Bfloat16) => half::bf16::wrap(value.elements(count)?),
        Some(ElementType::Int8) => i8::wrap(value.elements(count)?),
        Some(ElementType::Int16) => i16::wrap(value.elements(count)?),
        Some(ElementType::Int32) => i32::wrap(value.elements(count)?),
        Some(ElementType::Int64) => i64::wrap(value.elements(count)?),
        Some(ElementType::Uint8) => u8::wrap(value.elements(count)?),
        Some(ElementType::Uint16) => u16::wrap(value.elements(count)?),
        Some(ElementType::Uint32) => u32::wrap(value.elements(count)?),
        Some(ElementType::Uint64) => u64::wrap(value.elements(count)?),
        Some(ElementType::Bool) => bool::wrap(value.bool_elements(count)?),
        Some(ElementType::String) => Bytes::wrap(value.string_elements(count)?),
        Some(other) => {
            let packed = value.elements::<u8>(narrow::packed_len(other, count))?;
            narrow::unpack(other, &packed, count)
                .ok_or_else(|| ort::Error::new(format!("elements of type {other} can't be served")))?
        }
        None => return Err(ort::Error::new("its element type is unknown")),
    };
    Ok(Tensor { shape, data })
}
