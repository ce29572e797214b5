//! Any bytes as the head of a TensorRT engine, as what Triton's configuration beside one says, and as the words in which
//! a user tells a tensor: read, and told again alike, or refused.

#![no_main]

use libfuzzer_sys::fuzz_target;
use nimify_fuzz::model::{parse_tensor, read_engine_header, tensor_text};
use nimify_fuzz::triton;

fuzz_target!(|bytes: &[u8]| {
    if let Ok(header) = read_engine_header(bytes, bytes.len() as u64) {
        assert!(header.offset < bytes.len() as u64);
    }
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    if let Ok(config) = triton::read(text)
        && let Ok((inputs, outputs)) = config.tensors()
    {
        assert!(inputs.iter().chain(&outputs).all(|spec| spec.tensor().is_some()));
    }
    if let Ok(spec) = parse_tensor(text) {
        let told = tensor_text(&spec).expect("what is told has a rank");
        assert_eq!(parse_tensor(&told), Ok(spec));
    }
});
