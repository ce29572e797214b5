//! One batch to the collector: a connection, TLS where the URL says so, a POST or a unary gRPC call, its answer.
//!
//! Each batch has a connection of its own: some seconds lie between two, and one that has gone stale would cost a batch.

use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use bytes::{BufMut, Bytes, BytesMut};
use http_body_util::{BodyExt, Full, Limited};
use hyper::body::Incoming;
use hyper::header::{CONTENT_ENCODING, CONTENT_TYPE, HOST, HeaderMap, HeaderValue, RETRY_AFTER, TE, USER_AGENT};
use hyper::{Request, Response, StatusCode, Uri};
use hyper_util::rt::{TokioExecutor, TokioIo};
use prost::Message;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::pki_types::{CertificateDer, ServerName};
use tokio_rustls::rustls::{ClientConfig, RootCertStore};

use super::options::{Plan, Protocol};
use super::otlp::{ExportResponse, PartialSuccess};
use crate::tls::provider;

/// The path of the call.
const CALL: &str = "/opentelemetry.proto.collector.trace.v1.TraceService/Export";
/// An answer isn't read further.
const LONGEST_ANSWER: usize = 64 << 10;
/// Of what a collector says, so many bytes are told.
const TOLD: usize = 200;
/// Where systems keep the authorities that they trust, after `SSL_CERT_FILE`.
const BUNDLES: [&str; 4] = [
    "/etc/ssl/certs/ca-certificates.crt",
    "/etc/pki/tls/certs/ca-bundle.crt",
    "/etc/ssl/ca-bundle.pem",
    "/etc/ssl/cert.pem",
];

/// Why a batch didn't get through.
#[derive(Debug)]
pub(super) struct Failure {
    pub(super) reason: String,
    /// Whether it may get through later.
    pub(super) again: bool,
    /// When the collector says that is.
    pub(super) after: Option<Duration>,
}

impl Failure {
    fn later(reason: impl Into<String>) -> Failure {
        Failure { reason: reason.into(), again: true, after: None }
    }

    fn never(reason: impl Into<String>) -> Failure {
        Failure { reason: reason.into(), again: false, after: None }
    }
}

/// Sends batches to one place.
pub(super) struct Poster {
    plan: Plan,
    tls: Option<TlsConnector>,
}

/// A connection, plain or not.
trait Io: AsyncRead + AsyncWrite + Send + Unpin {}
impl<T: AsyncRead + AsyncWrite + Send + Unpin> Io for T {}

impl Poster {
    /// For the plan's place. Certificates are read when the first batch is sent.
    pub(super) fn new(plan: &Plan) -> Poster {
        Poster { plan: plan.clone(), tls: None }
    }

    /// Sends one `ExportTraceServiceRequest`; how many spans the collector refused.
    pub(super) async fn post(&mut self, message: Bytes) -> Result<u64, Failure> {
        let limit = self.plan.timeout;
        let unanswered = || Failure::later(format!("no answer within {} ms", limit.as_millis()));
        tokio::time::timeout(limit, self.exchange(message)).await.unwrap_or_else(|_| Err(unanswered()))
    }

    async fn exchange(&mut self, message: Bytes) -> Result<u64, Failure> {
        let io = self.connect().await?;
        let request = self.request(message).map_err(|error| Failure::never(error.to_string()))?;
        let broke = |error: hyper::Error| Failure::later(chain(&error));
        let response = match self.plan.protocol {
            Protocol::Http => {
                let (mut sender, connection) =
                    hyper::client::conn::http1::handshake(TokioIo::new(io)).await.map_err(broke)?;
                tokio::spawn(connection);
                sender.send_request(request).await.map_err(broke)?
            }
            Protocol::Grpc => {
                let executor = TokioExecutor::new();
                let (mut sender, connection) =
                    hyper::client::conn::http2::handshake(executor, TokioIo::new(io)).await.map_err(broke)?;
                tokio::spawn(connection);
                sender.send_request(request).await.map_err(broke)?
            }
        };
        let (status, headers) = (response.status(), response.headers().clone());
        let (body, trailers) = read(response).await?;
        let answer = match self.plan.protocol {
            Protocol::Http => http_answer(status, &headers, body)?,
            Protocol::Grpc => grpc_answer(status, &headers, &trailers, &body)?,
        };
        // An answer that can't be read says nothing against the batch.
        Ok(rejected(ExportResponse::decode(answer).unwrap_or_default().partial_success.unwrap_or_default()))
    }

