//! Far more than the service can do: connections beyond its descriptors, clients that are slow in every way, ten times
//! the requests. What is accepted is answered in time, the rest is told so at once, health is answered meanwhile, and
//! afterwards all is as before.

#![allow(clippy::unwrap_used, reason = "a test may panic, its helpers too")]

mod support;

use std::io::Write;
use std::net::TcpStream;
use std::time::{Duration, Instant};

use nimify_runtime::service::{Error, Value};
use serde_json::json;
use support::{Made, PATIENCE, Service, answer, rows, slow};

/// Health within this is health in time, on a machine that does other things too: probes wait a second by default.
const IN_TIME: Duration = Duration::from_secs(1);

fn health_in_time(service: &Service) {
    for path in ["/v1/health/live", "/v1/health/ready", "/v2/health/ready"] {
        let begun = Instant::now();
        assert_eq!(service.get(path).status, 200, "{path}");
        assert!(begun.elapsed() < IN_TIME, "{path}: {:?}", begun.elapsed());
    }
}

fn one_row() -> serde_json::Value {
    json!({"x": [[1, 2, 3]], "b": [[1]]})
}

#[test]
fn more_connections_than_file_descriptors_are_outlived() {
    const FILES: u64 = 64;
    let made = Made { server: json!({"readTimeout": "2s"}), ..rows() };
    let service = made.start_by(Some(FILES), &[]);
    service.log.wait_for("ready");
    let silent = || service.connect();
    let half_a_head = || {
        let mut stream = service.connect();
        drop(stream.write_all(b"POST /v1/predict HTTP/1.1\r\n"));
        stream
    };
    for flood in [&silent as &dyn Fn() -> TcpStream, &half_a_head] {
        let held: Vec<_> = (0..300).map(|_| flood()).collect();
        health_in_time(&service);
        let refused = service.predict(&one_row());
        assert!(refused.v1_error(429).contains("`maxConnections`"));
        assert_eq!((refused.header("retry-after"), refused.header("connection")), (Some("1"), Some("close")));
        // Nobody closes them but the service.
        let begun = Instant::now();
        while service.predict(&one_row()).status != 200 {
            assert!(begun.elapsed() < PATIENCE, "the connections are never closed");
            std::thread::sleep(Duration::from_millis(100));
        }
        drop(held);
    }
    service.log.wait_for("connections are within `maxConnections` again");
    let warned = service.log.lines().iter().filter(|line| line["level"] == "WARN").count();
    assert!(warned < 50, "each connection is in the log: {:#?}", service.log.lines());
}

fn resident(service: &Service) -> f64 {
    let page = service.get("/metrics").text();
    page.lines().find_map(|l| l.strip_prefix("process_resident_memory_bytes ")).unwrap().parse().unwrap()
}

/// One request on a connection that goes on: its status, `Retry-After`, and how long it took.
fn ask(stream: &mut TcpStream, body: &str) -> (u16, Option<String>, Duration) {
    let begun = Instant::now();
    write!(stream, "POST /v1/predict HTTP/1.1\r\nhost: t\r\ncontent-length: {}\r\n\r\n{body}", body.len()).unwrap();
    let answer = answer(stream);
    (answer.status, answer.header("retry-after").map(String::from), begun.elapsed())
}

