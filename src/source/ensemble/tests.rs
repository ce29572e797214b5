use nimify_runtime::signature::{Batching, ModelSignature};

use super::*;
use crate::cache::Cache;
use crate::model::{self, Limits};
use crate::source::{Error, TritonFiles, triton_model};
use crate::triton::InstanceKind;

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
        (
            "control",
            with("sequence_batching { control_input { name: 'START' control { kind: CONTROL_SEQUENCE_START } } }"),
        ),
        ("on-control", one("control")),
        ("reshaped", one("mlp").replacen("dims: 4", "dims: 4 reshape { shape: [ 2, 2 ] }", 1)),
        ("on-reshaped", one("reshaped")),
        ("twice", one("mlp").replace("input {", "input { name: 'x' data_type: TYPE_FP32 dims: 4 } input {")),
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
        ("on-control", "whose step `control` has the input `START` that Triton fills in"),
        ("reshaped", "is an ensemble that has a `reshape`"),
        ("on-reshaped", "whose step `reshaped` has a `reshape`"),
        ("twice", "can't be joined: two of its inputs are named `x`"),
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

fn link(home: &tempfile::TempDir, from: &str, to: &str) {
    let from = home.path().join(from);
    std::fs::create_dir_all(from.parent().unwrap()).unwrap();
    let _ = std::fs::remove_file(&from);
    std::os::unix::fs::symlink(to, from).unwrap();
}

#[test]
fn whatever_changes_makes_the_model_again_wherever_links_lead() {
    let two = ensemble(&[("mlp", &[("x", "x")], &[("y", "three")]), ("wide", &[("x", "x")], &[("y", "y")])]);
    let home = repository(&[("own", two.clone())]);
    let cache = Cache::open(home.path().join("cache")).unwrap();
    let outside = tempfile::tempdir().unwrap();
    let write = |name: &str, text: &str| std::fs::write(outside.path().join(name), text).unwrap();
    let out = |name: &str| outside.path().join(name).display().to_string();
    for (model, name) in [("own", "a.pbtxt"), ("mlp", "b.pbtxt"), ("wide", "c.pbtxt")] {
        write(name, "");
        link(&home, &format!("{model}/{CONFIG}"), &out(name));
    }
    write("a.pbtxt", &two);
    let mut seen = vec![fetched(&home, "own", &cache).unwrap()];
    let mut is_new = |file: PathBuf| {
        let new = !seen.contains(&file);
        seen.push(file);
        new
    };
    for name in ["b.pbtxt", "c.pbtxt"] {
        write(name, "max_batch_size: 3");
        assert!(is_new(fetched(&home, "own", &cache).unwrap()), "{name}");
    }
    write("a.pbtxt", &format!("{two} priority: 1"));
    assert!(is_new(fetched(&home, "own", &cache).unwrap()));
}

#[test]
fn files_that_links_name_alike_are_told_apart() {
    let both = ensemble(&[("a", &[("x", "x")], &[("y", "q")]), ("b", &[("x", "x")], &[("y", "y")])]);
    let home = repository(&[("both", both)]);
    let cache = Cache::open(home.path().join("cache")).unwrap();
    let blobs = home.path().join("blobs");
    std::fs::create_dir_all(&blobs).unwrap();
    let wide = home.path().join("wide/1");
    let weights = std::fs::read(wide.join("external.bin")).unwrap();
    for blob in ["m1", "m2"] {
        std::fs::copy(wide.join("model.onnx"), blobs.join(blob)).unwrap();
    }
    let changed = |byte: u8| {
        let mut weights = weights.clone();
        weights[0] ^= byte;
        weights
    };
    for (model, at) in [("a", 1), ("b", 2)] {
        std::fs::write(blobs.join(format!("w{at}")), changed(at)).unwrap();
        link(&home, &format!("{model}/1/model.onnx"), &format!("../../blobs/m{at}"));
        link(&home, &format!("{model}/1/external.bin"), &format!("../../blobs/w{at}"));
    }
    let first = fetched(&home, "both", &cache).unwrap();
    std::fs::write(blobs.join("w1"), changed(3)).unwrap();
    let second = fetched(&home, "both", &cache).unwrap();
    std::fs::write(blobs.join("w2"), changed(4)).unwrap();
    let third = fetched(&home, "both", &cache).unwrap();
    assert!(first != second && second != third && third != first);
    // The same files, the other way round.
    link(&home, "a/1/external.bin", "../../blobs/w2");
    link(&home, "b/1/external.bin", "../../blobs/w1");
    assert_ne!(fetched(&home, "both", &cache).unwrap(), third);
    // A folder whose model is a link that leads out, which only a look into it tells.
    let outside = tempfile::tempdir().unwrap();
    std::fs::copy(home.path().join("mlp/1/model.onnx"), outside.path().join("x.onnx")).unwrap();
    std::fs::remove_file(home.path().join("a/1/model.onnx")).unwrap();
    link(&home, "a/1/model.onnx/model.onnx", &outside.path().join("x.onnx").display().to_string());
    let error = fetched(&home, "both", &cache).unwrap_err();
    assert!(
        error.contains("step `a` can't be joined: it has a file that leads out of the model repository"),
        "{error}"
    );
}

