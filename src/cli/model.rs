//! The model that a command names: brought here, and read.

use std::path::{Path, PathBuf};

use crate::cache::Cache;
use crate::config::TensorRt;
use crate::image::Architecture;
use crate::image::operators::OperatorLibrary;
use crate::model::{self, Limits, ModelDescription};
use crate::pipeline;
use crate::source::{self, FetchRequest, Fetched, OpLibrary, Source, TritonModel};

use super::exit::Exit;
use super::failure::Failure;
use super::push::Bar;

/// The libraries of custom operators that a command names, which this machine has to be able to run.
pub(super) fn operators(paths: &[PathBuf]) -> Result<Vec<OperatorLibrary>, Failure> {
    let host = Architecture::host().ok_or(pipeline::Error::Architecture)?;
    Ok(pipeline::operator_libraries(paths, host)?)
}

/// The model, which is fetched with a bar on a terminal where it isn't here.
pub(super) fn fetch(source: &Source, offline: bool, plain_http: bool, quiet: bool) -> Result<Fetched, Failure> {
    if let Some(path) = source.path() {
        return Ok(Fetched { path: path.into(), pinned: None });
    }
    let cache = Cache::from_environment()?;
    let bar = Bar::new("fetching", quiet);
    let fetched = source::fetch(&FetchRequest { source, locked: None, offline, plain_http }, &cache, &bar);
    bar.0.finish_and_clear();
    Ok(fetched?)
}

/// What Triton's configuration says, where the model is in a model repository of Triton's; what it would serve besides
/// is said.
pub(super) fn triton(source: &Source) -> Result<Option<TritonModel>, Failure> {
    let Source::Triton { folder, version } = source else { return Ok(None) };
    let found = source::triton_model(folder, *version)?;
    if !found.others.is_empty() {
        let others: Vec<String> = found.others.iter().map(u64::to_string).collect();
        eprintln!(
            "warning: Triton would serve the versions {} beside {}: a service is one version, and `triton://{}@VERSION` \
             names another",
            others.join(", "),
            found.version,
            folder.display()
        );
    }
    Ok(Some(found))
}

/// The libraries of operators: those that flags name, else those that Triton's configuration does, and what is to be said
/// of these. `engine` where the model is a TensorRT engine.
pub(super) fn named_operators(
    flags: &[PathBuf],
    triton: Option<&TritonModel>,
    engine: bool,
) -> (Vec<PathBuf>, Vec<String>) {
    let named = triton.map(|triton| triton.op_libraries.as_slice()).filter(|_| flags.is_empty());
    let (mut paths, mut said) = (flags.to_vec(), Vec::new());
    for OpLibrary { named, found } in named.unwrap_or_default() {
        let word = format!("`model_operations.op_library_filename` `{named}`");
        said.push(match found {
            // Triton loads it into TensorRT.
            _ if engine => format!("{word} is not taken over: it has operators of TensorRT's, not of ONNX Runtime's"),
            Ok(path) => {
                paths.push(path.clone());
                format!("{word} is native code, which runs with the model: trust it as you would a program")
            }
            Err(why) => format!("{word} {why}: give it with `--custom-ops`"),
        });
    }
    (paths, said)
}

/// Says what of Triton's configuration couldn't be taken over, or should be known of it.
pub(super) fn warn(of_config: &[String]) {
    of_config.iter().for_each(|what| eprintln!("warning: of `{}`: {what}", crate::triton::CONFIG));
}

/// Reads the model at `path`, with what is said of it where it is a TensorRT engine.
pub(super) fn read(path: &Path, told: &TensorRt) -> Result<ModelDescription, Failure> {
    let description = model::inspect_declared(path, &Limits::default(), &told.declared())?;
    if description.engine.is_none() && *told != TensorRt::default() {
        let file = &description.file_name;
        return Err(Failure::say(
            Exit::Usage,
            format!("`{file}` is no TensorRT engine: it says itself what it takes and gives"),
        )
        .hint("leave out `--tensorrt-input`, `--tensorrt-output` and `--compute-capability`".to_string()));
    }
    Ok(description)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::source::TritonFiles;
    use crate::triton::ModelConfig;

    #[test]
    fn flags_count_before_what_a_config_names_and_an_engine_takes_none() {
        let library = |named: &str, found| OpLibrary { named: named.into(), found };
        let triton = TritonModel {
            files: TritonFiles::One("m/1/model.onnx".into()),
            name: "m".into(),
            version: 1,
            others: Vec::new(),
            config: ModelConfig::default(),
            op_libraries: vec![library("a.so", Ok("m/a.so".into())), library("b.so", Err("is nowhere".into()))],
        };
        let (paths, said) = named_operators(&[], Some(&triton), false);
        assert_eq!(paths, [Path::new("m/a.so")]);
        assert!(
            said[0].contains("`a.so` is native code")
                && said[1].ends_with("`b.so` is nowhere: give it with `--custom-ops`")
        );
        let (paths, said) = named_operators(&[], Some(&triton), true);
        assert!(paths.is_empty());
        assert!(said.iter().all(|said| said.contains("is not taken over")) && said.len() == 2);
        assert_eq!(named_operators(&["own.so".into()], Some(&triton), false), (vec!["own.so".into()], vec![]));
    }
}
