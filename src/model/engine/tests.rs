//! Engines whose bytes are made here: a header as TensorRT writes it, and nothing after it that any TensorRT would run.

use std::fs;
use std::path::Path;

use nimify_runtime::signature::Batching;
use proptest::prelude::*;

use super::*;
use crate::model::testing::{GraphParts, folder};
use crate::model::{Error, Format, Limits, ModelDescription, inspect, inspect_declared, read};

/// The header of an engine by TensorRT 10.3.0.26, and some bytes.
fn made() -> Vec<u8> {
    let mut bytes = b"ftrt".to_vec();
    bytes.extend([0; 20]);
    bytes.extend([10, 3, 0, 26]);
    bytes.extend(b"not a real engine");
    bytes
}

/// The same after a description, as Ultralytics' exports have it.
fn described(json: &str) -> Vec<u8> {
    [&(json.len() as u32).to_le_bytes()[..], json.as_bytes(), &made()].concat()
}

fn at(path: &Path) -> Result<ModelDescription, Error> {
    inspect(path, &Limits::default())
}

fn shown(description: &ModelDescription) -> String {
    let signature = &description.contents.signature;
    let all = signature.inputs.iter().chain(&signature.outputs).map(|spec| tensor_text(spec).unwrap());
    all.collect::<Vec<_>>().join(" ")
}

const CONFIG: &str = "
    platform: 'tensorrt_plan' max_batch_size: 4
    input { name: 'x' data_type: TYPE_FP16 dims: [ 3, -1 ] }
    output { name: 'y' data_type: TYPE_INT32 dims: 10 }
    cc_model_filenames { key: '8.6' value: 'model.plan' }
    cc_model_filenames { key: '7.5' value: 'other.plan' }";

#[test]
fn a_made_engine_says_its_tensorrt_and_nothing_of_its_tensors() {
    let home = folder(&[("m.engine", &made())]);
    let found = at(&home.path().join("m.engine")).unwrap();
    let engine = found.engine.as_ref().unwrap();
    assert_eq!((found.format, engine.tensorrt.unwrap().to_string()), (Format::TensorRt, "10.3.0.26".into()));
    assert_eq!((engine.offset, &engine.told_by, engine.compute_capability), (0, &None, None));
    let error = found.told().unwrap_err();
    assert!(error.to_string().ends_with("m.engine` doesn't say what it takes and gives"), "{error}");
    assert!(error.hint().unwrap().contains("`--tensorrt-input NAME:TYPE[SIZES]`"));
    assert!(found.contents.warnings[0].contains("native code"));
    assert!(matches!(wrap(&found), Err(Error::Untold { .. })));
    let text = crate::model::text(&found);
    assert!(text.contains("TensorRT engine, 45 B") && text.contains("built by    TensorRT 10.3.0.26"), "{text}");
    assert!(text.contains("nothing beside the file says them"), "{text}");
    let json = serde_json::to_value(&found).unwrap();
    assert_eq!((&json["format"], &json["engine"]["tensorrt"]), (&"tensorrt".into(), &"10.3.0.26".into()));
    assert_eq!(json.get("irVersion"), None);
}

#[test]
fn triton_s_configuration_tells_it_beside_the_engine_or_above_its_version() {
    for files in [["model.plan", "config.pbtxt"], ["a/1/model.plan", "a/config.pbtxt"]] {
        let home = folder(&[(files[0], &made()), (files[1], CONFIG.as_bytes())]);
        let found = at(&home.path().join(files[0])).unwrap();
        assert_eq!(shown(&found), "x:float16[batch,3,?] y:int32[batch,10]");
        let engine = found.engine.as_ref().unwrap();
        let capability = ComputeCapability { major: 8, minor: 6 };
        assert_eq!((engine.compute_capability, engine.max_batch_size), (Some(capability), Some(4)));
        assert_eq!(engine.told_by.as_deref(), Some("config.pbtxt"));
        assert!(matches!(found.contents.signature.batching, Batching::Unproved { .. }));
    }
    // Above a folder that is no version it belongs to something else.
    let home = folder(&[("a/b/model.plan", &made()), ("a/config.pbtxt", CONFIG.as_bytes())]);
    assert!(at(&home.path().join("a/b/model.plan")).unwrap().told().is_err());
    let home = folder(&[("m.plan", &made()), ("config.pbtxt", b"input { name: 3 }")]);
    let error = at(&home.path().join("m.plan")).unwrap_err();
    assert!(error.to_string().ends_with("line 1, column 15: `name` should be a text in quotes, and is 3"), "{error}");
}

