//! What of a model's state is kept between the requests of a session.

use std::num::{NonZeroU32, NonZeroU64};

use nimify_runtime::settings::{StateDim, StatePair, StateSettings};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::measures::Duration;

/// State in sessions; nothing is kept without `pairs`.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct State {
    /// Outputs that are inputs of the session's next request: `output` and `input`, and where a session begins with
    /// something else than zeros in the declared shape `initial` and `shape`.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub pairs: Vec<KeptPair>,
    /// Most sessions at once, after which 429 is answered to one more.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_sessions: Option<NonZeroU32>,
    /// Most bytes of state over all sessions, after which 429 is answered.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_bytes: Option<NonZeroU64>,
    /// How long a session is kept without a request.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub idle_timeout: Option<Duration>,
}

/// An output that is an input of the next request.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct KeptPair {
    /// The output's name.
    pub output: String,
    /// The input's name.
    pub input: String,
    /// What each element is when a session begins.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub initial: Option<f64>,
    /// The shape that a session begins with: sizes, or names of the model's dimensions. The model's own where this says
    /// nothing, in which what is free is 1.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub shape: Vec<KeptSize>,
}

/// A size, or the name of a dimension.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(untagged)]
pub enum KeptSize {
    /// So many.
    Size(u64),
    /// As many as the name stands for in the request.
    Named(String),
}

impl State {
    /// The runtime's settings, its defaults where this says nothing.
    pub fn settings(&self) -> StateSettings {
        let default = StateSettings::default();
        let bytes = |bytes: NonZeroU64| usize::try_from(bytes.get()).unwrap_or(usize::MAX);
        StateSettings {
            pairs: self.pairs.iter().map(KeptPair::settings).collect(),
            max_sessions: self.max_sessions.map_or(default.max_sessions, |count| count.get() as usize),
            max_bytes: self.max_bytes.map_or(default.max_bytes, bytes),
            idle_timeout: self.idle_timeout.map_or(default.idle_timeout, |time| time.0),
        }
    }
}

impl KeptPair {
    fn settings(&self) -> StatePair {
        let dim = |size: &KeptSize| match size {
            KeptSize::Size(size) => StateDim::Size(*size),
            KeptSize::Named(name) => StateDim::Named(name.clone()),
        };
        StatePair {
            output: self.output.clone(),
            input: self.input.clone(),
            initial: self.initial.unwrap_or_default(),
            shape: self.shape.iter().map(dim).collect(),
        }
    }
}

#[cfg(test)]
mod tests {
    use crate::config::parse;

    use super::*;

    #[test]
    fn pairs_are_read_with_sizes_and_names_and_the_rest_has_defaults() {
        let text = "apiVersion: nimify/v1\nname: m\nmodel: m.onnx\nstate:\n  pairs:\n    - { output: hn, input: h, initial: 1 }\n    \
                    - { output: kv, input: past, shape: [N, 8, 0] }\n  idleTimeout: 30s\n";
        let state = parse(text, &Default::default(), &|_| None).unwrap().state.settings();
        let named = vec![StateDim::Named("N".into()), StateDim::Size(8), StateDim::Size(0)];
        assert_eq!((state.pairs[0].initial, &state.pairs[1].shape), (1.0, &named));
        assert_eq!((state.max_sessions, state.idle_timeout.as_secs()), (1024, 30));
        let wrong = parse(&text.replace("input: h,", ""), &Default::default(), &|_| None).unwrap_err();
        assert!(wrong.to_string().contains("input"), "{wrong}");
    }
}
