//! `nimify create MODEL`: flags and answers → a config → the whole path.

use std::path::{Component, Path, PathBuf};

use crate::config::{Config, ModelName, ModelReference, Repository};
use crate::pipeline::{self, BuildReport, BuildRequest, Signer};
use crate::plan::ServiceName;
use crate::registry::Reference;
use crate::sign::{Algorithm, Error, KeySource, KeyStore, Password, SigningKey};
use crate::source::{Source, TritonModel};
use crate::{config, files};

use super::args::{CreateArgs, Format, HowArgs, Service};
use super::exit::Exit;
use super::failure::{self, Failure, Outcome};
use super::progress::Progress;
use super::{engine, prompts, report, sign};

pub(super) fn run(args: &CreateArgs) -> Outcome {
    // Read before anything is asked: nobody wants to answer questions about a file that can't be served.
    let fetched = super::model::fetch(&args.model, args.how.offline, args.how.plain_http, args.how.quiet)?;
    let told = args.tensorrt.config();
    let mut description = super::model::read(&fetched.path, &told)?;
    if description.told().is_err() && prompts::possible(args.yes) {
        description = super::model::read(&fetched.path, &engine::ask(&description, told)?)?;
    }
    description.told()?;
    let triton = super::model::triton(&args.model)?;
    let (mut config, output) = settle(args, &description.path, triton.as_ref())?;
    let is_engine = description.engine.is_some();
    if let Some(triton) = &triton {
        super::model::warn(&config.carry_over(&triton.config, &description.contents.signature, is_engine));
    }
    let (operators, said) = super::model::named_operators(&args.custom_ops, triton.as_ref(), is_engine);
    super::model::warn(&said);
    config.engine.custom_ops = operators.iter().map(|library| relative(library, &output)).collect::<Result<_, _>>()?;
    engine::write(&description, &mut config);
    config.check().map_err(|fault| Failure::say(Exit::Config, fault.to_string()))?;
    let request = BuildRequest {
        config_text: Some(config.to_yaml()),
        config: &config,
        config_folder: &output,
        output: &output,
        // Asked again, the registry could give another.
        fetched: fetched.pinned.is_some().then_some(fetched),
        signer: signer(&sign::sources(&args.how.keys), &args.how, Maker::Create)?,
        offline: args.how.offline,
        locked: false,
        archive: args.how.archive,
        push: args.how.push,
        plain_http: args.how.plain_http,
        discard_edits: args.how.discard_edits,
    };
    finish(&request, &args.how)
}

/// Builds with progress, then prints the report: `build` ends in the same way.
pub(super) fn finish(request: &BuildRequest<'_>, how: &HowArgs) -> Outcome {
    let mut progress = Progress::new(how.quiet);
    let built = pipeline::build(request, &mut progress);
    progress.finish();
    let built = built?;
    match how.format {
        Format::Json => super::print_json(&built),
        Format::Text if how.quiet => Ok(()),
        Format::Text => super::print(&report::text(&built, &next(&built))),
    }
}

/// The next three commands.
fn next(built: &BuildReport) -> [String; 3] {
    let folder = built.folder.display();
    let (reference, name) = (&built.reference, &built.name);
    [
        format!("nimify load {folder}                     # into Docker or Podman"),
        format!("docker run --rm -p 8000:8000 --read-only {reference}"),
        format!("helm install {name} {folder}/chart"),
    ]
}

