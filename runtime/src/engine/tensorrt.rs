//! What a TensorRT engine was built by and for, held against what is here: TensorRT itself says little where they differ.
//!
//! An engine that was built to bear other versions or other GPUs runs in spite of a difference. So these are reasons that
//! a failure has, and warnings without one.
#![expect(unsafe_code, reason = "a shared library can be asked for its version by calling into it only")]

use std::ffi::c_int;
use std::fs;
use std::path::Path;

use libloading::Library;

use crate::nvml::{self, Nvml};
use crate::settings::TensorRtEngine;

/// ONNX Runtime's part for TensorRT, beside its own library.
const PROVIDER: &str = "libonnxruntime_providers_tensorrt.so";
/// How the name of TensorRT's library begins; the number of its major version follows.
const NVINFER: &str = "libnvinfer.so.";
/// Largest file that is taken for that part, bytes: it has one megabyte.
const LARGEST_PROVIDER: u64 = 256 << 20;

/// A library of TensorRT: its name, and its version.
#[derive(Debug, Clone, PartialEq, Eq)]
struct TensorRt {
    name: String,
    version: [u32; 3],
}

/// In what the machine, and the ONNX Runtime at `onnxruntime`, differ from what the engine needs: each a clause.
pub fn misfits(engine: &TensorRtEngine, onnxruntime: &Path) -> Vec<String> {
    let gpus = Nvml::open(nvml::LIBRARY).map(|nvml| nvml.compute_capabilities());
    compare(engine, &tensorrt(onnxruntime.parent().unwrap_or(Path::new("/"))), &gpus)
}

fn compare(
    engine: &TensorRtEngine,
    tensorrt: &Result<TensorRt, String>,
    gpus: &Result<Vec<(u32, u32)>, String>,
) -> Vec<String> {
    let mut misfits = Vec::new();
    match (tensorrt, &engine.version) {
        (Err(reason), _) => misfits.push(reason.clone()),
        (Ok(TensorRt { name, version }), Some(built_by)) => {
            let found = version.map(|part| part.to_string()).join(".");
            if !format!("{built_by}.").starts_with(&format!("{found}.")) {
                misfits.push(format!("the engine was built by TensorRT {built_by}, and `{name}` here is of {found}"));
            }
        }
        _ => {}
    }
    match (gpus, &engine.compute_capability) {
        (Err(reason), _) => misfits.push(format!(
            "there is no driver of a GPU here ({reason}): run the container with `--gpus all`, or ask Kubernetes for \
             `nvidia.com/gpu`"
        )),
        (Ok(gpus), _) if gpus.is_empty() => misfits.push("the driver shows no GPU".into()),
        (Ok(gpus), Some(built_for)) => {
            let found: Vec<String> = gpus.iter().map(|(major, minor)| format!("{major}.{minor}")).collect();
            if !found.contains(built_for) {
                let found = found.join(", ");
                misfits.push(format!(
                    "the engine was built for GPUs of compute capability {built_for}, and those here have {found}"
                ));
            }
        }
        _ => {}
    }
    misfits
}

/// The library of TensorRT that ONNX Runtime in `folder` works with.
fn tensorrt(folder: &Path) -> Result<TensorRt, String> {
    let provider = folder.join(PROVIDER);
    let size = fs::metadata(&provider).map(|file| file.len());
    let bytes = size.and_then(|size| if size > LARGEST_PROVIDER { Ok(Vec::new()) } else { fs::read(&provider) });
    let bytes = bytes.map_err(|_| format!("there is no `{PROVIDER}` beside ONNX Runtime's library"))?;
    let name = needed(&bytes).ok_or_else(|| format!("`{PROVIDER}` names no library of TensorRT"))?;
    // Beside ONNX Runtime, or where the loader looks.
    let beside = folder.join(&name);
    let opened = if beside.exists() { open(beside.as_os_str()) } else { open(name.as_ref()) };
    match opened {
        Ok(version) => Ok(TensorRt { name, version }),
        Err(reason) => Err(format!("`{name}`, TensorRT's library, can't be used: {reason}")),
    }
}

