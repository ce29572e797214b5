//! The types of a session's inputs and outputs, as ONNX Runtime reports them.

#![expect(unsafe_code, reason = "`ort` tells a scalar and a tensor of unknown rank apart only in the C API")]

use std::ffi::c_int;
use std::ptr;

use ort::AsPointer;
use ort::session::Session;
use ort::sys::{ONNXTensorElementDataType as T, OrtSession, OrtStatusPtr, OrtTypeInfo};
use ort::value::{Outlet, ValueType as OrtType};

use crate::signature::{Dim, ElementType, Shape, ValueSpec, ValueType};

/// The session's inputs without those that have an initializer, in the graph's order.
pub(super) fn inputs(session: &Session) -> ort::Result<Vec<ValueSpec>> {
    specs(session, session.inputs(), ort::api().SessionGetInputTypeInfo)
}

/// The session's outputs, in the graph's order.
pub(super) fn outputs(session: &Session) -> ort::Result<Vec<ValueSpec>> {
    specs(session, session.outputs(), ort::api().SessionGetOutputTypeInfo)
}

type GetTypeInfo = unsafe extern "system" fn(*const OrtSession, usize, *mut *mut OrtTypeInfo) -> OrtStatusPtr;

fn specs(session: &Session, ports: &[Outlet], type_info: GetTypeInfo) -> ort::Result<Vec<ValueSpec>> {
    let spec = |(k, port): (usize, &Outlet)| {
        let mut value_type = value_type(port.dtype());
        if let ValueType::Tensor { shape, .. } = &mut value_type
            && shape.dims().is_some_and(<[Dim]>::is_empty)
            && !has_shape(session, k, type_info)?
        {
            *shape = Shape(None);
        }
        Ok(ValueSpec { name: port.name().into(), value_type })
    };
    ports.iter().enumerate().map(spec).collect()
}

/// Whether the graph says a shape for its `k`th tensor: a scalar's is empty, but said.
fn has_shape(session: &Session, k: usize, type_info: GetTypeInfo) -> ort::Result<bool> {
    let api = ort::api();
    let (mut info, mut tensor) = (ptr::null_mut(), ptr::null());
    // SAFETY: `k` is below the session's count and the out pointers are valid. The tensor info belongs to the type info,
    // which is released after its last use, and is null where the type is no tensor.
    unsafe {
        ort::Error::result_from_status(type_info(session.ptr(), k, &mut info))?;
        let cast = ort::Error::result_from_status((api.CastTypeInfoToTensorInfo)(info, &mut tensor));
        let said = cast.map(|()| tensor.is_null() || (api.TensorTypeAndShape_HasShape)(tensor));
        (api.ReleaseTypeInfo)(info);
        said
    }
}

fn value_type(ty: &OrtType) -> ValueType {
    match ty {
        OrtType::Tensor { ty, shape, dimension_symbols } => {
            let dim = |(&size, symbol): (&i64, &String)| match u64::try_from(size) {
                Ok(size) => Dim::Fixed(size),
                Err(_) if symbol.is_empty() => Dim::Unknown,
                Err(_) => Dim::Symbolic(symbol.clone()),
            };
            let dims = shape.iter().zip(dimension_symbols.iter()).map(dim).collect();
            ValueType::Tensor { element_type: served_element(*ty), shape: Shape(Some(dims)) }
        }
        OrtType::Sequence(element) => ValueType::Sequence { element: Box::new(value_type(element)) },
        OrtType::Map { key, value } => {
            let value = ValueType::Tensor { element_type: served_element(*value), shape: Shape(Some(Vec::new())) };
            ValueType::Map { key: served_element(*key), value: Box::new(value), labels: Vec::new() }
        }
        OrtType::Optional(element) => ValueType::Optional { element: Box::new(value_type(element)) },
    }
}

fn served_element(ty: ort::value::TensorElementType) -> ElementType {
    // Undefined stands in no model that ONNX Runtime loads; complex numbers are refused by name like any other.
    element_type(T::from(ty) as c_int).unwrap_or(ElementType::Complex128)
}

