//! cosign's classic signature, kept in the layout as a second manifest behind the image.
//!
//! ```text
//! index.json ─┬─ the image
//!             └─ sha256-<hex of the image>.sig ── manifest ─┬─ config: rootfs.diff_ids = the payloads' digests
//!                                                           └─ a layer a signature: the payload, and in an
//!                                                              annotation the signature over its very bytes
//! ```

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::{Deserialize, Serialize};

use super::layout::{
    Descriptor, IMAGE_INDEX, IMAGE_MANIFEST, INDEX_FILE, Index, IndexEntry, Manifest, REF_NAME, blob_path, parse,
    read_blob, read_document,
};
use super::{Error, Fault, PublicKey, SigningKey};
use crate::digest::Digest;
use crate::files;

/// The media type of a payload.
pub(super) const SIMPLE_SIGNING: &str = "application/vnd.dev.cosign.simplesigning.v1+json";
/// The annotation that holds the signature in base64.
pub(super) const SIGNATURE: &str = "dev.cosignproject.cosign/signature";
/// The `type` of a payload.
pub(super) const PAYLOAD_TYPE: &str = "cosign container image signature";
const IMAGE_CONFIG: &str = "application/vnd.oci.image.config.v1+json";

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

/// The config of a signature's manifest: an image config, so that registries take it.
#[derive(Debug, Default, Serialize, Deserialize)]
pub(super) struct SignatureConfig {
    architecture: String,
    config: BTreeMap<String, String>,
    os: String,
    pub(super) rootfs: RootFs,
}

