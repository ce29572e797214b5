//! Requests to one host: over TLS unless it was asked for without, with bodies streamed from files.

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use ureq::config::AutoHeaderValue;
use ureq::http::{HeaderMap, Request as HttpRequest};
use ureq::tls::{Certificate, ClientCert, PemItem, PrivateKey, RootCerts, TlsConfig};
use ureq::unversioned::transport::DefaultConnector;
use ureq::{Agent, AsSendBody, Proxy, SendBody};
use url::Url;

use super::error::files;
use super::place::{self, Inside, Place, PublicOnly};
use super::retry::Trouble;
use super::upload::Source;
use super::{Error, Fault, HostError, Repository};
use crate::interrupt;

const CONNECT: Duration = Duration::from_secs(15);
/// A connection on which nothing moves for so long is dead.
const STALLED_WRITE: Duration = Duration::from_secs(60);
/// Registries check, and often copy, a whole layer before they answer.
const STALLED_READ: Duration = Duration::from_secs(300);
/// Largest certificate file that is read, bytes.
const LARGEST_CERTIFICATES: u64 = 4 << 20;

/// What is sent with a request.
#[derive(Clone, Copy)]
pub(crate) enum Body<'a> {
    None,
    Bytes(&'a [u8]),
    /// A part of a blob.
    Part {
        source: &'a Source,
        offset: u64,
        length: u64,
        /// Is told of bytes as they leave.
        moved: &'a (dyn Fn(u64) + Sync),
        /// Asked meanwhile whether to break off.
        stop: &'a (dyn Fn() -> bool + Sync),
    },
}

/// One request, which may be sent several times.
pub(crate) struct Request<'a> {
    pub(crate) method: &'static str,
    pub(crate) place: Place,
    pub(crate) headers: Vec<(&'static str, String)>,
    pub(crate) body: Body<'a>,
    /// What is attempted, for messages.
    pub(crate) attempt: String,
}

/// The head of an answer, and its body yet to be read.
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) headers: HeaderMap,
    pub(crate) body: ureq::Body,
    /// Where it came from.
    pub(crate) url: Url,
}

impl Answer {
    /// A header's text.
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name)?.to_str().ok()
    }

    /// The whole body, at most `limit` bytes of it.
    pub(crate) fn bytes(&mut self, limit: u64) -> io::Result<Vec<u8>> {
        let mut bytes = Vec::new();
        self.body.as_reader().take(limit).read_to_end(&mut bytes)?;
        Ok(bytes)
    }
}

/// Connections to a host, and to those that it leads to.
#[derive(Debug)]
pub(crate) struct Transport {
    own: Agent,
    foreign: Agent,
}

impl Transport {
    pub(crate) fn new(repository: &Repository, home: Option<&Path>) -> Result<Self, Error> {
        let (extra, client) = certificates(repository.host(), home)?;
        Ok(Self::with(extra, client))
    }

    /// With the certificates of this machine alone.
    pub(crate) fn plain() -> Self {
        Self::with(Vec::new(), None)
    }

    fn with(extra: Vec<Certificate<'static>>, client: Option<ClientCert>) -> Self {
        let machine = machine();
        let own = config(machine.iter().cloned().chain(extra).collect(), client, STALLED_READ);
        let foreign = config(machine, None, STALLED_READ);
        Transport {
            own: own.new_agent(),
            foreign: Agent::with_parts(foreign, DefaultConnector::default(), PublicOnly::default()),
        }
    }

