//! A request that has ended → its spans: one for the request, and below it one for each stage. Pure.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use hyper::header::HeaderValue;
use hyper::{Method, Uri, Version};

use super::otlp::{self, KeyValue};
use super::sampler::Place;
use crate::inference::Stages;

/// A path is told so far.
const LONGEST_PATH: usize = 1024;

/// Codes of gRPC that are the service's fault, as OpenTelemetry has them: UNKNOWN, DEADLINE_EXCEEDED, UNIMPLEMENTED,
/// INTERNAL, UNAVAILABLE, DATA_LOSS.
const FAULTS: [u16; 6] = [2, 4, 12, 13, 14, 15];

/// A request, told when it has ended.
#[derive(Debug, Clone)]
pub(crate) struct Record {
    pub(crate) place: Place,
    /// The caller's `tracestate`.
    pub(crate) state: Option<Box<str>>,
    pub(crate) call: Call,
    pub(crate) begun: SystemTime,
    pub(crate) took: Duration,
    /// HTTP's status or gRPC's code; `None` when the client went before there was one.
    pub(crate) status: Option<u16>,
    pub(crate) stages: Stages,
}

/// What was asked.
#[derive(Debug, Clone)]
pub(crate) enum Call {
    /// By HTTP.
    Http {
        method: Method,
        uri: Uri,
        version: Version,
        /// The header `Host`.
        host: Option<HeaderValue>,
        /// The route's label.
        route: Option<&'static str>,
    },
    /// By gRPC: the service with its package, and the method.
    Grpc { service: &'static str, method: &'static str },
}

/// What all requests have in common.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Model<'a> {
    pub(crate) name: &'a str,
    pub(crate) version: &'a str,
    /// Whether the service speaks TLS.
    pub(crate) tls: bool,
}

impl Record {
    /// How many spans it has.
    pub(crate) fn count(&self) -> u64 {
        1 + timeline(&self.stages).flatten().count() as u64
    }

    /// Its spans, the request's own first.
    pub(crate) fn spans(self, model: Model<'_>) -> Vec<otlp::Span> {
        let begun = nanos(self.begun.duration_since(UNIX_EPOCH).unwrap_or_default());
        let mut attributes = vec![
            KeyValue::text("nimify.model.name", model.name),
            KeyValue::text("nimify.model.version", model.version),
        ];
        self.call.describe(model.tls, &mut attributes);
        let failed = self.outcome(&mut attributes);
        let remote = if self.place.parent.is_some() { otlp::PARENT_IS_REMOTE } else { 0 };
        let mut spans = vec![otlp::Span {
            trace_id: self.place.trace.0.into(),
            span_id: self.place.span.0.into(),
            trace_state: self.state.as_deref().unwrap_or_default().into(),
            parent_span_id: self.place.parent.map(|parent| parent.0.into()).unwrap_or_default(),
            name: self.call.name(),
            kind: otlp::SERVER,
            start_time_unix_nano: begun,
            end_time_unix_nano: begun.saturating_add(nanos(self.took)),
            attributes,
            status: failed.then_some(otlp::Status { code: otlp::ERROR }),
            flags: otlp::SAMPLED | remote,
        }];
        for (number, (name, from, took)) in timeline(&self.stages).flatten().enumerate() {
            let batch = (name == "compute").then(|| KeyValue::number("nimify.batch.rows", self.stages.rows));
            spans.push(otlp::Span {
                trace_id: self.place.trace.0.into(),
                span_id: self.place.child(number as u64).0.into(),
                parent_span_id: self.place.span.0.into(),
                name: name.into(),
                kind: otlp::INTERNAL,
                start_time_unix_nano: begun.saturating_add(nanos(from)),
                end_time_unix_nano: begun.saturating_add(nanos(from + took)),
                attributes: batch.into_iter().collect(),
                flags: otlp::SAMPLED,
                ..otlp::Span::default()
            });
        }
        spans
    }