#[test]
fn ten_times_the_load_leaves_the_accepted_in_time_and_the_rest_told_at_once() {
    const QUEUE: usize = 4;
    const CLIENTS: usize = 40;
    const FOR: Duration = Duration::from_secs(3);
    // One runs and four wait: of forty clients, a tenth and a little more fits.
    let service = Made { batching: json!({"maxQueue": QUEUE}), ..slow() }.ready();
    // A run that takes some milliseconds on any machine.
    let count = {
        let took = |count: u64| {
            let begun = Instant::now();
            assert_eq!(service.predict(&json!({"count": count})).status, 200);
            begun.elapsed()
        };
        let mut count = 16;
        while took(count) < Duration::from_millis(20) {
            count *= 2;
        }
        count
    };
    let body = json!({"count": count}).to_string();
    let mut stream = service.connect();
    let alone = (0..5).map(|_| ask(&mut stream, &body).2).max().unwrap();
    let before = resident(&service);
    let (mut accepted, mut refused) = (Vec::new(), Vec::new());
    std::thread::scope(|scope| {
        let client = || {
            let (mut stream, end) = (service.connect(), Instant::now() + FOR);
            let mut asked = Vec::new();
            while Instant::now() < end {
                let one = ask(&mut stream, &body);
                // Whoever is told to come again does so a little later.
                if one.0 == 429 {
                    std::thread::sleep(Duration::from_millis(10));
                }
                asked.push(one);
            }
            asked
        };
        let clients: Vec<_> = (0..CLIENTS).map(|_| scope.spawn(client)).collect();
        let end = Instant::now() + FOR - Duration::from_millis(500);
        while Instant::now() < end {
            health_in_time(&service);
            std::thread::sleep(Duration::from_millis(50));
        }
        for (status, retry, took) in clients.into_iter().flat_map(|client| client.join().unwrap()) {
            match status {
                200 => accepted.push(took),
                429 => {
                    assert_eq!(retry.as_deref(), Some("1"));
                    refused.push(took);
                }
                other => panic!("{other}"),
            }
        }
    });
    refused.sort();
    accepted.sort();
    assert!(refused.len() > accepted.len() && accepted.len() > 20, "{} {}", accepted.len(), refused.len());
    // At most the queue before it and what runs; the machine does the clients' work too.
    let bound = alone * (QUEUE as u32 + 2) * 4 + Duration::from_millis(500);
    assert!(accepted[accepted.len() * 99 / 100] < bound, "{:?} of {alone:?}", accepted.last());
    assert!(refused[refused.len() / 2] < Duration::from_millis(250), "{:?}", refused[refused.len() / 2]);
    let after = resident(&service);
    assert!(after - before < 32e6, "{before} → {after}");
    // As before.
    let alone_again = (0..5).map(|_| ask(&mut stream, &body).2).min().unwrap();
    assert!(alone_again < alone * 2 + Duration::from_millis(100), "{alone:?} → {alone_again:?}");
    let page = service.get("/metrics").text();
    assert!(page.contains("num_requests_running 0\n") && page.contains("num_requests_waiting 0\n"), "{page}");
    assert!(page.contains("nimify_panics_total 0\n") && !page.contains("status=\"500\""), "{page}");
}

#[test]
fn half_a_head_and_idle_http_2_do_not_hold_the_drain_up() {
    let mut service = rows().ready();
    let mut half = service.connect();
    half.write_all(b"POST /v1/predict HTTP/1.1\r\nhost: t\r\ncontent-le").unwrap();
    let mut used = service.connect();
    assert_eq!(ask(&mut used, &one_row().to_string()).0, 200);
    used.write_all(b"GET /v1/ver").unwrap();
    // The preface and an empty SETTINGS frame, and then a client that answers no ping.
    let mut http2 = service.connect();
    http2.write_all(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0").unwrap();
    std::thread::sleep(Duration::from_millis(100));
    let begun = Instant::now();
    service.signal("TERM");
    let (code, log) = service.exit();
    assert_eq!(code, Some(0), "{log:#?}");
    assert!(begun.elapsed() < Duration::from_secs(4), "{:?}", begun.elapsed());
    assert!(!log.iter().any(|line| line["message"].as_str().is_some_and(|m| m.contains("cut off"))), "{log:#?}");
}

#[test]
fn a_body_and_an_answer_that_do_not_move_end() {
    let service = Made { server: json!({"readTimeout": "1s"}), ..rows() }.ready();
    let begun = Instant::now();
    let mut slow_body = service.connect();
    write!(slow_body, "POST /v1/predict HTTP/1.1\r\nhost: t\r\ncontent-length: 100\r\n\r\n{{").unwrap();
    assert_eq!(answer(&mut slow_body).status, 408);
    // Answers of a megabyte each, until nobody takes them any more.
    let big = json!({"x": vec![[0.123_456_79, 1.5, 2.5]; 20_000], "b": vec![[1]; 20_000]}).to_string();
    let mut slow_reader = service.connect();
    slow_reader.set_write_timeout(Some(PATIENCE)).unwrap();
    let request = format!("POST /v1/predict HTTP/1.1\r\nhost: t\r\ncontent-length: {}\r\n\r\n{big}", big.len());
    while slow_reader.write_all(request.as_bytes()).is_ok() {
        assert!(begun.elapsed() < PATIENCE, "it is never closed");
    }
    health_in_time(&service);
}

#[test]
fn pipelined_requests_are_answered_in_turn() {
    let service = rows().ready();
    let mut stream = service.connect();
    let mut all = String::new();
    for k in 0..20 {
        let body = json!({"x": [[k, k, k]], "b": [[0]]}).to_string();
        all += &format!("POST /v1/predict HTTP/1.1\r\nhost: t\r\ncontent-length: {}\r\n\r\n{body}", body.len());
    }
    stream.write_all(all.as_bytes()).unwrap();
    for k in 0..20 {
        assert_eq!(answer(&mut stream).json()["sum"][0].as_f64(), Some(f64::from(6 * k)));
    }
}

#[test]
fn http_2_carries_many_requests_and_large_bodies() {
    let service = rows().ready();
    let folder = tempfile::tempdir().unwrap();
    let (small, large) = (folder.path().join("small.json"), folder.path().join("large.json"));
    std::fs::write(&small, one_row().to_string()).unwrap();
    let rows = 150_000;
    std::fs::write(&large, json!({"x": vec![[1.25, 2.5, 3.5]; rows], "b": vec![[1]; rows]}).to_string()).unwrap();
    let load = |body: &std::path::Path, arguments: &[&str]| {
        let mut h2load = std::process::Command::new("h2load");
        h2load.args(arguments).arg("-d").arg(body).args(["-H", "content-type: application/json"]);
        let output = h2load.arg(format!("http://{}/v1/predict", service.address)).output();
        let said = String::from_utf8_lossy(&output.expect("h2load is installed").stdout).into_owned();
        let line =
            said.lines().find(|line| line.starts_with("requests:")).unwrap_or_else(|| panic!("{said}")).to_string();
        assert!(line.contains(" 0 failed, 0 errored, 0 timeout"), "{said}");
        said
    };
    assert!(load(&small, &["-n", "400", "-c", "4", "-m", "50"]).contains("400 2xx"));
    assert!(load(&large, &["-n", "4", "-c", "2", "-m", "2"]).contains("4 2xx"));
}

/// Hooks that take as long as they like on the threads that serve connections.
struct Blocking;

impl nimify_runtime::service::Service for Blocking {
    fn signature(&self) -> Option<&'static str> {
        None
    }

    fn before(&self, inputs: Vec<Value>) -> Result<Vec<Value>, Error> {
        std::thread::sleep(Duration::from_secs(3));
        Ok(inputs)
    }

    fn after(&self, outputs: Vec<Value>) -> Result<Vec<Value>, Error> {
        Ok(outputs)
    }
}

