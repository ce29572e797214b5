use std::time::{Duration, UNIX_EPOCH};

use hyper::header::HeaderValue;
use hyper::{Method, Version};
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::common::v1::{AnyValue, any_value};
use opentelemetry_proto::tonic::trace::v1 as theirs;
use prost::Message;
use prost::bytes::Bytes;

use super::context::SpanId;
use super::record::Model;
use super::*;

const STAGES: Stages = Stages {
    decode: Duration::from_micros(10),
    queue: Duration::from_micros(20),
    compute: Duration::from_micros(300),
    rows: 4,
    encode: Duration::from_micros(5),
    decoded_at: Duration::from_micros(15),
    encoded_at: Duration::from_micros(345),
};

fn place() -> Place {
    Place { trace: TraceId([7; 16]), span: SpanId([8; 8]), parent: Some(SpanId([9; 8])) }
}

fn http(path: &'static str) -> Call {
    Call::Http {
        method: Method::POST,
        uri: path.parse().unwrap(),
        version: Version::HTTP_11,
        host: Some(HeaderValue::from_static("digits.ml:8000")),
        route: Some("/v1/predict"),
    }
}

fn record(call: Call, status: Option<u16>) -> Record {
    let (begun, took) = (UNIX_EPOCH + Duration::from_secs(1000), Duration::from_micros(350));
    Record { place: place(), state: Some("a=1".into()), call, begun, took, status, stages: STAGES }
}

/// The spans as OpenTelemetry's own types read them.
fn spans(record: Record) -> Vec<theirs::Span> {
    let (count, spans) = (record.count(), record.spans(Model { name: "digits", version: "1.2.0", tls: false }));
    assert_eq!(spans.len() as u64, count);
    spans.iter().map(|span| theirs::Span::decode(Bytes::from(span.encode_to_vec())).unwrap()).collect()
}

fn attribute(span: &theirs::Span, key: &str) -> Option<String> {
    let value = span.attributes.iter().find(|attribute| attribute.key == key)?.value.clone();
    match value {
        Some(AnyValue { value: Some(any_value::Value::StringValue(text)) }) => Some(text),
        Some(AnyValue { value: Some(any_value::Value::IntValue(number)) }) => Some(number.to_string()),
        other => panic!("{key}: {other:?}"),
    }
}

#[test]
fn a_request_is_a_span_with_one_below_it_for_each_stage() {
    let spans = spans(record(http("/v1/predict?secret=1"), Some(200)));
    let server = &spans[0];
    assert_eq!((server.trace_id.as_slice(), server.span_id.as_slice()), (&[7; 16][..], &[8; 8][..]));
    assert_eq!((server.parent_span_id.as_slice(), server.trace_state.as_str()), (&[9; 8][..], "a=1"));
    assert_eq!((server.name.as_str(), server.kind()), ("POST /v1/predict", theirs::span::SpanKind::Server));
    assert_eq!(server.flags, 0x301);
    assert_eq!(server.end_time_unix_nano - server.start_time_unix_nano, 350_000);
    for (key, value) in [
        ("http.request.method", "POST"),
        ("http.route", "/v1/predict"),
        ("http.response.status_code", "200"),
        ("url.path", "/v1/predict"),
        ("url.scheme", "http"),
        ("server.address", "digits.ml"),
        ("server.port", "8000"),
        ("network.protocol.version", "1.1"),
        ("nimify.model.name", "digits"),
        ("nimify.model.version", "1.2.0"),
    ] {
        assert_eq!(attribute(server, key).as_deref(), Some(value), "{key}");
    }
    assert_eq!((server.status.clone(), attribute(server, "error.type")), (None, None));
    assert!(!format!("{spans:?}").contains("secret"), "a query is nobody's business");
    let begun = 1_000_000_000_000;
    for (span, (name, from, to)) in spans[1..].iter().zip([
        ("decode", 5_000, 15_000),
        ("queue", 15_000, 35_000),
        ("compute", 35_000, 335_000),
        ("encode", 340_000, 345_000),
    ]) {
        assert_eq!((span.name.as_str(), span.kind()), (name, theirs::span::SpanKind::Internal));
        assert_eq!((span.start_time_unix_nano - begun, span.end_time_unix_nano - begun), (from, to), "{name}");
        assert_eq!((&span.trace_id, &span.parent_span_id), (&server.trace_id, &server.span_id));
        assert_eq!(attribute(span, "nimify.batch.rows").is_some(), name == "compute");
    }
    assert_eq!(attribute(&spans[3], "nimify.batch.rows").as_deref(), Some("4"));
}

