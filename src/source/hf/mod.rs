//! `hf://ORG/REPOSITORY[@REVISION][/FILE]`: a model of a model hub, with its weights, tokenizer, configuration and labels.
//!
//! The crate `hf-hub` knows where the hub is and how its cache is laid out; the bytes come by this crate's own client.
//! What is fetched is one commit. Files that the hub's own tools have in their cache are taken from there, which without
//! a network is the only place but nimify's own cache.

mod name;

use std::env;
use std::fs::{self, File};
use std::io::Read as _;
use std::path::{Path, PathBuf};

use hf_hub::{Cache as HubCache, Repo, RepoType, api::sync::ApiBuilder};
use serde::Deserialize;
use url::Url;
use zeroize::Zeroizing;

pub use name::HubModel;

use super::choose::{self, Choice};
use super::download::{Downloaded, Wanted, download};
use super::error::files;
use super::listed::{Bring, Brought, Order};
use super::login::Login;
use super::web::{Ask, Client, check_tls};
use super::{Error, FetchRequest};
use crate::digest::Digest;
use crate::files::RelativePath;
use crate::model;
use crate::registry::HostError;

/// Largest answer about a repository, bytes.
const LARGEST_ANSWER: u64 = 16 << 20;
/// Largest file with a token or a commit, bytes.
const LARGEST_WORD: u64 = 4 << 10;

/// Where credentials for the hub go.
const HINT: &str = "`HF_TOKEN`, or the token file that `hf auth login` writes, says who asks; some models want their terms accepted first";

/// Where the hub is, and what it is shown.
pub(super) struct Hub<'a> {
    model: &'a HubModel,
    cache: Option<HubCache>,
    /// `None` where the network is not to be used.
    client: Option<(Client, Url)>,
}

/// What the hub says of a repository at one commit.
#[derive(Debug, Deserialize)]
struct Info {
    sha: String,
    #[serde(default)]
    siblings: Vec<Sibling>,
}

/// One file of it.
#[derive(Debug, Deserialize)]
struct Sibling {
    rfilename: String,
    #[serde(default)]
    lfs: Option<Lfs>,
}

/// Of a large file.
#[derive(Debug, Deserialize)]
struct Lfs {
    sha256: String,
}

impl<'a> Hub<'a> {
    pub(super) fn new(request: &FetchRequest<'_>, model: &'a HubModel) -> Result<Self, Error> {
        let offline = request.offline
            || env::var("HF_HUB_OFFLINE").is_ok_and(|word| matches!(word.as_str(), "1" | "true" | "ON" | "YES"));
        let home = home(&|name| env::var_os(name).filter(|value| !value.is_empty()));
        let cache = home.as_ref().map(|(_, hub)| HubCache::new(hub.clone()));
        let client = if offline { None } else { Some(Self::client(request, home.map(|(home, _)| home))?) };
        Ok(Hub { model, cache, client })
    }

    fn client(request: &FetchRequest<'_>, home: Option<PathBuf>) -> Result<(Client, Url), Error> {
        let endpoint = match env::var("HF_ENDPOINT").ok().filter(|text| !text.is_empty()) {
            Some(endpoint) => endpoint,
            None => default_endpoint(),
        };
        let wrong = |reason: String| Error::Credentials { origin: "`HF_ENDPOINT`".into(), reason };
        let mut url = Url::parse(&endpoint).map_err(|error| wrong(error.to_string()))?;
        let is_plain = url.username().is_empty() && url.password().is_none() && url.host().is_some();
        if !matches!(url.scheme(), "http" | "https") || !is_plain {
            return Err(wrong("it should be `https://HOST`".into()));
        }
        check_tls(&url, request.plain_http, &request.source.name())?;
        if !url.path().ends_with('/') {
            url.set_path(&format!("{}/", url.path()));
        }
        Ok((Client::new(&url, login(home.as_deref())?, HINT), url))
    }

    /// What the hub says of the revision.
    fn info(&self, client: &Client, base: &Url, revision: &str) -> Result<Info, Error> {
        let path = format!("api/models/{}/revision/{}?blobs=true", self.model.repository, revision.replace('/', "%2F"));
        let url = base.join(&path).expect("a repository's and a revision's name make an address");
        let ask = Ask { url, headers: Vec::new(), attempt: format!("look up `{}`", self.model) };
        let bytes = client.text(&ask, LARGEST_ANSWER)?;
        let host = base.host_str().unwrap_or_default().to_string();
        let odd = |reason: String| Error::Host { error: HostError::odd(&ask.attempt, &host, reason), login: HINT };
        let info: Info = serde_json::from_slice(&bytes).map_err(|error| odd(format!("is not the hub's: {error}")))?;
        let commit = info.sha.len() == 40 && info.sha.bytes().all(|byte| byte.is_ascii_hexdigit());
        if commit { Ok(info) } else { Err(odd("names no commit".into())) }
    }

