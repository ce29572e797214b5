//! Whom a registry is asked as: the credentials that the user's other tools have stored already.
//!
//! In this order: `DOCKER_AUTH_CONFIG`; `config.json` in `$DOCKER_CONFIG` or `~/.docker`; `$REGISTRY_AUTH_FILE`; podman's
//! `containers/auth.json`. In each of them a helper for the registry comes first, then the helper for all, then what
//! the file itself holds.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fmt;
use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::Deserialize;
use zeroize::Zeroizing;

use super::reference::DOCKER_HUB;
use super::{Error, Repository, helper};

/// Largest file of credentials that is read, bytes.
const LARGEST_FILE: u64 = 4 << 20;
/// The name under which Docker stores the credentials of its own registry.
const DOCKER_HUB_KEY: &str = "https://index.docker.io/v1/";

/// A text that is never printed and is wiped when it goes.
#[derive(Clone, PartialEq, Eq, Deserialize)]
#[serde(from = "String")]
pub(crate) struct Secret(Zeroizing<String>);

impl Secret {
    pub(crate) fn reveal(&self) -> &str {
        &self.0
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl From<String> for Secret {
    fn from(text: String) -> Self {
        Secret(Zeroizing::new(text))
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("…")
    }
}

/// What a registry is shown.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Credentials {
    /// A user's name and password, or a token in the password's place.
    Basic { username: String, password: Secret },
    /// A token that the registry's token service exchanges for others.
    Identity(Secret),
    /// A token that the registry itself takes.
    Bearer(Secret),
}

/// Credentials, and where they were found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Found {
    pub(super) credentials: Credentials,
    pub(super) origin: String,
}

/// `config.json` and `auth.json`, as far as they matter here.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Stored {
    #[serde(default)]
    auths: BTreeMap<String, Entry>,
    #[serde(default)]
    cred_helpers: BTreeMap<String, String>,
    #[serde(default)]
    creds_store: Option<String>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Entry {
    auth: Option<Secret>,
    username: Option<String>,
    password: Option<Secret>,
    identitytoken: Option<Secret>,
    registrytoken: Option<Secret>,
}

/// Looks for the credentials for `repository` by what `variable` says about the environment. `None`: there are none.
pub(super) fn find(
    repository: &Repository,
    variable: &dyn Fn(&str) -> Option<OsString>,
) -> Result<Option<Found>, Error> {
    let set = |name: &str| variable(name).filter(|value| !value.is_empty());
    if let Some(text) = set("DOCKER_AUTH_CONFIG") {
        let origin = "the variable `DOCKER_AUTH_CONFIG`";
        let text = Zeroizing::new(text.into_encoded_bytes());
        if let Some(found) = in_stored(&parse(&text, origin)?, repository, origin)? {
            return Ok(Some(found));
        }
    }
    for path in places(&set) {
        let Some(text) = read(&path)? else { continue };
        let origin = format!("`{}`", path.display());
        if let Some(found) = in_stored(&parse(&text, &origin)?, repository, &origin)? {
            return Ok(Some(found));
        }
    }
    Ok(None)
}

fn places(set: &dyn Fn(&str) -> Option<OsString>) -> Vec<PathBuf> {
    let folder = |name: &str| set(name).map(PathBuf::from);
    let home = folder("HOME");
    let below_home = |path: &str| home.as_ref().map(|home| home.join(path));
    let docker = folder("DOCKER_CONFIG").or_else(|| below_home(".docker")).map(|folder| folder.join("config.json"));
    let run = folder("XDG_RUNTIME_DIR").map(|folder| folder.join("containers/auth.json"));
    let config = folder("XDG_CONFIG_HOME").or_else(|| below_home(".config"));
    let config = config.map(|folder| folder.join("containers/auth.json"));
    [docker, folder("REGISTRY_AUTH_FILE"), run, config].into_iter().flatten().collect()
}

fn read(path: &Path) -> Result<Option<Zeroizing<Vec<u8>>>, Error> {
    let failed = |source: io::Error| match source.kind() {
        io::ErrorKind::NotFound | io::ErrorKind::NotADirectory => Ok(None),
        _ => Err(Error::Files { attempt: "read the credentials in", path: path.into(), source }),
    };
    let mut text = Zeroizing::new(Vec::new());
    match File::open(path).and_then(|file| file.take(LARGEST_FILE).read_to_end(&mut text)) {
        Ok(_) => Ok(Some(text)),
        Err(error) => failed(error),
    }
}

