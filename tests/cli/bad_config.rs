//! `nimify.yaml` and `nimify.lock` at fault: where, what, and what it should be.

use insta::assert_snapshot;

use crate::command::{Place, files_below};
use crate::fake;
use crate::made;

const HEAD: &str = "apiVersion: nimify/v1\nname: digits\nmodel: digits.onnx\n";

/// Builds with these lines below the three that every config has.
#[track_caller]
fn refused(lines: &str) -> String {
    let place = Place::new();
    place.take("digits/digits.onnx").write("nimify.yaml", format!("{HEAD}{lines}"));
    let stderr = place.run(["build"]).refused(4);
    assert_eq!(place.entries(), ["digits.onnx", "nimify.yaml"], "something is left behind");
    stderr
}

#[test]
fn keys_and_values_are_refused_with_their_place() {
    assert_snapshot!(refused("batching: { maxBatchSise: 4 }\n"), @"
    error: nimify.yaml:4:13: `batching`: `maxBatchSise` is no known key: did you mean `maxBatchSize`?
     hint: `nimify schema` prints what `nimify.yaml` can hold
    ");
    assert_snapshot!(refused("replicas: 3\n"), @"
    error: nimify.yaml:4:1: `replicas` is no known key: known are `apiVersion`, `name`, `model`, `version`, `description`, `license`, `sideFiles`, `sample`, `service`, `server`, `batching`, `engine`, `tensorrt`, `state`, `tracing`, `image`, `signing`, `environments`
     hint: `nimify schema` prints what `nimify.yaml` can hold
    ");
    assert_snapshot!(refused("server:\n  port: many\n"), @"
    error: nimify.yaml:5:9: `server.port`: should be a whole number from 0 to 65535, but is the text `many`
     hint: `nimify schema` prints what `nimify.yaml` can hold
    ");
    assert_snapshot!(refused("server: { port: 70000 }\n"), @"
    error: nimify.yaml:4:17: `server.port`: should be a whole number from 0 to 65535, but is the text `70000`
     hint: `nimify schema` prints what `nimify.yaml` can hold
    ");
    assert_snapshot!(refused("batching: { maxQueueDelay: 2 hours }\n"), @"
    error: nimify.yaml:4:28: `batching.maxQueueDelay`: `2 hours` is not a duration: write a whole number and a unit, such as `2ms`, `5s` or `1m`
     hint: `nimify schema` prints what `nimify.yaml` can hold
    ");
    assert_snapshot!(refused("version: [1]\n"), @"
    error: nimify.yaml:4:10: `version`: should be a text, but is a list
     hint: `nimify schema` prints what `nimify.yaml` can hold
    ");
    assert_snapshot!(refused("service: rust\n"), @"
    error: nimify.yaml:4:10: `service`: `rust` is no known word here: known are `generated`, `generic`
     hint: `nimify schema` prints what `nimify.yaml` can hold
    ");
    assert_snapshot!(refused("server: { port: 8000, metricsPort: 8000 }\n"), @"
    error: nimify.yaml:4:36: `server.metricsPort`: `8000` is the port of HTTP already: give another, or leave this out
     hint: `nimify schema` prints what `nimify.yaml` can hold
    ");
    assert_snapshot!(refused("name: twice\n"), @"
    error: nimify.yaml:4:1: `name` is given twice, first at 2:1
     hint: `nimify schema` prints what `nimify.yaml` can hold
    ");
    assert_snapshot!(refused("server: {\n"), @"
    error: nimify.yaml:5:1: not YAML: while parsing a node, did not find expected node content
     hint: `nimify schema` prints what `nimify.yaml` can hold
    ");
    assert_snapshot!(refused("image: { repository: '${NIMIFY_TEST_UNSET}/digits' }\n"), @"
    error: nimify.yaml:4:22: the environment variable `NIMIFY_TEST_UNSET` is not set: set it, or write `${NIMIFY_TEST_UNSET:-default}`
     hint: `nimify schema` prints what `nimify.yaml` can hold
    ");
}

#[test]
fn a_config_that_lacks_something() {
    let place = Place::new();
    let refused = |text: &str| place.write("nimify.yaml", text).run(["build"]).refused(4);
    assert_snapshot!(refused("name: digits\nmodel: digits.onnx\n"), @"
    error: nimify.yaml:1:1: the key `apiVersion` is missing
     hint: `nimify schema` prints what `nimify.yaml` can hold
    ");
    assert_snapshot!(refused("apiVersion: nimify/v2\nname: digits\nmodel: digits.onnx\n"), @"
    error: nimify.yaml:1:13: `apiVersion`: `nimify/v2` is no known word here: did you mean `nimify/v1`?
     hint: `nimify schema` prints what `nimify.yaml` can hold
    ");
    assert_snapshot!(refused(""), @"
    error: nimify.yaml:1:1: the file is empty
     hint: `nimify schema` prints what `nimify.yaml` can hold
    ");
    assert_snapshot!(place.run(["build", "--config", "nowhere.yaml"]).refused(10), @"
    error: can't read `nowhere.yaml`
    cause: No such file or directory (os error 2)
     hint: `nimify create MODEL` writes one; `--config FILE` names another
    ");
    place.write("binary.yaml", [0xff, 0xfe, 0x00]);
    assert_snapshot!(place.run(["build", "--config", "binary.yaml"]).refused(4), @"
    error: `binary.yaml` is not a UTF-8 text
     hint: `nimify schema` prints what `nimify.yaml` can hold
    ");
    place.write("nimify.yaml", HEAD);
    assert_snapshot!(place.run(["build"]).refused(3), @"
    error: there is no model at `<work>/digits.onnx`
     hint: give the path of an `.onnx` file, or of a folder that holds one
    ");
}

#[test]
fn an_image_beyond_its_budget() {
    assert_snapshot!(refused("image: { budget: { layer: 1.5GB } }\n"), @"
    error: nimify.yaml:4:27: `image.budget.layer`: should be a size such as `500MB` or `2GiB`, but is `1.5GB`
     hint: `nimify schema` prints what `nimify.yaml` can hold
    ");
    let place = Place::new();
    let config = format!("{HEAD}service: generic\nimage: {{ budget: {{ layer: 9MB, total: 1TB }} }}\n");
    place.take("digits/digits.onnx").write("nimify.yaml", config);
    let stderr = place.run(["build", "--unsigned"]).refused(6);
    let mut lines = stderr.lines();
    assert_eq!(lines.next(), Some("error: the image is larger than its budget:"));
    let layer = lines.next().unwrap();
    assert!(
        layer.trim_start().starts_with("layer 2, `onnxruntime`: 1") && layer.ends_with(" of `image.budget.layer`"),
        "{layer}"
    );
    assert!(lines.next().unwrap().trim_start().starts_with("/nimify/lib/libonnxruntime.so."), "{stderr}");
    assert!(lines.next().unwrap().contains("hint: take a smaller model"), "{stderr}");
    assert_eq!(place.entries(), ["digits.onnx", "nimify.yaml"], "something is left behind");
}

#[test]
fn a_platform_that_nothing_here_compiles_for() {
    let (host, other, processor) = match cfg!(target_arch = "x86_64") {
        true => ("x86_64-unknown-linux-gnu", "aarch64-unknown-linux-gnu", "arm64"),
        false => ("aarch64-unknown-linux-gnu", "x86_64-unknown-linux-gnu", "amd64"),
    };
    let said = format!("echo 'rustc 1.99.0 (x)'; echo 'release: 1.99.0'; echo 'host: {host}'");
    let refused = |libraries: &str| {
        let place = Place::new();
        let rustc = format!("case \"$1\" in --print) echo {libraries} ;; *) {said} ;; esac");
        let bin = fake::program(&place.work, "rustc", &rustc);
        fake::program(&place.work, &format!("{}-gcc", other.replace("-unknown-", "-")), "exit 1");
        let config = format!("{HEAD}image: {{ platform: linux/{processor} }}\n");
        place.take("digits/digits.onnx").write("nimify.yaml", config);
        place
            .finish(place.nimify().args(["build", "--quiet", "--unsigned"]).env("PATH", fake::path_with(&bin)))
            .refused(5)
    };
    let no_library = refused("/nowhere");
    assert!(
        no_library.contains(&format!("this toolchain has no standard library for `{other}`\n"))
            && no_library.contains(&format!("hint: `rustup target add {other}` installs it")),
        "{no_library}"
    );
    let no_linker = refused("/");
    assert!(no_linker.contains(", which links for `") && no_linker.contains("`apt-get install gcc-"), "{no_linker}");
}

#[test]
fn padding_that_does_not_fit_the_model() {
    let place = Place::new();
    place.take("models/tokens.onnx");
    let refused = |padding: &str| {
        let config =
            format!("apiVersion: nimify/v1\nname: tokens\nmodel: tokens.onnx\nbatching: {{ padding: {padding} }}\n");
        let stderr = place.write("nimify.yaml", config).run(["build"]).refused(4);
        assert_eq!(place.entries(), ["nimify.yaml", "tokens.onnx"], "something is left behind");
        stderr
    };
    assert_snapshot!(refused("{ values: { input_ids: 0 }, mask: attention_msk }"), @"
    error: `batching.padding` doesn't fit the model: the model has no input `attention_msk` (did you mean `attention_mask`?)
     hint: `nimify inspect MODEL` lists the inputs, their types and their shapes
    ");
    assert_snapshot!(refused("{ values: { tokens: 0 }, mask: attention_mask }"), @"
    error: `batching.padding` doesn't fit the model: the model has no input `tokens`
     hint: `nimify inspect MODEL` lists the inputs, their types and their shapes
    ");
    assert_snapshot!(refused("{ values: { input_ids: 0.5 }, mask: attention_mask }"), @"
    error: `batching.padding` doesn't fit the model: the input `input_ids` can't be filled with 0.5: its elements are int64
     hint: `nimify inspect MODEL` lists the inputs, their types and their shapes
    ");
    assert_snapshot!(refused("{ values: { input_ids: 0 } }"), @"
    error: `batching.padding` doesn't fit the model: the input `attention_mask` is as long as `sequence` too: say what fills it
     hint: `nimify inspect MODEL` lists the inputs, their types and their shapes
    ");
}

#[test]
fn environments_are_known_or_refused() {
    let place = Place::new();
    let lines = "environments:\n  staging: { replicas: 2 }\n  prod: { namespace: ml, replicas: 5 }\n";
    place.take("digits/digits.onnx").write("nimify.yaml", format!("{HEAD}{lines}"));
    let env = |name: &str| place.run(["build", "--quiet", "--env", name]);
    assert_snapshot!(env("stagin").refused(4), @"
    error: `nimify.yaml` describes no environment `stagin`
     hint: did you mean `staging`?
    ");
    assert_snapshot!(env("elsewhere").refused(4), @"
    error: `nimify.yaml` describes no environment `elsewhere`
     hint: it describes prod, staging
    ");
    assert_eq!(place.entries(), ["digits.onnx", "nimify.yaml"]);
    env("staging").with(0);
    assert!(place.read("chart/values-staging.yaml").contains("replicaCount: 2"));
    assert!(place.read("chart/values-prod.yaml").contains("replicaCount: 5"));
}

#[test]
fn variables_are_put_in() {
    let place = Place::new();
    let lines = "version: ${VERSION:-0.9}\nimage: { repository: '${REGISTRY}/ml/digits' }\n";
    place.take("digits/digits.onnx").write("nimify.yaml", format!("{HEAD}{lines}"));
    let mut command = place.nimify();
    command.args(["build", "--format", "json"]).env("REGISTRY", "registry.example.com");
    let report = place.finish(&mut command).with(0).json();
    assert_eq!(report["reference"], "registry.example.com/ml/digits:0.9");
}

#[test]
fn locks_that_are_missing_or_unreadable() {
    let place = made::digits();
    let lock = place.read("digits/nimify.lock");
    let build = |more: &[&str]| place.run([&["build", "--config", "digits/nimify.yaml"][..], more].concat());

    place.write("digits/nimify.lock", &lock[..lock.len() / 2]);
    let before = files_below(&place.work);
    for more in [&[][..], &["--locked"], &["--locked", "--discard-edits"]] {
        let stderr = build(more).refused(4);
        assert!(stderr.starts_with("error: `<work>/digits/nimify.lock` can't be read\ncause: "), "{stderr}");
        assert!(stderr.contains(" hint: bring the file back from version control, or "), "{stderr}");
        assert!(before == files_below(&place.work));
    }
    build(&["--discard-edits", "--quiet"]).with(0);
    assert_eq!(place.read("digits/nimify.lock"), lock);

    std::fs::remove_file(place.at("digits/nimify.lock")).unwrap();
    assert_snapshot!(build(&["--locked"]).refused(4), @"
    error: there is no lock file at `<work>/digits/nimify.lock`
     hint: build once without `--locked`: that writes it
    ");
    assert_snapshot!(build(&[]).refused(10), @"
    error: `<work>/digits` holds `chart`, `dist`, `openapi.yaml`, `samples`, `service`, `signature.json` already, and no lock file says that nimify wrote them
     hint: move them away or bring `nimify.lock` back; `--discard-edits` replaces them and keeps the hooks and every file of another name
    ");
}

#[test]
fn a_locked_build_names_what_differs() {
    let place = made::digits();
    let before = files_below(&place.at("digits"));
    std::fs::copy(crate::command::fixture("models/mlp.onnx"), place.at("digits.onnx")).unwrap();
    let stderr = place.run(["build", "--config", "digits/nimify.yaml", "--locked"]).refused(4);
    for words in ["differs from the lock", "digits.onnx", "sha256:", "hint: build without `--locked`"] {
        assert!(stderr.contains(words), "{words}: {stderr}");
    }
    assert!(before == files_below(&place.at("digits")));
}

#[test]
fn keys_that_the_config_names() {
    let place = Place::without_key();
    let key = std::fs::read_to_string(made::key_store().join("ed25519.key")).unwrap();
    place.take("digits/digits.onnx").write("nimify.yaml", format!("{HEAD}signing: {{ key: 'env://SIGNING' }}\n"));
    assert_snapshot!(place.run(["build"]).refused(4), @"
    error: there is no key in the variable `SIGNING`
     hint: `nimify keys generate` makes one; `--key` names another; `--unsigned` does without
    ");
    let mut command = place.nimify();
    place.finish(command.args(["build", "--quiet"]).env("SIGNING", &key)).with(0);
    // A path is seen from the file's folder. One that others can read is none to sign with.
    place.write("keys/own.key", &key);
    place.write("nimify.yaml", format!("{HEAD}signing: {{ key: keys/own.key }}\n"));
    let stderr = place.run(["build"]).refused(4);
    assert!(stderr.contains("<work>/keys/own.key") && stderr.contains("`chmod go= <work>/keys/own.key`"), "{stderr}");
    crate::command::set_mode(&place.at("keys/own.key"), 0o600);
    place.run(["build", "--quiet"]).with(0);
}
