"""Hours of mixed work for `nimify run`: every protocol, many shapes, requests cancelled, connections dropped, bodies that
are wrong, and a SIGTERM at the end.

    tools/soak [MINUTES]

Each request carries its own expected answer, so that one that is lost or another's is found. Fails unless every answer
is right, memory and open files stay flat, and the services end by themselves with code 0. It asks nothing of time:
workers rest as long as their requests took, which is about half of what the machine can do, however busy it is.
"""
import http.client
import json
import random
import signal
import socket
import statistics
import struct
import sys
import tempfile
import threading
import time
import traceback
from collections import Counter
from pathlib import Path

import numpy as np
import onnxruntime
import tritonclient.grpc
import tritonclient.http

from conftest import ROOT, Nimify
from protocols import PROTOCOLS, alike, grpc_raw, v2_binary
from service import PATIENCE, Reference, Served, to_json

FIXTURES = ROOT / "fixtures" / "models"
SLOW = ROOT / "runtime" / "tests" / "data" / "slow.onnx"
# Of a hundred requests, so many go wrong on purpose.
MISCHIEF = 10
# However busy the machine is, nothing is given up for being late.
LENIENT = {"NIMIFY_DRAIN_DELAY": "1s", "NIMIFY_DRAIN_TIMEOUT": "10m", "NIMIFY_REQUEST_TIMEOUT": "10m"}
# What memory may grow by between the first and the last part: allocators keep what they once needed.
GROWTH, GROWTH_BYTES = 1.10, 24 << 20


def floats(rng, shape):
    return np.array([rng.uniform(-9, 9) for _ in range(int(np.prod(shape)))], "float32").reshape(shape)


# For each model, how to make the inputs of one request.
INPUTS = {
    "mlp": lambda rng: {"x": floats(rng, (rng.randint(1, 24), 4))},
    "tokens": lambda rng: tokens(rng, rng.randint(1, 6), rng.randint(1, 40)),
    "text": lambda rng: {"text": np.array(["é" * rng.randint(0, 9) + str(rng.random()) for _ in range(3)], "object")},
}


def tokens(rng, rows, length):
    ids = np.array([[rng.randrange(16) for _ in range(length)] for _ in range(rows)], "int64")
    return {"input_ids": ids, "attention_mask": np.ones_like(ids)}


class Pool:
    """Requests of a model, each with the answer that ONNX Runtime gives."""

    def __init__(self, name, rng, size=300):
        reference = Reference(FIXTURES / f"{name}.onnx")
        self.requests = [
            (values, {key: to_json(value) for key, value in reference.run(values).items()})
            for values in (INPUTS[name](rng) for _ in range(size))
        ]


class Connected:
    """What a worker asks by: clients of its own to a service that all share."""

    def __init__(self, served):
        self.address, self.grpc_address = served.address, served.grpc_address
        self.inputs, self.outputs, self.post, self.predict = served.inputs, served.outputs, served.post, served.predict
        self.client = tritonclient.http.InferenceServerClient(self.address, network_timeout=PATIENCE)
        self.grpc_client = tritonclient.grpc.InferenceServerClient(self.grpc_address)

    def close(self):
        self.client.close()
        self.grpc_client.close()


def body(values):
    return json.dumps({name: to_json(value) for name, value in values.items()}).encode()


def head(length):
    return (f"POST /v1/predict HTTP/1.1\r\nHost: soak\r\nContent-Type: application/json\r\n"
            f"Content-Length: {length}\r\n\r\n").encode()


