//! `nimify push` against real registries, and judged by the tools that people have.
//!
//! docker-registry, skopeo and Docker come from the distribution, cosign and crane from `tools/setup`.
#![expect(clippy::unwrap_used, reason = "what a test sets up may fail it")]

mod base;
mod both;
mod build;
mod bundle;
mod chart;
mod deploy;
#[path = "../support/docker.rs"]
mod docker;
#[path = "../support/forgery.rs"]
mod forgery;
mod hub;
#[path = "../support/judges.rs"]
mod judges;
mod layout;
mod model;
mod odd;
mod odd_servers;
mod scanned;
mod server;
#[path = "../support/small_image.rs"]
mod small_image;
mod source;
mod web;

use std::fs;
use std::path::Path;
use std::process::{Command, Output, Stdio};
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use nimify::digest::Digest;
use nimify::image;
use nimify::registry::{CHUNK, PushReport, PushRequest, Reference, Signing, Watch, push};
use nimify::sign::{SigningKey, sign_layout, signature_tag};
use server::{Registry, Wishes, certificates};

const LOGIN: &str = "YWRhOmh1bnRlcjI=";

/// `nimify` with a home of its own and nobody's credentials.
fn nimify(home: &Path) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_nimify"));
    let docker = ["DOCKER_AUTH_CONFIG", "DOCKER_CONFIG", "REGISTRY_AUTH_FILE", "XDG_RUNTIME_DIR", "XDG_CONFIG_HOME"];
    let web = ["NETRC", "HF_ENDPOINT", "HF_HOME", "HF_HUB_CACHE", "HF_HUB_OFFLINE", "HF_TOKEN", "HF_TOKEN_PATH"];
    for variable in docker.into_iter().chain(web).chain(["XDG_CACHE_HOME"]) {
        command.env_remove(variable);
    }
    command.env("HOME", home).env("NIMIFY_CACHE", home.join("cache")).stdin(Stdio::null());
    command
}

fn passes(command: &mut Command) -> String {
    let output = command.output().unwrap_or_else(|error| panic!("can't run {command:?} ({error}): run tools/setup"));
    assert!(output.status.success(), "{command:?}: {}", text(&output));
    String::from_utf8(output.stdout).unwrap()
}

fn fails(command: &mut Command, code: i32) -> String {
    let output = command.output().unwrap();
    assert_eq!(output.status.code(), Some(code), "{}", text(&output));
    String::from_utf8(output.stderr).unwrap()
}

fn text(output: &Output) -> String {
    format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}

/// Has skopeo copy an image out of a registry without TLS.
fn skopeo_copies(from: &str, to: &str) {
    let insecure = ["copy", "--quiet", "--insecure-policy", "--src-tls-verify=false"];
    passes(Command::new("skopeo").args(insecure).args([from, to]));
}

fn judge(name: &str) -> Command {
    let mut command = Command::new(judges::tool(&format!("bin/{name}")));
    command.env("SIGSTORE_NO_CACHE", "true").stdin(Stdio::null());
    command
}

/// Counts what is moved.
#[derive(Default)]
struct Count(AtomicU64, AtomicI64);

impl Watch for Count {
    fn expects(&self, bytes: u64) {
        self.0.fetch_add(bytes, Ordering::Relaxed);
    }

    fn moved(&self, bytes: i64) {
        self.1.fetch_add(bytes, Ordering::Relaxed);
    }
}

impl Count {
    fn is_full(&self) -> bool {
        self.0.load(Ordering::Relaxed) as i64 == self.1.load(Ordering::Relaxed)
    }
}

/// Pushes by the library, without TLS and without a cache.
fn push_to(layout: &Path, to: &str, signing: Signing<'_>, watch: &dyn Watch) -> Result<PushReport, String> {
    let to: Reference = to.parse().unwrap();
    let request = PushRequest { layout, to: &to, plain_http: true, signing, cache: None, chunk: 8 << 20 };
    push(&request, watch).map_err(|error| error.to_string())
}

