"""Every model of fixtures/models, served by `nimify run` and asked by each protocol: what comes back is what ONNX Runtime
answers in Python. Among them are each element type, strings, scalars, empty tensors, sequences, maps and optionals.
"""
import json

import make_ort
import ml_dtypes
import numpy as np
import pytest

from conftest import ROOT
from protocols import PROTOCOLS, alike, grpc_raw, typed, v2_binary
from service import Reference, Served, from_json, to_json

FIXTURES = ROOT / "fixtures"
ROWS = [[0.5, -1.25, 3.0, 1e-3], [-2.0, 0.1, 7.5, 1e6]]
TEXTS = ["apple", "banana", "", "Grüße, 世界 🌍", 'quo"te\\\n\t\u0001']

# The requests that each model is sent, in the form of `/v1/predict`.
REQUESTS = {
    "arithmetic_dims": [{"past": [[1.0]], "x": [[2.0, 3.0, 4.0]], "mask": [[1.0, 0.0, 1.0, 1.0]], "half": [[5.0]]}],
    "colliding_names": [{"a.b": [1.0], "a_b": [2.0], "a/b": [3.0], "A_B": [4.0]}],
    "constant_rows": [{"x": [[1.0, 2.0]]}],
    "coupled_mean": [{"x": ROWS}, {"x": ROWS[:1]}],
    "coupled_quantized": [{"x": ROWS}, {"x": ROWS[:1]}],
    "declared_shapes": [{"x": ROWS}, {"x": ROWS[:1]}],
    # Arrays, since nested lists don't say the sizes inside what is empty.
    "empty": [{"x": np.zeros((2, 0, 3))}, {"x": np.zeros((0, 0, 3))}],
    "external": [{"x": ROWS}],
    "fixed_batch": [{"x": ROWS[:1]}],
    "free_dims": [{"named": [[1.0, 2.0]], "unnamed": [[-1.0, 2.0], [3.0, -4.0], [5.0, 6.0]]}],
    "image": [{"image": (np.arange(2 * 16 * 8).reshape(2, 1, 16, 8) % 7 / 4).tolist()}],
    "initializers_as_inputs": [{"x": ROWS}],
    "labels": [{"fruit": TEXTS}],
    "map_output": [{"x": [[1.0, 2.0, 3.0], [3.0, 1.0, 2.0]]}],
    "mlp": [{"x": ROWS}, {"x": ROWS[1:]}],
    "names": [{"input.1": [[1.0, 2.0]], "type": [[3.0, 4.0]], "a/b:0": [[5.0, 6.0]]}],
    "no_inputs": [{}],
    "optional_input": [{"x": [1.0, 2.0]}, {"x": None}, {}],
    "row_count": [{"x": [[1.0, 2.0], [3.0, 4.0]]}, {"x": [[1.0, 2.0]]}],
    "scalar": [{"x": 1.5}, {"x": "-Infinity"}],
    "sequence_input": [{"pieces": [[[1.0, 2.0]], [[3.0, 4.0], [5.0, 6.0]]]}],
    "sequence_output": [{"x": [[1.0, 2.0], [3.0, 4.0], [5.0, 6.0]]}],
    "shared_dim": [{"a": ROWS, "b": ROWS[::-1]}],
    "state": [{"x": ROWS, "state": [ROWS, ROWS[::-1]]}],
    "text": [{"text": TEXTS}],
    "tokens": [{"input_ids": [[1, 15, 0], [7, 7, 2]], "attention_mask": [[1, 1, 0], [1, 1, 1]]}],
    "unknown_rank": [{"x": 0.5}, {"x": [[["NaN"], [0.25]]]}],
}

# For each type what is hard to bring through: its ends, what no float64 holds, what is not finite.
ENDS = {
    "float": [[0.1, -0.0], [3.4028235e38, 1e-45], ["NaN", "-Infinity"]],
    "double": [[0.1, -0.0], [1.7976931348623157e308, 5e-324], ["NaN", "Infinity"]],
    "float16": [[0.0999755859375, -0.0], [65504.0, 5.960464477539063e-08], ["NaN", "Infinity"]],
    "bfloat16": [[0.10009765625, -0.0], [3.3895313892515355e38, 1.1754943508222875e-38], ["NaN", "-Infinity"]],
    "bool": [[True, False], [False, False], [True, True]],
    "string": [TEXTS[:2], TEXTS[2:4], [TEXTS[4], "\0"]],
} | {
    f"{kind}{bits}": [[low, high], [0, 1], [high - 1, low + 1]]
    for bits in (8, 16, 32, 64)
    for kind, low, high in (("int", -(2 ** (bits - 1)), 2 ** (bits - 1) - 1), ("uint", 0, 2**bits - 1))
}


def test_every_model_is_asked():
    models = {path.stem for path in (FIXTURES / "models").glob("*.onnx")}
    assert models == REQUESTS.keys() | {"types", "narrow"}


@pytest.mark.parametrize("name", REQUESTS)
def test_a_model_answers_as_onnx_runtime_does_by_every_protocol(name, nimify, tmp_path):
    model = FIXTURES / "models" / f"{name}.onnx"
    reference = Reference(model)
    with Served(nimify, model, tmp_path / "log") as service:
        for body in REQUESTS[name]:
            values = reference.values(body)
            wanted = {name: to_json(value) for name, value in reference.run(values).items()}
            for ask in PROTOCOLS:
                answer = ask(service, values)
                assert alike(answer, wanted), f"{ask.__name__} of {body}: {answer} instead of {wanted}"


