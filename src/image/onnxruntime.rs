//! Finding the pinned ONNX Runtime library: the user's own file, the cache, an installed Python package, or the
//! wheel that the user's pip fetches (so that their index, mirrors and proxies hold).

use std::ffi::{OsStr, OsString};
use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};
use std::process::Command;

use super::error::{Architecture, Attempt, Error, files};
use super::hashing::Hashing;
use crate::cache::Cache;
use crate::digest::Digest;
use crate::interrupt::{self, Stoppable};

/// The release that the runtime speaks to (`ort`'s `api-31`).
pub const VERSION: &str = "1.31.1";

/// The library's file name, in the wheel as in the image.
pub const FILE_NAME: &str = "libonnxruntime.so.1.31.1";

/// Names a library file of the user's own.
pub const OVERRIDE: &str = "NIMIFY_ONNXRUNTIME";

/// SHA-256 of the library in the wheels of the pinned release.
pub fn pinned(architecture: Architecture) -> Digest {
    match architecture {
        Architecture::Amd64 => "sha256:fc44112fbe06d7d689c57e11d3862031f64711007e4ee020f8eed5185fd2c1d3",
        Architecture::Arm64 => "sha256:8aa3b76b28c778a2b1dd660d34161adb1d508c9ccd04ff9dc80e26eca5df8467",
    }
    .parse()
    .expect("the pinned digests are well-formed")
}

/// Of wheels for other versions of Python, the library may differ: the pinned digests are from these.
const PYTHON: [&str; 4] = ["--python-version", "3.11", "--abi", "cp311"];

/// More than any release's library, unpacked.
const LARGEST_LIBRARY: u64 = 512 << 20;

/// What is asked for.
#[derive(Debug, Clone)]
pub struct Request<'a> {
    /// For which processor.
    pub architecture: Architecture,
    /// The user's own library, from `NIMIFY_ONNXRUNTIME`.
    pub given: Option<PathBuf>,
    /// Where a found library is kept.
    pub cache: &'a Cache,
    /// The Python whose packages and pip are asked: `python3`.
    pub python: OsString,
    /// No pip.
    pub offline: bool,
}

impl<'a> Request<'a> {
    /// A request by this process's environment.
    pub fn from_environment(architecture: Architecture, cache: &'a Cache, offline: bool) -> Self {
        let given = std::env::var_os(OVERRIDE).filter(|path| !path.is_empty()).map(PathBuf::from);
        Request { architecture, given, cache, python: "python3".into(), offline }
    }
}

/// A library that was found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OnnxRuntime {
    /// The file: the user's own, or one in the cache.
    pub path: PathBuf,
    /// Its digest.
    pub digest: Digest,
    /// Where it came from.
    pub source: Source,
}

/// Where a library came from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Source {
    /// `NIMIFY_ONNXRUNTIME`; the digest may be any.
    Given,
    /// The cache.
    Cache,
    /// An installed Python package.
    Package,
    /// The wheel, by pip.
    Wheel,
}

impl OnnxRuntime {
    /// Whether it is the very library that this release of nimify was tested with.
    pub fn is_pinned(&self, architecture: Architecture) -> bool {
        self.digest == pinned(architecture)
    }
}

/// Finds the library, asking one source after the other. What pip or a package gives is checked against the pinned
/// digest and kept in the cache; a source that doesn't match gives way to the next.
pub fn locate(request: &Request<'_>) -> Result<OnnxRuntime, Error> {
    let pinned = pinned(request.architecture);
    if let Some(path) = &request.given {
        let path = std::path::absolute(path).map_err(files("find", path))?;
        let (digest, _) = Digest::of_file(&path).map_err(files("read", &path))?;
        return Ok(OnnxRuntime { path, digest, source: Source::Given });
    }
    let mut source = Source::Cache;
    let check = |entry: &Path| {
        let path = entry.join(FILE_NAME);
        Digest::of_file(&path).is_ok_and(|(digest, _)| digest == pinned).then_some(path)
    };
    let path = request.cache.take("onnxruntime", &pinned, check, |stage| {
        source = fill(request, &stage.join(FILE_NAME))?;
        Ok::<(), Error>(())
    })?;
    Ok(OnnxRuntime { path, digest: pinned, source })
}

