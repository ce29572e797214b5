//! The parent's side: starts the child, waits as long as the limits allow, and makes a report of what it said.

use std::io::{Read, Write};
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc::{self, Receiver};
use std::thread;
use std::time::{Duration, Instant};

use nimify_runtime::signature::Batching;
use rustix::process::{Pid, Signal};

use super::error::Stage;
use super::exchange::{Event, Failure, Job};
use super::{Error, Measured, ProbeReport, ProbeRequest, SUBCOMMAND};
use crate::interrupt;
use crate::plan::Sample;

/// The most that a child may say. Its sample is the long part: 16 million numbers at most.
const MOST_OUTPUT: u64 = 512 << 20;
/// What is kept of its standard error.
const MOST_COMPLAINT: usize = 2000;

/// Probes a model in a child process with limits of its own.
pub fn probe(request: &ProbeRequest) -> Result<ProbeReport, Error> {
    let model = &request.model;
    let absolute = model.canonicalize().map_err(|source| Error::Model { model: model.clone(), source })?;
    let job = Job {
        onnxruntime: request.onnxruntime.clone(),
        // The folder alone is resolved: external data stands beside the file that the user named, link or not.
        model: beside(model, absolute),
        model_bytes: request.model_bytes,
        signature: request.signature.clone(),
        hints: request.hints.clone(),
        sample: request.sample.clone(),
        limits: Some(request.limits),
        parent: std::process::id(),
    };
    let child = start(&request.executable)?;
    let ended = converse(child, &job, Duration::from_secs(request.limits.wall_seconds));
    report(request, ended)
}

/// `model` with its folder resolved and its own name kept.
fn beside(model: &Path, resolved: std::path::PathBuf) -> std::path::PathBuf {
    let folder = model.parent().map(|folder| if folder.as_os_str().is_empty() { Path::new(".") } else { folder });
    match (folder.and_then(|folder| folder.canonicalize().ok()), model.file_name()) {
        (Some(folder), Some(name)) => folder.join(name),
        _ => resolved,
    }
}

fn start(executable: &Path) -> Result<Child, Error> {
    Command::new(executable)
        .arg(SUBCOMMAND)
        .env_clear()
        // Since 1.29 ONNX Runtime keeps a device id and a database of events in the user's home and sends them off,
        // beginning before any call could turn it off. Nothing of a model that is only looked at goes anywhere.
        .env("ORT_DISABLE_TELEMETRY", "1")
        // A group of its own: a Ctrl-C is the parent's to handle, and what the child may have started ends with it.
        .process_group(0)
        // Nothing to find and, with files limited to 0 bytes, nothing to write.
        .current_dir("/")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .map_err(|source| Error::Start { executable: executable.into(), source })
}

/// How a child ended and what it had said until then.
struct Ended {
    /// `None` where its time ran out.
    status: Option<ExitStatus>,
    events: Vec<Event>,
    complaint: String,
}

fn converse(mut child: Child, job: &Job, patience: Duration) -> Ended {
    let deadline = Instant::now() + patience;
    let job = serde_json::to_vec(job).expect("a job is plain data");
    let mut stdin = child.stdin.take().expect("stdin is a pipe");
    let stdout = child.stdout.take().expect("stdout is a pipe");
    let stderr = child.stderr.take().expect("stderr is a pipe");
    // A child that ends early closes its end: how it ended is what counts.
    thread::spawn(move || drop(stdin.write_all(&job)));
    let output = collect(stdout, MOST_OUTPUT);
    let complaint = collect(stderr, 1 << 20);
    let status = wait(&mut child, deadline);
    Ended { status, events: events(&received(&output)), complaint: tail(&received(&complaint)) }
}

/// Reads in a thread of its own, so that neither pipe holds the other up.
fn collect(from: impl Read + Send + 'static, most: u64) -> Receiver<Vec<u8>> {
    let (sender, receiver) = mpsc::channel();
    thread::spawn(move || sender.send(read_all(from, most)));
    receiver
}

