"""ONNX's own backend suite: every case that ONNX Runtime itself runs, served by `nimify run` and asked by every protocol,
gives what ONNX Runtime gives in Python.
"""
import os
import threading
import warnings
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import numpy_helper
from onnx.backend.test.case.node import collect_testcases
from onnx.backend.test.loader import load_model_tests

from protocols import PROTOCOLS, alike
from service import Reference, Served, to_json

# What this version of ONNX Runtime runs of this version of ONNX, time and again alike: cases of tensors alone, and those
# with sequences or optionals. Fewer would mean that some were lost on the way here.
CASES = 1481 + 23
# How many faults of a protocol are written out.
REPORTED = 20


def read(path, kind):
    """The value in a file of the suite, of the type of the input that it is for."""
    data = path.read_bytes()
    if kind.HasField("sequence_type"):
        return numpy_helper.to_list(onnx.SequenceProto.FromString(data))
    if kind.HasField("optional_type"):
        return numpy_helper.to_optional(onnx.OptionalProto.FromString(data))
    return numpy_helper.to_array(onnx.TensorProto.FromString(data))


def cases():
    """Name, model, and the inputs of the first data set in the model's order."""
    for case in collect_testcases(None):
        if case.model is not None and case.data_sets:
            yield case.name, case.model, case.data_sets[0][0]
    for kind in ("simple", "pytorch-converted", "pytorch-operator", "light"):
        for case in load_model_tests(kind=kind):
            folder = Path(case.model_dir)
            model = onnx.load(folder / "model.onnx")
            if data := sorted(folder.glob("*_set_*/")):
                files = sorted(data[0].glob("input_*.pb"), key=lambda path: int(path.stem.removeprefix("input_")))
                kinds = [value.type for value in model.graph.input]
                yield case.name, model, [read(path, kind) for path, kind in zip(files, kinds)]


def answered(path, inputs):
    """The inputs by name and what ONNX Runtime answers; nothing where it runs no such model, or where the model draws
    lots, so that no two runs are alike.
    """
    try:
        reference = Reference(path)
        values = dict(zip(reference.kinds, inputs))
        values = {name: value if value is None or isinstance(value, list) else np.asarray(value)
                  for name, value in values.items()}
        answers = [{name: to_json(value) for name, value in reference.run(values).items()} for _ in range(len(PROTOCOLS))]
    except Exception:  # It has a class for each reason, and none in common.
        return None
    return (values, answers[0]) if all(alike(answer, answers[0]) for answer in answers) else None


class Faults:
    """What went wrong by each protocol, and how many cases there were."""

    def __init__(self):
        self.asked, self.found, self.lock = 0, {ask.__name__: [] for ask in PROTOCOLS}, threading.Lock()

    def judge(self, nimify, folder, name, model, inputs):
        path = folder / f"{name}.onnx"
        onnx.save(model, path)
        if (known := answered(path, inputs)) is None:
            return
        values, wanted = known
        with self.lock:
            self.asked += 1
        try:
            with Served(nimify, path, folder / f"{name}.log") as service:
                for ask in PROTOCOLS:
                    self.ask(ask, service, name, values, wanted)
        except (AssertionError, pytest.fail.Exception) as error:
            for ask in PROTOCOLS:
                self.add(ask, name, error)
        path.unlink()

    def ask(self, ask, service, name, values, wanted):
        try:
            answer = ask(service, values)
        except Exception as error:  # Whatever the client makes of a wrong answer is a fault.
            return self.add(ask, name, repr(error))
        if not alike(answer, wanted):
            self.add(ask, name, f"{str(answer)[:200]} instead of {str(wanted)[:200]}")

    def add(self, ask, name, what):
        with self.lock:
            self.found[ask.__name__].append(f"{name}: {what}")


@pytest.fixture(scope="module")
def faults(nimify, tmp_path_factory):
    onnxruntime.set_default_logger_severity(4)
    folder, faults = tmp_path_factory.mktemp("suite"), Faults()
    with warnings.catch_warnings(), ThreadPoolExecutor(2 * os.cpu_count()) as pool:
        warnings.simplefilter("ignore")
        for done in [pool.submit(faults.judge, nimify, folder, *case) for case in cases()]:
            done.result()
    return faults


def test_no_case_is_lost(faults):
    assert faults.asked == CASES


@pytest.mark.parametrize("protocol", [ask.__name__ for ask in PROTOCOLS])
def test_every_case_is_answered_as_by_onnx_runtime(faults, protocol):
    found = faults.found[protocol]
    assert not found, f"{len(found)} of {faults.asked}:\n" + "\n".join(found[:REPORTED])
