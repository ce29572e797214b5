//! How soon a request wants its answer.

use std::time::Duration;

/// What a request asks of the scheduler beyond its values.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Urgency {
    /// Its level: 0 is the default, 1 goes before all others, 2 after it, and so on.
    pub priority: u32,
    /// How long it may take from its arrival, where that is less than `requestTimeout`.
    pub timeout: Option<Duration>,
}

impl Urgency {
    /// Of the Open Inference Protocol's request parameters `priority` and `timeout` (microseconds), where 0 says
    /// nothing.
    pub fn of_parameters(priority: u64, timeout: u64) -> Urgency {
        let priority = u32::try_from(priority).unwrap_or(u32::MAX);
        Urgency { priority, timeout: (timeout > 0).then(|| Duration::from_micros(timeout)) }
    }
}
