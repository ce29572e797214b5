"""Programs that others wrote to put a load on servers: each ends well, and no request of theirs fails."""
import json
import re
import subprocess

import pytest

from conftest import ROOT
from service import PATIENCE, Served


@pytest.fixture(scope="module")
def service(nimify, tmp_path_factory):
    with Served(nimify, ROOT / "fixtures" / "models" / "mlp.onnx", tmp_path_factory.mktemp("log") / "log") as service:
        yield service


def run(*command):
    """A program that has to end well; what it printed."""
    done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=5 * PATIENCE)
    assert done.returncode == 0, done.stdout
    return done.stdout


@pytest.mark.parametrize("options", [["-i", "http"], ["-i", "grpc"], ["-i", "grpc", "--streaming"],
                                     ["-i", "http", "--request-rate-range", "50"]],
                         ids=["http", "grpc", "grpc-streaming", "http-open-loop"])
def test_perf_analyzer_measures_by_every_protocol(service, options):
    address = service.address if "http" in options else service.grpc_address
    load = [] if "--request-rate-range" in options else ["--concurrency-range", "4", "--async"]
    # A count, and no stability asked for: how quick it is on a busy machine is not the question here.
    said = run("perf_analyzer", "-m", "m", "-u", address, *options, *load, "-b", "2", "--shape", "x:4",
               "--measurement-mode", "count_windows", "--measurement-request-count", "50", "-s", "999", "-r", "3")
    # It asks for metadata, configuration and statistics too, and prints what the server counted.
    assert int(re.search(r"Server: *\n +Inference count: (\d+)", said)[1]) > 0, said
    assert int(re.search(r"Client: *\n +Request count: (\d+)", said)[1]) > 0, said
    assert not re.search(r"[Ff]ailed|\[ERROR\]", said), said


@pytest.mark.parametrize("protocol", ["h2c", "http/1.1"])
def test_h2load_loses_no_request(service, tmp_path, protocol):
    body = tmp_path / "body.json"
    body.write_text(json.dumps({"x": [[0.5, -1.25, 3.0, 1e-3]]}))
    flags = ["--h1"] if protocol == "http/1.1" else ["-m", "16"]
    loses_none(run(*h2load(body), *flags, f"http://{service.address}/v1/predict"))


def h2load(body):
    return "h2load", "-n", "2000", "-c", "4", "-d", body, "-H", "content-type: application/json"


def loses_none(said):
    assert "2000 succeeded, 0 failed, 0 errored, 0 timeout" in said, said
    assert "2000 2xx, 0 3xx, 0 4xx, 0 5xx" in said, said


def test_h2load_agrees_on_http2_by_tls(nimify, tmp_path):
    certificate, key, body = (tmp_path / name for name in ("tls.crt", "tls.key", "body.json"))
    run("openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "2",
        "-subj", "/CN=localhost", "-keyout", key, "-out", certificate)
    body.write_text(json.dumps({"x": [[0.5, -1.25, 3.0, 1e-3]]}))
    files = {"NIMIFY_TLS_CERTIFICATE": str(certificate), "NIMIFY_TLS_KEY": str(key)}
    service = Served(nimify, ROOT / "fixtures" / "models" / "mlp.onnx", tmp_path / "log", **files)
    try:
        port = service.listens("address")
        service.until(lambda: " ready " in service.log.read_text())
        said = run(*h2load(body), "-m", "16", f"https://127.0.0.1:{port}/v1/predict")
        loses_none(said)
        assert "Application protocol: h2\n" in said, said
    finally:
        service.process.terminate()
        assert service.process.wait(PATIENCE) == 0, service.log.read_text()
