//! The way to a store: `object_store` asks, and ureq carries, over the machine's certificate authorities and proxies.
//!
//! Everything happens on the calling thread: the futures of [`Carrier`] are done when they are first asked. What went
//! wrong is noted in a [`Trail`], since the errors of `object_store` are sentences of its own.

use std::fmt;
use std::future::Future;
use std::io::Read;
use std::pin::Pin;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use futures_util::stream;
use http::HeaderName;
use http_body::Frame;
use http_body_util::StreamBody;
use object_store::ClientOptions;
use object_store::client::{
    ClientConfigKey, HttpClient, HttpConnector, HttpError, HttpErrorKind, HttpRequest, HttpResponse, HttpResponseBody,
    HttpService,
};
use ureq::Agent;

use super::fit;
use super::said::words;
use crate::interrupt;
use crate::registry::{Fault, answer, place, transport};

/// Bytes that are read at once.
const CHUNK: usize = 1 << 18;
/// Most bytes of a page of a listing, and of an answer with credentials.
const LARGEST_LISTING: u64 = 16 << 20;
const LARGEST_CREDENTIALS: u64 = 1 << 20;
/// Most pages of listings that are asked for.
const MOST_PAGES: usize = 500;
/// Most bytes of an answer that refuses something.
const LARGEST_REFUSAL: u64 = 64 << 10;

/// What happened on the way, for messages.
#[derive(Debug, Clone, Default)]
pub(super) struct Trail {
    said: Arc<Mutex<Option<(String, Fault)>>>,
    region: Arc<Mutex<Option<String>>>,
    pages: Arc<AtomicUsize>,
}

/// Marks a request whose answer is an object, and may be as large as one.
#[derive(Debug, Clone, Copy)]
pub(super) struct OfObject;

impl Trail {
    /// What went wrong since this was last asked, and with which host.
    pub(super) fn take(&self) -> Option<(String, Fault)> {
        self.said.lock().unwrap_or_else(PoisonError::into_inner).take()
    }

    /// The region that the bucket is in, where Amazon has said since this was last asked that it isn't where we asked.
    pub(super) fn region(&self) -> Option<String> {
        self.region.lock().unwrap_or_else(PoisonError::into_inner).take()
    }

    fn note(&self, host: &str, fault: Fault) {
        *self.said.lock().unwrap_or_else(PoisonError::into_inner) = Some((host.into(), fault));
    }

    /// From an answer that says no: in another region, or signed for another one.
    fn note_region(&self, status: u16, headers: &http::HeaderMap) {
        let named = headers.get("x-amz-bucket-region").and_then(|value| value.to_str().ok());
        // It becomes a part of a host's name.
        let fit = |name: &&str| {
            (1..=32).contains(&name.len())
                && name.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-')
        };
        if let (301 | 307 | 400, Some(name)) = (status, named.filter(fit)) {
            *self.region.lock().unwrap_or_else(PoisonError::into_inner) = Some(name.into());
        }
    }
}

