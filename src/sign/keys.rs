//! Ed25519 and ECDSA P-256 keys, the PEM texts that hold them, and the passwords that lock them.
//!
//! A private key's bytes are wiped when it is dropped, and none of these types shows a secret in its `Debug` text.

use std::fmt;

use ed25519_dalek::pkcs8::spki::EncodePublicKey as _;
use ed25519_dalek::pkcs8::spki::der::pem::{self, LineEnding};
use ed25519_dalek::pkcs8::{DecodePrivateKey as _, DecodePublicKey as _, EncodePrivateKey as _, KeypairBytes};
use ed25519_dalek::{Signature, Signer as _, Verifier as _, VerifyingKey};
use p256::ecdsa;
use sha2::{Digest as _, Sha512};
use zeroize::Zeroizing;

use super::command::KeyCommand;
use super::{Error, KeyFault, envelope};
use crate::digest::Digest;

const PUBLIC: &str = "PUBLIC KEY";
const PLAIN: &str = "PRIVATE KEY";
const ENCRYPTED: &str = "ENCRYPTED SIGSTORE PRIVATE KEY";
/// What cosign wrote before version 2.
const ENCRYPTED_OLD: &str = "ENCRYPTED COSIGN PRIVATE KEY";

/// The password of a private key file; empty by default, as cosign allows.
#[derive(Clone, Default)]
pub struct Password(Zeroizing<String>);

impl Password {
    /// `NIMIFY_KEY_PASSWORD`, else `COSIGN_PASSWORD`, else the empty password.
    pub fn from_environment() -> Self {
        Self::from_variables(|name| std::env::var(name).ok())
    }

    fn from_variables(variable: impl Fn(&str) -> Option<String>) -> Self {
        let text = ["NIMIFY_KEY_PASSWORD", "COSIGN_PASSWORD"].into_iter().find_map(variable);
        Password(Zeroizing::new(text.unwrap_or_default()))
    }

    pub(super) fn bytes(&self) -> &[u8] {
        self.0.as_bytes()
    }
}

impl From<&str> for Password {
    fn from(text: &str) -> Self {
        Password(Zeroizing::new(text.into()))
    }
}

impl fmt::Debug for Password {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Password(…)")
    }
}

/// The SHA-256 of a public key's SPKI DER: how messages and bundles name a key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct KeyId(Digest);

impl KeyId {
    /// The digest itself.
    pub fn digest(&self) -> &Digest {
        &self.0
    }
}

impl fmt::Display for KeyId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.0, f)
    }
}

/// What kind of key signs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum Algorithm {
    /// Ed25519 (RFC 8032).
    Ed25519,
    /// ECDSA over P-256 with SHA-256: what cosign makes, and the one that model signatures are made with.
    EcdsaP256,
}

impl Algorithm {
    /// As files and flags call it: `ed25519`, `ecdsa-p256`.
    pub fn as_str(self) -> &'static str {
        match self {
            Algorithm::Ed25519 => "ed25519",
            Algorithm::EcdsaP256 => "ecdsa-p256",
        }
    }
}

/// A public key that signatures are checked against.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum PublicKey {
    /// Ed25519 (RFC 8032).
    Ed25519(VerifyingKey),
    /// ECDSA over P-256.
    EcdsaP256(ecdsa::VerifyingKey),
}

impl PublicKey {
    /// Reads a PEM `PUBLIC KEY` (SPKI). `origin` names its place in errors.
    pub fn from_pem(text: &[u8], origin: &str) -> Result<Self, Error> {
        let read = || {
            let (label, der) = decode(text)?;
            if label != PUBLIC {
                return Err(KeyFault::Label { found: label, wanted: PUBLIC });
            }
            match VerifyingKey::from_public_key_der(&der) {
                Ok(key) if key.is_weak() => Err(KeyFault::Weak),
                Ok(key) => Ok(PublicKey::Ed25519(key)),
                Err(ed25519) => ecdsa::VerifyingKey::from_public_key_der(&der)
                    .map(PublicKey::EcdsaP256)
                    .map_err(|p256| neither(&ed25519, &p256)),
            }
        };
        read().map_err(|fault| Error::Key { origin: origin.into(), fault })
    }

    /// The key as SPKI DER.
    pub fn to_der(&self) -> Vec<u8> {
        match self {
            PublicKey::Ed25519(key) => key.to_public_key_der(),
            PublicKey::EcdsaP256(key) => key.to_public_key_der(),
        }
        .expect("a public key has an SPKI form")
        .into_vec()
    }

