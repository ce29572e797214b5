use nimify_runtime::signature::ElementType;
use proptest::prelude::*;

use super::*;
use crate::model::graph::ValueInfo;
use crate::model::testing::{self, GraphParts, external, float, function, holding, node, node_of, tensor, value};
use crate::model::wire::{Field, Message};
use crate::model::{Contents, contents, message, types};

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

fn fields<'a>(message: Message<'a>, number: u32) -> impl Iterator<Item = Field<'a>> {
    message.fields().flatten().filter(move |field| field.number == number)
}

/// The tensors between the steps, with their types.
fn between(bytes: &[u8]) -> Vec<String> {
    let (limits, mut found) = (Limits::default(), Vec::new());
    let budget = Budget::new(&limits);
    let graph = fields(Message::root(bytes, "ModelProto", &budget), 7).next().unwrap();
    for info in fields(graph.message("GraphProto").unwrap(), 13) {
        let info = info.message("ValueInfoProto").unwrap();
        let name = fields(info, 1).next().unwrap().name(100).unwrap();
        let value_type = fields(info, 2).next().map(|field| field.message("TypeProto").unwrap());
        let spec = types::value_spec("value", &ValueInfo { name, value_type }, &limits).unwrap();
        found.push(format!("{} {}", spec.name, spec.value_type));
    }
    found
}

fn with(inputs: &[&str], outputs: &[&str]) -> Vec<u8> {
    GraphParts { inputs: vec![float("x", inputs)], outputs: vec![float("y", outputs)], ..GraphParts::simple() }
        .model()
        .bytes()
        .to_vec()
}

#[test]
fn the_types_of_tensors_between_steps_are_told_as_both_sides_have_them() {
    let (one, two) = (with(&["N", "4"], &["N", "?", "?"]), with(&["M", "4", "?"], &["M", "3"]));
    let steps = vec![step("a", &one, &[("x", "x")], &[("y", "m")]), step("b", &two, &[("x", "m")], &[("y", "y")])];
    let request = request(steps, &["x"], &["y"]);
    assert_eq!(between(&joined(&request).unwrap()), ["steps.0/m float32 [N, 4, ?]"]);
    assert_eq!(shown(&described(&request)), "x float32 [N, 4]; y float32 [N, 3]");
    let maps = testing::maps_type();
    let parts = |input, output| GraphParts { inputs: vec![input], outputs: vec![output], ..GraphParts::simple() };
    let one = parts(float("x", &["N", "4"]), value("y", &maps)).model().bytes().to_vec();
    let two = parts(value("x", &maps), float("y", &["N"])).model().bytes().to_vec();
    let steps = vec![step("a", &one, &[("x", "x")], &[("y", "m")]), step("b", &two, &[("x", "m")], &[("y", "y")])];
    let between = between(&joined(&super::tests::request(steps, &["x"], &["y"])).unwrap());
    assert_eq!(between, ["steps.0/m sequence(map(int64, float32 [step0.a/K]))"]);
}

#[test]
fn a_size_has_one_name_whoever_leaves_it_without() {
    let (named, unnamed, other) =
        (with(&["N", "4"], &["N", "4"]), with(&["?", "4"], &["?", "4"]), with(&["M", "4"], &["M", "4"]));
    let all = |steps: [&[u8]; 3]| {
        let steps =
            ["a", "b", "c"].iter().zip(steps).map(|(name, bytes)| step(name, bytes, &[("x", "x")], &[("y", name)]));
        shown(&described(&request(steps.collect(), &["x"], &["a", "b", "c"])))
    };
    assert_eq!(
        all([&named, &unnamed, &other]),
        "x float32 [N, 4]; a float32 [N, 4]; b float32 [?, 4]; c float32 [N, 4]"
    );
    assert_eq!(
        all([&unnamed, &other, &named]),
        "x float32 [M, 4]; a float32 [?, 4]; b float32 [M, 4]; c float32 [M, 4]"
    );
}

#[test]
fn an_output_may_be_an_input_of_the_whole() {
    let simple = simple();
    let steps = vec![step("a", &simple, &[("x", "x")], &[("y", "y")])];
    let mut request = request(steps, &["x"], &["y", "x"]);
    assert_eq!(shown(&described(&request)), "x float32 [N, 4]; y float32 [N, 4]; x float32 [N, 4]");
    request.outputs.push("y".into());
    assert_eq!(why(&request), "two of its outputs are named `y`");
    request.inputs.push("x".into());
    assert_eq!(why(&request), "two of its inputs are named `x`");
}

