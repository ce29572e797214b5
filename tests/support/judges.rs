//! The tools that `tools/setup` installs to judge what nimify makes.

use std::env;
use std::path::PathBuf;

/// A file below the tools' folder. Tests never skip: what is missing is an error.
pub(crate) fn tool(path: &str) -> PathBuf {
    let folder = |name| env::var_os(name).filter(|folder| !folder.is_empty()).map(PathBuf::from);
    let cache = folder("XDG_CACHE_HOME").or_else(|| Some(env::home_dir()?.join(".cache")));
    let path = cache.expect("there is a home").join("nimify-tools").join(path);
    assert!(path.exists(), "`{}` is missing: run tools/setup", path.display());
    path
}
