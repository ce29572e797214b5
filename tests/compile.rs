//! The staged workspace agrees with the repository's, and crates are compiled in it.

#![expect(clippy::unwrap_used, reason = "helpers of a test: a panic names the line")]

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};
use std::{env, fs};

use nimify::compile::{CompileRequest, Progress, ServiceSources};
use nimify::{cache, codegen, compile, files};

/// The repository's manifest → the staged workspace's: what the members inherit, and a release profile of its own.
fn workspace_manifest(repository: &str) -> String {
    let mut inherited = String::new();
    let mut inside = false;
    for line in repository.split_inclusive('\n') {
        if line.starts_with('[') {
            inside = line.starts_with("[workspace.");
        }
        if inside {
            inherited += line;
        }
    }
    format!(
        "# Generated from the repository's Cargo.toml by `NIMIFY_UPDATE_GOLDEN=1 cargo test --test compile`.\n\n\
         [workspace]\nmembers = [\"runtime\", \"service\"]\nresolver = \"3\"\n\n\
         {inherited}\
         [patch.crates-io]\nnimify-runtime = {{ path = \"runtime\" }}\n\n\
         [profile.release]\nstrip = true\n"
    )
}

/// The lock file that cargo makes of the repository's for the staged workspace, without the network.
fn workspace_lock(manifest: &str) -> String {
    let home = tempfile::tempdir().unwrap();
    files::write_tree(home.path(), &compile::workspace()).unwrap();
    files::write_tree(&home.path().join("service"), &codegen::generic()).unwrap();
    fs::write(home.path().join("Cargo.toml"), manifest).unwrap();
    fs::copy(root().join("Cargo.lock"), home.path().join("Cargo.lock")).unwrap();
    let output = Command::new("cargo")
        .args(["metadata", "--offline", "--format-version", "1", "--manifest-path"])
        .arg(home.path().join("Cargo.toml"))
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    fs::read_to_string(home.path().join("Cargo.lock")).unwrap()
}

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

#[test]
fn the_staged_workspace_is_made_from_the_repositorys() {
    let manifest = workspace_manifest(&fs::read_to_string(root().join("Cargo.toml")).unwrap());
    let lock = workspace_lock(&manifest);
    for (file, text) in [("runtime/service.toml", manifest), ("runtime/service.lock", lock)] {
        if env::var_os("NIMIFY_UPDATE_GOLDEN").is_some() {
            fs::write(root().join(file), &text).unwrap();
        }
        let held = fs::read_to_string(root().join(file)).unwrap();
        assert_eq!(held, text, "{file} (NIMIFY_UPDATE_GOLDEN=1 writes it anew)");
    }
}

/// The crate of a golden case, compiled in this cache.
fn compiled(cache: &Path, case: &str, progress: &mut dyn FnMut(compile::Progress)) -> compile::ServiceBinary {
    let folder = root().join("tests/golden").join(case).join("service");
    let sources = files::read_tree(&folder).unwrap();
    let request = CompileRequest { cache, offline: true, target: None };
    compile::compile(&request, &ServiceSources { files: &sources, folder: &folder }, progress).unwrap()
}

