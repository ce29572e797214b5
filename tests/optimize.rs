//! Prepared graphs, made in real child processes by the real ONNX Runtime.
#![allow(clippy::unwrap_used, reason = "a test that can't go on says where")]

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use nimify::model::Derived;
use nimify::model::{self, ModelDescription, inspect};
use nimify::optimize::{Gain, OptimizeRequest, Outcome, optimize};
use nimify_runtime::codec::predict;
use nimify_runtime::engine::{Engine, LoadOptions, init};

fn onnxruntime() -> PathBuf {
    let path = std::env::var_os("NIMIFY_ONNXRUNTIME");
    path.expect("set NIMIFY_ONNXRUNTIME to ONNX Runtime's library: CONTRIBUTING says how to install it").into()
}

/// Just enough of protobuf to write models that are too large to keep in the repository.
mod onnx {
    fn varint(mut number: u64) -> Vec<u8> {
        let mut bytes = Vec::new();
        while number >= 0x80 {
            bytes.push((number & 0x7f) as u8 | 0x80);
            number >>= 7;
        }
        bytes.push(number as u8);
        bytes
    }

    fn int(field: u64, number: u64) -> Vec<u8> {
        [varint(field << 3), varint(number)].concat()
    }

    fn bytes(field: u64, content: &[u8]) -> Vec<u8> {
        [varint(field << 3 | 2), varint(content.len() as u64), content.to_vec()].concat()
    }

    fn node(operator: &str, inputs: &[&str], output: &str) -> Vec<u8> {
        let inputs = inputs.iter().flat_map(|name| bytes(1, name.as_bytes())).collect();
        bytes(1, &[inputs, bytes(2, output.as_bytes()), bytes(4, operator.as_bytes())].concat())
    }

    fn weights(name: &str, dims: &[u64]) -> Vec<u8> {
        let count = dims.iter().product::<u64>() as u32;
        let element = |k: u32| ((k.wrapping_mul(2_654_435_761) >> 8) as f32 / (1 << 24) as f32 - 0.5).to_le_bytes();
        let data: Vec<u8> = (0..count).flat_map(element).collect();
        let dims = dims.iter().flat_map(|&dim| int(1, dim)).collect();
        bytes(5, &[dims, int(2, 1), bytes(8, name.as_bytes()), bytes(9, &data)].concat())
    }

    fn port(field: u64, name: &str, columns: u64) -> Vec<u8> {
        let shape = [bytes(1, &bytes(2, b"N")), bytes(1, &int(1, columns))].concat();
        let tensor = [int(1, 1), bytes(2, &shape)].concat();
        bytes(field, &[bytes(1, name.as_bytes()), bytes(2, &bytes(1, &tensor))].concat())
    }

    /// `y = last(relu(x · w + b))` with 2 MiB of weights; `last` is an operator of one input.
    pub(super) fn model(last: &str) -> Vec<u8> {
        let graph = [
            node("MatMul", &["x", "w"], "product"),
            node("Add", &["product", "b"], "sum"),
            node("Relu", &["sum"], "rectified"),
            node(last, &["rectified"], "y"),
            bytes(2, b"g"),
            weights("w", &[512, 1024]),
            weights("b", &[1024]),
            port(11, "x", 512),
            port(12, "y", 1024),
        ]
        .concat();
        [int(1, 10), bytes(7, &graph), bytes(8, &[bytes(1, b""), int(2, 21)].concat())].concat()
    }
}

struct Place {
    folder: tempfile::TempDir,
    description: ModelDescription,
}

fn place(last: &str) -> Place {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("large.onnx");
    fs::write(&path, onnx::model(last)).unwrap();
    let description = inspect(&path, &model::Limits::default()).unwrap();
    Place { folder, description }
}

fn sample(value: f32) -> String {
    serde_json::json!({ "x": [vec![value; 512]] }).to_string()
}

impl Place {
    fn ask(&self, executable: &str, sample: Option<&str>, accelerated: bool) -> Outcome {
        let (executable, onnxruntime) = (Path::new(executable), onnxruntime());
        let description = &self.description;
        optimize(&OptimizeRequest {
            executable,
            onnxruntime: &onnxruntime,
            description,
            sample,
            accelerated,
            locales: None,
        })
    }

    fn derived(&self, accelerated: bool) -> (Derived, Gain) {
        match self.ask(env!("CARGO_BIN_EXE_nimify"), Some(&sample(0.5)), accelerated) {
            Outcome::Derived(derived, gain) => (derived, gain),
            Outcome::Kept { reason, .. } => panic!("kept: {reason}"),
        }
    }

    fn kept(&self, executable: &str, sample: Option<&str>) -> (String, bool) {
        match self.ask(executable, sample, false) {
            Outcome::Kept { reason, noteworthy } => (reason, noteworthy),
            Outcome::Derived(..) => panic!("it was taken"),
        }
    }
}

