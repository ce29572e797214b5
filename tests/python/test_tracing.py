"""A client with OpenTelemetry's SDK and a receiver with OpenTelemetry's own messages: their spans and the service's are
one trace.
"""
import concurrent.futures
import http.server
import json
import queue
import threading
import time
import urllib.request

import grpc
import numpy as np
import pytest
import tritonclient.grpc
import tritonclient.http
from opentelemetry import propagate, trace
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.proto.collector.trace.v1 import trace_service_pb2, trace_service_pb2_grpc
from opentelemetry.proto.trace.v1.trace_pb2 import Span
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.sampling import ALWAYS_OFF, ALWAYS_ON

from conftest import ROOT
from service import PATIENCE, Served

MODEL = ROOT / "fixtures" / "models" / "mlp.onnx"
ROWS = [[0.5, -1.25, 3.0, 1e-3], [-2.0, 0.1, 7.5, 1e6]]
STAGES = ["decode", "queue", "compute", "encode"]


class Receiver(trace_service_pb2_grpc.TraceServiceServicer):
    """Takes OTLP by HTTP and by gRPC, each at a port of its own."""

    def __init__(self):
        self.spans, self.lock = [], threading.Lock()

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_POST(handler):
                body = handler.rfile.read(int(handler.headers["content-length"]))
                self.take(trace_service_pb2.ExportTraceServiceRequest.FromString(body))
                answer = trace_service_pb2.ExportTraceServiceResponse().SerializeToString()
                handler.send_response(200)
                handler.send_header("content-type", "application/x-protobuf")
                handler.send_header("content-length", str(len(answer)))
                handler.end_headers()
                handler.wfile.write(answer)

            def log_message(handler, *_):
                pass

        self.http = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        threading.Thread(target=self.http.serve_forever, daemon=True).start()
        self.grpc = grpc.server(concurrent.futures.ThreadPoolExecutor(2))
        trace_service_pb2_grpc.add_TraceServiceServicer_to_server(self, self.grpc)
        self.places = {
            "http/protobuf": f"http://127.0.0.1:{self.http.server_port}",
            "grpc": f"http://127.0.0.1:{self.grpc.add_insecure_port('127.0.0.1:0')}",
        }
        self.grpc.start()

    def Export(self, request, _):
        self.take(request)
        return trace_service_pb2.ExportTraceServiceResponse()

    def take(self, request):
        with self.lock:
            for resource in request.resource_spans:
                names = {pair.key: pair.value.string_value for pair in resource.resource.attributes}
                for scope in resource.scope_spans:
                    self.spans += [(names["service.name"], span) for span in scope.spans]

    def wait(self, service, count):
        """So many spans of a service, and no more."""
        deadline = time.monotonic() + PATIENCE
        while True:
            with self.lock:
                spans = [span for name, span in self.spans if name == service]
            if len(spans) >= count or time.monotonic() > deadline:
                assert len(spans) == count, spans
                return spans
            time.sleep(0.02)

    def stop(self):
        self.http.shutdown()
        self.grpc.stop(None)


@pytest.fixture
def receiver():
    receiver = Receiver()
    yield receiver
    receiver.stop()


def client(receiver, sampler):
    """A tracer whose spans go to the receiver too."""
    provider = TracerProvider(sampler=sampler, resource=Resource({"service.name": "client"}))
    exporter = OTLPSpanExporter(endpoint=f"{receiver.places['http/protobuf']}/v1/traces")
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    return provider.get_tracer("client")


def predict(service, headers):
    """The headers of an answer to `/v1/predict`."""
    body = json.dumps({"x": ROWS}).encode()
    request = urllib.request.Request(
        f"http://{service.address}/v1/predict", body, {"Content-Type": "application/json"} | headers)
    with urllib.request.urlopen(request, timeout=PATIENCE) as answer:
        return answer.headers


def infer(service, headers):
    """The same by a client that others wrote."""
    data = tritonclient.http.InferInput("x", [2, 4], "FP32").set_data_from_numpy(np.array(ROWS, "float32"))
    return service.client.infer("m", [data], headers=headers).get_response()


def grpc_infer(service, headers):
    """The same by gRPC."""
    data = tritonclient.grpc.InferInput("x", [2, 4], "FP32").set_data_from_numpy(np.array(ROWS, "float32"))
    service.grpc_client.infer("m", [data], headers=headers)


