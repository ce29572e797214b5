//! The staged workspace: the runtime's sources, the lock file and one service, in a folder of the cache that no other
//! manifest or cargo configuration reaches.

use std::fs::{self, File, TryLockError};
use std::path::{Path, PathBuf};
use std::time::Duration;

use nimify_runtime::sources;

use super::{Error, Progress, Stop};
use crate::digest::Digest;
use crate::files::{self, FileTree};

/// The workspace less the service: a function of this build of nimify alone.
pub fn workspace() -> FileTree {
    let runtime = sources::FILES.iter().map(|(path, bytes)| {
        let bytes = if *path == "Cargo.toml" {
            let manifest = std::str::from_utf8(bytes).expect("a manifest is UTF-8");
            without_tables(manifest, &["[dev-dependencies]", "[[bench]]"]).into_bytes()
        } else {
            bytes.to_vec()
        };
        (format!("runtime/{path}"), bytes)
    });
    let root = [("Cargo.toml", sources::WORKSPACE), ("Cargo.lock", sources::LOCK)];
    let root = root.into_iter().map(|(path, text)| (path.to_string(), text.as_bytes().to_vec()));
    runtime.chain(root).map(|(path, bytes)| (path.parse().expect("embedded paths are relative"), bytes)).collect()
}

/// A digest of every path and content of a tree.
pub(super) fn tree_digest(tree: &FileTree) -> Digest {
    let list: Vec<_> = tree.iter().map(|(path, bytes)| (path.as_str(), Digest::of(bytes))).collect();
    Digest::of(serde_json::to_vec(&list).expect("paths and digests are texts"))
}

/// A manifest without some of its tables: the runtime's tests and benchmarks don't travel, nor is what they need locked.
fn without_tables(manifest: &str, headers: &[&str]) -> String {
    let mut inside = false;
    let kept = manifest.split_inclusive('\n').filter(|line| {
        if line.starts_with('[') {
            inside = headers.contains(&line.trim_end());
        }
        !inside
    });
    kept.collect()
}

/// A staged workspace that this process alone may write and build in, until it is dropped.
pub(super) struct Stage {
    folder: PathBuf,
    _lock: File,
}

impl Stage {
    /// Waits for the workspace's lock and makes the workspace hold exactly what it should.
    pub(super) fn open(cache: &Path, stop: Stop<'_>, progress: &mut dyn FnMut(Progress)) -> Result<Self, Error> {
        let tree = workspace();
        // By the lock file alone: a change of the runtime compiles the runtime, and not what it is made of.
        let name = format!("{}-{}", env!("CARGO_PKG_VERSION"), &Digest::of(sources::LOCK).hex()[..16]);
        let folder = cache.join("build").join(name);
        fs::create_dir_all(&folder).map_err(Error::files("create", &folder))?;
        // The real path, since the compiler knows files by it and their prefix is to be replaced.
        let folder = folder.canonicalize().map_err(Error::files("find", &folder))?;
        let lock = lock(&folder.join(".lock"), stop, progress)?;

        let runtime = folder.join("runtime");
        let below = |part: &FileTree| -> FileTree {
            part.iter()
                .filter_map(|(path, bytes)| {
                    Some((path.as_str().strip_prefix("runtime/")?.parse().ok()?, bytes.clone()))
                })
                .collect()
        };
        // Left alone where it is right: new timestamps would compile the runtime again.
        if files::read_tree(&runtime).ok() != Some(below(&tree)) {
            remove(&runtime)?;
            files::write_tree(&folder, &tree).map_err(Error::files("write", &folder))?;
        }
        for (file, text) in [("Cargo.toml", sources::WORKSPACE), ("Cargo.lock", sources::LOCK)] {
            let path = folder.join(file);
            if fs::read(&path).ok().as_deref() != Some(text.as_bytes()) {
                fs::write(&path, text).map_err(Error::files("write", &path))?;
            }
        }
        Ok(Stage { folder, _lock: lock })
    }

