//! The files beside the service binary, in the image and in the folder that `nimify run` serves from.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use super::Error;
use super::build::{BuildRequest, Generated};
use super::error::files;
use crate::codegen;
use crate::files::{FileTree, RelativePath};
use crate::model::{Derived, ModelDescription};
use crate::plan::{self, ServicePlan};

/// Largest licence text that is taken into an image, bytes.
const LARGEST_LICENSE: u64 = 1 << 20;

/// `service.json`, `signature.json`, `openapi.json`, the sample and the licence.
pub(super) fn beside_the_binary(
    request: &BuildRequest<'_>,
    plan: &ServicePlan,
    generated: &Generated,
) -> Result<FileTree, Error> {
    let mut tree = described(plan, &generated.openapi_json);
    if let Some(license) = &request.config.license {
        let path = crate::files::plain(&request.config_folder.join(&license.path));
        let size = std::fs::metadata(&path).map_err(files("read the licence", &path))?.len();
        if size > LARGEST_LICENSE {
            return Err(Error::LicenseTooLarge { path, size, limit: LARGEST_LICENSE });
        }
        tree.insert(own(plan::LICENSE_FILE), std::fs::read(&path).map_err(files("read the licence", &path))?);
    }
    Ok(tree)
}

/// What the plan alone determines.
pub(super) fn described(plan: &ServicePlan, openapi_json: &str) -> FileTree {
    let mut settings = serde_json::to_string_pretty(&plan.settings).expect("settings are texts and numbers");
    settings.push('\n');
    let mut tree = FileTree::from([
        (own("service.json"), settings.into_bytes()),
        (own("signature.json"), codegen::signature_json(plan).into_bytes()),
        (own("openapi.json"), openapi_json.as_bytes().to_vec()),
    ]);
    if let Some(sample) = &plan.sample {
        tree.insert(own("sample.json"), sample.request.clone().into_bytes());
    }
    tree
}

/// The model to serve and the files beside it: path below `/models` → file on this machine.
pub(super) fn models(description: &ModelDescription, derived: Option<&Derived>) -> BTreeMap<RelativePath, PathBuf> {
    if let Some(derived) = derived {
        return derived.files.iter().map(|file| (file.name.clone(), file.path.clone())).collect();
    }
    let folder = description.path.parent().unwrap_or(Path::new(""));
    let beside = description.external_files.iter().map(|file| (file.path.clone(), folder.join(&file.path)));
    beside.chain([(model_name(description), description.path.clone())]).collect()
}

/// The files that go with the model: path below `/models` → file on this machine.
pub(super) fn side_files(description: &ModelDescription) -> BTreeMap<RelativePath, PathBuf> {
    description.side_files.iter().map(|side| (side.name.clone(), side.path.clone())).collect()
}

/// The model file's name as a path below `/models`.
pub(super) fn model_name(description: &ModelDescription) -> RelativePath {
    description.file_name.parse().expect("a file's name is one part of a path")
}

fn own(name: &str) -> RelativePath {
    name.parse().expect("the service's own files have plain names")
}
