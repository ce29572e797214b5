//! What the files beside an engine say of it: `signature.json`, or Triton's `config.pbtxt`.

use std::fs::File;
use std::io::{ErrorKind, Read};
use std::path::Path;

use nimify_runtime::signature::ModelSignature;

use super::declared::Declared;
use crate::model::error::Error;
use crate::model::file;
use crate::triton;

/// nimify's own file of inputs and outputs.
const SIGNATURE: &str = "signature.json";

/// What is said, and by which file. In a version's folder, as Triton has them, the configuration is one further up.
pub(super) fn find(engine: &Path) -> Result<Option<(String, Declared)>, Error> {
    let folder = file::folder(engine);
    if let Some(text) = text(&folder.join(SIGNATURE))? {
        let wrong = |what: String| Error::Beside { path: folder.join(SIGNATURE), what };
        let signature: ModelSignature = serde_json::from_str(&text).map_err(|error| wrong(error.to_string()))?;
        let ModelSignature { inputs, outputs, .. } = signature;
        if inputs.is_empty() || outputs.is_empty() || inputs.iter().chain(&outputs).any(|spec| spec.tensor().is_none())
        {
            return Err(wrong("it should have `inputs` and `outputs`, tensors all of them".into()));
        }
        return Ok(Some((SIGNATURE.into(), Declared { inputs, outputs, ..Declared::default() })));
    }
    let version = folder.canonicalize().ok();
    let numbered = |folder: &Path| {
        folder.file_name().and_then(|name| name.to_str()).is_some_and(|name| name.bytes().all(|c| c.is_ascii_digit()))
    };
    let above = version.as_deref().filter(|folder| numbered(folder)).and_then(Path::parent);
    for folder in [Some(folder), above].into_iter().flatten() {
        let path = folder.join(triton::CONFIG);
        if let Some(text) = self::text(&path)? {
            return from_triton(engine, &text).map(Some).map_err(|what| Error::Beside { path, what });
        }
    }
    Ok(None)
}

/// What Triton's configuration says of the engine.
fn from_triton(engine: &Path, text: &str) -> Result<(String, Declared), String> {
    let config = triton::read(text).map_err(|fault| fault.to_string())?;
    let (inputs, outputs) = config.tensors().map_err(|unfit| unfit.to_string())?;
    let name = engine.file_name().unwrap_or_default().to_string_lossy();
    // Several may name one file: then it says nothing of one GPU.
    let mut named = config.cc_model_filenames.iter().filter(|(_, file)| **file == name);
    let compute_capability = match (named.next(), named.next()) {
        (Some((capability, _)), None) => Some(capability.parse()?),
        _ => None,
    };
    let max_batch_size = Some(config.max_batch_size).filter(|rows| *rows > 0);
    Ok((triton::CONFIG.into(), Declared { inputs, outputs, compute_capability, max_batch_size }))
}

/// A text of a size that such a file may have; `None` where there is no file.
fn text(path: &Path) -> Result<Option<String>, Error> {
    let failed = |source| Error::reading(path, source);
    let file = match File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(failed(error)),
    };
    let mut text = String::new();
    file.take(triton::LARGEST as u64 + 1).read_to_string(&mut text).map_err(failed)?;
    if text.len() > triton::LARGEST {
        return Err(Error::Beside { path: path.into(), what: format!("it has more than {} bytes", triton::LARGEST) });
    }
    Ok(Some(text))
}
