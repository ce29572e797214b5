//! The cache: `$NIMIFY_CACHE`, `$XDG_CACHE_HOME/nimify` or `~/.cache/nimify`; entries by content, one folder each.
//!
//! Two runs may work at once: an entry is made beside its place under a lock of its own and then renamed. Whoever
//! takes an entry checks it; one that fails its check is thrown away and made again. Files are copied out (the
//! system shares their blocks where it can), never hard-linked, so that nothing outside can change an entry.

use std::fs::{self, File, TryLockError};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use crate::digest::Digest;
use crate::interrupt;

/// Kinds of entries: one folder of the cache each. Other folders of the cache are not pruned by it.
pub const KINDS: [&str; 12] = [
    "apt",
    "bases",
    "blobs",
    "debian",
    "layers",
    "locales",
    "models",
    "onnxruntime",
    "pushed",
    "sources",
    "unpacked",
    "wheels",
];

/// Why the cache can't be used.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// There is no home folder to put it in. Hint: set `NIMIFY_CACHE`.
    #[error("no place for the cache: none of `NIMIFY_CACHE`, `XDG_CACHE_HOME` and `HOME` is set")]
    NoPlace,
    /// The system refused something.
    #[error("can't {action} `{path}` in the cache")]
    Files {
        /// What was attempted.
        action: &'static str,
        /// On which path.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// Pruning while another run uses the cache.
    #[error("another nimify is using the cache `{0}`")]
    InUse(PathBuf),
}

fn files(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Error {
    let path = path.to_path_buf();
    move |source| Error::Files { action, path, source }
}

/// Where the cache is, by what `variable` says about the environment. Relative paths are ignored, as XDG asks.
pub fn root(variable: impl Fn(&str) -> Option<std::ffi::OsString>) -> Result<PathBuf, Error> {
    let folder = |name: &str| variable(name).map(PathBuf::from).filter(|path| path.is_absolute());
    match variable("NIMIFY_CACHE").filter(|path| !path.is_empty()) {
        Some(path) => std::path::absolute(PathBuf::from(path)).map_err(files("find", Path::new("NIMIFY_CACHE"))),
        None => folder("XDG_CACHE_HOME")
            .or_else(|| folder("HOME").map(|home| home.join(".cache")))
            .map(|parent| parent.join("nimify"))
            .ok_or(Error::NoPlace),
    }
}

/// An open cache. While one is open, nothing is pruned: paths taken from it stay good.
#[derive(Debug, Clone)]
pub struct Cache {
    root: PathBuf,
    /// Holds a shared lock until the last clone goes.
    _in_use: Arc<File>,
}

/// One entry, as [`contents`] lists it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// One of [`KINDS`].
    pub kind: &'static str,
    /// Its folder.
    pub path: PathBuf,
    /// Bytes of its files.
    pub bytes: u64,
}

impl Cache {
    /// Opens the cache at `root`, making the folder if need be.
    pub fn open(root: PathBuf) -> Result<Self, Error> {
        fs::create_dir_all(&root).map_err(files("make", &root))?;
        // Standard marks for back-up programs: what is here can be made again.
        let tag = root.join("CACHEDIR.TAG");
        if !tag.exists() {
            let text = "Signature: 8a477f597d28d172789f06886806bc55\n# Made by nimify; see `nimify doctor`.\n";
            crate::files::write_atomically(&tag, text.as_bytes()).map_err(files("write", &tag))?;
        }
        let in_use = lock_file(&root.join("in-use"))?;
        // Another run may be emptying it.
        wait_for(|| in_use.try_lock_shared()).map_err(files("lock", &root))?;
        Ok(Cache { root, _in_use: Arc::new(in_use) })
    }

    /// Opens the cache that this process's environment names.
    pub fn from_environment() -> Result<Self, Error> {
        Self::open(root(|name| std::env::var_os(name))?)
    }

    /// The cache's folder.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// A folder of `kind` that changes over time, for this run alone as long as the file given back is open.
    pub fn alone(&self, kind: &'static str, name: &str) -> Result<(PathBuf, File), Error> {
        debug_assert!(KINDS.contains(&kind), "`{kind}` isn't listed in KINDS");
        let place = self.root.join(kind).join(name);
        fs::create_dir_all(&place).map_err(files("make", &place))?;
        let lock = lock_file(&self.root.join(kind).join(format!("{name}.lock")))?;
        wait_for(|| lock.try_lock()).map_err(files("lock", &place))?;
        Ok((place, lock))
    }

