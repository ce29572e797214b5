use nimify_runtime::signature::ElementType;
use proptest::prelude::*;

use super::*;
use crate::model::testing::{self, GraphParts, external, float, function, holding, node, node_of, tensor, value};
use crate::model::{Contents, contents};

fn wires(map: &[(&str, &str)]) -> BTreeMap<String, Wire> {
    map.iter().map(|(own, name)| (own.to_string(), Wire { scope: 0, name: name.to_string() })).collect()
}

fn step<'a>(name: &str, bytes: &'a [u8], inputs: &[(&str, &str)], outputs: &[(&str, &str)]) -> JoinStep<'a> {
    JoinStep { name: name.into(), bytes, inputs: wires(inputs), outputs: wires(outputs) }
}

fn request<'a>(steps: Vec<JoinStep<'a>>, inputs: &[&str], outputs: &[&str]) -> JoinRequest<'a> {
    let names = |names: &[&str]| names.iter().map(|name| name.to_string()).collect();
    let metadata = BTreeMap::from([("made of".to_string(), "two".to_string())]);
    JoinRequest { name: "whole".into(), steps, inputs: names(inputs), outputs: names(outputs), metadata }
}

fn joined(request: &JoinRequest<'_>) -> Result<Vec<u8>, JoinError> {
    let mut bytes = Vec::new();
    join(request, &Limits::default(), &mut bytes)?;
    Ok(bytes)
}

fn described(request: &JoinRequest<'_>) -> Contents {
    contents::read(&joined(request).unwrap(), &Limits::default()).unwrap()
}

fn why(request: &JoinRequest<'_>) -> String {
    joined(request).unwrap_err().to_string()
}

fn shown(contents: &Contents) -> String {
    let signature = &contents.signature;
    let all = signature.inputs.iter().chain(&signature.outputs);
    all.map(|spec| format!("{} {}", spec.name, spec.value_type)).collect::<Vec<_>>().join("; ")
}

/// `x` [N, 4] → `y` [N, 4], of one node.
fn simple() -> Vec<u8> {
    GraphParts::simple().model().bytes().to_vec()
}

/// With a function, a subgraph that uses an outer value, weights here and elsewhere, and metadata.
fn rich() -> Vec<u8> {
    let branch = GraphParts {
        nodes: vec![node_of("own", "Twice", &["x"], &["h"], &[])],
        outputs: vec![float("h", &["N", "4"])],
        ..GraphParts::default()
    };
    let parts = GraphParts {
        nodes: vec![
            node(
                "If",
                &["flag"],
                &["h"],
                &[holding("then_branch", 6, &branch.message()), holding("else_branch", 6, &branch.message())],
            ),
            node("Add", &["h", "w"], &["y"], &[]),
        ],
        inputs: vec![float("x", &["N", "4"])],
        outputs: vec![float("y", &["N", "?"])],
        initializers: vec![
            tensor("flag", ElementType::Bool, &[], &[1]),
            external("w", &[4], &[("location", "./data/w.bin"), ("offset", "16"), ("length", "16")]),
        ],
    };
    let mut model = testing::model(9, &[("", 17), ("own", 1)], &parts.message());
    model.message(25, &function("Twice", &[node("Add", &["x", "x"], &["y"], &[])]));
    model.bytes().to_vec()
}

#[test]
fn two_models_become_one_under_names_of_their_own() {
    let (one, two) = (rich(), rich());
    let steps = vec![step("b", &two, &[("x", "mid")], &[("y", "y")]), step("a", &one, &[("x", "x")], &[("y", "mid")])];
    let request = request(steps, &["x"], &["y"]);
    let contents = described(&request);
    assert_eq!(shown(&contents), "x float32 [N, 4]; y float32 [N, ?]");
    assert_eq!((contents.ir_version, contents.opsets.len()), (9, 2));
    assert_eq!(contents.operators["own:step0.b/Twice"], 2);
    assert!(contents.custom_operators.is_empty(), "{:?}", contents.custom_operators);
    let places: Vec<_> = contents.external.iter().map(|reference| reference.location.as_str()).collect();
    assert_eq!(places, ["step1/data/w.bin", "step0/data/w.bin"]);
    assert_eq!(contents.metadata["made of"], "two");
    assert_eq!(joined(&request).unwrap(), joined(&request).unwrap());
}

