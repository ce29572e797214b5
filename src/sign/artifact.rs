//! What refers to an image: manifests of signatures and attestations as plain values, read from a layout, put into one,
//! and merged with what another place already has.
//!
//! ```text
//! index.json ─┬─ the image
//!             ├─ sha256-<hex>.sig   classic signatures      tag
//!             ├─ sha256-<hex>.att   classic attestations    tag
//!             └─ …                  a bundle each           subject: the image
//! ```

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

use super::layout::{
    Descriptor, IMAGE_INDEX, IMAGE_MANIFEST, INDEX_FILE, Index, IndexEntry, Manifest, REF_NAME, blob_path, parse,
    read_blob, read_document,
};
use super::{Error, Fault, PublicKey, bundle};
use crate::digest::Digest;
use crate::files;

const IMAGE_CONFIG: &str = "application/vnd.oci.image.config.v1+json";

/// A manifest that refers to an image, with its blobs: small enough to be held in memory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Artifact {
    /// Its manifest's bytes; the media type is that of an OCI image manifest.
    pub manifest: Vec<u8>,
    /// The blobs that the manifest names, its config first.
    pub blobs: Vec<Vec<u8>>,
    /// The tag under which the classic forms are kept; bundles have none and are pushed by digest.
    pub tag: Option<String>,
    /// What kind of referrer it is, where its manifest names the image as its subject.
    pub artifact_type: Option<String>,
}

/// A layer of a classic artifact.
pub(super) struct ClassicLayer {
    pub(super) media_type: &'static str,
    pub(super) bytes: Vec<u8>,
    pub(super) annotations: BTreeMap<String, String>,
}

/// What [`Artifact`]s are made of where signatures and attestations have an image config.
#[derive(Debug, Default, serde::Serialize, serde::Deserialize)]
pub(super) struct ClassicConfig {
    architecture: String,
    config: BTreeMap<String, String>,
    os: String,
    pub(super) rootfs: RootFs,
}

#[derive(Debug, Default, serde::Serialize, serde::Deserialize)]
pub(super) struct RootFs {
    #[serde(rename = "type")]
    kind: String,
    pub(super) diff_ids: Vec<Digest>,
}

impl Artifact {
    /// The manifest's digest.
    pub fn digest(&self) -> Digest {
        Digest::of(&self.manifest)
    }

    /// This classic artifact with the layers of the manifest `there`, which stands under the same tag elsewhere, put
    /// before its own: nobody's signature is replaced. The blobs of `there` are not among those of the result, since
    /// that place has them. A bundle is what it is: it comes back unchanged.
    pub fn merged_with(&self, there: &[u8]) -> Result<Artifact, Fault> {
        let Some(tag) = &self.tag else { return Ok(self.clone()) };
        let theirs: Manifest = parse(tag, "a manifest of signatures", there)?;
        let ours: Manifest = parse(tag, "a manifest of signatures", &self.manifest)?;
        let config = ours.config.digest;
        let mut layers = theirs.layers;
        for layer in ours.layers {
            if !layers.contains(&layer) {
                layers.push(layer);
            }
        }
        let (manifest, new_config) = classic_manifest(layers, theirs.annotations);
        let blobs = self.blobs.iter().filter(|blob| Digest::of(blob) != config).cloned();
        let blobs = std::iter::once(new_config).chain(blobs).collect();
        Ok(Artifact { manifest, blobs, ..self.clone() })
    }
}

/// A classic artifact: the layers of `before`, which keep their blobs, then `more`.
pub(super) fn classic(tag: String, before: Option<Artifact>, more: Vec<ClassicLayer>) -> Result<Artifact, Fault> {
    let mut layers = Vec::new();
    let mut annotations = BTreeMap::new();
    let mut blobs = Vec::new();
    if let Some(before) = before {
        let manifest: Manifest = parse(&tag, "a manifest of signatures", &before.manifest)?;
        (layers, annotations) = (manifest.layers, manifest.annotations);
        blobs.extend(before.blobs.into_iter().filter(|blob| Digest::of(blob) != manifest.config.digest));
    }
    for layer in more {
        layers.push(Descriptor {
            media_type: layer.media_type.into(),
            digest: Digest::of(&layer.bytes),
            size: layer.bytes.len() as u64,
            annotations: layer.annotations,
        });
        if !blobs.contains(&layer.bytes) {
            blobs.push(layer.bytes);
        }
    }
    let (manifest, config) = classic_manifest(layers, annotations);
    blobs.insert(0, config);
    Ok(Artifact { manifest, blobs, tag: Some(tag), artifact_type: None })
}

