//! `nimify.lock`: what a build used. Equal locks, equal images; `--locked` refuses anything else.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::digest::Digest;
use crate::files::{FileTree, RelativePath};

/// Everything that enters the bytes of image and chart, and the digests of what was written.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Lock {
    /// The form of this file: 1.
    pub lock_version: u32,
    /// The nimify that wrote it.
    pub nimify: String,
    /// The user's model by its file's name, and its external data.
    pub model: BTreeMap<RelativePath, Digest>,
    /// The files that go with it, by their names.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub side_files: BTreeMap<RelativePath, Digest>,
    /// Where the model was fetched from, where it was.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub source: Option<LockedSource>,
    /// What the image has instead of it, where that is another graph made of it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub derived: Option<LockedDerived>,
    /// ONNX Runtime.
    pub onnxruntime: LockedRuntime,
    /// The libraries of custom operators, by their files' names.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub custom_ops: BTreeMap<String, Digest>,
    /// The files of the base layer, by their absolute paths in the image.
    pub base: BTreeMap<String, Digest>,
    /// The packages of Debian that the base layer consists of, where it does.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub debian: Option<LockedDebian>,
    /// The image that it was put on, where there is one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub base_image: Option<LockedImage>,
    /// The wheels that libraries of an accelerator come from, by name.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub wheels: BTreeMap<String, LockedPackage>,
    /// All templates together.
    pub templates: Digest,
    /// What compiled the service; `None` for the generic one that came with nimify.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub toolchain: Option<Toolchain>,
    /// `generated` or `generic`.
    pub service: super::ServiceKind,
    /// The recorded sample request, where there is one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sample: Option<Digest>,
    /// The batching verdict, as in `signature.json`.
    pub batching: serde_json::Value,
    /// The user's own files of the crate, hooks first of all.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub users: BTreeMap<RelativePath, Digest>,
    /// The image's manifest.
    pub image: Digest,
    /// The files that were generated and may be edited: their digests as written.
    pub generated: BTreeMap<RelativePath, Digest>,
}

/// A model that was fetched.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct LockedSource {
    /// From where, without a digest: `oci://REGISTRY/REPOSITORY[:TAG]`.
    pub name: String,
    /// What that led to: a registry's index or manifest; else the listing of the files with their digests.
    pub digest: Digest,
    /// What the source itself calls that for good, where it does: a commit, a version.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub revision: Option<String>,
}

/// A model made of the user's.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct LockedDerived {
    /// What was done.
    pub how: String,
    /// Its files by the paths that they have in the image.
    pub files: BTreeMap<RelativePath, Digest>,
}

/// An image that others are put on.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct LockedImage {
    /// Its reference, without a digest.
    pub reference: String,
    /// What that led to: an index, or the image itself.
    pub digest: Digest,
    /// The image for the platform.
    pub manifest: Digest,
}

/// Which ONNX Runtime.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct LockedRuntime {
    /// Its version.
    pub version: String,
    /// The library file.
    pub digest: Digest,
    /// The kind of place it came from, such as `python` or `override`: never a path of this machine.
    pub source: String,
}

/// A base of Debian packages.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct LockedDebian {
    /// The release's code name.
    pub release: String,
    /// By name.
    pub packages: BTreeMap<String, LockedPackage>,
}

/// One package of Debian, or one wheel.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct LockedPackage {
    /// Its version.
    pub version: String,
    /// Its file.
    pub digest: Digest,
}

/// What compiled the service.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Toolchain {
    /// What `rustc --version` says.
    pub rustc: String,
    /// The target triple.
    pub target: String,
}

/// Why a text is no lock.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum LockError {
    /// It is not YAML, or not of this form.
    #[error("not a lock file: {0}")]
    Text(super::Fault),
    /// A later nimify wrote it.
    #[error("the lock file has the version {0}, but this nimify knows version {VERSION} alone")]
    Version(u32),
}

/// The form that this nimify reads and writes.
const VERSION: u32 = 1;

