"""TensorRT engines and Triton's configurations, judged by the tools that they are made for: protobuf's own text format
writes the configurations, and ONNX Runtime reads the model that stands around an engine.

The engine's bytes are made here: a header as TensorRT writes it, and nothing that any TensorRT would run.
"""
import json
import random
import tarfile

import onnx
import onnxruntime
import pytest
from google.protobuf import text_format
from tritonclient.grpc import model_config_pb2 as triton

MADE = b"ftrt" + bytes(20) + bytes([10, 3, 0, 26]) + b"not a real engine"

TYPES = {
    "TYPE_BOOL": "bool", "TYPE_UINT8": "uint8", "TYPE_UINT16": "uint16", "TYPE_UINT32": "uint32",
    "TYPE_UINT64": "uint64", "TYPE_INT8": "int8", "TYPE_INT16": "int16", "TYPE_INT32": "int32", "TYPE_INT64": "int64",
    "TYPE_FP16": "float16", "TYPE_FP32": "float32", "TYPE_FP64": "float64", "TYPE_STRING": "string",
    "TYPE_BF16": "bfloat16",
}

# How protobuf writes one message; each of these means the same.
STYLES = [{}, {"as_one_line": True}, {"use_short_repeated_primitives": True}, {"pointy_brackets": True},
          {"as_utf8": True}, {"use_index_order": True}, {"print_unknown_fields": True, "indent": 3}]


def any_config(seed):
    """A configuration with something in most of its fields."""
    dice = random.Random(seed)
    config = triton.ModelConfig(name=f"modèle \"{seed}\"\n", platform="tensorrt_plan", max_batch_size=dice.choice([0, 1, 8]))
    for which in (config.input, config.output):
        for number in range(dice.randint(1, 3)):
            tensor = which.add(name=f"t{number}'\t{'é' * dice.randint(0, 2)}", data_type=dice.choice(list(TYPES)))
            tensor.dims.extend(dice.choice([-1, 1, 640, 2**40]) for _ in range(dice.randint(1, 4)))
            if dice.random() < 0.3:
                tensor.reshape.shape.extend(dice.choice([[], [1, -1]]))
                tensor.reshape.SetInParent()
    if dice.random() < 0.5:
        config.cc_model_filenames["8.6"] = "m.engine"
    config.dynamic_batching.preferred_batch_size.extend([2, 4])
    config.dynamic_batching.default_queue_policy.timeout_action = 1
    config.instance_group.add(count=2, kind=triton.ModelInstanceGroup.KIND_GPU, gpus=[0, 1])
    config.parameters["a\\b"].string_value = "{ } [ ] : # \u2028"
    config.optimization.cuda.graphs = True
    config.optimization.cuda.graph_spec.add(batch_size=1).input["x"].dim.append(3)
    config.version_policy.specific.versions.extend([1, 2])
    config.model_warmup.add(name="w", batch_size=1).inputs["x"].zero_data = True
    return config


def shapes(config, tensors):
    """Names, types and shapes as the engine itself has them."""
    rows = ["batch"] if config.max_batch_size else []
    sizes = lambda tensor: tensor.reshape.shape if tensor.HasField("reshape") else tensor.dims
    return [(tensor.name, TYPES[triton.DataType.Name(tensor.data_type)],
             rows + [None if size == -1 else size for size in sizes(tensor)]) for tensor in tensors]


@pytest.mark.parametrize("style", range(len(STYLES)))
def test_configurations_are_read_as_protobuf_wrote_them(nimify, tmp_path, style):
    (tmp_path / "m.engine").write_bytes(MADE)
    for seed in range(3):
        config = any_config(10 * style + seed)
        text = text_format.MessageToString(config, **STYLES[style])
        (tmp_path / "config.pbtxt").write_text(text)
        found = json.loads(nimify("inspect", tmp_path / "m.engine", "--format", "json"))
        signature, engine = found["signature"], found["engine"]
        for kind, tensors in [("inputs", config.input), ("outputs", config.output)]:
            assert [(t["name"], t["elementType"], t["shape"]) for t in signature[kind]] == shapes(config, tensors), text
        assert engine["computeCapability"] == ("8.6" if config.cc_model_filenames else None)
        assert engine["maxBatchSize"] == (config.max_batch_size or None)


def test_the_model_around_an_engine_is_one_that_onnx_runtime_knows(nimify, tmp_path):
    (tmp_path / "made.engine").write_bytes(MADE)
    nimify("create", tmp_path / "made.engine", "--yes", "--service", "generic", "--unsigned", "--output", tmp_path / "out",
           "--tensorrt-input", "x:float16[batch,3,?]", "--tensorrt-input", "n:int64[]",
           "--tensorrt-output", "y:float32[batch,10]")
    layout = tmp_path / "out" / "dist" / "image"
    blob = lambda digest: layout / "blobs" / digest.replace(":", "/")
    manifest = json.loads(blob(json.loads((layout / "index.json").read_text())["manifests"][0]["digest"]).read_text())
    with tarfile.open(blob(manifest["layers"][-1]["digest"])) as layer:
        layer.extractall(tmp_path, filter="data")
    models = tmp_path / "models"
    assert (models / "made.engine").read_bytes() == MADE
    wrapper = onnx.load(models / "made.engine.onnx")
    onnx.checker.check_model(wrapper)
    node, = wrapper.graph.node
    attributes = {attribute.name: onnx.helper.get_attribute_value(attribute) for attribute in node.attribute}
    assert (node.op_type, attributes["ep_cache_context"], attributes["embed_mode"]) == ("EPContext", b"made.engine", 0)
    # Its own rules for the graph are met: what is missing is a provider that runs the one node.
    with pytest.raises(Exception, match="EPContext") as refused:
        onnxruntime.InferenceSession(models / "made.engine.onnx", providers=["CPUExecutionProvider"])
    assert "INVALID_GRAPH" not in str(refused.value), refused.value
