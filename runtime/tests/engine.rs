//! The engine against the real ONNX Runtime, on the tiny models of `tests/data`.

#![allow(clippy::unwrap_used, reason = "a test may panic, its helpers too")]

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use half::{bf16, f16};
use nimify_runtime::batching::{Observer, Scheduler};
use nimify_runtime::engine::{Engine, EngineError, LoadOptions, init};
use nimify_runtime::error::Error;
use nimify_runtime::inference::Urgency;
use nimify_runtime::settings::BatchingSettings;
use nimify_runtime::signature::{Batching, ElementType, ModelSignature, ValueType};
use nimify_runtime::tensor::{Tensor, TensorData, Value};

fn library() -> PathBuf {
    let path = std::env::var_os("NIMIFY_ONNXRUNTIME")
        .expect("set NIMIFY_ONNXRUNTIME to ONNX Runtime's library (libonnxruntime.so.1.31.1): this test runs models");
    PathBuf::from(path)
}

fn model(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data").join(name)
}

fn load_with(name: &str, options: &LoadOptions) -> Result<Engine, EngineError> {
    init(&library()).expect("ONNX Runtime opens");
    Engine::load(&model(name), options)
}

fn load(name: &str) -> Engine {
    load_with(name, &LoadOptions::default()).unwrap_or_else(|e| panic!("{e}"))
}

fn tensor(shape: &[usize], data: TensorData) -> Value {
    Tensor::new(shape.to_vec(), data).expect("a test's tensor fits its shape").into()
}

fn floats(shape: &[usize], data: &[f32]) -> Value {
    tensor(shape, TensorData::Float32(data.to_vec()))
}

fn signature(engine: &Engine) -> ModelSignature {
    let batching = Batching::Unproved { reason: "a test".into() };
    ModelSignature { inputs: engine.inputs().to_vec(), outputs: engine.outputs().to_vec(), batching }
}

#[test]
fn the_library_says_its_version_and_opens_once() {
    let version = init(&library()).unwrap();
    assert!(version.starts_with("1."), "{version}");
    assert_eq!(init(&library()).unwrap(), version);
}

#[test]
fn a_library_that_is_missing_or_none_is_said_to_be() {
    let folder = tempfile::tempdir().unwrap();
    let missing = folder.path().join("libonnxruntime.so");
    assert!(matches!(init(&missing), Err(EngineError::MissingLibrary { path }) if path == missing));
    // A process that has a library open refuses another by name whatever it is: so each file gets a process of its own.
    let text = folder.path().join("text.so");
    std::fs::write(&text, "not a library").unwrap();
    let said = in_another_process(&text);
    assert!(said.contains("is not an ONNX Runtime library") && said.contains("text.so"), "{said}");
    let said = in_another_process(folder.path());
    assert!(said.contains("is not an ONNX Runtime library"), "{said}");
    let libc = std::fs::read_to_string("/proc/self/maps").unwrap();
    let libc = libc.lines().find_map(|line| line.split_whitespace().last().filter(|p| p.contains("/libc.so"))).unwrap();
    let said = in_another_process(Path::new(libc));
    assert!(said.contains("has no symbol `OrtGetApiBase`"), "{said}");
}

fn in_another_process(path: &Path) -> String {
    let test = std::env::current_exe().expect("a test has an executable");
    let arguments = ["--exact", "tries_the_library_of_the_environment", "--include-ignored", "--nocapture"];
    let output = std::process::Command::new(test).args(arguments).env("TRY_LIBRARY", path).output();
    let output = output.expect("a test can start itself");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8_lossy(&output.stdout).into_owned()
}

#[test]
#[ignore = "run by `a_library_that_is_missing_or_none_is_said_to_be`"]
fn tries_the_library_of_the_environment() {
    let Some(path) = std::env::var_os("TRY_LIBRARY") else { return };
    match init(Path::new(&path)) {
        Ok(version) => println!("opened {version}"),
        Err(e) => println!("{e}"),
    }
}

