//! A wheel's shared libraries: taken out of the archive, and checked when they are read again.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{Read, Write};
use std::path::{Path, PathBuf};

use super::Error;
use super::files;
use crate::digest::Digest;
use crate::interrupt::Stoppable;

/// Largest library that is taken: cuBLAS' is 0.6 GB.
const LARGEST: u64 = 4 << 30;
/// Most libraries of a wheel.
const MOST: usize = 256;
/// The digests of the libraries beside them.
const FACTS: &str = "libraries.json";

/// Writes every shared library of the wheel into `target`, by its file name, and their digests beside them.
pub(super) fn unpack(wheel: &Path, target: &Path) -> Result<(), Error> {
    let unreadable = |error: String| Error::Wheel { path: wheel.into(), reason: error };
    let file = File::open(wheel).map_err(files("read", wheel))?;
    let mut archive = zip::ZipArchive::new(file).map_err(|error| unreadable(error.to_string()))?;
    let mut facts: BTreeMap<String, Digest> = BTreeMap::new();
    for index in 0..archive.len() {
        let entry = archive.by_index(index).map_err(|error| unreadable(error.to_string()))?;
        let name = entry.name().map_err(|error| unreadable(error.to_string()))?;
        let Some(name) = library_name(&name).map(String::from) else { continue };
        if facts.len() >= MOST || facts.contains_key(&name) {
            return Err(unreadable(format!("it has too many libraries, or two called `{name}`")));
        }
        let path = target.join(&name);
        let mut out = File::create(&path).map_err(files("write", &path))?;
        let size = copy(Stoppable(entry).take(LARGEST), &mut out, &path, &unreadable)?;
        if size == LARGEST {
            return Err(unreadable(format!("its `{name}` is larger than any library")));
        }
        facts.insert(name, Digest::of_file(&path).map_err(files("read", &path))?.0);
    }
    let path = target.join(FACTS);
    fs::write(&path, serde_json::to_vec(&facts).expect("names and digests are JSON")).map_err(files("write", &path))
}

/// Tells a wheel that can't be read from a disk that can't be written.
fn copy(mut from: impl Read, to: &mut File, path: &Path, unreadable: &dyn Fn(String) -> Error) -> Result<u64, Error> {
    let (mut buffer, mut size) = (vec![0; 1 << 20], 0);
    loop {
        match from.read(&mut buffer).map_err(|error| unreadable(error.to_string()))? {
            0 => return Ok(size),
            n => {
                to.write_all(&buffer[..n]).map_err(files("write", path))?;
                size += n as u64;
            }
        }
    }
}

/// The libraries that [`unpack`] wrote, by name; `None` unless all are as they were.
pub(super) fn read(folder: &Path) -> Option<BTreeMap<String, PathBuf>> {
    let facts: BTreeMap<String, Digest> = serde_json::from_slice(&fs::read(folder.join(FACTS)).ok()?).ok()?;
    let whole = |(name, digest): (String, Digest)| {
        let path = folder.join(library_name(&name)?);
        (Digest::of_file(&path).ok()?.0 == digest).then_some((name, path))
    };
    facts.into_iter().map(whole).collect()
}

/// The file name of a shared library; `None` for other files, and for modules of Python.
fn library_name(path: &str) -> Option<&str> {
    let name = path.rsplit('/').next().unwrap_or(path);
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"+-._".contains(&byte);
    let library = name.starts_with("lib") && (name.ends_with(".so") || name.contains(".so."));
    (library && name.bytes().all(plain)).then_some(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    pub(super) fn wheel(path: &Path, entries: &[(&str, &[u8])]) {
        let mut zip = zip::ZipWriter::new(File::create(path).unwrap());
        for (name, bytes) in entries {
            zip.start_file(*name, zip::write::SimpleFileOptions::default()).unwrap();
            zip.write_all(bytes).unwrap();
        }
        zip.finish().unwrap();
    }

    #[test]
    fn libraries_come_out_and_nothing_else_does() {
        let home = tempfile::tempdir().unwrap();
        let (archive, out) = (home.path().join("w.whl"), home.path().join("out"));
        fs::create_dir(&out).unwrap();
        let entries: [(&str, &[u8]); 5] = [
            ("nvidia/cu13/lib/libcudart.so.13", b"library"),
            ("../../libescape.so.1", b"only its name counts"),
            ("nvidia/cu13/include/cuda.h", b""),
            ("onnxruntime/capi/onnxruntime_pybind11_state.so", b""),
            ("x.dist-info/METADATA", b""),
        ];
        wheel(&archive, &entries);
        unpack(&archive, &out).unwrap();
        let found = read(&out).unwrap();
        assert_eq!(found.keys().collect::<Vec<_>>(), ["libcudart.so.13", "libescape.so.1"]);
        assert!(found.values().all(|path| path.starts_with(&out) && path.is_file()));
        fs::write(out.join("libcudart.so.13"), "changed").unwrap();
        assert_eq!(read(&out), None);
    }

    #[test]
    fn what_is_no_wheel_or_has_two_of_a_name_is_refused() {
        let home = tempfile::tempdir().unwrap();
        let (archive, out) = (home.path().join("w.whl"), home.path().join("out"));
        fs::create_dir(&out).unwrap();
        fs::write(&archive, "not a zip").unwrap();
        assert!(matches!(unpack(&archive, &out), Err(Error::Wheel { .. })));
        wheel(&archive, &[("a/liba.so.1", b""), ("b/liba.so.1", b"")]);
        assert!(unpack(&archive, &out).unwrap_err().to_string().contains("two called `liba.so.1`"));
    }
}
