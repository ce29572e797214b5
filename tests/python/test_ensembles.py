"""Ensembles of Triton's, whose steps are joined into one model: the same answers as the steps give one after another, by
ONNX Runtime in Python, and by the service; and a file that ONNX's own checker takes.
"""
import numpy as np
import onnx
import onnxruntime
from onnx import TensorProto, helper, numpy_helper

from service import Served, to_json
from test_state import by_hand, layers, over_v1

FLOAT, INT32, INT64, BOOL = TensorProto.FLOAT, TensorProto.INT32, TensorProto.INT64, TensorProto.BOOL
OPSETS = [helper.make_opsetid("", 17), helper.make_opsetid("own", 1)]


def value(name, *dims, kind=FLOAT):
    return helper.make_tensor_value_info(name, kind, list(dims))


def weight(name, array):
    return numpy_helper.from_array(np.array(array, "float32"), name)


def model(nodes, inputs, outputs, weights=(), functions=(), opsets=OPSETS, ir_version=8):
    graph = helper.make_graph(nodes, "g", inputs, outputs, list(weights))
    made = helper.make_model(graph, opset_imports=opsets, functions=functions, ir_version=ir_version)
    helper.set_model_props(made, {"who": "a test"})
    return made


def scaled(by):
    """A function that every step has under the same name, and that does something else in each."""
    nodes = [
        helper.make_node("Constant", [], ["w"], value_float=float(by)),
        helper.make_node("Mul", ["x", "w"], ["h"]),
        helper.make_node("Relu", ["h"], ["y"]),
    ]
    return helper.make_function("own", "Scaled", ["x"], ["y"], nodes, [OPSETS[0]])


def nested(by):
    """A function that calls another."""
    nodes = [helper.make_node("Scaled", ["x"], ["h"], domain="own"), helper.make_node("Neg", ["h"], ["y"])]
    return helper.make_function("own", "Nested", ["x"], ["y"], nodes, OPSETS)


def first():
    """Calls its function, and gives its input and a weight as outputs too."""
    nodes = [
        helper.make_node("Scaled", ["x"], ["h"], domain="own", name="node"),
        helper.make_node("Add", ["h", "w"], ["y"], name="other"),
    ]
    outputs = [value("y", "N", 4), value("x", "N", 4), value("w", 4)]
    return model(nodes, [value("x", "N", 4)], outputs, [weight("w", [1, -2, 3, -4])], [scaled(3)])


def second():
    """Subgraphs that use what stands around them, and a size that is called as another's is."""
    branch = lambda name, op: helper.make_graph([helper.make_node(op, ["a", "w"], ["h"])], name, [], [value("h", "K", 4)])
    body = helper.make_graph(
        [
            helper.make_node("Identity", ["on"], ["still"]),
            helper.make_node("Add", ["state", "picked"], ["next"]),
            helper.make_node("Nested", ["next"], ["each"], domain="own"),
        ],
        "body",
        [value("i", kind=INT64), value("on", kind=BOOL), value("state", "K", 4)],
        [value("still", kind=BOOL), value("next", "K", 4), value("each", "K", 4)],
    )
    nodes = [
        helper.make_node("ReduceSum", ["a"], ["sum"], keepdims=0),
        helper.make_node("Constant", [], ["zero"], value_float=0.0),
        helper.make_node("Greater", ["sum", "zero"], ["positive"]),
        helper.make_node("If", ["positive"], ["picked"], then_branch=branch("t", "Mul"), else_branch=branch("e", "Sub")),
        helper.make_node("Constant", [], ["times"], value_int=3),
        helper.make_node("Loop", ["times", "", "a"], ["h", "all"], body=body),
        helper.make_node("ReduceMean", ["all"], ["mean"], axes=[0], keepdims=0),
    ]
    outputs = [value("h", "K", 4), value("mean", "K", 4)]
    return model(nodes, [value("a", "K", 4)], outputs, [weight("w", [2, 2, 0.5, 1])], [scaled(0.25), nested(2)])


def third(ir_version):
    """Lists its weights as inputs: in the old format they are none, in the new one one of them is given by a step."""
    nodes = [
        helper.make_node("MatMul", ["x", "w"], ["h"]),
        helper.make_node("Add", ["h", "bias"], ["y"]),
    ]
    weights = [weight("w", np.arange(16).reshape(4, 4) / 7), weight("bias", [1, 1, 1, 1])]
    inputs = [value("x", "N", 4), value("w", 4, 4), value("bias", 4)]
    return model(nodes, inputs, [value("y", "N", 4)], weights, opsets=OPSETS[:1], ir_version=ir_version)


