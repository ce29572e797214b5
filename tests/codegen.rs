//! The generated crate and the OpenAPI document of each golden case: as they stand in `tests/golden`, formatted as
//! rustfmt formats, and compiled and linted without a warning.

#![expect(clippy::unwrap_used, reason = "helpers of a test: a panic names the line")]

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::{env, fs};

use nimify::files::{self, FileTree};
use nimify::plan::{Resources, ServicePlan};
use nimify::{codegen, compile, openapi};
use nimify_runtime::settings::{BatchingSettings, EngineSettings, ModelFile, ServerSettings, ServiceSettings};
use nimify_runtime::signature::ModelSignature;

/// The folders below `tests/golden`, by name.
fn cases() -> Vec<(String, PathBuf)> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden");
    let mut cases: Vec<_> = fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.is_dir())
        .map(|path| (path.file_name().unwrap().to_str().unwrap().to_string(), path))
        .collect();
    cases.sort();
    assert!(cases.len() >= 11, "the cases are found");
    cases
}

fn plan(name: &str, signature: ModelSignature) -> ServicePlan {
    ServicePlan {
        name: name.parse().unwrap(),
        description: format!("The golden case `{name}`."),
        signature,
        settings: ServiceSettings {
            name: name.into(),
            version: "0.1.0".into(),
            model: ModelFile {
                path: "model.onnx".into(),
                sha256: "0".repeat(64),
                source: "model.onnx".into(),
                derived: None,
                files: Default::default(),
                tensorrt: None,
                side_files: Vec::new(),
                labels: Default::default(),
            },
            signature: "signature.json".into(),
            openapi: "openapi.json".into(),
            sample: None,
            license: None,
            server: ServerSettings::default(),
            batching: BatchingSettings::default(),
            engine: EngineSettings::default(),
            state: Default::default(),
            tracing: Default::default(),
        },
        sample: None,
        repository: name.into(),
        resources: Resources { cpu_millis: 100, memory_mib: 64, startup_seconds: 30, gpus: 0 },
        environments: BTreeMap::new(),
    }
}

/// What is generated for a case: the tree of its folder, less `signature.json`. One case holds the whole document, the
/// others what the signature changes in it.
fn generate(name: &str, folder: &Path) -> FileTree {
    let signature = fs::read(folder.join("signature.json")).unwrap();
    let plan = plan(name, serde_json::from_slice(&signature).unwrap());
    let document = openapi::describe(&plan);
    let mut tree: FileTree = codegen::render(&plan, &document)
        .unwrap()
        .into_iter()
        .map(|(path, bytes)| (format!("service/{}", path.as_str()).parse().unwrap(), bytes))
        .collect();
    if name == "dynamic-batch" {
        tree.insert("openapi.yaml".parse().unwrap(), openapi::to_yaml(&document).into_bytes());
    } else {
        let mut document = serde_json::to_value(&document).unwrap();
        let mut schemas = document["components"]["schemas"].take();
        let of_this_model = |name: &str| name.starts_with("Predict") || name.starts_with(char::is_lowercase);
        schemas.as_object_mut().unwrap().retain(|name, _| of_this_model(name));
        tree.insert("schemas.yaml".parse().unwrap(), serde_yaml::to_string(&schemas).unwrap().into_bytes());
    }
    tree
}

#[test]
fn golden_cases_are_as_they_were() {
    let update = env::var_os("NIMIFY_UPDATE_GOLDEN").is_some();
    for (name, folder) in cases() {
        let new = generate(&name, &folder);
        if update {
            let _ = fs::remove_dir_all(folder.join("service"));
            let _ = fs::remove_file(folder.join("openapi.yaml"));
            let _ = fs::remove_file(folder.join("schemas.yaml"));
            files::write_tree(&folder, &new).unwrap();
        }
        let mut old = files::read_tree(&folder).unwrap();
        old.remove(&"signature.json".parse().unwrap());
        assert_eq!(
            old.keys().map(|path| path.as_str()).collect::<Vec<_>>(),
            new.keys().map(|path| path.as_str()).collect::<Vec<_>>(),
            "{name}"
        );
        for (path, bytes) in &new {
            let (old, new) = (String::from_utf8_lossy(&old[path]), String::from_utf8_lossy(bytes));
            assert_eq!(old, new, "{name}/{} (NIMIFY_UPDATE_GOLDEN=1 writes it anew)", path.as_str());
        }
    }
}

/// A generated file that a formatter would change would count as edited.
#[test]
fn rustfmt_leaves_generated_files_alone() {
    let home = tempfile::tempdir().unwrap();
    for (name, folder) in cases() {
        let tree = generate(&name, &folder);
        files::write_tree(home.path(), &tree).unwrap();
        let output = Command::new("rustfmt")
            .args(["--edition", "2024", "--check", "service/src/main.rs"])
            .current_dir(home.path())
            .output()
            .unwrap();
        assert!(output.status.success(), "{name}: {}", String::from_utf8_lossy(&output.stdout));
    }
}

/// A file of a generated crate as a member of a workspace: its package has a name of its own, and warnings are errors.
fn strict(name: &str, path: &str, bytes: Vec<u8>) -> Vec<u8> {
    if path != "Cargo.toml" {
        return bytes;
    }
    let manifest = String::from_utf8(bytes).unwrap().replace("name = \"service\"", &format!("name = \"{name}\""));
    format!("{manifest}\n[lints]\nrust.warnings = \"deny\"\nclippy.all = \"deny\"\n").into_bytes()
}

/// All cases as members of one staged workspace, so that the runtime is checked once.
#[test]
fn generated_crates_compile_and_lint_without_a_warning() {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("golden");
    let mut workspace = compile::workspace();
    let mut members = vec!["runtime".to_string()];
    for (name, case) in cases() {
        members.push(name.clone());
        for (path, bytes) in generate(&name, &case) {
            let Some(path) = path.as_str().strip_prefix("service/") else { continue };
            workspace.insert(format!("{name}/{path}").parse().unwrap(), strict(&name, path, bytes));
        }
    }
    members.push("generic".into());
    for (path, bytes) in codegen::generic() {
        let bytes = strict("generic", path.as_str(), bytes);
        workspace.insert(format!("generic/{}", path.as_str()).parse().unwrap(), bytes);
    }
    let manifest = workspace.get_mut(&"Cargo.toml".parse().unwrap()).unwrap();
    let text = String::from_utf8(manifest.clone()).unwrap();
    *manifest = text.replace("[\"runtime\", \"service\"]", &format!("{members:?}")).into_bytes();
    // Only what changed is written, so that a second run finds the runtime checked.
    for (path, bytes) in &workspace {
        let path = folder.join(path);
        if fs::read(&path).ok().as_ref() != Some(bytes) {
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(&path, bytes).unwrap();
        }
    }
    let output = Command::new("cargo")
        .args(["clippy", "--offline", "--workspace", "--exclude", "nimify-runtime", "--manifest-path"])
        .arg(folder.join("Cargo.toml"))
        .env("CARGO_TARGET_DIR", folder.join("target"))
        .env_remove("CARGO_ENCODED_RUSTFLAGS")
        .env_remove("RUSTFLAGS")
        .env_remove("RUSTC_WORKSPACE_WRAPPER")
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}
