//! A job done in a child process with [`Limits`] of its own: a model is data from anywhere, and what loads it is native
//! code.
//!
//! [`run`] starts nimify's executable again with a hidden subcommand, hands it the job on its standard input, and takes
//! what it says, a JSON value a line, from its standard output: what came before a crash is kept. The child, whose
//! whole `main` is [`child()`], calls [`Limits::enter`] before it reads anything of the model.

mod child;
mod limits;

use std::ffi::OsStr;
use std::io::{self, Read, Write};
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc::{self, Receiver};
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal};
use serde::de::DeserializeOwned;

pub use child::{Job, Lines, child};
pub use limits::Limits;

use crate::interrupt;

/// The most that a child may say. A probe's sample is the long part: 16 million numbers at most.
const MOST_OUTPUT: u64 = 512 << 20;
/// What is kept of its standard error.
const MOST_COMPLAINT: usize = 2000;

/// What a child is to do.
#[derive(Debug)]
pub struct Task<'a> {
    /// The executable that takes the subcommand: [`itself`] in the command line.
    pub executable: &'a Path,
    /// The hidden subcommand.
    pub subcommand: &'static str,
    /// What it reads from its standard input.
    pub job: Vec<u8>,
    /// How long it may take from start to end.
    pub patience: Duration,
    /// Where it looks for locales: what `LOCPATH` is in it.
    pub locales: Option<&'a OsStr>,
}

/// nimify's own executable, to be started again: this very one where an update has taken its place meanwhile.
///
/// # Errors
/// The system doesn't say where it is.
pub fn itself() -> io::Result<PathBuf> {
    std::env::current_exe().map(|named| there_or(named, Path::new("/proc/self/exe")))
}

fn there_or(named: PathBuf, other: &Path) -> PathBuf {
    if named.exists() || !other.exists() { named } else { other.into() }
}

/// How a child ended and what it had said until then.
#[derive(Debug)]
pub struct Ended {
    /// `None` where its time ran out.
    pub status: Option<ExitStatus>,
    /// What it wrote to its standard output.
    pub output: Vec<u8>,
    /// The end of what it wrote to its standard error.
    pub complaint: String,
}

/// How a child came to an end before its work did.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Death {
    /// It reached its limit of time.
    TimedOut {
        /// The limit.
        seconds: u64,
    },
    /// It reached its limit of memory.
    OutOfMemory {
        /// The limit, MiB.
        limit_mib: u64,
    },
    /// It ended by a signal, as it does when native code goes astray.
    Crashed {
        /// The signal's name.
        signal: String,
    },
    /// It ended by itself.
    Left {
        /// How, in the system's words.
        status: String,
    },
}

impl std::fmt::Display for Death {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Death::TimedOut { seconds } => write!(f, "it took more than {seconds} s"),
            Death::OutOfMemory { limit_mib } => write!(f, "it took more than {limit_mib} MiB of memory"),
            Death::Crashed { signal } => write!(f, "ONNX Runtime crashed ({signal})"),
            Death::Left { status } => write!(f, "the process ended with {status}"),
        }
    }
}

/// Does the task in a child process, and waits for its end.
///
/// # Errors
/// The child can't be started.
pub fn run(task: &Task<'_>) -> io::Result<Ended> {
    let mut child = start(task)?;
    let deadline = Instant::now() + task.patience;
    let job = task.job.clone();
    let mut stdin = child.stdin.take().expect("stdin is a pipe");
    let stdout = child.stdout.take().expect("stdout is a pipe");
    let stderr = child.stderr.take().expect("stderr is a pipe");
    // A child that ends early closes its end: how it ended is what counts.
    thread::spawn(move || drop(stdin.write_all(&job)));
    let output = collect(stdout, MOST_OUTPUT);
    let complaint = collect(stderr, 1 << 20);
    let status = wait(&mut child, deadline);
    Ok(Ended { status, output: received(&output), complaint: tail(&received(&complaint)) })
}

/// `model` with its folder resolved and its own name kept: external data stands beside the file that the user named,
/// link or not.
///
/// # Errors
/// The file can't be found.
pub fn resolved(model: &Path) -> io::Result<PathBuf> {
    let resolved = model.canonicalize()?;
    let folder = model.parent().map(|folder| if folder.as_os_str().is_empty() { Path::new(".") } else { folder });
    Ok(match (folder.and_then(|folder| folder.canonicalize().ok()), model.file_name()) {
        (Some(folder), Some(name)) => folder.join(name),
        _ => resolved,
    })
}

impl Ended {
    /// The lines that are values of this type: native code may print others.
    pub fn values<T: DeserializeOwned>(&self) -> Vec<T> {
        self.output.split(|byte| *byte == b'\n').filter_map(|line| serde_json::from_slice(line).ok()).collect()
    }

    /// Why it ended before its work did.
    pub fn death(&self, limits: &Limits) -> Death {
        let Some(status) = self.status else {
            return Death::TimedOut { seconds: limits.wall_seconds };
        };
        // What Rust's and C++'s allocators say before they give up.
        if self.complaint.contains("memory allocation of") || self.complaint.contains("bad_alloc") {
            return Death::OutOfMemory { limit_mib: limits.address_space >> 20 };
        }
        match status.signal() {
            Some(signal) if signal == Signal::XCPU.as_raw() => Death::TimedOut { seconds: limits.cpu_seconds },
            Some(signal) => Death::Crashed { signal: signal_name(signal) },
            None => Death::Left { status: status.to_string() },
        }
    }
}

fn start(task: &Task<'_>) -> io::Result<Child> {
    Command::new(task.executable)
        .arg(task.subcommand)
        .env_clear()
        // Since 1.29 ONNX Runtime keeps a device id and a database of events in the user's home and sends them off,
        // beginning before any call could turn it off. Nothing of a model that is only looked at goes anywhere.
        .env("ORT_DISABLE_TELEMETRY", "1")
        .envs(task.locales.map(|path| ("LOCPATH", path)))
        // A group of its own: a Ctrl-C is the parent's to handle, and what the child may have started ends with it.
        .process_group(0)
        // Nothing to find.
        .current_dir("/")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
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

fn tail(bytes: &[u8]) -> String {
    let text = String::from_utf8_lossy(bytes);
    let text = text.trim();
    let from = text.char_indices().rev().nth(MOST_COMPLAINT - 1).map_or(0, |(index, _)| index);
    text[from..].to_string()
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_executable_that_was_replaced_is_still_found() {
        let (named, other) = (PathBuf::from("/bin/nimify (deleted)"), itself().unwrap());
        assert_eq!(there_or(other.clone(), Path::new("/proc/self/exe")), other);
        assert_eq!(there_or(named.clone(), &other), other);
        assert_eq!(there_or(named.clone(), Path::new("/no/such/file")), named);
    }
}