/// What was read. A process that left the group and holds the pipe open is not waited for.
fn received(from: &Receiver<Vec<u8>>) -> Vec<u8> {
    from.recv_timeout(Duration::from_secs(5)).unwrap_or_default()
}

/// Waits until `deadline` or until the user asks to stop; kills the child and all in its group after it.
fn wait(child: &mut Child, deadline: Instant) -> Option<ExitStatus> {
    let mut pause = Duration::from_millis(1);
    let status = loop {
        match child.try_wait() {
            Ok(Some(status)) => break Some(status),
            Ok(None) if Instant::now() < deadline && interrupt::check().is_ok() => {
                thread::sleep(pause);
                pause = (pause * 2).min(Duration::from_millis(10));
            }
            _ => break None,
        }
    };
    if let Some(group) = i32::try_from(child.id()).ok().and_then(Pid::from_raw) {
        let _ = rustix::process::kill_process_group(group, Signal::KILL);
    }
    let _ = child.wait();
    status
}

/// Up to `most` bytes; the rest is read and dropped, so that the writer is never held up.
fn read_all(mut from: impl Read, most: u64) -> Vec<u8> {
    let mut bytes = Vec::new();
    let _ = from.by_ref().take(most).read_to_end(&mut bytes);
    let _ = std::io::copy(&mut from, &mut std::io::sink());
    bytes
}

/// The lines that are events: native code may print others.
fn events(output: &[u8]) -> Vec<Event> {
    output.split(|byte| *byte == b'\n').filter_map(|line| serde_json::from_slice(line).ok()).collect()
}

fn tail(bytes: &[u8]) -> String {
    let text = String::from_utf8_lossy(bytes);
    let text = text.trim();
    let from = text.char_indices().rev().nth(MOST_COMPLAINT - 1).map_or(0, |(index, _)| index);
    text[from..].to_string()
}

fn report(request: &ProbeRequest, ended: Ended) -> Result<ProbeReport, Error> {
    let model = || request.model.clone();
    let mut stage = Stage::Loading;
    let (mut measured, mut sample, mut batching, mut warnings) = (Measured::default(), None, None, Vec::new());
    for event in &ended.events {
        match event.clone() {
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
            Event::Proved(verdict) => batching = Some(verdict),
            Event::Failed(failure) => return Err(failed(request, failure)),
        }
    }
    let batching = match batching {
        Some(batching) => batching,
        None => {
            let error = broken_off(request, stage, &ended);
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
        return Err(Error::NoReport { model: model(), reason: "it is incomplete".into(), output: ended.complaint });
    }
    Ok(ProbeReport { batching, sample, measured, warnings })
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
    let (model, limits) = (request.model.clone(), request.limits);
    let output = ended.complaint.clone();
    let Some(status) = ended.status else {
        return Error::TimedOut { model, stage, seconds: limits.wall_seconds };
    };
    // What Rust's and C++'s allocators say before they give up.
    if output.contains("memory allocation of") || output.contains("bad_alloc") {
        return Error::OutOfMemory { model, stage, limit_mib: limits.address_space >> 20 };
    }
    match status.signal() {
        Some(signal) if signal == Signal::XCPU.as_raw() => {
            Error::TimedOut { model, stage, seconds: limits.cpu_seconds }
        }
        Some(signal) => Error::Crashed { model, stage, signal: signal_name(signal), output },
        None => {
            let reason = format!("the process ended with {status}");
            Error::NoReport { model, reason, output }
        }
    }
}

fn signal_name(signal: i32) -> String {
    use Signal as S;
    let known = [
        (S::SEGV, "SIGSEGV"),
        (S::ABORT, "SIGABRT"),
        (S::BUS, "SIGBUS"),
        (S::ILL, "SIGILL"),
        (S::FPE, "SIGFPE"),
        (S::KILL, "SIGKILL"),
        (S::XFSZ, "SIGXFSZ"),
        (S::SYS, "SIGSYS"),
    ];
    let name = known.iter().find(|(known, _)| known.as_raw() == signal).map(|(_, name)| name.to_string());
    name.unwrap_or_else(|| format!("signal {signal}"))
}