/// The config that flags, answers and defaults make, and the folder to write.
fn settle(args: &CreateArgs, model: &Path, triton: Option<&TritonModel>) -> Result<(Config, PathBuf), Failure> {
    let ask = prompts::possible(args.yes);
    let own_name = || triton.map_or_else(|| default_name(&args.model, model), |triton| triton.name.clone());
    let default_name = args.name.clone().unwrap_or_else(own_name);
    let name = if ask && args.name.is_none() {
        prompts::text("Name of the service", &default_name, |text| {
            let name = text.parse::<ModelName>().map_err(|error| error.to_string())?;
            ServiceName::derive(name.as_str()).map(drop).map_err(|error| error.to_string())
        })?
    } else {
        default_name
    };
    let name: ModelName = word(&name, "--name")?;
    let service = ServiceName::derive(name.as_str())
        .map_err(|error| Failure::new(Exit::Config, &error).hint("give another one with `--name`".to_string()))?;
    let own_version = triton.map_or("0.1.0".into(), |triton| triton.version.to_string());
    let version = asked(ask, args.model_version.as_deref(), "Version", &own_version, "--model-version")?;
    let repository: Repository =
        asked(ask, args.repository.as_deref(), "Image repository", service.as_str(), "--repository")?;

    let output = args.output.clone().unwrap_or_else(|| service.as_str().into());
    let output = std::path::absolute(&output).map_err(|error| failure::files("find", &output, &error))?;
    let mut config = Config::new(name, reference(&args.model, model, &output)?);
    config.version = version;
    if repository.as_str() != service.as_str() {
        config.image.repository = Some(repository);
    }
    config.image.base = args.base.as_deref().map(|base| word(base, "--base")).transpose()?;
    if args.how.plain_http {
        config.image.plain_http = plain_http(&config, &output)?;
    }
    config.service = args.service.map(|service| match service {
        Service::Generated => config::ServiceKind::Generated,
        Service::Generic => config::ServiceKind::Generic,
    });
    if let Some(sample) = &args.sample {
        config.sample = Some(relative(sample, &output)?);
    }
    config.batching.max_batch_size = args.max_batch_size;
    Ok((config, output))
}

/// The registries that the config names: `--plain-http` is meant for them.
fn plain_http(config: &Config, folder: &Path) -> Result<Vec<config::Registry>, Failure> {
    let repository = config.image.repository.as_ref().and_then(|own| Reference::with_registry(own.as_str()).ok());
    let base = match config.image.base.as_ref().map(|base| base.base(folder)) {
        Some(config::Base::Image(text)) => Some(text.parse::<Reference>()?),
        _ => None,
    };
    let model = config.model.source(folder);
    let images = [repository, base].into_iter().flatten().map(|to| to.repository.registry().to_string());
    let mut all: Vec<String> = images.chain(model.host().map(String::from)).collect();
    all.sort();
    all.dedup();
    all.iter().map(|registry| word(registry, "--plain-http")).collect()
}