    /// Tells how it ended; whether that is a fault of the service, or nobody waited for the answer.
    fn outcome(&self, attributes: &mut Vec<KeyValue>) -> bool {
        let (key, failed) = match (&self.call, self.status) {
            (_, None) => {
                attributes.push(KeyValue::text("error.type", "canceled"));
                return true;
            }
            (Call::Http { .. }, Some(status)) => ("http.response.status_code", status >= 500),
            (Call::Grpc { .. }, Some(code)) => ("rpc.grpc.status_code", FAULTS.contains(&code)),
        };
        let status = self.status.unwrap_or_default();
        attributes.push(KeyValue::number(key, status));
        if failed {
            attributes.push(KeyValue::text("error.type", status.to_string()));
        }
        failed
    }
}

/// Each stage that it came to: where it begins, from the request's begin, and how long it takes. A request waits for the
/// model from when it was read; hooks are in none of them.
fn timeline(stages: &Stages) -> impl Iterator<Item = Option<(&'static str, Duration, Duration)>> {
    let to = |end: Duration, took: Duration| (end.saturating_sub(took), took);
    let (decoded, encoded) = (to(stages.decoded_at, stages.decode), to(stages.encoded_at, stages.encode));
    let (read, ran, written) = (!stages.decoded_at.is_zero(), stages.rows > 0, !stages.encoded_at.is_zero());
    [
        read.then_some(("decode", decoded.0, decoded.1)),
        ran.then_some(("queue", stages.decoded_at, stages.queue)),
        ran.then_some(("compute", stages.decoded_at + stages.queue, stages.compute)),
        written.then_some(("encode", encoded.0, encoded.1)),
    ]
    .into_iter()
}

impl Call {
    /// The span's name: few different ones.
    fn name(&self) -> String {
        match self {
            Call::Http { method, route: Some(route), .. } => format!("{} {route}", known(method)),
            Call::Http { method, .. } => known(method).into(),
            Call::Grpc { service, method } => format!("{service}/{method}"),
        }
    }

    fn describe(&self, tls: bool, attributes: &mut Vec<KeyValue>) {
        match self {
            Call::Http { method, uri, version, host, route } => {
                attributes.push(KeyValue::text("http.request.method", known(method)));
                attributes.push(KeyValue::text("url.scheme", if tls { "https" } else { "http" }));
                attributes.push(KeyValue::text("url.path", beginning(uri.path(), LONGEST_PATH)));
                attributes.extend(route.map(|route| KeyValue::text("http.route", route)));
                attributes.push(KeyValue::text("network.protocol.name", "http"));
                let version = if *version == Version::HTTP_2 { "2" } else { "1.1" };
                attributes.push(KeyValue::text("network.protocol.version", version));
                let host = host.as_ref().and_then(|host| host.to_str().ok());
                server(host.or(uri.authority().map(|authority| authority.as_str())), attributes);
            }
            Call::Grpc { service, method } => {
                attributes.push(KeyValue::text("rpc.system", "grpc"));
                attributes.push(KeyValue::text("rpc.service", *service));
                attributes.push(KeyValue::text("rpc.method", *method));
            }
        }
    }
}

/// The service's name and port, as its client knows them.
fn server(authority: Option<&str>, attributes: &mut Vec<KeyValue>) {
    let Some(authority) = authority.and_then(|text| text.parse::<hyper::http::uri::Authority>().ok()) else { return };
    attributes.push(KeyValue::text("server.address", authority.host().trim_matches(['[', ']'])));
    attributes.extend(authority.port_u16().map(|port| KeyValue::number("server.port", port)));
}

/// Methods that somebody makes up are one.
fn known(method: &Method) -> &'static str {
    match *method {
        Method::GET => "GET",
        Method::POST => "POST",
        Method::HEAD => "HEAD",
        Method::PUT => "PUT",
        Method::DELETE => "DELETE",
        Method::OPTIONS => "OPTIONS",
        Method::PATCH => "PATCH",
        Method::TRACE => "TRACE",
        Method::CONNECT => "CONNECT",
        _ => "_OTHER",
    }
}

/// As many bytes of a text at most, as whole characters.
fn beginning(text: &str, bytes: usize) -> &str {
    &text[..text.floor_char_boundary(bytes)]
}

fn nanos(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}
