//! A model version of an MLflow registry, or a model that a run logged → a folder in the cache.
//!
//! The tracking server says where the version's files are, and hands them out or names the object store that does. Which
//! of them is the ONNX file stands in `MLmodel`.

use std::fmt;
use std::str::FromStr;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::Deserialize;
use serde_json::Value;
use url::Url;

use super::content::is_model;
use super::download::{Downloaded, Wanted, download};
use super::error::files;
use super::listed::{Bring, Brought, Order};
use super::login::{self, Login};
use super::objects::{Location, Objects, StoreKind};
use super::web::{Ask, Client};
use super::{Error, FetchRequest, NotASource};
use crate::files::RelativePath;
use crate::model;

/// The variable that says where the server is.
const TRACKING: &str = "MLFLOW_TRACKING_URI";
const HINT: &str = "set `MLFLOW_TRACKING_TOKEN`, or `MLFLOW_TRACKING_USERNAME` and `MLFLOW_TRACKING_PASSWORD`";
/// Largest answer of the server that isn't a file, bytes.
const LARGEST: u64 = 4 << 20;

/// A model, by what MLflow calls it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum MlflowModel {
    /// A version of a registered model.
    Version {
        /// The registered model.
        name: String,
        /// Its version.
        version: String,
    },
    /// The version that an alias leads to.
    Alias {
        /// The registered model.
        name: String,
        /// The alias.
        alias: String,
    },
    /// What a run has logged.
    Run {
        /// The run's identifier.
        run: String,
        /// The model's folder among its artifacts.
        path: RelativePath,
    },
}

impl FromStr for MlflowModel {
    type Err = NotASource;

    /// From what follows `mlflow://`: `models/NAME/VERSION`, `models/NAME@ALIAS` or `runs/RUN/PATH`.
    fn from_str(rest: &str) -> Result<Self, NotASource> {
        let wrong = |reason: &str| NotASource::Form { text: format!("mlflow://{rest}"), reason: reason.into() };
        let whole = |part: &str| !part.is_empty() && !part.contains(['/', '?', '#']);
        match rest.split_once('/') {
            Some(("models", rest)) => match (rest.rsplit_once('@'), rest.rsplit_once('/')) {
                (Some((name, alias)), _) if whole(name) && whole(alias) => {
                    Ok(MlflowModel::Alias { name: name.into(), alias: alias.into() })
                }
                (_, Some((name, version))) if whole(name) && version.parse::<u64>().is_ok() => {
                    Ok(MlflowModel::Version { name: name.into(), version: version.into() })
                }
                _ => Err(wrong("it should name a version, `models/NAME/VERSION`, or an alias, `models/NAME@ALIAS`")),
            },
            Some(("runs", rest)) => match rest.split_once('/') {
                Some((run, path)) if whole(run) => {
                    let path = path.parse().map_err(|_| wrong("the path of its model can't be one"))?;
                    Ok(MlflowModel::Run { run: run.into(), path })
                }
                _ => Err(wrong("it should name a run and the model's path there, `runs/RUN/PATH`")),
            },
            _ => Err(wrong("it should begin with `models/` or `runs/`")),
        }
    }
}

impl fmt::Display for MlflowModel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            MlflowModel::Version { name, version } => write!(f, "mlflow://models/{name}/{version}"),
            MlflowModel::Alias { name, alias } => write!(f, "mlflow://models/{name}@{alias}"),
            MlflowModel::Run { run, path } => write!(f, "mlflow://runs/{run}/{}", path.as_str()),
        }
    }
}

/// The server, asked for one model.
pub(super) struct Mlflow<'a> {
    model: &'a MlflowModel,
    plain_http: bool,
}

impl<'a> Mlflow<'a> {
    pub(super) fn new(request: &FetchRequest<'_>, model: &'a MlflowModel) -> Self {
        Mlflow { model, plain_http: request.plain_http }
    }
}

