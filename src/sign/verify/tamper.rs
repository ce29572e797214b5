//! What somebody without a key can do to a layout who knows its format and puts every digest right again: each way, and
//! what `verify` says to it. `docs/security.md` has the same table.

#[path = "../../../tests/support/forgery.rs"]
mod forgery;

use forgery::{forge, resign, restate};

use super::tests::{FIRST, layout, predicate, put, trust};
use super::*;
use crate::sign::additions::{artifacts, store_artifacts};
use crate::sign::artifact::Artifact;
use crate::sign::classic::{SIGNATURE, payload};
use crate::sign::{Algorithm, Expiry, SigningKey, attest_layout, attestation_tag, sign_layout, signature_tag};

/// A signed and attested layout in the hands of somebody else.
struct Signed {
    home: tempfile::TempDir,
    image: Digest,
    key: SigningKey,
}

impl Signed {
    fn new(algorithm: Algorithm) -> Self {
        let home = tempfile::tempdir().unwrap();
        let image = layout(home.path());
        let key = SigningKey::generate_as(algorithm).unwrap();
        let signed = Signed { home, image, key };
        signed.sign();
        signed
    }

    fn sign(&self) {
        sign_layout(self.folder(), &self.key, "ml/digits").unwrap();
        attest_layout(self.folder(), &self.key, &[predicate()]).unwrap();
    }

    fn folder(&self) -> &Path {
        self.home.path()
    }

    fn artifacts(&self) -> Vec<Artifact> {
        artifacts(self.folder()).unwrap()
    }

    fn tagged(&self, tag: &str) -> Artifact {
        self.artifacts().into_iter().find(|artifact| artifact.tag.as_deref() == Some(tag)).unwrap()
    }

    fn signatures(&self) -> Artifact {
        self.tagged(&signature_tag(&self.image))
    }

    /// The bundles: of the signature, of the attestation.
    fn bundle(&self, at: usize) -> Artifact {
        self.artifacts().into_iter().filter(|artifact| artifact.tag.is_none()).nth(at).unwrap()
    }

    fn forge(&self, blob: &[u8], change: &dyn Fn(&str) -> String) {
        forge(self.folder(), &Digest::of(blob).hex(), change);
    }

    fn edit_index(&self, change: impl Fn(&mut serde_json::Value)) {
        let path = self.folder().join(INDEX_FILE);
        let mut index = serde_json::from_slice(&fs::read(&path).unwrap()).unwrap();
        change(&mut index);
        fs::write(path, serde_json::to_vec(&index).unwrap()).unwrap();
    }

    fn only_artifacts(&self, keep: impl Fn(&Artifact) -> bool) {
        let kept: Vec<Artifact> = self.artifacts().into_iter().filter(keep).collect();
        fs::remove_dir_all(self.folder().join("blobs")).unwrap();
        layout(self.folder());
        store_artifacts(self.folder(), &kept).unwrap();
    }

    fn said(&self) -> String {
        let verdict = verify_layout(self.folder(), &trust(&[&self.key])).unwrap();
        assert!(!verdict.is_trusted(), "{verdict:?}");
        match verdict {
            Verdict::Refused { faults } => faults.iter().map(|fault| format!("{fault}\n")).collect(),
            other => format!("{other:?}"),
        }
    }
}

type Change = fn(&Signed);

