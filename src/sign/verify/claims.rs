//! What the artifacts behind an image claim: well-formed and about this image, their makers not yet known.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use super::Check;
use crate::digest::Digest;
use crate::sign::artifact::ClassicConfig;
use crate::sign::bundle::{self, BUNDLE, Bundle, CONTENT, DSSE_ENVELOPE, EMPTY_CONFIG};
use crate::sign::classic::{DSSE, PAYLOAD_TYPE, PREDICATE_TYPE, Payload, SIGNATURE, SIMPLE_SIGNING, signature_tag};
use crate::sign::layout::{
    Descriptor, IMAGE_MANIFEST, INDEX_FILE, IndexEntry, Manifest, REF_NAME, blob_path, parse, read_blob,
};
use crate::sign::statement::{self, Envelope, IN_TOTO, STATEMENT, Statement};
use crate::sign::{Fault, KeyId, PublicKey, TrustedKeys, attestation_tag};

/// The `_type` of statements that cosign 2 writes.
const STATEMENT_OLD: &str = "https://in-toto.io/Statement/v0.1";
/// The one annotation of a bundle's manifest that says nothing.
const CREATED: &str = "org.opencontainers.image.created";

/// A signature over something about the image.
pub(super) struct Claim {
    /// The bytes that are signed.
    message: Vec<u8>,
    signature: Vec<u8>,
    pub(super) says: Says,
}

/// What is signed.
pub(super) enum Says {
    /// The image itself, for a repository where the form names one.
    Image {
        /// The repository.
        repository: Option<String>,
    },
    /// Something stated of it.
    Attested {
        /// The URI of its kind.
        kind: String,
        /// The statement's bytes.
        statement: Vec<u8>,
        /// Where it stands.
        place: String,
    },
}

impl Claim {
    /// The trusted key that made the signature.
    pub(super) fn signer(&self, trusted: &TrustedKeys) -> Option<KeyId> {
        self.made_by(trusted.iter())
    }

    /// Which of these keys made the signature.
    pub(super) fn made_by<'a>(&self, mut keys: impl Iterator<Item = (&'a KeyId, &'a PublicKey)>) -> Option<KeyId> {
        keys.find(|(_, key)| key.verifies(&self.message, &self.signature)).map(|(id, _)| *id)
    }
}

