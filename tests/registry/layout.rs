//! Small OCI layouts for tests.

use std::fs;
use std::path::Path;

use nimify::digest::Digest;
use serde_json::{Value, json};

const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
/// The kind of document that [`refer`] adds.
pub(crate) const DOCUMENT: &str = "application/vnd.example.document+json";

fn put(folder: &Path, media_type: &str, bytes: &[u8]) -> Value {
    let digest = Digest::of(bytes);
    fs::create_dir_all(folder.join("blobs/sha256")).unwrap();
    fs::write(folder.join("blobs/sha256").join(digest.hex()), bytes).unwrap();
    json!({ "mediaType": media_type, "digest": digest, "size": bytes.len() })
}

/// An image of layers of these sizes, the same bytes each time.
pub(crate) fn make(folder: &Path, sizes: &[usize]) -> Digest {
    let bytes = |size: &usize| {
        let mut state = *size as u64 + 1;
        std::iter::repeat_with(|| {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (state >> 56) as u8
        })
        .take(*size)
        .collect::<Vec<u8>>()
    };
    make_of(folder, &sizes.iter().map(bytes).collect::<Vec<_>>())
}

/// An image of these layers.
pub(crate) fn make_of(folder: &Path, layers: &[Vec<u8>]) -> Digest {
    make_for(folder, "amd64", layers)
}

/// An image of these layers for a processor.
pub(crate) fn make_for(folder: &Path, processor: &str, layers: &[Vec<u8>]) -> Digest {
    let layer = |bytes: &Vec<u8>| put(folder, "application/vnd.oci.image.layer.v1.tar", bytes);
    let layers: Vec<Value> = layers.iter().map(layer).collect();
    let diff_ids: Vec<&Value> = layers.iter().map(|layer| &layer["digest"]).collect();
    let config = json!({
        "architecture": processor, "os": "linux", "config": {},
        "rootfs": { "type": "layers", "diff_ids": diff_ids },
    });
    let config = put(folder, "application/vnd.oci.image.config.v1+json", config.to_string().as_bytes());
    let manifest = json!({ "schemaVersion": 2, "mediaType": MANIFEST, "config": config, "layers": layers }).to_string();
    let mut image = put(folder, MANIFEST, manifest.as_bytes());
    image["annotations"] = json!({ "org.opencontainers.image.ref.name": "digits:1.2.0" });
    fs::write(folder.join("index.json"), json!({ "schemaVersion": 2, "manifests": [image] }).to_string()).unwrap();
    fs::write(folder.join("oci-layout"), r#"{"imageLayoutVersion":"1.0.0"}"#).unwrap();
    Digest::of(manifest)
}

/// Adds a document that refers to the image to its layout.
pub(crate) fn refer(folder: &Path, image: &Digest, document: &[u8]) -> Digest {
    let path = folder.join("index.json");
    let mut index: Value = serde_json::from_slice(&fs::read(&path).unwrap()).unwrap();
    let subject = index["manifests"][0].clone();
    assert_eq!(subject["digest"], image.to_string());
    let config = put(folder, "application/vnd.oci.empty.v1+json", b"{}");
    let layer = put(folder, DOCUMENT, document);
    let subject = json!({ "mediaType": subject["mediaType"], "digest": subject["digest"], "size": subject["size"] });
    let manifest = json!({
        "schemaVersion": 2, "mediaType": MANIFEST, "artifactType": DOCUMENT, "config": config,
        "layers": [layer], "subject": subject,
    });
    let mut entry = put(folder, MANIFEST, manifest.to_string().as_bytes());
    entry["artifactType"] = json!(DOCUMENT);
    index["manifests"].as_array_mut().unwrap().push(entry.clone());
    fs::write(&path, index.to_string()).unwrap();
    entry["digest"].as_str().unwrap().parse().unwrap()
}
