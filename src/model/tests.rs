//! Whole models: read from bytes, and from files in every state that a file can be in.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

use nimify_runtime::signature::{Batching, Dim, ElementType, Shape, ValueType};
use proptest::prelude::*;

use super::testing::*;
use super::*;

fn read_default(bytes: &[u8]) -> Result<Contents, Fault> {
    read(bytes, &Limits::default())
}

fn parts(parts: &GraphParts) -> Result<Contents, Fault> {
    read_default(parts.model().bytes())
}

fn inspect_default(path: &Path) -> Result<ModelDescription, Error> {
    inspect(path, &Limits::default())
}

#[test]
fn a_model_is_described_whole() {
    let contents = read_default(&full()).unwrap();
    assert_eq!(contents.opsets, BTreeMap::from([("ai.onnx".into(), 20), ("ai.onnx.ml".into(), 3)]));
    assert_eq!((contents.ir_version, contents.model_version), (9, 7));
    assert_eq!(contents.producer_name + &contents.producer_version + &contents.domain, "a test1.2org.example");
    assert_eq!(contents.doc, "A model for tests.");
    assert_eq!(contents.metadata, BTreeMap::from([("author".into(), "nobody".into())]));
    let names = |specs: &[nimify_runtime::signature::ValueSpec]| -> Vec<String> {
        specs.iter().map(|spec| format!("{} {}", spec.name, spec.value_type)).collect()
    };
    assert_eq!(names(&contents.signature.inputs), ["x float32 [N, 4]", "ids int64 [N, S]"]);
    assert_eq!(names(&contents.signature.outputs), ["y float32 [N, 3]"]);
    assert_eq!(contents.operators["ai.onnx:Constant"], 2, "those of both branches");
    assert_eq!(contents.parameters, 12 + 800 + 1 + 2);
    assert_eq!(contents.parameter_bytes, 48 + 800 + 1 + 8);
    assert_eq!(contents.parameter_types[&ElementType::Float32], 3);
    assert_eq!(contents.input_hints["ids"].below, Some(100), "the table has 100 rows");
    assert!(contents.warnings.is_empty() && contents.custom_operators.is_empty(), "{:?}", contents.warnings);
    assert!(matches!(contents.signature.batching, Batching::Unproved { .. }));
}

#[test]
fn shapes_keep_what_is_not_known_apart() {
    let read = |dims: Option<&[&str]>| {
        let x = value("x", &tensor_type(ElementType::String, dims));
        let contents = parts(&GraphParts { inputs: vec![x], ..GraphParts::simple() }).unwrap();
        contents.signature.inputs[0].value_type.clone()
    };
    let is = |dims: Option<Vec<Dim>>| ValueType::Tensor { element_type: ElementType::String, shape: Shape(dims) };
    assert_eq!(read(None), is(None));
    assert_eq!(read(Some(&[])), is(Some(vec![])));
    let dims = read(Some(&["3", "N", "?", "-1", "", "a/b:0"]));
    let named = |name: &str| Dim::Symbolic(name.into());
    let free = || Dim::Unknown;
    assert_eq!(dims, is(Some(vec![Dim::Fixed(3), named("N"), free(), free(), free(), named("a/b:0")])));
}

#[test]
fn types_beyond_tensors_are_read() {
    let tensor = tensor_type(ElementType::Float32, Some(&["N"]));
    let nest = |field: u32, inner: &Message| {
        let mut element = Message::default();
        element.message(1, inner);
        Message::default().message(field, &element).clone()
    };
    let mut map = Message::default();
    map.int(1, 8).message(2, &tensor);
    let map = Message::default().message(5, &map).clone();
    let of = |value_type: &Message| {
        let parts_of = GraphParts { outputs: vec![value("y", value_type)], ..GraphParts::simple() };
        parts(&parts_of).map(|contents| contents.signature.outputs[0].value_type.to_string())
    };
    assert_eq!(of(&nest(4, &map)).unwrap(), "sequence(map(string, float32 [N]))");
    assert_eq!(of(&nest(9, &nest(4, &tensor))).unwrap(), "optional(sequence(float32 [N]))");
    assert_eq!(of(&Message::default()).unwrap_err().to_string(), "output `y` has no type");
    let opaque = Message::default().message(7, &Message::default()).clone();
    assert!(of(&opaque).unwrap_err().to_string().contains("opaque"));
    let deep = (0..10_000).fold(tensor, |inner, _| nest(4, &inner));
    assert_eq!(of(&deep).unwrap_err(), Fault::Limit { what: "levels of nested messages", limit: 100 });
}

