//! The steps of an ensemble → one ONNX model in the cache, by the digests of all files that took part.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::BufWriter;
use std::path::{Path, PathBuf};

use nimify_runtime::signature::{Dim, ModelSignature, ValueSpec};

use super::Ensemble;
use crate::cache::Cache;
use crate::digest::Digest;
use crate::files::RelativePath;
use crate::model::{self, Format, JoinRequest, JoinStep, Limits, ModelDescription, step_folder};
use crate::source::Error;
use crate::source::content::{self, ModelFiles};
use crate::source::error::files;
use crate::triton::{CONFIG, ModelConfig, TensorConfig};

impl Ensemble {
    /// The joined model: from the cache, or made of the steps as they are now.
    pub(in crate::source) fn fetch(&self, source_name: &str, cache: &Cache) -> Result<PathBuf, Error> {
        let wrong = |reason: String| Error::NotAModel { source_name: source_name.into(), reason };
        let mut steps = Vec::new();
        for step in &self.steps {
            let of = |why: String| wrong(format!("is an ensemble whose step `{}` can't be joined: {why}", step.model));
            let read = model::inspect(&step.file, &Limits::default()).map_err(|error| of(error.to_string()))?;
            if read.format != Format::Onnx {
                return Err(of(format!("it is a {}", read.format)));
            }
            steps.push(read);
        }
        let parts = self.parts(&steps)?;
        let mut key = format!("joined by nimify {}\n", env!("CARGO_PKG_VERSION"));
        parts.iter().for_each(|(path, digest)| key += &format!("{digest} {path}\n"));
        let folder = cache.take("models", &Digest::of(&key), content::whole, |entry| {
            let mut model = ModelFiles::begin(entry)?;
            self.join(&steps, &parts, entry, &mut model, &wrong)?;
            content::write_listing(entry, &model.listing()?)
        })?;
        Ok(folder.join(JOINED))
    }

    /// Every file that takes part, by its path in the repository.
    fn parts(&self, steps: &[ModelDescription]) -> Result<BTreeMap<String, Digest>, Error> {
        let mut parts = BTreeMap::new();
        let name = |path: &Path| {
            let whole = path.canonicalize().map_err(files("find", path))?;
            let below = whole.strip_prefix(&self.repository).unwrap_or(Path::new(path.file_name().unwrap_or_default()));
            Ok::<String, Error>(below.to_string_lossy().into_owned())
        };
        for path in &self.configs {
            let (digest, _) = Digest::of_file(path).map_err(files("read", path))?;
            parts.insert(name(path)?, digest);
        }
        for step in steps {
            let own = name(&step.path)?;
            let folder = own.rsplit_once('/').map_or(String::new(), |(folder, _)| format!("{folder}/"));
            let beside =
                step.external_files.iter().map(|file| (format!("{folder}{}", file.path.as_str()), file.digest));
            parts.extend(beside);
            parts.insert(own, step.digest);
        }
        Ok(parts)
    }

    fn join(
        &self,
        steps: &[ModelDescription],
        parts: &BTreeMap<String, Digest>,
        entry: &Path,
        whole: &mut ModelFiles,
        wrong: &dyn Fn(String) -> Error,
    ) -> Result<(), Error> {
        let maps: Vec<model::MappedFile> = steps
            .iter()
            .map(|step| model::map(&step.path))
            .collect::<Result<_, _>>()
            .map_err(|error| wrong(error.to_string()))?;
        let request = JoinRequest {
            name: self.name.clone(),
            steps: self
                .steps
                .iter()
                .zip(&maps)
                .map(|(step, map)| JoinStep {
                    name: step.model.clone(),
                    bytes: map.bytes(),
                    inputs: step.inputs.clone(),
                    outputs: step.outputs.clone(),
                })
                .collect(),
            inputs: self.config.inputs.iter().map(|input| input.name.clone()).collect(),
            outputs: self.config.outputs.iter().map(|output| output.name.clone()).collect(),
            metadata: parts.iter().map(|(path, digest)| (format!("joined from {path}"), digest.to_string())).collect(),
        };
        let part = entry.join("joined");
        let mut file = BufWriter::new(File::create(&part).map_err(files("write", &part))?);
        model::join(&request, &Limits::default(), &mut file)
            .map_err(|error| wrong(format!("is an ensemble that can't be joined: {error}")))?;
        drop(file.into_inner().map_err(|error| files("write", &part)(error.into_error()))?);
        let source_name = "the joined model";
        let joined = relative(JOINED);
        whole.take(&joined, &part).map_err(|unfit| unfit.of(source_name, &part))?;
        for (at, step) in steps.iter().enumerate() {
            let folder = step.path.parent().unwrap_or(Path::new("."));
            for file in &step.external_files {
                let from = folder.join(&file.path);
                let to = relative(&format!("{}/{}", step_folder(at), file.path.as_str()));
                let open = File::open(&from).map_err(files("read", &from))?;
                whole.write(&to, open).map_err(|unfit| unfit.of(source_name, &from))?;
            }
        }
        let read =
            model::inspect(&whole.path(&joined), &Limits::default()).map_err(|error| wrong(error.to_string()))?;
        check_declared(&self.config, &read.contents.signature).map_err(wrong)
    }
}

/// What the joined model is called.
const JOINED: &str = "model.onnx";

fn relative(path: &str) -> RelativePath {
    path.parse().expect("it is made of names that are paths")
}

/// Refuses an ensemble whose configuration says other types and sizes than its steps have.
fn check_declared(config: &ModelConfig, signature: &ModelSignature) -> Result<(), String> {
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
