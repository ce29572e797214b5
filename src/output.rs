//! The folder that `create` writes: whose it is, what in it is the user's, and how a new state takes its place.
//!
//! A folder that nimify has not written is never touched. In one that it has, files that the lock does not list are the
//! user's and are carried over; entries are swapped by rename when all of them are ready, and swapped back if one can't be.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use crate::digest::Digest;
use crate::files::{self, FileTree, RelativePath, StagedFolder};

/// The file that marks a folder as nimify's.
pub const LOCK_FILE: &str = "nimify.lock";

/// What stands where the output is to go.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ground {
    /// Nothing, or an empty folder.
    Free,
    /// A folder that holds a lock file: nimify wrote it.
    Ours,
    /// Anything else.
    Foreign,
}

/// Looks at what stands at `path`.
pub fn survey(path: &Path) -> io::Result<Ground> {
    match fs::read_dir(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Ground::Free),
        Err(error) if error.kind() == io::ErrorKind::NotADirectory => Ok(Ground::Foreign),
        Err(error) => Err(error),
        Ok(_) if path.join(LOCK_FILE).is_file() => Ok(Ground::Ours),
        Ok(mut entries) => Ok(if entries.next().is_none() { Ground::Free } else { Ground::Foreign }),
    }
}

/// The files below `folder`/`part` that are the user's own: those that are not in `generated`. Build leftovers and
/// hidden files are nobody's.
pub fn users_files(folder: &Path, part: &str, generated: &BTreeMap<RelativePath, Digest>) -> io::Result<FileTree> {
    let root = folder.join(part);
    let mut tree = FileTree::new();
    if !root.is_dir() {
        return Ok(tree);
    }
    let skipped = |name: &str| name == "target" || name.starts_with('.');
    let walk = walkdir::WalkDir::new(&root).min_depth(1).sort_by_file_name().into_iter();
    for entry in walk.filter_entry(|entry| !entry.file_name().to_str().is_some_and(skipped)) {
        let entry = entry?;
        let below = entry.path().strip_prefix(&root).ok().and_then(Path::to_str).map(String::from);
        let Some(Ok(below)) = below.map(RelativePath::try_from) else { continue };
        let listed = format!("{part}/{}", below.as_str()).parse().is_ok_and(|path| generated.contains_key(&path));
        if entry.file_type().is_file() && !listed {
            tree.insert(below, fs::read(entry.path())?);
        }
    }
    Ok(tree)
}

/// A new state of the output folder in the making: dropped, it is gone.
#[derive(Debug)]
pub enum Stage {
    /// A new folder beside its destination.
    New(StagedFolder),
    /// New entries inside the folder that they are to go into.
    Update {
        /// Where they are written meanwhile.
        stage: tempfile::TempDir,
        /// The folder that they go into.
        folder: PathBuf,
    },
}

impl Stage {
    /// Begins a new state of `folder`.
    pub fn new(folder: &Path, ground: Ground) -> io::Result<Self> {
        if ground == Ground::Ours {
            let stage = tempfile::Builder::new().prefix(".nimify-").tempdir_in(folder)?;
            return Ok(Stage::Update { stage, folder: folder.into() });
        }
        StagedFolder::new(folder).map(Stage::New)
    }

    /// Where to write.
    pub fn path(&self) -> &Path {
        match self {
            Stage::New(stage) => stage.path(),
            Stage::Update { stage, .. } => stage.path(),
        }
    }

    /// Puts the new state in place: all of it, or none.
    pub fn publish(self) -> io::Result<()> {
        match self {
            Stage::New(stage) => stage.publish(),
            Stage::Update { stage, folder } => swap_entries(stage.path(), &folder),
        }
    }
}