#[test]
fn what_is_pushed_is_taken_by_everybody_and_sent_once() {
    let home = tempfile::tempdir().unwrap();
    let registry = Registry::start(&Wishes::default());
    let cache = small_image::shared_cache();
    let mut request = small_image::request(Path::new(env!("CARGO_BIN_EXE_nimify")), home.path(), &cache);
    // crane takes layers for compressed ones whatever their type says.
    request.model_compression = image::Compression::Gzip;
    let made = image::assemble(&request, &cache).unwrap();
    let folder = home.path().join("image");
    image::write_layout(&made, &folder).unwrap();
    assert_eq!(scanned::by_syft(&folder), scanned::told(&made));
    let repository = registry.at("ml/small");
    passes(nimify(home.path()).args(["keys", "generate"]));
    passes(nimify(home.path()).arg("sign").arg(&folder));
    let mut command = nimify(home.path());
    command.arg("push").arg(&folder).args(["--to", &repository, "--plain-http"]);
    let said = passes(&mut command);
    let digest = made.digest;
    assert!(
        said.starts_with(&format!("pushed {repository}:1.2.3\n{repository}@{digest}\n5 of 5 blobs sent (")),
        "{said}"
    );

    // cosign finds the signature for this very repository, and that one alone.
    let key = home.path().join(".config/nimify/keys/ed25519.pub");
    cosign_verifies(home.path(), &key, &format!("{repository}@{digest}"));
    assert_eq!(signed_for(&repository, &digest), [repository.as_str()]);

    let mut inspect = Command::new("skopeo");
    let inspected = passes(inspect.args(["inspect", "--tls-verify=false", &format!("docker://{repository}:1.2.3")]));
    assert!(inspected.contains(&digest.to_string()), "{inspected}");
    let copy = format!("oci:{}:1.2.3", home.path().join("copy").display());
    let from = format!("docker://{repository}@{digest}");
    skopeo_copies(&from, &copy);
    passes(judge("crane").args(["validate", "--insecure", "--remote", &format!("{repository}:1.2.3")]));
    let engine = docker::Engine::get();
    engine.must(&["pull", "--quiet", &format!("{repository}:1.2.3")]);
    engine.must(&["image", "rm", "--force", &format!("{repository}:1.2.3")]);

    // Once more: nothing is sent. Elsewhere in the registry: all of it is lent.
    let again: PushReportJson = json(&passes(command.args(["--format", "json"])));
    assert_eq!((again.bytes_sent, again.manifests_sent, again.documents), (0, 0, 2));
    let mut elsewhere = nimify(home.path());
    elsewhere.arg("push").arg(&folder).args(["--to", &registry.at("other:x"), "--plain-http", "--format", "json"]);
    let lent: PushReportJson = json(&passes(&mut elsewhere));
    assert!(lent.blobs.iter().all(|blob| blob["how"] == "mounted"), "{:?}", lent.blobs);
    assert!(lent.bytes_sent < 5000, "its signatures alone: {}", lent.bytes_sent);
    // The layout is what it was.
    let kept = fs::read_to_string(folder.join("index.json")).unwrap();
    assert!(!kept.contains("ml/small"), "{kept}");
}

#[derive(serde::Deserialize)]
#[serde(rename_all = "camelCase")]
struct PushReportJson {
    blobs: Vec<serde_json::Value>,
    bytes_sent: u64,
    manifests_sent: usize,
    documents: usize,
}

fn json(text: &str) -> PushReportJson {
    serde_json::from_str(text).unwrap()
}

