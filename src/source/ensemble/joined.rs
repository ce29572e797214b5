//! The steps of an ensemble → one ONNX model in the cache, by the digests of all files that took part.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::BufWriter;
use std::path::{Path, PathBuf};

use nimify_runtime::signature::{Dim, ModelSignature, ValueSpec};

use super::{Ensemble, Step, of_step};
use crate::cache::Cache;
use crate::digest::Digest;
use crate::files::RelativePath;
use crate::model::{self, ExternalFile, Format, JoinRequest, JoinStep, Limits, step_folder};
use crate::source::Error;
use crate::source::content::{self, ModelFiles};
use crate::source::error::files;
use crate::triton::{CONFIG, ModelConfig, TensorConfig};

/// Told in what a joined model is known by: another number for each change of what comes of the same files.
const REVISION: u32 = 2;

/// A model file that is a step, or several.
struct Part {
    path: PathBuf,
    digest: Digest,
    external: Vec<ExternalFile>,
}

/// The files of the steps, each once, and the steps that each is.
struct Parts {
    models: Vec<Part>,
    /// By step the place of its model.
    steps: Vec<usize>,
    /// The digest of every file that takes part, by its path in the repository.
    digests: BTreeMap<String, Digest>,
}

impl Parts {
    fn of_steps(&self) -> impl Iterator<Item = &Part> {
        self.steps.iter().map(|at| &self.models[*at])
    }
}

impl Ensemble {
    /// The joined model: from the cache, or made of the steps as they are now.
    pub(in crate::source) fn fetch(&self, source_name: &str, cache: &Cache) -> Result<PathBuf, Error> {
        let wrong = |reason: String| Error::NotAModel { source_name: source_name.into(), reason };
        let parts = self.parts_of(&wrong)?;
        let folder = cache.take("models", &self.key(&parts), content::whole, |entry| {
            let mut model = ModelFiles::begin(entry)?;
            self.join(&parts, entry, &mut model, &wrong)?;
            content::write_listing(entry, &model.listing()?)
        })?;
        Ok(folder.join(JOINED))
    }

    /// What the joined model is known by: all that it is made of, and how.
    fn key(&self, parts: &Parts) -> Digest {
        let mut key = format!("joined by nimify {}, {REVISION}\n", env!("CARGO_PKG_VERSION"));
        // A path may have any characters, and none of them ends it.
        parts.digests.iter().for_each(|(path, digest)| key += &format!("{digest} {path:?}\n"));
        for (at, part) in parts.of_steps().enumerate() {
            key += &format!("step {at} {} {:?}\n", part.digest, self.place(&part.path));
        }
        Digest::of(&key)
    }

    /// A file's path as it stands in the repository, wherever links lead from there.
    fn place(&self, path: &Path) -> String {
        path.strip_prefix(&self.repository).unwrap_or(path).to_string_lossy().into_owned()
    }

    fn parts_of(&self, wrong: &dyn Fn(String) -> Error) -> Result<Parts, Error> {
        let mut parts = Parts { models: Vec::new(), steps: Vec::new(), digests: BTreeMap::new() };
        for path in &self.configs {
            let (digest, _) = Digest::of_file(path).map_err(files("read", path))?;
            parts.digests.insert(self.place(path), digest);
        }
        let mut known: BTreeMap<&Path, usize> = BTreeMap::new();
        for step in &self.steps {
            let at = *known.entry(&step.file).or_insert(parts.models.len());
            parts.steps.push(at);
            if at < parts.models.len() {
                continue;
            }
            let part = self.part(step, wrong)?;
            let folder = part.path.parent().unwrap_or(&self.repository);
            let beside = part.external.iter().map(|file| (self.place(&folder.join(&file.path)), file.digest));
            parts.digests.extend(beside);
            parts.digests.insert(self.place(&part.path), part.digest);
            parts.models.push(part);
        }
        Ok(parts)
    }

    fn part(&self, step: &Step, wrong: &dyn Fn(String) -> Error) -> Result<Part, Error> {
        let of = |why: String| wrong(of_step(&step.model, &format!("can't be joined: {why}")));
        let read = model::inspect(&step.file, &Limits::default()).map_err(|error| of(error.to_string()))?;
        if read.format != Format::Onnx {
            return Err(of(format!("it is a {}", read.format)));
        }
        // Where the model is a folder, only now it is known which file of it is the model.
        if !read.path.canonicalize().map_err(files("find", &read.path))?.starts_with(&self.repository) {
            return Err(of("it has a file that leads out of the model repository".into()));
        }
        Ok(Part { path: read.path, digest: read.digest, external: read.external_files })
    }

