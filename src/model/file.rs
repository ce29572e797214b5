//! From the path that the user names to the bytes of one model file.

use std::fs::File;
use std::io;
use std::os::unix::fs::{FileTypeExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use super::error::Error;

/// A regular file, open for reading.
#[derive(Debug)]
pub(super) struct Open {
    pub(super) file: File,
    pub(super) size: u64,
}

/// Why a path is no regular file that can be read.
#[derive(Debug, thiserror::Error)]
pub(super) enum CannotOpen {
    #[error("is {0}, not a regular file")]
    NotRegular(&'static str),
    #[error("can't be read: {0}")]
    Io(#[from] io::Error),
}

/// Opens a regular file. Looks before it opens, since opening a pipe waits and opening a device may do anything, and
/// again after, since the path may have changed meanwhile.
pub(super) fn open(path: &Path) -> Result<Open, CannotOpen> {
    regular(&std::fs::metadata(path)?)?;
    let no_wait = rustix::fs::OFlags::NONBLOCK.bits() as i32;
    let file = std::fs::OpenOptions::new().read(true).custom_flags(no_wait).open(path)?;
    let metadata = file.metadata()?;
    regular(&metadata)?;
    Ok(Open { size: metadata.len(), file })
}

fn regular(metadata: &std::fs::Metadata) -> Result<(), CannotOpen> {
    let kind = metadata.file_type();
    Err(CannotOpen::NotRegular(match () {
        () if kind.is_file() => return Ok(()),
        () if kind.is_dir() => "a folder",
        () if kind.is_fifo() => "a pipe",
        () if kind.is_socket() => "a socket",
        () => "a device",
    }))
}

/// Maps a file of at least one byte into memory, so that weights never come to lie on the heap.
#[expect(unsafe_code, reason = "mapping a file is unsafe: another process may change it meanwhile")]
pub(super) fn map(open: &Open) -> io::Result<memmap2::Mmap> {
    // SAFETY: the map is private and only read, as bytes, each of which is valid whatever its value. Every read checks
    // its bounds against the length of the map. A file that somebody cuts short meanwhile ends the process by SIGBUS,
    // as it does for every program that maps files; it can't make it read what is not there.
    unsafe { memmap2::Mmap::map(&open.file) }
}

/// The folder that a file is in.
pub(super) fn folder(path: &Path) -> &Path {
    path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

/// The model file that `path` means: itself, or the one `.onnx` file in a folder; where it has none, its one `.ort` file,
/// or else its one TensorRT engine.
pub(super) fn locate(path: &Path) -> Result<PathBuf, Error> {
    let metadata = std::fs::metadata(path).map_err(|error| match error.kind() {
        io::ErrorKind::NotFound => Error::Missing { path: path.into(), nearest: nearest(path) },
        _ => Error::reading(path, error),
    })?;
    if !metadata.is_dir() {
        return Ok(path.into());
    }
    let Found { mut models, mut others } = search(path)?;
    for extensions in &EXTENSIONS[1..] {
        if models.is_empty() {
            let is_one = |other: &mut PathBuf| extensions.iter().any(|wanted| has_extension(other, wanted));
            models = others.extract_if(.., is_one).collect();
        }
    }
    match models.len() {
        1 => Ok(models.remove(0)),
        0 => Err(Error::NoModel { path: path.into(), found: others }),
        _ => Err(Error::SeveralModels { path: path.into(), models }),
    }
}

#[derive(Default)]
struct Found {
    models: Vec<PathBuf>,
    others: Vec<PathBuf>,
}

/// How the names of model files end, in lower case. Of several kinds in a folder the first that it has is meant.
pub const EXTENSIONS: [&[&str]; 3] = [&["onnx"], &["ort"], &["plan", "engine", "trt"]];

/// How deep a folder is searched, and how many of its entries: a model's folder has a few.
const SEARCH_DEPTH: usize = 8;
const SEARCH_ENTRIES: usize = 10_000;
/// Files that an error names.
const NAMED: usize = 20;

fn search(folder: &Path) -> Result<Found, Error> {
    let mut found = Found::default();
    let hidden = |name: &std::ffi::OsStr| name.as_encoded_bytes().starts_with(b".");
    let walk = walkdir::WalkDir::new(folder).min_depth(1).max_depth(SEARCH_DEPTH).sort_by_file_name();
    let entries = walk.into_iter().filter_entry(|entry| entry.depth() == 0 || !hidden(entry.file_name()));
    for entry in entries.take(SEARCH_ENTRIES) {
        let entry = entry.map_err(|error| {
            let path = error.path().unwrap_or(folder).to_path_buf();
            Error::reading(&path, error.into_io_error().unwrap_or_else(|| io::Error::other("a loop of links")))
        })?;
        // A link to a file counts, as in a model hub's cache; a link to a folder is not followed.
        let is_file = std::fs::metadata(entry.path()).is_ok_and(|metadata| metadata.is_file());
        let is_onnx = has_extension(entry.path(), "onnx");
        match (is_file, is_onnx) {
            (true, true) if found.models.len() < NAMED => found.models.push(entry.into_path()),
            (true, false) if found.others.len() < NAMED => found.others.push(entry.into_path()),
            _ => {}
        }
    }
    Ok(found)
}

fn has_extension(path: &Path, wanted: &str) -> bool {
    path.extension().is_some_and(|extension| extension.eq_ignore_ascii_case(wanted))
}

/// The name in the same folder that is most like the one asked for.
fn nearest(path: &Path) -> Option<PathBuf> {
    let entries = std::fs::read_dir(folder(path)).ok()?.take(SEARCH_ENTRIES).flatten();
    let mut names: Vec<String> = entries.filter_map(|entry| entry.file_name().into_string().ok()).collect();
    names.sort();
    let near = crate::nearest::nearest(path.file_name()?.to_str()?, names.iter().map(String::as_str))?;
    Some(path.with_file_name(near))
}
