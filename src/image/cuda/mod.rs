//! ONNX Runtime with CUDA, and the libraries of CUDA that it needs → layers: out of the vendor's wheels, which the user's
//! own pip fetches ([`pip`]), each held to a digest ([`wheel`]).
//!
//! The driver's own libraries are never in an image: the container runtime puts those of the machine there.

mod pip;
mod wheel;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::ffi::OsString;
use std::io;
use std::path::{Path, PathBuf};

use super::elf;
use super::error::Architecture;
use super::onnxruntime;
use super::packages::Resolved;
use crate::cache::Cache;
use crate::digest::Digest;

/// The wheel of ONNX Runtime itself.
pub const ONNXRUNTIME: &str = "onnxruntime-gpu";

/// The wheels of CUDA 13, as ONNX Runtime's wheel asks for them, from seldom to often changed.
const WHEELS: [(&str, &str); 7] = [
    ("nvidia-cuda-runtime", "~=13.0"),
    ("nvidia-cuda-nvrtc", "~=13.0"),
    ("nvidia-nvjitlink", "~=13.0"),
    ("nvidia-curand", "~=10.0"),
    ("nvidia-cufft", "~=12.0"),
    ("nvidia-cublas", "~=13.0"),
    ("nvidia-cudnn-cu13", "~=9.0"),
];

/// The wheel of TensorRT's libraries, and the versions that ONNX Runtime's provider is made for. It is in an index of the
/// vendor's own.
pub const TENSORRT: &str = "tensorrt-cu13-libs";
const TENSORRT_RANGE: &str = "~=10.13";

/// What ONNX Runtime needs for TensorRT besides, and how the names begin of what TensorRT opens to build an engine.
const TENSORRT_PROVIDER: &str = "libonnxruntime_providers_tensorrt.so";
const BUILDER: &str = "libnvinfer_builder_resource";

/// What TensorRT is to do in the image.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TensorRt {
    /// Run engines that are built.
    Run,
    /// Build them for graphs, which takes libraries of two gigabytes more.
    Build,
}

/// What is opened by name while a model runs, so that no table in a file names it: cuDNN, cuFFT, the compiler of kernels,
/// and the linker that cuFFT uses. Each by the beginning of its file's name.
const OPENED: [&str; 4] = ["libcudnn", "libcufft", "libnvrtc", "libnvJitLink"];

/// Beginnings of the names of what comes with the machine's driver.
const DRIVER: [&str; 2] = ["libcuda.so.", "libnvidia-"];

/// Where the libraries stand in the image.
pub(super) const FOLDER: &str = "nimify/lib";

/// What the image's environment says: where the loader finds the libraries, and which devices and parts of the driver the
/// container runtime is to put into the container.
pub(super) const ENVIRONMENT: [&str; 3] =
    ["LD_LIBRARY_PATH=/nimify/lib", "NVIDIA_VISIBLE_DEVICES=all", "NVIDIA_DRIVER_CAPABILITIES=compute,utility"];

