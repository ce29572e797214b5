//! Clients that ask and don't read: their answers count as memory that requests hold, until they are read or dropped.

#![allow(clippy::unwrap_used, reason = "a test may panic, its helpers too")]

mod support;

use std::io::Write;
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use http_body_util::{BodyExt, Full};
use hyper::body::{Bytes, Incoming};
use hyper_util::rt::{TokioExecutor, TokioIo};
use serde_json::json;
use support::{Made, PATIENCE, Service, answer, rows};

/// Rows whose answer is some nine megabytes of text, more than any socket takes in.
fn large() -> String {
    const ROWS: usize = 200_000;
    let (x, b) = (["[1,2,3]"; ROWS].join(","), ["[0.1234567]"; ROWS].join(","));
    format!(r#"{{"x":[{x}],"b":[{b}]}}"#)
}

fn one_row() -> serde_json::Value {
    json!({"x": [[1, 2, 3]], "b": [[1]]})
}

/// A service whose requests and answers may hold so many megabytes.
fn holding(megabytes: u32) -> Service {
    Made { server: json!({"maxBufferedBytes": megabytes * 1_000_000}), ..rows() }.ready()
}

/// Asks, and reads nothing of the answer but that it begins.
fn asked(service: &Service, body: &str) -> TcpStream {
    let mut stream = service.connect();
    write!(stream, "POST /v1/predict HTTP/1.1\r\nhost: t\r\ncontent-length: {}\r\n\r\n{body}", body.len()).unwrap();
    stream.peek(&mut [0]).unwrap();
    stream
}

fn wait_until_taken(service: &Service) {
    let begun = Instant::now();
    while service.predict(&one_row()).status != 200 {
        assert!(begun.elapsed() < PATIENCE, "what is held is never given back");
        std::thread::sleep(Duration::from_millis(20));
    }
}

#[test]
fn while_answers_nobody_reads_hold_all_memory_nobody_is_served() {
    let service = holding(8);
    let body = large();
    let unread = asked(&service, &body);
    let refused = service.predict(&one_row());
    assert!(refused.v1_error(429).contains("wait to be read"), "{}", refused.text());
    assert_eq!(refused.header("retry-after"), Some("1"));
    assert_eq!(service.get("/v1/health/ready").status, 200);
    drop(unread);
    wait_until_taken(&service);
    // What is read is given back too, and the connection goes on.
    let mut late = asked(&service, &body);
    service.predict(&one_row()).v1_error(429);
    let read = answer(&mut late);
    assert!(read.status == 200 && read.body.len() > 8_000_000, "{}", read.body.len());
    wait_until_taken(&service);
    write!(late, "GET /v1/version HTTP/1.1\r\nhost: t\r\n\r\n").unwrap();
    assert_eq!(answer(&mut late).status, 200);
}

#[test]
fn unread_answers_leave_less_to_large_requests_and_nothing_less_to_small_ones() {
    let service = holding(20);
    let body = large();
    let mut clients: Vec<_> = (0..2).map(|_| asked(&service, &body)).collect();
    assert_eq!(service.predict(&one_row()).status, 200);
    for _ in 0..4 {
        let mut refused = asked(&service, &body);
        assert!(answer(&mut refused).v1_error(429).contains("`maxBufferedBytes`"));
    }
    clients.pop();
    let begun = Instant::now();
    while service.post("/v1/predict", body.as_bytes()).status != 200 {
        assert!(begun.elapsed() < PATIENCE, "what is held is never given back");
    }
}

/// A request of HTTP/2, of whose answer no more than the windows hold is read.
async fn over_http_2(address: SocketAddr, path: &str, content_type: &str, body: Vec<u8>) -> hyper::Response<Incoming> {
    let stream = TokioIo::new(tokio::net::TcpStream::connect(address).await.unwrap());
    let mut builder = hyper::client::conn::http2::Builder::new(TokioExecutor::new());
    builder.initial_stream_window_size(65_535).initial_connection_window_size(65_535);
    let (mut sender, connection) = builder.handshake(stream).await.unwrap();
    tokio::spawn(connection);
    let request = hyper::Request::post(format!("http://{address}{path}")).header("content-type", content_type);
    sender.send_request(request.body(Full::new(Bytes::from(body))).unwrap()).await.unwrap()
}

#[test]
fn over_http_2_it_is_the_same() {
    let service = holding(8);
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    let unread = runtime.block_on(over_http_2(service.address, "/v1/predict", "application/json", large().into()));
    assert_eq!(unread.status(), 200);
    service.predict(&one_row()).v1_error(429);
    let read = runtime.block_on(unread.into_body().collect()).unwrap().to_bytes();
    assert!(read.len() > 8_000_000, "{}", read.len());
    wait_until_taken(&service);
    let unread = runtime.block_on(over_http_2(service.address, "/v1/predict", "application/json", large().into()));
    service.predict(&one_row()).v1_error(429);
    drop(unread);
    wait_until_taken(&service);
}

/// A field of protobuf whose value has a length.
fn field(number: u8, value: &[u8]) -> Vec<u8> {
    let (mut out, mut length) = (vec![number << 3 | 2], value.len());
    while length > 0x7f {
        out.push((length & 0x7f) as u8 | 0x80);
        length >>= 7;
    }
    out.push(length as u8);
    out.extend_from_slice(value);
    out
}

/// A `ModelInfer` of so many rows, whose answer has sixteen bytes for each.
fn model_infer(rows: u32) -> Vec<u8> {
    let varint = |mut value: u32| {
        let mut out = Vec::new();
        while value > 0x7f {
            out.push((value & 0x7f) as u8 | 0x80);
            value >>= 7;
        }
        out.push(value as u8);
        out
    };
    let input = |name: &str, columns: u32| {
        let shape = [varint(rows), varint(columns)].concat();
        field(5, &[field(1, name.as_bytes()), field(2, b"FP32"), field(3, &shape)].concat())
    };
    let raw = |columns: u32| field(7, &vec![0; (rows * columns * 4) as usize]);
    let message = [field(1, b"tiny"), input("x", 3), input("b", 1), raw(3), raw(1)].concat();
    [vec![0], (message.len() as u32).to_be_bytes().to_vec(), message].concat()
}

#[test]
fn by_grpc_it_is_the_same() {
    let service = holding(16);
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    let ask = || {
        let path = "/inference.GRPCInferenceService/ModelInfer";
        over_http_2(service.grpc.unwrap(), path, "application/grpc", model_infer(400_000))
    };
    let status = |answer: &hyper::Response<Incoming>| answer.headers().get("grpc-status").cloned();
    let mut unread = vec![runtime.block_on(ask())];
    let refused = loop {
        let answer = runtime.block_on(ask());
        if status(&answer).is_some() {
            break answer;
        }
        assert!(unread.len() < 10, "answers that nobody reads are held without end");
        unread.push(answer);
    };
    assert!(refused.headers()["grpc-message"].to_str().unwrap().contains("`maxBufferedBytes`"));
    // Read or dropped, it makes room.
    for answer in unread {
        let read = runtime.block_on(answer.into_body().collect()).unwrap();
        assert_eq!(read.trailers().unwrap()["grpc-status"], "0");
    }
    let begun = Instant::now();
    while status(&runtime.block_on(ask())).is_some() {
        assert!(begun.elapsed() < PATIENCE, "what is held is never given back");
    }
}
