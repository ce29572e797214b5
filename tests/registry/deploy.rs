//! What `nimify deploy` refuses before it touches a cluster: whatever was tampered with in the registry, what nobody
//! pushed, and what is asked for wrongly.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use nimify::digest::Digest;
use nimify::registry::Signing;
use nimify::sign::{
    Artifact, Predicate, SigningKey, artifacts, attest_layout, attestation_tag, sign_layout, signature_tag,
    store_artifacts,
};

use crate::chart::output;
use crate::forgery::{forge, resign, restate};
use crate::server::{Registry, Wishes};
use crate::{fails, nimify, passes, push_to};

/// An output folder `digits` with an image, a chart that runs it from a registry, and a helm that notes its calls.
struct Folder {
    home: tempfile::TempDir,
    registry: Registry,
    key: SigningKey,
    image: Digest,
}

const CONFIG: &str = "apiVersion: nimify/v1\nname: digits\nmodel: digits.onnx\nenvironments:\n  \
                      staging: { namespace: ml, trust: { keys: [owner.pub] } }\n  \
                      prod: { contexts: [eu, us], namespace: ml, trust: { keys: [owner.pub] } }\n  \
                      two: { trust: { keys: [owner.pub, other.pub], threshold: 2 } }\n  \
                      over: { trust: { keys: [owner.pub], expires: 2020-01-01 } }\n";

impl Folder {
    fn new() -> Self {
        let home = tempfile::tempdir().unwrap();
        let registry = Registry::start(&Wishes::default());
        let key = SigningKey::generate().unwrap();
        let image = output(&home.path().join("digits"));
        let folder = Folder { home, registry, key, image };
        fs::write(folder.at("nimify.yaml"), CONFIG).unwrap();
        fs::write(folder.at("owner.pub"), folder.key.public().to_pem()).unwrap();
        fs::write(folder.at("other.pub"), SigningKey::generate().unwrap().public().to_pem()).unwrap();
        folder.point_at(&image);
        let script = "#!/bin/sh\necho \"$@\" >>$HELM_CALLS\necho v${HELM_VERSION:-3.22.0}\n";
        fs::write(folder.helm(), script).unwrap();
        passes(Command::new("chmod").arg("+x").arg(folder.helm()));
        folder
    }

    fn at(&self, path: &str) -> PathBuf {
        self.home.path().join("digits").join(path)
    }

    fn layout(&self) -> PathBuf {
        self.at("dist/image")
    }

    fn helm(&self) -> PathBuf {
        self.home.path().join("helm")
    }

    fn repository(&self) -> String {
        self.registry.at("ml/digits")
    }

    /// Has the chart run this image.
    fn point_at(&self, image: &Digest) {
        let values = fs::read_to_string("charts-template/values.yaml").unwrap();
        let values = values.replace("  repository: service", &format!("  repository: {:?}", self.repository()));
        let zeros = format!("sha256:{}", "0".repeat(64));
        fs::write(self.at("chart/values.yaml"), values.replace(&zeros, &image.to_string())).unwrap();
    }

    fn sign(&self) {
        sign_layout(&self.layout(), &self.key, &self.repository()).unwrap();
        let body = serde_json::json!({ "name": "digits" });
        let predicate = Predicate { kind: "https://spdx.dev/Document".into(), body };
        attest_layout(&self.layout(), &self.key, &[predicate]).unwrap();
    }

    fn push(&self) {
        push_to(&self.layout(), &format!("{}:1", self.repository()), Signing::Nobody, &()).unwrap();
    }

    fn nimify(&self, args: &[&str]) -> Command {
        let mut command = nimify(self.home.path());
        command.current_dir(self.home.path()).args(&args[..1]).arg("digits").args(&args[1..]);
        command.env("NIMIFY_HELM", self.helm()).env("HELM_CALLS", self.home.path().join("calls"));
        command.env("KUBECONFIG", self.home.path().join("none"));
        command
    }

    fn deploy(&self, env: &str) -> Command {
        self.nimify(&["deploy", "--env", env, "--plain-http"])
    }

    fn artifacts(&self) -> Vec<Artifact> {
        artifacts(&self.layout()).unwrap()
    }

    fn tagged(&self, tag: &str) -> Artifact {
        self.artifacts().into_iter().find(|artifact| artifact.tag.as_deref() == Some(tag)).unwrap()
    }

    /// The bundles: of the signature, of the attestation.
    fn bundle(&self, at: usize) -> Artifact {
        self.artifacts().into_iter().filter(|artifact| artifact.tag.is_none()).nth(at).unwrap()
    }