/// A flag's value, else an answer, else the default.
fn asked<T>(ask: bool, flag: Option<&str>, question: &'static str, default: &str, name: &str) -> Result<T, Failure>
where
    T: std::str::FromStr,
    T::Err: std::error::Error,
{
    let answer = match flag {
        Some(given) => given.to_string(),
        None if ask => {
            prompts::text(question, default, |text| text.parse::<T>().map(drop).map_err(|error| error.to_string()))?
        }
        None => default.to_string(),
    };
    word(&answer, name)
}

pub(super) fn word<T>(text: &str, flag: &str) -> Result<T, Failure>
where
    T: std::str::FromStr,
    T::Err: std::error::Error,
{
    text.parse().map_err(|error: T::Err| Failure::say(Exit::Config, format!("`{flag}`: {error}")))
}

/// What a service is called where nobody says: as the model's file is, unless that is what every exporter calls it and the
/// source has a name of its own.
pub(super) fn default_name(source: &Source, model: &Path) -> String {
    let title = source.title().filter(|_| model.file_stem().is_some_and(|stem| stem == "model"));
    title.map_or_else(|| stem(model), String::from)
}

/// The file's name without its extension, or the folder's where the file is called what every exporter calls it.
fn stem(model: &Path) -> String {
    let stem = |path: &Path| path.file_stem().map(|stem| stem.to_string_lossy().into_owned());
    match stem(model) {
        Some(name) if name == "model" => model.parent().and_then(stem).unwrap_or(name),
        name => name.unwrap_or_default(),
    }
}

/// What the config calls the model: where it comes from, or the file at `model` as seen from the output folder.
fn reference(source: &Source, model: &Path, output: &Path) -> Result<ModelReference, Failure> {
    match source {
        // A folder stays one: what stands in it with the model belongs to it.
        Source::Path(path) => {
            let path = if path.is_dir() { path } else { model };
            word(&relative(path, output)?.to_string_lossy(), "MODEL")
        }
        Source::Triton { folder, version } => {
            let source = Source::Triton { folder: relative(folder, output)?, version: *version };
            word(&source.to_string(), "MODEL")
        }
        elsewhere => word(&elsewhere.to_string(), "MODEL"),
    }
}

/// `path` as seen from the folder `from`: what is written in `nimify.yaml` holds wherever both are moved together.
fn relative(path: &Path, from: &Path) -> Result<PathBuf, Failure> {
    let path = std::path::absolute(path).map_err(|error| failure::files("find", path, &error))?;
    let (path, from) = (files::plain(&path), files::plain(from));
    let shared = path.components().zip(from.components()).take_while(|(a, b)| a == b).count();
    let up = from.components().skip(shared).map(|_| Component::ParentDir);
    let joined: PathBuf = up.chain(path.components().skip(shared)).collect();
    Ok(if joined.starts_with("..") { joined } else { Path::new(".").join(joined) })
}

/// Which command asks for a signer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Maker {
    /// Makes a key where there is none.
    Create,
    /// Never does.
    Build,
}

/// The keys that flags or the config name, or the key store's.
pub(super) fn signer(keys: &[KeySource], how: &HowArgs, maker: Maker) -> Result<Signer, Failure> {
    if how.unsigned {
        return Ok(Signer::Nobody);
    }
    if !keys.is_empty() || maker == Maker::Build {
        let images = sign::signing_keys(keys)?;
        return Ok(Signer::Keys { model: model_key(&images)?, images });
    }
    let store = KeyStore::of_user()?;
    let password = Password::from_environment();
    let [image, model] = [store.ensure(&password)?, store.ensure_of(Algorithm::EcdsaP256, &password)?];
    for path in [&image.made, &model.made].into_iter().flatten().filter(|_| !how.quiet) {
        eprintln!("made a signing key: {}", path.display());
    }
    Ok(Signer::Keys { images: vec![image.key], model: Some(Box::new(model.key)) })
}

/// The key that signs the model where the image's can't, none being an ECDSA one: the key store's, if there is one.
fn model_key(images: &[SigningKey]) -> Result<Option<Box<SigningKey>>, Failure> {
    if images.iter().any(|key| key.public().algorithm() == Algorithm::EcdsaP256) {
        return Ok(None);
    }
    let store = KeyStore::of_user();
    let password = Password::from_environment();
    match store.and_then(|store| store.key_of(Algorithm::EcdsaP256, &password)) {
        Ok(key) => Ok(Some(Box::new(key))),
        Err(Error::NoKey { .. } | Error::NoHome) => Ok(None),
        Err(error) => Err(error.into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_config_names_the_model_as_seen_from_its_own_folder() {
        let relative = |path: &str, from: &str| relative(Path::new(path), Path::new(from)).unwrap();
        assert_eq!(relative("/a/digits.onnx", "/a/digits"), Path::new("../digits.onnx"));
        assert_eq!(relative("/a/digits/m.onnx", "/a/digits"), Path::new("./m.onnx"));
        assert_eq!(relative("/m/x/../y.onnx", "/a/b/c"), Path::new("../../../m/y.onnx"));
    }

    #[test]
    fn a_model_called_model_takes_the_name_of_its_folder() {
        assert_eq!(stem(Path::new("/a/digits.onnx")), "digits");
        assert_eq!(stem(Path::new("/a/minilm/model.onnx")), "minilm");
    }
}
