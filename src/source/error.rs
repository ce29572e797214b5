//! What can go wrong on the way to a model.

use std::io;
use std::path::{Path, PathBuf};

use crate::cache;
use crate::digest::Digest;
use crate::interrupt::Interrupted;
use crate::registry::{self, HostError};

/// Why a model could not be fetched.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The registry, the way to it, or what it sent.
    #[error(transparent)]
    Registry(#[from] registry::Error),
    /// The cache.
    #[error(transparent)]
    Cache(#[from] cache::Error),
    /// What is there is no model.
    #[error("`{source_name}` {reason}")]
    NotAModel {
        /// The source.
        source_name: String,
        /// Why, as the rest of a sentence.
        reason: String,
    },
    /// The network is not to be used, and the model isn't here.
    #[error("`{source_name}` is not in the cache")]
    NotCached {
        /// The source.
        source_name: String,
    },
    /// What is there now isn't what is locked.
    #[error("`{source_name}` has changed: its files have the digest {found}, but {locked} is locked")]
    Changed {
        /// The source.
        source_name: String,
        /// The digest of what should be there.
        locked: Digest,
        /// The digest of what is.
        found: Digest,
    },
    /// What came isn't what it was to be by the digest that was given for it.
    #[error("`{source_name}` has the digest {found}, not {wanted}")]
    Mismatch {
        /// The source.
        source_name: String,
        /// The digest that it should have.
        wanted: Digest,
        /// The digest that it has.
        found: Digest,
    },
    /// It would be fetched without TLS, which wasn't asked for.
    #[error("`{source_name}` is not encrypted")]
    PlainHttp {
        /// The source.
        source_name: String,
    },
    /// What a host answered.
    #[error("{error}")]
    Host {
        /// What it answered.
        error: HostError,
        /// Where credentials go for this source.
        login: &'static str,
    },
    /// Credentials that can't be used. Their contents are never told.
    #[error("{origin} can't be used: {reason}")]
    Credentials {
        /// The file or environment variable.
        origin: String,
        /// What is wrong with it.
        reason: String,
    },
    /// The user asked to stop.
    #[error(transparent)]
    Interrupted(#[from] Interrupted),
    /// The system refused something.
    #[error("can't {action} `{path}`")]
    Files {
        /// What was attempted.
        action: &'static str,
        /// On which path.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
}

pub(super) fn files(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Error {
    let path = path.to_path_buf();
    move |source| Error::Files { action, path, source }
}