/// The element type that ONNX Runtime gives this number, which is ONNX's own but for the latest few.
pub(super) fn element_type(number: c_int) -> Option<ElementType> {
    match number {
        n if n == T::ONNX_TENSOR_ELEMENT_DATA_TYPE_UINT2 as c_int => Some(ElementType::Uint2),
        n if n == T::ONNX_TENSOR_ELEMENT_DATA_TYPE_INT2 as c_int => Some(ElementType::Int2),
        n if n == T::ONNX_TENSOR_ELEMENT_DATA_TYPE_FLOAT8E8M0 as c_int => Some(ElementType::Float8E8M0),
        n => ElementType::from_onnx(n),
    }
}

/// ONNX Runtime's number of a narrow element type; `None` for the others.
pub(super) fn narrow_number(element_type: ElementType) -> Option<T> {
    Some(match element_type {
        ElementType::Float8E4M3FN => T::ONNX_TENSOR_ELEMENT_DATA_TYPE_FLOAT8E4M3FN,
        ElementType::Float8E4M3FNUZ => T::ONNX_TENSOR_ELEMENT_DATA_TYPE_FLOAT8E4M3FNUZ,
        ElementType::Float8E5M2 => T::ONNX_TENSOR_ELEMENT_DATA_TYPE_FLOAT8E5M2,
        ElementType::Float8E5M2FNUZ => T::ONNX_TENSOR_ELEMENT_DATA_TYPE_FLOAT8E5M2FNUZ,
        ElementType::Float8E8M0 => T::ONNX_TENSOR_ELEMENT_DATA_TYPE_FLOAT8E8M0,
        ElementType::Float4E2M1 => T::ONNX_TENSOR_ELEMENT_DATA_TYPE_FLOAT4E2M1,
        ElementType::Uint4 => T::ONNX_TENSOR_ELEMENT_DATA_TYPE_UINT4,
        ElementType::Int4 => T::ONNX_TENSOR_ELEMENT_DATA_TYPE_INT4,
        ElementType::Uint2 => T::ONNX_TENSOR_ELEMENT_DATA_TYPE_UINT2,
        ElementType::Int2 => T::ONNX_TENSOR_ELEMENT_DATA_TYPE_INT2,
        _ => return None,
    })
}

/// Whether requests and answers can carry values of this type.
pub(super) fn served(value_type: &ValueType) -> bool {
    let element = |element_type: ElementType| element_type.carrier().is_some();
    match value_type {
        ValueType::Tensor { element_type, .. } => element(*element_type),
        ValueType::SparseTensor { .. } => false,
        ValueType::Sequence { element } | ValueType::Optional { element } => served(element),
        ValueType::Map { key, value, .. } => element(*key) && served(value),
    }
}

/// Whether two descriptions can be of the same tensor: same kind, same element type, no contradiction in the shape.
pub(super) fn agree(one: &ValueType, other: &ValueType) -> bool {
    match (one, other) {
        (ValueType::Tensor { element_type: a, shape: one }, ValueType::Tensor { element_type: b, shape: other }) => {
            a == b && shapes_agree(one, other)
        }
        (ValueType::Sequence { element: one }, ValueType::Sequence { element: other })
        | (ValueType::Optional { element: one }, ValueType::Optional { element: other }) => agree(one, other),
        (ValueType::Map { key: a, value: one, .. }, ValueType::Map { key: b, value: other, .. }) => {
            // ONNX Runtime doesn't say the shape of a map's values.
            let element = |value: &ValueType| match value {
                ValueType::Tensor { element_type, .. } => Some(*element_type),
                _ => None,
            };
            a == b && element(one) == element(other)
        }
        _ => false,
    }
}

fn shapes_agree(one: &Shape, other: &Shape) -> bool {
    let (Some(one), Some(other)) = (one.dims(), other.dims()) else { return true };
    let dims_agree = |(a, b): (&Dim, &Dim)| !matches!((a, b), (Dim::Fixed(a), Dim::Fixed(b)) if a != b);
    one.len() == other.len() && one.iter().zip(other).all(dims_agree)
}
