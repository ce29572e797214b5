//! A real service over a folder that holds one of the models of `tests/data`: the binary, its port, its log.

#![allow(dead_code, unreachable_pub, reason = "each test file uses its part, and only they do")]

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

/// Longer than anything here takes on a busy machine.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// What a service is made of.
pub struct Made {
    pub model: &'static str,
    pub signature: Value,
    pub sample: Option<Value>,
    pub server: Value,
    pub batching: Value,
    pub license: bool,
    /// Files that came with the model.
    pub sides: Vec<(&'static str, Vec<u8>)>,
}

fn tensor(name: &str, element_type: &str, shape: Value) -> Value {
    json!({"name": name, "kind": "tensor", "elementType": element_type, "shape": shape})
}

fn made(model: &'static str, inputs: Vec<Value>, outputs: Vec<Value>, axis: Option<usize>) -> Made {
    let batching = match axis {
        Some(axis) => json!({"verdict": "proved", "axis": axis, "reason": "rows were compared"}),
        None => json!({"verdict": "unproved", "reason": "not tried"}),
    };
    Made {
        model,
        signature: json!({"inputs": inputs, "outputs": outputs, "batching": batching}),
        sample: None,
        server: json!({}),
        batching: json!({}),
        license: false,
        sides: Vec::new(),
    }
}

/// y = 2x + b, and its rows' sums.
pub fn rows() -> Made {
    let inputs = vec![tensor("x", "float32", json!(["N", 3])), tensor("b", "float32", json!(["N", 1]))];
    let outputs = vec![tensor("y", "float32", json!(["N", 3])), tensor("sum", "float32", json!(["N"]))];
    let sample = Some(json!({"x": [[1, 2, 3]], "b": [[0.5]]}));
    Made { sample, ..made("rows.onnx", inputs, outputs, Some(0)) }
}

/// Row `index` of a table of three.
pub fn gather() -> Made {
    let inputs = vec![tensor("index", "int64", json!(["N"]))];
    made("gather.onnx", inputs, vec![tensor("row", "float32", json!(["N", 2]))], Some(0))
}

/// Every element type, passed through.
pub fn identity() -> Made {
    const TYPES: [&str; 14] = [
        "float32", "float64", "float16", "bfloat16", "int8", "int16", "int32", "int64", "uint8", "uint16", "uint32",
        "uint64", "bool", "string",
    ];
    let inputs = TYPES.map(|name| tensor(name, name, json!(["N", "M"])));
    let outputs = TYPES.map(|name| tensor(&format!("{name}_out"), name, json!(["N", "M"])));
    made("identity.onnx", inputs.into(), outputs.into(), None)
}

/// 4 MiB of weights: the sum of a row, 2048 times.
pub fn weighty() -> Made {
    let inputs = vec![tensor("x", "float32", json!(["N", 1024]))];
    let sample = Some(json!({"x": [vec![1; 1024]]}));
    Made { sample, ..made("weighty.onnx", inputs, vec![tensor("sum", "float32", json!(["N"]))], Some(0)) }
}

/// A run that takes about as long as `count` matrix products.
pub fn slow() -> Made {
    made("slow.onnx", vec![tensor("count", "int64", json!([]))], vec![tensor("y", "float32", json!([]))], None)
}

/// No inputs.
pub fn constant() -> Made {
    made("constant.onnx", vec![], vec![tensor("answer", "int64", json!([]))], None)
}

/// ONNX Runtime's library.
pub fn onnxruntime() -> PathBuf {
    PathBuf::from(std::env::var_os("NIMIFY_ONNXRUNTIME").expect(
        "set NIMIFY_ONNXRUNTIME to ONNX Runtime's library (libonnxruntime.so.1.31.1): these tests serve real models",
    ))
}

/// The generic service, with nothing of this environment in it.
pub fn command() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_nimify-serve"));
    for (name, _) in std::env::vars_os() {
        if name.to_str().is_some_and(|name| ["NIMIFY_", "NIM_", "OTEL_"].iter().any(|own| name.starts_with(own))) {
            command.env_remove(name);
        }
    }
    command.stdin(Stdio::null());
    command
}

/// The same with a limit on open files, which a shell sets and is then replaced by it.
fn limited(open_files: Option<u64>) -> Command {
    let Some(most) = open_files else { return command() };
    let service = command();
    let mut shell = Command::new("sh");
    shell.arg("-c").arg(format!("ulimit -n {most} && exec \"$0\" \"$@\"")).arg(service.get_program());
    for (name, _) in service.get_envs() {
        shell.env_remove(name);
    }
    shell.stdin(Stdio::null());
    shell
}

