//! A collector of traces: takes OTLP by HTTP and by gRPC on one port, with TLS if it has a certificate, and reads it with
//! OpenTelemetry's own types.

#![allow(unreachable_pub, reason = "only the test that holds this file uses it")]

use std::convert::Infallible;
use std::io::Read;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Instant;

use http_body_util::{BodyExt, Full};
use hyper::body::{Bytes, Incoming};
use hyper::service::service_fn;
use hyper::{HeaderMap, Request};
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto;
use hyper_util::service::TowerToHyperService;
use opentelemetry_proto::tonic::collector::trace::v1::trace_service_server::{TraceService, TraceServiceServer};
use opentelemetry_proto::tonic::collector::trace::v1::{
    ExportTracePartialSuccess, ExportTraceServiceRequest, ExportTraceServiceResponse,
};
use opentelemetry_proto::tonic::common::v1::{KeyValue, any_value::Value};
use opentelemetry_proto::tonic::trace::v1::{Span, status::StatusCode};
use prost::Message;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::ServerConfig;

use super::support::PATIENCE;

#[derive(Default)]
struct Got {
    exports: Vec<ExportTraceServiceRequest>,
    headers: Vec<HeaderMap>,
    /// Answers given first, in order.
    refusals: Vec<u16>,
    /// Spans that each answer says were refused.
    rejects: i64,
}

/// A running collector, until the tests end.
pub struct Collector {
    pub address: SocketAddr,
    got: Arc<Mutex<Got>>,
}

impl Collector {
    pub fn start() -> Collector {
        Collector::start_with(None)
    }

    /// The same behind TLS.
    pub fn start_with(tls: Option<Arc<ServerConfig>>) -> Collector {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        listener.set_nonblocking(true).unwrap();
        let (address, got) = (listener.local_addr().unwrap(), Arc::new(Mutex::new(Got::default())));
        let shared = got.clone();
        std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            runtime.block_on(async move {
                let listener = tokio::net::TcpListener::from_std(listener).unwrap();
                let acceptor = tls.map(TlsAcceptor::from);
                while let Ok((stream, _)) = listener.accept().await {
                    let (got, acceptor) = (shared.clone(), acceptor.clone());
                    tokio::spawn(async move {
                        let Some(acceptor) = acceptor else { return serve(stream, got).await };
                        // A client that doesn't trust it goes.
                        if let Ok(stream) = acceptor.accept(stream).await {
                            serve(stream, got).await;
                        }
                    });
                }
            });
        });
        Collector { address, got }
    }

    pub fn endpoint(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Answers the next exports with these statuses instead of taking them.
    pub fn refuse(&self, statuses: &[u16]) {
        self.got.lock().unwrap().refusals = statuses.into();
    }

    /// Says of each export from now on that so many spans were refused.
    pub fn reject(&self, spans: i64) {
        self.got.lock().unwrap().rejects = spans;
    }

    /// How many exports came, with those that were refused.
    pub fn asked(&self) -> usize {
        self.got.lock().unwrap().headers.len()
    }

    pub fn headers(&self) -> HeaderMap {
        self.got.lock().unwrap().headers.last().unwrap().clone()
    }

    /// Attributes of the service, from the last export.
    pub fn resource(&self, key: &str) -> Option<String> {
        let got = self.got.lock().unwrap();
        text(&got.exports.last().unwrap().resource_spans[0].resource.as_ref().unwrap().attributes, key)
    }

    /// All spans so far.
    pub fn spans(&self) -> Vec<Span> {
        let got = self.got.lock().unwrap();
        let resources = got.exports.iter().flat_map(|export| &export.resource_spans);
        resources.flat_map(|resource| &resource.scope_spans).flat_map(|scope| scope.spans.clone()).collect()
    }

    /// The requests' own spans, once there are so many.
    pub fn servers(&self, count: usize) -> Vec<Span> {
        let end = Instant::now() + PATIENCE;
        loop {
            let servers: Vec<Span> = self.spans().into_iter().filter(|span| span.kind == 2).collect();
            if servers.len() >= count {
                assert_eq!(servers.len(), count, "{servers:#?}");
                return servers;
            }
            assert!(Instant::now() < end, "only {servers:#?}");
            std::thread::sleep(std::time::Duration::from_millis(5));
        }
    }

    /// The spans below one.
    pub fn below(&self, parent: &Span) -> Vec<Span> {
        self.spans().into_iter().filter(|span| span.parent_span_id == parent.span_id).collect()
    }
}

