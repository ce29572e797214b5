//! What several commands need of the stages: an OCI layout in a folder, ONNX Runtime, a probe of a model.

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use super::error::files;
use super::{Error, documents};
use crate::cache::Cache;
use crate::config::{Config, Platform};
use crate::image::onnxruntime::{self, OnnxRuntime};
use crate::image::operators::{self, OperatorLibrary};
use crate::image::{self, Architecture, locale};
use crate::model::{self, ModelDescription};
use crate::probe::ProbeRequest;
use crate::sign::{self, Fault, SignedLayout, SigningKey, TrustedKeys, Verdict};

/// Largest sample that is read, bytes: more than the default limit of a request.
const LARGEST_SAMPLE: u64 = 256 << 20;

/// The OCI layout in `folder`: `dist/image` in one that nimify wrote, else the folder itself.
pub fn layout_in(folder: &Path) -> PathBuf {
    let inside = folder.join("dist/image");
    if inside.join("oci-layout").is_file() { inside } else { folder.into() }
}

/// The repository that the image in `layout` calls itself by: its name without the tag.
pub fn repository_of(layout: &Path) -> Result<String, Error> {
    let opened = image::open_layout(layout)?;
    let name = opened.reference.ok_or_else(|| Error::Nameless(layout.into()))?;
    Ok(match name.rsplit_once(':') {
        Some((repository, tag)) if !tag.contains('/') => repository.into(),
        _ => name,
    })
}

/// Checks every byte of the image in `layout`, then who signed it, then the documents that lie beside it.
pub fn verify(layout: &Path, trusted: &TrustedKeys) -> Result<Verdict, Error> {
    let verdict = sign::verify_layout(layout, trusted)?;
    let beside = match (&verdict, layout.parent().filter(|_| layout.ends_with("dist/image"))) {
        (Verdict::Trusted { attested, .. }, Some(dist)) => documents::compare(dist, attested),
        _ => Vec::new(),
    };
    let packed = image::validate(layout).into_iter();
    let packed = packed.map(|fault| Fault { place: fault.place, what: fault.problem.to_string() });
    let verdict = verdict.and(packed.chain(beside));
    // A blob whose reading was broken off is no faulty one.
    crate::interrupt::check()?;
    Ok(verdict)
}

/// Signs the image in `layout` for `repository`, and attests the documents that lie beside it.
pub fn sign(layout: &Path, key: &SigningKey, repository: &str) -> Result<SignedLayout, Error> {
    let predicates = documents::beside(layout)?;
    let signed = sign::sign_layout(layout, key, repository)?;
    sign::attest_layout(layout, key, &predicates)?;
    Ok(signed)
}

/// The processor that the image is for: the config's, or this machine's.
pub(super) fn architecture(config: &Config) -> Result<Architecture, Error> {
    let host = Architecture::host().ok_or(Error::Architecture)?;
    Ok(match config.image.platform.as_ref().map(Platform::as_str) {
        Some("linux/amd64") => Architecture::Amd64,
        Some("linux/arm64") => Architecture::Arm64,
        _ => host,
    })
}

/// Why an image could not be packed: that libraries for another processor aren't here is a matter of the base.
pub(super) fn packing_failed(source: image::Error, architecture: Architecture) -> Error {
    match source {
        image::Error::MissingLibrary { .. } if Architecture::host() != Some(architecture) => {
            Error::ForeignBase { architecture, source }
        }
        source => Error::Image(source),
    }
}

/// The library for the image, where that is for another processor than this machine's. What a user names in
/// `NIMIFY_ONNXRUNTIME` is for this machine.
pub(super) fn foreign_onnxruntime(
    architecture: Architecture,
    cache: &Cache,
    offline: bool,
) -> Result<OnnxRuntime, Error> {
    let request = onnxruntime::Request::from_environment(architecture, cache, offline);
    Ok(onnxruntime::locate(&onnxruntime::Request { given: None, ..request })?)
}

/// Finds ONNX Runtime for the machine that this runs on.
pub fn locate_onnxruntime(cache: &Cache, offline: bool) -> Result<OnnxRuntime, Error> {
    let architecture = Architecture::host().ok_or(Error::Architecture)?;
    let request = onnxruntime::Request::from_environment(architecture, cache, offline);
    Ok(onnxruntime::locate(&request)?)
}

/// Reads a sample that the user gave.
pub fn read_sample(path: &Path) -> Result<String, Error> {
    let size = std::fs::metadata(path).map_err(files("read the sample", path))?.len();
    if size > LARGEST_SAMPLE {
        return Err(Error::SampleTooLarge { path: path.into(), size, limit: LARGEST_SAMPLE });
    }
    std::fs::read_to_string(path).map_err(files("read the sample", path))
}

/// The libraries of custom operators at these paths, for the image's processor: what they bring is tried on this machine.
pub fn operator_libraries(paths: &[PathBuf], architecture: Architecture) -> Result<Vec<OperatorLibrary>, Error> {
    if !paths.is_empty() && Architecture::host() != Some(architecture) {
        return Err(Error::ForeignOperators { architecture });
    }
    Ok(operators::operator_libraries(paths, architecture)?)
}

/// The libraries of custom operators that the config names.
pub(super) fn operators_of(config: &Config, folder: &Path) -> Result<Vec<OperatorLibrary>, Error> {
    let paths = config.engine.custom_ops.iter().map(|path| crate::files::plain(&folder.join(path)));
    operator_libraries(&paths.collect::<Vec<_>>(), architecture(config)?)
}

/// What the probe of a model is asked.
pub fn probe_request(
    description: &ModelDescription,
    onnxruntime: &Path,
    operators: &[OperatorLibrary],
    sample: Option<String>,
) -> Result<ProbeRequest, Error> {
    if let Some((what, spec)) = description.contents.unserved() {
        let (path, name, value_type) = (description.path.clone(), spec.name.clone(), spec.value_type.to_string());
        return Err(Error::Model(model::Error::Unserved { path, what, name, value_type }));
    }
    let executable = crate::confine::itself().map_err(files("find", Path::new("nimify's own executable")))?;
    let mut request = ProbeRequest::new(description, executable, onnxruntime.into());
    request.sample = sample;
    request.locales = locale_path(description)?;
    for library in operators {
        let path = std::path::absolute(&library.path).map_err(files("find", &library.path))?;
        request.custom_ops.push(path);
    }
    Ok(request)
}

/// What `LOCPATH` has to be for processes that load the model on this machine: the variable as it is, where that does.
pub fn locale_path(description: &ModelDescription) -> Result<Option<OsString>, Error> {
    let names = &description.contents.locales;
    let set = std::env::var_os("LOCPATH");
    if names.is_empty() {
        return Ok(set);
    }
    Ok(locale::search_path(names, set.as_deref(), &Cache::from_environment()?)?.or(set))
}

/// The time that everything in an image carries: `SOURCE_DATE_EPOCH`, or 0.
pub(super) fn source_date_epoch() -> Result<u64, Error> {
    match std::env::var("SOURCE_DATE_EPOCH") {
        Err(_) => Ok(0),
        Ok(text) => text.trim().parse().map_err(|_| Error::SourceDateEpoch(text)),
    }
}
