"""Write the tiny models that the engine's tests run. Needs Python's `onnx` (1.23); run in this folder."""

from onnx import TensorProto as T, helper as h, save

IR, OPSETS = 10, [h.make_opsetid("", 21), h.make_opsetid("ai.onnx.ml", 4)]


def tensor(name, kind, shape):
    return h.make_tensor_value_info(name, kind, shape)


def write(name, nodes, inputs, outputs, initializers=()):
    graph = h.make_graph(list(nodes), name, inputs, outputs, list(initializers))
    model = h.make_model(graph, opset_imports=OPSETS, ir_version=IR, producer_name="nimify-tests")
    save(model, f"{name}.onnx")


# Every element type, passed through; `Identity` takes them all.
TYPES = {
    "float32": T.FLOAT, "float64": T.DOUBLE, "float16": T.FLOAT16, "bfloat16": T.BFLOAT16,
    "int8": T.INT8, "int16": T.INT16, "int32": T.INT32, "int64": T.INT64,
    "uint8": T.UINT8, "uint16": T.UINT16, "uint32": T.UINT32, "uint64": T.UINT64,
    "bool": T.BOOL, "string": T.STRING,
}
write(
    "identity",
    [h.make_node("Identity", [k], [f"{k}_out"]) for k in TYPES],
    [tensor(k, t, ["N", "M"]) for k, t in TYPES.items()],
    [tensor(f"{k}_out", t, ["N", "M"]) for k, t in TYPES.items()],
)

# y = x * 2 + b, rows apart; `sum` its rows' sums.
write(
    "rows",
    [
        h.make_node("Mul", ["x", "two"], ["doubled"]),
        h.make_node("Add", ["doubled", "b"], ["y"]),
        h.make_node("ReduceSum", ["y", "axis"], ["sum"], keepdims=0),
    ],
    [tensor("x", T.FLOAT, ["N", 3]), tensor("b", T.FLOAT, ["N", 1])],
    [tensor("y", T.FLOAT, ["N", 3]), tensor("sum", T.FLOAT, ["N"])],
    [h.make_tensor("two", T.FLOAT, [], [2.0]), h.make_tensor("axis", T.INT64, [1], [1])],
)

# A row of `table` for each index: an index out of range is refused while running.
write(
    "gather",
    [h.make_node("Gather", ["table", "index"], ["row"])],
    [tensor("index", T.INT64, ["N"])],
    [tensor("row", T.FLOAT, ["N", 2])],
    [h.make_tensor("table", T.FLOAT, [3, 2], [0, 1, 2, 3, 4, 5])],
)

# No inputs at all, and a scalar and a tensor of unknown rank.
write("constant", [h.make_node("Constant", [], ["answer"], value_int=42)], [], [tensor("answer", T.INT64, [])])
write("scalar", [h.make_node("Neg", ["x"], ["y"])], [tensor("x", T.FLOAT, [])], [tensor("y", T.FLOAT, [])])
write("any_rank", [h.make_node("Neg", ["x"], ["y"])], [tensor("x", T.FLOAT, None)], [tensor("y", T.FLOAT, None)])

# A sequence of maps, one a row, as classifiers of scikit-learn give it.
maps = h.make_value_info(
    "scores", h.make_sequence_type_proto(h.make_map_type_proto(T.INT64, h.make_tensor_type_proto(T.FLOAT, None)))
)
write(
    "zipmap",
    [h.make_node("ZipMap", ["x"], ["scores"], domain="ai.onnx.ml", classlabels_int64s=[7, -8])],
    [tensor("x", T.FLOAT, ["N", 2])],
    [maps],
)

# A map from names to numbers, made a row of numbers.
names = h.make_value_info("words", h.make_map_type_proto(T.STRING, h.make_tensor_type_proto(T.FLOAT, None)))
write(
    "vectorize",
    [h.make_node("DictVectorizer", ["words"], ["row"], domain="ai.onnx.ml", string_vocabulary=["a", "b", "c"])],
    [names],
    [tensor("row", T.FLOAT, [1, 3])],
)

# Sequences in and out.
sequence = h.make_tensor_sequence_value_info
write(
    "sequence",
    [h.make_node("SequenceInsert", ["list", "last"], ["longer"])],
    [sequence("list", T.INT64, ["N"]), tensor("last", T.INT64, ["M"])],
    [sequence("longer", T.INT64, None)],
)