#[test]
fn every_element_type_goes_through_unchanged() {
    let engine = load("identity.onnx");
    let data = |name: &str| match name {
        "float32" => TensorData::Float32(vec![0.1, f32::NAN, f32::MIN]),
        "float64" => TensorData::Float64(vec![0.1, f64::INFINITY, -0.0]),
        "float16" => TensorData::Float16(vec![f16::MAX, f16::NEG_INFINITY, f16::MIN_POSITIVE]),
        "bfloat16" => TensorData::Bfloat16(vec![bf16::MAX, bf16::NEG_INFINITY, bf16::ONE]),
        "int8" => TensorData::Int8(vec![i8::MIN, 0, i8::MAX]),
        "int16" => TensorData::Int16(vec![i16::MIN, 0, i16::MAX]),
        "int32" => TensorData::Int32(vec![i32::MIN, 0, i32::MAX]),
        "int64" => TensorData::Int64(vec![i64::MIN, 0, i64::MAX]),
        "uint8" => TensorData::Uint8(vec![0, 1, u8::MAX]),
        "uint16" => TensorData::Uint16(vec![0, 1, u16::MAX]),
        "uint32" => TensorData::Uint32(vec![0, 1, u32::MAX]),
        "uint64" => TensorData::Uint64(vec![0, 1, u64::MAX]),
        "bool" => TensorData::Bool(vec![true, false, true]),
        "string" => TensorData::String(vec!["é".into(), vec![0xff, 0, 1], vec![]]),
        other => panic!("no data for {other}"),
    };
    let inputs: Vec<Value> = engine.inputs().iter().map(|spec| tensor(&[1, 3], data(&spec.name))).collect();
    let outputs = engine.run(inputs.clone()).unwrap();
    // As text, since a NaN isn't equal to itself.
    assert_eq!(format!("{outputs:?}"), format!("{inputs:?}"));
    let empty = |value: &Value| {
        let element_type = value.as_tensor().unwrap().element_type();
        tensor(&[0, 3], TensorData::with_capacity(element_type, 0).unwrap())
    };
    let inputs: Vec<Value> = inputs.iter().map(empty).collect();
    assert_eq!(engine.run(inputs.clone()).unwrap(), inputs);
}

#[test]
fn the_signature_is_told_scalars_and_unknown_ranks_apart() {
    let shape = |name: &str| load(name).inputs()[0].value_type.to_string();
    assert_eq!(shape("scalar.onnx"), "float32 []");
    assert_eq!(shape("any_rank.onnx"), "float32 [...]");
    assert_eq!(shape("rows.onnx"), "float32 [N, 3]");
    assert_eq!(load("scalar.onnx").run(vec![floats(&[], &[2.0])]).unwrap(), [floats(&[], &[-2.0])]);
    assert_eq!(load("any_rank.onnx").run(vec![floats(&[1, 1, 1], &[2.0])]).unwrap(), [floats(&[1, 1, 1], &[-2.0])]);
}

#[test]
fn a_model_without_inputs_runs() {
    assert_eq!(load("constant.onnx").run(vec![]).unwrap(), [tensor(&[], TensorData::Int64(vec![42]))]);
    let booleans = tensor(&[3], TensorData::Bool(vec![false, true, true]));
    assert_eq!(load("odd_bool.onnx").run(vec![]).unwrap(), [booleans]);
}

#[test]
fn a_classifiers_sequence_of_maps_comes_out() {
    let engine = load("zipmap.onnx");
    assert_eq!(engine.outputs()[0].value_type.to_string(), "sequence(map(int64, float32 []))");
    let outputs = engine.run(vec![floats(&[2, 2], &[0.25, 0.75, 1.0, 0.0])]).unwrap();
    let row = |a: f32, b: f32| {
        let key = |k: i64| Tensor { shape: vec![], data: TensorData::Int64(vec![k]) };
        Value::Map(vec![(key(-8), floats(&[], &[b])), (key(7), floats(&[], &[a]))])
    };
    assert_eq!(outputs, [Value::Sequence(vec![row(0.25, 0.75), row(1.0, 0.0)])]);
}

