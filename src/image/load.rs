//! An OCI layout → a Docker or Podman engine, through its API, streaming the archive while it is made.

use std::io::{self, Read};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};

use bollard::Docker;
use bollard::query_parameters::{ImportImageOptionsBuilder, TagImageOptionsBuilder};
use bytes::Bytes;
use futures_util::StreamExt;

use super::archive::Archive;
use super::layout::{OpenedLayout, open_layout};
use crate::digest::Digest;

/// Why an image could not be loaded.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The layout can't be read.
    #[error(transparent)]
    Image(#[from] super::Error),
    /// No engine answers. Hint: start Docker or Podman, or name its socket in `DOCKER_HOST`.
    #[error("no container engine answers: tried {}", list(tried))]
    NotRunning {
        /// The sockets that were tried.
        tried: Vec<String>,
    },
    /// There is an engine that this user may not speak to. Hint: join the engine's group, or use a rootless engine.
    #[error("no permission to use the container engine's socket `{socket}`")]
    NoPermission {
        /// The socket.
        socket: String,
    },
    /// `DOCKER_HOST` names a way that isn't supported. Hint: `unix:///path` or `tcp://host:port`.
    #[error("`{0}` is not an engine's address that can be used: it takes `unix://` and `tcp://`, without TLS")]
    Address(String),
    /// The engine answered with an error, told in its own words.
    #[error("the container engine at `{engine}` refused to {action}: {words}")]
    Refused {
        /// Its address.
        engine: String,
        /// What was attempted.
        action: &'static str,
        /// What it said.
        words: String,
    },
    /// The engine took the archive without a complaint but doesn't have the image.
    #[error("the container engine at `{engine}` took the image but doesn't know `{digest}`")]
    Lost {
        /// Its address.
        engine: String,
        /// The image's digest.
        digest: Digest,
    },
    /// A program that brings the image there is not installed.
    #[error("`{0}` is not installed: images go to containerd through it")]
    NoProgram(&'static str),
    /// The layout doesn't say what its image is called, and no tags were given.
    #[error("the image in `{}` has no name: give it a tag", .0.display())]
    Nameless(PathBuf),
}

fn list(sockets: &[String]) -> String {
    sockets.iter().map(|socket| format!("`{socket}`")).collect::<Vec<_>>().join(", ")
}

/// Where an engine listens.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Engine {
    /// On a Unix socket.
    Unix(PathBuf),
    /// On TCP without TLS: `host:port`.
    Tcp(String),
}

impl std::fmt::Display for Engine {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Engine::Unix(path) => write!(f, "unix://{}", path.display()),
            Engine::Tcp(address) => write!(f, "tcp://{address}"),
        }
    }
}

impl std::str::FromStr for Engine {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        let filled = |rest: &&str| !rest.is_empty();
        if let Some(path) = text.strip_prefix("unix://").filter(filled) {
            return Ok(Engine::Unix(path.into()));
        }
        let address = text.strip_prefix("tcp://").or_else(|| text.strip_prefix("http://")).filter(filled);
        address.map(|address| Engine::Tcp(address.into())).ok_or_else(|| Error::Address(text.into()))
    }
}

/// What was loaded.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct Loaded {
    /// The engine's id of the image: the digest of its configuration or of its manifest.
    pub id: String,
    /// The tags that name it now.
    pub tags: Vec<String>,
    /// The engine that has it.
    pub engine: String,
}

impl Engine {
    /// The engine that the environment names (`DOCKER_HOST`, `CONTAINER_HOST`), or else the first that answers on one
    /// of Docker's and Podman's usual sockets.
    pub fn find(variable: impl Fn(&str) -> Option<String>) -> Result<Self, Error> {
        let set = |name: &str| variable(name).filter(|value| !value.is_empty());
        if let Some(address) = set("DOCKER_HOST") {
            if set("DOCKER_TLS_VERIFY").is_some() {
                return Err(Error::Address(address));
            }
            return address.parse();
        }
        if let Some(address) = set("CONTAINER_HOST") {
            return address.parse();
        }
        let below = |name: &str, path: &str| set(name).map(|folder| Path::new(&folder).join(path));
        let usual = [
            Some("/var/run/docker.sock".into()),
            below("XDG_RUNTIME_DIR", "docker.sock"),
            below("HOME", ".docker/run/docker.sock"),
            below("XDG_RUNTIME_DIR", "podman/podman.sock"),
            Some("/run/podman/podman.sock".into()),
        ];
        let usual: Vec<PathBuf> = usual.into_iter().flatten().collect();
        let mut forbidden = None;
        for path in &usual {
            match UnixStream::connect(path) {
                Ok(_) => return Ok(Engine::Unix(path.clone())),
                Err(error) if error.kind() == io::ErrorKind::PermissionDenied => forbidden = forbidden.or(Some(path)),
                Err(_) => {}
            }
        }
        Err(match forbidden {
            Some(path) => Error::NoPermission { socket: path.display().to_string() },
            None => Error::NotRunning { tried: usual.iter().map(|path| path.display().to_string()).collect() },
        })
    }