#[test]
fn what_no_node_passes_on_is_refused() {
    let of = |value_type: &testing::Message, version| {
        let mut parts = GraphParts::simple();
        parts.inputs.push(value("s", value_type));
        parts.outputs.push(value("s", value_type));
        let model = testing::model(8, &[("", version)], &parts.message()).bytes().to_vec();
        let steps = vec![step("a", &model, &[("x", "x"), ("s", "in")], &[("y", "y"), ("s", "out")])];
        joined(&request(steps, &["x", "in"], &["y", "out"])).map(drop).map_err(|error| error.to_string())
    };
    let inside = |field, inner: &testing::Message| {
        message::build(|m| {
            let element = message::build(|m| {
                m.message(1, inner);
            });
            m.message(field, &element);
        })
    };
    let tensors = inside(4, &testing::tensor_type(ElementType::Float32, Some(&["N"])));
    let optional = inside(9, &tensors);
    assert_eq!((of(&tensors, 14), of(&optional, 16)), (Ok(()), Ok(())));
    assert!(
        of(&tensors, 13)
            .unwrap_err()
            .contains("`s`, which is sequence(float32 [N]), and no operator of the version 13")
    );
    assert!(of(&optional, 15).unwrap_err().contains("`s`, which is optional("));
    assert!(of(&testing::maps_type(), 20).unwrap_err().contains("which is sequence(map("));
}

#[test]
fn operators_that_ask_for_names_find_them() {
    let decoder = GraphParts {
        nodes: vec![node("Gather", &["table", "input_ids"], &["h"], &[]), node("Identity", &["h"], &["logits"], &[])],
        inputs: vec![value("input_ids", &testing::tensor_type(ElementType::Int32, Some(&["B", "S"])))],
        outputs: vec![float("logits", &["B", "S", "5"])],
        initializers: vec![],
    };
    let mut parts = GraphParts::simple();
    parts.initializers.push(tensor("table", ElementType::Float32, &[5, 5], &[0; 100]));
    parts.nodes =
        vec![node_of("com.microsoft", "GreedySearch", &["x"], &["y"], &[holding("decoder", 6, &decoder.message())])];
    let model = testing::model(8, &[("", 17), ("com.microsoft", 1)], &parts.message()).bytes().to_vec();
    let steps = vec![step("a", &model, &[("x", "input_ids")], &[("y", "y")])];
    let bytes = joined(&request(steps, &["input_ids"], &["y"])).unwrap();
    let limits = Limits::default();
    let budget = Budget::new(&limits);
    let whole = walk(&bytes, &budget, &Bounds::new(&limits)).unwrap();
    let decoder = &whole.graph.nodes[0].attributes[0].graphs[0];
    assert_eq!((decoder.inputs[0].name, decoder.outputs[0].name), ("input_ids", "logits"));
    assert_eq!(decoder.nodes[0].inputs, ["step0.a/table", "input_ids"]);
    assert_eq!((decoder.nodes[0].outputs[0], decoder.nodes[1].outputs[0]), ("step0.a/h", "logits"));
    // What stands around the graph isn't taken for what it calls so itself.
    parts.initializers.clear();
    parts.inputs.push(float("table", &["5", "5"]));
    let model = testing::model(8, &[("", 17), ("com.microsoft", 1)], &parts.message()).bytes().to_vec();
    let of = |table: &str| {
        let steps = vec![step("a", &model, &[("x", "x"), ("table", table)], &[("y", "y")])];
        joined(&request(steps, &["x", table], &["y"])).map(drop).map_err(|error| error.to_string())
    };
    assert_eq!(of("w"), Ok(()));
    assert!(
        of("logits").unwrap_err().starts_with("its step `a`: tensor `table` becomes `logits`, and an operator's graph")
    );
}

#[test]
fn versions_count_where_a_step_uses_the_operators() {
    let parts = GraphParts::simple();
    let of = |opsets: &[(&str, i64)]| testing::model(8, opsets, &parts.message()).bytes().to_vec();
    let own = |version| {
        let parts = GraphParts { nodes: vec![node_of("own", "Twice", &["x"], &["y"], &[])], ..GraphParts::simple() };
        testing::model(8, &[("", 17), ("own", version)], &parts.message())
    };
    let both = |one: &[u8], two: &[u8]| {
        let steps = vec![step("a", one, &[("x", "x")], &[("y", "m")]), step("b", two, &[("x", "m")], &[("y", "y")])];
        joined(&request(steps, &["x"], &["y"]))
            .map(|bytes| contents::read(&bytes, &Limits::default()).unwrap().opsets)
            .map_err(|error| error.to_string())
    };
    let (older, newer) = (of(&[("", 17), ("ai.onnx.ml", 3), ("own", 4)]), of(&[("", 17), ("ai.onnx.ml", 5)]));
    assert_eq!(both(&older, &newer).unwrap()["ai.onnx.ml"], 5);
    assert_eq!(both(&older, own(2).bytes()).unwrap()["own"], 2, "the one that is used");
    let said = both(own(2).bytes(), own(3).bytes()).unwrap_err();
    assert!(
        said.ends_with("of the operators `own`, and one graph has one: export one again, for the other's version"),
        "{said}"
    );
    // A model's own functions come along.
    let mut defines = own(3);
    defines.message(25, &function("Twice", &[node("Add", &["x", "x"], &["y"], &[])]));
    assert_eq!(both(own(2).bytes(), defines.bytes()).unwrap()["own"], 2);
    // What the body of one names counts as well.
    let import = |version| {
        let import = message::build(|m| {
            m.data(1, "ai.onnx.ml").int(2, version);
        });
        let mut body = function("Twice", &[node("Add", &["x", "x"], &["y"], &[])]);
        body.message(9, &import);
        let mut model = testing::model(8, &[("", 17), ("own", 1), ("ai.onnx.ml", version)], &parts.message());
        model.message(25, &body);
        model.bytes().to_vec()
    };
    assert!(both(&import(3), &import(4)).unwrap_err().contains("of the operators `ai.onnx.ml`"));
}