/// Why there are no libraries of CUDA.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// pip can't say which wheels there are, or fetch them.
    #[error("pip can't provide the wheels of CUDA: {words}")]
    Pip {
        /// What it said.
        words: String,
    },
    /// A wheel that is not what was locked.
    #[error("the wheel of `{name}` that pip fetched is not the one with the digest {digest}")]
    Digest {
        /// The package.
        name: String,
        /// The digest that it should have.
        digest: Digest,
    },
    /// A wheel that can't be read.
    #[error("the wheel `{}` can't be read: {reason}", path.display())]
    Wheel {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// No wheel has a library that should be there.
    #[error("no wheel of CUDA has `{library}`")]
    Missing {
        /// The library.
        library: String,
    },
    /// Nothing may be fetched, and it is not in the cache.
    #[error("{what} is not in the cache")]
    NotCached {
        /// What.
        what: String,
    },
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

fn files(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Error {
    let path = path.to_path_buf();
    move |source| Error::Files { action, path, source }
}

/// What is asked for.
#[derive(Debug, Clone)]
pub struct Request<'a> {
    /// For which processor.
    pub architecture: Architecture,
    /// The wheels of an earlier build, of which nothing may differ; empty for the newest.
    pub locked: BTreeMap<String, Resolved>,
    /// Whether TensorRT is wanted too, and what for.
    pub tensorrt: Option<TensorRt>,
    /// Where the libraries are kept.
    pub cache: &'a Cache,
    /// The Python whose pip is asked.
    pub python: OsString,
    /// Fetch nothing.
    pub offline: bool,
}

/// The libraries for an image.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Cuda {
    /// The wheels that they come from, by name.
    pub wheels: BTreeMap<String, Resolved>,
    /// From seldom to often changed, ONNX Runtime's own last: the wheel's name, and its libraries by file name.
    pub(super) layers: Vec<(&'static str, BTreeMap<String, PathBuf>)>,
}

impl Cuda {
    /// ONNX Runtime's library.
    pub(super) fn onnxruntime(&self) -> Option<&Path> {
        self.layers.last().and_then(|(_, files)| files.get(onnxruntime::FILE_NAME)).map(PathBuf::as_path)
    }

    /// All libraries.
    pub fn libraries(&self) -> impl Iterator<Item = &Path> {
        self.layers.iter().flat_map(|(_, files)| files.values().map(PathBuf::as_path))
    }

    /// Whether a library need not be in the base: it is one of these, or comes with the driver.
    pub(super) fn gives(&self, library: &str) -> bool {
        is_driver(library) || self.layers.iter().any(|(_, files)| files.contains_key(library))
    }
}

fn is_driver(library: &str) -> bool {
    DRIVER.iter().any(|beginning| library.starts_with(beginning))
}

/// Finds the wheels, takes their libraries from the cache or fetches them, and chooses those that are needed.
pub fn provide(request: &Request<'_>) -> Result<Cuda, super::Error> {
    let tensorrt = request.tensorrt.map(|_| TENSORRT);
    let order = WHEELS.iter().map(|(name, _)| *name).chain(tensorrt).chain([ONNXRUNTIME]);
    let order: Vec<&'static str> = order.collect();
    let wheels = resolve(request, &order)?;
    let mut all = Vec::new();
    for name in order {
        let resolved = wheels.get(name).ok_or_else(|| Error::NotCached { what: format!("the wheel of `{name}`") })?;
        all.push((name, take(request, name, resolved)?));
    }
    let chosen = choose(&all, request.tensorrt, &|path| Ok::<_, super::Error>(elf::read(path)?.needed))?;
    let keep = |(name, files): (&'static str, BTreeMap<String, PathBuf>)| {
        let kept: BTreeMap<_, _> = files.into_iter().filter(|(file, _)| chosen.contains(file)).collect();
        (!kept.is_empty()).then_some((name, kept))
    };
    let layers: Vec<_> = all.into_iter().filter_map(keep).collect();
    Ok(Cuda { wheels, layers })
}

fn resolve(request: &Request<'_>, order: &[&str]) -> Result<BTreeMap<String, Resolved>, Error> {
    if !request.locked.is_empty() {
        return Ok(request.locked.clone());
    }
    if request.offline {
        return Err(Error::NotCached { what: "the list of CUDA's wheels".into() });
    }
    let mut requirements: Vec<String> = WHEELS.iter().map(|(name, range)| format!("{name}{range}")).collect();
    requirements.extend(request.tensorrt.map(|_| format!("{TENSORRT}{TENSORRT_RANGE}")));
    requirements.push(format!("{ONNXRUNTIME}=={}", onnxruntime::VERSION));
    let found = pip::resolve(&request.python, request.architecture, &requirements)?;
    Ok(found.into_iter().filter(|(name, _)| order.contains(&name.as_str())).collect())
}

/// The libraries of one wheel.
fn take(request: &Request<'_>, name: &str, resolved: &Resolved) -> Result<BTreeMap<String, PathBuf>, super::Error> {
    let fill = |stage: &Path| {
        if request.offline {
            return Err(Error::NotCached { what: format!("the wheel of `{name}` {}", resolved.version) }.into());
        }
        // Beside the cache's entry: a wheel of CUDA can be larger than a folder for temporary files.
        let folder = tempfile::Builder::new().prefix(".wheel-").tempdir_in(stage).map_err(files("make", stage))?;
        let wheel = pip::fetch(&request.python, request.architecture, name, resolved, folder.path())?;
        Ok::<(), super::Error>(wheel::unpack(&wheel, stage)?)
    };
    request.cache.take("wheels", &resolved.digest, wheel::read, fill)
}

/// The names of the libraries that ONNX Runtime needs to run a model by CUDA, and by TensorRT where that is wanted.
fn choose<E: From<Error>>(
    all: &[(&'static str, BTreeMap<String, PathBuf>)],
    tensorrt: Option<TensorRt>,
    needed: &dyn Fn(&Path) -> Result<Vec<String>, E>,
) -> Result<BTreeSet<String>, E> {
    let find = |library: &str| all.iter().find_map(|(_, files)| Some((files, files.get(library)?)));
    let mut roots =
        vec![onnxruntime::FILE_NAME, "libonnxruntime_providers_shared.so", "libonnxruntime_providers_cuda.so"];
    roots.extend(tensorrt.map(|_| TENSORRT_PROVIDER));
    for root in &roots {
        find(root).ok_or_else(|| Error::Missing { library: (*root).into() })?;
    }
    let mut left: VecDeque<String> = roots.into_iter().map(String::from).collect();
    for beginning in OPENED {
        let opened = |file: &&String| file.strip_prefix(beginning).is_some_and(|rest| rest.starts_with(".so."));
        let found = all.iter().flat_map(|(_, files)| files.keys()).find(opened);
        left.push_back(found.ok_or_else(|| Error::Missing { library: format!("{beginning}.so") })?.clone());
    }
    let mut chosen = BTreeSet::new();
    while let Some(library) = left.pop_front() {
        let Some((beside, path)) = find(&library).filter(|_| chosen.insert(library.clone())) else { continue };
        left.extend(needed(path)?);
        // `libcudnn.so.9` opens `libcudnn_ops.so.9` and its like, `libnvrtc.so.13` its `libnvrtc-builtins.so.13.5`.
        let stem = library.split(".so").next().unwrap_or(&library);
        let part = |file: &&String| match stem {
            "libnvinfer" => tensorrt == Some(TensorRt::Build) && file.starts_with(BUILDER),
            stem => file.strip_prefix(stem).is_some_and(|rest| rest.starts_with(['_', '-'])),
        };
        // Not ONNX Runtime's: its parts are providers, of which this image is to have one.
        if !library.starts_with("libonnxruntime") {
            left.extend(beside.keys().filter(part).cloned());
        }
    }
    Ok(chosen)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_needed_is_chosen_with_what_is_opened_by_name() {
        let files = |names: &[&str]| names.iter().map(|name| (name.to_string(), PathBuf::from(name))).collect();
        let all: Vec<(&'static str, BTreeMap<String, PathBuf>)> = vec![
            ("nvidia-cuda-runtime", files(&["libcudart.so.13"])),
            ("nvidia-cuda-nvrtc", files(&["libnvrtc.so.13", "libnvrtc-builtins.so.13.5"])),
            ("nvidia-nvjitlink", files(&["libnvJitLink.so.13"])),
            ("nvidia-cufft", files(&["libcufft.so.12", "libcufftw.so.12"])),
            ("nvidia-cublas", files(&["libcublas.so.13", "libcublasLt.so.13", "libnvblas.so.13"])),
            ("nvidia-cudnn-cu13", files(&["libcudnn.so.9", "libcudnn_ops.so.9"])),
            (
                ONNXRUNTIME,
                files(&[
                    onnxruntime::FILE_NAME,
                    "libonnxruntime_providers_cuda.so",
                    "libonnxruntime_providers_shared.so",
                    "libonnxruntime_providers_tensorrt.so",
                ]),
            ),
        ];
        let needed = |path: &Path| {
            Ok::<_, Error>(match path.to_str().unwrap() {
                "libonnxruntime_providers_cuda.so" => {
                    ["libcublas.so.13", "libcudart.so.13", "libcuda.so.1", "libc.so.6"].map(String::from).to_vec()
                }
                "libcublas.so.13" => vec!["libcublasLt.so.13".into()],
                _ => Vec::new(),
            })
        };
        let chosen = choose(&all, None, &needed).unwrap();
        let left_out = ["libcufftw.so.12", "libnvblas.so.13", "libonnxruntime_providers_tensorrt.so"];
        let names = all.iter().flat_map(|(_, files)| files.keys());
        assert_eq!(
            names.filter(|name| !chosen.contains(*name)).collect::<BTreeSet<_>>(),
            left_out.map(String::from).iter().collect()
        );
        let without: Vec<_> = all.iter().filter(|(name, _)| *name != "nvidia-cudnn-cu13").cloned().collect();
        assert_eq!(choose(&without, None, &needed).unwrap_err().to_string(), "no wheel of CUDA has `libcudnn.so`");
    }

    #[test]
    fn the_driver_is_never_in_the_image() {
        let cuda = Cuda::default();
        assert!(cuda.gives("libcuda.so.1") && cuda.gives("libnvidia-ml.so.1"));
        assert!(!cuda.gives("libcudart.so.13") && !cuda.gives("libc.so.6"));
    }
}
