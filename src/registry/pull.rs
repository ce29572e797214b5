//! An image in a registry, or in a layout → its documents and layers in the cache, each held against its digest.
//!
//! Nothing is believed: a document is read up to a limit, an index leads to the one image for the platform, and a blob
//! that breaks off goes on where it was.

use std::fs::{self, File};
use std::io::Read as _;
use std::path::{Path, PathBuf};

use oci_spec::image::{Descriptor, ImageConfiguration, ImageIndex, ImageManifest};

use super::client::{Access, Client, LARGEST_MANIFEST};
use super::download::Download;
use super::error::files;
use super::{Error, Reference, Watch};
use crate::cache::Cache;
use crate::digest::Digest;
use crate::image::{self, Architecture, BaseImage, BaseLayer, digest_of};

/// Most layers of an image that others are put on: engines take 127 in all.
const MOST_LAYERS: usize = 100;
/// Largest layer as it is stored, bytes.
const LARGEST_LAYER: u64 = 32 << 30;
/// Deepest nesting of indexes.
const DEEPEST: usize = 3;

/// Where an image is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Origin {
    /// In a registry, by tag or digest.
    Registry {
        /// Which one; without tag and digest it is `latest`.
        reference: Reference,
        /// Speak without TLS.
        plain_http: bool,
    },
    /// In an OCI image layout on this machine.
    Layout {
        /// Its folder.
        folder: PathBuf,
        /// What it is called where that is told: `oci:PATH` as the user wrote it.
        name: String,
    },
}

/// What is to be pulled.
#[derive(Debug)]
pub struct PullRequest<'a> {
    /// From where.
    pub origin: &'a Origin,
    /// What the origin led to before: this, and nothing newer, is taken.
    pub locked: Option<Digest>,
    /// For which processor.
    pub architecture: Architecture,
    /// Never use the network.
    pub offline: bool,
    /// Where documents and layers are kept.
    pub cache: &'a Cache,
}

impl std::fmt::Display for Origin {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Origin::Registry { reference, .. } => reference.fmt(f),
            Origin::Layout { name, .. } => f.write_str(name),
        }
    }
}

impl Origin {
    /// The image's name without what changes: its repository, and the tag where one was given.
    pub fn name(&self) -> String {
        match self {
            Origin::Registry { reference, .. } => Reference { digest: None, ..reference.clone() }.to_string(),
            layout => layout.to_string(),
        }
    }
}

/// Pulls an image, as far as the cache doesn't have it.
pub fn pull(request: &PullRequest<'_>, watch: &dyn Watch) -> Result<BaseImage, Error> {
    let parts = Parts::new(request, watch)?;
    let digest = parts.resolve()?;
    let (manifest_digest, manifest) = parts.manifest(digest, 0)?;
    let config = parts.document(Kind::Config, &digest_of(manifest.config()).map_err(|reason| parts.odd(&reason))?)?;
    parts.check_platform(&config)?;
    if manifest.layers().is_empty() || manifest.layers().len() > MOST_LAYERS {
        return Err(parts.odd(&format!("has {} layers, not 1 to {MOST_LAYERS}", manifest.layers().len())));
    }
    for layer in manifest.layers() {
        watch.expects(layer.size());
    }
    let layers = manifest.layers().iter().map(|layer| parts.layer(layer)).collect::<Result<Vec<_>, _>>()?;
    Ok(BaseImage { name: request.origin.name(), digest, manifest: manifest_digest, config, layers })
}

/// Where a registry keeps a document.
#[derive(Debug, Clone, Copy)]
enum Kind {
    Manifest,
    Config,
}

/// The way to an image's parts: the cache, then the origin.
struct Parts<'a> {
    request: &'a PullRequest<'a>,
    client: Option<Client>,
    watch: &'a dyn Watch,
}

impl<'a> Parts<'a> {
    fn new(request: &'a PullRequest<'a>, watch: &'a dyn Watch) -> Result<Self, Error> {
        let client = match request.origin {
            Origin::Registry { reference, plain_http } if !request.offline => {
                Some(Client::new(&reference.repository, *plain_http, Access::Pull)?)
            }
            _ => None,
        };
        Ok(Parts { request, client, watch })
    }

    /// Something about the image that isn't as it should be.
    fn odd(&self, reason: &str) -> Error {
        Error::Unfit { reference: self.request.origin.to_string(), reason: reason.into() }
    }

    fn not_cached(&self, what: &str) -> Error {
        Error::NotCached { reference: self.request.origin.to_string(), what: what.into() }
    }