    /// Leaves these artifacts alone in the layout.
    fn only(&self, keep: impl Fn(&Artifact) -> bool) {
        let kept: Vec<Artifact> = self.artifacts().into_iter().filter(keep).collect();
        fs::remove_dir_all(self.at("dist")).unwrap();
        let again = self.home.path().join("again");
        assert_eq!(output(&again), self.image);
        fs::rename(again.join("dist"), self.at("dist")).unwrap();
        fs::remove_dir_all(again).unwrap();
        store_artifacts(&self.layout(), &kept).unwrap();
    }

    fn forge(&self, blob: &[u8], change: &dyn Fn(&str) -> String) {
        forge(&self.layout(), &Digest::of(blob).hex(), change);
    }
}

/// The image that a layout has now.
fn image_in(layout: &Path) -> Digest {
    nimify::image::open_layout(layout).unwrap().digest
}

type Change = fn(&Folder);

/// What somebody without a key does to an image who may write into its registry, with every digest put right again:
/// the table of `docs/security.md`, as far as it is about what a registry has.
const TAMPERED: [(&str, Change); 14] = [
    ("a layer", |it| {
        let layer = nimify::image::open_layout(&it.layout()).unwrap().layers[0];
        forge(&it.layout(), &layer.hex(), &|text| text.replacen("models", "modelz", 1));
    }),
    ("the configuration", |it| {
        let config = nimify::image::open_layout(&it.layout()).unwrap().config;
        forge(&it.layout(), &config.hex(), &|text| text.replace("amd64", "arm64"));
    }),
    ("the manifest", |it| {
        forge(&it.layout(), &it.image.hex(), &|text| text.replacen("\"schemaVersion\":2", "\"schemaVersion\": 2", 1));
    }),
    ("the repository in the signed payload", |it| {
        it.only(|artifact| artifact.tag == Some(signature_tag(&it.image)));
        let payload = it.tagged(&signature_tag(&it.image)).blobs[1].clone();
        it.forge(&payload, &|text| text.replace("ml/digits", "ml/digit5"));
    }),
    ("the image in the signed payload", |it| {
        let payload = it.tagged(&signature_tag(&it.image)).blobs[1].clone();
        let other = Digest::of("other").hex();
        it.forge(&payload, &|text| text.replace(&it.image.hex(), &other));
    }),
    ("the signature", |it| {
        it.only(|artifact| artifact.tag == Some(signature_tag(&it.image)));
        let manifest = it.tagged(&signature_tag(&it.image)).manifest;
        it.forge(&manifest, &|text| resign(text, "\"dev.cosignproject.cosign/signature\":\""));
    }),
    ("the signature in a bundle", |it| {
        it.only(|artifact| artifact.tag.is_none());
        let bundle = it.bundle(0).blobs[1].clone();
        it.forge(&bundle, &|text| resign(text, "\"sig\":\""));
    }),
    ("the statement in a bundle", |it| {
        let bundle = it.bundle(0).blobs[1].clone();
        let other = Digest::of("other").hex();
        it.forge(&bundle, &|text| restate(text, &it.image.hex(), &other));
    }),
    ("a bill of materials", |it| {
        let bundle = it.bundle(1).blobs[1].clone();
        it.forge(&bundle, &|text| restate(text, "digits", "digit5"));
    }),
    ("the announced kind of an attestation", |it| {
        let manifest = it.tagged(&attestation_tag(&it.image)).manifest;
        it.forge(&manifest, &|text| text.replace("https://spdx.dev/Document", "https://slsa.dev/provenance/v1"));
    }),
    ("a signature of another image", |it| {
        let other = tempfile::tempdir().unwrap();
        let another = crate::layout::make(other.path(), &[700]);
        sign_layout(other.path(), &it.key, &it.repository()).unwrap();
        it.only(|_| false);
        let found = artifacts(other.path()).unwrap();
        let mut replayed = found.into_iter().find(|one| one.tag == Some(signature_tag(&another))).unwrap();
        replayed.tag = Some(signature_tag(&it.image));
        store_artifacts(&it.layout(), &[replayed]).unwrap();
    }),
    ("an attestation of a stranger", |it| {
        let stranger = SigningKey::generate().unwrap();
        let predicate = Predicate { kind: "https://example.com/good".into(), body: serde_json::json!({}) };
        attest_layout(&it.layout(), &stranger, &[predicate]).unwrap();
    }),
    ("everything, signed anew by a stranger", |it| {
        it.only(|_| false);
        sign_layout(&it.layout(), &SigningKey::generate().unwrap(), &it.repository()).unwrap();
    }),
    ("all signatures, taken away", |it| it.only(|_| false)),
];

