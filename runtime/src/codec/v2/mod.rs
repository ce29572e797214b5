//! The Open Inference Protocol v2 over HTTP: JSON, its binary tensors, and a raw body for models of one input.
//!
//! Values that aren't tensors have no form in the protocol; they travel as JSON texts in a `BYTES` tensor, one text an
//! element of a sequence and one for anything else.

mod answer;
mod classify;
mod raw;
mod request;

pub use answer::encode;
pub use classify::classify;

use super::json::Reader;
use super::read;
use crate::error::Error;
use crate::inference::Urgency;
use crate::signature::{ElementType, ModelSignature, ValueSpec, ValueType};
use crate::tensor::{Tensor, TensorData, Value};

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
}

/// An output that a request asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RequestedOutput {
    /// Which of the signature's outputs.
    pub index: usize,
    /// As raw bytes behind the JSON, instead of in it.
    pub binary: bool,
    /// The largest so many elements of each row instead of the tensor itself, as [`classify`] gives them; 0 for the
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

fn all_outputs(signature: &ModelSignature, binary: bool) -> Vec<RequestedOutput> {
    (0..signature.outputs.len()).map(|index| RequestedOutput { index, binary, classes: 0 }).collect()
}

fn uneven(name: &str, element_type: ElementType, size: usize) -> Error {
    let datatype = element_type.datatype().unwrap_or("no such");
    Error::BadRequest(format!(
        "the input `{name}`: {size} bytes of binary data hold no whole number of {datatype} elements"
    ))
}

/// The value that a tensor of JSON texts stands for, where the model takes none as such.
fn from_texts(spec: &ValueSpec, tensor: Tensor) -> Result<Value, Error> {
    let value_type = spec.present();
    let texts = match (value_type, tensor.data) {
        (ValueType::Sequence { .. } | ValueType::Map { .. }, TensorData::String(texts)) => texts,
        (_, data) => return Ok(Value::Tensor(Tensor { shape: tensor.shape, data })),
    };
    let read = |text: &Vec<u8>, value_type: &ValueType| {
        let mut reader = Reader::new(text)?;
        let value = read::read_value(&mut reader, &spec.name, value_type)?;
        reader.end().map(|()| value).map_err(|e| read::bad_request(&reader, &spec.name, &[], value_type, &e))
    };
    match (value_type, texts.as_slice()) {
        (ValueType::Sequence { element }, texts) => {
            texts.iter().map(|text| read(text, element)).collect::<Result<_, _>>().map(Value::Sequence)
        }
        (_, [text]) => read(text, value_type),
        (_, texts) => {
            let text = format!("`{}` should be one JSON text of {value_type}; {} came", spec.name, texts.len());
            Err(Error::BadRequest(text))
        }
    }
}

#[cfg(test)]
mod tests;
