//! What fits into one run: rows, elements, and shapes that can be one.

use std::sync::atomic::{AtomicBool, Ordering};

use super::line::Job;
use super::rows;

/// What a batch may hold.
#[derive(Debug)]
pub(super) struct Limits {
    axis: Option<usize>,
    /// Whether batches give their rows back: until one doesn't.
    joins: AtomicBool,
    rows: usize,
    elements: usize,
}

impl Limits {
    /// Joins along `axis`, if at all, up to `rows` rows and `elements` elements.
    pub(super) fn new(axis: Option<usize>, rows: usize, elements: Option<usize>) -> Limits {
        Limits { axis, joins: AtomicBool::new(axis.is_some()), rows, elements: elements.unwrap_or(usize::MAX) }
    }

    /// The batch axis, while batches are known to give their rows back.
    pub(super) fn axis(&self) -> Option<usize> {
        self.axis.filter(|_| self.joins.load(Ordering::Relaxed))
    }

    /// A batch gave other rows than went in: the proof doesn't hold, and nothing is joined any more.
    pub(super) fn stop_joining(&self) {
        self.joins.store(false, Ordering::Relaxed);
    }

    /// Most rows in a batch.
    pub(super) fn rows(&self) -> usize {
        self.rows
    }

    /// Whether a request of so many rows and elements may be part of a batch: with none, or more than a batch may have,
    /// it runs alone.
    pub(super) fn admit(&self, rows: usize, size: usize) -> bool {
        self.axis.is_some() && (1..=self.rows).contains(&rows) && size <= self.elements
    }

    /// Whether anything may be joined with `job`.
    pub(super) fn joins(&self, job: &Job) -> bool {
        job.joins && self.axis().is_some()
    }

    /// Whether not even the least row fits any more.
    pub(super) fn is_full(&self, tally: &Tally) -> bool {
        tally.rows >= self.rows || tally.elements >= self.elements
    }
}

/// What a batch holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Tally {
    pub(super) rows: usize,
    elements: usize,
}

impl Tally {
    /// That of one job.
    pub(super) fn of(job: &Job) -> Tally {
        Tally { rows: job.rows, elements: job.size }
    }

    /// With `job` too, in a batch that `first` began; `None` where it can't be part of it or makes it larger than it may
    /// be: `most` rows, and what `limits` say.
    pub(super) fn with(self, first: &Job, job: &Job, limits: &Limits, most: usize) -> Option<Tally> {
        let axis = limits.axis()?;
        let tally = Tally { rows: self.rows + job.rows, elements: self.elements.saturating_add(job.size) };
        let fits = job.joins && tally.rows <= most.min(limits.rows) && tally.elements <= limits.elements;
        (fits && rows::joinable(&first.inputs, &job.inputs, axis)).then_some(tally)
    }
}
