//! `dist/release.json`: where the image of an output folder was pushed to. `push` writes it, `deploy` goes by it.
//!
//! It is a convenience, never a reason to trust: what `deploy` runs is verified in the repository that it names.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::digest::Digest;
use crate::files::write_atomically;

/// Most repositories that are kept.
const MOST: usize = 16;
/// Largest record that is read, bytes.
const LARGEST: u64 = 64 << 10;

/// Where an image was pushed to.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ReleaseRecord {
    /// The image's digest; a record of another image says nothing.
    pub digest: Option<Digest>,
    /// The repositories that have it, the latest first.
    pub repositories: Vec<PushedTo>,
}

/// A repository that has the image.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct PushedTo {
    /// With its registry, without tag.
    pub repository: String,
    /// Whether it was spoken to without TLS.
    #[serde(default)]
    pub plain_http: bool,
}

fn path(folder: &Path) -> PathBuf {
    folder.join("dist/release.json")
}

impl ReleaseRecord {
    /// What the folder says of this image: nothing where it was never pushed from there, or where the file is odd.
    pub fn read(folder: &Path, digest: &Digest) -> Self {
        let small = fs::metadata(path(folder)).is_ok_and(|data| data.is_file() && data.len() <= LARGEST);
        let text = if small { fs::read(path(folder)).unwrap_or_default() } else { Vec::new() };
        let record: ReleaseRecord = serde_json::from_slice(&text).unwrap_or_default();
        if record.digest == Some(*digest) { record } else { ReleaseRecord::default() }
    }

    /// Notes that the image is in a repository. A folder that nimify did not write gets no note.
    pub fn note(folder: &Path, digest: &Digest, to: PushedTo) -> io::Result<()> {
        if !folder.join("dist/image/oci-layout").is_file() {
            return Ok(());
        }
        let mut repositories = Self::read(folder, digest).repositories;
        repositories.retain(|known| known.repository != to.repository);
        repositories.insert(0, to);
        repositories.truncate(MOST);
        let record = ReleaseRecord { digest: Some(*digest), repositories };
        let text = serde_json::to_string_pretty(&record).expect("a record is JSON") + "\n";
        write_atomically(&path(folder), text.as_bytes())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_latest_repository_comes_first_and_another_image_is_forgotten() {
        let home = tempfile::tempdir().unwrap();
        let (one, two) = (Digest::of("one"), Digest::of("two"));
        let to = |name: &str| PushedTo { repository: name.into(), plain_http: false };
        ReleaseRecord::note(home.path(), &one, to("a")).unwrap();
        assert!(!path(home.path()).exists(), "no output folder");
        fs::create_dir_all(home.path().join("dist/image")).unwrap();
        fs::write(home.path().join("dist/image/oci-layout"), "").unwrap();
        for name in ["a", "b", "a"] {
            ReleaseRecord::note(home.path(), &one, to(name)).unwrap();
        }
        let names = |digest| {
            let record = ReleaseRecord::read(home.path(), digest);
            record.repositories.into_iter().map(|known| known.repository).collect::<Vec<_>>()
        };
        assert_eq!(names(&one), ["a", "b"]);
        assert_eq!(names(&two), Vec::<String>::new());
        ReleaseRecord::note(home.path(), &two, to("c")).unwrap();
        assert_eq!((names(&one), names(&two)), (vec![], vec!["c".to_string()]));
        fs::write(path(home.path()), "junk").unwrap();
        assert_eq!(names(&two), Vec::<String>::new());
    }
}
