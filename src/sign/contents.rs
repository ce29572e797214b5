//! The signature of a document by itself: a Sigstore bundle with a statement about its digest.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::json;

use super::bundle::{self, BUNDLE, Bundle};
use super::statement::{self, IN_TOTO, STATEMENT, Statement, Subject};
use super::{Error, KeyId, SigningKey, TrustedKeys};
use crate::digest::Digest;

/// The kind of the statement.
const CONTENTS: &str = "urn:nimify:bundle:v1";

/// A Sigstore bundle in one line, by which `key` vouches for the document called `name` with this digest.
pub fn sign_contents(key: &SigningKey, name: &str, digest: &Digest) -> Result<Vec<u8>, Error> {
    let statement = Statement {
        kind: STATEMENT.into(),
        subject: vec![Subject::new(name, digest)],
        predicate_type: CONTENTS.into(),
        predicate: json!({}),
    };
    let envelope = statement::sign(key, &serde_json::to_vec(&statement).expect("a statement is JSON"))?;
    Ok(bundle::bundle(STANDARD.encode(key.public().id().digest().bytes()), envelope))
}

/// The trusted key by which [`sign_contents`] made these bytes for the document; `None` for any other bytes.
pub fn contents_signer(bytes: &[u8], digest: &Digest, trusted: &TrustedKeys) -> Option<KeyId> {
    let Bundle { media_type, dsse_envelope: envelope, .. } = serde_json::from_slice(bytes).ok()?;
    let [signature] = &envelope.signatures[..] else { return None };
    let payload = STANDARD.decode(&envelope.payload).ok()?;
    let statement: Statement = serde_json::from_slice(&payload).ok()?;
    let [subject] = &statement.subject[..] else { return None };
    let about = media_type == BUNDLE
        && envelope.payload_type == IN_TOTO
        && statement.kind == STATEMENT
        && statement.predicate_type == CONTENTS
        && subject.digest.sha256 == digest.hex();
    let signature = STANDARD.decode(&signature.sig).ok().filter(|_| about)?;
    let message = statement::encode(IN_TOTO, &payload);
    trusted.iter().find(|(_, key)| key.verifies(&message, &signature)).map(|(id, _)| *id)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_document_is_vouched_for_by_the_key_that_signed_it_alone() {
        let (one, two) = (SigningKey::generate().unwrap(), SigningKey::generate().unwrap());
        let digest = Digest::of("contents");
        let line = sign_contents(&one, "bundle.json", &digest).unwrap();
        assert!(!line.contains(&b'\n'));
        let trusted: TrustedKeys = [one.public(), two.public()].into_iter().collect();
        assert_eq!(contents_signer(&line, &digest, &trusted), Some(one.public().id()));
        assert_eq!(contents_signer(&line, &Digest::of("other"), &trusted), None);
        assert_eq!(contents_signer(&line, &digest, &[two.public()].into_iter().collect()), None);
        for at in 0..line.len() {
            let mut changed = line.clone();
            changed[at] ^= 1;
            // The hint decides nothing; base64 and JSON have spellings that mean the same.
            let signer = contents_signer(&changed, &digest, &trusted);
            assert!(signer.is_none() || signer == Some(one.public().id()));
        }
        assert_eq!(contents_signer(b"{}", &digest, &trusted), None);
    }
}