/// An attribute's value as text.
pub fn text(attributes: &[KeyValue], key: &str) -> Option<String> {
    let value = attributes.iter().find(|attribute| attribute.key == key)?.value.clone()?.value?;
    match value {
        Value::StringValue(text) => Some(text),
        Value::IntValue(number) => Some(number.to_string()),
        other => panic!("{key}: {other:?}"),
    }
}

pub fn failed(span: &Span) -> bool {
    span.status.as_ref().is_some_and(|status| status.code() == StatusCode::Error)
}

pub fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

async fn serve(stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static, got: Arc<Mutex<Got>>) {
    let calls = TowerToHyperService::new(TraceServiceServer::new(Calls(got.clone())));
    let service = service_fn(move |request: Request<Incoming>| {
        let (got, calls) = (got.clone(), calls.clone());
        async move {
            let grpc = request.headers()["content-type"] == "application/grpc";
            let answer = if grpc {
                got.lock().unwrap().headers.push(request.headers().clone());
                let answer = hyper::service::Service::call(&calls, request).await;
                answer.unwrap().map(BodyExt::boxed_unsync)
            } else {
                let body = post(request, &got).await;
                body.map(|body| Full::new(body).map_err(|never| match never {}).boxed_unsync())
            };
            Ok::<_, Infallible>(answer)
        }
    });
    let _ = auto::Builder::new(TokioExecutor::new()).serve_connection(TokioIo::new(stream), service).await;
}

/// OTLP by HTTP.
async fn post(request: Request<Incoming>, got: &Mutex<Got>) -> hyper::Response<Bytes> {
    let (head, body) = request.into_parts();
    assert_eq!((head.method.as_str(), head.uri.path()), ("POST", "/v1/traces"));
    assert_eq!(head.headers["content-type"], "application/x-protobuf");
    let mut body = body.collect().await.unwrap().to_bytes().to_vec();
    if head.headers.get("content-encoding").is_some_and(|encoding| encoding == "gzip") {
        let mut plain = Vec::new();
        flate2::read::GzDecoder::new(&body[..]).read_to_end(&mut plain).unwrap();
        body = plain;
    }
    let mut got = got.lock().unwrap();
    got.headers.push(head.headers);
    if !got.refusals.is_empty() {
        let refused = hyper::Response::builder().status(got.refusals.remove(0)).header("retry-after", "0");
        return refused.body(Bytes::from_static(b"not now")).unwrap();
    }
    got.exports.push(ExportTraceServiceRequest::decode(&body[..]).unwrap());
    hyper::Response::new(answer(&got).encode_to_vec().into())
}

fn answer(got: &Got) -> ExportTraceServiceResponse {
    let partial = ExportTracePartialSuccess { rejected_spans: got.rejects, error_message: "too many".into() };
    ExportTraceServiceResponse { partial_success: (got.rejects > 0).then_some(partial) }
}

struct Calls(Arc<Mutex<Got>>);

#[tonic::async_trait]
impl TraceService for Calls {
    async fn export(
        &self,
        request: tonic::Request<ExportTraceServiceRequest>,
    ) -> Result<tonic::Response<ExportTraceServiceResponse>, tonic::Status> {
        let mut got = self.0.lock().unwrap();
        if !got.refusals.is_empty() {
            got.refusals.remove(0);
            return Err(tonic::Status::unavailable("not now"));
        }
        got.exports.push(request.into_inner());
        Ok(tonic::Response::new(answer(&got)))
    }
}
