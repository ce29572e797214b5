//! A small layout, and every way to change it.

use super::*;
use crate::files;
use crate::sign::{PublicKey, SigningKey, attest_layout, sign_layout};

/// Something to attest.
pub(super) fn predicate() -> Predicate {
    Predicate { kind: "https://spdx.dev/Document".into(), body: serde_json::json!({ "name": "digits" }) }
}

pub(super) fn put(folder: &Path, bytes: &[u8]) -> serde_json::Value {
    let digest = Digest::of(bytes);
    fs::create_dir_all(folder.join("blobs/sha256")).unwrap();
    fs::write(folder.join(blob_path(&digest)), bytes).unwrap();
    serde_json::json!({ "digest": digest, "size": bytes.len() })
}

fn with(mut descriptor: serde_json::Value, media_type: &str) -> serde_json::Value {
    descriptor["mediaType"] = media_type.into();
    descriptor
}

fn json(value: serde_json::Value) -> Vec<u8> {
    serde_json::to_vec(&value).unwrap()
}

/// Two empty tars of different lengths.
pub(super) const FIRST: &[u8] = &[0; 1024];
const SECOND: &[u8] = &[0; 1536];

/// Writes a layout of one image with two layers into `folder` and gives its manifest's digest.
pub(in crate::sign) fn layout(folder: &Path) -> Digest {
    let tar = "application/vnd.oci.image.layer.v1.tar";
    let layers = [FIRST, SECOND].map(|bytes| with(put(folder, bytes), tar));
    let labels = serde_json::json!({
        "org.opencontainers.image.title": "digits",
        "org.opencontainers.image.version": "1.2.0",
    });
    let config = json(serde_json::json!({
        "architecture": "amd64", "os": "linux", "config": { "Labels": labels },
        "created": "1970-01-01T00:00:00Z",
        "rootfs": { "type": "layers", "diff_ids": [layers[0]["digest"], layers[1]["digest"]] },
    }));
    let manifest = json(serde_json::json!({
        "schemaVersion": 2, "mediaType": IMAGE_MANIFEST,
        "config": with(put(folder, &config), "application/vnd.oci.image.config.v1+json"),
        "layers": layers,
    }));
    let mut image = with(put(folder, &manifest), IMAGE_MANIFEST);
    image["annotations"] = serde_json::json!({ REF_NAME: "digits:1.2.0" });
    image["platform"] = serde_json::json!({ "architecture": "amd64", "os": "linux" });
    let index = json(serde_json::json!({ "schemaVersion": 2, "mediaType": IMAGE_INDEX, "manifests": [image] }));
    fs::write(folder.join(INDEX_FILE), index).unwrap();
    fs::write(folder.join("oci-layout"), r#"{"imageLayoutVersion":"1.0.0"}"#).unwrap();
    Digest::of(manifest)
}

pub(super) fn trust(keys: &[&SigningKey]) -> TrustedKeys {
    keys.iter().map(|key| key.public()).collect()
}

fn faults(folder: &Path, trusted: &TrustedKeys) -> String {
    match verify_layout(folder, trusted).unwrap() {
        Verdict::Refused { faults } => faults.iter().map(|fault| format!("{fault}\n")).collect(),
        other => panic!("should be refused: {other:?}"),
    }
}

#[test]
fn only_a_trusted_key_makes_a_layout_trusted() {
    let folder = tempfile::tempdir().unwrap();
    let image = layout(folder.path());
    let (one, two) = (SigningKey::generate().unwrap(), SigningKey::generate().unwrap());
    assert_eq!(verify_layout(folder.path(), &trust(&[&one])).unwrap(), Verdict::Unsigned { image });
    sign_layout(folder.path(), &one, "ml/digits").unwrap();
    let signed = |key: &SigningKey| Verdict::Trusted {
        image,
        signatures: vec![TrustedSignature { key: key.public().id(), repository: Some("ml/digits".into()) }],
        attested: Vec::new(),
    };
    for trusted in [trust(&[&one]), trust(&[&two, &one])] {
        let verdict = verify_layout(folder.path(), &trusted).unwrap();
        assert_eq!(verdict, signed(&one));
    }
    for trusted in [trust(&[]), trust(&[&two])] {
        let verdict = verify_layout(folder.path(), &trusted).unwrap();
        assert_eq!(verdict, Verdict::IntactSignerUnknown { image, signatures: 2 });
        assert!(!verdict.is_trusted());
    }
    sign_layout(folder.path(), &two, "ml/digits").unwrap();
    let verdict = verify_layout(folder.path(), &trust(&[&two])).unwrap();
    assert_eq!(verdict, signed(&two));
    let verdict = |threshold: usize, keys: &[&SigningKey]| {
        let trusted = trust(keys).with_threshold(threshold.try_into().unwrap());
        verify_layout(folder.path(), &trusted).unwrap()
    };
    assert!(verdict(2, &[&one, &two]).is_trusted());
    let signers = [one.public().id()].into();
    assert_eq!(verdict(2, &[&one]), Verdict::TooFewSigners { image, signers, threshold: 2 });
    assert!(matches!(verdict(3, &[&one, &two]), Verdict::TooFewSigners { .. }));
}

#[test]
fn the_validator_of_images_takes_a_signed_layout() {
    let folder = tempfile::tempdir().unwrap();
    layout(folder.path());
    for _ in 0..2 {
        let key = SigningKey::generate().unwrap();
        sign_layout(folder.path(), &key, "ml/digits").unwrap();
        attest_layout(folder.path(), &key, &[predicate()]).unwrap();
        assert_eq!(crate::image::validate(folder.path()), []);
    }
}

#[test]
fn a_changed_byte_anywhere_is_refused() {
    let home = tempfile::tempdir().unwrap();
    let key = SigningKey::generate().unwrap();
    layout(home.path());
    sign_layout(home.path(), &key, "ml/digits").unwrap();
    attest_layout(home.path(), &key, &[predicate()]).unwrap();
    let trusted = trust(&[&key]);
    assert!(verify_layout(home.path(), &trusted).unwrap().is_trusted());
    let tree = files::read_tree(home.path()).unwrap();
    let (image, classic, bundles) = (6, 3 + 3, 2 + 2 + 1);
    assert_eq!(tree.len(), image + classic + bundles, "every file of each, and the config that bundles share");
    for (path, bytes) in &tree {
        // Each byte of what no digest covers, steps elsewhere; another bit each time.
        let step = if path.as_str().starts_with("blobs/") { 11 } else { 1 };
        for at in (0..bytes.len()).step_by(step).chain([bytes.len() - 1]) {
            let bit = at % 8;
            let mut changed = bytes.clone();
            changed[at] ^= 1 << bit;
            let file = home.path().join(path);
            fs::write(&file, &changed).unwrap();
            let verdict = verify_layout(home.path(), &trusted).unwrap();
            assert!(matches!(verdict, Verdict::Refused { .. }), "{path:?} byte {at} bit {bit}: {verdict:?}");
            fs::write(&file, bytes).unwrap();
        }
        for changed in [&bytes[..bytes.len() - 1], &[bytes, b"x".as_slice()].concat()] {
            fs::write(home.path().join(path), changed).unwrap();
            assert!(!faults(home.path(), &trusted).is_empty());
        }
        fs::write(home.path().join(path), bytes).unwrap();
    }
    assert!(verify_layout(home.path(), &trusted).unwrap().is_trusted());
}

#[test]
fn missing_and_foreign_files_are_refused_by_name() {
    let home = tempfile::tempdir().unwrap();
    let key = SigningKey::generate().unwrap();
    layout(home.path());
    sign_layout(home.path(), &key, "ml/digits").unwrap();
    let trusted = trust(&[&key]);
    for (path, bytes) in files::read_tree(home.path()).unwrap() {
        fs::remove_file(home.path().join(&path)).unwrap();
        let text = faults(home.path(), &trusted);
        assert!(text.contains(&format!("`{}` is missing", path.as_str())), "{text}");
        std::os::unix::fs::symlink("/dev/zero", home.path().join(&path)).unwrap();
        assert!(faults(home.path(), &trusted).contains("should be a regular file"));
        fs::remove_file(home.path().join(&path)).unwrap();
        fs::write(home.path().join(&path), bytes).unwrap();
    }
    for foreign in ["manifest.json", "blobs/sha256/extra", "blobs/sha512/x"] {
        let path = home.path().join(foreign);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, "x").unwrap();
        let text = faults(home.path(), &trusted);
        assert!(text.contains(&format!("`{foreign}` is no part of the image")), "{text}");
        fs::remove_file(path).unwrap();
    }
}

