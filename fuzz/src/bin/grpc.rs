//! Any bytes as what a client of gRPC sends: messages are the same however the bytes come, and one that is read as a
//! request is the request that protobuf's own code reads; answered with its own values, it gives an answer that both
//! read alike.
//!
//! The first byte says how the body comes: its upper two bits how compressed messages are compressed, the rest how many
//! bytes at once.

#![no_main]

use std::sync::LazyLock;

use bytes::Bytes;
use libfuzzer_sys::fuzz_target;
use nimify_fuzz::codec::v2::protobuf::messages::model_infer_request::InferInputTensor;
use nimify_fuzz::codec::v2::protobuf::messages::model_infer_response::InferOutputTensor;
use nimify_fuzz::codec::v2::protobuf::messages::{ModelInferRequest, ModelInferResponse, ModelStreamInferResponse};
use nimify_fuzz::codec::v2::protobuf::{Answer, Envelope, In};
use nimify_fuzz::codec::v2::{InferRequest, ModelName};
use nimify_fuzz::grpc::{framed, messages};
use nimify_fuzz::signature::ModelSignature;
use nimify_fuzz::tensor::Value;
use prost::Message;
use tokio::runtime::{Builder, Runtime};

/// A message may have so many bytes, compressed or not.
const MOST: usize = 1 << 20;

/// Each way to carry an element once. The outputs are the inputs, so that what was read can be written.
static SIGNATURE: LazyLock<ModelSignature> = LazyLock::new(|| {
    let types = ["float32", "float64", "float16", "int8", "int64", "uint16", "uint64", "bool", "string"];
    let tensors = types.map(|name| {
        let shape = if name == "string" { "null" } else { "[null, null]" };
        let element = format!(r#"{{"kind": "tensor", "elementType": "{name}", "shape": {shape}}}"#);
        format!(r#"{{"name": "{name}", "kind": "optional", "element": {element}}}"#)
    });
    let values = tensors.join(",");
    let batching = r#"{"verdict": "unproved", "reason": "-"}"#;
    let text = format!(r#"{{"inputs": [{values}], "outputs": [{values}], "batching": {batching}}}"#);
    serde_json::from_str(&text).expect("the signature is right")
});

/// What waits for bytes, though they are there.
static RUNTIME: LazyLock<Runtime> =
    LazyLock::new(|| Builder::new_current_thread().enable_time().build().expect("a clock is all it has"));

fuzz_target!(|bytes: &[u8]| {
    let Some((&how, body)) = bytes.split_first() else { return };
    let encoding = ["identity", "gzip", "deflate", "zstd"][usize::from(how >> 6)];
    let read = |part: usize| {
        let parts = body.chunks(part).map(Bytes::copy_from_slice).collect();
        RUNTIME.block_on(messages(parts, encoding, MOST))
    };
    let (taken, end) = read(body.len().max(1));
    assert_eq!(read(usize::from(how & 0x3f) + 1), (taken.clone(), end));
    if encoding == "identity" {
        let again: Vec<u8> = taken.iter().flat_map(|message| in_frame(message)).collect();
        assert_eq!(body[..again.len()], again);
    }
    for message in taken {
        assert!(message.len() <= MOST);
        request(&message);
    }
});

fn in_frame(message: &[u8]) -> Vec<u8> {
    framed(message.len(), |out| out.extend_from_slice(message))
}

fn decode(message: &[u8]) -> Option<InferRequest> {
    Envelope::read(message, &SIGNATURE).and_then(|envelope| envelope.decode(&SIGNATURE)).ok()
}

fn request(message: &[u8]) {
    let judged = ModelInferRequest::decode(message);
    let Some(request) = decode(message) else { return };
    assert_eq!(request.inputs.len(), SIGNATURE.inputs.len());
    let written = answered(&request);
    // Compared as they are written: a NaN isn't itself.
    if let Ok(judged) = judged {
        let again = decode(&judged.encode_to_vec()).expect("what protobuf's own code writes is read");
        assert_eq!((&again.id, &again.outputs, again.urgency), (&request.id, &request.outputs, request.urgency));
        assert_eq!(answered(&again), written);
    }
}

/// The answer to a request with its own values, which has to be the same request again.
fn answered(request: &InferRequest) -> Vec<u8> {
    let model = ModelName { name: "m", version: "1" };
    let answer = |request: &InferRequest, kind| {
        let answer = Answer::new(model, request, &request.inputs, &SIGNATURE, kind);
        let mut out = Vec::new();
        answer.write(&mut out);
        assert_eq!(out.len(), answer.len());
        out
    };
    let written = answer(request, In::Response);
    let response = ModelInferResponse::decode(&*written).expect("an answer is protobuf");
    let stream = answer(request, In::Stream);
    let stream = ModelStreamInferResponse::decode(&*stream).expect("an answer is protobuf").infer_response;
    let mut stream = stream.expect("a stream's answer has one inside");
    stream.parameters.clear();
    assert_eq!(stream.encode_to_vec(), response.encode_to_vec());
    // Classes are texts, and what isn't there is said in JSON: neither is an input again.
    let is_input = |k: &usize| {
        let output = &request.outputs[*k];
        output.classes == 0 && request.inputs[output.index] != Value::Absent
    };
    let given: Vec<usize> = (0..request.outputs.len()).filter(is_input).collect();
    let outputs: Vec<_> = given.iter().map(|k| request.outputs[*k]).collect();
    let input = |k: &usize| {
        let InferOutputTensor { name, datatype, shape, .. } = response.outputs[*k].clone();
        InferInputTensor { name, datatype, shape, ..Default::default() }
    };
    let again = ModelInferRequest {
        id: response.id.clone(),
        inputs: given.iter().map(input).collect(),
        raw_input_contents: given.iter().map(|k| response.raw_output_contents[*k].clone()).collect(),
        ..Default::default()
    };
    let mut again = decode(&again.encode_to_vec()).expect("what was answered is read");
    again.outputs.clone_from(&outputs);
    let request = InferRequest { outputs, ..request.clone() };
    assert_eq!(answer(&again, In::Response), answer(&request, In::Response));
    written
}
