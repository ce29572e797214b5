"""What a running service tells of itself, judged by those who read it: Prometheus's own checker and parsers, and NVIDIA's
client for the statistics, the configuration and the repository.
"""
import itertools
import os
import subprocess
import time
from pathlib import Path
import urllib.request

import numpy as np
import pytest
import tritonclient.http
from prometheus_client.openmetrics.parser import text_string_to_metric_families as parse_openmetrics
from prometheus_client.parser import text_string_to_metric_families as parse_text

from browser import Browser
from conftest import ROOT
from service import Served

ROWS = [[0.5, -1.25, 3.0, 1e-3], [-2.0, 0.1, 7.5, 1e6]]
OPENMETRICS = "application/openmetrics-text;version=1.0.0;q=0.5,text/plain;version=0.0.4;q=0.3"

# Names that others gave, and that their dashboards know, against promtool's taste.
GIVEN = ("nv_inference_", "nim_", "num_requests_", "gpu_")


@pytest.fixture(scope="module")
def service(nimify, tmp_path_factory):
    """The MLP, after three requests of two rows and one that can't be read."""
    with Served(nimify, ROOT / "fixtures/models/mlp.onnx", tmp_path_factory.mktemp("log") / "log") as service:
        for _ in range(3):
            service.predict({"x": ROWS})
        assert service.post("/v1/predict", "{")[0] == 400
        yield service


@pytest.fixture
def client(service):
    return service.client


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
    labels = (("model", "m"), ("version", "0.1.0"))
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
        [stats] = client.get_inference_statistics("m", version)["model_stats"]
        assert (stats["name"], stats["inference_count"], stats["execution_count"]) == ("m", 6, 3)
        assert stats["inference_stats"]["success"]["count"] == 3
        assert stats["inference_stats"]["fail"]["count"] == 1
        assert stats["batch_stats"][0]["batch_size"] == 2
        assert stats["version"] == version or stats["version"].isdigit()
    assert client.get_inference_statistics()["model_stats"][0]["name"] == "m"
    with pytest.raises(tritonclient.http.InferenceServerException, match="unknown"):
        client.get_inference_statistics("other")


def test_nvidias_client_reads_the_configuration_and_the_repository(client):
    config = client.get_model_config("m")
    assert (config["name"], config["platform"], config["max_batch_size"]) == ("m", "onnxruntime_onnx", 32)
    assert config["input"][0] | {"name": "x", "data_type": "TYPE_FP32", "dims": [4]} == config["input"][0]
    index = [{"name": "m", "version": "0.1.0", "state": "READY", "reason": ""}]
    assert client.get_model_repository_index() == index
    for control in (client.load_model, client.unload_model):
        with pytest.raises(tritonclient.http.InferenceServerException, match="when the service starts"):
            control("m")
    extensions = client.get_server_metadata()["extensions"]
    assert {"statistics", "model_configuration", "model_repository", "classification"} <= set(extensions)


@pytest.mark.parametrize("binary", (False, True))
def test_nvidias_client_gets_classes(client, binary):
    x = tritonclient.http.InferInput("x", [2, 4], "FP32")
    x.set_data_from_numpy(np.array(ROWS, np.float32), binary_data=binary)
    whole = client.infer("m", [x])
    name = whole.get_response()["outputs"][0]["name"]
    asked = tritonclient.http.InferRequestedOutput(name, binary_data=binary, class_count=2)
    classes = client.infer("m", [x], outputs=[asked]).as_numpy(name)
    scores = whole.as_numpy(name)
    assert classes.shape == (2, 2)
    for row, texts in zip(scores, classes):
        for place, text in zip(np.argsort(-row, kind="stable"), texts):
            value, index = (text.decode() if isinstance(text, bytes) else text).split(":")
            assert (np.float32(value), int(index)) == (row[place], place)


@pytest.mark.parametrize("dark", (False, True), ids=("light", "dark"))
def test_the_debug_page_draws_what_happens(service, tmp_path, dark):
    """With `NIMIFY_SCREENSHOT=FILE`, the light page is kept there."""
    with Browser(tmp_path, dark=dark) as browser:
        browser.open(f"http://{service.address}/debug")
        browser.wait("document.getElementById('state-text')?.textContent === 'ready'")
        assert browser.ask("document.getElementById('name').textContent") == "m"
        drawn = "document.querySelectorAll('#latency path.line').length === 3"
        pictured = "document.querySelectorAll('#throughput path.line').length === 2"
        # Over as long as a picture needs; a page that is only judged needs two seconds.
        deadline = time.monotonic() + (20 if os.environ.get("NIMIFY_SCREENSHOT") else 3)
        for done in itertools.count():
            service.predict({"x": ROWS[:1] if done % 3 else ROWS})
            time.sleep(0.01)
            if time.monotonic() > deadline:
                break
        browser.wait(f"{drawn} && {pictured}")
        # Both sizes ran, and nothing else.
        bars = "[...document.querySelectorAll('#batches rect')].map(rect => rect.textContent.split(':')[0])"
        assert browser.ask(bars) == ["1", "2"]
        assert browser.ask("document.querySelectorAll('#stages path.area').length") == 4
        tiles = browser.ask("document.getElementById('tiles').innerText")
        assert "requests/s" in tiles and "–" not in tiles
        label = browser.ask("document.querySelector('#latency svg').getAttribute('aria-label')")
        assert label.startswith("Latency: p50 ") and "p99" in label
        page = browser.ask("getComputedStyle(document.body).backgroundColor")
        assert page == ("rgb(15, 19, 25)" if dark else "rgb(247, 248, 250)")
        if (kept := os.environ.get("NIMIFY_SCREENSHOT")) and not dark:
            browser.screenshot(Path(kept))
        browser.ask("document.getElementById('pause').click()")
        assert browser.ask("document.getElementById('pause').getAttribute('aria-pressed')") == "true"
        assert not browser.faults
        own = f"http://{service.address}/debug"
        assert all(url.startswith((own, "data:")) for url in browser.requests), browser.requests