    /// The digest that the reference leads to: the one that is locked or given, else what the origin says now.
    fn resolve(&self) -> Result<Digest, Error> {
        let given = match self.request.origin {
            Origin::Registry { reference, .. } => reference.digest,
            Origin::Layout { .. } => None,
        };
        if let Some(digest) = given.or(self.request.locked) {
            return Ok(digest);
        }
        match self.request.origin {
            Origin::Layout { folder, .. } => {
                let bytes = read_up_to(&folder.join("index.json"), LARGEST_MANIFEST)?;
                self.keep(&bytes)
            }
            Origin::Registry { reference, .. } => {
                let client = self.client.as_ref().ok_or_else(|| self.not_cached("what its tag leads to"))?;
                let tag = reference.tag.as_deref().unwrap_or("latest");
                let found = client.manifest(tag)?.ok_or_else(|| self.odd("is not there"))?;
                self.keep(&found.bytes)
            }
        }
    }

    /// Puts a document into the cache.
    fn keep(&self, bytes: &[u8]) -> Result<Digest, Error> {
        let digest = Digest::of(bytes);
        let write = |stage: &Path| fs::write(stage.join("blob"), bytes).map_err(files("write", stage));
        self.request.cache.take("blobs", &digest, |entry| cached(entry, &digest, None), write)?;
        Ok(digest)
    }

    /// A small document by its digest.
    fn document(&self, kind: Kind, digest: &Digest) -> Result<Vec<u8>, Error> {
        let fetch = |stage: &Path| {
            let bytes = match (self.request.origin, &self.client) {
                (Origin::Layout { folder, .. }, _) => read_up_to(&image::blob_path(folder, digest), LARGEST_MANIFEST)?,
                (_, None) => return Err(self.not_cached(&format!("its document {digest}"))),
                (_, Some(client)) => {
                    let found = match kind {
                        Kind::Manifest => client.manifest(&digest.to_string())?.map(|manifest| manifest.bytes),
                        Kind::Config => client.small_blob(digest)?,
                    };
                    found.ok_or_else(|| self.odd(&format!("has no {digest}")))?
                }
            };
            self.expect(digest, Digest::of(&bytes))?;
            fs::write(stage.join("blob"), bytes).map_err(files("write", stage))
        };
        let path = self.request.cache.take("blobs", digest, |entry| cached(entry, digest, None), fetch)?;
        read_up_to(&path, LARGEST_MANIFEST)
    }

    fn expect(&self, wanted: &Digest, found: Digest) -> Result<(), Error> {
        if found == *wanted {
            return Ok(());
        }
        Err(Error::Changed { what: "what came".into(), host: self.request.origin.to_string(), digest: *wanted })
    }

    /// The manifest for the platform, behind as many indexes as there may be.
    fn manifest(&self, digest: Digest, depth: usize) -> Result<(Digest, ImageManifest), Error> {
        let bytes = self.document(Kind::Manifest, &digest)?;
        let wrong = |error: serde_json::Error| self.odd(&format!("is no image: {error}"));
        let value: serde_json::Value = serde_json::from_slice(&bytes).map_err(wrong)?;
        // A document that is both would be one thing to us and another to an engine.
        match (value.get("manifests").is_some(), value.get("layers").is_some()) {
            (false, true) => Ok((digest, serde_json::from_value(value).map_err(wrong)?)),
            (true, false) if depth < DEEPEST => {
                let index: ImageIndex = serde_json::from_value(value).map_err(wrong)?;
                self.manifest(self.choose(&index)?, depth + 1)
            }
            _ => Err(self.odd("is neither an image nor an index of images")),
        }
    }

    /// The entry of an index that is for the platform.
    fn choose(&self, index: &ImageIndex) -> Result<Digest, Error> {
        let wanted = self.request.architecture.oci();
        let fits = |entry: &&Descriptor| {
            let Some(platform) = entry.platform() else { return false };
            let plain = match platform.variant().as_deref() {
                None => true,
                Some(variant) => matches!((wanted, variant), ("amd64", "v1") | ("arm64", "v8")),
            };
            platform.os().to_string() == "linux" && platform.architecture().to_string() == wanted && plain
        };
        let manifests = index.manifests();
        // An index of one image may leave the platform out: the configuration is asked for it then.
        let lone = || manifests.first().filter(|only| manifests.len() == 1 && only.platform().is_none());
        let chosen = manifests.iter().find(fits).or_else(lone).ok_or_else(|| Error::Platform {
            reference: self.request.origin.to_string(),
            wanted: format!("linux/{wanted}"),
            found: platforms(manifests),
        })?;
        digest_of(chosen).map_err(|reason| self.odd(&reason))
    }

