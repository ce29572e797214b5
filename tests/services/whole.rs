//! The command line's own services: what `nimify run` leaves behind, a licence and the files that
//! stand with a model from `nimify.yaml` through the image to their routes.

use std::fs;
use std::path::Path;
use std::process::Command;

use nimify::digest::Digest;
use nimify::image;
use serde_json::json;

use crate::made::{fixture, onnxruntime};
use crate::running::{Running, command};

pub(crate) fn nimify() -> Command {
    let mut command = command(Path::new(env!("CARGO_BIN_EXE_nimify")));
    command.env("NIMIFY_ONNXRUNTIME", onnxruntime());
    command
}

#[test]
fn run_serves_and_writes_nothing_below_the_home_of_the_user() {
    let (home, cache) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let mut run = nimify();
    run.args(["run", "--port", "0", "--offline"]).arg(fixture("digits/digits.onnx"));
    run.env("HOME", home.path()).env("NIMIFY_CACHE", cache.path()).env("ORT_DISABLE_TELEMETRY", "0");
    run.env_remove("XDG_CACHE_HOME").env_remove("XDG_CONFIG_HOME");
    let service = Running::ready(&mut run);
    assert_eq!(service.get("/v2/models/digits").status, 200);
    // No licence came with it: said as NIM says errors, and in empty fields where a client wants them all.
    let none = service.get("/v1/license");
    assert_eq!((none.status, &none.json()["error"]["type"]), (404, &json!("not_found_error")));
    assert_eq!(service.get("/v1/metadata").json()["licenseInfo"]["content"], "");
    drop(service);
    let written: Vec<_> = fs::read_dir(home.path()).unwrap().map(|entry| entry.unwrap().path()).collect();
    assert!(written.is_empty(), "{written:?}");
}

const CONFIG: &str = "apiVersion: nimify/v1
name: digits
model: digits
license: { name: Unlicense, path: legal/TEXT.md }
image: { compression: none }
";

/// Files that stand with the model.
const SIDES: [(&str, &str); 3] =
    [("preprocessor_config.json", r#"{"size": 8}"#), ("vocab.txt", "zero\none\n"), ("README.md", "# Digits\n")];

const LICENSE: &str = "Do what you like – no warranty.\n";

#[test]
fn licence_and_side_files_go_through_the_image_to_their_routes() {
    let project = tempfile::tempdir().unwrap();
    let path = |name: &str| project.path().join(name);
    fs::create_dir(path("legal")).unwrap();
    fs::write(path("legal/TEXT.md"), LICENSE).unwrap();
    fs::write(path("nimify.yaml"), CONFIG).unwrap();
    fs::create_dir(path("digits")).unwrap();
    fs::copy(fixture("digits/digits.onnx"), path("digits/digits.onnx")).unwrap();
    for (name, text) in SIDES {
        fs::write(path("digits").join(name), text).unwrap();
    }
    let built = nimify().args(["build", "--unsigned", "--quiet"]).current_dir(&project).output().unwrap();
    assert!(built.status.success(), "{}", String::from_utf8_lossy(&built.stderr));

    let root = tempfile::tempdir().unwrap();
    unpack(&path("dist/image"), root.path());
    let service = Running::start(&root.path().join("nimify/service"), &root.path().join("nimify"));
    let license = service.get("/v1/license");
    assert_eq!(license.status, 200);
    let expected = json!({
        "name": "Unlicense", "path": "LICENSE", "sha": "809edb0b6730bf5cefb72988bbf954dd1145722b",
        "size": LICENSE.len(), "url": "", "type": "file", "content": LICENSE,
    });
    assert_eq!(license.json(), expected);
    assert_eq!(service.get("/v1/metadata").json()["licenseInfo"], expected);
    let sides = service.get("/v1/metadata").json()["sideFiles"].clone();
    let side = |at: usize, kind: &str| {
        let (name, text) = SIDES[at];
        json!({ "name": name, "kind": kind, "size": text.len(), "digest": Digest::of(text).to_string() })
    };
    assert_eq!(sides, json!([side(0, "preprocessor"), side(1, "vocabulary")]));
    for (name, text) in SIDES {
        let answer = service.get(&format!("/v1/metadata/files/{name}"));
        if name == "README.md" {
            assert_eq!((answer.status, &answer.json()["error"]["code"]), (404, &json!(404)));
            continue;
        }
        assert_eq!((answer.status, answer.body.as_slice()), (200, text.as_bytes()));
    }
    // The document says so too: no 404 where there is a licence.
    let document = service.get("/openapi.json").json();
    let answers = document["paths"]["/v1/license"]["get"]["responses"].as_object().unwrap();
    assert_eq!(answers.keys().collect::<Vec<_>>(), ["200"]);
}

/// Lays the layers of the image in `layout`, which are plain archives, over each other.
pub(crate) fn unpack(layout: &Path, root: &Path) {
    for layer in image::open_layout(layout).unwrap().layers {
        let archive = fs::read(image::blob_path(layout, &layer)).unwrap();
        tar::Archive::new(&archive[..]).unpack(root).unwrap();
    }
}