    fn join(
        &self,
        parts: &Parts,
        entry: &Path,
        whole: &mut ModelFiles,
        wrong: &dyn Fn(String) -> Error,
    ) -> Result<(), Error> {
        let maps: Vec<model::MappedFile> = parts
            .models
            .iter()
            .map(|part| model::map(&part.path))
            .collect::<Result<_, _>>()
            .map_err(|error| wrong(error.to_string()))?;
        let step = |(step, at): (&Step, &usize)| JoinStep {
            name: step.model.clone(),
            bytes: maps[*at].bytes(),
            inputs: step.inputs.clone(),
            outputs: step.outputs.clone(),
        };
        let digests = parts.digests.iter();
        let request = JoinRequest {
            name: self.name.clone(),
            steps: self.steps.iter().zip(&parts.steps).map(step).collect(),
            inputs: self.config.inputs.iter().map(|input| input.name.clone()).collect(),
            outputs: self.config.outputs.iter().map(|output| output.name.clone()).collect(),
            metadata: digests.map(|(path, digest)| (format!("joined from {path}"), digest.to_string())).collect(),
        };
        let part = entry.join("joined");
        let mut file = BufWriter::new(File::create(&part).map_err(files("write", &part))?);
        model::join(&request, &Limits::default(), &mut file)
            .map_err(|error| wrong(format!("is an ensemble that can't be joined: {error}")))?;
        drop(file.into_inner().map_err(|error| files("write", &part)(error.into_error()))?);
        let source_name = "the joined model";
        let joined = relative(JOINED);
        whole.take(&joined, &part).map_err(|unfit| unfit.of(source_name, &part))?;
        for (at, part) in parts.of_steps().enumerate() {
            let folder = part.path.parent().unwrap_or(&self.repository);
            for file in &part.external {
                let from = folder.join(&file.path);
                let to = relative(&format!("{}/{}", step_folder(at), file.path.as_str()));
                let open = File::open(&from).map_err(files("read", &from))?;
                whole.write(&to, open).map_err(|unfit| unfit.of(source_name, &from))?;
            }
        }
        let path = whole.path(&joined);
        let read = model::inspect(&path, &Limits::default())
            .map_err(|error| wrong(format!("is an ensemble that can't be joined: {}", of_joined(&error, &path))))?;
        check_declared(&self.config, &read.contents.signature).map_err(wrong)
    }
}

/// What is wrong with the joined model at `path`: by the time that this is read, the folder in which it was made is gone.
pub(super) fn of_joined(error: &model::Error, path: &Path) -> String {
    error.to_string().replace(&format!("`{}`", path.display()), "the joined model")
}

/// What the joined model is called.
const JOINED: &str = "model.onnx";

fn relative(path: &str) -> RelativePath {
    path.parse().expect("it is made of names that are paths")
}

/// Refuses an ensemble whose configuration says other types and sizes than its steps have.
pub(super) fn check_declared(config: &ModelConfig, signature: &ModelSignature) -> Result<(), String> {
    let rows = usize::from(config.max_batch_size > 0);
    let check = |kind: &str, told: &TensorConfig, specs: &[ValueSpec]| {
        let spec = specs.iter().find(|spec| spec.name == told.name);
        let Some((element_type, shape)) = spec.and_then(ValueSpec::tensor) else { return Ok(()) };
        let wrong = |says: String, is: String| {
            Err(format!(
                "is an ensemble whose `{CONFIG}` says that its {kind} `{}` is {says}, and its steps have {is}",
                told.name
            ))
        };
        if let Some(says) = told.element_type.filter(|says| *says != element_type) {
            return wrong(says.to_string(), element_type.to_string());
        }
        let Some(dims) = shape.dims() else { return Ok(()) };
        if let Some(Dim::Fixed(size)) = dims.first().filter(|_| rows > 0 && dims.len() == told.dims.len() + rows) {
            return Err(format!(
                "is an ensemble whose `{CONFIG}` says that it takes {} rows at once (`max_batch_size`), and of its {kind} \
                 `{}` its steps have {shape}, always {size}: leave out `max_batch_size`, or export the steps with a free \
                 first size",
                config.max_batch_size, told.name
            ));
        }
        let clash =
            |(says, is): (&i64, &Dim)| matches!(is, Dim::Fixed(is) if *says >= 0 && says.cast_unsigned() != *is);
        let differ =
            dims.len() != told.dims.len() + rows || told.dims.iter().zip(&dims[rows.min(dims.len())..]).any(clash);
        let batch = if rows > 0 { " beside the rows" } else { "" };
        if differ { wrong(format!("{:?}{batch}", told.dims), shape.to_string()) } else { Ok(()) }
    };
    config.inputs.iter().try_for_each(|told| check("input", told, &signature.inputs))?;
    config.outputs.iter().try_for_each(|told| check("output", told, &signature.outputs))
}
