//! The model's own signature: OpenSSF model signing 1.0, a detached bundle over the digests of the model's files.

use serde_json::json;
use sha2::{Digest as _, Sha256};

use super::keys::{Algorithm, SigningKey};
use super::statement::{self, STATEMENT};
use super::{Error, KeyFault, bundle};
use crate::digest::Digest;

/// The kind of the statement.
const MODEL_SIGNATURE: &str = "https://model_signing/signature/v1.0";

/// The bytes of `model.sig` for a folder called `name` that holds `files` (path with `/` below the folder, digest) and
/// nothing else. Only ECDSA keys make signatures of this form: another is [`KeyFault::Kind`].
pub fn sign_model(key: &SigningKey, name: &str, files: &[(String, Digest)]) -> Result<Vec<u8>, Error> {
    let public = key.public();
    if public.algorithm() != Algorithm::EcdsaP256 {
        let fault = KeyFault::Kind { found: public.algorithm(), wanted: Algorithm::EcdsaP256 };
        return Err(Error::Key { origin: format!("{}", public.id()), fault });
    }
    let envelope = statement::sign(key, &payload(name, files))?;
    let mut pem = Sha256::new();
    pem.update(public.to_pem());
    let hint = Digest::from_bytes(pem.finalize().into());
    Ok(bundle::bundle(hint.hex(), envelope))
}

fn payload(name: &str, files: &[(String, Digest)]) -> Vec<u8> {
    let mut files: Vec<_> = files.to_vec();
    files.sort();
    let together: Vec<u8> = files.iter().flat_map(|(_, digest)| *digest.bytes()).collect();
    let resources: Vec<_> = files
        .iter()
        .map(|(name, digest)| json!({ "name": name, "algorithm": "sha256", "digest": digest.hex() }))
        .collect();
    let statement = json!({
        "_type": STATEMENT,
        "subject": [{ "name": name, "digest": { "sha256": Digest::of(together).hex() } }],
        "predicateType": MODEL_SIGNATURE,
        "predicate": {
            "serialization": { "method": "files", "hash_type": "sha256", "allow_symlinks": false, "ignore_paths": [] },
            "resources": resources,
        },
    });
    serde_json::to_vec(&statement).expect("a statement is JSON")
}

#[cfg(test)]
mod tests {
    use base64::Engine as _;
    use base64::engine::general_purpose::STANDARD;

    use super::*;

    #[test]
    fn a_model_is_signed_by_the_digests_of_its_files() {
        let key = SigningKey::generate_as(Algorithm::EcdsaP256).unwrap();
        let files = [("weights.bin".to_string(), Digest::of("w")), ("model.onnx".to_string(), Digest::of("m"))];
        let bytes = sign_model(&key, "digits", &files).unwrap();
        assert_eq!(bytes, sign_model(&key, "digits", &files).unwrap(), "the same each time");
        let bundle: bundle::Bundle = serde_json::from_slice(&bytes).unwrap();
        let payload = STANDARD.decode(&bundle.dsse_envelope.payload).unwrap();
        let signature = STANDARD.decode(&bundle.dsse_envelope.signatures[0].sig).unwrap();
        assert!(key.public().verifies(&statement::encode(statement::IN_TOTO, &payload), &signature));
        let statement: serde_json::Value = serde_json::from_slice(&payload).unwrap();
        let both = [Digest::of("m").bytes().as_slice(), Digest::of("w").bytes()].concat();
        assert_eq!(statement["subject"][0]["digest"]["sha256"], Digest::of(both).hex());
        assert_eq!(statement["predicate"]["resources"][0]["name"], "model.onnx");
        assert_eq!(bundle.verification_material.public_key.hint, Digest::of(key.public().to_pem()).hex());
        let other = sign_model(&SigningKey::generate().unwrap(), "digits", &files).unwrap_err();
        assert!(other.to_string().contains("is ed25519, but should be ecdsa-p256"), "{other}");
    }
}
