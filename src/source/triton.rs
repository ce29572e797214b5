//! A model in a model repository of Triton's on this machine → its file, and what its `config.pbtxt` says.
//!
//! A repository is a folder of models, each a folder of versions by their numbers with a configuration beside them.
//! Nothing is copied: the files are here.

use std::ffi::OsString;
use std::fs;
use std::path::{Component, Path, PathBuf};

use super::Error;
use super::ensemble::{self, Ensemble};
use super::error::files;
use crate::files::RelativePath;
use crate::triton::{self, ModelConfig, VersionPolicy};

/// A version of a model that Triton would serve.
#[derive(Debug, Clone, PartialEq)]
pub struct TritonModel {
    /// What is served.
    pub files: TritonFiles,
    /// Its name: the configuration's, or the folder's.
    pub name: String,
    /// Its version.
    pub version: u64,
    /// Further versions that Triton would serve beside it.
    pub others: Vec<u64>,
    /// What its configuration says; nothing where there is none.
    pub config: ModelConfig,
    /// The libraries of operators that it names.
    pub op_libraries: Vec<OpLibrary>,
}

/// What of a model repository is served.
#[derive(Debug, Clone, PartialEq)]
pub enum TritonFiles {
    /// The model's file, or the folder that holds it with its weights.
    One(PathBuf),
    /// Several models, to be joined.
    Steps(Box<Ensemble>),
}

/// Why there is nothing to serve.
#[derive(Debug)]
pub(super) enum Refusal {
    /// The system refused something.
    Files(Error),
    /// What is there, as the rest of a sentence.
    Model(String),
}

impl From<Error> for Refusal {
    fn from(error: Error) -> Self {
        Refusal::Files(error)
    }
}

/// A library with operators of a model's own.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OpLibrary {
    /// What the configuration calls it.
    pub named: String,
    /// Where it is, or why there is none to take, as the rest of a sentence.
    pub found: Result<PathBuf, String>,
}

/// Most entries of a folder that are looked at.
const MOST_ENTRIES: usize = 10_000;
/// Most names that a message lists.
const NAMED: usize = 10;

/// Finds the model in the folder `place`, or in the one model of the repository `place`: of the `version` asked for, or of
/// the newest that its policy serves.
pub fn triton_model(place: &Path, version: Option<u64>) -> Result<TritonModel, Error> {
    let wrong = |reason: String| Error::NotAModel { source_name: format!("triton://{}", place.display()), reason };
    let folder = model_folder(place)?.map_err(wrong)?;
    let config = config(&folder)?.map_err(wrong)?;
    let folder_name = folder.file_name().unwrap_or_default().to_string_lossy().into_owned();
    let name = config.name.clone().filter(|name| !name.is_empty()).unwrap_or(folder_name);
    let there = versions(&folder)?;
    if config.ensemble.is_some() {
        let taken = ensemble::take_apart(&folder, &name, &config).map_err(|refusal| match refusal {
            Refusal::Files(error) => error,
            Refusal::Model(reason) => wrong(reason),
        })?;
        // The folder of its version is empty, and git keeps none that is.
        let there = if there.is_empty() { vec![1] } else { there };
        let (version, others) = choose(&there, &config.version_policy, version).map_err(wrong)?;
        let (config, op_libraries) = (taken.settings(), taken.libraries());
        return Ok(TritonModel {
            files: TritonFiles::Steps(Box::new(taken)),
            name,
            version,
            others,
            config,
            op_libraries,
        });
    }
    let backend = backend(&config).map_err(wrong)?;
    let (version, others) = choose(&there, &config.version_policy, version).map_err(wrong)?;
    let of_version = folder.join(version.to_string());
    let path = model_file(&of_version, &config, backend).map_err(wrong)?;
    let op_libraries = op_libraries(&config, &folder, &of_version);
    Ok(TritonModel { files: TritonFiles::One(path), name, version, others, config, op_libraries })
}

/// The names in a folder that folders have, sorted.
fn folders(folder: &Path) -> Result<Vec<String>, Error> {
    let entries = fs::read_dir(folder).map_err(files("list", folder))?.take(MOST_ENTRIES);
    let names = entries.flatten().filter(|entry| entry.path().is_dir()).map(|entry| entry.file_name());
    let mut names: Vec<String> = names.filter_map(|name| name.into_string().ok()).collect();
    names.sort();
    Ok(names)
}

/// The versions in a model's folder: Triton takes numbers that don't begin with 0.
pub(super) fn versions(folder: &Path) -> Result<Vec<u64>, Error> {
    let number = |name: String| name.parse().ok().filter(|number: &u64| number.to_string() == name && *number > 0);
    let mut versions: Vec<u64> = folders(folder)?.into_iter().filter_map(number).collect();
    versions.sort_unstable();
    Ok(versions)
}