    /// Sends the request once.
    pub(crate) fn send(&self, request: &Request<'_>, authorization: Option<&str>) -> Result<Answer, Trouble> {
        let url = &request.place.url;
        let mut builder = HttpRequest::builder().method(request.method).uri(url.as_str());
        for (name, value) in &request.headers {
            builder = builder.header(*name, value);
        }
        if let Some(authorization) = authorization.filter(|_| request.place.own) {
            builder = builder.header("Authorization", authorization);
        }
        let agent = if request.place.foreign { &self.foreign } else { &self.own };
        let invalid = |error: ureq::http::Error| answer(request, format!("can't be followed ({error})"));
        let mut broken = None;
        let sent = match request.body {
            Body::None => run(agent, builder.body(SendBody::none()).map_err(invalid)?),
            Body::Bytes(bytes) => run(agent, builder.body(bytes).map_err(invalid)?),
            Body::Part { source, offset, length, moved, stop } => {
                let inner: Box<dyn Read + '_> = match source {
                    Source::Bytes(bytes) => Box::new(bytes.get(offset as usize..).unwrap_or_default()),
                    Source::File(path) => {
                        let mut file = File::open(path).map_err(files("read", path))?;
                        file.seek(SeekFrom::Start(offset)).map_err(files("read", path))?;
                        Box::new(file)
                    }
                };
                let mut reader = Watched { inner: inner.take(length), moved, stop, broken: &mut broken };
                let builder = builder.header("Content-Length", length.to_string());
                run(agent, builder.body(SendBody::from_reader(&mut reader)).map_err(invalid)?)
            }
        };
        interrupt::check()?;
        if let (Some(source), Body::Part { source: Source::File(path), .. }) = (broken, request.body) {
            return Err(files("read", path)(source).into());
        }
        let sent = sent.map_err(|error| trouble(request, &error))?;
        let (head, body) = sent.into_parts();
        Ok(Answer { status: head.status.as_u16(), headers: head.headers, body, url: url.clone() })
    }
}

/// Sends a request. No proxy is between this machine and itself, or what a cloud has on the machine's own link: there it
/// would read what is meant for nobody else.
pub(crate) fn run(
    agent: &Agent,
    request: HttpRequest<impl AsSendBody>,
) -> Result<ureq::http::Response<ureq::Body>, ureq::Error> {
    if request.uri().host().is_some_and(place::is_near) {
        return agent.run(agent.configure_request(request).proxy(None).build());
    }
    agent.run(request)
}

/// The part of a blob on its way out.
struct Watched<'a> {
    inner: io::Take<Box<dyn Read + 'a>>,
    moved: &'a (dyn Fn(u64) + Sync),
    stop: &'a (dyn Fn() -> bool + Sync),
    /// The file's own error, to be told from the network's.
    broken: &'a mut Option<io::Error>,
}

impl Read for Watched<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        interrupt::check()?;
        if (self.stop)() {
            return Err(io::Error::other("another part failed"));
        }
        match self.inner.read(buffer) {
            Ok(0) if self.inner.limit() > 0 => {
                *self.broken = Some(io::Error::new(io::ErrorKind::UnexpectedEof, "it ends too early"));
                Err(io::ErrorKind::UnexpectedEof.into())
            }
            Ok(n) => {
                (self.moved)(n as u64);
                Ok(n)
            }
            Err(error) => {
                *self.broken = Some(io::Error::new(error.kind(), error.to_string()));
                Err(error)
            }
        }
    }
}

/// An answer, or an address, that isn't what it should be.
fn answer(request: &Request<'_>, reason: String) -> HostError {
    HostError::odd(&request.attempt, host(&request.place.url), reason)
}

/// The host of an address, with its port where that isn't the usual one.
pub(crate) fn host(url: &Url) -> String {
    let host = url.host_str().unwrap_or_default();
    url.port().map_or(host.to_string(), |port| format!("{host}:{port}"))
}

/// Connections for a client that follows its own rules, by the certificates and proxies of this machine. One on which
/// nothing comes for `stalled` is dead.
pub(crate) fn agent(stalled: Duration) -> Agent {
    config(machine(), None, stalled).new_agent()
}

/// The certificate authorities of this machine.
fn machine() -> Vec<Certificate<'static>> {
    let machine = rustls_native_certs::load_native_certs().certs;
    machine.iter().map(|certificate| Certificate::from_der(certificate).to_owned()).collect()
}

