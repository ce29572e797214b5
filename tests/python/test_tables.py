"""Models that scikit-learn, XGBoost, LightGBM and PyTorch made, served by `nimify run` and asked by each protocol: what
comes back is what the library itself predicts.
"""
import json
import shutil
import subprocess
import urllib.request
import warnings
from pathlib import Path

import numpy as np
import onnx
import pytest

from protocols import PROTOCOLS
from service import Served, to_json

with warnings.catch_warnings():
    # Of the converters, about what others have deprecated.
    warnings.simplefilter("ignore")
    import tables


def alike(got, wanted):
    """Whether two JSON values are the same but for what single precision makes of the library's doubles."""
    if isinstance(wanted, float):
        return isinstance(got, float | int) and np.isclose(got, wanted, rtol=1e-4, atol=1e-5)
    if isinstance(wanted, list):
        return isinstance(got, list) and len(got) == len(wanted) and all(map(alike, got, wanted))
    if isinstance(wanted, dict):
        return isinstance(got, dict) and got.keys() == wanted.keys() and all(alike(got[k], wanted[k]) for k in wanted)
    return got == wanted


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", tables.CASES)
def test_a_model_of_tables_predicts_what_its_library_does(name, nimify, tmp_path):
    model, request, answer = tables.CASES[name]()
    path = tmp_path / f"{name}.onnx"
    onnx.save(model, path)
    wanted = {name: to_json(value) for name, value in answer.items()}
    with Served(nimify, path, tmp_path / "log") as service:
        for ask in PROTOCOLS:
            got = ask(service, request)
            assert alike(got, wanted), f"{ask.__name__}: {got} instead of {wanted}"


@pytest.mark.filterwarnings("ignore")
def test_the_labels_that_the_graph_names_are_in_the_openapi_document(nimify, tmp_path):
    model, _, answer = tables.CASES["sklearn-logistic"]()
    onnx.save(model, tmp_path / "m.onnx")
    with Served(nimify, tmp_path / "m.onnx", tmp_path / "log") as service:
        with urllib.request.urlopen(f"http://{service.address}/openapi.json") as document:
            schemas = json.load(document)["components"]["schemas"]
    row = schemas["PredictResponse"]["properties"]["output_probability"]["items"]
    labels = list(answer["output_probability"][0])
    assert (list(row["properties"]), row["required"], row["additionalProperties"]) == (labels, labels, False)


@pytest.mark.compiles
@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", ["sklearn-lowered", "sklearn-mixed", "xgboost-classes", "lightgbm-maps"])
def test_a_packed_model_of_tables_predicts_what_its_library_does(name, nimify, tmp_path):
    model, request, answer = tables.CASES[name]()
    onnx.save(model, tmp_path / "model.onnx")
    packed_answers(nimify, tmp_path, request, {name: to_json(value) for name, value in answer.items()})


def packed_answers(nimify, folder, request, wanted):
    """Takes `folder`'s model through `create` and asks what comes of it, from the files of its image, by every protocol."""
    made = folder / "made"
    nimify("create", folder / "model.onnx", "--yes", "--name", "m", "--output", made)
    assert {"chart", "dist", "nimify.lock", "openapi.yaml", "service"} <= {path.name for path in made.iterdir()}
    with Served.packed(made, folder / "root", folder / "log") as service:
        for ask in PROTOCOLS:
            got = ask(service, request)
            assert alike(got, wanted), f"{ask.__name__}: {got} instead of {wanted}"


@pytest.fixture(scope="module")
def torch(tmp_path_factory):
    """A folder of models that PyTorch exported, all of them by one start of it."""
    folder = tmp_path_factory.mktemp("torch")
    script = Path(__file__).with_name("torch_models.py")
    done = subprocess.run(["/usr/bin/python3", script, folder], capture_output=True, text=True)
    assert done.returncode == 0, f"the distribution's Python has no PyTorch? Run tools/setup.\n{done.stderr}"
    return folder


@pytest.mark.parametrize("name", ["image", "tokens", "recurrent", "halves"])
def test_a_model_of_pytorch_answers_as_it_does_there(name, torch, nimify, tmp_path):
    request, answer = (dict(np.load(torch / f"{name}.{what}.npz")) for what in ("request", "answer"))
    wanted = {name: to_json(value) for name, value in answer.items()}
    with Served(nimify, torch / f"{name}.onnx", tmp_path / "log") as service:
        for ask in PROTOCOLS:
            got = ask(service, request)
            assert alike(got, wanted), f"{ask.__name__}: {got} instead of {wanted}"


@pytest.mark.compiles
def test_a_packed_model_of_pytorch_answers_as_it_does_there(torch, nimify, tmp_path):
    request, answer = (dict(np.load(torch / f"tokens.{what}.npz")) for what in ("request", "answer"))
    shutil.copy(torch / "tokens.onnx", tmp_path / "model.onnx")
    packed_answers(nimify, tmp_path, request, {name: to_json(value) for name, value in answer.items()})