impl Made {
    /// Writes the folder: the very layout of an image, `service.json` last.
    pub fn write(&self, folder: &Path) -> PathBuf {
        let put = |name: &str, value: &Value| std::fs::write(folder.join(name), value.to_string()).unwrap();
        let model = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data").join(self.model);
        if model.exists() {
            std::fs::copy(model, folder.join(self.model)).unwrap();
        }
        put("signature.json", &self.signature);
        put("openapi.json", &json!({"openapi": "3.1.0", "info": {"title": "tiny", "version": "1.2.0"}}));
        if let Some(sample) = &self.sample {
            put("sample.json", sample);
        }
        std::fs::write(folder.join("LICENSE"), "Do what you like.\n").unwrap();
        let mut server = json!({"host": "127.0.0.1", "port": 0, "grpcPort": 0});
        server.as_object_mut().unwrap().extend(self.server.as_object().unwrap().clone());
        let side = |(name, bytes): &(&str, Vec<u8>)| {
            std::fs::write(folder.join(name), bytes).unwrap();
            json!({"name": name, "kind": "tokenizer", "path": name, "size": bytes.len(), "sha256": "ab".repeat(32)})
        };
        let sides: Vec<Value> = self.sides.iter().map(side).collect();
        put(
            "service.json",
            &json!({
                "name": "tiny", "version": "1.2.0",
                "model": {"path": self.model, "sha256": "ab12", "source": "./tiny.onnx", "sideFiles": sides},
                "signature": "signature.json", "openapi": "openapi.json",
                "sample": self.sample.is_some().then_some("sample.json"),
                "license": self.license.then(|| json!({"name": "Free", "path": "LICENSE"})),
                "server": server, "batching": self.batching,
                "engine": {"onnxruntime": onnxruntime()},
            }),
        );
        folder.join("service.json")
    }

    /// Starts it and waits until it listens.
    pub fn start(self) -> Service {
        self.start_with(&[])
    }

    /// The same with environment variables.
    pub fn start_with(self, environment: &[(&str, &str)]) -> Service {
        self.start_by(None, environment)
    }

    /// The same with a limit on open files.
    pub fn start_by(self, open_files: Option<u64>, environment: &[(&str, &str)]) -> Service {
        let folder = tempfile::tempdir().unwrap();
        let settings = self.write(folder.path());
        let mut child = limited(open_files)
            .arg("--config")
            .arg(&settings)
            .env("NIMIFY_LOG_FORMAT", "json")
            .envs(environment.iter().copied())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let log = Log::follow(child.stderr.take().unwrap());
        let listening = log.wait_for("listening");
        let address = |field: &str| listening[field].as_str().and_then(|text| text.parse().ok());
        let (grpc, metrics) = (address("grpc"), address("metrics"));
        let address = address("address").expect("it says where");
        Service { child, log, address, grpc, metrics, folder, settings }
    }

    /// Starts it and waits until it is ready.
    pub fn ready(self) -> Service {
        self.ready_with(&[])
    }

    /// The same with environment variables.
    pub fn ready_with(self, environment: &[(&str, &str)]) -> Service {
        let service = self.start_with(environment);
        service.log.wait_for("ready");
        service
    }
}

/// The lines that a service has written so far.
pub struct Log(Arc<Mutex<(Vec<Value>, bool)>>);

impl Log {
    pub fn follow(stderr: impl Read + Send + 'static) -> Log {
        let lines = Arc::new(Mutex::new((Vec::new(), false)));
        let shared = lines.clone();
        std::thread::spawn(move || {
            for line in BufReader::new(stderr).lines().map_while(Result::ok) {
                let value = serde_json::from_str(&line).unwrap_or(Value::String(line));
                shared.lock().unwrap().0.push(value);
            }
            shared.lock().unwrap().1 = true;
        });
        Log(lines)
    }

    /// Every line so far.
    pub fn lines(&self) -> Vec<Value> {
        self.0.lock().unwrap().0.clone()
    }

    /// The first line with this message; waits for it.
    pub fn wait_for(&self, message: &str) -> Value {
        let end = Instant::now() + PATIENCE;
        loop {
            let (lines, ended) = self.0.lock().unwrap().clone();
            if let Some(line) = lines.iter().find(|line| line["message"] == message) {
                return line.clone();
            }
            assert!(!ended && Instant::now() < end, "no `{message}` in the log: {lines:#?}");
            std::thread::sleep(Duration::from_millis(2));
        }
    }
}

