//! What sessions are opened with and what they hold, against the real ONNX Runtime: providers, shared weights, memory.

#![allow(clippy::unwrap_used, reason = "a test may panic, its helpers too")]

use std::path::Path;

use nimify_runtime::engine::{Engine, EngineError, LoadOptions, Provider, init};
use nimify_runtime::tensor::{Tensor, TensorData, Value};

fn load(name: &str, options: &LoadOptions) -> Result<Engine, EngineError> {
    let library = std::env::var_os("NIMIFY_ONNXRUNTIME")
        .expect("set NIMIFY_ONNXRUNTIME to ONNX Runtime's library (libonnxruntime.so.1.31.1): this test runs models");
    init(Path::new(&library)).expect("ONNX Runtime opens");
    Engine::load(&Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data").join(name), options)
}

fn with(providers: &str, require: bool) -> LoadOptions {
    LoadOptions { providers: providers.parse().unwrap(), require, ..LoadOptions::default() }
}

/// Rows of ones for `weighty.onnx`, of which each row gives 2 · 1024 · 1024.
fn ones(rows: usize) -> Vec<Value> {
    vec![Tensor::new(vec![rows, 1024], TensorData::Float32(vec![1.0; rows * 1024])).unwrap().into()]
}

fn sums(rows: usize) -> Vec<Value> {
    vec![Tensor::new(vec![rows], TensorData::Float32(vec![2_097_152.0; rows])).unwrap().into()]
}

/// Memory of the process, bytes.
fn resident() -> u64 {
    let pages = std::fs::read_to_string("/proc/self/statm").unwrap();
    pages.split_whitespace().nth(1).unwrap().parse::<u64>().unwrap() * 4096
}

#[test]
fn auto_and_cpu_take_the_cpu_where_there_is_nothing_else() {
    for providers in ["auto", "cpu"] {
        let engine = load("rows.onnx", &with(providers, false)).unwrap();
        let taken = engine.provider();
        assert_eq!((taken.provider, taken.operators), (Provider::Cpu, None), "{providers}");
        assert_eq!(taken.refused, [], "{providers}");
    }
    assert_eq!(load("rows.onnx", &with("cpu", true)).unwrap().provider().provider, Provider::Cpu);
}

/// The library that the tests run with is the one for CPUs: every other provider has to be missed out loud.
#[test]
fn a_provider_that_is_not_there_is_fallen_back_from_with_its_reason_or_refused() {
    for provider in Provider::ALL.into_iter().filter(|provider| *provider != Provider::Cpu) {
        let engine = load("rows.onnx", &with(provider.word(), false)).unwrap();
        let taken = engine.provider();
        assert_eq!(taken.provider, Provider::Cpu);
        assert_eq!((taken.refused.len(), taken.refused[0].provider), (1, provider));
        assert!(taken.refused[0].reason.contains("built without it"), "{taken:?}");

        let Err(error) = load("rows.onnx", &with(provider.word(), true)) else { panic!("{provider} was had") };
        assert!(matches!(error, EngineError::Provider { .. }), "{error}");
        let text = error.to_string();
        assert!(text.contains(provider.word()) && text.contains("built without it"), "{text}");
    }
    let engine = load("rows.onnx", &with("tensorrt,cuda,cpu", true)).unwrap();
    assert_eq!((engine.provider().provider, engine.provider().refused.len()), (Provider::Cpu, 2));
    let Err(error) = load("rows.onnx", &with("auto", true)) else { panic!("an accelerator was had") };
    assert!(error.to_string().contains("no other than the CPU"), "{error}");
}

#[test]
fn instances_of_a_model_with_weights_hold_them_once() {
    let pool = |threads, instances| {
        let engine = load("weighty.onnx", &LoadOptions { threads, instances, ..LoadOptions::default() }).unwrap();
        assert_eq!(engine.instances(), instances);
        assert_eq!(engine.run(ones(2)).unwrap(), sums(2));
        engine.memory()
    };
    let one = pool(1, 1);
    assert!(one.held >= 4 << 20 && one.used <= one.held && one.peak >= one.used, "{one:?}");
    for (threads, instances) in [(2, 2), (4, 2), (4, 4), (2, 4)] {
        let many = pool(threads, instances);
        assert!(many.held < one.held * 3 / 2, "{instances} instances, {threads} threads: {many:?}, one: {one:?}");
    }
}

#[test]
fn many_threads_run_one_session() {
    let engine = load("weighty.onnx", &LoadOptions { threads: 4, instances: 4, ..LoadOptions::default() }).unwrap();
    std::thread::scope(|scope| {
        for thread in 0..8 {
            let engine = &engine;
            scope.spawn(move || {
                for rows in 1..20 {
                    assert_eq!(engine.run(ones(rows + thread)).unwrap(), sums(rows + thread));
                }
            });
        }
    });
}

#[test]
fn memory_is_flat_over_varying_shapes_and_comes_back_after_a_large_request() {
    let engine = load("weighty.onnx", &LoadOptions::default()).unwrap();
    let round = || (1..=64).for_each(|rows| assert_eq!(engine.run(ones(rows)).unwrap(), sums(rows)));
    round();
    let (held, before) = (engine.memory().held, resident());
    (0..20).for_each(|_| round());
    assert!(engine.memory().held <= held + (1 << 20), "{:?}, {held} before", engine.memory());
    assert!(resident() < before + (16 << 20), "{} MiB more", (resident() - before) >> 20);

    assert_eq!(engine.run(ones(20_000)).unwrap(), sums(20_000));
    let large = engine.memory().held;
    assert!(large > held + (60 << 20), "{large}: the model needs 80 MB for that");
    (0..3).for_each(|_| round());
    assert!(engine.memory().held <= held + (8 << 20), "{:?}, {held} before", engine.memory());
}
