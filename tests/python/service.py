"""A running service seen from outside, and what ONNX Runtime itself says in Python."""
import base64
import json
import math
import re
import shutil
import subprocess
import tarfile
import time
import urllib.error
import urllib.request

import ml_dtypes
import numpy as np
import onnxruntime
import pytest
import tritonclient.grpc
import tritonclient.http

# On a machine that does much else; a service that is alone takes a fraction of a second.
PATIENCE = 60

# Where ONNX Runtime has another word for a type than numpy.
DTYPES = {"float": "float32", "double": "float64", "string": "object"}


class Service:
    """The service at a port of this machine."""

    def __init__(self, port):
        self.address = f"127.0.0.1:{port}"

    def wait(self, ended, log):
        """Until it is ready. `ended()` says whether it never will be; `log()` is what it said."""
        deadline = time.monotonic() + PATIENCE
        while time.monotonic() < deadline and not ended():
            try:
                urllib.request.urlopen(f"http://{self.address}/v1/health/ready", timeout=5).close()
                return self
            except OSError:
                time.sleep(0.02)
        pytest.fail(f"the service isn't ready:\n{log()}")

    def post(self, path, body):
        """The status and the parsed answer to a JSON body."""
        text = body if isinstance(body, str) else json.dumps(body)
        headers = {"Content-Type": "application/json"}
        request = urllib.request.Request(f"http://{self.address}{path}", text.encode(), headers)
        try:
            with urllib.request.urlopen(request, timeout=PATIENCE) as answer:
                return answer.status, json.load(answer)
        except urllib.error.HTTPError as error:
            return error.code, json.load(error)

    def predict(self, body):
        """The answer of `/v1/predict`, which has to be one."""
        status, answer = self.post("/v1/predict", body)
        assert status == 200, answer
        return answer


class Served(Service):
    """A model that `nimify run` serves as `m` on ports of its own choice, and what its metadata says."""

    def __init__(self, nimify, model, log, arguments=(), **environment):
        self.log = log
        ports = ["--port", "0", "--grpc-port", "0"]
        with log.open("w") as file:
            self.process = nimify.start("run", model, "--name", "m", *ports, *arguments, log=file, **environment)

    @classmethod
    def packed(cls, folder, root, log):
        """What `nimify create` has written to `folder`, its model called `m`: the image's files laid out in `root`, and its
        service started in them as the image's user, who finds nothing else."""
        unpack(folder / "dist" / "image", root)
        served = cls.__new__(cls)
        served.log = log
        ports = {"NIMIFY_HOST": "127.0.0.1", "NIMIFY_PORT": "0", "NIMIFY_GRPC_PORT": "0"}
        with log.open("w") as file:
            served.process = subprocess.Popen(inside(root), env=ports, stdin=subprocess.DEVNULL, stdout=file, stderr=file)
        return served

    def __enter__(self):
        try:
            super().__init__(self.listens("address"))
            self.grpc_address = f"127.0.0.1:{self.listens('grpc')}"
            self.wait(self.ended, self.log.read_text)
        except BaseException:
            self.process.kill()
            self.process.wait()
            raise
        self.client = tritonclient.http.InferenceServerClient(self.address)
        self.grpc_client = tritonclient.grpc.InferenceServerClient(self.grpc_address)
        metadata = self.client.get_model_metadata("m")
        self.inputs = {value["name"]: value["datatype"] for value in metadata["inputs"]}
        self.outputs = {value["name"]: value["datatype"] for value in metadata["outputs"]}
        return self

    def __exit__(self, kind, *_):
        self.client.close()
        self.grpc_client.close()
        self.process.terminate()
        code = self.process.wait(PATIENCE)
        # A fault of the test itself says more.
        assert kind or code == 0, f"{code}: {self.log.read_text()}"

    def ended(self):
        return self.process.poll() is not None

    def listens(self, what):
        """The port that it says it listens on: no other process can take it between a choice here and its start."""
        return int(self.until(lambda: re.search(rf"listening.* {what}=\S+:(\d+)", self.log.read_text()))[1])

    def until(self, something):
        """What `something()` gives, once it gives something."""
        deadline = time.monotonic() + PATIENCE
        while time.monotonic() < deadline and not self.ended():
            if given := something():
                return given
            time.sleep(0.01)
        pytest.fail(f"the service doesn't come up:\n{self.log.read_text()}")


def unpack(layout, root):
    """Lays the layers of an image's OCI layout over each other."""
    def blob(descriptor):
        return layout / "blobs" / descriptor["digest"].replace(":", "/")

    index = json.loads((layout / "index.json").read_text())
    for layer in json.loads(blob(index["manifests"][0]).read_text())["layers"]:
        with tarfile.open(blob(layer)) as archive:
            archive.extractall(root, filter="fully_trusted")


def inside(root):
    """The command that starts the service of an image whose files are laid out in `root`, as its user; only root can. As
    in a container there is `/proc`, by which ONNX Runtime finds weights beside a graph, and nothing else of the machine."""
    (root / "proc").mkdir(exist_ok=True)
    user = '--wd=/nimify --setgid=65532 --setuid=65532'
    script = f'mount --rbind /proc "$0/proc" && exec unshare --root="$0" {user} /nimify/service'
    return [shutil.which("unshare"), "--mount", shutil.which("sh"), "-c", script, str(root)]


def from_json(kind, value):
    """The value of an input of ONNX Runtime's type `kind` that a JSON value stands for: an array, a list or nothing."""
    outer, inner = kind.removesuffix(")").split("(", 1)
    if outer == "seq":
        return [from_json(inner, part) for part in value]
    if outer == "optional":
        return None if value is None else from_json(inner, value)
    if inner == "bfloat16":
        # It alone doesn't read the words for what is not finite.
        return np.array(value, "float32").astype(ml_dtypes.bfloat16)
    return np.array(value, DTYPES.get(inner, inner))


def to_json(value):
    """The JSON value that stands for a value: nested lists, words for what is not finite, base64 for what is no text."""
    if isinstance(value, np.ndarray):
        return to_json((value.astype("float64") if value.dtype == ml_dtypes.bfloat16 else value).tolist())
    if isinstance(value, list):
        return [to_json(part) for part in value]
    if isinstance(value, dict):
        return {str(key): to_json(part) for key, part in value.items()}
    if isinstance(value, float) and not math.isfinite(value):
        return "NaN" if math.isnan(value) else "Infinity" if value > 0 else "-Infinity"
    if isinstance(value, bytes):
        try:
            return value.decode()
        except UnicodeDecodeError:
            return {"b64": base64.b64encode(value).decode()}
    return value


class Reference:
    """ONNX Runtime in Python, over the same model."""

    def __init__(self, model):
        self.session = onnxruntime.InferenceSession(model, providers=["CPUExecutionProvider"])
        self.kinds = {value.name: value.type for value in self.session.get_inputs()}
        self.outputs = [value.name for value in self.session.get_outputs()]

    def values(self, body):
        """A request's inputs as it takes them."""
        return {name: from_json(self.kinds[name], value) for name, value in body.items()}

    def run(self, values):
        """Its answer by the outputs' names."""
        return dict(zip(self.outputs, self.session.run(None, values), strict=True))