#[test]
fn a_fault_of_the_service_is_an_error_and_one_of_the_client_is_not() {
    let grpc = || Call::Grpc { service: "inference.GRPCInferenceService", method: "ModelInfer" };
    for (call, status, key, error) in [
        (http("/v1/predict"), Some(422), "http.response.status_code", None),
        (http("/v1/predict"), Some(504), "http.response.status_code", Some("504")),
        (http("/v1/predict"), None, "error.type", Some("canceled")),
        (grpc(), Some(0), "rpc.grpc.status_code", None),
        (grpc(), Some(3), "rpc.grpc.status_code", None),
        (grpc(), Some(14), "rpc.grpc.status_code", Some("14")),
    ] {
        let span = &spans(record(call, status))[0];
        let code = span.status.as_ref().map(|status| status.code());
        assert_eq!(code, error.map(|_| theirs::status::StatusCode::Error), "{status:?}");
        assert_eq!(attribute(span, "error.type").as_deref(), error);
        assert!(attribute(span, key).is_some());
        if key.starts_with("rpc") {
            assert_eq!(span.name, "inference.GRPCInferenceService/ModelInfer");
            assert_eq!(attribute(span, "rpc.system").as_deref(), Some("grpc"));
        }
    }
}

#[test]
fn what_did_not_happen_has_no_span() {
    let refused = Record { stages: Stages::default(), ..record(http("/v1/predict"), Some(429)) };
    assert_eq!(spans(refused).len(), 1);
}

#[test]
fn odd_requests_are_told_too() {
    let long = format!("/{}", "x".repeat(5000)).parse().unwrap();
    let call = Call::Http {
        method: Method::from_bytes(b"BREW").unwrap(),
        uri: long,
        version: Version::HTTP_2,
        host: Some(HeaderValue::from_bytes(b"\xff").unwrap()),
        route: None,
    };
    let span = &spans(record(call, Some(404)))[0];
    assert_eq!((span.name.as_str(), attribute(span, "http.request.method").as_deref()), ("_OTHER", Some("_OTHER")));
    assert_eq!(attribute(span, "url.path").unwrap().len(), 1024);
    assert_eq!((attribute(span, "server.address"), attribute(span, "http.route")), (None, None));
    assert_eq!(attribute(span, "network.protocol.version").as_deref(), Some("2"));
}

fn queue(most: usize, batch: usize) -> Queue {
    let dropped = IntCounter::new("d", "d").unwrap();
    Queue { waiting: Mutex::default(), full: Notify::new(), most, batch, dropped }
}

#[test]
fn a_full_queue_drops_and_counts_spans() {
    let queue = queue(3, 2);
    for _ in 0..5 {
        queue.push(record(http("/v1/predict"), Some(200)));
    }
    assert_eq!(queue.dropped.get(), 2 * 5);
    assert_eq!((queue.take().len(), queue.take().len(), queue.take().len()), (2, 1, 0));
}

#[test]
fn a_span_that_nobody_ended_was_canceled() {
    let queue = queue(10, 10);
    let open = |status| Open {
        place: place(),
        state: None,
        call: http("/v1/predict"),
        begun: (SystemTime::now(), Instant::now()),
        status,
        stages: Stages::default(),
    };
    drop(Span { queue: &queue, open: Some(Box::new(open(None))), place: place() });
    let mut answered = Span { queue: &queue, open: Some(Box::new(open(None))), place: place() };
    answered.answer(200);
    answered.stages(STAGES);
    drop(answered);
    let records = queue.take();
    assert_eq!((records[0].status, records[1].status), (None, Some(200)));
    assert_eq!(records[1].stages, STAGES);
}

#[test]
fn a_whole_export_is_what_opentelemetry_reads() {
    let resource = otlp::Resource { attributes: vec![otlp::KeyValue::text("service.name", "digits")] };
    let spans = record(http("/v1/predict"), Some(200)).spans(Model { name: "m", version: "1", tls: false });
    let scope = otlp::Scope { name: "s".into(), version: "1".into() };
    let scope_spans = vec![otlp::ScopeSpans { scope: Some(scope), spans }];
    let ours =
        otlp::ExportRequest { resource_spans: vec![otlp::ResourceSpans { resource: Some(resource), scope_spans }] };
    let bytes = ours.encode_to_vec();
    let read = ExportTraceServiceRequest::decode(Bytes::from(bytes.clone())).unwrap();
    let resource = read.resource_spans[0].resource.as_ref().unwrap();
    assert_eq!(resource.attributes[0].key, "service.name");
    assert_eq!(read.resource_spans[0].scope_spans[0].scope.as_ref().unwrap().name, "s");
    // Nothing is written that they don't know.
    assert_eq!(read.encode_to_vec().len(), bytes.len());
}
