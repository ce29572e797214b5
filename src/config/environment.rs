//! Environments: where a release runs, and what that changes in the chart's values.

use std::num::{NonZeroU32, NonZeroUsize};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use super::measures::Duration;
use super::settings::is_default;
use super::trusted_key::TrustedKey;
use super::words::{DnsLabel, Moment};

/// Where and how one release runs.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct Environment {
    /// The kubeconfig's context.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub context: Option<String>,
    /// Several contexts, instead of `context`.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub contexts: Vec<String>,
    /// The namespace.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub namespace: Option<DnsLabel>,
    /// How many pods.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub replicas: Option<u32>,
    /// The number of pods by load, instead of `replicas`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub autoscaling: Option<Autoscaling>,
    /// Values of the chart, which beat what else stands here.
    #[serde(skip_serializing_if = "Map::is_empty")]
    pub values: Map<String, Value>,
    /// Whose signatures are believed.
    #[serde(skip_serializing_if = "is_default")]
    pub trust: Trust,
}

/// The number of pods by load.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Autoscaling {
    /// Fewest pods.
    #[serde(default = "one")]
    pub min_replicas: NonZeroU32,
    /// Most pods.
    pub max_replicas: NonZeroU32,
    /// The share of the CPU request that it aims at, percent; 0 for none, 80 where this says nothing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub target_cpu_percent: Option<u16>,
    /// The requests in a pod that wait for the model, at which it aims: the cluster needs prometheus-adapter or KEDA.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub target_queue_depth: Option<u32>,
    /// The time within which 95 of 100 requests are to be answered; with the same needs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub target_latency: Option<Duration>,
}

fn one() -> NonZeroU32 {
    NonZeroU32::MIN
}

/// Whose signatures are believed.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct Trust {
    /// Public keys: paths, `env://NAME` or `exec://COMMAND`, or `{ key, notAfter }` for one that is trusted until a day.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub keys: Vec<TrustedKey>,
    /// Until when the list holds, `2026-12-31` or `2026-12-31T12:00:00Z`: afterwards none of its keys is trusted.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub expires: Option<Moment>,
    /// How many different ones of them have to have signed: 1 where this says nothing.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub threshold: Option<NonZeroUsize>,
}

impl Environment {
    /// What this environment changes in the chart's values: `replicas` and `autoscaling` in the chart's words, with
    /// `values` merged over them.
    pub fn chart_values(&self) -> Value {
        let mut values = json!({});
        if let Some(replicas) = self.replicas {
            values["replicaCount"] = replicas.into();
        }
        if let Some(autoscaling) = &self.autoscaling {
            // The chart has the same words.
            values["autoscaling"] = json!(autoscaling);
            values["autoscaling"]["enabled"] = true.into();
        }
        overlay(&mut values, &Value::Object(self.values.clone()));
        values
    }
}

/// Mappings are merged key by key, as helm merges its files of values; everything else is replaced, by null too.
pub fn overlay(below: &mut Value, above: &Value) {
    match (below, above) {
        (Value::Object(below), Value::Object(above)) => {
            for (key, value) in above {
                overlay(below.entry(key.clone()).or_insert(Value::Null), value);
            }
        }
        (below, above) => *below = above.clone(),
    }
}
