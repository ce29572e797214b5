//! in-toto statements about an image, and the envelope (DSSE) that holds one with its signature.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::{Error, SigningKey};
use crate::digest::Digest;

/// The media type of a statement.
pub(super) const IN_TOTO: &str = "application/vnd.in-toto+json";
/// The `_type` of a statement.
pub(super) const STATEMENT: &str = "https://in-toto.io/Statement/v1";
/// The predicate of a statement that says no more than that somebody signed.
pub(super) const SIGNED: &str = "https://sigstore.dev/cosign/sign/v1";

/// What somebody states about an image.
#[derive(Debug, Clone, PartialEq)]
pub struct Predicate {
    /// The URI of its kind, such as `https://slsa.dev/provenance/v1`.
    pub kind: String,
    /// The statement itself.
    pub body: Value,
}

/// in-toto's statement, as far as nimify writes and reads it.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct Statement {
    #[serde(rename = "_type")]
    pub(super) kind: String,
    pub(super) subject: Vec<Subject>,
    pub(super) predicate_type: String,
    #[serde(default)]
    pub(super) predicate: Value,
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Subject {
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub(super) name: String,
    pub(super) digest: SubjectDigest,
    /// What cosign 3 writes, empty, and nothing is decided by.
    #[serde(default, skip_serializing_if = "serde_json::Map::is_empty")]
    pub(super) annotations: serde_json::Map<String, Value>,
}

impl Subject {
    /// What has this digest; the name may be empty.
    pub(super) fn new(name: &str, digest: &Digest) -> Self {
        Subject { name: name.into(), digest: SubjectDigest { sha256: digest.hex() }, annotations: Default::default() }
    }
}

/// A digest as in-toto writes it: the name of the algorithm, the digits.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct SubjectDigest {
    pub(super) sha256: String,
}

/// A payload with signatures over it (DSSE).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct Envelope {
    pub(super) payload: String,
    pub(super) payload_type: String,
    pub(super) signatures: Vec<EnvelopeSignature>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct EnvelopeSignature {
    /// A hint, which nothing is decided by.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub(super) keyid: String,
    pub(super) sig: String,
}

/// The bytes of a statement about an image.
pub(super) fn about(image: &Digest, predicate: &Predicate) -> Vec<u8> {
    let statement = Statement {
        kind: STATEMENT.into(),
        subject: vec![Subject::new("", image)],
        predicate_type: predicate.kind.clone(),
        predicate: predicate.body.clone(),
    };
    serde_json::to_vec(&statement).expect("a statement is JSON")
}

/// What is signed of a payload: the encoding of DSSE, version 1.
pub(super) fn encode(payload_type: &str, payload: &[u8]) -> Vec<u8> {
    let head = format!("DSSEv1 {} {payload_type} {} ", payload_type.len(), payload.len());
    [head.as_bytes(), payload].concat()
}

/// A statement in its envelope, signed.
pub(super) fn sign(key: &SigningKey, payload: &[u8]) -> Result<Envelope, Error> {
    let signature = key.sign(&encode(IN_TOTO, payload))?;
    Ok(Envelope {
        payload: STANDARD.encode(payload),
        payload_type: IN_TOTO.into(),
        signatures: vec![EnvelopeSignature { keyid: String::new(), sig: STANDARD.encode(signature) }],
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_encoding_is_that_of_the_specification() {
        // The example of DSSE's protocol.md.
        let encoded = encode("http://example.com/HelloWorld", b"hello world");
        assert_eq!(encoded, b"DSSEv1 29 http://example.com/HelloWorld 11 hello world");
    }

    #[test]
    fn a_statement_names_the_image_and_its_kind() {
        let predicate = Predicate { kind: SIGNED.into(), body: serde_json::json!({}) };
        let text = String::from_utf8(about(&Digest::of(""), &predicate)).unwrap();
        assert_eq!(
            text,
            format!(
                r#"{{"_type":"https://in-toto.io/Statement/v1","subject":[{{"digest":{{"sha256":"{}"}}}}],"predicateType":"https://sigstore.dev/cosign/sign/v1","predicate":{{}}}}"#,
                Digest::of("").hex()
            )
        );
    }
}
