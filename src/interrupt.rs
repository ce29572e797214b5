//! Ctrl-C and SIGTERM: noted once, asked after between steps, so that every stage unwinds and removes what it began.

use std::io;
use std::process::{Child, ExitStatus};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

static INTERRUPTED: AtomicBool = AtomicBool::new(false);

/// The user asked to stop.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("interrupted")]
pub struct Interrupted;

/// How long the stages get to clean up before the process ends regardless.
const PATIENCE: Duration = Duration::from_secs(5);

/// Takes note of SIGINT and SIGTERM from now on. A second signal, or stages that don't come back, end the process.
pub fn listen() -> io::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let (mut interrupt, mut terminate) = runtime.block_on(async {
        use tokio::signal::unix::{SignalKind, signal};
        Ok::<_, io::Error>((signal(SignalKind::interrupt())?, signal(SignalKind::terminate())?))
    })?;
    std::thread::Builder::new().name("signals".into()).spawn(move || {
        runtime.block_on(async {
            tokio::select! { _ = interrupt.recv() => {}, _ = terminate.recv() => {} }
            INTERRUPTED.store(true, Ordering::SeqCst);
            tokio::select! {
                _ = interrupt.recv() => {},
                _ = terminate.recv() => {},
                () = tokio::time::sleep(PATIENCE) => {},
            }
            std::process::exit(130)
        })
    })?;
    Ok(())
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
    fn from(interrupted: Interrupted) -> Self {
        io::Error::new(io::ErrorKind::Interrupted, interrupted)
    }
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
    use std::os::unix::process::CommandExt;
    use std::process::Command;

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
}
