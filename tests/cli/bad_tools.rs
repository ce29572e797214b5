//! Tools that are missing or fail: cargo, Python, an engine.

use insta::assert_snapshot;

use crate::command::{Place, copy_tree, set_mode};
use crate::{fake, made};

#[test]
fn without_cargo_the_generic_service_is_packed() {
    let place = Place::new();
    place.take("digits/digits.onnx");
    // nimify as it is installed: with `nimify-serve` beside it. Any program does for packing.
    let installed = place.at("../installed");
    std::fs::create_dir(&installed).unwrap();
    let nimify = installed.join("nimify");
    std::fs::copy(env!("CARGO_BIN_EXE_nimify"), &nimify).unwrap();
    let run = |args: &[&str]| {
        let mut command = place.command(&nimify);
        place.finish(command.args(args).env("PATH", place.at("empty")))
    };
    let alone = run(&["create", "digits.onnx", "--yes"]);
    assert_snapshot!(alone.refused(5), @"
    warning: no cargo: the generic service is packed, which runs no hooks
    error: there is no generic service at `<home>/installed/nimify-serve`, and it can't be compiled
    cause: `rustc` can't be started
    cause: No such file or directory (os error 2)
     hint: install Rust, or put the `nimify-serve` of this release beside `nimify`
    ");
    let serve = installed.join("nimify-serve");
    std::fs::copy(fake_service(&place), &serve).unwrap();
    set_mode(&serve, 0o755);
    let wanted = run(&["create", "digits.onnx", "--yes", "--service", "generated"]);
    assert_snapshot!(wanted.refused(5), @"
    error: `rustc` can't be started
    cause: No such file or directory (os error 2)
     hint: install Rust, or pack the generic service with `--service generic`: it needs no compiler
    ");
    assert_eq!(place.entries(), ["cache", "digits.onnx"], "something is left behind");
    let stood_in = run(&["create", "digits.onnx", "--yes", "--format", "json"]).with(0);
    assert_snapshot!(stood_in.stderr, @"warning: no cargo: the generic service is packed, which runs no hooks");
    assert_eq!(stood_in.json()["service"], "generic");
}

/// A compiled service.
fn fake_service(place: &Place) -> std::path::PathBuf {
    let cache = place.at("cache");
    made::cache_with_binaries(&cache);
    let entry = std::fs::read_dir(cache.join("binaries")).unwrap().next().unwrap().unwrap();
    entry.path().join("service")
}

#[test]
fn a_rust_that_is_too_old_or_broken() {
    let place = Place::new();
    place.take("digits/digits.onnx");
    let run = |script: &str| {
        let bin = fake::program(&place.work, "rustc", script);
        let mut command = place.nimify();
        command.args(["create", "digits.onnx", "--yes"]).env("PATH", fake::path_with(&bin));
        place.finish(&mut command).refused(5)
    };
    let old = "printf 'rustc 1.70.0\\nrelease: 1.70.0\\nhost: x86_64-unknown-linux-gnu\\n'";
    assert_snapshot!(run(old), @"
    error: rustc 1.70.0 is too old: 1.92 or newer is needed
     hint: `rustup update` brings a newer one; `--service generic` needs none
    ");
    assert_snapshot!(run("echo 'error: no default toolchain' >&2; exit 1"), @"
    error: `rustc -vV` fails:
           error: no default toolchain
     hint: `rustup default stable` installs a toolchain where rustup is used
    ");
    assert_eq!(place.entries(), ["bin", "digits.onnx"]);
}

#[test]
fn cargo_without_crates() {
    let place = Place::new();
    place.take("digits/digits.onnx");
    let create = |script: &str, more: &[&str]| {
        let bin = fake::program(&place.work, "cargo", script);
        let mut command = place.nimify();
        command.args(["create", "digits.onnx", "--yes"]).args(more).env("PATH", fake::path_with(&bin));
        command.env("NIMIFY_CACHE", place.at("../cache")).env("NIMIFY_ONNXRUNTIME", made::onnxruntime());
        place.finish(&mut command).refused(9)
    };
    let offline = "echo 'error: failed to download: can not make HTTP request, offline mode' >&2; exit 101";
    assert_snapshot!(create(offline, &["--offline"]), @"
    error: cargo's cache lacks crates that the service is made of:
           error: failed to download: can not make HTTP request, offline mode
     hint: run once without `--offline`: cargo keeps what it fetches
    ");
    assert_snapshot!(create("echo 'error: failed to fetch: Could not resolve host' >&2; exit 101", &[]), @"
    error: the crates that the service is made of can't be fetched:
           error: failed to fetch: Could not resolve host
     hint: check the network, the proxy and cargo's registry settings
    ");
    assert_eq!(place.entries(), ["bin", "digits.onnx"]);
}

#[test]
fn no_onnx_runtime_to_be_had() {
    let place = Place::new();
    place.take("digits/digits.onnx");
    let script = "case $2 in pip) echo 'ERROR: No matching distribution found' >&2; exit 1;; *) exit 1;; esac";
    let bin = fake::program(&place.work, "python3", script);
    let run = |args: &[&str]| {
        let mut command = place.nimify();
        command.args(args).env("PATH", fake::path_with(&bin)).env_remove("NIMIFY_ONNXRUNTIME");
        place.finish(command.env("NIMIFY_CACHE", place.at("../cache")))
    };
    assert_snapshot!(run(&["create", "digits.onnx", "--yes"]).refused(5), @"
    error: no source has ONNX Runtime 1.31.1 for amd64:
             the cache: it isn't there yet
             an installed Python package: `python3` has no package `onnxruntime`
             pip: ERROR: No matching distribution found
     hint: `pip install onnxruntime==1.31.1`, or name the library file in `NIMIFY_ONNXRUNTIME`
    ");
    assert_snapshot!(run(&["create", "digits.onnx", "--yes", "--offline"]).refused(5), @"
    error: no source has ONNX Runtime 1.31.1 for amd64:
             the cache: it isn't there yet
             an installed Python package: `python3` has no package `onnxruntime`
             pip: not asked: offline
     hint: `pip install onnxruntime==1.31.1`, or name the library file in `NIMIFY_ONNXRUNTIME`
    ");
    assert!(run(&["run", "digits.onnx"]).refused(5).contains("no source has ONNX Runtime"));
    assert!(run(&["inspect", "digits.onnx", "--probe"]).refused(5).contains("no source has ONNX Runtime"));
    run(&["inspect", "digits.onnx"]).with(0);
    assert_eq!(place.entries(), ["bin", "digits.onnx"]);
    assert!(crate::command::files_below(&place.at("../cache/onnxruntime")).keys().all(|name| name.ends_with(".lock")));
}

#[test]
fn a_library_that_is_none() {
    let place = Place::new();
    place.take("digits/digits.onnx").write("lib.so", "junk");
    let run = |library: &str| {
        let mut command = place.nimify();
        command.args(["create", "digits.onnx", "--yes"]).env("NIMIFY_ONNXRUNTIME", library);
        place.finish(&mut command)
    };
    let stderr = run("lib.so").refused(5);
    assert!(stderr.contains("<work>/lib.so") && stderr.contains(" hint: "), "{stderr}");
    assert_snapshot!(run("nowhere.so").refused(10), @"
    error: can't read `<work>/nowhere.so`
    cause: No such file or directory (os error 2)
    ");
    assert_eq!(place.entries(), ["digits.onnx", "lib.so"]);
}

#[test]
fn no_engine_to_load_into() {
    let place = made::digits();
    let load = |host: &str, folder: &str| {
        let mut command = place.nimify();
        place.finish(command.args(["load", folder]).env("DOCKER_HOST", host))
    };
    let socket = format!("unix://{}", place.at("docker.sock").display());
    assert_snapshot!(load(&socket, "digits").refused(5), @"
    error: no container engine answers: tried `<work>/docker.sock`
     hint: start Docker or Podman, or name the engine's socket in `DOCKER_HOST`
    ");
    assert_snapshot!(load("tcp://127.0.0.1:1", "digits").refused(5), @"
    error: no container engine answers: tried `tcp://127.0.0.1:1`
     hint: start Docker or Podman, or name the engine's socket in `DOCKER_HOST`
    ");
    assert_snapshot!(load("carrier-pigeon", "digits").refused(4), @"
    error: `carrier-pigeon` is not an engine's address that can be used: it takes `unix://` and `tcp://`, without TLS
     hint: `DOCKER_HOST` takes `unix:///path/to.sock` or `tcp://host:port`
    ");
    // A folder without an image is told first.
    copy_tree(&place.at("digits/chart"), &place.at("no-image"));
    assert_snapshot!(load(&socket, "no-image").refused(10), @"
    error: `no-image` is not an OCI image layout that holds an image: there is no `index.json` in it
     hint: give a folder that `create` or `build` wrote, or an OCI image layout
    ");
}
