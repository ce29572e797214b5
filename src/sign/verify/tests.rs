//! A small layout, and every way to change it.

use super::*;
use crate::files::{self, FileTree};
use crate::sign::{PublicKey, SigningKey, payload, sign_layout};

fn put(folder: &Path, bytes: &[u8]) -> serde_json::Value {
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
const FIRST: &[u8] = &[0; 1024];
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

fn trust(keys: &[&SigningKey]) -> TrustedKeys {
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
    let signed = |key: &SigningKey| TrustedSignature { key: key.public().id(), repository: "ml/digits".into() };
    for trusted in [trust(&[&one]), trust(&[&two, &one])] {
        let verdict = verify_layout(folder.path(), &trusted).unwrap();
        assert_eq!(verdict, Verdict::Trusted { image, signatures: vec![signed(&one)] });
    }
    for trusted in [trust(&[]), trust(&[&two])] {
        let verdict = verify_layout(folder.path(), &trusted).unwrap();
        assert_eq!(verdict, Verdict::IntactSignerUnknown { image, signatures: 1 });
        assert!(!verdict.is_trusted());
    }
    sign_layout(folder.path(), &two, "ml/digits").unwrap();
    let verdict = verify_layout(folder.path(), &trust(&[&two])).unwrap();
    assert_eq!(verdict, Verdict::Trusted { image, signatures: vec![signed(&two)] });
}

#[test]
fn the_validator_of_images_takes_a_signed_layout() {
    let folder = tempfile::tempdir().unwrap();
    layout(folder.path());
    for _ in 0..2 {
        sign_layout(folder.path(), &SigningKey::generate().unwrap(), "ml/digits").unwrap();
        assert_eq!(crate::image::validate(folder.path()), []);
    }
}

#[test]
fn a_changed_byte_anywhere_is_refused() {
    let home = tempfile::tempdir().unwrap();
    let key = SigningKey::generate().unwrap();
    layout(home.path());
    sign_layout(home.path(), &key, "ml/digits").unwrap();
    let trusted = trust(&[&key]);
    assert!(verify_layout(home.path(), &trusted).unwrap().is_trusted());
    let tree = files::read_tree(home.path()).unwrap();
    assert_eq!(tree.len(), 9, "index, version, manifest, config, two layers; signatures, config, payload");
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

/// Replaces a blob and everything that names it, as one would who knows the format but has no key.
fn forge(folder: &Path, digest: &Digest, change: &dyn Fn(&str) -> String) {
    let old = fs::read_to_string(folder.join(blob_path(digest))).unwrap();
    let new = change(&old);
    assert_ne!(new, old);
    fs::remove_file(folder.join(blob_path(digest))).unwrap();
    put(folder, new.as_bytes());
    let (to, size) = (Digest::of(&new).hex(), |size: usize| format!(r#"","size":{size}"#));
    let rename = |text: &str| {
        let sized = text.replace(&(digest.hex() + &size(old.len())), &(to.clone() + &size(new.len())));
        sized.replace(&digest.hex(), &to)
    };
    loop {
        let tree: FileTree = files::read_tree(folder).unwrap();
        let naming = tree.into_iter().find_map(|(path, bytes)| {
            let text = String::from_utf8(bytes).unwrap();
            text.contains(&digest.hex()).then_some((path, text))
        });
        match naming {
            None => return,
            Some((path, text)) => match path.as_str().strip_prefix("blobs/sha256/") {
                Some(hex) => forge(folder, &format!("sha256:{hex}").parse().unwrap(), &rename),
                None => fs::write(folder.join(path), rename(&text)).unwrap(),
            },
        }
    }
}

#[test]
fn a_forgery_with_all_its_digests_right_is_not_believed() {
    let key = SigningKey::generate().unwrap();
    let check = |change: &dyn Fn(&Path, Digest, Digest)| {
        let home = tempfile::tempdir().unwrap();
        layout(home.path());
        let signed = sign_layout(home.path(), &key, "ml/digits").unwrap();
        change(home.path(), signed.image, signed.signatures);
        let verdict = verify_layout(home.path(), &trust(&[&key])).unwrap();
        assert!(!verdict.is_trusted(), "{verdict:?}");
        match verdict {
            Verdict::Refused { faults } => faults.iter().map(|fault| format!("{fault}\n")).collect(),
            other => format!("{other:?}"),
        }
    };
    // Another image under the old signatures.
    let text = check(&|folder, image, _| {
        let layer = Digest::of(FIRST);
        assert_ne!(layer, image);
        forge(folder, &layer, &|text| text.replacen('\0', "x", 1));
    });
    assert!(text.contains("IntactSignerUnknown"), "{text}");
    // Another image behind which the old signatures stay.
    let text = check(&|folder, image, _| {
        let index = fs::read_to_string(folder.join(INDEX_FILE)).unwrap();
        let tag = signature_tag(&image);
        forge(folder, &Digest::of(FIRST), &|text| text.replacen('\0', "x", 1));
        let forged = fs::read_to_string(folder.join(INDEX_FILE)).unwrap();
        assert_ne!(forged, index);
        let other = &forged[forged.find("sha256-").unwrap()..][..tag.len()];
        fs::write(folder.join(INDEX_FILE), forged.replace(other, &tag)).unwrap();
    });
    assert!(text.contains("neither the image nor its signatures"), "{text}");
    // Another repository in the payload.
    let text = check(&|folder, image, _| {
        forge(folder, &Digest::of(payload("ml/digits", &image)), &|text| text.replace("ml/", "my/"));
    });
    assert!(text.contains("IntactSignerUnknown"), "{text}");
    // Another image in the payload.
    let text = check(&|folder, image, _| {
        let other = Digest::of("another").to_string();
        forge(folder, &Digest::of(payload("ml/digits", &image)), &|text| text.replace(&image.to_string(), &other));
    });
    assert!(text.contains("but the image is sha256:"), "{text}");
    // Another signature.
    let text = check(&|folder, _, signatures| {
        let forged = STANDARD.encode([7; 64]);
        let manifest = fs::read_to_string(folder.join(blob_path(&signatures))).unwrap();
        let begin = manifest.find(SIGNATURE).unwrap() + SIGNATURE.len() + 3;
        let real = manifest[begin..begin + 88].to_string();
        forge(folder, &signatures, &|text| text.replace(&real, &forged));
    });
    assert!(text.contains("IntactSignerUnknown"), "{text}");
    // No signature at all.
    let text = check(&|folder, _, signatures| forge(folder, &signatures, &|text| text.replace("/signature", "/x")));
    assert!(text.contains("should have its signature in base64"), "{text}");
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
    assert!(text.contains("names `sha256-") && text.contains("` twice"), "{text}");
    index["manifests"] = serde_json::json!([]);
    fs::write(&path, json(index)).unwrap();
    assert!(faults(home.path(), &trust(&[&key])).contains("names no image"));
}
