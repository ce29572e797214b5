//! Any bytes as a key file, and in each place of a layout where trust begins: its index, a bundle, a signed payload, an
//! attestation. No key that signed any of it is trusted: whatever is found, it is never a trusted image.

#![no_main]

use std::path::Path;
use std::sync::OnceLock;

use libfuzzer_sys::fuzz_target;
use nimify_fuzz::digest::Digest;
use nimify_fuzz::sign::{
    Algorithm, Artifact, Password, PublicKey, SigningKey, TrustedKeys, attestation_tag, signature_tag, store_artifacts,
    verify_layout,
};

const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
const BUNDLE: &str = "application/vnd.dev.sigstore.bundle.v0.3+json";

/// What a descriptor says of a blob.
fn descriptor(media_type: &str, bytes: &[u8]) -> String {
    format!(r#"{{"mediaType":"{media_type}","digest":"{}","size":{}}}"#, Digest::of(bytes), bytes.len())
}

/// The image's config and manifest: the same each time, so that seeds can be about it.
fn image() -> [Vec<u8>; 2] {
    let config = br#"{"architecture":"amd64","os":"linux","rootfs":{"type":"layers","diff_ids":[]}}"#.to_vec();
    let described = descriptor("application/vnd.oci.image.config.v1+json", &config);
    let manifest = format!(r#"{{"schemaVersion":2,"mediaType":"{MANIFEST}","config":{described},"layers":[]}}"#);
    [config, manifest.into_bytes()]
}

/// Makes a layout of the image alone.
fn layout(folder: &Path, index: Option<&[u8]>) -> Digest {
    let [config, manifest] = image();
    let blobs = folder.join("blobs/sha256");
    std::fs::create_dir_all(&blobs).expect("the folder is ours");
    let own = format!(r#"{{"schemaVersion":2,"manifests":[{}]}}"#, descriptor(MANIFEST, &manifest));
    let files = [
        (blobs.join(Digest::of(&config).hex()), &config[..]),
        (blobs.join(Digest::of(&manifest).hex()), &manifest[..]),
        (folder.join("oci-layout"), br#"{"imageLayoutVersion":"1.0.0"}"#),
        (folder.join("index.json"), index.unwrap_or(own.as_bytes())),
    ];
    for (path, bytes) in files {
        std::fs::write(path, bytes).expect("the folder is ours");
    }
    Digest::of(&manifest)
}

/// `bytes` as the bundle of a referrer.
fn bundle(bytes: &[u8]) -> Artifact {
    let [_, image] = image();
    let [subject, layer] = [descriptor(MANIFEST, &image), descriptor(BUNDLE, bytes)];
    let config = descriptor("application/vnd.oci.empty.v1+json", b"{}");
    let manifest = format!(
        r#"{{"schemaVersion":2,"mediaType":"{MANIFEST}","artifactType":"{BUNDLE}","config":{config},"layers":[{layer}],"subject":{subject}}}"#
    );
    let blobs = vec![b"{}".to_vec(), bytes.into()];
    Artifact { manifest: manifest.into_bytes(), blobs, tag: None, artifact_type: Some(BUNDLE.into()) }
}

/// `bytes` as the one layer of a manifest under a tag.
fn classic(tag: String, media_type: &str, bytes: &[u8]) -> Artifact {
    let diff = Digest::of(bytes);
    let config =
        format!(r#"{{"architecture":"","config":{{}},"os":"","rootfs":{{"type":"layers","diff_ids":["{diff}"]}}}}"#);
    let described = descriptor("application/vnd.oci.image.config.v1+json", config.as_bytes());
    let layer = descriptor(media_type, bytes);
    let layer =
        format!(r#"{},"annotations":{{"dev.cosignproject.cosign/signature":"AAAA"}}}}"#, layer.trim_end_matches('}'));
    let manifest = format!(r#"{{"schemaVersion":2,"mediaType":"{MANIFEST}","config":{described},"layers":[{layer}]}}"#);
    let blobs = vec![config.into_bytes(), bytes.into()];
    Artifact { manifest: manifest.into_bytes(), blobs, tag: Some(tag), artifact_type: None }
}

fn trusted() -> &'static TrustedKeys {
    static KEYS: OnceLock<TrustedKeys> = OnceLock::new();
    KEYS.get_or_init(|| {
        let keys =
            [Algorithm::Ed25519, Algorithm::EcdsaP256].map(|kind| SigningKey::generate_as(kind).expect("random"));
        keys.iter().map(SigningKey::public).collect()
    })
}

fuzz_target!(|input: &[u8]| {
    let Some((place, bytes)) = input.split_first() else { return };
    if *place == b'k' {
        if let Ok(key) = PublicKey::from_pem(bytes, "input") {
            let again = PublicKey::from_pem(key.to_pem().as_bytes(), "again").expect("what is written is read");
            assert_eq!(again, key);
        }
        if let Ok(key) = SigningKey::from_pem(bytes, &Password::default(), "input") {
            let signature = key.sign(b"message").expect("a key at hand signs");
            assert!(key.public().verifies(b"message", &signature));
        }
        return;
    }
    let home = tempfile::tempdir().expect("there is room");
    let image = layout(home.path(), (*place == b'i').then_some(bytes));
    let artifact = match place {
        b'b' => Some(bundle(bytes)),
        b's' => Some(classic(signature_tag(&image), "application/vnd.dev.cosign.simplesigning.v1+json", bytes)),
        b'a' => Some(classic(attestation_tag(&image), "application/vnd.dsse.envelope.v1+json", bytes)),
        _ => None,
    };
    if let Some(artifact) = artifact {
        store_artifacts(home.path(), &[artifact]).expect("a layout of ours takes it");
    }
    let verdict = verify_layout(home.path(), trusted()).expect("the folder can be listed");
    assert!(!verdict.is_trusted(), "{verdict:?}");
});
