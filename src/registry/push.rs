//! A layout → a repository: blobs, the image, what is said about it, and the tag at last.

use std::collections::VecDeque;
use std::fs;
use std::path::Path;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

use oci_spec::image::{Descriptor, ImageManifest};
use serde::Serialize;
use tempfile::TempDir;

use super::artifacts::{self, Artifact};
use super::client::{Access, Client};
use super::error::files;
use super::upload::{Blob, Sent, Uploads};
use super::{Error, Reference, Watch, record};
use crate::cache::Cache;
use crate::digest::Digest;
use crate::image::{self, OpenedLayout, blob_path, open_layout};
use crate::sign::SigningKey;

/// From this size on a blob goes in chunks of this size.
pub const CHUNK: u64 = 32 << 20;
/// Blobs on their way at once.
const PARALLEL: usize = 4;
/// How often an index is written again when another writer was in between.
const MOST_LISTINGS: usize = 4;
const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
const INDEX: &str = "application/vnd.oci.image.index.v1+json";

/// With which key an image is signed for its destination.
#[derive(Debug)]
pub enum Signing<'a> {
    /// With none: signatures go as they are.
    Nobody,
    /// With this one, where it has signed the image already.
    Again(&'a SigningKey),
    /// With this one in any case.
    Anew(&'a SigningKey),
}

/// What is to be pushed where.
#[derive(Debug)]
pub struct PushRequest<'a> {
    /// The folder of the OCI layout.
    pub layout: &'a Path,
    /// The destination. Without a tag it is the image's version.
    pub to: &'a Reference,
    /// Speak without TLS.
    pub plain_http: bool,
    /// Who signs for the destination.
    pub signing: Signing<'a>,
    /// Where it is noted which repository has which blob.
    pub cache: Option<&'a Cache>,
    /// From this size on a blob goes in chunks of this size: [`CHUNK`].
    pub chunk: u64,
}

/// What a push did.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct PushReport {
    /// The repository.
    pub repository: String,
    /// The tag.
    pub tag: String,
    /// The image's digest.
    pub digest: Digest,
    /// The configuration and the layers.
    pub blobs: Vec<BlobRow>,
    /// Bytes of blobs that were sent, those that had to be sent twice counted twice.
    pub bytes_sent: u64,
    /// Manifests that were sent.
    pub manifests_sent: usize,
    /// Signatures, attestations and other documents about the image.
    pub documents: usize,
    /// What a person should know, in sentences.
    pub warnings: Vec<String>,
}

/// One blob of the image.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct BlobRow {
    /// Its digest.
    pub digest: Digest,
    /// Its size, bytes.
    pub size: u64,
    /// `present`, `mounted` or `sent`.
    pub how: &'static str,
}

/// Pushes the image of a layout with its signatures.
pub fn push(request: &PushRequest<'_>, watch: &dyn Watch) -> Result<PushReport, Error> {
    let layout = open_layout(request.layout)?;
    let tag = tag(request, &layout)?;
    let client = Client::new(&request.to.repository, request.plain_http, Access::Push)?;
    let traffic = AtomicU64::new(0);
    let uploads = Uploads { client: &client, chunk: request.chunk, watch, traffic: &traffic };
    let push = Push { request, layout: &layout, uploads, manifests: AtomicUsize::new(0) };

    let blobs = push.blobs()?;
    let rows = push.upload(&blobs)?;
    push.put_manifest(&layout.digest.to_string(), MANIFEST, &layout.manifest_bytes(&layout.descriptor)?)?;
    let (documents, warnings) = push.documents()?;
    // Last: whoever follows the tag finds the image, and who signed it.
    push.put_manifest(&tag, MANIFEST, &layout.manifest_bytes(&layout.descriptor)?)?;
    Ok(PushReport {
        repository: request.to.repository.to_string(),
        tag,
        digest: layout.digest,
        blobs: rows,
        bytes_sent: traffic.load(Ordering::Relaxed),
        manifests_sent: push.manifests.load(Ordering::Relaxed),
        documents,
        warnings,
    })
}

/// The tag that is asked for, or the image's version.
fn tag(request: &PushRequest<'_>, layout: &OpenedLayout) -> Result<String, Error> {
    let wrong = |reason: String| Error::Reference { text: request.to.to_string(), reason };
    if let Some(digest) = request.to.digest.filter(|digest| *digest != layout.digest) {
        return Err(wrong(format!("the image's digest is {}, not {digest}", layout.digest)));
    }
    let own = layout.reference.as_deref().and_then(|name| name.rsplit_once(':')).map(|(_, tag)| tag.to_string());
    let own = own.filter(|tag| !tag.contains('/'));
    request.to.tag.clone().or(own).ok_or_else(|| wrong("it needs a tag: the image has no version of its own".into()))
}

struct Push<'a> {
    request: &'a PushRequest<'a>,
    layout: &'a OpenedLayout,
    uploads: Uploads<'a>,
    manifests: AtomicUsize,
}

