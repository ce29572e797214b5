//! Any bytes as a request of the Open Inference Protocol, JSON and raw tensors: what is read fits the signature, and
//! answered with itself gives an answer that is read alike as a request.
//!
//! The first two bytes say how much of the rest is JSON, as the header would: 0xffff stands for no header.

#![no_main]

use std::sync::LazyLock;

use libfuzzer_sys::fuzz_target;
use nimify_fuzz::codec::v2::{ModelName, decode, encode};
use nimify_fuzz::signature::ModelSignature;

const MODEL: ModelName<'_> = ModelName { name: "m", version: "1" };

fn signature(values: &str) -> ModelSignature {
    let text =
        format!(r#"{{"inputs": {values}, "outputs": {values}, "batching": {{"verdict": "unproved", "reason": "-"}}}}"#);
    serde_json::from_str(&text).expect("the signature is right")
}

/// Each kind of value once. The outputs are the inputs, so that what was read can be written.
static SEVERAL: LazyLock<ModelSignature> = LazyLock::new(|| {
    signature(
        r#"[
        {"name": "x", "kind": "tensor", "elementType": "float32", "shape": ["N", 2]},
        {"name": "b", "kind": "tensor", "elementType": "bool", "shape": [null]},
        {"name": "s", "kind": "tensor", "elementType": "string", "shape": null},
        {"name": "q", "kind": "sequence", "element": {"kind": "tensor", "elementType": "int64", "shape": [null]}}
    ]"#,
    )
});

/// One input, which a body without JSON stands for.
static ONE: LazyLock<ModelSignature> =
    LazyLock::new(|| signature(r#"[{"name": "x", "kind": "tensor", "elementType": "float64", "shape": [null, 3]}]"#));

fuzz_target!(|bytes: &[u8]| {
    let Some((&[low, high], body)) = bytes.split_first_chunk() else { return };
    let length = Some(usize::from(u16::from_le_bytes([low, high]))).filter(|&length| length != 0xffff);
    let signature: &ModelSignature = if length == Some(0) { &ONE } else { &SEVERAL };
    let Ok(request) = decode(body, length, signature) else { return };
    assert_eq!(request.inputs.len(), signature.inputs.len());

    let (answer, json_length) = encode(MODEL, &request, &request.inputs, signature);
    let (json, raw) = answer.split_at(json_length.unwrap_or(answer.len()));
    let mut json: serde_json::Value = serde_json::from_slice(json).expect("an answer is JSON");
    let outputs = json["outputs"].take();
    let mut asked: Vec<_> = request.outputs.iter().map(|output| output.index).collect();
    asked.sort_unstable();
    if asked != (0..signature.outputs.len()).collect::<Vec<_>>() {
        return;
    }
    let mut body = serde_json::json!({ "inputs": outputs }).to_string().into_bytes();
    let length = json_length.map(|_| body.len());
    body.extend_from_slice(raw);
    let mut again = decode(&body, length, signature)
        .unwrap_or_else(|error| panic!("{error} in {}", String::from_utf8_lossy(&body)));
    (again.id, again.outputs) = (request.id.clone(), request.outputs.clone());
    assert_eq!(encode(MODEL, &again, &again.inputs, signature), (answer, json_length));
});
