//! What a tracking server is asked.

use serde_json::Value;
use url::Url;

use super::login;
use crate::files::RelativePath;
use crate::registry::{Fault, HostError, transport};
use crate::source::Error;
use crate::source::listed::Order;
use crate::source::surroundings::Surroundings;
use crate::source::web::{Ask, Client, check_tls};

/// The variable that says where the server is.
const TRACKING: &str = "MLFLOW_TRACKING_URI";
const HINT: &str = "set `MLFLOW_TRACKING_USERNAME` and `MLFLOW_TRACKING_PASSWORD`, or `MLFLOW_TRACKING_TOKEN`";
/// Largest answer that isn't a file, bytes.
const LARGEST: u64 = 4 << 20;
/// Most models of a run that are looked through for a name.
const MOST_MODELS: usize = 100;

/// A tracking server.
pub(super) struct Server {
    base: Url,
    pub(super) client: Client,
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_default()
}

fn list(value: &Value) -> &[Value] {
    value.as_array().map_or(&[], Vec::as_slice)
}

impl Server {
    pub(super) fn open(plain_http: bool, order: &Order<'_>) -> Result<Self, Error> {
        let around = Surroundings::of_process();
        let wrong = |reason: &str| Error::Credentials { origin: format!("`{TRACKING}`"), reason: reason.into() };
        let address =
            around.get(TRACKING).ok_or_else(|| wrong("it is not set: it says where the tracking server is"))?;
        let mut base = Url::parse(address).map_err(|_| wrong("it is no address"))?;
        let host = base.host_str().unwrap_or_default();
        if !matches!(base.scheme(), "http" | "https") || host.is_empty() {
            return Err(wrong("it should be the `https://` address of a tracking server"));
        }
        check_tls(&base, plain_http, &order.source_name)?;
        let login = login::take(&mut base, &around)?;
        Ok(Server { client: Client::new(&base, login, HINT), base })
    }

    /// Where it is.
    pub(super) fn address(&self) -> &Url {
        &self.base
    }

    /// Whether `host`, with its port perhaps, is this server.
    pub(super) fn is_at(&self, host: &str) -> bool {
        host == transport::host(&self.base) || Some(host) == self.base.host_str()
    }

    /// The address of one of its routes.
    pub(super) fn at(&self, path: &str) -> Url {
        let mut url = self.base.clone();
        url.set_query(None);
        url.set_fragment(None);
        if let Ok(mut segments) = url.path_segments_mut() {
            segments.pop_if_empty().extend(["api", "2.0"]).extend(path.split('/'));
        }
        url
    }

    fn get(&self, path: &str, query: &[(&str, &str)], order: &Order<'_>) -> Result<Value, Error> {
        let mut url = self.at(&format!("mlflow/{path}"));
        if !query.is_empty() {
            url.query_pairs_mut().extend_pairs(query);
        }
        let ask = Ask { url, headers: Vec::new(), attempt: format!("look for `{}`", order.source_name) };
        let answer = self.client.text(&ask, LARGEST)?;
        serde_json::from_slice(&answer).map_err(|_| order.wrong("is on a server whose answers are no JSON"))
    }

    /// The version that an alias leads to.
    pub(super) fn behind(&self, name: &str, alias: &str, order: &Order<'_>) -> Result<String, Error> {
        let found = self.get("registered-models/alias", &[("name", name), ("alias", alias)], order)?;
        let version = text(&found["model_version"]["version"]).parse::<u64>();
        version.map(|version| version.to_string()).map_err(|_| order.wrong("leads to no version"))
    }

    /// The newest version, of those in a stage where one is named.
    pub(super) fn newest(&self, name: &str, stage: Option<&str>, order: &Order<'_>) -> Result<String, Error> {
        let mut query = vec![("name", name)];
        query.extend(stage.map(|stage| ("stages", stage)));
        // One for each stage.
        let found = self.get("registered-models/get-latest-versions", &query, order)?;
        let versions = list(&found["model_versions"]).iter().filter_map(|found| text(&found["version"]).parse().ok());
        let newest: Option<u64> = versions.max();
        newest.map(|version| version.to_string()).ok_or_else(|| match stage {
            None => order.wrong("has no versions"),
            Some(stage) => order.wrong(format!("leads to no version: none is in the stage `{stage}`")),
        })
    }

    /// Where the files of a version are.
    pub(super) fn version(&self, name: &str, version: &str, order: &Order<'_>) -> Result<String, Error> {
        let query = [("name", name), ("version", version)];
        let found = self.get("model-versions/get-download-uri", &query, order)?;
        Ok(text(&found["artifact_uri"]).into())
    }

    /// What a model that was logged is called, and where its files are.
    pub(super) fn logged(&self, id: &str, order: &Order<'_>) -> Result<(String, String), Error> {
        let found = self.get(&format!("logged-models/{id}"), &[], order)?;
        let info = &found["model"]["info"];
        Ok((text(&info["name"]).into(), text(&info["artifact_uri"]).into()))
    }

    /// Where the files are that a run has logged under a path. Since MLflow 3 a model has a place of its own, and the run
    /// only its identifier; it goes before what is among the run's artifacts.
    pub(super) fn of_run(&self, run: &str, path: &RelativePath, order: &Order<'_>) -> Result<String, Error> {
        let found = self.get("runs/get", &[("run_id", run)], order)?;
        let (name, inside) = path.as_str().split_once('/').unwrap_or((path.as_str(), ""));
        let ids = list(&found["run"]["outputs"]["model_outputs"]).iter().map(|output| text(&output["model_id"]));
        // The one that was logged last has the name.
        for id in ids.rev().filter(|id| !id.is_empty() && !id.contains('/')).take(MOST_MODELS) {
            let (called, place) = match self.logged(id, order) {
                // One that was deleted hides no other.
                Err(Error::Host { error: HostError { fault: Fault::Refused { status: 404, .. }, .. }, .. }) => continue,
                found => found?,
            };
            if called == name {
                return Ok(format!("{}/{inside}", place.trim_end_matches('/')));
            }
        }
        let artifacts = text(&found["run"]["info"]["artifact_uri"]);
        Ok(format!("{}/{}", artifacts.trim_end_matches('/'), path.as_str()))
    }
}
