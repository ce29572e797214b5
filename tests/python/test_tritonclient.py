"""NVIDIA's own client, unmodified, by HTTP and gRPC, blocking and not, against a service of the MLP fixture.

What each datatype becomes on the way is the fixtures' test; here are the client's other ways to ask.
"""
import asyncio
import queue

import numpy as np
import pytest
import tritonclient.grpc
import tritonclient.grpc.aio
import tritonclient.http
import tritonclient.http.aio
from google.protobuf.json_format import MessageToDict
from tritonclient.utils import InferenceServerException

from conftest import ROOT
from service import PATIENCE, Reference, Served

MODEL = ROOT / "fixtures" / "models" / "mlp.onnx"
ROWS = np.array([[0.5, -1.25, 3.0, 1e-3], [-2.0, 0.1, 7.5, 1e6], [0, 0, 0, 0], [1, 2, 3, 4]], "float32")
CLIENTS = [tritonclient.http, tritonclient.grpc]


@pytest.fixture(scope="module")
def service(nimify, tmp_path_factory):
    with Served(nimify, MODEL, tmp_path_factory.mktemp("log") / "log") as service:
        yield service


@pytest.fixture(scope="module")
def wanted():
    return Reference(MODEL).run({"x": ROWS})["y"]


@pytest.fixture(params=CLIENTS, ids=["http", "grpc"])
def asked(request, service):
    """The half of the client, and one of it that is connected."""
    return request.param, service.client if request.param is tritonclient.http else service.grpc_client


def tensor(half, rows, name="x", datatype="FP32", **how):
    return half.InferInput(name, rows.shape, datatype).set_data_from_numpy(rows, **how)


def as_dict(answer):
    """gRPC's messages are the JSON of HTTP."""
    return answer if isinstance(answer, dict) else MessageToDict(answer, preserving_proto_field_name=True)


def same(answer, wanted):
    np.testing.assert_allclose(answer.as_numpy("y"), wanted, rtol=1e-5)


def test_it_is_alive_ready_and_says_what_it_has(asked):
    _, client = asked
    assert client.is_server_live() and client.is_server_ready() and client.is_model_ready("m")
    assert client.is_model_ready("m", "0.1.0") and client.is_model_ready("m", "0")
    assert not client.is_model_ready("other")


def test_metadata_configuration_and_index(service):
    of_http, of_grpc = service.client, service.grpc_client
    server = of_http.get_server_metadata()
    assert server == of_grpc.get_server_metadata(as_json=True)
    assert server["name"] == "nimify" and {"binary_tensor_data", "statistics"} <= set(server["extensions"])
    model = of_http.get_model_metadata("m")
    assert model["platform"] == "onnxruntime_onnx"
    assert model["inputs"] == [{"name": "x", "datatype": "FP32", "shape": [-1, 4]}]
    told = of_grpc.get_model_metadata("m", as_json=True)
    assert told["versions"] == model["versions"] and told["inputs"] == [
        {"name": "x", "datatype": "FP32", "shape": ["-1", "4"]}]
    config = of_http.get_model_config("m")
    assert (config["name"], config["input"][0]["name"], config["output"][0]["name"]) == ("m", "x", "y")
    told = of_grpc.get_model_config("m", as_json=True)["config"]
    assert told["max_batch_size"] == config["max_batch_size"] and told["input"][0]["data_type"] == "TYPE_FP32"
    index = of_http.get_model_repository_index()
    of_grpc = of_grpc.get_model_repository_index().models
    of_http = [(entry["name"], entry["version"], entry["state"]) for entry in index]
    assert of_http == [(entry.name, entry.version, entry.state) for entry in of_grpc] == [("m", "0.1.0", "READY")]


def test_statistics_count_the_requests_of_both_protocols(service):
    def counts():
        of_http = service.client.get_inference_statistics("m")["model_stats"][0]
        of_grpc = service.grpc_client.get_inference_statistics("m").model_stats[0]
        assert of_grpc.inference_count == of_http["inference_count"]
        return of_http["inference_count"], of_http["inference_stats"]["success"]["count"]

    rows, requests = counts()
    for half, client in [(tritonclient.http, service.client), (tritonclient.grpc, service.grpc_client)]:
        client.infer("m", [tensor(half, ROWS)])
    assert counts() == (rows + 2 * len(ROWS), requests + 2)


