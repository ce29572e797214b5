//! One HTTP/1.1 request over a connection of its own: for images that have no shell and no curl, and from which the
//! service's own program asks for health and posts a sample. No redirects, no connection used twice; over TLS what is
//! trusted is named in a file.

use std::fmt;
use std::io::{self, ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream, ToSocketAddrs};
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::time::{Duration, Instant};

use crate::tls::client::{Protected, protect};

/// `http://HOST[:PORT][/PATH][?QUERY]`, or `https://…`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Url {
    secure: bool,
    /// The certificates that are trusted over TLS.
    trusted: Option<PathBuf>,
    /// Host and port as the header `Host` has them.
    authority: String,
    host: String,
    port: u16,
    /// With the query.
    path: String,
}

impl Url {
    /// The URL of `path` at an address.
    pub(crate) fn at(address: SocketAddr, path: &str) -> Url {
        let (authority, host) = (address.to_string(), address.ip().to_string());
        Url { secure: false, trusted: None, authority, host, port: address.port(), path: path.into() }
    }

    /// The same over TLS, from a server that has one of the certificates in the file `trusted`, or one signed by one
    /// of them.
    #[must_use]
    pub fn trusting(self, trusted: &Path) -> Url {
        Url { secure: true, trusted: Some(trusted.into()), ..self }
    }

    /// Whether it begins with `https://`.
    pub fn is_secure(&self) -> bool {
        self.secure
    }

    fn scheme(&self) -> &'static str {
        if self.secure { "https" } else { "http" }
    }
}

impl FromStr for Url {
    type Err = String;

    fn from_str(text: &str) -> Result<Url, String> {
        let wrong = |why: &str| format!("`{text}` is not a URL that can be asked: {why}");
        let (secure, rest) = match (text.strip_prefix("http://"), text.strip_prefix("https://")) {
            (Some(rest), _) => (false, rest),
            (_, Some(rest)) => (true, rest),
            _ => return Err(wrong("it must begin with `http://` or `https://`")),
        };
        if !rest.bytes().all(|byte| byte.is_ascii_graphic() && byte != b'#') {
            return Err(wrong("it must be ASCII without spaces and `#`"));
        }
        let (authority, path) = rest.split_at(rest.find(['/', '?']).unwrap_or(rest.len()));
        if authority.contains('@') {
            return Err(wrong("it must not hold a user"));
        }
        // The colons of an IPv6 address stand in brackets.
        let (host, port) = match authority.rsplit_once(':') {
            Some((host, port)) if !port.ends_with(']') => (host, port.parse().map_err(|_| wrong("its port is wrong"))?),
            _ => (authority, if secure { 443 } else { 80 }),
        };
        let host = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host);
        if host.is_empty() || port == 0 {
            return Err(wrong("it must name a host, and a port other than 0"));
        }
        let path = if path.starts_with('/') { path.into() } else { format!("/{path}") };
        Ok(Url { secure, trusted: None, authority: authority.into(), host: host.into(), port, path })
    }
}

impl fmt::Display for Url {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}://{}{}", self.scheme(), self.authority, self.path)
    }
}

/// How long things may take.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Patience {
    /// A host that refuses connections, or whose name nobody knows yet, is asked again for so long.
    pub(crate) again: Duration,
    /// One attempt to connect.
    pub(crate) connect: Duration,
    /// From there to the end of the answer.
    pub(crate) answer: Duration,
}

/// What came back.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Answer {
    /// The first line.
    pub(crate) status: String,
    /// What was read of the body.
    pub(crate) body: Vec<u8>,
}

impl Answer {
    /// Whether it is 200.
    pub(crate) fn is_ok(&self) -> bool {
        self.status.split(' ').nth(1) == Some("200")
    }
}

/// A JSON body to post: as many bytes of the reader as `length` says.
pub(crate) struct Json<R> {
    pub(crate) reader: R,
    pub(crate) length: u64,
}

/// GET, or POST if there is a body. At most `most` bytes of the answer are read.
pub(crate) fn ask(url: &Url, body: Option<Json<impl Read>>, most: usize, patience: Patience) -> io::Result<Answer> {
    let stream = connect(url, patience)?;
    let deadline = Instant::now() + patience.answer;
    stream.set_write_timeout(Some(patience.answer))?;
    // A handshake reads before anything is sent.
    stream.set_read_timeout(Some(patience.answer))?;
    let mut stream = Stream::new(stream, url)?;
    let sent = send(&mut stream, url, body);
    let mut answer = Vec::new();
    let read = receive(&mut stream, &mut answer, most, deadline);
    // Whoever refuses a body may close before all of it was sent: then its answer says why.
    match split(&answer) {
        Some(answer) => Ok(answer),
        None => Err(sent.and(read).err().unwrap_or_else(|| ErrorKind::UnexpectedEof.into())),
    }
}

/// A connection, protected or not.
enum Stream {
    Plain(TcpStream),
    Tls(Box<Protected>),
}

