//! The HTTP examples: each `http` block that is a request is sent to a server, and the `http` block after it is
//! compared with the answer.
//!
//! `<!-- model: PATH -->` before a request starts a server of that model for it and those that follow. What an example
//! shows has to be there: the status, its headers, and its body, in which numbers may differ in their last digits and
//! the text `…` stands for any. An answer without a body says nothing about it.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::process::{Child, Command, Stdio};

use serde_json::Value;

use super::page::{Block, Page};
use super::pages;

/// `nimify run` of a model.
struct Server {
    process: Child,
    address: String,
}

impl Server {
    fn start(model: &str) -> Self {
        let mut command = Command::new(env!("CARGO_BIN_EXE_nimify"));
        command.args(["run", model, "--port", "0"]).env("NIMIFY_LOG_LEVEL", "info");
        let mut process = command.stderr(Stdio::piped()).spawn().unwrap();
        let mut log = BufReader::new(process.stderr.take().unwrap());
        let (mut address, mut seen) = (None, String::new());
        loop {
            let mut line = String::new();
            assert!(log.read_line(&mut line).unwrap() > 0, "`nimify run {model}` doesn't start:\n{seen}");
            let at = line.split("address=").nth(1).and_then(|rest| rest.split_whitespace().next());
            address = address.or(at.map(String::from));
            if line.contains(" ready ") {
                break;
            }
            seen += &line;
        }
        // Its log is read to the end, or it would wait for a reader.
        std::thread::spawn(move || std::io::copy(&mut log, &mut std::io::sink()));
        Server { process, address: address.expect("the service says where it listens before it is ready") }
    }

    /// Sends a request as the page shows it; gives the answer's head and body.
    fn ask(&self, request: &str) -> (String, String) {
        let (head, body) = parts(request);
        let head = head.lines().collect::<Vec<_>>().join("\r\n");
        let mut stream = TcpStream::connect(&self.address).unwrap();
        let more = format!("host: {}\r\ncontent-length: {}\r\nconnection: close", self.address, body.len());
        stream.write_all(format!("{head}\r\n{more}\r\n\r\n{body}").as_bytes()).unwrap();
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer).unwrap();
        let answer = String::from_utf8_lossy(&answer).into_owned();
        let (head, body) = answer.split_once("\r\n\r\n").unwrap();
        (head.to_string(), body.to_string())
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

#[test]
fn every_request_gets_the_answer_that_the_page_shows() {
    let mut asked = 0;
    for page in pages() {
        let mut server: Option<Server> = None;
        let mut blocks = page.blocks.iter().filter(|block| block.language == "http");
        while let Some(request) = blocks.next() {
            if let Some((_, model)) = request.comment.as_ref().filter(|(key, _)| key == "model") {
                server = Some(Server::start(model));
            }
            let server = server.as_ref().unwrap_or_else(|| panic!("{}: no `<!-- model: … -->`", place(&page, request)));
            let shown = blocks.next().unwrap_or_else(|| panic!("{}: no answer follows", place(&page, request)));
            let (head, body) = server.ask(&request.text);
            compare(&shown.text, &head, &body).unwrap_or_else(|why| {
                panic!("{}: {why}\nthe answer was:\n{head}\n\n{body}", place(&page, shown));
            });
            asked += 1;
        }
    }
    assert!(asked > 0);
}

fn place(page: &Page, block: &Block) -> String {
    format!("{}:{}", page.path.display(), block.line)
}

/// Head and body of a block.
fn parts(text: &str) -> (&str, &str) {
    let (head, body) = text.split_once("\n\n").unwrap_or((text, ""));
    (head.trim_end(), body.trim_end())
}

fn compare(shown: &str, head: &str, body: &str) -> Result<(), String> {
    let (shown_head, shown_body) = parts(shown);
    let lower = |line: &str| line.to_lowercase();
    let lines: Vec<String> = head.lines().map(lower).collect();
    for line in shown_head.lines() {
        let (name, value) = line.split_once(": ").unwrap_or((line, ""));
        let any = value == "…" && lines.iter().any(|other| other.starts_with(&format!("{}:", lower(name))));
        if !any && !lines.contains(&lower(line)) {
            return Err(format!("no `{line}`"));
        }
    }
    if shown_body.is_empty() {
        return Ok(());
    }
    match (serde_json::from_str(shown_body), serde_json::from_str(body)) {
        (Ok(shown), Ok(answer)) => agree(&shown, &answer, "the body"),
        _ if shown_body == body.trim_end() => Ok(()),
        _ => Err("the body is another".into()),
    }
}

/// Equal, but for the last digits of numbers and for `…`.
fn agree(shown: &Value, answer: &Value, place: &str) -> Result<(), String> {
    match (shown, answer) {
        (Value::String(any), _) if any == "…" => Ok(()),
        (Value::Object(a), Value::Object(b)) if a.keys().eq(b.keys()) => {
            a.iter().zip(b.values()).try_for_each(|((key, a), b)| agree(a, b, &format!("{place}.{key}")))
        }
        (Value::Array(a), Value::Array(b)) if a.len() == b.len() => {
            a.iter().zip(b).enumerate().try_for_each(|(k, (a, b))| agree(a, b, &format!("{place}[{k}]")))
        }
        (Value::Number(a), Value::Number(b)) => {
            let (x, y) = (a.as_f64().unwrap(), b.as_f64().unwrap());
            let close = (x - y).abs() <= 1e-4 * x.abs().max(y.abs());
            if a == b || (a.is_f64() && b.is_f64() && close) { Ok(()) } else { Err(format!("{place} is {b}, not {a}")) }
        }
        (a, b) if a == b => Ok(()),
        (a, b) => Err(format!("{place} is {b}, not {a}")),
    }
}

#[test]
fn answers_are_told_apart() {
    let head = "HTTP/1.1 200 OK\r\ncontent-type: application/json";
    let same = |shown: &str, body: &str| compare(shown, head, body).is_ok();
    assert!(same("HTTP/1.1 200 OK\n\n{\"a\": [1.00001, \"…\"]}\n", "{\"a\":[1.0,\"x\"]}"));
    assert!(same("HTTP/1.1 200 OK\ncontent-type: …\n", "anything"));
    assert!(!same("HTTP/1.1 400 Bad Request\n", "{}"));
    assert!(!same("HTTP/1.1 200 OK\nx-other: 1\n", "{}"));
    assert!(!same("HTTP/1.1 200 OK\n\n{\"a\": 1}\n", "{\"a\":2}"));
    assert!(!same("HTTP/1.1 200 OK\n\n{\"a\": 1}\n", "{\"a\":1,\"b\":2}"));
}
