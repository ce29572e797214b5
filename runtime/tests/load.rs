//! Many requests at once: each gets its own answer, too many are told so, health is answered meanwhile, and the
//! metrics add up.

#![allow(clippy::unwrap_used, reason = "a test may panic, its helpers too")]

mod support;

use std::io::Write;
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use support::{Made, answer, rows, slow};

#[test]
fn each_request_gets_its_own_answer() {
    let service = rows().ready();
    const CLIENTS: u32 = 16;
    const EACH: u32 = 60;
    std::thread::scope(|scope| {
        for client in 0..CLIENTS {
            let service = &service;
            scope.spawn(move || {
                let mut stream = service.connect();
                for k in 0..EACH {
                    let (a, rows) = (client * EACH + k, 1 + k as usize % 3);
                    let body = json!({"x": vec![[a, a, a]; rows], "b": vec![[1]; rows]}).to_string();
                    let head =
                        format!("POST /v1/predict HTTP/1.1\r\nhost: t\r\ncontent-length: {}\r\n\r\n", body.len());
                    stream.write_all((head + &body).as_bytes()).unwrap();
                    let y = f64::from(2 * a + 1);
                    assert_eq!(answer(&mut stream).json(), json!({"y": vec![[y; 3]; rows], "sum": vec![3. * y; rows]}));
                }
            });
        }
    });
    let page = service.get("/metrics").text();
    let requests = CLIENTS * EACH;
    let rows: u32 = (0..EACH).map(|k| 1 + k % 3).sum::<u32>() * CLIENTS;
    for line in [
        format!("nv_inference_request_success{{model=\"tiny\",version=\"1.2.0\"}} {requests}\n"),
        format!("nv_inference_count{{model=\"tiny\",version=\"1.2.0\"}} {rows}\n"),
        format!("nim_request_count_total{{route=\"/v1/predict\",status=\"200\"}} {requests}\n"),
        format!("nim_request_duration_seconds_count{{route=\"/v1/predict\"}} {requests}\n"),
        format!("nim_batch_size_histogram_sum {rows}\n"),
        "num_requests_running 0\n".to_string(),
        "num_requests_waiting 0\n".to_string(),
    ] {
        assert!(page.contains(&line), "{line}{page}");
    }
}

#[test]
fn too_many_at_once_are_told_to_come_again_and_health_is_answered_meanwhile() {
    let service = Made { server: json!({"maxConcurrency": 2}), ..slow() }.ready();
    let mut held: Vec<_> = (0..2).map(|_| service.connect()).collect();
    for stream in &mut held {
        let body = r#"{"count":2000}"#;
        write!(stream, "POST /v1/predict HTTP/1.1\r\nhost: t\r\ncontent-length: {}\r\n\r\n{body}", body.len()).unwrap();
    }
    let in_work = |page: &str| -> u32 {
        let gauge =
            |name: &str| page.lines().find_map(|l| l.strip_prefix(name)).unwrap().trim().parse::<u32>().unwrap();
        gauge("num_requests_running ") + gauge("num_requests_waiting ")
    };
    while in_work(&service.get("/metrics").text()) < 2 {}
    let refused = service.predict(&json!({"count": 1}));
    assert!(refused.v1_error(429).contains("maxConcurrency"));
    assert_eq!(refused.header("retry-after"), Some("1"));
    for path in ["/v1/health/live", "/v1/health/ready", "/v2/health/ready"] {
        let begun = Instant::now();
        assert_eq!(service.get(path).status, 200);
        assert!(begun.elapsed() < Duration::from_secs(2), "{path}: {:?}", begun.elapsed());
    }
    for stream in &mut held {
        assert_eq!(answer(stream).status, 200);
    }
    assert_eq!(service.predict(&json!({"count": 1})).status, 200);
    let page = service.get("/metrics").text();
    assert!(
        page.contains("nv_inference_request_failure{model=\"tiny\",reason=\"REJECTED\",version=\"1.2.0\"} 1\n"),
        "{page}"
    );
}

