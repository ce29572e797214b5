//! cosign judges our keys and signatures, in its second and its third version: key files go both ways, and what we sign
//! verifies in a registry.
//!
//! cosign, cosign3 and crane come from `tools/setup`, skopeo from the distribution.
#![expect(clippy::unwrap_used, reason = "what a test sets up may fail it")]

#[path = "support/judges.rs"]
mod judges;

use std::fs;
use std::net::{TcpListener, TcpStream};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use nimify::digest::Digest;
use nimify::sign::{
    Algorithm, Artifact, KeySource, Password, Predicate, PublicKey, SigningKey, Verdict, artifacts, attest_layout,
    sign_layout, signature_tag, store_artifacts, verify_layout,
};
use serde_json::json;

const COSIGNS: [&str; 2] = ["cosign", "cosign3"];
const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";

/// RFC 8410, section 10.3: the form in which openssl writes an Ed25519 key.
const PLAIN_KEY: &str = "-----BEGIN PRIVATE KEY-----\n\
    MC4CAQAwBQYDK2VwBCIEINTuctv5E1hK1bbY8fdp+K06/nwoy/HU++CXqI9EdVhC\n\
    -----END PRIVATE KEY-----\n";

fn tool(name: &str) -> Command {
    let path = if name == "skopeo" { name.into() } else { judges::tool(&format!("bin/{name}")) };
    let mut command = Command::new(path);
    command.env("COSIGN_PASSWORD", "pw").env("SIGSTORE_NO_CACHE", "true").stdin(Stdio::null());
    command
}

fn run(command: &mut Command) -> Output {
    command.output().unwrap_or_else(|error| panic!("can't run {command:?} ({error}): run tools/setup"))
}

