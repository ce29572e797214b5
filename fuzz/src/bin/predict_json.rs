//! Any bytes as the body of a prediction: what is read fits the signature and is written as JSON that is read alike.

#![no_main]

use std::sync::LazyLock;

use libfuzzer_sys::fuzz_target;
use nimify_fuzz::codec::predict::{decode, encode};
use nimify_fuzz::signature::ModelSignature;

/// Each kind of value once. The outputs are the inputs, so that what was read can be written.
static SIGNATURE: LazyLock<ModelSignature> = LazyLock::new(|| {
    let values = r#"[
        {"name": "x", "kind": "tensor", "elementType": "float32", "shape": ["N", 2]},
        {"name": "i", "kind": "tensor", "elementType": "int64", "shape": [null]},
        {"name": "s", "kind": "tensor", "elementType": "string", "shape": null}
    ]"#;
    let text =
        format!(r#"{{"inputs": {values}, "outputs": {values}, "batching": {{"verdict": "unproved", "reason": "-"}}}}"#);
    serde_json::from_str(&text).expect("the signature is right")
});

fuzz_target!(|bytes: &[u8]| {
    let Ok(values) = decode(bytes, &SIGNATURE) else { return };
    let mut written = Vec::new();
    encode(&values, &SIGNATURE, &mut written);
    let again = decode(&written, &SIGNATURE);
    let again = again.unwrap_or_else(|error| panic!("{error} in {}", String::from_utf8_lossy(&written)));
    let mut rewritten = Vec::new();
    encode(&again, &SIGNATURE, &mut rewritten);
    assert_eq!(written, rewritten);
});
