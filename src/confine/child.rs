//! The child's side of a job: read it, be confined, do it, say what came of it.

use std::io::{self, Read, Write};
use std::process::ExitCode;

use serde::Serialize;
use serde::de::DeserializeOwned;

use super::Limits;

/// What a child is told on its standard input.
pub trait Job: DeserializeOwned {
    /// The limits that the child puts on itself; `None` runs without, as tests in one process have to.
    fn limits(&self) -> Option<&Limits>;

    /// The parent, so that a child whose parent is gone before it looks ends too.
    fn parent(&self) -> u32;
}

/// What a child says: a JSON value a line.
pub struct Lines<W>(W);

impl<W: Write> Lines<W> {
    /// Says one thing, at once: what came before a crash is kept.
    ///
    /// # Errors
    /// The parent doesn't listen any more.
    pub fn say(&mut self, value: &impl Serialize) -> io::Result<()> {
        let mut line = serde_json::to_vec(value)?;
        line.push(b'\n');
        self.0.write_all(&line)?;
        self.0.flush()
    }
}

/// Reads a job from `input` to its end, and has `work` do it.
///
/// The limits are put on the calling process for good: this is the last thing that a process does.
pub fn child<J: Job, W: Write>(
    input: impl Read,
    output: W,
    work: impl FnOnce(J, &mut Lines<W>) -> io::Result<()>,
) -> ExitCode {
    match confined(input, output, work) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}

fn confined<J: Job, W: Write>(
    input: impl Read,
    output: W,
    work: impl FnOnce(J, &mut Lines<W>) -> io::Result<()>,
) -> io::Result<()> {
    let job: J = serde_json::from_reader(input)?;
    if let Some(limits) = job.limits() {
        limits.enter(job.parent())?;
    }
    work(job, &mut Lines(output))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde::Deserialize;

    #[derive(Deserialize)]
    struct Count(u32);

    impl Job for Count {
        fn limits(&self) -> Option<&Limits> {
            None
        }

        fn parent(&self) -> u32 {
            0
        }
    }

    #[test]
    fn a_job_is_done_and_told_line_by_line() {
        let mut output = Vec::new();
        let code = child(&b"3"[..], &mut output, |Count(count), lines| (0..count).try_for_each(|k| lines.say(&[k])));
        assert_eq!((code, output.as_slice()), (ExitCode::SUCCESS, &b"[0]\n[1]\n[2]\n"[..]));
    }

    #[test]
    fn what_is_no_job_is_not_begun() {
        let code = child(&b"no"[..], Vec::new(), |_: Count, _| unreachable!());
        assert_eq!(code, ExitCode::FAILURE);
        assert!(confined(&b"no"[..], Vec::new(), |_: Count, _| Ok(())).is_err());
    }
}