#[test]
fn maps_and_sequences_go_in() {
    let key = |k: &str| Tensor { shape: vec![], data: TensorData::String(vec![k.into()]) };
    let words = Value::Map(vec![(key("c"), floats(&[], &[3.0])), (key("a"), floats(&[], &[1.0]))]);
    assert_eq!(load("vectorize.onnx").run(vec![words]).unwrap(), [floats(&[1, 3], &[1.0, 0.0, 3.0])]);
    let numbers = |n: &[i64]| tensor(&[n.len()], TensorData::Int64(n.to_vec()));
    let engine = load("sequence.onnx");
    let outputs = engine.run(vec![Value::Sequence(vec![numbers(&[1, 2])]), numbers(&[3])]).unwrap();
    assert_eq!(outputs, [Value::Sequence(vec![numbers(&[1, 2]), numbers(&[3])])]);
    // ONNX Runtime's API makes no sequence of nothing; a model may well take one.
    let outputs = engine.run(vec![Value::Sequence(vec![]), numbers(&[3])]).unwrap();
    assert_eq!(outputs, [Value::Sequence(vec![numbers(&[3])])]);
}

#[test]
fn what_the_model_refuses_is_said_without_paths() {
    let engine = load("gather.onnx");
    let refused = engine.run(vec![tensor(&[1], TensorData::Int64(vec![99]))]).unwrap_err();
    let Error::Refused(text) = &refused else { panic!("{refused:?}") };
    assert!(text.contains("idx=99") && !text.contains(".cc") && !text.contains("/onnx"), "{text}");
    // The session still answers.
    let row = engine.run(vec![tensor(&[1], TensorData::Int64(vec![2]))]).unwrap();
    assert_eq!(row, [floats(&[1, 2], &[4.0, 5.0])]);
    let wrong = engine.run(vec![floats(&[1], &[0.0])]).unwrap_err();
    assert!(matches!(&wrong, Error::Refused(text) if text.contains("Unexpected input data type")), "{wrong}");
    let wrong = engine.run(vec![Value::Absent]).unwrap_err();
    assert!(matches!(wrong, Error::Refused(_)), "{wrong}");
    assert!(matches!(engine.run(vec![]), Err(Error::Internal(_))));
}

#[test]
fn narrow_types_come_in_their_carrier_and_are_packed_for_the_model() {
    let engine = load("int4.onnx");
    assert_eq!(engine.inputs()[0].value_type.to_string(), "int4 [2]");
    let int4 = |values: [i8; 2]| engine.run(vec![tensor(&[2], TensorData::Int8(values.to_vec()))]);
    assert_eq!(int4([-8, 7]).unwrap(), [floats(&[2], &[-8.0, 7.0])]);
    assert!(matches!(int4([0, 8]), Err(Error::Refused(text)) if text == "`x`: an element is none of int4"));
    let engine = load("float8.onnx");
    assert_eq!(engine.run(vec![floats(&[2], &[448.0, 1.06])]).unwrap(), [floats(&[2], &[448.0, 1.0])]);
    assert!(engine.run(vec![floats(&[2], &[1.0, 500.0])]).is_err());
}

#[test]
fn a_model_that_is_missing_or_none_is_said_to_be() {
    assert!(matches!(load_with("nowhere.onnx", &LoadOptions::default()), Err(EngineError::MissingModel { .. })));
    let Err(EngineError::Load { reason, .. }) = load_with("locale.onnx", &LoadOptions::default()) else {
        panic!("a locale that there isn't")
    };
    assert!(reason.contains(": the locale `xx_XX.UTF-8`, by which") && reason.contains("`C`"), "{reason}");
    let Err(EngineError::Load { reason, .. }) = load_with("make.py", &LoadOptions::default()) else {
        panic!("a script loaded")
    };
    assert!(!reason.contains("/tests/data"), "{reason}");
}

