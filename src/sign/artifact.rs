//! What refers to an image: manifests of signatures and attestations as plain values, read from a layout, signed for
//! another repository, and merged with what that place already has.
//!
//! ```text
//! index.json ─┬─ the image
//!             ├─ sha256-<hex>.sig   classic signatures      tag
//!             ├─ sha256-<hex>.att   classic attestations    tag
//!             └─ …                  a bundle each           subject: the image
//! ```

use std::collections::BTreeMap;
use std::path::Path;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use super::classic::{self, SIGNATURE, SIMPLE_SIGNING};
use super::layout::{Descriptor, IMAGE_MANIFEST, LARGEST_DOCUMENT, Manifest, parse, read_blob, read_small_blob};
use super::{Fault, PublicKey};
use crate::digest::Digest;

const IMAGE_CONFIG: &str = "application/vnd.oci.image.config.v1+json";
/// Largest blob of an artifact, bytes: all of them are held in memory.
const LARGEST_BLOB: u64 = 8 * LARGEST_DOCUMENT;

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

/// What one classic signature says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Claim {
    /// For which repository.
    pub repository: String,
    /// Whether a key at hand made it.
    pub own: bool,
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

    /// Reads the artifact whose manifest is a blob of the layout in `folder`, each part checked against its digest (but
    /// not who made it). `None` where it is about something else than `image`, or no artifact at all.
    pub fn about(
        image: &Digest,
        folder: &Path,
        (digest, size): (&Digest, u64),
        tag: Option<&str>,
    ) -> Result<Option<Self>, Fault> {
        let manifest = read_blob(folder, digest, size)?;
        let Ok(parts) = serde_json::from_slice::<Manifest>(&manifest) else { return Ok(None) };
        let is_about = match tag {
            Some(tag) => tag.starts_with(&format!("sha256-{}.", image.hex())),
            None => parts.subject.as_ref().is_some_and(|subject| subject.digest == *image),
        };
        let artifact_type = parts.artifact_type.clone();
        if is_about { Self::from_parts(folder, manifest, &parts, tag, artifact_type).map(Some) } else { Ok(None) }
    }

    pub(super) fn from_parts(
        folder: &Path,
        manifest: Vec<u8>,
        parts: &Manifest,
        tag: Option<&str>,
        artifact_type: Option<String>,
    ) -> Result<Self, Fault> {
        let mut blobs: Vec<Vec<u8>> = Vec::new();
        for part in [&parts.config].into_iter().chain(&parts.layers) {
            let blob = read_small_blob(folder, &part.digest, part.size, LARGEST_BLOB)?;
            if !blobs.contains(&blob) {
                blobs.push(blob);
            }
        }
        Ok(Artifact { manifest, blobs, tag: tag.map(String::from), artifact_type })
    }

    /// What each of its classic signatures says, and whether one of `keys` made it.
    pub fn claims(&self, keys: &[PublicKey]) -> Vec<Claim> {
        let Ok(parts) = serde_json::from_slice::<Manifest>(&self.manifest) else { return Vec::new() };
        parts.layers.iter().filter_map(|layer| self.claim(layer, keys)).collect()
    }

    fn claim(&self, layer: &Descriptor, keys: &[PublicKey]) -> Option<Claim> {
        if layer.media_type != SIMPLE_SIGNING {
            return None;
        }
        let payload = self.blobs.iter().find(|blob| Digest::of(blob) == layer.digest)?;
        let repository = classic::repository_in(payload)?;
        let signature = STANDARD.decode(layer.annotations.get(SIGNATURE)?).ok()?;
        let own = keys.iter().any(|key| key.verifies(payload, &signature));
        Some(Claim { repository, own })
    }

    /// This artifact without the signatures that `keys` made for other repositories than `repository`.
    pub fn only_for(&self, repository: &str, keys: &[PublicKey]) -> Artifact {
        let parts = serde_json::from_slice::<Manifest>(&self.manifest).ok().filter(|_| self.tag.is_some());
        let Some(mut parts) = parts else { return self.clone() };
        let stays =
            |layer: &Descriptor| self.claim(layer, keys).is_some_and(|one| one.own && one.repository != repository);
        let all = parts.layers.len();
        parts.layers.retain(|layer| !stays(layer));
        if parts.layers.len() == all {
            return self.clone();
        }
        let (manifest, config) = classic_manifest(parts.layers.clone(), parts.annotations);
        let named = |blob: &&Vec<u8>| parts.layers.iter().any(|layer| layer.digest == Digest::of(blob));
        let blobs = [config].into_iter().chain(self.blobs.iter().filter(named).cloned()).collect();
        Artifact { manifest, blobs, ..self.clone() }
    }

    /// This classic artifact with the layers of the manifest `there`, which stands under the same tag elsewhere, put
    /// before its own: nobody's signature is replaced. Its blobs are those that have to be brought to that place: its
    /// config, and the layers that are new there. `None` where that place has all of it. A bundle is what it is: it
    /// comes back unchanged.
    pub fn merged_with(&self, there: &[u8]) -> Result<Option<Artifact>, Fault> {
        let Some(tag) = &self.tag else { return Ok(Some(self.clone())) };
        let theirs: Manifest = parse(tag, "a manifest of signatures", there)?;
        let ours: Manifest = parse(tag, "a manifest of signatures", &self.manifest)?;
        let same = |a: &Descriptor, b: &Descriptor| {
            a.digest == b.digest && a.annotations.get(SIGNATURE) == b.annotations.get(SIGNATURE)
        };
        let new: Vec<Descriptor> =
            ours.layers.into_iter().filter(|layer| !theirs.layers.iter().any(|there| same(there, layer))).collect();
        if new.is_empty() {
            return Ok(None);
        }
        let brought = |blob: &&Vec<u8>| new.iter().any(|layer| layer.digest == Digest::of(blob));
        let blobs: Vec<Vec<u8>> = self.blobs.iter().filter(brought).cloned().collect();
        let layers = [theirs.layers, new.clone()].concat();
        let (manifest, config) = classic_manifest(layers, theirs.annotations);
        let blobs = std::iter::once(config).chain(blobs).collect();
        Ok(Some(Artifact { manifest, blobs, ..self.clone() }))
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
        layers.push(Descriptor { annotations: layer.annotations, ..descriptor(layer.media_type, &layer.bytes) });
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
    Descriptor::new(media_type, Digest::of(bytes), bytes.len() as u64)
}