/// What happened instead of an answer, and whether it may pass.
pub(crate) fn fault(error: &ureq::Error) -> (Fault, bool) {
    let text = error.to_string();
    let silent = |reason: &str| Fault::NoAnswer(reason.into());
    match error {
        ureq::Error::Io(error) if error.get_ref().is_some_and(|inner| inner.is::<Inside>()) => {
            (Fault::NoAnswer(format!("is not asked: {Inside}")), false)
        }
        _ if text.contains("InvalidContentType") => (Fault::PlainHttp, false),
        _ if text.contains("certificate") => {
            (Fault::Untrusted(text.rsplit("certificate: ").next().unwrap_or(&text).into()), false)
        }
        ureq::Error::HostNotFound => (silent("is not found"), false),
        ureq::Error::Timeout(what) => (Fault::NoAnswer(format!("did not answer in time ({what})")), true),
        ureq::Error::Io(error) if error.kind() == io::ErrorKind::ConnectionRefused => {
            (silent("refuses connections"), true)
        }
        ureq::Error::Io(error) if error.to_string().contains("lookup address") => (silent("is not found"), false),
        other => (Fault::NoAnswer(format!("did not answer ({other})")), true),
    }
}

/// What a failed try means.
fn trouble(request: &Request<'_>, error: &ureq::Error) -> Trouble {
    let (fault, passes) = fault(error);
    let error = HostError::new(&request.attempt, host(&request.place.url), fault);
    if passes { Trouble::passing(error) } else { error.into() }
}

fn config(roots: Vec<Certificate<'static>>, client: Option<ClientCert>, stalled: Duration) -> ureq::config::Config {
    let tls = TlsConfig::builder()
        .root_certs(RootCerts::from(roots))
        .client_cert(client)
        .unversioned_rustls_crypto_provider(Arc::new(rustls::crypto::ring::default_provider()))
        .build();
    Agent::config_builder()
        .tls_config(tls)
        .proxy(Proxy::try_from_env())
        .http_status_as_error(false)
        // Redirects are followed by whoever asks, under rules of their own.
        .max_redirects(0)
        .max_redirects_will_error(false)
        // Ranges and digests are of the bytes that are stored.
        .accept_encoding(AutoHeaderValue::None)
        .user_agent(concat!("nimify/", env!("CARGO_PKG_VERSION")))
        .timeout_resolve(Some(CONNECT))
        .timeout_connect(Some(CONNECT))
        .timeout_per_write(Some(STALLED_WRITE))
        .timeout_per_read(Some(stalled))
        .build()
}

/// Certificates that Docker and Podman keep for one registry: authorities (`*.crt`), and a client's own pair
/// (`*.cert` with `*.key`).
fn certificates(host: &str, home: Option<&Path>) -> Result<(Vec<Certificate<'static>>, Option<ClientCert>), Error> {
    let system = ["/etc/docker/certs.d", "/etc/containers/certs.d"].map(PathBuf::from);
    let users = [".config/docker/certs.d", ".config/containers/certs.d"].map(|path| home.map(|home| home.join(path)));
    let (mut roots, mut client) = (Vec::new(), None);
    for folder in system.into_iter().chain(users.into_iter().flatten()).map(|folder| folder.join(host)) {
        let Ok(entries) = std::fs::read_dir(&folder) else { continue };
        let mut paths: Vec<PathBuf> = entries.flatten().map(|entry| entry.path()).collect();
        paths.sort();
        for path in paths {
            match path.extension().and_then(|extension| extension.to_str()) {
                Some("crt") => roots.extend(read_certificates(&path)?),
                Some("cert") => {
                    let wrong = |reason: String| Error::Certificate { path: path.clone(), reason };
                    let key = path.with_extension("key");
                    let key = PrivateKey::from_pem(&read(&key)?).map_err(|error| wrong(format!("its key: {error}")))?;
                    client = Some(ClientCert::new_with_certs(&read_certificates(&path)?, key));
                }
                _ => {}
            }
        }
    }
    Ok((roots, client))
}

fn read(path: &Path) -> Result<Vec<u8>, Error> {
    let mut text = Vec::new();
    let file = File::open(path).map_err(files("read", path))?;
    file.take(LARGEST_CERTIFICATES).read_to_end(&mut text).map_err(files("read", path))?;
    Ok(text)
}

fn read_certificates(path: &Path) -> Result<Vec<Certificate<'static>>, Error> {
    let wrong = |reason: String| Error::Certificate { path: path.into(), reason };
    let mut all = Vec::new();
    for item in ureq::tls::parse_pem(&read(path)?) {
        if let PemItem::Certificate(certificate) = item.map_err(|error| wrong(error.to_string()))? {
            all.push(certificate);
        }
    }
    if all.is_empty() { Err(wrong("it holds none".into())) } else { Ok(all) }
}
