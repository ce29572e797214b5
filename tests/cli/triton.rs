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
    // A model that keeps state, with a library that isn't there.
    place.take("models/state.onnx");
    place.write("state/1/model.onnx", std::fs::read(place.at("state.onnx")).unwrap());
    place.write(
        "state/config.pbtxt",
        "backend: 'onnxruntime' model_operations { op_library_filename: 'own.so' } sequence_batching {
           state { input_name: 'state' output_name: 'next_state' data_type: TYPE_FP32 dims: [ 2, -1, 4 ] }
           control_input { name: 'READY' control { kind: CONTROL_SEQUENCE_READY } } }",
    );
    assert_snapshot!(create("triton://state", "kept").stderr, @"
    warning: of `config.pbtxt`: `sequence_batching.control_input` `READY` (CONTROL_SEQUENCE_READY): nobody fills it in: clients send it as an input, yes each time
    warning: of `config.pbtxt`: `model_operations.op_library_filename` `own.so` is in none of the folders of the version, the model and the repository: give it with `--custom-ops`
    warning: requests will run one by one: input `state`, float32 [2, N, 4], has no free dimension where the others have one
    ");
    place.write("state/own.so", "no library");
    let probed = place.run(["inspect", "triton://state", "--probe"]).refused(6);
    assert!(probed.contains("own.so` can't be read as a 64-bit Linux program or library"), "{probed}");
    let config = place.read("kept/nimify.yaml");
    assert_snapshot!(config.split("service: generic\n").nth(1).unwrap(), @"
    state:
      pairs:
      - output: next_state
        input: state
        shape:
        - 2
        - 1
        - 4
    ");
    place.write("models/digits/config.pbtxt", "platform: 'ensemble' ensemble_scheduling { step { model_name: 'a' } }");
    assert_snapshot!(place.run(["inspect", "triton://models/digits"]).refused(3), @"error: `triton://models/digits` is an ensemble whose step `a` names no model of the repository");
    place.write("models/digits/config.pbtxt", "max_batch_size: many");
    assert_snapshot!(place.run(["inspect", "triton://models/digits@2"]).refused(3), @"error: `triton://models/digits` has a `config.pbtxt` that can't be read: line 1, column 17: `max_batch_size` should be a whole number in its range, and is many");
}

const TICKETS: &str = "platform: 'ensemble' max_batch_size: 16
input [ { name: 'ids' data_type: TYPE_INT64 dims: -1 }, { name: 'mask' data_type: TYPE_INT64 dims: -1 } ]
output { name: 'scores' data_type: TYPE_FP32 dims: 3 }
ensemble_scheduling {
  step { model_name: 'classify' input_map { key: 'x' value: 'vector' } output_map { key: 'y' value: 'scores' } }
  step {
    model_name: 'embed'
    input_map [ { key: 'input_ids' value: 'ids' }, { key: 'attention_mask' value: 'mask' } ]
    output_map { key: 'embedding' value: 'vector' }
  }
}";

#[test]
fn an_ensemble_becomes_one_service_that_its_steps_pin() {
    let place = Place::new();
    for (model, fixture) in [("embed", "tokens.onnx"), ("classify", "mlp.onnx")] {
        place.take(&format!("models/{fixture}"));
        place.write(&format!("models/{model}/1/model.onnx"), std::fs::read(place.at(fixture)).unwrap());
    }
    place.write("models/tickets/config.pbtxt", TICKETS);
    place.write("models/embed/config.pbtxt", "max_batch_size: 8 dynamic_batching { } response_cache { enable: true }");
    let source = "triton://models/tickets";
    let ended = place.run(["create", source, "--yes", "--service", "generic", "--output", "out"]).with(0);
    assert_snapshot!(ended.stderr, @"warning: of `config.pbtxt`: `embed: response_cache` is not taken over");
    assert!(ended.stdout.contains("requests are joined along axis 0"), "{}", ended.stdout);
    assert_snapshot!(place.read("out/nimify.yaml"), @"
    # What was asked for: `nimify build` in this folder makes the same again.
    apiVersion: nimify/v1
    name: tickets
    model: triton://../models/tickets
    version: '1'
    service: generic
    batching:
      maxBatchSize: 8
    ");
    place.run(["build", "--config", "out/nimify.yaml", "--locked"]).with(0);
    place.write("models/embed/config.pbtxt", "max_batch_size: 4");
    let refused = place.run(["build", "--config", "out/nimify.yaml", "--locked"]).refused(4);
    assert!(refused.contains("`model.model.onnx` is sha256:"), "{refused}");
    place.write("models/embed/config.pbtxt", "backend: 'dali'");
    let refused = place.run(["inspect", source]).refused(3);
    assert!(refused.contains("whose step `embed` is run by `dali`, and only ONNX models can be joined"), "{refused}");
}
