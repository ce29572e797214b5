//! `service healthcheck`: asks the service's own ready route, for images that have no shell and no curl.

use std::io::{Read, Write};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpStream};
use std::path::Path;
use std::time::Duration;

use crate::lifecycle::{self, StartError};

/// Shorter than the interval of any health check.
const TIME: Duration = Duration::from_secs(3);

/// Why the service isn't healthy.
#[derive(Debug, thiserror::Error)]
pub enum Unhealthy {
    /// Where to ask isn't known.
    #[error(transparent)]
    Settings(#[from] StartError),
    /// The port is chosen by the system, so that nobody else knows it.
    #[error("`server.port` is 0: where the service listens isn't known")]
    NoPort,
    /// No answer.
    #[error("no answer from `{address}`: {source}")]
    NoAnswer {
        /// Where.
        address: SocketAddr,
        /// Why not.
        source: std::io::Error,
    },
    /// An answer other than 200.
    #[error("`{address}` isn't ready: {status}")]
    NotReady {
        /// Where.
        address: SocketAddr,
        /// The answer's first line.
        status: String,
    },
}

/// Asks the service that `settings_file` describes, under the same environment.
pub fn check(settings_file: &Path) -> Result<(), Unhealthy> {
    let server = lifecycle::settings(settings_file)?.0.service.server;
    let host = server.host.parse().map_err(|_| StartError::Host(server.host))?;
    if server.port == 0 {
        return Err(Unhealthy::NoPort);
    }
    let address = SocketAddr::new(reachable(host), server.port);
    let status = ask(address).map_err(|source| Unhealthy::NoAnswer { address, source })?;
    match status.split(' ').nth(1) {
        Some("200") => Ok(()),
        _ => Err(Unhealthy::NotReady { address, status }),
    }
}

/// What is bound everywhere is reached on the loopback.
fn reachable(host: IpAddr) -> IpAddr {
    match host {
        IpAddr::V4(v4) if v4.is_unspecified() => Ipv4Addr::LOCALHOST.into(),
        IpAddr::V6(v6) if v6.is_unspecified() => Ipv6Addr::LOCALHOST.into(),
        other => other,
    }
}

/// The answer's first line.
fn ask(address: SocketAddr) -> std::io::Result<String> {
    let mut stream = TcpStream::connect_timeout(&address, TIME)?;
    stream.set_read_timeout(Some(TIME))?;
    stream.set_write_timeout(Some(TIME))?;
    write!(stream, "GET /v1/health/ready HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n")?;
    // Longer than any status line; the rest is of no interest.
    let mut answer = Vec::with_capacity(128);
    stream.take(128).read_to_end(&mut answer)?;
    let line = answer.split(|byte| *byte == b'\r').next().unwrap_or_default();
    Ok(String::from_utf8_lossy(line).into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::TcpListener;

    #[test]
    fn the_first_line_is_read_whatever_comes_after() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let server = std::thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            let mut request = [0; 256];
            let length = stream.read(&mut request).unwrap();
            stream.write_all(b"HTTP/1.1 503 Service Unavailable\r\n\r\n").unwrap();
            String::from_utf8_lossy(&request[..length]).into_owned()
        });
        assert_eq!(ask(address).unwrap(), "HTTP/1.1 503 Service Unavailable");
        assert!(server.join().unwrap().starts_with("GET /v1/health/ready HTTP/1.1\r\nHost: 127.0.0.1:"));
    }

    #[test]
    fn what_is_bound_everywhere_is_asked_on_the_loopback() {
        assert_eq!(reachable("0.0.0.0".parse().unwrap()).to_string(), "127.0.0.1");
        assert_eq!(reachable("::".parse().unwrap()).to_string(), "::1");
        assert_eq!(reachable("10.0.0.1".parse().unwrap()).to_string(), "10.0.0.1");
    }
}
