"""Models from the object stores of three clouds and from MLflow: files, folders, versions, credentials, downloads that break off.

The servers are programs that other people test with: see stores.py.
"""
import hashlib
import json
import os
import subprocess

import pytest

from conftest import ROOT, Nimify
from stores import S3, Azure, CutOff, GoogleStorage, Mlflow

DIGITS = (ROOT / "fixtures" / "digits" / "digits.onnx").read_bytes()
MODELS = ROOT / "fixtures" / "models"


class Desk:
    """A user with a home and a cache of their own, and nobody else's credentials."""

    def __init__(self, home):
        self.home = home
        ours = ("AWS_", "AZURE_", "GOOGLE_", "STORAGE_EMULATOR", "GCE_", "CLOUDSDK_", "MLFLOW_")
        plain = {name: value for name, value in os.environ.items() if not name.startswith(ours)}
        self.environment = plain | {"HOME": str(home), "NIMIFY_CACHE": str(home / "cache")}
        self.path = Nimify(home).path

    def run(self, *arguments, **variables):
        return subprocess.run([self.path, *arguments], capture_output=True, text=True, stdin=subprocess.DEVNULL,
                              env=self.environment | variables)

    def inspect(self, source, *more, **variables):
        """What is said of a model."""
        done = self.run("inspect", source, "--format", "json", *more, **variables)
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout)

    def refused(self, source, **variables):
        """The words with which a model is refused."""
        done = self.run("inspect", source, **variables)
        assert done.returncode != 0, done.stdout
        return done.stderr


@pytest.fixture
def desk(tmp_path):
    return Desk(tmp_path)


@pytest.fixture(scope="module")
def servers(tmp_path_factory):
    """Each kind of store, with the same three models in its bucket `models`, and what leads there."""
    home = tmp_path_factory.mktemp("stores")
    s3, gs, az = S3(home), GoogleStorage(home), Azure(home)
    for store in (s3, gs, az):
        store.put("digits.onnx", DIGITS)
        for name in ("external.onnx", "external.bin"):
            store.put(f"some/folder/{name}", (MODELS / name).read_bytes())
        store.put("some/notes.txt", b"no model")
    s3.put("replaced.onnx", b"not yet a model")
    s3.put("replaced.onnx", DIGITS)
    identifier, secret = s3.give_keys()
    keys = {"AWS_ACCESS_KEY_ID": identifier, "AWS_SECRET_ACCESS_KEY": secret}
    yield {
        "s3": (s3, {"AWS_ENDPOINT_URL": f"http://{s3.address}", **keys}),
        "gs": (gs, {"STORAGE_EMULATOR_HOST": gs.address}),
        "az": (az, {"AZURE_STORAGE_CONNECTION_STRING": az.connection()}),
    }
    for store in (s3, gs, az):
        store.stop()


@pytest.fixture(params=["s3", "gs", "az"])
def store(request, servers):
    """The scheme and the variables of each."""
    return request.param, servers[request.param][1]


def digest(content):
    return "sha256:" + hashlib.sha256(content).hexdigest()


def test_an_object_and_a_folder_are_models(desk, store):
    scheme, variables = store
    assert desk.inspect(f"{scheme}://models/digits.onnx", **variables)["digest"] == digest(DIGITS)
    wanted = digest((MODELS / "external.onnx").read_bytes())
    # A folder, with and without a stroke at its end; and one file, whose tensors are in another beside it.
    for place in ("some/folder/", "some/folder", "some/folder/external.onnx"):
        found = desk.inspect(f"{scheme}://models/{place}", **variables)
        assert found["digest"] == wanted, place
    # Without a network it is what it was.
    assert desk.inspect(f"{scheme}://models/some/folder", "--offline")["digest"] == wanted


def test_what_is_not_there_is_said(desk, store):
    scheme, variables = store
    words = desk.refused(f"{scheme}://models/none.onnx", **variables)
    assert "is not there: neither an object of that name, nor one below it" in words, words
    words = desk.refused(f"{scheme}://other/none.onnx", **variables)
    assert "list what is below" in words and "other/none.onnx`" in words and "answered" in words, words
    words = desk.refused(f"{scheme}://models/some/notes.txt", **variables)
    assert "holds no model" in words, words


def test_a_version_stays_when_the_object_is_replaced(desk, servers):
    s3, variables = servers["s3"]
    first, second = s3.versions["replaced.onnx"]
    assert desk.inspect("s3://models/replaced.onnx", **variables)["digest"] == digest(DIGITS)
    for version, content in ((first, b"not yet a model"), (second, DIGITS)):
        done = desk.run("inspect", f"s3://models/replaced.onnx?versionId={version}", "--format", "json", **variables)
        assert (done.returncode == 0) == (content == DIGITS), done.stderr
    words = desk.refused("s3://models/replaced.onnx?versionId=none", **variables)
    assert "s3://models/replaced.onnx" in words, words