/// Writes the pinned library to `target` from the first source that has it.
fn fill(request: &Request<'_>, target: &Path) -> Result<Source, Error> {
    let pinned = pinned(request.architecture);
    let mut tried = Vec::new();
    let mut note = |source: String, answer: String| tried.push(Attempt { source, answer });
    note("the cache".into(), "it isn't there yet".into());
    let other = |digest: Digest| format!("its digest is {digest}, not {pinned}");
    match installed(&request.python) {
        Ok(path) => match copy(open(&path), target) {
            Ok(digest) if digest == pinned => return Ok(Source::Package),
            Ok(digest) => note(format!("`{}`", path.display()), other(digest)),
            Err(Refusal::Source(answer)) => note(format!("`{}`", path.display()), answer),
            Err(Refusal::Target(error)) => return Err(files("write", target)(error)),
        },
        Err(answer) => note("an installed Python package".into(), answer),
    }
    if request.offline {
        note("pip".into(), "not asked: offline".into());
    } else {
        match wheel(request, target) {
            Ok(digest) if digest == pinned => return Ok(Source::Wheel),
            Ok(digest) => note("pip's wheel".into(), other(digest)),
            Err(Refusal::Source(answer)) => note("pip".into(), answer),
            Err(Refusal::Target(error)) => return Err(files("write", target)(error)),
        }
    }
    Err(Error::OnnxRuntime { version: VERSION, architecture: request.architecture, tried })
}

/// Prints the folder of the package `onnxruntime` without importing it.
const FIND_PACKAGE: &str = "import importlib.util as u; s = u.find_spec('onnxruntime'); \
                            print(s.submodule_search_locations[0] if s else '')";

/// The library of an installed Python package, whatever its release.
fn installed(python: &OsStr) -> Result<PathBuf, String> {
    // In a folder of no one's: Python looks for packages where it stands.
    let output = interrupt::output(Command::new(python).args(["-c", FIND_PACKAGE]).current_dir("/"));
    let output = output.map_err(|error| format!("`{}` can't be run: {error}", python.display()))?;
    let folder = String::from_utf8_lossy(&output.stdout).trim().to_string();
    if !output.status.success() || folder.is_empty() {
        return Err(format!("`{}` has no package `onnxruntime`", python.display()));
    }
    let folder = Path::new(&folder).join("capi");
    let path = folder.join(FILE_NAME);
    if path.is_file() { Ok(path) } else { Err(format!("`{}` has no `{FILE_NAME}`", folder.display())) }
}

/// The library out of the wheel that pip fetches.
fn wheel(request: &Request<'_>, target: &Path) -> Result<Digest, Refusal> {
    let words = |error: std::io::Error| Refusal::Source(error.to_string());
    let folder = tempfile::tempdir().map_err(words)?;
    let mut pip = Command::new(&request.python);
    pip.args(["-m", "pip", "download", "--quiet", "--no-input", "--disable-pip-version-check"])
        .args(["--no-deps", "--only-binary=:all:", "--implementation", "cp"])
        .args(PYTHON)
        .args(["--platform", &format!("manylinux_2_28_{}", request.architecture.kernel())])
        .args(["--platform", &format!("manylinux_2_27_{}", request.architecture.kernel())])
        .arg("--dest")
        .arg(folder.path())
        .arg(format!("onnxruntime=={VERSION}"))
        .current_dir("/");
    let output = interrupt::output(&mut pip)
        .map_err(|error| Refusal::Source(format!("`{}` can't be run: {error}", request.python.display())))?;
    if !output.status.success() {
        return Err(Refusal::Source(last_lines(&output.stderr)));
    }
    let wheel = fs::read_dir(folder.path()).map_err(words)?.next();
    let wheel = wheel.ok_or_else(|| Refusal::Source("it fetched nothing".into()))?.map_err(words)?;
    unpack(&wheel.path(), target)
}

/// The library out of a wheel.
fn unpack(wheel: &Path, target: &Path) -> Result<Digest, Refusal> {
    let name = format!("onnxruntime/capi/{FILE_NAME}");
    let mut archive = zip::ZipArchive::new(open(wheel)?)
        .map_err(|error| Refusal::Source(format!("its wheel can't be read: {error}")))?;
    let entry =
        archive.by_name(&name).map_err(|error| Refusal::Source(format!("its wheel has no `{name}`: {error}")))?;
    copy(Ok(entry), target)
}

/// Why a source's library did not come to stand where it should.
#[derive(Debug)]
enum Refusal {
    /// The source's fault: another may do better.
    Source(String),
    /// It can't be written: no source helps.
    Target(io::Error),
}

fn open(path: &Path) -> Result<File, Refusal> {
    File::open(path).map_err(|error| Refusal::Source(error.to_string()))
}

