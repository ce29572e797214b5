//! What the model has done so far, as the statistics extension of the Open Inference Protocol tells it.
//!
//! Plain values with the protocol's own names: REST serialises them as they are, gRPC maps them field by field.

use serde::Serialize;

/// The statistics of one model, since the service began.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct ModelStatistics {
    /// The model's name.
    pub name: String,
    /// Its version: as it was asked for, and a whole number where none was, since clients take it for one.
    pub version: String,
    /// When the last inference request ended, milliseconds since 1970; 0 before the first.
    pub last_inference: u64,
    /// Rows of the runs that gave answers, a batch of n counted as n.
    pub inference_count: u64,
    /// Runs of the model that gave answers, a batch of n counted as 1; those that failed are in `fail` alone.
    pub execution_count: u64,
    /// Where the time of requests went.
    pub inference_stats: InferenceStatistics,
    /// Answers of a stream by their number in it: none, since each request has one answer.
    pub response_stats: std::collections::BTreeMap<String, StatisticDuration>,
    /// Runs that gave answers by their number of rows, ascending.
    pub batch_stats: Vec<BatchStatistics>,
    /// Memory of the model, where it is known.
    pub memory_usage: Vec<MemoryUsage>,
}

/// How often something happened, and how long it took in all.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct StatisticDuration {
    /// How often.
    pub count: u64,
    /// Nanoseconds, all together.
    pub ns: u64,
}

/// Where the time of requests went. `success` and `fail` are whole requests, the rest stages of those that succeeded.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct InferenceStatistics {
    /// Requests that were answered.
    pub success: StatisticDuration,
    /// Requests that were not.
    pub fail: StatisticDuration,
    /// Waiting for the model.
    pub queue: StatisticDuration,
    /// Reading requests.
    pub compute_input: StatisticDuration,
    /// Running the model.
    pub compute_infer: StatisticDuration,
    /// Writing answers.
    pub compute_output: StatisticDuration,
    /// Answers from a cache: none, since there is no cache.
    pub cache_hit: StatisticDuration,
    /// Look-ups in a cache that found nothing: none.
    pub cache_miss: StatisticDuration,
}

/// Runs of one number of rows.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct BatchStatistics {
    /// Rows in each run.
    pub batch_size: u64,
    /// Reading happens a request, not a batch: no time is counted here.
    pub compute_input: StatisticDuration,
    /// Running the model.
    pub compute_infer: StatisticDuration,
    /// Writing happens a request, not a batch: no time is counted here.
    pub compute_output: StatisticDuration,
}

/// Memory that the model takes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct MemoryUsage {
    /// `CPU` or `GPU`.
    #[serde(rename = "type")]
    pub kind: String,
    /// Which of them.
    pub id: i64,
    /// How much.
    pub byte_size: u64,
}

/// The answer to a request for statistics.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Statistics {
    /// One a model.
    pub model_stats: Vec<ModelStatistics>,
}