@pytest.mark.parametrize("given", [True, False], ids=["binary", "json"])
@pytest.mark.parametrize("taken", [True, False, None], ids=["binary", "json", "unnamed"])
def test_http_takes_and_gives_json_and_binary(service, wanted, given, taken):
    outputs = None if taken is None else [tritonclient.http.InferRequestedOutput("y", binary_data=taken)]
    inputs = [tensor(tritonclient.http, ROWS, binary_data=given)]
    same(service.client.infer("m", inputs, outputs=outputs), wanted)


@pytest.mark.parametrize("rows", [1, 2, 4])
def test_requests_keep_their_ids_their_rows_and_their_parameters(asked, wanted, rows):
    half, client = asked
    options = {"request_id": "a/b é", "priority": 1, "timeout": 60_000_000, "model_version": "0",
               "outputs": [half.InferRequestedOutput("y")]}
    answer = client.infer("m", [tensor(half, ROWS[:rows])], **options)
    response = as_dict(answer.get_response())
    assert (response["model_name"], response["id"]) == ("m", "a/b é")
    same(answer, wanted[:rows])


@pytest.mark.parametrize("algorithm", ["gzip", "deflate"])
def test_bodies_are_compressed_both_ways(service, wanted, algorithm):
    rows = np.repeat(ROWS, 500, 0)
    named = {"request_compression_algorithm": algorithm, "response_compression_algorithm": algorithm}
    for binary in (True, False):
        answer = service.client.infer("m", [tensor(tritonclient.http, rows, binary_data=binary)], **named)
        same(answer, np.repeat(wanted, 500, 0))
    answer = service.grpc_client.infer("m", [tensor(tritonclient.grpc, rows)], compression_algorithm=algorithm)
    same(answer, np.repeat(wanted, 500, 0))


def test_classification_ranks_the_outputs(asked, wanted):
    half, client = asked
    outputs = [half.InferRequestedOutput("y", class_count=2)]
    ranked = client.infer("m", [tensor(half, ROWS)], outputs=outputs).as_numpy("y")
    assert ranked.shape == (4, 2)
    for row, values in zip(ranked, wanted):
        value, index = row[0].decode().split(":")[:2]
        assert int(index) == values.argmax() and float(value) == pytest.approx(float(values.max()), rel=1e-4)


BAD = {
    "nope": dict(name="nope"),
    "[1, 7, 7]": dict(rows=np.zeros((1, 7, 7), "float32")),
    "INT64": dict(rows=np.zeros((1, 4), "int64"), datatype="INT64"),
}


@pytest.mark.parametrize("what", BAD)
def test_what_is_wrong_is_the_clients_fault(asked, what):
    half, client = asked
    with pytest.raises(InferenceServerException) as raised:
        client.infer("m", [tensor(half, **{"rows": ROWS} | BAD[what])])
    assert raised.value.status() in ("400", "StatusCode.INVALID_ARGUMENT")
    assert what in raised.value.message()


def test_what_is_not_there_is_not_found(asked):
    half, client = asked
    for ask in [
        lambda: client.infer("other", [tensor(half, ROWS)]),
        lambda: client.infer("m", [tensor(half, ROWS)], model_version="77"),
        lambda: client.get_model_metadata("other"),
        lambda: client.get_model_config("other"),
        lambda: client.get_inference_statistics("other"),
    ]:
        with pytest.raises(InferenceServerException) as raised:
            ask()
        assert raised.value.status() in ("404", "StatusCode.NOT_FOUND"), raised.value


def test_what_is_not_built_in_is_no_fault_of_the_service(asked):
    _, client = asked
    for ask in [
        lambda: client.unload_model("m"),
        lambda: client.get_system_shared_memory_status(),
        lambda: client.register_system_shared_memory("r", "/r", 8),
        lambda: client.get_trace_settings(),
        lambda: client.update_log_settings({"log_verbose_level": 1}),
    ]:
        with pytest.raises(InferenceServerException) as raised:
            ask()
        # A route or a method that nobody knows, or one that is known and refused.
        assert raised.value.status() in ("404", "501", "StatusCode.UNIMPLEMENTED"), raised.value


