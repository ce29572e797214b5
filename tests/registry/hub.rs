//! Models of a model hub: a stand-in for one, which has the two routes that are asked and leads to a store for large files,
//! as the real one does.

use std::fs;
use std::path::Path;
use std::process::Command;

use serde_json::{Value, json};

use crate::odd::{Odd, Said};
use crate::{fails, nimify, passes};

const COMMITS: [&str; 2] = ["1111111111111111111111111111111111111111", "2222222222222222222222222222222222222222"];
const CONFIG: &str = r#"{"id2label": {"0": "cat", "1": "dog"}}"#;

fn fixture(name: &str) -> Vec<u8> {
    fs::read(format!("fixtures/models/{name}")).unwrap()
}

fn file(path: &str) -> Option<Vec<u8>> {
    Some(match path {
        "onnx/model.onnx" => fixture("external.onnx"),
        "onnx/external.bin" => fixture("external.bin"),
        "onnx/model_int8.onnx" => fixture("mlp.onnx"),
        "config.json" => CONFIG.into(),
        "tokenizer.json" => "{}".into(),
        _ => return None,
    })
}

/// The hub and its store. Both commits have the same files; the main branch is at the second one.
fn hub() -> (Odd, Odd) {
    let store = Odd::start(|asked, _| match file(asked.path.trim_start_matches("/store/")) {
        Some(bytes) => (200, Vec::new(), bytes),
        None => (404, Vec::new(), Vec::new()),
    });
    let to = store.address.clone();
    let hub = Odd::start(move |asked, _| {
        if asked.header("authorization") != Some("Bearer hf_secret") {
            return (401, Vec::new(), br#"{"error":"Invalid username or password."}"#.to_vec());
        }
        answer(&asked.path, &to)
    });
    (hub, store)
}

fn answer(path: &str, store: &str) -> Said<Vec<u8>> {
    if let Some(revision) = path.strip_prefix("/api/models/org/repo/revision/") {
        let commit = match revision.split('?').next().unwrap() {
            "main" => COMMITS[1],
            "v1" => COMMITS[0],
            commit if COMMITS.contains(&commit) => commit,
            _ => return (404, Vec::new(), br#"{"error":"Invalid rev id"}"#.to_vec()),
        };
        let large = |path: &str| {
            let digest = nimify::digest::Digest::of(file(path).unwrap()).hex();
            json!({ "rfilename": path, "lfs": { "sha256": digest, "size": 1 } })
        };
        let small = |path: &str| json!({ "rfilename": path });
        let siblings = [
            large("onnx/model.onnx"),
            large("onnx/external.bin"),
            large("onnx/model_int8.onnx"),
            small("config.json"),
            small("tokenizer.json"),
            small("README.md"),
            small("../../escapes/config.json"),
        ];
        return (200, Vec::new(), json!({ "sha": commit, "siblings": siblings }).to_string().into_bytes());
    }
    let resolved = COMMITS.iter().find_map(|commit| path.strip_prefix(&format!("/org/repo/resolve/{commit}/")));
    match resolved {
        Some(path) if path.starts_with("onnx/") => {
            (302, vec![("Location", format!("http://{store}/store/{path}"))], Vec::new())
        }
        Some(path) => file(path).map_or((404, Vec::new(), Vec::new()), |bytes| (200, Vec::new(), bytes)),
        None => (404, Vec::new(), br#"{"error":"Repository not found"}"#.to_vec()),
    }
}

/// `nimify` with a home of its own, asking this hub.
fn asking(home: &Path, hub: &Odd) -> Command {
    let mut command = nimify(home);
    command.env("HF_ENDPOINT", format!("http://{}", hub.address)).env("HF_TOKEN", "hf_secret");
    command
}

fn inspected(command: &mut Command, model: &str) -> Value {
    serde_json::from_str(&passes(command.args(["inspect", model, "--format", "json"]))).unwrap()
}

fn offline(home: &Path, model: &str) -> Value {
    let mut command = nimify(home);
    serde_json::from_str(&passes(command.args(["inspect", model, "--offline", "--format", "json"]))).unwrap()
}

#[test]
fn a_model_of_a_hub_comes_with_what_belongs_to_it() {
    let home = tempfile::tempdir().unwrap();
    let (hub, store) = hub();
    let found = inspected(&mut asking(home.path(), &hub), "hf://org/repo");
    assert_eq!(found["fileName"], "model.onnx");
    assert_eq!(found["externalFiles"][0]["path"], "external.bin");
    assert_eq!(found["labels"], json!(["cat", "dog"]));
    let sides: Vec<&Value> = found["sideFiles"].as_array().unwrap().iter().map(|side| &side["name"]).collect();
    assert_eq!(sides, ["config.json", "tokenizer.json"]);
    assert!(!hub.asked().iter().any(|asked| asked.path.contains("README") || asked.path.contains("int8")));
    assert!(store.asked().iter().all(|asked| asked.header("authorization").is_none()) && !store.asked().is_empty());

    // The same commit is not fetched again, another one by name is, and without a hub there is the last.
    let before = hub.asked().len();
    assert_eq!(inspected(&mut asking(home.path(), &hub), "hf://org/repo"), found);
    assert_eq!(hub.asked().len(), before + 1);
    let other = inspected(&mut asking(home.path(), &hub), "hf://org/repo@v1/onnx/model_int8.onnx");
    assert_eq!(other["fileName"], "model_int8.onnx");
    assert_eq!(offline(home.path(), "hf://org/repo"), found);
}

#[test]
fn a_hub_that_says_no_is_told() {
    let home = tempfile::tempdir().unwrap();
    let (hub, _store) = hub();
    let inspect = |model: &str, token: Option<&str>, code: i32| {
        let mut command = asking(home.path(), &hub);
        match token {
            Some(token) => command.env("HF_TOKEN", token),
            None => command.env_remove("HF_TOKEN"),
        };
        fails(command.args(["inspect", model]), code)
    };
    let stderr = inspect("hf://org/repo", None, 9);
    assert!(
        stderr.contains("a request without credentials: Invalid username") && stderr.contains("HF_TOKEN"),
        "{stderr}"
    );
    let stderr = inspect("hf://org/repo", Some("hf_wrong"), 9);
    assert!(stderr.contains("`HF_TOKEN`") && !stderr.contains("hf_wrong"), "{stderr}");
    let good = Some("hf_secret");
    assert!(inspect("hf://org/none", good, 9).contains("Repository not found"));
    assert!(inspect("hf://org/repo@v9", good, 9).contains("Invalid rev id"));
    assert!(inspect("hf://org/repo/other.onnx", good, 3).contains("has no `other.onnx`: there are `onnx/model.onnx`"));
    assert!(inspect("hf://org", good, 2).contains("it should be `hf://ORG/REPOSITORY`"));
    fs::create_dir_all(home.path().join(".cache/huggingface")).unwrap();
    fs::write(home.path().join(".cache/huggingface/token"), "hf_secret\n").unwrap();
    let mut by_file = asking(home.path(), &hub);
    inspected(by_file.env_remove("HF_TOKEN"), "hf://org/repo");
}

/// As the hub's own tools keep it: blobs, and a folder of links a commit.
fn hub_cache(home: &Path) {
    let repository = home.join(".cache/huggingface/hub/models--org--repo");
    let snapshot = repository.join("snapshots").join(COMMITS[0]);
    for folder in ["refs", "blobs"] {
        fs::create_dir_all(repository.join(folder)).unwrap();
    }
    fs::write(repository.join("refs/main"), COMMITS[0]).unwrap();
    for (number, path) in ["onnx/model.onnx", "onnx/external.bin", "config.json"].iter().enumerate() {
        let blob = repository.join("blobs").join(number.to_string());
        fs::write(&blob, file(path).unwrap()).unwrap();
        let link = snapshot.join(path);
        fs::create_dir_all(link.parent().unwrap()).unwrap();
        std::os::unix::fs::symlink(blob, link).unwrap();
    }
}

#[test]
fn the_hubs_own_cache_is_read() {
    let home = tempfile::tempdir().unwrap();
    hub_cache(home.path());
    let found = offline(home.path(), "hf://org/repo");
    assert_eq!((&found["labels"], &found["fileName"]), (&json!(["cat", "dog"]), &"model.onnx".into()));
    let stderr = fails(nimify(home.path()).args(["inspect", "hf://org/other", "--offline"]), 9);
    assert!(stderr.contains("`hf://org/other` is not in the cache"), "{stderr}");
    // With a network, what is there of the commit isn't fetched.
    let (hub, store) = hub();
    let other = tempfile::tempdir().unwrap();
    hub_cache(other.path());
    inspected(&mut asking(other.path(), &hub), "hf://org/repo@v1");
    assert_eq!(store.asked().len(), 0);
    let fetched: Vec<_> = hub.asked().into_iter().filter(|asked| asked.path.contains("/resolve/")).collect();
    assert_eq!(fetched.len(), 1, "only the tokenizer isn't there: {fetched:?}");
}

#[test]
fn a_service_of_a_hubs_model_is_pinned_to_its_commit() {
    let home = tempfile::tempdir().unwrap();
    let (hub, _store) = hub();
    let folder = home.path().join("out");
    // The service is compiled once for all tests.
    let cache = nimify::cache::root(|name| std::env::var_os(name)).unwrap();
    let mut create = asking(home.path(), &hub);
    create.env("NIMIFY_CACHE", &cache).args(["create", "hf://org/repo", "--yes", "--quiet", "--service", "generic"]);
    passes(create.arg("--output").arg(&folder));
    let config = fs::read_to_string(folder.join("nimify.yaml")).unwrap();
    assert!(config.contains("name: repo\nmodel: hf://org/repo\n"), "{config}");
    let lock = fs::read_to_string(folder.join("nimify.lock")).unwrap();
    let source = "source:\n  name: hf://org/repo\n  digest: sha256:";
    assert!(lock.contains(source) && lock.contains(&format!("  revision: '{}'\n", COMMITS[1])), "{lock}");
    // What belongs to the model is pinned and in the image, in a layer of its own beside the model.
    let sides: Vec<String> = ["config.json", "tokenizer.json"]
        .map(|name| format!("  {name}: {}\n", nimify::digest::Digest::of(file(name).unwrap())))
        .into();
    assert!(lock.contains(&format!("sideFiles:\n{}", sides.concat())), "{lock}");
    let report: Value = serde_json::from_slice(&fs::read(folder.join("dist/report.json")).unwrap()).unwrap();
    let layer = report["layers"].as_array().unwrap().iter().find(|layer| layer["title"] == "sides").unwrap();
    let layer = layer["digest"].as_str().unwrap().trim_start_matches("sha256:");
    let packed = fs::read(folder.join("dist/image/blobs/sha256").join(layer)).unwrap();
    let mut tar = tar::Archive::new(flate2::read::MultiGzDecoder::new(&packed[..]));
    let paths = tar.entries().unwrap().map(|entry| entry.unwrap().path().unwrap().display().to_string());
    assert_eq!(paths.collect::<Vec<_>>(), ["models/", "models/config.json", "models/tokenizer.json"]);
    let build = |hub: Option<&Odd>, cache: &Path, more: &[&str]| {
        let mut build = hub.map_or_else(|| nimify(home.path()), |hub| asking(home.path(), hub));
        build
            .env("NIMIFY_CACHE", cache)
            .current_dir(&folder)
            .args(["build", "--quiet", "--format", "json", "--locked"]);
        build.args(more);
        build
    };
    let built = |command: &mut Command| -> Value {
        let report: Value = serde_json::from_str(&passes(command)).unwrap();
        report["digest"].clone()
    };
    let first = built(&mut build(None, &cache, &["--offline"]));
    assert_eq!(built(&mut build(Some(&hub), &cache, &[])), first);

    // A changed byte of them is a changed byte of the image.
    let mut tampered = packed.clone();
    tampered[20] ^= 1;
    fs::write(folder.join("dist/image/blobs/sha256").join(layer), tampered).unwrap();
    let stderr = fails(nimify(home.path()).arg("verify").arg(&folder), 7);
    assert!(stderr.contains(layer), "{stderr}");
}
