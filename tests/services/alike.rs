//! The generated service, its hooks as they are, and the generic one answer every request alike.

use std::collections::BTreeMap;
use std::process::Stdio;

use crate::made::{self, Made};
use crate::matrix;
use crate::running::{Answer, Request, Running, command};

/// One idea each: several outputs, strings, every element type, names that Rust doesn't take, two inputs, none, a
/// sequence, maps, an optional.
const MODELS: [&str; 9] = [
    "digits/digits.onnx",
    "models/text.onnx",
    "models/types.onnx",
    "models/names.onnx",
    "models/shared_dim.onnx",
    "models/no_inputs.onnx",
    "models/sequence_output.onnx",
    "models/map_output.onnx",
    "models/optional_input.onnx",
];

#[test]
fn the_generated_and_the_generic_service_answer_alike() {
    let generic = made::generic();
    for model in MODELS {
        let made = Made::of(model);
        let folder = made.folder();
        let services = [made.generated(None), generic.clone()].map(|binary| Running::start(&binary, folder.path()));
        let mut statuses: BTreeMap<u16, usize> = BTreeMap::new();
        for request in matrix::requests(&made.plan) {
            let [generated, generic] = services.each_ref().map(|service| comparable(&request, service.send(&request)));
            assert_eq!(generated, generic, "{model}: {request:?}\n{}\n{}", generated.text(), generic.text());
            *statuses.entry(generated.status).or_default() += 1;
        }
        // The matrix is what it should be: all of these were asked for, and nothing was the service's own fault.
        for status in [200, 400, 404, 405, 415] {
            assert!(statuses.contains_key(&status), "{model}: no {status} in {statuses:?}");
        }
        assert!(!statuses.contains_key(&500), "{model}: {statuses:?}");
        let [generated, generic] = services.each_ref().map(counted);
        assert_eq!(generated, generic, "{model}");
        assert!(generated.iter().any(|line| line.starts_with("nv_inference_request_success")), "{model}");
    }
}

/// An answer without the time at which its service was started, and without the numbers of one that tells of times.
fn comparable(request: &Request, mut answer: Answer) -> Answer {
    if request.path == "/v1/models" && answer.status == 200 && request.method == "GET" {
        let text = answer.text();
        let mut parts = text.split("\"created\":");
        let mut without = parts.next().unwrap().to_string();
        for part in parts {
            without += part.trim_start_matches(|c: char| c.is_ascii_digit());
        }
        assert_ne!(without, text);
        answer.body = without.into();
    }
    if (request.path.ends_with("/stats") || request.path == "/debug/data.json") && answer.status == 200 {
        let numbers = |c: char| c.is_ascii_digit() || c == '.' || c == '-';
        answer.body = answer.text().replace(numbers, "").into();
        answer.headers.retain(|(name, _)| name != "content-length");
    }
    answer
}

/// The lines of the metrics page that count: not those that measure time, or the process.
fn counted(service: &Running) -> Vec<String> {
    let measured = |line: &&str| {
        let name = line.split(['{', ' ']).next().unwrap_or_default();
        let times = ["_us", "_seconds", "_seconds_sum", "_seconds_bucket"].iter().any(|end| name.ends_with(end));
        // A connection that the client has closed may be open for a moment yet.
        !times && !name.starts_with("process_") && name != "nimify_connections"
    };
    service.get("/metrics").text().lines().filter(measured).map(String::from).collect()
}

#[test]
fn a_service_that_was_generated_for_another_model_says_so() {
    let (digits, text) = (Made::of("digits/digits.onnx"), Made::of("models/text.onnx"));
    let folder = text.folder();
    let mut service = command(&digits.generated(None));
    service
        .arg("--config")
        .arg(folder.path().join("service.json"))
        .env("NIMIFY_PORT", "0")
        .env("NIMIFY_GRPC_PORT", "0")
        .stderr(Stdio::piped());
    let ended = service.output().unwrap();
    let said = String::from_utf8_lossy(&ended.stderr);
    assert_eq!(ended.status.code(), Some(4), "{said}");
    assert!(said.contains("not the signature that this service was generated from"), "{said}");
}
