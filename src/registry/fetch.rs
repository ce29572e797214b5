//! An image in a repository, with all that is said about it there → an OCI layout that can be verified.
//!
//! Signatures and attestations are taken from where each form is kept: cosign's tags, and the documents whose subject
//! the image is, from the registry's list of them or the index that stands in for it. Each byte is held against the
//! digest by which it was asked for; who made the signatures is for verification to say.

use std::fs;
use std::path::{Path, PathBuf};

use oci_spec::image::{Descriptor, ImageIndex, ImageManifest, MediaType};
use serde_json::{Value, json};

use super::artifacts::fallback_tag;
use super::client::{Access, Client};
use super::download::Download;
use super::error::files;
use super::{Error, Reference, Repository, Watch};
use crate::digest::Digest;
use crate::image::{blob_path, digest_of};
use crate::sign::{self, Artifact, attestation_tag, signature_tag};

/// Deepest nesting of indexes.
const DEEPEST: usize = 3;
/// Most documents about an image that are read.
const MOST_DOCUMENTS: usize = 256;
/// The kind of document that verification reads; others, such as a scanner's report, say nothing that it believes.
const BUNDLE: &str = "application/vnd.dev.sigstore.bundle";
const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";

/// What is to be fetched.
#[derive(Debug)]
pub struct FetchRequest<'a> {
    /// From where.
    pub repository: &'a Repository,
    /// The image's manifest or index.
    pub digest: Digest,
    /// Speak without TLS.
    pub plain_http: bool,
    /// A layout on this machine whose layers needn't be sent again, if they are what their digests say and the
    /// registry has them too.
    pub at_hand: Option<&'a Path>,
    /// The folder for the layout, which is there and empty.
    pub into: &'a Path,
}

/// Fetches the image and what is said about it. `false` where the repository has no such image.
pub fn fetch(request: &FetchRequest<'_>, watch: &dyn Watch) -> Result<bool, Error> {
    let fetch = Fetch { request, client: Client::new(request.repository, request.plain_http, Access::Pull)?, watch };
    let blobs = request.into.join("blobs/sha256");
    fs::create_dir_all(&blobs).map_err(files("make", &blobs))?;
    let Some((media_type, size)) = fetch.image(&request.digest, 0)? else { return Ok(false) };
    let entry = json!({ "mediaType": media_type, "digest": request.digest, "size": size });
    let index = json!({ "schemaVersion": 2, "mediaType": MediaType::ImageIndex, "manifests": [entry] });
    fetch.write(&request.into.join("index.json"), index.to_string().as_bytes())?;
    fetch.write(&request.into.join("oci-layout"), br#"{"imageLayoutVersion":"1.0.0"}"#)?;
    sign::store_artifacts(request.into, &fetch.artifacts()?)?;
    Ok(true)
}

/// The digest that a reference stands for, whose tag is `latest` where it has none. `None` where there is no such image.
pub fn resolve(reference: &Reference, plain_http: bool) -> Result<Option<Digest>, Error> {
    if reference.digest.is_some() {
        return Ok(reference.digest);
    }
    let client = Client::new(&reference.repository, plain_http, Access::Pull)?;
    let found = client.manifest(reference.tag.as_deref().unwrap_or("latest"))?;
    Ok(found.map(|manifest| manifest.digest))
}

struct Fetch<'a> {
    request: &'a FetchRequest<'a>,
    client: Client,
    watch: &'a dyn Watch,
}

