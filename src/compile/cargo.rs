//! Cargo in the staged workspace: which crates there are, and the build.

use std::collections::BTreeSet;
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde::Deserialize;

use super::child::{self, Line};
use super::stage::Stage;
use super::toolchain::{self, Toolchain};
use super::{Error, Progress, Stop};

/// The profile, again and on the command line: a user's configuration of cargo would beat the manifest's.
const PROFILE: [&str; 8] = [
    "profile.release.opt-level=3",
    "profile.release.debug=false",
    "profile.release.strip=true",
    "profile.release.lto=false",
    // A tenth smaller than in sixteen, and no slower. The service's own crate is too small for it to matter.
    "profile.release.codegen-units=1",
    "profile.release.panic=\"unwind\"",
    "profile.release.incremental=false",
    "profile.release.overflow-checks=false",
];

/// Crates that requests don't spend their time in, or only those that ask for a coding or TLS: they are compiled for size,
/// which takes another five percent off the image's service.
const COLD: [&str; 17] = [
    "base64",
    "brotli",
    "brotli-decompressor",
    "libloading",
    "ort",
    "prost",
    "rustix",
    "rustls",
    "rustls-webpki",
    "sha1",
    "tokio-rustls",
    "tracing-core",
    "tracing-serde",
    "tracing-subscriber",
    "zstd",
    "zstd-safe",
    "zstd-sys",
];

/// The whole profile, setting by setting.
fn profile() -> impl Iterator<Item = String> {
    let cold = COLD.iter().map(|name| format!("profile.release.package.{name}.opt-level=\"s\""));
    PROFILE.iter().map(|setting| setting.to_string()).chain(cold)
}

/// What stands in the binary for cargo's home, the crates below it, and the staged workspace.
const HOME: &str = "/cargo";
const REGISTRY: &str = "/cargo/registry";
const STAGE: &str = "/nimify";

/// All that one run of cargo needs to know.
pub(super) struct Cargo<'a> {
    pub stage: &'a Stage,
    pub toolchain: &'a Toolchain,
    pub offline: bool,
    pub stop: Stop<'a>,
    /// The user's folder of the crate, which messages are to name.
    pub folder: &'a Path,
}

/// What the service is made of.
pub(super) struct Crates {
    /// Number of crates.
    pub count: usize,
    /// The folders below which cargo has unpacked their sources.
    roots: BTreeSet<PathBuf>,
}