fn parse(text: &[u8], origin: &str) -> Result<Stored, Error> {
    // An empty file is how some tools log out.
    if text.trim_ascii().is_empty() {
        return Ok(Stored::default());
    }
    serde_json::from_slice(text).map_err(|error| {
        // Where, but not what: the library quotes values.
        let reason = format!("not the JSON of a credentials file at line {}, column {}", error.line(), error.column());
        Error::Credentials { origin: origin.into(), reason }
    })
}

fn in_stored(stored: &Stored, repository: &Repository, origin: &str) -> Result<Option<Found>, Error> {
    let keys = keys(repository);
    let server = if repository.registry() == DOCKER_HUB { DOCKER_HUB_KEY } else { repository.registry() };
    let own = keys.iter().find_map(|key| stored.cred_helpers.get(key));
    for program in own.into_iter().chain(&stored.creds_store).filter(|name| !name.is_empty()) {
        if let Some(credentials) = helper::ask(program, server, origin)? {
            let origin = format!("the credential helper `{program}`");
            return Ok(Some(Found { credentials, origin }));
        }
    }
    let bare = |key: &str| {
        let key = key.strip_prefix("https://").or_else(|| key.strip_prefix("http://")).unwrap_or(key);
        key.trim_end_matches('/').trim_end_matches("/v1").trim_end_matches("/v2").to_string()
    };
    for key in &keys {
        let entry = stored.auths.iter().find(|(name, _)| *name == key || bare(name) == bare(key));
        if let Some((_, entry)) = entry
            && let Some(credentials) = of_entry(entry, origin)?
        {
            return Ok(Some(Found { credentials, origin: origin.into() }));
        }
    }
    Ok(None)
}

/// The names under which credentials for the repository may stand: podman's files have paths too, the longest first.
fn keys(repository: &Repository) -> Vec<String> {
    let whole = repository.to_string();
    let cuts = whole.match_indices('/').map(|(at, _)| at).chain([whole.len()]).rev();
    let mut keys: Vec<String> = cuts.map(|at| whole[..at].to_string()).collect();
    if repository.registry() == DOCKER_HUB {
        keys.extend([DOCKER_HUB_KEY.into(), "index.docker.io".into(), repository.host().into()]);
    }
    keys
}

fn of_entry(entry: &Entry, origin: &str) -> Result<Option<Credentials>, Error> {
    let given = |secret: &Option<Secret>| secret.clone().filter(|secret| !secret.is_empty());
    if let Some(token) = given(&entry.identitytoken) {
        return Ok(Some(Credentials::Identity(token)));
    }
    if let Some(token) = given(&entry.registrytoken) {
        return Ok(Some(Credentials::Bearer(token)));
    }
    if let Some(auth) = given(&entry.auth) {
        return basic(&auth).map(Some).ok_or_else(|| Error::Credentials {
            origin: origin.into(),
            reason: "an `auth` in it is not the base64 of `name:password`".into(),
        });
    }
    let username = entry.username.clone().filter(|name| !name.is_empty());
    Ok(username.zip(given(&entry.password)).map(|(username, password)| Credentials::Basic { username, password }))
}