def classifier():
    """Of other operators, with maps as its answer."""
    opsets = [helper.make_opsetid("ai.onnx.ml", 3), OPSETS[0]]
    nodes = [
        helper.make_node(
            "LinearClassifier", ["x"], ["label", "scores"], domain="ai.onnx.ml",
            coefficients=[0.1, -0.2, 0.3, 0.4, -0.1, 0.2, -0.3, -0.4], intercepts=[0.5, -0.5], classlabels_ints=[3, 7],
            post_transform="SOFTMAX",
        ),
        helper.make_node("ZipMap", ["scores"], ["maps"], domain="ai.onnx.ml", classlabels_int64s=[3, 7]),
    ]
    kind = helper.make_sequence_type_proto(helper.make_map_type_proto(INT64, helper.make_tensor_type_proto(FLOAT, [])))
    outputs = [value("label", "rows", kind=INT64), helper.make_value_info("maps", kind)]
    return model(nodes, [value("x", "rows", 4)], outputs, opsets=opsets)


def generator():
    """A text goes on as a table says: an operator that asks its graph for names, one of which is a weight's around it."""
    words = 7
    table = np.full((words, words), -1)
    for word in range(words):
        table[word, (3 * word + 1) % words] = 5
    nodes = [
        helper.make_node("Gather", ["table", "input_ids"], ["rows"]),
        helper.make_node("Identity", ["rows"], ["logits"]),
        helper.make_node("Cast", ["input_ids"], ["numbers"], to=FLOAT),
        helper.make_node("Unsqueeze", ["numbers", "axes"], ["one"]),
        helper.make_node("Concat", ["one", "one"], ["two"], axis=0),
        helper.make_node("Concat", ["two", "two"], ["four"], axis=4),
        helper.make_node("Concat", ["past_0", "four"], ["present_0"], axis=3),
    ]
    takes = [value(name, "B", size, kind=INT32) for name, size in
             (("input_ids", "S"), ("position_ids", "S"), ("attention_mask", "A"))]
    decoder = helper.make_graph(
        nodes, "decoder", [*takes, value("past_0", 2, "B", 1, "P", 2)],
        [value("logits", "B", "S", words), value("present_0", 2, "B", 1, "Q", 2)],
        [numpy_helper.from_array(np.array([0, 2, 4]), "axes")],
    )
    node = helper.make_node(
        "GreedySearch", ["input_ids", "most"], ["sequences"], domain="com.microsoft", decoder=decoder, model_type=0,
        eos_token_id=6, pad_token_id=0, no_repeat_ngram_size=0, vocab_size=words,
    )
    most = numpy_helper.from_array(np.array([6], "int32"), "most")
    opsets = [OPSETS[0], helper.make_opsetid("com.microsoft", 1)]
    inputs, outputs = [value("input_ids", "N", "L", kind=INT32)], [value("sequences", "N", "M", kind=INT32)]
    return model([node], inputs, outputs, [most, weight("table", table)], opsets=opsets)


def cast(to, out):
    """`x` of one kind of integers, and the same as the other kind."""
    return model([helper.make_node("Cast", ["x"], ["y"], to=to)], [value("x", "N", "L", kind=INT64 if to == INT32 else INT32)],
                 [value("y", "N", out, kind=to)], opsets=OPSETS[:1])


def quoted(name):
    return '"' + name + '"'