#[test]
fn all_steps_together_keep_within_what_one_may_have() {
    let mut parts = GraphParts::simple();
    let one = parts.model().bytes().to_vec();
    parts.inputs = vec![float("x", &["M", "4"])];
    let two = parts.model().bytes().to_vec();
    let limits = Limits { nodes: 1, ..Limits::default() };
    let both = |two: &[u8]| {
        let steps = vec![step("a", &one, &[("x", "x")], &[("y", "m")]), step("b", two, &[("x", "m")], &[("y", "y")])];
        join(&request(steps, &["x"], &["y"]), &limits, &mut Vec::new()).map_err(|error| error.to_string())
    };
    assert_eq!(both(&one), Ok(()), "the same file is read once");
    assert!(both(&two).unwrap_err().starts_with("its step `b`: "));
}

/// Compared pair by pair, or looked for one by one, it would take minutes.
#[test]
fn a_tensor_that_very_many_inputs_take_is_soon_joined() {
    let name = |k: usize| format!("x{k}");
    let mut parts = GraphParts::simple();
    parts.inputs.extend((0..20_000).map(|k| float(&name(k), &["N", "4"])));
    let model = parts.model().bytes().to_vec();
    let mut request = request(vec![step("a", &model, &[("x", "x")], &[("y", "y")])], &["x"], &["y"]);
    request.steps[0].inputs.extend((0..20_000).map(|k| (name(k), wiring::whole("x"))));
    assert_eq!(shown(&described(&request)), "x float32 [N, 4]; y float32 [N, 4]");
}

#[test]
fn licences_of_the_steps_are_those_of_the_whole() {
    let of = |licence: &str| {
        let mut model = GraphParts::simple().model();
        let entry = message::build(|m| {
            m.data(1, "License").data(2, licence);
        });
        model.message(14, &entry);
        model.bytes().to_vec()
    };
    let both = |one: &[u8], two: &[u8]| {
        let steps = vec![step("a", one, &[("x", "x")], &[("y", "m")]), step("b", two, &[("x", "m")], &[("y", "y")])];
        described(&request(steps, &["x"], &["y"])).metadata.get("license").cloned()
    };
    assert_eq!(both(&of("MIT"), &of(" MIT ")).unwrap(), "MIT");
    assert_eq!(both(&of("MIT OR Zlib"), &of("ISC")).unwrap(), "ISC AND (MIT OR Zlib)");
    assert_eq!(both(&of("MIT"), &simple()).unwrap(), "MIT AND NOASSERTION");
    assert_eq!(both(&of(" "), &simple()), None);
}

#[test]
fn a_third_reader_that_does_not_fit_is_named_beside_one_that_it_does_not_fit() {
    let (free, four, five) = (with(&["N", "?"], &["N"]), with(&["N", "4"], &["N"]), with(&["N", "5"], &["N"]));
    let all = [("a", &free), ("b", &four), ("c", &five)];
    let steps = all.iter().map(|(name, bytes)| step(name, bytes, &[("x", "step__")], &[("y", name)])).collect();
    let mut request = request(steps, &["step__"], &["a", "b", "c"]);
    assert_eq!(
        why(&request),
        "the tensor `step__` is float32 [N, 4] as the step `b` has it, and float32 [N, 5] as the step `c` does"
    );
    request.steps.pop();
    request.outputs.pop();
    request.outputs[1] = "deep".into();
    request.steps[1].outputs = wires(&[("y", "deep")]);
    request.steps[1].inputs = wires(&[("x", "a")]);
    assert!(why(&request).contains("`a` is float32 [N]"));
    request.steps[1].bytes = &free;
    let one = with(&["N", "?"], &["N", "?"]);
    request.steps[0].bytes = &one;
    request.outputs.remove(0);
    assert_eq!(between(&joined(&request).unwrap()), ["step___s.0/a float32 [N, ?]"]);
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
