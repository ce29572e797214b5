"""What a running service tells of itself, judged by those who read it: Prometheus's own checker and parsers, and NVIDIA's
client for the statistics, the configuration and the repository.
"""
import socket
import subprocess
import urllib.request

import numpy as np
import pytest
import tritonclient.http
from prometheus_client.openmetrics.parser import text_string_to_metric_families as parse_openmetrics
from prometheus_client.parser import text_string_to_metric_families as parse_text

from conftest import ROOT
from service import Service

ROWS = [[0.5, -1.25, 3.0, 1e-3], [-2.0, 0.1, 7.5, 1e6]]
OPENMETRICS = "application/openmetrics-text;version=1.0.0;q=0.5,text/plain;version=0.0.4;q=0.3"

# Names that others gave, and that their dashboards know, against promtool's taste.
GIVEN = ("nv_inference_", "nim_", "num_requests_", "gpu_")


@pytest.fixture(scope="module")
def service(nimify, tmp_path_factory):
    """The MLP, after three requests of two rows and one that can't be read."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    log = tmp_path_factory.mktemp("log") / "log"
    with log.open("w") as file:
        model = ROOT / "fixtures/models/mlp.onnx"
        process = nimify.start("run", model, "--name", "mlp", "--host", "127.0.0.1", "--port", str(port), log=file)
        try:
            service = Service(port).wait(lambda: process.poll() is not None, log.read_text)
            for _ in range(3):
                service.predict({"x": ROWS})
            assert service.post("/v1/predict", "{")[0] == 400
            yield service
        finally:
            process.terminate()
            process.wait()


@pytest.fixture(scope="module")
def client(service):
    with tritonclient.http.InferenceServerClient(service.address) as client:
        yield client


def scrape(service, accept):
    request = urllib.request.Request(f"http://{service.address}/metrics", headers={"Accept": accept})
    with urllib.request.urlopen(request) as answer:
        return answer.headers["Content-Type"], answer.read().decode()


def test_promtool_finds_nothing_but_names_that_others_gave(service):
    kind, page = scrape(service, "text/plain")
    assert kind.startswith("text/plain; version=0.0.4")
    done = subprocess.run(["promtool", "check", "metrics"], input=page, capture_output=True, text=True)
    # 3 is a matter of taste, anything else but 0 a page that can't be read.
    assert done.returncode in (0, 3), done.stderr
    complaints = [line for line in done.stderr.splitlines() if not line.startswith(GIVEN)]
    assert not complaints


def samples(families):
    # The parser of the text format gives each counter the ending that OpenMetrics wants.
    return {(sample.name.removesuffix("_total"), tuple(sorted(sample.labels.items()))): sample.value
            for family in families for sample in family.samples}


def test_both_formats_are_read_by_prometheus_parsers_and_say_the_same(service):
    text = samples(parse_text(scrape(service, "*/*")[1]))
    kind, page = scrape(service, OPENMETRICS)
    assert kind == "application/openmetrics-text; version=1.0.0; charset=utf-8"
    families = list(parse_openmetrics(page))
    openmetrics = samples(families)
    # Bounds are written otherwise, and the scrapes themselves are counted.
    names = lambda found: {name for name, labels in found if "/metrics" not in dict(labels).values()}
    assert names(openmetrics) == names(text)
    labels = (("model", "mlp"), ("version", "0.1.0"))
    for found in (text, openmetrics):
        assert found["nv_inference_count", labels] == 6
        assert found["nv_inference_exec_count", labels] == 3
        assert found["nv_inference_request_success", labels] == 3
        assert found["nimify_stage_duration_seconds_count", (("stage", "queue"),)] == 3
        assert found["nim_batch_size_histogram_sum", ()] == 6
        assert found["nimify_ready", ()] == 1
    kinds = {family.name: family.type for family in families}
    assert kinds["nimify_model"] == "info" and kinds["nimify_received_bytes"] == "counter"
    assert {family.name: family.unit for family in families}["nimify_inference_duration_seconds"] == "seconds"


def test_nvidias_client_reads_the_statistics(client):
    for version in ("", "0.1.0"):
        [stats] = client.get_inference_statistics("mlp", version)["model_stats"]
        assert (stats["name"], stats["inference_count"], stats["execution_count"]) == ("mlp", 6, 3)
        assert stats["inference_stats"]["success"]["count"] == 3
        assert stats["inference_stats"]["fail"]["count"] == 1
        assert stats["batch_stats"][0]["batch_size"] == 2
        assert stats["version"] == version or stats["version"].isdigit()
    assert client.get_inference_statistics()["model_stats"][0]["name"] == "mlp"
    with pytest.raises(tritonclient.http.InferenceServerException, match="unknown"):
        client.get_inference_statistics("other")


def test_nvidias_client_reads_the_configuration_and_the_repository(client):
    config = client.get_model_config("mlp")
    assert (config["name"], config["platform"], config["max_batch_size"]) == ("mlp", "onnxruntime_onnx", 32)
    assert config["input"][0] | {"name": "x", "data_type": "TYPE_FP32", "dims": [4]} == config["input"][0]
    index = [{"name": "mlp", "version": "0.1.0", "state": "READY", "reason": ""}]
    assert client.get_model_repository_index() == index
    for control in (client.load_model, client.unload_model):
        with pytest.raises(tritonclient.http.InferenceServerException, match="when the service starts"):
            control("mlp")
    extensions = client.get_server_metadata()["extensions"]
    assert {"statistics", "model_configuration", "model_repository", "classification"} <= set(extensions)


@pytest.mark.parametrize("binary", (False, True))
def test_nvidias_client_gets_classes(client, binary):
    x = tritonclient.http.InferInput("x", [2, 4], "FP32")
    x.set_data_from_numpy(np.array(ROWS, np.float32), binary_data=binary)
    whole = client.infer("mlp", [x])
    name = whole.get_response()["outputs"][0]["name"]
    asked = tritonclient.http.InferRequestedOutput(name, binary_data=binary, class_count=2)
    classes = client.infer("mlp", [x], outputs=[asked]).as_numpy(name)
    scores = whole.as_numpy(name)
    assert classes.shape == (2, 2)
    for row, texts in zip(scores, classes):
        for place, text in zip(np.argsort(-row, kind="stable"), texts):
            value, index = (text.decode() if isinstance(text, bytes) else text).split(":")
            assert (np.float32(value), int(index)) == (row[place], place)
