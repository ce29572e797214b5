//! The probe over the fixtures, in real child processes.
#![allow(clippy::unwrap_used, reason = "a test that can't go on says where")]

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use nimify::model::{self, inspect};
use nimify::probe::{Error, Job, Limits, ProbeReport, ProbeRequest, child_main, probe};
use nimify_runtime::signature::Batching;
use serde_json::{Value, json};

fn onnxruntime() -> PathBuf {
    let path = std::env::var_os("NIMIFY_ONNXRUNTIME");
    path.expect("set NIMIFY_ONNXRUNTIME to ONNX Runtime's library: CONTRIBUTING says how to install it").into()
}

fn fixture(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures").join(name)
}

fn request(name: &str) -> ProbeRequest {
    let description = inspect(&fixture(name), &model::Limits::default()).unwrap_or_else(|e| panic!("{name}: {e}"));
    let request = ProbeRequest::new(&description, env!("CARGO_BIN_EXE_nimify").into(), onnxruntime());
    ProbeRequest { limits: Limits { wall_seconds: 60, ..request.limits }, ..request }
}

fn probed(name: &str) -> ProbeReport {
    probe(&request(name)).unwrap_or_else(|error| panic!("{name}: {error}"))
}

#[test]
fn verdicts_on_every_good_model() {
    for (name, verdict, words) in [
        ("digits/digits.onnx", "proved", ""),
        ("models/mlp.onnx", "proved", ""),
        ("models/free_dims.onnx", "proved", ""),
        ("models/shared_dim.onnx", "proved", ""),
        ("models/text.onnx", "proved", ""),
        ("models/labels.onnx", "proved", ""),
        ("models/types.onnx", "proved", ""),
        ("models/names.onnx", "proved", ""),
        ("models/colliding_names.onnx", "proved", ""),
        ("models/tokens.onnx", "proved", ""),
        ("models/image.onnx", "proved", ""),
        ("models/external.onnx", "proved", ""),
        ("models/initializers_as_inputs.onnx", "proved", ""),
        ("models/arithmetic_dims.onnx", "proved", ""),
        ("models/scalar.onnx", "refused", "`x` is a scalar"),
        ("models/no_inputs.onnx", "refused", "no inputs"),
        ("models/fixed_batch.onnx", "refused", "fixed"),
        ("models/sequence_output.onnx", "refused", "`pieces` is no tensor"),
        ("models/sequence_input.onnx", "refused", "`pieces` is no tensor"),
        ("models/map_output.onnx", "refused", "`scores` is no tensor"),
        ("models/optional_input.onnx", "refused", "`x` is no tensor"),
        ("models/state.onnx", "refused", "`state`"),
        ("models/coupled_mean.onnx", "refused", "a row's answer changes: the output `y`"),
        ("models/coupled_quantized.onnx", "refused", "`ai.onnx:DynamicQuantizeLinear`"),
        ("models/row_count.onnx", "refused", "output `rows`"),
        ("models/constant_rows.onnx", "unproved", "every row tried had the same answer"),
        ("models/empty.onnx", "unproved", ""),
    ] {
        let report = probed(name);
        let is = match &report.batching {
            Batching::Proved { axis, .. } => {
                assert_eq!(*axis, 0);
                "proved"
            }
            Batching::Refused { .. } => "refused",
            Batching::Unproved { .. } => "unproved",
            Batching::Stated { .. } => "stated",
        };
        let reason = report.batching.reason();
        assert!(is == verdict && reason.contains(words), "{name} is {is}: {reason}");
        assert!(report.sample.is_some(), "{name}: {:?}", report.warnings);
        assert_eq!(report.warnings, [""; 0], "{name}");
        assert!(report.measured.run_us.unwrap() > 0.0 && report.measured.resident_bytes.unwrap() > 1 << 20);
        assert!(report.measured.ort_version.starts_with("1."), "{name}");
    }
}

#[test]
fn an_output_that_is_declared_wrongly_is_served_as_it_comes() {
    let report = probed("models/declared_shapes.onnx");
    assert_eq!(report.outputs[0].value_type.to_string(), "float32 [?, 4]");
    assert!(matches!(report.batching, Batching::Proved { axis: 0, .. }), "{:?}", report.batching);
    let words = "the output `y` is declared with the shape [1, 4] and came with [2, 4]: it is served as [?, 4]";
    assert_eq!(report.warnings, [words]);
}

#[test]
fn coupled_rows_show_even_where_no_operator_is_known_for_it() {
    let mut asked = request("models/coupled_quantized.onnx");
    asked.signature.batching = Batching::Unproved { reason: "not tried".into() };
    let report = probe(&asked).unwrap();
    let reason = report.batching.reason();
    assert!(matches!(report.batching, Batching::Refused { .. }), "{reason}");
    assert!(reason.contains("a row's answer changes: the output `y`"), "{reason}");
}

