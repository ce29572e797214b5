//! Images with CUDA, on stand-ins for its wheels: libraries that do nothing, under the names and with the needs of the real
//! ones, and the machine's own pip that finds them in a folder. The real wheels have 1.6 GB.

#![expect(clippy::unwrap_used, reason = "a step that fails, fails the test")]

#[path = "support/docker.rs"]
#[expect(dead_code, reason = "only the compiler of probes is used here")]
mod docker;
#[path = "support/small_image.rs"]
mod small_image;

use std::ffi::OsString;
use std::fs::{self, File};
use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use nimify::cache::Cache;
use nimify::digest::Digest;
use nimify::image::cuda::{self, Cuda, Error, Request, TensorRt};
use nimify::image::{self, Architecture, onnxruntime};

/// A library and what it needs.
type Library = (&'static str, &'static [&'static str]);

/// Stand-ins for the wheels: name, version, libraries.
const WHEELS: [(&str, &str, &[Library]); 8] = [
    ("nvidia-cuda-runtime", "13.5.37", &[("libcudart.so.13", &[])]),
    ("nvidia-cuda-nvrtc", "13.5.37", &[("libnvrtc.so.13", &[]), ("libnvrtc-builtins.so.13.5", &[])]),
    ("nvidia-nvjitlink", "13.5.37", &[("libnvJitLink.so.13", &[])]),
    ("nvidia-curand", "10.4.5", &[("libcurand.so.10", &[])]),
    ("nvidia-cufft", "12.5.0", &[("libcufft.so.12", &[]), ("libcufftw.so.12", &[])]),
    ("nvidia-cublas", "13.10.0", &[("libcublas.so.13", &["libcublasLt.so.13"]), ("libcublasLt.so.13", &[])]),
    ("nvidia-cudnn-cu13", "9.28.0", &[("libcudnn.so.9", &[]), ("libcudnn_ops.so.9", &[])]),
    (
        cuda::ONNXRUNTIME,
        onnxruntime::VERSION,
        &[
            (onnxruntime::FILE_NAME, &[]),
            ("libonnxruntime_providers_shared.so", &[]),
            (
                "libonnxruntime_providers_cuda.so",
                &["libcublas.so.13", "libcurand.so.10", "libcudart.so.13", "libcuda.so.1"],
            ),
            ("libonnxruntime_providers_tensorrt.so", &["libnvinfer.so.10", "libnvonnxparser.so.10", "libcudnn.so.9"]),
        ],
    ),
];

/// A folder of such wheels, and a Python whose pip looks nowhere else.
struct Index {
    home: tempfile::TempDir,
}

impl Index {
    fn new() -> Self {
        let index = Index { home: tempfile::tempdir().unwrap() };
        for (name, version, libraries) in WHEELS {
            index.wheel(name, version, libraries);
        }
        let python = index.home.path().join("python");
        let wheels = index.home.path().display();
        let script = format!("#!/bin/sh\nPIP_NO_INDEX=1 PIP_FIND_LINKS={wheels} exec python3 \"$@\"\n");
        fs::write(&python, script).unwrap();
        fs::set_permissions(&python, fs::Permissions::from_mode(0o755)).unwrap();
        index
    }

    fn path(&self, name: &str, version: &str) -> PathBuf {
        self.home.path().join(format!("{}-{version}-py3-none-manylinux_2_28_x86_64.whl", name.replace('-', "_")))
    }

    fn wheel(&self, name: &str, version: &str, libraries: &[Library]) {
        let mut zip = zip::ZipWriter::new(File::create(self.path(name, version)).unwrap());
        let mut add = |path: String, bytes: &[u8]| {
            zip.start_file(path, zip::write::SimpleFileOptions::default()).unwrap();
            zip.write_all(bytes).unwrap();
        };
        for (library, needs) in libraries {
            add(format!("nvidia/lib/{library}"), &self.library(library, needs));
        }
        let info = format!("{}-{version}.dist-info", name.replace('-', "_"));
        add(
            format!("{info}/METADATA"),
            format!("Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n").as_bytes(),
        );
        add(
            format!("{info}/WHEEL"),
            b"Wheel-Version: 1.0\nGenerator: a test\nRoot-Is-Purelib: false\nTag: py3-none-any\n",
        );
        add(format!("{info}/RECORD"), b"");
        zip.finish().unwrap();
    }

    /// A shared library without anything in it.
    fn library(&self, name: &str, needs: &[&str]) -> Vec<u8> {
        let folder = self.home.path().join("libraries");
        fs::create_dir_all(&folder).unwrap();
        let link = |target: &Path, soname: &str, with: &[PathBuf]| {
            let mut cc = Command::new("cc");
            cc.args(["-shared", "-nostdlib", "-Wl,--no-as-needed", &format!("-Wl,-soname,{soname}"), "-o"]).arg(target);
            cc.args(["-x", "c", "/dev/null", "-x", "none"]);
            let said = cc.args(with).output().expect("this test needs a C compiler");
            assert!(said.status.success(), "{}", String::from_utf8_lossy(&said.stderr));
        };
        let with: Vec<PathBuf> = needs.iter().map(|need| folder.join(format!("stub-{need}"))).collect();
        for (need, path) in needs.iter().zip(&with) {
            link(path, need, &[]);
        }
        let target = folder.join(name);
        link(&target, name, &with);
        fs::read(target).unwrap()
    }

    fn request<'a>(&self, cache: &'a Cache) -> Request<'a> {
        let python: OsString = self.home.path().join("python").into();
        let locked = Default::default();
        Request { architecture: Architecture::Amd64, locked, tensorrt: None, cache, python, offline: false }
    }
}

