//! External data: weights that stand in files beside the model.
//!
//! The rule. A location is a path relative to the model's folder, without `..`. It has to resolve to a regular file
//! below that folder, or below the folder that the model file itself resolves into: model hubs keep a folder of
//! symbolic links into one folder of blobs, and both the model and its data are links there. A link that leads anywhere
//! else is refused. Hard links are files like any other.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use nimify_runtime::signature::ElementType;
use serde::{Deserialize, Serialize};

use super::error::Error;
use super::fault::Fault;
use super::file;
use super::graph::Node;
use super::limits::Limits;
use super::tensor::Tensor;
use crate::digest::Digest;
use crate::files::RelativePath;

/// One tensor's data in another file, as the model states it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reference {
    /// The tensor's name.
    pub tensor: String,
    /// The file, relative to the model's folder.
    pub location: RelativePath,
    /// First byte of the data in it.
    pub offset: u64,
    /// Bytes of the data.
    pub length: u64,
}

/// A file that the model needs beside itself.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ExternalFile {
    /// Where it is, relative to the model's folder.
    pub path: RelativePath,
    /// Its bytes in all.
    pub size: u64,
    /// Their digest.
    pub digest: Digest,
}

impl Reference {
    /// What the tensor refers to, `None` if its data is in the model file.
    pub(super) fn of(tensor: &Tensor<'_>) -> Result<Option<Self>, Fault> {
        let Some(entry) = tensor.external else { return Ok(None) };
        let fault = |problem: String| Fault::Tensor { tensor: tensor.label(), problem };
        let location = entry.location.filter(|location| !location.is_empty());
        let location = location.ok_or_else(|| fault("has external data without a location".into()))?;
        let expected = match tensor.element_type {
            ElementType::String => return Err(fault("is of strings, which can't be external data".into())),
            _ => tensor.bytes().unwrap_or(0),
        };
        let number = |key: &str, text: Option<&str>| {
            match text {
                None | Some("") => Ok(None),
                // `parse` would take a sign.
                Some(text) if text.bytes().all(|c| c.is_ascii_digit()) => text.parse().map(Some).map_err(|_| text),
                Some(text) => Err(text),
            }
            .map_err(|text| fault(format!("has external data with the {key} `{text}`, which is no number of bytes")))
        };
        let offset = number("offset", entry.offset)?.unwrap_or(0);
        let length: u64 = number("length", entry.length)?.unwrap_or(expected);
        if length != expected {
            return Err(fault(format!("has {length} bytes of external data where its shape asks for {expected}")));
        }
        if offset.checked_add(length).is_none() {
            return Err(fault(format!("has external data from byte {offset} on, further than any file goes")));
        }
        let out = || Fault::Location { tensor: tensor.label(), location: location.into() };
        let location = below(location).ok_or_else(out)?;
        Ok(Some(Reference { tensor: tensor.label(), location, offset, length }))
    }
}

impl Reference {
    /// The compiled engine that an `EPContext` node names, `None` if it is in the model file or not named.
    pub(super) fn of_engine(node: &Node<'_>) -> Result<Option<Self>, Fault> {
        let place = node.attribute("ep_cache_context").and_then(|attribute| attribute.text());
        // The operator's default is 1: the engine is in the attribute.
        Reference::to_engine(node.name, node.int("embed_mode").unwrap_or(1), place)
    }

    /// The compiled engine at `place`, which is a path where `embedded` is 0.
    pub(super) fn to_engine(node: &str, embedded: i64, place: Option<&[u8]>) -> Result<Option<Self>, Fault> {
        let Some(path) = place.filter(|path| embedded == 0 && !path.is_empty()) else { return Ok(None) };
        let tensor = format!("{node} (`EPContext`)");
        let location = String::from_utf8_lossy(path).into_owned();
        match below(&location) {
            Some(location) => Ok(Some(Reference { tensor, location, offset: 0, length: 0 })),
            None => Err(Fault::Location { tensor, location }),
        }
    }
}

/// The path without its `.` parts; `None` if it is absolute, empty or goes up.
pub(super) fn below(location: &str) -> Option<RelativePath> {
    if location.starts_with('/') {
        return None;
    }
    let parts: Vec<_> = location.split('/').filter(|part| !part.is_empty() && *part != ".").collect();
    RelativePath::try_from(parts.join("/")).ok()
}

/// Checks every reference of the model at `model` and takes the digest of each file.
pub(super) fn resolve(model: &Path, references: &[Reference], limits: &Limits) -> Result<Vec<ExternalFile>, Error> {
    let mut ends: BTreeMap<&RelativePath, &Reference> = BTreeMap::new();
    for reference in references {
        let furthest = ends.entry(&reference.location).or_insert(reference);
        if reference.offset + reference.length > furthest.offset + furthest.length {
            *furthest = reference;
        }
    }
    if ends.len() > limits.external_files {
        let limit = limits.external_files as u64;
        return Err(Error::Contents { path: model.into(), fault: Fault::Limit { what: "external files", limit } });
    }
    let folders = if ends.is_empty() { Vec::new() } else { folders(model)? };
    ends.into_values().map(|reference| resolve_one(model, &folders, reference)).collect()
}

/// The model's folder and the folder that the model file itself resolves into.
fn folders(model: &Path) -> Result<Vec<PathBuf>, Error> {
    let resolve = |path: &Path| path.canonicalize().map_err(|error| Error::reading(path, error));
    let file = resolve(model)?;
    Ok([resolve(file::folder(model))?].into_iter().chain(file.parent().map(Path::to_path_buf)).collect())
}

fn resolve_one(model: &Path, folders: &[PathBuf], reference: &Reference) -> Result<ExternalFile, Error> {
    let path = file::folder(model).join(&reference.location);
    let failed = |problem: String| Error::External {
        path: model.into(),
        tensor: reference.tensor.clone(),
        location: reference.location.as_str().into(),
        problem,
    };
    let resolved = path.canonicalize().map_err(|error| match error.kind() {
        std::io::ErrorKind::NotFound => failed("is missing".into()),
        _ => failed(format!("can't be read: {error}")),
    })?;
    if !folders.iter().any(|folder| resolved.starts_with(folder)) {
        let (path, tensor) = (model.into(), reference.tensor.clone());
        return Err(Error::Outside { path, tensor, location: reference.location.as_str().into(), resolved });
    }
    let file = file::open(&resolved).map_err(|error| failed(error.to_string()))?;
    let end = reference.offset + reference.length;
    if end > file.size {
        return Err(failed(format!("has {} bytes, and the tensor's data ends at byte {end}", file.size)));
    }
    let (digest, size) = Digest::of_reader(&file.file).map_err(|error| failed(format!("can't be read: {error}")))?;
    Ok(ExternalFile { path: reference.location.clone(), size, digest })
}
