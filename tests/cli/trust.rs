//! `verify`, `sign` and `keys`: a changed byte anywhere is refused, and only a trusted key makes an image trusted.

use std::path::{Path, PathBuf};

use insta::assert_snapshot;

use crate::command::{Place, files_below, set_mode};
use crate::made;

fn index(place: &Place) -> serde_json::Value {
    serde_json::from_str(&place.read("digits/dist/image/index.json")).unwrap()
}

/// The files of the layout by what they are: each kind of file that there is.
fn kinds(place: &Place) -> Vec<(String, PathBuf)> {
    let layout = place.at("digits/dist/image");
    let blob = |descriptor: &serde_json::Value| {
        layout.join("blobs/sha256").join(&descriptor["digest"].as_str().unwrap()["sha256:".len()..])
    };
    let mut kinds: Vec<(String, PathBuf)> =
        ["index.json", "oci-layout"].map(|name| (name.to_string(), layout.join(name))).into();
    for (at, entry) in index(place)["manifests"].as_array().unwrap().iter().enumerate() {
        let manifest: serde_json::Value = serde_json::from_slice(&std::fs::read(blob(entry)).unwrap()).unwrap();
        let layers = manifest["layers"].as_array().unwrap().iter().enumerate();
        let mut parts =
            vec![(format!("manifest {at}"), blob(entry)), (format!("config {at}"), blob(&manifest["config"]))];
        parts.extend(layers.map(|(layer, entry)| (format!("layer {at}.{layer}"), blob(entry))));
        // Bundles share their config.
        parts.retain(|(_, path)| kinds.iter().all(|(_, known)| known != path));
        kinds.extend(parts);
    }
    kinds
}

#[test]
fn a_changed_byte_anywhere_is_refused() {
    let place = made::digits();
    let layout = place.at("digits/dist/image");
    place.run(["verify", "digits"]).with(0);
    let kinds = kinds(&place);
    assert_eq!(kinds.len(), files_below(&layout).len(), "every file has its kind");
    for (kind, path) in &kinds {
        let whole = std::fs::read(path).unwrap();
        let name = path.strip_prefix(&layout).unwrap().display().to_string();
        for at in [0, whole.len() / 2, whole.len() - 1] {
            let mut changed = whole.clone();
            changed[at] ^= 0x01;
            std::fs::write(path, &changed).unwrap();
            let ended = place.run(["verify", "digits"]);
            // A newline at the end of a JSON text that became a tab says the same.
            let stderr = ended.refused(7);
            assert!(stderr.starts_with("error: `digits` is refused\ncause: "), "{kind}, byte {at}: {stderr}");
            assert!(stderr.contains("hint: build or fetch it again"), "{kind}: {stderr}");
            if kind != "index.json" {
                assert!(stderr.contains(&format!("`{name}`")), "{kind}, byte {at}: {stderr}");
            }
        }
        std::fs::write(path, &whole[..whole.len() - 1]).unwrap();
        assert!(place.run(["verify", "digits"]).refused(7).contains(&name), "{kind}, cut");
        std::fs::remove_file(path).unwrap();
        assert!(
            place.run(["verify", "digits"]).refused(7).contains(&format!("`{name}` is missing")),
            "{kind}, removed"
        );
        std::fs::write(path, whole).unwrap();
    }
    place.write("digits/dist/image/blobs/sha256/more", "more");
    assert!(place.run(["verify", "digits"]).refused(7).contains("`blobs/sha256/more`"));
    std::fs::remove_file(place.at("digits/dist/image/blobs/sha256/more")).unwrap();
    place.run(["verify", "digits/dist/image"]).with(0);
    for name in ["sbom.spdx.json", "sbom.cdx.json", "provenance.json"] {
        let path = format!("digits/dist/{name}");
        let whole = place.read(&path);
        place.write(&path, whole.replacen("digits", "digit5", 1));
        let refused = place.run(["verify", "digits"]).refused(7);
        assert!(refused.contains(&format!("`dist/{name}` is not what is attested of the image")), "{refused}");
        place.write(&path, whole);
    }
    place.run(["verify", "digits"]).with(0);
}