impl Push<'_> {
    fn client(&self) -> &Client {
        self.uploads.client
    }

    /// The image's blobs, each once, the largest first.
    fn blobs(&self) -> Result<Vec<Blob>, Error> {
        let manifest = &self.layout.manifest;
        let mut blobs = [manifest.config()]
            .into_iter()
            .chain(manifest.layers())
            .map(|descriptor| blob(&self.layout.folder, descriptor))
            .collect::<Result<Vec<_>, _>>()?;
        blobs.sort_by(|a, b| b.size.cmp(&a.size).then(a.digest.cmp(&b.digest)));
        blobs.dedup();
        Ok(blobs)
    }

    /// Brings the blobs there, several at once; the first error ends all of them.
    fn upload(&self, blobs: &[Blob]) -> Result<Vec<BlobRow>, Error> {
        let watch = self.uploads.watch;
        blobs.iter().for_each(|blob| watch.expects(blob.size));
        let queue: Mutex<VecDeque<&Blob>> = Mutex::new(blobs.iter().collect());
        let done = Mutex::new((Vec::new(), None));
        let work = || {
            while !self.client().is_stopped() {
                let Some(blob) = queue.lock().expect("no thread panics with the lock").pop_front() else { return };
                let sent = self.upload_one(blob);
                let mut done = done.lock().expect("no thread panics with the lock");
                match sent {
                    Ok(row) => done.0.push(row),
                    Err(error) => {
                        done.1.get_or_insert(error);
                        self.client().stop();
                    }
                }
            }
        };
        std::thread::scope(|scope| {
            for _ in 0..PARALLEL.min(blobs.len()) {
                scope.spawn(work);
            }
        });
        let (mut rows, error) = done.into_inner().expect("no thread panics with the lock");
        rows.sort_by_key(|row: &BlobRow| blobs.iter().position(|blob| blob.digest == row.digest));
        error.map_or(Ok(rows), Err)
    }

    fn upload_one(&self, blob: &Blob) -> Result<BlobRow, Error> {
        let repository = &self.request.to.repository;
        let neighbours = self.request.cache.map(|cache| record::neighbours(cache, repository, &blob.digest));
        let how = match self.uploads.upload(blob, &neighbours.unwrap_or_default())? {
            Sent::Uploaded => "sent",
            there => {
                self.uploads.watch.moved(blob.size as i64);
                if there == Sent::Mounted { "mounted" } else { "present" }
            }
        };
        if let Some(cache) = self.request.cache {
            record::add(cache, repository, &blob.digest);
        }
        Ok(BlobRow { digest: blob.digest, size: blob.size, how })
    }

    /// Sends a manifest unless it is there. Says whether the registry took note of its subject; `None`: it was there.
    fn put_manifest(&self, name: &str, media_type: &str, bytes: &[u8]) -> Result<Option<bool>, Error> {
        if self.client().has_manifest(name, &Digest::of(bytes))? {
            return Ok(None);
        }
        self.manifests.fetch_add(1, Ordering::Relaxed);
        self.client().put_manifest(name, media_type, bytes).map(Some)
    }

    /// Sends what the layout says about the image: how many documents, and what a person should know.
    fn documents(&self) -> Result<(usize, Vec<String>), Error> {
        let mut warnings = Vec::new();
        let signed = self.signed()?;
        let key = signed.as_ref().map(|(_, key)| *key);
        let opened = signed.as_ref().map(|(scratch, _)| open_layout(scratch.path())).transpose()?;
        let source = opened.as_ref().unwrap_or(self.layout);
        let (artifacts, others) = artifacts::read(source)?;
        for other in others {
            warnings.push(format!("{other} in the layout is about another image: it was not pushed"));
        }
        for artifact in &artifacts {
            match artifact {
                Artifact::Tagged { tag, manifest } => {
                    let manifest = self.for_here(source, manifest, key, tag, &mut warnings);
                    self.send_tagged(&source.folder, tag, &manifest)?;
                }
                Artifact::Referrer { descriptor, bytes, manifest } => {
                    self.send_referrer(&source.folder, descriptor, bytes, manifest)?;
                }
            }
        }
        if artifacts.is_empty() {
            warnings.push(format!("what is in `{}` is not signed", self.request.to.repository));
        }
        Ok((artifacts.len(), warnings))
    }

    /// A copy of the layout's documents with a signature for the destination, where the key is at hand.
    fn signed(&self) -> Result<Option<(TempDir, &SigningKey)>, Error> {
        let (key, anew) = match self.request.signing {
            Signing::Nobody => return Ok(None),
            Signing::Again(key) => (key, false),
            Signing::Anew(key) => (key, true),
        };
        let (artifacts, _) = artifacts::read(self.layout)?;
        let own = |artifact: &Artifact| {
            let claims = artifacts::claims(&self.layout.folder, artifact.manifest(), Some(key));
            claims.iter().flatten().any(|claim| claim.own)
        };
        if !anew && !artifacts.iter().any(own) {
            return Ok(None);
        }
        Ok(Some((artifacts::sign_for(self.layout, key, &self.request.to.repository)?, key)))
    }

    /// The signatures that go along: of one's own only those for this repository, where there are some.
    fn for_here(
        &self,
        source: &OpenedLayout,
        manifest: &ImageManifest,
        key: Option<&SigningKey>,
        tag: &str,
        warnings: &mut Vec<String>,
    ) -> ImageManifest {
        let claims = artifacts::claims(&source.folder, manifest, key);
        let here = self.request.to.repository.to_string();
        let names: Vec<&str> = claims.iter().flatten().map(|claim| claim.repository.as_str()).collect();
        if tag.ends_with(".sig") && !names.is_empty() && !names.contains(&here.as_str()) {
            warnings.push(format!(
                "its signatures name `{}`, not `{here}`: the key that made them is not at hand",
                names.join("`, `")
            ));
        }
        let keep = |claim: &Option<artifacts::Claim>| claim.as_ref().is_none_or(|c| !c.own || c.repository == here);
        artifacts::only(manifest, &claims.iter().map(keep).collect::<Vec<_>>())
    }

    fn send_tagged(&self, folder: &Path, tag: &str, ours: &ImageManifest) -> Result<(), Error> {
        let theirs = self.client().manifest(tag)?;
        let joined = artifacts::join(theirs.as_ref().map(|manifest| manifest.bytes.as_slice()), ours);
        let Some(joined) = joined.map_err(|reason| self.odd(tag, &reason))? else { return Ok(()) };
        for layer in ours.layers() {
            let blob = blob(folder, layer)?;
            if joined.added.contains(&blob.digest) {
                self.uploads.upload(&blob, &[])?;
            }
        }
        let config = tempfile::NamedTempFile::new().map_err(files("write in", &std::env::temp_dir()))?;
        fs::write(config.path(), &joined.config).map_err(files("write", config.path()))?;
        let size = joined.config.len() as u64;
        self.uploads.upload(&Blob { digest: Digest::of(&joined.config), size, file: config.path().into() }, &[])?;
        self.put_manifest(tag, MANIFEST, &joined.manifest).map(drop)
    }

    fn send_referrer(
        &self,
        folder: &Path,
        descriptor: &Descriptor,
        bytes: &[u8],
        manifest: &ImageManifest,
    ) -> Result<(), Error> {
        for descriptor in [manifest.config()].into_iter().chain(manifest.layers()) {
            self.uploads.upload(&blob(folder, descriptor)?, &[])?;
        }
        let noted = self.put_manifest(&Digest::of(bytes).to_string(), MANIFEST, bytes)?;
        let listed = match noted {
            Some(listed) => listed,
            None => self.lists_referrers()?,
        };
        if listed {
            return Ok(());
        }
        let tag = artifacts::fallback_tag(&self.layout.digest);
        // The index is read, added to and written: where another writer did the same meanwhile, once more.
        for _ in 0..MOST_LISTINGS {
            let before = self.client().manifest(&tag)?;
            let listed = artifacts::listed(before.as_ref().map(|manifest| manifest.bytes.as_slice()), descriptor);
            let Some(index) = listed.map_err(|reason| self.odd(&tag, &reason))? else { return Ok(()) };
            self.put_manifest(&tag, INDEX, &index)?;
        }
        Ok(())
    }

    /// Whether the registry keeps the list of who refers to an image.
    fn lists_referrers(&self) -> Result<bool, Error> {
        let path = format!("referrers/{}", self.layout.digest);
        let attempt = "ask who refers to the image".to_string();
        let answer = self.client().send(self.client().request("GET", &path, attempt), &[200, 400, 404, 405])?;
        Ok(answer.status == 200)
    }

    fn odd(&self, tag: &str, reason: &str) -> Error {
        Error::Answer {
            attempt: format!("add to `{}:{tag}`", self.request.to.repository),
            host: self.request.to.repository.host().into(),
            reason: format!("is no manifest that can be added to ({reason})"),
        }
    }
}

/// A blob of a layout; its file has to be as large as its descriptor says.
fn blob(folder: &Path, descriptor: &Descriptor) -> Result<Blob, Error> {
    let wrong = |path: &Path, reason: String| Error::Image(image::Error::Layout { path: path.into(), reason });
    let digest = image::digest_of(descriptor).map_err(|reason| wrong(folder, reason))?;
    let file = blob_path(folder, &digest);
    let size = fs::metadata(&file).map_err(files("read", &file))?.len();
    if size != descriptor.size() {
        return Err(wrong(&file, format!("it has {size} bytes, its descriptor says {}", descriptor.size())));
    }
    Ok(Blob { digest, size, file })
}