/// Everything about compiling that needs a compiled runtime, in one test, so that it is compiled only as often as must
/// be: in the user's own cache, where it may be already, and in a new one, for the proof that the bytes don't depend on
/// the place.
#[test]
#[ignore = "compiles the runtime anew, optimised: a minute or more; the whole test run includes it"]
fn crates_compile_to_the_same_bytes_wherever_the_cache_is() {
    let home = tempfile::tempdir().unwrap();
    let (one, two) = (cache::root(|name| env::var_os(name)).unwrap(), home.path().join("a longer name/for the second"));
    let first = compiled(&one, "scalar", &mut |_| {});
    assert!(fs::read(&first.path).unwrap().starts_with(b"\x7fELF"));

    let began = Instant::now();
    assert_eq!(compiled(&one, "scalar", &mut |step| panic!("{step:?}: it is in the cache")), first);
    assert!(began.elapsed() < Duration::from_secs(1), "{:?}", began.elapsed());

    let began = Instant::now();
    let other = compiled(&one, "no-inputs", &mut |_| {});
    println!("one more model: {:?}", began.elapsed());
    assert_ne!(other.digest, first.digest);

    broken_hooks_are_named_where_the_user_has_them(&one);

    let elsewhere = Command::new(env::current_exe().unwrap())
        .args(["--exact", "compile_scalar_into_the_cache_named", "--ignored", "--nocapture"])
        .env("NIMIFY_TEST_CACHE", &two)
        .env("HOME", home.path())
        .env("CARGO_HOME", cargo_home())
        .env("RUSTUP_HOME", rustup_home())
        .env("RUSTFLAGS", "-Ctarget-cpu=native")
        .env("CARGO_PROFILE_RELEASE_LTO", "true")
        .current_dir(&home)
        .output()
        .unwrap();
    assert!(elsewhere.status.success(), "{}", String::from_utf8_lossy(&elsewhere.stdout));
    let second = compiled(&two, "scalar", &mut |step| panic!("{step:?}: the other process compiled it"));
    assert_eq!(second.digest, first.digest);
    assert_ne!(second.path, first.path);
    for place in [home.path().to_str().unwrap(), cargo_home().to_str().unwrap()] {
        let bytes = fs::read(&first.path).unwrap();
        assert!(!bytes.windows(place.len()).any(|part| part == place.as_bytes()), "`{place}` is in the binary");
    }
}

/// The second process of the test above: another home, another working folder, hostile flags.
#[test]
#[ignore = "a part of another test"]
fn compile_scalar_into_the_cache_named() {
    let Some(cache) = env::var_os("NIMIFY_TEST_CACHE") else { return };
    let mut steps = Vec::new();
    compiled(Path::new(&cache), "scalar", &mut |step| steps.push(step));
    let crates = steps.iter().find_map(|step| match step {
        Progress::Compiling { crates, first_time: true } => Some(*crates),
        _ => None,
    });
    let crates = crates.expect("the first build says how many crates it compiles");
    assert!(steps.contains(&Progress::Compiled { crates, of: crates }), "all {crates} are counted: {steps:?}");
    assert!(!steps.iter().any(|step| matches!(step, Progress::Diagnostic(_))), "no warning");
}

/// The process of the tests below: tries what it is told in the environment it has, and prints what came of it.
#[test]
#[ignore = "a part of other tests"]
fn try_to_compile() {
    let Some(home) = env::var_os("NIMIFY_TEST_HOME").map(PathBuf::from) else { return };
    let cache = env::var_os("NIMIFY_TEST_CACHE").map_or(home.join("cache"), PathBuf::from);
    let request = CompileRequest { cache: &cache, offline: true, target: None };
    let files = codegen::generic();
    let sources = ServiceSources { files: &files, folder: Path::new("/home/user/service") };
    let error = compile::compile(&request, &sources, &mut |_| {}).unwrap_err();
    println!("{error:?}\n{error}\nhint: {}", error.hint().unwrap_or("none"));
    println!("generic: {:?}", compile::generic(&request, &home, &mut |_| {}));
}

/// What [`try_to_compile`] prints, with `programs` as all that the `PATH` has.
fn tried(programs: &[(&str, &str)], variables: &[(&str, &Path)]) -> String {
    let home = tempfile::tempdir().unwrap();
    let path = home.path().join("bin");
    fs::create_dir(&path).unwrap();
    for (program, script) in programs {
        fs::write(path.join(program), format!("#!/bin/sh\n{script}\n")).unwrap();
        files::set_mode(&path.join(program), 0o755).unwrap();
    }
    fs::write(home.path().join("nimify-serve"), "generic").unwrap();
    let output = Command::new(env::current_exe().unwrap())
        .args(["--exact", "try_to_compile", "--ignored", "--nocapture"])
        .env("NIMIFY_TEST_HOME", home.path())
        .env("PATH", &path)
        .envs(variables.iter().copied())
        .output()
        .unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    assert!(output.status.success(), "{text}");
    text
}