#[cfg(test)]
mod tests {
    use super::super::additions::{artifacts, store_artifacts};
    use super::super::verify::tests::layout;
    use super::super::{SigningKey, sign_layout};
    use super::*;

    #[test]
    fn merging_keeps_the_signatures_of_both_places() {
        let (here, there) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        for folder in [&here, &there] {
            layout(folder.path());
            sign_layout(folder.path(), &SigningKey::generate().unwrap(), "ml/digits").unwrap();
        }
        let first = |folder: &Path| artifacts(folder).unwrap().remove(0);
        let (ours, theirs) = (first(here.path()), first(there.path()));
        let merged = ours.merged_with(&theirs.manifest).unwrap().unwrap();
        let layers = |manifest: &[u8]| serde_json::from_slice::<Manifest>(manifest).unwrap().layers;
        assert_eq!(layers(&merged.manifest), [layers(&theirs.manifest), layers(&ours.manifest)].concat());
        assert_eq!(merged.blobs.len(), 2, "the config and one payload");
        let parts: Manifest = serde_json::from_slice(&merged.manifest).unwrap();
        assert_eq!(parts.config.digest, Digest::of(&merged.blobs[0]));
        assert_eq!(merged.merged_with(&merged.manifest).unwrap(), None, "nothing is new there");
        assert_eq!(ours.merged_with(&merged.manifest).unwrap(), None);
        store_artifacts(there.path(), std::slice::from_ref(&merged)).unwrap();
        assert_eq!(crate::image::validate(there.path()), []);
        assert!(ours.merged_with(b"junk").is_err());
    }

    #[test]
    fn what_others_wrote_beside_a_signature_stays_when_one_is_added() {
        let here = tempfile::tempdir().unwrap();
        layout(here.path());
        sign_layout(here.path(), &SigningKey::generate().unwrap(), "ml/digits").unwrap();
        let ours = artifacts(here.path()).unwrap().remove(0);
        let mut theirs: serde_json::Value = serde_json::from_slice(&ours.manifest).unwrap();
        theirs["layers"][0]["annotations"] = serde_json::json!({ SIGNATURE: "theirs", "x": "y" });
        theirs["layers"][0]["urls"] = serde_json::json!(["u"]);
        let merged = ours.merged_with(theirs.to_string().as_bytes()).unwrap().unwrap();
        let merged: serde_json::Value = serde_json::from_slice(&merged.manifest).unwrap();
        assert_eq!(merged["layers"][0], theirs["layers"][0]);
    }

    #[test]
    fn ones_own_signatures_for_another_repository_stay_behind() {
        let here = tempfile::tempdir().unwrap();
        let [one, two] = [(); 2].map(|()| SigningKey::generate().unwrap());
        layout(here.path());
        for (key, repository) in [(&one, "a/b"), (&two, "a/b"), (&one, "c/d")] {
            sign_layout(here.path(), key, repository).unwrap();
        }
        let all = artifacts(here.path()).unwrap();
        let of = |artifact: &Artifact| -> Vec<(String, bool)> {
            artifact.claims(&[one.public()]).into_iter().map(|claim| (claim.repository, claim.own)).collect()
        };
        let expected = [("a/b", true), ("a/b", false), ("c/d", true)].map(|(name, own)| (name.to_string(), own));
        assert_eq!(of(&all[0]), expected);
        let kept = all[0].only_for("c/d", &[one.public()]);
        assert_eq!(of(&kept), expected[1..]);
        assert_eq!(kept.blobs.len(), 3, "the config and two payloads: {kept:?}");
        assert_eq!(all[1].only_for("c/d", &[one.public()]), all[1], "a bundle names no repository");
    }
}
