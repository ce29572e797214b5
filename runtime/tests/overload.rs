//! Far more than the service can do: connections beyond its descriptors, clients that are slow in every way, ten times
//! the requests. What is accepted is answered in time, the rest is told so at once, health is answered meanwhile, and
//! afterwards all is as before.

#![allow(clippy::unwrap_used, reason = "a test may panic, its helpers too")]

mod support;

use std::io::Write;
use std::net::TcpStream;
use std::time::{Duration, Instant};

use serde_json::json;
use support::{Made, PATIENCE, Service, rows};

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
