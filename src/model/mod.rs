//! ModelFile → [`ModelDescription`]: what a model takes, gives, needs and weighs, read from its file alone.
//!
//! ONNX, and ONNX Runtime's own format, are read over a memory map: nothing is loaded or run, weights are skipped, and hostile
//! files meet [`Limits`]. What only a run can tell (does it load, which rows may be joined) is the `probe` stage's. A
//! TensorRT engine says little of itself, and comes with an ONNX model that runs it: that is [`engine`]'s.
//!
//! ```text
//! path ─file→ bytes ─┬─wire, graph, onnx→ Model ─types, hints, batching, warnings→ Contents ─external→ ModelDescription
//!                    ├─flatbuffer, ort→ Contents
//!                    └─engine: header, beside→ Contents
//! ```

mod batching;
mod contents;
mod derived;
mod engine;
mod error;
mod external;
mod fault;
mod file;
mod flatbuffer;
mod foreign;
mod graph;
mod hints;
mod join;
mod labels;
mod limits;
mod locales;
mod message;
mod onnx;
mod opset;
mod ort;
mod report;
mod sides;
mod tensor;
#[cfg(test)]
mod testing;
#[cfg(test)]
mod tests;
mod types;
mod warnings;
mod wire;

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

pub use batching::{RowCoupling, verdict};
pub use contents::{Contents, read};
pub use derived::{Derived, DerivedFile};
pub use engine::{
    ComputeCapability, Declared, Engine, Header as EngineHeader, NotATensor, TensorRtVersion,
    header as read_engine_header, parse_tensor, tensor_text, wrap,
};
pub use error::Error;
pub use external::{ExternalFile, Reference};
pub use fault::Fault;
pub use file::EXTENSIONS;
pub use foreign::Foreign;
pub use hints::{Hint, MOST_VALUES};
pub use join::{JoinError, JoinRequest, JoinStep, MOST_STEPS, Wire, join, step_folder};
pub use limits::Limits;
pub use opset::ONNX_RUNTIME;
pub use ort::read as read_ort;
pub use report::text;
pub use sides::{SideFile, is_side_file, side_files};

use crate::digest::Digest;
use crate::files::RelativePath;

/// Everything that a model's files say. As JSON one flat object.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ModelDescription {
    /// The format of the file.
    pub format: Format,
    /// The model file's name, without folders.
    pub file_name: String,
    /// The file itself, for the stages that read it again. Never written out: it is the host's.
    #[serde(skip)]
    pub path: PathBuf,
    /// Bytes of the file.
    pub size: u64,
    /// Digest of the file.
    pub digest: Digest,
    /// Files beside it that hold weights, sorted by path.
    pub external_files: Vec<ExternalFile>,
    /// Files that stand with it in the folder that was given, sorted by name: configuration, tokenizer, labels.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub side_files: Vec<SideFile>,
    /// Why others of their names are left out, by name: a sentence each, which is among the warnings too.
    #[serde(skip)]
    pub left_out: BTreeMap<String, String>,
    /// The names of the classes, in order, as those files tell them.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub labels: Vec<String>,
    /// What a TensorRT engine has besides; `None` for a graph.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub engine: Option<Engine>,
    /// What the file says.
    #[serde(flatten)]
    pub contents: Contents,
}

impl ModelDescription {
    /// Leaves out the side files whose names don't fit, with what they told and what was to be said of them.
    pub fn retain_side_files(&mut self, wanted: impl Fn(&str) -> bool) {
        self.side_files.retain(|side| wanted(side.name.as_str()));
        self.left_out.retain(|name, why| {
            let wanted = wanted(name);
            self.contents.warnings.retain(|warning| wanted || warning != why);
            wanted
        });
        self.labels = sides::labels(&self.side_files);
    }

    /// Bytes of the model and of the files beside it.
    pub fn bytes(&self) -> u64 {
        self.external_files.iter().fold(self.size, |sum, file| sum.saturating_add(file.size))
    }

    /// Whether it is a compiled engine or runs one, which ONNX Runtime hands to the hardware's own library.
    pub fn holds_engine(&self) -> bool {
        self.engine.is_some() || self.contents.operators.contains_key("com.microsoft:EPContext")
    }

    /// Refuses an engine of which nobody says what it takes and gives.
    pub fn told(&self) -> Result<(), Error> {
        match &self.engine {
            Some(Engine { told_by: None, .. }) => Err(Error::Untold { path: self.path.clone() }),
            _ => Ok(()),
        }
    }

    /// What is told of the engine, to be told again.
    pub fn declared(&self) -> Option<Declared> {
        let engine = self.engine.as_ref()?;
        let signature = &self.contents.signature;
        Some(Declared {
            inputs: signature.inputs.clone(),
            outputs: signature.outputs.clone(),
            compute_capability: engine.compute_capability,
            max_batch_size: engine.max_batch_size,
        })
    }
}

