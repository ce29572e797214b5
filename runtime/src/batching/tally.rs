//! What fits into one run: rows, elements, and shapes that can be one.

use std::sync::atomic::{AtomicBool, Ordering};

use super::line::Job;
use super::padding::Padding;
use super::rows;

/// The longest row of a batch is at most that many times as long as the shortest: what is filled up is run for nothing.
const LONGER: usize = 2;

/// What a batch may hold.
#[derive(Debug)]
pub(super) struct Limits {
    axis: Option<usize>,
    /// Whether batches give their rows back: until one doesn't.
    joins: AtomicBool,
    rows: usize,
    elements: usize,
    padding: Option<Padding>,
    /// Whether padded batches give back what went in: until one doesn't.
    pads: AtomicBool,
}

impl Limits {
    /// Joins along `axis`, if at all, up to `rows` rows and `elements` elements.
    pub(super) fn new(axis: Option<usize>, rows: usize, elements: Option<usize>, padding: Option<Padding>) -> Limits {
        let (joins, pads) = (AtomicBool::new(axis.is_some()), AtomicBool::new(padding.is_some()));
        Limits { axis, joins, rows, elements: elements.unwrap_or(usize::MAX), padding, pads }
    }

    /// How rows of different lengths are joined, if they are.
    pub(super) fn padding(&self) -> Option<&Padding> {
        self.padding.as_ref().filter(|_| self.pads.load(Ordering::Relaxed))
    }

    /// A padded batch gave other rows or lengths than went in: nothing is padded any more.
    pub(super) fn stop_padding(&self) {
        self.pads.store(false, Ordering::Relaxed);
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
    /// Lengths of rows; 0 where they have none.
    shortest: usize,
    longest: usize,
}

impl Tally {
    /// That of one job.
    pub(super) fn of(job: &Job) -> Tally {
        Tally { rows: job.rows, elements: job.size, shortest: job.length, longest: job.length }
    }

    /// With `job` too, in a batch that `first` began; `None` where it can't be part of it or makes it larger than it may
    /// be: `most` rows, and what `limits` say.
    pub(super) fn with(self, first: &Job, job: &Job, limits: &Limits, most: usize) -> Option<Tally> {
        let axis = limits.axis()?;
        let rows = self.rows + job.rows;
        if !job.joins || rows > most.min(limits.rows) {
            return None;
        }
        let (shortest, longest) = (self.shortest.min(job.length), self.longest.max(job.length));
        // Where the lengths differ, both have one: 0 is no half of anything.
        let padding = if shortest == longest { None } else { Some(limits.padding()?) };
        if longest > shortest.saturating_mul(LONGER) || !rows::joinable(&first.inputs, &job.inputs, axis, padding) {
            return None;
        }
        let elements = match padding {
            None => self.elements.saturating_add(job.size),
            Some(padding) => padding.elements(&first.inputs, rows, longest),
        };
        (elements <= limits.elements).then_some(Tally { rows, elements, shortest, longest })
    }
}
