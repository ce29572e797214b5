//! Any bytes as a model that is joined with itself, side by side: refused, or a model that can be read and that takes and
//! gives what both do.

#![no_main]

use libfuzzer_sys::fuzz_target;
use nimify_fuzz::model::{JoinRequest, JoinStep, Limits, Wire, join, read};

/// The tensors of the whole that a step's inputs or outputs are.
fn wires(names: &[String], step: &str) -> impl Iterator<Item = (String, Wire)> {
    names.iter().map(move |name| (name.clone(), Wire { scope: 0, name: format!("{step}.{name}") }))
}

fuzz_target!(|bytes: &[u8]| {
    let limits = Limits::default();
    let Ok(contents) = read(bytes, &limits) else { return };
    let names = |specs: &[nimify_fuzz::signature::ValueSpec]| -> Vec<String> {
        specs.iter().map(|spec| spec.name.clone()).collect()
    };
    let (inputs, outputs) = (names(&contents.signature.inputs), names(&contents.signature.outputs));
    let whole = |names: &[String]| -> Vec<String> {
        ["a", "b"].iter().flat_map(|step| wires(names, step).map(|(_, wire)| wire.name)).collect()
    };
    let step = |name: &str| JoinStep {
        name: name.into(),
        bytes,
        inputs: wires(&inputs, name).collect(),
        outputs: wires(&outputs, name).collect(),
    };
    let request = JoinRequest {
        name: "both".into(),
        steps: vec![step("a"), step("b")],
        inputs: whole(&inputs),
        outputs: whole(&outputs),
        metadata: [].into(),
    };
    let mut written = Vec::new();
    match join(&request, &limits, &mut written) {
        Ok(()) => {
            let joined = read(&written, &limits).expect("what was joined is a model");
            assert_eq!(names(&joined.signature.inputs), request.inputs);
            assert_eq!(names(&joined.signature.outputs), request.outputs);
        }
        Err(error) => assert!(!error.to_string().is_empty()),
    }
});
