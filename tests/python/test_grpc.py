"""gRPC's own packages as clients: what there is to call, whether it is well, and the same over TLS."""
import re
import subprocess
import time

import grpc
import pytest
from google.protobuf.descriptor_pool import DescriptorPool
from google.protobuf.message_factory import GetMessageClass
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha.proto_reflection_descriptor_database import ProtoReflectionDescriptorDatabase

from conftest import ROOT
from service import PATIENCE, Served

SERVING, NOT_SERVING = health_pb2.HealthCheckResponse.SERVING, health_pb2.HealthCheckResponse.NOT_SERVING


@pytest.fixture
def service(nimify, tmp_path):
    # Long enough that a client sees it turn from ready to draining.
    with Served(nimify, ROOT / "fixtures" / "models" / "mlp.onnx", tmp_path / "log", NIMIFY_DRAIN_DELAY="2s") as served:
        yield served


def test_a_client_without_any_proto_file_finds_the_services_and_calls_one(service):
    with grpc.insecure_channel(service.grpc_address) as channel:
        database = ProtoReflectionDescriptorDatabase(channel)
        names = set(database.get_services())
        assert {"inference.GRPCInferenceService", "grpc.health.v1.Health"} <= names
        pool = DescriptorPool(database)
        methods = pool.FindServiceByName("inference.GRPCInferenceService").methods_by_name
        assert {"ModelInfer", "ModelStreamInfer", "ModelStatistics", "RepositoryIndex"} <= set(methods)
        method = methods["ModelMetadata"]
        ask = channel.unary_unary(
            f"/{method.containing_service.full_name}/{method.name}",
            request_serializer=lambda message: message.SerializeToString(),
            response_deserializer=GetMessageClass(method.output_type).FromString,
        )
        answer = ask(GetMessageClass(method.input_type)(name="m"), timeout=PATIENCE)
        assert [tensor.name for tensor in answer.inputs] == ["x"]


def test_health_is_told_when_asked_and_when_it_changes(service):
    with grpc.insecure_channel(service.grpc_address) as channel:
        health = health_pb2_grpc.HealthStub(channel)
        for name in ("", "inference.GRPCInferenceService"):
            request = health_pb2.HealthCheckRequest(service=name)
            assert health.Check(request, timeout=PATIENCE).status == SERVING
        with pytest.raises(grpc.RpcError) as raised:
            health.Check(health_pb2.HealthCheckRequest(service="other"), timeout=PATIENCE)
        assert raised.value.code() == grpc.StatusCode.NOT_FOUND
        changes = health.Watch(health_pb2.HealthCheckRequest(), timeout=PATIENCE)
        assert next(changes).status == SERVING
        service.process.terminate()
        assert next(changes).status == NOT_SERVING


def test_a_client_that_waits_comes_in_once_the_service_is_there(nimify, tmp_path):
    begun = time.monotonic()
    with Served(nimify, ROOT / "fixtures" / "models" / "mlp.onnx", tmp_path / "log") as service:
        with grpc.insecure_channel(service.grpc_address) as channel:
            grpc.channel_ready_future(channel).result(timeout=PATIENCE)
    assert time.monotonic() - begun < PATIENCE


def openssl(*arguments):
    subprocess.run(["openssl", *map(str, arguments)], check=True, capture_output=True)


def signed(folder, name):
    """An authority, and a certificate for this machine that it signed, with its key: PEM files."""
    authority, authority_key, request, extensions, certificate, key = (
        folder / f"{name}{end}" for end in ("-ca.pem", "-ca.key", ".csr", ".ext", ".pem", ".key"))
    new = ["req", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes"]
    openssl(*new, "-x509", "-days", "2", "-subj", f"/CN={name} authority", "-keyout", authority_key, "-out", authority)
    openssl(*new, "-subj", f"/CN={name}", "-keyout", key, "-out", request)
    extensions.write_text("basicConstraints=CA:FALSE\nsubjectAltName=DNS:localhost\n")
    openssl("x509", "-req", "-in", request, "-CA", authority, "-CAkey", authority_key, "-CAcreateserial", "-days", "2",
            "-extfile", extensions, "-out", certificate)
    return authority, certificate, key


def test_tls_is_spoken_and_clients_are_known_by_their_certificates(nimify, tmp_path):
    authority, certificate, key = signed(tmp_path, "server")
    clients, known, known_key = signed(tmp_path, "client")
    _, stranger, stranger_key = signed(tmp_path, "stranger")
    log = tmp_path / "log"
    model = ROOT / "fixtures" / "models" / "mlp.onnx"
    with log.open("w") as file:
        process = nimify.start("run", model, "--name", "m", "--port", "0", "--grpc-port", "0", "--tls-cert", certificate,
                               "--tls-key", key, log=file, NIMIFY_TLS_CLIENT_CA=str(clients))
    try:
        end = time.monotonic() + PATIENCE
        while not (found := re.search(r"listening.* grpc=\S+:(\d+)", log.read_text())):
            assert process.poll() is None and time.monotonic() < end, log.read_text()
            time.sleep(0.01)
        address = f"localhost:{found[1]}"

        def channel(*own):
            chain = [path.read_bytes() for path in reversed(own)]
            return grpc.secure_channel(address, grpc.ssl_channel_credentials(authority.read_bytes(), *chain))

        def index(channel):
            ask = channel.unary_unary("/inference.GRPCInferenceService/RepositoryIndex")
            return ask(b"", timeout=PATIENCE, wait_for_ready=True)

        with channel(known, known_key) as secure:
            health = health_pb2_grpc.HealthStub(secure)
            while health.Check(health_pb2.HealthCheckRequest(), timeout=PATIENCE, wait_for_ready=True).status != SERVING:
                assert process.poll() is None and time.monotonic() < end, log.read_text()
                time.sleep(0.01)
            assert b"READY" in index(secure)
        with channel() as secure:
            request = health_pb2.HealthCheckRequest()
            assert health_pb2_grpc.HealthStub(secure).Check(request, timeout=PATIENCE).status == SERVING
            with pytest.raises(grpc.RpcError) as raised:
                index(secure)
            assert raised.value.code() == grpc.StatusCode.PERMISSION_DENIED
        with channel(stranger, stranger_key) as secure, pytest.raises(grpc.RpcError) as raised:
            secure.unary_unary("/inference.GRPCInferenceService/RepositoryIndex")(b"", timeout=PATIENCE)
        assert raised.value.code() == grpc.StatusCode.UNAVAILABLE
        with grpc.insecure_channel(address) as plain, pytest.raises(grpc.RpcError):
            plain.unary_unary("/inference.GRPCInferenceService/RepositoryIndex")(b"", timeout=PATIENCE)
    finally:
        process.terminate()
        assert process.wait(PATIENCE) == 0