    /// The workspace's folder.
    pub(super) fn folder(&self) -> &Path {
        &self.folder
    }

    /// Where cargo builds.
    pub(super) fn target(&self) -> PathBuf {
        self.folder.join("target")
    }

    /// Puts a crate in the service's place.
    pub(super) fn write_service(&self, crate_files: &FileTree) -> Result<(), Error> {
        let folder = self.folder.join("service");
        remove(&folder)?;
        files::write_tree(&folder, crate_files).map_err(Error::files("write", &folder))
    }
}

fn remove(folder: &Path) -> Result<(), Error> {
    match fs::remove_dir_all(folder) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(Error::files("remove", folder)(error)),
        _ => Ok(()),
    }
}

fn lock(path: &Path, stop: Stop<'_>, progress: &mut dyn FnMut(Progress)) -> Result<File, Error> {
    let file = File::options().create(true).append(true).open(path).map_err(Error::files("open", path))?;
    let mut told = false;
    loop {
        match file.try_lock() {
            Ok(()) => return Ok(file),
            Err(TryLockError::Error(error)) => return Err(Error::files("lock", path)(error)),
            Err(TryLockError::WouldBlock) if stop() => return Err(Error::Interrupted),
            Err(TryLockError::WouldBlock) => {
                if !told {
                    progress(Progress::Waiting);
                    told = true;
                }
                std::thread::sleep(Duration::from_millis(50));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tables_are_taken_out_of_a_manifest() {
        let manifest = "[a]\nx = 1\n\n[dev-dependencies]\ny = 1\n\n[[bin]]\nz = 1\n\n[[bench]]\nname = \"b\"\n";
        let kept = without_tables(manifest, &["[dev-dependencies]", "[[bench]]"]);
        assert_eq!(kept, "[a]\nx = 1\n\n[[bin]]\nz = 1\n\n");
    }

    #[test]
    fn the_runtimes_manifest_names_no_file_that_stays_behind() {
        let tree = workspace();
        let manifest = &tree[&"runtime/Cargo.toml".parse().unwrap()];
        let manifest = std::str::from_utf8(manifest).unwrap();
        for table in ["[[bench]]", "[[test]]", "[[example]]", "dev-dependencies"] {
            assert!(!manifest.contains(table), "{table}");
        }
        assert!(manifest.contains("[[bin]]"));
    }

    #[test]
    fn a_stage_is_made_whole_again_and_kept_where_it_is_whole() {
        let home = tempfile::tempdir().unwrap();
        let open = || Stage::open(home.path(), &|| false, &mut |_| {}).unwrap().folder().to_path_buf();
        let folder = open();
        let main = folder.join("runtime/src/lib.rs");
        let written = fs::metadata(&main).unwrap().modified().unwrap();
        assert_eq!(open(), folder);
        assert_eq!(fs::metadata(&main).unwrap().modified().unwrap(), written);
        fs::write(&main, "broken").unwrap();
        fs::write(folder.join("runtime/src/more.rs"), "foreign").unwrap();
        fs::write(folder.join("Cargo.lock"), "").unwrap();
        open();
        assert_ne!(fs::read_to_string(&main).unwrap(), "broken");
        assert!(!folder.join("runtime/src/more.rs").exists());
        assert_eq!(fs::read_to_string(folder.join("Cargo.lock")).unwrap(), sources::LOCK);
    }

    #[test]
    fn a_stage_in_use_is_waited_for_until_stopped() {
        let home = tempfile::tempdir().unwrap();
        let stop = std::cell::Cell::new(false);
        let _stage = Stage::open(home.path(), &|| false, &mut |_| {}).unwrap();
        let mut waited = 0;
        let mut progress = |step| {
            waited += usize::from(matches!(step, Progress::Waiting));
            stop.set(true);
        };
        let result = Stage::open(home.path(), &|| stop.get(), &mut progress);
        assert!(matches!(result.err(), Some(Error::Interrupted)));
        assert_eq!(waited, 1);
    }
}
