//! What `service.json` says about state.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::settings::duration;

/// Which outputs are kept for which inputs, and how much of it. Off without pairs.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct StateSettings {
    /// The outputs that are inputs of the next request of a session.
    pub pairs: Vec<StatePair>,
    /// Most sessions at once, after which 429 is answered to one more.
    pub max_sessions: usize,
    /// Most bytes of state over all sessions, after which 429 is answered.
    pub max_bytes: usize,
    /// How long a session is kept without a request.
    #[serde(with = "duration")]
    pub idle_timeout: Duration,
}

impl StateSettings {
    /// Whether they ask for nothing.
    pub fn is_off(&self) -> bool {
        self.pairs.is_empty()
    }
}

impl Default for StateSettings {
    fn default() -> Self {
        let idle_timeout = Duration::from_secs(300);
        StateSettings { pairs: Vec::new(), max_sessions: 1024, max_bytes: 256 << 20, idle_timeout }
    }
}

/// An output that is an input of the next request.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct StatePair {
    /// The output's name.
    pub output: String,
    /// The input's name.
    pub input: String,
    /// What each element is when a session begins.
    #[serde(default)]
    pub initial: f64,
    /// The shape that a session begins with; empty for the model's own, in which what is free is 1.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub shape: Vec<StateDim>,
}

/// A size of that shape.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum StateDim {
    /// So many.
    Size(u64),
    /// As many as the name stands for in the request's other inputs.
    Named(String),
}