/// Exchanges each entry of `stage` with its namesake in `folder`; on a failure exchanges them back.
fn swap_entries(stage: &Path, folder: &Path) -> io::Result<()> {
    let mut names = fs::read_dir(stage)?.map(|entry| Ok(entry?.file_name())).collect::<io::Result<Vec<_>>>()?;
    // The lock speaks for all the others: it goes last.
    names.sort_by_key(|name| (name == LOCK_FILE, name.clone()));
    let mut done: Vec<(PathBuf, PathBuf, bool)> = Vec::new();
    for name in names {
        let (new, old) = (stage.join(&name), folder.join(&name));
        match exchange_or_move(&new, &old) {
            Ok(exchanged) => done.push((new, old, exchanged)),
            Err(error) => {
                for (new, old, exchanged) in done.into_iter().rev() {
                    if exchanged { drop(files::exchange(&new, &old)) } else { drop(fs::rename(&old, &new)) }
                }
                return Err(error);
            }
        }
    }
    Ok(())
}

/// Whether the two were exchanged; if not, there was nothing at `old` and `new` was moved there.
fn exchange_or_move(new: &Path, old: &Path) -> io::Result<bool> {
    match files::exchange(new, old) {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == io::ErrorKind::NotFound => fs::rename(new, old).map(|()| false),
        Err(error) => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn write(path: PathBuf, text: &str) {
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }

    #[test]
    fn only_a_folder_with_a_lock_is_ours() {
        let home = tempfile::tempdir().unwrap();
        let path = home.path().join("out");
        assert_eq!(survey(&path).unwrap(), Ground::Free);
        fs::create_dir(&path).unwrap();
        assert_eq!(survey(&path).unwrap(), Ground::Free);
        write(path.join("thesis.tex"), "");
        assert_eq!(survey(&path).unwrap(), Ground::Foreign);
        assert_eq!(survey(&path.join("thesis.tex")).unwrap(), Ground::Foreign);
        write(path.join(LOCK_FILE), "");
        assert_eq!(survey(&path).unwrap(), Ground::Ours);
    }

    #[test]
    fn an_update_swaps_its_entries_and_leaves_the_others() {
        let home = tempfile::tempdir().unwrap();
        let folder = home.path().join("out");
        for (name, text) in [(LOCK_FILE, "old"), ("chart/values.yaml", "old"), (".git/HEAD", "mine")] {
            write(folder.join(name), text);
        }
        let stage = Stage::new(&folder, Ground::Ours).unwrap();
        for name in [LOCK_FILE, "chart/values.yaml", "samples/request.json"] {
            write(stage.path().join(name), "new");
        }
        stage.publish().unwrap();
        let read = |name: &str| fs::read_to_string(folder.join(name)).unwrap();
        assert_eq!((read(LOCK_FILE), read("chart/values.yaml")), ("new".into(), "new".into()));
        assert_eq!((read("samples/request.json"), read(".git/HEAD")), ("new".into(), "mine".into()));
        assert_eq!(fs::read_dir(&folder).unwrap().count(), 4, "the stage is gone");
    }

    #[test]
    fn an_update_that_fails_half_way_is_undone() {
        let home = tempfile::tempdir().unwrap();
        let folder = home.path().join("out");
        write(folder.join("a"), "old");
        let stage = tempfile::tempdir_in(home.path()).unwrap();
        write(stage.path().join("a"), "new");
        // Nothing can be put where the folder for it is missing.
        let result = swap_entries(stage.path(), &folder.join("missing"));
        assert!(result.is_err());
        assert_eq!(fs::read_to_string(folder.join("a")).unwrap(), "old");
        assert_eq!(fs::read_to_string(stage.path().join("a")).unwrap(), "new");
    }

    #[test]
    fn files_that_the_lock_does_not_list_are_the_users() {
        let home = tempfile::tempdir().unwrap();
        for name in ["service/src/main.rs", "service/src/hooks.rs", "service/src/mine.rs", "service/target/x"] {
            write(home.path().join(name), name);
        }
        let generated = BTreeMap::from([("service/src/main.rs".parse().unwrap(), Digest::of(""))]);
        let tree = users_files(home.path(), "service", &generated).unwrap();
        let names: Vec<_> = tree.keys().map(RelativePath::as_str).collect();
        assert_eq!(names, ["src/hooks.rs", "src/mine.rs"]);
    }
}
