//! Writing an answer: measured first, so that the outputs are copied once, into a buffer of the right size.

use std::borrow::Cow;

use prost::encoding::{encode_varint, encoded_len_varint};

use super::super::super::binary;
use super::super::answer::as_tensor;
use super::super::{InferRequest, ModelName, classify};
use crate::signature::ModelSignature;
use crate::tensor::{Tensor, Value};

/// In which message an answer travels.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum In {
    /// `ModelInferResponse`: the whole answer to a call.
    Response,
    /// `ModelStreamInferResponse`: one of a stream's answers, the only one to its request.
    Stream,
}

/// Kinds of fields, as the key in front of each says: a message, a text, bytes or packed numbers.
const BYTES: u8 = 2;

/// The parameter that marks JSON texts, and what says that no further answer to the same request follows: map entries
/// of a name (1) and an `InferParameter` (2).
const JSON_TEXTS: &[u8] = b"\x0a\x0ccontent_type\x12\x12\x1a\x10application/json";
const FINAL: &[u8] = b"\x0a\x15triton_final_response\x12\x02\x08\x01";

/// An answer, measured.
pub struct Answer<'a> {
    model: ModelName<'a>,
    id: &'a str,
    outputs: Vec<Output<'a>>,
    kind: In,
    response: usize,
}

struct Output<'a> {
    name: &'a str,
    tensor: Cow<'a, Tensor>,
    is_json: bool,
    /// Lengths: of the packed shape, of the message, of the raw bytes.
    shape: usize,
    message: usize,
    raw: usize,
}

impl<'a> Answer<'a> {
    /// An answer to `request`: one value an output in the signature's order, of which the request's are taken.
    pub fn new(
        model: ModelName<'a>,
        request: &'a InferRequest,
        outputs: &'a [Value],
        signature: &'a ModelSignature,
        kind: In,
    ) -> Answer<'a> {
        let id = request.id.as_deref().unwrap_or_default();
        let found = |index| Some((outputs.get(index)?, signature.outputs.get(index)?));
        let outputs: Vec<_> = request
            .outputs
            .iter()
            .filter_map(|requested| Some((found(requested.index)?, requested.classes)))
            .map(|((value, spec), classes)| {
                let (tensor, is_json) = as_tensor(value);
                if classes == 0 {
                    return Output::new(&spec.name, tensor, is_json);
                }
                Output::new(&spec.name, Cow::Owned(classify(&tensor, classes, signature)), is_json)
            })
            .collect();
        let lists: usize = outputs.iter().map(|output| field_len(output.message) + field_len(output.raw)).sum();
        let last = if kind == In::Stream { field_len(FINAL.len()) } else { 0 };
        let response = text_len(model.name) + text_len(model.version) + text_len(id) + last + lists;
        Answer { model, id, outputs, kind, response }
    }

    /// How many bytes [`Answer::write`] appends.
    pub fn len(&self) -> usize {
        match self.kind {
            In::Response => self.response,
            In::Stream => field_len(self.response),
        }
    }

    /// Whether it has no bytes: that of a model without a name would.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Appends the message.
    pub fn write(&self, out: &mut Vec<u8>) {
        out.reserve(self.len());
        if self.kind == In::Stream {
            head(out, 2, self.response);
        }
        text(out, 1, self.model.name);
        text(out, 2, self.model.version);
        text(out, 3, self.id);
        if self.kind == In::Stream {
            bytes(out, 4, FINAL);
        }
        self.outputs.iter().for_each(|output| output.write(out));
        for output in &self.outputs {
            head(out, 6, output.raw);
            binary::encode(&output.tensor.data, out);
        }
    }
}

impl<'a> Output<'a> {
    fn new(name: &'a str, tensor: Cow<'a, Tensor>, is_json: bool) -> Output<'a> {
        let shape = tensor.shape.iter().map(|&size| encoded_len_varint(size as u64)).sum();
        let parameters = if is_json { field_len(JSON_TEXTS.len()) } else { 0 };
        let packed = if shape == 0 { 0 } else { field_len(shape) };
        let message = text_len(name) + text_len(datatype(&tensor)) + packed + parameters;
        let raw = binary::encoded_len(&tensor.data);
        Output { name, tensor, is_json, shape, message, raw }
    }

    fn write(&self, out: &mut Vec<u8>) {
        head(out, 5, self.message);
        text(out, 1, self.name);
        text(out, 2, datatype(&self.tensor));
        if self.shape > 0 {
            head(out, 3, self.shape);
            self.tensor.shape.iter().for_each(|&size| encode_varint(size as u64, out));
        }
        if self.is_json {
            bytes(out, 4, JSON_TEXTS);
        }
    }
}

fn datatype(tensor: &Tensor) -> &'static str {
    tensor.element_type().datatype().unwrap_or("BYTES")
}

/// The length of a field of so many bytes. Every field number here is less than 16, and its key one byte.
fn field_len(length: usize) -> usize {
    1 + encoded_len_varint(length as u64) + length
}

/// A text that is empty isn't written.
fn text_len(text: &str) -> usize {
    if text.is_empty() { 0 } else { field_len(text.len()) }
}

fn head(out: &mut Vec<u8>, number: u8, length: usize) {
    out.push(number << 3 | BYTES);
    encode_varint(length as u64, out);
}

fn bytes(out: &mut Vec<u8>, number: u8, bytes: &[u8]) {
    head(out, number, bytes.len());
    out.extend_from_slice(bytes);
}

fn text(out: &mut Vec<u8>, number: u8, text: &str) {
    if !text.is_empty() {
        bytes(out, number, text.as_bytes());
    }
}