#[test]
fn a_size_that_is_always_the_same_is_no_rows() {
    let config = crate::triton::read(&ensemble(&[])).unwrap();
    let check = |input: &str, output: &str| {
        let [input, output] = [input, output].map(|tensor| model::parse_tensor(tensor).unwrap());
        let batching = Batching::Unproved { reason: String::new() };
        joined::check_declared(&config, &ModelSignature { inputs: vec![input], outputs: vec![output], batching })
    };
    assert_eq!(check("x:float32[N,4]", "y:float32[N,3]"), Ok(()));
    assert_eq!(check("x:float32[?,4]", "y:float32[?,3]"), Ok(()));
    let said = check("x:float32[2,4]", "y:float32[N,3]").unwrap_err();
    assert!(
        said.contains("takes 9 rows at once (`max_batch_size`), and of its input `x` its steps have [2, 4], always 2")
    );
    assert!(check("x:float32[N,4]", "y:float32[1,3]").unwrap_err().contains("of its output `y` its steps have [1, 3]"));
}

#[test]
fn a_fault_of_the_joined_model_names_no_file_that_is_gone() {
    let path = Path::new("/cache/models/.new/files/model.onnx");
    let error = model::Error::Contents { path: path.into(), fault: model::Fault::NoOutputs };
    assert_eq!(joined::of_joined(&error, path), "the joined model: the model has no outputs");
}

#[test]
fn an_ensemble_that_is_a_link_stands_where_the_link_does() {
    let home = repository(&[]);
    let outside = tempfile::tempdir().unwrap();
    std::fs::write(outside.path().join(CONFIG), ensemble(&[("mlp", &[("x", "x")], &[("y", "y")])])).unwrap();
    link(&home, "linked", &outside.path().display().to_string());
    let cache = Cache::open(home.path().join("cache")).unwrap();
    let file = fetched(&home, "linked", &cache).unwrap();
    let read = model::inspect(&file, &Limits::default()).unwrap();
    assert!(read.contents.metadata.contains_key("joined from linked/config.pbtxt"), "{:?}", read.contents.metadata);
}

#[test]
fn what_steps_ask_for_comes_together_and_the_rest_is_named() {
    let home = repository(&[
        ("outer", ensemble(&[("inner", &[("x", "x")], &[("y", "y")]), ("wide", &[("x", "x")], &[("y", "w")])])),
        (
            "inner",
            ensemble(&[("mlp", &[("x", "x")], &[("y", "y")])])
                .replace("max_batch_size: 9", "max_batch_size: 2 response_cache { enable: true }"),
        ),
        (
            "mlp",
            "max_batch_size: 8 dynamic_batching { max_queue_delay_microseconds: 9 priority_levels: 2 default_queue_policy { max_queue_size: 7 } }
             model_transaction_policy { decoupled: true } sequence_batching { } input { name: 'x' dims: 4 optional: true }
             output { name: 'y' dims: 3 label_filename: 'l' }"
                .into(),
        ),
        (
            "wide",
            "max_batch_size: 8 dynamic_batching { max_queue_delay_microseconds: 3 priority_levels: 5 default_priority_level: 4
             default_queue_policy { max_queue_size: 12 } }"
                .into(),
        ),
    ]);
    let config = triton_model(&home.path().join("outer"), None).unwrap().config;
    assert_eq!(config.max_batch_size, 2);
    let batching = config.dynamic_batching.unwrap();
    assert_eq!((batching.max_queue_delay_us, batching.max_queue_size), (9, 7));
    assert_eq!((batching.priority_levels, batching.default_priority_level), (5, 4));
    let left_out: Vec<_> = config.left_out.iter().map(String::as_str).collect();
    assert_eq!(
        left_out,
        [
            "inner: response_cache",
            "mlp: dynamic_batching.priority_levels",
            "mlp: input.optional",
            "mlp: model_transaction_policy.decoupled",
            "mlp: output.label_filename",
            "mlp: sequence_batching",
            "wide: dynamic_batching.default_queue_policy.max_queue_size",
            "wide: dynamic_batching.max_queue_delay_microseconds",
        ]
    );
}

#[test]
fn a_library_that_several_steps_bring_is_one() {
    let both = ensemble(&[("mlp", &[("x", "x")], &[("y", "q")]), ("wide", &[("x", "x")], &[("y", "y")])]);
    let named = "model_operations { op_library_filename: '1/libops.so' op_library_filename: 'own.so' }";
    let home = repository(&[("both", both), ("mlp", named.into()), ("wide", named.into())]);
    let write = |path: &str, text: &str| std::fs::write(home.path().join(path), text).unwrap();
    for path in ["mlp/1/libops.so", "wide/1/libops.so", "mlp/own.so"] {
        write(path, "same");
    }
    write("wide/own.so", "another");
    let found = triton_model(&home.path().join("both"), None).unwrap().op_libraries;
    let paths: Vec<_> = found.iter().filter_map(|library| library.found.clone().ok()).collect();
    let repository = home.path().canonicalize().unwrap();
    assert_eq!(paths, [repository.join("mlp/1/libops.so"), repository.join("mlp/own.so")]);
    let others: Vec<_> = found.iter().filter_map(|library| library.found.clone().err()).collect();
    assert_eq!(others.len(), 1);
    assert!(others[0].starts_with("is one library in the step `mlp`, which is taken, and another in the step `wide`"));
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
