//! Why there is no binary.

use std::io;
use std::path::{Path, PathBuf};

/// Why a crate could not be compiled.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// There is no cargo or rustc to run.
    #[error("`{program}` can't be started")]
    CargoMissing {
        /// The program looked for on the `PATH`.
        program: &'static str,
        /// Why not.
        #[source]
        source: io::Error,
    },
    /// rustc is there and doesn't say its version: a rustup without a toolchain, for example.
    #[error("`rustc -vV` fails:\n{output}")]
    Toolchain {
        /// What it wrote.
        output: String,
    },
    /// rustc is older than the runtime's sources.
    #[error("rustc {found} is too old: {needed} or newer is needed")]
    RustTooOld {
        /// Its version.
        found: String,
        /// The oldest that will do.
        needed: &'static str,
    },
    /// rustc can't compile for another machine: its standard library isn't here.
    #[error("this toolchain has no standard library for `{target}`")]
    CrossLibrary {
        /// What was to be compiled for.
        target: String,
    },
    /// There is no C compiler for another machine, which also links.
    #[error("there is no `{linker}`, which links for `{target}`")]
    CrossLinker {
        /// What was to be compiled for.
        target: String,
        /// The program looked for on the `PATH`.
        linker: String,
    },
    /// A crate is missing from cargo's cache, and the network is not to be used.
    #[error("cargo's cache lacks crates that the service is made of:\n{output}")]
    NotCached {
        /// Cargo's words.
        output: String,
    },
    /// Crates could not be fetched.
    #[error("the crates that the service is made of can't be fetched:\n{output}")]
    Network {
        /// Cargo's words.
        output: String,
    },
    /// The disk is full.
    #[error("there is no space left to compile in the cache:\n{output}")]
    NoSpace {
        /// The words of cargo or the compiler.
        output: String,
    },
    /// The crate doesn't compile, most likely because of the hooks.
    #[error("the crate in `{}` doesn't compile:\n{output}", folder.display())]
    Build {
        /// The user's folder of the crate.
        folder: PathBuf,
        /// What the compiler says, with the paths of that folder.
        output: String,
    },
    /// Something in the cache can't be read or written.
    #[error("can't {action} `{}`", path.display())]
    Files {
        /// What was attempted.
        action: &'static str,
        /// On what.
        path: PathBuf,
        /// Why it failed.
        #[source]
        source: io::Error,
    },
    /// There is neither a toolchain nor a generic service beside nimify.
    #[error("there is no generic service at `{}`, and it can't be compiled", looked.display())]
    NoGeneric {
        /// Where it was looked for.
        looked: PathBuf,
        /// Why it can't be compiled.
        #[source]
        source: Box<Error>,
    },
    /// The caller asked to stop.
    #[error("compiling was interrupted")]
    Interrupted,
}

impl Error {
    /// Makes the error of an operation on a file.
    pub(super) fn files(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Error {
        let path = path.to_path_buf();
        move |source| Error::Files { action, path, source }
    }

    /// What the user can do about it.
    pub fn hint(&self) -> Option<&'static str> {
        match self {
            Error::CrossLibrary { target } => Some(match target.as_str() {
                "aarch64-unknown-linux-gnu" => "`rustup target add aarch64-unknown-linux-gnu` installs it",
                _ => "`rustup target add x86_64-unknown-linux-gnu` installs it",
            }),
            Error::CrossLinker { linker, .. } => Some(match linker.as_str() {
                "aarch64-linux-gnu-gcc" => "on Debian and Ubuntu, `apt-get install gcc-aarch64-linux-gnu` installs it",
                _ => "on Debian and Ubuntu, `apt-get install gcc-x86-64-linux-gnu` installs it",
            }),
            Error::CargoMissing { .. } => {
                Some("install Rust, or pack the generic service with `--service generic`: it needs no compiler")
            }
            Error::Toolchain { .. } => Some("`rustup default stable` installs a toolchain where rustup is used"),
            Error::RustTooOld { .. } => Some("`rustup update` brings a newer one; `--service generic` needs none"),
            Error::NotCached { .. } => Some("run once without `--offline`: cargo keeps what it fetches"),
            Error::Network { .. } => Some("check the network, the proxy and cargo's registry settings"),
            Error::Build { output, .. } if output.contains("linker `cc` not found") => {
                Some("install a C linker, such as the package `gcc`, or use `--service generic`")
            }
            Error::Build { .. } => Some("the hooks in `src/hooks.rs` are the only part that is yours"),
            Error::NoSpace { .. } => Some("free some space, or name another cache with `NIMIFY_CACHE`"),
            Error::Files { source, .. } if source.kind() == io::ErrorKind::StorageFull => {
                Some("free some space, or name another cache with `NIMIFY_CACHE`")
            }
            Error::Files { .. } => Some("`NIMIFY_CACHE` names another folder for the cache"),
            Error::NoGeneric { .. } => Some("install Rust, or put the `nimify-serve` of this release beside `nimify`"),
            Error::Interrupted => None,
        }
    }
}