def test_many_requests_at_once_each_get_their_own_answer(service, wanted):
    http = tritonclient.http.InferenceServerClient(service.address, concurrency=8)
    waiting = [http.async_infer("m", [tensor(tritonclient.http, ROWS[k % 4:][:1])], request_id=str(k))
               for k in range(64)]
    for k, pending in enumerate(waiting):
        answer = pending.get_result()
        assert answer.get_response()["id"] == str(k)
        same(answer, wanted[k % 4:][:1])
    http.close()

    answers = queue.Queue()
    for k in range(64):
        service.grpc_client.async_infer("m", [tensor(tritonclient.grpc, ROWS[k % 4:][:1])], request_id=str(k),
                                        callback=lambda result, error: answers.put((result, error)))
    collect(answers, wanted)


def collect(answers, wanted):
    """64 answers, each the one to its own request, in any order."""
    seen = set()
    for _ in range(64):
        answer, error = answers.get(timeout=PATIENCE)
        assert error is None
        k = int(answer.get_response().id)
        same(answer, wanted[k % 4:][:1])
        seen.add(k)
    assert seen == set(range(64))


def test_a_stream_answers_in_the_order_of_its_requests_and_survives_a_bad_one(service, wanted):
    answers = queue.Queue()
    with tritonclient.grpc.InferenceServerClient(service.grpc_address) as client:
        client.start_stream(lambda result, error: answers.put((result, error)))
        for k in range(32):
            client.async_stream_infer("m", [tensor(tritonclient.grpc, ROWS[k % 4:][:1])], request_id=str(k))
        client.async_stream_infer("m", [tensor(tritonclient.grpc, ROWS, name="nope")], request_id="bad")
        for k in range(32, 64):
            client.async_stream_infer("m", [tensor(tritonclient.grpc, ROWS[k % 4:][:1])], request_id=str(k))
        got = [answers.get(timeout=PATIENCE) for _ in range(65)]
        client.stop_stream()
    bad = [error for _, error in got if error is not None]
    assert len(bad) == 1 and "`nope`" in str(bad[0])
    good = [answer for answer, error in got if error is None]
    assert [answer.get_response().id for answer in good] == [str(k) for k in range(64)]
    for k, answer in enumerate(good):
        same(answer, wanted[k % 4:][:1])


def test_deadlines_and_cancelled_requests_leave_the_service_well(service, wanted):
    client = service.grpc_client
    for _ in range(20):
        inputs = [tensor(tritonclient.grpc, np.repeat(ROWS, 1000, 0))]
        client.async_infer("m", inputs, callback=lambda result, error: None).cancel()
    for _ in range(20):
        try:
            client.infer("m", [tensor(tritonclient.grpc, ROWS)], client_timeout=1e-4)
        except InferenceServerException as error:
            assert error.status() == "StatusCode.DEADLINE_EXCEEDED"
    same(client.infer("m", [tensor(tritonclient.grpc, ROWS)], client_timeout=PATIENCE), wanted)


def test_the_clients_that_wait_for_nothing(service, wanted):
    async def of_http():
        async with tritonclient.http.aio.InferenceServerClient(service.address) as client:
            assert await client.is_server_ready() and await client.is_model_ready("m")
            inputs = [tensor(tritonclient.http, ROWS)]
            for answer in await asyncio.gather(*[client.infer("m", inputs) for _ in range(16)]):
                same(answer, wanted)
            with pytest.raises(InferenceServerException):
                await client.infer("other", inputs)

    async def of_grpc():
        async with tritonclient.grpc.aio.InferenceServerClient(service.grpc_address) as client:
            assert await client.is_server_ready() and await client.is_model_ready("m")
            inputs = [tensor(tritonclient.grpc, ROWS)]
            for answer in await asyncio.gather(*[client.infer("m", inputs) for _ in range(16)]):
                same(answer, wanted)

            async def requests():
                for k in range(16):
                    yield {"model_name": "m", "inputs": inputs, "request_id": str(k)}

            seen = []
            async for answer, error in client.stream_infer(requests()):
                assert error is None
                same(answer, wanted)
                seen.append(answer.get_response().id)
            assert sorted(seen, key=int) == [str(k) for k in range(16)]

    asyncio.run(of_http())
    asyncio.run(of_grpc())