# ONNX Runtime converts no optionals.
@pytest.mark.parametrize("name", sorted(REQUESTS.keys() - {"optional_input"}))
def test_a_model_in_onnx_runtimes_own_format_is_served_like_the_original(name, nimify, tmp_path):
    model = FIXTURES / "models" / f"{name}.onnx"
    # Without the extension by which ONNX Runtime itself would know it.
    make_ort.convert(model, converted := tmp_path / "model.bin")
    reference = Reference(model)
    with Served(nimify, converted, tmp_path / "log") as service:
        for body in REQUESTS[name]:
            values = reference.values(body)
            wanted = {name: to_json(value) for name, value in reference.run(values).items()}
            for ask in (typed, grpc_raw):
                answer = ask(service, values)
                assert alike(answer, wanted), f"{ask.__name__} of {body}: {answer} instead of {wanted}"


def test_every_element_type_comes_through_unchanged_by_every_protocol(nimify, tmp_path):
    model = FIXTURES / "models" / "types.onnx"
    kinds = Reference(model).kinds
    assert kinds.keys() == ENDS.keys()
    # The model hands everything through, so the answers are known; Python's own Runtime takes no bfloat16 beside strings.
    values = {name: from_json(kinds[name], rows) for name, rows in ENDS.items()}
    none = {name: from_json(kinds[name], rows)[:0] for name, rows in ENDS.items()}
    with Served(nimify, model, tmp_path / "log") as service:
        for ask in PROTOCOLS:
            answer = ask(service, values)
            assert answer.keys() == {f"{name}_out" for name in ENDS}
            for name, kind in kinds.items():
                got = from_json(kind, answer[f"{name}_out"])
                # As text: a NaN equals none, and a zero's sign counts.
                assert str(got.tolist()) == str(values[name].tolist()), f"{ask.__name__}: {name}"
        for ask in PROTOCOLS:
            assert ask(service, none) == {f"{name}_out": [] for name in ENDS}


# What numpy calls the types that nothing computes with, and which wider type carries them.
NARROW = {
    "float8e4m3fn": ("float8_e4m3fn", "float32"), "float8e4m3fnuz": ("float8_e4m3fnuz", "float32"),
    "float8e5m2": ("float8_e5m2", "float32"), "float8e5m2fnuz": ("float8_e5m2fnuz", "float32"),
    "float8e8m0": ("float8_e8m0fnu", "float32"), "float4e2m1": ("float4_e2m1fn", "float32"),
    "int4": ("int4", "int8"), "uint4": ("uint4", "uint8"), "int2": ("int2", "int8"), "uint2": ("uint2", "uint8"),
}


def test_every_value_of_the_narrow_types_comes_through_by_every_protocol(nimify, tmp_path):
    """Python's ONNX Runtime neither takes nor gives most of them: what each pattern of bits means is ml_dtypes' word."""
    values, wanted = {}, {}
    for name, (dtype, carrier) in NARROW.items():
        kind = np.dtype(getattr(ml_dtypes, dtype))
        bits = int(name.lstrip("uintfloa")[0])
        every = np.arange(2 ** bits, dtype="uint8").view(kind).astype(carrier).reshape(-1, 2)
        values[name] = every
        if name == "float4e2m1":
            wanted[name] = every
            continue
        wanted[f"{name}_out"] = every.astype("float32")
        # A cast would make the greatest finite value of an infinite one.
        numbers = every[np.isfinite(every.astype("float32")).all(axis=1)].astype("float32")
        values[f"from_{name}"], wanted[f"to_{name}"] = numbers, numbers.astype(carrier)
    with Served(nimify, FIXTURES / "models" / "narrow.onnx", tmp_path / "log") as service:
        for ask in PROTOCOLS:
            answer = ask(service, values)
            assert answer.keys() == wanted.keys()
            for name, value in wanted.items():
                got = from_json(f"tensor({value.dtype})", answer[name])
                assert str(got.tolist()) == str(value.tolist()), f"{ask.__name__}: {name}"
        for name, value in (("int4", 8), ("uint2", 4), ("float8e8m0", 0), ("float8e4m3fn", 500), ("float4e2m1", "NaN")):
            body = {one: to_json(array) for one, array in values.items()} | {name: [[1, value]]}
            status, answer = service.post("/v1/predict", body)
            message = answer["error"]["message"]
            assert status == 400 and f"`{name}` should be {name}" in message and "doesn't have" in message, message


def test_strings_that_are_no_text_go_as_base64_or_as_they_are(nimify, tmp_path):
    """Python's strings hold none such, so ONNX Runtime isn't asked: the model puts `hello ` before each."""
    body = {"text": [{"b64": "/wA="}, "a"]}
    with Served(nimify, FIXTURES / "models" / "text.onnx", tmp_path / "log") as service:
        assert service.predict(body) == {"greeting": [{"b64": "aGVsbG8g/wA="}, "hello a"]}
        text = {"name": "text", "datatype": "BYTES", "shape": [1], "parameters": {"content_type": "base64"}}
        status, answer = service.post("/v2/models/m/infer", {"inputs": [text | {"data": ["/wA="]}]})
        output = {"name": "greeting", "datatype": "BYTES", "shape": [1], "parameters": {"content_type": "base64"}}
        assert (status, answer["outputs"]) == (200, [output | {"data": ["aGVsbG8g/wA="]}])
        raw = v2_binary(service, {"text": np.array([b"\xff\0"], "object")})
        assert raw == {"greeting": [{"b64": "aGVsbG8g/wA="}]}


def test_the_digits_that_the_samples_show_are_told(nimify, tmp_path):
    samples = FIXTURES / "digits" / "samples"
    expected = json.loads((samples / "expected.json").read_text())
    with Served(nimify, FIXTURES / "digits" / "digits.onnx", tmp_path / "log") as service:
        for name, row in expected.items():
            answer = service.predict((samples / f"{name}.json").read_text())
            assert alike(answer, row["response"]), name
            assert answer["label"] == row["truth"], name
