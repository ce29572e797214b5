//! Checks a layout from its bytes up, then asks who signed it.
//!
//! Nothing is believed that does not follow from what was signed: a signature covers the payload's bytes, the payload
//! names the image's manifest, the manifest names config and layers by digest. What no digest covers (`index.json`,
//! `oci-layout`, which files are there) has to be exactly what the rest implies.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::fs;
use std::path::Path;

use serde::Deserialize;

use self::claims::{Claim, Says};
use super::layout::{
    Descriptor, IMAGE_INDEX, IMAGE_MANIFEST, INDEX_FILE, Index, IndexEntry, Manifest, Platform, REF_NAME, blob_path,
    check_blob, parse, read_blob, read_document,
};
use super::statement::Statement;
use super::{Error, KeyId, Predicate, TrustedKeys};
use crate::digest::Digest;

mod claims;

/// How deep indexes may nest.
const DEEPEST: usize = 4;

/// One thing that is not as it should be: where, what, and what it should be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fault {
    /// A file of the layout, relative to it.
    pub place: String,
    /// What is wrong there, as the rest of a sentence.
    pub what: String,
}

impl Fault {
    pub(super) fn new(place: &str, what: impl Into<String>) -> Self {
        Fault { place: place.into(), what: what.into() }
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "`{}` {}", self.place, self.what)
    }
}

/// A signature of the image that a trusted key made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TrustedSignature {
    /// The key.
    pub key: KeyId,
    /// The repository for which it was made; `None` for a bundle, which names none.
    pub repository: Option<String>,
}

/// What [`verify_layout`] found.
#[derive(Debug, Clone, PartialEq)]
pub enum Verdict {
    /// Whole, and signed by as many trusted keys as are asked for.
    Trusted {
        /// The image's manifest (or index).
        image: Digest,
        /// The signatures that trusted keys made; never empty. A bundle beside a classic signature of the same key is
        /// not listed.
        signatures: Vec<TrustedSignature>,
        /// What is attested of it, each by a trusted key at the least.
        attested: Vec<Predicate>,
    },
    /// Whole, but signed by fewer trusted keys than are asked for. A failed check.
    TooFewSigners {
        /// The image's manifest (or index).
        image: Digest,
        /// The trusted keys that signed it; at least one.
        signers: BTreeSet<KeyId>,
        /// How many are asked for.
        threshold: usize,
    },
    /// Whole, but signed only by keys that are trusted no longer. A failed check.
    Expired {
        /// The image's manifest (or index).
        image: Digest,
        /// The keys whose time is over; at least one.
        signers: BTreeSet<KeyId>,
    },
    /// Whole, but no trusted key made any of its signatures: who made it is unknown. A failed check.
    IntactSignerUnknown {
        /// The image's manifest (or index).
        image: Digest,
        /// How many signatures there are.
        signatures: usize,
    },
    /// Whole, but nobody signed it. A failed check.
    Unsigned {
        /// The image's manifest (or index).
        image: Digest,
    },
    /// Not whole: every fault that was found. A failed check.
    Refused {
        /// The faults, in the order in which they were found; never empty.
        faults: Vec<Fault>,
    },
}

impl Verdict {
    /// Whether the check passed.
    pub fn is_trusted(&self) -> bool {
        matches!(self, Verdict::Trusted { .. })
    }

    /// The verdict on an image of which these faults were found too; of several at one place the first is told.
    pub fn and(self, more: impl IntoIterator<Item = Fault>) -> Verdict {
        let mut faults = if let Verdict::Refused { faults } = &self { faults.clone() } else { Vec::new() };
        for fault in more {
            if !faults.iter().any(|known| known.place == fault.place) {
                faults.push(fault);
            }
        }
        if faults.is_empty() { self } else { Verdict::Refused { faults } }
    }
}

