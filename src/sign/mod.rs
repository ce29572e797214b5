//! `Image` → `SignedImage`, and back: keys, signatures and attestations inside an OCI layout, and their verification.
//!
//! - [`SigningKey`], [`PublicKey`]: Ed25519 and ECDSA P-256 pairs, their PEM files as cosign writes them (the private
//!   one encrypted), and [`KeyStore`], where a user's own pair and the keys that they trust are kept.
//! - [`sign_layout`] appends a signature to a layout, [`attest_layout`] what is stated of its image, each in cosign's
//!   classic form and as a bundle; [`verify_layout`] checks a layout from its bytes up.
//! - [`Artifact`]: what refers to an image as plain values, on its way to and from registries.
//!
//! Not here: pushing and pulling signatures, and what an image has to look like inside its layers.

mod additions;
mod artifact;
mod bundle;
mod classic;
mod command;
mod contents;
mod envelope;
mod expiry;
mod keys;
mod layout;
mod model;
mod source;
mod statement;
mod store;
mod verify;

pub use additions::{artifacts, store_artifacts};
pub use artifact::{Artifact, Claim};
pub use classic::{
    SignedLayout, Subject, attest_artifacts, attest_layout, attestation_tag, payload, sign_artifacts, sign_layout,
    signature_tag,
};
pub use contents::{contents_signer, sign_contents};
pub use expiry::{Expiry, NotAMoment};
pub use keys::{Algorithm, KeyId, Password, PublicKey, SigningKey};
pub use model::sign_model;
pub use source::KeySource;
pub use statement::Predicate;
pub use store::{Ensured, KeyStore, TrustedKeys, signing_keys};
pub use verify::{Fault, TrustedSignature, Verdict, verify_layout};

use std::io;
use std::path::PathBuf;

/// Why keys could not be had, or a layout not be signed or read.
///
/// Hints: [`Error::Key`] with [`KeyFault::Password`] deserves one that names `NIMIFY_KEY_PASSWORD`;
/// [`Error::Readable`] the `chmod` that mends it; [`Error::NoKey`] `nimify keys generate`.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A file or folder could not be read or written.
    #[error("can't {attempt} `{}`", path.display())]
    Io {
        /// What was attempted: `read`, `write`.
        attempt: &'static str,
        /// On which path.
        path: PathBuf,
        /// What the system answered.
        source: io::Error,
    },
    /// A key's text is not usable.
    #[error("the key from {origin} can't be used: {fault}")]
    Key {
        /// The file or environment variable that it came from.
        origin: String,
        /// What is wrong with it.
        fault: KeyFault,
    },
    /// A private key, or the folder of keys, is open to others.
    #[error("`{}` has the mode {mode:04o}: what holds a private key should be open to its owner alone", path.display())]
    Readable {
        /// The key file, or the folder that holds it.
        path: PathBuf,
        /// Its permission bits.
        mode: u32,
    },
    /// No key is at the named place.
    #[error("there is no key in {origin}")]
    NoKey {
        /// The file, folder or environment variable.
        origin: String,
    },
    /// The two halves of the key store's pair are not of one pair.
    #[error("`{}` is not the public half of the private key beside it", path.display())]
    OddPair {
        /// The public half.
        path: PathBuf,
    },
    /// The key store holds another pair already.
    #[error("`{}` holds another key already ({present})", path.display())]
    Occupied {
        /// The private key that is there.
        path: PathBuf,
        /// Its public half's id.
        present: KeyId,
    },
    /// A folder holds no OCI layout, or one that can't be signed as it is.
    #[error("can't sign the layout `{}`: {fault}", path.display())]
    Layout {
        /// The layout's folder.
        path: PathBuf,
        /// What is wrong with it.
        fault: Fault,
    },
    /// The system has no configuration folder for this user.
    #[error("can't tell where to keep keys: neither `XDG_CONFIG_HOME` nor `HOME` is set to an absolute path")]
    NoHome,
    /// The system's random numbers are not to be had.
    #[error("can't get random numbers from the system: {0}")]
    Random(String),
}

/// What is wrong with a key's text.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum KeyFault {
    /// Not PEM (RFC 7468).
    #[error("it is not a PEM text ({0})")]
    Pem(String),
    /// PEM of something else.
    #[error("it is a PEM `{found}`, but should be a `{wanted}`")]
    Label {
        /// The label found.
        found: String,
        /// The label that should be there.
        wanted: &'static str,
    },
    /// The encrypted body is not cosign's JSON.
    #[error("its encrypted body is not what cosign writes: {0}")]
    Envelope(String),
    /// The password doesn't open it, or its bytes were changed: the cipher can't tell which.
    #[error("the password does not open it, or it was changed")]
    Password,
    /// The DER inside is a key of no kind that is known here.
    #[error("it is neither an Ed25519 nor an ECDSA P-256 key in PKCS#8 or SPKI form ({0})")]
    Der(String),
    /// A key of another kind than the one that is needed.
    #[error("it is {}, but should be {}", found.as_str(), wanted.as_str())]
    Kind {
        /// Its kind.
        found: Algorithm,
        /// The kind that is needed.
        wanted: Algorithm,
    },
    /// The command that holds it doesn't do what it should.
    #[error("{0}")]
    Command(String),
    /// It stays with the command that holds it.
    #[error("it can't be taken out")]
    Held,
    /// A key under which forged signatures verify.
    #[error("it is a weak key: a point of small order")]
    Weak,
}
