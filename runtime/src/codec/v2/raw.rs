//! A body that is one tensor's bytes, without any JSON.

use super::super::check;
use super::InferRequest;
use super::parts::{self, all_outputs, from_texts};
use crate::error::Error;
use crate::inference::Urgency;
use crate::signature::{Dim, ElementType, ModelSignature, ValueSpec};
use crate::state::Sequence;
use crate::tensor::{Tensor, TensorData, element_count};

/// A body that is the one input's tensor and nothing else, answered in kind.
pub(super) fn decode(body: &[u8], signature: &ModelSignature) -> Result<InferRequest, Error> {
    let [spec] = signature.inputs.as_slice() else {
        let text = "a raw body (`Inference-Header-Content-Length: 0`) is for models of one input";
        return Err(Error::BadRequest(format!("{text}, and this one has {}", signature.inputs.len())));
    };
    let element_type = spec.wire_type();
    let data = match element_type {
        // Triton's rule: the body is one string.
        ElementType::String => TensorData::String(vec![body.to_vec()]),
        _ => parts::raw(spec, element_type, body)?,
    };
    let shape = open_shape(spec, data.len()).ok_or_else(|| {
        let text = format!("a raw body of {} elements leaves the shape of `{}` open", data.len(), spec.name);
        Error::BadRequest(format!("{text}: it should be {}", spec.value_type))
    })?;
    let inputs = vec![from_texts(spec, Tensor { shape, data })?];
    check(&inputs, signature)?;
    Ok(InferRequest {
        id: None,
        urgency: Urgency::default(),
        sequence: Sequence::default(),
        inputs,
        outputs: all_outputs(signature, true),
    })
}

/// The shape of so many elements, where the signature leaves one size open at most.
fn open_shape(spec: &ValueSpec, count: usize) -> Option<Vec<usize>> {
    let Some((_, shape)) = spec.tensor() else { return Some(vec![count]) };
    let Some(dims) = shape.dims() else { return Some(vec![count]) };
    let fixed = |dim: &Dim| match dim {
        Dim::Fixed(size) => usize::try_from(*size).ok(),
        _ => None,
    };
    let known = element_count(&dims.iter().filter_map(fixed).collect::<Vec<_>>())?;
    let open = dims.iter().filter(|dim| fixed(dim).is_none()).count();
    let size = match open {
        0 => 1,
        1 => count.checked_div(known)?,
        // Several open sizes of one element can only be 1.
        _ if count == 1 && known == 1 => 1,
        _ => return None,
    };
    let shape: Vec<usize> = dims.iter().map(|dim| fixed(dim).unwrap_or(size)).collect();
    (element_count(&shape) == Some(count)).then_some(shape)
}
