//! What beats the file: flags, and the environment variables behind them.

use std::num::NonZeroU16;
use std::path::PathBuf;

use super::settings::{Compression, Config, ServiceKind, Signing};
use super::words::{KeyReference, ModelName, ModelReference, ModelVersion, Platform, Repository};

/// What flags, or environment variables behind them, say: it beats the file.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Overrides {
    /// `name`.
    pub name: Option<ModelName>,
    /// `model`: the path as given on the command line, made absolute, since a file's paths are relative to it.
    pub model: Option<ModelReference>,
    /// `version`.
    pub version: Option<ModelVersion>,
    /// `description`.
    pub description: Option<String>,
    /// `sample`, made absolute.
    pub sample: Option<PathBuf>,
    /// `service`.
    pub service: Option<ServiceKind>,
    /// `server.port`.
    pub port: Option<NonZeroU16>,
    /// `image.repository`.
    pub repository: Option<Repository>,
    /// `image.platform`.
    pub platform: Option<Platform>,
    /// `image.compression`.
    pub compression: Option<Compression>,
    /// `signing.keys`.
    pub keys: Vec<KeyReference>,
}

impl Config {
    /// This config with what flags and environment variables say in its stead.
    pub fn overridden(mut self, overrides: &Overrides) -> Self {
        fn put<T: Clone>(place: &mut T, value: &Option<T>) {
            if let Some(value) = value {
                *place = value.clone();
            }
        }
        fn fill<T: Clone>(place: &mut Option<T>, value: &Option<T>) {
            if value.is_some() {
                place.clone_from(value);
            }
        }
        put(&mut self.name, &overrides.name);
        put(&mut self.model, &overrides.model);
        put(&mut self.version, &overrides.version);
        fill(&mut self.description, &overrides.description);
        fill(&mut self.sample, &overrides.sample);
        fill(&mut self.service, &overrides.service);
        fill(&mut self.server.port, &overrides.port);
        fill(&mut self.image.repository, &overrides.repository);
        fill(&mut self.image.platform, &overrides.platform);
        fill(&mut self.image.compression, &overrides.compression);
        if !overrides.keys.is_empty() {
            self.signing = Signing { key: None, keys: overrides.keys.clone() };
        }
        self
    }
}