fn classic_manifest(layers: Vec<Descriptor>, annotations: BTreeMap<String, String>) -> (Vec<u8>, Vec<u8>) {
    let diff_ids = layers.iter().map(|layer| layer.digest).collect();
    let config = ClassicConfig { rootfs: RootFs { kind: "layers".into(), diff_ids }, ..Default::default() };
    let config = serde_json::to_vec(&config).expect("a config is JSON");
    let manifest = Manifest {
        schema_version: 2,
        media_type: Some(IMAGE_MANIFEST.into()),
        artifact_type: None,
        config: descriptor(IMAGE_CONFIG, &config),
        layers,
        subject: None,
        annotations,
    };
    (serde_json::to_vec(&manifest).expect("a manifest is JSON"), config)
}

/// What a manifest says of a blob.
pub(super) fn descriptor(media_type: &str, bytes: &[u8]) -> Descriptor {
    Descriptor {
        media_type: media_type.into(),
        digest: Digest::of(bytes),
        size: bytes.len() as u64,
        annotations: BTreeMap::new(),
    }
}

/// The artifacts that follow the image in the layout in `folder`, in their order, each checked against its digests
/// (but not who made them: that is [`verify_layout`](super::verify_layout)'s work).
pub fn artifacts(folder: &Path) -> Result<Vec<Artifact>, Error> {
    let layout = Layout::open(folder)?;
    layout.index.manifests[1..].iter().map(|entry| layout.read(entry)).collect()
}

/// Puts artifacts into the layout in `folder`, behind its image: one under the same tag is replaced.
pub fn store_artifacts(folder: &Path, artifacts: &[Artifact]) -> Result<(), Error> {
    let mut layout = Layout::open(folder)?;
    for artifact in artifacts {
        layout.put(artifact)?;
    }
    layout.save()
}

/// A layout that is being added to.
pub(super) struct Layout<'a> {
    folder: &'a Path,
    index: Index,
    /// What artifacts that were replaced consisted of.
    old: BTreeSet<Digest>,
    changed: bool,
}

impl<'a> Layout<'a> {
    /// Opens a layout: its image's manifest has to be there unchanged to be worth a signature.
    pub(super) fn open(folder: &'a Path) -> Result<Self, Error> {
        let open = || {
            let bytes = read_document(folder, INDEX_FILE)?;
            let index: Index = parse(INDEX_FILE, "an OCI image index", &bytes)?;
            let image = index.manifests.first().ok_or_else(|| Fault::new(INDEX_FILE, "names no image"))?;
            if ![IMAGE_MANIFEST, IMAGE_INDEX].contains(&image.media_type.as_str()) {
                let what = format!("begins with a `{}`, but should begin with an image", image.media_type);
                return Err(Fault::new(INDEX_FILE, what));
            }
            read_blob(folder, &image.digest, image.size)?;
            Ok(index)
        };
        let index = open().map_err(|fault| refused(folder, fault))?;
        Ok(Layout { folder, index, old: BTreeSet::new(), changed: false })
    }

    /// The image, as a manifest that has it as its subject names it.
    pub(super) fn image(&self) -> Descriptor {
        let IndexEntry { media_type, digest, size, .. } = self.index.manifests[0].clone();
        Descriptor { media_type, digest, size, annotations: BTreeMap::new() }
    }

    /// The artifact under a tag.
    pub(super) fn tagged(&self, tag: &str) -> Result<Option<Artifact>, Error> {
        let entry = self.index.manifests[1..].iter().find(|entry| entry.ref_name() == Some(tag));
        entry.map(|entry| self.read(entry)).transpose()
    }

    /// Whether a bundle of this statement that `key` made is there already: a command that signs may sign otherwise
    /// each time.
    pub(super) fn has_bundle(&self, statement: &[u8], key: &PublicKey) -> Result<bool, Error> {
        let bundles = self.index.manifests[1..].iter().filter(|entry| entry.artifact_type.is_some());
        for entry in bundles {
            if self.read(entry)?.blobs.iter().any(|blob| bundle::holds(blob, statement, key)) {
                return Ok(true);
            }
        }
        Ok(false)
    }

    fn read(&self, entry: &IndexEntry) -> Result<Artifact, Error> {
        let read = || {
            let manifest = read_blob(self.folder, &entry.digest, entry.size)?;
            let parts: Manifest = parse(&blob_path(&entry.digest), "a manifest of signatures", &manifest)?;
            let mut blobs: Vec<Vec<u8>> = Vec::new();
            for part in [&parts.config].into_iter().chain(&parts.layers) {
                let blob = read_blob(self.folder, &part.digest, part.size)?;
                if !blobs.contains(&blob) {
                    blobs.push(blob);
                }
            }
            let (tag, artifact_type) = (entry.ref_name().map(String::from), entry.artifact_type.clone());
            Ok(Artifact { manifest, blobs, tag, artifact_type })
        };
        read().map_err(|fault| refused(self.folder, fault))
    }