    /// A new folder for what is unpacked on the way and goes again: it may be large, and temporary folders are often in
    /// memory. What a killed run leaves here is pruned.
    pub fn scratch(&self) -> Result<tempfile::TempDir, Error> {
        let folder = self.root.join("unpacked");
        fs::create_dir_all(&folder).map_err(files("make", &folder))?;
        tempfile::tempdir_in(&folder).map_err(files("make a folder in", &folder))
    }

    /// Takes the entry `key` of `kind`, making it if it isn't there or fails its check.
    ///
    /// `check` reads an entry's folder and gives its value, or `None` if it isn't what it should be. `make` fills an
    /// empty folder, which `check` must then accept.
    pub fn take<T, E: From<Error>>(
        &self,
        kind: &'static str,
        key: &Digest,
        check: impl Fn(&Path) -> Option<T>,
        make: impl FnOnce(&Path) -> Result<(), E>,
    ) -> Result<T, E> {
        debug_assert!(KINDS.contains(&kind), "`{kind}` isn't listed in KINDS");
        let kind = self.root.join(kind);
        let place = kind.join(key.hex());
        if let Some(value) = check(&place) {
            return Ok(value);
        }
        // A check that was broken off says nothing about the entry.
        interrupt::check().map_err(|stop| files("check", &place)(stop.into()))?;
        fs::create_dir_all(&kind).map_err(files("make", &kind))?;
        let lock = lock_file(&kind.join(format!("{}.lock", key.hex())))?;
        wait_for(|| lock.try_lock()).map_err(files("lock", &place))?;
        // Another run may have made it while this one waited.
        if let Some(value) = check(&place) {
            return Ok(value);
        }
        interrupt::check().map_err(|stop| files("check", &place)(stop.into()))?;
        // What an interrupted run left goes too: its name is this entry's.
        let stage = kind.join(format!(".making-{}", key.hex()));
        remove(&place)?;
        remove(&stage)?;
        fs::create_dir(&stage).map_err(files("make", &stage))?;
        if let Err(error) = make(&stage) {
            remove(&stage)?;
            return Err(error);
        }
        fs::rename(&stage, &place).map_err(files("put in place", &place))?;
        check(&place).ok_or_else(|| files("check", &place)(io::Error::other("it isn't what was just written")).into())
    }
}

fn remove(folder: &Path) -> Result<(), Error> {
    match fs::remove_dir_all(folder) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(files("remove", folder)(error)),
        _ => Ok(()),
    }
}

/// Waits for a lock that another run holds, until the user asks to stop.
fn wait_for(lock: impl Fn() -> Result<(), TryLockError>) -> io::Result<()> {
    loop {
        match lock() {
            Ok(()) => return Ok(()),
            Err(TryLockError::Error(error)) => return Err(error),
            Err(TryLockError::WouldBlock) => interrupt::check()?,
        }
        std::thread::sleep(Duration::from_millis(10));
    }
}

fn lock_file(path: &Path) -> Result<File, Error> {
    File::options().create(true).append(true).open(path).map_err(files("open", path))
}

/// What the cache at `root` holds, by kind and key.
pub fn contents(root: &Path) -> Result<Vec<Entry>, Error> {
    let mut entries = Vec::new();
    for kind in KINDS {
        let folder = root.join(kind);
        let mut paths: Vec<PathBuf> = match fs::read_dir(&folder) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
            Err(error) => return Err(files("list", &folder)(error)),
            Ok(read) => read.filter_map(|entry| entry.ok().map(|entry| entry.path())).collect(),
        };
        paths.sort();
        entries.extend(paths.into_iter().filter(|path| path.is_dir()).map(|path| Entry {
            kind,
            bytes: bytes_below(&path),
            path,
        }));
    }
    Ok(entries)
}

fn bytes_below(folder: &Path) -> u64 {
    let files = walkdir::WalkDir::new(folder).into_iter().filter_map(Result::ok);
    files.filter_map(|entry| entry.metadata().ok()).filter(|data| data.is_file()).map(|data| data.len()).sum()
}

