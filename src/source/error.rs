//! What can go wrong on the way to a model.

use std::io;
use std::path::{Path, PathBuf};

use crate::cache;
use crate::digest::Digest;
use crate::interrupt::Interrupted;
use crate::registry;

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
    /// Nobody answers, or the answer breaks off.
    #[error("could not {attempt}: `{host}` {reason}")]
    NoAnswer {
        /// What was attempted.
        attempt: String,
        /// The host that was asked.
        host: String,
        /// What happened instead of an answer, with the host as the subject.
        reason: String,
    },
    /// The other side wants to know who asks, or doesn't let them.
    #[error("could not {attempt}: `{host}` refuses {who}{words}")]
    Unauthorized {
        /// What was attempted.
        attempt: String,
        /// The host that was asked.
        host: String,
        /// As whom it was asked: `a request without credentials`, `the credentials from …`.
        who: String,
        /// What it said, with a separator before it; empty where it said nothing.
        words: String,
        /// Where credentials go for this source.
        hint: &'static str,
    },
    /// The other side answered with an error.
    #[error("could not {attempt}: `{host}` answered {status}{words}")]
    Refused {
        /// What was attempted.
        attempt: String,
        /// The host that was asked.
        host: String,
        /// The HTTP status.
        status: u16,
        /// What it said, with a separator before it; empty where it said nothing.
        words: String,
    },
    /// An answer that isn't what it should be.
    #[error("could not {attempt}: the answer of `{host}` {reason}")]
    Answer {
        /// What was attempted.
        attempt: String,
        /// The host that was asked.
        host: String,
        /// What is wrong with it.
        reason: String,
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