    /// What kind of key it is.
    pub fn algorithm(&self) -> Algorithm {
        match self {
            PublicKey::Ed25519(_) => Algorithm::Ed25519,
            PublicKey::EcdsaP256(_) => Algorithm::EcdsaP256,
        }
    }

    /// The key as PEM, as `cosign.pub` holds it.
    pub fn to_pem(&self) -> String {
        encode(PUBLIC, &self.to_der())
    }

    /// The key's id.
    pub fn id(&self) -> KeyId {
        KeyId(Digest::of(self.to_der()))
    }

    /// Whether `signature` over `message` was made with this key's private half.
    ///
    /// Ed25519: 64 bytes, pure, which is what nimify writes and cosign checks, or Ed25519ph, which is what `cosign sign`
    /// writes. ECDSA: DER, over the message's SHA-256.
    pub fn verifies(&self, message: &[u8], signature: &[u8]) -> bool {
        match self {
            PublicKey::Ed25519(key) => {
                let Ok(signature) = Signature::from_slice(signature) else { return false };
                key.verify_strict(message, &signature).is_ok()
                    || key.verify_prehashed_strict(Sha512::new().chain_update(message), None, &signature).is_ok()
            }
            PublicKey::EcdsaP256(key) => {
                ecdsa::Signature::from_der(signature).is_ok_and(|signature| key.verify(message, &signature).is_ok())
            }
        }
    }
}

/// A private key. Its secret is wiped on drop.
pub struct SigningKey(Secret);

enum Secret {
    Ed25519(ed25519_dalek::SigningKey),
    EcdsaP256(ecdsa::SigningKey),
    /// In the hands of a command.
    Held(KeyCommand, Box<PublicKey>),
}

impl SigningKey {
    /// A new Ed25519 key from the system's random numbers.
    pub fn generate() -> Result<Self, Error> {
        Self::generate_as(Algorithm::Ed25519)
    }

    /// A new key from the system's random numbers.
    pub fn generate_as(algorithm: Algorithm) -> Result<Self, Error> {
        let mut seed = Zeroizing::new([0; 32]);
        loop {
            getrandom::fill(&mut *seed).map_err(|error| Error::Random(error.to_string()))?;
            match algorithm {
                Algorithm::Ed25519 => {
                    return Ok(SigningKey(Secret::Ed25519(ed25519_dalek::SigningKey::from_bytes(&seed))));
                }
                // A number that is no scalar of the curve, one in 2^32, is drawn again.
                Algorithm::EcdsaP256 => {
                    if let Ok(key) = ecdsa::SigningKey::from_slice(&*seed) {
                        return Ok(SigningKey(Secret::EcdsaP256(key)));
                    }
                }
            }
        }
    }

    /// Reads a private key: cosign's encrypted PEM, or PKCS#8 in the clear (for which the password does nothing).
    /// `origin` names its place in errors.
    pub fn from_pem(text: &[u8], password: &Password, origin: &str) -> Result<Self, Error> {
        let read = || {
            let (label, body) = decode(text)?;
            let der = match label.as_str() {
                ENCRYPTED | ENCRYPTED_OLD => envelope::open(&body, password)?,
                PLAIN => body,
                _ => return Err(KeyFault::Label { found: label, wanted: ENCRYPTED }),
            };
            match ed25519_dalek::SigningKey::from_pkcs8_der(&der) {
                Ok(key) => Ok(Secret::Ed25519(key)),
                Err(ed25519) => ecdsa::SigningKey::from_pkcs8_der(&der)
                    .map(Secret::EcdsaP256)
                    .map_err(|p256| neither(&ed25519, &p256)),
            }
        };
        read().map(SigningKey).map_err(|fault| Error::Key { origin: origin.into(), fault })
    }

    /// The key as cosign keeps it: PKCS#8 encrypted under `password`, in PEM.
    pub fn to_pem(&self, password: &Password) -> Result<Zeroizing<String>, Error> {
        let der = match &self.0 {
            // Without the public half, so that it is PKCS#8 version 1: Go refuses version 2 for Ed25519.
            Secret::Ed25519(key) => KeypairBytes { secret_key: key.to_bytes(), public_key: None }.to_pkcs8_der(),
            Secret::EcdsaP256(key) => key.to_pkcs8_der(),
            Secret::Held(command, _) => {
                return Err(Error::Key { origin: command.origin(), fault: KeyFault::Held });
            }
        }
        .expect("a private key has a PKCS#8 form");
        Ok(Zeroizing::new(encode(ENCRYPTED, &envelope::seal(der.as_bytes(), password)?)))
    }