def drop(connected, values, rng):
    """A connection that ends in the middle of a request, or before its answer, some by a reset."""
    whole = body(values)
    host, port = connected.address.split(":")
    with socket.create_connection((host, int(port)), PATIENCE) as stream:
        stream.sendall(head(len(whole)) + whole[:rng.choice([0, len(whole) // 2, len(whole)])])
        if rng.random() < 0.5:
            stream.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))


def cancel(connected, values, rng):
    """A gRPC request that is called back at some moment."""
    inputs = [tritonclient.grpc.InferInput(name, value.shape, connected.inputs[name]).set_data_from_numpy(value)
              for name, value in values.items()]
    call = connected.grpc_client.async_infer("m", inputs, callback=lambda result, error: None)
    time.sleep(rng.random() * 2e-3)
    call.cancel()


def refused(status, path, content):
    """A request that is wrong, and the status that says so."""
    def ask(connected, values, rng):
        connection = http.client.HTTPConnection(connected.address, timeout=PATIENCE)
        connection.request("POST", path, content, {"Content-Type": "application/json"})
        answer = connection.getresponse()
        assert answer.status == status, f"{answer.status} to {path} {content}: {answer.read()}"
        connection.close()
    ask.__name__ = f"refused_{status}"
    return ask


WRONG = [
    drop, drop, cancel, cancel,
    refused(400, "/v1/predict", b"{"),
    refused(400, "/v1/predict", b'{"x": [[1, 2'),
    refused(400, "/v2/models/m/infer", b'{"inputs": [{"name": "nope", "shape": [1], "datatype": "FP32", "data": [1]}]}'),
    refused(404, "/v2/models/other/infer", b"{}"),
    refused(404, "/nowhere", b"{}"),
]


class Soak:
    def __init__(self):
        self.stop, self.faults, self.counts, self.lock = threading.Event(), [], Counter(), threading.Lock()

    def fault(self, what):
        with self.lock:
            self.faults.append(what)
        self.stop.set()

    def work(self, served, pool, seed):
        """One request after the other, until told to stop; none that was begun is given up."""
        rng, counts, connected = random.Random(seed), Counter(), Connected(served)
        try:
            while not self.stop.is_set():
                begun = time.monotonic()
                values, wanted = rng.choice(pool.requests)
                ask = rng.choice(WRONG if rng.randrange(100) < MISCHIEF else PROTOCOLS)
                if ask in PROTOCOLS:
                    answer = ask(connected, values)
                    assert alike(answer, wanted), f"{ask.__name__}: {answer} instead of {wanted}"
                else:
                    ask(connected, values, rng)
                counts[ask.__name__] += 1
                time.sleep(time.monotonic() - begun)
        except BaseException:
            self.fault(f"{ask.__name__}:\n{traceback.format_exc()}")
        finally:
            connected.close()
            with self.lock:
                self.counts += counts


class Watched:
    """A service's memory and open files, from outside."""

    def __init__(self, served):
        self.folder = Path("/proc", str(served.process.pid))
        self.samples = []
        self.sample()

    def sample(self):
        status = (self.folder / "status").read_text()
        self.samples.append(int(status.split("VmRSS:")[1].split()[0]) << 10)

    def files(self):
        return len(list((self.folder / "fd").iterdir()))

    def verdict(self):
        """What memory did after the first quarter, in which caches and allocators fill."""
        quarter = max(len(self.samples) // 4, 1)
        early = statistics.median(self.samples[quarter:2 * quarter] or self.samples)
        late = statistics.median(self.samples[-quarter:])
        words = f"{early / 2**20:.1f} MiB, then {late / 2**20:.1f} MiB, at most {max(self.samples) / 2**20:.1f} MiB"
        return words, late <= early * GROWTH + GROWTH_BYTES


def settled(watched, before):
    """Whether as few files are open as before the first request, soon after the last connection went."""
    deadline = time.monotonic() + PATIENCE
    while watched.files() > before and time.monotonic() < deadline:
        time.sleep(0.1)
    return watched.files() <= before


def ends_with_work_in_flight(nimify, folder):
    """SIGTERM while a slow model computes: each request gets its answer, and then the service ends."""
    wanted = Reference(SLOW).run({"count": np.array(300, "int64")})["y"].tolist()
    answers = []

    def ask(by):
        try:
            answers.append(by(connected, {"count": np.array(300, "int64")})["y"])
        except Exception as error:
            answers.append(repr(error))

    with Served(nimify, SLOW, folder / "slow.log", **LENIENT) as served:
        connected = Connected(served)
        workers = [threading.Thread(target=ask, args=(by,)) for by in (v2_binary, grpc_raw)]
        for worker in workers:
            worker.start()
        while "num_requests_running 2" not in metrics(served) and not answers:
            time.sleep(0.01)
        served.process.terminate()
        for worker in workers:
            worker.join()
    assert all(alike(answer, wanted) for answer in answers), f"{answers} instead of {wanted}"
    return f"{len(answers)} answers came after SIGTERM"


def metrics(served):
    connection = http.client.HTTPConnection(served.address, timeout=PATIENCE)
    connection.request("GET", "/metrics")
    return connection.getresponse().read().decode()


def soak(minutes, folder):
    onnxruntime.set_default_logger_severity(4)
    nimify, rng, soak = Nimify(folder), random.Random(1), Soak()
    served = {name: Served(nimify, FIXTURES / f"{name}.onnx", folder / f"{name}.log", **LENIENT).__enter__()
              for name in INPUTS}
    watched = {name: Watched(service) for name, service in served.items()}
    before = {name: one.files() for name, one in watched.items()}
    pools = {name: Pool(name, rng) for name in INPUTS}
    workers = [threading.Thread(target=soak.work, args=(served[name], pools[name], f"{name} {k}"))
               for name in INPUTS for k in range(3)]
    for worker in workers:
        worker.start()
    end = time.monotonic() + 60 * minutes
    while time.monotonic() < end and not soak.stop.wait(max(0.2, min(minutes, 2))):
        for one in watched.values():
            one.sample()
    return finish(soak, served, watched, before, workers)


def finish(soak, served, watched, before, workers):
    # One goes while requests are in flight; the others are looked at with none.
    last = served["mlp"]
    last.process.terminate()
    soak.stop.set()
    for worker in workers:
        worker.join()
    for name, service in served.items():
        words, flat = watched[name].verdict()
        print(f"{name}: {words}")
        if not flat:
            soak.faults.append(f"{name}: its memory grows")
        service.client.close()
        service.grpc_client.close()
        if service is not last:
            if not settled(watched[name], before[name]):
                soak.faults.append(f"{name}: {watched[name].files()} open files, {before[name]} before")
            if "num_requests_running 0" not in metrics(service):
                soak.faults.append(f"{name}: it says that it has requests, and has none")
            service.process.terminate()
        code = service.process.wait(5 * PATIENCE)
        if code:
            soak.faults.append(f"{name}: exit code {code}\n{service.log.read_text()[-2000:]}")
    print(", ".join(f"{count} {name}" for name, count in sorted(soak.counts.items())))
    return soak.faults


def main():
    minutes = float(sys.argv[1]) if len(sys.argv) > 1 else 60
    # The services go with this process, however it ends.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
    with tempfile.TemporaryDirectory() as folder:
        faults = soak(minutes, Path(folder))
        if not faults:
            print(ends_with_work_in_flight(Nimify(folder), Path(folder)))
    for fault in faults:
        print(fault, file=sys.stderr)
    print(f"soak of {minutes:g} minutes: {'failed' if faults else 'no answer lost or mixed'}")
    return bool(faults)


if __name__ == "__main__":
    sys.exit(main())