#[test]
fn the_public_key_beside_an_image_is_no_reason_to_trust_it() {
    let home = tempfile::tempdir().unwrap();
    let folder = home.path().join("image");
    layout(&folder);
    let key = SigningKey::generate().unwrap();
    sign_layout(&folder, &key, "digits").unwrap();
    fs::write(home.path().join("cosign.pub"), key.public().to_pem()).unwrap();
    let verdict = verify_layout(&folder, &TrustedKeys::default()).unwrap();
    assert!(matches!(verdict, Verdict::IntactSignerUnknown { .. }));
    let given = PublicKey::from_pem(&fs::read(home.path().join("cosign.pub")).unwrap(), "test").unwrap();
    assert!(verify_layout(&folder, &[given].into_iter().collect()).unwrap().is_trusted());
}

#[test]
fn names_that_the_labels_do_not_bear_out_are_refused() {
    let labels = BTreeMap::from([
        ("org.opencontainers.image.title".to_string(), "digits".to_string()),
        ("org.opencontainers.image.version".to_string(), "1.2.0".to_string()),
    ]);
    for good in ["digits:1.2.0", "digits:latest", "1.2.0", "latest"] {
        assert_eq!(wrong_name(good, &labels), None, "{good}");
    }
    for bad in ["digits:1.3.0", "digit:1.2.0", "", "digits:", "digits"] {
        assert_eq!(wrong_name(bad, &labels).as_deref(), Some("digits:1.2.0"), "{bad}");
    }
    assert_eq!(wrong_name("anything", &BTreeMap::new()), None);
}

