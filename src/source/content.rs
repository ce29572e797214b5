//! The files of a model while they are put together, and the entry of the cache that they become: counted, limited, and
//! with a listing of their digests beside them, by which they are checked whenever they are taken.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File};
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use super::Error;
use super::choose::is_model;
use super::error::files;
use crate::digest::Digest;
use crate::files::RelativePath;
use crate::interrupt::Stoppable;

/// Most files of a model.
pub(super) const MOST_FILES: usize = 10_000;
/// Most bytes of all files, once they are unpacked.
pub(super) const LARGEST_MODEL: u64 = 256 << 30;

/// The folder of an entry that holds the model's files, and the file beside it with their digests.
const FILES: &str = "files";
const LISTING: &str = "digests.json";

/// The files of a model by their digests.
pub(super) type Listing = BTreeMap<RelativePath, Digest>;

/// The files of the cached model in the folder `entry`, if they are as they were written.
pub(super) fn whole(entry: &Path) -> Option<PathBuf> {
    let text = fs::read(entry.join(LISTING)).ok()?;
    let listing: Listing = serde_json::from_slice(&text).ok()?;
    let folder = entry.join(FILES);
    let same = |(path, digest): (&RelativePath, &Digest)| {
        Digest::of_file(&folder.join(path)).is_ok_and(|(found, _)| found == *digest)
    };
    listing.iter().all(same).then_some(folder)
}

/// What a listing is told apart by.
pub(super) fn digest(listing: &Listing) -> Digest {
    Digest::of(text(listing))
}

fn text(listing: &Listing) -> Vec<u8> {
    serde_json::to_vec(listing).expect("digests are texts")
}

/// Writes the listing beside the files of the folder `entry`.
pub(super) fn write_listing(entry: &Path, listing: &Listing) -> Result<(), Error> {
    let path = entry.join(LISTING);
    fs::write(&path, text(listing)).map_err(files("write", &path))
}

/// A model while it is put together.
#[derive(Debug)]
pub(super) struct ModelFiles {
    folder: PathBuf,
    files: BTreeSet<RelativePath>,
    bytes: u64,
}

/// Why a file can't be taken.
#[derive(Debug)]
pub(super) enum Unfit {
    /// The system, or bytes that aren't what they say.
    Files(io::Error),
    /// More than a model may have, as the rest of a sentence.
    Model(String),
}

impl From<io::Error> for Unfit {
    fn from(error: io::Error) -> Self {
        Unfit::Files(error)
    }
}

impl Unfit {
    /// As the error of `source_name`; `path` is what was being worked on.
    pub(super) fn of(self, source_name: &str, path: &Path) -> Error {
        match self {
            Unfit::Files(source) => files("unpack", path)(source),
            Unfit::Model(reason) => Error::NotAModel { source_name: source_name.into(), reason },
        }
    }
}

impl ModelFiles {
    /// Begins a model in the folder `entry`, which is there.
    pub(super) fn begin(entry: &Path) -> Result<Self, Error> {
        let folder = entry.join(FILES);
        fs::create_dir(&folder).map_err(files("make", &folder))?;
        Ok(ModelFiles { folder, files: BTreeSet::new(), bytes: 0 })
    }

    /// Where a file of the model stands.
    pub(super) fn path(&self, path: &RelativePath) -> PathBuf {
        self.folder.join(path)
    }

    /// The files so far.
    #[cfg(test)]
    pub(super) fn paths(&self) -> impl Iterator<Item = &RelativePath> {
        self.files.iter()
    }

    /// Moves the file `from`, which is on the cache's disk, into the model.
    pub(super) fn take(&mut self, path: &RelativePath, from: &Path) -> Result<(), Unfit> {
        self.count(path, fs::metadata(from)?.len())?;
        Ok(fs::rename(from, self.place(path)?)?)
    }

    /// Writes all that `from` gives into a file of the model.
    pub(super) fn write(&mut self, path: &RelativePath, from: impl Read) -> Result<(), Unfit> {
        let mut content = from.take(LARGEST_MODEL - self.bytes + 1);
        let size = io::copy(&mut Stoppable(&mut content), &mut File::create(self.place(path)?)?)?;
        self.count(path, size)
    }

