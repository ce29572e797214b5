//! `bundle.json`: what the other entries are.

use serde::{Deserialize, Serialize};

use super::{CONTENTS, Error};
use crate::digest::Digest;
use crate::files::RelativePath;

/// What the first field says.
pub const FORMAT: &str = "nimify.bundle/v1";
/// Most entries of a bundle: an image has a few layers, a chart a few files.
const MOST_ENTRIES: usize = 10_000;
/// What fits in the header of a tar.
pub(super) const LONGEST_PATH: usize = 99;
/// Largest file that is no blob, bytes.
const LARGEST_FILE: u64 = 256 << 20;

/// What is in a bundle.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Contents {
    /// [`FORMAT`].
    pub format: String,
    /// What the image is called: `NAME:VERSION`.
    pub image: String,
    /// The image's digest.
    pub digest: Digest,
    /// The entries that follow, by their path.
    pub entries: Vec<Entry>,
}

/// One entry of a bundle.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Entry {
    /// Its path.
    pub path: RelativePath,
    /// Its bytes.
    pub size: u64,
    /// Of its bytes.
    pub digest: Digest,
}

impl Contents {
    /// The text of `bundle.json`.
    pub fn to_json(&self) -> Vec<u8> {
        let mut text = serde_json::to_vec_pretty(self).expect("contents are texts and numbers");
        text.push(b'\n');
        text
    }

    /// Reads `bundle.json`. Only what [`to_json`](Self::to_json) writes is taken.
    pub fn parse(bytes: &[u8]) -> Result<Self, Error> {
        let wrong = |what: String| Error::broken(CONTENTS, what);
        let contents: Contents = serde_json::from_slice(bytes)
            .map_err(|error| wrong(format!("doesn't say what is in the bundle: {error}")))?;
        if contents.format != FORMAT {
            return Err(wrong(format!("has the format `{}`, but should have `{FORMAT}`", contents.format)));
        }
        if contents.entries.len() > MOST_ENTRIES {
            return Err(wrong(format!("names more than {MOST_ENTRIES} entries")));
        }
        contents.entries.iter().try_for_each(Entry::check)?;
        for pair in contents.entries.windows(2) {
            let (one, next) = (pair[0].path.as_str(), pair[1].path.as_str());
            if one >= next {
                return Err(wrong(format!("names `{next}` twice, or not in its place")));
            }
        }
        // Sorted by bytes, other names (`a.b`) may stand between `a` and `a/b`.
        let paths: std::collections::BTreeSet<&str> =
            contents.entries.iter().map(|entry| entry.path.as_str()).collect();
        for path in &paths {
            let mut above = path.match_indices('/').map(|(at, _)| &path[..at]);
            if let Some(file) = above.find(|folder| paths.contains(folder)) {
                return Err(wrong(format!("names `{file}` as a file and as a folder")));
            }
        }
        if contents.size().is_none() {
            return Err(wrong("names more bytes than can be".into()));
        }
        if contents.to_json() != bytes {
            return Err(wrong("is not as nimify writes it".into()));
        }
        Ok(contents)
    }

    /// Bytes of all entries; `None` where there can't be so many.
    pub fn size(&self) -> Option<u64> {
        self.entries.iter().try_fold(0u64, |sum, entry| sum.checked_add(entry.size)).filter(|sum| *sum < 1 << 60)
    }
}

impl Entry {
    fn check(&self) -> Result<(), Error> {
        let path = self.path.as_str();
        let wrong = |what: &str| Err(Error::broken(CONTENTS, format!("names `{path}`, {what}")));
        if path.len() > LONGEST_PATH {
            return wrong("whose name is too long");
        }
        match path.split_once('/') {
            Some(("blobs", _)) if path == blob_path(&self.digest) => return Ok(()),
            Some(("nimify", _)) => {}
            None if ["index.json", "manifest.json", "oci-layout"].contains(&path) => {}
            _ => return wrong("which is no part of a bundle"),
        }
        if self.size > LARGEST_FILE { wrong("which is too large") } else { Ok(()) }
    }
}

/// Where a blob stands.
pub(super) fn blob_path(digest: &Digest) -> String {
    format!("blobs/sha256/{}", digest.hex())
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    pub(in super::super) fn entry(path: &str, bytes: &[u8]) -> Entry {
        Entry { path: path.parse().unwrap(), size: bytes.len() as u64, digest: Digest::of(bytes) }
    }

    pub(in super::super) fn contents(entries: Vec<Entry>) -> Contents {
        Contents { format: FORMAT.into(), image: "digits:1.0.0".into(), digest: Digest::of("image"), entries }
    }

    #[test]
    fn contents_are_read_as_they_are_written() {
        let blob = blob_path(&Digest::of("layer"));
        let good = contents(vec![entry(&blob, b"layer"), entry("index.json", b"{}"), entry("nimify/a.b/c", b"")]);
        assert_eq!(Contents::parse(&good.to_json()).unwrap(), good);
        assert_eq!(good.size(), Some(7));
    }

    #[test]
    fn other_contents_are_refused() {
        let refused = |entries: Vec<Entry>, part: &str| {
            let error = Contents::parse(&contents(entries).to_json()).unwrap_err().to_string();
            assert!(error.contains(part), "{error}");
        };
        refused(vec![entry("nimify/a", b""), entry("nimify/a", b"")], "`nimify/a` twice");
        refused(vec![entry("nimify/b", b""), entry("nimify/a", b"")], "not in its place");
        refused(vec![entry("nimify/a", b""), entry("nimify/a.b", b""), entry("nimify/a/c", b"")], "as a file and as");
        refused(vec![entry("etc/passwd", b"")], "which is no part of a bundle");
        refused(vec![entry("nimify", b"")], "which is no part of a bundle");
        refused(vec![entry(&blob_path(&Digest::of("other")), b"layer")], "which is no part of a bundle");
        refused(vec![entry(&format!("nimify/{}", "a".repeat(100)), b"")], "too long");
        refused(vec![Entry { size: LARGEST_FILE + 1, ..entry("nimify/a", b"") }], "too large");
        let blobs =
            ["a", "b"].map(|text| Entry { size: 1 << 59, ..entry(&blob_path(&Digest::of(text)), text.as_bytes()) });
        let mut blobs = Vec::from(blobs);
        blobs.sort();
        refused(blobs, "more bytes than can be");
        let text = String::from_utf8(contents(vec![]).to_json()).unwrap();
        for (from, to) in [("bundle/v1", "bundle/v2"), ("{", "{ "), ("\"image\"", "\"x\": 1, \"image\"")] {
            assert!(Contents::parse(text.replacen(from, to, 1).as_bytes()).is_err());
        }
        let escape = text.replace("[]", r#"[{"path":"nimify/../a","size":0,"digest":"sha256:0"}]"#);
        assert!(Contents::parse(escape.as_bytes()).unwrap_err().to_string().contains("not a path below a folder"));
    }
}
