//! Signing: cosign's classic forms of signature and attestation, and a bundle beside each.
//!
//! ```text
//! index.json ─┬─ the image
//!             ├─ sha256-<hex of the image>.sig ── manifest ─┬─ config: rootfs.diff_ids = the payloads' digests
//!             │                                             └─ a layer a signature: the payload, and in an
//!             │                                                annotation the signature over its very bytes
//!             ├─ sha256-<hex of the image>.att ── the same, a layer an attestation: its envelope
//!             └─ a bundle for each of them
//! ```

use std::collections::BTreeMap;
use std::path::Path;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::{Deserialize, Serialize};

use super::additions::Layout;
use super::artifact::{self, Artifact, ClassicLayer};
use super::layout::{Descriptor, Manifest, parse};
use super::statement::{self, Predicate};
use super::{Error, Fault, PublicKey, SigningKey, bundle};
use crate::digest::Digest;

/// The media type of a payload.
pub(super) const SIMPLE_SIGNING: &str = "application/vnd.dev.cosign.simplesigning.v1+json";
/// The annotation of a classic manifest's layers that holds the signature in base64.
pub(super) const SIGNATURE: &str = "dev.cosignproject.cosign/signature";
/// The `type` of a payload.
pub(super) const PAYLOAD_TYPE: &str = "cosign container image signature";
/// The media type of an attestation: an envelope.
pub(super) const DSSE: &str = "application/vnd.dsse.envelope.v1+json";
/// The annotation that names the kind of an attestation.
pub(super) const PREDICATE_TYPE: &str = "predicateType";

/// What a signature says: this manifest, for that repository. The fields stand in the order that cosign writes.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Payload {
    pub(super) critical: Critical,
    pub(super) optional: Option<serde_json::Map<String, serde_json::Value>>,
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Critical {
    pub(super) identity: Identity,
    pub(super) image: SignedImage,
    #[serde(rename = "type")]
    pub(super) kind: String,
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub(super) struct Identity {
    pub(super) docker_reference: String,
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub(super) struct SignedImage {
    pub(super) docker_manifest_digest: Digest,
}

/// What [`sign_layout`] did.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SignedLayout {
    /// The image's manifest (or index), which is what was signed.
    pub image: Digest,
    /// The manifest that holds the signatures.
    pub signatures: Digest,
    /// Whether the layout was changed: not where it held this very signature already.
    pub added: bool,
}

/// The payload that is signed, compact and in cosign's order. `repository` is the image's name in a registry, without
/// tag or digest.
pub fn payload(repository: &str, image: &Digest) -> Vec<u8> {
    let critical = Critical {
        identity: Identity { docker_reference: repository.into() },
        image: SignedImage { docker_manifest_digest: *image },
        kind: PAYLOAD_TYPE.into(),
    };
    serde_json::to_vec(&Payload { critical, optional: None }).expect("a payload of strings is JSON")
}

/// The tag under which the signatures of a manifest are kept.
pub fn signature_tag(image: &Digest) -> String {
    format!("sha256-{}.sig", image.hex())
}

/// The tag under which the classic attestations of a manifest are kept.
pub fn attestation_tag(image: &Digest) -> String {
    format!("sha256-{}.att", image.hex())
}

/// Signs the image of the layout in `folder`, in both forms: appends a classic signature to those that are there, and
/// a bundle. A key gives the same signature each time, so that signing again changes nothing.
///
/// `index.json` is replaced last and in one step: cut off before, the layout is what it was, but for blobs that
/// nothing names.
pub fn sign_layout(folder: &Path, key: &SigningKey, repository: &str) -> Result<SignedLayout, Error> {
    let mut layout = Layout::open(folder)?;
    let image = layout.image();
    let before = layout.artifacts()?;
    let tag = signature_tag(&image.digest);
    let classic = |all: &[Artifact]| all.iter().find(|one| one.tag.as_deref() == Some(&tag)).map(Artifact::digest);
    let there = classic(&before);
    let after = sign(folder, &image, before, key, repository)?;
    let signatures = classic(&after).expect("signing makes the classic form");
    for artifact in &after {
        layout.put(artifact)?;
    }
    layout.save()?;
    Ok(SignedLayout { image: image.digest, signatures, added: there != Some(signatures) })
}

/// An image as its artifacts name it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Subject<'a> {
    /// What its manifest is.
    pub media_type: &'a str,
    /// Its manifest's digest.
    pub digest: Digest,
    /// Its manifest's size, bytes.
    pub size: u64,
}