class Repository:
    """A model repository of Triton's, and what it would answer."""

    def __init__(self, folder):
        self.folder, self.ensembles, self.models = folder, {}, {}

    def add(self, name, made, version=1, external=False):
        folder = self.folder / name / str(version)
        folder.mkdir(parents=True)
        more = {"save_as_external_data": True, "location": "weights.bin", "size_threshold": 0} if external else {}
        onnx.save_model(made, str(folder / "model.onnx"), **more)
        self.models[name] = str(folder / "model.onnx")

    def ensemble(self, name, inputs, outputs, steps):
        """`steps`: name of the model, map of its inputs, map of its outputs."""
        self.ensembles[name] = (inputs, outputs, steps)
        kinds = {"label": "TYPE_INT64 dims: [ ]", "maps": "TYPE_INVALID dims: [ ]"}
        tensor = lambda name: f"{{ name: {quoted(name)} data_type: {kinds.get(name, 'TYPE_FP32 dims: [ 4 ]')} }}"
        pairs = lambda word, map: " ".join(f"{word} {{ key: {quoted(k)} value: {quoted(v)} }}" for k, v in map.items())
        step = lambda model, takes, gives: (
            f"{{ model_name: {quoted(model)} {pairs('input_map', takes)} {pairs('output_map', gives)} }}"
        )
        texts = {kind: ", ".join(map(tensor, names)) for kind, names in (("input", inputs), ("output", outputs))}
        (self.folder / name / "1").mkdir(parents=True)
        (self.folder / name / "config.pbtxt").write_text(
            f"platform: 'ensemble' max_batch_size: 8\ninput [ {texts['input']} ]\n"
            f"output [ {texts['output']} ]\n"
            f"ensemble_scheduling {{ step [ {', '.join(step(*one) for one in steps)} ] }}\n"
        )

    def answer(self, name, given):
        """What the steps give one after another."""
        if name in self.models:
            session = onnxruntime.InferenceSession(self.models[name], providers=["CPUExecutionProvider"])
            names = [output.name for output in session.get_outputs()]
            return dict(zip(names, session.run(names, given)))
        inputs, outputs, steps = self.ensembles[name]
        tensors, open = {own: given[own] for own in inputs}, list(steps)
        while open:
            ready = next(step for step in open if all(tensor in tensors for tensor in step[1].values()))
            open.remove(ready)
            model, takes, gives = ready
            answer = self.answer(model, {own: tensors[tensor] for own, tensor in takes.items()})
            tensors |= {tensor: answer[own] for own, tensor in gives.items()}
        return {own: tensors[own] for own in outputs}


def repository(folder):
    made = Repository(folder)
    made.add("first", first())
    made.add("second", second(), external=True)
    made.add("third", third(3))
    made.add("fourth", third(8))
    made.add("classifier", classifier())
    # Steps in no order, a model that is there twice, and names that mean other things around them.
    made.ensemble("inner", ["x", "w"], ["y", "mid"], [
        ("third", {"x": "fourth"}, {"y": "y"}),
        ("fourth", {"x": "mid", "bias": "w"}, {"y": "fourth"}),
        ("second", {"a": "x"}, {"mean": "mid"}),
    ])
    made.ensemble("whole", ["x", "step"], ["y", "mid", "label", "maps", "same"], [
        ("classifier", {"x": "y"}, {"label": "label", "maps": "maps"}),
        ("inner", {"x": "h", "w": "w"}, {"y": "y", "mid": "deep"}),
        ("first", {"x": "x"}, {"y": "h", "x": "same", "w": "w"}),
        ("second", {"a": "step"}, {"h": "all of step"}),
        ("second", {"a": "all of step"}, {"mean": "mid"}),
    ])
    return made


def same(one, other):
    if isinstance(one, list):
        assert len(one) == len(other)
        for a, b in zip(one, other):
            assert a.keys() == b.keys()
            assert np.allclose(list(a.values()), list(b.values()), rtol=1e-5, atol=1e-6)
    else:
        assert one.shape == other.shape and one.dtype == other.dtype
        assert np.allclose(one, other, rtol=1e-5, atol=1e-6)


def joined(nimify, folder, cache):
    nimify("inspect", f"triton://{folder}", NIMIFY_CACHE=str(cache))
    [file] = cache.glob("models/*/files/model.onnx")
    return file


def test_a_joined_ensemble_gives_what_its_steps_give(nimify, tmp_path):
    models = repository(tmp_path / "models")
    file = joined(nimify, models.folder / "whole", tmp_path / "cache")
    again = joined(nimify, models.folder / "whole", tmp_path / "another cache")
    assert file.read_bytes() == again.read_bytes() and file.parent.parent.name == again.parent.parent.name
    onnx.checker.check_model(str(file), full_check=True)
    session = onnxruntime.InferenceSession(str(file), providers=["CPUExecutionProvider"])
    names = [output.name for output in session.get_outputs()]
    assert names == ["y", "mid", "label", "maps", "same"]
    draw = np.random.default_rng(7)
    requests = [
        {name: draw.normal(size=(rows, 4)).astype("float32") for name in ("x", "step")} for rows in (1, 3, 1, 5)
    ]
    # One whose sum is positive and one whose isn't: both branches.
    requests += [{"x": np.full((2, 4), sign, "float32"), "step": np.full((2, 4), sign, "float32")} for sign in (-1, 1)]
    expected = [models.answer("whole", given) for given in requests]
    for given, answer in zip(requests, expected):
        for name, value in zip(names, session.run(names, given)):
            same(value, answer[name])
    environment = {"NIMIFY_CACHE": str(tmp_path / "cache"), "NIMIFY_ONNXRUNTIME": nimify.environment["NIMIFY_ONNXRUNTIME"]}
    with Served(nimify, f"triton://{models.folder / 'whole'}", tmp_path / "log", **environment) as service:
        for given, answer in zip(requests, expected):
            got = service.predict({name: to_json(value) for name, value in given.items()})
            for name in ("y", "mid", "label", "same"):
                same(np.array(got[name], answer[name].dtype), answer[name])
            maps = [{int(key): value for key, value in row.items()} for row in got["maps"]]
            same(maps, answer["maps"])


