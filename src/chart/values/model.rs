//! Where the model comes from.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::extra::{EnvironmentSource, EnvironmentVariable};
use super::kinds::Quantity;
use super::{Object, PullPolicy, Texts};

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct Model {
    source: ModelSource,
    image: String,
    pull_policy: PullPolicy,
    claim_name: String,
    path: String,
    init_container: InitContainer,
}

#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
enum ModelSource {
    Baked,
    ImageVolume,
    PersistentVolumeClaim,
    InitContainer,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct InitContainer {
    image: String,
    command: Vec<String>,
    args: Vec<String>,
    env: Vec<EnvironmentVariable>,
    env_from: Vec<EnvironmentSource>,
    volume_mounts: Vec<Object>,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct Persistence {
    enabled: bool,
    storage_class: String,
    access_mode: AccessMode,
    size: Quantity,
    data_source_ref: Object,
    keep: bool,
    annotations: Texts,
}

/// Without `ReadWriteOncePod`: a new pod could never start beside the one that it follows.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize, JsonSchema)]
#[expect(clippy::enum_variant_names, reason = "the words are Kubernetes' own")]
enum AccessMode {
    ReadOnlyMany,
    ReadWriteMany,
    ReadWriteOnce,
}
