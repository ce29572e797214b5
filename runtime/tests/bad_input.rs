//! What a client can do wrong: each gets its status and a message that says what is wrong and where, and the service
//! goes on.

#![allow(clippy::unwrap_used, reason = "a test may panic, its helpers too")]

mod support;

use std::io::Write;
use std::time::{Duration, Instant};

use serde_json::json;
use support::{Made, Service, answer, gather, identity, rows};

/// Each body is refused with 400, and the message has these words in it.
fn refused(service: &Service, cases: &[(&str, &[&str])]) {
    for (body, words) in cases {
        let message = service.post("/v1/predict", body.as_bytes()).v1_error(400);
        for word in *words {
            assert!(message.contains(word), "{body}: `{word}` is not in: {message}");
        }
    }
    well(service);
}

/// The service still answers, and nothing was its own fault.
fn well(service: &Service) {
    assert_eq!(service.get("/v1/health/ready").status, 200);
    assert!(service.get("/metrics").text().contains("nimify_panics_total 0\n"));
    assert!(!service.get("/metrics").text().contains("status=\"500\""));
}

#[test]
fn values_that_do_not_fit_the_signature() {
    let service = rows().ready();
    refused(
        &service,
        &[
            (r#"{"x":[["a",2,3]],"b":[[1]]}"#, &["`x`", "float32"]),
            (r#"{"x":[[true,2,3]],"b":[[1]]}"#, &["`x`"]),
            (r#"{"x":[1,2,3],"b":[[1]]}"#, &["`x`", "[N, 3]"]),
            (r#"{"x":[[[1,2,3]]],"b":[[1]]}"#, &["`x`", "[N, 3]"]),
            (r#"{"x":[[1,2]],"b":[[1]]}"#, &["`x`", "3"]),
            (r#"{"x":[[1,2,3]],"b":[[1],[2]]}"#, &["N"]),
            (r#"{"x":[[1,2,3],[1,2]],"b":[[1],[2]]}"#, &["`x`", "ragged"]),
            (r#"{"x":[[1,2,3]]}"#, &["`b`", "missing"]),
            (r#"{"x":[[1,2,3]],"b":[[1]],"c":1}"#, &["`c`"]),
            (r#"{"x":[[1,2,3]],"B":[[1]]}"#, &["`B`", "`b`"]),
            (r#"{"x":null,"b":[[1]]}"#, &["`x`"]),
            (r#"[]"#, &["object"]),
            (r#""#, &[]),
            (r#"{"x":"#, &[]),
            (r#"{"x":[[1,2,3]],"b":[[1]]} x"#, &[]),
            (r#"{"x":[[1,2,3]],"x":[[1,2,3]],"b":[[1]]}"#, &["`x`", "twice"]),
            (r#"{"x":[[1,2,1e99999]],"b":[[1]]}"#, &["`x`"]),
        ],
    );
}

#[test]
fn numbers_out_of_their_types_range() {
    let service = identity().ready();
    let good = json!({
        "float32": [[1]], "float64": [[1]], "float16": [[1]], "bfloat16": [[1]], "int8": [[1]], "int16": [[1]],
        "int32": [[1]], "int64": [[1]], "uint8": [[1]], "uint16": [[1]], "uint32": [[1]], "uint64": [[1]],
        "bool": [[true]], "string": [["s"]],
    });
    assert_eq!(service.predict(&good).status, 200);
    for (name, value) in [
        ("int8", "128"),
        ("int8", "-129"),
        ("uint8", "-1"),
        ("uint8", "256"),
        ("int16", "32768"),
        ("uint16", "65536"),
        ("int32", "2147483648"),
        ("uint32", "4294967296"),
        ("int64", "9223372036854775808"),
        ("uint64", "18446744073709551616"),
        ("int32", "1.5"),
        ("bool", "1"),
        ("string", "1"),
        ("float16", "\"nan\""),
    ] {
        let mut request = good.clone();
        request[name] = json!([[serde_json::from_str::<serde_json::Value>("0").unwrap()]]);
        let body = request.to_string().replace(&format!("\"{name}\":[[0]]"), &format!("\"{name}\":[[{value}]]"));
        let message = service.post("/v1/predict", body.as_bytes()).v1_error(400);
        assert!(message.contains(&format!("`{name}`")), "{name} {value}: {message}");
    }
    well(&service);
}

#[test]
fn bytes_that_are_no_json() {
    let service = rows().ready();
    let brackets = "[".repeat(10_000);
    for body in [
        &b"\xff\xfe"[..],
        b"{\"x\":\"\xff\"}",
        b"\0",
        brackets.as_bytes(),
        format!("{{\"x\":{brackets}").as_bytes(),
        format!("{{\"x\":{}", "{\"a\":".repeat(10_000)).as_bytes(),
    ] {
        service.post("/v1/predict", body).v1_error(400);
        let v2 = service.post("/v2/models/tiny/infer", body);
        assert_eq!(v2.status, 400);
        assert!(v2.json()["error"].is_string());
    }
    well(&service);
}

#[test]
fn open_inference_requests_that_are_wrong() {
    let service = rows().ready();
    let b = r#"{"name":"b","shape":[1,1],"datatype":"FP32","data":[1]}"#;
    for x in [
        r#"{"name":"x","shape":[1,3],"datatype":"FP32","data":[1,2]}"#,
        r#"{"name":"x","shape":[1,3],"datatype":"INT64","data":[1,2,3]}"#,
        r#"{"name":"x","shape":[1,3],"datatype":"FLOAT","data":[1,2,3]}"#,
        r#"{"name":"x","shape":[3],"datatype":"FP32","data":[1,2,3]}"#,
        r#"{"name":"x","shape":[-1,3],"datatype":"FP32","data":[1,2,3]}"#,
        r#"{"name":"x","shape":[4611686018427387904,16],"datatype":"FP32","data":[1]}"#,
        r#"{"name":"z","shape":[1,3],"datatype":"FP32","data":[1,2,3]}"#,
        r#"{"name":"x","datatype":"FP32","data":[1,2,3]}"#,
        r#"{"name":"x","shape":[1,3],"datatype":"FP32","parameters":{"binary_data_size":12}}"#,
    ] {
        let answer = service.post("/v2/models/tiny/infer", format!("{{\"inputs\":[{x},{b}]}}").as_bytes());
        assert_eq!(answer.status, 400, "{x}: {}", answer.text());
        assert!(answer.json()["error"].is_string());
    }
    for length in ["9999", "x", "-1"] {
        let headers = [("content-type", "application/octet-stream"), ("inference-header-content-length", length)];
        assert_eq!(service.send("POST", "/v2/models/tiny/infer", &headers, b"{}").status, 400, "{length}");
    }
    well(&service);
}

#[test]
fn values_that_the_model_refuses_are_422() {
    let service = gather().ready();
    let message = service.predict(&json!({"index": [7]})).v1_error(422);
    assert!(message.contains("model refused"), "{message}");
    assert_eq!(service.predict(&json!({"index": [2]})).json(), json!({"row": [[4., 5.]]}));
    well(&service);
}

#[test]
fn media_types_other_than_json_are_415() {
    let service = rows().ready();
    let send = |headers: &[(&str, &str)]| service.send("POST", "/v1/predict", headers, br#"{"x":[[1,2,3]],"b":[[1]]}"#);
    assert_eq!(send(&[]).status, 200);
    assert_eq!(send(&[("content-type", "application/json; charset=utf-8")]).status, 200);
    for content_type in ["text/plain", "application/x-www-form-urlencoded", "multipart/form-data"] {
        assert!(send(&[("content-type", content_type)]).v1_error(415).contains(content_type));
    }
    assert!(send(&[("content-encoding", "compress")]).v1_error(415).contains("compress"));
    let v2 = service.send("POST", "/v2/models/tiny/infer", &[("content-type", "text/plain")], b"{}");
    assert!(v2.status == 415 && v2.json()["error"].is_string());
}

#[test]
fn a_hundred_megabytes_are_refused_whether_announced_or_not() {
    let service = rows().ready();
    // Announced: refused before a byte of it is there.
    let mut stream = service.connect();
    write!(stream, "POST /v1/predict HTTP/1.1\r\nhost: t\r\ncontent-length: 100000000\r\n\r\n").unwrap();
    let refused = answer(&mut stream);
    assert!(refused.v1_error(413).contains("67108864"));
    assert_eq!(refused.header("connection"), Some("close"));
    // Sent whole by a client that listens only afterwards.
    let body = vec![b' '; 100_000_000];
    assert_eq!(service.post("/v1/predict", &body).status, 413);
    // Chunked: refused as soon as it is too long.
    let mut stream = service.connect();
    write!(stream, "POST /v1/predict HTTP/1.1\r\nhost: t\r\ntransfer-encoding: chunked\r\n\r\n").unwrap();
    for part in body.chunks(1 << 20) {
        write!(stream, "{:x}\r\n", part.len()).unwrap();
        stream.write_all(part).unwrap();
        stream.write_all(b"\r\n").unwrap();
    }
    stream.write_all(b"0\r\n\r\n").unwrap();
    assert_eq!(answer(&mut stream).status, 413);
    well(&service);
}

#[test]
fn the_limit_itself_is_allowed_and_one_byte_more_is_not() {
    let service = Made { server: json!({"maxBodyBytes": 64}), ..rows() }.ready();
    let body = format!("{:<64}", r#"{"x":[[1,2,3]],"b":[[1]]}"#);
    assert_eq!(service.post("/v1/predict", body.as_bytes()).status, 200);
    assert_eq!(service.post("/v1/predict", format!("{body} ").as_bytes()).status, 413);
}

#[test]
fn a_body_that_never_ends_is_408_and_a_head_that_never_ends_is_closed() {
    let service = Made { server: json!({"readTimeout": "400ms"}), ..rows() }.ready();
    let begun = Instant::now();
    let mut stream = service.connect();
    write!(stream, "POST /v1/predict HTTP/1.1\r\nhost: t\r\ncontent-length: 20\r\n\r\n{{").unwrap();
    assert!(answer(&mut stream).v1_error(408).contains("readTimeout"));
    assert!(begun.elapsed() >= Duration::from_millis(400));
    for head in ["", "POST /v1/pred", "GET /v1/version HTTP/1.1\r\nhost: t\r\n"] {
        let mut stream = service.connect();
        stream.write_all(head.as_bytes()).unwrap();
        let mut rest = Vec::new();
        // Closed or reset: either way it is over.
        let _ = std::io::Read::read_to_end(&mut stream, &mut rest);
        assert!(rest.is_empty(), "{}", String::from_utf8_lossy(&rest));
    }
    well(&service);
}

#[test]
fn heads_that_are_no_http() {
    let service = rows().ready();
    for head in [
        "GET\r\n\r\n".to_string(),
        "\0\0\0\0\r\n\r\n".to_string(),
        "POST /v1/predict HTTP/1.1\r\nhost: t\r\ncontent-length: x\r\n\r\n".to_string(),
        "POST /v1/predict HTTP/1.1\r\nhost: t\r\ncontent-length: -1\r\n\r\n".to_string(),
        format!("GET /{} HTTP/1.1\r\nhost: t\r\n\r\n", "a".repeat(100_000)),
        format!("GET / HTTP/1.1\r\nhost: t\r\n{}\r\n", "a: b\r\n".repeat(1000)),
    ] {
        let mut stream = service.connect();
        stream.write_all(head.as_bytes()).unwrap();
        let status = answer(&mut stream).status;
        assert!((400..500).contains(&status), "{status}: {head:.40}");
    }
    // A body that breaks off.
    let mut stream = service.connect();
    write!(stream, "POST /v1/predict HTTP/1.1\r\nhost: t\r\ncontent-length: 20\r\n\r\n{{").unwrap();
    drop(stream);
    well(&service);
}
