"""Ensembles of Triton's, whose steps are joined into one model: the same answers as the steps give one after another, by
ONNX Runtime in Python, and by the service; and a file that ONNX's own checker takes.
"""
import numpy as np
import onnx
import onnxruntime
from onnx import TensorProto, helper, numpy_helper

from service import Served, to_json

FLOAT, INT64, BOOL = TensorProto.FLOAT, TensorProto.INT64, TensorProto.BOOL
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