fn refused(request: &Request<'_>) -> Error {
    match cuda::provide(request) {
        Err(image::Error::Cuda(error)) => error,
        other => panic!("{other:?}"),
    }
}

#[test]
fn an_image_with_cuda_has_a_layer_for_each_wheel_and_no_driver() {
    let (index, home) = (Index::new(), tempfile::tempdir().unwrap());
    let cache = Cache::open(home.path().join("cache")).unwrap();
    let found = cuda::provide(&index.request(&cache)).unwrap();
    assert_eq!(found.wheels.len(), WHEELS.len());
    let names: Vec<_> = found.libraries().map(|path| path.file_name().unwrap().to_str().unwrap().to_string()).collect();
    for library in
        ["libcudart.so.13", "libnvrtc-builtins.so.13.5", "libcudnn_ops.so.9", "libonnxruntime_providers_cuda.so"]
    {
        assert!(names.iter().any(|name| name == library), "{library}: {names:?}");
    }
    assert!(!names.iter().any(|name| name == "libcufftw.so.12" || name.starts_with("libcuda.so")), "{names:?}");
    assert!(!names.iter().any(|name| name.contains("tensorrt")), "{names:?}");
    the_lock_holds(&index, &cache, &found);

    let shared = small_image::shared_cache();
    let binary = docker::compile(include_str!("support/probe.rs"), home.path());
    let mut asked = small_image::request(&binary, home.path(), &shared);
    asked.cuda = Some(found);
    let image = image::assemble(&asked, &cache).unwrap();
    let titles: Vec<_> = image.layers.iter().map(|layer| layer.title.as_str()).collect();
    assert_eq!((titles[0], titles[titles.len() - 3], titles.len()), ("base", cuda::ONNXRUNTIME, WHEELS.len() + 3));
    let layout = home.path().join("image");
    image::write_layout(&image, &layout).unwrap();
    assert_eq!(image::validate(&layout), []);
    let config: serde_json::Value = serde_json::from_slice(&image.config).unwrap();
    let environment = config["config"]["Env"].to_string();
    for variable in
        ["LD_LIBRARY_PATH=/nimify/lib", "NVIDIA_VISIBLE_DEVICES=all", "NVIDIA_DRIVER_CAPABILITIES=compute,utility"]
    {
        assert!(environment.contains(variable), "{environment}");
    }
    // Another model's image has the very same layers below its own.
    fs::write(home.path().join("other.onnx"), "other weights").unwrap();
    asked.models = [("other.onnx".parse().unwrap(), home.path().join("other.onnx"))].into();
    let other = image::assemble(&asked, &cache).unwrap();
    let below = image.layers.len() - 1;
    assert_eq!(image.layers[..below], other.layers[..below]);
    assert_ne!(image.layers[below], other.layers[below]);
}

