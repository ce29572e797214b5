//! OCI image layouts: writing one, and opening one to read the image in it.

use std::fs::{self, File};
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use oci_spec::image::{Descriptor, ImageIndex, ImageManifest, MediaType};
use serde::de::DeserializeOwned;

use super::describe::{self, REF_NAME};
use super::error::{Error, files};
use super::{Image, layer};
use crate::digest::Digest;
use crate::files::{set_mode, write_atomically};
use crate::interrupt::Stoppable;

/// `oci-layout`, the mark of the format.
pub(super) const MARK: &[u8] = br#"{"imageLayoutVersion":"1.0.0"}"#;

/// More than any manifest, index or configuration of ours; registries take 4 MiB.
pub(super) const LARGEST_JSON: u64 = 4 << 20;

/// Where the blob with this digest is.
pub fn blob_path(layout: &Path, digest: &Digest) -> PathBuf {
    layout.join("blobs/sha256").join(digest.hex())
}

/// Writes `image` as an OCI layout into `folder`, which is made if need be. `index.json` comes last.
pub fn write_layout(image: &Image, folder: &Path) -> Result<(), Error> {
    let blobs = folder.join("blobs/sha256");
    fs::create_dir_all(&blobs).map_err(files("make", &blobs))?;
    for layer in &image.layers {
        copy_blob(layer, &blob_path(folder, &layer.digest))?;
    }
    for bytes in [&image.config, &image.manifest] {
        write(&blob_path(folder, &Digest::of(bytes)), bytes)?;
    }
    write(&folder.join("oci-layout"), MARK)?;
    write(&folder.join("index.json"), &describe::index(image.architecture, &image.manifest, &image.reference)?)
}

fn write(path: &Path, bytes: &[u8]) -> Result<(), Error> {
    write_atomically(path, bytes).map_err(files("write", path))
}

/// Copies a layer out of the cache; the system shares the blocks where the file system can.
fn copy_blob(layer: &layer::Layer, target: &Path) -> Result<(), Error> {
    if fs::metadata(target).is_ok_and(|data| data.len() == layer.size) {
        // The same layer twice, or a layout written again: it is checked as any other below.
        if Digest::of_file(target).is_ok_and(|found| found == (layer.digest, layer.size)) {
            return Ok(());
        }
    }
    let folder = target.parent().expect("blobs stand in a folder");
    let mut beside = tempfile::Builder::new().prefix(".nimify-").tempfile_in(folder).map_err(files("write", target))?;
    let blob = File::open(&layer.blob).map_err(files("read", &layer.blob))?;
    if rustix::fs::ioctl_ficlone(&beside, &blob).is_err() {
        io::copy(&mut Stoppable(blob), beside.as_file_mut()).map_err(files("copy a layer to", target))?;
    }
    set_mode(beside.path(), 0o644).map_err(files("write", target))?;
    beside.persist(target).map_err(|error| error.error).map_err(files("write", target))?;
    Ok(())
}

/// The image in a layout: its first descriptor and what that leads to.
#[derive(Debug, Clone, PartialEq)]
pub struct OpenedLayout {
    /// The layout's folder.
    pub folder: PathBuf,
    /// The first descriptor of `index.json`.
    pub descriptor: Descriptor,
    /// Its digest: the image's.
    pub digest: Digest,
    /// `NAME:VERSION`, from the descriptor's annotation.
    pub reference: Option<String>,
    /// The manifest.
    pub manifest: ImageManifest,
    /// The configuration's digest: the image's id to engines with the classic store.
    pub config: Digest,
    /// The layers' digests, in order.
    pub layers: Vec<Digest>,
    /// What else the index names: signatures, and what other documents refer to the image.
    pub others: Vec<Descriptor>,
}

impl OpenedLayout {
    /// The bytes of a manifest that the index names, held against its digest.
    pub fn manifest_bytes(&self, descriptor: &Descriptor) -> Result<Vec<u8>, Error> {
        let wrong = |path: &Path, reason: String| Error::Layout { path: path.into(), reason };
        let digest = digest_of(descriptor).map_err(|reason| wrong(&self.folder, reason))?;
        read_manifest(&self.folder, &digest)
    }
}

/// Reads a manifest by its digest, and holds it against that.
fn read_manifest(folder: &Path, digest: &Digest) -> Result<Vec<u8>, Error> {
    let path = blob_path(folder, digest);
    let bytes = read_json(&path)?;
    let found = Digest::of(&bytes);
    if found == *digest { Ok(bytes) } else { Err(Error::Layout { path, reason: format!("its digest is {found}") }) }
}

/// Opens a layout to read the image in it. The manifest is checked against its digest; blobs are not read: that is
/// [`validate`](super::validate())'s work.
pub fn open_layout(folder: &Path) -> Result<OpenedLayout, Error> {
    let index_path = folder.join("index.json");
    if !index_path.is_file() {
        return Err(Error::Layout { path: folder.into(), reason: "there is no `index.json` in it".into() });
    }
    let wrong = |path: &Path, reason: String| Error::Layout { path: path.into(), reason };
    let index: ImageIndex = parse(&index_path, &read_json(&index_path)?)?;
    let descriptor = index.manifests().first().cloned();
    let descriptor = descriptor.ok_or_else(|| wrong(&index_path, "its index is empty".into()))?;
    if *descriptor.media_type() != MediaType::ImageManifest {
        return Err(wrong(&index_path, format!("its first entry is a `{}`, not an image", descriptor.media_type())));
    }
    let digest = digest_of(&descriptor).map_err(|reason| wrong(&index_path, reason))?;
    let manifest_path = blob_path(folder, &digest);
    let manifest: ImageManifest = parse(&manifest_path, &read_manifest(folder, &digest)?)?;
    let in_manifest = |descriptor: &Descriptor| digest_of(descriptor).map_err(|reason| wrong(&manifest_path, reason));
    Ok(OpenedLayout {
        folder: folder.into(),
        config: in_manifest(manifest.config())?,
        layers: manifest.layers().iter().map(in_manifest).collect::<Result<_, _>>()?,
        reference: descriptor.annotations().as_ref().and_then(|all| all.get(REF_NAME)).cloned(),
        others: index.manifests()[1..].to_vec(),
        descriptor,
        digest,
        manifest,
    })
}

/// A descriptor's digest, if it is one that we handle.
pub(crate) fn digest_of(descriptor: &Descriptor) -> Result<Digest, String> {
    descriptor.digest().to_string().parse().map_err(|error: crate::digest::NotADigest| error.to_string())
}

fn parse<T: DeserializeOwned>(path: &Path, bytes: &[u8]) -> Result<T, Error> {
    serde_json::from_slice(bytes).map_err(|error| Error::Layout { path: path.into(), reason: error.to_string() })
}

/// Reads a small document, however large the file is.
pub(super) fn read_json(path: &Path) -> Result<Vec<u8>, Error> {
    let mut bytes = Vec::new();
    let file = File::open(path).map_err(files("read", path))?;
    file.take(LARGEST_JSON + 1).read_to_end(&mut bytes).map_err(files("read", path))?;
    if bytes.len() as u64 > LARGEST_JSON {
        return Err(Error::Layout { path: path.into(), reason: format!("it is larger than {LARGEST_JSON} bytes") });
    }
    Ok(bytes)
}