fn basic(auth: &Secret) -> Option<Credentials> {
    let bytes = Zeroizing::new(STANDARD.decode(auth.reveal()).ok()?);
    // Docker pads with zero bytes.
    let text = std::str::from_utf8(&bytes).ok()?.trim_end_matches('\0');
    let (username, password) = text.split_once(':')?;
    Some(Credentials::Basic { username: username.into(), password: password.to_string().into() })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn repository(text: &str) -> Repository {
        text.parse::<super::super::Reference>().unwrap().repository
    }

    fn look(set: &[(&str, &str)], reference: &str) -> Option<Found> {
        let set: BTreeMap<String, OsString> = set.iter().map(|(n, v)| (n.to_string(), v.into())).collect();
        find(&repository(reference), &|name| set.get(name).cloned()).unwrap()
    }

    fn login(name: &str, password: &str) -> Credentials {
        Credentials::Basic { username: name.into(), password: password.to_string().into() }
    }

    fn auths(entries: &[(&str, &str)]) -> String {
        let entry = |(host, pair): &(&str, &str)| format!(r#""{host}":{{"auth":"{}"}}"#, STANDARD.encode(pair));
        format!(r#"{{"auths":{{{}}}}}"#, entries.iter().map(entry).collect::<Vec<_>>().join(","))
    }

    #[test]
    fn the_order_is_variable_then_docker_then_podman() {
        let home = tempfile::tempdir().unwrap();
        let at = |path: &str| home.path().join(path);
        let write = |path: &str, name: &str| {
            std::fs::create_dir_all(at(path).parent().unwrap()).unwrap();
            std::fs::write(at(path), auths(&[("r.example.com", &format!("{name}:pw"))])).unwrap();
        };
        let root = home.path().to_str().unwrap();
        let (docker, file) = (at("d").display().to_string(), at("file.json").display().to_string());
        let mut set = vec![("HOME", root)];
        assert_eq!(look(&set, "r.example.com/a"), None);
        for (path, name) in [(".config/containers/auth.json", "podman"), (".docker/config.json", "docker")] {
            write(path, name);
            assert_eq!(look(&set, "r.example.com/a").unwrap().credentials, login(name, "pw"));
        }
        write("file.json", "file");
        write("d/config.json", "folder");
        set.push(("REGISTRY_AUTH_FILE", &file));
        set.push(("DOCKER_CONFIG", "/nowhere"));
        assert_eq!(look(&set, "r.example.com/a").unwrap().credentials, login("file", "pw"));
        set.pop();
        set.push(("DOCKER_CONFIG", &docker));
        assert_eq!(look(&set, "r.example.com/a").unwrap().credentials, login("folder", "pw"));
        let variable = auths(&[("r.example.com", "ci:pa:ss")]);
        set.push(("DOCKER_AUTH_CONFIG", &variable));
        assert_eq!(look(&set, "r.example.com/a").unwrap().credentials, login("ci", "pa:ss"));
        assert_eq!(look(&set, "other.example.com/a"), None);
    }

    #[test]
    fn the_longest_path_wins_and_docker_hub_has_its_own_name() {
        let stored = auths(&[("r.example.com", "host:1"), ("r.example.com/ml", "team:2"), (DOCKER_HUB_KEY, "hub:3")]);
        let set = [("DOCKER_AUTH_CONFIG", stored.as_str())];
        assert_eq!(look(&set, "r.example.com/ml/digits").unwrap().credentials, login("team", "2"));
        assert_eq!(look(&set, "r.example.com/mlx/digits").unwrap().credentials, login("host", "1"));
        assert_eq!(look(&set, "debian").unwrap().credentials, login("hub", "3"));
        let stored = auths(&[("https://r.example.com/v1/", "old:4")]);
        let set = [("DOCKER_AUTH_CONFIG", stored.as_str())];
        assert_eq!(look(&set, "r.example.com/a").unwrap().credentials, login("old", "4"));
    }

    #[test]
    fn tokens_are_told_apart_and_never_shown() {
        let stored = r#"{"auths":{"a.example.com":{"auth":"eDp5","identitytoken":"refresh"},
                         "b.example.com":{"registrytoken":"bearer"},"c.example.com":{}}}"#;
        let set = [("DOCKER_AUTH_CONFIG", stored)];
        let found = look(&set, "a.example.com/x").unwrap();
        assert_eq!(found.credentials, Credentials::Identity("refresh".to_string().into()));
        assert!(!format!("{found:?}").contains("refresh"));
        let found = look(&set, "b.example.com/x").unwrap().credentials;
        assert_eq!(found, Credentials::Bearer("bearer".to_string().into()));
        assert_eq!(look(&set, "c.example.com/x"), None);
    }

    #[test]
    fn broken_files_are_told_without_their_contents() {
        for broken in ["{\"auths\": \"hunter2\"", r#"{"auths":{"r.example.com":{"auth":"hunter2!"}}}"#] {
            let text = OsString::from(broken);
            let error =
                find(&repository("r.example.com/a"), &|name| (name == "DOCKER_AUTH_CONFIG").then(|| text.clone()));
            let error = error.unwrap_err().to_string();
            assert!(error.contains("DOCKER_AUTH_CONFIG") && !error.contains("hunter2"), "{error}");
        }
    }
}
