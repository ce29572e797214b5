//! The image in a real Docker Engine, confined as a service is.

#![expect(clippy::unwrap_used, reason = "a step that fails, fails the test")]

#[path = "support/docker.rs"]
mod docker;
#[path = "support/small_image.rs"]
mod small_image;

use docker::Engine;
use nimify::image;

#[tokio::test(flavor = "multi_thread")]
async fn an_image_is_loaded_and_runs_without_any_rights() {
    let home = tempfile::tempdir().unwrap();
    let cache = small_image::shared_cache();
    let binary = docker::compile(include_str!("support/probe.rs"), home.path());
    let image = image::assemble(&small_image::request(&binary, home.path(), &cache), &cache).unwrap();
    let layout = home.path().join("image");
    image::write_layout(&image, &layout).unwrap();
    assert_eq!(image::validate(&layout), []);

    let engine = Engine::get();
    let loaded = image::load(&layout, &[], &engine.host.parse().unwrap()).await.unwrap();
    assert_eq!(loaded.tags, ["small:1.2.3", "small:latest"]);
    for tag in &loaded.tags {
        assert_eq!(engine.must(&["image", "inspect", "--format={{.Id}}", tag]), loaded.id);
    }
    let ids = [nimify::digest::Digest::of(&image.config).to_string(), image.digest.to_string()];
    assert!(ids.contains(&loaded.id), "{loaded:?}");

    let output = engine.run_confined(&[], "small:1.2.3", &[]);
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let rights = ["uid=65532 ", "cwd=/nimify ", "read-only=true", "shell=false"];
    for fact in rights.into_iter().chain(["temporary=true", "model=weights", "lower=é"]) {
        assert!(text.contains(fact), "{fact}: {text}");
    }
    assert!(text.contains(&format!("onnxruntime={}", image::onnxruntime::VERSION)), "{text}");
    assert!(!text.contains("certificates=0 "), "{text}");

    the_configuration_is_understood(&engine);
    the_archive_loads_too(&engine, &layout, home.path());
    engine.must(&["image", "rm", "--force", &loaded.id]);
}

fn the_configuration_is_understood(engine: &Engine) {
    let said =
        |field: &str| engine.must(&["image", "inspect", &format!("--format={{{{json {field}}}}}"), "small:1.2.3"]);
    assert_eq!(said(".Config.User"), r#""65532:65532""#);
    assert_eq!(said(".Config.Entrypoint"), r#"["/nimify/service"]"#);
    assert_eq!(said(".Config.WorkingDir"), r#""/nimify""#);
    assert_eq!(said(".Config.ExposedPorts"), r#"{"8000/tcp":{},"8001/tcp":{}}"#);
    assert_eq!(said(".Config.StopSignal"), r#""SIGTERM""#);
    assert!(said(".Config.Healthcheck").contains(r#"["CMD","/nimify/service","healthcheck"]"#));
    assert!(said(".Config.Labels").contains(r#""org.opencontainers.image.description":"A test""#));
    assert_eq!(said(".Architecture"), format!("\"{}\"", image::Architecture::host().unwrap()));
}

fn the_archive_loads_too(engine: &Engine, layout: &std::path::Path, home: &std::path::Path) {
    engine.must(&["image", "rm", "small:1.2.3", "small:latest"]);
    let file = home.join("image.tar");
    image::archive(layout, &mut std::fs::File::create(&file).unwrap()).unwrap();
    engine.must(&["load", "--input", file.to_str().unwrap()]);
    assert!(engine.run_confined(&[], "small:1.2.3", &[]).status.success());
}

#[tokio::test(flavor = "multi_thread")]
async fn what_the_engine_refuses_is_told_in_its_words() {
    let home = tempfile::tempdir().unwrap();
    let cache = small_image::shared_cache();
    let binary = docker::compile(include_str!("support/probe.rs"), home.path());
    let image = image::assemble(&small_image::request(&binary, home.path(), &cache), &cache).unwrap();
    let layout = home.path().join("image");
    image::write_layout(&image, &layout).unwrap();
    let engine = Engine::get();
    let error = image::load(&layout, &["NOT a tag".into()], &engine.host.parse().unwrap()).await.unwrap_err();
    assert!(matches!(error, image::load::Error::Refused { .. }), "{error}");
    // A blob that changed after it was written stops the archive half-way: nothing must be loaded.
    let service = &image.layers[2];
    let mut bytes = std::fs::read(&service.blob).unwrap();
    bytes[100] ^= 1;
    std::fs::write(image::blob_path(&layout, &service.digest), bytes).unwrap();
    let error = image::load(&layout, &["spoilt:1".into()], &engine.host.parse().unwrap()).await.unwrap_err();
    assert!(matches!(error, image::load::Error::Refused { .. }), "{error}");
    assert!(!engine.docker(&["image", "inspect", "spoilt:1"]).status.success());
}

#[tokio::test(flavor = "multi_thread")]
async fn zstandard_is_loaded_or_refused_in_words_that_have_a_hint() {
    let home = tempfile::tempdir().unwrap();
    let cache = small_image::shared_cache();
    let binary = docker::compile(include_str!("support/probe.rs"), home.path());
    let mut request = small_image::request(&binary, home.path(), &cache);
    (request.name, request.compression) = ("zstandard".into(), image::Compression::Zstd);
    let image = image::assemble(&request, &cache).unwrap();
    let layout = home.path().join("image");
    image::write_layout(&image, &layout).unwrap();
    let engine = Engine::get();
    match image::load(&layout, &[], &engine.host.parse().unwrap()).await {
        Ok(loaded) => drop(engine.must(&["image", "rm", "--force", &loaded.id])),
        Err(error) => assert!(error.to_string().contains("invalid tar header"), "{error}"),
    }
}
