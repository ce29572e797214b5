//! Any bytes as a model file: reading them ends, in a description or in an error, and never in a panic.

#![no_main]

use libfuzzer_sys::fuzz_target;
use nimify_fuzz::digest::Digest;
use nimify_fuzz::model::{Format, Limits, ModelDescription, read, text};

fuzz_target!(|bytes: &[u8]| {
    match read(bytes, &Limits::default()) {
        Ok(contents) => {
            assert!(!contents.signature.outputs.is_empty());
            let description = ModelDescription {
                format: Format::Onnx,
                file_name: "model.onnx".into(),
                path: Default::default(),
                size: bytes.len() as u64,
                digest: Digest::of(bytes),
                external_files: Vec::new(),
                side_files: Vec::new(),
                left_out: Default::default(),
                labels: Vec::new(),
                engine: None,
                contents,
            };
            let report = text(&description);
            assert!(report.chars().all(|c| c == '\n' || !c.is_control()), "{report:?}");
            let json = serde_json::to_string(&description).expect("a description is JSON");
            serde_json::from_str::<ModelDescription>(&json).expect("and is read back");
        }
        Err(fault) => drop((fault.to_string(), fault.hint())),
    }
});