impl Cargo<'_> {
    /// Fetches what is missing, and says what there is.
    pub(super) fn fetch(&self) -> Result<Crates, Error> {
        let mut command = self.command("metadata");
        command.args(["--format-version", "1", "--filter-platform", &self.toolchain.target]);
        let ended = self.run(&mut command, &mut |_| {})?;
        if !ended.success {
            return Err(self.failure(ended.errors));
        }
        let metadata: Metadata = match serde_json::from_str(&ended.output) {
            Ok(metadata) => metadata,
            Err(error) => return Err(self.failure(error.to_string())),
        };
        Ok(Crates { count: self.count()?, roots: metadata.roots() })
    }

    /// How many crates the service is made of. The metadata don't say: they list crates that no feature turns on.
    fn count(&self) -> Result<usize, Error> {
        let mut command = self.command("tree");
        command.args(["--package", "service", "--edges", "normal,build", "--target", &self.toolchain.target]);
        command.args(["--prefix", "none", "--format", "{p}"]);
        let ended = self.run(&mut command, &mut |_| {})?;
        // A crate that stood before is marked at the end of its line; name and version come first.
        let name = |line: &str| line.split(' ').take(2).collect::<Vec<_>>().join(" ");
        let names: BTreeSet<String> = ended.output.lines().filter(|line| !line.is_empty()).map(name).collect();
        if ended.success { Ok(names.len()) } else { Err(self.failure(ended.errors)) }
    }

    /// Compiles the service and gives the path of its binary.
    pub(super) fn build(&self, crates: &Crates, progress: &mut dyn FnMut(Progress)) -> Result<PathBuf, Error> {
        let mut command = self.command("build");
        command.args(["--release", "--package", "service", "--bin", "service"]);
        command.args(["--message-format", "json", "--target", &self.toolchain.target]);
        command.arg("--target-dir").arg(self.stage.target());
        for setting in profile() {
            command.args(["--config", &setting]);
        }
        command.args(["--config", &format!("target.{}.linker={:?}", self.toolchain.target, self.toolchain.linker)]);
        command.env("CARGO_ENCODED_RUSTFLAGS", self.flags(crates));

        let mut seen = BTreeSet::new();
        let mut executable = None;
        let mut diagnostics = String::new();
        let ended = self.run(&mut command, &mut |line| match serde_json::from_str(line) {
            Ok(Message::Artifact { package_id, target, executable: made }) => {
                executable = made.or(executable.take());
                // A build script is compiled before its crate is: the crate is done with its own artifact.
                if !target.kind.iter().any(|kind| kind == "custom-build") && seen.insert(package_id) {
                    progress(Progress::Compiled { crates: seen.len().min(crates.count), of: crates.count });
                }
            }
            Ok(Message::Words { target, message }) if target.name == "service" => {
                let text = in_folder(&message.rendered.unwrap_or_default(), self.folder);
                // Errors are told once, in the end.
                if message.level == "warning" { progress(Progress::Diagnostic(text)) } else { diagnostics += &text }
            }
            Ok(Message::Words { message, .. }) if message.level == "error" => {
                diagnostics += &message.rendered.unwrap_or_default();
            }
            _ => {}
        })?;
        if let Some(executable) = executable.filter(|_| ended.success) {
            return Ok(executable);
        }
        if diagnostics.is_empty() {
            return Err(self.failure(ended.errors));
        }
        Err(match no_space(&diagnostics).or_else(|| no_space(&ended.errors)) {
            Some(output) => Error::NoSpace { output },
            // The compiler's words come first: they name the line. Cargo's only say that it failed.
            None => Error::Build { folder: self.folder.into(), output: diagnostics.trim_end().to_string() },
        })
    }

    fn command(&self, subcommand: &str) -> Command {
        let mut command = toolchain::command("cargo");
        command.args([subcommand, "--locked", "--manifest-path"]).arg(self.stage.folder().join("Cargo.toml"));
        if self.offline {
            command.arg("--offline");
        }
        command
    }

    /// All of profile and flags that the bytes depend on: a part of the cache's key.
    pub(super) fn settings(toolchain: &Toolchain) -> String {
        let profile = profile().collect::<Vec<_>>().join(" ");
        format!("{profile} {} {HOME} {REGISTRY} {STAGE}", toolchain.baseline_cpu())
    }

    /// Flags of rustc, in the encoding of `CARGO_ENCODED_RUSTFLAGS`, which beats every other source of flags.
    ///
    /// Paths are replaced so that the binary doesn't depend on where cache and crates lie. The last one that fits
    /// counts, hence from the general to the particular.
    fn flags(&self, crates: &Crates) -> OsString {
        let mut flags = vec![OsString::from(format!("-Ctarget-cpu={}", self.toolchain.baseline_cpu()))];
        let mut remap = |from: &Path, to: &str| {
            let mut flag = OsString::from("--remap-path-prefix=");
            flag.push(from);
            flag.push(format!("={to}"));
            flags.push(flag);
        };
        if let Some(home) = toolchain::cargo_home() {
            remap(&home, HOME);
        }
        for root in &crates.roots {
            remap(root, REGISTRY);
        }
        if let Some((from, to)) = self.toolchain.library_sources() {
            remap(&from, &to);
        }
        remap(self.stage.folder(), STAGE);
        flags.join(&OsString::from("\x1f"))
    }

    fn run(&self, command: &mut Command, heard: &mut dyn FnMut(&str)) -> Result<Ended, Error> {
        let (mut output, mut errors) = (String::new(), String::new());
        let status = child::run(command, self.stop, &mut |line| match line {
            Line::Out(line) => {
                heard(&line);
                output += &line;
                output.push('\n');
            }
            Line::Error(line) if is_noise(&line) => {}
            Line::Error(line) => {
                errors += &line;
                errors.push('\n');
            }
        });
        match status.map_err(|source| Error::CargoMissing { program: "cargo", source })? {
            Some(status) => Ok(Ended { success: status.success(), output, errors }),
            None => Err(Error::Interrupted),
        }
    }

    /// Which error cargo's words are.
    fn failure(&self, output: String) -> Error {
        const NETWORK: [&str; 6] = [
            "failed to download",
            "failed to fetch",
            "Could not resolve host",
            "Couldn't connect",
            "network failure",
            "failed to query replaced source registry",
        ];
        let output = output.trim_end().to_string();
        if self.offline && ["offline", "--offline"].iter().any(|word| output.contains(word)) {
            return Error::NotCached { output };
        }
        if let Some(output) = no_space(&output) {
            return Error::NoSpace { output };
        }
        if NETWORK.iter().any(|words| output.contains(words)) {
            return Error::Network { output };
        }
        Error::Build { folder: self.folder.into(), output: in_folder(&output, self.folder) }
    }
}

