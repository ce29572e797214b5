//! Reproducible layers: the same files give the same bytes, whoever packs them, where and when.
//!
//! Entries are sorted with parents first, belong to 0:0, have one fixed time and fixed modes, and need no extension
//! records but for very long names. Files are streamed; digests are computed on the way. Packed layers are cached by
//! what they are made from, so that nothing is compressed twice.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, BufReader, BufWriter, Read, Write};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::compress::{Compression, Compressor, Packed};
use super::error::{Error, files};
use super::hashing::Hashing;
use crate::cache::Cache;
use crate::digest::Digest;
use crate::files::RelativePath;
use crate::interrupt::Stoppable;

/// A layer that is to be packed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Plan {
    /// What it holds, in a word.
    pub(super) title: &'static str,
    pub(super) contents: Contents,
    pub(super) compression: Compression,
    pub(super) packed: Packed,
    /// Every time in it, seconds since 1970.
    pub(super) created: u64,
}

/// A packed layer: plain facts, and where its bytes are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Layer {
    /// What it holds, in a word: `base`, `onnxruntime`, `service`, `sides`, `model`.
    pub title: String,
    /// How it is stored.
    pub compression: Compression,
    /// Of the stored bytes.
    pub digest: Digest,
    /// Of the tar inside.
    pub diff_id: Digest,
    /// Stored bytes.
    pub size: u64,
    /// Bytes of the tar inside.
    pub uncompressed_size: u64,
    /// The file with the stored bytes, in the cache.
    pub blob: PathBuf,
}

/// What stands at one path of a layer.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Content {
    Folder,
    Link(PathBuf),
    Bytes(Vec<u8>),
    File { path: PathBuf, digest: Digest, size: u64 },
}

/// The files of one layer, by their path below `/`.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct Contents(BTreeMap<RelativePath, (u32, Content)>);

impl Contents {
    /// Adds an empty folder, or gives one a mode other than 0755.
    pub(super) fn folder(&mut self, path: &str, mode: u32) -> Result<(), Error> {
        self.add(path, mode, Content::Folder)
    }

    /// Adds a symbolic link.
    pub(super) fn link(&mut self, path: &str, target: &Path) -> Result<(), Error> {
        self.add(path, 0o777, Content::Link(target.into()))
    }

    /// Adds a file with these bytes.
    pub(super) fn bytes(&mut self, path: &str, mode: u32, bytes: impl Into<Vec<u8>>) -> Result<(), Error> {
        self.add(path, mode, Content::Bytes(bytes.into()))
    }

    /// Adds the file `source`, whose digest is taken now, given back, and held against what is packed later.
    pub(super) fn file(&mut self, path: &str, mode: u32, source: &Path) -> Result<Digest, Error> {
        let (digest, size) = Digest::of_file(source).map_err(files("read", source))?;
        self.add(path, mode, Content::File { path: source.into(), digest, size })?;
        Ok(digest)
    }

    /// Every file with its size, by its path in the image.
    pub(super) fn sizes(&self) -> Vec<(String, u64)> {
        let size = |content: &Content| match content {
            Content::Bytes(bytes) => Some(bytes.len() as u64),
            Content::File { size, .. } => Some(*size),
            Content::Folder | Content::Link(_) => None,
        };
        let files = self.0.iter().filter_map(|(path, (_, content))| Some((path, size(content)?)));
        files.map(|(path, size)| (format!("/{}", path.as_str()), size)).collect()
    }

    fn add(&mut self, path: &str, mode: u32, content: Content) -> Result<(), Error> {
        let collision = || Error::Collision { path: path.into() };
        let key: RelativePath = path.parse().map_err(|error| Error::Describe(format!("{error}")))?;
        for parent in ancestors(path) {
            match self.0.get(&parent) {
                None => drop(self.0.insert(parent, (0o755, Content::Folder))),
                Some((_, Content::Folder)) => {}
                Some(_) => return Err(collision()),
            }
        }
        let old = self.0.get(&key).map(|(_, content)| content);
        // A folder may be named again: it came as some file's parent.
        if old.is_some_and(|old| *old != Content::Folder || content != Content::Folder) {
            return Err(collision());
        }
        self.0.insert(key, (mode, content));
        Ok(())
    }
}

impl Plan {
    /// What the packed bytes depend on, as one digest. The version stands for the compressor's, and `blocks` for the way
    /// that it is used.
    fn recipe(&self) -> Digest {
        let Plan { compression, packed, created, .. } = self;
        let mut text = format!("nimify {} blocks {compression:?} {packed:?} {created}\n", env!("CARGO_PKG_VERSION"));
        for (path, (mode, content)) in &self.contents.0 {
            let what = match content {
                Content::Folder => "folder".into(),
                Content::Link(target) => format!("link {target:?}"),
                Content::Bytes(bytes) => format!("file {}", Digest::of(bytes)),
                Content::File { digest, .. } => format!("file {digest}"),
            };
            text.push_str(&format!("{:?} {mode:o} {what}\n", path.as_str()));
        }
        Digest::of(text)
    }
}

