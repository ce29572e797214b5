//! What the machine says of itself: environment variables and the home folder, read once.

use std::collections::BTreeMap;
use std::path::PathBuf;

/// The environment in which a store is asked.
#[derive(Debug, Clone, Default)]
pub(super) struct Surroundings {
    variables: BTreeMap<String, String>,
    /// The user's home.
    pub(super) home: Option<PathBuf>,
}

impl Surroundings {
    /// The process's own.
    pub(super) fn of_process() -> Self {
        let text = |(name, value): (std::ffi::OsString, std::ffi::OsString)| {
            Some((name.into_string().ok()?, value.into_string().ok()?))
        };
        let variables: BTreeMap<_, _> = std::env::vars_os().filter_map(text).collect();
        Surroundings { variables, home: std::env::var_os("HOME").map(PathBuf::from) }
    }

    /// A variable that isn't empty.
    pub(super) fn get(&self, name: &str) -> Option<&str> {
        self.variables.get(name).map(String::as_str).filter(|value| !value.is_empty())
    }

    /// The variables whose names begin so.
    pub(super) fn beginning<'a>(&'a self, prefix: &'a str) -> impl Iterator<Item = (&'a str, &'a str)> {
        let own = self.variables.iter().filter(move |(name, value)| name.starts_with(prefix) && !value.is_empty());
        own.map(|(name, value)| (name.as_str(), value.as_str()))
    }
}

#[cfg(test)]
impl Surroundings {
    /// Made up.
    pub(super) fn made(variables: &[(&str, &str)], home: &std::path::Path) -> Self {
        let variables = variables.iter().map(|(name, value)| (name.to_string(), value.to_string())).collect();
        Surroundings { variables, home: Some(home.into()) }
    }
}
