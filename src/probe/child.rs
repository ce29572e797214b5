//! The child's whole work: a job in, events out.

use std::io::{self, Read, Write};
use std::process::ExitCode;
use std::time::{Duration, Instant};

use nimify_runtime::engine::{self, Engine, LoadOptions};
use nimify_runtime::signature::{Batching, Dim, ModelSignature, ValueSpec};
use nimify_runtime::tensor::Value;

use super::exchange::{Event, Failure, Job};
use super::outputs;
use super::proof::{self, Runner};
use super::sample::{self, Found};
use super::values::Known;
use crate::confine::{self, Lines};
use crate::model;

/// Bytes of a model from which on a run is likely to take tens of milliseconds.
const SLOW_MODEL: u64 = 32 << 20;

/// Does a [`Job`] that `input` holds, and writes what it finds to `output`, as [`confine::child`] does.
pub fn child_main(input: impl Read, output: impl Write) -> ExitCode {
    confine::child(input, output, |job: Job, lines| {
        let verdict = match (Child { lines }).probe(&job)? {
            Ok(batching) => Event::Proved(batching),
            Err(failure) => Event::Failed(failure),
        };
        lines.say(&verdict)
    })
}

struct Child<'a, W> {
    lines: &'a mut Lines<W>,
}

impl<W: Write> Child<'_, W> {
    fn probe(&mut self, job: &Job) -> io::Result<Result<Batching, Failure>> {
        let ort_version = match engine::init(&job.onnxruntime) {
            Ok(version) => version,
            Err(error) => return Ok(Err(Failure::OnnxRuntime(error.to_string()))),
        };
        self.lines.say(&Event::Opened { ort_version })?;
        let start = Instant::now();
        // One thread: the order of additions, and with it the last bits of a sample, is the same each time.
        let options = LoadOptions { custom_ops: job.custom_ops.clone(), ..LoadOptions::default() };
        let engine = match Engine::load(&job.model, &options) {
            Ok(engine) => engine,
            Err(error) => return Ok(Err(Failure::Load(error.reason()))),
        };
        let load_ms = start.elapsed().as_secs_f64() * 1e3;
        for warning in discrepancies(&job.signature, engine.inputs(), engine.outputs()) {
            self.lines.say(&Event::Warning(warning))?;
        }
        let engine = match engine.bind(&job.signature) {
            Ok(engine) => engine,
            Err(error) => return Ok(Err(Failure::Load(error.reason()))),
        };
        self.lines.say(&Event::Loaded { load_ms })?;
        self.sample_and_prove(job, &mut Session(engine))
    }

    fn sample_and_prove(&mut self, job: &Job, session: &mut Session) -> io::Result<Result<Batching, Failure>> {
        let declared = Known { signature: &job.signature, hints: &job.hints };
        let start = Instant::now();
        // Half of the time for the ladder; the other half for a proof of what it finds.
        let patience = job.limits.map_or(60, |limits| limits.cpu_seconds.min(limits.wall_seconds)).saturating_mul(500);
        let patience = Duration::from_millis(patience);
        let ladder = |session: &mut Session| sample::find(session, declared, || start.elapsed() > patience);
        let found = match &job.sample {
            Some(json) => match sample::given(session, declared.signature, json) {
                Ok(found) => Ok(found),
                Err(why) => return Ok(Err(Failure::Sample(why))),
            },
            None => ladder(session),
        };
        let signature = match &found {
            Ok(found) => &self.correct(job, session, found)?,
            Err(_) => declared.signature,
        };
        let known = Known { signature, ..declared };
        match &found {
            Ok(found) => self.record(signature, session, found)?,
            Err(why) => self.lines.say(&Event::Warning(format!("no sample was found: {why}")))?,
        }
        if let Some(reason) = proof::ruled_out(signature) {
            return Ok(Ok(Batching::Refused { reason }));
        }
        let found = match found {
            Ok(found) => found,
            Err(reason) => return Ok(Ok(Batching::Unproved { reason })),
        };
        // Large models are compared on as few rows as prove something. Not slow ones: the verdict goes into
        // `signature.json`, and must not depend on how busy the machine is.
        let rows = if job.model_bytes < SLOW_MODEL { 8 } else { 3 };
        let verdict = prove(session, known, &found, rows);
        if job.sample.is_none() || !matches!(verdict, Batching::Unproved { .. }) {
            return Ok(Ok(verdict));
        }
        // The user's values were too much alike: made-up ones may show more.
        Ok(Ok(match ladder(session).map(|found| prove(session, known, &found, rows)) {
            Ok(better @ (Batching::Proved { .. } | Batching::Refused { .. })) => better,
            _ => verdict,
        }))
    }

    /// Holds the declared outputs against answers, and reports what isn't so; the signature without that.
    fn correct(&mut self, job: &Job, session: &mut Session, found: &Found) -> io::Result<ModelSignature> {
        let signature = &job.signature;
        let mut exchanges = vec![(found.request.clone(), found.answer.clone())];
        for request in outputs::others(Known { signature, hints: &job.hints }, found) {
            if let Ok(answer) = session.run(request.clone()) {
                exchanges.push((request, answer));
            }
        }
        let (outputs, warnings) = outputs::corrected(signature, &exchanges);
        if warnings.is_empty() {
            return Ok(signature.clone());
        }
        for warning in warnings {
            self.lines.say(&Event::Warning(warning))?;
        }
        self.lines.say(&Event::Outputs(outputs.clone()))?;
        let batching = model::verdict(&signature.inputs, &outputs, &job.row_coupling);
        Ok(ModelSignature { inputs: signature.inputs.clone(), outputs, batching })
    }

    /// Reports the sample, and how long a run takes.
    fn record(&mut self, signature: &ModelSignature, session: &mut Session, found: &Found) -> io::Result<()> {
        let request = sample::request_json(&found.request, signature);
        let response = sample::answer_json(&found.answer, signature);
        let taken = median_run(session, &found.request);
        let run_us = taken.as_secs_f64() * 1e6;
        self.lines.say(&Event::Sampled { request, response, run_us, resident_bytes: resident_bytes() })
    }
}

