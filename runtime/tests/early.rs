//! Answers that need nothing of a body that is still coming: the client hears them whatever it sends, and the connection
//! goes on. curl judges, which takes a stream that is reset after its answer for a broken one.

#![allow(clippy::unwrap_used, reason = "a test may panic, its helpers too")]

mod support;

use std::io::{Read, Write};
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};

use serde_json::json;
use support::{Made, answer, rows};

const JSON: [&str; 2] = ["--header", "content-type: application/json"];

/// What is answered before a body is read: arguments of curl, path, status.
const EARLY: [(&[&str], &str, &str); 8] = [
    (&[], "/nowhere", "404"),
    (&[], "/v1/models", "405"),
    (&[], "/v1/health/live", "405"),
    (&["--request", "PUT"], "/v1/predict", "405"),
    (&["--header", "content-type: text/plain"], "/v1/predict", "415"),
    (&[JSON[0], JSON[1], "--header", "content-encoding: compress"], "/v1/predict", "415"),
    (&[], "/v2/models/other/infer", "404"),
    (&[JSON[0], JSON[1], "--header", "inference-header-content-length: x"], "/v2/models/tiny/infer", "400"),
];

fn verdict(output: &Output) -> String {
    assert!(output.status.success(), "{output:?}");
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(text.contains(r#"{"error":"#), "{text}");
    text.lines().last().unwrap_or_default().to_string()
}

#[test]
fn curl_hears_an_answer_that_comes_before_its_body_is_sent() {
    let service = rows().ready();
    let folder = tempfile::tempdir().unwrap();
    let body = folder.path().join("body.json");
    std::fs::write(&body, vec![b' '; 40_000_000]).unwrap();
    for version in ["--http2-prior-knowledge", "--http1.1"] {
        for (arguments, path, status) in EARLY {
            let mut curl = Command::new("curl");
            curl.args(["--silent", "--show-error", "--max-time", "60", "--write-out", "\n%{http_code}", version]);
            // A client that waits for leave to go on would send nothing.
            curl.args(["--header", "expect:"]).args(arguments);
            curl.arg("--data-binary").arg(format!("@{}", body.display()));
            let output = curl.arg(format!("http://{}{path}", service.address)).stdin(Stdio::null()).output();
            let output = output.expect("curl is installed");
            assert_eq!(verdict(&output), status, "{version} {arguments:?} {path}");
        }
    }
}

#[test]
fn a_connection_goes_on_after_an_early_answer_and_the_body_behind_it() {
    let service = rows().ready();
    let mut stream = service.connect();
    for _ in 0..3 {
        let body = vec![b' '; 3_000_000];
        write!(stream, "POST /nowhere HTTP/1.1\r\nhost: t\r\ncontent-length: {}\r\n\r\n", body.len()).unwrap();
        assert_eq!(answer(&mut stream).status, 404, "before a byte of it is sent");
        stream.write_all(&body).unwrap();
    }
    stream.write_all(b"GET /v1/version HTTP/1.1\r\nhost: t\r\n\r\n").unwrap();
    assert_eq!(answer(&mut stream).status, 200);
}

#[test]
fn a_client_that_waits_for_leave_to_send_is_not_given_it() {
    let service = rows().ready();
    let mut stream = service.connect();
    let head = "POST /nowhere HTTP/1.1\r\nhost: t\r\nexpect: 100-continue\r\ncontent-length: 3000000\r\n\r\n";
    stream.write_all(head.as_bytes()).unwrap();
    assert_eq!(answer(&mut stream).status, 404);
    let mut rest = Vec::new();
    stream.read_to_end(&mut rest).unwrap();
    assert!(rest.is_empty(), "{}", String::from_utf8_lossy(&rest));
}

#[test]
fn what_comes_too_slowly_after_an_early_answer_is_not_waited_for() {
    let service = Made { server: json!({"readTimeout": "1s"}), ..rows() }.ready();
    let begun = Instant::now();
    let mut stream = service.connect();
    stream.write_all(b"POST /nowhere HTTP/1.1\r\nhost: t\r\ncontent-length: 3000000\r\n\r\n ").unwrap();
    assert_eq!(answer(&mut stream).status, 404);
    let mut rest = Vec::new();
    // Closed or reset: either way it is over.
    drop(stream.read_to_end(&mut rest));
    assert!(rest.is_empty() && begun.elapsed() < Duration::from_secs(30), "{:?}", begun.elapsed());
}