#[test]
fn a_large_model_gets_a_smaller_graph_and_its_weights_a_file_of_their_own() {
    let place = place("Identity");
    let (derived, gain) = place.derived(false);
    let names: Vec<_> = derived.files.iter().map(|file| file.name.as_str()).collect();
    assert_eq!(names, ["large.optimized.data", "large.optimized.onnx"]);
    let size = |k: usize| fs::metadata(&derived.files[k].path).unwrap().len();
    assert!(size(0) >= 2 << 20 && size(1) < 20_000, "{} {}", size(0), size(1));
    let [before, after] = gain.operators;
    assert!(before == 4 && after < before, "{gain:?}");
    assert!(derived.how.starts_with("extended optimizations of ONNX Runtime 1."), "{}", derived.how);

    // It answers other requests than the sample as the original does.
    init(&onnxruntime()).unwrap();
    let signature = &place.description.contents.signature;
    let answer = |path: &Path| {
        let engine = Engine::load(path, &LoadOptions::default()).unwrap().bind(signature).unwrap();
        engine.run(predict::decode(sample(-3.25).as_bytes(), signature).unwrap()).unwrap()
    };
    assert_eq!(answer(&derived.files[1].path), answer(&place.description.path));
}

#[test]
fn the_same_model_gives_the_same_bytes_wherever_it_lies() {
    let digests = |(derived, _): &(Derived, Gain)| derived.files.iter().map(|file| file.digest).collect::<Vec<_>>();
    let (one, other) = (place("Identity"), place("Identity"));
    assert_ne!(one.folder.path(), other.folder.path());
    assert_eq!(digests(&one.derived(false)), digests(&other.derived(false)));
    assert_eq!(digests(&one.derived(true)), digests(&other.derived(true)));
}

#[test]
fn for_accelerators_nothing_is_fused_that_only_the_cpu_knows() {
    let derived = place("Identity").derived(true).0;
    assert!(derived.how.starts_with("basic optimizations"), "{}", derived.how);
    let graph = inspect(&derived.files[1].path, &model::Limits::default()).unwrap();
    let domains = graph.contents.operators.keys().map(|name| name.split(':').next().unwrap());
    assert_eq!(domains.filter(|domain| *domain != "ai.onnx").count(), 0, "{:?}", graph.contents.operators);
}

#[test]
fn the_original_is_kept_where_the_answers_differ_or_nobody_can_tell() {
    let random = place("RandomUniformLike");
    let (reason, noteworthy) = random.kept(env!("CARGO_BIN_EXE_nimify"), Some(&sample(0.5)));
    assert!(noteworthy && reason.contains("another output `y` on the sample"), "{reason}");

    let plain = place("Identity");
    assert_eq!(plain.kept("/bin/true", None), ("there is no sample to compare answers on".into(), false));
    let (reason, noteworthy) = plain.kept(env!("CARGO_BIN_EXE_nimify"), Some("{}"));
    assert!(noteworthy && reason.contains("`x`"), "{reason}");
    // A child that says nothing, and none at all.
    let (reason, noteworthy) = plain.kept("/bin/true", Some("{}"));
    assert!(noteworthy && reason.contains("exit status: 0"), "{reason}");
    assert!(plain.kept("/nowhere", Some("{}")).1);
}

#[test]
fn a_small_model_is_left_as_it_is() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/digits/digits.onnx");
    let description = inspect(&path, &model::Limits::default()).unwrap();
    let digits = Place { folder: tempfile::tempdir().unwrap(), description };
    assert_eq!(digits.kept("/bin/true", Some("{}")), ("it is small".into(), false));
}

#[test]
fn an_image_holds_the_prepared_graph_and_its_lock_says_of_what_it_is_made() {
    let place = place("Identity");
    let nimify = |args: &[&str]| {
        let output = Command::new(env!("CARGO_BIN_EXE_nimify"))
            .args(args)
            .current_dir(place.folder.path())
            .env("NIMIFY_ONNXRUNTIME", onnxruntime())
            .output()
            .unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    };
    let create = ["create", "large.onnx", "--yes", "--quiet", "--unsigned", "--offline", "--service", "generic"];
    nimify(&create);
    let lock = fs::read_to_string(place.folder.path().join("large/nimify.lock")).unwrap();
    let lock = nimify::config::Lock::parse(&lock).unwrap();
    let names = |files: Vec<&str>| files.join(" ");
    assert_eq!(names(lock.model.keys().map(|name| name.as_str()).collect()), "large.onnx");
    assert_eq!(lock.model.values().next().unwrap(), &place.description.digest);
    let derived = lock.derived.as_ref().unwrap();
    let files = names(derived.files.keys().map(|name| name.as_str()).collect());
    assert_eq!(files, "large.optimized.data large.optimized.onnx");
    nimify(&["build", "--config", "large/nimify.yaml", "--locked", "--quiet", "--unsigned", "--offline"]);

    // Asked to leave it, the image is another, with the user's own file.
    let config = place.folder.path().join("large/nimify.yaml");
    let text = fs::read_to_string(&config).unwrap();
    fs::write(&config, text + "engine: { optimize: load }\n").unwrap();
    nimify(&["build", "--config", "large/nimify.yaml", "--quiet", "--unsigned", "--offline"]);
    let again = fs::read_to_string(place.folder.path().join("large/nimify.lock")).unwrap();
    let again = nimify::config::Lock::parse(&again).unwrap();
    assert!(again.derived.is_none() && again.image != lock.image);
}
