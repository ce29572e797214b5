//! What can go wrong between the built binary and the image on disk.

use std::path::{Path, PathBuf};
use std::{fmt, io};

use super::budget::Overrun;
use crate::cache;

/// Why an image could not be made, written or read.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The system refused something about a file: full disk, permission, no such file.
    #[error("can't {action} `{path}`")]
    Files {
        /// What was attempted: `read`, `write`, ….
        action: &'static str,
        /// On which file or folder.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The cache can't be used.
    #[error(transparent)]
    Cache(#[from] cache::Error),
    /// There is no base of Debian packages.
    #[error(transparent)]
    Debian(#[from] super::debian::Error),
    /// There are no libraries of CUDA.
    #[error(transparent)]
    Cuda(#[from] super::cuda::Error),
    /// A file that goes into the image as a program or library is not one.
    #[error("`{path}` can't be read as a 64-bit Linux program or library: {reason}")]
    Elf {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// The service binary is static: it could not load ONNX Runtime.
    #[error("`{path}` names no loader: a static binary can't load ONNX Runtime")]
    Static {
        /// The binary.
        path: PathBuf,
    },
    /// A program or library is made for another processor than the image.
    #[error("`{path}` is made for {found}, the image for {expected}")]
    Machine {
        /// The file.
        path: PathBuf,
        /// The processor it is made for.
        found: String,
        /// The image's architecture.
        expected: Architecture,
    },
    /// Nothing can be put on a base image.
    #[error("the base image `{name}` can't be built on: {reason}")]
    Base {
        /// The image's reference.
        name: String,
        /// What is wrong with it.
        reason: String,
    },
    /// A needed library is nowhere on this machine.
    #[error("can't find the library `{library}`, which `{needed_by}` needs")]
    MissingLibrary {
        /// Its name as the loader looks for it.
        library: String,
        /// The file that asks for it.
        needed_by: PathBuf,
    },
    /// A library on this machine is older than what another file was built against.
    #[error("`{needed_by}` needs version `{version}` of `{library}`, which `{found}` doesn't provide")]
    MissingVersion {
        /// The library's name.
        library: String,
        /// The symbol version, such as `GLIBC_2.34`.
        version: String,
        /// The library on this machine.
        found: PathBuf,
        /// The file that asks for it.
        needed_by: PathBuf,
    },
    /// ONNX Runtime is nowhere to be had. Hint: `pip install onnxruntime==<version>`, or name the library file in
    /// `NIMIFY_ONNXRUNTIME`.
    #[error("no source has ONNX Runtime {version} for {architecture}:{}", list(tried))]
    OnnxRuntime {
        /// The pinned version.
        version: &'static str,
        /// For which processor.
        architecture: Architecture,
        /// Each source that was asked, and its answer.
        tried: Vec<Attempt>,
    },
    /// Two files of the request want the same place in the image.
    #[error("two files are to stand at `/{path}` in the image")]
    Collision {
        /// The place.
        path: String,
    },
    /// Two libraries that would stand at one place.
    #[error("`{}` and `{}` have the same name, which only one library can have in an image", one.display(), other.display())]
    SameName {
        /// The first.
        one: PathBuf,
        /// The second.
        other: PathBuf,
    },
    /// A file changed between being listed and being packed.
    #[error("`{path}` changed while it was being packed")]
    Changed {
        /// The file.
        path: PathBuf,
    },
    /// Layers, or all of them together, are larger than they may be.
    #[error("the image is larger than its budget:{}", .0.iter().map(|overrun| format!("\n  {overrun}")).collect::<String>())]
    Budget(Vec<Overrun>),
    /// A layout that something is to be done with is not one of ours.
    #[error("`{path}` is not an OCI image layout that holds an image: {reason}")]
    Layout {
        /// The layout's folder, or the file in it.
        path: PathBuf,
        /// What is wrong.
        reason: String,
    },
    /// The image's description can't be written as OCI wants it.
    #[error("can't describe the image: {0}")]
    Describe(String),
}

/// One source of ONNX Runtime that was asked, and why it did not give the library.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Attempt {
    /// Which source.
    pub source: String,
    /// What it answered.
    pub answer: String,
}

fn list(attempts: &[Attempt]) -> String {
    attempts.iter().map(|attempt| format!("\n  {}: {}", attempt.source, attempt.answer)).collect()
}

/// Turns an [`io::Error`] into [`Error::Files`].
pub(crate) fn files(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Error {
    let path = path.to_path_buf();
    move |source| Error::Files { action, path, source }
}

/// A processor that images are made for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Architecture {
    /// 64-bit x86: `amd64` to OCI, `x86_64` to the kernel.
    Amd64,
    /// 64-bit ARM: `arm64` to OCI, `aarch64` to the kernel.
    Arm64,
}

impl Architecture {
    /// The processor that nimify itself runs on.
    pub fn host() -> Option<Self> {
        match std::env::consts::ARCH {
            "x86_64" => Some(Architecture::Amd64),
            "aarch64" => Some(Architecture::Arm64),
            _ => None,
        }
    }

    /// As OCI writes it.
    pub fn oci(self) -> &'static str {
        match self {
            Architecture::Amd64 => "amd64",
            Architecture::Arm64 => "arm64",
        }
    }

    /// As the kernel, and Python's platform tags, write it.
    pub fn kernel(self) -> &'static str {
        match self {
            Architecture::Amd64 => "x86_64",
            Architecture::Arm64 => "aarch64",
        }
    }
}

impl fmt::Display for Architecture {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.oci())
    }
}
