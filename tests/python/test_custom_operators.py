"""A model with an operator of a library that isn't ONNX Runtime's: served at once, and in an image that carries the library
and what that needs.
"""
import hashlib
import json
import subprocess

import numpy as np
import pytest
from conftest import ROOT
from protocols import PROTOCOLS
from service import Served
from test_real_models import confined

SOURCES = ROOT / "tests" / "operators"
MODEL = ROOT / "fixtures" / "broken" / "custom_operator.onnx"
ROWS = np.array([[1.0, -2.5], [0.5, 4.0]], "float32")


@pytest.fixture(scope="module")
def library(tmp_path_factory):
    """The library, and beside it the one that it needs and finds by its own place."""
    folder = tmp_path_factory.mktemp("operators")
    compiler = ["cc", "-std=gnu17", "-O1", "-shared", "-fPIC"]
    scale, operators = folder / "libscale.so", folder / "liboperators.so"
    subprocess.run([*compiler, "-Wl,-soname,libscale.so", "-o", scale, SOURCES / "scale.c"], check=True)
    subprocess.run([*compiler, "-Wl,-rpath,$ORIGIN", "-o", operators, SOURCES / "operators.c", scale], check=True)
    return operators


def test_the_library_is_loaded_where_it_is_named(nimify, library, tmp_path):
    assert "proved along axis 0" in nimify("inspect", MODEL, "--probe", "--custom-ops", library)
    with Served(nimify, MODEL, tmp_path / "log", ["--custom-ops", library]) as service:
        for ask in PROTOCOLS:
            assert ask(service, {"x": ROWS}) == {"y": (ROWS * 3).tolist()}, ask.__name__


def test_an_image_carries_the_library_and_what_it_needs(nimify, library, engine, port, tmp_path):
    folder = tmp_path / "fancy"
    made = ["--yes", "--quiet", "--service", "generic", "--name", "fancy", "--output", folder]
    nimify("create", MODEL, "--custom-ops", library, *made)
    digest = hashlib.sha256(library.read_bytes()).hexdigest()
    assert f"liboperators.so: sha256:{digest}" in (folder / "nimify.lock").read_text()
    for document in ("provenance.json", "sbom.spdx.json", "sbom.cdx.json"):
        assert digest in (folder / "dist" / document).read_text(), document
    assert str(library.parent) not in (folder / "dist" / "provenance.json").read_text(), "a folder of this machine"
    components = json.loads((folder / "dist" / "sbom.cdx.json").read_text())["components"]
    assert any(component["name"].endswith("/libscale.so") for component in components)
    nimify("build", "--config", folder / "nimify.yaml", "--locked", "--quiet")
    nimify("load", folder, DOCKER_HOST=engine.host)
    try:
        with confined(engine, "fancy:latest", port) as service:
            assert service.predict({"x": ROWS.tolist()}) == {"y": (ROWS * 3).tolist()}
    finally:
        engine.docker("image", "rm", "--force", "fancy:latest", "fancy:0.1.0")