/// A running service; ended when dropped, killed if it takes longer than a moment.
pub struct Service {
    child: Child,
    pub log: Log,
    pub address: SocketAddr,
    pub grpc: Option<SocketAddr>,
    pub metrics: Option<SocketAddr>,
    pub folder: tempfile::TempDir,
    pub settings: PathBuf,
}

impl Drop for Service {
    fn drop(&mut self) {
        // An end in good order writes what is measured of coverage. It may have ended already.
        let _ = Command::new("kill").arg(self.id().to_string()).stderr(Stdio::null()).status();
        let end = Instant::now() + Duration::from_secs(1);
        while matches!(self.child.try_wait(), Ok(None)) && Instant::now() < end {
            std::thread::sleep(Duration::from_millis(2));
        }
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// An answer.
#[derive(Debug)]
pub struct Answer {
    pub status: u16,
    pub headers: Vec<(String, String)>,
    pub body: Vec<u8>,
}

impl Answer {
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(n, _)| n == name).map(|(_, value)| value.as_str())
    }

    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|e| panic!("{e}: {}", self.text()))
    }

    /// The message of an error of `/v1`, whose code and type are checked.
    pub fn v1_error(&self, status: u16) -> String {
        assert_eq!(self.status, status, "{}", self.text());
        let error = &self.json()["error"];
        assert_eq!(error["code"], status);
        assert!(error["type"].as_str().unwrap().ends_with("_error"), "{error}");
        error["message"].as_str().unwrap().to_string()
    }
}

impl Service {
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    pub fn get(&self, path: &str) -> Answer {
        self.send("GET", path, &[], b"")
    }

    pub fn predict(&self, body: &Value) -> Answer {
        self.post("/v1/predict", body.to_string().as_bytes())
    }

    pub fn post(&self, path: &str, body: &[u8]) -> Answer {
        self.send("POST", path, &[("content-type", "application/json")], body)
    }

    /// One request over a connection of its own.
    pub fn send(&self, method: &str, path: &str, headers: &[(&str, &str)], body: &[u8]) -> Answer {
        let mut head = format!("{method} {path} HTTP/1.1\r\nhost: test\r\nconnection: close\r\n");
        for (name, value) in headers {
            head += &format!("{name}: {value}\r\n");
        }
        if !body.is_empty() || method == "POST" {
            head += &format!("content-length: {}\r\n", body.len());
        }
        let mut stream = self.connect();
        stream.write_all(format!("{head}\r\n").as_bytes()).unwrap();
        stream.write_all(body).unwrap();
        answer(&mut stream)
    }

    pub fn connect(&self) -> TcpStream {
        let stream = TcpStream::connect(self.address).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream
    }

    /// `TERM` or `INT`.
    pub fn signal(&self, name: &str) {
        let status = Command::new("kill").arg(format!("-{name}")).arg(self.id().to_string()).status().unwrap();
        assert!(status.success());
    }

    /// Waits for the end; the exit code and the log.
    pub fn exit(&mut self) -> (Option<i32>, Vec<Value>) {
        let end = Instant::now() + PATIENCE;
        loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                return (status.code(), self.log.lines());
            }
            assert!(Instant::now() < end, "it doesn't end: {:#?}", self.log.lines());
            std::thread::sleep(Duration::from_millis(2));
        }
    }
}

/// Reads one answer, of a known length or up to the connection's end.
pub fn answer(stream: &mut TcpStream) -> Answer {
    let mut head = Vec::new();
    let mut byte = [0];
    while !head.ends_with(b"\r\n\r\n") {
        let read = stream.read(&mut byte).unwrap_or_else(|e| panic!("{e} after {:?}", String::from_utf8_lossy(&head)));
        assert_eq!(read, 1, "the connection ended after {:?}", String::from_utf8_lossy(&head));
        head.push(byte[0]);
    }
    let head = String::from_utf8(head).unwrap();
    let mut lines = head.trim_end().split("\r\n");
    let status = lines.next().unwrap().split(' ').nth(1).unwrap().parse().unwrap();
    let headers: Vec<(String, String)> =
        lines.map(|line| line.split_once(": ").unwrap()).map(|(n, v)| (n.to_lowercase(), v.to_string())).collect();
    let length = headers.iter().find(|(name, _)| name == "content-length").map(|(_, n)| n.parse().unwrap());
    let mut body = vec![0; length.unwrap_or(0)];
    stream.read_exact(&mut body).unwrap();
    Answer { status, headers, body }
}