#[test]
fn a_request_past_its_time_is_504_and_a_full_queue_429() {
    let batching = json!({"requestTimeout": "300ms", "maxQueue": 1});
    let service = Made { batching, ..slow() }.ready();
    let statuses: Vec<u16> = std::thread::scope(|scope| {
        let send = || service.predict(&json!({"count": 1500})).status;
        let sent: Vec<_> = (0..6).map(|_| scope.spawn(send)).collect();
        sent.into_iter().map(|thread| thread.join().unwrap()).collect()
    });
    assert!(statuses.contains(&504) && statuses.contains(&429), "{statuses:?}");
    assert!(statuses.iter().all(|status| [200, 429, 504].contains(status)), "{statuses:?}");
}

#[test]
fn a_request_says_how_long_it_waits_and_how_urgent_it_is() {
    let service = Made { batching: json!({"priorityLevels": 2}), ..slow() }.ready();
    let infer = |parameters: Value, count: u32| {
        let input = json!({"name": "count", "shape": [], "datatype": "INT64", "data": [count]});
        let body = json!({"parameters": parameters, "inputs": [input]});
        service.post("/v2/models/tiny/infer", body.to_string().as_bytes())
    };
    assert_eq!(infer(json!({"priority": 1, "timeout": 20_000_000}), 1).status, 200);
    let late = infer(json!({"timeout": 50_000}), 100_000);
    assert_eq!(
        (late.status, late.json()),
        (504, json!({"error": "no answer within the time that the request allows itself"}))
    );
    let wrong = infer(json!({"priority": "high"}), 1);
    assert_eq!(wrong.status, 400);
    assert!(wrong.text().contains("`priority` should be a level, a whole number from 0"), "{}", wrong.text());
}

