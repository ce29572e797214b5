//! Where a model comes from → its files on this machine: a path as it is, an artifact of a registry by way of the cache.

mod artifact;
mod error;
mod name;

use std::path::PathBuf;

pub use error::Error;
pub use name::{NotASource, Source};

use crate::cache::Cache;
use crate::digest::Digest;
use crate::registry::Watch;

/// What is to be fetched, and how.
#[derive(Debug)]
pub struct FetchRequest<'a> {
    /// From where.
    pub source: &'a Source,
    /// What the source led to before: this, and nothing newer, is taken.
    pub locked: Option<Digest>,
    /// Never use the network.
    pub offline: bool,
    /// Speak to the registry without TLS.
    pub plain_http: bool,
}

/// A model that is here.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fetched {
    /// The file, or the folder that holds it.
    pub path: PathBuf,
    /// What it was fetched as; `None` where it was here.
    pub pinned: Option<Pinned>,
}

/// What a source led to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pinned {
    /// [`Source::name`].
    pub source: String,
    /// The manifest or index that it led to.
    pub digest: Digest,
}

/// Brings the model here, as far as it isn't.
pub fn fetch(request: &FetchRequest<'_>, cache: &Cache, watch: &dyn Watch) -> Result<Fetched, Error> {
    match request.source {
        Source::Path(path) => Ok(Fetched { path: path.clone(), pinned: None }),
        Source::Oci(reference) => artifact::fetch(request, reference, cache, watch),
    }
}