    /// The public half.
    pub fn public(&self) -> PublicKey {
        match &self.0 {
            Secret::Ed25519(key) => PublicKey::Ed25519(key.verifying_key()),
            Secret::EcdsaP256(key) => PublicKey::EcdsaP256(*key.verifying_key()),
            Secret::Held(_, public) => (**public).clone(),
        }
    }

    /// The signature over `message`: 64 bytes of pure Ed25519, or ECDSA over the SHA-256 in DER, its nonce derived from
    /// key and message (RFC 6979). The same each time, but where a command makes it that does otherwise. Only a command
    /// can fail.
    pub fn sign(&self, message: &[u8]) -> Result<Vec<u8>, Error> {
        match &self.0 {
            Secret::Ed25519(key) => Ok(key.sign(message).to_vec()),
            Secret::EcdsaP256(key) => {
                let signature: ecdsa::Signature = key.sign(message);
                Ok(signature.to_der().as_bytes().to_vec())
            }
            Secret::Held(command, public) => command.sign(message, public),
        }
    }

    /// A key that a command holds.
    pub(super) fn held(command: KeyCommand) -> Result<Self, Error> {
        let public = command.public_key()?;
        Ok(SigningKey(Secret::Held(command, Box::new(public))))
    }
}

fn neither(ed25519: &dyn fmt::Display, p256: &dyn fmt::Display) -> KeyFault {
    KeyFault::Der(format!("as Ed25519: {ed25519}; as P-256: {p256}"))
}

impl fmt::Debug for SigningKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("SigningKey").field(&self.public().id()).finish()
    }
}

fn decode(text: &[u8]) -> Result<(String, Zeroizing<Vec<u8>>), KeyFault> {
    let (label, body) = pem::decode_vec(text.trim_ascii_end()).map_err(|error| KeyFault::Pem(error.to_string()))?;
    Ok((label.into(), Zeroizing::new(body)))
}

fn encode(label: &str, body: &[u8]) -> String {
    pem::encode_string(label, LineEnding::LF, body).expect("our labels and bodies are valid PEM")
}

#[cfg(test)]
mod tests {
    use super::*;

    const BOTH: [Algorithm; 2] = [Algorithm::Ed25519, Algorithm::EcdsaP256];

    #[test]
    fn a_key_comes_back_from_its_file() {
        for algorithm in BOTH {
            comes_back(&SigningKey::generate_as(algorithm).unwrap());
        }
    }

    fn comes_back(key: &SigningKey) {
        let password = Password::from("pw");
        let text = key.to_pem(&password).unwrap();
        assert!(text.starts_with("-----BEGIN ENCRYPTED SIGSTORE PRIVATE KEY-----\n") && text.ends_with("-----\n"));
        let old = text.replace("SIGSTORE", "COSIGN");
        for text in [text.as_str(), &old, &text.replace('\n', "\r\n")] {
            let back = SigningKey::from_pem(text.as_bytes(), &password, "test").unwrap();
            assert_eq!(back.public(), key.public());
        }
        let error = SigningKey::from_pem(text.as_bytes(), &Password::default(), "`k`").unwrap_err();
        assert_eq!(
            error.to_string(),
            "the key from `k` can't be used: the password does not open it, or it was changed"
        );
    }

    #[test]
    fn a_public_key_is_read_as_others_write_it() {
        // RFC 8410, section 10.1 and 10.3.
        let public = "-----BEGIN PUBLIC KEY-----\n\
                      MCowBQYDK2VwAyEAGb9ECWmEzf6FQbrBZ9w7lshQhqowtrbLDFw4rXAxZuE=\n\
                      -----END PUBLIC KEY-----\n";
        let private = "-----BEGIN PRIVATE KEY-----\n\
                       MC4CAQAwBQYDK2VwBCIEINTuctv5E1hK1bbY8fdp+K06/nwoy/HU++CXqI9EdVhC\n\
                       -----END PRIVATE KEY-----\n";
        let key = PublicKey::from_pem(public.as_bytes(), "test").unwrap();
        assert_eq!(key.to_pem(), public);
        let private = SigningKey::from_pem(private.as_bytes(), &Password::default(), "test").unwrap();
        assert_eq!(private.public(), key);
        assert!(key.verifies(b"message", &private.sign(b"message").unwrap()));
    }