def test_keys_are_found_and_never_told(desk, servers):
    s3, variables = servers["s3"]
    identifier, secret = variables["AWS_ACCESS_KEY_ID"], variables["AWS_SECRET_ACCESS_KEY"]
    place = {"AWS_ENDPOINT_URL": variables["AWS_ENDPOINT_URL"]}
    words = desk.refused("s3://models/digits.onnx", **place)
    assert "refuses a request without credentials" in words and "AWS_PROFILE" in words, words
    wrong = variables | {"AWS_SECRET_ACCESS_KEY": "hunter2hunter2"}
    words = desk.refused("s3://models/digits.onnx", **wrong)
    assert "refuses the keys from `AWS_ACCESS_KEY_ID`" in words and "hunter2" not in words, words

    (desk.home / ".aws").mkdir()
    (desk.home / ".aws" / "config").write_text(f"[profile ml]\nregion = eu-west-1\nendpoint_url = {place['AWS_ENDPOINT_URL']}\n")
    (desk.home / ".aws" / "credentials").write_text(
        f"[ml]\naws_access_key_id = {identifier}\naws_secret_access_key = {secret}\n")
    assert desk.inspect("s3://models/digits.onnx", AWS_PROFILE="ml")["digest"] == digest(DIGITS)
    words = desk.refused("s3://models/digits.onnx", AWS_PROFILE="other")
    assert "the profile `other` can't be used" in words, words

    az, _ = servers["az"]
    connection = az.connection("aHVudGVyMg==")
    words = desk.refused("az://models/digits.onnx", AZURE_STORAGE_CONNECTION_STRING=connection)
    assert "refuses the credentials from `AZURE_STORAGE_CONNECTION_STRING`" in words, words
    assert "aHVudGVyMg" not in words and "Signature" not in words, words
    words = desk.refused("az://models/digits.onnx")
    assert "it names no account" in words, words


def test_without_tls_nobody_elsewhere_is_asked(desk):
    words = desk.refused("s3://models/digits.onnx", AWS_ENDPOINT_URL="http://s3.example.com")
    assert "`s3.example.com` is not asked without TLS unless `--plain-http` is given" in words, words


def test_a_download_goes_on_where_it_broke_off(desk, servers):
    gs, _ = servers["gs"]
    # Side files are taken as they are: what is in this one, nobody looks at.
    gs.put("large/digits.onnx", DIGITS)
    gs.put("large/weights.bin", os.urandom(3_000_000))
    way = CutOff(gs, 1_000_000)
    found = desk.inspect("gs://models/large/", STORAGE_EMULATOR_HOST=way.address)
    way.stop()
    assert found["digest"] == digest(DIGITS)
    # None of the connections carried the file whole.
    (listing,) = desk.home.glob("cache/models/*/digests.json")
    assert len(json.loads(listing.read_text())) == 2


# As `mlflow.onnx.log_model` writes it, less what only Python reads.
ONNX_MODEL = """artifact_path: model
flavors:
  onnx:
    code: null
    data: model.onnx
    onnx_version: 1.23.2
    providers:
    - CUDAExecutionProvider
    - CPUExecutionProvider
  python_function:
    data: model.onnx
    loader_module: mlflow.onnx
mlflow_version: 3.17.2
"""


def test_a_version_of_an_mlflow_registry_is_a_model(desk, tmp_path_factory):
    server = Mlflow(tmp_path_factory.mktemp("mlflow"))
    external = {name: (MODELS / name).read_bytes() for name in ("external.onnx", "external.bin")}
    server.keep("digits", {"MLmodel": ONNX_MODEL.encode(), "model.onnx": DIGITS, "requirements.txt": b"onnx\n"})
    server.keep("external", {"MLmodel": ONNX_MODEL.replace("model.onnx", "external.onnx").encode(), **external})
    server.keep("forest", {"MLmodel": b"flavors:\n  python_function: {}\n  sklearn: {}\n"})
    versions = [server.register("numbers", name) for name in ("digits", "external", "forest")]
    assert versions == ["1", "2", "3"]
    place = {"MLFLOW_TRACKING_URI": f"http://{server.address}"}
    first, second = digest(DIGITS), digest(external["external.onnx"])
    assert desk.inspect("mlflow://models/numbers/1", **place)["digest"] == first
    assert desk.inspect("mlflow://models/numbers/2", **place)["digest"] == second
    assert desk.inspect(f"mlflow://runs/{server.run['run_id']}/digits", **place)["digest"] == first
    for version, wanted in (("1", first), ("2", second)):
        server.alias("numbers", "champion", version)
        assert desk.inspect("mlflow://models/numbers@champion", **place)["digest"] == wanted
    words = desk.refused("mlflow://models/numbers/3", **place)
    assert "is no ONNX model, but of the flavors `python_function`, `sklearn`" in words, words
    words = desk.refused("mlflow://models/numbers/4", **place)
    assert "404" in words and "not found" in words, words
    words = desk.refused("mlflow://models/numbers/1")
    assert "`MLFLOW_TRACKING_URI` can't be used: it is not set" in words, words
    server.stop()
    assert desk.inspect("mlflow://models/numbers@champion", "--offline", **place)["digest"] == second