impl Fetch<'_> {
    fn odd(&self, digest: &Digest, reason: &str) -> Error {
        Error::Unfit { reference: format!("{}@{digest}", self.request.repository), reason: reason.into() }
    }

    fn write(&self, path: &Path, bytes: &[u8]) -> Result<(), Error> {
        fs::write(path, bytes).map_err(files("write", path))
    }

    fn place(&self, digest: &Digest) -> PathBuf {
        blob_path(self.request.into, digest)
    }

    /// A manifest or an index with all below it; its media type and size. `None` where there is none.
    fn image(&self, digest: &Digest, depth: usize) -> Result<Option<(&'static str, usize)>, Error> {
        let Some(found) = self.client.manifest(&digest.to_string())? else { return Ok(None) };
        self.write(&self.place(digest), &found.bytes)?;
        let wrong = |error: serde_json::Error| self.odd(digest, &format!("is no image: {error}"));
        let value: Value = serde_json::from_slice(&found.bytes).map_err(wrong)?;
        // A document that is both would be one thing to us and another to an engine.
        let media_type = match (value.get("manifests").is_some(), value.get("layers").is_some()) {
            (false, true) => {
                self.parts(digest, &serde_json::from_value(value).map_err(wrong)?)?;
                MANIFEST
            }
            (true, false) if depth < DEEPEST => {
                let index: ImageIndex = serde_json::from_value(value).map_err(wrong)?;
                for entry in index.manifests() {
                    let inner = digest_of(entry).map_err(|reason| self.odd(digest, &reason))?;
                    self.image(&inner, depth + 1)?.ok_or_else(|| self.odd(&inner, "is named, but not there"))?;
                }
                "application/vnd.oci.image.index.v1+json"
            }
            _ => return Err(self.odd(digest, "is neither an image nor an index of images")),
        };
        Ok(Some((media_type, found.bytes.len())))
    }

    fn parts(&self, image: &Digest, manifest: &ImageManifest) -> Result<(), Error> {
        for part in [manifest.config()].into_iter().chain(manifest.layers()) {
            let digest = digest_of(part).map_err(|reason| self.odd(image, &reason))?;
            if !self.place(&digest).exists() {
                self.blob(&digest, part.size())?;
            }
        }
        Ok(())
    }

    /// Writes a blob, from this machine where it is at hand.
    fn blob(&self, digest: &Digest, size: u64) -> Result<(), Error> {
        let path = self.place(digest);
        self.watch.expects(size);
        if self.is_at_hand(digest, size, &path)? {
            self.watch.moved(size as i64);
            return Ok(());
        }
        let mut download = Download::begin(*digest, size, path)?;
        download.fetch(&self.client, self.watch)?;
        self.expect(digest, &download.finish(), "the blob")
    }

    fn expect(&self, wanted: &Digest, found: &Digest, what: &str) -> Result<(), Error> {
        if found == wanted {
            return Ok(());
        }
        Err(Error::Changed { what: what.into(), host: self.request.repository.host().into(), digest: *wanted })
    }

    /// Takes a blob from the layout at hand, if it is whole there and in the registry too.
    fn is_at_hand(&self, digest: &Digest, size: u64, path: &Path) -> Result<bool, Error> {
        let Some(layout) = self.request.at_hand else { return Ok(false) };
        let here = blob_path(layout, digest);
        if !fs::symlink_metadata(&here).is_ok_and(|data| data.is_file() && data.len() == size) {
            return Ok(false);
        }
        let attempt = format!("look for the blob {digest} of `{}`", self.request.repository);
        let asked = self.client.request("HEAD", &format!("blobs/{digest}"), attempt);
        if self.client.send(asked, &[200, 404])?.status == 404 {
            return Err(self.odd(&self.request.digest, &format!("lacks its blob {digest}")));
        }
        let whole = Digest::of_file(&here).is_ok_and(|found| found == (*digest, size));
        if whole && fs::hard_link(&here, path).is_err() {
            fs::copy(&here, path).map_err(files("copy a layer to", path))?;
        }
        Ok(whole)
    }

    /// What is said about the image in the repository.
    fn artifacts(&self) -> Result<Vec<Artifact>, Error> {
        let image = &self.request.digest;
        let mut all = Vec::new();
        for tag in [signature_tag(image), attestation_tag(image)] {
            if let Some(found) = self.client.manifest(&tag)? {
                all.push(self.artifact(found.bytes, Some(tag))?);
            }
        }
        for entry in self.referrers()? {
            let digest = digest_of(&entry).map_err(|reason| self.odd(image, &reason))?;
            let found = self.client.manifest(&digest.to_string())?;
            let found = found.ok_or_else(|| self.odd(&digest, "is listed as about an image, but not there"))?;
            all.push(self.artifact(found.bytes, None)?);
        }
        Ok(all)
    }

    fn artifact(&self, manifest: Vec<u8>, tag: Option<String>) -> Result<Artifact, Error> {
        let digest = Digest::of(&manifest);
        let parsed: ImageManifest = serde_json::from_slice(&manifest)
            .map_err(|error| self.odd(&digest, &format!("is no manifest of signatures: {error}")))?;
        let mut blobs: Vec<Vec<u8>> = Vec::new();
        for part in [parsed.config()].into_iter().chain(parsed.layers()) {
            let part = digest_of(part).map_err(|reason| self.odd(&digest, &reason))?;
            let blob = self.client.small_blob(&part)?;
            let blob = blob.ok_or_else(|| self.odd(&digest, &format!("lacks its blob {part}")))?;
            self.expect(&part, &Digest::of(&blob), "the blob of a signature")?;
            if !blobs.contains(&blob) {
                blobs.push(blob);
            }
        }
        let artifact_type = parsed.artifact_type().as_ref().map(ToString::to_string);
        Ok(Artifact { manifest, blobs, artifact_type: artifact_type.filter(|_| tag.is_none()), tag })
    }

    /// The bundles whose subject the image is, as the registry lists them; else as the index under the image's own tag.
    fn referrers(&self) -> Result<Vec<Descriptor>, Error> {
        let image = &self.request.digest;
        let listed = match self.client.referrers(image)? {
            Some(listed) => listed,
            None => self.tagged_referrers(image)?,
        };
        let kind = |entry: &Descriptor| entry.artifact_type().as_ref().map(ToString::to_string).unwrap_or_default();
        // One that doesn't tell its kind may be anything: it is read.
        let read = |entry: &&Descriptor| kind(entry).is_empty() || kind(entry).starts_with(BUNDLE);
        let all: Vec<Descriptor> = listed.iter().filter(read).cloned().collect();
        if all.len() > MOST_DOCUMENTS {
            return Err(self.odd(image, &format!("has {} signatures and attestations, too many to read", all.len())));
        }
        Ok(all)
    }
    /// The index that stands in for a registry's own list.
    fn tagged_referrers(&self, image: &Digest) -> Result<Vec<Descriptor>, Error> {
        let Some(found) = self.client.manifest(&fallback_tag(image))? else { return Ok(Vec::new()) };
        let index: ImageIndex = serde_json::from_slice(&found.bytes)
            .map_err(|error| self.odd(image, &format!("has a list of documents that is no index: {error}")))?;
        Ok(index.manifests().clone())
    }
}
