//! What `config` uses of a model's source: that it is a path or begins with a scheme. How each scheme's addresses are
//! written is left out, since most of them need what speaks to their servers.

use std::fmt;
use std::path::{Path, PathBuf};
use std::str::FromStr;

/// A model, by where it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Source {
    Path(PathBuf),
    Elsewhere(String),
}

/// A source that can't be one.
#[derive(Debug, thiserror::Error)]
#[error("the path of the model is empty")]
pub struct Empty;

impl FromStr for Source {
    type Err = Empty;

    fn from_str(text: &str) -> Result<Self, Empty> {
        match text {
            "" => Err(Empty),
            text if text.contains("://") => Ok(Source::Elsewhere(text.into())),
            text => Ok(Source::Path(text.into())),
        }
    }
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Source::Path(path) => path.display().fmt(f),
            Source::Elsewhere(text) => text.fmt(f),
        }
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
}