    /// Whether somebody listens there.
    pub fn answers(&self) -> Result<(), Error> {
        let connected = match self {
            Engine::Unix(path) => UnixStream::connect(path).map(drop),
            Engine::Tcp(address) => std::net::TcpStream::connect(address).map(drop),
        };
        let socket = || match self {
            Engine::Unix(path) => path.display().to_string(),
            Engine::Tcp(_) => self.to_string(),
        };
        connected.map_err(|error| match error.kind() {
            io::ErrorKind::PermissionDenied => Error::NoPermission { socket: socket() },
            _ => Error::NotRunning { tried: vec![socket()] },
        })
    }

    /// Connects, and settles on a version of the API.
    async fn connect(&self) -> Result<Docker, Error> {
        let docker = match self {
            Engine::Unix(path) => {
                self.answers()?;
                let socket = path.display().to_string();
                Docker::connect_with_unix(&socket, LONGEST_SECONDS, bollard::API_DEFAULT_VERSION)
            }
            Engine::Tcp(address) => Docker::connect_with_http(address, LONGEST_SECONDS, bollard::API_DEFAULT_VERSION),
        };
        let refused = |error| self.refused("connect", &error);
        match docker.map_err(refused)?.negotiate_version().await {
            Ok(docker) => Ok(docker),
            // Over TCP nothing was tried before.
            Err(error) if is_refused_connection(&error) => Err(Error::NotRunning { tried: vec![self.to_string()] }),
            Err(error) => Err(refused(error)),
        }
    }

    fn refused(&self, action: &'static str, error: &bollard::errors::Error) -> Error {
        let words = match error {
            bollard::errors::Error::DockerResponseServerError { message, .. } => message.clone(),
            bollard::errors::Error::DockerStreamError { error } => error.clone(),
            other => chain(other),
        };
        Error::Refused { engine: self.to_string(), action, words }
    }
}

/// An engine may take long over a large model; whoever waits can interrupt.
const LONGEST_SECONDS: u64 = 6 * 3600;

fn is_refused_connection(error: &(dyn std::error::Error + 'static)) -> bool {
    let mut cause = Some(error);
    while let Some(error) = cause {
        let kind = error.downcast_ref::<io::Error>().map(io::Error::kind);
        if matches!(kind, Some(io::ErrorKind::ConnectionRefused | io::ErrorKind::NotFound)) {
            return true;
        }
        cause = error.source();
    }
    false
}

fn chain(error: &dyn std::error::Error) -> String {
    let mut words = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let more = error.to_string();
        if !words.contains(&more) {
            words = format!("{words}: {more}");
        }
        cause = error.source();
    }
    words
}

/// Loads the image of the layout `folder` into `engine` and gives it `tags`; without any, the name in the layout
/// (`NAME:VERSION`) and `NAME:latest`.
pub async fn load(folder: &Path, tags: &[String], engine: &Engine) -> Result<Loaded, Error> {
    let layout = open_layout(folder)?;
    let tags = match tags {
        [] => default_tags(&layout)?,
        given => given.to_vec(),
    };
    let archive = Archive::new(&layout, &tags)?;
    let docker = engine.connect().await?;
    let mut answers = std::pin::pin!(docker.import_image_stream(
        ImportImageOptionsBuilder::default().quiet(true).build(),
        stream(archive),
        None
    ));
    while let Some(answer) = answers.next().await {
        answer.map_err(|error| engine.refused("load the image", &error))?;
    }
    let id = find_image(&docker, &layout, &tags).await;
    let id = id.ok_or_else(|| Error::Lost { engine: engine.to_string(), digest: layout.digest })?;
    for tag in &tags {
        tag_image(&docker, &id, tag).await.map_err(|error| engine.refused("tag the image", &error))?;
    }
    Ok(Loaded { id, tags, engine: engine.to_string() })
}

pub(super) fn default_tags(layout: &OpenedLayout) -> Result<Vec<String>, Error> {
    let reference = layout.reference.clone().ok_or_else(|| Error::Nameless(layout.folder.clone()))?;
    let latest = format!("{}:latest", split(&reference).0);
    Ok(if latest == reference { vec![reference] } else { vec![reference, latest] })
}

/// `NAME:TAG` into its parts; a colon before the last `/` belongs to a port.
fn split(reference: &str) -> (&str, &str) {
    reference.rsplit_once(':').filter(|(_, tag)| !tag.contains('/')).unwrap_or((reference, "latest"))
}