    fn count(&mut self, path: &RelativePath, bytes: u64) -> Result<(), Unfit> {
        self.files.insert(path.clone());
        if self.files.len() > MOST_FILES {
            return Err(Unfit::Model(format!("has more than {MOST_FILES} files")));
        }
        self.bytes = self.bytes.saturating_add(bytes);
        if self.bytes > LARGEST_MODEL {
            return Err(Unfit::Model(format!("has more than {LARGEST_MODEL} bytes")));
        }
        Ok(())
    }

    /// Where a file goes, its folder made.
    fn place(&self, path: &RelativePath) -> io::Result<PathBuf> {
        let place = self.path(path);
        fs::create_dir_all(place.parent().expect("a joined path has a parent"))?;
        Ok(place)
    }

    /// Takes away a file, or a folder with all that is in it; what `keep` has stays.
    pub(super) fn remove(&mut self, path: &RelativePath, keep: &BTreeSet<RelativePath>) -> io::Result<()> {
        let below = format!("{}/", path.as_str());
        let gone =
            |other: &RelativePath| (other == path || other.as_str().starts_with(&below)) && !keep.contains(other);
        for path in self.files.iter().filter(|other| gone(other)) {
            fs::remove_file(self.folder.join(path))?;
        }
        self.files.retain(|other| !gone(other));
        Ok(())
    }

    /// Whether there is something to serve; why not, as the rest of a sentence. `place` is where files would count.
    pub(super) fn check(&self, place: &str) -> Result<(), String> {
        if self.files.iter().any(is_model) {
            return Ok(());
        }
        let names: Vec<String> = self.files.iter().take(5).map(|path| format!("`{}`", path.as_str())).collect();
        Err(match names.is_empty() {
            true => format!("holds no model: there are no files{place}"),
            false => {
                format!(
                    "holds no model: none of {} files is `.onnx` or `.ort`, such as {}",
                    self.files.len(),
                    names.join(", ")
                )
            }
        })
    }

    /// Moves all files into the folder `entry`, which is on the same disk.
    pub(super) fn move_to(&mut self, entry: &Path) -> io::Result<()> {
        let to = entry.join(FILES);
        fs::rename(&self.folder, &to)?;
        self.folder = to;
        Ok(())
    }

    /// The digests of what is there.
    pub(super) fn listing(&self) -> Result<Listing, Error> {
        let digest = |path: &RelativePath| {
            let place = self.path(path);
            let (digest, _) = Digest::of_file(&place).map_err(files("read", &place))?;
            Ok((path.clone(), digest))
        };
        self.files.iter().map(digest).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn without_a_graph_there_is_no_model() {
        let home = tempfile::tempdir().unwrap();
        let mut model = ModelFiles::begin(home.path()).unwrap();
        assert_eq!(
            model.check(" below `/models/`").unwrap_err(),
            "holds no model: there are no files below `/models/`"
        );
        model.write(&"models/a.safetensors".parse().unwrap(), &b"1"[..]).unwrap();
        assert!(model.check("").unwrap_err().ends_with("such as `models/a.safetensors`"));
        model.write(&"models/A.ONNX".parse().unwrap(), &b"2"[..]).unwrap();
        assert_eq!(model.check(""), Ok(()));
    }

    #[test]
    fn a_changed_file_is_noticed() {
        let home = tempfile::tempdir().unwrap();
        let mut model = ModelFiles::begin(home.path()).unwrap();
        model.write(&"a/b.onnx".parse().unwrap(), &b"1"[..]).unwrap();
        assert_eq!(whole(home.path()), None);
        let listing = model.listing().unwrap();
        write_listing(home.path(), &listing).unwrap();
        let folder = whole(home.path()).unwrap();
        fs::write(folder.join("a/b.onnx"), "2").unwrap();
        assert_eq!(whole(home.path()), None);
        assert_ne!(digest(&listing), digest(&model.listing().unwrap()));
    }
}