/// The name of TensorRT's library among the names of those that a library needs.
fn needed(bytes: &[u8]) -> Option<String> {
    let at = bytes.windows(NVINFER.len()).position(|part| part == NVINFER.as_bytes())?;
    let rest = &bytes[at + NVINFER.len()..];
    let digits = rest.iter().take_while(|byte| byte.is_ascii_digit()).count();
    let number = std::str::from_utf8(&rest[..digits]).ok().filter(|number| (1..=3).contains(&number.len()))?;
    Some(format!("{NVINFER}{number}"))
}

fn open(name: &std::ffi::OsStr) -> Result<[u32; 3], String> {
    // SAFETY: opening TensorRT's library runs its initialisers, which are made for any program; ONNX Runtime would open
    // the same file a moment later.
    let library = unsafe { Library::new(name) }.map_err(|error| error.to_string())?;
    // SAFETY: the type is that of the function in `NvInferRuntime.h`, where it has been since TensorRT 5.
    let version = unsafe { library.get::<unsafe extern "C" fn() -> c_int>(b"getInferLibVersion\0") };
    let version = version.map_err(|error| error.to_string())?;
    // SAFETY: it takes nothing, and the library is open.
    let number = unsafe { version() };
    u32::try_from(number).map(parts).map_err(|_| format!("it says that its version is {number}"))
}

/// Major, minor and patch: since TensorRT 10 the minor version has two digits, as the patch has.
fn parts(number: u32) -> [u32; 3] {
    let unit = if number < 100_000 { 1_000 } else { 10_000 };
    [number / unit, number % unit / 100, number % 100]
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use super::*;

    fn engine(version: &str, capability: Option<&str>) -> TensorRtEngine {
        TensorRtEngine { version: Some(version.into()), compute_capability: capability.map(String::from) }
    }

    #[test]
    fn versions_are_those_that_tensorrt_says() {
        assert_eq!((parts(8601), parts(100_300), parts(101_304)), ([8, 6, 1], [10, 3, 0], [10, 13, 4]));
    }

    #[test]
    fn a_difference_is_told_and_none_isnt() {
        let found = Ok(TensorRt { name: "libnvinfer.so.10".into(), version: [10, 3, 0] });
        let (gpus, none) = (Ok(vec![(8, 6), (7, 5)]), Ok(Vec::new()));
        let told = |engine, tensorrt, gpus| compare(&engine, tensorrt, gpus);
        assert_eq!(told(engine("10.3.0.26", Some("8.6")), &found, &gpus), Vec::<String>::new());
        assert_eq!(told(engine("10.3.0.26", None), &found, &gpus), Vec::<String>::new());
        assert_eq!(
            told(engine("10.30.0.2", Some("8.9")), &found, &gpus),
            [
                "the engine was built by TensorRT 10.30.0.2, and `libnvinfer.so.10` here is of 10.3.0",
                "the engine was built for GPUs of compute capability 8.9, and those here have 8.6, 7.5",
            ]
        );
        assert_eq!(told(engine("10.3.0.26", None), &found, &none), ["the driver shows no GPU"]);
        let nothing = told(engine("10.3.0.26", None), &Err("no library".into()), &Err("no file".into()));
        assert!(nothing[0] == "no library" && nothing[1].contains("(no file): run the container with `--gpus all`"));
    }

    /// A stand-in for TensorRT's library, which knows its version and nothing else.
    #[test]
    fn the_library_that_the_provider_needs_is_asked_for_its_version() {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        assert!(tensorrt(folder.path()).unwrap_err().contains("there is no `libonnxruntime_providers_tensorrt.so`"));
        fs::write(at(PROVIDER), b"\x7fELF").unwrap();
        assert!(tensorrt(folder.path()).unwrap_err().contains("names no library of TensorRT"));
        fs::write(at(PROVIDER), b"\x7fELF\0libnvinfer.so.987\0libc.so.6\0").unwrap();
        assert!(tensorrt(folder.path()).unwrap_err().starts_with("`libnvinfer.so.987`, TensorRT's library, can't"));
        fs::write(at("nvinfer.c"), "int getInferLibVersion(void) { return 100901; }").unwrap();
        // There is a C compiler: the TLS library was built with it.
        let mut cc = Command::new("cc");
        let compiled = cc.args(["-shared", "-fPIC", "-o"]).arg(at("libnvinfer.so.987")).arg(at("nvinfer.c")).status();
        assert!(compiled.unwrap().success());
        let found = TensorRt { name: "libnvinfer.so.987".into(), version: [10, 9, 1] };
        assert_eq!(tensorrt(folder.path()), Ok(found));
    }
}