fn passes(command: &mut Command) -> String {
    let output = run(command);
    assert!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

fn refuses(command: &mut Command) -> String {
    let output = run(command);
    assert!(!output.status.success(), "{command:?} should fail");
    String::from_utf8(output.stderr).unwrap()
}

/// A registry in memory, gone when dropped.
struct Registry {
    process: Child,
    address: String,
}

impl Registry {
    fn start() -> Self {
        let address = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().to_string();
        let mut command = tool("crane");
        command.args(["registry", "serve", "--address", &address]).stdout(Stdio::null()).stderr(Stdio::null());
        let process = command.spawn().unwrap_or_else(|error| panic!("can't run crane ({error}): run tools/setup"));
        let registry = Registry { process, address };
        let begin = Instant::now();
        while TcpStream::connect(&registry.address).is_err() {
            assert!(begin.elapsed() < Duration::from_secs(20), "the registry does not listen");
            std::thread::sleep(Duration::from_millis(20));
        }
        registry
    }
}

impl Drop for Registry {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

fn put(folder: &Path, media_type: &str, bytes: &[u8]) -> serde_json::Value {
    let digest = Digest::of(bytes);
    fs::create_dir_all(folder.join("blobs/sha256")).unwrap();
    fs::write(folder.join("blobs/sha256").join(digest.hex()), bytes).unwrap();
    json!({ "mediaType": media_type, "digest": digest, "size": bytes.len() })
}

/// A layout of one image with one layer.
fn layout(folder: &Path) -> Digest {
    let layer = put(folder, "application/vnd.oci.image.layer.v1.tar", &[0; 1024]);
    let config = json!({
        "architecture": "amd64", "os": "linux", "config": {},
        "rootfs": { "type": "layers", "diff_ids": [layer["digest"]] },
    });
    let config = put(folder, "application/vnd.oci.image.config.v1+json", config.to_string().as_bytes());
    let manifest =
        json!({ "schemaVersion": 2, "mediaType": MANIFEST, "config": config, "layers": [layer] }).to_string();
    let mut image = put(folder, MANIFEST, manifest.as_bytes());
    image["annotations"] = json!({ "org.opencontainers.image.ref.name": "digits:1.2.0" });
    fs::write(folder.join("index.json"), json!({ "schemaVersion": 2, "manifests": [image] }).to_string()).unwrap();
    fs::write(folder.join("oci-layout"), r#"{"imageLayoutVersion":"1.0.0"}"#).unwrap();
    Digest::of(manifest)
}

fn write_public(folder: &Path, name: &str, key: &PublicKey) -> PathBuf {
    let path = folder.join(name);
    fs::write(&path, key.to_pem()).unwrap();
    path
}

fn write_private(path: &Path, key: &SigningKey, password: &Password) {
    fs::write(path, key.to_pem(password).unwrap().as_bytes()).unwrap();
    fs::set_permissions(path, fs::Permissions::from_mode(0o600)).unwrap();
}

#[test]
fn cosign_reads_our_key_files() {
    for algorithm in [Algorithm::Ed25519, Algorithm::EcdsaP256] {
        cosign_reads(&SigningKey::generate_as(algorithm).unwrap());
    }
}

fn cosign_reads(key: &SigningKey) {
    let home = tempfile::tempdir().unwrap();
    for (name, password) in [("pw.key", "pw"), ("open.key", "")] {
        let file = home.path().join(name);
        write_private(&file, key, &password.into());
        for cosign in COSIGNS {
            let public =
                passes(tool(cosign).arg("public-key").arg("--key").arg(&file).env("COSIGN_PASSWORD", password));
            assert_eq!(public.trim_end(), key.public().to_pem().trim_end());
            let wrong = refuses(tool(cosign).arg("public-key").arg("--key").arg(&file).env("COSIGN_PASSWORD", "no"));
            assert!(wrong.contains("decrypt"), "{wrong}");
        }
    }
}

#[test]
fn we_read_the_key_files_that_cosign_makes() {
    // cosign makes ECDSA pairs, and imports others and then encrypts them itself.
    let home = tempfile::tempdir().unwrap();
    let plain = home.path().join("plain.pem");
    fs::write(&plain, PLAIN_KEY).unwrap();
    fs::set_permissions(&plain, fs::Permissions::from_mode(0o600)).unwrap();
    let mut import = tool("cosign");
    import.arg("import-key-pair").arg("--key").arg(&plain).args(["--output-key-prefix", "imported"]);
    passes(import.current_dir(home.path()));
    let private = KeySource::File(home.path().join("imported.key")).signing_key(&"pw".into()).unwrap();
    let public = KeySource::File(home.path().join("imported.pub")).public_key().unwrap();
    assert_eq!(private.public(), public);
    let original = KeySource::File(plain).signing_key(&Password::default()).unwrap();
    assert_eq!(original.public(), public);
    for cosign in COSIGNS {
        passes(tool(cosign).args(["generate-key-pair", "--output-key-prefix", cosign]).current_dir(home.path()));
        let private = KeySource::File(home.path().join(format!("{cosign}.key"))).signing_key(&"pw".into()).unwrap();
        let public = KeySource::File(home.path().join(format!("{cosign}.pub"))).public_key().unwrap();
        assert_eq!(private.public(), public);
        assert_eq!(public.algorithm(), Algorithm::EcdsaP256);
    }
    // A kind that is not known here is refused for what it is.
    let rsa = home.path().join("rsa.pem");
    passes(Command::new("openssl").args(["genpkey", "-quiet", "-algorithm", "RSA", "-out"]).arg(&rsa));
    fs::set_permissions(&rsa, fs::Permissions::from_mode(0o600)).unwrap();
    let error = KeySource::File(rsa).signing_key(&"pw".into()).unwrap_err();
    assert!(error.to_string().contains("neither an Ed25519 nor an ECDSA P-256 key"), "{error}");
}

#[test]
fn cosign_verifies_our_signatures_in_a_registry() {
    let home = tempfile::tempdir().unwrap();
    let registry = Registry::start();
    let repository = format!("{}/ml/digits", registry.address);
    let folder = home.path().join("image");
    let image = layout(&folder);
    let [one, two, stranger] = [Algorithm::Ed25519, Algorithm::EcdsaP256, Algorithm::EcdsaP256]
        .map(|algorithm| SigningKey::generate_as(algorithm).unwrap());
    for key in [&one, &two] {
        assert!(sign_layout(&folder, key, &repository).unwrap().added);
    }
    for (name, tag) in [("digits:1.2.0", "1.2.0"), (&signature_tag(&image), &signature_tag(&image))] {
        let mut copy = tool("skopeo");
        copy.args(["copy", "--quiet", "--insecure-policy", "--dest-tls-verify=false", "--preserve-digests"]);
        passes(copy.arg(format!("oci:{}:{name}", folder.display())).arg(format!("docker://{repository}:{tag}")));
    }
    let verify = |key: &SigningKey| {
        let key = write_public(home.path(), "cosign.pub", &key.public());
        let mut command = tool("cosign");
        command.args(["verify", "--insecure-ignore-tlog=true", "--allow-http-registry", "--key"]).arg(key);
        command.arg(format!("{repository}@{image}"));
        command
    };
    for key in [&one, &two] {
        let verified: serde_json::Value = serde_json::from_str(&passes(&mut verify(key))).unwrap();
        assert_eq!(verified[0]["critical"]["image"]["docker-manifest-digest"], image.to_string());
        assert_eq!(verified[0]["critical"]["identity"]["docker-reference"], repository);
    }
    let refused = refuses(&mut verify(&stranger));
    assert!(refused.contains("no matching signatures"), "{refused}");
}

#[test]
fn we_verify_what_cosign_signed_with_our_keys() {
    for algorithm in [Algorithm::Ed25519, Algorithm::EcdsaP256] {
        we_verify_what_cosign_signs_with(&SigningKey::generate_as(algorithm).unwrap());
    }
}

fn we_verify_what_cosign_signs_with(key: &SigningKey) {
    let home = tempfile::tempdir().unwrap();
    let registry = Registry::start();
    let repository = format!("{}/ml/digits", registry.address);
    let folder = home.path().join("image");
    let image = layout(&folder);
    let copy = |from: String, to: String| {
        let mut command = tool("skopeo");
        command.args(["copy", "--quiet", "--insecure-policy", "--preserve-digests", "--src-tls-verify=false"]);
        passes(command.arg("--dest-tls-verify=false").arg(from).arg(to));
    };
    copy(format!("oci:{}:digits:1.2.0", folder.display()), format!("docker://{repository}:1.2.0"));
    let file = home.path().join("cosign.key");
    write_private(&file, key, &"pw".into());
    let mut sign = tool("cosign");
    sign.args(["sign", "--yes", "--tlog-upload=false", "--allow-http-registry", "--key"]).arg(&file);
    passes(sign.arg(format!("{repository}@{image}")));
    let tag = signature_tag(&image);
    copy(format!("docker://{repository}:{tag}"), format!("oci:{}:{tag}", folder.display()));
    let trusted = [key.public()].into_iter().collect();
    assert!(matches!(verify_layout(&folder, &trusted).unwrap(), Verdict::Trusted { .. }));
    // Ours goes beside it.
    assert!(sign_layout(&folder, key, "registry.example.com/ml/other").unwrap().added);
    match verify_layout(&folder, &trusted).unwrap() {
        Verdict::Trusted { signatures, .. } => assert_eq!(signatures.len(), 2),
        other => panic!("{other:?}"),
    }
}

/// Puts an artifact into a registry by its bare protocol; gives what an index says of it.
fn put_artifact(repository: &str, artifact: &Artifact) -> serde_json::Value {
    let (host, name) = repository.split_once('/').unwrap();
    for blob in &artifact.blobs {
        let url = format!("http://{host}/v2/{name}/blobs/uploads/?digest={}", Digest::of(blob));
        ureq::post(&url).send(&blob[..]).unwrap();
    }
    let reference = artifact.tag.clone().unwrap_or_else(|| artifact.digest().to_string());
    put_manifest(repository, &reference, MANIFEST, &artifact.manifest);
    json!({
        "mediaType": MANIFEST, "digest": artifact.digest(), "size": artifact.manifest.len(),
        "artifactType": artifact.artifact_type,
    })
}

fn put_manifest(repository: &str, reference: &str, media_type: &str, bytes: &[u8]) {
    let (host, name) = repository.split_once('/').unwrap();
    let url = format!("http://{host}/v2/{name}/manifests/{reference}");
    ureq::put(&url).header("Content-Type", media_type).send(bytes).unwrap();
}

/// Puts bundles into the registry, with the tag for registries that know no referrers.
fn put_bundles(repository: &str, folder: &Path, image: &Digest) {
    let bundles = artifacts(folder).unwrap().into_iter().filter(|artifact| artifact.tag.is_none());
    let entries: Vec<_> = bundles.map(|artifact| put_artifact(repository, &artifact)).collect();
    assert_eq!(entries.len(), 4, "a signature, three attestations");
    let kind = "application/vnd.oci.image.index.v1+json";
    let index = json!({ "schemaVersion": 2, "mediaType": kind, "manifests": entries }).to_string();
    put_manifest(repository, &format!("sha256-{}", image.hex()), kind, index.as_bytes());
}

/// An image with all that nimify puts beside one, in a layout and, but for its bundles, in a registry.
fn attested(registry: &Registry, home: &Path, key: &SigningKey) -> (String, PathBuf, Digest) {
    let repository = format!("{}/ml/{}", registry.address, key.public().algorithm().as_str());
    let folder = home.join(key.public().algorithm().as_str());
    let image = layout(&folder);
    sign_layout(&folder, key, &repository).unwrap();
    let predicates = [
        Predicate {
            kind: "https://slsa.dev/provenance/v1".into(),
            body: json!({
                "buildDefinition": { "buildType": "https://example.com/v1", "externalParameters": {} },
                "runDetails": { "builder": { "id": "https://example.com/builder" } },
            }),
        },
        Predicate { kind: "https://spdx.dev/Document".into(), body: json!({ "spdxVersion": "SPDX-2.3" }) },
        Predicate { kind: "https://cyclonedx.org/bom".into(), body: json!({ "bomFormat": "CycloneDX" }) },
    ];
    attest_layout(&folder, key, &predicates).unwrap();
    let mut copy = tool("skopeo");
    copy.args(["copy", "--quiet", "--insecure-policy", "--dest-tls-verify=false", "--preserve-digests"]);
    passes(copy.arg(format!("oci:{}:digits:1.2.0", folder.display())).arg(format!("docker://{repository}:1.2.0")));
    for artifact in artifacts(&folder).unwrap().iter().filter(|artifact| artifact.tag.is_some()) {
        put_artifact(&repository, artifact);
    }
    (repository, folder, image)
}

#[test]
fn both_cosigns_verify_attestations_and_bundles() {
    let home = tempfile::tempdir().unwrap();
    let registry = Registry::start();
    for algorithm in [Algorithm::Ed25519, Algorithm::EcdsaP256] {
        let key = SigningKey::generate_as(algorithm).unwrap();
        let (repository, folder, image) = attested(&registry, home.path(), &key);
        let key = write_public(home.path(), "cosign.pub", &key.public());
        let other = SigningKey::generate_as(algorithm).unwrap();
        let other = write_public(home.path(), "other.pub", &other.public());
        let judge = |cosign: &str, more: &[&str]| {
            let command = |verb: &str, key: &Path, kind: &[&str]| {
                let mut command = tool(cosign);
                command.args([verb, "--insecure-ignore-tlog=true", "--allow-http-registry"]).args(more).args(kind);
                command.arg("--key").arg(key).arg(format!("{repository}@{image}"));
                command
            };
            passes(&mut command("verify", &key, &[]));
            refuses(&mut command("verify", &other, &[]));
            for kind in ["slsaprovenance1", "spdxjson", "cyclonedx"] {
                passes(&mut command("verify-attestation", &key, &["--type", kind]));
                refuses(&mut command("verify-attestation", &other, &["--type", kind]));
            }
        };
        // The classic forms alone.
        judge("cosign", &[]);
        put_bundles(&repository, &folder, &image);
        // Without a root that says whom to trust besides the key, cosign 2 asks the network for one when it sees a
        // bundle. cosign 3 needs none, and minds none.
        let root = home.path().join("root.json");
        passes(tool("cosign").args(["trusted-root", "create", "--out"]).arg(&root));
        let root = format!("--trusted-root={}", root.display());
        judge("cosign", &[&root]);
        judge("cosign3", &[&root]);
        judge("cosign3", &[]);
    }
}

/// The bundles about an image that a registry without referrers has under the tag for them.
fn bundles_in(repository: &str, image: &Digest) -> Vec<Artifact> {
    let (host, name) = repository.split_once('/').unwrap();
    let get = |path: String, kind: &str| {
        let url = format!("http://{host}/v2/{name}/{path}");
        ureq::get(&url).header("Accept", kind).call().unwrap().body_mut().read_to_vec().unwrap()
    };
    let index = get(format!("manifests/sha256-{}", image.hex()), "application/vnd.oci.image.index.v1+json");
    let index: serde_json::Value = serde_json::from_slice(&index).unwrap();
    let artifact = |entry: &serde_json::Value| {
        let manifest = get(format!("manifests/{}", entry["digest"].as_str().unwrap()), MANIFEST);
        let parts: serde_json::Value = serde_json::from_slice(&manifest).unwrap();
        let blobs = [&parts["config"], &parts["layers"][0]]
            .map(|part| get(format!("blobs/{}", part["digest"].as_str().unwrap()), "*/*"));
        let artifact_type = entry["artifactType"].as_str().map(String::from);
        Artifact { manifest, blobs: blobs.into(), tag: None, artifact_type }
    };
    index["manifests"].as_array().unwrap().iter().map(artifact).collect()
}

#[test]
fn we_verify_the_bundles_that_cosign_3_makes() {
    let home = tempfile::tempdir().unwrap();
    let registry = Registry::start();
    for algorithm in [Algorithm::Ed25519, Algorithm::EcdsaP256] {
        let key = SigningKey::generate_as(algorithm).unwrap();
        let repository = format!("{}/ml/{}", registry.address, algorithm.as_str());
        let folder = home.path().join(algorithm.as_str());
        let image = layout(&folder);
        let mut copy = tool("skopeo");
        copy.args(["copy", "--quiet", "--insecure-policy", "--dest-tls-verify=false", "--preserve-digests"]);
        passes(copy.arg(format!("oci:{}:digits:1.2.0", folder.display())).arg(format!("docker://{repository}:1")));
        let file = home.path().join("cosign.key");
        write_private(&file, &key, &"pw".into());
        let predicate = home.path().join("predicate.json");
        fs::write(&predicate, r#"{"spdxVersion":"SPDX-2.3"}"#).unwrap();
        // No service of signatures or logs is asked: the key is all there is.
        let local = ["--yes", "--use-signing-config=false", "--tlog-upload=false", "--allow-http-registry", "--key"];
        let mut sign = tool("cosign3");
        passes(sign.arg("sign").args(local).arg(&file).arg(format!("{repository}@{image}")));
        let mut attest = tool("cosign3");
        attest.args(["attest", "--type", "spdxjson", "--predicate"]).arg(&predicate).args(local).arg(&file);
        passes(attest.arg(format!("{repository}@{image}")));
        let bundles = bundles_in(&repository, &image);
        assert_eq!(bundles.len(), 2);
        store_artifacts(&folder, &bundles).unwrap();
        let verdict = verify_layout(&folder, &[key.public()].into_iter().collect()).unwrap();
        let Verdict::Trusted { signatures, attested, .. } = verdict else { panic!("{verdict:?}") };
        assert_eq!((signatures.len(), attested.len()), (1, 1));
        let other = SigningKey::generate_as(algorithm).unwrap();
        let verdict = verify_layout(&folder, &[other.public()].into_iter().collect()).unwrap();
        assert!(matches!(verdict, Verdict::IntactSignerUnknown { .. }), "{verdict:?}");
    }
}
