//! What a collector gets of a real service, and what clients, logs and metrics see of it.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

#[path = "support/collector.rs"]
mod collector;
mod support;

use std::io::{Read, Write};
use std::sync::Arc;
use std::time::{Duration, Instant};

use collector::{Collector, failed, hex, text};
use nimify_runtime::codec::v2::protobuf::messages::model_infer_request::InferInputTensor;
use nimify_runtime::codec::v2::protobuf::messages::{ModelInferRequest, ModelInferResponse};
use serde_json::{Value, json};
use support::{PATIENCE, Service, gather, onnxruntime, rows, slow};
use tonic::codegen::http::uri::PathAndQuery;
use tonic::transport::Endpoint;
use tonic_prost::ProstCodec;

const TRACE: &str = "0af7651916cd43dd8448eb211c80319c";
const CALLER: &str = "b7ad6b7169203331";
const BODY: &[u8] = br#"{"x":[[1,2,3]],"b":[[0.5]]}"#;
const JSON: (&str, &str) = ("content-type", "application/json");

/// Spans are sent at once.
const SOON: (&str, &str) = ("OTEL_BSP_SCHEDULE_DELAY", "20");

fn parent(flags: &str) -> String {
    format!("00-{TRACE}-{CALLER}-{flags}")
}

fn predict(service: &Service, headers: &[(&str, &str)]) -> support::Answer {
    service.send("POST", "/v1/predict", &[&[JSON], headers].concat(), BODY)
}

/// Waits until a metric without labels is at least this.
fn wait_for_metric(service: &Service, name: &str, least: u64) -> u64 {
    let end = Instant::now() + PATIENCE;
    loop {
        let page = service.get("/metrics").text();
        let line = page.lines().find_map(|line| line.strip_prefix(name)?.trim().parse().ok());
        let count: u64 = line.unwrap_or_else(|| panic!("no {name}: {page}"));
        if count >= least {
            return count;
        }
        assert!(Instant::now() < end, "{name} stays at {count}");
        std::thread::sleep(Duration::from_millis(10));
    }
}

/// The line of an answered request; waits for it.
fn line(service: &Service, id: &str) -> Value {
    let end = Instant::now() + PATIENCE;
    loop {
        let lines = service.log.lines();
        if let Some(line) = lines.iter().find(|line| line["request_id"] == id && line["message"] == "answered") {
            return line.clone();
        }
        assert!(Instant::now() < end, "no line of {id}: {lines:#?}");
        std::thread::sleep(Duration::from_millis(2));
    }
}

fn count(lines: &[Value], message: &str) -> usize {
    lines.iter().filter(|line| line["message"] == message).count()
}

#[test]
fn a_callers_trace_is_continued_on_every_protocol() {
    let collector = Collector::start();
    let service = rows().ready_with(&[("NIMIFY_TRACING_ENDPOINT", &collector.endpoint()), SOON]);
    let v2 = json!({"inputs": [
        {"name": "x", "shape": [2, 3], "datatype": "FP32", "data": [1, 2, 3, 4, 5, 6]},
        {"name": "b", "shape": [2, 1], "datatype": "FP32", "data": [0.5, 0.5]},
    ]})
    .to_string();
    let requests = [
        ("/v1/predict", "/v1/predict", BODY, "1"),
        ("/v1/infer", "/v1/infer", BODY, "1"),
        ("/v2/models/tiny/infer", "/v2/models/{model}/infer", v2.as_bytes(), "2"),
    ];
    for (number, (path, route, body, rows)) in requests.into_iter().enumerate() {
        let headers = [JSON, ("traceparent", &parent("01")), ("tracestate", "a=1, b=2")];
        let answer = service.send("POST", path, &headers, body);
        assert_eq!(answer.status, 200, "{}", answer.text());
        let server = collector.servers(number + 1).pop().unwrap();
        assert_eq!((hex(&server.trace_id), hex(&server.parent_span_id)), (TRACE.into(), CALLER.into()));
        assert_eq!(server.trace_state, "a=1,b=2");
        let told = answer.header("traceresponse").unwrap();
        assert_eq!(told, format!("00-{TRACE}-{}-01", hex(&server.span_id)));
        assert_eq!(server.name, format!("POST {route}"));
        assert!(!failed(&server));
        for (key, value) in [
            ("http.request.method", "POST"),
            ("http.route", route),
            ("http.response.status_code", "200"),
            ("url.path", path),
            ("server.address", "test"),
            ("nimify.model.name", "tiny"),
            ("nimify.model.version", "1.2.0"),
        ] {
            assert_eq!(text(&server.attributes, key).as_deref(), Some(value), "{key}");
        }
        let below = collector.below(&server);
        assert_eq!(
            below.iter().map(|span| span.name.as_str()).collect::<Vec<_>>(),
            ["decode", "queue", "compute", "encode"]
        );
        let mut last = server.start_time_unix_nano;
        for span in &below {
            assert_eq!(span.trace_id, server.trace_id);
            assert!(last <= span.start_time_unix_nano, "{below:#?}");
            last = span.end_time_unix_nano;
        }
        assert!(last <= server.end_time_unix_nano, "{below:#?}");
        assert_eq!(text(&below[2].attributes, "nimify.batch.rows").as_deref(), Some(rows));
    }
    assert_eq!(collector.resource("service.name").as_deref(), Some("tiny"));
    assert_eq!(collector.resource("service.version").as_deref(), Some("1.2.0"));
}