/// Checks the layout in `folder`: each file, each digest and size, its signatures and attestations against `trusted`.
///
/// Faults of the layout are a [`Verdict`]; only a folder that can't be listed is an [`Error`]. A `cosign.pub` that
/// lies beside the layout plays no part.
pub fn verify_layout(folder: &Path, trusted: &TrustedKeys) -> Result<Verdict, Error> {
    fs::read_dir(folder).map_err(|source| Error::Io { attempt: "read the layout", path: folder.into(), source })?;
    let mut check = Check { folder, faults: Vec::new(), reached: BTreeSet::new() };
    let found = check.layout();
    if !check.faults.is_empty() {
        return Ok(Verdict::Refused { faults: check.faults });
    }
    let (image, claims) = found.expect("a layout without faults has an image");
    Ok(judge(image, &claims, trusted))
}

/// Who made the claims about a whole image, and whether that is enough.
fn judge(image: Digest, claims: &[Claim], trusted: &TrustedKeys) -> Verdict {
    let (mut classic, mut bundled) = (Vec::new(), Vec::new());
    let (mut unknown, mut expired) = (0, BTreeSet::new());
    for claim in claims {
        let Says::Image { repository } = &claim.says else { continue };
        let Some(key) = claim.signer(trusted) else {
            match claim.made_by(trusted.expired()) {
                Some(key) => drop(expired.insert(key)),
                None => unknown += 1,
            }
            continue;
        };
        let list = if repository.is_some() { &mut classic } else { &mut bundled };
        list.push(TrustedSignature { key, repository: repository.clone() });
    }
    bundled.retain(|bundle| !classic.iter().any(|classic| classic.key == bundle.key));
    let signatures = [classic, bundled].concat();
    if signatures.is_empty() && !expired.is_empty() {
        return Verdict::Expired { image, signers: expired };
    }
    if signatures.is_empty() {
        return match unknown {
            0 => Verdict::Unsigned { image },
            signatures => Verdict::IntactSignerUnknown { image, signatures },
        };
    }
    let signers: BTreeSet<KeyId> = signatures.iter().map(|signature| signature.key).collect();
    if signers.len() < trusted.threshold() {
        return Verdict::TooFewSigners { image, signers, threshold: trusted.threshold() };
    }
    match attested(claims, trusted) {
        Ok(attested) => Verdict::Trusted { image, signatures, attested },
        Err(faults) => Verdict::Refused { faults },
    }
}

/// What is attested, each statement once. One that no trusted key made is a fault: whoever reads it would believe it.
fn attested(claims: &[Claim], trusted: &TrustedKeys) -> Result<Vec<Predicate>, Vec<Fault>> {
    let mut statements: Vec<(&str, &[u8], &str, bool)> = Vec::new();
    for claim in claims {
        let Says::Attested { kind, statement, place } = &claim.says else { continue };
        let believed = claim.signer(trusted).is_some();
        match statements.iter_mut().find(|known| known.1 == statement) {
            Some(known) => known.3 |= believed,
            None => statements.push((kind, statement, place, believed)),
        }
    }
    let fault = |kind, place| Fault::new(place, format!("attests `{kind}`, but no trusted key made the attestation"));
    let faults: Vec<Fault> = statements.iter().filter(|known| !known.3).map(|known| fault(known.0, known.2)).collect();
    if !faults.is_empty() {
        return Err(faults);
    }
    let predicate = |statement: &[u8]| {
        let Statement { predicate_type, predicate, .. } =
            serde_json::from_slice(statement).expect("a claim's statement was read before");
        Predicate { kind: predicate_type, body: predicate }
    };
    Ok(statements.iter().map(|known| predicate(known.1)).collect())
}

/// What is needed of an image's config.
#[derive(Deserialize)]
struct ImageConfig {
    #[serde(flatten)]
    platform: ConfigPlatform,
    #[serde(default)]
    config: ConfigDetails,
}

