"""A service judged by the OpenAPI document that it serves: requests that the document allows are answered as it says,
others are refused, and nothing makes a fault of the service.
"""
import os
import subprocess
from pathlib import Path

import pytest

from conftest import ROOT
from service import Served

HERE = Path(__file__).resolve().parent
# Each says something else of its inputs.
MODELS = ["empty", "map_output", "mlp", "no_inputs", "optional_input", "scalar", "sequence_input", "text", "types",
          "unknown_rank"]
# No schema says that inputs have to be as long as each other, nor that nested arrays aren't ragged.
UNSAID = {"types", "unknown_rank"}


@pytest.mark.parametrize("name", MODELS)
def test_a_service_keeps_to_its_document(name, nimify, tmp_path):
    with Served(nimify, ROOT / "fixtures" / "models" / f"{name}.onnx", tmp_path / "log") as service:
        command = ["schemathesis", "--config-file", HERE / "schemathesis.toml", "run", "--no-color",
                   f"http://{service.address}/openapi.json"]
        if name in UNSAID:
            command.append("--exclude-checks=positive_data_acceptance")
        environment = os.environ | {"SCHEMATHESIS_HOOKS": "schemathesis_hooks", "PYTHONPATH": str(HERE)}
        # It writes its findings where it stands.
        done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout[-20_000:] + done.stderr
