//! A stand-in for registries that a test can't start: it answers as its script says, and keeps what it was asked.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex};

/// One request as it came.
#[derive(Debug, Clone, Default)]
pub(crate) struct Asked {
    pub(crate) method: String,
    /// With its query.
    pub(crate) path: String,
    pub(crate) headers: Vec<(String, String)>,
    pub(crate) body: Vec<u8>,
}

impl Asked {
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(known, _)| known.eq_ignore_ascii_case(name)).map(|(_, value)| value.as_str())
    }

    pub(crate) fn is(&self, method: &str, part: &str) -> bool {
        self.method == method && self.path.contains(part)
    }
}

/// Status, headers, body. With a `Content-Length` of its own the answer ends where the body does, and so does the
/// connection.
pub(crate) type Said<B = String> = (u16, Vec<(&'static str, String)>, B);

pub(crate) struct Odd {
    pub(crate) address: String,
    asked: Arc<Mutex<Vec<Asked>>>,
}

impl Odd {
    /// Answers each request by `script`, which is told how many like it (same method and path) came before.
    pub(crate) fn start<B: Into<Vec<u8>>>(script: impl Fn(&Asked, usize) -> Said<B> + Send + Sync + 'static) -> Self {
        let socket = TcpListener::bind("127.0.0.1:0").unwrap();
        let odd = Odd { address: socket.local_addr().unwrap().to_string(), asked: Arc::default() };
        let (asked, script) = (Arc::clone(&odd.asked), Arc::new(script));
        std::thread::spawn(move || {
            for stream in socket.incoming().flatten() {
                let (asked, script) = (Arc::clone(&asked), Arc::clone(&script));
                std::thread::spawn(move || {
                    let mut reader = BufReader::new(stream.try_clone().unwrap());
                    while let Some(request) = read(&mut reader) {
                        let before = {
                            let mut all = asked.lock().unwrap();
                            let like = |one: &&Asked| one.method == request.method && one.path == request.path;
                            let before = all.iter().filter(like).count();
                            all.push(request.clone());
                            before
                        };
                        let (status, headers, body) = script(&request, before);
                        if !answer(&stream, &request, (status, headers, body.into())) {
                            break;
                        }
                    }
                });
            }
        });
        odd
    }

    /// What was asked so far.
    pub(crate) fn asked(&self) -> Vec<Asked> {
        self.asked.lock().unwrap().clone()
    }
}

fn read(reader: &mut BufReader<TcpStream>) -> Option<Asked> {
    let mut line = String::new();
    reader.read_line(&mut line).ok().filter(|n| *n > 0)?;
    let mut words = line.split_whitespace();
    let mut asked = Asked { method: words.next()?.into(), path: words.next()?.into(), ..Asked::default() };
    loop {
        let mut line = String::new();
        reader.read_line(&mut line).ok()?;
        let Some((name, value)) = line.trim().split_once(':') else { break };
        asked.headers.push((name.into(), value.trim().into()));
    }
    assert!(asked.header("transfer-encoding").is_none(), "registries want to know the length beforehand");
    let length = asked.header("content-length").map_or(0, |text| text.parse().unwrap());
    asked.body = vec![0; length];
    reader.read_exact(&mut asked.body).ok()?;
    Some(asked)
}

/// Whether the connection can go on.
fn answer(mut stream: &TcpStream, request: &Asked, (status, headers, body): Said<Vec<u8>>) -> bool {
    let breaks_off = headers.iter().any(|(name, _)| *name == "Content-Length");
    let mut head = format!("HTTP/1.1 {status} x\r\n");
    if !breaks_off && status != 304 {
        head += &format!("Content-Length: {}\r\n", body.len());
    }
    headers.iter().for_each(|(name, value)| head += &format!("{name}: {value}\r\n"));
    let body = if request.method == "HEAD" { Vec::new() } else { body };
    let _ = stream.write_all(&[format!("{head}\r\n").into_bytes(), body].concat());
    if breaks_off {
        let _ = stream.shutdown(std::net::Shutdown::Both);
    }
    !breaks_off
}
