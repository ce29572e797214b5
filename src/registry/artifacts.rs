//! What a layout says about its image besides the image: cosign's tagged manifests, and documents that refer to it.
//!
//! Both forms have a place of their own in a registry. A tagged manifest (`sha256-<hex>.sig`, `.att`) is joined with the
//! one that is there, so that nobody's signature is lost; a document with a `subject` is sent by its digest, and where
//! the registry takes no note of its subject, listed in the index under the tag `sha256-<hex>`.

use std::fs;
use std::path::Path;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use oci_spec::image::{
    Descriptor, ImageIndex, ImageIndexBuilder, ImageManifest, ImageManifestBuilder, MediaType, Sha256Digest,
};
use serde_json::json;
use tempfile::TempDir;

use super::error::files;
use super::{Error, Repository};
use crate::digest::Digest;
use crate::image::{self, OpenedLayout, REF_NAME};
use crate::sign::{self, SIGNATURE, SigningKey};

/// One document about the image.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Artifact {
    /// Under a tag that is made of the image's digest.
    Tagged { tag: String, manifest: Box<ImageManifest> },
    /// A manifest that names the image as its subject.
    Referrer { descriptor: Box<Descriptor>, bytes: Vec<u8>, manifest: Box<ImageManifest> },
}

impl Artifact {
    pub(super) fn manifest(&self) -> &ImageManifest {
        match self {
            Artifact::Tagged { manifest, .. } | Artifact::Referrer { manifest, .. } => manifest,
        }
    }
}

/// The documents in a layout that are about its image; others are named in the second list.
pub(super) fn read(layout: &OpenedLayout) -> Result<(Vec<Artifact>, Vec<Digest>), Error> {
    let prefix = format!("{}.", fallback_tag(&layout.digest));
    let (mut artifacts, mut others) = (Vec::new(), Vec::new());
    for descriptor in &layout.others {
        let bytes = layout.manifest_bytes(descriptor)?;
        let digest = Digest::of(&bytes);
        let name = descriptor.annotations().as_ref().and_then(|all| all.get(REF_NAME));
        let manifest = serde_json::from_slice::<ImageManifest>(&bytes).ok();
        match (name.filter(|name| name.starts_with(&prefix)), manifest) {
            (Some(tag), Some(manifest)) => {
                artifacts.push(Artifact::Tagged { tag: tag.clone(), manifest: manifest.into() });
            }
            (None, Some(manifest)) if subject(&manifest) == Some(layout.digest) => {
                let descriptor = referrer(&manifest, &bytes).into();
                artifacts.push(Artifact::Referrer { descriptor, bytes, manifest: manifest.into() });
            }
            _ => others.push(digest),
        }
    }
    Ok((artifacts, others))
}

fn subject(manifest: &ImageManifest) -> Option<Digest> {
    image::digest_of(manifest.subject().as_ref()?).ok()
}

/// The tag of the index that lists who refers to an image, where the registry doesn't.
pub(super) fn fallback_tag(image: &Digest) -> String {
    format!("sha256-{}", image.hex())
}

/// How an index lists a document: by digest, with its kind and annotations.
fn referrer(manifest: &ImageManifest, bytes: &[u8]) -> Descriptor {
    let kind = manifest.artifact_type().clone().unwrap_or_else(|| manifest.config().media_type().clone());
    let mut descriptor = Descriptor::new(MediaType::ImageManifest, bytes.len() as u64, digest(&Digest::of(bytes)));
    descriptor.set_artifact_type(Some(kind));
    descriptor.set_annotations(manifest.annotations().clone());
    descriptor
}

fn digest(digest: &Digest) -> Sha256Digest {
    digest.hex().parse().expect("64 hex digits are a SHA-256 digest")
}

