//! `ServiceSources` → [`ServiceBinary`]: cargo in a workspace of the cache, or the generic binary beside nimify.
//!
//! The binary's bytes depend on the sources, the lock file embedded in nimify and the compiler alone: the environment
//! is scrubbed, flags and profile are given on the command line, paths are replaced. What was built before is taken
//! from the cache, by a digest of all that goes in.

mod cargo;
mod child;
mod error;
mod stage;
mod toolchain;

use std::fs;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

pub use error::Error;
pub use stage::workspace;

use crate::codegen;
use crate::digest::Digest;
use crate::files::{self, FileTree, StagedFolder};
use crate::interrupt;
use cargo::Cargo;
use stage::Stage;
use toolchain::Toolchain;

/// Whether the user asked to stop: asked while something is waited for.
type Stop<'a> = &'a dyn Fn() -> bool;

/// How to compile.
#[derive(Debug, Clone, Copy)]
pub struct CompileRequest<'a> {
    /// nimify's cache.
    pub cache: &'a Path,
    /// Whether cargo must do without the network.
    pub offline: bool,
    /// For which machine, as a target of rustc; `None` is the one that compiles.
    pub target: Option<&'a str>,
}

/// The crate of one model.
#[derive(Debug, Clone, Copy)]
pub struct ServiceSources<'a> {
    /// Its files, as [`codegen::render`] gives them, with the user's hooks.
    pub files: &'a FileTree,
    /// The folder in which the user has them: the compiler's messages name it.
    pub folder: &'a Path,
}

/// An executable that serves a model.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ServiceBinary {
    /// Where it is: in the cache, or beside nimify.
    pub path: PathBuf,
    /// Of its bytes.
    pub digest: Digest,
    /// Which of the two it is.
    pub kind: ServiceKind,
    /// What compiled it.
    pub toolchain: String,
}

/// The two ways to a service.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ServiceKind {
    /// Compiled from the crate generated for the model, with its hooks.
    Generated,
    /// One binary for any model.
    Generic,
}

/// What happens while a crate is compiled.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Progress {
    /// Another run of nimify uses the workspace.
    Waiting,
    /// Cargo looks for crates that it lacks, and fetches them.
    Fetching,
    /// The build begins.
    Compiling {
        /// Crates in all.
        crates: usize,
        /// Whether none of them was compiled before: this is the run that takes minutes.
        first_time: bool,
    },
    /// Crates compiled, or found compiled.
    Compiled {
        /// So many
        crates: usize,
        /// of so many.
        of: usize,
    },
    /// The compiler's words on the service's crate: a warning, most likely on the hooks.
    Diagnostic(String),
}

/// Compiles the crate of a model. Interrupted, it takes cargo and its compilers with it.
pub fn compile(
    request: &CompileRequest<'_>,
    sources: &ServiceSources<'_>,
    progress: &mut dyn FnMut(Progress),
) -> Result<ServiceBinary, Error> {
    let stop: Stop<'_> = &|| interrupt::check().is_err();
    let toolchain = Toolchain::find(request.target)?;
    let binaries = request.cache.join("binaries").join(key(sources.files, &toolchain).hex());
    let found = |digest| ServiceBinary {
        path: binaries.join("service"),
        digest,
        kind: ServiceKind::Generated,
        toolchain: toolchain.describe(),
    };
    if let Some(digest) = cached(&binaries) {
        return Ok(found(digest));
    }
    let stage = Stage::open(request.cache, stop, progress)?;
    // Another run may have built it while this one waited.
    if let Some(digest) = cached(&binaries) {
        return Ok(found(digest));
    }
    stage.write_service(sources.files)?;
    let cargo = Cargo { stage: &stage, toolchain: &toolchain, offline: request.offline, stop, folder: sources.folder };
    progress(Progress::Fetching);
    let crates = cargo.fetch()?;
    progress(Progress::Compiling { crates: crates.count, first_time: !stage.target().exists() });
    let built = cargo.build(&crates, progress)?;
    Ok(found(keep(&built, &binaries)?))
}

