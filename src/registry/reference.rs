//! `REGISTRY/REPOSITORY[:TAG][@DIGEST]`, by the grammar that every registry goes by.

use std::fmt;
use std::str::FromStr;

use super::Error;
use crate::digest::Digest;

/// A repository: which registry, and the path in it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Repository {
    registry: String,
    path: String,
}

/// An image in a repository, by tag, by digest, or by both.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reference {
    /// The repository.
    pub repository: Repository,
    /// The tag, where one is given.
    pub tag: Option<String>,
    /// The digest, where one is given.
    pub digest: Option<Digest>,
}

impl Repository {
    /// The registry as people write it: `docker.io`, `registry.example.com:5000`.
    pub fn registry(&self) -> &str {
        &self.registry
    }

    /// The path in it: `ml/digits`.
    pub fn path(&self) -> &str {
        &self.path
    }

    /// The host, with its port, that answers for the registry: Docker Hub's is another than its name.
    pub fn host(&self) -> &str {
        if self.registry == DOCKER_HUB { "registry-1.docker.io" } else { &self.registry }
    }
}

pub(super) const DOCKER_HUB: &str = "docker.io";

impl Reference {
    /// Reads a reference that names its registry: nothing is pushed to Docker Hub because a host was left out.
    pub fn with_registry(text: &str) -> Result<Self, Error> {
        let first = text.split_once('/').map_or("", |(first, _)| first);
        if first.contains(['.', ':']) || first == "localhost" {
            return text.parse();
        }
        let reason = "it should begin with a registry, such as `registry.example.com/ml/digits`".into();
        Err(Error::Reference { text: text.into(), reason })
    }
}

impl FromStr for Reference {
    type Err = Error;

    /// Without a registry it is one of Docker Hub's, as everywhere.
    fn from_str(text: &str) -> Result<Self, Error> {
        let wrong = |reason: String| Error::Reference { text: text.into(), reason };
        if text.contains("://") {
            return Err(wrong("leave the scheme out".into()));
        }
        let parsed: oci_spec::distribution::Reference = text.parse().map_err(|error| wrong(format!("{error}")))?;
        let digest = parsed.digest().map(|digest| digest.parse().map_err(|error| wrong(format!("{error}"))));
        // The library says `latest` where nothing was said.
        let tag = parsed.tag().filter(|tag| text.contains(&format!(":{tag}")));
        let registry = parsed.registry();
        Ok(Reference {
            repository: Repository { registry: registry.into(), path: parsed.repository().into() },
            tag: tag.map(String::from),
            digest: digest.transpose()?,
        })
    }
}

impl fmt::Display for Repository {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.registry, self.path)
    }
}

impl fmt::Display for Reference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.repository.fmt(f)?;
        self.tag.iter().try_for_each(|tag| write!(f, ":{tag}"))?;
        self.digest.iter().try_for_each(|digest| write!(f, "@{digest}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn references_fall_into_their_parts() {
        let digest = Digest::of("");
        let cases = [
            ("localhost:5000/digits", "localhost:5000/digits", None, None),
            ("r.example.com/ml/digits:1.2", "r.example.com/ml/digits", Some("1.2"), None),
            ("r.example.com/ml/digits:latest", "r.example.com/ml/digits", Some("latest"), None),
            (&format!("127.0.0.1:80/a/b:x@{digest}"), "127.0.0.1:80/a/b", Some("x"), Some(digest)),
            ("debian", "docker.io/library/debian", None, None),
            ("ml/digits:2", "docker.io/ml/digits", Some("2"), None),
        ];
        for (text, repository, tag, digest) in cases {
            let parsed: Reference = text.parse().unwrap();
            assert_eq!(parsed.repository.to_string(), repository, "{text}");
            assert_eq!((parsed.tag.as_deref(), parsed.digest), (tag, digest), "{text}");
        }
        assert_eq!("debian".parse::<Reference>().unwrap().repository.host(), "registry-1.docker.io");
    }

    #[test]
    fn what_is_no_reference_is_refused() {
        for bad in
            ["", "https://r.example.com/a", "r.example.com/A", "r.example.com/a:", "a b", "r.example.com/a@sha256:0"]
        {
            assert!(bad.parse::<Reference>().is_err(), "{bad}");
        }
        for bare in ["digits", "ml/digits:1"] {
            let error = Reference::with_registry(bare).unwrap_err().to_string();
            assert!(error.contains("should begin with a registry"), "{error}");
        }
        assert!(Reference::with_registry("localhost/a:1").is_ok());
    }
}