#[test]
fn a_name_and_password_over_tls_with_an_authority_of_ones_own() {
    let home = tempfile::tempdir().unwrap();
    let (authority, certificate, key) = certificates(home.path());
    let wishes = Wishes { password: true, tls: Some((certificate, key)), remembers: false };
    let registry = Registry::start(&wishes);
    let folder = home.path().join("image");
    layout::make(&folder, &[1000, 2000]);
    let push = || {
        let mut command = nimify(home.path());
        command.arg("push").arg(&folder).args(["--to", &registry.at("a/b:1")]);
        command
    };
    let stderr = fails(&mut push(), 9);
    assert!(stderr.contains("is not trusted") && stderr.contains("/etc/docker/certs.d/127.0.0.1:"), "{stderr}");
    let stderr = fails(push().arg("--plain-http"), 9);
    assert!(stderr.contains("answered 400"), "{stderr}");
    let own = home.path().join(".config/containers/certs.d").join(&registry.address);
    fs::create_dir_all(&own).unwrap();
    fs::copy(&authority, own.join("ca.crt")).unwrap();
    let stderr = fails(&mut push(), 9);
    assert!(stderr.contains("refuses a request without credentials") && stderr.contains("docker login"), "{stderr}");
    let login = |auth: &str| format!(r#"{{"auths":{{"{}":{{"auth":"{auth}"}}}}}}"#, registry.address);
    let stderr = fails(push().env("DOCKER_AUTH_CONFIG", login("YWRhOndyb25nc2VjcmV0")), 9);
    assert!(stderr.contains("refuses the credentials from the variable `DOCKER_AUTH_CONFIG`"), "{stderr}");
    assert!(!stderr.contains("wrongsecret"), "{stderr}");
    let said = passes(push().env("DOCKER_AUTH_CONFIG", login(LOGIN)));
    assert!(said.contains("3 of 3 blobs sent"), "{said}");

    // The same by a helper, with the machine's certificates from the usual variable.
    fs::remove_file(own.join("ca.crt")).unwrap();
    fs::create_dir_all(home.path().join(".docker")).unwrap();
    let helpers = format!(r#"{{"credHelpers":{{"{}":"test"}}}}"#, registry.address);
    fs::write(home.path().join(".docker/config.json"), helpers).unwrap();
    let stderr = fails(push().env("SSL_CERT_FILE", &authority), 5);
    assert!(stderr.contains("`docker-credential-test`") && stderr.contains("can't be started"), "{stderr}");
    let program = home.path().join("docker-credential-test");
    let script =
        "#!/bin/sh\n[ \"$1 $(cat)\" = \"get ADDRESS\" ] && echo '{\"Username\":\"ada\",\"Secret\":\"hunter2\"}'\n";
    fs::write(&program, script.replace("ADDRESS", &registry.address)).unwrap();
    passes(Command::new("chmod").arg("+x").arg(&program));
    let path = format!("{}:{}", home.path().display(), std::env::var("PATH").unwrap());
    let said = passes(push().env("SSL_CERT_FILE", &authority).env("PATH", path));
    assert!(said.contains("3 there already"), "{said}");
}

/// Kills the registry once so many bytes are on their way, and starts it again a moment later.
struct Killer {
    count: Count,
    at: i64,
    registry: Arc<Mutex<Registry>>,
    killed: Mutex<bool>,
}

impl Watch for Killer {
    fn expects(&self, bytes: u64) {
        self.count.expects(bytes);
    }

    fn moved(&self, bytes: i64) {
        self.count.moved(bytes);
        let mut killed = self.killed.lock().unwrap();
        if !*killed && self.count.1.load(Ordering::Relaxed) >= self.at {
            *killed = true;
            self.registry.lock().unwrap().kill();
            let registry = Arc::clone(&self.registry);
            std::thread::spawn(move || {
                std::thread::sleep(Duration::from_millis(700));
                registry.lock().unwrap().run();
            });
        }
    }
}

fn push_while_it_is_killed(remembers: bool) -> (PushReport, u64) {
    let home = tempfile::tempdir().unwrap();
    let registry = Registry::start(&Wishes { remembers, ..Wishes::default() });
    let to = registry.at("large:1");
    let folder = home.path().join("image");
    let size = 60 << 20;
    // As the seventh chunk begins (the configuration counts too): this registry forgets an upload that was broken off
    // inside a chunk.
    let at = (48 << 20) + 1000;
    let digest = layout::make(&folder, &[size]);
    let registry = Arc::new(Mutex::new(registry));
    let killer = Killer { count: Count::default(), at, registry: Arc::clone(&registry), killed: Mutex::default() };
    let report = push_to(&folder, &to, Signing::Nobody, &killer).unwrap();
    assert!(*killer.killed.lock().unwrap());
    assert!(killer.count.is_full(), "what is told adds up to the whole");
    // The registry checks each blob against its digest; this reads all of them back.
    skopeo_copies(&format!("docker://{to}"), &format!("dir:{}", home.path().join("copy").display()));
    assert_eq!(report.digest, digest);
    (report, size as u64)
}

#[test]
fn an_upload_goes_on_when_the_registry_comes_back() {
    let (report, size) = push_while_it_is_killed(true);
    assert!(report.bytes_sent < size + (16 << 20), "{} of {size} bytes were sent", report.bytes_sent);
}

#[test]
fn an_upload_that_the_registry_has_forgotten_begins_again() {
    let (report, size) = push_while_it_is_killed(false);
    assert!(report.bytes_sent > size + size / 2, "{} of {size} bytes were sent", report.bytes_sent);
}

#[test]
fn signatures_of_others_stay_and_each_repository_gets_its_own() {
    let home = tempfile::tempdir().unwrap();
    let registry = Registry::start(&Wishes::default());
    let [one, two] = [(); 2].map(|()| SigningKey::generate().unwrap());
    let [first, second] = ["first", "second"].map(|name| home.path().join(name));
    let digest = layout::make(&first, &[100]);
    layout::make(&second, &[100]);
    let to = registry.at("ml/digits");
    sign_layout(&first, &one, "digits").unwrap();
    let report = push_to(&first, &format!("{to}:1"), Signing::Nobody, &Count::default()).unwrap();
    assert!(report.warnings[0].contains("its signatures name `digits`, not"), "{:?}", report.warnings);
    let report =
        push_to(&first, &format!("{to}:1"), Signing::Again(std::slice::from_ref(&two)), &Count::default()).unwrap();
    assert_eq!((report.manifests_sent, report.warnings.len()), (0, 1), "another's key signs nothing unasked");
    // Another layout of the same image, signed by another: both signatures are there afterwards.
    sign_layout(&second, &two, "digits").unwrap();
    let report =
        push_to(&second, &format!("{to}:1"), Signing::Again(std::slice::from_ref(&two)), &Count::default()).unwrap();
    assert_eq!(report.warnings, [""; 0]);
    assert_eq!(signed_for(&to, &digest), ["digits", to.as_str()]);
    for key in [&one, &two] {
        let file = home.path().join("cosign.pub");
        fs::write(&file, key.public().to_pem()).unwrap();
        cosign_verifies(home.path(), &file, &format!("{to}@{digest}"));
    }
}

/// Has cosign check the bundle that the registry has.
fn cosign_verifies(home: &Path, key: &Path, image: &str) {
    cosign_finds(home, "verify", key, image, &[]);
}

/// Has cosign look, by a subcommand of its own, for what a key has signed about an image.
fn cosign_finds(home: &Path, subcommand: &str, key: &Path, image: &str, more: &[&str]) {
    // Without a root that says whom to trust besides the key, cosign asks the network for one.
    let root = home.join("root.json");
    passes(judge("cosign").args(["trusted-root", "create", "--out"]).arg(&root));
    let mut verify = judge("cosign");
    verify.args([subcommand, "--insecure-ignore-tlog=true", "--allow-http-registry", "--new-bundle-format"]);
    passes(verify.args(more).arg("--trusted-root").arg(&root).arg("--key").arg(key).arg(image));
}

/// For which repositories the classic signatures are that a registry has of an image.
fn signed_for(repository: &str, image: &Digest) -> Vec<String> {
    let tagged = format!("{repository}:{}", signature_tag(image));
    let manifest = passes(judge("crane").args(["manifest", "--insecure", &tagged]));
    let manifest: serde_json::Value = serde_json::from_str(&manifest).unwrap();
    let payload = |layer: &serde_json::Value| {
        let blob = format!("{repository}@{}", layer["digest"].as_str().unwrap());
        let payload = passes(judge("crane").args(["blob", "--insecure", &blob]));
        let payload: serde_json::Value = serde_json::from_str(&payload).unwrap();
        payload["critical"]["identity"]["docker-reference"].as_str().unwrap().to_string()
    };
    manifest["layers"].as_array().unwrap().iter().map(payload).collect()
}

#[test]
fn documents_that_refer_to_the_image_are_listed_where_the_registry_does_not() {
    let home = tempfile::tempdir().unwrap();
    let registry = Registry::start(&Wishes::default());
    let folder = home.path().join("image");
    let digest = layout::make(&folder, &[100]);
    let documents = [layout::refer(&folder, &digest, b"one"), layout::refer(&folder, &digest, b"two")];
    let to = registry.at("ml/digits");
    let report = push_to(&folder, &format!("{to}:1"), Signing::Nobody, &Count::default()).unwrap();
    assert_eq!(report.documents, 2);
    let index = format!("{to}:sha256-{}", digest.hex());
    let index = passes(judge("crane").args(["manifest", "--insecure", &index]));
    let index: serde_json::Value = serde_json::from_str(&index).unwrap();
    for (entry, document) in index["manifests"].as_array().unwrap().iter().zip(&documents) {
        assert_eq!(entry["digest"], document.to_string());
        assert_eq!(entry["artifactType"], layout::DOCUMENT);
        passes(judge("crane").args(["manifest", "--insecure", &format!("{to}@{document}")]));
    }
    let again = push_to(&folder, &format!("{to}:1"), Signing::Nobody, &Count::default()).unwrap();
    assert_eq!((again.bytes_sent, again.manifests_sent), (0, 0));
}

#[test]
fn what_cannot_be_pushed_is_told_with_the_way_out() {
    let home = tempfile::tempdir().unwrap();
    let registry = Registry::start(&Wishes::default());
    let folder = home.path().join("image");
    layout::make(&folder, &[100, 200]);
    let push = |to: &[&str]| {
        let mut command = nimify(home.path());
        command.arg("push").arg(&folder).args(to);
        command
    };
    let stderr = fails(&mut push(&["--to", &registry.at("a:1")]), 9);
    assert!(stderr.contains("speaks plain HTTP, not TLS") && stderr.contains("`--plain-http`"), "{stderr}");
    for to in [&["--to", "ml/digits"][..], &["--to", "https://r.example.com/a"], &[]] {
        assert!(fails(&mut push(to), 2).contains("is no reference to an image"));
    }
    let other = format!("{}@sha256:{}", registry.at("a:1"), "0".repeat(64));
    assert!(fails(&mut push(&["--to", &other, "--plain-http"]), 2).contains("the image's digest is"));
    let stderr = fails(&mut push(&["--to", "127.0.0.1:1/a", "--plain-http"]), 9);
    assert!(stderr.contains("`127.0.0.1:1` refuses connections"), "{stderr}");
    // A changed layer: the registry refuses it, and says so.
    let blobs = fs::read_dir(folder.join("blobs/sha256")).unwrap().map(|entry| entry.unwrap().path());
    let layer = blobs.into_iter().find(|path| fs::metadata(path).unwrap().len() == 200).unwrap();
    fs::write(&layer, [7; 200]).unwrap();
    let stderr = fails(&mut push(&["--to", &registry.at("a:1"), "--plain-http"]), 9);
    assert!(stderr.contains("DIGEST_INVALID") && stderr.contains("`nimify verify`"), "{stderr}");
    fs::write(&layer, [7; 199]).unwrap();
    let stderr = fails(&mut push(&["--to", &registry.at("a:1"), "--plain-http"]), 10);
    assert!(stderr.contains("it has 199 bytes, its descriptor says 200"), "{stderr}");
    assert_eq!(CHUNK, 32 << 20);
}