impl Lock {
    /// The value of [`Lock::lock_version`] to write.
    pub const VERSION: u32 = VERSION;

    /// Reads `nimify.lock`.
    pub fn parse(text: &str) -> Result<Self, LockError> {
        let tree = super::document::read(text).map_err(LockError::Text)?;
        let VersionAlone { lock_version } = super::reader::from_node(&tree).map_err(LockError::Text)?;
        if lock_version != VERSION {
            return Err(LockError::Version(lock_version));
        }
        super::reader::from_node(&tree).map_err(LockError::Text)
    }

    /// The file's text, the same each time.
    pub fn to_yaml(&self) -> String {
        let body = serde_yaml::to_string(self).expect("a lock is YAML");
        format!("# What was used. Written by nimify: keep it under version control, leave it unedited.\n{body}")
    }
}

/// The version has to be known before the rest can be read.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct VersionAlone {
    lock_version: u32,
}

/// One entry in which two locks differ.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Difference {
    /// The entry, such as `onnxruntime.digest` or `base./lib/x86_64-linux-gnu/libc.so.6`.
    pub entry: String,
    /// What the old lock says; `None` where it has no such entry.
    pub locked: Option<String>,
    /// What the new lock says; `None` where it has no such entry.
    pub found: Option<String>,
}

impl std::fmt::Display for Difference {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match (&self.locked, &self.found) {
            (Some(locked), Some(found)) => write!(f, "`{}` is {found}, but is locked to {locked}", self.entry),
            (Some(locked), None) => write!(f, "`{}` is gone, but is locked to {locked}", self.entry),
            (None, Some(found)) => write!(f, "`{}` is {found}, but is not locked", self.entry),
            (None, None) => write!(f, "`{}` is alike", self.entry),
        }
    }
}

/// In what two locks differ, sorted by entry; empty where they are equal.
pub fn compare(old: &Lock, new: &Lock) -> Vec<Difference> {
    let (old, new) = (entries(old), entries(new));
    let names: std::collections::BTreeSet<&String> = old.keys().chain(new.keys()).collect();
    let differences = names.into_iter().filter(|name| old.get(*name) != new.get(*name)).map(|name| Difference {
        entry: name.clone(),
        locked: old.get(name).cloned(),
        found: new.get(name).cloned(),
    });
    differences.collect()
}

fn entries(lock: &Lock) -> BTreeMap<String, String> {
    let mut entries = BTreeMap::new();
    flatten(String::new(), &serde_json::to_value(lock).expect("a lock is JSON"), &mut entries);
    entries
}

fn flatten(name: String, value: &serde_json::Value, entries: &mut BTreeMap<String, String>) {
    match value {
        serde_json::Value::Object(object) => {
            for (key, value) in object {
                let name = if name.is_empty() { key.clone() } else { format!("{name}.{key}") };
                flatten(name, value, entries);
            }
        }
        serde_json::Value::String(text) => drop(entries.insert(name, text.clone())),
        other => drop(entries.insert(name, other.to_string())),
    }
}

