//! What signing and verifying an image take, as ratios to one SHA-256 of the same bytes, within one run.
//!
//!     cargo bench --bench signing [-- MEBIBYTES]
//!
//! The image has one layer of so many MiB (256 by default); three documents of 64 KiB each are attested of it.

use std::error::Error;
use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

use nimify::digest::Digest;
use nimify::sign::{Algorithm, Predicate, SigningKey, TrustedKeys, attest_layout, sign_layout, verify_layout};
use serde_json::{Value, json};

type Failed = Box<dyn Error>;

/// Times that a median is taken of.
const ROUNDS: usize = 7;
const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";

fn main() -> Result<(), Failed> {
    let size = std::env::args().skip(1).find_map(|argument| argument.parse().ok()).unwrap_or(256_usize);
    let home = tempfile::tempdir()?;
    let layer = vec![7; size << 20];
    let bytes = home.path().join("layer");
    fs::write(&bytes, &layer)?;
    let hashed = median(|_| {
        timed(|| {
            Digest::of_file(&bytes)?;
            Ok(())
        })
    })?;
    println!("SHA-256 of {size} MiB: {:.1} ms, {:.0} MiB/s", millis(hashed), size as f64 / hashed.as_secs_f64());
    println!("{:<32}{:>10}{:>20}", "", "ms", "of that SHA-256");
    let row = |what: String, took: Duration| {
        println!("{what:<32}{:>10.2}{:>20.4}", millis(took), took.as_secs_f64() / hashed.as_secs_f64());
    };
    for algorithm in [Algorithm::Ed25519, Algorithm::EcdsaP256] {
        let name = algorithm.as_str();
        let key = SigningKey::generate_as(algorithm)?;
        let signed = median(|round| {
            let folder = home.path().join(format!("{name}-{round}"));
            layout(&folder, &layer)?;
            let took = timed(|| sign(&folder, &key))?;
            // The last one is verified.
            if round + 1 < ROUNDS {
                fs::remove_dir_all(&folder)?;
            }
            Ok(took)
        })?;
        row(format!("sign and attest, {name}"), signed);
        let folder = home.path().join(format!("{name}-{}", ROUNDS - 1));
        let trusted: TrustedKeys = [key.public()].into_iter().collect();
        let verified = median(|_| {
            timed(|| match verify_layout(&folder, &trusted)?.is_trusted() {
                true => Ok(()),
                false => Err("the image should be trusted".into()),
            })
        })?;
        row(format!("verify every byte, {name}"), verified);
        fs::remove_dir_all(&folder)?;
    }
    Ok(())
}

/// Signs and attests in all forms.
fn sign(folder: &Path, key: &SigningKey) -> Result<(), Failed> {
    sign_layout(folder, key, "registry.example.com/ml/model")?;
    let document = |kind: &str| Predicate { kind: kind.into(), body: json!({ "text": "x".repeat(64 << 10) }) };
    let documents = ["https://spdx.dev/Document", "https://cyclonedx.org/bom", "https://slsa.dev/provenance/v1"];
    Ok(attest_layout(folder, key, &documents.map(document))?)
}

/// A layout of an image with this one layer.
fn layout(folder: &Path, layer: &[u8]) -> Result<(), Failed> {
    let blobs = folder.join("blobs/sha256");
    fs::create_dir_all(&blobs)?;
    let put = |kind: &str, bytes: &[u8]| -> Result<Value, Failed> {
        let digest = Digest::of(bytes);
        fs::write(blobs.join(digest.hex()), bytes)?;
        Ok(json!({ "mediaType": kind, "digest": digest, "size": bytes.len() }))
    };
    let layer = put("application/vnd.oci.image.layer.v1.tar", layer)?;
    let rootfs = json!({ "type": "layers", "diff_ids": [layer["digest"]] });
    let config = json!({ "architecture": "amd64", "os": "linux", "config": {}, "rootfs": rootfs }).to_string();
    let config = put("application/vnd.oci.image.config.v1+json", config.as_bytes())?;
    let manifest = json!({ "schemaVersion": 2, "mediaType": MANIFEST, "config": config, "layers": [layer] });
    let image = put(MANIFEST, manifest.to_string().as_bytes())?;
    fs::write(folder.join("index.json"), json!({ "schemaVersion": 2, "manifests": [image] }).to_string())?;
    Ok(fs::write(folder.join("oci-layout"), r#"{"imageLayoutVersion":"1.0.0"}"#)?)
}

fn timed(work: impl FnOnce() -> Result<(), Failed>) -> Result<Duration, Failed> {
    let begun = Instant::now();
    work()?;
    Ok(begun.elapsed())
}

fn median(mut round: impl FnMut(usize) -> Result<Duration, Failed>) -> Result<Duration, Failed> {
    let mut all = (0..ROUNDS).map(&mut round).collect::<Result<Vec<_>, _>>()?;
    all.sort();
    Ok(all[ROUNDS / 2])
}

fn millis(time: Duration) -> f64 {
    time.as_secs_f64() * 1e3
}
