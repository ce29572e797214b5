//! `create --push` and `build --push`: the image goes from where it is made to its registry.

use std::fs;

use crate::server::{Registry, Wishes};
use crate::{cosign_finds, cosign_verifies, fails, nimify, passes, signed_for};

#[test]
fn what_is_built_is_pushed_signed_for_where_it_goes_and_reported() {
    let home = tempfile::tempdir().unwrap();
    let registry = Registry::start(&Wishes::default());
    let repository = registry.at("ml/digits");
    // The service is compiled once for all tests.
    let cache = nimify::cache::root(|name| std::env::var_os(name)).unwrap();
    let folder = home.path().join("digits");
    let create = |more: &[&str]| {
        let mut command = nimify(home.path());
        command.env("NIMIFY_CACHE", &cache).args(["create", "fixtures/digits/digits.onnx", "--yes", "--push"]);
        command.args(["--service", "generic", "--format", "json", "--output"]).arg(&folder).args(more);
        command
    };
    let stderr = fails(&mut create(&[]), 2);
    assert!(stderr.contains("should begin with a registry"), "{stderr}");
    // What can't be pushed is not left behind as if it were.
    let stderr = fails(&mut create(&["--repository", "127.0.0.1:1/ml/digits", "--plain-http"]), 9);
    assert!(stderr.contains("refuses connections") && !folder.exists(), "{stderr}");

    let mut create = create(&["--repository", &repository, "--plain-http"]);
    let report: serde_json::Value = serde_json::from_str(&passes(&mut create)).unwrap();
    let digest = report["digest"].as_str().unwrap();
    assert_eq!(report["pushed"]["repository"], repository);
    assert_eq!((&report["pushed"]["tag"], &report["pushed"]["digest"]), (&"0.1.0".into(), &digest.into()));
    assert!(report["steps"].as_array().unwrap().iter().any(|row| row["step"] == "push"), "{}", report["steps"]);
    let kept = fs::read_to_string(folder.join("dist/report.json")).unwrap();
    assert_eq!(serde_json::from_str::<serde_json::Value>(&kept).unwrap()["pushed"], report["pushed"]);
    let values = fs::read_to_string(folder.join("chart/values.yaml")).unwrap();
    assert!(values.contains(&repository) && values.contains(digest), "{values}");
    let config = fs::read_to_string(folder.join("nimify.yaml")).unwrap();
    assert!(config.contains(&format!("plainHttp:\n  - {}", registry.address)), "{config}");

    // The same from the file: all of it is there, and nothing is signed for elsewhere.
    let mut build = nimify(home.path());
    build.env("NIMIFY_CACHE", &cache).args(["build", "--push", "--locked"]);
    build.args(["--format", "json", "--config"]).arg(folder.join("nimify.yaml"));
    let again: serde_json::Value = serde_json::from_str(&passes(&mut build)).unwrap();
    assert_eq!((&again["digest"], &again["pushed"]["bytesSent"]), (&digest.into(), &0.into()));
    assert_eq!(again["pushed"]["manifestsSent"], 0);
    let digest = digest.parse().unwrap();
    let key = folder.join("dist/cosign.pub");
    cosign_verifies(home.path(), &key, &format!("{repository}@{digest}"));
    assert_eq!(signed_for(&repository, &digest), [repository.as_str()]);
}

/// Whoever trusts only the key that signs for the destination finds all that is stated of the image.
#[test]
fn a_key_that_signs_on_push_attests_what_lies_beside_the_image() {
    let home = tempfile::tempdir().unwrap();
    let registry = Registry::start(&Wishes::default());
    let repository = registry.at("ml/digits");
    let cache = nimify::cache::root(|name| std::env::var_os(name)).unwrap();
    let folder = home.path().join("digits");
    let mut create = nimify(home.path());
    create.env("NIMIFY_CACHE", &cache).args(["create", "fixtures/digits/digits.onnx", "--yes", "--quiet"]);
    passes(create.args(["--service", "generic", "--output"]).arg(&folder));
    let other = tempfile::tempdir().unwrap();
    passes(nimify(other.path()).args(["keys", "generate"]));
    let key = |half: &str| other.path().join(".config/nimify/keys").join(half);
    let push = || {
        let mut push = nimify(home.path());
        push.arg("push").arg(&folder).args(["--to", &repository, "--plain-http", "--format", "json", "--key"]);
        serde_json::from_str::<serde_json::Value>(&passes(push.arg(key("ed25519.key")))).unwrap()
    };
    let pushed = push();
    let image = format!("{repository}@{}", pushed["digest"].as_str().unwrap());
    for kind in ["spdxjson", "cyclonedx", "slsaprovenance1"] {
        cosign_finds(home.path(), "verify-attestation", &key("ed25519.pub"), &image, &["--type", kind]);
    }
    assert_eq!(push()["manifestsSent"], 0, "stated once");

    fs::write(folder.join("dist/provenance.json"), "{}").unwrap();
    let mut push = nimify(home.path());
    push.arg("push").arg(&folder).args(["--to", &repository, "--plain-http", "--key"]);
    let stderr = fails(push.arg(key("ed25519.key")), 7);
    assert!(stderr.contains("`dist/provenance.json` is not as nimify wrote it"), "{stderr}");
}
