//! A layout → a repository: blobs, the image, what is said about it, and the tag at last.

use std::collections::VecDeque;
use std::fs;
use std::path::Path;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

use oci_spec::image::Descriptor;
use serde::Serialize;

use super::artifacts;
use super::client::{Access, Client};
use super::error::files;
use super::upload::{Blob, Sent, Source, Uploads};
use super::{Error, HostError, Reference, Watch, record};
use crate::cache::Cache;
use crate::digest::Digest;
use crate::image::{self, OpenedLayout, blob_path, open_layout};
use crate::sign::{self, Artifact, Predicate, SigningKey, Subject};

/// From this size on a blob goes in chunks of this size.
pub const CHUNK: u64 = 32 << 20;
/// Blobs on their way at once.
const PARALLEL: usize = 4;
/// How often an index is written again when another writer was in between.
const MOST_LISTINGS: usize = 4;
const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
const INDEX: &str = "application/vnd.oci.image.index.v1+json";

/// With which keys an image is signed for its destination.
#[derive(Debug, Clone, Copy)]
pub enum Signing<'a> {
    /// With none: signatures go as they are.
    Nobody,
    /// With those that have signed the image already.
    Again(&'a [SigningKey]),
    /// With all of them, which state this of it too.
    Anew(&'a [SigningKey], &'a [Predicate]),
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
        let (artifacts, others) = artifacts::read(self.layout)?;
        let mut warnings: Vec<String> = others
            .iter()
            .map(|other| format!("{other} in the layout is about another image: it was not pushed"))
            .collect();
        let artifacts = self.signed(artifacts)?;
        for artifact in &artifacts {
            match &artifact.tag {
                Some(tag) => {
                    warnings.extend(self.unfit(artifact, tag));
                    self.send_tagged(tag, artifact)?;
                }
                None => self.send_referrer(artifact)?,
            }
        }
        if artifacts.is_empty() {
            warnings.push(format!("what is in `{}` is not signed", self.request.to.repository));
        }
        Ok((artifacts.len(), warnings))
    }

    /// The documents with a signature for the destination, where the key is at hand: of one's own signatures those for
    /// other repositories stay behind.
    fn signed(&self, artifacts: Vec<Artifact>) -> Result<Vec<Artifact>, Error> {
        let (keys, anew) = match self.request.signing {
            Signing::Nobody => return Ok(artifacts),
            Signing::Again(keys) => (keys, None),
            Signing::Anew(keys, predicates) => (keys, Some(predicates)),
        };
        let has_signed = |key: &SigningKey| {
            let public = [key.public()];
            artifacts.iter().flat_map(|artifact| artifact.claims(&public)).any(|claim| claim.own)
        };
        let signers: Vec<&SigningKey> = keys.iter().filter(|key| anew.is_some() || has_signed(key)).collect();
        let public: Vec<_> = signers.iter().map(|key| key.public()).collect();
        let here = self.request.to.repository.to_string();
        let descriptor = &self.layout.descriptor;
        let media_type = descriptor.media_type().to_string();
        let image = Subject { media_type: &media_type, digest: self.layout.digest, size: descriptor.size() };
        let mut artifacts = artifacts;
        for key in signers {
            artifacts = sign::sign_artifacts(&self.layout.folder, &image, artifacts, key, &here)?;
            // Who signed before has attested before.
            let stated = anew.unwrap_or_default();
            artifacts = sign::attest_artifacts(&self.layout.folder, &image, artifacts, key, stated)?;
        }
        Ok(artifacts.iter().map(|artifact| artifact.only_for(&here, &public)).collect())
    }

    /// Says so where no signature is for this repository.
    fn unfit(&self, artifact: &Artifact, tag: &str) -> Option<String> {
        let here = self.request.to.repository.to_string();
        let names: Vec<String> = artifact.claims(&[]).into_iter().map(|claim| claim.repository).collect();
        let unfit = tag.ends_with(".sig") && !names.is_empty() && !names.contains(&here);
        unfit.then(|| {
            let names = names.join("`, `");
            format!("its signatures name `{names}`, not `{here}`: the key that made them is not at hand")
        })
    }

    fn send_tagged(&self, tag: &str, ours: &Artifact) -> Result<(), Error> {
        let new = match self.client().manifest(tag)? {
            None => Some(ours.clone()),
            Some(there) => ours.merged_with(&there.bytes).map_err(|fault| self.odd(tag, &fault.to_string()))?,
        };
        let Some(new) = new else { return Ok(()) };
        self.send_blobs(&new)?;
        self.put_manifest(tag, MANIFEST, &new.manifest).map(drop)
    }

    fn send_blobs(&self, artifact: &Artifact) -> Result<(), Error> {
        artifact.blobs.iter().try_for_each(|bytes| self.uploads.upload(&Blob::of(bytes.clone()), &[]).map(drop))
    }

    fn send_referrer(&self, document: &Artifact) -> Result<(), Error> {
        self.send_blobs(document)?;
        let noted = self.put_manifest(&document.digest().to_string(), MANIFEST, &document.manifest)?;
        let listed = match noted {
            Some(listed) => listed,
            None => self.lists_referrers()?,
        };
        if listed {
            return Ok(());
        }
        let tag = artifacts::fallback_tag(&self.layout.digest);
        let descriptor = artifacts::referrer(document).map_err(|reason| self.odd(&tag, &reason))?;
        // The index is read, added to and written: where another writer did the same meanwhile, once more.
        for _ in 0..MOST_LISTINGS {
            let before = self.client().manifest(&tag)?;
            let listed = artifacts::listed(before.as_ref().map(|manifest| manifest.bytes.as_slice()), &descriptor);
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
        let repository = &self.request.to.repository;
        let reason = format!("is no manifest that can be added to ({reason})");
        HostError::odd(format!("add to `{repository}:{tag}`"), repository.host(), reason).into()
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
    Ok(Blob { digest, size, source: Source::File(file) })
}