    /// The snapshot of a revision in the hub's own cache: its commit and its folder.
    fn snapshot(&self, revision: &str) -> Option<(String, PathBuf)> {
        let cache = self.cache.as_ref()?;
        let named = Repo::with_revision(self.model.repository.clone(), RepoType::Model, revision.into());
        let repository = cache.path().join(named.folder_name());
        let commit = match read_word(&repository.join("refs").join(revision)) {
            Some(commit) => commit,
            None => revision.to_string(),
        };
        let commit = commit.trim();
        let hex = commit.len() == 40 && commit.bytes().all(|byte| byte.is_ascii_hexdigit());
        let folder = cache.repo(named).pointer_path(commit);
        (hex && folder.is_dir()).then(|| (commit.to_string(), folder))
    }
}

impl Bring for Hub<'_> {
    fn offline(&self) -> bool {
        true
    }

    fn bring(&self, order: &mut Order<'_>) -> Result<Brought, Error> {
        let revision = order.locked.or(self.model.revision.as_deref()).unwrap_or("main");
        let Some((client, base)) = self.client.as_ref().filter(|_| !order.offline) else {
            let found = self.snapshot(revision);
            let (commit, folder) = found.ok_or_else(|| Error::NotCached { source_name: order.source_name.clone() })?;
            let paths = paths_below(&folder);
            Files { hub: self, commit: &commit, snapshot: Some(folder), siblings: &[], remote: None }
                .choose_and_take(&paths, order)?;
            return Ok(Brought::Files { revision: Some(commit), validator: None });
        };
        let info = self.info(client, base, revision)?;
        if order.known.is_some_and(|known| known.revision.as_deref() == Some(&info.sha)) {
            return Ok(Brought::Unchanged);
        }
        // What isn't a plain path can't be a file of a model, and is nowhere written.
        let paths: Vec<RelativePath> =
            info.siblings.iter().filter_map(|sibling| sibling.rfilename.parse().ok()).collect();
        let snapshot = self.snapshot(&info.sha).map(|(_, folder)| folder);
        let remote = Some((client, base));
        Files { hub: self, commit: &info.sha, snapshot, siblings: &info.siblings, remote }
            .choose_and_take(&paths, order)?;
        Ok(Brought::Files { revision: Some(info.sha), validator: None })
    }
}

/// The files of one commit.
struct Files<'a> {
    hub: &'a Hub<'a>,
    commit: &'a str,
    /// The hub's own cache of it.
    snapshot: Option<PathBuf>,
    siblings: &'a [Sibling],
    remote: Option<(&'a Client, &'a Url)>,
}

impl Files<'_> {
    /// Takes the model, what it needs, and what belongs to it.
    fn choose_and_take(&self, paths: &[RelativePath], order: &mut Order<'_>) -> Result<(), Error> {
        let Choice { model, sides } =
            choose::choose(paths, self.hub.model.file.as_ref()).map_err(|reason| order.wrong(reason))?;
        self.take(&model, order)?;
        for path in choose::beside(&model, &model::needed(&order.files.path(&model), &model::Limits::default())) {
            if !paths.contains(&path) {
                return Err(order.wrong(format!("lacks `{}`, which has weights of the model", path.as_str())));
            }
            self.take(&path, order)?;
        }
        sides.iter().try_for_each(|path| self.take(path, order))
    }

    fn take(&self, path: &RelativePath, order: &mut Order<'_>) -> Result<(), Error> {
        let sibling = self.siblings.iter().find(|sibling| sibling.rfilename == path.as_str());
        let digest = sibling.and_then(|sibling| sibling.lfs.as_ref());
        let digest: Option<Digest> = digest.and_then(|lfs| format!("sha256:{}", lfs.sha256).parse().ok());
        if let Some(here) = self.snapshot.as_ref().map(|folder| folder.join(path))
            && self.is_good(&here, digest)
        {
            let open = File::open(&here).map_err(files("read", &here))?;
            return order.files.write(path, open).map_err(|unfit| unfit.of(&order.source_name, &here));
        }
        let Some((client, base)) = self.remote else {
            return Err(Error::NotCached { source_name: order.source_name.clone() });
        };
        let mut url = base.join(&self.hub.model.repository).expect("a repository's name makes an address");
        if let Ok(mut segments) = url.path_segments_mut() {
            segments.extend(["resolve", self.commit]).extend(path.as_str().split('/'));
        }
        let identity = Some(url.to_string());
        let name = format!("hf://{}/{}", self.hub.model.repository, path.as_str());
        match download(client, &Wanted { url, name, identity, unless: None, digest }, order)? {
            Downloaded::File { path: part, .. } => order.take(path, &part),
            Downloaded::Unchanged => Err(order.wrong("did not come")),
        }
    }

    /// Whether the hub's own cache has the file: by its digest where the hub tells that, which it does of large files.
    fn is_good(&self, here: &Path, digest: Option<Digest>) -> bool {
        match digest {
            Some(digest) => Digest::of_file(here).is_ok_and(|(found, _)| found == digest),
            None => here.is_file(),
        }
    }
}

