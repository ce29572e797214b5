//! The user's own pip: which wheels there are, and the wheels themselves, each held to its digest.

use std::ffi::{OsStr, OsString};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use serde::Deserialize;

use super::{Error, files};
use crate::digest::Digest;
use crate::image::Resolved;
use crate::image::error::Architecture;
use crate::interrupt;

/// The Python whose wheels are taken: its own modules in them are not used.
const PYTHON: [&str; 10] =
    ["--python-version", "3.11", "--implementation", "cp", "--abi", "cp311", "--abi", "abi3", "--abi", "none"];

/// The oldest C libraries that wheels name, newest first.
const PLATFORMS: [&str; 7] = [
    "manylinux_2_28",
    "manylinux_2_27",
    "manylinux_2_17",
    "manylinux2014",
    "manylinux2010",
    "manylinux_2_12",
    "manylinux1",
];

/// What `pip install --report` tells, as far as it is needed.
#[derive(Deserialize)]
struct Report {
    install: Vec<Item>,
}

#[derive(Deserialize)]
struct Item {
    metadata: Metadata,
    download_info: DownloadInfo,
}

#[derive(Deserialize)]
struct Metadata {
    name: String,
    version: String,
}

#[derive(Deserialize)]
struct DownloadInfo {
    archive_info: ArchiveInfo,
}

#[derive(Deserialize)]
struct ArchiveInfo {
    hashes: Hashes,
}

#[derive(Deserialize)]
struct Hashes {
    sha256: String,
}

/// The newest wheels that meet these requirements, without fetching them.
pub(super) fn resolve(
    python: &OsStr,
    architecture: Architecture,
    requirements: &[String],
) -> Result<Vec<(String, Resolved)>, Error> {
    let nowhere = tempfile::tempdir().map_err(files("make", &std::env::temp_dir()))?;
    let mut pip = pip(python, "install", architecture);
    pip.args(["--dry-run", "--ignore-installed", "--report", "-", "--target"]).arg(nowhere.path()).args(requirements);
    let said = run(&mut pip)?;
    parse(&said.stdout).ok_or_else(|| Error::Pip { words: "its report can't be read: it takes pip 23 or newer".into() })
}

fn parse(report: &[u8]) -> Option<Vec<(String, Resolved)>> {
    let report: Report = serde_json::from_slice(report).ok()?;
    let one = |item: Item| {
        let digest: Digest = format!("sha256:{}", item.download_info.archive_info.hashes.sha256).parse().ok()?;
        Some((normal(&item.metadata.name), Resolved { version: item.metadata.version, digest }))
    };
    report.install.into_iter().map(one).collect()
}

/// A package's name as indexes have it.
fn normal(name: &str) -> String {
    name.to_ascii_lowercase().replace(['_', '.'], "-")
}

/// Fetches one wheel into `folder`; pip refuses one with another digest.
pub(super) fn fetch(
    python: &OsStr,
    architecture: Architecture,
    name: &str,
    resolved: &Resolved,
    folder: &Path,
) -> Result<PathBuf, Error> {
    let list = folder.join("requirements.txt");
    let text = format!("{name}=={} --hash=sha256:{}\n", resolved.version, resolved.digest.hex());
    fs::write(&list, text).map_err(files("write", &list))?;
    let mut pip = pip(python, "download", architecture);
    pip.args(["--no-cache-dir", "--require-hashes", "--requirement"]).arg(&list).arg("--dest").arg(folder);
    let differs = || Error::Digest { name: name.into(), digest: resolved.digest };
    run(&mut pip).map_err(|error| match error {
        Error::Pip { words } if words.contains("Expected sha256") => differs(),
        other => other,
    })?;
    let wheels = fs::read_dir(folder).map_err(files("list", folder))?.filter_map(|entry| Some(entry.ok()?.path()));
    let wheel = wheels.into_iter().find(|path| path.extension() == Some(OsStr::new("whl")));
    let wheel = wheel.ok_or_else(|| Error::Pip { words: format!("it fetched no wheel of `{name}`") })?;
    let (digest, _) = Digest::of_file(&wheel).map_err(files("read", &wheel))?;
    if digest == resolved.digest {
        Ok(wheel)
    } else {
        Err(Error::Digest { name: name.into(), digest: resolved.digest })
    }
}

fn pip(python: &OsStr, command: &str, architecture: Architecture) -> Command {
    let mut pip = Command::new(python);
    pip.args(["-m", "pip", command, "--quiet", "--no-input", "--disable-pip-version-check"]);
    pip.args(["--no-deps", "--only-binary=:all:"]).args(PYTHON).current_dir("/");
    let platform = |name| [OsString::from("--platform"), format!("{name}_{}", architecture.kernel()).into()];
    pip.args(PLATFORMS.iter().flat_map(platform));
    pip
}

fn run(pip: &mut Command) -> Result<Output, Error> {
    let said = interrupt::output(pip).map_err(|error| Error::Pip { words: format!("it can't be run: {error}") })?;
    if said.status.success() {
        return Ok(said);
    }
    Err(Error::Pip { words: crate::image::onnxruntime::last_lines(&said.stderr) })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_report_tells_versions_and_digests() {
        let digest = Digest::of("wheel");
        let item = |hashes: serde_json::Value| {
            serde_json::json!({ "version": "1", "install": [{
                "metadata": { "name": "nvidia_cuda.Runtime", "version": "13.5.37", "summary": "" },
                "download_info": { "url": "…", "archive_info": { "hashes": hashes } },
            }] })
        };
        let report = item(serde_json::json!({ "sha256": digest.hex() })).to_string();
        let expected = vec![("nvidia-cuda-runtime".to_string(), Resolved { version: "13.5.37".into(), digest })];
        assert_eq!(parse(report.as_bytes()), Some(expected));
        assert_eq!(parse(item(serde_json::json!({ "sha256": "00" })).to_string().as_bytes()), None);
        assert_eq!(parse(b"Collecting"), None);
    }
}