/// The index with one document more; `None` where it lists it already. `before` is what stands under the tag now.
pub(super) fn listed(before: Option<&[u8]>, descriptor: &Descriptor) -> Result<Option<Vec<u8>>, String> {
    let mut all = match before {
        None => Vec::new(),
        Some(bytes) => {
            let index: ImageIndex = serde_json::from_slice(bytes).map_err(|error| error.to_string())?;
            index.manifests().clone()
        }
    };
    if all.iter().any(|one| one.digest() == descriptor.digest()) {
        return Ok(None);
    }
    all.push(descriptor.clone());
    let index = ImageIndexBuilder::default().schema_version(2u32).media_type(MediaType::ImageIndex).manifests(all);
    let index = index.build().map_err(|error| error.to_string())?;
    serde_json::to_vec(&index).map(Some).map_err(|error| error.to_string())
}

/// A tagged manifest joined with the one under its tag: the manifest's bytes, and those of its configuration.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Joined {
    pub(super) manifest: Vec<u8>,
    pub(super) config: Vec<u8>,
    /// The layers that weren't there.
    pub(super) added: Vec<Digest>,
}

/// Adds the layers of `ours` to those of `theirs`; `None` where all of them are there.
pub(super) fn join(theirs: Option<&[u8]>, ours: &ImageManifest) -> Result<Option<Joined>, String> {
    let theirs: Option<ImageManifest> =
        theirs.map(serde_json::from_slice).transpose().map_err(|error| error.to_string())?;
    let mut layers = theirs.as_ref().map(|theirs| theirs.layers().clone()).unwrap_or_default();
    let same = |a: &Descriptor, b: &Descriptor| {
        let signature = |layer: &Descriptor| layer.annotations().as_ref().and_then(|all| all.get(SIGNATURE).cloned());
        a.digest() == b.digest() && signature(a) == signature(b)
    };
    let mut added = Vec::new();
    for layer in ours.layers() {
        if !layers.iter().any(|there| same(there, layer)) {
            added.push(image::digest_of(layer)?);
            layers.push(layer.clone());
        }
    }
    if added.is_empty() {
        return Ok(None);
    }
    let diff_ids: Vec<String> = layers.iter().map(|layer| layer.digest().to_string()).collect();
    let rootfs = json!({ "type": "layers", "diff_ids": diff_ids });
    let config = json!({ "architecture": "", "config": {}, "os": "", "rootfs": rootfs }).to_string().into_bytes();
    let described = Descriptor::new(MediaType::ImageConfig, config.len() as u64, digest(&Digest::of(&config)));
    let mut manifest = ImageManifestBuilder::default()
        .schema_version(2u32)
        .media_type(MediaType::ImageManifest)
        .config(described)
        .layers(layers)
        .build()
        .map_err(|error| error.to_string())?;
    manifest.set_annotations(theirs.as_ref().unwrap_or(ours).annotations().clone());
    let manifest = serde_json::to_vec(&manifest).map_err(|error| error.to_string())?;
    Ok(Some(Joined { manifest, config, added }))
}

/// For which repository each signature of a tagged manifest was made, and whether `key` made it.
pub(super) fn claims(folder: &Path, manifest: &ImageManifest, key: Option<&SigningKey>) -> Vec<Option<Claim>> {
    let of = |layer: &Descriptor| {
        let digest = image::digest_of(layer).ok()?;
        let payload = fs::read(image::blob_path(folder, &digest)).ok()?;
        let value: serde_json::Value = serde_json::from_slice(&payload).ok()?;
        let repository = value.pointer("/critical/identity/docker-reference")?.as_str()?.to_string();
        let signature = layer.annotations().as_ref()?.get(SIGNATURE)?;
        let signature = STANDARD.decode(signature).ok()?;
        let own = key.is_some_and(|key| key.public().verifies(&payload, &signature));
        Some(Claim { repository, own })
    };
    manifest.layers().iter().map(of).collect()
}

/// What one signature says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Claim {
    /// For this repository.
    pub(super) repository: String,
    /// By the key at hand.
    pub(super) own: bool,
}

