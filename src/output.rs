//! The folder that `create` writes: whose it is, what in it is the user's, and how a new state takes its place.
//!
//! A file that nimify has not written is never touched. What the lock does not list is the user's and is carried over;
//! entries are swapped by rename when all of them are ready, and swapped back if one can't be.

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

/// Refuses a folder that could not be written, before any work is done for it: the folder itself, or the nearest one
/// above that is there.
pub fn check_writable(folder: &Path) -> io::Result<()> {
    use rustix::fs::Access;
    let there = folder.ancestors().find(|path| path.exists()).unwrap_or(Path::new("/"));
    let wanted = Access::WRITE_OK | Access::EXEC_OK;
    Ok(rustix::fs::accessat(rustix::fs::CWD, there, wanted, rustix::fs::AtFlags::EACCESS)?)
}

/// The files below `folder`/`part` that are the user's own: those that are not in `generated`. Build leftovers and
/// hidden files are no part of anything that is made; they are only kept where they are.
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

/// The entries of the folder that nimify writes and replaces, besides `nimify.yaml`.
pub const ENTRIES: [&str; 7] = ["chart", "dist", "nimify.lock", "openapi.yaml", "samples", "service", "signature.json"];

/// What in `dist/` is nimify's alone, and goes with the state that it belongs to.
const MADE: [&str; 4] = ["dist/image", "dist/image.tar", "dist/cosign.pub", "dist/report.json"];

/// What of [`ENTRIES`] stands in `folder`.
pub fn entries_in(folder: &Path) -> Vec<&'static str> {
    ENTRIES.into_iter().filter(|name| folder.join(name).symlink_metadata().is_ok()).collect()
}

/// A new state of the output folder in the making: dropped, it is gone.
#[derive(Debug)]
pub enum Stage {
    /// A new folder beside its destination.
    New {
        /// Where it is written meanwhile.
        stage: StagedFolder,
        /// The folders above it that were made for it, outermost first.
        made: MadeFolders,
    },
    /// New entries inside the folder that they are to go into, so that nothing else in it is touched.
    Update {
        /// Where they are written meanwhile.
        stage: tempfile::TempDir,
        /// The folder that they go into.
        folder: PathBuf,
    },
}

/// Folders that were made on the way: dropped, those that are still empty are gone.
#[derive(Debug)]
pub struct MadeFolders(Vec<PathBuf>);

impl MadeFolders {
    /// Makes `folder` and those above it.
    fn down_to(folder: &Path) -> io::Result<Self> {
        let missing = folder.ancestors().filter(|path| !path.as_os_str().is_empty());
        let mut missing: Vec<PathBuf> = missing.take_while(|path| !path.exists()).map(Path::to_path_buf).collect();
        missing.reverse();
        let mut made = MadeFolders(Vec::new());
        for path in missing {
            fs::create_dir(&path)?;
            made.0.push(path);
        }
        Ok(made)
    }
}

impl Drop for MadeFolders {
    fn drop(&mut self) {
        // One that something stands in stays, and so do those above it.
        for folder in self.0.iter().rev() {
            drop(fs::remove_dir(folder));
        }
    }
}

impl Stage {
    /// Begins a new state of `folder`.
    pub fn new(folder: &Path) -> io::Result<Self> {
        if folder.is_dir() {
            let stage = tempfile::Builder::new().prefix(".nimify-").tempdir_in(folder)?;
            return Ok(Stage::Update { stage, folder: folder.into() });
        }
        let made = MadeFolders::down_to(folder.parent().unwrap_or(Path::new("")))?;
        Ok(Stage::New { stage: StagedFolder::new(folder)?, made })
    }

    /// Where to write.
    pub fn path(&self) -> &Path {
        match self {
            Stage::New { stage, .. } => stage.path(),
            Stage::Update { stage, .. } => stage.path(),
        }
    }