#[test]
fn a_folder_that_is_not_there_is_an_error_and_not_a_verdict() {
    let home = tempfile::tempdir().unwrap();
    let error = verify_layout(&home.path().join("none"), &TrustedKeys::default()).unwrap_err();
    assert!(error.to_string().contains("can't read the layout"), "{error}");
}

/// Puts what `index.json` names into an index of its own.
fn nest(folder: &Path) {
    let inner = fs::read(folder.join(INDEX_FILE)).unwrap();
    let index = json(serde_json::json!({
        "schemaVersion": 2, "mediaType": IMAGE_INDEX, "manifests": [with(put(folder, &inner), IMAGE_INDEX)],
    }));
    fs::write(folder.join(INDEX_FILE), index).unwrap();
}

#[test]
fn an_image_of_several_platforms_is_checked_whole() {
    let home = tempfile::tempdir().unwrap();
    let key = SigningKey::generate().unwrap();
    layout(home.path());
    nest(home.path());
    sign_layout(home.path(), &key, "ml/digits").unwrap();
    let trusted = trust(&[&key]);
    let verdict = verify_layout(home.path(), &trusted).unwrap();
    assert!(verdict.is_trusted(), "{verdict:?}");
    for (path, bytes) in files::read_tree(home.path()).unwrap() {
        let mut changed = bytes.clone();
        changed[bytes.len() / 2] ^= 1;
        fs::write(home.path().join(&path), changed).unwrap();
        assert!(!faults(home.path(), &trusted).is_empty(), "{path:?}");
        fs::write(home.path().join(&path), bytes).unwrap();
    }
    for _ in 0..=DEEPEST {
        nest(home.path());
    }
    let text = faults(home.path(), &trusted);
    assert!(text.contains(&format!("is an index inside more than {DEEPEST} others")), "{text}");
}

#[test]
fn an_index_without_an_image_or_with_signatures_twice_is_refused() {
    let home = tempfile::tempdir().unwrap();
    let key = SigningKey::generate().unwrap();
    layout(home.path());
    sign_layout(home.path(), &key, "ml/digits").unwrap();
    let path = home.path().join(INDEX_FILE);
    let mut index: serde_json::Value = serde_json::from_slice(&fs::read(&path).unwrap()).unwrap();
    let entries = index["manifests"].as_array_mut().unwrap();
    entries.push(entries[1].clone());
    fs::write(&path, json(index.clone())).unwrap();
    let text = faults(home.path(), &trust(&[&key]));
    assert!(text.contains("names sha256:") && text.contains(" twice"), "{text}");
    index["manifests"] = serde_json::json!([]);
    fs::write(&path, json(index)).unwrap();
    assert!(faults(home.path(), &trust(&[&key])).contains("names no image"));
}