    async fn connect(&mut self) -> Result<Box<dyn Io>, Failure> {
        let endpoint = &self.plan.endpoint;
        let unreached = |error: io::Error| Failure::later(format!("`{}`: {}", endpoint.authority(), chain(&error)));
        let stream = TcpStream::connect((endpoint.host(), endpoint.port())).await.map_err(unreached)?;
        if !endpoint.is_tls() {
            return Ok(Box::new(stream));
        }
        let connector = match &self.tls {
            Some(connector) => connector,
            None => self.tls.insert(connector(&self.plan).map_err(Failure::never)?),
        };
        let name = ServerName::try_from(endpoint.host().to_string())
            .map_err(|_| Failure::never(format!("`{}` is not a host's name", endpoint.host())))?;
        Ok(Box::new(connector.connect(name, stream).await.map_err(unreached)?))
    }

    fn request(&self, message: Bytes) -> Result<Request<Full<Bytes>>, Box<dyn std::error::Error + Send + Sync>> {
        let endpoint = &self.plan.endpoint;
        let message = if self.plan.gzip { gzip(&message)? } else { message };
        let agent = concat!("OTel-OTLP-Exporter-nimify/", env!("CARGO_PKG_VERSION"));
        let mut request = match self.plan.protocol {
            Protocol::Http => {
                let mut request = Request::post(endpoint.path()).body(Full::new(message))?;
                request.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/x-protobuf"));
                request.headers_mut().insert(HOST, HeaderValue::from_str(endpoint.authority())?);
                if self.plan.gzip {
                    request.headers_mut().insert(CONTENT_ENCODING, HeaderValue::from_static("gzip"));
                }
                request
            }
            Protocol::Grpc => {
                let scheme = if endpoint.is_tls() { "https" } else { "http" };
                let uri = Uri::builder().scheme(scheme).authority(endpoint.authority()).path_and_query(CALL).build()?;
                let mut request = Request::post(uri).body(Full::new(framed(&message, self.plan.gzip)))?;
                request.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/grpc"));
                request.headers_mut().insert(TE, HeaderValue::from_static("trailers"));
                if self.plan.gzip {
                    request.headers_mut().insert("grpc-encoding", HeaderValue::from_static("gzip"));
                }
                request
            }
        };
        request.headers_mut().insert(USER_AGENT, HeaderValue::from_static(agent));
        request.headers_mut().extend(self.plan.headers.0.clone());
        Ok(request)
    }
}

/// The body and what follows it.
async fn read(response: Response<Incoming>) -> Result<(Bytes, HeaderMap), Failure> {
    let body = Limited::new(response.into_body(), LONGEST_ANSWER).collect().await;
    let body = body.map_err(|error| Failure::later(format!("its answer broke off: {error}")))?;
    let trailers = body.trailers().cloned().unwrap_or_default();
    Ok((body.to_bytes(), trailers))
}

/// The message of an answer over HTTP.
fn http_answer(status: StatusCode, headers: &HeaderMap, body: Bytes) -> Result<Bytes, Failure> {
    if status.is_success() {
        return Ok(body);
    }
    let after = headers.get(RETRY_AFTER).and_then(|value| value.to_str().ok()?.trim().parse().ok());
    Err(Failure {
        reason: format!("the collector answered {status}"),
        again: matches!(status.as_u16(), 429 | 502 | 503 | 504),
        after: after.map(Duration::from_secs),
    })
}

