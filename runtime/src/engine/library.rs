//! Opening ONNX Runtime's library, every way in which that fails being an error and none a panic.

use std::ffi::CStr;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use ort::environment::Environment;
use ort::logging::LogLevel;

use super::EngineError;

struct Opened {
    path: PathBuf,
    version: String,
    environment: Environment,
}

/// Never dropped: ONNX Runtime's environment has to outlive every session, and ends with the process.
static OPENED: OnceLock<Opened> = OnceLock::new();

/// Opens the library at `onnxruntime` and gives its version, such as `1.31.1`. A second call with the same file changes
/// nothing; a process can't open a second library.
pub fn init(onnxruntime: &Path) -> Result<String, EngineError> {
    static OPENING: Mutex<()> = Mutex::new(());
    let _one_at_a_time = OPENING.lock().unwrap_or_else(PoisonError::into_inner);
    let missing = |_| EngineError::MissingLibrary { path: onnxruntime.into() };
    // The loader looks a relative path up in its own search path, which nobody means here.
    let path = onnxruntime.canonicalize().map_err(missing)?;
    if let Some(opened) = OPENED.get() {
        let other = || EngineError::OtherLibraryOpen { open: opened.path.clone(), asked: path.clone() };
        return if opened.path == path { Ok(opened.version.clone()) } else { Err(other()) };
    }
    let version = version(&path)?;
    let start = |reason: String| EngineError::Start { reason };
    let environment = ort::init_from(&path)
        .map_err(|e| EngineError::NotALibrary { path: path.clone(), reason: e.to_string() })?
        .with_name("nimify")
        .with_telemetry(false)
        .with_logger(Arc::new(log))
        .build()
        .map_err(|e| start(e.to_string()))?;
    // Below that it formats a line for every node of every run.
    environment.set_log_level(LogLevel::Warning);
    let opened = OPENED.get_or_init(|| Opened { path, version, environment });
    Ok(opened.version.clone())
}

/// The environment that sessions are made in.
pub(super) fn environment() -> Result<&'static Environment, EngineError> {
    OPENED.get().map(|opened| &opened.environment).ok_or(EngineError::NotOpen)
}

/// The version that the library says, which is one that can be used.
#[expect(unsafe_code, reason = "a shared library can be asked for its version by calling into it only")]
fn version(path: &Path) -> Result<String, EngineError> {
    let not_a_library = |reason: String| EngineError::NotALibrary { path: path.into(), reason };
    // SAFETY: opening runs the library's initialisers. The file is one that the operator named as ONNX Runtime, whose
    // initialisers are sound; a file that isn't a shared library is refused before anything in it runs.
    let library = unsafe { libloading::Library::new(path) }.map_err(|e| not_a_library(e.to_string()))?;
    // SAFETY: the symbol's type is that of ONNX Runtime's C API, unchanged since its first release.
    let api_base: Result<libloading::Symbol<'_, unsafe extern "C" fn() -> *const ort::sys::OrtApiBase>, _> =
        unsafe { library.get(b"OrtGetApiBase\0") };
    let api_base = api_base.map_err(|_| not_a_library("it has no symbol `OrtGetApiBase`".into()))?;
    // SAFETY: the function takes nothing and returns a pointer to a static table, or null, which is looked for.
    let Some(base) = (unsafe { api_base().as_ref() }) else {
        return Err(not_a_library("`OrtGetApiBase` gave nothing".into()));
    };
    // SAFETY: the table's functions belong to the library, which is open; the version is a static C string.
    let found = unsafe { CStr::from_ptr((base.GetVersionString)()) }.to_string_lossy().into_owned();
    // SAFETY: as above; null for an API version that the library doesn't know.
    let too_old = unsafe { (base.GetApi)(ort::MINOR_VERSION) }.is_null();
    if too_old {
        return Err(EngineError::LibraryTooOld { path: path.into(), found });
    }
    // Kept open: `ort` opens it again at once, and relocating 29 MB twice would cost milliseconds of every start.
    std::mem::forget(library);
    Ok(found)
}

/// ONNX Runtime's own log lines. What it calls an error is mostly a request that it refused, which its client hears of.
fn log(level: LogLevel, category: &str, _id: &str, location: &str, text: &str) {
    match level {
        LogLevel::Fatal => tracing::error!(category, location, "{text}"),
        LogLevel::Error => tracing::warn!(category, location, "{text}"),
        _ => tracing::debug!(category, location, "{text}"),
    }
}
