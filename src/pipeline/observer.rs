//! Who watches a build.

use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use super::report::StepRow;
use crate::compile::Progress;
use crate::registry::Watch;

/// The steps of a build, in their order.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Step {
    /// Reading the model.
    Inspect,
    /// Finding ONNX Runtime.
    Provision,
    /// Running the model in a child.
    Probe,
    /// Having ONNX Runtime rewrite the graph in a child.
    Optimize,
    /// Writing OpenAPI document and crate.
    Generate,
    /// Compiling the service.
    Compile,
    /// Getting what the image stands on, where that is not this machine's own.
    Base,
    /// Packing layers and layout.
    Pack,
    /// Signing the image.
    Sign,
    /// Rendering the chart.
    Chart,
    /// Putting everything in place.
    Write,
    /// Sending image and signatures to a registry.
    Push,
}

impl Step {
    /// What is being done, for a progress line.
    pub fn doing(self) -> &'static str {
        match self {
            Step::Inspect => "reading the model",
            Step::Provision => "finding ONNX Runtime",
            Step::Probe => "probing the model",
            Step::Optimize => "preparing the graph",
            Step::Generate => "generating the service",
            Step::Compile => "compiling the service",
            Step::Base => "getting the base",
            Step::Pack => "packing the image",
            Step::Sign => "signing the image",
            Step::Chart => "writing the chart",
            Step::Write => "putting everything in place",
            Step::Push => "pushing the image",
        }
    }
}

/// Is told what happens meanwhile.
pub trait Observer {
    /// A step begins.
    fn step(&mut self, step: Step);
    /// What the step is about right now.
    fn detail(&mut self, text: &str);
    /// Something that the user should know.
    fn warn(&mut self, text: &str);
}

/// Tells the observer of each step and takes its time.
pub(super) struct Stopwatch<'a> {
    pub(super) observer: &'a mut dyn Observer,
    steps: Vec<StepRow>,
    since: Option<(Step, Instant)>,
}

impl<'a> Stopwatch<'a> {
    pub(super) fn new(observer: &'a mut dyn Observer) -> Self {
        Stopwatch { observer, steps: Vec::new(), since: None }
    }

    /// Ends the step before and begins this one, unless the user asked to stop.
    pub(super) fn step(&mut self, step: Step) -> Result<(), crate::interrupt::Interrupted> {
        crate::interrupt::check()?;
        self.end();
        self.since = Some((step, Instant::now()));
        self.observer.step(step);
        Ok(())
    }

    fn end(&mut self) {
        if let Some((step, since)) = self.since.take() {
            self.steps.push(StepRow { step, seconds: seconds(since.elapsed()) });
        }
    }

    /// The steps so far, with the time that each took.
    pub(super) fn rows(&mut self) -> Vec<StepRow> {
        self.end();
        self.steps.clone()
    }
}

/// Milliseconds are all that anybody reads.
fn seconds(duration: Duration) -> f64 {
    duration.as_millis() as f64 / 1000.0
}

/// Tells the observer what the compiler is about.
pub(super) fn compile_progress(observer: &mut dyn Observer, progress: Progress) {
    match progress {
        Progress::Waiting => observer.detail("another nimify is compiling"),
        Progress::Fetching => observer.detail("looking for crates"),
        Progress::Compiling { crates, first_time: true } => {
            observer.detail(&format!("{crates} crates, once on this machine: this takes minutes"));
        }
        Progress::Compiling { .. } => observer.detail(""),
        Progress::Compiled { crates, of } => observer.detail(&format!("{crates} of {of} crates")),
        Progress::Diagnostic(text) => observer.warn(text.strip_prefix("warning: ").unwrap_or(&text).trim_end()),
    }
}

/// What has been transferred, counted by several threads.
#[derive(Debug, Default)]
struct Transfer {
    expected: AtomicU64,
    moved: AtomicI64,
}

impl Watch for Transfer {
    fn expects(&self, bytes: u64) {
        self.expected.fetch_add(bytes, Ordering::Relaxed);
    }

    fn moved(&self, bytes: i64) {
        self.moved.fetch_add(bytes, Ordering::Relaxed);
    }
}

/// How often an observer is told how far a transfer is.
const TELL: Duration = Duration::from_millis(200);

/// Runs a transfer on a thread of its own, so that the observer, which is this thread's, hears of it meanwhile.
pub(super) fn transfer<T: Send>(observer: &mut dyn Observer, work: impl FnOnce(&dyn Watch) -> T + Send) -> T {
    let transfer = Transfer::default();
    let here = std::thread::current();
    std::thread::scope(|scope| {
        let working = scope.spawn(|| {
            let done = work(&transfer);
            here.unpark();
            done
        });
        while !working.is_finished() {
            std::thread::park_timeout(TELL);
            let million = |bytes: u64| bytes as f64 / 1e6;
            let moved = transfer.moved.load(Ordering::Relaxed).max(0) as u64;
            let expected = transfer.expected.load(Ordering::Relaxed);
            observer.detail(&format!("{:.1} of {:.1} MB", million(moved), million(expected)));
        }
        working.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    })
}