#[test]
fn the_same_model_gives_the_same_sample() {
    let (one, two) = (probed("models/tokens.onnx"), probed("models/tokens.onnx"));
    assert_eq!(one.sample, two.sample);
    let request: serde_json::Value = serde_json::from_str(&one.sample.unwrap().request).unwrap();
    assert_eq!(request["attention_mask"], serde_json::json!([[1, 1, 1, 1, 1, 1, 1, 1]]));
    let ids = request["input_ids"][0].as_array().unwrap().clone();
    assert!(ids.iter().all(|id| (1..16).contains(&id.as_i64().unwrap())), "{ids:?}");
}

#[test]
fn the_users_sample_is_the_sample() {
    let name = "digits/digits.onnx";
    let given = std::fs::read_to_string(fixture("digits/samples/7.json")).unwrap();
    let asked = ProbeRequest { sample: Some(given.clone()), ..request(name) };
    let report = probe(&asked).unwrap();
    let json = |text: &str| serde_json::from_str::<serde_json::Value>(text).unwrap();
    let pixels = |text: &str| serde_json::from_value::<Vec<Vec<f32>>>(json(text)["pixels"].clone()).unwrap();
    let sample = report.sample.unwrap();
    assert_eq!(pixels(&sample.request), pixels(&given));
    assert_eq!(json(&sample.response)["label"], serde_json::json!([7]));
    assert!(matches!(report.batching, Batching::Proved { .. }), "{:?}", report.batching);
    for (wrong, words) in [("{\"pixels\": [[1, 2]]}", "pixels"), ("{}", "pixels"), ("[", "")] {
        let error = probe(&ProbeRequest { sample: Some(wrong.into()), ..asked.clone() }).unwrap_err();
        assert!(matches!(&error, Error::Sample { reason, .. } if reason.contains(words)), "{error}");
    }
}