#[derive(Debug, Default, Serialize, Deserialize)]
pub(super) struct RootFs {
    #[serde(rename = "type")]
    kind: String,
    pub(super) diff_ids: Vec<Digest>,
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

/// Signs the image of the layout in `folder`: appends a signature to those that are there, in a manifest behind the
/// image. Ed25519 gives the same signature each time, so that signing again changes nothing.
///
/// `index.json` is replaced last and in one step: cut off before, the layout is what it was, but for blobs that
/// nothing names.
pub fn sign_layout(folder: &Path, key: &SigningKey, repository: &str) -> Result<SignedLayout, Error> {
    let refused = |fault| Error::Layout { path: folder.into(), fault };
    let bytes = read_document(folder, INDEX_FILE).map_err(refused)?;
    let mut index: Index = parse(INDEX_FILE, "an OCI image index", &bytes).map_err(refused)?;
    let image = image_of(folder, &index).map_err(refused)?;
    let tag = signature_tag(&image);
    let at = index.manifests.iter().position(|entry| entry.ref_name() == Some(&tag));
    let before = at.map(|at| read_signatures(folder, &index.manifests[at])).transpose().map_err(refused)?;
    let payload = payload(repository, &image);
    if let (Some(at), Some(before)) = (at, &before)
        && before.layers.iter().any(|layer| holds(layer, &payload, &key.public()))
    {
        return Ok(SignedLayout { image, signatures: index.manifests[at].digest, added: false });
    }
    let old = at.map(|at| index.manifests[at].digest).into_iter().chain(before.as_ref().map(|old| old.config.digest));
    let old: Vec<Digest> = old.collect();
    let new = append(before, &payload, &key.sign(&payload));
    let entry = IndexEntry {
        media_type: IMAGE_MANIFEST.into(),
        digest: Digest::of(&new.manifest),
        size: new.manifest.len() as u64,
        annotations: BTreeMap::from([(REF_NAME.into(), tag)]),
        platform: None,
    };
    let signatures = entry.digest;
    match at {
        Some(at) => index.manifests[at] = entry,
        None => index.manifests.push(entry),
    }
    for blob in [&payload, &new.config, &new.manifest] {
        write(folder, &blob_path(&Digest::of(blob)), blob)?;
    }
    write(folder, INDEX_FILE, &serde_json::to_vec(&index).expect("an index is JSON"))?;
    for blob in old.iter().filter(|blob| ![Digest::of(&new.config), signatures].contains(blob)) {
        let path = folder.join(blob_path(blob));
        fs::remove_file(&path).map_err(|source| Error::Io { attempt: "remove", path, source })?;
    }
    Ok(SignedLayout { image, signatures, added: true })
}

/// The image: the first descriptor, whose manifest has to be there unchanged to be worth a signature.
fn image_of(folder: &Path, index: &Index) -> Result<Digest, Fault> {
    let image = index.manifests.first().ok_or_else(|| Fault::new(INDEX_FILE, "names no image"))?;
    if ![IMAGE_MANIFEST, IMAGE_INDEX].contains(&image.media_type.as_str()) {
        let what = format!("begins with a `{}`, but should begin with an image", image.media_type);
        return Err(Fault::new(INDEX_FILE, what));
    }
    read_blob(folder, &image.digest, image.size).map(|_| image.digest)
}

fn read_signatures(folder: &Path, entry: &IndexEntry) -> Result<Manifest, Fault> {
    let bytes = read_blob(folder, &entry.digest, entry.size)?;
    parse(&blob_path(&entry.digest), "a manifest of signatures", &bytes)
}

fn holds(layer: &Descriptor, payload: &[u8], key: &PublicKey) -> bool {
    let signature = layer.annotations.get(SIGNATURE).and_then(|text| STANDARD.decode(text).ok());
    layer.digest == Digest::of(payload) && signature.is_some_and(|signature| key.verifies(payload, &signature))
}

struct SignatureBlobs {
    manifest: Vec<u8>,
    config: Vec<u8>,
}

fn append(before: Option<Manifest>, payload: &[u8], signature: &[u8]) -> SignatureBlobs {
    let (mut layers, annotations) = before.map(|old| (old.layers, old.annotations)).unwrap_or_default();
    layers.push(Descriptor {
        media_type: SIMPLE_SIGNING.into(),
        digest: Digest::of(payload),
        size: payload.len() as u64,
        annotations: BTreeMap::from([(SIGNATURE.into(), STANDARD.encode(signature))]),
    });
    let diff_ids = layers.iter().map(|layer| layer.digest).collect();
    let config = SignatureConfig { rootfs: RootFs { kind: "layers".into(), diff_ids }, ..Default::default() };
    let config = serde_json::to_vec(&config).expect("a config is JSON");
    let manifest = Manifest {
        schema_version: 2,
        media_type: Some(IMAGE_MANIFEST.into()),
        config: Descriptor {
            media_type: IMAGE_CONFIG.into(),
            digest: Digest::of(&config),
            size: config.len() as u64,
            annotations: BTreeMap::new(),
        },
        layers,
        annotations,
    };
    SignatureBlobs { manifest: serde_json::to_vec(&manifest).expect("a manifest is JSON"), config }
}

fn write(folder: &Path, place: &str, bytes: &[u8]) -> Result<(), Error> {
    let path = folder.join(place);
    files::write_atomically(&path, bytes).map_err(|source| Error::Io { attempt: "write", path, source })
}

#[cfg(test)]
mod tests {
    use super::super::verify::tests::layout;
    use super::*;

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
        let index: Index = serde_json::from_slice(&fs::read(folder.path().join(INDEX_FILE)).unwrap()).unwrap();
        assert_eq!(index.manifests.len(), 2);
        assert_eq!(index.manifests[0].digest, image, "the image stays first");
        assert_eq!(index.manifests[1].ref_name(), Some(signature_tag(&image).as_str()));
        let signatures = read_signatures(folder.path(), &index.manifests[1]).unwrap();
        let payload = payload("ml/digits", &image);
        assert_eq!(signatures.layers.len(), 2);
        assert!(holds(&signatures.layers[0], &payload, &one.public()));
        assert!(holds(&signatures.layers[1], &payload, &two.public()));
        let blobs = files::read_tree(folder.path()).unwrap();
        assert_eq!(blobs.len(), before.len(), "the manifest and the config that were replaced are gone");
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
