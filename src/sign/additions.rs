//! A layout that signatures and attestations are added to.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use super::artifact::Artifact;
use super::layout::{
    Descriptor, IMAGE_INDEX, IMAGE_MANIFEST, INDEX_FILE, Index, IndexEntry, Manifest, REF_NAME, blob_path, parse,
    read_blob, read_document,
};
use super::{Error, Fault};
use crate::digest::Digest;
use crate::files;

/// The artifacts that follow the image in the layout in `folder`, in their order, each checked against its digests
/// (but not who made them: that is [`verify_layout`](super::verify_layout)'s work).
pub fn artifacts(folder: &Path) -> Result<Vec<Artifact>, Error> {
    Layout::open(folder)?.artifacts()
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
        let IndexEntry { media_type, digest, size, .. } = &self.index.manifests[0];
        Descriptor::new(media_type, *digest, *size)
    }

    /// Every artifact behind the image.
    pub(super) fn artifacts(&self) -> Result<Vec<Artifact>, Error> {
        self.index.manifests[1..].iter().map(|entry| self.read(entry)).collect()
    }

    fn read(&self, entry: &IndexEntry) -> Result<Artifact, Error> {
        let read = || {
            let manifest = read_blob(self.folder, &entry.digest, entry.size)?;
            let parts: Manifest = parse(&blob_path(&entry.digest), "a manifest of signatures", &manifest)?;
            Artifact::from_parts(self.folder, manifest, &parts, entry.ref_name(), entry.artifact_type.clone())
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
}
