//! How a config names a key.

use std::convert::Infallible;
use std::path::PathBuf;
use std::str::FromStr;

/// Where a key is to be had from, as `signing.key` in `nimify.yaml` writes it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum KeySource {
    /// `env://NAME`: a PEM text in an environment variable.
    Variable(String),
    /// `exec://COMMAND ARGUMENT…`: a command that signs and keeps the key.
    Command(String),
    /// A PEM file.
    File(PathBuf),
}

impl FromStr for KeySource {
    type Err = Infallible;

    fn from_str(text: &str) -> Result<Self, Infallible> {
        Ok(match text.split_once("://") {
            Some(("env", name)) => KeySource::Variable(name.into()),
            Some(("exec", line)) => KeySource::Command(line.into()),
            _ => KeySource::File(text.into()),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_scheme_tells_variables_from_files() {
        assert_eq!("env://KEY".parse(), Ok(KeySource::Variable("KEY".into())));
        assert_eq!("exec://kms --key 7".parse(), Ok(KeySource::Command("kms --key 7".into())));
        assert_eq!("keys/cosign.key".parse(), Ok(KeySource::File("keys/cosign.key".into())));
    }
}