def test_a_step_that_generates_finds_the_names_that_it_asks_for(nimify, tmp_path):
    models = Repository(tmp_path / "models")
    for name, made in (("narrow", cast(INT32, "L")), ("generator", generator()), ("wide", cast(INT64, "M"))):
        models.add(name, made)
    # The whole's own tensors are called as those of the graph within are.
    steps = [
        ("narrow", {"x": "input_ids"}, {"y": "ids"}),
        ("generator", {"input_ids": "ids"}, {"sequences": "sequences"}),
        ("wide", {"x": "sequences"}, {"y": "logits"}),
    ]
    models.ensemble("whole", ["input_ids"], ["logits"], steps)
    config = models.folder / "whole" / "config.pbtxt"
    config.write_text(config.read_text().replace("TYPE_FP32 dims: [ 4 ]", "TYPE_INT64 dims: [ -1 ]"))
    file = joined(nimify, models.folder / "whole", tmp_path / "cache")
    session = onnxruntime.InferenceSession(str(file), providers=["CPUExecutionProvider"])
    given = {"input_ids": np.array([[1, 2], [3, 1]])}
    [answer] = session.run(["logits"], given)
    assert answer.tolist() == [[1, 2, 0, 1, 4, 0], [3, 1, 4, 0, 0, 0]]
    same(answer, models.answer("whole", given)["logits"])


def test_a_model_that_is_run_at_once_keeps_the_state_that_triton_does(nimify, tmp_path):
    file, pairs, pieces, sizes = layers()
    wanted = by_hand(file, pairs, pieces, sizes)
    folder = tmp_path / "models" / "layers"
    (folder / "1").mkdir(parents=True)
    (folder / "1" / "model.onnx").write_bytes(file.read_bytes())
    [pair] = pairs
    kept = f"input_name: {quoted(pair['input'])} output_name: {quoted(pair['output'])} dims: [ 2, 2, 4 ]"
    control = "control_input { name: 'READY' control { kind: CONTROL_SEQUENCE_READY } }"
    (folder / "config.pbtxt").write_text(f"backend: 'onnxruntime' sequence_batching {{ state {{ {kept} }} {control} }}")
    with Served(nimify, f"triton://{folder}", tmp_path / "log") as service:
        for k, (piece, answer) in enumerate(zip(pieces, wanted)):
            got = over_v1(service, piece, "s", k == 0, False)
            for output, value in answer.items():
                np.testing.assert_allclose(np.array(got[output]), value, rtol=1e-4, atol=1e-5, err_msg=output)
    assert "`sequence_batching.control_input` `READY`" in (tmp_path / "log").read_text()


def test_steps_of_other_operator_sets_are_not_joined(nimify, tmp_path):
    """Wrapped in functions they would keep versions of their own, and ONNX Runtime reads them by the graph's: so it is said."""
    models = Repository(tmp_path)
    models.add("first", first())
    newer = [helper.make_opsetid("", 18)]
    models.add("newer", model([helper.make_node("Neg", ["x"], ["y"])], [value("x", "N", 4)], [value("y", "N", 4)], opsets=newer))
    models.ensemble("whole", ["x"], ["y"], [("first", {"x": "x"}, {"y": "h"}), ("newer", {"x": "h"}, {"y": "y"})])
    log = (tmp_path / "log").open("w+")
    assert nimify.start("inspect", f"triton://{tmp_path / 'whole'}", log=log).wait() == 3
    log.seek(0)
    said = log.read()
    assert "`first` and `newer` use the versions 17 and 18" in said and "convert_version" in said, said