impl Subject<'_> {
    fn descriptor(&self) -> Descriptor {
        Descriptor::new(self.media_type, self.digest, self.size)
    }
}

/// The artifacts of the image in the layout `folder` with the signature of `key` for `repository` among them, as plain
/// values: the layout stays as it is.
pub fn sign_artifacts(
    folder: &Path,
    image: &Subject<'_>,
    artifacts: Vec<Artifact>,
    key: &SigningKey,
    repository: &str,
) -> Result<Vec<Artifact>, Error> {
    sign(folder, &image.descriptor(), artifacts, key, repository)
}

/// Adds both forms where they are missing.
fn sign(
    folder: &Path,
    image: &Descriptor,
    mut artifacts: Vec<Artifact>,
    key: &SigningKey,
    repository: &str,
) -> Result<Vec<Artifact>, Error> {
    let tag = signature_tag(&image.digest);
    let payload = payload(repository, &image.digest);
    let there = artifacts.iter().find(|artifact| artifact.tag.as_deref() == Some(&tag));
    let held = there.map(|there| holds(there, &payload, &key.public())).transpose();
    if held.map_err(|fault| Error::Layout { path: folder.into(), fault })? != Some(true) {
        add_classic(folder, &mut artifacts, tag, vec![layer(payload, key)?])?;
    }
    let signed = Predicate { kind: statement::SIGNED.into(), body: serde_json::json!({}) };
    let statement = statement::about(&image.digest, &signed);
    if !has_bundle(&artifacts, &statement, &key.public()) {
        let envelope = statement::sign(key, &statement)?;
        artifacts.push(bundle::artifact(image, &signed.kind, &key.public(), envelope));
    }
    Ok(artifacts)
}

/// Whether a bundle of this statement that `key` made is there already: a command that signs may sign otherwise each
/// time.
fn has_bundle(artifacts: &[Artifact], statement: &[u8], key: &PublicKey) -> bool {
    let bundles = artifacts.iter().filter(|artifact| artifact.artifact_type.is_some());
    bundles.flat_map(|artifact| &artifact.blobs).any(|blob| bundle::holds(blob, statement, key))
}

/// Attests `predicates` of the image of the layout in `folder`, in both forms, signed with `key`. What is there already
/// stays; attesting the same again changes nothing. To be called after [`sign_layout`]: where there is a bundle, cosign
/// looks for signatures among bundles alone.
pub fn attest_layout(folder: &Path, key: &SigningKey, predicates: &[Predicate]) -> Result<(), Error> {
    let mut layout = Layout::open(folder)?;
    let image = layout.image();
    for artifact in &attest(folder, &image, layout.artifacts()?, key, predicates)? {
        layout.put(artifact)?;
    }
    layout.save()
}

/// The artifacts of the image in the layout `folder` with `predicates`, attested by `key`, among them, as plain values:
/// the layout stays as it is.
pub fn attest_artifacts(
    folder: &Path,
    image: &Subject<'_>,
    artifacts: Vec<Artifact>,
    key: &SigningKey,
    predicates: &[Predicate],
) -> Result<Vec<Artifact>, Error> {
    attest(folder, &image.descriptor(), artifacts, key, predicates)
}

/// Adds both forms where they are missing.
fn attest(
    folder: &Path,
    image: &Descriptor,
    mut artifacts: Vec<Artifact>,
    key: &SigningKey,
    predicates: &[Predicate],
) -> Result<Vec<Artifact>, Error> {
    let mut layers = Vec::new();
    for predicate in predicates {
        let statement = statement::about(&image.digest, predicate);
        // Both forms are made together.
        if has_bundle(&artifacts, &statement, &key.public()) {
            continue;
        }
        let envelope = statement::sign(key, &statement)?;
        let bytes = serde_json::to_vec(&envelope).expect("an envelope is JSON");
        let annotations = [(SIGNATURE, ""), (PREDICATE_TYPE, &predicate.kind)];
        let annotations = annotations.map(|(name, value)| (name.to_string(), value.to_string())).into();
        layers.push(ClassicLayer { media_type: DSSE, bytes, annotations });
        artifacts.push(bundle::artifact(image, &predicate.kind, &key.public(), envelope));
    }
    if !layers.is_empty() {
        add_classic(folder, &mut artifacts, attestation_tag(&image.digest), layers)?;
    }
    Ok(artifacts)
}

