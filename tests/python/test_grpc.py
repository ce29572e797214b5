"""The standard services of gRPC, asked by gRPC's own packages: what there is to call, and whether it is well."""
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