/// The message of an answer over gRPC, whose code stands behind it, or before it where there is none.
fn grpc_answer(status: StatusCode, headers: &HeaderMap, trailers: &HeaderMap, body: &Bytes) -> Result<Bytes, Failure> {
    let said = |name: &str| trailers.get(name).or(headers.get(name)).and_then(|value| value.to_str().ok());
    let Some(code) = said("grpc-status").and_then(|code| code.parse::<u16>().ok()) else {
        return Err(Failure::later(format!("the collector answered {status}, and not as gRPC does")));
    };
    if code == 0 {
        // A compressed message is left alone: it could only say that some spans were refused.
        let plain = body.first() == Some(&0) && body.len() >= 5;
        return Ok(if plain { body.slice(5..) } else { Bytes::new() });
    }
    let message = shortened(said("grpc-message").unwrap_or_default());
    // CANCELLED, DEADLINE_EXCEEDED, RESOURCE_EXHAUSTED, ABORTED, OUT_OF_RANGE, UNAVAILABLE, DATA_LOSS.
    let again = matches!(code, 1 | 4 | 8 | 10 | 11 | 14 | 15);
    Err(Failure { reason: format!("the collector answered with gRPC code {code} {message}"), again, after: None })
}

fn rejected(partial: PartialSuccess) -> u64 {
    let rejected = u64::try_from(partial.rejected_spans).unwrap_or(0);
    if rejected > 0 {
        let reason = shortened(&partial.error_message);
        tracing::debug!(rejected, reason, "the collector refused spans");
    }
    rejected
}

fn shortened(text: &str) -> &str {
    &text[..text.floor_char_boundary(TOLD)]
}

/// A message as gRPC sends it.
fn framed(message: &[u8], compressed: bool) -> Bytes {
    let mut framed = BytesMut::with_capacity(message.len() + 5);
    framed.put_u8(compressed.into());
    framed.put_u32(u32::try_from(message.len()).unwrap_or(u32::MAX));
    framed.extend_from_slice(message);
    framed.freeze()
}

fn gzip(message: &[u8]) -> io::Result<Bytes> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    encoder.write_all(message)?;
    Ok(encoder.finish()?.into())
}

fn connector(plan: &Plan) -> Result<TlsConnector, String> {
    let file = match &plan.certificate {
        Some(file) => file.clone(),
        None => {
            bundle().ok_or("this system has no file of authorities: name one (`OTEL_EXPORTER_OTLP_CERTIFICATE`)")?
        }
    };
    let roots = roots(&file).map_err(|reason| format!("the authorities in `{}`: {reason}", file.display()))?;
    let mut config = ClientConfig::builder_with_provider(provider())
        .with_safe_default_protocol_versions()
        .map_err(|error| error.to_string())?
        .with_root_certificates(roots)
        .with_no_client_auth();
    config.alpn_protocols = match plan.protocol {
        Protocol::Http => vec![b"http/1.1".into()],
        Protocol::Grpc => vec![b"h2".into()],
    };
    Ok(TlsConnector::from(Arc::new(config)))
}

fn bundle() -> Option<PathBuf> {
    let named = std::env::var_os("SSL_CERT_FILE").map(PathBuf::from);
    named.into_iter().chain(BUNDLES.map(PathBuf::from)).find(|file| file.is_file())
}

fn roots(file: &Path) -> Result<RootCertStore, String> {
    let text = std::fs::read(file).map_err(|error| error.to_string())?;
    let mut roots = RootCertStore::empty();
    // Some of a system's may be of a kind that rustls doesn't know.
    roots.add_parsable_certificates(CertificateDer::pem_slice_iter(&text).flatten());
    if roots.is_empty() { Err("there is none in it".into()) } else { Ok(roots) }
}

/// An error with what it comes from.
fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut next = error.source();
    while let Some(source) = next {
        text = format!("{text}: {source}");
        next = source.source();
    }
    text
}