fn prove(session: &mut Session, known: Known<'_>, found: &Found, rows: usize) -> Batching {
    match sample::row_sets(known, found, rows) {
        Ok(sets) => proof::prove(session, known.signature, sets),
        Err(reason) => Batching::Unproved { reason },
    }
}

/// An engine as the proof sees it.
struct Session(Engine);

impl Runner for Session {
    fn run(&mut self, inputs: Vec<Value>) -> Result<Vec<Value>, String> {
        self.0.run(inputs).map_err(|error| error.to_string())
    }
}

/// Up to five runs within a second; their median.
fn median_run(session: &mut Session, request: &[Value]) -> Duration {
    let mut times = Vec::new();
    let start = Instant::now();
    while times.is_empty() || (times.len() < 5 && start.elapsed() < Duration::from_secs(1)) {
        let request = request.to_vec();
        let before = Instant::now();
        let _ = session.run(request);
        times.push(before.elapsed());
    }
    times.sort_unstable();
    times[times.len() / 2]
}

/// Memory of this process that is in use, bytes.
fn resident_bytes() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    Some(line.trim().strip_suffix("kB")?.trim().parse::<u64>().ok()? * 1024)
}

/// Where ONNX Runtime reads other inputs, outputs or sizes out of the file than [`crate::model`] does.
fn discrepancies(signature: &ModelSignature, inputs: &[ValueSpec], outputs: &[ValueSpec]) -> Vec<String> {
    let mut found = Vec::new();
    for (what, read, reported) in [("input", &signature.inputs, inputs), ("output", &signature.outputs, outputs)] {
        for spec in reported.iter().filter(|spec| read.iter().all(|other| other.name != spec.name)) {
            found.push(format!("ONNX Runtime has the {what} `{}`, which the file doesn't list", spec.name));
        }
        for spec in read {
            let Some(other) = reported.iter().find(|other| other.name == spec.name) else { continue };
            if !sizes_agree(spec, other) {
                let (name, says, is) = (&spec.name, &spec.value_type, &other.value_type);
                found.push(format!("the {what} `{name}` is {says} in the file and {is} in ONNX Runtime"));
            }
        }
    }
    found
}

/// Whether two specs fix no size differently. ONNX Runtime tells no unknown rank from a scalar.
fn sizes_agree(read: &ValueSpec, reported: &ValueSpec) -> bool {
    let dims = |spec: &ValueSpec| spec.tensor().and_then(|(_, shape)| shape.0.clone()).filter(|dims| !dims.is_empty());
    let (Some(a), Some(b)) = (dims(read), dims(reported)) else { return true };
    let differ = |(a, b): (&Dim, &Dim)| matches!((a, b), (Dim::Fixed(a), Dim::Fixed(b)) if a != b);
    a.len() == b.len() && !a.iter().zip(&b).any(differ)
}