fn is_model(folder: &Path) -> Result<bool, Error> {
    Ok(folder.join(triton::CONFIG).is_file() || !versions(folder)?.is_empty())
}

/// The model's folder: `place` itself, or the one in it.
fn model_folder(place: &Path) -> Result<Result<PathBuf, String>, Error> {
    if !place.is_dir() {
        return Ok(Err("is no folder: give a model's folder in a model repository".into()));
    }
    if is_model(place)? {
        return Ok(Ok(place.into()));
    }
    let mut models = Vec::new();
    for name in folders(place)? {
        if is_model(&place.join(&name))? {
            models.push(name);
        }
    }
    Ok(match models.as_slice() {
        [] => Err(format!("holds no model: neither `{}` nor a folder named by a version is in it", triton::CONFIG)),
        [one] => Ok(place.join(one)),
        several => {
            let names: Vec<_> = several.iter().take(NAMED).map(|name| format!("`{name}`")).collect();
            let more = if several.len() > NAMED { " and others" } else { "" };
            let first = place.join(&several[0]);
            Err(format!("holds the models {}{more}: name one, as in `triton://{}`", names.join(", "), first.display()))
        }
    })
}

/// The repository that a model's folder stands in, resolved, and what the folder is called there. The folder itself may be
/// a link that leads elsewhere.
pub(super) fn repository(folder: &Path) -> std::io::Result<(PathBuf, OsString)> {
    let mut whole = std::path::absolute(folder)?;
    if whole.file_name().is_none() {
        // It ends in `..`.
        whole = whole.canonicalize()?;
    }
    let name = whole.file_name().unwrap_or_default().to_os_string();
    Ok((whole.parent().unwrap_or(&whole).canonicalize()?, name))
}

pub(super) fn config(folder: &Path) -> Result<Result<ModelConfig, String>, Error> {
    let path = folder.join(triton::CONFIG);
    let size = match fs::metadata(&path) {
        Ok(metadata) => metadata.len(),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Ok(ModelConfig::default())),
        Err(error) => return Err(files("read", &path)(error)),
    };
    if size > triton::LARGEST as u64 {
        return Ok(Err(format!("has a `{}` of {size} bytes: that is none", triton::CONFIG)));
    }
    let text = fs::read_to_string(&path).map_err(files("read", &path))?;
    Ok(triton::read(&text).map_err(|fault| format!("has a `{}` that can't be read: {fault}", triton::CONFIG)))
}

/// What runs a model, as far as nimify can.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Backend {
    OnnxRuntime,
    TensorRt,
    /// The configuration leaves it to the file's name.
    Unsaid,
}

pub(super) fn backend(config: &ModelConfig) -> Result<Backend, String> {
    let said = [&config.backend, &config.platform].into_iter().flatten().find(|word| !word.is_empty());
    match said.map(String::as_str) {
        None => Ok(Backend::Unsaid),
        Some("onnxruntime" | "onnxruntime_onnx") => Ok(Backend::OnnxRuntime),
        Some("tensorrt" | "tensorrt_plan") => Ok(Backend::TensorRt),
        Some(other) => Err(format!(
            "is run by `{other}`, and nimify serves ONNX models and TensorRT engines: export the model to ONNX first"
        )),
    }
}

/// The version to serve, and those that Triton would serve besides.
pub(super) fn choose(there: &[u64], policy: &VersionPolicy, asked: Option<u64>) -> Result<(u64, Vec<u64>), String> {
    let list = |versions: &[u64]| versions.iter().map(u64::to_string).collect::<Vec<_>>().join(", ");
    if let Some(asked) = asked {
        return match there.contains(&asked) {
            true => Ok((asked, Vec::new())),
            false => Err(format!("has no version {asked}: there are {}", list(there))),
        };
    }
    let mut served: Vec<u64> = match policy {
        VersionPolicy::All => there.to_vec(),
        VersionPolicy::Latest(count) => there[there.len().saturating_sub(*count as usize)..].to_vec(),
        VersionPolicy::Specific(versions) => there.iter().copied().filter(|there| versions.contains(there)).collect(),
    };
    match served.pop() {
        Some(newest) => Ok((newest, served)),
        None if there.is_empty() => Err("has no folder of a version, such as `1`".into()),
        None => Err(format!("has the versions {}, and its `version_policy` serves none of them", list(there))),
    }
}