#[test]
fn what_was_tampered_with_is_refused_before_a_cluster_is_touched() {
    for (what, change) in TAMPERED {
        let folder = Folder::new();
        folder.sign();
        change(&folder);
        folder.push();
        // Whoever tampers with the registry may have had the chart too.
        folder.point_at(&image_in(&folder.layout()));
        let stderr = fails(&mut folder.deploy("staging"), 7);
        assert!(!folder.home.path().join("calls").exists(), "{what}: helm was called\n{stderr}");
        // The same without anything at hand on this machine.
        fs::remove_dir_all(folder.at("dist")).unwrap();
        assert_eq!(fails(&mut folder.deploy("staging"), 7), stderr, "{what}");
    }
}

#[test]
fn a_changed_byte_in_the_registry_is_refused() {
    let folder = Folder::new();
    folder.sign();
    folder.push();
    fs::remove_dir_all(folder.at("dist")).unwrap();
    let blobs = folder.registry.home.path().join("data/docker/registry/v2/blobs/sha256");
    let files = walkdir::WalkDir::new(blobs).into_iter().flatten().filter(|entry| entry.file_name() == "data");
    let mut tried = 0;
    for path in files.map(|entry| entry.into_path()) {
        let whole = fs::read(&path).unwrap();
        // What only other blobs lead to, such as the index of referrers before the last, is no longer read.
        if whole.windows(9).any(|part| part == b"manifests") {
            continue;
        }
        let mut changed = whole.clone();
        changed[whole.len() / 2] ^= 1;
        fs::write(&path, changed).unwrap();
        let output = folder.deploy("staging").output().unwrap();
        // The registry may refuse to give out what it finds broken itself.
        assert!(matches!(output.status.code(), Some(7 | 9)), "{}: {}", path.display(), crate::text(&output));
        fs::write(&path, whole).unwrap();
        tried += 1;
    }
    assert!(tried >= 8, "{tried}");
    assert!(!folder.home.path().join("calls").exists());
}

#[test]
fn only_keys_that_the_environment_trusts_count() {
    let folder = Folder::new();
    folder.sign();
    folder.push();
    let told = |command: &mut Command| fails(command, 7);
    assert!(told(&mut folder.deploy("two")).contains("signed by 1 of the 2 trusted keys"));
    assert!(told(&mut folder.deploy("over")).contains("trusted no longer"));
    assert!(told(folder.deploy("staging").args(["--key", "digits/other.pub"])).contains("signer unknown"));
    assert!(!folder.home.path().join("calls").exists());
    // The right ones lead on to helm, and to a cluster that isn't there.
    let stderr = fails(&mut folder.deploy("staging"), 4);
    assert!(stderr.contains("no kubeconfig"), "{stderr}");
    assert!(fs::read_to_string(folder.home.path().join("calls")).unwrap().starts_with("version "));
    // What is verified is left nowhere.
    let left: Vec<_> = fs::read_dir(folder.at("dist")).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert_eq!(left, ["image"]);
}

#[test]
fn an_image_is_verified_where_it_was_pushed_to() {
    let folder = Folder::new();
    folder.sign();
    folder.push();
    let verify = |reference: &str, key: &str| {
        let mut verify = nimify(folder.home.path());
        verify.current_dir(folder.home.path()).args(["verify", reference, "--plain-http", "--key", key]);
        verify
    };
    let tagged = format!("{}:1", folder.repository());
    for reference in [tagged.clone(), format!("{}@{}", folder.repository(), folder.image)] {
        let said = passes(&mut verify(&reference, "digits/owner.pub"));
        let signed = format!("{}\nwhole, every byte\nsigned by {}", folder.image, folder.key.public().id());
        assert!(said.starts_with(&signed) && said.contains("attested: https://spdx.dev/Document"), "{said}");
    }
    assert!(fails(&mut verify(&tagged, "digits/other.pub"), 7).contains("signer unknown"));
    assert!(fails(&mut verify(&folder.registry.at("ml/digits:2"), "digits/owner.pub"), 9).contains("there is no"));
    // The environment of the folder in which one is.
    let mut verify = nimify(folder.home.path());
    verify.current_dir(folder.at("")).args(["verify", &tagged, "--plain-http", "--env", "staging"]);
    passes(&mut verify);
}

