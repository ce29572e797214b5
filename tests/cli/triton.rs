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
    assert_snapshot!(create("triton://models", "out").stderr, @"
    warning: Triton would serve the versions 1, 2 beside 3: a service is one version, and `triton://models@VERSION` names another
    warning: of `config.pbtxt`: `dynamic_batching.preferred_batch_size`: a batch is as large as what waits for it
    warning: of `config.pbtxt`: `response_cache` is not taken over
    ");
    assert_snapshot!(place.read("out/nimify.yaml"), @"
    # What was asked for: `nimify build` in this folder makes the same again.
    apiVersion: nimify/v1
    name: numbers
    model: triton://../models
    version: '3'
    service: generic
    batching:
      maxBatchSize: 16
      maxQueueDelay: 500us
      priorityLevels: 2
    engine:
      provider: cpu
      instances: 2
    ");
    let again = place.run(["build", "--config", "out/nimify.yaml", "--locked"]).with(0);
    assert!(again.stdout.contains("numbers:3"), "{}", again.stdout);
    place.write("models/digits/config.pbtxt", "platform: 'ensemble' ensemble_scheduling { step { model_name: 'a' } }");
    assert_snapshot!(place.run(["inspect", "triton://models/digits"]).refused(3), @"error: `triton://models/digits` is an ensemble, and a service is one model: its steps are `a` ( to ); make a service of each, beginning with `triton://models/a`, or join their graphs into one ONNX model with `onnx.compose.merge_models`");
    place.write("models/digits/config.pbtxt", "max_batch_size: many");
    assert_snapshot!(place.run(["inspect", "triton://models/digits@2"]).refused(3), @"error: `triton://models/digits` has a `config.pbtxt` that can't be read: line 1, column 17: `max_batch_size` should be a whole number in its range, and is many");
}
