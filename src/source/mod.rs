//! Where a model comes from → its files on this machine: a path as it is, everything else by way of the cache.
//!
//! Each scheme has a file of its own, named after it. A registry's artifacts have digests; what others have is pinned by
//! the listing of its files ([`listed`]). In the lock the same means the same for all:
//!
//! | | what is taken |
//! |---|---|
//! | nothing said | what the source leads to now |
//! | `--locked` | what the lock pins: from the cache, or from the source if it still has it |
//! | `--offline` | what the lock pins, or without a lock what the source led to last: from the cache |

mod choose;
mod content;
mod download;
mod ensemble;
mod error;
mod hf;
mod https;
mod listed;
mod login;
mod memory;
mod mlflow;
mod name;
mod objects;
mod oci;
mod surroundings;
mod triton;
mod web;

use std::path::PathBuf;

pub use ensemble::Ensemble;
pub use error::Error;
pub use hf::HubModel;
pub use https::WebAddress;
pub use mlflow::MlflowModel;
pub use name::{NotASource, SCHEMES, Source};
pub use objects::{Location, StoreKind};
pub use triton::{OpLibrary, TritonFiles, TritonModel, triton_model};

use crate::cache::Cache;
use crate::digest::Digest;
use crate::registry::Watch;

/// What is to be fetched, and how.
#[derive(Debug)]
pub struct FetchRequest<'a> {
    /// From where.
    pub source: &'a Source,
    /// What the source led to before: this, and nothing newer, is taken.
    pub locked: Option<Pinned>,
    /// Never use the network.
    pub offline: bool,
    /// Speak to the other side without TLS.
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
    /// What it led to: a registry's manifest or index, else the listing of the files.
    pub digest: Digest,
    /// What the source itself calls that for good, where it does: a commit, a version.
    pub revision: Option<String>,
}

/// Brings the model here, as far as it isn't.
pub fn fetch(request: &FetchRequest<'_>, cache: &Cache, watch: &dyn Watch) -> Result<Fetched, Error> {
    match request.source {
        Source::Path(path) => Ok(Fetched { path: path.clone(), pinned: None }),
        Source::Oci(reference) => oci::fetch(request, reference, cache, watch),
        Source::Hub(model) => listed::fetch(request, &hf::Hub::new(request, model)?, cache, watch),
        Source::Web(address) => listed::fetch(request, &https::Https::new(request, address)?, cache, watch),
        Source::Mlflow(model) => listed::fetch(request, &mlflow::Mlflow::new(request, model), cache, watch),
        Source::Objects(location) => {
            listed::fetch(request, &objects::Objects::at(location, request.plain_http), cache, watch)
        }
        Source::Triton { folder, version } => {
            let path = match triton::triton_model(folder, *version)?.files {
                TritonFiles::One(path) => path,
                TritonFiles::Steps(ensemble) => ensemble.fetch(&request.source.to_string(), cache)?,
            };
            Ok(Fetched { path, pinned: None })
        }
    }
}