impl Check<'_> {
    /// Everything behind the image.
    pub(super) fn artifacts(&mut self, image: &IndexEntry, entries: &[IndexEntry]) -> Vec<Claim> {
        let tags = [signature_tag(&image.digest), attestation_tag(&image.digest)];
        let mut claims = Vec::new();
        for (at, entry) in entries.iter().enumerate() {
            if entries[..at].iter().any(|before| before.digest == entry.digest) {
                self.fault(INDEX_FILE, format!("names {} twice", entry.digest));
                continue;
            }
            match entry.ref_name() {
                Some(name) if tags.iter().any(|tag| tag == name) => {
                    if entries[..at].iter().any(|before| before.ref_name() == Some(name)) {
                        self.fault(INDEX_FILE, format!("names `{name}` twice"));
                    } else {
                        claims.extend(self.classic(entry, &image.digest, *name == tags[0]));
                    }
                }
                None if entry.artifact_type.as_deref() == Some(BUNDLE) => claims.extend(self.bundle(entry, image)),
                _ => {
                    let what = format!(
                        "names {}, which is neither the image nor its signatures `{}`, its attestations `{}`, or a \
                         bundle",
                        entry.digest, tags[0], tags[1]
                    );
                    self.fault(INDEX_FILE, what);
                }
            }
        }
        claims
    }

    fn classic(&mut self, entry: &IndexEntry, image: &Digest, signatures: bool) -> Vec<Claim> {
        let plain = entry.annotations.len() == 1 && entry.platform.is_none() && entry.artifact_type.is_none();
        if entry.media_type != IMAGE_MANIFEST || !plain {
            let what = format!("describes the signatures by more than `{IMAGE_MANIFEST}` and `{REF_NAME}`");
            self.fault(INDEX_FILE, what);
        }
        let Some(manifest) = self.manifest(&entry.digest, entry.size, "a manifest of signatures") else {
            return Vec::new();
        };
        let config = &manifest.config;
        self.reached.insert(config.digest);
        let place = blob_path(&config.digest);
        let read = read_blob(self.folder, &config.digest, config.size)
            .and_then(|bytes| parse::<ClassicConfig>(&place, "an OCI image config", &bytes));
        if let Some(config) = self.note(read)
            && !config.rootfs.diff_ids.iter().eq(manifest.layers.iter().map(|layer| &layer.digest))
        {
            self.fault(&place, "has `rootfs.diff_ids` that are not the digests of the payloads");
        }
        let mut claims = Vec::new();
        for layer in &manifest.layers {
            self.reached.insert(layer.digest);
            let read = match signatures {
                true => self.signature(layer, image).map(|claim| vec![claim]),
                false => self.attestation(layer, image),
            };
            claims.extend(self.note(read).unwrap_or_default());
        }
        claims
    }

    /// One layer of the signatures' manifest.
    fn signature(&self, layer: &Descriptor, image: &Digest) -> Result<Claim, Fault> {
        let place = blob_path(&layer.digest);
        let wrong = |what: String| Err(Fault::new(&place, what));
        expect_type(layer, SIMPLE_SIGNING)?;
        let message = read_blob(self.folder, &layer.digest, layer.size)?;
        let Payload { critical, .. } = parse(&place, "a payload of cosign", &message)?;
        if critical.kind != PAYLOAD_TYPE {
            return wrong(format!("has the type `{}`, but should have `{PAYLOAD_TYPE}`", critical.kind));
        }
        let named = critical.image.docker_manifest_digest;
        if named != *image {
            return wrong(format!("signs {named}, but the image is {image}"));
        }
        let Some(Ok(signature)) = layer.annotations.get(SIGNATURE).map(|text| STANDARD.decode(text)) else {
            return wrong(format!("should have its signature in base64 in the annotation `{SIGNATURE}`"));
        };
        let says = Says::Image { repository: Some(critical.identity.docker_reference) };
        Ok(Claim { message, signature, says })
    }

    /// One layer of the attestations' manifest.
    fn attestation(&self, layer: &Descriptor, image: &Digest) -> Result<Vec<Claim>, Fault> {
        let place = blob_path(&layer.digest);
        expect_type(layer, DSSE)?;
        let bytes = read_blob(self.folder, &layer.digest, layer.size)?;
        let envelope: Envelope = parse(&place, "an envelope with a statement", &bytes)?;
        let (kind, claims) = stated(&place, &envelope, image)?;
        // cosign 2 leaves the annotation away on request.
        match layer.annotations.get(PREDICATE_TYPE) {
            Some(named) if *named != kind => {
                Err(Fault::new(&place, format!("states `{kind}`, but is announced as `{named}`")))
            }
            _ => Ok(claims),
        }
    }

    fn bundle(&mut self, entry: &IndexEntry, image: &IndexEntry) -> Vec<Claim> {
        if entry.media_type != IMAGE_MANIFEST || !entry.annotations.is_empty() || entry.platform.is_some() {
            let what = format!("describes a bundle by more than `{IMAGE_MANIFEST}` and its `artifactType`");
            self.fault(INDEX_FILE, what);
        }
        let Some(manifest) = self.manifest(&entry.digest, entry.size, "a manifest of a bundle") else {
            return Vec::new();
        };
        for part in [&manifest.config].into_iter().chain(&manifest.layers) {
            self.reached.insert(part.digest);
        }
        let read = self.bundled(&blob_path(&entry.digest), &manifest, image);
        self.note(read).unwrap_or_default()
    }

    fn bundled(&self, place: &str, manifest: &Manifest, image: &IndexEntry) -> Result<Vec<Claim>, Fault> {
        let wrong = |what: &str| Err(Fault::new(place, what));
        if manifest.artifact_type.as_deref() != Some(BUNDLE) {
            return wrong("should have the `artifactType` of a bundle");
        }
        let is_image = |subject: &Descriptor| {
            let Descriptor { media_type, digest, size, annotations, .. } = subject;
            (media_type, digest, size) == (&image.media_type, &image.digest, &image.size) && annotations.is_empty()
        };
        if !manifest.subject.as_ref().is_some_and(is_image) {
            return wrong("has another subject than the image");
        }
        let [layer] = &manifest.layers[..] else { return wrong("should have one layer") };
        expect_type(&manifest.config, EMPTY_CONFIG)?;
        if read_blob(self.folder, &manifest.config.digest, manifest.config.size)? != b"{}" {
            return wrong("should have the config `{}`");
        }
        expect_type(layer, BUNDLE)?;
        let bytes = read_blob(self.folder, &layer.digest, layer.size)?;
        let inside = blob_path(&layer.digest);
        let bundle: Bundle = parse(&inside, "a bundle of an envelope, made with a key", &bytes)?;
        if bundle.media_type != BUNDLE || bundle.dsse_envelope.signatures.len() != 1 {
            return Err(Fault::new(&inside, format!("should be a `{BUNDLE}` with one signature")));
        }
        let (kind, claims) = stated(&inside, &bundle.dsse_envelope, &image.digest)?;
        let known = manifest.annotations.iter().all(|(name, value)| match name.as_str() {
            CONTENT => value == DSSE_ENVELOPE,
            bundle::PREDICATE_TYPE => *value == kind,
            other => other == CREATED,
        });
        if known { Ok(claims) } else { wrong("has annotations that are not those of what it holds") }
    }
}

