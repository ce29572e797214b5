//! TensorRT engines, whose bytes are made here: a header as TensorRT writes it, and nothing that any TensorRT would run.
//! So all is tried but the last step, which takes a GPU.

use insta::assert_snapshot;

use crate::command::Place;
use crate::prompts::speak;

/// The header of an engine by TensorRT 10.3.0.26, and some bytes.
fn made() -> Vec<u8> {
    [&b"ftrt"[..], &[0; 20], &[10, 3, 0, 26], b"not a real engine"].concat()
}

/// The same after a description, as Ultralytics' exports have it.
fn described() -> Vec<u8> {
    let json = br#"{"description": "Finds cats", "author": "Ultralytics", "version": "8.3.0", "imgsz": [640, 480], "batch": 1}"#;
    [&(json.len() as u32).to_le_bytes()[..], json, &made()].concat()
}

const CONFIG: &str = r#"
platform: "tensorrt_plan"
max_batch_size: 4
input [ { name: "images" data_type: TYPE_FP16 dims: [ 3, -1, 640 ] } ]
output [ { name: "scores" data_type: TYPE_FP32 dims: [ 10 ] } ]
cc_model_filenames [ { key: "8.6" value: "cats.engine" } ]
"#;

#[test]
fn a_made_engine_is_inspected_and_says_what_it_lacks() {
    let place = Place::without_key();
    place.write("cats.engine", described());
    assert_snapshot!(place.run(["inspect", "cats.engine"]).with(0).stdout, @"
    cats.engine  TensorRT engine, 156 B
    sha256:5b3acd86142a127e687fd86c40132016396e83dee675666ade69f27aa403cde3
      about       Finds cats
      producer    Ultralytics 8.3.0
      built by    TensorRT 10.3.0.26
      built for   GPUs that nothing names

    inputs and outputs
      not known: nothing beside the file says them

    metadata
      author: Ultralytics
      batch: 1
      description: Finds cats
      imgsz: [640,480]
      version: 8.3.0

    warnings
      a TensorRT engine is native code: trust it only as you would a program; it runs by the TensorRT and on the GPUs that it was built for alone
    ");
    assert_snapshot!(place.run(["create", "cats.engine", "--yes"]).refused(3), @"
    error: the TensorRT engine `cats.engine` doesn't say what it takes and gives
     hint: say it with `--tensorrt-input NAME:TYPE[SIZES]` and `--tensorrt-output NAME:TYPE[SIZES]`, or put Triton's `config.pbtxt` or a `signature.json` beside it
    ");
    place.write("config.pbtxt", "input { name: images }");
    assert_snapshot!(place.run(["inspect", "cats.engine"]).refused(3), @"
    error: `./config.pbtxt` doesn't say what the engine beside it takes and gives: line 1, column 15: `name` should be a text in quotes, and is images
     hint: mend that file, or say it with `--tensorrt-input NAME:TYPE[SIZES]` and `--tensorrt-output NAME:TYPE[SIZES]`
    ");
    // A graph says all of this itself.
    place.take("digits/digits.onnx");
    let told = ["inspect", "digits.onnx", "--compute-capability", "8.6"];
    assert_snapshot!(place.run(told).refused(2), @"
    error: `digits.onnx` is no TensorRT engine: it says itself what it takes and gives
     hint: leave out `--tensorrt-input`, `--tensorrt-output` and `--compute-capability`
    ");
    let told = ["inspect", "cats.engine", "--tensorrt-input", "x:float[1]", "--tensorrt-output", "y:bool[]"];
    assert_snapshot!(place.run(told).refused(2), @"
    error: invalid value 'x:float[1]' for '--tensorrt-input <TENSOR>': `x:float[1]` is no tensor (`float` is no type such as `float32`): write NAME:TYPE[SIZES], such as `images:float32[batch,3,640,640]`, with `?` for a free size without a name

    For more information, try '--help'.
    ");
}

#[test]
fn a_service_of_a_made_engine_is_built_whole_and_asks_for_a_gpu() {
    let place = Place::new();
    place.write("1/cats.engine", described()).write("config.pbtxt", CONFIG);
    let ended = place.run(["create", "1/cats.engine", "--yes", "--service", "generic"]).with(0);
    assert_snapshot!(ended.stderr, @"
    warning: a TensorRT engine is native code: trust it only as you would a program; it runs by the TensorRT and on the GPUs that it was built for alone
    warning: requests will be joined, on the word of whoever says that up to 4 rows run at once: an engine runs on its GPU alone: nothing was run
    warning: the image has no TensorRT, without which the service ends as it starts: ask for `image.accelerator: tensorrt`, or build on a base that has it
    ");
    assert_snapshot!(place.read("cats/nimify.yaml"), @"
    # What was asked for: `nimify build` in this folder makes the same again.
    apiVersion: nimify/v1
    name: cats
    model: ../1/cats.engine
    version: 0.1.0
    service: generic
    batching:
      maxBatchSize: 4
    tensorrt:
      inputs:
      - images:float16[batch,3,?,640]
      outputs:
      - scores:float32[batch,10]
      computeCapability: '8.6'
      maxBatchSize: 4
    ");
    let lock = place.read("cats/nimify.lock");
    assert!(lock.contains("verdict: stated"), "{lock}");
    let derived = lock.split("derived:").nth(1).and_then(|rest| rest.split("onnxruntime:").next()).unwrap();
    assert!(
        derived.contains("    cats.engine: sha256:") && derived.contains("    cats.engine.onnx: sha256:"),
        "{lock}"
    );
    let values: serde_json::Value = serde_yaml::from_str(&place.read("cats/chart/values.yaml")).unwrap();
    assert_eq!((&values["gpu"]["count"], &values["runtimeClassName"]), (&1.into(), &"nvidia".into()));
    assert_eq!((&values["engine"]["provider"], &values["engine"]["require"]), (&"tensorrt".into(), &true.into()));
    assert_eq!((&values["engine"]["optimize"], &values["batching"]["maxBatchSize"]), (&"never".into(), &4.into()));
    // The same again from what was written, without the file beside the engine.
    std::fs::remove_file(place.at("config.pbtxt")).unwrap();
    let again = place.run(["build", "--config", "cats/nimify.yaml", "--locked"]).with(0);
    assert!(again.stdout.contains("cats:0.1.0"), "{}", again.stdout);
    let config = place.read("cats/nimify.yaml");
    let refused = |change: &str| {
        place.write("cats/nimify.yaml", format!("{config}{change}"));
        let stderr = place.run(["build", "--config", "cats/nimify.yaml"]).refused(4);
        let (warning, error) = stderr.split_once('\n').unwrap();
        assert!(warning.starts_with("warning: a TensorRT engine is native code"), "{stderr}");
        error.to_string()
    };
    assert_snapshot!(refused("engine: { provider: cuda }\n"), @"error: `engine.provider` doesn't fit the model: an engine runs by `tensorrt` alone: leave it out, or name that first");
    assert_snapshot!(refused("engine: { require: false }\n"), @"error: `engine.require` doesn't fit the model: nothing but TensorRT runs an engine: leave it out");
}

#[test]
fn a_made_engine_is_not_run_without_tensorrt_and_a_gpu() {
    let place = Place::without_key();
    place.write("cats.engine", made()).write("config.pbtxt", CONFIG);
    let stderr = place.run(["run", "cats.engine", "--port", "0"]).refused(5);
    let said = "the TensorRT engine can't run here: there is no `libonnxruntime_providers_tensorrt.so` beside ONNX \
                Runtime's library";
    assert!(stderr.contains(said), "{stderr}");
    assert!(stderr.contains("the library is built without it"), "{stderr}");
}

#[test]
fn what_nobody_says_of_a_made_engine_is_asked() {
    let place = Place::new();
    place.write("cats.engine", described());
    let steps = [
        ("images:float32[1,3,640,480]", "\r"),
        ("Outputs", "scores:float32[1,10]\r"),
        ("Name of the service", "\r"),
        ("Version", "\r"),
        ("Image repository", "\r"),
    ];
    let spoken = speak(&place, &steps, &["create", "cats.engine", "--service", "generic"]);
    assert_eq!((spoken.code, &spoken.unasked[..]), (0, &[][..]), "{}", spoken.output);
    let yaml = place.read("cats/nimify.yaml");
    assert!(yaml.contains("images:float32[1,3,640,480]") && yaml.contains("scores:float32[1,10]"), "{yaml}");
}

#[test]
fn a_model_that_runs_a_made_engine_is_built_without_running_it() {
    let place = Place::new();
    place.write("cats.engine", made()).write("config.pbtxt", CONFIG);
    let description = nimify::model::inspect(&place.at("cats.engine"), &nimify::model::Limits::default()).unwrap();
    let wrapped = nimify::model::wrap(&description).unwrap().unwrap();
    for file in &wrapped.files {
        place.write(&format!("compiled/{}", file.name.as_str()), std::fs::read(&file.path).unwrap());
    }
    // A folder holds the model and the engine: the model is what is served.
    let ended = place.run(["create", "compiled", "--name", "cats", "--yes", "--service", "generic"]).with(0);
    for said in [
        "the model runs a compiled engine from a file beside it (`EPContext`): it is native code",
        "the compiled engine in it runs on its own hardware alone: nothing was run",
        "name the execution provider that it was compiled for in `engine.provider`",
    ] {
        assert!(ended.stderr.contains(said), "{}", ended.stderr);
    }
    assert!(place.read("cats/nimify.lock").contains("cats.engine: sha256:"), "the engine is a file of the model");
}

#[test]
fn a_folder_with_nothing_but_a_made_engine_is_one() {
    let place = Place::without_key();
    place.write("cats/1/model.plan", made()).write("cats/config.pbtxt", CONFIG);
    let text = place.run(["inspect", "cats"]).with(0).stdout;
    assert!(text.starts_with("model.plan  TensorRT engine") && text.contains("scores"), "{text}");
}