    fn check_platform(&self, config: &[u8]) -> Result<(), Error> {
        let config: ImageConfiguration =
            serde_json::from_slice(config).map_err(|error| self.odd(&format!("has an odd configuration: {error}")))?;
        let (os, architecture) = (config.os().to_string(), config.architecture().to_string());
        if os == "linux" && architecture == self.request.architecture.oci() {
            return Ok(());
        }
        Err(Error::Platform {
            reference: self.request.origin.to_string(),
            wanted: format!("linux/{}", self.request.architecture.oci()),
            found: format!("{os}/{architecture}"),
        })
    }

    /// A layer as it is stored.
    fn layer(&self, layer: &Descriptor) -> Result<BaseLayer, Error> {
        let (digest, size) = self.measured(layer)?;
        let moved = std::cell::Cell::new(0);
        let fetch = |stage: &Path| {
            self.save(digest, size, stage.join("blob"))?;
            moved.set(size);
            Ok::<_, Error>(())
        };
        let check = |entry: &Path| cached(entry, &digest, Some(size));
        let blob = self.request.cache.take("blobs", &digest, check, fetch)?;
        self.watch.moved((size - moved.get()) as i64);
        Ok(BaseLayer { media_type: layer.media_type().to_string(), digest, size, blob })
    }

    /// Writes a layer to a file.
    fn save(&self, digest: Digest, size: u64, path: PathBuf) -> Result<(), Error> {
        let mut blob = Download::begin(digest, size, path)?;
        match (self.request.origin, &self.client) {
            (Origin::Layout { folder, .. }, _) => {
                let from = image::blob_path(folder, &digest);
                let mut stored = File::open(&from).map_err(files("read", &from))?;
                blob.copy(&mut stored, &from, self.watch)?;
            }
            (_, None) => return Err(self.not_cached(&format!("its layer {digest}"))),
            (_, Some(client)) => blob.fetch(client, self.watch)?,
        }
        self.expect(&digest, blob.finish())
    }

    /// The digest and size of a layer, if it isn't too large.
    fn measured(&self, layer: &Descriptor) -> Result<(Digest, u64), Error> {
        let (digest, size) = (digest_of(layer).map_err(|reason| self.odd(&reason))?, layer.size());
        if size > LARGEST_LAYER {
            return Err(self.odd(&format!("has a layer of {size} bytes, more than {LARGEST_LAYER}")));
        }
        Ok((digest, size))
    }
}

/// An artifact, or an image whose layers are not all wanted: its manifest is here, the layers are asked for one by one.
pub struct Remote<'a> {
    parts: Parts<'a>,
    /// What the reference led to: an index, or the manifest itself.
    pub digest: Digest,
    /// Of the manifest.
    pub manifest_digest: Digest,
    /// The manifest.
    pub manifest: ImageManifest,
}

impl<'a> Remote<'a> {
    /// Asks for the manifest, as far as the cache doesn't have it.
    pub fn open(request: &'a PullRequest<'a>, watch: &'a dyn Watch) -> Result<Self, Error> {
        let parts = Parts::new(request, watch)?;
        let digest = parts.resolve()?;
        let (manifest_digest, manifest) = parts.manifest(digest, 0)?;
        Ok(Remote { parts, digest, manifest_digest, manifest })
    }

    /// Writes a layer of the manifest to a file. It is not kept in the cache.
    pub fn save(&self, layer: &Descriptor, path: &Path) -> Result<(), Error> {
        let (digest, size) = self.parts.measured(layer)?;
        self.parts.save(digest, size, path.into())
    }
}

fn platforms(manifests: &[Descriptor]) -> String {
    let mut all: Vec<String> = manifests
        .iter()
        .filter_map(|entry| entry.platform().as_ref())
        .map(|platform| {
            let variant = platform.variant().as_ref().map(|variant| format!("/{variant}")).unwrap_or_default();
            format!("{}/{}{variant}", platform.os(), platform.architecture())
        })
        .filter(|name| name != "unknown/unknown")
        .collect();
    all.dedup();
    if all.is_empty() { "none".into() } else { all.join(", ") }
}

/// The blob of a cached entry, if it is what its digest says.
fn cached(entry: &Path, digest: &Digest, size: Option<u64>) -> Option<PathBuf> {
    let blob = entry.join("blob");
    let (found, bytes) = Digest::of_file(&blob).ok()?;
    (found == *digest && size.is_none_or(|size| size == bytes)).then_some(blob)
}

fn read_up_to(path: &Path, most: u64) -> Result<Vec<u8>, Error> {
    let mut bytes = Vec::new();
    let file = File::open(path).map_err(files("read", path))?;
    file.take(most + 1).read_to_end(&mut bytes).map_err(files("read", path))?;
    if bytes.len() as u64 <= most {
        return Ok(bytes);
    }
    let reason = format!("it is larger than {most} bytes");
    Err(image::Error::Layout { path: path.into(), reason }.into())
}