#[test]
fn inputs_with_an_initializer_are_not_asked_for() {
    let mut simple = GraphParts::simple();
    simple.inputs.push(float("w", &["1"]));
    simple.initializers.push(tensor("w", ElementType::Float32, &[1], &[0; 4]));
    let contents = parts(&simple).unwrap();
    assert_eq!(contents.signature.inputs.len(), 1);
    assert!(contents.warnings[0].contains("default value") && contents.warnings[0].contains("`w`"));
    // In IR version 3 every initializer has to be an input: nothing worth a word.
    let old = model(3, &[("", 9)], &simple.message());
    assert!(read_default(old.bytes()).unwrap().warnings.is_empty());
}

#[test]
fn bad_values_of_the_graph_are_named() {
    let simple = GraphParts::simple;
    let x = || float("x", &["N"]);
    let of = |element_type| {
        let mut tensor = Message::default();
        tensor.int(1, element_type);
        value("x", Message::default().message(1, &tensor))
    };
    let cases = [
        (GraphParts { inputs: vec![x(), x()], ..simple() }, "two inputs are named `x`"),
        (GraphParts { outputs: vec![x(), x()], ..simple() }, "two outputs are named `x`"),
        (GraphParts { outputs: vec![], ..simple() }, "the model has no outputs"),
        (GraphParts { inputs: vec![x(), float("", &[])], ..simple() }, "input 1 has no name"),
        (GraphParts { inputs: vec![of(0)], ..simple() }, "input `x` has the unknown element type 0"),
        (GraphParts { inputs: vec![of(99)], ..simple() }, "input `x` has the unknown element type 99"),
        (
            GraphParts { initializers: vec![tensor("w", ElementType::Float32, &[2], &[0; 4])], ..simple() },
            "tensor `w` has 4 bytes of data where its shape asks for 8",
        ),
        (
            GraphParts { initializers: vec![tensor("w", ElementType::Float32, &[-2], &[])], ..simple() },
            "tensor `w` has a negative dimension",
        ),
        (
            GraphParts { initializers: vec![tensor("w", ElementType::Int8, &[i64::MAX, 9], &[])], ..simple() },
            "tensor `w` has more elements than can be counted: [9223372036854775807, 9]",
        ),
    ];
    for (graph, text) in cases {
        let fault = parts(&graph).unwrap_err();
        assert_eq!(fault.to_string(), text);
        assert!(fault.hint().is_some(), "{text}");
    }
    let four_bit = tensor("w", ElementType::Int4, &[3], &[0; 2]);
    assert!(parts(&GraphParts { initializers: vec![four_bit], ..simple() }).is_ok(), "small types are packed");
}

#[test]
fn a_model_without_its_parts_is_no_model() {
    let graph = GraphParts::simple().message();
    for (bytes, missing) in [
        (model(8, &[], &graph), "operator set"),
        (model(0, &[("", 17)], &graph), "IR version"),
        (Message::default().int(1, 8).clone(), "graph"),
    ] {
        assert_eq!(read_default(bytes.bytes()), Err(Fault::NotOnnx(format!("it has no {missing}"))));
    }
    let twice = [model(8, &[("", 17)], &graph).bytes(), Message::default().message(7, &graph).bytes()].concat();
    assert!(read_default(&twice).unwrap_err().to_string().contains("there are two of `graph`"));
    let newer = read_default(model(8, &[("", 27)], &graph).bytes());
    assert_eq!(newer, Err(Fault::OpsetTooNew { domain: "ai.onnx".into(), model: 27, supported: 26 }));
    for text in ["hello, world", "<xml/>", "import onnx\n", "\u{0}\u{0}\u{0}"] {
        assert!(matches!(read_default(text.as_bytes()), Err(Fault::NotOnnx(_))), "{text}");
    }
}

#[test]
fn a_model_cut_short_anywhere_is_refused_or_is_what_stands_before_the_cut() {
    let whole = full();
    let mut readable = 0;
    for length in 0..whole.len() {
        if let Ok(contents) = read_default(&whole[..length]) {
            readable += 1;
            assert_eq!(contents.signature, read_default(&whole).unwrap().signature);
        }
    }
    // Protobuf has no end mark: after the graph and an operator set each whole field makes a model.
    assert_eq!(readable, 6);
}