    /// Puts the new state in place: all of it, or none. `generated` lists what nimify wrote into the old state; what
    /// else stands in the folders that are replaced is moved over.
    pub fn publish(self, generated: &BTreeMap<RelativePath, Digest>) -> io::Result<()> {
        match self {
            Stage::New { stage, made } => stage.place().inspect(|()| drop(made)),
            Stage::Update { stage, folder } => {
                swap_entries(stage.path(), &folder)?;
                // What could not be moved is kept where it is: better in an odd place than lost.
                let kept = keep_the_users(stage.path(), &folder, generated);
                kept.map_err(|error| {
                    let left = stage.keep();
                    io::Error::new(error.kind(), format!("what was there before is in `{}`: {error}", left.display()))
                })
            }
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

/// Moves from the folders of the old state into the new what is the user's: hidden files, links, build folders and all.
fn keep_the_users(old: &Path, new: &Path, generated: &BTreeMap<RelativePath, Digest>) -> io::Result<()> {
    for entry in fs::read_dir(old)? {
        let entry = entry?;
        if entry.file_type()?.is_dir() {
            let name = entry.file_name();
            move_over(&entry.path(), &new.join(&name), Path::new(&name), generated)?;
        }
    }
    Ok(())
}

fn move_over(old: &Path, new: &Path, below: &Path, generated: &BTreeMap<RelativePath, Digest>) -> io::Result<()> {
    for entry in fs::read_dir(old)? {
        let entry = entry?;
        let (old, new, below) = (entry.path(), new.join(entry.file_name()), below.join(entry.file_name()));
        if MADE.iter().any(|made| below == Path::new(made)) {
            continue;
        }
        let is_folder = entry.file_type()?.is_dir();
        let listed = generated.keys().any(|path| Path::new(path.as_str()).starts_with(&below));
        match fs::symlink_metadata(&new) {
            // What nimify makes beats what the user has under the same name.
            Ok(there) if there.is_dir() && is_folder => move_over(&old, &new, &below, generated)?,
            Ok(_) => {}
            Err(_) if !listed => fs::rename(&old, &new)?,
            Err(_) if is_folder => {
                let made = MadeFolders::down_to(&new)?;
                move_over(&old, &new, &below, generated)?;
                drop(made);
            }
            // A generated file that is generated no longer.
            Err(_) => {}
        }
    }
    Ok(())
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
        let stage = Stage::new(&folder).unwrap();
        for name in [LOCK_FILE, "chart/values.yaml", "samples/request.json"] {
            write(stage.path().join(name), "new");
        }
        stage.publish(&BTreeMap::new()).unwrap();
        let read = |name: &str| fs::read_to_string(folder.join(name)).unwrap();
        assert_eq!((read(LOCK_FILE), read("chart/values.yaml")), ("new".into(), "new".into()));
        assert_eq!((read("samples/request.json"), read(".git/HEAD")), ("new".into(), "mine".into()));
        assert_eq!(fs::read_dir(&folder).unwrap().count(), 4, "the stage is gone");
    }

    #[test]
    fn an_update_keeps_everything_of_the_users() {
        let home = tempfile::tempdir().unwrap();
        let folder = home.path().join("out");
        let mine = [
            "service/.git/HEAD",
            "service/target/x",
            "service/src/deep/mine.rs",
            "chart/.mine",
            "dist/mine",
            "thesis.tex",
        ];
        let generated = ["service/src/main.rs", "service/src/gone.rs", "service/old/gone.rs", "chart/values.yaml"];
        for name in mine.iter().chain(&generated).chain(&["dist/image/index.json", LOCK_FILE]) {
            write(folder.join(name), "old");
        }
        std::os::unix::fs::symlink("nowhere", folder.join("service/link")).unwrap();
        fs::create_dir(folder.join("service/empty")).unwrap();
        let listed = generated.iter().map(|name| (name.parse().unwrap(), Digest::of("old"))).collect();
        let stage = Stage::new(&folder).unwrap();
        for name in [LOCK_FILE, "service/src/main.rs", "chart/values.yaml", "dist/image/oci-layout"] {
            write(stage.path().join(name), "new");
        }
        stage.publish(&listed).unwrap();
        let read = |name: &str| fs::read_to_string(folder.join(name)).ok();
        for name in mine {
            assert_eq!(read(name).as_deref(), Some("old"), "{name}");
        }
        assert!(folder.join("service/link").is_symlink() && folder.join("service/empty").is_dir());
        for name in ["service/src/gone.rs", "service/old", "dist/image/index.json"] {
            assert!(!folder.join(name).exists(), "{name}");
        }
        assert_eq!(read("service/src/main.rs").as_deref(), Some("new"));
        let left: Vec<_> = fs::read_dir(&folder).unwrap().map(|entry| entry.unwrap().file_name()).collect();
        assert!(!left.iter().any(|name| name.to_string_lossy().starts_with(".nimify-")), "{left:?}");
    }

    #[test]
    fn a_stage_that_is_dropped_takes_its_folders_with_it() {
        let home = tempfile::tempdir().unwrap();
        let folder = home.path().join("a/b/out");
        drop(Stage::new(&folder).unwrap());
        assert_eq!(fs::read_dir(home.path()).unwrap().count(), 0);
        let stage = Stage::new(&folder).unwrap();
        write(stage.path().join("file"), "new");
        stage.publish(&BTreeMap::new()).unwrap();
        assert!(folder.join("file").is_file());
    }

    #[test]
    fn a_folder_that_came_meanwhile_is_left_alone() {
        let home = tempfile::tempdir().unwrap();
        let folder = home.path().join("out");
        let stage = Stage::new(&folder).unwrap();
        write(folder.join("thesis.tex"), "mine");
        assert!(stage.publish(&BTreeMap::new()).is_err());
        assert_eq!(fs::read_to_string(folder.join("thesis.tex")).unwrap(), "mine");
        assert_eq!(fs::read_dir(home.path()).unwrap().count(), 1);
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
