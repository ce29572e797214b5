use super::*;
use crate::cache::Cache;
use crate::model::{self, Limits};
use crate::source::{Error, TritonFiles, triton_model};

/// A repository of these configurations and two models; `x` [N, 4] → `y` [N, 3] is `mlp`.
fn repository(configs: &[(&str, String)]) -> tempfile::TempDir {
    let home = tempfile::tempdir().unwrap();
    let fixture = |name: &str| Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/models").join(name);
    for (model, files) in [("mlp", vec!["mlp.onnx"]), ("wide", vec!["external.onnx", "external.bin"])] {
        let folder = home.path().join(model).join("1");
        std::fs::create_dir_all(&folder).unwrap();
        for file in files {
            let name = if file.ends_with(".onnx") { "model.onnx" } else { file };
            std::fs::copy(fixture(file), folder.join(name)).unwrap();
        }
    }
    for (model, config) in configs {
        std::fs::create_dir_all(home.path().join(model)).unwrap();
        std::fs::write(home.path().join(model).join(CONFIG), config).unwrap();
    }
    home
}

fn map(word: &str, pairs: &[(&str, &str)]) -> String {
    pairs.iter().map(|(key, value)| format!("{word} {{ key: '{key}' value: '{value}' }} ")).collect()
}

/// Names by names.
type Map<'a> = &'a [(&'a str, &'a str)];

/// `x` → `y`, by way of these steps.
fn ensemble(steps: &[(&str, Map<'_>, Map<'_>)]) -> String {
    let step = |(model, takes, gives): &(&str, Map<'_>, Map<'_>)| {
        format!("step {{ model_name: '{model}' {} {} }} ", map("input_map", takes), map("output_map", gives))
    };
    let steps: String = steps.iter().map(step).collect();
    format!(
        "platform: 'ensemble' max_batch_size: 9 input {{ name: 'x' data_type: TYPE_FP32 dims: 4 }}
         output {{ name: 'y' data_type: TYPE_FP32 dims: -1 }} ensemble_scheduling {{ {steps} }}"
    )
}

fn fetched(home: &tempfile::TempDir, model: &str, cache: &Cache) -> Result<PathBuf, String> {
    let place = home.path().join(model);
    let shorter = |error: Error| error.to_string().replace(&home.path().display().to_string(), "<r>");
    match triton_model(&place, None).map_err(shorter)?.files {
        TritonFiles::Steps(steps) => steps.fetch("triton://it", cache).map_err(shorter),
        TritonFiles::One(path) => panic!("{path:?}"),
    }
}

#[test]
fn steps_become_one_model_that_is_made_again_where_one_of_them_changes() {
    let both = ensemble(&[("mlp", &[("x", "x")], &[("y", "three")]), ("wide", &[("x", "x")], &[("y", "y")])]);
    let mlp = "max_batch_size: 4 dynamic_batching { max_queue_delay_microseconds: 7 } response_cache { enable: true }
               instance_group [ { kind: KIND_GPU count: 2 } ] model_operations { op_library_filename: 'no.so' }";
    let home = repository(&[("both", both), ("mlp", mlp.into())]);
    let cache = Cache::open(home.path().join("cache")).unwrap();
    let file = fetched(&home, "both", &cache).unwrap();
    let read = model::inspect(&file, &Limits::default()).unwrap();
    assert_eq!(read.contents.signature.outputs[0].value_type.to_string(), "float32 [N, 8]");
    let beside: Vec<_> = read.external_files.iter().map(|file| file.path.as_str()).collect();
    assert_eq!(beside, ["step1/external.bin"]);
    let made_of: Vec<_> = read.contents.metadata.keys().filter_map(|key| key.strip_prefix("joined from ")).collect();
    assert_eq!(
        made_of,
        ["both/config.pbtxt", "mlp/1/model.onnx", "mlp/config.pbtxt", "wide/1/external.bin", "wide/1/model.onnx"]
    );
    assert_eq!(fetched(&home, "both", &cache).unwrap(), file);
    std::fs::write(home.path().join("mlp").join(CONFIG), "max_batch_size: 5").unwrap();
    assert_ne!(fetched(&home, "both", &cache).unwrap(), file);

    std::fs::write(home.path().join("mlp").join(CONFIG), mlp).unwrap();
    let found = triton_model(&home.path().join("both"), None).unwrap();
    let config = found.config;
    assert_eq!((found.version, config.max_batch_size, found.op_libraries.len()), (1, 4, 1));
    assert_eq!(config.dynamic_batching.unwrap().max_queue_delay_us, 7);
    assert_eq!((config.instance_groups[0].kind, config.instance_groups[0].count), (InstanceKind::Gpu, 2));
    assert!(config.left_out.contains("mlp: response_cache"), "{:?}", config.left_out);
}

