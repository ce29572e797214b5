//! The model repository extension of the Open Inference Protocol: a repository of the one model that is served.

use serde::{Deserialize, Serialize};

use crate::app::{App, Phase};
use crate::error::Error;

/// What an index is asked for.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct IndexRequest {
    /// Only models that take requests.
    pub ready: bool,
}

/// A model in the index.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct IndexEntry {
    /// Its name.
    pub name: String,
    /// Its version.
    pub version: String,
    /// `READY`, `LOADING` or `UNLOADING`.
    pub state: &'static str,
    /// Why it isn't ready; empty where it is.
    pub reason: String,
}

/// Every model that there is: the one, or none where it isn't ready and only ready ones are asked for.
pub(crate) fn index(app: &App, request: IndexRequest) -> Vec<IndexEntry> {
    let reason = app.ready().err().map(|error| error.to_string());
    if request.ready && reason.is_some() {
        return Vec::new();
    }
    let state = match app.phase() {
        Phase::Loading => "LOADING",
        Phase::Ready => "READY",
        Phase::Draining => "UNLOADING",
    };
    let settings = &app.settings;
    let (name, version) = (settings.name.clone(), settings.version.clone());
    vec![IndexEntry { name, version, state, reason: reason.unwrap_or_default() }]
}

/// What a request to load or unload a model is answered.
pub fn no_control() -> Error {
    let why = "its model is loaded when the service starts and stays: to serve another, start another service";
    Error::Unsupported(format!("this service does not load or unload models: {why}"))
}
