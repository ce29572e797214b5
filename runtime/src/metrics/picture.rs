//! The counters as they stand, for the page that draws their differences.

use std::collections::BTreeMap;

use serde::Serialize;

use super::histogram::{Counted, DURATIONS};
use super::process::{Process, unix_milliseconds};
use super::{Live, Metrics, STAGES};

/// What a moment looks like. Counts and sums are since the service began.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub(crate) struct Picture<'a> {
    model: &'a str,
    version: &'a str,
    /// What runs the model, once it is loaded.
    provider: Option<&'a str>,
    ready: bool,
    /// What goes on while the model is loading.
    doing: Option<String>,
    started_ms: u64,
    at_ms: u64,
    /// Of the histograms in `times`.
    bounds_ns: &'static [u64],
    /// `all` and each stage.
    times: BTreeMap<&'static str, Times>,
    failures: BTreeMap<&'static str, u64>,
    batches: Vec<Batch>,
    in_work: usize,
    waiting: usize,
    max_queue: usize,
    connections: i64,
    resident_bytes: Option<u64>,
    cpu_seconds: Option<f64>,
}

/// A histogram of times.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
struct Times {
    buckets: Vec<u64>,
    sum_ns: u64,
}

impl From<Counted> for Times {
    fn from(counted: Counted) -> Self {
        Times { buckets: counted.buckets, sum_ns: counted.sum }
    }
}

/// Runs of one number of rows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
struct Batch {
    size: usize,
    count: u64,
    rows: u64,
}

impl Metrics {
    /// The counters as they stand; `max_queue` is how many requests may wait.
    pub(crate) fn picture(&self, live: Live<'_>, max_queue: usize) -> Picture<'_> {
        let process = Process::now();
        let stages = STAGES.map(|(stage, name)| (name, self.times(Some(stage)).counted().into()));
        let all = ("all", self.times(None).counted().into());
        let batch = |runs: super::Runs| Batch { size: runs.size, count: runs.count, rows: runs.rows };
        Picture {
            model: &self.model,
            version: &self.version,
            provider: self.loaded.get().map(|info| &*info.provider),
            ready: live.ready,
            doing: live.loading.stand().map(|stand| stand.text()),
            started_ms: unix_milliseconds(self.begun.1),
            at_ms: unix_milliseconds(self.begun.1 + self.begun.0.elapsed()),
            bounds_ns: DURATIONS,
            times: stages.into_iter().chain([all]).collect(),
            failures: self.failures().collect(),
            batches: self.batches.counted().into_iter().map(batch).collect(),
            in_work: live.in_work,
            waiting: live.waiting.min(live.in_work),
            max_queue,
            connections: self.connections.get(),
            resident_bytes: process.resident_bytes,
            cpu_seconds: process.cpu_seconds,
        }
    }
}
