//! A running service, and requests to it byte by byte.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use serde_json::Value;

/// Longer than anything here takes on a busy machine.
const PATIENCE: Duration = Duration::from_secs(60);

/// A service; killed when dropped.
pub(crate) struct Running {
    child: Child,
    address: SocketAddr,
}

impl Drop for Running {
    fn drop(&mut self) {
        // It may have ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A request.
#[derive(Debug, Clone)]
pub(crate) struct Request {
    pub(crate) method: &'static str,
    pub(crate) path: String,
    pub(crate) headers: Vec<(&'static str, String)>,
    pub(crate) body: Vec<u8>,
}

/// An answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    /// In their order, without the date.
    pub(crate) headers: Vec<(String, String)>,
    pub(crate) body: Vec<u8>,
}

/// A command with none of this environment's settings.
pub(crate) fn command(program: &Path) -> Command {
    let mut command = Command::new(program);
    for (name, _) in std::env::vars_os() {
        if name.to_str().is_some_and(|name| name.starts_with("NIMIFY_") || name.starts_with("NIM_")) {
            command.env_remove(name);
        }
    }
    command.stdin(Stdio::null());
    command
}

impl Running {
    /// Serves `service.json` of a folder and waits until it is ready.
    pub(crate) fn start(binary: &Path, folder: &Path) -> Running {
        let mut service = command(binary);
        service.arg("--config").arg(folder.join("service.json")).env("NIMIFY_HOST", "127.0.0.1");
        Running::ready(service.env("NIMIFY_PORT", "0").env("NIMIFY_GRPC_PORT", "0"))
    }

    /// Starts a service and waits until it is ready.
    pub(crate) fn ready(command: &mut Command) -> Running {
        let mut child = command.env("NIMIFY_LOG_FORMAT", "json").stderr(Stdio::piped()).spawn().unwrap();
        let mut lines = BufReader::new(child.stderr.take().unwrap()).lines();
        let (mut address, mut said) = (None, Vec::new());
        loop {
            let line = lines.next().unwrap_or_else(|| panic!("it ended: {said:#?}")).unwrap();
            let value: Value = serde_json::from_str(&line).unwrap_or_default();
            said.push(line);
            match value["message"].as_str() {
                Some("listening") => address = value["address"].as_str().map(|text| text.parse().unwrap()),
                Some("ready") => break,
                _ => {}
            }
        }
        // Nobody may wait for a pipe that is full.
        std::thread::spawn(move || lines.for_each(drop));
        Running { child, address: address.unwrap() }
    }

    pub(crate) fn get(&self, path: &str) -> Answer {
        self.send(&Request { method: "GET", path: path.into(), headers: Vec::new(), body: Vec::new() })
    }

    pub(crate) fn post(&self, path: &str, body: &Value) -> Answer {
        let headers = vec![("content-type", "application/json".into())];
        self.send(&Request { method: "POST", path: path.into(), headers, body: body.to_string().into() })
    }

    /// One request over a connection of its own.
    pub(crate) fn send(&self, request: &Request) -> Answer {
        let mut head = format!("{} {} HTTP/1.1\r\nhost: t\r\nconnection: close\r\n", request.method, request.path);
        for (name, value) in &request.headers {
            head += &format!("{name}: {value}\r\n");
        }
        if request.method == "POST" {
            head += &format!("content-length: {}\r\n", request.body.len());
        }
        let mut stream = TcpStream::connect(self.address).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream.write_all(format!("{head}\r\n").as_bytes()).unwrap();
        stream.write_all(&request.body).unwrap();
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer).unwrap();
        parsed(&answer)
    }
}

fn parsed(answer: &[u8]) -> Answer {
    let end = answer.windows(4).position(|window| window == b"\r\n\r\n").unwrap();
    let head = std::str::from_utf8(&answer[..end]).unwrap();
    let mut lines = head.split("\r\n");
    let status = lines.next().unwrap().split(' ').nth(1).unwrap().parse().unwrap();
    let headers = lines.map(|line| line.split_once(": ").unwrap()).filter(|(name, _)| *name != "date");
    let headers = headers.map(|(name, value)| (name.into(), value.into())).collect();
    Answer { status, headers, body: answer[end + 4..].to_vec() }
}

impl Answer {
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(n, _)| n == name).map(|(_, value)| value.as_str())
    }

    pub(crate) fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    pub(crate) fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|error| panic!("{error}: {}", self.text()))
    }
}
