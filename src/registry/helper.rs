//! Credential helpers: `docker-credential-NAME get`, the registry's name on standard input, JSON on standard output.

use std::io::{Read, Write};
use std::process::{Command, Stdio};

use serde::Deserialize;
use zeroize::Zeroizing;

use super::Error;
use super::credentials::{Credentials, Secret};
use crate::interrupt::OwnedChild;

/// Most that a helper may answer, bytes.
const LARGEST_ANSWER: u64 = 1 << 20;

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Answer {
    username: String,
    secret: Secret,
}

/// Asks the helper `name` for the credentials for `server`. `None`: it has none.
pub(super) fn ask(name: &str, server: &str, origin: &str) -> Result<Option<Credentials>, Error> {
    let program = format!("docker-credential-{name}");
    let failed = |reason: String| Error::Helper { program: program.clone(), origin: origin.into(), reason };
    if name.contains('/') {
        return Err(failed("its name is a path".into()));
    }
    let mut command = Command::new(&program);
    // Its words go where the user reads ours: it may have something to ask for.
    command.arg("get").stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::inherit());
    let child = command.spawn().map_err(|error| failed(format!("it can't be started: {error}")))?;
    let mut child = OwnedChild(child);
    if let Some(mut stdin) = child.0.stdin.take() {
        // A helper that doesn't read has its say in its exit code.
        _ = stdin.write_all(server.as_bytes());
    }
    let mut text = Zeroizing::new(Vec::new());
    if let Some(stdout) = child.0.stdout.take() {
        stdout.take(LARGEST_ANSWER).read_to_end(&mut text).map_err(|error| failed(error.to_string()))?;
    }
    let status = child.wait().map_err(|error| failed(error.to_string()))?;
    if !status.success() {
        let words = String::from_utf8_lossy(&text);
        // The one message that the protocol fixes.
        if words.trim() == "credentials not found in native keychain" {
            return Ok(None);
        }
        let words: String = words.trim().chars().filter(|c| !c.is_control()).take(200).collect();
        return Err(failed(if words.is_empty() { format!("it ended with {status}") } else { words }));
    }
    let Ok(Answer { username, secret }) = serde_json::from_slice(&text) else {
        return Err(failed("its answer is not the JSON that it should be".into()));
    };
    Ok(match username.as_str() {
        _ if secret.is_empty() => None,
        "<token>" => Some(Credentials::Identity(secret)),
        _ => Some(Credentials::Basic { username, password: secret }),
    })
}