/// The folders above `path`, outermost first.
fn ancestors(path: &str) -> impl Iterator<Item = RelativePath> + '_ {
    path.match_indices('/').filter_map(|(at, _)| path[..at].parse().ok())
}

/// The facts kept beside a cached blob.
#[derive(Debug, Serialize, Deserialize)]
struct Facts {
    digest: Digest,
    diff_id: Digest,
    size: u64,
    uncompressed_size: u64,
}

/// Packs a layer, or takes it from the cache.
pub(super) fn pack(cache: &Cache, plan: &Plan) -> Result<Layer, Error> {
    let check = |entry: &Path| {
        let facts: Facts = serde_json::from_slice(&std::fs::read(entry.join("layer.json")).ok()?).ok()?;
        let blob = entry.join("blob");
        let stored = Digest::of_file(&blob).ok()?;
        (stored == (facts.digest, facts.size)).then_some((facts, blob))
    };
    let make = |stage: &Path| {
        let blob = stage.join("blob");
        let out = BufWriter::new(File::create(&blob).map_err(files("write", &blob))?);
        let facts = write(plan, out, &blob)?;
        let note = stage.join("layer.json");
        std::fs::write(&note, serde_json::to_vec(&facts).expect("digests and numbers are JSON"))
            .map_err(files("write", &note))
    };
    let (facts, blob) = cache.take("layers", &plan.recipe(), check, make)?;
    let Facts { digest, diff_id, size, uncompressed_size } = facts;
    let (title, compression) = (plan.title.into(), plan.compression);
    Ok(Layer { title, compression, digest, diff_id, size, uncompressed_size, blob })
}

/// Writes the layer to `out` (`place` names it in errors).
fn write(plan: &Plan, out: impl Write, place: &Path) -> Result<Facts, Error> {
    let stored = Hashing::new(out);
    match plan.compression {
        Compression::None => {
            let (digest, size) = flushed(write_tar(plan, stored, place)?, place)?;
            Ok(Facts { digest, diff_id: digest, size, uncompressed_size: size })
        }
        Compression::Gzip => write_compressed(plan, Compressor::gzip(stored, plan.packed), place),
        Compression::Zstd => write_compressed(plan, Compressor::zstd(stored, plan.packed), place),
    }
}

fn write_compressed<W: Write>(plan: &Plan, out: Compressor<Hashing<W>>, place: &Path) -> Result<Facts, Error> {
    let tar = write_tar(plan, Hashing::new(out), place)?;
    let (compressor, diff_id, uncompressed_size) = tar.take_apart();
    let (digest, size) = flushed(compressor.finish().map_err(files("write", place))?, place)?;
    Ok(Facts { digest, diff_id, size, uncompressed_size })
}

fn flushed<W: Write>(mut stored: Hashing<W>, place: &Path) -> Result<(Digest, u64), Error> {
    stored.flush().map_err(files("write", place))?;
    Ok(stored.finish())
}

