//! `service request`: posts a file to a running service, as the chart's test does from an image that has no curl.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::client::{self, Json, Patience, Url};

/// A service that was just installed may need a moment until its name and its port are there; a large model may need
/// long for an answer.
const PATIENCE: Patience =
    Patience { again: Duration::from_secs(10), connect: Duration::from_secs(5), answer: Duration::from_secs(60) };

/// Bytes of an answer that are worth printing.
const PRINTED: usize = 4 << 10;

/// Why there is no good answer.
#[derive(Debug, thiserror::Error)]
pub enum Failed {
    /// The body can't be read.
    #[error("can't read the body at `{}`: {source}", path.display())]
    Body {
        /// The file.
        path: PathBuf,
        /// Why not.
        source: std::io::Error,
    },
    /// No answer.
    #[error("no answer from `{url}`: {source}")]
    NoAnswer {
        /// Where.
        url: Url,
        /// Why not.
        source: std::io::Error,
    },
    /// An answer other than 200.
    #[error("`{url}` answered: {status}\n{body}")]
    Refused {
        /// Where.
        url: Box<Url>,
        /// The answer's first line.
        status: String,
        /// The beginning of its body.
        body: String,
    },
}

/// Posts the JSON in the file `body`, or asks by GET without one. The answer's first line if it is 200.
pub fn send(url: &Url, body: Option<&Path>) -> Result<String, Failed> {
    let unread = |path: &Path| {
        let path = path.to_path_buf();
        move |source| Failed::Body { path, source }
    };
    let body = match body {
        Some(path) => {
            let reader = File::open(path).map_err(unread(path))?;
            let metadata = reader.metadata().map_err(unread(path))?;
            if metadata.is_dir() {
                return Err(unread(path)(std::io::ErrorKind::IsADirectory.into()));
            }
            Some(Json { reader, length: metadata.len() })
        }
        None => None,
    };
    let answer =
        client::ask(url, body, PRINTED, PATIENCE).map_err(|source| Failed::NoAnswer { url: url.clone(), source })?;
    if answer.is_ok() {
        return Ok(answer.status);
    }
    let body = String::from_utf8_lossy(&answer.body).into_owned();
    Err(Failed::Refused { url: Box::new(url.clone()), status: answer.status, body })
}
