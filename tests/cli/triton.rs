//! `triton://`: models of a Triton model repository.

use insta::assert_snapshot;

use crate::command::Place;

const CONFIG: &str = r#"
name: "numbers"
platform: "onnxruntime_onnx"
max_batch_size: 16
dynamic_batching { preferred_batch_size: [ 8 ] max_queue_delay_microseconds: 500 priority_levels: 2 }
instance_group [ { count: 2 kind: KIND_CPU } ]
version_policy { all { } }
response_cache { enable: true }
"#;

#[test]
fn a_model_of_a_repository_becomes_a_service_with_its_settings() {
    let place = Place::new();
    place.take("digits/digits.onnx");
    let model = std::fs::read(place.at("digits.onnx")).unwrap();
    for version in [1, 2, 3] {
        place.write(&format!("models/digits/{version}/model.onnx"), &model);
    }
    place.write("models/digits/config.pbtxt", CONFIG);
    let create = |source: &str, output: &str| {
        place.run(["create", source, "--yes", "--service", "generic", "--output", output]).with(0)
    };
    assert_snapshot!(create("triton://models", "out").stderr, @"");
    assert_snapshot!(place.read("out/nimify.yaml"), @"");
    let again = place.run(["build", "--config", "out/nimify.yaml", "--locked"]).with(0);
    assert!(again.stdout.contains("numbers:3"), "{}", again.stdout);
    place.write("models/digits/config.pbtxt", "platform: 'ensemble' ensemble_scheduling { step { model_name: 'a' } }");
    assert_snapshot!(place.run(["inspect", "triton://models/digits"]).refused(3), @"");
    place.write("models/digits/config.pbtxt", "max_batch_size: many");
    assert_snapshot!(place.run(["inspect", "triton://models/digits@2"]).refused(3), @"");
}