pub(super) fn model_file(folder: &Path, config: &ModelConfig, backend: Backend) -> Result<PathBuf, String> {
    let by_gpu: std::collections::BTreeSet<&String> = config.cc_model_filenames.values().collect();
    let named = match (&config.default_model_filename, by_gpu.len()) {
        (Some(name), _) if !name.is_empty() => vec![name.as_str()],
        (_, 1) => by_gpu.iter().map(|name| name.as_str()).collect(),
        (_, 0) => match backend {
            Backend::OnnxRuntime => vec!["model.onnx"],
            Backend::TensorRt => vec!["model.plan"],
            Backend::Unsaid => vec!["model.onnx", "model.plan"],
        },
        _ => {
            let files: Vec<_> =
                config.cc_model_filenames.iter().map(|(gpu, file)| format!("{gpu}: `{file}`")).collect();
            let first = folder.join(by_gpu.first().map_or("", |name| name.as_str()));
            let files = files.join(", ");
            return Err(format!(
                "has a file for each of several GPUs ({files}): name one, as in `{}`",
                first.display()
            ));
        }
    };
    for name in &named {
        let name: RelativePath =
            name.parse().map_err(|_| format!("names the file `{name}`, which leads out of its folder"))?;
        let path = folder.join(&name);
        if path.exists() {
            return Ok(path);
        }
    }
    let named: Vec<_> = named.iter().map(|name| format!("`{name}`")).collect();
    Err(format!("has no {} in `{}`", named.join(" or "), folder.display()))
}

