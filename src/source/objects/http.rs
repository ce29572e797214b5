//! The way to a store: `object_store` asks, and ureq carries, over the machine's certificate authorities and proxies.
//!
//! Everything happens on the calling thread: the futures of [`Carrier`] are done when they are first asked. What went
//! wrong is noted in a [`Trail`], since the errors of `object_store` are sentences of its own.

use std::fmt;
use std::future::Future;
use std::io::Read;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use futures_util::stream;
use http_body::Frame;
use http_body_util::StreamBody;
use object_store::ClientOptions;
use object_store::client::{
    ClientConfigKey, HttpClient, HttpConnector, HttpError, HttpErrorKind, HttpRequest, HttpResponse, HttpResponseBody,
    HttpService,
};
use ureq::Agent;

use super::said::words;
use crate::interrupt;
use crate::registry::transport;

/// Bytes that are read at once.
const CHUNK: usize = 1 << 18;
/// Most bytes of an answer that refuses something.
const LARGEST_REFUSAL: u64 = 64 << 10;

/// What last went wrong.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Said {
    /// Nobody answered, or not in full: why, with the host as the subject.
    Nothing { host: String, reason: String },
    /// An answer that refuses.
    Refusal { host: String, status: u16, words: String },
}

/// What happened on the way, for messages.
#[derive(Debug, Clone, Default)]
pub(super) struct Trail(Arc<Mutex<Option<Said>>>);

impl Trail {
    /// What went wrong since this was last asked.
    pub(super) fn take(&self) -> Option<Said> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).take()
    }

    fn note(&self, said: Said) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(said);
    }
}

/// Makes [`Carrier`]s.
#[derive(Clone)]
pub(super) struct Connector {
    pub(super) agent: Agent,
    pub(super) trail: Trail,
    /// Whether hosts elsewhere may be asked without TLS.
    pub(super) plain_http: bool,
}

impl fmt::Debug for Connector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Connector").finish_non_exhaustive()
    }
}

impl HttpConnector for Connector {
    fn connect(&self, options: &ClientOptions) -> object_store::Result<HttpClient> {
        // Said of what speaks plain HTTP by design: the addresses at which a machine in a cloud asks who it is.
        let allowed = options.get_config_value(&ClientConfigKey::AllowHttp).is_some_and(|allowed| allowed == "true");
        let connector = Connector { plain_http: self.plain_http || allowed, ..self.clone() };
        Ok(HttpClient::new(Carrier(connector)))
    }
}

#[derive(Debug)]
struct Carrier(Connector);

impl HttpService for Carrier {
    fn call<'this, 'future>(
        &'this self,
        request: HttpRequest,
    ) -> Pin<Box<dyn Future<Output = Result<HttpResponse, HttpError>> + Send + 'future>>
    where
        'this: 'future,
        Self: 'future,
    {
        Box::pin(async move { self.exchange(request) })
    }
}

/// Why a request was not sent.
#[derive(Debug, thiserror::Error)]
#[error("it would go without TLS")]
struct WithoutTls;

impl Carrier {
    fn exchange(&self, request: HttpRequest) -> Result<HttpResponse, HttpError> {
        let stop = |error| HttpError::new(HttpErrorKind::Unknown, error);
        interrupt::check().map_err(stop)?;
        let (head, body) = request.into_parts();
        let host = head.uri.authority().map(|authority| authority.host().to_string()).unwrap_or_default();
        let shown = head.uri.authority().map(ToString::to_string).unwrap_or_default();
        if head.uri.scheme_str() == Some("http") && !self.0.plain_http && !is_this_machine(&host) {
            let reason = "is not asked without TLS unless `--plain-http` is given".into();
            self.0.trail.note(Said::Nothing { host: shown, reason });
            return Err(HttpError::new(HttpErrorKind::Unknown, WithoutTls));
        }
        let sent = match body.as_bytes().filter(|bytes| !bytes.is_empty()) {
            Some(bytes) => self.0.agent.run(http::Request::from_parts(head, bytes.to_vec())),
            None => self.0.agent.run(http::Request::from_parts(head, ())),
        };
        interrupt::check().map_err(stop)?;
        let (head, mut body) = sent.map_err(|error| self.trouble(&shown, error))?.into_parts();
        if head.status.is_success() {
            return Ok(HttpResponse::from_parts(head, self.body(shown, body)));
        }
        let mut bytes = Vec::new();
        _ = body.as_reader().take(LARGEST_REFUSAL).read_to_end(&mut bytes);
        let said = Said::Refusal { host: shown, status: head.status.as_u16(), words: words(&bytes) };
        self.0.trail.note(said);
        Ok(HttpResponse::from_parts(head, HttpResponseBody::from(bytes)))
    }

    /// The rest of an answer, read as it is asked for.
    fn body(&self, host: String, body: ureq::Body) -> HttpResponseBody {
        let trail = self.0.trail.clone();
        let begun = (body.into_reader(), false);
        let chunks = stream::unfold(begun, move |(mut reader, ended)| {
            let next = if ended { None } else { chunk(&mut reader).transpose() };
            let next = next.map(|chunk| match chunk {
                Ok(bytes) => (Ok(Frame::data(bytes)), (reader, false)),
                Err(error) => {
                    trail.note(Said::Nothing { host: host.clone(), reason: format!("broke off ({error})") });
                    (Err(HttpError::new(HttpErrorKind::Interrupted, error)), (reader, true))
                }
            });
            std::future::ready(next)
        });
        HttpResponseBody::new(StreamBody::new(chunks))
    }

    fn trouble(&self, host: &str, error: ureq::Error) -> HttpError {
        let text = error.to_string();
        let (reason, passes) = transport::silence(&error);
        let (kind, reason) = match &error {
            ureq::Error::Timeout(_) => (HttpErrorKind::Timeout, reason),
            _ if !passes => (HttpErrorKind::Unknown, reason),
            ureq::Error::Io(io) if io.kind() == std::io::ErrorKind::ConnectionRefused => {
                (HttpErrorKind::Connect, reason)
            }
            _ if text.contains("certificate") => {
                let reason = text.rsplit("certificate: ").next().unwrap_or(&text);
                (HttpErrorKind::Unknown, format!("has a certificate that is not trusted ({reason})"))
            }
            _ => (HttpErrorKind::Request, reason),
        };
        self.0.trail.note(Said::Nothing { host: host.into(), reason });
        HttpError::new(kind, error)
    }
}

fn chunk(reader: &mut impl Read) -> std::io::Result<Option<Bytes>> {
    let mut buffer = vec![0; CHUNK];
    let read = reader.read(&mut buffer)?;
    buffer.truncate(read);
    Ok((read > 0).then(|| Bytes::from(buffer)))
}

/// Whether nothing leaves the machine on the way to a host.
fn is_this_machine(host: &str) -> bool {
    let address = host.trim_start_matches('[').trim_end_matches(']').parse::<std::net::IpAddr>();
    host == "localhost" || address.is_ok_and(|address| address.is_loopback())
}

/// A connection on which nothing moves for so long is dead.
const STALLED: Duration = Duration::from_secs(60);

/// Connections by the machine's certificate authorities and proxies. A signature is for one address: what leads
/// elsewhere is an answer that refuses.
pub(super) fn agent() -> Agent {
    transport::agent(STALLED)
}
