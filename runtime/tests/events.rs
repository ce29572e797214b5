//! Answers as server-sent events: row by row as they are there, errors in their place, nobody served who has gone.

#![allow(clippy::unwrap_used, reason = "a test may panic, its helpers too")]

mod support;

use std::io::{Read, Write};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use support::{Made, PATIENCE, Service, constant, gather, rows};

/// What curl gets for a body: status, content type, and the events.
fn events(service: &Service, arguments: &[&str], body: &Value) -> (String, Vec<(String, String, Value)>) {
    let output = Command::new("curl")
        .args(["--silent", "--show-error", "--no-buffer", "--max-time", "60", "--json", &body.to_string()])
        .args(["--header", "accept: text/event-stream", "--write-out", "%{http_code} %{content_type}"])
        .args(arguments)
        .arg(format!("http://{}/v1/predict", service.address))
        .stdin(Stdio::null())
        .output()
        .expect("curl is installed");
    let text = String::from_utf8(output.stdout).unwrap();
    let (events, verdict) = text.rsplit_once("\n\n").unwrap_or(("", &text));
    let field = |event: &str, name: &str| {
        event.lines().find_map(|line| line.strip_prefix(name)).unwrap_or_default().trim_start().to_string()
    };
    let read = |event: &str| {
        let data = serde_json::from_str(&field(event, "data:")).unwrap();
        (field(event, "event:"), field(event, "id:"), data)
    };
    (verdict.to_string(), events.split("\n\n").filter(|event| !event.is_empty()).map(read).collect())
}

fn in_pairs(made: Made) -> Service {
    Made { batching: json!({"maxBatchSize": 2}), ..made }.ready_with(&[("NIMIFY_ACCESS_LOG", "info")])
}

/// The log's lines about requests that are over, once there are so many.
fn answered(service: &Service, count: usize) -> Vec<Value> {
    let begun = Instant::now();
    loop {
        let mut lines = service.log.lines();
        lines.retain(|line| line["message"] == "answered" && line["route"] == "/v1/predict");
        if lines.len() >= count {
            return lines;
        }
        assert!(begun.elapsed() < PATIENCE, "{lines:#?}");
        std::thread::sleep(Duration::from_millis(2));
    }
}

#[test]
fn rows_come_in_parts_with_their_range() {
    let service = in_pairs(rows());
    let body = json!({"x": [[0,0,0],[1,1,1],[2,2,2],[3,3,3],[4,4,4]], "b": [[0],[0],[0],[0],[0]]});
    for version in ["--http1.1", "--http2-prior-knowledge", "--compressed"] {
        let (verdict, events) = events(&service, &[version], &body);
        assert_eq!(verdict, "200 text/event-stream");
        let row = |k: i32| json!([f64::from(2 * k), f64::from(2 * k), f64::from(2 * k)]);
        let part = |id: &str, k: std::ops::Range<i32>| {
            let sums: Vec<_> = k.clone().map(|k| f64::from(6 * k)).collect();
            ("rows".to_string(), id.to_string(), json!({"y": k.map(row).collect::<Vec<_>>(), "sum": sums}))
        };
        let done = ("done".to_string(), String::new(), json!({"rows": 5}));
        assert_eq!(events, [part("0-2", 0..2), part("2-4", 2..4), part("4-5", 4..5), done], "{version}");
    }
    let page = service.get("/metrics").text();
    assert!(page.contains("nv_inference_request_success{model=\"tiny\",version=\"1.2.0\"} 3\n"), "{page}");
    let lines = answered(&service, 3);
    for line in &lines {
        let micros = |name: &str| line[name].as_u64().unwrap_or_else(|| panic!("{line}"));
        let stages: u64 = ["decode_us", "queue_us", "compute_us", "encode_us"].map(micros).into_iter().sum();
        assert!(line["status"] == 200 && line["error"].is_null() && micros("took_us") >= stages, "{line}");
    }
    assert_eq!(lines.len(), 3);
}

#[test]
fn an_error_has_its_status_before_the_first_part_and_is_an_event_after_it() {
    let service = in_pairs(gather());
    let (verdict, early) = events(&service, &[], &json!({"index": [9, 0, 1]}));
    assert!(verdict.ends_with("422 application/json"), "{verdict}");
    assert!(early.is_empty());
    let (verdict, _) = events(&service, &[], &json!({"index": "none"}));
    assert!(verdict.ends_with("400 application/json"), "{verdict}");
    let (verdict, late) = events(&service, &[], &json!({"index": [0, 1, 9, 0, 1]}));
    assert_eq!(verdict, "200 text/event-stream");
    let names: Vec<_> = late.iter().map(|event| event.0.as_str()).collect();
    assert_eq!(names, ["rows", "error"]);
    assert_eq!(late[1].2["error"]["code"], 422);
    let lines = answered(&service, 3);
    let told: Vec<_> = lines.iter().map(|line| (line["status"].as_u64().unwrap(), line["error"].as_str())).collect();
    let kinds = [Some("model_refused_error"), Some("invalid_request_error"), Some("model_refused_error")];
    assert_eq!(told, [(422, kinds[0]), (400, kinds[1]), (200, kinds[2])], "{lines:#?}");
}

#[test]
fn a_model_without_a_batch_axis_answers_in_one_part() {
    let service = constant().ready();
    let (_, events) = events(&service, &[], &json!({}));
    let names: Vec<_> = events.iter().map(|event| (event.0.as_str(), event.1.as_str())).collect();
    assert_eq!(names, [("rows", "0-1"), ("done", "")]);
}

#[test]
fn nothing_more_runs_for_a_client_that_has_gone() {
    const ROWS: usize = 200_000;
    let made = Made { batching: json!({"maxBatchSize": 1}), ..rows() };
    let service = made.ready_with(&[("NIMIFY_ACCESS_LOG", "info")]);
    let body = json!({"x": vec![[1, 2, 3]; ROWS], "b": vec![[1]; ROWS]}).to_string();
    let mut stream = service.connect();
    let head = "POST /v1/predict HTTP/1.1\r\nhost: t\r\naccept: text/event-stream\r\ncontent-length: ";
    write!(stream, "{head}{}\r\n\r\n{body}", body.len()).unwrap();
    let mut beginning = [0; 400];
    stream.read_exact(&mut beginning).unwrap();
    assert!(beginning.starts_with(b"HTTP/1.1 200"));
    assert_eq!(answered(&service, 0), Vec::<Value>::new(), "it is not over");
    drop(stream);
    let line = answered(&service, 1).remove(0);
    assert!(line["canceled"] == true && line["status"].is_null() && line["batch_rows"] == 1, "{line}");
    let canceled = "nv_inference_request_failure{model=\"tiny\",reason=\"CANCELED\",version=\"1.2.0\"} 1\n";
    let begun = Instant::now();
    let page = loop {
        let page = service.get("/metrics").text();
        // The page is not of one moment.
        if page.contains(canceled) && page.contains("num_requests_running 0\n") {
            break page;
        }
        assert!(begun.elapsed() < PATIENCE, "{page}");
    };
    let runs = "nv_inference_exec_count{model=\"tiny\",version=\"1.2.0\"} ";
    let ran: usize = page.lines().find_map(|line| line.strip_prefix(runs)).unwrap().parse().unwrap();
    assert!(ran < ROWS, "{ran}");
}