impl Stream {
    fn new(stream: TcpStream, url: &Url) -> io::Result<Stream> {
        match (url.secure, &url.trusted) {
            (false, _) => Ok(Stream::Plain(stream)),
            (true, Some(trusted)) => Ok(Stream::Tls(Box::new(protect(stream, &url.host, trusted)?))),
            (true, None) => Err(io::Error::new(ErrorKind::InvalidInput, "nobody said which certificates to trust")),
        }
    }

    fn set_read_timeout(&self, time: Duration) -> io::Result<()> {
        match self {
            Stream::Plain(stream) => stream.set_read_timeout(Some(time)),
            Stream::Tls(stream) => stream.sock.set_read_timeout(Some(time)),
        }
    }
}

impl Read for Stream {
    fn read(&mut self, bytes: &mut [u8]) -> io::Result<usize> {
        match self {
            Stream::Plain(stream) => stream.read(bytes),
            Stream::Tls(stream) => stream.read(bytes),
        }
    }
}

impl Write for Stream {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            Stream::Plain(stream) => stream.write(bytes),
            Stream::Tls(stream) => stream.write(bytes),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        match self {
            Stream::Plain(stream) => stream.flush(),
            Stream::Tls(stream) => stream.flush(),
        }
    }
}

/// Asks each address of the host, and all of them again after a pause, as long as the patience lasts.
fn connect(url: &Url, patience: Patience) -> io::Result<TcpStream> {
    let end = Instant::now() + patience.again;
    loop {
        let error = match (url.host.as_str(), url.port).to_socket_addrs() {
            Ok(addresses) => {
                let mut error = io::Error::new(ErrorKind::NotFound, "the host has no address");
                for address in addresses {
                    match TcpStream::connect_timeout(&address, patience.connect) {
                        Ok(stream) => return Ok(stream),
                        Err(refused) => error = refused,
                    }
                }
                error
            }
            // A name that nobody knows has no error kind of its own.
            Err(unknown) => io::Error::new(ErrorKind::NotFound, unknown),
        };
        let may_change = matches!(error.kind(), ErrorKind::ConnectionRefused | ErrorKind::NotFound);
        if !may_change || Instant::now() >= end {
            return Err(error);
        }
        std::thread::sleep(Duration::from_millis(200));
    }
}

fn send(stream: &mut Stream, url: &Url, body: Option<Json<impl Read>>) -> io::Result<()> {
    let method = if body.is_some() { "POST" } else { "GET" };
    let mut head = format!("{method} {} HTTP/1.1\r\nHost: {}\r\nConnection: close\r\n", url.path, url.authority);
    if let Some(body) = &body {
        head += &format!("Content-Type: application/json\r\nContent-Length: {}\r\n", body.length);
    }
    stream.write_all(format!("{head}\r\n").as_bytes())?;
    if let Some(body) = body {
        io::copy(&mut body.reader.take(body.length), stream)?;
    }
    stream.flush()
}

/// Reads until the end of the connection, of the answer as its head tells it, of the time, or of what is wanted.
fn receive(stream: &mut Stream, answer: &mut Vec<u8>, most: usize, deadline: Instant) -> io::Result<()> {
    let mut part = [0; 4096];
    while answer.len() < most && !is_whole(answer) {
        let left = deadline.saturating_duration_since(Instant::now());
        // A time-out of zero would be none.
        stream.set_read_timeout(left.max(Duration::from_millis(1)))?;
        match stream.read(&mut part) {
            Ok(0) => return Ok(()),
            Ok(length) => answer.extend_from_slice(&part[..length]),
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {
                return Err(io::Error::new(ErrorKind::TimedOut, "the answer took too long"));
            }
            Err(error) => return Err(error),
        }
    }
    answer.truncate(most);
    Ok(())
}

/// The head's length with the empty line that ends it.
fn head_length(answer: &[u8]) -> Option<usize> {
    answer.windows(4).position(|window| window == b"\r\n\r\n").map(|end| end + 4)
}

/// Whether everything is there that `Content-Length` announced.
fn is_whole(answer: &[u8]) -> bool {
    let Some(head) = head_length(answer) else { return false };
    let length = String::from_utf8_lossy(&answer[..head]).lines().find_map(|line| {
        let (name, value) = line.split_once(':')?;
        name.eq_ignore_ascii_case("content-length").then(|| value.trim().parse::<usize>().ok())?
    });
    length.is_some_and(|length| answer.len() - head >= length)
}

