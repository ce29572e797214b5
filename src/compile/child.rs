//! A child process whose lines are heard while it runs.

use std::io::{self, BufRead, BufReader, Read};
use std::os::unix::process::CommandExt;
use std::process::{Command, ExitStatus, Stdio};
use std::sync::mpsc::{self, RecvTimeoutError, Sender};
use std::thread;
use std::time::Duration;

use super::Stop;
use crate::interrupt::OwnedChild;

/// A line of output, without its end.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Line {
    Out(String),
    Error(String),
}

/// Runs `command` to its end, in a process group of its own, and hands on each line.
///
/// `None` when `stop` said so before the end: then the whole group is gone.
pub(super) fn run(
    command: &mut Command,
    stop: Stop<'_>,
    heard: &mut dyn FnMut(Line),
) -> io::Result<Option<ExitStatus>> {
    let spawned =
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).process_group(0).spawn()?;
    let mut child = OwnedChild(spawned);
    let (sender, lines) = mpsc::channel();
    let (stdout, stderr) = (child.0.stdout.take(), child.0.stderr.take());
    let readers = [listen(stdout, sender.clone(), Line::Out), listen(stderr, sender, Line::Error)];
    loop {
        match lines.recv_timeout(Duration::from_millis(50)) {
            Ok(line) => heard(line),
            Err(RecvTimeoutError::Disconnected) => break,
            Err(RecvTimeoutError::Timeout) => {}
        }
        if stop() {
            return Ok(None);
        }
    }
    for reader in readers {
        // A reader ends when its pipe does; there is nothing in it that panics.
        let _ = reader.join();
    }
    child.0.wait().map(Some)
}

fn listen(
    pipe: Option<impl Read + Send + 'static>,
    lines: Sender<Line>,
    kind: fn(String) -> Line,
) -> thread::JoinHandle<()> {
    thread::spawn(move || {
        let Some(pipe) = pipe else { return };
        for line in BufReader::new(pipe).split(b'\n') {
            let Ok(line) = line else { return };
            if lines.send(kind(String::from_utf8_lossy(&line).into_owned())).is_err() {
                return;
            }
        }
    })
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use super::*;

    #[test]
    fn lines_of_both_pipes_are_heard() {
        let mut lines = Vec::new();
        let mut command = Command::new("sh");
        command.args(["-c", "echo out; echo err >&2; printf last; exit 3"]);
        let status = run(&mut command, &|| false, &mut |line| lines.push(line)).unwrap().unwrap();
        assert_eq!(status.code(), Some(3));
        for line in [Line::Out("out".into()), Line::Out("last".into()), Line::Error("err".into())] {
            assert!(lines.contains(&line), "{line:?}");
        }
    }

    #[test]
    fn a_stopped_group_is_gone_with_its_grandchildren() {
        let stop = Cell::new(false);
        let mut grandchild = 0;
        let mut command = Command::new("sh");
        command.args(["-c", "sleep 60 & echo $!; wait"]);
        let ended = run(&mut command, &|| stop.get(), &mut |line| {
            if let Line::Out(pid) = line {
                grandchild = pid.parse::<u32>().unwrap();
                stop.set(true);
            }
        });
        assert!(ended.unwrap().is_none());
        // Killed, it may stay a zombie until its new parent looks.
        for _ in 0..100 {
            let state = std::fs::read_to_string(format!("/proc/{grandchild}/stat")).unwrap_or_default();
            if state.is_empty() || state.contains(") Z") {
                return;
            }
            thread::sleep(Duration::from_millis(20));
        }
        panic!("process {grandchild} still runs");
    }
}