#[test]
fn without_a_fit_compiler_the_error_says_so_and_the_installed_service_serves() {
    let old = "echo 'rustc 1.70.0 (x)'; echo 'release: 1.70.0'; echo 'host: x86_64-unknown-linux-gnu'";
    for (programs, error, words) in [
        (vec![], "CargoMissing", "`rustc` can't be started"),
        (vec![("rustc", "echo no toolchain is installed >&2; exit 1")], "Toolchain", "no toolchain is installed"),
        (vec![("rustc", "true")], "Toolchain", "`rustc -vV` fails"),
        (vec![("rustc", old)], "RustTooOld", "rustc 1.70.0 is too old"),
        (vec![("rustc", &old.replace("1.70", "1.99"))], "CargoMissing", "`cargo` can't be started"),
    ] {
        let text = tried(&programs, &[]);
        assert!(text.contains(error) && text.contains(words) && !text.contains("hint: none"), "{text}");
        assert!(text.contains("generic: Ok(ServiceBinary") && text.contains("kind: Generic"), "{text}");
    }
}

#[test]
fn what_is_missing_offline_and_what_fails_on_the_network_are_told_apart() {
    let rustc = ("rustc", "echo 'rustc 1.99.0 (x)'; echo 'release: 1.99.0'; echo 'host: x86_64-unknown-linux-gnu'");
    for (words, error) in [
        ("error: no matching package named `hyper` found. As a reminder, you are using offline mode", "NotCached"),
        ("error: failed to download `hyper v1.0.0`", "Network"),
        ("error: something else", "Build"),
    ] {
        let text = tried(&[rustc, ("cargo", &format!("echo '{words}' >&2; exit 101"))], &[]);
        assert!(text.contains(&format!("{error} {{")) && text.contains(words), "{text}");
    }
}

/// The real cargo with an empty home of its own, and no network.
#[test]
fn an_empty_cargo_home_is_recognised_offline() {
    let home = tempfile::tempdir().unwrap();
    let path = env::var_os("PATH").unwrap();
    let text = tried(&[], &[("PATH", Path::new(&path)), ("CARGO_HOME", home.path()), ("RUSTUP_HOME", &rustup_home())]);
    assert!(text.contains("NotCached {") && text.contains("hint: run once without `--offline`"), "{text}");
}

#[test]
fn a_cache_that_cannot_be_written_is_named() {
    let path = env::var_os("PATH").unwrap();
    let text = tried(&[], &[("PATH", Path::new(&path)), ("NIMIFY_TEST_CACHE", Path::new("/proc/nimify"))]);
    assert!(text.contains("can't create `/proc/nimify/build/"), "{text}");
}

fn broken_hooks_are_named_where_the_user_has_them(cache: &Path) {
    let mut sources = files::read_tree(&root().join("tests/golden/scalar/service")).unwrap();
    sources.insert(codegen::HOOKS.parse().unwrap(), b"pub fn before() { let x: u8 = \"text\"; }\n".to_vec());
    let request = CompileRequest { cache, offline: true, target: None };
    let sources = ServiceSources { files: &sources, folder: Path::new("/home/user/digits/service") };
    let error = compile::compile(&request, &sources, &mut |_| {}).unwrap_err();
    let text = error.to_string();
    assert!(text.contains("--> /home/user/digits/service/src/hooks.rs:1:31"), "{text}");
    assert!(text.contains("mismatched types") && !text.contains("Compiling"), "{text}");
}

fn cargo_home() -> PathBuf {
    env::var_os("CARGO_HOME").map_or_else(|| env::home_dir().unwrap().join(".cargo"), PathBuf::from)
}

fn rustup_home() -> PathBuf {
    env::var_os("RUSTUP_HOME").map_or_else(|| env::home_dir().unwrap().join(".rustup"), PathBuf::from)
}