/// The program that links for `target`, a machine other than this one, where all is there that this takes.
pub fn cross_linker(target: &str) -> Result<String, Error> {
    toolchain::cross_linker(target)
}

/// Gives the generic service: compiled from its own crate where there is a toolchain, or `nimify-serve` of the folder
/// `installed`, that of nimify's own executable.
pub fn generic(
    request: &CompileRequest<'_>,
    installed: &Path,
    progress: &mut dyn FnMut(Progress),
) -> Result<ServiceBinary, Error> {
    let crate_files = codegen::generic();
    let sources = ServiceSources { files: &crate_files, folder: Path::new("service") };
    match compile(request, &sources, progress) {
        Ok(binary) => Ok(ServiceBinary { kind: ServiceKind::Generic, ..binary }),
        Err(Error::Interrupted) => Err(Error::Interrupted),
        // What is installed here doesn't run there.
        Err(cause) if request.target.is_some() => Err(cause),
        Err(cause) => {
            let path = installed.join("nimify-serve");
            let Ok((digest, _)) = Digest::of_file(&path) else {
                return Err(Error::NoGeneric { looked: path, source: Box::new(cause) });
            };
            let toolchain = format!("as installed with nimify {}", env!("CARGO_PKG_VERSION"));
            Ok(ServiceBinary { path, digest, kind: ServiceKind::Generic, toolchain })
        }
    }
}

/// Of all that the binary's bytes depend on.
fn key(service: &FileTree, toolchain: &Toolchain) -> Digest {
    let workspace = stage::tree_digest(&workspace());
    let parts = [workspace.hex(), stage::tree_digest(service).hex(), toolchain.describe(), Cargo::settings(toolchain)];
    Digest::of(parts.join("\n"))
}

/// The digest of a binary of the cache, where it is there and is what was put there.
fn cached(folder: &Path) -> Option<Digest> {
    let expected: Digest = fs::read_to_string(folder.join("digest")).ok()?.trim_end().parse().ok()?;
    let (digest, _) = Digest::of_file(&folder.join("service")).ok()?;
    (digest == expected).then_some(digest)
}

/// Copies a binary into the cache, both files or none.
fn keep(built: &Path, folder: &Path) -> Result<Digest, Error> {
    let written = || -> std::io::Result<Digest> {
        let stage = StagedFolder::new(folder)?;
        let copy = stage.path().join("service");
        fs::copy(built, &copy)?;
        files::set_mode(&copy, 0o755)?;
        let (digest, _) = Digest::of_file(&copy)?;
        fs::write(stage.path().join("digest"), format!("{digest}\n"))?;
        stage.publish()?;
        Ok(digest)
    };
    written().map_err(Error::files("write", folder))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_binary_of_the_cache_is_checked_when_read() {
        let home = tempfile::tempdir().unwrap();
        let (built, folder) = (home.path().join("built"), home.path().join("binaries/key"));
        fs::write(&built, "binary").unwrap();
        assert_eq!(cached(&folder), None);
        assert_eq!(keep(&built, &folder).unwrap(), Digest::of("binary"));
        assert_eq!(cached(&folder), Some(Digest::of("binary")));
        fs::write(folder.join("service"), "changed").unwrap();
        assert_eq!(cached(&folder), None);
        keep(&built, &folder).unwrap();
        assert_eq!(cached(&folder), Some(Digest::of("binary")));
    }

    #[test]
    fn the_key_changes_with_the_sources() {
        let toolchain = Toolchain::find(None).unwrap();
        let mut tree = codegen::generic();
        let before = key(&tree, &toolchain);
        assert_eq!(before, key(&tree.clone(), &toolchain));
        tree.insert("src/hooks.rs".parse().unwrap(), b"//".to_vec());
        assert_ne!(before, key(&tree, &toolchain));
    }
}
