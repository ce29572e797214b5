//! What a person sees while they wait: a line a step on a terminal, nothing in a pipe.

use std::io::IsTerminal;
use std::time::Duration;

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

use crate::pipeline::{Observer, Step};

/// A spinner on standard error with the step and its latest detail; warnings are printed above it.
#[derive(Debug)]
pub(super) struct Progress {
    bar: ProgressBar,
    quiet: bool,
}

impl Progress {
    /// Draws on a terminal unless told to be quiet.
    pub(super) fn new(quiet: bool) -> Self {
        let draw = !quiet && std::io::stderr().is_terminal();
        let bar = ProgressBar::with_draw_target(
            None,
            if draw { ProgressDrawTarget::stderr() } else { ProgressDrawTarget::hidden() },
        );
        bar.set_style(
            ProgressStyle::with_template("{spinner:.cyan} {prefix:.bold} {wide_msg:.dim}").expect("a fixed template"),
        );
        bar.enable_steady_tick(Duration::from_millis(100));
        Progress { bar, quiet }
    }

    /// Shows what begins.
    pub(super) fn begin(&self, doing: &str) {
        self.bar.set_prefix(doing.to_string());
        self.bar.set_message("");
    }

    /// Takes the spinner away.
    pub(super) fn finish(&self) {
        self.bar.finish_and_clear();
    }
}

impl Observer for Progress {
    fn step(&mut self, step: Step) {
        self.begin(step.doing());
    }

    fn detail(&mut self, text: &str) {
        self.bar.set_message(text.to_string());
    }

    fn warn(&mut self, text: &str) {
        if !self.quiet {
            self.bar.suspend(|| eprintln!("warning: {text}"));
        }
    }
}
