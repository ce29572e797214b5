//! Bodies in a content coding, both ways: what is chosen, what it costs nothing to leave alone, and bombs. curl judges.

#![allow(clippy::unwrap_used, reason = "a test may panic, its helpers too")]

mod support;

use std::io::{Read, Write};
use std::process::{Command, Stdio};

use serde_json::json;
use support::{Answer, Made, Service, identity, rows};

/// Rows whose answer is a few kilobytes of text.
fn many_rows() -> String {
    json!({"x": vec![[1, 2, 3]; 500], "b": vec![[1]; 500]}).to_string()
}

fn asking(service: &Service, accept: &str) -> Answer {
    let headers = [("content-type", "application/json"), ("accept-encoding", accept)];
    service.send("POST", "/v1/predict", &headers, many_rows().as_bytes())
}

fn gunzipped(bytes: &[u8]) -> Vec<u8> {
    let mut whole = Vec::new();
    flate2::read::GzDecoder::new(bytes).read_to_end(&mut whole).unwrap();
    whole
}

fn gzipped(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::best());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

#[test]
fn an_answer_comes_in_the_coding_that_the_client_likes_best() {
    let service = rows().ready();
    let plain = asking(&service, "identity");
    assert_eq!((plain.header("content-encoding"), plain.header("vary")), (None, Some("accept-encoding")));
    let plain = plain.body;
    for (accept, coding) in
        [("gzip", "gzip"), ("deflate", "deflate"), ("br", "br"), ("zstd", "zstd"), ("gzip;q=0.5, br", "br")]
    {
        let answer = asking(&service, accept);
        assert_eq!(answer.status, 200);
        assert_eq!((answer.header("content-encoding"), answer.header("vary")), (Some(coding), Some("accept-encoding")));
        assert!(answer.body.len() < plain.len() / 4, "{coding}: {} of {}", answer.body.len(), plain.len());
    }
    assert_eq!(gunzipped(&asking(&service, "gzip").body), plain);
    // A small answer stays as it is, unless it would not be taken so.
    let small = |accept: &str| service.send("GET", "/v1/health/live", &[("accept-encoding", accept)], b"");
    assert_eq!((small("gzip").header("content-encoding"), small("gzip").header("vary")), (None, None));
    assert_eq!(small("gzip, identity;q=0").header("content-encoding"), Some("gzip"));
    for version in ["--http1.1", "--http2-prior-knowledge"] {
        let url = format!("http://{}/docs", service.address);
        let head = |arguments: &[&str]| {
            let mut curl = Command::new("curl");
            curl.args(["--silent", "--show-error", "--max-time", "30", "--header", "accept-encoding: gzip", version]);
            let output = curl.args(arguments).arg(&url).stdin(Stdio::null()).output().unwrap();
            assert!(output.status.success(), "{output:?}");
            let head = String::from_utf8_lossy(&output.stdout).to_lowercase();
            let kept = |line: &&str| line.starts_with("content-");
            head.lines().filter(kept).map(String::from).collect::<Vec<_>>()
        };
        let (asked, got) = (head(&["--head"]), head(&["--dump-header", "-", "--output", "/dev/null"]));
        assert!(asked == got && asked.contains(&"content-encoding: gzip".to_string()), "{asked:?} {got:?}");
    }
}

#[test]
fn compression_can_be_turned_off_or_begin_later() {
    let off = Made { server: json!({"compression": false}), ..rows() }.ready();
    assert_eq!(asking(&off, "gzip").header("content-encoding"), None);
    let later = Made { server: json!({"compressionMinBytes": 1_000_000}), ..rows() }.ready();
    assert_eq!(asking(&later, "gzip").header("content-encoding"), None);
}

