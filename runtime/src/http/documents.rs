//! Answers that never change, made once at start.

use std::path::{Path, PathBuf};

use bytes::Bytes;

use super::files::SideFiles;
use super::{docs, nim, v2};
use crate::settings::ServiceSettings;
use crate::signature::ModelSignature;

/// Answers that never change.
pub(crate) struct Documents {
    pub(crate) models: Bytes,
    pub(crate) metadata: Bytes,
    pub(crate) manifest: Bytes,
    pub(crate) license: Option<Bytes>,
    pub(crate) version: Bytes,
    pub(crate) server: Bytes,
    pub(crate) model: Bytes,
    pub(crate) openapi: Bytes,
    pub(crate) docs_model: Bytes,
    pub(crate) sample: Option<Bytes>,
    pub(crate) side_files: SideFiles,
}

/// A file that `service.json` names and that can't be read.
#[derive(Debug, thiserror::Error)]
#[error("can't read `{}`, which `{setting}` in the settings names: {source}", path.display())]
pub struct Unreadable {
    /// The setting that names it.
    pub setting: &'static str,
    /// The file.
    pub path: PathBuf,
    /// Why not.
    pub source: std::io::Error,
}

/// Reads a file that a setting names.
pub(crate) fn read(setting: &'static str, path: &Path) -> Result<Vec<u8>, Unreadable> {
    std::fs::read(path).map_err(|source| Unreadable { setting, path: path.to_path_buf(), source })
}

impl Documents {
    /// Reads what the settings name and writes the rest.
    pub(crate) fn read(settings: &ServiceSettings, signature: &ModelSignature) -> Result<Documents, Unreadable> {
        let license = match &settings.license {
            Some(license) => Some(nim::LicenseText::new(license, read("license.path", &license.path)?)),
            None => None,
        };
        let sample = settings.sample.as_ref().map(|path| read("sample", path)).transpose()?.map(Bytes::from);
        let side_files = SideFiles::open(&settings.model.side_files);
        Ok(Documents {
            models: nim::models(settings),
            metadata: nim::metadata(settings, license.as_ref(), &side_files),
            manifest: nim::manifest(settings, signature),
            license: license.as_ref().map(nim::LicenseText::document),
            version: nim::version(settings),
            server: v2::server_metadata(settings),
            model: v2::model_metadata(settings, signature),
            openapi: read("openapi", &settings.openapi)?.into(),
            docs_model: docs::model(settings, signature, sample.is_some()),
            sample,
            side_files,
        })
    }
}
