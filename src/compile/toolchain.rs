//! Which compiler compiles, and the environment it may see.

use std::env;
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::Command;

use super::Error;
use crate::interrupt;

/// The compiler that `PATH` names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Toolchain {
    /// Such as `rustc 1.95.0 (59807616e 2026-04-14)`.
    pub version: String,
    /// What is compiled for, such as `x86_64-unknown-linux-gnu`: the machine that compiles, or another.
    pub target: String,
    /// The program that links.
    pub linker: String,
    /// The commit that rustc was made from.
    commit: String,
}

impl Toolchain {
    /// Asks rustc; for another machine than this one, looks for what that takes too.
    pub(super) fn find(target: Option<&str>) -> Result<Self, Error> {
        let output = interrupt::output(command("rustc").arg("-vV"));
        let output = output.map_err(|source| match interrupt::check() {
            Ok(()) => Error::CargoMissing { program: "rustc", source },
            Err(_) => Error::Interrupted,
        })?;
        let text = String::from_utf8_lossy(&output.stdout);
        let failed = || Error::Toolchain { output: String::from_utf8_lossy(&output.stderr).trim_end().to_string() };
        if !output.status.success() {
            return Err(failed());
        }
        let field = |name: &str| text.lines().find_map(|line| line.strip_prefix(name)).map(str::trim);
        let release = field("release:").ok_or_else(failed)?;
        let needed = env!("CARGO_PKG_RUST_VERSION");
        if !is_at_least(release, needed) {
            return Err(Error::RustTooOld { found: release.into(), needed });
        }
        let version = text.lines().next().unwrap_or_default().to_string();
        let commit = field("commit-hash:").unwrap_or("unknown").to_string();
        let host = field("host:").ok_or_else(failed)?;
        let target = target.unwrap_or(host).to_string();
        let linker = if target == host { "cc".into() } else { cross_linker(&target)? };
        Ok(Toolchain { version, target, linker, commit })
    }

    /// For people: version and target.
    pub(super) fn describe(&self) -> String {
        format!("{} {}", self.version, self.target)
    }

    /// The path of the standard library's sources, where they are installed, and the one that they have elsewhere.
    pub(super) fn library_sources(&self) -> Option<(PathBuf, String)> {
        let output = command("rustc").args(["--print", "sysroot"]).output().ok()?;
        let sysroot = String::from_utf8(output.stdout).ok()?;
        let sources = Path::new(sysroot.trim_end()).join("lib/rustlib/src/rust");
        Some((sources, format!("/rustc/{}", self.commit)))
    }

    /// The CPU that every machine of the architecture has, so that a binary runs elsewhere and is the same elsewhere.
    pub(super) fn baseline_cpu(&self) -> &'static str {
        if self.target.starts_with("x86_64") { "x86-64" } else { "generic" }
    }
}

/// The linker for another machine than this one, which needs the standard library for it too.
///
/// It is the C compiler by the name that distributions give it, which compiles the service's few parts in C as well.
pub(super) fn cross_linker(target: &str) -> Result<String, Error> {
    let output = interrupt::output(command("rustc").args(["--print", "target-libdir", "--target", target]));
    let library = output.ok().map(|output| PathBuf::from(String::from_utf8_lossy(&output.stdout).trim_end()));
    if !library.is_some_and(|folder| folder.is_dir()) {
        return Err(Error::CrossLibrary { target: target.into() });
    }
    let linker = format!("{}-gcc", target.replace("-unknown-", "-"));
    match interrupt::output(command(&linker).arg("--version")) {
        Ok(output) if output.status.success() => Ok(linker),
        _ => Err(Error::CrossLinker { target: target.into(), linker }),
    }
}

/// Compares the numbers of two versions; what follows the numbers (`-nightly`) doesn't count.
fn is_at_least(version: &str, needed: &str) -> bool {
    let numbers =
        |text: &str| -> Vec<u64> { text.split(['.', '-', '+']).map_while(|part| part.parse().ok()).collect() };
    numbers(version) >= numbers(needed)
}

/// A command in a scrubbed environment, run at the root of the file system: no foreign flags, profiles, wrappers or
/// folders with a configuration of their own. What finds the toolchain and the registries stays.
pub(super) fn command(program: &str) -> Command {
    let mut command = Command::new(program);
    command.current_dir("/").env_clear().envs(env::vars_os().filter(|(name, _)| stays(name)));
    // The program found on `PATH`, whatever a configuration says; and no wrapper, which an empty name means.
    command.env("RUSTC", "rustc").env("RUSTC_WRAPPER", "").env("RUSTC_WORKSPACE_WRAPPER", "");
    command.env("CARGO_TERM_COLOR", "never").env("CARGO_TERM_PROGRESS_WHEN", "never").env("LC_ALL", "C");
    command
}

fn stays(name: &OsString) -> bool {
    const NAMES: [&str; 7] = ["PATH", "HOME", "CARGO_HOME", "TMPDIR", "SSL_CERT_FILE", "SSL_CERT_DIR", "SSH_AUTH_SOCK"];
    const PREFIXES: [&str; 4] = ["RUSTUP_", "CARGO_REGISTRIES_", "CARGO_HTTP_", "CARGO_NET_"];
    let Some(name) = name.to_str() else { return false };
    let proxy = ["http_proxy", "https_proxy", "no_proxy", "all_proxy"].iter().any(|p| name.eq_ignore_ascii_case(p));
    proxy || NAMES.contains(&name) || PREFIXES.iter().any(|prefix| name.starts_with(prefix))
}

/// Where cargo keeps what it fetches.
pub(super) fn cargo_home() -> Option<PathBuf> {
    let named = env::var_os("CARGO_HOME").filter(|home| !home.is_empty()).map(PathBuf::from);
    let home = named.or_else(|| Some(env::home_dir()?.join(".cargo")))?;
    Some(home.canonicalize().unwrap_or_else(|_| Path::new("/").join(home)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_compare_by_number() {
        assert!(is_at_least("1.95.0", "1.92") && is_at_least("1.92.0-nightly", "1.92") && is_at_least("2.0.0", "1.92"));
        assert!(!is_at_least("1.9.0", "1.92") && !is_at_least("1.91.9", "1.92") && !is_at_least("nonsense", "1.92"));
    }

    #[test]
    fn flags_profiles_and_wrappers_stay_outside() {
        for name in ["RUSTFLAGS", "CARGO_PROFILE_RELEASE_LTO", "RUSTC_WRAPPER", "CARGO_BUILD_TARGET", "CFLAGS", "LANG"]
        {
            assert!(!stays(&name.into()), "{name}");
        }
        for name in ["PATH", "HTTPS_PROXY", "https_proxy", "CARGO_REGISTRIES_MIRROR_INDEX", "RUSTUP_HOME"] {
            assert!(stays(&name.into()), "{name}");
        }
    }

    #[test]
    fn the_compiler_of_this_machine_is_found() {
        let toolchain = Toolchain::find(None).unwrap();
        assert!(toolchain.version.starts_with("rustc ") && toolchain.target.contains('-'), "{toolchain:?}");
        assert_eq!(toolchain.linker, "cc");
    }
}