#[test]
fn events_are_recorded_to_their_end() {
    let collector = Collector::start();
    let service = rows().ready_with(&[("NIMIFY_TRACING_ENDPOINT", &collector.endpoint()), SOON]);
    let (accept, caller) = (("accept", "text/event-stream"), parent("03"));
    let mut stream = service.connect();
    let head = format!(
        "POST /v1/predict HTTP/1.1\r\nhost: test\r\nconnection: close\r\ncontent-type: application/json\r\n\
         {}: {}\r\ntraceparent: {caller}\r\ncontent-length: {}\r\n\r\n",
        accept.0,
        accept.1,
        BODY.len()
    );
    stream.write_all(&[head.as_bytes(), BODY].concat()).unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    let server = collector.servers(1).pop().unwrap();
    assert!(answer.contains(&format!("traceresponse: 00-{TRACE}-{}-03\r\n", hex(&server.span_id))), "{answer}");
    assert_eq!(text(&server.attributes, "http.response.status_code").as_deref(), Some("200"));
    assert_eq!(collector.below(&server).len(), 4, "{answer}");
}

#[tokio::test]
async fn a_call_of_grpc_is_recorded_and_answered_with_its_place() {
    let collector = Collector::start();
    let environment = [("NIMIFY_TRACING_ENDPOINT", &*collector.endpoint()), SOON, ("NIMIFY_ACCESS_LOG", "info")];
    let service = gather().ready_with(&environment);
    let endpoint = Endpoint::from_shared(format!("http://{}", service.grpc.unwrap())).unwrap();
    let mut client = tonic::client::Grpc::new(endpoint.connect().await.unwrap());
    let infer = |indices: &[i64]| {
        let raw = indices.iter().flat_map(|index| index.to_le_bytes()).collect();
        let shape = vec![indices.len() as i64];
        let input = InferInputTensor { name: "index".into(), datatype: "INT64".into(), shape, ..Default::default() };
        let message = ModelInferRequest {
            model_name: "tiny".into(),
            inputs: vec![input],
            raw_input_contents: vec![raw],
            ..Default::default()
        };
        let mut request = tonic::Request::new(message);
        request.metadata_mut().insert("traceparent", parent("01").parse().unwrap());
        request
    };
    let path = || PathAndQuery::from_static("/inference.GRPCInferenceService/ModelInfer");
    for (number, (indices, code)) in [(&[0, 1][..], "0"), (&[7], "3")].into_iter().enumerate() {
        client.ready().await.unwrap();
        let codec = ProstCodec::<ModelInferRequest, ModelInferResponse>::default();
        let metadata = match client.unary(infer(indices), path(), codec).await {
            Ok(response) => response.metadata().clone(),
            Err(status) => status.metadata().clone(),
        };
        let server = collector.servers(number + 1).pop().unwrap();
        assert_eq!((hex(&server.trace_id), hex(&server.parent_span_id)), (TRACE.into(), CALLER.into()));
        assert_eq!(metadata.get("traceresponse").unwrap(), &format!("00-{TRACE}-{}-01", hex(&server.span_id)));
        assert_eq!(text(&server.attributes, "rpc.grpc.status_code").as_deref(), Some(code));
        assert_eq!(text(&server.attributes, "rpc.method").as_deref(), Some("ModelInfer"));
        let end = Instant::now() + PATIENCE;
        while !service.log.lines().iter().any(|line| line["span_id"] == hex(&server.span_id)) {
            assert!(Instant::now() < end, "{:#?}", service.log.lines());
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    }
    let openmetrics = [("accept", "application/openmetrics-text; version=1.0.0")];
    let page = service.send("GET", "/metrics", &openmetrics, b"").text();
    let histogram = format!("nim_request_duration_seconds_bucket{{route=\"{}\"", path());
    let examples = page.lines().filter(|line| line.starts_with(&histogram) && line.contains(TRACE));
    assert!(examples.count() >= 1, "{page}");
}

#[test]
fn without_a_callers_trace_inferences_begin_one_and_health_does_not() {
    let collector = Collector::start();
    let service = rows().ready_with(&[("OTEL_EXPORTER_OTLP_ENDPOINT", &collector.endpoint()), SOON]);
    for path in ["/v1/health/ready", "/metrics", "/v2/models/tiny", "/nothing"] {
        assert_eq!(service.get(path).header("traceresponse"), None, "{path}");
    }
    // What is wrong is ignored, and begins a new trace too.
    let wrong = format!("ff{}", &parent("01")[2..]);
    let upper = parent("01").to_uppercase();
    for headers in [&[][..], &[("traceparent", wrong.as_str())], &[("traceparent", &upper), ("tracestate", "a=1")]] {
        assert!(predict(&service, headers).header("traceresponse").is_some());
    }
    let servers = collector.servers(3);
    for server in &servers {
        assert!(server.parent_span_id.is_empty() && server.trace_state.is_empty(), "{server:#?}");
        assert_ne!(hex(&server.trace_id), TRACE);
    }
    assert_ne!(servers[0].trace_id, servers[1].trace_id);
    // A caller that asks for it gets it.
    let ready = service.send("GET", "/v1/health/ready", &[("traceparent", &parent("01"))], b"");
    assert!(ready.header("traceresponse").is_some_and(|told| told.contains(TRACE)));
    assert_eq!(collector.servers(4)[3].name, "GET /v1/health/ready");
}

#[test]
fn traced_requests_are_examples_of_the_histograms_and_others_are_not() {
    let collector = Collector::start();
    let service = rows().ready_with(&[("NIMIFY_TRACING_ENDPOINT", &collector.endpoint()), SOON]);
    let page = || {
        let openmetrics = [("accept", "application/openmetrics-text; version=1.0.0")];
        service.send("GET", "/metrics", &openmetrics, b"").text()
    };
    assert_eq!(predict(&service, &[("traceparent", &parent("00"))]).status, 200);
    assert!(!page().contains("trace_id"), "a caller that doesn't record");
    assert_eq!(predict(&service, &[("traceparent", &parent("01"))]).status, 200);
    let page = page();
    for histogram in [
        "nim_request_duration_seconds_bucket{route=\"/v1/predict\"",
        "nimify_inference_duration_seconds_bucket",
        "nimify_stage_duration_seconds_bucket{stage=\"compute\"",
    ] {
        let example = format!(" # {{trace_id=\"{TRACE}\"}} ");
        let lines = page.lines().filter(|line| line.starts_with(histogram) && line.contains(&example));
        assert_eq!(lines.count(), 1, "{histogram}{page}");
    }
    assert!(!service.get("/metrics").text().contains("trace_id"), "the text format has no room for them");
}

#[test]
fn a_caller_that_does_not_record_is_followed_and_its_trace_is_in_the_logs() {
    let collector = Collector::start();
    let environment = [("NIMIFY_TRACING_ENDPOINT", &*collector.endpoint()), SOON, ("NIMIFY_ACCESS_LOG", "info")];
    let service = rows().ready_with(&environment);
    let silent = predict(&service, &[("traceparent", &parent("00")), ("x-request-id", "silent")]);
    assert_eq!((silent.status, silent.header("traceresponse")), (200, None));
    let told = predict(&service, &[("x-request-id", "told")]);
    let server = collector.servers(1).pop().unwrap();
    let line = |id: &str| line(&service, id);
    assert_eq!((&line("silent")["trace_id"], &line("silent")["span_id"]), (&json!(TRACE), &Value::Null));
    assert_eq!(line("told")["trace_id"], hex(&server.trace_id));
    assert_eq!(line("told")["span_id"], hex(&server.span_id));
    assert!(told.header("traceresponse").is_some());
}

#[test]
fn requests_that_fail_are_told_with_their_status() {
    let collector = Collector::start();
    let service = gather().ready_with(&[("NIMIFY_TRACING_ENDPOINT", &collector.endpoint()), SOON]);
    let sent = |body: &str| service.post("/v1/predict", body.as_bytes()).status;
    assert_eq!((sent(r#"{"index":"secret"}"#), sent(r#"{"index":[7]}"#)), (400, 422));
    let servers = collector.servers(2);
    for (server, status) in servers.iter().zip(["400", "422"]) {
        assert_eq!(text(&server.attributes, "http.response.status_code").as_deref(), Some(status));
        assert!(!failed(server), "it is the client's fault");
    }
    assert!(!format!("{:?}", collector.spans()).contains("secret"));
    // The logs lead to the traces.
    let refused = service.log.wait_for("request refused");
    assert_eq!(refused["trace_id"], hex(&servers[0].trace_id));
    assert!(!format!("{:?}", service.log.lines()).contains("secret"));
}

#[test]
fn a_client_that_goes_is_told_as_canceled() {
    let collector = Collector::start();
    let environment = [("NIMIFY_TRACING_ENDPOINT", &*collector.endpoint()), SOON, ("NIMIFY_ACCESS_LOG", "info")];
    let service = slow().ready_with(&environment);
    let body = r#"{"count":2000}"#;
    let mut connection = service.connect();
    let head = "POST /v1/predict HTTP/1.1\r\nhost: test\r\ncontent-type: application/json\r\n";
    write!(connection, "{head}content-length: {}\r\n\r\n{body}", body.len()).unwrap();
    std::thread::sleep(Duration::from_millis(50));
    drop(connection);
    let server = collector.servers(1).pop().unwrap();
    assert!(failed(&server));
    assert_eq!(text(&server.attributes, "error.type").as_deref(), Some("canceled"));
    assert_eq!(text(&server.attributes, "http.response.status_code"), None);
    assert_eq!(service.log.wait_for("answered")["canceled"], true);
}

#[test]
fn nothing_is_recorded_unless_it_is_asked_for() {
    let collector = Collector::start();
    let endpoint = collector.endpoint();
    for environment in [
        &[][..],
        &[("OTEL_EXPORTER_OTLP_ENDPOINT", &*endpoint), ("OTEL_SDK_DISABLED", "true")],
        &[("OTEL_EXPORTER_OTLP_ENDPOINT", &*endpoint), ("OTEL_TRACES_EXPORTER", "none")],
        &[("OTEL_EXPORTER_OTLP_ENDPOINT", &*endpoint), ("NIMIFY_TRACING_ENDPOINT", "none")],
        &[("NIMIFY_TRACING_ENDPOINT", &*endpoint), ("NIMIFY_TRACING_SAMPLE_RATIO", "0")],
    ] {
        let mut service = rows().ready_with(&[environment, &[SOON]].concat());
        assert_eq!(predict(&service, &[]).header("traceresponse"), None, "{environment:?}");
        service.signal("TERM");
        assert_eq!(service.exit().0, Some(0));
    }
    assert_eq!(collector.asked(), 0);
}

#[test]
fn what_is_recorded_is_sent_before_the_end() {
    let collector = Collector::start();
    let endpoint = collector.endpoint();
    let mut service =
        rows().ready_with(&[("NIMIFY_TRACING_ENDPOINT", &endpoint), ("OTEL_BSP_SCHEDULE_DELAY", "600000")]);
    predict(&service, &[]);
    assert_eq!(collector.asked(), 0);
    service.signal("TERM");
    assert_eq!(service.exit().0, Some(0));
    collector.servers(1);
}

#[test]
fn a_full_batch_does_not_wait() {
    let collector = Collector::start();
    let environment = [
        ("NIMIFY_TRACING_ENDPOINT", &*collector.endpoint()),
        ("OTEL_BSP_SCHEDULE_DELAY", "600000"),
        ("OTEL_BSP_MAX_EXPORT_BATCH_SIZE", "3"),
    ];
    let service = rows().ready_with(&environment);
    (0..3).for_each(|_| drop(predict(&service, &[])));
    collector.servers(3);
    assert_eq!(collector.asked(), 1);
}

#[test]
fn a_collector_that_cannot_be_reached_hurts_nobody() {
    // Bound and never listened on: connections are refused.
    let socket = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let endpoint = format!("http://{}", socket.local_addr().unwrap());
    drop(socket);
    let environment = [
        ("NIMIFY_TRACING_ENDPOINT", &*endpoint),
        SOON,
        ("OTEL_BSP_MAX_QUEUE_SIZE", "2"),
        ("OTEL_EXPORTER_OTLP_HEADERS", "authorization=Bearer%20secret"),
    ];
    let mut service = rows().ready_with(&environment);
    let begun = Instant::now();
    (0..20).for_each(|_| assert_eq!(predict(&service, &[]).status, 200));
    assert!(begun.elapsed() < Duration::from_secs(20));
    wait_for_metric(&service, "nimify_spans_dropped_total", 5);
    service.signal("TERM");
    let (code, lines) = service.exit();
    assert_eq!(code, Some(0));
    assert_eq!(count(&lines, "spans can't be exported"), 1, "{lines:#?}");
    assert!(!format!("{lines:?}").contains("secret"));
}

#[test]
fn a_collector_that_never_answers_does_not_hold_up_the_end() {
    let silent = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let endpoint = format!("http://{}", silent.local_addr().unwrap());
    let mut service = rows().ready_with(&[("NIMIFY_TRACING_ENDPOINT", &endpoint)]);
    predict(&service, &[]);
    let begun = Instant::now();
    service.signal("TERM");
    assert_eq!(service.exit().0, Some(0));
    assert!(begun.elapsed() < Duration::from_secs(7), "{:?}", begun.elapsed());
}

#[test]
fn a_collector_that_is_busy_is_asked_again_and_one_that_refuses_is_not() {
    let collector = Collector::start();
    collector.refuse(&[503, 429]);
    let service = rows().ready_with(&[("NIMIFY_TRACING_ENDPOINT", &collector.endpoint()), SOON]);
    predict(&service, &[]);
    collector.servers(1);
    assert_eq!(collector.asked(), 3);
    service.log.wait_for("spans are exported again");
    collector.refuse(&[400]);
    predict(&service, &[]);
    let dropped = wait_for_metric(&service, "nimify_spans_dropped_total", 1);
    assert_eq!(dropped, 5, "the request's and one for each stage");
    assert_eq!((collector.asked(), collector.servers(1).len()), (4, 1));
    collector.reject(2);
    predict(&service, &[]);
    collector.servers(2);
    wait_for_metric(&service, "nimify_spans_dropped_total", dropped + 2);
}

#[test]
fn a_collector_is_reached_by_grpc_with_headers() {
    let collector = Collector::start();
    collector.refuse(&[503]);
    let environment = [
        ("OTEL_EXPORTER_OTLP_ENDPOINT", &*collector.endpoint()),
        ("OTEL_EXPORTER_OTLP_PROTOCOL", "grpc"),
        ("OTEL_EXPORTER_OTLP_HEADERS", "api-key=a%20b"),
        ("OTEL_SERVICE_NAME", "digits"),
        ("OTEL_RESOURCE_ATTRIBUTES", "deployment.environment.name=test"),
        SOON,
    ];
    let service = rows().ready_with(&environment);
    predict(&service, &[]);
    collector.servers(1);
    assert_eq!(collector.headers()["api-key"], "a b");
    assert_eq!(collector.resource("service.name").as_deref(), Some("digits"));
    assert_eq!(collector.resource("deployment.environment.name").as_deref(), Some("test"));
}

#[test]
fn exports_are_compressed_and_carry_headers_by_http() {
    let collector = Collector::start();
    let exact = format!("{}/v1/traces", collector.endpoint());
    let environment = [
        ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", &*exact),
        ("OTEL_EXPORTER_OTLP_COMPRESSION", "gzip"),
        ("OTEL_EXPORTER_OTLP_HEADERS", "api-key=b"),
        SOON,
    ];
    let service = rows().ready_with(&environment);
    predict(&service, &[]);
    collector.servers(1);
    let headers = collector.headers();
    assert!(headers["content-encoding"] == "gzip" && headers["api-key"] == "b", "{headers:?}");
    assert!(headers["user-agent"].to_str().unwrap().starts_with("OTel-OTLP-Exporter-nimify/"));
}

#[test]
fn a_collector_behind_tls_is_reached_if_it_is_trusted() {
    let made = rcgen::generate_simple_self_signed(["localhost".to_string()]).unwrap();
    let key = made.signing_key.serialize_der().try_into().unwrap();
    let provider = Arc::new(tokio_rustls::rustls::crypto::ring::default_provider());
    let mut config = tokio_rustls::rustls::ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![made.cert.der().clone()], key)
        .unwrap();
    config.alpn_protocols = vec![b"h2".into(), b"http/1.1".into()];
    let collector = Collector::start_with(Some(Arc::new(config)));
    let endpoint = format!("https://localhost:{}", collector.address.port());
    let folder = tempfile::tempdir().unwrap();
    let pem = folder.path().join("ca.pem");
    std::fs::write(&pem, made.cert.pem()).unwrap();
    for (number, protocol) in ["http/protobuf", "grpc"].into_iter().enumerate() {
        let environment = [
            ("OTEL_EXPORTER_OTLP_ENDPOINT", &*endpoint),
            ("OTEL_EXPORTER_OTLP_PROTOCOL", protocol),
            ("OTEL_EXPORTER_OTLP_CERTIFICATE", pem.to_str().unwrap()),
            SOON,
        ];
        let service = rows().ready_with(&environment);
        predict(&service, &[]);
        collector.servers(number + 1);
    }
    let distrusting = rows().ready_with(&[("OTEL_EXPORTER_OTLP_ENDPOINT", &endpoint), SOON]);
    assert_eq!(predict(&distrusting, &[]).status, 200);
    distrusting.log.wait_for("spans can't be exported");
    collector.servers(2);
}

#[test]
fn a_wrong_value_of_opentelemetrys_is_warned_of_and_one_of_nimifys_ends_the_start() {
    let service = rows().ready_with(&[("OTEL_TRACES_SAMPLER", "xray"), ("OTEL_EXPORTER_OTLP_PROTOCOL", "http/json")]);
    let lines = service.log.lines();
    for name in ["OTEL_TRACES_SAMPLER", "OTEL_EXPORTER_OTLP_PROTOCOL"] {
        let warned = |line: &&Value| line["message"].as_str().is_some_and(|text| text.contains(&format!("`{name}`")));
        assert!(lines.iter().any(|line| warned(&line)), "{lines:#?}");
    }
    let folder = tempfile::tempdir().unwrap();
    let settings = rows().write(folder.path());
    let done = support::command()
        .args(["--config", settings.to_str().unwrap()])
        .env("NIMIFY_ONNXRUNTIME", onnxruntime())
        .env("NIMIFY_TRACING_ENDPOINT", "collector:4318")
        .output()
        .unwrap();
    assert_eq!(done.status.code(), Some(4));
    assert!(String::from_utf8_lossy(&done.stderr).contains("NIMIFY_TRACING_ENDPOINT"));
}

#[test]
fn each_request_is_a_line_if_that_is_wanted_and_its_payload_never() {
    let service = rows().ready_with(&[("NIMIFY_ACCESS_LOG", "info")]);
    let headers = [JSON, ("x-request-id", "one"), ("traceparent", &parent("01"))];
    service.send("POST", "/v1/predict", &headers, br#"{"x":[[1,2,3]],"b":[[987654.5]]}"#);
    service.send("POST", "/v1/predict?987654.5", &[JSON, ("x-request-id", "two")], b"{\"987654.5\":1}");
    service.send("GET", "/v1/models", &[("x-request-id", "three")], b"");
    let line = |id: &str| line(&service, id);
    let one = line("one");
    assert_eq!((&one["route"], &one["status"], &one["level"]), (&json!("/v1/predict"), &json!(200), &json!("INFO")));
    assert_eq!((&one["trace_id"], &one["batch_rows"]), (&json!(TRACE), &json!(1)));
    for stage in ["took_us", "decode_us", "queue_us", "compute_us", "encode_us"] {
        assert!(one[stage].is_u64(), "{one}");
    }
    assert_eq!(line("two")["status"], 400);
    assert_eq!(line("three")["compute_us"], Value::Null);
    let lines = service.log.lines();
    assert!(!format!("{lines:?}").contains("987654"), "{lines:#?}");
    let quiet = rows().ready();
    predict(&quiet, &[]);
    quiet.get("/v1/models");
    assert_eq!(count(&quiet.log.lines(), "answered"), 0);
}