/// The libraries of operators that the configuration names: files in the folder of the version, of the model, or of the
/// repository. They are native code, so that none is taken from anywhere else.
pub(super) fn op_libraries(config: &ModelConfig, folder: &Path, of_version: &Path) -> Vec<OpLibrary> {
    let repository = repository(folder).map_or_else(|_| folder.into(), |(repository, _)| repository);
    // A model's folder may be a link to another place: what is in it is the model's.
    let own = folder.canonicalize().unwrap_or_else(|_| folder.into());
    let find = |named: &str| {
        let places = [of_version, folder, &repository];
        // An absolute path stays what it is as it is joined.
        let path = places.into_iter().map(|place| place.join(named)).find(|path| path.is_file());
        let path =
            path.ok_or_else(|| "is in none of the folders of the version, the model and the repository".to_string())?;
        let resolved = path.canonicalize().map_err(|error| format!("can't be read: {error}"))?;
        let up = Path::new(named).components().any(|part| part == Component::ParentDir);
        if up || ![&repository, &own].iter().any(|place| resolved.starts_with(place)) {
            return Err("leads out of the model repository".to_string());
        }
        Ok(path)
    };
    config.op_libraries.iter().map(|named| OpLibrary { named: named.clone(), found: find(named) }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn repository(entries: &[(&str, &str)]) -> tempfile::TempDir {
        let home = tempfile::tempdir().unwrap();
        for (path, text) in entries {
            let path = home.path().join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        }
        home
    }

    fn path(place: &Path) -> PathBuf {
        match triton_model(place, None).unwrap().files {
            TritonFiles::One(path) => path,
            TritonFiles::Steps(steps) => panic!("{steps:?}"),
        }
    }

    fn refused(home: &tempfile::TempDir, place: &str, version: Option<u64>) -> String {
        let error = triton_model(&home.path().join(place), version).unwrap_err().to_string();
        error.replace(&home.path().display().to_string(), "<repository>")
    }

    #[test]
    fn the_newest_version_that_the_policy_serves_is_found() {
        let policy = |policy: &str| format!("backend: 'onnxruntime' version_policy {{ {policy} }}");
        let home = repository(&[
            ("a/1/model.onnx", ""),
            ("a/2/model.onnx", ""),
            ("a/10/model.onnx", ""),
            ("a/03/model.onnx", ""),
            ("a/config.pbtxt", "name: 'other' platform: 'onnxruntime_onnx'"),
        ]);
        let found = triton_model(home.path(), None).unwrap();
        assert_eq!((found.name.as_str(), found.version, found.others.as_slice()), ("other", 10, &[][..]));
        assert_eq!(path(home.path()), home.path().join("a/10/model.onnx"));
        let config = home.path().join("a/config.pbtxt");
        for (words, version, others) in [
            ("latest { num_versions: 2 }", 10, vec![2]),
            ("all { }", 10, vec![1, 2]),
            ("specific { versions: [ 1, 2, 7 ] }", 2, vec![1]),
        ] {
            fs::write(&config, policy(words)).unwrap();
            let found = triton_model(&home.path().join("a"), None).unwrap();
            assert_eq!((found.version, found.others, found.name.as_str()), (version, others, "a"));
        }
        assert_eq!(triton_model(&home.path().join("a"), Some(1)).unwrap().version, 1);
        assert!(refused(&home, "a", Some(4)).ends_with("has no version 4: there are 1, 2, 10"));
        fs::write(&config, policy("specific { versions: 4 }")).unwrap();
        assert!(refused(&home, "a", None).ends_with("and its `version_policy` serves none of them"));
    }

    #[test]
    fn the_file_is_the_one_that_triton_would_open() {
        let home = repository(&[
            ("plain/1/model.plan", ""),
            ("own/1/net.onnx", ""),
            ("own/config.pbtxt", "default_model_filename: 'net.onnx'"),
            ("folder/1/model.onnx/model.onnx", ""),
            ("folder/config.pbtxt", "backend: 'onnxruntime'"),
            ("gpus/1/a.plan", ""),
            (
                "gpus/config.pbtxt",
                "cc_model_filenames [{ key: '7.5' value: 'a.plan' }, { key: '8.6' value: 'b.plan' }]",
            ),
            ("out/1/x", ""),
            ("out/config.pbtxt", "default_model_filename: '../../own/1/net.onnx'"),
            ("none/1/net.onnx", ""),
        ]);
        let file = |name: &str| path(&home.path().join(name));
        assert_eq!(file("plain"), home.path().join("plain/1/model.plan"));
        assert_eq!(file("own"), home.path().join("own/1/net.onnx"));
        assert_eq!(file("folder"), home.path().join("folder/1/model.onnx"));
        assert!(refused(&home, "gpus", None).ends_with("name one, as in `<repository>/gpus/1/a.plan`"));
        assert!(refused(&home, "out", None).contains("which leads out of its folder"));
        assert!(refused(&home, "none", None).ends_with("has no `model.onnx` or `model.plan` in `<repository>/none/1`"));
        assert!(
            refused(&home, "", None)
                .contains("holds the models `folder`, `gpus`, `none`, `out`, `own`, `plain`: name one")
        );
    }

    #[test]
    fn libraries_of_operators_are_taken_from_the_repository_alone() {
        let home = repository(&[
            ("models/a/1/model.onnx", ""),
            ("models/a/1/first.so", ""),
            ("models/a/second.so", ""),
            ("models/third.so", ""),
            ("out.so", ""),
        ]);
        std::os::unix::fs::symlink(home.path().join("out.so"), home.path().join("models/a/link.so")).unwrap();
        let whole = home.path().canonicalize().unwrap();
        let names = ["first.so", "./second.so", "third.so", "link.so", "../../out.so", "no.so", "/nowhere/x.so"];
        let absolute = [whole.join("models/third.so"), whole.join("out.so")].map(|path| path.display().to_string());
        let named: Vec<_> = names.iter().copied().chain(absolute.iter().map(String::as_str)).collect();
        let words: Vec<_> = named.iter().map(|name| format!("op_library_filename: '{name}'")).collect();
        let config = format!("backend: 'onnxruntime' model_operations {{ {} }}", words.join(" "));
        fs::write(home.path().join("models/a/config.pbtxt"), config).unwrap();
        let found = triton_model(&whole.join("models/a"), None).unwrap().op_libraries;
        let found: Vec<_> = found.into_iter().map(|library| library.found.is_ok()).collect();
        assert_eq!(found, [true, true, true, false, false, false, false, true, false]);
    }

    #[test]
    fn a_folder_that_is_a_link_stands_in_the_repository_that_has_the_link() {
        let home = repository(&[
            ("models/shared.so", ""),
            ("store/a/1/model.onnx", ""),
            ("store/a/own.so", ""),
            ("store/other.so", ""),
            (
                "store/a/config.pbtxt",
                "model_operations { op_library_filename: 'own.so' op_library_filename: 'shared.so' op_library_filename: 'other.so' }",
            ),
        ]);
        std::os::unix::fs::symlink("../store/a", home.path().join("models/a")).unwrap();
        let found = |place: &str| {
            let found = triton_model(&home.path().join(place), None).unwrap().op_libraries;
            found.into_iter().map(|library| library.found.is_ok()).collect::<Vec<_>>()
        };
        assert_eq!(found("models/a"), [true, true, false]);
        assert_eq!(found("store/a/1/.."), [true, false, true]);
    }

    #[test]
    fn what_no_service_can_be_says_why_and_what_to_do() {
        let home = repository(&[
            ("py/1/model.py", ""),
            ("py/config.pbtxt", "backend: 'python'"),
            ("bad/config.pbtxt", "name: 3"),
            ("bare/config.pbtxt", ""),
            ("file", ""),
            ("empty/x", ""),
        ]);
        assert!(refused(&home, "py", None).contains("is run by `python`, and nimify serves ONNX models"));
        assert!(refused(&home, "bad", None).contains("can't be read: line 1, column 7: `name` should be a text"));
        assert!(refused(&home, "bare", None).ends_with("has no folder of a version, such as `1`"));
        assert!(refused(&home, "file", None).contains("is no folder"));
        assert!(refused(&home, "empty", None).contains("holds no model"));
    }
}
