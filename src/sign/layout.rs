//! What signing and verifying read of an OCI image layout: its index, and blobs checked against their descriptors.
//!
//! `index.json` is the one file that no digest covers. So it is read strictly: a field that nothing checks is refused.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::verify::Fault;
use crate::digest::Digest;

pub(super) const INDEX_FILE: &str = "index.json";
pub(super) const IMAGE_INDEX: &str = "application/vnd.oci.image.index.v1+json";
pub(super) const IMAGE_MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
pub(super) const REF_NAME: &str = "org.opencontainers.image.ref.name";

/// Largest JSON document that is read into memory, bytes: what registries take for a manifest.
pub(super) const LARGEST_DOCUMENT: u64 = 4 << 20;

/// `index.json`.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct Index {
    pub(super) schema_version: u32,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) media_type: Option<String>,
    pub(super) manifests: Vec<IndexEntry>,
}

/// A descriptor in `index.json`.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct IndexEntry {
    pub(super) media_type: String,
    pub(super) digest: Digest,
    pub(super) size: u64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) artifact_type: Option<String>,
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub(super) annotations: BTreeMap<String, String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) platform: Option<Platform>,
}

impl IndexEntry {
    pub(super) fn ref_name(&self) -> Option<&str> {
        self.annotations.get(REF_NAME).map(String::as_str)
    }
}

/// For which machines an image is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Platform {
    pub(super) architecture: String,
    pub(super) os: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) variant: Option<String>,
}

/// A descriptor inside a manifest, which a digest covers: fields that are not needed here are carried along.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Descriptor {
    pub(super) media_type: String,
    pub(super) digest: Digest,
    pub(super) size: u64,
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub(super) annotations: BTreeMap<String, String>,
    #[serde(flatten)]
    pub(super) more: BTreeMap<String, serde_json::Value>,
}

impl Descriptor {
    pub(super) fn new(media_type: &str, digest: Digest, size: u64) -> Self {
        let (annotations, more) = (BTreeMap::new(), BTreeMap::new());
        Descriptor { media_type: media_type.into(), digest, size, annotations, more }
    }
}

/// An image manifest, or that of a signature.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Manifest {
    pub(super) schema_version: u32,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) media_type: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) artifact_type: Option<String>,
    pub(super) config: Descriptor,
    pub(super) layers: Vec<Descriptor>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) subject: Option<Descriptor>,
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub(super) annotations: BTreeMap<String, String>,
}

/// The path of a blob below the layout, with `/`.
pub(super) fn blob_path(digest: &Digest) -> String {
    format!("blobs/sha256/{}", digest.hex())
}

/// Reads a file of the layout that is a JSON document.
pub(super) fn read_document(layout: &Path, place: &str) -> Result<Vec<u8>, Fault> {
    read_up_to(layout, place, LARGEST_DOCUMENT)
}

fn read_up_to(layout: &Path, place: &str, most: u64) -> Result<Vec<u8>, Fault> {
    let (path, size) = regular_file(layout, place)?;
    if size > most {
        return Err(Fault::new(place, format!("is {size} bytes, but should be at most {most}")));
    }
    fs::read(path).map_err(|error| Fault::new(place, format!("can't be read: {error}")))
}

/// Parses a document that was read.
pub(super) fn parse<'a, T: Deserialize<'a>>(place: &str, what: &str, bytes: &'a [u8]) -> Result<T, Fault> {
    serde_json::from_slice(bytes).map_err(|error| Fault::new(place, format!("should be {what}: {error}")))
}

/// Reads a blob that is a JSON document and checks it against its descriptor.
pub(super) fn read_blob(layout: &Path, digest: &Digest, size: u64) -> Result<Vec<u8>, Fault> {
    read_small_blob(layout, digest, size, LARGEST_DOCUMENT)
}

/// Reads a blob of at most `most` bytes and checks it against its descriptor.
pub(super) fn read_small_blob(layout: &Path, digest: &Digest, size: u64, most: u64) -> Result<Vec<u8>, Fault> {
    let place = blob_path(digest);
    let bytes = read_up_to(layout, &place, most)?;
    compare(&place, (Digest::of(&bytes), bytes.len() as u64), (*digest, size)).map(|()| bytes)
}

/// Checks a blob of any size against its descriptor.
pub(super) fn check_blob(layout: &Path, digest: &Digest, size: u64) -> Result<(), Fault> {
    let place = blob_path(digest);
    let (path, found) = regular_file(layout, &place)?;
    if found != size {
        return Err(wrong_size(&place, found, size));
    }
    let found = Digest::of_file(&path).map_err(|error| Fault::new(&place, format!("can't be read: {error}")))?;
    compare(&place, found, (*digest, size))
}

fn compare(place: &str, found: (Digest, u64), wanted: (Digest, u64)) -> Result<(), Fault> {
    if found.1 != wanted.1 {
        return Err(wrong_size(place, found.1, wanted.1));
    }
    if found.0 != wanted.0 {
        return Err(Fault::new(place, format!("was changed: its digest is {}, but should be {}", found.0, wanted.0)));
    }
    Ok(())
}

fn wrong_size(place: &str, found: u64, wanted: u64) -> Fault {
    Fault::new(place, format!("is {found} bytes, but its descriptor says {wanted}"))
}

/// A link could lead out of the layout, and opening a pipe would wait for ever.
fn regular_file(layout: &Path, place: &str) -> Result<(PathBuf, u64), Fault> {
    let path = layout.join(place);
    match fs::symlink_metadata(&path) {
        Ok(data) if data.is_file() => Ok((path, data.len())),
        Ok(_) => Err(Fault::new(place, "should be a regular file")),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Err(Fault::new(place, "is missing")),
        Err(error) => Err(Fault::new(place, format!("can't be read: {error}"))),
    }
}