#[test]
fn padding_that_can_t_be_proved_stays_off_and_says_why() {
    let service = rows().ready_with(&[("NIMIFY_PADDING", r#"{"mask": "m"}"#)]);
    let line = service.log.wait_for("padding is asked for and stays off");
    let reason = line["reason"].as_str().unwrap_or_default();
    assert!(["requests aren't joined", "no sample", "no input `m`"].iter().any(|word| reason.contains(word)), "{line}");
}

#[test]
fn a_client_that_goes_is_counted_and_harms_nobody() {
    let service = slow().ready();
    let mut stream = service.connect();
    let body = r#"{"count":500}"#;
    write!(stream, "POST /v1/predict HTTP/1.1\r\nhost: t\r\ncontent-length: {}\r\n\r\n{body}", body.len()).unwrap();
    while !service.get("/metrics").text().contains("num_requests_running 1\n") {}
    drop(stream);
    let canceled = "nv_inference_request_failure{model=\"tiny\",reason=\"CANCELED\",version=\"1.2.0\"} 1\n";
    let end = Instant::now() + support::PATIENCE;
    while !service.get("/metrics").text().contains(canceled) {
        assert!(Instant::now() < end, "{}", service.get("/metrics").text());
    }
    assert_eq!(service.predict(&json!({"count": 1})).status, 200);
}

/// Spaces after a good request, to `length` bytes in all.
fn padded(length: usize) -> String {
    let good = r#"{"x":[[1,2,3]],"b":[[1]]}"#;
    format!("{good}{}", " ".repeat(length - good.len()))
}

#[test]
fn bodies_beyond_the_memory_set_aside_for_them_are_told_to_come_again() {
    let service = Made { server: json!({"maxBufferedBytes": 100_000}), ..rows() }.ready();
    let post = |body: &str| service.post("/v1/predict", body.as_bytes());
    assert_eq!(post(&padded(80_000)).status, 200);
    // A large body that hasn't come as a whole.
    let (large, mut slow_client) = (padded(90_000), service.connect());
    write!(slow_client, "POST /v1/predict HTTP/1.1\r\nhost: t\r\ncontent-length: {}\r\n\r\n", large.len()).unwrap();
    slow_client.write_all(&large.as_bytes()[..85_000]).unwrap();
    // Room is asked for by a client that waits for leave to send, and so holds nothing itself: for one byte more than
    // is left when all that was sent has been counted.
    let left = 100_000 - (85_000 - (16 << 10)) + (16 << 10);
    let end = Instant::now() + support::PATIENCE;
    let ask = || {
        let mut stream = service.connect();
        write!(
            stream,
            "POST /v1/predict HTTP/1.1\r\nhost: t\r\nexpect: 100-continue\r\ncontent-length: {}\r\n\r\n",
            left + 1
        )
        .unwrap();
        answer(&mut stream)
    };
    let refused = loop {
        let answer = ask();
        if answer.status != 100 {
            break answer;
        }
        assert!(Instant::now() < end, "what was sent is never counted");
    };
    assert!(refused.v1_error(429).contains("`maxBufferedBytes`"));
    assert_eq!(refused.header("retry-after"), Some("1"));
    assert!(post(&padded(80_000)).v1_error(429).contains("`maxBufferedBytes`"));
    // Without a length that is announced, on a connection that goes on.
    let mut stream = service.connect();
    write!(stream, "POST /v1/infer HTTP/1.1\r\nhost: t\r\ntransfer-encoding: chunked\r\n\r\n13880\r\n").unwrap();
    write!(stream, "{}\r\n0\r\n\r\n", padded(80_000)).unwrap();
    assert_eq!(answer(&mut stream).status, 429);
    stream.write_all(b"GET /v1/version HTTP/1.1\r\nhost: t\r\n\r\n").unwrap();
    assert_eq!(answer(&mut stream).status, 200);
    // A small request is served meanwhile, and a large one afterwards.
    assert_eq!(post(&padded(16_000)).status, 200);
    slow_client.write_all(&large.as_bytes()[85_000..]).unwrap();
    assert_eq!(answer(&mut slow_client).status, 200);
    assert_eq!(post(&padded(80_000)).status, 200);
    // What could never fit is not to come again.
    assert!(post(&padded(116_385)).v1_error(413).contains("116384 bytes (`maxBufferedBytes`)"));
    let page = service.get("/metrics").text();
    assert!(page.contains("nimify_panics_total 0\n") && !page.contains("status=\"500\""), "{page}");
}

#[test]
fn http_2_without_tls_is_served() {
    let service = rows().ready();
    // The preface and an empty SETTINGS frame; the answer begins with the server's SETTINGS.
    let mut stream = service.connect();
    stream.write_all(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0").unwrap();
    let mut frame = [0; 9];
    std::io::Read::read_exact(&mut stream, &mut frame).unwrap();
    assert_eq!(frame[3], 4, "{frame:?}");
}

#[test]
fn the_metrics_page_is_what_prometheus_reads() {
    let service = rows().ready();
    assert_eq!(service.predict(&json!({"x": [[1, 2, 3]], "b": [[1]]})).status, 200);
    for path in ["/metrics", "/v1/metrics"] {
        let answer = service.get(path);
        assert_eq!(answer.header("content-type"), Some("text/plain; version=0.0.4; charset=utf-8"));
        let page = answer.text();
        assert!(page.ends_with('\n'));
        let mut family = "";
        for line in page.lines() {
            if let Some(rest) = line.strip_prefix("# TYPE ") {
                family = rest.split(' ').next().unwrap();
            } else if !line.starts_with('#') {
                let (name, value) = line.rsplit_once(' ').unwrap();
                assert!(name.starts_with(family), "{name} is outside its family {family}");
                assert!(value.parse::<f64>().is_ok(), "{line}");
            }
        }
        assert!(page.contains("process_resident_memory_bytes "));
    }
}