fn the_lock_holds(index: &Index, cache: &Cache, found: &Cuda) {
    let locked = Request { locked: found.wheels.clone(), offline: true, ..index.request(cache) };
    assert_eq!(cuda::provide(&locked).unwrap(), *found);
    let offline = Request { offline: true, ..index.request(cache) };
    assert_eq!(refused(&offline).to_string(), "the list of CUDA's wheels is not in the cache");
    // pip itself refuses a wheel with another digest.
    let mut other = found.wheels.clone();
    other.get_mut("nvidia-curand").unwrap().digest = Digest::of("never");
    let other = refused(&Request { locked: other, ..index.request(cache) });
    assert!(matches!(&other, Error::Digest { name, .. } if name == "nvidia-curand"), "{other}");
}

#[test]
fn tensorrt_comes_from_a_wheel_of_its_own_with_what_builds_engines_only_where_any_are_built() {
    let (index, home) = (Index::new(), tempfile::tempdir().unwrap());
    let cache = Cache::open(home.path().join("cache")).unwrap();
    let asked = |tensorrt| Request { tensorrt: Some(tensorrt), ..index.request(&cache) };
    let gone = refused(&asked(TensorRt::Run));
    assert!(matches!(&gone, Error::Pip { words } if words.contains(cuda::TENSORRT)), "{gone}");
    let libraries: [Library; 4] = [
        ("libnvinfer.so.10", &[]),
        ("libnvonnxparser.so.10", &["libnvinfer.so.10"]),
        ("libnvinfer_builder_resource_sm86.so.10.13.3", &[]),
        ("libnvinfer_lean.so.10", &[]),
    ];
    index.wheel(cuda::TENSORRT, "10.13.3.9", &libraries);
    let names = |tensorrt| -> Vec<String> {
        let found = cuda::provide(&asked(tensorrt)).unwrap();
        found.libraries().map(|path| path.file_name().unwrap().to_str().unwrap().to_string()).collect()
    };
    let (run, build) = (names(TensorRt::Run), names(TensorRt::Build));
    for library in ["libnvinfer.so.10", "libnvonnxparser.so.10", "libonnxruntime_providers_tensorrt.so"] {
        assert!(run.iter().any(|name| name == library), "{library}: {run:?}");
    }
    let more: Vec<_> = build.iter().filter(|name| !run.contains(name)).collect();
    assert_eq!(more, ["libnvinfer_builder_resource_sm86.so.10.13.3"]);
}

#[test]
fn a_wheel_that_is_gone_or_lacks_its_library_is_named() {
    let (index, home) = (Index::new(), tempfile::tempdir().unwrap());
    let cache = Cache::open(home.path().join("cache")).unwrap();
    index.wheel("nvidia-cufft", "12.6.0", &[("libelse.so.1", &[])]);
    assert_eq!(refused(&index.request(&cache)).to_string(), "no wheel of CUDA has `libcufft.so`");
    fs::remove_file(index.path("nvidia-cuda-runtime", "13.5.37")).unwrap();
    let gone = refused(&index.request(&cache));
    assert!(matches!(&gone, Error::Pip { words } if words.contains("nvidia-cuda-runtime")), "{gone}");
}