/// What is done, how, and what is said to it.
const TAMPERED: [(&str, Change, &str); 17] = [
    ("a layer", |it| it.forge(FIRST, &|text| text.replacen('\0', "x", 1)), "something else than the image"),
    (
        "the configuration",
        |it| {
            let config = fs::read(it.folder().join(blob_path(&it.image))).unwrap();
            let manifest: Manifest = serde_json::from_slice(&config).unwrap();
            forge(it.folder(), &manifest.config.digest.hex(), &|text| text.replace("amd64", "arm64"));
        },
        "something else than the image",
    ),
    (
        "the manifest",
        |it| {
            forge(it.folder(), &it.image.hex(), &|text| text.replacen("\"schemaVersion\":2", "\"schemaVersion\": 2", 1))
        },
        "something else than the image",
    ),
    (
        "the image, its signatures left under its old name",
        |it| {
            it.forge(FIRST, &|text| text.replacen('\0', "x", 1));
            it.edit_index(|index| {
                let entry = &mut index["manifests"][1];
                entry["annotations"][REF_NAME] = signature_tag(&Digest::of("old")).into();
            });
        },
        "neither the image nor its signatures",
    ),
    (
        "the repository in the payload",
        |it| {
            it.only_artifacts(|artifact| artifact.tag == Some(signature_tag(&it.image)));
            it.forge(&payload("ml/digits", &it.image), &|text| text.replace("ml/", "my/"));
        },
        "IntactSignerUnknown",
    ),
    (
        "the image in the payload",
        |it| {
            let other = Digest::of("another").to_string();
            it.forge(&payload("ml/digits", &it.image), &|text| text.replace(&it.image.to_string(), &other));
        },
        "but the image is sha256:",
    ),
    (
        "the classic signature",
        |it| {
            it.only_artifacts(|artifact| artifact.tag == Some(signature_tag(&it.image)));
            it.forge(&it.signatures().manifest, &|text| resign(text, &format!("{SIGNATURE}\":\"")));
        },
        "IntactSignerUnknown",
    ),
    (
        "no classic signature",
        |it| it.forge(&it.signatures().manifest, &|text| text.replace("cosign/signature", "cosign/x")),
        "should have its signature in base64",
    ),
    (
        "the signature in the bundle",
        |it| {
            let bundle = it.bundle(0);
            it.only_artifacts(|artifact| *artifact == bundle);
            it.forge(&bundle.blobs[1], &|text| resign(text, "\"sig\":\""));
        },
        "IntactSignerUnknown",
    ),
    (
        "the image in the bundle's statement",
        |it| {
            let other = Digest::of("another").hex();
            it.forge(&it.bundle(0).blobs[1], &|text| restate(text, &it.image.hex(), &other));
        },
        "something else than the image",
    ),
    (
        "the bill of materials in its envelope",
        |it| {
            let attestations = it.tagged(&attestation_tag(&it.image));
            it.forge(&attestations.blobs[1], &|text| restate(text, "digits", "digit5"));
        },
        "no trusted key made the attestation",
    ),
    (
        "the bill of materials in its bundle",
        |it| it.forge(&it.bundle(1).blobs[1], &|text| restate(text, "digits", "digit5")),
        "no trusted key made the attestation",
    ),
    (
        "the kind of what is attested, in the manifest around it",
        |it| it.forge(&it.bundle(1).manifest, &|text| text.replace("spdx.dev", "spdy.dev")),
        "annotations that are not those of what it holds",
    ),
    (
        "the subject of a bundle",
        |it| {
            let other = Digest::of("another").to_string();
            it.forge(&it.bundle(0).manifest, &|text| text.replace(&it.image.to_string(), &other));
        },
        "has another subject than the image",
    ),
    (
        "the signatures of another image, replayed",
        |it| {
            let other = Signed::new(Algorithm::EcdsaP256);
            other.only_artifacts(|_| false);
            other.forge(FIRST, &|text| text.replacen('\0', "x", 1));
            let image = image_in(other.folder());
            sign_layout(other.folder(), &it.key, "ml/digits").unwrap();
            let mut replayed = other.tagged(&signature_tag(&image));
            replayed.tag = Some(signature_tag(&it.image));
            it.only_artifacts(|_| false);
            store_artifacts(it.folder(), &[replayed]).unwrap();
        },
        "but the image is sha256:",
    ),
    (
        "an attestation of a stranger",
        |it| {
            attest_layout(
                it.folder(),
                &SigningKey::generate().unwrap(),
                &[Predicate { kind: "https://slsa.dev/provenance/v1".into(), body: serde_json::json!({}) }],
            )
            .unwrap()
        },
        "no trusted key made the attestation",
    ),
    (
        "everything, signed anew by a stranger",
        |it| {
            it.forge(FIRST, &|text| text.replacen('\0', "x", 1));
            let image = image_in(it.folder());
            it.edit_index(|index| index["manifests"].as_array_mut().unwrap().truncate(1));
            let fresh = tempfile::tempdir().unwrap();
            fs::rename(it.folder().join("blobs"), fresh.path().join("old")).unwrap();
            for blob in reachable(&fresh.path().join("old"), &image) {
                put(it.folder(), &blob);
            }
            sign_layout(it.folder(), &SigningKey::generate().unwrap(), "ml/digits").unwrap();
        },
        "IntactSignerUnknown",
    ),
];