#[test]
fn curl_reads_every_coding_by_every_version_of_http() {
    let service = rows().ready();
    let plain = asking(&service, "identity").body;
    for version in ["--http1.1", "--http2-prior-knowledge"] {
        for coding in ["gzip", "deflate", "br", "zstd"] {
            let output = Command::new("curl")
                .args(["--silent", "--show-error", "--compressed", version, "--json", &many_rows()])
                .args(["--header", &format!("accept-encoding: {coding}")])
                .arg(format!("http://{}/v1/predict", service.address))
                .stdin(Stdio::null())
                .output()
                .expect("curl is installed");
            assert!(output.stdout == plain, "{version} {coding}: {}", String::from_utf8_lossy(&output.stderr));
        }
    }
}

fn posting(service: &Service, coding: &str, body: &[u8]) -> Answer {
    let headers = [("content-type", "application/json"), ("content-encoding", coding)];
    service.send("POST", "/v1/predict", &headers, body)
}

#[test]
fn a_request_may_come_in_a_coding_and_in_two() {
    let service = rows().ready();
    let (body, plain) = (many_rows(), asking(&service, "identity").body);
    let once = gzipped(body.as_bytes());
    assert_eq!(posting(&service, "gzip", &once).body, plain);
    assert_eq!(posting(&service, "gzip, gzip", &gzipped(&once)).body, plain);
    assert_eq!(posting(&service, "identity", body.as_bytes()).body, plain);
    assert_eq!(posting(&service, "zstd", &zstd::bulk::compress(body.as_bytes(), 3).unwrap()).body, plain);
    for (coding, wrong, status) in [
        ("gzip", body.as_bytes(), 400),
        ("gzip", &once[..once.len() - 1], 400),
        ("deflate", &once, 400),
        ("br", &once, 400),
        ("zstd", &once, 400),
        ("gzip", b"", 400),
        ("compress", &once, 415),
        ("gzip, gzip, gzip, gzip", &once, 415),
    ] {
        let answer = posting(&service, coding, wrong);
        answer.v1_error(status);
        assert_eq!(answer.header("accept-encoding").is_some(), status == 415, "{coding}");
    }
}

#[test]
fn the_length_of_json_before_binary_is_that_of_the_decoded_body() {
    let service = identity().ready();
    let json = json!({
        "inputs": [{"name": "float32", "shape": [1, 2], "datatype": "FP32", "parameters": {"binary_data_size": 8}}],
        "outputs": [{"name": "float32_out"}],
    });
    // The other inputs are missing, which is only known when the body has been read as it should be.
    let json = json.to_string();
    let body = gzipped(&[json.as_bytes(), &[0; 8]].concat());
    let length = json.len().to_string();
    let headers = [
        ("content-type", "application/octet-stream"),
        ("content-encoding", "gzip"),
        ("inference-header-content-length", &length),
    ];
    let answer = service.send("POST", "/v2/models/tiny/infer", &headers, &body);
    assert_eq!(answer.status, 400);
    assert!(answer.text().contains("float64"), "{}", answer.text());
}

#[test]
fn bombs_are_stopped_early() {
    let server = json!({"maxBodyBytes": 1_000_000, "maxBufferedBytes": 300_000});
    let service = Made { server, ..rows() }.ready();
    let resident = || -> f64 {
        let page = service.get("/metrics").text();
        page.lines().find_map(|l| l.strip_prefix("process_resident_memory_bytes ")).unwrap().parse().unwrap()
    };
    let zeros = vec![b' '; 64 << 20];
    let bomb = gzipped(&zeros);
    let double = gzipped(&bomb);
    let tight = zstd::bulk::compress(&zeros, 19).unwrap();
    let before = resident();
    for _ in 0..8 {
        assert!(posting(&service, "gzip", &bomb).v1_error(413).contains("`maxBufferedBytes`"));
        posting(&service, "gzip, gzip", &double).v1_error(413);
        posting(&service, "zstd", &tight).v1_error(413);
    }
    let after = resident();
    assert!(after - before < 48e6, "{before} → {after}");
    assert_eq!(asking(&service, "gzip").status, 200);
}
