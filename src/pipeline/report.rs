//! What a build made: the table that `create` ends with, and `dist/report.json`.

use std::path::PathBuf;

use nimify_runtime::signature::Batching;
use serde::Serialize;

use super::observer::Step;
use crate::compile::ServiceKind;
use crate::digest::Digest;
use crate::optimize::Gain;
use crate::plan::ServiceName;
use crate::probe::Measured;
use crate::registry::PushReport;

/// What was made.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct BuildReport {
    /// The service.
    pub name: ServiceName,
    /// `NAME:VERSION`.
    pub reference: String,
    /// The folder that was written. Not in `report.json`, which stands in it.
    #[serde(skip)]
    pub folder: PathBuf,
    /// The image's digest.
    pub digest: Digest,
    /// Which binary serves.
    pub service: ServiceKind,
    /// Whether requests are joined, and why.
    pub batching: Batching,
    /// The image's layers, from the lowest up.
    pub layers: Vec<LayerRow>,
    /// The files that go along with the model and are given to clients, by name.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub side_files: Vec<String>,
    /// The steps, with the time that each took.
    pub steps: Vec<StepRow>,
    /// What running the model showed.
    pub measured: Measured,
    /// What a prepared graph brought, measured; `None` where the user's own is served.
    pub optimized: Option<Gain>,
    /// Ids of the keys that signed, none if unsigned.
    pub signed_by: Vec<String>,
    /// Where it was pushed to, and what was sent; `None` where that wasn't asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pushed: Option<PushReport>,
}

/// A layer of the image.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct LayerRow {
    /// What is in it.
    pub title: String,
    /// Bytes as stored.
    pub compressed: u64,
    /// Bytes unpacked.
    pub uncompressed: u64,
    /// Digest as stored.
    pub digest: Digest,
}

/// A step and its time.
#[derive(Debug, Clone, Copy, Serialize)]
pub struct StepRow {
    /// The step.
    pub step: Step,
    /// Seconds.
    pub seconds: f64,
}