#[test]
fn names_that_mean_two_sizes_stay_apart_and_those_that_mean_one_come_together() {
    let simple = simple();
    let whole = |name: &str| Wire { scope: 0, name: name.into() };
    let mut apart = request(
        vec![step("a", &simple, &[("x", "one")], &[("y", "1")]), step("b", &simple, &[("x", "step")], &[("y", "2")])],
        &["one", "step"],
        &["1", "2"],
    );
    assert_eq!(
        shown(&described(&apart)),
        "one float32 [N, 4]; step float32 [step_1.b/N, 4]; 1 float32 [N, 4]; 2 float32 [step_1.b/N, 4]"
    );
    // A tensor that both take makes the two sizes one.
    apart.inputs.pop();
    apart.steps[1].inputs.insert("x".into(), whole("one"));
    assert_eq!(shown(&described(&apart)), "one float32 [N, 4]; 1 float32 [N, 4]; 2 float32 [N, 4]");
    // Tensors of the same name in two scopes are two.
    let inner = Wire { scope: 1, name: "one".into() };
    apart.steps[0].outputs.insert("y".into(), inner.clone());
    apart.steps[1].inputs.insert("x".into(), inner);
    apart.outputs.remove(0);
    assert_eq!(described(&apart).operators["ai.onnx:Identity"], 2);
}

#[test]
fn an_output_that_is_an_input_or_a_weight_gets_a_node() {
    let mut parts = GraphParts::simple();
    parts.outputs.push(float("x", &["N", "4"]));
    parts.outputs.push(float("w", &["1"]));
    parts.initializers.push(tensor("w", ElementType::Float32, &[1], &[0; 4]));
    let model = parts.model().bytes().to_vec();
    let steps = vec![step("a", &model, &[("x", "x")], &[("y", "y"), ("x", "same"), ("w", "weight")])];
    let contents = described(&request(steps, &["x"], &["y", "same", "weight"]));
    assert_eq!(shown(&contents), "x float32 [N, 4]; y float32 [N, 4]; same float32 [N, 4]; weight float32 [1]");
    assert_eq!(contents.operators["ai.onnx:Identity"], 3);
}

#[test]
fn a_weight_that_another_step_gives_is_left_out() {
    let mut parts = GraphParts::simple();
    parts.inputs.push(float("w", &["N", "4"]));
    parts.initializers.push(tensor("w", ElementType::Float32, &[1, 4], &[0; 16]));
    let model = parts.model().bytes().to_vec();
    let plain = step("a", &model, &[("x", "x")], &[("y", "y")]);
    assert_eq!(described(&request(vec![plain], &["x"], &["y"])).parameters, 4);
    let given = step("a", &model, &[("x", "x"), ("w", "z")], &[("y", "y")]);
    let contents = described(&request(vec![given], &["x", "z"], &["y"]));
    assert_eq!(
        (contents.parameters, shown(&contents).as_str()),
        (0, "x float32 [N, 4]; z float32 [N, 4]; y float32 [N, 4]")
    );
}

