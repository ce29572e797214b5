//! Secrets that pods see: none of them stands in values, only where it is.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::kinds::{AbsolutePath, Duration, ObjectName};
use super::{Object, Texts};

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Secrets {
    existing: Vec<Existing>,
    external: Vec<External>,
    csi: Vec<Csi>,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Existing {
    name: ObjectName,
    /// Keys by the variables that take them.
    #[serde(default)]
    env: Texts,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    mount_path: Option<AbsolutePath>,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct External {
    name: ObjectName,
    store: Store,
    #[serde(default)]
    data: BTreeMap<String, Remote>,
    #[serde(default)]
    data_from: Vec<Object>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    refresh_interval: Option<Duration>,
    #[serde(default, rename = "type", skip_serializing_if = "Option::is_none")]
    kind: Option<String>,
    #[serde(default)]
    env: Texts,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    mount_path: Option<AbsolutePath>,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Store {
    name: ObjectName,
    #[serde(default)]
    kind: StoreKind,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
enum StoreKind {
    #[default]
    SecretStore,
    ClusterSecretStore,
}

/// Where a store has a key.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Remote {
    key: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    property: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    version: Option<String>,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Csi {
    name: ObjectName,
    #[schemars(length(min = 1))]
    provider: String,
    parameters: Texts,
    /// The driver fetches nothing for a volume that isn't mounted.
    mount_path: AbsolutePath,
    #[serde(default)]
    env: Texts,
}
