//! The model by itself in a registry, by ModelPack's own schema, and served from where it is mounted.

use std::fs;
use std::net::TcpListener;
use std::path::Path;
use std::process::Command;

use serde_json::Value;

use crate::server::{Registry, Wishes};
use crate::{cosign_verifies, docker, fails, judge, judges, layout, nimify, passes, skopeo_copies};

/// What `create` writes of a fixture, with the service that is the same for every model.
fn created(home: &Path, model: &str, folder: &str) {
    // The service is compiled once for all tests.
    let cache = nimify::cache::root(|name| std::env::var_os(name)).unwrap();
    let mut command = nimify(home);
    command.env("NIMIFY_CACHE", &cache).args(["create", model, "--yes", "--quiet", "--service", "generic", "--output"]);
    passes(command.arg(home.join(folder)));
}

fn manifest(reference: &str) -> Value {
    serde_json::from_str(&passes(judge("crane").args(["manifest", "--insecure", reference]))).unwrap()
}

fn blob(repository: &str, digest: &Value) -> Vec<u8> {
    let blob = format!("{repository}@{}", digest.as_str().unwrap());
    let output = judge("crane").args(["blob", "--insecure", &blob]).output().unwrap();
    assert!(output.status.success());
    output.stdout
}

/// Serves the model in `folder` by the image of another one, and gives its answer to the model's own sample.
fn answer(engine: &docker::Engine, image: &str, folder: &Path) -> Value {
    let port = TcpListener::bind("127.0.0.1:0").and_then(|socket| socket.local_addr()).unwrap().port();
    let mount = format!("{}:/mnt/model:ro", folder.display());
    let ports = [format!("NIMIFY_PORT={port}"), "NIMIFY_GRPC_PORT=".into(), "NIMIFY_HOST=127.0.0.1".into()];
    let more = ["--detach", "--volume", &mount, "--env", &ports[0], "--env", &ports[1], "--env", &ports[2]];
    let ran = engine.run_confined(&more, image, &["--config", "/mnt/model/nimify/service.json"]);
    assert!(ran.status.success(), "{}", String::from_utf8_lossy(&ran.stderr));
    let container = String::from_utf8(ran.stdout).unwrap();
    let mut curl = Command::new("curl");
    curl.args(["--silent", "--fail", "--retry", "60", "--retry-all-errors", "--retry-delay", "1"]);
    curl.arg(format!("http://127.0.0.1:{port}/v1/health/ready"));
    let ready = curl.output().unwrap();
    let log = engine.docker(&["logs", container.trim()]);
    assert!(ready.status.success(), "{}", String::from_utf8_lossy(&log.stderr));
    let body = format!("@{}", folder.join("nimify/sample.json").display());
    let url = format!("http://127.0.0.1:{port}/v1/predict");
    let said = passes(Command::new("curl").args(["--silent", "--fail", "--json", &body, &url]));
    engine.must(&["kill", container.trim()]);
    serde_json::from_str(&said).unwrap()
}

