//! The host beside a container that hands out its keys: that of Amazon's ECS, the agent of EKS, or one on this machine.

use url::Url;

use super::keys::Keys;
use crate::registry::place;
use crate::source::Error;
use crate::source::login::Login;
use crate::source::surroundings::Surroundings;
use crate::source::web::{Ask, Client};

/// A path on the host of ECS, and a whole address.
pub(super) const RELATIVE: &str = "AWS_CONTAINER_CREDENTIALS_RELATIVE_URI";
pub(super) const FULL: &str = "AWS_CONTAINER_CREDENTIALS_FULL_URI";
const TOKEN: &str = "AWS_CONTAINER_AUTHORIZATION_TOKEN";
const TOKEN_FILE: &str = "AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE";
const HINT: &str = "set `AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE` to the file that the platform puts into the container";
/// The hosts of ECS and EKS, which nobody is in between.
const HOSTS: [&str; 3] = ["169.254.170.2", "169.254.170.23", "[fd00:ec2::23]"];
/// Largest answer, and largest file of a token, bytes.
const LARGEST: u64 = 1 << 20;

/// Asks for the container's keys.
pub(super) fn ask(around: &Surroundings) -> Result<Keys, Error> {
    let (url, origin) = address(around)?;
    let login = token(around)?;
    let ask = Ask { url: url.clone(), headers: Vec::new(), attempt: "ask for the container's credentials".into() };
    let answer = Client::unmoved(&url, login, HINT).text(&ask, LARGEST)?;
    Keys::from_json(&answer, &origin)
}

/// Where they are, and what says so.
fn address(around: &Surroundings) -> Result<(Url, String), Error> {
    let (name, text) = match (around.get(RELATIVE), around.get(FULL)) {
        (Some(path), _) => (RELATIVE, format!("http://{}{path}", HOSTS[0])),
        (None, full) => (FULL, full.unwrap_or_default().to_string()),
    };
    let wrong = |reason: &str| Error::Credentials { origin: format!("`{name}`"), reason: reason.into() };
    if name == RELATIVE && !around.get(RELATIVE).is_some_and(|path| path.starts_with('/')) {
        return Err(wrong("it should be a path"));
    }
    let url = Url::parse(&text).map_err(|_| wrong("it is no address"))?;
    let host = url.host_str().unwrap_or_default();
    match url.scheme() {
        "https" => {}
        "http" if HOSTS.contains(&host) || place::is_here(host) => {}
        _ => {
            return Err(wrong(
                "it should be an `https://` address, or one of this machine or of the platform's own host",
            ));
        }
    }
    Ok((url, format!("`{name}`")))
}

/// What the host is shown, as it stands in the environment or in the file that the environment names.
fn token(around: &Surroundings) -> Result<Option<Login>, Error> {
    let (origin, token) = match (around.get(TOKEN_FILE), around.get(TOKEN)) {
        (Some(path), _) => {
            let origin = format!("`{TOKEN_FILE}`");
            let text = std::fs::File::open(path).and_then(|file| {
                let mut text = String::new();
                std::io::Read::read_to_string(&mut std::io::Read::take(file, LARGEST), &mut text).map(|_| text)
            });
            let text = text.map_err(|error| Error::Credentials {
                origin: origin.clone(),
                reason: format!("`{path}` can't be read: {error}"),
            })?;
            (origin, text.trim().to_string())
        }
        (None, Some(token)) => (format!("`{TOKEN}`"), token.to_string()),
        (None, None) => return Ok(None),
    };
    if token.is_empty() || token.contains(|c: char| !(' '..='~').contains(&c)) {
        return Err(Error::Credentials { origin, reason: "it isn't one line of ASCII".into() });
    }
    Ok(Some(Login { header: token.into(), origin }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_platforms_own_hosts_are_asked_without_tls() {
        let of = |variables: &[(&str, &str)]| {
            let around = Surroundings::made(variables, std::path::Path::new("/nowhere"));
            address(&around).map(|(url, _)| url.to_string())
        };
        assert_eq!(of(&[(RELATIVE, "/v2/x?id=1"), (FULL, "http://h/")]).unwrap(), "http://169.254.170.2/v2/x?id=1");
        for good in ["http://169.254.170.23/v1/credentials", "https://keys.example.com/", "http://localhost:1/a"] {
            assert_eq!(of(&[(FULL, good)]).unwrap(), good);
        }
        for bad in ["http://keys.example.com/", "http://169.254.169.254/", "file:///etc/passwd", "x"] {
            assert!(of(&[(FULL, bad)]).is_err(), "{bad}");
        }
        assert!(of(&[(RELATIVE, "@keys.example.com/")]).unwrap_err().to_string().contains("should be a path"));
    }
}