#[test]
fn health_is_answered_while_every_worker_is_blocked() {
    let folder = tempfile::tempdir().unwrap();
    let address = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    // Without a sample, which the hooks would be warmed up with.
    let made = Made { server: json!({"port": address.port()}), sample: None, ..rows() };
    let settings = made.write(folder.path());
    std::thread::spawn(move || nimify_runtime::lifecycle::serve(&settings, &Blocking));
    let get = |path: &str| -> Option<u16> {
        let mut stream = TcpStream::connect(address).ok()?;
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        write!(stream, "GET {path} HTTP/1.1\r\nhost: t\r\nconnection: close\r\n\r\n").ok()?;
        Some(answer(&mut stream).status)
    };
    let begun = Instant::now();
    while get("/v1/health/ready") != Some(200) {
        assert!(begun.elapsed() < PATIENCE, "never ready");
        std::thread::sleep(Duration::from_millis(20));
    }
    // Twice as many as there are threads for them.
    let requests = nimify_runtime::cgroup::cpu_quota().max(2) * 2;
    let body = one_row().to_string();
    let waiting: Vec<_> = (0..requests)
        .map(|_| {
            let mut stream = TcpStream::connect(address).unwrap();
            write!(stream, "POST /v1/predict HTTP/1.1\r\nhost: t\r\ncontent-length: {}\r\n\r\n{body}", body.len())
                .unwrap();
            stream
        })
        .collect();
    std::thread::sleep(Duration::from_millis(300));
    let blocked = Instant::now();
    for path in ["/v1/health/live", "/v1/health/ready", "/v2/health/live", "/v2/models/tiny/ready"].repeat(3) {
        let begun = Instant::now();
        assert_eq!(get(path), Some(200), "{path}");
        assert!(begun.elapsed() < IN_TIME, "{path}: {:?}", begun.elapsed());
    }
    assert!(blocked.elapsed() < Duration::from_secs(2), "{:?}", blocked.elapsed());
    // Any other route waits for a thread: it was blocked indeed.
    assert_eq!(get("/v1/version"), Some(200));
    assert!(blocked.elapsed() > Duration::from_secs(2), "{:?}", blocked.elapsed());
    drop(waiting);
}
