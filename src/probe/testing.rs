//! Signatures in a line, for this module's tests.

use std::collections::BTreeMap;

use nimify_runtime::signature::{Batching, Dim, ElementType, ModelSignature, Shape, ValueSpec, ValueType};

use super::values::Known;
use crate::model::Hint;

/// A signature without hints.
pub(super) fn known(signature: &ModelSignature) -> Known<'_> {
    const NONE: &BTreeMap<String, Hint> = &BTreeMap::new();
    Known { signature, hints: NONE }
}

/// A tensor whose shape is written `N,3,?`: a size, a name or `?` each; `` is a scalar and `...` any rank.
pub(super) fn tensor(name: &str, element_type: ElementType, dims: &str) -> ValueSpec {
    let dim = |text: &str| match (text, text.parse()) {
        ("?", _) => Dim::Unknown,
        (_, Ok(size)) => Dim::Fixed(size),
        _ => Dim::Symbolic(text.into()),
    };
    let shape = match dims {
        "..." => None,
        "" => Some(vec![]),
        _ => Some(dims.split(',').map(dim).collect()),
    };
    ValueSpec { name: name.into(), value_type: ValueType::Tensor { element_type, shape: Shape(shape) } }
}

/// A signature whose verdict is still open.
pub(super) fn signature(
    inputs: impl IntoIterator<Item = ValueSpec>,
    outputs: impl IntoIterator<Item = ValueSpec>,
) -> ModelSignature {
    ModelSignature {
        inputs: inputs.into_iter().collect(),
        outputs: outputs.into_iter().collect(),
        batching: Batching::Unproved { reason: "not tried".into() },
    }
}
