//! Writing an answer: JSON, and the raw tensors behind it.

use std::borrow::Cow;

use super::super::{binary, write};
use super::{InferRequest, ModelName, classify};
use crate::signature::ModelSignature;
use crate::tensor::{Tensor, TensorData, Value};

/// Writes an answer: one value an output in the signature's order, of which the request's are taken. The number is the
/// length of the JSON, for the header `Inference-Header-Content-Length`, where raw tensors follow it.
pub fn encode(
    model: ModelName<'_>,
    request: &InferRequest,
    outputs: &[Value],
    signature: &ModelSignature,
) -> (Vec<u8>, Option<usize>) {
    let mut out = Vec::new();
    out.extend_from_slice(b"{\"model_name\":");
    write::string(&mut out, model.name);
    out.extend_from_slice(b",\"model_version\":");
    write::string(&mut out, model.version);
    if let Some(id) = &request.id {
        out.extend_from_slice(b",\"id\":");
        write::string(&mut out, id);
    }
    out.extend_from_slice(b",\"outputs\":[");
    let mut blobs = Vec::new();
    for (k, requested) in request.outputs.iter().enumerate() {
        let (Some(value), Some(spec)) = (outputs.get(requested.index), signature.outputs.get(requested.index)) else {
            continue;
        };
        if k > 0 {
            out.push(b',');
        }
        let (mut tensor, is_json) = as_tensor(value);
        if requested.classes > 0 {
            tensor = Cow::Owned(classify(&tensor, requested.classes, signature));
        }
        write_output(&mut out, &spec.name, &tensor, requested.binary, is_json);
        if requested.binary {
            blobs.push(tensor);
        }
    }
    out.extend_from_slice(b"]}");
    let length = out.len();
    if blobs.is_empty() {
        return (out, None);
    }
    out.reserve(blobs.iter().map(|tensor| binary::encoded_len(&tensor.data)).sum());
    blobs.iter().for_each(|tensor| binary::encode(&tensor.data, &mut out));
    (out, Some(length))
}

/// One of the answer's `outputs`.
fn write_output(out: &mut Vec<u8>, name: &str, tensor: &Tensor, raw: bool, is_json: bool) {
    // Strings that aren't text can't stand in JSON; all of a tensor's go the same way.
    let base64 = match &tensor.data {
        TensorData::String(strings) if !raw => strings.iter().any(|string| std::str::from_utf8(string).is_err()),
        _ => false,
    };
    out.extend_from_slice(b"{\"name\":");
    write::string(out, name);
    out.extend_from_slice(b",\"datatype\":");
    write::string(out, tensor.element_type().datatype().unwrap_or("BYTES"));
    out.extend_from_slice(b",\"shape\":");
    serde_json::to_writer(&mut *out, &tensor.shape).expect("a vector takes any numbers");
    let content_type = if base64 { Some("base64") } else { is_json.then_some("application/json") };
    if raw || content_type.is_some() {
        out.extend_from_slice(b",\"parameters\":{");
        if let Some(content_type) = content_type {
            out.extend_from_slice(b"\"content_type\":");
            write::string(out, content_type);
        }
        if raw {
            let comma = if content_type.is_some() { "," } else { "" };
            let size = binary::encoded_len(&tensor.data);
            out.extend_from_slice(format!("{comma}\"binary_data_size\":{size}").as_bytes());
        }
        out.push(b'}');
    }
    match &tensor.data {
        _ if raw => {}
        TensorData::String(strings) if base64 => {
            out.extend_from_slice(b",\"data\":[");
            for (k, string) in strings.iter().enumerate() {
                if k > 0 {
                    out.push(b',');
                }
                write::base64(out, string);
            }
            out.push(b']');
        }
        _ => {
            out.extend_from_slice(b",\"data\":");
            write::flat(out, tensor);
        }
    }
    out.push(b'}');
}

/// The value as the tensor that the protocol carries, and whether that holds JSON texts.
pub(super) fn as_tensor(value: &Value) -> (Cow<'_, Tensor>, bool) {
    let text = |value: &Value| {
        let mut out = Vec::new();
        write::value(&mut out, value);
        out
    };
    let texts: Vec<Vec<u8>> = match value {
        Value::Tensor(tensor) => return (Cow::Borrowed(tensor), false),
        Value::Sequence(values) => values.iter().map(text).collect(),
        other => vec![text(other)],
    };
    (Cow::Owned(Tensor { shape: vec![texts.len()], data: TensorData::String(texts) }), true)
}
