//! What can go wrong between this machine and a registry.

use std::io;
use std::path::PathBuf;

use super::HostError;
use crate::digest::Digest;
use crate::interrupt::Interrupted;
use crate::{cache, image, sign};

/// Why an image could not be pushed or pulled.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A text that names no image.
    #[error("`{text}` is no reference to an image: {reason}")]
    Reference {
        /// The text.
        text: String,
        /// What is wrong with it.
        reason: String,
    },
    /// The layout can't be read.
    #[error(transparent)]
    Image(#[from] image::Error),
    /// The signatures can't be read or made.
    #[error(transparent)]
    Sign(#[from] sign::Error),
    /// The cache can't be used.
    #[error(transparent)]
    Cache(#[from] cache::Error),
    /// A file refused.
    #[error("could not {attempt} `{}`", path.display())]
    Files {
        /// What was attempted.
        attempt: &'static str,
        /// On which file or folder.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// A file of credentials is not what it should be. Its contents are never told.
    #[error("{origin} can't be read as credentials: {reason}")]
    Credentials {
        /// The file or environment variable.
        origin: String,
        /// What is wrong with it.
        reason: String,
    },
    /// A credential helper that the user's configuration names gives nothing.
    #[error("the credential helper `{program}`, which {origin} names, failed: {reason}")]
    Helper {
        /// The program.
        program: String,
        /// Where it is named.
        origin: String,
        /// What went wrong.
        reason: String,
    },
    /// A certificate for a registry can't be used.
    #[error("`{}` can't be used as a certificate: {reason}", path.display())]
    Certificate {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// What a host answered.
    #[error(transparent)]
    Host(#[from] HostError),
    /// What came isn't what its digest says.
    #[error("{what} from `{host}` is not what its digest {digest} says")]
    Changed {
        /// What came.
        what: String,
        /// From where.
        host: String,
        /// What should have come.
        digest: Digest,
    },
    /// What is behind a reference can't be used.
    #[error("`{reference}` {reason}")]
    Unfit {
        /// The reference.
        reference: String,
        /// What is wrong, with the reference as the subject.
        reason: String,
    },
    /// The network is not to be used, and the cache doesn't have it all.
    #[error("`{reference}` is not in the cache: {what} is missing")]
    NotCached {
        /// The reference.
        reference: String,
        /// What is missing.
        what: String,
    },
    /// No image for this machine is behind a reference.
    #[error("`{reference}` has no image for {wanted}: it has {found}")]
    Platform {
        /// The reference.
        reference: String,
        /// The platform that was looked for.
        wanted: String,
        /// Those that are there.
        found: String,
    },
    /// The user asked to stop.
    #[error(transparent)]
    Interrupted(#[from] Interrupted),
}

/// Turns an [`io::Error`] into [`Error::Files`].
pub(super) fn files(attempt: &'static str, path: &std::path::Path) -> impl FnOnce(io::Error) -> Error {
    let path = path.to_path_buf();
    move |source| Error::Files { attempt, path, source }
}