/// A copy of all of the layout but the image's own blobs, in which the image is signed for `repository`; the layout
/// itself stays as it is.
pub(super) fn sign_for(layout: &OpenedLayout, key: &SigningKey, repository: &Repository) -> Result<TempDir, Error> {
    let scratch = tempfile::tempdir().map_err(files("make a folder in", &std::env::temp_dir()))?;
    let blobs = scratch.path().join("blobs/sha256");
    fs::create_dir_all(&blobs).map_err(files("make", &blobs))?;
    let copy = |from: &Path, to: &Path| fs::copy(from, to).map(drop).map_err(files("copy", from));
    for name in ["index.json", "oci-layout"] {
        copy(&layout.folder.join(name), &scratch.path().join(name))?;
    }
    let blob = |descriptor: &Descriptor| {
        let digest = image::digest_of(descriptor)
            .map_err(|reason| image::Error::Layout { path: layout.folder.clone(), reason })?;
        copy(&image::blob_path(&layout.folder, &digest), &image::blob_path(scratch.path(), &digest))
    };
    blob(&layout.descriptor)?;
    for descriptor in &layout.others {
        blob(descriptor)?;
        if let Ok(manifest) = serde_json::from_slice::<ImageManifest>(&layout.manifest_bytes(descriptor)?) {
            [manifest.config()].into_iter().chain(manifest.layers()).try_for_each(blob)?;
        }
    }
    sign::sign_layout(scratch.path(), key, &repository.to_string())?;
    Ok(scratch)
}

/// `manifest` without the layers at which `keep` is false.
pub(super) fn only(manifest: &ImageManifest, keep: &[bool]) -> ImageManifest {
    let layers = manifest.layers().iter().zip(keep).filter(|(_, keep)| **keep).map(|(layer, _)| layer.clone());
    let mut manifest = manifest.clone();
    manifest.set_layers(layers.collect());
    manifest
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use super::*;

    fn layer(payload: &str, signature: &str) -> Descriptor {
        let mut layer = Descriptor::new(MediaType::Other("x".into()), 1u64, digest(&Digest::of(payload)));
        layer.set_annotations(Some(HashMap::from([(SIGNATURE.to_string(), signature.to_string())])));
        layer
    }

    fn manifest(layers: Vec<Descriptor>) -> ImageManifest {
        let config = Descriptor::new(MediaType::ImageConfig, 1u64, digest(&Digest::of("config")));
        let manifest = ImageManifestBuilder::default().schema_version(2u32).config(config).layers(layers);
        manifest.build().unwrap()
    }

    #[test]
    fn signatures_are_added_to_those_that_are_there_once() {
        let ours = manifest(vec![layer("p", "mine")]);
        let first = join(None, &ours).unwrap().unwrap();
        assert_eq!(first.added, [Digest::of("p")]);
        assert_eq!(join(Some(&first.manifest), &ours).unwrap(), None);
        let theirs = join(Some(&first.manifest), &manifest(vec![layer("p", "theirs")])).unwrap().unwrap();
        let both: ImageManifest = serde_json::from_slice(&theirs.manifest).unwrap();
        assert_eq!(both.layers().len(), 2);
        let config: serde_json::Value = serde_json::from_slice(&theirs.config).unwrap();
        assert_eq!(config["rootfs"]["diff_ids"].as_array().unwrap().len(), 2);
        assert_eq!(both.config().digest().to_string(), Digest::of(&theirs.config).to_string());
        assert!(join(Some(b"junk"), &ours).is_err());
    }

    #[test]
    fn a_document_is_listed_once() {
        let (one, two) = (layer("a", ""), layer("b", ""));
        let first = listed(None, &one).unwrap().unwrap();
        assert_eq!(listed(Some(&first), &one).unwrap(), None);
        let second: ImageIndex = serde_json::from_slice(&listed(Some(&first), &two).unwrap().unwrap()).unwrap();
        assert_eq!(second.manifests(), &[one, two]);
        assert!(listed(Some(b"[]"), &layer("a", "")).is_err());
    }
}