/// Empties the cache at `root` of all [`KINDS`], unless another run is using it. Returns the bytes freed.
pub fn prune(root: &Path) -> Result<u64, Error> {
    if !root.exists() {
        return Ok(0);
    }
    let lock = lock_file(&root.join("in-use"))?;
    match lock.try_lock() {
        Ok(()) => {}
        Err(TryLockError::WouldBlock) => return Err(Error::InUse(root.into())),
        Err(TryLockError::Error(error)) => return Err(files("lock", root)(error)),
    }
    let mut freed = 0;
    for folder in KINDS.map(|kind| root.join(kind)).iter().filter(|folder| folder.exists()) {
        freed += bytes_below(folder);
        fs::remove_dir_all(folder).map_err(files("remove", folder))?;
    }
    Ok(freed)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(place: &Path) -> Option<String> {
        fs::read_to_string(place.join("text")).ok().filter(|text| text.starts_with("good"))
    }

    fn write(text: &'static str) -> impl FnOnce(&Path) -> Result<(), Error> {
        move |stage| fs::write(stage.join("text"), text).map_err(files("write", stage))
    }

    #[test]
    fn the_place_comes_from_the_environment() {
        let with = |set: &[(&str, &str)]| {
            let set: std::collections::BTreeMap<String, std::ffi::OsString> =
                set.iter().map(|(name, value)| (name.to_string(), value.into())).collect();
            root(move |name| set.get(name).cloned()).ok()
        };
        assert_eq!(with(&[("HOME", "/h")]), Some("/h/.cache/nimify".into()));
        assert_eq!(with(&[("HOME", "/h"), ("XDG_CACHE_HOME", "/x")]), Some("/x/nimify".into()));
        assert_eq!(with(&[("HOME", "/h"), ("XDG_CACHE_HOME", "x")]), Some("/h/.cache/nimify".into()));
        assert_eq!(with(&[("HOME", "/h"), ("NIMIFY_CACHE", "/n")]), Some("/n".into()));
        assert_eq!(with(&[("NIMIFY_CACHE", "")]), None);
    }

    #[test]
    fn an_entry_is_made_once_and_again_when_it_is_damaged() {
        let home = tempfile::tempdir().unwrap();
        let cache = Cache::open(home.path().join("c")).unwrap();
        let key = Digest::of("key");
        assert_eq!(cache.take("layers", &key, read, write("good 1")).unwrap(), "good 1");
        assert_eq!(cache.take("layers", &key, read, write("good 2")).unwrap(), "good 1");
        fs::write(cache.root().join("layers").join(key.hex()).join("text"), "bad").unwrap();
        assert_eq!(cache.take("layers", &key, read, write("good 3")).unwrap(), "good 3");
        assert!(matches!(cache.take("layers", &Digest::of("other"), read, write("bad")), Err(Error::Files { .. })));
    }

    #[test]
    fn a_failed_entry_leaves_nothing() {
        let home = tempfile::tempdir().unwrap();
        let cache = Cache::open(home.path().into()).unwrap();
        let fail = |_: &Path| Err(Error::NoPlace);
        assert!(matches!(cache.take("layers", &Digest::of(""), read, fail), Err(Error::NoPlace)));
        assert_eq!(contents(home.path()).unwrap(), []);
    }

    #[test]
    fn what_an_interrupted_run_left_is_cleared() {
        let home = tempfile::tempdir().unwrap();
        let cache = Cache::open(home.path().into()).unwrap();
        let left = home.path().join("layers").join(format!(".making-{}", Digest::of("").hex()));
        fs::create_dir_all(&left).unwrap();
        fs::write(left.join("half"), "").unwrap();
        cache.take("layers", &Digest::of(""), read, write("good")).unwrap();
        let entries = contents(home.path()).unwrap();
        assert_eq!(entries.iter().map(|entry| entry.bytes).collect::<Vec<_>>(), [4]);
    }

    #[test]
    fn many_at_once_make_one_entry() {
        let home = tempfile::tempdir().unwrap();
        let cache = Cache::open(home.path().into()).unwrap();
        let made = std::sync::atomic::AtomicUsize::new(0);
        std::thread::scope(|scope| {
            for _ in 0..8 {
                scope.spawn(|| {
                    cache.take("layers", &Digest::of(""), read, |stage| {
                        made.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
                        std::thread::sleep(std::time::Duration::from_millis(20));
                        write("good")(stage)
                    })
                });
            }
        });
        assert_eq!(made.into_inner(), 1);
    }

    #[test]
    fn pruning_waits_for_no_one_and_takes_all() {
        let home = tempfile::tempdir().unwrap();
        let cache = Cache::open(home.path().into()).unwrap();
        cache.take("layers", &Digest::of(""), read, write("good")).unwrap();
        assert!(matches!(prune(home.path()), Err(Error::InUse(_))));
        drop(cache);
        assert_eq!(contents(home.path()).unwrap().iter().map(|entry| entry.bytes).sum::<u64>(), 4);
        assert_eq!(prune(home.path()).unwrap(), 4);
        assert_eq!(contents(home.path()).unwrap(), []);
    }
}