/// The archive in pieces, read on a thread of its own: reading blocks.
fn stream(mut archive: Archive) -> impl futures_util::Stream<Item = io::Result<Bytes>> + Send + 'static {
    let (sender, receiver) = tokio::sync::mpsc::channel(4);
    tokio::task::spawn_blocking(move || {
        let mut buffer = vec![0; 1 << 18];
        loop {
            let piece = match archive.read(&mut buffer) {
                Ok(0) => break,
                Ok(n) => Ok(Bytes::copy_from_slice(&buffer[..n])),
                Err(error) => Err(error),
            };
            let last = piece.is_err();
            // The engine may have hung up: there is no one left to tell.
            if sender.blocking_send(piece).is_err() || last {
                break;
            }
        }
    });
    futures_util::stream::unfold(receiver, |mut receiver| async { Some((receiver.recv().await?, receiver)) })
}

/// The engine's id of the loaded image. The classic store knows it by its configuration, others by its manifest; and
/// some engines put a prefix before a name, so that a name may still lead to an older image.
async fn find_image(docker: &Docker, layout: &OpenedLayout, tags: &[String]) -> Option<String> {
    let ids = [layout.config.to_string(), layout.digest.to_string()];
    for name in ids.iter().chain(tags) {
        if let Some(id) = id_of(docker, name).await
            && ids.contains(&id)
        {
            return Some(id);
        }
    }
    None
}

async fn id_of(docker: &Docker, name: &str) -> Option<String> {
    let id = docker.inspect_image(name).await.ok()?.id?;
    // Podman leaves the algorithm out.
    Some(if id.contains(':') { id } else { format!("sha256:{id}") })
}

async fn tag_image(docker: &Docker, id: &str, tag: &str) -> Result<(), bollard::errors::Error> {
    if id_of(docker, tag).await.as_deref() == Some(id) {
        return Ok(());
    }
    let (repository, tag) = split(tag);
    docker.tag_image(id, Some(TagImageOptionsBuilder::default().repo(repository).tag(tag).build())).await
}

#[cfg(test)]
mod tests {
    use super::*;

    fn find(set: &[(&str, &str)]) -> Result<Engine, Error> {
        let get = |name: &str| set.iter().find(|(known, _)| *known == name).map(|(_, value)| value.to_string());
        Engine::find(get)
    }

    #[test]
    fn the_environment_names_the_engine() {
        assert_eq!(find(&[("DOCKER_HOST", "unix:///x/y.sock")]).unwrap(), Engine::Unix("/x/y.sock".into()));
        assert_eq!(find(&[("DOCKER_HOST", "tcp://h:2375")]).unwrap(), Engine::Tcp("h:2375".into()));
        assert_eq!(find(&[("CONTAINER_HOST", "unix:///p.sock")]).unwrap(), Engine::Unix("/p.sock".into()));
        for address in ["ssh://host", "unix://", "/var/run/docker.sock", "tcp://"] {
            assert!(matches!(find(&[("DOCKER_HOST", address)]), Err(Error::Address(_))), "{address}");
        }
        let tls = find(&[("DOCKER_HOST", "tcp://h:2376"), ("DOCKER_TLS_VERIFY", "1")]);
        assert!(matches!(tls, Err(Error::Address(_))));
    }

    #[test]
    fn a_socket_that_answers_is_found() {
        let home = tempfile::tempdir().unwrap();
        std::fs::create_dir(home.path().join("podman")).unwrap();
        let socket = home.path().join("podman/podman.sock");
        let _listener = std::os::unix::net::UnixListener::bind(&socket).unwrap();
        // A Docker that runs on this machine comes first.
        if UnixStream::connect("/var/run/docker.sock").is_err() {
            let found = find(&[("XDG_RUNTIME_DIR", home.path().to_str().unwrap())]).unwrap();
            assert_eq!(found, Engine::Unix(socket));
        }
    }

    #[test]
    fn references_are_split_at_the_tag() {
        for (reference, parts) in [
            ("digits:1.0", ("digits", "1.0")),
            ("host:5000/digits", ("host:5000/digits", "latest")),
            ("host:5000/digits:1", ("host:5000/digits", "1")),
        ] {
            assert_eq!(split(reference), parts);
        }
    }

    #[tokio::test]
    async fn no_engine_is_told_apart_from_a_deaf_one() {
        let home = tempfile::tempdir().unwrap();
        let none = Engine::Unix(home.path().join("none.sock")).connect().await;
        assert!(matches!(none, Err(Error::NotRunning { .. })));
        let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let closed = Engine::Tcp(format!("127.0.0.1:{port}")).connect().await;
        assert!(matches!(closed, Err(Error::NotRunning { .. })), "{closed:?}");
    }
}
