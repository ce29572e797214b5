//! The model repository extension of the Open Inference Protocol: a repository of the one model that is served.

use serde::{Deserialize, Serialize};

use crate::app::{App, Phase};
use crate::error::Error;

/// The version as Triton would number it: the first number in it, 1 where it begins with none. `perf_analyzer` reads the
/// versions of statistics as whole numbers, and finds none of a version that isn't one.
pub(crate) fn version_number(version: &str) -> String {
    let digits = version.trim_start_matches(['v', 'V']);
    let digits = &digits[..digits.len() - digits.trim_start_matches(|c: char| c.is_ascii_digit()).len()];
    digits.parse::<u32>().unwrap_or(1).to_string()
}

/// 404 unless these are the model and the version that are served; `None` is whichever there is. A version may be asked
/// for by its first number too.
pub(crate) fn check(app: &App, model: Option<&str>, version: Option<&str>) -> Result<(), Error> {
    let (name, served) = (&app.settings.name, &app.settings.version);
    if model.is_some_and(|asked| asked != name) {
        return Err(Error::NotFound(format!("the model in the request is unknown: this service has `{name}`")));
    }
    if version.is_some_and(|asked| asked != served && asked != version_number(served)) {
        return Err(Error::NotFound(format!("the version in the request is unknown: `{name}` is at `{served}`")));
    }
    Ok(())
}

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
        Phase::Draining | Phase::Stopping => "UNLOADING",
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_version_has_a_number() {
        for (version, number) in [("1.2.0", "1"), ("0.1.0", "0"), ("v3-beta", "3"), ("7", "7"), ("007", "7")] {
            assert_eq!(version_number(version), number);
        }
        for version in ["", "v", "latest", "99999999999", "-1", "é1"] {
            assert_eq!(version_number(version), "1", "{version}");
        }
    }
}
