//! Where a model comes from → its files on this machine: a path as it is, an artifact of a registry by way of the cache.

mod artifact;
mod error;

use std::ffi::OsStr;
use std::fmt;
use std::path::{Path, PathBuf};
use std::str::FromStr;

pub use error::Error;

use crate::cache::Cache;
use crate::digest::Digest;
use crate::registry::{Reference, Watch};

/// A model, by where it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Source {
    /// A file, or a folder that holds one model.
    Path(PathBuf),
    /// An artifact or an image in a registry: `oci://REGISTRY/REPOSITORY[:TAG][@DIGEST]`.
    Oci(Reference),
}

/// A source that can't be one.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NotASource {
    /// Models can't be fetched by this scheme.
    #[error("a model from `{0}://` is not supported: give a path or `oci://REGISTRY/REPOSITORY[:TAG]`")]
    Scheme(String),
    /// What follows `oci://` names nothing in a registry.
    #[error("`{text}` is no model in a registry: {reason}")]
    Reference {
        /// What was given.
        text: String,
        /// What is wrong with it.
        reason: String,
    },
    /// Nothing was given.
    #[error("the path of the model is empty")]
    Empty,
}

impl FromStr for Source {
    type Err = NotASource;

    fn from_str(text: &str) -> Result<Self, NotASource> {
        match text.split_once("://") {
            Some(("oci", rest)) => Reference::with_registry(rest)
                .map(Source::Oci)
                .map_err(|error| NotASource::Reference { text: text.into(), reason: error.to_string() }),
            Some((scheme, _)) => Err(NotASource::Scheme(scheme.into())),
            None if text.is_empty() || text.contains('\0') => Err(NotASource::Empty),
            None => Ok(Source::Path(text.into())),
        }
    }
}

impl TryFrom<&OsStr> for Source {
    type Error = NotASource;

    /// What isn't UTF-8 can only be a path.
    fn try_from(text: &OsStr) -> Result<Self, NotASource> {
        text.to_str().map_or_else(|| Ok(Source::Path(text.into())), str::parse)
    }
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Source::Path(path) => path.display().fmt(f),
            Source::Oci(reference) => write!(f, "oci://{reference}"),
        }
    }
}

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

impl Source {
    /// The same, a relative path taken from `folder`.
    pub fn from_folder(self, folder: &Path) -> Source {
        match self {
            Source::Path(path) => Source::Path(crate::files::plain(&folder.join(path))),
            elsewhere => elsewhere,
        }
    }

    /// The path of a model that is here already.
    pub fn path(&self) -> Option<&Path> {
        match self {
            Source::Path(path) => Some(path),
            Source::Oci(_) => None,
        }
    }

    /// The registry that has it, where one does.
    pub fn registry(&self) -> Option<&str> {
        match self {
            Source::Path(_) => None,
            Source::Oci(reference) => Some(reference.repository.registry()),
        }
    }

    /// The source without the digest that it may name.
    pub fn name(&self) -> String {
        match self {
            Source::Oci(reference) => Source::Oci(Reference { digest: None, ..reference.clone() }).to_string(),
            path => path.to_string(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_source_is_a_path_or_in_a_registry() {
        assert_eq!("a/b.onnx".parse(), Ok(Source::Path("a/b.onnx".into())));
        let oci: Source = "oci://r.example.com/ml/digits:1".parse().unwrap();
        assert!(matches!(&oci, Source::Oci(reference) if reference.tag.as_deref() == Some("1")));
        assert_eq!(oci.to_string(), "oci://r.example.com/ml/digits:1");
        assert_eq!(oci.clone().from_folder(Path::new("/x")), oci);
        assert_eq!((oci.path(), oci.registry()), (None, Some("r.example.com")));
        let digest = Digest::of("");
        let pinned: Source = format!("oci://r.example.com/ml/digits:1@{digest}").parse().unwrap();
        assert_eq!(pinned.name(), "oci://r.example.com/ml/digits:1");
        assert_eq!(Source::Path("b".into()).from_folder(Path::new("/x/../y")), Source::Path("/y/b".into()));
    }

    #[test]
    fn what_is_no_source_says_why() {
        let refused = |text: &str| text.parse::<Source>().unwrap_err().to_string();
        assert!(refused("hf://org/repo").contains("`hf://` is not supported"));
        assert!(refused("oci://digits").contains("should begin with a registry"));
        assert!(refused("oci://r.example.com/A").contains("r.example.com/A"));
        assert_eq!(refused(""), "the path of the model is empty");
    }
}
