"""A running service seen from outside, and what ONNX Runtime itself says in Python."""
import json
import time
import urllib.error
import urllib.request

import numpy as np
import onnxruntime
import pytest

# On a machine that does much else; a service that is alone takes a fraction of a second.
PATIENCE = 60


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


class Reference:
    """ONNX Runtime in Python, over the same model."""

    DTYPES = {"float": "float32", "double": "float64", "string": "object"}

    def __init__(self, model):
        self.session = onnxruntime.InferenceSession(model, providers=["CPUExecutionProvider"])
        kinds = {value.name: value.type.removeprefix("tensor(").removesuffix(")") for value in self.session.get_inputs()}
        self.dtypes = {name: self.DTYPES.get(kind, kind) for name, kind in kinds.items()}
        self.outputs = [value.name for value in self.session.get_outputs()]

    def arrays(self, body):
        """A request's inputs as arrays."""
        return {name: np.array(value, self.dtypes[name]) for name, value in body.items()}

    def run(self, inputs):
        """Its answer by the outputs' names."""
        return dict(zip(self.outputs, self.session.run(None, inputs), strict=True))