#[test]
fn binding_puts_values_in_the_signatures_order_and_leaves_outputs_out() {
    let rows = || load("rows.onnx");
    let mut s = signature(&rows());
    s.inputs.reverse();
    s.outputs.remove(0);
    let engine = rows().bind(&s).unwrap();
    let outputs =
        engine.run(vec![floats(&[2, 1], &[1.0, 2.0]), floats(&[2, 3], &[0.0, 1.0, 2.0, 3.0, 4.0, 5.0])]).unwrap();
    assert_eq!(outputs, [floats(&[2], &[9.0, 30.0])]);
    let refused = |change: fn(&mut ModelSignature)| {
        let mut s = signature(&rows());
        change(&mut s);
        rows().bind(&s).err().expect("a signature that doesn't fit").to_string()
    };
    assert!(refused(|s| drop(s.inputs.pop())).contains("needs an input `b`"));
    assert!(refused(|s| s.inputs[0].name = "z".into()).contains("has no input `z`"));
    let text = refused(|s| {
        let ValueType::Tensor { element_type, .. } = &mut s.outputs[1].value_type else { panic!("a tensor") };
        *element_type = ElementType::Int32;
    });
    assert!(text.contains("output `sum` is float32 [N] in the model and int32 [N] in the signature"), "{text}");
}

#[test]
fn many_threads_share_a_pool() {
    let options = LoadOptions { threads: 2, instances: 2, ..LoadOptions::default() };
    let engine = load_with("rows.onnx", &options).unwrap().with_instances(1);
    assert_eq!((engine.instances(), engine.sessions()), (1, 2));
    std::thread::scope(|scope| {
        for thread in 0..8u8 {
            let engine = &engine;
            scope.spawn(move || {
                for k in 0..200u8 {
                    let x = f32::from(thread) + f32::from(k);
                    let outputs = engine.run(vec![floats(&[1, 3], &[x; 3]), floats(&[1, 1], &[1.0])]).unwrap();
                    assert_eq!(outputs[1], floats(&[1], &[6.0 * x + 3.0]));
                }
            });
        }
    });
}

#[test]
fn rows_that_are_joined_come_back_to_their_requests() {
    struct Largest(AtomicUsize);
    impl Observer for Largest {
        fn batch(&self, rows: usize, _ran: Duration) {
            self.0.fetch_max(rows, Ordering::Relaxed);
        }
    }
    let engine = load("rows.onnx");
    let mut signature = signature(&engine);
    signature.batching = Batching::Proved { axis: 0, reason: "a test".into() };
    let delay = Duration::from_millis(50);
    let settings = BatchingSettings { max_queue_delay: delay, max_batch_size: 16, ..BatchingSettings::default() };
    let largest = Arc::new(Largest(AtomicUsize::new(0)));
    let scheduler = Arc::new(Scheduler::start(engine, &signature, &settings, largest.clone()));
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime starts");
    runtime.block_on(async {
        let tasks = (0..16u8).map(|k| {
            let scheduler = scheduler.clone();
            let x = f32::from(k);
            tokio::spawn(async move {
                scheduler.infer(vec![floats(&[1, 3], &[x; 3]), floats(&[1, 1], &[x])], Urgency::default()).await
            })
        });
        for (k, task) in tasks.collect::<Vec<_>>().into_iter().enumerate() {
            let answer = task.await.expect("no task panics").expect("the model takes any row");
            let x = 3.0 * k as f32;
            assert_eq!(answer.outputs, [floats(&[1, 3], &[x; 3]), floats(&[1], &[3.0 * x])]);
        }
    });
    assert_eq!(largest.0.load(Ordering::Relaxed), 16);
}