def grpc_stream(service, headers):
    """The same as the one message of a stream."""
    data = tritonclient.grpc.InferInput("x", [2, 4], "FP32").set_data_from_numpy(np.array(ROWS, "float32"))
    answers = queue.Queue()
    service.grpc_client.start_stream(lambda result, error: answers.put((result, error)), headers=headers)
    service.grpc_client.async_stream_infer("m", [data])
    _, error = answers.get(timeout=PATIENCE)
    service.grpc_client.stop_stream()
    assert error is None


def attributes(span):
    return {pair.key: pair.value.string_value or pair.value.int_value for pair in span.attributes}


def http_said(route):
    """What is to be said of a request that was answered by HTTP."""
    return f"POST {route}", {"http.route": route, "http.response.status_code": 200, "http.request.method": "POST"}


def grpc_said(method):
    """The same by gRPC."""
    service = "inference.GRPCInferenceService"
    said = {"rpc.system": "grpc", "rpc.service": service, "rpc.method": method, "rpc.grpc.status_code": 0}
    return f"{service}/{method}", said


@pytest.mark.parametrize(
    ("ask", "expected", "protocol"),
    [
        (predict, http_said("/v1/predict"), "http/protobuf"),
        (infer, http_said("/v2/models/{model}/infer"), "grpc"),
        (grpc_infer, grpc_said("ModelInfer"), "http/protobuf"),
        (grpc_stream, grpc_said("ModelStreamInfer"), "grpc"),
    ],
)
def test_a_client_s_span_is_the_parent_of_the_service_s(nimify, tmp_path, receiver, ask, expected, protocol):
    environment = {
        "OTEL_EXPORTER_OTLP_ENDPOINT": receiver.places[protocol],
        "OTEL_EXPORTER_OTLP_PROTOCOL": protocol,
        "OTEL_SERVICE_NAME": "digits",
        "OTEL_BSP_SCHEDULE_DELAY": "50",
    }
    tracer = client(receiver, ALWAYS_ON)
    with Served(nimify, MODEL, tmp_path / "log", **environment) as service:
        with tracer.start_as_current_span("client", kind=trace.SpanKind.CLIENT) as parent:
            headers = {}
            propagate.inject(headers)
            assert "traceparent" in headers
            ask(service, headers)
        spans = receiver.wait("digits", 1 + len(STAGES))
    place = parent.get_span_context()
    [theirs] = receiver.wait("client", 1)
    [server] = [span for span in spans if span.kind == Span.SPAN_KIND_SERVER]
    assert {span.trace_id for span in [theirs, *spans]} == {place.trace_id.to_bytes(16)}
    assert theirs.span_id == server.parent_span_id == place.span_id.to_bytes(8)
    name, wanted = expected
    assert server.name == name
    # Sampled, and made at random, as Level 2 of Trace Context has it.
    assert server.flags & 0xff == place.trace_flags
    said = attributes(server)
    assert said.items() >= wanted.items()
    assert said["nimify.model.name"] == "m"
    below = [span for span in spans if span.parent_span_id == server.span_id]
    assert [span.name for span in below] == STAGES
    assert attributes(below[2])["nimify.batch.rows"] == 2
    # The clocks are the same one: the service's time lies within the client's.
    inner = sorted([server.start_time_unix_nano, server.end_time_unix_nano])
    assert theirs.start_time_unix_nano <= inner[0] <= inner[1] <= theirs.end_time_unix_nano


def test_a_client_that_does_not_record_is_followed(nimify, tmp_path, receiver):
    environment = {
        "NIMIFY_TRACING_ENDPOINT": receiver.places["http/protobuf"],
        "OTEL_SERVICE_NAME": "digits",
        "OTEL_BSP_SCHEDULE_DELAY": "50",
    }
    silent = client(receiver, ALWAYS_OFF)
    with Served(nimify, MODEL, tmp_path / "log", **environment) as service:
        with silent.start_as_current_span("client"):
            headers = {}
            propagate.inject(headers)
            assert int(headers["traceparent"][-2:], 16) & 1 == 0
            assert predict(service, headers)["traceresponse"] is None
        told = predict(service, {})["traceresponse"]
    # What was waiting is sent before the end.
    [server] = [span for span in receiver.wait("digits", 1 + len(STAGES)) if span.kind == Span.SPAN_KIND_SERVER]
    assert told == f"00-{server.trace_id.hex()}-{server.span_id.hex()}-03"
    assert not server.parent_span_id
