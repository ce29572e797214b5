//! A model version of an MLflow registry, or a model that was logged → a folder in the cache.
//!
//! The tracking server says where the model's files are, and hands them out or names the object store that does: [`Place`].
//! Which of them is the ONNX file stands in `MLmodel`; it is fetched, and what it needs.

mod login;
mod name;
mod server;

use std::collections::BTreeMap;
use std::path::PathBuf;

use serde::Deserialize;

pub use name::MlflowModel;

use self::server::Server;
use super::choose::{self, is_model};
use super::download::{Downloaded, Wanted, download};
use super::error::files;
use super::listed::{Bring, Brought, Order};
use super::memory::Known;
use super::objects::{Bucket, Location, Objects, StoreKind};
use super::{Error, FetchRequest};
use crate::digest::Digest;
use crate::files::RelativePath;
use crate::model;

/// Largest `MLmodel` that is read, bytes.
const LARGEST: u64 = 4 << 20;

/// The server, asked for one model.
pub(super) struct Mlflow<'a> {
    model: &'a MlflowModel,
    plain_http: bool,
}

impl<'a> Mlflow<'a> {
    pub(super) fn new(request: &FetchRequest<'_>, model: &'a MlflowModel) -> Self {
        Mlflow { model, plain_http: request.plain_http }
    }

    /// Where the model's files are, and what it is called for good.
    fn kept(&self, server: &Server, order: &Order<'_>) -> Result<(String, Option<String>), Error> {
        let version = |found: &dyn Fn() -> Result<String, Error>| order.locked.map_or_else(found, |it| Ok(it.into()));
        let (name, version) = match self.model {
            MlflowModel::Version { name, version } => (name, version.clone()),
            MlflowModel::Alias { name, alias } => (name, version(&|| server.behind(name, alias, order))?),
            MlflowModel::Newest { name, stage } => (name, version(&|| server.newest(name, *stage, order))?),
            MlflowModel::Logged { id } => return Ok((server.logged(id, order)?.1, Some(id.clone()))),
            MlflowModel::Run { run, path } => return Ok((server.of_run(run, path, order)?, None)),
        };
        Ok((server.version(name, &version, order)?, Some(version)))
    }
}

impl Bring for Mlflow<'_> {
    fn bring(&self, order: &mut Order<'_>) -> Result<Brought, Error> {
        let server = Server::open(self.plain_http, order)?;
        let (kept, revision) = self.kept(&server, order)?;
        // On one server a version's files stay where they are and as they are, and so do those of a model that was logged.
        let validator = Some(Digest::of(format!("{}\n{kept}", server.address())).to_string());
        let same = |known: &Known| known.revision == revision && known.validator == validator;
        if revision.is_some() && order.known.is_some_and(same) {
            return Ok(Brought::Unchanged);
        }
        let (scheme, rest) = kept.split_once(':').unwrap_or(("file", &kept));
        if scheme == "mlflow-artifacts" {
            let path = match rest.strip_prefix("//").map(|rest| rest.split_once('/').unwrap_or((rest, ""))) {
                Some((host, _)) if !host.is_empty() && !server.is_at(host) => {
                    return Err(order.wrong(format!("is kept by another server, `{host}`")));
                }
                Some((_, path)) => path,
                None => rest,
            };
            bring(&Place::Server(&server, path.trim_matches('/')), order)?;
        } else if let Some(kind) = store(scheme) {
            let place = format!("{}/", rest.trim_matches('/'));
            let location =
                Location::parse(kind, &place).map_err(|error| order.wrong(format!("is kept badly: {error}")))?;
            if location.version.is_some() {
                return Err(order.wrong("is kept badly: a folder has no version"));
            }
            let objects = Objects::at(&location, self.plain_http);
            bring(&Place::Store(&objects, &objects.open()?), order)?;
        } else {
            return Err(order.wrong(
                "is kept where only the tracking server reaches it: let it hand out artifacts (`mlflow server \
                 --serve-artifacts`), or keep them in an object store",
            ));
        }
        Ok(Brought::Files { revision, validator })
    }
}

/// The kind of store that an artifact's address names, as MLflow writes it.
fn store(scheme: &str) -> Option<StoreKind> {
    if matches!(scheme, "wasbs" | "abfss") { Some(StoreKind::Az) } else { StoreKind::of(scheme) }
}

/// What hands out a model's files.
enum Place<'a> {
    /// The tracking server, from a folder of its artifacts.
    Server(&'a Server, &'a str),
    /// An object store that is open.
    Store(&'a Objects<'a>, &'a Bucket),
}