#[test]
fn functions_count_and_may_not_go_round_or_grow_without_end() {
    let with = |functions: &[Message]| {
        let graph = GraphParts { nodes: vec![node_of("own", "f0", &["x"], &["y"], &[])], ..GraphParts::simple() };
        let mut model = model(8, &[("", 17), ("own", 1)], &graph.message());
        functions.iter().for_each(|function| {
            model.message(25, function);
        });
        read_default(model.bytes())
    };
    let call = |name: &str| node_of("own", name, &["x"], &["y"], &[]);
    let relu = node("Relu", &["x"], &["y"], &[]);
    let contents =
        with(&[function("f0", &[call("f1"), call("f1")]), function("f1", std::slice::from_ref(&relu))]).unwrap();
    assert_eq!((contents.operators["own:f1"], contents.operators["ai.onnx:Relu"]), (2, 1));
    assert!(contents.custom_operators.is_empty(), "the model brings them itself");

    let cyclic = |name: &str| Err(Fault::CyclicFunction(format!("own:{name}")));
    assert_eq!(with(&[function("f0", &[call("f0")])]), cyclic("f0"));
    // `f0` leads into the circle and is not on it.
    let round = [function("f0", &[call("f1")]), function("f1", &[call("f2")]), function("f2", &[call("f1")])];
    assert_eq!(with(&round), cyclic("f1"));
    let twice = [function("f0", std::slice::from_ref(&relu)), function("f0", &[])];
    assert_eq!(with(&twice), Err(Fault::Duplicate { what: "function", name: "own:f0".into() }));
    assert_eq!(with(&[function("", &[])]), Err(Fault::NoName { what: "function", position: 0 }));

    let mut growing: Vec<_> =
        (0..40).map(|k| function(&format!("f{k}"), &vec![call(&format!("f{}", k + 1)); 10])).collect();
    growing.push(function("f40", &[relu]));
    assert!(matches!(with(&growing), Err(Fault::Limit { what: "nodes once functions are expanded", .. })));
}

#[test]
fn hostile_amounts_meet_a_limit() {
    let limits =
        Limits { graph_bytes: 40_000, nodes: 100, text_bytes: 1000, name_bytes: 50, rank: 8, ..Limits::default() };
    let what = |bytes: &[u8]| match read(bytes, &limits) {
        Err(Fault::Limit { what, .. }) => what,
        other => panic!("{other:?}"),
    };
    let simple = GraphParts::simple;
    let empty = |count| vec![Message::default(); count];
    let of = |parts: GraphParts| what(parts.model().bytes());
    assert_eq!(of(GraphParts { nodes: empty(101), ..simple() }), "nodes");
    assert_eq!(of(GraphParts { inputs: empty(1001), ..simple() }), "bytes of nodes, attributes, tensors and names");
    assert_eq!(of(GraphParts { inputs: vec![float(&"x".repeat(51), &[])], ..simple() }), "bytes in a name");
    assert_eq!(of(GraphParts { inputs: vec![float("x", &["1"; 9])], ..simple() }), "dimensions of a tensor");
    let long = tensor("w", ElementType::Float32, &[1; 9], &[]);
    assert_eq!(of(GraphParts { initializers: vec![long], ..simple() }), "dimensions of a tensor");
    let doc = [simple().model().bytes(), Message::default().data(6, "x".repeat(1001)).bytes()].concat();
    assert_eq!(what(&doc), "bytes of texts");
    let metadata = [simple().model().bytes(), &[0x72, 0].repeat(100)].concat();
    assert_eq!(what(&metadata), "bytes of texts");
    let graphs = (0..10_000).fold(simple().message(), |inner, _| {
        GraphParts { nodes: vec![node("If", &[], &[], &[holding("then_branch", 6, &inner)])], ..simple() }.message()
    });
    assert_eq!(what(model(8, &[("", 17)], &graphs).bytes()), "levels of nested messages");
}

