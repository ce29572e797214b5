//! `nimify.yaml` → [`Config`]: what the user asked for; and `nimify.lock` → [`Lock`]: what was used.
//!
//! A text becomes a tree that knows its places (`document`), variables are put into its values (`variables`), Serde
//! reads it (`reader`), and what no single key can tell is checked at the end (`check`). Each refusal names line,
//! column and key.
//!
//! Paths in a config stay as they are written: relative to the folder of the file.

mod check;
mod document;
mod environment;
mod lock;
mod measures;
mod overrides;
mod reader;
mod repository;
mod schema;
mod settings;
mod side_files;
mod state;
mod triton;
mod triton_state;
mod trusted_key;
mod variables;
mod words;

pub use document::Place;
pub use environment::{Autoscaling, Environment, Trust, overlay};
pub use lock::{
    Difference, Lock, LockError, LockedDebian, LockedDerived, LockedImage, LockedPackage, LockedRuntime, LockedSource,
    Toolchain, compare, edited,
};
pub use measures::{Count, Duration, Share, Size};
pub use overrides::Overrides;
pub use schema::schema;
pub use settings::{
    Accelerator, ApiVersion, Batching, Budget, Compression, Config, Engine, Image, LicenseFile, Server, ServiceKind,
    Signing, TensorRt, Tracing,
};
pub use side_files::SideFiles;
pub use state::{KeptPair, KeptSize, State};
pub use trusted_key::TrustedKey;
pub use words::{
    Base, CollectorUrl, DnsLabel, GpuCapability, ImageBase, KeyReference, ModelName, ModelReference, ModelVersion,
    Moment, NotAWord, Platform, ProviderList, Registry, Repository, TensorText,
};

use std::fmt;
use std::fs;
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};

/// What is wrong in a text: where, at which key, and what should be there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fault {
    /// Where it stands; `None` for what a flag or environment variable gave.
    pub place: Option<Place>,
    /// The key, such as `server.port`; empty at the top.
    pub key: String,
    /// What is wrong.
    pub message: String,
}

impl Fault {
    fn at(place: Place, message: impl Into<String>) -> Self {
        Fault { place: Some(place), key: String::new(), message: message.into() }
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(place) = self.place {
            write!(f, "{place}: ")?;
        }
        if !self.key.is_empty() {
            write!(f, "`{}`: ", self.key)?;
        }
        f.write_str(&self.message)
    }
}

/// Why there is no config. All but [`Error::Io`] deserve the exit code of a bad config.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The file could not be read.
    #[error("can't read `{}`", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// What the system answered.
        source: io::Error,
    },
    /// The file is far larger than any config.
    #[error("`{}` is larger than {} bytes: that is no config", path.display(), document::LARGEST_TEXT)]
    TooLarge {
        /// The file.
        path: PathBuf,
    },
    /// The file is not a text.
    #[error("`{}` is not a UTF-8 text", path.display())]
    NotText {
        /// The file.
        path: PathBuf,
    },
    /// The text says something that can't be.
    #[error("{}:{fault}", path.display())]
    Content {
        /// The file.
        path: PathBuf,
        /// What, and where.
        fault: Fault,
    },
}

/// Reads `nimify.yaml` (or JSON under any name), with variables from the process's environment. `overrides` beat what
/// the file says.
pub fn load(path: &Path, overrides: &Overrides) -> Result<Config, Error> {
    let failed = |source| Error::Io { path: path.into(), source };
    let mut bytes = Vec::new();
    let file = fs::File::open(path).map_err(failed)?;
    file.take(document::LARGEST_TEXT + 1).read_to_end(&mut bytes).map_err(failed)?;
    if bytes.len() as u64 > document::LARGEST_TEXT {
        return Err(Error::TooLarge { path: path.into() });
    }
    let text = String::from_utf8(bytes).map_err(|_| Error::NotText { path: path.into() })?;
    parse(&text, overrides, &|name| std::env::var(name).ok())
        .map_err(|fault| Error::Content { path: path.into(), fault })
}

/// Reads a config from its text: [`load`] without the world.
pub fn parse(text: &str, overrides: &Overrides, variable: &dyn Fn(&str) -> Option<String>) -> Result<Config, Fault> {
    let mut tree = document::read(text.strip_prefix('\u{feff}').unwrap_or(text))?;
    variables::expand(&mut tree, variable)?;
    let config: Config = reader::from_node(&tree)?;
    let config = config.overridden(overrides);
    check::check(&config).map_err(|(path, message)| {
        let keys: Vec<&str> = path.iter().map(String::as_str).collect();
        Fault { place: Some(tree.find(&keys)), key: path.join("."), message }
    })?;
    Ok(config)
}

impl Config {
    /// Checks a config that was not read from a file, as [`load`] does.
    pub fn check(&self) -> Result<(), Fault> {
        check::check(self).map_err(|(path, message)| Fault { place: None, key: path.join("."), message })
    }
}

#[cfg(test)]
mod tests;