/// Appends layers to the classic artifact under `tag`, which is made where there is none.
fn add_classic(
    folder: &Path,
    artifacts: &mut Vec<Artifact>,
    tag: String,
    layers: Vec<ClassicLayer>,
) -> Result<(), Error> {
    let at = artifacts.iter().position(|artifact| artifact.tag.as_deref() == Some(&tag));
    let before = at.map(|at| artifacts[at].clone());
    let after = artifact::classic(tag, before, layers).map_err(|fault| Error::Layout { path: folder.into(), fault })?;
    match at {
        Some(at) => artifacts[at] = after,
        None => artifacts.push(after),
    }
    Ok(())
}

/// For which repository a payload is.
pub(super) fn repository_in(payload: &[u8]) -> Option<String> {
    let payload: serde_json::Value = serde_json::from_slice(payload).ok()?;
    payload.pointer("/critical/identity/docker-reference")?.as_str().map(String::from)
}

fn layer(payload: Vec<u8>, key: &SigningKey) -> Result<ClassicLayer, Error> {
    let signature = STANDARD.encode(key.sign(&payload)?);
    Ok(ClassicLayer {
        media_type: SIMPLE_SIGNING,
        bytes: payload,
        annotations: BTreeMap::from([(SIGNATURE.into(), signature)]),
    })
}

/// Whether a signature of `payload` that `key` made is there already.
fn holds(before: &Artifact, payload: &[u8], key: &PublicKey) -> Result<bool, Fault> {
    let manifest: Manifest = parse("index.json", "an index that names a manifest of signatures", &before.manifest)?;
    let digest = Digest::of(payload);
    Ok(manifest.layers.iter().filter(|layer| layer.digest == digest).any(|layer| {
        let signature = layer.annotations.get(SIGNATURE).and_then(|text| STANDARD.decode(text).ok());
        signature.is_some_and(|signature| key.verifies(payload, &signature))
    }))
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::super::additions::artifacts;
    use super::super::layout::{INDEX_FILE, blob_path};
    use super::super::verify::tests::layout;
    use super::*;
    use crate::files;

    #[test]
    fn the_payload_is_what_cosign_signs() {
        let image = Digest::of("");
        let text = String::from_utf8(payload("registry.example.com/ml/digits", &image)).unwrap();
        assert_eq!(
            text,
            format!(
                r#"{{"critical":{{"identity":{{"docker-reference":"registry.example.com/ml/digits"}},"image":{{"docker-manifest-digest":"{image}"}},"type":"cosign container image signature"}},"optional":null}}"#
            )
        );
    }

    #[test]
    fn signing_again_changes_nothing_and_another_key_appends() {
        let folder = tempfile::tempdir().unwrap();
        let image = layout(folder.path());
        let (one, two) = (SigningKey::generate().unwrap(), SigningKey::generate().unwrap());
        let first = sign_layout(folder.path(), &one, "ml/digits").unwrap();
        assert!(first.added && first.image == image);
        let before = files::read_tree(folder.path()).unwrap();
        let again = sign_layout(folder.path(), &one, "ml/digits").unwrap();
        assert_eq!(again, SignedLayout { added: false, ..first });
        assert_eq!(files::read_tree(folder.path()).unwrap(), before);
        sign_layout(folder.path(), &two, "ml/digits").unwrap();
        let all = artifacts(folder.path()).unwrap();
        assert_eq!(all.len(), 3, "the classic signatures, and a bundle each");
        assert_eq!(all[0].tag.as_deref(), Some(signature_tag(&image).as_str()));
        let manifest: Manifest = serde_json::from_slice(&all[0].manifest).unwrap();
        assert_eq!(manifest.layers.len(), 2);
        let payload = payload("ml/digits", &image);
        assert!(holds(&all[0], &payload, &one.public()).unwrap());
        assert!(holds(&all[0], &payload, &two.public()).unwrap());
        let blobs = files::read_tree(folder.path()).unwrap();
        assert_eq!(
            blobs.len(),
            before.len() + 2,
            "a bundle more; the manifest and the config that were replaced are gone"
        );
    }

    #[test]
    fn what_is_not_a_whole_layout_is_not_signed() {
        let folder = tempfile::tempdir().unwrap();
        let key = SigningKey::generate().unwrap();
        let refused = |part: &str| {
            let error = sign_layout(folder.path(), &key, "digits").unwrap_err().to_string();
            assert!(error.contains(part), "{error}");
        };
        refused("`index.json` is missing");
        let image = layout(folder.path());
        fs::write(folder.path().join(blob_path(&image)), "{}").unwrap();
        refused("but its descriptor says");
        fs::write(folder.path().join(INDEX_FILE), r#"{"schemaVersion":2,"manifests":[]}"#).unwrap();
        refused("names no image");
    }
}
