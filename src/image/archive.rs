//! One tar that `docker load`, `podman load` and `skopeo` take: the layout and a `manifest.json` that points into it.
//!
//! Its index holds the image alone, without signatures, so that every tool knows which one is meant. The tar is made
//! while it is read, and every blob is held against its digest on the way.

use std::collections::{BTreeMap, VecDeque};
use std::fs::File;
use std::io::{self, Cursor, Read, Write};
use std::path::{Path, PathBuf};

use serde::Serialize;

use super::describe;
use super::error::{Error, files};
use super::hashing::Hashing;
use super::layout::{self, OpenedLayout, blob_path, open_layout};
use crate::digest::Digest;
use crate::interrupt::Stoppable;

/// An archive that is yet to be read: its parts in order.
#[derive(Debug)]
pub struct Archive {
    parts: VecDeque<Part>,
    size: u64,
    current: Option<Current>,
}

#[derive(Debug)]
enum Part {
    Bytes(Vec<u8>),
    Blob { path: PathBuf, digest: Digest, size: u64 },
}

enum Current {
    Bytes(Cursor<Vec<u8>>),
    Blob { path: PathBuf, digest: Digest, size: u64, file: Hashing<io::Take<File>> },
}

impl std::fmt::Debug for Current {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Current::Bytes(bytes) => bytes.fmt(f),
            Current::Blob { path, .. } => path.fmt(f),
        }
    }
}

/// One entry of `manifest.json`.
#[derive(Debug, Serialize)]
#[serde(rename_all = "PascalCase")]
struct DockerManifest {
    config: String,
    repo_tags: Vec<String>,
    layers: Vec<String>,
}

/// Writes the archive of the layout `folder` to `out`; returns its size in bytes.
pub fn archive(folder: &Path, out: &mut impl Write) -> Result<u64, Error> {
    let layout = open_layout(folder)?;
    let tags = layout.reference.clone().into_iter().collect::<Vec<_>>();
    let mut archive = Archive::new(&layout, &tags)?;
    io::copy(&mut Stoppable(&mut archive), out).map_err(files("archive", folder))
}

fn name(digest: &Digest) -> String {
    format!("blobs/sha256/{}", digest.hex())
}

/// The files beside the blobs by which tools find the image, and that one alone: by their names, sorted.
pub fn loadable(layout: &OpenedLayout, tags: &[String]) -> Result<[(&'static str, Vec<u8>); 3], Error> {
    let manifest = DockerManifest {
        config: name(&layout.config),
        repo_tags: tags.to_vec(),
        layers: layout.layers.iter().map(name).collect(),
    };
    Ok([
        ("index.json", describe::index_of(layout.descriptor.clone())?),
        ("manifest.json", describe::canonical(&[manifest])?),
        ("oci-layout", layout::MARK.to_vec()),
    ])
}

impl Archive {
    /// The archive of the image in `layout`, which the engine is to tag with `tags`.
    pub fn new(layout: &OpenedLayout, tags: &[String]) -> Result<Self, Error> {
        let mut blobs: BTreeMap<String, (Digest, i128)> = BTreeMap::new();
        let descriptors = [&layout.descriptor, layout.manifest.config()].into_iter().chain(layout.manifest.layers());
        for descriptor in descriptors {
            let digest = layout::digest_of(descriptor)
                .map_err(|reason| Error::Layout { path: layout.folder.clone(), reason })?;
            blobs.insert(name(&digest), (digest, descriptor.size().into()));
        }
        let mut archive = Archive { parts: VecDeque::new(), size: 0, current: None };
        archive.entry("blobs/", 0, tar::EntryType::Directory)?;
        archive.entry("blobs/sha256/", 0, tar::EntryType::Directory)?;
        for (name, (digest, said)) in blobs {
            let path = blob_path(&layout.folder, &digest);
            let size = std::fs::metadata(&path).map_err(files("read", &path))?.len();
            if i128::from(size) != said {
                return Err(Error::Layout { path, reason: format!("it has {size} bytes, its descriptor says {said}") });
            }
            archive.entry(&name, size, tar::EntryType::Regular)?;
            archive.push(Part::Blob { path, digest, size }, size);
            archive.pad(size);
        }
        for (name, bytes) in loadable(layout, tags)? {
            archive.file(name, bytes)?;
        }
        // Two empty blocks end a tar.
        archive.push(Part::Bytes(vec![0; 1024]), 1024);
        Ok(archive)
    }

    /// Bytes of the whole archive.
    pub fn size(&self) -> u64 {
        self.size
    }

    fn push(&mut self, part: Part, size: u64) {
        self.parts.push_back(part);
        self.size += size;
    }

    fn file(&mut self, name: &str, bytes: Vec<u8>) -> Result<(), Error> {
        let size = bytes.len() as u64;
        self.entry(name, size, tar::EntryType::Regular)?;
        self.push(Part::Bytes(bytes), size);
        self.pad(size);
        Ok(())
    }

    fn entry(&mut self, name: &str, size: u64, kind: tar::EntryType) -> Result<(), Error> {
        let mut header = tar::Header::new_gnu();
        header.set_path(name).map_err(files("archive", Path::new(name)))?;
        header.set_entry_type(kind);
        header.set_mode(if kind.is_dir() { 0o755 } else { 0o644 });
        header.set_uid(0);
        header.set_gid(0);
        header.set_mtime(0);
        header.set_size(size);
        header.set_cksum();
        self.push(Part::Bytes(header.as_bytes().to_vec()), 512);
        Ok(())
    }

    /// Entries begin at multiples of 512 bytes.
    fn pad(&mut self, size: u64) {
        let padding = size.wrapping_neg() % 512;
        self.push(Part::Bytes(vec![0; padding as usize]), padding);
    }
}

impl Read for Archive {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if buffer.is_empty() {
            return Ok(0);
        }
        loop {
            let n = match &mut self.current {
                None => 0,
                Some(Current::Bytes(bytes)) => bytes.read(buffer)?,
                Some(Current::Blob { file, .. }) => file.read(buffer)?,
            };
            if n > 0 {
                return Ok(n);
            }
            if let Some(Current::Blob { path, digest, size, file }) = self.current.take()
                && file.finish() != (digest, size)
            {
                return Err(io::Error::other(format!("the bytes of `{}` are not those of its digest", path.display())));
            }
            self.current = match self.parts.pop_front() {
                None => return Ok(0),
                Some(Part::Bytes(bytes)) => Some(Current::Bytes(Cursor::new(bytes))),
                Some(Part::Blob { path, digest, size }) => {
                    let file = Hashing::new(File::open(&path)?.take(size));
                    Some(Current::Blob { path, digest, size, file })
                }
            };
        }
    }
}