#[test]
fn a_trusted_image_says_who_signed_it_and_for_what() {
    let place = made::digits();
    let digest = index(&place)["manifests"][0]["digest"].as_str().unwrap().to_string();
    let plain = |text: String| text.replace(&digest, "<image>").replace(&key(&place), "<key>");
    let text = place.run(["verify", "digits"]).with(0);
    assert_eq!(text.stderr, "");
    assert_snapshot!(plain(text.stdout), @"
    <image>
    whole, every byte
    signed by <key> for digits
    attested: https://spdx.dev/Document
    attested: https://cyclonedx.org/bom
    attested: https://slsa.dev/provenance/v1
    ");
    let json = place.run(["verify", "digits", "--format", "json"]).with(0);
    assert_snapshot!(plain(json.stdout), @r#"
    {
      "attested": [
        "https://spdx.dev/Document",
        "https://cyclonedx.org/bom",
        "https://slsa.dev/provenance/v1"
      ],
      "image": "<image>",
      "signatures": [
        {
          "key": "<key>",
          "repository": "digits"
        }
      ],
      "verdict": "trusted"
    }
    "#);
}

/// The id of the user's key.
fn key(place: &Place) -> String {
    let report: serde_json::Value = serde_json::from_str(&place.read("digits/dist/report.json")).unwrap();
    report["signedBy"][0].as_str().unwrap().into()
}

#[test]
fn a_key_beside_the_image_is_no_reason_to_trust_it() {
    let made = made::digits();
    let stranger = Place::without_key();
    crate::command::copy_tree(&made.at("digits"), &stranger.at("digits"));
    let plain = |text: String| text.replace(index(&stranger)["manifests"][0]["digest"].as_str().unwrap(), "<image>");
    let unknown = || {
        let ended = stranger.run(["verify", "digits"]);
        plain(ended.refused(7))
    };
    let words = unknown();
    assert_snapshot!(words, @"
    error: <image> is intact, signer unknown: no trusted key made any of its 2 signatures
     hint: get the signer's public key from its owner and pass it with `--key`
    ");
    stranger.run(["keys", "generate"]).with(0);
    assert_eq!(unknown(), words, "another key of one's own changes nothing");
    let json = stranger.run(["verify", "digits", "--format", "json"]).with(7);
    assert_eq!(json.json()["verdict"], "intactSignerUnknown");
    // Given, it is the user who trusts it.
    stranger.run(["verify", "digits", "--key", "digits/dist/cosign.pub"]).with(0);
    // The right key among others, or the wrong one alone.
    let own = stranger.run(["keys", "export"]).with(0).stdout;
    stranger.write("own.pub", own);
    stranger.run(["verify", "digits", "--key", "own.pub", "--key", "digits/dist/cosign.pub"]).with(0);
    assert_eq!(plain(stranger.run(["verify", "digits", "--key", "own.pub"]).refused(7)), words);
    // A changed `cosign.pub` is no fault of the image.
    stranger.write("digits/dist/cosign.pub", "junk");
    assert_eq!(unknown(), words);
    let junk = stranger.run(["verify", "digits", "--key", "digits/dist/cosign.pub"]).refused(4);
    assert!(junk.contains("digits/dist/cosign.pub"), "{junk}");
    assert_snapshot!(stranger.run(["verify", "digits", "--key", "nowhere.pub"]).refused(4), @"
    error: there is no key in `nowhere.pub`
     hint: `--key` takes the path of a public key, such as the signer's `cosign.pub`
    ");
}

#[test]
fn an_unsigned_image_is_no_trusted_one_until_it_is_signed() {
    let place = Place::new();
    place.take("digits/digits.onnx").run(["create", "digits.onnx", "--yes", "--unsigned", "--quiet"]).with(0);
    let digest = index(&place)["manifests"][0]["digest"].as_str().unwrap().to_string();
    let plain = |text: String| text.replace(&digest, "<image>");
    assert_snapshot!(plain(place.run(["verify", "digits"]).refused(7)), @"
    error: <image> is intact, but not signed
     hint: `nimify sign DIR` signs it with your key
    ");
    let signed = place.run(["sign", "digits", "--repository", "registry.example.com/ml/digits"]).with(0);
    assert!(signed.stdout.starts_with(&format!("signed {digest} with the key sha256:")), "{}", signed.stdout);
    let verified = place.run(["verify", "digits"]).with(0).stdout;
    assert!(verified.contains(" for registry.example.com/ml/digits\n"), "{verified}");
    // A second signature joins the first, another's too.
    let other = Place::without_key();
    other.run(["keys", "generate"]).with(0);
    let theirs = other.config.join("nimify/keys/ed25519.key");
    place.run(["sign", "digits", "--key", theirs.to_str().unwrap()]).with(0);
    let public = other.config.join("nimify/keys/ed25519.pub");
    let by_them = place.run(["verify", "digits", "--key", public.to_str().unwrap()]).with(0).stdout;
    assert!(by_them.contains(" for digits\n"), "{by_them}");
}

#[test]
fn folders_without_an_image() {
    let place = Place::new();
    place.write("empty/x", "mine");
    assert_snapshot!(place.run(["verify", "nowhere"]).refused(10), @"
    error: can't read the layout `nowhere`
    cause: No such file or directory (os error 2)
    ");
    assert_snapshot!(place.run(["verify", "empty"]).refused(7), @"
    error: `empty` is refused
    cause: `oci-layout` is missing
           `index.json` is missing
           `x` nothing refers to it
     hint: build or fetch it again: a changed byte can't be told from an attack
    ");
    assert_snapshot!(place.run(["sign", "empty"]).refused(10), @"
    error: `empty` is not an OCI image layout that holds an image: there is no `index.json` in it
     hint: give a folder that `create` or `build` wrote, or an OCI image layout
    ");
    assert_snapshot!(place.run(["sign", "nowhere"]).refused(10), @"
    error: `nowhere` is not an OCI image layout that holds an image: there is no `index.json` in it
     hint: give a folder that `create` or `build` wrote, or an OCI image layout
    ");
}

#[test]
fn keys_are_made_once_exported_and_imported() {
    let place = Place::without_key();
    let store = place.config.join("nimify/keys");
    assert_snapshot!(place.run(["keys", "export"]).refused(4), @"
    error: there is no key in `<config>/nimify/keys`
     hint: `nimify keys generate` makes one
    ");
    assert_snapshot!(place.run(["keys", "export", "--private", "own.key"]).refused(4), @"
    error: there is no key in `<config>/nimify/keys`
     hint: `nimify keys generate` makes one
    ");
    assert_snapshot!(place.run(["keys", "generate"]).with(0).stdout, @"
    made <config>/nimify/keys/ed25519.key
    made <config>/nimify/keys/ecdsa-p256.key
    ");
    let before = files_below(&store);
    assert_snapshot!(place.run(["keys", "generate"]).with(0).stdout, @"
    there already: <config>/nimify/keys/ed25519.key
    there already: <config>/nimify/keys/ecdsa-p256.key
    ");
    assert!(before == files_below(&store));

    let public = place.run(["keys", "export"]).with(0);
    assert_eq!(public.stdout.as_bytes(), before["ed25519.pub"]);
    let private = place.run(["keys", "export", "--private", "own.key"]).with(0);
    assert_snapshot!(private.stderr, @"wrote own.key: whoever has it and its password can sign in your name");
    assert_eq!(place.read("own.key").as_bytes(), before["ed25519.key"]);
    use std::os::unix::fs::PermissionsExt;
    let mode = |path: &Path| std::fs::metadata(path).unwrap().permissions().mode() & 0o7777;
    assert_eq!([mode(&place.at("own.key")), mode(&store), mode(&store.join("ed25519.key"))], [0o600, 0o700, 0o600]);
    let again = place.run(["keys", "export", "--private", "own.key"]).refused(10);
    assert!(again.contains("own.key") && again.contains("exists"), "{again}");

    let other = Place::without_key();
    let exported = place.at("own.key");
    let import = ["keys", "import", exported.to_str().unwrap()];
    other.run(import).with(0);
    assert_eq!(other.run(["keys", "export"]).with(0).stdout, public.stdout);
    other.run(import).with(0);
    // A store that holds another key keeps it.
    let third = Place::without_key();
    third.run(["keys", "generate"]).with(0);
    let occupied = third.run(import).refused(4);
    assert!(occupied.contains(" hint: move the key that is there away first: nothing is overwritten"), "{occupied}");
    place.write("junk.key", "junk");
    set_mode(&place.at("junk.key"), 0o600);
    assert!(third.run(["keys", "import", place.at("junk.key").to_str().unwrap()]).refused(4).contains("junk.key"));
}

#[test]
fn a_password_is_asked_of_its_variable() {
    let place = Place::without_key();
    place.take("digits/digits.onnx");
    let run = |password: &str, args: &[&str]| {
        let mut command = place.nimify();
        place.finish(command.args(args).env("NIMIFY_KEY_PASSWORD", password))
    };
    run("right", &["keys", "generate"]).with(0);
    let create = ["create", "digits.onnx", "--yes", "--quiet"];
    let wrong = run("wrong", &create).refused(4);
    assert!(wrong.contains(" hint: `NIMIFY_KEY_PASSWORD` holds the password of an encrypted key\n"), "{wrong}");
    assert_eq!(place.entries(), ["digits.onnx"]);
    run("right", &create).with(0);
    // Verifying needs no secret.
    place.run(["verify", "digits"]).with(0);
}

#[test]
fn keys_that_others_can_read_are_not_used() {
    let place = made::digits();
    let store = place.config.join("nimify/keys");
    set_mode(&store.join("ed25519.key"), 0o644);
    assert_snapshot!(place.run(["sign", "digits"]).refused(4), @"
    error: `<config>/nimify/keys/ed25519.key` has the mode 0644: what holds a private key should be open to its owner alone
     hint: `chmod go= <config>/nimify/keys/ed25519.key`, and ask who may have read the key or changed it
    ");
    set_mode(&store.join("ed25519.key"), 0o600);
    set_mode(&store, 0o755);
    assert_snapshot!(place.run(["verify", "digits"]).refused(4), @"
    error: `<config>/nimify/keys` has the mode 0755: what holds a private key should be open to its owner alone
     hint: `chmod go= <config>/nimify/keys`, and ask who may have read the key or changed it
    ");
}

#[test]
fn as_many_signers_as_are_asked_for() {
    let place = made::digits();
    let other = Place::without_key();
    other.run(["keys", "generate"]).with(0);
    let theirs = |name: &str| other.config.join("nimify/keys").join(name).to_str().unwrap().to_string();
    let verify = |more: &[&str]| {
        let own = ["verify", "digits", "--key", "digits/dist/cosign.pub", "--key", &theirs("ed25519.pub")];
        place.run([&own, more].concat())
    };
    verify(&[]).with(0);
    let few = verify(&["--threshold", "2"]).refused(7);
    assert!(few.contains("is intact, but signed by 1 of the 2 trusted keys that it takes"), "{few}");
    place.run(["sign", "digits", "--key", &theirs("ed25519.key"), "--key", &theirs("ecdsa-p256.key")]).with(0);
    verify(&["--threshold", "2"]).with(0);
    let json = verify(&["--threshold", "2", "--format", "json"]).with(0).json();
    assert_eq!(json["signatures"].as_array().unwrap().len(), 2);
    let many = verify(&["--threshold", "3"]).refused(4);
    assert!(many.contains("3 signers can't be found among 2 different keys"), "{many}");
    // The same from an environment of the config.
    place.write("digits/theirs.pub", std::fs::read_to_string(theirs("ecdsa-p256.pub")).unwrap());
    let config = place.read("digits/nimify.yaml");
    let trust = |keys: &str, threshold: u32| {
        let text = format!("environments: {{ prod: {{ trust: {{ keys: [{keys}], threshold: {threshold} }} }} }}");
        place.write("digits/nimify.yaml", format!("{config}{text}\n"));
        place.run(["verify", "digits", "--env", "prod"])
    };
    trust("dist/cosign.pub, theirs.pub", 2).with(0);
    assert!(trust("dist/cosign.pub", 2).refused(4).contains("among 1 different keys"));
    // Keys whose time is over, one by one and as a list.
    trust("dist/cosign.pub, { key: theirs.pub, notAfter: 2999-12-31 }", 2).with(0);
    let few = trust("dist/cosign.pub, { key: theirs.pub, notAfter: 2020-12-31 }", 2).refused(7);
    assert!(few.contains("signed by 1 of the 2 trusted keys"), "{few}");
    let over = trust("{ key: theirs.pub, notAfter: 2020-12-31 }", 1).refused(7);
    assert!(over.contains("is intact, but trusted no longer: the time of `sha256:"), "{over}");
    let list = trust("dist/cosign.pub", 1).with(0);
    assert!(!list.stdout.is_empty());
    let text = "environments: { prod: { trust: { keys: [dist/cosign.pub], expires: 2020-01-01T00:00:00Z } } }";
    place.write("digits/nimify.yaml", format!("{config}{text}\n"));
    let json = place.run(["verify", "digits", "--env", "prod", "--format", "json"]).with(7).json();
    assert_eq!(json["verdict"], "expired");
    let unknown = place.run(["verify", "digits", "--env", "prdo"]).refused(4);
    assert!(unknown.contains("prod"), "{unknown}");
}

#[test]
fn a_command_signs_with_a_key_that_nimify_never_sees() {
    let place = made::digits();
    place.write(
        "hook",
        "case $1 in\n\
         public-key) openssl pkey -in hook.pem -pubout ;;\n\
         sign) openssl dgst -sha256 -sign hook.pem ;;\n\
         esac\n",
    );
    let made = std::process::Command::new("openssl")
        .args(["genpkey", "-quiet", "-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-256", "-out", "hook.pem"])
        .current_dir(place.at("."))
        .status()
        .unwrap();
    assert!(made.success());
    let key = "exec://sh hook";
    place.run(["sign", "digits", "--key", key]).with(0);
    let signed = files_below(&place.at("digits/dist/image"));
    place
        .run(["verify", "digits/dist/image", "--key", "digits/dist/cosign.pub", "--key", key, "--threshold", "2"])
        .with(0);
    // openssl signs otherwise each time: what is there is not signed again.
    place.run(["sign", "digits", "--key", key]).with(0);
    assert!(signed == files_below(&place.at("digits/dist/image")));
    let none = place.run(["sign", "digits", "--key", "exec://sh nowhere"]).refused(4);
    assert!(none.contains("the command `sh nowhere` can't be used"), "{none}");
}

#[test]
fn a_build_takes_several_signers_at_once() {
    let place = made::digits();
    let other = Place::without_key();
    other.run(["keys", "generate"]).with(0);
    for name in ["ed25519", "ecdsa-p256"] {
        let key = place.at(format!("{name}.key"));
        std::fs::copy(other.config.join(format!("nimify/keys/{name}.key")), &key).unwrap();
    }
    let verify = |keys: &[&str], more: &[&str]| {
        let keys = keys.iter().flat_map(|key| ["--key", key]);
        place.run(["verify", "digits"].into_iter().chain(keys).chain(more.iter().copied()))
    };
    let both = ["digits/dist/cosign.pub", "digits/dist/cosign-2.pub"];
    let keys = ["--key", "ed25519.key", "--key", "ecdsa-p256.key", "--key", "ed25519.key", "--discard-edits"];
    place.run(["build", "--quiet", "--config", "digits/nimify.yaml"].into_iter().chain(keys)).with(0);
    verify(&both, &["--threshold", "2"]).with(0);
    assert!(!place.at("digits/dist/cosign-3.pub").exists(), "each key signs once");
    let report: serde_json::Value = serde_json::from_str(&place.read("digits/dist/report.json")).unwrap();
    assert_eq!(report["signedBy"].as_array().unwrap().len(), 2);
    // One of the signers signs the model too, being of the kind that it takes.
    assert_eq!(place.read("digits/dist/model.pub"), place.read(both[1]));
    let signed = files_below(&place.at("digits/dist/image"));
    // The same from the config.
    let config = place.read("digits/nimify.yaml");
    place.write("digits/nimify.yaml", format!("{config}signing: {{ keys: [../ed25519.key, ../ecdsa-p256.key] }}\n"));
    place.run(["build", "--quiet", "--config", "digits/nimify.yaml"]).with(0);
    assert!(files_below(&place.at("digits/dist/image")).keys().eq(signed.keys()), "the same signatures");
    place.write("digits/nimify.yaml", format!("{config}signing: {{ key: ../a.key, keys: [../b.key] }}\n"));
    let missing = place.run(["build", "--config", "digits/nimify.yaml"]).refused(4);
    assert!(missing.contains("a.key"), "{missing}");
}