#[test]
fn our_own_signature_beats_triton_s_and_the_user_beats_both() {
    let signature = serde_json::json!({
        "inputs": [{ "name": "a", "kind": "tensor", "elementType": "float32", "shape": ["N", 2] }],
        "outputs": [{ "name": "b", "kind": "tensor", "elementType": "float32", "shape": [1] }],
        "batching": { "verdict": "unproved", "reason": "a test" },
    });
    let signature = signature.to_string();
    let files: [(&str, &[u8]); 3] =
        [("m.plan", &made()), ("config.pbtxt", CONFIG.as_bytes()), ("signature.json", signature.as_bytes())];
    let home = folder(&files);
    let path = home.path().join("m.plan");
    assert_eq!(shown(&at(&path).unwrap()), "a:float32[N,2] b:float32[1]");
    let declared = Declared {
        inputs: vec![parse_tensor("u:FP32[?]").unwrap()],
        outputs: vec![parse_tensor("v:bool[]").unwrap()],
        compute_capability: "9.0".parse().ok(),
        max_batch_size: None,
    };
    let found = inspect_declared(&path, &Limits::default(), &declared).unwrap();
    assert_eq!(shown(&found), "u:float32[?] v:bool[]");
    assert_eq!(found.declared(), Some(declared));
    fs::write(
        home.path().join("signature.json"),
        r#"{"inputs":[],"outputs":[],"batching":{"verdict":"unproved","reason":""}}"#,
    )
    .unwrap();
    assert!(at(&path).unwrap_err().to_string().contains("it should have `inputs` and `outputs`"));
}

