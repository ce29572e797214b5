//! Names that Kubernetes, registries and DNS all take.

use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// A DNS label (RFC 1123): 1 to 52 lower-case letters, digits and `-`, beginning with a letter, ending without `-`.
///
/// 52 and not 63, so that Kubernetes can add its suffixes to the names made from it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct ServiceName(String);

/// Most characters of a service name.
pub const LONGEST_NAME: usize = 52;

/// A text that is not, or can't be made, a service name.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "`{0}` can't be a service name: it takes 1 to {LONGEST_NAME} lower-case letters, digits and `-`, \
     beginning with a letter and ending with a letter or a digit"
)]
pub struct NotAServiceName(String);

impl ServiceName {
    /// The name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Derives a service name from a model's name: `Silero_VAD.v5` becomes `silero-vad-v5`.
    pub fn derive(model_name: &str) -> Result<Self, NotAServiceName> {
        let mut name = String::new();
        for c in model_name.chars() {
            match c.to_ascii_lowercase() {
                c @ ('a'..='z' | '0'..='9') => name.push(c),
                _ if !name.is_empty() && !name.ends_with('-') => name.push('-'),
                _ => {}
            }
        }
        if name.starts_with(|c: char| c.is_ascii_digit()) {
            name.insert_str(0, "model-");
        }
        name.truncate(LONGEST_NAME);
        name.trim_end_matches('-').parse().map_err(|_| NotAServiceName(model_name.into()))
    }
}

impl FromStr for ServiceName {
    type Err = NotAServiceName;

    fn from_str(text: &str) -> Result<Self, NotAServiceName> {
        let good = text.len() <= LONGEST_NAME
            && text.starts_with(|c: char| c.is_ascii_lowercase())
            && !text.ends_with('-')
            && text.bytes().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == b'-');
        if good { Ok(ServiceName(text.into())) } else { Err(NotAServiceName(text.into())) }
    }
}

impl TryFrom<String> for ServiceName {
    type Error = NotAServiceName;

    fn try_from(text: String) -> Result<Self, NotAServiceName> {
        text.parse()
    }
}

impl From<ServiceName> for String {
    fn from(name: ServiceName) -> Self {
        name.0
    }
}

impl std::fmt::Display for ServiceName {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_derived_or_refused() {
        for (model, service) in [
            ("digits", "digits"),
            ("Silero_VAD.v5", "silero-vad-v5"),
            ("--a--b--", "a-b"),
            ("3d", "model-3d"),
            ("größe", "gr-e"),
        ] {
            assert_eq!(ServiceName::derive(model).unwrap().as_str(), service);
        }
        for model in ["", "---", "模型"] {
            assert!(ServiceName::derive(model).is_err(), "{model}");
        }
        let long = ServiceName::derive(&"ab-".repeat(40)).unwrap();
        assert!(long.as_str().len() <= LONGEST_NAME && !long.as_str().ends_with('-'));
        for bad in ["", "A", "a-", "-a", "1a", "a_b", &"a".repeat(53)] {
            assert!(bad.parse::<ServiceName>().is_err(), "{bad}");
        }
    }
}
