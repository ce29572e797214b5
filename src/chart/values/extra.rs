//! What a user adds to the pods, in Kubernetes' own words.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::Object;

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct EnvironmentVariable {
    name: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    value: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    value_from: Option<Object>,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct EnvironmentSource {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    prefix: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    config_map_ref: Option<Object>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    secret_ref: Option<Object>,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct ExtraInit {
    extra_init: Vec<Object>,
}

#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize, JsonSchema)]
pub(super) enum DnsPolicy {
    /// Kubernetes' own choice.
    #[serde(rename = "")]
    Unset,
    ClusterFirst,
    ClusterFirstWithHostNet,
    Default,
    None,
}
