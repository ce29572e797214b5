//! Images on a base from a registry: made and pushed by Docker, turned by skopeo and crane, run by Docker.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::{Arc, Mutex};

use nimify::digest::Digest;
use nimify::image::{self, Architecture, BaseImage, BaseSource, ImageRequest};
use nimify::registry::{Origin, PullRequest, pull};

use crate::scanned::{by_spdx, by_syft, told};
use crate::server::{Registry, Wishes, certificates};
use crate::{Count, Killer, LOGIN, docker, fails, judge, layout, nimify, passes, small_image};

const LOADER: &str = "ld-linux-x86-64.so.2";
const LIBRARIES: &str = "usr/lib/x86_64-linux-gnu";
const MUSL: &str = "lib/ld-musl-x86_64.so.1";

/// A root file system with a merged `/usr`, a shell and the C library, but not that of C++.
fn debian_like(root: &Path) {
    for folder in [LIBRARIES, "usr/lib64", "usr/bin", "etc", "var/lib/dpkg"] {
        fs::create_dir_all(root.join(folder)).unwrap();
    }
    for (link, target) in [("lib", "usr/lib"), ("lib64", "usr/lib64"), ("bin", "usr/bin")] {
        symlink(target, root.join(link)).unwrap();
    }
    for library in ["libc.so.6", "libm.so.6", "libdl.so.2", "libpthread.so.0", "librt.so.1", LOADER] {
        let host = Path::new("/").join(LIBRARIES).join(library);
        fs::copy(host, root.join(LIBRARIES).join(library)).unwrap();
    }
    symlink(format!("/{LIBRARIES}/{LOADER}"), root.join("usr/lib64").join(LOADER)).unwrap();
    fs::copy("/bin/dash", root.join("usr/bin/sh")).unwrap();
    fs::write(root.join("etc/passwd"), "root:x:0:0:root:/root:/bin/sh\n").unwrap();
    fs::write(root.join("etc/os-release"), "ID=debian\nVERSION_ID=\"12\"\n").unwrap();
    fs::write(root.join("var/lib/dpkg/status"), STATUS).unwrap();
}

/// What `debian_like` says that it has: two packages, and one that is gone.
const STATUS: &str = "Package: libc6\nStatus: install ok installed\nArchitecture: amd64\nSource: glibc (2.36-9)\nVersion: 2.36-9+deb12u10\n\n\
    Package: dash\nStatus: install ok installed\nArchitecture: amd64\nVersion: 0.5.12-2\n\n\
    Package: gone\nStatus: deinstall ok config-files\nArchitecture: amd64\nVersion: 1\n";

/// A root file system with another C library than glibc and the list of its package, as Alpine has it, in which the folder
/// of glibc's loader is a real one.
fn with_musl(root: &Path) {
    for folder in ["lib64", "usr", "lib/apk/db", "etc"] {
        fs::create_dir_all(root.join(folder)).unwrap();
    }
    fs::write(root.join("lib64/theirs"), "stays").unwrap();
    fs::copy("/usr/lib/x86_64-linux-musl/libc.so", root.join(MUSL)).unwrap();
    symlink("ld-musl-x86_64.so.1", root.join("lib/libc.musl-x86_64.so.1")).unwrap();
    fs::write(root.join("etc/os-release"), "ID=alpine\nVERSION_ID=3.20.3\n").unwrap();
    let packages =
        "P:musl\nV:1.2.5-r0\nA:x86_64\nS:1\nI:1\nT:the C library\no:musl\nL:MIT\nF:lib\nR:ld-musl-x86_64.so.1\n\n";
    fs::write(root.join("lib/apk/db/installed"), packages).unwrap();
}

/// A root file system whose C library ends with the versions of glibc 2.17, which nothing here can be had of: a library
/// without any code, of that name, that defines the versions and no more.
fn with_an_old_glibc(root: &Path) {
    debian_like(root);
    let at = |name: &str| root.with_extension(name);
    fs::write(at("c"), "int a, b;").unwrap();
    fs::write(at("map"), "GLIBC_2.2.5 { global: a; local: *; };\nGLIBC_2.17 { global: b; } GLIBC_2.2.5;\n").unwrap();
    let mut compiler = Command::new("cc");
    compiler.args(["-shared", "-nostdlib", "-Wl,-soname,libc.so.6"]).arg(at("c")).arg("-o");
    compiler.arg(root.join(LIBRARIES).join("libc.so.6"));
    passes(compiler.arg(format!("-Wl,--version-script={}", at("map").display())));
}