    #[test]
    fn both_forms_of_ed25519_verify_and_nothing_else() {
        let key = SigningKey::generate().unwrap();
        let Secret::Ed25519(secret) = &key.0 else { unreachable!("generated as Ed25519") };
        let prehashed = secret.sign_prehashed(Sha512::new().chain_update(b"message"), None).unwrap().to_vec();
        for signature in [key.sign(b"message").unwrap(), prehashed] {
            assert!(key.public().verifies(b"message", &signature));
            assert!(!key.public().verifies(b"massage", &signature));
            assert!(!SigningKey::generate().unwrap().public().verifies(b"message", &signature));
            for at in 0..signature.len() {
                let mut changed = signature.clone();
                changed[at] ^= 1;
                assert!(!key.public().verifies(b"message", &changed), "byte {at}");
            }
            assert!(!key.public().verifies(b"message", &signature[1..]));
        }
    }

    #[test]
    fn ecdsa_signs_by_rfc_6979_and_only_its_own_signatures_verify() {
        // RFC 6979, appendix A.2.5: P-256, SHA-256, the message "sample", k of the standard.
        let secret: Vec<u8> = (0..64)
            .step_by(2)
            .map(|at| &"c9afa9d845ba75166b5c215767b1d6934e50c3db36e89b127b8a622b120f6721"[at..at + 2])
            .map(|hex| u8::from_str_radix(hex, 16).unwrap())
            .collect();
        let key = SigningKey(Secret::EcdsaP256(ecdsa::SigningKey::from_slice(&secret).unwrap()));
        let signature = key.sign(b"sample").unwrap();
        let hex: String = signature.iter().map(|byte| format!("{byte:02x}")).collect();
        assert_eq!(
            hex,
            "3046022100efd48b2aacb6a8fd1140dd9cd45e81d69d2c877b56aaf991c34d0ea84eaf3716\
             022100f7cb1c942d657c41d436c7a1b6e29f65f3e900dbb9aff4064dc4ab2f843acda8"
        );
        assert!(key.public().verifies(b"sample", &signature));
        assert!(!key.public().verifies(b"simple", &signature));
        assert!(!SigningKey::generate_as(Algorithm::EcdsaP256).unwrap().public().verifies(b"sample", &signature));
        assert!(!SigningKey::generate().unwrap().public().verifies(b"sample", &signature));
        for at in 0..signature.len() {
            let mut changed = signature.clone();
            changed[at] ^= 1;
            assert!(!key.public().verifies(b"sample", &changed), "byte {at}");
        }
        assert!(!key.public().verifies(b"sample", &signature[1..]));
        assert!(!key.public().verifies(b"sample", &[signature.as_slice(), b"x"].concat()));
    }

    #[test]
    fn a_changed_private_key_file_is_refused() {
        let text = SigningKey::generate().unwrap().to_pem(&Password::default()).unwrap();
        let text = text.trim_end().as_bytes();
        for at in (0..text.len()).step_by(23).chain([text.len() - 1]) {
            let mut changed = text.to_vec();
            changed[at] ^= 1 << (at % 8);
            assert!(SigningKey::from_pem(&changed, &Password::default(), "test").is_err(), "byte {at}");
        }
    }

    #[test]
    fn a_changed_public_key_file_is_refused_or_another_key() {
        let key = SigningKey::generate().unwrap().public();
        let text = key.to_pem().into_bytes();
        for at in 0..text.len() - 1 {
            for bit in 0..8 {
                let mut changed = text.clone();
                changed[at] ^= 1 << bit;
                if let Ok(other) = PublicKey::from_pem(&changed, "test") {
                    assert_ne!(other, key, "byte {at}, bit {bit}");
                }
            }
        }
    }

    #[test]
    fn what_is_no_key_is_refused_with_the_reason() {
        let wrong = |text: &str| PublicKey::from_pem(text.as_bytes(), "test").unwrap_err().to_string();
        assert!(wrong("").contains("not a PEM text"));
        let pair = SigningKey::generate().unwrap();
        let private = pair.to_pem(&Password::default()).unwrap();
        assert!(wrong(&private).contains("should be a `PUBLIC KEY`"));
        assert!(wrong(&encode(PUBLIC, b"junk")).contains("neither an Ed25519 nor an ECDSA P-256 key"));
        let mut weak = pair.public().to_der();
        weak[12..].fill(0);
        weak[12] = 1;
        assert!(wrong(&encode(PUBLIC, &weak)).contains("weak key"));
    }

    #[test]
    fn no_secret_is_shown() {
        let password = Password::from_variables(|name| (name == "COSIGN_PASSWORD").then(|| "hunter2".into()));
        assert_eq!(password.bytes(), b"hunter2");
        assert!(!format!("{password:?}").contains("hunter2"));
        let key = SigningKey::generate().unwrap();
        assert_eq!(format!("{key:?}"), format!("SigningKey({:?})", key.public().id()));
    }
}