# Types that can't be served.
for name, kind in ("int4", T.INT4), ("float8", T.FLOAT8E4M3FN):
    write(name, [h.make_node("Cast", ["x"], ["y"], to=T.FLOAT)], [tensor("x", kind, [2])], [tensor("y", T.FLOAT, [2])])

# A boolean whose byte is neither 0 nor 1, as a hostile file may hold it.
odd = h.make_tensor("odd", T.BOOL, [3], bytes([0, 1, 7]), raw=True)
write("odd_bool", [h.make_node("Constant", [], ["y"], value=odd)], [], [tensor("y", T.BOOL, [3])])

# `count` matrix products one after another: a run that takes as long as a test wants.
body = h.make_graph(
    [
        h.make_node("MatMul", ["before", "half"], ["after"]),
        h.make_node("Identity", ["go_on"], ["still"]),
    ],
    "body",
    [tensor("k", T.INT64, []), tensor("go_on", T.BOOL, []), tensor("before", T.FLOAT, [384, 384])],
    [tensor("still", T.BOOL, []), tensor("after", T.FLOAT, [384, 384])],
)
write(
    "slow",
    [
        h.make_node("Constant", [], ["side"], value_ints=[384, 384]),
        h.make_node("ConstantOfShape", ["side"], ["half"], value=h.make_tensor("value", T.FLOAT, [1], [1 / 384])),
        h.make_node("Loop", ["count", "", "half"], ["last"], body=body),
        h.make_node("ReduceMax", ["last"], ["y"], keepdims=0),
    ],
    [tensor("count", T.INT64, [])],
    [tensor("y", T.FLOAT, [])],
)

# 4 MiB of weights in a tiny file: ONNX Runtime makes them as it loads. `sum` is 2048 times the sum of a row of `x`.
write(
    "weighty",
    [
        h.make_node("ConstantOfShape", ["size"], ["w"], value=h.make_tensor("", T.FLOAT, [1], [2.0])),
        h.make_node("MatMul", ["x", "w"], ["y"]),
        h.make_node("ReduceSum", ["y", "axis"], ["sum"], keepdims=0),
    ],
    [tensor("x", T.FLOAT, ["N", 1024])],
    [tensor("sum", T.FLOAT, ["N"])],
    [h.make_tensor("size", T.INT64, [2], [1024, 1024]), h.make_tensor("axis", T.INT64, [1], [1])],
)

# Attention over the places of a row that the mask leaves, as encoders of text have it; and the mean of all of them.
write(
    "attention",
    [
        h.make_node("Gather", ["table", "ids"], ["hidden"]),
        h.make_node("Cast", ["mask"], ["shown"], to=T.FLOAT),
        h.make_node("Sub", ["one", "shown"], ["hiding"]),
        h.make_node("Mul", ["hiding", "far"], ["distance"]),
        h.make_node("ReduceSum", ["hidden", "last"], ["scores"], keepdims=0),
        h.make_node("Add", ["scores", "distance"], ["masked"]),
        h.make_node("Softmax", ["masked"], ["weights"], axis=1),
        h.make_node("Unsqueeze", ["weights", "last"], ["column"]),
        h.make_node("Mul", ["hidden", "column"], ["weighted"]),
        h.make_node("ReduceSum", ["weighted", "places"], ["pooled"], keepdims=0),
        h.make_node("ReduceMean", ["hidden", "places"], ["mean"], keepdims=0),
    ],
    [tensor("ids", T.INT64, ["N", "S"]), tensor("mask", T.INT64, ["N", "S"])],
    [tensor("hidden", T.FLOAT, ["N", "S", 2]), tensor("pooled", T.FLOAT, ["N", 2]), tensor("mean", T.FLOAT, ["N", 2])],
    [
        h.make_tensor("table", T.FLOAT, [5, 2], [0.1, -1, 2, 3, -0.5, 0.25, 1, 1, 0, 4]),
        h.make_tensor("one", T.FLOAT, [], [1]),
        h.make_tensor("far", T.FLOAT, [], [-1e9]),
        h.make_tensor("last", T.INT64, [1], [2]),
        h.make_tensor("places", T.INT64, [1], [1]),
    ],
)

# Changes case by the rules of a locale that no machine has.
write(
    "locale",
    [h.make_node("StringNormalizer", ["x"], ["y"], case_change_action="LOWER", locale="xx_XX.UTF-8")],
    [tensor("x", T.STRING, ["N"])],
    [tensor("y", T.STRING, ["N"])],
)
