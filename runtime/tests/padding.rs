//! Padding against the real ONNX Runtime: a model that heeds its mask, and what of it doesn't.

#![allow(clippy::unwrap_used, reason = "a test may panic, its helpers too")]

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use nimify_runtime::batching::{Executor, Observer, Padding, Scheduler, same_answer};
use nimify_runtime::engine::{Engine, LoadOptions, init};
use nimify_runtime::error::Error;
use nimify_runtime::inference::Urgency;
use nimify_runtime::settings::{BatchingSettings, PaddingSettings};
use nimify_runtime::signature::{Batching, ModelSignature};
use nimify_runtime::tensor::{Tensor, TensorData, Value};

/// The model `attention.onnx`, of which the last output, a mean over all places, is left out unless it is asked for.
struct Attention {
    engine: Engine,
    outputs: usize,
}

impl Executor for Attention {
    fn run(&self, inputs: Vec<Value>) -> Result<Vec<Value>, Error> {
        let mut outputs = self.engine.run(inputs)?;
        outputs.truncate(self.outputs);
        Ok(outputs)
    }

    fn instances(&self) -> usize {
        1
    }
}

fn attention(outputs: usize) -> (Attention, ModelSignature) {
    let library = std::env::var_os("NIMIFY_ONNXRUNTIME").expect("set NIMIFY_ONNXRUNTIME: this test runs models");
    init(&PathBuf::from(library)).expect("ONNX Runtime opens");
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/attention.onnx");
    let engine = Engine::load(&path, &LoadOptions::default()).unwrap();
    let mut signature = ModelSignature {
        inputs: engine.inputs().to_vec(),
        outputs: engine.outputs().to_vec(),
        batching: Batching::Proved { axis: 0, reason: "a test".into() },
    };
    signature.outputs.truncate(outputs);
    (Attention { engine, outputs }, signature)
}

fn request(ids: &[i64]) -> Vec<Value> {
    let tensor = |data| Tensor::new(vec![1, ids.len()], TensorData::Int64(data)).unwrap().into();
    vec![tensor(ids.to_vec()), tensor(vec![1; ids.len()])]
}

fn settings() -> PaddingSettings {
    PaddingSettings { values: [("ids".to_string(), 0.0)].into(), mask: Some("mask".into()) }
}

#[test]
fn what_heeds_the_mask_is_padded_and_what_doesn_t_is_not() {
    let (model, signature) = attention(2);
    let sample = request(&[1, 2, 3, 4, 0, 1]);
    assert!(Padding::prove(&model, &signature, &settings(), &sample).is_ok());
    let (model, signature) = attention(3);
    let reason = Padding::prove(&model, &signature, &settings(), &sample).unwrap_err();
    assert!(reason.contains("the output `mean` of the row of length 5 differs at element"), "{reason}");
}

#[test]
fn padded_rows_get_the_answers_that_they_get_alone() {
    struct Rows(Mutex<Vec<usize>>);
    impl Observer for Rows {
        fn batch(&self, rows: usize, _ran: Duration) {
            self.0.lock().unwrap().push(rows);
        }
    }
    let (model, signature) = attention(2);
    let padding = Padding::prove(&model, &signature, &settings(), &request(&[1, 2, 3, 4])).unwrap();
    let requests: Vec<_> = [5, 6, 7, 8].map(|n| request(&(0..n).map(|k| (k * n) % 5).collect::<Vec<_>>())).into();
    let alone: Vec<_> = requests.iter().map(|inputs| model.run(inputs.clone()).unwrap()).collect();
    let delay = Duration::from_secs(20);
    let batching = BatchingSettings { max_queue_delay: delay, max_batch_size: 4, ..BatchingSettings::default() };
    let rows = Arc::new(Rows(Mutex::default()));
    let scheduler = Arc::new(Scheduler::start_with(model, &signature, &batching, Some(padding), rows.clone()));
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let tasks: Vec<_> = requests
            .into_iter()
            .map(|inputs| {
                let scheduler = scheduler.clone();
                tokio::spawn(async move { scheduler.infer(inputs, Urgency::default()).await })
            })
            .collect();
        for (task, alone) in tasks.into_iter().zip(&alone) {
            let outputs = task.await.unwrap().unwrap().outputs;
            for (alone, padded) in alone.iter().zip(&outputs) {
                assert_eq!(same_answer(alone, padded), Ok(()));
            }
        }
    });
    assert_eq!(*rows.0.lock().unwrap(), [4]);
}
