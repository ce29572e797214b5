//! Writing files so that nothing is ever half written: beside, then renamed.

use std::collections::BTreeMap;
use std::fs;
use std::io::{self, Write};
use std::path::{Component, Path, PathBuf};

/// A path below some folder: relative, no `..`, no `.`, not empty, UTF-8, written with `/`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize, serde::Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct RelativePath(String);

/// A text that is not a relative path.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is not a path below a folder: it has to be relative and free of `.` and `..`")]
pub struct NotRelative(String);

impl RelativePath {
    /// The path as text, with `/` between its parts.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The folder that it is in, empty at the top, and its last part.
    pub fn split(&self) -> (&str, &str) {
        self.0.rsplit_once('/').unwrap_or(("", &self.0))
    }
}

impl TryFrom<String> for RelativePath {
    type Error = NotRelative;

    fn try_from(text: String) -> Result<Self, NotRelative> {
        let plain = Path::new(&text).components().all(|part| matches!(part, Component::Normal(_)));
        let spelt = text.split('/').all(|part| !part.is_empty() && part != ".");
        if plain && spelt && !text.contains('\0') { Ok(RelativePath(text)) } else { Err(NotRelative(text)) }
    }
}

impl std::str::FromStr for RelativePath {
    type Err = NotRelative;

    fn from_str(text: &str) -> Result<Self, NotRelative> {
        text.to_string().try_into()
    }
}

impl From<RelativePath> for String {
    fn from(path: RelativePath) -> Self {
        path.0
    }
}

impl AsRef<Path> for RelativePath {
    fn as_ref(&self) -> &Path {
        Path::new(&self.0)
    }
}

/// Files by their path below one folder: what the pure stages hand on.
pub type FileTree = BTreeMap<RelativePath, Vec<u8>>;

/// Writes `bytes` to `path` by way of a file beside it, so that `path` holds all of them or is left as it was.
pub fn write_atomically(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let mut file = tempfile::Builder::new().prefix(".nimify-").tempfile_in(folder)?;
    file.as_file_mut().write_all(bytes)?;
    set_mode(file.path(), 0o644)?;
    file.persist(path).map_err(|error| error.error)?;
    Ok(())
}

/// Writes a tree of files below `folder`, making the folders it needs.
pub fn write_tree(folder: &Path, tree: &FileTree) -> io::Result<()> {
    for (path, bytes) in tree {
        let path = folder.join(path);
        fs::create_dir_all(path.parent().expect("a joined path has a parent"))?;
        fs::write(path, bytes)?;
    }
    Ok(())
}

/// Reads every regular file below `folder`. Symbolic links are an error: a tree that is ours has none.
pub fn read_tree(folder: &Path) -> io::Result<FileTree> {
    let mut tree = FileTree::new();
    for entry in walkdir::WalkDir::new(folder).min_depth(1) {
        let entry = entry?;
        if entry.file_type().is_dir() {
            continue;
        }
        let path = entry.path().strip_prefix(folder).expect("walkdir stays below its root");
        let wrong = |what: &str| io::Error::other(format!("`{}` {what}", entry.path().display()));
        let path = path.to_str().ok_or_else(|| wrong("has a name that is not UTF-8"))?;
        let path = RelativePath::try_from(path.to_string()).map_err(io::Error::other)?;
        if !entry.file_type().is_file() {
            return Err(wrong("is not a regular file"));
        }
        tree.insert(path, fs::read(entry.path())?);
    }
    Ok(tree)
}

/// A folder that is being written beside its destination: dropped, it is gone; [`StagedFolder::publish`] puts it in
/// place in one rename.
#[derive(Debug)]
pub struct StagedFolder {
    stage: tempfile::TempDir,
    destination: PathBuf,
}

impl StagedFolder {
    /// Begins a folder that is to become `destination`.
    pub fn new(destination: &Path) -> io::Result<Self> {
        let parent = destination.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new("."));
        fs::create_dir_all(parent)?;
        let stage = tempfile::Builder::new().prefix(".nimify-").tempdir_in(parent)?;
        Ok(StagedFolder { stage, destination: destination.into() })
    }

    /// Where to write meanwhile.
    pub fn path(&self) -> &Path {
        self.stage.path()
    }

    /// Puts the folder where nothing stands, or an empty folder: anything else is left alone, and an error.
    pub fn place(self) -> io::Result<()> {
        set_mode(self.stage.path(), 0o755)?;
        fs::rename(self.stage.path(), &self.destination)?;
        // It is no longer there to be removed.
        _ = self.stage.keep();
        Ok(())
    }

    /// Puts the folder in place. What stood there before is swapped out in the same step and then removed.
    pub fn publish(self) -> io::Result<()> {
        set_mode(self.stage.path(), 0o755)?;
        let stage = self.stage.keep();
        match exchange(&stage, &self.destination) {
            // The stage now holds what was there before.
            Ok(()) => fs::remove_dir_all(&stage),
            Err(error) if error.kind() == io::ErrorKind::NotFound => fs::rename(&stage, &self.destination),
            Err(error) => Err(error),
        }
        .inspect_err(|_| drop(fs::remove_dir_all(&stage)))
    }
}

/// Takes `.` and `..` out of a path by its spelling, so that it can be used before the folders in it are there.
pub fn plain(path: &Path) -> PathBuf {
    let mut plain = PathBuf::new();
    for part in path.components() {
        match part {
            Component::ParentDir if plain.file_name().is_some() => _ = plain.pop(),
            Component::CurDir => {}
            part => plain.push(part),
        }
    }
    plain
}

/// Exchanges two paths in one step. Both have to be there, on one file system.
pub fn exchange(one: &Path, other: &Path) -> io::Result<()> {
    let cwd = rustix::fs::CWD;
    Ok(rustix::fs::renameat_with(cwd, one, cwd, other, rustix::fs::RenameFlags::EXCHANGE)?)
}

/// Sets the permission bits of a file or folder.
pub fn set_mode(path: &Path, mode: u32) -> io::Result<()> {
    use std::os::unix::fs::PermissionsExt;
    fs::set_permissions(path, fs::Permissions::from_mode(mode))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_relative_path_stays_below_its_folder() {
        for good in ["a", "a/b.txt", "...", "a b"] {
            assert_eq!(good.parse::<RelativePath>().unwrap().as_str(), good);
        }
        for bad in ["", "/a", "../a", "a/../b", "a//b", "./a", "a/", "a/.", "a\0"] {
            assert!(bad.parse::<RelativePath>().is_err(), "{bad:?}");
        }
    }

    #[test]
    fn a_plain_path_leads_through_no_folder_that_may_be_missing() {
        for (path, expected) in [("/a/b/../c", "/a/c"), ("/a/./b", "/a/b"), ("../a", "../a"), ("a/../../b", "../b")] {
            assert_eq!(plain(Path::new(path)), Path::new(expected));
        }
    }

    #[test]
    fn a_staged_folder_replaces_the_old_one_or_leaves_it() {
        let home = tempfile::tempdir().unwrap();
        let folder = home.path().join("out");
        for text in ["one", "two"] {
            let stage = StagedFolder::new(&folder).unwrap();
            fs::write(stage.path().join("file"), text).unwrap();
            stage.publish().unwrap();
            assert_eq!(fs::read_to_string(folder.join("file")).unwrap(), text);
        }
        drop(StagedFolder::new(&folder).unwrap());
        assert_eq!(fs::read_dir(home.path()).unwrap().count(), 1, "nothing is left beside it");
    }
}