/// Makes [`Carrier`]s.
#[derive(Clone)]
pub(super) struct Connector {
    pub(super) agent: Agent,
    pub(super) trail: Trail,
    /// Whether hosts elsewhere may be asked without TLS.
    pub(super) plain_http: bool,
    /// What every request carries.
    pub(super) headers: Vec<(&'static str, http::HeaderValue)>,
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

/// Why the rest of an answer was not read.
#[derive(Debug, thiserror::Error)]
#[error("it is too long")]
struct TooLong;

/// Why an answer with credentials was not taken.
#[derive(Debug, thiserror::Error)]
#[error("it can't be used")]
struct Unfit;

impl Carrier {
    fn exchange(&self, request: HttpRequest) -> Result<HttpResponse, HttpError> {
        let stop = |error| HttpError::new(HttpErrorKind::Unknown, error);
        interrupt::check().map_err(stop)?;
        let (mut head, body) = request.into_parts();
        head.headers.extend(self.0.headers.iter().map(|(name, value)| (HeaderName::from_static(name), value.clone())));
        let limit = if head.extensions.get::<OfObject>().is_some() { u64::MAX } else { LARGEST_LISTING };
        let host = head.uri.authority().map(|authority| authority.host().to_string()).unwrap_or_default();
        let shown = head.uri.authority().map(ToString::to_string).unwrap_or_default();
        if head.uri.scheme_str() == Some("http") && !self.0.plain_http && !place::is_here(&host) {
            let reason = "is not asked without TLS unless `--plain-http` is given".into();
            self.0.trail.note(&shown, Fault::NoAnswer(reason));
            return Err(HttpError::new(HttpErrorKind::Unknown, WithoutTls));
        }
        // A listing may have pages without end, and nothing on them.
        let is_page = head.uri.query().is_some_and(|query| query.contains("list-type=") || query.contains("comp=list"));
        if is_page && self.0.trail.pages.fetch_add(1, Ordering::Relaxed) >= MOST_PAGES {
            self.0.trail.note(&shown, Fault::NoAnswer("leads on from page to page without end".into()));
            return Err(HttpError::new(HttpErrorKind::Unknown, TooLong));
        }
        // What is neither an object nor a listing is asked for credentials.
        let of_store = limit == u64::MAX || is_page || head.method == http::Method::HEAD;
        let sent = match body.as_bytes().filter(|bytes| !bytes.is_empty()) {
            Some(bytes) => transport::run(&self.0.agent, http::Request::from_parts(head, bytes.to_vec())),
            None => transport::run(&self.0.agent, http::Request::from_parts(head, ())),
        };
        interrupt::check().map_err(stop)?;
        let (head, mut body) = sent.map_err(|error| self.trouble(&shown, error))?.into_parts();
        if head.status.is_success() {
            // What went wrong before has passed.
            self.0.trail.take();
            let body = if of_store { self.body(shown, body, limit) } else { self.credentials(&shown, body)? };
            return Ok(HttpResponse::from_parts(head, body));
        }
        self.0.trail.note_region(head.status.as_u16(), &head.headers);
        let mut bytes = Vec::new();
        _ = body.as_reader().take(LARGEST_REFUSAL).read_to_end(&mut bytes);
        let fault = Fault::Refused { status: head.status.as_u16(), words: answer::told(&words(&bytes)) };
        self.0.trail.note(&shown, fault);
        Ok(HttpResponse::from_parts(head, HttpResponseBody::from(bytes)))
    }

    /// An answer with credentials, if they fit where they go.
    fn credentials(&self, host: &str, mut body: ureq::Body) -> Result<HttpResponseBody, HttpError> {
        let mut bytes = Vec::new();
        let read = body.as_reader().take(LARGEST_CREDENTIALS).read_to_end(&mut bytes);
        if let Err(error) = read {
            self.0.trail.note(host, Fault::NoAnswer(format!("broke off ({error})")));
            return Err(HttpError::new(HttpErrorKind::Interrupted, error));
        }
        match fit::credentials(&bytes) {
            Some(text) => Ok(HttpResponseBody::from(text.to_vec())),
            None => {
                self.0.trail.note(host, Fault::Answer("has credentials that fit into no request".into()));
                Err(HttpError::new(HttpErrorKind::Decode, Unfit))
            }
        }
    }

    /// The rest of an answer, read as it is asked for; none may have more than `limit` bytes.
    fn body(&self, host: String, body: ureq::Body, limit: u64) -> HttpResponseBody {
        let trail = self.0.trail.clone();
        let begun = (body.into_reader(), Some(limit));
        let chunks = stream::unfold(begun, move |(mut reader, left)| {
            let next = left.and_then(|left| Some((chunk(&mut reader).transpose()?, left)));
            let next = next.map(|(chunk, left)| match chunk {
                Ok(bytes) if bytes.len() as u64 <= left => {
                    let left = left - bytes.len() as u64;
                    (Ok(Frame::data(bytes)), (reader, Some(left)))
                }
                Ok(_) => {
                    let reason = format!("answered more than {limit} bytes, which is no listing");
                    trail.note(&host, Fault::NoAnswer(reason));
                    (Err(HttpError::new(HttpErrorKind::Unknown, TooLong)), (reader, None))
                }
                Err(error) => {
                    trail.note(&host, Fault::NoAnswer(format!("broke off ({error})")));
                    (Err(HttpError::new(HttpErrorKind::Interrupted, error)), (reader, None))
                }
            });
            std::future::ready(next)
        });
        HttpResponseBody::new(StreamBody::new(chunks))
    }

    fn trouble(&self, host: &str, error: ureq::Error) -> HttpError {
        let (fault, passes) = transport::fault(&error);
        let kind = match &error {
            ureq::Error::Timeout(_) => HttpErrorKind::Timeout,
            _ if !passes => HttpErrorKind::Unknown,
            ureq::Error::Io(io) if io.kind() == std::io::ErrorKind::ConnectionRefused => HttpErrorKind::Connect,
            _ => HttpErrorKind::Request,
        };
        self.0.trail.note(host, fault);
        HttpError::new(kind, error)
    }
}

fn chunk(reader: &mut impl Read) -> std::io::Result<Option<Bytes>> {
    let mut buffer = vec![0; CHUNK];
    let read = reader.read(&mut buffer)?;
    buffer.truncate(read);
    Ok((read > 0).then(|| Bytes::from(buffer)))
}

/// A connection on which nothing moves for so long is dead.
const STALLED: Duration = Duration::from_secs(60);

/// Connections by the machine's certificate authorities and proxies. A signature is for one address: what leads
/// elsewhere is an answer that refuses.
pub(super) fn agent() -> Agent {
    transport::agent(STALLED)
}