impl Place<'_> {
    /// Downloads one file.
    fn file(&self, path: &str, order: &Order<'_>) -> Result<PathBuf, Error> {
        match self {
            Place::Store(objects, bucket) => objects.file(bucket, path, order),
            Place::Server(server, folder) => {
                let url = server.at(&format!("mlflow-artifacts/artifacts/{folder}/{path}"));
                let name = format!("{path}` of `{}", order.source_name);
                let wanted = Wanted { url, name, identity: None, unless: None, digest: None };
                match download(&server.client, &wanted, order)? {
                    Downloaded::File { path, .. } => Ok(path),
                    Downloaded::Unchanged => Err(order.wrong(format!("has a `{path}` that did not come"))),
                }
            }
        }
    }
}

/// What is read of `MLmodel`.
#[derive(Debug, Deserialize)]
struct MlModel {
    #[serde(default)]
    flavors: BTreeMap<String, serde_yaml::Value>,
}

/// The path of the ONNX file, by the text of `MLmodel`; the reason where there is none, with the model as the subject.
fn onnx_file(text: &[u8]) -> Result<RelativePath, String> {
    let described: MlModel = serde_yaml::from_slice(text).map_err(|_| "has an `MLmodel` that can't be read")?;
    let Some(flavor) = described.flavors.get("onnx") else {
        let names = described.flavors.keys().map(|name| format!("`{name}`")).collect::<Vec<_>>().join(", ");
        let flavors = if names.is_empty() { "no flavor".into() } else { format!("the flavors {names}") };
        return Err(format!("is no ONNX model, but of {flavors}: convert it and log it by `mlflow.onnx.log_model`"));
    };
    let data = flavor.get("data").and_then(serde_yaml::Value::as_str).unwrap_or("model.onnx");
    let data: RelativePath = data.parse().map_err(|error| format!("names a file badly: {error}"))?;
    if !is_model(&data) {
        return Err(format!("keeps its ONNX model in `{}`, which is no `.onnx` file", data.as_str()));
    }
    Ok(data)
}

/// Brings the ONNX file of a model, and what it needs.
fn bring(place: &Place<'_>, order: &mut Order<'_>) -> Result<(), Error> {
    let described = place.file("MLmodel", order)?;
    let size = std::fs::metadata(&described).map_err(files("read", &described))?.len();
    if size > LARGEST {
        return Err(order.wrong(format!("has an `MLmodel` of more than {LARGEST} bytes")));
    }
    let text = std::fs::read(&described).map_err(files("read", &described))?;
    let data = onnx_file(&text).map_err(|reason| order.wrong(reason))?;
    let name: RelativePath = data.split().1.parse().expect("a part of a path is one");
    let part = place.file(data.as_str(), order)?;
    order.take(&name, &part)?;
    let needed = model::needed(&order.files.path(&name), &model::Limits::default());
    for (path, kept) in needed.iter().zip(choose::beside(&data, &needed)) {
        let part = place.file(kept.as_str(), order)?;
        order.take(path, &part)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn the_description_names_the_onnx_file() {
        let file = |text: &str| onnx_file(text.as_bytes()).map(|path| path.as_str().to_string());
        assert_eq!(file("flavors: {onnx: {data: a/model.onnx}}"), Ok("a/model.onnx".into()));
        assert_eq!(file("flavors: {onnx: {}}"), Ok("model.onnx".into()));
        for (text, reason) in [
            ("flavors: {sklearn: {}, python_function: {}}", "of the flavors `python_function`, `sklearn`"),
            ("flavors: {onnx: {data: ../model.onnx}}", "names a file badly"),
            ("flavors: {onnx: {data: /model.onnx}}", "names a file badly"),
            ("flavors: {onnx: {data: model.pkl}}", "is no `.onnx` file"),
            ("flavors: 1", "can't be read"),
            ("a: &a [*a]", "is no ONNX model, but of no flavor"),
        ] {
            let error = file(text).unwrap_err();
            assert!(error.contains(reason), "{error}");
        }
        // Aliases that multiply are not followed for ever.
        let bomb: String = (1..30).map(|n| format!("a{n}: &a{n} [*a{0}, *a{0}]\n", n - 1)).collect();
        assert!(file(&format!("a0: &a0 [x]\n{bomb}flavors: {{onnx: {{data: *a29}}}}")).is_err());
    }

    proptest! {
        #[test]
        fn any_description_gives_a_file_inside_or_a_reason(text in "(flavors|onnx|data|: |\n| |\\{|\\}|/|\\.\\.|\\PC){0,40}") {
            if let Ok(path) = onnx_file(text.as_bytes()) {
                prop_assert!(!path.as_str().starts_with('/') && !path.as_str().contains(".."));
            }
        }
    }
}
