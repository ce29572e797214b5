//! Sigstore bundles, version 0.3: a statement in its envelope, in a manifest that has the image as its subject.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::{Deserialize, Serialize};

use super::PublicKey;
use super::artifact::{Artifact, descriptor};
use super::layout::{Descriptor, IMAGE_MANIFEST, Manifest};
use super::statement::{self, Envelope};

/// The media type of a bundle, and the type of a manifest that holds one.
pub(super) const BUNDLE: &str = "application/vnd.dev.sigstore.bundle.v0.3+json";
pub(super) const EMPTY_CONFIG: &str = "application/vnd.oci.empty.v1+json";
pub(super) const CONTENT: &str = "dev.sigstore.bundle.content";
pub(super) const PREDICATE_TYPE: &str = "dev.sigstore.bundle.predicateType";
pub(super) const DSSE_ENVELOPE: &str = "dsse-envelope";

/// The file itself. What nimify doesn't write (certificates, entries of a log, times) it doesn't read either.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct Bundle {
    pub(super) media_type: String,
    pub(super) verification_material: Material,
    pub(super) dsse_envelope: Envelope,
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct Material {
    pub(super) public_key: Hint,
    /// Entries of a transparency log, which cosign may have added: nothing is decided by them here.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(super) tlog_entries: Vec<serde_json::Value>,
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Hint {
    pub(super) hint: String,
}

/// The bytes of a bundle, which names the key by `hint`.
pub(super) fn bundle(hint: String, envelope: Envelope) -> Vec<u8> {
    let bundle = Bundle {
        media_type: BUNDLE.into(),
        verification_material: Material { public_key: Hint { hint }, tlog_entries: Vec::new() },
        dsse_envelope: envelope,
    };
    serde_json::to_vec(&bundle).expect("a bundle is JSON")
}

/// A bundle about an image, ready for a layout or a registry.
pub(super) fn artifact(image: &Descriptor, predicate_type: &str, key: &PublicKey, envelope: Envelope) -> Artifact {
    let bundle = bundle(STANDARD.encode(key.id().digest().bytes()), envelope);
    let config = b"{}".to_vec();
    let annotations = [(CONTENT, DSSE_ENVELOPE), (PREDICATE_TYPE, predicate_type)];
    let manifest = Manifest {
        schema_version: 2,
        media_type: Some(IMAGE_MANIFEST.into()),
        artifact_type: Some(BUNDLE.into()),
        config: descriptor(EMPTY_CONFIG, &config),
        layers: vec![descriptor(BUNDLE, &bundle)],
        subject: Some(image.clone()),
        annotations: annotations.map(|(name, value)| (name.to_string(), value.to_string())).into(),
    };
    Artifact {
        manifest: serde_json::to_vec(&manifest).expect("a manifest is JSON"),
        blobs: vec![config, bundle],
        tag: None,
        artifact_type: Some(BUNDLE.into()),
    }
}

/// Whether a bundle's bytes hold `statement`, signed by `key`.
pub(super) fn holds(bundle: &[u8], statement: &[u8], key: &PublicKey) -> bool {
    let Ok(Bundle { dsse_envelope: envelope, .. }) = serde_json::from_slice(bundle) else { return false };
    let signed = statement::encode(&envelope.payload_type, statement);
    STANDARD.decode(&envelope.payload).is_ok_and(|payload| payload == statement)
        && envelope.signatures.iter().any(|one| STANDARD.decode(&one.sig).is_ok_and(|sig| key.verifies(&signed, &sig)))
}
