"""all-MiniLM-L6-v2 as an ONNX graph, built from the weights that a package ships as safetensors.

`input_ids` int64 [batch, sequence], 0 being padding, gives `embedding` float32 [batch, 384]: BERT of 6 layers and 12
heads, the mean over what is no padding, scaled to length 1.
"""
import json
import struct
from pathlib import Path

import numpy as np
from onnx import TensorProto, checker, helper, numpy_helper

LAYERS, HEADS, WIDTH = 6, 12, 384


def read_safetensors(path):
    """The arrays of a safetensors file by name: an 8-byte length, a JSON header, the bytes."""
    data = Path(path).read_bytes()
    (length,) = struct.unpack_from("<Q", data)
    header, body = json.loads(data[8:8 + length]), data[8 + length:]
    kinds = {"F32": "<f4", "I64": "<i8"}
    return {
        name.removeprefix("bert."): np.frombuffer(body[slice(*entry["data_offsets"])], kinds[entry["dtype"]])
        .reshape(entry["shape"])
        for name, entry in header.items() if name != "__metadata__"
    }


class Builder:
    """Collects nodes and constants under names of their own."""

    def __init__(self):
        self.nodes, self.constants = [], []

    def constant(self, array, dtype="float32"):
        name = f"constant_{len(self.constants)}"
        self.constants.append(numpy_helper.from_array(np.array(array, dtype), name))
        return name

    def __getattr__(self, operator):
        def add(*inputs, to=None, **attributes):
            output = to or f"value_{len(self.nodes)}"
            self.nodes.append(helper.make_node(operator, inputs, [output], name=f"{operator}_{output}", **attributes))
            return output
        return add


def build(weights):
    """The model of these weights."""
    g = Builder()

    def linear(x, name):
        product = g.MatMul(x, g.constant(weights[f"{name}.weight"].T))
        return g.Add(product, g.constant(weights[f"{name}.bias"]))

    def norm(x, name):
        scale, bias = (g.constant(weights[f"{name}.{part}"]) for part in ("weight", "bias"))
        return g.LayerNormalization(x, scale, bias, axis=-1, epsilon=1e-12)

    def heads(x, order):
        return g.Transpose(g.Reshape(x, g.constant([0, 0, HEADS, WIDTH // HEADS], "int64")), perm=order)

    zero, one = g.constant([0], "int64"), g.constant([1], "int64")
    padding = g.Equal("input_ids", zero)
    kept = g.Where(padding, g.constant(0.0), g.constant(1.0))
    bias = g.Unsqueeze(g.Where(padding, g.constant(-1e4), g.constant(0.0)), g.constant([1, 2], "int64"))

    length = g.Shape("input_ids", start=1, end=2)
    places = g.Slice(g.constant(weights["embeddings.position_embeddings.weight"]), zero, length, zero)
    words = g.Gather(g.constant(weights["embeddings.word_embeddings.weight"]), "input_ids")
    kind = g.constant(weights["embeddings.token_type_embeddings.weight"][0])
    x = norm(g.Add(g.Add(words, places), kind), "embeddings.LayerNorm")

    for layer in range(LAYERS):
        name = f"encoder.layer.{layer}"
        query = heads(linear(x, f"{name}.attention.self.query"), [0, 2, 1, 3])
        key = heads(linear(x, f"{name}.attention.self.key"), [0, 2, 3, 1])
        value = heads(linear(x, f"{name}.attention.self.value"), [0, 2, 1, 3])
        scores = g.Mul(g.MatMul(query, key), g.constant((WIDTH / HEADS) ** -0.5))
        context = g.MatMul(g.Softmax(g.Add(scores, bias), axis=-1), value)
        joined = g.Reshape(g.Transpose(context, perm=[0, 2, 1, 3]), g.constant([0, 0, WIDTH], "int64"))
        x = norm(g.Add(linear(joined, f"{name}.attention.output.dense"), x), f"{name}.attention.output.LayerNorm")
        inner = linear(x, f"{name}.intermediate.dense")
        # GELU by its definition.
        error = g.Erf(g.Mul(inner, g.constant(0.5 ** 0.5)))
        inner = g.Mul(g.Mul(inner, g.constant(0.5)), g.Add(error, g.constant(1.0)))
        x = norm(g.Add(linear(inner, f"{name}.output.dense"), x), f"{name}.output.LayerNorm")

    weight = g.Unsqueeze(kept, g.constant([2], "int64"))
    total = g.ReduceSum(g.Mul(x, weight), one, keepdims=0)
    mean = g.Div(total, g.Max(g.ReduceSum(weight, one, keepdims=0), g.constant(1e-9)))
    g.Div(mean, g.ReduceL2(mean, one, keepdims=1), to="embedding")

    graph = helper.make_graph(
        g.nodes, "minilm",
        [helper.make_tensor_value_info("input_ids", TensorProto.INT64, ["batch", "sequence"])],
        [helper.make_tensor_value_info("embedding", TensorProto.FLOAT, ["batch", WIDTH])],
        g.constants,
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)
    checker.check_model(model)
    return model


def tokens(sentence, vocabulary):
    """Ids of a sentence of known lower-case words."""
    ids = {word: index for index, word in enumerate(vocabulary)}
    return [ids["[CLS]"], *(ids[word] for word in sentence.split()), ids["[SEP]"]]