#[test]
fn operators_tell_what_rules_batching_out_and_what_to_be_warned_of() {
    let of = |nodes: Vec<Message>| parts(&GraphParts { nodes, ..GraphParts::simple() }).unwrap();
    let coupled = of(vec![node("DynamicQuantizeLinear", &["x"], &["q", "s", "z"], &[])]);
    assert!(coupled.signature.batching.reason().starts_with("`ai.onnx:DynamicQuantizeLinear` takes its scale"));
    let training = node("BatchNormalization", &["x"], &["y"], &[int("training_mode", 1)]);
    assert_eq!(of(vec![training]).row_coupling.len(), 1);
    let serving = node("BatchNormalization", &["x"], &["y"], &[int("training_mode", 0)]);
    assert!(of(vec![serving]).row_coupling.is_empty());

    let custom = of(vec![node_of("my.own", "Frobnicate", &["x"], &["y"], &[])]);
    assert_eq!(custom.custom_operators["my.own"], BTreeSet::from(["Frobnicate".into()]));
    assert!(custom.warnings[0].contains("`Frobnicate`"));
    let engine = of(vec![node_of("com.microsoft", "EPContext", &["x"], &["y"], &[])]);
    assert!(engine.warnings[0].contains("native code"), "`embed_mode` is 1 where it is not given");
    let normalizer = |attributes: &[Message]| {
        let contents = of(vec![node_of("", "StringNormalizer", &["x"], &["y"], attributes)]);
        contents.locales.into_iter().collect::<Vec<_>>()
    };
    let text = |name: &str, value: &str| {
        let mut attribute = Message::default();
        attribute.data(1, name).data(4, value).int(20, 3);
        attribute
    };
    let lower = text("case_change_action", "LOWER");
    assert_eq!(normalizer(std::slice::from_ref(&lower)), ["en_US.UTF-8"]);
    assert_eq!(normalizer(&[lower.clone(), text("locale", "tr_TR")]), ["tr_TR"]);
    for harmless in [vec![], vec![lower, text("locale", "C")], vec![text("locale", "tr_TR")]] {
        assert!(normalizer(&harmless).is_empty());
    }
    let complex = value("x", &tensor_type(ElementType::Complex64, None));
    let complex = parts(&GraphParts { inputs: vec![complex], ..GraphParts::simple() }).unwrap();
    assert!(complex.warnings[0].contains("no request or answer can carry"));
    assert_eq!(complex.unserved().map(|(what, spec)| (what, spec.name.as_str())), Some(("input", "x")));
    let sized = parts(&GraphParts { outputs: vec![float("y", &["2*N"])], ..GraphParts::simple() }).unwrap();
    assert!(sized.warnings[0].contains("the expression `2*N`"));
}

#[test]
fn values_are_learnt_from_encoders_tables_and_comparisons() {
    let text = |name| value(name, &tensor_type(ElementType::String, Some(&["N"])));
    let number = |name| value(name, &tensor_type(ElementType::Int64, Some(&["N"])));
    let scalar = |name: &str, value: i64| tensor(name, ElementType::Int64, &[], &value.to_le_bytes());
    let ml = |op, inputs: &[&str], attributes: &[Message]| node_of("ai.onnx.ml", op, inputs, &["_"], attributes);
    let contents = parts(&GraphParts {
        inputs: vec![text("colour"), text("size"), number("class"), number("rate"), number("token"), number("free")],
        nodes: vec![
            node("Concat", &["colour", "size"], &["both"], &[int("axis", 0)]),
            ml("OneHotEncoder", &["both"], &[texts("cats_strings", &["red", "blue"])]),
            ml("LabelEncoder", &["size"], &[texts("keys_strings", &["L"]), floats("values_floats", &[1.0])]),
            node("OneHot", &["class", "depth", "v"], &["_"], &[]),
            node("Equal", &["sixteen", "rate"], &["_"], &[]),
            node("DequantizeLinear", &["table", "scale"], &["floats"], &[]),
            node("Gather", &["floats", "token"], &["_"], &[int("axis", -1)]),
        ],
        initializers: vec![
            scalar("depth", 10),
            scalar("sixteen", 16000),
            tensor("table", ElementType::Int8, &[2, 30], &[0; 60]),
        ],
        ..GraphParts::simple()
    })
    .unwrap();
    let hints = &contents.input_hints;
    assert_eq!(hints.keys().collect::<Vec<_>>(), ["class", "colour", "rate", "size", "token"]);
    assert_eq!(hints["colour"].strings, BTreeSet::from(["red".into(), "blue".into()]));
    assert_eq!(hints["size"].operators, BTreeSet::from(["LabelEncoder".into(), "OneHotEncoder".into()]));
    assert_eq!((hints["class"].below, hints["token"].below), (Some(10), Some(30)));
    assert_eq!(hints["rate"].integers, BTreeSet::from([16000]));
    assert_eq!(contents.parameters, 1 + 1 + 60 + 1, "the numbers of the label encoder count too");
}

