//! Ctrl-C, SIGTERM and a closed terminal: noted once, asked after between steps, so that every stage unwinds and removes what it began.

use std::io::{self, Read};
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, ExitStatus, Output, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::task::Poll;
use std::thread::JoinHandle;
use std::time::Duration;

use tokio::signal::unix::{Signal, SignalKind, signal};

static INTERRUPTED: AtomicBool = AtomicBool::new(false);

/// The user asked to stop.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("interrupted")]
pub struct Interrupted;

/// How long the stages get to clean up before the process ends regardless.
const PATIENCE: Duration = Duration::from_secs(5);

/// Why stages may take longer than that: what has to be undone first. What is said where the user doesn't wait for it.
static HELD: Mutex<Option<&'static str>> = Mutex::new(None);

/// Until it is dropped, a first signal is only noted, however long the stages take to clean up.
#[derive(Debug)]
#[must_use]
pub struct Hold(());

/// Asks for as much time as it takes after a first signal. A second one still ends the process, and `words` say what that
/// leaves behind.
pub fn hold(words: &'static str) -> Hold {
    *held() = Some(words);
    Hold(())
}

fn held() -> MutexGuard<'static, Option<&'static str>> {
    HELD.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Drop for Hold {
    fn drop(&mut self) {
        *held() = None;
    }
}

/// Returns once nobody has asked for more time for as long as the stages get.
async fn out_of_patience() {
    let mut left = PATIENCE;
    let step = Duration::from_millis(50);
    while !left.is_zero() {
        tokio::time::sleep(step).await;
        left = if held().is_some() { PATIENCE } else { left.saturating_sub(step) };
    }
}

/// Takes note of SIGINT, SIGTERM and SIGHUP from now on. A second signal, or stages that don't come back, end the process.
pub fn listen() -> io::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let mut signals = runtime.block_on(async {
        let kinds = [SignalKind::interrupt(), SignalKind::terminate(), SignalKind::hangup()];
        kinds.into_iter().map(signal).collect::<io::Result<Vec<_>>>()
    })?;
    std::thread::Builder::new().name("signals".into()).spawn(move || {
        runtime.block_on(async {
            any(&mut signals).await;
            INTERRUPTED.store(true, Ordering::SeqCst);
            tokio::select! { () = any(&mut signals) => {}, () = out_of_patience() => {} }
            if let Some(words) = *held() {
                eprintln!("interrupted again: {words}");
            }
            std::process::exit(130)
        })
    })?;
    Ok(())
}

/// Waits for one of the signals.
async fn any(signals: &mut [Signal]) {
    std::future::poll_fn(|context| {
        let came = signals.iter_mut().any(|signal| signal.poll_recv(context).is_ready());
        if came { Poll::Ready(()) } else { Poll::Pending }
    })
    .await;
}

/// Whether to go on.
pub fn check() -> Result<(), Interrupted> {
    if INTERRUPTED.load(Ordering::SeqCst) { Err(Interrupted) } else { Ok(()) }
}

/// The note itself, for stages that watch it while they wait.
pub fn flag() -> &'static AtomicBool {
    &INTERRUPTED
}

impl From<Interrupted> for io::Error {
    /// Not of the kind `Interrupted`: that one asks for another try, and `io::copy` obliges.
    fn from(interrupted: Interrupted) -> Self {
        io::Error::other(interrupted)
    }
}

/// A reader that fails once the user asked to stop, so that no large file holds the end up.
#[derive(Debug)]
pub struct Stoppable<R>(pub R);

impl<R: Read> Read for Stoppable<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        check()?;
        self.0.read(buffer)
    }
}

/// Waits until the user asks to stop.
pub async fn asked() -> Interrupted {
    while check().is_ok() {
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    Interrupted
}

/// Runs a command to its end, as [`Command::output`] does; it is gone, with all that it started, when the user asks to
/// stop.
pub fn output(command: &mut Command) -> io::Result<Output> {
    let command = command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = OwnedChild(command.process_group(0).spawn()?);
    let [stdout, stderr] = [child.0.stdout.take().map(collect), child.0.stderr.take().map(collect)];
    let status = child.wait()?;
    let read = |reader: Option<JoinHandle<Vec<u8>>>| reader.and_then(|reader| reader.join().ok()).unwrap_or_default();
    Ok(Output { status, stdout: read(stdout), stderr: read(stderr) })
}

/// Reads in a thread of its own, so that neither pipe holds the other up.
fn collect(mut pipe: impl Read + Send + 'static) -> JoinHandle<Vec<u8>> {
    std::thread::spawn(move || {
        let mut bytes = Vec::new();
        // What came before the pipe broke is what there is.
        _ = pipe.read_to_end(&mut bytes);
        bytes
    })
}

/// A child process that doesn't outlive its owner: dropped while it runs, its whole process group is killed.
#[derive(Debug)]
pub struct OwnedChild(pub Child);

impl OwnedChild {
    /// Waits for the end of the child, or gives up when the user asked to stop.
    pub fn wait(&mut self) -> io::Result<ExitStatus> {
        loop {
            if let Some(status) = self.0.try_wait()? {
                return Ok(status);
            }
            check()?;
            std::thread::sleep(Duration::from_millis(5));
        }
    }
}

impl Drop for OwnedChild {
    fn drop(&mut self) {
        if let Ok(None) = self.0.try_wait() {
            // A child that was started in a process group of its own is its leader; any other is killed alone.
            let killed = rustix::process::Pid::from_raw(self.0.id() as i32)
                .map(|pid| rustix::process::kill_process_group(pid, rustix::process::Signal::KILL));
            if !matches!(killed, Some(Ok(()))) {
                drop(self.0.kill());
            }
            drop(self.0.wait());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_dropped_child_is_gone_with_its_children() {
        let home = tempfile::tempdir().unwrap();
        let mark = home.path().join("alive");
        let script = format!("(sleep 1; touch {}) & sleep 30", mark.display());
        let child = OwnedChild(Command::new("sh").args(["-c", &script]).process_group(0).spawn().unwrap());
        std::thread::sleep(Duration::from_millis(200));
        drop(child);
        std::thread::sleep(Duration::from_millis(1200));
        assert!(!mark.exists());
    }

    #[test]
    fn a_child_that_ends_is_waited_for() {
        let mut child = OwnedChild(Command::new("sh").args(["-c", "exit 3"]).spawn().unwrap());
        assert_eq!(child.wait().unwrap().code(), Some(3));
    }

    #[test]
    fn a_commands_output_comes_whole() {
        let script = "head -c 200000 /dev/zero; head -c 200000 /dev/zero >&2; exit 4";
        let output = output(Command::new("sh").args(["-c", script])).unwrap();
        assert_eq!((output.status.code(), output.stdout.len(), output.stderr.len()), (Some(4), 200_000, 200_000));
        assert!(super::output(&mut Command::new("/no/such/program")).is_err());
    }
}