/// Status line and body; `None` without a whole first line that HTTP begins with.
fn split(answer: &[u8]) -> Option<Answer> {
    let end = answer.windows(2).position(|window| window == b"\r\n")?;
    let status = String::from_utf8_lossy(&answer[..end]).into_owned();
    let body = head_length(answer).map_or(&[][..], |head| &answer[head..]).to_vec();
    status.starts_with("HTTP/1.").then_some(Answer { status, body })
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;
    use std::thread::{self, JoinHandle};

    use super::*;

    const PATIENCE: Patience = Patience {
        again: Duration::from_millis(400),
        connect: Duration::from_secs(5),
        answer: Duration::from_secs(20),
    };

    /// Answers one request with `answer` once it has come as a whole; the request's text.
    fn server(listener: TcpListener, answer: &'static str) -> JoinHandle<String> {
        thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            let mut request = Vec::new();
            let mut part = [0; 512];
            while !(head_length(&request).is_some_and(|_| !request.starts_with(b"POST")) || is_whole(&request)) {
                let length = stream.read(&mut part).unwrap();
                assert_ne!(length, 0);
                request.extend_from_slice(&part[..length]);
            }
            stream.write_all(answer.as_bytes()).unwrap();
            String::from_utf8(request).unwrap()
        })
    }

    fn get(url: &Url, most: usize) -> io::Result<Answer> {
        ask(url, None::<Json<io::Empty>>, most, PATIENCE)
    }

    #[test]
    fn urls_are_taken_apart() {
        for (text, authority, host, port, path) in [
            ("http://a", "a", "a", 80, "/"),
            ("http://a.b:8000/v1/x?y=1", "a.b:8000", "a.b", 8000, "/v1/x?y=1"),
            ("http://[::1]:81/", "[::1]:81", "::1", 81, "/"),
            ("http://[::1]?q", "[::1]", "::1", 80, "/?q"),
            ("https://a", "a", "a", 443, "/"),
            ("https://a:8443/v1", "a:8443", "a", 8443, "/v1"),
        ] {
            let url: Url = text.parse().unwrap();
            let secure = text.starts_with("https");
            let (authority, host, path) = (authority.into(), host.into(), path.into());
            let expected = Url { secure, trusted: None, authority, host, port, path };
            assert_eq!(url, expected, "{text}");
            assert_eq!(url.to_string().parse(), Ok(url), "{text}");
        }
        for text in [
            "",
            "a",
            "ftp://a/",
            "https:/a",
            "http://",
            "http:///x",
            "http://a:x",
            "http://a:0",
            "http://a:70000",
            "http://u@a",
            "http://a/ b",
            "http://a/\r\nx",
            "http://a/#f",
            "http://ä/",
        ] {
            assert!(text.parse::<Url>().unwrap_err().contains(&format!("`{text}`")), "{text}");
        }
    }

    #[test]
    fn a_body_is_posted_and_the_answer_is_read_to_its_length() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = Url::at(listener.local_addr().unwrap(), "/v1/predict");
        let server = server(listener, "HTTP/1.1 422 Unprocessable\r\ncontent-length: 3\r\n\r\nbad");
        let answer = ask(&url, Some(Json { reader: &b"{}and more"[..], length: 2 }), 1000, PATIENCE).unwrap();
        assert_eq!(answer, Answer { status: "HTTP/1.1 422 Unprocessable".into(), body: b"bad".to_vec() });
        assert!(!answer.is_ok());
        let request = server.join().unwrap();
        assert!(request.starts_with("POST /v1/predict HTTP/1.1\r\nHost: 127.0.0.1:"), "{request}");
        assert!(request.contains("\r\nContent-Type: application/json\r\nContent-Length: 2\r\n"), "{request}");
        assert!(request.ends_with("\r\n\r\n{}"), "{request}");
    }

    #[test]
    fn no_more_is_read_than_is_wanted() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = Url::at(listener.local_addr().unwrap(), "/");
        let server = server(listener, "HTTP/1.1 200 OK\r\n\r\nendless");
        let answer = get(&url, 22).unwrap();
        assert!(answer.is_ok());
        assert_eq!(answer.body, b"end");
        assert!(server.join().unwrap().starts_with("GET / HTTP/1.1\r\n"));
    }

    #[test]
    fn a_host_that_refuses_is_asked_again_for_a_while() {
        let address = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        let begun = Instant::now();
        assert_eq!(get(&Url::at(address, "/"), 100).unwrap_err().kind(), ErrorKind::ConnectionRefused);
        assert!(begun.elapsed() >= PATIENCE.again);
        let late = thread::spawn(move || {
            thread::sleep(Duration::from_millis(100));
            server(TcpListener::bind(address).unwrap(), "HTTP/1.1 200 OK\r\n\r\n").join().unwrap()
        });
        assert!(get(&Url::at(address, "/"), 100).unwrap().is_ok());
        late.join().unwrap();
    }

    #[test]
    fn silence_and_what_is_no_http_are_errors() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = Url::at(listener.local_addr().unwrap(), "/");
        let silent = Patience { answer: Duration::from_millis(50), ..PATIENCE };
        let error = ask(&url, None::<Json<io::Empty>>, 100, silent).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::TimedOut);
        drop(listener.accept().unwrap());
        let server = server(listener, "SSH-2.0-x\r\n");
        assert_eq!(get(&url, 100).unwrap_err().kind(), ErrorKind::UnexpectedEof);
        server.join().unwrap();
    }
}