#[test]
fn a_file_is_read_with_its_size_and_digest_and_shown() {
    let home = folder(&[("models/full.onnx", &full())]);
    let path = home.path().join("models/full.onnx");
    let description = inspect_default(&path).unwrap();
    assert_eq!((description.file_name.as_str(), description.size), ("full.onnx", full().len() as u64));
    assert_eq!(description.digest, Digest::of(full()));
    assert_eq!(inspect_default(home.path()).unwrap(), description, "a folder is a model when it holds one");
    let json = serde_json::to_value(&description).unwrap();
    assert_eq!(json["signature"]["inputs"][1]["shape"], serde_json::json!(["N", "S"]));
    assert!(!json.to_string().contains(home.path().to_str().unwrap()), "no path of the host comes out");
    insta::assert_snapshot!(text(&description), @r"
    full.onnx  ONNX, 1.4 kB
    sha256:fd9da21404ee756b1d981f0dea98dc4c6e29535bf0857e33b59543a0c24d2026
      about       A model for tests.
      producer    a test 1.2 (org.example), model version 7
      IR version  9
      opsets      ai.onnx 20, ai.onnx.ml 3
      parameters  815, 857 B (float32, int8, bool)
      operators   Constant 2, Add 1, Cast 1, Gather 1, If 1, MatMul 1

    inputs
      x    float32  [N, 4]
      ids  int64    [N, S]

    outputs
      y  float32  [N, 3]

    batching
      unproved, not tried: the model was read, not run

    values seen in the graph
      ids: 0 to 99 (by Gather)

    metadata
      author: nobody
    ");
}

#[test]
fn the_report_shows_texts_of_the_model_harmlessly() {
    let mut model = GraphParts { inputs: vec![float("x\u{1b}[2J\n", &["N"])], ..GraphParts::simple() }.model();
    model.data(6, "\u{202e}doc\u{7}");
    let home = folder(&[("a.onnx", model.bytes())]);
    let report = text(&inspect_default(home.path()).unwrap());
    assert!(report.chars().all(|c| c == '\n' || !c.is_control() && c != '\u{202e}'), "{report:?}");
}

#[test]
fn what_is_no_model_file_is_named_with_a_way_out() {
    let two = folder(&[("a.onnx", b""), ("b/b.ONNX", b""), (".hidden/c.onnx", b"")]);
    let none = folder(&[("weights.safetensors", b"")]);
    let home = folder(&[("empty.onnx", b""), ("note.onnx", b"hello, world"), ("graph.pb", b"hello, world")]);
    let pipe = home.path().join("pipe");
    rustix::fs::mknodat(rustix::fs::CWD, &pipe, rustix::fs::FileType::Fifo, 0o600.into(), 0).unwrap();
    let cases = [
        (two.path().into(), "holds more than one model: ", "name one of them"),
        (none.path().into(), "holds no `.onnx` file", "weights.safetensors"),
        (home.path().join("empty.onnx"), "is empty", "cut off"),
        (home.path().join("empyt.onnx"), "there is no model at", "empty.onnx`?"),
        (home.path().join("x/y/z"), "there is no model at", "path of an `.onnx` file"),
        (home.path().join("note.onnx"), "not an ONNX model: byte 2 is no part of one", "export"),
        (home.path().join("graph.pb"), "is a TensorFlow graph, not ONNX", "tf2onnx"),
        (pipe, "is a pipe, not a regular file", "save the model"),
        ("/dev/zero".into(), "is a device, not a regular file", "save the model"),
    ];
    for (path, message, hint) in cases {
        let error = inspect_default(&path).unwrap_err();
        assert!(error.to_string().contains(message), "{error}");
        assert!(error.hint().unwrap_or_default().contains(hint), "{:?}", error.hint());
    }
    // Tests may run as a user who may read everything: the advice alone is checked.
    let denied = Error::reading(Path::new("m.onnx"), std::io::ErrorKind::PermissionDenied.into());
    assert!(denied.hint().is_some_and(|hint| hint.contains("chmod u+r m.onnx")));
    let small = Limits { file_bytes: 10, ..Limits::default() };
    assert!(matches!(inspect(&home.path().join("note.onnx"), &small), Err(Error::TooLarge { size: 12, .. })));
}

#[test]
fn other_formats_are_known_by_their_first_bytes() {
    let zip = |name: &str| [b"PK\x03\x04", [0; 26].as_slice(), name.as_bytes()].concat();
    let safetensors = [&200u64.to_le_bytes()[..], br#"{"weight":{}}"#].concat();
    for (bytes, format) in [
        (b"\x1f\x8b\x08\0".to_vec(), Foreign::Gzip),
        (b"\x04\x22\x4d\x18".to_vec(), Foreign::Lz4),
        (b"age-encryption.org/v1\n".to_vec(), Foreign::Encrypted),
        (b"Salted__12345678".to_vec(), Foreign::Encrypted),
        (b"\x8c\x0d\x04\x09\x03\x02".to_vec(), Foreign::Encrypted),
        (b"\x85\x02\x0c\x03\x12\x34".to_vec(), Foreign::Encrypted),
        (b"PK\x03\x04\x14\0\x01\0".to_vec(), Foreign::Encrypted),
        (zip("archive/data.pkl"), Foreign::PyTorch),
        (zip("arr_0.npy"), Foreign::NumpyArchive),
        (zip("readme.txt"), Foreign::Zip),
        (b"\x80\x04\x95".to_vec(), Foreign::Pickle),
        (safetensors, Foreign::Safetensors),
        (b"\x89HDF\r\n\x1a\n".to_vec(), Foreign::Hdf5),
        (b"\x1c\0\0\0TFL3".to_vec(), Foreign::TfLite),
        (b"version https://git-lfs.github.com/spec/v1\n".to_vec(), Foreign::LfsPointer),
        (b"<!DOCTYPE html>".to_vec(), Foreign::WebPage),
        (b"{\"learner\": 1}".to_vec(), Foreign::Json),
    ] {
        let home = folder(&[("model.onnx", &bytes)]);
        let error = inspect_default(&home.path().join("model.onnx")).unwrap_err();
        assert!(matches!(&error, Error::Foreign { format: found, .. } if *found == format), "{error}");
        assert!(error.hint().is_some_and(|hint| hint.len() > 20));
    }
    assert_eq!(foreign::recognise(&full()), None);
}

/// A model with one tensor of 3 floats in another file.
fn with_external(entries: &[(&str, &str)]) -> Vec<u8> {
    let parts = GraphParts { initializers: vec![external("w", &[3], entries)], ..GraphParts::simple() };
    parts.model().bytes().to_vec()
}

#[test]
fn external_data_is_checked_and_digested() {
    let model = with_external(&[("location", "./data/w.bin"), ("offset", "4"), ("length", "12")]);
    let home = folder(&[("m.onnx", &model), ("data/w.bin", &[7; 16])]);
    let description = inspect_default(&home.path().join("m.onnx")).unwrap();
    let file = ExternalFile { path: "data/w.bin".parse().unwrap(), size: 16, digest: Digest::of([7; 16]) };
    assert_eq!(description.external_files, [file]);

    fs::write(home.path().join("data/w.bin"), [7; 15]).unwrap();
    let short = inspect_default(&home.path().join("m.onnx")).unwrap_err();
    assert!(short.to_string().ends_with("has 15 bytes, and the tensor's data ends at byte 16"), "{short}");
    fs::remove_file(home.path().join("data/w.bin")).unwrap();
    let gone = inspect_default(&home.path().join("m.onnx")).unwrap_err();
    assert!(gone.to_string().ends_with("`data/w.bin`, which is missing") && gone.hint().is_some(), "{gone}");
    rustix::fs::mknodat(rustix::fs::CWD, home.path().join("data/w.bin"), rustix::fs::FileType::Fifo, 0o600.into(), 0)
        .unwrap();
    let pipe = inspect_default(&home.path().join("m.onnx")).unwrap_err();
    assert!(pipe.to_string().ends_with("which is a pipe, not a regular file"), "{pipe}");
}

#[test]
fn what_holds_weights_is_no_side_file_whatever_it_is_called() {
    let model = with_external(&[("location", "vocab.txt")]);
    let home = folder(&[("m.onnx", &model), ("vocab.txt", &[7; 12]), ("labels.txt", b"a, b\nc\n")]);
    let description = inspect_default(home.path()).unwrap();
    let names: Vec<_> = description.side_files.iter().map(|side| side.name.as_str()).collect();
    assert_eq!((names, description.external_files.len()), (vec!["labels.txt"], 1));
    let told = text(&description);
    assert!(told.contains("2: \"a, b\", \"c\""), "{told}");
}

#[test]
fn what_is_said_of_side_files_goes_with_those_that_are_wanted() {
    let model = GraphParts::simple().model();
    let home = folder(&[("m.onnx", model.bytes()), ("vocab.json", b"<html>"), ("config.json", b"no")]);
    let mut description = inspect_default(home.path()).unwrap();
    let said = |description: &ModelDescription| {
        let said = |name: &&str| description.contents.warnings.iter().any(|told| told.contains(*name));
        ["config.json", "vocab.json"].into_iter().filter(said).collect::<Vec<_>>()
    };
    assert_eq!(said(&description), ["config.json", "vocab.json"]);
    description.retain_side_files(|name| name == "vocab.json");
    assert_eq!(said(&description), ["vocab.json"]);
}

#[test]
fn external_data_is_found_wherever_a_tensor_stands() {
    let hidden = || external("w", &[3], &[("location", "../w")]);
    let mut sparse = Message::default();
    sparse.message(1, &hidden());
    let sparse_attribute = holding("sparse_value", 22, &sparse);
    let attribute = || holding("value", 5, &hidden());
    let branch = GraphParts { initializers: vec![hidden()], ..GraphParts::default() }.message();
    let simple = GraphParts::simple;
    let of = |op, attribute| GraphParts { nodes: vec![node(op, &[], &["y"], &[attribute])], ..simple() }.model();
    let mut graph = simple().message();
    graph.message(15, &sparse);
    let mut in_function = simple().model();
    in_function.message(25, &function("f", &[node("Constant", &[], &["c"], &[attribute()])]));
    for model in [
        GraphParts { initializers: vec![hidden()], ..simple() }.model(),
        model(8, &[("", 17)], &graph),
        of("Constant", attribute()),
        of("Constant", sparse_attribute),
        of("Loop", holding("body", 6, &branch)),
        in_function,
    ] {
        let fault = read_default(model.bytes()).unwrap_err();
        assert!(fault.to_string().starts_with("tensor `w` has its data at `../w`"), "{fault}");
    }
}

#[test]
fn external_data_outside_or_misstated_is_refused() {
    for (entries, problem) in [
        (&[][..], "without a location"),
        (&[("location", "")], "without a location"),
        (&[("location", "/etc/passwd")], "not a path below"),
        (&[("location", "a/../../w")], "not a path below"),
        (&[("location", "a/../w")], "not a path below"),
        (&[("location", "..")], "not a path below"),
        (&[("location", "./")], "not a path below"),
        (&[("location", "w\0")], "not a path below"),
        (&[("location", "w"), ("length", "11")], "has 11 bytes of external data where its shape asks for 12"),
        (&[("location", "w"), ("offset", "-1")], "the offset `-1`, which is no number"),
        (&[("location", "w"), ("offset", "+1")], "the offset `+1`, which is no number"),
        (&[("location", "w"), ("length", "0x0c")], "the length `0x0c`, which is no number"),
        (&[("location", "w"), ("offset", "18446744073709551616")], "which is no number"),
        (&[("location", "w"), ("offset", "18446744073709551615")], "further than any file goes"),
    ] {
        let fault = read_default(&with_external(entries)).unwrap_err();
        assert!(fault.to_string().contains(problem), "{entries:?}: {fault}");
    }
}

#[test]
fn links_may_lead_into_the_models_own_folder_or_blobs_and_nowhere_else() {
    use std::os::unix::fs::symlink;
    let model = with_external(&[("location", "w.bin")]);
    let home = folder(&[("blobs/1", &model), ("blobs/2", &[0; 12]), ("secret/3", &[0; 12]), ("own/m.onnx", &model)]);
    let at = |path: &str| home.path().join(path);
    // A model hub's cache: links to blobs.
    fs::create_dir(at("snapshot")).unwrap();
    symlink("../blobs/1", at("snapshot/m.onnx")).unwrap();
    symlink("../blobs/2", at("snapshot/w.bin")).unwrap();
    assert_eq!(inspect_default(&at("snapshot")).unwrap().external_files.len(), 1);
    // A model that is a file, with a link that leads out.
    symlink("../blobs/2", at("own/w.bin")).unwrap();
    assert!(matches!(inspect_default(&at("own")), Err(Error::Outside { .. })));
    // A link out of the blobs.
    fs::remove_file(at("snapshot/w.bin")).unwrap();
    symlink("../secret/3", at("snapshot/w.bin")).unwrap();
    let outside = inspect_default(&at("snapshot")).unwrap_err();
    assert!(outside.to_string().contains("leads out of the model's folder") && outside.hint().is_some(), "{outside}");
    // Links that stay inside, and hard links, are files like any other.
    fs::remove_file(at("own/w.bin")).unwrap();
    fs::write(at("own/real"), [0; 12]).unwrap();
    symlink("real", at("own/w.bin")).unwrap();
    assert!(inspect_default(&at("own")).is_ok());
    fs::remove_file(at("own/w.bin")).unwrap();
    for file in ["own/real", "secret/3"] {
        // Of whichever folder the other name is: nothing tells the two names apart, and who could make a second one there
        // could copy the file.
        fs::hard_link(at(file), at("own/w.bin")).unwrap();
        assert!(inspect_default(&at("own")).is_ok());
        fs::remove_file(at("own/w.bin")).unwrap();
    }
    let _socket = std::os::unix::net::UnixListener::bind(at("own/w.bin")).unwrap();
    assert!(inspect_default(&at("own")).unwrap_err().to_string().ends_with("is a socket, not a regular file"));
    // A loop, and a folder.
    fs::remove_file(at("own/w.bin")).unwrap();
    symlink("w.bin", at("own/w.bin")).unwrap();
    assert!(matches!(inspect_default(&at("own")), Err(Error::External { .. })));
    fs::remove_file(at("own/w.bin")).unwrap();
    fs::create_dir(at("own/w.bin")).unwrap();
    assert!(inspect_default(&at("own")).unwrap_err().to_string().ends_with("is a folder, not a regular file"));
}

#[test]
fn compiled_engines_beside_the_model_are_files_of_it() {
    let engine = |path: &str| {
        let mut context = Message::default();
        context.data(1, "ep_cache_context").data(4, path).int(20, 3);
        let node = node_of("com.microsoft", "EPContext", &["x"], &["y"], &[context, int("embed_mode", 0)]);
        GraphParts { nodes: vec![node], ..GraphParts::simple() }.model().bytes().to_vec()
    };
    let home = folder(&[("m.onnx", &engine("m.engine")), ("m.engine", b"ftrt")]);
    assert_eq!(inspect_default(home.path()).unwrap().external_files[0].size, 4);
    assert!(read_default(&engine("../m.engine")).is_err());
}

proptest! {
    #[test]
    fn no_bytes_make_a_panic(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
        let _ = read_default(&bytes);
    }

    #[test]
    fn no_change_of_a_model_makes_a_panic(changes in proptest::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..6)) {
        let mut bytes = full();
        for (at, byte) in changes {
            let at = at.index(bytes.len());
            bytes[at] = byte;
        }
        let _ = read_default(&bytes);
    }
}

/// The fuzzer begins from models that this writer makes: `UPDATE_SEEDS=1` writes them again.
#[test]
fn the_fuzzers_seeds_are_models() {
    let function = function("f", &[node("Relu", &["x"], &["y"], &[])]);
    let mut with_function =
        GraphParts { nodes: vec![node_of("own", "f", &["x"], &["y"], &[])], ..GraphParts::simple() }.model();
    with_function.message(25, &function);
    for (name, bytes) in [
        ("simple", GraphParts::simple().model().bytes()),
        ("full", &full()),
        ("external", &with_external(&[("location", "w.bin"), ("offset", "0")])),
        ("function", with_function.bytes()),
    ] {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/seeds/onnx").join(name);
        if std::env::var_os("UPDATE_SEEDS").is_some() {
            fs::write(&path, bytes).unwrap();
        }
        assert!(read_default(bytes).is_ok(), "{name}");
        assert_eq!(fs::read(&path).unwrap(), bytes, "{name}");
    }
}

#[test]
fn the_labels_of_a_zipmap_are_told_with_the_type_of_its_output() {
    let bytes = std::fs::read(concat!(env!("CARGO_MANIFEST_DIR"), "/fixtures/models/map_output.onnx")).unwrap();
    let contents = read(&bytes, &Limits::default()).unwrap();
    let ValueType::Sequence { element } = &contents.signature.outputs[0].value_type else { panic!() };
    let ValueType::Map { labels, .. } = &**element else { panic!("{element}") };
    assert_eq!(labels, &["10", "20", "30"]);
}