impl Bring for Mlflow<'_> {
    fn bring(&self, order: &mut Order<'_>) -> Result<Brought, Error> {
        let server = Server::open(self.plain_http, order)?;
        let (kept, version) = match self.model {
            MlflowModel::Version { name, version } => (server.kept(name, version, order)?, Some(version.clone())),
            MlflowModel::Alias { name, alias } => {
                let version = match order.locked {
                    Some(version) => version.to_string(),
                    None => server.version(name, alias, order)?,
                };
                (server.kept(name, &version, order)?, Some(version))
            }
            MlflowModel::Run { run, path } => {
                let found = server.get("runs/get", &[("run_id", run)], "look for", order)?;
                let artifacts = text(&found["run"]["info"]["artifact_uri"]);
                (format!("{}/{}", artifacts.trim_end_matches('/'), path.as_str()), None)
            }
        };
        // A version never changes.
        if version.is_some() && order.known.is_some_and(|known| known.revision == version) {
            return Ok(Brought::Unchanged);
        }
        match kept.split_once(':') {
            Some(("mlflow-artifacts", rest)) => {
                // `//HOST/PATH` names the server itself.
                let path =
                    rest.strip_prefix("//").map_or(rest, |rest| rest.split_once('/').map_or("", |(_, path)| path));
                server.bring(path.trim_matches('/'), order)?;
                Ok(Brought::Files { revision: version, validator: None })
            }
            Some((scheme, rest)) if StoreKind::of(scheme).is_some() => {
                let kind = StoreKind::of(scheme).expect("it was just asked");
                let place = format!("{}/", rest.trim_matches('/'));
                let location =
                    Location::parse(kind, &place).map_err(|error| order.wrong(format!("is kept badly: {error}")))?;
                match Objects::at(&location, self.plain_http).bring(order)? {
                    Brought::Files { validator, .. } => Ok(Brought::Files { revision: version, validator }),
                    unchanged => Ok(unchanged),
                }
            }
            _ => Err(order.wrong(
                "is kept where only the tracking server reaches it: let it hand out artifacts (`mlflow server \
                 --serve-artifacts`), or keep them in an object store",
            )),
        }
    }
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_default()
}

/// What is read of `MLmodel`.
#[derive(Deserialize)]
struct MlModel {
    #[serde(default)]
    flavors: std::collections::BTreeMap<String, serde_yaml::Value>,
}

/// A tracking server.
struct Server {
    base: Url,
    client: Client,
}

impl Server {
    fn open(plain_http: bool, order: &Order<'_>) -> Result<Self, Error> {
        let wrong = |reason: &str| Error::Credentials { origin: format!("`{TRACKING}`"), reason: reason.into() };
        let variable = |name: &str| std::env::var(name).ok().filter(|value| !value.is_empty());
        let address = variable(TRACKING).ok_or_else(|| wrong("it is not set: it says where the tracking server is"))?;
        let mut base = Url::parse(&address).map_err(|_| wrong("it is no address"))?;
        let host = base.host_str().unwrap_or_default().to_string();
        if !matches!(base.scheme(), "http" | "https") || host.is_empty() {
            return Err(wrong("it should be the `https://` address of a tracking server"));
        }
        let here = matches!(host.as_str(), "localhost" | "127.0.0.1" | "[::1]");
        if base.scheme() == "http" && !here && !plain_http {
            return Err(Error::PlainHttp { source_name: order.source_name.clone() });
        }
        let user =
            (!base.username().is_empty()).then(|| base.username().to_string()).or(variable("MLFLOW_TRACKING_USERNAME"));
        let password = base.password().map(String::from).or(variable("MLFLOW_TRACKING_PASSWORD"));
        // They would be told with the address.
        let cleared = base.set_username("").and_then(|()| base.set_password(None));
        cleared.map_err(|()| wrong("it is no address"))?;
        let login = match (variable("MLFLOW_TRACKING_TOKEN"), user, password) {
            (_, Some(user), Some(password)) => Some(Login {
                header: format!("Basic {}", STANDARD.encode(format!("{user}:{password}"))).into(),
                origin: "`MLFLOW_TRACKING_USERNAME`".into(),
            }),
            (Some(token), ..) => Some(Login::bearer(&token, "`MLFLOW_TRACKING_TOKEN`".into())),
            _ => login::find(&host, &|name| std::env::var_os(name))?,
        };
        Ok(Server { client: Client::new(&base, login, HINT), base })
    }

    fn at(&self, path: &str) -> Url {
        let mut url = self.base.clone();
        url.set_query(None);
        url.set_fragment(None);
        if let Ok(mut segments) = url.path_segments_mut() {
            segments.pop_if_empty().extend(["api", "2.0"]).extend(path.split('/'));
        }
        url
    }