struct Ended {
    success: bool,
    output: String,
    errors: String,
}

/// How the system says that the disk is full, in the scrubbed environment's language, and how a linker ends whose
/// output is mapped to one.
const NO_SPACE: [&str; 2] = ["No space left on device", "Bus error"];

/// The last line that tells of a full disk.
fn no_space(text: &str) -> Option<String> {
    let line = text.lines().rfind(|line| NO_SPACE.iter().any(|words| line.contains(words)));
    line.map(|line| line.trim().to_string())
}

/// What cargo says of its progress, which is reported otherwise.
fn is_noise(line: &str) -> bool {
    let word = line.trim_start().split(' ').next().unwrap_or_default();
    line.starts_with("  ")
        && ["Compiling", "Finished", "Downloading", "Downloaded", "Updating", "Locking", "Blocking"].contains(&word)
}

/// The compiler's text with the paths of the user's folder: it names files as they lie in the staged workspace.
fn in_folder(text: &str, folder: &Path) -> String {
    let own = |line: &str| -> Option<String> {
        let at = line.find("--> service/").or_else(|| line.find("::: service/"))?;
        let (before, path) = line.split_at(at + 4);
        Some(format!("{before}{}", folder.join(path.strip_prefix("service/")?).display()))
    };
    text.split_inclusive('\n').map(|line| own(line).unwrap_or_else(|| line.to_string())).collect()
}

#[derive(Deserialize)]
#[serde(tag = "reason")]
enum Message {
    #[serde(rename = "compiler-artifact")]
    Artifact { package_id: String, target: Target, executable: Option<PathBuf> },
    #[serde(rename = "compiler-message")]
    Words { target: Target, message: Diagnostic },
    #[serde(other)]
    Other,
}

#[derive(Deserialize)]
struct Target {
    name: String,
    kind: Vec<String>,
}

#[derive(Deserialize)]
struct Diagnostic {
    level: String,
    rendered: Option<String>,
}

#[derive(Deserialize)]
struct Metadata {
    packages: Vec<Package>,
}

#[derive(Deserialize)]
struct Package {
    source: Option<String>,
    manifest_path: PathBuf,
}

impl Metadata {
    /// The folders that hold the folders of fetched crates.
    fn roots(&self) -> BTreeSet<PathBuf> {
        let fetched = self.packages.iter().filter(|package| package.source.is_some());
        fetched.filter_map(|package| Some(package.manifest_path.parent()?.parent()?.to_path_buf())).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_compilers_paths_become_the_users() {
        let text =
            "error: x\n --> service/src/hooks.rs:3:5\n  |\n::: service/src/api.rs:1\n--> runtime/src/lib.rs:1:1\n";
        let own = "error: x\n --> /home/u/m/service/src/hooks.rs:3:5\n  |\n::: /home/u/m/service/src/api.rs:1\n--> runtime/src/lib.rs:1:1\n";
        assert_eq!(in_folder(text, Path::new("/home/u/m/service")), own);
    }

    #[test]
    fn crates_compiled_for_size_are_crates_of_a_service() {
        let lock = nimify_runtime::sources::LOCK;
        let missing: Vec<_> = COLD.iter().filter(|name| !lock.contains(&format!("name = \"{name}\"\n"))).collect();
        assert!(missing.is_empty(), "{missing:?}");
    }

    #[test]
    fn words_of_progress_are_no_errors() {
        assert!(is_noise("   Compiling hyper v1.0.0") && is_noise("    Finished `release` profile"));
        assert!(!is_noise("error: could not compile") && !is_noise("  Compilingx") && !is_noise(""));
    }

    #[test]
    fn messages_of_cargo_are_read() {
        let message = r#"{"reason":"compiler-artifact","package_id":"p","manifest_path":"/m","target":{"kind":["bin"],
            "name":"service","src_path":"/s"},"profile":{},"features":[],"filenames":[],"executable":"/e","fresh":false}"#;
        assert!(matches!(serde_json::from_str(message).unwrap(), Message::Artifact { executable: Some(_), .. }));
        let message = r#"{"reason":"build-finished","success":true}"#;
        assert!(matches!(serde_json::from_str(message).unwrap(), Message::Other));
    }
}