#[test]
fn one_image_serves_models_that_are_deployed_apart() {
    let home = tempfile::tempdir().unwrap();
    let at = |name: &str| home.path().join(name);
    let registry = Registry::start(&Wishes::default());
    created(home.path(), "fixtures/digits/digits.onnx", "digits");
    fs::create_dir(at("model")).unwrap();
    for name in ["external.onnx", "external.bin"] {
        fs::copy(format!("fixtures/models/{name}"), at("model").join(name)).unwrap();
    }
    fs::write(at("model/tokenizer.json"), "{}").unwrap();
    created(home.path(), at("model").to_str().unwrap(), "external");
    let repository = registry.at("models/external");
    let push = |to: &str, form: &str| {
        let mut command = nimify(home.path());
        command.arg("push").arg(at("external")).args(["--to", &registry.at("ml/external"), "--plain-http"]);
        command.args(["--model-to", to, "--model-as", form]);
        command
    };
    let said = passes(&mut push(&repository, "modelpack"));
    assert!(said.contains(&format!("pushed the model {repository}:0.1.0\n")), "{said}");
    let again: Value =
        serde_json::from_str(&passes(push(&repository, "modelpack").args(["--format", "json"]))).unwrap();
    assert_eq!((&again["model"]["bytesSent"], &again["model"]["manifestsSent"]), (&0.into(), &0.into()));
    let digest = again["model"]["digest"].as_str().unwrap();
    cosign_verifies(home.path(), &at("external/dist/cosign.pub"), &format!("{repository}@{digest}"));

    // By the letter of ModelPack.
    let manifest = manifest(&format!("{repository}:0.1.0"));
    assert_eq!(manifest["artifactType"], "application/vnd.cncf.model.manifest.v1+json");
    assert_eq!(manifest["config"]["mediaType"], "application/vnd.cncf.model.config.v1+json");
    let schema = fs::read(judges::tool("schemas/modelpack/config-schema.json")).unwrap();
    let schema = jsonschema::validator_for(&serde_json::from_slice(&schema).unwrap()).unwrap();
    let mut config: Value = serde_json::from_slice(&blob(&repository, &manifest["config"]["digest"])).unwrap();
    let faults: Vec<String> = schema.iter_errors(&config).map(|fault| fault.to_string()).collect();
    assert_eq!(faults, Vec::<String>::new(), "{config}");
    let layers = manifest["layers"].as_array().unwrap();
    let digests: Vec<&Value> = layers.iter().map(|layer| &layer["digest"]).collect();
    assert_eq!(config["modelfs"]["diffIds"].as_array().unwrap().iter().collect::<Vec<_>>(), digests);
    config["modelfs"]["type"] = "files".into();
    assert!(!schema.is_valid(&config), "the judge sees a fault");

    // Written where its layers say, as `oras pull` does.
    for layer in layers {
        let path = layer["annotations"]["org.cncf.model.filepath"].as_str().unwrap();
        assert_eq!(layer["annotations"]["org.opencontainers.image.title"], path);
        let file = at("pulled").join(path);
        fs::create_dir_all(file.parent().unwrap()).unwrap();
        fs::write(&file, blob(&repository, &layer["digest"])).unwrap();
        let kind = layer["mediaType"].as_str().unwrap();
        let wanted = if path.starts_with("models/external") { "weight.v1.raw" } else { "weight.config.v1.raw" };
        assert_eq!(kind, format!("application/vnd.cncf.model.{wanted}"), "{path}");
    }
    let served = fs::read(at("pulled/models/external.bin")).unwrap();
    assert!(served == fs::read("fixtures/models/external.bin").unwrap());
    assert_eq!(fs::read_to_string(at("pulled/models/tokenizer.json")).unwrap(), "{}");
    let mut inspect = nimify(home.path());
    let source = format!("oci://{repository}:0.1.0");
    inspect.args(["inspect", &source, "--plain-http", "--format", "json"]);
    let found: Value = serde_json::from_str(&passes(&mut inspect)).unwrap();
    assert_eq!(found["sideFiles"][0]["name"], "tokenizer.json");
    let recorded: Value =
        serde_json::from_str(&fs::read_to_string(at("external/samples/response.json")).unwrap()).unwrap();
    let engine = docker::Engine::get();
    let load = |name: &str| {
        let mut command = nimify(home.path());
        passes(command.env("DOCKER_HOST", &engine.host).arg("load").arg(at(name)));
    };
    load("digits");
    assert_eq!(answer(&engine, "digits:0.1.0", &at("pulled")), recorded);

    // The same as an image of nothing else, as a volume has it.
    let image = registry.at("models/external-image:1");
    passes(&mut push(&image, "image"));
    let copy = format!("oci:{}:one", at("copy").display());
    let from = format!("docker://{image}");
    skopeo_copies(&from, &copy);
    let one = format!("{}:one", at("copy").display());
    passes(Command::new("umoci").args(["unpack", "--rootless", "--image", &one]).arg(at("volume")));
    let files = |folder: &str| nimify::files::read_tree(&at(folder)).unwrap();
    assert_eq!(files("volume/rootfs"), files("pulled"));
    assert_eq!(answer(&engine, "digits:0.1.0", &at("volume/rootfs")), recorded);
    engine.must(&["image", "rm", "--force", "digits:0.1.0"]);
}

#[test]
fn an_image_without_a_model_is_told() {
    let home = tempfile::tempdir().unwrap();
    let folder = home.path().join("image");
    let registry = Registry::start(&Wishes::default());
    layout::make_of(&folder, &[tar::Builder::new(Vec::new()).into_inner().unwrap()]);
    let mut push = nimify(home.path());
    push.arg("push").arg(&folder).args(["--plain-http", "--to", &registry.at("a")]);
    let stderr = fails(push.args(["--model-to", &registry.at("b")]), 10);
    assert!(stderr.contains("holds a model"), "{stderr}");
}