/// What the child says to a request, without limits and so in this process: a value a line.
fn said(request: &ProbeRequest) -> Vec<Value> {
    let job = Job {
        onnxruntime: request.onnxruntime.clone(),
        model: request.model.canonicalize().unwrap(),
        custom_ops: Vec::new(),
        model_bytes: request.model_bytes,
        signature: request.signature.clone(),
        hints: request.hints.clone(),
        row_coupling: request.row_coupling.clone(),
        sample: request.sample.clone(),
        limits: None,
        parent: 0,
    };
    let mut output = Vec::new();
    child_main(serde_json::to_vec(&job).unwrap().as_slice(), &mut output);
    String::from_utf8(output).unwrap().lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

#[test]
fn limits_change_nothing_of_what_a_child_finds() {
    let digits = std::fs::read_to_string(fixture("digits/samples/7.json")).unwrap();
    for (name, sample) in [
        ("digits/digits.onnx", None),
        ("digits/digits.onnx", Some(digits)),
        ("models/constant_rows.onnx", Some(r#"{"x": [[1, 2]]}"#.to_string())),
        ("models/coupled_mean.onnx", None),
        ("models/coupled_quantized.onnx", None),
        ("models/labels.onnx", None),
        ("models/map_output.onnx", None),
        ("models/no_inputs.onnx", None),
        ("models/row_count.onnx", None),
        ("models/scalar.onnx", None),
        ("models/sequence_input.onnx", None),
        ("models/state.onnx", None),
        ("models/tokens.onnx", None),
        ("models/types.onnx", None),
    ] {
        let asked = ProbeRequest { sample, ..request(name) };
        let limited = probe(&asked);
        let events = said(&asked);
        match limited {
            Ok(report) => {
                let sampled = events.iter().find_map(|event| event.get("Sampled"));
                let text = |key: &str| sampled.map(|sampled| sampled[key].as_str().unwrap().to_string());
                assert_eq!(text("request"), report.sample.as_ref().map(|sample| sample.request.clone()), "{name}");
                assert_eq!(text("response"), report.sample.as_ref().map(|sample| sample.response.clone()), "{name}");
                assert_eq!(events.last().unwrap(), &json!({ "Proved": report.batching }), "{name}");
            }
            Err(error) => {
                let failure = events.last().unwrap()["Failed"].as_object().unwrap_or_else(|| panic!("{name}: {error}"));
                let reason = failure.values().next().unwrap().as_str().unwrap();
                assert!(error.to_string().contains(reason), "{name}: {error}, {reason}");
            }
        }
    }
}

#[test]
fn models_that_do_not_load_say_why() {
    let any = request("models/mlp.onnx");
    for (name, words) in [
        ("custom_operator", "Frobnicate"),
        ("future_opset", "opset"),
        ("future_ir", "IR version"),
        ("external_missing", "xternal data"),
        ("external_outside", "escapes model directory"),
        ("external_absolute", "bsolute"),
        ("external_short", "out of bounds"),
        ("empty", ""),
        ("not_onnx", ""),
        ("text", ""),
        ("truncated", ""),
    ] {
        let asked = ProbeRequest { model: fixture(&format!("broken/{name}.onnx")), ..any.clone() };
        let error = probe(&asked).unwrap_err();
        assert!(matches!(&error, Error::Load { .. }), "{name}: {error}");
        let text = error.to_string();
        assert!(text.contains(name) && text.contains(words), "{text}");
        assert!(said(&asked).last().unwrap()["Failed"]["Load"].is_string(), "{name}");
    }
}

#[test]
fn a_signature_of_another_model_is_refused() {
    let text = request("models/text.onnx");
    let error = probe(&ProbeRequest { model: fixture("models/mlp.onnx"), ..text }).unwrap_err();
    assert!(matches!(&error, Error::Load { reason, .. } if reason.contains("`text`")), "{error}");
}

#[test]
fn a_library_that_is_none_is_named() {
    let asked = request("models/mlp.onnx");
    for path in ["/nowhere/libonnxruntime.so", env!("CARGO_MANIFEST_PATH")] {
        let error = probe(&ProbeRequest { onnxruntime: path.into(), ..asked.clone() }).unwrap_err();
        assert!(matches!(&error, Error::OnnxRuntime { reason } if reason.contains(path)), "{error}");
    }
}

#[test]
fn a_model_that_never_ends_is_stopped() {
    let asked = request("broken/endless.onnx");
    let start = Instant::now();
    let wall = Limits { wall_seconds: 2, ..asked.limits };
    let error = probe(&ProbeRequest { limits: wall, ..asked.clone() }).unwrap_err();
    assert!(matches!(&error, Error::TimedOut { seconds: 2, .. }), "{error}");
    let cpu = Limits { cpu_seconds: 1, ..asked.limits };
    let error = probe(&ProbeRequest { limits: cpu, ..asked }).unwrap_err();
    assert!(matches!(&error, Error::TimedOut { seconds: 1, .. }), "{error}");
    assert!(start.elapsed() < Duration::from_secs(30));
}

#[test]
fn a_model_that_wants_all_memory_gets_no_sample() {
    let report = probe(&request("broken/gluttonous.onnx")).unwrap();
    assert_eq!(report.sample, None);
    assert!(report.warnings[0].contains("no sample was found"), "{:?}", report.warnings);
    assert!(matches!(report.batching, Batching::Unproved { .. }));
}

/// A probe whose child is a shell script.
fn scripted(script: &str) -> Result<ProbeReport, Error> {
    use std::os::unix::fs::PermissionsExt;
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("child");
    std::fs::write(&path, format!("#!/bin/sh\n{script}\n")).unwrap();
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).unwrap();
    let asked = request("models/mlp.onnx");
    let limits = Limits { wall_seconds: 2, ..asked.limits };
    probe(&ProbeRequest { executable: path, limits, ..asked })
}

const SAMPLED: &str = r#"echo '{"Opened":{"ort_version":"1.31.1"}}'
echo '{"Loaded":{"load_ms":1.0}}'
echo '{"Sampled":{"request":"{}","response":"{}","run_us":1.0,"resident_bytes":null}}'"#;

#[test]
fn a_child_that_crashes_is_reported_with_what_it_was_about() {
    let error = scripted("echo went astray >&2; kill -SEGV $$").unwrap_err();
    let text = error.to_string();
    assert!(text.contains("crashed (SIGSEGV) while loading") && text.contains("mlp.onnx"), "{text}");
    assert!(text.ends_with("went astray"), "{text}");
    let error = scripted("echo 'memory allocation of 9 bytes failed' >&2; kill -ABRT $$").unwrap_err();
    assert!(matches!(error, Error::OutOfMemory { .. }), "{error}");
    assert!(matches!(scripted("sleep 60").unwrap_err(), Error::TimedOut { seconds: 2, .. }));
    assert!(matches!(scripted("echo hello").unwrap_err(), Error::NoReport { .. }));
    assert!(matches!(scripted("exit 3").unwrap_err(), Error::NoReport { .. }));
}

#[test]
fn a_sample_outlives_a_crash_of_the_proof() {
    let report = scripted(&format!("{SAMPLED}\nkill -SEGV $$")).unwrap();
    assert!(report.sample.is_some());
    assert!(matches!(&report.batching, Batching::Refused { reason } if reason.contains("SIGSEGV")));
}

#[test]
fn an_executable_that_is_none_is_named() {
    let asked = request("models/mlp.onnx");
    let error = probe(&ProbeRequest { executable: "/nowhere/nimify".into(), ..asked.clone() }).unwrap_err();
    assert!(error.to_string().contains("/nowhere/nimify"), "{error}");
    let error = probe(&ProbeRequest { model: "/nowhere/x.onnx".into(), ..asked }).unwrap_err();
    assert!(matches!(error, Error::Model { .. }), "{error}");
}

#[test]
fn a_child_without_its_parent_or_a_job_does_nothing() {
    for job in ["", "{", "null"] {
        let mut child = Command::new(env!("CARGO_BIN_EXE_nimify"))
            .arg("probe-child")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        std::io::Write::write_all(&mut child.stdin.take().unwrap(), job.as_bytes()).unwrap();
        let output = child.wait_with_output().unwrap();
        assert!(!output.status.success() && output.stdout.is_empty(), "{job}");
        assert!(!output.stderr.is_empty());
    }
}
