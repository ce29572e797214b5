"""What nimify tells of an image, and the model's own signature, judged by others' readers and validators."""
import json
import shutil
import subprocess
import sys

import pytest
from conftest import ROOT, Nimify

MODEL = ROOT / "fixtures" / "digits" / "digits.onnx"


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """The `dist` of a fresh `create`."""
    home = tmp_path_factory.mktemp("documents")
    nimify = Nimify(home / "config")
    nimify("create", MODEL, "--yes", "--quiet", "--service", "generic", "--output", home / "digits")
    return home / "digits" / "dist"


def test_spdx_tools_find_nothing_wrong(made):
    from spdx_tools.spdx.parser.parse_anything import parse_file
    from spdx_tools.spdx.validation.document_validator import validate_full_spdx_document

    document = parse_file(str(made / "sbom.spdx.json"))
    assert validate_full_spdx_document(document, "SPDX-2.3") == []
    names = {package.name for package in document.packages}
    assert {"digits", "digits.onnx", "onnxruntime", "digits-service", "serde", "libc6"} <= names, names


def test_cyclonedx_validator_finds_nothing_wrong(made):
    from cyclonedx.model.bom import Bom
    from cyclonedx.schema import SchemaVersion
    from cyclonedx.validation.json import JsonStrictValidator

    text = (made / "sbom.cdx.json").read_text()
    assert JsonStrictValidator(SchemaVersion.V1_6).validate_str(text) is None
    bom = Bom.from_json(json.loads(text))
    models = [c for c in bom.components if c.type.value == "machine-learning-model"]
    assert [model.name for model in models] == ["digits"]
    assert {"serde", "libc6", "onnxruntime"} <= {component.name for component in bom.components}


def test_the_provenance_is_a_statement_of_slsa(made):
    from in_toto_attestation.predicates.provenance.v1 import provenance_pb2
    from google.protobuf import json_format

    predicate = json_format.Parse((made / "provenance.json").read_text(), provenance_pb2.Provenance())
    names = {dependency.name for dependency in predicate.build_definition.resolved_dependencies}
    assert {"digits.onnx", "onnxruntime", "nimify", "templates", "Cargo.lock"} <= names
    assert all(len(d.digest["sha256"]) == 64 for d in predicate.build_definition.resolved_dependencies)


def verify_model(made, folder, key="model.pub"):
    command = ["verify", "key", folder, "--signature", made / "model.sig", "--public_key", made / key]
    return subprocess.run([sys.executable, "-m", "model_signing", *command], capture_output=True, text=True)


def test_model_signing_verifies_the_model(made, tmp_path):
    folder = tmp_path / "digits"
    folder.mkdir()
    shutil.copy(MODEL, folder)
    verified = verify_model(made, folder)
    assert verified.returncode == 0, verified.stderr
    (folder / "more").write_text("more")
    assert verify_model(made, folder).returncode != 0, "a file too many"
    (folder / "more").unlink()
    changed = bytearray(MODEL.read_bytes())
    changed[-1] ^= 1
    (folder / MODEL.name).write_bytes(changed)
    assert verify_model(made, folder).returncode != 0, "a changed byte"
