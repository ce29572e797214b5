//! Models that come from a registry: by ModelPack, out of an image, and as `skopeo` copied one; pinned, and without a
//! network afterwards.

use std::fs;
use std::path::Path;

use serde_json::Value;

use crate::server::{Registry, Wishes};
use crate::{fails, judge, nimify, passes};

const MODEL: &str = "fixtures/models/external.onnx";

fn create(home: &Path, model: &str, output: &Path) -> std::process::Command {
    // The service is compiled once for all tests.
    let cache = nimify::cache::root(|name| std::env::var_os(name)).unwrap();
    let mut command = nimify(home);
    command.env("NIMIFY_CACHE", &cache).args(["create", model, "--yes", "--quiet", "--service", "generic"]);
    command.arg("--output").arg(output);
    command
}

/// `build` in the folder, with a cache of the test's own for models.
fn build(home: &Path, folder: &Path) -> std::process::Command {
    let cache = nimify::cache::root(|name| std::env::var_os(name)).unwrap();
    let mut command = nimify(home);
    command.env("NIMIFY_CACHE", &cache).current_dir(folder).args(["build", "--quiet", "--format", "json"]);
    command
}

fn built(command: &mut std::process::Command) -> String {
    let report: Value = serde_json::from_str(&passes(command)).unwrap();
    report["digest"].as_str().unwrap().into()
}

/// A tar of these files, as an image's layer.
fn layer(at: &Path, files: &[(&str, &[u8])]) {
    let mut tar = tar::Builder::new(fs::File::create(at).unwrap());
    for (path, bytes) in files {
        let mut header = tar::Header::new_gnu();
        header.set_size(bytes.len() as u64);
        header.set_mode(0o644);
        tar.append_data(&mut header, path, *bytes).unwrap();
    }
    tar.into_inner().unwrap();
}

#[test]
fn a_model_in_a_registry_is_as_good_as_a_file() {
    let home = tempfile::tempdir().unwrap();
    let at = |name: &str| home.path().join(name);
    let registry = Registry::start(&Wishes::default());
    passes(&mut create(home.path(), MODEL, &at("here")));
    for (to, form) in [("models/pack:1", "modelpack"), ("models/image:1", "image")] {
        let mut push = nimify(home.path());
        push.arg("push").arg(at("here")).args(["--to", &registry.at("ml/external"), "--plain-http"]);
        passes(push.args(["--model-to", &registry.at(to), "--model-as", form]));
    }
    // As KServe's modelcars are made, by another tool.
    let bytes = |name: &str| fs::read(format!("fixtures/models/{name}")).unwrap();
    layer(
        &at("car.tar"),
        &[("models/external.onnx", &bytes("external.onnx")), ("models/external.bin", &bytes("external.bin"))],
    );
    let car = registry.at("models/car:1");
    passes(judge("crane").args(["append", "--insecure", "--new_tag", &car, "--new_layer"]).arg(at("car.tar")));

    let inspected = |model: &str| -> Value {
        let mut inspect = nimify(home.path());
        serde_json::from_str(&passes(inspect.args(["inspect", model, "--format", "json", "--plain-http"]))).unwrap()
    };
    let mut wanted = inspected(MODEL);
    for model in ["models/pack:1", "models/image:1", "models/car:1"] {
        let found = inspected(&format!("oci://{}", registry.at(model)));
        assert_eq!(found, wanted, "{model}");
    }
    wanted["digest"] = Value::Null;
    assert_ne!(inspected(MODEL), wanted);

    // Made into a service, it is pinned: the tag moves, and what is locked stays.
    let source = format!("oci://{}", registry.at("models/car:1"));
    passes(create(home.path(), &source, &at("there")).arg("--plain-http"));
    let config = fs::read_to_string(at("there/nimify.yaml")).unwrap();
    assert!(config.contains(&format!("model: {source}\n")), "{config}");
    let lock: Value = serde_yaml::from_str(&fs::read_to_string(at("there/nimify.lock")).unwrap()).unwrap();
    let digest = passes(judge("crane").args(["digest", "--insecure", &car])).trim().to_string();
    assert_eq!((&lock["source"]["name"], &lock["source"]["digest"]), (&source.into(), &digest.clone().into()));
    let provenance: Value =
        serde_json::from_str(&fs::read_to_string(at("there/dist/provenance.json")).unwrap()).unwrap();
    let inputs = provenance["buildDefinition"]["resolvedDependencies"].as_array().unwrap();
    let fetched: Vec<&Value> = inputs.iter().filter(|input| input["uri"].to_string().contains("oci://")).collect();
    assert_eq!(fetched.len(), 1, "{provenance}");
    assert_eq!(format!("sha256:{}", fetched[0]["digest"]["sha256"].as_str().unwrap()), digest);
    let first = built(&mut build(home.path(), &at("there")));

    layer(&at("other.tar"), &[("models/mlp.onnx", &bytes("mlp.onnx"))]);
    passes(judge("crane").args(["append", "--insecure", "--new_tag", &car, "--new_layer"]).arg(at("other.tar")));
    assert_eq!(built(build(home.path(), &at("there")).arg("--locked")), first);
    drop(registry);
    assert_eq!(built(build(home.path(), &at("there")).args(["--locked", "--offline"])), first);
    let stderr = fails(build(home.path(), &at("there")).arg("--unsigned"), 9);
    assert!(stderr.contains("models/car"), "{stderr}");
}

#[test]
fn what_is_no_model_in_a_registry_is_told() {
    let home = tempfile::tempdir().unwrap();
    let registry = Registry::start(&Wishes::default());
    let inspect = |model: &str, code: i32| {
        let mut inspect = nimify(home.path());
        fails(inspect.args(["inspect", &format!("oci://{model}"), "--plain-http"]), code)
    };
    let missing = inspect(&registry.at("models/none:1"), 9);
    assert!(missing.contains("models/none:1"), "{missing}");
    let empty = home.path().join("empty.tar");
    layer(&empty, &[("etc/passwd", b"root")]);
    let image = registry.at("images/none:1");
    passes(judge("crane").args(["append", "--insecure", "--new_tag", &image, "--new_layer"]).arg(&empty));
    let stderr = inspect(&image, 3);
    assert!(stderr.contains("images/none:1") && stderr.contains("holds no model"), "{stderr}");
    for (model, wrong) in [("digits", "should begin with a registry"), ("localhost:1/A", "localhost:1/A")] {
        let stderr = inspect(model, 2);
        assert!(stderr.contains(wrong), "{stderr}");
    }
    let offline = registry.at("models/none:1");
    let mut inspect = nimify(home.path());
    let stderr = fails(inspect.args(["inspect", &format!("oci://{offline}"), "--offline"]), 9);
    assert!(stderr.contains("cache"), "{stderr}");
}
