//! The Open Inference Protocol v2: JSON, its binary tensors, and a raw body for models of one input, as HTTP carries
//! them; protobuf, as gRPC does.
//!
//! Values that aren't tensors have no form in the protocol; they travel as JSON texts in a `BYTES` tensor, one text an
//! element of a sequence and one for anything else.

mod answer;
mod classify;
mod parts;
pub mod protobuf;
mod raw;
mod request;

pub use answer::encode;
pub use classify::classify;

use crate::error::Error;
use crate::inference::Urgency;
use crate::signature::ModelSignature;
use crate::state::Sequence;
use crate::tensor::Value;

/// What a request asks for.
#[derive(Debug, Clone, PartialEq)]
pub struct InferRequest {
    /// To be said again in the answer.
    pub id: Option<String>,
    /// One value an input in the signature's order, each of which fits the signature.
    pub inputs: Vec<Value>,
    /// The outputs that the answer should carry, in this order: all of them where the request names none.
    pub outputs: Vec<RequestedOutput>,
    /// The parameters `priority` and `timeout` of the schedule extension.
    pub urgency: Urgency,
    /// The parameters `sequence_id`, `sequence_start` and `sequence_end`.
    pub sequence: Sequence,
}

/// An output that a request asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RequestedOutput {
    /// Which of the signature's outputs.
    pub index: usize,
    /// As raw bytes behind the JSON, instead of in it.
    pub binary: bool,
    /// The largest so many elements of each row instead of the tensor itself, as [`classify()`] gives them; 0 for the
    /// tensor.
    pub classes: usize,
}

/// Who answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ModelName<'m> {
    /// The model's name.
    pub name: &'m str,
    /// Its version.
    pub version: &'m str,
}

/// Reads a request. `json_length` is the header `Inference-Header-Content-Length`: how much of the body is JSON, the
/// rest being raw tensors; at 0 all of the body is the one input's raw tensor.
///
/// Whatever is wrong is an [`Error::BadRequest`] that names the tensor, and an [`Error::Unsupported`] where something
/// is asked for that isn't built in.
pub fn decode(body: &[u8], json_length: Option<usize>, signature: &ModelSignature) -> Result<InferRequest, Error> {
    let (json, blobs) = match json_length {
        Some(0) => return raw::decode(body, signature),
        None => (body, &[][..]),
        Some(length) => body.split_at_checked(length).ok_or_else(|| {
            let text = "bytes of JSON in `Inference-Header-Content-Length` and";
            Error::BadRequest(format!("the request says {length} {text} its body has {}", body.len()))
        })?,
    };
    request::Request::decode(json, blobs, signature)
}

#[cfg(test)]
mod tests;