    /// Adds an artifact, or replaces the one under its tag. One that is there already changes nothing.
    pub(super) fn put(&mut self, artifact: &Artifact) -> Result<(), Error> {
        let entry = IndexEntry {
            media_type: IMAGE_MANIFEST.into(),
            digest: artifact.digest(),
            size: artifact.manifest.len() as u64,
            artifact_type: artifact.artifact_type.clone(),
            annotations: artifact.tag.iter().map(|tag| (REF_NAME.to_string(), tag.clone())).collect(),
            platform: None,
        };
        if self.index.manifests.iter().any(|there| there.digest == entry.digest) {
            return Ok(());
        }
        for blob in artifact.blobs.iter().chain([&artifact.manifest]) {
            write(self.folder, &blob_path(&Digest::of(blob)), blob)?;
        }
        let same = |there: &IndexEntry| artifact.tag.is_some() && there.ref_name() == artifact.tag.as_deref();
        match self.index.manifests[1..].iter().position(same) {
            Some(at) => {
                let before = std::mem::replace(&mut self.index.manifests[at + 1], entry);
                let parts = self.read(&before)?;
                self.old.extend(parts.blobs.iter().chain([&parts.manifest]).map(Digest::of));
            }
            None => self.index.manifests.push(entry),
        }
        self.changed = true;
        Ok(())
    }

    /// Replaces `index.json` in one step: cut off before, the layout is what it was, but for blobs that nothing names.
    /// Afterwards goes what only replaced artifacts needed.
    pub(super) fn save(mut self) -> Result<(), Error> {
        if !self.changed {
            return Ok(());
        }
        write(self.folder, INDEX_FILE, &serde_json::to_vec(&self.index).expect("an index is JSON"))?;
        if self.old.is_empty() {
            return Ok(());
        }
        for entry in &self.index.manifests[1..] {
            let artifact = self.read(entry)?;
            for blob in artifact.blobs.iter().chain([&artifact.manifest]) {
                self.old.remove(&Digest::of(blob));
            }
        }
        for blob in &self.old {
            let path = self.folder.join(blob_path(blob));
            fs::remove_file(&path).map_err(|source| Error::Io { attempt: "remove", path, source })?;
        }
        Ok(())
    }
}

fn refused(folder: &Path, fault: Fault) -> Error {
    Error::Layout { path: folder.into(), fault }
}

fn write(folder: &Path, place: &str, bytes: &[u8]) -> Result<(), Error> {
    let path = folder.join(place);
    files::write_atomically(&path, bytes).map_err(|source| Error::Io { attempt: "write", path, source })
}

#[cfg(test)]
mod tests {
    use super::super::verify::tests::layout;
    use super::super::{Predicate, SigningKey, attest_layout, sign_layout, signature_tag};
    use super::*;

    #[test]
    fn artifacts_move_from_one_layout_to_another() {
        let (one, two) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let image = layout(one.path());
        assert_eq!(artifacts(one.path()).unwrap(), []);
        let key = SigningKey::generate().unwrap();
        sign_layout(one.path(), &key, "ml/digits").unwrap();
        let predicate = Predicate { kind: "https://spdx.dev/Document".into(), body: serde_json::json!({ "a": 1 }) };
        attest_layout(one.path(), &key, &[predicate]).unwrap();
        let all = artifacts(one.path()).unwrap();
        let tags: Vec<_> = all.iter().filter_map(|artifact| artifact.tag.clone()).collect();
        assert_eq!(tags, [signature_tag(&image), format!("sha256-{}.att", image.hex())]);
        assert_eq!(all.iter().filter(|artifact| artifact.artifact_type.is_some()).count(), 2, "a bundle each");
        layout(two.path());
        store_artifacts(two.path(), &all).unwrap();
        store_artifacts(two.path(), &all).unwrap();
        assert_eq!(files::read_tree(two.path()).unwrap(), files::read_tree(one.path()).unwrap());
    }

    #[test]
    fn merging_keeps_the_signatures_of_both_places() {
        let (here, there) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        for folder in [&here, &there] {
            layout(folder.path());
            sign_layout(folder.path(), &SigningKey::generate().unwrap(), "ml/digits").unwrap();
        }
        let first = |folder: &Path| artifacts(folder).unwrap().remove(0);
        let (ours, theirs) = (first(here.path()), first(there.path()));
        let merged = ours.merged_with(&theirs.manifest).unwrap();
        let layers = |manifest: &[u8]| serde_json::from_slice::<Manifest>(manifest).unwrap().layers;
        assert_eq!(layers(&merged.manifest), [layers(&theirs.manifest), layers(&ours.manifest)].concat());
        assert_eq!(merged.merged_with(&theirs.manifest).unwrap().manifest, merged.manifest, "and again");
        store_artifacts(there.path(), std::slice::from_ref(&merged)).unwrap();
        assert_eq!(crate::image::validate(there.path()), []);
        assert!(ours.merged_with(b"junk").is_err());
    }
}