fn write_tar<W: Write>(plan: &Plan, out: W, place: &Path) -> Result<W, Error> {
    let mut tar = tar::Builder::new(out);
    for (path, (mode, content)) in &plan.contents.0 {
        let mut header = tar::Header::new_gnu();
        header.set_mode(*mode);
        header.set_uid(0);
        header.set_gid(0);
        header.set_mtime(plan.created);
        header.set_size(0);
        let written = match content {
            Content::Folder => {
                header.set_entry_type(tar::EntryType::Directory);
                tar.append_data(&mut header, format!("{}/", path.as_str()), io::empty())
            }
            Content::Link(target) => {
                header.set_entry_type(tar::EntryType::Symlink);
                tar.append_link(&mut header, path, target)
            }
            Content::Bytes(bytes) => {
                header.set_size(bytes.len() as u64);
                tar.append_data(&mut header, path, &bytes[..])
            }
            Content::File { path: source, digest, size } => {
                header.set_size(*size);
                let changed = || Error::Changed { path: source.clone() };
                let file = File::open(source).map_err(files("read", source))?;
                if file.metadata().map_err(files("read", source))?.len() != *size {
                    return Err(changed());
                }
                let mut file = Hashing::new(BufReader::with_capacity(1 << 16, Stoppable(file)).take(*size));
                tar.append_data(&mut header, path, &mut file).map_err(files("pack", source))?;
                if file.finish() != (*digest, *size) {
                    return Err(changed());
                }
                Ok(())
            }
        };
        written.map_err(files("write", place))?;
    }
    tar.into_inner().map_err(files("write", place))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use proptest::prelude::*;

    use super::*;

    fn plan(contents: &Contents, compression: Compression) -> Plan {
        Plan { title: "t", contents: contents.clone(), compression, packed: Packed::Often, created: 0 }
    }

    fn tar_of(contents: &Contents, compression: Compression) -> (Vec<u8>, Facts) {
        let mut out = Vec::new();
        let facts = write(&plan(contents, compression), &mut out, Path::new("out")).unwrap();
        (out, facts)
    }

    #[test]
    fn parents_come_first_and_once() {
        let mut contents = Contents::default();
        contents.bytes("a/b/c", 0o644, "c").unwrap();
        contents.bytes("a-b", 0o644, "").unwrap();
        contents.folder("a/b", 0o1777).unwrap();
        contents.link("a/l", Path::new("b/c")).unwrap();
        let (bytes, _) = tar_of(&contents, Compression::None);
        let mut archive = tar::Archive::new(&bytes[..]);
        let listed: Vec<_> = archive
            .entries()
            .unwrap()
            .map(|entry| {
                let entry = entry.unwrap();
                let header = entry.header();
                assert_eq!((header.uid().unwrap(), header.gid().unwrap(), header.mtime().unwrap()), (0, 0, 0));
                (entry.path().unwrap().to_str().unwrap().to_string(), header.mode().unwrap())
            })
            .collect();
        let expected = [("a/", 0o755), ("a-b", 0o644), ("a/b/", 0o1777), ("a/b/c", 0o644), ("a/l", 0o777)];
        assert_eq!(listed, expected.map(|(path, mode)| (path.to_string(), mode)));
    }

    #[test]
    fn two_things_at_one_path_are_refused() {
        let mut contents = Contents::default();
        contents.bytes("a/b", 0o644, "").unwrap();
        for clash in ["a/b", "a", "a/b/c"] {
            assert!(matches!(contents.bytes(clash, 0o644, ""), Err(Error::Collision { .. })), "{clash}");
        }
        assert!(contents.bytes("../x", 0o644, "").is_err());
    }

    #[test]
    fn facts_are_those_of_the_bytes() {
        let mut contents = Contents::default();
        contents.bytes("zeros", 0o644, vec![0; 100_000]).unwrap();
        contents.bytes(&format!("{}/{}", "d".repeat(90), "f".repeat(150)), 0o644, "long").unwrap();
        let (tar, plain) = tar_of(&contents, Compression::None);
        let (gzip, facts) = tar_of(&contents, Compression::Gzip);
        assert_eq!((plain.digest, plain.diff_id, plain.size), (Digest::of(&tar), Digest::of(&tar), tar.len() as u64));
        assert_eq!((facts.digest, facts.size), (Digest::of(&gzip), gzip.len() as u64));
        assert_eq!((facts.diff_id, facts.uncompressed_size), (plain.digest, plain.size));
        assert_eq!(gzip[..10], [0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 255], "no name, no time, no system");
        let (zstd, facts) = tar_of(&contents, Compression::Zstd);
        assert_eq!((facts.digest, facts.size), (Digest::of(&zstd), zstd.len() as u64));
        assert_eq!((facts.diff_id, facts.uncompressed_size), (plain.digest, plain.size));
    }

    #[test]
    fn a_file_that_changes_meanwhile_is_refused() {
        let home = tempfile::tempdir().unwrap();
        let path = home.path().join("model");
        for after in ["two", "longer", ""] {
            std::fs::write(&path, "one").unwrap();
            let mut contents = Contents::default();
            contents.file("model", 0o644, &path).unwrap();
            std::fs::write(&path, after).unwrap();
            let result = write(&plan(&contents, Compression::None), io::sink(), Path::new("out"));
            assert!(matches!(result, Err(Error::Changed { .. })), "{after}");
        }
    }

    #[test]
    fn a_cached_layer_is_packed_again_when_it_is_damaged() {
        let home = tempfile::tempdir().unwrap();
        let cache = Cache::open(home.path().into()).unwrap();
        let mut contents = Contents::default();
        contents.bytes("a", 0o644, "a").unwrap();
        let pack = || pack(&cache, &plan(&contents, Compression::Gzip)).unwrap();
        let first = pack();
        std::fs::write(&first.blob, "damaged").unwrap();
        let second = pack();
        assert_eq!(first, second);
        assert_eq!(Digest::of_file(&second.blob).unwrap(), (second.digest, second.size));
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(32))]
        #[test]
        fn order_times_modes_and_folders_of_the_sources_do_not_matter(
            (sorted, shuffled) in proptest::collection::btree_map(
                "[a-c]{1,2}(/[d-f]{1,2}){0,2}/[x-z]{1,3}", "[ -~]{0,40}", 1..8,
            ).prop_flat_map(|files| {
                let files: Vec<_> = files.into_iter().collect();
                (Just(files.clone()), Just(files).prop_shuffle())
            }),
        ) {
            let build = |order: &[(String, String)], mode: u32, time: u64| {
                let home = tempfile::tempdir().unwrap();
                let mut contents = Contents::default();
                for (index, (path, text)) in order.iter().enumerate() {
                    let source = home.path().join(index.to_string());
                    std::fs::write(&source, text).unwrap();
                    std::fs::set_permissions(&source, std::fs::Permissions::from_mode(mode)).unwrap();
                    let time = std::time::UNIX_EPOCH + std::time::Duration::from_secs(time);
                    File::options().write(true).open(&source).unwrap().set_modified(time).unwrap();
                    contents.file(path, 0o644, &source).unwrap();
                }
                (plan(&contents, Compression::Gzip).recipe(), tar_of(&contents, Compression::Gzip).0)
            };
            prop_assert_eq!(build(&sorted, 0o644, 1), build(&shuffled, 0o600, 1_000_000_000));
        }
    }
}