/// The image that a layout begins with.
fn image_in(folder: &Path) -> Digest {
    let index: Index = serde_json::from_slice(&fs::read(folder.join(INDEX_FILE)).unwrap()).unwrap();
    index.manifests[0].digest
}

/// The blobs of an image, out of a folder of blobs.
fn reachable(blobs: &Path, image: &Digest) -> Vec<Vec<u8>> {
    let read = |digest: &Digest| fs::read(blobs.join("sha256").join(digest.hex())).unwrap();
    let bytes = read(image);
    let manifest: Manifest = serde_json::from_slice(&bytes).unwrap();
    let parts = [&manifest.config].into_iter().chain(&manifest.layers).map(|part| read(&part.digest));
    parts.chain([bytes.clone()]).collect()
}

#[test]
fn what_was_tampered_with_is_refused_however_well_it_was_done() {
    for algorithm in [Algorithm::Ed25519, Algorithm::EcdsaP256] {
        for (what, change, said) in &TAMPERED {
            let signed = Signed::new(algorithm);
            assert!(verify_layout(signed.folder(), &trust(&[&signed.key])).unwrap().is_trusted());
            change(&signed);
            let text = signed.said();
            assert!(text.contains(said), "{what}: {text}");
        }
    }
}

#[test]
fn a_key_whose_time_is_over_is_trusted_no_longer() {
    let signed = Signed::new(Algorithm::EcdsaP256);
    let other = SigningKey::generate().unwrap();
    let end: Expiry = "2026-12-31".parse().unwrap();
    let [before, after] = [1_798_761_599, 1_798_761_600];
    let verdict = |keys: &[(&SigningKey, Option<&Expiry>)], now| {
        let mut trusted = TrustedKeys::default();
        keys.iter().for_each(|(key, expiry)| trusted.add(key.public(), *expiry, now));
        verify_layout(signed.folder(), &trusted).unwrap()
    };
    let list = [(&signed.key, Some(&end)), (&other, None)];
    assert!(verdict(&list, before).is_trusted());
    let signers = [signed.key.public().id()].into();
    assert_eq!(verdict(&list, after), Verdict::Expired { image: signed.image, signers });
    // An entry that holds still, of the same key, is one to trust.
    assert!(verdict(&[list[0], (&signed.key, None)], after).is_trusted());
    // What a key attested whose time is over, nobody vouches for any longer, though another signed the image.
    sign_layout(signed.folder(), &other, "ml/digits").unwrap();
    let Verdict::Refused { faults } = verdict(&list, after) else { panic!("should be refused") };
    assert!(faults[0].to_string().contains("no trusted key made the attestation"), "{faults:?}");
    attest_layout(signed.folder(), &other, &[predicate()]).unwrap();
    assert!(verdict(&list, after).is_trusted());
}

#[test]
fn a_key_that_is_no_longer_in_the_list_is_a_strangers() {
    let signed = Signed::new(Algorithm::EcdsaP256);
    let others = [SigningKey::generate().unwrap(), SigningKey::generate_as(Algorithm::EcdsaP256).unwrap()];
    let verdict = |trusted| verify_layout(signed.folder(), &trusted).unwrap();
    assert!(verdict(trust(&[&others[0], &signed.key, &others[1]])).is_trusted());
    let without = trust(&[&others[0], &others[1]]);
    assert!(matches!(verdict(without), Verdict::IntactSignerUnknown { .. }));
    assert!(matches!(verdict(TrustedKeys::default()), Verdict::IntactSignerUnknown { .. }));
}
