//! Keys that stay where they are: a command that signs, for key management services and hardware tokens.
//!
//! `exec://COMMAND ARGUMENT…` is split at spaces and run without a shell, twice:
//!
//! - `COMMAND ARGUMENT… public-key` prints the public key, PEM `PUBLIC KEY`;
//! - `COMMAND ARGUMENT… sign` reads the message from its standard input, to its end, and prints the bare signature
//!   over it: 64 bytes of pure Ed25519, or ECDSA over the message's SHA-256 in DER.
//!
//! It succeeds with exit code 0; what it says on standard error goes to the user. What it signed is checked against its
//! public key before it is used.

use std::io::{Read as _, Write as _};
use std::process::{Command, Stdio};

use super::{Error, KeyFault, PublicKey};

/// More than any key or signature, bytes.
const LARGEST_ANSWER: u64 = 64 << 10;

/// A command that holds a key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct KeyCommand {
    line: String,
}

impl KeyCommand {
    pub(super) fn new(line: &str) -> Self {
        KeyCommand { line: line.into() }
    }

    /// How messages name it.
    pub(super) fn origin(&self) -> String {
        format!("the command `{}`", self.line)
    }

    /// Asks for the public key.
    pub(super) fn public_key(&self) -> Result<PublicKey, Error> {
        PublicKey::from_pem(&self.ask("public-key", b"")?, &self.origin())
    }

    /// Asks for a signature over `message`, and checks that it is one of `public`.
    pub(super) fn sign(&self, message: &[u8], public: &PublicKey) -> Result<Vec<u8>, Error> {
        let signature = self.ask("sign", message)?;
        if public.verifies(message, &signature) {
            return Ok(signature);
        }
        Err(self.failed("what it printed for `sign` is no signature of its own public key".into()))
    }

    fn failed(&self, what: String) -> Error {
        Error::Key { origin: self.origin(), fault: KeyFault::Command(what) }
    }

    fn ask(&self, verb: &str, input: &[u8]) -> Result<Vec<u8>, Error> {
        let mut words = self.line.split_whitespace();
        let program = words.next().ok_or_else(|| self.failed("it is empty".into()))?;
        let mut command = Command::new(program);
        command.args(words).arg(verb).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::inherit());
        let mut child = command.spawn().map_err(|error| self.failed(format!("it can't be run: {error}")))?;
        let (stdin, stdout) = (child.stdin.take(), child.stdout.take());
        let mut answer = Vec::new();
        let read = std::thread::scope(|scope| {
            // One that doesn't read its input has its reasons: its answer counts.
            scope.spawn(move || stdin.map(|mut stdin| stdin.write_all(input)));
            stdout.map_or(Ok(0), |stdout| stdout.take(LARGEST_ANSWER).read_to_end(&mut answer))
        });
        let status = child.wait().map_err(|error| self.failed(format!("it can't be waited for: {error}")))?;
        read.map_err(|error| self.failed(format!("its answer can't be read: {error}")))?;
        if !status.success() {
            return Err(self.failed(format!("asked to `{verb}`, it ended with {status}")));
        }
        Ok(answer)
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::path::Path;

    use super::super::{Algorithm, KeySource, Password, SigningKey};

    /// A command that prints what is in files.
    fn script(folder: &Path, public: &str, signature: &[u8]) -> KeySource {
        fs::write(folder.join("public-key"), public).unwrap();
        fs::write(folder.join("sign"), signature).unwrap();
        let path = folder.join("command");
        let text = format!("#!/bin/sh\ncat >{0}/input\ncat {0}/$2\n", folder.display());
        fs::write(&path, text).unwrap();
        // Not the file itself: another thread that forks meanwhile may still have it open to write.
        format!("exec://sh {} --slot-1", path.display()).parse().unwrap()
    }

    #[test]
    fn a_command_signs_and_is_not_believed_blindly() {
        for algorithm in [Algorithm::Ed25519, Algorithm::EcdsaP256] {
            let folder = tempfile::tempdir().unwrap();
            let key = SigningKey::generate_as(algorithm).unwrap();
            let source = script(folder.path(), &key.public().to_pem(), &key.sign(b"message").unwrap());
            assert_eq!(source.public_key().unwrap(), key.public());
            let held = source.signing_key(&Password::default()).unwrap();
            assert_eq!(held.public(), key.public());
            assert_eq!(held.sign(b"message").unwrap(), key.sign(b"message").unwrap());
            assert_eq!(fs::read(folder.path().join("input")).unwrap(), b"message");
            let error = held.sign(b"another message").unwrap_err();
            assert!(error.to_string().contains("is no signature of its own public key"), "{error}");
            assert!(held.to_pem(&Password::default()).is_err(), "it can't be taken out");
        }
    }

    #[test]
    fn commands_that_fail_are_named() {
        for (line, part) in [
            ("/nowhere/at-all", "the command `/nowhere/at-all` can't be used: it can't be run"),
            ("false", "asked to `public-key`, it ended with exit status: 1"),
            ("true", "not a PEM text"),
            (" ", "it is empty"),
        ] {
            let error = KeySource::Command(line.into()).public_key().unwrap_err().to_string();
            assert!(error.contains(part), "{error}");
        }
    }
}