/// Copies no more than a library's worth of bytes, and gives their digest.
fn copy(source: Result<impl Read, Refusal>, target: &Path) -> Result<Digest, Refusal> {
    let mut source = Hashing::new(Stoppable(source?).take(LARGEST_LIBRARY));
    let mut out = File::create(target).map_err(Refusal::Target)?;
    let mut buffer = vec![0; 1 << 16];
    loop {
        match source.read(&mut buffer).map_err(|error| Refusal::Source(error.to_string()))? {
            0 => break,
            n => out.write_all(&buffer[..n]).map_err(Refusal::Target)?,
        }
    }
    match source.finish() {
        (_, LARGEST_LIBRARY) => Err(Refusal::Source("it is larger than any release's library".into())),
        (digest, _) => Ok(digest),
    }
}

/// What a program said last: the cause, without the pages before it.
pub(super) fn last_lines(stderr: &[u8]) -> String {
    let text = String::from_utf8_lossy(stderr);
    let lines: Vec<&str> = text.lines().map(str::trim).filter(|line| !line.is_empty()).collect();
    match lines[lines.len().saturating_sub(3)..].join(" / ") {
        none if none.is_empty() => "it failed without a word".into(),
        words => words,
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    const ARCHITECTURE: Architecture = Architecture::Amd64;

    /// A stand-in for `python3` that says what it is told to.
    fn python(home: &Path, script: &str) -> OsString {
        let path = home.join("python");
        fs::write(&path, format!("#!/bin/sh\n{script}\n")).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
        path.into()
    }

    fn tried(python: OsString, offline: bool) -> String {
        let home = tempfile::tempdir().unwrap();
        let cache = Cache::open(home.path().into()).unwrap();
        let request = Request { architecture: ARCHITECTURE, given: None, cache: &cache, python, offline };
        locate(&request).unwrap_err().to_string()
    }

    #[test]
    fn the_users_own_library_is_taken_whatever_it_is() {
        let home = tempfile::tempdir().unwrap();
        let cache = Cache::open(home.path().join("cache")).unwrap();
        let given = home.path().join("lib.so");
        let request = |given| Request {
            architecture: ARCHITECTURE,
            given: Some(given),
            cache: &cache,
            python: "/none".into(),
            offline: true,
        };
        assert!(matches!(locate(&request(given.clone())), Err(Error::Files { .. })), "named, but missing");
        fs::write(&given, "mine").unwrap();
        let found = locate(&request(given.clone())).unwrap();
        assert_eq!(found, OnnxRuntime { path: given, digest: Digest::of("mine"), source: Source::Given });
        assert!(!found.is_pinned(ARCHITECTURE));
    }

    #[test]
    fn every_source_and_its_answer_are_told() {
        let home = tempfile::tempdir().unwrap();
        let package = home.path().join("onnxruntime");
        fs::create_dir_all(package.join("capi")).unwrap();
        let says = format!("case $2 in pip) echo no such release >&2; exit 1;; *) echo {};; esac", package.display());
        let text = tried(python(home.path(), &says), false);
        assert!(text.contains(&format!("has no `{FILE_NAME}`")) && text.contains("pip: no such release"), "{text}");
        fs::write(package.join("capi").join(FILE_NAME), "another build").unwrap();
        let text = tried(python(home.path(), &says), true);
        assert!(text.contains(&Digest::of("another build").to_string()), "{text}");
        assert!(text.contains("pip: not asked: offline"), "{text}");
        let text = tried("/no/python".into(), false);
        assert_eq!(text.matches("`/no/python` can't be run").count(), 2, "{text}");
    }

    #[test]
    fn a_wheel_gives_its_library_and_nothing_else() {
        let home = tempfile::tempdir().unwrap();
        let (wheel, target) = (home.path().join("w.whl"), home.path().join("lib"));
        let pack = |name: &str| {
            let mut zip = zip::ZipWriter::new(File::create(&wheel).unwrap());
            zip.start_file(name, zip::write::SimpleFileOptions::default()).unwrap();
            zip.write_all(b"library").unwrap();
            zip.finish().unwrap();
        };
        pack(&format!("onnxruntime/capi/{FILE_NAME}"));
        let refused = |target: &Path| match unpack(&wheel, target) {
            Err(Refusal::Source(answer)) => answer,
            other => panic!("{other:?}"),
        };
        assert_eq!(unpack(&wheel, &target).unwrap(), Digest::of("library"));
        let full = unpack(&wheel, Path::new("/dev/full")).unwrap_err();
        assert!(matches!(full, Refusal::Target(error) if error.kind() == io::ErrorKind::StorageFull));
        pack(&format!("../{FILE_NAME}"));
        assert!(refused(&target).contains("has no"));
        fs::write(&wheel, "not a zip").unwrap();
        assert!(refused(&target).contains("can't be read"));
    }
}
