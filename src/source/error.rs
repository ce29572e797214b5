//! What can go wrong on the way to a model.

use std::io;
use std::path::{Path, PathBuf};

use crate::cache;
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
