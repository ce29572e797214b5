//! A sequence without elements as an input: ONNX Runtime makes sequences of their elements, and so none of none; but a
//! graph of one operator gives such a value, and what a run gave can go into another.

use ort::session::Session;

use super::native::{self, Names, NativeValue};
use super::{library, message};
use crate::signature::ElementType;

/// An empty sequence of tensors of this type. Rare enough to be made anew each time, in about a millisecond.
pub(super) fn sequence<'data>(element_type: ElementType) -> ort::Result<NativeValue<'data>> {
    let environment = library::environment().map_err(|error| ort::Error::new(error.to_string()))?;
    let session = Session::builder(environment)?
        .with_intra_threads(1)?
        .with_inter_threads(1)?
        .commit_from_memory(&model(element_type))
        .map_err(|error| {
            ort::Error::new(format!("no empty sequence of {element_type}: {}", message::clean(error.message())))
        })?;
    let (none, output) = (Names::new(Vec::new()), Names::new(vec![OUTPUT.into()]));
    let outputs = native::given(&none, Vec::new(), |nothing| native::run(&session, &nothing, &output, false))?;
    outputs.into_iter().next().flatten().ok_or_else(|| ort::Error::new("an empty sequence is missing"))
}

const OUTPUT: &std::ffi::CStr = c"s";

/// An ONNX model of the one node `s = SequenceEmpty(dtype)`.
fn model(element_type: ElementType) -> Vec<u8> {
    let number = u8::try_from(element_type.onnx()).expect("ONNX has some 30 element types");
    let name = OUTPUT.to_bytes();
    // AttributeProto: name, i, type = INT.
    let dtype = [message_field(1, b"dtype"), vec![3 << 3, number, 0xa0, 0x01, 2]].concat();
    // NodeProto: output, op_type, attribute.
    let node = [message_field(2, name), message_field(4, b"SequenceEmpty"), message_field(5, &dtype)].concat();
    // TypeProto: sequence_type { elem_type { tensor_type { elem_type } } }.
    let kind = message_field(4, &message_field(1, &message_field(1, &[1 << 3, number])));
    // ValueInfoProto: name, type.
    let output = [message_field(1, name), message_field(2, &kind)].concat();
    // GraphProto: node, name, output.
    let graph = [message_field(1, &node), message_field(2, b"empty"), message_field(12, &output)].concat();
    // ModelProto: ir_version 8, opset_import { version 13 }, graph.
    [vec![1 << 3, 8], message_field(8, &[2 << 3, 13]), message_field(7, &graph)].concat()
}

/// A field of protobuf that holds bytes, fewer than 128.
fn message_field(number: u8, content: &[u8]) -> Vec<u8> {
    let length = u8::try_from(content.len()).ok().filter(|length| *length < 128).expect("the model is tiny");
    [&[number << 3 | 2, length], content].concat()
}