/// Has Docker make an image of a root file system and push it.
fn push_base(engine: &docker::Engine, root: &Path, to: &str) {
    let tar = root.with_extension("tar");
    passes(Command::new("tar").arg("-C").arg(root).arg("-cf").arg(&tar).arg("."));
    let changes = ["--change", "ENV FROM_BASE=yes", "--change", "LABEL from=base", "--change", "CMD [\"sh\"]"];
    engine.must(&[&["import"][..], &changes, &[tar.to_str().unwrap(), to]].concat());
    engine.must(&["push", "--quiet", to]);
    engine.must(&["image", "rm", to]);
}

fn pull_base(home: &Path, from: &str, offline: bool, locked: Option<Digest>) -> Result<BaseImage, String> {
    let cache = nimify::cache::Cache::open(home.join("pulled")).unwrap();
    let origin = Origin::Registry { reference: from.parse().unwrap(), plain_http: true };
    let architecture = Architecture::host().unwrap();
    let count = Count::default();
    let request = PullRequest { origin: &origin, locked, architecture, offline, cache: &cache };
    let pulled = pull(&request, &count).map_err(|error| error.to_string())?;
    assert!(count.is_full(), "what is told adds up to the whole");
    Ok(pulled)
}

/// An image of the probing program on the base, loaded and run; what the program and Docker say.
fn built_on(engine: &docker::Engine, home: &Path, base: &BaseImage, name: &str) -> (image::Image, String) {
    let cache = small_image::shared_cache();
    let binary = docker::compile(include_str!("../support/probe.rs"), home);
    let request = ImageRequest {
        name: name.into(),
        base: BaseSource::Image(base.clone()),
        ..small_image::request(&binary, home, &cache)
    };
    let made = image::assemble(&request, &cache).unwrap();
    let folder = home.join(name);
    image::write_layout(&made, &folder).unwrap();
    assert_eq!(image::validate(&folder), []);
    assert_eq!(image::assemble(&request, &cache).unwrap().digest, made.digest, "the same again, from the cache");
    passes(nimify(home).env("DOCKER_HOST", &engine.host).arg("load").arg(&folder));
    let output = engine.run_confined(&[], &format!("{name}:1.2.3"), &[]);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    (made, String::from_utf8(output.stdout).unwrap())
}