/// A format that can be served.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Format {
    /// ONNX, as a protobuf.
    Onnx,
    /// ONNX Runtime's own format, a FlatBuffer: a graph that it has rewritten already.
    Ort,
    /// A TensorRT engine.
    TensorRt,
}

impl std::fmt::Display for Format {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Format::Onnx => "ONNX",
            Format::Ort => "ONNX Runtime's format",
            Format::TensorRt => "TensorRT engine",
        })
    }
}

/// Reads the model at `path`: an ONNX or ORT file, or a folder that holds exactly one.
///
/// Safe on hostile files: nothing is run, no file but the model and its external data is opened, and `limits` bound
/// memory and time. The file must not be cut short by others meanwhile: it is mapped.
///
/// # Errors
/// An [`Error`] that names the path and, inside the file, the byte or the tensor; [`Error::hint`] has the advice.
pub fn inspect(path: &Path, limits: &Limits) -> Result<ModelDescription, Error> {
    inspect_declared(path, limits, &Declared::default())
}

/// Reads the model at `path` as [`inspect`] does. What is `declared` counts where the model is a TensorRT engine, whose
/// file says neither what it takes nor what it gives.
///
/// # Errors
/// Those of [`inspect`].
pub fn inspect_declared(path: &Path, limits: &Limits, declared: &Declared) -> Result<ModelDescription, Error> {
    let (asked, path) = (path, file::locate(path)?);
    let MappedFile(map) = self::map(&path)?;
    let file_name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
    let size = map.len() as u64;
    let (format, engine, mut contents) = if engine::is_engine(&map) {
        let (engine, contents) = engine::describe(&path, &map, size, declared)?;
        (Format::TensorRt, Some(engine), contents)
    } else {
        let (format, contents) = graph_of(&path, &map, limits)?;
        (format, None, contents)
    };
    let external_files = external::resolve(&path, &contents.external, limits)?;
    let mut sides = match asked.is_dir() {
        true => sides::find(asked, &path).map_err(|error| Error::reading(asked, error))?,
        // Beside a file that was named may stand anything.
        false => Default::default(),
    };
    // What the model keeps its weights in is its own, whatever it is called.
    sides.files.retain(|side| external_files.iter().all(|file| file.path != side.name));
    contents.warnings.extend(sides.left_out.values().cloned());
    let labels = sides::labels(&sides.files);
    Ok(ModelDescription {
        format,
        file_name,
        path,
        size,
        digest: Digest::of(&map),
        external_files,
        side_files: sides.files,
        left_out: sides.left_out,
        labels,
        engine,
        contents,
    })
}

/// What a file says that is no engine.
fn graph_of(path: &Path, map: &[u8], limits: &Limits) -> Result<(Format, Contents), Error> {
    if let Some(format) = foreign::recognise(&map[..map.len().min(foreign::HEAD)]) {
        return Err(Error::Foreign { path: path.into(), format });
    }
    let size = map.len() as u64;
    if size > limits.file_bytes {
        return Err(Error::TooLarge { path: path.into(), size, limit: limits.file_bytes });
    }
    let format = if ort::is_ort(map) { Format::Ort } else { Format::Onnx };
    let contents = match format {
        Format::Ort => ort::read(map, limits),
        _ => read(map, limits),
    };
    let contents = contents.map_err(|fault| match (&fault, foreign::by_name(path)) {
        (Fault::NotOnnx(_), Some(format)) => Error::Foreign { path: path.into(), format },
        _ => Error::Contents { path: path.into(), fault },
    })?;
    Ok((format, contents))
}

/// A file's bytes, which stay in the file.
#[derive(Debug)]
pub struct MappedFile(memmap2::Mmap);

impl MappedFile {
    /// The bytes.
    pub fn bytes(&self) -> &[u8] {
        &self.0
    }
}

/// Maps the model file at `path`.
///
/// # Errors
/// It is no regular file with something in it, or can't be read.
pub fn map(path: &Path) -> Result<MappedFile, Error> {
    let open = file::open(path).map_err(|error| match error {
        file::CannotOpen::NotRegular(kind) => Error::NotRegular { path: path.into(), kind },
        file::CannotOpen::Io(source) => Error::reading(path, source),
    })?;
    if open.size == 0 {
        return Err(Error::Empty { path: path.into() });
    }
    file::map(&open).map(MappedFile).map_err(|source| Error::reading(path, source))
}

/// The files that the model at `path` needs beside itself, by its own word: those that are yet to be fetched. None where
/// it is no model; [`inspect`] says why.
pub fn needed(path: &Path, limits: &Limits) -> Vec<RelativePath> {
    let mapped = file::open(path).ok().filter(|open| open.size > 0).and_then(|open| file::map(&open).ok());
    let contents = mapped.and_then(|map| read(&map, limits).ok());
    let external = contents.map(|contents| contents.external).unwrap_or_default();
    external.into_iter().map(|reference| reference.location).collect::<BTreeSet<_>>().into_iter().collect()
}