/// The generated files that were edited or removed since they were written, and so would be lost: `tree` is what lies
/// on the disk. `hooks.rs` is the user's own and never counts; so does a file that nimify did not write.
pub fn edited(lock: &Lock, tree: &FileTree) -> Vec<RelativePath> {
    let own = |path: &RelativePath| path.as_str().rsplit('/').next() == Some("hooks.rs");
    let changed = |path: &RelativePath, digest: &Digest| tree.get(path).is_some_and(|now| Digest::of(now) != *digest);
    let edited = lock.generated.iter().filter(|(path, digest)| !own(path) && changed(path, digest));
    edited.map(|(path, _)| path.clone()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn path(text: &str) -> RelativePath {
        text.parse().unwrap()
    }

    fn lock() -> Lock {
        Lock {
            lock_version: VERSION,
            nimify: "0.1.0".into(),
            model: BTreeMap::from([(path("digits.onnx"), Digest::of("model"))]),
            side_files: BTreeMap::from([(path("tokenizer.json"), Digest::of("tokenizer"))]),
            source: Some(LockedSource {
                name: "oci://r.example.com/digits:1".into(),
                digest: Digest::of("manifest"),
                revision: None,
            }),
            derived: Some(LockedDerived {
                how: "optimized".into(),
                files: BTreeMap::from([(path("digits.optimized.onnx"), Digest::of("graph"))]),
            }),
            onnxruntime: LockedRuntime {
                version: "1.31.1".into(),
                digest: Digest::of("library"),
                source: "python".into(),
            },
            custom_ops: BTreeMap::new(),
            base: BTreeMap::from([("/lib/libc.so.6".into(), Digest::of("libc"))]),
            debian: Some(LockedDebian {
                release: "bookworm".into(),
                packages: BTreeMap::from([(
                    "libc6".into(),
                    LockedPackage { version: "2.36-9".into(), digest: Digest::of("libc6") },
                )]),
            }),
            base_image: Some(LockedImage {
                reference: "debian:12-slim".into(),
                digest: Digest::of("index"),
                manifest: Digest::of("manifest"),
            }),
            wheels: BTreeMap::from([(
                "nvidia-cublas".into(),
                LockedPackage { version: "13.10.0.20".into(), digest: Digest::of("wheel") },
            )]),
            templates: Digest::of("templates"),
            toolchain: Some(Toolchain {
                rustc: "rustc 1.95.0\nhost: x86_64-unknown-linux-gnu\n".into(),
                target: "x86_64-unknown-linux-gnu".into(),
            }),
            service: super::super::ServiceKind::Generated,
            sample: None,
            batching: serde_json::json!({ "axis": 0 }),
            users: BTreeMap::new(),
            image: Digest::of("image"),
            generated: ["service/src/main.rs", "service/src/hooks.rs", "chart/Chart.yaml"]
                .map(|name| (path(name), Digest::of(name)))
                .into(),
        }
    }

    #[test]
    fn a_lock_comes_back_from_its_text() {
        let text = lock().to_yaml();
        assert_eq!(Lock::parse(&text).unwrap(), lock());
        let json = serde_json::to_string(&lock()).unwrap();
        assert_eq!(Lock::parse(&json).unwrap(), lock());
        let later = text.replace("lockVersion: 1", "lockVersion: 2").replace("templates:", "patterns:");
        assert!(matches!(Lock::parse(&later), Err(LockError::Version(2))));
        let error = Lock::parse(&text.replace("templates:", "template:")).unwrap_err();
        assert!(error.to_string().contains("did you mean `templates`?"), "{error}");
    }

    #[test]
    fn differences_are_named() {
        assert_eq!(compare(&lock(), &lock()), []);
        let mut new = lock();
        new.onnxruntime.version = "1.32.0".into();
        new.base.insert("/lib/libm.so.6".into(), Digest::of("libm"));
        new.toolchain = None;
        let text: Vec<String> = compare(&lock(), &new).iter().map(Difference::to_string).collect();
        assert_eq!(text.len(), 4, "{text:?}");
        assert!(text[0].starts_with("`base./lib/libm.so.6` is sha256:") && text[0].ends_with("but is not locked"));
        assert_eq!(text[1], "`onnxruntime.version` is 1.32.0, but is locked to 1.31.1");
        assert!(text[2].starts_with("`toolchain.rustc` is gone"), "{text:?}");
    }

    #[test]
    fn edited_files_are_found_and_hooks_are_not() {
        let mut tree: FileTree =
            lock().generated.keys().map(|path| (path.clone(), path.as_str().as_bytes().to_vec())).collect();
        assert_eq!(edited(&lock(), &tree), []);
        tree.insert(path("service/src/hooks.rs"), b"mine".to_vec());
        tree.insert(path("notes.md"), b"mine".to_vec());
        tree.remove(&path("chart/Chart.yaml"));
        assert_eq!(edited(&lock(), &tree), []);
        tree.insert(path("service/src/main.rs"), b"mine".to_vec());
        assert_eq!(edited(&lock(), &tree), [path("service/src/main.rs")]);
    }
}
