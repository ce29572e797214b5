//! Why there is no Debian base.

use std::io;
use std::path::{Path, PathBuf};

use super::deb::NotADeb;
use super::root::Clash;
use crate::digest::Digest;

/// Why packages can't be had, or make no base.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// This machine has no apt, or it can't be run.
    #[error("`{program}` can't be run")]
    NoApt {
        /// The program.
        program: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// None of apt's sources is one of Debian's.
    #[error("this machine's apt has no sources of Debian for {architecture}")]
    NoSources {
        /// The processor, as Debian calls it.
        architecture: String,
    },
    /// A source that apt is told to believe without a signature.
    #[error("`{}` says `{option}`: that source would be believed without a signature", file.display())]
    Unsigned {
        /// The file that names the source.
        file: PathBuf,
        /// The option.
        option: String,
    },
    /// Sources of several releases, and nothing tells which is meant.
    #[error("apt's sources are of several releases of Debian: {}", releases.join(", "))]
    Releases {
        /// The releases' code names.
        releases: Vec<String>,
    },
    /// An index whose signature doesn't hold.
    #[error("apt doesn't trust a package index: {words}")]
    Untrusted {
        /// What apt said.
        words: String,
    },
    /// An index past its time: a mirror that stood still, or somebody who holds updates back.
    #[error("a package index is too old: {words}")]
    Expired {
        /// What apt said.
        words: String,
    },
    /// The indexes or packages can't be fetched.
    #[error("apt can't {attempt}: {words}")]
    Apt {
        /// What was attempted.
        attempt: &'static str,
        /// What apt said.
        words: String,
    },
    /// The indexes have no such package.
    #[error("Debian {release} has no package `{name}`{}", version.as_ref().map(|version| format!(" of version {version}")).unwrap_or_default())]
    NoPackage {
        /// The package.
        name: String,
        /// The version that was asked for; any if there is none.
        version: Option<String>,
        /// The release's code name.
        release: String,
    },
    /// Nothing may be fetched, and it is not in the cache.
    #[error("{what} is not in the cache")]
    NotCached {
        /// What.
        what: String,
    },
    /// A package file that is not what the index, or the lock, says.
    #[error("the package `{name}` that apt fetched is not the one with the digest {digest}")]
    Digest {
        /// The package.
        name: String,
        /// The digest that it should have.
        digest: Digest,
    },
    /// A package file that can't be read.
    #[error("the package `{name}` can't be read: {source}")]
    Package {
        /// The package.
        name: String,
        /// What is wrong with it.
        source: NotADeb,
    },
    /// Two packages want the same place.
    #[error(transparent)]
    Clash(#[from] Clash),
    /// The system refused something about a file.
    #[error("can't {action} `{}`", path.display())]
    Files {
        /// What was attempted.
        action: &'static str,
        /// On which path.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
}

/// Turns an [`io::Error`] into [`Error::Files`].
pub(super) fn files(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Error {
    let path = path.to_path_buf();
    move |source| Error::Files { action, path, source }
}
