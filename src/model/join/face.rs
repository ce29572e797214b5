//! What the graph says of the tensors that it takes and gives, and of those that go from step to step.

use nimify_runtime::signature::{Dim, Shape, ValueType};

use super::rewrite::Names;
use super::rope::{Rope, build};
use super::wiring::{End, narrow};

/// `ValueInfoProto` of one tensor: what all of these agree on. Its type is left out where there are none.
pub(super) fn info<'a, 'e>(name: &str, ends: impl Iterator<Item = &'e End<'e>>, names: &[Names<'_>]) -> Rope<'a> {
    let mut agreed: Option<ValueType> = None;
    for (at, spec) in ends {
        let own = renamed(&spec.value_type, &names[*at]);
        match &mut agreed {
            None => agreed = Some(own),
            Some(known) => narrow(known, own),
        }
    }
    build(|info| {
        info.text(1, name);
        if let Some(agreed) = agreed {
            info.message(2, type_proto(&agreed));
        }
    })
}

/// The type with the names that its sizes have in the joined graph.
fn renamed(value_type: &ValueType, names: &Names<'_>) -> ValueType {
    let mut value_type = value_type.clone();
    let mut inner = &mut value_type;
    loop {
        match inner {
            ValueType::Tensor { shape, .. } | ValueType::SparseTensor { shape, .. } => {
                for dim in shape.0.iter_mut().flatten() {
                    if let Dim::Symbolic(name) = dim {
                        *name = names.dim(name);
                    }
                }
                return value_type;
            }
            ValueType::Sequence { element } | ValueType::Optional { element } => inner = element,
            ValueType::Map { value, .. } => inner = value,
        }
    }
}

/// `TypeProto`.
fn type_proto<'a>(value_type: &ValueType) -> Rope<'a> {
    match value_type {
        ValueType::Tensor { element_type, shape } => Rope::of(1, tensor_type(element_type.onnx(), shape)),
        ValueType::SparseTensor { element_type, shape } => Rope::of(8, tensor_type(element_type.onnx(), shape)),
        ValueType::Sequence { element } => Rope::of(4, Rope::of(1, type_proto(element))),
        ValueType::Optional { element } => Rope::of(9, Rope::of(1, type_proto(element))),
        ValueType::Map { key, value, .. } => {
            let map = build(|map| {
                map.int(1, key.onnx().into()).message(2, type_proto(value));
            });
            Rope::of(5, map)
        }
    }
}

/// `TypeProto.Tensor`.
fn tensor_type<'a>(element_type: i32, shape: &Shape) -> Rope<'a> {
    build(|tensor| {
        tensor.int(1, element_type.into());
        if let Some(dims) = shape.dims() {
            let mut sizes = Rope::default();
            for dim in dims {
                let size = build(|size| match dim {
                    Dim::Fixed(number) => {
                        size.int(1, i64::try_from(*number).unwrap_or(i64::MAX));
                    }
                    Dim::Symbolic(name) => {
                        size.text(2, name);
                    }
                    Dim::Unknown => {}
                });
                sizes.message(1, size);
            }
            tensor.message(2, sizes);
        }
    })
}