#[derive(Deserialize)]
struct ConfigPlatform {
    architecture: String,
    os: String,
    variant: Option<String>,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct ConfigDetails {
    labels: Option<BTreeMap<String, String>>,
}

struct Check<'a> {
    folder: &'a Path,
    faults: Vec<Fault>,
    /// Blobs that something names.
    reached: BTreeSet<Digest>,
}

impl Check<'_> {
    /// Keeps the fault, or gives the value.
    fn note<T>(&mut self, result: Result<T, Fault>) -> Option<T> {
        result.map_err(|fault| self.faults.push(fault)).ok()
    }

    fn fault(&mut self, place: &str, what: impl Into<String>) {
        self.faults.push(Fault::new(place, what));
    }

    fn layout(&mut self) -> Option<(Digest, Vec<Claim>)> {
        self.version_file();
        let found = self.index();
        // With a broken index every blob would be one that nothing names.
        if found.is_some() {
            self.nothing_else();
        }
        found
    }

    fn version_file(&mut self) {
        #[derive(Deserialize)]
        #[serde(rename_all = "camelCase", deny_unknown_fields)]
        struct Version {
            image_layout_version: String,
        }
        let place = "oci-layout";
        let read = read_document(self.folder, place)
            .and_then(|bytes| parse(place, "`{\"imageLayoutVersion\":\"1.0.0\"}`", &bytes))
            .map(|Version { image_layout_version }| image_layout_version);
        if let Some(version) = self.note(read)
            && version != "1.0.0"
        {
            self.fault(place, format!("says version `{version}`, but should say `1.0.0`"));
        }
    }

    fn index(&mut self) -> Option<(Digest, Vec<Claim>)> {
        let read = read_document(self.folder, INDEX_FILE).and_then(|bytes| {
            parse::<Index>(INDEX_FILE, "an OCI image index that names an image and its signatures", &bytes)
        });
        let index = self.note(read)?;
        if index.schema_version != 2 {
            self.fault(INDEX_FILE, format!("has the schema version {}, but should have 2", index.schema_version));
        }
        if let Some(found) = index.media_type.filter(|found| found != IMAGE_INDEX) {
            self.fault(INDEX_FILE, format!("has the media type `{found}`, but should have `{IMAGE_INDEX}`"));
        }
        let mut entries = index.manifests.iter();
        let Some(image) = entries.next() else {
            self.fault(INDEX_FILE, "names no image");
            return None;
        };
        self.image_entry(image);
        if image.artifact_type.is_some() {
            self.fault(INDEX_FILE, "gives the image an `artifactType`, which nothing vouches for");
        }
        let claims = self.artifacts(image, entries.as_slice());
        Some((image.digest, claims))
    }

    fn image_entry(&mut self, entry: &IndexEntry) {
        let config = match entry.media_type.as_str() {
            IMAGE_MANIFEST => self.image(&entry.digest, entry.size),
            IMAGE_INDEX => {
                self.nested(&entry.digest, entry.size, 1);
                None
            }
            other => {
                self.fault(INDEX_FILE, format!("begins with a `{other}`, but should begin with an image"));
                None
            }
        };
        if let Some(platform) = &entry.platform {
            let real = config.as_ref().map(|config| {
                let ConfigPlatform { architecture, os, variant } = &config.platform;
                Platform { architecture: architecture.clone(), os: os.clone(), variant: variant.clone() }
            });
            if real.as_ref() != Some(platform) {
                self.fault(INDEX_FILE, "gives the image a platform that is not the one in its config");
            }
        }
        let labels = config.and_then(|config| config.config.labels).unwrap_or_default();
        for (key, value) in &entry.annotations {
            if key != REF_NAME {
                self.fault(INDEX_FILE, format!("has the annotation `{key}`, which nothing vouches for"));
            } else if let Some(wanted) = wrong_name(value, &labels) {
                self.fault(INDEX_FILE, format!("calls the image `{value}`, but its labels say `{wanted}`"));
            }
        }
    }

    /// An index inside the layout: an image for several platforms.
    fn nested(&mut self, digest: &Digest, size: u64, depth: usize) {
        #[derive(Deserialize)]
        struct Nested {
            manifests: Vec<Descriptor>,
        }
        self.reached.insert(*digest);
        let place = blob_path(digest);
        if depth > DEEPEST {
            return self.fault(&place, format!("is an index inside more than {DEEPEST} others"));
        }
        let read = read_blob(self.folder, digest, size)
            .and_then(|bytes| parse::<Nested>(&place, "an OCI image index", &bytes));
        for entry in self.note(read).into_iter().flat_map(|index| index.manifests) {
            match entry.media_type.as_str() {
                IMAGE_INDEX => self.nested(&entry.digest, entry.size, depth + 1),
                IMAGE_MANIFEST => drop(self.image(&entry.digest, entry.size)),
                _ => self.blob(&entry),
            }
        }
    }

    /// Checks manifest, config and layers; gives the config.
    fn image(&mut self, digest: &Digest, size: u64) -> Option<ImageConfig> {
        let manifest = self.manifest(digest, size, "an OCI image manifest")?;
        for layer in &manifest.layers {
            self.blob(layer);
        }
        self.reached.insert(manifest.config.digest);
        let read = read_blob(self.folder, &manifest.config.digest, manifest.config.size)
            .and_then(|bytes| parse(&blob_path(&manifest.config.digest), "an OCI image config", &bytes));
        self.note(read)
    }

    fn manifest(&mut self, digest: &Digest, size: u64, what: &str) -> Option<Manifest> {
        self.reached.insert(*digest);
        let place = blob_path(digest);
        let read = read_blob(self.folder, digest, size).and_then(|bytes| parse::<Manifest>(&place, what, &bytes));
        let manifest = self.note(read)?;
        if manifest.schema_version != 2 || manifest.media_type.as_deref().is_some_and(|found| found != IMAGE_MANIFEST) {
            self.fault(&place, format!("should be {what}: schema version 2, media type `{IMAGE_MANIFEST}`"));
        }
        Some(manifest)
    }

    fn blob(&mut self, descriptor: &Descriptor) {
        // A layer that is named twice is read once.
        if self.reached.insert(descriptor.digest) {
            let checked = check_blob(self.folder, &descriptor.digest, descriptor.size);
            self.note(checked);
        }
    }

    /// A file that nothing names is one that nobody signed.
    fn nothing_else(&mut self) {
        let known = self.reached.iter().map(blob_path).chain(["oci-layout".into(), INDEX_FILE.into()]);
        let known: BTreeSet<String> = known.collect();
        for entry in walkdir::WalkDir::new(self.folder).min_depth(1).sort_by_file_name() {
            let entry = match entry {
                Ok(entry) => entry,
                Err(error) => {
                    self.fault(".", format!("can't be listed: {error}"));
                    continue;
                }
            };
            let path = entry.path().strip_prefix(self.folder).expect("walkdir stays below its root");
            let path = path.to_string_lossy();
            let expected = match entry.file_type().is_dir() {
                true => path == "blobs" || path == "blobs/sha256",
                false => known.contains(&*path),
            };
            if !expected {
                self.fault(&path, "is no part of the image or of its signatures");
            }
        }
    }
}

/// The name that the image should have in `index.json`, where `found` isn't one that its labels allow. An image
/// without such labels may have any name, since it was not made here.
fn wrong_name(found: &str, labels: &BTreeMap<String, String>) -> Option<String> {
    let label = |name: &str| labels.get(&format!("org.opencontainers.image.{name}"));
    let (title, version) = (label("title")?, label("version")?);
    let tag = match found.rsplit_once(':') {
        Some((name, tag)) if name == title => tag,
        Some(_) => "",
        None => found,
    };
    (tag != version && tag != "latest").then(|| format!("{title}:{version}"))
}

#[cfg(test)]
mod tamper;
#[cfg(test)]
pub(super) mod tests;