#[test]
fn what_cannot_be_joined_is_named_with_what_to_do() {
    let one = |model: &str| ensemble(&[(model, &[("x", "x")], &[("y", "y")])]);
    let with = |more: &str| format!("backend: 'onnxruntime' {more}");
    let home = repository(&[
        ("gone", one("nowhere")),
        ("up", one("../mlp")),
        ("self", one("self")),
        ("outer", one("self")),
        ("py", with("").replace("onnxruntime", "python")),
        ("on-py", one("py")),
        ("kept", with("sequence_batching { state { input_name: 'x' output_name: 'y' } }")),
        ("on-kept", one("kept")),
        ("shaped", with("input { name: 'x' dims: 4 reshape { shape: [ 2, 2 ] } }")),
        ("on-shaped", one("shaped")),
        ("empty", with("")),
        ("on-empty", one("empty")),
        ("names", ensemble(&[("mlp", &[("q", "x")], &[("y", "y")])])),
        ("inner", one("mlp")),
        ("on-inner", ensemble(&[("inner", &[("q", "x")], &[("y", "y")])])),
        ("unfed", ensemble(&[("inner", &[], &[("y", "y")])])),
        ("kind", one("mlp").replacen("FP32", "INT64", 1)),
        ("size", one("mlp").replace("dims: 4", "dims: 5")),
        ("rows", one("mlp").replace("max_batch_size: 9", "")),
        ("out", one("link")),
    ]);
    std::os::unix::fs::symlink("/", home.path().join("link")).unwrap();
    let cache = Cache::open(home.path().join("cache")).unwrap();
    for (model, said) in [
        ("gone", "whose step `nowhere` names no model of the repository"),
        ("up", "whose step `../mlp` names no model of the repository"),
        ("out", "whose step `link` leads out of the model repository"),
        ("self", "whose step `self` is an ensemble that has it as a step itself"),
        ("outer", "whose step `self` is an ensemble that has it as a step itself"),
        ("on-py", "whose step `py` is run by `python`, and only ONNX models can be joined into one: export that step"),
        ("on-kept", "whose step `kept` keeps state"),
        ("on-shaped", "whose step `shaped` has a `reshape`"),
        ("on-empty", "whose step `empty` has no folder of a version"),
        ("names", "can't be joined: its step `mlp` has no input `q`: it has `x`"),
        ("on-inner", "whose step `inner` is an ensemble without the input `q`"),
        ("unfed", "whose step `inner` gets nothing for its input `x`"),
        ("kind", "says that its input `x` is int64, and its steps have float32"),
        ("size", "says that its input `x` is [5] beside the rows, and its steps have [N, 4]"),
        ("rows", "says that its input `x` is [4], and its steps have [N, 4]"),
    ] {
        let error = fetched(&home, model, &cache).unwrap_err();
        assert!(error.contains(said), "{model}: {error}");
    }
    assert!(fetched(&home, "inner", &cache).is_ok());
}

#[test]
fn ensembles_within_ensembles_are_bounded() {
    let name = |k: usize| format!("e{k}");
    let mut configs: Vec<(String, String)> =
        (0..12).map(|k| (name(k), ensemble(&[(&name(k + 1), &[("x", "x")], &[("y", "y")])]))).collect();
    let twice = |inner: &str| ensemble(&[(inner, &[("x", "x")], &[("y", "m")]), (inner, &[("x", "x")], &[("y", "y")])]);
    configs
        .extend((0..7).map(|k| (format!("t{k}"), twice(&if k == 6 { "mlp".into() } else { format!("t{}", k + 1) }))));
    let configs: Vec<(&str, String)> = configs.iter().map(|(name, text)| (name.as_str(), text.clone())).collect();
    let home = repository(&configs);
    let cache = Cache::open(home.path().join("cache")).unwrap();
    assert!(fetched(&home, "e0", &cache).unwrap_err().contains("in more than 8 others"));
    assert!(fetched(&home, "t0", &cache).unwrap_err().contains("more than 100 steps"));
    assert!(fetched(&home, "t1", &cache).is_ok());
}
