//! Any bytes as a model in ONNX Runtime's own format: reading them ends, in a description or in an error, and never in a
//! panic.

#![no_main]

use libfuzzer_sys::fuzz_target;
use nimify_fuzz::model::{Limits, read_ort};

fuzz_target!(|bytes: &[u8]| {
    match read_ort(bytes, &Limits::default()) {
        Ok(contents) => {
            serde_json::to_string(&contents).expect("what is read of a model is JSON");
        }
        Err(fault) => drop((fault.to_string(), fault.hint())),
    }
});