#[test]
fn what_does_not_fit_is_named() {
    let simple = simple();
    let ab = |a: [(&str, &str); 2], b: [(&str, &str); 2]| {
        let steps = vec![step("a", &simple, &a[..1], &a[1..]), step("b", &simple, &b[..1], &b[1..])];
        why(&request(steps, &["x"], &["y"]))
    };
    for (said, is) in [
        ("its step `a` has no input `q`: it has `x`", ab([("q", "x"), ("y", "m")], [("x", "m"), ("y", "y")])),
        ("its step `b` has no output `q`: it has `y`", ab([("x", "x"), ("y", "m")], [("x", "m"), ("q", "y")])),
        (
            "the tensor `m`, which the step `b` takes, is neither",
            ab([("x", "x"), ("y", "n")], [("x", "m"), ("y", "y")]),
        ),
        ("the tensor `y`, which the answer takes, is neither", ab([("x", "x"), ("y", "m")], [("x", "m"), ("y", "z")])),
        (
            "the tensor `y` is written by the step `a` and by the step `b`",
            ab([("x", "x"), ("y", "y")], [("x", "x"), ("y", "y")]),
        ),
        (
            "the tensor `x` is written by the request and by the step `b`",
            ab([("x", "x"), ("y", "y")], [("x", "y"), ("y", "x")]),
        ),
    ] {
        assert!(is.starts_with(said), "{is}");
    }
    let alone = |inputs: &[(&str, &str)], takes: &[&str]| {
        why(&request(vec![step("a", &simple, inputs, &[("y", "y")])], takes, &["y"]))
    };
    assert_eq!(alone(&[], &[]), "its step `a` gets nothing for its input `x`");
    assert_eq!(alone(&[("x", "x")], &["x", "z"]), "no step takes its input `z`");
    assert!(why(&request(vec![], &[], &[])).starts_with("it has 0 steps"));
    assert!(why(&request(vec![step("a", b"no", &[], &[])], &[], &[])).starts_with("its step `a`: not an ONNX model"));
    let other = testing::model(8, &[("", 18)], &GraphParts::simple().message()).bytes().to_vec();
    let of = |b: &[u8]| {
        why(&request(
            vec![step("a", &simple, &[("x", "x")], &[("y", "m")]), step("b", b, &[("x", "m")], &[("y", "y")])],
            &["x"],
            &["y"],
        ))
    };
    assert!(of(&other).contains("use the versions 17 and 18 of the operators `ai.onnx`"));
    let mut parts = GraphParts::simple();
    parts.inputs = vec![value("x", &testing::tensor_type(ElementType::Int64, Some(&["N", "4"])))];
    assert_eq!(
        of(parts.model().bytes()),
        "the tensor `m` is float32 [N, 4] as the step `a` has it, and int64 [N, 4] as the step `b` does"
    );
    parts.inputs = vec![float("x", &["N", "5"])];
    assert!(of(parts.model().bytes()).contains("float32 [N, 5] as the step `b` does"));
    parts.nodes = vec![node_of("com.microsoft", "EPContext", &["x"], &["y"], &[])];
    assert!(of(parts.model().bytes()).starts_with("its step `b` holds a compiled engine"));
}

#[test]
fn steps_that_wait_for_each_other_are_named() {
    let simple = simple();
    let steps = vec![
        step("a", &simple, &[("x", "n")], &[("y", "m")]),
        step("b", &simple, &[("x", "m")], &[("y", "n")]),
        step("c", &simple, &[("x", "x")], &[("y", "y")]),
    ];
    assert_eq!(why(&request(steps, &["x"], &["y"])), "its steps `a`, `b` wait for each other's tensors");
}

#[test]
fn a_file_that_would_be_too_large_is_not_written() {
    let simple = simple();
    let request = request(vec![step("a", &simple, &[("x", "x")], &[("y", "y")])], &["x"], &["y"]);
    let limits = Limits { file_bytes: 20, ..Limits::default() };
    let mut bytes = Vec::new();
    assert!(matches!(join(&request, &limits, &mut bytes), Err(JoinError::TooLarge { .. })));
    assert!(bytes.is_empty());
}

proptest! {
    #[test]
    fn no_bytes_make_a_panic(cuts in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..6), end in any::<prop::sample::Index>()) {
        let (mut one, two) = (rich(), simple());
        for (at, byte) in cuts {
            let at = at.index(one.len());
            one[at] = byte;
        }
        one.truncate(one.len() - end.index(2) * end.index(one.len()));
        let steps = vec![step("a", &one, &[("x", "x")], &[("y", "m")]), step("b", &two, &[("x", "m")], &[("y", "y")])];
        // What comes of it is read as any file is.
        if let Ok(bytes) = joined(&request(steps, &["x"], &["y"])) {
            let _ = contents::read(&bytes, &Limits::default());
        }
    }
}
