//! `service healthcheck`: asks the service's own ready route, for images that have no shell and no curl.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::Path;
use std::time::Duration;

use crate::client::{self, Json, Patience, Url};
use crate::lifecycle::{self, StartError};

/// Shorter than the interval of any health check, which asks again itself.
const PATIENCE: Patience =
    Patience { again: Duration::ZERO, connect: Duration::from_secs(3), answer: Duration::from_secs(3) };

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
        source: io::Error,
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
    let mut url = Url::at(address, "/v1/health/ready");
    if let Some(certificate) = &server.tls.certificate {
        url = url.trusting(certificate);
    }
    // Longer than any status line; the rest is of no interest.
    let answer = client::ask(&url, None::<Json<io::Empty>>, 128, PATIENCE)
        .map_err(|source| Unhealthy::NoAnswer { address, source })?;
    if answer.is_ok() { Ok(()) } else { Err(Unhealthy::NotReady { address, status: answer.status }) }
}

/// What is bound everywhere is reached on the loopback.
fn reachable(host: IpAddr) -> IpAddr {
    match host {
        IpAddr::V4(v4) if v4.is_unspecified() => Ipv4Addr::LOCALHOST.into(),
        IpAddr::V6(v6) if v6.is_unspecified() => Ipv6Addr::LOCALHOST.into(),
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_bound_everywhere_is_asked_on_the_loopback() {
        assert_eq!(reachable("0.0.0.0".parse().unwrap()).to_string(), "127.0.0.1");
        assert_eq!(reachable("::".parse().unwrap()).to_string(), "::1");
        assert_eq!(reachable("10.0.0.1".parse().unwrap()).to_string(), "10.0.0.1");
    }
}
