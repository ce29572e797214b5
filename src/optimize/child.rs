//! The child's whole work: the model loaded and run, rewritten, and the new graph loaded and run.

use std::io::{Read, Write};
use std::path::Path;
use std::process::ExitCode;
use std::time::Instant;

use nimify_runtime::codec::predict;
use nimify_runtime::engine::{self, Engine, EngineError, Extent, LoadOptions};
use nimify_runtime::tensor::Value;

use super::{Job, Said};
use crate::alike::difference;
use crate::confine;

/// Does the job that `input` holds, and writes what came of it to `output`, as [`confine::child`] does.
pub fn child_main(input: impl Read, output: impl Write) -> ExitCode {
    confine::child(input, output, |job: Job, lines| lines.say(&work(&job).unwrap_or_else(Said::Refused)))
}

pub(super) fn work(job: &Job) -> Result<Said, String> {
    let version = engine::init(&job.onnxruntime).map_err(EngineError::reason)?;
    let original = answer(job, &job.model)?;
    let accelerated = job.accelerated || !engine::accelerators().map_err(EngineError::reason)?.is_empty();
    // A graph fused for the CPU has operators that other providers don't know.
    let (extent, word) = if accelerated { (Extent::Basic, "basic") } else { (Extent::Extended, "extended") };
    engine::rewrite(&job.model, &job.to, extent, job.weights.as_deref()).map_err(EngineError::reason)?;
    let rewritten = answer(job, &job.to)?;
    for (k, (was, is)) in original.outputs.iter().zip(&rewritten.outputs).enumerate() {
        if let Some(difference) = difference(was, is) {
            let name = &job.signature.outputs[k].name;
            return Err(format!("its rewritten graph gives another output `{name}` on the sample: {difference}"));
        }
    }
    Ok(Said::Written {
        how: format!("{word} optimizations of ONNX Runtime {version}"),
        load_ms: [original.load_ms, rewritten.load_ms],
    })
}

/// What a graph answers to the sample, and what it took to load.
struct Answer {
    outputs: Vec<Value>,
    load_ms: f64,
}

fn answer(job: &Job, model: &Path) -> Result<Answer, String> {
    let begun = Instant::now();
    let engine = Engine::load(model, &LoadOptions::default()).map_err(EngineError::reason)?;
    let load_ms = begun.elapsed().as_secs_f64() * 1e3;
    let engine = engine.bind(&job.signature).map_err(EngineError::reason)?;
    let inputs = predict::decode(job.sample.as_bytes(), &job.signature).map_err(|error| error.to_string())?;
    let outputs = engine.run(inputs).map_err(|error| error.to_string())?;
    Ok(Answer { outputs, load_ms })
}