#[test]
fn what_ultralytics_writes_before_an_engine_is_read_and_left_out() {
    let json = r#"{"author": "Ultralytics", "version": "8.3.0", "description": "a net", "imgsz": [640, 480], "names": {"0": "cat"}}"#;
    let home = folder(&[("yolo..engine", &described(json)), ("config.pbtxt", CONFIG.as_bytes())]);
    let found = at(&home.path().join("yolo..engine")).unwrap();
    assert_eq!((found.contents.producer_name.as_str(), found.contents.doc.as_str()), ("Ultralytics", "a net"));
    assert_eq!(found.contents.metadata["names"], r#"{"0":"cat"}"#);
    assert_eq!(found.engine.as_ref().unwrap().offset, 4 + json.len() as u64);
    let wrapped = wrap(&found).unwrap().unwrap();
    let names: Vec<_> = wrapped.files.iter().map(|file| file.name.as_str()).collect();
    assert_eq!(names, ["yolo.engine", "yolo.engine.onnx"], "two dots would be taken for a way out of the folder");
    assert_eq!(fs::read(&wrapped.files[0].path).unwrap(), made());
    assert_eq!(wrapped.files[0].digest, crate::digest::Digest::of(made()));
}

#[test]
fn the_model_around_an_engine_is_one_node_with_its_tensors() {
    let home = folder(&[("model.plan", &made()), ("config.pbtxt", CONFIG.as_bytes())]);
    let found = at(&home.path().join("model.plan")).unwrap();
    let wrapped = wrap(&found).unwrap().unwrap();
    assert_eq!(wrapped.file_name.as_str(), "model.plan.onnx");
    let graph = wrapped.graph();
    // Read as any model from anywhere is, with the engine as the file beside it.
    let read = read(&fs::read(&graph.path).unwrap(), &Limits::default()).unwrap();
    assert_eq!(
        (&read.signature.inputs, &read.signature.outputs),
        (&found.contents.signature.inputs, &found.contents.signature.outputs)
    );
    assert_eq!(read.operators, BTreeMap::from([("com.microsoft:EPContext".into(), 1)]));
    let locations: Vec<_> = read.external.iter().map(|reference| reference.location.as_str()).collect();
    assert_eq!(locations, ["model.plan"]);
    let bytes = fs::read(&graph.path).unwrap();
    let holds = |text: &[u8]| bytes.windows(text.len()).any(|part| part == text);
    assert!(
        holds(b"hardware_architecture") && holds(b"86") && holds(b"10.3.0.26") && holds(b"TensorrtExecutionProvider")
    );
    // A graph needs none.
    let home = folder(&[("m.onnx", GraphParts::simple().model().bytes())]);
    assert!(wrap(&at(&home.path().join("m.onnx")).unwrap()).unwrap().is_none());
}

#[test]
fn headers_that_can_not_be_are_refused_and_old_ones_have_no_version() {
    let refused = |bytes: &[u8]| {
        let home = folder(&[("m.engine", bytes)]);
        at(&home.path().join("m.engine")).unwrap_err().to_string()
    };
    assert!(
        refused(&made()[..20]).ends_with("the TensorRT engine is broken: it ends after 20 bytes, within its header")
    );
    let mut later = made();
    later[4] = 1;
    assert!(refused(&later).contains("its header is of the form 1"));
    let mut none = made();
    none[24] = 0;
    assert!(refused(&none).contains("TensorRT 0.3.0.26, which there never was"));
    assert!(refused(&described("{no json")).contains("the description before it is no JSON"));
    let old = [&b"ptrt"[..], &made()[4..]].concat();
    let home = folder(&[("m.trt", &old), ("net.engine", b"something else")]);
    assert_eq!(at(&home.path().join("m.trt")).unwrap().engine.unwrap().tensorrt, None);
    let error = at(&home.path().join("net.engine")).unwrap_err();
    assert!(error.to_string().contains("is called a TensorRT engine and doesn't begin like one"), "{error}");
}

#[test]
fn tensors_are_read_from_words() {
    for text in ["x:float32[]", "a:b:int64[1,N,?]", "images:float16[batch,3,640,640]"] {
        assert_eq!(tensor_text(&parse_tensor(text).unwrap()).unwrap(), text);
    }
    assert_eq!(parse_tensor("x:TYPE_FP16[-1, 3]"), parse_tensor("x:float16[?,3]"));
    for (text, reason) in [
        ("x:float32", "its sizes in brackets"),
        ("x[1]", "there is no `:`"),
        (":float32[1]", "its name is missing"),
        ("x:float[1]", "`float` is no type"),
        ("x:float32[1,,2]", "`` is no size"),
        ("x:float32[-2]", "`-2` is no size"),
        ("x:float32[99999999999999999999]", "is no size"),
        ("x:float32[1,1,1,1,1,1,1,1,1]", "more than 8"),
    ] {
        assert!(parse_tensor(text).unwrap_err().to_string().contains(reason), "{text}");
    }
    for text in ["8", "8.", ".6", "0.1", "8.6.1", "-8.6", "888.1"] {
        assert!(text.parse::<ComputeCapability>().is_err(), "{text}");
    }
}

proptest! {
    #[test]
    fn no_bytes_after_the_mark_make_a_panic(before in prop::collection::vec(any::<u8>(), 0..40), after in prop::collection::vec(any::<u8>(), 0..40)) {
        for bytes in [[&b"ftrt"[..], &after].concat(), [&(before.len() as u32).to_le_bytes()[..], b"{", &before, b"ftrt", &after].concat()] {
            if is_engine(&bytes) {
                let _ = header(&bytes, bytes.len() as u64);
            }
        }
    }

    #[test]
    fn no_text_is_taken_for_a_tensor_that_is_written_otherwise(text in "[a-z:]{0,6}(float32|bool)?\\[[0-9a-z?,-]{0,9}\\]?") {
        if let Ok(spec) = parse_tensor(&text) {
            prop_assert_eq!(parse_tensor(&tensor_text(&spec).unwrap()), Ok(spec));
        }
    }
}