/// Where the hub is, as its own library says.
fn default_endpoint() -> String {
    // Nothing is read from the cache: it only has to have a name.
    let nowhere = HubCache::new("/nonexistent/hub".into());
    let api = ApiBuilder::from_cache(nowhere).with_progress(false).build().ok();
    let url = api.map(|api| api.model("a/b".into()).url("c")).unwrap_or_default();
    url.split("/a/b/").next().unwrap_or_default().into()
}

/// The hub's folders: its own, and its cache in that, by what `variable` says of the environment.
fn home(variable: &dyn Fn(&str) -> Option<std::ffi::OsString>) -> Option<(PathBuf, PathBuf)> {
    let path = |name: &str| variable(name).map(PathBuf::from);
    let caches = path("XDG_CACHE_HOME").or_else(|| path("HOME").map(|home| home.join(".cache")));
    let home = path("HF_HOME").or_else(|| caches.map(|caches| caches.join("huggingface")))?;
    let hub = path("HF_HUB_CACHE").unwrap_or_else(|| home.join("hub"));
    Some((home, hub))
}

/// The user's token: of the environment, or the file that the hub's own tools write.
fn login(home: Option<&Path>) -> Result<Option<Login>, Error> {
    let given = env::var("HF_TOKEN").ok().map(Zeroizing::new).filter(|token| !token.trim().is_empty());
    let (token, origin) = match given {
        Some(token) => (token, "`HF_TOKEN`".to_string()),
        None => {
            let place = env::var_os("HF_TOKEN_PATH").map(PathBuf::from).or_else(|| home.map(|home| home.join("token")));
            let Some(place) = place else { return Ok(None) };
            let Some(token) = read_word(&place) else { return Ok(None) };
            (Zeroizing::new(token), format!("`{}`", place.display()))
        }
    };
    let word = token.trim();
    if word.is_empty() {
        return Ok(None);
    }
    Login::token(word, origin).map(Some)
}

/// A small text file; `None` where there is none.
fn read_word(path: &Path) -> Option<String> {
    let mut text = String::new();
    File::open(path).ok()?.take(LARGEST_WORD).read_to_string(&mut text).ok()?;
    Some(text)
}

/// The files of a snapshot: links into the folder of blobs.
fn paths_below(folder: &Path) -> Vec<RelativePath> {
    let entries = walkdir::WalkDir::new(folder).min_depth(1).max_depth(8).sort_by_file_name();
    let files =
        entries.into_iter().flatten().filter(|entry| fs::metadata(entry.path()).is_ok_and(|data| data.is_file()));
    let paths = files
        .take(super::content::MOST_FILES)
        .filter_map(|entry| entry.path().strip_prefix(folder).ok()?.to_str()?.parse().ok());
    paths.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_hub_has_an_address_without_ours_knowing_it() {
        let url = Url::parse(&default_endpoint()).unwrap();
        assert_eq!((url.scheme(), url.path()), ("https", "/"));
    }

    #[test]
    fn the_folders_are_those_of_the_hubs_own_tools() {
        let with = |set: &[(&str, &str)]| {
            let set: Vec<(String, std::ffi::OsString)> = set.iter().map(|(n, v)| (n.to_string(), v.into())).collect();
            home(&move |name| set.iter().find(|(known, _)| known == name).map(|(_, value)| value.clone()))
                .map(|(home, hub)| (home.display().to_string(), hub.display().to_string()))
        };
        let pair = |home: &str, hub: &str| Some((home.to_string(), hub.to_string()));
        assert_eq!(with(&[("HOME", "/h")]), pair("/h/.cache/huggingface", "/h/.cache/huggingface/hub"));
        assert_eq!(with(&[("HF_HOME", "/f"), ("HOME", "/h")]), pair("/f", "/f/hub"));
        assert_eq!(with(&[("HF_HUB_CACHE", "/c"), ("HF_HOME", "/f")]), pair("/f", "/c"));
        assert_eq!(with(&[]), None);
    }
}
