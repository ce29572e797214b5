"""Every way of asking a service: the same values in, the same JSON values out."""
import json
import math

import numpy as np
import tritonclient.grpc
import tritonclient.http
from tritonclient.grpc import service_pb2

from service import PATIENCE, to_json


def typed(service, values):
    """`/v1/predict`: a property an input, nested arrays."""
    return service.predict({name: to_json(value) for name, value in values.items()})


def tensors(service, values):
    """The inputs as the Open Inference Protocol has them, by name: arrays. What is no tensor goes as JSON texts."""
    def tensor(value):
        if isinstance(value, np.ndarray):
            return value
        parts = value if isinstance(value, list) else [value]
        return np.array([json.dumps(to_json(part)) for part in parts], "object")

    return {name: tensor(value) for name, value in values.items() if value is not None}


def from_tensor(output, array):
    """A JSON value of what came in an output."""
    if (output.get("parameters") or {}).get("content_type") == "application/json":
        return [json.loads(text) for text in array]
    return to_json(array)


def v2_json(service, values):
    """`/v2/models/m/infer`, all of it JSON."""
    inputs = [
        {"name": name, "shape": array.shape, "datatype": service.inputs[name], "data": to_json(array.ravel())}
        for name, array in tensors(service, values).items()
    ]
    status, answer = service.post("/v2/models/m/infer", {"inputs": inputs})
    assert status == 200, answer
    for output in answer["outputs"]:
        assert output["datatype"] == service.outputs[output["name"]]
    return {
        output["name"]: from_tensor(output, np.array(output["data"], "object").reshape(output["shape"]))
        for output in answer["outputs"]
    }


def v2_binary(service, values):
    """The same with raw tensors, by a client that others wrote."""
    inputs = []
    for name, array in tensors(service, values).items():
        inputs.append(tritonclient.http.InferInput(name, array.shape, service.inputs[name]).set_data_from_numpy(array))
    wanted = [tritonclient.http.InferRequestedOutput(name, binary_data=True) for name in service.outputs]
    answer = service.client.infer("m", inputs, outputs=wanted)
    return {name: from_tensor(answer.get_output(name), answer.as_numpy(name)) for name in service.outputs}


def grpc_raw(service, values):
    """`ModelInfer` with raw tensors, by the same client's other half."""
    inputs = []
    for name, array in tensors(service, values).items():
        inputs.append(tritonclient.grpc.InferInput(name, array.shape, service.inputs[name]).set_data_from_numpy(array))
    answer = service.grpc_client.infer("m", inputs, client_timeout=PATIENCE)
    return {
        name: from_tensor({"parameters": parameters(answer.get_output(name))}, answer.as_numpy(name))
        for name in service.outputs
    }


# Where the typed contents of each datatype go; those of 16-bit floats have no place.
CONTENTS = {
    "BOOL": "bool_contents", "BYTES": "bytes_contents", "FP32": "fp32_contents", "FP64": "fp64_contents",
    "INT64": "int64_contents", "UINT64": "uint64_contents",
} | {f"INT{bits}": "int_contents" for bits in (8, 16, 32)} | {f"UINT{bits}": "uint_contents" for bits in (8, 16, 32)}


def grpc_typed(service, values):
    """`ModelInfer` with typed contents, where the datatypes have them; else raw, since a request is all the one or all
    the other.
    """
    given = tensors(service, values)
    if not all(service.inputs[name] in CONTENTS for name in given):
        return grpc_raw(service, values)
    request = service_pb2.ModelInferRequest(model_name="m")
    for name, array in given.items():
        tensor = request.inputs.add(name=name, datatype=service.inputs[name], shape=array.shape)
        elements = array.ravel().tolist()
        if tensor.datatype == "BYTES":
            elements = [text.encode() if isinstance(text, str) else text for text in elements]
        getattr(tensor.contents, CONTENTS[tensor.datatype]).extend(elements)
    answer = tritonclient.grpc.InferResult(service.grpc_client._client_stub.ModelInfer(request, timeout=PATIENCE))
    return {
        name: from_tensor({"parameters": parameters(answer.get_output(name))}, answer.as_numpy(name))
        for name in service.outputs
    }


def parameters(output):
    """The texts among the parameters of an output."""
    return {name: value.string_param for name, value in output.parameters.items()}


def alike(got, wanted):
    """Whether two JSON values are the same but for the last digits of their floats."""
    if isinstance(wanted, float) and isinstance(got, float):
        return math.isclose(got, wanted, rel_tol=1e-5, abs_tol=1e-7)
    if isinstance(wanted, list) and isinstance(got, list):
        return len(got) == len(wanted) and all(map(alike, got, wanted))
    if isinstance(wanted, dict) and isinstance(got, dict):
        return got.keys() == wanted.keys() and all(alike(got[key], wanted[key]) for key in wanted)
    return type(got) is type(wanted) and got == wanted


PROTOCOLS = (typed, v2_json, v2_binary, grpc_raw, grpc_typed)