    fn get(&self, path: &str, query: &[(&str, &str)], doing: &str, order: &Order<'_>) -> Result<Value, Error> {
        let path = if path.starts_with("mlflow-artifacts/") { path.to_string() } else { format!("mlflow/{path}") };
        let mut url = self.at(&path);
        url.query_pairs_mut().extend_pairs(query);
        let ask = Ask { url, headers: Vec::new(), attempt: format!("{doing} `{}`", order.source_name) };
        let answer = self.client.text(&ask, LARGEST)?;
        serde_json::from_slice(&answer).map_err(|_| order.wrong("is on a server whose answers are no JSON"))
    }

    /// The version that an alias leads to.
    fn version(&self, name: &str, alias: &str, order: &Order<'_>) -> Result<String, Error> {
        let found = self.get("registered-models/alias", &[("name", name), ("alias", alias)], "look for", order)?;
        let version = text(&found["model_version"]["version"]);
        if version.is_empty() { Err(order.wrong("leads to no version")) } else { Ok(version.into()) }
    }

    /// Where the files of a version are.
    fn kept(&self, name: &str, version: &str, order: &Order<'_>) -> Result<String, Error> {
        let query = [("name", name), ("version", version)];
        let found = self.get("model-versions/get-download-uri", &query, "look for", order)?;
        Ok(text(&found["artifact_uri"]).into())
    }

    /// Brings the ONNX file of the model in the folder `folder` of the server's artifacts, and what it needs.
    fn bring(&self, folder: &str, order: &mut Order<'_>) -> Result<(), Error> {
        let described = self.file(folder, "MLmodel", order)?;
        let yaml = std::fs::read(&described).map_err(files("read", &described))?;
        let described: MlModel = serde_yaml::from_slice(yaml.get(..LARGEST as usize).unwrap_or(&yaml))
            .map_err(|_| order.wrong("has an `MLmodel` that can't be read"))?;
        let Some(flavor) = described.flavors.get("onnx") else {
            let names = described.flavors.keys().map(|name| format!("`{name}`")).collect::<Vec<_>>().join(", ");
            return Err(order.wrong(format!(
                "is no ONNX model, but of the flavors {names}: convert it and log it by `mlflow.onnx.log_model`"
            )));
        };
        let data = flavor.get("data").and_then(serde_yaml::Value::as_str).unwrap_or("model.onnx");
        let data: RelativePath = data.parse().map_err(|error| order.wrong(format!("names a file badly: {error}")))?;
        let name = data.as_str().rsplit('/').next().unwrap_or_default();
        let name: RelativePath = name.parse().map_err(|error| order.wrong(format!("names a file badly: {error}")))?;
        if !is_model(&name) {
            return Err(order.wrong(format!("keeps its ONNX model in `{}`, which is no `.onnx` file", data.as_str())));
        }
        let part = self.file(folder, data.as_str(), order)?;
        order.take(&name, &part)?;
        let inside = data.as_str().rsplit_once('/').map_or(String::new(), |(inside, _)| format!("{inside}/"));
        for path in model::needed(&order.files.path(&name), &model::Limits::default()) {
            let part = self.file(folder, &format!("{inside}{}", path.as_str()), order)?;
            order.take(&path, &part)?;
        }
        Ok(())
    }

    /// Downloads one artifact.
    fn file(&self, folder: &str, path: &str, order: &Order<'_>) -> Result<std::path::PathBuf, Error> {
        let url = self.at(&format!("mlflow-artifacts/artifacts/{folder}/{path}"));
        let name = format!("{path}` of `{}", order.source_name);
        let wanted = Wanted { url, name, identity: None, unless: None, digest: None };
        match download(&self.client, &wanted, order)? {
            Downloaded::File { path, .. } => Ok(path),
            Downloaded::Unchanged => Err(order.wrong(format!("has a `{path}` that did not come"))),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read_back() {
        for rest in ["models/digits/3", "models/digits@champion", "runs/0af1/model"] {
            assert_eq!(rest.parse::<MlflowModel>().unwrap().to_string(), format!("mlflow://{rest}"));
        }
        for (rest, reason) in [
            ("models/digits", "should name a version"),
            ("models/digits/latest", "should name a version"),
            ("models//1", "should name a version"),
            ("runs/0af1", "should name a run"),
            ("runs/0af1/../x", "can't be one"),
            ("digits/1", "should begin with"),
        ] {
            let error = rest.parse::<MlflowModel>().unwrap_err().to_string();
            assert!(error.contains(reason), "{error}");
        }
    }
}