#[test]
fn an_image_stands_on_one_that_docker_made() {
    let home = tempfile::tempdir().unwrap();
    let engine = docker::Engine::get();
    let registry = Registry::start(&Wishes::default());
    let at = |name: &str| home.path().join(name);
    debian_like(&at("debian"));
    let reference = registry.at("library/debian:12");
    push_base(&engine, &at("debian"), &reference);
    let base = pull_base(home.path(), &reference, false, None).unwrap();
    assert_eq!((base.name.as_str(), base.layers.len()), (reference.as_str(), 1));

    let (made, said) = built_on(&engine, home.path(), &base, "based");
    for fact in ["uid=65532 ", "shell=true", "temporary=true", "model=weights"] {
        assert!(said.contains(fact), "{fact}: {said}");
    }
    assert!(said.contains(&format!("onnxruntime={}", image::onnxruntime::VERSION)), "{said}");
    // What the base lacks is there, in its own folder; what it has is left alone.
    let added: Vec<String> = made.base.files.iter().map(|file| file.place.display().to_string()).collect();
    assert!(added.contains(&format!("/{LIBRARIES}/libstdc++.so.6")), "{added:?}");
    assert!(!added.iter().any(|place| place.contains("libc.so") || place.contains(LOADER)), "{added:?}");
    let shell = ["run", "--rm", "--network=none", "--entrypoint=/bin/sh", "based:1.2.3", "-c"];
    let script = "test -L /lib && test -L /lib64 && echo $FROM_BASE $(while read l; do echo $l; done </etc/passwd)";
    let shell = engine.must(&[&shell[..], &[script]].concat());
    assert!(shell.starts_with("yes root:x:0:0") && shell.contains("nonroot:x:65532:65532"), "{shell}");
    let inspect =
        |field: &str| engine.must(&["image", "inspect", &format!("--format={{{{json {field}}}}}"), "based:1.2.3"]);
    assert_eq!((inspect(".Config.User"), inspect(".Config.Cmd")), (r#""65532:65532""#.into(), "null".into()));
    assert!(inspect(".Config.Labels").contains(r#""from":"base""#));
    let manifest = String::from_utf8(made.manifest.clone()).unwrap();
    assert!(manifest.contains(&format!(r#""org.opencontainers.image.base.name":"{reference}""#)), "{manifest}");
    assert!(manifest.contains(&format!(r#""org.opencontainers.image.base.digest":"{}""#, base.digest)), "{manifest}");

    with_musl(&at("musl"));
    push_base(&engine, &at("musl"), &registry.at("musl:1"));
    let base = pull_base(home.path(), &registry.at("musl:1"), false, None).unwrap();
    let (made, said) = built_on(&engine, home.path(), &base, "on-musl");
    assert!(said.contains("uid=65532 ") && said.contains("onnxruntime="), "{said}");
    let loader = made.base.files.iter().any(|file| file.place.ends_with(LOADER));
    assert!(loader, "the whole closure is put on it: {:?}", made.base.files);
    assert!(told(&made).contains(&["apk", "musl", "1.2.5-r0"].map(String::from)));
    assert_eq!(by_syft(&at("on-musl")), told(&made));
    let copied = at("copied");
    let id = engine.must(&["create", "on-musl:1.2.3"]);
    let theirs = [("lib64/theirs", at("musl").join("lib64/theirs")), (MUSL, at("musl").join(MUSL))];
    for (place, before) in theirs {
        engine.must(&["cp", &format!("{id}:/{place}"), copied.to_str().unwrap()]);
        assert!(fs::read(&copied).unwrap() == fs::read(before).unwrap(), "{place} stays");
    }
    engine.must(&["rm", &id]);
    engine.must(&["image", "rm", "--force", "on-musl:1.2.3", "based:1.2.3"]);

    the_same_base_in_other_forms(home.path(), &registry, &reference);
}

/// By an index of several platforms, by Zstandard, from a layout.
fn the_same_base_in_other_forms(home: &Path, registry: &Registry, reference: &str) {
    let crane = |args: &[&str]| passes(judge("crane").args(args).arg("--insecure"));
    let (arm, index) = (registry.at("library/debian:arm"), registry.at("library/debian:all"));
    crane(&["mutate", reference, "--set-platform", "linux/arm64", "--tag", &arm]);
    crane(&["index", "append", "--manifest", &arm, "--manifest", reference, "--tag", &index]);
    let plain = pull_base(home, reference, false, None).unwrap();
    let chosen = pull_base(home, &index, false, None).unwrap();
    assert_eq!(chosen.manifest, plain.manifest);
    assert_ne!(chosen.digest, plain.digest, "the index is what the tag leads to");
    let error = pull_base(home, &arm, false, None).unwrap_err();
    assert!(error.contains("has no image for linux/amd64: it has linux/arm64"), "{error}");

    let skopeo = |args: &[&str]| {
        let insecure = ["copy", "--quiet", "--insecure-policy", "--src-tls-verify=false", "--dest-tls-verify=false"];
        passes(Command::new("skopeo").args(insecure).args(args));
    };
    let folder = home.join("base-layout");
    skopeo(&[&format!("docker://{reference}"), &format!("oci:{}:12", folder.display())]);
    // One of nimify's own, by Zstandard: it has everything, and goes under another like any base.
    let cache = small_image::shared_cache();
    let own = small_image::request(Path::new(env!("CARGO_BIN_EXE_nimify")), home, &cache);
    let zstd = image::assemble(&ImageRequest { compression: image::Compression::Zstd, ..own.clone() }, &cache).unwrap();
    image::write_layout(&zstd, &home.join("zstd-layout")).unwrap();
    for (folder, lent) in [(folder, 2), (home.join("zstd-layout"), 0)] {
        let origin = Origin::Layout { folder, name: "oci:base".into() };
        let architecture = Architecture::host().unwrap();
        let request = PullRequest { origin: &origin, locked: None, architecture, offline: true, cache: &cache };
        let base = pull(&request, &Count::default()).unwrap();
        let made = image::assemble(&ImageRequest { base: BaseSource::Image(base.clone()), ..own.clone() }, &cache);
        let made = made.unwrap();
        let stored = |layers: &[image::Layer]| layers.iter().map(|layer| layer.digest).collect::<Vec<_>>();
        let under: Vec<Digest> = base.layers.iter().map(|layer| layer.digest).collect();
        assert_eq!(stored(&made.layers[..under.len()]), under, "layers stay as they are");
        let libraries = made.base.files.iter().filter(|file| file.place.to_string_lossy().contains(".so"));
        assert_eq!(libraries.count(), lent, "{:?}", made.base.files);
        assert!(!String::from_utf8(made.manifest).unwrap().contains("image.base.name"), "a folder is no reference");
    }
}

#[test]
fn a_pull_goes_on_when_the_registry_comes_back_and_refuses_changed_bytes() {
    let home = tempfile::tempdir().unwrap();
    let registry = Registry::start(&Wishes::default());
    let folder = home.path().join("image");
    layout::make(&folder, &[40 << 20]);
    let reference = registry.at("large:1");
    crate::push_to(&folder, &reference, nimify::registry::Signing::Nobody, &Count::default()).unwrap();
    let data = registry.home.path().join("data");
    let registry = Arc::new(Mutex::new(registry));
    let killer =
        Killer { count: Count::default(), at: 20 << 20, registry: Arc::clone(&registry), killed: Mutex::default() };
    let cache = nimify::cache::Cache::open(home.path().join("cache")).unwrap();
    let origin = Origin::Registry { reference: reference.parse().unwrap(), plain_http: true };
    let architecture = Architecture::host().unwrap();
    let request = PullRequest { origin: &origin, locked: None, architecture, offline: false, cache: &cache };
    let pulled = pull(&request, &killer).unwrap();
    assert!(*killer.killed.lock().unwrap() && killer.count.is_full());

    // Offline all of it is in the cache; elsewhere it isn't.
    let offline = PullRequest { locked: Some(pulled.digest), offline: true, ..request };
    assert_eq!(pull(&offline, &Count::default()).unwrap(), pulled);
    let error = pull_base(home.path(), &reference, true, Some(pulled.digest)).unwrap_err();
    assert!(error.contains("is not in the cache"), "{error}");
    let hex = pulled.layers[0].digest.hex();
    let blob = data.join(format!("docker/registry/v2/blobs/sha256/{}/{hex}/data", &hex[..2]));
    let mut bytes = fs::read(&blob).unwrap();
    bytes[1000] ^= 1;
    fs::write(&blob, &bytes).unwrap();
    let error = pull_base(home.path(), &reference, false, None).unwrap_err();
    assert!(error.contains("is not what its digest"), "{error}");
    bytes.push(0);
    fs::write(&blob, &bytes).unwrap();
    let error = pull_base(home.path(), &reference, false, None).unwrap_err();
    assert!(error.contains("more bytes than the manifest says"), "{error}");
    // The layers are no tars at all.
    let small = small_image::shared_cache();
    let on = ImageRequest {
        base: BaseSource::Image(pulled),
        ..small_image::request(Path::new(env!("CARGO_BIN_EXE_nimify")), home.path(), &small)
    };
    let error = image::assemble(&on, &small).unwrap_err().to_string();
    assert!(error.contains("can't be built on: its layer"), "{error}");
}

#[test]
fn a_base_whose_c_library_is_too_old_is_refused_with_the_version_that_it_lacks() {
    let home = tempfile::tempdir().unwrap();
    let root = home.path().join("old");
    with_an_old_glibc(&root);
    let mut tar = Command::new("tar");
    let tar = tar.arg("-C").arg(&root).args(["-cf", "-", "."]).output().unwrap().stdout;
    layout::make_of(&home.path().join("layout"), &[tar]);
    let mut create = nimify(home.path());
    create.env("NIMIFY_CACHE", nimify::cache::root(|name| std::env::var_os(name)).unwrap());
    create.args(["create", "fixtures/digits/digits.onnx", "--yes", "--service", "generic", "--unsigned", "--output"]);
    create.arg(home.path().join("digits")).arg("--base").arg(format!("oci:{}", home.path().join("layout").display()));
    let stderr = fails(&mut create, 6);
    assert!(stderr.contains("GLIBC_2.") && stderr.contains("base"), "{stderr}");
}

#[test]
fn the_lock_holds_the_base_until_it_is_built_anew() {
    let home = tempfile::tempdir().unwrap();
    let engine = docker::Engine::get();
    let registry = Registry::start(&Wishes::default());
    let reference = registry.at("base:1");
    let root = home.path().join("root");
    debian_like(&root);
    push_base(&engine, &root, &reference);
    let cache = nimify::cache::root(|name| std::env::var_os(name)).unwrap();
    let run = |args: &[&str]| {
        let mut command = nimify(home.path());
        command.env("NIMIFY_CACHE", &cache).args(args).stdin(Stdio::null());
        command
    };
    let folder = home.path().join("digits");
    let to = folder.to_str().unwrap();
    let create = ["create", "fixtures/digits/digits.onnx", "--yes", "--service", "generic", "--format", "json"];
    let more = ["--unsigned", "--plain-http", "--base", &reference, "--output", to];
    let report: serde_json::Value = serde_json::from_str(&passes(&mut run(&[&create[..], &more].concat()))).unwrap();
    assert!(report["steps"].as_array().unwrap().iter().any(|row| row["step"] == "base"), "{}", report["steps"]);
    assert_eq!((&report["layers"][0]["title"], &report["layers"][1]["title"]), (&"base".into(), &"libraries".into()));
    let lock = fs::read_to_string(folder.join("nimify.lock")).unwrap();
    assert!(lock.contains(&format!("baseImage:\n  reference: {reference}\n  digest: sha256:")), "{lock}");
    let document = fs::read_to_string(folder.join("dist/sbom.spdx.json")).unwrap();
    assert!(document.contains("pkg:deb/debian/dash@0.5.12-2?arch=amd64&distro=debian-12"), "{document}");
    let listed = by_spdx(&serde_json::from_str(&document).unwrap());
    assert!(listed.len() > 2 && !listed.iter().any(|[_, name, _]| name == "gone"), "{listed:?}");
    assert_eq!(by_syft(&folder.join("dist/image")), listed);
    let provenance = fs::read_to_string(folder.join("dist/provenance.json")).unwrap();
    assert!(provenance.contains("pkg:oci/base@sha256%3A"), "{provenance}");

    // The tag moves on: the lock doesn't.
    fs::write(root.join("etc/moved"), "on").unwrap();
    push_base(&engine, &root, &reference);
    let file = folder.join("nimify.yaml");
    let build = ["build", "--unsigned", "--format", "json", "--config", file.to_str().unwrap()];
    let built = |more: &[&str]| -> serde_json::Value {
        serde_json::from_str(&passes(&mut run(&[&build[..], more].concat()))).unwrap()
    };
    assert_eq!(built(&["--locked"])["digest"], report["digest"]);
    drop(registry);
    assert_eq!(built(&["--offline"])["digest"], report["digest"]);
    let stderr = fails(&mut run(&build), 9);
    assert!(stderr.contains("refuses connections"), "{stderr}");
}

#[test]
fn a_base_behind_a_password_over_tls_is_pulled_with_the_users_login() {
    let home = tempfile::tempdir().unwrap();
    let (authority, certificate, key) = certificates(home.path());
    let registry = Registry::start(&Wishes { password: true, tls: Some((certificate, key)), remembers: false });
    let own = small_image::shared_cache();
    let request = small_image::request(Path::new(env!("CARGO_BIN_EXE_nimify")), home.path(), &own);
    let base = home.path().join("base");
    image::write_layout(&image::assemble(&request, &own).unwrap(), &base).unwrap();
    let reference = registry.at("os/base:1");
    let login = format!(r#"{{"auths":{{"{}":{{"auth":"{LOGIN}"}}}}}}"#, registry.address);
    let mut push = nimify(home.path());
    push.env("SSL_CERT_FILE", &authority).env("DOCKER_AUTH_CONFIG", &login).arg("push").arg(&base);
    passes(push.args(["--to", &reference]));

    let cache = nimify::cache::root(|name| std::env::var_os(name)).unwrap();
    let create = || {
        let mut command = nimify(home.path());
        command.env("NIMIFY_CACHE", &cache).env("SSL_CERT_FILE", &authority);
        command.args([
            "create",
            "fixtures/digits/digits.onnx",
            "--yes",
            "--quiet",
            "--unsigned",
            "--service",
            "generic",
        ]);
        command.args(["--base", &reference, "--output"]).arg(home.path().join("digits"));
        command
    };
    let stderr = fails(&mut create(), 9);
    assert!(stderr.contains("refuses a request without credentials"), "{stderr}");
    passes(create().env("DOCKER_AUTH_CONFIG", &login));
    let lock = fs::read_to_string(home.path().join("digits/nimify.lock")).unwrap();
    assert!(lock.contains(&format!("reference: {reference}")), "{lock}");
}