#[test]
fn a_model_that_is_mounted_is_verified_as_the_image_is() {
    let folder = Folder::new();
    folder.sign();
    folder.push();
    let model = folder.home.path().join("model");
    // An archive that ends where it begins.
    let digest = crate::layout::make_of(&model, &[vec![0; 1024]]);
    let repository = folder.registry.at("ml/model");
    let push = || push_to(&model, &format!("{repository}:1"), Signing::Nobody, &()).unwrap();
    push();
    let deploy = |image: &str| {
        let mut deploy = folder.deploy("staging");
        deploy.args(["--set", "model.source=imageVolume", "--set"]).arg(format!("model.image={image}"));
        deploy
    };
    let stderr = fails(&mut deploy(&format!("{repository}:1")), 4);
    assert!(stderr.contains("without registry or digest"), "{stderr}");
    let named = format!("{repository}@{digest}");
    let stderr = fails(&mut deploy(&named), 7);
    assert!(stderr.contains(&format!("{digest} is intact, but not signed")), "{stderr}");
    assert!(!folder.home.path().join("calls").exists());
    sign_layout(&model, &folder.key, &repository).unwrap();
    push();
    // On to the cluster, which isn't there.
    let stderr = fails(&mut deploy(&named), 4);
    assert!(stderr.contains("no kubeconfig"), "{stderr}");
}

#[test]
fn what_was_not_pushed_is_refused_with_the_way_to_push_it() {
    let folder = Folder::new();
    folder.sign();
    let stderr = fails(&mut folder.deploy("staging"), 8);
    assert!(stderr.contains(&format!("there is no {}@{}", folder.repository(), folder.image)), "{stderr}");
    assert!(stderr.contains(&format!("`nimify push DIR --to {}`", folder.repository())), "{stderr}");
    // A chart that names no registry, until `push` notes one.
    let values = fs::read_to_string(folder.at("chart/values.yaml")).unwrap();
    let named = format!("{:?}", folder.repository());
    fs::write(folder.at("chart/values.yaml"), values.replace(&named, "digits")).unwrap();
    let stderr = fails(&mut folder.deploy("staging"), 8);
    assert!(stderr.contains("`digits` names no registry") && stderr.contains("`nimify push DIR --to"), "{stderr}");
    passes(folder.nimify(&["push", "--plain-http", "--to"]).arg(folder.registry.at("other/place")));
    // What push was told of TLS, deploy knows.
    let stderr = fails(&mut folder.nimify(&["deploy", "--env", "staging"]), 4);
    assert!(stderr.contains("no kubeconfig"), "{stderr}");
    assert!(folder.registry.log().contains("other/place"));
}

#[test]
fn what_is_asked_for_wrongly_is_told_with_the_way_out() {
    let folder = Folder::new();
    folder.sign();
    folder.push();
    let deploy = |args: &[&str]| folder.nimify(&[&["deploy", "--plain-http"], args].concat());
    let stderr = fails(&mut deploy(&["--env", "stagin"]), 4);
    assert!(stderr.contains("no environment `stagin`") && stderr.contains("did you mean `staging`?"), "{stderr}");
    let stderr = fails(&mut deploy(&[]), 2);
    assert!(stderr.contains("several environments") && stderr.contains("over, prod, staging, two"), "{stderr}");
    let stderr = fails(&mut deploy(&["--env", "prod", "--set", "replicaCont=3"]), 4);
    assert!(stderr.contains("`replicaCont` is unknown; the nearest known one is `replicaCount`"), "{stderr}");
    let stderr = fails(&mut deploy(&["--env", "prod", "--values", "none.yaml"]), 4);
    assert!(stderr.contains("`none.yaml` can't be used as values"), "{stderr}");
    let stderr = fails(&mut deploy(&["--env", "prod", "--set", "nothing"]), 2);
    assert!(stderr.contains("it should be PATH=VALUE"), "{stderr}");
    let stderr = fails(deploy(&["--env", "staging"]).env("NIMIFY_HELM", "/no/helm"), 5);
    assert!(stderr.contains("`/no/helm` can't be started") && stderr.contains("install helm 3 or 4"), "{stderr}");
    let stderr = fails(deploy(&["--env", "staging"]).env("HELM_VERSION", "3.9.4"), 5);
    assert!(stderr.contains("is helm 3.9.4, older than 3.13.0"), "{stderr}");
    let stderr = fails(deploy(&["--env", "staging"]).env("HELM_VERSION", "x"), 5);
    assert!(stderr.contains("doesn't tell its version as helm does"), "{stderr}");
    for wrong in [["--canary", "0"], ["--canary", "100"], ["--timeout", "0s"], ["--timeout", "soon"]] {
        fails(&mut deploy(&wrong), 2);
    }
    // Chart and image of a folder belong together.
    folder.point_at(&Digest::of("other"));
    let stderr = fails(&mut deploy(&["--env", "staging"]), 4);
    assert!(stderr.contains("the chart runs the image") && stderr.contains("`nimify build`"), "{stderr}");
    fs::remove_dir_all(folder.at("chart")).unwrap();
    assert!(fails(&mut deploy(&["--env", "staging"]), 10).contains("there is no chart in"));
}
