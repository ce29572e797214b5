//! From the first answer to the last: live before ready, settings and their faults, drain, signals, exit codes.

#![allow(clippy::unwrap_used, reason = "a test may panic, its helpers too")]

mod support;

use std::io::Write;
use std::process::Stdio;
use std::time::{Duration, Instant};

use serde_json::json;
use support::{Log, Made, Service, answer, command, onnxruntime, rows, slow, weighty};

/// How many matrix products take about a second: measured on the running service, so that any machine will do.
fn a_second(service: &support::Service) -> u64 {
    let begun = Instant::now();
    assert_eq!(service.predict(&json!({"count": 20})).status, 200);
    (20.0 / begun.elapsed().as_secs_f64()).clamp(20.0, 20_000.0) as u64
}

#[test]
fn live_comes_before_ready() {
    // The recorded sample is the warm-up: one that takes long leaves time to look.
    let service = Made { sample: Some(json!({"count": 1500})), ..slow() }.start();
    assert_eq!(service.get("/v1/health/live").status, 200);
    assert_eq!(service.get("/v2/health/live").status, 200);
    assert!(service.get("/v1/health/ready").v1_error(503).contains("loading"));
    assert_eq!(service.get("/v2/health/ready").status, 503);
    assert_eq!(service.get("/v2/models/tiny/ready").status, 503);
    assert!(service.predict(&json!({"count": 1})).v1_error(503).contains("loading"));
    assert_eq!(service.get("/v1/models").status, 200);
    // The warm-up takes long enough for this to be said of it sooner or later.
    let why = loop {
        let answer = service.get("/v1/health/ready");
        let message = answer.v1_error(503);
        assert!(message.contains("s after the start"), "{message}");
        let error = answer.json()["error"].clone();
        if error["phase"] == "warm_up" {
            assert!(message.starts_with("the model is still loading: warming up ("), "{message}");
            break error;
        }
        assert!(["open_runtime", "load_model"].contains(&error["phase"].as_str().unwrap()), "{error}");
    };
    let model = std::fs::metadata(service.folder.path().join("slow.onnx")).unwrap().len();
    assert!(why["model_bytes"] == model && why["elapsed_ms"].is_u64(), "{why}");
    assert!(service.get("/metrics").text().contains("nimify_ready 0\n"));
    let index = || service.post("/v2/repository/index", b"").json()[0].clone();
    assert_eq!(index()["state"], "LOADING");
    assert!(index()["reason"].as_str().unwrap().contains("warming up"), "{}", index());
    assert_eq!(service.post("/v2/repository/index", br#"{"ready":true}"#).json(), json!([]));
    service.log.wait_for("ready");
    assert_eq!(service.get("/v1/health/ready").status, 200);
    assert_eq!(service.get("/v2/models/tiny/ready").status, 200);
}

#[test]
fn a_request_in_flight_is_answered_after_sigterm() {
    let mut service = slow().ready();
    let count = a_second(&service);
    let mut stream = service.connect();
    let body = json!({"count": count}).to_string();
    write!(stream, "POST /v1/predict HTTP/1.1\r\nhost: t\r\ncontent-length: {}\r\n\r\n{body}", body.len()).unwrap();
    while !service.get("/metrics").text().contains("num_requests_running 1\n") {}
    service.signal("TERM");
    let last = answer(&mut stream);
    assert_eq!((last.status, last.header("connection")), (200, Some("close")), "{}", last.text());
    let (code, log) = service.exit();
    assert_eq!(code, Some(0), "{log:#?}");
}

#[test]
fn while_draining_ready_is_503_and_requests_are_still_answered() {
    let mut service = Made { server: json!({"drainDelay": "700ms"}), ..rows() }.ready();
    let mut kept = service.connect();
    service.signal("TERM");
    service.log.wait_for("draining");
    assert!(service.get("/v1/health/ready").v1_error(503).contains("stopping"));
    assert_eq!(service.get("/v1/health/live").status, 200);
    kept.write_all(b"GET /v1/version HTTP/1.1\r\nhost: t\r\n\r\n").unwrap();
    let answered = answer(&mut kept);
    assert_eq!((answered.status, answered.header("connection")), (200, Some("close")));
    assert_eq!(service.predict(&json!({"x": [[1, 2, 3]], "b": [[1]]})).status, 200);
    assert_eq!(service.exit().0, Some(0));
    assert!(std::net::TcpStream::connect(service.address).is_err());
}

#[test]
fn idle_connections_do_not_hold_the_drain_up() {
    let mut service = rows().ready();
    let mut idle = service.connect();
    idle.write_all(b"GET /v1/version HTTP/1.1\r\nhost: t\r\n\r\n").unwrap();
    assert_eq!(answer(&mut idle).status, 200);
    let _silent = service.connect();
    let begun = Instant::now();
    service.signal("INT");
    assert_eq!(service.exit().0, Some(0));
    assert!(begun.elapsed() < Duration::from_secs(5), "{:?}", begun.elapsed());
}

#[test]
fn requests_are_cut_off_after_the_drains_time_and_at_a_second_signal() {
    for second in [false, true] {
        let timeout = if second { "60s" } else { "300ms" };
        let mut service = Made { server: json!({"drainTimeout": timeout}), ..slow() }.ready();
        let count = a_second(&service) * 30;
        let mut stream = service.connect();
        let body = json!({"count": count}).to_string();
        write!(stream, "POST /v1/predict HTTP/1.1\r\nhost: t\r\ncontent-length: {}\r\n\r\n{body}", body.len()).unwrap();
        while !service.get("/metrics").text().contains("num_requests_running 1\n") {}
        let begun = Instant::now();
        service.signal("TERM");
        service.log.wait_for("draining");
        if second {
            service.signal("TERM");
        }
        let (code, log) = service.exit();
        assert_eq!(code, Some(130), "{log:#?}");
        assert_eq!(service.log.wait_for("stopped")["in_work"], 1);
        assert!(begun.elapsed() < Duration::from_secs(15), "{:?}", begun.elapsed());
    }
}

#[test]
fn a_second_signal_is_no_failure_while_nothing_is_in_work() {
    let mut service = Made { server: json!({"drainDelay": "60s"}), ..rows() }.ready();
    service.signal("TERM");
    service.log.wait_for("draining");
    service.signal("INT");
    assert_eq!(service.exit().0, Some(0));
}

#[test]
fn a_signal_while_loading_ends_it_at_once() {
    let mut service = Made { sample: Some(json!({"count": 30_000})), ..slow() }.start();
    let begun = Instant::now();
    service.signal("TERM");
    assert_eq!(service.exit().0, Some(0));
    assert!(begun.elapsed() < Duration::from_secs(10));
}

/// Runs a service that can't start; its exit code and its log.
fn fails(made: &Made, environment: &[(&str, &str)], spoil: impl Fn(&std::path::Path)) -> (Option<i32>, String) {
    let folder = tempfile::tempdir().unwrap();
    let settings = made.write(folder.path());
    spoil(folder.path());
    let run = command().arg("--config").arg(settings).envs(environment.iter().copied()).output().unwrap();
    (run.status.code(), String::from_utf8_lossy(&run.stderr).into_owned())
}

#[test]
fn what_keeps_it_from_starting_is_said_with_an_exit_code() {
    let spoiled = |name: &'static str, text: &'static str| {
        move |folder: &std::path::Path| std::fs::write(folder.join(name), text).unwrap()
    };
    let gone = |name: &'static str| move |folder: &std::path::Path| std::fs::remove_file(folder.join(name)).unwrap();
    let as_it_is = |_: &std::path::Path| {};
    let missing = Made { model: "none.onnx", ..rows() };
    let other = Made { model: "gather.onnx", ..rows() };
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = taken.local_addr().unwrap().port().to_string();
    for (code, words, (got, log)) in [
        (4, "service.json", fails(&rows(), &[], gone("service.json"))),
        (4, "service.json", fails(&rows(), &[], spoiled("service.json", "{"))),
        (4, "signature.json", fails(&rows(), &[], gone("signature.json"))),
        (4, "signature.json", fails(&rows(), &[], spoiled("signature.json", "[]"))),
        (4, "openapi.json", fails(&rows(), &[], gone("openapi.json"))),
        (4, "NIMIFY_PORT", fails(&rows(), &[("NIMIFY_PORT", "http")], as_it_is)),
        (3, "none.onnx", fails(&missing, &[], as_it_is)),
        (3, "rows.onnx", fails(&rows(), &[], spoiled("rows.onnx", "not a model"))),
        (3, "signature", fails(&other, &[], as_it_is)),
        (5, "nowhere.so", fails(&rows(), &[("NIMIFY_ONNXRUNTIME", "/nowhere.so")], as_it_is)),
        (4, "127.0.0.1", fails(&rows(), &[("NIMIFY_PORT", &port)], as_it_is)),
    ] {
        assert_eq!(got, Some(code), "{words}: {log}");
        assert!(log.contains(words), "{words}: {log}");
    }
}

#[test]
fn settings_come_from_the_file_and_the_environment_beats_it() {
    let environment = [
        ("NIM_CUSTOM_MODEL_NAME", "mine"),
        ("NIMIFY_METRICS_PORT", "0"),
        ("NIMIFY_MAX_BODY_BYTES", "10"),
        ("NIMIFY_MAX_QEUE", "1"),
    ];
    let service = rows().ready_with(&environment);
    assert_eq!(service.get("/v2/models/mine").json()["name"], "mine");
    assert_eq!(service.predict(&json!({"x": [[1, 2, 3]], "b": [[1]]})).status, 413);
    let warned = format!("{:?}", service.log.lines());
    assert!(warned.contains("`NIMIFY_MAX_QEUE`") && warned.contains("`NIMIFY_MAX_QUEUE`"), "{warned}");
    // Metrics have a port of their own now, and nothing else is there.
    assert_eq!(service.get("/metrics").status, 404);
    let metrics = service.metrics.expect("it says where");
    assert_eq!((service.get("/debug").status, service.get("/debug/data.json").status), (404, 404));
    for (path, status) in [
        ("/metrics", 200),
        ("/v1/metrics", 200),
        ("/debug", 200),
        ("/debug/data.json", 200),
        ("/v1/health/live", 200),
        ("/v1/predict", 404),
        ("/docs", 404),
    ] {
        let mut stream = std::net::TcpStream::connect(metrics).unwrap();
        write!(stream, "GET {path} HTTP/1.1\r\nhost: t\r\nconnection: close\r\n\r\n").unwrap();
        assert_eq!(answer(&mut stream).status, status, "{path}");
    }
}

#[test]
fn a_sample_that_fails_is_a_warning() {
    let service = Made { sample: Some(json!({"x": 1})), ..rows() }.ready();
    assert!(format!("{:?}", service.log.lines()).contains("the recorded sample failed"));
    assert_eq!(service.predict(&json!({"x": [[1, 2, 3]], "b": [[1]]})).status, 200);
}

#[test]
fn threads_do_not_line_up_for_a_model_of_microseconds() {
    let service = rows().ready_with(&[("NIMIFY_THREADS", "3")]);
    let loaded = service.log.wait_for("model loaded");
    assert_eq!((&loaded["instances"], &loaded["sessions"]), (&json!(1), &json!(3)));
}

#[test]
fn the_health_check_says_by_its_exit_code_what_ready_says() {
    let service = rows().ready();
    let check = |port: u16| {
        let mut check = command();
        check.args(["healthcheck", "--config"]).arg(&service.settings).env("NIMIFY_PORT", port.to_string());
        check.output().unwrap()
    };
    assert_eq!(check(service.address.port()).status.code(), Some(0));
    let closed = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let failed = check(closed);
    assert_eq!(failed.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&failed.stderr).contains("no answer"));
    assert_eq!(check(0).status.code(), Some(1));
}

#[test]
fn a_request_is_sent_from_the_command_line() {
    let service = Made { server: json!({"maxBodyBytes": 2000}), ..rows() }.ready();
    let url = |path: &str| format!("http://localhost:{}{path}", service.address.port());
    let file = |name: &str, text: &str| {
        let path = service.folder.path().join(name);
        std::fs::write(&path, text).unwrap();
        path.to_str().unwrap().to_string()
    };
    let send = |arguments: &[&str]| {
        let run = command().arg("request").args(arguments).output().unwrap();
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        (run.status.code(), text(&run.stdout), text(&run.stderr))
    };
    let good = file("good.json", r#"{"x":[[1,2,3]],"b":[[1]]}"#);
    let answered = (Some(0), "HTTP/1.1 200 OK\n".to_string(), String::new());
    assert_eq!(send(&["--url", &url("/v1/predict"), "--body", &good]), answered);
    assert_eq!(send(&["--url", &url("/v1/health/ready")]), answered);
    let bad = file("bad.json", r#"{"x":[[1,2,"a"]],"b":[[1]]}"#);
    let large = file("large.json", &" ".repeat(3_000_000));
    for (path, body, words) in [
        ("/v1/predict", &bad, ["HTTP/1.1 400 Bad Request", "float32"]),
        ("/v1/predict", &large, ["HTTP/1.1 413 Payload Too Large", "2000"]),
        ("/nothing", &good, ["HTTP/1.1 404 Not Found", "/nothing"]),
    ] {
        let (code, out, error) = send(&["--url", &url(path), "--body", body]);
        assert_eq!((code, out), (Some(1), String::new()), "{error}");
        assert!(words.iter().all(|word| error.contains(word)), "{error}");
    }
    let (code, _, error) = send(&["--url", &url("/v1/predict"), "--body", "/nowhere.json"]);
    assert!(code == Some(1) && error.contains("`/nowhere.json`"), "{error}");
    assert_eq!(send(&["--url", "localhost"]).0, Some(2));
}

#[test]
fn a_model_that_differs_from_the_builds_ends_the_start_where_that_is_checked() {
    let folder = tempfile::tempdir().unwrap();
    let settings = rows().write(folder.path());
    let weights = folder.path().join("weights.bin");
    std::fs::write(&weights, "abc").unwrap();
    let digest = |name: &str| {
        let bytes = std::fs::read(folder.path().join(name)).unwrap();
        let digest = ring::digest::digest(&ring::digest::SHA256, &bytes);
        digest.as_ref().iter().map(|byte| format!("{byte:02x}")).collect::<String>()
    };
    let mut text: serde_json::Value = serde_json::from_slice(&std::fs::read(&settings).unwrap()).unwrap();
    text["model"]["files"] = json!({"rows.onnx": digest("rows.onnx"), "weights.bin": digest("weights.bin")});
    std::fs::write(&settings, text.to_string()).unwrap();
    let start = |verify: &str| {
        let mut command = command();
        command.arg("--config").arg(&settings).env("NIMIFY_VERIFY_MODEL", verify).env("NIMIFY_LOG_FORMAT", "json");
        command.stderr(Stdio::piped()).spawn().unwrap()
    };
    let comes_up = |verify: &str| {
        let mut child = start(verify);
        let log = Log::follow(child.stderr.take().unwrap());
        if verify == "1" {
            log.wait_for("the model's files are those that the service was built with");
        }
        log.wait_for("ready");
        child.kill().unwrap();
        child.wait().unwrap();
    };
    comes_up("1");
    std::fs::write(&weights, "abd").unwrap();
    comes_up("0");
    let ended = start("1").wait_with_output().unwrap();
    let log = String::from_utf8_lossy(&ended.stderr).into_owned();
    assert_eq!(ended.status.code(), Some(3), "{log}");
    assert!(log.contains("weights.bin` is not the one that this service was built with"), "{log}");
}

#[test]
fn nothing_is_written_below_the_home_of_the_user() {
    let home = tempfile::tempdir().unwrap();
    let path = home.path().to_str().unwrap();
    for opt_in in ["0", ""] {
        // Variables that would send the writing elsewhere, or stop it, are those of the test alone.
        let environment = [("HOME", path), ("XDG_CACHE_HOME", ""), ("TMPDIR", path), ("ORT_DISABLE_TELEMETRY", opt_in)];
        let mut service = rows().ready_with(&environment);
        assert_eq!(service.predict(&json!({"x": [[1, 2, 3]], "b": [[1]]})).status, 200);
        service.signal("TERM");
        assert_eq!(service.exit().0, Some(0));
        let written: Vec<_> = std::fs::read_dir(home.path()).unwrap().map(|entry| entry.unwrap().path()).collect();
        assert!(written.is_empty(), "{written:?}");
    }
}

#[test]
fn the_command_line() {
    let run = |arguments: &[&str]| command().args(arguments).env("NIMIFY_ONNXRUNTIME", onnxruntime()).output().unwrap();
    assert_eq!(String::from_utf8_lossy(&run(&["--version"]).stdout), concat!(env!("CARGO_PKG_VERSION"), "\n"));
    assert!(String::from_utf8_lossy(&run(&["--help"]).stdout).contains("healthcheck"));
    let wrong = run(&["--prot", "1"]);
    assert_eq!(wrong.status.code(), Some(2));
    assert!(String::from_utf8_lossy(&wrong.stderr).contains("`--prot`"));
    // Beside the executable there is no `service.json` here.
    assert_eq!(run(&[]).status.code(), Some(4));
}

/// What a service says of the instances that it chose: how many, over how many sessions, wherever it says so.
fn chosen(service: &Service) -> (u64, u64) {
    let loaded = service.log.wait_for("model loaded");
    let [instances, sessions] = ["instances", "sessions"].map(|field| loaded[field].as_u64().unwrap());
    let page = service.get("/metrics").text();
    assert!(page.contains(&format!("nimify_instances {instances}\n")), "{page}");
    let config = service.get("/v2/models/tiny/config").json();
    assert_eq!(config["instance_group"][0]["count"], instances, "{config}");
    (instances, sessions)
}

#[test]
fn auto_measures_instances_and_says_what_it_chose() {
    const AUTO: (&str, &str) = ("NIMIFY_INSTANCES", "auto");
    // A tiny model has a session for each instance, or for each thread; one with weights has one that all of them run.
    for (made, own) in [(rows as fn() -> Made, true), (weighty, false)] {
        let service = made().ready_with(&[AUTO, ("NIMIFY_THREADS", "2")]);
        let measured = service.log.wait_for("instances measured");
        let [one, many] = ["one_instance", "an_instance_a_thread"].map(|field| measured[field].as_u64().unwrap());
        assert!(one > 0 && many > 0, "{measured}");
        let (instances, sessions) = chosen(&service);
        assert_eq!(instances, if many > one { 2 } else { 1 }, "{measured}");
        assert!(if own { (instances..=2).contains(&sessions) } else { sessions == 1 }, "{sessions}");
        assert_eq!(service.predict(&made().sample.unwrap()).status, 200);
    }
    // Nothing to choose from: one thread, or nothing to measure with.
    let alone = rows().ready_with(&[AUTO, ("NIMIFY_THREADS", "1")]);
    assert_eq!(chosen(&alone), (1, 1));
    let unsampled = Made { sample: None, ..rows() }.ready_with(&[AUTO, ("NIMIFY_THREADS", "2")]);
    assert_eq!(chosen(&unsampled), (1, 1));
    for service in [&alone, &unsampled] {
        assert!(!service.log.lines().iter().any(|line| line["message"] == "instances measured"));
    }
    // A number is taken as it is.
    let told = weighty().ready_with(&[("NIMIFY_INSTANCES", "3"), ("NIMIFY_THREADS", "2")]);
    assert_eq!(chosen(&told), (3, 1));
    let told = rows().ready_with(&[("NIMIFY_INSTANCES", "3"), ("NIMIFY_THREADS", "2")]);
    assert_eq!(chosen(&told), (3, 3));
}
