//! The parent's side: has the child do its work, and makes a report of what it said.

use std::time::Duration;

use nimify_runtime::signature::Batching;

use super::error::Stage;
use super::exchange::{Event, Failure, Job};
use super::{Error, Measured, ProbeReport, ProbeRequest, SUBCOMMAND};
use crate::confine::{self, Death, Ended, Task};
use crate::plan::Sample;

/// Probes a model in a child process with limits of its own.
pub fn probe(request: &ProbeRequest) -> Result<ProbeReport, Error> {
    let model = &request.model;
    let job = Job {
        onnxruntime: request.onnxruntime.clone(),
        model: confine::resolved(model).map_err(|source| Error::Model { model: model.clone(), source })?,
        custom_ops: request.custom_ops.clone(),
        model_bytes: request.model_bytes,
        signature: request.signature.clone(),
        hints: request.hints.clone(),
        row_coupling: request.row_coupling.clone(),
        sample: request.sample.clone(),
        limits: Some(request.limits),
        parent: std::process::id(),
    };
    let task = Task {
        executable: &request.executable,
        subcommand: SUBCOMMAND,
        job: serde_json::to_vec(&job).expect("a job is plain data"),
        patience: Duration::from_secs(request.limits.wall_seconds),
        locales: request.locales.as_deref(),
    };
    let executable = request.executable.clone();
    let ended = confine::run(&task).map_err(|source| Error::Start { executable, source })?;
    report(request, &ended)
}

fn report(request: &ProbeRequest, ended: &Ended) -> Result<ProbeReport, Error> {
    let model = || request.model.clone();
    let mut stage = Stage::Loading;
    let mut outputs = request.signature.outputs.clone();
    let (mut measured, mut sample, mut batching, mut warnings) = (Measured::default(), None, None, Vec::new());
    for event in ended.values::<Event>() {
        match event {
            Event::Opened { ort_version } => measured.ort_version = ort_version,
            Event::Loaded { load_ms } => {
                measured.load_ms = load_ms;
                stage = Stage::Running;
            }
            Event::Warning(text) => warnings.push(text),
            Event::Sampled { request, response, run_us, resident_bytes } => {
                sample = Some(Sample { request, response });
                (measured.run_us, measured.resident_bytes) = (Some(run_us), resident_bytes);
                stage = Stage::Proving;
            }
            Event::Outputs(corrected) => outputs = corrected,
            Event::Proved(verdict) => batching = Some(verdict),
            Event::Failed(failure) => return Err(failed(request, failure)),
        }
    }
    let batching = match batching {
        Some(batching) => batching,
        None => {
            let error = broken_off(request, stage, ended);
            // The sample stands; what broke off was the comparison of batches, which is then not to be had in
            // production either.
            if stage != Stage::Proving || matches!(error, Error::NoReport { .. }) {
                return Err(error);
            }
            warnings.push(error.to_string());
            Batching::Refused { reason: format!("the comparison of batches broke off: {error}") }
        }
    };
    if measured.ort_version.is_empty() {
        return Err(Error::NoReport {
            model: model(),
            reason: "it is incomplete".into(),
            output: ended.complaint.clone(),
        });
    }
    Ok(ProbeReport { batching, outputs, sample, measured, warnings })
}

fn failed(request: &ProbeRequest, failure: Failure) -> Error {
    let model = request.model.clone();
    match failure {
        Failure::OnnxRuntime(reason) => Error::OnnxRuntime { reason },
        Failure::Load(reason) => Error::Load { model, reason },
        Failure::Sample(reason) => Error::Sample { model, reason },
    }
}

/// The error of a child that ended without a verdict.
fn broken_off(request: &ProbeRequest, stage: Stage, ended: &Ended) -> Error {
    let (model, output) = (request.model.clone(), ended.complaint.clone());
    match ended.death(&request.limits) {
        Death::TimedOut { seconds } => Error::TimedOut { model, stage, seconds },
        Death::OutOfMemory { limit_mib } => Error::OutOfMemory { model, stage, limit_mib },
        Death::Crashed { signal } => Error::Crashed { model, stage, signal, output },
        left @ Death::Left { .. } => Error::NoReport { model, reason: left.to_string(), output },
    }
}