fn expect_type(descriptor: &Descriptor, wanted: &str) -> Result<(), Fault> {
    if descriptor.media_type == wanted {
        return Ok(());
    }
    let what = format!("has the media type `{}`, but should have `{wanted}`", descriptor.media_type);
    Err(Fault::new(&blob_path(&descriptor.digest), what))
}

/// The kind of the statement in an envelope, which has to be about the image, and a claim for each of its signatures.
fn stated(place: &str, envelope: &Envelope, image: &Digest) -> Result<(String, Vec<Claim>), Fault> {
    let wrong = |what: String| Err(Fault::new(place, what));
    if envelope.payload_type != IN_TOTO {
        return wrong(format!("has a payload of type `{}`, but should have `{IN_TOTO}`", envelope.payload_type));
    }
    let Ok(payload) = STANDARD.decode(&envelope.payload) else {
        return wrong("should have its payload in base64".into());
    };
    let statement: Statement = parse(place, "an envelope of a statement", &payload)?;
    if ![STATEMENT, STATEMENT_OLD].contains(&statement.kind.as_str()) {
        return wrong(format!("holds a `{}`, but should hold a `{STATEMENT}`", statement.kind));
    }
    if statement.subject.is_empty() || statement.subject.iter().any(|subject| subject.digest.sha256 != image.hex()) {
        return wrong(format!("is about something else than the image, {image}"));
    }
    let mut claims = Vec::new();
    for signature in &envelope.signatures {
        let Ok(signature) = STANDARD.decode(&signature.sig) else {
            return wrong("should have its signatures in base64".into());
        };
        let says = match statement.predicate_type == statement::SIGNED {
            true => Says::Image { repository: None },
            false => Says::Attested {
                kind: statement.predicate_type.clone(),
                statement: payload.clone(),
                place: place.into(),
            },
        };
        claims.push(Claim { message: statement::encode(IN_TOTO, &payload), signature, says });
    }
    if claims.is_empty() {
        return wrong("has no signature".into());
    }
    Ok((statement.predicate_type, claims))
}
