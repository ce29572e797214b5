//! `create` and `build`: the tree, the table, the flags.

use std::fs::File;

use insta::assert_snapshot;

use crate::command::{Place, files_below, names};
use crate::made;

#[test]
fn create_writes_the_whole_tree() {
    let place = made::digits();
    let files: Vec<String> = files_below(&place.at("digits")).into_keys().collect();
    let (blobs, others): (Vec<_>, Vec<_>) = files.iter().partition(|name| name.starts_with("dist/image/blobs/sha256/"));
    // Four layers, configuration and manifest. In the classic form, payload, configuration and manifest of the signature,
    // and three envelopes, configuration and manifest of what is attested. As bundles, one and its manifest for each of
    // the four, and the configuration that they share.
    assert_eq!(blobs.len(), 6 + 3 + 5 + 9, "{blobs:#?}");
    assert_snapshot!(others.into_iter().cloned().collect::<Vec<_>>().join("\n"), @"
    chart/.helmignore
    chart/Chart.yaml
    chart/monitoring/model.json
    chart/monitoring/prometheus-adapter.yaml
    chart/monitoring/rules.yaml
    chart/monitoring/scaling.yaml
    chart/monitoring/service.json
    chart/templates/NOTES.txt
    chart/templates/_canary.tpl
    chart/templates/_monitoring.tpl
    chart/templates/_names.tpl
    chart/templates/_placement.tpl
    chart/templates/_pod.tpl
    chart/templates/_scaling.tpl
    chart/templates/_secrets.tpl
    chart/templates/_ways.tpl
    chart/templates/canary/configmap.yaml
    chart/templates/canary/deployment.yaml
    chart/templates/canary/destinationrule.yaml
    chart/templates/canary/ingress.yaml
    chart/templates/canary/networkpolicy.yaml
    chart/templates/canary/poddisruptionbudget.yaml
    chart/templates/canary/service.yaml
    chart/templates/configmap.yaml
    chart/templates/dashboards.yaml
    chart/templates/deployment.yaml
    chart/templates/extra.yaml
    chart/templates/gateway/backendtlspolicy.yaml
    chart/templates/gateway/grpcroute.yaml
    chart/templates/gateway/httproute.yaml
    chart/templates/horizontalpodautoscaler.yaml
    chart/templates/ingress.yaml
    chart/templates/istio/destinationrule.yaml
    chart/templates/istio/virtualservice.yaml
    chart/templates/networkpolicy.yaml
    chart/templates/persistentvolumeclaim.yaml
    chart/templates/poddisruptionbudget.yaml
    chart/templates/podmonitor.yaml
    chart/templates/prometheusadapter.yaml
    chart/templates/prometheusrule.yaml
    chart/templates/scaledobject.yaml
    chart/templates/secrets/externalsecret.yaml
    chart/templates/secrets/secretproviderclass.yaml
    chart/templates/service.yaml
    chart/templates/serviceaccount.yaml
    chart/templates/servicemonitor.yaml
    chart/templates/tests/canary.yaml
    chart/templates/tests/request.yaml
    chart/values.schema.json
    chart/values.yaml
    dist/cosign.pub
    dist/image/index.json
    dist/image/oci-layout
    dist/model.pub
    dist/model.sig
    dist/provenance.json
    dist/report.json
    dist/sbom.cdx.json
    dist/sbom.spdx.json
    nimify.lock
    nimify.yaml
    openapi.yaml
    samples/request.json
    samples/response.json
    service/Cargo.toml
    service/signature.json
    service/src/api.rs
    service/src/hooks.rs
    service/src/main.rs
    signature.json
    ");
    assert_snapshot!(place.read("digits/nimify.yaml"), @r"
    # What was asked for: `nimify build` in this folder makes the same again.
    apiVersion: nimify/v1
    name: digits
    model: ../digits.onnx
    version: 0.1.0
    ");
    assert_eq!(place.entries(), ["digits", "digits.onnx"], "nothing stands beside the output");
}

#[test]
fn the_table_names_layers_steps_digest_and_the_next_commands() {
    let place = Place::new();
    let ended = place.take("digits/digits.onnx").run(["create", "digits.onnx", "--yes"]).with(0);
    assert_eq!(ended.stderr, "");
    let digest = image_digest(&place, "digits");
    let shape: Vec<String> = ended.stdout.lines().map(|line| shape(line, &digest)).collect();
    assert_snapshot!(shape.join("\n"), @"
    digits:0.1.0  a service compiled for this model, in <work>/digits
    <digest>

    layer           compressed  uncompressed
    base <size> <size>
    onnxruntime <size> <size>
    service <size> <size>
    model <size> <size>
    in all <size> <size>

    step                            time
    reading the model <time>
    finding ONNX Runtime <time>
    probing the model <time>
    preparing the graph <time>
    generating the service <time>
    compiling the service <time>
    packing the image <time>
    signing the image <time>
    writing the chart <time>
    putting everything in place <time>
    in all <time>

    batching   requests are joined along axis 0
    signed by  the key <key>

    next
      nimify load <work>/digits                     # into Docker or Podman
      docker run --rm -p 8000:8000 --read-only digits:0.1.0
      helm install digits <work>/digits/chart
    ");
}

/// A line of the table without what differs from run to run.
fn shape(line: &str, digest: &str) -> String {
    if line == digest {
        return "<digest>".into();
    }
    if let Some(at) = line.find("sha256:") {
        return format!("{}<key>", &line[..at]);
    }
    let words: Vec<&str> = line.split_whitespace().collect();
    let number = |word: &&str| word.chars().all(|c| c.is_ascii_digit() || c == '.');
    match &words[..] {
        [title @ .., a, "B" | "kB" | "MB", b, "B" | "kB" | "MB"] if number(a) && number(b) => {
            format!("{} <size> <size>", title.join(" "))
        }
        [title @ .., a, "ms" | "s"] if number(a) => format!("{} <time>", title.join(" ")),
        _ => line.into(),
    }
}

fn image_digest(place: &Place, folder: &str) -> String {
    let index: serde_json::Value =
        serde_json::from_str(&place.read(&format!("{folder}/dist/image/index.json"))).unwrap();
    index["manifests"][0]["digest"].as_str().unwrap().into()
}

#[test]
fn the_report_as_json_is_what_lies_in_dist() {
    let place = Place::new();
    let args = ["create", "digits.onnx", "--yes", "--format", "json", "--max-batch-size", "4"];
    let ended = place.take("digits/digits.onnx").run(args).with(0);
    let report = ended.json();
    assert_eq!(report, serde_json::from_str::<serde_json::Value>(&place.read("digits/dist/report.json")).unwrap());
    assert_eq!(report["digest"], image_digest(&place, "digits"));
    assert_eq!((&report["name"], &report["reference"]), (&"digits".into(), &"digits:0.1.0".into()));
    let layers: Vec<_> =
        report["layers"].as_array().unwrap().iter().map(|layer| layer["title"].as_str().unwrap()).collect();
    assert_eq!(layers, ["base", "onnxruntime", "service", "model"]);
    assert_eq!(report["steps"].as_array().unwrap().len(), 10);
    assert_eq!(report["batching"]["verdict"], "proved");
    assert!(place.read("digits/nimify.yaml").contains("maxBatchSize: 4"));
}

#[test]
fn quiet_says_nothing() {
    let place = Place::without_key();
    let ended = place.take("models/scalar.onnx").run(["create", "scalar.onnx", "-yq", "--service", "generic"]).with(0);
    assert_eq!((ended.stdout.as_str(), ended.stderr.as_str()), ("", ""));
}

#[test]
fn the_first_run_makes_a_key_and_says_where() {
    let place = Place::without_key();
    let ended = place.take("digits/digits.onnx").run(["create", "digits.onnx", "--yes"]).with(0);
    assert_snapshot!(ended.stderr, @"
    made a signing key: <config>/nimify/keys/ed25519.key
    made a signing key: <config>/nimify/keys/ecdsa-p256.key
    ");
    let keys = ["ecdsa-p256.key", "ecdsa-p256.pub", "ed25519.key", "ed25519.pub"];
    assert_eq!(names(&place.config.join("nimify/keys")), keys);
}

#[test]
fn flags_name_folder_service_version_and_repository() {
    let place = Place::new();
    let args = ["--name", "Größe_2.v5", "--model-version", "2.0-rc.1", "--output", "deep/out", "--yes"];
    let more = ["--repository", "registry.example.com:5000/ml/sizes", "--service", "generic", "--format", "json"];
    let ended = place.take("digits/digits.onnx").run([&["create", "digits.onnx"][..], &args, &more].concat()).with(0);
    let report = ended.json();
    assert_eq!(report["name"], "gr-e-2-v5");
    assert_eq!(report["reference"], "registry.example.com:5000/ml/sizes:2.0-rc.1");
    assert_eq!(report["service"], "generic");
    assert_snapshot!(place.read("deep/out/nimify.yaml"), @r"
    # What was asked for: `nimify build` in this folder makes the same again.
    apiVersion: nimify/v1
    name: Größe_2.v5
    model: ../../digits.onnx
    version: 2.0-rc.1
    service: generic
    image:
      repository: registry.example.com:5000/ml/sizes
    ");
    assert!(place.read("deep/out/nimify.lock").contains("\nservice: generic\n"));
    assert!(place.read("deep/out/chart/values.yaml").contains("registry.example.com:5000/ml/sizes"));
    assert_eq!(place.entries(), ["deep", "digits.onnx"]);
    // What was written is all that a build needs.
    let built = place.run(["build", "--config", "deep/out/nimify.yaml", "--locked", "--format", "json"]).with(0);
    assert_eq!(built.json()["digest"], report["digest"]);
}

#[test]
fn the_archive_is_a_tar_that_two_builds_give_alike() {
    let place = made::digits();
    let build = |folder: &str| {
        place.run(["build", "--config", &format!("{folder}/nimify.yaml"), "--archive", "--quiet"]).with(0);
        place.at(folder).join("dist/image.tar")
    };
    let first = build("digits");
    let names: Vec<String> = tar::Archive::new(File::open(&first).unwrap())
        .entries()
        .unwrap()
        .map(|entry| entry.unwrap().path().unwrap().display().to_string())
        .collect();
    for name in ["index.json", "manifest.json", "oci-layout"] {
        assert!(names.iter().any(|entry| entry == name), "{names:?}");
    }
    assert_eq!(names.iter().filter(|name| name.starts_with("blobs/sha256/") && !name.ends_with('/')).count(), 6);
    crate::command::copy_tree(&place.at("digits"), &place.at("again"));
    std::fs::remove_dir_all(place.at("again/dist")).unwrap();
    let second = build("again");
    assert!(std::fs::read(first).unwrap() == std::fs::read(second).unwrap(), "the archives differ");
    // Without the flag, an archive of an earlier state doesn't stay.
    place.run(["build", "--config", "digits/nimify.yaml", "--quiet"]).with(0);
    assert!(!place.at("digits/dist/image.tar").exists());
}

#[test]
fn a_second_create_in_the_same_place_changes_nothing() {
    let place = made::digits();
    let before = files_below(&place.at("digits"));
    place.run(["create", "digits.onnx", "--yes", "--quiet"]).with(0);
    place.run(["create", "digits.onnx", "--yes", "--quiet", "--output", "digits/"]).with(0);
    let after = files_below(&place.at("digits"));
    assert!(unmeasured(before) == unmeasured(after));
    // Another question is another answer: the first is not thrown away for it.
    let refused = place.run(["create", "digits.onnx", "--yes", "--model-version", "2"]).refused(10);
    assert_snapshot!(refused, @r"
    error: `<work>/digits/nimify.yaml` is there already and asks for something else
     hint: edit that file and run `nimify build` beside it, or write it anew with `--discard-edits`
    ");
    place.run(["create", "digits.onnx", "--yes", "--quiet", "--model-version", "2", "--discard-edits"]).with(0);
    assert!(place.read("digits/nimify.yaml").contains("version: '2'"));
}

/// Without the file that holds times.
fn unmeasured(mut files: std::collections::BTreeMap<String, Vec<u8>>) -> std::collections::BTreeMap<String, Vec<u8>> {
    files.remove("dist/report.json").unwrap();
    files
}

#[test]
fn an_empty_folder_takes_the_output_from_within() {
    let place = Place::new();
    std::fs::create_dir(place.at("here")).unwrap();
    let mut command = place.take("digits/digits.onnx").nimify();
    command.args(["create", "../digits.onnx", "--output", ".", "--yes", "--quiet"]).current_dir(place.at("here"));
    place.finish(&mut command).with(0);
    assert!(place.at("here/dist/image/index.json").is_file());
    // The folder is still the one that its user stands in.
    let mut again = place.nimify();
    place.finish(again.args(["build", "--locked", "--quiet"]).current_dir(place.at("here"))).with(0);
}

#[test]
fn build_beside_a_first_config_leaves_everything_else_alone() {
    let place = Place::new();
    place.take("digits/digits.onnx").write(".git/HEAD", "mine").write("thesis.tex", "mine");
    place.write("nimify.yaml", "apiVersion: nimify/v1\nname: digits\nmodel: digits.onnx\n");
    let before = files_below(&place.work);
    place.run(["build", "--quiet"]).with(0);
    let after = files_below(&place.work);
    for (name, bytes) in &before {
        assert!(after.get(name) == Some(bytes), "{name}");
    }
    assert!(after.contains_key("nimify.lock") && after.contains_key("dist/image/index.json"));
    assert!(names(&place.work).iter().all(|name| !name.starts_with(".nimify-")));
}

#[test]
fn build_refuses_names_that_are_taken() {
    let place = Place::new();
    place.take("digits/digits.onnx").write("service/mine.txt", "mine").write("chart/Chart.yaml", "mine");
    place.write("nimify.yaml", "apiVersion: nimify/v1\nname: digits\nmodel: digits.onnx\n");
    let before = files_below(&place.work);
    let refused = place.run(["build"]).refused(10);
    assert_snapshot!(refused, @r"
    error: `<work>` holds `chart`, `service` already, and no lock file says that nimify wrote them
     hint: move them away or bring `nimify.lock` back; `--discard-edits` replaces them and keeps the hooks and every file of another name
    ");
    assert!(before == files_below(&place.work));
    place.run(["build", "--discard-edits", "--quiet"]).with(0);
    assert_eq!(place.read("service/mine.txt"), "mine");
    assert_ne!(place.read("chart/Chart.yaml"), "mine");
}

#[test]
fn files_that_go_along_are_named() {
    let place = Place::without_key();
    place.take("digits/digits.onnx").write("model/config.json", "{}").write("model/vocab.txt", "a");
    std::fs::rename(place.at("digits.onnx"), place.at("model/digits.onnx")).unwrap();
    let ended = place.run(["create", "model", "--yes", "--unsigned", "--output", "out"]).with(0);
    let wanted =
        "sides      go along and are given to clients: `config.json`, `vocab.txt`; `sideFiles` leaves them out\n";
    assert!(ended.stdout.contains(wanted), "{}", ended.stdout);
    let report: serde_json::Value = serde_json::from_str(&place.read("out/dist/report.json")).unwrap();
    assert_eq!(report["sideFiles"], serde_json::json!(["config.json", "vocab.txt"]));
}

#[test]
fn a_side_file_that_is_asked_for_and_left_out_is_told_with_the_reason() {
    let place = Place::without_key();
    place.take("digits/digits.onnx").write("model/vocab.json", "<html>").write("model/merges.txt/odd", "");
    std::fs::rename(place.at("digits.onnx"), place.at("model/digits.onnx")).unwrap();
    let config = |model: &str| {
        let text = format!("apiVersion: nimify/v1\nname: digits\nmodel: {model}\nsideFiles: [vocab.json]\n");
        place.write("nimify.yaml", text);
        place.run(["build", "--unsigned"]).refused(4)
    };
    assert_snapshot!(config("model"), @"
    warning: `<work>/model/vocab.json` is no JSON: it is left out
    error: `sideFiles` doesn't fit the model: no side file called `vocab.json` is found with it: there is none (of a model on this machine they are looked for where its folder is named, not its file)
     hint: `nimify inspect MODEL` lists the inputs, their types and their shapes
    ");
    assert_snapshot!(config("model/digits.onnx"), @"
    error: `sideFiles` doesn't fit the model: no side file called `vocab.json` is found with it: there is none (of a model on this machine they are looked for where its folder is named, not its file)
     hint: `nimify inspect MODEL` lists the inputs, their types and their shapes
    ");
}

#[test]
fn an_unsigned_image_says_so() {
    let place = Place::without_key();
    let ended = place.take("digits/digits.onnx").run(["create", "digits.onnx", "--yes", "--unsigned"]).with(0);
    assert!(ended.stdout.contains("signed by  nobody: --unsigned\n"), "{}", ended.stdout);
    let unsigned = ["image", "provenance.json", "report.json", "sbom.cdx.json", "sbom.spdx.json"];
    assert_eq!(names(&place.at("digits/dist")), unsigned);
    assert!(!place.config.join("nimify").exists(), "no key is made where none is wanted");
    let refused = place.run(["build", "--config", "digits/nimify.yaml"]).refused(4);
    assert_snapshot!(refused, @"
    error: there is no key in `<config>/nimify/keys`
     hint: `nimify keys generate` makes one; `--key` names another; `--unsigned` does without
    ");
}
